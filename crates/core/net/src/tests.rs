//! The four appearances of trouble, seen by a plain TCP client. Each test listens on loopback, on a port of the system's choice.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use atoll_kernel::disk::MemoryDisk;
use atoll_kernel::{
    Context, Core, Endpoint, Fault, FaultEvent, Kernel, Link, Moment, NodeConfig, NodeId, Pattern, Plane, Rule, Seed,
    Verdict,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{Arrival, Connection, Host, Limits, Listener, Live, Peer, Permits, dial, engine_thread};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
/// Long enough for anything that comes to come, and the price of each test that proves silence.
const A_WHILE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);

fn host() -> Host {
    // Instance 77 keeps clear of stacks that run on this machine.
    let nodes = (1..=3).map(|number| NodeConfig::numbered(77, number)).collect();
    Host::new(Kernel::live(nodes, Seed(1)), Arc::new(MemoryDisk::ephemeral()), None)
}

/// A node's server that sends back what it gets, and the address at which it does.
fn echo_server(host: &Host, node: NodeId) -> SocketAddr {
    let mut listener = Listener::bind(host, "test", node, 0, Permits::new(Limits::default())).expect("loopback");
    let address = listener.address().expect("bound");
    let host = host.clone();
    tokio::spawn(async move {
        loop {
            let connection = listener.accept(&host).await;
            tokio::spawn(echo(connection));
        }
    });
    address
}

async fn echo(mut connection: Connection) {
    let mut buffer = [0; 64];
    while let Ok(length @ 1..) = connection.read(&mut buffer).await {
        if connection.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn ask(client: &mut TcpStream, question: &[u8]) -> std::io::Result<Vec<u8>> {
    client.write_all(question).await?;
    let mut answer = vec![0; question.len()];
    client.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_killed_node_resets_and_refuses_and_serves_again_when_started() {
    let host = host();
    let address = echo_server(&host, ONE);
    let mut client = TcpStream::connect(address).await.expect("alive");
    assert_eq!(ask(&mut client, b"hello").await.expect("alive"), b"hello");

    host.kernel.inject(&Fault::Kill(ONE));
    assert_eq!(client.read(&mut [0; 1]).await.expect_err("dead").kind(), ErrorKind::ConnectionReset);
    refused(address).await;

    host.kernel.inject(&Fault::Start(ONE));
    let mut client = accepted(address).await;
    assert_eq!(ask(&mut client, b"again").await.expect("alive"), b"again");
}

/// Connects until it is refused: the listener closes in its own task.
async fn refused(address: SocketAddr) {
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    timeout(PATIENCE, refused).await.expect("a dead node refuses");
}

async fn accepted(address: SocketAddr) -> TcpStream {
    let accepted = async {
        loop {
            if let Ok(stream) = TcpStream::connect(address).await {
                return stream;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, accepted).await.expect("a started node accepts")
}

#[tokio::test]
async fn a_stopped_node_finishes_its_connections() {
    let host = host();
    let address = echo_server(&host, ONE);
    let mut client = TcpStream::connect(address).await.expect("alive");
    assert_eq!(ask(&mut client, b"hello").await.expect("alive"), b"hello");
    host.kernel.inject(&Fault::Stop(ONE));
    assert_eq!(client.read(&mut [0; 1]).await.expect("an end in order"), 0);
    refused(address).await;
}

#[tokio::test]
async fn a_paused_node_accepts_and_hangs_and_then_answers() {
    let host = host();
    let address = echo_server(&host, ONE);
    host.kernel.inject(&Fault::Pause(ONE));
    let mut client = TcpStream::connect(address).await.expect("the operating system accepts");
    client.write_all(b"hello").await.expect("the operating system buffers");
    let mut answer = [0; 5];
    assert!(timeout(A_WHILE, client.read_exact(&mut answer)).await.is_err(), "a paused node answered");
    host.kernel.inject(&Fault::Resume(ONE));
    timeout(PATIENCE, client.read_exact(&mut answer)).await.expect("in time").expect("awake");
    assert_eq!(&answer, b"hello");
}

#[tokio::test]
async fn a_cut_link_is_silent_in_its_own_direction_and_loses_nothing() {
    let host = host();
    let address = echo_server(&host, ONE);
    let mut client = TcpStream::connect(address).await.expect("alive");
    assert_eq!(ask(&mut client, b"hello").await.expect("alive"), b"hello");

    let cut = host.kernel.rule(Rule::new(Pattern::node(ONE), Pattern::Client, Verdict::Drop));
    client.write_all(b"later").await.expect("buffered");
    let mut answer = [0; 5];
    assert!(timeout(A_WHILE, client.read_exact(&mut answer)).await.is_err(), "a cut link spoke");
    drop(cut);
    timeout(PATIENCE, client.read_exact(&mut answer)).await.expect("in time").expect("healed");
    assert_eq!(&answer, b"later");
}

#[tokio::test]
async fn a_write_shows_whether_anybody_is_there_to_read() {
    for closes in [true, false] {
        let host = host();
        let mut listener = Listener::bind(&host, "test", ONE, 0, Permits::new(Limits::default())).expect("loopback");
        let mut client = TcpStream::connect(listener.address().expect("bound")).await.expect("alive");
        let mut connection = listener.accept(&host).await;
        // Whoever has only ended its own side may still read.
        client.shutdown().await.expect("open");
        let client = (!closes).then_some(client);
        connection.write_all(b"late").await.expect("the operating system takes it");
        assert_eq!(connection.has_hung_up(), closes);
        drop(client);
    }
}

#[tokio::test]
async fn a_rule_can_reset_and_delay() {
    let host = host();
    let address = echo_server(&host, ONE);
    let delay = Verdict::Delay(Duration::from_millis(30));
    let slow = host.kernel.rule(Rule::new(Pattern::Client, Pattern::node(ONE), delay));
    let mut client = TcpStream::connect(address).await.expect("alive");
    let asked = host.kernel.now();
    assert_eq!(ask(&mut client, b"hello").await.expect("slow, but alive"), b"hello");
    assert!(host.kernel.now().since(asked) >= Duration::from_millis(30));
    drop(slow);

    let reset = host.kernel.rule(Rule::new(Pattern::Client, Pattern::node(ONE), Verdict::Reset));
    assert_eq!(client.read(&mut [0; 1]).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
    drop(reset);
}

#[tokio::test]
async fn a_captured_socket_is_handed_over_and_judged_as_its_pods_node() {
    let host = host();
    let address = echo_server(&host, ONE);
    let pair = std::net::TcpListener::bind((Ipv4Addr::new(127, 77, 0, 9), 0)).expect("loopback");
    let mut pod = TcpStream::connect(pair.local_addr().expect("bound")).await.expect("loopback");
    let (captured, _) = pair.accept().expect("loopback");
    let peer = Peer::Pod { node: TWO, ip: Ipv4Addr::new(10, 244, 2, 5) };
    host.doors.hand_over(ONE, address.port(), Arrival { stream: captured, peer }).expect("somebody listens");
    assert_eq!(ask(&mut pod, b"hello").await.expect("alive"), b"hello");

    let _cut = host.kernel.rule(Rule::new(Pattern::node(TWO), Pattern::node(ONE), Verdict::Drop));
    assert!(timeout(A_WHILE, ask(&mut pod, b"x")).await.is_err(), "the pod's node is cut off");
    assert_eq!(host.advertised(ONE, peer), Some(Ipv4Addr::new(10, 240, 0, 1)));
    assert_eq!(host.advertised(ONE, Peer::Host), Some(Ipv4Addr::new(127, 77, 0, 1)));
}

#[tokio::test]
async fn a_dialled_connection_is_judged_too() {
    let host = host();
    let address = echo_server(&host, TWO);
    let from = Endpoint::Node(ONE);
    let link = Link { from, to: Endpoint::Node(TWO), plane: Plane::Client, part: "test" };
    let mut connection = dial(&host, link, address, PATIENCE).await.expect("healthy");
    connection.write_all(b"hello").await.expect("healthy");
    let mut answer = [0; 5];
    connection.read_exact(&mut answer).await.expect("healthy");
    let _cut = host.kernel.rule(Rule::new(Pattern::node(TWO), Pattern::node(ONE), Verdict::Drop));
    assert!(timeout(A_WHILE, connection.read(&mut answer)).await.is_err());
    assert_eq!(dial(&host, link, address, A_WHILE).await.expect_err("cut").kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn one_connection_too_many_is_marked() {
    let host = host();
    let permits = Permits::new(Limits { connections_max: 1 });
    let mut listener = Listener::bind(&host, "test", ONE, 0, permits.clone()).expect("loopback");
    let address = listener.address().expect("bound");
    let _clients = (TcpStream::connect(address).await, TcpStream::connect(address).await);
    let first = listener.accept(&host).await;
    assert!(!first.is_over_limit() && listener.accept(&host).await.is_over_limit());
    drop(first);
    assert_eq!(permits.living(), 0);
}

/// A core that wants to be woken every 10 ms, five times.
struct Alarm {
    rings: u64,
    events: u64,
}

impl Core for Alarm {
    fn on_fault(&mut self, _: &Context<'_>, _: &FaultEvent) {
        self.events += 1;
    }

    fn advance(&mut self, ctx: &Context<'_>) {
        while self.next_wake().is_some_and(|wake| wake <= ctx.now()) {
            self.rings += 1;
        }
    }

    fn next_wake(&self) -> Option<Moment> {
        (self.rings < 5).then(|| Moment::from_millis(10 * (self.rings + 1)))
    }
}

#[test]
fn a_live_core_is_woken_when_it_asked_and_when_something_happens() {
    let host = host();
    let kernel = host.kernel.clone();
    let (report, reported) = std::sync::mpsc::channel();
    let engine = engine_thread("alarm", move |ready, shutdown| async move {
        let live = Live::new(&kernel, Alarm { rings: 0, events: 0 });
        ready.send(Ok(())).expect("the starter waits");
        tokio::select! {
            () = live.drive(|_, _| {}, |alarm, _| report.send((alarm.rings, alarm.events)).expect("the test listens")) => {}
            () = shutdown.notified() => {}
        }
    })
    .expect("started");
    let ring = |wanted: (u64, u64)| while reported.recv_timeout(PATIENCE).expect("a ring") != wanted {};
    ring((5, 0));
    host.kernel.inject(&Fault::Pause(TWO));
    ring((5, 1));
    engine.shut_down();
}
