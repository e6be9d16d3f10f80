//! Scripts in `testdata/`, each a transcript: `> command`, and below it what is seen. `ATOLL_REWRITE=1 cargo test` writes what is
//! seen now into the files.

#![allow(clippy::disallowed_methods, reason = "scripts are read from, and rewritten in, the repository itself")]

mod both;
mod clients;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use atoll_kernel::{DiskHealth, Fault, NodeId, Pattern, Plane, Rule, Verdict};

use super::{World, quick_config};
use crate::config::Config;
use crate::wire::generated::describe_log_dirs_response::DescribeLogDirsPartition;
use crate::wire::generated::metadata_request::MetadataRequestTopic;
use crate::wire::generated::{CreateTopicsRequest, DescribeLogDirsRequest, MetadataRequest};
use crate::wire::record::{Fields, write_batch};
use crate::wire::{Request, Response};

#[test]
fn scripts_show_what_they_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut paths: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 4, "the scripts are there");
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let seen = play(&text);
        if std::env::var_os("ATOLL_REWRITE").is_some() {
            std::fs::write(&path, &seen).unwrap();
            continue;
        }
        assert!(seen == text, "{} shows something else:\n{seen}", path.display());
    }
}

/// Plays the commands of a script, and gives the script with what is seen.
fn play(text: &str) -> String {
    let mut stage = Stage {
        world: World::new(3, 7, script_config(text)),
        waiting: Vec::new(),
        ledger_seen: 0,
        clients: clients::Clients::default(),
        members: BTreeMap::new(),
    };
    let mut seen = String::new();
    for line in text.lines().filter(|line| line.is_empty() || line.starts_with('#') || line.starts_with('>')) {
        seen.push_str(line);
        seen.push('\n');
        if let Some(command) = line.strip_prefix("> ") {
            let words: Vec<&str> = command.split_whitespace().collect();
            for shown in stage.perform(&words).lines() {
                writeln!(seen, "{shown}").unwrap();
            }
        }
    }
    seen
}

/// The brokers' options: the quick ones, and those that the script sets by lines `# option NAME=VALUE`.
fn script_config(text: &str) -> Config {
    let mut options = serde_json::to_value(quick_config()).unwrap();
    for option in text.lines().filter_map(|line| line.strip_prefix("# option ")) {
        let (name, value) = option.split_once('=').expect("name=value");
        options[name] = value.into();
    }
    serde_json::from_value(options).expect("options that are there")
}

struct Stage {
    world: World,
    /// Requests that wait for their answers: ticket and what was asked.
    waiting: Vec<(u64, String)>,
    ledger_seen: usize,
    clients: clients::Clients,
    /// Members of the group `both`.
    members: BTreeMap<String, both::Member>,
}

fn node(word: &str) -> NodeId {
    NodeId(word.parse().unwrap_or_else(|_| panic!("{word} is no node")))
}

fn place(word: &str) -> (&str, i32) {
    let (topic, partition) = word.rsplit_once('-').unwrap_or_else(|| panic!("{word} is no partition"));
    (topic, partition.parse().unwrap())
}

fn error_name(code: i16) -> String {
    format!("error {code}")
}

impl Stage {
    fn perform(&mut self, words: &[&str]) -> String {
        let mut shown = match words {
            ["topic", name, options @ ..] => {
                let options: Vec<_> = options.iter().map(|option| option.split_once('=').unwrap()).collect();
                outcome(self.world.create_topic(name, 1, &options))
            }
            ["create", at, name] => self.create(node(at), name),
            ["produce", at, to, acks, value] => self.produce(node(at), to, acks, value),
            ["put", at, to, records @ ..] => self.put(node(at), to, records),
            ["log-dirs", at] => self.log_dirs(node(at)),
            ["records", at, from, offset] => self.records(node(at), from, offset),
            ["commit", at, group, to, offset] => self.commit(node(at), group, to, offset),
            ["metadata", at, of] => self.metadata(node(at), of),
            ["read", at, from, offset] => self.read(node(at), from, offset, -1),
            ["read", at, from, offset, epoch] => self.read(node(at), from, offset, epoch.parse().unwrap()),
            ["latest", at, of] => {
                let (topic, partition) = place(of);
                match self.world.list_offset(node(at), topic, partition, -1) {
                    Some((0, offset)) => format!("offset {offset}"),
                    Some((error, _)) => error_name(error),
                    None => "silence".to_owned(),
                }
            }
            ["coordinator", at, group] => match self.world.find_coordinator(node(at), group) {
                Some((0, node)) => format!("node {node}"),
                Some((error, _)) => error_name(error),
                None => "silence".to_owned(),
            },
            ["committed", at, group, of] => {
                let (topic, partition) = place(of);
                match self.world.committed_offset(node(at), group, topic, partition) {
                    Some((0, offset)) => format!("offset {offset}"),
                    Some((error, _)) => error_name(error),
                    None => "silence".to_owned(),
                }
            }
            ["join", at, name] => self.join(node(at), name),
            ["sync", at, name] => self.sync(node(at), name),
            ["heartbeat", at, name] => self.heartbeat(node(at), name),
            ["commit-as", at, name, generation, to, offset] => self.commit_as(node(at), name, generation, to, offset),
            ["topic-of", partitions, name] => outcome(self.world.create_topic(name, partitions.parse().unwrap(), &[])),
            [kind @ ("classic" | "consumer"), name, what] => self.both(kind, name, what),
            ["static", name, instance] => self.make_static(name, instance),
            ["group"] => self.group(),
            ["begin", name, id] => self.begin(name, id),
            ["send", name, to, value] => self.send(name, to, value),
            ["end", name, how] => self.end(name, *how == "commit"),
            ["wait", time] => self.wait(time),
            ["ledger"] => self.ledger(),
            fault => self.fault(fault),
        };
        for answer in self.late_answers() {
            write!(shown, "\n{answer}").unwrap();
        }
        shown.trim().to_owned()
    }

    fn create(&mut self, at: NodeId, name: &str) -> String {
        let topic = crate::wire::generated::create_topics_request::CreatableTopic {
            name: name.to_owned(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 5_000, validate_only: false };
        match self.world.ask(at, Request::CreateTopics(request)) {
            (_, Some(Response::CreateTopics(response))) => outcome(response.topics[0].error_code),
            (ticket, _) => self.waits(ticket, format!("create {name}")),
        }
    }

    fn waits(&mut self, ticket: u64, what: String) -> String {
        self.waiting.push((ticket, what));
        "waits".to_owned()
    }

    fn produce(&mut self, at: NodeId, to: &str, acks: &str, value: &str) -> String {
        let (topic, partition) = place(to);
        let acks = match acks {
            "acks=all" => -1,
            other => other.strip_prefix("acks=").and_then(|number| number.parse().ok()).expect("acks=…"),
        };
        match self.world.ask(at, World::produce_request(topic, partition, acks, value, None)) {
            (_, Some(answer)) => produced(&answer),
            (ticket, None) => self.waits(ticket, format!("produce {value}")),
        }
    }

    /// One batch of `key=value`s with the broker's time; `key=` is a deletion.
    fn put(&mut self, at: NodeId, to: &str, records: &[&str]) -> String {
        let (topic, partition) = place(to);
        let pairs: Vec<_> = records.iter().map(|record| record.split_once('=').expect("key=value")).collect();
        let fields: Vec<Fields<'_>> = pairs
            .iter()
            .map(|(key, value)| (Some(key.as_bytes()), (!value.is_empty()).then_some(value.as_bytes())))
            .collect();
        let now_ms = self.world.simulation.kernel.wall().as_millis();
        let request = World::produce_batch(topic, partition, -1, write_batch(&fields, now_ms, None));
        match self.world.ask(at, request) {
            (_, Some(answer)) => produced(&answer),
            (ticket, None) => self.waits(ticket, format!("put {}", records.join(" "))),
        }
    }

    /// What a broker says of its log directories: partitions with sizes.
    fn log_dirs(&mut self, at: NodeId) -> String {
        let request = DescribeLogDirsRequest { topics: None };
        let Some(Response::DescribeLogDirs(answer)) = self.world.ask_in(at, 4, Request::DescribeLogDirs(request)).1
        else {
            return "silence".to_owned();
        };
        let mut shown = Vec::new();
        for directory in &answer.results {
            let parts = directory.topics.iter().flat_map(|topic| {
                let sized = |part: &DescribeLogDirsPartition| {
                    format!(" {}-{}:{}", topic.name, part.partition_index, part.partition_size)
                };
                topic.partitions.iter().map(sized).collect::<Vec<_>>()
            });
            shown.push(format!(
                "{} {}:{}",
                directory.log_dir,
                outcome(directory.error_code),
                parts.collect::<String>()
            ));
        }
        shown.join("\n")
    }

    /// What is in a log from an offset on, with the offsets.
    fn records(&mut self, at: NodeId, from: &str, offset: &str) -> String {
        let (topic, partition) = place(from);
        let request = World::fetch_request(topic, partition, offset.parse().unwrap(), -1, 0);
        let Some(answer) = self.world.ask(at, request).1 else { return "silence".to_owned() };
        let (error, high_watermark, records) = World::fetched(&answer);
        if error != 0 {
            return error_name(error);
        }
        let text = |field: &Option<bytes::Bytes>| String::from_utf8_lossy(field.as_deref().unwrap_or(b"")).into_owned();
        let shown =
            records.iter().map(|record| format!(" {}:{}={}", record.offset, text(&record.key), text(&record.value)));
        format!("high watermark {high_watermark}:{}", shown.collect::<String>())
    }

    fn commit(&mut self, at: NodeId, group: &str, to: &str, offset: &str) -> String {
        let (topic, partition) = place(to);
        let request = World::commit_request(group, topic, partition, offset.parse().unwrap());
        match self.world.ask(at, request) {
            (_, Some(answer)) => outcome(World::committed(&answer)),
            (ticket, None) => self.waits(ticket, format!("commit {offset}")),
        }
    }

    fn metadata(&mut self, at: NodeId, of: &str) -> String {
        let (topic, partition) = place(of);
        let topics = vec![MetadataRequestTopic { name: Some(topic.to_owned()), ..MetadataRequestTopic::default() }];
        let request = MetadataRequest { topics: Some(topics), allow_auto_topic_creation: false, ..Default::default() };
        match self.world.ask(at, Request::Metadata(request)).1 {
            Some(Response::Metadata(response)) => {
                let Some(found) = response.topics[0].partitions.get(partition as usize) else {
                    return error_name(response.topics[0].error_code);
                };
                let brokers: Vec<i32> = response.brokers.iter().map(|broker| broker.node_id).collect();
                let error =
                    if found.error_code == 0 { String::new() } else { format!("{} ", error_name(found.error_code)) };
                let mut isr = found.isr_nodes.clone();
                isr.sort_unstable();
                format!(
                    "{error}leader {} epoch {} in sync {isr:?} brokers {brokers:?}",
                    found.leader_id, found.leader_epoch
                )
            }
            _ => "silence".to_owned(),
        }
    }

    fn read(&mut self, at: NodeId, from: &str, offset: &str, epoch: i32) -> String {
        let (topic, partition) = place(from);
        let request = World::fetch_request(topic, partition, offset.parse().unwrap(), epoch, 0);
        match self.world.ask(at, request).1 {
            Some(answer) => match World::fetched(&answer) {
                (0, high_watermark, records) => {
                    let values = records
                        .iter()
                        .map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"")).into_owned());
                    format!("high watermark {high_watermark}: {}", values.collect::<Vec<_>>().join(" "))
                }
                (error, _, _) => error_name(error),
            },
            None => "silence".to_owned(),
        }
    }

    fn wait(&mut self, time: &str) -> String {
        let milliseconds = match time.strip_suffix("ms") {
            Some(number) => number.parse().unwrap(),
            None => time.strip_suffix('s').and_then(|number| number.parse::<u64>().ok()).expect("5s or 5ms") * 1_000,
        };
        self.world.run_for(milliseconds);
        format!("now {}", self.world.simulation.kernel.now())
    }

    fn ledger(&mut self) -> String {
        let ledger = self.world.simulation.kernel.ledger();
        let new = &ledger.entries()[self.ledger_seen..];
        self.ledger_seen = ledger.entries().len();
        if new.is_empty() {
            return "nothing new".to_owned();
        }
        let line = |entry: &atoll_kernel::Entry| {
            format!("{:?} {}: {} ({})", entry.kind, entry.subject, entry.cause, entry.allowed_by)
        };
        new.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn fault(&mut self, words: &[&str]) -> String {
        let cut = |from: Pattern, to: Pattern| Fault::AddRule(Rule::new(from, to, Verdict::Drop).on_plane(Plane::Peer));
        let all = || Pattern::Nodes(vec![NodeId(1), NodeId(2), NodeId(3)]);
        let faults = match words {
            ["kill", at] => vec![Fault::Kill(node(at))],
            ["power", at] => vec![Fault::Power(node(at))],
            ["start", at] => vec![Fault::Start(node(at))],
            ["stop", at] => vec![Fault::Stop(node(at))],
            ["pause", at] => vec![Fault::Pause(node(at))],
            ["resume", at] => vec![Fault::Resume(node(at))],
            ["isolate", at] => vec![cut(Pattern::node(node(at)), all()), cut(all(), Pattern::node(node(at)))],
            ["cut", one, other] => vec![
                cut(Pattern::node(node(one)), Pattern::node(node(other))),
                cut(Pattern::node(node(other)), Pattern::node(node(one))),
            ],
            ["slow", from, to, time] => {
                let delay = std::time::Duration::from_millis(time.strip_suffix("ms").unwrap().parse().unwrap());
                vec![Fault::AddRule(Rule::new(
                    Pattern::node(node(from)),
                    Pattern::node(node(to)),
                    Verdict::Delay(delay),
                ))]
            }
            ["clock", at, hours] => {
                let hours: i64 = hours.strip_suffix('h').and_then(|number| number.parse().ok()).expect("2h or -2h");
                vec![Fault::Skew { node: node(at), offset_ms: hours * 3_600_000, drift_ms_per_s: 0.0 }]
            }
            ["disk", at, health] => {
                let health = match *health {
                    "ok" => DiskHealth::Ok,
                    "full" => DiskHealth::Full,
                    "failing" => DiskHealth::Failing,
                    other => panic!("no such disk: {other}"),
                };
                vec![Fault::Disk { node: node(at), health }]
            }
            ["heal"] => vec![Fault::Heal],
            other => panic!("no such command: {other:?}"),
        };
        faults.iter().for_each(|fault| self.world.simulation.inject(fault));
        self.world.collect();
        String::new()
    }

    fn late_answers(&mut self) -> Vec<String> {
        let mut shown = Vec::new();
        for (ticket, what) in std::mem::take(&mut self.waiting) {
            match self.world.late.remove(&ticket) {
                None => self.waiting.push((ticket, what)),
                Some(Response::Produce(response)) => {
                    shown.push(format!("{what}: {}", produced(&Response::Produce(response))))
                }
                Some(Response::JoinGroup(response)) if what.starts_with("both ") => {
                    let name = what.trim_start_matches("both ").to_owned();
                    shown.push(format!("{name}: {}", self.classic_joined(&name, &response)));
                }
                Some(Response::SyncGroup(response)) if what.starts_with("both ") => {
                    let name = what.trim_start_matches("both ").to_owned();
                    shown.push(format!("{name}: {}", self.classic_synced(&name, &response)));
                }
                Some(Response::JoinGroup(response)) => {
                    let name = what.trim_start_matches("join ").to_owned();
                    let told = self.joined(&name, &response);
                    shown.push(format!("{what}: {told}"));
                }
                Some(Response::SyncGroup(response)) => shown.push(format!("{what}: {}", outcome(response.error_code))),
                Some(Response::CreateTopics(response)) => {
                    shown.push(format!("{what}: {}", outcome(response.topics[0].error_code)));
                }
                Some(other) => shown.push(format!("{what}: {}", outcome(World::committed(&other)))),
            }
        }
        shown
    }
}

fn outcome(code: i16) -> String {
    if code == 0 { "done".to_owned() } else { error_name(code) }
}

fn produced(answer: &Response) -> String {
    match World::produced(answer) {
        (0, offset) => format!("acknowledged at {offset}"),
        (error, _) => error_name(error),
    }
}
