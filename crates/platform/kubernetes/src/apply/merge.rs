//! Merging an applied configuration into the live object, and removing what nobody owns any more.

use serde_json::{Map, Value};

use super::fields::{Composition, FieldSet, Spot, keyed_step, missing_key, set_step};
use crate::error::Status;
use crate::schema::Shape;

/// The live object with every field of the configuration laid over it.
///
/// # Errors
/// 400 when an item of a keyed list lacks its keys.
pub(super) fn merge(shape: &Shape, live: &Value, config: &Value) -> Result<Value, Status> {
    merge_at(Spot::root(shape), live, config)
}

fn merge_at(spot: Spot<'_>, live: &Value, config: &Value) -> Result<Value, Status> {
    match (spot.kind(config), live, config) {
        (Composition::Members | Composition::Entries, _, Value::Object(members)) => {
            let mut merged = live.as_object().cloned().unwrap_or_default();
            for (name, member) in members {
                let old = merged.get(name).unwrap_or(&Value::Null);
                let new = merge_at(spot.member(name), old, member)?;
                merged.insert(name.clone(), new);
            }
            Ok(Value::Object(merged))
        }
        (Composition::Keyed(keys, inner), _, Value::Array(list)) => {
            let mut merged = live.as_array().cloned().unwrap_or_default();
            for item in list {
                let step = keyed_step(keys, inner, item).ok_or_else(|| missing_key(keys))?;
                match merged.iter_mut().find(|old| keyed_step(keys, inner, old).as_ref() == Some(&step)) {
                    Some(old) => *old = merge_at(Spot::root(inner), old, item)?,
                    None => merged.push(merge_at(Spot::root(inner), &Value::Null, item)?),
                }
            }
            Ok(Value::Array(merged))
        }
        (Composition::Set, Value::Array(old), Value::Array(list)) => {
            let mut merged = old.clone();
            merged.extend(list.iter().filter(|item| !old.contains(item)).cloned());
            Ok(Value::Array(merged))
        }
        _ => Ok(config.clone()),
    }
}

/// Removes the dropped fields; an entry or item with something below that is still owned stays.
pub(super) fn prune(shape: &Shape, object: &mut Value, dropped: &FieldSet, kept: &FieldSet) {
    prune_at(Spot::root(shape), object, dropped, Some(kept));
}

fn prune_at(spot: Spot<'_>, value: &mut Value, dropped: &FieldSet, kept: Option<&FieldSet>) {
    // `kind` looks only at the value's outer form, so a copy of an empty container of the same form is enough.
    let form = match value {
        Value::Object(_) => Value::Object(Map::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        _ => return,
    };
    for (step, below) in dropped.steps() {
        let still_owned = kept.and_then(|kept| kept.below(step));
        let gone = below.is_member() && still_owned.is_none_or(FieldSet::is_empty);
        match (spot.kind(&form), &mut *value) {
            (Composition::Members | Composition::Entries, Value::Object(members)) => {
                let name = step.strip_prefix("f:").unwrap_or(step);
                if gone {
                    members.shift_remove(name);
                } else if let Some(member) = members.get_mut(name) {
                    prune_at(spot.member(name), member, below, still_owned);
                    if is_hollow(member) && still_owned.is_none_or(FieldSet::is_empty) {
                        members.shift_remove(name);
                    }
                }
            }
            (Composition::Keyed(keys, inner), Value::Array(list)) => {
                let is_it = |item: &Value| keyed_step(keys, inner, item).as_ref() == Some(step);
                if gone {
                    list.retain(|item| !is_it(item));
                } else if let Some(item) = list.iter_mut().find(|item| is_it(item)) {
                    prune_at(Spot::root(inner), item, below, still_owned);
                }
            }
            (Composition::Set, Value::Array(list)) if gone => list.retain(|item| set_step(item) != *step),
            _ => {}
        }
    }
}

fn is_hollow(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}
