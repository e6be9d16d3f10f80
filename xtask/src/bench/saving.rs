//! What clients wait for while a snapshot is written: real Redis forks, and the child then competes with it for the machine.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Options;
use super::engine::{Background, Engine, load};
use super::redis::{address, fill};
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
/// Out of how many keys; some three million of them are there, in some hundreds of megabytes: enough for a fork to be felt.
const KEYS: &str = "5000000";
/// For some ten seconds, and several snapshots.
const OPERATIONS: u64 = 150_000;

/// The slowest thousandth of GET and SET: alone, and while one snapshot follows another.
pub fn run(options: &Options) -> Result<Vec<Figure>> {
    let engines = [Engine::real("redis", "redis-server")?, Engine::atoll(options, STACK, false)?];
    engines.iter().try_for_each(|engine| fill(engine, KEYS))?;
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
    let saver = if is_saving { Some(saver(engine)?) } else { None };
    let operations = options.operations(OPERATIONS).to_string();
    // One connection: more of them saturate both cores, and then everybody waits for the machine.
    let words = ["redis-benchmark", "-h", &host, "-p", &port, "-t", test, "-r", KEYS, "-n", &operations, "-c", "1"];
    let printed = load(&words.map(str::to_owned));
    if let Some(saver) = saver {
        saver.end();
        await_last(engine)?;
    }
    percentile(&printed?, 99.9)
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

/// A client that asks for one snapshot after another until it is ended.
fn saver(engine: &Engine) -> Result<Background> {
    let (host, port) = address(engine)?;
    Background::start(&["redis-cli", "-h", &host, "-p", &port, "-r", "-1", "-i", "0.02", "BGSAVE"].map(str::to_owned))
}

/// The snapshot that is under way belongs to no other sample.
fn await_last(engine: &Engine) -> Result<()> {
    let (host, port) = address(engine)?;
    let ask = ["redis-cli", "-h", &host, "-p", &port, "INFO", "persistence"].map(str::to_owned);
    while load(&ask)?.contains("rdb_bgsave_in_progress:1") {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
