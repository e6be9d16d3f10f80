//! `kafka topics`, `groups`, `produce` and `consume`: a look and a record or two, without Kafka's own tools at hand.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::time::Duration;

use atoll_kafka_wire::record::Record;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Common, target};
use crate::control::Request;
use crate::error::{Code, Failure, Result};
use crate::kafka::{Batch, Client, NewTopic, Start};
use crate::output::{Output, Paint, Table};

/// The longest line that is read as a record, in bytes. Brokers have limits of their own.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Lines are sent together up to so many bytes.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// How long a look for records lasts; then another begins.
const LOOK: Duration = Duration::from_millis(500);

/// What to do with the stack's Kafka.
#[derive(Debug, Subcommand)]
pub enum KafkaCommand {
    /// List topics; show, make or delete one
    Topics(TopicsArguments),
    /// List groups, or show what one has committed and how far it lags
    Groups {
        /// The group
        group: Option<String>,
    },
    /// Produce the lines of standard input, with acks=all and idempotence
    Produce {
        /// The topic
        topic: String,
        /// What stands between a record's key and its value; without it there are no keys
        #[arg(long, value_name = "TEXT")]
        key_separator: Option<String>,
    },
    /// Print records as they come, until interrupted
    Consume(ConsumeArguments),
}

/// What is to become of a topic.
#[derive(Debug, Args)]
pub struct TopicsArguments {
    /// The topic
    #[arg(required_if_eq_any([("create", "true"), ("delete", "true")]))]
    topic: Option<String>,
    /// Make it
    #[arg(long, conflicts_with = "delete")]
    create: bool,
    /// Delete it
    #[arg(long)]
    delete: bool,
    /// How many partitions; otherwise the brokers' default
    #[arg(long, requires = "create", value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many replicas of each; otherwise the brokers' default
    #[arg(long, requires = "create", value_name = "COUNT", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// An option of the topic, as `retention.ms=60000`
    #[arg(long, requires = "create", value_name = "NAME=VALUE", value_parser = pair)]
    config: Vec<(String, String)>,
}

/// What is read, and for how long.
#[derive(Debug, Args)]
pub struct ConsumeArguments {
    /// The topic
    topic: String,
    /// Begin with the first record that is there
    #[arg(long)]
    from_beginning: bool,
    /// End after so many records
    #[arg(long, value_name = "COUNT")]
    max_messages: Option<u64>,
    /// End when no record has come for so long
    #[arg(long, value_name = "MILLISECONDS")]
    timeout_ms: Option<u64>,
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let parts = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    parts.ok_or_else(|| "NAME=VALUE is needed".to_owned())
}

pub fn run(common: &Common, command: KafkaCommand, output: Output) -> Result<u8> {
    let mut client = client(common)?;
    match command {
        KafkaCommand::Topics(arguments) => topics(&mut client, &arguments, output),
        KafkaCommand::Groups { group: None } => groups(&mut client, output),
        KafkaCommand::Groups { group: Some(group) } => lags(&mut client, &group, output),
        KafkaCommand::Produce { topic, key_separator } => {
            produce(&mut client, &topic, key_separator.as_deref(), output)
        }
        KafkaCommand::Consume(arguments) => consume(&mut client, &arguments, output),
    }?;
    Ok(0)
}

/// A client of the stack that is meant, or of the real Kafka that stands in its place.
fn client(common: &Common) -> Result<Client> {
    let status = target::ask(common, &Request::Status)?;
    match status["environment"]["KAFKA_BOOTSTRAP_SERVERS"].as_str() {
        Some(servers) => Ok(Client::new(servers)),
        None => Err(Failure::new(Code::EngineNotEmbedded, "this stack has no kafka").hint("see `atoll status`")),
    }
}

fn topics(client: &mut Client, arguments: &TopicsArguments, output: Output) -> Result<()> {
    match &arguments.topic {
        None => list(client, output),
        Some(name) if arguments.create => {
            let new = NewTopic {
                name: name.clone(),
                partitions: arguments.partitions.unwrap_or(-1),
                replication_factor: arguments.replication_factor.unwrap_or(-1),
                configs: arguments.config.clone(),
            };
            client.create(&new)?;
            said(&json!({ "created": name }), &format!("topic {name} is made"), output)
        }
        Some(name) if arguments.delete => {
            client.delete(name)?;
            said(&json!({ "deleted": name }), &format!("topic {name} is deleted"), output)
        }
        Some(name) => describe(client, name, output),
    }
}

/// Reports a deed: as data to programs, as a step to people.
fn said(value: &Value, line: &str, output: Output) -> Result<()> {
    output.step(line);
    output.data(value, String::new)
}

fn list(client: &mut Client, output: Output) -> Result<()> {
    let mut topics = client.topics()?;
    topics.sort_by(|one, other| (one.is_internal, &one.name).cmp(&(other.is_internal, &other.name)));
    let mut table = Table::new(&["topic", "partitions", "replicas", "internal"]);
    let mut listed = Vec::new();
    for topic in &topics {
        let name = topic.name.clone().unwrap_or_default();
        let replicas = topic.partitions.first().map_or(0, |partition| partition.replica_nodes.len());
        let internal = if topic.is_internal { "yes" } else { "" }.to_owned();
        listed.push(json!({
            "topic": name,
            "partitions": topic.partitions.len(),
            "replicas": replicas,
            "isInternal": topic.is_internal,
        }));
        table.row(vec![name, topic.partitions.len().to_string(), replicas.to_string(), internal]);
    }
    output.data(&json!(listed), || match listed.is_empty() {
        true => "there are no topics: make one with `atoll kafka topics NAME --create`\n".to_owned(),
        false => table.render(output.colors_data()),
    })
}

fn describe(client: &mut Client, topic: &str, output: Output) -> Result<()> {
    let partitions = client.partitions(topic, false)?;
    let (begins, ends) = (client.offsets_told(topic, -2)?, client.offsets_told(topic, -1)?);
    let mut table = Table::new(&["partition", "leader", "replicas", "in sync", "begins", "ends"]);
    let mut described = Vec::new();
    for partition in &partitions {
        let (begin, end) = (begins.get(&partition.index), ends.get(&partition.index));
        described.push(json!({
            "partition": partition.index,
            "leader": partition.leader,
            "replicas": partition.replicas,
            "inSync": partition.in_sync,
            "beginOffset": begin,
            "endOffset": end,
        }));
        let nodes = |nodes: &[i32]| nodes.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
        let leader = if partition.leader < 0 { "none".to_owned() } else { partition.leader.to_string() };
        let (replicas, in_sync) = (nodes(&partition.replicas), nodes(&partition.in_sync));
        table.row(vec![partition.index.to_string(), leader, replicas, in_sync, shown(begin), shown(end)]);
    }
    output.data(&json!({ "topic": topic, "partitions": described }), || table.render(output.colors_data()))
}

fn shown(offset: Option<&i64>) -> String {
    offset.map_or_else(|| "?".to_owned(), i64::to_string)
}

fn groups(client: &mut Client, output: Output) -> Result<()> {
    let groups = client.groups()?;
    let mut table = Table::new(&["group", "type", "state", "protocol"]);
    let mut listed = Vec::new();
    for group in &groups {
        let (name, kind, state) = (&group.group_id, &group.group_type, &group.group_state);
        listed.push(json!({ "group": name, "type": kind, "state": state, "protocol": group.protocol_type }));
        table.row(vec![name.clone(), kind.clone(), state.clone(), group.protocol_type.clone()]);
    }
    output.data(&json!(listed), || match listed.is_empty() {
        true => "there are no groups\n".to_owned(),
        false => table.render(output.colors_data()),
    })
}

/// What a group has committed, and how many records came behind that.
fn lags(client: &mut Client, group: &str, output: Output) -> Result<()> {
    let committed = client.committed(group)?;
    let is_known = !committed.is_empty() || client.groups()?.iter().any(|listed| listed.group_id == group);
    if !is_known {
        return Err(Failure::new(Code::NotFound, format!("there is no group {group}")).hint("see `atoll kafka groups`"));
    }
    let mut ends: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
    for part in &committed {
        if !ends.contains_key(part.topic.as_str()) {
            // A topic may be gone while what was committed for it is kept.
            ends.insert(&part.topic, client.offsets_told(&part.topic, -1).unwrap_or_default());
        }
    }
    let mut table = Table::new(&["topic", "partition", "committed", "ends", "lag"]);
    let mut described = Vec::new();
    for part in &committed {
        let end = ends.get(part.topic.as_str()).and_then(|ends| ends.get(&part.partition));
        let lag = end.map(|end| end.saturating_sub(part.offset));
        described.push(json!({
            "topic": part.topic,
            "partition": part.partition,
            "committedOffset": part.offset,
            "endOffset": end,
            "lag": lag,
        }));
        let (partition, offset) = (part.partition.to_string(), part.offset.to_string());
        table.row(vec![part.topic.clone(), partition, offset, shown(end), shown(lag.as_ref())]);
    }
    output.data(&json!({ "group": group, "partitions": described }), || table.render(output.colors_data()))
}

fn produce(client: &mut Client, topic: &str, key_separator: Option<&str>, output: Output) -> Result<()> {
    let input = std::io::stdin();
    if input.is_terminal() {
        output.say("one record a line; ^D ends");
    }
    let mut input = BufReader::with_capacity(BATCH_BYTES_MAX, input.lock());
    let mut identity = client.identity(topic)?;
    let (mut batch, mut parts) = (Batch::default(), BTreeMap::<i32, (i64, i64)>::new());
    while let Some(line) = line(&mut input)? {
        let (key, value) = split(line, key_separator)?;
        batch.push(key, value);
        // What has arrived goes together, and nothing waits for what has not.
        if batch.size() > BATCH_BYTES_MAX || input.buffer().is_empty() {
            send(client, topic, &mut identity, &std::mem::take(&mut batch), &mut parts)?;
        }
    }
    if !batch.is_empty() {
        send(client, topic, &mut identity, &batch, &mut parts)?;
    }
    let records: i64 = parts.values().map(|(_, count)| count).sum();
    let shown: Vec<Value> = parts
        .iter()
        .map(|(partition, (offset, count))| json!({ "partition": partition, "firstOffset": offset, "records": count }))
        .collect();
    let value = json!({ "topic": topic, "records": records, "partitions": shown });
    said(&value, &format!("{records} records are in {topic}"), output)
}

fn send(
    client: &mut Client,
    topic: &str,
    identity: &mut crate::kafka::Identity,
    batch: &Batch,
    parts: &mut BTreeMap<i32, (i64, i64)>,
) -> Result<()> {
    for (partition, offset, count) in client.produce(topic, identity, batch)? {
        parts.entry(partition).or_insert((offset, 0)).1 += count as i64;
    }
    Ok(())
}

/// The next line without its end; None at the end of the input.
fn line(input: &mut impl BufRead) -> Result<Option<Vec<u8>>> {
    let failed = |reason: String| Failure::new(Code::Usage, format!("standard input: {reason}"));
    let mut line = Vec::new();
    let read = input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(|error| failed(error.to_string()))?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if read as u64 == LINE_BYTES_MAX {
        return Err(failed(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
    }
    Ok((read > 0).then_some(line))
}

/// A line's key and value.
fn split(line: Vec<u8>, key_separator: Option<&str>) -> Result<(Option<Vec<u8>>, Vec<u8>)> {
    let Some(separator) = key_separator.filter(|separator| !separator.is_empty()) else { return Ok((None, line)) };
    let found = line.windows(separator.len()).position(|window| window == separator.as_bytes());
    let Some(at) = found else {
        let shown = String::from_utf8_lossy(&line[..line.len().min(40)]).into_owned();
        return Err(Failure::new(Code::Usage, format!("no `{separator}` in the line `{shown}`")));
    };
    Ok((Some(line[..at].to_vec()), line[at + separator.len()..].to_vec()))
}

fn consume(client: &mut Client, arguments: &ConsumeArguments, output: Output) -> Result<()> {
    let topic = &arguments.topic;
    let start = if arguments.from_beginning { Start::Beginning } else { Start::End };
    let mut position = client.position(topic, start)?;
    let mut left = arguments.max_messages.unwrap_or(u64::MAX);
    let patience = arguments.timeout_ms.map(Duration::from_millis);
    let mut silent = Duration::ZERO;
    while left > 0 && patience.is_none_or(|patience| silent < patience) {
        // A leader answers a look without records when its time is up.
        let look = patience.map_or(LOOK, |patience| LOOK.min(patience - silent));
        let records = client.consume(topic, &mut position, look)?;
        silent = if records.is_empty() { silent + look } else { Duration::ZERO };
        for (partition, record) in &records {
            if left > 0 {
                output.item(&described(*partition, record), || row(*partition, record, output))?;
                left -= 1;
            }
        }
    }
    Ok(())
}

fn described(partition: i32, record: &Record) -> Value {
    let text = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    json!({
        "partition": partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": text(&record.key),
        "value": text(&record.value),
    })
}

/// The value alone; more with `-o wide`.
fn row(partition: i32, record: &Record, output: Output) -> String {
    let text = |bytes: &Option<bytes::Bytes>| match bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "null".to_owned(),
    };
    if !output.is_wide() {
        return format!("{}\n", text(&record.value));
    }
    let place = Paint::Dim.apply(&format!("{partition}@{}", record.offset), output.colors_data());
    format!("{place}  {}  {}\n", text(&record.key), text(&record.value))
}
