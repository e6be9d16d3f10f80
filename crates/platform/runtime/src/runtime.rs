//! [`Runtime`]: the pods of a stack.
#![allow(clippy::disallowed_methods)] // A door: starts of processes have times, and pods' directories are files.

use crate::cgroups::{Cgroups, Group};
use crate::config::{
    ContainerConfig, Event, Exit, PodConfig, ProjectedFile, Resources, RuntimeConfig, RuntimeError, Started, Volume,
};
use crate::control::{BindMount, ContainerSetup, PodSetup, Request};
use crate::images::LocalCommand;
use crate::janitor::Janitor;
use crate::logs::{LineWriter, Log, LogOptions, Logs};
use crate::pod::{self, Container, Pod, PodNetwork, Process};
use crate::spawner::Spawner;
use crate::volumes::{PodDirectory, private_directory};
use bytes::Bytes;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How much of a command's output is kept; the rest is read and dropped. The kubelet keeps 10 KiB of a probe's.
const EXEC_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Output that is still in the pipes when a container has ended is read at most this long. Its processes are all dead
/// by then, so only a descriptor handed out of the pod could keep them open.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

/// The pods of a stack. A cheap handle; when the last one is dropped, all pods die.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

struct Shared {
    config: RuntimeConfig,
    cgroups: Cgroups,
    /// Started with the first limited container; None if it cannot be had, or is not needed yet.
    janitor: Mutex<Option<Janitor>>,
    logs: Logs,
    spawner: Spawner,
    pods: Arc<Mutex<BTreeMap<String, Arc<Pod>>>>,
    events: mpsc::UnboundedSender<Event>,
}

/// What this machine lets pods have, for `doctor`.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Whether pods can be made at all; the reason if not.
    pub pods: Result<(), String>,
    /// How CPU and memory limits are enforced (`cgroup v2`), or why they are not.
    pub limits: Result<String, String>,
}

/// What a command in a container did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutcome {
    /// Its exit code, 128 + the signal if one ended it. `None` if it ran out of time and was killed.
    pub code: Option<i32>,
    /// Standard output and error, as they came, cut at 64 KiB.
    pub output: Vec<u8>,
}

impl Runtime {
    /// Takes the directory over, and clears away what a killed predecessor left (its processes died with it). Must be
    /// called inside a tokio runtime. The receiver tells what happens to pods without being asked for.
    pub fn new(config: RuntimeConfig) -> Result<(Self, mpsc::UnboundedReceiver<Event>), RuntimeError> {
        let pods = config.directory.join("pods");
        let _ = fs::remove_dir_all(&pods);
        private_directory(&pods).map_err(RuntimeError::system("make the pods' directory"))?;
        let (events, receiver) = mpsc::unbounded_channel();
        let shared = Shared {
            cgroups: Cgroups::open(&config.name),
            janitor: Mutex::default(),
            logs: Logs::new(config.directory.join("logs"), config.log_bytes_max, config.log_files_max),
            spawner: Spawner::new(config.executable.clone())
                .map_err(RuntimeError::system("start a thread for pods"))?,
            pods: Arc::default(),
            events,
            config,
        };
        Ok((Self { shared: Arc::new(shared) }, receiver))
    }

    /// Tries out what this machine allows, by making a pod and dropping it.
    pub async fn capabilities(&self) -> Capabilities {
        let setup =
            PodSetup { hostname: "probe".into(), ip: Ipv4Addr::new(10, 244, 255, 254), mapped_from_outside: false };
        let pods = match pod::launch(&self.shared.spawner, "probe".into(), setup).await {
            Ok((processes, _network)) => {
                processes.kill();
                processes.gone().await;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        };
        Capabilities { pods, limits: self.shared.cgroups.describe() }
    }

    /// Makes a pod without containers.
    pub async fn start(&self, config: PodConfig) -> Result<PodNetwork, RuntimeError> {
        let shared = &self.shared;
        if shared.pods.lock().contains_key(&config.uid) {
            return Err(RuntimeError::Sandbox {
                step: "make the pod".into(),
                message: format!("{} runs already", config.uid),
            });
        }
        let directory = PodDirectory::make(&shared.config.directory.join("pods"), &config)?;
        let title = format!("{}/{}", config.namespace, config.name);
        let setup = PodSetup { hostname: config.hostname.clone(), ip: config.ip, mapped_from_outside: false };
        let launched = pod::launch(&shared.spawner, title, setup).await;
        let (processes, network) = launched.inspect_err(|_| directory.remove())?;
        let (uid, node) = (config.uid.clone(), config.node);
        let pod = Arc::new(Pod::new(config, directory, processes));
        shared.pods.lock().insert(uid.clone(), pod.clone());
        let (pods, events) = (shared.pods.clone(), shared.events.clone());
        tokio::spawn(async move {
            pod.serve().await;
            pods.lock().remove(&uid);
            // Nobody may be listening any more.
            let _ = events.send(Event::PodEnded { uid, node });
        });
        Ok(network)
    }

    /// Starts a container in a pod.
    pub async fn start_container(&self, uid: &str, config: ContainerConfig) -> Result<Started, RuntimeError> {
        let pod = self.pod(uid)?;
        if pod.container(&config.name).is_some() {
            return Err(RuntimeError::Refused {
                reason: "CreateContainerError".into(),
                message: format!("container {} runs already", config.name),
            });
        }
        let image = self.shared.config.images.resolve(&config.image)?;
        let setup = container_setup(&pod, &config, image)?;
        self.shared.want_janitor(&config.resources);
        let group = self.shared.cgroups.make(&format!("{uid}-{}-{}", config.name, config.restart), &config.resources);
        let unlimited = group.unlimited.clone();
        let log = self
            .shared
            .logs
            .create(uid, &config.name, config.restart)
            .map_err(RuntimeError::system("create the container's log"))?;
        let launched = launch_container(&pod, &setup, &group, &log).await;
        let (process, pumps) = launched.inspect_err(|_| self.shared.logs.end(&log))?;
        let (ended, ended_receiver) = watch::channel(false);
        pod.add_container(&config.name, Container { id: process.id, ended: ended_receiver });
        let finish = Finish { pod, name: config.name, restart: config.restart, group, log, pumps, ended };
        tokio::spawn(finish.run(process, self.shared.logs.clone(), self.shared.events.clone()));
        Ok(Started { started_at: SystemTime::now(), unlimited })
    }

    /// SIGTERM, then after `grace` SIGKILL; returns when the container has ended. No such container: nothing to do.
    pub async fn stop_container(&self, uid: &str, name: &str, grace: Duration) {
        let Ok(pod) = self.pod(uid) else { return };
        let Some(container) = pod.container(name) else { return };
        end(&pod, &[container], grace).await;
    }

    /// Stops all containers of a pod (SIGTERM, after `grace` SIGKILL), then removes the pod. Its logs stay.
    pub async fn stop(&self, uid: &str, grace: Duration) {
        let Ok(pod) = self.pod(uid) else { return };
        end(&pod, &pod.containers(), grace).await;
        pod.kill();
        pod.gone().await;
    }

    /// Forgets a pod for good: kills it if it still runs, and deletes its logs.
    pub async fn remove(&self, uid: &str) {
        self.stop(uid, Duration::ZERO).await;
        self.shared.logs.remove(uid);
    }

    /// The node's machine dies: SIGKILL to everything on it at once. Returns when it is gone.
    pub async fn kill_node(&self, node: u16) {
        let pods = self.pods_on(node);
        pods.iter().for_each(|pod| pod.kill());
        for pod in pods {
            pod.gone().await;
        }
    }

    /// The node's machine hangs: SIGSTOP to everything on it. Connections to it are still accepted, by the kernel.
    pub async fn pause_node(&self, node: u16) {
        for pod in self.pods_on(node) {
            // A pod that is just ending needs no pause.
            let _ = pod.request(Request::Pause).await;
        }
    }

    /// The machine goes on where it stood.
    pub async fn resume_node(&self, node: u16) {
        for pod in self.pods_on(node) {
            let _ = pod.request(Request::Resume).await;
        }
    }

    /// Runs a command in a container, with the container's environment (probes, `kubectl exec`).
    pub async fn exec(
        &self,
        uid: &str,
        container: &str,
        argv: Vec<String>,
        time_max: Duration,
    ) -> Result<ExecOutcome, RuntimeError> {
        let pod = self.pod(uid)?;
        let of = pod.container(container).ok_or_else(|| RuntimeError::NotFound(format!("container {container}")))?.id;
        let (output, writer) = output_pipe()?;
        let reading = tokio::spawn(read_bounded(output));
        let deadline = tokio::time::Instant::now() + time_max;
        let with = [writer.as_fd()];
        let starting = pod.start(|id| Request::Exec { id, of, argv }, &with);
        let started = tokio::time::timeout_at(deadline, starting).await;
        drop(writer);
        let Ok(process) = started else {
            // A paused pod starts nothing.
            reading.abort();
            return Ok(ExecOutcome { code: None, output: Vec::new() });
        };
        let process = process?;
        let code = match tokio::time::timeout_at(deadline, process.exit).await {
            Ok(exit) => Some(exit.map_err(|_| RuntimeError::NotFound(format!("pod {}", pod.config.name)))?.code),
            Err(_) => {
                let _ = pod.request(Request::Signal { id: process.id, signal: Signal::SIGKILL as i32 }).await;
                None
            }
        };
        let output = tokio::time::timeout(DRAIN_TIME_MAX, reading).await;
        Ok(ExecOutcome { code, output: output.ok().and_then(Result::ok).unwrap_or_default() })
    }

    /// Connects to a port of the pod's own address, through a socket made in its network namespace. The pod sees the
    /// connection come from `source`, which must lie in 10.240.0.0/13 (a node, a pod, the host); without it, from itself.
    pub async fn dial(&self, uid: &str, port: u16, source: Option<Ipv4Addr>) -> io::Result<TcpStream> {
        let pod = self.pod(uid).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        pod.dial(port, source).await
    }

    /// Reads a container's log, of a pod that runs or has ended. Chunks end with whole lines.
    pub fn logs(&self, uid: &str, container: &str, options: LogOptions) -> Result<mpsc::Receiver<Bytes>, RuntimeError> {
        self.shared.logs.read(uid, container, options)
    }

    /// Replaces the files of a volume, all at once, as the kubelet does when a ConfigMap changes.
    pub fn update_volume(
        &self,
        uid: &str,
        volume: &str,
        files: &BTreeMap<String, ProjectedFile>,
    ) -> Result<(), RuntimeError> {
        let pod = self.pod(uid)?;
        pod.directory.update(volume, files).map_err(RuntimeError::system("update the volume"))
    }

    /// The pods that run, by uid.
    pub fn running(&self) -> Vec<String> {
        self.shared.pods.lock().keys().cloned().collect()
    }

    /// Whether a pod runs.
    pub fn is_running(&self, uid: &str) -> bool {
        self.shared.pods.lock().contains_key(uid)
    }

    /// Kills all pods and removes the control groups. Without it, dropping the last handle kills them as well, but
    /// leaves the empty control groups to the next start.
    pub async fn shutdown(&self) {
        let pods: Vec<_> = self.shared.pods.lock().values().cloned().collect();
        pods.iter().for_each(|pod| pod.kill());
        for pod in pods {
            pod.gone().await;
        }
        self.shared.cgroups.close();
        self.shared.janitor.lock().take();
    }

    fn pod(&self, uid: &str) -> Result<Arc<Pod>, RuntimeError> {
        self.shared.pods.lock().get(uid).cloned().ok_or_else(|| RuntimeError::NotFound(format!("pod {uid}")))
    }

    fn pods_on(&self, node: u16) -> Vec<Arc<Pod>> {
        self.shared.pods.lock().values().filter(|pod| pod.config.node == node).cloned().collect()
    }
}

impl Shared {
    /// Sees to it that somebody removes the control groups if this process is killed.
    fn want_janitor(&self, resources: &Resources) {
        let (mut janitor, roots) = (self.janitor.lock(), self.cgroups.roots());
        if janitor.is_none() && !roots.is_empty() && *resources != Resources::default() {
            // Without it the next start removes them.
            *janitor = Janitor::start(&self.config.executable, &roots).ok();
        }
    }
}

/// What remains to be done when a container ends.
struct Finish {
    pod: Arc<Pod>,
    name: String,
    restart: u32,
    group: Group,
    log: Arc<Log>,
    pumps: [JoinHandle<()>; 2],
    ended: watch::Sender<bool>,
}

impl Finish {
    async fn run(self, process: Process, logs: Logs, events: mpsc::UnboundedSender<Event>) {
        let exit = process.exit.await;
        let stops: Vec<_> = self.pumps.iter().map(JoinHandle::abort_handle).collect();
        let drained = async {
            for pump in self.pumps {
                let _ = pump.await;
            }
        };
        if tokio::time::timeout(DRAIN_TIME_MAX, drained).await.is_err() {
            stops.iter().for_each(tokio::task::AbortHandle::abort);
        }
        let oom_killed = self.group.oom_killed();
        drop(self.group);
        logs.end(&self.log);
        self.pod.remove_container(&self.name, process.id);
        // An error means that the whole pod was killed, which `PodEnded` tells.
        if let Ok(exit) = exit {
            let (uid, container) = (self.pod.config.uid.clone(), self.name);
            let exit = Exit { oom_killed, ..exit };
            let _ = events.send(Event::ContainerExited { uid, container, restart: self.restart, exit });
        }
        self.ended.send_replace(true);
    }
}

/// SIGTERM, wait, SIGKILL, wait.
async fn end(pod: &Pod, containers: &[Container], grace: Duration) {
    let all_ended = || async {
        for container in containers {
            let _ = container.ended.clone().wait_for(|ended| *ended).await;
        }
    };
    for (signal, patience) in [(Signal::SIGTERM, grace), (Signal::SIGKILL, Duration::MAX)] {
        for container in containers {
            let _ = pod.request(Request::Signal { id: container.id, signal: signal as i32 }).await;
        }
        tokio::select! {
            biased;
            () = all_ended() => return,
            () = pod.gone() => return,
            () = wait(patience) => {}
        }
    }
}

async fn wait(patience: Duration) {
    if patience == Duration::MAX {
        return std::future::pending().await;
    }
    tokio::time::sleep(patience).await;
}

async fn launch_container(
    pod: &Pod,
    setup: &ContainerSetup,
    group: &Group,
    log: &Arc<Log>,
) -> Result<(Process, [JoinHandle<()>; 2]), RuntimeError> {
    let (stdout, stdout_writer) = output_pipe()?;
    let (stderr, stderr_writer) = output_pipe()?;
    let setup = memory_file(setup).map_err(RuntimeError::system("write the container's setup"))?;
    let mut with: Vec<BorrowedFd<'_>> = vec![setup.as_fd(), stdout_writer.as_fd(), stderr_writer.as_fd()];
    with.extend(group.procs.iter().map(AsFd::as_fd));
    let process = pod.start(|id| Request::Start { id }, &with).await?;
    let pumps = [
        tokio::spawn(pump(stdout, LineWriter::new(log.clone(), "stdout"))),
        tokio::spawn(pump(stderr, LineWriter::new(log.clone(), "stderr"))),
    ];
    Ok((process, pumps))
}

fn output_pipe() -> Result<(pipe::Receiver, OwnedFd), RuntimeError> {
    let attempt = || {
        let (reader, writer) = io::pipe()?;
        Ok((pipe::Receiver::from_owned_fd(reader.into())?, writer.into()))
    };
    attempt().map_err(RuntimeError::system("make a pipe for output"))
}

async fn pump(mut from: pipe::Receiver, mut to: LineWriter) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        to.write(buffer.get(..read).unwrap_or_default());
    }
    to.finish();
}

async fn read_bounded(mut from: pipe::Receiver) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), vec![0; 4096]);
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let room = EXEC_OUTPUT_BYTES_MAX - kept.len();
        kept.extend_from_slice(buffer.get(..read.min(room)).unwrap_or_default());
    }
    kept
}

fn memory_file(setup: &ContainerSetup) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("container", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&serde_json::to_vec(setup)?)?;
    file.rewind()?;
    Ok(file.into())
}

/// Puts together what the image, the container and the pod say.
fn container_setup(pod: &Pod, config: &ContainerConfig, image: &LocalCommand) -> Result<ContainerSetup, RuntimeError> {
    let refuse = |message: String| RuntimeError::Refused { reason: "CreateContainerConfigError".into(), message };
    let argv = argv(config, image);
    let working_dir = config.working_dir.clone().unwrap_or_else(|| image.working_dir.clone());
    let working_dir = if working_dir.as_os_str().is_empty() { PathBuf::from("/") } else { working_dir };
    // Without the `.` of a manifest's `workdir: .`, which no mount point can be called.
    let working_dir: PathBuf = working_dir.components().collect();
    let program =
        Path::new(argv.first().map_or("", String::as_str)).parent().map(|parent| parent.components().collect());
    let visible = [Some(working_dir.clone()), program].into_iter().flatten();
    let visible = visible.filter(|path| path.starts_with("/tmp") && path.as_path() != Path::new("/tmp")).collect();
    let mut mounts = Vec::new();
    for mount in &config.mounts {
        let volume = pod.config.volumes.get(&mount.volume);
        let volume = volume.ok_or_else(|| refuse(format!("volume \"{}\" not found", mount.volume)))?;
        let source = pod.directory.source(&mount.volume, volume, mount.sub_path.as_deref());
        let source = source.map_err(|error| refuse(format!("volume \"{}\": {error}", mount.volume)))?;
        if !mount.path.is_absolute() {
            return Err(refuse(format!("mountPath {} is not absolute", mount.path.display())));
        }
        let read_only = mount.read_only || matches!(volume, Volume::Files(_));
        mounts.push(BindMount { source, target: mount.path.clone(), read_only });
    }
    // Parents before children, whatever the order in the manifest.
    mounts.sort_by_key(|mount| mount.target.components().count());
    // Last: where /etc/resolv.conf is a link to /run, a mount point made in /run by an overlay would hide it again.
    for file in ["hosts", "hostname", "resolv.conf"] {
        let target = Path::new("/etc").join(file);
        if !mounts.iter().any(|mount| mount.target == target) {
            mounts.push(BindMount { source: pod.directory.file(file), target, read_only: false });
        }
    }
    Ok(ContainerSetup {
        env: environment(pod, config, image),
        argv,
        working_dir,
        user: config.user,
        root: pod.directory.file("root"),
        tmp: pod.directory.file("tmp"),
        visible,
        mounts,
    })
}

fn argv(config: &ContainerConfig, image: &LocalCommand) -> Vec<String> {
    if !config.command.is_empty() {
        return config.command.iter().chain(&config.args).cloned().collect();
    }
    let mut argv: Vec<String> = image.argv.iter().chain(&config.args).cloned().collect();
    if let Some(program) = argv.first_mut().filter(|program| program.contains('/') && !program.starts_with('/')) {
        *program = image.working_dir.join(&*program).to_string_lossy().into_owned();
    }
    argv
}

/// Weakest first: what any program needs to run on this machine, the image's, the container's.
fn environment(pod: &Pod, config: &ContainerConfig, image: &LocalCommand) -> Vec<(String, String)> {
    let mut env = BTreeMap::new();
    for name in ["PATH", "HOME", "LANG"] {
        if let Ok(value) = std::env::var(name) {
            env.insert(name.to_owned(), value);
        }
    }
    env.entry("PATH".into()).or_insert_with(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    env.insert("HOSTNAME".into(), pod.config.hostname.clone());
    env.extend(image.env.clone());
    env.extend(config.env.iter().cloned());
    env.into_iter().collect()
}

/// What a container without resources gets.
impl Resources {
    /// Only these limits: thousandths of a core, and bytes.
    pub fn limited(cpu_millis: u64, memory_bytes: u64) -> Self {
        Self { cpu_limit_millis: Some(cpu_millis), cpu_request_millis: None, memory_limit_bytes: Some(memory_bytes) }
    }
}
