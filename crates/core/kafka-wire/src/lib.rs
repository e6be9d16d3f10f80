//! Bytes ↔ requests, responses and record batches. Everything here is bounded and knows no state.
//!
//! - [`frame`]: the four-byte length, headers, and [`decode_request`], where a client's bytes come in;
//! - [`generated`]: one file per message, written by `cargo xtask kafka-codegen`, over the functions in [`primitive`];
//! - [`batch`]: record batches, validated by their headers and checksums;
//! - [`validation`] and [`compression`]: what is inside of a producer's batch, checked as it passes by;
//! - [`consumer_protocol`]: what consumers tell each other through their group's coordinator;
//! - [`control`]: how transactions ended, as partitions keep it;
//! - [`record`]: the records inside a batch, where a broker must know them, and of the batches that brokers write themselves;
//! - [`retained`]: what the log cleaner leaves of a batch.

pub mod batch;
pub mod compression;
pub mod consumer_protocol;
pub mod control;
pub mod frame;
pub mod generated;
pub mod primitive;
pub mod record;
pub mod retained;
#[cfg(test)]
mod tests;
pub mod validation;

pub use frame::{DecodeError, RequestFrame, decode_request, encode_response};
pub use generated::api::{ApiKey, Request, Response};
