//! What the rest of the process uses: starting the server, applying manifests, following objects, reading logs.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use atoll_kernel::{Moment, NodeId};
use atoll_net::{EngineThread, Host, Limits, Listener, Permits, engine_thread};
use bytes::Bytes;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::api::{Reply, Request, read_manifests};
use crate::authorization::User;
use crate::cluster::Cluster;
use crate::error::Status;
use crate::object::{name, namespace, text};
use crate::persistence::Persistence;
use crate::resources::{ResourceId, find_kind};
use crate::runtime::PodRuntime;
use crate::server::{PART, Shared, serve};
use crate::settings::Settings;
use crate::state::{Event, EventKind};

/// Connections that the API serves at once.
const CONNECTIONS_MAX: usize = 2_000;

/// What [`Kubernetes::start`] needs.
pub struct Config {
    /// The cluster itself.
    pub settings: Settings,
    /// The server's certificate, and the authority that users' certificates are checked by (asked for, not required).
    pub tls: ServerConfig,
    /// Port of the API on node 1; 6443 unless it is taken. 0 lets the system choose.
    pub port: u16,
    /// Where objects are kept.
    pub persistence: Box<dyn Persistence>,
    /// What runs the pods.
    pub runtime: Arc<dyn PodRuntime>,
}

/// A running Kubernetes: the API on node 1, its controllers, and a kubelet per node.
pub struct Kubernetes {
    shared: Arc<Shared>,
    thread: EngineThread,
    address: SocketAddr,
}

/// What came of one manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// `deployment.apps/web`, as `kubectl` writes it.
    pub object: String,
    /// Its namespace, "" for cluster-scoped kinds.
    pub namespace: String,
    /// Whether it is new, changed, or as it was.
    pub outcome: Outcome,
}

/// What applying did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The object is new.
    Created,
    /// The object has changed.
    Configured,
    /// Nothing has changed.
    Unchanged,
}

/// Why manifests could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The text is no YAML, or nested beyond reason; the message has line and column.
    #[error("{0}")]
    Malformed(String),
    /// The kind is not served.
    #[error("no matches for kind \"{kind}\" in version \"{api_version}\"")]
    UnknownKind {
        /// As given.
        api_version: String,
        /// As given.
        kind: String,
    },
    /// The API refused the object.
    #[error("{object}: {status}")]
    Refused {
        /// Which object.
        object: String,
        /// The refusal.
        status: Box<Status>,
    },
}

impl Kubernetes {
    /// Loads what was persisted, starts to listen on node 1's address, and serves on a thread of its own.
    ///
    /// Blocks until the API answers; not for async code. Faults of the kernel act from the first moment.
    ///
    /// # Errors
    /// When the address is taken or the persisted objects cannot be read.
    pub fn start(config: Config, host: &Host) -> io::Result<Kubernetes> {
        let permits = Permits::new(Limits { connections_max: CONNECTIONS_MAX });
        let listener = Listener::bind(host, PART, NodeId(1), config.port, permits)?;
        let address = listener.address()?;
        let mut settings = config.settings;
        settings.api_endpoint.1 = address.port();
        let mut persistence = config.persistence;
        let saved = persistence.load()?;
        let kernel = host.kernel.clone();
        let wall = Duration::from_millis(u64::try_from(kernel.wall().as_millis()).unwrap_or(0));
        let cluster = Cluster::new(settings, saved, kernel.now().since(Moment::ZERO), wall);
        let (sender, events) = mpsc::unbounded_channel();
        config.runtime.connect(Arc::new(move |event| {
            // After the end nobody listens, and nothing is lost by that.
            let _ = sender.send(event);
        }));
        let shared = Arc::new(Shared::new(cluster, persistence, kernel, config.runtime));
        shared.with(|_| ()).map_err(|status| io::Error::other(status.message))?;
        let mut tls = config.tls;
        if tls.alpn_protocols.is_empty() {
            tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        let (serving, host, tls) = (shared.clone(), host.clone(), Arc::new(tls));
        let thread = engine_thread("kubernetes", move |ready, stop| async move {
            let _ = ready.send(Ok(()));
            serve(serving, host, listener, tls, events, stop).await;
        })?;
        Ok(Kubernetes { shared, thread, address })
    }

    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops serving. Pods are left to the runtime. Blocks: not for async code.
    pub fn shut_down(&self) {
        self.thread.shut_down();
    }

    /// A handle for other parts of the process.
    pub fn client(&self) -> Client {
        Client { shared: self.shared.clone() }
    }
}

/// Access to the API inside the process, as an administrator. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    /// Applies a stream of manifests server-side, as manager `atoll`, taking over fields from others. Objects without a
    /// namespace go to `default`. The first refusal ends it; what was applied before stays.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn apply(&self, manifests: &str) -> Result<Vec<Applied>, ApplyError> {
        let objects = read_manifests(manifests).map_err(ApplyError::Malformed)?;
        objects.into_iter().map(|object| self.apply_one(object)).collect()
    }

    fn apply_one(&self, mut object: Value) -> Result<Applied, ApplyError> {
        let (api_version, kind) = (text(&object, "/apiVersion").to_owned(), text(&object, "/kind").to_owned());
        let row = find_kind(&api_version, &kind).filter(|row| row.is_stored());
        let row = row.ok_or(ApplyError::UnknownKind { api_version, kind })?;
        if row.namespaced && namespace(&object).is_empty() {
            crate::object::set(&mut object, &["metadata", "namespace"], "default");
        }
        let (space, object_name) = (namespace(&object).to_owned(), name(&object).to_owned());
        let place = if row.namespaced { format!("/namespaces/{space}") } else { String::new() };
        let suffix = if row.group.is_empty() { String::new() } else { format!(".{}", row.group) };
        let shown = format!("{}{suffix}/{object_name}", row.singular);
        let mut request = self.request("PATCH", &format!("{}{place}/{}/{object_name}", row.prefix(), row.plural));
        request.query = [("fieldManager", "atoll"), ("force", "true"), ("fieldValidation", "Strict")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec();
        request.content_type = "application/apply-patch+yaml".to_owned();
        request.body = Bytes::from(object.to_string());
        let before = self.get(row.id, &space, &object_name);
        let refused = |status| ApplyError::Refused { object: shown.clone(), status: Box::new(status) };
        let reply = self.shared.with(|cluster| cluster.handle(&request)).map_err(refused)?.map_err(refused)?;
        let same = |after: &Value| {
            before
                .as_ref()
                .is_some_and(|before| before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"])
        };
        let outcome = match &reply {
            Reply::Json { code: 201, .. } => Outcome::Created,
            Reply::Json { body, .. } if same(body) => Outcome::Unchanged,
            _ => Outcome::Configured,
        };
        Ok(Applied { object: shown, namespace: space, outcome })
    }

    fn request(&self, method: &str, path: &str) -> Request {
        Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: Vec::new(),
            accept: "application/json".to_owned(),
            content_type: "application/json".to_owned(),
            user_agent: "atoll".to_owned(),
            body: Bytes::new(),
            user: User::master(),
        }
    }

    /// Any request of the API that is answered by JSON: method, path with query, and body (null for none).
    ///
    /// # Errors
    /// The `Status` of the refusal.
    pub fn call(&self, method: &str, path_and_query: &str, body: &Value) -> Result<Value, Status> {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let mut request = self.request(method, path);
        request.query = crate::api::read_query(query);
        if method == "PATCH" {
            request.content_type = "application/merge-patch+json".to_owned();
        }
        if !body.is_null() {
            request.body = Bytes::from(body.to_string());
        }
        match self.shared.with(|cluster| cluster.handle(&request))?? {
            Reply::Json { body, .. } => Ok(body),
            _ => Err(Status::bad_request("watches and logs have calls of their own")),
        }
    }

    /// One object as it is now.
    pub fn get(&self, resource: ResourceId, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.shared.read(|cluster| cluster.get(resource, namespace, name).cloned())
    }

    /// All objects of a resource as they are now.
    pub fn list(&self, resource: ResourceId) -> Vec<Arc<Value>> {
        self.shared.read(|cluster| cluster.store().list(resource, None).cloned().collect())
    }

    /// Objects of some resources as they are now, and their changes from now on.
    pub fn subscribe(&self, resources: &[ResourceId]) -> (Vec<(ResourceId, Arc<Value>)>, Subscription) {
        let versions = self.shared.versions();
        let (snapshot, cursor) = self.shared.read(|cluster| (snapshot(cluster, resources), cluster.store().version()));
        (snapshot, Subscription { shared: self.shared.clone(), versions, cursor, resources: resources.to_vec() })
    }

    /// A container's log; the container may be "" when the pod has only one.
    ///
    /// # Errors
    /// The `Status` that `kubectl logs` would show.
    pub fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        options: &LogOptions,
    ) -> Result<mpsc::Receiver<Bytes>, Status> {
        let mut request = self.request("GET", &format!("/api/v1/namespaces/{namespace}/pods/{pod}/log"));
        let mut put = |key: &str, value: String| request.query.push((key.to_owned(), value));
        put("container", container.to_owned());
        put("follow", options.follow.to_string());
        put("previous", options.previous.to_string());
        put("timestamps", options.timestamps.to_string());
        if let Some(lines) = options.tail_lines {
            put("tailLines", lines.to_string());
        }
        match self.shared.with(|cluster| cluster.handle(&request))?? {
            Reply::Logs(query) => self.shared.runtime().logs(query).map_err(Status::bad_request),
            _ => Err(Status::internal("a log was expected")),
        }
    }
}

/// Which part of a log is wanted, as `kubectl logs` asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogOptions {
    /// Keep on while the container runs.
    pub follow: bool,
    /// The log of the run before.
    pub previous: bool,
    /// Each line with its time.
    pub timestamps: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
}

fn snapshot(cluster: &Cluster, resources: &[ResourceId]) -> Vec<(ResourceId, Arc<Value>)> {
    let all = resources
        .iter()
        .flat_map(|resource| cluster.store().list(*resource, None).map(|object| (*resource, object.clone())));
    all.collect()
}

/// Changes of some resources.
pub struct Subscription {
    shared: Arc<Shared>,
    versions: watch::Receiver<u64>,
    cursor: u64,
    resources: Vec<ResourceId>,
}

/// What a subscription tells.
#[derive(Debug)]
pub enum Changes {
    /// What happened since the last time, in order.
    Events(Vec<Event>),
    /// More happened than is remembered: everything as it is now.
    Snapshot(Vec<(ResourceId, Arc<Value>)>),
}

impl Subscription {
    /// Waits for the next changes; `None` when the server is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Changes> {
        loop {
            if let Some(changes) = self.poll() {
                return Some(changes);
            }
            self.versions.changed().await.ok()?;
        }
    }

    /// What has changed since the last time, without waiting.
    pub fn poll(&mut self) -> Option<Changes> {
        self.versions.mark_unchanged();
        let (changes, version) = self.shared.read(|cluster| {
            let changes = match cluster.events_after(self.cursor) {
                Some(events) => {
                    Changes::Events(events.filter(|event| self.resources.contains(&event.resource)).cloned().collect())
                }
                None => Changes::Snapshot(snapshot(cluster, &self.resources)),
            };
            (changes, cluster.store().version())
        });
        self.cursor = version;
        match changes {
            Changes::Events(events) if events.is_empty() => None,
            changes => Some(changes),
        }
    }
}

/// Whether an event leaves its object in place.
pub fn is_present(event: &Event) -> bool {
    event.kind != EventKind::Deleted
}

/// What a kubeconfig says.
#[derive(Clone, Debug)]
pub struct Kubeconfig<'a> {
    /// Name of cluster, user and context, as `atoll`.
    pub name: &'a str,
    /// `https://127.0.0.1:6443`.
    pub server: &'a str,
    /// The authority's certificate, PEM.
    pub certificate_authority_pem: &'a str,
    /// The user's certificate, PEM.
    pub client_certificate_pem: &'a str,
    /// The user's key, PEM.
    pub client_key_pem: &'a str,
}

impl Kubeconfig<'_> {
    /// The file's text.
    pub fn to_yaml(&self) -> String {
        use base64::Engine as _;
        let encode = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
        let quote = |text: &str| json!(text).to_string();
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {name}\n  cluster:\n    server: {server}\n    certificate-authority-data: {authority}\nusers:\n- name: {name}\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\ncontexts:\n- name: {name}\n  context:\n    cluster: {name}\n    user: {name}\ncurrent-context: {name}\n",
            name = quote(self.name),
            server = quote(self.server),
            authority = encode(self.certificate_authority_pem),
            certificate = encode(self.client_certificate_pem),
            key = encode(self.client_key_pem),
        )
    }
}
