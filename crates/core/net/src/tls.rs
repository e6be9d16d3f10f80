//! TLS over a connection, with a deadline for the handshake.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::connection::Connection;

/// Completes the server's side of a TLS handshake within `patience`, so that a slow client holds nothing for long.
pub async fn accept_tls(
    connection: Connection,
    config: Arc<ServerConfig>,
    patience: Duration,
) -> io::Result<server::TlsStream<Connection>> {
    match timeout(patience, TlsAcceptor::from(config).accept(connection)).await {
        Ok(accepted) => accepted,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Completes the client's side of a TLS handshake with the server at `address`, within `patience`.
pub async fn connect_tls(
    connection: Connection,
    config: Arc<ClientConfig>,
    address: IpAddr,
    patience: Duration,
) -> io::Result<client::TlsStream<Connection>> {
    let name = ServerName::IpAddress(address.into());
    match timeout(patience, TlsConnector::from(config).connect(name, connection)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
