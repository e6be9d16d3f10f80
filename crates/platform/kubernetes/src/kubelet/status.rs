//! A pod's status, composed from what its kubelet knows: phase, conditions and container statuses.

use serde_json::{Map, Value, json};

use super::container::{Container, Run};
use super::{Sandbox, Worker};
use crate::cluster::View;
use crate::object::{items, set, set_condition, text};
use crate::settings::NodeSettings;

/// The pod with its present status.
pub(super) fn compose(worker: &Worker, node: &NodeSettings, view: &View<'_>) -> Value {
    let mut pod = worker.pod.as_ref().clone();
    let phase = phase(worker);
    let mut status = json!({"phase": phase});
    // Conditions and what others wrote stay; the rest is ours.
    for kept in ["conditions", "qosClass", "message", "reason", "nominatedNodeName", "ephemeralContainerStatuses"] {
        if let Some(value) = pod.pointer(&format!("/status/{kept}")) {
            status[kept] = value.clone();
        }
    }
    status["hostIP"] = json!(node.internal_ip);
    status["hostIPs"] = json!([{"ip": node.internal_ip}]);
    if matches!(worker.sandbox, Sandbox::Ready | Sandbox::Removing) {
        status["podIP"] = json!(worker.ip.to_string());
        status["podIPs"] = json!([{"ip": worker.ip.to_string()}]);
    }
    status["startTime"] = json!(worker.start_time);
    for (list, field) in [("/spec/initContainers", "initContainerStatuses"), ("/spec/containers", "containerStatuses")]
    {
        let statuses: Vec<Value> = items(&pod, list).iter().map(|spec| container_status(worker, spec, view)).collect();
        if !statuses.is_empty() {
            status[field] = Value::Array(statuses);
        }
    }
    set(&mut pod, &["status"], status);
    conditions(worker, &mut pod, phase, view);
    pod
}

fn conditions(worker: &Worker, pod: &mut Value, phase: &str, view: &View<'_>) {
    let now = view.timestamp();
    let unready = |list: &str, ready: fn(&Container) -> bool| -> Vec<String> {
        let names = items(&worker.pod, list).iter().map(|spec| text(spec, "/name").to_owned());
        names.filter(|name| !worker.containers.get(name).is_some_and(ready)).collect()
    };
    let uninitialized = unready("/spec/initContainers", |container| {
        matches!(container.run, Run::Exited { code: 0, .. })
            || (container.probes.started && matches!(container.run, Run::Running { .. }))
    });
    let waiting = unready("/spec/containers", is_ready);
    let sandbox = matches!(worker.sandbox, Sandbox::Ready);
    let mut put = |kind: &str, fine: bool, reason: &str, message: String| {
        let mut condition = json!({"type": kind, "status": if fine { "True" } else { "False" }});
        if !fine && !reason.is_empty() {
            condition["reason"] = json!(reason);
            condition["message"] = json!(message);
        }
        set_condition(pod, condition, &now);
    };
    put("PodReadyToStartContainers", sandbox, "", String::new());
    let ended = phase == "Succeeded";
    let finished = matches!(phase, "Succeeded" | "Failed");
    put(
        "Initialized",
        uninitialized.is_empty() || ended,
        "ContainersNotInitialized",
        format!("containers with incomplete status: [{}]", uninitialized.join(" ")),
    );
    let reason = match phase {
        "Succeeded" => "PodCompleted",
        "Failed" => "PodFailed",
        _ => "ContainersNotReady",
    };
    let message =
        if finished { String::new() } else { format!("containers with unready status: [{}]", waiting.join(" ")) };
    let ready = waiting.is_empty() && !finished && sandbox;
    put("Ready", ready, reason, message.clone());
    put("ContainersReady", ready, reason, message);
    put("PodScheduled", true, "", String::new());
}

fn is_ready(container: &Container) -> bool {
    matches!(container.run, Run::Running { .. }) && container.probes.started && container.probes.ready
}

fn container_status(worker: &Worker, spec: &Value, view: &View<'_>) -> Value {
    let name = text(spec, "/name");
    let Some(container) = worker.containers.get(name) else { return json!({"name": name}) };
    let init = worker.is_init(name);
    let running = matches!(container.run, Run::Running { .. });
    let ready = if init && text(spec, "/restartPolicy") != "Always" {
        matches!(container.run, Run::Exited { code: 0, .. })
    } else {
        is_ready(container)
    };
    let (state, last) = states(worker, container, name, view);
    let mut status = json!({
        "name": name,
        "image": text(spec, "/image"),
        "imageID": container.image_id,
        "ready": ready,
        "restartCount": container.attempt.unwrap_or(0),
        "started": running && container.probes.started,
        "state": state,
        "lastState": last,
    });
    if !container.runtime_id.is_empty() {
        status["containerID"] = json!(container.runtime_id);
    }
    status
}

/// `state` and `lastState`.
fn states(worker: &Worker, container: &Container, name: &str, view: &View<'_>) -> (Value, Value) {
    let last = if container.last.is_null() { json!({}) } else { container.last.clone() };
    let waiting = |reason: &str, message: String| {
        let mut waiting = Map::new();
        waiting.insert("reason".to_owned(), json!(reason));
        if !message.is_empty() {
            waiting.insert("message".to_owned(), json!(message));
        }
        json!({"waiting": waiting})
    };
    match &container.run {
        Run::Waiting { .. } if worker.is_blocked_by_init(name) => (waiting("PodInitializing", String::new()), last),
        Run::Waiting { reason: "ErrImagePull", message } if container.back_off_is_told() => {
            let image = text(&worker.spec_of(name), "/image").to_owned();
            (waiting("ImagePullBackOff", format!("Back-off pulling image \"{image}\": {message}")), last)
        }
        Run::Waiting { reason, message } => (waiting(reason, message.clone()), last),
        Run::Starting => (
            waiting(
                if worker.has_init() && !worker.is_init(name) { "PodInitializing" } else { "ContainerCreating" },
                String::new(),
            ),
            last,
        ),
        Run::Running { started_at, .. } => (json!({"running": {"startedAt": started_at}}), last),
        Run::Exited { terminated, .. } => match container.back_off(view) {
            Some(delay) if worker.should_restart(name, text(&worker.pod, "/spec/restartPolicy") != "Never") => {
                let pod = format!("{}_{}({})", worker.key.name, worker.key.namespace, worker.id.uid);
                let message =
                    format!("back-off {} restarting failed container={name} pod={pod}", go_duration(delay.as_secs()));
                (waiting("CrashLoopBackOff", message), json!({"terminated": terminated}))
            }
            _ => (json!({"terminated": terminated}), last),
        },
    }
}

/// Seconds as Go prints a duration: `10s`, `1m20s`, `5m0s`.
fn go_duration(seconds: u64) -> String {
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

impl Worker {
    fn has_init(&self) -> bool {
        !items(&self.pod, "/spec/initContainers").is_empty()
    }

    fn is_blocked_by_init(&self, name: &str) -> bool {
        let done = |spec: &Value| {
            let run = self.containers.get(text(spec, "/name")).map(|container| &container.run);
            matches!(run, Some(Run::Exited { code: 0, .. }))
                || (text(spec, "/restartPolicy") == "Always" && matches!(run, Some(Run::Running { .. })))
        };
        !self.is_init(name) && !items(&self.pod, "/spec/initContainers").iter().all(done)
    }
}

/// The pod's phase.
pub(super) fn phase(worker: &Worker) -> &'static str {
    if let Some(phase) = worker.finished {
        return phase;
    }
    let never = text(&worker.pod, "/spec/restartPolicy") == "Never";
    let mut ran = false;
    for spec in items(&worker.pod, "/spec/containers") {
        let Some(container) = worker.containers.get(text(spec, "/name")) else { continue };
        match &container.run {
            Run::Running { .. } | Run::Exited { .. } => ran = true,
            _ if container.attempt.is_some_and(|attempt| attempt > 0) => ran = true,
            Run::Waiting { .. } | Run::Starting => return "Pending",
        }
    }
    let ended = |spec: &Value| {
        matches!(worker.containers.get(text(spec, "/name")).map(|container| &container.run), Some(Run::Exited { .. }))
    };
    let all_ended = items(&worker.pod, "/spec/containers").iter().all(ended);
    match (ran, all_ended && crate::object::is_terminating(&worker.pod)) {
        // A deleted pod whose containers have all ended is told apart by their codes, whatever the restart policy.
        (true, true) => {
            if worker.any_failed() {
                "Failed"
            } else {
                "Succeeded"
            }
        }
        (true, false) => "Running",
        (false, _) if never && worker.init_failed() => "Failed",
        (false, _) => "Pending",
    }
}

/// `Succeeded` or `Failed` once every container has ended and none will be started again.
pub(super) fn final_phase(worker: &Worker) -> Option<&'static str> {
    let retries = text(&worker.pod, "/spec/restartPolicy") != "Never";
    if !retries && worker.init_failed() {
        return Some("Failed");
    }
    let over = |spec: &Value| {
        let name = text(spec, "/name");
        let run = worker.containers.get(name).map(|container| &container.run);
        matches!(run, Some(Run::Exited { .. })) && !worker.should_restart(name, retries)
    };
    items(&worker.pod, "/spec/containers")
        .iter()
        .all(over)
        .then(|| if worker.any_failed() { "Failed" } else { "Succeeded" })
}

impl Worker {
    fn any_failed(&self) -> bool {
        items(&self.pod, "/spec/containers").iter().any(|spec| {
            let run = self.containers.get(text(spec, "/name")).map(|container| &container.run);
            matches!(run, Some(Run::Exited { code, .. }) if *code != 0)
        })
    }

    fn init_failed(&self) -> bool {
        items(&self.pod, "/spec/initContainers").iter().any(|spec| {
            let run = self.containers.get(text(spec, "/name")).map(|container| &container.run);
            matches!(run, Some(Run::Exited { code, .. }) if *code != 0)
        })
    }
}
