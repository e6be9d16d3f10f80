//! Deployment: rolling updates, scaling, revisions and history over replica sets.

use serde_json::{Value, json};

use super::rollout::{self, Limits};
use super::{Action, Note, Work, is_active};
use crate::cluster::View;
use crate::object::{
    annotation, controller_of, flag, int, is_controlled_by, is_terminating, items, labels, name, namespace,
    owner_reference, remove, set, slot, text, uid,
};
use crate::resources::ResourceId;
use crate::selector::LabelSelector;
use crate::state::Key;

mod status;

pub(super) const MANAGER: &str = "kube-controller-manager";
pub(super) const COMPONENT: &str = "deployment-controller";
const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const HASH: &str = "pod-template-hash";

/// A deployment with its replica sets, oldest first.
pub(super) struct Family<'a> {
    pub deployment: &'a Value,
    pub sets: Vec<&'a Value>,
    /// The set whose template is the deployment's.
    pub current: Option<&'a Value>,
    pub wanted: i64,
    pub limits: Limits,
}

pub(super) fn replicas(set: &Value) -> i64 {
    int(set, "/spec/replicas").unwrap_or(0)
}

pub(super) fn available(set: &Value) -> i64 {
    int(set, "/status/availableReplicas").unwrap_or(0)
}

impl<'a> Family<'a> {
    fn of(view: &View<'a>, deployment: &'a Value) -> Family<'a> {
        let mut sets: Vec<&Value> =
            view.store.controlled(uid(deployment), ResourceId::ReplicaSets).map(AsRef::as_ref).collect();
        sets.sort_by_key(|set| (text(set, "/metadata/creationTimestamp"), revision(set), name(set)));
        let current = sets.iter().copied().find(|set| same_template(set, deployment));
        let wanted = int(deployment, "/spec/replicas").unwrap_or(1);
        Family { deployment, sets, current, wanted, limits: Limits::of(deployment, wanted) }
    }

    pub(super) fn old(&self) -> impl Iterator<Item = &'a Value> + '_ {
        self.sets.iter().copied().filter(|set| self.current.is_none_or(|current| uid(current) != uid(set)))
    }

    fn total(&self) -> i64 {
        self.sets.iter().map(|set| replicas(set)).sum()
    }
}

pub(super) fn reconcile(view: &View<'_>, key: &Key) -> Vec<Action> {
    let Some(deployment) = view.store.at(key) else { return Vec::new() };
    let mut actions = Vec::new();
    if is_terminating(deployment) {
        return status::write(view, &Family::of(view, deployment));
    }
    adopt(view, deployment, &mut actions);
    let family = Family::of(view, deployment);
    if actions.is_empty() {
        step(view, &family, &mut actions);
    }
    // What was done comes back as events; the status is written once nothing is left to do.
    if actions.is_empty() {
        clean_history(&family, &mut actions);
        actions.extend(status::write(view, &family));
    }
    actions
}

/// One step towards what is wanted.
fn step(view: &View<'_>, family: &Family<'_>, actions: &mut Vec<Action>) {
    if flag(family.deployment, "/spec/paused") {
        return scale_all(family, actions);
    }
    let rescaled = family.sets.iter().any(|set| {
        replicas(set) > 0
            && annotation(set, DESIRED)
                .and_then(|desired| desired.parse().ok())
                .is_some_and(|desired: i64| desired != family.wanted)
    });
    if rescaled && family.current.is_some() {
        return scale_all(family, actions);
    }
    if text(family.deployment, "/spec/strategy/type") == "Recreate" {
        recreate(view, family, actions);
    } else {
        roll(family, actions);
    }
}

fn roll(family: &Family<'_>, actions: &mut Vec<Action>) {
    let Some(current) = family.current else { return create_set(family, actions) };
    refresh_revision(family, current, actions);
    if !actions.is_empty() {
        return;
    }
    let present = replicas(current);
    let target = if present > family.wanted {
        family.wanted
    } else {
        rollout::next_new_size(family.wanted, family.limits, family.total(), present)
    };
    if target != present {
        return scale(family, current, target, actions);
    }
    let old: Vec<(i64, i64)> = family.old().map(|set| (replicas(set), available(set))).collect();
    let sizes = rollout::next_old_sizes(family.wanted, family.limits, (present, available(current)), &old);
    for (set, size) in family.old().zip(sizes) {
        if size != replicas(set) {
            scale(family, set, size, actions);
        }
    }
}

fn recreate(view: &View<'_>, family: &Family<'_>, actions: &mut Vec<Action>) {
    for set in family.old().filter(|set| replicas(set) > 0) {
        scale(family, set, 0, actions);
    }
    let old_runs = family
        .old()
        .any(|set| view.store.controlled(uid(set), ResourceId::Pods).any(|pod| is_active(pod) || is_terminating(pod)));
    if !actions.is_empty() || old_runs {
        return;
    }
    match family.current {
        None => create_set(family, actions),
        Some(current) => {
            refresh_revision(family, current, actions);
            if actions.is_empty() && replicas(current) != family.wanted {
                scale(family, current, family.wanted, actions);
            }
        }
    }
}

/// A new size was asked for: the sets share it in proportion.
fn scale_all(family: &Family<'_>, actions: &mut Vec<Action>) {
    let active: Vec<&Value> = family.sets.iter().copied().filter(|set| replicas(set) > 0).collect();
    let single = match active.as_slice() {
        [] => family.current.or(family.sets.last().copied()),
        [only] => Some(*only),
        _ => None,
    };
    if let Some(only) = single {
        return scale_to(family, only, family.wanted, actions);
    }
    let saturated =
        family.current.is_some_and(|current| replicas(current) == family.wanted && available(current) == family.wanted);
    let sizes: Vec<i64> = active.iter().map(|set| replicas(set)).collect();
    let shares = if saturated || text(family.deployment, "/spec/strategy/type") == "Recreate" {
        let is_current = |set: &Value| family.current.is_some_and(|current| uid(current) == uid(set));
        active.iter().map(|set| if is_current(set) { family.wanted } else { 0 }).collect()
    } else {
        let allowed = if family.wanted == 0 { 0 } else { family.wanted + family.limits.max_surge };
        rollout::proportional(&sizes, allowed)
    };
    for (set, share) in active.iter().zip(shares) {
        scale_to(family, set, share, actions);
    }
}

fn scale(family: &Family<'_>, set: &Value, size: i64, actions: &mut Vec<Action>) {
    let direction = if size > replicas(set) { "up" } else { "down" };
    let message = format!("Scaled {direction} replica set {} from {} to {size}", name(set), replicas(set));
    scale_to(family, set, size, actions);
    actions.push(Action::Record(Note::normal(family.deployment, "ScalingReplicaSet", message, COMPONENT)));
}

fn scale_to(family: &Family<'_>, replica_set: &Value, size: i64, actions: &mut Vec<Action>) {
    let mut new = replica_set.clone();
    set(&mut new, &["spec", "replicas"], size);
    note_sizes(family, &mut new);
    if new != *replica_set {
        actions.push(Action::update(ResourceId::ReplicaSets, new, MANAGER));
    }
}

fn note_sizes(family: &Family<'_>, replica_set: &mut Value) {
    set(replica_set, &["metadata", "annotations", DESIRED], family.wanted.to_string());
    set(replica_set, &["metadata", "annotations", MAX], (family.wanted + family.limits.max_surge).to_string());
}

fn revision(set: &Value) -> i64 {
    annotation(set, REVISION).and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

fn template_of(object: &Value) -> Value {
    let mut template = object.pointer("/spec/template").cloned().unwrap_or(Value::Null);
    remove(&mut template, &["metadata", "labels", HASH]);
    remove(&mut template, &["metadata", "creationTimestamp"]);
    template
}

fn same_template(set: &Value, deployment: &Value) -> bool {
    template_of(set) == template_of(deployment)
}

/// The hash that tells templates apart, in the alphabet of generated names. Key order does not count.
fn template_hash(template: &Value, collisions: i64) -> String {
    use sha2::{Digest, Sha256};
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let digest = Sha256::digest(format!("{collisions}{}", canonical(template)));
    digest.iter().take(10).map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut parts: Vec<String> =
                members.iter().map(|(key, member)| format!("{key:?}:{}", canonical(member))).collect();
            parts.sort();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

fn create_set(family: &Family<'_>, actions: &mut Vec<Action>) {
    let deployment = family.deployment;
    let collisions = int(deployment, "/status/collisionCount").unwrap_or(0);
    let hash = template_hash(&template_of(deployment), collisions);
    let mut template = deployment.pointer("/spec/template").cloned().unwrap_or(Value::Null);
    set(&mut template, &["metadata", "labels", HASH], hash.as_str());
    let mut selector = deployment.pointer("/spec/selector").cloned().unwrap_or(Value::Null);
    set(&mut selector, &["matchLabels", HASH], hash.as_str());
    let recreate = text(deployment, "/spec/strategy/type") == "Recreate";
    let size =
        if recreate { family.wanted } else { rollout::next_new_size(family.wanted, family.limits, family.total(), 0) };
    let set_name = format!("{}-{hash}", name(deployment));
    let mut new = json!({
        "metadata": {
            "name": set_name,
            "namespace": namespace(deployment),
            "labels": template.pointer("/metadata/labels").cloned().unwrap_or(Value::Null),
            "annotations": copied_annotations(deployment),
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {"replicas": size, "selector": selector, "template": template},
    });
    if let Some(seconds) = int(deployment, "/spec/minReadySeconds") {
        set(&mut new, &["spec", "minReadySeconds"], seconds);
    }
    let next = family.sets.iter().map(|set| revision(set)).max().unwrap_or(0) + 1;
    set(&mut new, &["metadata", "annotations", REVISION], next.to_string());
    note_sizes(family, &mut new);
    actions.push(Action::Create {
        resource: ResourceId::ReplicaSets,
        object: Box::new(new),
        manager: MANAGER,
        blame: Some(crate::object::reference(deployment)),
    });
    let message = format!("Scaled up replica set {set_name} from 0 to {size}");
    actions.push(Action::Record(Note::normal(deployment, "ScalingReplicaSet", message, COMPONENT)));
    set_revision(deployment, next, actions);
}

fn copied_annotations(deployment: &Value) -> Value {
    let mut annotations = deployment.pointer("/metadata/annotations").cloned().unwrap_or(json!({}));
    for own in ["kubectl.kubernetes.io/last-applied-configuration", REVISION, DESIRED, MAX] {
        remove(&mut annotations, &[own]);
    }
    annotations
}

fn set_revision(deployment: &Value, revision: i64, actions: &mut Vec<Action>) {
    if annotation(deployment, REVISION) == Some(revision.to_string().as_str()) {
        return;
    }
    let mut new = deployment.clone();
    set(&mut new, &["metadata", "annotations", REVISION], revision.to_string());
    actions.push(Action::update(ResourceId::Deployments, new, MANAGER));
}

/// A set that is current again after a rollback becomes the newest revision.
fn refresh_revision(family: &Family<'_>, current: &Value, actions: &mut Vec<Action>) {
    let newest_old = family.old().map(revision).max().unwrap_or(0);
    let mut number = revision(current);
    let mut new = current.clone();
    if number <= newest_old {
        let mut history: Vec<String> = annotation(current, "deployment.kubernetes.io/revision-history")
            .map(|past| past.split(',').map(str::to_owned).collect())
            .unwrap_or_default();
        history.push(number.to_string());
        set(&mut new, &["metadata", "annotations", "deployment.kubernetes.io/revision-history"], history.join(","));
        number = newest_old + 1;
        set(&mut new, &["metadata", "annotations", REVISION], number.to_string());
    }
    for (key, value) in copied_annotations(family.deployment).as_object().into_iter().flatten() {
        slot(&mut new, &["metadata", "annotations"])[key.as_str()] = value.clone();
    }
    if let Some(seconds) = family.deployment.pointer("/spec/minReadySeconds") {
        set(&mut new, &["spec", "minReadySeconds"], seconds.clone());
    }
    if new != *current {
        actions.push(Action::update(ResourceId::ReplicaSets, new, MANAGER));
    }
    set_revision(family.deployment, number, actions);
}

/// Finished old sets beyond `revisionHistoryLimit` go, oldest first.
fn clean_history(family: &Family<'_>, actions: &mut Vec<Action>) {
    if !status::is_complete(family) {
        return;
    }
    let limit = usize::try_from(int(family.deployment, "/spec/revisionHistoryLimit").unwrap_or(10)).unwrap_or(0);
    let mut idle: Vec<&Value> = family
        .old()
        .filter(|set| replicas(set) == 0 && int(set, "/status/replicas").unwrap_or(0) == 0 && !is_terminating(set))
        .collect();
    idle.sort_by_key(|set| revision(set));
    let surplus = idle.len().saturating_sub(limit);
    actions.extend(idle.into_iter().take(surplus).map(|set| Action::delete(ResourceId::ReplicaSets, set)));
}

/// Replica sets that match and have no controller become this deployment's.
fn adopt(view: &View<'_>, deployment: &Value, actions: &mut Vec<Action>) {
    let selector = LabelSelector::from_object(deployment.pointer("/spec/selector").unwrap_or(&Value::Null));
    for set in view.store.list(ResourceId::ReplicaSets, Some(namespace(deployment))) {
        let free = controller_of(set).is_none() && !is_controlled_by(set, uid(deployment)) && !is_terminating(set);
        if !free || !selector.matches(labels(set)) {
            continue;
        }
        let mut adopted = set.as_ref().clone();
        let mut owners = items(set, "/metadata/ownerReferences").to_vec();
        owners.push(owner_reference(deployment));
        crate::object::set(&mut adopted, &["metadata", "ownerReferences"], owners);
        actions.push(Action::update(ResourceId::ReplicaSets, adopted, MANAGER));
    }
}

/// The work to look at a deployment again.
pub(super) fn work(deployment: &Value) -> Work {
    Work::Deployment(Key::of(ResourceId::Deployments, deployment))
}
