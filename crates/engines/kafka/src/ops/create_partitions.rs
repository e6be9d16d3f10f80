//! CreatePartitions (37), versions 0–3: topics get more partitions.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_CreatePartitions>

use atoll_kernel::Context;

use super::alter_configs::nodes;
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode::{self, ThrottlingQuotaExceeded, TopicAuthorizationFailed, UnknownTopicOrPartition};
use crate::security::acl::Operation;
use crate::wire::generated::create_partitions_response::CreatePartitionsTopicResult;
use crate::wire::generated::{CreatePartitionsRequest, CreatePartitionsResponse};
use crate::wire::{Request, Response};

/// Since which version a client over its quota is refused, and not only muted (KIP-599).
const STRICT: i16 = 3;

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: CreatePartitionsRequest,
) -> Outcome {
    if !cluster.controller_near(ctx, caller.node) || !cluster.plane.can_commit(ctx) {
        let timeout_ms = request.timeout_ms;
        return cluster.park_for_controller(ctx, caller, Request::CreatePartitions(request), timeout_ms);
    }
    let mut results = Vec::new();
    for topic in request.topics {
        let assignments: Option<Vec<Vec<u16>>> =
            topic.assignments.map(|given| given.iter().map(|replicas| nodes(&replicas.broker_ids)).collect());
        let outcome = match cluster.may_topic(caller, Operation::Alter, &topic.name) {
            true if cluster.check_mutations(ctx, caller, STRICT).is_err() => {
                Err((ThrottlingQuotaExceeded, String::new()))
            }
            true => {
                let assignments = assignments.as_deref();
                let before = cluster.authority.topics.get(&topic.name).map_or(0, |topic| topic.partitions.len());
                let outcome =
                    cluster.create_partitions(ctx, &topic.name, topic.count, assignments, request.validate_only);
                let wanted = usize::try_from(topic.count).unwrap_or(0);
                cluster.record_mutations(ctx, caller, if outcome.is_ok() { wanted.saturating_sub(before) } else { 0 });
                outcome
            }
            false => Err((TopicAuthorizationFailed, String::new())),
        };
        let (error, error_message) =
            outcome.err().map_or((ErrorCode::None, None), |(error, reason)| (error, Some(reason)));
        // Kafka has words for what is wrong with a request only.
        let wordless = [UnknownTopicOrPartition, TopicAuthorizationFailed, ThrottlingQuotaExceeded];
        let error_message = error_message.filter(|_| !wordless.contains(&error));
        results.push(CreatePartitionsTopicResult { name: topic.name, error_code: error.code(), error_message });
    }
    let refused = results.iter().any(|result| result.error_code == ThrottlingQuotaExceeded.code());
    let throttle_time_ms = cluster.mutation_throttle_ms(ctx, caller, STRICT, refused);
    Response::CreatePartitions(CreatePartitionsResponse { results, throttle_time_ms }).into()
}

pub(super) fn timed_out(request: &CreatePartitionsRequest) -> Response {
    let results = request.topics.iter().map(|topic| CreatePartitionsTopicResult {
        name: topic.name.clone(),
        error_code: ErrorCode::RequestTimedOut.code(),
        ..CreatePartitionsTopicResult::default()
    });
    Response::CreatePartitions(CreatePartitionsResponse {
        results: results.collect(),
        ..CreatePartitionsResponse::default()
    })
}
