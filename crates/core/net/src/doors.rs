//! How the mesh hands a pod's captured socket to an engine inside the process.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use atoll_kernel::NodeId;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::host::Peer;

/// How many handed-over sockets may wait for a listener, as a listen backlog.
pub(crate) const WAITING_MAX: usize = 1024;

/// A socket that arrives at a listener from inside the process.
#[derive(Debug)]
pub struct Arrival {
    /// The socket, connected.
    pub stream: TcpStream,
    /// Who is at its other end.
    pub peer: Peer,
}

/// The listeners of a host, by node and port.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    open: Arc<Mutex<BTreeMap<Door, mpsc::Sender<Arrival>>>>,
}

/// A node and a port.
type Door = (NodeId, u16);

impl Doors {
    /// Hands a connected socket to the listener of a node's port. It is refused where nobody listens, and where the
    /// backlog is full, and the socket comes back.
    pub fn hand_over(&self, node: NodeId, port: u16, arrival: Arrival) -> Result<(), (io::ErrorKind, Arrival)> {
        let door = self.open.lock().get(&(node, port)).cloned();
        let Some(door) = door else { return Err((io::ErrorKind::ConnectionRefused, arrival)) };
        door.try_send(arrival).map_err(|error| match error {
            mpsc::error::TrySendError::Full(arrival) => (io::ErrorKind::WouldBlock, arrival),
            mpsc::error::TrySendError::Closed(arrival) => (io::ErrorKind::ConnectionRefused, arrival),
        })
    }

    /// True if somebody listens there.
    pub fn is_open(&self, node: NodeId, port: u16) -> bool {
        self.open.lock().get(&(node, port)).is_some_and(|door| !door.is_closed())
    }

    pub(crate) fn open(&self, node: NodeId, port: u16) -> mpsc::Receiver<Arrival> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        self.open.lock().insert((node, port), sender);
        receiver
    }
}
