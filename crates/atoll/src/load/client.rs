//! HTTP/1.1 to one address, with connections that are used again.
#![allow(clippy::disallowed_methods)] // Customers are outside of the stack: no rule of it is applied on their side.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
const IDLE_MAX: usize = 128;
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Connections to one address.
pub(super) struct Client {
    address: SocketAddr,
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Client {
        Client { address, idle: RefCell::default() }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// One request and its answer. If this is dropped before it ends, the connection is closed.
    ///
    /// # Errors
    /// What happened to the connection, in a few words.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, Bytes), &'static str> {
        let mut connection = match self.usable() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|_| "the request cannot be written")?;
        let answer = connection.send_request(request).await.map_err(|_| "the connection broke")?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|_| "the answer broke off")?.to_bytes();
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX && !connection.is_closed() {
            idle.push(connection);
        }
        Ok((status, body))
    }

    fn usable(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(connection) = idle.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, &'static str> {
        let stream = match tokio::time::timeout(CONNECT_PATIENCE, TcpStream::connect(self.address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => return Err("no connection"),
            Err(_) => return Err("no connection within a second"),
        };
        // A connection without it works as well, only slower.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| "the connection broke")?;
        tokio::task::spawn_local(async move {
            // How a connection ends is seen by the request that is on it.
            let _ = connection.await;
        });
        Ok(sender)
    }
}
