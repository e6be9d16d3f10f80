//! Sorted sets: members with scores, in order of score and then of bytes.

use std::cmp::Ordering;

use super::dense::Dense;
use super::memory::{allocated, outside, sum};
use super::value::{Blob, Thresholds};

/// How many elements stand together. An insertion moves at most this many; a rank is counted in steps of about half.
const CHUNK: usize = 128;

/// A score: any number but NaN.
pub(crate) type Score = f64;

/// A sorted set: scores by member, and members in order, in chunks.
#[derive(Clone, Debug, Default)]
pub(crate) struct SortedSet {
    scores: Dense<Score>,
    /// Every chunk has an element.
    chunks: Vec<Vec<(Score, Blob)>>,
    is_skiplist: bool,
}

impl PartialEq for SortedSet {
    fn eq(&self, other: &SortedSet) -> bool {
        self.len() == other.len() && self.scores.iter().all(|(member, score)| other.scores.get(member) == Some(score))
    }
}

fn order(one: (Score, &[u8]), other: (Score, &[u8])) -> Ordering {
    one.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal).then_with(|| one.1.cmp(other.1))
}

impl SortedSet {
    pub(crate) fn len(&self) -> usize {
        self.scores.len()
    }

    pub(crate) fn encoding(&self) -> &'static str {
        if self.is_skiplist { "skiplist" } else { "listpack" }
    }

    pub(crate) fn is_compact(&self) -> bool {
        !self.is_skiplist
    }

    /// Says that these members are about to be looked up.
    pub(super) fn expect<'m>(&self, members: impl Iterator<Item = &'m [u8]>) {
        self.scores.expect(members);
    }

    pub(crate) fn score(&self, member: &[u8]) -> Option<Score> {
        self.scores.get(member).copied()
    }

    /// The member at a position of its own, unrelated to its rank; positions are dense.
    pub(crate) fn at(&self, index: usize) -> Option<(&Blob, Score)> {
        self.scores.at(index).map(|(member, score)| (member, *score))
    }

    /// Gives a member a score. Returns the score that it had.
    pub(crate) fn insert(&mut self, member: &[u8], score: Score, thresholds: &Thresholds) -> Option<Score> {
        let before = match self.scores.get_mut(member) {
            Some(place) if *place == score => return Some(score),
            Some(place) => Some(std::mem::replace(place, score)),
            None => {
                self.scores.add(Blob::from_slice(member), score);
                None
            }
        };
        if let Some(before) = before {
            self.unlink(member, before);
        }
        self.link(member, score);
        self.is_skiplist |= self.len() > thresholds.zset_entries_max || member.len() > thresholds.zset_value_max;
        before
    }

    /// Removes a member. Returns the score that it had.
    pub(crate) fn remove(&mut self, member: &[u8]) -> Option<Score> {
        let score = self.scores.remove(member)?;
        self.unlink(member, score);
        Some(score)
    }

    /// How many members stand before this place.
    pub(crate) fn rank_of(&self, score: Score, member: &[u8]) -> usize {
        self.count_before(|other| order((other.0, &other.1), (score, member)) == Ordering::Less)
    }

    /// How many members `is_before` holds for; it must hold for a prefix of the order.
    pub(crate) fn count_before(&self, is_before: impl Fn(&(Score, Blob)) -> bool) -> usize {
        let full = self.chunks.partition_point(|chunk| chunk.last().is_some_and(&is_before));
        let counted: usize = self.chunks[..full].iter().map(Vec::len).sum();
        counted + self.chunks.get(full).map_or(0, |chunk| chunk.partition_point(is_before))
    }

    /// The members of ranks `start..end`, in order.
    pub(crate) fn range(&self, start: usize, end: usize) -> impl DoubleEndedIterator<Item = (&Blob, Score)> {
        let end = end.min(self.len());
        let mut skipped = 0;
        let mut parts: Vec<&[(Score, Blob)]> = Vec::new();
        for chunk in &self.chunks {
            let from = start.saturating_sub(skipped).min(chunk.len());
            let to = end.saturating_sub(skipped).min(chunk.len());
            if from < to {
                parts.push(&chunk[from..to]);
            }
            skipped += chunk.len();
            if skipped >= end {
                break;
            }
        }
        parts.into_iter().flatten().map(|(score, member)| (member, *score))
    }

    /// What the members take, each of which stands in the table and in its chunk; estimated by so many of them.
    pub(crate) fn memory(&self, samples: usize) -> usize {
        let member = |index| self.at(index).map_or(0, |(member, _)| 2 * outside(member));
        let elements = self.len() * size_of::<(Score, Blob)>();
        // Chunks are full by two thirds and more.
        let chunks =
            allocated(elements + elements / 3) + allocated(self.chunks.capacity() * size_of::<Vec<(Score, Blob)>>());
        self.scores.memory() + chunks + sum(self.len(), samples, member)
    }

    fn chunk_of(&self, score: Score, member: &[u8]) -> usize {
        self.chunks.partition_point(|chunk| {
            chunk.last().is_some_and(|last| order((last.0, &last.1), (score, member)) == Ordering::Less)
        })
    }

    fn link(&mut self, member: &[u8], score: Score) {
        let element = (score, Blob::from_slice(member));
        let index = self.chunk_of(score, member).min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(index) else {
            self.chunks.push(vec![element]);
            return;
        };
        let place = chunk.partition_point(|other| order((other.0, &other.1), (score, member)) == Ordering::Less);
        chunk.insert(place, element);
        if chunk.len() > CHUNK {
            let right = chunk.split_off(CHUNK / 2);
            self.chunks.insert(index + 1, right);
        }
    }

    fn unlink(&mut self, member: &[u8], score: Score) {
        let index = self.chunk_of(score, member);
        let Some(chunk) = self.chunks.get_mut(index) else { return };
        let place = chunk.partition_point(|other| order((other.0, &other.1), (score, member)) == Ordering::Less);
        if chunk.get(place).is_some_and(|other| other.1.as_slice() == member) {
            chunk.remove(place);
        }
        if chunk.is_empty() {
            self.chunks.remove(index);
        }
    }
}
