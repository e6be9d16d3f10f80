//! The disks of instances: when append-only files are synced, what a power failure takes, what a bad disk does, and what a
//! process finds when it starts.

use std::time::Duration;

use atoll_kernel::{Context, DiskHealth, Moment};

use super::instance::{InstanceId, Run};
use super::replication::Cause;
use crate::config::AppendFsync;
use crate::core::Cluster;

/// `appendfsync everysec`.
const SYNC_PERIOD: Duration = Duration::from_secs(1);
/// `appendfsync no`: Linux writes back what has been dirty for so long.
const WRITE_BACK_PERIOD: Duration = Duration::from_secs(30);
/// A process that starts reads its append-only file: so long at least, and so much longer for each thousand keys.
const LOADING_MIN: Duration = Duration::from_millis(10);
const LOADING_PER_THOUSAND: Duration = Duration::from_millis(1);

impl Cluster {
    /// The configuration may have changed: what disks hold is kept exactly if it can differ from what instances have.
    pub(crate) fn follow_sync_policy(&mut self) {
        let settings = &self.config.settings;
        let wanted = settings.has_log && settings.append_fsync != AppendFsync::Always;
        for (_, dataset) in &mut self.datasets {
            dataset.keep_images(wanted);
        }
    }

    /// Something was written that is not synced yet.
    #[inline]
    pub(crate) fn schedule_disk_sync(&mut self, ctx: &Context<'_>, dataset: usize) {
        if self.disk_sync_at.is_none() && !self.datasets[dataset].images.is_empty() {
            let every_second = self.config.settings.append_fsync == AppendFsync::EverySecond;
            self.disk_sync_at = Some(ctx.now() + if every_second { SYNC_PERIOD } else { WRITE_BACK_PERIOD });
        }
    }

    /// Syncs what is due.
    pub(crate) fn sync_disks(&mut self, ctx: &Context<'_>) {
        if self.disk_sync_at.is_none_or(|at| at > ctx.now()) {
            return;
        }
        self.disk_sync_at = None;
        for id in 0..self.instances.len() {
            let instance = &self.instances[id];
            let Some(dataset) = instance.dataset else { continue };
            if is_bad(ctx.disk(instance.node)) || instance.run != Run::Up {
                continue;
            }
            self.datasets[dataset].sync(id);
        }
        self.wake_all_waiters(ctx);
    }

    pub(super) fn sync_disk_of(&mut self, id: InstanceId) {
        if let Some(dataset) = self.instances[id].dataset {
            self.datasets[dataset].sync(id);
        }
    }

    /// The power of a node has failed: its instances have what they had synced.
    pub(super) fn lose_power(&mut self, ctx: &Context<'_>, id: InstanceId) {
        let Some(dataset) = self.instances[id].dataset else { return };
        let lost = self.datasets[dataset].lose_unsynced(id);
        self.record_lost(ctx, lost, &Cause::PowerLost { id });
    }

    /// A master whose successor is none any more has started, or is asked for its data: what it has is the truth.
    pub(super) fn resume_branch(&mut self, id: InstanceId) {
        let Some(dataset) = self.instances[id].dataset else { return };
        let owner = self.datasets[dataset].owner;
        if owner != id && self.is_master(id) && !self.is_master(owner) {
            self.datasets[dataset].restart_owner(id);
        }
    }

    /// How long a process that starts loads its data.
    pub(super) fn loading_time(&self, id: InstanceId) -> Duration {
        let dataset = self.instances[id].dataset.and_then(|dataset| self.datasets.get(dataset));
        let keys: usize = dataset.map_or(0, |set| set.databases.iter().map(crate::state::Keyspace::len).sum());
        if keys == 0 {
            return Duration::ZERO;
        }
        LOADING_MIN + LOADING_PER_THOUSAND * u32::try_from(keys / 1000).unwrap_or(u32::MAX)
    }

    /// True if a write on this disk ends the process: "Can't recover from AOF write error when the AOF fsync policy is
    /// 'always'. Exiting..."
    pub(crate) fn cannot_write_always(&self, disk: DiskHealth) -> bool {
        let settings = &self.config.settings;
        settings.has_log && settings.append_fsync == AppendFsync::Always && is_bad(disk)
    }

    /// A process ends by itself; what supervises it starts it again once its disk is mended.
    pub(crate) fn exit(&mut self, ctx: &Context<'_>, id: InstanceId) {
        ctx.trace(|| format!("redis {id} exits: it cannot write its append-only file"));
        self.wake_bus(ctx);
        for place in self.clients.of(id) {
            self.deliver_to(place, Vec::new(), false, true);
        }
        self.die(ctx, id);
    }

    pub(super) fn disk_changed(&mut self, ctx: &Context<'_>, id: InstanceId, disk: DiskHealth) {
        if is_bad(disk) {
            return;
        }
        self.instances[id].log_refuses = false;
        let is_running = ctx.node_state(self.instances[id].node) == atoll_kernel::NodeState::Running;
        if self.instances[id].run == Run::Down && is_running {
            self.start(ctx, id);
        }
        if let Some(dataset) = self.instances[id].dataset {
            self.schedule_disk_sync(ctx, dataset);
        }
    }

    /// A node's clock has jumped: waits of its clients end earlier, or later.
    pub(crate) fn clock_changed(&mut self, ctx: &Context<'_>, id: InstanceId) {
        let ahead_ms = ctx.wall(self.instances[id].node).as_millis() - ctx.kernel().wall().as_millis();
        let jump_ms = ahead_ms - std::mem::replace(&mut self.instances[id].clock_ms, ahead_ms);
        let distance = Duration::from_millis(jump_ms.unsigned_abs());
        for place in self.clients.of(id) {
            let shift = |at: Moment| if jump_ms > 0 { (at - distance).max(ctx.now()) } else { at + distance };
            self.clients.shift_deadline(place, shift);
        }
    }
}

fn is_bad(disk: DiskHealth) -> bool {
    matches!(disk, DiskHealth::Full | DiskHealth::Failing)
}
