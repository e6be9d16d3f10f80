//! The pods' network, as Kubernetes and a service mesh make it: where a captured connection goes, and over what.
//!
//! A pod's network namespace has one way out: a listener whose descriptor the mesh holds. Whoever is accepted there *is*
//! that pod; the identity is the listener itself. Start with [`Mesh`]. Then, in the order of a connection's life:
//!
//! | module | what |
//! | --- | --- |
//! | `outbound` | accepts captured connections, asks `route` where they go, connects, copies bytes |
//! | `route` | an address → service, pod, engine on a node, the host, or the world outside; pure |
//! | `balance` | which endpoint of a service: least connections, ejection after failures; pure |
//! | `tunnel` | pod to pod between nodes: mutual TLS with SPIFFE identities, on the nodes' port 15008 |
//! | `ingress` | Services of type LoadBalancer and NodePort on the nodes' host addresses |
//! | `dns` | cluster DNS: the codec (bounded), the zone (pure), the server |
//! | `table` | what the mesh is told about services, endpoints and pods |
//!
//! Every stream between nodes is under the kernel's rules for its link while it lives: cut is silence, reset is RST,
//! delay is delay, a killed node resets, a paused node hangs.

mod balance;
mod dns;
mod ingress;
mod mesh;
mod metrics;
mod outbound;
mod route;
mod streams;
mod table;
mod tunnel;

#[cfg(test)]
mod tests;

pub use dns::wire::{Malformed, Query, decode as decode_dns_query};
pub use mesh::{IngressProblem, Mesh, MeshError, PodAttachment, PodDoor};
pub use metrics::ServiceMetrics;
pub use table::{Endpoint, Service, ServiceKind, ServicePort, ServiceTable};

/// The part of the stack that the kernel's rules know the mesh's links by.
pub const PART: atoll_kernel::Part = "mesh";
