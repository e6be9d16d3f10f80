//! UpdateFeatures (57), versions 0–2: the cluster agrees on the level of a feature, all of those in a request or none.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_UpdateFeatures>

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::features;
use crate::state::image::MetadataRecord;
use crate::wire::generated::update_features_response::UpdatableFeatureResult;
use crate::wire::generated::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use crate::wire::{Request, Response};

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: UpdateFeaturesRequest,
) -> Outcome {
    if !super::controller_ready(cluster, ctx, caller) {
        let timeout_ms = request.timeout_ms;
        return cluster.park_for_controller(ctx, caller, Request::UpdateFeatures(request), timeout_ms);
    }
    let mut records = Vec::new();
    for update in &request.feature_updates {
        // Before version 1 a downgrade was merely allowed.
        let upgrade_type = match (caller.version, update.allow_downgrade) {
            (0, true) => 2,
            (0, false) => 1,
            _ => update.upgrade_type,
        };
        let (name, level) = (&update.feature, update.max_version_level);
        if let Err(reason) = features::check(&cluster.authority.features, name, level, upgrade_type) {
            return refused(&request, caller.version, ErrorCode::InvalidUpdateVersion, Some(reason)).into();
        }
        records.push(MetadataRecord::Feature { name: name.clone(), level });
    }
    let outcome = if request.validate_only { Ok(()) } else { cluster.commit(ctx, records) };
    refused(&request, caller.version, outcome.err().unwrap_or(ErrorCode::None), None).into()
}

/// The answer, which before version 2 tells of every feature by itself.
fn refused(request: &UpdateFeaturesRequest, version: i16, error: ErrorCode, reason: Option<String>) -> Response {
    let each =
        |feature: String| UpdatableFeatureResult { feature, error_code: error.code(), error_message: reason.clone() };
    let results = match version {
        0 | 1 => request.feature_updates.iter().map(|update| each(update.feature.clone())).collect(),
        _ => Vec::new(),
    };
    let (error_code, error_message) = (error.code(), reason.clone());
    Response::UpdateFeatures(UpdateFeaturesResponse { error_code, error_message, results, throttle_time_ms: 0 })
}

pub(super) fn timed_out(request: &UpdateFeaturesRequest) -> Response {
    refused(request, 2, ErrorCode::RequestTimedOut, Some("The controller was not reached.".to_owned()))
}
