//! What a cluster has from the start: namespaces, the API's own service, default roles, and the nodes' own descriptions.

use serde_json::{Value, json};

use crate::resources::ResourceId;
use crate::settings::{NodeSettings, Settings};

/// The release that this server stands in for.
pub const VERSION: &str = "v1.33.0";

/// Objects that must exist, in an order in which they can be created.
pub fn objects(settings: &Settings) -> Vec<(ResourceId, Value)> {
    let mut objects: Vec<(ResourceId, Value)> = ["default", "kube-system", "kube-public", "kube-node-lease"]
        .iter()
        .map(|name| (ResourceId::Namespaces, json!({"metadata": {"name": name}})))
        .collect();
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    objects.push((
        ResourceId::Services,
        json!({
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
            "spec": {
                "clusterIP": settings.api_service_address,
                "ports": [{"name": "https", "port": 443, "targetPort": settings.api_endpoint.1}],
            },
        }),
    ));
    let port = json!([{"name": "https", "port": settings.api_endpoint.1, "protocol": "TCP"}]);
    objects.push((
        ResourceId::Endpoints,
        json!({
            "metadata": {"name": "kubernetes", "namespace": "default"},
            "subsets": [{"addresses": [{"ip": settings.api_endpoint.0}], "ports": port}],
        }),
    ));
    objects.push((
        ResourceId::EndpointSlices,
        json!({
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [settings.api_endpoint.0], "conditions": {"ready": true}}],
            "ports": port,
        }),
    ));
    objects.extend(roles());
    objects
}

fn roles() -> Vec<(ResourceId, Value)> {
    let read = ["get", "list", "watch"];
    let write = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let workloads = json!([
        "configmaps",
        "endpoints",
        "events",
        "pods",
        "pods/log",
        "pods/status",
        "services",
        "services/status",
        "serviceaccounts"
    ]);
    let namespaced = |verbs: &[&str]| {
        json!([
            {"apiGroups": [""], "resources": workloads, "verbs": verbs},
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": read},
            {"apiGroups": ["apps"], "resources": ["deployments", "deployments/scale", "deployments/status", "replicasets", "replicasets/scale", "replicasets/status"], "verbs": verbs},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
        ])
    };
    let mut editing = namespaced(&write);
    let mut administering = editing.clone();
    for (rules, extra) in [
        (&mut editing, json!({"apiGroups": [""], "resources": ["secrets"], "verbs": write})),
        (
            &mut administering,
            json!({"apiGroups": ["", "rbac.authorization.k8s.io"], "resources": ["secrets", "roles", "rolebindings"], "verbs": write}),
        ),
    ] {
        rules.as_array_mut().into_iter().for_each(|rules| rules.push(extra.clone()));
    }
    let discovery = json!([{"nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"], "verbs": ["get"]}]);
    let public =
        json!([{"nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"], "verbs": ["get"]}]);
    let reviews = json!([
        {"apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], "verbs": ["create"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
    ]);
    let all =
        json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]);
    vec![
        role("cluster-admin", all),
        role("admin", administering),
        role("edit", editing),
        role("view", namespaced(&read)),
        role("system:discovery", discovery),
        role("system:public-info-viewer", public),
        role("system:basic-user", reviews),
        binding("cluster-admin", &["system:masters"]),
        binding("system:discovery", &["system:authenticated"]),
        binding("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
        binding("system:basic-user", &["system:authenticated"]),
    ]
}

fn role(name: &str, rules: Value) -> (ResourceId, Value) {
    let labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    (ResourceId::ClusterRoles, json!({"metadata": {"name": name, "labels": labels}, "rules": rules}))
}

fn binding(name: &str, groups: &[&str]) -> (ResourceId, Value) {
    let subject = |group: &&str| json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": group});
    let subjects: Vec<Value> = groups.iter().map(subject).collect();
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    let labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    let object = json!({"metadata": {"name": name, "labels": labels}, "roleRef": role, "subjects": subjects});
    (ResourceId::ClusterRoleBindings, object)
}

/// A reference to a node for events; the real kubelet puts the name in the uid's place.
pub fn node_reference(node: &NodeSettings) -> Value {
    json!({"kind": "Node", "name": node.name, "uid": node.name})
}

/// The conditions of a node that is well.
pub fn healthy_conditions(now: &str) -> Vec<Value> {
    [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
    .iter()
    .map(|(kind, status, reason, message)| {
        json!({"type": kind, "status": status, "lastHeartbeatTime": now, "lastTransitionTime": now, "reason": reason, "message": message})
    })
    .collect()
}

/// A node as its kubelet registers it.
pub fn node_object(node: &NodeSettings, now: &str) -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let control_plane = node.number == 1;
    let mut labels = json!({
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
        "topology.kubernetes.io/region": node.region,
        "topology.kubernetes.io/zone": node.zone,
    });
    if control_plane {
        labels["node-role.kubernetes.io/control-plane"] = json!("");
    }
    let cidr = format!("10.244.{}.0/24", node.number);
    json!({
        "metadata": {"name": node.name, "labels": labels},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr], "providerID": format!("atoll://{}", node.name)},
        "status": {
            "addresses": [{"type": "InternalIP", "address": node.internal_ip}, {"type": "Hostname", "address": node.name}],
            "allocatable": node.capacity(),
            "capacity": node.capacity(),
            "conditions": healthy_conditions(now),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "architecture": architecture,
                "bootID": "",
                "containerRuntimeVersion": concat!("atoll://", env!("CARGO_PKG_VERSION")),
                "kernelVersion": "",
                "kubeProxyVersion": "",
                "kubeletVersion": VERSION,
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "Atoll",
                "systemUUID": "",
            },
        },
    })
}
