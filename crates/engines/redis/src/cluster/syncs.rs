//! What an instance says to have on disk: for WAITAOF, and in what replicas acknowledge.

use atoll_kernel::Context;

use super::instance::InstanceId;
use crate::config::AppendFsync;
use crate::core::Cluster;
use crate::state::LogMark;

impl Cluster {
    /// How far the append-only file of an instance is synced, as it knows; None without one. With `appendfsync no` nobody
    /// tells a process what the operating system has written.
    pub(crate) fn synced_position(&self, id: InstanceId) -> Option<u64> {
        let settings = &self.config.settings;
        let dataset = self.datasets.get(self.instances[id].dataset?).filter(|_| settings.has_log)?;
        let modelled = match (settings.append_fsync, dataset.log_synced()) {
            (AppendFsync::Always, _) => dataset.position(id),
            (AppendFsync::EverySecond, _) => dataset.images.position(id, dataset.owner),
            (AppendFsync::No, None) => self.instances[id].synced_before,
            (AppendFsync::No, Some(synced)) => synced,
        };
        Some(dataset.log_synced().map_or(modelled, |synced| modelled.min(synced)))
    }

    /// `appendfsync` is about to change: what was synced stays so.
    pub(crate) fn keep_synced(&mut self) {
        for id in 0..self.instances.len() {
            self.instances[id].synced_before = self.synced_position(id).unwrap_or(0);
        }
    }

    /// The place in its history that a shard's file is at once all that was executed is appended.
    pub(crate) fn log_mark(&self, shard: usize) -> LogMark {
        self.datasets.get(shard).map(crate::state::Dataset::log_mark).unwrap_or_default()
    }

    /// A shard's file is on disk up to this place: clients may have waited for that.
    pub(crate) fn note_log_synced(&mut self, ctx: &Context<'_>, shard: usize, mark: LogMark) {
        if let Some(dataset) = self.datasets.get_mut(shard) {
            dataset.note_log_synced(mark);
            self.wake_all_waiters(ctx);
        }
    }

    /// How many replicas have synced everything up to `position`, as far as their acknowledgements say.
    pub(crate) fn replicas_synced_at(&self, id: InstanceId, position: u64) -> usize {
        let instance = &self.instances[id];
        let is_lockstep = instance.dataset.is_some_and(|dataset| self.datasets[dataset].is_lockstep);
        let shared = self.synced_position(id).filter(|_| is_lockstep);
        let own = instance.attached.values().filter(|replica| shared.unwrap_or(replica.synced) >= position).count();
        own + self.replica_clients_synced_at(id, position)
    }

    /// Whether an instance, and how many of its replicas, have synced everything up to `position`.
    pub(crate) fn syncs_at(&self, id: InstanceId, position: u64) -> (bool, usize) {
        let is_synced = self.synced_position(id).is_some_and(|synced| synced >= position);
        (is_synced, self.replicas_synced_at(id, position))
    }

    /// Disks have been synced: clients of any instance may have waited for that.
    pub(crate) fn wake_all_waiters(&mut self, ctx: &Context<'_>) {
        if self.clients.waiting > 0 {
            (0..self.instances.len()).for_each(|id| self.wake_waiters(ctx, id));
        }
    }
}
