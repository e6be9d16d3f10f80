//! The kubelet of one node: drives the pods that are bound to it through a [`crate::runtime::PodRuntime`], and reports.
//!
//! It keeps what only it knows (sandboxes, runs, back-offs, probes) in a [`Worker`] per pod and, like a real kubelet, goes on
//! with what it saw last while it is cut off from the control plane. A killed node forgets its processes, a paused one
//! answers nothing; both catch up when they run again.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{NodeState, Power, View};
use crate::controllers::{Action, Note, Work};
use crate::object::{int, is_terminating, items, text, uid};
use crate::resources::ResourceId;
use crate::runtime::{Command, PodId, RuntimeEvent};
use crate::settings::NodeSettings;
use crate::state::Key;

mod container;
mod probes;
pub(crate) mod spec;
mod status;

use container::{Container, Run};

pub(crate) const COMPONENT: &str = "kubelet";

/// Whether a kubelet is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// It is.
    Heard,
    /// It has been silent since then.
    SilentSince(Duration),
}

/// What a kubelet decides: commands to the runtime, and writes to the API.
#[derive(Debug, Default)]
pub struct Outcome {
    /// For the runtime.
    pub commands: Vec<Command>,
    /// For the API.
    pub actions: Vec<Action>,
}

/// One node's kubelet.
#[derive(Debug)]
pub struct Kubelet {
    settings: NodeSettings,
    state: NodeState,
    silent_since: Option<Duration>,
    workers: BTreeMap<String, Worker>,
    held: Vec<RuntimeEvent>,
    last_address: u16,
    tickets: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sandbox {
    Absent,
    Failed { until: Duration },
    Starting,
    Ready,
    Removing,
}

/// One pod, as its kubelet knows it.
#[derive(Debug)]
struct Worker {
    key: Key,
    id: PodId,
    /// The pod as last seen.
    pod: Arc<Value>,
    sandbox: Sandbox,
    ip: Ipv4Addr,
    start_time: String,
    containers: BTreeMap<String, Container>,
    /// When the grace ends that the runtime was told.
    stop_by: Option<Duration>,
    /// The pod has run to its end.
    finished: Option<&'static str>,
    volumes: Vec<crate::runtime::Volume>,
}

impl Kubelet {
    /// The kubelet of a node that runs and is connected.
    pub fn new(settings: NodeSettings) -> Kubelet {
        Kubelet {
            settings,
            state: NodeState { power: Power::Running, connected: true },
            silent_since: None,
            workers: BTreeMap::new(),
            held: Vec::new(),
            last_address: 1,
            tickets: 0,
        }
    }

    /// Whether the control plane hears of this kubelet.
    pub fn contact(&self) -> Contact {
        self.silent_since.map_or(Contact::Heard, Contact::SilentSince)
    }

    /// The node's settings.
    pub fn settings(&self) -> &NodeSettings {
        &self.settings
    }

    /// Which run of a container its log is to be had of, and whether that container exists at all.
    pub(crate) fn attempt(&self, pod_uid: &str, container: &str) -> Option<u32> {
        self.workers.get(pod_uid)?.containers.get(container)?.attempt
    }

    /// A fault or its end.
    pub fn set_state(&mut self, state: NodeState, view: &View<'_>) -> Outcome {
        let was = std::mem::replace(&mut self.state, state);
        let silent = state.power != Power::Running || !state.connected;
        self.silent_since = silent.then(|| self.silent_since.unwrap_or(view.now));
        let mut outcome = Outcome::default();
        if state.power == Power::Off && was.power != Power::Off {
            self.held.clear();
            self.workers.values_mut().for_each(|worker| worker.lose_power(view));
            outcome.commands.push(Command::NodeOff { node: self.settings.name.clone() });
        }
        if state.power == Power::Running && was != state {
            for event in std::mem::take(&mut self.held) {
                merge(&mut outcome, self.on_event(&event, view));
            }
            let mut keys: Vec<Key> = self.workers.values().map(|worker| worker.key.clone()).collect();
            keys.extend(view.store.pods_on(&self.settings.name).map(|pod| Key::of(ResourceId::Pods, pod)));
            keys.sort();
            keys.dedup();
            for key in keys {
                merge(&mut outcome, self.sync(&key, view));
            }
        }
        outcome
    }

    /// Looks at a pod: does what is due, and reports what has changed.
    pub fn sync(&mut self, key: &Key, view: &View<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        if self.state.power != Power::Running {
            return outcome;
        }
        if self.state.connected {
            self.observe(key, view);
        }
        let uids: Vec<String> =
            self.workers.iter().filter(|(_, worker)| worker.key == *key).map(|(uid, _)| uid.clone()).collect();
        for uid in uids {
            let Some(mut worker) = self.workers.remove(&uid) else { continue };
            let present = !self.state.connected || view.store.at(key).is_some_and(|pod| crate::object::uid(pod) == uid);
            let keep = self.drive(&mut worker, present, view, &mut outcome);
            if keep {
                self.workers.insert(uid, worker);
            }
        }
        outcome
    }

    /// Something happened in the runtime.
    pub fn on_event(&mut self, event: &RuntimeEvent, view: &View<'_>) -> Outcome {
        match self.state.power {
            Power::Running => {}
            Power::Paused => {
                self.held.push(event.clone());
                return Outcome::default();
            }
            Power::Off => return Outcome::default(),
        }
        let Some(worker) = self.workers.get_mut(&event.pod().uid) else { return Outcome::default() };
        let mut outcome = Outcome::default();
        worker.take_event(event, view, &mut outcome);
        let key = worker.key.clone();
        if !self.state.connected {
            // Events of the API cannot be told from here; what counts is told by the status later.
            outcome.actions.retain(|action| !matches!(action, Action::Record(_)));
        }
        merge(&mut outcome, self.sync(&key, view));
        outcome
    }

    /// Takes over what the API says about a pod; a new pod gets a worker.
    fn observe(&mut self, key: &Key, view: &View<'_>) {
        let Some(pod) = view.store.at(key).filter(|pod| text(pod, "/spec/nodeName") == self.settings.name) else {
            return;
        };
        if let Some(worker) = self.workers.get_mut(uid(pod)) {
            worker.pod = pod.clone();
            return;
        }
        if matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") && !is_terminating(pod) {
            return;
        }
        let ip = self.free_address();
        let id = PodId { node: self.settings.name.clone(), uid: uid(pod).to_owned() };
        let worker = Worker::new(key.clone(), id, pod.clone(), ip, view);
        self.workers.insert(uid(pod).to_owned(), worker);
    }

    /// The next address of the node's range that no pod has.
    fn free_address(&mut self) -> Ipv4Addr {
        let node = u8::try_from(self.settings.number).unwrap_or(u8::MAX);
        for _ in 0..253 {
            self.last_address = if self.last_address >= 254 { 2 } else { self.last_address + 1 };
            let address = Ipv4Addr::new(10, 244, node, u8::try_from(self.last_address).unwrap_or(2));
            if self.workers.values().all(|worker| worker.ip != address) {
                return address;
            }
        }
        Ipv4Addr::new(10, 244, node, 254)
    }

    /// Brings a pod one step further; whether the worker is still needed.
    fn drive(&mut self, worker: &mut Worker, present: bool, view: &View<'_>, outcome: &mut Outcome) -> bool {
        let mut events = Vec::new();
        let leaving = !present || is_terminating(&worker.pod);
        let gone = if leaving {
            worker.tear_down(present, view, outcome, &mut events)
        } else {
            worker.work(&self.settings, &mut self.tickets, view, outcome, &mut events);
            false
        };
        if let Some(at) = worker.next_due(view) {
            let work = Work::Kubelet { node: self.settings.name.clone(), pod: worker.key.clone() };
            outcome.actions.push(Action::Wake { at, work });
        }
        if !self.state.connected {
            return true;
        }
        outcome.actions.extend(events.into_iter().map(|note: Note| Action::Record(note.on(&self.settings.name))));
        if !present {
            return !gone;
        }
        if let Some(status) = worker.report(&self.settings, view) {
            outcome.actions.push(status);
        }
        if gone {
            let (key, uid) = (worker.key.clone(), worker.id.uid.clone());
            outcome.actions.push(Action::Delete { key, uid, grace_seconds: Some(0) });
        }
        true
    }
}

fn merge(into: &mut Outcome, more: Outcome) {
    into.commands.extend(more.commands);
    into.actions.extend(more.actions);
}

impl Worker {
    fn new(key: Key, id: PodId, pod: Arc<Value>, ip: Ipv4Addr, view: &View<'_>) -> Worker {
        let started = text(&pod, "/status/startTime");
        let start_time = if started.is_empty() { view.timestamp() } else { started.to_owned() };
        let mut containers = BTreeMap::new();
        for (list, statuses) in [
            ("/spec/initContainers", "/status/initContainerStatuses"),
            ("/spec/containers", "/status/containerStatuses"),
        ] {
            for container in items(&pod, list) {
                let name = text(container, "/name");
                let before = items(&pod, statuses).iter().find(|status| text(status, "/name") == name);
                containers.insert(name.to_owned(), Container::restored(before, view));
            }
        }
        Worker {
            key,
            id,
            pod,
            sandbox: Sandbox::Absent,
            ip,
            start_time,
            containers,
            stop_by: None,
            finished: None,
            volumes: Vec::new(),
        }
    }

    /// Every process is dead; what ran has to be started again, and counts as a restart.
    fn lose_power(&mut self, view: &View<'_>) {
        self.sandbox = Sandbox::Absent;
        self.stop_by = None;
        self.volumes.clear();
        self.containers.values_mut().for_each(|container| container.lose_power(view));
    }

    /// Stops the containers with the pod's grace, then removes the sandbox; true when nothing is left.
    fn tear_down(&mut self, present: bool, view: &View<'_>, outcome: &mut Outcome, events: &mut Vec<Note>) -> bool {
        let grace = self.grace(present, view);
        let deadline = view.now + grace;
        let alive: Vec<String> = self
            .containers
            .iter()
            .filter(|(_, container)| container.is_alive())
            .map(|(name, _)| name.clone())
            .collect();
        if !alive.is_empty() && self.stop_by.is_none_or(|told| deadline + Duration::from_secs(1) < told) {
            let first = self.stop_by.is_none();
            self.stop_by = Some(deadline);
            for name in &alive {
                let Some(id) = self.container_id(name) else { continue };
                outcome.commands.push(Command::StopContainer { id, grace });
                if first {
                    events.push(self.note("Killing", format!("Stopping container {name}"), name));
                }
            }
        }
        if !alive.is_empty() {
            return false;
        }
        match self.sandbox {
            Sandbox::Absent | Sandbox::Failed { .. } => true,
            Sandbox::Starting | Sandbox::Ready => {
                outcome.commands.push(Command::RemovePod { pod: self.id.clone() });
                self.sandbox = Sandbox::Removing;
                false
            }
            Sandbox::Removing => false,
        }
    }

    fn grace(&self, present: bool, view: &View<'_>) -> Duration {
        if !present {
            // Deleted by force, or the object was replaced: nobody waits.
            return Duration::ZERO;
        }
        let until = view.moment(text(&self.pod, "/metadata/deletionTimestamp")).unwrap_or(view.now);
        let whole = int(&self.pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(30).unsigned_abs();
        // The written time has whole seconds, so that it can lie a little early.
        let left = until.saturating_sub(view.now) + Duration::from_secs(1);
        left.min(Duration::from_secs(whole))
    }

    /// Makes the sandbox, starts what has to run, and probes what is due.
    fn work(
        &mut self,
        node: &NodeSettings,
        tickets: &mut u64,
        view: &View<'_>,
        outcome: &mut Outcome,
        events: &mut Vec<Note>,
    ) {
        if self.finished.is_some() {
            return;
        }
        match self.sandbox {
            Sandbox::Ready => {}
            Sandbox::Absent => return self.make_sandbox(node, view, outcome, events),
            Sandbox::Failed { until } if until <= view.now => return self.make_sandbox(node, view, outcome, events),
            _ => return,
        }
        self.refresh_volumes(view, outcome);
        self.start_containers(node, view, outcome, events);
        self.probe(tickets, view, outcome);
        self.finished = status::final_phase(self);
    }

    fn make_sandbox(&mut self, node: &NodeSettings, view: &View<'_>, outcome: &mut Outcome, events: &mut Vec<Note>) {
        match spec::volumes(view, &self.pod, node, self.ip) {
            Ok(volumes) => {
                self.volumes = volumes.clone();
                self.sandbox = Sandbox::Starting;
                outcome
                    .commands
                    .push(Command::StartPod(Box::new(spec::pod_spec(&self.pod, &self.id, node, self.ip, volumes))));
            }
            // The ConfigMap or Secret may come; then its event brings us here again.
            Err(message) => events.push(self.warning("FailedMount", message, "")),
        }
    }

    fn refresh_volumes(&mut self, view: &View<'_>, outcome: &mut Outcome) {
        if !self.volumes.iter().any(|volume| matches!(volume.source, crate::runtime::VolumeSource::Files(_))) {
            return;
        }
        if let Ok(volumes) = spec::refreshed(view, &self.pod, self.ip, &self.volumes)
            && volumes != self.volumes
        {
            self.volumes = volumes.clone();
            outcome.commands.push(Command::UpdateVolumes { pod: self.id.clone(), volumes });
        }
    }

    fn take_event(&mut self, event: &RuntimeEvent, view: &View<'_>, outcome: &mut Outcome) {
        let mut events = Vec::new();
        match event {
            RuntimeEvent::PodStarted { .. } if self.sandbox == Sandbox::Starting => self.sandbox = Sandbox::Ready,
            RuntimeEvent::PodStarted { .. } => {}
            RuntimeEvent::PodFailed { message, .. } => {
                self.sandbox = Sandbox::Failed { until: view.now + Duration::from_secs(5) };
                events.push(self.warning(
                    "FailedCreatePodSandBox",
                    format!("Failed to create pod sandbox: {message}"),
                    "",
                ));
            }
            RuntimeEvent::PodRemoved { .. } => self.sandbox = Sandbox::Absent,
            RuntimeEvent::ContainerStarted { id, runtime_id, image_id } => {
                self.on_started(id, runtime_id, image_id, view, &mut events)
            }
            RuntimeEvent::ContainerFailed { id, failure, message } => {
                self.on_failed(id, *failure, message, view, &mut events)
            }
            RuntimeEvent::ContainerExited { id, code, signal, out_of_memory } => {
                self.on_exited(id, (*code, *signal, *out_of_memory), view);
            }
            RuntimeEvent::ProbeDone { id, ticket, success, output } => {
                self.on_probe(id, *ticket, (*success, output), view, outcome, &mut events);
            }
        }
        let node = self.id.node.clone();
        outcome.actions.extend(events.into_iter().map(|note| Action::Record(note.on(&node))));
    }

    /// When the next thing is due by itself: the end of a back-off, or a probe.
    fn next_due(&self, view: &View<'_>) -> Option<Duration> {
        if self.finished.is_some() || is_terminating(&self.pod) {
            return None;
        }
        let sandbox = match self.sandbox {
            Sandbox::Failed { until } => Some(until),
            _ => None,
        };
        let containers = self.containers.values().filter_map(|container| container.next_due());
        sandbox.into_iter().chain(containers).filter(|due| *due > view.now).min()
    }

    fn note(&self, reason: &'static str, message: String, container: &str) -> Note {
        let mut about = crate::object::reference(&self.pod);
        if !container.is_empty() {
            let list = if self.is_init(container) { "initContainers" } else { "containers" };
            crate::object::set(&mut about, &["fieldPath"], format!("spec.{list}{{{container}}}"));
        }
        Note::normal(&about, reason, message, COMPONENT)
    }

    fn warning(&self, reason: &'static str, message: String, container: &str) -> Note {
        Note { warning: true, ..self.note(reason, message, container) }
    }

    fn is_init(&self, container: &str) -> bool {
        items(&self.pod, "/spec/initContainers").iter().any(|init| text(init, "/name") == container)
    }

    fn report(&self, node: &NodeSettings, view: &View<'_>) -> Option<Action> {
        let new = status::compose(self, node, view);
        (new.get("status") != self.pod.get("status")).then(|| Action::status(ResourceId::Pods, new, COMPONENT))
    }

    fn is_running(&self, container: &str) -> bool {
        self.containers.get(container).is_some_and(|container| matches!(container.run, Run::Running { .. }))
    }
}
