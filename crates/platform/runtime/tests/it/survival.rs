//! What is left when Atoll dies without a word, and whether all of this works without root.

use crate::fixture::*;
use atoll_runtime::*;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Tells a re-run of this test program that it is the one to be killed, and where it may work.
const VICTIM: &str = "ATOLL_TEST_VICTIM_DIRECTORY";

/// Not a test of its own: started by the next one, in a process of its own, to be killed.
#[tokio::test]
async fn victim() {
    let Some(directory) = std::env::var_os(VICTIM) else { return };
    let (runtime, events) = Runtime::new(config("test-victim", Path::new(&directory))).expect("runtime");
    let stand = Stand { runtime, events, directory: tempfile::tempdir().expect("temporary directory") };
    for number in 0..3 {
        let uid = format!("victim-{number}");
        stand.start(pod(&uid, 20 + number)).await;
        let mut stubborn = shell("main", "trap '' TERM HUP INT; sleep 1000 & sleep 1000 & echo up; wait");
        stubborn.resources = Resources::limited(500, 64 * 1024 * 1024);
        stand.run(&uid, stubborn).await;
        stand.printed(&uid, "main", "up").await;
    }
    println!("\nready");
    std::future::pending::<()>().await;
}

/// All descendants of a process.
fn descendants(of: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([of]);
    loop {
        let before = found.len();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
            if parent.is_some_and(|parent| found.contains(&parent)) {
                found.insert(pid);
            }
        }
        if found.len() == before {
            found.remove(&of);
            return found;
        }
    }
}

/// The namespaces of this kind that processes are in, as far as this user may see.
fn namespaces(kind: &str) -> BTreeSet<String> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let links = processes.filter_map(|entry| std::fs::read_link(entry.path().join("ns").join(kind)).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn sigkill_leaves_nothing_behind() {
    if stand("survival").await.is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "survival::victim", "--nocapture"])
        .env(VICTIM, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(victim.stdout.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line == "ready")), "the victim is ready");
    let pods = descendants(victim.id());
    // Per pod: supervisor, init, the shell and its two sleeps.
    assert!(pods.len() >= 15, "{pods:?}");
    let own = |pid: u32, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let nets: BTreeSet<String> =
        pods.iter().filter_map(|pid| own(*pid, "net")).map(|link| link.to_string_lossy().into_owned()).collect();
    assert!(nets.len() >= 3, "three pods, three network namespaces: {nets:?}");
    let watched: Vec<OwnedFd> = pods.iter().filter_map(|pid| watch_process(*pid)).collect();
    victim.kill().expect("killed");
    victim.wait().expect("dead");
    for process in watched {
        let mut waiting = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        let ended = poll(&mut waiting, PollTimeout::from(30_000u16)).expect("polled");
        assert_eq!(ended, 1, "a process of a pod outlives Atoll");
    }
    let mine = own(std::process::id(), "net").expect("own namespace").to_string_lossy().into_owned();
    let left: Vec<_> = namespaces("net").into_iter().filter(|net| nets.contains(net) && *net != mine).collect();
    assert!(left.is_empty(), "network namespaces are left: {left:?}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&*directory.path().to_string_lossy()), "mounts are left");
    // Directories and control groups are the next start's to clear away.
    let (runtime, _events) = Runtime::new(config("test-victim", directory.path())).expect("runtime");
    assert_eq!(std::fs::read_dir(directory.path().join("pods")).expect("directory").count(), 0);
    runtime.shutdown().await;
    let groups = Command::new("find").args(["/sys/fs/cgroup", "-name", "atoll-test-victim*"]).output().expect("find");
    assert_eq!(String::from_utf8_lossy(&groups.stdout), "", "control groups are left");
}

fn watch_process(pid: u32) -> Option<OwnedFd> {
    // SAFETY: a system call without pointers; a non-negative result is a new descriptor that is ours.
    unsafe {
        let fd = nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Everything in this program once more, as nobody: pods need no root.
#[test]
fn all_of_it_works_for_an_ordinary_user() {
    if !is_root() {
        return; // Then all the others are that test.
    }
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--skip", "survival::victim", "--test-threads", "2"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output()
        .expect("started");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprintln!("as nobody:\n{text}{errors}");
    assert!(output.status.success(), "it does not work as nobody");
}
