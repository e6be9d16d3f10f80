//! Admission: what a new object gets from, or is refused because of, other objects.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::defaults::{qos_class, wants_token};
use crate::error::{Cause, Status};
use crate::object::{items, name, namespace, set, set_default, slot, text};
use crate::registry::WriteOptions;
use crate::resources::ResourceId;

const TOKEN_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Completes or refuses a new object.
///
/// # Errors
/// 403 and 422, as the real admission plugins answer.
pub fn on_create(
    cluster: &mut Cluster,
    resource: ResourceId,
    object: &mut Value,
    options: &WriteOptions,
) -> Result<(), Status> {
    match resource {
        ResourceId::Pods => pod(cluster, object),
        ResourceId::Services => service(cluster, object),
        ResourceId::Nodes if !options.internal => {
            Err(Status::forbidden("", "nodes", name(object), "the nodes of this cluster are those of its stack file"))
        }
        _ => Ok(()),
    }
}

/// Completes a changed object.
///
/// # Errors
/// 422 when an address cannot be allocated.
pub fn on_update(cluster: &mut Cluster, resource: ResourceId, old: &Value, new: &mut Value) -> Result<(), Status> {
    if resource != ResourceId::Services {
        return Ok(());
    }
    // A client that replaces a service without its addresses keeps them.
    for part in ["clusterIP", "clusterIPs"] {
        if let Some(kept) = old.pointer(&format!("/spec/{part}")) {
            set_default(new, &["spec", part], kept.clone());
        }
    }
    for (at, port) in items(old, "/spec/ports").iter().enumerate() {
        let same = new.pointer(&format!("/spec/ports/{at}/port")) == port.get("port");
        if let (true, Some(number)) = (same, port.get("nodePort")) {
            let place = new.pointer_mut(&format!("/spec/ports/{at}"));
            place.into_iter().for_each(|place| set_default(place, &["nodePort"], number.clone()));
        }
    }
    service(cluster, new)
}

fn pod(cluster: &mut Cluster, pod: &mut Value) -> Result<(), Status> {
    set_default(pod, &["spec", "serviceAccountName"], "default");
    let account_name = text(pod, "/spec/serviceAccountName").to_owned();
    set(pod, &["spec", "serviceAccount"], account_name.as_str());
    let account = cluster.store.get(ResourceId::ServiceAccounts, namespace(pod), &account_name).cloned();
    let Some(account) = account else {
        let why = format!(
            "error looking up service account {}/{account_name}: serviceaccount \"{account_name}\" not found",
            namespace(pod)
        );
        return Err(Status::forbidden("", "pods", name(pod), &why));
    };
    if wants_token(pod, Some(&account)) {
        mount_token(cluster, pod);
    }
    set_default(pod, &["spec", "enableServiceLinks"], true);
    set_default(pod, &["spec", "priority"], 0);
    set_default(pod, &["spec", "preemptionPolicy"], "PreemptLowerPriority");
    tolerate(pod, "node.kubernetes.io/not-ready", cluster.settings.default_not_ready_toleration_seconds);
    tolerate(pod, "node.kubernetes.io/unreachable", cluster.settings.default_unreachable_toleration_seconds);
    set(pod, &["status"], json!({"phase": "Pending", "qosClass": qos_class(pod)}));
    Ok(())
}

fn tolerate(pod: &mut Value, key: &str, seconds: i64) {
    let covered = items(pod, "/spec/tolerations").iter().any(|toleration| {
        let (of, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
        (of == key || (of.is_empty() && text(toleration, "/operator") == "Exists"))
            && matches!(effect, "NoExecute" | "")
    });
    if covered {
        return;
    }
    let list = slot(pod, &["spec", "tolerations"]);
    if !list.is_array() {
        *list = json!([]);
    }
    if let Some(list) = list.as_array_mut() {
        list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}));
    }
}

/// The projected volume by which programs in a pod find and trust the API.
fn mount_token(cluster: &mut Cluster, pod: &mut Value) {
    let already = |container: &Value| {
        items(container, "/volumeMounts").iter().any(|mount| text(mount, "/mountPath") == TOKEN_MOUNT)
    };
    let all = items(pod, "/spec/containers").iter().chain(items(pod, "/spec/initContainers"));
    if all.clone().all(already) {
        return;
    }
    let volume = format!("kube-api-access-{}", cluster.name_suffix());
    for list in ["containers", "initContainers"] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if !already(container) {
                push(container, "volumeMounts", json!({"name": volume, "readOnly": true, "mountPath": TOKEN_MOUNT}));
            }
        }
    }
    let sources = json!([
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]);
    push(
        slot(pod, &["spec"]),
        "volumes",
        json!({"name": volume, "projected": {"sources": sources, "defaultMode": 0o644}}),
    );
}

fn push(owner: &mut Value, list: &str, item: Value) {
    let place = slot(owner, &[list]);
    if !place.is_array() {
        *place = json!([]);
    }
    if let Some(list) = place.as_array_mut() {
        list.push(item);
    }
}

fn service(cluster: &mut Cluster, service: &mut Value) -> Result<(), Status> {
    let kind = text(service, "/spec/type").to_owned();
    if kind == "ExternalName" {
        return Ok(());
    }
    allocate_address(cluster, service)?;
    if kind == "NodePort" || kind == "LoadBalancer" {
        allocate_ports(cluster, service)?;
    }
    Ok(())
}

fn allocate_address(cluster: &Cluster, service: &mut Value) -> Result<(), Status> {
    let asked = text(service, "/spec/clusterIP").to_owned();
    let own = (namespace(service).to_owned(), name(service).to_owned());
    let others = cluster
        .store
        .list(ResourceId::Services, None)
        .filter(|other| (namespace(other), name(other)) != (&own.0, &own.1));
    let taken: BTreeSet<&str> = others.map(|other| text(other, "/spec/clusterIP")).collect();
    let fail = |value: &str, why: &str| {
        let causes = vec![Cause::invalid("spec.clusterIPs", &json!([value]), why)];
        Err(Status::invalid("", "Service", &own.1, causes))
    };
    let address = match asked.as_str() {
        "None" => "None".to_owned(),
        "" => {
            // The lower addresses are for services that ask for one, as the real allocator leaves them.
            let free = (257u32..65_534).map(|number| format!("10.96.{}.{}", number >> 8, number & 255));
            match free.into_iter().find(|address| !taken.contains(address.as_str())) {
                Some(address) => address,
                None => return fail("", "failed to allocate IP: range is full"),
            }
        }
        asked if !in_service_range(asked) => {
            return fail(
                asked,
                "failed to allocate IP: the provided IP is not in the valid range. The range of valid IPs is 10.96.0.0/16",
            );
        }
        asked if taken.contains(asked) => {
            return fail(asked, "failed to allocate IP: provided IP is already allocated");
        }
        asked => asked.to_owned(),
    };
    set(service, &["spec", "clusterIPs"], json!([address]));
    set(service, &["spec", "clusterIP"], address);
    Ok(())
}

fn in_service_range(address: &str) -> bool {
    address.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.octets().starts_with(&[10, 96]))
}

fn allocate_ports(cluster: &Cluster, service: &mut Value) -> Result<(), Status> {
    let own = (namespace(service).to_owned(), name(service).to_owned());
    let others = cluster
        .store
        .list(ResourceId::Services, None)
        .filter(|other| (namespace(other), name(other)) != (&own.0, &own.1));
    let port_of = |port: &Value| port.get("nodePort").and_then(Value::as_i64);
    let mut taken: BTreeSet<i64> = others.flat_map(|other| items(other, "/spec/ports")).filter_map(port_of).collect();
    let mut causes = Vec::new();
    for (at, port) in service.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten().enumerate()
    {
        let field = format!("spec.ports[{at}].nodePort");
        match port_of(port) {
            Some(asked) if !(30_000..32_768).contains(&asked) => causes.push(Cause::invalid(
                field,
                &json!(asked),
                "provided port is not in the valid range. The range of valid ports is 30000-32767",
            )),
            Some(asked) if !taken.insert(asked) => {
                causes.push(Cause::invalid(field, &json!(asked), "provided port is already allocated"));
            }
            Some(_) => {}
            None => match (30_000..32_768).find(|number| !taken.contains(number)) {
                Some(number) => {
                    taken.insert(number);
                    set(port, &["nodePort"], number);
                }
                None => causes.push(Cause::invalid(field, &json!(0), "failed to allocate a nodePort: range is full")),
            },
        }
    }
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid("", "Service", &own.1, causes)) }
}
