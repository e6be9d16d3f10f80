//! A group of consumers of a stream: what it has read, and what was delivered and not yet acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::memory::allocated;
use super::stream::StreamId;

/// A consumer's name, shared between the group and what is pending for the consumer.
pub(crate) type Name = Arc<[u8]>;

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pending {
    pub(crate) consumer: Name,
    /// When it was delivered last, in wall-clock milliseconds.
    pub(crate) delivered_at_ms: i64,
    pub(crate) deliveries: u64,
}

/// A consumer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Consumer {
    /// When it last tried to read or claim, in wall-clock milliseconds.
    pub(crate) seen_at_ms: i64,
    /// When it last got something; -1: never.
    pub(crate) active_at_ms: i64,
    pub(crate) pending: BTreeSet<StreamId>,
}

/// A group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// The last entry that was delivered.
    pub(crate) last_id: StreamId,
    /// How many entries it has read, if that is known.
    pub(crate) entries_read: Option<u64>,
    pending: BTreeMap<StreamId, Pending>,
    consumers: BTreeMap<Name, Consumer>,
}

impl Group {
    pub(crate) fn new(last_id: StreamId, entries_read: Option<u64>) -> Group {
        Group { last_id, entries_read, pending: BTreeMap::new(), consumers: BTreeMap::new() }
    }

    /// What the group takes, about: nodes of trees are full by two thirds.
    pub(crate) fn memory(&self, samples: usize) -> usize {
        let pending = self.pending.len() * (size_of::<(StreamId, Pending)>() + size_of::<StreamId>()) * 3 / 2;
        let names: usize = self.consumers.keys().take(samples).map(|name| allocated(name.len() + 16)).sum();
        let consumer = size_of::<(Name, Consumer)>() * 3 / 2 + names / self.consumers.len().clamp(1, samples.max(1));
        allocated(size_of::<Group>() + 16) + pending + self.consumers.len() * consumer
    }

    /// What is pending, in order.
    pub(crate) fn pending(&self) -> &BTreeMap<StreamId, Pending> {
        &self.pending
    }

    /// The consumers in the order of their names.
    pub(crate) fn consumers(&self) -> &BTreeMap<Name, Consumer> {
        &self.consumers
    }

    pub(crate) fn consumer_mut(&mut self, name: &[u8]) -> Option<&mut Consumer> {
        self.consumers.get_mut(name)
    }

    /// Adds a consumer unless it is there. True if it was not.
    pub(crate) fn add_consumer(&mut self, name: &[u8], now_ms: i64) -> bool {
        let is_new = !self.consumers.contains_key(name);
        if is_new {
            let consumer = Consumer { seen_at_ms: now_ms, active_at_ms: -1, pending: BTreeSet::new() };
            self.consumers.insert(Name::from(name), consumer);
        }
        is_new
    }

    /// Removes a consumer and what is pending for it. Returns how much that was.
    pub(crate) fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let consumer = self.consumers.remove(name)?;
        for id in &consumer.pending {
            self.pending.remove(id);
        }
        Some(consumer.pending.len())
    }

    /// Notes that an entry is pending for a consumer, whoever had it before. The consumer has to exist.
    pub(crate) fn assign(&mut self, id: StreamId, consumer: &[u8], delivered_at_ms: i64, deliveries: u64) {
        let Some((name, _)) = self.consumers.get_key_value(consumer) else { return };
        let name = Arc::clone(name);
        let is_other = |pending: &Pending| pending.consumer != name;
        if let Some(before) = self.pending.get(&id).filter(|pending| is_other(pending))
            && let Some(owner) = self.consumers.get_mut(&before.consumer)
        {
            owner.pending.remove(&id);
        }
        if let Some(owner) = self.consumers.get_mut(&name) {
            owner.pending.insert(id);
        }
        self.pending.insert(id, Pending { consumer: name, delivered_at_ms, deliveries });
    }

    /// An entry that a consumer reads once more from its own history.
    pub(crate) fn deliver_again(&mut self, id: StreamId, now_ms: i64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.delivered_at_ms = now_ms;
            pending.deliveries += 1;
        }
    }

    /// Takes an entry off what is pending; false if it was not.
    pub(crate) fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        if let Some(owner) = self.consumers.get_mut(&pending.consumer) {
            owner.pending.remove(&id);
        }
        true
    }
}
