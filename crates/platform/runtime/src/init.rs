//! The pod's first process. It runs in a process of its own that never has a second thread, so it may fork.
//!
//! Two processes, in fact: the *supervisor*, a child of Atoll, makes the namespaces and waits; the *init* is its child
//! and PID 1 of the pod. Whoever of Atoll, supervisor and init dies takes the rest along: supervisor and init ask for
//! SIGKILL when their parent dies, the init ends when the control channel closes, and the kernel kills a PID namespace
//! with its first process. Containers are children of the init in PID namespaces of their own.
//!
//! Start with [`pod_init_main`], then [`Init::run`].
#![allow(clippy::disallowed_methods)] // A door: this process is outside of Atoll's, and exists to make system calls.

mod container;
mod roots;

use crate::control::{self, PodSetup, Report, Request};
use crate::netlink;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getgid, getuid, setsid};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::ExitCode;

/// A step that failed, as [`Report::Failed`] tells it.
struct Failure {
    step: &'static str,
    message: String,
}

/// Names the step that an error belongs to.
trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, Failure>;
}

impl<T, E: Display> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure { step, message: error.to_string() })
    }
}

/// Runs as the first process of a pod; call it before the process has a second thread. Descriptor 0 is the control
/// channel. Not for people: the runtime starts it.
pub fn pod_init_main() -> ExitCode {
    let Ok(control) = take_control() else {
        eprintln!("pod-init is started by Atoll itself, with its control channel as standard input");
        return ExitCode::from(2);
    };
    let setup = match enter_namespaces(&control) {
        Ok(Some(setup)) => setup,
        Ok(None) => return ExitCode::SUCCESS,
        Err(failure) => return report_failure(&control, failure),
    };
    // SAFETY: this process has one thread.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => match Init::new(&control, &setup).and_then(|mut init| init.run()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => report_failure(&control, failure),
        },
        Ok(ForkResult::Parent { child }) => {
            // The channel closes when the init's end does; ours must not keep it open.
            drop(control);
            wait_for(child)
        }
        Err(error) => report_failure(&control, Failure { step: "fork the pod's init", message: error.to_string() }),
    }
}

fn report_failure(control: &OwnedFd, Failure { step, message }: Failure) -> ExitCode {
    // If this fails, too, nobody is left to tell.
    let _ = control::send(control.as_fd(), &Report::Failed { step: step.into(), message }, &[]);
    ExitCode::FAILURE
}

/// Moves the control channel away from descriptor 0, which becomes `/dev/null`.
fn take_control() -> std::io::Result<OwnedFd> {
    let control = std::io::stdin().as_fd().try_clone_to_owned()?;
    nix::sys::socket::getsockopt(&control, nix::sys::socket::sockopt::SockType)?;
    let null = std::fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    Ok(control)
}

/// Makes the namespaces and their identity maps. `None` if Atoll closed the channel.
fn enter_namespaces(control: &OwnedFd) -> Result<Option<PodSetup>, Failure> {
    prctl::set_pdeathsig(Signal::SIGKILL).step("set the parent-death signal")?;
    // Away from the terminal's process group: Ctrl-C is for Atoll, which then stops its pods in order.
    setsid().step("start a session")?;
    let Some((Request::Setup(setup), _)) = control::receive(control.as_fd()).step("receive the pod's setup")? else {
        return Ok(None);
    };
    let (uid, gid) = (getuid(), getgid());
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWNET,
    )
    .step("make namespaces (are unprivileged user namespaces allowed?)")?;
    if setup.mapped_from_outside {
        control::send(control.as_fd(), &Report::Unshared, &[]).step("report the namespaces")?;
        let Some((Request::Mapped, _)) = control::receive::<Request>(control.as_fd()).step("await identity maps")?
        else {
            return Ok(None);
        };
    } else {
        std::fs::write("/proc/self/setgroups", "deny").step("deny setgroups")?;
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).step("map the user")?;
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).step("map the group")?;
    }
    // Changes of credentials clear it.
    prctl::set_pdeathsig(Signal::SIGKILL).step("set the parent-death signal")?;
    Ok(Some(setup))
}

/// The supervisor's whole further life: it waits for the init, and ends as that does.
fn wait_for(init: Pid) -> ExitCode {
    loop {
        match waitpid(init, None) {
            Ok(WaitStatus::Exited(_, code)) => return ExitCode::from(code as u8),
            Ok(WaitStatus::Signaled(..)) => return ExitCode::FAILURE,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

/// PID 1 of the pod.
struct Init<'c> {
    control: &'c OwnedFd,
    signals: SignalFd,
    /// Containers and commands by the number that Atoll gave them. A container's setup is kept for commands in it.
    running: BTreeMap<u32, container::Running>,
    paused: bool,
    /// What Atoll asked for while the pod was paused, and what therefore waits.
    waiting: Vec<(Request, Vec<OwnedFd>)>,
}

impl<'c> Init<'c> {
    fn new(control: &'c OwnedFd, setup: &PodSetup) -> Result<Self, Failure> {
        prctl::set_pdeathsig(Signal::SIGKILL).step("set the parent-death signal")?;
        nix::unistd::sethostname(&setup.hostname).step("set the host name")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .step("make mounts private")?;
        netlink::configure_loopback(setup.ip).step("configure the loopback interface")?;
        netlink::redirect_outbound(setup.ip).step("redirect outbound connections (nf_tables)")?;
        // As containerd does for pods: any user may listen on port 80. Older kernels lack the switch.
        let _ = std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
        let capture =
            TcpListener::bind((Ipv4Addr::LOCALHOST, netlink::CAPTURE_PORT)).step("open the capture listener")?;
        let dns = UdpSocket::bind((Ipv4Addr::LOCALHOST, netlink::DNS_PORT)).step("open the DNS socket")?;
        let dns_stream = TcpListener::bind((Ipv4Addr::LOCALHOST, netlink::DNS_PORT)).step("open the DNS listener")?;
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE] {
            mask.add(signal);
        }
        mask.thread_block().step("block signals")?;
        let signals =
            SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).step("watch signals")?;
        // SAFETY: a system call without pointers; a non-negative result is a new descriptor that is ours.
        let own = unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0);
            if fd < 0 {
                return Err(std::io::Error::last_os_error()).step("open a descriptor of the init");
            }
            OwnedFd::from_raw_fd(fd as i32)
        };
        let sockets = [capture.as_fd(), dns.as_fd(), dns_stream.as_fd(), own.as_fd()];
        control::send(control.as_fd(), &Report::Ready, &sockets).step("report readiness")?;
        Ok(Self { control, signals, running: BTreeMap::new(), paused: false, waiting: Vec::new() })
    }

    /// Serves requests and reaps children until Atoll closes the channel. Returning ends PID 1, and with it the pod.
    fn run(&mut self) -> Result<(), Failure> {
        loop {
            let (control, signals) = (self.control.as_fd(), self.signals.as_fd());
            let mut ready = [PollFd::new(control, PollFlags::POLLIN), PollFd::new(signals, PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other.step("wait for events")?,
            };
            let [asked, signalled] = ready.map(|one| one.any().unwrap_or(false));
            if signalled {
                while let Ok(Some(_)) = self.signals.read_signal() {}
                self.reap()?;
            }
            if asked {
                match control::receive(self.control.as_fd()).step("receive a request")? {
                    Some((request, descriptors)) => self.serve(request, descriptors)?,
                    None => return Ok(()),
                }
            }
        }
    }

    fn serve(&mut self, request: Request, descriptors: Vec<OwnedFd>) -> Result<(), Failure> {
        match request {
            Request::Start { .. } | Request::Exec { .. } if self.paused => self.waiting.push((request, descriptors)),
            Request::Start { id } => self.report_start(id, container::start(descriptors))?,
            Request::Exec { id, of, argv } => {
                let started = match self.running.get(&of) {
                    Some(container) => container.exec(argv, descriptors),
                    None => Err(container::Refusal::new("ContainerNotRunning", "the container is not running")),
                };
                self.report_start(id, started)?;
            }
            Request::Signal { id, signal } => {
                if let (Some(running), Ok(signal)) = (self.running.get(&id), Signal::try_from(signal)) {
                    // It may have ended just now; the report is on its way.
                    let _ = kill(running.signalled, signal);
                }
            }
            Request::Sockets { count } => self.make_sockets(count)?,
            Request::Pause => {
                self.paused = true;
                // Everything in the pod's PID namespace but this process, in one step that no fork can evade. With
                // nothing to signal it fails, which is as good.
                let _ = kill(Pid::from_raw(-1), Signal::SIGSTOP);
            }
            Request::Resume => {
                self.paused = false;
                let _ = kill(Pid::from_raw(-1), Signal::SIGCONT);
                for (request, descriptors) in std::mem::take(&mut self.waiting) {
                    self.serve(request, descriptors)?;
                }
            }
            Request::Setup(_) | Request::Mapped => {}
        }
        Ok(())
    }

    fn report_start(
        &mut self,
        id: u32,
        started: Result<container::Running, container::Refusal>,
    ) -> Result<(), Failure> {
        match started {
            Ok(running) => {
                let pid = running.pid.as_raw();
                self.running.insert(id, running);
                self.report(&Report::Started { id, pid })
            }
            Err(refusal) => {
                let (reason, message) = (refusal.reason.to_owned(), refusal.message);
                self.report(&Report::Refused { id, reason, message })
            }
        }
    }

    fn make_sockets(&self, count: usize) -> Result<(), Failure> {
        let mut sockets = Vec::new();
        for _ in 0..count.min(control::DESCRIPTORS_MAX) {
            let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            // SAFETY: a system call without pointers; a non-negative result is a new descriptor that is ours.
            let fd = unsafe { libc::socket(libc::AF_INET, kind, 0) };
            if fd < 0 {
                break; // The descriptors' limit is reached: fewer sockets, not a dead pod.
            }
            // SAFETY: as above.
            sockets.push(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        let borrowed: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        control::send(self.control.as_fd(), &Report::Sockets, &borrowed).step("send sockets")
    }

    fn reap(&mut self) -> Result<(), Failure> {
        loop {
            let (pid, code, signal) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Some(code), None),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, None, Some(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error).step("reap"),
            };
            let Some(id) = self.running.iter().find(|(_, running)| running.pid == pid).map(|(id, _)| *id) else {
                continue; // An orphan that ended up with us.
            };
            self.running.remove(&id);
            self.report(&Report::Exited { id, code, signal })?;
        }
    }

    fn report(&self, report: &Report) -> Result<(), Failure> {
        control::send(self.control.as_fd(), report, &[]).step("report")
    }
}
