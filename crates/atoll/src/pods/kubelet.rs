//! What the kubelets ask for, done by the runtime and the mesh: [`PodHost`] fills in their trait [`PodRuntime`].

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use atoll_kernel::{Kernel, NodeId};
use atoll_kubernetes::{
    Client, Command, ContainerId, ContainerSpec, EventSink, LogQuery, PodId, PodRuntime, PodSpec, ResourceId,
    RuntimeEvent, StartFailure, Volume, VolumeSource,
};
use atoll_net::Host;
use atoll_pki::Authority;
use atoll_runtime::{
    ContainerConfig, Event, LogOptions, Mount, PodConfig, ProjectedFile, Resources, RuntimeConfig, RuntimeError,
};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::order::{self, Order, Step};
use super::{Machine, Pods, probe, services};

/// The exit code of what was killed: 128 + SIGKILL.
const KILLED: (i32, i32) = (137, 9);

/// The machine under the kubelets.
pub struct PodHost {
    pods: Pods,
    reports: Arc<Reports>,
    order: Arc<Order>,
}

/// Where reports go, and what is known about pods.
struct Reports {
    kernel: Kernel,
    sink: OnceLock<EventSink>,
    /// By uid.
    known: Mutex<BTreeMap<String, Known>>,
}

struct Known {
    spec: Box<PodSpec>,
    /// The current attempt of each container that runs.
    running: BTreeMap<String, u32>,
}

impl PodHost {
    /// Starts the pods' thread.
    pub fn start(host: &Host, authority: Arc<Authority>, config: RuntimeConfig) -> io::Result<Arc<PodHost>> {
        let reports = Arc::new(Reports { kernel: host.kernel.clone(), sink: OnceLock::new(), known: Mutex::default() });
        let heard = Arc::clone(&reports);
        let pods = Pods::start(host, authority, config, Box::new(move |event| heard.on(event)))?;
        Ok(Arc::new(PodHost { pods, reports, order: Arc::default() }))
    }

    /// The runtime and the mesh.
    pub fn machine(&self) -> &Arc<Machine> {
        self.pods.machine()
    }

    /// Keeps the mesh told of Services and their endpoints, from now until the API server ends.
    pub fn follow(&self, client: Client) {
        let machine = Arc::clone(self.machine());
        self.machine().handle.spawn(async move {
            let (_, mut subscription) = client.subscribe(&[ResourceId::Services, ResourceId::EndpointSlices]);
            loop {
                let (services, slices) = (client.list(ResourceId::Services), client.list(ResourceId::EndpointSlices));
                let node_of = |name: &str| name.strip_prefix("node-")?.parse().ok().map(NodeId);
                let services = services.iter().map(|object| &**object);
                let slices = slices.iter().map(|object| &**object);
                machine.mesh.update(services::table(services, slices, node_of));
                if subscription.next().await.is_none() {
                    return;
                }
            }
        });
    }

    /// Kills all pods and ends the thread. Blocks.
    pub fn shut_down(&self) {
        self.pods.shut_down();
    }
}

impl PodRuntime for PodHost {
    fn connect(&self, sink: EventSink) {
        // Called once; a second sink would have nothing to hear.
        let _ = self.reports.sink.set(sink);
    }

    fn perform(&self, command: Command) {
        let (machine, reports, order) =
            (Arc::clone(self.machine()), Arc::clone(&self.reports), Arc::clone(&self.order));
        let handle = &self.machine().handle;
        match order::pod_of(&command).cloned() {
            Some(pod) => {
                if order.add(&pod, command) {
                    handle.spawn(work_through(machine, reports, order, pod.uid));
                }
            }
            None => {
                if let Command::NodeOff { node } = &command {
                    order.node_off(node);
                }
                handle.spawn(async move { perform(&machine, &reports, command).await });
            }
        }
    }

    fn logs(&self, query: LogQuery) -> Result<mpsc::Receiver<Bytes>, String> {
        let machine = self.machine();
        let _on_the_pods_thread = machine.handle.enter();
        let options = LogOptions {
            tail: query.tail_lines.and_then(|lines| usize::try_from(lines).ok()),
            since: query.since.map(|since| SystemTime::UNIX_EPOCH + since),
            follow: query.follow,
            previous: false,
            restart: Some(query.id.attempt),
            timestamps: query.timestamps,
            limit_bytes: query.limit_bytes.and_then(|bytes| usize::try_from(bytes).ok()),
        };
        machine.runtime.logs(&query.id.pod.uid, &query.id.container, options).map_err(|error| error.to_string())
    }
}

/// Performs a pod's commands in order, until there are no more.
async fn work_through(machine: Arc<Machine>, reports: Arc<Reports>, order: Arc<Order>, uid: String) {
    while let Some(step) = order.next(&uid) {
        match step {
            Step::Perform(command) if order::holds_up(&command) => perform(&machine, &reports, command).await,
            Step::Perform(command) => {
                let (machine, reports) = (Arc::clone(&machine), Arc::clone(&reports));
                tokio::spawn(async move { perform(&machine, &reports, command).await });
            }
            Step::Kill => machine.runtime.stop(&uid, Duration::ZERO).await,
        }
    }
}

async fn perform(machine: &Machine, reports: &Reports, command: Command) {
    match command {
        Command::StartPod(spec) => {
            let pod = spec.id.clone();
            reports.learn(&spec);
            let report = match start_pod(machine, &spec).await {
                Ok(()) => RuntimeEvent::PodStarted { pod },
                Err(error) => RuntimeEvent::PodFailed { pod, message: error.to_string() },
            };
            reports.tell(report);
        }
        Command::StartContainer(spec) => {
            let id = spec.id.clone();
            reports.runs(&id);
            let image_id = spec.image.clone();
            let report = match start_container(machine, reports, &spec).await {
                Ok(()) => RuntimeEvent::ContainerStarted { runtime_id: runtime_id(&id), id, image_id },
                Err(error) => {
                    reports.ended(&id.pod.uid, &id.container, id.attempt);
                    let failure = start_failure(&error, &spec);
                    RuntimeEvent::ContainerFailed { id, failure, message: error.to_string() }
                }
            };
            reports.tell(report);
        }
        Command::StopContainer { id, grace } => {
            machine.runtime.stop_container(&id.pod.uid, &id.container, grace).await;
        }
        Command::RemovePod { pod } => {
            reports.known.lock().remove(&pod.uid);
            machine.remove_pod(&pod.uid).await;
            reports.tell(RuntimeEvent::PodRemoved { pod });
        }
        Command::Probe { id, ticket, action, timeout } => {
            let Some(spec) = reports.spec(&id.pod.uid) else { return };
            let source = Ipv4Addr::new(10, 240, 0, u8::try_from(spec.node_number).unwrap_or(1));
            let target = probe::Target { runtime: &machine.runtime, id: &id, ip: spec.ip, source };
            let (success, output) = probe::run(&target, &action, timeout).await;
            reports.tell(RuntimeEvent::ProbeDone { id, ticket, success, output });
        }
        Command::UpdateVolumes { pod, volumes } => {
            for volume in volumes {
                if let VolumeSource::Files(files) = &volume.source {
                    // The pod may be ending; then it has no use for them.
                    let _ = machine.runtime.update_volume(&pod.uid, &volume.name, &projected(files));
                }
            }
        }
        Command::NodeOff { node } => {
            if let Some(number) = node.rsplit('-').next().and_then(|number| number.parse().ok()) {
                machine.runtime.kill_node(number).await;
            }
        }
    }
}

async fn start_pod(machine: &Machine, spec: &PodSpec) -> Result<(), RuntimeError> {
    let account = if spec.service_account.is_empty() { "default" } else { &spec.service_account };
    machine.start_pod(pod_config(spec), account).await
}

/// Starts a container, and its pod anew if an accident has ended that: the kubelet makes a new sandbox, too.
async fn start_container(machine: &Machine, reports: &Reports, spec: &ContainerSpec) -> Result<(), RuntimeError> {
    let uid = &spec.id.pod.uid;
    if !machine.runtime.is_running(uid)
        && let Some(pod) = reports.spec(uid)
    {
        start_pod(machine, &pod).await?;
    }
    // Nothing may be awaited between this and the report of the start, or that of a quick end overtakes it.
    machine.runtime.start_container(uid, container_config(spec)).await.map(drop)
}

impl Reports {
    fn tell(&self, event: RuntimeEvent) {
        if let Some(sink) = self.sink.get() {
            sink(event);
        }
    }

    fn learn(&self, spec: &PodSpec) {
        let known = Known { spec: Box::new(spec.clone()), running: BTreeMap::new() };
        self.known.lock().insert(spec.id.uid.clone(), known);
    }

    fn runs(&self, id: &ContainerId) {
        if let Some(known) = self.known.lock().get_mut(&id.pod.uid) {
            known.running.insert(id.container.clone(), id.attempt);
        }
    }

    /// Forgets a run; the pod, if it is known.
    fn ended(&self, uid: &str, container: &str, attempt: u32) -> Option<PodId> {
        let mut known = self.known.lock();
        let pod = known.get_mut(uid)?;
        if pod.running.get(container) == Some(&attempt) {
            pod.running.remove(container);
        }
        Some(pod.spec.id.clone())
    }

    fn spec(&self, uid: &str) -> Option<Box<PodSpec>> {
        self.known.lock().get(uid).map(|known| known.spec.clone())
    }

    /// The runs that ended with their pod.
    fn lost(&self, uid: &str) -> Option<(PodId, BTreeMap<String, u32>)> {
        let mut known = self.known.lock();
        let pod = known.get_mut(uid)?;
        Some((pod.spec.id.clone(), std::mem::take(&mut pod.running)))
    }

    fn on(&self, event: Event) {
        match event {
            Event::ContainerExited { uid, container, restart, exit } => {
                let Some(pod) = self.ended(&uid, &container, restart) else { return };
                self.tell(RuntimeEvent::ContainerExited {
                    id: ContainerId { pod, container, attempt: restart },
                    code: exit.code,
                    signal: exit.signal.unwrap_or(0),
                    out_of_memory: exit.oom_killed,
                });
            }
            Event::PodEnded { uid, node } => {
                if !self.kernel.node_state(NodeId(node)).is_alive() {
                    // The kubelet is as dead as the pod, and finds nothing when it comes back.
                    self.known.lock().remove(&uid);
                    return;
                }
                let Some((pod, running)) = self.lost(&uid) else { return };
                for (container, attempt) in running {
                    let id = ContainerId { pod: pod.clone(), container, attempt };
                    let (code, signal) = KILLED;
                    self.tell(RuntimeEvent::ContainerExited { id, code, signal, out_of_memory: false });
                }
            }
        }
    }
}

fn runtime_id(id: &ContainerId) -> String {
    format!("atoll://{}/{}/{}", id.pod.uid, id.container, id.attempt)
}

fn start_failure(error: &RuntimeError, spec: &ContainerSpec) -> StartFailure {
    match error {
        RuntimeError::InvalidImageName { .. } => StartFailure::ImageName,
        RuntimeError::ImageNotFound { .. } if spec.image_pull_policy == "Never" => StartFailure::ImageNeverPull,
        RuntimeError::ImageNotFound { .. } => StartFailure::Image,
        _ => StartFailure::Program,
    }
}

fn pod_config(spec: &PodSpec) -> PodConfig {
    let aliases = spec.host_aliases.iter().filter_map(|(ip, names)| Some((ip.parse().ok()?, names.join("\t"))));
    PodConfig {
        uid: spec.id.uid.clone(),
        name: spec.name.clone(),
        namespace: spec.namespace.clone(),
        node: spec.node_number,
        ip: spec.ip,
        hostname: spec.hostname.clone(),
        resolv_conf: resolv_conf(&spec.namespace, &spec.dns_policy),
        hosts: aliases.collect(),
        volumes: spec.volumes.iter().map(volume).collect(),
    }
}

/// As the kubelet writes it. With `Default` the cluster's search domains are left out; whatever server is named, the
/// mesh answers, for every question to port 53 is captured.
fn resolv_conf(namespace: &str, policy: &str) -> String {
    let server = "nameserver 10.96.0.10\n";
    match policy {
        "Default" | "None" => server.to_owned(),
        _ => format!("search {namespace}.svc.cluster.local svc.cluster.local cluster.local\n{server}options ndots:5\n"),
    }
}

fn volume(volume: &Volume) -> (String, atoll_runtime::Volume) {
    let source = match &volume.source {
        VolumeSource::EmptyDir { .. } => atoll_runtime::Volume::EmptyDir,
        VolumeSource::Files(files) => atoll_runtime::Volume::Files(projected(files)),
        VolumeSource::HostPath { path } => atoll_runtime::Volume::HostPath(path.into()),
    };
    (volume.name.clone(), source)
}

fn projected(files: &[atoll_kubernetes::ProjectedFile]) -> BTreeMap<String, ProjectedFile> {
    let file = |file: &atoll_kubernetes::ProjectedFile| {
        (file.path.clone(), ProjectedFile { contents: file.contents.clone(), mode: file.mode })
    };
    files.iter().map(file).collect()
}

fn container_config(spec: &ContainerSpec) -> ContainerConfig {
    let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    ContainerConfig {
        name: spec.id.container.clone(),
        restart: spec.id.attempt,
        image: spec.image.clone(),
        command: spec.command.clone(),
        args: spec.args.clone(),
        env: spec.env.clone(),
        working_dir: path(&spec.working_dir),
        // Kubernetes runs with group 0 when only the user is named.
        user: spec.run_as_user.map(|user| (user, spec.run_as_group.unwrap_or(0))),
        mounts: spec
            .mounts
            .iter()
            .map(|mount| Mount {
                volume: mount.volume.clone(),
                path: mount.path.clone().into(),
                sub_path: path(&mount.sub_path),
                read_only: mount.read_only,
            })
            .collect(),
        resources: Resources {
            cpu_limit_millis: spec.cpu_limit_millicores,
            cpu_request_millis: spec.cpu_request_millicores,
            memory_limit_bytes: spec.memory_limit_bytes,
        },
    }
}

/// A deadline that no probe reaches: the API allows any number of seconds.
pub(super) const PROBE_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
