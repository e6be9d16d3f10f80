//! DescribeConfigs (32), versions 1–4: the options of topics and brokers, with where each value comes from.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeConfigs>

use super::broker_configs;
use crate::cluster::{Caller, Cluster, Outcome};
use crate::config::{GROUP_OPTIONS, OptionKind, TOPIC_OPTIONS, TopicOption};
use crate::error::ErrorCode;
use crate::security::acl::Operation;
use crate::wire::Response;
use crate::wire::generated::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use crate::wire::generated::{DescribeConfigsRequest, DescribeConfigsResponse};

const FROM_TOPIC: i8 = 1;
const FROM_DEFAULT: i8 = 5;
const FROM_GROUP: i8 = 8;

pub(super) fn apply(cluster: &mut Cluster, caller: &Caller, request: DescribeConfigsRequest) -> Outcome {
    let mut results = Vec::new();
    for resource in request.resources {
        let described = match resource.resource_type {
            _ if !may_describe(cluster, caller, resource.resource_type, &resource.resource_name) => {
                Err(super::alter_configs::unauthorized(resource.resource_type))
            }
            super::alter_configs::TOPIC => topic(cluster, caller, &resource.resource_name),
            super::alter_configs::BROKER => {
                broker_configs::describe(cluster, caller, &resource.resource_name, request.include_synonyms)
            }
            super::alter_configs::GROUP => group(cluster, caller, &resource.resource_name),
            _ => Err((ErrorCode::InvalidRequest, "Unsupported resource type.".to_owned())),
        };
        let (mut configs, error) = match described {
            Ok(configs) => (configs, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        if let Some(keys) = &resource.configuration_keys {
            configs.retain(|config| keys.contains(&config.name));
        }
        results.push(DescribeConfigsResult {
            error_code: error.as_ref().map_or(0, |(error, _)| error.code()),
            error_message: Some(error.map(|(_, reason)| reason).unwrap_or_default()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs,
        });
    }
    Response::DescribeConfigs(DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() }).into()
}

fn may_describe(cluster: &Cluster, caller: &Caller, kind: i8, name: &str) -> bool {
    match kind {
        super::alter_configs::TOPIC => cluster.may_topic(caller, Operation::DescribeConfigs, name),
        super::alter_configs::BROKER => cluster.may_cluster(caller, Operation::DescribeConfigs),
        super::alter_configs::GROUP => cluster.may_group(caller, Operation::DescribeConfigs, name),
        _ => true,
    }
}

pub(super) type Described = Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)>;

fn topic(cluster: &Cluster, caller: &Caller, name: &str) -> Described {
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let Some(topic) = image.and_then(|image| image.topics.get(name)) else {
        // Kafka has no words for it here.
        return Err((ErrorCode::UnknownTopicOrPartition, String::new()));
    };
    Ok(topic_options(cluster, &topic.options))
}

fn group(cluster: &Cluster, caller: &Caller, name: &str) -> Described {
    if name.is_empty() {
        return Err((ErrorCode::InvalidRequest, "Group name must not be empty".to_owned()));
    }
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let options = image.and_then(|image| image.group_options.get(name)).cloned().unwrap_or_default();
    let describe = |option: &str| {
        let source = if options.contains_key(option) { FROM_GROUP } else { FROM_DEFAULT };
        let value = Some(cluster.config.group_value(&options, option));
        DescribeConfigsResourceResult { config_type: OptionKind::Int(1).number(), ..one(option, value, source, false) }
    };
    Ok(GROUP_OPTIONS.into_iter().map(describe).collect())
}

/// All options of a topic that has these of its own.
pub(super) fn topic_options(
    cluster: &Cluster,
    options: &std::collections::BTreeMap<String, String>,
) -> Vec<DescribeConfigsResourceResult> {
    let describe = |option: &TopicOption| {
        let name = option.name;
        let source = if options.contains_key(name) { FROM_TOPIC } else { FROM_DEFAULT };
        let value = cluster.config.topic_value(options, name);
        DescribeConfigsResourceResult { config_type: option.kind.number(), ..one(name, value, source, false) }
    };
    TOPIC_OPTIONS.iter().map(describe).collect()
}

pub(super) fn one(
    name: &str,
    value: Option<String>,
    config_source: i8,
    read_only: bool,
) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult {
        name: name.to_owned(),
        value,
        read_only,
        config_source,
        documentation: None,
        ..DescribeConfigsResourceResult::default()
    }
}
