//! DeleteRecords (21), versions 0–2: the leader lets its log begin later, and answers when every live replica does.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DeleteRecords>

use atoll_kernel::{Context, NodeId};

use crate::cluster::{Caller, Cluster, Outcome, Waiting};
use crate::error::ErrorCode;
use crate::security::acl::Operation;
use crate::state::image::{PartitionKey, is_internal};
use crate::wire::Response;
use crate::wire::generated::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use crate::wire::generated::{DeleteRecordsRequest, DeleteRecordsResponse};

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// Deletions that wait for followers.
#[derive(Debug)]
pub(crate) struct Deleting {
    response: DeleteRecordsResponse,
    /// Places in the answer, each with its partition and where that is to begin.
    waits_for: Vec<((usize, usize), PartitionKey, i64)>,
}

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: DeleteRecordsRequest,
) -> Outcome {
    let mut deleting = Deleting { response: DeleteRecordsResponse::default(), waits_for: Vec::new() };
    for (topic_place, topic) in request.topics.into_iter().enumerate() {
        let mut partitions = Vec::new();
        for (place, asked) in topic.partitions.into_iter().enumerate() {
            let deleted = match cluster.may_topic(caller, Operation::Delete, &topic.name) {
                true => delete(cluster, caller.node, &topic.name, asked.partition_index, asked.offset),
                false => Err(ErrorCode::TopicAuthorizationFailed),
            };
            if let Ok((key, offset)) = deleted {
                deleting.waits_for.push(((topic_place, place), key, offset));
            }
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark: -1,
                error_code: deleted.err().unwrap_or(ErrorCode::None).code(),
            });
        }
        deleting.response.topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
    }
    cluster.settle(ctx);
    if let Some(response) = answer(cluster, caller, &mut deleting, request.timeout_ms <= 0) {
        return response.into();
    }
    let keys: Vec<PartitionKey> = deleting.waits_for.iter().map(|(_, key, _)| *key).collect();
    cluster.park(ctx, caller, Waiting::Deleted(deleting), &keys, request.timeout_ms)
}

/// The partition, and where it begins now.
fn delete(
    cluster: &mut Cluster,
    node: NodeId,
    topic: &str,
    index: i32,
    offset: i64,
) -> Result<(PartitionKey, i64), ErrorCode> {
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopic);
    }
    let image = cluster.brokers.get(&node).map(|broker| &broker.image);
    let (key, topic, _) =
        image.and_then(|image| image.partition(topic, index)).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let may_delete = topic.config.is_deleted;
    let partition = cluster.partitions.get(&key).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    partition.leadership(node).ok_or(ErrorCode::NotLeaderOrFollower)?;
    if !may_delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let high_watermark = partition.high_watermark(node);
    let offset = if offset == HIGH_WATERMARK { high_watermark } else { offset };
    if !(0..=high_watermark).contains(&offset) {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    cluster.raise_log_start(key, node, offset);
    Ok((key, offset))
}

/// The answer, once the replicas that live begin where they are to, or the time is up.
pub(crate) fn answer(
    cluster: &Cluster,
    caller: &Caller,
    deleting: &mut Deleting,
    time_is_up: bool,
) -> Option<Response> {
    let Deleting { response, waits_for } = deleting;
    waits_for.retain(|((topic, place), key, offset)| {
        let Some(answer) = response.topics.get_mut(*topic).and_then(|topic| topic.partitions.get_mut(*place)) else {
            return false;
        };
        match low_watermark(cluster, caller.node, *key) {
            Err(error) => answer.error_code = error.code(),
            Ok(low) if low >= *offset => answer.low_watermark = low,
            Ok(_) if time_is_up => answer.error_code = ErrorCode::RequestTimedOut.code(),
            Ok(_) => return true,
        }
        false
    });
    waits_for.is_empty().then(|| Response::DeleteRecords(std::mem::take(response)))
}

/// Where the last of the live replicas begins, as the leader knows it.
fn low_watermark(cluster: &Cluster, leader: NodeId, key: PartitionKey) -> Result<i64, ErrorCode> {
    let partition = cluster.partitions.get(&key).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    partition.leadership(leader).ok_or(ErrorCode::NotLeaderOrFollower)?;
    let image = cluster.brokers.get(&leader).map(|broker| &broker.image);
    let lives = |node: &&NodeId| image.is_some_and(|image| image.is_active(**node));
    let starts = partition.replicas.keys().filter(lives).map(|node| partition.tree.start(*node));
    Ok(starts.min().unwrap_or_else(|| partition.tree.start(leader)))
}
