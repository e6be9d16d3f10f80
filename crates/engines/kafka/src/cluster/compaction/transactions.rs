//! What a round of the cleaner knows of the transactions that it passes: the records of aborted ones go at once, and the end of
//! a transaction goes when nothing is left of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::state::producers::Ended;
use crate::state::tree::{Batch, Kind};

/// The transactions on the way through a log.
#[derive(Debug, Default)]
pub(super) struct Passing {
    /// Aborted ones that have not begun, by their first offset and producer.
    ahead: BTreeMap<(i64, i64), Ended>,
    /// Aborted ones that have begun, by producer, and whether anything of them was there.
    aborted: BTreeMap<i64, (Ended, bool)>,
    /// Producers of others of which something was there.
    others: BTreeSet<i64>,
    /// Aborted ones that have ended and of which something was there: producer and first offset.
    remaining: Vec<(i64, i64)>,
}

impl Passing {
    /// A way along which these transactions were aborted.
    pub fn new(aborted: Vec<Ended>) -> Passing {
        let ahead = aborted.into_iter().map(|ended| ((ended.first_offset, ended.producer_id), ended)).collect();
        Passing { ahead, ..Passing::default() }
    }

    /// Passes a batch and says whether it may go: it was aborted, or it is the end of a transaction of which nothing is left.
    pub fn pass(&mut self, batch: &Batch) -> bool {
        while let Some(entry) = self.ahead.first_entry().filter(|entry| entry.key().0 < batch.next_offset) {
            let ended = entry.remove();
            self.aborted.entry(ended.producer_id).or_insert((ended, false));
        }
        let Some((producer, ..)) = batch.producer else { return false };
        match batch.kind {
            Kind::Plain => false,
            Kind::Emptied => true,
            Kind::Transactional => match self.aborted.get_mut(&producer) {
                Some((_, was_there)) => {
                    *was_there = true;
                    true
                }
                None => {
                    self.others.insert(producer);
                    false
                }
            },
            Kind::Marker { commit: true, .. } => !self.others.remove(&producer),
            Kind::Marker { commit: false, .. } => match self.aborted.remove(&producer) {
                Some((ended, true)) => {
                    self.remaining.push((producer, ended.first_offset));
                    false
                }
                _ => true,
            },
        }
    }

    /// The aborted transactions whose end must still be told to readers.
    pub fn remaining(&self) -> &[(i64, i64)] {
        &self.remaining
    }
}
