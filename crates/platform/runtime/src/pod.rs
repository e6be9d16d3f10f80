//! One running pod, seen from Atoll: the control channel to its first process, what was asked over it and is not yet
//! answered, and the spare sockets made inside its network namespace.
#![allow(clippy::disallowed_methods)] // A door: identity maps are files of the kernel, and ends of processes have times.

use crate::config::{Exit, PodConfig, RuntimeError};
use crate::control::{self, PodSetup, Report, Request};
use crate::spawner::Spawner;
use crate::volumes::PodDirectory;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot, watch};

/// Making namespaces takes milliseconds; a machine that needs longer than this is not going to.
const SETUP_TIME_MAX: Duration = Duration::from_secs(20);
/// Spare sockets are asked for in batches of this size, when fewer than half of it are left.
const SOCKETS_PER_BATCH: usize = 16;

/// The pod's own ends of its network, made inside its namespace.
#[derive(Debug)]
pub struct PodNetwork {
    /// Accepts every outbound TCP connection; `SO_ORIGINAL_DST` tells where it wanted to go.
    pub capture: TcpListener,
    /// Receives every DNS question over UDP.
    pub dns: UdpSocket,
    /// Accepts every DNS connection over TCP.
    pub dns_stream: TcpListener,
}

pub(crate) struct Pod {
    pub(crate) config: PodConfig,
    pub(crate) directory: PodDirectory,
    processes: Processes,
    state: Mutex<State>,
    refilled: Notify,
    ended: watch::Sender<bool>,
}

/// What Atoll holds of a pod's own processes.
pub(crate) struct Processes {
    control: AsyncFd<OwnedFd>,
    supervisor: Mutex<Option<Child>>,
    /// Readable when the init is dead, and with it everything in the pod.
    init: AsyncFd<OwnedFd>,
}

impl Processes {
    /// Kills them at once. The init asked to be killed with the supervisor, and the kernel kills the rest.
    pub(crate) fn kill(&self) {
        if let Some(supervisor) = self.supervisor.lock().as_mut() {
            // An error means that it has ended already.
            let _ = supervisor.kill();
        }
    }

    /// Waits until nothing of them is left, not even a zombie of ours.
    pub(crate) async fn gone(&self) {
        // The control channel closes a moment before the kernel has killed the pod's other processes.
        let _ = self.init.readable().await;
        let supervisor = self.supervisor.lock().take();
        let reaped = tokio::task::spawn_blocking(move || supervisor.map(|mut supervisor| supervisor.wait()));
        let _ = reaped.await;
    }
}

impl Drop for Processes {
    /// Ordinarily the supervisor has been waited for. If Atoll's tasks were dropped instead, this leaves no zombie.
    fn drop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.get_mut().take() {
            let _ = supervisor.kill();
            let _ = supervisor.wait();
        }
    }
}

#[derive(Default)]
struct State {
    next_id: u32,
    starting: BTreeMap<u32, oneshot::Sender<Result<(), RuntimeError>>>,
    running: BTreeMap<u32, oneshot::Sender<Exit>>,
    containers: BTreeMap<String, Container>,
    sockets: Vec<OwnedFd>,
    sockets_asked: bool,
}

/// A running container of a pod.
#[derive(Clone)]
pub(crate) struct Container {
    pub(crate) id: u32,
    pub(crate) ended: watch::Receiver<bool>,
}

/// A process in the pod that has been started.
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) exit: oneshot::Receiver<Exit>,
}

/// Starts the pod's first process and lets it make its namespaces.
pub(crate) async fn launch(
    spawner: &Spawner,
    title: String,
    mut setup: PodSetup,
) -> Result<(Processes, PodNetwork), RuntimeError> {
    let sandbox = |step: &str| {
        let step = step.to_owned();
        move |error: io::Error| RuntimeError::Sandbox { step, message: error.to_string() }
    };
    setup.mapped_from_outside = nix::unistd::geteuid().is_root();
    let (ours, theirs) = control::pair().map_err(sandbox("make the control channel"))?;
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from).map_err(sandbox("make the channel"))?;
    // SAFETY: the descriptor belongs to the `AsyncFd` alone, and stays open and the same until that is dropped.
    let control = unsafe { AsyncFd::register(ours) };
    let control = control.map_err(io::Error::from).map_err(sandbox("watch the control channel"))?;
    let mut child = spawner.spawn(title, theirs).await.map_err(sandbox("start the pod's first process"))?;
    let made = tokio::time::timeout(SETUP_TIME_MAX, introduce(&control, child.id(), setup)).await;
    let made = made.unwrap_or_else(|_| {
        Err(RuntimeError::Sandbox { step: "make namespaces".into(), message: "no answer in time".into() })
    });
    match made {
        Ok((network, init)) => Ok((Processes { control, supervisor: Mutex::new(Some(child)), init }, network)),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

async fn introduce(
    control: &AsyncFd<OwnedFd>,
    pid: u32,
    setup: PodSetup,
) -> Result<(PodNetwork, AsyncFd<OwnedFd>), RuntimeError> {
    let failed = |step: &str, message: String| RuntimeError::Sandbox { step: step.into(), message };
    send(control, &Request::Setup(setup), &[]).await.map_err(|error| failed("send the setup", error.to_string()))?;
    loop {
        match receive(control).await {
            Ok(Some((Report::Unshared, _))) => {
                write_identity_maps(pid).map_err(|error| failed("map identities", error.to_string()))?;
                let told = send(control, &Request::Mapped, &[]).await;
                told.map_err(|error| failed("send the setup", error.to_string()))?;
            }
            Ok(Some((Report::Ready, sockets))) => {
                let Ok([capture, dns, dns_stream, init]) = <[OwnedFd; 4]>::try_from(sockets) else {
                    return Err(failed("receive the pod's sockets", "some are missing".into()));
                };
                let prepare = || {
                    let network =
                        PodNetwork { capture: capture.into(), dns: dns.into(), dns_stream: dns_stream.into() };
                    network.capture.set_nonblocking(true)?;
                    network.dns.set_nonblocking(true)?;
                    network.dns_stream.set_nonblocking(true)?;
                    // SAFETY: as for the control channel.
                    Ok((network, unsafe { AsyncFd::register(init) }?))
                };
                return prepare().map_err(|error: io::Error| failed("prepare the pod's sockets", error.to_string()));
            }
            Ok(Some((Report::Failed { step, message }, _))) => return Err(failed(&step, message)),
            Ok(Some(_)) => {}
            Ok(None) => return Err(failed("make namespaces", "the pod's first process died".into())),
            Err(error) => return Err(failed("hear from the pod's first process", error.to_string())),
        }
    }
}

/// Maps every identity that we have to itself: files keep their owners, and containers may run as any user.
fn write_identity_maps(pid: u32) -> io::Result<()> {
    for map in ["uid_map", "gid_map"] {
        let own = fs::read_to_string(Path::new("/proc/self").join(map))?;
        let same: String = own
            .lines()
            .filter_map(|line| {
                let mut fields = line.split_whitespace();
                let (inside, _outside, count) = (fields.next()?, fields.next()?, fields.next()?);
                Some(format!("{inside} {inside} {count}\n"))
            })
            .collect();
        fs::write(format!("/proc/{pid}/{map}"), same)?;
    }
    Ok(())
}

async fn send(control: &AsyncFd<OwnedFd>, request: &Request, with: &[BorrowedFd<'_>]) -> io::Result<()> {
    control.async_io(Interest::WRITABLE, |socket| control::send(socket.as_fd(), request, with)).await
}

async fn receive(control: &AsyncFd<OwnedFd>) -> io::Result<Option<(Report, Vec<OwnedFd>)>> {
    control.async_io(Interest::READABLE, |socket| control::receive(socket.as_fd())).await
}

impl Pod {
    pub(crate) fn new(config: PodConfig, directory: PodDirectory, processes: Processes) -> Self {
        Self {
            config,
            directory,
            processes,
            state: Mutex::default(),
            refilled: Notify::new(),
            ended: watch::Sender::new(false),
        }
    }

    /// Hears the pod's reports until it is gone; then nothing of it is left.
    pub(crate) async fn serve(self: Arc<Self>) {
        while let Ok(Some((report, descriptors))) = receive(&self.processes.control).await {
            self.on(report, descriptors);
        }
        self.processes.kill();
        self.processes.gone().await;
        self.directory.remove();
        // Whoever waits for an answer is told by the end of the channel it waits on.
        *self.state.lock() = State::default();
        self.ended.send_replace(true);
        self.refilled.notify_waiters();
    }

    fn on(&self, report: Report, descriptors: Vec<OwnedFd>) {
        let mut state = self.state.lock();
        match report {
            Report::Started { id, .. } => {
                let told = state.starting.remove(&id).is_some_and(|waiting| waiting.send(Ok(())).is_ok());
                if !told {
                    // Who asked has given up waiting (the pod was paused, perhaps). Its end will be reported to nobody.
                    let kill = Request::Signal { id, signal: libc::SIGKILL };
                    let _ = control::send(self.processes.control.get_ref().as_fd(), &kill, &[]);
                }
            }
            Report::Refused { id, reason, message } => {
                state.running.remove(&id);
                if let Some(waiting) = state.starting.remove(&id) {
                    let _ = waiting.send(Err(RuntimeError::Refused { reason, message }));
                }
            }
            Report::Exited { id, code, signal } => {
                let code = code.unwrap_or_else(|| 128 + signal.unwrap_or_default());
                let exit = Exit { code, signal, oom_killed: false, finished_at: SystemTime::now() };
                if let Some(waiting) = state.running.remove(&id) {
                    let _ = waiting.send(exit);
                }
            }
            Report::Sockets => {
                state.sockets.extend(descriptors);
                state.sockets_asked = false;
                drop(state);
                self.refilled.notify_waiters();
            }
            Report::Unshared | Report::Ready | Report::Failed { .. } => {}
        }
    }

    /// Starts a process with the request that `make` builds from its number.
    pub(crate) async fn start(
        &self,
        make: impl FnOnce(u32) -> Request,
        with: &[BorrowedFd<'_>],
    ) -> Result<Process, RuntimeError> {
        let gone = || RuntimeError::NotFound(format!("pod {}", self.config.name));
        let (starting, started) = oneshot::channel();
        let (running, exit) = oneshot::channel();
        let id = {
            let mut state = self.state.lock();
            state.next_id += 1;
            let id = state.next_id;
            state.starting.insert(id, starting);
            state.running.insert(id, running);
            id
        };
        if *self.ended.borrow() || send(&self.processes.control, &make(id), with).await.is_err() {
            return Err(gone());
        }
        started.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(Process { id, exit })
    }

    pub(crate) async fn request(&self, request: Request) -> io::Result<()> {
        send(&self.processes.control, &request, &[]).await
    }

    pub(crate) fn container(&self, name: &str) -> Option<Container> {
        self.state.lock().containers.get(name).cloned()
    }

    pub(crate) fn containers(&self) -> Vec<Container> {
        self.state.lock().containers.values().cloned().collect()
    }

    pub(crate) fn add_container(&self, name: &str, container: Container) {
        self.state.lock().containers.insert(name.into(), container);
    }

    /// Forgets a container that ended, unless it has been started again meanwhile.
    pub(crate) fn remove_container(&self, name: &str, id: u32) {
        let mut state = self.state.lock();
        if state.containers.get(name).is_some_and(|container| container.id == id) {
            state.containers.remove(name);
        }
    }

    /// SIGKILL to everything in the pod.
    pub(crate) fn kill(&self) {
        self.processes.kill();
    }

    /// Waits until nothing of the pod is left.
    pub(crate) async fn gone(&self) {
        // The sender lives as long as `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Connects to a port of the pod, from `source` as its programs see it.
    pub(crate) async fn dial(&self, port: u16, source: Option<Ipv4Addr>) -> io::Result<TcpStream> {
        let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(self.socket().await?));
        if let Some(source) = source {
            socket.bind(SocketAddr::from((source, 0)))?;
        }
        let stream = socket.connect(SocketAddr::from((self.config.ip, port))).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A fresh socket of the pod's network namespace.
    async fn socket(&self) -> io::Result<OwnedFd> {
        loop {
            let refilled = self.refilled.notified();
            tokio::pin!(refilled);
            // Listening from here on, so that an answer between the look and the wait is not missed.
            refilled.as_mut().enable();
            if *self.ended.borrow() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (socket, ask) = {
                let mut state = self.state.lock();
                let socket = state.sockets.pop();
                let ask = state.sockets.len() < SOCKETS_PER_BATCH / 2 && !state.sockets_asked;
                state.sockets_asked |= ask;
                (socket, ask)
            };
            if ask {
                self.request(Request::Sockets { count: SOCKETS_PER_BATCH }).await?;
            }
            match socket {
                Some(socket) => return Ok(socket),
                None => refilled.await,
            }
        }
    }
}
