//! A connection's bytes, as they are or over TLS. What a link's rules say applies to both alike, beneath TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::TlsStream;

use crate::connection::Connection;

/// A connection, from either side.
pub enum Transport {
    /// Bytes as they are.
    Plain(Connection),
    /// Over TLS.
    Tls(Box<TlsStream<Connection>>),
}

impl Transport {
    /// A connection whose handshake is over.
    pub fn encrypted(stream: impl Into<TlsStream<Connection>>) -> Transport {
        Transport::Tls(Box::new(stream.into()))
    }

    /// What the link's rules apply to.
    pub fn connection(&self) -> &Connection {
        match self {
            Transport::Plain(connection) => connection,
            Transport::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Writes what is taken without waiting; over TLS some of it may be held back until [`Transport::write_whole`].
    ///
    /// # Errors
    /// `WouldBlock` if nothing is taken of a plain connection's bytes, and what the connection fails with.
    #[inline]
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(connection) => connection.try_write(bytes),
            Transport::Tls(stream) => try_write_encrypted(stream, bytes),
        }
    }

    /// True if bytes that were taken have not been sent.
    #[inline]
    pub fn holds_back(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
            Transport::Tls(stream) => stream.get_ref().1.wants_write(),
        }
    }

    /// Writes everything, and waits until all of it is sent.
    ///
    /// # Errors
    /// What the connection fails with.
    pub async fn write_whole(&mut self, bytes: &[u8]) -> io::Result<()> {
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
