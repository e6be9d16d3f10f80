//! Virtual machines: what they are, and what state they are in.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Serialize;

use crate::time::{Moment, WallTime};

/// The number of a virtual node, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NodeId(pub u16);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a node is: fixed for the life of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeConfig {
    /// The node's number.
    pub id: NodeId,
    /// The region, as in `topology.kubernetes.io/region`.
    pub region: String,
    /// The zone, as in `topology.kubernetes.io/zone`; Kafka's rack and Cassandra's rack.
    pub zone: String,
    /// Where programs on this machine reach the node: `127.k.0.n`, or `127.0.0.n` for the first instance.
    pub address: Ipv4Addr,
    /// Where pods reach the node: `10.240.0.n`.
    pub pod_side_address: Ipv4Addr,
}

impl NodeConfig {
    /// Node `number` of instance `instance`, in region `local` and a zone of its own.
    pub fn numbered(instance: u8, number: u8) -> NodeConfig {
        NodeConfig {
            id: NodeId(u16::from(number)),
            region: "local".to_owned(),
            zone: format!("zone-{number}"),
            address: Ipv4Addr::new(127, instance, 0, number),
            pod_side_address: Ipv4Addr::new(10, 240, 0, number),
        }
    }
}

/// Whether a node runs, and if not, how it stopped: each looks different to clients (`faults.md`, section 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Serving.
    Running,
    /// Frozen, as by SIGSTOP: connections are accepted by the operating system, then nothing.
    Paused,
    /// Its processes died, or its power failed: connections are reset, new ones refused.
    Killed,
    /// Shut down in order: connections are finished, new ones refused.
    Stopped,
}

impl NodeState {
    /// True unless the node's processes are gone.
    pub fn is_alive(self) -> bool {
        matches!(self, NodeState::Running | NodeState::Paused)
    }
}

/// How wrong a node's wall clock is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ClockSkew {
    /// Milliseconds ahead of true time (negative: behind) at `since`.
    pub offset_ms: i64,
    /// Milliseconds gained per second since then (negative: lost).
    pub drift_ms_per_s: f64,
    /// When offset and drift were set.
    #[serde(skip)]
    pub since: Moment,
}

impl ClockSkew {
    pub(crate) fn apply(&self, now: Moment, true_time: WallTime) -> WallTime {
        let drifted_ms = now.since(self.since).as_secs_f64() * self.drift_ms_per_s;
        WallTime::from_millis(true_time.as_millis().saturating_add(self.offset_ms).saturating_add(drifted_ms as i64))
    }
}

/// The health of a node's disk, as its engines find it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskHealth {
    /// Every operation succeeds.
    #[default]
    Ok,
    /// Writes fail with "no space left on device"; reads succeed.
    Full,
    /// Reads and writes fail with an input/output error.
    Failing,
    /// Every operation takes this much longer.
    Slow(Duration),
}

/// A node's present condition.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// What it is.
    pub config: NodeConfig,
    /// Whether it runs.
    pub state: NodeState,
    /// How wrong its wall clock is.
    pub skew: ClockSkew,
    /// How its disk is.
    pub disk: DiskHealth,
}

impl Node {
    pub(crate) fn new(config: NodeConfig) -> Node {
        Node { config, state: NodeState::Running, skew: ClockSkew::default(), disk: DiskHealth::Ok }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.state == NodeState::Running && self.skew == ClockSkew::default() && self.disk == DiskHealth::Ok
    }
}
