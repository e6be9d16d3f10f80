//! What the mesh is told: services with their ports and endpoints. A snapshot, replaced as a whole.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use atoll_kernel::NodeId;

/// All services of the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTable {
    /// By namespace and name.
    services: BTreeMap<(String, String), Service>,
    by_ip: BTreeMap<Ipv4Addr, (String, String)>,
}

/// A Kubernetes Service with its ready and unready endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its address; `None` if it is headless.
    pub cluster_ip: Option<Ipv4Addr>,
    /// `spec.externalName`, for Services of type ExternalName.
    pub external_name: Option<String>,
    /// How it is reached from the host.
    pub kind: ServiceKind,
    /// `publishNotReadyAddresses`: DNS names unready endpoints of a headless service as well.
    pub publish_not_ready: bool,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Where it is served.
    pub endpoints: Vec<Endpoint>,
}

/// `spec.type`, as far as the mesh acts on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceKind {
    /// From pods only.
    #[default]
    ClusterIp,
    /// On every node's address, at `nodePort`.
    NodePort,
    /// On every node's address, at the service's own port and at `nodePort`.
    LoadBalancer,
}

/// A TCP port of a service. Ports of other protocols are not served and not listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, empty if it is the only one.
    pub name: String,
    /// The port of the service's address.
    pub port: u16,
    /// The port of the nodes' addresses.
    pub node_port: Option<u16>,
}

/// One address that serves a service, from its EndpointSlices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A pod's address, or any other that a manual EndpointSlice names.
    pub ip: Ipv4Addr,
    /// The node it is on, where known.
    pub node: Option<NodeId>,
    /// Whether it takes new connections.
    pub ready: bool,
    /// Its name below a headless service.
    pub hostname: Option<String>,
    /// Target ports by the service port's name.
    pub ports: BTreeMap<String, u16>,
}

impl ServiceTable {
    /// A table of these services; of two with the same namespace and name the later counts.
    pub fn new(services: impl IntoIterator<Item = Service>) -> Self {
        let key = |service: &Service| (service.namespace.clone(), service.name.clone());
        let services: BTreeMap<_, _> = services.into_iter().map(|service| (key(&service), service)).collect();
        let with_ip = services.values().filter_map(|service| Some((service.cluster_ip?, key(service))));
        let by_ip = with_ip.collect();
        Self { services, by_ip }
    }

    /// The service with this address.
    pub fn by_ip(&self, ip: Ipv4Addr) -> Option<&Service> {
        self.services.get(self.by_ip.get(&ip)?)
    }

    /// The service with this name.
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Whether any service is in this namespace.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        let from = (namespace.to_owned(), String::new());
        self.services.range(from..).next().is_some_and(|((found, _), _)| found == namespace)
    }

    /// All services, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }
}

impl Service {
    /// Where new connections to one of its ports may go.
    pub fn targets(&self, port: &ServicePort) -> Vec<(Ipv4Addr, u16)> {
        let ready = self.endpoints.iter().filter(|endpoint| endpoint.ready);
        ready.filter_map(|endpoint| Some((endpoint.ip, *endpoint.ports.get(&port.name)?))).collect()
    }

    /// `namespace/name`, as metrics and messages name it.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}
