//! How an ended transaction is told to the partitions that took part: the coordinator has each partition's leader write a
//! marker, and the transaction is complete when all markers are committed. A leader that cannot be reached is tried again.

use std::time::Duration;

use atoll_kernel::{Context, NodeId};

use super::{After, State};
use crate::cluster::{Cluster, Need, PART, Then, Timer, Waiting};
use crate::error::ErrorCode;
use crate::state::image::{OFFSETS_TOPIC, PartitionKey};
use crate::wire::batch::BatchHeader;
use crate::wire::control::{self, Marker};

/// How soon a leader that could not be told is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// How long a marker waits for replicas before it is looked at again.
const TIMEOUT_MS: i32 = 30_000;

/// A marker that is being replicated.
#[derive(Debug)]
pub(crate) struct Marked {
    coordinator: NodeId,
    id: String,
    partition: (String, i32),
    marker: Marker,
}

impl Cluster {
    /// Has markers written wherever they lack, and ends the transaction if they lack nowhere.
    pub(crate) fn send_markers(&mut self, ctx: &Context<'_>, node: NodeId, id: &str) {
        let Ok(key) = self.coordinates_transaction(node, id) else { return };
        let coordinator_epoch = self.transactions.loaded.get(&(node, key.1)).map_or(-1, |loaded| loaded.epoch);
        let Some(transaction) = self.transaction_mut(node, id) else { return };
        if !transaction.state.is_ending() || transaction.pending {
            return;
        }
        let commit = transaction.state == State::PrepareCommit;
        let (producer_id, producer_epoch) = (transaction.producer_id, transaction.epoch);
        let marker = Marker { producer_id, producer_epoch, commit, coordinator_epoch };
        let waiting: Vec<_> = {
            let lacks = |partition: &&(String, i32)| !transaction.marking.contains_key(*partition);
            transaction.partitions.iter().filter(lacks).cloned().collect()
        };
        if transaction.partitions.is_empty() {
            return self.complete(ctx, node, id);
        }
        for partition in waiting {
            match self.send_marker(ctx, node, id, &partition, &marker) {
                Ok(()) => {}
                // Its topic is gone, or its leader has heard of a newer end: nothing is left to be told.
                Err(ErrorCode::UnknownTopicOrPartition | ErrorCode::InvalidProducerEpoch) => {
                    self.told(ctx, node, id, &partition);
                }
                Err(_) => self.plan_markers(ctx, node, id),
            }
        }
    }

    /// Looks at a transaction's markers a moment later.
    pub(super) fn plan_markers(&mut self, ctx: &Context<'_>, node: NodeId, id: &str) {
        let Some(transaction) = self.transaction_mut(node, id).filter(|transaction| !transaction.retry_planned) else {
            return;
        };
        transaction.retry_planned = true;
        self.set_timer(ctx.now() + RETRY, Timer::Markers(node, id.to_owned()));
    }

    /// The moment has come.
    pub(crate) fn retry_markers(&mut self, ctx: &Context<'_>, node: NodeId, id: &str) {
        if let Some(transaction) = self.transaction_mut(node, id) {
            transaction.retry_planned = false;
        }
        self.send_markers(ctx, node, id);
    }

    /// Brokers have died, or links changed: markers that were lost with them are sent again.
    pub(crate) fn retry_all_markers(&mut self, ctx: &Context<'_>) {
        for (node, id) in self.transactions.ending() {
            self.send_markers(ctx, node, &id);
        }
    }

    fn send_marker(
        &mut self,
        ctx: &Context<'_>,
        node: NodeId,
        id: &str,
        partition: &(String, i32),
        marker: &Marker,
    ) -> Result<(), ErrorCode> {
        let image = self.brokers.get(&node).map(|broker| &broker.image).ok_or(ErrorCode::NotCoordinator)?;
        let (key, _, state) = image.partition(&partition.0, partition.1).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let leader = state.leader.map(NodeId).ok_or(ErrorCode::LeaderNotAvailable)?;
        if leader != node && !(self.is_up(ctx, leader) && ctx.connected(PART, node, leader)) {
            return Err(ErrorCode::NetworkException);
        }
        let need = self.write_marker(ctx, leader, key, marker)?;
        if let Some(transaction) = self.transaction_mut(node, id) {
            transaction.marking.insert(partition.clone(), leader);
        }
        let marked = Marked { coordinator: node, id: id.to_owned(), partition: partition.clone(), marker: *marker };
        let own = self.own_caller(leader);
        self.park(ctx, &own, Waiting::Replicated(vec![need], Then::Marked(marked)), &[key], TIMEOUT_MS);
        Ok(())
    }

    /// A leader writes the end of a transaction into its log.
    pub(crate) fn write_marker(
        &mut self,
        ctx: &Context<'_>,
        leader: NodeId,
        key: PartitionKey,
        marker: &Marker,
    ) -> Result<Need, ErrorCode> {
        let partition = self.partitions.get_mut(&key).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let epoch = partition.leadership(leader).map(|led| led.epoch).ok_or(ErrorCode::NotLeaderOrFollower)?;
        partition.tree.branch_for_append(leader);
        let known = partition.tree.producers(leader).and_then(|producers| producers.get(marker.producer_id));
        if let Some(known) = known {
            if known.coordinator_epoch > marker.coordinator_epoch {
                return Err(ErrorCode::TransactionCoordinatorFenced);
            }
            if known.epoch > marker.producer_epoch {
                return Err(ErrorCode::InvalidProducerEpoch);
            }
        }
        let batch = control::write(marker, ctx.wall(leader).as_millis());
        let header = BatchHeader::read(&batch).map_err(|_| ErrorCode::UnknownServerError)?;
        let appended = self.append(ctx, key, leader, &header, &batch)?;
        let (base_offset, end) = (appended.base_offset, appended.next_offset);
        Ok(Need::appended(key, epoch, base_offset, end))
    }

    /// A marker is committed, or what became of it is not known.
    pub(crate) fn marked(&mut self, ctx: &Context<'_>, leader: NodeId, need: &Need, marked: Marked) {
        let Marked { coordinator, id, partition, marker } = marked;
        if need.result == Some(ErrorCode::None) {
            self.marker_committed(leader, need.key, &marker);
            self.told(ctx, coordinator, &id, &partition);
        } else if let Some(transaction) = self.transaction_mut(coordinator, &id) {
            transaction.marking.remove(&partition);
            self.plan_markers(ctx, coordinator, &id);
        }
    }

    /// Offsets that were committed in the transaction count from now on, or never.
    pub(crate) fn marker_committed(&mut self, leader: NodeId, key: PartitionKey, marker: &Marker) {
        let is_offsets = self.partitions.get(&key).is_some_and(|partition| partition.topic == OFFSETS_TOPIC);
        if is_offsets {
            self.end_group_transaction(leader, key.1, marker.producer_id, marker.commit);
        }
    }

    /// A partition has its marker.
    fn told(&mut self, ctx: &Context<'_>, node: NodeId, id: &str, partition: &(String, i32)) {
        let Some(transaction) = self.transaction_mut(node, id) else { return };
        if !transaction.state.is_ending() || transaction.pending {
            return;
        }
        transaction.marking.remove(partition);
        transaction.partitions.remove(partition);
        if transaction.partitions.is_empty() {
            self.complete(ctx, node, id);
        }
    }

    fn complete(&mut self, ctx: &Context<'_>, node: NodeId, id: &str) {
        let now_ms = ctx.wall(node).as_millis();
        let Some(transaction) = self.transaction_mut(node, id) else { return };
        let state = match transaction.state {
            State::PrepareCommit => State::CompleteCommit,
            _ => State::CompleteAbort,
        };
        let mut next = transaction.step(state, now_ms);
        if transaction.next_producer_id != -1 {
            next.previous_producer_id = transaction.producer_id;
            (next.producer_id, next.epoch) = (transaction.next_producer_id, 0);
            next.next_producer_id = -1;
        }
        if self.take_step(ctx, node, id, next, After::Nothing).is_err() {
            self.plan_markers(ctx, node, id);
        }
    }
}
