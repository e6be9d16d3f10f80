//! Connections that go out to real servers, and the one to the real master that a single server follows: what comes is the
//! core's to understand.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use atoll_kernel::{Endpoint, Link, NodeId, Plane};
use atoll_net::{Transport, connect_tls, dial, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{Outbox, PART, READ_MAX, Shared};
use crate::ConnId;
use crate::replication::MasterCall;

/// Makes the calls that the core asks for, each in a task of its own.
pub(super) async fn answer_calls(shared: Rc<Shared>, mut calls: mpsc::UnboundedReceiver<MasterCall>) {
    while let Some(call) = calls.recv().await {
        tokio::task::spawn_local(follow(Rc::clone(&shared), call));
    }
}

/// Calls a master, and stays connected for as long as both want it.
async fn follow(shared: Rc<Shared>, call: MasterCall) {
    let connecting = connect(&shared, call.node, (&call.host, call.port), call.is_encrypted, call.patience);
    let connected = connecting.await.ok().and_then(|(connection, addresses)| {
        let conn = shared.live.with(|cluster, ctx| cluster.master_connected(ctx, &call, addresses))?;
        Some((connection, conn))
    });
    let Some((connection, conn)) = connected else {
        shared.live.with(|cluster, ctx| cluster.master_unreachable(ctx, &call));
        return;
    };
    let outbox = Rc::new(Outbox::default());
    shared.outboxes.borrow_mut().insert(conn, Rc::clone(&outbox));
    shared.live.with(|cluster, _| shared.hand_out(cluster));
    // However it ends, the core calls again.
    let _ = talk(&shared, connection, conn, &outbox).await;
    shared.outboxes.borrow_mut().remove(&conn);
    shared.live.with(|cluster, _| cluster.disconnect(conn));
}

/// The addresses of both ends of a connection.
type Ends = Option<(SocketAddr, SocketAddr)>;

/// A connection from a node to a server outside of the stack, whose handshake is over if it is encrypted.
pub(super) async fn connect(
    shared: &Shared,
    node: NodeId,
    (host, port): (&str, u16),
    is_encrypted: bool,
    patience: Duration,
) -> io::Result<(Transport, Ends)> {
    let link = Link { from: Endpoint::Node(node), to: Endpoint::Client, plane: Plane::Client, part: PART };
    let addresses: Vec<SocketAddr> = within(patience, tokio::net::lookup_host((host, port))).await?.collect();
    let address = *addresses.first().ok_or(io::ErrorKind::NotFound)?;
    let connection = dial(&shared.host, link, address, patience).await?;
    let ends = connection.peer_address().zip(connection.local_address());
    if !is_encrypted {
        return Ok((Transport::Plain(connection), ends));
    }
    let config = shared.live.with(|cluster, _| {
        let mut tls = shared.tls.borrow_mut();
        tls.as_mut()?.client(&cluster.config().settings.tls)
    });
    let config = config.ok_or(io::ErrorKind::InvalidInput)?;
    let stream = connect_tls(connection, config, address.ip(), patience).await?;
    Ok((Transport::encrypted(stream), ends))
}

async fn talk(shared: &Shared, mut connection: Transport, conn: ConnId, outbox: &Outbox) -> io::Result<()> {
    let mut input = vec![0; READ_MAX];
    loop {
        outbox.has_any.set(false);
        let bytes = std::mem::take(&mut *outbox.bytes.borrow_mut());
        connection.write_whole(&bytes).await?;
        if outbox.closes.get() {
            return connection.shutdown().await;
        }
        let length = tokio::select! {
            biased;
            () = outbox.filled() => continue,
            read = connection.read(&mut input) => read?,
        };
        if length == 0 {
            return Ok(());
        }
        let goes_on = shared.live.with(|cluster, ctx| {
            let goes_on = cluster.master_sent(ctx, conn, &input[..length]);
            shared.hand_out(cluster);
            shared.store(cluster, ctx);
            goes_on
        });
        if !goes_on {
            return Ok(());
        }
    }
}
