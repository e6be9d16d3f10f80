//! Endpoints and EndpointSlices: which pods stand behind a service, and which of them are ready.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Action;
use crate::cluster::View;
use crate::object::{
    flag, has_condition, is_terminating, items, label, labels, map, name, namespace, owner_reference, set, text, uid,
};
use crate::resources::ResourceId;
use crate::selector::LabelSelector;
use crate::state::Key;

/// The label by which a slice names its service.
pub(super) const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const MANAGED_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGED_BY: &str = "endpointslice-controller.k8s.io";
const MANAGER: &str = "kube-controller-manager";

/// Endpoints of one slice, as the real controller's `--max-endpoints-per-slice`.
const PER_SLICE: usize = 100;

pub(super) fn reconcile(view: &View<'_>, key: &Key) -> Vec<Action> {
    // Slices and endpoints of a deleted service go with their owner; endpoints have the same name and no owner.
    let Some(service) = view.store.at(key) else { return gone(view, key) };
    let mut actions = Vec::new();
    load_balancer(view, service, &mut actions);
    if map(service, "/spec/selector").is_none_or(serde_json::Map::is_empty) || is_terminating(service) {
        return actions;
    }
    let backends = backends(view, service);
    write_slices(view, service, &backends, &mut actions);
    write_endpoints(view, service, &backends, &mut actions);
    actions
}

fn gone(view: &View<'_>, key: &Key) -> Vec<Action> {
    let endpoints = view.store.get(ResourceId::Endpoints, &key.namespace, &key.name);
    endpoints.into_iter().map(|endpoints| Action::delete(ResourceId::Endpoints, endpoints)).collect()
}

/// A service of type LoadBalancer is reachable at the stack's own addresses.
fn load_balancer(view: &View<'_>, service: &Value, actions: &mut Vec<Action>) {
    let wanted: Vec<Value> = match text(service, "/spec/type") {
        "LoadBalancer" => {
            view.settings.load_balancer_addresses.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect()
        }
        _ => Vec::new(),
    };
    if items(service, "/status/loadBalancer/ingress") != wanted.as_slice() {
        let mut new = service.clone();
        set(
            &mut new,
            &["status", "loadBalancer"],
            if wanted.is_empty() { json!({}) } else { json!({"ingress": wanted}) },
        );
        actions.push(Action::status(ResourceId::Services, new, MANAGER));
    }
}

/// One pod behind a service.
struct Backend<'a> {
    pod: &'a Value,
    ready: bool,
    ports: Value,
}

fn backends<'a>(view: &View<'a>, service: &Value) -> Vec<Backend<'a>> {
    let selector = LabelSelector::from_map(map(service, "/spec/selector"));
    let all_ready = flag(service, "/spec/publishNotReadyAddresses");
    let mut backends = Vec::new();
    for pod in view.store.list(ResourceId::Pods, Some(namespace(service))) {
        let finished = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
        if finished || text(pod, "/status/podIP").is_empty() || !selector.matches(labels(pod)) {
            continue;
        }
        let ready = all_ready || has_condition(pod, "Ready");
        backends.push(Backend { pod: pod.as_ref(), ready, ports: resolved_ports(service, pod) });
    }
    backends
}

/// The service's ports with the numbers that they have in this pod; a name that the pod does not know drops the port.
fn resolved_ports(service: &Value, pod: &Value) -> Value {
    let mut ports = Vec::new();
    for port in items(service, "/spec/ports") {
        let protocol = text(port, "/protocol");
        let number = match port.get("targetPort") {
            Some(Value::String(wanted)) => items(pod, "/spec/containers")
                .iter()
                .flat_map(|container| items(container, "/ports"))
                .find(|candidate| text(candidate, "/name") == wanted && text(candidate, "/protocol") == protocol)
                .and_then(|found| found.get("containerPort"))
                .and_then(Value::as_i64),
            Some(number) => number.as_i64(),
            None => port.get("port").and_then(Value::as_i64),
        };
        let Some(number) = number else { continue };
        let mut resolved = json!({"name": text(port, "/name"), "port": number, "protocol": protocol});
        if let Some(application) = port.get("appProtocol") {
            resolved["appProtocol"] = application.clone();
        }
        ports.push(resolved);
    }
    Value::Array(ports)
}

fn write_slices(view: &View<'_>, service: &Value, backends: &[Backend<'_>], actions: &mut Vec<Action>) {
    let mut groups: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    for backend in backends {
        let group = groups.entry(backend.ports.to_string()).or_insert_with(|| (backend.ports.clone(), Vec::new()));
        group.1.push(slice_endpoint(view, backend));
    }
    if groups.is_empty() {
        groups.insert(String::new(), (json!([]), Vec::new()));
    }
    let mut wanted: Vec<(Value, Vec<Value>)> = Vec::new();
    for (ports, endpoints) in groups.into_values() {
        if endpoints.is_empty() {
            wanted.push((ports, endpoints));
            continue;
        }
        wanted.extend(endpoints.chunks(PER_SLICE).map(|chunk| (ports.clone(), chunk.to_vec())));
    }
    let mut present: Vec<&Value> = view
        .store
        .list(ResourceId::EndpointSlices, Some(namespace(service)))
        .map(AsRef::as_ref)
        .filter(|slice| {
            label(slice, SERVICE_LABEL) == Some(name(service)) && label(slice, MANAGED_LABEL) == Some(MANAGED_BY)
        })
        .filter(|slice| !is_terminating(slice))
        .collect();
    for (ports, endpoints) in wanted {
        let at = present.iter().position(|slice| slice.get("ports") == Some(&ports)).or(if present.is_empty() {
            None
        } else {
            Some(0)
        });
        let parts = slice_object(service, &ports, &endpoints);
        match at.map(|at| present.remove(at)) {
            None => actions.push(Action::Create {
                resource: ResourceId::EndpointSlices,
                object: Box::new(parts),
                manager: MANAGER,
                blame: None,
            }),
            Some(slice) => {
                let mut new = slice.clone();
                for part in ["endpoints", "ports"] {
                    new[part] = parts[part].clone();
                }
                set(&mut new, &["metadata", "labels"], parts["metadata"]["labels"].clone());
                if new != *slice {
                    actions.push(Action::update(ResourceId::EndpointSlices, new, MANAGER));
                }
            }
        }
    }
    actions.extend(present.into_iter().map(|slice| Action::delete(ResourceId::EndpointSlices, slice)));
}

fn slice_object(service: &Value, ports: &Value, endpoints: &[Value]) -> Value {
    let mut own_labels = labels(service).cloned().unwrap_or_default();
    own_labels.insert(SERVICE_LABEL.to_owned(), json!(name(service)));
    own_labels.insert(MANAGED_LABEL.to_owned(), json!(MANAGED_BY));
    if text(service, "/spec/clusterIP") == "None" {
        own_labels.insert("service.kubernetes.io/headless".to_owned(), json!(""));
    }
    json!({
        "metadata": {
            "generateName": format!("{}-", name(service)),
            "namespace": namespace(service),
            "labels": own_labels,
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    })
}

fn slice_endpoint(view: &View<'_>, backend: &Backend<'_>) -> Value {
    let pod = backend.pod;
    let node = text(pod, "/spec/nodeName");
    let terminating = is_terminating(pod);
    let mut endpoint = json!({
        "addresses": [text(pod, "/status/podIP")],
        "conditions": {"ready": backend.ready && !terminating, "serving": backend.ready, "terminating": terminating},
        "nodeName": node,
        "targetRef": target(pod),
    });
    let zone = view.store.get(ResourceId::Nodes, "", node).and_then(|node| label(node, "topology.kubernetes.io/zone"));
    if let Some(zone) = zone {
        endpoint["zone"] = json!(zone);
    }
    if let Some(hostname) = pod.pointer("/spec/hostname") {
        endpoint["hostname"] = hostname.clone();
    }
    endpoint
}

fn target(pod: &Value) -> Value {
    json!({"kind": "Pod", "namespace": namespace(pod), "name": name(pod), "uid": uid(pod)})
}

fn write_endpoints(view: &View<'_>, service: &Value, backends: &[Backend<'_>], actions: &mut Vec<Action>) {
    let mut groups: BTreeMap<String, (Value, Vec<Value>, Vec<Value>)> = BTreeMap::new();
    for backend in backends.iter().filter(|backend| !is_terminating(backend.pod)) {
        let group = groups
            .entry(backend.ports.to_string())
            .or_insert_with(|| (endpoint_ports(&backend.ports), Vec::new(), Vec::new()));
        let pod = backend.pod;
        let address = json!({"ip": text(pod, "/status/podIP"), "nodeName": text(pod, "/spec/nodeName"), "targetRef": target(pod)});
        if backend.ready { group.1.push(address) } else { group.2.push(address) }
    }
    let subsets: Vec<Value> = groups
        .into_values()
        .map(|(ports, ready, unready)| {
            let mut subset = json!({"ports": ports});
            for (part, list) in [("addresses", ready), ("notReadyAddresses", unready)] {
                if !list.is_empty() {
                    subset[part] = Value::Array(list);
                }
            }
            subset
        })
        .collect();
    let own_labels = || {
        let mut own = labels(service).cloned().unwrap_or_default();
        own.insert("endpoints.kubernetes.io/managed-by".to_owned(), json!("endpoint-controller"));
        own
    };
    match view.store.get(ResourceId::Endpoints, namespace(service), name(service)) {
        None => {
            let metadata = json!({"name": name(service), "namespace": namespace(service), "labels": own_labels()});
            let object = json!({"metadata": metadata, "subsets": subsets});
            actions.push(Action::Create {
                resource: ResourceId::Endpoints,
                object: Box::new(object),
                manager: MANAGER,
                blame: None,
            });
        }
        Some(present) if items(present, "/subsets") != subsets.as_slice() => {
            let mut new = present.as_ref().clone();
            new["subsets"] = Value::Array(subsets);
            actions.push(Action::update(ResourceId::Endpoints, new, MANAGER));
        }
        Some(_) => {}
    }
}

/// In Endpoints, a port without a name has no `name` at all.
fn endpoint_ports(ports: &Value) -> Value {
    let mut ports = ports.clone();
    for port in ports.as_array_mut().into_iter().flatten() {
        if text(port, "/name").is_empty() {
            crate::object::remove(port, &["name"]);
        }
    }
    ports
}
