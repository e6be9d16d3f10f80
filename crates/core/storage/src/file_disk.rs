//! The disk that is one: a directory of the file system.

// This is the door to `std::fs`: nothing else in Atoll writes durable data past it.
#![allow(clippy::disallowed_methods)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use atoll_kernel::disk::{Disk, DiskError, DiskFile, Open, Operation};

/// A disk that is a directory. Paths cannot lead out of it.
#[derive(Clone, Debug)]
pub struct FileDisk {
    root: PathBuf,
}

impl FileDisk {
    /// The disk whose root is `root`, a directory that is there.
    pub fn new(root: impl Into<PathBuf>) -> FileDisk {
        FileDisk { root: root.into() }
    }

    /// The disk's root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn resolve(&self, path: &str) -> Result<PathBuf, DiskError> {
        let plain = Path::new(path).components().all(|component| matches!(component, Component::Normal(_)));
        if !plain {
            return Err(DiskError::Other { path: path.to_owned(), reason: "leads out of the disk".to_owned() });
        }
        Ok(self.root.join(path))
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The kernel's word for what the operating system said.
fn error(path: &str, operation: Operation, error: &io::Error) -> DiskError {
    let path = path.to_owned();
    match error.kind() {
        ErrorKind::NotFound => DiskError::NotFound { path },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskError::Full,
        _ if error.raw_os_error() == Some(EIO) => DiskError::Failing(operation),
        _ => DiskError::Other { path, reason: error.to_string() },
    }
}

/// The same number on every Unix.
const EIO: i32 = 5;

impl Disk for FileDisk {
    fn open(&self, path: &str, how: Open) -> Result<Arc<dyn DiskFile>, DiskError> {
        let full = self.resolve(path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(how == Open::Create);
        let file = options.open(full).map_err(|said| error(path, Operation::Read, &said))?;
        Ok(Arc::new(FileOnDisk { path: path.to_owned(), file }))
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        let full = self.resolve(path)?;
        if full.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&full).map_err(|said| error(path, Operation::Write, &said))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        let full = self.resolve(directory)?;
        let list = || {
            let mut names = Vec::new();
            for entry in fs::read_dir(full)? {
                // A name that is not UTF-8 is none of ours.
                names.extend(entry?.file_name().into_string());
            }
            names.sort();
            Ok(names)
        };
        list().map_err(|said| error(directory, Operation::Read, &said))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let (full_from, full_to) = (self.resolve(from)?, self.resolve(to)?);
        if full_from.parent() != full_to.parent() {
            return Err(DiskError::Other { path: to.to_owned(), reason: "not in the same directory".to_owned() });
        }
        fs::rename(full_from, full_to).map_err(|said| error(from, Operation::Write, &said))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        fs::remove_file(self.resolve(path)?).map_err(|said| error(path, Operation::Write, &said))
    }

    fn remove_directory(&self, path: &str) -> Result<(), DiskError> {
        match fs::remove_dir_all(self.resolve(path)?) {
            Err(said) if said.kind() != ErrorKind::NotFound => Err(error(path, Operation::Write, &said)),
            _ => Ok(()),
        }
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        sync_directory(&self.resolve(path)?).map_err(|said| error(path, Operation::Sync, &said))
    }
}

#[derive(Debug)]
struct FileOnDisk {
    path: String,
    file: File,
}

impl FileOnDisk {
    fn error(&self, operation: Operation) -> impl FnOnce(io::Error) -> DiskError {
        move |said| error(&self.path, operation, &said)
    }
}

impl DiskFile for FileOnDisk {
    fn length(&self) -> Result<u64, DiskError> {
        Ok(self.file.metadata().map_err(self.error(Operation::Read))?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let mut read = 0;
        while read < buffer.len() {
            match self.file.read_at(&mut buffer[read..], offset.saturating_add(read as u64)) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(said) if said.kind() == ErrorKind::Interrupted => {}
                Err(said) => return Err(self.error(Operation::Read)(said)),
            }
        }
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset).map_err(self.error(Operation::Write))
    }

    fn truncate(&self, length: u64) -> Result<(), DiskError> {
        self.file.set_len(length).map_err(self.error(Operation::Write))
    }

    fn sync(&self) -> Result<(), DiskError> {
        // fdatasync: the length is written too, as reading back needs it; only times are not.
        self.file.sync_data().map_err(self.error(Operation::Sync))
    }
}
