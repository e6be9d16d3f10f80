//! Connections between pods on different nodes: mutual TLS between the nodes' proxies, each on its node's port 15008
//! (the port of Istio's HBONE). What is on the loopback wire between nodes is encrypted, and both ends are proven.
//!
//! The caller's proxy presents the *workload's* certificate, as Istio's ztunnel does, and the other side presents its
//! node's. After the handshake the caller says in 16 bytes who connects to whom, and one byte answers; then the bytes of
//! the connection follow. The format is internal: both ends are this process, and it will give way to HTTP/2 CONNECT.
#![allow(clippy::disallowed_methods)] // A door: the nodes' mesh ports, and certificates that real time wears out.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use atoll_kernel::{Endpoint, Link, NodeId, Plane};
use atoll_net::{Connection, Host, dial};
use atoll_pki::{Authority, Certificate, Clients, Identity, PkiError, identity_of, node_dns_name, node_of};
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::PART;
use crate::mesh::{AttachedPod, Caller, MeshError, Shared};
use crate::metrics::Counters;
use crate::outbound::{CONNECT_TIME_MAX, CONNECTIONS_MAX, REST_AFTER_ERROR};
use crate::streams::{Stream, join};

/// The mesh's port on every node.
const PORT: u16 = 15008;
/// Handshake and preface after the connection is made. Envoy's `transport_socket_connect_timeout` has no default; ten
/// seconds let a slow link pass and a link that is cut in this very moment not hang for ever.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
const MAGIC: [u8; 4] = *b"ATM1";

/// A proxy's or workload's certificate with the TLS configurations made from it, renewed before it runs out.
pub(crate) struct Credential {
    identity: Identity,
    node: NodeId,
    current: Mutex<Issued>,
}

struct Issued {
    certificate: Certificate,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Credential {
    pub(crate) fn issue(authority: &Authority, identity: Identity, node: NodeId) -> Result<Self, PkiError> {
        let current = Mutex::new(Issued::new(authority, &identity, node)?);
        Ok(Self { identity, node, current })
    }

    /// Both configurations, of a certificate that is fresh enough.
    fn configurations(&self, authority: &Authority) -> io::Result<(Arc<ClientConfig>, Arc<ServerConfig>)> {
        let mut current = self.current.lock();
        if current.certificate.needs_renewal(SystemTime::now()) {
            *current = Issued::new(authority, &self.identity, self.node).map_err(io::Error::other)?;
        }
        Ok((current.client.clone(), current.server.clone()))
    }
}

impl Issued {
    fn new(authority: &Authority, identity: &Identity, node: NodeId) -> Result<Self, PkiError> {
        let certificate = authority.identity(identity, node.0)?;
        Ok(Self {
            client: Arc::new(authority.client_config(Some(&certificate))?),
            server: Arc::new(authority.server_config(&certificate, Clients::MustPresent)?),
            certificate,
        })
    }
}

/// Who connects to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preface {
    pub(crate) from: Ipv4Addr,
    pub(crate) to: SocketAddrV4,
}

/// The answer to a preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Status {
    Connected = 0,
    /// The pod refused, or is gone.
    Refused = 1,
    /// The caller is not who it says it is.
    Forbidden = 2,
}

impl Preface {
    pub(crate) const BYTES: usize = 16;

    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.from.octets());
        bytes[8..12].copy_from_slice(&self.to.ip().octets());
        bytes[12..14].copy_from_slice(&self.to.port().to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let [m0, m1, m2, m3, a, b, c, d, e, f, g, h, p0, p1, 0, 0] = *bytes else { return None };
        let to = SocketAddrV4::new(Ipv4Addr::new(e, f, g, h), u16::from_be_bytes([p0, p1]));
        ([m0, m1, m2, m3] == MAGIC).then_some(Self { from: Ipv4Addr::new(a, b, c, d), to })
    }
}

/// Connects to a pod on another node.
pub(crate) async fn connect(
    shared: &Shared,
    caller: &Caller,
    pod: &AttachedPod,
    port: u16,
) -> io::Result<client::TlsStream<Connection>> {
    let (host, node) = (&shared.host, pod.caller.node);
    let (from, to) = (Endpoint::Node(caller.node), Endpoint::Node(node));
    let link = Link { from, to, plane: Plane::Client, part: PART };
    let address = host.address(node, PORT).ok_or(io::ErrorKind::AddrNotAvailable)?;
    let connection = dial(host, link, address, CONNECT_TIME_MAX).await?;
    let preface = Preface { from: caller.ip, to: SocketAddrV4::new(pod.caller.ip, port) };
    let handshake = async {
        let (configuration, _) = caller.credential.configurations(&shared.authority)?;
        let name = ServerName::try_from(node_dns_name(node.0)).map_err(io::Error::other)?;
        let mut stream = TlsConnector::from(configuration).connect(name, connection).await?;
        let presented = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).and_then(identity_of);
        if presented != Some(Identity::Node(node.0)) {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        stream.write_all(&preface.encode()).await?;
        stream.flush().await?;
        match stream.read_u8().await? {
            0 => Ok(stream),
            2 => Err(io::ErrorKind::PermissionDenied.into()),
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    };
    timeout(HANDSHAKE_TIME_MAX, handshake).await?
}

/// Opens a node's mesh port.
pub(crate) fn bind(host: &Host, node: NodeId) -> Result<TcpListener, MeshError> {
    let attempt = || {
        let address = host.address(node, PORT).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    attempt().map_err(|source| MeshError::Socket { what: format!("mesh port {PORT} of node {node}"), source })
}

/// Serves a node's mesh port until the task is ended. Faults act at the caller's end of the connection, which knows the
/// link: both directions are judged there.
pub(crate) async fn serve(shared: Arc<Shared>, node: NodeId, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REST_AFTER_ERROR).await;
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            if let Ok(Ok((mut caller, mut pod))) = timeout(HANDSHAKE_TIME_MAX, accept(&shared, node, stream)).await {
                // Counted where the connection began.
                join(&mut caller, &mut pod, &Counters::default()).await;
            }
            drop(place);
        });
    }
}

/// The other side of [`connect`].
async fn accept(
    shared: &Shared,
    node: NodeId,
    stream: TcpStream,
) -> io::Result<(server::TlsStream<TcpStream>, TcpStream)> {
    if !shared.host.kernel.node_state(node).is_alive() {
        stream.reset();
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    stream.set_nodelay(true)?;
    let own = shared.nodes.get(&node).ok_or(io::ErrorKind::NotFound)?;
    let (_, configuration) = own.configurations(&shared.authority)?;
    let mut stream = TlsAcceptor::from(configuration).accept(stream).await?;
    let mut bytes = [0; Preface::BYTES];
    stream.read_exact(&mut bytes).await?;
    let preface = Preface::decode(&bytes);
    let (status, pod) = match preface.filter(|preface| is_authentic(shared, &stream, preface)) {
        None => (Status::Forbidden, None),
        Some(preface) => {
            let pod = shared.pod(*preface.to.ip()).filter(|pod| pod.caller.node == node);
            let connecting = async { Some(pod?.door.connect(preface.to.port(), preface.from).await) };
            match connecting.await {
                Some(Ok(connected)) => (Status::Connected, Some(connected)),
                _ => (Status::Refused, None),
            }
        }
    };
    stream.write_u8(status as u8).await?;
    stream.flush().await?;
    match pod {
        Some(pod) => Ok((stream, pod)),
        None => {
            stream.shutdown().await?;
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }
}

/// Whether the caller's certificate is that of the pod (or of the node's ingress) whose address it claims, on the node
/// where that is.
fn is_authentic(shared: &Shared, stream: &server::TlsStream<TcpStream>, preface: &Preface) -> bool {
    let Some(certificate) = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()) else {
        return false;
    };
    let (Some(identity), Some(node)) = (identity_of(certificate), node_of(certificate)) else { return false };
    let claimed = match shared.pod(preface.from) {
        Some(pod) => Some(pod.caller.clone()),
        None => shared.ingress_of(NodeId(node)).filter(|ingress| ingress.ip == preface.from),
    };
    claimed.is_some_and(|claimed| claimed.credential.identity == identity && claimed.node == NodeId(node))
}
