//! A connection's bytes, as they are or over TLS. What a link's rules say applies to both alike, beneath TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use atoll_net::Connection;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::TlsStream;

/// A connection of a client, or one to a master.
pub(super) enum Transport {
    /// Bytes as they are.
    Plain(Connection),
    /// Over TLS.
    Tls(Box<TlsStream<Connection>>),
}

impl Transport {
    /// Writes what is taken without waiting; over TLS some of it may be held back until [`Transport::write_whole`].
    #[inline]
    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(connection) => connection.try_write(bytes),
            Transport::Tls(stream) => try_write_encrypted(stream, bytes),
        }
    }

    /// True if bytes that were taken have not been sent.
    #[inline]
    pub(super) fn holds_back(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
            Transport::Tls(stream) => match stream.as_ref() {
                TlsStream::Server(stream) => stream.get_ref().1.wants_write(),
                TlsStream::Client(stream) => stream.get_ref().1.wants_write(),
            },
        }
    }

    /// Writes everything, and waits until all of it is sent.
    pub(super) async fn write_whole(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).await?;
        self.flush().await
    }
}

/// Whoever waits later to write registers itself in the place of nobody, who is registered here.
fn try_write_encrypted(stream: &mut TlsStream<Connection>, bytes: &[u8]) -> io::Result<usize> {
    let mut nobody = Context::from_waker(Waker::noop());
    let mut written = 0;
    while written < bytes.len() {
        match Pin::new(&mut *stream).poll_write(&mut nobody, &bytes[written..]) {
            Poll::Ready(Ok(0)) | Poll::Pending => break,
            Poll::Ready(Ok(length)) => written += length,
            Poll::Ready(Err(error)) => return Err(error),
        }
    }
    match Pin::new(stream).poll_flush(&mut nobody) {
        Poll::Ready(Err(error)) => Err(error),
        Poll::Ready(Ok(())) | Poll::Pending => Ok(written),
    }
}

impl AsyncRead for Transport {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(connection) => Pin::new(connection).poll_read(cx, buffer),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(connection) => Pin::new(connection).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
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
