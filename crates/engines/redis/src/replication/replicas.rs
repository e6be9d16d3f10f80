//! Real servers that follow an instance: <https://redis.io/docs/latest/operate/oss_and_stack/management/replication/>.

use std::time::Duration;

use atoll_kernel::{Context, Moment};

use crate::ConnId;
use crate::cluster::{InstanceId, Run};
use crate::config::{OutputLimit, REPLICAS};
use crate::core::Cluster;
use crate::error::Refusal;

/// How often replicas are looked after.
pub(super) const TICK: Duration = Duration::from_secs(1);
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const GETACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";

/// How far a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has only introduced itself.
    Announced,
    /// It waits for a snapshot to begin.
    Waiting,
    /// It is sent a snapshot.
    Loading,
    /// It has the snapshot, and the stream follows once it has said so.
    Loaded,
    /// It is sent the stream.
    Online,
}

/// A connection that is a replica, or is about to become one.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) listening_port: i64,
    pub(crate) address: Option<Vec<u8>>,
    /// `capa eof`: it can do without being told a snapshot's length.
    pub(crate) takes_stream: bool,
    /// `capa psync2`: it can be told another name for the history.
    pub(crate) takes_names: bool,
    /// `rdb-only`: it leaves after the snapshot.
    pub(crate) wants_snapshot_only: bool,
    /// `rdb-filter-only`: no keys, and perhaps no functions.
    pub(crate) without_data: bool,
    pub(crate) without_functions: bool,
    /// It came with SYNC, and acknowledges nothing.
    pub(crate) is_old: bool,
    pub(crate) stage: Stage,
    /// How far the stream was sent to it.
    pub(super) sent: u64,
    pub(crate) acknowledged: u64,
    /// What it says to have on disk.
    pub(crate) synced: u64,
    pub(crate) acknowledged_at: Moment,
    /// Whose stream it gets, and how often that had forked.
    pub(super) dataset: usize,
    pub(super) forks: u64,
    /// How many bytes have left the core for it and have not been written to its socket.
    pub(super) unwritten: u64,
    /// Since when it has been over the soft limit.
    over_limit_since: Option<Moment>,
}

impl Replica {
    fn new(now: Moment) -> Replica {
        Replica {
            listening_port: 0,
            address: None,
            takes_stream: false,
            takes_names: false,
            wants_snapshot_only: false,
            without_data: false,
            without_functions: false,
            is_old: false,
            stage: Stage::Announced,
            sent: 0,
            acknowledged: 0,
            synced: 0,
            acknowledged_at: now,
            dataset: usize::MAX,
            forks: 0,
            unwritten: 0,
            over_limit_since: None,
        }
    }

    /// `state` in INFO.
    pub(crate) fn state(&self) -> &'static str {
        match self.stage {
            Stage::Announced | Stage::Waiting => "wait_bgsave",
            Stage::Loading => "send_bulk",
            Stage::Loaded | Stage::Online => "online",
        }
    }

    fn is_online(&self) -> bool {
        matches!(self.stage, Stage::Online | Stage::Loaded)
    }
}

/// What PSYNC asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Continuation<'a> {
    pub(crate) name: &'a [u8],
    /// The offset of the first byte that is lacking.
    pub(crate) offset: i64,
}

impl Cluster {
    /// What a client has said of itself as a replica.
    pub(crate) fn introduce_replica(&mut self, ctx: &Context<'_>, place: usize) -> &mut Replica {
        let now = ctx.now();
        self.clients.list[place].replica.get_or_insert_with(|| Box::new(Replica::new(now)))
    }

    /// The replica that a client is, if it is one already.
    pub(crate) fn replica(&self, place: usize) -> Option<&Replica> {
        let replica = self.clients.list.get(place)?.replica.as_deref()?;
        (replica.stage != Stage::Announced).then_some(replica)
    }

    pub(super) fn replica_mut(&mut self, place: usize) -> Option<&mut Replica> {
        let replica = self.clients.list.get_mut(place)?.replica.as_deref_mut()?;
        (replica.stage != Stage::Announced).then_some(replica)
    }

    /// The clients that are replicas of an instance, in the order in which they came.
    pub(crate) fn replica_clients(&self, id: InstanceId) -> impl Iterator<Item = (usize, &Replica)> {
        let of_it = move |place: &usize| self.clients.list.get(*place).is_some_and(|client| client.instance == id);
        let places = self.replication.attached.iter().copied().filter(of_it);
        places.filter_map(|place| self.replica(place).map(|replica| (place, replica)))
    }

    /// Where a replica says to be, or where it comes from.
    pub(crate) fn replica_address(&self, place: usize) -> String {
        let Some(client) = self.clients.list.get(place) else { return String::new() };
        match client.replica.as_ref().and_then(|replica| replica.address.as_ref()) {
            Some(address) => String::from_utf8_lossy(address).into_owned(),
            None => client.addresses.map_or(String::new(), |(peer, _)| peer.ip().to_string()),
        }
    }

    /// True if servers outside of the stack follow an instance.
    pub(crate) fn has_replica_clients(&self, id: InstanceId) -> bool {
        !self.replication.attached.is_empty() && self.replica_clients(id).next().is_some()
    }

    /// SYNC and PSYNC: the client becomes a replica, and goes on from where it was if that can be.
    pub(crate) fn attach_replica(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        wanted: Option<Continuation<'_>>,
        out: &mut crate::wire::Reply<'_>,
    ) -> Result<(), Refusal> {
        let id = self.clients.list[place].instance;
        self.may_be_followed(id)?;
        let replica = self.introduce_replica(ctx, place);
        if (replica.without_data || replica.without_functions) && !replica.takes_stream {
            return Err(Refusal::text("ERR Filtered replica requires EOF capability"));
        }
        replica.is_old = wanted.is_none();
        replica.acknowledged_at = ctx.now();
        let position = wanted.and_then(|wanted| self.continues_at(id, wanted));
        let Some(dataset) = self.instances[id].dataset else { return Ok(()) };
        let (forks, name) = (self.datasets[dataset].feed.forks, self.datasets[dataset].feed.name.clone());
        self.replication.attached.push(place);
        self.replication.next_tick.get_or_insert(ctx.now() + TICK);
        self.replication.unused_since = None;
        let replica = self.introduce_replica(ctx, place);
        (replica.dataset, replica.forks) = (dataset, forks);
        if let Some(position) = position {
            replica.stage = Stage::Online;
            replica.sent = position;
            let takes_names = replica.takes_names;
            self.instances[id].stats.partial_syncs += 1;
            let line = if takes_names { format!("+CONTINUE {name}\r\n") } else { "+CONTINUE\r\n".to_owned() };
            out.raw(line.as_bytes());
            self.replication.is_dirty = true;
            return Ok(());
        }
        let stats = &mut self.instances[id].stats;
        stats.partial_refused += u64::from(wanted.is_some_and(|wanted| !wanted.name.starts_with(b"?")));
        stats.full_syncs += 1;
        self.await_snapshot(ctx, place);
        Ok(())
    }

    /// An instance is followed only while it has what its own master has.
    fn may_be_followed(&self, id: InstanceId) -> Result<(), Refusal> {
        let instance = &self.instances[id];
        if self.fails_over() {
            return Err(Refusal::text("NOMASTERLINK Can't SYNC while failing over"));
        }
        let is_cut_off = instance.link.master.is_some() && !instance.link.is_up
            || instance.upstream.as_ref().is_some_and(|upstream| !upstream.is_up());
        let dataset = instance.dataset.and_then(|dataset| self.datasets.get(dataset));
        let is_apart = dataset.is_none_or(|dataset| {
            let follower = dataset.follower(id).map(|index| &dataset.followers[index]);
            follower.is_some_and(|follower| follower.is_apart)
        });
        if is_cut_off || is_apart {
            return Err(Refusal::text("NOMASTERLINK Can't SYNC while not connected with my master"));
        }
        Ok(())
    }

    /// Where the stream goes on for a replica that names its history and its offset.
    fn continues_at(&self, id: InstanceId, wanted: Continuation<'_>) -> Option<u64> {
        let dataset = self.datasets.get(self.instances[id].dataset?)?;
        let feed = &dataset.feed;
        let offset = u64::try_from(wanted.offset).ok().filter(|offset| *offset > 0)?;
        let is_present = wanted.name.eq_ignore_ascii_case(feed.name.as_bytes());
        let is_previous = feed
            .previous
            .as_ref()
            .is_some_and(|(name, end)| wanted.name.eq_ignore_ascii_case(name.as_bytes()) && offset <= *end);
        let position = feed.position(offset - 1);
        let is_there = feed.is_active() && position >= feed.begin() && position <= dataset.position(id);
        ((is_present || is_previous) && is_there).then_some(position)
    }

    /// REPLCONF ACK.
    pub(crate) fn replica_acknowledged(&mut self, ctx: &Context<'_>, place: usize, offset: u64, synced: Option<u64>) {
        let Some(replica) = self.replica_mut(place) else { return };
        replica.acknowledged = replica.acknowledged.max(offset);
        replica.synced = replica.synced.max(synced.unwrap_or(0));
        replica.acknowledged_at = ctx.now();
        if replica.stage == Stage::Loaded {
            replica.stage = Stage::Online;
            self.replication.is_dirty = true;
        }
        let id = self.clients.list[place].instance;
        self.wake_waiters(ctx, id);
    }

    /// How many replicas outside of the stack have acknowledged all up to `position`.
    pub(crate) fn replica_clients_at(&self, id: InstanceId, position: u64) -> usize {
        if self.replication.attached.is_empty() {
            return 0;
        }
        let Some(dataset) = self.instances[id].dataset.and_then(|dataset| self.datasets.get(dataset)) else { return 0 };
        // Negative for a client that has written nothing since the stream began.
        let target = dataset.feed.offset(position, false).cast_signed();
        let has_it = |replica: &Replica| replica.is_online() && replica.acknowledged.cast_signed() >= target;
        self.replica_clients(id).filter(|(_, replica)| has_it(replica)).count()
    }

    /// How many of them say to have all up to `position` on disk.
    pub(crate) fn replica_clients_synced_at(&self, id: InstanceId, position: u64) -> usize {
        let Some(dataset) = self.instances[id].dataset.and_then(|dataset| self.datasets.get(dataset)) else { return 0 };
        let target = dataset.feed.offset(position, false).cast_signed();
        let has_it = |replica: &Replica| replica.is_online() && replica.synced.cast_signed() >= target;
        self.replica_clients(id).filter(|(_, replica)| has_it(replica)).count()
    }

    /// How many of them were heard of lately enough for `min-replicas-to-write`.
    pub(crate) fn good_replica_clients(&self, ctx: &Context<'_>, id: InstanceId) -> usize {
        let lag_max = self.config.settings.min_replicas_lag;
        let is_good = |replica: &Replica| {
            replica.is_online() && ctx.now().since(replica.acknowledged_at).as_secs() <= lag_max.as_secs()
        };
        self.replica_clients(id).filter(|(_, replica)| is_good(replica)).count()
    }

    /// Asks the replicas of an instance where they are, for a client that waits for them.
    pub(crate) fn request_acknowledgements(&mut self, ctx: &Context<'_>, id: InstanceId) {
        if self.has_replica_clients(id)
            && let Some(dataset) = self.instances[id].dataset
        {
            self.stream_bytes(ctx, dataset, GETACK);
        }
    }

    /// Hands the streams on, each replica's as far as the instance has come that it follows.
    pub(crate) fn stream_on(&mut self) {
        if !std::mem::take(&mut self.replication.is_dirty) {
            return;
        }
        for place in self.replication.attached.clone() {
            self.stream_to_client(place);
        }
        for index in self.datasets.iter().map(|(index, _)| index).collect::<Vec<_>>() {
            let of_it = self.replication.attached.iter().filter_map(|place| self.replica(*place));
            let needed = of_it.filter(|replica| replica.dataset == index && replica.stage != Stage::Waiting);
            let needed = needed.map(|replica| replica.sent).min().unwrap_or(u64::MAX);
            self.datasets[index].feed.trim(self.config.settings.repl_backlog, needed);
        }
    }

    fn stream_to_client(&mut self, place: usize) {
        let Some(replica) = self.replica(place) else { return };
        let (stage, sent, forks, index) = (replica.stage, replica.sent, replica.forks, replica.dataset);
        let id = self.clients.list[place].instance;
        let dataset = self.datasets.get(index).filter(|_| self.instances[id].dataset == Some(index));
        let Some(dataset) = dataset.filter(|dataset| dataset.feed.forks == forks) else {
            // The instance is on another history now. The replica comes back, and asks where to go on.
            self.drop_replica(place);
            return;
        };
        let position = dataset.position(id);
        if stage != Stage::Online || position <= sent {
            return;
        }
        let Some(bytes) = dataset.feed.range(sent, position) else {
            self.drop_replica(place);
            return;
        };
        if let Some(replica) = self.replica_mut(place) {
            replica.sent = position;
        }
        self.deliver_to_replica(place, bytes);
    }

    /// Bytes for a replica, which count until they are written.
    pub(super) fn deliver_to_replica(&mut self, place: usize, bytes: Vec<u8>) {
        if let Some(replica) = self.replica_mut(place) {
            replica.unwritten += bytes.len() as u64;
        }
        self.deliver_to(place, bytes, false, false);
    }

    /// Closes a replica's connection.
    pub(crate) fn drop_replica(&mut self, place: usize) {
        self.replication.attached.retain(|other| *other != place);
        self.deliver_to(place, Vec::new(), false, true);
    }

    /// Closes the connections of all replicas of an instance: its history is another one from here on.
    pub(crate) fn drop_replicas_of(&mut self, id: InstanceId) {
        let places: Vec<usize> = self.replica_clients(id).map(|(place, _)| place).collect();
        places.into_iter().for_each(|place| self.drop_replica(place));
    }

    /// A client is no more.
    pub(crate) fn forget_replica(&mut self, place: usize) {
        if self.clients.list.get(place).is_some_and(|client| client.replica.is_some()) {
            self.replication.attached.retain(|other| *other != place);
            // Another connection may come to stand at its place, and must not be sent the rest of its snapshot.
            self.replication.syncs.iter_mut().for_each(|sync| sync.forget(place));
        }
    }

    /// True if a connection is a replica's: whoever writes to its socket then says how much was written.
    pub fn is_replica(&self, conn: ConnId) -> bool {
        self.clients.get(conn).is_some() && self.replica(conn.place).is_some()
    }

    /// So many bytes have been written to a replica's socket.
    pub fn written(&mut self, conn: ConnId, bytes: usize) {
        if self.clients.get(conn).is_some()
            && let Some(replica) = self.replica_mut(conn.place)
        {
            replica.unwritten = replica.unwritten.saturating_sub(bytes as u64);
        }
    }

    /// Once a second: pings, and an end with those that are silent or do not read.
    pub(crate) fn tick_replicas(&mut self, ctx: &Context<'_>) {
        if self.replication.next_tick.is_none_or(|at| at > ctx.now()) {
            return;
        }
        // A ping would move the offset that a replica is to reach.
        let may_ping = !self.fails_over();
        if may_ping && ctx.now().since(self.replication.pinged_at) >= self.config.settings.repl_ping_period {
            self.replication.pinged_at = ctx.now();
            self.ping_replicas(ctx);
        }
        let limit = self.config.settings.output_limits[REPLICAS];
        for place in self.replication.attached.clone() {
            self.look_after(ctx, place, limit);
        }
        self.free_unused_stream(ctx);
        let is_needed = !self.replication.attached.is_empty() || self.replication.unused_since.is_some();
        self.replication.next_tick = is_needed.then(|| ctx.now() + TICK);
    }

    fn ping_replicas(&mut self, ctx: &Context<'_>) {
        let mut indexes: Vec<usize> = Vec::new();
        for place in &self.replication.attached {
            if let Some(replica) = self.replica(*place).filter(|replica| replica.stage != Stage::Waiting)
                && !indexes.contains(&replica.dataset)
            {
                indexes.push(replica.dataset);
            }
        }
        for index in indexes {
            let owner = self.datasets.get(index).map(|dataset| dataset.owner);
            if owner.is_some_and(|owner| self.instances[owner].run == Run::Up && !self.scripts.is_busy(owner)) {
                self.stream_bytes(ctx, index, PING);
            }
        }
    }

    fn look_after(&mut self, ctx: &Context<'_>, place: usize, limit: OutputLimit) {
        let repl_timeout = self.config.settings.repl_timeout;
        let end =
            self.replica(place).and_then(|replica| self.datasets.get(replica.dataset)).map_or(0, |set| set.offset);
        let Some(replica) = self.replica_mut(place) else { return };
        let behind = if replica.stage == Stage::Waiting { 0 } else { end.saturating_sub(replica.sent) };
        let waiting = replica.unwritten + behind;
        let is_over_soft = limit.soft > 0 && waiting > limit.soft;
        let since = *replica.over_limit_since.get_or_insert(ctx.now());
        if !is_over_soft {
            replica.over_limit_since = None;
        }
        let is_over_for_long = is_over_soft && ctx.now().since(since) >= limit.patience;
        let is_over = is_over_for_long || limit.hard > 0 && waiting > limit.hard;
        let is_silent = replica.stage == Stage::Online
            && !replica.is_old
            && ctx.now().since(replica.acknowledged_at) > repl_timeout;
        let is_waiting = replica.stage == Stage::Waiting;
        if is_over || is_silent {
            self.drop_replica(place);
        } else if is_waiting {
            // It sees that the connection lives.
            self.deliver_to_replica(place, b"\n".to_vec());
        }
    }

    /// `repl-backlog-ttl`: a stream that nobody follows is given up some time later.
    fn free_unused_stream(&mut self, ctx: &Context<'_>) {
        let lifetime = self.config.settings.repl_backlog_lifetime;
        if self.config.settings.is_cluster || !self.replication.attached.is_empty() || lifetime.is_zero() {
            self.replication.unused_since = None;
            return;
        }
        let since = *self.replication.unused_since.get_or_insert(ctx.now());
        let own = |dataset: &crate::state::Dataset| dataset.feed.is_active() && !dataset.feed.is_relayed;
        if !self.datasets.iter().any(|(_, dataset)| own(dataset)) {
            self.replication.unused_since = None;
        } else if ctx.now().since(since) >= lifetime {
            self.replication.unused_since = None;
            for (_, dataset) in self.datasets.iter_mut().filter(|(_, dataset)| own(dataset)) {
                dataset.feed.deactivate();
            }
        }
    }
}
