//! OffsetCommit (8), versions 2–9: a group's offsets are written to its partition of `__consumer_offsets`, and acknowledged when
//! that is committed.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_OffsetCommit>

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, Need, Outcome};
use crate::error::ErrorCode;
use crate::groups::{Committed, EPOCHS_SINCE, NewOffset, storing_error};
use crate::security::acl::Operation;
use crate::wire::Response;
use crate::wire::generated::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::wire::generated::{OffsetCommitRequest, OffsetCommitResponse};

/// `retention_time_ms` of whoever leaves it to `offsets.retention.minutes`. Since version 5 nobody is asked.
const DEFAULT_RETENTION: i64 = -1;

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: OffsetCommitRequest,
) -> Outcome {
    let instance = request.group_instance_id.as_deref();
    let generation = request.generation_id_or_member_epoch;
    let allowed = cluster.check_commit(ctx, caller.node, &request.group_id, &request.member_id, instance, generation);
    // A member of the protocol of KIP-848 has an epoch, which older versions cannot tell.
    let group = cluster.group(caller.node, &request.group_id).ok().flatten();
    let member = group.and_then(|group| group.consumer.as_ref()?.members.get(&request.member_id));
    let has_epoch = member.is_some_and(|member| member.classic.is_none());
    let allowed = if has_epoch && caller.version < EPOCHS_SINCE { Err(ErrorCode::UnsupportedVersion) } else { allowed };
    let committed_ms = ctx.wall(caller.node).as_millis();
    let retention_ms = Some(request.retention_time_ms).filter(|retention_ms| *retention_ms != DEFAULT_RETENTION);
    let expires_ms = retention_ms.map(|retention_ms| committed_ms.saturating_add(retention_ms));
    let may_commit = cluster.may_group(caller, Operation::Read, &request.group_id);
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let (mut offsets, mut response) = (Vec::new(), OffsetCommitResponse::default());
    for topic in request.topics {
        let mut answered = OffsetCommitResponseTopic { name: topic.name.clone(), partitions: Vec::new() };
        for partition in topic.partitions {
            let metadata = partition.committed_metadata.unwrap_or_default();
            let known = image.is_some_and(|image| image.partition(&topic.name, partition.partition_index).is_some());
            let error = match allowed {
                _ if !may_commit => ErrorCode::GroupAuthorizationFailed,
                _ if !cluster.may_topic(caller, Operation::Read, &topic.name) => ErrorCode::TopicAuthorizationFailed,
                Err(error) => error,
                Ok(()) if !known => ErrorCode::UnknownTopicOrPartition,
                Ok(()) if metadata.len() > cluster.config.offset_metadata_max_bytes => {
                    ErrorCode::OffsetMetadataTooLarge
                }
                Ok(()) => ErrorCode::None,
            };
            if error == ErrorCode::None {
                let (offset, leader_epoch) = (partition.committed_offset, partition.committed_leader_epoch);
                let committed = Committed { offset, leader_epoch, metadata, committed_ms, expires_ms };
                offsets.push(NewOffset { topic: topic.name.clone(), partition: partition.partition_index, committed });
            }
            let error_code = error.code();
            answered
                .partitions
                .push(OffsetCommitResponsePartition { partition_index: partition.partition_index, error_code });
        }
        response.topics.push(answered);
    }
    if offsets.is_empty() {
        return Response::OffsetCommit(response).into();
    }
    match cluster.commit_offsets(ctx, caller, &request.group_id, offsets, response.clone()) {
        Ok(()) => Outcome::Parked,
        Err(error) => Response::OffsetCommit(with_error(response, storing_error(error))).into(),
    }
}

fn with_error(mut response: OffsetCommitResponse, error: ErrorCode) -> OffsetCommitResponse {
    let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    partitions.filter(|partition| partition.error_code == 0).for_each(|partition| partition.error_code = error.code());
    response
}

/// The answer once the records are committed, or are not.
pub(crate) fn conclude(
    cluster: &mut Cluster,
    caller: &Caller,
    response: OffsetCommitResponse,
    group: &str,
    offsets: Vec<NewOffset>,
    needs: &[Need],
) -> Response {
    let failed = needs.iter().find_map(|need| need.result.filter(|result| *result != ErrorCode::None));
    Response::OffsetCommit(match failed {
        Some(error) => with_error(response, storing_error(error)),
        None => {
            cluster.offsets_committed(caller.node, group, offsets);
            response
        }
    })
}
