//! DescribeGroups (15), versions 0–6: a group's phase, protocol and members. One that is not there is dead, which since version 6 is
//! an error with a message.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeGroups>

use super::OPERATIONS_NOT_ASKED;
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::groups::{Group, Phase};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::Response;
use crate::wire::generated::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::wire::generated::{DescribeGroupsRequest, DescribeGroupsResponse};

pub(super) fn apply(cluster: &Cluster, caller: &Caller, request: DescribeGroupsRequest) -> Outcome {
    let describe = |group_id: String| {
        let mut described =
            DescribedGroup { group_id, authorized_operations: OPERATIONS_NOT_ASKED, ..DescribedGroup::default() };
        if !cluster.may_group(caller, Operation::Describe, &described.group_id) {
            described.error_code = ErrorCode::GroupAuthorizationFailed.code();
            return described;
        }
        match cluster.group(caller.node, &described.group_id) {
            Err(error) => described.error_code = error.code(),
            Ok(found) if found.is_none_or(|group| group.consumer.is_some()) => {
                described.group_state = "Dead".to_owned();
                if caller.version >= 6 {
                    described.error_code = ErrorCode::GroupIdNotFound.code();
                    described.error_message = Some(match found {
                        None => format!("Group {} not found.", described.group_id),
                        Some(_) => format!("Group {} is not a classic group.", described.group_id),
                    });
                }
            }
            Ok(None) => {}
            Ok(Some(group)) => fill(&mut described, group),
        }
        if request.include_authorized_operations && described.error_code == 0 {
            let name = &described.group_id;
            described.authorized_operations = cluster.authorized_operations(caller, ResourceType::Group, name);
        }
        described
    };
    let groups = request.groups.into_iter().map(describe).collect();
    Response::DescribeGroups(DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() }).into()
}

fn fill(described: &mut DescribedGroup, group: &Group) {
    let settled = group.phase == Phase::Stable;
    described.group_state = group.phase.name().to_owned();
    described.protocol_type = group.protocol_type.clone();
    described.protocol_data = group.protocol.clone().filter(|_| settled).unwrap_or_default();
    let members = group.members.iter().map(|(id, member)| DescribedGroupMember {
        member_id: id.clone(),
        group_instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        member_metadata: if settled { group.subscription(member) } else { bytes::Bytes::new() },
        member_assignment: if settled { member.assignment.clone() } else { bytes::Bytes::new() },
    });
    described.members = members.collect();
}
