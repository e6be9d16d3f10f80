//! The authority's one file, `ca.pem`: its key, then its certificate. One file, so that a crash cannot part the two.
#![allow(clippy::disallowed_methods)] // A door: three small files that must be owner-only from their first moment.

use crate::PkiError;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Far more than a key and a certificate need; what is longer was not written by us.
const SIZE_MAX: u64 = 64 * 1024;

pub(crate) fn file(directory: &Path) -> PathBuf {
    directory.join("ca.pem")
}

/// The stored text, or `None` if there is no authority yet.
pub(crate) fn read(directory: &Path) -> Result<Option<String>, PkiError> {
    let path = file(directory);
    let opened = match File::open(&path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PkiError::Store { path, source }),
    };
    let mut text = String::new();
    match opened.take(SIZE_MAX).read_to_string(&mut text) {
        Ok(_) => Ok(Some(text)),
        Err(source) => Err(PkiError::Store { path, source }),
    }
}

/// Writes the text under another name, makes it durable, then renames it into place.
pub(crate) fn write(directory: &Path, text: &str) -> Result<(), PkiError> {
    let path = file(directory);
    let attempt = || -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let unfinished = directory.join("ca.pem.new");
        // A predecessor's leftover may have other permissions, and `mode` acts only on creation.
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
        File::open(directory)?.sync_all()
    };
    attempt().map_err(|source| PkiError::Store { path: path.clone(), source })
}
