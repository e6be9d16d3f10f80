//! A share of a core for a server: a control group of its own, of either version, for as long as a sample takes.
//!
//! A load generator fills its own core before a fast server has filled another. Where both engines have the same small share, it is
//! the server that is the limit, on both sides.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The share is reckoned over this time: short, so that a server that has used its own waits for milliseconds only.
const PERIOD_US: u32 = 20_000;
/// A group is named so, and by the process that made it.
const NAMED: &str = "atoll-bench-";
const VERSION_1: &str = "/sys/fs/cgroup/cpu";
const VERSION_2: &str = "/sys/fs/cgroup";

/// The processes have their share until this is dropped.
pub struct Share {
    group: PathBuf,
    /// Each process, and the group that it came from and goes back to.
    members: Vec<(u32, PathBuf)>,
}

impl Share {
    /// Gives these processes, all of them together, so many hundredths of a core.
    pub fn of(pids: &[u32], percent: u32) -> Result<Share> {
        let is_version_1 = Path::new(VERSION_1).is_dir();
        let hierarchy = Path::new(if is_version_1 { VERSION_1 } else { VERSION_2 });
        remove_forgotten(hierarchy);
        let group = hierarchy.join(format!("{NAMED}{}", std::process::id()));
        std::fs::create_dir(&group).context("a share of a core needs control groups, and the right to make one")?;
        let mut share = Share { group, members: Vec::new() };
        let quota_us = PERIOD_US * percent / 100;
        if is_version_1 {
            share.set("cpu.cfs_period_us", &PERIOD_US.to_string())?;
            share.set("cpu.cfs_quota_us", &quota_us.to_string())?;
        } else {
            share.set("cpu.max", &format!("{quota_us} {PERIOD_US}"))?;
        }
        for pid in pids {
            let told = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).context("a server has ended")?;
            let before = group_in(&told, is_version_1).context("a server is in no control group")?;
            share.set("cgroup.procs", &pid.to_string())?;
            share.members.push((*pid, hierarchy.join(before.trim_start_matches('/'))));
        }
        Ok(share)
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = self.group.join(file);
        std::fs::write(&path, value).with_context(|| path.display().to_string())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        for (pid, before) in &self.members {
            // One that has ended needs no way back.
            let _ = std::fs::write(before.join("cgroup.procs"), pid.to_string());
        }
        if let Err(error) = std::fs::remove_dir(&self.group) {
            eprintln!("{}: {error}", self.group.display());
        }
    }
}

/// Groups of benches that were killed: nothing is in them, once their servers have ended, but they stay.
fn remove_forgotten(hierarchy: &Path) {
    for entry in std::fs::read_dir(hierarchy).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(NAMED)?.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // One whose servers are still ending is left to the next time.
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

/// The path of the group that shares out processor time, from `/proc/PID/cgroup`: lines of `NUMBER:CONTROLLERS:PATH`.
pub fn group_in(told: &str, is_version_1: bool) -> Option<&str> {
    told.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let is_it = if is_version_1 { controllers.split(',').any(|one| one == "cpu") } else { controllers.is_empty() };
        is_it.then_some(path)
    })
}
