//! Kafka over its real protocol: one broker on every node, a controller quorum as under KRaft, replicas that share bytes.
//!
//! Start here:
//! - [`Config`] in `config.rs`: broker and topic options by their real names.
//! - `ops.rs`: the dispatch table, one line per API; `ops/` has one file per operation.
//! - [`Cluster`] in `cluster.rs`: the core, and `cluster/`: brokers, controller, replication, waiting requests.
//! - `state.rs`: metadata and each broker's view of it, partitions as epoch fork trees.
//! - `transactions.rs`: transactions; `groups.rs`: consumer groups; `fetch_sessions.rs`: what clients fetch; `store.rs`: what is on disk.
//! - [`quotas`]: what a user, a client or an address may have.
//! - [`security`]: listeners, authentication, authorization.
//! - `server.rs`: sockets; the only async file. It tells the core which answers have left: `cluster/promises.rs`.
//! - [`wire`]: bytes ↔ requests and responses, generated from Kafka's message definitions.
//!
//! Invariants: the core does no I/O but reading and writing its logs. A broker answers from its own image. A batch is stored
//! and served as it came. What is not implemented is listed in `COVERAGE.md` and answered with Kafka's own error.

mod cluster;
mod config;
mod dynamic;
mod error;
mod features;
mod fetch_sessions;
mod groups;
mod ops;
pub mod quotas;
pub mod security;
mod server;
mod state;
mod store;
mod transactions;
mod transport;
pub mod wire;

pub use cluster::{ACKNOWLEDGED, ANONYMOUS, APPENDED, Caller, Cluster, Outcome, PART, Side, Ticket};
pub use config::{
    CleanerConfig, Config, GROUP_OPTIONS, GroupBounds, GroupTimes, MigrationPolicy, OptionKind, Ratio, SHOWN_OPTIONS,
    SecurityConfig, Shown, TOPIC_OPTIONS, TimestampType, TopicConfig, TopicOption, TransactionConfig, topic_option,
};
pub use error::ErrorCode;
pub use ops::unsupported_api_versions;
pub use server::{Bound, Handle, Kafka};
pub use wire::decode_request;
