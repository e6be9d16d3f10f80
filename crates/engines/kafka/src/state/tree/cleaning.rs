//! What the log cleaner makes of a tree: the front of the only branch is replaced by what it has left of it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Batch, Branch, BranchId, ForkTree};
use crate::state::producers::Producers;

/// What a round of the log cleaner has come to, besides the batches that it has left.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cleaned {
    /// The branch that it has been through, the only one.
    pub branch: BranchId,
    /// The offset after the last that it has been through.
    pub upto: i64,
    /// The epochs that began before that, each with its first offset. Batches do not tell all of them any more.
    epochs: Vec<(i32, i64)>,
    /// What producers had written up to there; batches do not tell that either.
    producers: Producers,
}

impl ForkTree {
    /// Batches before this offset have been through the log cleaner.
    pub fn cleaned(&self) -> i64 {
        self.cleaned
    }

    /// The branch of all replicas, while they agree.
    pub fn only_branch(&self) -> Option<BranchId> {
        let mut branches = self.branches.keys();
        branches.next().copied().filter(|_| branches.next().is_none())
    }

    /// What is to be known of the log before an offset when the cleaner has been through it. Of aborted transactions these
    /// may still be there, by producer and first offset.
    pub fn summarize(&self, branch: BranchId, upto: i64, aborted: &[(i64, i64)]) -> Option<Cleaned> {
        let cleaned = self.branches.get(&branch)?;
        let (known, mut producers) = (self.base.0, self.base.1.clone());
        let noted = |batch: &&Batch| batch.base_offset >= known && batch.base_offset < upto;
        cleaned.batches.iter().filter(noted).for_each(|batch| producers.note(batch));
        producers.cleaned(upto, aborted);
        let epochs = cleaned.epochs.iter().copied().filter(|(_, offset)| *offset < upto).collect();
        Some(Cleaned { branch, upto, epochs, producers })
    }

    /// The cleaner is done with a round that [`ForkTree::summarize`] has summed up: these batches take the place of those
    /// before its end.
    pub fn adopt(&mut self, cleaned: &Cleaned, mut batches: Vec<Batch>, aborted: &[(i64, i64)]) {
        let Some(branch) = self.branches.get_mut(&cleaned.branch) else { return };
        let first_kept = branch.batches.partition_point(|batch| batch.base_offset < cleaned.upto);
        for batch in &mut batches {
            // A batch keeps its offsets, whatever is left of it.
            if let Ok(place) = branch.batches.binary_search_by_key(&batch.base_offset, |known| known.base_offset) {
                batch.acknowledged = branch.batches[place].acknowledged;
            }
        }
        let kept = branch.batches.split_off(first_kept);
        branch.batches = VecDeque::from(batches);
        branch.batches.extend(kept);
        branch.producers.cleaned(cleaned.upto, aborted);
        self.base = (cleaned.upto, cleaned.producers.clone());
        self.cleaned = cleaned.upto;
        self.trim();
    }

    /// Repeats what storage remembers of a round of the cleaner. All replicas were on one branch then.
    pub fn replay_cleaned(&mut self, cleaned: Cleaned, batches: Vec<Batch>) {
        let Cleaned { branch: id, upto, epochs, producers } = cleaned;
        let end = self.branches.get(&id).map_or(upto, |branch| branch.end);
        let mut whole = Branch { start: upto, end: upto, epochs, ..Branch::default() };
        for (part, from, until) in self.path(super::Position { branch: id, end }) {
            let batches = self.branches.get(&part).map(|branch| &branch.batches);
            let from = from.max(upto);
            for batch in batches.into_iter().flatten() {
                if batch.base_offset >= from && batch.base_offset < until {
                    whole.push(batch.clone());
                }
            }
        }
        whole.start = batches.first().map_or(upto, |batch| batch.base_offset);
        let rest = std::mem::replace(&mut whole.batches, VecDeque::from(batches));
        whole.batches.extend(rest);
        self.branches = BTreeMap::from([(id, whole)]);
        self.next_branch = self.next_branch.max(id + 1);
        self.replicas.values_mut().for_each(|position| position.branch = id);
        self.base = (upto, producers);
        self.cleaned = upto;
        self.rebuild_producers(id);
        self.trim();
    }
}
