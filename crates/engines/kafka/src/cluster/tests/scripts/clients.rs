//! Clients of scripts that have something to remember: members of a group of the classic protocol, and transactional producers.

use std::collections::BTreeMap;

use atoll_kernel::NodeId;
use bytes::Bytes;

use super::super::transactions::{Client, Transactional};
use super::{Stage, error_name, outcome, place};
use crate::wire::generated::join_group_request::JoinGroupRequestProtocol;
use crate::wire::generated::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::wire::generated::sync_group_request::SyncGroupRequestAssignment;
use crate::wire::generated::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, OffsetCommitRequest, SyncGroupRequest,
};
use crate::wire::{Request, Response};

const GROUP: &str = "books";

/// Members by the names that a script gives them, each with its id and generation; producers by their transactional ids.
#[derive(Default)]
pub(super) struct Clients {
    members: BTreeMap<String, (String, i32)>,
    producers: BTreeMap<String, Transactional>,
}

fn join_request(member_id: &str) -> Request {
    let metadata = Bytes::from_static(b"orders");
    Request::JoinGroup(JoinGroupRequest {
        group_id: GROUP.to_owned(),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata }],
        ..JoinGroupRequest::default()
    })
}

impl Stage {
    /// A member joins the group, for the first time or once more.
    pub(super) fn join(&mut self, at: NodeId, name: &str) -> String {
        let mut id = self.clients.members.get(name).map(|(id, _)| id.clone()).unwrap_or_default();
        if id.is_empty() {
            // A member is told its id before it counts.
            match self.world.ask(at, join_request("")).1 {
                Some(Response::JoinGroup(told)) if told.error_code == 79 => id = told.member_id,
                Some(Response::JoinGroup(told)) => return error_name(told.error_code),
                _ => return "silence".to_owned(),
            }
        }
        self.clients.members.insert(name.to_owned(), (id.clone(), -1));
        match self.world.ask(at, join_request(&id)) {
            (_, Some(Response::JoinGroup(answer))) => self.joined(name, &answer),
            (ticket, _) => self.waits(ticket, format!("join {name}")),
        }
    }

    /// What a member is told when the others have joined as well.
    pub(super) fn joined(&mut self, name: &str, answer: &JoinGroupResponse) -> String {
        if answer.error_code != 0 {
            return error_name(answer.error_code);
        }
        self.clients.members.insert(name.to_owned(), (answer.member_id.clone(), answer.generation_id));
        let role = if answer.leader == answer.member_id { "leads" } else { "follows" };
        format!("generation {}, {role}", answer.generation_id)
    }

    /// A member asks for its assignment; the leader gives everybody one.
    pub(super) fn sync(&mut self, at: NodeId, name: &str) -> String {
        let (member_id, generation_id) = self.clients.members.get(name).cloned().expect("a member");
        let assignments = self.clients.members.values().map(|(id, _)| SyncGroupRequestAssignment {
            member_id: id.clone(),
            assignment: Bytes::from_static(b"some"),
        });
        let request = SyncGroupRequest {
            group_id: GROUP.to_owned(),
            generation_id,
            member_id,
            assignments: assignments.collect(),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("range".to_owned()),
            ..SyncGroupRequest::default()
        };
        match self.world.ask(at, Request::SyncGroup(request)) {
            (_, Some(Response::SyncGroup(answer))) => outcome(answer.error_code),
            (ticket, _) => self.waits(ticket, format!("sync {name}")),
        }
    }

    pub(super) fn heartbeat(&mut self, at: NodeId, name: &str) -> String {
        let (member_id, generation_id) = self.clients.members.get(name).cloned().expect("a member");
        let group_id = GROUP.to_owned();
        let request = HeartbeatRequest { group_id, generation_id, member_id, group_instance_id: None };
        match self.world.ask_in(at, 4, Request::Heartbeat(request)).1 {
            Some(Response::Heartbeat(answer)) => outcome(answer.error_code),
            _ => "silence".to_owned(),
        }
    }

    /// A member commits an offset as of a generation.
    pub(super) fn commit_as(&mut self, at: NodeId, name: &str, generation: &str, to: &str, offset: &str) -> String {
        let (member_id, _) = self.clients.members.get(name).cloned().expect("a member");
        let (topic, partition_index) = place(to);
        let committed_offset = offset.parse().unwrap();
        let partition = OffsetCommitRequestPartition {
            partition_index,
            committed_offset,
            ..OffsetCommitRequestPartition::default()
        };
        let request = OffsetCommitRequest {
            group_id: GROUP.to_owned(),
            generation_id_or_member_epoch: generation.parse().unwrap(),
            member_id,
            topics: vec![OffsetCommitRequestTopic { name: topic.to_owned(), partitions: vec![partition] }],
            ..OffsetCommitRequest::default()
        };
        match self.world.ask_in(at, 8, Request::OffsetCommit(request)).1 {
            Some(answer) => outcome(super::World::committed(&answer)),
            None => "silence".to_owned(),
        }
    }

    /// A transactional producer begins; a script calls it by a name, so that two can have the same id.
    pub(super) fn begin(&mut self, name: &str, id: &str) -> String {
        let begun = Transactional::begin(&mut self.world, Client::Bumping, id);
        let shown = format!("epoch {}", begun.epoch);
        self.clients.producers.insert(name.to_owned(), begun);
        shown
    }

    pub(super) fn send(&mut self, name: &str, to: &str, value: &str) -> String {
        let (topic, partition) = place(to);
        let producer = self.clients.producers.get_mut(name).expect("a producer");
        match producer.send(&mut self.world, topic, partition, value) {
            Some((0, offset)) => format!("acknowledged at {offset}"),
            Some((error, _)) => error_name(error),
            None => "silence".to_owned(),
        }
    }

    pub(super) fn end(&mut self, name: &str, commit: bool) -> String {
        let producer = self.clients.producers.get_mut(name).expect("a producer");
        producer.end(&mut self.world, commit).map_or("silence".to_owned(), outcome)
    }
}
