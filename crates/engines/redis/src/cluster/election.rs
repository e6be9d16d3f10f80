//! How a replica becomes a master: a delay by rank, votes of a majority of masters, a new epoch.

use std::time::Duration;

use atoll_kernel::{Context, Moment};

use super::bus::{Epochs, Message, Status};
use super::instance::InstanceId;
use crate::core::Cluster;

/// The replica waits so long before it asks for votes, so that FAIL reaches the voters first.
const ELECTION_DELAY: Duration = Duration::from_millis(500);
/// And up to so much longer, so that replicas do not ask at once.
const ELECTION_JITTER_MS: u64 = 500;
/// And so much longer for each replica that has more of the data.
const ELECTION_RANK_DELAY: Duration = Duration::from_millis(1000);
const AUTH_TIMEOUT_MIN: Duration = Duration::from_millis(2000);

impl Cluster {
    /// The candidacy of a replica, looked at ten times a second.
    pub(super) fn run_for_election(&mut self, ctx: &Context<'_>, id: InstanceId) {
        let settings = &self.config.settings;
        let (now, timeout) = (self.clock(ctx, id), settings.node_timeout);
        let Some(master) = self.instances[id].view.peers[id].master else { return };
        let failed = self.instances[id].view.peers[master].has_failed();
        let is_manual = self.instances[id].view.manual.can_start;
        let is_called_for = is_manual || failed && !settings.no_failover;
        if !is_called_for || self.instances[id].view.peers[master].slots == 0 {
            return;
        }
        let data_age = self.instances[id].link.silence(now).saturating_sub(timeout);
        let data_age_max = settings.repl_ping_period + timeout * settings.validity_factor;
        let is_too_old = settings.validity_factor > 0 && data_age > data_age_max && !is_manual;
        if is_too_old || self.instances[id].dataset.is_none() {
            return;
        }
        let auth_timeout = (timeout * 2).max(AUTH_TIMEOUT_MIN);
        let candidacy = &self.instances[id].view.candidacy;
        let Some(at) = candidacy.at.filter(|at| now.since(*at) <= auth_timeout * 2) else {
            self.schedule_election(ctx, id, master);
            return;
        };
        let rank = if is_manual { 0 } else { self.rank(id, master) };
        let candidacy = &mut self.instances[id].view.candidacy;
        if !candidacy.is_sent && rank > candidacy.rank {
            candidacy.at = Some(at + ELECTION_RANK_DELAY * u32::try_from(rank - candidacy.rank).unwrap_or(1));
            candidacy.rank = rank;
            return;
        }
        if now < at || now.since(at) > auth_timeout {
            return;
        }
        if !candidacy.is_sent {
            let view = &mut self.instances[id].view;
            view.current_epoch += 1;
            view.candidacy.epoch = view.current_epoch;
            view.candidacy.is_sent = true;
            ctx.trace(|| format!("redis {id} asks for votes in epoch {}", view.current_epoch));
            let status = Box::new(self.status_of(ctx, id));
            self.broadcast(ctx, id, &Message::AuthRequest { status, is_manual });
            return;
        }
        let view = &self.instances[id].view;
        if view.candidacy.votes >= view.quorum() {
            self.win(ctx, id, master);
        }
    }

    fn schedule_election(&mut self, ctx: &Context<'_>, id: InstanceId, master: InstanceId) {
        let is_manual = self.instances[id].view.manual.can_start;
        let rank = if is_manual { 0 } else { self.rank(id, master) };
        let now = self.clock(ctx, id);
        let candidacy = &mut self.instances[id].view.candidacy;
        candidacy.attempts += 1;
        let mut stream = ctx.random("redis.election", (id as u64) << 32 | candidacy.attempts);
        let jitter = Duration::from_millis(stream.below(ELECTION_JITTER_MS));
        let rank_delay = ELECTION_RANK_DELAY * u32::try_from(rank).unwrap_or(1);
        // What was asked for need not wait until all know of a failure.
        let delay = if is_manual { Duration::ZERO } else { ELECTION_DELAY + jitter + rank_delay };
        candidacy.at = Some(now + delay);
        candidacy.rank = rank;
        candidacy.is_sent = false;
        candidacy.votes = 0;
        // The other replicas of the master learn this one's offset, for their ranks.
        let siblings: Vec<InstanceId> = self.instances[id].view.replicas(master).filter(|other| *other != id).collect();
        for other in siblings {
            let status = self.status_of(ctx, id);
            self.send(ctx, id, other, Message::Pong(Box::new(status)));
        }
    }

    /// How many replicas of the same master have more of its data.
    fn rank(&self, id: InstanceId, master: InstanceId) -> u64 {
        let view = &self.instances[id].view;
        let own = self.position_of(id);
        view.replicas(master).filter(|other| *other != id && view.peers[*other].offset > own).count() as u64
    }

    /// A replica asks for this instance's vote.
    pub(super) fn vote(
        &mut self,
        ctx: &Context<'_>,
        id: InstanceId,
        from: InstanceId,
        epochs: Epochs,
        (request, is_manual): (&Status, bool),
    ) {
        let (now, timeout) = (self.clock(ctx, id), self.config.settings.node_timeout);
        let view = &mut self.instances[id].view;
        if !view.peers[id].is_master() || view.peers[id].slots == 0 {
            return;
        }
        if epochs.current < view.current_epoch || view.last_vote_epoch == view.current_epoch {
            return;
        }
        let Some(master) = view.peers[from].master.filter(|master| is_manual || view.peers[*master].has_failed())
        else {
            return;
        };
        let voted_at = view.peers[master].voted_at;
        if voted_at.is_some_and(|at: Moment| now.since(at) < timeout * 2) {
            return;
        }
        let is_outdated = request.ranges().iter().flat_map(|(first, last)| *first..=*last).any(|slot| {
            let owner = view.owner(slot).filter(|_| !view.is_unclaimed(slot));
            owner.is_some_and(|owner| view.peers[owner].config_epoch > epochs.config)
        });
        if is_outdated {
            return;
        }
        view.last_vote_epoch = view.current_epoch;
        view.peers[master].voted_at = Some(now);
        let epoch = view.current_epoch;
        ctx.trace(|| format!("redis {id} votes for {from} in epoch {epoch}"));
        self.send(ctx, id, from, Message::AuthAck(epoch));
    }

    pub(super) fn count_vote(&mut self, id: InstanceId, from: InstanceId, epoch: u64) {
        let view = &mut self.instances[id].view;
        let voter = &view.peers[from];
        if voter.is_master() && voter.slots > 0 && epoch >= view.candidacy.epoch && view.candidacy.is_sent {
            view.candidacy.votes += 1;
        }
    }

    /// Elected: this instance takes its master's slots in the epoch of the election.
    pub(super) fn win(&mut self, ctx: &Context<'_>, id: InstanceId, master: InstanceId) {
        ctx.trace(|| format!("redis {id} takes over from {master}"));
        let view = &mut self.instances[id].view;
        view.peers[id].config_epoch = view.peers[id].config_epoch.max(view.candidacy.epoch);
        view.peers[id].master = None;
        view.candidacy = super::instance::Candidacy { attempts: view.candidacy.attempts, ..Default::default() };
        view.manual = super::manual::Manual::default();
        let ranges = std::rc::Rc::clone(view.ranges(master));
        view.assign(&ranges, id);
        self.become_master(ctx, id, master);
        self.update_state(ctx, id);
        self.broadcast_pong(ctx, id);
    }
}
