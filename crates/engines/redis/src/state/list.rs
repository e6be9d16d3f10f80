//! Lists.

use std::collections::VecDeque;

use super::memory::{allocated, outside, sum};
use super::value::{Blob, Thresholds};

/// What a listpack spends on an element besides its bytes, about.
const ELEMENT_OVERHEAD: usize = 2;

/// A list of byte strings, cheap at both ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct List {
    items: VecDeque<Blob>,
    bytes: usize,
    is_quicklist: bool,
}

impl List {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn encoding(&self) -> &'static str {
        if self.is_quicklist { "quicklist" } else { "listpack" }
    }

    /// Adds an element at the left or right end.
    pub(crate) fn push(&mut self, item: &[u8], at_left: bool, thresholds: &Thresholds) {
        self.bytes += item.len() + ELEMENT_OVERHEAD;
        let item = Blob::from_slice(item);
        if at_left {
            self.items.push_front(item)
        } else {
            self.items.push_back(item)
        }
        self.grown(thresholds);
    }

    /// Takes an element off the left or right end.
    pub(crate) fn pop(&mut self, at_left: bool, thresholds: &Thresholds) -> Option<Blob> {
        let item = if at_left { self.items.pop_front() } else { self.items.pop_back() }?;
        self.bytes -= item.len() + ELEMENT_OVERHEAD;
        self.shrunk(thresholds);
        Some(item)
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Blob> {
        self.items.get(index)
    }

    /// Replaces the element at `index`; false if there is none.
    pub(crate) fn set(&mut self, index: usize, item: &[u8], thresholds: &Thresholds) -> bool {
        let Some(place) = self.items.get_mut(index) else { return false };
        self.bytes = self.bytes - place.len() + item.len();
        *place = Blob::from_slice(item);
        self.grown(thresholds);
        true
    }

    /// Inserts before `index`.
    pub(crate) fn insert(&mut self, index: usize, item: &[u8], thresholds: &Thresholds) {
        self.bytes += item.len() + ELEMENT_OVERHEAD;
        self.items.insert(index.min(self.items.len()), Blob::from_slice(item));
        self.grown(thresholds);
    }

    /// Removes up to `count` elements equal to `item`, from the left or from the right. Returns how many there were.
    pub(crate) fn remove(&mut self, item: &[u8], count: usize, from_left: bool, thresholds: &Thresholds) -> usize {
        let equal = self.items.iter().filter(|other| other.as_slice() == item).count();
        let doomed = equal.min(count);
        let keep_first = if from_left { 0 } else { equal - doomed };
        let mut seen = 0;
        self.items.retain(|other| {
            if other.as_slice() != item {
                return true;
            }
            seen += 1;
            seen <= keep_first || seen > keep_first + doomed
        });
        self.bytes -= doomed * (item.len() + ELEMENT_OVERHEAD);
        self.shrunk(thresholds);
        doomed
    }

    /// Keeps only the elements `start..end`.
    pub(crate) fn trim(&mut self, start: usize, end: usize, thresholds: &Thresholds) {
        self.items.truncate(end);
        self.items.drain(..start.min(self.items.len()));
        self.bytes = self.items.iter().map(|item| item.len() + ELEMENT_OVERHEAD).sum();
        self.shrunk(thresholds);
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Blob> + ExactSizeIterator {
        self.items.iter()
    }

    /// The elements `start..end`.
    pub(crate) fn range(&self, start: usize, end: usize) -> impl Iterator<Item = &Blob> {
        self.items.range(start.min(self.len())..end.min(self.len()))
    }

    /// In how many nodes Redis would hold it, filled one after the other, and how many bytes they have.
    pub(crate) fn nodes(&self, thresholds: &Thresholds) -> (usize, usize) {
        let (mut nodes, mut bytes, mut items) = (1, 0, 0);
        for item in &self.items {
            let size = item.len() + ELEMENT_OVERHEAD;
            if items > 0 && is_beyond(bytes + size, items + 1, thresholds, 1) {
                (nodes, bytes, items) = (nodes + 1, 0, 0);
            }
            (bytes, items) = (bytes + size, items + 1);
        }
        (nodes, self.bytes)
    }

    /// What the elements take, estimated by so many of them.
    pub(crate) fn memory(&self, samples: usize) -> usize {
        let element = |index| self.items.get(index).map_or(0, outside);
        allocated(self.items.capacity() * size_of::<Blob>()) + sum(self.len(), samples, element)
    }

    fn grown(&mut self, thresholds: &Thresholds) {
        self.is_quicklist |= self.exceeds(thresholds, 1);
    }

    /// Goes back to a listpack once it would be no more than half full.
    fn shrunk(&mut self, thresholds: &Thresholds) {
        self.is_quicklist &= self.exceeds(thresholds, 2);
    }

    fn exceeds(&self, thresholds: &Thresholds, divisor: usize) -> bool {
        is_beyond(self.bytes, self.items.len(), thresholds, divisor)
    }
}

/// True if so much is more than a node may hold, divided by this.
fn is_beyond(bytes: usize, items: usize, thresholds: &Thresholds, divisor: usize) -> bool {
    let size_class = usize::try_from(-thresholds.list_size_max.max(-5)).unwrap_or(0);
    match thresholds.list_size_max {
        ..0 => bytes > (2048usize << size_class) / divisor,
        entries => items > usize::try_from(entries).unwrap_or(usize::MAX) / divisor,
    }
}
