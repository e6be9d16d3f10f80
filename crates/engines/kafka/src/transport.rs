//! Connections that come in, as they are or over TLS, and who a certificate says is behind them. Like `server.rs`, no part of the
//! core.

use std::io;
use std::sync::Arc;

use atoll_net::{Connection, HANDSHAKE_PATIENCE, Transport, accept_tls};
use rustls::ServerConfig;

use crate::security::ListenerOptions;
use crate::security::tls::distinguished_name;

/// Completes the handshake of a listener that encrypts. With the connection comes the principal that the client's
/// certificate gives, if it presented one.
pub(crate) async fn open(
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
    Ok((Transport::encrypted(stream), principal))
}
