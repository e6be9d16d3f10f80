//! Kafka over its real protocol.

pub mod wire;

pub use wire::decode_request;
