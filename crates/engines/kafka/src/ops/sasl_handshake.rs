//! SaslHandshake (17), versions 0–1: names the mechanism of an authentication. Where none is to be, or none any more, it is
//! refused; what happens where one is to be stands in `security/sasl.rs`.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_SaslHandshake>

use crate::cluster::Outcome;
use crate::error::ErrorCode;
use crate::wire::Response;
use crate::wire::generated::SaslHandshakeResponse;

pub(super) fn apply() -> Outcome {
    let error_code = ErrorCode::IllegalSaslState.code();
    Response::SaslHandshake(SaslHandshakeResponse { error_code, ..SaslHandshakeResponse::default() }).into()
}
