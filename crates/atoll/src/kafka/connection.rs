//! One connection to one broker: a request, then its answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use atoll_kafka_wire::primitive;
use atoll_kafka_wire::{ApiKey, Request, Response};
use atoll_wire::{Reader, Writer};
use bytes::Bytes;

/// How long a broker may take to accept, and to answer what it need not wait for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// How this client calls itself.
const CLIENT_ID: &str = "atoll";

/// A connection that has asked nothing that is not answered.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    asked: i32,
}

impl Connection {
    /// Connects to `HOST:PORT`.
    pub fn to(server: &str) -> io::Result<Connection> {
        let address: SocketAddr = server.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { stream, asked: 0 })
    }

    /// Asks, and waits for the answer: `wait` beyond what an answer takes that waits for nothing.
    pub fn ask(&mut self, request: &Request, version: i16, wait: Duration) -> io::Result<Response> {
        self.asked += 1;
        self.stream.set_read_timeout(Some(PATIENCE + wait))?;
        self.stream.write_all(&frame(request, version, self.asked))?;
        let answer = self.answer()?;
        self.read(request.api_key(), version, answer)
    }

    /// An answer without its length.
    fn answer(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u64::from(u32::from_be_bytes(length));
        if length > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut answer = Vec::new();
        (&mut self.stream).take(length).read_to_end(&mut answer)?;
        if answer.len() as u64 == length { Ok(answer.into()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn read(&self, api: ApiKey, version: i16, answer: Bytes) -> io::Result<Response> {
        let mut reader = Reader::new(answer);
        let mut parse = || {
            let correlation_id = reader.i32()?;
            if version >= api.flexible_from() {
                primitive::skip_tagged_fields(&mut reader)?;
            }
            Ok::<_, atoll_wire::WireError>((correlation_id, Response::decode(api, &mut reader, version)?))
        };
        match parse() {
            Ok((correlation_id, response)) if correlation_id == self.asked => Ok(response),
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

/// A request with its header and length.
fn frame(request: &Request, version: i16, correlation_id: i32) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.i16(request.api_key() as i16);
    writer.i16(version);
    writer.i32(correlation_id);
    primitive::put_nullable_string(&mut writer, false, true, Some(CLIENT_ID));
    if version >= request.api_key().flexible_from() {
        writer.uvarint(0);
    }
    request.encode(&mut writer, version);
    let body = writer.into_bytes();
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}
