//! Answers that faults hold back: the ledger names what clients were told and is gone, and nothing else.

use atoll_kernel::{Fault, Kind, NodeId, Pattern, Plane, Rule, Verdict};

use super::{World, quick_config};
use crate::cluster::{PART, Ticket};

impl World {
    fn named(&self) -> Vec<String> {
        let ledger = self.simulation.kernel.ledger();
        let lost = ledger.entries().iter().filter(|entry| entry.part == PART && entry.kind == Kind::AckedLost);
        lost.map(|entry| entry.subject.clone()).collect()
    }

    fn leader(&mut self, asked: NodeId) -> NodeId {
        NodeId(self.metadata(asked, "audit", 0).expect("a broker that serves").1 as u16)
    }

    /// What is produced with `acks=1`: the ticket and the offset.
    fn produce_audit(&mut self, node: NodeId, value: &str) -> (Ticket, i64) {
        let (ticket, answer) = self.ask(node, World::produce_request("audit", 0, 1, value, None));
        let (error, offset) = World::produced(&answer.expect("an answer at once"));
        assert_eq!(error, 0);
        (ticket, offset)
    }

    /// Cuts a node off from the other nodes.
    fn isolate(&mut self, node: NodeId) {
        for (from, to) in [(Pattern::node(node), Pattern::Any), (Pattern::Any, Pattern::node(node))] {
            self.simulation.inject(&Fault::AddRule(Rule::new(from, to, Verdict::Drop).on_plane(Plane::Peer)));
        }
    }
}

/// A leader was cut off in the moment in which it acknowledged an order, and the answer stayed behind. The producer sent the
/// order to the next leader, which gave it the same offset. When the old leader truncated, the ledger named the order as lost
/// although it was in the log, at the offset that its producer was told.
fn order_whose_answer_a_split_holds_back() -> (World, Ticket) {
    let mut world = World::new(3, 7, quick_config());
    assert_eq!(world.create_topic("audit", 1, &[]), 0);
    let old = world.leader(NodeId(1));
    let other = NodeId(1 + old.0 % 3);
    assert_eq!(world.produce_audit(old, "before").1, 0);
    world.isolate(old);
    world.holds_back = true;
    let (held, offset) = world.produce_audit(old, "order");
    assert_eq!(offset, 1);
    world.holds_back = false;
    world.run_for(30_000);
    let new = world.leader(other);
    assert_ne!(new, old, "there is another leader");
    assert_eq!(world.produce_audit(new, "order").1, 1, "the same offset again");
    (world, held)
}

#[test]
fn an_answer_that_a_split_held_back_and_nobody_awaits_is_no_loss() {
    let (mut world, held) = order_whose_answer_a_split_holds_back();
    world.simulation.inject(&Fault::Heal);
    world.run_for(5_000);
    world.is_lost(held);
    assert_eq!(world.named(), [] as [&str; 0]);
    assert_eq!(world.read_all("audit", 0)[&1], "order");
}

#[test]
fn whether_it_is_known_before_or_after_the_truncation() {
    let (mut world, held) = order_whose_answer_a_split_holds_back();
    world.is_lost(held);
    world.simulation.inject(&Fault::Heal);
    world.run_for(5_000);
    assert_eq!(world.named(), [] as [&str; 0]);
}

#[test]
fn an_answer_that_arrives_after_the_truncation_is_a_loss_from_then_on() {
    let (mut world, held) = order_whose_answer_a_split_holds_back();
    world.simulation.inject(&Fault::Heal);
    world.run_for(5_000);
    assert_eq!(world.named(), [] as [&str; 0], "nobody has been told yet");
    world.arrives(held);
    assert_eq!(world.named(), ["audit-0@1 key=order"]);
    world.arrives(held);
    assert_eq!(world.named().len(), 1, "and once only");
}

#[test]
fn of_a_batch_that_was_sent_twice_one_answer_is_enough() {
    let mut world = World::new(3, 7, quick_config());
    assert_eq!(world.create_topic("audit", 1, &[]), 0);
    let old = world.leader(NodeId(1));
    world.isolate(old);
    let producer = crate::wire::record::Producer { id: 4_000, epoch: 0, sequence: 0 };
    let request = || World::produce_request("audit", 0, 1, "order", Some(producer));
    world.holds_back = true;
    let tickets = [(); 2].map(|()| world.ask(old, request()).0);
    world.holds_back = false;
    world.run_for(30_000);
    world.simulation.inject(&Fault::Heal);
    world.run_for(5_000);
    assert_eq!(world.named(), [] as [&str; 0]);
    world.is_lost(tickets[0]);
    world.arrives(tickets[1]);
    assert_eq!(world.named(), ["audit-0@0 key=order"]);
}
