//! What the kubelets need of a machine that can run pods, as a trait that the binary fills in.
//!
//! Commands go out without waiting; what comes of them comes back as [`RuntimeEvent`]s through the sink that
//! [`PodRuntime::connect`] hands over. So the core stays synchronous, and a test can be the runtime.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// Where a runtime reports. It may be called from any thread, and never blocks for long.
pub type EventSink = Arc<dyn Fn(RuntimeEvent) + Send + Sync>;

/// A machine that runs pods for all nodes.
pub trait PodRuntime: Send + Sync {
    /// Called once, before anything else: where events go.
    fn connect(&self, sink: EventSink);

    /// Starts to carry out a command; must not block.
    fn perform(&self, command: Command);

    /// The log of a container. The receiver ends with the log, or with the container when following.
    ///
    /// # Errors
    /// A sentence when there is no such log.
    fn logs(&self, query: LogQuery) -> Result<tokio::sync::mpsc::Receiver<Bytes>, String>;
}

/// What a kubelet wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Make the pod's sandbox (namespaces, network, volumes); answered by `PodStarted` or `PodFailed`.
    StartPod(Box<PodSpec>),
    /// Start a container; answered by `ContainerStarted` or `ContainerFailed`, later by `ContainerExited`.
    StartContainer(Box<ContainerSpec>),
    /// SIGTERM, and SIGKILL after the grace; answered by `ContainerExited`. Again with a shorter grace: that one counts.
    StopContainer {
        /// Which container.
        id: ContainerId,
        /// Time between the signals.
        grace: Duration,
    },
    /// Kill what is left of the pod and remove its sandbox; answered by `PodRemoved`.
    RemovePod {
        /// Which pod.
        pod: PodId,
    },
    /// Probe a container from within its pod's network; answered by `ProbeDone`.
    Probe {
        /// Which container.
        id: ContainerId,
        /// Comes back in the answer.
        ticket: u64,
        /// What to do.
        action: ProbeAction,
        /// When to give up.
        timeout: Duration,
    },
    /// The contents of ConfigMap and Secret volumes have changed.
    UpdateVolumes {
        /// Which pod.
        pod: PodId,
        /// All of its volumes.
        volumes: Vec<Volume>,
    },
    /// The node's power is off: every process of every pod on it dies at once. Nothing is answered.
    NodeOff {
        /// Name of the node.
        node: String,
    },
}

/// A pod on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    /// Name of the node.
    pub node: String,
    /// The pod's uid.
    pub uid: String,
}

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId {
    /// The pod.
    pub pod: PodId,
    /// The container's name.
    pub container: String,
    /// 0 for the first run, then 1 …: the restart count.
    pub attempt: u32,
}

/// A pod's sandbox.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSpec {
    /// Which pod.
    pub id: PodId,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Number of its node, from 1.
    pub node_number: u16,
    /// Its address, 10.244.node.x.
    pub ip: std::net::Ipv4Addr,
    /// Its host name.
    pub hostname: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its service account.
    pub service_account: String,
    /// `dnsPolicy`.
    pub dns_policy: String,
    /// `hostAliases`: address and names.
    pub host_aliases: Vec<(String, Vec<String>)>,
    /// Its volumes.
    pub volumes: Vec<Volume>,
}

/// A volume of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// Name, unique in the pod.
    pub name: String,
    /// What is in it.
    pub source: VolumeSource,
}

/// What a volume is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum VolumeSource {
    /// An empty directory that lives as long as the pod.
    EmptyDir {
        /// `medium: Memory`.
        memory: bool,
        /// `sizeLimit` in bytes.
        size_limit_bytes: Option<u64>,
    },
    /// Projected files (ConfigMap, Secret, downward API, tokens), read-only.
    Files(Vec<ProjectedFile>),
    /// A directory or file of the host.
    HostPath {
        /// Path on the host.
        path: String,
    },
}

/// One file of a projected volume.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectedFile {
    /// Path within the volume.
    pub path: String,
    /// Contents.
    pub contents: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// A mount of a volume into a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    /// Name of the volume.
    pub volume: String,
    /// Path in the container.
    pub path: String,
    /// Path within the volume, or "".
    pub sub_path: String,
    /// Whether the container may not write.
    pub read_only: bool,
}

/// One run of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerSpec {
    /// Which run.
    pub id: ContainerId,
    /// Image reference.
    pub image: String,
    /// `imagePullPolicy`: `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Entrypoint; empty means the image's.
    pub command: Vec<String>,
    /// Arguments; empty means the image's, unless `command` is given.
    pub args: Vec<String>,
    /// Environment, resolved and in order.
    pub env: Vec<(String, String)>,
    /// Working directory; empty means the image's.
    pub working_dir: String,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Host names and addresses the pod knows, for its hosts file.
    pub hostname: String,
    /// CPU limit in thousandths of a core.
    pub cpu_limit_millicores: Option<u64>,
    /// CPU request in thousandths of a core, for shares.
    pub cpu_request_millicores: Option<u64>,
    /// Memory limit in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// `securityContext.runAsUser`.
    pub run_as_user: Option<u32>,
    /// `securityContext.runAsGroup`.
    pub run_as_group: Option<u32>,
    /// `securityContext.readOnlyRootFilesystem`.
    pub read_only_root: bool,
    /// `tty`.
    pub tty: bool,
}

/// How a container is probed.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeAction {
    /// Run a command in the container; exit code 0 is success.
    Exec(Vec<String>),
    /// HTTP GET; 200 to 399 is success.
    HttpGet {
        /// Host, "" for the pod's address.
        host: String,
        /// Port.
        port: u16,
        /// Path.
        path: String,
        /// Whether over TLS (the certificate is not checked, as in the real kubelet).
        tls: bool,
        /// Further headers.
        headers: Vec<(String, String)>,
    },
    /// Open a TCP connection.
    TcpSocket {
        /// Host, "" for the pod's address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Call grpc.health.v1.Health/Check.
    Grpc {
        /// Port.
        port: u16,
        /// Service name.
        service: String,
    },
}

/// Which part of which log is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct LogQuery {
    /// Which run of which container.
    pub id: ContainerId,
    /// Keep the stream open while the container runs.
    pub follow: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only what was written after this time since the Unix epoch.
    pub since: Option<Duration>,
    /// Prefix each line with its time.
    pub timestamps: bool,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// What happened in a runtime.
#[derive(Clone, Debug, PartialEq)]
pub enum RuntimeEvent {
    /// The sandbox is there.
    PodStarted {
        /// Which pod.
        pod: PodId,
    },
    /// The sandbox cannot be made; the kubelet tries again later.
    PodFailed {
        /// Which pod.
        pod: PodId,
        /// Why.
        message: String,
    },
    /// The sandbox and everything in it is gone.
    PodRemoved {
        /// Which pod.
        pod: PodId,
    },
    /// The container runs.
    ContainerStarted {
        /// Which run.
        id: ContainerId,
        /// The runtime's own id.
        runtime_id: String,
        /// The image's digest or name.
        image_id: String,
    },
    /// The container could not be started.
    ContainerFailed {
        /// Which run.
        id: ContainerId,
        /// What went wrong.
        failure: StartFailure,
        /// Why.
        message: String,
    },
    /// The container's process has ended.
    ContainerExited {
        /// Which run.
        id: ContainerId,
        /// Exit code; 128 + signal for one that was killed.
        code: i32,
        /// The signal that killed it, or 0.
        signal: i32,
        /// Whether the memory limit killed it.
        out_of_memory: bool,
    },
    /// A probe has an answer.
    ProbeDone {
        /// Which container.
        id: ContainerId,
        /// From the command.
        ticket: u64,
        /// Whether it succeeded.
        success: bool,
        /// What it said, for the event.
        output: String,
    },
}

/// Why a container could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFailure {
    /// No such image, or it cannot be pulled.
    Image,
    /// The image's reference makes no sense.
    ImageName,
    /// `imagePullPolicy: Never`, and the image is not there.
    ImageNeverPull,
    /// The program cannot be run.
    Program,
}

impl RuntimeEvent {
    /// The pod that the event is about.
    pub fn pod(&self) -> &PodId {
        match self {
            RuntimeEvent::PodStarted { pod }
            | RuntimeEvent::PodFailed { pod, .. }
            | RuntimeEvent::PodRemoved { pod } => pod,
            RuntimeEvent::ContainerStarted { id, .. }
            | RuntimeEvent::ContainerFailed { id, .. }
            | RuntimeEvent::ContainerExited { id, .. }
            | RuntimeEvent::ProbeDone { id, .. } => &id.pod,
        }
    }

    /// The node that the event is about.
    pub fn node(&self) -> &str {
        &self.pod().node
    }
}
