//! `atoll kafka` beside brokers that run: what is made, produced and consumed, with keys, and what is refused.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::stage::{Ending, Stage};

const BROKERS: &str = "apiVersion: atoll.dev/v1alpha1
kind: Stack
nodes: 3
engines:
  redis: {enabled: false}
  kubernetes: {enabled: false}
";

fn brokers() -> Stage {
    let stage = Stage::new();
    stage.file("atoll.yaml", BROKERS);
    stage.json(&["up", "-d", "--ephemeral"]);
    stage
}

/// Runs a command with this standard input.
fn fed(stage: &Stage, words: &[&str], input: &str) -> Ending {
    let mut child = stage.command(words).stdin(Stdio::piped()).spawn().expect("atoll runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    Ending::of(&child.wait_with_output().expect("it ends"))
}

/// What a command prints, a value on each line.
fn values(ending: &Ending) -> Vec<Value> {
    assert_eq!(ending.code, Some(0), "{}", ending.stderr);
    ending.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn topics_are_made_shown_and_deleted() {
    let stage = brokers();
    assert_eq!(stage.json(&["kafka", "topics"]), json!([]));
    let make = ["kafka", "topics", "orders", "--create", "--partitions", "2", "--replication-factor", "3"];
    assert_eq!(stage.json(&make), json!({ "created": "orders" }));
    let listed = json!([{ "topic": "orders", "partitions": 2, "replicas": 3, "isInternal": false }]);
    assert_eq!(stage.json(&["kafka", "topics"]), listed);
    let (code, error) = stage.error(&make);
    assert_eq!((code, &error["code"]), (Some(1), &json!("kafka-refused")));
    assert!(error["message"].as_str().is_some_and(|message| message.contains("TOPIC_ALREADY_EXISTS")), "{error}");
    let (_, error) = stage.error(&["kafka", "topics", "other", "--create", "--config", "no.such.option=1"]);
    assert_eq!(error["code"], json!("kafka-refused"));
    let shown = stage.json(&["kafka", "topics", "orders"]);
    assert_eq!(shown["partitions"].as_array().map(Vec::len), Some(2));
    assert_eq!(shown["partitions"][0]["replicas"].as_array().map(Vec::len), Some(3));
    assert_eq!((&shown["partitions"][1]["beginOffset"], &shown["partitions"][1]["endOffset"]), (&json!(0), &json!(0)));
    assert_eq!(stage.json(&["kafka", "topics", "orders", "--delete"]), json!({ "deleted": "orders" }));
    let (code, error) = stage.error(&["kafka", "topics", "orders"]);
    assert_eq!((code, &error["code"]), (Some(4), &json!("not-found")));
    let (code, _) = stage.error(&["kafka", "topics", "--delete"]);
    assert_eq!(code, Some(2));
}

#[test]
fn lines_are_records_and_keys_choose_partitions() {
    let stage = brokers();
    stage.json(&["kafka", "topics", "orders", "--create", "--partitions", "10"]);
    let produced =
        fed(&stage, &["--json", "kafka", "produce", "orders", "--key-separator", ":"], "abc:1\nabc:2\n21:x:y\n");
    let summary: Value = serde_json::from_str(&produced.stdout).expect("JSON");
    assert_eq!((&summary["topic"], &summary["records"]), (&json!("orders"), &json!(3)), "{}", produced.stderr);
    let consume = ["--json", "kafka", "consume", "orders", "--from-beginning", "--max-messages", "3"];
    let mut records = values(&stage.run(&consume));
    records.sort_by_key(|record| record["partition"].as_i64());
    let told: Vec<Value> = records.iter().map(|of| json!([of["key"], of["value"], of["offset"]])).collect();
    let same: Vec<&Value> = told.iter().filter(|record| record[0] == "abc").collect();
    assert_eq!(same, [&json!(["abc", "1", 0]), &json!(["abc", "2", 1])]);
    assert!(told.contains(&json!(["21", "x:y", 0])), "{told:?}");
    // As Kafka's own clients have it: murmur2 of `abc`, modulo 10.
    assert!(records.iter().all(|record| (record["key"] == "abc") == (record["partition"] == 7)));
    let plain = stage.run(&["kafka", "consume", "orders", "--from-beginning", "--timeout-ms", "600"]);
    let mut lines: Vec<&str> = plain.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1", "2", "x:y"]);
    let ending = fed(&stage, &["kafka", "produce", "orders", "--key-separator", "#"], "no key\n");
    assert_eq!(ending.code, Some(2));
}

#[test]
fn a_topic_comes_into_being_with_its_first_record() {
    let stage = brokers();
    let produced = fed(&stage, &["kafka", "produce", "greetings"], "hello\n");
    assert_eq!(produced.code, Some(0), "{}", produced.stderr);
    let consumed = stage.run(&["kafka", "consume", "greetings", "--from-beginning", "--max-messages", "1"]);
    assert_eq!(consumed.stdout, "hello\n");
}

#[test]
fn a_leader_that_dies_is_waited_for_and_nothing_is_there_twice() {
    let stage = brokers();
    stage.json(&["kafka", "topics", "orders", "--create", "--partitions", "3", "--replication-factor", "3"]);
    let before = stage.json(&["kafka", "topics", "orders"]);
    stage.json(&["node", "kill", "1"]);
    let lines: String = (0..30).map(|number| format!("{number}:{number}\n")).collect();
    let produced = fed(&stage, &["--json", "kafka", "produce", "orders", "--key-separator", ":"], &lines);
    assert_eq!(produced.code, Some(0), "{}", produced.stderr);
    let records =
        values(&stage.run(&["--json", "kafka", "consume", "orders", "--from-beginning", "--timeout-ms", "1000"]));
    let mut numbers: Vec<i64> = records.iter().filter_map(|of| of["value"].as_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..30).collect::<Vec<i64>>());
    let after = stage.json(&["kafka", "topics", "orders"]);
    let led = |shown: &Value| shown["partitions"].as_array().is_some_and(|all| all.iter().any(|of| of["leader"] == 1));
    assert!(led(&before) && !led(&after), "{after}");
}

#[test]
fn what_a_paused_leader_does_not_tell_is_left_open() {
    let stage = brokers();
    stage.json(&["kafka", "topics", "orders", "--create", "--partitions", "3"]);
    stage.json(&["node", "pause", "2"]);
    let shown = stage.json(&["kafka", "topics", "orders"]);
    for partition in shown["partitions"].as_array().expect("partitions") {
        let is_paused = partition["leader"] == 2;
        assert_eq!(partition["endOffset"].is_null(), is_paused, "{partition}");
    }
    assert!(shown["partitions"].as_array().is_some_and(|all| all.iter().any(|of| of["leader"] == 2)), "{shown}");
}

#[test]
fn groups_that_are_not_there_are_not_found() {
    let stage = brokers();
    assert_eq!(stage.json(&["kafka", "groups"]), json!([]));
    let (code, error) = stage.error(&["kafka", "groups", "nobody"]);
    assert_eq!((code, &error["code"]), (Some(4), &json!("not-found")));
}
