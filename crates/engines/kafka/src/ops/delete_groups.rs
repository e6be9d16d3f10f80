//! DeleteGroups (42), versions 0–2: groups without members go, with their offsets.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DeleteGroups>

use atoll_kernel::Context;

use super::code;
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::security::acl::Operation;
use crate::wire::Response;
use crate::wire::generated::delete_groups_response::DeletableGroupResult;
use crate::wire::generated::{DeleteGroupsRequest, DeleteGroupsResponse};

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: DeleteGroupsRequest,
) -> Outcome {
    let mut results = Vec::new();
    for group_id in request.groups_names {
        let error_code = match cluster.may_group(caller, Operation::Delete, &group_id) {
            true => code(cluster.delete_group(ctx, caller, &group_id)),
            false => ErrorCode::GroupAuthorizationFailed.code(),
        };
        results.push(DeletableGroupResult { group_id, error_code });
    }
    Response::DeleteGroups(DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() }).into()
}
