//! Produce (0), versions 3–12: batches are checked, appended by the leader and, with `acks=all`, answered when the in-sync
//! set has them. Idempotent producers' batches are taken once and in order. Not transactional.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_Produce>

use atoll_kernel::Context;
use bytes::Bytes;

use crate::cluster::{ACKNOWLEDGED, Caller, Cluster, Need, Outcome, Then, Waiting};
use crate::error::ErrorCode;
use crate::state::image::PartitionKey;
use crate::state::producers::Fit;
use crate::state::tree::Acknowledged;
use crate::wire::Response;
use crate::wire::batch::{self, BatchError, BatchHeader};
use crate::wire::generated::produce_response::{LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse};
use crate::wire::generated::{ProduceRequest, ProduceResponse};

/// Why a batch is not appended, with a sentence for people where Kafka has one.
type Refusal = (ErrorCode, Option<String>);

pub(super) fn apply(cluster: &mut Cluster, ctx: &Context<'_>, caller: &Caller, request: ProduceRequest) -> Outcome {
    let acks = request.acks;
    let mut needs: Vec<Need> = Vec::new();
    let mut response = ProduceResponse::default();
    for (topic_place, topic) in request.topic_data.into_iter().enumerate() {
        let mut answered = TopicProduceResponse { name: topic.name, partition_responses: Vec::new() };
        for (place, data) in topic.partition_data.into_iter().enumerate() {
            let mut answer = PartitionProduceResponse { index: data.index, ..PartitionProduceResponse::default() };
            match append(cluster, ctx, caller, &answered.name, data.index, acks, data.records) {
                Ok(mut need) => {
                    need.place = (topic_place, place);
                    answer.base_offset = need.base_offset;
                    answer.log_start_offset = 0;
                    needs.push(need);
                }
                Err((error, message)) => {
                    answer.error_code = error.code();
                    answer.base_offset = -1;
                    answer.error_message = message;
                    answer.current_leader = current_leader(cluster, caller, &answered.name, data.index, error);
                }
            }
            answered.partition_responses.push(answer);
        }
        response.responses.push(answered);
    }
    finish(cluster, ctx, caller, acks, request.timeout_ms, needs, response)
}

fn finish(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    acks: i16,
    timeout_ms: i32,
    needs: Vec<Need>,
    response: ProduceResponse,
) -> Outcome {
    match acks {
        // With no answer to tell it of an error, the client is told by the connection's end.
        0 if response
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses)
            .any(|part| part.error_code != 0) =>
        {
            Outcome::Close
        }
        0 => Outcome::Silent,
        -1 if !needs.is_empty() => {
            let keys: Vec<PartitionKey> = needs.iter().map(|need| need.key).collect();
            let outcome =
                cluster.park(ctx, caller, Waiting::Replicated(needs, Then::Produce(response)), &keys, timeout_ms);
            cluster.settle(ctx);
            outcome
        }
        _ => {
            for need in &needs {
                if let Some(partition) = cluster.partitions.get_mut(&need.key) {
                    partition.tree.acknowledge(caller.node, need.base_offset, Acknowledged::Leader);
                }
            }
            if !needs.is_empty() {
                ctx.reached(ACKNOWLEDGED, caller.node);
            }
            Response::Produce(response).into()
        }
    }
}

/// Checks and appends one partition's records.
fn append(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    topic: &str,
    index: i32,
    acks: i16,
    records: Option<Bytes>,
) -> Result<Need, Refusal> {
    if !(-1..=1).contains(&acks) {
        return Err((ErrorCode::InvalidRequiredAcks, None));
    }
    let node = caller.node;
    let image = cluster.brokers.get(&node).map(|broker| &broker.image);
    let found = image.and_then(|image| image.partition(topic, index));
    let Some((key, topic, _)) = found else { return Err((ErrorCode::UnknownTopicOrPartition, None)) };
    let Some(partition) = cluster.partitions.get(&key) else { return Err((ErrorCode::UnknownTopicOrPartition, None)) };
    let Some(leadership) = partition.leadership(node) else { return Err((ErrorCode::NotLeaderOrFollower, None)) };
    let epoch = leadership.epoch;
    let wanted = usize::try_from(topic.config.min_insync_replicas).unwrap_or(1).min(partition.replicas.len());
    if acks == -1 && leadership.isr.len() < wanted {
        return Err((ErrorCode::NotEnoughReplicas, None));
    }
    let (size_max, ahead_max) = (topic.config.max_message_bytes, topic.config.timestamp_after_max_ms);
    let (header, bytes) = single_batch(records, caller.version)?;
    if header.size > size_max {
        return Err((ErrorCode::MessageTooLarge, None));
    }
    if header.max_timestamp.saturating_sub(ctx.wall(node).as_millis()) > ahead_max {
        return Err((ErrorCode::InvalidRecord, Some("Timestamp is too far ahead of the broker's clock.".to_owned())));
    }
    if header.is_transactional() {
        return Err((ErrorCode::InvalidRequest, Some("Transactions are not supported.".to_owned())));
    }
    match fit(cluster, key, caller, &header) {
        Fit::Next => {}
        Fit::Duplicate { base_offset } => {
            let end = base_offset + i64::from(header.record_count);
            return Ok(Need { key, epoch, base_offset, end, place: (0, 0), result: None });
        }
        Fit::OutOfOrder => return Err((ErrorCode::OutOfOrderSequenceNumber, None)),
        Fit::Fenced => return Err((ErrorCode::InvalidProducerEpoch, None)),
    }
    let appended = cluster.append(ctx, key, node, &header, &bytes).map_err(|error| (error, None))?;
    Ok(Need { key, epoch, base_offset: appended.base_offset, end: appended.next_offset, place: (0, 0), result: None })
}

/// The one batch that a produce request carries for a partition.
fn single_batch(records: Option<Bytes>, version: i16) -> Result<(BatchHeader, Bytes), Refusal> {
    let invalid = |reason: &str| (ErrorCode::InvalidRecord, Some(reason.to_owned()));
    let records = records.ok_or_else(|| invalid("Produce requests must have records."))?;
    let mut batches = batch::validate(&records).map_err(|error| match error {
        BatchError::Size { .. } | BatchError::Checksum { .. } => (ErrorCode::CorruptMessage, None),
        BatchError::Magic(0 | 1) => (ErrorCode::UnsupportedForMessageFormat, Some(error.to_string())),
        BatchError::Magic(_) | BatchError::Inconsistent(_) => (ErrorCode::InvalidRecord, Some(error.to_string())),
    })?;
    let (Some((header, bytes)), true) = (batches.pop(), batches.is_empty()) else {
        return Err(invalid("Produce requests are only allowed to contain exactly one record batch per partition."));
    };
    if header.compression() == 4 && version < 7 {
        return Err((ErrorCode::UnsupportedCompressionType, None));
    }
    Ok((header, bytes))
}

fn fit(cluster: &mut Cluster, key: PartitionKey, caller: &Caller, header: &BatchHeader) -> Fit {
    let Some(partition) = cluster.partitions.get_mut(&key) else { return Fit::Next };
    // The next append may begin a branch, whose producers are those of its own past.
    partition.tree.branch_for_append(caller.node);
    partition.tree.producers(caller.node).map_or(Fit::Next, |producers| producers.check(header))
}

/// Since version 10 a client that asked the wrong broker is told the right one, as far as it is known here.
fn current_leader(cluster: &Cluster, caller: &Caller, topic: &str, index: i32, error: ErrorCode) -> LeaderIdAndEpoch {
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    match (error, image.and_then(|image| image.partition(topic, index))) {
        (ErrorCode::NotLeaderOrFollower, Some((_, _, state))) => {
            LeaderIdAndEpoch { leader_id: state.leader.map_or(-1, i32::from), leader_epoch: state.leader_epoch }
        }
        _ => LeaderIdAndEpoch::default(),
    }
}
