//! The metadata of one engine cluster: an authoritative log of records, and what each node has seen of it so far.
//!
//! A record is committed at once or not at all: it is committed while a majority of the voters, the leader among them,
//! run and reach each other in both directions. What is committed then travels over links to every node's [`View`]: a node
//! that is cut off, paused or slow keeps believing what it knew. **An engine answers from the asked node's view only.**
//!
//! The leader is replaced when it has had no majority for the fetch timeout and an election time drawn from a keyed
//! stream, and resigns then if nobody can replace it. Split votes and election storms are not modelled: the first candidate with a majority wins.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::kernel::Context;
use crate::node::{NodeId, NodeState};
use crate::rule::{Link, Part, Verdict};
use crate::time::Moment;

/// How fast a quorum notices that it has lost its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumTiming {
    /// How long voters wait for a silent leader (Kafka's `controller.quorum.fetch.timeout.ms`).
    pub fetch_timeout: Duration,
    /// The longest an election may take on top of that (Kafka's `controller.quorum.election.timeout.ms`).
    pub election_timeout: Duration,
}

impl Default for QuorumTiming {
    /// Kafka's defaults: two seconds, and up to one.
    fn default() -> QuorumTiming {
        QuorumTiming { fetch_timeout: Duration::from_secs(2), election_timeout: Duration::from_secs(1) }
    }
}

/// What one node has seen of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// How many records from the front.
    pub applied: u64,
    /// When it will have seen more, and how many then.
    arriving: Option<(Moment, u64)>,
}

/// Nothing can be committed now: the leader has no majority, or there is no leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMajority;

/// The authoritative log of `R`s with its leader and its views.
#[derive(Debug)]
pub struct ControlPlane<R> {
    part: Part,
    voters: Vec<NodeId>,
    timing: QuorumTiming,
    records: Vec<R>,
    leader: Option<NodeId>,
    epoch: u32,
    election_due: Option<Moment>,
    views: BTreeMap<NodeId, View>,
    /// Nodes that run while the engine's process on them has ended by itself.
    ended: BTreeSet<NodeId>,
    /// Whether anything may have changed since the last `advance`: it costs nothing while nothing has.
    unsettled: bool,
}

impl<R> ControlPlane<R> {
    /// A control plane of `voters`, seen by `nodes`, which begins with `records` that everyone knows. The first voter leads.
    pub fn new(
        part: Part,
        nodes: &[NodeId],
        voters: Vec<NodeId>,
        timing: QuorumTiming,
        records: Vec<R>,
    ) -> ControlPlane<R> {
        let known = View { applied: records.len() as u64, arriving: None };
        let views = nodes.iter().map(|node| (*node, known)).collect();
        let leader = voters.first().copied();
        let ended = BTreeSet::new();
        ControlPlane {
            part,
            voters,
            timing,
            records,
            leader,
            epoch: 1,
            election_due: None,
            views,
            ended,
            unsettled: true,
        }
    }

    /// The node that leads, or that leads until the others find out that it cannot.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Counts the leaders so far.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How many records are committed.
    pub fn committed(&self) -> u64 {
        self.records.len() as u64
    }

    /// The record at `offset`, if it is committed.
    pub fn record(&self, offset: u64) -> Option<&R> {
        self.records.get(usize::try_from(offset).ok()?)
    }

    /// How many records a node has seen; the engine applies those it has not yet applied, in order.
    pub fn applied(&self, node: NodeId) -> u64 {
        self.views.get(&node).map_or(0, |view| view.applied)
    }

    /// Whether the leader runs and has a majority.
    pub fn can_commit(&self, ctx: &Context<'_>) -> bool {
        self.leader.is_some_and(|leader| self.has_majority(ctx, leader))
    }

    /// Commits records, all or none, and returns the offset of the first. Views learn of it by [`ControlPlane::advance`].
    pub fn commit(&mut self, ctx: &Context<'_>, records: impl IntoIterator<Item = R>) -> Result<u64, NoMajority> {
        if !self.can_commit(ctx) {
            return Err(NoMajority);
        }
        let first = self.committed();
        self.records.extend(records);
        self.unsettled = true;
        Ok(first)
    }

    /// To be called after every fault event.
    pub fn on_fault(&mut self) {
        self.unsettled = true;
    }

    /// The engine's process on a node has ended by itself: it neither votes nor sees anything until it is started.
    pub fn process_ended(&mut self, node: NodeId) {
        self.ended.insert(node);
        self.unsettled = true;
    }

    /// The engine's process on a node has been started again.
    pub fn process_started(&mut self, node: NodeId) {
        self.unsettled |= self.ended.remove(&node);
    }

    fn runs(&self, ctx: &Context<'_>, node: NodeId) -> bool {
        ctx.node_state(node) == NodeState::Running && !self.ended.contains(&node)
    }

    /// Lets commits reach the views, and replaces a leader that is due for it. True if a leader was elected.
    pub fn advance(&mut self, ctx: &Context<'_>) -> bool {
        let is_due = self.next_wake().is_some_and(|due| due <= ctx.now());
        if !self.unsettled && !is_due {
            return false;
        }
        self.unsettled = false;
        let elected = self.watch_leader(ctx);
        self.deliver(ctx);
        elected
    }

    /// When `advance` has something to do by itself.
    pub fn next_wake(&self) -> Option<Moment> {
        let arrivals = self.views.values().filter_map(|view| view.arriving.map(|(due, _)| due));
        arrivals.chain(self.election_due).min()
    }

    fn has_majority(&self, ctx: &Context<'_>, node: NodeId) -> bool {
        if ctx.is_healthy() && self.ended.is_empty() {
            return true;
        }
        let near = |voter: &&NodeId| self.runs(ctx, **voter) && ctx.connected(self.part, node, **voter);
        let with_it = self.voters.iter().filter(near);
        self.runs(ctx, node) && with_it.count() * 2 > self.voters.len()
    }

    fn watch_leader(&mut self, ctx: &Context<'_>) -> bool {
        if self.can_commit(ctx) {
            self.election_due = None;
            return false;
        }
        let Some(due) = self.election_due else {
            let mut stream = ctx.random("control-plane.election", u64::from(self.epoch));
            self.election_due =
                Some(ctx.now() + self.timing.fetch_timeout + stream.up_to(self.timing.election_timeout));
            return false;
        };
        if ctx.now() < due {
            return false;
        }
        let able: Vec<NodeId> = self.voters.iter().copied().filter(|voter| self.has_majority(ctx, *voter)).collect();
        let elected = ctx.random("control-plane.candidate", u64::from(self.epoch)).pick(&able).copied();
        match elected {
            Some(node) => {
                self.leader = Some(node);
                self.epoch += 1;
                self.election_due = None;
                ctx.trace(|| format!("{} controller {node} epoch {}", self.part, self.epoch));
            }
            // Nobody can win, and a leader that has had no majority for so long resigns: whoever leads next begins anew.
            None => {
                self.leader = None;
                self.election_due = Some(ctx.now() + self.timing.election_timeout);
            }
        }
        elected.is_some()
    }

    fn deliver(&mut self, ctx: &Context<'_>) {
        let Some(leader) = self.leader else { return };
        let committed = self.records.len() as u64;
        let leader_runs = self.runs(ctx, leader);
        for (node, view) in &mut self.views {
            let state = if self.ended.contains(node) { NodeState::Killed } else { ctx.node_state(*node) };
            match state {
                NodeState::Running => {}
                // What arrives at a paused node waits there.
                NodeState::Paused => {
                    if let Some((due, upto)) = view.arriving {
                        view.arriving = (due > ctx.now()).then_some((due, upto));
                        self.unsettled |= due <= ctx.now();
                    }
                    continue;
                }
                NodeState::Killed | NodeState::Stopped => {
                    view.arriving = None;
                    continue;
                }
            }
            if let Some((due, upto)) = view.arriving
                && due <= ctx.now()
            {
                view.applied = view.applied.max(upto);
                view.arriving = None;
            }
            if view.applied < committed && view.arriving.is_none() && leader_runs {
                match travel_time(ctx, self.part, leader, *node) {
                    Some(Duration::ZERO) => view.applied = committed,
                    Some(delay) => view.arriving = Some((ctx.now() + delay, committed)),
                    None => {}
                }
            }
        }
    }
}

/// How long a node's standing request to the leader takes to be answered; None while either direction is cut.
fn travel_time(ctx: &Context<'_>, part: Part, leader: NodeId, node: NodeId) -> Option<Duration> {
    let answer = Link::peers(part, leader, node);
    if leader == node || ctx.is_healthy() {
        return Some(Duration::ZERO);
    }
    match (ctx.judge(&answer.reversed()), ctx.judge(&answer)) {
        (Verdict::Drop | Verdict::Reset, _) | (_, Verdict::Drop | Verdict::Reset) => None,
        (_, Verdict::Delay(delay)) => Some(delay),
        (_, Verdict::Pass) => Some(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests;
