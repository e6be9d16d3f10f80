//! The two charts of a report as SVG: how many orders were accepted, and how long they took.

use std::fmt::Write as _;
use std::time::Duration;

use crate::experiment::{clock, short};
use crate::verdict::{EventKind, Verdict};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 10.0;
const HEIGHT: f64 = 150.0;
const BOTTOM: f64 = 24.0;

/// Orders sent and accepted in each second, as bars.
pub(super) fn orders(verdict: &Verdict) -> String {
    let most = verdict.seconds.iter().map(|second| second.sent).max().unwrap_or(1).max(1);
    // A tenth is left free above the bars, where the shading of a fault shows.
    let y = |count: u64| TOP + HEIGHT * (1.0 - count as f64 / (most as f64 * 1.1));
    let mut svg = open(verdict, "Orders per second, accepted and failed");
    for value in [0, most / 2, most] {
        line_y(&mut svg, y(value), &value.to_string());
    }
    let width = (scale(verdict, Duration::from_secs(1)) - LEFT - 1.0).max(0.5);
    for second in &verdict.seconds {
        let x = scale(verdict, Duration::from_secs(second.second));
        let failed = second.sent - second.accepted;
        let title =
            format!("{}: {} accepted, {failed} failed", clock(Duration::from_secs(second.second)), second.accepted);
        bar(&mut svg, "accepted", x, width, y(second.accepted), y(0), &title);
        bar(&mut svg, "failed", x, width, y(second.sent), y(second.accepted), &title);
    }
    close(svg, verdict)
}

/// Latency of each second's accepted orders on a logarithmic scale: the middle and the slowest percent.
pub(super) fn latency(verdict: &Verdict) -> String {
    let longest = verdict.seconds.iter().map(|second| second.p99).max().unwrap_or_default();
    let low = 1.0_f64;
    let high = 10_f64.powf((longest.as_secs_f64() * 1000.0).max(10.0).log10().ceil());
    let y = |latency: Duration| {
        let ms = (latency.as_secs_f64() * 1000.0).clamp(low, high);
        TOP + HEIGHT * (1.0 - (ms / low).log10() / (high / low).log10())
    };
    let mut svg = open(verdict, "Latency of accepted orders, p50 and p99");
    let mut ms = low;
    while ms <= high {
        let mark = Duration::from_secs_f64(ms / 1000.0);
        line_y(&mut svg, y(mark), &short(mark));
        ms *= 10.0;
    }
    for (class, is_p99) in [("p99", true), ("p50", false)] {
        let points = verdict.seconds.iter().filter(|second| second.accepted > 0).map(|second| {
            let x = scale(verdict, Duration::from_millis(second.second * 1000 + 500));
            let value = if is_p99 { second.p99 } else { second.p50 };
            format!("{x:.1},{:.1}", y(value))
        });
        let _ = write!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", points.collect::<Vec<_>>().join(" "));
    }
    close(svg, verdict)
}

fn scale(verdict: &Verdict, at: Duration) -> f64 {
    let whole = verdict.duration.as_secs_f64().max(0.001);
    LEFT + (WIDTH - LEFT - RIGHT) * (at.as_secs_f64() / whole).min(1.0)
}

fn open(verdict: &Verdict, label: &str) -> String {
    let height = TOP + HEIGHT + BOTTOM;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">");
    for window in &verdict.fault_windows {
        let (from, until) = (scale(verdict, window.from), scale(verdict, window.until));
        let width = (until - from).max(1.0);
        let title = format!("fault from {} to {}", clock(window.from), clock(window.until));
        let shape = format!("x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{HEIGHT}\"");
        let _ = write!(svg, "<rect class=\"fault\" {shape}><title>{title}</title></rect>");
    }
    svg
}

fn line_y(svg: &mut String, y: f64, label: &str) {
    let right = WIDTH - RIGHT;
    let _ = write!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
    let _ = write!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 6.0, y + 4.0);
}

fn bar(svg: &mut String, class: &str, x: f64, width: f64, top: f64, bottom: f64, title: &str) {
    if bottom - top < 0.05 {
        return;
    }
    let height = bottom - top;
    let shape = format!("x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"");
    let _ = write!(svg, "<rect class=\"{class}\" {shape}><title>{title}</title></rect>");
}

/// The times along the bottom, and a mark for each event.
fn close(mut svg: String, verdict: &Verdict) -> String {
    let whole = verdict.duration.as_secs().max(1);
    let step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].into_iter().find(|step| whole / step <= 12);
    let bottom = TOP + HEIGHT;
    for second in (0..=whole).step_by(usize::try_from(step.unwrap_or(7200)).unwrap_or(7200)) {
        let x = scale(verdict, Duration::from_secs(second));
        let label = format!("{:02}:{:02}", second / 60, second % 60);
        let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", bottom + 17.0);
    }
    for event in &verdict.timeline {
        let class = match event.kind {
            EventKind::Fault => "mark-fault",
            EventKind::Healed => "mark-healed",
            EventKind::Leader => "mark-leader",
            EventKind::Trouble | EventKind::Recovered | EventKind::Lag => continue,
        };
        let x = scale(verdict, event.at);
        let title = super::html::escape(&format!("{} {}: {}", clock(event.at), event.kind.word(), event.text));
        let line = format!("x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"");
        let _ = write!(svg, "<line class=\"{class}\" {line}><title>{title}</title></line>");
    }
    svg.push_str("</svg>");
    svg
}
