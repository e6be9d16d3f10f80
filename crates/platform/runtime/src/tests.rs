//! Tests of what needs no pod.
#![allow(clippy::disallowed_methods)] // These tests look at the files that logs are made of.

use crate::images::{Images, LocalCommand};
use crate::logs::{LineWriter, LogOptions, Logs};
use std::path::PathBuf;

fn command(word: &str) -> LocalCommand {
    LocalCommand { argv: vec![word.into()], working_dir: PathBuf::from("/"), env: Default::default() }
}

#[test]
fn images_are_found_by_name_and_tag_or_by_name_alone() {
    let mut images = Images::default();
    images.insert("payment", command("any"));
    images.insert("payment:v1.2", command("exact"));
    images.insert("registry.example:5000/shop/web", command("web"));
    let argv = |image: &str| {
        images.resolve(image).map(|command| command.argv[0].clone()).map_err(|error| error.reason().to_owned())
    };
    assert_eq!(argv("payment:v1.2"), Ok("exact".into()));
    assert_eq!(argv("payment:v1.3"), Ok("any".into()));
    assert_eq!(argv("docker.io/library/payment"), Ok("any".into()));
    assert_eq!(argv("registry.example:5000/shop/web:1"), Ok("web".into()));
    assert_eq!(argv("registry.example:5000/shop/web@sha256:00"), Ok("web".into()));
    assert_eq!(argv("orders"), Err("ErrImagePull".into()));
    for invalid in ["", "Payment", "pay ment", "payment:", "payment:-x", "/payment", "a//b", "payment:v1:v2"] {
        assert_eq!(argv(invalid), Err("InvalidImageName".into()), "{invalid:?}");
    }
}

async fn text(logs: &Logs, options: LogOptions) -> String {
    let mut chunks = logs.read("pod", "web", options).expect("a log");
    let mut text = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        text.extend_from_slice(&chunk);
    }
    String::from_utf8(text).expect("text")
}

#[tokio::test]
async fn logs_are_rotated_and_keep_their_order() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let logs = Logs::new(directory.path().into(), 1000, 3);
    let log = logs.create("pod", "web", 0).expect("created");
    let mut writer = LineWriter::new(log.clone(), "stdout");
    let following = logs.read("pod", "web", LogOptions { follow: true, ..Default::default() }).expect("a log");
    for number in 0..100 {
        writer.write(format!("line {number}\n").as_bytes());
    }
    let files: Vec<u64> = std::fs::read_dir(directory.path().join("pod/web"))
        .expect("directory")
        .map(|entry| entry.expect("entry").metadata().expect("metadata").len())
        .collect();
    assert_eq!(files.len(), 3, "the oldest are gone");
    assert!(files.iter().all(|length| *length <= 1000), "{files:?}");
    let all = text(&logs, LogOptions::default()).await;
    let numbers: Vec<u32> = all.lines().map(|line| line[5..].parse().expect("a number")).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]) && numbers.last() == Some(&99), "{numbers:?}");
    let tail = text(&logs, LogOptions { tail: Some(20), ..Default::default() }).await;
    assert_eq!(tail.lines().count(), 20, "a tail goes across files");
    writer.finish();
    logs.end(&log);
    drop(following);
}

#[tokio::test]
async fn long_lines_are_stored_in_parts_and_shown_whole() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let logs = Logs::new(directory.path().into(), 1 << 20, 2);
    let log = logs.create("pod", "web", 0).expect("created");
    let mut writer = LineWriter::new(log.clone(), "stderr");
    let long = "x".repeat(40_000);
    for piece in [&long[..10], &long[10..30_000], &long[30_000..], "\n", "\nlast"] {
        writer.write(piece.as_bytes());
    }
    writer.finish();
    logs.end(&log);
    assert_eq!(text(&logs, LogOptions::default()).await, format!("{long}\n\nlast\n"));
    let stored = std::fs::read_to_string(directory.path().join("pod/web/0.log")).expect("text");
    let tags: String = stored.lines().map(|line| line.split(' ').nth(2).expect("a tag")).collect();
    assert_eq!(tags, "PPFFF");
}
