//! Disks: the one abstraction that everything durable is written through, real, in memory, or faulty.
//!
//! Paths are relative to the disk's root and separated by `/`, on every system. An operation that has returned is seen
//! by every later one and survives `kill`; it survives a power failure only after a *sync*: the bytes of a file after
//! [`DiskFile::sync`], the names in a directory (creations, renames, removals) after [`Disk::sync_directory`].
//!
//! Start with [`Disk`], then [`MemoryDisk`], which keeps exactly what that contract promises and no more.

mod guarded;
mod memory;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use guarded::{DiskSwitch, GuardedDisk};
pub use memory::{Keep, MemoryDisk};

/// A file system, as small as logs and snapshots need it.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens the file at `path` for reading and writing.
    fn open(&self, path: &str, how: Open) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// Makes a directory and those above it. Not an error if it is there. Like a file's, a directory's name is durable once the
    /// directory above it is synced, and what is in it cannot be found before that.
    fn create_directory(&self, path: &str) -> Result<(), DiskError>;

    /// The names of the files and directories directly in a directory, sorted. [`DiskError::NotFound`] if it is not there.
    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError>;

    /// Gives a file another name in the same directory, replacing what had that name: the old file or the new, never a mixture.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file's name. Handles that are open keep working.
    fn remove(&self, path: &str) -> Result<(), DiskError>;

    /// Removes a directory and all that is in it. After a power failure any part of it may be back. Not an error if it is not there.
    fn remove_directory(&self, path: &str) -> Result<(), DiskError>;

    /// Makes the creations, renames and removals in a directory durable.
    fn sync_directory(&self, path: &str) -> Result<(), DiskError>;

    /// How much longer each operation takes on this disk at present than it took here. A disk never sleeps: whoever waits for
    /// an effect (an acknowledgement that follows a sync) delays it by this much on the kernel's timer.
    fn latency(&self) -> Duration {
        Duration::ZERO
    }
}

/// An open file. Calls may come from several threads; each is atomic for the bytes that it touches.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// The file's length in bytes.
    fn length(&self) -> Result<u64, DiskError>;

    /// Reads from `offset` until the buffer is full or the file ends, and says how many bytes were read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError>;

    /// Writes all bytes at `offset`; a gap before them is filled with zeros. After an error any part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Cuts the file, or extends it with zeros, to `length` bytes.
    fn truncate(&self, length: u64) -> Result<(), DiskError>;

    /// Makes the file's bytes and length durable. After an error, what was written since the last success may never become
    /// durable, **even if a later sync succeeds**: it has to be written again. (Linux marks such pages as clean.)
    fn sync(&self) -> Result<(), DiskError>;
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It must be there.
    Existing,
    /// It is made if it is not there.
    Create,
}

/// What a disk was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Reading bytes, lengths or names.
    Read,
    /// Writing bytes, lengths or names.
    Write,
    /// Making bytes or names durable.
    Sync,
}

/// Why a disk did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// No space is left. Reads still succeed.
    Full,
    /// The device answered with an input/output error.
    Failing(Operation),
    /// There is no such file or directory.
    NotFound {
        /// What was asked for.
        path: String,
    },
    /// Anything else, such as missing permissions.
    Other {
        /// What was asked for.
        path: String,
        /// What the operating system said.
        reason: String,
    },
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::Full => f.write_str("No space left on device"),
            DiskError::Failing(_) => f.write_str("Input/output error"),
            DiskError::NotFound { path } => write!(f, "{path}: No such file or directory"),
            DiskError::Other { path, reason } => write!(f, "{path}: {reason}"),
        }
    }
}

impl std::error::Error for DiskError {}

/// Writes a whole file so that after a power failure there is either the old one or the new one, and on success the new one:
/// a temporary file beside it, synced, renamed over it, and the directory synced.
pub fn replace_file(disk: &dyn Disk, directory: &str, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let path = join(directory, name);
    let temporary = format!("{path}.new");
    let file = disk.open(&temporary, Open::Create)?;
    file.truncate(0)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&temporary, &path)?;
    disk.sync_directory(directory)
}

/// The path of `name` in `directory`, which is empty for the disk's root.
pub fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// Reads a whole file of at most `limit` bytes; None if it is not there. A longer file is an error: it is not what was written.
pub fn read_file(disk: &dyn Disk, path: &str, limit: usize) -> Result<Option<Vec<u8>>, DiskError> {
    let file = match disk.open(path, Open::Existing) {
        Ok(file) => file,
        Err(DiskError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = usize::try_from(file.length()?).unwrap_or(usize::MAX);
    if length > limit {
        return Err(DiskError::Other { path: path.to_owned(), reason: format!("longer than {limit} bytes") });
    }
    let mut bytes = vec![0; length];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}
