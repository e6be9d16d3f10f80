//! Which running stack a command means.

use serde_json::Value;

use super::Common;
use crate::control::Request;
use crate::control::client::Answer;
use crate::error::{Code, Failure, Result};
use crate::plan::StackPlace;
use crate::registry::{Entry, Registry};

/// Finds the stack: by `--name`, else the one of this directory, else the only one.
///
/// # Errors
/// [`Code::NotRunning`] if none fits, [`Code::AmbiguousStack`] if several do.
pub fn find(common: &Common) -> Result<Entry> {
    let running = Registry::open()?.running()?;
    if let Some(name) = &common.name {
        return running.into_iter().find(|entry| entry.name == *name).ok_or_else(|| {
            Failure::new(Code::NotRunning, format!("no stack named `{name}` runs")).hint("see `atoll status`")
        });
    }
    let public: Vec<Entry> = running.into_iter().filter(|entry| !entry.private).collect();
    let directory = StackPlace::find(common.stack_file.as_deref())?.directory;
    if let Some(here) = public.iter().find(|entry| entry.directory == directory) {
        return Ok(here.clone());
    }
    match public.as_slice() {
        // A stack file was named, so no other stack is meant.
        _ if common.stack_file.is_some() => Err(not_running()),
        [] => Err(not_running()),
        [only] => Ok(only.clone()),
        several => {
            let names: Vec<&str> = several.iter().map(|entry| entry.name.as_str()).collect();
            Err(Failure::new(Code::AmbiguousStack, format!("several stacks run: {}", names.join(", ")))
                .hint("choose one with `--name`"))
        }
    }
}

/// Asks the stack that is meant, where the answer is one value.
pub fn ask(common: &Common, request: &Request) -> Result<Value> {
    Answer::ask(&find(common)?.socket(), request, false)?.result()
}

fn not_running() -> Failure {
    Failure::new(Code::NotRunning, "no stack runs here").hint("start one with `atoll up -d`")
}
