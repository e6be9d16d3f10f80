//! OffsetDelete (47), version 0: committed offsets of a group are removed, one by one. A topic that the group's members read
//! keeps its offsets.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_OffsetDelete>

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::groups::storing_error;
use crate::security::acl::Operation;
use crate::wire::Response;
use crate::wire::generated::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use crate::wire::generated::{OffsetDeleteRequest, OffsetDeleteResponse};

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: OffsetDeleteRequest,
) -> Outcome {
    let deletable = cluster.check_offset_deletion(caller.node, &request.group_id);
    let subscribed = match deletable {
        Ok(subscribed) => subscribed,
        Err(error) => return failed(error).into(),
    };
    let (mut doomed, mut response) = (Vec::new(), OffsetDeleteResponse::default());
    for topic in request.topics {
        let mut answered = OffsetDeleteResponseTopic { name: topic.name, partitions: Vec::new() };
        for partition in topic.partitions {
            let index = partition.partition_index;
            let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
            let known = image.is_some_and(|image| image.partition(&answered.name, index).is_some());
            let error = match () {
                () if !cluster.may_topic(caller, Operation::Read, &answered.name) => {
                    ErrorCode::TopicAuthorizationFailed
                }
                () if !known => ErrorCode::UnknownTopicOrPartition,
                () if subscribed.contains(&answered.name) => ErrorCode::GroupSubscribedToTopic,
                () => ErrorCode::None,
            };
            if error == ErrorCode::None {
                doomed.push((answered.name.clone(), index));
            }
            answered
                .partitions
                .push(OffsetDeleteResponsePartition { partition_index: index, error_code: error.code() });
        }
        response.topics.push(answered);
    }
    cluster.delete_offsets(ctx, caller, &request.group_id, &doomed, Response::OffsetDelete(response), failed)
}

fn failed(error: ErrorCode) -> Response {
    let error_code = storing_error(error).code();
    Response::OffsetDelete(OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() })
}
