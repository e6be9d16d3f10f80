//! Faults as data: what can be done to a node or a link, what happened when it was, and when it is to happen.

use serde::Serialize;

use crate::node::{DiskHealth, NodeId};
use crate::rule::{Rule, RuleId};

/// Something that can be done to the stack.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The node's processes die. The operating system's page cache stays.
    Kill(NodeId),
    /// The node's power fails: everything unsynced is lost.
    Power(NodeId),
    /// The node freezes.
    Pause(NodeId),
    /// A paused node goes on where it was.
    Resume(NodeId),
    /// A killed or stopped node starts again.
    Start(NodeId),
    /// The node shuts down in order.
    Stop(NodeId),
    /// A rule joins the end of the list.
    AddRule(Rule),
    /// A rule leaves the list.
    RemoveRule(RuleId),
    /// Every rule leaves the list, paused nodes resume, killed and stopped ones start, clocks and disks recover.
    Heal,
    /// The node's wall clock is set wrong, by an offset and a drift.
    Skew {
        /// Which node.
        node: NodeId,
        /// Milliseconds ahead of true time (negative: behind).
        offset_ms: i64,
        /// Milliseconds gained per second (negative: lost).
        drift_ms_per_s: f64,
    },
    /// The node's disk changes.
    Disk {
        /// Which node.
        node: NodeId,
        /// What the disk becomes.
        health: DiskHealth,
    },
}

/// What happened to the stack. Engines are told of each, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultEvent {
    /// The node's processes died; what was written, synced or not, is still there when it starts again.
    Killed(NodeId),
    /// The node's power failed; what was not synced is not there when it starts again.
    PowerLost(NodeId),
    /// The node froze.
    Paused(NodeId),
    /// The node goes on.
    Resumed(NodeId),
    /// The node started after having been killed or stopped.
    Started(NodeId),
    /// The node shut down in order.
    Stopped(NodeId),
    /// The list of rules changed.
    RulesChanged,
    /// The node's wall clock jumped or drifts.
    ClockChanged(NodeId),
    /// The node's disk changed.
    DiskChanged(NodeId, DiskHealth),
}

/// A moment in a protocol that faults can be bound to: `kafka.produce.acknowledged` on node 2.
///
/// The names are constants in the engines, beside the code that reaches them.
pub type Point = &'static str;

/// `when(event) → action`: does `fault` when `point` is reached for the `nth` time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trigger {
    /// The protocol event, by name.
    pub point: String,
    /// Only on this node; None is any.
    pub node: Option<NodeId>,
    /// On which occurrence, from 1, counted from when the trigger was set.
    pub nth: u64,
    /// What then happens.
    pub fault: Fault,
}
