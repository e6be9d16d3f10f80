//! What came of an experiment.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

/// What came of an experiment, with everything that a reader needs to believe it. Times count from the run's beginning.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The experiment's name.
    pub experiment: String,
    /// What it shows.
    pub description: Option<String>,
    /// True if every hypothesis held.
    pub passed: bool,
    /// The seed of the traffic.
    pub seed: u64,
    /// How long the run lasted.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: Duration,
    /// How each hypothesis fared, in the order of the file.
    pub hypotheses: Vec<Finding>,
    /// What was seen to happen, in order.
    pub timeline: Vec<Event>,
    /// When at least one fault was in force.
    pub fault_windows: Vec<FaultWindow>,
    /// What was sent and answered.
    pub traffic: Traffic,
    /// The run second by second.
    pub seconds: Vec<Second>,
    /// The ledger of the run, grouped by what was hit and why.
    pub losses: Vec<Loss>,
    /// What the books said afterwards; None if nobody asked them.
    pub books: Option<Books>,
    /// The command that repeats the run.
    pub reproduce: String,
}

/// How one hypothesis fared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `success rate`, `latency p99 after healing`.
    pub subject: String,
    /// What was expected.
    pub wanted: String,
    /// What was seen.
    pub observed: String,
    /// True if it held.
    pub passed: bool,
    /// Why it did not hold, as far as that can be told.
    pub cause: Option<String>,
    /// What to do or look at next, if it did not hold.
    pub next: Option<String>,
}

/// What was seen to happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When.
    #[serde(rename = "at_ms", serialize_with = "milliseconds")]
    pub at: Duration,
    /// Of what kind.
    pub kind: EventKind,
    /// In words.
    pub text: String,
}

/// Of what kind an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A fault was injected.
    Fault,
    /// Orders began to fail or to be slow.
    Trouble,
    /// A leader or primary moved.
    Leader,
    /// A fault was undone.
    Healed,
    /// Orders were accepted quickly again.
    Recovered,
    /// What had piled up was worked off.
    Lag,
}

impl EventKind {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            EventKind::Fault => "fault",
            EventKind::Trouble => "trouble",
            EventKind::Leader => "leader",
            EventKind::Healed => "healed",
            EventKind::Recovered => "recovered",
            EventKind::Lag => "lag",
        }
    }
}

/// A time in which at least one fault was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultWindow {
    /// From when.
    #[serde(rename = "from_ms", serialize_with = "milliseconds")]
    pub from: Duration,
    /// Until when.
    #[serde(rename = "until_ms", serialize_with = "milliseconds")]
    pub until: Duration,
}

/// What was sent and answered, over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Orders sent.
    pub sent: u64,
    /// Orders accepted.
    pub accepted: u64,
    /// Orders not accepted, by reason, the most frequent first.
    pub failures: Vec<FailureGroup>,
    /// Latency of the accepted orders: half were quicker.
    #[serde(rename = "p50_ms", serialize_with = "milliseconds")]
    pub p50: Duration,
    /// Latency of the accepted orders: 99 of 100 were quicker.
    #[serde(rename = "p99_ms", serialize_with = "milliseconds")]
    pub p99: Duration,
    /// The slowest accepted order.
    #[serde(rename = "longest_ms", serialize_with = "milliseconds")]
    pub longest: Duration,
}

/// Orders that failed for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailureGroup {
    /// The reason, as the client saw it.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// When the first of them was sent.
    #[serde(rename = "first_ms", serialize_with = "milliseconds")]
    pub first: Duration,
    /// When the last of them was sent.
    #[serde(rename = "last_ms", serialize_with = "milliseconds")]
    pub last: Duration,
}

/// The orders that were due in one second of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Second {
    /// Which second, from 0.
    pub second: u64,
    /// Orders sent.
    pub sent: u64,
    /// Orders accepted.
    pub accepted: u64,
    /// Latency of the accepted ones: half were quicker.
    #[serde(rename = "p50_ms", serialize_with = "milliseconds")]
    pub p50: Duration,
    /// Latency of the accepted ones: 99 of 100 were quicker.
    #[serde(rename = "p99_ms", serialize_with = "milliseconds")]
    pub p99: Duration,
}

/// Entries of the ledger that have what they hit, the cause and the configuration in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Loss {
    /// The part of the stack.
    pub part: String,
    /// What went wrong: `acked_lost`, `stale_read` …
    pub kind: String,
    /// What it happened to: a topic, or a prefix of keys.
    pub subject: String,
    /// What happened.
    pub cause: String,
    /// The configuration that allowed it.
    pub allowed_by: String,
    /// How many records or reads.
    pub count: u64,
    /// Some of them by name.
    pub examples: Vec<String>,
}

/// One entry of the ledger, as the kernel's `Entry` is written in JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct LedgerEntry {
    /// The part of the stack.
    pub part: String,
    /// What went wrong: `acked_lost`, `stale_read` …
    pub kind: String,
    /// What it happened to: a key, or `topic-partition@offset`.
    pub subject: String,
    /// How many.
    pub count: u64,
    /// What happened.
    pub cause: String,
    /// The configuration that allowed it.
    pub allowed_by: String,
}

/// What the books said after the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Books {
    /// Orders accepted.
    pub accepted: u64,
    /// Accepted orders that are paid once, reserved once and booked once.
    pub balanced: u64,
    /// The others, in words, at most a hundred.
    pub discrepancies: Vec<String>,
    /// How long after the run the books balanced, or were given up on.
    #[serde(rename = "after_ms", serialize_with = "milliseconds")]
    pub after: Duration,
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let tenths = duration.as_micros() / 100;
    // At most a few days in tenths of a millisecond: far below where a double loses whole numbers.
    serializer.serialize_f64(tenths as f64 / 10.0)
}
