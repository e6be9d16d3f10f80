//! TLS over a connection, with a deadline for the handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use crate::connection::Connection;

/// Completes the server's side of a TLS handshake within `patience`, so that a slow client holds nothing for long.
pub async fn accept_tls(
    connection: Connection,
    config: Arc<ServerConfig>,
    patience: Duration,
) -> io::Result<TlsStream<Connection>> {
    match timeout(patience, TlsAcceptor::from(config).accept(connection)).await {
        Ok(accepted) => accepted,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
