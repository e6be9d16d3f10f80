//! ListPartitionReassignments (46), version 0: the movements of replicas that are under way, as the controller knows them.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_ListPartitionReassignments>

use std::collections::BTreeMap;

use atoll_kernel::Context;

use super::ids;
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::wire::generated::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use crate::wire::generated::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};
use crate::wire::{Request, Response};

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: ListPartitionReassignmentsRequest,
) -> Outcome {
    if !super::controller_ready(cluster, ctx, caller) {
        let timeout_ms = request.timeout_ms;
        return cluster.park_for_controller(ctx, caller, Request::ListPartitionReassignments(request), timeout_ms);
    }
    let asked = request.topics.map(|topics| {
        let names = topics.into_iter().map(|topic| (topic.name, topic.partition_indexes));
        names.collect::<BTreeMap<String, Vec<i32>>>()
    });
    let mut topics = Vec::new();
    for (name, topic) in &cluster.authority.topics {
        let wanted = asked.as_ref().map(|asked| asked.get(name));
        if wanted == Some(None) {
            continue;
        }
        let is_wanted = |index: i32| wanted.flatten().is_none_or(|indexes| indexes.contains(&index));
        let moving = topic.partitions.iter().enumerate().filter_map(|(index, state)| {
            let moves = !state.adding.is_empty() || !state.removing.is_empty();
            (moves && is_wanted(index as i32)).then(|| OngoingPartitionReassignment {
                partition_index: index as i32,
                replicas: ids(&state.replicas),
                adding_replicas: ids(&state.adding),
                removing_replicas: ids(&state.removing),
            })
        });
        let partitions: Vec<_> = moving.collect();
        if !partitions.is_empty() {
            topics.push(OngoingTopicReassignment { name: name.clone(), partitions });
        }
    }
    Response::ListPartitionReassignments(ListPartitionReassignmentsResponse {
        error_message: None,
        topics,
        ..ListPartitionReassignmentsResponse::default()
    })
    .into()
}

/// The refusal, with what was asked for and nothing of it.
pub(super) fn refused(request: &ListPartitionReassignmentsRequest, error: ErrorCode, reason: &str) -> Response {
    let nothing = |index: &i32| OngoingPartitionReassignment { partition_index: *index, ..Default::default() };
    let topics = request.topics.iter().flatten().map(|topic| OngoingTopicReassignment {
        name: topic.name.clone(),
        partitions: topic.partition_indexes.iter().map(nothing).collect(),
    });
    Response::ListPartitionReassignments(ListPartitionReassignmentsResponse {
        error_code: error.code(),
        error_message: Some(reason.to_owned()),
        topics: topics.collect(),
        ..ListPartitionReassignmentsResponse::default()
    })
}

pub(super) fn timed_out() -> Response {
    Response::ListPartitionReassignments(ListPartitionReassignmentsResponse {
        error_code: ErrorCode::RequestTimedOut.code(),
        error_message: Some("The controller was not reached.".to_owned()),
        ..ListPartitionReassignmentsResponse::default()
    })
}
