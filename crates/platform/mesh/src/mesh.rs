//! [`Mesh`]: the handle, and what all its tasks share.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;

use atoll_kernel::NodeId;
use atoll_net::Host;
use atoll_pki::{Authority, Identity, PkiError};
use parking_lot::{Mutex, RwLock};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::balance::Balancer;
use crate::dns::DnsServer;
use crate::ingress;
use crate::metrics::{Metrics, ServiceMetrics};
use crate::outbound;
use crate::table::ServiceTable;
use crate::tunnel::{self, Credential};

/// The way into a pod: connects to a port of it. Filled in by whoever runs the pods.
pub trait PodDoor: Send + Sync {
    /// Connects to `port` of the pod's own address; the pod sees the connection come from `source`.
    fn connect(&self, port: u16, source: Ipv4Addr) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + '_>>;
}

/// A pod that becomes part of the network.
pub struct PodAttachment {
    /// Its address, which names it.
    pub ip: Ipv4Addr,
    /// The node it is on.
    pub node: NodeId,
    /// Its namespace.
    pub namespace: String,
    /// Its service account: with the namespace, its identity.
    pub service_account: String,
    /// Accepts its outbound connections; made in its network namespace.
    pub capture: TcpListener,
    /// Receives its DNS questions.
    pub dns: UdpSocket,
    /// Accepts its DNS connections.
    pub dns_stream: TcpListener,
    /// The way in.
    pub door: Arc<dyn PodDoor>,
}

/// Why the mesh could not start, or a pod not be attached.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// A node's mesh port is taken, or a pod's socket is unusable.
    #[error("{what}: {source}")]
    Socket {
        /// Which socket.
        what: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// No certificate could be issued.
    #[error("certificates of the mesh: {0}")]
    Certificate(#[from] PkiError),
}

/// A port that a service should have on a node's address, and cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressProblem {
    /// `namespace/name`.
    pub service: String,
    /// The address and port that were wanted.
    pub address: SocketAddr,
    /// The operating system's reason.
    pub reason: String,
}

/// The pods' network. A cheap handle; when the last one is dropped, its listeners close.
#[derive(Clone)]
pub struct Mesh {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        let pods = std::mem::take(&mut *self.shared.pods.write());
        pods.values().for_each(|pod| pod.close());
    }
}

/// What all tasks of the mesh see.
pub(crate) struct Shared {
    pub(crate) host: Host,
    pub(crate) authority: Arc<Authority>,
    pub(crate) balancer: Mutex<Balancer>,
    pub(crate) metrics: Metrics,
    /// By node: the credential of its proxy.
    pub(crate) nodes: BTreeMap<NodeId, Arc<Credential>>,
    pub(crate) problems: Mutex<Vec<IngressProblem>>,
    table: watch::Sender<Arc<ServiceTable>>,
    pods: RwLock<BTreeMap<Ipv4Addr, Arc<AttachedPod>>>,
}

/// A pod of the network.
pub(crate) struct AttachedPod {
    pub(crate) caller: Caller,
    pub(crate) door: Arc<dyn PodDoor>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// Who connects: a pod, or a node's ingress.
#[derive(Clone)]
pub(crate) struct Caller {
    /// Its address, as those see it to whom it connects.
    pub(crate) ip: Ipv4Addr,
    pub(crate) node: NodeId,
    pub(crate) credential: Arc<Credential>,
}

impl Mesh {
    /// Opens the mesh ports of all nodes. Must be called inside a tokio runtime.
    pub fn start(host: Host, authority: Arc<Authority>) -> Result<Self, MeshError> {
        let mut nodes = BTreeMap::new();
        for node in host.kernel.nodes() {
            let id = node.config.id;
            nodes.insert(id, Arc::new(Credential::issue(&authority, Identity::Node(id.0), id)?));
        }
        let shared = Arc::new(Shared {
            host,
            authority,
            balancer: Mutex::default(),
            metrics: Metrics::default(),
            nodes,
            problems: Mutex::default(),
            table: watch::Sender::default(),
            pods: RwLock::default(),
        });
        let mut tasks = Vec::new();
        for node in shared.nodes.keys() {
            let listener = tunnel::bind(&shared.host, *node)?;
            tasks.push(tokio::spawn(tunnel::serve(shared.clone(), *node, listener)).abort_handle());
        }
        tasks.push(tokio::spawn(ingress::serve(shared.clone(), shared.table.subscribe())).abort_handle());
        Ok(Self { inner: Arc::new(Inner { shared, tasks }) })
    }

    /// Replaces what is known about services. Connections that are open stay as they are.
    pub fn update(&self, table: ServiceTable) {
        self.inner.shared.table.send_if_modified(|current| {
            let is_new = **current != table;
            if is_new {
                *current = Arc::new(table);
            }
            is_new
        });
    }

    /// Makes a pod part of the network. A pod that has the address already is detached first.
    pub fn attach(&self, pod: PodAttachment) -> Result<(), MeshError> {
        let shared = &self.inner.shared;
        self.detach(pod.ip);
        let unusable = |source| MeshError::Socket { what: format!("sockets of pod {}", pod.ip), source };
        let attempt = || {
            for nonblocking in [pod.capture.set_nonblocking(true), pod.dns.set_nonblocking(true)] {
                nonblocking?;
            }
            pod.dns_stream.set_nonblocking(true)?;
            Ok((
                tokio::net::TcpListener::from_std(pod.capture)?,
                tokio::net::UdpSocket::from_std(pod.dns)?,
                tokio::net::TcpListener::from_std(pod.dns_stream)?,
            ))
        };
        let (capture, dns, dns_stream) = attempt().map_err(unusable)?;
        let identity = Identity::Workload { namespace: pod.namespace, service_account: pod.service_account };
        let credential = Arc::new(Credential::issue(&shared.authority, identity, pod.node)?);
        let caller = Caller { ip: pod.ip, node: pod.node, credential };
        let attached = Arc::new(AttachedPod { caller: caller.clone(), door: pod.door, tasks: Mutex::default() });
        let names = DnsServer::new(shared.clone(), pod.node);
        *attached.tasks.lock() = vec![
            tokio::spawn(outbound::serve(shared.clone(), caller, capture)).abort_handle(),
            tokio::spawn(names.clone().serve_datagrams(dns)).abort_handle(),
            tokio::spawn(names.serve_streams(dns_stream)).abort_handle(),
        ];
        shared.pods.write().insert(pod.ip, attached);
        Ok(())
    }

    /// Takes a pod out of the network: its listeners close. Its open connections end with its processes.
    pub fn detach(&self, ip: Ipv4Addr) {
        if let Some(pod) = self.inner.shared.pods.write().remove(&ip) {
            pod.close();
        }
    }

    /// Counters by destination.
    pub fn metrics(&self) -> Vec<ServiceMetrics> {
        self.inner.shared.metrics.read()
    }

    /// Ports that services should have on nodes' addresses and do not have, now.
    pub fn ingress_problems(&self) -> Vec<IngressProblem> {
        self.inner.shared.problems.lock().clone()
    }
}

impl AttachedPod {
    fn close(&self) {
        self.tasks.lock().iter().for_each(AbortHandle::abort);
    }
}

impl Shared {
    pub(crate) fn table(&self) -> Arc<ServiceTable> {
        self.table.borrow().clone()
    }

    pub(crate) fn pod(&self, ip: Ipv4Addr) -> Option<Arc<AttachedPod>> {
        self.pods.read().get(&ip).cloned()
    }

    /// The ingress of a node, as a caller of pods.
    pub(crate) fn ingress_of(&self, node: NodeId) -> Option<Caller> {
        let ip = self.host.kernel.node(node)?.config.pod_side_address;
        Some(Caller { ip, node, credential: self.nodes.get(&node)?.clone() })
    }
}
