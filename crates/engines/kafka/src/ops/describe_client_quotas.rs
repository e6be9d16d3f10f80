//! DescribeClientQuotas (48), versions 0–1: the quotas whose entities a filter finds (KIP-546).
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeClientQuotas>

use std::collections::BTreeMap;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::quotas::{Bound, Entity, Name};
use crate::wire::Response;
use crate::wire::generated::describe_client_quotas_request::ComponentData;
use crate::wire::generated::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use crate::wire::generated::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

type Refusal = (ErrorCode, String);

pub(super) fn apply(cluster: &Cluster, caller: &Caller, request: DescribeClientQuotasRequest) -> Outcome {
    let wanted = match read(&request.components) {
        Ok(wanted) => wanted,
        Err((error, reason)) => return refused(error, Some(reason)).into(),
    };
    let Some(image) = cluster.brokers.get(&caller.node).map(|broker| &broker.image) else { return Outcome::Close };
    let matches = |entity: &Entity| {
        let parts = parts(entity);
        let fits = |(kind, name): (&&str, &Option<Option<Name>>)| match (parts.get(kind), name) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(found), Some(name)) => name.as_ref() == Some(*found),
        };
        (!request.strict || parts.len() == wanted.len()) && wanted.iter().all(fits)
    };
    let entries =
        image.quotas.iter().filter(|(entity, _)| matches(entity)).map(|(entity, values)| describe(entity, values));
    let (error_message, entries) = (Some(String::new()), Some(entries.collect()));
    let response = DescribeClientQuotasResponse { error_message, entries, ..DescribeClientQuotasResponse::default() };
    Response::DescribeClientQuotas(response).into()
}

/// What is asked for by type of entity: any (None), or just this.
fn read(components: &[ComponentData]) -> Result<BTreeMap<&str, Option<Option<Name>>>, Refusal> {
    let invalid = |reason: &str| Err((ErrorCode::InvalidRequest, reason.to_owned()));
    let mut wanted = BTreeMap::new();
    for component in components {
        let kind = component.entity_type.as_str();
        if kind.is_empty() {
            return invalid("Invalid empty entity type.");
        }
        if wanted.contains_key(kind) {
            return invalid(&format!("Entity type {kind} cannot appear more than once in the filter."));
        }
        if ![USER, CLIENT_ID, IP].contains(&kind) {
            return Err((ErrorCode::UnsupportedVersion, format!("Unsupported entity type {kind}")));
        }
        let name = match (component.match_type, &component.r#match) {
            (0, None) => return invalid("Request specified MATCH_TYPE_EXACT, but set match string to null."),
            (0, Some(name)) => Some(Some(Name::Just(name.clone()))),
            (1, None) => Some(Some(Name::Default)),
            (1, Some(_)) => return invalid("Request specified MATCH_TYPE_DEFAULT, but also specified a match string."),
            (2, None) => None,
            (2, Some(_)) => {
                return invalid("Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.");
            }
            (other, _) => return invalid(&format!("Unknown match type {other}")),
        };
        wanted.insert(kind, name);
    }
    if wanted.contains_key(IP) && wanted.len() > 1 {
        return invalid(
            "Invalid entity filter component combination. IP filter component should not be used with user or clientId \
             filter component.",
        );
    }
    Ok(wanted)
}

/// The parts of an entity by their types.
pub(super) fn parts(entity: &Entity) -> BTreeMap<&'static str, &Name> {
    let all = [(USER, &entity.user), (CLIENT_ID, &entity.client_id), (IP, &entity.ip)];
    all.into_iter().filter_map(|(kind, name)| Some((kind, name.as_ref()?))).collect()
}

fn describe(entity: &Entity, values: &BTreeMap<String, Bound>) -> EntryData {
    let part = |(kind, name): (&str, &Name)| EntityData {
        entity_type: kind.to_owned(),
        entity_name: match name {
            Name::Default => None,
            Name::Just(name) => Some(name.clone()),
        },
    };
    let value = |(key, bound): (&String, &Bound)| ValueData { key: key.clone(), value: bound.0 };
    EntryData { entity: parts(entity).into_iter().map(part).collect(), values: values.iter().map(value).collect() }
}

pub(super) fn refused(error: ErrorCode, reason: Option<String>) -> Response {
    Response::DescribeClientQuotas(DescribeClientQuotasResponse {
        error_code: error.code(),
        error_message: reason,
        entries: None,
        ..DescribeClientQuotasResponse::default()
    })
}
