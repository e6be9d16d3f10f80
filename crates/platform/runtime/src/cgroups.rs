//! Control groups: CPU and memory limits per container, and whether the memory limit killed.
//!
//! Version 2 is used where our own group may hand its controllers on (systemd: `Delegate=yes`, or root); else version 1
//! where its hierarchies are writable (root). Groups are made below Atoll's own, so that whatever limits Atoll limits
//! its pods as well: `…/atoll-NAME/POD-CONTAINER`.
#![allow(clippy::disallowed_methods)] // A door: control groups are made of small files that the kernel answers.

use crate::config::Resources;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The period over which CPU limits are counted, in microseconds: the kernel's and Kubernetes' default.
const CPU_PERIOD_US: u64 = 100_000;

/// A group without processes that is older than this belongs to nobody.
const STALE_AFTER: Duration = Duration::from_secs(60);

/// The control groups that this process may make.
#[derive(Debug, Clone)]
pub(crate) enum Cgroups {
    /// One directory for all controllers.
    V2 { root: PathBuf },
    /// One directory per controller; those that could be had.
    V1 { cpu: Option<PathBuf>, memory: Option<PathBuf> },
    /// None, and why.
    Unavailable { reason: String },
}

/// A container's groups. Removed by [`Group::remove`] when its processes are gone.
#[derive(Debug, Default)]
pub(crate) struct Group {
    directories: Vec<PathBuf>,
    memory: Option<PathBuf>,
    /// What the processes write themselves into.
    pub(crate) procs: Vec<OwnedFd>,
    /// Why limits that were asked for do not act.
    pub(crate) unlimited: Option<String>,
}

impl Cgroups {
    /// Finds out what can be had, and removes what a killed predecessor with the same name left.
    pub(crate) fn open(name: &str) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let v1 = |controller: &str| {
            let parent = v1_directory(&own, &mounts, controller)?;
            remove_stale(&parent);
            let directory = parent.join(format!("atoll-{name}"));
            remove_tree(&directory);
            // Tried out, then removed again: the tree is there only while something is limited.
            fs::create_dir(&directory).and_then(|()| fs::remove_dir(&directory)).ok().map(|()| directory)
        };
        let (cpu, memory) = (v1("cpu"), v1("memory"));
        if cpu.is_some() || memory.is_some() {
            return Self::V1 { cpu, memory };
        }
        match v2_root(&own, &mounts, name) {
            Ok(root) => Self::V2 { root },
            Err(reason) => Self::Unavailable { reason },
        }
    }

    /// What `doctor` says.
    pub(crate) fn describe(&self) -> Result<String, String> {
        match self {
            Self::V2 { .. } => Ok("cgroup v2".into()),
            Self::V1 { cpu: Some(_), memory: Some(_) } => Ok("cgroup v1".into()),
            Self::V1 { cpu, .. } => {
                Err(format!("cgroup v1: the {} controller is missing", if cpu.is_none() { "cpu" } else { "memory" }))
            }
            Self::Unavailable { reason } => Err(reason.clone()),
        }
    }

    /// Makes the groups of one container. What cannot be limited is said in [`Group::unlimited`], not an error.
    pub(crate) fn make(&self, name: &str, resources: &Resources) -> Group {
        let mut group = Group::default();
        if *resources == Resources::default() {
            return group;
        }
        let made = match self {
            Self::Unavailable { reason } => {
                group.unlimited = Some(reason.clone());
                return group;
            }
            Self::V2 { root } => group.make_v2(root, name, resources),
            Self::V1 { cpu, memory } => {
                if (cpu.is_none() && resources.cpu_limit_millis.is_some())
                    || (memory.is_none() && resources.memory_limit_bytes.is_some())
                {
                    group.unlimited = self.describe().err();
                }
                group.make_v1(name, cpu.as_deref(), memory.as_deref(), resources)
            }
        };
        if let Err(error) = made {
            group.remove();
            group.unlimited = Some(format!("control group {name}: {error}"));
        }
        group
    }

    /// Removes everything at the end.
    pub(crate) fn close(&self) {
        self.roots().iter().for_each(|directory| remove_tree(directory));
    }

    /// The directories below which all groups are made.
    pub(crate) fn roots(&self) -> Vec<PathBuf> {
        match self {
            Self::V2 { root } => vec![root.clone()],
            Self::V1 { cpu, memory } => cpu.iter().chain(memory).cloned().collect(),
            Self::Unavailable { .. } => Vec::new(),
        }
    }
}

impl Group {
    fn make_v2(&mut self, root: &Path, name: &str, resources: &Resources) -> io::Result<()> {
        fs::create_dir_all(root)?;
        fs::write(root.join("cgroup.subtree_control"), "+cpu +memory")?;
        let directory = &root.join(name);
        self.enter(directory)?;
        if let Some(millis) = resources.cpu_limit_millis {
            fs::write(directory.join("cpu.max"), format!("{} {CPU_PERIOD_US}", quota_us(millis)))?;
        }
        if let Some(millis) = resources.cpu_request_millis {
            // The kubelet's conversion of version 1 shares (2–262144) to weights (1–10000).
            let weight = 1 + (shares(millis) - 2) * 9999 / 262_142;
            fs::write(directory.join("cpu.weight"), weight.to_string())?;
        }
        if let Some(bytes) = resources.memory_limit_bytes {
            fs::write(directory.join("memory.max"), bytes.to_string())?;
            // As the kubelet does: no swap, and the whole container dies, not one process of it.
            let _ = fs::write(directory.join("memory.swap.max"), "0");
            let _ = fs::write(directory.join("memory.oom.group"), "1");
        }
        self.memory = Some(directory.join("memory.events"));
        Ok(())
    }

    fn make_v1(
        &mut self,
        name: &str,
        cpu: Option<&Path>,
        memory: Option<&Path>,
        resources: &Resources,
    ) -> io::Result<()> {
        if let Some(directory) = cpu.map(|root| root.join(name)) {
            self.enter(&directory)?;
            if let Some(millis) = resources.cpu_limit_millis {
                fs::write(directory.join("cpu.cfs_period_us"), CPU_PERIOD_US.to_string())?;
                fs::write(directory.join("cpu.cfs_quota_us"), quota_us(millis).to_string())?;
            }
            if let Some(millis) = resources.cpu_request_millis {
                fs::write(directory.join("cpu.shares"), shares(millis).to_string())?;
            }
        }
        if let Some(directory) = memory.map(|root| root.join(name)) {
            self.enter(&directory)?;
            if let Some(bytes) = resources.memory_limit_bytes {
                fs::write(directory.join("memory.limit_in_bytes"), bytes.to_string())?;
                // Only there if the kernel accounts for swap.
                let _ = fs::write(directory.join("memory.memsw.limit_in_bytes"), bytes.to_string());
            }
            self.memory = Some(directory.join("memory.oom_control"));
        }
        Ok(())
    }

    fn enter(&mut self, directory: &Path) -> io::Result<()> {
        // Another container's end may remove the tree above between the two steps of one attempt.
        let made = fs::create_dir_all(directory).or_else(|_| fs::create_dir_all(directory));
        made?;
        self.directories.push(directory.into());
        self.procs.push(fs::OpenOptions::new().write(true).open(directory.join("cgroup.procs"))?.into());
        Ok(())
    }

    /// Whether the memory limit has killed a process of this group.
    pub(crate) fn oom_killed(&self) -> bool {
        let text = self.memory.as_ref().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap_or("0");
        count.trim().parse::<u64>().is_ok_and(|count| count > 0)
    }

    pub(crate) fn remove(&mut self) {
        self.procs.clear();
        for directory in self.directories.drain(..) {
            // A zombie's group is busy for a moment; what stays is removed with the whole tree. The tree itself goes
            // with its last group.
            if fs::remove_dir(&directory).is_ok() {
                let _ = directory.parent().map(fs::remove_dir);
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.remove();
    }
}

/// At least a millisecond per period, which is the kernel's minimum.
fn quota_us(millis: u64) -> u64 {
    (millis.saturating_mul(CPU_PERIOD_US) / 1000).max(1000)
}

/// The kubelet's conversion of requests.
fn shares(millis: u64) -> u64 {
    (millis.saturating_mul(1024) / 1000).clamp(2, 262_144)
}

/// The directory of our own group in the version 1 hierarchy of a controller.
fn v1_directory(own: &str, mounts: &str, controller: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|one| one == controller).then_some(path)
    })?;
    mount_of(mounts, path, |kind, options| kind == "cgroup" && options.split(',').any(|one| one == controller))
}

/// Where the hierarchy is mounted, and in it our own group. A container sees only a part of it, mounted at the top.
fn mount_of(mounts: &str, own: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, _source, options) = (after.next()?, after.next()?, after.next()?);
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let below = own.strip_prefix(root.trim_end_matches('/')).unwrap_or("");
        wanted(kind, options).then(|| Path::new(point).join(below.trim_start_matches('/')))
    })
}

/// Makes our group hand its controllers on. The kernel demands that a group which does so has no processes of its own,
/// so Atoll itself moves into a leaf.
fn v2_root(own: &str, mounts: &str, name: &str) -> Result<PathBuf, String> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).ok_or("no cgroup file system")?;
    let directory = mount_of(mounts, path, |kind, _| kind == "cgroup2").ok_or("no cgroup file system is mounted")?;
    let offered = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
    if !["cpu", "memory"].iter().all(|needed| offered.split_whitespace().any(|one| one == *needed)) {
        return Err(format!(
            "cgroup v2 controllers cpu and memory are not delegated to {} (try: systemd-run --user --scope -p Delegate=yes)",
            directory.display()
        ));
    }
    let attempt = || -> io::Result<PathBuf> {
        let root = directory.join(format!("atoll-{name}"));
        remove_stale(&directory);
        remove_tree(&root);
        let control = directory.join("cgroup.subtree_control");
        if fs::write(&control, "+cpu +memory").is_err() {
            let leaf = directory.join(format!("atoll-{name}-self"));
            fs::create_dir_all(&leaf)?;
            fs::write(leaf.join("cgroup.procs"), std::process::id().to_string())?;
            fs::write(&control, "+cpu +memory")?;
        }
        Ok(root)
    };
    attempt().map_err(|error| format!("cgroup v2 at {}: {error}", directory.display()))
}

/// Removes what stacks of other names left when they were killed, for they may never be started again. A group in use
/// has processes, except in the moment between being made and being joined.
fn remove_stale(parent: &Path) {
    let is_old = |path: &Path| {
        let age = fs::metadata(path).and_then(|metadata| metadata.modified()).map(|made| made.elapsed());
        age.is_ok_and(|age| age.is_ok_and(|age| age > STALE_AFTER))
    };
    let stacks = fs::read_dir(parent).into_iter().flatten().flatten();
    for stack in stacks.filter(|entry| entry.file_name().to_string_lossy().starts_with("atoll-")) {
        for group in fs::read_dir(stack.path()).into_iter().flatten().flatten() {
            if is_old(&group.path()) {
                // Refused while there are processes.
                let _ = fs::remove_dir(group.path());
            }
        }
        if is_old(&stack.path()) {
            let _ = fs::remove_dir(stack.path());
        }
    }
}

/// Removes a group and all below it. Its processes are dead or about to be: pods die with Atoll.
pub(crate) fn remove_tree(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_below_each_kind_of_mount() {
        let own = "4:memory:/slice/one\n1:cpu,cpuacct:/\n0::/user.slice\n";
        let mounts = "31 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      32 25 0:28 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                      33 25 0:29 /user.slice /sys/fs/cgroup/unified rw - cgroup2 none rw\n";
        assert_eq!(v1_directory(own, mounts, "memory"), Some("/sys/fs/cgroup/memory/slice/one".into()));
        assert_eq!(v1_directory(own, mounts, "cpu"), Some("/sys/fs/cgroup/cpu/".into()));
        assert_eq!(v1_directory(own, mounts, "pids"), None);
        let unified = mount_of(mounts, "/user.slice", |kind, _| kind == "cgroup2");
        assert_eq!(unified, Some("/sys/fs/cgroup/unified/".into()));
    }

    #[test]
    fn requests_and_limits_are_converted_as_the_kubelet_does() {
        assert_eq!((quota_us(500), quota_us(1)), (50_000, 1000));
        assert_eq!((shares(0), shares(1000), shares(u64::MAX)), (2, 1024, 262_144));
    }
}
