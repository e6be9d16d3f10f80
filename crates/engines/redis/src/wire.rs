//! RESP: bytes ↔ requests and replies. Incremental, bounded, and without copies on the way in.
//!
//! [`Parser`] walks over a connection's read buffer; [`Request`] is what it found there, slices of that buffer; a
//! [`Pipeline`] is all that has arrived together;
//! [`Reply`] writes RESP2 or RESP3 straight into a connection's write buffer.

mod inline;
mod parser;
mod pipeline;
mod reply;
mod request;
#[cfg(test)]
mod tests;

pub(crate) use inline::split_line;
pub use parser::{Limits, Parser, ProtocolError};
pub use pipeline::Pipeline;
pub use reply::Reply;
pub(crate) use reply::format_double;
pub use request::{OwnedRequest, Request};
pub(crate) use request::{encode, encoded_length};
