//! What clients wait for while a snapshot is written: real Redis forks, and the child then competes with it for the machine.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::Options;
use super::engine::{Engine, load};
use super::redis::{KEPT_KEYS, address, fill};
use super::report::{Figure, median};

/// One server with files, and like the real one without an append-only file.
const STACK: &str = "apiVersion: atoll.dev/v1alpha1
kind: Stack
nodes: 1
engines:
  redis: {config: {cluster-enabled: \"no\", appendonly: \"no\"}}
  kafka: {enabled: false}
  kubernetes: {enabled: false}
";
const OPERATIONS: u64 = 200_000;

/// The slowest thousandth of GET and SET: alone, and while one snapshot of a million keys follows another.
pub fn run(options: &Options) -> Result<Vec<Figure>> {
    let engines = [Engine::real("redis", "redis-server")?, Engine::atoll(options, STACK, false)?];
    engines.iter().try_for_each(fill)?;
    let mut figures = Vec::new();
    for test in ["get", "set"] {
        for is_saving in [false, true] {
            let mut waits = [Vec::new(), Vec::new()];
            for round in 0..options.rounds {
                for turn in 0..2 {
                    let which = (round + turn) % 2;
                    waits[which].push(slowest_thousandth(&engines[which], test, is_saving, options)?);
                }
            }
            let [real, ours] = waits.map(|samples| median(samples).unwrap_or_default());
            let when = if is_saving { "while saving" } else { "at rest" };
            figures.push(Figure { name: format!("{test} p99.9 {when}"), unit: "ms", real, ours });
        }
    }
    Ok(figures)
}

fn slowest_thousandth(engine: &Engine, test: &str, is_saving: bool, options: &Options) -> Result<f64> {
    let (host, port) = address(engine)?;
    let saver = if is_saving { Some(Saver::start(&host, &port)?) } else { None };
    let operations = options.operations(OPERATIONS).to_string();
    let words =
        ["redis-benchmark", "-h", &host, "-p", &port, "-t", test, "-r", KEPT_KEYS, "-n", &operations, "-c", "50"];
    let printed = load(&words.map(str::to_owned))?;
    drop(saver);
    percentile(&printed, 99.9)
}

/// The first line of `redis-benchmark`'s distribution (`99.902% <= 1.207 milliseconds …`) that reaches `wanted` per cent.
pub fn percentile(printed: &str, wanted: f64) -> Result<f64> {
    let lines = printed.lines().flat_map(|line| line.split('\r'));
    let points = lines.filter_map(|line| {
        let (share, rest) = line.trim().split_once("% <= ")?;
        let milliseconds = rest.split(' ').next()?;
        Some((share.parse::<f64>().ok()?, milliseconds.parse::<f64>().ok()?))
    });
    let mut reached = points.filter(|(share, _)| *share >= wanted).map(|(_, milliseconds)| milliseconds);
    reached.next().context("redis-benchmark printed no distribution")
}

/// A client that asks for one snapshot after another until it is dropped.
struct Saver(Child);

impl Saver {
    fn start(host: &str, port: &str) -> Result<Saver> {
        let words = ["-h", host, "-p", port, "-r", "-1", "-i", "0.02", "BGSAVE"];
        let child = Command::new("redis-cli").args(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Saver(child.context("redis-cli is needed")?))
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
