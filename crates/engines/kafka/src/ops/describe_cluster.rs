//! DescribeCluster (60), versions 0–2: the brokers that may serve, as far as the asked one knows; since version 2 the fenced ones
//! too, if they are asked for. Controllers have a listener of their own, which clients do not reach.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeCluster>

use atoll_kernel::{Context, NodeId};

use super::{OPERATIONS_NOT_ASKED, address, controller_id, rack};
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::state::image::Broker;
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
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => cluster.authorized_cluster_operations(caller),
            false => OPERATIONS_NOT_ASKED,
        },
        ..DescribeClusterResponse::default()
    };
    if request.endpoint_type != BROKERS {
        let error = match request.endpoint_type {
            0 => ErrorCode::UnsupportedEndpointType,
            _ => ErrorCode::MismatchedEndpointType,
        };
        response.error_code = error.code();
        response.error_message = Some("The request was sent to an endpoint of the wrong type.".to_owned());
        response.cluster_id = String::new();
        response.controller_id = -1;
        response.cluster_authorized_operations = OPERATIONS_NOT_ASKED;
        return Response::DescribeCluster(response).into();
    }
    let describe = |(node, known): (&NodeId, &Broker)| {
        let (host, port) = address(ctx, caller, *node);
        let (broker_id, rack) = (i32::from(node.0), rack(ctx, *node));
        DescribeClusterBroker { broker_id, host, port, rack, is_fenced: known.fenced }
    };
    let shown = broker.image.brokers.iter().filter(|(_, known)| !known.fenced || request.include_fenced_brokers);
    response.brokers = shown.map(describe).collect();
    Response::DescribeCluster(response).into()
}
