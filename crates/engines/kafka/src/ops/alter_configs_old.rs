//! AlterConfigs (33), versions 0–2: the options of a resource become exactly those that are given. The older form of
//! IncrementalAlterConfigs.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_AlterConfigs>

use std::collections::BTreeMap;

use atoll_kernel::Context;

use super::alter_configs::{Refusal, Resource, TIMEOUT_MS, each_once, late, told};
use crate::cluster::{Caller, Cluster, Outcome};
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
        return cluster.park_for_controller(ctx, caller, Request::AlterConfigs(request), TIMEOUT_MS);
    }
    let named = |asked: &AlterConfigsResource| (asked.resource_type, asked.resource_name.clone());
    let change = |asked: &AlterConfigsResource| {
        super::alter_configs::check_access(cluster, caller, asked.resource_type, &asked.resource_name)?;
        replace(cluster, ctx, asked, request.validate_only)
    };
    let refusals = each_once(&request.resources, named, change);
    let responses = request.resources.iter().zip(refusals).map(|(asked, refused)| answer(asked, refused)).collect();
    Response::AlterConfigs(AlterConfigsResponse { responses, ..AlterConfigsResponse::default() }).into()
}

fn replace(cluster: &mut Cluster, ctx: &Context<'_>, asked: &AlterConfigsResource, dry: bool) -> Result<(), Refusal> {
    let resource = Resource::find(cluster, asked.resource_type, &asked.resource_name)?;
    let wanted = asked.configs.iter().map(|config| (config.name.clone(), config.value.clone()));
    let wanted: BTreeMap<String, String> = wanted.filter_map(|(name, value)| Some((name, value?))).collect();
    resource.become_(cluster, ctx, wanted, dry)
}

fn answer(asked: &AlterConfigsResource, refused: Option<Refusal>) -> AlterConfigsResourceResponse {
    let (error_code, error_message) = told(refused);
    AlterConfigsResourceResponse {
        error_code,
        error_message,
        resource_type: asked.resource_type,
        resource_name: asked.resource_name.clone(),
    }
}

pub(super) fn timed_out(request: &AlterConfigsRequest) -> Response {
    let responses = request.resources.iter().map(|asked| answer(asked, late())).collect();
    Response::AlterConfigs(AlterConfigsResponse { responses, ..AlterConfigsResponse::default() })
}
