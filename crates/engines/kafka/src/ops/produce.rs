//! Produce (0), versions 3–12: batches are checked, appended by the leader and, with `acks=all`, answered when the in-sync
//! set has them. Idempotent producers' batches are taken once and in order, transactional ones
//! as part of a transaction that the partition has joined.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_Produce>

use std::collections::BTreeSet;

use atoll_kernel::{Context, NodeId};
use bytes::Bytes;

use crate::cluster::{ACKNOWLEDGED, Caller, Cluster, Need, Outcome, Then, Waiting};
use crate::config::{TimestampType, TopicConfig};
use crate::error::ErrorCode;
use crate::security::acl::Operation;
use crate::state::image::PartitionKey;
use crate::state::producers::Fit;
use crate::transactions::{BUMPING, Joined, Speaker};
use crate::wire::batch::{self, BatchError, BatchHeader};
use crate::wire::generated::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use crate::wire::generated::{ProduceRequest, ProduceResponse};
use crate::wire::validation::{self, Refused, Rules};
use crate::wire::{Request, Response};

/// The first version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE: i16 = 11;
/// The first version in which a producer need not announce partitions (KIP-890).
const JOINS: i16 = 12;

/// Why a batch is not appended.
struct Refusal {
    error: ErrorCode,
    /// A sentence for people, where Kafka has one.
    message: Option<String>,
    /// Where the log begins, where Kafka tells it.
    log_start_offset: i64,
    /// Single records, with why.
    records: Vec<(i32, String)>,
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Refusal {
        Refusal { error, message: None, log_start_offset: -1, records: Vec::new() }
    }
}

impl Refusal {
    /// Refused by the log, which says where it begins.
    fn by_log(error: ErrorCode, log_start_offset: i64) -> Refusal {
        Refusal { log_start_offset, ..error.into() }
    }
}

/// What a partition is sent.
struct Sent<'r> {
    topic: &'r str,
    index: i32,
    acks: i16,
    transactional_id: Option<&'r str>,
}

pub(super) fn apply(cluster: &mut Cluster, ctx: &Context<'_>, caller: &Caller, request: ProduceRequest) -> Outcome {
    let id = request.transactional_id.as_deref();
    if id.is_some_and(|id| !cluster.may_transact(caller, Operation::Write, id)) {
        return match request.acks {
            0 => Outcome::Close,
            _ => not_joined(&request, ErrorCode::TransactionalIdAuthorizationFailed).into(),
        };
    }
    match join_transaction(cluster, ctx, caller, &request) {
        Ok(Joined::Already) => {}
        Ok(Joined::Soon) => {
            let timeout_ms = request.timeout_ms;
            return cluster.park(ctx, caller, Waiting::Transaction(Request::Produce(request)), &[], timeout_ms);
        }
        Err(_) if request.acks == 0 => return Outcome::Close,
        Err(error) => return not_joined(&request, error).into(),
    }
    let acks = request.acks;
    let mut needs: Vec<Need> = Vec::new();
    let mut response = ProduceResponse::default();
    for (topic_place, topic) in request.topic_data.into_iter().enumerate() {
        let mut answered = TopicProduceResponse { name: topic.name, partition_responses: Vec::new() };
        for (place, data) in topic.partition_data.into_iter().enumerate() {
            let mut answer = PartitionProduceResponse { index: data.index, ..PartitionProduceResponse::default() };
            let transactional_id = request.transactional_id.as_deref();
            let sent = Sent { topic: &answered.name, index: data.index, acks, transactional_id };
            match append(cluster, ctx, caller, &sent, data.records) {
                Ok((mut need, append_time_ms)) => {
                    need.place = (topic_place, place);
                    answer.base_offset = need.base_offset;
                    answer.log_append_time_ms = append_time_ms;
                    answer.log_start_offset =
                        cluster.partitions.get(&need.key).map_or(0, |partition| partition.tree.start(caller.node));
                    needs.push(need);
                }
                Err(refusal) => {
                    answer.error_code = refusal.error.code();
                    answer.base_offset = -1;
                    answer.error_message = refusal.message;
                    answer.log_start_offset = refusal.log_start_offset;
                    let named = |(batch_index, reason)| BatchIndexAndErrorMessage {
                        batch_index,
                        batch_index_error_message: Some(reason),
                    };
                    answer.record_errors = refusal.records.into_iter().map(named).collect();
                    answer.current_leader = current_leader(cluster, caller, &answered.name, data.index, refusal.error);
                }
            }
            answered.partition_responses.push(answer);
        }
        response.responses.push(answered);
    }
    response.node_endpoints = endpoints(ctx, caller, &response);
    finish(cluster, ctx, caller, acks, request.timeout_ms, needs, response)
}

/// Where the leaders are that the answer names.
fn endpoints(ctx: &Context<'_>, caller: &Caller, response: &ProduceResponse) -> Vec<NodeEndpoint> {
    let parts = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    let named: BTreeSet<i32> = parts.map(|part| part.current_leader.leader_id).filter(|id| *id >= 0).collect();
    let endpoint = |node_id: i32| {
        let node = NodeId(u16::try_from(node_id).unwrap_or(u16::MAX));
        let (host, port) = super::address(ctx, caller, node);
        NodeEndpoint { node_id, host, port, rack: super::rack(ctx, node) }
    };
    named.into_iter().map(endpoint).collect()
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
            if !needs.is_empty() {
                cluster.promise_appended(caller, needs);
                ctx.reached(ACKNOWLEDGED, caller.node);
            }
            Response::Produce(response).into()
        }
    }
}

/// Checks and appends one partition's records. With what is to be waited for comes the time that the broker gave them, or −1.
fn append(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    sent: &Sent<'_>,
    records: Option<Bytes>,
) -> Result<(Need, i64), Refusal> {
    if !(-1..=1).contains(&sent.acks) {
        return Err(ErrorCode::InvalidRequiredAcks.into());
    }
    if !cluster.may_topic(caller, Operation::Write, sent.topic) {
        return Err(ErrorCode::TopicAuthorizationFailed.into());
    }
    let node = caller.node;
    let (header, bytes) = single_batch(records, caller.version)?;
    let image = cluster.brokers.get(&node).map(|broker| &broker.image);
    let found = image.and_then(|image| image.partition(sent.topic, sent.index));
    let Some((key, topic, _)) = found else { return Err(ErrorCode::UnknownTopicOrPartition.into()) };
    let config = topic.config.clone();
    let Some(partition) = cluster.partitions.get(&key) else { return Err(ErrorCode::UnknownTopicOrPartition.into()) };
    let Some(leadership) = partition.leadership(node) else { return Err(ErrorCode::NotLeaderOrFollower.into()) };
    let (epoch, start) = (leadership.epoch, partition.tree.start(node));
    let wanted = usize::try_from(config.min_insync_replicas).unwrap_or(1).min(partition.replicas.len());
    if sent.acks == -1 && leadership.isr.len() < wanted {
        return Err(Refusal::by_log(ErrorCode::NotEnoughReplicas, start));
    }
    if header.size > config.max_message_bytes {
        return Err(ErrorCode::MessageTooLarge.into());
    }
    if header.size as u64 > config.segment_bytes {
        return Err(ErrorCode::RecordListTooLarge.into());
    }
    if let Err(error) = header.check_sum(&bytes) {
        return Err(refused(&error, start));
    }
    verify_transaction(cluster, ctx, caller, sent, key, &header)?;
    header.check_fields().map_err(|error| refused(&error, start))?;
    let wall_ms = ctx.wall(node).as_millis();
    let (header, bytes) = inspected(sent, &config, wall_ms, start, header, bytes)?;
    match fit(cluster, key, caller, &header) {
        Fit::Next => {}
        Fit::Duplicate { base_offset, timestamp } => {
            let end = base_offset + i64::from(header.record_count);
            let held = cluster.partitions.get(&key).and_then(|partition| partition.tree.epoch_at(node, base_offset));
            let appended_in = held.unwrap_or(epoch);
            return Ok((Need { appended_in, ..Need::appended(key, epoch, base_offset, end) }, timestamp));
        }
        Fit::OutOfOrder => return Err(Refusal::by_log(ErrorCode::OutOfOrderSequenceNumber, start)),
        Fit::Fenced => return Err(Refusal::by_log(ErrorCode::InvalidProducerEpoch, start)),
    }
    let appended = cluster.append(ctx, key, node, &header, &bytes)?;
    let (base_offset, end) = (appended.base_offset, appended.next_offset);
    let append_time_ms = if config.timestamp_type == TimestampType::LogAppendTime { wall_ms } else { -1 };
    Ok((Need::appended(key, epoch, base_offset, end), append_time_ms))
}

/// The records of the batch are checked; it is compressed anew if the topic asks for that.
fn inspected(
    sent: &Sent<'_>,
    config: &TopicConfig,
    wall_ms: i64,
    start: i64,
    header: BatchHeader,
    bytes: Bytes,
) -> Result<(BatchHeader, Bytes), Refusal> {
    let rules = Rules {
        partition: (sent.topic, sent.index),
        now_ms: (config.timestamp_type == TimestampType::CreateTime).then_some(wall_ms),
        before_max_ms: config.timestamp_before_max_ms,
        after_max_ms: config.timestamp_after_max_ms,
        needs_keys: config.is_compacted,
    };
    let newest = validation::check(&header, &bytes, &rules).map_err(|refused| match refused {
        Refused::Packed => Refusal::by_log(ErrorCode::UnknownServerError, start),
        Refused::Structure(_) => Refusal::by_log(ErrorCode::InvalidRecord, start),
        Refused::Records { timestamps: true, errors } => Refusal {
            message: Some("One or more records have been rejected due to invalid timestamp".to_owned()),
            records: errors,
            ..Refusal::by_log(ErrorCode::InvalidTimestamp, start)
        },
        Refused::Records { timestamps: false, errors } => Refusal {
            message: Some(rejected(&errors)),
            records: errors,
            ..Refusal::by_log(ErrorCode::InvalidRecord, start)
        },
    })?;
    let (mut header, mut bytes) = (header, bytes);
    // The broker reckons the greatest time itself: what a header claims would mislead retention and searches.
    if header.max_timestamp != newest {
        (header, bytes) = batch::with_max_timestamp(&header, &bytes, newest);
    }
    match config.compression.filter(|codec| codec.number() != header.compression()) {
        None => Ok((header, bytes)),
        Some(codec) => match batch::recompressed(&header, &bytes, codec) {
            Ok((header, _)) if header.size > config.max_message_bytes => Err(ErrorCode::MessageTooLarge.into()),
            Ok(recompressed) => Ok(recompressed),
            Err(_) => Err(Refusal::by_log(ErrorCode::UnknownServerError, start)),
        },
    }
}

/// Kafka's sentence, which shows the first three errors.
fn rejected(errors: &[(i32, String)]) -> String {
    let shown = errors.iter().take(3).map(|(place, why)| format!("RecordError(batchIndex={place}, message='{why}')"));
    format!(
        "One or more records have been rejected due to {} record errors in total, and only showing the first three errors at \
         most: [{}]",
        errors.len(),
        shown.collect::<Vec<_>>().join(", ")
    )
}

/// Since version 12 partitions become part of a transaction by being written to.
fn join_transaction(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: &ProduceRequest,
) -> Result<Joined, ErrorCode> {
    let Some(id) = request.transactional_id.as_deref().filter(|_| caller.version >= JOINS) else {
        return Ok(Joined::Already);
    };
    let (mut partitions, mut producer) = (BTreeSet::new(), None);
    for topic in &request.topic_data {
        for data in &topic.partition_data {
            let header = data.records.as_ref().and_then(|records| BatchHeader::read(records).ok());
            let Some(header) = header.filter(BatchHeader::is_transactional) else { continue };
            let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
            let Some((key, ..)) = image.and_then(|image| image.partition(&topic.name, data.index)) else { continue };
            // Who leads checks, and only of what it leads.
            let leads = cluster.partitions.get(&key).is_some_and(|found| found.leadership(caller.node).is_some());
            let (producer_id, epoch) = (header.producer_id, header.producer_epoch);
            if leads && !cluster.has_open_transaction(caller.node, key, producer_id, epoch) {
                partitions.insert((topic.name.clone(), data.index));
                producer = Some((producer_id, epoch));
            }
        }
    }
    let Some((producer_id, epoch)) = producer else { return Ok(Joined::Already) };
    let coordinator = cluster.reachable_coordinator(ctx, caller.node, id)?;
    let speaker = Speaker { id, producer_id, epoch };
    cluster.join_transaction(ctx, (coordinator, caller.ticket), &speaker, partitions, (BUMPING, None))
}

/// The answer where the transaction could not be joined.
pub(crate) fn not_joined(request: &ProduceRequest, error: ErrorCode) -> Response {
    let mut response = ProduceResponse::default();
    for topic in &request.topic_data {
        let refused = |index: i32| {
            let refusal = unverified(error, JOINS);
            PartitionProduceResponse {
                index,
                error_code: refusal.error.code(),
                error_message: refusal.message,
                base_offset: -1,
                ..PartitionProduceResponse::default()
            }
        };
        let partition_responses = topic.partition_data.iter().map(|data| refused(data.index)).collect();
        response.responses.push(TopicProduceResponse { name: topic.name.clone(), partition_responses });
    }
    Response::Produce(response)
}

/// A transactional batch belongs to an ongoing transaction that this partition is part of, as its coordinator says.
fn verify_transaction(
    cluster: &Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    sent: &Sent<'_>,
    key: PartitionKey,
    header: &BatchHeader,
) -> Result<(), Refusal> {
    let Some(id) = sent.transactional_id.filter(|_| header.is_transactional()) else { return Ok(()) };
    let (producer_id, epoch) = (header.producer_id, header.producer_epoch);
    if cluster.has_open_transaction(caller.node, key, producer_id, epoch) {
        return Ok(());
    }
    let speaker = Speaker { id, producer_id, epoch };
    let verified = cluster
        .reachable_coordinator(ctx, caller.node, id)
        .and_then(|node| cluster.verify_joined(node, &speaker, &(sent.topic.to_owned(), sent.index)));
    verified.map_err(|error| unverified(error, caller.version))
}

/// What the coordinator answered, as a client of this version understands it.
fn unverified(error: ErrorCode, version: i16) -> Refusal {
    let retried = |error: &str| Refusal {
        message: Some(format!(
            "Unable to verify the partition has been added to the transaction. Underlying error: {error}"
        )),
        ..ErrorCode::NotEnoughReplicas.into()
    };
    match error {
        ErrorCode::NetworkException => retried("NETWORK_EXCEPTION"),
        ErrorCode::CoordinatorNotAvailable => retried("COORDINATOR_NOT_AVAILABLE"),
        ErrorCode::NotCoordinator => retried("NOT_COORDINATOR"),
        ErrorCode::ConcurrentTransactions if version < JOINS => retried("CONCURRENT_TRANSACTIONS"),
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch.into(),
        ErrorCode::TransactionAbortable if version < ABORTABLE => Refusal {
            message: Some("Partition was not added to the transaction".to_owned()),
            ..ErrorCode::InvalidTxnState.into()
        },
        other => other.into(),
    }
}

/// The one batch that a produce request carries for a partition.
fn single_batch(records: Option<Bytes>, version: i16) -> Result<(BatchHeader, Bytes), Refusal> {
    let invalid = || Refusal::from(ErrorCode::InvalidRecord);
    let records = records.ok_or_else(invalid)?;
    let header = BatchHeader::read(&records).map_err(|_| invalid())?;
    if header.size != records.len() {
        return Err(invalid());
    }
    if header.compression() == 4 && version < 7 {
        return Err(ErrorCode::UnsupportedCompressionType.into());
    }
    Ok((header, records))
}

fn refused(error: &BatchError, start: i64) -> Refusal {
    match error {
        BatchError::Checksum { .. } => ErrorCode::CorruptMessage.into(),
        _ => Refusal::by_log(ErrorCode::InvalidRecord, start),
    }
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
