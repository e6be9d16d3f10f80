//! What the kernel's rules mean for one byte stream, kept up to date at the price of an atomic load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use atoll_kernel::{Endpoint, Kernel, Link, NodeState, Verdict};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How one direction of a byte stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Bytes pass.
    Open,
    /// Bytes pass this much later.
    Slow(Duration),
    /// Nothing passes, and nothing is said about it: a cut link, or a paused node.
    Silent,
    /// The stream ends with RST: the node died, or a rule says so.
    Broken,
    /// The stream ends with FIN: the node was shut down in order.
    Finished,
}

/// All gates of a host: they are woken whenever the kernel reports a fault.
#[derive(Clone)]
pub(crate) struct Gates {
    kernel: Kernel,
    all: Arc<Mutex<Vec<Weak<Slot>>>>,
    changed: Arc<Notify>,
}

/// What of a gate is reached from other threads.
#[derive(Debug, Default)]
struct Slot {
    reader: AtomicWaker,
    writer: AtomicWaker,
    has_changed: AtomicBool,
}

impl Gates {
    pub(crate) fn new(kernel: &Kernel) -> Gates {
        let all: Arc<Mutex<Vec<Weak<Slot>>>> = Arc::default();
        let changed = Arc::new(Notify::new());
        let (watched, notified) = (Arc::clone(&all), Arc::clone(&changed));
        kernel.watch(move || {
            notified.notify_waiters();
            watched.lock().retain(|slot| {
                let Some(slot) = slot.upgrade() else { return false };
                slot.has_changed.store(true, Ordering::Release);
                slot.reader.wake();
                slot.writer.wake();
                true
            });
        });
        Gates { kernel: kernel.clone(), all, changed }
    }

    /// Ends at the first fault event after this call, whether it is being awaited then or not.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + use<> {
        Arc::clone(&self.changed).notified_owned()
    }

    pub(crate) fn open(&self, link: Link) -> Gate {
        let slot = Arc::new(Slot::default());
        let mut all = self.all.lock();
        // Entries of closed connections are swept when the list would grow, so that it stays within twice the living.
        if all.len() == all.capacity() {
            all.retain(|slot| slot.strong_count() > 0);
        }
        all.push(Arc::downgrade(&slot));
        drop(all);
        let mut gate =
            Gate { kernel: self.kernel.clone(), link, slot, inbound: Condition::Open, outbound: Condition::Open };
        gate.judge();
        gate
    }
}

/// One connection's gate: its link's verdicts in both directions, seen from the side that serves `link.to`.
#[derive(Debug)]
pub(crate) struct Gate {
    kernel: Kernel,
    link: Link,
    slot: Arc<Slot>,
    inbound: Condition,
    outbound: Condition,
}

impl Gate {
    /// How the direction towards us is.
    pub(crate) fn inbound(&mut self) -> Condition {
        self.refresh();
        self.inbound
    }

    /// How the direction away from us is.
    pub(crate) fn outbound(&mut self) -> Condition {
        self.refresh();
        self.outbound
    }

    /// Wakes the reading task at the next fault event. Registered before the condition is read, or a change is missed.
    pub(crate) fn register_reader(&self, waker: &Waker) {
        self.slot.reader.register(waker);
    }

    /// Wakes the writing task at the next fault event.
    pub(crate) fn register_writer(&self, waker: &Waker) {
        self.slot.writer.register(waker);
    }

    fn refresh(&mut self) {
        if self.slot.has_changed.load(Ordering::Acquire) {
            self.slot.has_changed.store(false, Ordering::Release);
            self.judge();
        }
    }

    fn judge(&mut self) {
        self.inbound = condition(&self.kernel, self.link);
        self.outbound = condition(&self.kernel, self.link.reversed());
    }
}

/// What a link's ends and rules make of a byte stream in one direction.
pub(crate) fn condition(kernel: &Kernel, link: Link) -> Condition {
    if kernel.is_healthy() {
        return Condition::Open;
    }
    let state = |endpoint| match endpoint {
        Endpoint::Node(node) => kernel.node_state(node),
        Endpoint::Client => NodeState::Running,
    };
    let states = [state(link.from), state(link.to)];
    if states.contains(&NodeState::Killed) {
        return Condition::Broken;
    }
    if states.contains(&NodeState::Stopped) {
        return Condition::Finished;
    }
    let verdict = kernel.judge(&link);
    match verdict {
        Verdict::Reset => Condition::Broken,
        Verdict::Drop => Condition::Silent,
        _ if states.contains(&NodeState::Paused) => Condition::Silent,
        Verdict::Delay(delay) => Condition::Slow(delay),
        Verdict::Pass => Condition::Open,
    }
}
