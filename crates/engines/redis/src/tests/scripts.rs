//! Runs the transcripts in `testdata/`. `REWRITE=1 cargo test -p atoll-redis scripts` writes what happens now into them.
//!
//! A transcript is a list of steps. Each is a line, then `----`, then what it printed, then an empty line. Lines:
//!
//! - `cluster [OPTION VALUE]…`: begins, with three nodes; `alone [OPTION VALUE]…`: a single server.
//! - `NAME@INSTANCE COMMAND…`: a command on the connection NAME to an instance (0–2 primaries, 3–5 their replicas); later
//!   just `NAME COMMAND…`. Replies that came meanwhile are shown first.
//!   `$3` in a command is the name of instance 3.
//! - `run DURATION`: time passes; shows what the instances decided.
//! - `poll DURATION NAME COMMAND…`: sends the command every 100 ms, and shows each change of the reply with its time.
//! - `kill 2`, `power 2`, `start 2`, `pause 2`, `resume 2`, `cut 1`, `cut-clients 1`, `slow 1 200ms`, `skew 1 20000` (in
//!   milliseconds), `disk 1 failing` (or `full`, `ok`), `heal`, `trigger POINT NTH kill 1`.
//! - `stream NAME`: what a replica was sent since the last time, byte by byte; of a snapshot only its length and what frames it.
//! - `ledger`: what was lost or stale since the last time. `received NAME`: what came without having been asked for.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use atoll_kernel::{DiskHealth, Fault, NodeId, Pattern, Rule, Trigger, Verdict};

use super::harness::{Reply, Stage};
use crate::{Config, ConnId};

struct Player {
    stage: Stage,
    connections: BTreeMap<String, ConnId>,
    trace_shown: usize,
    ledger_shown: usize,
    /// When the last fault was injected: times are shown from there.
    fault_at: atoll_kernel::Moment,
}

#[test]
fn every_transcript_is_what_happens() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let mut names: Vec<_> = std::fs::read_dir(folder).expect("testdata").map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let rewrites = std::env::var_os("REWRITE").is_some();
    let mut failures = Vec::new();
    for path in names {
        let text = std::fs::read_to_string(&path).expect("a transcript");
        let happened = play(&text);
        if happened == text {
            continue;
        }
        if rewrites {
            #[allow(clippy::disallowed_methods, reason = "the transcript is source code, not data of the engine")]
            std::fs::write(&path, happened).expect("the transcript is written");
        } else {
            let line = text.lines().zip(happened.lines()).position(|(one, other)| one != other).unwrap_or(0);
            let (expected, found) = (text.lines().nth(line), happened.lines().nth(line));
            failures.push(format!("{}:{}\n  written  {expected:?}\n  happened {found:?}", path.display(), line + 1));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Plays a transcript, and writes it down again with what happens.
fn play(text: &str) -> String {
    let mut player: Option<Player> = None;
    let mut written = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            written.push_str(line);
            written.push('\n');
            continue;
        }
        if lines.peek() == Some(&"----") {
            while lines.next_if(|line| !line.is_empty()).is_some() {}
        }
        let output = step(&mut player, line);
        let _ = write!(written, "{line}\n----\n{output}");
    }
    written
}

/// Bytes for a replica, a line for each line. A snapshot holds times and checksums: its length is all that is shown.
fn stream(bytes: &[u8]) -> String {
    let find = |from: usize, what: &[u8]| {
        bytes[from..].windows(what.len()).position(|window| window == what).map(|at| from + at)
    };
    let shown = match find(0, b"REDIS00") {
        Some(begin) => {
            let end = (begin..bytes.len()).rfind(|at| bytes[*at] == 0xff).map_or(bytes.len(), |at| at + 9);
            [&bytes[..begin], b"(a snapshot)", &bytes[end.min(bytes.len())..]].concat()
        }
        None => bytes.to_vec(),
    };
    let text = String::from_utf8_lossy(&shown).replace("\r\n", "\n");
    if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" }
}

fn duration(text: &str) -> Duration {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let number: u64 = digits.parse().expect("a duration such as 200ms or 15s");
    if text.ends_with("ms") { Duration::from_millis(number) } else { Duration::from_secs(number) }
}

fn step(player: &mut Option<Player>, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    if let ["cluster" | "alone", options @ ..] = words.as_slice() {
        let mut config = Config::default();
        if words[0] == "alone" {
            config.set("cluster-enabled", "no").unwrap();
        }
        for pair in options.chunks(2) {
            config.set(pair[0], pair[1]).unwrap();
        }
        let stage = Stage::new(1, 3, &config);
        stage.sim.kernel.keep_trace();
        let fault_at = stage.now();
        *player = Some(Player { stage, connections: BTreeMap::new(), trace_shown: 0, ledger_shown: 0, fault_at });
        return String::new();
    }
    player.as_mut().expect("a transcript begins with `cluster` or `alone`").step(line, &words)
}

impl Player {
    fn step(&mut self, line: &str, words: &[&str]) -> String {
        match words {
            ["run", time] => {
                self.stage.run_for(duration(time));
                self.news()
            }
            ["poll", time, name, ..] => {
                let command = line.splitn(4, ' ').nth(3).unwrap_or_default();
                self.poll(duration(time), name, command)
            }
            ["ledger"] => self.ledger(),
            ["stream", name] => stream(&self.stage.received.remove(&self.connections[*name]).unwrap_or_default()),
            ["received", name] => {
                let conn = self.connections[*name];
                let mut text = String::new();
                while let Some(reply) = self.stage.take(conn) {
                    reply.show(0, &mut text);
                }
                if !self.stage.is_connected(conn) {
                    text.push_str("(closed)\n");
                }
                text
            }
            ["trigger", point, nth, "kill", node] => {
                let fault = Fault::Kill(node_id(node));
                let nth = nth.parse().expect("a number");
                self.stage.sim.kernel.when(Trigger { point: (*point).to_owned(), node: None, nth, fault });
                String::new()
            }
            [
                "kill" | "power" | "start" | "pause" | "resume" | "cut" | "cut-clients" | "slow" | "skew" | "disk"
                | "heal",
                ..,
            ] => {
                self.fault_at = self.stage.now();
                self.inject(words);
                self.stage.collect();
                self.news()
            }
            [name, ..] => {
                let command = line.split_once(' ').map_or("", |(_, command)| command);
                self.command(name, command)
            }
            [] => String::new(),
        }
    }

    fn inject(&mut self, words: &[&str]) {
        let others = |node: NodeId| (1..=3).map(NodeId).filter(|other| *other != node).collect::<Vec<_>>();
        let sim = &mut self.stage.sim;
        match words {
            ["kill", node] => sim.inject(&Fault::Kill(node_id(node))),
            ["power", node] => sim.inject(&Fault::Power(node_id(node))),
            ["skew", node, offset] => {
                let offset_ms = offset.parse().expect("milliseconds");
                sim.inject(&Fault::Skew { node: node_id(node), offset_ms, drift_ms_per_s: 0.0 });
            }
            ["disk", node, health] => {
                let health = match *health {
                    "ok" => DiskHealth::Ok,
                    "full" => DiskHealth::Full,
                    _ => DiskHealth::Failing,
                };
                sim.inject(&Fault::Disk { node: node_id(node), health });
            }
            ["start", node] => sim.inject(&Fault::Start(node_id(node))),
            ["pause", node] => sim.inject(&Fault::Pause(node_id(node))),
            ["resume", node] => sim.inject(&Fault::Resume(node_id(node))),
            ["heal"] => sim.inject(&Fault::Heal),
            ["cut", node] => {
                let (node, others) = (node_id(node), others(node_id(node)));
                let rule = |from, to| Fault::AddRule(Rule::new(from, to, Verdict::Drop));
                sim.inject(&rule(Pattern::node(node), Pattern::Nodes(others.clone())));
                sim.inject(&rule(Pattern::Nodes(others), Pattern::node(node)));
            }
            ["cut-clients", node] => {
                let rule = Rule::new(Pattern::Client, Pattern::node(node_id(node)), Verdict::Drop);
                sim.inject(&Fault::AddRule(rule));
            }
            ["slow", node, delay] => {
                let node = node_id(node);
                let verdict = Verdict::Delay(duration(delay));
                sim.inject(&Fault::AddRule(Rule::new(Pattern::node(node), Pattern::Nodes(others(node)), verdict)));
            }
            other => panic!("unknown: {other:?}"),
        }
    }

    fn connection(&mut self, name: &str) -> ConnId {
        if let Some((name, instance)) = name.split_once('@') {
            let conn = self.stage.connect(instance.parse().expect("an instance's number"));
            self.connections.insert(name.to_owned(), conn);
        }
        let name = name.split('@').next().unwrap_or_default();
        *self.connections.get(name).unwrap_or_else(|| panic!("no connection is called {name}"))
    }

    fn command(&mut self, name: &str, command: &str) -> String {
        let conn = self.connection(name);
        let mut text = String::new();
        let command = (0..self.stage.sim.core.instances.len()).fold(command.to_owned(), |command, id| {
            command.replace(&format!("${id}"), &self.stage.sim.core.instances[id].name)
        });
        let words = quoted(&command);
        let arguments: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let was_replica = self.stage.sim.core.is_replica(conn);
        let reply = self.stage.call(conn, &arguments);
        // What a replica is sent is no replies.
        while !was_replica
            && !self.stage.sim.core.is_replica(conn)
            && let Some(reply) = self.stage.take(conn)
        {
            reply.show(0, &mut text);
        }
        match reply {
            Some(reply) => reply.show(0, &mut text),
            None if !self.stage.is_connected(conn) => text.push_str("(closed)\n"),
            None if text.is_empty() => text.push_str("(waits)\n"),
            None => {}
        }
        text
    }

    fn poll(&mut self, time: Duration, name: &str, command: &str) -> String {
        let end = self.stage.now() + time;
        let mut text = String::new();
        let mut last = String::new();
        self.connection(name);
        let name = name.split('@').next().unwrap_or_default();
        while self.stage.now() < end {
            let reply = self.command(name, command);
            if reply != last {
                let _ = write!(text, "{} {reply}", self.since_fault(self.stage.now()));
                last = reply;
            }
            self.stage.run_for(Duration::from_millis(100));
        }
        self.trace_shown = self.stage.sim.kernel.trace_lines().len();
        text
    }

    fn since_fault(&self, at: atoll_kernel::Moment) -> String {
        format!("+{:.1}s", at.since(self.fault_at).as_secs_f64())
    }

    /// What the instances decided since the last time.
    fn news(&mut self) -> String {
        let lines = self.stage.sim.kernel.trace_lines();
        let mut text = String::new();
        for line in &lines[self.trace_shown.min(lines.len())..] {
            let (time, what) = line.split_once("s ").unwrap_or(("0", line));
            if let Some(what) = what.strip_prefix("redis ") {
                let at =
                    atoll_kernel::Moment::from_millis((time.parse::<f64>().unwrap_or(0.0) * 1000.0).round() as u64);
                let _ = writeln!(text, "{} {what}", self.since_fault(at));
            }
        }
        self.trace_shown = lines.len();
        text
    }

    fn ledger(&mut self) -> String {
        let ledger = self.stage.sim.kernel.ledger();
        let mut text = String::new();
        for entry in &ledger.entries()[self.ledger_shown..] {
            let _ = writeln!(
                text,
                "{:?} {} x{}: {} [{}]",
                entry.kind, entry.subject, entry.count, entry.cause, entry.allowed_by
            );
        }
        self.ledger_shown = ledger.entries().len();
        if text.is_empty() { "(empty)\n".to_owned() } else { text }
    }
}

fn node_id(text: &str) -> NodeId {
    NodeId(text.parse().expect("a node's number"))
}

/// Words, of which those in double quotes may hold spaces or nothing.
fn quoted(command: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = command.trim_start();
    while !rest.is_empty() {
        let (word, tail) = match rest.strip_prefix('"') {
            Some(inner) => inner.split_once('"').expect("a closing quote"),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.replace("\\n", "\n").into_bytes());
        rest = tail.trim_start();
    }
    words
}

/// The harness reads replies as clients do.
#[test]
fn nested_replies_are_shown_as_redis_cli_shows_them() {
    let reply = Reply::Array(vec![Reply::Integer(1), Reply::Array(vec![Reply::Bulk(b"x".to_vec()), Reply::Null])]);
    let mut text = String::new();
    reply.show(0, &mut text);
    assert_eq!(text, "1) (integer) 1\n2) 1) \"x\"\n   2) (nil)\n");
}
