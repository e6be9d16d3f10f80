//! The replies of a connection, and how those of all connections that were served in a turn go out together: a client that
//! has its reply before the others are written wakes up for each of them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

use atoll_kernel::Moment;
use atoll_net::Transport;
use tokio::io::AsyncWrite;

use super::outbox::Outbox;
use super::task::BUFFER_KEPT;
use crate::ConnId;
use crate::config::OutputLimit;
use crate::core::Cluster;

/// A connection's socket, and what has been replied and is not written.
pub(super) struct Replies {
    pub(super) conn: ConnId,
    pub(super) connection: RefCell<Transport>,
    pub(super) output: RefCell<Vec<u8>>,
    pub(super) outbox: Rc<Outbox>,
    /// `client-output-buffer-limit`, as far as it is this client's.
    pub(super) limit: Cell<OutputLimit>,
    /// It takes more than one write: the connection's task is to see to it.
    is_stuck: Cell<bool>,
}

impl Replies {
    pub(super) fn new(conn: ConnId, connection: Transport, outbox: Rc<Outbox>, limit: OutputLimit) -> Replies {
        Replies {
            conn,
            connection: RefCell::new(connection),
            output: RefCell::default(),
            outbox,
            limit: Cell::new(limit),
            is_stuck: Cell::new(false),
        }
    }

    /// True if sending could not write all of them: the connection's task is to do it.
    pub(super) fn are_stuck(&self) -> bool {
        self.is_stuck.get()
    }

    /// True if more than one write may be needed, so that the connection's task does it and not whoever ends the turn.
    pub(super) fn need_time(&self) -> bool {
        self.is_stuck.get() || self.output.borrow().capacity() > BUFFER_KEPT
    }

    /// Sends them with one write. Wakes the connection's task if that is not enough.
    pub(super) fn send(&self, cluster: &mut Cluster, now: Moment) {
        let (mut output, outbox) = (self.output.borrow_mut(), &self.outbox);
        if output.is_empty() {
            return;
        }
        let is_too_much = outbox.exceeds(self.limit.get(), output.len(), now);
        // Whatever is wrong with the connection is found again by the task.
        let written = if is_too_much { 0 } else { self.try_write(&output).unwrap_or(0) };
        if outbox.reports.get() {
            cluster.written(self.conn, written);
        }
        if written < output.len() || self.connection.borrow().holds_back() {
            output.drain(..written);
            self.is_stuck.set(true);
            return outbox.wake();
        }
        output.clear();
        outbox.over_since.set(None);
        if outbox.noted.get() != outbox.waiting() {
            outbox.note(cluster, self.conn);
        }
    }

    /// Writes what fits without waiting.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.connection.borrow_mut().try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// Takes them, to be written by the connection's task.
    pub(super) fn take(&self) -> Vec<u8> {
        self.is_stuck.set(false);
        self.output.take()
    }

    /// Writes everything, and waits until all of it is sent.
    pub(super) async fn write_whole(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| Pin::new(&mut *self.connection.borrow_mut()).poll_write(cx, bytes)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
        }
        poll_fn(|cx| Pin::new(&mut *self.connection.borrow_mut()).poll_flush(cx)).await
    }

    /// Ends the connection in order.
    pub(super) async fn shut_down(&self) -> io::Result<()> {
        poll_fn(|cx| Pin::new(&mut *self.connection.borrow_mut()).poll_shutdown(cx)).await
    }
}
