//! A connection's bytes, as they are or over TLS. Like `server.rs`, no part of the core.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use atoll_net::{Connection, accept_tls};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use crate::security::ListenerOptions;
use crate::security::tls::distinguished_name;

/// How long a client may take for its handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(30);

/// A client's connection.
pub(crate) enum Transport {
    /// Bytes as they are.
    Plain(Connection),
    /// Over TLS.
    Tls(Box<TlsStream<Connection>>),
}

impl Transport {
    /// Completes the handshake of a listener that encrypts. With the connection comes the principal that the client's
    /// certificate gives, if it presented one.
    pub async fn accept(
        connection: Connection,
        options: &ListenerOptions,
        tls: Option<Arc<ServerConfig>>,
    ) -> io::Result<(Transport, Option<String>)> {
        let Some(config) = tls else { return Ok((Transport::Plain(connection), None)) };
        let stream = accept_tls(connection, config, HANDSHAKE_PATIENCE).await?;
        let (_, session) = stream.get_ref();
        let presented = session.peer_certificates().and_then(|chain| chain.first()).and_then(distinguished_name);
        let principal = match (presented, &options.tls) {
            (Some(name), Some(options)) => {
                // A name that no rule is for is nobody's: the connection ends.
                let name = options.mapper.name(&name).ok_or(io::ErrorKind::PermissionDenied)?;
                Some(format!("User:{name}"))
            }
            _ => None,
        };
        Ok((Transport::Tls(Box::new(stream)), principal))
    }

    /// What the link's rules apply to.
    pub fn connection(&self) -> &Connection {
        match self {
            Transport::Plain(connection) => connection,
            Transport::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(connection) => Pin::new(connection).poll_read(cx, buffer),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(connection) => Pin::new(connection).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(connection) => Pin::new(connection).poll_write_vectored(cx, slices),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(connection) => Pin::new(connection).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(connection) => Pin::new(connection).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
