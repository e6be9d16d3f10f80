//! ListGroups (16), versions 0–5: the groups that this broker coordinates. A client asks all brokers.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_ListGroups>

use crate::cluster::{Caller, Cluster, Outcome};
use crate::groups::{CONSUMER, Group};
use crate::security::acl::Operation;
use crate::wire::Response;
use crate::wire::generated::list_groups_response::ListedGroup;
use crate::wire::generated::{ListGroupsRequest, ListGroupsResponse};

pub(super) fn apply(cluster: &Cluster, caller: &Caller, request: &ListGroupsRequest) -> Outcome {
    let wanted =
        |filter: &[String], value: &str| filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(value));
    let sees_all = cluster.may_cluster(caller, Operation::Describe);
    let sees = |group: &str| sees_all || cluster.may_group(caller, Operation::Describe, group);
    let groups = cluster
        .groups
        .of(caller.node)
        .filter(|(name, _)| sees(name))
        .filter(|(_, group)| {
            wanted(&request.states_filter, group.state_name()) && wanted(&request.types_filter, kind(group))
        })
        .map(|(name, group)| ListedGroup {
            group_id: name.clone(),
            protocol_type: match group.consumer {
                Some(_) => CONSUMER.to_owned(),
                None => group.protocol_type.clone(),
            },
            group_state: group.state_name().to_owned(),
            group_type: kind(group).to_owned(),
        });
    Response::ListGroups(ListGroupsResponse { groups: groups.collect(), ..ListGroupsResponse::default() }).into()
}

/// Which protocol a group speaks.
fn kind(group: &Group) -> &'static str {
    if group.consumer.is_some() { "consumer" } else { "classic" }
}
