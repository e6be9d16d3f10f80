//! The only async file: sockets on one side, the core on the other.
//!
//! One thread serves all brokers. A connection's requests are handled one after the other, as Kafka does it: while one waits
//! for its answer, those behind it wait in the socket. What is ready is written in as few calls as possible.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use atoll_kernel::{Context, NodeId};
use atoll_net::{Connection, EngineThread, Host, Limits, Listener, Live, Peer, Permits, engine_thread};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use crate::cluster::{ANONYMOUS, Caller, Cluster, Outcome, PART, Side, Ticket};
use crate::config::Config;
use crate::ops;
use crate::wire::{DecodeError, RequestFrame, decode_request, encode_response};

/// What is read at once; a larger request is read in several steps, so that its length sizes nothing before it has come.
const READ_SIZE: usize = 64 << 10;
/// While a request waits for its answer, no more than this is read of those behind it.
const READ_AHEAD_MAX: usize = 1 << 20;
/// As many pieces are given to the operating system at once.
const PIECES_MAX: usize = 64;

/// A Kafka cluster that runs.
#[derive(Debug)]
pub struct Handle {
    thread: EngineThread,
    addresses: Vec<(NodeId, SocketAddr)>,
    questions: mpsc::UnboundedSender<Question>,
}

/// Somebody on another thread wants to know the cluster's status.
type Question = blocking::SyncSender<serde_json::Value>;

impl Handle {
    /// Where each broker listens.
    pub fn addresses(&self) -> &[(NodeId, SocketAddr)] {
        &self.addresses
    }

    /// What clients are given to begin with: `127.0.0.1:9092,127.0.0.2:9092`.
    pub fn bootstrap_servers(&self) -> String {
        self.addresses.iter().map(|(_, address)| address.to_string()).collect::<Vec<_>>().join(",")
    }

    /// What the controller knows: `leaders`, an object from `topic-partition` to a node or null, and
    /// `underReplicatedPartitions`. Null if the engine has ended. Blocks for one turn of its loop: not for its own thread.
    pub fn status(&self) -> serde_json::Value {
        let (answer, answered) = blocking::sync_channel(1);
        let is_asked = self.questions.send(answer).is_ok();
        if is_asked { answered.recv().unwrap_or_default() } else { serde_json::Value::Null }
    }

    /// Ends all connections and waits until the engine's thread has ended. Blocks: not for async code.
    pub fn shut_down(&self) {
        self.thread.shut_down();
    }
}

/// The engine, as the binary starts it.
#[derive(Debug)]
pub struct Kafka;

impl Kafka {
    /// Binds every node's address, opens the logs and serves, all before it returns. The error says which address is taken
    /// or which file cannot be read. Blocks.
    pub fn start(config: Config, host: Host) -> io::Result<Handle> {
        Kafka::serve(Kafka::bind(&config, &host)?, config, host)
    }

    /// Binds every node's address, so that a stack learns of taken ports before it starts anything.
    pub fn bind(config: &Config, host: &Host) -> io::Result<Vec<Listener>> {
        let permits = Permits::new(Limits { connections_max: config.max_connections });
        let mut listeners: Vec<Listener> = Vec::new();
        for node in host.kernel.nodes() {
            // Port 0 is any free one, and then the same for all nodes, since brokers differ by address.
            let port = listeners.first().map_or(config.port, Listener::port);
            listeners.push(Listener::bind(host, PART, node.config.id, port, permits.clone())?);
        }
        Ok(listeners)
    }

    /// Serves on listeners from [`Kafka::bind`].
    pub fn serve(listeners: Vec<Listener>, config: Config, host: Host) -> io::Result<Handle> {
        let address = |listener: &Listener| listener.address().map(|address| (listener.node(), address));
        let addresses = listeners.iter().map(address).collect::<io::Result<Vec<_>>>()?;
        let (questions, asked) = mpsc::unbounded_channel();
        let thread =
            engine_thread("kafka", move |ready, shutdown| run(listeners, config, host, asked, ready, shutdown))?;
        Ok(Handle { thread, addresses, questions })
    }
}

/// What the tasks of the engine's thread share.
struct Shared {
    live: Rc<Live<Cluster>>,
    host: Host,
    request_size_max: usize,
    idle_max: Duration,
    waiting: RefCell<HashMap<Ticket, oneshot::Sender<Outcome>>>,
    tickets: Cell<Ticket>,
}

async fn run(
    listeners: Vec<Listener>,
    config: Config,
    host: Host,
    mut questions: mpsc::UnboundedReceiver<Question>,
    ready: oneshot::Sender<io::Result<()>>,
    shutdown: Arc<Notify>,
) {
    let port = listeners.first().map_or(config.port, Listener::port);
    let (request_size_max, idle_max_ms) = (config.socket_request_max_bytes, config.connections_max_idle_ms);
    let opened =
        Cluster::open(&Context::new(&host.kernel), config, port, Arc::clone(&host.disk)).map_err(io::Error::other);
    let threaded = opened.and_then(|mut cluster| cluster.sync_on_a_thread().map(|()| cluster));
    let cluster = match threaded {
        Ok(cluster) => cluster,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let shared = Rc::new(Shared {
        live: Live::new(&host.kernel, cluster),
        host,
        request_size_max: usize::try_from(request_size_max).unwrap_or(0),
        idle_max: Duration::from_millis(idle_max_ms),
        waiting: RefCell::default(),
        tickets: Cell::new(0),
    });
    for listener in listeners {
        tokio::task::spawn_local(accept(Rc::clone(&shared), listener));
    }
    let driving = Rc::clone(&shared);
    tokio::task::spawn_local(async move { driving.live.drive(|cluster, _| driving.hand_out(cluster)).await });
    let _ = ready.send(Ok(()));
    loop {
        tokio::select! {
            biased;
            () = shutdown.notified() => return,
            Some(question) = questions.recv() => {
                // Who asked may have gone away.
                let _ = question.send(shared.live.with(|cluster, _| status(cluster)));
            }
        }
    }
}

fn status(cluster: &Cluster) -> serde_json::Value {
    let mut leaders = serde_json::Map::new();
    let mut under_replicated = 0_u64;
    for (name, topic) in &cluster.authority.topics {
        for (index, partition) in topic.partitions.iter().enumerate() {
            leaders.insert(format!("{name}-{index}"), serde_json::json!(partition.leader));
            under_replicated += u64::from(partition.isr.len() < partition.replicas.len());
        }
    }
    serde_json::json!({
        "healthy": under_replicated == 0,
        "underReplicatedPartitions": under_replicated,
        "leaders": leaders,
    })
}

async fn accept(shared: Rc<Shared>, mut listener: Listener) {
    loop {
        let connection = listener.accept(&shared.host).await;
        if connection.is_over_limit() {
            continue;
        }
        let shared = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            // However a connection ends, its client knows; there is nobody else to tell.
            let _ = shared.serve_connection(connection).await;
        });
    }
}

impl Shared {
    /// Passes answers on to the connections that wait for them.
    fn hand_out(&self, cluster: &mut Cluster) {
        if !cluster.has_answers() {
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        for (ticket, outcome) in cluster.take_answers() {
            if let Some(sender) = waiting.remove(&ticket) {
                let _ = sender.send(outcome);
            }
        }
    }

    async fn serve_connection(&self, mut connection: Connection) -> io::Result<()> {
        let mut input = BytesMut::new();
        let mut output = VecDeque::new();
        loop {
            while let Some(frame) = self.next_frame(&mut input)? {
                match self.handle(&mut connection, frame, &mut input, &mut output).await? {
                    Next::Go => {}
                    Next::Close => {
                        self.write(&mut connection, &mut output).await?;
                        return connection.shutdown().await;
                    }
                }
            }
            self.write(&mut connection, &mut output).await?;
            let missing = self.missing(&input);
            input.reserve(missing.clamp(4096, READ_SIZE));
            let read = within(self.idle_max, connection.read_buf(&mut input)).await?;
            if read == 0 {
                return Ok(());
            }
        }
    }

    /// Takes the next whole request off the front.
    fn next_frame(&self, input: &mut BytesMut) -> io::Result<Option<Bytes>> {
        let Some(length) = input.get(..4).and_then(|length| length.try_into().ok()).map(i32::from_be_bytes) else {
            return Ok(None);
        };
        let allowed = usize::try_from(length).ok().filter(|length| *length <= self.request_size_max);
        let Some(length) = allowed else { return Err(io::ErrorKind::InvalidData.into()) };
        if input.len() < 4 + length {
            return Ok(None);
        }
        input.advance(4);
        Ok(Some(input.split_to(length).freeze()))
    }

    /// How many bytes the request at the front still lacks.
    fn missing(&self, input: &BytesMut) -> usize {
        let length = input.get(..4).and_then(|length| length.try_into().ok()).map(i32::from_be_bytes);
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(READ_SIZE);
        (length + 4).saturating_sub(input.len())
    }

    /// Handles one request, and waits for its answer if that takes time.
    async fn handle(
        &self,
        connection: &mut Connection,
        frame: Bytes,
        input: &mut BytesMut,
        output: &mut VecDeque<Bytes>,
    ) -> io::Result<Next> {
        let RequestFrame { version, correlation_id, client_id, request } = match decode_request(frame) {
            Ok(frame) => frame,
            Err(DecodeError::UnsupportedApiVersions { correlation_id, .. }) => {
                output.extend(encode_response(&ops::unsupported_api_versions(), 0, correlation_id));
                return Ok(Next::Go);
            }
            Err(DecodeError::Unsupported { .. } | DecodeError::Malformed(_)) => return Ok(Next::Close),
        };
        let caller = self.caller(connection, client_id, version);
        let mut answer = None;
        let mut outcome = self.live.with(|cluster, ctx| {
            let outcome = cluster.apply(ctx, &caller, request);
            if outcome == Outcome::Parked {
                let (sender, receiver) = oneshot::channel();
                self.waiting.borrow_mut().insert(caller.ticket, sender);
                answer = Some(receiver);
            }
            self.hand_out(cluster);
            outcome
        });
        if let Some(answer) = answer {
            self.write(connection, output).await?;
            outcome = self.wait(connection, input, caller.ticket, answer).await?;
        }
        match outcome {
            Outcome::Reply(response) => output.extend(encode_response(&response, version, correlation_id)),
            Outcome::Silent => {}
            Outcome::Close | Outcome::Parked => return Ok(Next::Close),
        }
        if output.iter().map(Bytes::len).sum::<usize>() > READ_AHEAD_MAX {
            self.write(connection, output).await?;
        }
        Ok(Next::Go)
    }

    /// Waits for an answer, and meanwhile for the client to hang up.
    async fn wait(
        &self,
        connection: &mut Connection,
        input: &mut BytesMut,
        ticket: Ticket,
        mut answer: oneshot::Receiver<Outcome>,
    ) -> io::Result<Outcome> {
        let _forget = Forget { shared: self, ticket };
        loop {
            if input.len() >= READ_AHEAD_MAX {
                return Ok(answer.await.unwrap_or(Outcome::Close));
            }
            input.reserve(4096);
            tokio::select! {
                biased;
                outcome = &mut answer => return Ok(outcome.unwrap_or(Outcome::Close)),
                read = connection.read_buf(input) => if read? == 0 {
                    return Ok(Outcome::Close);
                }
            }
        }
    }

    fn caller(&self, connection: &Connection, client_id: Option<String>, version: i16) -> Caller {
        let ticket = self.tickets.get();
        self.tickets.set(ticket + 1);
        let (side, host) = match connection.peer() {
            Peer::Host => {
                (Side::Host, connection.peer_address().map_or(String::new(), |address| format!("/{}", address.ip())))
            }
            Peer::Pod { ip, .. } => (Side::Pod, format!("/{ip}")),
        };
        Caller {
            node: connection.node(),
            side,
            host,
            client_id: client_id.unwrap_or_default(),
            version,
            ticket,
            principal: ANONYMOUS.to_owned(),
            may_hold_tokens: false,
        }
    }

    async fn write(&self, connection: &mut Connection, output: &mut VecDeque<Bytes>) -> io::Result<()> {
        while !output.is_empty() {
            let slices: Vec<IoSlice<'_>> = output.iter().take(PIECES_MAX).map(|piece| IoSlice::new(piece)).collect();
            let mut written = within(self.idle_max, connection.write_vectored(&slices)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            while let Some(piece) = output.front_mut() {
                if written < piece.len() {
                    piece.advance(written);
                    break;
                }
                written -= piece.len();
                output.pop_front();
            }
        }
        Ok(())
    }
}

/// What a connection does after a request.
enum Next {
    Go,
    Close,
}

/// However the wait for an answer ends, the core forgets who waited.
struct Forget<'s> {
    shared: &'s Shared,
    ticket: Ticket,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if self.shared.waiting.borrow_mut().remove(&self.ticket).is_some() {
            self.shared.live.with(|cluster, _| cluster.cancel(self.ticket));
        }
    }
}

async fn within<T>(patience: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(patience, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
