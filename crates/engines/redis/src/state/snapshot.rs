//! A dataset as it was at one moment, written in slices while it changes.
//!
//! Redis lets the operating system copy what changes while a child process writes. Here the walk is a few keys at a time
//! between requests, and a key that changes before the walk comes to it is kept as it was ([`Keyspace::preserve`]).

use std::time::Duration;

use atoll_kernel::{Context, Moment};

use super::dataset::Dataset;
use super::keyspace::{Entry, Keyspace};
use crate::rdb::{Options, Usage, Writer};

/// How much of a snapshot is written between two requests, in bytes: some hundred microseconds of small keys, which is how long
/// requests may wait for it.
pub(crate) const SLICE: usize = 48 << 10;
/// Between two slices others have their turn.
pub(crate) const PAUSE: Duration = Duration::from_millis(1);

/// When the slice after one that has just been written is due. A call knows one moment, that of its beginning: the pause is from
/// the end of the slice, or slices that take longer than it would follow one another.
pub(crate) fn next_slice(ctx: &Context<'_>) -> Moment {
    ctx.kernel().now() + PAUSE
}

/// The snapshot that is being written, and what became of those before.
#[derive(Debug, Default)]
pub(crate) struct Saves {
    running: Option<Running>,
    /// How many were written.
    pub(crate) completed: u64,
    /// `rdb_changes_since_last_save`.
    pub(crate) changes: u64,
    /// When the last one succeeded, by the wall clock in seconds.
    pub(crate) succeeded_at_s: i64,
    /// The last one failed.
    pub(crate) has_failed: bool,
    /// How long the last one took, in seconds; None before the first.
    pub(crate) seconds: Option<u64>,
}

#[derive(Debug)]
struct Running {
    writer: Writer,
    /// Databases that were emptied before the walk was through with them.
    emptied: Vec<Keyspace>,
    /// Which database the keys that come next are said to be of.
    announced: Option<usize>,
}

impl Saves {
    /// The one that was running has ended, well or not.
    pub(crate) fn ended(&mut self, changes: u64, is_good: bool, now_s: i64, seconds: u64) {
        self.has_failed = !is_good;
        self.seconds = Some(seconds);
        if is_good {
            self.completed += 1;
            self.succeeded_at_s = now_s;
            self.changes = self.changes.saturating_sub(changes);
        }
    }
}

impl Dataset {
    /// Begins a snapshot of what is there now. Returns how many changes it covers.
    pub(crate) fn begin_snapshot(&mut self, options: Options, facts: &[(&str, String)]) -> u64 {
        for (index, database) in self.databases.iter_mut().enumerate() {
            database.begin_saving(index);
        }
        let mut writer = Writer::new(options, facts);
        self.libraries.list.values().for_each(|library| writer.function(&library.code));
        self.saves.running = Some(Running { writer, emptied: Vec::new(), announced: None });
        self.saves.changes
    }

    /// Writes about `budget` bytes of the snapshot. The second value is true at its end.
    pub(crate) fn continue_snapshot(&mut self, budget: usize) -> (Vec<u8>, bool) {
        let Some(mut running) = self.saves.running.take() else { return (Vec::new(), true) };
        let mut is_done = true;
        let Running { writer, emptied, announced, .. } = &mut running;
        for database in emptied.iter_mut().chain(&mut self.databases) {
            let Some(index) = database.saves() else { continue };
            let sizes = (database.len(), database.expiring());
            let write = |key: &[u8], entry: &Entry| {
                if *announced != Some(index) {
                    writer.database(index as u64, sizes.0, sizes.1);
                    *announced = Some(index);
                }
                writer.key(key, entry, Usage::Unknown);
                writer.pending() < budget
            };
            is_done = database.save_some(write) && is_done;
            if writer.pending() >= budget {
                is_done = false;
                break;
            }
        }
        emptied.retain(|database| database.saves().is_some());
        if !is_done {
            let bytes = running.writer.take();
            self.saves.running = Some(running);
            return (bytes, false);
        }
        self.databases.iter_mut().for_each(Keyspace::end_saving);
        (running.writer.finish(), true)
    }

    /// Gives a snapshot up.
    pub(crate) fn abandon_snapshot(&mut self) {
        self.saves.running = None;
        self.databases.iter_mut().for_each(Keyspace::end_saving);
    }

    /// The whole dataset in one piece, as a replica is sent it.
    pub(crate) fn write_whole(&self, options: Options, facts: &[(&str, String)]) -> Vec<u8> {
        let mut writer = Writer::new(options, facts);
        self.libraries.list.values().for_each(|library| writer.function(&library.code));
        let mut bytes = Vec::new();
        for (index, database) in self.databases.iter().enumerate().filter(|(_, database)| database.len() > 0) {
            writer.database(index as u64, database.len(), database.expiring());
            for (key, entry) in database.iter() {
                writer.key(key, entry, Usage::Unknown);
                bytes.append(&mut writer.take());
            }
        }
        bytes.append(&mut writer.finish());
        bytes
    }

    /// Empties a database. What a snapshot has not written of it yet is kept for that.
    pub(crate) fn empty_database(&mut self, index: usize) {
        let old = self.databases[index].take();
        if let Some(running) = self.saves.running.as_mut().filter(|_| old.saves().is_some()) {
            running.emptied.push(old);
        }
    }
}
