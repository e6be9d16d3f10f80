//! The seeded simulation: any set of cores, virtual time, faults drawn from the seed, and a trace hash.

use std::time::Duration;

use crate::fault::{Fault, FaultEvent};
use crate::kernel::{Context, Kernel};
use crate::node::{NodeConfig, NodeId, NodeState};
use crate::rule::{Pattern, Rule, Verdict};
use crate::seed::{Seed, Stream};
use crate::time::{Moment, WallTime};

/// What every engine's core offers to whoever drives it, live or simulated. Requests come in by methods of its own.
pub trait Core {
    /// Something happened to the stack. Called once for each event, in order, before anything else at that moment.
    fn on_fault(&mut self, ctx: &Context<'_>, event: &FaultEvent);

    /// Does all that is due: delivers messages, runs timers. Afterwards `next_wake` is later than now, or None.
    fn advance(&mut self, ctx: &Context<'_>);

    /// When `advance` is to be called next if nothing happens before; None: not at all.
    fn next_wake(&self) -> Option<Moment>;
}

/// The driver of a core: it passes fault events on, in order, and calls `advance`. Live servers use it as well, so that
/// a core sees the same sequence of calls in both.
#[derive(Debug, Default)]
pub struct Driver {
    events_seen: u64,
}

impl Driver {
    /// How many of the kernel's fault events the core has been told of.
    pub fn events_seen(&self) -> u64 {
        self.events_seen
    }

    /// Tells the core what has happened since the last call. Costs an atomic read if nothing has.
    pub fn pass_events(&mut self, kernel: &Kernel, core: &mut dyn Core) {
        while kernel.version() != self.events_seen {
            for (_, event) in kernel.events_since(self.events_seen) {
                self.events_seen += 1;
                core.on_fault(&Context::new(kernel), &event);
            }
        }
    }

    /// Tells the core what has happened, and lets it do what is due.
    pub fn turn(&mut self, kernel: &Kernel, core: &mut dyn Core) {
        self.pass_events(kernel, core);
        core.advance(&Context::new(kernel));
        // A trigger may have gone off meanwhile.
        self.pass_events(kernel, core);
    }
}

/// Runs one core in virtual time.
pub struct Simulation<C> {
    /// The kernel, for injecting faults by hand.
    pub kernel: Kernel,
    /// The core, for making requests of it.
    pub core: C,
    driver: Driver,
    stream: Stream,
}

/// 2026-01-01T00:00:00Z: where simulated wall clocks start.
pub const WALL_AT_START: WallTime = WallTime::from_millis(1_767_225_600_000);

impl<C: Core> Simulation<C> {
    /// A simulation of `nodes` nodes from a seed; `build` makes the core.
    pub fn new(nodes: u8, seed: Seed, build: impl FnOnce(&Context<'_>) -> C) -> Simulation<C> {
        let configs = (1..=nodes).map(|number| NodeConfig::numbered(0, number)).collect();
        let kernel = Kernel::simulated(configs, seed, WALL_AT_START);
        let core = build(&Context::new(&kernel));
        Simulation { kernel, core, driver: Driver::default(), stream: seed.stream("simulation", 0) }
    }

    /// Makes a request of the core at the present moment, after all that is due.
    pub fn call<T>(&mut self, request: impl FnOnce(&mut C, &Context<'_>) -> T) -> T {
        self.driver.turn(&self.kernel, &mut self.core);
        let answer = request(&mut self.core, &Context::new(&self.kernel));
        self.driver.turn(&self.kernel, &mut self.core);
        answer
    }

    /// Does something to the stack, and lets the core see it.
    pub fn inject(&mut self, fault: &Fault) {
        self.kernel.inject(fault);
        self.driver.turn(&self.kernel, &mut self.core);
    }

    /// Lets virtual time pass, waking the core whenever it asks.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.kernel.now() + duration;
        loop {
            self.driver.turn(&self.kernel, &mut self.core);
            match self.core.next_wake() {
                Some(wake) if wake <= end => self.kernel.advance_to(wake.max(self.kernel.now())),
                _ => break,
            }
        }
        self.kernel.advance_to(end);
        self.driver.turn(&self.kernel, &mut self.core);
    }

    /// The simulation's own random stream, for workloads.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Injects one random fault out of `menu` that fits the present state, or heals something. Returns what it did.
    pub fn random_fault(&mut self, menu: &FaultMenu) -> Fault {
        let fault = menu.draw(&self.kernel, &mut self.stream);
        self.inject(&fault);
        fault
    }
}

/// Which kinds of fault a random run may draw from.
#[derive(Clone, Copy, Debug)]
pub struct FaultMenu {
    /// Processes die.
    pub kill: bool,
    /// Power fails.
    pub power: bool,
    /// Nodes freeze.
    pub pause: bool,
    /// Links are cut, each direction on its own or both.
    pub cut: bool,
    /// Links are slow by up to this much; zero is never.
    pub slow_max: Duration,
    /// How many nodes may be dead or frozen at once.
    pub nodes_down_max: usize,
}

impl FaultMenu {
    fn draw(&self, kernel: &Kernel, stream: &mut Stream) -> Fault {
        let nodes = kernel.nodes();
        let down: Vec<_> = nodes.iter().filter(|node| node.state != NodeState::Running).collect();
        let rules = kernel.rules();
        // Two draws in five mend something, so that runs do not end in rubble.
        if stream.below(5) < 2 && (!down.is_empty() || !rules.is_empty()) {
            return mend(&down, &rules, stream);
        }
        let mut choices: Vec<Fault> = Vec::new();
        let running: Vec<NodeId> =
            nodes.iter().filter(|node| node.state == NodeState::Running).map(|node| node.config.id).collect();
        if let Some(node) = stream.pick(&running).copied()
            && down.len() < self.nodes_down_max
        {
            let node_faults = [(self.kill, Fault::Kill(node)), (self.power, Fault::Power(node))];
            choices.extend(node_faults.into_iter().filter(|(allowed, _)| *allowed).map(|(_, fault)| fault));
            choices.extend(self.pause.then_some(Fault::Pause(node)));
        }
        choices.extend(self.link_fault(&nodes.iter().map(|node| node.config.id).collect::<Vec<_>>(), stream));
        stream.pick(&choices).cloned().unwrap_or(Fault::Heal)
    }

    fn link_fault(&self, nodes: &[NodeId], stream: &mut Stream) -> Option<Fault> {
        let one = *stream.pick(nodes)?;
        let others: Vec<NodeId> = nodes.iter().copied().filter(|other| *other != one).collect();
        let other = *stream.pick(&others)?;
        let slow = !self.slow_max.is_zero() && stream.one_in(3);
        let verdict = if slow { Verdict::Delay(stream.up_to(self.slow_max)) } else { Verdict::Drop };
        if !slow && !self.cut {
            return None;
        }
        let (from, to) = match stream.below(3) {
            0 => (Pattern::node(one), Pattern::node(other)),
            1 => (Pattern::node(one), Pattern::Nodes(others)),
            _ => (Pattern::Nodes(others), Pattern::node(one)),
        };
        Some(Fault::AddRule(Rule::new(from, to, verdict)))
    }
}

fn mend(down: &[&crate::node::Node], rules: &[(crate::rule::RuleId, Rule)], stream: &mut Stream) -> Fault {
    let mut choices: Vec<Fault> = rules.iter().map(|(id, _)| Fault::RemoveRule(*id)).collect();
    choices.extend(down.iter().map(|node| match node.state {
        NodeState::Paused => Fault::Resume(node.config.id),
        _ => Fault::Start(node.config.id),
    }));
    stream.pick(&choices).cloned().unwrap_or(Fault::Heal)
}
