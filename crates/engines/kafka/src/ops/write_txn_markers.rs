//! WriteTxnMarkers (27), version 1: a leader writes the ends of transactions into its partitions, as a coordinator asks it, or
//! an administrator for a transaction that hangs.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_WriteTxnMarkers>

use atoll_kernel::{Context, NodeId};

use crate::cluster::{Caller, Cluster, Need, Outcome, Then, Waiting};
use crate::error::ErrorCode;
use crate::state::image::PartitionKey;
use crate::wire::Response;
use crate::wire::control::Marker;
use crate::wire::generated::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use crate::wire::generated::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};

/// How long the markers wait for replicas.
const TIMEOUT_MS: i32 = 30_000;

/// Markers that are being replicated: each with its place in the answer.
#[derive(Debug)]
pub(crate) struct Writing {
    response: WriteTxnMarkersResponse,
    places: Vec<((usize, usize, usize), Marker)>,
}

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: WriteTxnMarkersRequest,
) -> Outcome {
    let (mut needs, mut places) = (Vec::new(), Vec::new());
    let mut response = WriteTxnMarkersResponse::default();
    for (first, asked) in request.markers.into_iter().enumerate() {
        let marker = Marker {
            producer_id: asked.producer_id,
            producer_epoch: asked.producer_epoch,
            commit: asked.transaction_result,
            coordinator_epoch: asked.coordinator_epoch,
        };
        let mut topics = Vec::new();
        for (second, topic) in asked.topics.into_iter().enumerate() {
            let mut partitions = Vec::new();
            for (third, partition_index) in topic.partition_indexes.into_iter().enumerate() {
                let written = write(cluster, ctx, caller.node, &topic.name, partition_index, &marker);
                let error_code = written.as_ref().err().copied().unwrap_or(ErrorCode::None).code();
                partitions.push(WritableTxnMarkerPartitionResult { partition_index, error_code });
                if let Ok(need) = written {
                    needs.push(need);
                    places.push(((first, second, third), marker));
                }
            }
            topics.push(WritableTxnMarkerTopicResult { name: topic.name, partitions });
        }
        response.markers.push(WritableTxnMarkerResult { producer_id: asked.producer_id, topics });
    }
    if needs.is_empty() {
        return Response::WriteTxnMarkers(response).into();
    }
    let keys: Vec<PartitionKey> = needs.iter().map(|need| need.key).collect();
    let then = Then::MarkersWritten(Writing { response, places });
    cluster.park(ctx, caller, Waiting::Replicated(needs, then), &keys, TIMEOUT_MS)
}

fn write(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    node: NodeId,
    topic: &str,
    index: i32,
    marker: &Marker,
) -> Result<Need, ErrorCode> {
    let image = cluster.brokers.get(&node).map(|broker| &broker.image);
    let key = image.and_then(|image| image.partition(topic, index)).map(|found| found.0);
    cluster.write_marker(ctx, node, key.ok_or(ErrorCode::UnknownTopicOrPartition)?, marker)
}

/// The answer, once it is known what became of the markers.
pub(crate) fn conclude(cluster: &mut Cluster, node: NodeId, needs: &[Need], writing: Writing) -> Response {
    let Writing { mut response, places } = writing;
    for (need, ((first, second, third), marker)) in needs.iter().zip(places) {
        match need.result {
            Some(ErrorCode::None) => cluster.marker_committed(node, need.key, &marker),
            other => {
                let topic = response.markers.get_mut(first).and_then(|marker| marker.topics.get_mut(second));
                if let Some(part) = topic.and_then(|topic| topic.partitions.get_mut(third)) {
                    part.error_code = other.unwrap_or(ErrorCode::RequestTimedOut).code();
                }
            }
        }
    }
    Response::WriteTxnMarkers(response)
}
