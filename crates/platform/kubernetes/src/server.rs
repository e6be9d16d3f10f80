//! The only async file: sockets, TLS and HTTP on one side, the synchronous [`Cluster`] on the other.
//!
//! Every access to the cluster goes through [`Shared::with`], which first brings it up to date (time, faults) and afterwards
//! makes its changes durable, hands its commands to the runtime and wakes watches. Nothing here runs by the clock but the
//! timer that the cluster asked for.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use atoll_kernel::{Kernel, Link, Moment, NodeId, NodeState as KernelState, Verdict};
use atoll_net::{Connection, Host, Listener, accept_tls};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::{sleep, sleep_until, timeout};

use crate::api::{Reply, Request, Watch, read_query};
use crate::authorization::{User, impersonate};
use crate::cluster::{Cluster, NodeState, Power};
use crate::error::{Reason, Status};
use crate::persistence::{Change, Persistence};
use crate::runtime::{PodRuntime, RuntimeEvent};

/// The part of the stack, in links and rules.
pub const PART: &str = "kubernetes";

/// The largest body that is read, as the real server's limit for requests.
const BODY_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// Of a body that is too large this much is read and dropped.
const BODY_BYTES_DROPPED_MAX: u64 = 16 * 1024 * 1024;
const HEADER_BYTES_MAX: usize = 64 * 1024;
const STREAMS_MAX: u32 = 250;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
const BODY_PATIENCE: Duration = Duration::from_secs(60);
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

struct Core {
    cluster: Cluster,
    persistence: Box<dyn Persistence>,
    /// Changes that could not be made durable yet.
    pending: Vec<Change>,
    faults_seen: u64,
}

/// The cluster, shared by the tasks of the server's thread and by handles elsewhere in the process.
pub(crate) struct Shared {
    core: Mutex<Core>,
    kernel: Kernel,
    runtime: Arc<dyn PodRuntime>,
    version: watch::Sender<u64>,
    rearm: Notify,
    node_names: Vec<(NodeId, String)>,
}

impl Shared {
    pub fn new(
        cluster: Cluster,
        persistence: Box<dyn Persistence>,
        kernel: Kernel,
        runtime: Arc<dyn PodRuntime>,
    ) -> Shared {
        let node_names = cluster.settings().nodes.iter().map(|node| (NodeId(node.number), node.name.clone())).collect();
        let version = watch::Sender::new(cluster.store().version());
        let core = Mutex::new(Core { cluster, persistence, pending: Vec::new(), faults_seen: u64::MAX });
        Shared { core, kernel, runtime, version, rearm: Notify::new(), node_names }
    }

    /// Calls the cluster at the present moment.
    ///
    /// # Errors
    /// 500 when the changes could not be made durable; they are kept and tried again with the next call.
    pub fn with<T>(&self, call: impl FnOnce(&mut Cluster) -> T) -> Result<T, Status> {
        let mut core = self.core.lock();
        let core = &mut *core;
        self.catch_up(core);
        let wake_before = core.cluster.next_wake();
        let answer = call(&mut core.cluster);
        core.cluster.settle();
        let durable = self.commit(core);
        for command in core.cluster.take_commands() {
            self.runtime.perform(command);
        }
        let version = core.cluster.store().version();
        self.version.send_if_modified(|seen| std::mem::replace(seen, version) != version);
        if core.cluster.next_wake() != wake_before {
            self.rearm.notify_one();
        }
        durable.map(|()| answer)
    }

    /// Reads from the cluster without letting time pass.
    pub fn read<T>(&self, call: impl FnOnce(&Cluster) -> T) -> T {
        call(&self.core.lock().cluster)
    }

    /// Changes of the store's version.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub fn runtime(&self) -> &dyn PodRuntime {
        self.runtime.as_ref()
    }

    fn commit(&self, core: &mut Core) -> Result<(), Status> {
        core.pending.extend(core.cluster.take_changes());
        if core.pending.is_empty() {
            return Ok(());
        }
        core.persistence.commit(core.cluster.store().version(), &core.pending).map_err(Status::internal)?;
        core.pending.clear();
        Ok(())
    }

    fn catch_up(&self, core: &mut Core) {
        core.cluster.advance(self.now());
        let version = self.kernel.version();
        if std::mem::replace(&mut core.faults_seen, version) == version {
            return;
        }
        for (id, name) in &self.node_names {
            core.cluster.set_node_state(name, node_state(&self.kernel, *id));
        }
    }

    fn now(&self) -> Duration {
        self.kernel.now().since(Moment::ZERO)
    }
}

/// What the kernel's faults make of a node: whether it runs, and whether it and the control plane on node 1 reach each other.
pub fn node_state(kernel: &Kernel, id: NodeId) -> NodeState {
    let power = match kernel.node_state(id) {
        KernelState::Running => Power::Running,
        KernelState::Paused => Power::Paused,
        KernelState::Killed | KernelState::Stopped => Power::Off,
    };
    let first = NodeId(1);
    let passes = |link: Link| matches!(kernel.judge(&link), Verdict::Pass | Verdict::Delay(_));
    let link = Link::peers(PART, id, first);
    let control_plane = kernel.node_state(first) == KernelState::Running;
    let connected = id == first || (control_plane && passes(link) && passes(link.reversed()));
    NodeState { power, connected }
}

/// Serves until asked to finish.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    host: Host,
    mut listener: Listener,
    tls: Arc<ServerConfig>,
    events: mpsc::UnboundedReceiver<RuntimeEvent>,
    stop: Arc<Notify>,
) {
    let faults = Arc::new(Notify::new());
    let notified = faults.clone();
    host.kernel.watch(move || notified.notify_one());
    spawn_local(follow_faults(shared.clone(), faults));
    spawn_local(follow_runtime(shared.clone(), events));
    spawn_local(keep_time(shared.clone()));
    let mut finished = pin!(stop.notified());
    loop {
        tokio::select! {
            biased;
            () = &mut finished => return,
            connection = listener.accept(&host) => {
                // A connection over the limit is closed: before TLS there is no way to say why.
                if !connection.is_over_limit() {
                    spawn_local(serve_connection(shared.clone(), connection, tls.clone()));
                }
            }
        }
    }
}

async fn follow_faults(shared: Arc<Shared>, faults: Arc<Notify>) {
    loop {
        let _ = shared.with(|_| ());
        faults.notified().await;
    }
}

async fn follow_runtime(shared: Arc<Shared>, mut events: mpsc::UnboundedReceiver<RuntimeEvent>) {
    while let Some(event) = events.recv().await {
        let _ = shared.with(|cluster| cluster.on_runtime_event(event));
    }
}

/// Wakes the cluster when it asked to be woken, and sleeps while it did not.
async fn keep_time(shared: Arc<Shared>) {
    loop {
        let wake = shared.read(Cluster::next_wake);
        let at = wake.and_then(|wake| shared.kernel.real_instant(Moment::ZERO + wake));
        let due = async {
            match at {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.rearm.notified() => {}
            () = due => {
                let _ = shared.with(|_| ());
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(async move {
            future.await;
        });
    }
}

async fn serve_connection(shared: Arc<Shared>, connection: Connection, tls: Arc<ServerConfig>) {
    let Ok(stream) = accept_tls(connection, tls, HANDSHAKE_PATIENCE).await else { return };
    let certificates = stream.get_ref().1.peer_certificates();
    let user = Rc::new(certificates.and_then(|chain| chain.first()).and_then(|leaf| certified(leaf)));
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let (shared, user) = (shared.clone(), user.clone());
        async move { Ok::<_, Infallible>(respond(&shared, user.as_ref().as_ref(), request).await) }
    });
    let mut builder = auto::Builder::new(Local);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30))
        .max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    // How a client leaves is its own affair.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// The user that a certificate names: common name and organizations. Without a common name, nobody.
fn certified(leaf: &rustls::pki_types::CertificateDer<'_>) -> Option<User> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    let workload = certificate.subject_alternative_name().ok().flatten().is_some();
    if name.is_empty() || workload {
        // The mesh's certificates come from the same authority; they name workloads, not users of the API.
        return None;
    }
    let organizations = subject.iter_organization().filter_map(|part| part.as_str().ok()).map(str::to_owned).collect();
    Some(User::certified(name, organizations))
}

async fn respond(shared: &Arc<Shared>, certified: Option<&User>, request: http::Request<Incoming>) -> Response<Answer> {
    let head = request.method() == http::Method::HEAD;
    let answer = match read_request(shared, certified, request).await {
        Ok(request) => answer(shared, &request).await,
        Err(status) => Err(status),
    };
    let mut response = answer.unwrap_or_else(|status| refusal(&status));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if head {
        *response.body_mut() = Answer::Whole(None);
    }
    response
}

async fn read_request(
    shared: &Shared,
    certified: Option<&User>,
    request: http::Request<Incoming>,
) -> Result<Request, Status> {
    let (parts, body) = request.into_parts();
    let user = authenticate(shared, certified, &parts.headers)?;
    let body = timeout(BODY_PATIENCE, read_body(body))
        .await
        .map_err(|_| Status::new(Reason::BadRequest, "the body did not arrive in time"))??;
    let text = |name: header::HeaderName| joined(&parts.headers, &name);
    Ok(Request {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: read_query(parts.uri.query().unwrap_or("")),
        accept: text(header::ACCEPT),
        content_type: text(header::CONTENT_TYPE),
        user_agent: text(header::USER_AGENT),
        body,
        user,
    })
}

/// Reads a body up to the limit. Of a larger one a little more is read and dropped, because a client that is still
/// sending when the connection closes never sees the answer.
async fn read_body(mut body: Incoming) -> Result<Bytes, Status> {
    let message = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
    let too_large = Status::new(Reason::RequestEntityTooLarge, message);
    if body.size_hint().lower() > BODY_BYTES_DROPPED_MAX {
        return Err(too_large);
    }
    let mut whole = Vec::new();
    let mut read: u64 = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(format!("the body could not be read: {error}")))?;
        let Some(data) = frame.data_ref() else { continue };
        read += data.len() as u64;
        if read > BODY_BYTES_DROPPED_MAX {
            return Err(too_large);
        }
        if read <= BODY_BYTES_MAX {
            whole.extend_from_slice(data);
        }
    }
    if read > BODY_BYTES_MAX { Err(too_large) } else { Ok(Bytes::from(whole)) }
}

fn joined(headers: &HeaderMap, name: &header::HeaderName) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

/// Who asks, or who they ask to be taken for.
fn authenticate(shared: &Shared, certified: Option<&User>, headers: &HeaderMap) -> Result<User, Status> {
    let user = identify(shared, certified, headers)?;
    let text = |value: &HeaderValue| value.to_str().unwrap_or("").to_owned();
    let Some(wanted) = headers.get("impersonate-user").map(text) else { return Ok(user) };
    let groups = headers.get_all("impersonate-group").iter().map(text).collect();
    shared.read(|cluster| impersonate(cluster.store(), &user, &wanted, groups))
}

fn identify(shared: &Shared, certified: Option<&User>, headers: &HeaderMap) -> Result<User, Status> {
    if let Some(user) = certified {
        return Ok(user.clone());
    }
    let Some(given) = headers.get(header::AUTHORIZATION) else { return Ok(User::anonymous()) };
    let token = given.to_str().ok().and_then(|given| given.strip_prefix("Bearer ")).ok_or_else(Status::unauthorized)?;
    shared.read(|cluster| cluster.authenticate_token(token.trim()))
}

async fn answer(shared: &Arc<Shared>, request: &Request) -> Result<Response<Answer>, Status> {
    match shared.with(|cluster| cluster.handle(request))?? {
        Reply::Json { code, body, warnings } => {
            let mut response = json(code, &body);
            for warning in warnings.iter().take(10) {
                let text = format!("299 - \"{}\"", warning.replace('\\', "\\\\").replace('"', "\\\""));
                if let Ok(value) = HeaderValue::from_str(&text) {
                    response.headers_mut().append(header::WARNING, value);
                }
            }
            Ok(response)
        }
        Reply::Raw { content_type, body } => Ok(whole(200, content_type, body)),
        Reply::Watch(watch) => {
            let (sender, receiver) = mpsc::channel(4);
            spawn_local(stream_watch(shared.clone(), watch, sender));
            Ok(streamed("application/json", receiver))
        }
        Reply::Logs(query) => {
            let receiver = shared.runtime().logs(query).map_err(Status::bad_request)?;
            Ok(streamed("text/plain", receiver))
        }
    }
}

/// Writes what a watch selects until the client leaves, the watch expires or its time is up.
async fn stream_watch(shared: Arc<Shared>, mut watch: Box<Watch>, sender: mpsc::Sender<Bytes>) {
    let mut versions = shared.versions();
    let mut end = pin!(sleep(watch.timeout()));
    loop {
        versions.mark_unchanged();
        let (lines, over) = shared.read(|cluster| watch.read(cluster));
        if (!lines.is_empty() && sender.send(Bytes::from(lines)).await.is_err()) || over {
            return;
        }
        tokio::select! {
            biased;
            () = &mut end => return,
            () = sender.closed() => return,
            changed = versions.changed() => if changed.is_err() { return },
            () = sleep(BOOKMARK_PERIOD), if watch.wants_bookmarks() => {
                if sender.send(Bytes::from(watch.progress())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A response's body: all at once, or as it comes.
enum Answer {
    Whole(Option<Bytes>),
    Stream(mpsc::Receiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Answer::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Answer::Stream(receiver) => {
                receiver.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Answer::Whole(None))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Answer::Whole(bytes) => {
                hyper::body::SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Answer::Stream(_) => hyper::body::SizeHint::default(),
        }
    }
}

fn whole(code: u16, content_type: &'static str, body: Bytes) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Some(body)));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn json(code: u16, body: &serde_json::Value) -> Response<Answer> {
    let mut bytes = serde_json::to_vec(body).unwrap_or_default();
    bytes.push(b'\n');
    whole(code, "application/json", Bytes::from(bytes))
}

fn refusal(status: &Status) -> Response<Answer> {
    json(status.reason.code(), &status.to_value())
}

fn streamed(content_type: &'static str, receiver: mpsc::Receiver<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer::Stream(receiver));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
