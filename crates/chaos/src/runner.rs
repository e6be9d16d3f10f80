//! The run itself: which fault is due, what has been seen, and the verdict.
//!
//! The caller keeps time and does what it is told:
//! 1. [`Runner::triggers`] are set in the stack before the run begins.
//! 2. Whenever [`Runner::next_wake`] is reached it does what [`Runner::due`] returns, and reports each fault that the
//!    stack confirms, each order, each leader that moved, with [`Runner::observe`].
//! 3. When [`Runner::is_over`], it heals what is still broken, lets the books settle, and asks for the verdict.

use std::time::Duration;

use crate::experiment::{Action, Experiment, When};
use crate::judge;
use crate::verdict::{Books, Event, EventKind, LedgerEntry, Verdict};

/// The most samples that are kept: an hour at a thousand orders per second and more.
pub const SAMPLES_MAX: usize = 5_000_000;
/// The most other observations of one kind that are kept.
pub const EVENTS_MAX: usize = 100_000;

/// An experiment that is being run.
#[derive(Clone, Debug)]
pub struct Runner {
    experiment: Experiment,
    pending: Vec<(Duration, Action)>,
    seen: Seen,
}

/// Everything that was observed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) samples: Vec<Sample>,
    pub(crate) events: Vec<Event>,
    /// When the last fault in force was undone.
    pub(crate) all_clear: Vec<Duration>,
    pub(crate) lag: Vec<(Duration, u64)>,
    pub(crate) ledger: Vec<LedgerEntry>,
    pub(crate) books: Option<Books>,
}

/// Something that was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// An order was answered, or given up on.
    Order(Sample),
    /// The stack confirms a fault.
    Fault(String),
    /// The stack confirms that a fault was undone.
    Healed {
        /// Which, in words.
        text: String,
        /// True if no other fault is in force.
        is_all: bool,
    },
    /// A leader or primary moved: `orders-0 moved from node 2 to node 3`.
    Leader(String),
    /// So many records are waiting for a consumer.
    Lag(u64),
    /// The ledger has an entry.
    Ledger(LedgerEntry),
    /// The books were read after the run.
    Books(Books),
}

/// One order as the client saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    /// When it was due to be sent. Latency counts from here, so that a generator that falls behind hides nothing.
    pub due: Duration,
    /// How long until it was answered for good, retries included.
    pub latency: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Accepted: from here on it must not be lost.
    Accepted,
    /// Not accepted, for this reason. Whether it was carried out nevertheless is unknown.
    Failed(String),
}

impl Runner {
    /// A run that has not begun.
    pub fn new(experiment: Experiment) -> Runner {
        let mut pending: Vec<(Duration, Action)> = experiment
            .timeline
            .iter()
            .filter_map(|step| match &step.when {
                When::At(at) => Some((*at, step.action.clone())),
                When::Point { .. } => None,
            })
            .collect();
        // A stable sort: what has the same time happens in the order of the file.
        pending.sort_by_key(|(at, _)| *at);
        pending.reverse();
        Runner { experiment, pending, seen: Seen::default() }
    }

    /// The experiment.
    pub fn experiment(&self) -> &Experiment {
        &self.experiment
    }

    /// The actions that happen inside a protocol event: (point, node, occurrence, action).
    pub fn triggers(&self) -> Vec<(&str, Option<u16>, u64, &Action)> {
        let steps = self.experiment.timeline.iter();
        steps
            .filter_map(|step| match &step.when {
                When::At(_) => None,
                When::Point { point, node, nth } => Some((point.as_str(), *node, *nth, &step.action)),
            })
            .collect()
    }

    /// The actions that are due, in order. Each is returned once.
    pub fn due(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        while self.pending.last().is_some_and(|(at, _)| *at <= now) {
            actions.extend(self.pending.pop().map(|(_, action)| action));
        }
        actions
    }

    /// When something is due next: an action, or the end of the run.
    pub fn next_wake(&self) -> Duration {
        self.pending.last().map_or(self.experiment.duration, |(at, _)| *at)
    }

    /// True when the time is up.
    pub fn is_over(&self, now: Duration) -> bool {
        now >= self.experiment.duration && self.pending.is_empty()
    }

    /// Takes in what was observed at a time of the run.
    pub fn observe(&mut self, at: Duration, observation: Observation) {
        let seen = &mut self.seen;
        let mut event = |kind, text| {
            if seen.events.len() < EVENTS_MAX {
                seen.events.push(Event { at, kind, text });
            }
        };
        match observation {
            Observation::Fault(text) => event(EventKind::Fault, text),
            Observation::Healed { text, is_all } => {
                event(EventKind::Healed, text);
                if is_all {
                    seen.all_clear.push(at);
                }
            }
            Observation::Leader(text) => event(EventKind::Leader, text),
            Observation::Order(sample) if seen.samples.len() < SAMPLES_MAX => seen.samples.push(sample),
            Observation::Order(_) => {}
            Observation::Lag(records) if seen.lag.len() < EVENTS_MAX => seen.lag.push((at, records)),
            Observation::Lag(_) => {}
            Observation::Ledger(entry) => seen.ledger.push(entry),
            Observation::Books(books) => seen.books = Some(books),
        }
    }

    /// What came of it. `file` is the experiment file as the user named it, for the command that repeats the run.
    pub fn verdict(self, file: &str) -> Verdict {
        judge::verdict(&self.experiment, self.seen, file)
    }
}
