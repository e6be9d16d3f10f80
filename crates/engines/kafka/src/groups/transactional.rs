//! Offsets that are committed in a transaction: they count when it is committed, and are forgotten when it is aborted.

use atoll_kernel::{Context, NodeId};

use super::{GroupRecord, NewOffset, has_name};
use crate::cluster::{Caller, Cluster, Need, Then, Waiting};
use crate::error::ErrorCode;
use crate::state::image::{OFFSETS_TOPIC, PartitionKey};
use crate::wire::batch::{self, BatchHeader};
use crate::wire::generated::TxnOffsetCommitResponse;
use crate::wire::record::{self, Producer};

impl Cluster {
    /// The partition of the offsets topic that a group belongs to, as transactions name it.
    pub(crate) fn offsets_partition(&self, node: NodeId, group: &str) -> Result<(String, i32), ErrorCode> {
        let (key, _) = self.group_partition(node, group)?;
        Ok((OFFSETS_TOPIC.to_owned(), key.1))
    }

    /// Whether a member may commit offsets in a transaction. Who names no member is not asked for one.
    pub(crate) fn check_transactional_commit(
        &mut self,
        ctx: &Context<'_>,
        node: NodeId,
        group: &str,
        (member_id, instance_id, generation): (&str, Option<&str>, i32),
    ) -> Result<(), ErrorCode> {
        has_name(group)?;
        self.coordinates(node, group)?;
        if generation < 0 && member_id.is_empty() && instance_id.is_none() {
            return Ok(());
        }
        self.check_commit(ctx, node, group, member_id, instance_id, generation)
    }

    /// Whether this producer's transaction is known to have begun in a group's partition.
    pub(crate) fn has_open_transaction(&self, node: NodeId, key: PartitionKey, producer_id: i64, epoch: i16) -> bool {
        let producers = self.partitions.get(&key).and_then(|partition| partition.tree.producers(node));
        let known = producers.and_then(|producers| producers.get(producer_id));
        known.is_some_and(|known| known.epoch == epoch && known.open_since.is_some())
    }

    /// Writes offsets into a transaction. The answer follows when they are safe; they count when the transaction does.
    pub(crate) fn commit_offsets_in_transaction(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        group: &str,
        (producer_id, epoch): (i64, i16),
        offsets: &[NewOffset],
        response: TxnOffsetCommitResponse,
    ) -> Result<(), ErrorCode> {
        let node = caller.node;
        let key = self.coordinates(node, group)?;
        let timestamp = ctx.wall(node).as_millis();
        let record = |new: &NewOffset| GroupRecord::Offset {
            group: group.to_owned(),
            topic: new.topic.clone(),
            partition: new.partition,
            committed: Some((new.committed.clone(), timestamp)),
        };
        let encoded: Vec<_> = offsets.iter().map(|new| record(new).write()).collect();
        let fields: Vec<_> = encoded.iter().map(|(key, value)| (Some(&key[..]), value.as_deref())).collect();
        let producer = Producer { id: producer_id, epoch, sequence: 0 };
        let plain = record::write_batch(&fields, timestamp, Some(producer));
        let batch = batch::as_transactional(&plain);
        let header = BatchHeader::read(&batch).map_err(|_| ErrorCode::UnknownServerError)?;
        let wanted = usize::try_from(self.min_insync(node, key)).unwrap_or(1);
        let partition = self.partitions.get_mut(&key).ok_or(ErrorCode::NotCoordinator)?;
        partition.tree.branch_for_append(node);
        let known = partition.tree.producers(node).and_then(|producers| producers.get(producer_id));
        if known.is_some_and(|known| known.epoch > epoch) {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        let leader_epoch = match partition.leadership(node) {
            Some(led) if led.isr.len() < wanted.min(partition.replicas.len()) => {
                return Err(ErrorCode::CoordinatorNotAvailable);
            }
            Some(led) => led.epoch,
            None => return Err(ErrorCode::NotCoordinator),
        };
        let appended = self.append(ctx, key, node, &header, &batch)?;
        let held = self.group_or_new(node, group)?.open_transactions.entry(producer_id).or_default();
        for new in offsets {
            held.insert((new.topic.clone(), new.partition), new.committed.clone());
        }
        let (base_offset, end) = (appended.base_offset, appended.next_offset);
        let need = Need::appended(key, leader_epoch, base_offset, end);
        let timeout_ms = i32::try_from(self.config.offsets_commit_timeout_ms).unwrap_or(i32::MAX);
        let then = Then::CommitInTransaction(response);
        self.park(ctx, caller, Waiting::Replicated(vec![need], then), &[key], timeout_ms);
        Ok(())
    }

    /// A transaction has ended in a partition of the offsets topic.
    pub(crate) fn end_group_transaction(&mut self, node: NodeId, partition: i32, producer_id: i64, commit: bool) {
        let Some(loaded) = self.groups.loaded.get_mut(&(node, partition)) else { return };
        for group in loaded.groups.values_mut() {
            group.end_transaction(producer_id, commit);
        }
    }
}

impl super::Group {
    pub(super) fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        let held = self.open_transactions.remove(&producer_id);
        self.offsets.extend(held.filter(|_| commit).into_iter().flatten());
    }

    /// Whether an offset may change as soon as a transaction ends.
    pub(crate) fn is_unstable(&self, topic: &str, partition: i32) -> bool {
        let place = (topic.to_owned(), partition);
        self.open_transactions.values().any(|held| held.contains_key(&place))
    }
}
