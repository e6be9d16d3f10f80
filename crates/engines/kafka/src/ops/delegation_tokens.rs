//! Delegation tokens: CreateDelegationToken (38), RenewDelegationToken (39), ExpireDelegationToken (40) and
//! DescribeDelegationToken (41). As with a Kafka that has no `delegation.token.secret.key`, they are not enabled: whoever has
//! authenticated is told so, and whoever has not is told that first.
//!
//! <https://kafka.apache.org/documentation/#security_delegation_token>

use crate::cluster::{Caller, Outcome};
use crate::error::ErrorCode;
use crate::wire::Response;
use crate::wire::generated::{
    CreateDelegationTokenResponse, DescribeDelegationTokenResponse, ExpireDelegationTokenResponse,
    RenewDelegationTokenResponse,
};

fn error_code(caller: &Caller) -> i16 {
    match caller.may_hold_tokens {
        true => ErrorCode::DelegationTokenAuthDisabled.code(),
        false => ErrorCode::DelegationTokenRequestNotAllowed.code(),
    }
}

pub(super) fn create(caller: &Caller) -> Outcome {
    let (kind, name) = caller.principal.split_once(':').unwrap_or(("User", "ANONYMOUS"));
    Response::CreateDelegationToken(CreateDelegationTokenResponse {
        error_code: error_code(caller),
        principal_type: kind.to_owned(),
        principal_name: name.to_owned(),
        token_requester_principal_type: kind.to_owned(),
        token_requester_principal_name: name.to_owned(),
        issue_timestamp_ms: -1,
        expiry_timestamp_ms: -1,
        max_timestamp_ms: -1,
        ..CreateDelegationTokenResponse::default()
    })
    .into()
}

pub(super) fn renew(caller: &Caller) -> Outcome {
    Response::RenewDelegationToken(RenewDelegationTokenResponse {
        error_code: error_code(caller),
        expiry_timestamp_ms: -1,
        ..RenewDelegationTokenResponse::default()
    })
    .into()
}

pub(super) fn expire(caller: &Caller) -> Outcome {
    Response::ExpireDelegationToken(ExpireDelegationTokenResponse {
        error_code: error_code(caller),
        expiry_timestamp_ms: -1,
        ..ExpireDelegationTokenResponse::default()
    })
    .into()
}

pub(super) fn describe(caller: &Caller) -> Outcome {
    Response::DescribeDelegationToken(DescribeDelegationTokenResponse {
        error_code: error_code(caller),
        ..DescribeDelegationTokenResponse::default()
    })
    .into()
}
