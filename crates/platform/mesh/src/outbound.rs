//! A pod's connections out: accepted where they were captured, judged by where they wanted to go, joined to that.
//!
//! The pod's `connect` succeeds before anything is known about its destination, as with Istio and Linkerd. What cannot
//! be reached then shows as RST at once or after the attempts.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use atoll_kernel::{Endpoint, Link, NodeState, Plane};
use atoll_net::{Arrival, Connection, Peer, dial};
use nix::sys::socket::{getsockopt, sockopt::OriginalDst};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::PART;
use crate::mesh::{Caller, Shared};
use crate::metrics::{Counters, add};
use crate::route::{Route, route};
use crate::streams::{Stream, join};
use crate::tunnel;

/// How long one endpoint may take to accept a connection: Linkerd's outbound connect timeout, 1000 ms
/// (`LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT`). It is what a cut costs before the next endpoint is tried.
pub(crate) const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// How long the world outside may take: Envoy's and Istio's connect timeout, 10 s.
const OUTSIDE_CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Endpoints of a service that are tried for one connection.
const ATTEMPTS_MAX: usize = 3;
/// Open connections of one pod, or of one ingress port; more wait in the listen queue.
pub(crate) const CONNECTIONS_MAX: usize = 4096;
/// How long accepting rests after an error such as too many open files.
pub(crate) const REST_AFTER_ERROR: Duration = Duration::from_millis(50);

/// Serves a pod's captured connections until the task is ended.
pub(crate) async fn serve(shared: Arc<Shared>, caller: Caller, capture: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = capture.accept().await else {
            tokio::time::sleep(REST_AFTER_ERROR).await;
            continue;
        };
        let (shared, caller) = (shared.clone(), caller.clone());
        tokio::spawn(async move {
            serve_one(&shared, &caller, stream).await;
            drop(place);
        });
    }
}

/// Where a connection may go, taken out of the table so that nothing borrows it.
struct Plan {
    /// For the metrics.
    destination: String,
    /// In any order; one that fails is replaced by another.
    targets: Vec<SocketAddrV4>,
}

fn plan(shared: &Shared, to: SocketAddrV4) -> Plan {
    let table = shared.table();
    let one = |destination: &str, target| Plan { destination: destination.into(), targets: vec![target] };
    match route(&table, to) {
        Route::Service(service, port) => {
            let targets = service.targets(port).into_iter().map(|(ip, port)| SocketAddrV4::new(ip, port));
            Plan { destination: service.key(), targets: targets.collect() }
        }
        Route::Pod(_) => one("pod", to),
        Route::Engine(..) => one("engine", to),
        Route::Host(_) => one("host", to),
        Route::Outside(_) => one("outside", to),
        Route::Nowhere => Plan { destination: "nowhere".into(), targets: Vec::new() },
    }
}

async fn serve_one(shared: &Shared, caller: &Caller, stream: TcpStream) {
    let Some(to) = original_destination(&stream) else { return stream.reset() };
    let plan = plan(shared, to);
    let counters = shared.metrics.of(&plan.destination);
    let (engines, others) = plan.targets.into_iter().partition(|target| is_engine(shared, *target));
    let mut stream = match hand_over(shared, caller, stream, engines, &counters) {
        None => return,
        Some(stream) => stream,
    };
    if others.is_empty() || stream.set_nodelay(true).is_err() {
        return stream.reset();
    }
    serve_targets(shared, caller, &mut stream, &others, &counters).await;
}

/// Whether an engine of this process listens there, which takes the captured socket itself.
fn is_engine(shared: &Shared, target: SocketAddrV4) -> bool {
    match route(&shared.table(), target) {
        Route::Engine(node, port) => shared.host.doors.is_open(node, port),
        _ => false,
    }
}

/// Gives the captured socket to one of the engines' listeners: there is no copy, and the engine knows the pod. The
/// socket comes back if there are no engines among the targets, or none of them lives.
fn hand_over(
    shared: &Shared,
    caller: &Caller,
    mut stream: TcpStream,
    mut engines: Vec<SocketAddrV4>,
    counters: &Counters,
) -> Option<TcpStream> {
    let peer = Peer::Pod { node: caller.node, ip: caller.ip };
    loop {
        let now = shared.host.kernel.now();
        let Some(target) = shared.balancer.lock().pick(&engines, now) else { return Some(stream) };
        // How long the engine keeps it is not known here: engines are taken in turn.
        shared.balancer.lock().closed(target);
        engines.retain(|engine| *engine != target);
        let Route::Engine(node, port) = route(&shared.table(), target) else { continue };
        // A dead node's listener would keep the socket until the node comes back.
        if matches!(shared.host.kernel.node_state(node), NodeState::Killed | NodeState::Stopped) {
            add(&counters.failures, 1);
            continue;
        }
        // Only a socket that is broken already cannot change hands.
        let handed = shared.host.doors.hand_over(node, port, Arrival { stream: stream.into_std().ok()?, peer });
        match handed {
            Ok(()) => {
                add(&counters.connections, 1);
                return None;
            }
            Err((_, arrival)) => {
                add(&counters.failures, 1);
                stream = TcpStream::from_std(arrival.stream).ok()?;
            }
        }
    }
}

/// Connects to the best of the targets that can be connected to, and joins the caller with it.
pub(crate) async fn serve_targets(
    shared: &Shared,
    caller: &Caller,
    stream: &mut dyn Stream,
    targets: &[SocketAddrV4],
    counters: &Counters,
) {
    let mut candidates = targets.to_vec();
    for _ in 0..ATTEMPTS_MAX {
        let picked = shared.balancer.lock().pick(&candidates, shared.host.kernel.now());
        let Some(target) = picked else { break };
        // Given back also if this task is ended.
        let _counted = Counted { shared, target };
        match connect(shared, caller, target).await {
            Ok(mut connected) => {
                shared.balancer.lock().succeeded(target);
                add(&counters.connections, 1);
                let _open = Open::count(counters);
                return join(stream, &mut *connected, counters).await;
            }
            Err(_) => {
                shared.balancer.lock().failed(target, shared.host.kernel.now());
                add(&counters.failures, 1);
                candidates.retain(|candidate| *candidate != target);
            }
        }
    }
    stream.reset();
}

/// A connection that the balancer counts.
struct Counted<'s> {
    shared: &'s Shared,
    target: SocketAddrV4,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.shared.balancer.lock().closed(self.target);
    }
}

/// A connection that the metrics count as open.
struct Open<'c>(&'c Counters);

impl<'c> Open<'c> {
    fn count(counters: &'c Counters) -> Self {
        add(&counters.open, 1);
        Self(counters)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Connects to one address on behalf of a caller, under the rules of the link that it crosses.
async fn connect(shared: &Shared, caller: &Caller, to: SocketAddrV4) -> io::Result<Box<dyn Stream>> {
    let host = &shared.host;
    let link = |to| Link { from: Endpoint::Node(caller.node), to, plane: Plane::Client, part: PART };
    let decided = match route(&shared.table(), to) {
        Route::Pod(_) => None,
        Route::Engine(node, port) => {
            let address = host.address(node, port).ok_or(io::ErrorKind::AddrNotAvailable)?;
            Some((link(Endpoint::Node(node)), address, CONNECT_TIME_MAX))
        }
        Route::Host(port) => {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            Some((link(Endpoint::Client), address, CONNECT_TIME_MAX))
        }
        Route::Outside(address) => Some((link(Endpoint::Client), address.into(), OUTSIDE_CONNECT_TIME_MAX)),
        // A service that names another service's address as its endpoint would go round in circles.
        Route::Service(..) | Route::Nowhere => return Err(io::ErrorKind::ConnectionRefused.into()),
    };
    if let Some((link, address, patience)) = decided {
        return Ok(Box::new(dial(host, link, address, patience).await?));
    }
    let pod = shared.pod(*to.ip()).ok_or(io::ErrorKind::HostUnreachable)?;
    if pod.caller.node != caller.node {
        return Ok(Box::new(tunnel::connect(shared, caller, &pod, to.port()).await?));
    }
    let stream = timeout(CONNECT_TIME_MAX, pod.door.connect(to.port(), caller.ip)).await??;
    Ok(Box::new(Connection::adopt(host, link(Endpoint::Node(pod.caller.node)), stream.into_std()?)?))
}

/// Where a captured connection wanted to go (`SO_ORIGINAL_DST`); `None` if it was made to the capture port itself.
fn original_destination(stream: &TcpStream) -> Option<SocketAddrV4> {
    let found = getsockopt(stream, OriginalDst).ok()?;
    let ip = Ipv4Addr::from(u32::from_be(found.sin_addr.s_addr));
    let to = SocketAddrV4::new(ip, u16::from_be(found.sin_port));
    (!ip.is_loopback()).then_some(to)
}
