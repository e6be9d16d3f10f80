//! Bytes ↔ requests, responses and record batches: all in the crate `atoll-kafka-wire`, which takes long to compile and
//! seldom changes.

pub use atoll_kafka_wire::*;
