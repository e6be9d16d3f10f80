//! Cluster DNS: what CoreDNS with its `kubernetes` plugin answers (DNS-Based Service Discovery, version 1.1.0).
//!
//! Every pod asks through its own captured sockets, so there is no DNS server to be reached over the network: it answers
//! on the pod's node, as a node-local cache does, and a cut between nodes does not cut names.
#![allow(clippy::disallowed_methods)] // A door: questions about other names go to the host's resolvers.

pub(crate) mod wire;
pub(crate) mod zone;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use atoll_kernel::{Endpoint, Link, NodeId, Plane, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::PART;
use crate::mesh::Shared;
use wire::{Code, Query};

/// Questions of one pod that may be under way to the host's resolvers; more are dropped, as by a full socket buffer.
const FORWARDED_MAX: usize = 256;
/// Patience with one resolver of the host: glibc's and CoreDNS's, 5 s.
const RESOLVER_PATIENCE: Duration = Duration::from_secs(5);
/// A DNS connection that asks nothing is closed: CoreDNS's idle timeout, 10 s.
const STREAM_IDLE_MAX: Duration = Duration::from_secs(10);
/// Connections of one pod over TCP.
const STREAMS_MAX: usize = 64;

/// One pod's DNS.
pub(crate) struct DnsServer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: NodeId,
    /// Rotates the order of several addresses, as CoreDNS's `loadbalance` does.
    turn: AtomicU64,
    forwarded: Arc<Semaphore>,
}

impl DnsServer {
    pub(crate) fn new(shared: Arc<Shared>, node: NodeId) -> Arc<Self> {
        Arc::new(Self { shared, node, turn: AtomicU64::new(0), forwarded: Arc::new(Semaphore::new(FORWARDED_MAX)) })
    }

    /// Answers datagrams until the task is ended.
    pub(crate) async fn serve_datagrams(self: Arc<Self>, socket: UdpSocket) {
        let socket = Arc::new(socket);
        let mut buffer = vec![0; wire::DATAGRAM_BYTES_MAX];
        loop {
            // Errors are of single datagrams (a port that was closed meanwhile).
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
            let message = buffer.get(..length).unwrap_or_default();
            let Ok(query) = wire::decode(message) else {
                if let Some(answer) = wire::refuse(message) {
                    let _ = socket.send_to(&answer, from).await;
                }
                continue;
            };
            if let Some(answer) = self.answer(&query) {
                let _ = socket.send_to(&wire::truncated(answer, &query), from).await;
                continue;
            }
            let Ok(permit) = self.forwarded.clone().try_acquire_owned() else { continue };
            let (server, socket, message) = (self.clone(), socket.clone(), message.to_vec());
            tokio::spawn(async move {
                if let Some(answer) = server.forward(&query, &message).await {
                    let _ = socket.send_to(&wire::truncated(answer, &query), from).await;
                }
                drop(permit);
            });
        }
    }

    /// Answers connections until the task is ended.
    pub(crate) async fn serve_streams(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(STREAMS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else { continue };
            let server = self.clone();
            tokio::spawn(async move {
                // The asker went away, or said something that is not DNS.
                let _ = server.serve_stream(stream).await;
                drop(place);
            });
        }
    }

    async fn serve_stream(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let length = timeout(STREAM_IDLE_MAX, stream.read_u16()).await??;
            let mut message = vec![0; usize::from(length)];
            timeout(STREAM_IDLE_MAX, stream.read_exact(&mut message)).await??;
            let answer = match wire::decode(&message) {
                Ok(query) => match self.answer(&query) {
                    Some(answer) => Some(answer),
                    None => self.forward(&query, &message).await,
                },
                Err(_) => wire::refuse(&message),
            };
            let Some(answer) = answer else { return Ok(()) };
            stream.write_u16(u16::try_from(answer.len()).map_err(io::Error::other)?).await?;
            stream.write_all(&answer).await?;
        }
    }

    /// The answer to a question about the cluster; `None` for names of the world outside.
    fn answer(&self, query: &Query) -> Option<Vec<u8>> {
        let turn = usize::try_from(self.turn.fetch_add(1, Ordering::Relaxed)).unwrap_or(0);
        let table = self.shared.table();
        zone::answer(&table, query, turn).map(|answer| wire::encode(query, &answer))
    }

    /// Asks the host's resolvers. Silence if the pod's node is cut off from the host; SERVFAIL if none of them answers.
    async fn forward(&self, query: &Query, message: &[u8]) -> Option<Vec<u8>> {
        let link = Link { from: Endpoint::Node(self.node), to: Endpoint::Client, plane: Plane::Client, part: PART };
        if [link, link.reversed()].iter().any(|link| self.shared.host.kernel.judge(link) == Verdict::Drop) {
            return None;
        }
        for resolver in host_resolvers() {
            if let Ok(Ok(answer)) = timeout(RESOLVER_PATIENCE, ask(resolver, message)).await {
                return Some(answer);
            }
        }
        Some(wire::encode(query, &wire::Answer::of_code(Code::ServerFailure)))
    }
}

/// The host's own resolvers, in order: at most three, as glibc reads them. Read anew, for networks change.
fn host_resolvers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        words.next()?.parse::<IpAddr>().ok()
    });
    addresses.take(3).map(|address| SocketAddr::new(address, 53)).collect()
}

async fn ask(resolver: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let any = if resolver.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::from([0; 16]) };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(message).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // The same identifier, and an answer: anything else is not for us.
        let answer = buffer.get(..length).unwrap_or_default();
        if answer.get(..2) == message.get(..2) && answer.get(2).is_some_and(|flags| flags & 0x80 != 0) {
            return Ok(answer.to_vec());
        }
    }
}
