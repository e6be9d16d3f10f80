//! The only async file: sockets on one side, the core on the other.
//!
//! One thread serves all brokers. A connection's requests are handled one after the other, as Kafka does it: while one waits
//! for its answer, those behind it wait in the socket. What is ready is written in as few calls as possible. The core is told
//! which answers have left, and which never will.

mod outbox;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use atoll_kernel::{Context, NodeId};
use atoll_net::{
    Connection, EngineThread, Host, Limits, Listener, Live, Peer, Permits, Transport, engine_thread, within,
};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::cluster::{Caller, Cluster, Outcome, PART, Side, Ticket};
use crate::config::Config;
use crate::ops;
use crate::quotas::Usage;
use crate::security::{Authorizer, Certificates, ListenerOptions, Session, tls};
use crate::transport;
use crate::wire::{DecodeError, RequestFrame, decode_request, encode_response};
use outbox::Outbox;

/// What is read at once; a larger request is read in several steps, so that its length sizes nothing before it has come.
const READ_SIZE: usize = 64 << 10;
/// While a request waits for its answer, no more than this is read of those behind it.
const READ_AHEAD_MAX: usize = 1 << 20;

/// A Kafka cluster that runs.
#[derive(Debug)]
pub struct Handle {
    thread: EngineThread,
    addresses: BTreeMap<String, Vec<(NodeId, SocketAddr)>>,
    first: String,
    questions: mpsc::UnboundedSender<Question>,
}

/// Somebody on another thread wants to know the cluster's status.
type Question = blocking::SyncSender<serde_json::Value>;

impl Handle {
    /// Where each broker listens, over the first listener of the option.
    pub fn addresses(&self) -> &[(NodeId, SocketAddr)] {
        self.addresses.get(&self.first).map(Vec::as_slice).unwrap_or_default()
    }

    /// Where each broker listens, by the listener's name.
    pub fn listeners(&self) -> &BTreeMap<String, Vec<(NodeId, SocketAddr)>> {
        &self.addresses
    }

    /// What clients are given to begin with: `127.0.0.1:9092,127.0.0.2:9092`.
    pub fn bootstrap_servers(&self) -> String {
        self.addresses().iter().map(|(_, address)| address.to_string()).collect::<Vec<_>>().join(",")
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
    /// Binds every node's address, opens the logs and serves, all before it returns. `ours` stands in for keystores and
    /// truststores of TLS listeners that have none in their options. The error says which address is taken, which file
    /// cannot be read, or which option cannot be meant. Blocks.
    pub fn start(config: Config, host: Host, ours: Option<&Certificates>) -> io::Result<Handle> {
        Kafka::serve(Kafka::bind(&config, &host, ours)?, config, host)
    }

    /// Binds every node's address, so that a stack learns of taken ports before it starts anything.
    pub fn bind(config: &Config, host: &Host, ours: Option<&Certificates>) -> io::Result<Bound> {
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidInput, reason);
        let permits = Permits::new(Limits { connections_max: config.max_connections });
        Authorizer::of(config).map_err(invalid)?;
        let mut listeners = Vec::new();
        for options in config.listeners().map_err(invalid)? {
            let tls = options.tls.as_ref().map(|options| tls::server_config(options, ours));
            let tls = tls.transpose().map_err(|reason| invalid(format!("listener {}: {reason}", options.name)))?;
            let mut sockets: Vec<Listener> = Vec::new();
            for node in host.kernel.nodes() {
                // Port 0 is any free one, and then the same for all nodes, since brokers differ by address.
                let port = sockets.first().map_or(options.port, Listener::port);
                sockets.push(Listener::bind(host, PART, node.config.id, port, permits.clone())?);
            }
            listeners.push(BoundListener { options: Arc::new(options), tls, sockets });
        }
        Ok(Bound { listeners })
    }

    /// Serves on listeners from [`Kafka::bind`].
    pub fn serve(bound: Bound, config: Config, host: Host) -> io::Result<Handle> {
        let address = |listener: &Listener| listener.address().map(|address| (listener.node(), address));
        let mut addresses = BTreeMap::new();
        for BoundListener { options, sockets, .. } in &bound.listeners {
            let all = sockets.iter().map(address).collect::<io::Result<Vec<_>>>()?;
            addresses.insert(options.name.clone(), all);
        }
        let first = bound.listeners.first().map(|listener| listener.options.name.clone()).unwrap_or_default();
        let (questions, asked) = mpsc::unbounded_channel();
        let thread = engine_thread("kafka", move |ready, shutdown| run(bound, config, host, asked, ready, shutdown))?;
        Ok(Handle { thread, addresses, first, questions })
    }
}

/// The listeners of all brokers, bound and not yet served.
pub struct Bound {
    listeners: Vec<BoundListener>,
}

struct BoundListener {
    options: Arc<ListenerOptions>,
    tls: Option<Arc<ServerConfig>>,
    /// One on every node.
    sockets: Vec<Listener>,
}

/// What the tasks of the engine's thread share.
struct Shared {
    live: Rc<Live<Cluster>>,
    host: Host,
    limits: ServerLimits,
    waiting: RefCell<HashMap<Ticket, oneshot::Sender<Outcome>>>,
    /// Told when a broker halts.
    halts: BTreeMap<NodeId, Notify>,
    tickets: Cell<Ticket>,
}

/// Limits by the broker's options.
struct ServerLimits {
    request_size_max: usize,
    /// Of a request before its client is authenticated.
    token_size_max: usize,
    idle_max: Duration,
    refusal_delay: Duration,
}

impl ServerLimits {
    fn of(config: &Config) -> ServerLimits {
        ServerLimits {
            request_size_max: usize::try_from(config.socket_request_max_bytes).unwrap_or(0),
            token_size_max: usize::try_from(config.security.sasl_server_max_receive_size).unwrap_or(0),
            idle_max: Duration::from_millis(config.connections_max_idle_ms),
            refusal_delay: Duration::from_millis(config.security.connection_failed_authentication_delay_ms),
        }
    }
}

/// A listener of one broker, as its connections know it.
#[derive(Clone)]
struct Door {
    options: Arc<ListenerOptions>,
    tls: Option<Arc<ServerConfig>>,
    port: u16,
}

/// One client's connection.
struct Client<'s> {
    transport: Transport,
    session: Session,
    port: u16,
    /// Its address, as groups show it.
    host: String,
    /// What it has sent that is not yet handled.
    input: BytesMut,
    /// What it is to be sent.
    output: Outbox<'s>,
}

async fn run(
    bound: Bound,
    config: Config,
    host: Host,
    mut questions: mpsc::UnboundedReceiver<Question>,
    ready: oneshot::Sender<io::Result<()>>,
    shutdown: Arc<Notify>,
) {
    let limits = ServerLimits::of(&config);
    let opened = Cluster::open(&Context::new(&host.kernel), config, Arc::clone(&host.disk)).map_err(io::Error::other);
    let threaded = opened.and_then(|mut cluster| cluster.sync_on_a_thread().map(|()| cluster));
    let cluster = match threaded {
        Ok(cluster) => cluster,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let sockets = bound.listeners.iter().flat_map(|listener| &listener.sockets);
    let halts = sockets.map(|socket| (socket.node(), Notify::new())).collect();
    let shared = Rc::new(Shared {
        live: Live::new(&host.kernel, cluster),
        host,
        limits,
        waiting: RefCell::default(),
        halts,
        tickets: Cell::new(0),
    });
    for BoundListener { options, tls, sockets } in bound.listeners {
        for socket in sockets {
            let door = Door { options: Arc::clone(&options), tls: tls.clone(), port: socket.port() };
            tokio::task::spawn_local(accept(Rc::clone(&shared), socket, door));
        }
    }
    let driving = Rc::clone(&shared);
    tokio::task::spawn_local(
        async move { driving.live.drive(|_, _| {}, |cluster, _| driving.hand_out(cluster)).await },
    );
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

async fn accept(shared: Rc<Shared>, mut listener: Listener, door: Door) {
    loop {
        let connection = listener.accept(&shared.host).await;
        if connection.is_over_limit() {
            continue;
        }
        let (shared, door, node) = (Rc::clone(&shared), door.clone(), connection.node());
        if shared.live.with(|cluster, _| cluster.has_halted(node)) {
            // Nothing listens where a process has ended.
            connection.reset_on_close();
            continue;
        }
        tokio::task::spawn_local(async move {
            let Some(halt) = shared.halts.get(&node) else { return };
            tokio::select! {
                biased;
                () = halt.notified() => {}
                // However a connection ends, its client knows; there is nobody else to tell.
                _ = shared.serve_connection(connection, door) => {}
            }
        });
    }
}

impl Shared {
    /// Passes answers on to the connections that wait for them.
    fn hand_out(&self, cluster: &mut Cluster) {
        for node in cluster.take_halted() {
            if let Some(halt) = self.halts.get(&node) {
                halt.notify_waiters();
            }
        }
        if !cluster.has_answers() {
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        for (ticket, outcome) in cluster.take_answers() {
            let is_awaited = waiting.remove(&ticket).is_some_and(|sender| sender.send(outcome).is_ok());
            if !is_awaited {
                cluster.undelivered(ticket);
            }
        }
    }

    async fn serve_connection(&self, connection: Connection, door: Door) -> io::Result<()> {
        let (ip, node) = (client_address(&connection), connection.node());
        let refused = self.live.with(|cluster, ctx| match cluster.has_quotas(node) {
            true => cluster.connection_came(ctx, node, &ip),
            false => None,
        });
        if let Some(delay) = refused {
            // Whoever connects too often waits for the end, so that it cannot connect again at once.
            tokio::time::sleep(delay).await;
            return Ok(());
        }
        let (transport, principal) = transport::open(connection, &door.options, door.tls).await?;
        let session = Session::new(door.options, principal);
        let (input, output) = (BytesMut::new(), Outbox::new(self));
        let mut client = Client { transport, session, port: door.port, host: format!("/{ip}"), input, output };
        loop {
            while let Some(frame) = self.next_frame(&mut client)? {
                match self.handle(&mut client, frame).await? {
                    Next::Go => {}
                    Next::Close => {
                        self.write(&mut client).await?;
                        return client.transport.shutdown().await;
                    }
                }
            }
            self.write(&mut client).await?;
            let missing = self.missing(&client.input);
            client.input.reserve(missing.clamp(4096, READ_SIZE));
            let read = within(self.limits.idle_max, client.transport.read_buf(&mut client.input)).await?;
            if read == 0 {
                return Ok(());
            }
        }
    }

    /// Takes the next whole request off the front.
    fn next_frame(&self, client: &mut Client<'_>) -> io::Result<Option<Bytes>> {
        let input = &mut client.input;
        let Some(length) = input.get(..4).and_then(|length| length.try_into().ok()).map(i32::from_be_bytes) else {
            return Ok(None);
        };
        let is_open = client.session.is_open();
        let size_max = if is_open { self.limits.request_size_max } else { self.limits.token_size_max };
        let allowed = usize::try_from(length).ok().filter(|length| *length <= size_max);
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
    async fn handle(&self, client: &mut Client<'_>, frame: Bytes) -> io::Result<Next> {
        let request_bytes = frame.len();
        if client.session.expects_bare_token() {
            let node = client.transport.connection().node();
            let session = &mut client.session;
            let outcome = self.live.with(|cluster, ctx| cluster.bare_token(ctx, session, node, &frame));
            return self.conclude(client, outcome, 0, 0).await;
        }
        let RequestFrame { version, correlation_id, client_id, request } = match decode_request(frame) {
            Ok(frame) => frame,
            Err(DecodeError::UnsupportedApiVersions { correlation_id, .. }) if client.session.may_ask_versions() => {
                client.output.put(encode_response(&ops::unsupported_api_versions(), 0, correlation_id));
                return Ok(Next::Go);
            }
            Err(_) if !client.session.is_open() => return self.conclude(client, Outcome::Refuse(None), 0, 0).await,
            Err(_) => return Ok(Next::Close),
        };
        let caller = self.caller(client, client_id, version);
        client.output.asked(caller.ticket);
        let mut answer = None;
        let session = &mut client.session;
        let began = self.host.kernel.now();
        let mut outcome = self.live.with(|cluster, ctx| {
            let outcome = cluster.serve(ctx, session, &caller, request);
            if outcome == Outcome::Parked {
                let (sender, receiver) = oneshot::channel();
                self.waiting.borrow_mut().insert(caller.ticket, sender);
                answer = Some(receiver);
            }
            self.hand_out(cluster);
            outcome
        });
        let usage = Usage { request_bytes, busy: self.host.kernel.now().since(began) };
        if let Some(answer) = answer {
            self.write(client).await?;
            outcome = self.wait(client, caller.ticket, answer).await?;
        }
        let muted = self.live.with(|cluster, ctx| match cluster.has_quotas(caller.node) {
            true => cluster.throttle(ctx, &caller, &mut outcome, usage),
            false => Duration::ZERO,
        });
        let next = self.conclude(client, outcome, version, correlation_id).await?;
        if !muted.is_zero() {
            // The answer goes out at once; nothing more is read from the client until its time has come.
            self.write(client).await?;
            tokio::time::sleep(muted).await;
        }
        Ok(next)
    }

    /// Puts an answer into the output, or says that the connection ends.
    async fn conclude(
        &self,
        client: &mut Client<'_>,
        outcome: Outcome,
        version: i16,
        correlation_id: i32,
    ) -> io::Result<Next> {
        match outcome {
            Outcome::Reply(response) => client.output.put(encode_response(&response, version, correlation_id)),
            Outcome::Token(token) => {
                let mut framed = BytesMut::with_capacity(4 + token.len());
                framed.put_u32(u32::try_from(token.len()).unwrap_or(u32::MAX));
                framed.extend_from_slice(&token);
                client.output.put([framed.freeze()]);
            }
            Outcome::Silent => {}
            Outcome::Refuse(response) => {
                self.write(client).await?;
                tokio::time::sleep(self.limits.refusal_delay).await;
                if let Some(response) = response {
                    client.output.put(encode_response(&response, version, correlation_id));
                }
                return Ok(Next::Close);
            }
            Outcome::Close | Outcome::Parked => return Ok(Next::Close),
        }
        if client.output.size() > READ_AHEAD_MAX {
            self.write(client).await?;
        }
        Ok(Next::Go)
    }

    /// Waits for an answer, and meanwhile for the client to hang up.
    async fn wait(
        &self,
        client: &mut Client<'_>,
        ticket: Ticket,
        mut answer: oneshot::Receiver<Outcome>,
    ) -> io::Result<Outcome> {
        let _forget = Forget { shared: self, ticket };
        loop {
            if client.input.len() >= READ_AHEAD_MAX {
                return Ok(answer.await.unwrap_or(Outcome::Close));
            }
            client.input.reserve(4096);
            tokio::select! {
                biased;
                outcome = &mut answer => return Ok(outcome.unwrap_or(Outcome::Close)),
                read = client.transport.read_buf(&mut client.input) => if read? == 0 {
                    return Ok(Outcome::Close);
                }
            }
        }
    }

    fn caller(&self, client: &Client<'_>, client_id: Option<String>, version: i16) -> Caller {
        let ticket = self.tickets.get();
        self.tickets.set(ticket + 1);
        let connection = client.transport.connection();
        let side = match connection.peer() {
            Peer::Host => Side::Host,
            Peer::Pod { .. } => Side::Pod,
        };
        Caller {
            node: connection.node(),
            side,
            host: client.host.clone(),
            client_id: client_id.unwrap_or_default(),
            version,
            ticket,
            principal: client.session.principal().to_owned(),
            port: client.port,
            may_hold_tokens: client.session.may_hold_tokens(),
        }
    }

    async fn write(&self, client: &mut Client<'_>) -> io::Result<()> {
        let Client { transport, output, .. } = client;
        while !output.is_empty() {
            let written = within(self.limits.idle_max, transport.write_vectored(&output.slices())).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            output.took(written);
            if matches!(transport, Transport::Plain(_)) {
                self.confirm(transport, output)?;
            }
        }
        // TLS keeps records back until it is told to let them go.
        within(self.limits.idle_max, transport.flush()).await?;
        self.confirm(transport, output)
    }

    /// What was written has left, unless nobody is there to take it: a client that gave up while a fault held its request or
    /// the answer back.
    fn confirm(&self, transport: &Transport, output: &mut Outbox<'_>) -> io::Result<()> {
        if !output.has_taken_promises() {
            return Ok(());
        }
        // Where no fault has ever happened nobody was kept waiting, and the operating system need not be asked.
        if self.host.kernel.version() > 0 && transport.connection().has_hung_up() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        output.left();
        Ok(())
    }
}

/// The address that a client comes from.
fn client_address(connection: &Connection) -> String {
    match connection.peer() {
        Peer::Host => connection.peer_address().map_or(String::new(), |address| address.ip().to_string()),
        Peer::Pod { ip, .. } => ip.to_string(),
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

#[cfg(test)]
mod tests;
