//! Fetch (1), versions 4–17: committed batches as they were produced, from the leader or, since version 11, from any replica.
//! Waits until there are `min_bytes`, or `max_wait_ms` have passed. Sessions are answered with id 0, "none", which clients
//! take as leave to send whole requests.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_Fetch>

use atoll_kernel::Context;
use bytes::Bytes;

use crate::cluster::{Caller, Cluster, Outcome, Waiting};
use crate::error::ErrorCode;
use crate::state::image::PartitionKey;
use crate::wire::Response;
use crate::wire::generated::fetch_request::{FetchPartition, FetchTopic};
use crate::wire::generated::fetch_response::{EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData};
use crate::wire::generated::{FetchRequest, FetchResponse};

pub(super) fn apply(cluster: &mut Cluster, ctx: &Context<'_>, caller: &Caller, request: FetchRequest) -> Outcome {
    // Epoch 0 asks for a session, −1 for none; anything else belongs to a session, and there is none.
    if request.session_id != 0 || request.session_epoch > 0 {
        let error_code = ErrorCode::FetchSessionIdNotFound.code();
        return Response::Fetch(FetchResponse { error_code, ..FetchResponse::default() }).into();
    }
    let waits_at_all = request.max_wait_ms > 0 && request.min_bytes > 0 && !request.topics.is_empty();
    if let Some(response) = answer(cluster, ctx, caller, &request, !waits_at_all) {
        return Response::Fetch(response).into();
    }
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let topics = request.topics.iter().filter_map(|topic| {
        let id = image.and_then(|image| image.topics.get(&topic.topic)).map_or(topic.topic_id, |found| found.id);
        (!id.is_nil()).then_some((id, &topic.partitions))
    });
    let keys: Vec<PartitionKey> =
        topics.flat_map(|(id, partitions)| partitions.iter().map(move |part| (id, part.partition))).collect();
    let wait_ms = request.max_wait_ms;
    cluster.park(ctx, caller, Waiting::Fetch(Box::new(request)), &keys, wait_ms)
}

/// The answer, or None if it is worth waiting for more.
pub(crate) fn answer(
    cluster: &mut Cluster,
    _ctx: &Context<'_>,
    caller: &Caller,
    request: &FetchRequest,
    time_is_up: bool,
) -> Option<FetchResponse> {
    let plans: Vec<Vec<Plan>> = request.topics.iter().map(|topic| plan_topic(cluster, caller, topic)).collect();
    let available: usize = plans.iter().flatten().map(|plan| plan.available).sum();
    let urgent =
        plans.iter().flatten().any(|plan| plan.data.error_code != 0 || plan.data.diverging_epoch.end_offset >= 0);
    let wanted = usize::try_from(request.min_bytes).unwrap_or(0);
    if !time_is_up && !urgent && available < wanted {
        return None;
    }
    let mut left = usize::try_from(request.max_bytes.min(cluster.config.fetch_max_bytes)).unwrap_or(0);
    let mut responses = Vec::new();
    let mut nothing_yet = true;
    for (topic, plans) in request.topics.iter().zip(plans) {
        let mut partitions = Vec::new();
        for (plan, asked) in plans.into_iter().zip(&topic.partitions) {
            let bytes_max = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(left);
            let data = read(cluster, plan, bytes_max, nothing_yet);
            let size = data.records.as_ref().map_or(0, Bytes::len);
            nothing_yet &= size == 0;
            left = left.saturating_sub(size);
            partitions.push(data);
        }
        responses.push(FetchableTopicResponse { topic: topic.topic.clone(), topic_id: topic.topic_id, partitions });
    }
    Some(FetchResponse { responses, ..FetchResponse::default() })
}

/// What a partition has to offer.
struct Plan {
    data: PartitionData,
    key: PartitionKey,
    /// Positions and sizes of the batches, from the one that holds the offset on.
    batches: Vec<(u64, usize)>,
    available: usize,
}

fn plan_topic(cluster: &Cluster, caller: &Caller, topic: &FetchTopic) -> Vec<Plan> {
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let name = match topic.topic.is_empty() {
        true => image.and_then(|image| image.names.get(&topic.topic_id)).map(String::as_str),
        false => Some(topic.topic.as_str()),
    };
    let unknown = if caller.version >= 13 { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
    let plan = |asked: &FetchPartition| {
        let mut plan = match name {
            None => Err(unknown),
            Some(name) => plan_partition(cluster, caller, name, asked),
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
    let data = PartitionData {
        error_code: error.code(),
        high_watermark: -1,
        current_leader,
        records: Some(Bytes::new()),
        ..PartitionData::default()
    };
    Plan { data, key: (uuid::Uuid::nil(), 0), batches: Vec::new(), available: 0 }
}

fn plan_partition(cluster: &Cluster, caller: &Caller, topic: &str, asked: &FetchPartition) -> Result<Plan, ErrorCode> {
    let node = caller.node;
    let (key, epoch) =
        cluster.replica_for(caller, topic, asked.partition, asked.current_leader_epoch, caller.version < 11)?;
    let partition = cluster.partitions.get(&key).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let high_watermark = partition.high_watermark(node);
    let mut data = PartitionData {
        high_watermark,
        last_stable_offset: high_watermark,
        log_start_offset: 0,
        aborted_transactions: None,
        records: Some(Bytes::new()),
        ..PartitionData::default()
    };
    let nothing = |data| Plan { data, key, batches: Vec::new(), available: 0 };
    let end = partition.tree.end(node);
    if asked.last_fetched_epoch >= 0
        && let Some((common_epoch, common_end)) = partition.tree.epoch_end(node, asked.last_fetched_epoch)
        && (common_end < asked.fetch_offset || common_epoch < asked.last_fetched_epoch.min(epoch))
    {
        data.diverging_epoch = EpochEndOffset { epoch: common_epoch, end_offset: common_end };
        return Ok(nothing(data));
    }
    if asked.fetch_offset < 0 || asked.fetch_offset > end {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    let committed =
        partition.tree.batches(node, asked.fetch_offset).take_while(|batch| batch.next_offset <= high_watermark);
    let limit = usize::try_from(asked.partition_max_bytes).unwrap_or(0);
    let (mut batches, mut available) = (Vec::new(), 0);
    for batch in committed {
        batches.push((batch.position, batch.size as usize));
        available += batch.size as usize;
        if available >= limit {
            break;
        }
    }
    Ok(Plan { data, key, batches, available })
}

/// Reads as many whole batches as fit; the first of an answer in any case, so that a large batch stops nobody.
fn read(cluster: &mut Cluster, mut plan: Plan, bytes_max: usize, even_if_too_large: bool) -> PartitionData {
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
