//! Keys and values in the order of their bytes, with atomic batches: thin over `fjall`, or in memory for `--ephemeral`.
//!
//! A [`Kv`] is a set of named [`Keyspace`]s. Whatever has been written survives `kill -9` when the call returns; it survives a
//! power failure after [`Kv::persist`], or if its batch was committed with [`Durability::Synced`].
//!
//! It goes to the file system by itself, past the kernel's disk: no fault is injected here, because no engine whose data a
//! fault may take keeps its data here.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use atoll_kernel::disk::DiskError;
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use parking_lot::Mutex;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// A store. Cheap to clone, and all clones are one store.
#[derive(Clone)]
pub struct Kv {
    backing: Backing,
}

#[derive(Clone)]
enum Backing {
    Disk(Database),
    Memory(Arc<Mutex<Memory>>),
}

#[derive(Default)]
struct Memory {
    names: BTreeMap<String, usize>,
    trees: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
}

/// A named map within a [`Kv`]. Cheap to clone.
#[derive(Clone)]
pub struct Keyspace {
    tree: Tree,
}

#[derive(Clone)]
enum Tree {
    Disk(fjall::Keyspace),
    Memory { memory: Arc<Mutex<Memory>>, index: usize },
}

/// What a committed write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// `kill -9`.
    Written,
    /// A power failure too. Blocks for as long as the disk takes.
    Synced,
}

/// The longest key, in bytes; the shortest is one byte.
pub const KEY_BYTES_MAX: usize = 65_535;

impl Kv {
    /// Opens the store in `directory`, which is made if it is not there. One process at a time: a second gets
    /// [`KvError::Locked`].
    pub fn open(directory: &Path) -> Result<Kv, KvError> {
        // One worker and a small cache: objects of a control plane are few and small, and idle stacks many.
        let builder = Database::builder(directory).cache_size(8 << 20).worker_threads(1);
        Ok(Kv { backing: Backing::Disk(builder.max_journaling_size(64 << 20).open()?) })
    }

    /// A store that keeps nothing.
    pub fn memory() -> Kv {
        Kv { backing: Backing::Memory(Arc::default()) }
    }

    /// The keyspace called `name`, 1 to 255 bytes long; made if it is not there.
    pub fn keyspace(&self, name: &str) -> Result<Keyspace, KvError> {
        if !(1..=255).contains(&name.len()) {
            return Err(KvError::InvalidName(name.to_owned()));
        }
        let tree = match &self.backing {
            Backing::Disk(database) => {
                let options = || KeyspaceCreateOptions::default().max_memtable_size(8 << 20);
                Tree::Disk(database.keyspace(name, options)?)
            }
            Backing::Memory(memory) => {
                let mut held = memory.lock();
                let held = &mut *held;
                let next = held.trees.len();
                let index = *held.names.entry(name.to_owned()).or_insert(next);
                if index == next {
                    held.trees.push(BTreeMap::new());
                }
                Tree::Memory { memory: Arc::clone(memory), index }
            }
        };
        Ok(Keyspace { tree })
    }

    /// An empty batch.
    pub fn batch(&self) -> Batch {
        Batch { kv: self.clone(), writes: BTreeMap::new() }
    }

    /// Makes all that was written so far survive what `durability` says.
    pub fn persist(&self, durability: Durability) -> Result<(), KvError> {
        match &self.backing {
            Backing::Disk(database) => Ok(database.persist(durability.into())?),
            Backing::Memory(_) => Ok(()),
        }
    }
}

impl Keyspace {
    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        check_key(key)?;
        match &self.tree {
            Tree::Disk(tree) => Ok(tree.get(key)?.map(|value| value.to_vec())),
            Tree::Memory { memory, index } => Ok(memory.lock().trees[*index].get(key).cloned()),
        }
    }

    /// Sets the value of `key`.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), KvError> {
        check_key(key)?;
        match &self.tree {
            Tree::Disk(tree) => tree.insert(key, value)?,
            Tree::Memory { memory, index } => {
                memory.lock().trees[*index].insert(key.to_vec(), value.to_vec());
            }
        }
        Ok(())
    }

    /// Removes `key`, if it is there.
    pub fn delete(&self, key: &[u8]) -> Result<(), KvError> {
        check_key(key)?;
        match &self.tree {
            Tree::Disk(tree) => tree.remove(key)?,
            Tree::Memory { memory, index } => {
                memory.lock().trees[*index].remove(key);
            }
        }
        Ok(())
    }

    /// The first `limit` pairs whose keys begin with `prefix`, in order.
    pub fn scan(&self, prefix: &[u8], limit: usize) -> Result<Vec<Pair>, KvError> {
        self.scan_from(prefix, Bound::Included(prefix), limit)
    }

    /// The first `limit` pairs whose keys begin with `prefix` and come after `after`: the next page of [`Keyspace::scan`].
    pub fn scan_after(&self, prefix: &[u8], after: &[u8], limit: usize) -> Result<Vec<Pair>, KvError> {
        self.scan_from(prefix, Bound::Excluded(after.max(prefix)), limit)
    }

    fn scan_from(&self, prefix: &[u8], from: Bound<&[u8]>, limit: usize) -> Result<Vec<Pair>, KvError> {
        let range = (from, Bound::Unbounded);
        match &self.tree {
            Tree::Disk(tree) => {
                let mut pairs = Vec::new();
                for entry in tree.range::<&[u8], _>(range).take(limit) {
                    let (key, value) = entry.into_inner()?;
                    if !key.starts_with(prefix) {
                        break;
                    }
                    pairs.push((key.to_vec(), value.to_vec()));
                }
                Ok(pairs)
            }
            Tree::Memory { memory, index } => {
                let memory = memory.lock();
                let found = memory.trees[*index].range::<[u8], _>(range).take_while(|(key, _)| key.starts_with(prefix));
                Ok(found.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
            }
        }
    }

    fn identity(&self) -> u64 {
        match &self.tree {
            Tree::Disk(tree) => tree.id(),
            Tree::Memory { index, .. } => *index as u64,
        }
    }
}

/// Writes to any keyspaces of one store that happen together or not at all. Of several writes to one key the last counts.
pub struct Batch {
    kv: Kv,
    /// By the keyspace's identity and the key.
    writes: BTreeMap<(u64, Vec<u8>), Write>,
}

struct Write {
    keyspace: Keyspace,
    /// None: the key is removed.
    value: Option<Vec<u8>>,
}

impl Batch {
    /// Sets the value of `key` in `keyspace`, which must be of the same store.
    pub fn put(&mut self, keyspace: &Keyspace, key: &[u8], value: &[u8]) -> Result<(), KvError> {
        self.write(keyspace, key, Some(value.to_vec()))
    }

    /// Removes `key` from `keyspace`, which must be of the same store.
    pub fn delete(&mut self, keyspace: &Keyspace, key: &[u8]) -> Result<(), KvError> {
        self.write(keyspace, key, None)
    }

    fn write(&mut self, keyspace: &Keyspace, key: &[u8], value: Option<Vec<u8>>) -> Result<(), KvError> {
        check_key(key)?;
        self.writes.insert((keyspace.identity(), key.to_vec()), Write { keyspace: keyspace.clone(), value });
        Ok(())
    }

    /// Does all of it.
    pub fn commit(self, durability: Durability) -> Result<(), KvError> {
        match &self.kv.backing {
            Backing::Disk(database) => {
                // Without a mode, a batch would wait in this process's memory.
                let mut batch = database.batch().durability(Some(durability.into()));
                for ((_, key), Write { keyspace, value }) in self.writes {
                    let Tree::Disk(tree) = &keyspace.tree else { continue };
                    match value {
                        Some(value) => batch.insert(tree, key, value),
                        None => batch.remove(tree, key),
                    }
                }
                Ok(batch.commit()?)
            }
            Backing::Memory(memory) => {
                let mut memory = memory.lock();
                for ((_, key), Write { keyspace, value }) in self.writes {
                    let Tree::Memory { index, .. } = keyspace.tree else { continue };
                    match value {
                        Some(value) => memory.trees[index].insert(key, value),
                        None => memory.trees[index].remove(&key),
                    };
                }
                Ok(())
            }
        }
    }
}

fn check_key(key: &[u8]) -> Result<(), KvError> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) { Ok(()) } else { Err(KvError::InvalidKey { bytes: key.len() }) }
}

impl From<Durability> for PersistMode {
    fn from(durability: Durability) -> PersistMode {
        match durability {
            Durability::Written => PersistMode::Buffer,
            Durability::Synced => PersistMode::SyncAll,
        }
    }
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvError {
    /// The disk's fault. After a failed write the store takes no more of them until it is opened again.
    Disk(DiskError),
    /// Another process has it open.
    Locked,
    /// The files' fault: they cannot be understood.
    Corrupt(String),
    /// The caller's fault: a key is 1 to [`KEY_BYTES_MAX`] bytes long.
    InvalidKey {
        /// The length of the one that was given.
        bytes: usize,
    },
    /// The caller's fault: a keyspace's name is 1 to 255 bytes long.
    InvalidName(String),
}

impl fmt::Display for KvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KvError::Disk(error) => error.fmt(f),
            KvError::Locked => f.write_str("another process has the store open"),
            KvError::Corrupt(reason) => write!(f, "the store is damaged: {reason}"),
            KvError::InvalidKey { bytes } => write!(f, "a key of {bytes} bytes: it must have 1 to {KEY_BYTES_MAX}"),
            KvError::InvalidName(name) => write!(f, "{name:?} cannot name a keyspace"),
        }
    }
}

impl std::error::Error for KvError {}

impl From<fjall::Error> for KvError {
    fn from(error: fjall::Error) -> KvError {
        match error {
            fjall::Error::Locked => KvError::Locked,
            fjall::Error::Io(said) if said.kind() == std::io::ErrorKind::StorageFull => KvError::Disk(DiskError::Full),
            fjall::Error::Io(said) => KvError::Disk(DiskError::Other { path: String::new(), reason: said.to_string() }),
            fjall::Error::Poisoned => KvError::Disk(DiskError::Other {
                path: String::new(),
                reason: "an earlier write failed; open the store again".to_owned(),
            }),
            other => KvError::Corrupt(other.to_string()),
        }
    }
}

impl fmt::Debug for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kv").field("memory", &matches!(self.backing, Backing::Memory(_))).finish_non_exhaustive()
    }
}

impl fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyspace").field("id", &self.identity()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("writes", &self.writes.len()).finish_non_exhaustive()
    }
}
