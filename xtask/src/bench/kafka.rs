//! Kafka's own performance tools beside Apache Kafka 4.0: one broker, and three brokers with three replicas.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Options;
use super::engine::{Engine, load};
use super::report::{Figure, Report, Row, Sample};

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
/// As Kafka's scripts start the tools, with a heap that fits beside the brokers.
const JAVA: [&str; 4] = ["java", "-Xmx512m", "-XX:+UseG1GC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"];

/// A size of record, how many make a sample of a few seconds, and the acknowledgement to produce with.
struct Case {
    record_bytes: u32,
    records: u64,
    acks: &'static str,
}

const CASES: &[Case] = &[
    Case { record_bytes: 100, records: 1_000_000, acks: "1" },
    Case { record_bytes: 100, records: 1_000_000, acks: "all" },
    Case { record_bytes: 1024, records: 300_000, acks: "1" },
    Case { record_bytes: 1024, records: 300_000, acks: "all" },
];

/// One topology: the engines under comparison and how many replicas a topic has there.
struct Bench<'a> {
    engines: [&'a Engine; 2],
    brokers: u32,
    jars: String,
    options: &'a Options,
    /// Numbers the topics, since every sample has its own.
    topics: u32,
}

pub fn run(options: &Options) -> Result<()> {
    let ours = if options.is_calibration { "Kafka again" } else { "Atoll" };
    let mut report = Report { name: "kafka", real: "Kafka 4.0", ours, rows: Vec::new(), figures: Vec::new() };
    for (brokers, real, stack) in [(1, "kafka-single", ONE), (3, "kafka", THREE)] {
        if !options.wants(&prefix(brokers))
            && options.only.is_some()
            && CASES.iter().all(|case| !is_wanted(options, brokers, case))
        {
            continue;
        }
        let first = Engine::real(real, "Kafka 4.0")?;
        let second = match options.is_calibration {
            true => Engine::real(real, "Kafka 4.0")?,
            false => Engine::atoll(options, stack, false)?,
        };
        let jars = first.variable("JARS")?.to_owned();
        let mut bench = Bench { engines: [&first, &second], brokers, jars, options, topics: 0 };
        for case in CASES.iter().filter(|case| is_wanted(options, brokers, case)) {
            report.rows.extend(bench.measure(case));
        }
        report.figures.extend(figures(&first, &second, brokers)?);
    }
    report.finish()
}

fn prefix(brokers: u32) -> String {
    if brokers == 1 { "1 broker".to_owned() } else { format!("{brokers} brokers RF {brokers}") }
}

fn produce_name(brokers: u32, case: &Case) -> String {
    format!("{} produce {} B acks={}", prefix(brokers), case.record_bytes, case.acks)
}

fn consume_name(brokers: u32, case: &Case) -> String {
    format!("{} consume {} B", prefix(brokers), case.record_bytes)
}

fn is_wanted(options: &Options, brokers: u32, case: &Case) -> bool {
    options.wants(&produce_name(brokers, case)) || options.wants(&consume_name(brokers, case))
}

impl Bench<'_> {
    /// All rounds of a case. What acks=all has produced is consumed as well, so each size gives one consuming row.
    fn measure(&mut self, case: &Case) -> Vec<Row> {
        let empty = |case: String| Row { case, real: Vec::new(), ours: Vec::new(), trouble: None };
        let mut rows = vec![empty(produce_name(self.brokers, case))];
        if case.acks == "all" {
            rows.push(empty(consume_name(self.brokers, case)));
        }
        for round in 0..self.options.rounds {
            for turn in 0..2 {
                let is_real = (round + turn) % 2 == 0;
                let engine = self.engines[usize::from(!is_real)];
                let samples = match self.samples(case, engine, rows.len() == 2) {
                    Ok(samples) => samples,
                    Err(error) => {
                        eprintln!("{}: {}: {error:#}", rows[0].case, engine.label);
                        rows[0].trouble = Some(format!("{}: {error:#}", engine.label));
                        return rows;
                    }
                };
                for (row, sample) in rows.iter_mut().zip(samples) {
                    if is_real { row.real.push(sample) } else { row.ours.push(sample) }
                }
            }
        }
        for both in rows.iter().filter_map(Row::compare) {
            eprintln!(
                "{:<36} throughput {:.2}x   processor {:.2}x",
                both.case, both.throughput_ratio, both.processor_ratio
            );
        }
        rows
    }

    /// Produces into a fresh topic, and reads it back when asked to.
    fn samples(&mut self, case: &Case, engine: &Engine, is_consuming: bool) -> Result<Vec<Sample>> {
        self.topics += 1;
        let topic = format!("bench-{}-{}", self.brokers, self.topics);
        let servers = engine.variable("KAFKA_BOOTSTRAP_SERVERS")?.to_owned();
        let replicas = self.brokers.to_string();
        let create = [
            "--bootstrap-server",
            &servers,
            "--create",
            "--topic",
            &topic,
            "--partitions",
            "3",
            "--replication-factor",
            &replicas,
        ];
        self.tool("org.apache.kafka.tools.TopicCommand", &create)?;
        let records = self.options.operations(case.records);
        let (count, bytes) = (records.to_string(), case.record_bytes.to_string());
        let (bootstrap, acks) = (format!("bootstrap.servers={servers}"), format!("acks={}", case.acks));
        let produce = [
            "--topic",
            &topic,
            "--num-records",
            &count,
            "--record-size",
            &bytes,
            "--throughput",
            "-1",
            "--producer-props",
            &bootstrap,
            &acks,
        ];
        let mut samples = vec![self.timed(
            engine,
            records,
            "org.apache.kafka.tools.ProducerPerformance",
            &produce,
            parse_producer,
        )?];
        if is_consuming {
            let consume =
                ["--bootstrap-server", &servers, "--topic", &topic, "--messages", &count, "--timeout", "60000"];
            samples.push(self.timed(
                engine,
                records,
                "org.apache.kafka.tools.ConsumerPerformance",
                &consume,
                parse_consumer,
            )?);
        }
        let delete = ["--bootstrap-server", servers.as_str(), "--delete", "--topic", &topic];
        self.tool("org.apache.kafka.tools.TopicCommand", &delete)?;
        Ok(samples)
    }

    fn timed(
        &self,
        engine: &Engine,
        records: u64,
        class: &str,
        arguments: &[&str],
        parse: fn(&str) -> Result<(f64, f64, f64)>,
    ) -> Result<Sample> {
        let before = engine.processor_time()?;
        let printed = self.tool(class, arguments)?;
        let used = engine.processor_time()? - before;
        let (throughput, p50_ms, p99_ms) = parse(&printed)?;
        Ok(Sample { throughput, processor_us: Sample::processor(used, records), p50_ms, p99_ms })
    }

    fn tool(&self, class: &str, arguments: &[&str]) -> Result<String> {
        let mut words: Vec<String> = JAVA.map(str::to_owned).into();
        words.extend(["-cp".to_owned(), self.jars.clone(), class.to_owned()]);
        words.extend(arguments.iter().map(|word| (*word).to_owned()));
        load(&words)
    }
}

/// Throughput, median and 99th percentile from the producer's last line:
/// `N records sent, X records/sec (…), … ms avg latency, … ms max latency, … ms 50th, … ms 95th, … ms 99th, … ms 99.9th.`
pub fn parse_producer(printed: &str) -> Result<(f64, f64, f64)> {
    let line = printed.lines().rev().find(|line| line.contains(" 99th")).context("the producer printed no summary")?;
    let before = |mark: &str| -> Option<f64> {
        let head = &line[..line.find(mark)?];
        head.rsplit([' ', ',']).find(|word| !word.is_empty())?.parse().ok()
    };
    let throughput = before(" records/sec").context("the producer printed no throughput")?;
    Ok((throughput, before(" ms 50th").unwrap_or(0.0), before(" ms 99th").unwrap_or(0.0)))
}

/// Records a second while fetching, the last of the columns that the consumer prints; it tells no latencies.
pub fn parse_consumer(printed: &str) -> Result<(f64, f64, f64)> {
    let line =
        printed.lines().rev().find(|line| line.split(", ").count() == 10).context("the consumer printed no result")?;
    let Some(Ok(throughput)) = line.rsplit(", ").next().map(|field| field.trim().parse::<f64>()) else {
        bail!("the consumer printed {line}")
    };
    Ok((throughput, 0.0, 0.0))
}

fn figures(real: &Engine, ours: &Engine, brokers: u32) -> Result<Vec<Figure>> {
    let mib = |engine: &Engine| -> Result<f64> { Ok(engine.resident()? as f64 / (1 << 20) as f64) };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(vec![
        Figure { name: format!("{} resident", prefix(brokers)), unit: "MiB", real: mib(real)?, ours: mib(ours)? },
        Figure { name: format!("{} start", prefix(brokers)), unit: "ms", real: ms(real.start), ours: ms(ours.start) },
    ])
}
