//! A disk in memory: for stacks that keep nothing, and for tests that pull the plug.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Disk, DiskError, DiskFile, DiskSwitch, Open, Operation};
use crate::seed::Stream;

/// A disk in memory. [`MemoryDisk::ephemeral`] holds bytes once and knows nothing of durability; [`MemoryDisk::simulated`] also
/// remembers what would be on the platter, so that [`MemoryDisk::power_loss`] can take the rest away.
///
/// A handle to the disk is cheap to clone, and all clones are one disk.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    shared: Arc<Shared>,
}

/// What survives a power failure beyond that which was synced.
pub enum Keep<'a> {
    /// Nothing.
    Synced,
    /// Whatever the stream says: unsynced writes survive or not, out of order, torn at sectors of 512 bytes; of the unsynced
    /// changes of names a prefix survives, as with a journalling file system.
    Torn(&'a mut Stream),
}

struct Shared {
    simulated: bool,
    capacity: Option<u64>,
    /// Bytes in all files. Files give theirs back when the last reference to them goes.
    used: Arc<AtomicU64>,
    switch: Arc<DiskSwitch>,
    names: Mutex<Names>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("simulated", &self.simulated).field("used", &self.used).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Names {
    live: BTreeMap<String, Arc<MemoryFile>>,
    directories: BTreeSet<String>,
    /// What names would be there after a power failure, and the changes since, in order. Only of a simulated disk.
    durable: BTreeMap<String, Arc<MemoryFile>>,
    durable_directories: BTreeSet<String>,
    unsynced: Vec<NameChange>,
}

/// A change of names that survives or is lost as a whole.
struct NameChange {
    /// The directory that has to be synced for it.
    directory: String,
    kind: NameChangeKind,
}

enum NameChangeKind {
    /// Each name and the file that has it from now on.
    Files(Vec<(String, Option<Arc<MemoryFile>>)>),
    /// A new directory.
    Directory(String),
}

impl MemoryDisk {
    /// A disk for stacks that keep nothing.
    pub fn ephemeral() -> MemoryDisk {
        MemoryDisk::new(false, None)
    }

    /// A disk that can lose power.
    pub fn simulated() -> MemoryDisk {
        MemoryDisk::new(true, None)
    }

    /// A disk that can lose power and is full when its files hold `capacity` bytes.
    pub fn simulated_with_capacity(capacity: u64) -> MemoryDisk {
        MemoryDisk::new(true, Some(capacity))
    }

    fn new(simulated: bool, capacity: Option<u64>) -> MemoryDisk {
        MemoryDisk {
            shared: Arc::new(Shared {
                simulated,
                capacity,
                used: Arc::default(),
                switch: Arc::default(),
                names: Mutex::default(),
            }),
        }
    }

    /// Where faults are injected.
    pub fn switch(&self) -> &DiskSwitch {
        &self.shared.switch
    }

    /// Bytes in all files.
    pub fn used(&self) -> u64 {
        self.shared.used.load(Ordering::Relaxed)
    }

    /// The power fails: what was not synced is gone, except for what `keep` saves. Handles that are still open belong to
    /// processes that are no more: what they write from now on reaches no file of this disk. (`kill` needs no call: all is kept.)
    ///
    /// An ephemeral disk loses everything.
    pub fn power_loss(&self, mut keep: Keep<'_>) {
        let mut names = self.shared.names.lock();
        let names = &mut *names;
        if let Keep::Torn(stream) = &mut keep {
            let kept = stream.below(names.unsynced.len() as u64 + 1) as usize;
            for change in names.unsynced.drain(..kept) {
                change.kind.apply(&mut names.durable, &mut names.durable_directories);
            }
        }
        names.unsynced.clear();
        names.durable_directories = names.reachable_directories();
        names.directories = names.durable_directories.clone();
        let reachable = &names.directories;
        names.durable.retain(|path, _| parent(path).is_empty() || reachable.contains(parent(path)));
        // In the order of their names, so that the same stream always has the same effect.
        let durable = std::mem::take(&mut names.durable);
        names.live.clear();
        for (path, file) in durable {
            let survivor = file.after_power_loss(&mut keep);
            names.live.insert(path.clone(), Arc::clone(&survivor));
            names.durable.insert(path, survivor);
        }
    }
}

impl NameChangeKind {
    fn apply(self, files: &mut BTreeMap<String, Arc<MemoryFile>>, directories: &mut BTreeSet<String>) {
        match self {
            NameChangeKind::Files(names) => {
                for (path, file) in names {
                    match file {
                        Some(file) => files.insert(path, file),
                        None => files.remove(&path),
                    };
                }
            }
            NameChangeKind::Directory(path) => {
                directories.insert(path);
            }
        }
    }
}

impl Names {
    fn change(&mut self, simulated: bool, directory: &str, names: Vec<(String, Option<Arc<MemoryFile>>)>) {
        if simulated {
            let kind = NameChangeKind::Files(names.clone());
            self.unsynced.push(NameChange { directory: directory.to_owned(), kind });
        }
        NameChangeKind::Files(names).apply(&mut self.live, &mut self.directories);
    }

    /// The durable directories that all directories above are durable of.
    fn reachable_directories(&self) -> BTreeSet<String> {
        let mut reachable = BTreeSet::new();
        // In the order of paths, those above come first.
        for path in &self.durable_directories {
            if parent(path).is_empty() || reachable.contains(parent(path)) {
                reachable.insert(path.clone());
            }
        }
        reachable
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The part of `path` below `directory`, if it is below it.
fn below<'a>(directory: &str, path: &'a str) -> Option<&'a str> {
    if directory.is_empty() {
        return Some(path);
    }
    path.strip_prefix(directory)?.strip_prefix('/')
}

fn not_found(path: &str) -> DiskError {
    DiskError::NotFound { path: path.to_owned() }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &str, how: Open) -> Result<Arc<dyn DiskFile>, DiskError> {
        let shared = &self.shared;
        shared.switch.check(Operation::Read)?;
        let mut names = shared.names.lock();
        if let Some(file) = names.live.get(path) {
            return Ok(Arc::clone(file) as Arc<dyn DiskFile>);
        }
        let directory = parent(path);
        if how == Open::Existing || !(directory.is_empty() || names.directories.contains(directory)) {
            return Err(not_found(path));
        }
        shared.switch.check(Operation::Write)?;
        let file = Arc::new(MemoryFile::new(shared, Contents::new(shared.simulated)));
        names.change(shared.simulated, directory, vec![(path.to_owned(), Some(Arc::clone(&file)))]);
        Ok(file)
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        self.shared.switch.check(Operation::Write)?;
        let mut names = self.shared.names.lock();
        let mut above = path;
        while !above.is_empty() && names.directories.insert(above.to_owned()) {
            if self.shared.simulated {
                let kind = NameChangeKind::Directory(above.to_owned());
                names.unsynced.push(NameChange { directory: parent(above).to_owned(), kind });
            }
            above = parent(above);
        }
        Ok(())
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        self.shared.switch.check(Operation::Read)?;
        let names = self.shared.names.lock();
        if !directory.is_empty() && !names.directories.contains(directory) {
            return Err(not_found(directory));
        }
        let first = |path: &String| {
            let rest = below(directory, path)?;
            Some(rest.split('/').next().unwrap_or(rest).to_owned())
        };
        let from = directory.to_owned();
        let files = names.live.range(from.clone()..).map(|(path, _)| path);
        let found: BTreeSet<String> = files
            .take_while(|path| path.starts_with(directory))
            .chain(names.directories.range(from..).take_while(|path| path.starts_with(directory)))
            .filter_map(first)
            .collect();
        Ok(found.into_iter().collect())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let shared = &self.shared;
        shared.switch.check(Operation::Write)?;
        if parent(from) != parent(to) {
            return Err(DiskError::Other { path: to.to_owned(), reason: "not in the same directory".to_owned() });
        }
        let mut names = shared.names.lock();
        let file = names.live.get(from).cloned().ok_or_else(|| not_found(from))?;
        names.change(shared.simulated, parent(from), vec![(from.to_owned(), None), (to.to_owned(), Some(file))]);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        let shared = &self.shared;
        shared.switch.check(Operation::Read)?;
        let mut names = shared.names.lock();
        if !names.live.contains_key(path) {
            return Err(not_found(path));
        }
        names.change(shared.simulated, parent(path), vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn remove_directory(&self, path: &str) -> Result<(), DiskError> {
        let shared = &self.shared;
        shared.switch.check(Operation::Read)?;
        let mut names = shared.names.lock();
        let inside: Vec<String> = names.live.keys().filter(|file| below(path, file).is_some()).cloned().collect();
        for file in inside {
            let directory = parent(&file).to_owned();
            names.change(shared.simulated, &directory, vec![(file, None)]);
        }
        // A simulated disk keeps the directory's name: files that a power failure brings back need it.
        if !shared.simulated {
            names.directories.retain(|directory| directory != path && below(path, directory).is_none());
        }
        Ok(())
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        self.shared.switch.check(Operation::Sync)?;
        let mut names = self.shared.names.lock();
        let names = &mut *names;
        let unsynced = std::mem::take(&mut names.unsynced);
        let (synced, others) = unsynced.into_iter().partition(|change| change.directory == path);
        names.unsynced = others;
        for change in synced {
            change.kind.apply(&mut names.durable, &mut names.durable_directories);
        }
        Ok(())
    }

    fn latency(&self) -> Duration {
        self.shared.switch.latency()
    }
}

struct MemoryFile {
    capacity: Option<u64>,
    used: Arc<AtomicU64>,
    switch: Arc<DiskSwitch>,
    contents: Mutex<Contents>,
}

impl MemoryFile {
    fn new(shared: &Shared, contents: Contents) -> MemoryFile {
        MemoryFile {
            capacity: shared.capacity,
            used: Arc::clone(&shared.used),
            switch: Arc::clone(&shared.switch),
            contents: Mutex::new(contents),
        }
    }

    fn after_power_loss(&self, keep: &mut Keep<'_>) -> Arc<MemoryFile> {
        let mut contents = self.contents.lock();
        let mut durable = contents.durable.take().unwrap_or_default();
        for change in std::mem::take(&mut contents.unsynced) {
            if let Keep::Torn(stream) = keep {
                change.apply_torn(&mut durable, stream);
            }
        }
        self.used.fetch_add(durable.length, Ordering::Relaxed);
        Arc::new(MemoryFile {
            capacity: self.capacity,
            used: Arc::clone(&self.used),
            switch: Arc::clone(&self.switch),
            contents: Mutex::new(Contents { live: durable.clone(), durable: Some(durable), unsynced: Vec::new() }),
        })
    }

    /// Takes `wanted` bytes of the disk's space, or as many as there are.
    fn charge(&self, wanted: u64) -> u64 {
        let limit = self.capacity.unwrap_or(u64::MAX);
        let granted = |used: u64| wanted.min(limit.saturating_sub(used));
        let before = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used + granted(used)));
        granted(before.unwrap_or_else(|unchanged| unchanged))
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        self.used.fetch_sub(self.contents.get_mut().live.length, Ordering::Relaxed);
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile").field("length", &self.contents.lock().live.length).finish_non_exhaustive()
    }
}

impl DiskFile for MemoryFile {
    fn length(&self) -> Result<u64, DiskError> {
        self.switch.check(Operation::Read)?;
        Ok(self.contents.lock().live.length)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.switch.check(Operation::Read)?;
        Ok(self.contents.lock().live.read(offset, buffer))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.switch.check(Operation::Write)?;
        let mut contents = self.contents.lock();
        let end = offset.saturating_add(bytes.len() as u64);
        let growth = end.saturating_sub(contents.live.length);
        let granted = self.charge(growth);
        // As on a real disk, the part that fits is written before the error comes.
        let missing = usize::try_from(growth - granted).unwrap_or(usize::MAX);
        let fitting = &bytes[..bytes.len().saturating_sub(missing)];
        if fitting.is_empty() && missing > 0 {
            self.used.fetch_sub(granted, Ordering::Relaxed);
            return Err(DiskError::Full);
        }
        contents.change(Change::Write { offset, bytes: fitting });
        if missing > 0 { Err(DiskError::Full) } else { Ok(()) }
    }

    fn truncate(&self, length: u64) -> Result<(), DiskError> {
        self.switch.check(Operation::Read)?;
        let mut contents = self.contents.lock();
        let growth = length.saturating_sub(contents.live.length);
        let granted = self.charge(growth);
        if granted < growth {
            self.used.fetch_sub(granted, Ordering::Relaxed);
            return Err(DiskError::Full);
        }
        self.used.fetch_sub(contents.live.length.saturating_sub(length), Ordering::Relaxed);
        contents.change(Change::Truncate { length });
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut contents = self.contents.lock();
        let contents = &mut *contents;
        let changes = std::mem::take(&mut contents.unsynced);
        if let Err(error) = self.switch.check(Operation::Sync) {
            // The unsynced pages are now clean, though they never reached the platter: a later sync has nothing to do.
            contents.unsynced =
                changes.into_iter().filter(|change| matches!(change, Change::Truncate { .. })).collect();
            return Err(error);
        }
        if let Some(durable) = &mut contents.durable {
            for change in changes {
                change.as_ref().apply(durable);
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Contents {
    live: Chunks,
    /// What is on the platter, and the changes since. Only of a simulated disk.
    durable: Option<Chunks>,
    unsynced: Vec<Change<Vec<u8>>>,
}

impl Contents {
    fn new(simulated: bool) -> Contents {
        Contents { durable: simulated.then(Chunks::default), ..Contents::default() }
    }

    fn change(&mut self, change: Change<&[u8]>) {
        change.apply(&mut self.live);
        if self.durable.is_some() {
            self.unsynced.push(match change {
                Change::Write { offset, bytes } => Change::Write { offset, bytes: bytes.to_vec() },
                Change::Truncate { length } => Change::Truncate { length },
            });
        }
    }
}

#[derive(Clone, Copy)]
enum Change<B> {
    Write { offset: u64, bytes: B },
    Truncate { length: u64 },
}

impl Change<&[u8]> {
    fn apply(&self, chunks: &mut Chunks) {
        match *self {
            Change::Write { offset, bytes } => chunks.write(offset, bytes),
            Change::Truncate { length } => chunks.set_length(length),
        }
    }
}

impl Change<Vec<u8>> {
    fn as_ref(&self) -> Change<&[u8]> {
        match self {
            Change::Write { offset, bytes } => Change::Write { offset: *offset, bytes },
            Change::Truncate { length } => Change::Truncate { length: *length },
        }
    }

    /// All of it, nothing of it, or some of its sectors.
    fn apply_torn(&self, chunks: &mut Chunks, stream: &mut Stream) {
        const SECTOR: u64 = 512;
        match (stream.below(3), self) {
            (0, _) => {}
            (1, _) | (_, Change::Truncate { .. }) => self.as_ref().apply(chunks),
            (_, Change::Write { offset, bytes }) => {
                let mut offset = *offset;
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let in_sector = (SECTOR - offset % SECTOR).min(rest.len() as u64);
                    let (sector, after) = rest.split_at(in_sector as usize);
                    if stream.one_in(2) {
                        chunks.write(offset, sector);
                    }
                    offset += in_sector;
                    rest = after;
                }
            }
        }
    }
}

/// Bytes in chunks, so that a growing file is never copied as a whole. All chunks but the last are full.
#[derive(Clone, Default)]
struct Chunks {
    chunks: Vec<Vec<u8>>,
    length: u64,
}

const CHUNK: usize = 64 * 1024;

impl Chunks {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let mut read = 0;
        while read < buffer.len() {
            let (index, within) = Chunks::locate(offset.saturating_add(read as u64));
            let Some(available) = self.chunks.get(index).and_then(|chunk| chunk.get(within..)) else { break };
            let taken = available.len().min(buffer.len() - read);
            if taken == 0 {
                break;
            }
            buffer[read..read + taken].copy_from_slice(&available[..taken]);
            read += taken;
        }
        read
    }

    fn write(&mut self, offset: u64, mut bytes: &[u8]) {
        if offset > self.length {
            self.set_length(offset);
        }
        let mut at = offset;
        while !bytes.is_empty() {
            let (index, within) = Chunks::locate(at);
            if index == self.chunks.len() {
                self.chunks.push(Vec::new());
            }
            let chunk = &mut self.chunks[index];
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - within));
            let overwritten = now.len().min(chunk.len() - within);
            chunk[within..within + overwritten].copy_from_slice(&now[..overwritten]);
            chunk.extend_from_slice(&now[overwritten..]);
            at += now.len() as u64;
            bytes = later;
        }
        self.length = self.length.max(at);
    }

    fn set_length(&mut self, length: u64) {
        let (full, rest) = Chunks::locate(length);
        let wanted = full + usize::from(rest > 0);
        if length < self.length {
            self.chunks.truncate(wanted);
        } else {
            if let Some(last) = self.chunks.last_mut() {
                last.resize(CHUNK, 0);
            }
            self.chunks.resize_with(wanted, || vec![0; CHUNK]);
        }
        if rest > 0
            && let Some(last) = self.chunks.last_mut()
        {
            last.truncate(rest);
        }
        self.length = length;
    }

    fn locate(offset: u64) -> (usize, usize) {
        let chunk = CHUNK as u64;
        (usize::try_from(offset / chunk).unwrap_or(usize::MAX), (offset % chunk) as usize)
    }
}
