//! FindCoordinator (10), versions 0–6: which broker coordinates a group or a transactional id. The topic that keeps
//! them is made on first use.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_FindCoordinator>

use atoll_kernel::{Context, NodeId};

use super::address;
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::security::acl::Operation;
use crate::state::image::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
use crate::wire::Response;
use crate::wire::generated::find_coordinator_response::Coordinator;
use crate::wire::generated::{FindCoordinatorRequest, FindCoordinatorResponse};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: FindCoordinatorRequest,
) -> Outcome {
    let batched = caller.version >= 4;
    let keys = if batched { request.coordinator_keys } else { vec![request.key] };
    let coordinators: Vec<Coordinator> =
        keys.into_iter().map(|key| find(cluster, ctx, caller, request.key_type, key)).collect();
    let mut response = FindCoordinatorResponse::default();
    // A success is called NONE in the versions with one key. Those with several have no words for anything.
    if batched {
        let wordless = |found| Coordinator { error_message: Some(String::new()), ..found };
        response.coordinators = coordinators.into_iter().map(wordless).collect();
    } else if let Some(found) = coordinators.into_iter().next() {
        response.error_code = found.error_code;
        response.error_message = found.error_message.filter(|reason| !reason.is_empty()).or(Some("NONE".to_owned()));
        (response.node_id, response.host, response.port) = (found.node_id, found.host, found.port);
    }
    Response::FindCoordinator(response).into()
}

fn find(cluster: &mut Cluster, ctx: &Context<'_>, caller: &Caller, key_type: i8, key: String) -> Coordinator {
    match locate(cluster, ctx, caller, key_type, &key) {
        Ok(node) => {
            let (host, port) = address(ctx, caller, node);
            let error_message = Some(String::new());
            Coordinator { key, node_id: i32::from(node.0), host, port, error_code: 0, error_message }
        }
        Err((error, reason)) => {
            let error_message = Some(reason.to_owned());
            Coordinator { key, node_id: -1, host: String::new(), port: -1, error_code: error.code(), error_message }
        }
    }
}

fn locate(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    key_type: i8,
    key: &str,
) -> Result<NodeId, (ErrorCode, &'static str)> {
    if !matches!(key_type, GROUP | TRANSACTION) {
        return Err((ErrorCode::InvalidRequest, "Only groups and transactions have coordinators here."));
    }
    let of_group = key_type == GROUP;
    if of_group && !cluster.may_group(caller, Operation::Describe, key) {
        return Err((ErrorCode::GroupAuthorizationFailed, "Group authorization failed."));
    }
    if !of_group && !cluster.may_transact(caller, Operation::Describe, key) {
        return Err((ErrorCode::TransactionalIdAuthorizationFailed, "Transactional Id authorization failed."));
    }
    let kept_in = if of_group { OFFSETS_TOPIC } else { TRANSACTIONS_TOPIC };
    let not_available = (ErrorCode::CoordinatorNotAvailable, "The coordinator is not available.");
    let known = cluster.brokers.get(&caller.node).is_some_and(|broker| broker.image.topics.contains_key(kept_in));
    if !known && cluster.controller_near(ctx, caller.node) {
        let made = if of_group { cluster.ensure_offsets_topic(ctx) } else { cluster.ensure_transactions_topic(ctx) };
        if made {
            cluster.settle(ctx);
        }
    }
    let found = match of_group {
        true => cluster.group_partition(caller.node, key),
        false => cluster.transaction_partition(caller.node, key),
    };
    let (_, leader) = found.map_err(|_| not_available)?;
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let leader = leader.map(NodeId).filter(|leader| image.is_some_and(|image| image.is_active(*leader)));
    leader.ok_or(not_available)
}
