//! The synchronous core: the store, its controllers and its kubelets, driven by requests, faults, the runtime's events and
//! the passing of time. It does no I/O and knows no clock: the caller hands in `now` and performs what [`Cluster::take_commands`] says.
//!
//! The caller's contract, after every call that may have changed something:
//! 1. [`Cluster::settle`] runs controllers until nothing is left to do;
//! 2. [`Cluster::take_changes`] is made durable before anything is acknowledged;
//! 3. [`Cluster::take_commands`] goes to the pod runtime;
//! 4. watches read [`Store::events_after`] from their cursors;
//! 5. [`Cluster::advance`] is called no later than [`Cluster::next_wake`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::controllers::{self, Action, Work};
use crate::kubelet::Kubelet;
use crate::object::name;
use crate::persistence::{Change, Saved};
use crate::registry::{DeleteOptions, WriteOptions};
use crate::resources::{RESOURCES, ResourceId};
use crate::runtime::{Command, RuntimeEvent};
use crate::settings::{NodeSettings, Settings};
use crate::state::{Event, Key, Store};
use crate::time::rfc3339;

/// Work items of one `settle`; what is left runs at the next wake, so that a quarrel of two writers cannot hold the core.
const WORK_PER_SETTLE_MAX: usize = 20_000;

/// What controllers see: the store and the time.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// All objects.
    pub store: &'a Store,
    /// Time since the start.
    pub now: Duration,
    /// Time since the Unix epoch.
    pub wall: Duration,
    /// The cluster's settings.
    pub settings: &'a Settings,
}

impl View<'_> {
    /// The wall clock as the API writes it.
    pub fn timestamp(&self) -> String {
        rfc3339(self.wall)
    }

    /// The moment, on the cluster's own clock, of a time that is written in an object; `None` for absent or malformed ones.
    pub fn moment(&self, written: &str) -> Option<Duration> {
        let at = crate::time::parse(written)?;
        Some((at + self.now).saturating_sub(self.wall))
    }
}

/// What a node looks like from outside, as the kernel's faults make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Whether its processes run.
    pub power: Power,
    /// Whether its kubelet and the control plane reach each other.
    pub connected: bool,
}

/// Whether a node's processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// They run.
    Running,
    /// They stand still.
    Paused,
    /// They are dead, and so are the pods.
    Off,
}

/// The whole cluster as plain data.
pub struct Cluster {
    pub(crate) store: Store,
    pub(crate) settings: Settings,
    pub(crate) now: Duration,
    pub(crate) kubelets: BTreeMap<String, Kubelet>,
    pub(crate) commands: Vec<Command>,
    /// Names of events by what they say.
    pub(crate) told: BTreeMap<String, String>,
    wall_at_start: Duration,
    work: BTreeSet<Work>,
    timers: BTreeSet<(Duration, Work)>,
    cursor: u64,
    draws: u64,
    control_plane_up: bool,
}

impl Cluster {
    /// A cluster from what was persisted. `now` is the time since the start, `wall` that since the Unix epoch.
    pub fn new(settings: Settings, saved: Saved, now: Duration, wall: Duration) -> Cluster {
        let mut store = Store::default();
        store.restore(
            saved.version,
            saved.objects.into_iter().filter_map(|(path, object)| Some((resource_of(&path)?, object))),
        );
        let kubelets = settings.nodes.iter().map(|node| (node.name.clone(), Kubelet::new(node.clone()))).collect();
        let mut cluster = Cluster {
            cursor: store.version(),
            store,
            now,
            kubelets,
            commands: Vec::new(),
            told: BTreeMap::new(),
            wall_at_start: wall.saturating_sub(now),
            work: BTreeSet::new(),
            timers: BTreeSet::new(),
            draws: 0,
            control_plane_up: true,
            settings,
        };
        cluster.bootstrap();
        cluster.settle();
        cluster
    }

    /// The store, for reading.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The settings that the cluster was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The view that controllers get.
    pub fn view(&self) -> View<'_> {
        View { store: &self.store, now: self.now, wall: self.wall(), settings: &self.settings }
    }

    /// The time since the Unix epoch.
    pub fn wall(&self) -> Duration {
        self.wall_at_start + self.now
    }

    /// Lets time pass: everything that is due by `now` happens. Time never goes backwards.
    pub fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
        while let Some((at, work)) = self.timers.first().cloned() {
            if at > self.now {
                break;
            }
            self.timers.pop_first();
            self.work.insert(work);
        }
        self.settle();
    }

    /// When `advance` must be called next; `None` while nothing is due.
    pub fn next_wake(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// What has to be made durable before anything is acknowledged.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.store.take_changes()
    }

    /// What the pod runtime has to do, in order.
    pub fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    /// Something happened to a pod's containers or probes.
    pub fn on_runtime_event(&mut self, event: RuntimeEvent) {
        let Some(kubelet) = self.kubelets.get_mut(event.node()) else { return };
        let view =
            View { store: &self.store, now: self.now, wall: self.wall_at_start + self.now, settings: &self.settings };
        let outcome = kubelet.on_event(&event, &view);
        self.carry_out(outcome);
        self.settle();
    }

    /// A node was killed, paused, cut off or healed. States that do not differ from the present one change nothing.
    pub fn set_node_state(&mut self, node: &str, state: NodeState) {
        let first = self.settings.nodes.first().is_some_and(|first| first.name == node);
        if first {
            // The control plane's processes live on the first node.
            self.control_plane_up = state.power == Power::Running;
        }
        let Some(kubelet) = self.kubelets.get_mut(node) else { return };
        let view =
            View { store: &self.store, now: self.now, wall: self.wall_at_start + self.now, settings: &self.settings };
        let outcome = kubelet.set_state(state, &view);
        self.carry_out(outcome);
        self.work.insert(Work::Node(node.to_owned()));
        self.settle();
    }

    /// Runs controllers and kubelets until nothing is left to do.
    pub fn settle(&mut self) {
        for _ in 0..WORK_PER_SETTLE_MAX {
            self.note_events();
            if !self.control_plane_up && self.work.first().is_some_and(|work| !work.is_kubelets()) {
                // Controllers stand still with their node; their work waits for it.
                let Some(work) = self.work.iter().find(|work| work.is_kubelets()).cloned() else { return };
                self.work.remove(&work);
                self.perform_work(&work);
                continue;
            }
            let Some(work) = self.work.pop_first() else { return };
            self.perform_work(&work);
        }
        let later = self.now + Duration::from_millis(100);
        for work in std::mem::take(&mut self.work) {
            self.timers.insert((later, work));
        }
    }

    fn note_events(&mut self) {
        let Some(events) = self.store.events_after(self.cursor) else {
            // More happened at once than the history holds: look at everything again.
            self.work.extend(controllers::everything(&self.store));
            self.cursor = self.store.version();
            return;
        };
        for event in events {
            controllers::on_event(&self.store, event, &mut self.work);
        }
        self.cursor = self.store.version();
    }

    fn perform_work(&mut self, work: &Work) {
        let view =
            View { store: &self.store, now: self.now, wall: self.wall_at_start + self.now, settings: &self.settings };
        match work {
            Work::Kubelet { node, pod } => {
                let Some(kubelet) = self.kubelets.get_mut(node) else { return };
                let outcome = kubelet.sync(pod, &view);
                self.carry_out(outcome);
            }
            Work::Node(node) => {
                let Some(kubelet) = self.kubelets.get(node) else { return };
                let actions = controllers::node::reconcile(&view, node, kubelet.contact(), kubelet.settings());
                self.perform(actions);
            }
            other => {
                let actions = controllers::reconcile(&view, other);
                self.perform(actions);
            }
        }
    }

    fn carry_out(&mut self, outcome: crate::kubelet::Outcome) {
        self.commands.extend(outcome.commands);
        self.perform(outcome.actions);
    }

    /// Carries out what a controller or kubelet decided.
    pub(crate) fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Create { resource, object, manager, blame } => {
                    let created = self.create(resource, *object, &WriteOptions::internal(manager));
                    match (created, blame) {
                        (Ok(object), Some(owner)) if resource == ResourceId::Pods => {
                            let message = format!("Created pod: {}", name(&object));
                            self.record(&controllers::Note::normal(
                                &owner,
                                "SuccessfulCreate",
                                message,
                                "replicaset-controller",
                            ));
                        }
                        (Err(status), Some(owner)) => self.blame_creation(resource, &owner, &status.message),
                        _ => {}
                    }
                }
                Action::Update { resource, mut object, subresource, manager } => {
                    // Decided on the present state under one lock, so no version is expected, and a failure only means
                    // that the object is gone.
                    crate::object::remove(&mut object, &["metadata", "resourceVersion"]);
                    let _ = self.update(resource, subresource, *object, &WriteOptions::internal(manager));
                }
                Action::Delete { key, uid, grace_seconds } => {
                    let options = DeleteOptions { grace_seconds, uid: Some(uid), ..DeleteOptions::default() };
                    let _ = self.delete(&key, &options);
                }
                Action::Record(note) => self.record(&note),
                Action::Wake { at, work } => {
                    self.timers.insert((at, work));
                }
            }
        }
    }

    fn blame_creation(&mut self, resource: ResourceId, owner: &Value, message: &str) {
        let kind = resource.row().kind.to_lowercase();
        let prefix = if kind == "pod" { "Error creating: " } else { "Error: " };
        self.record(&controllers::Note::warning(
            owner,
            "FailedCreate",
            format!("{prefix}{message}"),
            "replicaset-controller",
        ));
        // A quota or an account may turn up without an event that names this owner.
        if let Some(key) = self.store.by_uid(crate::object::text(owner, "/uid")).cloned() {
            let work = Work::of_owner(&key);
            self.timers.extend(work.map(|work| (self.now + Duration::from_secs(10), work)));
        }
    }

    /// Five characters for a generated name.
    pub(crate) fn name_suffix(&mut self) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let bytes = self.draw();
        bytes.iter().take(5).map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
    }

    /// A fresh uid, in the form of a version 4 UUID.
    pub(crate) fn fresh_uid(&mut self) -> String {
        let bytes = self.draw();
        let hex: String = bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
    }

    /// A draw of the stream that is keyed by the seed and the version, so that a restart never repeats one.
    fn draw(&mut self) -> [u8; 32] {
        self.draws += 1;
        let mut hasher = Sha256::new();
        hasher.update(self.settings.seed.to_be_bytes());
        hasher.update(self.store.version().to_be_bytes());
        hasher.update(self.draws.to_be_bytes());
        hasher.finalize().into()
    }

    /// What must exist from the start, and work for everything that was restored.
    fn bootstrap(&mut self) {
        for object in crate::bootstrap::objects(&self.settings) {
            let (resource, object) = object;
            let key = Key::of(resource, &object);
            if self.store.at(&key).is_none() {
                let created = self.create(resource, object, &WriteOptions::internal("kube-apiserver"));
                debug_assert!(created.is_ok(), "{}/{}: {created:?}", resource.row().plural, key.name);
            }
        }
        let nodes: Vec<NodeSettings> = self.settings.nodes.clone();
        for node in &nodes {
            self.register_node(node);
        }
        self.work.extend(controllers::everything(&self.store));
    }

    fn register_node(&mut self, node: &NodeSettings) {
        let fresh = crate::bootstrap::node_object(node, &rfc3339(self.wall()));
        match self.store.get(ResourceId::Nodes, "", &node.name).cloned() {
            None => {
                let created = self.create(ResourceId::Nodes, fresh.clone(), &WriteOptions::internal("kubelet"));
                debug_assert!(created.is_ok(), "{created:?}");
                let note = controllers::Note::normal(
                    &crate::bootstrap::node_reference(node),
                    "Starting",
                    "Starting kubelet.",
                    "kubelet",
                )
                .on(&node.name);
                self.record(&note);
            }
            Some(existing) => debug_assert_eq!(name(&existing), node.name),
        }
        let Some(current) = self.store.get(ResourceId::Nodes, "", &node.name) else { return };
        let mut object = current.as_ref().clone();
        object["status"] = fresh["status"].clone();
        let _ = self.update(ResourceId::Nodes, "status", object, &WriteOptions::internal("kubelet"));
    }

    /// The events of the store after a version, for watches.
    pub fn events_after(&self, version: u64) -> Option<impl Iterator<Item = &Event>> {
        self.store.events_after(version)
    }

    /// One object.
    pub fn get(&self, resource: ResourceId, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.store.get(resource, namespace, name)
    }
}

fn resource_of(path: &str) -> Option<ResourceId> {
    let mut parts = path.split('/');
    let (group, plural) = (parts.next()?, parts.next()?);
    RESOURCES.iter().find(|row| row.group == group && row.plural == plural).map(|row| row.id)
}
