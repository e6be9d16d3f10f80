//! Request and response headers around the bodies.
//!
//! <https://kafka.apache.org/protocol.html#protocol_messages>

use atoll_wire::{Reader, WireError, Writer};
use bytes::Bytes;
use thiserror::Error;

use crate::generated::api::{ApiKey, Request, Response};
use crate::primitive;

/// A request with what its header says.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestFrame {
    /// The version of the API.
    pub version: i16,
    /// Chosen by the client and repeated in the answer.
    pub correlation_id: i32,
    /// How the client calls itself.
    pub client_id: Option<String>,
    /// The body.
    pub request: Request,
}

/// Why a frame is not a request that can be answered as usual. The client is at fault in every case.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// An ApiVersions request of a version that is too new, which has an answer of its own (KIP-511).
    #[error("ApiVersions version {version} is not supported")]
    UnsupportedApiVersions {
        /// To be repeated in the answer.
        correlation_id: i32,
        /// The version asked for.
        version: i16,
    },
    /// No such API, or not in this version. Kafka closes the connection.
    #[error("api key {api_key} version {version} is not supported")]
    Unsupported {
        /// The API asked for.
        api_key: i16,
        /// The version asked for.
        version: i16,
    },
    /// The bytes are no such request. Kafka closes the connection.
    #[error("malformed request: {0}")]
    Malformed(#[from] WireError),
}

/// Reads one request, without the four-byte length that stood before it.
pub fn decode_request(bytes: Bytes) -> Result<RequestFrame, DecodeError> {
    let mut reader = Reader::new(bytes);
    let (api_key, version, correlation_id) = (reader.i16()?, reader.i16()?, reader.i32()?);
    let Some(api) = ApiKey::from_key(api_key) else { return Err(DecodeError::Unsupported { api_key, version }) };
    if !api.versions().contains(&version) {
        return Err(match api {
            ApiKey::ApiVersions => DecodeError::UnsupportedApiVersions { correlation_id, version },
            _ => DecodeError::Unsupported { api_key, version },
        });
    }
    // The client's name keeps the old encoding even where the header is flexible, so that every broker can read it.
    let client_id = primitive::nullable_string(&mut reader, false)?;
    if version >= api.flexible_from() {
        primitive::skip_tagged_fields(&mut reader)?;
    }
    let request = Request::decode(api, &mut reader, version)?;
    // Bytes behind a request are ignored, as in Kafka: librdkafka leaves three there when it asks for all topics.
    Ok(RequestFrame { version, correlation_id, client_id, request })
}

/// Writes a response with header and length, as chunks for a vectored write: large record sets are not copied.
pub fn encode_response(response: &Response, version: i16, correlation_id: i32) -> Vec<Bytes> {
    let mut writer = Writer::new();
    writer.i32(correlation_id);
    // The header of an ApiVersions response is never flexible: the client may be older than the broker thinks.
    if response.api_key() != ApiKey::ApiVersions && version >= response.api_key().flexible_from() {
        writer.uvarint(0);
    }
    response.encode(&mut writer, version);
    let mut length = Writer::new();
    length.i32(writer.size() as i32);
    let mut chunks = length.into_chunks();
    chunks.extend(writer.into_chunks());
    chunks
}
