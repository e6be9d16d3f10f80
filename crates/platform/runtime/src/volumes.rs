//! The pod's directory: its volumes, and the files that every container of it sees (`/etc/hosts` and the like).
//!
//! Files of ConfigMaps and Secrets are laid out as the kubelet does it: each name is a link through `..data`, itself a
//! link to a directory with the contents, so that replacing `..data` replaces all of them at once.
#![allow(clippy::disallowed_methods)] // A door: these files are what containers mount, rebuilt from the API at every start.

use crate::config::{PodConfig, ProjectedFile, RuntimeError, Volume};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

/// A pod's directory and what is in it.
#[derive(Debug, Clone)]
pub(crate) struct PodDirectory {
    path: PathBuf,
}

impl PodDirectory {
    /// Makes the directory with everything that does not depend on containers.
    pub(crate) fn make(parent: &Path, config: &PodConfig) -> Result<Self, RuntimeError> {
        let directory = Self { path: parent.join(&config.uid) };
        directory.fill(config).map_err(|error| RuntimeError::Sandbox {
            step: "prepare the pod's directory".into(),
            message: error.to_string(),
        })?;
        Ok(directory)
    }

    fn fill(&self, config: &PodConfig) -> io::Result<()> {
        if Path::new(&config.uid).components().ne([Component::Normal(config.uid.as_ref())]) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the pod's uid cannot name a directory"));
        }
        let _ = fs::remove_dir_all(&self.path);
        private_directory(&self.path)?;
        for needed in ["root", "tmp", "volumes"] {
            fs::create_dir(self.path.join(needed))?;
        }
        fs::set_permissions(self.path.join("tmp"), Permissions::from_mode(0o1777))?;
        fs::write(self.path.join("hostname"), format!("{}\n", config.hostname))?;
        fs::write(self.path.join("resolv.conf"), &config.resolv_conf)?;
        fs::write(self.path.join("hosts"), hosts(config.ip, &config.hostname, &config.hosts))?;
        for (name, volume) in &config.volumes {
            let path = self.volume(name)?;
            match volume {
                Volume::EmptyDir => {
                    fs::create_dir(&path)?;
                    // Kubernetes makes them writable for everyone.
                    fs::set_permissions(&path, Permissions::from_mode(0o777))?;
                }
                Volume::Files(files) => {
                    fs::create_dir(&path)?;
                    write_files(&path, files)?;
                }
                Volume::HostPath(_) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn volume(&self, name: &str) -> io::Result<PathBuf> {
        if Path::new(name).components().ne([Component::Normal(name.as_ref())]) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("volume name {name:?}")));
        }
        Ok(self.path.join("volumes").join(name))
    }

    /// Where a mount's content lies on the host.
    pub(crate) fn source(&self, name: &str, volume: &Volume, sub_path: Option<&Path>) -> io::Result<PathBuf> {
        let root = match volume {
            Volume::HostPath(path) => path.clone(),
            Volume::EmptyDir | Volume::Files(_) => self.volume(name)?,
        };
        let Some(sub_path) = sub_path else { return Ok(root) };
        if !sub_path.components().all(|component| matches!(component, Component::Normal(_))) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "subPath must be relative and must not contain '..'",
            ));
        }
        let path = root.join(sub_path);
        if matches!(volume, Volume::EmptyDir) && !path.exists() {
            fs::create_dir_all(&path)?;
        }
        // A link in the volume must not lead out of it; for files of a ConfigMap it leads to the content.
        let real = path.canonicalize()?;
        if !real.starts_with(root.canonicalize()?) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "subPath leads out of the volume"));
        }
        Ok(real)
    }

    /// Replaces the files of a volume, all at once.
    pub(crate) fn update(&self, name: &str, files: &BTreeMap<String, ProjectedFile>) -> io::Result<()> {
        write_files(&self.volume(name)?, files)
    }

    pub(crate) fn remove(&self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A directory for the owner alone: volumes hold secrets.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// `/etc/hosts` as the kubelet writes it.
fn hosts(ip: Ipv4Addr, hostname: &str, more: &[(Ipv4Addr, String)]) -> String {
    let mut text = format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{ip}\t{hostname}\n");
    for (address, names) in more {
        text.push_str(&format!("{address}\t{names}\n"));
    }
    text
}

fn write_files(volume: &Path, files: &BTreeMap<String, ProjectedFile>) -> io::Result<()> {
    let data = volume.join("..data");
    let old = fs::read_link(&data).ok();
    let generation =
        old.as_ref().and_then(|old| old.to_str()?.strip_prefix("..")?.parse::<u64>().ok()).unwrap_or(0) + 1;
    let fresh = volume.join(format!("..{generation}"));
    fs::create_dir(&fresh)?;
    for (name, file) in files {
        let relative = Path::new(name);
        if name.is_empty() || !relative.components().all(|component| matches!(component, Component::Normal(_))) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("file name {name:?}")));
        }
        let path = fresh.join(relative);
        fs::create_dir_all(path.parent().unwrap_or(&fresh))?;
        fs::write(&path, &file.contents)?;
        fs::set_permissions(&path, Permissions::from_mode(file.mode & 0o777))?;
    }
    let unfinished = volume.join("..data_tmp");
    symlink(format!("..{generation}"), &unfinished)?;
    fs::rename(&unfinished, &data)?;
    let wanted = |name: &str| {
        files.keys().any(|file| Path::new(file).components().next() == Path::new(name).components().next())
    };
    for entry in fs::read_dir(volume)?.flatten() {
        if let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with("..") && !wanted(name)) {
            fs::remove_file(volume.join(name))?;
        }
    }
    for file in files.keys() {
        if let Some(first) = Path::new(file).components().next() {
            let link = volume.join(first);
            if link.symlink_metadata().is_err() {
                symlink(Path::new("..data").join(first), link)?;
            }
        }
    }
    match old {
        Some(old) => fs::remove_dir_all(volume.join(old)),
        None => Ok(()),
    }
}
