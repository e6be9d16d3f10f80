//! Which stacks this user runs, and which block of addresses each has.
//!
//! One file per stack in an owner-only directory, locked by the stack's process for as long as it lives: a lock that can
//! be taken means that the process is gone, however it went, so nothing has to be cleaned up after `kill -9`.

use std::io::{Seek, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};
use serde::{Deserialize, Serialize};

use crate::error::{Code, Failure, Result};
use crate::files;

/// Instance `k` has the addresses `127.k.0.n`. The last block is left alone: its addresses end in a broadcast.
const INSTANCES: u8 = 254;
const ENTRY_BYTES_MAX: usize = 64 * 1024;

/// One running stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name, unique among this user's stacks.
    pub name: String,
    /// The directory that it was started for.
    pub directory: PathBuf,
    /// Its home, with the control socket.
    pub home: PathBuf,
    /// Its block of addresses.
    pub instance: u8,
    /// Its process.
    pub pid: u32,
    /// True if it keeps nothing on disk.
    pub ephemeral: bool,
    /// True for the stack of `atoll run`, which other commands use only when named.
    pub private: bool,
}

impl Entry {
    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.home.join("control.sock")
    }
}

/// The directory of entries.
#[derive(Clone, Debug)]
pub struct Registry {
    directory: PathBuf,
}

/// What a stack wants to be known as.
pub struct Wanted<'a> {
    /// Its name.
    pub name: &'a str,
    /// The directory that it is started for.
    pub directory: &'a Path,
    /// Its home.
    pub home: &'a Path,
    /// The ports that it needs, each with the node's number.
    pub ports: &'a [(u8, u16)],
    /// Blocks that turned out to be taken after all.
    pub excluded: &'a [u8],
    /// See [`Entry::ephemeral`].
    pub ephemeral: bool,
    /// See [`Entry::private`].
    pub private: bool,
}

/// A stack's place in the registry, for as long as this value lives.
#[derive(Debug)]
pub struct Claim {
    /// What others see.
    pub entry: Entry,
    /// Addresses that were passed over, with the reason, in the order in which they were tried.
    pub passed_over: Vec<String>,
    path: PathBuf,
    _lock: Flock<std::fs::File>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The file goes before the lock does. A file that stays behind is harmless: its lock can be taken.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Registry {
    /// This user's registry, made if it is not there.
    pub fn open() -> Result<Registry> {
        let directory = match std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()) {
            Some(runtime) => PathBuf::from(runtime).join("atoll"),
            None => std::env::temp_dir().join(format!("atoll-{}", nix::unistd::geteuid())),
        };
        Registry::at(directory)
    }

    /// A registry in a given directory.
    pub fn at(directory: PathBuf) -> Result<Registry> {
        files::owner_only_directory(&directory).map_err(|error| unusable(&directory, &error))?;
        Ok(Registry { directory })
    }

    /// Where ephemeral stacks have their homes.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The stacks that run now, by name.
    pub fn running(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let listing = std::fs::read_dir(&self.directory).map_err(|error| unusable(&self.directory, &error))?;
        for file in listing.flatten() {
            let path = file.path();
            if path.extension().is_some_and(|extension| extension == "json")
                && let Some(entry) = self.read(&path)
            {
                entries.push(entry);
            }
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// The file of the stack with this name.
    fn path_of(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }

    /// Waits until a stack's process is gone, which has been told to end.
    pub fn wait_until_gone(&self, entry: &Entry) -> Result<()> {
        let path = self.path_of(&entry.name);
        let is_there = files::read_text(&path, ENTRY_BYTES_MAX)
            .is_ok_and(|text| serde_json::from_str::<Entry>(&text).is_ok_and(|found| found.pid == entry.pid));
        if is_there {
            let _lock = files::lock(&path).map_err(|error| unusable(&self.directory, &error))?;
            let _ = std::fs::remove_file(&path);
        }
        Ok(())
    }

    /// Reads one entry; None if its stack is gone. The file of a stack that is gone is removed.
    fn read(&self, path: &Path) -> Option<Entry> {
        if let Ok(Some(_lock)) = files::try_lock(path) {
            let _ = std::fs::remove_file(path);
            return None;
        }
        serde_json::from_str(&files::read_text(path, ENTRY_BYTES_MAX).ok()?).ok()
    }

    /// Takes a name and the first block whose addresses are all free.
    ///
    /// # Errors
    /// [`Code::AlreadyRunning`] if a stack runs under this name or for this directory; [`Code::AddressInUse`] if no block
    /// is free.
    pub fn claim(&self, wanted: &Wanted<'_>) -> Result<Claim> {
        // Claims are made one after the other, so that two stacks cannot choose the same block.
        let serial =
            files::lock(&self.directory.join("claims.lock")).map_err(|error| unusable(&self.directory, &error))?;
        let running = self.running()?;
        refuse_twins(wanted, &running)?;
        let taken: Vec<u8> =
            running.iter().map(|entry| entry.instance).chain(wanted.excluded.iter().copied()).collect();
        let (instance, passed_over) = free_instance(wanted, &taken)?;
        let entry = Entry {
            name: wanted.name.to_owned(),
            directory: wanted.directory.to_owned(),
            home: wanted.home.to_owned(),
            instance,
            pid: std::process::id(),
            ephemeral: wanted.ephemeral,
            private: wanted.private,
        };
        let path = self.path_of(wanted.name);
        let claim = self.write(entry, path, passed_over)?;
        drop(serial);
        Ok(claim)
    }

    fn write(&self, entry: Entry, path: PathBuf, passed_over: Vec<String>) -> Result<Claim> {
        let failed = |error: std::io::Error| unusable(&self.directory, &error);
        // Nobody else claims now, so if the lock is held, then for a moment, by a reader that asks whether the stack lives.
        let mut lock = files::lock(&path).map_err(failed)?;
        let text = serde_json::to_string_pretty(&entry).unwrap_or_default();
        lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(text.as_bytes())).map_err(failed)?;
        Ok(Claim { entry, passed_over, path, _lock: lock })
    }
}

fn refuse_twins(wanted: &Wanted<'_>, running: &[Entry]) -> Result<()> {
    if let Some(twin) = running.iter().find(|entry| entry.name == wanted.name) {
        let message = format!("a stack named `{}` already runs, for {}", twin.name, twin.directory.display());
        let hint = "end it with `atoll down`, or start another beside it with `--name`";
        return Err(Failure::new(Code::AlreadyRunning, message).hint(hint));
    }
    let is_twin = |entry: &&Entry| !entry.private && entry.directory == wanted.directory;
    if !wanted.private
        && let Some(twin) = running.iter().find(is_twin)
    {
        let message = format!("stack `{}` already runs for {}", twin.name, twin.directory.display());
        return Err(Failure::new(Code::AlreadyRunning, message).hint("see `atoll status`, end it with `atoll down`"));
    }
    Ok(())
}

/// The first block on which every port of every node can be bound.
fn free_instance(wanted: &Wanted<'_>, taken: &[u8]) -> Result<(u8, Vec<String>)> {
    let mut passed_over = Vec::new();
    for instance in (0..INSTANCES).filter(|instance| !taken.contains(instance)) {
        match first_occupied(instance, wanted.ports) {
            None => return Ok((instance, passed_over)),
            Some(address) => passed_over.push(format!("{address} is taken by another program")),
        }
        // A port that is bound on every address (0.0.0.0) is taken in every block.
        if passed_over.len() >= 8 {
            break;
        }
    }
    let hint =
        "a program listens on these ports on every address: see `ss -ltnp`, and end it or bind it to one address";
    Err(Failure::new(Code::AddressInUse, passed_over.join(", ")).hint(hint))
}

/// The first of these addresses of a block that another program has.
pub fn first_occupied(instance: u8, ports: &[(u8, u16)]) -> Option<SocketAddrV4> {
    ports
        .iter()
        .map(|(node, port)| SocketAddrV4::new(Ipv4Addr::new(127, instance, 0, *node), *port))
        .find(|address| !is_free(*address))
}

/// True if a listener could be bound. The probe itself never listens, so no client can reach it.
fn is_free(address: SocketAddrV4) -> bool {
    let Ok(socket) = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None) else {
        return false;
    };
    // As listeners do it, so that connections of an earlier stack that are still closing are no obstacle.
    let _ = socket::setsockopt(&socket, sockopt::ReuseAddr, &true);
    socket::bind(socket.as_raw_fd(), &SockaddrIn::from(address)).is_ok()
}

fn unusable(directory: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::DataDirectoryUnusable, format!("{}: {error}", directory.display()))
        .hint("the list of running stacks is kept there: it must be a directory of yours")
}
