//! How a group with members goes over from the classic protocol to that of KIP-848, when the first member of the latter joins it,
//! and back, when the last one leaves it; within `group.consumer.migration.policy`.
//!
//! <https://cwiki.apache.org/confluence/display/KAFKA/KIP-848%3A+The+Next+Generation+of+the+Consumer+Rebalance+Protocol>

use std::collections::BTreeSet;

use atoll_kernel::{Context, Moment, NodeId};
use uuid::Uuid;

use super::assignors::{Assignment, pairs};
use super::consumer::{ClassicMember, ConsumerGroup, ConsumerMember};
use super::consumer_records::ConsumerRecord;
use super::heartbeat::Refusal;
use super::membership::Answer;
use super::{Group, GroupRecord, Member, Phase, protocol};
use crate::cluster::{Caller, Cluster, Outcome, milliseconds};
use crate::error::ErrorCode;
use crate::state::image::Image;
use crate::wire::{Response, consumer_protocol};

/// Who brings it about that only members of the classic protocol are in a group.
pub(super) enum Going<'a> {
    /// These leave.
    Away(&'a [String]),
    /// A static member is replaced by one of the classic protocol under another id.
    Replaced { held: &'a str, id: &'a str, by: Box<ConsumerMember> },
}

impl Cluster {
    /// What becomes of a classic group with members when one of KIP-848 joins it. Those who wait for an assignment are told to
    /// join again.
    pub(super) fn upgraded(&mut self, ctx: &Context<'_>, node: NodeId, name: &str) -> Result<ConsumerGroup, Refusal> {
        let refused = |reason: &str| {
            let reason = format!("Cannot upgrade classic group {name} to consumer group because {reason}");
            Err((ErrorCode::GroupIdNotFound, reason))
        };
        let unexpected = || {
            let reason = "The server experienced an unexpected error when processing the request.";
            (ErrorCode::UnknownServerError, reason.to_owned())
        };
        let group = self.group(node, name).ok().flatten().ok_or_else(unexpected)?;
        if !self.config.group_consumer_migration_policy.upgrades() {
            return refused("online upgrade is disabled.");
        }
        if group.protocol_type != protocol::CONSUMER {
            return refused("the group does not use the consumer embedded protocol.");
        }
        if group.members.len() > self.config.group_consumer_max_size {
            return refused("the group size exceeds the consumer group maximum size.");
        }
        let image = self.brokers.get(&node).map(|broker| &broker.image).ok_or_else(unexpected)?;
        match group.to_consumer_group(image, ctx.now()) {
            Ok(made) => Ok(made),
            Err(Unfit::Malformed) => refused("the embedded consumer protocol is malformed."),
            Err(Unfit::OwnAssignor) => refused(
                "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor \
                 before re-attempting the upgrade.",
            ),
            Err(Unfit::NeverAssigned) => Err(unexpected()),
        }
    }

    /// Whether a group of KIP-848 goes back to the classic protocol when these leave it.
    pub(super) fn may_downgrade(&self, group: &ConsumerGroup, leaving: &[String]) -> bool {
        let mut stay = group.members.iter().filter(|(id, _)| !leaving.contains(id)).peekable();
        stay.peek().is_some() && self.downgrades(stay.map(|(_, member)| member))
    }

    /// Whether it does so when a member of KIP-848 is replaced by one of the classic protocol.
    pub(super) fn may_downgrade_for(&self, group: &ConsumerGroup, held: &str) -> bool {
        let is_last = group.members.get(held).is_some_and(|member| member.classic.is_none());
        let has_place = group.members.len() <= self.config.group_max_size;
        is_last && has_place && self.downgrades(group.members.iter().filter(|(id, _)| *id != held).map(|(_, one)| one))
    }

    fn downgrades<'a>(&self, stay: impl Iterator<Item = &'a ConsumerMember>) -> bool {
        let mut count = 0;
        let all_classic = stay.inspect(|_| count += 1).all(|member| member.classic.is_some());
        all_classic && count <= self.config.group_max_size && self.config.group_consumer_migration_policy.downgrades()
    }

    /// A group of KIP-848 goes back to the classic protocol, and answers when that is safe.
    pub(super) fn downgrade(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        name: &str,
        going: Going<'_>,
        response: Response,
        failed: fn(ErrorCode) -> Response,
    ) -> Outcome {
        let node = caller.node;
        let Some(image) = self.brokers.get(&node).map(|broker| broker.image.clone()) else { return Outcome::Close };
        let held = self.group_mut(node, name).ok().flatten();
        let Some((group, mut consumer)) = held.and_then(|group| group.consumer.take().map(|held| (group, held))) else {
            return failed(ErrorCode::NotCoordinator).into();
        };
        let mut records = consumer.end_records(name);
        let rebalances = match going {
            Going::Away(leaving) => {
                consumer.members.retain(|id, _| !leaving.contains(id));
                true
            }
            Going::Replaced { held, id, by } => {
                consumer.give_place(held, id);
                consumer.members.insert(id.to_owned(), *by);
                false
            }
        };
        group.begin_classic(&consumer, &image, ctx.now());
        let now_ms = ctx.wall(node).as_millis();
        group.changed_ms = Some(now_ms);
        records.push(group.to_record(name, now_ms));
        let mut answers = Vec::new();
        if rebalances {
            group.prepare_rebalance(ctx.now(), 0, &mut answers);
        }
        let outcome = self.store_and_answer(ctx, caller, name, &records, response, failed);
        self.after_group_change(ctx, node, name, answers);
        outcome
    }
}

/// Why a classic group cannot go over.
enum Unfit {
    /// What its members tell each other cannot be read.
    Malformed,
    /// Its leader tells the others more than who reads what.
    OwnAssignor,
    /// Its members have not agreed on an assignor yet, or share partitions; Kafka stumbles over that.
    NeverAssigned,
}

impl Group {
    /// The same members as a group of KIP-848: all with what they were assigned, in an epoch that is their generation.
    fn to_consumer_group(&self, image: &Image, now: Moment) -> Result<ConsumerGroup, Unfit> {
        let mut made =
            ConsumerGroup { epoch: self.generation, assignment_epoch: self.generation, ..ConsumerGroup::default() };
        let mut seen: BTreeSet<(Uuid, i32)> = BTreeSet::new();
        for (id, classic) in &self.members {
            let assigned = match classic.assignment.is_empty() {
                true => Assignment::new(),
                false => match consumer_protocol::read_assignment(classic.assignment.clone()) {
                    Err(_) => return Err(Unfit::Malformed),
                    Ok((_, true)) => return Err(Unfit::OwnAssignor),
                    Ok((named, false)) => protocol::by_id(&named, image),
                },
            };
            if self.protocol.is_none() || !pairs(&assigned).all(|partition| seen.insert(partition)) {
                return Err(Unfit::NeverAssigned);
            }
            let told =
                consumer_protocol::read_subscription(self.subscription(classic)).map_err(|_| Unfit::Malformed)?;
            let member = ConsumerMember {
                instance_id: classic.instance_id.clone(),
                rack_id: told.rack_id,
                client_id: classic.client_id.clone(),
                client_host: classic.client_host.clone(),
                topic_names: told.topics.into_iter().collect(),
                rebalance_timeout_ms: classic.rebalance_timeout_ms,
                epoch: self.generation,
                previous_epoch: self.generation,
                assigned: assigned.clone(),
                classic: Some(ClassicMember {
                    session_timeout_ms: classic.session_timeout_ms,
                    protocols: classic.protocols.clone(),
                }),
                session_ends: now + milliseconds(classic.session_timeout_ms),
                ..ConsumerMember::default()
            };
            made.members.insert(id.clone(), member);
            made.target.insert(id.clone(), assigned);
        }
        Ok(made)
    }

    /// All of the classic protocol ends, and who waits is told to join again. Whether anything of it was written down.
    pub(super) fn end_classic(&mut self, answers: &mut Vec<Answer>) -> bool {
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            self.remove_member(&id, ErrorCode::RebalanceInProgress, answers);
        }
        let was_written = !self.protocol_type.is_empty();
        let offsets = std::mem::take(&mut self.offsets);
        let open_transactions = std::mem::take(&mut self.open_transactions);
        let armed_for = self.armed_for;
        *self = Group { offsets, open_transactions, armed_for, ..Group::new() };
        was_written
    }

    /// The same members as a stable classic group, each with what it was to have.
    fn begin_classic(&mut self, consumer: &ConsumerGroup, image: &Image, now: Moment) {
        (self.phase, self.generation, self.leader) = (Phase::Stable, consumer.epoch, None);
        self.protocol_type = protocol::CONSUMER.to_owned();
        for (id, member) in &consumer.members {
            let Some(classic) = &member.classic else { continue };
            if let Some(instance) = &member.instance_id {
                self.instances.insert(instance.clone(), id.clone());
            }
            let mut made = Member {
                instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: classic.session_timeout_ms,
                protocols: classic.protocols.clone(),
                assignment: bytes::Bytes::new(),
                session_ends: now,
                joining: None,
                syncing: None,
            };
            made.heard_of(now);
            self.members.insert(id.clone(), made);
        }
        self.protocol = self.vote();
        let assignment = |(id, member): (&String, &Member)| {
            let target = consumer.target.get(id).cloned().unwrap_or_default();
            (id.clone(), protocol::write_assignment(&target, &self.subscription(member), image))
        };
        let assignments: Vec<_> = self.members.iter().map(assignment).collect();
        for (id, assignment) in assignments {
            self.members.get_mut(&id).into_iter().for_each(|member| member.assignment = assignment.clone());
        }
    }
}

impl ConsumerGroup {
    /// The records by which all of it ends; the last is what makes readers forget the group.
    pub(super) fn end_records(&self, name: &str) -> Vec<GroupRecord> {
        let ids = || self.members.keys().cloned();
        let ended = ids()
            .map(|id| ConsumerRecord::Current(id, None))
            .chain(ids().map(|id| ConsumerRecord::Target(id, None)))
            .chain([ConsumerRecord::TargetEpoch(None)])
            .chain(ids().map(|id| ConsumerRecord::Member(id, None)))
            .chain([ConsumerRecord::Topics(None), ConsumerRecord::Epoch(None)]);
        ended.map(|record| GroupRecord::of_consumers(name, record)).collect()
    }
}
