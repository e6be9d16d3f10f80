//! TxnOffsetCommit (28), versions 0–5: offsets of a group are written into a transaction and count when it is committed. Since
//! version 5 the group's partition becomes part of the transaction by that (KIP-890).
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_TxnOffsetCommit>

use std::collections::BTreeSet;

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, Outcome, Waiting};
use crate::error::ErrorCode;
use crate::groups::{Committed, NewOffset, storing_error};
use crate::security::acl::Operation;
use crate::transactions::{BUMPING, Joined, Speaker};
use crate::wire::generated::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use crate::wire::generated::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use crate::wire::{Request, Response};

/// The first version in which a producer need not announce partitions.
const JOINS: i16 = 5;
/// How long the coordinator of the transaction is waited for.
const TIMEOUT_MS: i32 = 30_000;

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: TxnOffsetCommitRequest,
) -> Outcome {
    // What is refused by itself is told in any case; the group's coordinator is asked about the rest, if there is any.
    let mut response = refusals(cluster, caller, &request);
    if parts(&mut response).all(|part| part.error_code != 0) {
        return Response::TxnOffsetCommit(response).into();
    }
    match check(cluster, ctx, caller, &request) {
        Ok(Joined::Already) => {}
        Ok(Joined::Soon) => {
            let request = Request::TxnOffsetCommit(request);
            return cluster.park(ctx, caller, Waiting::Transaction(request), &[], TIMEOUT_MS);
        }
        Err(error) => return fill(response, told(error)).into(),
    }
    let committed_ms = ctx.wall(caller.node).as_millis();
    let metadata_max = cluster.config.offset_metadata_max_bytes;
    let mut offsets = Vec::new();
    for (topic, answered) in request.topics.iter().zip(&mut response.topics) {
        let asked = topic.partitions.iter().zip(&mut answered.partitions);
        for (asked, answered) in asked.filter(|(_, answered)| answered.error_code == 0) {
            let metadata = asked.committed_metadata.clone().unwrap_or_default();
            if metadata.len() > metadata_max {
                answered.error_code = ErrorCode::OffsetMetadataTooLarge.code();
                continue;
            }
            let (offset, leader_epoch) = (asked.committed_offset, asked.committed_leader_epoch);
            let committed = Committed { offset, leader_epoch, metadata, committed_ms, expires_ms: None };
            offsets.push(NewOffset { topic: topic.name.clone(), partition: asked.partition_index, committed });
        }
    }
    if offsets.is_empty() {
        return Response::TxnOffsetCommit(response).into();
    }
    let producer = (request.producer_id, request.producer_epoch);
    let unstored = response.clone();
    match cluster.commit_offsets_in_transaction(ctx, caller, &request.group_id, producer, &offsets, response) {
        Ok(()) => Outcome::Parked,
        Err(error) => fill(unstored, storing_error(error)).into(),
    }
}

/// An answer for every partition, with an error where the topic is not the caller's or there is no such partition.
fn refusals(cluster: &Cluster, caller: &Caller, request: &TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let topics = request.topics.iter().map(|topic| {
        let may_read = cluster.may_topic(caller, Operation::Read, &topic.name);
        let answer = |partition_index: i32| {
            let exists = image.is_some_and(|image| image.partition(&topic.name, partition_index).is_some());
            let error = match exists {
                _ if !may_read => ErrorCode::TopicAuthorizationFailed,
                false => ErrorCode::UnknownTopicOrPartition,
                true => ErrorCode::None,
            };
            TxnOffsetCommitResponsePartition { partition_index, error_code: error.code() }
        };
        let partitions = topic.partitions.iter().map(|asked| answer(asked.partition_index)).collect();
        TxnOffsetCommitResponseTopic { name: topic.name.clone(), partitions }
    });
    TxnOffsetCommitResponse { topics: topics.collect(), ..TxnOffsetCommitResponse::default() }
}

fn parts(response: &mut TxnOffsetCommitResponse) -> impl Iterator<Item = &mut TxnOffsetCommitResponsePartition> {
    response.topics.iter_mut().flat_map(|topic| &mut topic.partitions)
}

/// The answer with an error for all that had none of its own.
fn fill(mut response: TxnOffsetCommitResponse, error: ErrorCode) -> Response {
    parts(&mut response).filter(|part| part.error_code == 0).for_each(|part| part.error_code = error.code());
    Response::TxnOffsetCommit(response)
}

/// Whether the group takes the offsets, and whether its partition is part of the transaction.
fn check(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: &TxnOffsetCommitRequest,
) -> Result<Joined, ErrorCode> {
    let node = caller.node;
    let member = (request.member_id.as_str(), request.group_instance_id.as_deref(), request.generation_id);
    cluster.check_transactional_commit(ctx, node, &request.group_id, member)?;
    let (key, _) = cluster.group_partition(node, &request.group_id)?;
    let (producer_id, epoch) = (request.producer_id, request.producer_epoch);
    if cluster.has_open_transaction(node, key, producer_id, epoch) {
        return Ok(Joined::Already);
    }
    let coordinator = cluster.reachable_coordinator(ctx, node, &request.transactional_id)?;
    let speaker = Speaker { id: &request.transactional_id, producer_id, epoch };
    let partition = cluster.offsets_partition(node, &request.group_id)?;
    match caller.version >= JOINS {
        true => {
            let waits = (coordinator, caller.ticket);
            cluster.join_transaction(ctx, waits, &speaker, BTreeSet::from([partition]), (BUMPING, None))
        }
        false => match cluster.verify_joined(coordinator, &speaker, &partition) {
            Ok(()) => Ok(Joined::Already),
            Err(ErrorCode::TransactionAbortable) if caller.version < 4 => Err(ErrorCode::InvalidTxnState),
            Err(error) => Err(error),
        },
    }
}

/// What the transaction's coordinator answered, as the group's coordinator passes it on.
fn told(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::NetworkException => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        other => other,
    }
}

/// The answer where all is refused.
pub(crate) fn failed(request: &TxnOffsetCommitRequest, error: ErrorCode) -> Response {
    let mut response = TxnOffsetCommitResponse::default();
    for topic in &request.topics {
        let partition = |index| TxnOffsetCommitResponsePartition { partition_index: index, error_code: error.code() };
        let partitions = topic.partitions.iter().map(|asked| partition(asked.partition_index)).collect();
        response.topics.push(TxnOffsetCommitResponseTopic { name: topic.name.clone(), partitions });
    }
    Response::TxnOffsetCommit(response)
}

/// The answer once the records are committed, or are not.
pub(crate) fn conclude(response: TxnOffsetCommitResponse, error: Option<ErrorCode>) -> Response {
    match error {
        Some(error) => fill(response, storing_error(error)),
        None => Response::TxnOffsetCommit(response),
    }
}
