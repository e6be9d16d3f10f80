//! Kafka over its real protocol.
