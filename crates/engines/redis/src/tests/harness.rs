//! A simulated cluster and clients of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use atoll_kernel::{Moment, NodeId, Seed, Simulation};
use atoll_net::Peer;

use crate::wire::OwnedRequest;
use crate::{Cluster, Config, ConnId, MoveStage, Outcome};

/// A cluster in virtual time, and the connections that a test has made.
pub(super) struct Stage {
    pub(super) sim: Simulation<Cluster>,
    /// Bytes that came without having been asked for just now.
    pub(super) received: BTreeMap<ConnId, Vec<u8>>,
}

impl Stage {
    pub(super) fn new(seed: u64, nodes: u8, config: &Config) -> Stage {
        let ids: Vec<NodeId> = (1..=u16::from(nodes)).map(NodeId).collect();
        let sim = Simulation::new(nodes, Seed(seed), |ctx| Cluster::new(ctx, config.clone(), &ids));
        Stage { sim, received: BTreeMap::new() }
    }

    pub(super) fn connect(&mut self, instance: usize) -> ConnId {
        self.sim.call(|core, ctx| core.connect(ctx, instance, Peer::Host, None))
    }

    /// The reply to a command; None if it waits, or if the connection is no more.
    pub(super) fn call(&mut self, conn: ConnId, arguments: &[&[u8]]) -> Option<Reply> {
        let request = OwnedRequest::new(arguments.iter().copied());
        let mut out = Vec::new();
        let outcome = self.sim.call(|core, ctx| core.apply(ctx, conn, &request.as_request(), &mut out));
        let mut rest = out.as_slice();
        let reply = (!rest.is_empty()).then(|| parse(&mut rest));
        // Pushes that follow the reply.
        if !rest.is_empty() {
            self.received.entry(conn).or_default().extend(rest);
        }
        // Nobody listens outside of the stack.
        let calls = self.sim.core.take_move_calls();
        if !calls.is_empty() {
            for call in calls {
                self.sim.call(|core, ctx| core.move_failed(ctx, call.number, MoveStage::Connecting, false));
                self.sim.call(|core, ctx| core.end_move(ctx, call.number));
            }
            self.collect();
            return self.take(conn);
        }
        self.collect();
        if outcome == Outcome::Close {
            self.sim.call(|core, _| core.disconnect(conn));
        }
        reply.filter(|_| outcome != Outcome::Parked)
    }

    pub(super) fn collect(&mut self) {
        for delivery in self.sim.core.take_deliveries() {
            if !delivery.bytes.is_empty() {
                self.received.entry(delivery.conn).or_default().extend(delivery.bytes);
            }
        }
    }

    /// What a connection has received since the last call.
    pub(super) fn take(&mut self, conn: ConnId) -> Option<Reply> {
        let bytes = self.received.remove(&conn)?;
        let mut rest = bytes.as_slice();
        let reply = parse(&mut rest);
        if !rest.is_empty() {
            self.received.insert(conn, rest.to_vec());
        }
        Some(reply)
    }

    pub(super) fn run_for(&mut self, duration: std::time::Duration) {
        self.sim.run_for(duration);
        self.collect();
    }

    pub(super) fn now(&self) -> Moment {
        self.sim.kernel.now()
    }

    pub(super) fn is_connected(&self, conn: ConnId) -> bool {
        self.sim.core.clients.get(conn).is_some_and(|client| !client.is_closing)
    }
}

/// A reply, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
}

fn parse(rest: &mut &[u8]) -> Reply {
    let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a reply is a whole line");
    let (kind, line) = (rest[0], String::from_utf8_lossy(&rest[1..end]).into_owned());
    *rest = &rest[end + 2..];
    let length = line.parse::<i64>();
    match kind {
        b'+' => Reply::Simple(line),
        b'-' => Reply::Error(line),
        b':' => Reply::Integer(length.expect("an integer")),
        b',' | b'(' | b'#' => Reply::Simple(line),
        b'_' => Reply::Null,
        b'$' | b'=' => match usize::try_from(length.expect("a length")) {
            Err(_) => Reply::Null,
            Ok(length) => {
                let bytes = rest[..length].to_vec();
                *rest = &rest[length + 2..];
                Reply::Bulk(bytes)
            }
        },
        b'*' | b'~' | b'>' | b'%' => match usize::try_from(length.expect("a length")) {
            Err(_) => Reply::Null,
            Ok(length) => {
                let length = if kind == b'%' { length * 2 } else { length };
                Reply::Array((0..length).map(|_| parse(rest)).collect())
            }
        },
        other => panic!("not RESP: {}", char::from(other)),
    }
}

impl Reply {
    /// As `redis-cli` shows it.
    pub(super) fn show(&self, indent: usize, text: &mut String) {
        let _ = match self {
            Reply::Simple(line) => writeln!(text, "{line}"),
            Reply::Error(line) => writeln!(text, "(error) {line}"),
            Reply::Integer(number) => writeln!(text, "(integer) {number}"),
            Reply::Null => writeln!(text, "(nil)"),
            Reply::Bulk(bytes) => match std::str::from_utf8(bytes) {
                Ok(string) if string.contains('\n') => write!(text, "{}", string.replace("\r\n", "\n")),
                Ok(string) => writeln!(text, "{string:?}"),
                Err(_) => writeln!(text, "{bytes:?}"),
            },
            Reply::Array(items) if items.is_empty() => writeln!(text, "(empty array)"),
            Reply::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        text.push_str(&" ".repeat(indent));
                    }
                    let _ = write!(text, "{}) ", index + 1);
                    item.show(indent + 3, text);
                }
                Ok(())
            }
        };
    }
}
