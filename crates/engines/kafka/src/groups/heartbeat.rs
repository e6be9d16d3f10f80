//! How members of a KIP-848 group join, stay, change what they read, and leave: all by one request, the heartbeat.

use std::collections::BTreeSet;

use atoll_kernel::{Context, Moment, NodeId};

use super::assignors::{ASSIGNORS, Assignment};
use super::consumer::{ConsumerGroup, ConsumerMember, LEAVE, LEAVE_FOR_NOW, MemberState, compile};
use super::consumer_records::ConsumerRecord;
use super::migration::Going;
use super::{GroupRecord, Phase, storing_error};
use crate::cluster::{Caller, Cluster, Outcome, Then, base64_url, milliseconds};
use crate::config::{Config, GroupTimes};
use crate::error::ErrorCode;
use crate::state::image::Image;
use crate::wire::Response;
use crate::wire::generated::consumer_group_heartbeat_response as wire;
use crate::wire::generated::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

/// Why a heartbeat is refused, with a sentence for people.
pub(super) type Refusal = (ErrorCode, String);

impl Cluster {
    /// ConsumerGroupHeartbeat, on the coordinator.
    pub(crate) fn consumer_heartbeat(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        request: ConsumerGroupHeartbeatRequest,
    ) -> Outcome {
        match self.try_consumer_heartbeat(ctx, caller, request) {
            Ok(outcome) => outcome,
            Err((error, reason)) => refused(error, Some(reason)).into(),
        }
    }

    fn try_consumer_heartbeat(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        request: ConsumerGroupHeartbeatRequest,
    ) -> Result<Outcome, Refusal> {
        check(&request, caller.version)?;
        let (name, leaves) = (request.group_id.clone(), request.member_epoch < 0);
        let mut after = self.consumer_group(ctx, caller.node, &name, request.member_epoch == 0)?;
        let id = match request.member_id.as_str() {
            "" => base64_url(self.random_id(ctx, "kafka.member-id")),
            id => id.to_owned(),
        };
        if leaves {
            let (member_id, member_epoch) = (Some(id.clone()), request.member_epoch);
            let response =
                ConsumerGroupHeartbeatResponse { member_id, member_epoch, ..ConsumerGroupHeartbeatResponse::default() };
            let response = Response::ConsumerGroupHeartbeat(response);
            return Ok(match leave(&mut after, &request)? {
                Left::ForGood => self.fence_members(ctx, caller, &name, &[id], response),
                Left::ForNow => self.keep_consumer_group(ctx, caller, &name, after, response, not_kept),
            });
        }
        let Some(view) = self.group_view(ctx, caller.node, &name) else { return Ok(Outcome::Close) };
        let response = Response::ConsumerGroupHeartbeat(beat(&mut after, &id, &request, caller, &view)?);
        Ok(self.keep_consumer_group(ctx, caller, &name, after, response, not_kept))
    }

    /// What the members of a group are judged by on its coordinator.
    pub(super) fn group_view(&self, ctx: &Context<'_>, node: NodeId, name: &str) -> Option<View<'_>> {
        let broker = self.brokers.get(&node)?;
        let (image, applied, config) = (&broker.image, broker.applied, &self.config);
        let times = config.group_times(image.group_options.get(name));
        Some(View { image, applied, config, times, now: ctx.now() })
    }

    /// A group of KIP-848 as it is. If it may be made, a new one, or what becomes of a classic group.
    fn consumer_group(
        &mut self,
        ctx: &Context<'_>,
        node: NodeId,
        name: &str,
        may_make: bool,
    ) -> Result<ConsumerGroup, Refusal> {
        let found = self.group(node, name).map_err(|error| (error, sentence(error).to_owned()))?;
        let not_found = |what: &str| Err((ErrorCode::GroupIdNotFound, format!("Group {name} {what}.")));
        match found {
            Some(group) if group.consumer.is_some() => Ok(group.consumer.clone().unwrap_or_default()),
            Some(group) if group.phase == Phase::Empty && may_make => Ok(ConsumerGroup::default()),
            Some(_) if may_make => self.upgraded(ctx, node, name),
            None if may_make => Ok(ConsumerGroup::default()),
            None => not_found("not found"),
            Some(_) => not_found("is not a consumer group"),
        }
    }

    /// Keeps what has become of a group, and answers when that is safe. A classic group that this was ends.
    pub(super) fn keep_consumer_group(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        name: &str,
        after: ConsumerGroup,
        response: Response,
        failed: fn(ErrorCode) -> Response,
    ) -> Outcome {
        let Ok(group) = self.group_or_new(caller.node, name) else { return failed(ErrorCode::NotCoordinator).into() };
        let (mut records, mut answers) = (Vec::new(), Vec::new());
        if group.consumer.is_none() && group.end_classic(&mut answers) {
            records.push(GroupRecord::Group { group: name.to_owned(), metadata: None });
        }
        let before = group.consumer.take().unwrap_or_default();
        let changed = changes(&before, &after).into_iter();
        records.extend(changed.map(|record| GroupRecord::of_consumers(name, record)));
        group.consumer = Some(after);
        for (ticket, response) in answers {
            self.answer(ticket, response);
        }
        self.arm_group(ctx, caller.node, name);
        self.store_and_answer(ctx, caller, name, &records, response, failed)
    }

    /// Writes records of a group, and answers when they are safe.
    pub(super) fn store_and_answer(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        name: &str,
        records: &[GroupRecord],
        response: Response,
        failed: fn(ErrorCode) -> Response,
    ) -> Outcome {
        if records.is_empty() {
            return response.into();
        }
        let key = self.coordinates(caller.node, name);
        let then = Then::Respond(Box::new(response), failed);
        match key.and_then(|key| self.store_group_records(ctx, caller, key, records, then)) {
            Ok(()) => Outcome::Parked,
            Err(error) => failed(error).into(),
        }
    }

    /// Sessions of members may have ended, or the time in which they were to do something.
    pub(super) fn consumer_group_timer(&mut self, ctx: &Context<'_>, node: NodeId, name: &str) {
        let Ok(Some(group)) = self.group(node, name) else { return };
        let Some(before) = group.consumer.clone() else { return };
        let late = before.members.iter().filter(|(_, member)| member.ends() <= ctx.now()).map(|(id, _)| id.clone());
        let late: Vec<String> = late.collect();
        self.remove_consumer_members(ctx, node, name, &late);
    }

    /// Removes members of a group of KIP-848 on the coordinator's own account.
    pub(super) fn remove_consumer_members(&mut self, ctx: &Context<'_>, node: NodeId, name: &str, ids: &[String]) {
        if ids.is_empty() {
            return;
        }
        let own = self.own_caller(node);
        let nobody_waits = refused(ErrorCode::None, None);
        self.fence_members(ctx, &own, name, ids, nobody_waits);
    }

    /// Removes members, and answers when that is safe. If only members of the classic protocol stay, the group goes back to that.
    fn fence_members(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        name: &str,
        ids: &[String],
        response: Response,
    ) -> Outcome {
        let held = self.group(caller.node, name).ok().flatten().and_then(|group| group.consumer.clone());
        let Some(mut after) = held else { return not_kept(ErrorCode::NotCoordinator).into() };
        let Some(broker) = self.brokers.get(&caller.node) else { return Outcome::Close };
        if self.may_downgrade(&after, ids) {
            return self.downgrade(ctx, caller, name, Going::Away(ids), response, not_kept);
        }
        ids.iter().for_each(|id| remove(&mut after, id));
        after.refresh_topics(&broker.image, broker.applied);
        self.keep_consumer_group(ctx, caller, name, after, response, not_kept)
    }

    /// A group of KIP-848 without members ends, so that one of the classic protocol can begin under its name.
    pub(super) fn end_consumer_group(&mut self, ctx: &Context<'_>, node: NodeId, name: &str) {
        let Ok(Some(group)) = self.group_mut(node, name) else { return };
        let Some(consumer) = group.consumer.take() else { return };
        let records = consumer.end_records(name);
        let own = self.own_caller(node);
        if let Ok(key) = self.coordinates(node, name) {
            // Where this cannot be stored, the next coordinator finds an empty group, which ends as this one did.
            let _ = self.store_group_records(ctx, &own, key, &records, Then::Nothing);
        }
    }
}

/// What a heartbeat is judged by.
pub(super) struct View<'a> {
    pub image: &'a Image,
    pub applied: u64,
    pub config: &'a Config,
    times: GroupTimes,
    pub now: Moment,
}

/// How a member has left.
enum Left {
    /// It is to be removed.
    ForGood,
    /// It keeps its place for a while.
    ForNow,
}

fn not_kept(error: ErrorCode) -> Response {
    refused(storing_error(error), None)
}

fn refused(error: ErrorCode, error_message: Option<String>) -> Response {
    let error_message = error_message.or_else(|| Some(sentence(error).to_owned()));
    let error_code = error.code();
    Response::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse {
        error_code,
        error_message,
        ..ConsumerGroupHeartbeatResponse::default()
    })
}

fn sentence(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::NotCoordinator => "This is not the correct coordinator.",
        ErrorCode::CoordinatorNotAvailable => "The coordinator is not available.",
        ErrorCode::InvalidGroupId => "The configured groupId is invalid.",
        _ => "The server experienced an unexpected error when processing the request.",
    }
}

/// Whether a request makes sense by itself.
fn check(request: &ConsumerGroupHeartbeatRequest, version: i16) -> Result<(), Refusal> {
    let invalid = |reason: &str| Err((ErrorCode::InvalidRequest, reason.to_owned()));
    let is_empty = |text: &Option<String>| text.as_deref() == Some("");
    match request.member_epoch {
        _ if request.group_id.trim().is_empty() => return invalid("GroupId can't be empty."),
        _ if is_empty(&request.instance_id) => return invalid("InstanceId can't be empty."),
        _ if is_empty(&request.rack_id) => return invalid("RackId can't be empty."),
        epoch if request.member_id.is_empty() && (version >= 1 || epoch != 0) => {
            return invalid("MemberId can't be empty.");
        }
        0 if request.rebalance_timeout_ms == -1 => {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        0 if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        0 if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() => {
            return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.");
        }
        LEAVE_FOR_NOW if request.instance_id.is_none() => return invalid("InstanceId can't be null."),
        epoch if epoch < LEAVE_FOR_NOW => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    if let Some(assignor) = &request.server_assignor
        && !ASSIGNORS.contains(&assignor.as_str())
    {
        let supported = ASSIGNORS.join(", ");
        let reason = format!("ServerAssignor {assignor} is not supported. Supported assignors: {supported}.");
        return Err((ErrorCode::UnsupportedAssignor, reason));
    }
    if let Some(regex) = request.subscribed_topic_regex.as_deref().filter(|regex| !regex.is_empty())
        && let Err(reason) = compile(regex)
    {
        let reason = format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {reason}.");
        return Err((ErrorCode::InvalidRegularExpression, reason));
    }
    Ok(())
}

/// A member joins, or says that it lives and what it owns.
fn beat(
    group: &mut ConsumerGroup,
    id: &str,
    request: &ConsumerGroupHeartbeatRequest,
    caller: &Caller,
    view: &View<'_>,
) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
    let size_max = view.config.group_consumer_max_size;
    if group.is_full(id, size_max) {
        let reason = format!("The consumer group has reached its maximum capacity of {size_max} members.");
        return Err((ErrorCode::GroupMaxSizeReached, reason));
    }
    let owned = request.topic_partitions.as_ref().map(|topics| {
        let one = |topic: &crate::wire::generated::consumer_group_heartbeat_request::TopicPartitions| {
            (topic.topic_id, topic.partitions.iter().copied().collect::<BTreeSet<i32>>())
        };
        topics.iter().map(one).collect::<Assignment>()
    });
    let (known, is_new) = identify(group, id, request, owned.as_ref())?;
    let mut member = known.clone();
    update(&mut member, request, caller);
    member.session_ends = view.now + milliseconds(view.times.session_ms);
    let reads_anew = is_new || member.topic_names != known.topic_names || member.topic_regex != known.topic_regex;
    settle(group, id, member, reads_anew, owned.as_ref(), view);
    let Some(member) = group.members.get_mut(id) else { return Err((ErrorCode::UnknownMemberId, String::new())) };
    member.revocation_ends = match member.state {
        MemberState::UnrevokedPartitions if known.epoch == member.epoch && known.revocation_ends.is_some() => {
            known.revocation_ends
        }
        MemberState::UnrevokedPartitions => Some(view.now + milliseconds(member.rebalance_timeout_ms)),
        MemberState::Stable | MemberState::UnreleasedPartitions => None,
    };
    let names_topics = request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some();
    let tells_all = request.rebalance_timeout_ms != -1 && names_topics && owned.is_some();
    let is_told = request.member_epoch == 0 || tells_all || member.assigned != known.assigned;
    Ok(ConsumerGroupHeartbeatResponse {
        member_id: Some(id.to_owned()),
        member_epoch: member.epoch,
        heartbeat_interval_ms: view.times.heartbeat_ms,
        assignment: is_told.then(|| wire::Assignment { topic_partitions: to_wire(&member.assigned) }),
        ..ConsumerGroupHeartbeatResponse::default()
    })
}

/// Puts a member into its group as it now is, and takes it on towards what it is to have.
pub(super) fn settle(
    group: &mut ConsumerGroup,
    id: &str,
    member: ConsumerMember,
    reads_anew: bool,
    owned: Option<&Assignment>,
    view: &View<'_>,
) {
    group.members.insert(id.to_owned(), member);
    if reads_anew {
        group.seen = None;
    }
    if group.refresh_topics(view.image, view.applied) || reads_anew {
        group.epoch += 1;
    }
    if group.epoch > group.assignment_epoch {
        group.retarget();
    }
    group.reconcile(id, owned);
}

fn to_wire(assignment: &Assignment) -> Vec<wire::TopicPartitions> {
    let one = |(topic_id, partitions): (&uuid::Uuid, &BTreeSet<i32>)| wire::TopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.iter().copied().collect(),
    };
    assignment.iter().map(one).collect()
}

/// The member that a heartbeat is from, and whether it is new. A static member that comes back replaces what it was.
fn identify(
    group: &mut ConsumerGroup,
    id: &str,
    request: &ConsumerGroupHeartbeatRequest,
    owned: Option<&Assignment>,
) -> Result<(ConsumerMember, bool), Refusal> {
    let joins = request.member_epoch == 0;
    let unknown =
        || (ErrorCode::UnknownMemberId, format!("Member {id} is not a member of group {}.", request.group_id));
    let Some(instance) = request.instance_id.as_deref() else {
        return match group.members.get(id) {
            Some(member) => check_epoch(member, request.member_epoch, owned).map(|()| (member.clone(), false)),
            None if joins => Ok((ConsumerMember::default(), true)),
            None => Err(unknown()),
        };
    };
    let found = group.static_member(instance).map(|(held, member)| (held.clone(), member.clone()));
    match found {
        None if joins => Ok((ConsumerMember::default(), true)),
        None => Err((ErrorCode::UnknownMemberId, format!("Instance id {instance} is unknown."))),
        Some((held, member)) if joins => {
            // One of the classic protocol may be replaced although it has not left.
            if member.epoch != LEAVE_FOR_NOW && member.classic.is_none() {
                let reason = format!(
                    "Static member {id} with instance id {instance} cannot join the group because the instance id is \
                     owned by {held} member."
                );
                return Err((ErrorCode::UnreleasedInstanceId, reason));
            }
            group.give_place(&held, id);
            Ok((ConsumerMember { epoch: 0, previous_epoch: 0, ..member }, false))
        }
        Some((held, _)) if held != id => {
            let reason = format!("Static member {id} with instance id {instance} was fenced by member {held}.");
            Err((ErrorCode::FencedInstanceId, reason))
        }
        Some((_, member)) => check_epoch(&member, request.member_epoch, owned).map(|()| (member, false)),
    }
}

/// Whether a member comes with its epoch, or with the one before because it has not heard of the new one.
fn check_epoch(member: &ConsumerMember, received: i32, owned: Option<&Assignment>) -> Result<(), Refusal> {
    let fenced = |relation: &str| {
        let reason = format!(
            "The consumer group member has a {relation} member epoch ({received}) than the one known by the group \
             coordinator ({}). The member must abandon all its partitions and rejoin.",
            member.epoch
        );
        Err((ErrorCode::FencedMemberEpoch, reason))
    };
    let is_part = |owned: &Assignment| {
        owned.iter().all(|(topic, partitions)| {
            member.assigned.get(topic).is_some_and(|assigned| partitions.is_subset(assigned))
        })
    };
    match received.cmp(&member.epoch) {
        std::cmp::Ordering::Greater => fenced("greater"),
        std::cmp::Ordering::Less if received != member.previous_epoch || !owned.is_some_and(is_part) => {
            fenced("smaller")
        }
        _ => Ok(()),
    }
}

/// Takes over what a heartbeat says of its member; what is null is as it was.
fn update(member: &mut ConsumerMember, request: &ConsumerGroupHeartbeatRequest, caller: &Caller) {
    let take = |slot: &mut Option<String>, told: &Option<String>| {
        if told.is_some() {
            slot.clone_from(told);
        }
    };
    take(&mut member.instance_id, &request.instance_id);
    take(&mut member.rack_id, &request.rack_id);
    take(&mut member.topic_regex, &request.subscribed_topic_regex);
    take(&mut member.assignor, &request.server_assignor);
    if let Some(names) = &request.subscribed_topic_names {
        member.topic_names = names.iter().cloned().collect();
    }
    if request.rebalance_timeout_ms != -1 {
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    (member.client_id, member.client_host) = (caller.client_id.clone(), caller.host.clone());
    (member.classic, member.join_ends, member.sync_ends) = (None, None, None);
}

/// A member leaves, for good or for now.
fn leave(group: &mut ConsumerGroup, request: &ConsumerGroupHeartbeatRequest) -> Result<Left, Refusal> {
    let id = &request.member_id;
    let Some(instance) = request.instance_id.as_deref() else {
        if !group.members.contains_key(id) {
            let reason = format!("Member {id} is not a member of group {}.", request.group_id);
            return Err((ErrorCode::UnknownMemberId, reason));
        }
        return Ok(Left::ForGood);
    };
    let held = group.static_member(instance).map(|(held, _)| held.clone());
    match held {
        None => return Err((ErrorCode::UnknownMemberId, format!("Instance id {instance} is unknown."))),
        Some(held) if held != *id => {
            let reason = format!("Static member {id} with instance id {instance} was fenced by member {held}.");
            return Err((ErrorCode::FencedInstanceId, reason));
        }
        Some(_) if request.member_epoch == LEAVE => return Ok(Left::ForGood),
        Some(_) => {
            if let Some(member) = group.members.get_mut(id) {
                member.epoch = LEAVE_FOR_NOW;
                member.revoking = Assignment::new();
                member.revocation_ends = None;
            }
        }
    }
    Ok(Left::ForNow)
}

fn remove(group: &mut ConsumerGroup, id: &str) {
    if group.members.remove(id).is_some() {
        group.target.remove(id);
        group.epoch += 1;
        group.seen = None;
    }
}

/// The records that make of one state of a group another.
fn changes(before: &ConsumerGroup, after: &ConsumerGroup) -> Vec<ConsumerRecord> {
    let mut records = Vec::new();
    for id in before.members.keys().filter(|id| !after.members.contains_key(*id)) {
        records.push(ConsumerRecord::Current(id.clone(), None));
        records.push(ConsumerRecord::Target(id.clone(), None));
        records.push(ConsumerRecord::Member(id.clone(), None));
    }
    for (id, member) in &after.members {
        if before.members.get(id).is_none_or(|known| !says_the_same(known, member)) {
            records.push(ConsumerRecord::Member(id.clone(), Some(member.clone())));
        }
    }
    if before.topics != after.topics {
        records.push(ConsumerRecord::Topics(Some(after.topics.clone())));
    }
    if before.epoch != after.epoch {
        records.push(ConsumerRecord::Epoch(Some(after.epoch)));
    }
    for (id, target) in &after.target {
        if before.target.get(id) != Some(target) {
            records.push(ConsumerRecord::Target(id.clone(), Some(target.clone())));
        }
    }
    if before.assignment_epoch != after.assignment_epoch {
        records.push(ConsumerRecord::TargetEpoch(Some(after.assignment_epoch)));
    }
    for (id, member) in &after.members {
        if before.members.get(id).is_none_or(|known| !has_the_same(known, member)) {
            records.push(ConsumerRecord::Current(id.clone(), Some(member.clone())));
        }
    }
    records
}

fn says_the_same(one: &ConsumerMember, other: &ConsumerMember) -> bool {
    let told = |member: &ConsumerMember| ConsumerMember {
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topic_names: member.topic_names.clone(),
        topic_regex: member.topic_regex.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        assignor: member.assignor.clone(),
        classic: member.classic.clone(),
        ..ConsumerMember::default()
    };
    told(one) == told(other)
}

fn has_the_same(one: &ConsumerMember, other: &ConsumerMember) -> bool {
    (one.epoch, one.previous_epoch, one.state) == (other.epoch, other.previous_epoch, other.state)
        && one.assigned == other.assigned
        && one.revoking == other.revoking
}
