//! Which running stack a command means.

use serde_json::Value;

use super::Common;
use crate::control::Request;
use crate::control::client::Answer;
use crate::error::{Code, Failure, Result};
use crate::home::Home;
use crate::plan::StackPlace;
use crate::registry::{Entry, Registry};

/// Finds the stack: by `--name`, else the one of this directory. A directory that has none of its own means the only one.
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
    let place = StackPlace::find(common.stack_file.as_deref())?;
    if let Some(here) = public.iter().find(|entry| entry.directory == place.directory) {
        return Ok(here.clone());
    }
    // Whoever stands beside a stack file, or beside the data of a stack, means that one: no other is stopped or purged for it.
    if place.file.is_some() || Home::beside(&place.directory).directory().is_dir() {
        return Err(own_not_running(&place, &public));
    }
    match public.as_slice() {
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

fn own_not_running(place: &StackPlace, others: &[Entry]) -> Failure {
    let start = "start it with `atoll up -d`";
    let hint = match others {
        [] => start.to_owned(),
        [other, ..] => format!("{start}; `--name {}` means the one of {}", other.name, other.directory.display()),
    };
    Failure::new(Code::NotRunning, format!("the stack of {} is not running", place.directory.display())).hint(hint)
}

fn not_running() -> Failure {
    Failure::new(Code::NotRunning, "no stack runs here").hint("start one with `atoll up -d`")
}
