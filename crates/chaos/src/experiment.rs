//! The experiment file: `kind: Experiment`.
//!
//! ```yaml
//! apiVersion: atoll.dev/v1alpha1
//! kind: Experiment
//! metadata: {name: kill-broker}
//! seed: 7
//! warm_up: 5s
//! duration: 60s
//! load: {orders_per_second: 40}
//! hypothesis:
//!   - success_rate: {min: 99 %}
//!   - latency: {quantile: p99, below: 1s, after: healed}
//!   - no_acknowledged_loss: {topics: [orders]}
//!   - recovery: {within: 20s}
//!   - books_balance: {within: 60s}
//! timeline:
//!   - {at: 5s, node: {kill: 2}}
//!   - {at: 35s, node: {start: 2}}
//! ```

use std::fmt;
use std::time::Duration;

mod parse;
mod units;

pub use parse::parse_experiment;
pub use units::{clock, percent, short};

/// The version of the experiment file that is understood.
pub const API_VERSION: &str = "atoll.dev/v1alpha1";
/// The longest experiment file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// The most entries that a timeline has.
pub const STEPS_MAX: usize = 1000;
/// The longest run.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// An experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experiment {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.description`: what it shows, for reports.
    pub description: Option<String>,
    /// The seed of the traffic.
    pub seed: u64,
    /// How long traffic flows before the run begins. It is not judged.
    pub warm_up: Duration,
    /// How long the run lasts.
    pub duration: Duration,
    /// How many orders are sent.
    pub orders_per_second: u32,
    /// What is expected.
    pub hypotheses: Vec<Hypothesis>,
    /// What is done, in the order of the file.
    pub timeline: Vec<Step>,
}

/// Something that is expected of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hypothesis {
    /// So large a share of the orders sent in the window is accepted.
    SuccessRate {
        /// At least so many of a million.
        min_ppm: u32,
        /// Which orders count.
        window: Window,
    },
    /// A quantile of the accepted orders' latency stays below a bound.
    Latency {
        /// Which quantile, in parts of a million: p99 is 990,000.
        quantile_ppm: u32,
        /// The bound.
        below: Duration,
        /// Which orders count.
        window: Window,
    },
    /// Nothing that was acknowledged is lost from these topics and keys.
    NoAcknowledgedLoss {
        /// Kafka topics.
        topics: Vec<String>,
        /// Prefixes of Redis keys.
        keys: Vec<String>,
    },
    /// Counted from the first fault, so soon orders are accepted again, every one, quickly, for five seconds on end.
    Recovery {
        /// How soon.
        within: Duration,
        /// What still counts as quick.
        slower_than: Duration,
    },
    /// Every accepted order is paid once, reserved once and booked once.
    BooksBalance {
        /// How long after the run the books may take.
        within: Duration,
    },
}

/// A part of the run. An order belongs to it if it was due to be sent in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// From beginning to end.
    Whole,
    /// From this time on.
    After(Duration),
    /// From so long after the last fault was undone.
    AfterHealing(Duration),
}

/// One entry of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub when: When,
    /// What.
    pub action: Action,
}

/// When something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// At a time.
    At(Duration),
    /// When a protocol event happens, inside the event: `kafka.produce.acknowledged`.
    Point {
        /// The event's name.
        point: String,
        /// Only on this node.
        node: Option<u16>,
        /// On which occurrence, from 1.
        nth: u64,
    },
}

/// Something that is done to the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To a node.
    Node {
        /// What.
        change: NodeChange,
        /// Its number.
        node: u16,
    },
    /// To a link.
    Link {
        /// What.
        change: LinkChange,
        /// One end.
        from: End,
        /// The other.
        to: End,
        /// Whether only this direction is meant.
        one_way: bool,
    },
    /// Every link between these groups of nodes is cut.
    Partition(Vec<Vec<u16>>),
    /// Every fault is undone.
    Heal,
}

/// What is done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeChange {
    /// Its processes die.
    Kill,
    /// Its power fails.
    Power,
    /// It freezes.
    Pause,
    /// It goes on after a pause.
    Resume,
    /// It starts again.
    Start,
    /// It shuts down in order.
    Stop,
}

/// What is done to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Everything is lost, in silence.
    Cut,
    /// Connections end with a reset.
    Reset,
    /// Everything arrives so much later.
    Slow(Duration),
    /// As before.
    Heal,
}

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Programs outside of the stack.
    Client,
    /// A node.
    Node(u16),
}

/// A place in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// How long it is, in bytes.
    pub length: usize,
}

/// What is wrong at one place of an experiment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What, in a sentence without a full stop.
    pub message: String,
    /// What it should be.
    pub hint: Option<String>,
    /// Where.
    pub place: Place,
}

impl NodeChange {
    /// The word in files and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            NodeChange::Kill => "kill",
            NodeChange::Power => "power",
            NodeChange::Pause => "pause",
            NodeChange::Resume => "resume",
            NodeChange::Start => "start",
            NodeChange::Stop => "stop",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Client => f.write_str("client"),
            End::Node(number) => write!(f, "{number}"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Node { change, node } => {
                let done = match change {
                    NodeChange::Kill => "killed",
                    NodeChange::Power => "lost power",
                    NodeChange::Pause => "paused",
                    NodeChange::Resume => "resumed",
                    NodeChange::Start => "started",
                    NodeChange::Stop => "stopped",
                };
                write!(f, "node {node} {done}")
            }
            Action::Link { change, from, to, one_way } => {
                let arrow = if *one_way { "→" } else { "–" };
                write!(f, "link {from} {arrow} {to} ")?;
                match change {
                    LinkChange::Cut => f.write_str("cut"),
                    LinkChange::Reset => f.write_str("resets connections"),
                    LinkChange::Slow(delay) => write!(f, "slowed by {}", short(*delay)),
                    LinkChange::Heal => f.write_str("healed"),
                }
            }
            Action::Partition(groups) => {
                let side = |group: &Vec<u16>| group.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
                let sides: Vec<String> = groups.iter().map(side).collect();
                // A single group stands against everybody who is not named.
                let rest = if sides.len() == 1 { " | the others" } else { "" };
                write!(f, "nodes divided: {}{rest}", sides.join(" | "))
            }
            Action::Heal => f.write_str("everything healed"),
        }
    }
}
