//! DescribeProducers (61), version 0: what a leader knows of the producers that write to its partitions.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeProducers>

use crate::cluster::{Caller, Cluster, Outcome, check_topic_name};
use crate::error::ErrorCode;
use crate::security::acl::Operation;
use crate::wire::Response;
use crate::wire::generated::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use crate::wire::generated::{DescribeProducersRequest, DescribeProducersResponse};

pub(super) fn apply(cluster: &Cluster, caller: &Caller, request: DescribeProducersRequest) -> Outcome {
    let mut response = DescribeProducersResponse::default();
    for topic in request.topics {
        let mut partitions = Vec::new();
        for partition_index in topic.partition_indexes {
            let found = describe(cluster, caller, &topic.name, partition_index);
            let (active_producers, (error, error_message)) = match found {
                Ok(producers) => (producers, (ErrorCode::None, None)),
                Err(refusal) => (Vec::new(), refusal),
            };
            let error_code = error.code();
            partitions.push(PartitionResponse { partition_index, error_code, error_message, active_producers });
        }
        response.topics.push(TopicResponse { name: topic.name, partitions });
    }
    Response::DescribeProducers(response).into()
}

/// What is wrong with a topic is told in words, and what is wrong with a partition is not.
type Refusal = (ErrorCode, Option<String>);

fn describe(cluster: &Cluster, caller: &Caller, topic: &str, index: i32) -> Result<Vec<ProducerState>, Refusal> {
    check_topic_name(topic).map_err(|(error, reason)| (error, Some(reason)))?;
    if !cluster.may_topic(caller, Operation::Read, topic) {
        return Err((ErrorCode::TopicAuthorizationFailed, Some("Topic authorization failed.".to_owned())));
    }
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    if !image.is_some_and(|image| image.topics.contains_key(topic)) {
        let reason = "This server does not host this topic-partition.".to_owned();
        return Err((ErrorCode::UnknownTopicOrPartition, Some(reason)));
    }
    let unknown = || (ErrorCode::UnknownTopicOrPartition, None);
    let (key, _, _) = image.and_then(|image| image.partition(topic, index)).ok_or_else(unknown)?;
    let partition = cluster.partitions.get(&key).ok_or_else(unknown)?;
    partition.leadership(caller.node).ok_or((ErrorCode::NotLeaderOrFollower, None))?;
    let producers = partition.tree.producers(caller.node);
    let shown =
        producers.into_iter().flat_map(|producers| producers.iter()).map(|(producer_id, known)| ProducerState {
            producer_id,
            producer_epoch: i32::from(known.epoch),
            last_sequence: known.last_sequence(),
            last_timestamp: known.last_timestamp,
            coordinator_epoch: known.coordinator_epoch,
            current_txn_start_offset: known.open_since.unwrap_or(-1),
        });
    Ok(shown.collect())
}
