//! A process that outlives Atoll by a moment: control groups have no owner whose end would remove them, so somebody has
//! to be there after `kill -9`. It waits for its standard input to end, and removes what is left.
#![allow(clippy::disallowed_methods)] // A door: control groups are directories, and there is no kernel to ask for time.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use crate::cgroups::remove_tree;

/// The hidden subcommand, beside `pod-init`, under which the janitor is started.
pub(crate) const SUBCOMMAND: &str = "pod-janitor";

/// How often, and after how long, a group is tried again whose processes are still ending.
const ATTEMPTS_MAX: u32 = 500;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);

/// The waiting process. It acts when this value, or the process that has it, is gone.
#[derive(Debug)]
pub(crate) struct Janitor {
    child: Child,
}

impl Janitor {
    /// Starts one for these directories.
    pub(crate) fn start(executable: &Path, directories: &[PathBuf]) -> io::Result<Janitor> {
        let child = Command::new(executable)
            .arg(SUBCOMMAND)
            .args(directories)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Janitor { child })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // In an orderly end the directories are gone already, and it ends at once.
        let _ = self.child.wait();
    }
}

/// Runs as the janitor, if this process was started as one: dispatch it beside [`pod_init_main`](crate::pod_init_main).
pub fn pod_janitor_main() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(SUBCOMMAND)) {
        return None;
    }
    // Ctrl-C is meant for Atoll, and so is the end of its terminal. Fails only for a leader of a group, which this is not.
    let _ = nix::unistd::setsid();
    // Nobody writes: reading ends when the last process that holds the other end does.
    let _ = io::stdin().read(&mut [0]);
    let directories: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    for _ in 0..ATTEMPTS_MAX {
        directories.iter().for_each(|directory| remove_tree(directory));
        if directories.iter().all(|directory| !directory.exists()) {
            return Some(ExitCode::SUCCESS);
        }
        std::thread::sleep(BETWEEN_ATTEMPTS);
    }
    Some(ExitCode::FAILURE)
}
