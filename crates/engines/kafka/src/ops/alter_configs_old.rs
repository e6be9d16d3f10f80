//! AlterConfigs (33), versions 0–2: the options of a resource become exactly those that are given. The older form of
//! IncrementalAlterConfigs.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_AlterConfigs>

use std::collections::BTreeMap;

use atoll_kernel::Context;

use super::alter_configs::{self, Resource};
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::wire::generated::alter_configs_request::AlterConfigsResource;
use crate::wire::generated::alter_configs_response::AlterConfigsResourceResponse;
use crate::wire::generated::{AlterConfigsRequest, AlterConfigsResponse};
use crate::wire::{Request, Response};

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: AlterConfigsRequest,
) -> Outcome {
    if !super::controller_ready(cluster, ctx, caller) {
        let timeout_ms = alter_configs::TIMEOUT_MS;
        return cluster.park_for_controller(ctx, caller, Request::AlterConfigs(request), timeout_ms);
    }
    let mut responses = Vec::new();
    for asked in &request.resources {
        let same = |other: &&AlterConfigsResource| {
            (other.resource_type, &other.resource_name) == (asked.resource_type, &asked.resource_name)
        };
        let outcome = match request.resources.iter().filter(same).count() {
            1 => replace(cluster, ctx, asked, request.validate_only),
            _ => Err((ErrorCode::InvalidRequest, "Each resource must appear at most once.".to_owned())),
        };
        responses.push(answer(asked, outcome.err()));
    }
    Response::AlterConfigs(AlterConfigsResponse { responses, ..AlterConfigsResponse::default() }).into()
}

fn replace(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    asked: &AlterConfigsResource,
    dry: bool,
) -> Result<(), (ErrorCode, String)> {
    let resource = Resource::find(cluster, asked.resource_type, &asked.resource_name)?;
    let wanted = asked.configs.iter().map(|config| (config.name.clone(), config.value.clone()));
    let wanted: BTreeMap<String, String> = wanted.filter_map(|(name, value)| Some((name, value?))).collect();
    resource.become_(cluster, ctx, wanted, dry)
}

fn answer(asked: &AlterConfigsResource, refused: Option<(ErrorCode, String)>) -> AlterConfigsResourceResponse {
    let (error, error_message) = refused.map_or((ErrorCode::None, None), |(error, reason)| (error, Some(reason)));
    AlterConfigsResourceResponse {
        error_code: error.code(),
        error_message,
        resource_type: asked.resource_type,
        resource_name: asked.resource_name.clone(),
    }
}

pub(super) fn timed_out(request: &AlterConfigsRequest) -> Response {
    let late = |asked| answer(asked, Some((ErrorCode::RequestTimedOut, "The controller was not reached.".to_owned())));
    let responses = request.resources.iter().map(late).collect();
    Response::AlterConfigs(AlterConfigsResponse { responses, ..AlterConfigsResponse::default() })
}
