//! Members of the classic protocol in a group of KIP-848 (its part "online migration"): they join, sync and beat as ever, but the
//! coordinator assigns. What others call an epoch is their generation; a heartbeat tells them to join again whenever there is
//! something for them to give up or to get, and the assignment comes with the next sync.
//!
//! <https://cwiki.apache.org/confluence/display/KAFKA/KIP-848%3A+The+Next+Generation+of+the+Consumer+Rebalance+Protocol>

use std::collections::BTreeSet;

use atoll_kernel::{Context, NodeId};

use super::consumer::{ClassicMember, ConsumerGroup, ConsumerMember, MemberState};
use super::heartbeat::settle;
use super::membership::join_error;
use super::migration::Going;
use super::{protocol, storing_error};
use crate::cluster::{Caller, Cluster, Outcome, base64_url, milliseconds};
use crate::error::ErrorCode;
use crate::wire::generated::leave_group_request::MemberIdentity;
use crate::wire::generated::leave_group_response::MemberResponse;
use crate::wire::generated::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use crate::wire::{Response, consumer_protocol};

/// The version of JoinGroup since which members are told their ids before they count.
const IDS_FIRST_SINCE: i16 = 4;

fn not_joined(error: ErrorCode) -> Response {
    Response::JoinGroup(join_error(storing_error(error), ""))
}

impl Cluster {
    /// JoinGroup of a group of KIP-848 that has members.
    pub(super) fn join_as_classic(&mut self, ctx: &Context<'_>, caller: &Caller, request: JoinGroupRequest) -> Outcome {
        let id = match request.member_id.as_str() {
            "" => base64_url(self.random_id(ctx, "kafka.member-id")),
            id => id.to_owned(),
        };
        self.try_join_as_classic(ctx, caller, &id, request)
            .unwrap_or_else(|error| Response::JoinGroup(join_error(error, "")).into())
    }

    fn try_join_as_classic(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        id: &str,
        request: JoinGroupRequest,
    ) -> Result<Outcome, ErrorCode> {
        let name = request.group_id.clone();
        let found = self.group(caller.node, &name)?.and_then(|group| group.consumer.as_ref());
        let mut group = found.cloned().ok_or(ErrorCode::UnknownMemberId)?;
        if group.is_full(id, self.config.group_consumer_max_size) {
            return Err(ErrorCode::GroupMaxSizeReached);
        }
        if !group.shares_an_assignor_with(&request) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let instance = request.group_instance_id.as_deref();
        if request.member_id.is_empty() && instance.is_none() && caller.version >= IDS_FIRST_SINCE {
            return Ok(Response::JoinGroup(join_error(ErrorCode::MemberIdRequired, id)).into());
        }
        let replaced = instance.and_then(|instance| group.static_member(instance)).map(|(held, _)| held.clone());
        let downgrades = replaced.as_ref().is_some_and(|held| self.may_downgrade_for(&group, held));
        let known = group.identify_classic(id, &request)?;
        let Some(view) = self.group_view(ctx, caller.node, &name) else { return Ok(Outcome::Close) };
        let first = request.protocols.first().ok_or(ErrorCode::InconsistentGroupProtocol)?;
        let (protocol_name, subscription) = (first.name.clone(), first.metadata.clone());
        let told = consumer_protocol::read_subscription(subscription).map_err(|_| ErrorCode::UnknownServerError)?;
        let owned = protocol::by_id(&told.owned, view.image);
        let topic_names: BTreeSet<String> = told.topics.iter().cloned().collect();
        let reads_anew = topic_names != known.topic_names;
        let mut member = ConsumerMember { topic_names, ..known };
        member.instance_id = request.group_instance_id.clone().or(member.instance_id);
        member.rack_id = told.rack_id.or(member.rack_id);
        if request.rebalance_timeout_ms != -1 {
            member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        }
        (member.client_id, member.client_host) = (caller.client_id.clone(), caller.host.clone());
        let protocols = request.protocols.into_iter().map(|protocol| (protocol.name, protocol.metadata)).collect();
        member.classic = Some(ClassicMember { session_timeout_ms: request.session_timeout_ms, protocols });
        member.session_ends = view.now + milliseconds(request.session_timeout_ms);
        (member.join_ends, member.revocation_ends) = (None, None);
        member.sync_ends = Some(view.now + milliseconds(request.rebalance_timeout_ms));
        settle(&mut group, id, member, reads_anew, Some(&owned), &view);
        let Some(member) = group.members.get(id) else { return Err(ErrorCode::UnknownMemberId) };
        let response = Response::JoinGroup(JoinGroupResponse {
            generation_id: member.epoch,
            protocol_type: Some(protocol::CONSUMER.to_owned()),
            protocol_name: Some(protocol_name),
            member_id: id.to_owned(),
            ..JoinGroupResponse::default()
        });
        if let (Some(held), true) = (replaced, downgrades) {
            let going = Going::Replaced { held: &held, id, by: Box::new(member.clone()) };
            return Ok(self.downgrade(ctx, caller, &name, going, response, not_joined));
        }
        Ok(self.keep_consumer_group(ctx, caller, &name, group, response, not_joined))
    }

    /// SyncGroup of a group of KIP-848: a member learns what the coordinator has assigned to it.
    pub(super) fn sync_as_classic(
        &mut self,
        ctx: &Context<'_>,
        node: NodeId,
        request: &SyncGroupRequest,
    ) -> Result<SyncGroupResponse, ErrorCode> {
        let name = &request.group_id;
        let (id, instance) = (&request.member_id, request.group_instance_id.as_deref());
        let image = self.brokers.get(&node).map(|broker| &broker.image).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let found = self.group(node, name)?.and_then(|group| group.consumer.as_ref());
        let group = found.ok_or(ErrorCode::UnknownMemberId)?;
        let (member, classic) = group.classic_member(id, instance, request.generation_id)?;
        let first = classic.protocols.first().ok_or(ErrorCode::InconsistentGroupProtocol)?;
        let differs = |given: &Option<String>, held: &str| given.as_deref().is_some_and(|given| given != held);
        if differs(&request.protocol_type, protocol::CONSUMER) || differs(&request.protocol_name, &first.0) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        // While it is to give partitions up it has joined already, and is told with its next heartbeat to do so again.
        let is_behind = group.epoch > member.epoch && member.state != MemberState::UnrevokedPartitions;
        let assignment = protocol::write_assignment(&member.assigned, &first.1, image);
        self.heard_of_classic(ctx, node, name, id, is_behind, !is_behind);
        if is_behind {
            return Err(ErrorCode::RebalanceInProgress);
        }
        let (protocol_type, protocol_name) = (request.protocol_type.clone(), request.protocol_name.clone());
        Ok(SyncGroupResponse { protocol_type, protocol_name, assignment, ..SyncGroupResponse::default() })
    }

    /// Heartbeat in a group of KIP-848: a member learns whether to join again.
    pub(super) fn beat_as_classic(
        &mut self,
        ctx: &Context<'_>,
        node: NodeId,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let (name, id) = (&request.group_id, &request.member_id);
        let found = self.group(node, name)?.and_then(|group| group.consumer.as_ref());
        let group = found.ok_or(ErrorCode::UnknownMemberId)?;
        let (member, _) = group.classic_member(id, request.group_instance_id.as_deref(), request.generation_id)?;
        let is_behind = match member.state {
            _ if member.epoch < group.epoch => true,
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !group.waits_for_others(id),
            MemberState::Stable => false,
        };
        self.heard_of_classic(ctx, node, name, id, is_behind, false);
        if is_behind { Err(ErrorCode::RebalanceInProgress) } else { Ok(()) }
    }

    /// A member lives, is told to join again, or has been told its assignment.
    fn heard_of_classic(
        &mut self,
        ctx: &Context<'_>,
        node: NodeId,
        name: &str,
        id: &str,
        is_to_join: bool,
        has_synced: bool,
    ) {
        let Ok(Some(group)) = self.group_mut(node, name) else { return };
        let Some(member) = group.consumer.as_mut().and_then(|group| group.members.get_mut(id)) else { return };
        let session = member.classic.as_ref().map(|classic| milliseconds(classic.session_timeout_ms));
        member.session_ends = ctx.now() + session.unwrap_or_default();
        if is_to_join {
            // Whoever is told again has no more time for it.
            member.join_ends = member.join_ends.or(Some(ctx.now() + milliseconds(member.rebalance_timeout_ms)));
        }
        if has_synced {
            member.sync_ends = None;
        }
        self.arm_group(ctx, node, name);
    }

    /// LeaveGroup of a group of KIP-848: all who leave, leave at once.
    pub(crate) fn leave_together(
        &mut self,
        ctx: &Context<'_>,
        node: NodeId,
        name: &str,
        members: Vec<MemberIdentity>,
    ) -> Vec<MemberResponse> {
        let found = self.group(node, name).ok().flatten().and_then(|group| group.consumer.as_ref());
        let (mut leaving, mut responses) = (BTreeSet::new(), Vec::new());
        for MemberIdentity { member_id, group_instance_id, .. } in members {
            let left = found.ok_or(ErrorCode::UnknownMemberId);
            let error_code = match left.and_then(|group| group.leaving(&member_id, group_instance_id.as_deref())) {
                Ok(id) => {
                    leaving.insert(id);
                    0
                }
                Err(error) => error.code(),
            };
            responses.push(MemberResponse { member_id, group_instance_id, error_code });
        }
        let leaving: Vec<String> = leaving.into_iter().collect();
        self.remove_consumer_members(ctx, node, name, &leaving);
        responses
    }
}

impl ConsumerGroup {
    /// The member that leaves by an id or an instance.
    pub(super) fn leaving(&self, member_id: &str, instance_id: Option<&str>) -> Result<String, ErrorCode> {
        match instance_id.map(|instance| self.static_member(instance)) {
            Some(Some((id, _))) if member_id.is_empty() || id == member_id => Ok(id.clone()),
            Some(Some(_)) => Err(ErrorCode::FencedInstanceId),
            None if self.members.contains_key(member_id) => Ok(member_id.to_owned()),
            Some(None) | None => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// Whether some assignor of a joining member is known to all others that speak the classic protocol.
    fn shares_an_assignor_with(&self, request: &JoinGroupRequest) -> bool {
        let knows = |classic: &ClassicMember, name: &str| classic.protocols.iter().any(|(known, _)| known == name);
        request.protocol_type == protocol::CONSUMER
            && request.protocols.iter().any(|asked| {
                let mut others = self.members.values().filter_map(|member| member.classic.as_ref());
                others.all(|classic| knows(classic, &asked.name))
            })
    }

    /// The member that joins, as it was before: a new one has nothing. A static one takes the place of its former self.
    fn identify_classic(&mut self, id: &str, request: &JoinGroupRequest) -> Result<ConsumerMember, ErrorCode> {
        let Some(instance) = request.group_instance_id.as_deref() else {
            return Ok(self.members.get(id).cloned().unwrap_or_default());
        };
        let found = self.static_member(instance).map(|(held, member)| (held.clone(), member.clone()));
        match found {
            None if request.member_id.is_empty() => Ok(ConsumerMember::default()),
            None => Err(ErrorCode::UnknownMemberId),
            Some((held, member)) if request.member_id.is_empty() => {
                self.give_place(&held, id);
                Ok(ConsumerMember { epoch: 0, previous_epoch: 0, ..member })
            }
            Some((held, _)) if held != id => Err(ErrorCode::FencedInstanceId),
            Some((_, member)) => Ok(member),
        }
    }

    /// The member of the classic protocol that a request is from, if it is of this generation.
    fn classic_member(
        &self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(&ConsumerMember, &ClassicMember), ErrorCode> {
        let member = match instance {
            None => self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?,
            Some(instance) => match self.static_member(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some((held, _)) if held != id => return Err(ErrorCode::FencedInstanceId),
                Some((_, member)) => member,
            },
        };
        match &member.classic {
            None => Err(ErrorCode::UnknownMemberId),
            Some(_) if member.epoch != generation => Err(ErrorCode::IllegalGeneration),
            Some(classic) => Ok((member, classic)),
        }
    }
}
