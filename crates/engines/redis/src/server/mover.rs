//! Connections that go out: to the target of a MIGRATE that is not of the stack. What comes back is the core's to understand.

use std::io;
use std::rc::Rc;

use atoll_net::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::Shared;
use super::follower::connect;
use crate::core::{MoveCall, MoveStage};

/// How much is sent within the target's patience, as in Redis.
const CHUNK: usize = 64 << 10;

/// Makes the calls that the core asks for, each in a task of its own: nobody else waits.
pub(super) async fn make_calls(shared: Rc<Shared>, mut calls: mpsc::UnboundedReceiver<MoveCall>) {
    while let Some(call) = calls.recv().await {
        tokio::task::spawn_local(carry(Rc::clone(&shared), call));
    }
}

async fn carry(shared: Rc<Shared>, call: MoveCall) {
    while let Err((stage, error)) = exchange(&shared, &call).await {
        let timed_out = error.kind() == io::ErrorKind::TimedOut;
        if !shared.live.with(|cluster, ctx| cluster.move_failed(ctx, call.number, stage, timed_out)) {
            break;
        }
    }
    // The client has its answer when the keys are durably gone.
    let stored = shared.live.with(|cluster, ctx| shared.store(cluster, ctx));
    shared.durable(&stored).await;
    shared.live.with(|cluster, ctx| {
        cluster.end_move(ctx, call.number);
        shared.hand_out(cluster);
        shared.store(cluster, ctx);
    });
}

/// Sends everything, and reads until the core has all answers.
async fn exchange(shared: &Shared, call: &MoveCall) -> Result<(), (MoveStage, io::Error)> {
    let patience = call.patience;
    let connecting = connect(shared, call.node, (&call.host, call.port), call.is_encrypted, patience).await;
    let (mut connection, _) = connecting.map_err(|error| match error.kind() {
        // Redis finds out when it writes, unless a handshake comes before that.
        io::ErrorKind::ConnectionRefused if !call.is_encrypted => (MoveStage::Writing, error),
        _ => (MoveStage::Connecting, error),
    })?;
    for chunk in call.bytes.chunks(CHUNK) {
        let written = within(patience, connection.write_whole(chunk)).await;
        written.map_err(|error| (MoveStage::Writing, error))?;
    }
    let mut input = vec![0; 4 << 10];
    loop {
        let read = within(patience, connection.read(&mut input)).await.map_err(|error| (MoveStage::Reading, error))?;
        if read == 0 {
            return Err((MoveStage::Reading, io::ErrorKind::UnexpectedEof.into()));
        }
        let is_done = shared.live.with(|cluster, ctx| cluster.move_answered(ctx, call.number, &input[..read]));
        if is_done {
            // However it ends, all is answered.
            let _ = connection.shutdown().await;
            return Ok(());
        }
    }
}
