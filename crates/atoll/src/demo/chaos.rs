//! `atoll chaos run FILE`: traffic and faults against the running stack, and a verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use atoll_chaos::experiment::{self, Action, LinkChange, NodeChange};
use atoll_chaos::verdict::{Books, LedgerEntry};
use atoll_chaos::{Experiment, Observation, Runner, Sample, Verdict, parse_experiment, report};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::traffic::run_name;
use super::{files as places, gateway_addresses, run_local, wait_for_the_application};
use crate::config::{self, Place, Problem};
use crate::control::client::Answer;
use crate::control::{LinkAction, NodeAction, Request};
use crate::error::{Code, Failure, Result};
use crate::files;
use crate::load::orders::Source;
use crate::load::{Load, books};
use crate::output::{LiveLine, Output};
use crate::registry::Entry;
use crate::signals::Signals;

/// How often the stack is asked what happened.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long the books may take if the experiment does not say.
const BOOKS_PATIENCE: Duration = Duration::from_secs(60);
/// The most entries of the ledger that a verdict is based on.
const LEDGER_MAX: usize = 50_000;
/// The most discrepancies that a verdict quotes.
const DISCREPANCIES_MAX: usize = 100;

/// What the command line wishes.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArguments {
    /// The experiment's file, or its name beside the stack file: `kill-broker`
    file: PathBuf,
    /// Another seed for the traffic than the file's
    #[arg(long)]
    seed: Option<u64>,
    /// Where the report goes; by default NAME.html in the working directory
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Runs an experiment against a running stack. Exit code 3 if a hypothesis does not hold.
///
/// # Errors
/// What is wrong with the file, or what kept the experiment from running to its end.
pub fn run(entry: &Entry, arguments: &RunArguments, output: Output) -> Result<u8> {
    let path = places::experiment(&arguments.file, &entry.directory).ok_or_else(|| {
        Failure::new(Code::NotFound, format!("there is no experiment {}", arguments.file.display()))
            .hint("give a file, or the name of one in `experiments/` beside the stack file; see `atoll chaos list`")
    })?;
    let mut experiment = read(&path, output.colors_messages())?;
    experiment.seed = arguments.seed.unwrap_or(experiment.seed);
    let page = arguments.report.clone().unwrap_or_else(|| PathBuf::from(format!("{}.html", experiment.name)));
    let verdict = run_local(Run::start(entry, experiment, output))?;
    let verdict = verdict.verdict(&shown(&path));
    files::write_text(&page, &report::page(&verdict))
        .map_err(|error| Failure::new(Code::OutputFailed, format!("{}: {error}", page.display())))?;
    print(&verdict, &page, output)?;
    Ok(if verdict.passed { 0 } else { Code::VerdictFailed.exit_code() })
}

/// Lists the experiments beside the stack file.
///
/// # Errors
/// Only if standard output cannot be written.
pub fn list(stack: &Path, output: Output) -> Result<u8> {
    let directory =
        places::experiment(Path::new("kill-broker"), stack).and_then(|path| path.parent().map(Path::to_owned));
    let mut found = Vec::new();
    let mut paths: Vec<PathBuf> = directory
        .and_then(|directory| std::fs::read_dir(directory).ok())
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path())
        .collect();
    paths.sort();
    for path in paths {
        if path.extension().is_some_and(|extension| extension == "yaml")
            && let Ok(experiment) = read(&path, false)
        {
            let seconds = experiment.duration.as_secs();
            found.push(json!({ "name": experiment.name, "description": experiment.description, "seconds": seconds, "file": shown(&path) }));
        }
    }
    output.data(&json!({ "experiments": found }), || {
        let mut table = crate::output::Table::new(&["name", "seconds", "description"]);
        for entry in &found {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            table.row(vec![text("name"), entry["seconds"].to_string(), text("description")]);
        }
        table.render(output.colors_data())
    })?;
    Ok(0)
}

fn print(verdict: &Verdict, page: &Path, output: Output) -> Result<()> {
    let page = page.display().to_string();
    let mut value = report::json(verdict);
    value["report"] = json!(page);
    output.data(&value, || report::text(verdict, Some(&page), output.colors_data()))
}

fn read(path: &Path, color: bool) -> Result<Experiment> {
    let text = files::read_text(path, experiment::FILE_BYTES_MAX)
        .map_err(|error| Failure::new(Code::StackFileUnreadable, format!("{}: {error}", path.display())))?;
    parse_experiment(&text).map_err(|problems| {
        let translate = |problem: experiment::Problem| {
            let experiment::Place { line, column, offset, length } = problem.place;
            Problem { message: problem.message, hint: problem.hint, place: Place { line, column, offset, length } }
        };
        let problems: Vec<Problem> = problems.into_iter().map(translate).collect();
        Failure { code: Code::ExperimentInvalid, ..config::failure(&shown(path), &text, &problems, color) }
    })
}

fn shown(path: &Path) -> String {
    let working = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&working).unwrap_or(path).display().to_string()
}

/// A run under way.
struct Run {
    socket: PathBuf,
    runner: Runner,
    output: Output,
    line: LiveLine,
    /// When the run began, on this process's clock and on the kernel's.
    began: Instant,
    began_kernel: u64,
    seen_events: u64,
    leaders: BTreeMap<String, String>,
    is_interrupted: bool,
}

impl Run {
    /// Runs an experiment from warm-up to the last look at the books.
    async fn start(entry: &Entry, experiment: Experiment, output: Output) -> Result<Runner> {
        let targets = gateway_addresses(entry)?;
        wait_for_the_application(&targets, output).await?;
        let mut signals =
            Signals::take_over().map_err(|error| Failure::new(Code::StartFailed, format!("signals: {error}")))?;
        say_what_is_expected(&experiment, output);
        let name = run_name();
        let source = Source::drawn(experiment.seed, experiment.orders_per_second, &name);
        let load = Load::start(&targets, source);
        let warm_up = experiment.warm_up;
        tokio::time::sleep_until(load.started() + warm_up).await;
        let mut run = Run {
            socket: entry.socket(),
            runner: Runner::new(experiment),
            output,
            line: LiveLine::new(output),
            began: load.started() + warm_up,
            began_kernel: 0,
            seen_events: 0,
            leaders: BTreeMap::new(),
            is_interrupted: false,
        };
        run.take_bearings().await?;
        let outcome = run.until_the_end(&load, &mut signals, warm_up).await;
        run.line.clear();
        // Whatever happened: nothing stays broken behind an experiment.
        run.heal().await?;
        outcome?;
        run.line.show("waiting for the last orders, and for the books …");
        let settled = run.settle(&load, &name, warm_up).await;
        run.line.clear();
        settled?;
        if run.is_interrupted {
            return Err(Failure::new(Code::Interrupted, "the experiment was interrupted; every fault is undone"));
        }
        Ok(run.runner)
    }

    /// Learns the kernel's time and the leaders, and sets the triggers.
    async fn take_bearings(&mut self) -> Result<()> {
        let events = self.ask(Request::Events { since: None }).await?;
        if events["healthy"] != json!(true) {
            return Err(Failure::new(Code::CheckFailed, "something is broken before the experiment begins")
                .hint("`atoll heal`"));
        }
        let ahead = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(0);
        self.began_kernel = events["now"].as_u64().unwrap_or(0).saturating_sub(ahead);
        self.seen_events = events["version"].as_u64().unwrap_or(0);
        self.look_at_leaders().await?;
        let triggers: Vec<Result<Request>> = self
            .runner
            .triggers()
            .into_iter()
            .map(|(point, on, nth, action)| match action {
                Action::Node { change, node } => {
                    let (point, action) = (point.to_owned(), node_action(*change));
                    Ok(Request::When { point, on, nth, action, node: *node })
                }
                _ => Err(Failure::new(Code::ExperimentInvalid, "only what is done to a node can be bound to a point")),
            })
            .collect();
        for trigger in triggers {
            self.ask(trigger?).await?;
        }
        Ok(())
    }

    async fn until_the_end(&mut self, load: &Load, signals: &mut Signals, warm_up: Duration) -> Result<()> {
        let mut looked = Instant::now();
        while !self.runner.is_over(self.now()) {
            let wake = (self.began + self.runner.next_wake()).min(looked + LOOK_INTERVAL);
            tokio::select! {
                biased;
                _ = signals.next() => {
                    self.is_interrupted = true;
                    return Ok(());
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            for action in self.runner.due(self.now()) {
                self.inject(&action).await?;
            }
            if looked.elapsed() >= LOOK_INTERVAL {
                looked = Instant::now();
                self.tell_progress(load);
                self.look().await?;
                self.take_answers(load, warm_up);
                if let Ok(Some(open)) = tokio::time::timeout(LOOK_INTERVAL, books::waiting(load.balancer())).await {
                    self.observe(Observation::Lag(open));
                }
            }
        }
        load.stop();
        Ok(())
    }

    /// Waits for the last orders and the books, and reads the ledger.
    async fn settle(&mut self, load: &Load, name: &str, warm_up: Duration) -> Result<()> {
        load.stop();
        let ended = Instant::now();
        load.all_answered().await;
        self.take_answers(load, warm_up);
        let patience = self.books_patience();
        let found = books::reconcile(load.balancer(), &load.accepted(), name, &mut BTreeSet::new(), patience).await;
        match found {
            Ok(found) => {
                let discrepancies = found.discrepancies.iter().take(DISCREPANCIES_MAX).map(books::Discrepancy::text);
                self.observe(Observation::Books(Books {
                    accepted: found.accepted,
                    balanced: found.balanced,
                    discrepancies: discrepancies.collect(),
                    after: ended.elapsed(),
                }));
            }
            Err(reason) => {
                self.line.clear();
                self.output.warn(&format!("the books cannot be read: {reason}"));
            }
        }
        self.look().await?;
        let ledger = self.ask(Request::Ledger { part: None, limit: LEDGER_MAX }).await?;
        for value in ledger["entries"].as_array().into_iter().flatten() {
            let is_of_this_run = value["at"].as_u64().is_some_and(|at| at >= self.began_kernel);
            if is_of_this_run && let Ok(entry) = serde_json::from_value::<LedgerEntry>(value.clone()) {
                self.observe(Observation::Ledger(entry));
            }
        }
        Ok(())
    }

    fn books_patience(&self) -> Duration {
        let wanted = self.runner.experiment().hypotheses.iter().filter_map(|hypothesis| match hypothesis {
            experiment::Hypothesis::BooksBalance { within } => Some(*within),
            _ => None,
        });
        wanted.max().unwrap_or(BOOKS_PATIENCE)
    }

    async fn inject(&mut self, action: &Action) -> Result<()> {
        let request = match action {
            Action::Node { change, node } => Request::Node { action: node_action(*change), node: *node },
            Action::Link { change, from, to, one_way } => Request::Link {
                from: from.to_string(),
                to: to.to_string(),
                action: match change {
                    LinkChange::Cut => LinkAction::Cut,
                    LinkChange::Reset => LinkAction::Reset,
                    LinkChange::Slow(delay) => {
                        LinkAction::Slow { delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX) }
                    }
                    LinkChange::Heal => LinkAction::Heal,
                },
                one_way: *one_way,
                part: None,
            },
            Action::Partition(groups) => Request::Partition { groups: groups.clone() },
            Action::Heal => Request::Heal,
        };
        self.ask(request).await?;
        let at = self.now();
        // What happens to nodes comes from the kernel, with its own time; of links it only says that they changed.
        match action {
            Action::Node { .. } => self.look().await?,
            Action::Heal | Action::Link { change: LinkChange::Heal, .. } => {
                self.look().await?;
                let is_all = self.is_healthy().await?;
                self.say(at, &Observation::Healed { text: action.to_string(), is_all });
            }
            Action::Link { .. } | Action::Partition(_) => self.say(at, &Observation::Fault(action.to_string())),
        }
        Ok(())
    }

    async fn heal(&mut self) -> Result<()> {
        if !self.is_healthy().await? {
            self.ask(Request::Heal).await?;
            let at = self.now();
            self.say(at, &Observation::Healed { text: "everything healed at the end".to_owned(), is_all: true });
        }
        Ok(())
    }

    async fn is_healthy(&self) -> Result<bool> {
        Ok(self.ask(Request::Events { since: None }).await?["healthy"] == json!(true))
    }

    /// Asks what happened since the last look.
    async fn look(&mut self) -> Result<()> {
        let answer = self.ask(Request::Events { since: Some(self.seen_events) }).await?;
        self.seen_events = answer["version"].as_u64().unwrap_or(self.seen_events);
        let is_healthy = answer["healthy"] == json!(true);
        for event in answer["events"].as_array().into_iter().flatten() {
            if event["isAboutLinks"] == json!(true) {
                continue;
            }
            let at = Duration::from_nanos(event["at"].as_u64().unwrap_or(0).saturating_sub(self.began_kernel));
            let text = event["text"].as_str().unwrap_or_default().to_owned();
            match event["isRecovery"] == json!(true) {
                true => self.say(at, &Observation::Healed { text, is_all: is_healthy }),
                false => self.say(at, &Observation::Fault(text)),
            }
        }
        self.look_at_leaders().await
    }

    /// Compares who leads what with the last look: `engines.*.status.leaders` is a map from a name to a node.
    async fn look_at_leaders(&mut self) -> Result<()> {
        let status = self.ask(Request::Status).await?;
        let at = self.now();
        let is_first = self.leaders.is_empty();
        for (_, engine) in status["engines"].as_object().into_iter().flatten() {
            for (name, node) in engine["status"]["leaders"].as_object().into_iter().flatten() {
                let node = if node.is_null() { "none".to_owned() } else { node.to_string() };
                let before = self.leaders.insert(name.clone(), node.clone());
                if let Some(before) = before.filter(|before| *before != node && !is_first) {
                    self.observe_at(at, Observation::Leader(format!("{name}: {before} → {node}")));
                }
            }
        }
        Ok(())
    }

    fn take_answers(&mut self, load: &Load, warm_up: Duration) {
        for sample in load.take_answers() {
            // Orders of the warm-up are sent, accepted and booked, but not judged.
            if let Some(due) = sample.due.checked_sub(warm_up) {
                self.observe(Observation::Order(Sample { due, ..sample }));
            }
        }
    }

    fn tell_progress(&mut self, load: &Load) {
        let of = self.runner.experiment().duration;
        let now = experiment::clock(self.now().min(of));
        let (accepted, under_way) = (load.accepted_count(), load.under_way());
        let whole = experiment::short(of);
        self.line.show(&format!("{now}  of {whole}, {accepted} orders accepted, {under_way} under way"));
    }

    fn say(&mut self, at: Duration, observation: &Observation) {
        let text = match observation {
            Observation::Fault(text) | Observation::Healed { text, .. } => text,
            _ => return,
        };
        self.line.clear();
        self.output.say(&format!("{}  {text}", experiment::clock(at)));
        self.observe_at(at, observation.clone());
    }

    fn observe(&mut self, observation: Observation) {
        let now = self.now();
        self.observe_at(now, observation);
    }

    fn observe_at(&mut self, at: Duration, observation: Observation) {
        self.runner.observe(at, observation);
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Asks the stack, on a thread that may wait.
    async fn ask(&self, request: Request) -> Result<Value> {
        let socket = self.socket.clone();
        let asked = tokio::task::spawn_blocking(move || Answer::ask(&socket, &request, false)?.result());
        asked.await.map_err(|error| Failure::new(Code::ControlFailed, format!("the control socket: {error}")))?
    }
}

fn node_action(change: NodeChange) -> NodeAction {
    match change {
        NodeChange::Kill => NodeAction::Kill,
        NodeChange::Power => NodeAction::Power,
        NodeChange::Pause => NodeAction::Pause,
        NodeChange::Resume => NodeAction::Resume,
        NodeChange::Start => NodeAction::Start,
        NodeChange::Stop => NodeAction::Stop,
    }
}

fn say_what_is_expected(experiment: &Experiment, output: Output) {
    let Experiment { name, description, duration, orders_per_second, seed, .. } = experiment;
    let run = experiment::short(*duration);
    output.say(&format!("{name}: {}", description.as_deref().unwrap_or("")));
    output.say(&format!("{run} with {orders_per_second} orders/s, seed {seed}"));
}
