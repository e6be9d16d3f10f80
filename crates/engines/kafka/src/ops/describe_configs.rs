//! DescribeConfigs (32), versions 1–4: the options of topics and brokers, with where each value comes from.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeConfigs>

use crate::cluster::{Caller, Cluster, Outcome};
use crate::config::{Config, TOPIC_OPTIONS, TopicOption};
use crate::error::ErrorCode;
use crate::wire::Response;
use crate::wire::generated::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use crate::wire::generated::{DescribeConfigsRequest, DescribeConfigsResponse};

const BROKER: i8 = 4;
const FROM_TOPIC: i8 = 1;
const FROM_BROKER_FILE: i8 = 4;
const FROM_DEFAULT: i8 = 5;

pub(super) fn apply(cluster: &mut Cluster, caller: &Caller, request: DescribeConfigsRequest) -> Outcome {
    let mut results = Vec::new();
    for resource in request.resources {
        let described = match resource.resource_type {
            super::alter_configs::TOPIC => topic(cluster, caller, &resource.resource_name),
            BROKER => broker(cluster, &resource.resource_name),
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
            error_message: error.map(|(_, reason)| reason),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs,
        });
    }
    Response::DescribeConfigs(DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() }).into()
}

type Described = Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)>;

fn topic(cluster: &Cluster, caller: &Caller, name: &str) -> Described {
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let Some(topic) = image.and_then(|image| image.topics.get(name)) else {
        return Err((ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist.")));
    };
    Ok(topic_options(cluster, &topic.options))
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

fn broker(cluster: &Cluster, name: &str) -> Described {
    let known = name.is_empty() || cluster.brokers.keys().any(|node| node.0.to_string() == name);
    if !known {
        return Err((
            ErrorCode::InvalidRequest,
            format!("Unexpected broker id, expected one of this cluster's, but received {name}"),
        ));
    }
    let defaults = Config::default().entries();
    let mut described: Vec<_> = cluster
        .config
        .entries()
        .into_iter()
        .map(|(name, value)| {
            let source = if defaults.get(&name) == Some(&value) { FROM_DEFAULT } else { FROM_BROKER_FILE };
            one(&name, Some(value), source, true)
        })
        .collect();
    if !name.is_empty() {
        described.push(one("broker.id", Some(name.to_owned()), FROM_BROKER_FILE, true));
    }
    Ok(described)
}

fn one(name: &str, value: Option<String>, config_source: i8, read_only: bool) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult {
        name: name.to_owned(),
        value,
        read_only,
        config_source,
        ..DescribeConfigsResourceResult::default()
    }
}
