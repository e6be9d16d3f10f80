//! Groups of KIP-848: members share partitions, give them up and get them, and are fenced, also across coordinators.

use std::collections::{BTreeMap, BTreeSet};

use atoll_kernel::{Fault, NodeId};
use uuid::Uuid;

use super::{World, quick_config};
use crate::groups::Assignment;
use crate::wire::generated::consumer_group_heartbeat_request::TopicPartitions;
use crate::wire::generated::*;
use crate::wire::{Request, Response};

/// A consumer that takes what it is given, and gives up what it is told to at its next heartbeat.
struct Member {
    id: String,
    epoch: i32,
    instance: Option<String>,
    owned: Assignment,
}

struct Group {
    world: World,
    coordinator: NodeId,
    members: BTreeMap<&'static str, Member>,
}

impl Group {
    fn new(partitions: i32) -> Group {
        let mut world = World::new(3, 5, quick_config());
        world.run_for(1_000);
        assert_eq!(world.create_topic("orders", partitions, &[]), 0);
        let coordinator = world.find_coordinator(NodeId(1), "readers").expect("an answer").1;
        world.run_for(500);
        let coordinator = NodeId(coordinator as u16);
        Group { world, coordinator, members: BTreeMap::new() }
    }

    fn ask(&mut self, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let (ticket, answer) = self.world.ask_in(self.coordinator, 1, Request::ConsumerGroupHeartbeat(request));
        let answer = answer.or_else(|| {
            self.world.run_for(100);
            self.world.late.remove(&ticket)
        });
        match answer {
            Some(Response::ConsumerGroupHeartbeat(response)) => response,
            other => panic!("no answer to a heartbeat: {other:?}"),
        }
    }

    /// A member joins, with a subscription or a regular expression.
    fn join(&mut self, name: &'static str, topics: &[&str], regex: Option<&str>, instance: Option<&str>) -> i16 {
        let response = self.ask(ConsumerGroupHeartbeatRequest {
            group_id: "readers".to_owned(),
            member_id: name.to_owned(),
            member_epoch: 0,
            instance_id: instance.map(str::to_owned),
            rebalance_timeout_ms: 30_000,
            subscribed_topic_names: Some(topics.iter().map(|topic| (*topic).to_owned()).collect()),
            subscribed_topic_regex: regex.map(str::to_owned),
            topic_partitions: Some(Vec::new()),
            ..ConsumerGroupHeartbeatRequest::default()
        });
        let member = Member {
            id: name.to_owned(),
            epoch: response.member_epoch,
            instance: instance.map(str::to_owned),
            owned: given(&response).unwrap_or_default(),
        };
        if response.error_code == 0 {
            self.members.insert(name, member);
        }
        response.error_code
    }

    /// A member's heartbeat: it says what it owns, and takes what it is given.
    fn beat(&mut self, name: &str) -> i16 {
        let Some(member) = self.members.get(name) else { panic!("{name} has not joined") };
        let owned = member.owned.iter().map(|(topic_id, partitions)| TopicPartitions {
            topic_id: *topic_id,
            partitions: partitions.iter().copied().collect(),
        });
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "readers".to_owned(),
            member_id: member.id.clone(),
            member_epoch: member.epoch,
            instance_id: member.instance.clone(),
            topic_partitions: Some(owned.collect()),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let response = self.ask(request);
        if let Some(member) = self.members.get_mut(name).filter(|_| response.error_code == 0) {
            member.epoch = response.member_epoch;
            member.owned = given(&response).unwrap_or_else(|| member.owned.clone());
        }
        response.error_code
    }

    /// Heartbeats of everybody, until nothing more happens.
    fn settle(&mut self) {
        for _ in 0..4 {
            let names: Vec<&str> = self.members.keys().copied().collect();
            names.into_iter().for_each(|name| assert_eq!(self.beat(name), 0, "{name}"));
        }
    }

    /// How many partitions each member has, having checked that nobody shares one.
    fn shares(&self) -> Vec<usize> {
        let mut seen: BTreeSet<(Uuid, i32)> = BTreeSet::new();
        for (topic, partitions) in self.members.values().flat_map(|member| &member.owned) {
            partitions
                .iter()
                .for_each(|partition| assert!(seen.insert((*topic, *partition)), "{partition} is read twice"));
        }
        self.members.values().map(|member| member.owned.values().map(BTreeSet::len).sum()).collect()
    }

    fn described(&mut self) -> (String, i32, i32) {
        let request = ConsumerGroupDescribeRequest { group_ids: vec!["readers".to_owned()], ..Default::default() };
        match self.world.ask_in(self.coordinator, 1, Request::ConsumerGroupDescribe(request)).1 {
            Some(Response::ConsumerGroupDescribe(response)) => {
                let group = &response.groups[0];
                (group.group_state.clone(), group.group_epoch, group.assignment_epoch)
            }
            other => panic!("no description: {other:?}"),
        }
    }
}

fn given(response: &ConsumerGroupHeartbeatResponse) -> Option<Assignment> {
    let topics = response.assignment.as_ref()?.topic_partitions.iter();
    Some(topics.map(|topic| (topic.topic_id, topic.partitions.iter().copied().collect())).collect())
}

#[test]
fn members_share_partitions_one_giving_up_what_another_gets() {
    let mut group = Group::new(4);
    assert_eq!(group.join("a", &["orders"], None, None), 0);
    assert_eq!((group.shares(), group.described()), (vec![4], ("Stable".to_owned(), 1, 1)));
    assert_eq!(group.join("b", &["orders"], None, None), 0);
    assert_eq!(group.shares(), [4, 0], "b waits for a");
    assert_eq!(group.described().0, "Reconciling");
    group.settle();
    assert_eq!((group.shares(), group.described()), (vec![2, 2], ("Stable".to_owned(), 2, 2)));
}

#[test]
fn a_member_that_falls_silent_loses_its_partitions() {
    let mut group = Group::new(3);
    group.join("a", &["orders"], None, None);
    group.join("b", &["orders"], None, None);
    group.settle();
    for _ in 0..10 {
        group.world.run_for(5_000);
        assert_eq!(group.beat("a"), 0);
    }
    assert_eq!(group.beat("b"), 25, "b is not known any more");
    group.members.remove("b");
    group.settle();
    assert_eq!(group.shares(), [3]);
}

#[test]
fn wrong_epochs_are_fenced_and_commits_must_have_the_right_one() {
    let mut group = Group::new(1);
    group.join("a", &["orders"], None, None);
    let epoch = group.members["a"].epoch;
    group.members.get_mut("a").unwrap().epoch = epoch + 5;
    assert_eq!(group.beat("a"), 110);
    let commit = |group: &mut Group, epoch: i32, version: i16| {
        let Request::OffsetCommit(mut request) = World::commit_request("readers", "orders", 0, 1) else { panic!() };
        (request.member_id, request.generation_id_or_member_epoch) = ("a".to_owned(), epoch);
        let (ticket, answer) = group.world.ask_in(group.coordinator, version, Request::OffsetCommit(request));
        World::committed(&answer.unwrap_or_else(|| {
            group.world.run_for(100);
            group.world.late.remove(&ticket).expect("an answer")
        }))
    };
    assert_eq!(commit(&mut group, epoch + 1, 9), 113);
    assert_eq!(commit(&mut group, epoch, 8), 35, "older versions have no member epochs");
    assert_eq!(commit(&mut group, epoch, 9), 0);
    assert_eq!(commit(&mut group, -1, 9), 113);
}

#[test]
fn a_regular_expression_finds_topics_that_are_made_later() {
    let mut group = Group::new(1);
    assert_eq!(group.join("a", &[], Some("ord.*"), None), 0);
    assert_eq!(group.shares(), [1]);
    assert_eq!(group.world.create_topic("ordinary", 2, &[]), 0);
    assert_eq!(group.world.create_topic("disorder", 2, &[]), 0);
    group.settle();
    assert_eq!(group.shares(), [3], "names are matched as a whole");
    assert_eq!(group.join("b", &[], Some("("), None), 128);
}

#[test]
fn a_static_member_that_comes_back_finds_its_partitions() {
    let mut group = Group::new(2);
    group.join("a", &["orders"], None, Some("one"));
    group.join("b", &["orders"], None, Some("two"));
    group.settle();
    let before = group.members["a"].owned.clone();
    assert_eq!(group.join("c", &["orders"], None, Some("one")), 111, "a still uses the instance id");
    let leave = ConsumerGroupHeartbeatRequest {
        group_id: "readers".to_owned(),
        member_id: "a".to_owned(),
        member_epoch: -2,
        instance_id: Some("one".to_owned()),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    assert_eq!(group.ask(leave).error_code, 0);
    let epoch = group.described().1;
    group.members.remove("a");
    assert_eq!(group.join("c", &["orders"], None, Some("one")), 0);
    group.settle();
    assert_eq!(group.described().1, epoch, "nobody else noticed");
    assert_eq!(group.members["c"].owned, before);
}

#[test]
fn a_group_outlives_its_coordinator() {
    let mut group = Group::new(4);
    group.join("a", &["orders"], None, None);
    group.join("b", &["orders"], None, None);
    group.settle();
    let (before, described) = (group.shares(), group.described());
    let (dead, asked) = (group.coordinator, NodeId(if group.coordinator.0 == 1 { 2 } else { 1 }));
    group.world.simulation.inject(&Fault::Kill(dead));
    group.world.run_for(15_000);
    let moved = group.world.find_coordinator(asked, "readers").expect("an answer");
    assert_eq!(moved.0, 0);
    group.coordinator = NodeId(moved.1 as u16);
    assert_ne!(group.coordinator, dead);
    group.settle();
    assert_eq!((group.shares(), group.described()), (before, described));
}

#[test]
fn who_gives_nothing_up_is_fenced_by_the_next_coordinator_as_well() {
    let mut group = Group::new(4);
    group.join("a", &["orders"], None, None);
    let all = group.members["a"].owned.clone();
    group.join("b", &["orders"], None, None);
    // Told to give up half of what it has, it keeps everything.
    let clings = |group: &mut Group| {
        group.members.get_mut("a").unwrap().owned = all.clone();
        (group.beat("a"), group.beat("b"))
    };
    assert_eq!(clings(&mut group), (0, 0));
    let (dead, asked) = (group.coordinator, NodeId(if group.coordinator.0 == 1 { 2 } else { 1 }));
    group.world.simulation.inject(&Fault::Kill(dead));
    group.world.run_for(15_000);
    group.coordinator = NodeId(group.world.find_coordinator(asked, "readers").expect("an answer").1 as u16);
    assert_ne!(group.coordinator, dead);
    // Its time began when the coordinator took over, and not when it was heard of.
    group.world.run_for(14_000);
    assert_eq!(clings(&mut group), (0, 0));
    group.world.run_for(16_000);
    assert_eq!(clings(&mut group), (25, 0));
    group.members.remove("a");
    group.settle();
    assert_eq!(group.shares(), [4]);
}

#[test]
fn a_group_has_times_of_its_own_within_the_brokers_bounds() {
    let mut group = Group::new(1);
    let mut set = |name: &str, value: &str| {
        let config = incremental_alter_configs_request::AlterableConfig {
            name: name.to_owned(),
            config_operation: 0,
            value: Some(value.to_owned()),
        };
        let resource = incremental_alter_configs_request::AlterConfigsResource {
            resource_type: 32,
            resource_name: "readers".to_owned(),
            configs: vec![config],
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        match group.world.ask_in(NodeId(1), 1, Request::IncrementalAlterConfigs(request)).1 {
            Some(Response::IncrementalAlterConfigs(answer)) => answer.responses[0].error_code,
            other => panic!("no answer to IncrementalAlterConfigs: {other:?}"),
        }
    };
    assert_eq!(set("consumer.heartbeat.interval.ms", "1000"), 40, "below the brokers' minimum");
    assert_eq!(set("consumer.heartbeat.interval.ms", "7000"), 0);
    assert_eq!(set("consumer.session.timeout.ms", "60000"), 0);
    let resources = vec![describe_configs_request::DescribeConfigsResource {
        resource_type: 32,
        resource_name: "readers".to_owned(),
        configuration_keys: None,
    }];
    let request = DescribeConfigsRequest { resources, ..DescribeConfigsRequest::default() };
    let Some(Response::DescribeConfigs(answer)) = group.world.ask_in(NodeId(2), 4, Request::DescribeConfigs(request)).1
    else {
        panic!("no answer to DescribeConfigs")
    };
    let shown: Vec<_> = answer.results[0]
        .configs
        .iter()
        .map(|config| (config.name.as_str(), config.value.as_deref().unwrap_or(""), config.config_source))
        .collect();
    assert_eq!(shown, [("consumer.heartbeat.interval.ms", "7000", 8), ("consumer.session.timeout.ms", "60000", 8)]);
    assert_eq!(group.join("one", &["orders"], None, None), 0);
    group.world.run_for(50_000);
    let told = group.ask(ConsumerGroupHeartbeatRequest {
        group_id: "readers".to_owned(),
        member_id: "one".to_owned(),
        member_epoch: 1,
        rebalance_timeout_ms: -1,
        ..ConsumerGroupHeartbeatRequest::default()
    });
    assert_eq!((told.error_code, told.heartbeat_interval_ms), (0, 7_000), "it lives after 50 s");
}
