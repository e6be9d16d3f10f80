//! AlterPartitionReassignments (45), version 0: partitions move to other brokers, or a movement is given up (KIP-455).
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_AlterPartitionReassignments>

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::wire::generated::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use crate::wire::generated::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};
use crate::wire::{Request, Response};

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: AlterPartitionReassignmentsRequest,
) -> Outcome {
    if !super::controller_ready(cluster, ctx, caller) {
        let timeout_ms = request.timeout_ms;
        return cluster.park_for_controller(ctx, caller, Request::AlterPartitionReassignments(request), timeout_ms);
    }
    let mut responses = Vec::new();
    for topic in request.topics {
        let mut partitions = Vec::new();
        for partition in topic.partitions {
            let partition_index = partition.partition_index;
            let outcome = cluster.reassign(ctx, &topic.name, partition_index, partition.replicas.as_deref());
            let (error, error_message) =
                outcome.err().map_or((ErrorCode::None, None), |(error, reason)| (error, Some(reason)));
            partitions.push(ReassignablePartitionResponse { partition_index, error_code: error.code(), error_message });
        }
        responses.push(ReassignableTopicResponse { name: topic.name, partitions });
    }
    Response::AlterPartitionReassignments(AlterPartitionReassignmentsResponse {
        error_message: None,
        responses,
        ..AlterPartitionReassignmentsResponse::default()
    })
    .into()
}

/// The refusal of each partition that was named.
pub(super) fn refused(request: &AlterPartitionReassignmentsRequest, error: ErrorCode, reason: &str) -> Response {
    let error_code = error.code();
    let topics = request.topics.iter().map(|topic| ReassignableTopicResponse {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| ReassignablePartitionResponse {
                partition_index: partition.partition_index,
                error_code,
                error_message: Some(reason.to_owned()),
            })
            .collect(),
    });
    Response::AlterPartitionReassignments(AlterPartitionReassignmentsResponse {
        error_code,
        error_message: Some(reason.to_owned()),
        responses: topics.collect(),
        ..AlterPartitionReassignmentsResponse::default()
    })
}

pub(super) fn timed_out() -> Response {
    Response::AlterPartitionReassignments(AlterPartitionReassignmentsResponse {
        error_code: ErrorCode::RequestTimedOut.code(),
        error_message: Some("The controller was not reached.".to_owned()),
        ..AlterPartitionReassignmentsResponse::default()
    })
}
