//! Any commands at all from two clients of a Redis server: every answer is well-formed RESP, and nothing else suffers.
//!
//! The input is what the clients send, split at the byte 0xfe: the pieces go to the clients in turn, and time passes between them.

#![no_main]

use std::time::Duration;

use atoll_fuzz as _;
use atoll_kernel::{NodeId, Seed, Simulation};
use atoll_net::Peer;
use atoll_redis::wire::Parser;
use atoll_redis::{Cluster, Config, ConnId, Outcome};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut config = Config::default();
    for (name, value) in [("cluster-enabled", "no"), ("proto-max-bulk-len", "1mb")] {
        config.set(name, value).expect("is an option");
    }
    let mut server = Simulation::new(1, Seed(1), |ctx| Cluster::new(ctx, config, &[NodeId(1)]));
    let mut clients = [Client::new(&mut server), Client::new(&mut server)];
    for (turn, piece) in input.split(|byte| *byte == 0xfe).enumerate().take(32) {
        clients[turn % 2].send(&mut server, piece);
        server.run_for(Duration::from_millis(300));
        for delivery in server.core.take_deliveries() {
            check(&delivery.bytes);
            for client in clients.iter_mut().filter(|client| client.conn == delivery.conn) {
                client.waits &= !delivery.resumes;
                client.is_closed |= delivery.closes;
            }
        }
    }
});

struct Client {
    conn: ConnId,
    parser: Parser,
    arrived: Vec<u8>,
    waits: bool,
    is_closed: bool,
}

impl Client {
    fn new(server: &mut Simulation<Cluster>) -> Client {
        let conn = server.call(|cluster, ctx| cluster.connect(ctx, 0, Peer::Host, None));
        Client { conn, parser: Parser::default(), arrived: Vec::new(), waits: false, is_closed: false }
    }

    fn send(&mut self, server: &mut Simulation<Cluster>, bytes: &[u8]) {
        self.arrived.extend_from_slice(bytes);
        while !self.waits && !self.is_closed {
            let limits = server.core.limits(self.conn);
            let length = match self.parser.parse(&self.arrived, limits) {
                Ok(Some(length)) => length,
                Ok(None) => return,
                Err(_) => return self.is_closed = true,
            };
            let request = self.parser.request(&self.arrived);
            let (conn, mut out) = (self.conn, Vec::new());
            match server.call(|cluster, ctx| cluster.apply(ctx, conn, &request, &mut out)) {
                Outcome::Done => {}
                Outcome::Parked => self.waits = true,
                Outcome::Close => self.is_closed = true,
            }
            check(&out);
            self.arrived.drain(..length);
        }
    }
}

/// Whole replies, one after the other.
fn check(mut bytes: &[u8]) {
    let all = bytes;
    while !bytes.is_empty() {
        bytes = reply(bytes).unwrap_or_else(|| panic!("not RESP: {:?}", String::from_utf8_lossy(all)));
    }
}

/// What follows the first reply; None if it is not whole.
fn reply(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, rest) = (bytes.get(1..end)?, bytes.get(end + 2..)?);
    let number = || std::str::from_utf8(line).ok()?.parse::<i64>().ok();
    match bytes[0] {
        b'+' | b'-' | b',' | b'(' => Some(rest),
        b':' => number().map(|_| rest),
        b'_' => line.is_empty().then_some(rest),
        b'#' => matches!(line, b"t" | b"f").then_some(rest),
        b'$' | b'=' | b'!' => match number()? {
            -1 => Some(rest),
            length => {
                let (bulk, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                // What answers SYNC has no end of line: a snapshot, and then the stream of commands.
                rest.strip_prefix(b"\r\n").or_else(|| bulk.starts_with(b"REDIS0010").then_some(rest))
            }
        },
        kind @ (b'*' | b'~' | b'>' | b'%') => {
            let per_element = if kind == b'%' { 2 } else { 1 };
            (0..number()?.max(0) * per_element).try_fold(rest, |rest, _| reply(rest))
        }
        _ => None,
    }
}
