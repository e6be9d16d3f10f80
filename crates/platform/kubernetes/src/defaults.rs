//! The defaults that the real API server fills in for the kinds that are interpreted here.

use serde_json::{Value, json};

use crate::object::{flag, items, set, set_default, slot, text};
use crate::resources::ResourceId;

/// Fills in the defaults of a kind. What needs other objects (cluster IPs, service accounts) is `admission.rs`.
pub fn apply_defaults(resource: ResourceId, object: &mut Value) {
    match resource {
        ResourceId::Pods => pod_spec(slot(object, &["spec"])),
        ResourceId::Deployments => deployment(object),
        ResourceId::ReplicaSets => replica_set(object),
        ResourceId::Services => service(object),
        ResourceId::Secrets => secret(object),
        ResourceId::Namespaces => namespace(object),
        ResourceId::Endpoints => endpoints(object),
        ResourceId::EndpointSlices => endpoint_slice(object),
        ResourceId::RoleBindings | ResourceId::ClusterRoleBindings => subjects(object),
        _ => {}
    }
}

fn deployment(object: &mut Value) {
    set_default(object, &["spec", "replicas"], 1);
    set_default(object, &["spec", "revisionHistoryLimit"], 10);
    set_default(object, &["spec", "progressDeadlineSeconds"], 600);
    set_default(object, &["spec", "strategy", "type"], "RollingUpdate");
    if text(object, "/spec/strategy/type") == "RollingUpdate" {
        set_default(object, &["spec", "strategy", "rollingUpdate", "maxUnavailable"], "25%");
        set_default(object, &["spec", "strategy", "rollingUpdate", "maxSurge"], "25%");
    }
    if object.pointer("/spec/template").is_some_and(Value::is_object) {
        pod_spec(slot(object, &["spec", "template", "spec"]));
    }
}

fn replica_set(object: &mut Value) {
    set_default(object, &["spec", "replicas"], 1);
    if object.pointer("/spec/template").is_some_and(Value::is_object) {
        let labels = object.pointer("/spec/template/metadata/labels").cloned().unwrap_or(Value::Null);
        if !labels.is_null() {
            set_default(object, &["spec", "selector"], json!({"matchLabels": labels.clone()}));
            if object.pointer("/metadata/labels").is_none() {
                set(object, &["metadata", "labels"], labels);
            }
        }
        pod_spec(slot(object, &["spec", "template", "spec"]));
    }
}

fn pod_spec(spec: &mut Value) {
    set_default(spec, &["restartPolicy"], "Always");
    set_default(spec, &["terminationGracePeriodSeconds"], 30);
    set_default(spec, &["dnsPolicy"], "ClusterFirst");
    set_default(spec, &["schedulerName"], "default-scheduler");
    set_default(spec, &["securityContext"], json!({}));
    let account = match text(spec, "/serviceAccountName") {
        "" => text(spec, "/serviceAccount").to_owned(),
        name => name.to_owned(),
    };
    if !account.is_empty() {
        set(spec, &["serviceAccountName"], account.as_str());
        set(spec, &["serviceAccount"], account.as_str());
    }
    for list in ["initContainers", "containers"] {
        for item in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container(item);
        }
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        default_volume(volume);
    }
}

fn container(container: &mut Value) {
    if !container.is_object() {
        return;
    }
    let image = text(container, "/image");
    let tag = image.rsplit('/').next().unwrap_or("").split_once(':').map(|(_, tag)| tag);
    let latest = !image.contains('@') && tag.is_none_or(|tag| tag == "latest");
    set_default(container, &["resources"], json!({}));
    default_requests(container);
    set_default(container, &["imagePullPolicy"], if latest { "Always" } else { "IfNotPresent" });
    set_default(container, &["terminationMessagePath"], "/dev/termination-log");
    set_default(container, &["terminationMessagePolicy"], "File");
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        set_default(port, &["protocol"], "TCP");
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container.get(kind).is_some_and(Value::is_object) {
            probe(slot(container, &[kind]));
        }
    }
    for variable in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        if variable.pointer("/valueFrom/fieldRef").is_some_and(Value::is_object) {
            set_default(variable, &["valueFrom", "fieldRef", "apiVersion"], "v1");
        }
    }
}

/// A limit without a request is also the request.
fn default_requests(container: &mut Value) {
    let limits = crate::object::map(container, "/resources/limits").cloned().unwrap_or_default();
    for (resource, limit) in limits {
        set_default(container, &["resources", "requests", &resource], limit);
    }
}

fn probe(probe: &mut Value) {
    set_default(probe, &["timeoutSeconds"], 1);
    set_default(probe, &["periodSeconds"], 10);
    set_default(probe, &["successThreshold"], 1);
    set_default(probe, &["failureThreshold"], 3);
    if probe.get("httpGet").is_some_and(Value::is_object) {
        set_default(probe, &["httpGet", "path"], "/");
        set_default(probe, &["httpGet", "scheme"], "HTTP");
    }
}

fn default_volume(volume: &mut Value) {
    let names_only = volume.as_object().is_some_and(|members| members.keys().all(|key| key == "name"));
    if names_only {
        set(volume, &["emptyDir"], json!({}));
    }
    for kind in ["configMap", "secret", "projected", "downwardAPI"] {
        if volume.get(kind).is_some_and(Value::is_object) {
            set_default(volume, &[kind, "defaultMode"], 0o644);
        }
    }
    if volume.get("hostPath").is_some_and(Value::is_object) {
        set_default(volume, &["hostPath", "type"], "");
    }
}

fn service(object: &mut Value) {
    set_default(object, &["spec", "type"], "ClusterIP");
    set_default(object, &["spec", "sessionAffinity"], "None");
    let kind = text(object, "/spec/type").to_owned();
    if kind != "ExternalName" {
        set_default(object, &["spec", "internalTrafficPolicy"], "Cluster");
        set_default(object, &["spec", "ipFamilyPolicy"], "SingleStack");
        set_default(object, &["spec", "ipFamilies"], json!(["IPv4"]));
    }
    if kind == "NodePort" || kind == "LoadBalancer" {
        set_default(object, &["spec", "externalTrafficPolicy"], "Cluster");
    }
    if kind == "LoadBalancer" {
        set_default(object, &["spec", "allocateLoadBalancerNodePorts"], true);
    }
    for port in object.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten() {
        set_default(port, &["protocol"], "TCP");
        let number = port.get("port").cloned().unwrap_or(Value::Null);
        let target = port.get("targetPort");
        if target.is_none_or(|target| target.is_null() || target == &json!(0) || target == &json!("")) {
            set(port, &["targetPort"], number);
        }
    }
    set_default(object, &["status", "loadBalancer"], json!({}));
}

fn secret(object: &mut Value) {
    use base64::Engine as _;
    set_default(object, &["type"], "Opaque");
    if let Some(Value::Object(plain)) = object.as_object_mut().and_then(|members| members.shift_remove("stringData")) {
        for (key, value) in plain {
            let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or(""));
            set(object, &["data", &key], encoded);
        }
    }
}

fn namespace(object: &mut Value) {
    let name = crate::object::name(object).to_owned();
    if !name.is_empty() {
        set(object, &["metadata", "labels", "kubernetes.io/metadata.name"], name);
    }
    set_default(object, &["spec", "finalizers"], json!(["kubernetes"]));
    set_default(object, &["status", "phase"], "Active");
}

fn endpoints(object: &mut Value) {
    for subset in object.get_mut("subsets").and_then(Value::as_array_mut).into_iter().flatten() {
        for port in subset.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            set_default(port, &["protocol"], "TCP");
        }
    }
}

fn endpoint_slice(object: &mut Value) {
    for port in object.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        set_default(port, &["protocol"], "TCP");
        set_default(port, &["name"], "");
    }
}

fn subjects(object: &mut Value) {
    for subject in object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        if text(subject, "/kind") != "ServiceAccount" {
            set_default(subject, &["apiGroup"], "rbac.authorization.k8s.io");
        }
    }
}

/// The quality-of-service class that follows from requests and limits.
pub fn qos_class(pod: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for container in items(pod, "/spec/containers").iter().chain(items(pod, "/spec/initContainers")) {
        for resource in ["cpu", "memory"] {
            let request = container.pointer(&format!("/resources/requests/{resource}"));
            let limit = container.pointer(&format!("/resources/limits/{resource}"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
        (false, _) => "BestEffort",
    }
}

/// Whether the pod asks for the service account's token to be mounted; the account's own wish counts when the pod has none.
pub fn wants_token(pod: &Value, account: Option<&Value>) -> bool {
    match pod.pointer("/spec/automountServiceAccountToken") {
        Some(Value::Bool(wish)) => *wish,
        _ => account.is_none_or(|account| {
            account.get("automountServiceAccountToken").is_none() || flag(account, "/automountServiceAccountToken")
        }),
    }
}
