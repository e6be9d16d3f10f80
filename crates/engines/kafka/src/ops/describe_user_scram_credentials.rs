//! DescribeUserScramCredentials (50), version 0: which users have credentials for SCRAM, by which hash and how many
//! iterations (KIP-554).
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeUserScramCredentials>

use std::collections::BTreeMap;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::state::image::Image;
use crate::wire::Response;
use crate::wire::generated::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use crate::wire::generated::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};

pub(super) fn apply(cluster: &Cluster, caller: &Caller, request: DescribeUserScramCredentialsRequest) -> Outcome {
    let Some(image) = cluster.brokers.get(&caller.node).map(|broker| &broker.image) else { return Outcome::Close };
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    let asked = request.users.unwrap_or_default();
    match asked.is_empty() {
        true => times.extend(image.scram.keys().map(|(user, _)| (user.clone(), 1))),
        false => asked.into_iter().for_each(|user| *times.entry(user.name).or_default() += 1),
    }
    let results = times.into_iter().map(|(user, times)| describe(image, user, times > 1)).collect();
    let response = DescribeUserScramCredentialsResponse { results, ..DescribeUserScramCredentialsResponse::default() };
    Response::DescribeUserScramCredentials(response).into()
}

fn describe(image: &Image, user: String, asked_twice: bool) -> DescribeUserScramCredentialsResult {
    let found = image.scram.iter().filter(|((owner, _), _)| *owner == user);
    let infos = found
        .map(|((_, hash), credential)| CredentialInfo { mechanism: *hash as i8, iterations: credential.iterations });
    let credential_infos: Vec<CredentialInfo> = if asked_twice { Vec::new() } else { infos.collect() };
    let (error, reason) = match (asked_twice, credential_infos.is_empty()) {
        (true, _) => (
            ErrorCode::DuplicateResource,
            Some(format!("Cannot describe SCRAM credentials for the same user twice in a single request: {user}")),
        ),
        (false, true) => (
            ErrorCode::ResourceNotFound,
            Some(format!("Attempt to describe a user credential that does not exist: {user}")),
        ),
        (false, false) => (ErrorCode::None, None),
    };
    DescribeUserScramCredentialsResult { user, error_code: error.code(), error_message: reason, credential_infos }
}

/// The refusal, once for each user that was asked for, none of whom Kafka names.
pub(super) fn refused(request: &DescribeUserScramCredentialsRequest, error: ErrorCode) -> Response {
    let error_code = error.code();
    let result = |_| DescribeUserScramCredentialsResult { error_code, error_message: None, ..Default::default() };
    let results = request.users.iter().flatten().map(result).collect();
    let response =
        DescribeUserScramCredentialsResponse { error_code, error_message: None, results, ..Default::default() };
    Response::DescribeUserScramCredentials(response)
}
