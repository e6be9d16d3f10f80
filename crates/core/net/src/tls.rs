//! TLS over a connection, with a deadline for the handshake; and what its configurations are made from, whatever the options
//! of an engine are called.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::connection::{Connection, within};

/// How long a client may take for its handshake.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(30);

/// What somebody proves himself with, in PEM.
#[derive(Clone)]
pub struct Pem {
    /// The certificate and those that vouch for it.
    pub certificate_chain: String,
    /// Its private key.
    pub key: String,
}

/// The key stays out of logs.
impl std::fmt::Debug for Pem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pem").finish_non_exhaustive()
    }
}

/// Whether clients are to present certificates, and who may vouch for them.
#[derive(Clone, Debug)]
pub enum ClientCertificates {
    /// They are not asked.
    NotAsked,
    /// They may.
    Optional(RootCertStore),
    /// They must.
    Required(RootCertStore),
}

/// A server's certificate with those that vouch for it, and its key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A server's side of TLS. `versions`: TLS 1.2 and TLS 1.3.
///
/// # Errors
/// A sentence for people: what does not fit together.
pub fn server_config(
    provider: CryptoProvider,
    versions: (bool, bool),
    clients: ClientCertificates,
    (chain, key): Identity,
) -> Result<ServerConfig, String> {
    let provider = Arc::new(provider);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&protocol_versions(versions))
        .map_err(|error| error.to_string())?;
    let verifier = |roots| WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let verifier = match clients {
        ClientCertificates::NotAsked => None,
        ClientCertificates::Optional(roots) => Some(verifier(roots).allow_unauthenticated()),
        ClientCertificates::Required(roots) => Some(verifier(roots)),
    };
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?),
    };
    builder.with_single_cert(chain, key).map_err(|error| error.to_string())
}

/// TLS 1.2 and TLS 1.3, as far as they are offered.
pub fn protocol_versions((tls12, tls13): (bool, bool)) -> Vec<&'static SupportedProtocolVersion> {
    let offered = [(tls13, &version::TLS13), (tls12, &version::TLS12)];
    offered.into_iter().filter_map(|(is_offered, version)| is_offered.then_some(version)).collect()
}

/// The certificates of a text, perhaps none.
///
/// # Errors
/// The text is not PEM.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect()
}

/// Completes the server's side of a TLS handshake within `patience`, so that a slow client holds nothing for long.
pub async fn accept_tls(
    connection: Connection,
    config: Arc<ServerConfig>,
    patience: Duration,
) -> io::Result<server::TlsStream<Connection>> {
    within(patience, TlsAcceptor::from(config).accept(connection)).await
}

/// Completes the client's side of a TLS handshake with the server at `address`, within `patience`.
pub async fn connect_tls(
    connection: Connection,
    config: Arc<ClientConfig>,
    address: IpAddr,
    patience: Duration,
) -> io::Result<client::TlsStream<Connection>> {
    let name = ServerName::IpAddress(address.into());
    within(patience, TlsConnector::from(config).connect(name, connection)).await
}
