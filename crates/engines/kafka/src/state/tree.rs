//! A partition's log as an epoch fork tree: one physical copy of every batch, however many replicas hold it.
//!
//! A *branch* is a run of batches that continues its parent from some offset on. A replica's log is the path from the root
//! to a position `(branch, end)`. Followers of one leader share its branch, so that replicating is moving a number. Two
//! leaders that append at the same offset, because one of them is cut off and does not know that it was deposed, grow two
//! branches. When a follower meets a leader on another branch, it gives up what lies beyond their common part, as Kafka's
//! followers truncate at the diverging epoch; batches that no replica holds any more are dead and are handed out, so that
//! the ledger can name those that had been acknowledged.

use std::collections::{BTreeMap, VecDeque};

use atoll_kernel::NodeId;

use crate::state::producers::Producers;

/// Names a branch within its tree; never used twice.
pub type BranchId = u32;

/// What is known of a stored batch without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The offset of its first record.
    pub base_offset: i64,
    /// The offset after its last record.
    pub next_offset: i64,
    /// The epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// The greatest timestamp in it, in milliseconds since the Unix epoch.
    pub max_timestamp: i64,
    /// Its size in bytes.
    pub size: u32,
    /// Where it is stored.
    pub position: u64,
    /// Who produced it, if idempotence was on: id, epoch, first and last sequence number.
    pub producer: Option<(i64, i16, i32, i32)>,
    /// What it is to transactions.
    pub kind: Kind,
    /// How it was acknowledged, if it was.
    pub acknowledged: Option<Acknowledged>,
}

/// What a batch is to transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Nothing.
    #[default]
    Plain,
    /// Its records belong to its producer's transaction.
    Transactional,
    /// It ends its producer's transaction.
    Marker {
        /// Whether the transaction counts.
        commit: bool,
        /// The epoch of the coordinator that ended it.
        coordinator_epoch: i32,
    },
    /// It was the end of a transaction, of which the cleaner has left the producer's epoch alone.
    Emptied,
}

/// What a producer was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledged {
    /// `acks=1`: the leader has it.
    Leader,
    /// `acks=all`: the in-sync set had it, and was no smaller than this `min.insync.replicas`.
    InSync {
        /// The topic's `min.insync.replicas` then.
        min_insync_replicas: i32,
    },
}

/// A run of batches.
#[derive(Debug, Default)]
struct Branch {
    /// Where it forked off: the parent's batches before this offset are its own as well.
    parent: Option<(BranchId, i64)>,
    start: i64,
    end: i64,
    batches: VecDeque<Batch>,
    /// The epochs that begin on this branch, each with its first offset.
    epochs: Vec<(i32, i64)>,
    /// What idempotent producers have written up to the branch's end.
    producers: Producers,
}

/// Where a replica's log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The branch it is on.
    pub branch: BranchId,
    /// The offset after its last record.
    pub end: i64,
}

/// A change that storage must know of to rebuild the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A branch was made.
    Forked {
        /// Its name.
        branch: BranchId,
        /// Where it came from.
        parent: BranchId,
        /// The offset that it begins at.
        offset: i64,
    },
    /// A replica went over to a branch.
    Moved {
        /// Whose replica.
        node: NodeId,
        /// The branch it is on now.
        branch: BranchId,
    },
    /// A branch lost its end, because no replica holds it any more.
    Cut {
        /// Which branch.
        branch: BranchId,
        /// Its new end.
        offset: i64,
    },
    /// A replica's log begins later than before.
    Started {
        /// Whose replica.
        node: NodeId,
        /// The first offset that can be read of it.
        offset: i64,
    },
}

/// The tree of one partition.
#[derive(Debug)]
pub struct ForkTree {
    branches: BTreeMap<BranchId, Branch>,
    next_branch: BranchId,
    replicas: BTreeMap<NodeId, Position>,
    /// Where each replica's log begins; none for 0.
    starts: BTreeMap<NodeId, i64>,
    /// What producers had written below an offset, of batches that are gone or were cleaned.
    base: (i64, Producers),
    /// Batches before this offset have been through the log cleaner.
    cleaned: i64,
    changes: Vec<Change>,
}

impl ForkTree {
    /// An empty log held by these nodes.
    pub fn new(nodes: &[NodeId]) -> ForkTree {
        let replicas = nodes.iter().map(|node| (*node, Position { branch: 0, end: 0 })).collect();
        ForkTree {
            branches: BTreeMap::from([(0, Branch::default())]),
            next_branch: 1,
            replicas,
            starts: BTreeMap::new(),
            base: (0, Producers::default()),
            cleaned: 0,
            changes: Vec::new(),
        }
    }

    /// Where a node's log begins.
    pub fn start(&self, node: NodeId) -> i64 {
        self.starts.get(&node).copied().unwrap_or(0)
    }

    /// Lets a node's log begin at `offset`, unless it begins later. What no replica can read any more is forgotten; its bytes
    /// stay in storage until that is rewritten. Says whether anything changed.
    pub fn raise_start(&mut self, node: NodeId, offset: i64) -> bool {
        if !self.replicas.contains_key(&node) || offset <= self.start(node) {
            return false;
        }
        self.starts.insert(node, offset);
        self.changes.push(Change::Started { node, offset });
        self.trim();
        true
    }

    /// What storage must know of the replicas to do without its past; None while replicas differ.
    pub fn summary(&self) -> Option<Vec<Change>> {
        if self.branches.len() != 1 {
            return None;
        }
        let moved = self.replicas.iter().map(|(node, position)| Change::Moved { node: *node, branch: position.branch });
        let started = self.starts.iter().map(|(node, offset)| Change::Started { node: *node, offset: *offset });
        Some(moved.chain(started).collect())
    }

    /// Where the first batch is stored that is still there; None if there is none.
    pub fn first_position(&self) -> Option<u64> {
        self.branches.values().flat_map(|branch| &branch.batches).map(|batch| batch.position).min()
    }

    /// What producers had written of what is gone, for storage.
    pub fn forgotten(&self) -> Vec<u8> {
        serde_json::to_vec(&self.base).unwrap_or_default()
    }

    /// Takes over what storage remembers of what is gone.
    pub fn replay_forgotten(&mut self, forgotten: &[u8]) {
        let Ok(base) = serde_json::from_slice::<(i64, Producers)>(forgotten) else { return };
        if base.0 > self.base.0 {
            self.base = base;
            let ids: Vec<BranchId> = self.branches.keys().copied().collect();
            ids.into_iter().for_each(|id| self.rebuild_producers(id));
        }
    }

    /// Forgets batches that lie before the beginning of every replica's log.
    fn trim(&mut self) {
        let start = self.replicas.keys().map(|node| self.start(*node)).min().unwrap_or(0);
        let Some(root) = self.branches.values_mut().find(|branch| branch.parent.is_none()) else { return };
        while root.batches.len() > 1 && root.batches.front().is_some_and(|batch| batch.next_offset <= start) {
            let Some(batch) = root.batches.pop_front() else { break };
            if batch.base_offset >= self.base.0 {
                self.base.1.note(&batch);
                self.base.0 = batch.next_offset;
            }
        }
        self.base.1.forget(start, start);
        for branch in self.branches.values_mut() {
            branch.producers.forget(0, start);
        }
    }

    /// Where a node's log ends; None if the node has no replica.
    pub fn position(&self, node: NodeId) -> Option<Position> {
        self.replicas.get(&node).copied()
    }

    /// The offset after a node's last record, 0 without a replica.
    pub fn end(&self, node: NodeId) -> i64 {
        self.position(node).map_or(0, |position| position.end)
    }

    /// How many branches there are: one while all replicas agree.
    #[cfg(test)]
    pub fn branch_count(&self) -> usize {
        self.branches.len()
    }

    /// The changes since the last call, for storage.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// A node gets a replica, which is empty.
    pub fn join(&mut self, node: NodeId) {
        let root = self.branches.iter().find(|(_, branch)| branch.parent.is_none());
        let (branch, end) = root.map_or((0, 0), |(id, branch)| (*id, branch.start));
        self.place(node, Position { branch, end });
    }

    /// A node gives its replica up. Returns the batches that nobody else has.
    pub fn leave(&mut self, node: NodeId) -> Vec<Batch> {
        self.replicas.remove(&node);
        self.prune()
    }

    /// The branch that the next append of a leader goes to. Another replica may have gone further on the leader's branch, or
    /// the leader may have lost its own end: then a new branch begins, as Kafka's log continues with another epoch.
    pub fn branch_for_append(&mut self, leader: NodeId) -> BranchId {
        let Some(position) = self.position(leader) else { return 0 };
        let at_tip = self.branches.get(&position.branch).is_some_and(|branch| branch.end == position.end);
        if at_tip { position.branch } else { self.fork(leader, position) }
    }

    fn fork(&mut self, node: NodeId, from: Position) -> BranchId {
        let id = self.next_branch;
        self.next_branch += 1;
        let branch =
            Branch { parent: Some((from.branch, from.end)), start: from.end, end: from.end, ..Branch::default() };
        self.branches.insert(id, branch);
        self.rebuild_producers(id);
        self.changes.push(Change::Forked { branch: id, parent: from.branch, offset: from.end });
        self.place(node, Position { branch: id, end: from.end });
        id
    }

    fn place(&mut self, node: NodeId, position: Position) {
        let before = self.replicas.insert(node, position);
        if before.map(|before| before.branch) != Some(position.branch) {
            self.changes.push(Change::Moved { node, branch: position.branch });
        }
    }

    /// Adds a batch at the end of a leader's log, on the branch that [`ForkTree::branch_for_append`] gave.
    pub fn append(&mut self, leader: NodeId, batch: Batch) {
        let Some(position) = self.replicas.get_mut(&leader) else { return };
        let Some(branch) = self.branches.get_mut(&position.branch) else { return };
        debug_assert_eq!((branch.end, position.end), (batch.base_offset, batch.base_offset), "an append at the tip");
        position.end = batch.next_offset;
        branch.push(batch);
    }

    /// What idempotent producers have written to a leader's log, given that its next append needs no fork.
    pub fn producers(&self, leader: NodeId) -> Option<&Producers> {
        let position = self.position(leader)?;
        self.branches.get(&position.branch).map(|branch| &branch.producers)
    }

    /// Forgets producers that have written nothing since a time.
    pub fn expire_producers(&mut self, before_ms: i64) {
        self.base.1.expire(before_ms);
        self.branches.values_mut().for_each(|branch| branch.producers.expire(before_ms));
    }

    /// What producers have written to a node's log, and perhaps to what follows it on the same branch.
    pub fn forget_transactions(&mut self, node: NodeId, committed_everywhere: i64) {
        let start = self.start(node);
        let Some(position) = self.position(node) else { return };
        if let Some(branch) = self.branches.get_mut(&position.branch) {
            branch.producers.forget(committed_everywhere, start);
        }
    }

    /// The path of a replica from the root: branches, each with the offsets of its part of the log.
    fn path(&self, position: Position) -> Vec<(BranchId, i64, i64)> {
        let mut path = Vec::with_capacity(1);
        let (mut id, mut upto) = (position.branch, position.end);
        while let Some(branch) = self.branches.get(&id) {
            if branch.start < upto || branch.parent.is_none() {
                path.push((id, branch.start, upto));
            }
            let Some((parent, fork)) = branch.parent else { break };
            (id, upto) = (parent, upto.min(fork));
        }
        path.reverse();
        path
    }

    /// The batches of a node's log from the one that holds `offset` on.
    pub fn batches(&self, node: NodeId, offset: i64) -> impl Iterator<Item = &Batch> {
        let path = self.position(node).map(|position| self.path(position)).unwrap_or_default();
        path.into_iter().filter(move |(_, _, upto)| *upto > offset).flat_map(move |(id, _, upto)| {
            let batches = self.branches.get(&id).map(|branch| &branch.batches);
            let first = batches.map_or(0, |batches| batches.partition_point(|batch| batch.next_offset <= offset));
            batches
                .into_iter()
                .flat_map(move |batches| batches.range(first..))
                .take_while(move |batch| batch.base_offset < upto)
        })
    }

    /// Notes that the batch which the leader of an epoch appended at `base_offset` has been acknowledged. Says whether it is
    /// still there.
    pub fn acknowledge(&mut self, leader_epoch: i32, base_offset: i64, how: Acknowledged) -> bool {
        let found = self.branches.values_mut().find_map(|branch| branch.batch_mut(leader_epoch, base_offset));
        match found {
            Some(batch) => batch.acknowledged = Some(how),
            None => return false,
        }
        true
    }

    /// The offset up to which the logs of two nodes are the same.
    pub fn common_end(&self, one: NodeId, other: NodeId) -> i64 {
        let (Some(one), Some(other)) = (self.position(one), self.position(other)) else { return 0 };
        if one.branch == other.branch {
            return one.end.min(other.end);
        }
        let pairs = self.path(one).into_iter().zip(self.path(other));
        let shared = pairs.take_while(|(one, other)| one.0 == other.0);
        shared.last().map_or(0, |((_, _, one_upto), (_, _, other_upto))| one_upto.min(other_upto))
    }

    /// A follower goes up to `upto` of the leader's log, at a boundary of batches; what it had beyond the common part is
    /// truncated. Returns the batches that died by that.
    pub fn follow(&mut self, follower: NodeId, leader: NodeId, upto: i64) -> Vec<Batch> {
        let (Some(old), Some(leading)) = (self.position(follower), self.position(leader)) else { return Vec::new() };
        let end = upto.min(leading.end);
        if old.branch == leading.branch && old.end <= end {
            self.place(follower, Position { branch: leading.branch, end });
            return Vec::new();
        }
        let position = self.normalized(Position { branch: leading.branch, end });
        self.place(follower, position);
        self.prune()
    }

    /// A node loses the end of its log, as by a power failure. Returns the batches that died by that.
    pub fn truncate(&mut self, node: NodeId, end: i64) -> Vec<Batch> {
        let Some(position) = self.position(node).filter(|position| position.end > end) else { return Vec::new() };
        // A batch is whole or gone: a checksum fails for the part of one.
        let end = self.batches(node, end).next().map_or(end, |batch| batch.base_offset.min(end));
        let position = self.normalized(Position { branch: position.branch, end });
        self.place(node, position);
        self.prune()
    }

    /// A position that ends before its branch begins is really on the parent.
    fn normalized(&self, mut position: Position) -> Position {
        while let Some(branch) = self.branches.get(&position.branch) {
            match branch.parent {
                Some((parent, _)) if position.end < branch.start => position.branch = parent,
                _ => break,
            }
        }
        position
    }

    /// Removes what no replica holds any more.
    fn prune(&mut self) -> Vec<Batch> {
        let mut needed: BTreeMap<BranchId, i64> = BTreeMap::new();
        for position in self.replicas.values() {
            let (mut id, mut upto) = (position.branch, position.end);
            while let Some(branch) = self.branches.get(&id) {
                let most = needed.entry(id).or_insert(upto);
                *most = upto.max(*most);
                let Some((parent, fork)) = branch.parent else { break };
                (id, upto) = (parent, upto.min(fork));
            }
        }
        let mut dead = Vec::new();
        let ids: Vec<BranchId> = self.branches.keys().copied().collect();
        for id in ids {
            let upto = needed.get(&id).copied();
            let Some(branch) = self.branches.get_mut(&id) else { continue };
            let new_end = upto.unwrap_or(branch.start);
            if new_end < branch.end {
                dead.extend(branch.cut(new_end));
                self.changes.push(Change::Cut { branch: id, offset: new_end });
                self.rebuild_producers(id);
            }
            if upto.is_none() {
                self.branches.remove(&id);
            }
        }
        self.flatten();
        dead.sort_by_key(|batch| batch.base_offset);
        dead
    }

    fn rebuild_producers(&mut self, id: BranchId) {
        let Some(end) = self.branches.get(&id).map(|branch| branch.end) else { return };
        // Below what was forgotten nothing is left to cut but by a power failure of every replica.
        let (known, mut producers) = match self.base.0 <= end {
            true => self.base.clone(),
            false => (0, Producers::default()),
        };
        for (part, from, upto) in self.path(Position { branch: id, end }) {
            let Some(branch) = self.branches.get(&part) else { continue };
            let from = from.max(known);
            let held = branch.batches.iter().filter(|batch| batch.base_offset >= from && batch.base_offset < upto);
            held.for_each(|batch| producers.note(batch));
        }
        if let Some(branch) = self.branches.get_mut(&id) {
            branch.producers = producers;
        }
    }

    /// A root that ends where its only child begins becomes one with it, so that healed partitions are one branch again.
    fn flatten(&mut self) {
        loop {
            let root =
                self.branches.iter().find(|(_, branch)| branch.parent.is_none()).map(|(id, branch)| (*id, branch.end));
            let Some((root, end)) = root else { return };
            let mut children =
                self.branches.iter().filter(|(_, branch)| branch.parent.is_some_and(|(parent, _)| parent == root));
            let (Some((child, branch)), None) = (children.next(), children.next()) else { return };
            if branch.start != end {
                return;
            }
            let child = *child;
            let (Some(mut front), Some(back)) = (self.branches.remove(&root), self.branches.get_mut(&child)) else {
                return;
            };
            front.batches.append(&mut back.batches);
            front.epochs.append(&mut back.epochs);
            back.batches = front.batches;
            back.epochs = front.epochs;
            back.start = front.start;
            back.parent = None;
            for (node, position) in &mut self.replicas {
                if position.branch == root {
                    position.branch = child;
                    self.changes.push(Change::Moved { node: *node, branch: child });
                }
            }
        }
    }

    /// The greatest epoch up to `epoch` in a node's log and the offset after its last record; None if there is none.
    pub fn epoch_end(&self, node: NodeId, epoch: i32) -> Option<(i32, i64)> {
        let position = self.position(node)?;
        let mut found = None;
        for (id, _, upto) in self.path(position) {
            for (began, offset) in self.branches.get(&id).into_iter().flat_map(|branch| &branch.epochs) {
                if *offset >= upto {
                    break;
                }
                if *began > epoch {
                    return found.map(|found| (found, *offset));
                }
                found = Some(*began);
            }
        }
        found.map(|found| (found, position.end))
    }

    /// The epoch of the record at `offset` in a node's log, or of the next that is there.
    pub fn epoch_at(&self, node: NodeId, offset: i64) -> Option<i32> {
        self.batches(node, offset).next().map(|batch| batch.leader_epoch)
    }

    /// Repeats a change that storage remembers.
    pub fn replay(&mut self, change: Change) {
        match change {
            Change::Forked { branch, parent, offset } => {
                let forked = Branch { parent: Some((parent, offset)), start: offset, end: offset, ..Branch::default() };
                self.branches.insert(branch, forked);
                self.next_branch = self.next_branch.max(branch + 1);
                self.rebuild_producers(branch);
            }
            Change::Moved { node, branch } => {
                if let Some(position) = self.replicas.get_mut(&node) {
                    position.branch = branch;
                }
            }
            Change::Cut { branch, offset } => {
                if let Some(branch) = self.branches.get_mut(&branch) {
                    branch.cut(offset);
                    // It had become one with its parent, which a replay does not repeat: then it forks off earlier.
                    if let (true, Some((_, fork))) = (offset < branch.start, &mut branch.parent) {
                        (branch.start, branch.end, *fork) = (offset, offset, offset);
                    }
                }
                self.rebuild_producers(branch);
            }
            Change::Started { node, offset } => {
                if self.replicas.contains_key(&node) {
                    self.starts.insert(node, offset);
                    self.trim();
                }
            }
        }
    }

    /// Adds a batch that storage remembers.
    pub fn replay_batch(&mut self, branch: BranchId, batch: Batch) {
        if !self.branches.contains_key(&branch) && self.branches.values().all(|known| known.batches.is_empty()) {
            // The log's past is gone, and with it how this branch began: it is the root of what is left.
            let root = Branch { start: batch.base_offset, end: batch.base_offset, ..Branch::default() };
            self.branches = BTreeMap::from([(branch, root)]);
            self.next_branch = self.next_branch.max(branch + 1);
        }
        if let Some(branch) = self.branches.get_mut(&branch) {
            branch.push(batch);
        }
    }

    /// Ends a replay: every replica is taken to have caught up with its branch, as it would have done the moment after.
    pub fn replayed(&mut self) {
        for position in self.replicas.values_mut() {
            match self.branches.get(&position.branch) {
                Some(branch) => position.end = branch.end,
                None => *position = Position { branch: 0, end: 0 },
            }
        }
        self.prune();
        self.changes.clear();
    }
}

impl Branch {
    fn push(&mut self, batch: Batch) {
        if self.epochs.last().is_none_or(|(epoch, _)| *epoch < batch.leader_epoch) {
            self.epochs.push((batch.leader_epoch, batch.base_offset));
        }
        self.end = batch.next_offset;
        self.producers.note(&batch);
        self.batches.push_back(batch);
    }

    /// The batch that the leader of an epoch appended at an offset: another leader may have given the same offset.
    fn batch_mut(&mut self, leader_epoch: i32, base_offset: i64) -> Option<&mut Batch> {
        let index = self.batches.binary_search_by_key(&base_offset, |batch| batch.base_offset).ok()?;
        self.batches.get_mut(index).filter(|batch| batch.leader_epoch == leader_epoch)
    }

    fn cut(&mut self, end: i64) -> Vec<Batch> {
        let kept = self.batches.partition_point(|batch| batch.base_offset < end);
        self.end = end.max(self.start);
        self.epochs.retain(|(_, offset)| *offset < end);
        self.batches.split_off(kept).into()
    }
}

mod cleaning;
#[cfg(test)]
mod tests;

pub use cleaning::Cleaned;
