//! The core: the whole cluster as plain data. Requests come in by [`Cluster::apply`], faults and time by the kernel's
//! [`Core`]; replies to other connections go out by [`Cluster::take_deliveries`].
//!
//! It is synchronous, does no I/O and knows no clock: the same core runs live under `server.rs`, in seeded simulations
//! and under text scripts. `core/admit.rs` decides whether a command is executed, `core/execute.rs` executes it, and
//! `core/waiting.rs` keeps the clients that wait.

mod admit;
mod buffers;
mod eviction;
mod execute;
mod moving;
mod pausing;
mod permissions;
mod saving;
mod scripts;
mod waiting;

pub(crate) use admit::find as find_command;
pub(crate) use eviction::{OUT_OF_MEMORY, time_limit as eviction_time_limit};
pub(crate) use moving::MoveWish;
pub use moving::{MoveCall, MoveStage};
pub use permissions::UserFileWish;
pub use saving::{LoadError, SavePart};
use scripts::Scripts;

use std::net::{Ipv4Addr, SocketAddr};

use atoll_kernel::{Context, Core, FaultEvent, Moment, NodeId, Stream};
use atoll_net::Peer;
use slab::Slab;

use crate::clients::{Access, BlockedOn, Client, Clients, ConnId, Replies};
use crate::cluster::{self, Bus, Instance, InstanceId, Run};
use crate::config::{Config, ORDINARY, REPLICAS, SUBSCRIBERS};
use crate::ops::{Block, Switches, Then};
use crate::process::ProcessUsage;
use crate::replication::Replication;
use crate::state::Dataset;
use crate::wire::{Limits, Reply, Request};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is answered; the next request may follow.
    Done,
    /// It waits. Its reply comes as a [`Delivery`] that resumes the connection; until then no request may follow.
    Parked,
    /// The connection is to be closed once its replies are out.
    Close,
}

/// Bytes for a connection that did not ask for them just now: a message, or the end of a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// For whom.
    pub conn: ConnId,
    /// RESP.
    pub bytes: Vec<u8>,
    /// The wait is over: the connection's next request may follow.
    pub resumes: bool,
    /// The connection is to be closed afterwards.
    pub closes: bool,
}

/// What a connection may do before it is closed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ConnectionLimits {
    /// How long it may be silent.
    pub(crate) idle_max: Option<std::time::Duration>,
    /// How many bytes it may send without completing a request.
    pub(crate) input_max: usize,
    /// How much may wait for it to be read.
    pub(crate) output: crate::config::OutputLimit,
}

/// Where an instance listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceAddress {
    /// Its index, for [`Cluster::connect`].
    pub instance: usize,
    /// Its node.
    pub node: NodeId,
    /// Its port, on the node's address; 0: it listens for TLS only.
    pub port: u16,
    /// Its port for TLS; 0: it has none.
    pub tls_port: u16,
}

/// A Redis Cluster, or a single server: all instances, all data, all connections.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) config: Config,
    pub(crate) instances: Vec<Instance>,
    pub(crate) datasets: Slab<Dataset>,
    pub(crate) clients: Clients,
    pub(crate) bus: Bus,
    pub(crate) random: Stream,
    pub(crate) deliveries: Vec<Delivery>,
    /// What to add to a moment to get the wall clock, in milliseconds. Rounded down: whoever waits for a wall time is not woken
    /// before it.
    wall_offset_ms: i64,
    expired_at: Moment,
    /// How many channels and patterns are subscribed to anywhere: while none are, publishing is a number.
    pub(crate) subscriptions: usize,
    /// Masters whose writes are acknowledged and not yet replicated, one entry for each write.
    pub(crate) owed: Vec<InstanceId>,
    /// Why the append-only file cannot be written, in the operating system's words.
    pub(crate) log_failure: Option<String>,
    /// When append-only files are synced next, as far as virtual disks go.
    pub(crate) disk_sync_at: Option<Moment>,
    /// The configuration of the cluster may differ from what was last saved.
    pub(crate) wants_saving: bool,
    /// How many names CLUSTER RESET HARD has given.
    pub(crate) names_given: u64,
    /// BGREWRITEAOF was asked for.
    pub(crate) rewrite_wanted: bool,
    /// Interpreters, and slow scripts.
    pub(crate) scripts: Scripts,
    /// Snapshots that are being written.
    saving: saving::Saving,
    /// Keys that are on their way to servers outside of the stack.
    moving: moving::Moving,
    /// How many clients track keys, anywhere: while none do, reading is not noted.
    pub(crate) tracking_clients: usize,
    /// Clients in BCAST mode have something to be told.
    pub(crate) has_broadcasts: bool,
    /// What clients are to be told after the reply to the request of theirs that is being executed.
    pub(crate) own_pushes: Vec<(usize, Vec<u8>)>,
    /// For whose command keys are being evicted.
    pub(crate) evicting_for: Option<usize>,
    /// Replicas outside of the stack.
    pub(crate) replication: Replication,
    /// CONFIG SET was called since the server last looked.
    pub(crate) config_changed: bool,
    /// What DEBUG has switched.
    pub(crate) switches: Switches,
    /// What is to be done with files of users.
    user_file_wishes: Vec<UserFileWish>,
    /// Evictions were cut short and go on from then.
    pub(crate) evicting_from: Option<Moment>,
    /// The command that is executed began with too little memory.
    pub(crate) is_short_of_memory: bool,
    /// When the clock was last read for the duration of a command.
    pub(crate) measured_at: Moment,
    /// How the process is measured; None in simulations.
    meter: Option<fn() -> ProcessUsage>,
    /// There was TLS at the start, so that certificates were read.
    pub(crate) has_certificate: bool,
}

/// How often keys are looked for that have expired and that nobody asks for.
const EXPIRE_PERIOD: std::time::Duration = std::time::Duration::from_millis(100);
/// How many of them are deleted at a time.
const EXPIRE_BATCH: usize = 1000;

impl Cluster {
    /// A fresh cluster over these nodes; a single server on the first of them with `cluster-enabled no`.
    pub fn new(ctx: &Context<'_>, config: Config, nodes: &[NodeId]) -> Cluster {
        let (instances, datasets) = cluster::build(ctx, &config.settings, nodes);
        let has_certificate = config.uses_tls();
        let mut cluster = Cluster {
            config,
            instances,
            datasets: datasets.into_iter().enumerate().collect(),
            clients: Clients::default(),
            bus: Bus::new(),
            random: ctx.random("redis.commands", 0),
            deliveries: Vec::new(),
            wall_offset_ms: ctx.kernel().wall_at_start().as_millis(),
            expired_at: Moment::ZERO,
            subscriptions: 0,
            owed: Vec::new(),
            log_failure: None,
            disk_sync_at: None,
            wants_saving: true,
            names_given: 0,
            rewrite_wanted: false,
            scripts: Scripts::default(),
            saving: saving::Saving::default(),
            moving: moving::Moving::default(),
            tracking_clients: 0,
            has_broadcasts: false,
            own_pushes: Vec::new(),
            evicting_for: None,
            replication: Replication::new(ctx),
            config_changed: false,
            switches: Switches::default(),
            user_file_wishes: Vec::new(),
            evicting_from: None,
            is_short_of_memory: false,
            measured_at: Moment::ZERO,
            meter: None,
            has_certificate,
        };
        cluster.follow_sync_policy();
        cluster.name_histories();
        cluster.follow_configured_master(ctx);
        cluster
    }

    /// Where the instances listen.
    pub fn addresses(&self) -> Vec<InstanceAddress> {
        let address = |(instance, of): (usize, &Instance)| InstanceAddress {
            instance,
            node: of.node,
            port: of.port,
            tls_port: of.tls_port,
        };
        self.instances.iter().enumerate().map(address).collect()
    }

    /// Says in which directory files are: `dir`.
    pub fn set_directory(&mut self, path: String) {
        self.config.set_directory(path);
    }

    /// Says how the process is measured, for INFO.
    pub(crate) fn set_meter(&mut self, meter: fn() -> ProcessUsage) {
        self.meter = Some(meter);
    }

    /// What the operating system says of the process; nothing in simulations.
    pub(crate) fn process_usage(&self) -> ProcessUsage {
        self.meter.map_or_else(ProcessUsage::default, |measure| measure())
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A connection is made to an instance. `addresses`: the peer's and ours, for CLIENT LIST.
    pub fn connect(
        &mut self,
        ctx: &Context<'_>,
        instance: usize,
        peer: Peer,
        addresses: Option<(SocketAddr, SocketAddr)>,
    ) -> ConnId {
        self.clients.last_number += 1;
        let number = self.clients.last_number;
        let user = self.instances[instance].acl.default_user();
        self.instances[instance].stats.connections += 1;
        let client = Client {
            number,
            instance,
            peer,
            addresses,
            is_tls: false,
            name: Vec::new(),
            library: Vec::new(),
            library_version: Vec::new(),
            is_resp3: false,
            is_unrestricted: user.is_unrestricted(),
            is_authenticated: user.admits_anybody(),
            user,
            database: 0,
            reads_replica: false,
            is_asking: false,
            no_evict: false,
            no_touch: false,
            replies: Replies::On,
            transaction: None,
            watched: Vec::new(),
            watched_since_ms: 0,
            is_dirty: false,
            blocked: None,
            channels: 0,
            patterns: 0,
            shard_channels: 0,
            connected_at: ctx.now(),
            used_at: ctx.now(),
            last: None,
            tracking: None,
            output: 0,
            write_position: 0,
            is_closing: false,
            is_monitor: false,
            in_script: false,
            spent_ns: 0,
            is_master: false,
            replica: None,
            input_bytes: 0,
            output_bytes: 0,
            counted_bytes: 0,
        };
        let place = self.clients.list.insert(client);
        self.recount(place);
        ConnId { place, number }
    }

    /// A connection was made over TLS: its client is told ports for TLS.
    pub fn note_tls(&mut self, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(conn) {
            client.is_tls = true;
        }
    }

    /// A connection is no more. Does nothing if the core knew.
    pub fn disconnect(&mut self, conn: ConnId) {
        if self.clients.get(conn).is_some() && !self.leaves_script_behind(conn.place) {
            self.forget_client(conn.place);
        }
    }

    /// What bounds a connection's next request.
    pub fn limits(&self, conn: ConnId) -> Limits {
        let unauthenticated = self.clients.get(conn).is_some_and(|client| self.must_log_in(client));
        Limits { bulk_length_max: self.config.settings.bulk_length_max, unauthenticated }
    }

    /// Something was read from a connection.
    pub(crate) fn count_read(&mut self, conn: ConnId) {
        if let Some(client) = self.clients.get(conn) {
            self.instances[client.instance].stats.reads += 1;
        }
    }

    /// Something is to be written to a connection.
    pub(crate) fn count_write(&mut self, conn: ConnId) {
        if let Some(client) = self.clients.get(conn) {
            self.instances[client.instance].stats.writes += 1;
        }
    }

    /// True for a client that has to say who it is.
    #[inline]
    pub(crate) fn must_log_in(&self, client: &Client) -> bool {
        !client.is_authenticated && self.instances[client.instance].acl.requires_login()
    }

    /// What a connection may do.
    pub(crate) fn connection_limits(&self, conn: ConnId) -> ConnectionLimits {
        let settings = &self.config.settings;
        let client = self.clients.get(conn);
        let is_subscribed = client.is_some_and(|client| client.subscriptions() > 0);
        let is_replica = client.is_some_and(Client::is_replica);
        let waits = is_subscribed || is_replica || client.is_some_and(|client| client.blocked.is_some());
        // A monitor has no limit in Redis: that of subscribers is better than none.
        let is_told = is_subscribed || client.is_some_and(|client| client.is_monitor);
        let class = match (is_replica, is_told) {
            (true, _) => REPLICAS,
            (false, true) => SUBSCRIBERS,
            (false, false) => ORDINARY,
        };
        ConnectionLimits {
            idle_max: settings.idle_timeout.filter(|_| !waits),
            input_max: usize::try_from(settings.query_buffer_max).unwrap_or(usize::MAX),
            output: settings.output_limits[class],
        }
    }

    /// A connection was turned away because there are too many.
    pub(crate) fn rejected(&mut self, instance: usize) {
        self.instances[instance].stats.rejected += 1;
    }

    /// Says that these requests of a connection are about to be applied. That changes nothing but how long it takes.
    #[inline]
    pub(crate) fn expect<'r>(&self, conn: ConnId, requests: impl Iterator<Item = Request<'r>> + Clone) {
        let Some(client) = self.clients.get(conn) else { return };
        let dataset = self.instances[client.instance].dataset.and_then(|dataset| self.datasets.get(dataset));
        if let Some(database) = dataset.and_then(|dataset| dataset.databases.get(client.database)) {
            database.expect(requests);
        }
    }

    /// Executes a request; its reply is appended to `out`.
    ///
    /// The caller's contract: requests of one connection come one after the other, and after [`Outcome::Parked`] none
    /// until a delivery resumes the connection. What `out` holds may be sent at once, unless writes were made and
    /// [`Cluster::log_bytes`] has to be made durable first.
    #[inline]
    pub fn apply(&mut self, ctx: &Context<'_>, conn: ConnId, request: &Request<'_>, out: &mut Vec<u8>) -> Outcome {
        let Some(client) = self.clients.get_mut(conn) else {
            return Outcome::Close;
        };
        if client.is_closing {
            return Outcome::Close;
        }
        if request.is_empty() {
            return Outcome::Done;
        }
        client.used_at = ctx.now();
        self.run_request(ctx, conn.place, *request, out)
    }

    /// Executes a request of a client, or parks it.
    #[inline]
    pub(crate) fn run_request(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        request: Request<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let input = request.encoded_length();
        let was_replica = self.clients.list[place].is_replica();
        let (instance, is_resp3) = (self.clients.list[place].instance, self.clients.list[place].is_resp3);
        if self.tracking_clients > 0 {
            self.limit_tracked_keys(instance);
            if self.config.settings.memory_max > 0 && !self.scripts.is_busy(instance) {
                // Of what is evicted for its command a client is told before the reply.
                self.evicting_for = Some(place);
                self.is_out_of_memory(ctx, instance);
                self.evicting_for = None;
                self.append_own_pushes(place, out);
            }
        }
        let start = out.len();
        let answer = self.admit_and_execute(ctx, place, request, out);
        self.end_unit(instance, Some(place));
        let outcome = match answer {
            Ok(Then::Done) => Outcome::Done,
            Ok(then) => self.follow(ctx, place, request, then),
            Err(refusal) => {
                let mut reply = Reply::new(out, is_resp3);
                reply.rewind(start);
                reply.error(&refusal.line());
                Outcome::Done
            }
        };
        if !self.instances[instance].interest.ready.is_empty() {
            self.serve_ready(ctx, instance);
        }
        self.filter_replies(place, start, request, out);
        if self.tracking_clients > 0 {
            self.end_caching(place, request);
            self.append_own_pushes(place, out);
        }
        let stats = &mut self.instances[instance].stats;
        stats.input_bytes += input;
        stats.output_bytes += (out.len() - start) as u64;
        if was_replica && out.len() > start {
            // What is sent to a replica is the stream. One that asks for anything else is not what it says to be.
            out.truncate(start);
            return Outcome::Close;
        }
        outcome
    }

    /// Does what follows a command: most often nothing, or its client waits.
    fn follow(&mut self, ctx: &Context<'_>, place: usize, request: Request<'_>, then: Then) -> Outcome {
        match then {
            Then::Done => return Outcome::Done,
            Then::Close => return Outcome::Close,
            Then::Block(block) => {
                let Block { keys, timeout_ms, again } = *block;
                let again = again.unwrap_or_else(|| request.to_owned());
                self.park_on_keys(ctx, place, again, &keys, timeout_ms);
            }
            Then::Wait { replicas, position, timeout_ms } => {
                self.park_on_replicas(ctx, place, replicas, position, timeout_ms);
            }
            Then::WaitForSync { wanted, timeout_ms } => self.park_on_syncs(ctx, place, wanted, timeout_ms),
            Then::Postpone => {
                self.clients.block(place, BlockedOn::Postponed { request: request.to_owned() }, None);
            }
            Then::Sleep { time } => self.clients.block(place, BlockedOn::Sleep, Some(ctx.now() + time)),
            Then::Script => self.clients.block(place, BlockedOn::Script, None),
            Then::UserFile { writes } => self.park_on_user_file(place, writes),
            Then::Save { shard } => self.park_on_save(place, shard),
            Then::Target => self.clients.block(place, BlockedOn::Target, None),
        }
        Outcome::Parked
    }

    /// What CLIENT REPLY asked to leave out is taken back. Confirmations of subscriptions are messages and no replies.
    #[inline]
    fn filter_replies(&mut self, place: usize, start: usize, request: Request<'_>, out: &mut Vec<u8>) {
        let Some(client) = self.clients.list.get_mut(place) else { return };
        let was = client.replies;
        match was {
            Replies::On | Replies::Off => {}
            Replies::SkipNext => client.replies = Replies::Skip,
            Replies::Skip => client.replies = Replies::On,
        }
        let leaves_out = matches!(was, Replies::Off | Replies::Skip);
        if leaves_out && !request.arg(0).to_ascii_lowercase().ends_with(b"subscribe") {
            out.truncate(start);
        }
    }

    /// Says why the append-only file cannot be written, or that it can: until then writes are refused with MISCONF.
    pub fn set_log_failure(&mut self, reason: Option<String>) {
        self.log_failure = reason;
    }

    /// An instance listens on another port than it was given.
    pub fn set_port(&mut self, instance: usize, port: u16) {
        self.instances[instance].port = port;
    }

    /// Bytes for other connections, in order.
    pub fn take_deliveries(&mut self) -> Vec<Delivery> {
        self.broadcast_invalidations();
        self.stream_on();
        std::mem::take(&mut self.deliveries)
    }

    /// True if other connections have something to receive.
    pub fn has_deliveries(&self) -> bool {
        !self.deliveries.is_empty() || self.has_broadcasts || self.replication.is_dirty
    }

    /// The commands that were executed since the last call, by shard: what the append-only file has to hold before the
    /// replies go out.
    pub fn log_bytes(&mut self) -> impl Iterator<Item = (usize, &mut Vec<u8>)> {
        self.datasets
            .iter_mut()
            .filter_map(|(shard, dataset)| dataset.log.as_mut().filter(|log| !log.is_empty()).map(|log| (shard, log)))
    }

    /// Shards that have begun with nothing since the last call: what their files hold is of another life.
    pub(crate) fn take_new_shards(&mut self) -> Vec<usize> {
        let new = |(index, dataset): (usize, &mut Dataset)| std::mem::take(&mut dataset.is_new).then_some(index);
        self.datasets.iter_mut().filter_map(new).collect()
    }

    /// True if a shard has commands for its append-only file.
    pub fn has_log_bytes(&self) -> bool {
        self.config.settings.has_log
            && self
                .datasets
                .iter()
                .any(|(_, dataset)| dataset.is_new || dataset.log.as_ref().is_some_and(|log| !log.is_empty()))
    }

    pub(crate) fn deliver_to(&mut self, place: usize, bytes: Vec<u8>, resumes: bool, closes: bool) {
        if let Some(client) = self.clients.list.get_mut(place) {
            client.is_closing |= closes;
            let conn = ConnId { place, number: client.number };
            self.instances[client.instance].stats.output_bytes += bytes.len() as u64;
            self.deliveries.push(Delivery { conn, bytes, resumes, closes });
        }
    }

    /// The address of an instance at which it is reached from there; port 0 if it does not listen so.
    pub(crate) fn advertised(&self, ctx: &Context<'_>, id: InstanceId, access: Access) -> (Ipv4Addr, u16) {
        let instance = &self.instances[id];
        let address = ctx.kernel().node(instance.node).map_or(Ipv4Addr::LOCALHOST, |node| match access.peer {
            Peer::Host => node.config.address,
            Peer::Pod { .. } => node.config.pod_side_address,
        });
        (address, if access.is_tls { instance.tls_port } else { instance.port })
    }

    /// The address at which instances of the cluster reach each other, as `tls-cluster` says.
    pub(crate) fn advertised_on_bus(&self, ctx: &Context<'_>, id: InstanceId, peer: Peer) -> (Ipv4Addr, u16) {
        self.advertised(ctx, id, Access { peer, is_tls: self.config.settings.tls.is_for_cluster })
    }

    /// The address at which replicas and masters reach each other, as `tls-replication` says.
    pub(crate) fn advertised_to_replicas(&self, ctx: &Context<'_>, id: InstanceId, peer: Peer) -> (Ipv4Addr, u16) {
        self.advertised(ctx, id, Access { peer, is_tls: self.config.settings.tls.is_between_replicas() })
    }

    /// True if BGREWRITEAOF was asked for since the last call.
    pub fn take_rewrite_wanted(&mut self) -> bool {
        std::mem::take(&mut self.rewrite_wanted)
    }

    /// All connections of an instance are gone, as its process is.
    pub(crate) fn drop_clients(&mut self, id: InstanceId) {
        self.scripts.forget(id);
        self.moving.forget(id);
        for place in self.clients.of(id) {
            self.forget_client(place);
        }
        self.forget_tracking(id);
    }

    fn forget_client(&mut self, place: usize) {
        self.uncount(place);
        self.stop_monitoring(place);
        self.leave_keys(place);
        self.unwatch(place);
        self.unsubscribe_all(place);
        self.untrack(place);
        self.forget_replica(place);
        self.forget_master(place);
        self.clients.list.remove(place);
    }

    /// Deletes keys whose time has come, where this is a master's task.
    fn expire_due(&mut self, ctx: &Context<'_>) {
        if !self.expires_by_itself() {
            return;
        }
        if ctx.now() < self.expired_at + EXPIRE_PERIOD && self.expired_at != Moment::ZERO {
            return;
        }
        let mut is_late = false;
        let owners: Vec<(usize, InstanceId)> =
            self.datasets.iter().map(|(index, dataset)| (index, dataset.owner)).collect();
        for (dataset, owner) in owners {
            let is_up = self.instances[owner].run == Run::Up && self.instances[owner].dataset == Some(dataset);
            if is_up
                && self.is_master(owner)
                && !self.follows(owner)
                && !self.scripts.is_busy(owner)
                && !self.stands_still(owner)
            {
                is_late |= self.expire_some(ctx, owner);
            }
        }
        if is_late || self.next_deadline().is_some_and(|at| at <= ctx.now()) {
            self.expired_at = ctx.now();
        }
    }

    /// False after DEBUG SET-ACTIVE-EXPIRE 0 or PAUSE-CRON 1.
    fn expires_by_itself(&self) -> bool {
        self.switches.expires_actively && self.switches.has_cron
    }

    fn next_deadline(&self) -> Option<Moment> {
        let deadline = |(_, dataset): (usize, &Dataset)| {
            if self.stands_still(dataset.owner) {
                return None;
            }
            let first = dataset.databases.iter().filter_map(crate::state::Keyspace::next_deadline).min()?;
            Some(first.saturating_sub(self.instances[dataset.owner].clock_ms))
        };
        if !self.expires_by_itself() {
            return None;
        }
        let ms = self.datasets.iter().filter_map(deadline).min()?.saturating_sub(self.wall_offset_ms);
        Some(Moment::from_millis(u64::try_from(ms).unwrap_or(0)))
    }
}

impl Core for Cluster {
    fn on_fault(&mut self, ctx: &Context<'_>, event: &FaultEvent) {
        self.fault(ctx, event);
    }

    fn advance(&mut self, ctx: &Context<'_>) {
        self.advance_scripts(ctx);
        self.replicate_owed(ctx);
        self.sync_disks(ctx);
        self.advance_cluster(ctx);
        self.time_out_waiters(ctx);
        self.end_pauses(ctx);
        self.expire_due(ctx);
        self.go_on_evicting(ctx);
        self.save_some(ctx);
        self.tick_replicas(ctx);
        self.tick_failover(ctx);
        self.tick_upstreams(ctx);
        self.advance_snapshots(ctx);
    }

    fn next_wake(&self) -> Option<Moment> {
        if !self.owed.is_empty() {
            return Some(Moment::ZERO);
        }
        let waiter = self.clients.deadlines.first().map(|(at, _)| *at);
        let expiry = self.next_deadline().map(|at| at.max(self.expired_at + EXPIRE_PERIOD));
        let scripts = self.scripts.next_wake();
        let others = [self.disk_sync_at, scripts, self.next_save(), self.next_pause_end(), self.next_replica_wake()];
        [self.next_cluster_wake(), waiter, expiry, self.next_upstream_wake(), self.next_failover_wake()]
            .into_iter()
            .chain(others)
            .chain([self.evicting_from])
            .flatten()
            .min()
    }
}
