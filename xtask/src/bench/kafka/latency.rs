//! From the producer's call until the consumer has the record: one record at a time, at a rate that is no load.

use anyhow::{Context, Result};

use super::super::engine::{Background, load};
use super::Topic;
use super::clients::Tools;

/// Records a second: what three brokers of Kafka on one core keep up with.
const RATE: &str = "100";
/// The beginning counts for nothing, since connections are being made.
const LEFT_OUT: f64 = 0.2;

/// Median and 99th percentile in milliseconds, with `acks=all` and nothing that waits for more records to go with one.
pub fn end_to_end(tools: &Tools, topic: &Topic<'_>) -> Result<(f64, f64)> {
    singly(tools, topic, &["-r", RATE])
}

/// As many requests of a single record each as fast as they are taken: Java compiles only what has run often.
pub fn warm(tools: &Tools, topic: &Topic<'_>) -> Result<()> {
    singly(tools, topic, &["-X", "batch.num.messages=1"]).map(|_| ())
}

fn singly(tools: &Tools, topic: &Topic<'_>, pace: &[&str]) -> Result<(f64, f64)> {
    let waits = tempfile::NamedTempFile::new()?;
    let file = waits.path().to_str().context("temporary files have names of characters")?;
    let count = topic.records.to_string();
    let common = ["-t", &topic.name, "-p", "0", "-c", &count, "-l", "-X", "socket.nagle.disable=true"];
    let consume = [&["-C", "-o", "beginning", "-A", file], &common[..]].concat();
    let produce = [&["-P", "-s", "100", "-a", "all", "-X", "linger.ms=0"], pace, &common[..]].concat();
    let consumer = Background::start(&tools.librdkafka(topic.servers, &consume))?;
    if let Err(error) = load(&tools.librdkafka(topic.servers, &produce)) {
        consumer.end();
        return Err(error);
    }
    consumer.finish()?;
    percentiles_ms(&std::fs::read_to_string(waits.path())?)
}

/// From one number of microseconds a line.
pub fn percentiles_ms(waits: &str) -> Result<(f64, f64)> {
    let all: Vec<u64> = waits.lines().filter_map(|line| line.parse().ok()).collect();
    let mut counted = all[(all.len() as f64 * LEFT_OUT) as usize..].to_vec();
    counted.sort_unstable();
    let at = |share: f64| counted.get((counted.len() as f64 * share) as usize).map(|us| *us as f64 / 1e3);
    at(0.5).zip(at(0.99)).context("rdkafka_performance wrote no latencies")
}
