//! The handle that everything shares, and the context that a core is called with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::fault::{Fault, FaultEvent, Point, Trigger};
use crate::ledger::{Entry, Ledger};
use crate::node::{ClockSkew, DiskHealth, Node, NodeConfig, NodeId, NodeState};
use crate::rule::{Endpoint, Link, Rule, RuleId, Rules, Verdict};
use crate::seed::{Seed, Stream};
use crate::time::{Clock, Moment, WallTime};

/// A handle on the kernel: cheap to clone, shared by every engine, synchronous, and never blocking for long.
///
/// All that is usual while nothing is wrong is an atomic read; the lock behind it is taken only once something is.
#[derive(Clone)]
pub struct Kernel {
    shared: Arc<Shared>,
}

struct Shared {
    seed: Seed,
    clock: Clock,
    /// True while every node runs with a right clock and a good disk, and no rule is set.
    healthy: AtomicBool,
    /// The number of fault events so far.
    version: AtomicU64,
    /// True while any trigger waits.
    armed: AtomicBool,
    state: Mutex<State>,
    ledger: Mutex<Ledger>,
    watchers: Mutex<Vec<Watcher>>,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("now", &self.now()).field("version", &self.version()).finish_non_exhaustive()
    }
}

type Watcher = Box<dyn Fn() + Send>;

struct State {
    nodes: Vec<Node>,
    rules: Rules,
    events: Vec<(Moment, FaultEvent)>,
    triggers: Vec<Armed>,
    trace: Option<Trace>,
}

struct Armed {
    trigger: Trigger,
    reached: u64,
}

/// The running hash of all that a simulation did, so that two runs can be compared by one number.
#[derive(Default)]
struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Kernel {
    /// A kernel in real time, for the live stack.
    pub fn live(nodes: Vec<NodeConfig>, seed: Seed) -> Kernel {
        Kernel::with_clock(nodes, seed, Clock::real(), None)
    }

    /// A kernel in virtual time, which starts at `wall` and moves only by [`Kernel::advance_to`]. It keeps a trace.
    pub fn simulated(nodes: Vec<NodeConfig>, seed: Seed, wall: WallTime) -> Kernel {
        Kernel::with_clock(nodes, seed, Clock::virtual_from(wall), Some(Trace::default()))
    }

    fn with_clock(nodes: Vec<NodeConfig>, seed: Seed, clock: Clock, trace: Option<Trace>) -> Kernel {
        let nodes = nodes.into_iter().map(Node::new).collect();
        let state = State { nodes, rules: Rules::default(), events: Vec::new(), triggers: Vec::new(), trace };
        Kernel {
            shared: Arc::new(Shared {
                seed,
                clock,
                healthy: AtomicBool::new(true),
                version: AtomicU64::new(0),
                armed: AtomicBool::new(false),
                state: Mutex::new(state),
                ledger: Mutex::new(Ledger::default()),
                watchers: Mutex::new(Vec::new()),
            }),
        }
    }

    /// The present moment.
    #[inline]
    pub fn now(&self) -> Moment {
        self.shared.clock.now()
    }

    /// Moves virtual time forward. Real time moves by itself.
    pub fn advance_to(&self, moment: Moment) {
        self.shared.clock.set(moment);
    }

    /// The real instant of a moment, for a live driver that sleeps until it; None under virtual time.
    pub fn real_instant(&self, moment: Moment) -> Option<std::time::Instant> {
        self.shared.clock.real_instant(moment)
    }

    /// True wall time at [`Moment::ZERO`].
    pub fn wall_at_start(&self) -> WallTime {
        self.shared.clock.wall(Moment::ZERO)
    }

    /// True wall time now: what a node with a right clock shows.
    pub fn wall(&self) -> WallTime {
        self.shared.clock.wall(self.now())
    }

    /// The seed of this run.
    pub fn seed(&self) -> Seed {
        self.shared.seed
    }

    /// True while every node runs with a right clock and a good disk, and no rule is set.
    #[inline]
    pub fn is_healthy(&self) -> bool {
        self.shared.healthy.load(Ordering::Acquire)
    }

    /// The number of fault events so far. A change means that [`Kernel::events_since`] has something to tell.
    pub fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    /// The fault events after the first `seen`, oldest first, each with its moment.
    pub fn events_since(&self, seen: u64) -> Vec<(Moment, FaultEvent)> {
        let state = self.shared.state.lock();
        let start = usize::try_from(seen).unwrap_or(usize::MAX).min(state.events.len());
        state.events[start..].to_vec()
    }

    /// Calls `watcher` after every fault event, on the thread that caused it. It must be quick and must not call back.
    pub fn watch(&self, watcher: impl Fn() + Send + 'static) {
        self.shared.watchers.lock().push(Box::new(watcher));
    }

    /// All nodes, in order of their numbers.
    pub fn nodes(&self) -> Vec<Node> {
        self.shared.state.lock().nodes.clone()
    }

    /// One node, or None if there is none of that number.
    pub fn node(&self, id: NodeId) -> Option<Node> {
        self.shared.state.lock().node(id).cloned()
    }

    /// Whether a node runs. A node that does not exist is [`NodeState::Stopped`].
    pub fn node_state(&self, id: NodeId) -> NodeState {
        if self.is_healthy() {
            return NodeState::Running;
        }
        self.shared.state.lock().node(id).map_or(NodeState::Stopped, |node| node.state)
    }

    /// What passes over a link. Dead ends drop: what a dead node sends or is sent is lost.
    pub fn judge(&self, link: &Link) -> Verdict {
        if self.is_healthy() {
            return Verdict::Pass;
        }
        let state = self.shared.state.lock();
        let dead = |endpoint| match endpoint {
            Endpoint::Node(id) => state.node(id).is_none_or(|node| !node.state.is_alive()),
            Endpoint::Client => false,
        };
        if dead(link.from) || dead(link.to) { Verdict::Drop } else { state.rules.judge(link) }
    }

    /// The rules in force, in the order in which they are tried.
    pub fn rules(&self) -> Vec<(RuleId, Rule)> {
        self.shared.state.lock().rules.list()
    }

    /// Adds a rule that lasts as long as its guard.
    pub fn rule(&self, rule: Rule) -> RuleGuard {
        RuleGuard { kernel: self.clone(), id: Some(self.add_rule(rule)) }
    }

    /// Adds a rule that lasts until it is removed by its id, or all is healed.
    pub fn add_rule(&self, rule: Rule) -> RuleId {
        let id = self.shared.state.lock().rules.add(rule);
        self.happened(&[FaultEvent::RulesChanged]);
        id
    }

    /// Does something to the stack. What is already so is no event.
    pub fn inject(&self, fault: &Fault) {
        let now = self.now();
        let events = self.shared.state.lock().apply(fault, now);
        self.happened(&events);
    }

    /// Sets a trigger: its fault is injected when its point is reached.
    pub fn when(&self, trigger: Trigger) {
        self.shared.state.lock().triggers.push(Armed { trigger, reached: 0 });
        self.shared.armed.store(true, Ordering::Release);
    }

    /// True while any trigger waits. A core that skips bookkeeping while nothing can happen asks this as well as
    /// [`Kernel::is_healthy`], because a trigger goes off in the middle of a request.
    #[inline]
    pub fn is_armed(&self) -> bool {
        self.shared.armed.load(Ordering::Acquire)
    }

    /// Says that a protocol event happened on a node. Costs an atomic read unless a trigger waits.
    pub fn reached(&self, point: Point, node: NodeId) {
        if !self.shared.armed.load(Ordering::Acquire) {
            return;
        }
        let (faults, rest) = self.shared.state.lock().reached(point, node);
        self.shared.armed.store(rest, Ordering::Release);
        for fault in &faults {
            self.inject(fault);
        }
    }

    /// Writes into the ledger.
    pub fn record(&self, entry: Entry) {
        self.trace(&format!("{:?} {} {} x{}", entry.kind, entry.part, entry.subject, entry.count));
        self.shared.ledger.lock().record(entry);
    }

    /// A copy of the ledger as it is now.
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger.lock().clone()
    }

    /// Reads the ledger in place, for those who need only a count or the newest entries.
    pub fn with_ledger<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        read(&self.shared.ledger.lock())
    }

    /// Adds a line to the trace of a simulation; free when live.
    pub fn trace(&self, line: &str) {
        if matches!(self.shared.clock, Clock::Real { .. }) {
            return;
        }
        let now = self.now();
        if let Some(trace) = &mut self.shared.state.lock().trace {
            trace.add(now, line);
        }
    }

    /// Keeps the lines of the trace from now on, not only their hash.
    pub fn keep_trace(&self) {
        if let Some(trace) = &mut self.shared.state.lock().trace {
            trace.lines.get_or_insert_default();
        }
    }

    /// The hash of the trace so far; 0 when live.
    pub fn trace_hash(&self) -> u64 {
        self.shared.state.lock().trace.as_ref().map_or(0, |trace| trace.hash)
    }

    /// The lines of the trace, if they were kept.
    pub fn trace_lines(&self) -> Vec<String> {
        self.shared.state.lock().trace.as_ref().and_then(|trace| trace.lines.clone()).unwrap_or_default()
    }

    fn happened(&self, events: &[FaultEvent]) {
        if events.is_empty() {
            return;
        }
        let now = self.now();
        {
            let mut state = self.shared.state.lock();
            for event in events {
                state.events.push((now, *event));
                if let Some(trace) = &mut state.trace {
                    trace.add(now, &format!("{event:?}"));
                }
            }
            let healthy = state.rules.is_empty() && state.nodes.iter().all(Node::is_healthy);
            self.shared.healthy.store(healthy, Ordering::Release);
            self.shared.version.store(state.events.len() as u64, Ordering::Release);
        }
        for watcher in self.shared.watchers.lock().iter() {
            watcher();
        }
    }

    #[inline]
    fn node_wall(&self, id: NodeId, now: Moment) -> WallTime {
        let true_time = self.shared.clock.wall(now);
        if self.is_healthy() { true_time } else { self.skewed(id, now, true_time) }
    }

    #[cold]
    fn skewed(&self, id: NodeId, now: Moment, true_time: WallTime) -> WallTime {
        let state = self.shared.state.lock();
        state.node(id).map_or(true_time, |node| node.skew.apply(now, true_time))
    }

    fn disk_health(&self, id: NodeId) -> DiskHealth {
        if self.is_healthy() {
            return DiskHealth::Ok;
        }
        self.shared.state.lock().node(id).map_or(DiskHealth::Ok, |node| node.disk)
    }
}

impl State {
    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.config.id == id)
    }

    fn apply(&mut self, fault: &Fault, now: Moment) -> Vec<FaultEvent> {
        use FaultEvent as Event;
        use NodeState::{Killed, Paused, Running, Stopped};
        match fault {
            Fault::Kill(id) => self.change_state(*id, &[Running, Paused], Killed, Event::Killed(*id)),
            Fault::Power(id) => self.change_state(*id, &[Running, Paused, Killed], Killed, Event::PowerLost(*id)),
            Fault::Pause(id) => self.change_state(*id, &[Running], Paused, Event::Paused(*id)),
            Fault::Resume(id) => self.change_state(*id, &[Paused], Running, Event::Resumed(*id)),
            Fault::Start(id) => self.change_state(*id, &[Killed, Stopped], Running, Event::Started(*id)),
            Fault::Stop(id) => self.change_state(*id, &[Running, Paused], Stopped, Event::Stopped(*id)),
            Fault::AddRule(rule) => {
                self.rules.add(rule.clone());
                vec![Event::RulesChanged]
            }
            Fault::RemoveRule(id) => {
                if self.rules.remove(*id) {
                    vec![Event::RulesChanged]
                } else {
                    Vec::new()
                }
            }
            Fault::Heal => self.heal(now),
            Fault::Skew { node, offset_ms, drift_ms_per_s } => {
                self.set_skew(*node, ClockSkew { offset_ms: *offset_ms, drift_ms_per_s: *drift_ms_per_s, since: now })
            }
            Fault::Disk { node, health } => self.set_disk(*node, *health),
        }
    }

    fn change_state(&mut self, id: NodeId, from: &[NodeState], to: NodeState, event: FaultEvent) -> Vec<FaultEvent> {
        match self.nodes.iter_mut().find(|node| node.config.id == id) {
            Some(node) if from.contains(&node.state) => {
                node.state = to;
                vec![event]
            }
            _ => Vec::new(),
        }
    }

    fn set_skew(&mut self, id: NodeId, skew: ClockSkew) -> Vec<FaultEvent> {
        let Some(node) = self.nodes.iter_mut().find(|node| node.config.id == id) else { return Vec::new() };
        let is_right = skew.offset_ms == 0 && skew.drift_ms_per_s == 0.0;
        node.skew = if is_right { ClockSkew::default() } else { skew };
        vec![FaultEvent::ClockChanged(id)]
    }

    fn set_disk(&mut self, id: NodeId, health: DiskHealth) -> Vec<FaultEvent> {
        match self.nodes.iter_mut().find(|node| node.config.id == id) {
            Some(node) if node.disk != health => {
                node.disk = health;
                vec![FaultEvent::DiskChanged(id, health)]
            }
            _ => Vec::new(),
        }
    }

    fn heal(&mut self, now: Moment) -> Vec<FaultEvent> {
        let mut events = Vec::new();
        if self.rules.clear() {
            events.push(FaultEvent::RulesChanged);
        }
        for id in self.nodes.iter().map(|node| node.config.id).collect::<Vec<_>>() {
            events.extend(self.apply(&Fault::Disk { node: id, health: DiskHealth::Ok }, now));
            if self.node(id).is_some_and(|node| node.skew != ClockSkew::default()) {
                events.extend(self.set_skew(id, ClockSkew::default()));
            }
            events.extend(self.apply(&Fault::Resume(id), now));
            events.extend(self.apply(&Fault::Start(id), now));
        }
        events
    }

    /// The faults whose triggers go off now, and whether any trigger still waits.
    fn reached(&mut self, point: Point, node: NodeId) -> (Vec<Fault>, bool) {
        let mut faults = Vec::new();
        self.triggers.retain_mut(|armed| {
            let concerned = armed.trigger.point == point && armed.trigger.node.is_none_or(|only| only == node);
            armed.reached += u64::from(concerned);
            let goes_off = concerned && armed.reached >= armed.trigger.nth;
            if goes_off {
                faults.push(armed.trigger.fault.clone());
            }
            !goes_off
        });
        (faults, !self.triggers.is_empty())
    }
}

impl Trace {
    fn add(&mut self, now: Moment, line: &str) {
        self.hash = xxhash_rust::xxh3::xxh3_64_with_seed(line.as_bytes(), self.hash ^ now.as_nanos());
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{now} {line}"));
        }
    }
}

/// Keeps a rule in force until it is dropped.
#[must_use = "the rule goes when its guard is dropped"]
pub struct RuleGuard {
    kernel: Kernel,
    id: Option<RuleId>,
}

impl RuleGuard {
    /// Lets the rule stay until it is removed by its id, or all is healed.
    pub fn keep(mut self) -> Option<RuleId> {
        self.id.take()
    }
}

impl Drop for RuleGuard {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.kernel.inject(&Fault::RemoveRule(id));
        }
    }
}

/// What a core is called with: time, randomness, the network's judgement, disks, triggers and the ledger.
///
/// The present moment is fixed for the length of one call, so a core never sees time pass while it thinks.
#[derive(Clone, Copy)]
pub struct Context<'k> {
    kernel: &'k Kernel,
    now: Moment,
}

impl<'k> Context<'k> {
    /// A context for calls made at the kernel's present moment.
    pub fn new(kernel: &'k Kernel) -> Context<'k> {
        Context { kernel, now: kernel.now() }
    }

    /// The kernel itself.
    #[inline]
    pub fn kernel(&self) -> &'k Kernel {
        self.kernel
    }

    /// The present moment on the monotonic clock, which faults leave alone.
    #[inline]
    pub fn now(&self) -> Moment {
        self.now
    }

    /// What a node's wall clock shows now, skew and all.
    #[inline]
    pub fn wall(&self, node: NodeId) -> WallTime {
        self.kernel.node_wall(node, self.now)
    }

    /// The random stream for one purpose and ordinal. See [`Seed::stream`].
    pub fn random(&self, purpose: &str, ordinal: u64) -> Stream {
        self.kernel.seed().stream(purpose, ordinal)
    }

    /// True while nothing at all is wrong: the fast path of everything below.
    #[inline]
    pub fn is_healthy(&self) -> bool {
        self.kernel.is_healthy()
    }

    /// Whether a node runs.
    pub fn node_state(&self, node: NodeId) -> NodeState {
        self.kernel.node_state(node)
    }

    /// What passes over a link.
    pub fn judge(&self, link: &Link) -> Verdict {
        self.kernel.judge(link)
    }

    /// True if a message between two nodes would arrive, now or later, and so would its answer.
    pub fn connected(&self, part: crate::rule::Part, one: NodeId, other: NodeId) -> bool {
        let arrives = |link: Link| matches!(self.judge(&link), Verdict::Pass | Verdict::Delay(_));
        let link = Link::peers(part, one, other);
        one == other || (arrives(link) && arrives(link.reversed()))
    }

    /// How a node's disk is.
    pub fn disk(&self, node: NodeId) -> DiskHealth {
        self.kernel.disk_health(node)
    }

    /// Says that a protocol event happened on a node, which may set off a trigger.
    pub fn reached(&self, point: Point, node: NodeId) {
        self.kernel.reached(point, node);
    }

    /// Writes into the ledger. The moment is filled in.
    pub fn record(&self, entry: Entry) {
        self.kernel.record(Entry { at: self.now, ..entry });
    }

    /// Adds a line to the trace of a simulation. The line is made only if there is one.
    pub fn trace(&self, line: impl FnOnce() -> String) {
        if self.kernel.real_instant(self.now).is_none() {
            self.kernel.trace(&line());
        }
    }
}
