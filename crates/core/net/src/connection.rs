//! A byte stream whose link is judged for as long as it lives.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use atoll_kernel::{Link, NodeId, Part};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::gate::{Condition, Gate, condition};
use crate::host::{Host, Peer};
use crate::limits::Permit;

/// How long a burst of bytes that was delayed may go on before it is delayed again.
const BURST: Duration = Duration::from_millis(1);

/// A TCP connection of a client or a pod with a node.
///
/// Reads and writes pass, wait or fail as the kernel's rules say *now*. A cut link holds bytes back until it heals, as
/// TCP retransmits them; it does not lose them.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    gate: Gate,
    peer: Peer,
    node: NodeId,
    reading: Delay,
    writing: Delay,
    /// Counts this connection among its listener's for as long as it lives.
    permit: Option<Permit>,
}

impl Connection {
    pub(crate) fn accepted(
        host: &Host,
        part: Part,
        node: NodeId,
        peer: Peer,
        stream: TcpStream,
        permit: Permit,
    ) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        let gate = host.gates.open(peer.link_to(node, part));
        let (reading, writing) = (Delay::default(), Delay::default());
        Ok(Connection { stream, gate, peer, node, reading, writing, permit: Some(permit) })
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The node that serves this connection.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The address at the other end, as sockets see it.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// The address at this end.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.stream.local_addr().ok()
    }

    /// Writes what fits without waiting. `WouldBlock` also while the link is silent or slow.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.gate.outbound() {
            Condition::Open => self.stream.try_write(bytes),
            Condition::Slow(_) | Condition::Silent => Err(io::ErrorKind::WouldBlock.into()),
            Condition::Broken => Err(self.broken()),
            Condition::Finished => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// True if the other end has been closed for good, so that what was written just now reached nobody. Over loopback the
    /// other end's refusal is there before a write returns.
    pub fn has_hung_up(&self) -> bool {
        !matches!(self.stream.take_error(), Ok(None))
    }

    /// True if the listener's limit was exceeded by this connection, which is then to be told so and closed.
    pub fn is_over_limit(&self) -> bool {
        self.permit.as_ref().is_some_and(Permit::is_over_limit)
    }

    /// Asks the operating system to find out after so much silence whether the other end is still there.
    pub fn keep_alive(&self, after: Option<Duration>) {
        let socket = socket2::SockRef::from(&self.stream);
        // An operating system that cannot do it leaves the connection as it is.
        let _ = match after {
            None => socket.set_keepalive(false),
            Some(after) => {
                let interval = (after / 3).max(Duration::from_secs(1));
                socket.set_tcp_keepalive(
                    &socket2::TcpKeepalive::new().with_time(after).with_interval(interval).with_retries(3),
                )
            }
        };
    }

    /// Ends the connection with RST when it is dropped, instead of FIN.
    pub fn reset_on_close(&self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    fn broken(&self) -> io::Error {
        self.reset_on_close();
        io::ErrorKind::ConnectionReset.into()
    }
}

impl Drop for Connection {
    /// A handler may drop a connection because its node died before any read or write noticed.
    fn drop(&mut self) {
        if self.gate.inbound() == Condition::Broken || self.gate.outbound() == Condition::Broken {
            self.reset_on_close();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.gate.register_reader(cx.waker());
        match this.gate.inbound() {
            Condition::Open => Pin::new(&mut this.stream).poll_read(cx, buffer),
            Condition::Slow(delay) => {
                ready!(this.stream.poll_read_ready(cx))?;
                ready!(this.reading.poll(cx, delay));
                Pin::new(&mut this.stream).poll_read(cx, buffer)
            }
            Condition::Silent => Poll::Pending,
            Condition::Broken => Poll::Ready(Err(this.broken())),
            Condition::Finished => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_outbound(cx))?;
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_outbound(cx))?;
        Pin::new(&mut this.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// A FIN does not cross a cut link either.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.gate.register_writer(cx.waker());
        match this.gate.outbound() {
            Condition::Silent => Poll::Pending,
            Condition::Broken => Poll::Ready(Err(this.broken())),
            _ => Pin::new(&mut this.stream).poll_shutdown(cx),
        }
    }
}

impl Connection {
    fn poll_outbound(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.gate.register_writer(cx.waker());
        match self.gate.outbound() {
            Condition::Open => Poll::Ready(Ok(())),
            Condition::Slow(delay) => self.writing.poll(cx, delay).map(Ok),
            Condition::Silent => Poll::Pending,
            Condition::Broken => Poll::Ready(Err(self.broken())),
            Condition::Finished => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

/// The lateness of one direction: every burst of bytes waits once.
#[derive(Debug, Default)]
struct Delay {
    sleep: Option<Pin<Box<Sleep>>>,
    burst_until: Option<Instant>,
}

impl Delay {
    fn poll(&mut self, cx: &mut Context<'_>, delay: Duration) -> Poll<()> {
        if self.sleep.is_none() && self.burst_until.is_some_and(|until| Instant::now() < until) {
            return Poll::Ready(());
        }
        ready!(self.sleep.get_or_insert_with(|| Box::pin(sleep(delay))).as_mut().poll(cx));
        self.sleep = None;
        self.burst_until = Some(Instant::now() + BURST);
        Poll::Ready(())
    }
}

/// Connects to `address` over `link`, whose `from` is our side, and waits at most `patience` for it.
///
/// What the rules say of the link holds for the connecting as well: silence until the patience ends, or a refusal.
pub async fn dial(host: &Host, link: Link, address: SocketAddr, patience: Duration) -> io::Result<Connection> {
    let connecting = async {
        loop {
            let changed = host.gates.changed();
            match worst(condition(&host.kernel, link), condition(&host.kernel, link.reversed())) {
                Condition::Broken | Condition::Finished => return Err(io::ErrorKind::ConnectionRefused.into()),
                Condition::Silent => changed.await,
                Condition::Slow(delay) => {
                    sleep(delay * 2).await;
                    return TcpStream::connect(address).await;
                }
                Condition::Open => return TcpStream::connect(address).await,
            }
        }
    };
    let stream = within(patience, connecting).await?;
    Connection::dialled(host, link, stream)
}

/// Waits at most `patience` for some work.
///
/// # Errors
/// `TimedOut`, and what the work fails with.
pub async fn within<T>(patience: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(patience, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl Connection {
    /// A connection that we opened: what we read comes over the reversed link.
    fn dialled(host: &Host, link: Link, stream: TcpStream) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        let node = match link.to {
            atoll_kernel::Endpoint::Node(node) => node,
            atoll_kernel::Endpoint::Client => NodeId(0),
        };
        let gate = host.gates.open(link.reversed());
        let (reading, writing) = (Delay::default(), Delay::default());
        Ok(Connection { stream, gate, peer: Peer::Host, node, reading, writing, permit: None })
    }

    /// Puts a socket that was made elsewhere (inside a pod's namespace) under the rules of `link`, whose `from` is our side.
    pub fn adopt(host: &Host, link: Link, stream: std::net::TcpStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        Connection::dialled(host, link, TcpStream::from_std(stream)?)
    }
}

/// A connection needs both directions, so the worse of the two decides whether it comes about.
pub(crate) fn worst(one: Condition, other: Condition) -> Condition {
    let rank = |condition: &Condition| match condition {
        Condition::Open => 0,
        Condition::Slow(_) => 1,
        Condition::Silent => 2,
        Condition::Finished => 3,
        Condition::Broken => 4,
    };
    if rank(&one) >= rank(&other) { one } else { other }
}
