//! Groups without sockets: who joins, who leads, what outlives the coordinator.

use atoll_kernel::{Fault, NodeId};
use bytes::Bytes;

use super::{World, quick_config};
use crate::config::Config;
use crate::wire::generated::join_group_request::JoinGroupRequestProtocol;
use crate::wire::generated::leave_group_request::MemberIdentity;
use crate::wire::generated::sync_group_request::SyncGroupRequestAssignment;
use crate::wire::generated::*;
use crate::wire::{Request, Response};

const GROUP: &str = "books";

fn join_request(member_id: &str, instance: Option<&str>) -> Request {
    let protocols =
        vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata: Bytes::from_static(b"orders") }];
    Request::JoinGroup(JoinGroupRequest {
        group_id: GROUP.to_owned(),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.to_owned(),
        group_instance_id: instance.map(str::to_owned),
        protocol_type: "consumer".to_owned(),
        protocols,
        reason: None,
    })
}

fn sync_request(generation_id: i32, member_id: &str, assignments: &[(&str, &'static str)]) -> Request {
    let assign = |(member_id, assignment): &(&str, &'static str)| SyncGroupRequestAssignment {
        member_id: (*member_id).to_owned(),
        assignment: Bytes::from_static(assignment.as_bytes()),
    };
    Request::SyncGroup(SyncGroupRequest {
        group_id: GROUP.to_owned(),
        generation_id,
        member_id: member_id.to_owned(),
        assignments: assignments.iter().map(assign).collect(),
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        ..SyncGroupRequest::default()
    })
}

fn joined(response: Option<Response>) -> JoinGroupResponse {
    match response {
        Some(Response::JoinGroup(response)) => response,
        other => panic!("not an answer to JoinGroup: {other:?}"),
    }
}

fn synced(response: Option<Response>) -> SyncGroupResponse {
    match response {
        Some(Response::SyncGroup(response)) => response,
        other => panic!("not an answer to SyncGroup: {other:?}"),
    }
}

fn heartbeat(world: &mut World, node: NodeId, generation_id: i32, member_id: &str) -> i16 {
    let (group_id, member_id) = (GROUP.to_owned(), member_id.to_owned());
    let request = HeartbeatRequest { group_id, generation_id, member_id, group_instance_id: None };
    match world.ask_in(node, 4, Request::Heartbeat(request)).1 {
        Some(Response::Heartbeat(response)) => response.error_code,
        other => panic!("not an answer to Heartbeat: {other:?}"),
    }
}

fn coordinator(world: &mut World, asked: NodeId) -> NodeId {
    world.create_topic("orders", 2, &[]);
    while world.find_coordinator(asked, GROUP).unwrap().0 != 0 {
        world.run_for(100);
    }
    NodeId(world.find_coordinator(asked, GROUP).unwrap().1 as u16)
}

/// A member joins: first it is told its id, then it joins with it. Its answer, or the ticket under which that comes.
fn join(world: &mut World, node: NodeId) -> (String, u64, Option<Response>) {
    let told = joined(world.ask(node, join_request("", None)).1);
    assert_eq!(told.error_code, 79, "a member is told its id before it counts");
    let (ticket, answer) = world.ask(node, join_request(&told.member_id, None));
    (told.member_id, ticket, answer)
}

#[test]
fn two_members_share_the_work_and_outlive_their_coordinator() {
    let mut world = World::new(3, 3, Config { group_initial_rebalance_delay_ms: 3_000, ..quick_config() });
    let node = coordinator(&mut world, NodeId(1));
    let (first, ticket, answer) = join(&mut world, node);
    assert!(answer.is_none(), "a new group waits a while for more members");
    world.run_for(3_000);
    let answer = world.late.remove(&ticket);
    let alone = joined(answer);
    assert_eq!((alone.error_code, alone.generation_id, alone.leader == first), (0, 1, true));
    let assigned = synced(world.ask(node, sync_request(1, &first, &[(&first, "0,1")])).1);
    assert_eq!((assigned.error_code, &assigned.assignment[..]), (0, &b"0,1"[..]));

    let (second, ticket, answer) = join(&mut world, node);
    assert!(answer.is_none(), "the second waits until the first joins again");
    assert_eq!(heartbeat(&mut world, node, 1, &first), 27, "which its heartbeat tells the first");
    let again = joined(world.ask(node, join_request(&first, None)).1);
    assert_eq!((again.generation_id, again.members.len()), (2, 2), "the leader is told all members");
    let other = joined(world.late.remove(&ticket));
    assert_eq!((other.generation_id, other.members.len(), other.leader), (2, 0, first.clone()));
    let (waiting, answer) = world.ask(node, sync_request(2, &second, &[]));
    assert!(answer.is_none(), "a follower waits for the leader's assignment");
    synced(world.ask(node, sync_request(2, &first, &[(&first, "0"), (&second, "1")])).1);
    assert_eq!(&synced(world.late.remove(&waiting)).assignment[..], b"1");

    world.simulation.inject(&Fault::Kill(node));
    world.run_for(12_000);
    let asked = if node == NodeId(1) { NodeId(2) } else { NodeId(1) };
    let heir = NodeId(world.find_coordinator(asked, GROUP).unwrap().1 as u16);
    assert_ne!(heir, node);
    assert_eq!(heartbeat(&mut world, heir, 2, &first), 0, "the new coordinator has read who is who");
    assert_eq!(heartbeat(&mut world, heir, 2, &second), 0);
    assert_eq!(heartbeat(&mut world, heir, 1, &second), 22);
    assert_eq!(heartbeat(&mut world, asked_other(heir, node), 2, &second), 16, "and nobody else coordinates");
}

fn asked_other(one: NodeId, other: NodeId) -> NodeId {
    [NodeId(1), NodeId(2), NodeId(3)].into_iter().find(|node| *node != one && *node != other).unwrap()
}

#[test]
fn a_silent_member_is_missed_after_its_session() {
    let mut world = World::new(1, 1, Config { default_replication_factor: 1, ..quick_config() });
    let node = coordinator(&mut world, NodeId(1));
    let (first, _, answer) = join(&mut world, node);
    assert_eq!(joined(answer).error_code, 0);
    synced(world.ask(node, sync_request(1, &first, &[(&first, "all")])).1);
    world.run_for(44_000);
    assert_eq!(heartbeat(&mut world, node, 1, &first), 0);
    world.run_for(46_000);
    assert_eq!(heartbeat(&mut world, node, 1, &first), 25);
}

#[test]
fn a_static_member_that_restarts_keeps_its_work_and_fences_what_it_was() {
    let mut world = World::new(1, 1, Config { default_replication_factor: 1, ..quick_config() });
    let node = coordinator(&mut world, NodeId(1));
    let first = joined(world.ask(node, join_request("", Some("till-1"))).1);
    synced(world.ask(node, sync_request(1, &first.member_id, &[(&first.member_id, "all")])).1);
    let again = joined(world.ask(node, join_request("", Some("till-1"))).1);
    assert_eq!((again.error_code, again.generation_id, again.skip_assignment), (0, 1, true), "nobody rebalances");
    assert_ne!(again.member_id, first.member_id);
    let kept = synced(world.ask(node, sync_request(1, &again.member_id, &[])).1);
    assert_eq!(&kept.assignment[..], b"all");
    let late = joined(world.ask(node, join_request(&first.member_id, Some("till-1"))).1);
    assert_eq!(late.error_code, 82);
}

#[test]
fn the_last_to_leave_empties_the_group_and_it_can_be_deleted() {
    let mut world = World::new(1, 1, Config { default_replication_factor: 1, ..quick_config() });
    let node = coordinator(&mut world, NodeId(1));
    let (first, _, answer) = join(&mut world, node);
    joined(answer);
    synced(world.ask(node, sync_request(1, &first, &[(&first, "all")])).1);
    let delete = |world: &mut World| {
        let request = DeleteGroupsRequest { groups_names: vec![GROUP.to_owned()] };
        match world.ask_in(node, 2, Request::DeleteGroups(request)).1 {
            Some(Response::DeleteGroups(response)) => response.results[0].error_code,
            other => panic!("not an answer to DeleteGroups: {other:?}"),
        }
    };
    assert_eq!(delete(&mut world), 68);
    let members = vec![MemberIdentity { member_id: first, ..MemberIdentity::default() }];
    let request = LeaveGroupRequest { group_id: GROUP.to_owned(), members, ..LeaveGroupRequest::default() };
    assert!(
        matches!(world.ask_in(node, 5, Request::LeaveGroup(request)).1, Some(Response::LeaveGroup(response)) if response.members[0].error_code == 0)
    );
    assert_eq!(delete(&mut world), 0);
    assert_eq!(delete(&mut world), 69);
}
