//! What commands ask of a running stack: newline-delimited JSON over a Unix socket that only its owner may open.
//!
//! A client connects, writes one [`Request`] as a line, and reads [`Frame`]s, one a line, until a result or an error.
//! Frames are bounded on both sides.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Failure;

pub mod client;
pub mod server;

/// The longest frame in bytes: manifests are sent whole.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Everything about the stack.
    Status,
    /// The environment variables that programs are given.
    Environment,
    /// Stop, and delete the data if asked. The connection closes when the process ends.
    Stop {
        /// Whether the data is deleted.
        purge: bool,
    },
    /// The merged log.
    Logs {
        /// Only these sources; empty is all.
        sources: Vec<String>,
        /// The newest so many lines.
        tail: usize,
        /// Whether to go on with what is logged from now on.
        follow: bool,
    },
    /// Do something to a node.
    Node {
        /// What.
        action: NodeAction,
        /// Its number.
        node: u16,
    },
    /// Cut or slow a link.
    Link {
        /// One end: a node's number or `client`.
        from: String,
        /// The other end.
        to: String,
        /// What happens to it.
        action: LinkAction,
        /// Whether only this direction is meant.
        one_way: bool,
        /// Only this part of the stack.
        part: Option<String>,
    },
    /// Cut every link between these groups of nodes.
    Partition {
        /// Disjoint groups of node numbers.
        groups: Vec<Vec<u16>>,
    },
    /// Undo every fault.
    Heal,
    /// What happened to nodes and links since so many events, and what time it is.
    Events {
        /// How many events are known already; None asks for the number only.
        since: Option<u64>,
    },
    /// Do something to a node when a protocol event happens, inside of that event.
    When {
        /// The protocol event: `kafka.produce.acknowledged`.
        point: String,
        /// Only if it happens on this node.
        on: Option<u16>,
        /// On which occurrence, from 1.
        nth: u64,
        /// What.
        action: NodeAction,
        /// To which node.
        node: u16,
    },
    /// What clients lost, read stale or got twice.
    Ledger {
        /// Only this part of the stack.
        part: Option<String>,
        /// The newest so many entries.
        limit: usize,
    },
    /// Apply manifests to the Kubernetes API.
    Apply {
        /// YAML or JSON text, each with the name to report it by.
        documents: Vec<(String, String)>,
    },
}

/// What can be done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum NodeAction {
    /// Its processes die; what was written stays.
    Kill,
    /// Its power fails; what was not synced is lost.
    Power,
    /// It freezes.
    Pause,
    /// It goes on after a pause.
    Resume,
    /// It starts after it was killed or stopped.
    Start,
    /// It shuts down in order.
    Stop,
}

/// What can be done to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkAction {
    /// Everything is lost, in silence.
    Cut,
    /// Connections end with a reset.
    Reset,
    /// Everything arrives this many milliseconds later.
    Slow {
        /// How much later.
        delay_ms: u64,
    },
    /// As before.
    Heal,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Frame {
    /// Something on the way.
    Progress(Value),
    /// One of a sequence of data.
    Item(Value),
    /// The end, well.
    Result(Value),
    /// The end, badly: the line is what [`Failure::to_json`] gives.
    Error(Value),
}

impl Frame {
    fn error(failure: &Failure) -> Frame {
        Frame::Error(failure.to_json()["error"].take())
    }
}
