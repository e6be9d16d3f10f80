//! What happens to a node's instances when the node is killed, paused, stopped or started.

use std::time::Duration;

use atoll_kernel::{Context, FaultEvent, Moment, NodeId};

use super::bus::TICK;
use super::instance::{Candidacy, InstanceId, Run};
use super::replication::{Cause, MasterLink};
use crate::core::Cluster;

/// A process that wakes up first reads what its clients sent meanwhile; what its peers sent it reads so much later.
const WAKE_UP: Duration = Duration::from_millis(20);

impl Cluster {
    pub(crate) fn fault(&mut self, ctx: &Context<'_>, event: &FaultEvent) {
        self.wake_bus(ctx);
        match event {
            FaultEvent::Killed(node) | FaultEvent::PowerLost(node) | FaultEvent::Stopped(node) => {
                self.bus.network.forget(*node);
                for id in self.instances_on(*node) {
                    self.die(ctx, id);
                    match event {
                        FaultEvent::PowerLost(_) => self.lose_power(ctx, id),
                        FaultEvent::Stopped(_) => self.sync_disk_of(id),
                        _ => {}
                    }
                }
            }
            FaultEvent::Paused(node) => {
                for id in self.instances_on(*node) {
                    self.instances[id].run = Run::Paused;
                }
            }
            FaultEvent::Resumed(node) => {
                for id in self.instances_on(*node) {
                    self.instances[id].run = Run::Up;
                    self.instances[id].busy_until = Some(ctx.now() + WAKE_UP);
                }
            }
            FaultEvent::Started(node) => {
                for id in self.instances_on(*node) {
                    self.start(ctx, id);
                }
            }
            FaultEvent::ClockChanged(node) => {
                for id in self.instances_on(*node) {
                    self.clock_changed(ctx, id);
                }
            }
            FaultEvent::DiskChanged(node, health) => {
                for id in self.instances_on(*node) {
                    self.disk_changed(ctx, id, *health);
                }
            }
            FaultEvent::RulesChanged => {}
        }
    }

    fn instances_on(&self, node: NodeId) -> Vec<InstanceId> {
        (0..self.instances.len()).filter(|id| self.instances[*id].node == node).collect()
    }

    /// Wakes the bus if it rests, as if it had run all the time: each peer was heard of a moment ago.
    pub(crate) fn wake_bus(&mut self, ctx: &Context<'_>) {
        if !self.config.settings.is_cluster {
            return;
        }
        for (_, dataset) in &mut self.datasets {
            dataset.break_lockstep();
        }
        if self.bus.next_tick.is_some() {
            return;
        }
        self.bus.wakes += 1;
        let mut stream = ctx.random("redis.wake", self.bus.wakes);
        // Of n - 1 peers one is pinged each second, and none is left alone for longer than half the timeout.
        let round = Duration::from_secs(self.instances.len().saturating_sub(1) as u64);
        let longest = round.min(self.config.settings.node_timeout / 2);
        for instance in &mut self.instances {
            instance.view.ticks = stream.below(10);
            for peer in &mut instance.view.peers {
                peer.pong_received = ctx.now() - stream.up_to(longest);
                peer.data_received = peer.pong_received;
            }
            instance.link.heard_at = ctx.now() - stream.up_to(Duration::from_secs(1));
        }
        for id in 0..self.instances.len() {
            let position = self.position_of(id);
            for replica in self.instances[id].attached.values_mut() {
                replica.level(position, ctx.now());
            }
        }
        self.bus.next_tick = Some(ctx.now() + stream.up_to(TICK));
    }

    /// The process is gone; without an append-only file so are its data.
    pub(super) fn die(&mut self, ctx: &Context<'_>, id: InstanceId) {
        let instance = &mut self.instances[id];
        if std::mem::replace(&mut instance.run, Run::Down) == Run::Down {
            return;
        }
        instance.attached.clear();
        instance.inbox.clear();
        instance.interest = crate::state::Interest::default();
        instance.subscriptions = crate::pubsub::Subscriptions::default();
        instance.busy_until = None;
        instance.loading_until = None;
        instance.log_refuses = false;
        instance.writes_wait_until = None;
        instance.paused = None;
        instance.asleep_until = None;
        instance.view.manual = super::manual::Manual::default();
        instance.upstream = None;
        self.drop_clients(id);
        if !self.config.settings.has_log {
            self.leave_dataset(ctx, id, &Cause::Died { id });
        }
        // Those who were connected see the connection reset. Where links have rules they may not, and find out by time.
        if !ctx.kernel().rules().is_empty() {
            return;
        }
        for other in 0..self.instances.len() {
            self.instances[other].attached.remove(&id);
            if self.instances[other].link.master == Some(id) {
                let now = self.clock(ctx, other);
                self.instances[other].link.lose(now);
            }
        }
    }

    /// The process starts with what it left on disk: the configuration of the cluster, and perhaps its data.
    pub(super) fn start(&mut self, ctx: &Context<'_>, id: InstanceId) {
        let loading = self.loading_time(id);
        let now = self.clock(ctx, id) + loading;
        let settings = self.config.settings.clone();
        let instance = &mut self.instances[id];
        instance.run = Run::Up;
        instance.stats = super::instance::Stats { started: ctx.now(), ..Default::default() };
        instance.telemetry = crate::telemetry::Telemetry::default();
        instance.acl.restart(&settings);
        instance.loading_until = (!loading.is_zero()).then(|| ctx.now() + loading);
        if settings.is_cluster {
            let view = &mut instance.view;
            view.started_at = now.max(Moment::from_nanos(1));
            view.is_ok = false;
            view.in_minority_at = None;
            view.candidacy = Candidacy { attempts: view.candidacy.attempts, ..Candidacy::default() };
            for peer in &mut view.peers {
                peer.ping_sent = None;
                peer.pong_received = now;
                peer.data_received = now;
                peer.is_suspected = false;
                peer.failed_at = peer.failed_at.map(|_| now);
                peer.reports.clear();
            }
            let master = view.peers[id].master;
            instance.link = master.map_or(MasterLink::none(), |master| {
                MasterLink::down(master, None, now).trying_at(ctx.now() + loading)
            });
        }
        self.resume_branch(id);
        if self.instances[id].dataset.is_none() {
            self.begin_dataset(id);
        }
        self.match_slots_with_data(ctx, id);
        self.follow_configured_master(ctx);
    }
}
