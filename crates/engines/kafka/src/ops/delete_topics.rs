//! DeleteTopics (20), versions 1–6: topics go, by name or by id.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DeleteTopics>

use atoll_kernel::Context;
use uuid::Uuid;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::wire::generated::delete_topics_response::DeletableTopicResult;
use crate::wire::generated::{DeleteTopicsRequest, DeleteTopicsResponse};
use crate::wire::{Request, Response};

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
        let outcome = match &found {
            _ if !cluster.config.delete_topic_enable => {
                Err((ErrorCode::InvalidRequest, "Topic deletion is disabled.".to_owned()))
            }
            None => Err((ErrorCode::UnknownTopicId, "This server does not host this topic ID.".to_owned())),
            Some(name) => cluster.delete_topic(ctx, name),
        };
        let (error, error_message) =
            outcome.err().map_or((ErrorCode::None, None), |(error, reason)| (error, Some(reason)));
        responses.push(DeletableTopicResult {
            name: found.or(name),
            topic_id,
            error_code: error.code(),
            error_message,
        });
    }
    Response::DeleteTopics(DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }).into()
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
