//! Messages between nodes: judged when sent, delivered when due, held while the receiver is paused.

use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use crate::kernel::Context;
use crate::node::{NodeId, NodeState};
use crate::rule::{Link, Part, Verdict};
use crate::time::Moment;

/// How many messages may be under way in one network. Past that the oldest of the link is dropped, as by a full queue.
pub const IN_FLIGHT_MAX: usize = 1 << 20;

/// A message with its sender and receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<M> {
    /// Who sent it.
    pub from: NodeId,
    /// Who is to receive it.
    pub to: NodeId,
    /// What it says.
    pub message: M,
}

/// The messages of one engine that are under way. A container of the engine's own message type, and nothing else: an
/// engine sends, and then handles whatever [`Network::receive`] hands out until it hands out nothing.
///
/// Healthy and without latency a message is due at once, so a send followed by the receive loop handles it in place.
/// Order is kept per directed pair, as TCP keeps it. A cut link loses messages; a paused node's wait for it.
#[derive(Debug)]
pub struct Network<M> {
    part: Part,
    sent: u64,
    immediate: VecDeque<Envelope<M>>,
    delayed: BinaryHeap<Delayed<M>>,
    /// The latest due moment of each pair that has a delayed message, so that a shorter delay cannot overtake.
    last_due: BTreeMap<(NodeId, NodeId), Moment>,
    held: BTreeMap<NodeId, VecDeque<Envelope<M>>>,
}

#[derive(Debug)]
struct Delayed<M> {
    due: Moment,
    ordinal: u64,
    envelope: Envelope<M>,
}

impl<M> Network<M> {
    /// An empty network for one part of the stack.
    pub fn new(part: Part) -> Network<M> {
        Network {
            part,
            sent: 0,
            immediate: VecDeque::new(),
            delayed: BinaryHeap::new(),
            last_due: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// Sends a message; what the rules drop is gone.
    pub fn send(&mut self, ctx: &Context<'_>, from: NodeId, to: NodeId, message: M) {
        self.sent += 1;
        let envelope = Envelope { from, to, message };
        if self.last_due.is_empty() && ctx.is_healthy() {
            self.immediate.push_back(envelope);
            return;
        }
        if self.in_flight() >= IN_FLIGHT_MAX {
            return;
        }
        let delay = match ctx.judge(&Link::peers(self.part, from, to)) {
            Verdict::Pass => std::time::Duration::ZERO,
            Verdict::Delay(delay) => delay,
            Verdict::Drop | Verdict::Reset => return,
        };
        let last_due = self.last_due.get(&(from, to)).copied().unwrap_or(Moment::ZERO);
        let due = (ctx.now() + delay).max(last_due);
        if due <= ctx.now() {
            self.immediate.push_back(envelope);
        } else {
            self.last_due.insert((from, to), due);
            self.delayed.push(Delayed { due, ordinal: self.sent, envelope });
        }
    }

    /// The next message that is due and whose receiver can take it, or None.
    pub fn receive(&mut self, ctx: &Context<'_>) -> Option<Envelope<M>> {
        loop {
            let envelope = self.next_due_envelope(ctx)?;
            if ctx.is_healthy() {
                return Some(envelope);
            }
            match ctx.node_state(envelope.to) {
                NodeState::Running => return Some(envelope),
                NodeState::Paused => self.held.entry(envelope.to).or_default().push_back(envelope),
                NodeState::Killed | NodeState::Stopped => {}
            }
        }
    }

    fn next_due_envelope(&mut self, ctx: &Context<'_>) -> Option<Envelope<M>> {
        if !self.held.is_empty() {
            let awake = self.held.keys().copied().find(|node| ctx.node_state(*node) != NodeState::Paused);
            if let Some(node) = awake {
                let queue = self.held.get_mut(&node)?;
                let envelope = queue.pop_front();
                if queue.is_empty() {
                    self.held.remove(&node);
                }
                if envelope.is_some() {
                    return envelope;
                }
            }
        }
        // A delayed message that has come due was sent before any immediate one of the same pair.
        if self.delayed.peek().is_some_and(|next| next.due <= ctx.now()) {
            let next = self.delayed.pop()?;
            let pair = (next.envelope.from, next.envelope.to);
            if self.last_due.get(&pair).is_some_and(|due| *due <= next.due) {
                self.last_due.remove(&pair);
            }
            return Some(next.envelope);
        }
        self.immediate.pop_front()
    }

    /// When the next message comes due; None if none is under way. Held messages wait for their node, not for time.
    pub fn next_due(&self) -> Option<Moment> {
        if !self.immediate.is_empty() {
            return Some(Moment::ZERO);
        }
        self.delayed.peek().map(|next| next.due)
    }

    /// How many messages are under way or held.
    pub fn in_flight(&self) -> usize {
        self.immediate.len() + self.delayed.len() + self.held.values().map(VecDeque::len).sum::<usize>()
    }

    /// Forgets all that is under way from or to a node, as its death does.
    pub fn forget(&mut self, node: NodeId) {
        self.immediate.retain(|envelope| envelope.to != node);
        self.held.remove(&node);
        self.delayed.retain(|delayed| delayed.envelope.to != node);
        self.last_due.retain(|(_, to), _| *to != node);
    }
}

impl<M> PartialEq for Delayed<M> {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.ordinal) == (other.due, other.ordinal)
    }
}

impl<M> Eq for Delayed<M> {}

impl<M> PartialOrd for Delayed<M> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> Ord for Delayed<M> {
    /// The reverse of time, because a binary heap hands out the greatest first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.ordinal).cmp(&(self.due, self.ordinal))
    }
}
