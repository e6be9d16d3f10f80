//! DescribeCluster (60), versions 0–1: the brokers that may serve, as far as the asked one knows.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeCluster>

use atoll_kernel::Context;

use super::{OPERATIONS_NOT_ASKED, address, controller_id, rack};
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::wire::Response;
use crate::wire::generated::describe_cluster_response::DescribeClusterBroker;
use crate::wire::generated::{DescribeClusterRequest, DescribeClusterResponse};

/// Brokers, and not controllers, are what is asked for.
const BROKERS: i8 = 1;

pub(super) fn apply(
    cluster: &Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: &DescribeClusterRequest,
) -> Outcome {
    let Some(broker) = cluster.brokers.get(&caller.node) else { return Outcome::Close };
    let mut response = DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: cluster.cluster_id.clone(),
        controller_id: controller_id(cluster, caller),
        cluster_authorized_operations: OPERATIONS_NOT_ASKED,
        ..DescribeClusterResponse::default()
    };
    if request.endpoint_type != BROKERS {
        response.error_code = ErrorCode::InvalidRequest.code();
        response.error_message = Some("Controllers cannot be asked by clients here.".to_owned());
        return Response::DescribeCluster(response).into();
    }
    let describe = |node| {
        let (host, port) = address(cluster, ctx, caller, node);
        DescribeClusterBroker { broker_id: i32::from(node.0), host, port, rack: rack(ctx, node) }
    };
    response.brokers = broker.image.active_brokers().map(describe).collect();
    Response::DescribeCluster(response).into()
}
