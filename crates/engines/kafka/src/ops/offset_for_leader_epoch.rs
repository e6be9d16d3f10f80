//! OffsetForLeaderEpoch (23), versions 2–4: where an epoch ended, so that a reader can tell whether what it has read is still
//! there (KIP-320).
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_OffsetForLeaderEpoch>

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::security::acl::Operation;
use crate::wire::Response;
use crate::wire::generated::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use crate::wire::generated::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use crate::wire::generated::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

pub(super) fn apply(cluster: &Cluster, caller: &Caller, request: OffsetForLeaderEpochRequest) -> Outcome {
    let mut topics = Vec::new();
    for topic in request.topics {
        let partitions = topic.partitions.iter().map(|asked| match find(cluster, caller, &topic.topic, asked) {
            Ok((leader_epoch, end_offset)) => {
                EpochEndOffset { error_code: 0, partition: asked.partition, leader_epoch, end_offset }
            }
            Err(error) => EpochEndOffset { error_code: error.code(), partition: asked.partition, ..Default::default() },
        });
        topics.push(OffsetForLeaderTopicResult { partitions: partitions.collect(), topic: topic.topic });
    }
    Response::OffsetForLeaderEpoch(OffsetForLeaderEpochResponse { topics, ..Default::default() }).into()
}

fn find(
    cluster: &Cluster,
    caller: &Caller,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    if !cluster.may_topic(caller, Operation::Describe, topic) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let (key, epoch) = cluster.replica_for(caller, topic, asked.partition, asked.current_leader_epoch, true)?;
    let partition = cluster.partitions.get(&key).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if asked.leader_epoch == epoch {
        return Ok((epoch, partition.tree.end(caller.node)));
    }
    // Of an epoch that this leader has not heard of it can say nothing.
    let known = partition.tree.epoch_end(caller.node, asked.leader_epoch).filter(|_| asked.leader_epoch < epoch);
    Ok(known.unwrap_or((-1, -1)))
}
