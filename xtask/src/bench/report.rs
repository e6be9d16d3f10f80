//! Samples become medians and ratios: a table on stdout, JSON and a chart in `target/bench`.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::{chart, repository};

/// One run of one case against one engine.
#[derive(Clone, Copy)]
pub struct Sample {
    /// Operations or records a second, as the load generator counted them.
    pub throughput: f64,
    /// Processor time of the server for one operation, in microseconds.
    pub processor_us: f64,
    /// Latencies in milliseconds, as the load generator saw them; zero where it does not tell.
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Sample {
    pub fn processor(time: Duration, operations: u64) -> f64 {
        time.as_secs_f64() * 1e6 / operations as f64
    }
}

/// A case with the samples of both sides.
pub struct Row {
    pub case: String,
    pub real: Vec<Sample>,
    pub ours: Vec<Sample>,
    /// Why there is nothing to compare.
    pub trouble: Option<String>,
}

/// A figure that is not a throughput, such as resident memory: smaller is better.
pub struct Figure {
    pub name: String,
    pub unit: &'static str,
    pub real: f64,
    pub ours: f64,
}

pub struct Report {
    /// `redis`, `kafka`: the name of the files.
    pub name: &'static str,
    pub real: &'static str,
    pub ours: &'static str,
    pub rows: Vec<Row>,
    pub figures: Vec<Figure>,
}

/// The medians of a row, and how ours relates to the real one.
pub struct Comparison {
    pub case: String,
    pub real: Sample,
    pub ours: Sample,
    /// More than 1 is better.
    pub throughput_ratio: f64,
    /// Less than 1 is better.
    pub processor_ratio: f64,
}

impl Row {
    /// The comparison, unless one side has no sample.
    pub fn compare(&self) -> Option<Comparison> {
        let (real, ours) = (middle(&self.real)?, middle(&self.ours)?);
        Some(Comparison {
            case: self.case.clone(),
            throughput_ratio: ours.throughput / real.throughput,
            processor_ratio: ours.processor_us / real.processor_us,
            real,
            ours,
        })
    }
}

fn middle(samples: &[Sample]) -> Option<Sample> {
    let of = |field: fn(&Sample) -> f64| median(samples.iter().map(field).collect());
    Some(Sample {
        throughput: of(|sample| sample.throughput)?,
        processor_us: of(|sample| sample.processor_us)?,
        p50_ms: of(|sample| sample.p50_ms)?,
        p99_ms: of(|sample| sample.p99_ms)?,
    })
}

/// The middle value, or the mean of the middle two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[half]),
        _ => Some((values[half - 1] + values[half]) / 2.0),
    }
}

impl Report {
    /// Prints the table and writes the files.
    pub fn finish(&self) -> Result<()> {
        print!("{}", self.table());
        let folder = repository()?.join("target/bench");
        std::fs::create_dir_all(&folder)?;
        let comparisons: Vec<Comparison> = self.rows.iter().filter_map(Row::compare).collect();
        std::fs::write(folder.join(format!("{}.json", self.name)), serde_json::to_vec_pretty(&self.json())?)?;
        std::fs::write(folder.join(format!("{}.svg", self.name)), chart::draw(self, &comparisons))?;
        println!("\nwritten: target/bench/{0}.json, target/bench/{0}.svg", self.name);
        Ok(())
    }

    fn table(&self) -> String {
        let rows = self.rows.iter().map(|row| row.case.len());
        let width = rows.chain(self.figures.iter().map(|figure| figure.name.len() + 5)).max().unwrap_or(0).max(34);
        let mut text = format!(
            "\n{:<width$} {:>12} {:>12} {:>6}   {:>9} {:>9} {:>6}   {:>8} {:>8}\n",
            "case", self.real, self.ours, "ratio", "us cpu/op", "us cpu/op", "ratio", "p99 ms", "p99 ms"
        );
        for row in &self.rows {
            match (row.compare(), &row.trouble) {
                (Some(both), _) => {
                    let _ = writeln!(
                        text,
                        "{:<width$} {:>12.0} {:>12.0} {:>6.2}   {:>9.2} {:>9.2} {:>6.2}   {:>8.2} {:>8.2}",
                        both.case,
                        both.real.throughput,
                        both.ours.throughput,
                        both.throughput_ratio,
                        both.real.processor_us,
                        both.ours.processor_us,
                        both.processor_ratio,
                        both.real.p99_ms,
                        both.ours.p99_ms
                    );
                }
                (None, trouble) => {
                    let reason = trouble.as_deref().unwrap_or("no sample").lines().next().unwrap_or_default();
                    let _ = writeln!(text, "{:<width$} not compared: {reason}", row.case);
                }
            }
        }
        for figure in &self.figures {
            let Figure { name, unit, real, ours } = figure;
            let named = format!("{name} ({unit})");
            let _ = writeln!(text, "{named:<width$} {real:>12.2} {ours:>12.2} {:>6.3}", ours / real);
        }
        text
    }

    fn json(&self) -> Value {
        let sample = |sample: Sample| {
            json!({
                "throughput_per_s": sample.throughput,
                "processor_us_per_operation": sample.processor_us,
                "p50_ms": sample.p50_ms,
                "p99_ms": sample.p99_ms,
            })
        };
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| match row.compare() {
                Some(both) => json!({
                    "case": row.case,
                    "rounds": row.ours.len(),
                    "real": sample(both.real),
                    "ours": sample(both.ours),
                    "throughput_ratio": both.throughput_ratio,
                    "processor_ratio": both.processor_ratio,
                }),
                None => json!({ "case": row.case, "trouble": row.trouble }),
            })
            .collect();
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|figure| json!({ "name": figure.name, "unit": figure.unit, "real": figure.real, "ours": figure.ours }))
            .collect();
        json!({ "bench": self.name, "real": self.real, "ours": self.ours, "rows": rows, "figures": figures })
    }
}
