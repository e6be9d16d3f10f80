//! AlterClientQuotas (49), versions 0–1: sets quotas and takes them away, in the cluster's metadata (KIP-546).
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_AlterClientQuotas>

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::quotas::{Bound, CONNECTION_RATE, Entity, Name};
use crate::state::image::MetadataRecord;
use crate::wire::generated::alter_client_quotas_request::EntryData;
use crate::wire::generated::alter_client_quotas_response as answered;
use crate::wire::generated::{AlterClientQuotasRequest, AlterClientQuotasResponse};
use crate::wire::{Request, Response};

/// How long the controller is waited for; the request does not say.
const TIMEOUT_MS: i32 = 30_000;

/// Quotas of users and clients that are whole numbers.
const WHOLE: [&str; 2] = ["producer_byte_rate", "consumer_byte_rate"];
/// Those that may be fractions.
const FRACTIONS: [&str; 2] = ["request_percentage", "controller_mutation_rate"];

type Refusal = (ErrorCode, String);

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: AlterClientQuotasRequest,
) -> Outcome {
    if !super::controller_ready(cluster, ctx, caller) {
        return cluster.park_for_controller(ctx, caller, Request::AlterClientQuotas(request), TIMEOUT_MS);
    }
    let mut records = Vec::new();
    let mut outcomes: BTreeMap<Parts<'_>, Result<(), Refusal>> = BTreeMap::new();
    for entry in &request.entries {
        let parts = parts(entry);
        let outcome = match outcomes.contains_key(&parts) || has_duplicate_keys(entry) {
            true => Err(invalid(format!("Ignoring duplicate entity ClientQuotaEntity(entries={})", told(&parts)))),
            false => alter(cluster, &parts, entry),
        };
        // What was said first of an entity stays, although the answer is about what was said last.
        outcomes.insert(parts, outcome.map(|new| records.extend(new)));
    }
    let committed = if request.validate_only { Ok(()) } else { cluster.commit(ctx, records) };
    let entries = outcomes.into_iter().map(|(parts, outcome)| {
        let late = |error| (error, "The controller has no majority.".to_owned());
        answer(&parts, outcome.and_then(|()| committed.map_err(late)).err())
    });
    respond(entries.collect()).into()
}

/// An entity's names by their types, as Kafka keeps them: of two of a type the last counts.
type Parts<'r> = BTreeMap<&'r str, Option<&'r str>>;

fn parts(entry: &EntryData) -> Parts<'_> {
    entry.entity.iter().map(|part| (part.entity_type.as_str(), part.entity_name.as_deref())).collect()
}

/// An entity in Kafka's words.
fn told(parts: &Parts<'_>) -> String {
    let part = |(kind, name): (&&str, &Option<&str>)| format!("{kind}={}", name.unwrap_or("null"));
    format!("{{{}}}", parts.iter().map(part).collect::<Vec<_>>().join(", "))
}

fn has_duplicate_keys(entry: &EntryData) -> bool {
    let mut keys = BTreeSet::new();
    !entry.ops.iter().all(|change| keys.insert(change.key.as_str()))
}

fn invalid(reason: String) -> Refusal {
    (ErrorCode::InvalidRequest, reason)
}

/// The records that do what is asked for one entity.
fn alter(cluster: &Cluster, parts: &Parts<'_>, entry: &EntryData) -> Result<Vec<MetadataRecord>, Refusal> {
    let entity = entity(parts)?;
    let present = cluster.authority.quotas.get(&entity);
    let mut records = Vec::new();
    for change in &entry.ops {
        let key = change.key.as_str();
        let value = (!change.remove).then_some(change.value);
        let before = present.and_then(|present| present.get(key));
        let value = match value {
            None if before.is_none() => continue,
            None => None,
            Some(value) => Some(check(&entity, key, value)?),
        };
        if before.copied() != value {
            records.push(MetadataRecord::Quota { entity: entity.clone(), key: key.to_owned(), value });
        }
    }
    Ok(records)
}

/// The value, if the entity can have it.
fn check(entity: &Entity, key: &str, value: f64) -> Result<Bound, Refusal> {
    let (known, largest) = match entity.ip {
        Some(_) => (key == CONNECTION_RATE, f64::from(i32::MAX)),
        None => (WHOLE.contains(&key) || FRACTIONS.contains(&key), i64::MAX as f64),
    };
    if !known {
        return Err(invalid(format!("Invalid configuration key {key}")));
    }
    if value.is_nan() || value <= 0.0 {
        return Err(invalid(format!("Quota {key} must be greater than 0")));
    }
    let fraction_allowed = FRACTIONS.contains(&key);
    // What is not finite could not be kept.
    if (!fraction_allowed && value > largest) || value.is_infinite() {
        let kind = if entity.ip.is_some() { "an INT" } else { "a LONG" };
        return Err(invalid(format!("Proposed value for {key} is too large for {kind}.")));
    }
    if !fraction_allowed && value % 1.0 > 1e-6 {
        return Err(invalid(format!("{key} cannot be a fractional value.")));
    }
    Ok(Bound(value))
}

fn entity(parts: &Parts<'_>) -> Result<Entity, Refusal> {
    if parts.is_empty() {
        return Err(invalid("Invalid empty client quota entity".to_owned()));
    }
    let mut entity = Entity::default();
    for (kind, name) in parts {
        let slot = match *kind {
            "user" => &mut entity.user,
            "client-id" => &mut entity.client_id,
            "ip" => &mut entity.ip,
            _ => return Err(invalid(format!("Unhandled client quota entity type: {kind}"))),
        };
        *slot = Some(match name {
            None => Name::Default,
            Some("") => return Err(invalid(format!("Empty {kind} not supported"))),
            Some(name) => Name::Just((*name).to_owned()),
        });
    }
    match &entity.ip {
        Some(_) if entity.user.is_some() || entity.client_id.is_some() => Err(invalid(
            "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId".to_owned(),
        )),
        Some(Name::Just(ip)) if ip.parse::<IpAddr>().is_err() => {
            Err(invalid(format!("{ip} is not a valid IP or resolvable host.")))
        }
        _ => Ok(entity),
    }
}

fn answer(parts: &Parts<'_>, refused: Option<Refusal>) -> answered::EntryData {
    let (error, error_message) = refused.map_or((ErrorCode::None, None), |(error, reason)| (error, Some(reason)));
    let part = |(kind, name): (&&str, &Option<&str>)| answered::EntityData {
        entity_type: (*kind).to_owned(),
        entity_name: name.map(str::to_owned),
    };
    answered::EntryData { error_code: error.code(), error_message, entity: parts.iter().map(part).collect() }
}

fn respond(entries: Vec<answered::EntryData>) -> Response {
    Response::AlterClientQuotas(AlterClientQuotasResponse { entries, ..AlterClientQuotasResponse::default() })
}

pub(super) fn refused(request: &AlterClientQuotasRequest, error: ErrorCode, reason: &str) -> Response {
    respond(request.entries.iter().map(|entry| answer(&parts(entry), Some((error, reason.to_owned())))).collect())
}

pub(super) fn timed_out(request: &AlterClientQuotasRequest) -> Response {
    refused(request, ErrorCode::RequestTimedOut, "The controller was not reached.")
}
