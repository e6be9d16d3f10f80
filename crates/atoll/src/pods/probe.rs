//! Probes, as the kubelet makes them: from the node's address, into the pod's network; messages are the kubelet's.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use atoll_kubernetes::{ContainerId, ProbeAction};
use atoll_runtime::Runtime;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::kubelet::PROBE_TIME_MAX;

/// How much of an answer is kept for the message; the kubelet's limit, 10 KiB.
const BODY_BYTES_MAX: usize = 10 * 1024;
/// Redirects would lead away from the pod; the kubelet takes their status as success, too.
const SUCCESS: std::ops::Range<u16> = 200..400;

/// What is probed.
pub(super) struct Target<'t> {
    pub(super) runtime: &'t Runtime,
    pub(super) id: &'t ContainerId,
    pub(super) ip: Ipv4Addr,
    /// The node's address.
    pub(super) source: Ipv4Addr,
}

/// Whether the probe succeeded, and what it said.
pub(super) async fn run(target: &Target<'_>, action: &ProbeAction, patience: Duration) -> (bool, String) {
    let patience = patience.min(PROBE_TIME_MAX);
    if let ProbeAction::Exec(argv) = action {
        return exec(target, argv, patience).await;
    }
    match tokio::time::timeout(patience, over_network(target, action)).await {
        Ok(outcome) => outcome,
        Err(_) => (false, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned()),
    }
}

async fn exec(target: &Target<'_>, argv: &[String], patience: Duration) -> (bool, String) {
    let uid = &target.id.pod.uid;
    match target.runtime.exec(uid, &target.id.container, argv.to_vec(), patience).await {
        Ok(outcome) => match outcome.code {
            Some(code) => (code == 0, String::from_utf8_lossy(&outcome.output).into_owned()),
            None => (false, format!("command timed out: {argv:?} timed out after {}s", patience.as_secs())),
        },
        Err(error) => (false, error.to_string()),
    }
}

async fn over_network(target: &Target<'_>, action: &ProbeAction) -> (bool, String) {
    match action {
        ProbeAction::Exec(_) => (false, String::new()),
        ProbeAction::TcpSocket { host, port } => match target.dial(host, *port).await {
            Ok(_) => (true, String::new()),
            Err(error) => (false, target.dial_failed(*port, &error)),
        },
        ProbeAction::HttpGet { host, port, path, tls, headers } => {
            let (scheme, path) = (if *tls { "https" } else { "http" }, format!("/{}", path.trim_start_matches('/')));
            let url = format!("{scheme}://{}:{port}{path}", target.ip);
            let request = http_request(&path, &format!("{}:{port}", target.ip), headers);
            match target.get(host, *port, *tls, request).await {
                Ok(status) if SUCCESS.contains(&status) => (true, String::new()),
                Ok(status) => (false, format!("HTTP probe failed with statuscode: {status}")),
                Err(error) => (false, format!("Get \"{url}\": {}", target.dial_failed(*port, &error))),
            }
        }
        ProbeAction::Grpc { port, service } => match target.health(*port, service).await {
            Ok(1) => (true, "service status: SERVING".to_owned()),
            Ok(status) => (false, format!("service unhealthy (responded with {:?})", health_status(status))),
            Err(error) => (false, format!("error: health rpc failed: {error}")),
        },
    }
}

fn http_request(path: &str, host: &str, headers: &[(String, String)]) -> io::Result<Request<Full<Bytes>>> {
    let mut request = Request::get(path).header("user-agent", "kube-probe/1.33").header("accept", "*/*");
    let names_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !names_host {
        request = request.header("host", host);
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Full::default()).map_err(io::Error::other)
}

impl Target<'_> {
    async fn dial(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        if !host.is_empty() && host != self.ip.to_string() {
            return Err(io::Error::other("probes of other hosts than the pod are not supported"));
        }
        self.runtime.dial(&self.id.pod.uid, port, Some(self.source)).await
    }

    fn dial_failed(&self, port: u16, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("dial tcp {}:{port}: connect: connection refused", self.ip)
            }
            _ => error.to_string(),
        }
    }

    async fn get(
        &self,
        host: &str,
        port: u16,
        tls: bool,
        request: io::Result<Request<Full<Bytes>>>,
    ) -> io::Result<u16> {
        let (request, stream) = (request?, self.dial(host, port).await?);
        let response = match tls {
            false => one_request(stream, request).await?,
            true => {
                let name = ServerName::IpAddress(self.ip.into());
                one_request(TlsConnector::from(unverified()).connect(name, stream).await?, request).await?
            }
        };
        Ok(response.status().as_u16())
    }

    /// `grpc.health.v1.Health/Check`: the status that it answers with.
    async fn health(&self, port: u16, service: &str) -> io::Result<u64> {
        let stream = TokioIo::new(self.dial("", port).await?);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
        let (mut sender, connection) = handshake.map_err(io::Error::other)?;
        tokio::spawn(connection);
        let request = Request::post(format!("http://{}:{port}/grpc.health.v1.Health/Check", self.ip))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(health_request(service)))
            .map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.map_err(io::Error::other)?;
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")?.to_str().ok().map(str::to_owned));
        match status.as_deref() {
            None | Some("0") => Ok(read_health(&body.to_bytes())),
            Some(code) => Err(io::Error::other(format!("grpc status {code}"))),
        }
    }
}

async fn one_request<S>(stream: S, request: Request<Full<Bytes>>) -> io::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(io::Error::other)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(io::Error::other)
}

/// `HealthCheckRequest{service}`, framed as gRPC does. Names are far shorter than a varint's one byte allows to count.
fn health_request(service: &str) -> Bytes {
    let service = service.as_bytes().get(..service.len().min(120)).unwrap_or_default();
    let mut message = Vec::new();
    if !service.is_empty() {
        message.extend_from_slice(&[0x0A, service.len() as u8]);
        message.extend_from_slice(service);
    }
    let mut framed = vec![0, 0, 0, 0, message.len() as u8];
    framed.extend_from_slice(&message);
    framed.into()
}

/// The one field of `HealthCheckResponse`; absent is 0, UNKNOWN.
fn read_health(framed: &[u8]) -> u64 {
    match framed.get(5..) {
        Some([0x08, status, ..]) => u64::from(*status),
        _ => 0,
    }
}

fn health_status(status: u64) -> &'static str {
    match status {
        1 => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

/// TLS that accepts any certificate, as the kubelet's probes do: they ask whether somebody answers, not who.
fn unverified() -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    // The provider supports the versions that rustls calls safe; both are ours.
    let builder = builder.unwrap_or_else(|error| unreachable!("aws-lc-rs without TLS versions: {error}"));
    let verifier = Arc::new(AnyCertificate { provider });
    Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
