//! SaslAuthenticate (36), versions 0–2: a token of an authentication. Where none is going on it is refused; what happens
//! where one is stands in `security/sasl.rs`.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_SaslAuthenticate>

use crate::cluster::Outcome;
use crate::error::ErrorCode;
use crate::wire::Response;
use crate::wire::generated::SaslAuthenticateResponse;

pub(super) fn apply() -> Outcome {
    Response::SaslAuthenticate(SaslAuthenticateResponse {
        error_code: ErrorCode::IllegalSaslState.code(),
        error_message: Some("SaslAuthenticate request received after successful authentication".to_owned()),
        ..SaslAuthenticateResponse::default()
    })
    .into()
}
