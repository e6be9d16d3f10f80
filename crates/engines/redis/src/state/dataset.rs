//! One physical copy of a shard's data, the instance whose data it is, and the instances that see it almost so.

use std::collections::BTreeSet;

use super::eviction::Pool;
use super::feed::Feed;
use super::images::Images;
use super::keyspace::{Entry, Keyspace};
use super::log_sync::LogSync;
use super::overlay::{Overlay, Position};
use super::snapshot::Saves;
use super::value::Blob;
use crate::scripting::Libraries;
use crate::wire;

/// The index of an instance in the cluster.
pub(crate) type Owner = usize;

/// A write that an instance had acknowledged and that is no longer anywhere: its key, and how many there were.
pub(crate) type Undone = (Blob, u64);

/// So many keys whose deletion was undone are remembered.
const REVIVED_MAX: usize = 100_000;

/// An instance that shares a dataset without owning it.
#[derive(Debug)]
pub(crate) struct Follower {
    /// Which instance.
    pub(crate) instance: usize,
    /// Where it stands in the stream; while the dataset is in lockstep, where the owner stands.
    pub(crate) position: Position,
    /// The newest position that is under way to it.
    pub(crate) mark: Position,
    /// What it sees differently.
    pub(crate) overlay: Overlay,
    /// True once its branch has parted from the owner's: the stream no longer moves it.
    pub(crate) is_apart: bool,
}

/// A physical copy. While all is well its followers are numbers; what makes them differ is data, in their overlays.
#[derive(Debug)]
pub(crate) struct Dataset {
    pub(crate) databases: Vec<Keyspace>,
    pub(crate) owner: Owner,
    /// `master_repl_offset`: how many bytes of commands the owner has executed.
    pub(crate) offset: Position,
    pub(crate) followers: Vec<Follower>,
    /// True while every write reaches every follower at once. Then nothing is kept for them.
    pub(crate) is_lockstep: bool,
    /// Where the present owner took over: who stood no further can go on from there.
    pub(crate) forked_at: Position,
    /// It began at run time, with nothing: whatever its file holds is not its own.
    pub(crate) is_new: bool,
    /// What the disks of the instances hold; empty if that is what the instances have.
    pub(crate) images: Images,
    /// The libraries of functions.
    pub(crate) libraries: Libraries,
    /// Commands to be made durable, as RESP; None without an append-only file.
    pub(crate) log: Option<Vec<u8>>,
    /// How far these are on disk.
    pub(super) log_sync: LogSync,
    /// Its snapshots: the one that is being written, and what became of those before.
    pub(crate) saves: Saves,
    /// The stream of commands in bytes, for replicas outside of the stack, and the names of its history.
    pub(crate) feed: Feed,
    /// Which keys are to go first when memory is short.
    pub(super) pool: Pool,
    /// Keys that were deleted, as a move does at its source, and are there again since that was undone.
    revived: BTreeSet<Blob>,
}

impl Dataset {
    /// An empty dataset.
    pub(crate) fn new(owner: Owner, databases: usize, has_log: bool) -> Dataset {
        Dataset {
            databases: (0..databases).map(|_| Keyspace::default()).collect(),
            owner,
            offset: 0,
            followers: Vec::new(),
            is_lockstep: true,
            forked_at: 0,
            is_new: false,
            images: Images::default(),
            log_sync: LogSync::default(),
            libraries: Libraries::default(),
            log: has_log.then(Vec::new),
            saves: Saves::default(),
            feed: Feed::default(),
            pool: Pool::default(),
            revived: BTreeSet::new(),
        }
    }

    pub(crate) fn follower(&self, instance: usize) -> Option<usize> {
        self.followers.iter().position(|follower| follower.instance == instance)
    }

    /// Where an instance stands.
    pub(crate) fn position(&self, instance: usize) -> Position {
        match self.follower(instance) {
            Some(index) if !self.is_lockstep || self.followers[index].is_apart => self.followers[index].position,
            _ => self.offset,
        }
    }

    /// Leaves lockstep: from now on each follower stands where it is told to.
    pub(crate) fn break_lockstep(&mut self) {
        if std::mem::replace(&mut self.is_lockstep, false) {
            for follower in self.followers.iter_mut().filter(|follower| !follower.is_apart) {
                follower.position = self.offset;
                follower.mark = self.offset;
            }
            self.part_images();
        }
    }

    /// Enters lockstep if every follower is where the owner is. True if it did, or was in it.
    pub(crate) fn try_lockstep(&mut self) -> bool {
        let is_level = |follower: &Follower| {
            !follower.is_apart && follower.position == self.offset && follower.mark <= self.offset
        };
        if !self.is_lockstep && self.followers.iter().all(is_level) {
            self.is_lockstep = true;
            // What was saved for a write that then changed nothing must not outlive the moment.
            self.followers.iter_mut().for_each(|follower| follower.overlay = Overlay::default());
            self.share_image();
        }
        self.is_lockstep
    }

    /// The stream up to `position` has reached an instance. Returns where it now stands.
    pub(crate) fn advance(&mut self, instance: usize, position: Position) -> Position {
        let Some(index) = self.follower(instance) else { return self.offset };
        let follower = &mut self.followers[index];
        let position = position.min(self.offset);
        if !follower.is_apart && position > follower.position {
            follower.position = position;
            follower.overlay.advance(position);
        }
        follower.position
    }

    /// True if the stream that a follower lacks is short enough to be kept, and its branch has not parted.
    pub(crate) fn can_catch_up(&self, instance: usize, backlog: u64) -> bool {
        let Some(follower) = self.follower(instance).map(|index| &self.followers[index]) else { return false };
        let lacks = self.offset.saturating_sub(follower.position);
        let is_prefix =
            !follower.is_apart || (follower.position <= self.forked_at && follower.overlay.unshared().next().is_none());
        is_prefix && lacks <= backlog
    }

    /// An instance joins, seeing exactly what the owner sees.
    pub(crate) fn join(&mut self, instance: usize) {
        self.followers.retain(|follower| follower.instance != instance);
        let position = self.offset;
        self.followers.push(Follower {
            instance,
            position,
            mark: position,
            overlay: Overlay::default(),
            is_apart: false,
        });
        self.join_images(instance);
    }

    /// The owner has executed a command that wrote: it is counted, streamed and written down.
    #[inline]
    pub(crate) fn record(&mut self, database: usize, request: wire::Request<'_>) {
        if !self.feed.is_active() || self.feed.queue(database, request.tail(0)) {
            self.offset += request.encoded_length();
        }
        self.log_command(database, request);
    }

    /// Counts bytes that go to replicas besides commands; a stream in bytes counts by itself.
    pub(crate) fn count(&mut self, length: u64) {
        if !self.feed.is_active() {
            self.offset += length;
        }
    }

    /// True if anybody takes what is recorded; otherwise it is only counted.
    #[inline]
    pub(crate) fn is_followed(&self) -> bool {
        self.log.is_some() || self.feed.is_active() || !self.followers.is_empty()
    }

    /// What was executed is complete, and enters the stream. True if there was something.
    #[inline]
    pub(crate) fn end_unit(&mut self) -> bool {
        if !self.feed.is_active() {
            return false;
        }
        let grown = self.feed.end_unit();
        self.offset += grown;
        grown > 0
    }

    /// Adds bytes to the stream as they are.
    pub(crate) fn stream_raw(&mut self, bytes: &[u8]) {
        self.offset += self.feed.push_raw(bytes);
    }

    /// How many bytes of commands the owner has executed, complete or not.
    pub(crate) fn executed(&self) -> u64 {
        self.offset + self.feed.queued()
    }

    /// Writes a command down for the append-only file, if there is one.
    #[inline]
    pub(crate) fn log_command(&mut self, database: usize, request: wire::Request<'_>) {
        if self.log.is_some() {
            self.log_arguments(database, request.tail(0));
        }
    }

    fn log_arguments<'a>(&mut self, database: usize, arguments: impl ExactSizeIterator<Item = &'a [u8]>) {
        let Some(log) = &mut self.log else { return };
        if self.databases.len() > 1 {
            wire::encode(log, [b"SELECT".as_slice(), database.to_string().as_bytes()].into_iter());
        }
        wire::encode(log, arguments);
    }

    /// A command that is to be replicated and made durable though no client sent it so.
    pub(crate) fn feed(&mut self, database: usize, arguments: &[&[u8]]) {
        if self.feed.queue(database, arguments.iter().copied()) {
            self.offset += wire::encoded_length(arguments.iter().copied());
        }
        self.log_arguments(database, arguments.iter().copied());
    }

    /// The same, for commands that are RESP already.
    pub(crate) fn feed_bytes(&mut self, database: usize, commands: &[u8]) {
        if self.feed.queue_bytes(database, commands) {
            self.offset += commands.len() as u64;
        }
        if let Some(log) = &mut self.log {
            if self.databases.len() > 1 {
                wire::encode(log, [b"SELECT".as_slice(), database.to_string().as_bytes()].into_iter());
            }
            log.extend_from_slice(commands);
        }
    }

    /// Keeps what a key is for those who will not see it change now. To be called before the owner writes it.
    #[inline]
    pub(crate) fn save(&mut self, database: usize, key: &[u8]) {
        self.databases[database].preserve(key);
        if !self.is_lockstep || !self.images.is_empty() {
            self.save_for_others(database, key);
        }
    }

    #[cold]
    fn save_for_others(&mut self, database: usize, key: &[u8]) {
        let before = self.databases[database].get(key);
        self.images.save(database, key, self.offset, before);
        if self.is_lockstep || database != 0 {
            return;
        }
        for follower in &mut self.followers {
            follower.overlay.save(key, self.offset, follower.mark, before);
        }
    }

    /// The owner has written a key.
    #[inline]
    pub(crate) fn owner_wrote(&mut self, database: usize, key: &[u8]) {
        self.databases[database].account(key);
        self.owner_wrote_alike(database, key);
    }

    /// The owner has written a key, which takes as much memory as before.
    #[inline]
    pub(crate) fn owner_wrote_alike(&mut self, database: usize, key: &[u8]) {
        if !self.is_lockstep || !self.images.is_empty() || !self.revived.is_empty() {
            self.note_write(database, key);
        }
    }

    fn note_write(&mut self, database: usize, key: &[u8]) {
        self.images.owner_wrote(database, key);
        if !self.revived.is_empty() {
            // What came back is no longer what it has.
            self.revived.remove(key);
        }
        if !self.is_lockstep {
            for follower in &mut self.followers {
                follower.overlay.owner_wrote(key);
            }
        }
    }

    /// The last write of the owner to a key was none of a client's.
    pub(super) fn owner_unwrote(&mut self, key: &[u8]) {
        if !self.is_lockstep {
            self.followers.iter_mut().for_each(|follower| follower.overlay.forget_writes(key, 1));
        }
    }

    /// Makes a follower the owner: the physical copy becomes what it sees. The old owner stays as a follower that is
    /// apart if it `keeps` its data, and is gone otherwise. Returns the owner's writes that the new owner lacks.
    pub(crate) fn promote(&mut self, instance: usize, old_owner_keeps: bool) -> Vec<Undone> {
        if self.owner == instance {
            return Vec::new();
        }
        self.break_lockstep();
        let Some(index) = self.follower(instance) else { return Vec::new() };
        let mut promoted = self.followers.remove(index);
        for follower in &mut self.followers {
            follower.is_apart = true;
            follower.overlay.part();
        }
        let mut old = Follower {
            instance: self.owner,
            position: self.offset,
            mark: self.offset,
            overlay: Overlay::default(),
            is_apart: true,
        };
        old.overlay.part();
        let mut undone = Vec::new();
        for (key, divergence) in promoted.overlay.take() {
            for other in self.followers.iter_mut().chain(std::iter::once(&mut old)) {
                other.overlay.save(&key, self.offset, Position::MAX, self.databases[0].get(&key));
            }
            let (value, writes) = divergence.into_value();
            if writes > 0 {
                undone.push((key.clone(), writes));
            }
            self.note_revived(&key, value.as_ref());
            self.replace(0, &key, value);
        }
        if old_owner_keeps {
            self.followers.push(old);
        }
        self.owner = instance;
        self.offset = promoted.position;
        self.rewind_log();
        self.forked_at = promoted.position;
        self.feed.fork(promoted.position);
        // What stands on disks at a fork counts as synced: an election takes longer than that anyway.
        if !self.images.is_empty() {
            self.sync_all();
        }
        undone
    }

    /// An instance's data is no more. Returns the acknowledged writes that nobody else has: its own branch's if it was a
    /// follower; those that nobody has received if it was the owner, whose place the most advanced follower takes.
    /// The second value is true if nobody is left.
    pub(crate) fn leave(&mut self, instance: usize) -> (Vec<Undone>, bool) {
        self.leave_images(instance);
        if let Some(index) = self.follower(instance) {
            let follower = self.followers.remove(index);
            let lost = follower.overlay.unshared().map(|(key, writes)| (key.clone(), writes)).collect();
            return (lost, false);
        }
        if self.owner != instance {
            return (Vec::new(), false);
        }
        self.break_lockstep();
        // Of equals the first: the order of followers is that of joining.
        let rank = |follower: &&Follower| (!follower.is_apart, follower.position, std::cmp::Reverse(follower.instance));
        match self.followers.iter().max_by_key(rank).map(|follower| follower.instance) {
            Some(heir) => (self.promote(heir, false), false),
            None => (self.iter_all().map(|(key, _)| (key.clone(), 1)).collect(), true),
        }
    }

    /// What the owner did to a key is about to be undone.
    pub(super) fn note_revived(&mut self, key: &[u8], value: Option<&Entry>) {
        let is_deletion = value.is_some() && self.databases[0].get(key).is_none();
        if is_deletion && self.revived.len() < REVIVED_MAX {
            self.revived.insert(Blob::from_slice(key));
        }
    }

    /// True if a key had been deleted, and is there again since that was undone.
    pub(crate) fn is_revived(&self, key: &[u8]) -> bool {
        self.revived.contains(key)
    }

    fn iter_all(&self) -> impl Iterator<Item = (&Blob, &Entry)> {
        self.databases.iter().flat_map(Keyspace::iter)
    }

    /// Gives a key another value, or none, and writes that down for the log.
    pub(super) fn replace(&mut self, database: usize, key: &[u8], value: Option<Entry>) {
        if let Some(log) = &mut self.log {
            if self.databases.len() > 1 {
                wire::encode(log, [b"SELECT".as_slice(), database.to_string().as_bytes()].into_iter());
            }
            wire::encode(log, [b"DEL".as_slice(), key].into_iter());
            if let Some(entry) = &value {
                crate::persistence::dump_entry(log, key, entry);
            }
        }
        match value {
            Some(entry) => {
                self.databases[database].insert(key, entry);
                self.databases[database].account(key);
            }
            None => drop(self.databases[database].remove(key)),
        }
    }
}
