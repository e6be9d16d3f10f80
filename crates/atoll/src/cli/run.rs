//! `atoll run -- COMMAND`: a stack that lives exactly as long as the command.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::{Common, StackArguments, life};
use crate::error::{Code, Failure, Result};
use crate::output::Output;
use crate::plan::{Plan, Wishes};
use crate::registry::Registry;
use crate::serve::{self, Reporter, Running};
use crate::signals::{Received, Signals};

/// How long the command may take to end after it was asked to, before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Starts a stack, runs the command, ends the stack, and returns the command's exit code.
pub fn run(common: &Common, stack: &StackArguments, command: Vec<OsString>, output: Output) -> Result<u8> {
    let registry = Registry::open()?;
    let wishes = Wishes { private: true, ..life::wishes(common, None, stack) };
    let plan = Plan::new(&wishes, &registry, output.colors_messages())?;
    serve::serve(plan, &registry, &mut Quiet { output }, async |running, signals| {
        let mut child = start(running, &command)?;
        let status = supervise(&mut child, signals).await?;
        Ok(exit_code(status))
    })
}

fn start(running: &Running, command: &[OsString]) -> Result<Child> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::new(Code::Usage, "no command was given"));
    };
    let name = program.to_string_lossy();
    Command::new(program)
        .args(arguments)
        .envs(running.stack.environment())
        .env("ATOLL_NAME", &running.plan.name)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            let failure = Failure::new(Code::CommandFailed, format!("cannot run `{name}`: {error}"));
            match error.kind() {
                ErrorKind::NotFound => failure.hint("give a program on the PATH, or its path"),
                _ => failure,
            }
        })
}

/// Waits for the command and passes signals on to it.
async fn supervise(child: &mut Child, signals: &mut Signals) -> Result<ExitStatus> {
    let mut deadline: Option<tokio::time::Instant> = None;
    loop {
        let patience = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            status = child.wait() => {
                return status.map_err(|error| Failure::new(Code::CommandFailed, format!("the command: {error}")));
            }
            received = signals.next() => {
                pass_on(child, received);
                if received.signal != Signal::SIGINT && deadline.is_none() {
                    deadline = Some(tokio::time::Instant::now() + GRACE);
                }
            }
            () = patience => {
                // It was asked and did not end. An error means that it just has.
                let _ = child.start_kill();
                deadline = None;
            }
        }
    }
}

fn pass_on(child: &Child, received: Received) {
    // The terminal has sent it to the whole foreground group, the command included.
    if received.is_from_terminal {
        return;
    }
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // The child has not been waited for, so the number is still its own.
        let _ = kill(Pid::from_raw(pid), received.signal);
    }
}

/// The exit code as a shell would report it.
fn exit_code(status: ExitStatus) -> u8 {
    let by_signal = status.signal().map(|signal| 128 + signal);
    u8::try_from(status.code().or(by_signal).unwrap_or(1)).unwrap_or(1)
}

/// The command's own output should stand alone, so only what must not be overlooked is said.
struct Quiet {
    output: Output,
}

impl Reporter for Quiet {
    fn step(&mut self, _: &str) {}

    fn warn(&mut self, text: &str) {
        self.output.warn(text);
    }

    fn ready(&mut self, _: &Value) {}
}
