//! Joining, syncing, heartbeats and leaving: how the members of a group agree on who reads what.

use std::time::Duration;

use atoll_kernel::{Context, Moment, NodeId};
use bytes::Bytes;

use super::records::Metadata;
use super::{Group, GroupRecord, Member, Phase, has_name};
use crate::cluster::{Caller, Cluster, Outcome, Then, Ticket, Timer, milliseconds};
use crate::error::ErrorCode;
use crate::wire::Response;
use crate::wire::generated::join_group_response::JoinGroupResponseMember;
use crate::wire::generated::{JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse};

/// An answer that a member has waited for.
pub(super) type Answer = (Ticket, Response);

impl Cluster {
    /// JoinGroup, on the coordinator.
    pub(crate) fn join_group(&mut self, ctx: &Context<'_>, caller: &Caller, request: JoinGroupRequest) -> Outcome {
        let member_id = request.member_id.clone();
        match self.try_join(ctx, caller, request) {
            Ok(outcome) => outcome,
            Err((error, given)) => {
                Response::JoinGroup(join_error(error, given.as_deref().unwrap_or(&member_id))).into()
            }
        }
    }

    fn try_join(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        request: JoinGroupRequest,
    ) -> Result<Outcome, (ErrorCode, Option<String>)> {
        let plain = |error| (error, None);
        has_name(&request.group_id).map_err(plain)?;
        let session_allowed = self.config.group_min_session_timeout_ms..=self.config.group_max_session_timeout_ms;
        if !session_allowed.contains(&request.session_timeout_ms) {
            self.group(caller.node, &request.group_id).map_err(plain)?;
            return Err(plain(ErrorCode::InvalidSessionTimeout));
        }
        let new_id = format!("{}-{}", caller.client_id, self.random_id(ctx, "kafka.member-id"));
        let (size_max, delay_ms) = (self.config.group_max_size, self.config.group_initial_rebalance_delay_ms);
        let name = request.group_id.clone();
        let found = self.group(caller.node, &name).map_err(plain)?;
        if found.is_some_and(|group| group.consumer.is_some()) {
            if found.is_some_and(Group::has_members) {
                return Ok(self.join_as_classic(ctx, caller, request));
            }
            self.end_consumer_group(ctx, caller.node, &name);
        }
        let group = self.group_or_new(caller.node, &name).map_err(plain)?;
        if !group.accepts(&request) {
            return Err(plain(ErrorCode::InconsistentGroupProtocol));
        }
        let known = group.identify(&request, &new_id, caller.version, size_max, ctx.now());
        let mut answers = Vec::new();
        let parked = match known {
            Err((error, id)) => {
                self.arm_group(ctx, caller.node, &name);
                return Err((error, id));
            }
            Ok(id) => group.join(ctx.now(), caller, request, id, delay_ms, &mut answers),
        };
        self.after_group_change(ctx, caller.node, &name, answers);
        Ok(match parked {
            None => Outcome::Parked,
            Some(response) => Response::JoinGroup(response).into(),
        })
    }

    /// SyncGroup, on the coordinator.
    pub(crate) fn sync_group(&mut self, ctx: &Context<'_>, caller: &Caller, request: SyncGroupRequest) -> Outcome {
        match self.try_sync(ctx, caller, request) {
            Ok(Some(response)) => Response::SyncGroup(response).into(),
            Ok(None) => Outcome::Parked,
            Err(error) => {
                Response::SyncGroup(SyncGroupResponse { error_code: error.code(), ..SyncGroupResponse::default() })
                    .into()
            }
        }
    }

    fn try_sync(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        request: SyncGroupRequest,
    ) -> Result<Option<SyncGroupResponse>, ErrorCode> {
        if lacks_protocol(&request, caller.version) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        has_name(&request.group_id)?;
        let key = self.coordinates(caller.node, &request.group_id)?;
        let now = ctx.now();
        let group = self.group(caller.node, &request.group_id)?.ok_or(ErrorCode::UnknownMemberId)?;
        if group.consumer.is_some() {
            return self.sync_as_classic(ctx, caller.node, &request).map(Some);
        }
        let group = self.group_mut(caller.node, &request.group_id)?.ok_or(ErrorCode::UnknownMemberId)?;
        group.check_member(&request.member_id, request.group_instance_id.as_deref(), Some(request.generation_id))?;
        let differs = |given: &Option<String>, held: Option<&String>| given.is_some() && given.as_ref() != held;
        if differs(&request.protocol_type, Some(&group.protocol_type))
            || differs(&request.protocol_name, group.protocol.as_ref())
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match group.phase {
            Phase::Empty => return Err(ErrorCode::UnknownMemberId),
            Phase::PreparingRebalance => return Err(ErrorCode::RebalanceInProgress),
            Phase::Stable => return Ok(Some(group.assignment_of(&request.member_id))),
            Phase::CompletingRebalance => {}
        }
        let is_leader = group.leader.as_ref() == Some(&request.member_id);
        if let Some(member) = group.members.get_mut(&request.member_id) {
            member.syncing = Some(caller.ticket);
            member.heard_of(now);
        }
        if is_leader {
            for assigned in request.assignments {
                if let Some(member) = group.members.get_mut(&assigned.member_id) {
                    member.assignment = assigned.assignment;
                }
            }
            let generation = group.generation;
            let record = group.to_record(&request.group_id, ctx.wall(caller.node).as_millis());
            let own = self.own_caller(caller.node);
            let then = Then::Synced(request.group_id.clone(), generation);
            if let Err(error) = self.store_group_records(ctx, &own, key, &[record], then) {
                self.group_stored(ctx, caller.node, &request.group_id, generation, Some(error));
            }
        }
        self.arm_group(ctx, caller.node, &request.group_id);
        Ok(None)
    }

    /// The leader's assignment has been stored, or could not be.
    pub(crate) fn group_stored(
        &mut self,
        ctx: &Context<'_>,
        node: NodeId,
        name: &str,
        generation: i32,
        failed: Option<ErrorCode>,
    ) {
        let mut answers = Vec::new();
        if let Ok(Some(group)) = self.group_mut(node, name)
            && group.generation == generation
            && group.phase == Phase::CompletingRebalance
        {
            match failed {
                None => group.become_stable(&mut answers),
                Some(error) => {
                    group.fail_syncs(storing_error(error), &mut answers);
                    group.prepare_rebalance(ctx.now(), 0, &mut answers);
                }
            }
        }
        self.after_group_change(ctx, node, name, answers);
    }

    /// Heartbeat, on the coordinator.
    pub(crate) fn group_heartbeat(
        &mut self,
        ctx: &Context<'_>,
        node: NodeId,
        request: &crate::wire::generated::HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        has_name(&request.group_id)?;
        if self.group(node, &request.group_id)?.is_some_and(|group| group.consumer.is_some()) {
            return self.beat_as_classic(ctx, node, request);
        }
        let group = self.group_mut(node, &request.group_id)?.ok_or(ErrorCode::UnknownMemberId)?;
        group.check_member(&request.member_id, request.group_instance_id.as_deref(), Some(request.generation_id))?;
        if let Some(member) = group.members.get_mut(&request.member_id) {
            member.heard_of(ctx.now());
        }
        match group.phase {
            Phase::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            Phase::Empty => Err(ErrorCode::UnknownMemberId),
            Phase::CompletingRebalance | Phase::Stable => Ok(()),
        }
    }

    /// A member leaves, by its id or its instance.
    pub(crate) fn leave_group(
        &mut self,
        ctx: &Context<'_>,
        node: NodeId,
        name: &str,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), ErrorCode> {
        has_name(name)?;
        let group = self.group_mut(node, name)?.ok_or(ErrorCode::UnknownMemberId)?;
        if let Some(consumer) = &group.consumer {
            let id = consumer.leaving(member_id, instance_id)?;
            self.remove_consumer_members(ctx, node, name, &[id]);
            return Ok(());
        }
        let id = match instance_id {
            Some(instance) => match group.instances.get(instance) {
                Some(id) if member_id.is_empty() || id == member_id => id.clone(),
                Some(_) => return Err(ErrorCode::FencedInstanceId),
                None => return Err(ErrorCode::UnknownMemberId),
            },
            None => member_id.to_owned(),
        };
        if group.pending.remove(&id).is_some() {
            self.after_group_change(ctx, node, name, Vec::new());
            return Ok(());
        }
        let mut answers = Vec::new();
        if !group.remove_member(&id, ErrorCode::UnknownMemberId, &mut answers) {
            return Err(ErrorCode::UnknownMemberId);
        }
        group.member_left(ctx.now(), &mut answers);
        self.after_group_change(ctx, node, name, answers);
        Ok(())
    }

    /// Whether a commit of offsets by this member counts, and a sign of life from it.
    pub(crate) fn check_commit(
        &mut self,
        ctx: &Context<'_>,
        node: NodeId,
        name: &str,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        let Some(group) = self.group_mut(node, name)? else {
            // Whoever assigns partitions to itself commits without a group.
            return if generation < 0 { Ok(()) } else { Err(ErrorCode::IllegalGeneration) };
        };
        if let Some(consumer) = &group.consumer {
            return consumer.check_commit(member_id, generation);
        }
        if generation < 0 && member_id.is_empty() {
            return if group.phase == Phase::Empty { Ok(()) } else { Err(ErrorCode::UnknownMemberId) };
        }
        group.check_member(member_id, instance_id, Some(generation))?;
        if group.phase == Phase::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        if let Some(member) = group.members.get_mut(member_id) {
            member.heard_of(ctx.now());
        }
        Ok(())
    }

    /// A group's timer went off: sessions have ended, or a rebalance has lasted long enough.
    pub(crate) fn group_timer(&mut self, ctx: &Context<'_>, node: NodeId, name: &str) {
        let now = ctx.now();
        let Ok(Some(group)) = self.group_mut(node, name) else { return };
        group.armed_for = None;
        if group.consumer.is_some() {
            self.consumer_group_timer(ctx, node, name);
            self.arm_group(ctx, node, name);
            return;
        }
        let mut answers = Vec::new();
        group.pending.retain(|_, until| *until > now);
        let silent: Vec<String> =
            group.members.iter().filter(|(_, member)| member.is_silent(now)).map(|(id, _)| id.clone()).collect();
        for id in &silent {
            group.remove_member(id, ErrorCode::UnknownMemberId, &mut answers);
        }
        if !silent.is_empty() {
            group.member_left(now, &mut answers);
        }
        if group.rebalance_ends.is_some_and(|ends| ends <= now) {
            match group.phase {
                Phase::PreparingRebalance => group.complete_join(now, &mut answers),
                Phase::CompletingRebalance => {
                    let late: Vec<String> = group
                        .members
                        .iter()
                        .filter(|(_, member)| member.syncing.is_none())
                        .map(|(id, _)| id.clone())
                        .collect();
                    for id in &late {
                        group.remove_member(id, ErrorCode::UnknownMemberId, &mut answers);
                    }
                    group.prepare_rebalance(now, 0, &mut answers);
                }
                Phase::Empty | Phase::Stable => group.rebalance_ends = None,
            }
        }
        group.try_complete_join(now, &mut answers);
        self.after_group_change(ctx, node, name, answers);
    }

    /// Passes answers on, stores a group that has become empty, forgets one that is nothing, and sets its timer.
    pub(super) fn after_group_change(&mut self, ctx: &Context<'_>, node: NodeId, name: &str, answers: Vec<Answer>) {
        let mut became_empty = None;
        if let Ok(Some(group)) = self.group_mut(node, name)
            && group.phase == Phase::PreparingRebalance
            && group.members.is_empty()
            && group.pending.is_empty()
        {
            group.phase = Phase::Empty;
            group.generation += 1;
            (group.protocol, group.leader, group.rebalance_ends) = (None, None, None);
            let now_ms = ctx.wall(node).as_millis();
            group.changed_ms = Some(now_ms);
            became_empty = Some(group.to_record(name, now_ms));
        }
        if let (Some(record), Ok(key)) = (became_empty, self.coordinates(node, name)) {
            let own = self.own_caller(node);
            // Where the record cannot be stored, the next coordinator finds the members gone silent.
            let _ = self.store_group_records(ctx, &own, key, &[record], Then::Nothing);
        }
        for (ticket, response) in answers {
            self.answer(ticket, response);
        }
        self.arm_group(ctx, node, name);
    }

    /// Sets the timer for the next thing that happens to a group by itself.
    pub(super) fn arm_group(&mut self, ctx: &Context<'_>, node: NodeId, name: &str) {
        let Ok(Some(group)) = self.group_mut(node, name) else { return };
        let sessions = group.members.values().filter(|member| !member.waits()).map(|member| member.session_ends);
        let assigned = group.consumer.as_ref().and_then(super::ConsumerGroup::next_wake);
        let next = sessions.chain(group.pending.values().copied()).chain(group.rebalance_ends).chain(assigned).min();
        let Some(next) = next.filter(|next| group.armed_for.is_none_or(|armed| *next < armed)) else { return };
        // A moment that is past would be due within the same round of timers for ever.
        let next = next.max(ctx.now() + Duration::from_millis(1));
        group.armed_for = Some(next);
        self.set_timer(next, Timer::Group(node, name.to_owned()));
    }

    /// Tells everyone who waits for a group that it is elsewhere now.
    pub(super) fn dismiss(&mut self, mut group: Group, error: ErrorCode) {
        let mut answers = Vec::new();
        for id in group.members.keys().cloned().collect::<Vec<_>>() {
            group.remove_member(&id, error, &mut answers);
        }
        for (ticket, response) in answers {
            self.answer(ticket, response);
        }
    }
}

/// Since version 5 both must be named; whoever does not is told so before anything else.
pub(crate) fn lacks_protocol(request: &SyncGroupRequest, version: i16) -> bool {
    version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none())
}

/// What a member is told when its group could not be stored.
pub(crate) fn storing_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        other => other,
    }
}

pub(super) fn join_error(error: ErrorCode, member_id: &str) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: error.code(),
        generation_id: -1,
        member_id: member_id.to_owned(),
        protocol_name: None,
        ..JoinGroupResponse::default()
    }
}

impl Member {
    pub(super) fn heard_of(&mut self, now: Moment) {
        self.session_ends = now + milliseconds(self.session_timeout_ms);
    }

    /// Whoever waits for an answer cannot send heartbeats.
    fn waits(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }

    fn is_silent(&self, now: Moment) -> bool {
        !self.waits() && self.session_ends <= now
    }
}

impl Group {
    /// Whether the request shares the group's protocol type, and a protocol with all members.
    fn accepts(&self, request: &JoinGroupRequest) -> bool {
        if request.protocols.is_empty() || request.protocol_type.is_empty() {
            return false;
        }
        let others = self.members.iter().filter(|(id, _)| **id != request.member_id);
        let (mut shared, mut alone): (Vec<&str>, bool) =
            (request.protocols.iter().map(|protocol| protocol.name.as_str()).collect(), true);
        for (_, member) in others {
            alone = false;
            shared.retain(|name| member.protocols.iter().any(|(other, _)| other == name));
        }
        alone || (self.protocol_type == request.protocol_type && !shared.is_empty())
    }

    /// The member id that the request is made under, or why there is none.
    fn identify(
        &mut self,
        request: &JoinGroupRequest,
        new_id: &str,
        version: i16,
        size_max: usize,
        now: Moment,
    ) -> Result<String, (ErrorCode, Option<String>)> {
        let session = milliseconds(request.session_timeout_ms);
        let full = self.members.len() >= size_max;
        let instance = request.group_instance_id.as_ref();
        match (request.member_id.as_str(), instance) {
            ("", _) if full => Err((ErrorCode::GroupMaxSizeReached, None)),
            ("", Some(_)) => Ok(new_id.to_owned()),
            ("", None) if version >= 4 => {
                self.pending.insert(new_id.to_owned(), now + session);
                Err((ErrorCode::MemberIdRequired, Some(new_id.to_owned())))
            }
            ("", None) => Ok(new_id.to_owned()),
            (id, Some(instance)) => match self.instances.get(instance) {
                Some(held) if held == id => Ok(id.to_owned()),
                Some(_) => Err((ErrorCode::FencedInstanceId, None)),
                None => Err((ErrorCode::UnknownMemberId, None)),
            },
            (id, None) if self.pending.remove(id).is_some() => Ok(id.to_owned()),
            (id, None) if self.members.contains_key(id) => Ok(id.to_owned()),
            _ => Err((ErrorCode::UnknownMemberId, None)),
        }
    }

    /// Lets a member join. The answer, unless it comes when all have joined.
    fn join(
        &mut self,
        now: Moment,
        caller: &Caller,
        request: JoinGroupRequest,
        id: String,
        delay_ms: u64,
        answers: &mut Vec<Answer>,
    ) -> Option<JoinGroupResponse> {
        let protocols: Vec<(String, Bytes)> =
            request.protocols.into_iter().map(|protocol| (protocol.name, protocol.metadata)).collect();
        let mut member = Member {
            instance_id: request.group_instance_id.clone(),
            client_id: caller.client_id.clone(),
            client_host: caller.host.clone(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols,
            assignment: Bytes::new(),
            session_ends: now,
            joining: None,
            syncing: None,
        };
        member.heard_of(now);
        self.protocol_type = request.protocol_type;
        if let Some(instance) = &request.group_instance_id
            && let Some(old) = self.instances.get(instance).filter(|old| **old != id).cloned()
            && let Some(response) = self.replace_static(&old, &id, &member, caller.version, answers)
        {
            return Some(response);
        }
        let before = self.members.get(&id);
        let unchanged = before.is_some_and(|before| before.protocols == member.protocols);
        let is_leader = self.leader.as_ref() == Some(&id);
        let answers_at_once = match self.phase {
            Phase::Stable => unchanged && !is_leader,
            Phase::CompletingRebalance => unchanged,
            Phase::Empty | Phase::PreparingRebalance => false,
        };
        if answers_at_once {
            self.members.get_mut(&id).into_iter().for_each(|member| member.heard_of(now));
            return Some(self.join_answer(&id));
        }
        member.assignment = before.map(|before| before.assignment.clone()).unwrap_or_default();
        member.joining = Some((caller.ticket, caller.version));
        if let Some(instance) = &member.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.members.insert(id, member);
        self.prepare_rebalance(now, delay_ms, answers);
        None
    }

    /// A restarted static member takes the place of what it was. In a stable group nobody else need notice.
    fn replace_static(
        &mut self,
        old: &str,
        id: &str,
        member: &Member,
        version: i16,
        answers: &mut Vec<Answer>,
    ) -> Option<JoinGroupResponse> {
        let before = self.members.get(old).cloned()?;
        let was_leader = self.leader.as_deref() == Some(old);
        self.remove_member(old, ErrorCode::FencedInstanceId, answers);
        if was_leader {
            self.leader = Some(id.to_owned());
        }
        if let Some(instance) = &member.instance_id {
            self.instances.insert(instance.clone(), id.to_owned());
        }
        let same = self.subscription(&before) == self.subscription(member);
        if self.phase != Phase::Stable || !same {
            return None;
        }
        self.members.insert(id.to_owned(), Member { assignment: before.assignment, ..member.clone() });
        let mut response = self.join_answer(id);
        if was_leader {
            // Older clients would compute an assignment that nobody waits for if they were told that they lead.
            match version {
                9.. => response.skip_assignment = true,
                _ => (response.leader, response.members) = (old.to_owned(), Vec::new()),
            }
        }
        Some(response)
    }

    /// Everyone is to join again. A group's first rebalance waits `delay_ms` for more members.
    pub(super) fn prepare_rebalance(&mut self, now: Moment, delay_ms: u64, answers: &mut Vec<Answer>) {
        if self.phase == Phase::CompletingRebalance {
            self.fail_syncs(ErrorCode::RebalanceInProgress, answers);
        }
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0);
        let longest = milliseconds(longest);
        let delay = Duration::from_millis(delay_ms).min(longest);
        match self.phase {
            Phase::Empty => {
                self.first_rebalance_until = Some(now + longest).filter(|_| delay_ms > 0);
                self.rebalance_ends = Some(now + delay);
            }
            Phase::PreparingRebalance => {
                if let Some(until) = self.first_rebalance_until {
                    self.rebalance_ends = Some((now + delay).min(until));
                }
            }
            Phase::CompletingRebalance | Phase::Stable => {
                self.first_rebalance_until = None;
                self.rebalance_ends = Some(now + longest);
            }
        }
        self.phase = Phase::PreparingRebalance;
        self.try_complete_join(now, answers);
    }

    fn try_complete_join(&mut self, now: Moment, answers: &mut Vec<Answer>) {
        let all_joined = self.members.values().all(|member| member.joining.is_some());
        let first_waits = self.first_rebalance_until.is_some();
        if self.phase == Phase::PreparingRebalance && all_joined && self.pending.is_empty() && !first_waits {
            self.complete_join(now, answers);
        }
    }

    /// The new generation begins with those who have joined.
    fn complete_join(&mut self, now: Moment, answers: &mut Vec<Answer>) {
        let absent = |(id, member): (&String, &Member)| {
            (member.joining.is_none() && member.instance_id.is_none()).then(|| id.clone())
        };
        for id in self.members.iter().filter_map(absent).collect::<Vec<_>>() {
            self.remove_member(&id, ErrorCode::UnknownMemberId, answers);
        }
        self.first_rebalance_until = None;
        self.rebalance_ends = None;
        if self.members.is_empty() {
            return;
        }
        self.generation += 1;
        self.protocol = self.vote();
        if !self.leader.as_ref().is_some_and(|leader| self.members.contains_key(leader)) {
            let joined = self.members.iter().find(|(_, member)| member.joining.is_some());
            self.leader = joined.or_else(|| self.members.iter().next()).map(|(id, _)| id.clone());
        }
        self.phase = Phase::CompletingRebalance;
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0);
        self.rebalance_ends = Some(now + milliseconds(longest));
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let response = self.join_answer(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.heard_of(now);
            member.assignment = Bytes::new();
            if let Some((ticket, _)) = member.joining.take() {
                answers.push((ticket, Response::JoinGroup(response)));
            }
        }
    }

    /// The protocol that most members like best among those that all know.
    pub(super) fn vote(&self) -> Option<String> {
        let known_by_all =
            |name: &str| self.members.values().all(|member| member.protocols.iter().any(|(other, _)| other == name));
        let mut votes: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
        for member in self.members.values() {
            let choice = member.protocols.iter().find(|(name, _)| known_by_all(name));
            if let Some((name, _)) = choice {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
    }

    /// What a member is told of the present generation; only the leader is told the members.
    fn join_answer(&self, id: &str) -> JoinGroupResponse {
        let leads = self.leader.as_deref() == Some(id);
        let describe = |(id, member): (&String, &Member)| JoinGroupResponseMember {
            member_id: id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: self.subscription(member),
        };
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: Some(self.protocol_type.clone()),
            protocol_name: Some(self.protocol.clone().unwrap_or_default()),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: id.to_owned(),
            members: if leads { self.members.iter().map(describe).collect() } else { Vec::new() },
            ..JoinGroupResponse::default()
        }
    }

    fn assignment_of(&self, id: &str) -> SyncGroupResponse {
        SyncGroupResponse {
            protocol_type: Some(self.protocol_type.clone()),
            protocol_name: self.protocol.clone(),
            assignment: self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default(),
            ..SyncGroupResponse::default()
        }
    }

    fn become_stable(&mut self, answers: &mut Vec<Answer>) {
        self.phase = Phase::Stable;
        self.rebalance_ends = None;
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let response = self.assignment_of(&id);
            if let Some(ticket) = self.members.get_mut(&id).and_then(|member| member.syncing.take()) {
                answers.push((ticket, Response::SyncGroup(response)));
            }
        }
    }

    fn fail_syncs(&mut self, error: ErrorCode, answers: &mut Vec<Answer>) {
        for member in self.members.values_mut() {
            if let Some(ticket) = member.syncing.take() {
                let response = SyncGroupResponse { error_code: error.code(), ..SyncGroupResponse::default() };
                answers.push((ticket, Response::SyncGroup(response)));
            }
        }
    }

    /// Removes a member; if it waits for an answer, it gets this error. False if there is none of that id.
    pub(super) fn remove_member(&mut self, id: &str, error: ErrorCode, answers: &mut Vec<Answer>) -> bool {
        let Some(member) = self.members.remove(id) else { return false };
        if let Some(instance) = &member.instance_id
            && self.instances.get(instance).is_some_and(|held| held == id)
        {
            self.instances.remove(instance);
        }
        if let Some((ticket, _)) = member.joining {
            answers.push((ticket, Response::JoinGroup(join_error(error, id))));
        }
        if let Some(ticket) = member.syncing {
            let response = SyncGroupResponse { error_code: error.code(), ..SyncGroupResponse::default() };
            answers.push((ticket, Response::SyncGroup(response)));
        }
        true
    }

    /// Somebody left: those who stay share the work anew.
    fn member_left(&mut self, now: Moment, answers: &mut Vec<Answer>) {
        match self.phase {
            Phase::Stable | Phase::CompletingRebalance => self.prepare_rebalance(now, 0, answers),
            Phase::PreparingRebalance => self.try_complete_join(now, answers),
            Phase::Empty => {}
        }
    }

    /// Whether a request comes from a member of this generation.
    fn check_member(&self, id: &str, instance: Option<&str>, generation: Option<i32>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                Some(held) if held == id => {}
                Some(_) => return Err(ErrorCode::FencedInstanceId),
                None => return Err(ErrorCode::UnknownMemberId),
            }
        }
        if !self.members.contains_key(id) {
            return Err(ErrorCode::UnknownMemberId);
        }
        match generation {
            Some(generation) if generation != self.generation => Err(ErrorCode::IllegalGeneration),
            _ => Ok(()),
        }
    }

    pub(super) fn to_record(&self, name: &str, timestamp: i64) -> GroupRecord {
        let member = |(id, member): (&String, &Member)| (id.clone(), member.clone(), self.subscription(member));
        let metadata = Metadata {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            timestamp,
            members: self.members.iter().map(member).collect(),
        };
        GroupRecord::Group { group: name.to_owned(), metadata: Some(metadata) }
    }
}
