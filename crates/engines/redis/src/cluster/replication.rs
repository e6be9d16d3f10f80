//! Offsets between masters and replicas: the stream of writes, acknowledgements, synchronisation, and what gets lost.
//!
//! A write is a number that moves. While all is well it moves in place ([`Dataset::is_lockstep`]) and no message is sent;
//! otherwise positions travel over the kernel's links, and what they have not reached is kept in overlays.
//!
//! [`Dataset::is_lockstep`]: crate::state::Dataset::is_lockstep

use std::time::Duration;

use atoll_kernel::{Context, Entry, Kind, Link, Moment, NodeState, Point, Verdict};

use super::bus::Message;
use super::instance::{InstanceId, Run};
use crate::core::Cluster;
use crate::state::Undone;

/// A write was executed and its reply is on its way to the client; no replica has it yet.
pub const WRITE_ACKNOWLEDGED: Point = "redis.write.acknowledged";
/// A master is about to send writes to its replicas.
pub const REPLICATE: Point = "redis.replicate";

/// How often a replica tries to reach its master.
const RECONNECT: Duration = Duration::from_secs(1);
/// Positions are sent at most so often, as writes of one turn of the event loop share a packet.
const STREAM_PERIOD: Duration = Duration::from_millis(1);
/// How often a master sends its position even if nothing was written, and a replica acknowledges.
const STREAM_KEEPALIVE: Duration = Duration::from_secs(1);
/// How long a replica loads what a full synchronisation brought.
const LOADING: Duration = Duration::from_millis(10);

/// A replica's link to its master.
#[derive(Clone, Debug)]
pub(crate) struct MasterLink {
    pub(crate) master: Option<InstanceId>,
    /// `master_link_status:up`.
    pub(crate) is_up: bool,
    pub(crate) heard_at: Moment,
    /// Since when it is down; None: it never was up.
    down_since: Option<Moment>,
    next_attempt: Moment,
    acknowledged_at: Moment,
}

impl MasterLink {
    pub(crate) fn none() -> MasterLink {
        let zero = Moment::ZERO;
        let (heard_at, next_attempt, acknowledged_at) = (zero, zero, zero);
        MasterLink { master: None, is_up: false, heard_at, down_since: None, next_attempt, acknowledged_at }
    }

    pub(crate) fn up(master: InstanceId, now: Moment) -> MasterLink {
        MasterLink { master: Some(master), is_up: true, heard_at: now, next_attempt: now, ..MasterLink::none() }
    }

    /// A link that is to be made. `down_since`: when there last was one; None: never.
    pub(crate) fn down(master: InstanceId, down_since: Option<Moment>, now: Moment) -> MasterLink {
        MasterLink { master: Some(master), heard_at: now, down_since, next_attempt: now, ..MasterLink::none() }
    }

    /// The same, tried for the first time at this moment.
    pub(super) fn trying_at(self, next_attempt: Moment) -> MasterLink {
        MasterLink { next_attempt, ..self }
    }

    /// How old the data may be: the time since the master was last heard.
    pub(crate) fn silence(&self, now: Moment) -> Duration {
        match (self.is_up, self.down_since) {
            (true, _) => now.since(self.heard_at),
            (false, Some(since)) => now.since(since),
            (false, None) => Duration::MAX,
        }
    }

    pub(crate) fn down_for(&self, now: Moment) -> Option<Duration> {
        self.down_since.filter(|_| !self.is_up).map(|since| now.since(since))
    }

    pub(crate) fn lose(&mut self, now: Moment) {
        if std::mem::replace(&mut self.is_up, false) {
            self.down_since = Some(now);
            self.next_attempt = Moment::ZERO;
        }
    }
}

/// A replica as its master knows it.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    pub(crate) acknowledged: u64,
    /// What it says to have on disk.
    pub(crate) synced: u64,
    pub(crate) acknowledged_at: Moment,
    sent: u64,
    sent_at: Moment,
}

impl Attached {
    pub(crate) fn new(now: Moment) -> Attached {
        Attached { acknowledged: 0, synced: 0, acknowledged_at: now, sent: 0, sent_at: now }
    }

    /// It has everything, and was heard of just now.
    pub(super) fn level(&mut self, position: u64, now: Moment) {
        let synced = self.synced;
        *self = Attached { acknowledged: position, synced, acknowledged_at: now, sent: position, sent_at: now };
    }
}

impl Cluster {
    /// Where an instance stands in its stream.
    pub(crate) fn position_of(&self, id: InstanceId) -> u64 {
        // Without replicas there is no stream to stand in.
        let dataset = self.instances[id].dataset.filter(|_| self.config.settings.is_cluster);
        dataset.map_or(0, |dataset| self.datasets[dataset].position(id))
    }

    /// How many replicas have acknowledged all writes up to `position`.
    pub(crate) fn replicas_at(&self, id: InstanceId, position: u64) -> usize {
        let instance = &self.instances[id];
        let is_lockstep = instance.dataset.is_some_and(|dataset| self.datasets[dataset].is_lockstep);
        let own = instance.attached.values().filter(|replica| is_lockstep || replica.acknowledged >= position).count();
        own + self.replica_clients_at(id, position)
    }

    /// How many replicas were heard of lately enough for `min-replicas-to-write`.
    pub(crate) fn good_replicas(&self, ctx: &Context<'_>, id: InstanceId) -> usize {
        let instance = &self.instances[id];
        let is_lockstep = instance.dataset.is_some_and(|dataset| self.datasets[dataset].is_lockstep);
        let (now, lag_max) = (self.clock(ctx, id), self.config.settings.min_replicas_lag);
        let is_good = |replica: &&Attached| is_lockstep || now.since(replica.acknowledged_at) <= lag_max;
        instance.attached.values().filter(is_good).count() + self.good_replica_clients(ctx, id)
    }

    /// What was acknowledged outside lockstep goes to the replicas.
    pub(crate) fn replicate_owed(&mut self, ctx: &Context<'_>) {
        if self.owed.is_empty() {
            return;
        }
        let mut owed = std::mem::take(&mut self.owed);
        for id in &owed {
            ctx.reached(WRITE_ACKNOWLEDGED, self.instances[*id].node);
        }
        owed.sort_unstable();
        owed.dedup();
        for id in owed {
            self.replicate(ctx, id);
        }
    }

    /// A master has executed a write outside lockstep: its position is to be sent.
    fn replicate(&mut self, ctx: &Context<'_>, id: InstanceId) {
        if self.instances[id].attached.is_empty() {
            return;
        }
        ctx.reached(REPLICATE, self.instances[id].node);
        let replicas: Vec<InstanceId> = self.instances[id].attached.keys().copied().collect();
        for replica in replicas {
            self.stream_to(ctx, id, replica);
        }
    }

    /// Sends a replica the present position, unless that happened just now or would not arrive.
    fn stream_to(&mut self, ctx: &Context<'_>, id: InstanceId, replica: InstanceId) {
        let Some(dataset) = self.instances[id].dataset else { return };
        let (source, target) = (self.instances[id].node, self.instances[replica].node);
        let position = self.datasets[dataset].position(id);
        let Some(attached) = self.instances[id].attached.get_mut(&replica) else { return };
        if attached.sent > 0 && ctx.now() < attached.sent_at + STREAM_PERIOD {
            let due = attached.sent_at + STREAM_PERIOD;
            self.bus.flush_at = Some(self.bus.flush_at.map_or(due, |at| at.min(due)));
            return;
        }
        let passes = source == target
            || matches!(ctx.judge(&Link::peers("redis", source, target)), Verdict::Pass | Verdict::Delay(_));
        if !passes || ctx.node_state(source) != NodeState::Running || ctx.node_state(target) != NodeState::Running {
            return;
        }
        attached.sent = position;
        attached.sent_at = ctx.now();
        let set = &mut self.datasets[dataset];
        if let Some(index) = set.follower(replica) {
            set.followers[index].mark = set.followers[index].mark.max(position);
        }
        set.images.expect(replica, position);
        self.send(ctx, id, replica, Message::Stream { dataset, position });
    }

    /// Sends the positions that were held back.
    pub(crate) fn flush_streams(&mut self, ctx: &Context<'_>) {
        if self.bus.flush_at.is_none_or(|at| at > ctx.now()) {
            return;
        }
        self.bus.flush_at = None;
        for id in 0..self.instances.len() {
            let position = self.position_of(id);
            let behind: Vec<InstanceId> = self.instances[id]
                .attached
                .iter()
                .filter(|(_, replica)| replica.sent < position)
                .map(|(replica, _)| *replica)
                .collect();
            if self.instances[id].run != Run::Up {
                continue;
            }
            for replica in behind {
                self.stream_to(ctx, id, replica);
            }
        }
    }

    pub(super) fn stream_arrived(
        &mut self,
        ctx: &Context<'_>,
        id: InstanceId,
        from: InstanceId,
        dataset: usize,
        position: u64,
    ) {
        let now = self.clock(ctx, id);
        let disk = ctx.disk(self.instances[id].node);
        let instance = &mut self.instances[id];
        if instance.dataset != Some(dataset) || instance.link.master != Some(from) || !instance.link.is_up {
            return;
        }
        instance.link.heard_at = now;
        let before = self.datasets[dataset].position(id);
        let reached = self.datasets[dataset].advance(id, position);
        self.tell_trackers_up_to(id, reached);
        if reached > before && self.cannot_write_always(disk) {
            self.exit(ctx, id);
            return;
        }
        self.schedule_disk_sync(ctx, dataset);
        self.replication.is_dirty = true;
        let synced = self.synced_position(id).unwrap_or(0);
        self.send(ctx, id, from, Message::Ack { position: reached, synced });
    }

    pub(super) fn acknowledged(
        &mut self,
        ctx: &Context<'_>,
        id: InstanceId,
        from: InstanceId,
        (position, synced): (u64, u64),
    ) {
        let now = self.clock(ctx, id);
        let Some(replica) = self.instances[id].attached.get_mut(&from) else {
            self.send(ctx, id, from, Message::Refused);
            return;
        };
        replica.acknowledged = replica.acknowledged.max(position);
        replica.synced = replica.synced.max(synced);
        replica.acknowledged_at = now;
        self.wake_waiters(ctx, id);
    }

    /// The connection to the master turns out to be dead: the master has been restarted, or has given this replica up.
    pub(super) fn refused_by(&mut self, ctx: &Context<'_>, id: InstanceId, from: InstanceId) {
        let now = self.clock(ctx, id);
        let link = &mut self.instances[id].link;
        if link.master == Some(from) {
            link.lose(now);
        }
    }

    /// The replication cron of one instance.
    pub(super) fn tick_replication(&mut self, ctx: &Context<'_>, id: InstanceId) {
        let now = self.clock(ctx, id);
        let (repl_timeout, position) = (self.config.settings.repl_timeout, self.position_of(id));
        let replicas: Vec<InstanceId> = self.instances[id].attached.keys().copied().collect();
        for replica in replicas {
            let Some(attached) = self.instances[id].attached.get(&replica) else { continue };
            if now.since(attached.acknowledged_at) > repl_timeout {
                self.instances[id].attached.remove(&replica);
            } else if attached.sent < position || ctx.now().since(attached.sent_at) >= STREAM_KEEPALIVE {
                self.stream_to(ctx, id, replica);
            }
        }
        let link = &mut self.instances[id].link;
        let Some(master) = link.master else { return };
        if link.is_up && now.since(link.heard_at) > repl_timeout {
            link.lose(now);
        }
        if link.is_up && ctx.now().since(link.acknowledged_at) >= STREAM_KEEPALIVE {
            link.acknowledged_at = ctx.now();
            let synced = self.synced_position(id).unwrap_or(0);
            self.send(ctx, id, master, Message::Ack { position, synced });
        } else if !link.is_up && ctx.now() >= link.next_attempt {
            link.next_attempt = ctx.now() + RECONNECT;
            self.send(ctx, id, master, Message::SyncRequest);
        }
    }

    /// A replica asks to follow this master: at once if it can catch up, else after a full synchronisation.
    pub(super) fn sync_requested(&mut self, ctx: &Context<'_>, id: InstanceId, replica: InstanceId) {
        self.resume_branch(id);
        let settings = &self.config.settings;
        let Some(dataset) = self.instances[id].dataset.filter(|dataset| self.datasets[*dataset].owner == id) else {
            return;
        };
        if !self.is_master(id) || self.instances[id].loading_until.is_some() {
            return;
        }
        let is_same = self.instances[replica].dataset == Some(dataset);
        if is_same && self.datasets[dataset].can_catch_up(replica, settings.repl_backlog) {
            self.instances[id].stats.partial_syncs += 1;
            self.send(ctx, id, replica, Message::SyncDone { dataset, is_full: false });
        } else if !self.bus.syncs.iter().any(|(_, master, other)| (*master, *other) == (id, replica)) {
            self.instances[id].stats.full_syncs += 1;
            self.bus.syncs.insert((ctx.now() + settings.full_sync_delay, id, replica));
        }
    }

    /// Full synchronisations whose delay is over.
    pub(crate) fn finish_syncs(&mut self, ctx: &Context<'_>) {
        while let Some((at, id, replica)) = self.bus.syncs.first().copied().filter(|(at, ..)| *at <= ctx.now()) {
            self.bus.syncs.remove(&(at, id, replica));
            let dataset = self.instances[id].dataset.filter(|_| self.instances[id].run == Run::Up);
            if let Some(dataset) = dataset.filter(|_| self.is_master(id)) {
                self.send(ctx, id, replica, Message::SyncDone { dataset, is_full: true });
            }
        }
    }

    /// A replica has what its master has: its own data, and what it had acknowledged itself, are gone.
    pub(super) fn sync_done(
        &mut self,
        ctx: &Context<'_>,
        id: InstanceId,
        master: InstanceId,
        dataset: usize,
        is_full: bool,
    ) {
        let link = &self.instances[id].link;
        let is_valid = self.datasets.get(dataset).is_some_and(|set| set.owner == master);
        if link.master != Some(master) || link.is_up || !is_valid || self.instances[master].run != Run::Up {
            return;
        }
        self.leave_dataset(ctx, id, &Cause::Resynchronised { master });
        let set = &mut self.datasets[dataset];
        set.break_lockstep();
        set.join(id);
        let position = set.offset;
        let (now, master_now) = (self.clock(ctx, id), self.clock(ctx, master));
        let instance = &mut self.instances[id];
        instance.dataset = Some(dataset);
        instance.link = MasterLink::up(master, now);
        instance.loading_until = is_full.then(|| ctx.now() + LOADING);
        let mut attached = Attached::new(ctx.now());
        attached.acknowledged_at = master_now;
        attached.acknowledged = position;
        attached.sent = position;
        self.instances[master].attached.insert(id, attached);
        if is_full {
            self.tell_trackers_all(id);
        } else {
            self.tell_trackers_up_to(id, position);
        }
        ctx.trace(|| format!("redis {id} follows {master} at {position}"));
    }

    /// An instance takes its place as the owner of the data that it has.
    pub(super) fn become_master(&mut self, ctx: &Context<'_>, id: InstanceId, old_master: InstanceId) {
        self.instances[id].link = MasterLink::none();
        self.instances[id].attached.clear();
        let Some(dataset) = self.instances[id].dataset else { return };
        let keeps = self.instances[self.datasets[dataset].owner].dataset == Some(dataset);
        let position = self.position_of(id);
        let undone = self.datasets[dataset].promote(id, keeps);
        self.record_lost(ctx, undone, &Cause::TakenOver { by: id, from: old_master, position });
        self.inherit_imports(id, old_master);
    }

    /// An instance follows `master` from now on. If it was a master, its blocked clients are sent away.
    pub(super) fn become_replica(&mut self, ctx: &Context<'_>, id: InstanceId, master: InstanceId) {
        let was_master = self.is_master(id);
        let view = &mut self.instances[id].view;
        view.peers[id].master = Some(master);
        if was_master {
            view.migrating.clear();
            view.importing.clear();
        }
        view.candidacy = super::instance::Candidacy { attempts: view.candidacy.attempts, ..Default::default() };
        ctx.trace(|| format!("redis {id} becomes a replica of {master}"));
        let now = self.clock(ctx, id);
        // A deposed master was never connected, which counts as for ever: nobody elects it before it has synchronised, or
        // writes would come back that its successor never had.
        let since = if was_master { None } else { self.instances[id].link.last_up(now) };
        self.instances[id].link = MasterLink::down(master, since, now).trying_at(ctx.now());
        self.instances[id].attached.clear();
        self.instances[id].shard = self.instances[master].shard.clone();
        if was_master {
            self.send_blocked_away(id);
        }
        self.end_manual_failover(ctx, id);
    }

    /// Takes an instance out of its dataset, and names what is lost with it.
    pub(super) fn leave_dataset(&mut self, ctx: &Context<'_>, id: InstanceId, cause: &Cause) {
        let Some(dataset) = self.instances[id].dataset.take() else { return };
        let (lost, is_gone) = self.datasets[dataset].leave(id);
        if is_gone {
            self.datasets.remove(dataset);
        }
        self.record_lost(ctx, lost, cause);
    }

    pub(super) fn record_lost(&self, ctx: &Context<'_>, lost: Vec<Undone>, cause: &Cause) {
        let node = |id: InstanceId| self.instances[id].node;
        let (at, text) = match cause {
            Cause::TakenOver { by, from, position } => (
                node(*by),
                format!(
                    "node {} took over from node {} at offset {position}, before this write",
                    node(*by),
                    node(*from)
                ),
            ),
            Cause::Resynchronised { master } => {
                (node(*master), format!("discarded by a resynchronisation with node {}", node(*master)))
            }
            Cause::PowerLost { id } => {
                (node(*id), format!("node {} lost power before this write was synced", node(*id)))
            }
            Cause::Claimed { by } => {
                (node(*by), format!("node {} claimed the slot in a newer epoch before it had this key", node(*by)))
            }
            Cause::Stranded { at, slot } => (
                node(*at),
                format!(
                    "slot {slot} was closed while node {} had this key and did not own it: nobody is sent there for it",
                    node(*at)
                ),
            ),
            Cause::Died { id } => (node(*id), format!("node {} died before another had this write", node(*id))),
        };
        let allowed_by = match cause {
            Cause::Died { .. } => "asynchronous replication (min-replicas-to-write 0), appendonly no".to_owned(),
            Cause::Claimed { .. } => "of two claims of a slot the newer one holds".to_owned(),
            Cause::Stranded { .. } => {
                "which slots are on their way is not replicated, and closing one moves no keys".to_owned()
            }
            Cause::PowerLost { .. } => {
                format!("appendfsync {}", self.config.get("appendfsync").unwrap_or_default())
            }
            _ => format!(
                "asynchronous replication (min-replicas-to-write {}), cluster-node-timeout {}",
                self.config.settings.min_replicas,
                self.config.settings.node_timeout.as_millis()
            ),
        };
        for (key, count) in lost {
            ctx.record(Entry {
                at: ctx.now(),
                kind: Kind::AckedLost,
                part: "redis",
                subject: String::from_utf8_lossy(&key).into_owned(),
                count,
                node: Some(at),
                cause: text.clone(),
                allowed_by: allowed_by.clone(),
            });
        }
    }
}

/// Why acknowledged writes are gone.
#[derive(Debug)]
pub(super) enum Cause {
    TakenOver { by: InstanceId, from: InstanceId, position: u64 },
    Resynchronised { master: InstanceId },
    Claimed { by: InstanceId },
    Stranded { at: InstanceId, slot: u16 },
    Died { id: InstanceId },
    PowerLost { id: InstanceId },
}

impl MasterLink {
    /// When the link last was up; None: never.
    fn last_up(&self, now: Moment) -> Option<Moment> {
        if self.is_up { Some(now) } else { self.down_since }
    }
}
