//! One connection: a task that reads what has arrived, gives the core every whole request in it, and sends all replies at once.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use atoll_kernel::Context;
use atoll_net::Transport;
use tokio::io::{AsyncRead, ReadBuf};

use super::{Outbox, READ_MAX, Replies, Shared};
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
pub(super) const BUFFER_KEPT: usize = 64 << 10;

/// One connection.
pub(super) struct Task<'s> {
    shared: &'s Shared,
    conn: ConnId,
    outbox: Rc<Outbox>,
    replies: Rc<Replies>,
    parser: Parser,
    buffers: Buffers,
}

/// What a connection has read, and how it goes on.
#[derive(Default)]
struct Buffers {
    input: Vec<u8>,
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
        output: &mut Vec<u8>,
    ) -> usize {
        let input = &self.input[start..];
        if pipeline.len() > 1 {
            cluster.expect(conn, pipeline.requests(input).map(|(request, _)| request));
        }
        let mut executed = 0;
        for (request, end) in pipeline.requests(input) {
            match cluster.apply(ctx, conn, &request, output) {
                Outcome::Done => {}
                Outcome::Parked => self.is_parked = true,
                Outcome::Close => self.closes = true,
            }
            executed = end;
            self.has_more = output.len() > OUTPUT_TARGET;
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
        let replies = Rc::new(Replies::new(conn, connection, Rc::clone(&outbox), limits.output));
        Task { shared, conn, outbox, replies, parser, buffers }
    }

    pub(super) async fn serve(&mut self) -> io::Result<()> {
        loop {
            let stored = self.handle_input();
            if stored.is_pending() {
                self.shared.durable(&stored).await;
            }
            if self.buffers.closes || self.buffers.has_more || self.replies.need_time() {
                self.write_output().await?;
            } else if !self.replies.output.borrow().is_empty() {
                self.shared.send_soon(&self.replies);
            }
            if self.buffers.closes {
                return self.replies.shut_down().await;
            }
            if !self.buffers.has_more {
                self.wait().await?;
            }
        }
    }

    /// Gives the core every whole request that has arrived.
    fn handle_input(&mut self) -> Stored {
        let Task { shared, replies, conn, parser, buffers, .. } = self;
        buffers.has_more = false;
        if buffers.is_parked || buffers.input.is_empty() {
            return Stored::default();
        }
        let mut consumed = 0;
        let stored = shared.live.with(|cluster, ctx| {
            cluster.count_read(*conn);
            let (pipeline, output) = (&mut *shared.pipeline.borrow_mut(), &mut *replies.output.borrow_mut());
            while !buffers.must_stop() {
                match pipeline.read(parser, &buffers.input[consumed..], cluster.limits(*conn)) {
                    Ok(0) => break,
                    Ok(length) => {
                        let executed = buffers.execute(cluster, ctx, *conn, pipeline, consumed, output);
                        consumed += executed;
                        if executed < length {
                            // What was read ahead is read again when its time has come.
                            parser.reset();
                        }
                    }
                    Err(error) => {
                        output.extend_from_slice(format!("-ERR {error}\r\n").as_bytes());
                        buffers.closes = true;
                    }
                }
            }
            buffers.limits = cluster.connection_limits(*conn);
            replies.limit.set(buffers.limits.output);
            if !output.is_empty() {
                cluster.count_write(*conn);
            }
            if std::mem::take(&mut cluster.config_changed) {
                let clients_max = cluster.config().settings.clients_max;
                shared.permits.iter().for_each(|permits| permits.set_connections_max(clients_max));
            }
            cluster.note_buffers(*conn, buffers.input.capacity(), output.capacity());
            shared.hand_out(cluster);
            shared.store(cluster, ctx)
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

    /// Writes the replies, however long it takes.
    async fn write_output(&mut self) -> io::Result<()> {
        let Task { outbox, replies, buffers: Buffers { input, limits, .. }, shared, conn, .. } = self;
        let mut output = replies.take();
        if outbox.exceeds(limits.output, output.len(), shared.host.kernel.now()) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let written = replies.try_write(&output)?;
        if written < output.len() || replies.connection.borrow().holds_back() {
            outbox.writing.set(output.len() - written);
            shared.live.with(|cluster, _| outbox.note(cluster, *conn));
            // A client that does not read must not keep its connection from being closed.
            tokio::select! {
                biased;
                () = outbox.abandoned() => return Err(io::ErrorKind::OutOfMemory.into()),
                () = impatience(outbox, limits.output) => return Err(io::ErrorKind::OutOfMemory.into()),
                written = replies.write_whole(&output[written..]) => written?,
            }
            outbox.writing.set(0);
        }
        outbox.over_since.set(None);
        let length = output.len();
        output.clear();
        if output.capacity() > BUFFER_KEPT {
            output = Vec::new();
        }
        shared.live.with(|cluster, _| {
            outbox.note(cluster, *conn);
            cluster.note_buffers(*conn, input.capacity(), output.capacity());
            if outbox.reports.get() {
                cluster.written(*conn, length);
            }
            shared.hand_out(cluster);
        });
        *replies.output.borrow_mut() = output;
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
        let Task { replies, outbox, buffers, .. } = self;
        let reads = !buffers.is_parked || buffers.input.len() < READ_AHEAD_MAX;
        let read = poll_fn(|cx| {
            if outbox.has_any.get() || replies.are_stuck() {
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
            let polled = Pin::new(&mut *replies.connection.borrow_mut()).poll_read(cx, &mut buffer);
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
        let output = &mut *self.replies.output.borrow_mut();
        output.append(&mut outbox.bytes.borrow_mut());
        // Less is as good as nothing.
        if pending > BUFFER_KEPT {
            self.shared.live.with(|cluster, _| {
                cluster.note_buffers(self.conn, self.buffers.input.capacity(), output.capacity());
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
