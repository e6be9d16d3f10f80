//! What is old is forgotten: committed offsets, groups, transactional ids, producers.

use std::sync::Arc;

use atoll_kernel::NodeId;
use atoll_kernel::disk::{Disk, MemoryDisk};

use super::transactions::{Client, Transactional, config as transactional_config, coordinator};
use super::{World, quick_config};
use crate::config::{Config, TransactionConfig};
use crate::wire::generated::delete_topics_request::DeleteTopicState;
use crate::wire::generated::{DeleteTopicsRequest, ListGroupsRequest, ListTransactionsRequest, OffsetCommitRequest};
use crate::wire::record::{Producer, write_batch};
use crate::wire::{Request, Response};

fn commit(world: &mut World, group: &str, topic: &str, offset: i64) -> NodeId {
    while world.find_coordinator(NodeId(1), group).unwrap().0 != 0 {}
    let node = NodeId(world.find_coordinator(NodeId(1), group).unwrap().1 as u16);
    let answer = world.ask(node, World::commit_request(group, topic, 0, offset)).1;
    assert_eq!(World::committed(&answer.unwrap()), 0);
    node
}

fn groups(world: &mut World) -> Vec<String> {
    let mut names = Vec::new();
    for node in 1..=3 {
        if let Some(Response::ListGroups(answer)) =
            world.ask_in(NodeId(node), 4, Request::ListGroups(ListGroupsRequest::default())).1
        {
            names.extend(answer.groups.into_iter().map(|group| group.group_id));
        }
    }
    names
}

#[test]
fn offsets_of_a_group_that_nobody_uses_expire_and_the_group_with_them() {
    let disk = Arc::new(MemoryDisk::ephemeral());
    let config = Config { offsets_retention_minutes: 2, offsets_retention_check_interval_ms: 10_000, ..quick_config() };
    let mut world = World::on_disk(3, 1, config.clone(), Arc::clone(&disk) as Arc<dyn Disk>);
    world.create_topic("orders", 1, &[]);
    world.create_topic("audit", 1, &[]);
    let node = commit(&mut world, "books", "orders", 5);
    world.run_for(60_000);
    commit(&mut world, "books", "audit", 7);
    world.run_for(65_000);
    assert_eq!(world.committed_offset(node, "books", "orders", 0), Some((0, -1)), "two minutes after its commit");
    assert_eq!(world.committed_offset(node, "books", "audit", 0), Some((0, 7)));
    assert_eq!(groups(&mut world), ["books"]);
    world.run_for(65_000);
    assert_eq!(world.committed_offset(node, "books", "audit", 0), Some((0, -1)));
    assert!(groups(&mut world).is_empty());
    drop(world);
    let mut again = World::on_disk(3, 2, config, disk);
    again.run_for(1_000);
    assert!(groups(&mut again).is_empty(), "that is written down");
}

/// Clients say until version 4 how long an offset is kept. That is written down too, and no leader's epoch with it, as in Kafka.
#[test]
fn an_offset_expires_when_its_client_said() {
    let disk = Arc::new(MemoryDisk::ephemeral());
    let config = Config { offsets_retention_minutes: 2, offsets_retention_check_interval_ms: 10_000, ..quick_config() };
    let mut world = World::on_disk(3, 1, config.clone(), Arc::clone(&disk) as Arc<dyn Disk>);
    for topic in ["orders", "audit", "stock"] {
        world.create_topic(topic, 1, &[]);
    }
    let node = commit(&mut world, "books", "orders", 5);
    for (topic, retention_time_ms) in [("audit", 30_000), ("stock", 240_000)] {
        let Request::OffsetCommit(request) = World::commit_request("books", topic, 0, 7) else { unreachable!() };
        let request = Request::OffsetCommit(OffsetCommitRequest { retention_time_ms, ..request });
        assert_eq!(World::committed(&world.ask_in(node, 4, request).1.unwrap()), 0);
    }
    world.run_for(20_000);
    assert_eq!(world.committed_offset(node, "books", "audit", 0), Some((0, 7)));
    world.run_for(25_000);
    assert_eq!(world.committed_offset(node, "books", "audit", 0), Some((0, -1)), "half a minute after its commit");
    drop(world);
    let mut again = World::on_disk(3, 2, config, disk);
    while again.find_coordinator(NodeId(1), "books").unwrap().0 != 0 {}
    let node = NodeId(again.find_coordinator(NodeId(1), "books").unwrap().1 as u16);
    again.run_for(140_000);
    assert_eq!(
        again.committed_offset(node, "books", "orders", 0),
        Some((0, -1)),
        "two minutes, by the broker's option"
    );
    assert_eq!(again.committed_offset(node, "books", "stock", 0), Some((0, 7)), "and this one asked for four");
    again.run_for(130_000);
    assert_eq!(again.committed_offset(node, "books", "stock", 0), Some((0, -1)));
}

#[test]
fn offsets_go_with_their_topic() {
    let mut world = World::new(3, 1, quick_config());
    world.create_topic("orders", 1, &[]);
    world.create_topic("audit", 1, &[]);
    let node = commit(&mut world, "books", "orders", 5);
    commit(&mut world, "books", "audit", 7);
    let topics = vec![DeleteTopicState { name: Some("orders".to_owned()), ..DeleteTopicState::default() }];
    let request = DeleteTopicsRequest { topics, timeout_ms: 10_000, ..DeleteTopicsRequest::default() };
    world.ask_in(NodeId(1), 6, Request::DeleteTopics(request)).1.expect("a controller");
    world.create_topic("orders", 1, &[]);
    assert_eq!(world.committed_offset(node, "books", "orders", 0), Some((0, -1)), "another topic of that name");
    assert_eq!(world.committed_offset(node, "books", "audit", 0), Some((0, 7)));
}

#[test]
fn a_transactional_id_that_nobody_uses_is_forgotten() {
    let config = Config {
        transactions: TransactionConfig {
            transactional_id_expiration_ms: 60_000,
            remove_expired_transaction_cleanup_interval_ms: 10_000,
            ..TransactionConfig::default()
        },
        ..transactional_config()
    };
    let mut world = World::new(3, 1, config);
    world.create_topic("orders", 1, &[]);
    let mut till = Transactional::begin(&mut world, Client::Bumping, "till");
    till.send(&mut world, "orders", 0, "x").expect("an answer");
    world.run_for(65_000);
    let listed = |world: &mut World| {
        let node = coordinator(world, "till").expect("a coordinator");
        match world.ask_in(node, 1, Request::ListTransactions(ListTransactionsRequest::default())).1 {
            Some(Response::ListTransactions(answer)) => answer.transaction_states.len(),
            other => panic!("not an answer to ListTransactions: {other:?}"),
        }
    };
    assert_eq!(listed(&mut world), 1, "what has not ended, or was aborted just now, stays");
    world.run_for(80_000);
    assert_eq!(listed(&mut world), 0);
    assert_eq!(till.end(&mut world, true), Some(49), "the producer's id belongs to nothing any more");
    assert_ne!(Transactional::begin(&mut world, Client::Bumping, "till").id, till.id, "whoever comes back begins anew");
}

#[test]
fn partitions_forget_producers_that_are_silent() {
    let config = Config { producer_id_expiration_ms: 60_000, default_replication_factor: 1, ..quick_config() };
    let mut world = World::new(1, 1, config);
    world.create_topic("orders", 1, &[]);
    let send = |world: &mut World, sequence| {
        let now_ms = world.simulation.kernel.wall().as_millis();
        let batch = write_batch(&[(None, Some(b"x"))], now_ms, Some(Producer { id: 7, epoch: 0, sequence }));
        World::produced(&world.ask(NodeId(1), World::produce_batch("orders", 0, -1, batch)).1.unwrap())
    };
    assert_eq!(send(&mut world, 0), (0, 0));
    world.run_for(590_000);
    assert_eq!(send(&mut world, 0), (0, 0), "it is there already: every ten minutes somebody looks");
    world.run_for(20_000);
    assert_eq!(send(&mut world, 0), (0, 1), "nobody remembers");
    assert_eq!(send(&mut world, 5).0, 45);
}
