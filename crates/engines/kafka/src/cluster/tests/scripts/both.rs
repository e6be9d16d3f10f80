//! Members of the classic protocol and of that of KIP-848 in one group, as scripts speak for them: each says what it owns, gives
//! up what it is not given any more, and takes what it is.

use std::collections::{BTreeMap, BTreeSet};

use atoll_kernel::NodeId;
use atoll_wire::{Reader, Writer};
use bytes::Bytes;

use super::super::World;
use super::{Stage, error_name, outcome};
use crate::groups::Assignment;
use crate::wire::generated::consumer_group_heartbeat_request::TopicPartitions;
use crate::wire::generated::join_group_request::JoinGroupRequestProtocol;
use crate::wire::generated::leave_group_request::MemberIdentity;
use crate::wire::generated::sync_group_request::SyncGroupRequestAssignment;
use crate::wire::generated::*;
use crate::wire::{Request, Response, primitive};

const GROUP: &str = "both";
const TOPIC: &str = "orders";

/// A member, by the name that the script gives it.
#[derive(Default, Clone)]
pub(super) struct Member {
    id: String,
    epoch: i32,
    instance: Option<String>,
    owned: BTreeSet<i32>,
    /// Whom it is to give assignments if it leads.
    others: Vec<String>,
}

fn numbers(partitions: &BTreeSet<i32>) -> String {
    let numbers: Vec<String> = partitions.iter().map(i32::to_string).collect();
    if numbers.is_empty() { "nothing".to_owned() } else { format!("partitions {}", numbers.join(" ")) }
}

/// A cooperative consumer's subscription in version 1, or an assignment in the same: they differ in what stands in front.
fn written(topics: bool, partitions: &BTreeSet<i32>) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(1);
    if topics {
        primitive::put_array(&mut writer, false, &[TOPIC], |writer, name| primitive::put_string(writer, false, name));
        primitive::put_nullable_bytes(&mut writer, false, true, None);
    }
    let owned: Vec<i32> = partitions.iter().copied().collect();
    primitive::put_array(&mut writer, false, &[TOPIC], |writer, name| {
        primitive::put_string(writer, false, name);
        primitive::put_array(writer, false, &owned, |writer, partition| writer.i32(*partition));
    });
    if !topics {
        primitive::put_nullable_bytes(&mut writer, false, true, None);
    }
    writer.into_bytes()
}

/// The partitions of an assignment, which is in the version of the subscription.
fn read(assignment: Bytes) -> BTreeSet<i32> {
    let mut reader = Reader::new(assignment);
    assert_eq!(reader.i16().unwrap(), 1, "the version of the subscription");
    let topics = primitive::array(&mut reader, false, 1, |reader| {
        assert_eq!(primitive::string(reader, false)?, TOPIC);
        primitive::array(reader, false, 4, Reader::i32)
    });
    topics.unwrap().into_iter().flatten().collect()
}

fn numbered(assignment: &Assignment) -> BTreeSet<i32> {
    assignment.values().flatten().copied().collect()
}

impl Stage {
    /// Asks for a member. What is not answered within a moment waits for other members.
    fn ask_for(&mut self, at: NodeId, version: i16, request: Request) -> Result<Response, u64> {
        let (ticket, answer) = self.world.ask_in(at, version, request);
        answer
            .or_else(|| {
                self.world.run_for(100);
                self.world.late.remove(&ticket)
            })
            .ok_or(ticket)
    }

    fn member(&mut self, name: &str) -> &mut Member {
        self.members.entry(name.to_owned()).or_default()
    }

    /// The broker that coordinates the group.
    fn coordinator(&self) -> NodeId {
        let coordinates = |node: &NodeId| self.world.simulation.core.group(*node, GROUP).is_ok();
        (1..=3).map(NodeId).find(coordinates).expect("a coordinator")
    }

    /// `classic NAME join|sync|beat|leave`, `consumer NAME join|beat|leave`: a member asks the coordinator.
    pub(super) fn both(&mut self, kind: &str, name: &str, what: &str) -> String {
        let at = self.coordinator();
        match (kind, what) {
            ("classic", "join") => self.classic_join(at, name),
            ("classic", "sync") => self.classic_sync(at, name),
            ("classic", "beat") => self.classic_beat(at, name),
            ("classic", "leave") => self.classic_leave(at, name),
            ("consumer", "join") => {
                let instance = self.member(name).instance.take();
                let id = format!("{name}-by-heartbeat");
                *self.member(name) = Member { id, instance, ..Member::default() };
                self.consumer_beat(at, name)
            }
            ("consumer", "beat") => self.consumer_beat(at, name),
            ("consumer", "leave") => {
                self.member(name).epoch = -1;
                self.consumer_beat(at, name)
            }
            other => panic!("no such command: {other:?}"),
        }
    }

    /// `static NAME INSTANCE`: from its next join on, a member has this instance id.
    pub(super) fn make_static(&mut self, name: &str, instance: &str) -> String {
        *self.member(name) = Member { instance: Some(instance.to_owned()), ..Member::default() };
        String::new()
    }

    fn classic_join(&mut self, at: NodeId, name: &str) -> String {
        let member = self.member(name).clone();
        let request = |member_id: &str| {
            let metadata = written(true, &member.owned);
            Request::JoinGroup(JoinGroupRequest {
                group_id: GROUP.to_owned(),
                session_timeout_ms: 45_000,
                rebalance_timeout_ms: 60_000,
                member_id: member_id.to_owned(),
                group_instance_id: member.instance.clone(),
                protocol_type: "consumer".to_owned(),
                protocols: vec![JoinGroupRequestProtocol { name: "cooperative-sticky".to_owned(), metadata }],
                ..JoinGroupRequest::default()
            })
        };
        let mut answer = self.ask_for(at, 9, request(&member.id));
        if let Ok(Response::JoinGroup(told)) = &answer
            && told.error_code == 79
        {
            let id = told.member_id.clone();
            self.member(name).id.clone_from(&id);
            answer = self.ask_for(at, 9, request(&id));
        }
        match answer {
            Ok(Response::JoinGroup(told)) => self.classic_joined(name, &told),
            Ok(other) => panic!("not an answer to JoinGroup: {other:?}"),
            Err(ticket) => self.waits(ticket, format!("both {name}")),
        }
    }

    pub(super) fn classic_joined(&mut self, name: &str, told: &JoinGroupResponse) -> String {
        if told.error_code != 0 {
            return error_name(told.error_code);
        }
        let member = self.member(name);
        (member.id, member.epoch) = (told.member_id.clone(), told.generation_id);
        member.others = told.members.iter().map(|other| other.member_id.clone()).collect();
        let role = match told.leader.as_str() {
            "" => "nobody leads",
            leader if leader == told.member_id => "leads",
            _ => "follows",
        };
        format!("generation {}, {role}", told.generation_id)
    }

    /// The leader gives each of the others a part of the topic's four partitions, in the order of the ids.
    fn classic_sync(&mut self, at: NodeId, name: &str) -> String {
        let member = self.member(name).clone();
        let share = 4 / member.others.len().max(1) as i32;
        let assignments = member.others.iter().zip(0..).map(|(id, place)| SyncGroupRequestAssignment {
            member_id: id.clone(),
            assignment: written(false, &(place * share..(place + 1) * share).collect()),
        });
        let request = SyncGroupRequest {
            group_id: GROUP.to_owned(),
            generation_id: member.epoch,
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("cooperative-sticky".to_owned()),
            assignments: assignments.collect(),
        };
        match self.ask_for(at, 5, Request::SyncGroup(request)) {
            Ok(Response::SyncGroup(told)) => self.classic_synced(name, &told),
            Ok(other) => panic!("not an answer to SyncGroup: {other:?}"),
            Err(ticket) => self.waits(ticket, format!("both {name}")),
        }
    }

    pub(super) fn classic_synced(&mut self, name: &str, told: &SyncGroupResponse) -> String {
        if told.error_code != 0 {
            return error_name(told.error_code);
        }
        let owned = read(told.assignment.clone());
        self.member(name).owned.clone_from(&owned);
        numbers(&owned)
    }

    fn classic_beat(&mut self, at: NodeId, name: &str) -> String {
        let member = self.member(name).clone();
        let request = HeartbeatRequest {
            group_id: GROUP.to_owned(),
            generation_id: member.epoch,
            member_id: member.id,
            group_instance_id: member.instance,
        };
        match self.ask_for(at, 4, Request::Heartbeat(request)) {
            Ok(Response::Heartbeat(told)) => outcome(told.error_code),
            other => panic!("not an answer to Heartbeat: {other:?}"),
        }
    }

    fn classic_leave(&mut self, at: NodeId, name: &str) -> String {
        let member = self.member(name).clone();
        let leaving =
            MemberIdentity { member_id: member.id, group_instance_id: member.instance, ..MemberIdentity::default() };
        let request =
            LeaveGroupRequest { group_id: GROUP.to_owned(), members: vec![leaving], ..LeaveGroupRequest::default() };
        match self.ask_for(at, 5, Request::LeaveGroup(request)) {
            Ok(Response::LeaveGroup(told)) => {
                outcome(told.members.first().map_or(told.error_code, |left| left.error_code))
            }
            other => panic!("not an answer to LeaveGroup: {other:?}"),
        }
    }

    fn consumer_beat(&mut self, at: NodeId, name: &str) -> String {
        let member = self.member(name).clone();
        let topic_id = self.world.topic_id(TOPIC);
        let partitions = member.owned.iter().copied().collect();
        let owned = vec![TopicPartitions { topic_id, partitions }];
        let joins = member.epoch == 0;
        let request = ConsumerGroupHeartbeatRequest {
            group_id: GROUP.to_owned(),
            member_id: member.id.clone(),
            member_epoch: member.epoch,
            instance_id: member.instance.clone(),
            rebalance_timeout_ms: if joins { 60_000 } else { -1 },
            subscribed_topic_names: joins.then(|| vec![TOPIC.to_owned()]),
            topic_partitions: Some(if joins { Vec::new() } else { owned }),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let Ok(Response::ConsumerGroupHeartbeat(told)) = self.ask_for(at, 1, Request::ConsumerGroupHeartbeat(request))
        else {
            panic!("no answer to ConsumerGroupHeartbeat")
        };
        if told.error_code != 0 {
            return format!("{}: {}", error_name(told.error_code), told.error_message.unwrap_or_default());
        }
        if told.member_epoch < 0 {
            return outcome(0);
        }
        let member = self.member(name);
        member.epoch = told.member_epoch;
        if let Some(given) = told.assignment {
            member.owned = given.topic_partitions.into_iter().flat_map(|topic| topic.partitions).collect();
        }
        format!("epoch {}, {}", told.member_epoch, numbers(&self.member(name).owned.clone()))
    }

    /// `group`: what the coordinator holds: kind, state, epochs, and each member with what it has.
    pub(super) fn group(&mut self) -> String {
        let at = self.coordinator();
        let names: BTreeMap<String, String> =
            self.members.iter().map(|(name, member)| (member.id.clone(), name.clone())).collect();
        let named = |id: &String| names.get(id).cloned().unwrap_or_else(|| "somebody".to_owned());
        let Ok(Some(group)) = self.world.simulation.core.group(at, GROUP) else { return "no group".to_owned() };
        let mut shown: Vec<String> = match &group.consumer {
            None => {
                let member = |(id, member): (&String, &crate::groups::Member)| {
                    let has = Some(&member.assignment).filter(|bytes| !bytes.is_empty()).cloned().map(read);
                    format!("  {}: {}", named(id), numbers(&has.unwrap_or_default()))
                };
                group.members.iter().map(member).collect()
            }
            Some(consumer) => {
                let member = |(id, member): (&String, &crate::groups::ConsumerMember)| {
                    let kind = if member.classic.is_some() { "classic" } else { "consumer" };
                    let has = numbers(&numbered(&member.assigned));
                    format!("  {}: {kind}, epoch {}, {:?}, {has}", named(id), member.epoch, member.state)
                };
                consumer.members.iter().map(member).collect()
            }
        };
        shown.sort();
        let title = match &group.consumer {
            None => format!("classic, {}, generation {}", group.state_name(), group.generation),
            Some(consumer) => format!("consumer, {}, epoch {}", group.state_name(), consumer.epoch),
        };
        shown.insert(0, title);
        shown.join("\n")
    }
}

impl World {
    fn topic_id(&self, name: &str) -> uuid::Uuid {
        let image = &self.simulation.core.brokers[&NodeId(1)].image;
        image.topics[name].id
    }
}
