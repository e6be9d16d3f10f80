//! The door to sockets: listeners on node addresses, connections that faults act on, and the threads that engines run on.
//!
//! Clients see the four appearances of trouble (`faults.md`, section 0) without any code in the engines: a killed node
//! resets its connections and refuses new ones, a cut link is silent, a paused node accepts and hangs, a stopped node
//! finishes its connections in order.
//!
//! Start here:
//! - [`Host`] in `host.rs`: what every part of the stack is given to live on.
//! - [`Listener`] in `listener.rs`: one node's address and one port.
//! - [`Connection`] in `connection.rs`: a byte stream whose link is judged for as long as it lives.
//! - [`Transport`] in `transport.rs`: the same, perhaps over TLS; `tls.rs` has handshakes and what configurations are made from.
//! - [`Live`] and [`engine_thread`] in `live.rs`: how a synchronous core is driven in real time.
//! - [`Doors`] in `doors.rs`: how the mesh hands a pod's captured socket to an engine inside the process.
//!
//! Invariants: no protocol is known here. While nothing is wrong a read or write costs one atomic load more than without.

#![allow(clippy::disallowed_methods, reason = "this crate is the door to sockets")]

mod connection;
mod doors;
mod gate;
mod host;
mod limits;
mod listener;
mod live;
#[cfg(test)]
mod tests;
mod tls;
mod transport;

pub use connection::{Connection, dial, within};
pub use doors::{Arrival, Doors};
pub use gate::Condition;
pub use host::{Host, Peer};
pub use limits::{Limits, Permit, Permits};
pub use listener::{BACKLOG, Listener};
pub use live::{EngineThread, Live, engine_thread};
pub use tls::{
    ClientCertificates, HANDSHAKE_PATIENCE, Identity, Pem, accept_tls, certificates, connect_tls, protocol_versions,
    server_config,
};
pub use transport::Transport;
