//! The three older kinds of patch: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and strategic merge patch.

use serde_json::{Map, Value};

use crate::error::{Reason, Status};
use crate::schema::{Field, Shape, schema};

/// Operations of one JSON patch; as many as the real server admits.
const OPERATIONS_MAX: usize = 10_000;

/// Applies a JSON patch.
///
/// # Errors
/// 400 for a malformed patch, 422 for one that does not fit the object (as the real server answers), 413 for too many operations.
pub fn json_patch(object: &Value, patch: &Value) -> Result<Value, Status> {
    let Some(operations) = patch.as_array() else {
        return Err(Status::bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch",
        ));
    };
    if operations.len() > OPERATIONS_MAX {
        let message =
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", operations.len());
        return Err(Status::new(Reason::RequestEntityTooLarge, message));
    }
    let mut new = object.clone();
    for operation in operations {
        perform(&mut new, operation)?;
    }
    Ok(new)
}

fn perform(object: &mut Value, operation: &Value) -> Result<(), Status> {
    let part = |name: &str| operation.get(name).and_then(Value::as_str);
    let unfit = |why: String| {
        Status::new(Reason::Invalid, format!("the server rejected our request due to an error in our request: {why}"))
    };
    let (Some(kind), Some(path)) = (part("op"), part("path")) else {
        return Err(Status::bad_request("error decoding patch: an operation needs 'op' and 'path'"));
    };
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    let from = || part("from").ok_or_else(|| Status::bad_request("error decoding patch: the operation needs 'from'"));
    match kind {
        "add" => insert(object, path, value()).map_err(unfit),
        "remove" => take(object, path).map(drop).map_err(unfit),
        "replace" => {
            let place = object
                .pointer_mut(path)
                .ok_or_else(|| unfit(format!("replace operation does not apply: doc is missing key: {path}")))?;
            *place = value();
            Ok(())
        }
        "test" if object.pointer(path).unwrap_or(&Value::Null) == &value() => Ok(()),
        "test" => Err(unfit(format!("testing value {path} failed: test failed"))),
        "copy" => {
            let source = from()?;
            let copied = object
                .pointer(source)
                .cloned()
                .ok_or_else(|| unfit(format!("copy operation does not apply: doc is missing key: {source}")))?;
            insert(object, path, copied).map_err(unfit)
        }
        "move" => {
            let moved = take(object, from()?).map_err(unfit)?;
            insert(object, path, moved).map_err(unfit)
        }
        other => Err(Status::bad_request(format!("error decoding patch: Unexpected kind: {other}"))),
    }
}

fn split(path: &str) -> Result<(&str, String), String> {
    let (parent, last) = path.rsplit_once('/').ok_or_else(|| format!("invalid path {path}"))?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn insert(object: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        *object = value;
        return Ok(());
    }
    let (parent, last) = split(path)?;
    let missing = || format!("add operation does not apply: doc is missing path: \"{path}\": missing value");
    match object.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.insert(last, value);
            Ok(())
        }
        Some(Value::Array(list)) => {
            let at = if last == "-" { list.len() } else { last.parse().map_err(|_| missing())? };
            if at > list.len() {
                return Err(format!("add operation does not apply: index {at} is out of bounds"));
            }
            list.insert(at, value);
            Ok(())
        }
        _ => Err(missing()),
    }
}

fn take(object: &mut Value, path: &str) -> Result<Value, String> {
    let (parent, last) = split(path)?;
    let missing = || format!("remove operation does not apply: doc is missing path: \"{path}\": missing value");
    match object.pointer_mut(parent) {
        Some(Value::Object(members)) => members.shift_remove(&last).ok_or_else(missing),
        Some(Value::Array(list)) => {
            let at: usize = last.parse().map_err(|_| missing())?;
            if at < list.len() { Ok(list.remove(at)) } else { Err(missing()) }
        }
        _ => Err(missing()),
    }
}

/// Applies a JSON merge patch: null removes, objects merge, everything else replaces.
pub fn merge_patch(object: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut merged = object.as_object().cloned().unwrap_or_default();
    for (name, change) in changes {
        if change.is_null() {
            merged.shift_remove(name);
        } else {
            let old = merged.get(name).unwrap_or(&Value::Null);
            let new = merge_patch(old, change);
            merged.insert(name.clone(), new);
        }
    }
    Value::Object(merged)
}

/// Applies a strategic merge patch by the merge keys of the schema, with the directives `$patch`, `$retainKeys`,
/// `$deleteFromPrimitiveList/…` and `$setElementOrder/…`.
///
/// # Errors
/// 400 for an item without its merge key, or an unknown directive.
pub fn strategic_merge(shape: &Shape, object: &Value, patch: &Value) -> Result<Value, Status> {
    if !patch.is_object() {
        return Err(Status::bad_request("error decoding patch: a strategic merge patch is an object"));
    }
    merge_members(shape, object, patch)
}

fn field_of<'a>(shape: &Shape, name: &str) -> Option<&'a Field> {
    match shape {
        Shape::Type(position) => schema().at(*position).field(name),
        _ => None,
    }
}

fn merge_members(shape: &Shape, object: &Value, patch: &Value) -> Result<Value, Status> {
    let Value::Object(changes) = patch else { return Ok(patch.clone()) };
    match changes.get("$patch").and_then(Value::as_str) {
        Some("replace") => return Ok(without_directives(patch)),
        Some("delete") => return Ok(Value::Null),
        Some("merge") | None => {}
        Some(other) => return Err(Status::bad_request(format!("Unknown patch type: {other}"))),
    }
    let mut merged = object.as_object().cloned().unwrap_or_default();
    if let Some(retained) = changes.get("$retainKeys").and_then(Value::as_array) {
        merged.retain(|name, _| retained.iter().any(|kept| kept.as_str() == Some(name)));
    }
    for (name, change) in changes.iter().filter(|(name, _)| !name.starts_with('$')) {
        if change.is_null() {
            merged.shift_remove(name);
            continue;
        }
        let field = field_of(shape, name);
        let any = Shape::Anything;
        let inner = match (field, shape) {
            (Some(field), _) => &field.shape,
            (None, Shape::Map(inner)) => inner.as_ref(),
            _ => &any,
        };
        let old = merged.get(name).unwrap_or(&Value::Null);
        let new = match (change, field.and_then(|field| field.merge.as_deref())) {
            (Value::Object(_), _) => merge_members(inner, old, change)?,
            (Value::Array(list), Some(key)) => merge_lists(inner, old, list, key)?,
            _ => change.clone(),
        };
        if new.is_null() {
            merged.shift_remove(name);
        } else {
            merged.insert(name.clone(), new);
        }
    }
    arrange(&mut merged, changes, shape);
    Ok(Value::Object(merged))
}

/// The list directives, which stand beside the list: deletions from lists of scalars, and the order of items.
fn arrange(merged: &mut Map<String, Value>, changes: &Map<String, Value>, shape: &Shape) {
    for (directive, value) in changes {
        let Some(wanted) = value.as_array() else { continue };
        if let Some(name) = directive.strip_prefix("$deleteFromPrimitiveList/") {
            if let Some(list) = merged.get_mut(name).and_then(Value::as_array_mut) {
                list.retain(|item| !wanted.contains(item));
            }
        } else if let Some(name) = directive.strip_prefix("$setElementOrder/") {
            let key = field_of(shape, name).and_then(|field| field.merge.as_deref()).unwrap_or("");
            let Some(list) = merged.get_mut(name).and_then(Value::as_array_mut) else { continue };
            let identity = |item: &Value| if key.is_empty() { Some(item.clone()) } else { item.get(key).cloned() };
            // Items that the order does not name keep their place relative to the item before them.
            let mut last = 0;
            let mut ranked: Vec<(usize, Value)> = Vec::with_capacity(list.len());
            for item in list.drain(..) {
                let rank = wanted.iter().position(|named| identity(named) == identity(&item));
                last = rank.unwrap_or(last);
                ranked.push((last, item));
            }
            ranked.sort_by_key(|(rank, _)| *rank);
            list.extend(ranked.into_iter().map(|(_, item)| item));
        }
    }
}

fn merge_lists(shape: &Shape, old: &Value, changes: &[Value], key: &str) -> Result<Value, Status> {
    let mut merged = old.as_array().cloned().unwrap_or_default();
    if changes.iter().any(|item| item.get("$patch").and_then(Value::as_str) == Some("replace")) {
        let fresh = changes.iter().filter(|item| item.get("$patch").is_none());
        return Ok(Value::Array(fresh.cloned().collect()));
    }
    let Shape::List(inner) = shape else { return Ok(Value::Array(changes.to_vec())) };
    for change in changes {
        if key.is_empty() {
            if !merged.contains(change) {
                merged.push(change.clone());
            }
            continue;
        }
        let identity = change.get(key).filter(|identity| !identity.is_null());
        let Some(identity) = identity else {
            return Err(Status::bad_request(format!("map: {change} does not contain declared merge key: {key}")));
        };
        if change.get("$patch").and_then(Value::as_str) == Some("delete") {
            merged.retain(|item| item.get(key) != Some(identity));
            continue;
        }
        match merged.iter_mut().find(|item| item.get(key) == Some(identity)) {
            Some(item) => *item = merge_members(inner, item, change)?,
            None => merged.push(merge_members(inner, &Value::Null, change)?),
        }
    }
    Ok(Value::Array(merged))
}

fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| !name.starts_with('$'));
            Value::Object(kept.map(|(name, member)| (name.clone(), member.clone())).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
