//! `up` and `down`.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Common, StackArguments, UpArguments, query, target};
use crate::control::client;
use crate::detach::{self, Detached};
use crate::error::{Code, Failure, Result};
use crate::home::Home;
use crate::output::Output;
use crate::plan::{Plan, StackPlace, Wishes};
use crate::registry::Registry;
use crate::serve::{self, Reporter, Running};
use crate::signals::Signals;

/// Starts a stack.
pub fn up(common: &Common, arguments: UpArguments, output: Output) -> Result<u8> {
    let registry = Registry::open()?;
    let wishes = Wishes { ephemeral: arguments.ephemeral, ..wishes(common, arguments.file.as_ref(), &arguments.stack) };
    if arguments.report_readiness {
        return up_detached(&wishes, &registry, output);
    }
    let plan = Plan::new(&wishes, &registry, output.colors_messages())?;
    if arguments.detach {
        let status = detach::spawn(&plan.home, output)?;
        output.data(&status, || query::summary(&status, output))?;
        return Ok(0);
    }
    serve::serve(plan, &registry, &mut Foreground { output }, async |running, signals| {
        until_told_to_stop(running, signals, output).await
    })
}

/// The process that `up -d` leaves behind.
fn up_detached(wishes: &Wishes, registry: &Registry, output: Output) -> Result<u8> {
    let mut reporter = Detached::begin();
    let is_ready = std::cell::Cell::new(false);
    let outcome = Plan::new(wishes, registry, output.colors_messages()).and_then(|plan| {
        serve::serve(plan, registry, &mut reporter, async |running, signals| {
            is_ready.set(true);
            until_told_to_stop(running, signals, output).await
        })
    });
    if let Err(failure) = &outcome
        && !is_ready.get()
    {
        reporter.failed(failure);
        return Ok(failure.code.exit_code());
    }
    outcome
}

/// Wishes of the command line that `up`, `run` and `demo` share.
pub fn wishes(common: &Common, file: Option<&std::path::PathBuf>, stack: &StackArguments) -> Wishes {
    Wishes {
        file: file.or(common.stack_file.as_ref()).cloned(),
        name: common.name.clone(),
        nodes: stack.nodes,
        seed: stack.seed,
        ..Wishes::default()
    }
}

async fn until_told_to_stop(running: &Running, signals: &mut Signals, output: Output) -> Result<u8> {
    let (_, mut feed) = running.logs.read(&[], 0);
    loop {
        tokio::select! {
            biased;
            received = signals.next() => {
                output.say("stopping …");
                return Ok(if received.signal == Signal::SIGINT { Code::Interrupted.exit_code() } else { 0 });
            }
            () = running.asked_to_stop() => return Ok(0),
            line = feed.recv() => match line {
                Ok(line) if !line.source.starts_with("pod/") => output.say(&query::log_line(&json!(line), output)),
                // Pods talk a lot: they are for `atoll logs`. Lines that came too fast for the terminal are there as well.
                _ => {}
            },
        }
    }
}

/// Reports to the terminal of `up` in the foreground.
pub struct Foreground {
    /// Where to.
    pub output: Output,
}

impl Reporter for Foreground {
    fn step(&mut self, text: &str) {
        self.output.step(text);
    }

    fn warn(&mut self, text: &str) {
        self.output.warn(text);
    }

    fn ready(&mut self, status: &Value) {
        // If nobody reads standard output the stack is of use all the same.
        let _ = self.output.item(status, || query::summary(status, self.output));
    }
}

/// Stops a stack, and deletes its data if asked.
pub fn down(common: &Common, purge: bool, output: Output) -> Result<u8> {
    let entry = match target::find(common) {
        Ok(entry) => entry,
        Err(failure) if failure.code == Code::NotRunning && purge && common.name.is_none() => {
            return purge_without_a_stack(common, failure, output);
        }
        Err(failure) => return Err(failure),
    };
    client::stop(&entry, purge)?;
    let answer = json!({ "name": entry.name, "state": "stopped", "purged": purge || entry.ephemeral });
    let and_data = if purge { " and its data is deleted" } else { "" };
    output.data(&answer, || format!("stack {} has stopped{and_data}\n", entry.name))?;
    Ok(0)
}

fn purge_without_a_stack(common: &Common, not_running: Failure, output: Output) -> Result<u8> {
    let directory = StackPlace::find(common.stack_file.as_deref())?.directory;
    let home = Home::beside(&directory);
    if !home.purge()? {
        return Err(not_running);
    }
    let answer = json!({ "name": null, "state": "stopped", "purged": true });
    output.data(&answer, || format!("{} is deleted\n", home.directory().display()))?;
    Ok(0)
}
