//! ReplicaSet: as many pods as wanted, no more.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Action, Note, Work, is_active};
use crate::cluster::View;
use crate::object::{
    controller_of, has_condition, int, is_terminating, items, labels, map, name, namespace, owner_reference, reference,
    set, set_condition, text, uid,
};
use crate::resources::ResourceId;
use crate::selector::LabelSelector;
use crate::state::Key;

const MANAGER: &str = "kube-controller-manager";
const COMPONENT: &str = "replicaset-controller";

/// Pods created or deleted at once, as the real controller's burst.
const BURST: usize = 500;

pub(super) fn reconcile(view: &View<'_>, key: &Key) -> Vec<Action> {
    let Some(set) = view.store.at(key) else { return Vec::new() };
    let mut actions = Vec::new();
    if !is_terminating(set) {
        adopt(view, set, &mut actions);
        if !actions.is_empty() {
            // The adopted pods come back as events, and the count is made with them.
            return actions;
        }
    }
    let pods: Vec<&Value> =
        view.store.controlled(uid(set), ResourceId::Pods).map(AsRef::as_ref).filter(|pod| is_active(pod)).collect();
    if !is_terminating(set) {
        manage(view, set, &pods, &mut actions);
    }
    if actions.is_empty() {
        write_status(view, set, &pods, &mut actions);
    }
    actions
}

/// Pods that match and have no controller become this set's; pods that no longer match are let go.
fn adopt(view: &View<'_>, set: &Value, actions: &mut Vec<Action>) {
    let selector = LabelSelector::from_object(set.pointer("/spec/selector").unwrap_or(&Value::Null));
    for pod in view.store.list(ResourceId::Pods, Some(namespace(set))) {
        let matches = selector.matches(labels(pod));
        let mine = crate::object::is_controlled_by(pod, uid(set));
        let mut owners: Vec<Value> = items(pod, "/metadata/ownerReferences").to_vec();
        if matches && controller_of(pod).is_none() && is_active(pod) {
            owners.push(owner_reference(set));
        } else if mine && !matches && !is_terminating(pod) {
            owners.retain(|owner| text(owner, "/uid") != uid(set));
        } else {
            continue;
        }
        let mut changed = pod.as_ref().clone();
        crate::object::set(&mut changed, &["metadata", "ownerReferences"], owners);
        actions.push(Action::update(ResourceId::Pods, changed, MANAGER));
    }
}

fn manage(view: &View<'_>, set: &Value, pods: &[&Value], actions: &mut Vec<Action>) {
    let wanted = usize::try_from(int(set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
    if pods.len() < wanted {
        for _ in 0..(wanted - pods.len()).min(BURST) {
            actions.push(Action::Create {
                resource: ResourceId::Pods,
                object: Box::new(pod_from_template(set)),
                manager: MANAGER,
                blame: Some(reference(set)),
            });
        }
    } else if pods.len() > wanted {
        for pod in victims(view, pods).into_iter().take((pods.len() - wanted).min(BURST)) {
            actions.push(Action::delete(ResourceId::Pods, pod));
            actions.push(Action::Record(Note::normal(
                set,
                "SuccessfulDelete",
                format!("Deleted pod: {}", name(pod)),
                COMPONENT,
            )));
        }
    }
}

fn pod_from_template(owner: &Value) -> Value {
    let template = owner.pointer("/spec/template").unwrap_or(&Value::Null);
    let mut metadata = Map::new();
    for part in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template.pointer(&format!("/metadata/{part}")) {
            metadata.insert(part.to_owned(), value.clone());
        }
    }
    let prefix: String = name(owner).chars().take(57).collect();
    metadata.insert("generateName".to_owned(), json!(format!("{prefix}-")));
    metadata.insert("namespace".to_owned(), json!(namespace(owner)));
    metadata.insert("ownerReferences".to_owned(), json!([owner_reference(owner)]));
    json!({"metadata": metadata, "spec": template.get("spec").cloned().unwrap_or(Value::Null)})
}

/// Pods in the order in which they are given up: unassigned, pending, unready, on crowded nodes, younger, newer.
fn victims<'a>(view: &View<'_>, pods: &[&'a Value]) -> Vec<&'a Value> {
    let mut crowd: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods {
        *crowd.entry(text(pod, "/spec/nodeName")).or_default() += 1;
    }
    let cost = |pod: &Value| -> i64 {
        crate::object::annotation(pod, "controller.kubernetes.io/pod-deletion-cost")
            .and_then(|cost| cost.parse().ok())
            .unwrap_or(0)
    };
    let ready_for = |pod: &Value| {
        let since = crate::object::condition(pod, "Ready").map(|ready| text(ready, "/lastTransitionTime"));
        since.and_then(|since| view.moment(since)).map_or(Duration::ZERO, |since| view.now.saturating_sub(since))
    };
    let rank = |pod: &Value| {
        (
            !text(pod, "/spec/nodeName").is_empty(),
            text(pod, "/status/phase") == "Running",
            has_condition(pod, "Ready"),
            cost(pod),
            usize::MAX - crowd.get(text(pod, "/spec/nodeName")).copied().unwrap_or(0),
            ready_for(pod),
            items(pod, "/status/containerStatuses")
                .iter()
                .map(|status| -int(status, "/restartCount").unwrap_or(0))
                .min(),
            std::cmp::Reverse(text(pod, "/metadata/creationTimestamp").to_owned()),
            std::cmp::Reverse(crate::object::version(pod)),
        )
    };
    let mut ordered = pods.to_vec();
    ordered.sort_by_cached_key(|pod| rank(pod));
    ordered
}

fn write_status(view: &View<'_>, object: &Value, pods: &[&Value], actions: &mut Vec<Action>) {
    let template = map(object, "/spec/template/metadata/labels");
    let fully = LabelSelector::from_map(template);
    let min_ready = Duration::from_secs(int(object, "/spec/minReadySeconds").unwrap_or(0).unsigned_abs());
    let ready: Vec<&&Value> = pods.iter().filter(|pod| has_condition(pod, "Ready")).collect();
    let mut available = 0;
    for pod in &ready {
        let since =
            crate::object::condition(pod, "Ready").and_then(|ready| view.moment(text(ready, "/lastTransitionTime")));
        let from = since.unwrap_or(view.now) + min_ready;
        if min_ready.is_zero() || from <= view.now {
            available += 1;
        } else {
            actions.push(Action::Wake { at: from, work: Work::ReplicaSet(Key::of(ResourceId::ReplicaSets, object)) });
        }
    }
    let mut status = json!({"replicas": pods.len()});
    let counts = [
        ("fullyLabeledReplicas", pods.iter().filter(|pod| fully.matches(labels(pod))).count()),
        ("readyReplicas", ready.len()),
        ("availableReplicas", available),
    ];
    for (part, count) in counts {
        if count > 0 {
            status[part] = json!(count);
        }
    }
    status["observedGeneration"] = object.pointer("/metadata/generation").cloned().unwrap_or(json!(1));
    if let Some(conditions) = object.pointer("/status/conditions") {
        status["conditions"] = conditions.clone();
    }
    let mut new = object.clone();
    set(&mut new, &["status"], status);
    clear_failure(view, &mut new);
    if new.get("status") != object.get("status") {
        actions.push(Action::status(ResourceId::ReplicaSets, new, MANAGER));
    }
}

/// Once pods can be created again, the condition that says otherwise is false.
fn clear_failure(view: &View<'_>, set: &mut Value) {
    if has_condition(set, "ReplicaFailure") {
        set_condition(set, json!({"type": "ReplicaFailure", "status": "False"}), &view.timestamp());
    }
}
