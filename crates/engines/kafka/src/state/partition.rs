//! One partition: its fork tree, its replicas, and who of them believes to lead.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atoll_kernel::{Moment, NodeId};

use crate::state::tree::ForkTree;

/// After this long the operating system has written a dirty page by itself (Linux's `dirty_expire_centisecs`).
const WRITEBACK: Duration = Duration::from_secs(30);

/// A partition with all its replicas.
#[derive(Debug)]
pub struct Partition {
    /// The name of its topic, for the ledger.
    pub topic: String,
    /// All batches.
    pub tree: ForkTree,
    /// One entry for each broker that holds it.
    pub replicas: BTreeMap<NodeId, Replica>,
}

/// What one broker has of a partition besides its place in the tree.
#[derive(Debug, Default)]
pub struct Replica {
    /// Records before this offset are committed, as far as this broker knows.
    pub high_watermark: i64,
    /// If this broker believes to lead. Two may believe it, while one of them is cut off.
    pub leadership: Option<Leadership>,
    /// A fetch is under way over a slow link.
    pub fetching: bool,
    /// What a power failure would leave.
    pub durable: Durable,
}

/// What a leader knows.
#[derive(Debug)]
pub struct Leadership {
    /// Its epoch.
    pub epoch: i32,
    /// Where its log ended when it began to lead.
    pub start_offset: i64,
    /// The in-sync set as committed, in its own view.
    pub isr: BTreeSet<NodeId>,
    /// Followers that it has proposed for the set: they count already.
    pub joining: BTreeSet<NodeId>,
    /// What followers have, as their fetches showed.
    pub followers: BTreeMap<NodeId, Follower>,
}

/// A follower as its leader knows it.
#[derive(Debug, Clone, Copy)]
pub struct Follower {
    /// The end of its log.
    pub end: i64,
    /// When it last had all that the leader had.
    pub caught_up_at: Moment,
    /// Which start of the broker this is: a restarted one may have less.
    pub broker_epoch: u64,
}

impl Partition {
    /// A partition held by these nodes.
    pub fn new(topic: &str, tree: ForkTree, nodes: &[NodeId]) -> Partition {
        let replicas = nodes.iter().map(|node| (*node, Replica::default())).collect();
        Partition { topic: topic.to_owned(), tree, replicas }
    }

    /// Gives replicas, empty as yet, to those of these nodes that have none.
    pub fn add_replicas(&mut self, nodes: &[NodeId]) {
        for node in nodes {
            if !self.replicas.contains_key(node) {
                self.replicas.insert(*node, Replica::default());
                self.tree.join(*node);
            }
        }
    }

    /// A node gives its replica up. Returns the batches that nobody else has.
    pub fn remove_replica(&mut self, node: NodeId) -> Vec<crate::state::tree::Batch> {
        self.replicas.remove(&node);
        self.tree.leave(node)
    }

    /// What a node knows as leader; None if it does not believe to lead.
    pub fn leadership(&self, node: NodeId) -> Option<&Leadership> {
        self.replicas.get(&node)?.leadership.as_ref()
    }

    /// The nodes that believe to lead.
    pub fn leaders(&self) -> Vec<NodeId> {
        self.replicas.iter().filter(|(_, replica)| replica.leadership.is_some()).map(|(node, _)| *node).collect()
    }

    /// A node's high watermark, 0 without a replica.
    pub fn high_watermark(&self, node: NodeId) -> i64 {
        self.replicas.get(&node).map_or(0, |replica| replica.high_watermark)
    }

    /// The offset up to which a node's log is free of transactions that have not ended, as far as it is committed.
    pub fn last_stable_offset(&self, node: NodeId) -> i64 {
        let high_watermark = self.high_watermark(node);
        self.tree.producers(node).map_or(high_watermark, |producers| producers.last_stable_offset(high_watermark))
    }

    /// Where a leader's high watermark can move to: the smallest end of the in-sync set, if the set is large enough.
    pub fn committable(&self, leader: NodeId, min_insync_replicas: i32) -> Option<i64> {
        let leadership = self.leadership(leader)?;
        let wanted = usize::try_from(min_insync_replicas).unwrap_or(1).min(self.replicas.len());
        if leadership.isr.len() < wanted {
            return None;
        }
        let mut end = self.tree.end(leader);
        for node in leadership.isr.union(&leadership.joining).filter(|node| **node != leader) {
            end = end.min(leadership.followers.get(node)?.end);
        }
        Some(end)
    }
}

impl Leadership {
    /// The beginning of an epoch: nothing is known of the followers.
    pub fn begin(epoch: i32, start_offset: i64, isr: &[u16]) -> Leadership {
        let isr = isr.iter().map(|node| NodeId(*node)).collect();
        Leadership { epoch, start_offset, isr, joining: BTreeSet::new(), followers: BTreeMap::new() }
    }

    /// The in-sync set has changed in the leader's view.
    pub fn set_in_sync(&mut self, isr: &[u16]) {
        self.isr = isr.iter().map(|node| NodeId(*node)).collect();
        let isr = &self.isr;
        self.joining.retain(|node| !isr.contains(node));
    }
}

/// How much of a replica's log a power failure would leave: what was synced, or written back by the operating system.
#[derive(Debug, Default)]
pub struct Durable {
    end: i64,
    /// A moment, and the log's end then.
    sample: Option<(Moment, i64)>,
    last_growth: Moment,
}

impl Durable {
    /// The log grows from `end` on.
    pub fn growing(&mut self, now: Moment, end: i64) {
        self.settle(now, end);
        self.sample.get_or_insert((now, end));
        self.last_growth = now;
    }

    fn settle(&mut self, now: Moment, end: i64) {
        if now.since(self.last_growth) >= WRITEBACK {
            (self.end, self.sample) = (end, None);
        } else if let Some((at, sampled)) = self.sample
            && now.since(at) >= WRITEBACK
        {
            (self.end, self.sample) = (sampled, Some((now, end)));
        }
    }

    /// Everything was synced.
    pub fn synced(&mut self, end: i64) {
        (self.end, self.sample) = (end, None);
    }

    /// Everything before an offset was synced.
    pub fn synced_upto(&mut self, offset: i64) {
        self.end = self.end.max(offset);
    }

    /// The log was cut.
    pub fn truncated(&mut self, end: i64) {
        self.end = self.end.min(end);
        self.sample = self.sample.map(|(at, sampled)| (at, sampled.min(end)));
    }

    /// Records since the last sync.
    pub fn unsynced(&self, end: i64) -> i64 {
        end - self.end
    }

    /// What a power failure leaves now of a log that ends at `end`.
    pub fn after_power_failure(&mut self, now: Moment, end: i64) -> i64 {
        self.settle(now, end);
        self.end.min(end)
    }
}
