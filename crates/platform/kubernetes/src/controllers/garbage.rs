//! The garbage collector: dependents go after their last owner, or before it (foreground), or stay (orphan).

use serde_json::{Value, json};

use super::Action;
use crate::cluster::View;
use crate::object::{finalizers, flag, is_terminating, items, set, text, uid};
use crate::state::Key;

const MANAGER: &str = "kube-controller-manager";

pub(super) fn reconcile(view: &View<'_>, key: &Key) -> Vec<Action> {
    let Some(object) = view.store.at(key) else { return Vec::new() };
    let held = finalizers(object);
    if is_terminating(object) && held.contains(&"orphan") {
        return orphan(view, key, object);
    }
    if is_terminating(object) && held.contains(&"foregroundDeletion") {
        return foreground(view, key, object);
    }
    let owners = items(object, "/metadata/ownerReferences");
    if owners.is_empty() || is_terminating(object) {
        return Vec::new();
    }
    let present = |owner: &&Value| view.store.by_uid(text(owner, "/uid")).is_some();
    if owners.iter().any(|owner| present(&owner)) {
        return Vec::new();
    }
    vec![Action::delete(key.resource, object)]
}

/// Dependents go first; when none that blocks is left, the owner is released.
fn foreground(view: &View<'_>, key: &Key, owner: &Value) -> Vec<Action> {
    let blocks = |dependent: &&Value| {
        let reference =
            items(dependent, "/metadata/ownerReferences").iter().find(|owner_of| text(owner_of, "/uid") == uid(owner));
        reference.is_some_and(|reference| flag(reference, "/blockOwnerDeletion"))
    };
    let dependents: Vec<(&Key, &Value)> =
        view.store.dependents(uid(owner)).filter_map(|key| Some((key, view.store.at(key)?.as_ref()))).collect();
    if dependents.iter().any(|(_, dependent)| blocks(dependent)) {
        let alive = dependents.iter().filter(|(_, dependent)| !is_terminating(dependent));
        return alive.map(|(key, dependent)| Action::delete(key.resource, dependent)).collect();
    }
    vec![release(key, owner, "foregroundDeletion")]
}

/// Dependents forget their owner, which then is released.
fn orphan(view: &View<'_>, key: &Key, owner: &Value) -> Vec<Action> {
    let mut actions = Vec::new();
    for dependent_key in view.store.dependents(uid(owner)) {
        let Some(dependent) = view.store.at(dependent_key) else { continue };
        let mut orphaned = dependent.as_ref().clone();
        let others: Vec<Value> = items(dependent, "/metadata/ownerReferences")
            .iter()
            .filter(|other| text(other, "/uid") != uid(owner))
            .cloned()
            .collect();
        set(&mut orphaned, &["metadata", "ownerReferences"], others);
        actions.push(Action::update(dependent_key.resource, orphaned, MANAGER));
    }
    actions.push(release(key, owner, "orphan"));
    actions
}

fn release(key: &Key, owner: &Value, finalizer: &str) -> Action {
    let mut released = owner.clone();
    let rest: Vec<&str> = finalizers(owner).into_iter().filter(|held| *held != finalizer).collect();
    set(&mut released, &["metadata", "finalizers"], json!(rest));
    Action::update(key.resource, released, MANAGER)
}
