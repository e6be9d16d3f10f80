//! What idempotent and transactional producers have written to a partition: for deduplication, for ordering, and for what a
//! reader may see of transactions.
//!
//! <https://cwiki.apache.org/confluence/display/KAFKA/KIP-98+-+Exactly+Once+Delivery+and+Transactional+Messaging>

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::state::tree::{Batch, Kind};
use crate::wire::batch::{BatchHeader, add_sequence};

/// As many batches of a producer are remembered as it may have in flight.
const BATCHES_REMEMBERED: usize = 5;
/// Committed transactions are forgotten in lots of this many.
const COMMITTED_KEPT: usize = 64;

/// The producers of one branch by their ids.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Producers {
    by_id: BTreeMap<i64, ProducerState>,
    /// Transactions that have ended, in the order of their ends.
    ended: Vec<Ended>,
    /// How many of these were committed.
    committed: usize,
}

/// One producer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProducerState {
    /// Its newest epoch.
    pub epoch: i16,
    /// First and last sequence number, first offset, and greatest timestamp.
    recent: VecDeque<(i32, i32, i64, i64)>,
    /// The greatest timestamp of its newest batch.
    pub last_timestamp: i64,
    /// The epoch of the coordinator that ended its last transaction; −1 if none did.
    pub coordinator_epoch: i32,
    /// The first offset of its transaction that has not ended.
    pub open_since: Option<i64>,
}

/// A transaction that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Whose it was.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: i64,
    /// Its marker.
    pub last_offset: i64,
    /// Whether it was aborted.
    pub aborted: bool,
}

/// How a batch fits behind what its producer has written before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It is the next one, or the first.
    Next,
    /// It is there already, at this offset.
    Duplicate {
        /// The first record's offset.
        base_offset: i64,
        /// Its greatest timestamp.
        timestamp: i64,
    },
    /// A batch before it is missing.
    OutOfOrder,
    /// Its epoch is older than the producer's.
    Fenced,
}

impl ProducerState {
    fn new(epoch: i16) -> ProducerState {
        let (recent, last_timestamp) = (VecDeque::new(), -1);
        ProducerState { epoch, recent, last_timestamp, coordinator_epoch: -1, open_since: None }
    }
}

impl ProducerState {
    /// The sequence number of its last record, or −1.
    pub fn last_sequence(&self) -> i32 {
        self.recent.back().map_or(-1, |(_, last, ..)| *last)
    }

    /// Where its last batch of records begins, if it has written any in its present epoch.
    pub fn last_data_offset(&self) -> Option<i64> {
        self.recent.back().map(|(_, _, base_offset, _)| *base_offset)
    }
}

impl Producers {
    /// Remembers a stored batch.
    pub fn note(&mut self, batch: &Batch) {
        let Some((id, epoch, first, last)) = batch.producer.filter(|_| batch.kind != Kind::Emptied) else { return };
        let state = self.by_id.entry(id).or_insert_with(|| ProducerState::new(epoch));
        if state.epoch != epoch {
            state.epoch = epoch;
            state.recent.clear();
        }
        state.last_timestamp = batch.max_timestamp;
        if let Kind::Marker { commit, coordinator_epoch } = batch.kind {
            state.coordinator_epoch = coordinator_epoch;
            if let Some(first_offset) = state.open_since.take() {
                self.ended.push(Ended {
                    producer_id: id,
                    first_offset,
                    last_offset: batch.base_offset,
                    aborted: !commit,
                });
                self.committed += usize::from(commit);
            }
            return;
        }
        if state.recent.len() == BATCHES_REMEMBERED {
            state.recent.pop_front();
        }
        state.recent.push_back((first, last, batch.base_offset, batch.max_timestamp));
        if batch.kind == Kind::Transactional {
            state.open_since.get_or_insert(batch.base_offset);
        }
    }

    /// Checks a batch that is to be appended.
    pub fn check(&self, header: &BatchHeader) -> Fit {
        if header.producer_id < 0 {
            return Fit::Next;
        }
        // Of a producer that nothing is known of any sequence is taken: what was known may have been removed with the log.
        let Some(state) = self.by_id.get(&header.producer_id) else { return Fit::Next };
        if header.producer_epoch < state.epoch {
            return Fit::Fenced;
        }
        if header.producer_epoch > state.epoch {
            return if header.base_sequence == 0 { Fit::Next } else { Fit::OutOfOrder };
        }
        let same = |(first, last, ..): &&(i32, i32, i64, i64)| {
            (*first, *last) == (header.base_sequence, header.last_sequence())
        };
        if let Some((_, _, base_offset, timestamp)) = state.recent.iter().find(same) {
            return Fit::Duplicate { base_offset: *base_offset, timestamp: *timestamp };
        }
        let expected = state.recent.back().map_or(0, |(_, last, ..)| add_sequence(*last, 1));
        if header.base_sequence == expected { Fit::Next } else { Fit::OutOfOrder }
    }

    /// Forgets producers without a transaction that have written nothing since a time.
    pub fn expire(&mut self, before_ms: i64) {
        self.by_id.retain(|_, state| state.open_since.is_some() || state.last_timestamp > before_ms);
    }

    /// What is known of a producer.
    pub fn get(&self, id: i64) -> Option<&ProducerState> {
        self.by_id.get(&id)
    }

    /// All producers by their ids.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &ProducerState)> {
        self.by_id.iter().map(|(id, state)| (*id, state))
    }

    /// The offset below which every transaction has ended with a committed marker, given what is committed.
    pub fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        let open = self.by_id.values().filter_map(|state| state.open_since);
        let unsure = self.ended.iter().filter(|ended| ended.last_offset >= high_watermark);
        open.chain(unsure.map(|ended| ended.first_offset)).fold(high_watermark, i64::min)
    }

    /// The aborted transactions that a reader of these offsets must leave out.
    pub fn aborted(&self, from: i64, upto: i64) -> Vec<Ended> {
        let concerned = |ended: &&Ended| ended.aborted && ended.last_offset >= from && ended.first_offset < upto;
        self.ended.iter().filter(concerned).copied().collect()
    }

    /// The cleaner has removed the records of aborted transactions before an offset, but of those that it names: it will look
    /// for their markers again.
    pub fn cleaned(&mut self, upto: i64, remaining: &[(i64, i64)]) {
        self.ended.retain(|ended| {
            !ended.aborted || ended.last_offset >= upto || remaining.contains(&(ended.producer_id, ended.first_offset))
        });
    }

    /// Forgets committed transactions whose markers every replica has as committed, and whatever ended before the log begins.
    pub fn forget(&mut self, committed_everywhere: i64, log_start: i64) {
        if self.committed < COMMITTED_KEPT && self.ended.first().is_none_or(|ended| ended.last_offset >= log_start) {
            return;
        }
        self.ended.retain(|ended| {
            ended.last_offset >= log_start && (ended.aborted || ended.last_offset >= committed_everywhere)
        });
        self.committed = self.ended.iter().filter(|ended| !ended.aborted).count();
    }
}
