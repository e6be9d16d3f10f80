//! Server-side printing: the columns that `kubectl get` shows.

use std::time::Duration;

use serde_json::{Value, json};

use crate::object::{flag, has_condition, int, is_terminating, items, labels, map, name, text};
use crate::resources::ResourceId;
use crate::selector::LabelSelector;
use crate::time::{human, parse};

/// How much of the object stands beside its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    /// Only its metadata.
    Metadata,
    /// All of it.
    Object,
    /// Nothing.
    Nothing,
}

/// Columns of a resource: name, whether only `-o wide` shows it, and whether it is a number.
type Columns = &'static [(&'static str, bool, bool)];

const WIDE: bool = true;

fn columns(resource: ResourceId) -> Columns {
    match resource {
        ResourceId::Pods => &[
            ("Name", false, false),
            ("Ready", false, false),
            ("Status", false, false),
            ("Restarts", false, false),
            ("Age", false, false),
            ("IP", WIDE, false),
            ("Node", WIDE, false),
            ("Nominated Node", WIDE, false),
            ("Readiness Gates", WIDE, false),
        ],
        ResourceId::Nodes => &[
            ("Name", false, false),
            ("Status", false, false),
            ("Roles", false, false),
            ("Age", false, false),
            ("Version", false, false),
            ("Internal-IP", WIDE, false),
            ("External-IP", WIDE, false),
            ("OS-Image", WIDE, false),
            ("Kernel-Version", WIDE, false),
            ("Container-Runtime", WIDE, false),
        ],
        ResourceId::Deployments => &[
            ("Name", false, false),
            ("Ready", false, false),
            ("Up-to-date", false, true),
            ("Available", false, true),
            ("Age", false, false),
            ("Containers", WIDE, false),
            ("Images", WIDE, false),
            ("Selector", WIDE, false),
        ],
        ResourceId::ReplicaSets => &[
            ("Name", false, false),
            ("Desired", false, true),
            ("Current", false, true),
            ("Ready", false, true),
            ("Age", false, false),
            ("Containers", WIDE, false),
            ("Images", WIDE, false),
            ("Selector", WIDE, false),
        ],
        ResourceId::Services => &[
            ("Name", false, false),
            ("Type", false, false),
            ("Cluster-IP", false, false),
            ("External-IP", false, false),
            ("Port(s)", false, false),
            ("Age", false, false),
            ("Selector", WIDE, false),
        ],
        ResourceId::Events => &[
            ("Last Seen", false, false),
            ("Type", false, false),
            ("Reason", false, false),
            ("Object", false, false),
            ("Subobject", WIDE, false),
            ("Source", WIDE, false),
            ("Message", false, false),
            ("First Seen", WIDE, false),
            ("Count", WIDE, true),
            ("Name", WIDE, false),
        ],
        other => plain_columns(other),
    }
}

/// Columns of the kinds that show little.
fn plain_columns(resource: ResourceId) -> Columns {
    match resource {
        ResourceId::Namespaces => &[("Name", false, false), ("Status", false, false), ("Age", false, false)],
        ResourceId::ConfigMaps => &[("Name", false, false), ("Data", false, true), ("Age", false, false)],
        ResourceId::Secrets => {
            &[("Name", false, false), ("Type", false, false), ("Data", false, true), ("Age", false, false)]
        }
        ResourceId::ServiceAccounts => &[("Name", false, false), ("Secrets", false, true), ("Age", false, false)],
        ResourceId::Endpoints => &[("Name", false, false), ("Endpoints", false, false), ("Age", false, false)],
        ResourceId::EndpointSlices => &[
            ("Name", false, false),
            ("AddressType", false, false),
            ("Ports", false, false),
            ("Endpoints", false, false),
            ("Age", false, false),
        ],
        ResourceId::Leases => &[("Name", false, false), ("Holder", false, false), ("Age", false, false)],
        ResourceId::RoleBindings | ResourceId::ClusterRoleBindings => {
            &[("Name", false, false), ("Role", false, false), ("Age", false, false)]
        }
        _ => &[("Name", false, false), ("Created At", false, false)],
    }
}

/// A table of objects. `headers` is false for the later events of a watch.
pub fn table(resource: ResourceId, objects: &[&Value], include: Include, wall: Duration, headers: bool) -> Value {
    let definitions: Vec<Value> = columns(resource)
        .iter()
        .map(|(column, wide, number)| {
            json!({
                "name": column,
                "type": if *number { "integer" } else { "string" },
                "format": if *column == "Name" { "name" } else { "" },
                "description": "",
                "priority": i32::from(*wide),
            })
        })
        .collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let beside = match include {
                Include::Object => (*object).clone(),
                Include::Metadata => partial(object),
                Include::Nothing => Value::Null,
            };
            json!({"cells": cells(resource, object, wall), "object": beside})
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": if headers { Value::Array(definitions) } else { json!([]) },
        "rows": rows,
    })
}

/// Only an object's metadata.
pub fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.get("metadata").cloned().unwrap_or(json!({}))})
}

fn since(written: &str, wall: Duration) -> String {
    parse(written).map_or_else(|| "<unknown>".to_owned(), |at| human(wall.saturating_sub(at)))
}

fn cells(resource: ResourceId, object: &Value, wall: Duration) -> Value {
    let age = since(text(object, "/metadata/creationTimestamp"), wall);
    let own = name(object);
    match resource {
        ResourceId::Pods => pod(object, &age, wall),
        ResourceId::Nodes => node(object, &age),
        ResourceId::Deployments => {
            let count = |part: &str| int(object, &format!("/status/{part}")).unwrap_or(0);
            let ready = format!("{}/{}", count("readyReplicas"), int(object, "/spec/replicas").unwrap_or(0));
            let (containers, images) = template(object);
            json!([
                own,
                ready,
                count("updatedReplicas"),
                count("availableReplicas"),
                age,
                containers,
                images,
                selector(object)
            ])
        }
        ResourceId::ReplicaSets => {
            let count = |part: &str| int(object, part).unwrap_or(0);
            let (containers, images) = template(object);
            json!([
                own,
                count("/spec/replicas"),
                count("/status/replicas"),
                count("/status/readyReplicas"),
                age,
                containers,
                images,
                selector(object)
            ])
        }
        ResourceId::Services => service(object, &age),
        ResourceId::Events => event(object, wall),
        ResourceId::Namespaces => json!([own, text(object, "/status/phase"), age]),
        ResourceId::ConfigMaps => json!([own, size(object, "/data") + size(object, "/binaryData"), age]),
        ResourceId::Secrets => json!([own, text(object, "/type"), size(object, "/data"), age]),
        ResourceId::ServiceAccounts => json!([own, items(object, "/secrets").len(), age]),
        ResourceId::Endpoints => json!([own, endpoints(object), age]),
        ResourceId::EndpointSlices => slice(object, &age),
        ResourceId::Leases => json!([own, text(object, "/spec/holderIdentity"), age]),
        ResourceId::RoleBindings | ResourceId::ClusterRoleBindings => {
            json!([own, format!("{}/{}", text(object, "/roleRef/kind"), text(object, "/roleRef/name")), age])
        }
        _ => json!([own, text(object, "/metadata/creationTimestamp")]),
    }
}

fn size(object: &Value, pointer: &str) -> usize {
    map(object, pointer).map_or(0, serde_json::Map::len)
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text.to_owned() }
}

fn template(object: &Value) -> (String, String) {
    let containers = items(object, "/spec/template/spec/containers");
    let join = |part: &str| containers.iter().map(|container| text(container, part)).collect::<Vec<_>>().join(",");
    (join("/name"), join("/image"))
}

fn selector(object: &Value) -> String {
    LabelSelector::from_object(object.pointer("/spec/selector").unwrap_or(&Value::Null)).to_text()
}

fn pod(pod: &Value, age: &str, wall: Duration) -> Value {
    let statuses = items(pod, "/status/containerStatuses");
    let ready =
        statuses.iter().filter(|status| flag(status, "/ready") && status.pointer("/state/running").is_some()).count();
    let total = items(pod, "/spec/containers").len();
    let restarts: i64 = statuses.iter().map(|status| int(status, "/restartCount").unwrap_or(0)).sum();
    let last = statuses.iter().filter_map(|status| parse(text(status, "/lastState/terminated/finishedAt"))).max();
    let restarts = match last.filter(|_| restarts > 0) {
        Some(at) => format!("{restarts} ({} ago)", human(wall.saturating_sub(at))),
        None => restarts.to_string(),
    };
    let gates = items(pod, "/spec/readinessGates").len();
    json!([
        name(pod),
        format!("{ready}/{total}"),
        pod_state(pod),
        restarts,
        age,
        or_none(text(pod, "/status/podIP")),
        or_none(text(pod, "/spec/nodeName")),
        or_none(text(pod, "/status/nominatedNodeName")),
        if gates == 0 { "<none>".to_owned() } else { format!("0/{gates}") },
    ])
}

/// The word in the Status column, which is not the phase: what the containers are doing says more.
fn pod_state(pod: &Value) -> String {
    let reason = text(pod, "/status/reason");
    let mut state = if reason.is_empty() { text(pod, "/status/phase") } else { reason }.to_owned();
    let gated = crate::object::condition(pod, "PodScheduled")
        .is_some_and(|scheduled| text(scheduled, "/reason") == "SchedulingGated");
    if gated {
        state = "SchedulingGated".to_owned();
    }
    let mut initializing = false;
    let inits = items(pod, "/status/initContainerStatuses");
    for (at, status) in inits.iter().enumerate() {
        if int(status, "/state/terminated/exitCode") == Some(0) || flag(status, "/started") {
            continue;
        }
        let waiting = text(status, "/state/waiting/reason");
        state = match status.pointer("/state/terminated") {
            Some(terminated) => format!("Init:{}", ending(terminated)),
            None if !waiting.is_empty() && waiting != "PodInitializing" && waiting != "ContainerCreating" => {
                format!("Init:{waiting}")
            }
            None => format!("Init:{at}/{}", inits.len()),
        };
        initializing = true;
        break;
    }
    if !initializing {
        let mut running = false;
        for status in items(pod, "/status/containerStatuses").iter().rev() {
            let waiting = text(status, "/state/waiting/reason");
            if !waiting.is_empty() {
                waiting.clone_into(&mut state);
            } else if let Some(terminated) = status.pointer("/state/terminated") {
                state = ending(terminated);
            } else if flag(status, "/ready") {
                running = true;
            }
        }
        if state == "Completed" && running {
            state = if has_condition(pod, "Ready") { "Running" } else { "NotReady" }.to_owned();
        }
    }
    if is_terminating(pod) {
        state = "Terminating".to_owned();
    }
    state
}

fn ending(terminated: &Value) -> String {
    let reason = text(terminated, "/reason");
    match (reason, int(terminated, "/signal").unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", int(terminated, "/exitCode").unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn node(node: &Value, age: &str) -> Value {
    let ready = crate::object::condition(node, "Ready").map_or("Unknown", |ready| text(ready, "/status"));
    let mut state = if ready == "True" { "Ready" } else { "NotReady" }.to_owned();
    if flag(node, "/spec/unschedulable") {
        state.push_str(",SchedulingDisabled");
    }
    let prefix = "node-role.kubernetes.io/";
    let roles: Vec<&str> = labels(node).into_iter().flatten().filter_map(|(key, _)| key.strip_prefix(prefix)).collect();
    let address = |kind: &str| {
        let found = items(node, "/status/addresses").iter().find(|address| text(address, "/type") == kind);
        found.map_or("<none>", |address| text(address, "/address")).to_owned()
    };
    let info = |part: &str| {
        let text = text(node, &format!("/status/nodeInfo/{part}"));
        if text.is_empty() { "<unknown>".to_owned() } else { text.to_owned() }
    };
    json!([
        name(node),
        state,
        or_none(&roles.join(",")),
        age,
        info("kubeletVersion"),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ])
}

fn service(service: &Value, age: &str) -> Value {
    let kind = text(service, "/spec/type");
    let ingress: Vec<&str> =
        items(service, "/status/loadBalancer/ingress").iter().map(|point| text(point, "/ip")).collect();
    let given: Vec<&str> = items(service, "/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    let external = match kind {
        "LoadBalancer" if ingress.is_empty() && given.is_empty() => "<pending>".to_owned(),
        "LoadBalancer" => [ingress, given].concat().join(","),
        "ExternalName" => text(service, "/spec/externalName").to_owned(),
        _ => or_none(&given.join(",")),
    };
    let ports: Vec<String> = items(service, "/spec/ports")
        .iter()
        .map(|port| {
            let (number, protocol) = (int(port, "/port").unwrap_or(0), text(port, "/protocol"));
            match int(port, "/nodePort") {
                Some(node) if node > 0 => format!("{number}:{node}/{protocol}"),
                _ => format!("{number}/{protocol}"),
            }
        })
        .collect();
    let chosen = LabelSelector::from_map(map(service, "/spec/selector")).to_text();
    json!([
        name(service),
        kind,
        or_none(text(service, "/spec/clusterIP")),
        external,
        or_none(&ports.join(",")),
        age,
        chosen
    ])
}

fn event(event: &Value, wall: Duration) -> Value {
    let time = |field: &str| text(event, field).to_owned();
    let first = if time("/firstTimestamp").is_empty() { time("/eventTime") } else { time("/firstTimestamp") };
    let last = if time("/lastTimestamp").is_empty() { first.clone() } else { time("/lastTimestamp") };
    let component = match text(event, "/source/component") {
        "" => text(event, "/reportingComponent"),
        component => component,
    };
    let host = text(event, "/source/host");
    let source = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    let object =
        format!("{}/{}", text(event, "/involvedObject/kind").to_lowercase(), text(event, "/involvedObject/name"));
    json!([
        since(&last, wall),
        text(event, "/type"),
        text(event, "/reason"),
        object,
        text(event, "/involvedObject/fieldPath"),
        source,
        text(event, "/message").trim(),
        since(&first, wall),
        int(event, "/count").unwrap_or(1),
        name(event),
    ])
}

fn shorten(list: &[String], most: usize) -> String {
    match list.len() {
        0 => "<none>".to_owned(),
        count if count > most => format!("{} + {} more...", list[..most].join(","), count - most),
        _ => list.join(","),
    }
}

fn endpoints(object: &Value) -> String {
    let mut list = Vec::new();
    for subset in items(object, "/subsets") {
        let ports = items(subset, "/ports");
        for address in items(subset, "/addresses") {
            let ip = text(address, "/ip");
            if ports.is_empty() {
                list.push(ip.to_owned());
            }
            list.extend(ports.iter().map(|port| format!("{ip}:{}", int(port, "/port").unwrap_or(0))));
        }
    }
    shorten(&list, 3)
}

fn slice(slice: &Value, age: &str) -> Value {
    let ports: Vec<String> =
        items(slice, "/ports").iter().map(|port| int(port, "/port").unwrap_or(0).to_string()).collect();
    let addresses: Vec<String> = items(slice, "/endpoints")
        .iter()
        .flat_map(|endpoint| items(endpoint, "/addresses"))
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let ports = if ports.is_empty() { "<unset>".to_owned() } else { shorten(&ports, 3) };
    let addresses = if addresses.is_empty() { "<unset>".to_owned() } else { shorten(&addresses, 3) };
    json!([name(slice), text(slice, "/addressType"), ports, addresses, age])
}
