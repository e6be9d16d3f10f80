//! Fetch (1), versions 4–17: committed batches as they were produced, from the leader or, since version 11, from any replica.
//! Waits until there are `min_bytes`, or `max_wait_ms` have passed. Since version 7 in sessions (KIP-227); with
//! `read_committed` up to the last stable offset, with the aborted transactions in it; with a rack the leader names the replica
//! that is nearer, if `replica.selector.class` asks for that (KIP-392).
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_Fetch>

use atoll_kernel::{Context, NodeId};
use bytes::Bytes;

use crate::cluster::{Caller, Cluster, Outcome, Waiting};
use crate::error::ErrorCode;
use crate::fetch_sessions::Answering;
use crate::security::acl::Operation;
use crate::state::image::PartitionKey;
use crate::state::partition::Partition;
use crate::wire::Response;
use crate::wire::generated::fetch_request::{FetchPartition, FetchTopic};
use crate::wire::generated::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use crate::wire::generated::{FetchRequest, FetchResponse};

/// `isolation_level` of readers that leave out what is in no committed transaction.
const READ_COMMITTED: i8 = 1;
/// The value of `replica.selector.class` that acts.
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// A fetch as it goes on, with how its answer is given.
#[derive(Debug)]
pub(crate) struct Fetching {
    request: FetchRequest,
    answering: Answering,
}

pub(super) fn apply(cluster: &mut Cluster, ctx: &Context<'_>, caller: &Caller, request: FetchRequest) -> Outcome {
    let Some(broker) = cluster.brokers.get_mut(&caller.node) else { return Outcome::Close };
    let (request, answering) = match broker.fetch_sessions.enter(ctx.now(), request, caller.version) {
        Ok(entered) => entered,
        Err(error) => {
            let error_code = error.code();
            return Response::Fetch(FetchResponse { error_code, ..FetchResponse::default() }).into();
        }
    };
    let waits_at_all = request.max_wait_ms > 0 && request.min_bytes > 0 && !request.topics.is_empty();
    let fetching = Fetching { request, answering };
    if let Some(response) = answer(cluster, ctx, caller, &fetching, !waits_at_all) {
        return Response::Fetch(response).into();
    }
    let request = &fetching.request;
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let topics = request.topics.iter().filter_map(|topic| {
        let id = image.and_then(|image| image.topics.get(&topic.topic)).map_or(topic.topic_id, |found| found.id);
        (!id.is_nil()).then_some((id, &topic.partitions))
    });
    let keys: Vec<PartitionKey> =
        topics.flat_map(|(id, partitions)| partitions.iter().map(move |part| (id, part.partition))).collect();
    let wait_ms = request.max_wait_ms;
    cluster.park(ctx, caller, Waiting::Fetch(Box::new(fetching)), &keys, wait_ms)
}

/// The answer, or None if it is worth waiting for more.
pub(crate) fn answer(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    fetching: &Fetching,
    time_is_up: bool,
) -> Option<FetchResponse> {
    let Fetching { request, answering } = fetching;
    let reader = Reader { caller, committed_only: request.isolation_level == READ_COMMITTED, rack: &request.rack_id };
    let plans: Vec<Vec<Plan>> = request.topics.iter().map(|topic| plan_topic(cluster, ctx, &reader, topic)).collect();
    let available: usize = plans.iter().flatten().map(|plan| plan.available).sum();
    let urgent = plans.iter().flatten().any(|plan| {
        plan.data.error_code != 0 || plan.data.diverging_epoch.end_offset >= 0 || plan.data.preferred_read_replica != -1
    });
    let wanted = usize::try_from(request.min_bytes).unwrap_or(0);
    if !time_is_up && !urgent && available < wanted {
        return None;
    }
    let mut left = usize::try_from(request.max_bytes.min(cluster.config.fetch_max_bytes)).unwrap_or(0);
    left = left.min(cluster.fetch_bytes_max(caller));
    let mut responses = Vec::new();
    let mut nothing_yet = true;
    for (topic, plans) in request.topics.iter().zip(plans) {
        let mut partitions = Vec::new();
        for (plan, asked) in plans.into_iter().zip(&topic.partitions) {
            let bytes_max = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(left);
            let data = read(cluster, &reader, plan, asked.fetch_offset, bytes_max, nothing_yet);
            let size = data.records.as_ref().map_or(0, Bytes::len);
            nothing_yet &= size == 0;
            left = left.saturating_sub(size);
            partitions.push(data);
        }
        responses.push(FetchableTopicResponse { topic: topic.topic.clone(), topic_id: topic.topic_id, partitions });
    }
    let response = FetchResponse { responses, ..FetchResponse::default() };
    let slots = cluster.config.max_incremental_fetch_session_cache_slots;
    let sessions = cluster.brokers.get_mut(&caller.node).map(|broker| &mut broker.fetch_sessions)?;
    Some(sessions.leave(ctx, slots, request, caller.version, *answering, response))
}

/// Who reads, and how.
struct Reader<'r> {
    caller: &'r Caller,
    committed_only: bool,
    rack: &'r str,
}

/// What a partition has to offer.
struct Plan {
    data: PartitionData,
    key: PartitionKey,
    /// Positions and sizes of the batches, from the one that holds the offset on.
    batches: Vec<(u64, usize)>,
    /// The offset after each of them.
    ends: Vec<i64>,
    available: usize,
}

fn plan_topic(cluster: &Cluster, ctx: &Context<'_>, reader: &Reader<'_>, topic: &FetchTopic) -> Vec<Plan> {
    let caller = reader.caller;
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let name = match topic.topic.is_empty() {
        true => image.and_then(|image| image.names.get(&topic.topic_id)).map(String::as_str),
        false => Some(topic.topic.as_str()),
    };
    let unknown = if caller.version >= 13 { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
    let plan = |asked: &FetchPartition| {
        let mut plan = match name {
            None => Err(unknown),
            Some(name) => plan_partition(cluster, ctx, reader, name, asked),
        }
        .unwrap_or_else(|error| refused(error, cluster, caller, name, asked));
        plan.data.partition_index = asked.partition;
        plan
    };
    topic.partitions.iter().map(plan).collect()
}

fn refused(error: ErrorCode, cluster: &Cluster, caller: &Caller, topic: Option<&str>, asked: &FetchPartition) -> Plan {
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let found = topic.and_then(|topic| image?.partition(topic, asked.partition));
    let current_leader = match (error, found) {
        (ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch, Some((_, _, state))) => {
            LeaderIdAndEpoch { leader_id: state.leader.map_or(-1, i32::from), leader_epoch: state.leader_epoch }
        }
        _ => LeaderIdAndEpoch::default(),
    };
    // Kafka answers for partitions that it does not know without asking its logs, which makes this difference.
    let is_unknown = matches!(
        error,
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId | ErrorCode::TopicAuthorizationFailed
    );
    let data = PartitionData {
        error_code: error.code(),
        high_watermark: -1,
        current_leader,
        aborted_transactions: is_unknown.then(Vec::new),
        records: Some(Bytes::new()),
        ..PartitionData::default()
    };
    Plan { data, key: (uuid::Uuid::nil(), 0), batches: Vec::new(), ends: Vec::new(), available: 0 }
}

fn plan_partition(
    cluster: &Cluster,
    ctx: &Context<'_>,
    reader: &Reader<'_>,
    topic: &str,
    asked: &FetchPartition,
) -> Result<Plan, ErrorCode> {
    let caller = reader.caller;
    if !cluster.may_topic(caller, Operation::Read, topic) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let node = caller.node;
    let (key, epoch) =
        cluster.replica_for(caller, topic, asked.partition, asked.current_leader_epoch, caller.version < 11)?;
    let partition = cluster.partitions.get(&key).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let (high_watermark, start) = (partition.high_watermark(node), partition.tree.start(node));
    let last_stable_offset = partition.last_stable_offset(node);
    let mut data = PartitionData {
        high_watermark,
        last_stable_offset,
        log_start_offset: start,
        aborted_transactions: reader.committed_only.then(Vec::new),
        records: Some(Bytes::new()),
        ..PartitionData::default()
    };
    let nothing = |data| Plan { data, key, batches: Vec::new(), ends: Vec::new(), available: 0 };
    let end = partition.tree.end(node);
    if asked.last_fetched_epoch >= 0
        && let Some((common_epoch, common_end)) = partition.tree.epoch_end(node, asked.last_fetched_epoch)
        && (common_end < asked.fetch_offset || common_epoch < asked.last_fetched_epoch.min(epoch))
    {
        data.diverging_epoch = EpochEndOffset { epoch: common_epoch, end_offset: common_end };
        return Ok(nothing(data));
    }
    if asked.fetch_offset < start || asked.fetch_offset > end {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    if let Some(nearer) = nearer_replica(cluster, ctx, reader, key, partition, asked.fetch_offset) {
        data.preferred_read_replica = i32::from(nearer.0);
        return Ok(nothing(data));
    }
    let readable = if reader.committed_only { last_stable_offset } else { high_watermark };
    let committed = partition.tree.batches(node, asked.fetch_offset).take_while(|batch| batch.next_offset <= readable);
    let limit = usize::try_from(asked.partition_max_bytes).unwrap_or(0);
    let (mut batches, mut ends, mut available) = (Vec::new(), Vec::new(), 0);
    for batch in committed {
        batches.push((batch.position, batch.size as usize));
        ends.push(batch.next_offset);
        available += batch.size as usize;
        if available >= limit {
            break;
        }
    }
    Ok(Plan { data, key, batches, ends, available })
}

/// The replica in the reader's own rack that has what is asked for, if a leader is asked and is to say so.
fn nearer_replica(
    cluster: &Cluster,
    ctx: &Context<'_>,
    reader: &Reader<'_>,
    key: PartitionKey,
    partition: &Partition,
    offset: i64,
) -> Option<NodeId> {
    let leader = reader.caller.node;
    let asked = cluster.config.replica_selector_class == RACK_AWARE && !reader.rack.is_empty();
    let leadership = partition.leadership(leader).filter(|_| asked)?;
    let here = |node: NodeId| super::rack(ctx, node).as_deref() == Some(reader.rack);
    if here(leader) {
        return None;
    }
    let image = &cluster.brokers.get(&leader)?.image;
    let (_, _, state) = image.partition_by_key(key)?;
    let able = |node: &NodeId| image.is_active(*node) && here(*node) && partition.tree.start(*node) <= offset;
    let candidates = state.replicas.iter().map(|node| NodeId(*node)).filter(able);
    let known = candidates.filter_map(|node| Some((leadership.followers.get(&node)?.end, node)));
    known
        .filter(|(end, _)| *end >= offset)
        .max_by_key(|(end, node)| (*end, std::cmp::Reverse(*node)))
        .map(|found| found.1)
}

/// Reads as many whole batches as fit; the first of an answer in any case, so that a large batch stops nobody.
fn read(
    cluster: &mut Cluster,
    reader: &Reader<'_>,
    mut plan: Plan,
    offset: i64,
    bytes_max: usize,
    even_if_too_large: bool,
) -> PartitionData {
    let (mut count, mut size) = (0, 0);
    for (_, batch) in &plan.batches {
        if size + batch > bytes_max && !(count == 0 && even_if_too_large) {
            break;
        }
        count += 1;
        size += batch;
    }
    if count > 0 {
        match cluster.store.read(plan.key, &plan.batches[..count]) {
            Ok(bytes) => plan.data.records = Some(bytes),
            Err(_) => plan.data.error_code = ErrorCode::KafkaStorageError.code(),
        }
        let upto = plan.ends[count - 1];
        let producers = cluster.partitions.get(&plan.key).and_then(|found| found.tree.producers(reader.caller.node));
        let aborted = producers.filter(|_| reader.committed_only).map(|producers| producers.aborted(offset, upto));
        plan.data.aborted_transactions = aborted.map(|aborted| {
            let listed = |ended: &crate::state::producers::Ended| AbortedTransaction {
                producer_id: ended.producer_id,
                first_offset: ended.first_offset,
            };
            aborted.iter().map(listed).collect()
        });
    }
    plan.data
}

impl Cluster {
    /// The partition that a broker may answer a reader for, and its leader's epoch as the broker knows it. A client that knows
    /// an older or newer epoch is told so.
    pub(crate) fn replica_for(
        &self,
        caller: &Caller,
        topic: &str,
        index: i32,
        known_epoch: i32,
        leader_only: bool,
    ) -> Result<(PartitionKey, i32), ErrorCode> {
        let image = self.brokers.get(&caller.node).map(|broker| &broker.image);
        let found = image.and_then(|image| image.partition(topic, index));
        let (key, _, state) = found.ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let partition = self.partitions.get(&key).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if !partition.replicas.contains_key(&caller.node) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        match known_epoch {
            -1 => {}
            epoch if epoch < state.leader_epoch => return Err(ErrorCode::FencedLeaderEpoch),
            epoch if epoch > state.leader_epoch => return Err(ErrorCode::UnknownLeaderEpoch),
            _ => {}
        }
        let leads = partition.leadership(caller.node).is_some();
        if !leads && (leader_only || state.leader.is_none()) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        Ok((key, state.leader_epoch))
    }
}
