//! Where an address leads, seen from a pod.

use std::net::{Ipv4Addr, SocketAddrV4};

use atoll_kernel::NodeId;

use crate::table::{Service, ServicePort, ServiceTable};

/// The API server's service address (`kubernetes.default`).
const API_SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 1), 443);
/// Where the API server listens: on node 1.
const API_SERVER: (NodeId, u16) = (NodeId(1), 6443);
/// What pods know the host's own loopback address as.
pub(crate) const HOST_IP: Ipv4Addr = Ipv4Addr::new(10, 240, 255, 254);

/// What an address means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'t> {
    /// A port of a service: one of its endpoints is to be chosen.
    Service(&'t Service, &'t ServicePort),
    /// A port of a pod.
    Pod(SocketAddrV4),
    /// An engine's port on a node, inside this process.
    Engine(NodeId, u16),
    /// A program on this machine, at 127.0.0.1.
    Host(u16),
    /// Anything else: the world outside.
    Outside(SocketAddrV4),
    /// An address of the cluster that nothing has.
    Nowhere,
}

/// Decides by address ranges, and for service addresses by the table.
pub(crate) fn route(table: &ServiceTable, to: SocketAddrV4) -> Route<'_> {
    let (ip, port) = (*to.ip(), to.port());
    if let Some(service) = table.by_ip(ip) {
        if let Some(found) = service.ports.iter().find(|candidate| candidate.port == port) {
            return Route::Service(service, found);
        }
        return Route::Nowhere;
    }
    match ip.octets() {
        _ if to == API_SERVICE => Route::Engine(API_SERVER.0, API_SERVER.1),
        _ if ip == HOST_IP => Route::Host(port),
        [10, 96, ..] => Route::Nowhere,
        [10, 240, 0, node] if node > 0 => Route::Engine(NodeId(u16::from(node)), port),
        [10, 240, ..] => Route::Nowhere,
        [10, 244, ..] => Route::Pod(to),
        // Loopback is never captured. Who connects to the capture port itself asked for nothing that exists.
        [127 | 0, ..] => Route::Nowhere,
        _ => Route::Outside(to),
    }
}
