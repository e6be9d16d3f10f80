//! The kernel: nodes, links, clocks, disks, faults and the ground truth about what they did.
//!
//! It is synchronous, knows no protocol and no tokio. An engine's *core* is plain data that is called with a [`Context`]
//! and asks it for time, randomness, the network's judgement and the state of disks. So the same core runs live under
//! tokio, in a seeded simulation with virtual time, and under text scripts.
//!
//! Start here:
//! - [`Kernel`] in `kernel.rs`: the handle that everything shares; [`Context`]: what a core sees of it.
//! - [`Fault`] and [`FaultEvent`] in `fault.rs`: what can be done to the stack, and what engines are told of it.
//! - [`Rule`] and [`Verdict`] in `rule.rs`: how links are judged.
//! - [`Network`] in `network.rs`: messages between the nodes of one engine.
//! - [`Core`] and [`Simulation`] in `simulation.rs`: how a core is driven, and a thousand faulty runs.
//! - [`ControlPlane`] in `control_plane.rs`: the metadata of an engine cluster, and each node's view of it.
//! - [`Ledger`] in `ledger.rs`: what was lost, stale or doubled, and why.
//!
//! Invariants: nothing here does I/O or blocks, but for the reading of the clock in `time.rs`. Every random decision
//! comes from a stream keyed by (seed, purpose, ordinal). While nothing is wrong, every question costs an atomic read.

mod control_plane;
pub mod disk;
mod fault;
mod kernel;
mod ledger;
mod network;
mod node;
mod rule;
mod seed;
mod simulation;
#[cfg(test)]
mod tests;
mod time;

pub use control_plane::{ControlPlane, NoMajority, QuorumTiming, View};
pub use fault::{Fault, FaultEvent, Point, Trigger};
pub use kernel::{Context, Kernel, RuleGuard};
pub use ledger::{ENTRIES_MAX, Entry, Kind, Ledger};
pub use network::{Envelope, IN_FLIGHT_MAX, Network};
pub use node::{ClockSkew, DiskHealth, Node, NodeConfig, NodeId, NodeState};
pub use rule::{Endpoint, Link, Part, Pattern, Plane, Rule, RuleId, Verdict};
pub use seed::{Seed, Stream};
pub use simulation::{Core, Driver, FaultMenu, Simulation, WALL_AT_START};
pub use time::{Moment, WallTime};
