//! Orders flow until they are told to stop; then the books are compared.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use atoll_chaos::{Histogram, Outcome, Sample};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use super::DemoArguments;
use crate::error::{Code, Failure, Result};
use crate::files;
use crate::load::orders::Source;
use crate::load::{Load, books};
use crate::output::{LiveLine, Output, Table};
use crate::registry::{Entry, Registry};
use crate::signals::Signals;

/// The longest file of orders that is read, in bytes.
const ORDERS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long the pipeline may take to empty itself at the end.
const BOOKS_PATIENCE: Duration = Duration::from_secs(60);
/// How often long runs compare the books, so that the application need not keep every order.
const COMPARE_INTERVAL: Duration = Duration::from_secs(120);
/// How many discrepancies are shown.
const SHOWN_MAX: usize = 20;

/// Ids of one run begin alike, and unlike those of every other run.
pub(super) fn run_name() -> String {
    // The standard library keys its hash tables from the operating system's randomness.
    format!("{:x}", RandomState::new().hash_one(std::process::id()) & 0xffff_ffff)
}

/// The orders that are to be sent.
pub(super) fn source(arguments: &DemoArguments) -> Result<(Source, String)> {
    let run = run_name();
    let Some(file) = &arguments.orders else {
        return Ok((Source::drawn(arguments.seed, arguments.rate, &run), run));
    };
    let shown = file.display();
    let text = files::read_text(file, ORDERS_BYTES_MAX)
        .map_err(|error| Failure::new(Code::StackFileUnreadable, format!("{shown}: {error}")))?;
    match Source::read(&text, arguments.seed, arguments.rate, &run) {
        Ok(source) => Ok((source, run)),
        Err((line, reason)) => Err(Failure::new(Code::Usage, format!("{shown}:{line}: {reason}"))
            .hint("write one order a line: {\"customer\":\"ada\",\"items\":[{\"sku\":\"tea\",\"quantity\":2,\"price_cents\":450}]}")),
    }
}

/// Sends orders, says how they fare, and returns what came of them.
pub(super) async fn run(
    entry: &Entry,
    targets: &[SocketAddr],
    source: (Source, String),
    arguments: &DemoArguments,
    output: Output,
) -> Result<Value> {
    let (source, run) = source;
    let mut signals =
        Signals::take_over().map_err(|error| Failure::new(Code::StartFailed, format!("signals: {error}")))?;
    let load = Load::start(targets, source);
    let mut tally = Tally::default();
    let mut settled = BTreeSet::new();
    let mut status = StatusLine::new(output);
    let ending = flow(&load, entry, arguments, &mut signals, &mut tally, (&run, &mut settled), &mut status).await;
    load.stop();
    status.end();
    if ending != Ending::StackGone {
        output.say("waiting for the last orders, and for the books …");
        load.all_answered().await;
    }
    tally.add(load.take_answers());
    let patience = if ending == Ending::StackGone { Duration::ZERO } else { BOOKS_PATIENCE };
    let accepted = load.accepted();
    let found = books::reconcile(load.balancer(), &accepted, &run, &mut settled, patience).await;
    Ok(result(&tally, found, ending, &run))
}

/// Why the orders ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// All were sent, or the time was up.
    Done,
    /// A signal.
    Interrupted,
    /// The stack was stopped.
    StackGone,
}

async fn flow(
    load: &Load,
    entry: &Entry,
    arguments: &DemoArguments,
    signals: &mut Signals,
    tally: &mut Tally,
    (run, settled): (&str, &mut BTreeSet<String>),
    status: &mut StatusLine,
) -> Ending {
    let end = arguments.duration.map(|seconds| load.started() + Duration::from_secs(seconds));
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut compared = Instant::now();
    loop {
        tokio::select! {
            biased;
            _ = signals.next() => return Ending::Interrupted,
            _ = tick.tick() => {}
        }
        let answers = load.take_answers();
        status.show(&answers, load);
        tally.add(answers);
        if end.is_some_and(|end| Instant::now() >= end) || (load.is_over() && load.under_way() == 0) {
            return Ending::Done;
        }
        if !is_running(entry) {
            return Ending::StackGone;
        }
        if compared.elapsed() > COMPARE_INTERVAL {
            // What is wrong now may only be on its way; what is right now need not be looked at again.
            let _ = books::reconcile(load.balancer(), &load.accepted(), run, settled, Duration::ZERO).await;
            compared = Instant::now();
        }
    }
}

fn is_running(entry: &Entry) -> bool {
    let running = Registry::open().and_then(|registry| registry.running());
    // Not being able to look is no reason to stop.
    running.map_or(true, |entries| entries.iter().any(|other| other.pid == entry.pid))
}

/// What came of all orders.
#[derive(Default)]
struct Tally {
    sent: u64,
    accepted: u64,
    failures: std::collections::BTreeMap<String, u64>,
    latency: Histogram,
}

impl Tally {
    fn add(&mut self, answers: Vec<Sample>) {
        for Sample { latency, outcome, .. } in answers {
            self.sent += 1;
            match outcome {
                Outcome::Accepted => {
                    self.accepted += 1;
                    self.latency.record(latency);
                }
                Outcome::Failed(reason) => *self.failures.entry(reason).or_default() += 1,
            }
        }
    }
}

/// A line that says how orders fare: rewritten in place on a terminal, every ten seconds elsewhere.
struct StatusLine {
    output: Output,
    line: LiveLine,
    seconds: u64,
    recent: Vec<(u64, u64, Histogram)>,
}

impl StatusLine {
    fn new(output: Output) -> StatusLine {
        StatusLine { output, line: LiveLine::new(output), seconds: 0, recent: Vec::new() }
    }

    fn show(&mut self, answers: &[Sample], load: &Load) {
        let mut second = (answers.len() as u64, 0, Histogram::default());
        for answer in answers {
            match answer.outcome {
                Outcome::Accepted => second.2.record(answer.latency),
                Outcome::Failed(_) => second.1 += 1,
            }
        }
        self.recent.push(second);
        if self.recent.len() > 10 {
            self.recent.remove(0);
        }
        self.seconds += 1;
        let text = self.text(load);
        if self.line.is_on() {
            self.line.show(&text);
        } else if self.seconds % 10 == 1 && self.seconds > 1 {
            self.output.say(&text);
        }
    }

    fn text(&self, load: &Load) -> String {
        let mut latency = Histogram::default();
        let (mut answered, mut failed) = (0, 0);
        for (all, bad, histogram) in &self.recent {
            answered += all;
            failed += bad;
            latency.add(histogram);
        }
        let rate = answered as f64 / self.recent.len().max(1) as f64;
        let errors = 100.0 * failed as f64 / answered.max(1) as f64;
        let p99 = latency.quantile(990_000).as_millis();
        let (accepted, under_way) = (load.accepted_count(), load.under_way());
        format!(
            "  Traffic   {rate:.0} orders/s, p99 {p99} ms, errors {errors:.1} %, {accepted} accepted, {under_way} under way"
        )
    }

    fn end(&mut self) {
        self.line.keep();
    }
}

fn result(
    tally: &Tally,
    found: std::result::Result<books::Reconciliation, String>,
    ending: Ending,
    run: &str,
) -> Value {
    let ms = |duration: Duration| duration.as_micros() as f64 / 1000.0;
    let mut result = json!({
        "run": run,
        "sent": tally.sent,
        "accepted": tally.accepted,
        "failures": tally.failures,
        "latencyMilliseconds": {
            "p50": ms(tally.latency.quantile(500_000)),
            "p99": ms(tally.latency.quantile(990_000)),
            "longest": ms(tally.latency.longest()),
        },
        "interrupted": ending == Ending::Interrupted,
        "stackGone": ending == Ending::StackGone,
    });
    match found {
        Ok(found) => {
            result["balanced"] = json!(found.is_balanced());
            result["books"] = json!(found);
        }
        Err(reason) => {
            result["balanced"] = json!(false);
            result["books"] = json!({ "unreadable": reason });
        }
    }
    result
}

/// The result for people.
pub(super) fn table(result: &Value, output: Output) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let latency = |name: &str| result["latencyMilliseconds"][name].as_f64().unwrap_or(0.0);
    let mut text = format!(
        "{} orders sent, {} accepted; p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms\n",
        number(&result["sent"]),
        number(&result["accepted"]),
        latency("p50"),
        latency("p99"),
        latency("longest")
    );
    for (reason, count) in result["failures"].as_object().into_iter().flatten() {
        text.push_str(&format!("  {count} failed: {reason}\n"));
    }
    let books = &result["books"];
    if let Some(reason) = books["unreadable"].as_str() {
        text.push_str(&format!("the books cannot be read: {reason}\n"));
        return text;
    }
    let (accepted, balanced) = (number(&books["accepted"]), number(&books["balanced"]));
    text.push_str(&format!("books: {balanced} of {accepted} accepted orders paid, reserved and booked once\n"));
    let discrepancies: Vec<&Value> = books["discrepancies"].as_array().into_iter().flatten().collect();
    if !discrepancies.is_empty() {
        let mut table = Table::new(&["order", "accepted", "paid", "reserved", "booked"]);
        for entry in discrepancies.iter().take(SHOWN_MAX) {
            let cell = |name: &str| entry[name].as_str().map_or_else(|| entry[name].to_string(), str::to_owned);
            table.row(["order", "accepted", "paid", "reserved", "booked"].map(cell).to_vec());
        }
        text.push_str(&table.render(output.colors_data()));
        if discrepancies.len() > SHOWN_MAX {
            text.push_str(&format!("and {} more; see them all with --json\n", discrepancies.len() - SHOWN_MAX));
        }
    }
    text
}
