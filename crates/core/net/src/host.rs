//! What every part of the stack is given to live on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use atoll_kernel::disk::Disk;
use atoll_kernel::{Endpoint, Kernel, Link, NodeId, Part, Plane};

use crate::doors::Doors;
use crate::gate::Gates;

/// The machine as engines see it: the kernel, a disk, the doors between parts, and the addresses of nodes.
#[derive(Clone)]
pub struct Host {
    /// Nodes, rules, clocks and the ledger.
    pub kernel: Kernel,
    /// Where logs and snapshots go: the data directory, or memory with `--ephemeral`.
    pub disk: Arc<dyn Disk>,
    /// The data directory itself, for what has to be a real path; None with `--ephemeral`.
    pub data_directory: Option<PathBuf>,
    /// How captured connections reach engines inside the process.
    pub doors: Doors,
    pub(crate) gates: Gates,
}

impl Host {
    /// A host over a kernel and a disk.
    pub fn new(kernel: Kernel, disk: Arc<dyn Disk>, data_directory: Option<PathBuf>) -> Host {
        let gates = Gates::new(&kernel);
        Host { kernel, disk, data_directory, doors: Doors::default(), gates }
    }

    /// Where programs on this machine reach a port of a node; None if there is no such node.
    pub fn address(&self, node: NodeId, port: u16) -> Option<SocketAddr> {
        let node = self.kernel.node(node)?;
        Some(SocketAddr::new(IpAddr::V4(node.config.address), port))
    }

    /// The address of a node that this peer can reach: what an engine advertises to it. See [`Peer`].
    pub fn advertised(&self, node: NodeId, peer: Peer) -> Option<Ipv4Addr> {
        let node = self.kernel.node(node)?;
        Some(match peer {
            Peer::Host => node.config.address,
            Peer::Pod { .. } => node.config.pod_side_address,
        })
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A program on this machine.
    Host,
    /// A pod: its address cannot be forged, because its network namespace is the proof.
    Pod {
        /// The node that the pod runs on.
        node: NodeId,
        /// The pod's address.
        ip: Ipv4Addr,
    },
}

impl Peer {
    /// The link from this peer to a node.
    pub fn link_to(self, node: NodeId, part: Part) -> Link {
        let from = match self {
            Peer::Host => Endpoint::Client,
            Peer::Pod { node, .. } => Endpoint::Node(node),
        };
        Link { from, to: Endpoint::Node(node), plane: Plane::Client, part }
    }
}
