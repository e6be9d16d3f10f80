//! What callers say about pods and containers, and what they are told.

use crate::images::Images;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::SystemTime;

/// How a [`Runtime`](crate::Runtime) works.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// The stack's name; control groups carry it, so that two stacks do not touch each other's.
    pub name: String,
    /// A directory of the runtime's own: `pods/` (rebuilt at every start) and `logs/`.
    pub directory: PathBuf,
    /// The program to start as `PROGRAM pod-init`; its `pod-init` must call [`pod_init_main`](crate::pod_init_main).
    /// Ordinarily `/proc/self/exe`, which works even when the file has been replaced meanwhile.
    pub executable: PathBuf,
    /// Which local commands stand for which images.
    pub images: Images,
    /// A container's log is rotated at this size; the kubelet's `containerLogMaxSize`.
    pub log_bytes_max: u64,
    /// How many files of a log are kept; the kubelet's `containerLogMaxFiles`.
    pub log_files_max: u32,
}

impl RuntimeConfig {
    /// The defaults of the kubelet (10 MiB, 5 files), this very program, and no images.
    pub fn new(name: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            directory: directory.into(),
            executable: PathBuf::from("/proc/self/exe"),
            images: Images::default(),
            log_bytes_max: 10 * 1024 * 1024,
            log_files_max: 5,
        }
    }
}

/// A pod without its containers: what the kubelet calls the sandbox.
#[derive(Clone, Debug)]
pub struct PodConfig {
    /// Unique over all time; names directories and control groups. Kubernetes' `metadata.uid`.
    pub uid: String,
    /// For people: `ps` shows it.
    pub name: String,
    /// For people: `ps` shows it.
    pub namespace: String,
    /// The virtual node it runs on, from 1.
    pub node: u16,
    /// The pod's address.
    pub ip: Ipv4Addr,
    /// Host name, at most 64 bytes.
    pub hostname: String,
    /// The text of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// Lines for `/etc/hosts` besides those for localhost and the pod itself.
    pub hosts: Vec<(Ipv4Addr, String)>,
    /// Volumes that containers can mount, by name.
    pub volumes: BTreeMap<String, Volume>,
}

/// Where a volume's content comes from.
#[derive(Clone, Debug)]
pub enum Volume {
    /// An empty directory that lives as long as the pod.
    EmptyDir,
    /// Files with these names and contents (ConfigMap, Secret, downward API, projected). Replaced as a whole, atomically,
    /// by [`update_volume`](crate::Runtime::update_volume). Mounted read-only, whatever the mount says, as Kubernetes does.
    Files(BTreeMap<String, ProjectedFile>),
    /// A directory or file of the host.
    HostPath(PathBuf),
}

/// One file of a volume; named by its relative path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectedFile {
    /// What is in it.
    pub contents: Vec<u8>,
    /// Permission bits, `0o644` by default in Kubernetes.
    pub mode: u32,
}

/// One start of one container.
#[derive(Clone, Debug, Default)]
pub struct ContainerConfig {
    /// The name in the pod.
    pub name: String,
    /// How many times it was started before; names the log.
    pub restart: u32,
    /// The image's name, resolved by the runtime's [`Images`].
    pub image: String,
    /// Replaces the image's entry point if not empty (Kubernetes' `command`).
    pub command: Vec<String>,
    /// Replaces the image's arguments if not empty, or if there is a `command` (Kubernetes' `args`).
    pub args: Vec<String>,
    /// Environment; wins over the image's.
    pub env: Vec<(String, String)>,
    /// Replaces the image's working directory.
    pub working_dir: Option<PathBuf>,
    /// `runAsUser` and `runAsGroup`.
    pub user: Option<(u32, u32)>,
    /// Where which volumes appear.
    pub mounts: Vec<Mount>,
    /// Limits and shares.
    pub resources: Resources,
}

/// A volume in a container.
#[derive(Clone, Debug, Default)]
pub struct Mount {
    /// The volume's name in the pod.
    pub volume: String,
    /// Absolute path in the container.
    pub path: PathBuf,
    /// A path in the volume, instead of its root.
    pub sub_path: Option<PathBuf>,
    /// Whether the container may write.
    pub read_only: bool,
}

/// CPU and memory of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU limit in thousandths of a core.
    pub cpu_limit_millis: Option<u64>,
    /// CPU request in thousandths of a core: the share when cores are scarce.
    pub cpu_request_millis: Option<u64>,
    /// Memory limit in bytes.
    pub memory_limit_bytes: Option<u64>,
}

/// How a container or a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// As Kubernetes tells it: the code, or 128 + the signal.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed a process of it because the memory limit was reached.
    pub oom_killed: bool,
    /// When.
    pub finished_at: SystemTime,
}

/// A container that runs.
#[derive(Clone, Debug)]
pub struct Started {
    /// When.
    pub started_at: SystemTime,
    /// Why limits that were asked for do not act, if they do not. For the pod's condition.
    pub unlimited: Option<String>,
}

/// What happens to pods without being asked for.
#[derive(Clone, Debug)]
pub enum Event {
    /// A container has ended; its log is complete.
    ContainerExited {
        /// The pod.
        uid: String,
        /// The container's name.
        container: String,
        /// Which of its starts.
        restart: u32,
        /// How.
        exit: Exit,
    },
    /// The pod is gone with all its processes: killed with its node, stopped, or by an accident.
    PodEnded {
        /// The pod.
        uid: String,
        /// The node that it was on.
        node: u16,
    },
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The image's name is not one (`InvalidImageName` in Kubernetes).
    #[error(
        "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"
    )]
    InvalidImageName {
        /// As given.
        image: String,
    },
    /// No local command stands for the image (`ErrImagePull` in Kubernetes).
    #[error(
        "failed to pull image \"{image}\": the stack file's images map has no entry for \"{name}\", and pulling from registries is not supported"
    )]
    ImageNotFound {
        /// As given.
        image: String,
        /// The key that was looked for.
        name: String,
    },
    /// The pod could not be made.
    #[error("failed to create pod sandbox: {step}: {message}")]
    Sandbox {
        /// What was being done.
        step: String,
        /// The system's reason.
        message: String,
    },
    /// A container or a command could not be started.
    #[error("{message}")]
    Refused {
        /// A word of the kubelet: `CreateContainerConfigError`, `CreateContainerError`, `RunContainerError`.
        reason: String,
        /// A sentence.
        message: String,
    },
    /// There is no such pod or container (any more).
    #[error("{0} not found")]
    NotFound(String),
    /// The operating system's refusal.
    #[error("{step}: {source}")]
    System {
        /// What was being done.
        step: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl RuntimeError {
    /// The `reason` that a waiting container shows in Kubernetes.
    pub fn reason(&self) -> &str {
        match self {
            Self::InvalidImageName { .. } => "InvalidImageName",
            Self::ImageNotFound { .. } => "ErrImagePull",
            Self::Sandbox { .. } => "FailedCreatePodSandBox",
            Self::Refused { reason, .. } => reason,
            Self::NotFound(_) => "NotFound",
            Self::System { .. } => "CreateContainerError",
        }
    }

    pub(crate) fn system(step: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let step = step.into();
        move |source| Self::System { step, source }
    }
}
