//! ConsumerGroupHeartbeat (68), versions 0–1: a member of a KIP-848 group joins, says that it lives, or leaves. Since version 1 it
//! names itself, and may read what a regular expression matches.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_ConsumerGroupHeartbeat>

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::features::{self, GROUP_VERSION};
use crate::wire::Response;
use crate::wire::generated::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: ConsumerGroupHeartbeatRequest,
) -> Outcome {
    if !is_enabled(cluster, caller) {
        return Response::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            error_message: Some("The version of API is not supported.".to_owned()),
            ..ConsumerGroupHeartbeatResponse::default()
        })
        .into();
    }
    cluster.consumer_heartbeat(ctx, caller, request)
}

/// Whether the cluster has agreed on the protocol, as far as the asked broker knows.
pub(super) fn is_enabled(cluster: &Cluster, caller: &Caller) -> bool {
    let broker = cluster.brokers.get(&caller.node);
    broker.is_some_and(|broker| features::level(&broker.image.features, GROUP_VERSION) >= 1)
}
