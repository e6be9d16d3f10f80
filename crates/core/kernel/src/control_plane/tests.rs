//! Commits, views and elections, each test a sentence.

use std::time::Duration;

use super::{ControlPlane, NoMajority, QuorumTiming};
use crate::{Context, Fault, Kernel, Moment, NodeConfig, NodeId, Pattern, Rule, Seed, Verdict, WALL_AT_START};

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

struct World {
    kernel: Kernel,
    plane: ControlPlane<&'static str>,
}

impl World {
    fn new() -> World {
        let nodes = (1..=3).map(|number| NodeConfig::numbered(0, number)).collect();
        let kernel = Kernel::simulated(nodes, Seed(3), WALL_AT_START);
        let plane = ControlPlane::new("test", &NODES, NODES.to_vec(), QuorumTiming::default(), Vec::new());
        World { kernel, plane }
    }

    fn commit(&mut self, record: &'static str) -> Result<u64, NoMajority> {
        self.plane.commit(&Context::new(&self.kernel), [record])
    }

    fn settle(&mut self) -> [u64; 3] {
        self.plane.advance(&Context::new(&self.kernel));
        NODES.map(|node| self.plane.applied(node))
    }

    fn inject(&mut self, fault: &Fault) {
        self.kernel.inject(fault);
        self.plane.on_fault();
        self.settle();
    }

    fn cut(&mut self, node: u16) {
        for (from, to) in [(Pattern::node(NodeId(node)), Pattern::Any), (Pattern::Any, Pattern::node(NodeId(node)))] {
            self.inject(&Fault::AddRule(Rule::new(from, to, Verdict::Drop)));
        }
    }

    fn at(&mut self, milliseconds: u64) -> [u64; 3] {
        while let Some(wake) = self.plane.next_wake().filter(|wake| *wake <= Moment::from_millis(milliseconds)) {
            self.kernel.advance_to(wake);
            self.settle();
        }
        self.kernel.advance_to(Moment::from_millis(milliseconds));
        self.settle()
    }
}

#[test]
fn while_all_is_well_a_commit_is_seen_everywhere_at_once() {
    let mut world = World::new();
    assert_eq!(world.commit("a"), Ok(0));
    assert_eq!(world.settle(), [1, 1, 1]);
    assert_eq!(world.plane.record(0), Some(&"a"));
    assert_eq!(world.plane.next_wake(), None);
}

#[test]
fn a_node_that_is_cut_off_keeps_its_old_view_until_it_heals() {
    let mut world = World::new();
    world.cut(3);
    assert_eq!(world.commit("a"), Ok(0));
    assert_eq!(world.settle(), [1, 1, 0]);
    world.inject(&Fault::Heal);
    assert_eq!(world.settle(), [1, 1, 1]);
}

#[test]
fn a_slow_link_delays_the_view_and_not_the_commit() {
    let mut world = World::new();
    let slow = Verdict::Delay(Duration::from_millis(50));
    world.inject(&Fault::AddRule(Rule::new(Pattern::node(NodeId(1)), Pattern::node(NodeId(2)), slow)));
    assert_eq!(world.commit("a"), Ok(0));
    assert_eq!(world.settle(), [1, 0, 1]);
    assert_eq!(world.at(49), [1, 0, 1]);
    assert_eq!(world.at(50), [1, 1, 1]);
}

#[test]
fn an_isolated_leader_commits_nothing_and_is_replaced_after_the_fetch_timeout() {
    let mut world = World::new();
    world.cut(1);
    assert_eq!(world.commit("a"), Err(NoMajority));
    world.at(1_999);
    assert_eq!(world.plane.leader(), Some(NodeId(1)));
    world.at(3_000);
    assert_ne!(world.plane.leader(), Some(NodeId(1)));
    assert_eq!(world.plane.epoch(), 2);
    assert_eq!(world.commit("b"), Ok(0));
    assert_eq!(world.settle(), [0, 1, 1]);
}

#[test]
fn a_short_absence_of_the_leader_is_forgiven() {
    let mut world = World::new();
    world.inject(&Fault::Pause(NodeId(1)));
    world.at(1_500);
    world.inject(&Fault::Resume(NodeId(1)));
    world.at(10_000);
    assert_eq!((world.plane.leader(), world.plane.epoch()), (Some(NodeId(1)), 1));
}

#[test]
fn without_a_majority_nobody_is_elected_until_there_is_one() {
    let mut world = World::new();
    world.inject(&Fault::Kill(NodeId(1)));
    world.inject(&Fault::Kill(NodeId(2)));
    world.at(20_000);
    assert_eq!(world.commit("a"), Err(NoMajority));
    assert_eq!(world.plane.leader(), None, "a leader without a majority resigns");
    world.inject(&Fault::Start(NodeId(2)));
    world.at(22_000);
    assert_eq!(world.commit("b"), Ok(0));
    assert_eq!(world.settle(), [0, 1, 1]);
}
