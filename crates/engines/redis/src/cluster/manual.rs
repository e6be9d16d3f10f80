//! Manual failover: a replica and its master agree on an offset while the master's clients wait, so that nothing is lost.

use std::time::Duration;

use atoll_kernel::{Context, Moment};

use super::bus::{Message, Status};
use super::instance::InstanceId;
use crate::core::Cluster;

/// A manual failover is given up after so long.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The master's clients wait so much longer, so that none writes between the end of the one and the news of it.
const PAUSE_FACTOR: u32 = 2;

/// A manual failover, at the replica or at its master.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manual {
    /// Until when; None: there is none.
    pub(crate) until: Option<Moment>,
    /// At the replica: it may ask for votes.
    pub(crate) can_start: bool,
    /// At the replica: where its master stands still.
    pub(crate) master_offset: Option<u64>,
    /// At the master: the replica that is to take over.
    pub(crate) replica: Option<InstanceId>,
}

impl Cluster {
    /// CLUSTER FAILOVER: asks the master to stand still.
    pub(crate) fn begin_manual_failover(&mut self, ctx: &Context<'_>, id: InstanceId, is_forced: bool) {
        self.end_manual_failover(ctx, id);
        let until = self.clock(ctx, id) + TIMEOUT;
        let manual = &mut self.instances[id].view.manual;
        manual.until = Some(until);
        manual.can_start = is_forced;
        if let Some(master) = self.instances[id].view.peers[id].master.filter(|_| !is_forced) {
            self.send(ctx, id, master, Message::ManualStart);
        }
    }

    /// CLUSTER FAILOVER TAKEOVER: asks nobody.
    pub(crate) fn take_over(&mut self, ctx: &Context<'_>, id: InstanceId) {
        let Some(master) = self.instances[id].view.peers[id].master else { return };
        self.bump_epoch(ctx, id);
        let epoch = self.instances[id].view.current_epoch;
        self.instances[id].view.candidacy.epoch = epoch;
        self.win(ctx, id, master);
    }

    /// A replica asks this master to stand still.
    pub(super) fn manual_start(&mut self, ctx: &Context<'_>, id: InstanceId, from: InstanceId) {
        if self.instances[id].view.peers[from].master != Some(id) || !self.is_master(id) {
            return;
        }
        self.end_manual_failover(ctx, id);
        let until = self.clock(ctx, id) + TIMEOUT;
        let view = &mut self.instances[id].view;
        view.manual.until = Some(until);
        view.manual.replica = Some(from);
        self.instances[id].writes_wait_until = Some(ctx.now() + TIMEOUT * PAUSE_FACTOR);
        ctx.trace(|| format!("redis {id} stands still for {from}"));
        self.ping(ctx, id, from);
    }

    /// A ping of the master says that it stands still, and where.
    pub(super) fn note_standstill(&mut self, id: InstanceId, from: InstanceId, status: &Status) {
        let view = &mut self.instances[id].view;
        let is_awaited = view.manual.until.is_some() && view.peers[id].master == Some(from);
        if status.stands_still() && is_awaited && view.manual.master_offset.is_none() {
            view.manual.master_offset = Some(status.offset());
        }
    }

    /// Looks at a manual failover ten times a second.
    pub(super) fn tick_manual(&mut self, ctx: &Context<'_>, id: InstanceId) {
        if self.instances[id].writes_wait_until.is_some_and(|until| until <= ctx.now()) {
            self.resume_writes(ctx, id);
        }
        let (now, position) = (self.clock(ctx, id), self.position_of(id));
        let Some(until) = self.instances[id].view.manual.until else { return };
        if now > until {
            ctx.trace(|| format!("redis {id} gives the manual failover up"));
            self.end_manual_failover(ctx, id);
            return;
        }
        if let Some(replica) = self.instances[id].view.manual.replica {
            self.ping(ctx, id, replica);
        }
        let manual = &mut self.instances[id].view.manual;
        manual.can_start |= manual.master_offset == Some(position);
    }

    /// Neither waits for the other any more; paused clients go on.
    pub(crate) fn end_manual_failover(&mut self, ctx: &Context<'_>, id: InstanceId) {
        let was_master_of = self.instances[id].view.manual.replica.is_some();
        self.instances[id].view.manual = Manual::default();
        if was_master_of {
            self.resume_writes(ctx, id);
        }
    }

    /// Clients whose writes had to wait go on, in the order in which they came.
    pub(crate) fn resume_writes(&mut self, ctx: &Context<'_>, id: InstanceId) {
        if self.instances[id].writes_wait_until.take().is_some() {
            self.release_postponed(ctx, id);
        }
    }
}
