//! The ledger: ground truth about what clients lost, read stale or got twice, written the moment it arises.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::node::NodeId;
use crate::rule::Part;
use crate::time::Moment;

/// How many entries are kept in full. Past that only the counts grow, and a reader can tell by comparing the two.
pub const ENTRIES_MAX: usize = 200_000;

/// What went wrong from a client's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A write was acknowledged, and is gone.
    AckedLost,
    /// A read returned a value older than an acknowledged write.
    StaleRead,
    /// A message was handed out again after it had been handed out.
    DuplicateDelivery,
    /// Messages of one order were handed out in another.
    Reordered,
    /// Requests could not be served.
    Unavailable,
}

/// One event that a client may regret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When it arose, in nanoseconds since the kernel's start.
    #[serde(serialize_with = "serialize_moment")]
    pub at: Moment,
    /// What went wrong.
    pub kind: Kind,
    /// The part of the stack: `redis`, `kafka` …
    pub part: Part,
    /// What it happened to, in the engine's own words: a key, `topic-partition@offset`, a delivery tag.
    pub subject: String,
    /// How many: lost writes, positions behind, copies, or milliseconds of unavailability.
    pub count: u64,
    /// Where it happened.
    pub node: Option<NodeId>,
    /// What happened: "node 2 killed before replication", "truncated to epoch 4 at offset 1017".
    pub cause: String,
    /// The configuration that allowed it: `acks=1`, `appendfsync everysec`.
    pub allowed_by: String,
}

fn serialize_moment<S: serde::Serializer>(moment: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(moment.as_nanos())
}

/// All entries of a run, in order.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    counts: BTreeMap<(Part, Kind), u64>,
}

impl Ledger {
    pub(crate) fn record(&mut self, entry: Entry) {
        *self.counts.entry((entry.part, entry.kind)).or_default() += 1;
        if self.entries.len() < ENTRIES_MAX {
            self.entries.push(entry);
        }
    }

    /// The entries, oldest first: at most [`ENTRIES_MAX`].
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many entries of each part and kind there were, kept or not.
    pub fn counts(&self) -> &BTreeMap<(Part, Kind), u64> {
        &self.counts
    }

    /// How many entries of one kind there were in one part.
    pub fn count(&self, part: Part, kind: Kind) -> u64 {
        self.counts.get(&(part, kind)).copied().unwrap_or(0)
    }

    /// True if nothing was ever recorded.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}
