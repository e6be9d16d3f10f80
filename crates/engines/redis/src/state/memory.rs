//! How much memory values take: the real sizes of these structures, as the allocator rounds them. Of large collections a
//! few elements are measured and stand for all, so that it costs the same for each.

use super::hash::Hash;
use super::keyspace::Entry;
use super::set::Set;
use super::value::{Blob, Value};

/// How many elements stand for all if nothing else is asked for.
pub(crate) const SAMPLES: usize = 5;
/// What a key takes in the table of a database: its entry, and its share of the table of positions.
pub(crate) const KEY_BYTES: usize = size_of::<(Blob, Entry)>() + INDEX_BYTES;
/// A position and a byte of its hash, in a table that is two thirds full on average.
const INDEX_BYTES: usize = 8;

/// What the allocator takes for so many bytes: a header, multiples of 16, and no less than 32.
#[inline]
pub(crate) fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { bytes.saturating_add(8).next_multiple_of(16).max(32) }
}

/// What a byte string takes outside of its place.
#[inline]
pub(crate) fn outside(blob: &Blob) -> usize {
    if blob.spilled() { allocated(blob.capacity()) } else { 0 }
}

/// The sum over `length` elements of what `measure` says of each, estimated by `samples` of them.
#[inline]
pub(super) fn sum(length: usize, samples: usize, measure: impl Fn(usize) -> usize) -> usize {
    let count = length.min(samples);
    if count == 0 {
        return 0;
    }
    let measured: usize = (0..count).map(|number| measure(number * (length / count))).sum();
    match measured.checked_mul(length) {
        _ if count == length => measured,
        Some(product) => product / count,
        None => (measured as u128 * length as u128 / count as u128) as usize,
    }
}

impl Value {
    /// What a value takes outside of its place in the table.
    pub(crate) fn memory(&self, samples: usize) -> usize {
        match self {
            Value::Int(_) => 0,
            Value::Str { bytes, .. } => outside(bytes),
            Value::List(list) => allocated(size_of_val(&**list)) + list.memory(samples),
            Value::Hash(hash) => allocated(size_of_val(&**hash)) + hash_memory(hash, samples),
            Value::Set(set) => allocated(size_of_val(&**set)) + set_memory(set, samples),
            Value::SortedSet(set) => allocated(size_of_val(&**set)) + set.memory(samples),
            Value::Stream(stream) => allocated(size_of_val(&**stream)) + stream.memory(samples),
        }
    }
}

fn hash_memory(hash: &Hash, samples: usize) -> usize {
    let outside_pair = |(field, value): (&Blob, &Blob)| outside(field) + outside(value);
    match hash {
        Hash::Listpack(pairs) => {
            allocated(pairs.capacity() * size_of::<(Blob, Blob)>())
                + sum(pairs.len(), samples, |index| outside_pair((&pairs[index].0, &pairs[index].1)))
        }
        Hash::Table(pairs) => {
            pairs.memory() + sum(pairs.len(), samples, |index| pairs.at(index).map_or(0, outside_pair))
        }
    }
}

fn set_memory(set: &Set, samples: usize) -> usize {
    match set {
        Set::Intset(numbers) => allocated(numbers.capacity() * size_of::<i64>()),
        Set::Listpack(members) => {
            allocated(members.capacity() * size_of::<Blob>())
                + sum(members.len(), samples, |index| members.get(index).map_or(0, outside))
        }
        Set::Table(members) => {
            members.memory()
                + sum(members.len(), samples, |index| members.at(index).map_or(0, |(member, ())| outside(member)))
        }
    }
}
