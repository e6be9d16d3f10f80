//! `redis-benchmark` beside Debian's redis-server: one server, and three shards with a replica each against six processes.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Options;
use super::engine::{Engine, load};
use super::report::{Figure, Report, Row, Sample};
use super::saving;

const STANDALONE: &str = "apiVersion: atoll.dev/v1alpha1
kind: Stack
nodes: 1
engines:
  redis: {config: {cluster-enabled: \"no\"}}
  kafka: {enabled: false}
  kubernetes: {enabled: false}
";
const CLUSTER: &str = "apiVersion: atoll.dev/v1alpha1
kind: Stack
nodes: 3
engines:
  redis: {}
  kafka: {enabled: false}
  kubernetes: {enabled: false}
";
/// How many different keys the cases touch, so that GET finds them and memory stays small.
const KEYS: &str = "100000";
/// And those of the figure about memory.
const KEPT_KEYS: &str = "1000000";

/// What one call of `redis-benchmark` does.
struct Case {
    name: &'static str,
    /// A test of redis-benchmark's own, or a command with its arguments.
    test: Test,
    connections: u32,
    pipeline: u32,
    value_bytes: u32,
    /// Operations for one sample, chosen for about a second.
    operations: u64,
}

enum Test {
    Own(&'static str),
    Command(&'static [&'static str]),
}

const fn case(name: &'static str, test: Test, shape: (u32, u32), operations: u64) -> Case {
    Case { name, test, connections: shape.0, pipeline: shape.1, value_bytes: 3, operations }
}

/// Small values, by connections and pipeline; then the data types; then large values and a script.
const ALONE: &[Case] = &[
    case("SET c=1 P=1", Test::Own("set"), (1, 1), 30_000),
    case("GET c=1 P=1", Test::Own("get"), (1, 1), 30_000),
    case("SET c=50 P=1", Test::Own("set"), (50, 1), 150_000),
    case("GET c=50 P=1", Test::Own("get"), (50, 1), 150_000),
    case("SET c=1 P=16", Test::Own("set"), (1, 16), 400_000),
    case("GET c=1 P=16", Test::Own("get"), (1, 16), 400_000),
    case("SET c=50 P=16", Test::Own("set"), (50, 16), 1_000_000),
    case("GET c=50 P=16", Test::Own("get"), (50, 16), 1_000_000),
    case("SET c=50 P=64", Test::Own("set"), (50, 64), 1_500_000),
    case("GET c=50 P=64", Test::Own("get"), (50, 64), 1_500_000),
    case("INCR c=50 P=16", Test::Own("incr"), (50, 16), 1_000_000),
    case("LPUSH c=50 P=1", Test::Own("lpush"), (50, 1), 150_000),
    case("LPOP c=50 P=1", Test::Own("lpop"), (50, 1), 150_000),
    case("LPUSH c=50 P=16", Test::Own("lpush"), (50, 16), 800_000),
    case("LPOP c=50 P=16", Test::Own("lpop"), (50, 16), 800_000),
    case("SADD c=50 P=16", Test::Own("sadd"), (50, 16), 800_000),
    case("HSET c=50 P=16", Test::Own("hset"), (50, 16), 800_000),
    case("ZADD c=50 P=16", Test::Own("zadd"), (50, 16), 500_000),
    case(
        "XADD c=50 P=16",
        Test::Command(&["XADD", "stream", "MAXLEN", "~", "10000", "*", "f", "v"]),
        (50, 16),
        400_000,
    ),
    case("MSET of 10 c=50 P=1", Test::Own("mset"), (50, 1), 100_000),
    case("MSET of 10 c=50 P=16", Test::Own("mset"), (50, 16), 200_000),
    Case { value_bytes: 10_240, ..case("SET 10 KB c=50 P=1", Test::Own("set"), (50, 1), 80_000) },
    Case { value_bytes: 10_240, ..case("GET 10 KB c=50 P=1", Test::Own("get"), (50, 1), 80_000) },
    case(
        "EVAL INCR c=50 P=1",
        Test::Command(&["EVAL", "return redis.call('INCR', KEYS[1])", "1", "counter"]),
        (50, 1),
        100_000,
    ),
];

const SHARDED: &[Case] = &[
    case("cluster SET c=50 P=1", Test::Own("set"), (50, 1), 150_000),
    case("cluster GET c=50 P=1", Test::Own("get"), (50, 1), 150_000),
    case("cluster SET c=50 P=16", Test::Own("set"), (50, 16), 800_000),
    case("cluster GET c=50 P=16", Test::Own("get"), (50, 16), 800_000),
];

pub fn run(options: &Options) -> Result<()> {
    let ours = if options.is_calibration { "redis again" } else { "Atoll" };
    let mut report = Report { name: "redis", real: "redis-server", ours, rows: Vec::new(), figures: Vec::new() };
    for (cases, real, stack) in [(ALONE, "redis", STANDALONE), (SHARDED, "redis-cluster", CLUSTER)] {
        let cases: Vec<&Case> = cases.iter().filter(|case| options.wants(case.name)).collect();
        let is_cluster = real == "redis-cluster";
        if cases.is_empty() && (is_cluster || !options.wants("memory")) {
            continue;
        }
        let first = Engine::real(real, "redis-server")?;
        let second = match options.is_calibration {
            true => Engine::real(real, "redis-server")?,
            false => Engine::atoll(options, stack, true)?,
        };
        for case in cases {
            report.rows.push(measure(case, [&first, &second], is_cluster, options)?);
        }
        if !is_cluster && options.wants("memory") {
            report.figures.extend(memory(&first, &second)?);
        }
    }
    if options.wants("saving") && !options.is_calibration {
        report.figures.extend(saving::run(options)?);
    }
    report.finish()
}

/// GET and SET beside a server that only answers: how much of the time is Redis's work, and how much is sockets.
pub fn run_beside_limit(options: &Options) -> Result<()> {
    let mut report =
        Report { name: "redis-limit", real: "echo server", ours: "Atoll", rows: Vec::new(), figures: Vec::new() };
    let (first, second) = (Engine::echo()?, Engine::atoll(options, STANDALONE, true)?);
    let is_small = |case: &&Case| matches!(case.test, Test::Own("set" | "get")) && case.value_bytes < 100;
    for case in ALONE.iter().filter(is_small).filter(|case| options.wants(case.name)) {
        report.rows.push(measure(case, [&first, &second], false, options)?);
    }
    report.finish()
}

/// All rounds of a case. The engine that goes first changes from round to round.
fn measure(case: &Case, engines: [&Engine; 2], is_cluster: bool, options: &Options) -> Result<Row> {
    let mut row = Row { case: case.name.to_owned(), real: Vec::new(), ours: Vec::new(), trouble: None };
    for round in 0..options.rounds {
        for turn in 0..2 {
            let is_real = (round + turn) % 2 == 0;
            let engine = if is_real { engines[0] } else { engines[1] };
            match sample(case, engine, is_cluster, options) {
                Ok(sample) if is_real => row.real.push(sample),
                Ok(sample) => row.ours.push(sample),
                Err(error) => {
                    row.trouble = Some(format!("{}: {error:#}", engine.label));
                    eprintln!("{}: {}", case.name, row.trouble.as_deref().unwrap_or_default());
                    return Ok(row);
                }
            }
        }
    }
    if let Some(both) = row.compare() {
        eprintln!("{:<28} throughput {:.2}x   processor {:.2}x", row.case, both.throughput_ratio, both.processor_ratio);
    }
    Ok(row)
}

fn sample(case: &Case, engine: &Engine, is_cluster: bool, options: &Options) -> Result<Sample> {
    prepare(case, engine, is_cluster)?;
    let operations = options.operations(case.operations);
    let before = engine.processor_time()?;
    let printed = load(&command(case, engine, is_cluster, operations)?)?;
    let used = engine.processor_time()? - before;
    let (throughput, p50_ms, p99_ms) = parse(&printed)?;
    Ok(Sample { throughput, processor_us: Sample::processor(used, operations), p50_ms, p99_ms })
}

/// Reading cases find what they read; all others start without what earlier ones left.
fn prepare(case: &Case, engine: &Engine, is_cluster: bool) -> Result<()> {
    let fill = match case.test {
        Test::Own("get") => "set",
        Test::Own("lpop") => "lpush",
        Test::Own("set") => return Ok(()),
        _ if is_cluster => return Ok(()),
        _ => {
            let (host, port) = address(engine)?;
            load(&["redis-cli", "-h", &host, "-p", &port, "FLUSHALL"].map(str::to_owned))?;
            return Ok(());
        }
    };
    let filling = Case { name: "fill", test: Test::Own(fill), connections: 50, pipeline: 64, ..*case };
    load(&command(&filling, engine, is_cluster, 200_000.max(if fill == "lpush" { case.operations } else { 0 }))?)?;
    Ok(())
}

fn command(case: &Case, engine: &Engine, is_cluster: bool, operations: u64) -> Result<Vec<String>> {
    let (host, port) = address(engine)?;
    let mut words: Vec<String> =
        ["redis-benchmark", "-h", &host, "-p", &port, "--csv", "-r", KEYS].map(str::to_owned).into();
    let numbers = [
        ("-n", operations),
        ("-c", case.connections.into()),
        ("-P", case.pipeline.into()),
        ("-d", case.value_bytes.into()),
    ];
    for (flag, number) in numbers {
        words.extend([flag.to_owned(), number.to_string()]);
    }
    if is_cluster {
        words.push("--cluster".to_owned());
    }
    match case.test {
        Test::Own(name) => words.extend(["-t".to_owned(), name.to_owned()]),
        Test::Command(parts) => words.extend(parts.iter().map(|part| (*part).to_owned())),
    }
    Ok(words)
}

pub fn address(engine: &Engine) -> Result<(String, String)> {
    let nodes = engine.variable("REDIS_NODES")?;
    let first = nodes.split(',').next().unwrap_or(nodes);
    let (host, port) = first.rsplit_once(':').context("an address has a port")?;
    Ok((host.to_owned(), port.to_owned()))
}

/// Throughput and latencies from the last line of `redis-benchmark --csv`.
pub fn parse(printed: &str) -> Result<(f64, f64, f64)> {
    let line = printed.lines().rev().find(|line| line.starts_with('"')).context("redis-benchmark printed no result")?;
    // The name of the test may hold commas; the seven numbers are the last fields.
    let fields: Vec<f64> =
        line.rsplit("\",\"").take(7).map(|field| field.trim_matches('"').parse().unwrap_or(0.0)).collect();
    match fields.as_slice() {
        [_max, p99, _p95, p50, _min, _average, throughput] if *throughput > 0.0 => Ok((*throughput, *p50, *p99)),
        _ => bail!("redis-benchmark printed {line}"),
    }
}

/// Writes as many small keys, or as good as.
pub fn fill(engine: &Engine, keys: &str) -> Result<()> {
    let (host, port) = address(engine)?;
    let words = ["redis-benchmark", "-h", &host, "-p", &port, "-t", "set", "-r", keys, "-n", keys, "-P", "64", "-q"];
    load(&words.map(str::to_owned)).map(drop)
}

/// What a million small keys cost, and how long the servers took to start.
fn memory(real: &Engine, ours: &Engine) -> Result<Vec<Figure>> {
    let mut bytes = Vec::new();
    for engine in [real, ours] {
        let (host, port) = address(engine)?;
        let ask = |words: &[&str]| -> Result<String> {
            let mut command: Vec<String> = ["redis-cli", "-h", &host, "-p", &port].map(str::to_owned).into();
            command.extend(words.iter().map(|word| (*word).to_owned()));
            load(&command)
        };
        ask(&["FLUSHALL"])?;
        std::thread::sleep(Duration::from_secs(1)); // Freeing may go on behind the reply, and nothing tells its end.
        let before = engine.resident()?;
        fill(engine, KEPT_KEYS)?;
        let count: f64 = ask(&["DBSIZE"])?.trim().parse()?;
        bytes.push((engine.resident()?.saturating_sub(before)) as f64 / count);
        ask(&["FLUSHALL"])?;
    }
    Ok(vec![
        Figure { name: "memory per small key".into(), unit: "bytes", real: bytes[0], ours: bytes[1] },
        Figure { name: "start".into(), unit: "ms", real: milliseconds(real.start), ours: milliseconds(ours.start) },
    ])
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
