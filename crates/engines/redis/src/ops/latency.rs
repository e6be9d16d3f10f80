//! LATENCY: <https://redis.io/docs/latest/commands/?name=latency>.

use std::fmt::Write;

use super::{Answer, Command, Session, Then, by_name, is};
use crate::error::Refusal;
use crate::telemetry::{CommandStats, Histogram, LatencyMonitor};
use crate::wire::Reply;

/// How wide a graph is, and how high.
const COLUMNS: usize = 80;
const ROWS: usize = 4;
/// What fills a third of a row, two thirds, and nearly all of it.
const FILLS: [char; 3] = ['_', 'o', '#'];

fn monitor<'s>(session: &'s Session<'_>) -> &'s LatencyMonitor {
    &session.cluster.instances[session.id].telemetry.latency
}

/// The instance's clock in seconds.
fn now_s(session: &Session<'_>) -> i64 {
    session.ctx.wall(session.cluster.instances[session.id].node).as_millis().div_euclid(1000)
}

pub(super) fn history(session: &mut Session<'_>) -> Answer {
    let event = String::from_utf8_lossy(session.arg(2));
    let series = session.cluster.instances[session.id].telemetry.latency.events.get(event.as_ref());
    let out = &mut session.out;
    out.array(series.map_or(0, |series| series.samples.len()));
    for (at_s, milliseconds) in series.iter().flat_map(|series| &series.samples) {
        out.array(2);
        out.integer(*at_s);
        out.integer(*milliseconds as i64);
    }
    Ok(Then::Done)
}

pub(super) fn latest(session: &mut Session<'_>) -> Answer {
    let events = &session.cluster.instances[session.id].telemetry.latency.events;
    let out = &mut session.out;
    out.array(events.len());
    for (event, series) in events {
        let (at_s, milliseconds) = series.samples.back().copied().unwrap_or_default();
        out.array(4);
        out.bulk(event.as_bytes());
        out.integer(at_s);
        out.integer(milliseconds as i64);
        out.integer(series.worst_ms as i64);
    }
    Ok(Then::Done)
}

pub(super) fn reset(session: &mut Session<'_>) -> Answer {
    let events = &mut session.cluster.instances[session.id].telemetry.latency.events;
    let before = events.len();
    if session.request.len() == 2 {
        events.clear();
    } else {
        events.retain(|event, _| !session.request.tail(2).any(|name| is(name, event)));
    }
    session.out.count(before - events.len());
    Ok(Then::Done)
}

pub(super) fn histogram(session: &mut Session<'_>) -> Answer {
    let stats = &session.cluster.instances[session.id].telemetry.commands;
    let mut found: Vec<(&'static Command, &Histogram)> = Vec::new();
    if session.request.len() == 2 {
        found.extend(stats.iter().filter_map(|(command, row)| Some((command, row.histogram.as_deref()?))));
    }
    for name in session.request.tail(2) {
        if let Some(command) = by_name(name) {
            let all = std::iter::once(command).chain(command.subcommands());
            found.extend(all.filter_map(|command| histogram_of(stats, command)));
        }
    }
    session.out.map(found.len());
    for (command, histogram) in found {
        session.out.bulk(command.name.as_bytes());
        distribution(&mut session.out, histogram);
    }
    Ok(Then::Done)
}

fn histogram_of<'s>(stats: &'s CommandStats, command: &'static Command) -> Option<(&'static Command, &'s Histogram)> {
    Some((command, stats.of(command)?.histogram.as_deref()?))
}

fn distribution(out: &mut Reply<'_>, histogram: &Histogram) {
    out.map(2);
    out.bulk(b"calls");
    out.integer(histogram.total() as i64);
    out.bulk(b"histogram_usec");
    let points = histogram.cumulative();
    out.map(points.len());
    for (microseconds, count) in points {
        out.integer(microseconds as i64);
        out.integer(count as i64);
    }
}

pub(super) fn graph(session: &mut Session<'_>) -> Answer {
    let event = String::from_utf8_lossy(session.arg(2)).into_owned();
    let Some((name, series)) = monitor(session).events.get_key_value(event.as_str()) else {
        return Err(Refusal::text(format!("ERR No samples available for event '{event}'")));
    };
    let now_s = now_s(session);
    let samples: Vec<(u64, String)> =
        series.samples.iter().map(|(at_s, milliseconds)| (*milliseconds, age(now_s - at_s))).collect();
    let high = samples.iter().map(|(milliseconds, _)| *milliseconds).max().unwrap_or(0);
    let low = samples.iter().map(|(milliseconds, _)| *milliseconds).min().unwrap_or(0);
    let mut text = format!("{name} - high {high} ms, low {low} ms (all time high {} ms)\n", series.worst_ms);
    text.push_str(&"-".repeat(COLUMNS));
    text.push('\n');
    for (index, part) in samples.chunks(COLUMNS).enumerate() {
        if index > 0 {
            text.push('\n');
        }
        draw(&mut text, part, low, high);
    }
    session.out.verbatim(&text);
    Ok(Then::Done)
}

/// How long ago, in the largest unit that fits.
fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// One column for each sample, its label below it, read downwards.
fn draw(text: &mut String, samples: &[(u64, String)], low: u64, high: u64) {
    let steps = FILLS.len() * ROWS;
    let range = (high - low).max(1);
    let step = |milliseconds: u64| ((milliseconds - low) as usize * steps / range as usize).min(steps - 1);
    for row in 0..ROWS {
        let base = (ROWS - row - 1) * FILLS.len();
        for (milliseconds, _) in samples {
            let step = step(*milliseconds);
            text.push(match step.checked_sub(base) {
                None => ' ',
                Some(fill) => FILLS.get(fill).copied().unwrap_or('|'),
            });
        }
        text.push('\n');
    }
    text.push_str(&" ".repeat(samples.len()));
    text.push('\n');
    let longest = samples.iter().map(|(_, label)| label.len()).max().unwrap_or(0);
    for row in 0..longest {
        text.extend(samples.iter().map(|(_, label)| label.chars().nth(row).unwrap_or(' ')));
        text.push('\n');
    }
}

const DISABLED: &str = "I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this Redis instance. You may use \
                        \"CONFIG SET latency-monitor-threshold <milliseconds>.\" in order to enable it.\n";
const QUIET: &str = "Dave, no latency spike was observed during the lifetime of this Redis instance, not in the slightest \
                     bit. I honestly think you ought to sit down calmly, take a stress pill, and think things over.\n";

pub(super) fn doctor(session: &mut Session<'_>) -> Answer {
    let settings = &session.cluster.config.settings;
    let events = &monitor(session).events;
    let mut report = String::new();
    if events.is_empty() {
        report.push_str(if settings.latency_threshold_ms == 0 { DISABLED } else { QUIET });
    } else {
        report.push_str(
            "Dave, I have observed latency spikes in this Redis instance. You don't mind talking about it, do you Dave?\n\n",
        );
        let now_s = now_s(session);
        for (index, (event, series)) in events.iter().enumerate() {
            let analysis = series.analyse(now_s);
            let count = series.samples.len();
            // Writing into a string cannot fail.
            let _ = writeln!(
                report,
                "{}. {event}: {count} latency spikes (average {}ms, mean deviation {}ms, period {:.2} sec). Worst all time \
                 event {}ms.",
                index + 1,
                analysis.average_ms,
                analysis.deviation_ms,
                analysis.period_s as f64 / count.max(1) as f64,
                series.worst_ms
            );
        }
        report.push_str("\nI have a few advices for you:\n\n");
        for advice in advices(session) {
            let _ = writeln!(report, "- {advice}");
        }
    }
    session.out.verbatim(&report);
    Ok(Then::Done)
}

/// What can be done about the events that were seen.
fn advices(session: &Session<'_>) -> Vec<String> {
    let settings = &session.cluster.config.settings;
    let has = |event: &str| monitor(session).events.contains_key(event);
    let threshold_us = settings.latency_threshold_ms.saturating_mul(1000);
    let mut advices = Vec::new();
    if has("command") {
        match settings.slow_ns {
            None => advices.push(format!(
                "Slow commands are not logged. Enable the slow log with 'CONFIG SET slowlog-log-slower-than {threshold_us}'."
            )),
            Some(slow_ns) if slow_ns / 1000 > threshold_us => advices.push(format!(
                "The slow log leaves out commands that were slow enough for this report. Please use 'CONFIG SET \
                 slowlog-log-slower-than {threshold_us}'."
            )),
            Some(_) => {}
        }
        advices.push("Check the slow log for the commands that take so long: SLOWLOG GET.".to_owned());
    }
    if has("fast-command") {
        advices.push(
            "Commands that are fast by nature were slow: the machine does not give this process enough time. Lower its load."
                .to_owned(),
        );
    }
    if has("command") || has("expire-cycle") || has("eviction-del") {
        advices.push(
            "Deleting, expiring or evicting large values takes long. If you have such, split them into several."
                .to_owned(),
        );
    }
    if has("eviction-cycle") {
        advices.push(
            "Lowering 'maxmemory' at run time, or storing large results, forces many keys to be evicted at once."
                .to_owned(),
        );
    }
    advices
}

pub(super) fn help(session: &mut Session<'_>) -> Answer {
    session.out.statuses(&[
        "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DOCTOR",
        "    Return a human readable latency analysis report.",
        "GRAPH <event>",
        "    Return an ASCII latency graph for the <event> class.",
        "HISTORY <event>",
        "    Return time-latency samples for the <event> class.",
        "LATEST",
        "    Return the latest latency samples for all events.",
        "RESET [<event> ...]",
        "    Reset latency data of one or more <event> classes.",
        "    (default: reset all data for all event classes)",
        "HISTOGRAM [COMMAND ...]",
        "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
        "    If no commands are specified then all histograms are replied.",
        "HELP",
        "    Print this help.",
    ]);
    Ok(Then::Done)
}
