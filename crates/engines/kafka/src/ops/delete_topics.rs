//! DeleteTopics (20), versions 1–6: topics go, by name or by id.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DeleteTopics>

use atoll_kernel::Context;
use uuid::Uuid;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::security::acl::Operation;
use crate::wire::generated::delete_topics_response::DeletableTopicResult;
use crate::wire::generated::{DeleteTopicsRequest, DeleteTopicsResponse};
use crate::wire::{Request, Response};

/// Since which version a client over its quota is refused, and not only muted (KIP-599).
const STRICT: i16 = 5;

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: DeleteTopicsRequest,
) -> Outcome {
    if !cluster.controller_near(ctx, caller.node) || !cluster.plane.can_commit(ctx) {
        let timeout_ms = request.timeout_ms;
        return cluster.park_for_controller(ctx, caller, Request::DeleteTopics(request), timeout_ms);
    }
    let mut responses = Vec::new();
    for (name, id) in named(&request) {
        let found = if id.is_nil() { name.clone() } else { cluster.authority.names.get(&id).cloned() };
        let topic_id = found.as_ref().and_then(|name| cluster.authority.topics.get(name)).map_or(id, |topic| topic.id);
        let refused = || Err((ErrorCode::TopicAuthorizationFailed, "Topic authorization failed.".to_owned()));
        let exists = found.as_ref().is_some_and(|name| cluster.authority.topics.contains_key(name));
        let outcome = match &found {
            _ if !cluster.config.delete_topic_enable => {
                Err((ErrorCode::InvalidRequest, "Topic deletion is disabled.".to_owned()))
            }
            None => Err((ErrorCode::UnknownTopicId, "This server does not host this topic ID.".to_owned())),
            // Nobody learns which name an id has, or which id a name.
            Some(name) if !cluster.may_topic(caller, Operation::Describe, name) => {
                let name = id.is_nil().then(|| name.clone());
                let (error_code, error_message) =
                    (ErrorCode::TopicAuthorizationFailed.code(), Some("Topic authorization failed.".to_owned()));
                responses.push(DeletableTopicResult { name, topic_id: id, error_code, error_message });
                continue;
            }
            Some(name) if exists && !cluster.may_topic(caller, Operation::Delete, name) => refused(),
            Some(_) if exists && cluster.check_mutations(ctx, caller, STRICT).is_err() => {
                Err((ErrorCode::ThrottlingQuotaExceeded, String::new()))
            }
            Some(name) => {
                let partitions = cluster.authority.topics.get(name).map_or(0, |topic| topic.partitions.len());
                let deleted = cluster.delete_topic(ctx, name);
                cluster.record_mutations(ctx, caller, if deleted.is_ok() { partitions } else { 0 });
                deleted
            }
        };
        let (error, error_message) =
            outcome.err().map_or((ErrorCode::None, None), |(error, reason)| (error, Some(reason)));
        let error_message = error_message.filter(|_| error != ErrorCode::ThrottlingQuotaExceeded);
        responses.push(DeletableTopicResult {
            name: found.or(name),
            topic_id,
            error_code: error.code(),
            error_message,
        });
    }
    let throttled = responses.iter().any(|topic| topic.error_code == ErrorCode::ThrottlingQuotaExceeded.code());
    let throttle_time_ms = cluster.mutation_throttle_ms(ctx, caller, STRICT, throttled);
    Response::DeleteTopics(DeleteTopicsResponse { responses, throttle_time_ms }).into()
}

/// The topics of a request: before version 6 they are plain names.
fn named(request: &DeleteTopicsRequest) -> Vec<(Option<String>, Uuid)> {
    let plain = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::nil()));
    plain.chain(request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id))).collect()
}

pub(super) fn timed_out(request: &DeleteTopicsRequest) -> Response {
    let late = |(name, topic_id)| DeletableTopicResult {
        name,
        topic_id,
        error_code: ErrorCode::RequestTimedOut.code(),
        ..DeletableTopicResult::default()
    };
    let responses = named(request).into_iter().map(late).collect();
    Response::DeleteTopics(DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() })
}
