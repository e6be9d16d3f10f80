//! `cargo xtask kafka-codegen FOLDER`: Kafka's JSON message definitions become plain Rust in
//! `crates/core/kafka-wire/src/generated/`, one file per message. The result is committed, so that a build needs
//! neither the definitions nor this tool. The definitions are those of Kafka 4.0.0: `common/message/*.json` in
//! `kafka-clients-4.0.0.jar`, which `conformance/` brings; older or newer ones are refused.

#![allow(clippy::disallowed_methods, reason = "a tool of the repository reads and writes its files directly")]

mod emit;
mod emit_api;
mod schema;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use schema::Message;

/// A message whose newest version tells the release that the definitions are of.
const RELEASE_MARK: (&str, i16) = ("MetadataRequest", 13);

/// The served APIs with the oldest version that Kafka 4 still accepts (KIP-896). The newest is the definitions' own.
const SERVED: &[(&str, i16)] = &[
    ("AddOffsetsToTxn", 0),
    ("AddPartitionsToTxn", 0),
    ("AlterClientQuotas", 0),
    ("AlterConfigs", 0),
    ("AlterPartitionReassignments", 0),
    ("AlterReplicaLogDirs", 0),
    ("AlterUserScramCredentials", 0),
    ("ApiVersions", 0),
    ("ConsumerGroupDescribe", 0),
    ("ConsumerGroupHeartbeat", 0),
    ("CreateAcls", 0),
    ("CreateDelegationToken", 0),
    ("CreatePartitions", 0),
    ("CreateTopics", 2),
    ("DeleteAcls", 0),
    ("DeleteGroups", 0),
    ("DeleteRecords", 0),
    ("DeleteTopics", 1),
    ("DescribeAcls", 0),
    ("DescribeClientQuotas", 0),
    ("DescribeCluster", 0),
    ("DescribeConfigs", 1),
    ("DescribeDelegationToken", 0),
    ("DescribeGroups", 0),
    ("DescribeLogDirs", 0),
    ("DescribeProducers", 0),
    ("DescribeQuorum", 0),
    ("DescribeTopicPartitions", 0),
    ("DescribeTransactions", 0),
    ("DescribeUserScramCredentials", 0),
    ("ElectLeaders", 0),
    ("EndTxn", 0),
    ("ExpireDelegationToken", 0),
    ("Fetch", 4),
    ("FindCoordinator", 0),
    ("Heartbeat", 0),
    ("IncrementalAlterConfigs", 0),
    ("InitProducerId", 0),
    ("JoinGroup", 0),
    ("LeaveGroup", 0),
    ("ListGroups", 0),
    ("ListOffsets", 1),
    ("ListPartitionReassignments", 0),
    ("ListTransactions", 0),
    ("Metadata", 0),
    ("OffsetCommit", 2),
    ("OffsetDelete", 0),
    ("OffsetFetch", 1),
    ("OffsetForLeaderEpoch", 2),
    ("Produce", 3),
    ("RenewDelegationToken", 0),
    ("SaslAuthenticate", 0),
    ("SaslHandshake", 0),
    ("SyncGroup", 0),
    ("TxnOffsetCommit", 0),
    ("UpdateFeatures", 0),
    ("WriteTxnMarkers", 0),
];

/// Reads the definitions in `folder` and writes the generated files, or compares them if `check` is set.
pub fn run(folder: &Path, check: bool) -> Result<()> {
    if check && !folder.exists() {
        println!("{} does not exist: nothing to compare with", folder.display());
        return Ok(());
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/core/kafka-wire/src/generated");
    let files = generate(folder)?;
    if check {
        return compare(&target, &files);
    }
    std::fs::create_dir_all(&target)?;
    for (name, text) in &files {
        std::fs::write(target.join(name), text)?;
    }
    println!("{} files written to {}", files.len(), target.display());
    Ok(())
}

/// All generated files by name.
fn generate(folder: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut messages = Vec::new();
    let mark = read_message(folder, RELEASE_MARK.0, 0)?;
    ensure!(
        mark.valid_versions.last == RELEASE_MARK.1,
        "these definitions are not Kafka 4.0.0's: unpack common/message of kafka-clients-4.0.0.jar"
    );
    for (api, version_min) in SERVED {
        for kind in ["Request", "Response"] {
            messages.push(read_message(folder, &format!("{api}{kind}"), *version_min)?);
        }
    }
    let mut files = BTreeMap::new();
    for message in &messages {
        files.insert(format!("{}.rs", emit::snake_case(&message.name)), emit::message(message)?);
    }
    files.insert("mod.rs".to_owned(), emit_api::index(&messages));
    files.insert("api.rs".to_owned(), emit_api::api(&messages)?);
    files.insert("samples.rs".to_owned(), emit_api::samples(&messages)?);
    files.into_iter().map(|(name, text)| Ok((PathBuf::from(name), format_rust(&text)?))).collect()
}

fn read_message(folder: &Path, name: &str, version_min: i16) -> Result<Message> {
    let path = folder.join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    // By way of a value, because one definition names a key twice, which a structure would refuse.
    let mut message: Message = serde_json::from_str(&schema::strip_comments(&text))
        .and_then(|value: serde_json::Value| serde_json::from_value(value))
        .with_context(|| format!("parsing {}", path.display()))?;
    message.prepare(version_min).with_context(|| format!("in {}", path.display()))?;
    Ok(message)
}

fn compare(target: &Path, files: &BTreeMap<PathBuf, String>) -> Result<()> {
    for (name, text) in files {
        let found = std::fs::read_to_string(target.join(name)).unwrap_or_default();
        ensure!(&found == text, "{} is not current: run cargo xtask kafka-codegen FOLDER", name.display());
    }
    for entry in std::fs::read_dir(target)? {
        let name = PathBuf::from(entry?.file_name());
        if !files.contains_key(&name) {
            bail!("{} is not generated any more: delete it", name.display());
        }
    }
    println!("{} files are current", files.len());
    Ok(())
}

/// Lets rustfmt lay the text out with the repository's own settings.
fn format_rust(text: &str) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root.join("rustfmt.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting rustfmt")?;
    let mut stdin = child.stdin.take().context("rustfmt has no standard input")?;
    let input = text.to_owned();
    // Written from another thread, because rustfmt may answer before it has read everything.
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "rustfmt refused the generated text:\n{text}");
    writing.join().expect("the writing thread does not panic")?;
    Ok(String::from_utf8(output.stdout)?)
}
