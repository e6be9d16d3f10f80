//! ListOffsets (2), versions 1–10: the first offset, the next offset, or the first record not older than a time, also of those
//! within compressed batches. A new leader that does not yet know what is committed says OFFSET_NOT_AVAILABLE.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_ListOffsets>

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::security::acl::Operation;
use crate::state::tree::Batch;
use crate::wire::generated::list_offsets_request::ListOffsetsPartition;
use crate::wire::generated::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use crate::wire::generated::{ListOffsetsRequest, ListOffsetsResponse};
use crate::wire::{Response, record};

/// `isolation_level` of readers that leave out what is in no committed transaction.
const READ_COMMITTED: i8 = 1;
/// The offset after the last record that can be read.
const LATEST: i64 = -1;
/// The first offset.
const EARLIEST: i64 = -2;
/// The record with the greatest timestamp (KIP-734).
const MAX_TIMESTAMP: i64 = -3;
/// The first offset that is not in tiered storage, of which there is none (KIP-405).
const EARLIEST_LOCAL: i64 = -4;
/// The last offset that is in tiered storage.
const LATEST_TIERED: i64 = -5;

pub(super) fn apply(cluster: &mut Cluster, caller: &Caller, request: ListOffsetsRequest) -> Outcome {
    let mut topics = Vec::new();
    for topic in request.topics {
        let mut partitions = Vec::new();
        for asked in &topic.partitions {
            let mut answer =
                ListOffsetsPartitionResponse { partition_index: asked.partition_index, ..Default::default() };
            match find(cluster, caller, &topic.name, asked, request.isolation_level == READ_COMMITTED) {
                Ok((offset, timestamp, leader_epoch)) => {
                    (answer.offset, answer.timestamp, answer.leader_epoch) = (offset, timestamp, leader_epoch);
                }
                Err(error) => answer.error_code = error.code(),
            }
            partitions.push(answer);
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    Response::ListOffsets(ListOffsetsResponse { topics, ..ListOffsetsResponse::default() }).into()
}

/// Offset, timestamp and leader epoch.
fn find(
    cluster: &mut Cluster,
    caller: &Caller,
    topic: &str,
    asked: &ListOffsetsPartition,
    committed_only: bool,
) -> Result<(i64, i64, i32), ErrorCode> {
    if !cluster.may_topic(caller, Operation::Describe, topic) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let node = caller.node;
    let (key, epoch) = cluster.replica_for(caller, topic, asked.partition_index, asked.current_leader_epoch, true)?;
    let partition = cluster.partitions.get(&key).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let leadership = partition.leadership(node).ok_or(ErrorCode::NotLeaderOrFollower)?;
    let (high_watermark, start) = (partition.high_watermark(node), partition.tree.start(node));
    let latest = if committed_only { partition.last_stable_offset(node) } else { high_watermark };
    let unsure = high_watermark < leadership.start_offset;
    let not_available = if caller.version >= 5 { ErrorCode::OffsetNotAvailable } else { ErrorCode::LeaderNotAvailable };
    match asked.timestamp {
        EARLIEST | EARLIEST_LOCAL => Ok((start, -1, partition.tree.epoch_at(node, start).unwrap_or(epoch))),
        _ if unsure => Err(not_available),
        LATEST => Ok((latest, -1, epoch)),
        LATEST_TIERED => Ok((-1, -1, -1)),
        MAX_TIMESTAMP => {
            let committed = partition.tree.batches(node, start).take_while(|batch| batch.next_offset <= latest);
            let newest =
                committed.reduce(|one, other| if other.max_timestamp > one.max_timestamp { other } else { one });
            let place = newest.map(place_of);
            Ok(place.and_then(|place| within(cluster, key, place, place.3, start)).unwrap_or((-1, -1, -1)))
        }
        wanted if wanted < 0 => Err(ErrorCode::InvalidRequest),
        wanted => {
            let batches = partition.tree.batches(node, start).take_while(|batch| batch.next_offset <= latest);
            let may_have = |batch: &&Batch| batch.max_timestamp >= wanted;
            // The first of them nearly always has it; only what DeleteRecords cut off within a batch can be missing.
            let places: Vec<Place> = batches.filter(may_have).take(2).map(place_of).collect();
            Ok(places.into_iter().find_map(|place| within(cluster, key, place, wanted, start)).unwrap_or((-1, -1, -1)))
        }
    }
}

/// A batch's position, size, first offset, greatest timestamp and epoch.
type Place = (u64, usize, i64, i64, i32);

fn place_of(batch: &Batch) -> Place {
    (batch.position, batch.size as usize, batch.base_offset, batch.max_timestamp, batch.leader_epoch)
}

/// The first record of a batch that is not older than a time and that can still be read.
fn within(
    cluster: &mut Cluster,
    key: crate::state::image::PartitionKey,
    (position, size, base_offset, max_timestamp, epoch): Place,
    wanted: i64,
    start: i64,
) -> Option<(i64, i64, i32)> {
    let bytes = cluster.store.read(key, &[(position, size)]).ok();
    let records = bytes.and_then(|bytes| record::read_records(&bytes)).and_then(Result::ok);
    // A batch that cannot be read is answered for by its header.
    let Some(records) = records else { return Some((base_offset.max(start), max_timestamp, epoch)) };
    let found = records.into_iter().find(|record| record.timestamp >= wanted && record.offset >= start);
    found.map(|record| (record.offset, record.timestamp, epoch))
}
