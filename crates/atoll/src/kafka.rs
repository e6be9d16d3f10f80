//! A client of the stack's own Kafka, for `atoll kafka`: just enough for a look and a record or two.
//!
//! It is a client like any other: it connects to the brokers' addresses, over their sockets, and sees what every client sees, faults
//! included. `client.rs` knows brokers and leaders, `connection.rs` one socket, `records.rs` what goes over it.

mod client;
mod connection;
mod errors;
mod partitioner;
mod records;
#[cfg(test)]
mod tests;

pub use client::{Client, NewTopic};
pub use records::{Batch, Identity, Start};
