//! DescribeQuorum (55), versions 0–2: the controllers, who leads them, and how far each has got.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeQuorum>

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::wire::Response;
use crate::wire::generated::describe_quorum_response::{Node, PartitionData, ReplicaState, TopicData};
use crate::wire::generated::{DescribeQuorumRequest, DescribeQuorumResponse};

/// The log of the metadata, which has one partition.
const METADATA_TOPIC: &str = "__cluster_metadata";

pub(super) fn apply(cluster: &Cluster, ctx: &Context<'_>, caller: &Caller, request: DescribeQuorumRequest) -> Outcome {
    let leader = cluster.plane.leader().filter(|_| cluster.controller_near(ctx, caller.node));
    let Some(leader) = leader else {
        return Response::DescribeQuorum(DescribeQuorumResponse {
            error_code: ErrorCode::BrokerNotAvailable.code(),
            error_message: Some("The controller was not reached.".to_owned()),
            ..DescribeQuorumResponse::default()
        })
        .into();
    };
    let is_log = |topic: &str, index: i32| topic == METADATA_TOPIC && index == 0;
    let describe = |topic: &str, index: i32| match is_log(topic, index) {
        true => quorum(cluster, ctx, leader, index),
        false => PartitionData {
            partition_index: index,
            error_code: ErrorCode::UnknownTopicOrPartition.code(),
            error_message: Some("This server does not host this topic-partition.".to_owned()),
            ..PartitionData::default()
        },
    };
    let topics = request.topics.into_iter().map(|topic| TopicData {
        partitions: topic.partitions.iter().map(|part| describe(&topic.topic_name, part.partition_index)).collect(),
        topic_name: topic.topic_name,
    });
    let nodes = cluster.voters.iter().map(|node| Node { node_id: i32::from(node.0), listeners: Vec::new() });
    Response::DescribeQuorum(DescribeQuorumResponse {
        error_message: Some(String::new()),
        topics: topics.collect(),
        nodes: nodes.collect(),
        ..DescribeQuorumResponse::default()
    })
    .into()
}

fn quorum(cluster: &Cluster, ctx: &Context<'_>, leader: atoll_kernel::NodeId, index: i32) -> PartitionData {
    let committed = cluster.plane.committed() as i64;
    let now_ms = ctx.wall(leader).as_millis();
    let state = |node: &atoll_kernel::NodeId| {
        let seen = if *node == leader { committed } else { cluster.plane.applied(*node) as i64 };
        // When one that lags last had everything is not kept.
        let caught_up = if seen == committed { now_ms } else { -1 };
        ReplicaState {
            replica_id: i32::from(node.0),
            log_end_offset: seen,
            last_fetch_timestamp: caught_up,
            last_caught_up_timestamp: caught_up,
            ..ReplicaState::default()
        }
    };
    let voters = &cluster.voters;
    PartitionData {
        partition_index: index,
        error_message: Some(String::new()),
        leader_id: i32::from(leader.0),
        leader_epoch: cluster.plane.epoch() as i32,
        high_watermark: committed,
        current_voters: voters.iter().map(state).collect(),
        observers: cluster.brokers.keys().filter(|node| !voters.contains(node)).map(state).collect(),
        ..PartitionData::default()
    }
}
