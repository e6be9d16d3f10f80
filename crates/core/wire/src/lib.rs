//! Bounded readers and writers for binary wire protocols.
//!
//! Start with [`Reader`]: it walks over [`bytes::Bytes`] that came from a client and never trusts them. A length that the
//! remaining bytes cannot hold is an error before anything is allocated, payloads are slices of the input and not copies,
//! and the elements of all arrays of one message together have a limit. [`Writer`] is its counterpart for replies: small
//! fields are collected in one buffer, large payloads are passed on as they are.
//!
//! Nothing here knows a protocol: integers are big-endian, as network protocols write them, and variable-length integers
//! are the base-128 kind of Protocol Buffers, which Kafka uses as well.

mod error;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use error::{WireError, WireErrorKind};
pub use reader::Reader;
pub use writer::{Writer, uvarint_size, varlong_size};
