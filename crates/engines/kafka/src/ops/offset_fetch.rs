//! OffsetFetch (9), versions 1–9: what a group has committed; since version 8 for several groups at once.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_OffsetFetch>

use std::collections::BTreeMap;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::groups::Committed;
use crate::security::acl::Operation;
use crate::wire::Response;
use crate::wire::generated::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use crate::wire::generated::{OffsetFetchRequest, OffsetFetchResponse};

/// Partitions by topic, each with what is committed.
type Found = Vec<(String, Vec<(i32, Held)>)>;

/// What is committed of a partition; an error where a transaction that is not over may change it.
type Held = Result<Option<Committed>, ErrorCode>;

pub(super) fn apply(cluster: &Cluster, caller: &Caller, request: OffsetFetchRequest) -> Outcome {
    let mut response = OffsetFetchResponse::default();
    if caller.version < 8 {
        let wanted = request
            .topics
            .map(|topics| topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect());
        let (found, error) = find(cluster, caller, &request.group_id, (None, -1), wanted, request.require_stable);
        response.error_code = error.code();
        response.topics = found.into_iter().map(|(name, partitions)| old_topic(name, partitions, error)).collect();
        return Response::OffsetFetch(response).into();
    }
    for group in request.groups {
        let wanted =
            group.topics.map(|topics| topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect());
        let member = (group.member_id.as_deref(), group.member_epoch);
        let (found, error) = find(cluster, caller, &group.group_id, member, wanted, request.require_stable);
        response.groups.push(OffsetFetchResponseGroup {
            group_id: group.group_id,
            topics: found.into_iter().map(|(name, partitions)| new_topic(name, partitions, error)).collect(),
            error_code: error.code(),
        });
    }
    Response::OffsetFetch(response).into()
}

fn find(
    cluster: &Cluster,
    caller: &Caller,
    group: &str,
    member: (Option<&str>, i32),
    wanted: Option<Vec<(String, Vec<i32>)>>,
    stable: bool,
) -> (Found, ErrorCode) {
    let wanted_found = |lookup: &dyn Fn(&str, i32) -> Held, wanted: Vec<(String, Vec<i32>)>| -> Found {
        let one = |(topic, indexes): (String, Vec<i32>)| {
            let may_know = cluster.may_topic(caller, Operation::Describe, &topic);
            let found = |index| match may_know {
                true => lookup(&topic, index),
                false => Err(ErrorCode::TopicAuthorizationFailed),
            };
            let partitions = indexes.into_iter().map(|index| (index, found(index))).collect();
            (topic, partitions)
        };
        wanted.into_iter().map(one).collect()
    };
    let may_fetch = cluster.may_group(caller, Operation::Describe, group);
    let allowed = if may_fetch { cluster.group(caller.node, group) } else { Err(ErrorCode::GroupAuthorizationFailed) };
    let allowed = allowed.and_then(|found| {
        let consumer = found.and_then(|group| group.consumer.as_ref());
        consumer.map_or(Ok(()), |consumer| consumer.check_fetch(member.0, member.1)).map(|()| found)
    });
    match (allowed, wanted) {
        // Of a whole group's error nothing more is told.
        (Err(error), _) if caller.version >= 2 || !may_fetch => (Vec::new(), error),
        (Err(error), wanted) => (wanted_found(&|_, _| Ok(None), wanted.unwrap_or_default()), error),
        (Ok(None), wanted) => (wanted_found(&|_, _| Ok(None), wanted.unwrap_or_default()), ErrorCode::None),
        (Ok(Some(group)), Some(wanted)) => {
            let lookup = |topic: &str, index: i32| match stable && group.is_unstable(topic, index) {
                true => Err(ErrorCode::UnstableOffsetCommit),
                false => Ok(group.offsets.get(&(topic.to_owned(), index)).cloned()),
            };
            (wanted_found(&lookup, wanted), ErrorCode::None)
        }
        (Ok(Some(group)), None) => {
            let mut by_topic: BTreeMap<String, Vec<(i32, Held)>> = BTreeMap::new();
            let held = |committed: &Committed, topic: &str, index: i32| match stable && group.is_unstable(topic, index)
            {
                true => Err(ErrorCode::UnstableOffsetCommit),
                false => Ok(Some(committed.clone())),
            };
            let may_know = |topic: &str| cluster.may_topic(caller, Operation::Describe, topic);
            for ((topic, index), committed) in group.offsets.iter().filter(|((topic, _), _)| may_know(topic)) {
                by_topic.entry(topic.clone()).or_default().push((*index, held(committed, topic, *index)));
            }
            (by_topic.into_iter().collect(), ErrorCode::None)
        }
    }
}

fn old_topic(name: String, partitions: Vec<(i32, Held)>, error: ErrorCode) -> OffsetFetchResponseTopic {
    let one = |(partition_index, held): (i32, Held)| {
        let error = held.as_ref().err().copied().unwrap_or(error);
        let committed = held.ok().flatten().unwrap_or(NOTHING);
        OffsetFetchResponsePartition {
            partition_index,
            committed_offset: committed.offset,
            committed_leader_epoch: committed.leader_epoch,
            metadata: Some(committed.metadata),
            error_code: error.code(),
        }
    };
    OffsetFetchResponseTopic { name, partitions: partitions.into_iter().map(one).collect() }
}

fn new_topic(name: String, partitions: Vec<(i32, Held)>, error: ErrorCode) -> OffsetFetchResponseTopics {
    let one = |(partition_index, held): (i32, Held)| {
        let error = held.as_ref().err().copied().unwrap_or(error);
        let committed = held.ok().flatten().unwrap_or(NOTHING);
        OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: committed.offset,
            committed_leader_epoch: committed.leader_epoch,
            metadata: Some(committed.metadata),
            error_code: error.code(),
        }
    };
    OffsetFetchResponseTopics { name, partitions: partitions.into_iter().map(one).collect() }
}

/// What is answered where nothing was committed.
const NOTHING: Committed =
    Committed { offset: -1, leader_epoch: -1, metadata: String::new(), committed_ms: -1, expires_ms: None };
