//! Metadata (3), versions 0–13: brokers, topics, partitions, leaders, as far as the asked broker knows. Asking for a topic
//! may make it; the answer to that very question is UNKNOWN_TOPIC_OR_PARTITION, and clients ask again.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_Metadata>

use std::collections::BTreeMap;

use atoll_kernel::{Context, NodeId};

use super::{OPERATIONS_NOT_ASKED, address, controller_id, ids, rack};
use crate::cluster::{Caller, Cluster, NewTopic, Outcome};
use crate::error::ErrorCode;
use crate::security::acl::{Operation, ResourceType};
use crate::state::image::{Image, OFFSETS_TOPIC, PartitionState, Topic, is_internal};
use crate::wire::Response;
use crate::wire::generated::metadata_request::MetadataRequestTopic;
use crate::wire::generated::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::wire::generated::{MetadataRequest, MetadataResponse};

pub(super) fn apply(cluster: &mut Cluster, ctx: &Context<'_>, caller: &Caller, request: MetadataRequest) -> Outcome {
    let wanted = request.topics.filter(|topics| caller.version > 0 || !topics.is_empty());
    let refused = match request.allow_auto_topic_creation && cluster.config.auto_create_topics_enable {
        true => create_missing(cluster, ctx, caller, wanted.as_deref().unwrap_or_default()),
        false => BTreeMap::new(),
    };
    let Some(image) = cluster.brokers.get(&caller.node).map(|broker| &broker.image) else { return Outcome::Close };
    let may_know = |name: &str| cluster.may_topic(caller, Operation::Describe, name);
    let describe = |name: &str, topic: &Topic| MetadataResponseTopic {
        topic_authorized_operations: match request.include_topic_authorized_operations {
            true => cluster.authorized_operations(caller, ResourceType::Topic, name),
            false => OPERATIONS_NOT_ASKED,
        },
        ..describe(image, name, topic)
    };
    let topics = match wanted {
        None => {
            let known = image.topics.iter().filter(|(name, _)| may_know(name));
            known.map(|(name, topic)| describe(name, topic)).collect()
        }
        Some(wanted) => wanted
            .into_iter()
            .map(|topic| {
                let by_id = !topic.topic_id.is_nil();
                let name = if by_id { image.names.get(&topic.topic_id).cloned() } else { topic.name };
                let found = name.as_ref().and_then(|name| image.topics.get(name));
                match (found, name) {
                    // Whoever may not know of a topic learns neither its name nor, by that, whether there is one.
                    (_, Some(name)) if !may_know(&name) => {
                        let name = (!by_id).then_some(name);
                        unknown(ErrorCode::TopicAuthorizationFailed, name, topic.topic_id)
                    }
                    (Some(found), Some(name)) => describe(&name, found),
                    (_, name) => {
                        let error = match name.as_ref().and_then(|name| refused.get(name)) {
                            Some(error) => *error,
                            None if by_id => ErrorCode::UnknownTopicId,
                            None => ErrorCode::UnknownTopicOrPartition,
                        };
                        unknown(error, name, topic.topic_id)
                    }
                }
            })
            .collect(),
    };
    let brokers = image.active_brokers().map(|node| {
        let (host, port) = address(ctx, caller, node);
        MetadataResponseBroker { node_id: i32::from(node.0), host, port, rack: rack(ctx, node) }
    });
    Response::Metadata(MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(cluster.cluster_id.clone()),
        controller_id: controller_id(cluster, caller),
        topics,
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => cluster.authorized_cluster_operations(caller),
            false => OPERATIONS_NOT_ASKED,
        },
        ..MetadataResponse::default()
    })
    .into()
}

/// Makes the topics that are asked for by name and are not there: those that could not be made, with why not.
fn create_missing(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    wanted: &[MetadataRequestTopic],
) -> BTreeMap<String, ErrorCode> {
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let named = wanted.iter().filter(|topic| topic.topic_id.is_nil()).filter_map(|topic| topic.name.clone());
    let known = |name: &String| image.is_some_and(|image| image.topics.contains_key(name));
    let may_know = |name: &String| cluster.may_topic(caller, Operation::Describe, name);
    let missing: Vec<String> = named.filter(|name| may_know(name) && !known(name)).collect();
    let mut refused = BTreeMap::new();
    for name in missing {
        let may_create =
            cluster.may_cluster(caller, Operation::Create) || cluster.may_topic(caller, Operation::Create, &name);
        let made = match may_create {
            true => auto_create(cluster, ctx, caller, &name),
            false => Err(ErrorCode::TopicAuthorizationFailed),
        };
        if let Err(error) = made {
            refused.insert(name, error);
        }
    }
    refused
}

/// Has the controller make a topic, if it can be reached. The asker learns of it by asking again.
fn auto_create(cluster: &mut Cluster, ctx: &Context<'_>, caller: &Caller, name: &str) -> Result<(), ErrorCode> {
    if !cluster.controller_near(ctx, caller.node) {
        return Ok(());
    }
    if name == OFFSETS_TOPIC {
        cluster.ensure_offsets_topic(ctx);
        return Ok(());
    }
    let topic = NewTopic { name: name.to_owned(), partitions: -1, replication_factor: -1, ..NewTopic::default() };
    match cluster.create_topic(ctx, &topic, false) {
        Ok(()) | Err((ErrorCode::TopicAlreadyExists | ErrorCode::NotController, _)) => Ok(()),
        Err((error, _)) => Err(error),
    }
}

fn unknown(error: ErrorCode, name: Option<String>, topic_id: uuid::Uuid) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: error.code(),
        name,
        topic_id,
        topic_authorized_operations: OPERATIONS_NOT_ASKED,
        ..MetadataResponseTopic::default()
    }
}

fn describe(image: &Image, name: &str, topic: &Topic) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().enumerate();
    MetadataResponseTopic {
        name: Some(name.to_owned()),
        topic_id: topic.id,
        is_internal: is_internal(name),
        partitions: partitions.map(|(index, state)| describe_partition(image, index as i32, state)).collect(),
        ..MetadataResponseTopic::default()
    }
}

fn describe_partition(image: &Image, index: i32, state: &PartitionState) -> MetadataResponsePartition {
    // A leader that this broker believes to be fenced is none that a client could use.
    let leader = state.leader.filter(|leader| image.is_active(NodeId(*leader)));
    let error = match leader {
        Some(_) => ErrorCode::None,
        None => ErrorCode::LeaderNotAvailable,
    };
    let offline = |node: &u16| (!image.is_active(NodeId(*node))).then_some(i32::from(*node));
    MetadataResponsePartition {
        error_code: error.code(),
        partition_index: index,
        leader_id: leader.map_or(-1, i32::from),
        leader_epoch: state.leader_epoch,
        replica_nodes: ids(&state.replicas),
        isr_nodes: ids(&state.isr),
        offline_replicas: state.replicas.iter().filter_map(offline).collect(),
    }
}
