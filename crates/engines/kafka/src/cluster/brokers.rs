//! Brokers: how they make themselves known, stay known, and learn what the controller has committed.

use std::time::Duration;

use atoll_kernel::{Context, Moment, NodeId};

use super::{Cluster, PART, Timer};
use crate::fetch_sessions::FetchSessions;
use crate::state::image::{Changed, Image, MetadataRecord};

/// How soon a refused registration is tried again (Kafka backs off between 100 ms and a second).
const REGISTRATION_RETRY: Duration = Duration::from_millis(500);

/// One broker, and what its controller remembers of it.
#[derive(Debug)]
pub(crate) struct BrokerNode {
    /// The metadata as far as this broker has seen it. It answers from nothing else.
    pub image: Image,
    /// How many records that is.
    pub applied: u64,
    /// Which start this is, once the controller has registered it.
    pub broker_epoch: Option<u64>,
    /// Whether it handles requests: from when it has seen itself registered until its process dies.
    pub serving: bool,
    /// Its process has ended by itself, because its disk is bad.
    pub halted: bool,
    /// When the controller last heard of it.
    pub heard_at: Moment,
    /// When it beats next; timers that were set for an earlier plan do nothing.
    pub next_beat: Moment,
    /// When its session is looked at next; likewise.
    pub next_session_check: Moment,
    /// No start of it has been registered since Atoll itself started, so that no session can be left from before.
    pub first_start: bool,
    /// The next producer id to give away, and the end of the block it comes from.
    pub producer_ids: (i64, i64),
    /// What clients fetch.
    pub fetch_sessions: FetchSessions,
}

impl BrokerNode {
    /// A broker whose process has just started with the metadata that is on its disk.
    pub fn starting(image: Image, applied: u64) -> BrokerNode {
        BrokerNode {
            image,
            applied,
            broker_epoch: None,
            serving: false,
            halted: false,
            heard_at: Moment::ZERO,
            next_beat: Moment::ZERO,
            next_session_check: Moment::ZERO,
            first_start: true,
            producer_ids: (0, 0),
            fetch_sessions: FetchSessions::default(),
        }
    }
}

impl Cluster {
    /// Starts a broker's heartbeats, the first of which registers it.
    pub(super) fn boot_broker(&mut self, ctx: &Context<'_>, node: NodeId) {
        if let Some(broker) = self.brokers.get_mut(&node) {
            broker.broker_epoch = None;
            broker.serving = false;
        }
        self.plan_beat(node, ctx.now());
        self.beat(ctx, node);
    }

    /// Sets the moment of a broker's next heartbeat.
    pub(super) fn plan_beat(&mut self, node: NodeId, at: Moment) {
        if let Some(broker) = self.brokers.get_mut(&node) {
            broker.next_beat = at;
            self.set_timer(at, Timer::Beat(node));
        }
    }

    /// A broker tells the controller that it lives, and what it has seen.
    pub(super) fn beat(&mut self, ctx: &Context<'_>, node: NodeId) {
        let Some(broker) = self.brokers.get(&node) else { return };
        // A paused broker beats when it resumes, a dead one when it starts.
        if broker.next_beat > ctx.now() || !self.is_up(ctx, node) {
            return;
        }
        let registered = broker.broker_epoch.is_some();
        let interval = Duration::from_millis(self.config.broker_heartbeat_interval_ms.max(1));
        let next = match (registered, self.controller_near(ctx, node)) {
            (true, true) => {
                self.heard_of(ctx, node);
                interval
            }
            (true, false) => interval,
            (false, true) if self.register(ctx, node) => Duration::ZERO,
            (false, _) => REGISTRATION_RETRY,
        };
        self.plan_beat(node, ctx.now() + next);
    }

    /// Whether a broker and the controller reach each other.
    pub(crate) fn controller_near(&self, ctx: &Context<'_>, node: NodeId) -> bool {
        self.plane.leader().is_some_and(|leader| self.is_up(ctx, leader) && ctx.connected(PART, node, leader))
    }

    fn register(&mut self, ctx: &Context<'_>, node: NodeId) -> bool {
        let first_start = self.brokers.get(&node).is_some_and(|broker| broker.first_start);
        if !first_start && self.authority.is_active(node) {
            // DUPLICATE_BROKER_REGISTRATION: the session of its last start has not ended.
            return false;
        }
        let broker_epoch = self.plane.committed();
        let records = vec![MetadataRecord::RegisterBroker { broker: node.0, broker_epoch }];
        if self.commit(ctx, records).is_err() {
            return false;
        }
        if let Some(broker) = self.brokers.get_mut(&node) {
            broker.broker_epoch = Some(broker_epoch);
            broker.heard_at = ctx.now();
            broker.first_start = false;
        }
        true
    }

    fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.config.broker_session_timeout_ms)
    }

    fn heard_of(&mut self, ctx: &Context<'_>, node: NodeId) {
        let Some(broker) = self.brokers.get_mut(&node) else { return };
        broker.heard_at = ctx.now();
        let caught_up = broker.broker_epoch.is_some_and(|epoch| broker.applied > epoch);
        let known = self.authority.brokers.get(&node).copied();
        match known {
            Some(known) if Some(known.broker_epoch) == broker.broker_epoch => {
                if known.fenced && caught_up {
                    self.unfence(ctx, node);
                    self.plan_session_check(node, ctx.now() + self.session_timeout());
                }
            }
            _ => broker.broker_epoch = None,
        }
    }

    fn plan_session_check(&mut self, node: NodeId, at: Moment) {
        if let Some(broker) = self.brokers.get_mut(&node) {
            broker.next_session_check = at;
            self.set_timer(at, Timer::Session(node));
        }
    }

    /// Fences a broker whose session has ended.
    pub(super) fn check_session(&mut self, ctx: &Context<'_>, node: NodeId) {
        let Some(broker) = self.brokers.get(&node) else { return };
        if broker.next_session_check > ctx.now() || !self.authority.is_active(node) {
            return;
        }
        let ends = broker.heard_at + self.session_timeout();
        if ends > ctx.now() {
            self.plan_session_check(node, ends);
        } else if !self.plane.can_commit(ctx) || !self.fence(ctx, node) {
            self.plan_session_check(node, ctx.now() + REGISTRATION_RETRY);
        }
    }

    /// A new controller knows nothing of earlier heartbeats: every session begins anew.
    pub(super) fn controller_elected(&mut self, ctx: &Context<'_>) {
        for broker in self.brokers.values_mut() {
            broker.heard_at = ctx.now();
        }
        self.retry = true;
    }

    /// Brokers take over what has reached their views.
    pub(super) fn apply_views(&mut self, ctx: &Context<'_>) {
        let mut removed = Vec::new();
        for (node, broker) in &mut self.brokers {
            let seen = self.plane.applied(*node);
            if broker.applied >= seen {
                continue;
            }
            while broker.applied < seen {
                let Some(record) = self.plane.record(broker.applied) else { break };
                broker.applied += 1;
                if let MetadataRecord::RemoveTopic { name } = record {
                    removed.push((*node, name.clone()));
                }
                if let MetadataRecord::UnfenceBroker { broker: returned } = record {
                    // Its replicas may join in-sync sets now, which only their leaders can ask for.
                    let returned = NodeId(*returned);
                    let held = self.partitions.iter().filter(|(_, held)| held.replicas.contains_key(&returned));
                    self.behind.extend(held.map(|(key, _)| *key));
                }
                match broker.image.apply(record, &self.config) {
                    Changed::Partition(key) => drop(self.roles.insert((key, *node))),
                    Changed::TopicRemoved(id, count) => self.woken.extend((0..count).map(|index| (id, index))),
                    Changed::Nothing => {}
                }
            }
            let itself = broker.image.brokers.get(node);
            let ready = itself.is_some_and(|known| Some(known.broker_epoch) == broker.broker_epoch && !known.fenced);
            if ready && !broker.serving {
                ctx.trace(|| format!("broker {node} serves"));
                broker.serving = true;
                self.retry = true;
                // It takes its roles only now: until it has caught up, its metadata may name it as a leader of long ago.
                let held = self.partitions.iter().filter(|(_, partition)| partition.replicas.contains_key(node));
                self.roles.extend(held.map(|(key, _)| (*key, *node)));
            }
        }
        for (node, topic) in removed {
            self.forget_offsets_of(ctx, node, &topic);
        }
    }

    /// A broker's process is gone: what it knew as a leader, as a coordinator, and of its clients is forgotten.
    pub(super) fn broker_died(&mut self, node: NodeId) {
        if let Some(broker) = self.brokers.get_mut(&node) {
            broker.serving = false;
            broker.broker_epoch = None;
            broker.producer_ids = (0, 0);
            broker.fetch_sessions = FetchSessions::default();
        }
        for partition in self.partitions.values_mut() {
            if let Some(replica) = partition.replicas.get_mut(&node) {
                replica.leadership = None;
                replica.fetching = false;
            }
        }
        self.groups.forget(node);
        self.transactions.forget(node);
        self.waits.forget(node);
    }

    /// An orderly shutdown hands leadership over first, if the controller can be reached.
    pub(super) fn broker_stopped(&mut self, ctx: &Context<'_>, node: NodeId) {
        if self.plane.can_commit(ctx) {
            self.fence(ctx, node);
        }
        for partition in self.partitions.values_mut() {
            let end = partition.tree.end(node);
            if let Some(replica) = partition.replicas.get_mut(&node) {
                replica.durable.synced(end);
            }
        }
    }
}
