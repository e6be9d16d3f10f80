//! What idempotent producers have written to a partition, for deduplication and ordering.
//!
//! <https://cwiki.apache.org/confluence/display/KAFKA/KIP-98+-+Exactly+Once+Delivery+and+Transactional+Messaging>

use std::collections::{BTreeMap, VecDeque};

use crate::state::tree::Batch;
use crate::wire::batch::{BatchHeader, add_sequence};

/// As many batches of a producer are remembered as it may have in flight.
const BATCHES_REMEMBERED: usize = 5;

/// The producers of one branch by their ids.
#[derive(Debug, Clone, Default)]
pub struct Producers {
    by_id: BTreeMap<i64, ProducerState>,
}

#[derive(Debug, Clone)]
struct ProducerState {
    epoch: i16,
    /// First and last sequence number, and first offset.
    recent: VecDeque<(i32, i32, i64)>,
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
    },
    /// A batch before it is missing.
    OutOfOrder,
    /// Its epoch is older than the producer's.
    Fenced,
}

impl Producers {
    /// Remembers a stored batch.
    pub fn note(&mut self, batch: &Batch) {
        let Some((id, epoch, first, last)) = batch.producer else { return };
        let state = self.by_id.entry(id).or_insert_with(|| ProducerState { epoch, recent: VecDeque::new() });
        if state.epoch != epoch {
            *state = ProducerState { epoch, recent: VecDeque::new() };
        }
        if state.recent.len() == BATCHES_REMEMBERED {
            state.recent.pop_front();
        }
        state.recent.push_back((first, last, batch.base_offset));
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
        let same =
            |(first, last, _): &&(i32, i32, i64)| (*first, *last) == (header.base_sequence, header.last_sequence());
        if let Some((_, _, base_offset)) = state.recent.iter().find(same) {
            return Fit::Duplicate { base_offset: *base_offset };
        }
        match state.recent.back() {
            Some((_, last, _)) if add_sequence(*last, 1) != header.base_sequence => Fit::OutOfOrder,
            _ => Fit::Next,
        }
    }
}
