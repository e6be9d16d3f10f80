//! ConsumerGroupDescribe (69), versions 0–1: a KIP-848 group's epochs, and what each member has and is to have.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_ConsumerGroupDescribe>

use super::{OPERATIONS_NOT_ASKED, consumer_group_heartbeat};
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::groups::{Assignment, ConsumerGroup, ConsumerMember};
use crate::security::acl::{Operation, ResourceType};
use crate::state::image::Image;
use crate::wire::Response;
use crate::wire::generated::consumer_group_describe_response as wire;
use crate::wire::generated::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};

/// A member of the classic protocol, and one of this.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

pub(super) fn apply(cluster: &Cluster, caller: &Caller, request: ConsumerGroupDescribeRequest) -> Outcome {
    let Some(image) = cluster.brokers.get(&caller.node).map(|broker| &broker.image) else { return Outcome::Close };
    let is_enabled = consumer_group_heartbeat::is_enabled(cluster, caller);
    let describe = |group_id: String| {
        let mut described = wire::DescribedGroup {
            authorized_operations: OPERATIONS_NOT_ASKED,
            group_id,
            ..wire::DescribedGroup::default()
        };
        let name = &described.group_id;
        let refusal = match cluster.group(caller.node, name) {
            _ if !cluster.may_group(caller, Operation::Describe, name) => {
                Some((ErrorCode::GroupAuthorizationFailed, None))
            }
            _ if !is_enabled => Some((ErrorCode::UnsupportedVersion, None)),
            Err(error) => Some((error, None)),
            Ok(None) => Some((ErrorCode::GroupIdNotFound, Some(format!("Group {name} not found.")))),
            Ok(Some(group)) => match &group.consumer {
                None => Some((ErrorCode::GroupIdNotFound, Some(format!("Group {name} is not a consumer group.")))),
                Some(consumer) => {
                    fill(&mut described, consumer, image);
                    None
                }
            },
        };
        if let Some((error, reason)) = refusal {
            (described.error_code, described.error_message) = (error.code(), reason);
        } else if request.include_authorized_operations {
            let name = &described.group_id;
            described.authorized_operations = cluster.authorized_operations(caller, ResourceType::Group, name);
        }
        described
    };
    let groups = request.group_ids.into_iter().map(describe).collect();
    Response::ConsumerGroupDescribe(ConsumerGroupDescribeResponse { groups, ..Default::default() }).into()
}

fn fill(described: &mut wire::DescribedGroup, group: &ConsumerGroup, image: &Image) {
    described.group_state = group.state_name().to_owned();
    (described.group_epoch, described.assignment_epoch) = (group.epoch, group.assignment_epoch);
    described.assignor_name = group.assignor().to_owned();
    let nothing = Assignment::new();
    let member = |(id, member): (&String, &ConsumerMember)| wire::Member {
        member_id: id.clone(),
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        member_epoch: member.epoch,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.topic_names.iter().cloned().collect(),
        subscribed_topic_regex: member.topic_regex.clone().filter(|regex| !regex.is_empty()),
        assignment: assignment(&member.assigned, image),
        target_assignment: assignment(group.target.get(id).unwrap_or(&nothing), image),
        member_type: if member.classic.is_some() { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
    };
    described.members = group.members.iter().map(member).collect();
}

fn assignment(assignment: &Assignment, image: &Image) -> wire::Assignment {
    let topics = assignment.iter().filter_map(|(topic_id, partitions)| {
        let topic_name = image.names.get(topic_id)?.clone();
        let partitions = partitions.iter().copied().collect();
        Some(wire::TopicPartitions { topic_id: *topic_id, topic_name, partitions })
    });
    wire::Assignment { topic_partitions: topics.collect() }
}
