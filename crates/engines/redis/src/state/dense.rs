//! A map whose pairs stand densely in a vector. The hash table of their positions never grows in one piece: it is made of segments,
//! of which one is split at a time (linear hashing). The vector does, which for a large one moves no bytes: the allocator has
//! the operating system move its pages.

use std::hash::BuildHasher;
use std::hint::black_box;

use hashbrown::HashTable;

use super::keyspace::Hasher;
use super::memory::allocated;
use super::value::Blob;

/// How many names are looked up together.
pub(super) const EXPECTED_MAX: usize = 16;
/// How many pairs there are at least where looking up costs waiting for memory.
const FAR: usize = 2048;
/// How many positions a segment has on average before one more is split.
const SEGMENT: usize = 512;
/// The bits of a hash from here on choose the segment; those below and the topmost ones place it within one.
const SEGMENT_SHIFT: u32 = 20;

/// Values by their names.
#[derive(Clone, Debug)]
pub(crate) struct Dense<V> {
    pairs: Vec<(Blob, V)>,
    segments: Vec<HashTable<u32>>,
    hasher: Hasher,
}

impl<V> Default for Dense<V> {
    fn default() -> Dense<V> {
        Dense { pairs: Vec::new(), segments: Vec::new(), hasher: Hasher::default() }
    }
}

impl<V> FromIterator<(Blob, V)> for Dense<V> {
    fn from_iter<I: IntoIterator<Item = (Blob, V)>>(pairs: I) -> Dense<V> {
        let mut dense = Dense::default();
        for (name, value) in pairs {
            match dense.get_mut(&name) {
                Some(place) => *place = value,
                None => {
                    dense.add(name, value);
                }
            }
        }
        dense
    }
}

impl<V> Dense<V> {
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Blob, &V)> {
        self.pairs.iter().map(|(name, value)| (name, value))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.pairs.iter_mut().map(|(_, value)| value)
    }

    /// The pair at a position.
    #[inline]
    pub(crate) fn at(&self, position: usize) -> Option<(&Blob, &V)> {
        self.pairs.get(position).map(|(name, value)| (name, value))
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, position: usize) -> Option<(&Blob, &mut V)> {
        self.pairs.get_mut(position).map(|(name, value)| (&*name, value))
    }

    #[inline]
    pub(crate) fn is_at(&self, position: usize, name: &[u8]) -> bool {
        self.at(position).is_some_and(|(other, _)| other.as_slice() == name)
    }

    /// Where a name stands. It stays there until one is removed.
    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        let hash = self.hasher.hash_one(name);
        let segment = self.segments.get(segment_of(hash, self.segments.len()))?;
        segment.find(hash, |position| self.is_at(*position as usize, name)).map(|position| *position as usize)
    }

    #[inline]
    fn hash(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(name)
    }

    /// Where names stand that are about to be looked up, nearly always; `u32::MAX` for one that is nowhere. Each walk touches memory
    /// that the one before has found, and none waits for one name before it goes to the next.
    #[inline]
    pub(super) fn likely<'n>(&self, names: impl Iterator<Item = &'n [u8]>) -> [u32; EXPECTED_MAX] {
        let (mut hashes, mut positions) = ([0; EXPECTED_MAX], [u32::MAX; EXPECTED_MAX]);
        let mut count = 0;
        for (place, name) in hashes.iter_mut().zip(names) {
            *place = self.hash(name);
            count += 1;
        }
        for (position, hash) in positions.iter_mut().zip(&hashes[..count]) {
            let segment = self.segments.get(segment_of(*hash, self.segments.len()));
            // The first of which a few bits of the hash are right.
            *position = segment.and_then(|segment| segment.find(*hash, |_| true)).copied().unwrap_or(u32::MAX);
        }
        positions
    }

    /// Says that these names are about to be looked up.
    pub(super) fn expect<'n>(&self, names: impl Iterator<Item = &'n [u8]>) {
        if self.is_far() {
            let touched = self.likely(names).into_iter().filter_map(|position| self.at(position as usize));
            black_box(touched.fold(0, |sum, (name, _)| sum ^ name.first().copied().unwrap_or_default()));
        }
    }

    /// True if it is too large to be in the processor's caches as it is.
    #[inline]
    pub(super) fn is_far(&self) -> bool {
        self.len() >= FAR
    }

    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&V> {
        self.find(name).and_then(|position| self.at(position)).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, name: &[u8]) -> Option<&mut V> {
        let position = self.find(name)?;
        self.at_mut(position).map(|(_, value)| value)
    }

    /// Adds a name that is not there. Returns where it stands.
    pub(crate) fn add(&mut self, name: Blob, value: V) -> usize {
        let position = self.len();
        assert!(position < u32::MAX as usize, "there are no more than 2^32 - 1 keys or members");
        if position >= self.segments.len() * SEGMENT {
            self.split();
        }
        let hash = self.hasher.hash_one(name.as_slice());
        self.pairs.push((name, value));
        let Dense { pairs, segments, hasher } = self;
        let index = segment_of(hash, segments.len());
        segments[index].insert_unique(hash, position as u32, |other| hash_at(pairs, hasher, *other));
        position
    }

    /// Adds a segment, which takes its positions from the one that is next to be split.
    fn split(&mut self) {
        let Dense { pairs, segments, hasher } = self;
        let count = segments.len();
        if count == 0 {
            // Most collections never have a second one: no room is kept for it.
            *segments = vec![HashTable::new()];
            return;
        }
        segments.push(HashTable::new());
        let source = count - (1 << count.ilog2());
        for position in std::mem::take(&mut segments[source]) {
            let hash = hash_at(pairs, hasher, position);
            let index = segment_of(hash, count + 1);
            segments[index].insert_unique(hash, position, |other| hash_at(pairs, hasher, *other));
        }
    }

    /// Removes a name. The last pair takes its position.
    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<V> {
        self.find(name).and_then(|position| self.take(position))
    }

    /// Removes the pair at a position. The last one takes it.
    pub(crate) fn take(&mut self, position: usize) -> Option<V> {
        let hash = self.hash(self.at(position)?.0);
        let was = self.len() - 1;
        let moved = hash_at(&self.pairs, &self.hasher, was as u32);
        let count = self.segments.len();
        let segment = &mut self.segments[segment_of(hash, count)];
        if let Ok(found) = segment.find_entry(hash, |other| *other as usize == position) {
            found.remove();
        }
        let (_, value) = self.pairs.swap_remove(position);
        if position != was {
            let segment = &mut self.segments[segment_of(moved, count)];
            if let Some(place) = segment.find_mut(moved, |other| *other as usize == was) {
                *place = position as u32;
            }
        }
        Some(value)
    }

    /// What the pairs and segments take, without what stands outside of the pairs.
    pub(crate) fn memory(&self) -> usize {
        if self.pairs.is_empty() {
            return 0;
        }
        let places = (self.len().div_ceil(self.segments.len()) * 8 / 7).next_power_of_two();
        let segments = self.segments.len() * allocated(places * (size_of::<u32>() + 1) + 16);
        let frames = allocated(self.segments.capacity() * size_of::<HashTable<u32>>());
        allocated(self.pairs.capacity() * size_of::<(Blob, V)>()) + segments + frames
    }
}

/// The segment of a hash among so many: those below the highest power of two were split as far as there are more.
fn segment_of(hash: u64, count: usize) -> usize {
    let bits = (hash >> SEGMENT_SHIFT) as u32 as usize;
    let wide = bits & (count.max(1).next_power_of_two() - 1);
    if wide < count { wide } else { wide & ((count.max(1).next_power_of_two() >> 1).max(1) - 1) }
}

fn hash_at<V>(pairs: &[(Blob, V)], hasher: &Hasher, position: u32) -> u64 {
    hasher.hash_one(pairs[position as usize].0.as_slice())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn it_holds_what_a_model_holds() {
        let (mut dense, mut model, mut order) = (Dense::default(), HashMap::new(), Vec::<u64>::new());
        let mut state = 7_u64;
        for step in 0..60_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (state >> 33) % 20_000;
            let name = number.to_string();
            let removes = (state >> 60) < if step % 20_000 < 15_000 { 4 } else { 12 };
            if removes {
                assert_eq!(dense.remove(name.as_bytes()), model.remove(&number));
                if let Some(place) = order.iter().position(|other| *other == number) {
                    order.swap_remove(place);
                }
            } else if let Some(place) = dense.get_mut(name.as_bytes()) {
                *place = step;
                assert!(model.insert(number, step).is_some());
            } else {
                dense.add(Blob::from_slice(name.as_bytes()), step);
                assert!(model.insert(number, step).is_none());
                order.push(number);
            }
            assert_eq!(dense.len(), model.len());
            if step % 997 == 0 {
                let names = order.iter().map(|number| number.to_string().into_bytes());
                assert!(dense.iter().map(|(name, _)| name.to_vec()).eq(names));
                assert!((0..20_000).all(|number| dense.get(number.to_string().as_bytes()) == model.get(&number)));
            }
        }
    }

    /// An insertion splits one segment at most, and a segment that it adds to may grow: no more positions are hashed anew.
    #[test]
    fn an_insertion_moves_few_however_many_there_are() {
        let mut dense = Dense::default();
        for number in 0..300_000 {
            let segments = dense.segments.len();
            dense.add(Blob::from_slice(number.to_string().as_bytes()), ());
            assert!(dense.segments.len() <= segments + 1, "{number}");
            let source = segments.checked_ilog2().map_or(0, |bits| segments - (1 << bits));
            assert!(dense.segments[source].len() < 3 * SEGMENT, "{number}");
        }
        assert_eq!(dense.segments.len(), 300_000_usize.div_ceil(SEGMENT));
        assert!(dense.segments.iter().all(|segment| segment.len() < 3 * SEGMENT));
        assert!((0..300_000).all(|number| dense.contains(number.to_string().as_bytes())));
    }
}
