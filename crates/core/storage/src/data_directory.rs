//! The directory that a stack keeps everything in (`.atoll/`): one process at a time, and a version.

// Locks and versions are below the disk abstraction: this is a door, like `file_disk.rs`.
#![allow(clippy::disallowed_methods)]

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use atoll_kernel::disk::{read_file, replace_file};

use crate::file_disk::FileDisk;

/// The version of the data directory's layout and formats that this Atoll reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// A data directory that this process holds. The lock goes with the value, or with the process, however it ends.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// Holds the lock for as long as it is open.
    _lock: File,
}

impl DataDirectory {
    /// Takes the data directory at `path`, which is made, for its owner only, if it is not there.
    pub fn open(path: impl Into<PathBuf>) -> Result<DataDirectory, DataDirectoryError> {
        let path = path.into();
        let failed = |error| DataDirectoryError::Unusable { path: path.clone(), reason: format!("{error}") };
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
            // The directory's own name must survive a power failure as well as what will be in it.
            let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(above).and_then(|above| above.sync_all()).map_err(failed)?;
        }
        let lock = lock(&path)?;
        check_version(&path)?;
        Ok(DataDirectory { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The disk whose root it is.
    pub fn disk(&self) -> FileDisk {
        FileDisk::new(&self.path)
    }

    /// The process that holds the data directory at `path` at present, if one does; 0 if it has not yet said which it is.
    pub fn holder(path: &Path) -> Option<u32> {
        let file = File::open(path.join(LOCK)).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(read_pid(file).unwrap_or(0)),
            _ => None,
        }
    }
}

const LOCK: &str = "lock";
const FORMAT: &str = "format";

fn lock(path: &Path) -> Result<File, DataDirectoryError> {
    let failed = |error: io::Error| DataDirectoryError::Unusable { path: path.to_owned(), reason: error.to_string() };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path.join(LOCK)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DataDirectoryError::Held { path: path.to_owned(), pid: read_pid(file) });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(failed)?;
    Ok(file)
}

fn read_pid(mut file: File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn check_version(path: &Path) -> Result<(), DataDirectoryError> {
    let failed = |reason: String| DataDirectoryError::Unusable { path: path.to_owned(), reason };
    let disk = FileDisk::new(path);
    let Some(bytes) = read_file(&disk, FORMAT, 64).map_err(|error| failed(error.to_string()))? else {
        let text = format!("atoll {FORMAT_VERSION}\n");
        return replace_file(&disk, "", FORMAT, text.as_bytes()).map_err(|error| failed(error.to_string()));
    };
    let text = String::from_utf8_lossy(&bytes);
    match text.trim().strip_prefix("atoll ").and_then(|version| version.parse::<u32>().ok()) {
        Some(FORMAT_VERSION) => Ok(()),
        Some(found) => Err(DataDirectoryError::OtherVersion { path: path.to_owned(), found }),
        None => Err(failed("the file `format` in it is not one of Atoll's".to_owned())),
    }
}

/// Why a data directory could not be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataDirectoryError {
    /// Another process holds it.
    Held {
        /// The directory.
        path: PathBuf,
        /// The process, unless it has not yet written down which it is.
        pid: Option<u32>,
    },
    /// It was written by another version of Atoll.
    OtherVersion {
        /// The directory.
        path: PathBuf,
        /// Its version; this Atoll's is [`FORMAT_VERSION`].
        found: u32,
    },
    /// It cannot be made, read or written.
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the operating system said, or what was found.
        reason: String,
    },
}

impl fmt::Display for DataDirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataDirectoryError::Held { path, pid: Some(pid) } => {
                write!(f, "{} is in use by process {pid}", path.display())
            }
            DataDirectoryError::Held { path, pid: None } => {
                write!(f, "{} is in use by another process", path.display())
            }
            DataDirectoryError::OtherVersion { path, found } => write!(
                f,
                "{} has format version {found}; this Atoll reads and writes version {FORMAT_VERSION}",
                path.display()
            ),
            DataDirectoryError::Unusable { path, reason } => write!(f, "{}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for DataDirectoryError {}
