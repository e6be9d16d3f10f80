//! CreateTopics (19), versions 2–7: the controller makes topics, or says why not.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_CreateTopics>

use std::collections::BTreeMap;

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, NewTopic, Outcome};
use crate::error::ErrorCode;
use crate::security::acl::Operation;
use crate::wire::generated::create_topics_request::CreatableTopic;
use crate::wire::generated::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use crate::wire::generated::{CreateTopicsRequest, CreateTopicsResponse};
use crate::wire::{Request, Response};

/// Since which version a client over its quota is refused, and not only muted (KIP-599).
const STRICT: i16 = 6;

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: CreateTopicsRequest,
) -> Outcome {
    if !cluster.controller_near(ctx, caller.node) || !cluster.plane.can_commit(ctx) {
        let timeout_ms = request.timeout_ms;
        return cluster.park_for_controller(ctx, caller, Request::CreateTopics(request), timeout_ms);
    }
    let mut topics = Vec::new();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    request.topics.iter().for_each(|topic| *times.entry(&topic.name).or_default() += 1);
    for topic in &request.topics {
        match times.get_mut(topic.name.as_str()) {
            Some(1) => topics.push(create(cluster, ctx, caller, topic, request.validate_only)),
            // Named twice, answered once.
            Some(times @ 2..) => {
                *times = 0;
                topics.push(refused(&topic.name, ErrorCode::InvalidRequest, "Duplicate topic name.".to_owned()));
            }
            _ => {}
        }
    }
    let throttled = topics.iter().any(|topic| topic.error_code == ErrorCode::ThrottlingQuotaExceeded.code());
    let throttle_time_ms = cluster.mutation_throttle_ms(ctx, caller, STRICT, throttled);
    Response::CreateTopics(CreateTopicsResponse { topics, throttle_time_ms }).into()
}

fn create(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    topic: &CreatableTopic,
    dry: bool,
) -> CreatableTopicResult {
    let may_create = |name: &str| cluster.may_topic(caller, Operation::Create, name);
    if !cluster.may_cluster(caller, Operation::Create) && !may_create(&topic.name) {
        return refused(&topic.name, ErrorCode::TopicAuthorizationFailed, "Authorization failed.".to_owned());
    }
    if !topic.assignments.is_empty() && (topic.num_partitions != -1 || topic.replication_factor != -1) {
        let reason = "Both numPartitions or replicationFactor and replicasAssignments were set.".to_owned();
        return refused(&topic.name, ErrorCode::InvalidRequest, reason);
    }
    let assignment =
        topic.assignments.iter().map(|given| (given.partition_index, super::alter_configs::nodes(&given.broker_ids)));
    let options = topic.configs.iter().map(|config| (config.name.clone(), config.value.clone().unwrap_or_default()));
    let new = NewTopic {
        name: topic.name.clone(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignment: assignment.collect(),
        options: options.collect::<BTreeMap<_, _>>(),
    };
    if cluster.check_mutations(ctx, caller, STRICT).is_err() {
        let throttled = refused(&topic.name, ErrorCode::ThrottlingQuotaExceeded, String::new());
        return CreatableTopicResult { error_message: None, ..throttled };
    }
    let made_it = cluster.create_topic(ctx, &new, dry);
    if made_it.is_ok() {
        // A rehearsal counts as well, as in Kafka.
        let partitions = cluster.authority.topics.get(&new.name).map_or(1, |topic| topic.partitions.len());
        cluster.record_mutations(ctx, caller, partitions);
    }
    match made_it {
        Err((error, reason)) => refused(&topic.name, error, reason),
        Ok(()) if !cluster.may_topic(caller, Operation::DescribeConfigs, &new.name) => CreatableTopicResult {
            num_partitions: -1,
            replication_factor: -1,
            topic_config_error_code: ErrorCode::TopicAuthorizationFailed.code(),
            configs: Some(Vec::new()),
            ..made(cluster, caller, &new)
        },
        Ok(()) => made(cluster, caller, &new),
    }
}

fn made(cluster: &Cluster, caller: &Caller, new: &NewTopic) -> CreatableTopicResult {
    let topic = cluster.authority.topics.get(&new.name);
    let controller = cluster.plane.leader().unwrap_or(caller.node);
    let described = super::describe_configs::topic_options(cluster, controller, &cluster.authority, &new.options);
    let mut configs: Vec<_> = described
        .into_iter()
        .map(|described| CreatableTopicConfigs {
            name: described.name,
            value: described.value,
            read_only: described.read_only,
            config_source: described.config_source,
            is_sensitive: described.is_sensitive,
        })
        .collect();
    configs.sort_by(|one, other| one.name.cmp(&other.name));
    CreatableTopicResult {
        name: new.name.clone(),
        topic_id: topic.map_or(uuid::Uuid::nil(), |topic| topic.id),
        num_partitions: topic.map_or(new.partitions, |topic| topic.partitions.len() as i32),
        replication_factor: topic
            .and_then(|topic| topic.partitions.first())
            .map_or(new.replication_factor, |state| state.replicas.len() as i16),
        configs: Some(configs),
        error_message: None,
        ..CreatableTopicResult::default()
    }
}

fn refused(name: &str, error: ErrorCode, reason: String) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.to_owned(),
        error_code: error.code(),
        error_message: Some(reason),
        num_partitions: -1,
        replication_factor: -1,
        configs: Some(Vec::new()),
        ..CreatableTopicResult::default()
    }
}

pub(super) fn timed_out(request: &CreateTopicsRequest) -> Response {
    let late = |topic: &CreatableTopic| {
        refused(&topic.name, ErrorCode::RequestTimedOut, "The controller was not reached.".to_owned())
    };
    let topics = request.topics.iter().map(late).collect();
    Response::CreateTopics(CreateTopicsResponse { topics, ..CreateTopicsResponse::default() })
}
