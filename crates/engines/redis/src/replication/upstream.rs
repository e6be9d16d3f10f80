//! A single server that follows a real master: <https://redis.io/docs/latest/commands/replicaof/>.
//!
//! The core is told that a connection is there and what came over it, and says what is to be sent; the socket is
//! `follower.rs`'s. What the master's stream brings is executed as a client of its own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use atoll_kernel::{Context, Moment, NodeId};
use atoll_net::Peer;

use super::source::{Part, Source};
use crate::ConnId;
use crate::cluster::InstanceId;
use crate::core::Cluster;
use crate::ops::{Flags, is, restore_libraries};
use crate::rdb::{Item, Reader};
use crate::wire::{Limits, OwnedRequest, Request};

/// How often a master is tried again, and told how far its replica is.
const PERIOD: Duration = Duration::from_secs(1);

/// How much of a transaction is held until it is complete.
const TRANSACTION_MAX: usize = 1 << 30;
/// What a master's stream consists of.
const STREAMED: Flags = Flags::WRITE.or(Flags::MAY_REPLICATE).or(Flags::CONTROLS_MULTI);

/// How far the link to a master is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkStage {
    /// It is to be made.
    Connect,
    Connecting,
    Handshake,
    /// A snapshot is on its way.
    Sync,
    Connected,
}

/// What an answer in the handshake is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Ping,
    Auth,
    /// Something that an older master need not know.
    Option,
    Psync,
}

/// The master that a single server follows.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) stage: LinkStage,
    /// The client that stands for the master.
    pub(crate) client: Option<usize>,
    pub(crate) heard_at: Moment,
    /// Since when the link is down.
    pub(crate) down_since: Option<Moment>,
    pub(crate) source: Source,
    /// Distinguishes this attempt to connect from those before it.
    attempt: u64,
    asked: VecDeque<Asked>,
    /// What the snapshot that is on its way is of: the history's name, and the offset.
    snapshot_of: Option<(String, u64)>,
    /// What of a transaction has come that is not complete.
    held: Vec<u8>,
    due: Moment,
}

impl Upstream {
    /// What ROLE says.
    pub(crate) fn state(&self) -> &'static str {
        match self.stage {
            LinkStage::Connect => "connect",
            LinkStage::Connecting => "connecting",
            LinkStage::Handshake => "handshake",
            LinkStage::Sync => "sync",
            LinkStage::Connected => "connected",
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.stage == LinkStage::Connected
    }
}

/// A connection to a master that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterCall {
    /// Who calls.
    pub instance: usize,
    /// Its node.
    pub node: NodeId,
    /// Where the master is.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Which attempt this is.
    pub attempt: u64,
    /// How long it may take.
    pub patience: Duration,
    /// Over TLS.
    pub is_encrypted: bool,
}

impl Cluster {
    /// True for a replica, of an instance of the stack or of a real server.
    pub(crate) fn follows(&self, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        instance.link.master.is_some() || instance.upstream.is_some()
    }

    /// REPLICAOF HOST PORT.
    pub(crate) fn follow_master(&mut self, ctx: &Context<'_>, id: InstanceId, host: &str, port: u16) {
        let was_master = self.instances[id].upstream.is_none();
        self.leave_upstream(id);
        let upstream = Upstream {
            host: host.to_owned(),
            port,
            stage: LinkStage::Connect,
            client: None,
            heard_at: ctx.now(),
            down_since: Some(ctx.now()),
            source: Source::default(),
            attempt: 0,
            asked: VecDeque::new(),
            snapshot_of: None,
            held: Vec::new(),
            due: ctx.now(),
        };
        self.instances[id].upstream = Some(Box::new(upstream));
        if was_master {
            self.send_blocked_away(id);
            // A replica of a replica asks again where it is.
            self.drop_replicas_of(id);
        }
        ctx.trace(|| format!("redis {id} follows {host}:{port}"));
    }

    /// `replicaof`: what a single server follows from its start on.
    pub(crate) fn follow_configured_master(&mut self, ctx: &Context<'_>) {
        let option = self.config.get("replicaof").unwrap_or_default().to_owned();
        if let Some((host, port)) = option.split_once(' ').filter(|_| !self.config.settings.is_cluster)
            && let Ok(port) = port.trim().parse()
            && !self.instances.is_empty()
        {
            self.follow_master(ctx, 0, host, port);
        }
    }

    /// REPLICAOF NO ONE: what is here is the truth from now on, under another name.
    pub(crate) fn follow_nobody(&mut self, ctx: &Context<'_>, id: InstanceId) {
        if self.instances[id].upstream.is_none() {
            return;
        }
        self.leave_upstream(id);
        self.drop_replicas_of(id);
        if let Some(dataset) = self.instances[id].dataset.and_then(|dataset| self.datasets.get_mut(dataset)) {
            dataset.feed.fork(dataset.offset);
        }
        ctx.trace(|| format!("redis {id} follows nobody"));
    }

    fn leave_upstream(&mut self, id: InstanceId) {
        let client = self.instances[id].upstream.take().and_then(|upstream| upstream.client);
        if let Some(place) = client {
            self.deliver_to(place, Vec::new(), false, true);
        }
    }

    /// Connections to masters that are to be made now.
    pub fn take_master_calls(&mut self) -> Vec<MasterCall> {
        std::mem::take(&mut self.replication.calls)
    }

    /// A connection to a master has been made. None: it is no longer wanted.
    pub fn master_connected(
        &mut self,
        ctx: &Context<'_>,
        call: &MasterCall,
        addresses: Option<(SocketAddr, SocketAddr)>,
    ) -> Option<ConnId> {
        let is_wanted = |upstream: &Upstream| upstream.attempt == call.attempt;
        self.instances[call.instance].upstream.as_deref().filter(|upstream| is_wanted(upstream))?;
        let conn = self.connect(ctx, call.instance, Peer::Host, addresses);
        self.instances[call.instance].stats.connections -= 1;
        let client = &mut self.clients.list[conn.place];
        (client.is_master, client.is_authenticated) = (true, true);
        let limits = Limits { bulk_length_max: self.config.settings.bulk_length_max, unauthenticated: false };
        let upstream = self.instances[call.instance].upstream.as_deref_mut()?;
        upstream.client = Some(conn.place);
        upstream.stage = LinkStage::Handshake;
        upstream.source = Source::new(limits);
        upstream.asked = VecDeque::from([Asked::Ping]);
        upstream.heard_at = ctx.now();
        self.deliver_to(conn.place, OwnedRequest::new([b"PING".as_slice()]).encoded(), false, false);
        Some(conn)
    }

    /// A connection to a master could not be made.
    pub fn master_unreachable(&mut self, ctx: &Context<'_>, call: &MasterCall) {
        if let Some(upstream) = self.instances[call.instance].upstream.as_deref_mut()
            && upstream.attempt == call.attempt
        {
            upstream.stage = LinkStage::Connect;
            upstream.due = ctx.now() + PERIOD;
        }
    }

    /// A client is no more. If it stood for a master, that is called again.
    pub(crate) fn forget_master(&mut self, place: usize) {
        let Some(client) = self.clients.list.get(place).filter(|client| client.is_master) else { return };
        let (id, now) = (client.instance, client.used_at);
        let Some(upstream) = self.instances[id].upstream.as_deref_mut() else { return };
        if upstream.client != Some(place) {
            return;
        }
        if upstream.is_up() {
            upstream.down_since = Some(now.max(upstream.heard_at));
        }
        upstream.client = None;
        upstream.stage = LinkStage::Connect;
        upstream.held.clear();
        upstream.source = Source::default();
        upstream.due = upstream.heard_at.max(upstream.due);
    }

    /// Bytes have come from a master. False: the connection is to be closed.
    pub fn master_sent(&mut self, ctx: &Context<'_>, conn: ConnId, bytes: &[u8]) -> bool {
        let Some(client) = self.clients.get_mut(conn) else {
            return false;
        };
        client.used_at = ctx.now();
        let id = client.instance;
        let Some(upstream) = self.instances[id].upstream.as_deref_mut() else { return false };
        if upstream.client != Some(conn.place) {
            return false;
        }
        upstream.heard_at = ctx.now();
        upstream.source.receive(bytes);
        loop {
            let Some(upstream) = self.instances[id].upstream.as_deref_mut() else { return false };
            let is_good = match upstream.source.next_part() {
                Ok(None) => return true,
                Err(bad) => {
                    ctx.trace(|| format!("redis {id} leaves its master, which sent {}", bad.0));
                    return false;
                }
                Ok(Some(Part::Line(line))) => self.handshake_answered(ctx, id, conn.place, &line),
                Ok(Some(Part::Snapshot(file))) => self.take_snapshot_over(ctx, id, conn.place, &file),
                Ok(Some(Part::Command(request, bytes))) => {
                    self.execute_from_master(ctx, id, conn.place, &request, &bytes)
                }
            };
            if !is_good {
                return false;
            }
        }
    }

    fn handshake_answered(&mut self, ctx: &Context<'_>, id: InstanceId, place: usize, line: &[u8]) -> bool {
        let Some(upstream) = self.instances[id].upstream.as_deref_mut() else { return false };
        let is_error = line.starts_with(b"-");
        match upstream.asked.pop_front() {
            Some(Asked::Ping) => {
                let may_go_on = [b"-NOAUTH".as_slice(), b"-NOPERM", b"-ERR operation not permitted"];
                if is_error && !may_go_on.iter().any(|known| line.starts_with(known)) {
                    return false;
                }
                self.introduce_to_master(id, place);
                true
            }
            Some(Asked::Auth) if is_error => false,
            Some(Asked::Auth | Asked::Option) => {
                if upstream.asked.is_empty() {
                    self.ask_for_stream(id, place);
                }
                true
            }
            Some(Asked::Psync) => self.stream_answered(ctx, id, place, line),
            None => false,
        }
    }

    fn introduce_to_master(&mut self, id: InstanceId, place: usize) {
        let text = |name: &str| self.config.get(name).unwrap_or_default().as_bytes().to_vec();
        let (user, password) = (text("masteruser"), text("masterauth"));
        let (announced_ip, announced_port) = (text("replica-announce-ip"), text("replica-announce-port"));
        let instance = &self.instances[id];
        let is_tls = self.config.settings.tls.is_between_replicas();
        let own_port = if is_tls { instance.tls_port } else { instance.port }.to_string().into_bytes();
        let port = if announced_port == b"0" { own_port } else { announced_port };
        let mut requests = Vec::new();
        if !password.is_empty() {
            let words = [b"AUTH".as_slice(), &user, &password];
            requests.push((Asked::Auth, OwnedRequest::new(words.into_iter().filter(|word| !word.is_empty()))));
        }
        requests.push((Asked::Option, OwnedRequest::new([b"REPLCONF".as_slice(), b"listening-port", &port])));
        if !announced_ip.is_empty() {
            requests.push((Asked::Option, OwnedRequest::new([b"REPLCONF".as_slice(), b"ip-address", &announced_ip])));
        }
        let capabilities = [b"REPLCONF".as_slice(), b"capa", b"eof", b"capa", b"psync2"];
        requests.push((Asked::Option, OwnedRequest::new(capabilities)));
        let mut bytes = Vec::new();
        let Some(upstream) = self.instances[id].upstream.as_deref_mut() else { return };
        for (asked, request) in requests {
            upstream.asked.push_back(asked);
            bytes.extend_from_slice(&request.encoded());
        }
        self.deliver_to(place, bytes, false, false);
    }

    fn ask_for_stream(&mut self, id: InstanceId, place: usize) {
        let offset = self.offset_of(id) + 1;
        let dataset = self.instances[id].dataset.and_then(|dataset| self.datasets.get(dataset));
        let (name, offset) = match dataset.map(|dataset| &dataset.feed).filter(|feed| feed.is_active()) {
            Some(feed) => (feed.name.clone(), offset.to_string()),
            None => ("?".to_owned(), "-1".to_owned()),
        };
        let mut request = OwnedRequest::new([b"PSYNC".as_slice(), name.as_bytes(), offset.as_bytes()]);
        if self.fails_over() {
            request.push(b"FAILOVER");
        }
        if let Some(upstream) = self.instances[id].upstream.as_deref_mut() {
            upstream.asked.push_back(Asked::Psync);
        }
        self.deliver_to(place, request.encoded(), false, false);
    }

    /// The answer to PSYNC. False: not now.
    fn stream_answered(&mut self, ctx: &Context<'_>, id: InstanceId, place: usize, line: &[u8]) -> bool {
        let text = String::from_utf8_lossy(line).into_owned();
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let fails_over = self.fails_over();
        let Some(upstream) = self.instances[id].upstream.as_deref_mut() else { return false };
        match words.as_slice() {
            ["+FULLRESYNC", name, offset] => {
                let offset = offset.parse::<i64>().ok().and_then(|offset| u64::try_from(offset).ok());
                let Some(offset) = offset.filter(|_| name.len() == 40) else { return false };
                upstream.snapshot_of = Some(((*name).to_owned(), offset));
            }
            ["+CONTINUE", rest @ ..] => {
                self.go_on_with_stream(id, place, rest.first().copied().filter(|name| name.len() == 40));
                self.end_failover(ctx);
                return true;
            }
            ["-NOMASTERLINK" | "-LOADING", ..] => return false,
            _ if line.starts_with(b"-") && fails_over => {
                // The replica does not take over.
                let _ = self.abort_failover(ctx);
                return false;
            }
            _ if line.starts_with(b"-") => {
                // A master older than PSYNC.
                upstream.snapshot_of = None;
                let request = OwnedRequest::new([b"SYNC".as_slice()]);
                upstream.stage = LinkStage::Sync;
                upstream.source.expect_snapshot();
                self.deliver_to(place, request.encoded(), false, false);
                return true;
            }
            _ => return false,
        }
        upstream.stage = LinkStage::Sync;
        upstream.source.expect_snapshot();
        self.end_failover(ctx);
        true
    }

    fn go_on_with_stream(&mut self, id: InstanceId, place: usize, name: Option<&str>) {
        let Some(dataset) = self.instances[id].dataset.and_then(|dataset| self.datasets.get_mut(dataset)) else {
            return;
        };
        let is_renamed = name.is_some_and(|name| name != dataset.feed.name);
        if let Some(name) = name.filter(|_| is_renamed) {
            dataset.feed.rename(name, dataset.offset);
        }
        dataset.feed.is_relayed = true;
        let database = dataset.feed.selected().unwrap_or(0);
        self.clients.list[place].database = database;
        if let Some(upstream) = self.instances[id].upstream.as_deref_mut() {
            upstream.stage = LinkStage::Connected;
            upstream.down_since = None;
            upstream.source.expect_stream();
        }
        if is_renamed {
            self.drop_replicas_of(id);
        }
        self.acknowledge_to_master(id);
    }

    /// All that is here goes, and what the snapshot holds takes its place. False if it cannot be read.
    fn take_snapshot_over(&mut self, ctx: &Context<'_>, id: InstanceId, place: usize, file: &[u8]) -> bool {
        let Some(index) = self.instances[id].dataset else { return false };
        let of = self.instances[id].upstream.as_deref_mut().and_then(|upstream| upstream.snapshot_of.take());
        self.drop_replicas_of(id);
        for database in 0..self.config.settings.databases {
            if let Some(mut db) = self.db_at(ctx, id, database) {
                db.clear();
            }
        }
        for touched in std::mem::take(&mut self.instances[id].interest.touched) {
            if let Some(client) = self.clients.list.get_mut(touched) {
                client.is_dirty = true;
            }
        }
        restore_libraries(self, id, OwnedRequest::new([b"FUNCTION".as_slice(), b"FLUSH"]).as_request());
        let loaded = self.load_snapshot(ctx, Some(index), file);
        let database = stream_database(file, self.config.settings.thresholds).min(self.config.settings.databases - 1);
        let Some(dataset) = self.datasets.get_mut(index) else { return false };
        // The append-only file begins anew with what was loaded.
        dataset.is_new = dataset.log.is_some();
        if let Some(log) = &mut dataset.log {
            log.clear();
        }
        let (name, offset) = of.unwrap_or_else(|| ("?".repeat(40), 0));
        dataset.feed.adopt(&name, dataset.offset, offset);
        dataset.feed.set_selected(database);
        if let Err(error) = loaded {
            dataset.feed.deactivate();
            ctx.trace(|| format!("redis {id} cannot read its master's snapshot: {error}"));
            return false;
        }
        self.clients.list[place].database = database;
        if let Some(upstream) = self.instances[id].upstream.as_deref_mut() {
            upstream.stage = LinkStage::Connected;
            upstream.down_since = None;
            upstream.due = ctx.now() + PERIOD;
        }
        ctx.trace(|| format!("redis {id} has its master's data at {offset}"));
        self.acknowledge_to_master(id);
        true
    }

    /// A command of the master's stream: no check keeps it from being executed. False: that is enough of it.
    fn execute_from_master(
        &mut self,
        ctx: &Context<'_>,
        id: InstanceId,
        place: usize,
        owned: &OwnedRequest,
        bytes: &[u8],
    ) -> bool {
        let request = owned.as_request();
        if is(request.arg(0), "REPLCONF") {
            if is(request.arg(1), "GETACK") {
                self.acknowledge_to_master(id);
            }
        } else {
            self.run_from_master(ctx, place, request);
        }
        let is_inside = self.clients.list[place].transaction.is_some();
        let database = self.clients.list[place].database;
        let Some(upstream) = self.instances[id].upstream.as_deref_mut() else { return false };
        upstream.held.extend_from_slice(bytes);
        if is_inside {
            return upstream.held.len() < TRANSACTION_MAX;
        }
        let held = std::mem::take(&mut upstream.held);
        let Some(dataset) = self.instances[id].dataset.and_then(|dataset| self.datasets.get_mut(dataset)) else {
            return false;
        };
        dataset.stream_raw(&held);
        dataset.feed.set_selected(database);
        self.replication.is_dirty = true;
        if !self.instances[id].interest.ready.is_empty() {
            self.serve_ready(ctx, id);
        }
        true
    }

    fn run_from_master(&mut self, ctx: &Context<'_>, place: usize, request: Request<'_>) {
        let Ok(command) = crate::core::find_command(request) else { return };
        // Nothing else has a place in a stream.
        let may_stream = command.flags.has(STREAMED) || matches!(command.name, "select" | "ping");
        if !may_stream || command.flags.has(Flags::SCRIPT) || !command.accepts(request.len()) {
            return;
        }
        let mut out = Vec::new();
        if self.clients.list[place].transaction.is_some() && !command.flags.has(Flags::CONTROLS_MULTI) {
            // There is nobody to be told that it is queued.
            let _ = self.queue(place, request, &mut out);
            return;
        }
        // A command that fails here failed at the master in the same way.
        let _ = self.execute(ctx, place, command, request, &mut out, false);
    }

    /// REPLCONF ACK.
    fn acknowledge_to_master(&mut self, id: InstanceId) {
        let Some(place) = self.instances[id].upstream.as_deref().and_then(|upstream| upstream.client) else { return };
        let offset = self.offset_of(id).to_string();
        let synced = self.synced_offset_of(id).map(|synced| synced.to_string());
        let mut words = vec![b"REPLCONF".as_slice(), b"ACK", offset.as_bytes()];
        if let Some(synced) = &synced {
            words.extend([b"FACK".as_slice(), synced.as_bytes()]);
        }
        let request = OwnedRequest::new(words);
        self.deliver_to(place, request.encoded(), false, false);
    }

    /// Calls masters, tells them how far their replicas are, and leaves those that are silent.
    pub(crate) fn tick_upstreams(&mut self, ctx: &Context<'_>) {
        for id in 0..self.instances.len() {
            let is_up = self.instances[id].run == crate::cluster::Run::Up;
            let (patience, node) = (self.config.settings.repl_timeout, self.instances[id].node);
            let Some(upstream) = self.instances[id].upstream.as_deref_mut() else { continue };
            if upstream.due > ctx.now() || !is_up {
                continue;
            }
            upstream.due = ctx.now() + PERIOD;
            let is_silent = ctx.now().since(upstream.heard_at) > patience;
            match upstream.stage {
                LinkStage::Connect => {
                    self.replication.attempts += 1;
                    upstream.attempt = self.replication.attempts;
                    upstream.stage = LinkStage::Connecting;
                    let (host, port, attempt) = (upstream.host.clone(), upstream.port, upstream.attempt);
                    let is_encrypted = self.config.settings.tls.is_for_replication;
                    let call = MasterCall { instance: id, node, host, port, attempt, patience, is_encrypted };
                    self.replication.calls.push(call);
                }
                LinkStage::Connecting => {}
                _ if is_silent => {
                    if let Some(place) = upstream.client {
                        self.deliver_to(place, Vec::new(), false, true);
                    }
                }
                LinkStage::Connected => self.acknowledge_to_master(id),
                // It sees that the connection lives.
                LinkStage::Sync => {
                    if let Some(place) = upstream.client {
                        self.deliver_to(place, b"\n".to_vec(), false, false);
                    }
                }
                LinkStage::Handshake => {}
            }
        }
    }

    /// When a link to a master needs something.
    pub(crate) fn next_upstream_wake(&self) -> Option<Moment> {
        let is_up = |instance: &&crate::cluster::Instance| instance.run == crate::cluster::Run::Up;
        self.instances.iter().filter(is_up).filter_map(|instance| Some(instance.upstream.as_ref()?.due)).min()
    }
}

/// The database that the stream after a snapshot begins with, as the snapshot says.
fn stream_database(file: &[u8], thresholds: crate::state::Thresholds) -> usize {
    let Ok(mut reader) = Reader::new(file, thresholds) else { return 0 };
    while let Ok(Some(Item::Fact(name, fact))) = reader.next_item() {
        if name == b"repl-stream-db" {
            return crate::state::parse_integer(&fact).and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
        }
    }
    0
}
