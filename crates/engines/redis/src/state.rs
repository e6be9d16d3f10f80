//! What Redis holds: values and their encodings, the key space, and the data that replicas share.
//!
//! - [`Value`] in `value.rs`: the types and their encodings.
//! - [`Keyspace`] in `keyspace.rs`: keys, values and deadlines of one database, over the hash table in `table.rs`.
//! - `memory.rs`: what values take; `usage.rs` and `eviction.rs`: which of them go when there are too many.
//! - [`Dataset`] in `dataset.rs`: one physical copy, its owner, and followers that see it through overlays.
//! - `feed.rs`: the stream of commands in bytes, for replicas outside of the stack.
//! - `images.rs`: what the disks of the instances hold, for power failures.
//! - `log_sync.rs`: how far the real file of a dataset is on disk.
//! - `snapshot.rs`: a dataset as it was at one moment, written while it changes.
//! - [`Db`] in `db.rs`: what one instance sees of a dataset; the only way by which commands reach keys.

mod dataset;
mod db;
mod dense;
mod digest;
mod eviction;
mod feed;
pub(crate) mod geohash;
mod hash;
pub(crate) mod hyperloglog;
mod images;
mod keyspace;
mod list;
pub(crate) mod listpack;
mod log_sync;
mod memory;
mod number;
mod overlay;
mod set;
pub(crate) mod snapshot;
mod stream;
mod stream_group;
mod table;
#[cfg(test)]
mod tests;
mod usage;
mod value;
mod zset;

pub(crate) use dataset::{Dataset, Undone};
pub(crate) use db::{Db, Interest};
pub(crate) use digest::Fingerprint;
pub(crate) use eviction::Policy;
pub(crate) use hash::Hash;
pub(crate) use keyspace::{Entry, Hasher, Keyspace, NEVER};
pub(crate) use list::List;
pub(crate) use log_sync::LogMark;
pub(crate) use memory::{KEY_BYTES, SAMPLES, outside};
pub(crate) use number::{add_decimals, format_float, parse_float, parse_integer};
pub(crate) use set::Set;
pub(crate) use stream::{Stream, StreamEntry, StreamId, Trim};
pub(crate) use stream_group::{Group, Name as ConsumerName};
pub(crate) use usage::{LastUse, UsageClock};
pub(crate) use value::{Blob, Thresholds, Value};
pub(crate) use zset::{Score, SortedSet};
