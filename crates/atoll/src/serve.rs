//! The life of the process that holds a stack: claim a name and addresses, start, answer commands, stop.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::control::server::{ControlSocket, Replies, Service};
use crate::control::{Request, server};
use crate::error::{Code, Failure, Result};
use crate::faults;
use crate::home::Held;
use crate::logs::{self, Logs};
use crate::plan::Plan;
use crate::registry::{Claim, Registry, Wanted};
use crate::signals::{Pending, Signals};
use crate::stack::{self, Stack};

/// How long engines may take to finish before the process ends without them.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(20);

/// How often a start is tried again on the next block of addresses, when another program was quicker.
const ADDRESS_RACES_MAX: usize = 5;

/// Who is told how the start goes.
pub trait Reporter {
    /// A step succeeded.
    fn step(&mut self, text: &str);
    /// Something that should not be overlooked.
    fn warn(&mut self, text: &str);
    /// Every listener is ready; the stack's status.
    fn ready(&mut self, status: &Value);
}

/// A stack that runs in this process.
pub struct Running {
    /// What was asked for.
    pub plan: Plan,
    /// The engines.
    pub stack: Stack,
    /// The merged log.
    pub logs: Logs,
    claim: Claim,
    stop: Notify,
    purge: Cell<bool>,
}

/// Starts the stack, does `work` beside answering commands, and tears the stack down whatever came of it.
///
/// # Errors
/// What kept the stack from starting, or what `work` failed with.
pub fn serve<T>(
    plan: Plan,
    registry: &Registry,
    reporter: &mut dyn Reporter,
    work: impl AsyncFnOnce(&Rc<Running>, &mut Signals) -> Result<T>,
) -> Result<T> {
    let broken = |error: std::io::Error| Failure::new(Code::EngineFailed, format!("cannot start: {error}"));
    // From here on a signal waits until the stack has started, and then ends it in order.
    let pending = Pending::take_over().map_err(broken)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    let held = plan.home.take()?;
    let running = Rc::new(Running::start(plan, &held, registry, reporter)?);
    // Engines start and end outside of the runtime, since both wait for their threads. The tasks live on until the end of
    // this function, and with them the connections of `atoll down`, which wait for them to close.
    let tasks = LocalSet::new();
    let outcome = tasks.block_on(&runtime, async {
        let mut signals = pending.into_stream().map_err(broken)?;
        let socket = ControlSocket::bind(running.plan.home.socket()).map_err(broken)?;
        let serving = tokio::task::spawn_local(socket.serve(Rc::clone(&running)));
        let tidings = tokio::task::spawn_local(log_faults(Rc::clone(&running)));
        reporter.ready(&running.status());
        let outcome = work(&running, &mut signals).await;
        serving.abort();
        tidings.abort();
        end_hard_if_asked_again(signals);
        outcome
    });
    running.finish();
    drop(held);
    running.remove_what_is_not_kept();
    drop(tasks);
    outcome
}

impl Running {
    fn start(plan: Plan, held: &Held, registry: &Registry, reporter: &mut dyn Reporter) -> Result<Running> {
        let logs = Logs::default();
        let mut excluded = Vec::new();
        let (claim, stack) = loop {
            let claim = registry.claim(&Wanted {
                name: &plan.name,
                directory: &plan.directory,
                home: plan.home.directory(),
                ports: &stack::ports(&plan.stack),
                excluded: &excluded,
                ephemeral: plan.ephemeral,
                private: plan.private,
            })?;
            warn_of_a_move(&claim, reporter);
            match Stack::start(&plan, held, claim.entry.instance, &logs, reporter) {
                Ok(stack) => break (claim, stack),
                // Somebody has taken an address between the claim's probe and the engine's start.
                Err(failure) if failure.code == Code::AddressInUse && excluded.len() < ADDRESS_RACES_MAX => {
                    excluded.push(claim.entry.instance);
                }
                Err(failure) => return Err(failure),
            }
        };
        Ok(Running { plan, stack, logs, claim, stop: Notify::new(), purge: Cell::new(false) })
    }

    /// Everything about the stack, as `atoll status --json` prints it.
    pub fn status(&self) -> Value {
        let entry = &self.claim.entry;
        let mut status = json!({
            "name": entry.name,
            "state": "running",
            "pid": entry.pid,
            "instance": entry.instance,
            "directory": entry.directory,
            "ephemeral": entry.ephemeral,
            "seed": self.plan.seed,
            "uptimeSeconds": self.stack.kernel().now().as_millis() / 1000,
        });
        for (name, value) in self.stack.status() {
            status[name] = value;
        }
        status["environment"] = json!(self.stack.environment());
        status
    }

    /// Completes when `atoll down` asks for the end.
    pub async fn asked_to_stop(&self) {
        self.stop.notified().await;
    }

    fn finish(&self) {
        self.log("atoll", "stopping");
        self.stack.shut_down();
    }

    fn remove_what_is_not_kept(&self) {
        if self.plan.ephemeral || self.purge.get() {
            // Nothing can be done about what cannot be removed now; `atoll down --purge` tries again.
            let _ = std::fs::remove_dir_all(self.plan.home.directory());
        }
    }

    fn log(&self, source: &str, text: &str) {
        self.logs.push(self.stack.kernel().wall().as_millis(), source, text);
    }
}

/// Writes every fault event into the log as it happens.
async fn log_faults(running: Rc<Running>) {
    let kernel = running.stack.kernel();
    let news = Arc::new(Notify::new());
    let bell = Arc::clone(&news);
    kernel.watch(move || bell.notify_one());
    let mut seen = kernel.version();
    let mut known = kernel.rules();
    loop {
        news.notified().await;
        for (_, event) in kernel.events_since(seen) {
            seen += 1;
            for line in faults::describe(kernel, &event, &mut known) {
                running.log("faults", &line);
            }
        }
    }
}

fn warn_of_a_move(claim: &Claim, reporter: &mut dyn Reporter) {
    if let Some(reason) = claim.passed_over.first() {
        reporter.warn(&format!("{reason}: this stack's addresses are 127.{}.0.n", claim.entry.instance));
    }
}

/// While engines finish, a second signal or too long a time ends the process on the spot.
fn end_hard_if_asked_again(signals: Signals) {
    let Ok(descriptor) = signals.into_descriptor() else { return };
    // If no thread can be had, the orderly way is the only one.
    let _ = std::thread::Builder::new().name("impatience".into()).spawn(move || wait_and_exit(&descriptor));
}

fn wait_and_exit(descriptor: &OwnedFd) {
    let mut set = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(SHUTDOWN_PATIENCE).unwrap_or(PollTimeout::MAX);
    // An error of poll itself is no reason to cut an orderly end short.
    if poll(&mut set, patience).is_ok() {
        std::process::exit(i32::from(Code::Interrupted.exit_code()));
    }
}

impl Service for Running {
    async fn answer(self: Rc<Self>, request: Request, replies: Replies) -> Result<Value> {
        let kernel = self.stack.kernel();
        match request {
            Request::Status => Ok(self.status()),
            Request::Environment => Ok(json!(self.stack.environment())),
            Request::Stop { purge } => {
                self.purge.set(self.purge.get() || purge);
                self.stop.notify_one();
                // The connection stays open until the process ends: that is what the client waits for.
                std::future::pending().await
            }
            Request::Logs { sources, tail, follow } => self.send_logs(&sources, tail, follow, &replies).await,
            Request::Node { action, node } => faults::node(kernel, action, node),
            Request::Link { from, to, action, one_way, part } => {
                faults::link(kernel, &faults::LinkWish { from, to, action, one_way, part })
            }
            Request::Partition { groups } => faults::partition(kernel, &groups),
            Request::Heal => Ok(faults::heal(kernel)),
            Request::Events { since } => Ok(faults::events(kernel, since)),
            Request::When { point, on, nth, action, node } => faults::when(kernel, point, on, nth, (action, node)),
            Request::Ledger { part, limit } => Ok(faults::ledger(kernel, part.as_deref(), limit)),
            Request::Apply { documents } => self.stack.apply(&documents),
        }
    }
}

impl Running {
    async fn send_logs(
        &self,
        sources: &[String],
        tail: usize,
        follow: bool,
        replies: &server::Replies,
    ) -> Result<Value> {
        let (lines, mut feed) = self.logs.read(sources, tail);
        let count = lines.len();
        for line in lines {
            replies.item(json!(line)).await?;
        }
        if !follow {
            return Ok(json!({ "lines": count }));
        }
        loop {
            match feed.recv().await {
                Ok(line) if logs::is_wanted(&line, sources) => replies.item(json!(line)).await?,
                Ok(_) => {}
                Err(tokio::sync::broadcast::error::RecvError::Lagged(missed)) => {
                    let at_ms = self.stack.kernel().wall().as_millis();
                    let text = format!("{missed} lines were skipped: they came faster than they were read");
                    replies.item(json!(logs::Line { at_ms, source: "atoll".into(), text })).await?;
                }
                Err(tokio::sync::broadcast::error::RecvError::Closed) => break,
            }
        }
        Ok(json!({ "lines": count }))
    }
}
