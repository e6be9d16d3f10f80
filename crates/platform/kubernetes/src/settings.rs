//! What a cluster is made with, under the names of the real components' flags.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

/// Settings of the synchronous core.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The nodes; the control plane lives on the first.
    pub nodes: Vec<NodeSettings>,
    /// Seed of every random decision.
    pub seed: u64,
    /// kube-controller-manager `--node-monitor-grace-period`: how long a silent node stays Ready.
    pub node_monitor_grace_period: Duration,
    /// kube-apiserver `--default-not-ready-toleration-seconds`.
    pub default_not_ready_toleration_seconds: i64,
    /// kube-apiserver `--default-unreachable-toleration-seconds`.
    pub default_unreachable_toleration_seconds: i64,
    /// kube-apiserver `--event-ttl`.
    pub event_ttl: Duration,
    /// Addresses that services of type LoadBalancer are reachable at.
    pub load_balancer_addresses: Vec<String>,
    /// The certificate authority that pods trust the API by, PEM; it stands in every namespace's `kube-root-ca.crt`.
    pub certificate_authority_pem: String,
    /// ConfigMaps that stand in every namespace besides that one, by name: the addresses of other systems, for instance.
    pub namespace_config_maps: BTreeMap<String, BTreeMap<String, String>>,
    /// The key that signs service accounts' tokens; with an empty key no token is believed.
    pub service_account_key: Vec<u8>,
    /// The address of the API as pods see it.
    pub api_service_address: String,
    /// The address that the API's own endpoints name, as pods see node 1.
    pub api_endpoint: (String, u16),
}

impl Settings {
    /// The real components' defaults for these nodes.
    pub fn new(nodes: Vec<NodeSettings>) -> Settings {
        let api_endpoint = (nodes.first().map(|node| node.internal_ip.clone()).unwrap_or_default(), 6443);
        Settings {
            nodes,
            seed: 0,
            node_monitor_grace_period: Duration::from_secs(50),
            default_not_ready_toleration_seconds: 300,
            default_unreachable_toleration_seconds: 300,
            event_ttl: Duration::from_secs(3600),
            load_balancer_addresses: Vec::new(),
            certificate_authority_pem: String::new(),
            namespace_config_maps: BTreeMap::new(),
            service_account_key: Vec::new(),
            api_service_address: "10.96.0.1".to_owned(),
            api_endpoint,
        }
    }
}

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSettings {
    /// Name, as `node-1`.
    pub name: String,
    /// Number from 1, which is the third byte of its pods' addresses.
    pub number: u16,
    /// The address under which pods see the node.
    pub internal_ip: String,
    /// `topology.kubernetes.io/region`.
    pub region: String,
    /// `topology.kubernetes.io/zone`.
    pub zone: String,
    /// CPU in thousandths of a core.
    pub cpu_millicores: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// kubelet `maxPods`.
    pub max_pods: i64,
}

impl NodeSettings {
    /// Node `number` with the usual name and address.
    pub fn numbered(number: u16, cpu_millicores: i64, memory_bytes: i64) -> NodeSettings {
        NodeSettings {
            name: format!("node-{number}"),
            number,
            internal_ip: format!("10.240.0.{number}"),
            region: "local".to_owned(),
            zone: format!("zone-{number}"),
            cpu_millicores,
            memory_bytes,
            max_pods: 110,
        }
    }

    /// `capacity` and `allocatable`.
    pub fn capacity(&self) -> Value {
        let cpu = match self.cpu_millicores % 1000 {
            0 => (self.cpu_millicores / 1000).to_string(),
            _ => format!("{}m", self.cpu_millicores),
        };
        json!({"cpu": cpu, "memory": format!("{}Ki", self.memory_bytes / 1024), "pods": self.max_pods.to_string(), "ephemeral-storage": "100Gi"})
    }
}
