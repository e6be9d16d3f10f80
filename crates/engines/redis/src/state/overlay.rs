//! What a replica sees differently from the owner of the physical copy.

use std::collections::VecDeque;

use indexmap::IndexMap;
use smallvec::SmallVec;

use super::keyspace::{Entry, Hasher};
use super::value::Blob;

/// A place in the stream of writes: the `master_repl_offset` after a write.
pub(crate) type Position = u64;

/// A position that no stream reaches: a value that stays until its instance gives its branch up.
const NEVER: Position = Position::MAX;

/// What a key is on a follower for as long as the follower stands before `until`.
#[derive(Clone, Debug)]
struct Step {
    until: Position,
    value: Option<Entry>,
    /// How many writes of the owner this step hides.
    writes: u64,
}

/// One key that differs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Divergence {
    /// What it is here now, and what it becomes as the stream arrives.
    steps: SmallVec<[Step; 1]>,
    /// How many writes were acknowledged here since the branches parted.
    own_writes: u64,
}

impl Divergence {
    /// What the key is here; None: it does not exist.
    pub(crate) fn value(&self) -> Option<&Entry> {
        self.steps.first().and_then(|step| step.value.as_ref())
    }

    /// How many writes of the owner are missing here.
    pub(crate) fn writes_missing(&self) -> u64 {
        self.steps.iter().map(|step| step.writes).sum()
    }
}

/// The keys of one follower that differ from the owner's: each old value is kept at the first write after the fork.
///
/// A follower that lags holds a step for each place where it may yet stand; a follower that is *apart* (its branch has
/// parted from the owner's) holds one step for good, and writes of its own change that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay {
    keys: IndexMap<Blob, Divergence, Hasher>,
    /// Steps in order of their ends, for [`Overlay::advance`].
    order: VecDeque<(Position, Blob)>,
    is_apart: bool,
}

impl Overlay {
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Divergence> {
        if self.keys.is_empty() { None } else { self.keys.get(key) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Blob, &Divergence)> {
        self.keys.iter()
    }

    /// The key at a position; positions are dense.
    pub(crate) fn at(&self, index: usize) -> Option<(&Blob, &Divergence)> {
        self.keys.get_index(index)
    }

    /// Keeps what a key is before the owner writes it, unless that is kept already. `offset`: where the owner stands.
    /// `mark`: the newest position at which this follower stands or that is under way to it.
    pub(crate) fn save(&mut self, key: &[u8], offset: Position, mark: Position, before: Option<&Entry>) {
        let until = if self.is_apart { NEVER } else { offset + 1 };
        if let Some(divergence) = self.keys.get_mut(key) {
            // A step is needed only if the follower may come to stand between the last write and this one.
            if divergence.steps.last().is_some_and(|last| last.until <= mark) && !self.is_apart {
                divergence.steps.push(Step { until, value: before.cloned(), writes: 0 });
                self.order.push_back((until, Blob::from_slice(key)));
            }
            return;
        }
        let step = Step { until, value: before.cloned(), writes: 0 };
        let steps = SmallVec::from_iter([step]);
        self.keys.insert(Blob::from_slice(key), Divergence { steps, own_writes: 0 });
        if !self.is_apart {
            self.order.push_back((until, Blob::from_slice(key)));
        }
    }

    /// Counts a write of the owner to a key that was saved.
    pub(crate) fn owner_wrote(&mut self, key: &[u8]) {
        if let Some(last) = self.keys.get_mut(key).and_then(|divergence| divergence.steps.last_mut()) {
            last.writes += 1;
        }
    }

    /// The follower has come to stand at `position`: what differed only until there does so no more.
    pub(crate) fn advance(&mut self, position: Position) {
        while self.order.front().is_some_and(|(until, _)| *until <= position) {
            let Some((until, key)) = self.order.pop_front() else { return };
            let Some(divergence) = self.keys.get_mut(&key) else { continue };
            if divergence.steps.first().is_some_and(|step| step.until <= until) {
                divergence.steps.remove(0);
            }
            if divergence.steps.is_empty() {
                self.keys.swap_remove(&key);
            }
        }
    }

    /// The branches part here: what this follower sees now stays, whatever the owner does.
    pub(crate) fn part(&mut self) {
        self.is_apart = true;
        self.order.clear();
        for divergence in self.keys.values_mut() {
            let writes = divergence.writes_missing();
            divergence.steps.truncate(1);
            if let Some(step) = divergence.steps.first_mut() {
                step.until = NEVER;
                step.writes = writes;
            }
        }
    }

    /// The key's place for a write of this instance's own, after [`Overlay::save`] has made one.
    pub(crate) fn own_entry(&mut self, key: &[u8]) -> Option<&mut Option<Entry>> {
        self.keys.get_mut(key).and_then(|divergence| divergence.steps.first_mut()).map(|step| &mut step.value)
    }

    /// Counts an acknowledged write of this instance's own.
    pub(crate) fn wrote(&mut self, key: &[u8]) {
        if let Some(divergence) = self.keys.get_mut(key) {
            divergence.own_writes += 1;
        }
    }

    /// What this instance had acknowledged and the owner never saw: keys and numbers of writes.
    pub(crate) fn unshared(&self) -> impl Iterator<Item = (&Blob, u64)> {
        self.keys.iter().filter(|(_, own)| own.own_writes > 0).map(|(key, own)| (key, own.own_writes))
    }

    /// What this instance had acknowledged beyond what `kept` knows of.
    pub(crate) fn unshared_beyond(&self, kept: &Overlay) -> Vec<(Blob, u64)> {
        let known = |key: &[u8]| kept.get(key).map_or(0, |divergence| divergence.own_writes);
        let beyond = |(key, own): (&Blob, u64)| (key.clone(), own.saturating_sub(known(key)));
        self.unshared().map(beyond).filter(|(_, writes)| *writes > 0).collect()
    }

    /// Writes of the owner that nobody has any more are not missing here.
    pub(crate) fn forget_writes(&mut self, key: &[u8], writes: u64) {
        let last = self.keys.get_mut(key).and_then(|divergence| divergence.steps.last_mut());
        if let Some(step) = last {
            step.writes = step.writes.saturating_sub(writes);
        }
    }

    /// Takes away how many writes were acknowledged here alone.
    pub(crate) fn take_own_writes(&mut self, key: &[u8]) -> u64 {
        self.keys.get_mut(key).map_or(0, |divergence| std::mem::take(&mut divergence.own_writes))
    }

    /// Counts acknowledged writes that only this instance has.
    pub(crate) fn own_writes(&mut self, key: &[u8], writes: u64) {
        if let Some(divergence) = self.keys.get_mut(key) {
            divergence.own_writes += writes;
        }
    }

    /// The stream has been cut back to `position`: what lay beyond it never was.
    pub(crate) fn cut(&mut self, position: Position) {
        self.order.retain(|(until, _)| *until <= position);
        self.keys.retain(|_, divergence| {
            divergence.steps.retain(|step| step.until <= position);
            !divergence.steps.is_empty()
        });
    }

    /// Takes all keys out.
    pub(crate) fn take(&mut self) -> Vec<(Blob, Divergence)> {
        self.order.clear();
        self.keys.drain(..).collect()
    }
}

impl Divergence {
    /// The value itself, and how many writes of the owner it lacks.
    pub(crate) fn into_value(self) -> (Option<Entry>, u64) {
        let writes = self.writes_missing();
        (self.steps.into_iter().next().and_then(|step| step.value), writes)
    }
}
