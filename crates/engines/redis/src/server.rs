//! The only async file, with those in `server/`: sockets on one side, the core on the other.
//!
//! One thread serves all instances. A connection is a task that reads what has arrived, gives the core every whole
//! request in it, and writes all replies at once. Replies of writes leave after the append-only file has them.

mod accept;
mod follower;
mod mover;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::task::{Poll, Waker};

use atoll_kernel::{Context, Moment, NodeId};
use atoll_net::{EngineThread, Host, Limits, Listener, Live, Permits, Transport, engine_thread};
use atoll_storage::log::SyncOutcome;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::config::{Config, OutputLimit};
use crate::core::{Cluster, ConnectionLimits, MoveCall, Outcome};
use crate::journal::{Journal, Stored};
use crate::nodes_file::NodesFile;
use crate::replication::MasterCall;
use crate::saver::{self, News, Saver};
use crate::tls::{Certificates, Tls};
use crate::user_file;
use crate::wire::{Parser, Pipeline};
use crate::{ConnId, InstanceAddress};

/// The part of the stack, in rules and in the ledger.
pub const PART: &str = "redis";

/// What is read at once, at least and at most.
const READ_MIN: usize = 4 << 10;
const READ_MAX: usize = 256 << 10;
/// While a client waits for a key, no more than this is read of what it sends meanwhile.
const READ_AHEAD_MAX: usize = 1 << 20;
/// Replies are written before they become longer than this, though requests are left.
const OUTPUT_TARGET: usize = 1 << 20;
/// A buffer that has grown beyond this is given back when it is empty.
const BUFFER_KEPT: usize = 64 << 10;

/// The engine, as the binary starts it.
#[derive(Debug)]
pub struct Redis;

/// A Redis Cluster that runs.
#[derive(Debug)]
pub struct Handle {
    thread: EngineThread,
    addresses: Vec<(InstanceAddress, SocketAddr)>,
    tls_addresses: Vec<(InstanceAddress, SocketAddr)>,
    questions: mpsc::UnboundedSender<blocking::SyncSender<serde_json::Value>>,
}

impl Handle {
    /// Where each instance listens: node, port, and the address for programs on this machine. Primaries first. None with
    /// `port 0`.
    pub fn addresses(&self) -> &[(InstanceAddress, SocketAddr)] {
        &self.addresses
    }

    /// The same for TLS; none without a `tls-port`.
    pub fn tls_addresses(&self) -> &[(InstanceAddress, SocketAddr)] {
        &self.tls_addresses
    }

    /// What every instance believes and holds: a JSON array of objects with `node`, `address`, `role`, `slots`, `state`,
    /// `keys`, `offset` and so on. Null if the engine has ended. Blocks for one turn of its loop: not for its own thread.
    pub fn status(&self) -> serde_json::Value {
        let (answer, answered) = blocking::sync_channel(1);
        let is_asked = self.questions.send(answer).is_ok();
        if is_asked { answered.recv().unwrap_or_default() } else { serde_json::Value::Null }
    }

    /// Makes everything durable, ends all connections and waits until the engine's thread has ended. Blocks.
    pub fn shut_down(&self) {
        self.thread.shut_down();
    }
}

impl Redis {
    /// Binds every instance's addresses, reads the append-only files and serves, all before it returns. `certificates` are needed if
    /// the configuration [uses TLS](Config::uses_tls). The error says which address is taken, which file cannot be read or
    /// what is wrong with a certificate. Blocks.
    pub fn start(config: Config, host: Host, certificates: Option<Certificates>) -> io::Result<Handle> {
        let invalid = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
        if let Some(trouble) = config.trouble() {
            return Err(invalid(trouble));
        }
        let tls = match certificates {
            Some(certificates) => Some(Tls::new(certificates, &config.settings.tls).map_err(invalid)?),
            None if config.uses_tls() => return Err(invalid("there is no certificate: set tls-cert-file".to_owned())),
            None => None,
        };
        // All are bound before anything starts, so that a stack learns of taken ports in time.
        let listeners = bind(&config, &host)?;
        let (addresses, tls_addresses) = (addresses(&listeners, false)?, addresses(&listeners, true)?);
        let (questions, asked) = mpsc::unbounded_channel();
        let setup = Setup { listeners, config, host, tls };
        let thread = engine_thread("redis", move |ready, shutdown| run(setup, asked, ready, shutdown))?;
        Ok(Handle { thread, addresses, tls_addresses, questions })
    }
}

/// What the engine's thread is started with.
struct Setup {
    listeners: Vec<BoundListener>,
    config: Config,
    host: Host,
    tls: Option<Tls>,
}

/// One of an instance's listeners.
struct BoundListener {
    instance: usize,
    is_tls: bool,
    socket: Listener,
}

fn bind(config: &Config, host: &Host) -> io::Result<Vec<BoundListener>> {
    let (cluster, settings) = (empty_cluster(config, host), &config.settings);
    let limits = Limits { connections_max: settings.clients_max };
    let mut listeners = Vec::new();
    for InstanceAddress { instance, node, port, tls_port } in cluster.addresses() {
        // Both count towards `maxclients`.
        let permits = Permits::new(limits);
        let mut listen = |port: u16, is_tls: bool| -> io::Result<()> {
            let socket = Listener::bind(host, PART, node, port, permits.clone())?;
            listeners.push(BoundListener { instance, is_tls, socket });
            Ok(())
        };
        // Without TLS, port 0 is any that is free.
        if port != 0 || tls_port == 0 {
            listen(port, false)?;
        }
        if tls_port != 0 {
            listen(tls_port, true)?;
        }
    }
    Ok(listeners)
}

fn addresses(listeners: &[BoundListener], is_tls: bool) -> io::Result<Vec<(InstanceAddress, SocketAddr)>> {
    let ports = |instance: usize, is_tls: bool| {
        let all = listeners.iter().filter(move |bound| bound.instance == instance && bound.is_tls == is_tls);
        all.map(|bound| bound.socket.port()).next().unwrap_or_default()
    };
    let described = |bound: &BoundListener| {
        let (instance, node) = (bound.instance, bound.socket.node());
        let address = InstanceAddress { instance, node, port: ports(instance, false), tls_port: ports(instance, true) };
        Ok((address, bound.socket.address()?))
    };
    listeners.iter().filter(|bound| bound.is_tls == is_tls).map(described).collect()
}

fn nodes(host: &Host) -> Vec<NodeId> {
    host.kernel.nodes().iter().map(|node| node.config.id).collect()
}

fn empty_cluster(config: &Config, host: &Host) -> Cluster {
    Cluster::new(&Context::new(&host.kernel), config.clone(), &nodes(host))
}

/// What the tasks of the engine's thread share.
struct Shared {
    live: Rc<Live<Cluster>>,
    host: Host,
    journal: RefCell<Journal>,
    nodes_file: RefCell<NodesFile>,
    saver: RefCell<Saver>,
    /// Of the connection whose input is being handled.
    pipeline: RefCell<Pipeline>,
    tls: RefCell<Option<Tls>>,
    /// How many connections each instance may have, once for each of its listeners.
    permits: Vec<Permits>,
    /// Wakes connections that wait for the append-only file.
    synced: Notify,
    outboxes: RefCell<BTreeMap<ConnId, Rc<Outbox>>>,
    /// Masters that are to be called.
    calls: mpsc::UnboundedSender<MasterCall>,
    /// Targets of MIGRATE that are to be called.
    moves: mpsc::UnboundedSender<MoveCall>,
}

/// What others have for a connection.
#[derive(Default)]
struct Outbox {
    bytes: RefCell<Vec<u8>>,
    /// How much of what was taken from here before is not written yet.
    writing: Cell<usize>,
    /// What the core was last told of both.
    noted: Cell<usize>,
    /// Since when more has been waiting than `client-output-buffer-limit` tolerates for long.
    over_since: Cell<Option<Moment>>,
    resumes: Cell<bool>,
    closes: Cell<bool>,
    /// It is a replica's: the core is told what was written.
    reports: Cell<bool>,
    /// The connection is to be closed at once, even in the middle of a write.
    is_abandoned: Cell<bool>,
    has_any: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Outbox {
    /// How many bytes wait for the client to read them.
    fn waiting(&self) -> usize {
        self.bytes.borrow().len() + self.writing.get()
    }

    /// Tells the core how many bytes wait.
    fn note(&self, cluster: &mut Cluster, conn: ConnId) {
        self.noted.set(self.waiting());
        cluster.note_output(conn, self.noted.get());
    }

    /// True if so many bytes are more than may wait for this client now.
    fn exceeds(&self, limit: OutputLimit, waiting: usize, now: Moment) -> bool {
        let waiting = waiting as u64;
        if limit.soft == 0 || waiting <= limit.soft {
            self.over_since.set(None);
        } else if self.over_since.get().is_none() {
            self.over_since.set(Some(now));
        }
        let is_over_for_long = self.over_since.get().is_some_and(|since| now.since(since) > limit.patience);
        is_over_for_long || (limit.hard > 0 && waiting > limit.hard)
    }

    /// Waits until there is something.
    async fn filled(&self) {
        poll_fn(|cx| {
            if self.has_any.get() || self.is_abandoned.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits until the connection is to be closed at once.
    async fn abandoned(&self) {
        poll_fn(|cx| {
            if self.is_abandoned.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

type Questions = mpsc::UnboundedReceiver<blocking::SyncSender<serde_json::Value>>;

async fn run(
    Setup { listeners, config, host, tls }: Setup,
    mut questions: Questions,
    ready: oneshot::Sender<io::Result<()>>,
    shutdown: Arc<Notify>,
) {
    let mut cluster = empty_cluster(&config, &host);
    cluster.set_meter(crate::process::measure);
    for bound in listeners.iter().filter(|bound| !bound.is_tls) {
        cluster.set_port(bound.instance, bound.socket.port());
    }
    let (outcomes, mut finished) = mpsc::unbounded_channel();
    let nodes_file = NodesFile::open(Arc::clone(&host.disk), &mut cluster, &Context::new(&host.kernel));
    let journal = match Journal::open(&host, &mut cluster, outcomes) {
        Ok(journal) => journal,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let instances = cluster.addresses().len();
    let ((said, mut news), (calls, called)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let (moves, moving) = mpsc::unbounded_channel();
    let loaded = user_file::load(&host, &mut cluster).and_then(|()| saver::load(&host, &mut cluster, instances));
    let saver = match loaded.and_then(|()| Saver::start(Arc::clone(&host.disk), said)) {
        Ok(saver) => saver,
        Err(error) => return drop(ready.send(Err(error))),
    };
    for instance in 0..instances {
        cluster.match_slots_with_data(&Context::new(&host.kernel), instance);
    }
    let shared = Rc::new(Shared {
        live: Live::new(&host.kernel, cluster),
        host,
        journal: RefCell::new(journal),
        nodes_file: RefCell::new(nodes_file),
        saver: RefCell::new(saver),
        pipeline: RefCell::default(),
        tls: RefCell::new(tls),
        permits: listeners.iter().map(|bound| bound.socket.permits()).collect(),
        synced: Notify::new(),
        outboxes: RefCell::default(),
        calls,
        moves,
    });
    for bound in listeners {
        tokio::task::spawn_local(accept::accept(Rc::clone(&shared), bound));
    }
    tokio::task::spawn_local(follower::answer_calls(Rc::clone(&shared), called));
    tokio::task::spawn_local(mover::make_calls(Rc::clone(&shared), moving));
    let driving = Rc::clone(&shared);
    tokio::task::spawn_local(async move { driving.drive().await });
    let ticking = Rc::clone(&shared);
    tokio::task::spawn_local(async move { ticking.sync_every_second().await });
    let _ = ready.send(Ok(()));
    loop {
        tokio::select! {
            biased;
            Some((shard, outcome)) = finished.recv() => shared.sync_ended(shard, outcome),
            Some(news) = news.recv() => shared.take_news(&news),
            Some(question) = questions.recv() => {
                let _ = question.send(shared.live.with(|cluster, ctx| cluster.status(ctx)));
            }
            () = shutdown.notified() => break,
        }
    }
    shared.close();
}

impl Shared {
    /// Lets the core do what is due, and passes on what comes of it.
    async fn drive(&self) {
        let after = |cluster: &mut Cluster, ctx: &Context<'_>| {
            self.hand_out(cluster);
            self.store(cluster, ctx);
        };
        self.live.drive(after).await;
    }

    /// Writes what is still to be written.
    fn close(&self) {
        self.live.with(|cluster, ctx| {
            self.store(cluster, ctx);
            self.saver.borrow_mut().close(cluster, ctx, &*self.host.disk);
        });
        self.journal.borrow_mut().close();
    }

    /// A shard's file is on disk, or it could not be brought there.
    fn sync_ended(&self, shard: usize, outcome: SyncOutcome) {
        let reached = self.journal.borrow_mut().finished(shard, outcome);
        self.synced.notify_waiters();
        if let Some(mark) = reached {
            self.live.with(|cluster, ctx| {
                cluster.note_log_synced(ctx, shard, mark);
                self.hand_out(cluster);
            });
        }
    }

    /// Passes on what the core has for other connections.
    fn hand_out(&self, cluster: &mut Cluster) {
        for call in cluster.take_master_calls() {
            // Whoever makes the calls is there for as long as this is.
            let _ = self.calls.send(call);
        }
        for call in cluster.take_move_calls() {
            let _ = self.moves.send(call);
        }
        // What is handed out can be the drop too much, for which other clients are to go.
        while cluster.has_deliveries() {
            self.hand_out_once(cluster);
        }
    }

    fn hand_out_once(&self, cluster: &mut Cluster) {
        let outboxes = self.outboxes.borrow();
        let now = self.host.kernel.now();
        for delivery in cluster.take_deliveries() {
            let Some(outbox) = outboxes.get(&delivery.conn) else { continue };
            // It may be stuck in a write, and would hoard what it is sent.
            if outbox.is_abandoned.get() {
                continue;
            }
            outbox.bytes.borrow_mut().extend_from_slice(&delivery.bytes);
            outbox.resumes.set(outbox.resumes.get() | delivery.resumes);
            let waiting = outbox.waiting();
            let is_too_much = outbox.exceeds(cluster.connection_limits(delivery.conn).output, waiting, now);
            if is_too_much {
                cluster.give_up_on(delivery.conn);
            }
            outbox.note(cluster, delivery.conn);
            // Killed with nothing to be said (CLIENT KILL), or not reading.
            outbox.reports.set(cluster.is_replica(delivery.conn));
            let is_abandoned = (delivery.closes && delivery.bytes.is_empty()) || is_too_much;
            outbox.is_abandoned.set(is_abandoned);
            outbox.closes.set(outbox.closes.get() | delivery.closes | is_abandoned);
            outbox.has_any.set(true);
            if let Some(waker) = outbox.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    /// Writes what was executed into the append-only files. What it returns is to be awaited before replies go out.
    fn store(&self, cluster: &mut Cluster, ctx: &Context<'_>) -> Stored {
        if cluster.wants_saving {
            self.nodes_file.borrow_mut().save(cluster);
        }
        self.saver.borrow().submit(cluster);
        if user_file::serve(cluster, ctx, &*self.host.disk) {
            self.hand_out(cluster);
        }
        if !cluster.has_log_bytes() {
            return Stored::default();
        }
        let stored = self.journal.borrow_mut().store(cluster, ctx);
        // A file that was rewritten is synced, for which clients may have waited.
        if cluster.has_deliveries() {
            self.hand_out(cluster);
        }
        stored
    }

    /// What the thread that writes snapshots has to say.
    fn take_news(&self, news: &News) {
        self.live.with(|cluster, ctx| {
            match news {
                News::Written(bytes) => cluster.save_written(*bytes),
                News::Ended { shard, is_good } => cluster.save_ended(ctx, *shard, *is_good),
            }
            self.hand_out(cluster);
        });
    }

    async fn durable(&self, stored: &Stored) {
        loop {
            let changed = self.synced.notified();
            if self.journal.borrow().is_durable(stored) {
                return;
            }
            changed.await;
        }
    }

    /// `appendfsync everysec`.
    async fn sync_every_second(&self) {
        loop {
            let next = self.journal.borrow().next_wake();
            let deadline = next.and_then(|at| self.host.kernel.real_instant(at));
            let changed = self.journal.borrow().changed();
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => changed.notified().await,
            }
            self.journal.borrow_mut().sync_due(self.host.kernel.now());
        }
    }
}

/// One connection.
struct Task<'s> {
    shared: &'s Shared,
    connection: Transport,
    conn: ConnId,
    outbox: Rc<Outbox>,
    parser: Parser,
    buffers: Buffers,
}

/// What a connection has read and is to write.
#[derive(Default)]
struct Buffers {
    input: Vec<u8>,
    output: Vec<u8>,
    /// It waits for a key or for replicas.
    is_parked: bool,
    closes: bool,
    /// Whole requests may be left in `input`.
    has_more: bool,
    limits: ConnectionLimits,
}

impl Buffers {
    /// True if no request may be executed before the replies so far are written, or at all.
    fn must_stop(&self) -> bool {
        self.is_parked || self.closes || self.has_more
    }

    /// Gives the core what was read of the input from `start` on. Returns how much of it was executed.
    fn execute(
        &mut self,
        cluster: &mut Cluster,
        ctx: &Context<'_>,
        conn: ConnId,
        pipeline: &Pipeline,
        start: usize,
    ) -> usize {
        let input = &self.input[start..];
        if pipeline.len() > 1 {
            cluster.expect(conn, pipeline.requests(input).map(|(request, _)| request));
        }
        let mut executed = 0;
        for (request, end) in pipeline.requests(input) {
            match cluster.apply(ctx, conn, &request, &mut self.output) {
                Outcome::Done => {}
                Outcome::Parked => self.is_parked = true,
                Outcome::Close => self.closes = true,
            }
            executed = end;
            self.has_more = self.output.len() > OUTPUT_TARGET;
            if self.must_stop() {
                break;
            }
        }
        executed
    }
}

impl Task<'_> {
    async fn serve(&mut self) -> io::Result<()> {
        loop {
            let stored = self.handle_input();
            if stored.is_pending() {
                self.shared.durable(&stored).await;
            }
            self.write_output().await?;
            if self.buffers.closes {
                return self.connection.shutdown().await;
            }
            if !self.buffers.has_more {
                self.wait().await?;
            }
        }
    }

    /// Gives the core every whole request that has arrived.
    fn handle_input(&mut self) -> Stored {
        let Task { shared, connection, conn, parser, buffers, .. } = self;
        buffers.has_more = false;
        if buffers.is_parked || buffers.input.is_empty() {
            return Stored::default();
        }
        let mut consumed = 0;
        let stored = shared.live.with(|cluster, ctx| {
            cluster.count_read(*conn);
            let pipeline = &mut *shared.pipeline.borrow_mut();
            while !buffers.must_stop() {
                match pipeline.read(parser, &buffers.input[consumed..], cluster.limits(*conn)) {
                    Ok(0) => break,
                    Ok(length) => {
                        let executed = buffers.execute(cluster, ctx, *conn, pipeline, consumed);
                        consumed += executed;
                        if executed < length {
                            // What was read ahead is read again when its time has come.
                            parser.reset();
                        }
                    }
                    Err(error) => {
                        buffers.output.extend_from_slice(format!("-ERR {error}\r\n").as_bytes());
                        buffers.closes = true;
                    }
                }
            }
            buffers.limits = cluster.connection_limits(*conn);
            if !buffers.output.is_empty() {
                cluster.count_write(*conn);
            }
            if std::mem::take(&mut cluster.config_changed) {
                let clients_max = cluster.config().settings.clients_max;
                shared.permits.iter().for_each(|permits| permits.set_connections_max(clients_max));
            }
            cluster.note_buffers(*conn, buffers.input.capacity(), buffers.output.capacity());
            shared.hand_out(cluster);
            let stored = shared.store(cluster, ctx);
            if cluster.owes_replication() && !stored.is_pending() {
                // Clients have their acknowledgements before anything can go wrong with the replication.
                let written = connection.try_write(&buffers.output).unwrap_or(0);
                buffers.output.drain(..written);
            }
            stored
        });
        if consumed == buffers.input.len() {
            buffers.input.clear();
            if buffers.input.capacity() > BUFFER_KEPT {
                buffers.input = Vec::new();
            }
        } else {
            buffers.input.drain(..consumed);
        }
        stored
    }

    async fn write_output(&mut self) -> io::Result<()> {
        let Task { connection, outbox, buffers: Buffers { output, limits, .. }, shared, conn, .. } = self;
        if output.is_empty() && !connection.holds_back() {
            return Ok(());
        }
        if outbox.exceeds(limits.output, output.len(), shared.host.kernel.now()) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let written = match connection.try_write(output) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if written < output.len() || connection.holds_back() {
            outbox.writing.set(output.len() - written);
            shared.live.with(|cluster, _| outbox.note(cluster, *conn));
            // A client that does not read must not keep its connection from being closed.
            tokio::select! {
                biased;
                () = outbox.abandoned() => return Err(io::ErrorKind::OutOfMemory.into()),
                () = impatience(outbox, limits.output) => return Err(io::ErrorKind::OutOfMemory.into()),
                written = connection.write_whole(&output[written..]) => written?,
            }
            outbox.writing.set(0);
        }
        if outbox.noted.get() != outbox.waiting() {
            shared.live.with(|cluster, _| outbox.note(cluster, *conn));
        }
        outbox.over_since.set(None);
        let length = output.len();
        output.clear();
        if output.capacity() > BUFFER_KEPT {
            *output = Vec::new();
            self.shared.live.with(|cluster, _| {
                cluster.note_buffers(self.conn, self.buffers.input.capacity(), 0);
                self.shared.hand_out(cluster);
            });
        }
        if outbox.reports.get() {
            self.shared.live.with(|cluster, _| cluster.written(self.conn, length));
        }
        Ok(())
    }

    /// Waits for the client to send something, or for others to have something for it.
    async fn wait(&mut self) -> io::Result<()> {
        let ConnectionLimits { idle_max, input_max, .. } = self.buffers.limits;
        match idle_max {
            None => self.next_event(input_max).await,
            Some(idle_max) => match tokio::time::timeout(idle_max, self.next_event(input_max)).await {
                Ok(event) => event,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        }
    }

    async fn next_event(&mut self, input_max: usize) -> io::Result<()> {
        let Task { connection, outbox, buffers, .. } = self;
        let reads = !buffers.is_parked || buffers.input.len() < READ_AHEAD_MAX;
        let read = poll_fn(|cx| {
            if outbox.has_any.get() {
                return Poll::Ready(Ok(None));
            }
            let mut waker = outbox.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            if !reads {
                return Poll::Pending;
            }
            let input = &mut buffers.input;
            if input.capacity() - input.len() < READ_MIN / 4 {
                input.reserve(input.len().clamp(READ_MIN, READ_MAX));
            }
            let mut buffer = ReadBuf::uninit(input.spare_capacity_mut());
            let polled = Pin::new(&mut *connection).poll_read(cx, &mut buffer);
            let read = buffer.filled().len();
            match polled {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {
                    let length = input.len() + read;
                    // SAFETY: `poll_read` has filled the first `read` bytes of the spare capacity.
                    unsafe { input.set_len(length) };
                    Poll::Ready(Ok(Some(read)))
                }
            }
        })
        .await?;
        match read {
            Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(_) if self.buffers.input.len() + self.parser.size() > input_max => {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            Some(_) => {}
            None => self.empty_outbox(),
        }
        Ok(())
    }

    fn empty_outbox(&mut self) {
        let outbox = &self.outbox;
        outbox.has_any.set(false);
        let pending = outbox.bytes.borrow().len();
        self.buffers.output.append(&mut outbox.bytes.borrow_mut());
        // Less is as good as nothing.
        if pending > BUFFER_KEPT {
            self.shared.live.with(|cluster, _| {
                cluster.note_buffers(self.conn, self.buffers.input.capacity(), self.buffers.output.capacity());
                self.shared.hand_out(cluster);
            });
        }
        if outbox.resumes.replace(false) {
            self.buffers.is_parked = false;
        }
        self.buffers.closes |= outbox.closes.get();
    }
}

/// Ends when more than `client-output-buffer-limit` tolerates has been waiting for as long as it tolerates it.
async fn impatience(outbox: &Outbox, limit: OutputLimit) {
    match outbox.over_since.get() {
        Some(_) => tokio::time::sleep(limit.patience).await,
        None => std::future::pending().await,
    }
}
