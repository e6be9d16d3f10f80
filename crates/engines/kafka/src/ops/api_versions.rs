//! ApiVersions (18), versions 0–4: which APIs are there, in which versions. A client asks first, with a version that it
//! guesses; one that is too new is answered in version 0 with the error and the versions of this request (KIP-511).
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_ApiVersions>

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::features::{self, FEATURES, Feature};
use crate::wire::generated::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use crate::wire::generated::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{ApiKey, Response};

pub(super) fn apply(cluster: &Cluster, caller: &Caller, request: &ApiVersionsRequest) -> Outcome {
    // Version 3 names the client's software, and Kafka insists on a sensible name.
    let allowed =
        |text: &str| text.chars().all(|character| character.is_ascii_alphanumeric() || ".-".contains(character));
    let error = match allowed(&request.client_software_name) && allowed(&request.client_software_version) {
        true => ErrorCode::None,
        false => ErrorCode::InvalidRequest,
    };
    let Some(broker) = cluster.brokers.get(&caller.node) else { return Outcome::Close };
    // Older clients cannot read a lowest level of 0, so that such features are left out for them (KAFKA-17492).
    let readable = |feature: &&Feature| caller.version >= 4 || feature.min > 0;
    let supported = |feature: &Feature| SupportedFeatureKey {
        name: feature.name.to_owned(),
        min_version: feature.min,
        max_version: feature.max,
    };
    let finalized = |feature: &Feature| {
        let level = features::level(&broker.image.features, feature.name);
        (level > 0).then(|| FinalizedFeatureKey {
            name: feature.name.to_owned(),
            min_version_level: level,
            max_version_level: level,
        })
    };
    Response::ApiVersions(ApiVersionsResponse {
        supported_features: FEATURES.iter().filter(readable).map(supported).collect(),
        finalized_features_epoch: broker.applied as i64,
        finalized_features: FEATURES.iter().filter_map(finalized).collect(),
        ..response(error)
    })
    .into()
}

/// The answer to a version that is not known, to be written in version 0: it names the versions of this request alone.
pub fn unsupported() -> Response {
    let mut answer = response(ErrorCode::UnsupportedVersion);
    answer.api_keys.retain(|api| api.api_key == ApiKey::ApiVersions as i16);
    Response::ApiVersions(answer)
}

fn response(error: ErrorCode) -> ApiVersionsResponse {
    let entry = |api: &ApiKey| ApiVersion {
        api_key: *api as i16,
        // As Kafka 4 does: librdkafka takes a minimum above 0 as a sign that compression is not supported (KAFKA-18659).
        // Versions 0 to 2 are refused all the same.
        min_version: if *api == ApiKey::Produce { 0 } else { *api.versions().start() },
        max_version: *api.versions().end(),
    };
    ApiVersionsResponse {
        error_code: error.code(),
        api_keys: ApiKey::ALL.iter().map(entry).collect(),
        ..ApiVersionsResponse::default()
    }
}
