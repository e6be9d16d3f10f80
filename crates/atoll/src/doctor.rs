//! What Atoll needs of a machine, checked one by one, each with what to do if it is missing.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use atoll_runtime::{Capabilities, Runtime, RuntimeConfig};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};
use serde::Serialize;

use crate::config::StackFile;
use crate::registry::{self, Registry};
use crate::stack;

/// One check and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What it belongs to.
    pub group: &'static str,
    /// What is checked.
    pub name: &'static str,
    /// How it went.
    pub grade: Grade,
    /// What was found.
    pub finding: String,
    /// What to do, if it did not go well.
    pub hint: Option<String>,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Well.
    Ok,
    /// Something works less well, or not at all, without it.
    Warning,
    /// Atoll cannot run.
    Failed,
}

const ISOLATION: &str = "Isolation of pods";
const NETWORK: &str = "Network";
const RESOURCES: &str = "Resources";
const TOOLS: &str = "Tools";

/// Runs every check. Leaves nothing behind.
pub fn examine() -> Vec<Check> {
    let mut checks = pods();
    checks.extend([
        address_space(),
        ports(),
        registry_directory(),
        open_files(),
        disk_space(),
        clock(),
        program("kubectl", "install kubectl to talk to the Kubernetes API by hand"),
        program("redis-cli", "Debian's package redis-tools has it"),
        program("kcat", "Debian's package kcat has it"),
    ]);
    checks
}

fn check(group: &'static str, name: &'static str, grade: Grade, finding: impl Into<String>, hint: &str) -> Check {
    let hint = (grade != Grade::Ok).then(|| hint.to_owned());
    Check { group, name, grade, finding: finding.into(), hint }
}

/// Makes a pod, as a stack would, and looks at what it got.
fn pods() -> Vec<Check> {
    let hint = "allow user namespaces (`sysctl kernel.unprivileged_userns_clone=1`; on Ubuntu see AppArmor's restriction) and load nf_tables, or run as root; a container that runs Atoll must allow both";
    let limits_hint = "without a writable cgroup, CPU and memory limits of pods are not enforced: run in a delegated scope (`systemd-run --user --scope -p Delegate=yes`) or as root";
    match try_a_pod() {
        Err(reason) => vec![check(ISOLATION, "pods", Grade::Failed, reason, hint)],
        Ok(found) => vec![
            match found.pods {
                Ok(()) => check(ISOLATION, "pods", Grade::Ok, "namespaces and capture of connections work", hint),
                Err(reason) => check(ISOLATION, "pods", Grade::Failed, reason, hint),
            },
            match found.limits {
                Ok(how) => check(ISOLATION, "limits", Grade::Ok, how, limits_hint),
                Err(reason) => check(ISOLATION, "limits", Grade::Warning, reason, limits_hint),
            },
        ],
    }
}

fn try_a_pod() -> Result<Capabilities, String> {
    let directory =
        Registry::open().map_err(|failure| failure.message)?.directory().join(format!("doctor-{}", std::process::id()));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let outcome = runtime.block_on(async {
        let (pods, _events) =
            Runtime::new(RuntimeConfig::new("doctor", &directory)).map_err(|error| error.to_string())?;
        let capabilities = pods.capabilities().await;
        pods.shutdown().await;
        Ok(capabilities)
    });
    // Nothing but empty directories; what cannot be removed is removed with the registry's file system.
    let _ = std::fs::remove_dir_all(&directory);
    outcome
}

fn address_space() -> Check {
    let hint =
        "all of 127.0.0.0/8 has to be on the loopback interface, as it is on Linux: `ip addr add 127.0.0.1/8 dev lo`";
    let last = SocketAddrV4::new(Ipv4Addr::new(127, 253, 0, 64), 0);
    let binds = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .is_ok_and(|socket| socket::bind(socket.as_raw_fd(), &SockaddrIn::from(last)).is_ok());
    match binds {
        true => check(NETWORK, "127.0.0.0/8", Grade::Ok, "every node can have an address of its own", hint),
        false => check(NETWORK, "127.0.0.0/8", Grade::Failed, format!("{} cannot be bound", last.ip()), hint),
    }
}

fn ports() -> Check {
    let hint = "the next stack moves to another block of addresses and says so; `ss -ltnp` shows who has the port";
    match registry::first_occupied(0, &stack::ports(&StackFile::default())) {
        None => check(NETWORK, "standard ports", Grade::Ok, "free on 127.0.0.1 to 127.0.0.3", hint),
        Some(address) => check(NETWORK, "standard ports", Grade::Warning, format!("{address} is taken"), hint),
    }
}

fn registry_directory() -> Check {
    let hint =
        "the list of running stacks is kept in $XDG_RUNTIME_DIR/atoll or /tmp/atoll-UID, which has to be yours alone";
    match Registry::open() {
        Ok(registry) => check(RESOURCES, "registry", Grade::Ok, registry.directory().display().to_string(), hint),
        Err(failure) => check(RESOURCES, "registry", Grade::Failed, failure.message, hint),
    }
}

fn open_files() -> Check {
    let hint = "raise the hard limit: `ulimit -Hn 65536`, or LimitNOFILE= of the service";
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard >= 8192 => check(RESOURCES, "open files", Grade::Ok, format!("up to {hard}"), hint),
        Ok((_, hard)) if hard >= 1024 => {
            check(RESOURCES, "open files", Grade::Warning, format!("up to {hard}: fewer connections"), hint)
        }
        Ok((_, hard)) => check(RESOURCES, "open files", Grade::Failed, format!("only {hard}"), hint),
        Err(errno) => check(RESOURCES, "open files", Grade::Warning, errno.to_string(), hint),
    }
}

fn disk_space() -> Check {
    let hint = "free some space, or start with `--ephemeral`";
    let statistics = std::env::current_dir().ok().and_then(|here| nix::sys::statvfs::statvfs(&here).ok());
    let Some(statistics) = statistics else {
        return check(RESOURCES, "disk space", Grade::Warning, "unknown", hint);
    };
    let free_mib = statistics.blocks_available().saturating_mul(statistics.fragment_size()) >> 20;
    let grade = match free_mib {
        0..=63 => Grade::Failed,
        64..=1023 => Grade::Warning,
        _ => Grade::Ok,
    };
    check(RESOURCES, "disk space", grade, format!("{free_mib} MiB free here"), hint)
}

fn clock() -> Check {
    // Certificates and records carry wall time; a clock that starts in 1970 makes every one of them invalid.
    let hint = "set the clock: certificates and timestamps depend on it";
    let wall = atoll_kernel::Kernel::live(Vec::new(), atoll_kernel::Seed(0)).wall().as_millis();
    let year_2025_ms = 1_735_689_600_000;
    match wall >= year_2025_ms {
        true => check(RESOURCES, "clock", Grade::Ok, "plausible", hint),
        false => check(RESOURCES, "clock", Grade::Failed, "before 2025", hint),
    }
}

fn program(name: &'static str, hint: &str) -> Check {
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&directories).map(|directory| directory.join(name)).find(|path| path.is_file());
    match found {
        Some(path) => check(TOOLS, name, Grade::Ok, path.display().to_string(), hint),
        None => check(TOOLS, name, Grade::Warning, "not found", hint),
    }
}
