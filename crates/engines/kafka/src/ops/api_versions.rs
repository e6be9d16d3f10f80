//! ApiVersions (18), versions 0–4: which APIs are there, in which versions. A client asks first, with a version that it
//! guesses; one that is too new is answered in version 0 with the error and the list (KIP-511).
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_ApiVersions>

use crate::cluster::Outcome;
use crate::error::ErrorCode;
use crate::wire::generated::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use crate::wire::generated::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{ApiKey, Response};

/// Features with their lowest and highest levels, of which the highest are agreed on. `metadata.version` 25 is that of Kafka 4.0,
/// and with `transaction.version` 2 producers get another epoch with every transaction.
const FEATURES: &[(&str, i16, i16)] = &[("metadata.version", 7, 25), ("transaction.version", 0, 2)];

pub(super) fn apply(request: &ApiVersionsRequest) -> Outcome {
    // Version 3 names the client's software, and Kafka insists on a sensible name.
    let allowed =
        |text: &str| text.chars().all(|character| character.is_ascii_alphanumeric() || ".-".contains(character));
    let error = match allowed(&request.client_software_name) && allowed(&request.client_software_version) {
        true => ErrorCode::None,
        false => ErrorCode::InvalidRequest,
    };
    Response::ApiVersions(response(error)).into()
}

/// The answer to a version that is not known, to be written in version 0.
pub fn unsupported() -> Response {
    Response::ApiVersions(response(ErrorCode::UnsupportedVersion))
}

fn response(error: ErrorCode) -> ApiVersionsResponse {
    let entry = |api: &ApiKey| ApiVersion {
        api_key: *api as i16,
        // As Kafka 4 does: librdkafka takes a minimum above 0 as a sign that compression is not supported (KAFKA-18659).
        // Versions 0 to 2 are refused all the same.
        min_version: if *api == ApiKey::Produce { 0 } else { *api.versions().start() },
        max_version: *api.versions().end(),
    };
    let supported = |(name, min_version, max_version): &(&str, i16, i16)| SupportedFeatureKey {
        name: (*name).to_owned(),
        min_version: *min_version,
        max_version: *max_version,
    };
    let finalized = |(name, _, level): &(&str, i16, i16)| FinalizedFeatureKey {
        name: (*name).to_owned(),
        max_version_level: *level,
        min_version_level: *level,
    };
    ApiVersionsResponse {
        error_code: error.code(),
        api_keys: ApiKey::ALL.iter().map(entry).collect(),
        supported_features: FEATURES.iter().map(supported).collect(),
        finalized_features_epoch: 0,
        finalized_features: FEATURES.iter().map(finalized).collect(),
        ..ApiVersionsResponse::default()
    }
}
