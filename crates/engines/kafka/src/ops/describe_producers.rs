//! DescribeProducers (61), version 0: what a leader knows of the producers that write to its partitions.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeProducers>

use crate::cluster::{Caller, Cluster, Outcome};
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
            let error_code = found.as_ref().err().copied().unwrap_or(ErrorCode::None).code();
            let active_producers = found.unwrap_or_default();
            partitions.push(PartitionResponse { partition_index, error_code, error_message: None, active_producers });
        }
        response.topics.push(TopicResponse { name: topic.name, partitions });
    }
    Response::DescribeProducers(response).into()
}

fn describe(cluster: &Cluster, caller: &Caller, topic: &str, index: i32) -> Result<Vec<ProducerState>, ErrorCode> {
    if !cluster.may_topic(caller, Operation::Read, topic) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let (key, _, _) =
        image.and_then(|image| image.partition(topic, index)).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = cluster.partitions.get(&key).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    partition.leadership(caller.node).ok_or(ErrorCode::NotLeaderOrFollower)?;
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
