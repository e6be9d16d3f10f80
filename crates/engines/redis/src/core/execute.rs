//! How a command is executed, and what its writes set in motion.

use atoll_kernel::{Context, Entry, Kind};

use super::Cluster;
use crate::clients::BlockedOn;
use crate::cluster::InstanceId;
use crate::error::Refusal;
use crate::notify::Notices;
use crate::ops::{Answer, Call, Command, Effect, Flags, Run, Session};
use crate::state::{Blob, Db, UsageClock};
use crate::telemetry::Executed;
use crate::wire::{Reply, Request};

/// What the execution of a command on keys left behind.
struct Aftermath {
    dirty: u64,
    effect: Effect,
    follower: Option<usize>,
    stale: Vec<(Blob, u64)>,
}

impl Cluster {
    #[inline]
    pub(crate) fn execute(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        command: &'static Command,
        request: Request<'_>,
        out: &mut Vec<u8>,
        may_block: bool,
    ) -> Answer {
        let client = &self.clients.list[place];
        let (id, is_resp3) = (client.instance, client.is_resp3);
        if self.tracking_clients > 0 && command.flags.has(Flags::READONLY) && !command.flags.has(Flags::SCRIPT) {
            self.remember_keys(place, command, request);
        }
        let is_again = self.clients.list[place]
            .blocked
            .as_ref()
            .is_some_and(|blocked| matches!(blocked.on, BlockedOn::Keys { .. }));
        let errors_before = self.instances[id].telemetry.errors.total;
        let began = self.command_begins(ctx);
        let executed = Executed { place, id, command, request, began, errors_before, may_block, is_again };
        let start = out.len();
        if command.flags.has(Flags::SCRIPT) && !self.instances[id].telemetry.monitors.is_empty() {
            // Before the commands that the script executes.
            self.feed_monitors(ctx, id, place, command, request);
        }
        let answer = match command.run {
            Run::Keys(run) => self.execute_on_keys(ctx, place, (command, run), request, out, may_block),
            Run::Server(run) | Run::ContainerOr(_, run) => {
                let out = Reply::new(out, is_resp3);
                run(&mut Session { cluster: self, ctx, client: place, id, request, out, may_block })
            }
            Run::Container(_) => Err(Refusal::Arity(command.name.to_owned())),
        };
        self.executed(ctx, &executed, &answer, out.get(start..).unwrap_or_default());
        answer
    }

    #[inline]
    fn execute_on_keys(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        (command, run): (&'static Command, fn(&mut Call<'_>) -> Answer),
        request: Request<'_>,
        out: &mut Vec<u8>,
        may_block: bool,
    ) -> Answer {
        let client = &self.clients.list[place];
        let (id, is_resp3, in_script) = (client.instance, client.is_resp3, client.in_script);
        // Only SORT asks.
        let may_read_all_keys = client.is_unrestricted
            || !matches!(command.name, "sort" | "sort_ro")
            || client.user.may_read_all_keys(command, request);
        if ctx.kernel().is_armed() && command.flags.has(Flags::WRITE) {
            // A trigger may go off between the acknowledgement and the replication.
            self.wake_bus(ctx);
        }
        let Some((mut db, random)) = self.db(ctx, id, Some(place)) else {
            return Err(Refusal::text("LOADING Redis is loading the dataset in memory"));
        };
        let out = Reply::new(out, is_resp3);
        let (effect, is_followed) = (Effect::AsSent, db.dataset.is_followed());
        let mut call =
            Call { request, db: &mut db, out, random, may_block, in_script, may_read_all_keys, effect, is_followed };
        if let Some(notices) = &mut call.db.notices {
            notices.begin(command.name, request);
        }
        let answer = run(&mut call);
        let Call { db, effect, .. } = call;
        let Db { dirty, hits, misses, expired, lazily_freed, follower, .. } = *db;
        let (stale, notices) = (std::mem::take(&mut db.stale), db.notices.take());
        let stats = &mut self.instances[id].stats;
        stats.hits += hits;
        stats.misses += misses;
        stats.expired += expired;
        stats.lazily_freed += lazily_freed;
        if dirty > 0 || !stale.is_empty() {
            let aftermath = Aftermath { dirty, effect, follower, stale };
            self.after_keys(ctx, place, id, (command, request), aftermath);
            self.tell_trackers(id, Some(place));
        }
        if notices.is_some() {
            self.announce(id, notices);
        }
        answer
    }

    /// What an instance sees of its data, for a client or for itself. It is large: inlined, it is made where it is used.
    #[inline(always)]
    pub(crate) fn db(
        &mut self,
        ctx: &Context<'_>,
        id: InstanceId,
        place: Option<usize>,
    ) -> Option<(Db<'_>, &mut atoll_kernel::Stream)> {
        let is_master = !self.config.settings.is_cluster || self.is_master(id);
        let deletes_expired = is_master && !self.follows(id) && !self.stands_still(id);
        let client = place.and_then(|place| self.clients.list.get(place));
        let is_from_master = client.is_some_and(|client| client.is_master);
        let instance = &mut self.instances[id];
        let dataset = self.datasets.get_mut(instance.dataset?)?;
        let settings = &self.config.settings;
        let now_ms = ctx.wall(instance.node).as_millis();
        let counts = settings.eviction.counts();
        let clock = UsageClock {
            now_ms,
            counts,
            log_factor: f64::from(settings.lfu_log_factor),
            decay_minutes: settings.lfu_decay_minutes,
            chance: if counts { self.random.next_u64() } else { 0 },
        };
        let follower = if dataset.owner == id || dataset.is_lockstep { None } else { dataset.follower(id) };
        let db = Db {
            dataset,
            index: client.map_or(0, |client| client.database),
            follower,
            interest: &mut instance.interest,
            thresholds: &self.config.settings.thresholds,
            compresses: self.config.settings.dumps_compressed,
            checks_payloads: !self.switches.skips_checksums,
            now_ms,
            // A master says itself when a key is gone.
            expiry_ms: if is_from_master { i64::MIN } else { now_ms },
            clock,
            shares_integers: settings.memory_max == 0 || !settings.eviction.notes_uses(),
            deletes_expired,
            is_cluster: self.config.settings.is_cluster,
            touches: client.is_none_or(|client| !client.no_touch),
            dirty: 0,
            hits: 0,
            misses: 0,
            expired: 0,
            lazily_freed: 0,
            notices: Notices::new(self.config.settings.notified),
            stale: Vec::new(),
        };
        Some((db, &mut self.random))
    }

    /// What an instance sees of one of its databases.
    pub(crate) fn db_at(&mut self, ctx: &Context<'_>, id: InstanceId, database: usize) -> Option<Db<'_>> {
        let (mut db, _) = self.db(ctx, id, None)?;
        db.index = database.min(db.dataset.databases.len() - 1);
        Some(db)
    }

    /// Commands in RESP that an instance has executed though no client sent them go to its replicas and to its
    /// append-only file.
    pub(crate) fn pass_on(&mut self, ctx: &Context<'_>, id: InstanceId, database: usize, commands: &[u8]) {
        for touched in std::mem::take(&mut self.instances[id].interest.touched) {
            if let Some(client) = self.clients.list.get_mut(touched) {
                client.is_dirty = true;
            }
        }
        let Some(index) = self.instances[id].dataset else { return };
        let Some(dataset) = self.datasets.get_mut(index) else { return };
        match dataset.follower(id).filter(|_| dataset.owner != id) {
            None => {
                dataset.feed_bytes(database, commands);
                self.replication.is_dirty |= dataset.end_unit();
            }
            Some(follower) => dataset.followers[follower].position += commands.len() as u64,
        }
        if !dataset.is_lockstep {
            self.owed.push(id);
        }
        self.schedule_disk_sync(ctx, index);
        self.tell_trackers(id, None);
    }

    /// Replication, the append-only file, watchers, and the ledger.
    #[inline]
    fn after_keys(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        id: InstanceId,
        (command, request): (&'static Command, Request<'_>),
        aftermath: Aftermath,
    ) {
        for (key, missing) in &aftermath.stale {
            self.record_stale(ctx, id, key, *missing);
        }
        if !self.instances[id].interest.touched.is_empty() {
            for touched in std::mem::take(&mut self.instances[id].interest.touched) {
                if let Some(client) = self.clients.list.get_mut(touched) {
                    client.is_dirty = true;
                }
            }
        }
        if aftermath.dirty == 0 || !command.flags.has(Flags::WRITE) {
            return;
        }
        let Some(index) = self.instances[id].dataset else { return };
        let Some(dataset) = self.datasets.get_mut(index) else { return };
        match (aftermath.follower, &aftermath.effect) {
            (None, Effect::AsSent) => {
                dataset.saves.changes += aftermath.dirty;
                dataset.record(self.clients.list[place].database, request);
            }
            (None, Effect::Instead(requests)) => {
                dataset.saves.changes += aftermath.dirty;
                for request in requests {
                    dataset.record(self.clients.list[place].database, request.as_request());
                }
            }
            (Some(follower), _) => dataset.followers[follower].position += request.encoded_length(),
        }
        self.clients.list[place].write_position = dataset.position(id);
        if !dataset.is_lockstep {
            self.owed.push(id);
        }
        self.schedule_disk_sync(ctx, index);
    }

    /// A client was answered with something older than what was acknowledged.
    fn record_stale(&self, ctx: &Context<'_>, id: InstanceId, key: &[u8], missing: u64) {
        let node = self.instances[id].node;
        let is_master = self.is_master(id);
        let (cause, allowed_by) = if is_master {
            (format!("node {node} was deposed and does not know it yet"), "cluster-node-timeout".to_owned())
        } else {
            (format!("node {node} is a replica that lags by {missing} writes to this key"), "READONLY".to_owned())
        };
        ctx.record(Entry {
            at: ctx.now(),
            kind: Kind::StaleRead,
            part: "redis",
            subject: String::from_utf8_lossy(key).into_owned(),
            count: missing,
            node: Some(node),
            cause,
            allowed_by,
        });
    }

    /// Deletes some keys that have expired. True if there may be more.
    pub(super) fn expire_some(&mut self, ctx: &Context<'_>, id: InstanceId) -> bool {
        let mut touched = Vec::new();
        let (mut count, mut has_grown) = (0, false);
        let began = self.command_begins(ctx);
        let Some((mut db, _)) = self.db(ctx, id, None) else { return false };
        for index in 0..db.dataset.databases.len() {
            db.index = index;
            while count < super::EXPIRE_BATCH
                && let Some(key) = db.dataset.databases[index].pop_expired(db.now_ms)
            {
                db.expire(&key);
                // Each is a command of its own to replicas.
                has_grown |= db.dataset.end_unit();
                count += 1;
            }
        }
        touched.append(&mut db.interest.touched);
        let is_lockstep = db.dataset.is_lockstep;
        db.dataset.saves.changes += count as u64;
        let notices = db.notices.take();
        self.instances[id].stats.expired += count as u64;
        self.replication.is_dirty |= has_grown;
        for client in touched {
            if let Some(client) = self.clients.list.get_mut(client) {
                client.is_dirty = true;
            }
        }
        if count > 0 {
            if !is_lockstep {
                self.owed.push(id);
            }
            if let Some(dataset) = self.instances[id].dataset {
                self.schedule_disk_sync(ctx, dataset);
            }
        }
        self.announce(id, notices);
        self.tell_trackers(id, None);
        if count > 0 {
            self.measured_at = ctx.kernel().now();
            self.note_latency(ctx, id, "expire-cycle", self.measured_at.since(began));
        }
        count >= super::EXPIRE_BATCH
    }
}
