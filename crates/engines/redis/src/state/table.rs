//! The table of a database: keys and entries stand densely ([`Dense`]), so a cursor is a position, a random key is one draw, and
//! iteration does not depend on hashes.
//!
//! What a look-up costs is above all waiting for memory, first the positions', then the entry's. Where a key was found is
//! remembered for a while, as most commands look theirs up more than once; and [`Table::expect`] looks up the keys of all
//! requests that have arrived together, so that their waits are one.

use std::cell::Cell;
use std::hint::black_box;

use super::dense::Dense;
use super::keyspace::Entry;
use super::value::Blob;

/// How many places there are to remember where a key stands, as a power of two.
const RECENT_BITS: u32 = 6;

/// Keys, each with its entry.
#[derive(Debug, Default)]
pub(super) struct Table {
    pairs: Dense<Entry>,
    recent: Recent,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Blob, &Entry)> {
        self.pairs.iter()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.pairs.values_mut()
    }

    /// The key at a position.
    #[inline]
    pub(super) fn at(&self, position: usize) -> Option<(&Blob, &Entry)> {
        self.pairs.at(position)
    }

    #[inline]
    pub(super) fn at_mut(&mut self, position: usize) -> Option<(&Blob, &mut Entry)> {
        self.pairs.at_mut(position)
    }

    /// Where a key stands. It stays there until a key is removed.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        let place = self.recent.place(key);
        if let Some(position) = place.position().filter(|position| self.pairs.is_at(*position, key)) {
            return Some(position);
        }
        let position = self.pairs.find(key)?;
        place.note(position as u32);
        Some(position)
    }

    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.find(key).and_then(|position| self.at(position)).map(|(_, entry)| entry)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.find(key).and_then(|position| self.at_mut(position)).map(|(_, entry)| entry)
    }

    /// Says that these keys are about to be looked up.
    pub(super) fn expect<'k>(&self, keys: impl Iterator<Item = &'k [u8]> + Clone) {
        if !self.pairs.is_far() {
            return;
        }
        let positions = self.pairs.likely(keys.clone());
        // Nothing is decided here, so that nothing has to wait before all are on their way.
        let touched = positions.iter().filter_map(|position| self.at(*position as usize));
        let last = |key: &Blob| key.last().copied().unwrap_or_default();
        black_box(touched.fold(0, |sum, (key, entry)| sum ^ entry.accounted ^ u32::from(last(key))));
        for (position, key) in positions.iter().zip(keys) {
            if self.pairs.is_at(*position as usize, key) {
                self.recent.place(key).note(*position);
            }
        }
    }

    /// Adds a key that is not there. Returns where it stands.
    pub(super) fn add(&mut self, key: &[u8], entry: Entry) -> usize {
        let position = self.pairs.add(Blob::from_slice(key), entry);
        self.recent.place(key).note(position as u32);
        position
    }

    /// Removes a key. The last one takes its position.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        self.find(key).and_then(|position| self.pairs.take(position))
    }
}

/// Where keys were found that were looked up of late: hints, of which each is looked at before it is believed.
#[derive(Debug)]
struct Recent([Cell<(u32, u32)>; 1 << RECENT_BITS]);

impl Default for Recent {
    fn default() -> Recent {
        Recent([const { Cell::new((0, u32::MAX)) }; 1 << RECENT_BITS])
    }
}

impl Recent {
    /// The place for a key: by its last bytes, in which keys differ.
    #[inline]
    fn place(&self, key: &[u8]) -> Place<'_> {
        let end = match (key.last_chunk(), key.first_chunk(), key.last_chunk()) {
            (Some(end), ..) => u64::from_le_bytes(*end),
            (None, Some(first), Some(last)) => {
                u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
            }
            _ => key.iter().fold(0, |end, byte| end << 8 | u64::from(*byte)),
        };
        // Fibonacci hashing: the upper bits depend on all others.
        let mixed = (end ^ key.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Place { cell: &self.0[(mixed >> (u64::BITS - RECENT_BITS)) as usize], mark: mixed as u32 }
    }
}

/// Where it may be remembered where a key stands.
struct Place<'a> {
    cell: &'a Cell<(u32, u32)>,
    /// Tells most other keys that have the same place.
    mark: u32,
}

impl Place<'_> {
    #[inline]
    fn position(&self) -> Option<usize> {
        let (mark, position) = self.cell.get();
        (mark == self.mark).then_some(position as usize)
    }

    #[inline]
    fn note(&self, position: u32) {
        self.cell.set((self.mark, position));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Value;
    use crate::state::dense::EXPECTED_MAX;

    fn entry(number: i64) -> Entry {
        Entry::new(Value::Int(number))
    }

    #[test]
    fn keys_are_found_wherever_removals_have_put_them() {
        let mut table = Table::default();
        let key = |number: i64| format!("key:{number:012}").into_bytes();
        for number in 0..10_000 {
            assert_eq!(table.add(&key(number), entry(number)), number as usize);
        }
        let all: Vec<Vec<u8>> = (0..10_000).map(key).collect();
        for keys in all.chunks(EXPECTED_MAX) {
            table.expect(keys.iter().map(Vec::as_slice));
        }
        for number in (0..10_000).step_by(3) {
            assert!(table.remove(&key(number)).is_some_and(|entry| entry.value == Value::Int(number)));
            assert!(table.remove(&key(number)).is_none());
        }
        table.expect(all.iter().map(Vec::as_slice));
        for number in 0..10_000 {
            let found = table.get(&key(number)).map(|entry| entry.value.clone());
            assert_eq!(found, (number % 3 != 0).then_some(Value::Int(number)), "{number}");
        }
        assert_eq!(table.len(), 6_666);
        assert!(table.iter().zip(0..).all(|((key, _), position)| table.find(key) == Some(position)));
    }

    #[test]
    fn keys_that_end_alike_are_told_apart() {
        let mut table = Table::default();
        let names: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"one:00000000", b"two:00000000", b"00000000"];
        for (name, number) in names.iter().zip(0..) {
            table.add(name, entry(number));
        }
        for (name, number) in names.iter().zip(0..).chain(names.iter().zip(0..)) {
            assert_eq!(table.get(name).map(|entry| entry.value.clone()), Some(Value::Int(number)));
        }
    }
}
