//! The keys, values and deadlines of one database.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use atoll_kernel::Stream;

use super::memory::{KEY_BYTES, SAMPLES, outside};
use super::table::Table;
use super::usage::LastUse;
use super::value::{Blob, Value};
use crate::wire::Request;

/// A keyed hash: fast, and its keys are drawn when the process starts, so that clients cannot aim for collisions. Nothing
/// that a client sees may depend on it.
pub(crate) type Hasher = foldhash::fast::RandomState;

/// The deadline of a key that has none.
pub(crate) const NEVER: i64 = i64::MAX;

/// A value and what Redis knows about it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    /// When it expires, in wall-clock milliseconds; [`NEVER`] if it does not.
    pub(crate) expire_at_ms: i64,
    /// What it was last counted as, with its key, in units of [`UNIT`].
    pub(crate) accounted: u32,
    pub(crate) last_use: LastUse,
    /// The walk that has written it last, or that began before it was there.
    pub(crate) saved_in: u8,
}

/// What memory is counted in.
const UNIT: usize = 16;

impl Entry {
    pub(crate) fn new(value: Value) -> Entry {
        Entry { value, expire_at_ms: NEVER, accounted: 0, last_use: LastUse::default(), saved_in: 0 }
    }

    pub(crate) fn has_deadline(&self) -> bool {
        self.expire_at_ms != NEVER
    }

    pub(crate) fn is_expired(&self, now_ms: i64) -> bool {
        self.expire_at_ms <= now_ms
    }
}

/// One database.
#[derive(Debug, Default)]
pub(crate) struct Keyspace {
    table: Table,
    /// Deadlines in order. An element counts only if the key still has that very deadline.
    deadlines: BinaryHeap<Reverse<(i64, Blob)>>,
    expiring: usize,
    saving: Option<Saving>,
    /// What all values and names take outside of the table, in units.
    units: u64,
    /// How many walks there were, modulo 255, from 1 on.
    walks: u8,
}

/// A walk over all keys as they were when it began, in slices, while they change. It goes from the last position to the
/// first: a removal moves the last key to a lower position, and by then the walk has been there.
#[derive(Debug)]
struct Saving {
    /// Distinguishes this walk from those before it.
    number: u8,
    /// Which database the keys were of.
    database: usize,
    /// Positions below this are still to be visited.
    rest: usize,
    /// What was changed before the walk came to it, as it was.
    early: Vec<(Blob, Entry)>,
}

impl Keyspace {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many keys have a deadline.
    pub(crate) fn expiring(&self) -> usize {
        self.expiring
    }

    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.table.get(key)
    }

    /// Where a key stands, for [`Keyspace::at`] and [`Keyspace::entry_mut`].
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Option<usize> {
        self.table.find(key)
    }

    /// Says that these requests are about to be executed.
    #[inline]
    pub(crate) fn expect<'r>(&self, requests: impl Iterator<Item = Request<'r>> + Clone) {
        // Of nearly all commands the first argument is a key.
        self.table.expect(requests.clone().filter_map(|request| request.get(1)));
        // Those that are for one collection often come together.
        let key = requests.clone().next().and_then(|request| request.get(1));
        if let Some(entry) = key.and_then(|key| self.table.get(key)) {
            entry.value.expect(requests.filter(|request| request.get(1) == key));
        }
    }

    #[inline]
    pub(crate) fn entry_mut(&mut self, position: usize) -> Option<&mut Entry> {
        self.table.at_mut(position).map(|(_, entry)| entry)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.table.get_mut(key)
    }

    /// The key at a position.
    pub(crate) fn at(&self, index: usize) -> Option<(&Blob, &Entry)> {
        self.table.at(index)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Blob, &Entry)> {
        self.table.iter()
    }

    /// Puts an entry in place, counted as nothing until [`Keyspace::account`] is called. Returns the one that was there.
    #[inline]
    pub(crate) fn insert(&mut self, key: &[u8], mut entry: Entry) -> Option<Entry> {
        self.preserve(key);
        entry.saved_in = self.saving.as_ref().map_or(0, |saving| saving.number);
        let deadline = entry.expire_at_ms;
        entry.accounted = 0;
        let before = match self.table.get_mut(key) {
            Some(place) => {
                self.units -= u64::from(place.accounted);
                Some(std::mem::replace(place, entry))
            }
            None => {
                self.table.add(key, entry);
                None
            }
        };
        let was = before.as_ref().map_or(NEVER, |before| before.expire_at_ms);
        if was != deadline {
            self.deadline_changed(key, was, deadline);
        }
        before
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        self.preserve(key);
        let entry = self.table.remove(key)?;
        self.units -= u64::from(entry.accounted);
        if entry.expire_at_ms != NEVER {
            self.expiring -= 1;
        }
        Some(entry)
    }

    /// Counts a key as what it takes now. To be called when it was put in place, or its value was changed there.
    #[inline]
    pub(crate) fn account(&mut self, key: &[u8]) {
        if let Some(position) = self.table.find(key)
            && let Some((name, entry)) = self.table.at_mut(position)
        {
            let bytes = outside(name) + entry.value.memory(SAMPLES);
            let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
            self.units = self.units - u64::from(entry.accounted) + u64::from(units);
            entry.accounted = units;
        }
    }

    /// What the database takes: its keys, their values, their deadlines.
    pub(crate) fn memory(&self) -> u64 {
        (self.table.len() * KEY_BYTES) as u64 + self.units * UNIT as u64 + self.deadlines_memory()
    }

    /// What deadlines take.
    pub(crate) fn deadlines_memory(&self) -> u64 {
        (self.deadlines.len() * size_of::<(i64, Blob)>()) as u64
    }

    /// Any key, or any with a deadline, each as likely as the others. None if there is none.
    pub(crate) fn sample(&mut self, is_volatile: bool, random: &mut Stream) -> Option<(&Blob, &Entry)> {
        if !is_volatile {
            let count = self.table.len() as u64;
            return if count == 0 { None } else { self.table.at(random.below(count) as usize) };
        }
        if self.expiring == 0 {
            return None;
        }
        // Deadlines that no longer count are at most half of all and a thousand: where they are more than half, they go.
        if self.deadlines.len() > 2 * self.expiring + 16 {
            self.forget_old_deadlines();
        }
        loop {
            let all = self.deadlines.as_slice();
            let Reverse((deadline, key)) = all.get(random.below(all.len() as u64) as usize)?;
            let position = self.table.find(key.as_slice());
            let found = position.and_then(|position| self.table.at(position));
            if found.is_some_and(|(_, entry)| entry.expire_at_ms == *deadline) {
                return self.table.at(position?);
            }
        }
    }

    fn forget_old_deadlines(&mut self) {
        let table = &self.table;
        self.deadlines.retain(|Reverse((deadline, key))| {
            table.get(key.as_slice()).is_some_and(|entry| entry.expire_at_ms == *deadline)
        });
    }

    /// Gives a key a deadline, or takes it away with [`NEVER`]. False if there is no such key.
    pub(crate) fn set_deadline(&mut self, key: &[u8], deadline: i64) -> bool {
        self.preserve(key);
        let Some(entry) = self.table.get_mut(key) else { return false };
        let was = std::mem::replace(&mut entry.expire_at_ms, deadline);
        if was != deadline {
            self.deadline_changed(key, was, deadline);
        }
        true
    }

    fn deadline_changed(&mut self, key: &[u8], was: i64, deadline: i64) {
        self.expiring += usize::from(deadline != NEVER);
        self.expiring -= usize::from(was != NEVER);
        if deadline != NEVER {
            self.deadlines.push(Reverse((deadline, Blob::from_slice(key))));
        }
        if self.deadlines.len() > 2 * self.expiring + 1024 {
            self.forget_old_deadlines();
        }
    }

    /// The earliest deadline, perhaps one that no longer counts.
    pub(crate) fn next_deadline(&self) -> Option<i64> {
        self.deadlines.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// A key whose deadline has passed, still in place.
    pub(crate) fn pop_expired(&mut self, now_ms: i64) -> Option<Blob> {
        while self.next_deadline().is_some_and(|deadline| deadline <= now_ms) {
            let Reverse((deadline, key)) = self.deadlines.pop()?;
            if self.table.get(key.as_slice()).is_some_and(|entry| entry.expire_at_ms == deadline) {
                return Some(key);
            }
        }
        None
    }

    /// Begins a walk over what is there now, the database of this number.
    pub(crate) fn begin_saving(&mut self, database: usize) {
        self.walks = self.walks.checked_add(1).unwrap_or_else(|| {
            // Marks of walks long ago would be taken for those of walks to come.
            self.table.values_mut().for_each(|entry| entry.saved_in = 0);
            1
        });
        self.saving = Some(Saving { number: self.walks, database, rest: self.table.len(), early: Vec::new() });
    }

    pub(crate) fn end_saving(&mut self) {
        self.saving = None;
    }

    /// Which database is being walked over; None if none is.
    pub(crate) fn saves(&self) -> Option<usize> {
        self.saving.as_ref().map(|saving| saving.database)
    }

    /// Before a key changes: keeps it for a walk that has not come to it.
    #[inline]
    pub(crate) fn preserve(&mut self, key: &[u8]) {
        if self.saving.is_some() {
            self.preserve_for_walk(key);
        }
    }

    fn preserve_for_walk(&mut self, key: &[u8]) {
        if let Some(saving) = &mut self.saving
            && let Some(entry) = self.table.get_mut(key)
            && entry.saved_in != saving.number
        {
            entry.saved_in = saving.number;
            saving.early.push((Blob::from_slice(key), entry.clone()));
        }
    }

    /// Goes on with the walk for as long as `write` asks for more. True once there is no more.
    pub(crate) fn save_some(&mut self, mut write: impl FnMut(&[u8], &Entry) -> bool) -> bool {
        let Some(saving) = &mut self.saving else { return true };
        let mut wants_more = true;
        for (key, entry) in saving.early.drain(..) {
            wants_more = write(&key, &entry);
        }
        while wants_more && saving.rest > 0 {
            saving.rest = (saving.rest - 1).min(self.table.len());
            if let Some((key, entry)) = self.table.at_mut(saving.rest)
                && entry.saved_in != saving.number
            {
                entry.saved_in = saving.number;
                wants_more = write(key, entry);
            }
        }
        saving.rest == 0
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> Keyspace {
        std::mem::take(self)
    }
}
