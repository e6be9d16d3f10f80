//! `atoll demo`: the orders application on three nodes, with orders flowing.
//!
//! - `demo/files.rs`: where the application's files are, or how they get there.
//! - `demo/traffic.rs`: orders flow, a line says how they fare, and the books are compared at the end.
//! - `demo/chaos.rs`: `atoll chaos run`: the same traffic, with faults, and a verdict.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::control::Request;
use crate::control::client::{self, Answer};
use crate::error::{Code, Failure, Result};
use crate::load::Balancer;
use crate::output::Output;
use crate::registry::{Entry, Registry};

pub mod chaos;
mod files;
mod traffic;

/// Where the gateway's service listens on every node.
const GATEWAY_PORT: u16 = 8080;
/// How long the application may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(90);

/// What the command line wishes.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArguments {
    /// Orders per second
    #[arg(long, default_value_t = 40, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Stop after so many seconds; otherwise Ctrl-C ends the orders
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// Send these orders instead of drawn ones: one JSON object a line
    #[arg(long, value_name = "FILE")]
    orders: Option<PathBuf>,
    /// The seed of the orders
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop the stack as well when the orders end
    #[arg(long)]
    down: bool,
    /// Keep everything in memory
    #[arg(long)]
    ephemeral: bool,
}

/// Starts the application unless it runs, sends orders until told to stop, and compares the books. `name`: what the
/// stack is to be called; otherwise as its file says.
///
/// # Errors
/// What kept the stack or the application from starting; [`Code::CheckFailed`] if the books do not balance;
/// [`Code::NotRunning`] if the stack was ended meanwhile.
pub fn demo(arguments: &DemoArguments, name: Option<&str>, output: Output) -> Result<u8> {
    let source = traffic::source(arguments)?;
    let directory = files::find()?;
    files::prepare_environment(&directory, output)?;
    let entry = start_stack(&directory, name, arguments.ephemeral, output)?;
    let outcome = run_local(async {
        let targets = gateway_addresses(&entry)?;
        wait_for_the_pods(&entry, output).await?;
        wait_for_the_application(&targets, output).await?;
        greet(&entry, output);
        traffic::run(&entry, &targets, source, arguments, output).await
    });
    if arguments.down {
        client::stop(&entry, false)?;
    }
    let result = outcome?;
    output.data(&result, || traffic::table(&result, output))?;
    if result["balanced"] == json!(true) {
        return Ok(if result["interrupted"] == json!(true) { Code::Interrupted.exit_code() } else { 0 });
    }
    Err(unbalanced(&entry, &result))
}

/// Why the books do not prove that every order was booked once.
fn unbalanced(entry: &Entry, result: &Value) -> Failure {
    let is_there = || Registry::open().and_then(|registry| registry.running()).is_ok_and(|all| all.contains(entry));
    if result["books"]["unreadable"].is_string() && !is_there() {
        let hint = "`atoll demo --down` and ^C end both, and read the books before";
        return Failure::new(Code::NotRunning, "the stack has ended, and nobody can read its books").hint(hint);
    }
    let hint = "follow one order through the services: `atoll logs | grep ORDER`";
    Failure::new(Code::CheckFailed, "the books do not balance").hint(hint)
}

/// Runs a future on a runtime of its own; what it spawns may stay on this thread.
fn run_local<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::StartFailed, format!("cannot start: {error}")))?;
    LocalSet::new().block_on(&runtime, work)
}

/// The stack of this directory: the one that runs, or a new one.
fn start_stack(directory: &Path, name: Option<&str>, ephemeral: bool, output: Output) -> Result<Entry> {
    let is_meant =
        |entry: &Entry| entry.directory == directory && !entry.private && name.is_none_or(|name| entry.name == name);
    let running = |registry: &Registry| -> Result<Option<Entry>> { Ok(registry.running()?.into_iter().find(is_meant)) };
    let registry = Registry::open()?;
    if let Some(entry) = running(&registry)? {
        output.step(&format!("stack {} runs already", entry.name));
        return Ok(entry);
    }
    let broken = |error: std::io::Error| Failure::new(Code::StartFailed, format!("cannot start the stack: {error}"));
    let mut command = Command::new(std::env::current_exe().map_err(broken)?);
    command.args(["up", "--detach", "--file"]).arg(directory.join("atoll.yaml")).stdout(Stdio::null());
    if ephemeral {
        command.arg("--ephemeral");
    }
    if let Some(name) = name {
        command.args(["--name", name]);
    }
    let status = command.status().map_err(broken)?;
    if !status.success() {
        // Its own words stand on standard error already.
        return Err(Failure::new(Code::StartFailed, "the stack did not start")
            .hint("see above; `atoll doctor` checks this machine"));
    }
    running(&registry)?
        .ok_or_else(|| Failure::new(Code::StartFailed, "the stack ended at once").hint("see `.atoll/atoll.log`"))
}

/// The gateway on every node's address.
fn gateway_addresses(entry: &Entry) -> Result<Vec<SocketAddr>> {
    let status = Answer::ask(&entry.socket(), &Request::Status, false)?.result()?;
    let address = |node: &Value| -> Option<SocketAddr> {
        let address: IpAddr = node["address"].as_str()?.parse().ok()?;
        Some(SocketAddr::new(address, GATEWAY_PORT))
    };
    let addresses: Vec<SocketAddr> = status["nodes"].as_array().into_iter().flatten().filter_map(address).collect();
    if addresses.is_empty() {
        return Err(Failure::new(Code::ControlFailed, "the stack does not say where its nodes are"));
    }
    Ok(addresses)
}

/// The application is ready when an order can go through all of it: the books answer, and so the gateway does.
async fn wait_for_the_application(targets: &[SocketAddr], output: Output) -> Result<()> {
    let began = tokio::time::Instant::now();
    let balancer = Balancer::new(targets);
    loop {
        let reason = match balancer.read("/books?limit=1").await {
            Ok(_) => match balancer.read("/ready").await {
                Ok(_) => break,
                Err(reason) => reason,
            },
            Err(reason) => reason,
        };
        if began.elapsed() > START_PATIENCE {
            let message = format!("the application did not answer within {} s: {reason}", START_PATIENCE.as_secs());
            return Err(Failure::new(Code::Timeout, message).hint("see `kubectl get pods`, `atoll logs`"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    output.step(&format!("orders: the application answers after {:.1} s", began.elapsed().as_secs_f64()));
    Ok(())
}

/// Waits until every pod is ready. A stack whose pods are somewhere else says nothing about them.
async fn wait_for_the_pods(entry: &Entry, output: Output) -> Result<()> {
    let began = tokio::time::Instant::now();
    loop {
        let status = Answer::ask(&entry.socket(), &Request::Status, false)?.result()?;
        let pods = &status["engines"]["kubernetes"]["status"];
        let (Some(ready), Some(all)) = (pods["podsReady"].as_u64(), pods["pods"].as_u64()) else { return Ok(()) };
        if ready == all && all > 0 {
            output.step(&format!("orders: {all} pods ready after {:.1} s", began.elapsed().as_secs_f64()));
            return Ok(());
        }
        if began.elapsed() > START_PATIENCE {
            let message = format!("{ready} of {all} pods are ready after {} s", START_PATIENCE.as_secs());
            return Err(Failure::new(Code::Timeout, message).hint("see `kubectl get pods`, `atoll logs`"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn greet(entry: &Entry, output: Output) {
    let node = format!("127.{}.0.1", entry.instance);
    let node = if entry.instance == 0 { "localhost".to_owned() } else { node };
    output.say(&format!("  orders    curl http://{node}:{GATEWAY_PORT}/books"));
    output.say(&format!("  kubectl   export KUBECONFIG={}", entry.home.join("kubeconfig").display()));
    output.say(&format!("  Kafka     {node}:9092   Redis {node}:6379"));
    output.say("  next:     in another terminal: atoll chaos run kill-broker   ·   atoll node kill 2   ·   atoll down");
}
