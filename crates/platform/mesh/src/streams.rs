//! Byte streams that are joined: what comes out of one goes into the other, with its end and with its failures.

use std::io;
use std::time::Duration;

use atoll_net::Connection;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

use crate::metrics::{Counters, add};

/// How much of each direction is under way in a joint.
const BUFFER_BYTES: usize = 16 * 1024;

/// A stream that can end with RST.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Says that dropping it is to be seen as RST, not FIN.
    fn reset(&self);
}

impl Stream for TcpStream {
    fn reset(&self) {
        // Fails only for a socket that is gone already.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl Stream for Connection {
    fn reset(&self) {
        self.reset_on_close();
    }
}

impl<S: Stream> Stream for client::TlsStream<S> {
    fn reset(&self) {
        self.get_ref().0.reset();
    }
}

impl<S: Stream> Stream for server::TlsStream<S> {
    fn reset(&self) {
        self.get_ref().0.reset();
    }
}

/// Copies both ways until both have ended. If either fails, both end with RST, so that each side sees what it would see
/// on one connection.
pub(crate) async fn join(caller: &mut dyn Stream, target: &mut dyn Stream, counters: &Counters) {
    let (caller_reads, caller_writes) = split(&mut *caller);
    let (target_reads, target_writes) = split(&mut *target);
    let there = copy(caller_reads, target_writes, |bytes| add(&counters.bytes_sent, bytes));
    let back = copy(target_reads, caller_writes, |bytes| add(&counters.bytes_received, bytes));
    if tokio::try_join!(there, back).is_err() {
        caller.reset();
        target.reset();
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: impl Fn(u64),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
        // TLS keeps what the socket did not take at once.
        to.flush().await?;
        count(read as u64);
    }
}
