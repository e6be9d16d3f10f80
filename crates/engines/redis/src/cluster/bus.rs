//! The cluster bus: pings with gossip, suspicion, agreed failure, epochs, and who owns which slot.
//!
//! Follows the cluster specification (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>):
//! each instance pings others, suspects (PFAIL) one that leaves a ping unanswered for the node timeout, and declares it
//! failed (FAIL) when a majority of the masters that own slots suspects it too.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use atoll_kernel::{Context, Moment, Network};

use super::instance::{InstanceId, Ranges, Run};
use super::slots::SLOTS;
use crate::core::Cluster;

/// How often an instance looks at its peers: ten times a second, as clusterCron does.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// How often a ping that is not answered is sent again: over a new connection, or by TCP itself.
const PING_REPEAT: Duration = Duration::from_secs(1);
/// A master that starts accepts no writes for so long, so that the others can tell it what happened meanwhile.
const WRITABLE_DELAY: Duration = Duration::from_millis(2000);
/// A failed master that answers again while nobody took its slots is accepted again after so many node timeouts.
const FAIL_UNDO_FACTOR: u32 = 2;
/// How long a master waits after it was in a minority: the node timeout within these bounds.
const REJOIN_DELAY_MIN: Duration = Duration::from_millis(500);
const REJOIN_DELAY_MAX: Duration = Duration::from_millis(5000);
/// How many peers the ping of each second is chosen from.
const RANDOM_PEERS: usize = 5;

/// The state of the bus.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) network: Network<Letter>,
    /// The next tick; None while all is well and the bus rests.
    pub(crate) next_tick: Option<Moment>,
    /// How often it was woken, for its random streams.
    pub(crate) wakes: u64,
    /// Synchronisations under way: when each ends, the master, the replica.
    pub(crate) syncs: BTreeSet<(Moment, InstanceId, InstanceId)>,
    /// When streams that were held back for a moment go out.
    pub(crate) flush_at: Option<Moment>,
    /// Slots that are, or were, on their way, and who may have keys of each without owning it.
    pub(super) imports: BTreeMap<u16, BTreeSet<InstanceId>>,
}

impl Bus {
    pub(crate) fn new() -> Bus {
        Bus {
            network: Network::new("redis"),
            next_tick: None,
            wakes: 0,
            syncs: BTreeSet::new(),
            flush_at: None,
            imports: BTreeMap::new(),
        }
    }
}

/// A message from one instance to another.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) from: InstanceId,
    pub(crate) to: InstanceId,
    epochs: Epochs,
    pub(crate) message: Message,
}

/// The epochs of a sender, which every message of the bus has in its header. Who is told of a newer claim learns from them
/// which epoch to go beyond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epochs {
    pub(super) current: u64,
    /// That of its slots: of a replica, its master's.
    pub(super) config: u64,
}

/// What instances tell each other: on the cluster bus, and from master to replica.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Ping(Box<Status>),
    /// A ping to one that does not know the sender yet.
    Meet(Box<Status>),
    Pong(Box<Status>),
    /// An instance has failed.
    Fail(InstanceId),
    /// Asks for a vote. `is_manual`: though the master has not failed.
    AuthRequest {
        status: Box<Status>,
        is_manual: bool,
    },
    /// Asks the master to stand still, for a manual failover.
    ManualStart,
    /// Gives a vote in this epoch.
    AuthAck(u64),
    /// A newer claim on slots than the receiver made.
    Update {
        owner: InstanceId,
        config_epoch: u64,
        ranges: Ranges,
    },
    /// PUBLISH and SPUBLISH.
    Publish {
        channel: Rc<[u8]>,
        payload: Rc<[u8]>,
        is_sharded: bool,
    },
    /// All writes up to this position of the sender's stream.
    Stream {
        dataset: usize,
        position: u64,
    },
    /// The sender has all writes up to this position, and has synced those up to the other (`FACK`).
    Ack {
        position: u64,
        synced: u64,
    },
    /// The receiver is not, or no longer, among the sender's replicas: its connection is from an earlier life.
    Refused,
    /// A replica wants to follow the receiver.
    SyncRequest,
    /// It does so now. `is_full`: by a full synchronisation.
    SyncDone {
        dataset: usize,
        is_full: bool,
    },
}

/// What an instance says about itself, and gossips about others.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    master: Option<InstanceId>,
    offset: u64,
    ranges: Ranges,
    gossip: Vec<Gossip>,
    /// Whom the receiver is to forget as well.
    forgotten: Vec<String>,
    /// It has paused its clients for a manual failover: its offset does not move.
    stands_still: bool,
}

#[derive(Clone, Copy, Debug)]
struct Gossip {
    about: InstanceId,
    is_suspected: bool,
    pong_received: Moment,
}

impl Cluster {
    pub(crate) fn send(&mut self, ctx: &Context<'_>, from: InstanceId, to: InstanceId, message: Message) {
        let (source, target) = (self.instances[from].node, self.instances[to].node);
        self.instances[from].stats.messages_sent += 1;
        let view = &self.instances[from].view;
        let epochs = Epochs { current: view.current_epoch, config: view.epoch_of(from) };
        self.bus.network.send(ctx, source, target, Letter { from, to, epochs, message });
    }

    pub(crate) fn broadcast(&mut self, ctx: &Context<'_>, from: InstanceId, message: &Message) {
        for to in self.others_known_to(from) {
            self.send(ctx, from, to, message.clone());
        }
    }

    pub(crate) fn broadcast_pong(&mut self, ctx: &Context<'_>, from: InstanceId) {
        let status = self.status_of(ctx, from);
        self.broadcast(ctx, from, &Message::Pong(Box::new(status)));
    }

    /// The others that an instance knows.
    pub(crate) fn others_known_to(&self, id: InstanceId) -> Vec<InstanceId> {
        self.instances[id].view.known().filter(|other| *other != id).collect()
    }

    pub(crate) fn status_of(&self, ctx: &Context<'_>, id: InstanceId) -> Status {
        let view = &self.instances[id].view;
        let own = &view.peers[id];
        let master = own.master.unwrap_or(id);
        let others = view.peers.iter().enumerate().filter(|(about, peer)| *about != id && peer.is_known);
        let gossip = others.map(|(about, peer)| Gossip {
            about,
            is_suspected: peer.is_suspected || peer.has_failed(),
            pong_received: peer.pong_received,
        });
        Status {
            master: own.master,
            offset: self.position_of(id),
            ranges: Rc::clone(view.ranges(master)),
            gossip: gossip.collect(),
            forgotten: self.forgotten_by(ctx, id),
            stands_still: view.manual.replica.is_some(),
        }
    }

    pub(super) fn ping(&mut self, ctx: &Context<'_>, from: InstanceId, to: InstanceId) {
        let status = self.status_of(ctx, from);
        let now = self.clock(ctx, from);
        let peer = &mut self.instances[from].view.peers[to];
        peer.ping_sent.get_or_insert(now);
        peer.ping_repeated = now;
        self.send(ctx, from, to, Message::Ping(Box::new(status)));
    }

    /// One instance's look at its peers.
    pub(crate) fn tick_instance(&mut self, ctx: &Context<'_>, id: InstanceId) {
        self.instances[id].view.ticks += 1;
        if self.instances[id].view.ticks.is_multiple_of(10) {
            self.ping_random(ctx, id);
        }
        self.tick_handshakes(ctx, id);
        self.tick_manual(ctx, id);
        let timeout = self.config.settings.node_timeout;
        let now = self.clock(ctx, id);
        for to in self.others_known_to(id) {
            let peer = &self.instances[id].view.peers[to];
            let Some(sent) = peer.ping_sent else {
                if now.since(peer.pong_received) > timeout / 2 {
                    self.ping(ctx, id, to);
                }
                continue;
            };
            let silence = now.since(sent).min(now.since(peer.data_received));
            if silence > timeout && !peer.is_suspected && !peer.has_failed() {
                self.instances[id].view.peers[to].is_suspected = true;
                ctx.trace(|| format!("redis {id} suspects {to}"));
                if self.is_master(id) && self.instances[id].view.size == 1 {
                    self.mark_failed_if_agreed(ctx, id, to);
                }
            }
            if now.since(self.instances[id].view.peers[to].ping_repeated) >= PING_REPEAT {
                self.ping(ctx, id, to);
            }
        }
        if !self.is_master(id) {
            self.run_for_election(ctx, id);
        }
        self.update_state(ctx, id);
    }

    fn ping_random(&mut self, ctx: &Context<'_>, id: InstanceId) {
        let ordinal = (id as u64) << 40 | self.instances[id].view.ticks;
        let mut stream = ctx.random("redis.ping", self.bus.wakes << 48 ^ ordinal);
        let known = self.others_known_to(id);
        let others = known.len() as u64;
        let mut oldest: Option<(Moment, InstanceId)> = None;
        for _ in 0..RANDOM_PEERS.min(others as usize) {
            let Some(to) = known.get(stream.below(others) as usize).copied() else { break };
            let peer = &self.instances[id].view.peers[to];
            if peer.ping_sent.is_none() && oldest.is_none_or(|(pong, _)| peer.pong_received < pong) {
                oldest = Some((peer.pong_received, to));
            }
        }
        if let Some((_, to)) = oldest {
            self.ping(ctx, id, to);
        }
    }

    /// An instance reads a letter.
    pub(crate) fn read_letter(&mut self, ctx: &Context<'_>, letter: Letter) {
        let Letter { from, to, epochs, message } = letter;
        if self.instances[to].run != Run::Up {
            return;
        }
        self.instances[to].stats.messages_received += 1;
        self.instances[to].view.peers[from].data_received = self.clock(ctx, to);
        let is_known = self.instances[to].view.peers[from].is_known;
        if is_known && message.has_header() {
            let view = &mut self.instances[to].view;
            view.current_epoch = view.current_epoch.max(epochs.current);
            view.peers[from].config_epoch = view.peers[from].config_epoch.max(epochs.config);
        }
        match message {
            Message::Ping(status) => {
                self.answer_ping(ctx, to, from);
                self.learn(ctx, to, from, epochs, &status);
            }
            Message::Meet(status) => {
                self.answer_ping(ctx, to, from);
                self.shake_hands(ctx, to, from, false);
                self.learn(ctx, to, from, epochs, &status);
            }
            Message::Pong(status) => {
                self.greeted_by(ctx, to, from);
                self.heard_from(ctx, to, from);
                self.learn(ctx, to, from, epochs, &status);
            }
            Message::Fail(_) | Message::AuthAck(_) | Message::Update { .. } if !is_known => {}
            Message::Fail(about) => self.mark_failed(ctx, to, about),
            Message::AuthRequest { status, is_manual } => {
                self.learn(ctx, to, from, epochs, &status);
                self.vote(ctx, to, from, epochs, (&status, is_manual));
            }
            Message::ManualStart => self.manual_start(ctx, to, from),
            Message::AuthAck(epoch) => self.count_vote(to, from, epoch),
            Message::Update { owner, config_epoch, ranges } => {
                let view = &mut self.instances[to].view;
                let is_news = view.peers[owner].config_epoch < config_epoch;
                if is_news && owner != to && view.peers[owner].is_known {
                    view.peers[owner].master = None;
                    view.peers[owner].config_epoch = config_epoch;
                    view.note_claimed(owner, &ranges);
                    self.claim(ctx, to, owner, config_epoch, &ranges);
                }
            }
            Message::Publish { channel, payload, is_sharded } => {
                self.deliver(to, &channel, &payload, is_sharded);
            }
            Message::Stream { dataset, position } => self.stream_arrived(ctx, to, from, dataset, position),
            Message::Ack { position, synced } => self.acknowledged(ctx, to, from, (position, synced)),
            Message::Refused => self.refused_by(ctx, to, from),
            Message::SyncRequest => self.sync_requested(ctx, to, from),
            Message::SyncDone { dataset, is_full } => self.sync_done(ctx, to, from, dataset, is_full),
        }
    }

    fn answer_ping(&mut self, ctx: &Context<'_>, id: InstanceId, from: InstanceId) {
        let reply = Message::Pong(Box::new(self.status_of(ctx, id)));
        self.send(ctx, id, from, reply);
    }

    /// A pong: the peer is alive.
    fn heard_from(&mut self, ctx: &Context<'_>, id: InstanceId, from: InstanceId) {
        let (now, timeout) = (self.clock(ctx, id), self.config.settings.node_timeout);
        let peer = &mut self.instances[id].view.peers[from];
        peer.pong_received = now;
        peer.ping_sent = None;
        peer.is_suspected = false;
        let is_long_ago = peer.failed_at.is_some_and(|at| now.since(at) > timeout * FAIL_UNDO_FACTOR);
        if peer.has_failed() && (!peer.is_master() || peer.slots == 0 || is_long_ago) {
            peer.failed_at = None;
            ctx.trace(|| format!("redis {id} clears FAIL of {from}"));
        }
        self.update_state(ctx, id);
    }

    /// What a ping, a pong or a request for votes says about its sender and others.
    fn learn(&mut self, ctx: &Context<'_>, id: InstanceId, from: InstanceId, epochs: Epochs, status: &Status) {
        let view = &mut self.instances[id].view;
        if !view.peers[from].is_known {
            return;
        }
        view.peers[from].offset = status.offset;
        let sender_master = status.master.unwrap_or(from);
        let sender = &mut view.peers[from];
        if sender.is_master() && status.master.is_some() && sender.slots > 0 {
            // It gave up: its slots are nobody's until the new owner's claim is heard.
            sender.master = status.master;
            view.unassign(from);
        }
        view.peers[from].master = status.master;
        let is_news = view.ranges(sender_master)[..] != status.ranges[..];
        if is_news {
            if status.master.is_none() {
                view.note_claimed(from, &status.ranges);
                self.claim(ctx, id, from, epochs.config, &status.ranges);
            }
            self.correct(ctx, id, from, epochs, &status.ranges);
        }
        self.note_standstill(id, from, status);
        if status.master.is_none() {
            self.resolve_collision(id, from, epochs);
        }
        self.read_gossip(ctx, id, from, status);
        self.update_state(ctx, id);
    }

    /// `owner` claims slots: it gets those whose present owner's claim is older, and those that nobody claims.
    fn claim(&mut self, ctx: &Context<'_>, id: InstanceId, owner: InstanceId, epoch: u64, ranges: &[(u16, u16)]) {
        if owner == id {
            return;
        }
        let view = &mut self.instances[id].view;
        let own_master = view.peers[id].master.unwrap_or(id);
        let epochs: Vec<u64> = view.peers.iter().map(|peer| peer.config_epoch).collect();
        let (mut claimed, mut won) = (0, Vec::new());
        let mut from_own_master = 0;
        let mut lost = Vec::new();
        for slot in ranges.iter().flat_map(|(first, last)| *first..=*last) {
            claimed += 1;
            let present = usize::from(view.owners[usize::from(slot)]);
            let is_older = epochs.get(present).is_some_and(|present| *present >= epoch) && !view.is_unclaimed(slot);
            if present == owner || is_older || view.importing.contains_key(&slot) {
                continue;
            }
            if present == id {
                lost.push(slot);
            }
            from_own_master += usize::from(present == own_master);
            won.push((slot, slot));
        }
        if !won.is_empty() {
            view.assign(&won, owner);
            ctx.trace(|| format!("redis {id} accepts the claim of {owner} in epoch {epoch}"));
        }
        let view = &self.instances[id].view;
        let has_lost_all = from_own_master > 0 && view.peers[own_master].slots == 0;
        let follows_slots = self.config.settings.replica_migration || claimed == from_own_master;
        // Its master has become a replica itself without that anybody took a slot of it.
        let grandmaster =
            view.peers[id].master.and_then(|master| view.peers[master].master).filter(|other| *other != id);
        if has_lost_all && follows_slots {
            self.become_replica(ctx, id, owner);
        } else if let Some(grandmaster) = grandmaster {
            self.become_replica(ctx, id, grandmaster);
        } else if !lost.is_empty() {
            self.delete_keys_in(ctx, id, owner, &lost);
        }
        if !won.is_empty() {
            self.redirect_waiters(ctx, id);
            self.update_state(ctx, id);
        }
    }

    /// Tells a sender with an old claim who has the newer one.
    fn correct(&mut self, ctx: &Context<'_>, id: InstanceId, from: InstanceId, epochs: Epochs, claimed: &Ranges) {
        let view = &self.instances[id].view;
        let newer = claimed.iter().flat_map(|(first, last)| *first..=*last).find_map(|slot| {
            let owner = view.owner(slot).filter(|owner| *owner != from && !view.is_unclaimed(slot))?;
            (view.peers[owner].config_epoch > epochs.config).then_some(owner)
        });
        if let Some(owner) = newer {
            let config_epoch = view.peers[owner].config_epoch;
            let ranges = view.claimed_ranges(owner);
            self.send(ctx, id, from, Message::Update { owner, config_epoch, ranges });
        }
    }

    /// Two masters with one epoch: the one whose name comes first takes a new one.
    fn resolve_collision(&mut self, id: InstanceId, from: InstanceId, epochs: Epochs) {
        let is_smaller = self.instances[id].name < self.instances[from].name;
        let view = &mut self.instances[id].view;
        if view.peers[id].is_master() && is_smaller && view.peers[id].config_epoch == epochs.config {
            view.current_epoch += 1;
            view.peers[id].config_epoch = view.current_epoch;
        }
    }

    fn read_gossip(&mut self, ctx: &Context<'_>, id: InstanceId, from: InstanceId, status: &Status) {
        for name in &status.forgotten {
            let view = &self.instances[id].view;
            let Some(other) = view.known().find(|other| self.instances[*other].name == *name) else { continue };
            let is_dear = other == id || view.peers[id].master == Some(other);
            if !is_dear {
                self.forget(ctx, id, other);
            }
        }
        let is_from_master = self.is_master_in_view(id, from);
        let now = self.clock(ctx, id);
        for gossip in status.gossip.iter().filter(|gossip| gossip.about != id && gossip.about != from) {
            let view = &self.instances[id].view;
            if !view.peers[gossip.about].is_known {
                let is_forgotten =
                    view.forgotten.get(&self.instances[gossip.about].name).is_some_and(|until| *until > now);
                if !is_forgotten && !gossip.is_suspected {
                    self.shake_hands(ctx, id, gossip.about, false);
                }
                continue;
            }
            let peer = &mut self.instances[id].view.peers[gossip.about];
            if is_from_master && gossip.is_suspected {
                peer.reports.insert(from, now);
                self.mark_failed_if_agreed(ctx, id, gossip.about);
            } else if is_from_master {
                peer.reports.remove(&from);
            }
            let peer = &mut self.instances[id].view.peers[gossip.about];
            let is_plain = !gossip.is_suspected && peer.ping_sent.is_none() && peer.reports.is_empty();
            if is_plain && gossip.pong_received <= now {
                peer.pong_received = peer.pong_received.max(gossip.pong_received);
            }
        }
    }

    /// Declares an instance failed if this one suspects it and a majority of masters agrees.
    fn mark_failed_if_agreed(&mut self, ctx: &Context<'_>, id: InstanceId, about: InstanceId) {
        let own_voice = usize::from(self.is_master(id));
        let (now, timeout) = (self.clock(ctx, id), self.config.settings.node_timeout);
        let view = &mut self.instances[id].view;
        let quorum = view.quorum();
        let peer = &mut view.peers[about];
        if !peer.is_suspected || peer.has_failed() {
            return;
        }
        peer.forget_old_reports(now, timeout);
        if peer.reports.len() + own_voice < quorum {
            return;
        }
        self.mark_failed(ctx, id, about);
        self.broadcast(ctx, id, &Message::Fail(about));
    }

    fn mark_failed(&mut self, ctx: &Context<'_>, id: InstanceId, about: InstanceId) {
        let now = self.clock(ctx, id);
        let peer = &mut self.instances[id].view.peers[about];
        if about == id || peer.has_failed() || !peer.is_known {
            return;
        }
        peer.is_suspected = false;
        peer.failed_at = Some(now);
        ctx.trace(|| format!("redis {id} marks {about} FAIL"));
        self.update_state(ctx, id);
    }

    /// `cluster_state`: ok, if all slots are served and a majority of masters can be reached.
    pub(crate) fn update_state(&mut self, ctx: &Context<'_>, id: InstanceId) {
        let (now, timeout) = (self.clock(ctx, id), self.config.settings.node_timeout);
        let needs_all = self.config.settings.require_full_coverage;
        let view = &mut self.instances[id].view;
        let is_master = view.peers[id].is_master();
        if is_master && !view.is_ok && now.since(view.started_at) < WRITABLE_DELAY && view.started_at != Moment::ZERO {
            return;
        }
        let serving = view.peers.iter().filter(|peer| peer.is_master() && peer.slots > 0);
        view.size = serving.clone().count();
        let reachable = serving.clone().filter(|peer| !peer.has_failed() && !peer.is_suspected).count();
        let covered: usize = serving.filter(|peer| !peer.has_failed()).map(|peer| peer.slots).sum();
        let mut is_ok = !needs_all || covered == SLOTS;
        if reachable < view.quorum() {
            is_ok = false;
            view.in_minority_at = Some(now);
        }
        if is_ok == view.is_ok {
            return;
        }
        let rejoin_delay = timeout.clamp(REJOIN_DELAY_MIN, REJOIN_DELAY_MAX);
        if is_ok && is_master && view.in_minority_at.is_some_and(|at| now.since(at) < rejoin_delay) {
            return;
        }
        view.is_ok = is_ok;
        if !is_ok {
            self.tell_blocked_of_failure(id);
        }
        ctx.trace(|| format!("redis {id} cluster_state {}", if is_ok { "ok" } else { "fail" }));
    }

    /// The present moment by an instance's own clock, which is its node's wall clock, as Redis has it: a jump of that clock
    /// makes everything look older, or younger, than it is.
    pub(crate) fn clock(&self, ctx: &Context<'_>, id: InstanceId) -> Moment {
        if ctx.is_healthy() {
            return ctx.now();
        }
        let ahead_ms = ctx.wall(self.instances[id].node).as_millis() - ctx.kernel().wall().as_millis();
        let distance = Duration::from_millis(ahead_ms.unsigned_abs());
        if ahead_ms >= 0 { ctx.now() + distance } else { ctx.now() - distance }
    }

    pub(crate) fn is_master(&self, id: InstanceId) -> bool {
        self.instances[id].view.peers[id].is_master()
    }

    fn is_master_in_view(&self, id: InstanceId, other: InstanceId) -> bool {
        self.instances[id].view.peers[other].is_master()
    }
}

impl Message {
    /// True of messages of the bus; the others go from a master to its replica and back.
    fn has_header(&self) -> bool {
        match self {
            Message::Stream { .. }
            | Message::Ack { .. }
            | Message::Refused
            | Message::SyncRequest
            | Message::SyncDone { .. } => false,
            Message::Ping(_)
            | Message::Meet(_)
            | Message::Pong(_)
            | Message::Fail(_)
            | Message::AuthRequest { .. }
            | Message::ManualStart
            | Message::AuthAck(_)
            | Message::Update { .. }
            | Message::Publish { .. } => true,
        }
    }
}

impl Status {
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn stands_still(&self) -> bool {
        self.stands_still
    }

    pub(super) fn ranges(&self) -> &Ranges {
        &self.ranges
    }
}
