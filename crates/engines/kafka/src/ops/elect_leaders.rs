//! ElectLeaders (43), versions 0–2: the controller elects the preferred leaders, or any replica that is left.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_ElectLeaders>

use std::collections::BTreeMap;

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, Election, Outcome};
use crate::error::ErrorCode;
use crate::wire::generated::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use crate::wire::generated::{ElectLeadersRequest, ElectLeadersResponse};
use crate::wire::{Request, Response};

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: ElectLeadersRequest,
) -> Outcome {
    let election = match request.election_type {
        0 => Election::Preferred,
        1 => Election::Unclean,
        _ => return failed(ErrorCode::InvalidRequest).into(),
    };
    if !super::controller_ready(cluster, ctx, caller) {
        let timeout_ms = request.timeout_ms;
        return cluster.park_for_controller(ctx, caller, Request::ElectLeaders(request), timeout_ms);
    }
    let asked: Option<Vec<(String, i32)>> = request.topic_partitions.map(|topics| {
        let partitions = |topic: crate::wire::generated::elect_leaders_request::TopicPartitions| {
            let name = topic.topic;
            topic.partitions.into_iter().map(move |index| (name.clone(), index))
        };
        topics.into_iter().flat_map(partitions).collect()
    });
    // Whoever asks for all of them is told only of those for which something was to do.
    let all = asked.is_none();
    let mut results: BTreeMap<String, Vec<PartitionResult>> = BTreeMap::new();
    for (topic, partition_id) in asked.unwrap_or_else(|| cluster.all_partitions()) {
        let outcome = cluster.elect_leader(ctx, &topic, partition_id, election);
        let results = results.entry(topic).or_default();
        let (error, error_message) =
            outcome.err().map_or((ErrorCode::None, None), |(error, reason)| (error, Some(reason)));
        if !all || error != ErrorCode::ElectionNotNeeded {
            results.push(PartitionResult { partition_id, error_code: error.code(), error_message });
        }
    }
    let result = |(topic, partition_result)| ReplicaElectionResult { topic, partition_result };
    let replica_election_results = results.into_iter().map(result).collect();
    Response::ElectLeaders(ElectLeadersResponse { replica_election_results, ..ElectLeadersResponse::default() }).into()
}

/// The refusal of each partition that was named.
pub(super) fn refused(request: &ElectLeadersRequest, error: ErrorCode, reason: &str) -> Response {
    let error_code = error.code();
    let partition = |partition_id: &i32| PartitionResult {
        partition_id: *partition_id,
        error_code,
        error_message: Some(reason.to_owned()),
    };
    let named = request.topic_partitions.iter().flatten().map(|topic| ReplicaElectionResult {
        topic: topic.topic.clone(),
        partition_result: topic.partitions.iter().map(partition).collect(),
    });
    let replica_election_results = named.collect();
    let response = ElectLeadersResponse { error_code, replica_election_results, ..ElectLeadersResponse::default() };
    Response::ElectLeaders(response)
}

fn failed(error: ErrorCode) -> Response {
    Response::ElectLeaders(ElectLeadersResponse { error_code: error.code(), ..ElectLeadersResponse::default() })
}

pub(super) fn timed_out() -> Response {
    failed(ErrorCode::RequestTimedOut)
}
