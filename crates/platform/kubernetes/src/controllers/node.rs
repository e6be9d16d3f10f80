//! The node lifecycle: a silent node becomes NotReady after the grace period, is tainted, and its pods are not ready.
//!
//! Nothing beats while all is well: a heartbeat is the absence of a fault, so the grace period starts with the fault.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Action, Note, Work};
use crate::bootstrap::{healthy_conditions, node_reference};
use crate::cluster::View;
use crate::kubelet::Contact;
use crate::object::{condition, flag, has_condition, items, set, set_condition, text};
use crate::resources::ResourceId;
use crate::settings::NodeSettings;

const MANAGER: &str = "kube-controller-manager";
const COMPONENT: &str = "node-controller";
/// The taints that follow from the state of a node, which this controller alone sets and removes.
const OWN_TAINTS: &[&str] =
    &["node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready", "node.kubernetes.io/unschedulable"];

/// Brings a node's conditions and taints in line with whether its kubelet is heard of.
pub(crate) fn reconcile(view: &View<'_>, name: &str, contact: Contact, settings: &NodeSettings) -> Vec<Action> {
    let Some(node) = view.store.get(ResourceId::Nodes, "", name) else { return Vec::new() };
    let ready = condition(node, "Ready").map(|ready| text(ready, "/status").to_owned()).unwrap_or_default();
    match contact {
        Contact::Heard => recovered(view, node, settings, &ready),
        Contact::SilentSince(since) => {
            let due = since + view.settings.node_monitor_grace_period;
            if due > view.now {
                let mut actions = vec![Action::Wake { at: due, work: Work::Node(name.to_owned()) }];
                actions.extend(taint(view, node, &ready));
                return actions;
            }
            lost(view, node, settings, &ready)
        }
    }
}

fn recovered(view: &View<'_>, node: &Value, settings: &NodeSettings, ready: &str) -> Vec<Action> {
    let mut actions = Vec::new();
    if ready != "True" {
        let mut new = node.clone();
        for condition in healthy_conditions(&view.timestamp()) {
            set_condition(&mut new, condition, &view.timestamp());
        }
        actions.push(Action::status(ResourceId::Nodes, new, "kubelet"));
        let about = node_reference(settings);
        let message = format!("Node {} status is now: NodeReady", settings.name);
        actions.push(Action::Record(Note::normal(&about, "NodeReady", message, "kubelet").on(&settings.name)));
        return actions;
    }
    actions.extend(taint(view, node, "True"));
    actions
}

fn lost(view: &View<'_>, node: &Value, settings: &NodeSettings, ready: &str) -> Vec<Action> {
    let mut actions = Vec::new();
    if ready != "Unknown" {
        let mut new = node.clone();
        let now = view.timestamp();
        for kind in ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"] {
            let mut changed = condition(node, kind).cloned().unwrap_or(json!({"type": kind}));
            changed["status"] = json!("Unknown");
            changed["reason"] = json!("NodeStatusUnknown");
            changed["message"] = json!("Kubelet stopped posting node status.");
            set_condition(&mut new, changed, &now);
        }
        actions.push(Action::status(ResourceId::Nodes, new, MANAGER));
        let about = node_reference(settings);
        let message = format!("Node {} status is now: NodeNotReady", settings.name);
        actions.push(Action::Record(Note::normal(&about, "NodeNotReady", message, COMPONENT)));
        return actions;
    }
    actions.extend(taint(view, node, "Unknown"));
    actions.extend(unready_pods(view, &settings.name));
    actions
}

/// Pods of a node that is not heard of do not count as ready: services stop naming them.
fn unready_pods(view: &View<'_>, name: &str) -> Vec<Action> {
    let mut actions = Vec::new();
    for pod in view.store.pods_on(name).filter(|pod| has_condition(pod, "Ready")) {
        let mut new = pod.as_ref().clone();
        let mut ready = condition(pod, "Ready").cloned().unwrap_or(json!({"type": "Ready"}));
        ready["status"] = json!("False");
        set_condition(&mut new, ready, &view.timestamp());
        actions.push(Action::status(ResourceId::Pods, new, MANAGER));
        actions.push(Action::Record(Note::warning(pod, "NodeNotReady", "Node is not ready", COMPONENT)));
    }
    actions
}

/// The taints that the node should have, beside those that others gave it.
fn taint(view: &View<'_>, node: &Value, ready: &str) -> Option<Action> {
    let present = items(node, "/spec/taints");
    let since = |key: &str, effect: &str| {
        let old = present.iter().find(|taint| text(taint, "/key") == key && text(taint, "/effect") == effect);
        let added = old.map(|old| text(old, "/timeAdded")).filter(|added| !added.is_empty());
        added.map_or_else(|| view.timestamp(), str::to_owned)
    };
    let mut wanted: Vec<Value> =
        present.iter().filter(|taint| !OWN_TAINTS.contains(&text(taint, "/key"))).cloned().collect();
    let mut add = |key: &str, effect: &str| {
        wanted.push(json!({"key": key, "effect": effect, "timeAdded": since(key, effect)}));
    };
    match ready {
        "Unknown" => {
            ["NoSchedule", "NoExecute"].iter().for_each(|effect| add("node.kubernetes.io/unreachable", effect))
        }
        "False" => ["NoSchedule", "NoExecute"].iter().for_each(|effect| add("node.kubernetes.io/not-ready", effect)),
        _ => {}
    }
    if flag(node, "/spec/unschedulable") {
        add("node.kubernetes.io/unschedulable", "NoSchedule");
    }
    if present == wanted.as_slice() {
        return None;
    }
    let mut new = node.clone();
    if wanted.is_empty() {
        crate::object::remove(&mut new, &["spec", "taints"]);
    } else {
        set(&mut new, &["spec", "taints"], wanted);
    }
    Some(Action::update(ResourceId::Nodes, new, MANAGER))
}

/// How long a pod endures the NoExecute taints of its node: `None` for ever.
pub(crate) fn endurance(pod: &Value, node: &Value, moment: impl Fn(&str) -> Option<Duration>) -> Option<Duration> {
    let mut earliest: Option<Duration> = None;
    for taint in items(node, "/spec/taints").iter().filter(|taint| text(taint, "/effect") == "NoExecute") {
        let added = moment(text(taint, "/timeAdded")).unwrap_or_default();
        let mut tolerated =
            items(pod, "/spec/tolerations").iter().filter(|toleration| tolerates(toleration, taint)).peekable();
        let end = if tolerated.peek().is_none() {
            Some(Duration::ZERO)
        } else {
            let seconds =
                tolerated.filter_map(|toleration| toleration.get("tolerationSeconds").and_then(Value::as_i64)).min();
            seconds.map(|seconds| added + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
        };
        earliest = [earliest, end].into_iter().flatten().min();
    }
    earliest
}

/// Whether a toleration matches a taint.
pub(crate) fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let effect = text(toleration, "/effect");
    let key = text(toleration, "/key");
    let exists = text(toleration, "/operator") == "Exists";
    (effect.is_empty() || effect == text(taint, "/effect"))
        && (key == text(taint, "/key") || (key.is_empty() && exists))
        && (exists || text(toleration, "/value") == text(taint, "/value"))
}
