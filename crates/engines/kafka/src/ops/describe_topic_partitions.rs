//! DescribeTopicPartitions (75), version 0: partitions page by page, for topics with very many of them.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeTopicPartitions>

use atoll_kernel::NodeId;

use super::{OPERATIONS_NOT_ASKED, ids};
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::security::acl::{Operation, ResourceType};
use crate::state::image::{Image, PartitionState, is_internal};
use crate::wire::Response;
use crate::wire::generated::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use crate::wire::generated::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

/// Kafka's `max.request.partition.size.limit`.
const PARTITIONS_MAX: usize = 2_000;

pub(super) fn apply(cluster: &Cluster, caller: &Caller, request: DescribeTopicPartitionsRequest) -> Outcome {
    let Some(image) = cluster.brokers.get(&caller.node).map(|broker| &broker.image) else { return Outcome::Close };
    let mut names: Vec<String> = request.topics.into_iter().map(|topic| topic.name).collect();
    let may_know = |name: &String| cluster.may_topic(caller, Operation::Describe, name);
    let mut response = DescribeTopicPartitionsResponse::default();
    if names.is_empty() {
        names = image.topics.keys().filter(|name| may_know(name)).cloned().collect();
    }
    // Which of them are there is not told.
    for name in names.extract_if(.., |name| !may_know(name)) {
        response.topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(name),
            error_code: ErrorCode::TopicAuthorizationFailed.code(),
            topic_authorized_operations: OPERATIONS_NOT_ASKED,
            ..DescribeTopicPartitionsResponseTopic::default()
        });
    }
    names.sort();
    names.dedup();
    let cursor = request.cursor.map(|cursor| (cursor.topic_name, usize::try_from(cursor.partition_index).unwrap_or(0)));
    let mut left = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PARTITIONS_MAX);
    for name in names {
        let first = match &cursor {
            Some((topic, _)) if name < *topic => continue,
            Some((topic, partition)) if name == *topic => *partition,
            _ => 0,
        };
        if left == 0 {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: first as i32 });
            break;
        }
        let (mut topic, next) = describe(image, &name, first, left);
        topic.topic_authorized_operations = cluster.authorized_operations(caller, ResourceType::Topic, &name);
        left -= topic.partitions.len();
        response.topics.push(topic);
        if let Some(next) = next {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: next });
            break;
        }
    }
    Response::DescribeTopicPartitions(response).into()
}

fn describe(
    image: &Image,
    name: &str,
    first: usize,
    limit: usize,
) -> (DescribeTopicPartitionsResponseTopic, Option<i32>) {
    let mut answer = DescribeTopicPartitionsResponseTopic {
        name: Some(name.to_owned()),
        is_internal: is_internal(name),
        ..DescribeTopicPartitionsResponseTopic::default()
    };
    let Some(topic) = image.topics.get(name) else {
        answer.error_code = ErrorCode::UnknownTopicOrPartition.code();
        return (answer, None);
    };
    answer.topic_id = topic.id;
    let numbered = topic.partitions.iter().enumerate().skip(first).take(limit);
    answer.partitions = numbered.map(|(index, state)| partition(image, index as i32, state)).collect();
    let next = first + answer.partitions.len();
    (answer, (next < topic.partitions.len()).then_some(next as i32))
}

fn partition(image: &Image, index: i32, state: &PartitionState) -> DescribeTopicPartitionsResponsePartition {
    let leader = state.leader.filter(|leader| image.is_active(NodeId(*leader)));
    let offline = |node: &u16| (!image.is_active(NodeId(*node))).then_some(i32::from(*node));
    DescribeTopicPartitionsResponsePartition {
        error_code: if leader.is_some() { 0 } else { ErrorCode::LeaderNotAvailable.code() },
        partition_index: index,
        leader_id: leader.map_or(-1, i32::from),
        leader_epoch: state.leader_epoch,
        replica_nodes: ids(&state.replicas),
        isr_nodes: ids(&state.isr),
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: state.replicas.iter().filter_map(offline).collect(),
    }
}
