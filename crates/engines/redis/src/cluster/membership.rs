//! Who knows whom: handshakes, forgetting, and an instance that begins anew.
//!
//! An instance that is told to meet another sends it MEET until it answers; the others hear of it by gossip and shake hands
//! with it in their turn. Whoever is forgotten stays so for a minute, and the pings of that minute ask the others to forget too.

use std::time::Duration;

use atoll_kernel::{Context, Moment};

use super::bus::Message;
use super::instance::{InstanceId, Peer, View};
use super::replication::{Cause, MasterLink};
use super::topology::hex_name;
use crate::core::Cluster;
use crate::state::Dataset;

/// How long a node that was forgotten is not heard of again by gossip.
const FORGOTTEN_FOR: Duration = Duration::from_secs(60);
/// A handshake is given up after the node timeout, and not before this.
const HANDSHAKE_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// A handshake under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshake {
    began_at: Moment,
    /// By CLUSTER MEET: the other is to know this instance, too.
    is_meeting: bool,
}

impl Cluster {
    /// Begins to shake hands with an instance; does nothing if it is known.
    pub(crate) fn shake_hands(&mut self, ctx: &Context<'_>, id: InstanceId, with: InstanceId, is_meeting: bool) {
        let now = self.clock(ctx, id);
        let view = &mut self.instances[id].view;
        if id == with || view.peers[with].is_known {
            return;
        }
        let handshake = view.handshakes.entry(with).or_insert(Handshake { began_at: now, is_meeting });
        handshake.is_meeting |= is_meeting;
    }

    /// Goes on with the handshakes of an instance.
    pub(super) fn tick_handshakes(&mut self, ctx: &Context<'_>, id: InstanceId) {
        let (now, timeout) = (self.clock(ctx, id), self.config.settings.node_timeout.max(HANDSHAKE_TIMEOUT_MIN));
        let view = &mut self.instances[id].view;
        view.forgotten.retain(|_, until| *until > now);
        view.handshakes.retain(|_, handshake| now.since(handshake.began_at) <= timeout);
        for (with, handshake) in view.handshakes.clone() {
            let status = Box::new(self.status_of(ctx, id));
            let message = if handshake.is_meeting { Message::Meet(status) } else { Message::Ping(status) };
            self.send(ctx, id, with, message);
        }
    }

    /// A pong: whoever was waited for is known from now on.
    pub(super) fn greeted_by(&mut self, ctx: &Context<'_>, id: InstanceId, from: InstanceId) {
        let now = self.clock(ctx, id);
        let name = self.instances[from].name.clone();
        let view = &mut self.instances[id].view;
        if view.handshakes.remove(&from).is_none() || view.peers[from].is_known {
            return;
        }
        view.forgotten.remove(&name);
        view.peers[from] = Peer { is_known: true, pong_received: now, data_received: now, ..Peer::default() };
        ctx.trace(|| format!("redis {id} knows {from}"));
    }

    /// What an instance forgot lately, for its pings.
    pub(super) fn forgotten_by(&self, ctx: &Context<'_>, id: InstanceId) -> Vec<String> {
        let now = self.clock(ctx, id);
        let forgotten = &self.instances[id].view.forgotten;
        forgotten.iter().filter(|(_, until)| **until > now).map(|(name, _)| name.clone()).collect()
    }

    /// CLUSTER FORGET, or a ping that asks for it.
    pub(crate) fn forget(&mut self, ctx: &Context<'_>, id: InstanceId, other: InstanceId) {
        let until = self.clock(ctx, id) + FORGOTTEN_FOR;
        let name = self.instances[other].name.clone();
        let view = &mut self.instances[id].view;
        view.drop_peer(other);
        view.forgotten.insert(name, until);
        ctx.trace(|| format!("redis {id} forgets {other}"));
        self.update_state(ctx, id);
    }

    /// CLUSTER RESET: a master that knows nobody and owns nothing; a replica loses its data as well.
    pub(crate) fn reset(&mut self, ctx: &Context<'_>, id: InstanceId, is_hard: bool) {
        if let Some(master) = self.instances[id].link.master {
            self.instances[master].attached.remove(&id);
            self.leave_dataset(ctx, id, &Cause::Resynchronised { master });
            self.begin_dataset(id);
        }
        self.end_manual_failover(ctx, id);
        let instance = &mut self.instances[id];
        instance.link = MasterLink::none();
        let epoch = instance.view.peers[id].config_epoch;
        let count = instance.view.peers.len();
        for other in (0..count).filter(|other| *other != id) {
            instance.view.drop_peer(other);
        }
        let view = &mut instance.view;
        view.unassign(id);
        view.peers[id] = Peer { is_known: true, config_epoch: epoch, ..Peer::default() };
        view.forgotten.clear();
        view.handshakes.clear();
        view.migrating.clear();
        view.importing.clear();
        if is_hard {
            view.peers[id].config_epoch = 0;
            (view.current_epoch, view.last_vote_epoch) = (0, 0);
            self.names_given += 1;
            let ordinal = self.names_given;
            self.instances[id].name = hex_name(ctx, "redis.name.reset", ordinal);
            self.instances[id].shard = hex_name(ctx, "redis.shard.reset", ordinal);
        }
        ctx.trace(|| format!("redis {id} is reset"));
        self.update_state(ctx, id);
    }

    /// An instance owns an empty dataset of its own.
    pub(super) fn begin_dataset(&mut self, id: InstanceId) {
        let settings = &self.config.settings;
        let mut dataset = Dataset::new(id, settings.databases, settings.has_log);
        dataset.is_lockstep = !settings.is_cluster;
        dataset.is_new = true;
        let index = self.datasets.insert(dataset);
        self.instances[id].dataset = Some(index);
        self.name_histories();
        self.follow_sync_policy();
    }

    /// CLUSTER REPLICATE.
    pub(crate) fn replicate_from(&mut self, ctx: &Context<'_>, id: InstanceId, master: InstanceId) {
        if let Some(old) = self.instances[id].link.master.filter(|old| *old != master) {
            self.instances[old].attached.remove(&id);
        }
        if self.instances[id].link.master != Some(master) {
            self.end_manual_failover(ctx, id);
            self.become_replica(ctx, id, master);
            self.update_state(ctx, id);
        }
    }

    /// A new epoch without asking anybody, if this instance does not have the greatest already.
    pub(crate) fn bump_epoch(&mut self, ctx: &Context<'_>, id: InstanceId) -> bool {
        let view = &mut self.instances[id].view;
        let greatest = view.peers.iter().map(|peer| peer.config_epoch).max().unwrap_or(0).max(view.current_epoch);
        let own = &mut view.peers[id];
        if own.config_epoch != 0 && own.config_epoch == greatest {
            return false;
        }
        view.current_epoch += 1;
        own.config_epoch = view.current_epoch;
        let epoch = own.config_epoch;
        ctx.trace(|| format!("redis {id} takes epoch {epoch}"));
        true
    }
}

impl View {
    /// Nothing is known of a peer any more.
    fn drop_peer(&mut self, other: InstanceId) {
        self.unassign(other);
        self.migrating.retain(|_, target| *target != other);
        self.importing.retain(|_, source| *source != other);
        self.handshakes.remove(&other);
        for peer in &mut self.peers {
            peer.reports.remove(&other);
        }
        self.peers[other] = Peer::default();
    }

    /// The instances that are known, this one included.
    pub(crate) fn known(&self) -> impl Iterator<Item = InstanceId> {
        self.peers.iter().enumerate().filter(|(_, peer)| peer.is_known).map(|(id, _)| id)
    }
}
