//! Sets of fields as a trie, in the form in which `managedFields` stores them (`FieldsV1`).
//!
//! A step of a path is kept in its written form: `f:name` for a field, `k:{"name":"a"}` for an item of a keyed list,
//! `v:"x"` for an item of a set.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::Status;
use crate::schema::{Field, ListKind, Shape, schema};

/// Metadata that the server owns; no manager ever does.
const UNOWNED_METADATA: &[&str] = &[
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Deepest nesting that is followed; the decoder admits no deeper bodies either.
const DEPTH_MAX: usize = 64;

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    member: bool,
    children: BTreeMap<String, FieldSet>,
}

/// What differs between two states of an object.
#[derive(Debug, Default)]
pub struct Changes {
    /// Added or modified.
    pub changed: FieldSet,
    /// Removed.
    pub removed: FieldSet,
}

/// A place in the schema: the shape, with the field that declared it.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    pub shape: &'a Shape,
    pub field: Option<&'a Field>,
}

impl<'a> Spot<'a> {
    pub(super) fn root(shape: &'a Shape) -> Spot<'a> {
        Spot { shape, field: None }
    }

    /// How a value here is composed: as one, of members, of keyed items or of set items.
    pub(super) fn kind(&self, value: &Value) -> Composition<'a> {
        let atomic = self.field.is_some_and(|field| field.atomic);
        match (self.shape, value) {
            (Shape::Type(position), Value::Object(_)) => {
                let kind = schema().at(*position);
                if atomic || kind.atomic || kind.free { Composition::Whole } else { Composition::Members }
            }
            (Shape::Map(_), Value::Object(_)) if !atomic => Composition::Entries,
            (Shape::List(inner), Value::Array(_)) => match self.field.map(|field| &field.list) {
                Some(ListKind::Keyed(keys)) => Composition::Keyed(keys, inner),
                Some(ListKind::Set) => Composition::Set,
                _ => Composition::Whole,
            },
            _ => Composition::Whole,
        }
    }

    /// The spot of a member or map entry. Members that the schema does not know are taken as a whole.
    pub(super) fn member(&self, name: &str) -> Spot<'a> {
        match self.shape {
            Shape::Type(position) => match schema().at(*position).field(name) {
                Some(field) => Spot { shape: &field.shape, field: Some(field) },
                None => Spot::root(&Shape::Anything),
            },
            Shape::Map(inner) => Spot::root(inner),
            _ => Spot::root(&Shape::Anything),
        }
    }
}

/// How a value is composed for the purpose of ownership.
pub(super) enum Composition<'a> {
    Whole,
    Members,
    Entries,
    Keyed(&'a [String], &'a Shape),
    Set,
}

/// The step to an item of a keyed list. `None` when the item lacks a key that has no default.
pub(super) fn keyed_step(keys: &[String], inner: &Shape, item: &Value) -> Option<String> {
    let Shape::Type(position) = inner else { return None };
    let mut parts: BTreeMap<&str, Value> = BTreeMap::new();
    for key in keys {
        let value = match item.get(key) {
            Some(value) if !value.is_null() => value.clone(),
            _ => schema().at(*position).field(key)?.default.clone()?,
        };
        parts.insert(key, value);
    }
    serde_json::to_string(&parts).ok().map(|text| format!("k:{text}"))
}

/// The step to an item of a set.
pub(super) fn set_step(item: &Value) -> String {
    format!("v:{item}")
}

impl FieldSet {
    /// Every field of an applied configuration, without what the server owns.
    ///
    /// # Errors
    /// 400 when an item of a keyed list lacks its keys, or two items share them.
    pub fn of_object(shape: &Shape, object: &Value) -> Result<FieldSet, Status> {
        let mut whole = FieldSet::default();
        collect(Spot::root(shape), object, &mut whole, DEPTH_MAX)?;
        for step in ["f:apiVersion", "f:kind"] {
            whole.children.remove(step);
        }
        if let Some(metadata) = whole.children.get_mut("f:metadata") {
            for name in UNOWNED_METADATA {
                metadata.children.remove(&format!("f:{name}"));
            }
            if metadata.children.is_empty() {
                whole.children.remove("f:metadata");
            }
        }
        Ok(whole)
    }

    /// Reads `FieldsV1`.
    pub fn from_value(value: &Value) -> FieldSet {
        fn read(value: &Value, depth: usize) -> FieldSet {
            let mut set = FieldSet::default();
            let Some(members) = value.as_object() else { return set };
            set.member = members.is_empty() || members.contains_key(".");
            if depth > 0 {
                for (step, below) in members.iter().filter(|(step, _)| *step != ".") {
                    set.children.insert(step.clone(), read(below, depth - 1));
                }
            }
            set
        }
        let mut root = read(value, DEPTH_MAX);
        root.member = false;
        root
    }

    /// Writes `FieldsV1`.
    pub fn to_value(&self) -> Value {
        let mut members = Map::new();
        if self.member && !self.children.is_empty() {
            members.insert(".".to_owned(), json!({}));
        }
        for (step, below) in &self.children {
            members.insert(step.clone(), below.to_value());
        }
        Value::Object(members)
    }

    /// Whether no field is in the set.
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(FieldSet::is_empty)
    }

    /// Fields of either.
    pub fn union(&self, other: &FieldSet) -> FieldSet {
        let mut both = self.clone();
        both.add(other);
        both
    }

    /// Adds the fields of another set.
    pub fn add(&mut self, other: &FieldSet) {
        self.member |= other.member;
        for (step, below) in &other.children {
            self.children.entry(step.clone()).or_default().add(below);
        }
    }

    /// Fields of this set that are not in the other.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |mine, theirs| mine && !theirs, false)
    }

    /// Fields of both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |mine, theirs| mine && theirs, true)
    }

    fn combine(&self, other: &FieldSet, keep: fn(bool, bool) -> bool, common_only: bool) -> FieldSet {
        let mut result = FieldSet { member: keep(self.member, other.member), children: BTreeMap::new() };
        for (step, below) in &self.children {
            let combined = match other.children.get(step) {
                Some(theirs) => below.combine(theirs, keep, common_only),
                None if common_only => continue,
                None => below.clone(),
            };
            if !combined.is_empty() {
                result.children.insert(step.clone(), combined);
            }
        }
        result
    }

    /// The set below a step.
    pub(super) fn below(&self, step: &str) -> Option<&FieldSet> {
        self.children.get(step)
    }

    pub(super) fn is_member(&self) -> bool {
        self.member
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = (&String, &FieldSet)> {
        self.children.iter()
    }

    fn child(&mut self, step: String) -> &mut FieldSet {
        self.children.entry(step).or_default()
    }

    /// Every field as people read it: `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        fn walk(set: &FieldSet, path: &str, into: &mut Vec<String>) {
            if set.member {
                into.push(path.to_owned());
            }
            for (step, below) in &set.children {
                walk(below, &format!("{path}{}", readable(step)), into);
            }
        }
        let mut paths = Vec::new();
        walk(self, "", &mut paths);
        paths
    }
}

fn readable(step: &str) -> String {
    match step.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("v:", value)) => format!("[={value}]"),
        Some(("k:", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", pairs.join(","))
        }
        _ => format!("[{step}]"),
    }
}

fn collect(spot: Spot<'_>, value: &Value, into: &mut FieldSet, depth: usize) -> Result<(), Status> {
    let composition = if depth == 0 { Composition::Whole } else { spot.kind(value) };
    match (composition, value) {
        (Composition::Members, Value::Object(members)) => {
            for (name, member) in members {
                let below = into.child(format!("f:{name}"));
                collect(spot.member(name), member, below, depth - 1)?;
                below.member |= member.as_object().is_some_and(Map::is_empty);
            }
        }
        (Composition::Entries, Value::Object(members)) => {
            for (name, member) in members {
                let below = into.child(format!("f:{name}"));
                collect(spot.member(name), member, below, depth - 1)?;
                below.member = true;
            }
        }
        (Composition::Keyed(keys, inner), Value::Array(list)) => {
            for item in list {
                let step = keyed_step(keys, inner, item).ok_or_else(|| missing_key(keys))?;
                if into.children.contains_key(&step) {
                    return Err(Status::bad_request(format!(
                        "failed to create typed patch object: duplicate entries for key [{}]",
                        readable(&step)
                    )));
                }
                let below = into.child(step);
                collect(Spot::root(inner), item, below, depth - 1)?;
                below.member = true;
            }
        }
        (Composition::Set, Value::Array(list)) => {
            for item in list {
                into.child(set_step(item)).member = true;
            }
        }
        _ => into.member = true,
    }
    Ok(())
}

pub(super) fn missing_key(keys: &[String]) -> Status {
    Status::bad_request(format!(
        "failed to create typed patch object: associative list with keys has an element that omits key field {:?} (and doesn't have default value)",
        keys.first().map(String::as_str).unwrap_or("")
    ))
}

/// Compares two states of an object. Outside the `status` subresource the status is not looked at, and inside it nothing
/// else but metadata is. Server-owned metadata never counts.
pub fn compare(shape: &Shape, old: &Value, new: &Value, subresource: &str) -> Changes {
    let mut changes = Changes::default();
    let root = Spot::root(shape);
    let has_status = root.member("status").field.is_some();
    let empty = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let skipped = match name.as_str() {
            "apiVersion" | "kind" => true,
            "status" => has_status && subresource != "status",
            "metadata" => false,
            _ => subresource == "status",
        };
        if skipped {
            continue;
        }
        let (before, after) = (old.get(name).unwrap_or(&Value::Null), new.get(name).unwrap_or(&Value::Null));
        if name == "metadata" {
            differ(root.member(name), &owned_metadata(before), &owned_metadata(after), &mut changes, name);
        } else {
            differ(root.member(name), before, after, &mut changes, name);
        }
    }
    changes
}

fn owned_metadata(metadata: &Value) -> Value {
    let owned = |(name, value): (&String, &Value)| {
        (!UNOWNED_METADATA.contains(&name.as_str())).then(|| (name.clone(), value.clone()))
    };
    Value::Object(metadata.as_object().into_iter().flatten().filter_map(owned).collect())
}

fn differ(spot: Spot<'_>, old: &Value, new: &Value, changes: &mut Changes, name: &str) {
    let step = format!("f:{name}");
    let mut below = Changes::default();
    walk(spot, old, new, &mut below, DEPTH_MAX);
    if !below.changed.is_empty() {
        changes.changed.children.insert(step.clone(), below.changed);
    }
    if !below.removed.is_empty() {
        changes.removed.children.insert(step, below.removed);
    }
}

fn walk(spot: Spot<'_>, old: &Value, new: &Value, changes: &mut Changes, depth: usize) {
    if old == new {
        return;
    }
    let whole = |value: &Value| depth == 0 || matches!(spot.kind(value), Composition::Whole);
    match (old.is_null(), new.is_null()) {
        (true, _) => return everything(spot, new, &mut changes.changed, depth),
        (_, true) => return everything(spot, old, &mut changes.removed, depth),
        _ if whole(old) || whole(new) => {
            changes.changed.member = true;
            return;
        }
        _ => {}
    }
    let (before, after) = (parts(spot, old), parts(spot, new));
    let mut steps: Vec<&String> = before.keys().chain(after.keys()).collect();
    steps.sort();
    steps.dedup();
    for step in steps {
        let (was, is) = (before.get(step), after.get(step));
        let inner = was.or(is).map_or(Spot::root(&Shape::Anything), |part| part.0);
        let null = Value::Null;
        let mut below = Changes::default();
        walk(inner, was.map_or(&null, |part| part.1), is.map_or(&null, |part| part.1), &mut below, depth - 1);
        // An entry or item that comes or goes is itself owned, beside its fields.
        below.changed.member |= was.is_none();
        below.removed.member |= is.is_none();
        if !below.changed.is_empty() {
            changes.changed.children.insert(step.clone(), below.changed);
        }
        if !below.removed.is_empty() {
            changes.removed.children.insert(step.clone(), below.removed);
        }
    }
}

fn everything(spot: Spot<'_>, value: &Value, into: &mut FieldSet, depth: usize) {
    // A list with broken keys cannot be named item by item; then it is one field.
    if collect(spot, value, into, depth).is_err() {
        *into = FieldSet::default();
    }
    into.member = true;
}

/// The parts of a composed value by their steps.
pub(super) fn parts<'a>(spot: Spot<'a>, value: &'a Value) -> BTreeMap<String, (Spot<'a>, &'a Value)> {
    match (spot.kind(value), value) {
        (Composition::Members | Composition::Entries, Value::Object(members)) => {
            members.iter().map(|(name, member)| (format!("f:{name}"), (spot.member(name), member))).collect()
        }
        (Composition::Keyed(keys, inner), Value::Array(list)) => {
            list.iter().filter_map(|item| Some((keyed_step(keys, inner, item)?, (Spot::root(inner), item)))).collect()
        }
        (Composition::Set, Value::Array(list)) => {
            list.iter().map(|item| (set_step(item), (Spot::root(&Shape::Anything), item))).collect()
        }
        _ => BTreeMap::new(),
    }
}
