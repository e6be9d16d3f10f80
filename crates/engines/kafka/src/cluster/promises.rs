//! Promises on their way to clients: answers which say that records are safe, until it is known whether they arrive.
//!
//! Between the making of an answer and its bytes' leaving a fault may come: the link is cut, the broker dies or is paused, and
//! its client gives up. What the client then never learns it was not promised, and the ledger must not call it acknowledged.
//! So a batch counts as acknowledged once its answer has left; the promise is kept here until then. A batch that dies
//! meanwhile, as on a healed leader whose answer a cut held back, is named when the answer leaves after all.

use atoll_kernel::{Context, Entry, Kernel, NodeId};

use super::waiting::Need;
use super::{Caller, Cluster, Ticket};
use crate::error::ErrorCode;
use crate::state::image::PartitionKey;
use crate::state::tree::{Acknowledged, Batch};

/// What has been promised, and what has become of it meanwhile.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// Few: of connections that are served at this moment, and of those that a fault holds back.
    under_way: Vec<Promise>,
    /// Of batches that died while an answer which promises them was under way: what the ledger will say.
    buried: Vec<Buried>,
}

/// One answer's promises.
#[derive(Debug)]
struct Promise {
    ticket: Ticket,
    needs: Vec<Need>,
}

#[derive(Debug)]
struct Buried {
    key: PartitionKey,
    leader_epoch: i32,
    base_offset: i64,
    entries: Vec<Entry>,
}

impl Promises {
    /// Takes out what an answer promises.
    fn take(&mut self, ticket: Ticket) -> Option<Vec<Need>> {
        let index = self.under_way.iter().position(|promise| promise.ticket == ticket)?;
        Some(self.under_way.swap_remove(index).needs)
    }

    /// Forgets the dead of which nobody can be told any more.
    fn forget_untold(&mut self) {
        let under_way = &self.under_way;
        let awaited = |need: &Need, dead: &Buried| dead.is_of(need) && need.promised.is_some();
        self.buried.retain(|dead| under_way.iter().flat_map(|promise| &promise.needs).any(|need| awaited(need, dead)));
    }
}

impl Buried {
    fn is_of(&self, need: &Need) -> bool {
        (self.key, self.leader_epoch, self.base_offset) == (need.key, need.appended_in, need.base_offset)
    }
}

impl Cluster {
    /// Says that the answer to a request has left for its client: what it promises counts.
    pub fn delivered(&mut self, kernel: &Kernel, ticket: Ticket) {
        let Some(needs) = self.promises.take(ticket) else { return };
        needs.iter().for_each(|need| self.keep_promise(kernel, need));
        self.promises.forget_untold();
    }

    /// Says that the answer to a request never reached its client, and never will: what it promises was promised to nobody.
    pub fn undelivered(&mut self, ticket: Ticket) {
        if self.promises.take(ticket).is_some() {
            self.promises.forget_untold();
        }
    }

    /// Whether the answer to a request promises anything that was neither [`Cluster::delivered`] nor
    /// [`Cluster::undelivered`].
    pub fn has_promised(&self, ticket: Ticket) -> bool {
        self.promises.under_way.iter().any(|promise| promise.ticket == ticket)
    }

    /// The client is about to be told that a leader has its records.
    pub(crate) fn promise_appended(&mut self, caller: &Caller, mut needs: Vec<Need>) {
        needs.iter_mut().for_each(|need| need.promised = Some(Acknowledged::Leader));
        self.promises.under_way.push(Promise { ticket: caller.ticket, needs });
    }

    /// The client is about to be told that the whole in-sync set has those of its records that were committed.
    pub(super) fn promise_committed(&mut self, caller: &Caller, mut needs: Vec<Need>) {
        needs.iter_mut().for_each(|need| self.settle_promise(caller.node, need));
        self.promises.under_way.push(Promise { ticket: caller.ticket, needs });
    }

    /// What an answer promises of records that were to be committed.
    pub(super) fn settle_promise(&self, node: NodeId, need: &mut Need) {
        let min_insync_replicas = self.min_insync(node, need.key);
        let is_committed = need.result == Some(ErrorCode::None);
        need.promised = is_committed.then_some(Acknowledged::InSync { min_insync_replicas });
    }

    /// The client has been told. If the records are gone already, the ledger names them now.
    pub(super) fn keep_promise(&mut self, kernel: &Kernel, need: &Need) {
        let (Some(how), Some(partition)) = (need.promised, self.partitions.get_mut(&need.key)) else { return };
        if partition.tree.acknowledge(need.appended_in, need.base_offset, how) {
            return;
        }
        if let Some(index) = self.promises.buried.iter().position(|dead| dead.is_of(need)) {
            let ctx = Context::new(kernel);
            self.promises.buried.swap_remove(index).entries.into_iter().for_each(|entry| ctx.record(entry));
        }
    }

    /// How a batch will have been acknowledged, if an answer that promises it is under way.
    pub(super) fn promised(&self, key: PartitionKey, batch: &Batch) -> Option<Acknowledged> {
        let is_meant = |need: &&Need| {
            (need.key, need.appended_in, need.base_offset) == (key, batch.leader_epoch, batch.base_offset)
        };
        let mut needs = self.promises.under_way.iter().flat_map(|promise| &promise.needs);
        needs.find(is_meant).and_then(|need| need.promised)
    }

    /// Keeps what the ledger will say of a dead batch if an answer that promises it arrives.
    pub(super) fn bury_promised(&mut self, key: PartitionKey, batch: &Batch, entries: Vec<Entry>) {
        let Batch { leader_epoch, base_offset, .. } = *batch;
        self.promises.buried.push(Buried { key, leader_epoch, base_offset, entries });
    }
}
