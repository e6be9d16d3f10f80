//! The few files that the command line itself reads and writes: the stack file, the registry, kubeconfig. Always bounded,
//! and readable by their owner only.
#![allow(clippy::disallowed_methods)] // These belong to the user, not to a virtual node, so no injected disk fault is about them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

/// Reads a text file of at most `bytes_max` bytes.
///
/// # Errors
/// What the system says, `InvalidData` if it is too long or no text.
pub fn read_text(path: &Path, bytes_max: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {bytes_max} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))
}

/// Reads the text files of a folder in the order of their names, at most `files_max` of at most `bytes_max` bytes.
///
/// # Errors
/// As [`read_text`], and `InvalidData` if there are too many.
pub fn read_folder(path: &Path, files_max: usize, bytes_max: usize) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.is_file() {
            files.push(file);
        }
        if files.len() > files_max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {files_max} files")));
        }
    }
    files.sort();
    files.iter().map(|file| read_text(file, bytes_max)).collect()
}

/// Writes a text file for the user, in one step, so that a reader sees the old or the new text.
///
/// # Errors
/// What the system says.
pub fn write_text(path: &Path, text: &str) -> io::Result<()> {
    replace(path, text.as_bytes(), 0o666)
}

/// Writes a file that only its owner may read, in one step.
///
/// # Errors
/// What the system says.
pub fn write_owner_only(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o600)
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    std::fs::rename(&beside, path)
}

/// A key of `length` random bytes: the one kept in the file, or a new one. Without a file it lasts as long as the process.
///
/// # Errors
/// What the system says, `InvalidData` if the file holds another number of bytes.
pub fn secret(path: Option<&Path>, length: usize) -> io::Result<Vec<u8>> {
    let mut key = Vec::new();
    if let Some(path) = path
        && path.exists()
    {
        File::open(path)?.take(length as u64 + 1).read_to_end(&mut key)?;
        return match key.len() == length {
            true => Ok(key),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display()))),
        };
    }
    key.resize(length, 0);
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    if let Some(path) = path {
        write_owner_only(path, &key)?;
    }
    Ok(key)
}

/// Makes a directory that only its owner may enter. If it is there already, it must be this user's own, and is closed to
/// others.
pub fn owner_only_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // Followed links would let another user point a predictable name in a shared directory at a place of their own.
    let metadata = std::fs::symlink_metadata(path)?;
    if !metadata.is_dir() || metadata.uid() != nix::unistd::geteuid().as_raw() {
        let message = format!("{} is not a directory of this user", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Opens, and makes if need be, an owner-only file for reading and writing, without cutting it.
pub fn open_owner_only(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Opens, and makes if need be, an owner-only file that is written at its end.
pub fn append_owner_only(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Takes the exclusive lock on a file without waiting; None if another process holds it.
///
/// The lock goes when the returned value is dropped, or the process ends, however it ends.
pub fn try_lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    match lock_named(path, FlockArg::LockExclusiveNonblock) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
        Ok(lock) => Ok(Some(lock)),
    }
}

/// Waits for the exclusive lock on a file.
pub fn lock(path: &Path) -> io::Result<Flock<File>> {
    lock_named(path, FlockArg::LockExclusive)
}

fn lock_named(path: &Path, how: FlockArg) -> io::Result<Flock<File>> {
    loop {
        let lock = Flock::lock(open_owner_only(path)?, how).map_err(|(_, errno)| io::Error::from(errno))?;
        // The file may have been removed between opening and locking; then the lock is on a file that nobody else sees.
        let held = lock.metadata()?;
        if std::fs::metadata(path).is_ok_and(|named| named.ino() == held.ino() && named.dev() == held.dev()) {
            return Ok(lock);
        }
    }
}
