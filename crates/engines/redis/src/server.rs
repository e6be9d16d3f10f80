//! The only async file, with those in `server/`: sockets on one side, the core on the other.
//!
//! One thread serves all instances. A connection is a task that reads what has arrived, gives the core every whole
//! request in it, and writes all replies at once. Replies of writes leave after the append-only file has them.

mod accept;
mod follower;
mod mover;
mod outbox;
mod replies;
mod task;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as blocking;

use atoll_kernel::{Context, NodeId};
use atoll_net::{EngineThread, Host, Limits, Listener, Live, Permits, engine_thread};
use atoll_storage::log::SyncOutcome;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::config::Config;
use crate::core::{Cluster, MoveCall};
use crate::journal::{Journal, Stored};
use crate::nodes_file::NodesFile;
use crate::replication::MasterCall;
use crate::saver::{self, News, Saver};
use crate::tls::{Certificates, Tls};
use crate::user_file;
use crate::wire::Pipeline;
use crate::{ConnId, InstanceAddress};
use outbox::Outbox;
use replies::Replies;

/// The part of the stack, in rules and in the ledger.
pub const PART: &str = "redis";

/// What is read at once, at most.
const READ_MAX: usize = 256 << 10;

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
    /// What was replied in this turn.
    replied: RefCell<Vec<Rc<Replies>>>,
    /// Masters that are to be called.
    calls: mpsc::UnboundedSender<MasterCall>,
    /// Targets of MIGRATE that are to be called.
    moves: mpsc::UnboundedSender<MoveCall>,
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
        replied: RefCell::default(),
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
    /// Ends every turn: sends what was replied, lets the core do what is due, and passes on what comes of it. Clients have
    /// their acknowledgements before anything can go wrong with the replication.
    async fn drive(&self) {
        let before = |cluster: &mut Cluster, ctx: &Context<'_>| self.send_replies(cluster, ctx);
        let after = |cluster: &mut Cluster, ctx: &Context<'_>| {
            self.hand_out(cluster);
            self.store(cluster, ctx);
        };
        self.live.drive(before, after).await;
    }

    /// Sends what a connection has replied when this turn ends.
    fn send_soon(&self, replies: &Rc<Replies>) {
        self.replied.borrow_mut().push(Rc::clone(replies));
        self.live.end_turn_soon();
    }

    fn send_replies(&self, cluster: &mut Cluster, ctx: &Context<'_>) {
        let now = ctx.now();
        for replies in self.replied.borrow_mut().drain(..) {
            replies.send(cluster, now);
        }
    }

    /// Writes what is still to be written.
    fn close(&self) {
        self.live.with(|cluster, ctx| {
            self.store(cluster, ctx);
            self.send_replies(cluster, ctx);
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
            outbox.wake();
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
                News::Written(bytes) => cluster.save_written(bytes),
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
