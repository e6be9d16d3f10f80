//! How objects outlive the process: a small trait, filled in by the binary with its key-value store.

use std::io;
use std::sync::Arc;

use atoll_storage::kv::{Durability, Keyspace, Kv};
use serde_json::Value;

/// One object to write or to forget.
#[derive(Clone, Debug)]
pub struct Change {
    /// `group/plural/namespace/name`; group and namespace may be empty.
    pub path: String,
    /// The object, or `None` when it is gone.
    pub value: Option<Arc<Value>>,
}

/// Everything that was persisted.
#[derive(Debug, Default)]
pub struct Saved {
    /// The version counter at the last commit.
    pub version: u64,
    /// Objects with their paths.
    pub objects: Vec<(String, Value)>,
}

/// A durable map from path to object.
///
/// The server calls `commit` before it acknowledges the writes in it, so an acknowledged write survives the death of the
/// process when `commit` has handed its bytes to the operating system.
pub trait Persistence: Send {
    /// Reads everything, once, at start.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn load(&mut self) -> io::Result<Saved>;

    /// Makes a batch durable, all of it or nothing, together with the version counter.
    ///
    /// # Errors
    /// When the batch may not be durable; the server answers 500 and keeps the batch for the next attempt.
    fn commit(&mut self, version: u64, changes: &[Change]) -> io::Result<()>;
}

/// Keeps nothing: for `--ephemeral` and for tests.
#[derive(Debug, Default)]
pub struct Ephemeral;

impl Persistence for Ephemeral {
    fn load(&mut self) -> io::Result<Saved> {
        Ok(Saved::default())
    }

    fn commit(&mut self, _version: u64, _changes: &[Change]) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps objects in one keyspace of the stack's key-value store; each batch is handed to the operating system whole.
#[derive(Debug)]
pub struct KeyValue {
    store: Kv,
    keyspace: Keyspace,
}

/// The key of the version counter; no object's path starts like it.
const VERSION_KEY: &[u8] = b"#version";

impl KeyValue {
    /// The keyspace `kubernetes` of a store.
    ///
    /// # Errors
    /// When the store cannot open it.
    pub fn open(store: &Kv) -> io::Result<KeyValue> {
        let keyspace = store.keyspace("kubernetes").map_err(io::Error::other)?;
        Ok(KeyValue { store: store.clone(), keyspace })
    }
}

impl Persistence for KeyValue {
    fn load(&mut self) -> io::Result<Saved> {
        let mut saved = Saved::default();
        for (key, value) in self.keyspace.scan(b"", usize::MAX).map_err(io::Error::other)? {
            if key == VERSION_KEY {
                saved.version = String::from_utf8_lossy(&value).parse().unwrap_or(0);
                continue;
            }
            let object = serde_json::from_slice(&value)?;
            saved.objects.push((String::from_utf8_lossy(&key).into_owned(), object));
        }
        Ok(saved)
    }

    fn commit(&mut self, version: u64, changes: &[Change]) -> io::Result<()> {
        let mut batch = self.store.batch();
        for change in changes {
            let key = change.path.as_bytes();
            match &change.value {
                Some(object) => batch.put(&self.keyspace, key, object.to_string().as_bytes()),
                None => batch.delete(&self.keyspace, key),
            }
            .map_err(io::Error::other)?;
        }
        batch.put(&self.keyspace, VERSION_KEY, version.to_string().as_bytes()).map_err(io::Error::other)?;
        batch.commit(Durability::Written).map_err(io::Error::other)
    }
}
