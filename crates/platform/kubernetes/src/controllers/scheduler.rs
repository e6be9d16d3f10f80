//! The scheduler: filters nodes by taints, selectors, affinity and free resources, then prefers the emptiest and the spread.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::node::tolerates;
use super::{Action, Note, is_active, path_of};
use crate::cluster::View;
use crate::object::{
    controller_of, int, is_terminating, items, label, labels, map, name, namespace, set, set_condition, text,
};
use crate::quantity;
use crate::resources::ResourceId;
use crate::selector::LabelSelector;
use crate::state::Key;

const COMPONENT: &str = "default-scheduler";

pub(super) fn reconcile(view: &View<'_>, key: &Key) -> Vec<Action> {
    let Some(pod) = view.store.at(key) else { return Vec::new() };
    let mine = text(pod, "/spec/schedulerName") == COMPONENT;
    if !text(pod, "/spec/nodeName").is_empty() || is_terminating(pod) || !mine {
        return Vec::new();
    }
    if !items(pod, "/spec/schedulingGates").is_empty() {
        return refused(view, pod, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates", false);
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<(i64, &Value)> = None;
    let mut count = 0;
    for node in view.store.list(ResourceId::Nodes, None) {
        count += 1;
        let refusals = obstacles(view, pod, node);
        if refusals.is_empty() {
            let score = score(view, pod, node);
            // Among equals the first by name wins, so that a seed is not needed.
            if best.is_none_or(|(highest, _)| score > highest) {
                best = Some((score, node));
            }
        }
        for reason in refusals {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    match best {
        Some((_, node)) => bind(view, pod, name(node)),
        None => {
            let list: Vec<String> = reasons.iter().map(|(reason, nodes)| format!("{nodes} {reason}")).collect();
            let message = format!(
                "0/{count} nodes are available: {}. preemption: 0/{count} nodes are available: {count} Preemption is not helpful for scheduling.",
                list.join(", ")
            );
            refused(view, pod, "Unschedulable", &message, true)
        }
    }
}

fn bind(view: &View<'_>, pod: &Value, node: &str) -> Vec<Action> {
    let mut bound = pod.clone();
    set(&mut bound, &["spec", "nodeName"], node);
    let mut scheduled = pod.clone();
    let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null});
    set_condition(&mut scheduled, condition, &view.timestamp());
    let message = format!("Successfully assigned {} to {node}", path_of(pod));
    vec![
        Action::Update {
            resource: ResourceId::Pods,
            object: Box::new(bound),
            subresource: "binding",
            manager: "kube-scheduler",
        },
        Action::status(ResourceId::Pods, scheduled, "kube-scheduler"),
        Action::Record(Note::normal(pod, "Scheduled", message, COMPONENT)),
    ]
}

fn refused(view: &View<'_>, pod: &Value, reason: &'static str, message: &str, event: bool) -> Vec<Action> {
    let same = crate::object::condition(pod, "PodScheduled").is_some_and(|old| text(old, "/message") == message);
    if same {
        return Vec::new();
    }
    let mut new = pod.clone();
    let condition = json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": message});
    set_condition(&mut new, condition, &view.timestamp());
    let mut actions = vec![Action::status(ResourceId::Pods, new, "kube-scheduler")];
    if event {
        actions.push(Action::Record(Note::warning(pod, "FailedScheduling", message, COMPONENT)));
    }
    actions
}

/// Why a pod cannot run on a node, in the real scheduler's words; empty when it can.
fn obstacles(view: &View<'_>, pod: &Value, node: &Value) -> Vec<String> {
    if let Some(taint) = items(node, "/spec/taints").iter().find(|taint| {
        text(taint, "/effect") != "PreferNoSchedule"
            && !items(pod, "/spec/tolerations").iter().any(|toleration| tolerates(toleration, taint))
    }) {
        if text(taint, "/key") == "node.kubernetes.io/unschedulable" {
            return vec!["node(s) were unschedulable".to_owned()];
        }
        return vec![format!("node(s) had untolerated taint {{{}: {}}}", text(taint, "/key"), text(taint, "/value"))];
    }
    let selector = LabelSelector::from_map(map(pod, "/spec/nodeSelector"));
    if !selector.matches(labels(node)) || !fits_affinity(pod, node) {
        return vec!["node(s) didn't match Pod's node affinity/selector".to_owned()];
    }
    if !fits_other_pods(view, pod, node) {
        return vec!["node(s) didn't match pod anti-affinity rules".to_owned()];
    }
    if let Some(reason) = uneven_spread(view, pod, node) {
        return vec![reason];
    }
    lacking(view, pod, node)
}

fn fits_affinity(pod: &Value, node: &Value) -> bool {
    let Some(required) = pod.pointer("/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution")
    else {
        return true;
    };
    items(required, "/nodeSelectorTerms").iter().any(|term| {
        let by_label = json!({"matchExpressions": term.get("matchExpressions").cloned().unwrap_or(json!([]))});
        let by_field = items(term, "/matchFields").iter().all(|field| {
            let named = items(field, "/values").iter().any(|value| value == name(node));
            named == (text(field, "/operator") == "In")
        });
        let given = term.get("matchExpressions").is_some() || term.get("matchFields").is_some();
        given && by_field && LabelSelector::from_object(&by_label).matches(labels(node))
    })
}

fn fits_other_pods(view: &View<'_>, pod: &Value, node: &Value) -> bool {
    let terms =
        |kind: &str| items(pod, &format!("/spec/affinity/{kind}/requiredDuringSchedulingIgnoredDuringExecution"));
    let together = terms("podAffinity").iter().all(|term| {
        let own = LabelSelector::from_object(term.get("labelSelector").unwrap_or(&Value::Null)).matches(labels(pod));
        in_domain(view, pod, node, term) > 0 || (own && in_cluster(view, pod, term) == 0)
    });
    let apart = terms("podAntiAffinity").iter().all(|term| in_domain(view, pod, node, term) == 0);
    together && apart
}

fn selected<'a>(view: &View<'a>, pod: &'a Value, term: &'a Value) -> impl Iterator<Item = &'a Value> {
    let selector = LabelSelector::from_object(term.get("labelSelector").unwrap_or(&Value::Null));
    let spaces: Vec<&str> = match items(term, "/namespaces") {
        [] => vec![namespace(pod)],
        given => given.iter().filter_map(Value::as_str).collect(),
    };
    view.store
        .list(ResourceId::Pods, None)
        .map(AsRef::as_ref)
        .filter(move |other| spaces.contains(&namespace(other)) && is_active(other) && selector.matches(labels(other)))
}

fn in_cluster(view: &View<'_>, pod: &Value, term: &Value) -> usize {
    selected(view, pod, term).filter(|other| !text(other, "/spec/nodeName").is_empty()).count()
}

fn in_domain(view: &View<'_>, pod: &Value, node: &Value, term: &Value) -> usize {
    let key = text(term, "/topologyKey");
    let Some(here) = label(node, key) else { return 0 };
    let there = |other: &Value| {
        let home = view.store.get(ResourceId::Nodes, "", text(other, "/spec/nodeName"));
        home.and_then(|home| label(home, key)) == Some(here)
    };
    selected(view, pod, term).filter(|other| there(other)).count()
}

fn uneven_spread(view: &View<'_>, pod: &Value, node: &Value) -> Option<String> {
    for constraint in items(pod, "/spec/topologySpreadConstraints") {
        if text(constraint, "/whenUnsatisfiable") != "DoNotSchedule" {
            continue;
        }
        let key = text(constraint, "/topologyKey");
        if label(node, key).is_none() {
            return Some("node(s) didn't match pod topology spread constraints (missing required label)".to_owned());
        }
        let counts = view.store.list(ResourceId::Nodes, None).filter(|other| label(other, key).is_some());
        let least = counts.map(|other| in_domain(view, pod, other, constraint)).min().unwrap_or(0);
        let skew = in_domain(view, pod, node, constraint) + 1 - least;
        if skew > usize::try_from(int(constraint, "/maxSkew").unwrap_or(1)).unwrap_or(1) {
            return Some("node(s) didn't match pod topology spread constraints".to_owned());
        }
    }
    None
}

/// CPU (thousandths) and memory (bytes) that a pod asks for.
pub(crate) fn requests(pod: &Value) -> (i64, i64) {
    let of = |container: &Value| {
        let amount = |resource: &str| {
            let value = container.pointer(&format!("/resources/requests/{resource}"));
            value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default()
        };
        (quantity::milli(&amount("cpu")), quantity::whole(&amount("memory")))
    };
    let sum = items(pod, "/spec/containers")
        .iter()
        .map(of)
        .fold((0i64, 0i64), |sum, next| (sum.0.saturating_add(next.0), sum.1.saturating_add(next.1)));
    let most = items(pod, "/spec/initContainers")
        .iter()
        .map(of)
        .fold((0, 0), |most, next| (most.0.max(next.0), most.1.max(next.1)));
    (sum.0.max(most.0), sum.1.max(most.1))
}

fn used(view: &View<'_>, node: &Value) -> (i64, i64, i64) {
    let on_it =
        view.store.pods_on(name(node)).filter(|pod| !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed"));
    on_it.map(|pod| requests(pod)).fold((0, 0, 0), |sum: (i64, i64, i64), next| {
        (sum.0.saturating_add(next.0), sum.1.saturating_add(next.1), sum.2 + 1)
    })
}

fn allocatable(node: &Value) -> (i64, i64, i64) {
    let amount = |resource: &str| text(node, &format!("/status/allocatable/{resource}"));
    (quantity::milli(amount("cpu")), quantity::whole(amount("memory")), quantity::whole(amount("pods")))
}

fn lacking(view: &View<'_>, pod: &Value, node: &Value) -> Vec<String> {
    let (has, taken, wants) = (allocatable(node), used(view, node), requests(pod));
    let mut missing = Vec::new();
    if taken.2 + 1 > has.2 {
        missing.push("Too many pods".to_owned());
    }
    if wants.0 > 0 && taken.0.saturating_add(wants.0) > has.0 {
        missing.push("Insufficient cpu".to_owned());
    }
    if wants.1 > 0 && taken.1.saturating_add(wants.1) > has.1 {
        missing.push("Insufficient memory".to_owned());
    }
    missing
}

/// Siblings elsewhere count most, then free CPU and memory, then fewer pods.
fn score(view: &View<'_>, pod: &Value, node: &Value) -> i64 {
    let owner = controller_of(pod).map(|owner| text(owner, "/uid"));
    let sibling = |other: &Value| match owner {
        Some(owner) => crate::object::is_controlled_by(other, owner),
        None => false,
    };
    let siblings = view.store.pods_on(name(node)).filter(|other| is_active(other) && sibling(other)).count();
    let preferred = preference(pod, node);
    let (has, taken) = (allocatable(node), used(view, node));
    let free =
        |has: i64, taken: i64| if has > 0 { ((has - taken).max(0) as i128 * 100 / i128::from(has)) as i64 } else { 0 };
    let siblings = i64::try_from(siblings).unwrap_or(i64::MAX / 10_000);
    preferred * 1_000 - siblings * 10_000 + (free(has.0, taken.0) + free(has.1, taken.1)) * 5 - taken.2
}

fn preference(pod: &Value, node: &Value) -> i64 {
    let terms = items(pod, "/spec/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution");
    terms
        .iter()
        .filter(|term| {
            let expressions = term.pointer("/preference/matchExpressions").cloned().unwrap_or(json!([]));
            LabelSelector::from_object(&json!({"matchExpressions": expressions})).matches(labels(node))
        })
        .map(|term| int(term, "/weight").unwrap_or(0))
        .sum()
}
