//! A server under measurement: the real one through `conformance/harness`, Atoll through its own command line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::share::Share;
use super::{Options, repository};

/// Servers have one core, load generators the other, so that neither takes time from what is compared. Both go before whatever
/// else the machine does, where that is permitted.
pub const SERVER_CORE: &str = "0";
pub const CLIENT_CORE: &str = "1";

/// Where the echo server listens: in a block of addresses that stacks reach last.
const ECHO_INSTANCE: &str = "249";

/// A running server, or several that form a cluster.
pub struct Engine {
    pub label: &'static str,
    pub environment: BTreeMap<String, String>,
    pub pids: Vec<u32>,
    /// From the start of the process until every listener was ready.
    pub start: Duration,
    /// A process that ends, and the server with it, when its standard input closes: so it ends with this one in whatever way this one ends.
    keeper: Child,
}

/// What keeps a detached stack: the binary and the stack's folder are its arguments.
const KEEP_STACK: &str = r#"cat >/dev/null; cd "$2" && "$1" down >/dev/null; cd / && rm -rf -- "$2""#;

#[derive(Deserialize)]
struct Told {
    environment: BTreeMap<String, String>,
    pids: Vec<u32>,
    start_seconds: f64,
}

impl Engine {
    /// Starts the real engine: `redis`, `redis-cluster`, `kafka-single` or `kafka`.
    pub fn real(name: &str, label: &'static str) -> Result<Engine> {
        let mut child = keeper(&["taskset", "-c", SERVER_CORE, "python3", "-m", "harness.serve", name])
            .current_dir(repository()?.join("conformance"))
            .spawn()
            .context("taskset and python3 are needed")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output is ours")?).read_line(&mut line)?;
        let told: Told = serde_json::from_str(&line).with_context(|| format!("the real {name} did not start"))?;
        Ok(Engine {
            label,
            environment: told.environment,
            pids: told.pids,
            start: Duration::from_secs_f64(told.start_seconds),
            keeper: child,
        })
    }

    /// Starts the server that answers without looking: what is left of an engine when it does nothing.
    pub fn echo() -> Result<Engine> {
        let build = ["build", "--quiet", "--release", "-p", "atoll-redis", "--example", "echo"];
        if !Command::new(env!("CARGO")).args(build).current_dir(repository()?).status()?.success() {
            bail!("the example `echo` of atoll-redis does not build");
        }
        let started = Instant::now();
        let mut child = keeper(&["taskset", "-c", SERVER_CORE])
            .arg(repository()?.join("target/release/examples/echo"))
            .arg(ECHO_INSTANCE)
            .spawn()
            .context("taskset is needed")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output is ours")?).read_line(&mut line)?;
        let environment = BTreeMap::from([("REDIS_NODES".to_owned(), line.trim().to_owned())]);
        // `nice` and `taskset` become what they start.
        let pids = vec![child.id()];
        Ok(Engine { label: "echo", environment, pids, start: started.elapsed(), keeper: child })
    }

    /// Starts a stack from this text of an `atoll.yaml`, in memory or on the disk.
    pub fn atoll(options: &Options, stack: &str, is_ephemeral: bool) -> Result<Engine> {
        if !options.atoll.exists() {
            bail!("{} is not there: cargo build --release -p atoll", options.atoll.display());
        }
        let atoll = std::path::absolute(&options.atoll)?;
        let folder = tempfile::tempdir()?.keep();
        std::fs::write(folder.join("atoll.yaml"), stack)?;
        // The keeper removes the folder, since it is there until the end and this process perhaps not.
        let keeper =
            keeper(&["sh", "-c", KEEP_STACK, "sh"]).arg(&atoll).arg(&folder).spawn().context("sh is needed")?;
        let mut engine =
            Engine { label: "Atoll", environment: BTreeMap::new(), pids: Vec::new(), start: Duration::ZERO, keeper };
        let started = Instant::now();
        let flags: &[&str] = if is_ephemeral { &["up", "-d", "--ephemeral"] } else { &["up", "-d"] };
        answer(&atoll, &folder, flags)?;
        engine.start = started.elapsed();
        engine.environment = serde_json::from_str(&answer(&atoll, &folder, &["env", "--json"])?)?;
        let status: Value = serde_json::from_str(&answer(&atoll, &folder, &["status", "--json"])?)?;
        let pid = status["pid"].as_u64().context("`atoll status --json` names a pid")?;
        engine.pids = vec![u32::try_from(pid)?];
        Ok(engine)
    }

    /// A variable that the engine hands out, such as `REDIS_NODES`.
    pub fn variable(&self, name: &str) -> Result<&str> {
        self.environment.get(name).map(String::as_str).with_context(|| format!("{} hands out no {name}", self.label))
    }

    /// Processor time that the servers have used so far, over all their threads.
    pub fn processor_time(&self) -> Result<Duration> {
        let mut total = Duration::ZERO;
        for pid in &self.pids {
            for task in std::fs::read_dir(format!("/proc/{pid}/task")).context("a server has ended")? {
                // A thread may end between being listed and being read; what it used is then small and lost.
                let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
                let nanoseconds = text.split(' ').next().unwrap_or_default().trim().parse().unwrap_or(0);
                total += Duration::from_nanos(nanoseconds);
            }
        }
        Ok(total)
    }

    /// Does this while the servers have so many hundredths of a core, all of them together, or all of it.
    pub fn limited<T>(&self, percent: Option<u32>, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let _share = percent.map(|percent| Share::of(&self.pids, percent)).transpose()?;
        run()
    }

    /// Resident memory of the servers in bytes.
    pub fn resident(&self) -> Result<u64> {
        let mut total = 0;
        for pid in &self.pids {
            let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("a server has ended")?;
            let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
            total += line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024;
        }
        Ok(total)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A command that keeps a server. It is in a process group of its own: a signal to this one's group, such as `timeout` and a terminal
/// send, would end it before it has ended the server.
fn keeper(command: &[&str]) -> Command {
    let mut keeper = Command::new("nice");
    keeper.args(["-n", "-10"]).args(command).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    keeper
}

fn answer(atoll: &Path, folder: &Path, words: &[&str]) -> Result<String> {
    let done = Command::new("nice")
        .args(["-n", "-10", "taskset", "-c", SERVER_CORE])
        .arg(atoll)
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .context("taskset is needed")?;
    if !done.status.success() {
        bail!("atoll {}: {}", words.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8(done.stdout)?)
}

/// Runs a load generator on its own core and returns what it printed.
pub fn load(command: &[String]) -> Result<String> {
    let done = on_client_core(command).output().with_context(|| format!("{} is needed", command[0]))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        bail!("{}: {}{}", command[0], text, String::from_utf8_lossy(&done.stderr));
    }
    Ok(text)
}

/// A load generator that runs beside another one.
pub struct Background(Child);

impl Background {
    pub fn start(command: &[String]) -> Result<Background> {
        let started = on_client_core(command).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Background(started.with_context(|| format!("{} is needed", command[0]))?))
    }

    pub fn end(mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A load generator has nobody to wait for when this process is gone.
fn on_client_core(command: &[String]) -> Command {
    let mut pinned = Command::new("setpriv");
    let words = ["--pdeathsig", "KILL", "nice", "-n", "-10", "taskset", "-c", CLIENT_CORE];
    pinned.args(words).args(command).stdin(Stdio::null());
    pinned
}
