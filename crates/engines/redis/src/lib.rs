//! Redis Cluster over its real protocol: Redis 7.2's commands, its failures, and what they do to data.
//!
//! Start here:
//! - [`Cluster`] in `core.rs`: the whole cluster as plain data; [`Cluster::apply`] executes a request.
//! - `ops.rs`: the dispatch table, and `ops/<family>.rs`: the commands.
//! - `state.rs`: values, the key space, and the one physical copy that replicas share until they differ.
//! - `acl.rs`: users, and what they may do.
//! - `cluster.rs`: failure detection, elections, replication, redirects.
//! - `replication.rs`: real servers that follow an instance, or that a single server follows.
//! - `wire.rs`: RESP; `rdb.rs`: Redis's binary format, of DUMP and of `dump.rdb`.
//! - `server.rs`: the only async file, with `server/accept.rs` for connections that come in, `server/follower.rs` and
//!   `server/mover.rs` for those that go out; [`Redis::start`]. `tls.rs`: their TLS.
//!
//! Invariants: the core is synchronous and does no I/O. Each instance answers from its own view only. A write that was
//! acknowledged is either there or named in the kernel's ledger. `COVERAGE.md` lists what is not here.

mod acl;
mod clients;
mod cluster;
mod config;
mod core;
mod error;
mod journal;
mod nodes_file;
mod notify;
mod ops;
mod persistence;
mod process;
mod pubsub;
pub mod rdb;
mod replication;
mod saver;
mod scripting;
mod server;
mod state;
mod status;
mod telemetry;
#[cfg(test)]
mod tests;
mod tls;
mod tracking;
mod user_file;
pub mod wire;

pub use clients::ConnId;
pub use cluster::{REPLICATE, WRITE_ACKNOWLEDGED};
pub use config::{Config, ConfigError, OPTIONS, OptionInfo, OptionKind, every_option, option};
pub use core::{Cluster, Delivery, InstanceAddress, LoadError, MoveCall, MoveStage, Outcome, SavePart, UserFileWish};

pub use replication::{BadSource, MasterCall, Part, Source};
pub use server::{Handle, PART, Redis};
pub use tls::Certificates;

/// The release of Redis that this stands in for.
pub const VERSION: &str = "7.2.4";
