//! DescribeConfigs (32), versions 1–4: the options of topics and brokers, with where each value comes from.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeConfigs>

use std::collections::BTreeMap;

use atoll_kernel::NodeId;

use super::broker_configs::{self, FROM_DEFAULT};
use crate::cluster::{Caller, Cluster, Outcome};
use crate::config::{DEFAULTS_ELSEWHERE, GROUP_OPTIONS, OptionKind, TOPIC_OPTIONS, TopicOption};
use crate::error::ErrorCode;
use crate::security::acl::Operation;
use crate::state::image::Image;
use crate::wire::Response;
use crate::wire::generated::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::wire::generated::{DescribeConfigsRequest, DescribeConfigsResponse};

const FROM_TOPIC: i8 = 1;
const FROM_GROUP: i8 = 8;

pub(super) fn apply(cluster: &mut Cluster, caller: &Caller, request: DescribeConfigsRequest) -> Outcome {
    let mut results = Vec::new();
    for resource in request.resources {
        let described = match resource.resource_type {
            _ if !may_describe(cluster, caller, resource.resource_type, &resource.resource_name) => {
                Err(super::alter_configs::unauthorized(resource.resource_type))
            }
            super::alter_configs::TOPIC => topic(cluster, caller, &resource.resource_name),
            super::alter_configs::BROKER => broker_configs::describe(cluster, caller, &resource.resource_name),
            super::alter_configs::GROUP => group(cluster, caller, &resource.resource_name),
            _ => Err((ErrorCode::InvalidRequest, "Unsupported resource type.".to_owned())),
        };
        let (mut configs, error) = match described {
            Ok(configs) => (configs, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        if !request.include_synonyms {
            configs.iter_mut().for_each(|config| config.synonyms.clear());
        }
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
    let Some((image, topic)) = image.and_then(|image| Some((image, image.topics.get(name)?))) else {
        // Kafka has no words for it here.
        return Err((ErrorCode::UnknownTopicOrPartition, String::new()));
    };
    Ok(topic_options(cluster, caller.node, image, &topic.options))
}

fn group(cluster: &Cluster, caller: &Caller, name: &str) -> Described {
    if name.is_empty() {
        return Err((ErrorCode::InvalidRequest, "Group name must not be empty".to_owned()));
    }
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let options = image.and_then(|image| image.group_options.get(name)).cloned().unwrap_or_default();
    let describe = |option: &str| {
        let source = if options.contains_key(option) { FROM_GROUP } else { FROM_DEFAULT };
        let value = cluster.config.group_value(&options, option);
        let (config_type, synonyms) = (OptionKind::Int(1).number(), vec![synonym(option, value.clone(), source)]);
        DescribeConfigsResourceResult { config_type, synonyms, ..one(option, Some(value), source, false) }
    };
    Ok(GROUP_OPTIONS.into_iter().map(describe).collect())
}

/// All options of a topic that has these of its own, where a broker's are those that an image has.
pub(super) fn topic_options(
    cluster: &Cluster,
    broker: NodeId,
    image: &Image,
    options: &BTreeMap<String, String>,
) -> Vec<DescribeConfigsResourceResult> {
    let brokers = broker_configs::sources(cluster, &broker.0.to_string(), image);
    let describe = |option: &TopicOption| {
        let own = options.get(option.name).map(|value| synonym(option.name, value.clone(), FROM_TOPIC));
        let synonyms: Vec<_> = own.into_iter().chain(from_brokers(option, &brokers)).collect();
        let (value, source) = match synonyms.first() {
            Some(counts) => (counts.value.clone(), counts.source),
            None => (Some(option.default.to_owned()), FROM_DEFAULT),
        };
        let config_type = option.kind.number();
        DescribeConfigsResourceResult { config_type, synonyms, ..one(option.name, value, source, false) }
    };
    TOPIC_OPTIONS.iter().map(describe).collect()
}

/// What the brokers' options make of a topic's, the value that counts first.
fn from_brokers(option: &TopicOption, brokers: &BTreeMap<String, Vec<(i8, String)>>) -> Vec<DescribeConfigsSynonym> {
    let Some(name) = option.broker_name else { return Vec::new() };
    let by_default = || vec![(FROM_DEFAULT, option.default.to_owned())];
    let found = brokers.get(name).cloned().unwrap_or_else(by_default);
    let mut synonyms: Vec<_> = found.into_iter().map(|(source, value)| synonym(name, value, source)).collect();
    if let Some((_, other, default)) = DEFAULTS_ELSEWHERE.iter().find(|(unset, ..)| *unset == name) {
        synonyms.retain(|synonym| synonym.source != FROM_DEFAULT);
        // Kafka tells none before the first that has the option's own name.
        if !synonyms.is_empty() {
            synonyms.push(synonym(other, (*default).to_owned(), FROM_DEFAULT));
        }
    }
    synonyms
}

fn synonym(name: &str, value: String, source: i8) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym { name: name.to_owned(), value: Some(value), source }
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
