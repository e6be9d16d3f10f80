//! Atoll beside Apache Kafka 4.0: one broker, and three brokers with three replicas.
//!
//! `clients.rs` runs the load generators, `latency.rs` measures single records. Cases are librdkafka's unless they say Java.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Options;
use super::engine::Engine;
use super::report::{Comparison, Figure, Report, Row, Sample, median};
use clients::{Client, Told, Tools};

pub mod clients;
pub mod latency;

const ONE: &str = "apiVersion: atoll.dev/v1alpha1
kind: Stack
nodes: 1
engines:
  kafka: {}
  redis: {enabled: false}
  kubernetes: {enabled: false}
";
const THREE: &str = "apiVersion: atoll.dev/v1alpha1
kind: Stack
nodes: 3
engines:
  kafka: {}
  redis: {enabled: false}
  kubernetes: {enabled: false}
";
/// Partitions of a topic where nothing else is said, and of the two that are compared.
const PARTITIONS: u32 = 3;
const FEW: u32 = 10;
const MANY: u32 = 1000;
/// How records follow each other whose latency is measured, and how many a round has: as Kafka's own `EndToEndLatency` sends them, and
/// from rest, at a rate that three brokers of Kafka on one core keep up with. Fewer say nothing about a hundredth.
const PACES: [(&str, Duration, u64); 2] =
    [("one after the other", Duration::ZERO, 5000), ("100 a second", Duration::from_millis(10), 500)];
/// Those before all of them: Java compiles only what has run often.
const WARMING_RECORDS: u64 = 20_000;
/// What of a core each broker has where the servers are to be the limit, in hundredths. Brokers of Kafka need some of it for themselves.
const SHARE: u32 = 10;
/// How many times the records of a sample warm both engines up before that, with all of a core.
const WARMING_TIMES: u64 = 2;

/// What is produced, by whom; `records` make a sample of a few seconds.
#[derive(Clone, Copy)]
struct Case {
    client: Client,
    record_bytes: u32,
    records: u64,
    acks: &'static str,
    partitions: u32,
    /// What of a core each broker has, in hundredths, where they do not have all of one.
    share: Option<u32>,
    /// Whether it is read back as well, which gives a row of its own.
    is_consumed: bool,
}

const SMALL: Case = Case {
    client: Client::Librdkafka,
    record_bytes: 100,
    records: 6_000_000,
    acks: "all",
    partitions: PARTITIONS,
    share: None,
    is_consumed: true,
};
const LARGE: Case = Case { record_bytes: 1024, records: 1_200_000, ..SMALL };
/// For any number of brokers.
const CASES: &[Case] = &[
    Case { acks: "1", is_consumed: false, ..SMALL },
    SMALL,
    Case { acks: "1", is_consumed: false, ..LARGE },
    LARGE,
    Case { client: Client::Java, records: 2_000_000, ..SMALL },
    Case { client: Client::Java, records: 400_000, ..LARGE },
    Case { share: Some(SHARE), records: 2_000_000, ..SMALL },
    Case { share: Some(SHARE), records: 500_000, ..LARGE },
];
/// For one broker: what many partitions cost.
const FEW_AND_MANY: [Case; 2] = [Case { partitions: FEW, ..LARGE }, Case { partitions: MANY, ..LARGE }];

/// A topic of one sample.
pub struct Topic<'e> {
    servers: &'e str,
    name: String,
    partitions: u32,
    records: u64,
}

/// One topology: the engines under comparison and how many replicas a topic has there.
struct Bench<'a> {
    engines: [&'a Engine; 2],
    brokers: u32,
    tools: Tools,
    options: &'a Options,
    /// Numbers the topics, since every sample has its own.
    topics: u32,
}

pub fn run(options: &Options) -> Result<()> {
    let ours = if options.is_calibration { "Kafka again" } else { "Atoll" };
    let mut report = Report { name: "kafka", real: "Kafka 4.0", ours, rows: Vec::new(), figures: Vec::new() };
    for (brokers, real, stack) in [(1, "kafka-single", ONE), (3, "kafka", THREE)] {
        let cases: Vec<Case> = cases(brokers).filter(|case| case.is_wanted(options, brokers)).collect();
        let latency = format!("{} end to end", prefix(brokers));
        let idle = format!("{} idle", prefix(brokers));
        if cases.is_empty() && !options.wants(&latency) && !options.wants(&idle) {
            continue;
        }
        let first = Engine::real(real, "Kafka 4.0")?;
        let second = match options.is_calibration {
            true => Engine::real(real, "Kafka 4.0")?,
            false => Engine::atoll(options, stack, false)?,
        };
        report.figures.push(start(&first, &second, brokers));
        report.figures.push(resident(&first, &second, &idle)?);
        let mut bench = Bench { engines: [&first, &second], brokers, tools: Tools::of(&first)?, options, topics: 0 };
        for case in &cases {
            let rows = bench.measure(case);
            report.figures.extend(scaling(&report.rows, &rows));
            report.rows.extend(rows);
        }
        if options.wants(&latency) {
            report.figures.extend(bench.latencies(&latency)?);
        }
        report.figures.push(resident(&first, &second, &format!("{} loaded", prefix(brokers)))?);
    }
    report.finish()
}

fn cases(brokers: u32) -> impl Iterator<Item = Case> {
    let more: &[Case] = if brokers == 1 { &FEW_AND_MANY } else { &[] };
    CASES.iter().chain(more).copied()
}

fn prefix(brokers: u32) -> String {
    if brokers == 1 { "1 broker".to_owned() } else { format!("{brokers} brokers RF {brokers}") }
}

impl Case {
    fn produce_name(&self, brokers: u32) -> String {
        self.name(brokers, &format!("produce {} B acks={}", self.record_bytes, self.acks))
    }

    fn consume_name(&self, brokers: u32) -> String {
        self.name(brokers, &format!("consume {} B", self.record_bytes))
    }

    fn name(&self, brokers: u32, what: &str) -> String {
        let by = if self.client == Client::Java { " Java" } else { "" };
        let of = if self.partitions == PARTITIONS { String::new() } else { format!(" {} partitions", self.partitions) };
        let on = self.share.map_or_else(String::new, |percent| format!(" {} % of a core", percent * brokers));
        format!("{}{of}{by}{on} {what}", prefix(brokers))
    }

    fn is_wanted(&self, options: &Options, brokers: u32) -> bool {
        let is_consumed = self.is_consumed && options.wants(&self.consume_name(brokers));
        options.wants(&self.produce_name(brokers)) || is_consumed
    }
}

impl Bench<'_> {
    /// All rounds of a case.
    fn measure(&mut self, case: &Case) -> Vec<Row> {
        let empty = |case: String| Row { case, real: Vec::new(), ours: Vec::new(), trouble: None };
        let mut rows = vec![empty(case.produce_name(self.brokers))];
        if case.is_consumed {
            rows.push(empty(case.consume_name(self.brokers)));
        }
        if let Err(error) = self.fill(&mut rows, case) {
            eprintln!("{}: {error:#}", rows[0].case);
            rows[0].trouble = Some(format!("{error:#}"));
            return rows;
        }
        for both in rows.iter().filter_map(Row::compare) {
            eprintln!(
                "{:<48} throughput {:.2}x   processor {:.2}x",
                both.case, both.throughput_ratio, both.processor_ratio
            );
        }
        rows
    }

    fn fill(&mut self, rows: &mut [Row], case: &Case) -> Result<()> {
        if case.share.is_some() {
            // With a small share of a core Java takes minutes until it has compiled what runs often.
            let warming = Case { share: None, records: case.records * WARMING_TIMES, ..*case };
            for engine in self.engines {
                self.samples(&warming, engine).with_context(|| engine.label)?;
            }
        }
        for which in turns(self.options.rounds) {
            let engine = self.engines[which];
            let samples = self.samples(case, engine).with_context(|| engine.label)?;
            for (row, sample) in rows.iter_mut().zip(samples) {
                if which == 0 { row.real.push(sample) } else { row.ours.push(sample) }
            }
        }
        Ok(())
    }

    /// Produces into a fresh topic, and reads it back when asked to.
    fn samples(&mut self, case: &Case, engine: &Engine) -> Result<Vec<Sample>> {
        let topic = self.topic(engine, case.partitions, self.options.operations(case.records))?;
        let tools = &self.tools;
        let produce = || tools.produce(case.client, &topic, case.record_bytes, case.acks);
        let consume = || tools.consume(case.client, &topic);
        let share = case.share.map(|percent| percent * self.brokers);
        let mut samples = vec![engine.limited(share, || timed(engine, topic.records, produce))?];
        if case.is_consumed {
            samples.push(engine.limited(share, || timed(engine, topic.records, consume))?);
        }
        self.tools.delete(topic.servers, "bench-")?;
        Ok(samples)
    }

    /// A fresh topic.
    fn topic<'e>(&mut self, engine: &'e Engine, partitions: u32, records: u64) -> Result<Topic<'e>> {
        self.topics += 1;
        let servers = engine.variable("KAFKA_BOOTSTRAP_SERVERS")?;
        let topic = Topic { servers, name: format!("bench-{}", self.topics), partitions, records };
        self.tools.create(&topic, self.brokers)?;
        latency::wait_until_known(&topic)?;
        Ok(topic)
    }

    /// Records that go alone, with both engines warm: medians and 99th percentiles.
    fn latencies(&mut self, name: &str) -> Result<Vec<Figure>> {
        let [real, ours] = self.engines;
        let topics = [self.topic(real, 1, WARMING_RECORDS)?, self.topic(ours, 1, WARMING_RECORDS)?];
        let measure = |which: usize, records, pause| {
            latency::end_to_end(&topics[which], records, pause).with_context(|| self.engines[which].label)
        };
        for which in turns(1) {
            measure(which, WARMING_RECORDS, Duration::ZERO)?;
        }
        let mut figures = Vec::new();
        for (pace, pause, records) in PACES {
            let mut told = [Vec::new(), Vec::new()];
            for which in turns(self.options.rounds) {
                told[which].push(measure(which, records, pause)?);
            }
            let figure = |percentile: &str, of: fn(&(f64, f64)) -> f64| {
                let each = told.each_ref().map(|told| median(told.iter().map(of).collect()).unwrap_or_default());
                Figure { name: format!("{name}, {pace}, {percentile}"), unit: "ms", real: each[0], ours: each[1] }
            };
            figures.extend([figure("p50", |told| told.0), figure("p99", |told| told.1)]);
        }
        for topic in &topics {
            self.tools.delete(topic.servers, "bench-")?;
        }
        Ok(figures)
    }
}

/// The engines in turn: real, ours, ours, real …
fn turns(rounds: usize) -> impl Iterator<Item = usize> {
    (0..rounds).flat_map(|round| [round % 2, (round + 1) % 2])
}

fn timed(engine: &Engine, records: u64, run: impl FnOnce() -> Result<Told>) -> Result<Sample> {
    let before = engine.processor_time()?;
    let (throughput, p50_ms, p99_ms) = run()?;
    let used = engine.processor_time()? - before;
    Ok(Sample { throughput, processor_us: Sample::processor(used, records), p50_ms, p99_ms })
}

/// How much faster few partitions are than many, for each engine by itself, once the rows of both are there.
fn scaling(before: &[Row], rows: &[Row]) -> Vec<Figure> {
    let (few, many) = (format!(" {FEW} partitions"), format!(" {MANY} partitions"));
    let pairs = rows.iter().filter_map(|row| {
        let counterpart = row.case.replace(&many, &few);
        let with_few = before.iter().find(|other| other.case == counterpart).filter(|_| counterpart != row.case)?;
        Some((row.case.replace(&many, &format!("{few} beside {MANY}")), with_few.compare()?, row.compare()?))
    });
    let faster = |(name, few, many): (String, Comparison, Comparison)| Figure {
        name,
        unit: "x",
        real: few.real.throughput / many.real.throughput,
        ours: few.ours.throughput / many.ours.throughput,
    };
    pairs.map(faster).collect()
}

fn start(real: &Engine, ours: &Engine, brokers: u32) -> Figure {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Figure { name: format!("{} start", prefix(brokers)), unit: "ms", real: ms(real.start), ours: ms(ours.start) }
}

fn resident(real: &Engine, ours: &Engine, name: &str) -> Result<Figure> {
    let mib = |engine: &Engine| -> Result<f64> { Ok(engine.resident()? as f64 / (1 << 20) as f64) };
    Ok(Figure { name: format!("{name}, resident"), unit: "MiB", real: mib(real)?, ours: mib(ours)? })
}
