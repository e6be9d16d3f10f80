//! One connection: a task that reads what has arrived, gives the core every whole request in it, and writes all replies at once.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use atoll_kernel::Context;
use atoll_net::Transport;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use super::{Outbox, READ_MAX, Shared};
use crate::ConnId;
use crate::config::OutputLimit;
use crate::core::{Cluster, ConnectionLimits, Outcome};
use crate::journal::Stored;
use crate::wire::{Parser, Pipeline};

/// What is read at once, at least.
const READ_MIN: usize = 4 << 10;
/// While a client waits for a key, no more than this is read of what it sends meanwhile.
const READ_AHEAD_MAX: usize = 1 << 20;
/// Replies are written before they become longer than this, though requests are left.
const OUTPUT_TARGET: usize = 1 << 20;
/// A buffer that has grown beyond this is given back when it is empty.
const BUFFER_KEPT: usize = 64 << 10;

/// One connection.
pub(super) struct Task<'s> {
    shared: &'s Shared,
    connection: Transport,
    conn: ConnId,
    outbox: Rc<Outbox>,
    parser: Parser,
    buffers: Buffers,
}

/// What a connection has read and is to write.
#[derive(Default)]
struct Buffers {
    input: Vec<u8>,
    output: Vec<u8>,
    /// It waits for a key or for replicas.
    is_parked: bool,
    closes: bool,
    /// Whole requests may be left in `input`.
    has_more: bool,
    limits: ConnectionLimits,
}

impl Buffers {
    /// True if no request may be executed before the replies so far are written, or at all.
    fn must_stop(&self) -> bool {
        self.is_parked || self.closes || self.has_more
    }

    /// Gives the core what was read of the input from `start` on. Returns how much of it was executed.
    fn execute(
        &mut self,
        cluster: &mut Cluster,
        ctx: &Context<'_>,
        conn: ConnId,
        pipeline: &Pipeline,
        start: usize,
    ) -> usize {
        let input = &self.input[start..];
        if pipeline.len() > 1 {
            cluster.expect(conn, pipeline.requests(input).map(|(request, _)| request));
        }
        let mut executed = 0;
        for (request, end) in pipeline.requests(input) {
            match cluster.apply(ctx, conn, &request, &mut self.output) {
                Outcome::Done => {}
                Outcome::Parked => self.is_parked = true,
                Outcome::Close => self.closes = true,
            }
            executed = end;
            self.has_more = self.output.len() > OUTPUT_TARGET;
            if self.must_stop() {
                break;
            }
        }
        executed
    }
}

impl Task<'_> {
    /// The task of a connection whose handshake is over.
    pub(super) fn new(
        shared: &Shared,
        connection: Transport,
        conn: ConnId,
        outbox: Rc<Outbox>,
        limits: ConnectionLimits,
    ) -> Task<'_> {
        let (parser, buffers) = (Parser::default(), Buffers { limits, ..Buffers::default() });
        Task { shared, connection, conn, outbox, parser, buffers }
    }

    pub(super) async fn serve(&mut self) -> io::Result<()> {
        loop {
            let stored = self.handle_input();
            if stored.is_pending() {
                self.shared.durable(&stored).await;
            }
            self.write_output().await?;
            if self.buffers.closes {
                return self.connection.shutdown().await;
            }
            if !self.buffers.has_more {
                self.wait().await?;
            }
        }
    }

    /// Gives the core every whole request that has arrived.
    fn handle_input(&mut self) -> Stored {
        let Task { shared, connection, conn, parser, buffers, .. } = self;
        buffers.has_more = false;
        if buffers.is_parked || buffers.input.is_empty() {
            return Stored::default();
        }
        let mut consumed = 0;
        let stored = shared.live.with(|cluster, ctx| {
            cluster.count_read(*conn);
            let pipeline = &mut *shared.pipeline.borrow_mut();
            while !buffers.must_stop() {
                match pipeline.read(parser, &buffers.input[consumed..], cluster.limits(*conn)) {
                    Ok(0) => break,
                    Ok(length) => {
                        let executed = buffers.execute(cluster, ctx, *conn, pipeline, consumed);
                        consumed += executed;
                        if executed < length {
                            // What was read ahead is read again when its time has come.
                            parser.reset();
                        }
                    }
                    Err(error) => {
                        buffers.output.extend_from_slice(format!("-ERR {error}\r\n").as_bytes());
                        buffers.closes = true;
                    }
                }
            }
            buffers.limits = cluster.connection_limits(*conn);
            if !buffers.output.is_empty() {
                cluster.count_write(*conn);
            }
            if std::mem::take(&mut cluster.config_changed) {
                let clients_max = cluster.config().settings.clients_max;
                shared.permits.iter().for_each(|permits| permits.set_connections_max(clients_max));
            }
            cluster.note_buffers(*conn, buffers.input.capacity(), buffers.output.capacity());
            shared.hand_out(cluster);
            let stored = shared.store(cluster, ctx);
            if cluster.owes_replication() && !stored.is_pending() {
                // Clients have their acknowledgements before anything can go wrong with the replication.
                let written = connection.try_write(&buffers.output).unwrap_or(0);
                buffers.output.drain(..written);
            }
            stored
        });
        if consumed == buffers.input.len() {
            buffers.input.clear();
            if buffers.input.capacity() > BUFFER_KEPT {
                buffers.input = Vec::new();
            }
        } else {
            buffers.input.drain(..consumed);
        }
        stored
    }

    async fn write_output(&mut self) -> io::Result<()> {
        let Task { connection, outbox, buffers: Buffers { output, limits, .. }, shared, conn, .. } = self;
        if output.is_empty() && !connection.holds_back() {
            return Ok(());
        }
        if outbox.exceeds(limits.output, output.len(), shared.host.kernel.now()) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let written = match connection.try_write(output) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if written < output.len() || connection.holds_back() {
            outbox.writing.set(output.len() - written);
            shared.live.with(|cluster, _| outbox.note(cluster, *conn));
            // A client that does not read must not keep its connection from being closed.
            tokio::select! {
                biased;
                () = outbox.abandoned() => return Err(io::ErrorKind::OutOfMemory.into()),
                () = impatience(outbox, limits.output) => return Err(io::ErrorKind::OutOfMemory.into()),
                written = connection.write_whole(&output[written..]) => written?,
            }
            outbox.writing.set(0);
        }
        if outbox.noted.get() != outbox.waiting() {
            shared.live.with(|cluster, _| outbox.note(cluster, *conn));
        }
        outbox.over_since.set(None);
        let length = output.len();
        output.clear();
        if output.capacity() > BUFFER_KEPT {
            *output = Vec::new();
            self.shared.live.with(|cluster, _| {
                cluster.note_buffers(self.conn, self.buffers.input.capacity(), 0);
                self.shared.hand_out(cluster);
            });
        }
        if outbox.reports.get() {
            self.shared.live.with(|cluster, _| cluster.written(self.conn, length));
        }
        Ok(())
    }

    /// Waits for the client to send something, or for others to have something for it.
    async fn wait(&mut self) -> io::Result<()> {
        let ConnectionLimits { idle_max, input_max, .. } = self.buffers.limits;
        match idle_max {
            None => self.next_event(input_max).await,
            Some(idle_max) => match tokio::time::timeout(idle_max, self.next_event(input_max)).await {
                Ok(event) => event,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        }
    }

    async fn next_event(&mut self, input_max: usize) -> io::Result<()> {
        let Task { connection, outbox, buffers, .. } = self;
        let reads = !buffers.is_parked || buffers.input.len() < READ_AHEAD_MAX;
        let read = poll_fn(|cx| {
            if outbox.has_any.get() {
                return Poll::Ready(Ok(None));
            }
            let mut waker = outbox.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            if !reads {
                return Poll::Pending;
            }
            let input = &mut buffers.input;
            if input.capacity() - input.len() < READ_MIN / 4 {
                input.reserve(input.len().clamp(READ_MIN, READ_MAX));
            }
            let mut buffer = ReadBuf::uninit(input.spare_capacity_mut());
            let polled = Pin::new(&mut *connection).poll_read(cx, &mut buffer);
            let read = buffer.filled().len();
            match polled {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {
                    let length = input.len() + read;
                    // SAFETY: `poll_read` has filled the first `read` bytes of the spare capacity.
                    unsafe { input.set_len(length) };
                    Poll::Ready(Ok(Some(read)))
                }
            }
        })
        .await?;
        match read {
            Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(_) if self.buffers.input.len() + self.parser.size() > input_max => {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            Some(_) => {}
            None => self.empty_outbox(),
        }
        Ok(())
    }

    fn empty_outbox(&mut self) {
        let outbox = &self.outbox;
        outbox.has_any.set(false);
        let pending = outbox.bytes.borrow().len();
        self.buffers.output.append(&mut outbox.bytes.borrow_mut());
        // Less is as good as nothing.
        if pending > BUFFER_KEPT {
            self.shared.live.with(|cluster, _| {
                cluster.note_buffers(self.conn, self.buffers.input.capacity(), self.buffers.output.capacity());
                self.shared.hand_out(cluster);
            });
        }
        if outbox.resumes.replace(false) {
            self.buffers.is_parked = false;
        }
        self.buffers.closes |= outbox.closes.get();
    }
}

/// Ends when more than `client-output-buffer-limit` tolerates has been waiting for as long as it tolerates it.
async fn impatience(outbox: &Outbox, limit: OutputLimit) {
    match outbox.over_since.get() {
        Some(_) => tokio::time::sleep(limit.patience).await,
        None => std::future::pending().await,
    }
}
