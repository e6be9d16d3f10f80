//! The cluster: instances, what each believes, how they find failures out, elect, replicate and redirect.
//!
//! - `topology.rs`: which instances there are, and how slots are dealt at the start.
//! - [`Instance`] and [`View`] in `instance.rs`: one server process, and what it believes about all of them.
//! - `bus.rs`: the cluster bus: pings, gossip, PFAIL, FAIL, epochs, slot ownership.
//! - `election.rs`: how a replica becomes a master.
//! - `replication.rs`: offsets between masters and replicas, synchronisation, and what is lost on the way.
//! - `disks.rs`: what the disk of each instance holds, what a power failure takes, and what a bad disk does.
//! - `faults.rs`: what a kill, a pause or a restart of a node does to its instances.
//! - `membership.rs`: who knows whom: MEET, FORGET, RESET, REPLICATE.
//! - `migration.rs`: slots on the move from one master to another, and their keys.
//! - `manual.rs`: failover on request.
//! - `route.rs`: whether a request is served here, redirected or refused.
//! - `saved.rs`: what of all this is kept when the stack starts again.
//! - `stranded.rs`: keys that are left where nobody is sent for them.
//! - `syncs.rs`: what an instance says to have on disk.
//! - `settle.rs`: when all is well the bus rests, because its messages would change nothing.
//!
//! While anything is wrong the bus is simulated message by message, ten times a second per instance as in Redis, over the
//! kernel's links; so the windows of detection and election are Redis's own and not ours.

mod bus;
mod disks;
mod election;
mod faults;
mod instance;
mod manual;
mod membership;
mod migration;
mod replication;
mod route;
mod saved;
mod settle;
pub(crate) mod slots;
mod stranded;
mod syncs;
mod topology;

pub(crate) use bus::{Bus, Message};
pub(crate) use instance::{ClientPause, Instance, InstanceId, Peer, Run, Stats, View};
pub(crate) use migration::{MoveError, MoveOptions, Question};
pub(crate) use replication::Attached;
pub use replication::{REPLICATE, WRITE_ACKNOWLEDGED};
pub(crate) use route::{Route, decide};
pub(crate) use topology::{build, hex_name};
