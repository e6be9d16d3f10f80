//! The kernel's own behaviour, each test a sentence.

use std::time::Duration;

use crate::{
    Context, Core, Fault, FaultEvent, FaultMenu, Kernel, Link, Moment, Network, NodeConfig, NodeId, NodeState, Pattern,
    Plane, Rule, Seed, Simulation, Trigger, Verdict, WALL_AT_START, WallTime,
};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

fn three_nodes() -> Kernel {
    let nodes = (1..=3).map(|number| NodeConfig::numbered(0, number)).collect();
    Kernel::simulated(nodes, Seed(7), WALL_AT_START)
}

fn drain(network: &mut Network<&'static str>, kernel: &Kernel) -> Vec<&'static str> {
    let ctx = Context::new(kernel);
    std::iter::from_fn(|| network.receive(&ctx)).map(|envelope| envelope.message).collect()
}

#[test]
fn a_rule_is_directed_and_goes_with_its_guard() {
    let kernel = three_nodes();
    let link = Link::peers("test", ONE, TWO);
    let guard = kernel.rule(Rule::new(Pattern::node(ONE), Pattern::node(TWO), Verdict::Drop));
    assert_eq!(kernel.judge(&link), Verdict::Drop);
    assert_eq!(kernel.judge(&link.reversed()), Verdict::Pass);
    drop(guard);
    assert_eq!(kernel.judge(&link), Verdict::Pass);
    assert!(kernel.is_healthy());
}

#[test]
fn the_first_rule_that_matches_decides() {
    let kernel = three_nodes();
    let delay = Verdict::Delay(Duration::from_millis(5));
    kernel.add_rule(Rule::new(Pattern::Any, Pattern::node(TWO), delay).for_part("kafka").on_plane(Plane::Peer));
    kernel.add_rule(Rule::new(Pattern::Any, Pattern::Any, Verdict::Reset));
    assert_eq!(kernel.judge(&Link::peers("kafka", ONE, TWO)), delay);
    assert_eq!(kernel.judge(&Link::peers("redis", ONE, TWO)), Verdict::Reset);
    assert_eq!(kernel.judge(&Link::peers("redis", ONE, ONE)), Verdict::Pass, "a node reaches itself");
}

#[test]
fn a_message_without_latency_is_due_at_once_and_a_delayed_one_later() {
    let kernel = three_nodes();
    let mut network = Network::new("test");
    network.send(&Context::new(&kernel), ONE, TWO, "at once");
    assert_eq!(drain(&mut network, &kernel), ["at once"]);

    let slow = Rule::new(Pattern::Any, Pattern::Any, Verdict::Delay(Duration::from_millis(10)));
    let guard = kernel.rule(slow);
    network.send(&Context::new(&kernel), ONE, TWO, "later");
    assert_eq!(drain(&mut network, &kernel), [""; 0]);
    assert_eq!(network.next_due(), Some(Moment::from_millis(10)));

    drop(guard);
    network.send(&Context::new(&kernel), ONE, TWO, "not before it");
    assert_eq!(drain(&mut network, &kernel), [""; 0], "the order of a pair is kept");
    kernel.advance_to(Moment::from_millis(10));
    assert_eq!(drain(&mut network, &kernel), ["later", "not before it"]);
    assert_eq!(network.next_due(), None);
}

#[test]
fn a_paused_node_gets_its_messages_when_it_resumes_and_a_dead_one_never() {
    let kernel = three_nodes();
    let mut network = Network::new("test");
    kernel.inject(&Fault::Pause(TWO));
    network.send(&Context::new(&kernel), ONE, TWO, "held");
    assert_eq!(drain(&mut network, &kernel), [""; 0]);
    kernel.inject(&Fault::Resume(TWO));
    assert_eq!(drain(&mut network, &kernel), ["held"]);

    kernel.inject(&Fault::Kill(TWO));
    network.send(&Context::new(&kernel), ONE, TWO, "lost");
    kernel.inject(&Fault::Start(TWO));
    assert_eq!(drain(&mut network, &kernel), [""; 0]);
}

#[test]
fn what_is_already_so_is_no_event() {
    let kernel = three_nodes();
    kernel.inject(&Fault::Kill(ONE));
    kernel.inject(&Fault::Kill(ONE));
    kernel.inject(&Fault::Resume(TWO));
    kernel.inject(&Fault::Heal);
    let events: Vec<_> = kernel.events_since(0).into_iter().map(|(_, event)| event).collect();
    assert_eq!(events, [FaultEvent::Killed(ONE), FaultEvent::Started(ONE)]);
    assert!(kernel.is_healthy());
}

#[test]
fn a_skewed_clock_is_wrong_and_drifts() {
    let kernel = three_nodes();
    kernel.inject(&Fault::Skew { node: ONE, offset_ms: -5_000, drift_ms_per_s: 100.0 });
    kernel.advance_to(Moment::from_millis(2_000));
    let ctx = Context::new(&kernel);
    assert_eq!(ctx.wall(TWO), WallTime::from_millis(WALL_AT_START.as_millis() + 2_000));
    assert_eq!(ctx.wall(ONE).as_millis() - ctx.wall(TWO).as_millis(), -5_000 + 200);
}

#[test]
fn a_trigger_goes_off_on_the_nth_occurrence_and_once() {
    let kernel = three_nodes();
    let fault = Fault::Kill(TWO);
    kernel.when(Trigger { point: "test.acknowledged".to_owned(), node: Some(ONE), nth: 2, fault });
    kernel.reached("test.acknowledged", TWO);
    kernel.reached("test.acknowledged", ONE);
    kernel.reached("test.other", ONE);
    assert!(kernel.is_healthy());
    kernel.reached("test.acknowledged", ONE);
    assert_eq!(kernel.node_state(TWO), NodeState::Killed);
    kernel.inject(&Fault::Start(TWO));
    kernel.reached("test.acknowledged", ONE);
    assert!(kernel.is_healthy());
}

#[test]
fn streams_are_keyed_and_do_not_disturb_each_other() {
    let mut one = Seed(1).stream("a", 0);
    let mut again = Seed(1).stream("a", 0);
    let mut other = Seed(1).stream("a", 1);
    let first: Vec<u64> = (0..4).map(|_| one.next_u64()).collect();
    other.next_u64();
    assert_eq!(first, (0..4).map(|_| again.next_u64()).collect::<Vec<_>>());
    assert_ne!(first[0], Seed(1).stream("b", 0).next_u64());
    assert!((0..1000).all(|_| other.below(10) < 10));
    assert_eq!(other.below(0), 0);
    assert_eq!(other.between(3, 3), 3);
}

/// A core that counts heartbeats from node 1 to node 2: the smallest engine there is.
struct Heartbeats {
    network: Network<()>,
    next: Moment,
    received: u64,
}

impl Core for Heartbeats {
    fn on_fault(&mut self, _: &Context<'_>, _: &FaultEvent) {}

    fn advance(&mut self, ctx: &Context<'_>) {
        while self.next <= ctx.now() {
            self.network.send(ctx, ONE, TWO, ());
            self.next = self.next + Duration::from_millis(100);
        }
        while self.network.receive(ctx).is_some() {
            self.received += 1;
            ctx.trace(|| "heartbeat".to_owned());
        }
    }

    fn next_wake(&self) -> Option<Moment> {
        Some(self.network.next_due().map_or(self.next, |due| due.min(self.next)))
    }
}

fn faulty_run(seed: u64) -> (u64, u64) {
    let build = |_: &Context<'_>| Heartbeats { network: Network::new("test"), next: Moment::ZERO, received: 0 };
    let mut simulation = Simulation::new(3, Seed(seed), build);
    let slow_max = Duration::from_millis(300);
    let menu = FaultMenu { kill: true, power: true, pause: true, cut: true, slow_max, nodes_down_max: 2 };
    for _ in 0..50 {
        simulation.random_fault(&menu);
        simulation.run_for(Duration::from_millis(500));
    }
    (simulation.core.received, simulation.kernel.trace_hash())
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let hashes: Vec<_> = (0..100).map(faulty_run).collect();
    for (seed, expected) in hashes.iter().enumerate() {
        assert_eq!(faulty_run(seed as u64), *expected, "seed {seed} did not replay");
    }
    let mut distinct: Vec<u64> = hashes.iter().map(|(_, hash)| *hash).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), hashes.len());
    let arrived: Vec<u64> = hashes.iter().map(|(received, _)| *received).collect();
    let bothered = arrived.iter().filter(|received| **received < 250).count();
    assert!(bothered > 50, "faults bothered only {bothered} runs of 100");
    assert!(arrived.iter().sum::<u64>() > 5_000, "hardly a message arrived: {arrived:?}");
}

/// A client that has read the machine's clock must not be told a later deadline than the one it asked for.
#[test]
#[allow(clippy::disallowed_methods)] // The machine's own clock is what the kernel's is compared with.
fn a_live_wall_clock_is_not_behind_the_machines() {
    let machine_ms = || {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        i64::try_from(wall.as_millis()).expect("before 292 million years")
    };
    for _ in 0..100 {
        let kernel = Kernel::live(Vec::new(), Seed(1));
        let machine = machine_ms();
        assert!(kernel.wall().as_millis() >= machine, "the kernel's clock is behind the machine's {machine}");
    }
}
