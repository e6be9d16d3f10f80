//! Replication beyond the stack: real servers that follow an instance, and an instance that follows a real server.
//!
//! - `replicas.rs`: those who follow: PSYNC, snapshots, the stream, acknowledgements.
//! - `sync.rs`: full synchronisations, each a snapshot that is written while the data changes.
//! - `upstream.rs` and `source.rs`: the master that a single server follows, and what it sends.
//! - `failover.rs`: a single server hands its place to a replica.
//! - `offsets.rs`: what an instance's stream is called and where it stands, as replicas are told.
//!
//! Instances of the stack follow each other by numbers (`cluster/replication.rs`). Others need bytes: they hang on the
//! same offsets, and get what the instance that they follow has seen itself.

mod failover;
mod offsets;
mod replicas;
mod source;
mod sync;
mod upstream;

use atoll_kernel::{Context, Moment};

pub(crate) use failover::FailoverOptions;
pub(crate) use replicas::{Continuation, Replica, Stage};
pub use source::{BadSource, Part, Source};
use sync::Sync;
pub use upstream::MasterCall;
pub(crate) use upstream::Upstream;

/// All that concerns servers outside of the stack.
#[derive(Debug)]
pub(crate) struct Replication {
    /// Streams have grown since they were last passed on.
    pub(crate) is_dirty: bool,
    /// What names of histories begin with.
    seed: u64,
    /// How many were given.
    histories: u64,
    /// The clients that are replicas, in the order in which they came.
    attached: Vec<usize>,
    syncs: Vec<Sync>,
    syncs_begun: u64,
    /// Connections to masters that are to be made, and how many attempts there were.
    calls: Vec<MasterCall>,
    /// A failover that is under way.
    failover: Option<failover::Failover>,
    attempts: u64,
    next_tick: Option<Moment>,
    pinged_at: Moment,
    /// Since when a single server's stream has had no replica.
    unused_since: Option<Moment>,
}

impl Replication {
    pub(crate) fn new(ctx: &Context<'_>) -> Replication {
        let started = ctx.kernel().wall().as_millis().cast_unsigned();
        Replication {
            is_dirty: false,
            // Another run of the program writes another history, though its seed be the same.
            seed: ctx.random("redis.histories", started).next_u64(),
            histories: 0,
            attached: Vec::new(),
            syncs: Vec::new(),
            syncs_begun: 0,
            calls: Vec::new(),
            failover: None,
            attempts: 0,
            next_tick: None,
            pinged_at: Moment::ZERO,
            unused_since: None,
        }
    }
}
