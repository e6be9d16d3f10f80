//! `maxmemory`: what an instance does when its data take more memory than they may.
//!
//! Before each command a master over its limit evicts keys by its policy. An eviction is passed on as DEL. Nobody was
//! promised that an evicted key stays, so the ledger does not call it a loss.

use std::time::Duration;

use atoll_kernel::{Context, Moment};

use super::Cluster;
use crate::cluster::{InstanceId, Run};
use crate::error::Refusal;
use crate::ops::{Command, Flags};
use crate::wire::Request;

/// What a command that would take memory is told.
pub(crate) const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";
/// What an instance takes before it has any data, about: its view of the cluster, and what it counts.
const STARTUP_BYTES: u64 = 512 << 10;
/// The clock is read after so many evictions.
const KEYS_PER_READING: u64 = 16;

impl Cluster {
    /// `used_memory`: an estimate of what an instance takes, from the sizes of its structures. A replica shares its
    /// master's data; this is what they would take if they were its own.
    pub(crate) fn used_memory(&self, id: InstanceId) -> u64 {
        STARTUP_BYTES + self.dataset_memory(id) + self.clients_memory(id) + self.scripts_memory(id)
    }

    /// Memory is at its highest, perhaps.
    pub(crate) fn note_memory(&mut self, id: InstanceId) {
        let used = self.used_memory(id);
        let stats = &mut self.instances[id].stats;
        stats.memory_peak = stats.memory_peak.max(used);
    }

    /// What the data of an instance take.
    pub(crate) fn dataset_memory(&self, id: InstanceId) -> u64 {
        let dataset = self.instances[id].dataset.and_then(|dataset| self.datasets.get(dataset));
        dataset.map_or(0, |dataset| dataset.databases.iter().map(crate::state::Keyspace::memory).sum())
    }

    /// What an instance took before it had any data.
    pub(crate) fn startup_memory(&self) -> u64 {
        STARTUP_BYTES
    }

    pub(crate) fn scripts_memory(&self, id: InstanceId) -> u64 {
        self.scripts.engine(id).map_or(0, |engine| engine.usage().1 as u64)
    }

    /// What clients' requests that wait and their replies take.
    pub(crate) fn clients_memory(&self, id: InstanceId) -> u64 {
        self.instances[id].clients_memory
    }

    /// Evicts what has to go. True if memory is still short and nothing more may go.
    #[inline]
    pub(super) fn is_out_of_memory(&mut self, ctx: &Context<'_>, id: InstanceId) -> bool {
        if self.config.settings.memory_max == 0 {
            return false;
        }
        self.used_memory(id) > self.config.settings.memory_max && self.evict(ctx, id)
    }

    /// Evicts keys until memory suffices or the time that a command may wait for it is over; then it goes on before the
    /// next. True if memory is short and nothing may go.
    #[cold]
    fn evict(&mut self, ctx: &Context<'_>, id: InstanceId) -> bool {
        let is_master = !self.config.settings.is_cluster || self.is_master(id);
        if !is_master || self.instances[id].dataset.is_none() {
            // A replica holds what its master holds.
            return false;
        }
        let began = ctx.kernel().now();
        let policy = self.config.settings.eviction;
        let (mut evicted, mut is_short) = (0, false);
        while self.used_memory(id) > self.config.settings.memory_max {
            if policy.order.is_none() || !self.evict_one(ctx, id) {
                is_short = true;
                break;
            }
            evicted += 1;
            let is_late =
                evicted % KEYS_PER_READING == 0 && ctx.kernel().now().since(began) > self.config.settings.eviction_time;
            if is_late {
                self.evicting_from = Some(Moment::ZERO);
                break;
            }
        }
        self.after_evictions(ctx, id, evicted);
        if policy.order.is_some() {
            self.note_latency(ctx, id, "eviction-cycle", ctx.kernel().now().since(began));
        }
        is_short
    }

    /// Evicts the key that the policy chooses. False if there is none.
    fn evict_one(&mut self, ctx: &Context<'_>, id: InstanceId) -> bool {
        let (policy, samples) = (self.config.settings.eviction, self.config.settings.eviction_samples);
        let is_lazy = self.config.settings.evicts_lazily;
        let Some((db, random)) = self.db(ctx, id, None) else { return false };
        let (clock, dataset) = (db.clock, db.dataset);
        let Some((index, key)) = dataset.choose_victim(policy, samples, &clock, random) else { return false };
        let Some(mut db) = self.db_at(ctx, id, index) else { return false };
        db.evict(&key, is_lazy);
        let notices = db.notices.take();
        self.announce(id, notices);
        true
    }

    /// Replication, watchers and files learn of evictions.
    fn after_evictions(&mut self, ctx: &Context<'_>, id: InstanceId, evicted: u64) {
        if evicted == 0 {
            return;
        }
        self.instances[id].stats.evicted += evicted;
        for touched in std::mem::take(&mut self.instances[id].interest.touched) {
            if let Some(client) = self.clients.list.get_mut(touched) {
                client.is_dirty = true;
            }
        }
        self.tell_trackers(id, None);
        if let Some(index) = self.instances[id].dataset {
            let dataset = &mut self.datasets[index];
            dataset.saves.changes += evicted;
            if !dataset.is_lockstep {
                self.owed.push(id);
            }
            self.schedule_disk_sync(ctx, index);
        }
    }

    /// Evictions that were cut short go on.
    pub(super) fn go_on_evicting(&mut self, ctx: &Context<'_>) {
        if self.evicting_from.take().is_none() || self.config.settings.memory_max == 0 {
            return;
        }
        for id in 0..self.instances.len() {
            if self.instances[id].run == Run::Up && self.used_memory(id) > self.config.settings.memory_max {
                self.evict(ctx, id);
            }
        }
    }

    /// Whether a command is refused because memory is short: those that may take more, and all that MULTI would queue.
    pub(super) fn check_memory(&mut self, ctx: &Context<'_>, place: usize, command: &Command) -> Result<(), Refusal> {
        let id = self.clients.list[place].instance;
        if self.scripts.is_busy(id) {
            return Ok(());
        }
        self.is_short_of_memory = self.is_out_of_memory(ctx, id);
        if !self.is_short_of_memory {
            return Ok(());
        }
        let transaction = self.clients.list[place].transaction.as_ref();
        let is_end = matches!(command.name, "exec" | "discard" | "quit" | "reset");
        let takes =
            |request: Request<'_>| super::admit::find(request).is_ok_and(|command| command.flags.has(Flags::DENYOOM));
        let is_denied = command.flags.has(Flags::DENYOOM)
            || transaction.is_some() && !is_end
            || command.name == "exec"
                && transaction.is_some_and(|queued| queued.queue.iter().any(|queued| takes(queued.as_request())));
        if is_denied { Err(Refusal::text(OUT_OF_MEMORY)) } else { Ok(()) }
    }
}

/// How long a command may wait for evictions, by `maxmemory-eviction-tenacity`.
pub(crate) fn time_limit(tenacity: i64) -> Duration {
    match tenacity {
        ..=10 => Duration::from_micros(50 * tenacity.max(0).unsigned_abs()),
        11..100 => Duration::from_micros((500.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64),
        _ => Duration::MAX,
    }
}
