//! How a verdict is reached. Everything is computed from sorted observations, so the order of arrival does not matter.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::experiment::{Experiment, Hypothesis, Window, clock, percent, short};
use crate::histogram::Histogram;
use crate::runner::{Outcome, Sample, Seen};
use crate::verdict::{
    Books, Event, EventKind, FailureGroup, FaultWindow, Finding, LedgerEntry, Loss, Second, Traffic, Verdict,
};

/// So long everything has to go well for the service to count as recovered.
const STEADY: Duration = Duration::from_secs(5);
/// How many reasons, losses and examples are named.
const NAMED_MAX: usize = 100;

pub(crate) fn verdict(experiment: &Experiment, mut seen: Seen, file: &str) -> Verdict {
    seen.samples.sort();
    seen.ledger.sort();
    seen.all_clear.sort();
    seen.lag.sort();
    seen.events.sort_by(|a, b| (a.at, a.kind, &a.text).cmp(&(b.at, b.kind, &b.text)));
    let windows = fault_windows(experiment, &seen);
    let losses = losses(&seen.ledger);
    let judge = Judge { experiment, seen: &seen, windows: &windows, losses: &losses };
    let hypotheses: Vec<Finding> = experiment.hypotheses.iter().map(|hypothesis| judge.finding(hypothesis)).collect();
    Verdict {
        experiment: experiment.name.clone(),
        description: experiment.description.clone(),
        passed: hypotheses.iter().all(|finding| finding.passed),
        seed: experiment.seed,
        duration: experiment.duration,
        timeline: judge.timeline(),
        traffic: traffic(&seen.samples),
        seconds: seconds(&seen.samples),
        reproduce: format!("atoll chaos run {file} --seed {}", experiment.seed),
        hypotheses,
        fault_windows: windows.clone(),
        losses: losses.clone(),
        books: seen.books.clone(),
    }
}

struct Judge<'a> {
    experiment: &'a Experiment,
    seen: &'a Seen,
    windows: &'a [FaultWindow],
    losses: &'a [Loss],
}

impl Judge<'_> {
    fn finding(&self, hypothesis: &Hypothesis) -> Finding {
        match hypothesis {
            Hypothesis::SuccessRate { min_ppm, window } => self.success_rate(*min_ppm, *window),
            Hypothesis::Latency { quantile_ppm, below, window } => self.latency(*quantile_ppm, *below, *window),
            Hypothesis::NoAcknowledgedLoss { topics, keys } => self.no_loss(topics, keys),
            Hypothesis::Recovery { within, slower_than } => self.recovery(*within, *slower_than),
            Hypothesis::BooksBalance { within } => self.books(*within),
        }
    }

    fn success_rate(&self, min_ppm: u32, window: Window) -> Finding {
        let samples = self.within(window);
        let accepted = samples.iter().filter(|sample| sample.outcome == Outcome::Accepted).count() as u64;
        let sent = samples.len() as u64;
        let ppm = (accepted * 1_000_000).checked_div(sent).unwrap_or(0);
        let passed = sent > 0 && ppm >= u64::from(min_ppm);
        Finding {
            subject: format!("success rate{}", named(window)),
            wanted: format!("at least {}", percent(min_ppm.into())),
            observed: format!("{} ({accepted} of {sent} orders)", percent(ppm)),
            passed,
            cause: (!passed).then(|| match failures(&samples).first() {
                Some(group) => format!(
                    "{} of {} failures: {} (sent {} to {})",
                    group.count,
                    sent - accepted,
                    group.reason,
                    clock(group.first),
                    clock(group.last)
                ),
                None => "no order was sent in this part of the run".to_owned(),
            }),
            next: (!passed).then(|| "see what the services said at that time: `atoll logs gateway orders`".to_owned()),
        }
    }

    fn latency(&self, quantile_ppm: u32, below: Duration, window: Window) -> Finding {
        let samples = self.within(window);
        let accepted = || samples.iter().filter(|sample| sample.outcome == Outcome::Accepted);
        let mut histogram = Histogram::default();
        accepted().for_each(|sample| histogram.record(sample.latency));
        let observed = histogram.quantile(quantile_ppm);
        let passed = histogram.count() > 0 && observed < below;
        let late: Vec<&Sample> = accepted().filter(|sample| sample.latency >= below).copied().collect();
        Finding {
            subject: format!("latency p{}{}", percent(quantile_ppm.into()).trim_end_matches(" %"), named(window)),
            wanted: format!("below {}", short(below)),
            observed: short(observed),
            passed,
            cause: (!passed).then(|| match (late.first(), late.last()) {
                (Some(first), Some(last)) => format!(
                    "{} orders took {} or longer (sent {} to {})",
                    late.len(),
                    short(below),
                    clock(first.due),
                    clock(last.due)
                ),
                _ => "no order was accepted in this part of the run".to_owned(),
            }),
            next: (!passed).then(|| "compare with the faults and leaders in the timeline of the report".to_owned()),
        }
    }

    fn no_loss(&self, topics: &[String], keys: &[String]) -> Finding {
        let is_meant = |loss: &&Loss| {
            loss.kind == "acked_lost"
                && match loss.part.as_str() {
                    "kafka" => topics.contains(&loss.subject),
                    "redis" => keys.iter().any(|prefix| loss.examples.iter().any(|key| key.starts_with(prefix))),
                    _ => false,
                }
        };
        let meant: Vec<&Loss> = self.losses.iter().filter(is_meant).collect();
        let count: u64 = meant.iter().map(|loss| loss.count).sum();
        let all: Vec<&str> = topics.iter().chain(keys).map(String::as_str).collect();
        Finding {
            subject: format!("acknowledged and lost from {}", all.join(", ")),
            wanted: "nothing".to_owned(),
            observed: if count == 0 { "nothing".to_owned() } else { format!("{count} records") },
            passed: count == 0,
            cause: meant
                .first()
                .map(|loss| format!("{}: {}, allowed by {}", loss.subject, loss.cause, loss.allowed_by)),
            next: meant.first().map(|loss| format!("change what allowed it: {}", loss.allowed_by)),
        }
    }

    fn recovery(&self, within: Duration, slower_than: Duration) -> Finding {
        let wanted = format!("within {} of the fault", short(within));
        let subject = "orders accepted quickly again".to_owned();
        let Some(onset) = self.onset() else {
            let cause = Some("no fault was confirmed by the stack".to_owned());
            let next = Some("check the timeline of the experiment".to_owned());
            return Finding { subject, wanted, observed: "nothing to recover from".into(), passed: false, cause, next };
        };
        let recovered = self.recovered(onset, slower_than).map(|at| at.saturating_sub(onset));
        let passed = recovered.is_some_and(|after| after <= within);
        Finding {
            subject,
            wanted,
            observed: match recovered {
                Some(Duration::ZERO) => "at once".to_owned(),
                Some(after) => format!("after {}", short(after)),
                None => "not before the end".to_owned(),
            },
            passed,
            cause: (!passed).then(|| {
                let bad = self.bad(onset, slower_than);
                let failed = bad.iter().filter(|sample| sample.outcome != Outcome::Accepted).count();
                format!("{failed} orders failed and {} took longer than {}", bad.len() - failed, short(slower_than))
            }),
            next: (!passed)
                .then(|| "compare with the time the engines need: faults and leaders in the timeline".to_owned()),
        }
    }

    fn books(&self, within: Duration) -> Finding {
        let subject = "every accepted order paid, reserved and booked once".to_owned();
        let wanted = format!("all, within {} of the run", short(within));
        let Some(Books { accepted, balanced, discrepancies, after }) = &self.seen.books else {
            let cause = Some("the books could not be read".to_owned());
            let next = Some("look for the service: `kubectl get pods`".to_owned());
            return Finding { subject, wanted, observed: "nothing".into(), passed: false, cause, next };
        };
        let passed = accepted == balanced && discrepancies.is_empty() && *after <= within;
        Finding {
            subject,
            wanted,
            observed: format!("{balanced} of {accepted}, {} after the run", short(*after)),
            passed,
            cause: (!passed).then(|| discrepancies.first().cloned().unwrap_or_else(|| "it took too long".to_owned())),
            next: (!passed)
                .then(|| "follow one order through the services: `atoll logs orders payment inventory books`".into()),
        }
    }

    fn within(&self, window: Window) -> Vec<&Sample> {
        let from = match window {
            Window::Whole => Some(Duration::ZERO),
            Window::After(time) => Some(time),
            Window::AfterHealing(margin) => self.healed().map(|healed| healed + margin),
        };
        from.map_or_else(Vec::new, |from| self.seen.samples.iter().filter(|sample| sample.due >= from).collect())
    }

    fn onset(&self) -> Option<Duration> {
        self.windows.first().map(|window| window.from)
    }

    /// When the last fault was undone; None if one stayed in force, or there was none.
    fn healed(&self) -> Option<Duration> {
        self.windows.last().map(|window| window.until).filter(|until| self.seen.all_clear.contains(until))
    }

    /// The orders due after `onset` that failed or took too long.
    fn bad(&self, onset: Duration, slower_than: Duration) -> Vec<&Sample> {
        let is_bad = |sample: &&Sample| {
            sample.due >= onset && (sample.outcome != Outcome::Accepted || sample.latency > slower_than)
        };
        self.seen.samples.iter().filter(is_bad).collect()
    }

    fn recovered(&self, onset: Duration, slower_than: Duration) -> Option<Duration> {
        let mut steady_since = onset;
        for sample in self.bad(onset, slower_than) {
            if sample.due.saturating_sub(steady_since) >= STEADY {
                return Some(steady_since);
            }
            steady_since = sample.due;
        }
        (self.experiment.duration.saturating_sub(steady_since) >= STEADY).then_some(steady_since)
    }

    /// What was reported, and what follows from the samples: when trouble began and ended, and what piled up.
    fn timeline(&self) -> Vec<Event> {
        let mut events = self.seen.events.clone();
        if let Some(onset) = self.onset() {
            let slow = Duration::from_secs(1);
            let bad = self.bad(onset, slow);
            if let Some(first) = bad.first() {
                let failed = bad.iter().filter(|sample| sample.outcome != Outcome::Accepted).count();
                let text = format!("orders are slow or fail: {failed} failed, {} took over 1 s", bad.len() - failed);
                events.push(Event { at: first.due, kind: EventKind::Trouble, text });
                events.extend(self.recovered(onset, slow).filter(|at| *at > first.due).map(|at| {
                    let text = format!("orders are accepted quickly again, {} after the fault", short(at - onset));
                    Event { at, kind: EventKind::Recovered, text }
                }));
            }
            events.extend(self.lag(onset));
        }
        events.sort_by(|a, b| (a.at, a.kind, &a.text).cmp(&(b.at, b.kind, &b.text)));
        events
    }

    fn lag(&self, onset: Duration) -> Option<Event> {
        let usual = self.seen.lag.iter().filter(|(at, _)| *at < onset).map(|(_, records)| *records).max().unwrap_or(0);
        let (peak_at, peak) =
            self.seen.lag.iter().filter(|(at, _)| *at >= onset).copied().max_by_key(|(_, records)| *records)?;
        if peak <= usual.saturating_mul(2).max(10) {
            return None;
        }
        let from = self.healed().unwrap_or(peak_at).max(peak_at);
        match self.seen.lag.iter().find(|(at, records)| *at >= peak_at && *records <= usual) {
            Some((at, records)) => {
                let text = format!("lag {peak} → {records} in {}", short(at.saturating_sub(from)));
                Some(Event { at: *at, kind: EventKind::Lag, text })
            }
            None => Some(Event { at: peak_at, kind: EventKind::Lag, text: format!("lag {peak}, not worked off") }),
        }
    }
}

fn named(window: Window) -> String {
    match window {
        Window::Whole => String::new(),
        Window::After(time) => format!(" after {}", clock(time)),
        Window::AfterHealing(Duration::ZERO) => " after healing".to_owned(),
        Window::AfterHealing(margin) => format!(" from {} after healing", short(margin)),
    }
}

fn fault_windows(experiment: &Experiment, seen: &Seen) -> Vec<FaultWindow> {
    let mut windows: Vec<FaultWindow> = Vec::new();
    for event in seen.events.iter().filter(|event| event.kind == EventKind::Fault) {
        if windows.last().is_some_and(|window| event.at <= window.until) {
            continue;
        }
        let until = seen.all_clear.iter().find(|at| **at >= event.at).copied().unwrap_or(experiment.duration);
        windows.push(FaultWindow { from: event.at, until: until.max(event.at) });
    }
    windows
}

fn failures(samples: &[&Sample]) -> Vec<FailureGroup> {
    let mut groups: BTreeMap<&str, FailureGroup> = BTreeMap::new();
    for sample in samples {
        let Outcome::Failed(reason) = &sample.outcome else { continue };
        let fresh = || FailureGroup { reason: reason.clone(), count: 0, first: sample.due, last: sample.due };
        let group = groups.entry(reason).or_insert_with(fresh);
        group.count += 1;
        group.last = sample.due;
    }
    let mut groups: Vec<FailureGroup> = groups.into_values().collect();
    groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.reason.cmp(&b.reason)));
    groups.truncate(NAMED_MAX);
    groups
}

fn traffic(samples: &[Sample]) -> Traffic {
    let mut histogram = Histogram::default();
    let accepted = samples.iter().filter(|sample| sample.outcome == Outcome::Accepted);
    accepted.for_each(|sample| histogram.record(sample.latency));
    Traffic {
        sent: samples.len() as u64,
        accepted: histogram.count(),
        failures: failures(&samples.iter().collect::<Vec<_>>()),
        p50: histogram.quantile(500_000),
        p99: histogram.quantile(990_000),
        longest: histogram.longest(),
    }
}

fn seconds(samples: &[Sample]) -> Vec<Second> {
    let mut by_second: BTreeMap<u64, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        by_second.entry(sample.due.as_secs()).or_default().push(sample);
    }
    let summary = |(second, samples): (u64, Vec<&Sample>)| {
        let mut histogram = Histogram::default();
        let accepted = samples.iter().filter(|sample| sample.outcome == Outcome::Accepted);
        accepted.for_each(|sample| histogram.record(sample.latency));
        let (p50, p99) = (histogram.quantile(500_000), histogram.quantile(990_000));
        Second { second, sent: samples.len() as u64, accepted: histogram.count(), p50, p99 }
    };
    by_second.into_iter().map(summary).collect()
}

/// Groups the ledger: a thousand lost records of one topic and one cause are one line with examples.
fn losses(ledger: &[LedgerEntry]) -> Vec<Loss> {
    let mut groups: BTreeMap<(String, String, String, String, String), Loss> = BTreeMap::new();
    for entry in ledger {
        let subject = subject(entry);
        // Causes name offsets and epochs; without the numbers they are equal.
        let cause: String = entry.cause.chars().filter(|c| !c.is_ascii_digit()).collect();
        let key = (entry.part.clone(), entry.kind.clone(), subject.clone(), cause, entry.allowed_by.clone());
        let fresh = || Loss {
            part: entry.part.clone(),
            kind: entry.kind.clone(),
            subject,
            cause: entry.cause.clone(),
            allowed_by: entry.allowed_by.clone(),
            count: 0,
            examples: Vec::new(),
        };
        let loss = groups.entry(key).or_insert_with(fresh);
        loss.count += entry.count;
        if loss.examples.len() < NAMED_MAX {
            loss.examples.push(entry.subject.clone());
        }
    }
    groups.into_values().collect()
}

/// What an entry is about: the topic of `topic-partition@offset`, what stands before the first colon of a key.
fn subject(entry: &LedgerEntry) -> String {
    let whole = entry.subject.as_str();
    match entry.part.as_str() {
        "kafka" => {
            let partition = whole.split_once('@').map_or(whole, |(partition, _)| partition);
            partition.rsplit_once('-').map_or(partition, |(topic, _)| topic).to_owned()
        }
        "redis" => whole.split_once(':').map_or_else(|| whole.to_owned(), |(prefix, _)| format!("{prefix}:…")),
        _ => whole.to_owned(),
    }
}
