//! Stacks that run: detached, in the foreground, beside a command; and that nothing of them is left.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::stage::{Ending, Stage};

/// A stack of external engines: everything but the engines themselves is real.
const EXTERNAL: &str = "apiVersion: atoll.dev/v1alpha1
kind: Stack
metadata: {name: outside}
engines:
  redis: {external: \"127.0.0.1:7\"}
  kafka: {external: \"127.0.0.1:8,127.0.0.1:9\"}
  kubernetes: {enabled: false}
";

fn stage() -> Stage {
    let stage = Stage::new();
    stage.file("atoll.yaml", EXTERNAL);
    stage
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).expect("the process is there");
}

/// Waits for the first line of a child's standard output.
fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
    line
}

#[test]
fn a_detached_stack_runs_until_it_is_stopped() {
    let stage = stage();
    let up = stage.json(&["up", "-d"]);
    assert_eq!((&up["name"], &up["state"]), (&json!("outside"), &json!("running")));
    let status = stage.json(&["status"]);
    assert_eq!(status["pid"], up["pid"]);
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(3));
    let down = stage.json(&["down"]);
    assert_eq!(down, json!({ "name": "outside", "state": "stopped", "purged": false }));
    assert_eq!(stage.json(&["status"])["state"], json!("stopped"));
    assert!(stage.project().join(".atoll").is_dir());
    assert_eq!(stage.json(&["down", "--purge"])["purged"], json!(true));
    assert!(!stage.project().join(".atoll").exists());
}

#[test]
fn a_second_stack_in_the_same_directory_is_refused() {
    let stage = stage();
    stage.json(&["up", "-d"]);
    let (code, error) = stage.error(&["up", "-d"]);
    assert_eq!((code, &error["code"]), (Some(1), &json!("data-directory-locked")));
    let (code, error) = stage.error(&["up", "--ephemeral", "--name", "other"]);
    assert_eq!((code, &error["code"]), (Some(1), &json!("already-running")));
}

#[test]
fn what_a_stack_leaves_on_disk_is_its_owners_alone() {
    let stage = stage();
    stage.json(&["up", "-d"]);
    for path in [".atoll", ".atoll/control.sock", ".atoll/atoll.log"] {
        let mode = std::fs::metadata(stage.project().join(path)).expect(path).permissions().mode();
        assert_eq!(mode & 0o077, 0, "{path} has mode {mode:o}");
    }
}

#[test]
fn faults_are_injected_and_healed() {
    let stage = stage();
    stage.json(&["up", "-d"]);
    assert_eq!(stage.json(&["node", "kill", "2"])["state"], json!("killed"));
    assert_eq!(stage.json(&["node", "kill", "2"])["changed"], json!(false));
    assert_eq!(stage.json(&["partition", "1|2,3"])["rules"].as_array().map(Vec::len), Some(2));
    stage.json(&["link", "slow", "client", "3", "--by", "50", "--one-way"]);
    let (code, error) = stage.error(&["status", "--check"]);
    assert_eq!((code, &error["code"]), (Some(3), &json!("check-failed")));
    assert_eq!(stage.error(&["node", "kill", "9"]).0, Some(4));
    stage.json(&["heal"]);
    stage.json(&["status", "--check"]);
    let log = stage.run(&["logs", "faults"]).stdout;
    assert!(log.contains("node 2 killed") && log.contains("node 2 started"), "{log}");
}

#[test]
fn following_the_log_ends_with_the_stack() {
    let stage = stage();
    stage.json(&["up", "-d"]);
    let mut follower = stage.command(&["logs", "-f", "faults", "--json"]).spawn().expect("atoll runs");
    stage.json(&["node", "pause", "1"]);
    let line: Value = serde_json::from_str(&first_line(&mut follower)).expect("one value per line");
    assert_eq!(line["text"], json!("node 1 paused"));
    stage.json(&["down"]);
    assert_eq!(follower.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_stack_in_the_foreground_ends_with_ctrl_c() {
    let stage = stage();
    let mut up = stage.command(&["up", "--json"]).spawn().expect("atoll runs");
    let status: Value = serde_json::from_str(&first_line(&mut up)).expect("the status");
    assert_eq!(status["state"], json!("running"));
    signal(&up, Signal::SIGINT);
    assert_eq!(up.wait().expect("it ends").code(), Some(130));
    assert_eq!(stage.json(&["status"])["state"], json!("stopped"));
}

#[test]
fn after_kill_minus_nine_the_stack_is_known_to_be_gone() {
    let stage = stage();
    let mut up = stage.command(&["up", "--json"]).spawn().expect("atoll runs");
    first_line(&mut up);
    signal(&up, Signal::SIGKILL);
    up.wait().expect("it ends");
    assert_eq!(stage.json(&["status"])["state"], json!("stopped"));
    stage.json(&["up", "-d"]);
}

#[test]
fn a_command_runs_beside_a_stack_of_its_own() {
    let stage = stage();
    let script = "echo $REDIS_URL $KAFKA_BOOTSTRAP_SERVERS $ATOLL_NAME; exit 7";
    let ending = stage.run(&["run", "--", "sh", "-c", script]);
    assert_eq!(ending.code, Some(7), "{}", ending.stderr);
    assert!(ending.stdout.starts_with("redis://127.0.0.1:7 127.0.0.1:8,127.0.0.1:9 run-"), "{}", ending.stdout);
    assert_nothing_is_left(&stage);
}

#[test]
fn signals_reach_the_command_and_the_stack_ends_whatever_happens() {
    let stage = stage();
    let script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 1; done";
    for (number, code) in [(Signal::SIGTERM, 9), (Signal::SIGHUP, 129), (Signal::SIGINT, 130)] {
        let mut run = stage.command(&["run", "--", "sh", "-c", script]).spawn().expect("atoll runs");
        assert_eq!(first_line(&mut run), "ready\n");
        signal(&run, number);
        let ending = Ending::of(&run.wait_with_output().expect("it ends"));
        assert_eq!(ending.code, Some(code), "{number}: {}", ending.stderr);
        assert_nothing_is_left(&stage);
    }
}

#[test]
fn a_command_that_does_not_exist_is_an_error_and_leaves_nothing() {
    let stage = stage();
    let (code, error) = stage.error(&["run", "--", "no-such-program"]);
    assert_eq!(code, Some(1));
    assert_eq!(error["code"], json!("command-failed"));
    assert_nothing_is_left(&stage);
}

#[test]
fn stacks_of_two_directories_are_told_apart_by_name() {
    let (one, runtime) = (stage(), Stage::new());
    one.json(&["up", "-d", "--name", "first"]);
    one.file("second/atoll.yaml", EXTERNAL);
    let second = one.project().join("second");
    let mut up = one.command(&["up", "-d", "--json", "--name", "second"]);
    let ending = Ending::of(&up.current_dir(&second).output().expect("atoll runs"));
    assert_eq!(ending.code, Some(0), "{}", ending.stderr);
    assert_eq!(one.json(&["status"])["name"], json!("first"));
    assert_eq!(one.json(&["status", "--name", "second"])["name"], json!("second"));
    let mut elsewhere = one.command(&["env", "--json"]);
    let ending = Ending::of(&elsewhere.current_dir(runtime.path()).output().expect("atoll runs"));
    assert_eq!(ending.code, Some(2), "two stacks run, none here: {}", ending.stderr);
    one.json(&["down", "--name", "second"]);
}

#[test]
fn in_a_directory_with_a_stack_of_its_own_no_other_is_meant() {
    let stage = stage();
    stage.json(&["up", "-d"]);
    // Beside the first stack's directory, since whatever lies below that means it.
    stage.file("../other/atoll.yaml", &EXTERNAL.replace("outside", "other"));
    stage.file("../other/deeper/notes.txt", "");
    stage.file("../kept/.atoll/notes.txt", "");
    stage.file("../empty/notes.txt", "");
    let ask = |folder: &str, words: &[&str]| {
        let mut command = stage.command(&[&["--json"][..], words].concat());
        Ending::of(&command.current_dir(stage.path().join(folder)).output().expect("atoll runs"))
    };
    for (folder, own) in [("other", "other"), ("other/deeper", "other"), ("kept", "kept")] {
        let commands =
            [&["down"][..], &["down", "--purge"], &["env"], &["logs"], &["node", "kill", "1"], &["status", "--check"]];
        for words in commands {
            let ending = ask(folder, words);
            assert_eq!(ending.code, Some(5), "atoll {words:?} in {folder}: {}", ending.stderr);
            let error: Value = serde_json::from_str(&ending.stderr).expect("an error");
            let directory = stage.path().canonicalize().expect("a path").join(own);
            let message = format!("the stack of {} is not running", directory.display());
            assert_eq!(error["error"]["message"], json!(message));
            let hint = error["error"]["hint"].as_str().expect("a hint");
            assert!(hint.starts_with("start it with `atoll up -d`; `--name outside` means the one of /"), "{hint}");
        }
    }
    // Without any of its own, the only one is meant; and what was asked in vain has done nothing to it.
    assert_eq!(ask("empty", &["status", "--check"]).code, Some(0));
    assert_eq!(ask("other", &["status"]).stdout.matches("\"elsewhere\"").count(), 1);
    assert!(stage.project().join(".atoll").is_dir());
    assert_eq!(ask("other", &["down", "--name", "outside"]).code, Some(0));
}

#[test]
fn a_directory_with_a_very_long_path_has_a_control_socket_too() {
    let stage = stage();
    let deep = ["a".repeat(100), "b".repeat(100)].join("/");
    stage.file(&format!("{deep}/atoll.yaml"), EXTERNAL);
    let directory = stage.project().join(deep);
    for words in [&["up", "-d"][..], &["status", "--check"], &["down"]] {
        let ending = Ending::of(&stage.command(words).current_dir(&directory).output().expect("atoll runs"));
        assert_eq!(ending.code, Some(0), "atoll {words:?}: {}", ending.stderr);
    }
}

fn assert_nothing_is_left(stage: &Stage) {
    let left: Vec<String> = std::fs::read_dir(stage.path().join("runtime/atoll"))
        .expect("the registry")
        .flatten()
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "claims.lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
