//! The verdict for a terminal.

use std::fmt::Write as _;

use crate::experiment::{clock, percent, short};
use crate::verdict::{EventKind, Finding, Verdict};

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const DIM: &str = "2";
const BOLD: &str = "1";
/// More events of one kind at one time than this are summed up.
const EVENTS_SHOWN: usize = 4;

/// The verdict as lines of text. `color` adds the escape sequences of a terminal. `report` is the HTML page's file name.
pub fn text(verdict: &Verdict, report: Option<&str>, color: bool) -> String {
    let paint = |code: &str, text: &str| if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let mut out = String::new();
    timeline(&mut out, verdict, &paint);
    for finding in &verdict.hypotheses {
        hypothesis(&mut out, finding, &paint);
    }
    let failed = verdict.hypotheses.iter().filter(|finding| !finding.passed).count();
    let count = verdict.hypotheses.len();
    let (mark, said) = match verdict.passed {
        true => (paint(GREEN, "✓ PASS"), format!("{} of {count} hypotheses held", count - failed)),
        false => (paint(RED, "✗ FAIL"), format!("{failed} of {count} hypotheses did not hold")),
    };
    let _ = writeln!(out, "{mark}  {said}");
    let traffic = &verdict.traffic;
    let share = (traffic.accepted * 1_000_000).checked_div(traffic.sent).unwrap_or(0);
    let _ = writeln!(
        out,
        "  traffic  {} orders, {} accepted, p50 {}, p99 {}, longest {}",
        traffic.sent,
        percent(share),
        short(traffic.p50),
        short(traffic.p99),
        short(traffic.longest)
    );
    for loss in &verdict.losses {
        let _ = writeln!(
            out,
            "  ledger   {} {} {}: {}, allowed by {}",
            loss.count,
            loss.kind.replace('_', " "),
            loss.subject,
            loss.cause,
            loss.allowed_by
        );
    }
    if let Some(report) = report {
        let _ = writeln!(out, "  report   {report}");
    }
    let _ = writeln!(out, "  again    {}", paint(DIM, &verdict.reproduce));
    out
}

fn timeline(out: &mut String, verdict: &Verdict, paint: &impl Fn(&str, &str) -> String) {
    let mut events = verdict.timeline.iter().peekable();
    while let Some(event) = events.next() {
        let code = match event.kind {
            EventKind::Fault => RED,
            EventKind::Trouble | EventKind::Lag => YELLOW,
            EventKind::Healed | EventKind::Recovered => GREEN,
            EventKind::Leader => BOLD,
        };
        let mut text = event.text.clone();
        // After a fault a dozen leaders move within a breath: the first few are named.
        let mut more = 0;
        let mut named = 1;
        while let Some(next) = events.next_if(|next| {
            next.kind == EventKind::Leader && event.kind == EventKind::Leader && (next.at - event.at).as_millis() < 1000
        }) {
            if named < EVENTS_SHOWN {
                text = format!("{text}, {}", next.text);
                named += 1;
            } else {
                more += 1;
            }
        }
        if more > 0 {
            text = format!("{text} and {more} more");
        }
        let word = format!("{:<9}", event.kind.word());
        let _ = writeln!(out, "{}  {} {text}", paint(DIM, &clock(event.at)), paint(code, &word));
    }
}

fn hypothesis(out: &mut String, finding: &Finding, paint: &impl Fn(&str, &str) -> String) {
    let mark = if finding.passed { paint(GREEN, "✓") } else { paint(RED, "✗") };
    let _ = writeln!(out, "{mark} {}: {} (wanted {})", finding.subject, finding.observed, finding.wanted);
    for (word, line) in [("cause", &finding.cause), ("try", &finding.next)] {
        if let Some(line) = line {
            let _ = writeln!(out, "  {} {line}", paint(BOLD, &format!("{word:<6}")));
        }
    }
}
