//! LeaveGroup (13), versions 0–5: members leave; since version 3 several at once, also by their instance ids.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_LeaveGroup>

use atoll_kernel::Context;

use super::code;
use crate::cluster::{Caller, Cluster, Outcome};
use crate::wire::Response;
use crate::wire::generated::leave_group_response::MemberResponse;
use crate::wire::generated::{LeaveGroupRequest, LeaveGroupResponse};

pub(super) fn apply(cluster: &mut Cluster, ctx: &Context<'_>, caller: &Caller, request: LeaveGroupRequest) -> Outcome {
    let (node, group) = (caller.node, &request.group_id);
    let mut response = LeaveGroupResponse::default();
    if caller.version < 3 {
        response.error_code = code(cluster.leave_group(ctx, node, group, &request.member_id, None));
        return Response::LeaveGroup(response).into();
    }
    match cluster.group(node, group).map(|found| found.is_some_and(|found| found.consumer.is_some())) {
        Err(error) => {
            response.error_code = error.code();
            return Response::LeaveGroup(response).into();
        }
        Ok(true) => {
            response.members = cluster.leave_together(ctx, node, group, request.members);
            return Response::LeaveGroup(response).into();
        }
        Ok(false) => {}
    }
    for member in request.members {
        let left = cluster.leave_group(ctx, node, group, &member.member_id, member.group_instance_id.as_deref());
        response.members.push(MemberResponse {
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
            error_code: code(left),
        });
    }
    Response::LeaveGroup(response).into()
}
