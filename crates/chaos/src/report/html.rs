//! The verdict as one HTML page that needs nothing else: no script, no font, no network.

use std::fmt::Write as _;

use crate::experiment::{clock, percent, short};
use crate::verdict::Verdict;

use super::chart;

/// Colors that keep their contrast in both schemes; state is a word and a sign, never color alone.
const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1b1f24;--quiet:#57606a;--ground:#ffffff;--panel:#f6f8fa;--line:#d0d7de;\
--good:#1a7f37;--bad:#cf222e;--fault:#cf222e1f;--leader:#8250df;--p50:#0969da;--p99:#bc4c00;--bar:#4c9ced}\
@media(prefers-color-scheme:dark){:root{--text:#e6edf3;--quiet:#9198a1;--ground:#0d1117;--panel:#161b22;--line:#30363d;\
--good:#3fb950;--bad:#f85149;--fault:#f8514930;--leader:#bc8cff;--p50:#58a6ff;--p99:#f0883e;--bar:#316dca}}\
body{margin:0 auto;max-width:1020px;padding:24px;font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--ground)}\
h1{font-size:24px;margin:0}h2{font-size:17px;margin:32px 0 8px}p{margin:4px 0}.quiet{color:var(--quiet)}\
.good,.bad{font-weight:600;white-space:nowrap}.good{color:var(--good)}.bad{color:var(--bad)}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:5px 10px;border-bottom:1px solid var(--line)}\
th{color:var(--quiet);font-weight:600}td.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}th.number{text-align:right}\
code{font:13px ui-monospace,monospace;background:var(--panel);padding:1px 5px;border-radius:4px;overflow-wrap:anywhere}\
svg{width:100%;height:auto;display:block}svg text{font:11px system-ui,sans-serif;fill:var(--quiet)}\
.grid{stroke:var(--line);stroke-width:1}.fault{fill:var(--fault)}.accepted{fill:var(--bar)}.failed{fill:var(--bad)}\
.p50,.p99{fill:none;stroke-width:2;stroke-linejoin:round}.p50{stroke:var(--p50)}.p99{stroke:var(--p99)}\
.mark-fault{stroke:var(--bad);stroke-width:1.5}.mark-healed{stroke:var(--good);stroke-width:1.5;stroke-dasharray:5 3}\
.mark-leader{stroke:var(--leader);stroke-width:1;stroke-dasharray:2 3}\
.legend span{margin-right:18px;white-space:nowrap}.legend i{display:inline-block;width:14px;height:10px;margin-right:6px;border-radius:2px}\
details{margin-top:8px}summary{cursor:pointer;color:var(--quiet)}.scroll{overflow-x:auto}";

/// The page.
pub fn page(verdict: &Verdict) -> String {
    let mut out = String::with_capacity(32 * 1024);
    let title = escape(&verdict.experiment);
    let state = if verdict.passed { ("good", "✓ PASS") } else { ("bad", "✗ FAIL") };
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}: {}</title><style>{STYLE}</style></head><body>\
         <h1>{title} <span class=\"{}\">{}</span></h1>",
        state.1, state.0, state.1
    );
    if let Some(description) = &verdict.description {
        let _ = write!(out, "<p>{}</p>", escape(description));
    }
    let traffic = &verdict.traffic;
    let share = (traffic.accepted * 1_000_000).checked_div(traffic.sent).unwrap_or(0);
    let _ = write!(
        out,
        "<p class=\"quiet\">{} · {} orders · {} accepted · p50 {} · p99 {} · longest {} · seed {}</p>",
        short(verdict.duration),
        traffic.sent,
        percent(share),
        short(traffic.p50),
        short(traffic.p99),
        short(traffic.longest),
        verdict.seed
    );
    hypotheses(&mut out, verdict);
    charts(&mut out, verdict);
    timeline(&mut out, verdict);
    losses(&mut out, verdict);
    failures(&mut out, verdict);
    let _ = writeln!(out, "<h2>Again</h2><p><code>{}</code></p></body></html>", escape(&verdict.reproduce));
    out
}

fn hypotheses(out: &mut String, verdict: &Verdict) {
    out.push_str("<h2>Hypotheses</h2><div class=\"scroll\"><table><tr><th>Held</th><th>What</th><th>Wanted</th><th>Seen</th></tr>");
    for finding in &verdict.hypotheses {
        let (class, mark) = if finding.passed { ("good", "✓ yes") } else { ("bad", "✗ no") };
        let _ = write!(
            out,
            "<tr><td class=\"{class}\">{mark}</td><td>{}</td><td>{}</td><td>{}",
            escape(&finding.subject),
            escape(&finding.wanted),
            escape(&finding.observed)
        );
        if let Some(cause) = &finding.cause {
            let _ = write!(out, "<p><b>Cause:</b> {}</p>", escape(cause));
        }
        if let Some(next) = &finding.next {
            let _ = write!(out, "<p><b>Try:</b> {}</p>", escape(next));
        }
        out.push_str("</td></tr>");
    }
    out.push_str("</table></div>");
}

fn charts(out: &mut String, verdict: &Verdict) {
    let key = |color: &str, name: &str| format!("<span><i style=\"background:var(--{color})\"></i>{name}</span>");
    let common = [key("fault", "fault in force"), key("leader", "leader moved")].concat();
    let _ = write!(
        out,
        "<h2>Orders per second</h2><p class=\"legend quiet\">{}{}{common}</p>{}",
        key("bar", "accepted"),
        key("bad", "failed"),
        chart::orders(verdict)
    );
    let _ = write!(
        out,
        "<h2>Latency</h2><p class=\"legend quiet\">{}{}{common}</p>{}",
        key("p50", "p50"),
        key("p99", "p99"),
        chart::latency(verdict)
    );
    out.push_str(
        "<details><summary>The same as a table</summary><div class=\"scroll\"><table><tr><th>Second</th><th class=\"number\">Sent</th>\
         <th class=\"number\">Accepted</th><th class=\"number\">p50</th><th class=\"number\">p99</th></tr>",
    );
    for second in &verdict.seconds {
        let at = clock(std::time::Duration::from_secs(second.second));
        let _ = write!(
            out,
            "<tr><td>{at}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td></tr>",
            second.sent,
            second.accepted,
            short(second.p50),
            short(second.p99)
        );
    }
    out.push_str("</table></div></details>");
}

fn timeline(out: &mut String, verdict: &Verdict) {
    out.push_str("<h2>Timeline</h2><div class=\"scroll\"><table><tr><th>Time</th><th>What</th><th></th></tr>");
    for event in &verdict.timeline {
        let (at, word) = (clock(event.at), event.kind.word());
        let _ = write!(out, "<tr><td>{at}</td><td>{word}</td><td>{}</td></tr>", escape(&event.text));
    }
    out.push_str("</table></div>");
}

fn losses(out: &mut String, verdict: &Verdict) {
    out.push_str("<h2>Ledger</h2>");
    if verdict.losses.is_empty() {
        out.push_str(
            "<p class=\"quiet\">Empty: nothing that was acknowledged was lost, read stale or delivered twice.</p>",
        );
    } else {
        out.push_str("<div class=\"scroll\"><table><tr><th class=\"number\">Count</th><th>What</th><th>Of</th><th>Cause</th><th>Allowed by</th></tr>");
        for loss in &verdict.losses {
            let _ = write!(
                out,
                "<tr><td class=\"number\">{}</td><td>{}</td><td>{}<details><summary>by name</summary>{}</details></td>\
                 <td>{}</td><td>{}</td></tr>",
                loss.count,
                escape(&loss.kind.replace('_', " ")),
                escape(&loss.subject),
                escape(&loss.examples.join(" ")),
                escape(&loss.cause),
                escape(&loss.allowed_by)
            );
        }
        out.push_str("</table></div>");
    }
    if let Some(books) = &verdict.books {
        let _ = write!(
            out,
            "<h2>Books</h2><p>{} of {} accepted orders balance, {} after the run.</p>",
            books.balanced,
            books.accepted,
            short(books.after)
        );
        for discrepancy in &books.discrepancies {
            let _ = write!(out, "<p>{}</p>", escape(discrepancy));
        }
    }
}

fn failures(out: &mut String, verdict: &Verdict) {
    if verdict.traffic.failures.is_empty() {
        return;
    }
    out.push_str("<h2>Failed orders</h2><div class=\"scroll\"><table><tr><th class=\"number\">Count</th><th>Reason</th><th>First</th><th>Last</th></tr>");
    for group in &verdict.traffic.failures {
        let _ = write!(
            out,
            "<tr><td class=\"number\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            group.count,
            escape(&group.reason),
            clock(group.first),
            clock(group.last)
        );
    }
    out.push_str("</table></div>");
}

/// Text as text: whatever a service or a file said, it stays text.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}
