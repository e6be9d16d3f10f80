//! `-d`: the same command once more, in a session of its own, and this process waits on a pipe until that one is ready.

use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Code, Failure, Result};
use crate::files;
use crate::home::Home;
use crate::output::Output;
use crate::serve::Reporter;

/// The hidden option that the detached process is started with.
pub const CHILD_OPTION: &str = "--report-readiness";

const LINE_BYTES_MAX: u64 = 1 << 20;

/// What the detached process says over the pipe, one line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Report {
    Step(String),
    Warning(String),
    Ready(Value),
    Failed(Value),
}

/// Starts this very command again, detached, and passes on what it reports. Returns the status once all is ready.
///
/// # Errors
/// What the detached process failed with; [`Code::StartFailed`] if it ended without a word.
pub fn spawn(home: &Home, output: Output) -> Result<Value> {
    let broken = |error: std::io::Error| Failure::new(Code::StartFailed, format!("cannot detach: {error}"));
    home.prepare()?;
    let log = files::append_owner_only(&home.log()).map_err(broken)?;
    let (reader, writer) = std::io::pipe().map_err(broken)?;
    let child = Command::new(std::env::current_exe().map_err(broken)?)
        .args(std::env::args_os().skip(1))
        .arg(CHILD_OPTION)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(log)
        .spawn()
        .map_err(broken)?;
    follow(reader, child, home, output)
}

fn follow(reader: PipeReader, mut child: Child, home: &Home, output: Output) -> Result<Value> {
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) {
            let ending = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            let message = format!("the detached process ended before the stack was ready ({ending})");
            return Err(Failure::new(Code::StartFailed, message).hint(format!("its log: {}", home.log().display())));
        }
        match serde_json::from_slice(&line) {
            Ok(Report::Step(text)) => output.step(&text),
            Ok(Report::Warning(text)) => output.warn(&text),
            Ok(Report::Ready(status)) => return Ok(status),
            Ok(Report::Failed(failure)) => return Err(Failure::from_json(&failure)),
            // Something of the process's own on its standard output; it belongs to nobody.
            Err(_) => {}
        }
    }
}

/// The detached process's side: reports over its standard output, until it is ready.
#[derive(Debug)]
pub struct Detached {
    _private: (),
}

impl Detached {
    /// Leaves the terminal's session, so that closing the terminal does not end the stack.
    pub fn begin() -> Detached {
        // Fails only for a leader of a process group, which a process that was just spawned is not.
        let _ = nix::unistd::setsid();
        Detached { _private: () }
    }

    /// Reports the reason of an end before readiness.
    pub fn failed(&self, failure: &Failure) {
        send(&Report::Failed(failure.to_json()));
    }
}

impl Reporter for Detached {
    fn step(&mut self, text: &str) {
        send(&Report::Step(text.to_owned()));
    }

    fn warn(&mut self, text: &str) {
        send(&Report::Warning(text.to_owned()));
    }

    fn ready(&mut self, status: &Value) {
        send(&Report::Ready(status.clone()));
        // The waiting process sees the end of the pipe; what is printed from now on goes to the log.
        let _ = nix::unistd::dup2_stdout(std::io::stderr().as_fd());
    }
}

fn send(report: &Report) {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    // If the waiting process was ended, nobody wants to know; the stack starts all the same.
    let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
}
