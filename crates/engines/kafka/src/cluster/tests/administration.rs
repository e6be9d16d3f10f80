//! Elections and movements of replicas that an operator asks for, and options that change while brokers run.

use atoll_kernel::{Fault, NodeId};

use super::{World, quick_config};
use crate::wire::generated::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use crate::wire::generated::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use crate::wire::generated::*;
use crate::wire::{Request, Response};

fn world() -> World {
    let mut world = World::new(4, 11, quick_config());
    world.run_for(1_000);
    world
}

/// Moves partition 0 of a topic; None gives a movement up.
fn reassign(world: &mut World, topic: &str, replicas: Option<&[i32]>) -> i16 {
    let partition = ReassignablePartition { partition_index: 0, replicas: replicas.map(<[i32]>::to_vec) };
    let topics = vec![ReassignableTopic { name: topic.to_owned(), partitions: vec![partition] }];
    let request = AlterPartitionReassignmentsRequest { timeout_ms: 1_000, topics };
    match world.ask(NodeId(1), Request::AlterPartitionReassignments(request)).1 {
        Some(Response::AlterPartitionReassignments(response)) => response.responses[0].partitions[0].error_code,
        other => panic!("no answer to a reassignment: {other:?}"),
    }
}

fn moving(world: &mut World) -> usize {
    let request = ListPartitionReassignmentsRequest { timeout_ms: 1_000, topics: None };
    match world.ask(NodeId(1), Request::ListPartitionReassignments(request)).1 {
        Some(Response::ListPartitionReassignments(response)) => response.topics.len(),
        other => panic!("no answer: {other:?}"),
    }
}

/// Replicas, in-sync set and leader of partition 0 of a topic, as the controller knows them.
fn state(world: &World, topic: &str) -> (Vec<u16>, Vec<u16>, Option<u16>) {
    let topic = &world.simulation.core.authority.topics[topic];
    let state = &topic.partitions[0];
    (state.replicas.clone(), state.isr.clone(), state.leader)
}

#[test]
fn replicas_move_with_all_their_records() {
    let mut world = world();
    assert_eq!(world.create_topic("orders", 1, &[("replicas", "2")]), 0);
    let (before, _, leader) = state(&world, "orders");
    for number in 0..5 {
        let request = World::produce_request("orders", 0, -1, &number.to_string(), None);
        assert!(world.ask(NodeId(leader.unwrap()), request).1.is_some());
    }
    let others: Vec<i32> = (1..=4).filter(|node| !before.contains(&(*node as u16))).collect();
    assert_eq!(reassign(&mut world, "orders", Some(&others)), 0);
    world.run_for(500);
    let (after, in_sync, leader) = state(&world, "orders");
    assert_eq!(after, others.iter().map(|node| *node as u16).collect::<Vec<_>>());
    assert_eq!((in_sync.len(), moving(&mut world)), (2, 0));
    let request = World::fetch_request("orders", 0, 0, -1, 0);
    let answer = world.ask(NodeId(leader.unwrap()), request).1.expect("the new leader answers");
    assert_eq!(World::fetched(&answer).2.len(), 5);
    let partition = world.simulation.core.partitions.values().find(|partition| partition.topic == "orders").unwrap();
    assert_eq!(partition.replicas.keys().map(|node| i32::from(node.0)).collect::<Vec<_>>(), others);
}

#[test]
fn a_movement_waits_for_a_dead_broker_and_can_be_given_up() {
    let mut world = world();
    assert_eq!(world.create_topic("orders", 1, &[("replicas", "1")]), 0);
    let (before, _, _) = state(&world, "orders");
    let dead = (2..=4).find(|node| !before.contains(node)).unwrap();
    assert_eq!(reassign(&mut world, "orders", None), 85, "nothing is under way yet");
    world.simulation.inject(&Fault::Kill(NodeId(dead)));
    world.collect();
    assert_eq!(reassign(&mut world, "orders", Some(&[i32::from(dead)])), 0);
    world.run_for(20_000);
    assert_eq!(moving(&mut world), 1);
    assert_eq!(state(&world, "orders").2, Some(before[0]), "the old replica leads on");
    assert_eq!(reassign(&mut world, "orders", None), 0);
    assert_eq!((moving(&mut world), state(&world, "orders").0), (0, before));
    for (wrong, error) in [(vec![9], 39), (vec![1, 1], 39), (Vec::new(), 39)] {
        assert_eq!(reassign(&mut world, "orders", Some(&wrong)), error);
    }
    assert_eq!(reassign(&mut world, "none-such", Some(&[1])), 3);
}

#[test]
fn leaders_are_elected_on_demand() {
    let mut world = world();
    assert_eq!(world.create_topic("orders", 1, &[("replicas", "2")]), 0);
    let (replicas, _, _) = state(&world, "orders");
    let elect = |world: &mut World, election_type| {
        let partitions = elect_leaders_request::TopicPartitions { topic: "orders".to_owned(), partitions: vec![0] };
        let request =
            ElectLeadersRequest { election_type, topic_partitions: Some(vec![partitions]), timeout_ms: 1_000 };
        let asked = NodeId(if replicas[0] == 1 { 2 } else { 1 });
        match world.ask(asked, Request::ElectLeaders(request)).1 {
            Some(Response::ElectLeaders(response)) => {
                response.replica_election_results[0].partition_result[0].error_code
            }
            other => panic!("no answer to an election: {other:?}"),
        }
    };
    assert_eq!(elect(&mut world, 0), 84, "the preferred one leads");
    world.simulation.inject(&Fault::Stop(NodeId(replicas[0])));
    // It may have been the controller too, which must be replaced before anybody can fence it.
    world.run_for(20_000);
    assert_eq!(state(&world, "orders").2, Some(replicas[1]));
    assert_eq!(elect(&mut world, 0), 80, "it is not in sync");
    assert_eq!(elect(&mut world, 1), 84, "somebody leads");
    world.simulation.inject(&Fault::Start(NodeId(replicas[0])));
    world.run_for(15_000);
    assert_eq!(elect(&mut world, 0), 0);
    assert_eq!(state(&world, "orders").2, Some(replicas[0]));
}

#[test]
fn an_option_of_all_brokers_counts_for_topics_that_do_not_say() {
    let mut world = world();
    assert_eq!(world.create_topic("orders", 1, &[]), 0);
    let mut set = |name: &str, value: Option<&str>| {
        let config_operation = if value.is_some() { 0 } else { 1 };
        let config = AlterableConfig { name: name.to_owned(), config_operation, value: value.map(str::to_owned) };
        let resource = AlterConfigsResource { resource_type: 4, resource_name: String::new(), configs: vec![config] };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        match world.ask(NodeId(1), Request::IncrementalAlterConfigs(request)).1 {
            Some(Response::IncrementalAlterConfigs(response)) => {
                let wanted = world.simulation.core.authority.topics["orders"].config.min_insync_replicas;
                (response.responses[0].error_code, wanted)
            }
            other => panic!("no answer: {other:?}"),
        }
    };
    assert_eq!(set("min.insync.replicas", Some("2")), (0, 2));
    assert_eq!(set("min.insync.replicas", Some("0")), (42, 2));
    assert_eq!(set("num.partitions", Some("3")), (42, 2));
    assert_eq!(set("min.insync.replicas", None), (0, 1));
}
