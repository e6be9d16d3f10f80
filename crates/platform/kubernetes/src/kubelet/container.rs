//! The runs of a container: starting in order, restarting with back-off, and what becomes of exits and failures.

use std::time::Duration;

use serde_json::{Value, json};

use super::probes::Probes;
use super::{Outcome, Worker, spec};
use crate::cluster::View;
use crate::controllers::Note;
use crate::object::{int, items, name, namespace, text, uid};
use crate::runtime::{Command, ContainerId, StartFailure};
use crate::settings::NodeSettings;

/// The back-off of crashing containers and failing image pulls, as in the kubelet.
const BACK_OFF_FIRST: Duration = Duration::from_secs(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// After running this long a container's back-off starts anew.
const BACK_OFF_RESET: Duration = Duration::from_secs(600);

/// What a container is doing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Run {
    /// Not started, and why.
    Waiting { reason: &'static str, message: String },
    /// The runtime is starting it.
    Starting,
    /// It runs.
    Running { since: Duration, started_at: String },
    /// Its last run has ended.
    Exited { terminated: Value, code: i32 },
}

/// One container of a pod, over all its runs.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub run: Run,
    /// The number of the current or last run; `None` before the first.
    pub attempt: Option<u32>,
    /// `lastState`, once there was a run before.
    pub last: Value,
    pub runtime_id: String,
    pub image_id: String,
    pub probes: Probes,
    delay: Duration,
    /// How long the present back-off lasts.
    wait: Duration,
    not_before: Duration,
    told_back_off: bool,
}

impl Container {
    /// A container as an earlier process left it: what ran then is dead, and its next run is a restart.
    pub fn restored(status: Option<&Value>, view: &View<'_>) -> Container {
        let mut container = Container {
            run: Run::Waiting { reason: "ContainerCreating", message: String::new() },
            attempt: None,
            last: Value::Null,
            runtime_id: String::new(),
            image_id: String::new(),
            probes: Probes::default(),
            delay: Duration::ZERO,
            wait: Duration::ZERO,
            not_before: Duration::ZERO,
            told_back_off: false,
        };
        let Some(status) = status else { return container };
        let restarts = u32::try_from(int(status, "/restartCount").unwrap_or(0)).unwrap_or(0);
        container.last = status.get("lastState").cloned().unwrap_or(Value::Null);
        container.runtime_id = text(status, "/containerID").to_owned();
        if let Some(terminated) = status.pointer("/state/terminated") {
            let code = i32::try_from(int(terminated, "/exitCode").unwrap_or(0)).unwrap_or(255);
            container.attempt = Some(restarts);
            container.run = Run::Exited { terminated: terminated.clone(), code };
        } else if status.pointer("/state/running").is_some() {
            container.attempt = Some(restarts);
            let started_at = text(status, "/state/running/startedAt").to_owned();
            container.run = Run::Running { since: view.now, started_at };
            container.lose_power(view);
        } else if restarts > 0 || container.last.get("terminated").is_some() {
            let terminated = container.last.get("terminated").cloned().unwrap_or(Value::Null);
            container.attempt = Some(restarts);
            container.run = Run::Exited { code: 255, terminated };
        }
        container
    }

    pub fn is_alive(&self) -> bool {
        matches!(self.run, Run::Starting | Run::Running { .. })
    }

    /// The process died with its node.
    pub fn lose_power(&mut self, view: &View<'_>) {
        self.probes = Probes::default();
        match &self.run {
            Run::Running { started_at, .. } => {
                let terminated = self.terminated(255, 0, "Unknown", started_at.clone(), view);
                self.run = Run::Exited { terminated, code: 255 };
                self.not_before = Duration::ZERO;
            }
            Run::Starting => self.run = Run::Waiting { reason: "ContainerCreating", message: String::new() },
            _ => {}
        }
    }

    fn terminated(&self, code: i32, signal: i32, reason: &str, started_at: String, view: &View<'_>) -> Value {
        let mut terminated = json!({
            "exitCode": code,
            "reason": reason,
            "startedAt": started_at,
            "finishedAt": view.timestamp(),
            "containerID": self.runtime_id,
        });
        if signal != 0 {
            terminated["signal"] = json!(signal);
        }
        terminated
    }

    /// When the next start or probe is due.
    pub fn next_due(&self) -> Option<Duration> {
        match self.run {
            Run::Running { .. } => self.probes.next_due(),
            Run::Exited { .. } | Run::Waiting { .. } => (!self.not_before.is_zero()).then_some(self.not_before),
            Run::Starting => None,
        }
    }

    /// How long the present back-off lasts, if it is on.
    pub fn back_off(&self, view: &View<'_>) -> Option<Duration> {
        (self.not_before > view.now).then_some(self.wait)
    }

    /// Whether the back-off has been spoken of, after which a failed pull is shown as backing off.
    pub fn back_off_is_told(&self) -> bool {
        self.told_back_off
    }

    /// The first failure is tried again at once (or, for images, after the first delay), each further one after twice the time.
    fn step_back_off(&mut self, at_once: bool, view: &View<'_>) {
        let wait = match self.delay {
            Duration::ZERO if at_once => Duration::ZERO,
            delay => delay.max(BACK_OFF_FIRST),
        };
        self.wait = wait;
        self.not_before = if wait.is_zero() { Duration::ZERO } else { view.now + wait };
        self.delay = match (self.delay, wait) {
            (Duration::ZERO, Duration::ZERO) => BACK_OFF_FIRST,
            (_, wait) => (wait * 2).min(BACK_OFF_MAX),
        };
        self.told_back_off = false;
    }
}

impl Worker {
    /// Starts what may start: init containers one after another, then all others.
    pub(super) fn start_containers(
        &mut self,
        node: &NodeSettings,
        view: &View<'_>,
        outcome: &mut Outcome,
        events: &mut Vec<Note>,
    ) {
        let pod = self.pod.clone();
        for init in items(&pod, "/spec/initContainers") {
            let sidecar = text(init, "/restartPolicy") == "Always";
            self.start_if_due(
                init,
                sidecar || text(&pod, "/spec/restartPolicy") != "Never",
                node,
                view,
                outcome,
                events,
            );
            let passed = match self.containers.get(text(init, "/name")).map(|container| &container.run) {
                Some(Run::Exited { code, .. }) => *code == 0 && !sidecar,
                Some(Run::Running { .. }) => sidecar,
                _ => false,
            };
            if !passed {
                return;
            }
        }
        for container in items(&pod, "/spec/containers") {
            self.start_if_due(container, text(&pod, "/spec/restartPolicy") != "Never", node, view, outcome, events);
        }
    }

    fn start_if_due(
        &mut self,
        spec: &Value,
        retries: bool,
        node: &NodeSettings,
        view: &View<'_>,
        outcome: &mut Outcome,
        events: &mut Vec<Note>,
    ) {
        let container_name = text(spec, "/name").to_owned();
        let restarts = self.should_restart(&container_name, retries);
        let Some(container) = self.containers.get_mut(&container_name) else { return };
        let due = match &container.run {
            Run::Waiting { .. } => true,
            Run::Exited { .. } => restarts,
            _ => false,
        };
        if !due {
            return;
        }
        if container.not_before > view.now {
            if !std::mem::replace(&mut container.told_back_off, true) {
                events.extend(self.back_off_notes(&container_name, spec));
            }
            return;
        }
        match spec::container_spec(view, &self.pod, spec, node, self.ip) {
            Ok(mut request) => {
                let Some(container) = self.containers.get_mut(&container_name) else { return };
                if let Run::Exited { terminated, .. } = &container.run {
                    container.last = json!({"terminated": terminated});
                    container.attempt = container.attempt.map(|attempt| attempt + 1);
                }
                let attempt = *container.attempt.get_or_insert(0);
                container.run = Run::Starting;
                container.not_before = Duration::ZERO;
                request.id = ContainerId { pod: self.id.clone(), container: container_name, attempt };
                outcome.commands.push(Command::StartContainer(Box::new(request)));
            }
            Err(message) => {
                let Some(container) = self.containers.get_mut(&container_name) else { return };
                let told = matches!(&container.run, Run::Waiting { message: old, .. } if *old == message);
                if !matches!(container.run, Run::Exited { .. }) {
                    container.run = Run::Waiting { reason: "CreateContainerConfigError", message: message.clone() };
                }
                if !told {
                    events.push(self.warning("Failed", format!("Error: {message}"), &container_name));
                }
            }
        }
    }

    /// Whether a container that has exited runs again.
    pub(super) fn should_restart(&self, container: &str, retries: bool) -> bool {
        let Some(Run::Exited { code, .. }) = self.containers.get(container).map(|container| &container.run) else {
            return false;
        };
        let init = items(&self.pod, "/spec/initContainers").iter().find(|init| text(init, "/name") == container);
        match (init, text(&self.pod, "/spec/restartPolicy")) {
            (Some(init), _) if text(init, "/restartPolicy") == "Always" => true,
            (Some(_), _) => *code != 0 && retries,
            (None, "Always") => true,
            (None, "OnFailure") => *code != 0,
            _ => false,
        }
    }

    fn back_off_notes(&self, container: &str, spec: &Value) -> Vec<Note> {
        let image = text(spec, "/image");
        let pod = &self.pod;
        match self.containers.get(container).map(|container| &container.run) {
            Some(Run::Waiting { .. }) => vec![
                self.note("BackOff", format!("Back-off pulling image \"{image}\""), container),
                self.warning("Failed", "Error: ImagePullBackOff".to_owned(), container),
            ],
            _ => {
                let whole = format!("{}_{}({})", name(pod), namespace(pod), uid(pod));
                vec![self.warning(
                    "BackOff",
                    format!("Back-off restarting failed container {container} in pod {whole}"),
                    container,
                )]
            }
        }
    }

    pub(super) fn container_id(&self, container: &str) -> Option<ContainerId> {
        let attempt = self.containers.get(container)?.attempt?;
        Some(ContainerId { pod: self.id.clone(), container: container.to_owned(), attempt })
    }

    /// The container that an event is about, if the event is about its present run.
    fn current(&mut self, id: &ContainerId) -> Option<&mut Container> {
        self.containers.get_mut(&id.container).filter(|container| container.attempt == Some(id.attempt))
    }

    pub(super) fn on_started(
        &mut self,
        id: &ContainerId,
        runtime_id: &str,
        image_id: &str,
        view: &View<'_>,
        events: &mut Vec<Note>,
    ) {
        let spec = self.spec_of(&id.container);
        let Some(container) = self.current(id).filter(|container| container.run == Run::Starting) else { return };
        runtime_id.clone_into(&mut container.runtime_id);
        image_id.clone_into(&mut container.image_id);
        container.run = Run::Running { since: view.now, started_at: view.timestamp() };
        container.probes = Probes::start(&spec, view.now);
        let image = text(&spec, "/image").to_owned();
        let (pulled, created, started) = (
            format!("Container image \"{image}\" already present on machine"),
            format!("Created container: {}", id.container),
            format!("Started container {}", id.container),
        );
        for (reason, message) in [("Pulled", pulled), ("Created", created), ("Started", started)] {
            events.push(self.note(reason, message, &id.container));
        }
    }

    pub(super) fn on_failed(
        &mut self,
        id: &ContainerId,
        failure: StartFailure,
        message: &str,
        view: &View<'_>,
        events: &mut Vec<Note>,
    ) {
        let image = text(&self.spec_of(&id.container), "/image").to_owned();
        let Some(container) = self.current(id).filter(|container| container.run == Run::Starting) else { return };
        let reason = match failure {
            StartFailure::Image => "ErrImagePull",
            StartFailure::ImageName => "InvalidImageName",
            StartFailure::ImageNeverPull => "ErrImageNeverPull",
            StartFailure::Program => {
                let mut terminated = container.terminated(128, 0, "StartError", view.timestamp(), view);
                terminated["message"] = json!(message);
                container.run = Run::Exited { terminated, code: 128 };
                container.step_back_off(true, view);
                events.push(self.warning("Failed", format!("Error: {message}"), &id.container));
                return;
            }
        };
        let back = container.attempt == Some(0) && container.last.is_null();
        if back {
            // No run has taken place, so the next try is still the first.
            container.attempt = None;
        }
        container.run = Run::Waiting { reason, message: message.to_owned() };
        container.step_back_off(false, view);
        let sentence = match failure {
            StartFailure::Image => format!("Failed to pull image \"{image}\": {message}"),
            StartFailure::ImageName => format!("Failed to apply default image tag \"{image}\": {message}"),
            _ => format!("Container image \"{image}\" is not present with pull policy of Never"),
        };
        events.push(self.warning("Failed", sentence, &id.container));
        events.push(self.warning("Failed", format!("Error: {reason}"), &id.container));
    }

    pub(super) fn on_exited(&mut self, id: &ContainerId, end: (i32, i32, bool), view: &View<'_>) {
        let Some(container) = self.current(id).filter(|container| container.is_alive()) else { return };
        let (code, signal, out_of_memory) = end;
        let reason = match (out_of_memory, code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            _ => "Error",
        };
        let (since, started_at) = match &container.run {
            Run::Running { since, started_at } => (*since, started_at.clone()),
            _ => (view.now, view.timestamp()),
        };
        if view.now.saturating_sub(since) >= BACK_OFF_RESET {
            container.delay = Duration::ZERO;
        }
        let terminated = container.terminated(code, signal, reason, started_at, view);
        container.run = Run::Exited { terminated, code };
        container.probes = Probes::default();
        container.step_back_off(true, view);
    }

    pub(super) fn spec_of(&self, container: &str) -> Value {
        let all = items(&self.pod, "/spec/containers").iter().chain(items(&self.pod, "/spec/initContainers"));
        all.into_iter().find(|spec| text(spec, "/name") == container).cloned().unwrap_or(Value::Null)
    }
}
