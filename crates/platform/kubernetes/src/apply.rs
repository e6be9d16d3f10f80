//! Server-side apply: who owns which field, what conflicts, and what an apply adds, changes and removes.
//!
//! The rules are those of `sigs.k8s.io/structured-merge-diff`: a manager that applies owns exactly the fields of its
//! configuration; a write by other means owns the fields that it changed; applying a different value to another
//! manager's field is a conflict unless forced; a field that its last owner stops applying is removed.

pub mod fields;
mod managed;
mod merge;

use serde_json::Value;

use crate::error::{Reason, Status};
use crate::object::set;
use crate::schema::Shape;
use fields::FieldSet;
use managed::Managers;

/// Who writes, and how it is noted in `managedFields`.
#[derive(Clone, Debug)]
pub struct Manager {
    /// The manager's name: `fieldManager`, or the client's user agent up to the slash.
    pub name: String,
    /// The apiVersion that the fields are named in.
    pub api_version: String,
    /// The subresource that is written, or "".
    pub subresource: String,
    /// The time of the write, RFC 3339.
    pub time: String,
}

/// Applies a configuration onto the live object (null when there is none) and answers the new object, with its
/// `managedFields` brought up to date.
///
/// # Errors
/// 409 that lists each conflicting manager and field, unless `force`; 400 for lists whose items lack their keys.
pub fn apply(shape: &Shape, live: &Value, config: &Value, manager: &Manager, force: bool) -> Result<Value, Status> {
    let mut managers = Managers::of(live);
    let previous = managers.applied(manager);
    let owned = FieldSet::of_object(shape, config)?;
    let mut merged = merge::merge(shape, live, config)?;
    let others = managers.union_without(manager, true);
    let dropped = previous.difference(&owned).difference(&others);
    merge::prune(shape, &mut merged, &dropped, &owned.union(&others));
    let changes = fields::compare(shape, live, &merged, &manager.subresource);
    managers.set_applied(manager, owned);
    let conflicts = managers.conflicts(manager, &changes.changed);
    if !conflicts.is_empty() && !force {
        return Err(conflict_status(&conflicts));
    }
    managers.take_away(manager, true, &changes.changed, &changes.removed);
    set(&mut merged, &["metadata", "managedFields"], managers.to_value());
    Ok(merged)
}

/// Notes a write by other means (create, update, patch): the manager owns what changed from `live` to `new`.
pub fn track(shape: &Shape, live: &Value, new: &mut Value, manager: &Manager) {
    let mut managers = match new.pointer("/metadata/managedFields") {
        None | Some(Value::Null) => Managers::of(live),
        // A client that writes the bookkeeping itself (kubectl migrates to server-side apply this way) is believed.
        Some(_) => Managers::of(new),
    };
    let changes = fields::compare(shape, live, new, &manager.subresource);
    managers.take_away(manager, false, &changes.changed, &changes.removed);
    managers.add_updated(manager, &changes);
    let list = managers.to_value();
    set(new, &["metadata", "managedFields"], list);
}

fn conflict_status(conflicts: &[managed::Conflict]) -> Status {
    let count: usize = conflicts.iter().map(|conflict| conflict.fields.len()).sum();
    let mut sentences = Vec::new();
    let mut causes = Vec::new();
    for conflict in conflicts {
        let with = conflict.sentence();
        for field in &conflict.fields {
            causes.push(serde_json::json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {with}"),
                "field": field,
            }));
        }
        sentences.push(match conflict.fields.as_slice() {
            [only] => format!("conflict with {with}: {only}"),
            many => format!("conflicts with {with}:\n- {}", many.join("\n- ")),
        });
    }
    let noun = if count == 1 { "conflict" } else { "conflicts" };
    Status {
        reason: Reason::Conflict,
        message: format!("Apply failed with {count} {noun}: {}", sentences.join("\n")),
        details: serde_json::json!({ "causes": causes }),
    }
}

#[cfg(test)]
mod tests;
