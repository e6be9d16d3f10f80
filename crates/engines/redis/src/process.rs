//! What the operating system says of this process, for INFO.
//!
//! A door: files under `/proc` and `getrusage`. The core has no part in this; its driver gives it [`measure`], and a
//! simulation gives it nothing, so that what it answers there does not depend on the machine.

use std::time::Duration;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// What is known of the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessUsage {
    /// As `uname` has it: system, release, machine.
    pub(crate) system: String,
    pub(crate) resident_bytes: u64,
    pub(crate) system_memory_bytes: u64,
    /// Time in the kernel and in the program itself: of the process, of its children, and of the engine's thread.
    pub(crate) own: [Duration; 2],
    pub(crate) children: [Duration; 2],
    pub(crate) thread: [Duration; 2],
}

/// Measures now. To be called on the engine's thread.
pub(crate) fn measure() -> ProcessUsage {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    ProcessUsage {
        system: format!("Linux {} {}", release.trim(), std::env::consts::ARCH),
        resident_bytes: kilobytes("/proc/self/status", "VmRSS:") * 1024,
        system_memory_bytes: kilobytes("/proc/meminfo", "MemTotal:") * 1024,
        own: times(UsageWho::RUSAGE_SELF),
        children: times(UsageWho::RUSAGE_CHILDREN),
        thread: times(UsageWho::RUSAGE_THREAD),
    }
}

/// The number in the line that begins so; 0 if there is none.
fn kilobytes(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_ascii_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn times(who: UsageWho) -> [Duration; 2] {
    let Ok(usage) = getrusage(who) else { return [Duration::ZERO; 2] };
    let microseconds = |value: nix::sys::time::TimeVal| u64::try_from(value.num_microseconds()).unwrap_or(0);
    let parts: [fn(&Usage) -> nix::sys::time::TimeVal; 2] = [Usage::system_time, Usage::user_time];
    parts.map(|part| Duration::from_micros(microseconds(part(&usage))))
}
