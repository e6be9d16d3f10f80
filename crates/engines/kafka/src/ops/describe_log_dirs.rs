//! DescribeLogDirs (35), versions 1–4: what lies in a broker's one log directory. How large the volume is stays unsaid (−1):
//! it is the whole machine's.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeLogDirs>

use std::collections::BTreeMap;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::wire::Response;
use crate::wire::generated::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::wire::generated::{DescribeLogDirsRequest, DescribeLogDirsResponse};

/// The directory of all logs, seen from the stack's data directory.
pub(super) const LOG_DIR: &str = "/kafka/partitions";

pub(super) fn apply(cluster: &Cluster, caller: &Caller, request: DescribeLogDirsRequest) -> Outcome {
    let asked = request.topics.map(|topics| {
        let names = topics.into_iter().map(|topic| (topic.topic, topic.partitions));
        names.collect::<BTreeMap<String, Vec<i32>>>()
    });
    let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for ((_, index), partition) in &cluster.partitions {
        let Some(replica) = partition.replicas.get(&caller.node) else { continue };
        let is_asked = asked
            .as_ref()
            .is_none_or(|asked| asked.get(&partition.topic).is_some_and(|indexes| indexes.contains(index)));
        if is_asked {
            let size: i64 = partition.tree.batches(caller.node, 0).map(|batch| i64::from(batch.size)).sum();
            topics.entry(&partition.topic).or_default().push(DescribeLogDirsPartition {
                partition_index: *index,
                partition_size: size,
                offset_lag: (replica.high_watermark - partition.tree.end(caller.node)).max(0),
                is_future_key: false,
            });
        }
    }
    let topics =
        topics.into_iter().map(|(name, partitions)| DescribeLogDirsTopic { name: name.to_owned(), partitions });
    let directory = DescribeLogDirsResult {
        log_dir: LOG_DIR.to_owned(),
        topics: topics.collect(),
        ..DescribeLogDirsResult::default()
    };
    let response = DescribeLogDirsResponse { results: vec![directory], ..DescribeLogDirsResponse::default() };
    Response::DescribeLogDirs(response).into()
}
