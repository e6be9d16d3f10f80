//! Commands without a running stack: usage, exit codes, the form of errors, refused stack files.

use serde_json::json;

use crate::stage::Stage;

#[test]
fn a_mistake_on_the_command_line_is_a_usage_error() {
    let stage = Stage::new();
    let ending = stage.run(&["upp"]);
    assert_eq!(ending.code, Some(2));
    assert!(ending.stderr.contains("'up'"), "{}", ending.stderr);
    let (code, error) = stage.error(&["node", "explode", "1"]);
    assert_eq!((code, &error["code"]), (Some(2), &json!("usage")));
}

#[test]
fn without_a_stack_commands_say_so_with_their_own_exit_code() {
    let stage = Stage::new();
    for words in
        [&["down"][..], &["env"], &["logs"], &["heal"], &["ledger"], &["node", "kill", "1"], &["status", "--check"]]
    {
        let (code, error) = stage.error(words);
        assert_eq!((code, &error["code"]), (Some(5), &json!("not-running")), "atoll {words:?}");
        assert_eq!(error["docs"], json!("docs/reference/errors/not-running.md"));
        assert!(error["hint"].is_string());
    }
}

#[test]
fn the_state_is_never_an_exit_code_of_status() {
    let stage = Stage::new();
    let status = stage.json(&["status"]);
    assert_eq!(status, json!({ "state": "stopped", "stacks": [] }));
}

#[test]
fn a_refused_stack_file_names_file_line_and_column() {
    let stage = Stage::new();
    stage.file("atoll.yaml", "apiVersion: atoll.dev/v1alpha1\nkind: Stack\nndoes: 3\n");
    let (code, error) = stage.error(&["up"]);
    assert_eq!(code, Some(2));
    assert_eq!(
        error,
        json!({
            "code": "stack-file-invalid",
            "message": "unknown key `ndoes` in a stack file",
            "hint": "did you mean `nodes`?",
            "docs": "docs/reference/errors/stack-file-invalid.md",
            "file": "atoll.yaml",
            "line": 3,
            "column": 1,
        })
    );
    let ending = stage.run(&["up", "-d"]);
    assert_eq!(ending.code, Some(2));
    assert!(ending.stderr.contains("atoll.yaml:3:1") && ending.stderr.contains("nodes"), "{}", ending.stderr);
    assert!(!ending.stderr.contains('\x1b'), "no color where no terminal is");
}

#[test]
fn a_refused_option_of_an_engine_is_reported_before_anything_starts() {
    let stage = Stage::new();
    stage.file(
        "atoll.yaml",
        "apiVersion: atoll.dev/v1alpha1\nkind: Stack\nengines:\n  redis:\n    config:\n      apendfsync: always\n",
    );
    let (code, error) = stage.error(&["up"]);
    assert_eq!((code, &error["code"]), (Some(2), &json!("stack-file-invalid")));
    assert_eq!((&error["line"], &error["column"]), (&json!(6), &json!(7)));
    assert_eq!(error["hint"], json!("did you mean `appendfsync`?"));
}

#[test]
fn a_missing_stack_file_is_not_found() {
    let stage = Stage::new();
    let (code, error) = stage.error(&["up", "-f", "nowhere.yaml"]);
    assert_eq!((code, &error["code"]), (Some(4), &json!("stack-file-unreadable")));
}

#[test]
fn color_follows_the_option_and_the_environment() {
    let stage = Stage::new();
    assert!(stage.run(&["heal", "--color", "always"]).stderr.contains("\x1b[31m"));
    assert!(!stage.run(&["heal"]).stderr.contains('\x1b'));
    assert!(!stage.run(&["heal", "--color", "never"]).stderr.contains('\x1b'));
}

#[test]
fn the_doctor_checks_in_groups() {
    let stage = Stage::new();
    let ending = stage.run(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ending.stdout).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    assert!(checks.len() > 8);
    let failed = checks.iter().filter(|check| check["grade"] == "failed").count();
    assert_eq!(ending.code, Some(if failed == 0 { 0 } else { 3 }));
    for check in checks {
        assert!(check["grade"] == "ok" || check["hint"].is_string(), "{check} has a hint");
    }
}

#[test]
fn completions_know_the_commands() {
    let stage = Stage::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(stage.run(&["completions", shell]).stdout.contains("partition"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let stage = Stage::new();
    let mut child = stage.command(&["completions", "bash"]).spawn().expect("atoll runs");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}
