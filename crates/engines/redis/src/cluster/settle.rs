//! When all is well, the bus rests: its messages would say what everybody knows.

use atoll_kernel::{Context, Moment};

use super::bus::TICK;
use super::instance::{InstanceId, Run};
use crate::core::Cluster;

impl Cluster {
    /// Does all of the cluster that is due.
    pub(crate) fn advance_cluster(&mut self, ctx: &Context<'_>) {
        self.read_letters(ctx);
        if self.bus.next_tick.is_some_and(|tick| tick <= ctx.now()) {
            self.bus.next_tick = Some(ctx.now() + TICK);
            for id in 0..self.instances.len() {
                let is_awake = self.instances[id].run == Run::Up && self.instances[id].busy_until.is_none();
                if is_awake {
                    self.instances[id].loading_until = self.instances[id].loading_until.filter(|at| *at > ctx.now());
                    if !ctx.is_healthy() {
                        self.clock_changed(ctx, id);
                    }
                    self.tick_instance(ctx, id);
                    self.tick_replication(ctx, id);
                    self.read_letters(ctx);
                }
            }
            self.wants_saving = true;
            self.name_stranded(ctx);
            self.rest_if_settled(ctx);
        }
        self.flush_streams(ctx);
        self.finish_syncs(ctx);
        self.read_letters(ctx);
    }

    /// When the cluster has something to do.
    pub(crate) fn next_cluster_wake(&self) -> Option<Moment> {
        let sync = self.bus.syncs.first().map(|(at, ..)| *at);
        let busy = self.instances.iter().filter_map(|instance| instance.busy_until).min();
        [self.bus.next_tick, self.bus.network.next_due(), self.bus.flush_at, sync, busy].into_iter().flatten().min()
    }

    /// Reads every letter that has arrived at an instance that can read.
    pub(crate) fn read_letters(&mut self, ctx: &Context<'_>) {
        for id in 0..self.instances.len() {
            let instance = &mut self.instances[id];
            if instance.busy_until.is_some_and(|until| until <= ctx.now()) {
                instance.busy_until = None;
                for envelope in std::mem::take(&mut instance.inbox) {
                    self.read_letter(ctx, envelope.message);
                }
            }
        }
        while let Some(envelope) = self.bus.network.receive(ctx) {
            let instance = &mut self.instances[envelope.message.to];
            if instance.busy_until.is_some() {
                instance.inbox.push_back(envelope);
            } else {
                self.read_letter(ctx, envelope.message);
            }
        }
    }

    fn rest_if_settled(&mut self, ctx: &Context<'_>) {
        if !ctx.is_healthy() {
            return;
        }
        let in_flight = self.bus.network.in_flight() + self.bus.syncs.len();
        if in_flight > 0 || !(0..self.instances.len()).all(|id| self.is_settled(id)) {
            return;
        }
        for (_, dataset) in &mut self.datasets {
            if ctx.kernel().is_armed() || !dataset.try_lockstep() {
                return;
            }
        }
        self.bus.next_tick = None;
        ctx.trace(|| "redis settled".to_owned());
    }

    /// True if an instance believes what the first one that it knows believes, and nothing is pending for it.
    fn is_settled(&self, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        let view = &instance.view;
        let Some(first) = view.known().next().map(|first| &self.instances[first].view) else { return false };
        let (manual, needs_all) = (&view.manual, self.config.settings.require_full_coverage);
        if manual.until.is_some() || instance.writes_wait_until.is_some() || !view.handshakes.is_empty() {
            return false;
        }
        let covered: usize = view.peers.iter().map(|peer| peer.slots).sum();
        let should_be_ok = view.size > 0 && (covered == super::slots::SLOTS || !needs_all);
        let is_quiet = |(other, peer): (InstanceId, &super::Peer)| {
            let same = &first.peers[other];
            let knows_back = !peer.is_known || self.instances[other].view.peers[id].is_known;
            knows_back
                && peer.is_known == same.is_known
                && !peer.is_suspected
                && !peer.has_failed()
                && (peer.ping_sent.is_none() || other == id)
                && peer.reports.is_empty()
                && peer.master == same.master
                // A replica speaks in its master's epoch, and the one of its own is of no account.
                && (peer.config_epoch == same.config_epoch || !peer.is_master())
        };
        let is_attached = |master: InstanceId| self.instances[master].attached.contains_key(&id);
        let is_following = match instance.link.master {
            None => view.peers[id].is_master(),
            Some(master) => instance.link.is_up && view.peers[id].master == Some(master) && is_attached(master),
        };
        view.is_ok == should_be_ok
            && view.forgotten.is_empty()
            && is_following
            && instance.busy_until.is_none()
            && instance.loading_until.is_none()
            && view.current_epoch == first.current_epoch
            && view.owners == first.owners
            && view.peers.iter().enumerate().all(is_quiet)
    }
}
