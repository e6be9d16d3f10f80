//! Who asks, and what they may do: listeners, TLS, SASL and rules of access.
//!
//! - `listeners.rs`: a broker's listeners and their options, by Kafka's names;
//! - `tls.rs`: certificates from options or from the stack's own authority, and the names that clients' certificates give;
//! - `sasl.rs`: the course of an authentication, for one connection;
//! - `scram.rs`: SCRAM's messages and credentials; `jaas.rs`: users of PLAIN as the login modules' options name them;
//! - `acl.rs`: rules of access; `authorizer.rs`: what callers may do by them.
//!
//! Nothing here is on a connection to a plain listener without an authorizer.

pub(crate) mod acl;
mod authorizer;
mod jaas;
mod listeners;
mod sasl;
pub(crate) mod scram;
#[cfg(test)]
mod tests;
pub(crate) mod tls;

pub(crate) use authorizer::Authorizer;
pub use listeners::{ClientAuthentication, ListenerOptions, Protocol, SaslOptions, TlsOptions};
pub use sasl::Session;
pub use tls::Certificates;
