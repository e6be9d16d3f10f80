//! Side-by-side runs against the real engines: one run, same pinning, same data, alternating rounds, medians.
//!
//! Start at [`run`]. `engine.rs` starts and measures a server, `share.rs` limits it, `redis.rs` and `kafka.rs` say what is measured,
//! `report.rs` turns the samples into a table, `target/bench/*.json` and a chart. How to read the figures: `bench/README.md`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

mod chart;
mod engine;
mod idle;
mod kafka;
mod redis;
mod report;
mod saving;
mod share;

#[cfg(test)]
mod tests;

pub const USAGE: &str = "usage: cargo xtask bench redis|redis-limit|kafka|idle [OPTIONS]

  --rounds N       rounds for each case, alternating between the engines (default 5)
  --only TEXT      only the cases whose name has this text
  --quick          a quarter of the operations and three rounds
  --calibrate      the real engine on both sides: the ratios show how much of a difference is noise
  --atoll FILE     the binary (default: target/release/atoll)";

/// What the command line asked for.
pub struct Options {
    rounds: usize,
    only: Option<String>,
    is_quick: bool,
    is_calibration: bool,
    atoll: PathBuf,
}

/// Runs one bench and writes its report.
pub fn run(words: &[&str]) -> Result<()> {
    let Some((name, rest)) = words.split_first() else { bail!("{USAGE}") };
    if *name == "kafka-latency" {
        return kafka::latency::probe(rest); // What `kafka` starts for itself, on another core.
    }
    let options = Options::parse(rest)?;
    match *name {
        "redis" => redis::run(&options),
        "redis-limit" => redis::run_beside_limit(&options),
        "kafka" => kafka::run(&options),
        "idle" => idle::run(&options),
        other => bail!("no bench {other}\n{USAGE}"),
    }
}

impl Options {
    fn parse(words: &[&str]) -> Result<Options> {
        let mut options = Options {
            rounds: 5,
            only: None,
            is_quick: false,
            is_calibration: false,
            atoll: repository()?.join("target/release/atoll"),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--quick" => (options.is_quick, options.rounds) = (true, 3),
                "--calibrate" => options.is_calibration = true,
                "--rounds" => options.rounds = words.next().context("--rounds needs a number")?.parse()?,
                "--only" => options.only = Some((*words.next().context("--only needs a text")?).to_owned()),
                "--atoll" => options.atoll = words.next().context("--atoll needs a file")?.into(),
                other => bail!("unknown option {other}\n{USAGE}"),
            }
        }
        if options.rounds == 0 {
            bail!("--rounds needs at least 1");
        }
        Ok(options)
    }

    fn wants(&self, case: &str) -> bool {
        self.only.as_ref().is_none_or(|text| case.contains(text.as_str()))
    }

    /// The number of operations of a case, smaller for a quick look.
    fn operations(&self, full: u64) -> u64 {
        if self.is_quick { full / 4 } else { full }
    }
}

fn repository() -> Result<PathBuf> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in the repository")?;
    Ok(root.to_path_buf())
}
