//! What the mesh is told, read from the Services and EndpointSlices of the Kubernetes API.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use atoll_kernel::NodeId;
use atoll_mesh::{Endpoint, Service, ServiceKind, ServicePort, ServiceTable};
use serde_json::Value;

/// The label that ties an EndpointSlice to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A table of these Services with the endpoints of these EndpointSlices. `node_of` knows nodes by name.
pub fn table<'v>(
    services: impl IntoIterator<Item = &'v Value>,
    slices: impl IntoIterator<Item = &'v Value>,
    node_of: impl Fn(&str) -> Option<NodeId>,
) -> ServiceTable {
    let mut endpoints: BTreeMap<(&str, &str), Vec<Endpoint>> = BTreeMap::new();
    for slice in slices {
        let (Some(namespace), Some(service)) =
            (text(slice, "/metadata/namespace"), slice["metadata"]["labels"][SERVICE_NAME].as_str())
        else {
            continue;
        };
        let ports = target_ports(slice);
        let found = array(slice, "/endpoints").iter().filter_map(|one| endpoint(one, &ports, &node_of));
        endpoints.entry((namespace, service)).or_default().extend(found);
    }
    ServiceTable::new(services.into_iter().filter_map(|object| {
        let (namespace, name) = (text(object, "/metadata/namespace")?, text(object, "/metadata/name")?);
        let endpoints = endpoints.remove(&(namespace, name)).unwrap_or_default();
        Some(service(object, namespace, name, endpoints))
    }))
}

fn service(object: &Value, namespace: &str, name: &str, endpoints: Vec<Endpoint>) -> Service {
    let kind = text(object, "/spec/type").unwrap_or("ClusterIP");
    Service {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        cluster_ip: text(object, "/spec/clusterIP").and_then(|ip| ip.parse().ok()),
        external_name: text(object, "/spec/externalName").filter(|_| kind == "ExternalName").map(str::to_owned),
        kind: match kind {
            "LoadBalancer" => ServiceKind::LoadBalancer,
            "NodePort" => ServiceKind::NodePort,
            _ => ServiceKind::ClusterIp,
        },
        publish_not_ready: object["spec"]["publishNotReadyAddresses"].as_bool().unwrap_or(false),
        ports: array(object, "/spec/ports").iter().filter(|port| is_tcp(port)).filter_map(service_port).collect(),
        endpoints,
    }
}

fn service_port(port: &Value) -> Option<ServicePort> {
    Some(ServicePort {
        name: port["name"].as_str().unwrap_or_default().to_owned(),
        port: number(&port["port"])?,
        node_port: number(&port["nodePort"]).filter(|port| *port != 0),
    })
}

fn target_ports(slice: &Value) -> BTreeMap<String, u16> {
    let ports = array(slice, "/ports").iter().filter(|port| is_tcp(port));
    ports
        .filter_map(|port| Some((port["name"].as_str().unwrap_or_default().to_owned(), number(&port["port"])?)))
        .collect()
}

fn endpoint(one: &Value, ports: &BTreeMap<String, u16>, node_of: impl Fn(&str) -> Option<NodeId>) -> Option<Endpoint> {
    let ip: Ipv4Addr = one["addresses"][0].as_str()?.parse().ok()?;
    Some(Endpoint {
        ip,
        node: one["nodeName"].as_str().and_then(node_of),
        // Unknown is to be taken for ready, says the API.
        ready: one["conditions"]["ready"].as_bool().unwrap_or(true),
        hostname: one["hostname"].as_str().map(str::to_owned),
        ports: ports.clone(),
    })
}

fn is_tcp(port: &Value) -> bool {
    port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP")
}

fn text<'v>(object: &'v Value, pointer: &str) -> Option<&'v str> {
    object.pointer(pointer)?.as_str()
}

fn array<'v>(object: &'v Value, pointer: &str) -> &'v [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|number| u16::try_from(number).ok())
}
