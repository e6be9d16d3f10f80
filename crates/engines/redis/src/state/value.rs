//! The types of values, and the encodings that OBJECT ENCODING shows.

use smallvec::SmallVec;

use super::hash::Hash;
use super::list::List;
use super::number::parse_integer;
use super::set::Set;
use super::stream::Stream;
use super::zset::SortedSet;
use crate::wire::Request;

/// A byte string; up to 16 bytes stand in place.
pub(crate) type Blob = SmallVec<[u8; 16]>;

/// The longest string that Redis allocates together with its object.
const EMBEDDED_LENGTH_MAX: usize = 44;

/// A value of any type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A string that is a canonical integer.
    Int(i64),
    /// Any other string. `is_raw`: it was modified in place, so it is no longer `embstr` however short it is.
    Str {
        bytes: Blob,
        is_raw: bool,
    },
    List(Box<List>),
    Hash(Box<Hash>),
    Set(Box<Set>),
    SortedSet(Box<SortedSet>),
    Stream(Box<Stream>),
}

impl Value {
    /// A string, as an integer if it is one.
    #[inline]
    pub(crate) fn string(bytes: &[u8]) -> Value {
        if bytes.len() <= 20
            && let Some(number) = parse_integer(bytes)
        {
            return Value::Int(number);
        }
        Value::Str { bytes: Blob::from_slice(bytes), is_raw: false }
    }

    /// A string that was modified in place.
    pub(crate) fn raw(bytes: Blob) -> Value {
        Value::Str { bytes, is_raw: true }
    }

    /// Says that these requests are about to look up members of it.
    #[inline]
    pub(super) fn expect<'r>(&self, requests: impl Iterator<Item = Request<'r>>) {
        match self {
            Value::Hash(hash) => hash.expect(requests.map(|request| request.arg(2))),
            Value::Set(set) => set.expect(requests.map(|request| request.arg(2))),
            // Behind its score.
            Value::SortedSet(set) => set.expect(requests.map(|request| request.arg(request.len() - 1))),
            Value::Int(_) | Value::Str { .. } | Value::List(_) | Value::Stream(_) => {}
        }
    }

    /// What TYPE answers.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Int(_) | Value::Str { .. } => "string",
            Value::List(_) => "list",
            Value::Hash(_) => "hash",
            Value::Set(_) => "set",
            Value::SortedSet(_) => "zset",
            Value::Stream(_) => "stream",
        }
    }

    /// In how many parts a value is held, as Redis counts what there is to free.
    pub(crate) fn parts_count(&self, thresholds: &Thresholds) -> usize {
        match self {
            Value::List(list) if list.encoding() == "quicklist" => list.nodes(thresholds).0,
            Value::Set(set) if set.encoding() == "hashtable" => set.len(),
            Value::SortedSet(set) if set.encoding() == "skiplist" => set.len(),
            Value::Hash(hash) if hash.encoding() == "hashtable" => hash.len(),
            Value::Stream(stream) => stream.parts_count(),
            _ => 1,
        }
    }

    /// What OBJECT ENCODING answers.
    pub(crate) fn encoding(&self) -> &'static str {
        match self {
            Value::Int(_) => "int",
            Value::Str { bytes, is_raw } if *is_raw || bytes.len() > EMBEDDED_LENGTH_MAX => "raw",
            Value::Str { .. } => "embstr",
            Value::List(list) => list.encoding(),
            Value::Hash(hash) => hash.encoding(),
            Value::Set(set) => set.encoding(),
            Value::SortedSet(set) => set.encoding(),
            Value::Stream(_) => "stream",
        }
    }

    /// The number of elements of a collection, or the length of a string: how much work it is to free.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Value::Int(_) => 1,
            Value::Str { bytes, .. } => bytes.len(),
            Value::List(list) => list.len(),
            Value::Hash(hash) => hash.len(),
            Value::Set(set) => set.len(),
            Value::SortedSet(set) => set.len(),
            Value::Stream(stream) => usize::try_from(stream.len()).unwrap_or(usize::MAX),
        }
    }

    /// True for a collection without elements, which does not exist. A stream may be empty.
    pub(crate) fn is_empty_collection(&self) -> bool {
        match self {
            Value::Int(_) | Value::Str { .. } | Value::Stream(_) => false,
            _ => self.weight() == 0,
        }
    }
}

/// Where collections change from their compact encodings to the ones that scale: options of redis.conf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    pub(crate) hash_entries_max: usize,
    pub(crate) hash_value_max: usize,
    pub(crate) set_ints_max: usize,
    pub(crate) set_entries_max: usize,
    pub(crate) set_value_max: usize,
    pub(crate) zset_entries_max: usize,
    pub(crate) zset_value_max: usize,
    /// Negative: a size class, -1 = 4 KiB to -5 = 64 KiB. Positive: a number of elements.
    pub(crate) list_size_max: i64,
    pub(crate) hll_sparse_bytes_max: usize,
    pub(crate) stream_node_bytes_max: usize,
    pub(crate) stream_node_entries_max: usize,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds {
            hash_entries_max: 128,
            hash_value_max: 64,
            set_ints_max: 512,
            set_entries_max: 128,
            set_value_max: 64,
            zset_entries_max: 128,
            zset_value_max: 64,
            list_size_max: -2,
            hll_sparse_bytes_max: 3000,
            stream_node_bytes_max: 4096,
            stream_node_entries_max: 100,
        }
    }
}
