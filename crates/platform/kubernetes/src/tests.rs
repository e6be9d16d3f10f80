//! The cluster under virtual time, with a runtime that only pretends.

mod coverage;
mod faults;
mod kubelets;
mod requests;
mod restarts;
mod server;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::api::{Reply, Request};
use crate::object::{int, items, name, text};
use crate::persistence::Saved;
use crate::runtime::StartFailure;
use crate::{
    Cluster, Command, ContainerId, NodeSettings, NodeState, Power, ResourceId, RuntimeEvent, Settings, Status, User,
};

/// 2026-11-22T15:00:00Z.
const WALL: Duration = Duration::from_secs(1_795_359_600);

/// A cluster of three nodes with a clock and a runtime.
pub(crate) struct World {
    pub cluster: Cluster,
    pub now: Duration,
    /// Containers that run.
    pub running: BTreeSet<ContainerId>,
    /// Commands in the order in which they came.
    pub commands: Vec<Command>,
    /// Answers of probes by container name; true without an entry.
    pub probes: BTreeMap<String, bool>,
    /// Containers that do not end when they are asked to.
    pub stubborn: BTreeSet<String>,
    /// The store's changes, as a disk would have them.
    pub disk: BTreeMap<String, Value>,
}

impl World {
    pub fn new() -> World {
        World::of(settings(), Saved::default(), Duration::ZERO)
    }

    pub fn of(settings: Settings, saved: Saved, now: Duration) -> World {
        let disk = saved.objects.iter().cloned().collect();
        let cluster = Cluster::new(settings, saved, now, WALL + now);
        let (running, commands) = (BTreeSet::new(), Vec::new());
        let mut world =
            World { cluster, now, running, commands, probes: BTreeMap::new(), stubborn: BTreeSet::new(), disk };
        world.run();
        world
    }

    /// Lets the runtime answer until it has nothing to say.
    pub fn run(&mut self) {
        for _ in 0..10_000 {
            for change in self.cluster.take_changes() {
                match change.value {
                    Some(value) => self.disk.insert(change.path, value.as_ref().clone()),
                    None => self.disk.remove(&change.path),
                };
            }
            let commands = self.cluster.take_commands();
            if commands.is_empty() {
                return;
            }
            for command in commands {
                self.commands.push(command.clone());
                for event in self.answer(command) {
                    self.cluster.on_runtime_event(event);
                }
            }
        }
        panic!("the cluster and the runtime quarrel without end");
    }

    fn answer(&mut self, command: Command) -> Vec<RuntimeEvent> {
        match command {
            Command::StartPod(spec) => vec![RuntimeEvent::PodStarted { pod: spec.id }],
            Command::StartContainer(spec) => {
                let id = spec.id.clone();
                if spec.image == "absent" {
                    let message = "no such image".to_owned();
                    return vec![RuntimeEvent::ContainerFailed { id, failure: StartFailure::Image, message }];
                }
                let started = RuntimeEvent::ContainerStarted {
                    id: id.clone(),
                    runtime_id: format!("test://{}", id.attempt),
                    image_id: spec.image.clone(),
                };
                let code = match spec.image.as_str() {
                    "crash" => 1,
                    "done" => 0,
                    _ => {
                        self.running.insert(id);
                        return vec![started];
                    }
                };
                vec![started, RuntimeEvent::ContainerExited { id, code, signal: 0, out_of_memory: false }]
            }
            Command::StopContainer { id, .. } if self.stubborn.contains(&id.container) => Vec::new(),
            Command::StopContainer { id, .. } => self.exit(id, 143),
            Command::RemovePod { pod } => {
                self.running.retain(|id| id.pod != pod);
                vec![RuntimeEvent::PodRemoved { pod }]
            }
            Command::Probe { id, ticket, .. } => {
                let success = self.probes.get(&id.container).copied().unwrap_or(true);
                vec![RuntimeEvent::ProbeDone { id, ticket, success, output: "as told".to_owned() }]
            }
            Command::UpdateVolumes { .. } => Vec::new(),
            Command::NodeOff { node } => {
                self.running.retain(|id| id.pod.node != node);
                Vec::new()
            }
        }
    }

    fn exit(&mut self, id: ContainerId, code: i32) -> Vec<RuntimeEvent> {
        self.running.remove(&id);
        vec![RuntimeEvent::ContainerExited { id, code, signal: code - 128, out_of_memory: false }]
    }

    /// Lets time pass, stopping wherever the cluster asked to be woken.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.now = self.cluster.next_wake().map_or(end, |wake| wake.max(self.now).min(end));
            self.cluster.advance(self.now);
            self.run();
            if self.now >= end {
                return;
            }
        }
    }

    pub fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    pub fn node(&mut self, number: usize, power: Power, connected: bool) {
        self.cluster.set_node_state(&format!("node-{number}"), NodeState { power, connected });
        self.run();
    }

    /// A request by the administrator, answered by JSON.
    pub fn call(&mut self, method: &str, path: &str, body: &Value) -> Result<Value, Status> {
        self.call_as(&User::master(), method, path, body)
    }

    pub fn call_as(&mut self, user: &User, method: &str, path: &str, body: &Value) -> Result<Value, Status> {
        match self.request(&request(user, method, path, body))? {
            Reply::Json { body, .. } => Ok(body),
            Reply::Raw { body, .. } => Ok(json!(String::from_utf8_lossy(&body))),
            Reply::Watch(_) | Reply::Logs(_) => Ok(Value::Null),
        }
    }

    pub fn request(&mut self, request: &Request) -> Result<Reply, Status> {
        let reply = self.cluster.handle(request);
        self.cluster.settle();
        self.run();
        reply
    }

    pub fn must(&mut self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, path, body).unwrap_or_else(|status| panic!("{method} {path}: {status}"))
    }

    pub fn list(&self, resource: ResourceId) -> Vec<Value> {
        self.cluster.store().list(resource, Some("default")).map(|object| object.as_ref().clone()).collect()
    }

    pub fn pods(&self) -> Vec<Value> {
        self.list(ResourceId::Pods)
    }

    /// Pods that are running and ready, in sorted `node` names.
    pub fn ready_nodes(&self) -> Vec<String> {
        let ready = self.pods().into_iter().filter(|pod| crate::object::has_condition(pod, "Ready"));
        let mut nodes: Vec<String> = ready.map(|pod| text(&pod, "/spec/nodeName").to_owned()).collect();
        nodes.sort();
        nodes
    }

    pub fn pod(&self, wanted: &str) -> Value {
        self.pods().into_iter().find(|pod| name(pod) == wanted).unwrap_or(Value::Null)
    }

    pub fn object(&self, resource: ResourceId, name: &str) -> Value {
        self.cluster.get(resource, "default", name).map_or(Value::Null, |object| object.as_ref().clone())
    }

    /// Reasons and counts of the events about an object.
    pub fn told_about(&self, object: &str) -> Vec<(String, i64)> {
        let about =
            self.list(ResourceId::Events).into_iter().filter(|event| text(event, "/involvedObject/name") == object);
        about.map(|event| (text(&event, "/reason").to_owned(), int(&event, "/count").unwrap_or(0))).collect()
    }

    pub fn addresses(&self, service: &str, list: &str) -> usize {
        let endpoints = self.object(ResourceId::Endpoints, service);
        items(&endpoints, "/subsets").iter().map(|subset| items(subset, list).len()).sum()
    }
}

pub(crate) fn settings() -> Settings {
    let nodes = (1..=3).map(|number| NodeSettings::numbered(number, 4000, 8 << 30)).collect();
    Settings { seed: 1, service_account_key: b"key".to_vec(), ..Settings::new(nodes) }
}

pub(crate) fn request(user: &User, method: &str, path: &str, body: &Value) -> Request {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let content_type = match (method, body) {
        ("PATCH", Value::Array(_)) => "application/json-patch+json",
        ("PATCH", _) if query.contains("force=") => "application/apply-patch+yaml",
        ("PATCH", _) => "application/strategic-merge-patch+json",
        _ => "application/json",
    };
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: crate::api::read_query(query),
        accept: "application/json".to_owned(),
        content_type: content_type.to_owned(),
        user_agent: "test/1".to_owned(),
        body: if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) },
        user: user.clone(),
    }
}

pub(crate) const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
pub(crate) const SERVICES: &str = "/api/v1/namespaces/default/services";
pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub(crate) fn deployment(name: &str, replicas: i64, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": image}]}},
        },
    })
}

pub(crate) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

pub(crate) fn pod(name: &str, image: &str, policy: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"restartPolicy": policy, "containers": [{"name": "app", "image": image}]},
    })
}
