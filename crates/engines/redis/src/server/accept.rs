//! Connections that come in: how many there may be, and the handshake of those over TLS.

use std::rc::Rc;

use atoll_net::{Connection, HANDSHAKE_PATIENCE, Transport, accept_tls};

use super::task::Task;
use super::{BoundListener, Outbox, Shared};
use crate::ConnId;

/// Serves a listener for as long as the engine lives.
pub(super) async fn accept(shared: Rc<Shared>, mut bound: BoundListener) {
    loop {
        let mut connection = bound.socket.accept(&shared.host).await;
        if connection.is_over_limit() {
            shared.live.with(|cluster, _| cluster.rejected(bound.instance));
            // Before a handshake there is no way to say so.
            if !bound.is_tls {
                let _ = connection.try_write(b"-ERR max number of clients reached\r\n");
            }
            continue;
        }
        let (shared, instance, is_tls) = (Rc::clone(&shared), bound.instance, bound.is_tls);
        tokio::task::spawn_local(async move { serve(&shared, instance, connection, is_tls).await });
    }
}

async fn serve(shared: &Rc<Shared>, instance: usize, connection: Connection, is_tls: bool) {
    let addresses = connection.peer_address().zip(connection.local_address());
    let peer = connection.peer();
    let (conn, limits) = shared.live.with(|cluster, ctx| {
        let conn = cluster.connect(ctx, instance, peer, addresses);
        if is_tls {
            cluster.note_tls(conn);
        }
        connection.keep_alive(cluster.config().settings.keep_alive);
        (conn, cluster.connection_limits(conn))
    });
    let outbox = Rc::new(Outbox::default());
    shared.outboxes.borrow_mut().insert(conn, Rc::clone(&outbox));
    let transport = if is_tls {
        // Its state is large, and gone when it is over.
        Box::pin(encrypted(shared, connection, &outbox)).await
    } else {
        Some(Transport::Plain(connection))
    };
    if let Some(connection) = transport {
        // However a connection ends, its client knows; there is nobody else to tell.
        let _ = Task::new(shared, connection, conn, outbox, limits).serve().await;
    }
    forget(shared, conn);
}

fn forget(shared: &Shared, conn: ConnId) {
    shared.outboxes.borrow_mut().remove(&conn);
    shared.live.with(|cluster, _| cluster.disconnect(conn));
}

/// Completes the handshake. None if it fails, takes too long, or the client is to go.
async fn encrypted(shared: &Shared, connection: Connection, outbox: &Outbox) -> Option<Transport> {
    let config = shared.live.with(|cluster, _| {
        let mut tls = shared.tls.borrow_mut();
        tls.as_mut()?.server(&cluster.config().settings.tls)
    })?;
    tokio::select! {
        biased;
        () = outbox.abandoned() => None,
        accepted = accept_tls(connection, config, HANDSHAKE_PATIENCE) => {
            accepted.ok().map(Transport::encrypted)
        }
    }
}
