//! AlterReplicaLogDirs (34), versions 1–2: a broker has one log directory, so that there is nowhere else to move a replica to.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_AlterReplicaLogDirs>

use super::describe_log_dirs::LOG_DIR;
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::wire::Response;
use crate::wire::generated::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use crate::wire::generated::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};

pub(super) fn apply(cluster: &Cluster, caller: &Caller, request: AlterReplicaLogDirsRequest) -> Outcome {
    let mut results = Vec::new();
    for directory in request.dirs {
        for topic in directory.topics {
            let outcome = |partition_index: i32| {
                let error = check(cluster, caller, &directory.path, &topic.name, partition_index);
                AlterReplicaLogDirPartitionResult { partition_index, error_code: error.code() }
            };
            let partitions = topic.partitions.iter().copied().map(outcome).collect();
            results.push(AlterReplicaLogDirTopicResult { topic_name: topic.name.clone(), partitions });
        }
    }
    let response = AlterReplicaLogDirsResponse { results, ..AlterReplicaLogDirsResponse::default() };
    Response::AlterReplicaLogDirs(response).into()
}

fn check(cluster: &Cluster, caller: &Caller, path: &str, topic: &str, index: i32) -> ErrorCode {
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let known = image.and_then(|image| image.partition(topic, index));
    match known {
        _ if path != LOG_DIR => ErrorCode::LogDirNotFound,
        None => ErrorCode::UnknownTopicOrPartition,
        Some((_, _, state)) if !state.replicas.contains(&caller.node.0) => ErrorCode::ReplicaNotAvailable,
        Some(_) => ErrorCode::None,
    }
}
