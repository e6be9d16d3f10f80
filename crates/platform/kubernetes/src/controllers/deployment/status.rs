//! A deployment's status: counts, and the conditions Available and Progressing that `kubectl rollout status` reads.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Family, MANAGER, available, work};
use crate::cluster::View;
use crate::controllers::Action;
use crate::object::{condition, flag, has_condition, int, name, set, set_condition, text};
use crate::resources::ResourceId;

/// Whether every wanted pod is new and available, and no old one is left.
pub(super) fn is_complete(family: &Family<'_>) -> bool {
    let counts = Counts::of(family);
    counts.updated == family.wanted && counts.all == family.wanted && counts.available == family.wanted
}

struct Counts {
    all: i64,
    updated: i64,
    ready: i64,
    available: i64,
}

impl Counts {
    fn of(family: &Family<'_>) -> Counts {
        let sum = |part: &str| -> i64 { family.sets.iter().map(|set| int(set, part).unwrap_or(0)).sum() };
        Counts {
            all: sum("/status/replicas"),
            updated: family.current.and_then(|set| int(set, "/status/replicas")).unwrap_or(0),
            ready: sum("/status/readyReplicas"),
            available: family.sets.iter().map(|set| available(set)).sum(),
        }
    }
}

pub(super) fn write(view: &View<'_>, family: &Family<'_>) -> Vec<Action> {
    let deployment = family.deployment;
    let counts = Counts::of(family);
    let mut status =
        json!({"observedGeneration": deployment.pointer("/metadata/generation").cloned().unwrap_or(json!(1))});
    let parts = [
        ("replicas", counts.all),
        ("updatedReplicas", counts.updated),
        ("readyReplicas", counts.ready),
        ("availableReplicas", counts.available),
        (
            "unavailableReplicas",
            (family.sets.iter().map(|set| super::replicas(set)).sum::<i64>().max(counts.all) - counts.available).max(0),
        ),
    ];
    for (part, count) in parts {
        if count > 0 {
            status[part] = json!(count);
        }
    }
    for kept in ["conditions", "collisionCount"] {
        if let Some(value) = deployment.pointer(&format!("/status/{kept}")) {
            status[kept] = value.clone();
        }
    }
    let mut new = deployment.clone();
    set(&mut new, &["status"], status);
    let minimum = family.wanted - family.limits.max_unavailable;
    if counts.available >= minimum {
        put(
            view,
            &mut new,
            "Available",
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            false,
        );
    } else {
        put(
            view,
            &mut new,
            "Available",
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            false,
        );
    }
    let mut actions = progress(view, family, &counts, &mut new);
    if new.get("status") != deployment.get("status") {
        actions.push(Action::status(ResourceId::Deployments, new, MANAGER));
    }
    actions
}

/// Brings the condition Progressing up to date, and asks to be woken at the deadline.
fn progress(view: &View<'_>, family: &Family<'_>, counts: &Counts, new: &mut Value) -> Vec<Action> {
    let old = family.deployment;
    if flag(old, "/spec/paused") {
        put(view, new, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", false);
        return Vec::new();
    }
    let Some(deadline) = int(old, "/spec/progressDeadlineSeconds") else { return Vec::new() };
    let before = condition(old, "Progressing").cloned().unwrap_or(Value::Null);
    let what = match family.current {
        Some(set) => format!("ReplicaSet \"{}\"", name(set)),
        None => format!("Deployment \"{}\"", name(old)),
    };
    if is_complete(family) {
        put(
            view,
            new,
            "Progressing",
            "True",
            "NewReplicaSetAvailable",
            &format!("{what} has successfully progressed."),
            false,
        );
        return Vec::new();
    }
    if counts.all == counts.updated && text(&before, "/reason") == "NewReplicaSetAvailable" {
        // A finished rollout whose pods come and go does not start anew.
        return Vec::new();
    }
    let was = |part: &str| int(old, &format!("/status/{part}")).unwrap_or(0);
    let grown = counts.updated > was("updatedReplicas")
        || counts.all - counts.updated < was("replicas") - was("updatedReplicas")
        || counts.ready > was("readyReplicas")
        || counts.available > was("availableReplicas");
    let resumed = matches!(text(&before, "/reason"), "" | "DeploymentPaused");
    let since = view.moment(text(&before, "/lastUpdateTime")).unwrap_or(view.now);
    let due = since + Duration::from_secs(deadline.unsigned_abs());
    let is_new_template = text(&before, "/reason") == "NewReplicaSetAvailable";
    if grown || resumed || is_new_template {
        let (reason, message) = if was("updatedReplicas") == 0
            && counts.updated == 0
            && family.current.is_some()
            && !has_condition(old, "Progressing")
        {
            ("NewReplicaSetCreated", format!("Created new replica set \"{}\"", family.current.map_or("", name)))
        } else {
            ("ReplicaSetUpdated", format!("{what} is progressing."))
        };
        put(view, new, "Progressing", "True", reason, &message, true);
        return vec![Action::Wake { at: view.now + Duration::from_secs(deadline.unsigned_abs()), work: work(old) }];
    }
    if due <= view.now {
        put(
            view,
            new,
            "Progressing",
            "False",
            "ProgressDeadlineExceeded",
            &format!("{what} has timed out progressing."),
            false,
        );
        return Vec::new();
    }
    vec![Action::Wake { at: due, work: work(old) }]
}

/// Sets a condition; `lastUpdateTime` moves with its reason, or when there was progress.
fn put(view: &View<'_>, object: &mut Value, kind: &str, status: &str, reason: &str, message: &str, progressed: bool) {
    let now = view.timestamp();
    let updated = match condition(object, kind) {
        Some(old) if text(old, "/reason") == reason && text(old, "/status") == status && !progressed => {
            text(old, "/lastUpdateTime").to_owned()
        }
        _ => now.clone(),
    };
    let condition =
        json!({"type": kind, "status": status, "lastUpdateTime": updated, "reason": reason, "message": message});
    set_condition(object, condition, &now);
}
