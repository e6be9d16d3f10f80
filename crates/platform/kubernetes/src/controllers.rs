//! The controllers: pure functions from a [`View`] to [`Action`]s, called for the work that events of the store make.
//!
//! `on_event` says which work an event makes, `reconcile` which function does it. Work is level-triggered: a function looks at
//! the present state, never at the event, so doing it twice or late does no harm.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::View;
use crate::object::{controller_of, is_terminating, items, labels, name, namespace, reference, text, uid};
use crate::resources::{RESOURCES, ResourceId};
use crate::selector::LabelSelector;
use crate::state::{Event, EventKind, Key, Store};

mod deployment;
mod endpoints;
mod garbage;
mod namespace;
pub(crate) mod node;
mod replicaset;
pub(crate) mod rollout;
mod scheduler;
mod taints;

/// Something to look at. Controllers come before kubelets, and the garbage collector before those who create.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A node's heartbeat, conditions and taints.
    Node(String),
    /// An object whose owners or dependents have changed.
    Collect(Key),
    /// A namespace's default objects, or its end.
    Namespace(String),
    /// A replica set. Before deployments, so that pods that are to go are gone before others come.
    ReplicaSet(Key),
    /// A deployment.
    Deployment(Key),
    /// A pod without a node.
    Schedule(Key),
    /// A pod on a tainted node.
    Taints(Key),
    /// A service's endpoints and status.
    Endpoints(Key),
    /// An event that may have outlived its time.
    Expire(Key),
    /// A pod, at its kubelet.
    Kubelet {
        /// Name of the node.
        node: String,
        /// The pod.
        pod: Key,
    },
}

impl Work {
    /// Whether a kubelet does this, rather than the control plane.
    pub fn is_kubelets(&self) -> bool {
        matches!(self, Work::Kubelet { .. })
    }

    /// The work of the controller that owns objects by this one.
    pub fn of_owner(owner: &Key) -> Option<Work> {
        match owner.resource {
            ResourceId::Deployments => Some(Work::Deployment(owner.clone())),
            ResourceId::ReplicaSets => Some(Work::ReplicaSet(owner.clone())),
            _ => None,
        }
    }
}

/// What a controller or a kubelet decides.
#[derive(Debug)]
pub enum Action {
    /// Create an object. When that fails and there is somebody to blame, they get a `FailedCreate` event.
    Create {
        /// Its resource.
        resource: ResourceId,
        /// The object.
        object: Box<Value>,
        /// Who is noted in `managedFields`.
        manager: &'static str,
        /// Reference to the owner.
        blame: Option<Value>,
    },
    /// Replace an object or one of its subresources.
    Update {
        /// Its resource.
        resource: ResourceId,
        /// The object.
        object: Box<Value>,
        /// "", "status", "binding" or "finalize".
        subresource: &'static str,
        /// Who is noted in `managedFields`.
        manager: &'static str,
    },
    /// Delete an object gracefully.
    Delete {
        /// Where it is.
        key: Key,
        /// Only if it still is this one.
        uid: String,
        /// `gracePeriodSeconds`.
        grace_seconds: Option<i64>,
    },
    /// Write an event.
    Record(Note),
    /// Do this work later.
    Wake {
        /// When, since the start.
        at: Duration,
        /// What.
        work: Work,
    },
}

impl Action {
    /// Replaces an object's status.
    pub fn status(resource: ResourceId, object: Value, manager: &'static str) -> Action {
        Action::Update { resource, object: Box::new(object), subresource: "status", manager }
    }

    /// Replaces an object.
    pub fn update(resource: ResourceId, object: Value, manager: &'static str) -> Action {
        Action::Update { resource, object: Box::new(object), subresource: "", manager }
    }

    /// Deletes an object as it would be by default.
    pub fn delete(resource: ResourceId, object: &Value) -> Action {
        Action::Delete { key: Key::of(resource, object), uid: uid(object).to_owned(), grace_seconds: None }
    }
}

/// What an event says.
#[derive(Clone, Debug)]
pub struct Note {
    /// Reference to the object that it is about.
    pub about: Value,
    /// Whether it is a warning.
    pub warning: bool,
    /// The reason, one word.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
    /// Who says it.
    pub component: &'static str,
    /// The node on which it was said, or "".
    pub host: String,
}

impl Note {
    /// A normal event. `about` is an object or a reference to one.
    pub fn normal(about: &Value, reason: &'static str, message: impl Into<String>, component: &'static str) -> Note {
        let about = if about.get("metadata").is_some() { reference(about) } else { about.clone() };
        Note { about, warning: false, reason, message: message.into(), component, host: String::new() }
    }

    /// A warning.
    pub fn warning(about: &Value, reason: &'static str, message: impl Into<String>, component: &'static str) -> Note {
        Note { warning: true, ..Note::normal(about, reason, message, component) }
    }

    /// The same, said on a node.
    pub fn on(self, node: &str) -> Note {
        Note { host: node.to_owned(), ..self }
    }
}

/// Does a controller's work.
pub fn reconcile(view: &View<'_>, work: &Work) -> Vec<Action> {
    match work {
        Work::Collect(key) => garbage::reconcile(view, key),
        Work::Namespace(name) => namespace::reconcile(view, name),
        Work::Deployment(key) => deployment::reconcile(view, key),
        Work::ReplicaSet(key) => replicaset::reconcile(view, key),
        Work::Schedule(key) => scheduler::reconcile(view, key),
        Work::Taints(key) => taints::reconcile(view, key),
        Work::Endpoints(key) => endpoints::reconcile(view, key),
        Work::Expire(key) => expire(view, key),
        // These two need the kubelets' state, and the cluster does them itself.
        Work::Node(_) | Work::Kubelet { .. } => Vec::new(),
    }
}

/// The work for every object there is.
pub fn everything(store: &Store) -> Vec<Work> {
    let mut work = BTreeSet::new();
    for row in RESOURCES.iter().filter(|row| row.is_stored()) {
        for object in store.list(row.id, None) {
            let event = Event {
                version: store.version(),
                resource: row.id,
                kind: EventKind::Added,
                object: object.clone(),
                previous: None,
            };
            on_event(store, &event, &mut work);
        }
    }
    work.into_iter().collect()
}

/// The work that an event makes.
pub fn on_event(store: &Store, event: &Event, work: &mut BTreeSet<Work>) {
    let key = Key::of(event.resource, &event.object);
    if let Some(owner) = controller_of(&event.object).and_then(|owner| store.by_uid(text(owner, "/uid"))) {
        work.extend(Work::of_owner(owner));
    }
    work.extend(Work::of_owner(&key));
    garbage_work(store, event, &key, work);
    match event.resource {
        ResourceId::Pods => pod_work(store, event, &key, work),
        ResourceId::Namespaces => {
            work.insert(Work::Namespace(key.name.clone()));
        }
        ResourceId::Nodes => {
            work.insert(Work::Node(key.name.clone()));
            let on_it = store.pods_on(&key.name).map(|pod| Work::Taints(Key::of(ResourceId::Pods, pod)));
            work.extend(on_it);
            work.extend(unscheduled(store));
        }
        ResourceId::Services => {
            work.insert(Work::Endpoints(key.clone()));
        }
        ResourceId::EndpointSlices => {
            if let Some(service) = crate::object::label(&event.object, endpoints::SERVICE_LABEL) {
                work.insert(Work::Endpoints(Key::new(ResourceId::Services, &key.namespace, service)));
            }
        }
        ResourceId::Endpoints => {
            work.insert(Work::Endpoints(Key::new(ResourceId::Services, &key.namespace, &key.name)));
        }
        ResourceId::Events if event.kind != EventKind::Deleted => {
            work.insert(Work::Expire(key.clone()));
        }
        ResourceId::ConfigMaps | ResourceId::Secrets | ResourceId::ServiceAccounts => {
            let pods = store
                .list(ResourceId::Pods, Some(&key.namespace))
                .filter(|pod| !text(pod, "/spec/nodeName").is_empty());
            work.extend(pods.map(|pod| kubelet_work(pod)));
            work.insert(Work::Namespace(key.namespace.clone()));
        }
        _ => {}
    }
    let dying = |home: &Value| is_terminating(home);
    if event.kind == EventKind::Deleted
        && store.get(ResourceId::Namespaces, "", &key.namespace).is_some_and(|home| dying(home))
    {
        work.insert(Work::Namespace(key.namespace));
    }
}

fn garbage_work(store: &Store, event: &Event, key: &Key, work: &mut BTreeSet<Work>) {
    let object = &event.object;
    match event.kind {
        EventKind::Deleted => work.extend(store.dependents(uid(object)).cloned().map(Work::Collect)),
        EventKind::Added if !items(object, "/metadata/ownerReferences").is_empty() => {
            work.insert(Work::Collect(key.clone()));
        }
        _ => {}
    }
    if is_terminating(object) && event.kind != EventKind::Deleted {
        work.insert(Work::Collect(key.clone()));
    }
    // An owner in foreground deletion waits for this one.
    for owner in items(object, "/metadata/ownerReferences") {
        let Some(owner_key) = store.by_uid(text(owner, "/uid")) else { continue };
        if store.at(owner_key).is_some_and(|owner| is_terminating(owner)) {
            work.insert(Work::Collect(owner_key.clone()));
        }
    }
}

fn pod_work(store: &Store, event: &Event, key: &Key, work: &mut BTreeSet<Work>) {
    let pod = &event.object;
    let node = text(pod, "/spec/nodeName");
    if node.is_empty() {
        if event.kind != EventKind::Deleted {
            work.insert(Work::Schedule(key.clone()));
        }
    } else {
        work.insert(kubelet_work(pod));
        work.insert(Work::Taints(key.clone()));
    }
    if event.kind == EventKind::Deleted {
        // A deployment that recreates waits for the last of its old pods, which no longer counts for its replica set.
        let set = controller_of(pod).and_then(|owner| store.at(store.by_uid(text(owner, "/uid"))?));
        let deployment = set.and_then(|set| store.by_uid(text(controller_of(set)?, "/uid")));
        work.extend(deployment.and_then(Work::of_owner));
    }
    let freed = event.kind == EventKind::Deleted || matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    if freed && !node.is_empty() {
        work.extend(unscheduled(store));
    }
    let previous = event.previous.as_deref().unwrap_or(&Value::Null);
    if event.kind == EventKind::Modified && !concerns_endpoints(previous, pod) && controller_of(pod).is_some() {
        return;
    }
    for service in store.list(ResourceId::Services, Some(&key.namespace)) {
        let selector = crate::object::map(service, "/spec/selector");
        let matches = |pod: &Value| LabelSelector::from_map(selector).matches(labels(pod));
        if selector.is_some() && (matches(pod) || matches(previous)) {
            work.insert(Work::Endpoints(Key::of(ResourceId::Services, service)));
        }
    }
    if controller_of(pod).is_none() && event.kind != EventKind::Deleted {
        // An orphan may be adopted by whoever selects it.
        for set in store.list(ResourceId::ReplicaSets, Some(&key.namespace)) {
            if LabelSelector::from_object(set.pointer("/spec/selector").unwrap_or(&Value::Null)).matches(labels(pod)) {
                work.insert(Work::ReplicaSet(Key::of(ResourceId::ReplicaSets, set)));
            }
        }
    }
    // A replica set that lost a pod by relabelling hears of it through the old controller reference.
    if let Some(owner) = controller_of(previous).and_then(|owner| store.by_uid(text(owner, "/uid"))) {
        work.extend(Work::of_owner(owner));
    }
}

fn concerns_endpoints(old: &Value, new: &Value) -> bool {
    [
        "/metadata/labels",
        "/metadata/deletionTimestamp",
        "/status/podIP",
        "/status/phase",
        "/status/conditions",
        "/spec/nodeName",
    ]
    .iter()
    .any(|part| old.pointer(part) != new.pointer(part))
}

fn kubelet_work(pod: &Value) -> Work {
    Work::Kubelet { node: text(pod, "/spec/nodeName").to_owned(), pod: Key::of(ResourceId::Pods, pod) }
}

fn unscheduled(store: &Store) -> impl Iterator<Item = Work> {
    store.pods_on("").map(|pod| Work::Schedule(Key::of(ResourceId::Pods, pod)))
}

fn expire(view: &View<'_>, key: &Key) -> Vec<Action> {
    let Some(event) = view.store.at(key) else { return Vec::new() };
    let last = [text(event, "/lastTimestamp"), text(event, "/eventTime"), text(event, "/metadata/creationTimestamp")];
    let told = last.iter().find_map(|written| view.moment(written)).unwrap_or(view.now);
    let at = told + view.settings.event_ttl;
    if at <= view.now {
        return vec![Action::delete(ResourceId::Events, event)];
    }
    vec![Action::Wake { at, work: Work::Expire(key.clone()) }]
}

/// Whether a pod counts for its controller: it is neither finished nor on its way out.
pub(crate) fn is_active(pod: &Value) -> bool {
    !is_terminating(pod) && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// The parts of an object that say what it is called, for messages.
pub(crate) fn path_of(object: &Value) -> String {
    format!("{}/{}", namespace(object), name(object))
}
