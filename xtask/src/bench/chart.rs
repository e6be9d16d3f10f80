//! The ratios as a picture: two bars for each case, and the line at 1 where both engines are equal.

use std::fmt::Write;

use super::report::{Comparison, Report};

const ROW: f64 = 34.0;
const LEFT: f64 = 250.0;
const WIDTH: f64 = 420.0;
const TOP: f64 = 70.0;

/// An SVG that explains itself: title, legend, a bar with its value for throughput and for processor time.
pub fn draw(report: &Report, comparisons: &[Comparison]) -> String {
    let largest = comparisons
        .iter()
        .flat_map(|both| [both.throughput_ratio, both.processor_ratio])
        .fold(1.5_f64, f64::max)
        .min(20.0);
    let scale = WIDTH / largest;
    let height = TOP + comparisons.len() as f64 * ROW + 20.0;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{:.0}' height='{height:.0}' font-family='sans-serif' font-size='12'>\n\
         <rect width='100%' height='100%' fill='white'/>\n\
         <text x='12' y='24' font-size='16'>{} beside {}: {}</text>\n\
         <rect x='12' y='38' width='12' height='12' fill='#0072b2'/><text x='30' y='49'>throughput, more is better</text>\n\
         <rect x='222' y='38' width='12' height='12' fill='#e69f00'/><text x='240' y='49'>processor time per operation, less is better</text>\n",
        LEFT + WIDTH + 70.0,
        report.ours,
        report.real,
        report.name,
    );
    for (index, both) in comparisons.iter().enumerate() {
        let top = TOP + index as f64 * ROW;
        let _ =
            writeln!(svg, "<text x='{:.0}' y='{:.0}' text-anchor='end'>{}</text>", LEFT - 8.0, top + 18.0, both.case);
        for (offset, ratio, color) in [(4.0, both.throughput_ratio, "#0072b2"), (16.0, both.processor_ratio, "#e69f00")]
        {
            let width = ratio.min(largest) * scale;
            let _ = writeln!(
                svg,
                "<rect x='{LEFT:.0}' y='{:.0}' width='{width:.1}' height='10' fill='{color}'/>\
                 <text x='{:.1}' y='{:.0}' font-size='10'>{ratio:.2}</text>",
                top + offset,
                LEFT + width + 4.0,
                top + offset + 9.0,
            );
        }
    }
    let one = LEFT + scale;
    let _ = writeln!(
        svg,
        "<line x1='{one:.1}' x2='{one:.1}' y1='{:.0}' y2='{:.0}' stroke='black' stroke-dasharray='3 3'/>",
        TOP - 4.0,
        height - 14.0
    );
    svg.push_str("</svg>\n");
    svg
}
