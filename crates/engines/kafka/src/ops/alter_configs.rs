//! IncrementalAlterConfigs (44), versions 0–1: options of topics are set, or given back to their defaults. Options of brokers
//! come from the stack file and are not changed while it runs.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_IncrementalAlterConfigs>

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::config::TopicConfig;
use crate::error::ErrorCode;
use crate::state::image::MetadataRecord;
use crate::wire::generated::incremental_alter_configs_request::AlterConfigsResource;
use crate::wire::generated::incremental_alter_configs_response::AlterConfigsResourceResponse;
use crate::wire::generated::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use crate::wire::{Request, Response};

/// Resources are topics (2) or brokers (4).
pub(super) const TOPIC: i8 = 2;
/// How long the controller is waited for; the request does not say.
const TIMEOUT_MS: i32 = 30_000;

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: IncrementalAlterConfigsRequest,
) -> Outcome {
    if !cluster.controller_near(ctx, caller.node) || !cluster.plane.can_commit(ctx) {
        return cluster.park_for_controller(ctx, caller, Request::IncrementalAlterConfigs(request), TIMEOUT_MS);
    }
    let mut responses = Vec::new();
    for resource in &request.resources {
        let outcome = alter(cluster, ctx, resource, request.validate_only);
        responses.push(answer(resource, outcome.err()));
    }
    let response = IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() };
    Response::IncrementalAlterConfigs(response).into()
}

fn alter(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    resource: &AlterConfigsResource,
    dry: bool,
) -> Result<(), (ErrorCode, String)> {
    if resource.resource_type != TOPIC {
        return Err((
            ErrorCode::InvalidRequest,
            "Only the options of topics can be changed while brokers run.".to_owned(),
        ));
    }
    let name = &resource.resource_name;
    let Some(topic) = cluster.authority.topics.get(name) else {
        return Err((ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist.")));
    };
    let mut options = topic.options.clone();
    let mut records = Vec::new();
    for config in &resource.configs {
        let value = match config.config_operation {
            0 => config.value.clone(),
            1 => None,
            _ => {
                let reason = format!("Can't {} to key {}: it is not a list.", "append or subtract", config.name);
                return Err((ErrorCode::InvalidConfig, reason));
            }
        };
        match &value {
            Some(value) => options.insert(config.name.clone(), value.clone()),
            None => options.remove(&config.name),
        };
        let (topic, name) = (name.clone(), config.name.clone());
        records.push(MetadataRecord::TopicOption { topic, name, value });
    }
    TopicConfig::resolve(&cluster.config, &options).map_err(|reason| (ErrorCode::InvalidConfig, reason))?;
    if dry {
        return Ok(());
    }
    cluster.commit(ctx, records).map_err(|error| (error, "The controller has no majority.".to_owned()))
}

fn answer(resource: &AlterConfigsResource, refused: Option<(ErrorCode, String)>) -> AlterConfigsResourceResponse {
    let (error, error_message) = refused.map_or((ErrorCode::None, None), |(error, reason)| (error, Some(reason)));
    AlterConfigsResourceResponse {
        error_code: error.code(),
        error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
    }
}

pub(super) fn timed_out(request: &IncrementalAlterConfigsRequest) -> Response {
    let late =
        |resource| answer(resource, Some((ErrorCode::RequestTimedOut, "The controller was not reached.".to_owned())));
    let responses = request.resources.iter().map(late).collect();
    Response::IncrementalAlterConfigs(IncrementalAlterConfigsResponse { responses, ..Default::default() })
}

/// Broker ids of a request as nodes; one that cannot be is one that is not there.
pub(super) fn nodes(ids: &[i32]) -> Vec<u16> {
    ids.iter().map(|id| u16::try_from(*id).unwrap_or(u16::MAX)).collect()
}
