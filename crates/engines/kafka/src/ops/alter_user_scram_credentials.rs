//! AlterUserScramCredentials (51), version 0: gives users credentials for SCRAM and takes them away, in the cluster's
//! metadata (KIP-554). Clients send a password that is salted and hashed already.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_AlterUserScramCredentials>

use std::collections::BTreeMap;

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::security::scram::{Credential, Hash, ITERATIONS_MAX, ITERATIONS_MIN};
use crate::state::image::MetadataRecord;
use crate::wire::generated::alter_user_scram_credentials_request::{ScramCredentialDeletion, ScramCredentialUpsertion};
use crate::wire::generated::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use crate::wire::generated::{AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse};
use crate::wire::{Request, Response};

/// How long the controller is waited for; the request does not say.
const TIMEOUT_MS: i32 = 30_000;

pub(super) type Refusal = (ErrorCode, &'static str);

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: AlterUserScramCredentialsRequest,
) -> Outcome {
    if !super::controller_ready(cluster, ctx, caller) {
        return cluster.park_for_controller(ctx, caller, Request::AlterUserScramCredentials(request), TIMEOUT_MS);
    }
    let mut outcomes: BTreeMap<String, Result<MetadataRecord, Refusal>> = BTreeMap::new();
    let deletions = request.deletions.iter().map(|deletion| (&deletion.name, delete(cluster, deletion)));
    let upsertions = request.upsertions.iter().map(|upsertion| (&upsertion.name, upsert(upsertion)));
    for (user, outcome) in deletions.chain(upsertions) {
        // What was refused already stays refused for that reason.
        let outcome = match outcomes.remove(user) {
            None => outcome,
            Some(Err(refusal)) => Err(refusal),
            Some(Ok(_)) => {
                Err((ErrorCode::DuplicateResource, "A user credential cannot be altered twice in the same request"))
            }
        };
        outcomes.insert(user.clone(), outcome);
    }
    let records = outcomes.values().filter_map(|outcome| outcome.as_ref().ok()).cloned().collect();
    let committed = cluster.commit(ctx, records);
    let results = outcomes.into_iter().map(|(user, outcome)| {
        let outcome = outcome.and_then(|_| committed.map_err(|error| (error, "The controller has no majority.")));
        result(user, outcome)
    });
    respond(results.collect()).into()
}

fn delete(cluster: &Cluster, deletion: &ScramCredentialDeletion) -> Result<MetadataRecord, Refusal> {
    let hash = check(&deletion.name, deletion.mechanism)?;
    let user = deletion.name.clone();
    match cluster.authority.scram.contains_key(&(user.clone(), hash)) {
        true => Ok(MetadataRecord::ScramCredential { user, hash, credential: None }),
        false => Err((ErrorCode::ResourceNotFound, "Attempt to delete a user credential that does not exist")),
    }
}

fn upsert(upsertion: &ScramCredentialUpsertion) -> Result<MetadataRecord, Refusal> {
    let hash = check(&upsertion.name, upsertion.mechanism)?;
    match upsertion.iterations {
        ..ITERATIONS_MIN => return Err((ErrorCode::UnacceptableCredential, "Too few iterations")),
        ITERATIONS_MIN..=ITERATIONS_MAX => {}
        _ => return Err((ErrorCode::UnacceptableCredential, "Too many iterations")),
    }
    let (salted, salt) = (&upsertion.salted_password, &upsertion.salt);
    let credential = Some(Credential::from_salted(hash, salted, salt, upsertion.iterations));
    Ok(MetadataRecord::ScramCredential { user: upsertion.name.clone(), hash, credential })
}

fn check(user: &str, mechanism: i8) -> Result<Hash, Refusal> {
    if user.is_empty() {
        return Err((ErrorCode::UnacceptableCredential, "Username must not be empty"));
    }
    Hash::from_number(mechanism).ok_or((ErrorCode::UnsupportedSaslMechanism, "Unknown SCRAM mechanism"))
}

fn result<T>(user: String, outcome: Result<T, Refusal>) -> AlterUserScramCredentialsResult {
    let (error_code, error_message) = match outcome {
        Ok(_) => (0, None),
        Err((error, reason)) => (error.code(), Some(reason.to_owned())),
    };
    AlterUserScramCredentialsResult { user, error_code, error_message }
}

fn respond(results: Vec<AlterUserScramCredentialsResult>) -> Response {
    let response = AlterUserScramCredentialsResponse { results, ..AlterUserScramCredentialsResponse::default() };
    Response::AlterUserScramCredentials(response)
}

pub(super) fn timed_out(request: &AlterUserScramCredentialsRequest) -> Response {
    refused(request, (ErrorCode::RequestTimedOut, "The controller was not reached."))
}

/// The answer where nothing was done for any user.
pub(super) fn refused(request: &AlterUserScramCredentialsRequest, refusal: Refusal) -> Response {
    let deleted = request.deletions.iter().map(|deletion| deletion.name.clone());
    let upserted = request.upsertions.iter().map(|upsertion| upsertion.name.clone());
    let users: std::collections::BTreeSet<String> = deleted.chain(upserted).collect();
    respond(users.into_iter().map(|user| result::<()>(user, Err(refusal))).collect())
}
