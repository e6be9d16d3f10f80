//! `status`, `env`, `logs` and `apply`: what a running stack says, and how it is shown.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Common, target};
use crate::control::Request;
use crate::control::client::Answer;
use crate::environment::{self, Environment};
use crate::error::{Code, Failure, Result};
use crate::files;
use crate::output::{Output, Paint, Table};
use crate::registry::Registry;

/// The longest manifest file that is read, in bytes.
const MANIFEST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Shows the stack that is meant; without one, that none runs, or which do.
pub fn status(common: &Common, check: bool, output: Output) -> Result<u8> {
    let status = match target::ask(common, &Request::Status) {
        Ok(status) => status,
        Err(failure) if check || common.name.is_some() => return Err(failure),
        Err(failure) if failure.code == Code::AmbiguousStack || failure.code == Code::NotRunning => {
            return overview(output);
        }
        Err(failure) => return Err(failure),
    };
    output.data(&status, || details(&status, output))?;
    if check {
        let troubles = troubles(&status);
        if !troubles.is_empty() {
            return Err(Failure::new(Code::CheckFailed, troubles.join(", ")).hint("`atoll heal` undoes every fault"));
        }
    }
    Ok(0)
}

/// All stacks of this user.
fn overview(output: Output) -> Result<u8> {
    let running = Registry::open()?.running()?;
    let state = if running.is_empty() { "stopped" } else { "elsewhere" };
    output.data(&json!({ "state": state, "stacks": running }), || {
        if running.is_empty() {
            return "no stack runs: start one with `atoll up -d`\n".to_owned();
        }
        let mut table = Table::new(&["name", "instance", "pid", "directory"]);
        for entry in &running {
            let directory = entry.directory.display().to_string();
            table.row(vec![entry.name.clone(), entry.instance.to_string(), entry.pid.to_string(), directory]);
        }
        table.render(output.colors_data())
    })?;
    Ok(0)
}

/// What `status --check` holds against a stack.
fn troubles(status: &Value) -> Vec<String> {
    let mut troubles = Vec::new();
    for node in list(&status["nodes"]) {
        if node["state"] != "running" {
            troubles.push(format!("node {} is {}", node["id"], text(&node["state"])));
        }
        if node["disk"] != "ok" {
            troubles.push(format!("the disk of node {} is not ok", node["id"]));
        }
    }
    for rule in list(&status["rules"]) {
        troubles.push(format!("link {} → {}: {}", text(&rule["from"]), text(&rule["to"]), text(&rule["verdict"])));
    }
    for (name, engine) in status["engines"].as_object().into_iter().flatten() {
        if let Some(false) = engine["status"]["healthy"].as_bool() {
            troubles.push(format!("{name} is not healthy"));
        }
    }
    troubles
}

/// The few lines that `up` ends with.
pub fn summary(status: &Value, output: Output) -> String {
    let mut lines = String::new();
    for (name, engine) in status["engines"].as_object().into_iter().flatten() {
        let addresses: Vec<String> = list(&engine["addresses"]).map(text).collect();
        if !addresses.is_empty() {
            let _ = writeln!(lines, "  {name:<12}{}", addresses.join("  "));
        }
    }
    if let Some(kubeconfig) = status["environment"]["KUBECONFIG"].as_str() {
        let _ = writeln!(lines, "  {:<12}export KUBECONFIG={kubeconfig}", "kubectl");
    }
    let next = "  next:       eval \"$(atoll env)\"   ·   atoll status   ·   atoll node kill 2   ·   atoll down";
    let _ = writeln!(lines, "{}", Paint::Dim.apply(next, output.colors_data()));
    lines
}

fn details(status: &Value, output: Output) -> String {
    let is_colored = output.colors_data();
    let mut view = format!(
        "stack {} · instance {} · seed {} · up {} s · {}\n\n",
        text(&status["name"]),
        status["instance"],
        status["seed"],
        status["uptimeSeconds"],
        if status["ephemeral"] == true { "ephemeral".to_owned() } else { text(&status["directory"]) },
    );
    view.push_str(&nodes_table(status, output.is_wide()).render(is_colored));
    view.push('\n');
    let mut engines = Table::new(&["engine", "mode", "addresses"]);
    for (name, engine) in status["engines"].as_object().into_iter().flatten() {
        let addresses: Vec<String> = list(&engine["addresses"]).map(text).collect();
        engines.row(vec![name.clone(), text(&engine["mode"]), addresses.join(" ")]);
    }
    view.push_str(&engines.render(is_colored));
    if list(&status["rules"]).next().is_some() {
        view.push('\n');
        view.push_str(&rules_table(&status["rules"]).render(is_colored));
    }
    if list(&status["ledger"]).next().is_some() {
        view.push_str("\nthe ledger has entries: see `atoll ledger`\n");
    }
    view
}

fn nodes_table(status: &Value, is_wide: bool) -> Table {
    let mut headings = vec!["node", "state", "address"];
    if is_wide {
        headings.extend(["region", "zone", "pod side", "clock offset", "disk"]);
    }
    let mut table = Table::new(&headings);
    for node in list(&status["nodes"]) {
        let mut cells = vec![node["id"].to_string(), text(&node["state"]), text(&node["address"])];
        if is_wide {
            cells.extend([text(&node["region"]), text(&node["zone"]), text(&node["podSideAddress"])]);
            cells.push(format!("{} ms", node["clockOffsetMilliseconds"]));
            cells.push(text(&node["disk"]));
        }
        table.row(cells);
    }
    table
}

/// The rules in force as columns.
pub fn rules_table(rules: &Value) -> Table {
    let mut table = Table::new(&["from", "to", "part", "verdict"]);
    for rule in list(rules) {
        let part = rule["part"].as_str().unwrap_or("every").to_owned();
        table.row(vec![text(&rule["from"]), text(&rule["to"]), part, text(&rule["verdict"])]);
    }
    table
}

/// Prints the addresses.
pub fn env(common: &Common, output: Output) -> Result<u8> {
    let value = target::ask(common, &Request::Environment)?;
    let environment: Environment = serde_json::from_value(value.clone()).map_err(|error| {
        Failure::new(Code::ControlFailed, format!("the stack's addresses are not understood: {error}"))
    })?;
    output.data(&value, || environment::as_shell(&environment))?;
    Ok(0)
}

/// Prints the merged log.
pub fn logs(common: &Common, sources: Vec<String>, follow: bool, tail: usize, output: Output) -> Result<u8> {
    let request = Request::Logs { sources, tail, follow };
    let answer = Answer::ask(&target::find(common)?.socket(), &request, follow)?;
    match answer.finish(|line| output.item(&line, || format!("{}\n", log_line(&line, output))), |_| ()) {
        // Following ends with the stack.
        Err(failure) if follow && failure.code == Code::ControlFailed => Ok(0),
        other => other.map(|_| 0),
    }
}

/// One line of the log for people.
pub fn log_line(line: &Value, output: Output) -> String {
    let at_ms = line["at_ms"].as_i64().unwrap_or(0).rem_euclid(86_400_000);
    let (seconds, milliseconds) = (at_ms / 1000, at_ms % 1000);
    let time = format!("{:02}:{:02}:{:02}.{milliseconds:03}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let source = Paint::Bold.apply(&text(&line["source"]), output.colors_data());
    format!("{} {source}  {}", Paint::Dim.apply(&time, output.colors_data()), text(&line["text"]))
}

/// Applies manifests.
pub fn apply(common: &Common, files: &[PathBuf], output: Output) -> Result<u8> {
    let mut documents = Vec::new();
    for file in files {
        documents.extend(manifests(file)?);
    }
    let answer = target::ask(common, &Request::Apply { documents })?;
    output.data(&answer, || list(&answer["applied"]).map(|line| format!("{}\n", text(line))).collect())?;
    Ok(0)
}

/// The manifests of a file, or of all files of a directory in the order of their names.
pub fn manifests(path: &Path) -> Result<Vec<(String, String)>> {
    let shown = path.display().to_string();
    let unreadable = |error: std::io::Error| Failure::new(Code::ManifestInvalid, format!("{shown}: {error}"));
    if path == Path::new("-") {
        let mut text = String::new();
        let limit = u64::try_from(MANIFEST_BYTES_MAX).unwrap_or(u64::MAX);
        std::io::stdin().take(limit).read_to_string(&mut text).map_err(unreadable)?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    if !path.is_dir() {
        return Ok(vec![(shown.clone(), files::read_text(path, MANIFEST_BYTES_MAX).map_err(unreadable)?)]);
    }
    let is_manifest = |file: &PathBuf| {
        file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(unreadable)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| file.is_file() && is_manifest(file))
        .collect();
    files.sort();
    files.iter().map(|file| manifests(file)).collect::<Result<Vec<_>>>().map(|lists| lists.concat())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A JSON value as people read it: text without quotes.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
