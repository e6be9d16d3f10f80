//! Typed views of objects that are held as JSON values: short readers that answer a neutral value when a field is absent
//! or of another type, and writers that create what is missing on the way.

use serde_json::{Map, Value, json};

/// The value at a path of names (and list positions) with slashes before each, as `/spec/containers/0/name`. Like a JSON
/// pointer, but without its escapes, which no name of a field needs and which cost an allocation per step.
pub fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let mut place = value;
    for step in path.split('/').skip(1) {
        place = match place {
            Value::Object(members) => members.get(step)?,
            Value::Array(list) => list.get(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(place)
}

/// The text at a path, or "".
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    at(value, pointer).and_then(Value::as_str).unwrap_or("")
}

/// The integer at a path.
pub fn int(value: &Value, pointer: &str) -> Option<i64> {
    at(value, pointer).and_then(Value::as_i64)
}

/// The boolean at a path, or false.
pub fn flag(value: &Value, pointer: &str) -> bool {
    at(value, pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// The items of the array at a path, or none.
pub fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    at(value, pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The map at a path, if there is one.
pub fn map<'a>(value: &'a Value, pointer: &str) -> Option<&'a Map<String, Value>> {
    at(value, pointer).and_then(Value::as_object)
}

/// The object's name.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The object's namespace, "" for cluster-scoped ones.
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// The object's uid.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// The object's resource version as a number; 0 when absent.
pub fn version(object: &Value) -> u64 {
    text(object, "/metadata/resourceVersion").parse().unwrap_or(0)
}

/// The object's labels.
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    map(object, "/metadata/labels")
}

/// One label's value.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    labels(object)?.get(key)?.as_str()
}

/// One annotation's value.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    map(object, "/metadata/annotations")?.get(key)?.as_str()
}

/// Whether deletion has been asked for.
pub fn is_terminating(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

/// The finalizers that still hold the object.
pub fn finalizers(object: &Value) -> Vec<&str> {
    items(object, "/metadata/finalizers").iter().filter_map(Value::as_str).collect()
}

/// The owner reference with `controller: true`.
pub fn controller_of(object: &Value) -> Option<&Value> {
    items(object, "/metadata/ownerReferences").iter().find(|owner| flag(owner, "/controller"))
}

/// Whether the object's controller has this uid.
pub fn is_controlled_by(object: &Value, owner_uid: &str) -> bool {
    controller_of(object).is_some_and(|owner| text(owner, "/uid") == owner_uid)
}

/// The condition of this type in `status.conditions`.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, "/status/conditions").iter().find(|condition| text(condition, "/type") == kind)
}

/// Whether the condition of this type is `True`.
pub fn has_condition(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| text(condition, "/status") == "True")
}

/// A reference to an object, as events and endpoint targets carry it.
pub fn reference(object: &Value) -> Value {
    let mut reference = Map::new();
    for (key, pointer) in [
        ("kind", "/kind"),
        ("namespace", "/metadata/namespace"),
        ("name", "/metadata/name"),
        ("uid", "/metadata/uid"),
        ("apiVersion", "/apiVersion"),
        ("resourceVersion", "/metadata/resourceVersion"),
    ] {
        let part = text(object, pointer);
        if !part.is_empty() {
            reference.insert(key.to_owned(), json!(part));
        }
    }
    Value::Object(reference)
}

/// The owner reference by which `owner` controls an object.
pub fn owner_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": text(owner, "/apiVersion"),
        "kind": text(owner, "/kind"),
        "name": name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// The place of a path of map keys; maps are created on the way and other values in the way replaced.
pub fn slot<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Value {
    let mut place = value;
    for key in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[*key];
    }
    place
}

/// Sets a field, creating maps on the way.
pub fn set(value: &mut Value, path: &[&str], new: impl Into<Value>) {
    *slot(value, path) = new.into();
}

/// Sets a field unless it is there already (null counts as absent).
pub fn set_default(value: &mut Value, path: &[&str], new: impl Into<Value>) {
    let place = slot(value, path);
    if place.is_null() {
        *place = new.into();
    }
}

/// Removes a field, if it is there, keeping the order of the others.
pub fn remove(value: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut place = value;
    for key in parents {
        let Some(next) = place.get_mut(*key) else { return };
        place = next;
    }
    if let Some(map) = place.as_object_mut() {
        map.shift_remove(*last);
    }
}

/// Drops every null member of every map, and nothing else: Kubernetes treats null as absent.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, member| !member.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Sets a condition in `status.conditions`; the transition time moves only when the status does.
pub fn set_condition(object: &mut Value, mut condition: Value, now: &str) {
    let kind = text(&condition, "/type").to_owned();
    let list = slot(object, &["status", "conditions"]);
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    match list.iter_mut().find(|old| text(old, "/type") == kind) {
        Some(old) => {
            let same = text(old, "/status") == text(&condition, "/status");
            let since = if same { text(old, "/lastTransitionTime").to_owned() } else { now.to_owned() };
            condition["lastTransitionTime"] = json!(since);
            *old = condition;
        }
        None => {
            condition["lastTransitionTime"] = json!(now);
            list.push(condition);
        }
    }
}
