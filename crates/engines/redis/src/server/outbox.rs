//! What others have for a connection: its task takes it from here.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

use atoll_kernel::Moment;

use crate::ConnId;
use crate::config::OutputLimit;
use crate::core::Cluster;

/// What others have for a connection.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) bytes: RefCell<Vec<u8>>,
    /// How much of what was taken from here before is not written yet.
    pub(super) writing: Cell<usize>,
    /// What the core was last told of both.
    pub(super) noted: Cell<usize>,
    /// Since when more has been waiting than `client-output-buffer-limit` tolerates for long.
    pub(super) over_since: Cell<Option<Moment>>,
    pub(super) resumes: Cell<bool>,
    pub(super) closes: Cell<bool>,
    /// It is a replica's: the core is told what was written.
    pub(super) reports: Cell<bool>,
    /// The connection is to be closed at once, even in the middle of a write.
    pub(super) is_abandoned: Cell<bool>,
    pub(super) has_any: Cell<bool>,
    pub(super) waker: RefCell<Option<Waker>>,
}

impl Outbox {
    /// How many bytes wait for the client to read them.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.borrow().len() + self.writing.get()
    }

    /// Tells the core how many bytes wait.
    pub(super) fn note(&self, cluster: &mut Cluster, conn: ConnId) {
        self.noted.set(self.waiting());
        cluster.note_output(conn, self.noted.get());
    }

    /// True if so many bytes are more than may wait for this client now.
    pub(super) fn exceeds(&self, limit: OutputLimit, waiting: usize, now: Moment) -> bool {
        let waiting = waiting as u64;
        if limit.soft == 0 || waiting <= limit.soft {
            self.over_since.set(None);
        } else if self.over_since.get().is_none() {
            self.over_since.set(Some(now));
        }
        let is_over_for_long = self.over_since.get().is_some_and(|since| now.since(since) > limit.patience);
        is_over_for_long || (limit.hard > 0 && waiting > limit.hard)
    }

    /// Wakes the task that waits for it.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits until there is something.
    pub(super) async fn filled(&self) {
        poll_fn(|cx| {
            if self.has_any.get() || self.is_abandoned.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits until the connection is to be closed at once.
    pub(super) async fn abandoned(&self) {
        poll_fn(|cx| {
            if self.is_abandoned.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
