//! IncrementalAlterConfigs (44), versions 0–1: options of topics and brokers are set, or given back to their defaults; lists are
//! added to and taken from.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_IncrementalAlterConfigs>

use std::collections::BTreeMap;

use atoll_kernel::{Context, NodeId};

use crate::cluster::{Caller, Cluster, Outcome};
use crate::config::TopicConfig;
use crate::dynamic;
use crate::error::ErrorCode;
use crate::security::acl::Operation;
use crate::state::image::MetadataRecord;
use crate::wire::generated::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use crate::wire::generated::incremental_alter_configs_response::AlterConfigsResourceResponse;
use crate::wire::generated::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use crate::wire::{Request, Response};

/// Resources are topics (2) or brokers (4).
pub(super) const TOPIC: i8 = 2;
/// A broker, or with an empty name all of them.
pub(super) const BROKER: i8 = 4;
/// A group of KIP-848.
pub(super) const GROUP: i8 = 32;
/// How long the controller is waited for; the request does not say.
pub(super) const TIMEOUT_MS: i32 = 30_000;
/// Options whose values are lists, which can be appended to and subtracted from.
const LISTS: &[&str] =
    &["cleanup.policy", "follower.replication.throttled.replicas", "leader.replication.throttled.replicas"];

pub(super) type Refusal = (ErrorCode, String);

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: IncrementalAlterConfigsRequest,
) -> Outcome {
    if !super::controller_ready(cluster, ctx, caller) {
        return cluster.park_for_controller(ctx, caller, Request::IncrementalAlterConfigs(request), TIMEOUT_MS);
    }
    let named = |asked: &AlterConfigsResource| (asked.resource_type, asked.resource_name.clone());
    let change = |asked: &AlterConfigsResource| {
        check_access(cluster, caller, asked.resource_type, &asked.resource_name)?;
        alter(cluster, ctx, asked, request.validate_only)
    };
    let refusals = each_once(&request.resources, named, change);
    let responses = request.resources.iter().zip(refusals).map(|(asked, refused)| answer(asked, refused)).collect();
    let response = IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() };
    Response::IncrementalAlterConfigs(response).into()
}

/// Does something to each resource that is named once, and gives what was refused.
pub(super) fn each_once<R>(
    resources: &[R],
    named: impl Fn(&R) -> (i8, String),
    mut change: impl FnMut(&R) -> Result<(), Refusal>,
) -> Vec<Option<Refusal>> {
    let names: Vec<(i8, String)> = resources.iter().map(named).collect();
    let one = |(asked, name): (&R, &(i8, String))| match names.iter().filter(|other| *other == name).count() {
        1 => change(asked).err(),
        _ => Some((ErrorCode::InvalidRequest, "Each resource must appear at most once.".to_owned())),
    };
    resources.iter().zip(&names).map(one).collect()
}

/// A refusal as it is answered.
pub(super) fn told(refused: Option<Refusal>) -> (i16, Option<String>) {
    refused.map_or((0, None), |(error, reason)| (error.code(), Some(reason)))
}

/// What every resource is answered where the controller was not reached.
pub(super) fn late() -> Option<Refusal> {
    Some((ErrorCode::RequestTimedOut, "The controller was not reached.".to_owned()))
}

/// Whether a caller may change the options of something.
pub(super) fn check_access(cluster: &Cluster, caller: &Caller, kind: i8, name: &str) -> Result<(), Refusal> {
    let allowed = match kind {
        TOPIC => cluster.may_topic(caller, Operation::AlterConfigs, name),
        BROKER => cluster.may_cluster(caller, Operation::AlterConfigs),
        GROUP => cluster.may_group(caller, Operation::AlterConfigs, name),
        _ => true,
    };
    if allowed { Ok(()) } else { Err(unauthorized(kind)) }
}

/// The refusal for a kind of resource.
pub(super) fn unauthorized(kind: i8) -> Refusal {
    let (error, reason) = match kind {
        TOPIC => (ErrorCode::TopicAuthorizationFailed, "Topic authorization failed."),
        GROUP => (ErrorCode::GroupAuthorizationFailed, "Group authorization failed."),
        _ => (ErrorCode::ClusterAuthorizationFailed, "Cluster authorization failed."),
    };
    (error, reason.to_owned())
}

fn alter(cluster: &mut Cluster, ctx: &Context<'_>, asked: &AlterConfigsResource, dry: bool) -> Result<(), Refusal> {
    let resource = Resource::find(cluster, asked.resource_type, &asked.resource_name)?;
    let mut options = resource.options(cluster);
    for config in &asked.configs {
        if asked.configs.iter().filter(|other| other.name == config.name).count() > 1 {
            let reason = format!("Error due to duplicate config keys: {}", config.name);
            return Err((ErrorCode::InvalidRequest, reason));
        }
        change(cluster, &resource, &mut options, config)?;
    }
    resource.become_(cluster, ctx, options, dry)
}

/// Does one operation on a set of options: set (0), delete (1), append (2), subtract (3).
fn change(
    cluster: &Cluster,
    resource: &Resource,
    options: &mut BTreeMap<String, String>,
    config: &AlterableConfig,
) -> Result<(), Refusal> {
    let name = &config.name;
    match (config.config_operation, &config.value) {
        (1, _) => drop(options.remove(name)),
        (0 | 2 | 3, None) => {
            return Err((ErrorCode::InvalidRequest, format!("Null value not supported for : {name}")));
        }
        (0, Some(value)) => drop(options.insert(name.clone(), value.clone())),
        (operation @ (2 | 3), Some(value)) => {
            if !LISTS.contains(&name.as_str()) {
                let verb = if operation == 2 { "APPEND" } else { "SUBTRACT" };
                let reason = format!("Can't {verb} to key {name} because its type is not LIST.");
                return Err((ErrorCode::InvalidConfig, reason));
            }
            let present = resource.value(cluster, options, name);
            let mut entries: Vec<&str> = present.split(',').filter(|entry| !entry.is_empty()).collect();
            let given = value.split(',').map(str::trim);
            if operation == 2 {
                let new: Vec<&str> = given.filter(|entry| !entries.contains(entry)).collect();
                entries.extend(new);
            } else {
                let gone: Vec<&str> = given.collect();
                entries.retain(|entry| !gone.contains(entry));
            }
            options.insert(name.clone(), entries.join(","));
        }
        (operation, _) => {
            return Err((ErrorCode::InvalidRequest, format!("Unknown operation type {operation}")));
        }
    }
    Ok(())
}

/// Something that has options.
pub(super) enum Resource {
    /// A topic, by name.
    Topic(String),
    /// A broker's id, or the empty name for all of them.
    Broker(String),
    /// A group, by name; it need not be there.
    Group(String),
}

impl Resource {
    pub fn find(cluster: &Cluster, kind: i8, name: &str) -> Result<Resource, Refusal> {
        match kind {
            TOPIC if cluster.authority.topics.contains_key(name) => Ok(Resource::Topic(name.to_owned())),
            TOPIC => Err((ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist."))),
            BROKER if name.is_empty() => Ok(Resource::Broker(String::new())),
            BROKER => match name.parse::<i32>() {
                Err(_) => {
                    let reason = format!("Node id must be an integer, but it is: {name}");
                    Err((ErrorCode::InvalidRequest, reason))
                }
                Ok(id) => {
                    let known = u16::try_from(id).is_ok_and(|id| cluster.authority.brokers.contains_key(&NodeId(id)));
                    let reason = || format!("No node with id {id} found.");
                    known.then(|| Resource::Broker(id.to_string())).ok_or_else(|| (ErrorCode::InvalidRequest, reason()))
                }
            },
            GROUP if name.is_empty() => {
                Err((ErrorCode::InvalidRequest, "Default group resources are not allowed.".to_owned()))
            }
            GROUP => Ok(Resource::Group(name.to_owned())),
            _ => Err((ErrorCode::InvalidRequest, format!("Unsupported config resource type {kind}"))),
        }
    }

    /// Its own options.
    fn options(&self, cluster: &Cluster) -> BTreeMap<String, String> {
        let found = match self {
            Resource::Topic(name) => cluster.authority.topics.get(name).map(|topic| &topic.options),
            Resource::Broker(name) => cluster.authority.broker_options.get(name),
            Resource::Group(name) => cluster.authority.group_options.get(name),
        };
        found.cloned().unwrap_or_default()
    }

    /// The value that counts for one of them.
    fn value(&self, cluster: &Cluster, options: &BTreeMap<String, String>, name: &str) -> String {
        let default = match self {
            Resource::Topic(_) => cluster.config.topic_value(options, name),
            Resource::Broker(_) | Resource::Group(_) => None,
        };
        options.get(name).cloned().or(default).unwrap_or_default()
    }

    /// Gives it exactly these options, or only says whether they could be given.
    pub fn become_(
        &self,
        cluster: &mut Cluster,
        ctx: &Context<'_>,
        wanted: BTreeMap<String, String>,
        dry: bool,
    ) -> Result<(), Refusal> {
        match self {
            Resource::Topic(_) => {
                TopicConfig::resolve(&cluster.config, &wanted).map_err(|reason| (ErrorCode::InvalidConfig, reason))?;
            }
            Resource::Broker(_) => {
                dynamic::check(&cluster.config, &wanted).map_err(|reason| (ErrorCode::InvalidRequest, reason))?;
            }
            Resource::Group(_) => {
                let checked = cluster.config.check_group_options(&wanted);
                checked.map_err(|reason| (ErrorCode::InvalidConfig, reason))?;
            }
        }
        if dry {
            return Ok(());
        }
        let present = self.options(cluster);
        let mut records: Vec<MetadataRecord> = Vec::new();
        for name in present.keys().filter(|name| !wanted.contains_key(*name)) {
            records.push(self.record(name.clone(), None));
        }
        for (name, value) in wanted {
            if present.get(&name) != Some(&value) {
                records.push(self.record(name, Some(value)));
            }
        }
        cluster.commit(ctx, records).map_err(|error| (error, "The controller has no majority.".to_owned()))
    }

    fn record(&self, name: String, value: Option<String>) -> MetadataRecord {
        match self {
            Resource::Topic(topic) => MetadataRecord::TopicOption { topic: topic.clone(), name, value },
            Resource::Broker(broker) => MetadataRecord::BrokerOption { broker: broker.clone(), name, value },
            Resource::Group(group) => MetadataRecord::GroupOption { group: group.clone(), name, value },
        }
    }
}

fn answer(asked: &AlterConfigsResource, refused: Option<Refusal>) -> AlterConfigsResourceResponse {
    let (error_code, error_message) = told(refused);
    AlterConfigsResourceResponse {
        error_code,
        error_message,
        resource_type: asked.resource_type,
        resource_name: asked.resource_name.clone(),
    }
}

pub(super) fn timed_out(request: &IncrementalAlterConfigsRequest) -> Response {
    let responses = request.resources.iter().map(|asked| answer(asked, late())).collect();
    Response::IncrementalAlterConfigs(IncrementalAlterConfigsResponse { responses, ..Default::default() })
}

/// Broker ids of a request as nodes; one that cannot be is one that is not there.
pub(super) fn nodes(ids: &[i32]) -> Vec<u16> {
    ids.iter().map(|id| u16::try_from(*id).unwrap_or(u16::MAX)).collect()
}
