//! What one instance sees of a dataset: the only way by which commands reach keys.

use std::collections::HashMap;

use super::dataset::Dataset;
use super::keyspace::{Entry, NEVER};
use super::usage::{LastUse, UsageClock};
use super::value::{Blob, Thresholds, Value};
use crate::notify::Notices;
use crate::rdb::{self, Damage};
use crate::tracking::Modified;

/// Who is to be told when a key changes, on one instance. Keys are those of one database each.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    /// Clients that WATCH a key.
    pub(crate) watched: HashMap<(usize, Blob), Vec<usize>>,
    /// Clients whose watched keys have changed.
    pub(crate) touched: Vec<usize>,
    /// Keys for which clients wait, longest first.
    pub(crate) awaited: HashMap<(usize, Blob), Vec<usize>>,
    /// Awaited keys that have changed, in order.
    pub(crate) ready: Vec<(usize, Blob)>,
    /// Clients hold copies of keys, here or on a replica: changes are noted in `modified`.
    pub(crate) is_tracked: bool,
    pub(crate) modified: Modified,
}

impl Interest {
    fn is_empty(&self) -> bool {
        !self.is_tracked && self.watched.is_empty() && self.awaited.is_empty()
    }

    #[inline]
    fn key_changed(&mut self, database: usize, key: &[u8]) {
        if !self.is_empty() {
            self.note_change(database, key);
        }
    }

    #[cold]
    fn note_change(&mut self, database: usize, key: &[u8]) {
        if self.is_tracked {
            self.modified.keys.push(Blob::from_slice(key));
        }
        let name = (database, Blob::from_slice(key));
        if let Some(clients) = self.watched.get(&name) {
            self.touched.extend_from_slice(clients);
        }
        if self.awaited.contains_key(&name) && !self.ready.contains(&name) {
            self.ready.push(name);
        }
    }
}

/// One database as one instance sees it at one moment.
pub(crate) struct Db<'a> {
    pub(crate) dataset: &'a mut Dataset,
    /// Which database.
    pub(crate) index: usize,
    /// Seen through the overlay of this follower; None: the instance owns the dataset.
    pub(crate) follower: Option<usize>,
    pub(crate) interest: &'a mut Interest,
    pub(crate) thresholds: &'a Thresholds,
    /// `rdbcompression`, for DUMP.
    pub(crate) compresses: bool,
    /// RESTORE looks at checksums.
    pub(crate) checks_payloads: bool,
    /// The instance's own wall clock.
    pub(crate) now_ms: i64,
    /// Keys with a deadline up to then do not exist.
    pub(crate) expiry_ms: i64,
    /// What uses of keys are noted with.
    pub(crate) clock: UsageClock,
    /// Small integers are the same for all keys: no policy of `maxmemory` notes their uses.
    pub(crate) shares_integers: bool,
    /// True on a master, which deletes what has expired; a replica only hides it.
    pub(crate) deletes_expired: bool,
    /// True with `cluster-enabled yes`.
    pub(crate) is_cluster: bool,
    /// False for a client that asked for NO-TOUCH.
    pub(crate) touches: bool,
    /// How many changes were made.
    pub(crate) dirty: u64,
    /// How many reads found a key, and how many did not.
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// How many keys expired.
    pub(crate) expired: u64,
    /// How many values Redis would have freed in the background.
    pub(crate) lazily_freed: u64,
    /// What is done to keys, for those who want to be told.
    pub(crate) notices: Option<Box<Notices>>,
    /// Keys that were read though writes to them are missing here, and how many.
    pub(crate) stale: Vec<(Blob, u64)>,
}

impl Db<'_> {
    /// The value of a key, if it exists; counts as use.
    #[inline]
    pub(crate) fn read(&mut self, key: &[u8]) -> Option<&Value> {
        self.read_entry(key).map(|entry| &entry.value)
    }

    /// The entry of a key, if it exists; counts as use.
    #[inline]
    pub(crate) fn read_entry(&mut self, key: &[u8]) -> Option<&Entry> {
        if self.follower.is_some() {
            return self.read_through_overlay(key);
        }
        // One look-up for nearly all reads: a position stays right while nothing is removed.
        let database = &mut self.dataset.databases[self.index];
        let position = database.find(key);
        let found = position.and_then(|position| database.at(position));
        let is_live = found.is_some_and(|(_, entry)| !entry.is_expired(self.expiry_ms));
        if !is_live {
            if found.is_some() && self.deletes_expired {
                self.expire(key);
            }
            self.missed(key);
            return None;
        }
        self.hits += 1;
        let entry = self.dataset.databases[self.index].entry_mut(position?)?;
        if self.touches {
            entry.last_use.touch(&mut self.clock);
        }
        Some(entry)
    }

    #[cold]
    fn missed(&mut self, key: &[u8]) {
        self.misses += 1;
        if let Some(notices) = &mut self.notices {
            notices.missed(self.index, key);
        }
    }

    fn read_through_overlay(&mut self, key: &[u8]) -> Option<&Entry> {
        if !self.exists(key) {
            self.missed(key);
            return None;
        }
        self.hits += 1;
        if let Some(follower) = self.follower {
            let overlay = &self.dataset.followers[follower].overlay;
            if let Some(divergence) = overlay.get(key) {
                if divergence.writes_missing() > 0 {
                    self.stale.push((Blob::from_slice(key), divergence.writes_missing()));
                }
                return divergence.value();
            }
        }
        let entry = self.dataset.databases[self.index].get_mut(key)?;
        if self.touches {
            entry.last_use.touch(&mut self.clock);
        }
        Some(entry)
    }

    /// The entry of a key without using it.
    pub(crate) fn peek(&self, key: &[u8]) -> Option<&Entry> {
        if let Some(follower) = self.follower
            && let Some(divergence) = self.dataset.followers[follower].overlay.get(key)
        {
            return divergence.value().filter(|entry| !entry.is_expired(self.expiry_ms));
        }
        self.dataset.databases[self.index].get(key).filter(|entry| !entry.is_expired(self.expiry_ms))
    }

    /// A key's entry, though its time may have come.
    pub(crate) fn peek_expired(&self, key: &[u8]) -> Option<&Entry> {
        match self.follower {
            Some(_) => self.peek(key),
            None => self.dataset.databases[self.index].get(key),
        }
    }

    /// True if a key exists; a key that has expired is deleted on a master.
    #[inline]
    pub(crate) fn exists(&mut self, key: &[u8]) -> bool {
        let (entry, is_here) = match self.follower.and_then(|index| self.dataset.followers[index].overlay.get(key)) {
            Some(divergence) => (divergence.value(), true),
            None => (self.dataset.databases[self.index].get(key), false),
        };
        let Some(entry) = entry else {
            if is_here {
                self.note_absent(key);
            }
            return false;
        };
        if !entry.is_expired(self.expiry_ms) {
            return true;
        }
        if self.deletes_expired {
            self.expire(key);
        }
        false
    }

    /// A key that is absent here only because writes are missing is a stale read as well.
    fn note_absent(&mut self, key: &[u8]) {
        let Some(follower) = self.follower else { return };
        let missing = self.dataset.followers[follower].overlay.get(key).map_or(0, |absent| absent.writes_missing());
        if missing > 0 {
            self.stale.push((Blob::from_slice(key), missing));
        }
    }

    /// Deletes a key whose time has come, and passes that on as DEL.
    pub(crate) fn expire(&mut self, key: &[u8]) {
        self.notices.iter_mut().for_each(|notices| notices.expires = true);
        let entry = self.remove(key);
        self.notices.iter_mut().for_each(|notices| notices.expires = false);
        if entry.is_some() {
            self.expired += 1;
            if self.follower.is_none() {
                self.dataset.feed(self.index, &[b"DEL", key]);
            }
        }
    }

    /// Deletes a key because memory is short, and passes that on. No client was told that it stays: to the ledger it is no
    /// write of theirs. Only the owner of a dataset evicts.
    pub(crate) fn evict(&mut self, key: &[u8], is_lazy: bool) {
        self.prepare(key);
        if self.dataset.databases[self.index].remove(key).is_none() {
            return;
        }
        self.dirty += 1;
        self.interest.key_changed(self.index, key);
        if let Some(notices) = &mut self.notices {
            notices.evicted(self.index, key);
        }
        let command: &[u8] = if is_lazy { b"UNLINK" } else { b"DEL" };
        self.dataset.feed(self.index, &[command, key]);
    }

    /// The entry of a key, to be changed in place. Call [`Db::changed`] afterwards if it was.
    #[inline]
    pub(crate) fn write(&mut self, key: &[u8]) -> Option<&mut Entry> {
        if let Some(position) = self.own_position(key) {
            return self.write_at(key, position);
        }
        if !self.exists(key) {
            return None;
        }
        self.prepare(key);
        let entry = match self.follower {
            Some(follower) => self.dataset.followers[follower].overlay.own_entry(key)?.as_mut()?,
            None => self.dataset.databases[self.index].get_mut(key)?,
        };
        if self.touches {
            entry.last_use.touch(&mut self.clock);
        }
        Some(entry)
    }

    /// Where a key stands that exists and is the instance's own: nearly all writes find it with one look-up.
    #[inline]
    fn own_position(&self, key: &[u8]) -> Option<usize> {
        let database = &self.dataset.databases[self.index];
        let position = database.find(key).filter(|_| self.follower.is_none())?;
        database.at(position).filter(|(_, entry)| !entry.is_expired(self.expiry_ms)).map(|_| position)
    }

    #[inline]
    fn write_at(&mut self, key: &[u8], position: usize) -> Option<&mut Entry> {
        self.prepare(key);
        let entry = self.dataset.databases[self.index].entry_mut(position)?;
        if self.touches {
            entry.last_use.touch(&mut self.clock);
        }
        Some(entry)
    }

    /// The value of a key, to be changed in place; made by `empty` if there is none.
    pub(crate) fn write_or_insert(&mut self, key: &[u8], empty: impl FnOnce() -> Value) -> Option<&mut Value> {
        if let Some(position) = self.own_position(key) {
            return self.write_at(key, position).map(|entry| &mut entry.value);
        }
        if !self.exists(key) {
            self.prepare(key);
            self.put(key, Entry::new(empty()));
        }
        self.write(key).map(|entry| &mut entry.value)
    }

    /// Gives a key a value, without a deadline.
    #[inline]
    pub(crate) fn set(&mut self, key: &[u8], value: Value) {
        self.set_entry(key, Entry::new(value));
    }

    /// Gives a key an entry, deadline included.
    #[inline]
    pub(crate) fn set_entry(&mut self, key: &[u8], mut entry: Entry) {
        self.prepare(key);
        entry.last_use = LastUse::now(&self.clock);
        if self.clock.counts
            && let Some(before) = self.peek(key)
        {
            // A key keeps its counter when it is given another value.
            entry.last_use = before.last_use;
            entry.last_use.touch(&mut self.clock);
        }
        let has_deadline = entry.expire_at_ms != NEVER;
        self.put(key, entry);
        self.changed(key);
        if has_deadline && let Some(notices) = &mut self.notices {
            notices.set_with_deadline(self.index, key);
        }
    }

    /// Gives a key a deadline, or takes it away with [`NEVER`]. False if there is no such key.
    pub(crate) fn set_deadline(&mut self, key: &[u8], deadline: i64) -> bool {
        if !self.exists(key) {
            return false;
        }
        self.prepare(key);
        match self.follower {
            Some(follower) => {
                if let Some(Some(entry)) = self.dataset.followers[follower].overlay.own_entry(key) {
                    entry.expire_at_ms = deadline;
                }
            }
            None => drop(self.dataset.databases[self.index].set_deadline(key, deadline)),
        }
        self.count_change(key);
        if let Some(notices) = &mut self.notices {
            notices.deadline(self.index, key, deadline);
        }
        true
    }

    /// Says for how many seconds a key has not been used, or how often it has been: what the policy notes of both.
    pub(crate) fn set_usage(&mut self, key: &[u8], idle_s: Option<i64>, frequency: Option<u8>) {
        let clock = self.clock;
        let last_use = match (clock.counts, idle_s, frequency) {
            (true, _, Some(frequency)) => LastUse::with_frequency(&clock, frequency),
            (false, Some(idle_s), _) => LastUse::idle_for(&clock, idle_s),
            _ => return,
        };
        let entry = match self.follower {
            Some(follower) => self.dataset.followers[follower].overlay.own_entry(key).and_then(Option::as_mut),
            None => self.dataset.databases[self.index].get_mut(key),
        };
        if let Some(entry) = entry {
            entry.last_use = last_use;
        }
    }

    /// The deadline of a key that exists; None if it has none.
    pub(crate) fn deadline(&self, key: &[u8]) -> Option<i64> {
        self.peek(key).map(|entry| entry.expire_at_ms).filter(|deadline| *deadline != NEVER)
    }

    /// Removes a key, expired or not.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        self.prepare(key);
        let entry = match self.follower {
            Some(follower) => self.dataset.followers[follower].overlay.own_entry(key)?.take(),
            None => self.dataset.databases[self.index].remove(key),
        };
        if entry.is_some() {
            self.count_change(key);
            if let Some(notices) = &mut self.notices {
                notices.removed(self.index, key);
            }
        }
        entry
    }

    /// Removes a key that belongs to another instance by now. No client asked for it: whoever does not hear of it has lost
    /// nothing. Returns how many acknowledged writes to it were this instance's alone, if its branch has parted.
    pub(crate) fn disown(&mut self, key: &[u8]) -> u64 {
        let own_writes =
            self.follower.map_or(0, |follower| self.dataset.followers[follower].overlay.take_own_writes(key));
        if self.remove(key).is_some() {
            match self.follower {
                Some(follower) => drop(self.dataset.followers[follower].overlay.take_own_writes(key)),
                None => self.dataset.owner_unwrote(key),
            }
        }
        own_writes
    }

    /// Removes a key that exists, as DEL does.
    pub(crate) fn delete(&mut self, key: &[u8]) -> bool {
        self.exists(key) && self.remove(key).is_some()
    }

    /// Removes a key if its collection has become empty.
    pub(crate) fn remove_if_empty(&mut self, key: &[u8]) {
        if self.peek(key).is_some_and(|entry| entry.value.is_empty_collection()) {
            let dirty = self.dirty;
            self.remove(key);
            self.dirty = dirty;
        }
    }

    /// Brings a value into the form of RDB files and back: its encoding becomes the one that a fresh value would have.
    pub(crate) fn through_file(&mut self, key: &[u8]) -> Result<(), Damage> {
        let thresholds = self.thresholds;
        let clock = self.clock;
        let entry = match self.follower {
            Some(follower) if self.dataset.followers[follower].overlay.get(key).is_some() => {
                self.dataset.followers[follower].overlay.own_entry(key).and_then(Option::as_mut)
            }
            _ => self.dataset.databases[self.index].get_mut(key),
        };
        if let Some(entry) = entry {
            entry.value = rdb::restore_payload(&rdb::dump_payload(&entry.value, false), thresholds)?;
            entry.last_use = LastUse::now(&clock);
        }
        Ok(())
    }

    /// Removes all keys.
    pub(crate) fn clear(&mut self) {
        // Those who track keys are told once that all are gone.
        let is_tracked = std::mem::take(&mut self.interest.is_tracked);
        self.interest.modified.is_flushed |= is_tracked;
        let is_shared = !self.dataset.is_lockstep || !self.dataset.images.is_empty();
        if self.follower.is_some() || is_shared || !self.interest.is_empty() {
            let keys: Vec<Blob> = self.keys().cloned().collect();
            for key in keys {
                self.remove(&key);
            }
        }
        if self.follower.is_none() {
            self.dataset.empty_database(self.index);
        }
        self.interest.is_tracked = is_tracked;
        self.dirty += 1;
    }

    /// A key was changed: counts it, and tells those who watch or wait.
    #[inline]
    pub(crate) fn changed(&mut self, key: &[u8]) {
        self.count_change(key);
        if let Some(notices) = &mut self.notices {
            notices.changed(self.index, key);
        }
    }

    /// The same, where the key takes as much memory as before.
    #[inline]
    pub(crate) fn changed_alike(&mut self, key: &[u8]) {
        self.dirty += 1;
        self.interest.key_changed(self.index, key);
        self.note_write(key, false);
        if let Some(notices) = &mut self.notices {
            notices.changed(self.index, key);
        }
    }

    #[inline]
    fn count_change(&mut self, key: &[u8]) {
        self.dirty += 1;
        self.interest.key_changed(self.index, key);
        self.note_write(key, true);
    }

    /// The key is another one from now on, for the instance itself or for all; it may have been `resized`.
    #[inline]
    fn note_write(&mut self, key: &[u8], resized: bool) {
        match self.follower {
            Some(follower) => self.dataset.followers[follower].overlay.wrote(key),
            None if resized => self.dataset.owner_wrote(self.index, key),
            None => self.dataset.owner_wrote_alike(self.index, key),
        }
    }

    /// A key was changed in a way that nobody watches or waits for: what a group of consumers has read.
    pub(crate) fn changed_unwatched(&mut self, key: &[u8]) {
        self.dirty += 1;
        self.note_write(key, true);
    }

    /// The same, and subscribers are told what the command is about.
    pub(crate) fn changed_group(&mut self, key: &[u8]) {
        self.changed_unwatched(key);
        if let Some(notices) = &mut self.notices {
            notices.changed(self.index, key);
        }
    }

    /// A group has a consumer that it did not have.
    pub(crate) fn consumer_created(&mut self, key: &[u8]) {
        self.changed_unwatched(key);
        if let Some(notices) = &mut self.notices {
            notices.consumer_created(self.index, key);
        }
    }

    /// Two databases have changed places: those who watch a key that is in one of them are told, and those who wait for
    /// a key look again.
    pub(crate) fn databases_swapped(&mut self, one: usize, other: usize) {
        let mut ready: Vec<_> =
            self.interest.awaited.keys().filter(|name| [one, other].contains(&name.0)).cloned().collect();
        ready.sort();
        self.interest.ready.extend(ready);
        let databases = &self.dataset.databases;
        // A key whose time has come is not there, whether anybody has noticed or not.
        let is_live =
            |index: usize, key: &Blob| databases[index].get(key).is_some_and(|entry| !entry.is_expired(self.now_ms));
        let is_there = |key: &Blob| is_live(one, key) || is_live(other, key);
        let watched =
            self.interest.watched.iter().filter(|((index, key), _)| [one, other].contains(index) && is_there(key));
        let mut touched: Vec<usize> = watched.flat_map(|(_, clients)| clients.iter().copied()).collect();
        touched.sort_unstable();
        self.interest.touched.extend(touched);
    }

    /// How many keys there are, expired ones included, as DBSIZE counts.
    pub(crate) fn len(&self) -> usize {
        let database = &self.dataset.databases[self.index];
        let Some(follower) = self.follower else { return database.len() };
        let overlay = &self.dataset.followers[follower].overlay;
        let hidden = overlay.iter().filter(|(key, _)| database.get(key).is_some()).count();
        let shown = overlay.iter().filter(|(_, divergence)| divergence.value().is_some()).count();
        database.len() - hidden + shown
    }

    /// How many positions [`Db::at`] has; some may be vacant.
    pub(crate) fn positions(&self) -> usize {
        let overlay = self.follower.map_or(0, |follower| self.dataset.followers[follower].overlay.len());
        self.dataset.databases[self.index].len() + overlay
    }

    /// The key at a position, unless it is vacant or the key has expired.
    pub(crate) fn at(&self, position: usize) -> Option<(&Blob, &Entry)> {
        let database = &self.dataset.databases[self.index];
        let found = match self.follower.map(|follower| &self.dataset.followers[follower].overlay) {
            Some(overlay) if position >= database.len() => overlay
                .at(position - database.len())
                .and_then(|(key, divergence)| divergence.value().map(|entry| (key, entry))),
            Some(overlay) => database.at(position).filter(|(key, _)| overlay.get(key).is_none()),
            None => database.at(position),
        };
        found.filter(|(_, entry)| !entry.is_expired(self.expiry_ms))
    }

    /// The key at a position if its time has come and it is this instance's to delete.
    pub(crate) fn expired_at(&self, position: usize) -> Option<&Blob> {
        let is_own = self.deletes_expired && self.follower.is_none();
        let found = self.dataset.databases[self.index].at(position).filter(|_| is_own)?;
        found.1.is_expired(self.now_ms).then_some(found.0)
    }

    /// All keys, in the order of their positions.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Blob> {
        (0..self.positions()).filter_map(|position| self.at(position)).map(|(key, _)| key)
    }

    /// Before a write: keeps what the key is for those who will not see it change now.
    #[inline]
    fn prepare(&mut self, key: &[u8]) {
        match self.follower {
            Some(follower) => {
                let before = self.dataset.databases[self.index].get(key);
                self.dataset.followers[follower].overlay.save(key, 0, 0, before);
            }
            None => self.dataset.save(self.index, key),
        }
    }

    #[inline]
    fn put(&mut self, key: &[u8], entry: Entry) {
        if self.notices.is_some() && self.peek(key).is_none() {
            self.notices.iter_mut().for_each(|notices| notices.added(self.index, key));
        }
        match self.follower {
            Some(follower) => {
                if let Some(place) = self.dataset.followers[follower].overlay.own_entry(key) {
                    *place = Some(entry);
                }
            }
            None => drop(self.dataset.databases[self.index].insert(key, entry)),
        }
    }
}
