//! A stack's home: the directory that holds its control socket, its log and, unless ephemeral, its data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use atoll_kernel::disk::{Disk, MemoryDisk};
use atoll_storage::{DataDirectory, DataDirectoryError};

use crate::error::{Code, Failure, Result};
use crate::files;

/// Where one stack keeps what it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    directory: PathBuf,
    is_ephemeral: bool,
}

impl Home {
    /// `.atoll` beside the stack file.
    pub fn beside(stack_directory: &Path) -> Home {
        Home { directory: stack_directory.join(".atoll"), is_ephemeral: false }
    }

    /// A directory that lasts as long as the stack: for `--ephemeral`.
    pub fn ephemeral(runtime_directory: &Path, name: &str) -> Home {
        Home { directory: runtime_directory.join(format!("{name}.home")), is_ephemeral: true }
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// What a detached stack prints.
    pub fn log(&self) -> PathBuf {
        self.directory.join("atoll.log")
    }

    /// Credentials for `kubectl`.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// Whom to trust over TLS: the certificate of the stack's own authority.
    pub fn certificate_authority(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// A certificate of that authority for clients of Redis, and its key.
    pub fn redis_client(&self) -> (PathBuf, PathBuf) {
        (self.directory.join("redis-client.pem"), self.directory.join("redis-client-key.pem"))
    }

    /// Makes the directory, for its owner only.
    pub fn prepare(&self) -> Result<()> {
        files::owner_only_directory(&self.directory).map_err(|error| self.unusable(&error))
    }

    /// Takes the directory for this process alone, for as long as the returned value lives.
    ///
    /// # Errors
    /// [`Code::DataDirectoryLocked`] if another process has it, [`Code::DataDirectoryUnusable`] if it is of another version.
    pub fn take(&self) -> Result<Held> {
        self.prepare()?;
        if !self.is_ephemeral {
            return DataDirectory::open(&self.directory).map(Held::Kept).map_err(|error| refused(&error));
        }
        // Nothing in it outlives the process, so it needs no version, and its lock nothing that is synced to a disk.
        match files::try_lock(&self.directory.join("lock")) {
            Ok(Some(lock)) => Ok(Held::Ephemeral { _lock: lock }),
            Ok(None) => Err(refused(&DataDirectoryError::Held { path: self.directory.clone(), pid: None })),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    /// Deletes the directory with all that is in it, if it is one of ours and nobody uses it. True if it was there.
    pub fn purge(&self) -> Result<bool> {
        if !self.directory.join("format").exists() {
            return Ok(false);
        }
        let _held = self.take()?;
        std::fs::remove_dir_all(&self.directory).map_err(|error| self.unusable(&error))?;
        Ok(true)
    }

    fn unusable(&self, error: &std::io::Error) -> Failure {
        Failure::new(Code::DataDirectoryUnusable, format!("{}: {error}", self.directory.display()))
            .hint("the directory must belong to you, and its file system must have space")
    }
}

/// A home that this process has for itself.
#[derive(Debug)]
pub enum Held {
    /// With data that outlives the process.
    Kept(DataDirectory),
    /// Without.
    Ephemeral {
        /// Goes with the process.
        _lock: nix::fcntl::Flock<std::fs::File>,
    },
}

impl Held {
    /// The disk that engines write to.
    pub fn disk(&self) -> Arc<dyn Disk> {
        match self {
            Held::Kept(directory) => Arc::new(directory.disk()),
            Held::Ephemeral { .. } => Arc::new(MemoryDisk::ephemeral()),
        }
    }

    /// The data directory's path; None if nothing is kept.
    pub fn data_directory(&self) -> Option<PathBuf> {
        match self {
            Held::Kept(directory) => Some(directory.path().to_owned()),
            Held::Ephemeral { .. } => None,
        }
    }
}

fn refused(error: &DataDirectoryError) -> Failure {
    let (code, hint) = match error {
        DataDirectoryError::Held { .. } => {
            (Code::DataDirectoryLocked, "a stack already runs here: see `atoll status`, end it with `atoll down`")
        }
        DataDirectoryError::OtherVersion { .. } => (
            Code::DataDirectoryUnusable,
            "use the version of Atoll that wrote it, or delete the data with `atoll down --purge`",
        ),
        DataDirectoryError::Unusable { .. } => {
            (Code::DataDirectoryUnusable, "the directory must belong to you, and its file system must have space")
        }
    };
    Failure::new(code, error.to_string()).hint(hint)
}
