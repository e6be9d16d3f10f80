//! One node's address and one port: it listens while the node lives, and refuses while it is dead.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::AsRawFd;
use std::time::Duration;

use atoll_kernel::{NodeId, NodeState, Part};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::connection::{Connection, worst};
use crate::doors::Arrival;
use crate::gate::{Condition, condition};
use crate::host::{Host, Peer};
use crate::limits::Permits;

/// How many connections the operating system completes before we accept them.
pub const BACKLOG: i32 = 1024;

/// How long accepting rests after an error such as too many open files, so that it does not spin.
const REST_AFTER_ERROR: Duration = Duration::from_millis(50);

/// A node's listening socket. Bound once, when the stack starts, so that its port stays ours even while its node is dead.
#[derive(Debug)]
pub struct Listener {
    part: Part,
    node: NodeId,
    port: u16,
    socket: StdListener,
    /// The socket as tokio sees it; None while it is closed because the node is dead.
    accepting: Option<TcpListener>,
    arrivals: mpsc::Receiver<Arrival>,
    permits: Permits,
}

impl Listener {
    /// Binds a node's address and port and starts to listen. Needs no runtime yet, so that a stack binds everything
    /// at once and learns of ports that are taken before it starts anything.
    pub fn bind(host: &Host, part: Part, node: NodeId, port: u16, permits: Permits) -> io::Result<Listener> {
        let address = host.address(node, port).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = listening_socket(address)?;
        let port = socket.local_addr()?.port();
        let arrivals = host.doors.open(node, port);
        Ok(Listener { part, node, port, socket, accepting: None, arrivals, permits })
    }

    /// The node that listens.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection: from a socket, or handed over inside the process. Waits through the node's troubles.
    ///
    /// Cancel-safe. One connection over the limit is returned as well, marked so ([`Connection::is_over_limit`]).
    pub async fn accept(&mut self, host: &Host) -> Connection {
        loop {
            let changed = host.gates.changed();
            match host.kernel.node_state(self.node) {
                NodeState::Running => {}
                NodeState::Paused => {
                    changed.await;
                    continue;
                }
                NodeState::Killed | NodeState::Stopped => {
                    self.refuse();
                    changed.await;
                    continue;
                }
            }
            if let Err(error) = self.listen() {
                // The operating system refused to let a restarted node listen again; it may change its mind.
                debug_assert_ne!(error.kind(), io::ErrorKind::InvalidInput);
                tokio::time::sleep(REST_AFTER_ERROR).await;
                continue;
            }
            tokio::select! {
                biased;
                () = changed => {}
                accepted = self.next_arrival() => match accepted.and_then(|arrival| self.admit(host, arrival)) {
                    Ok(Some(connection)) => return connection,
                    Ok(None) => {}
                    Err(_) => tokio::time::sleep(REST_AFTER_ERROR).await,
                },
            }
        }
    }

    async fn next_arrival(&mut self) -> io::Result<Arrival> {
        let Some(listener) = &self.accepting else { return Err(io::ErrorKind::NotConnected.into()) };
        tokio::select! {
            Some(arrival) = self.arrivals.recv() => {
                arrival.stream.set_nonblocking(true)?;
                Ok(arrival)
            }
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                Ok(Arrival { stream: stream.into_std()?, peer: Peer::Host })
            }
        }
    }

    /// Makes a connection of an arrival, unless the link resets it.
    fn admit(&self, host: &Host, arrival: Arrival) -> io::Result<Option<Connection>> {
        let link = arrival.peer.link_to(self.node, self.part);
        let condition = worst(condition(&host.kernel, link), condition(&host.kernel, link.reversed()));
        if condition == Condition::Broken {
            let _ = SockRef::from(&arrival.stream).set_linger(Some(Duration::ZERO));
            return Ok(None);
        }
        let stream = tokio::net::TcpStream::from_std(arrival.stream)?;
        Connection::accepted(host, self.part, self.node, arrival.peer, stream, self.permits.take()).map(Some)
    }

    fn listen(&mut self) -> io::Result<()> {
        if self.accepting.is_none() {
            SockRef::from(&self.socket).listen(BACKLOG)?;
            self.accepting = Some(TcpListener::from_std(self.socket.try_clone()?)?);
        }
        Ok(())
    }

    /// Stops to listen without giving up the port: connections that wait are reset, and new ones are refused.
    fn refuse(&mut self) {
        if self.accepting.take().is_some() {
            // SAFETY: the descriptor is open for as long as `self.socket` lives; shutdown touches no memory of ours.
            unsafe { libc::shutdown(self.socket.as_raw_fd(), libc::SHUT_RDWR) };
        }
        while let Ok(arrival) = self.arrivals.try_recv() {
            let _ = SockRef::from(&arrival.stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// What counts its connections, to change how many there may be.
    pub fn permits(&self) -> Permits {
        self.permits.clone()
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn listening_socket(mut address: SocketAddr) -> io::Result<StdListener> {
    if address.port() == 0 {
        // Linux keeps a port through `refuse` only if it was asked for by number.
        address = StdListener::bind(address)?.local_addr()?;
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
