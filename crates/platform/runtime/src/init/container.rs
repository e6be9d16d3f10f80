//! Starting a container, and commands in it. Everything between the fork and the exec happens here.

use super::roots;
use crate::control::ContainerSetup;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid, fork, setsid};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::ffi::CString;
use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A container or a command that runs, as a child of the init.
pub(super) struct Running {
    pub(super) pid: Pid,
    /// Whom signals are for. A container's first process takes all others along when it dies; a command's does not, so
    /// its whole process group is meant.
    pub(super) signalled: Pid,
    setup: ContainerSetup,
}

/// Why something could not be started: a word of the kubelet, and a sentence.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(reason: &str, message: impl Display) -> Self {
        Self { reason: reason.into(), message: message.to_string() }
    }
}

/// Attaches kubelet's reason and the failed step to an error.
pub(super) trait Refuse<T> {
    fn refuse(self, reason: &str, step: impl Display) -> Result<T, Refusal>;
}

impl<T, E: Display> Refuse<T> for Result<T, E> {
    fn refuse(self, reason: &str, step: impl Display) -> Result<T, Refusal> {
        self.map_err(|error| Refusal::new(reason, format!("{step}: {error}")))
    }
}

/// Capabilities that a container keeps: Docker's and containerd's default set. Numbers from `linux/capability.h`.
const KEPT_CAPABILITIES: [libc::c_ulong; 14] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    8,  // SETPCAP
    10, // NET_BIND_SERVICE
    13, // NET_RAW
    18, // SYS_CHROOT
    27, // MKNOD
    29, // AUDIT_WRITE
    31, // SETFCAP
];
const CAPABILITY_LAST: libc::c_ulong = 63;

/// Starts a container. Descriptors: its setup in a memory file, stdout, stderr, control groups.
pub(super) fn start(descriptors: Vec<OwnedFd>) -> Result<Running, Refusal> {
    let mut descriptors = descriptors.into_iter();
    let (Some(setup), Some(stdout), Some(stderr)) = (descriptors.next(), descriptors.next(), descriptors.next()) else {
        return Err(Refusal::new("CreateContainerError", "the control message lacks descriptors"));
    };
    let groups: Vec<File> = descriptors.map(File::from).collect();
    let mut text = String::new();
    File::from(setup).read_to_string(&mut text).refuse("CreateContainerError", "read the setup")?;
    let setup: ContainerSetup = serde_json::from_str(&text).refuse("CreateContainerError", "read the setup")?;
    let pid = run(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS, || {
        setsid().refuse("CreateContainerError", "start a session")?;
        join(&groups)?;
        roots::assemble(&setup)?;
        execute(&setup, &setup.argv, &stdout, &stderr)
    })?;
    Ok(Running { pid, signalled: pid, setup })
}

impl Running {
    /// Runs a command in this container's namespaces. Descriptors: output, control groups.
    ///
    /// The child joins the namespaces, but a PID namespace takes only new children in, so it forks once more and passes
    /// the result on.
    pub(super) fn exec(&self, argv: Vec<String>, descriptors: Vec<OwnedFd>) -> Result<Self, Refusal> {
        let mut descriptors = descriptors.into_iter();
        let Some(output) = descriptors.next() else {
            return Err(Refusal::new("CreateContainerError", "the control message lacks descriptors"));
        };
        let groups: Vec<File> = descriptors.map(File::from).collect();
        let pid = run(CloneFlags::empty(), || {
            setsid().refuse("CreateContainerError", "start a session")?;
            join(&groups)?;
            // SAFETY: a system call without pointers; the result is checked.
            let process = unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid.as_raw(), 0) };
            if process < 0 {
                return Err(std::io::Error::last_os_error()).refuse("ExecError", "find the container");
            }
            // SAFETY: a new descriptor that is ours.
            let process = unsafe { OwnedFd::from_raw_fd(process as i32) };
            setns(&process, CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)
                .refuse("ExecError", "enter the container")?;
            // SAFETY: this process has one thread.
            match unsafe { fork() }.refuse("ExecError", "fork")? {
                ForkResult::Child => {
                    prctl::set_pdeathsig(Signal::SIGKILL).refuse("ExecError", "set the parent-death signal")?;
                    execute(&self.setup, &argv, &output, &output)
                }
                ForkResult::Parent { child } => pass_on(child),
            }
        })?;
        Ok(Self { pid, signalled: Pid::from_raw(-pid.as_raw()), setup: self.setup.clone() })
    }
}

/// Ends this process as its child ends.
fn pass_on(child: Pid) -> ! {
    // The caller's error pipe must close when the child's exec succeeds, not when this process ends.
    // SAFETY: closes descriptors that nothing in this process uses from here on.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    let code = loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => break code,
            // As a shell tells it, and as the kubelet expects of exec probes.
            Ok(WaitStatus::Signaled(_, signal, _)) => break 128 + signal as i32,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => break 255,
        }
    };
    // SAFETY: ends the process at once, without running the parent's exit handlers a second time.
    unsafe { libc::_exit(code) }
}

/// Forks with new namespaces and runs `child` there, which ends in an exec. What goes wrong before comes back through a
/// pipe that the exec closes.
fn run(namespaces: CloneFlags, child: impl FnOnce() -> Result<Infallible, Refusal>) -> Result<Pid, Refusal> {
    let (mut errors, told) = std::io::pipe().refuse("CreateContainerError", "make a pipe")?;
    let flags = namespaces.bits() | libc::SIGCHLD;
    // SAFETY: this process has one thread; without a new stack, clone behaves as fork does.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags as libc::c_ulong, 0usize, 0usize, 0usize, 0usize) };
    match pid {
        ..0 => Err(std::io::Error::last_os_error()).refuse("CreateContainerError", "make the container's namespaces"),
        0 => {
            drop(errors);
            let mut told = told;
            let Err(refusal) = child();
            let _ = told.write_all(&serde_json::to_vec(&refusal).unwrap_or_default());
            // SAFETY: ends the process at once, without running the parent's exit handlers a second time.
            unsafe { libc::_exit(128) }
        }
        pid => {
            drop(told);
            let pid = Pid::from_raw(pid as i32);
            let mut refusal = Vec::new();
            errors.read_to_end(&mut refusal).refuse("CreateContainerError", "read from the container")?;
            if refusal.is_empty() {
                return Ok(pid);
            }
            let _ = waitpid(pid, None);
            Err(serde_json::from_slice(&refusal)
                .unwrap_or_else(|_| Refusal::new("CreateContainerError", "the container's process died")))
        }
    }
}

fn join(groups: &[File]) -> Result<(), Refusal> {
    for mut group in groups {
        group.write_all(b"0").refuse("CreateContainerError", "join the control group")?;
    }
    Ok(())
}

/// Becomes the command. Returns only if that fails.
fn execute(setup: &ContainerSetup, argv: &[String], stdout: &OwnedFd, stderr: &OwnedFd) -> Result<Infallible, Refusal> {
    let reason = "RunContainerError";
    std::env::set_current_dir(&setup.working_dir)
        .refuse(reason, format_args!("working directory {}", setup.working_dir.display()))?;
    let program = find_program(setup, argv)?;
    let text = |text: &str| CString::new(text).refuse(reason, "a NUL character in the command or its environment");
    let argv: Vec<CString> = argv.iter().map(|word| text(word)).collect::<Result<_, _>>()?;
    let env = setup.env.iter().map(|(name, value)| text(&format!("{name}={value}"))).collect::<Result<Vec<_>, _>>()?;
    let program = text(&program.to_string_lossy())?;
    nix::unistd::dup2_stdout(stdout).refuse(reason, "standard output")?;
    nix::unistd::dup2_stderr(stderr).refuse(reason, "standard error")?;
    restrict(setup.user)?;
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action involves no handler. The Rust runtime ignores SIGPIPE, which an exec would pass on.
    unsafe { sigaction(Signal::SIGPIPE, &default) }.refuse(reason, "reset signals")?;
    SigSet::empty().thread_set_mask().refuse(reason, "reset signals")?;
    // SAFETY: marks descriptors that the program must not see; the error pipe is closed by the exec, too.
    unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) };
    let error = nix::unistd::execve(&program, &argv, &env).unwrap_err();
    Err(Refusal::new(reason, format!("exec: {program:?}: {}", error.desc())))
}

/// Drops what containers do not get, then the identity.
fn restrict(user: Option<(u32, u32)>) -> Result<(), Refusal> {
    let reason = "RunContainerError";
    for capability in (0..=CAPABILITY_LAST).filter(|capability| !KEPT_CAPABILITIES.contains(capability)) {
        // SAFETY: a system call without pointers. Numbers that this kernel does not know fail, which is right.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    if let Some((uid, gid)) = user {
        let identity = format!("user {uid}, group {gid} (Atoll must run as root to use other identities)");
        nix::unistd::setgroups(&[Gid::from_raw(gid)]).refuse(reason, &identity)?;
        nix::unistd::setgid(Gid::from_raw(gid)).refuse(reason, &identity)?;
        nix::unistd::setuid(Uid::from_raw(uid)).refuse(reason, &identity)?;
    }
    Ok(())
}

/// Looks a program without a slash up in the container's `PATH`, in the container's root.
fn find_program(setup: &ContainerSetup, argv: &[String]) -> Result<PathBuf, Refusal> {
    let reason = "RunContainerError";
    let Some(name) = argv.first().filter(|name| !name.is_empty()) else {
        return Err(Refusal::new(reason, "no command specified"));
    };
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let path = setup.env.iter().rev().find(|(key, _)| key == "PATH").map_or("", |(_, value)| value.as_str());
    path.split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|candidate| nix::unistd::access(candidate, nix::unistd::AccessFlags::X_OK).is_ok() && candidate.is_file())
        .ok_or_else(|| Refusal::new(reason, format!("exec: \"{name}\": executable file not found in $PATH")))
}
