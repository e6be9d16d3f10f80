//! AlterClientQuotas (49), versions 0–1: sets quotas and takes them away, in the cluster's metadata (KIP-546).
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_AlterClientQuotas>

use std::collections::BTreeMap;
use std::net::IpAddr;

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::quotas::{Bound, CONNECTION_RATE, Entity, Name};
use crate::state::image::MetadataRecord;
use crate::wire::generated::alter_client_quotas_request::{EntityData, EntryData};
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
    let mut outcomes = Vec::new();
    let mut seen: Vec<&[EntityData]> = Vec::new();
    for entry in &request.entries {
        let outcome = match seen.contains(&entry.entity.as_slice()) {
            true => Err(invalid("Ignoring duplicate entity".to_owned())),
            false => alter(cluster, entry),
        };
        seen.push(&entry.entity);
        outcomes.push(outcome.map(|new| records.extend(new)));
    }
    let committed = if request.validate_only { Ok(()) } else { cluster.commit(ctx, records) };
    let entries = request.entries.iter().zip(outcomes).map(|(entry, outcome)| {
        let late = |error| (error, "The controller has no majority.".to_owned());
        answer(entry, outcome.and_then(|()| committed.map_err(late)).err())
    });
    respond(entries.collect()).into()
}

fn invalid(reason: String) -> Refusal {
    (ErrorCode::InvalidRequest, reason)
}

/// The records that do what is asked for one entity.
fn alter(cluster: &Cluster, entry: &EntryData) -> Result<Vec<MetadataRecord>, Refusal> {
    let entity = entity(&entry.entity)?;
    let present = cluster.authority.quotas.get(&entity);
    let mut changes: BTreeMap<&str, Option<f64>> = BTreeMap::new();
    for change in &entry.ops {
        let value = (!change.remove).then_some(change.value);
        if changes.insert(&change.key, value).is_some() {
            return Err(invalid(format!("Duplicate quota key {} not updating quota for this entity", change.key)));
        }
    }
    let mut records = Vec::new();
    for (key, value) in changes {
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

fn entity(parts: &[EntityData]) -> Result<Entity, Refusal> {
    if parts.is_empty() {
        return Err(invalid("Invalid empty client quota entity".to_owned()));
    }
    let mut entity = Entity::default();
    for part in parts {
        let kind = part.entity_type.as_str();
        let slot = match kind {
            "user" => &mut entity.user,
            "client-id" => &mut entity.client_id,
            "ip" => &mut entity.ip,
            _ => return Err(invalid(format!("Unhandled client quota entity type: {kind}"))),
        };
        if slot.is_some() {
            return Err(invalid(format!("Invalid client quota entity, duplicate entity entry {kind}")));
        }
        *slot = Some(match part.entity_name.as_deref() {
            None => Name::Default,
            Some("") => return Err(invalid(format!("Empty {kind} not supported"))),
            Some(name) => Name::Just(name.to_owned()),
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

fn answer(entry: &EntryData, refused: Option<Refusal>) -> answered::EntryData {
    let (error, error_message) = refused.map_or((ErrorCode::None, None), |(error, reason)| (error, Some(reason)));
    let part = |part: &EntityData| answered::EntityData {
        entity_type: part.entity_type.clone(),
        entity_name: part.entity_name.clone(),
    };
    answered::EntryData { error_code: error.code(), error_message, entity: entry.entity.iter().map(part).collect() }
}

fn respond(entries: Vec<answered::EntryData>) -> Response {
    Response::AlterClientQuotas(AlterClientQuotasResponse { entries, ..AlterClientQuotasResponse::default() })
}

pub(super) fn refused(request: &AlterClientQuotasRequest, error: ErrorCode, reason: &str) -> Response {
    respond(request.entries.iter().map(|entry| answer(entry, Some((error, reason.to_owned())))).collect())
}

pub(super) fn timed_out(request: &AlterClientQuotasRequest) -> Response {
    refused(request, ErrorCode::RequestTimedOut, "The controller was not reached.")
}
