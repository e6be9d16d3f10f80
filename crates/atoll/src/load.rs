//! Orders for the orders application, as customers behind a load balancer would send them.
//!
//! - `orders.rs`: what is ordered: drawn from a seed, or read from a file.
//! - `balancer.rs`: which node an order is sent to, and what happens when one does not answer.
//! - `client.rs`: HTTP/1.1 connections to one address.
//! - `books.rs`: whether every accepted order was paid, reserved and booked once.
//!
//! Orders are sent when they are due, whether or not earlier ones were answered, and latency counts from when an order was
//! due: a slow stack cannot slow its own measurement down.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use atoll_chaos::{Outcome, Sample};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;

mod balancer;
pub mod books;
mod client;
pub mod orders;
#[cfg(test)]
mod tests;

pub use balancer::Balancer;
use orders::{Order, Source};

/// How many orders may be under way at a time. More wait, and their waiting counts as latency.
const UNDER_WAY_MAX: usize = 2000;
/// The most answers that wait to be taken.
const ANSWERS_MAX: usize = 1_000_000;

/// Orders that flow until they are stopped. Must be used within a `LocalSet`.
pub struct Load {
    shared: Rc<Shared>,
    pacing: JoinHandle<()>,
}

struct Shared {
    balancer: Rc<Balancer>,
    started: Instant,
    is_stopped: Cell<bool>,
    stop: Notify,
    under_way: Cell<u64>,
    all_answered: Notify,
    answers: RefCell<Vec<Sample>>,
    accepted: RefCell<BTreeSet<String>>,
}

impl Load {
    /// Begins to send orders to the gateway's addresses.
    pub fn start(targets: &[SocketAddr], source: Source) -> Load {
        let shared = Rc::new(Shared {
            balancer: Rc::new(Balancer::new(targets)),
            started: Instant::now(),
            is_stopped: Cell::new(false),
            stop: Notify::new(),
            under_way: Cell::new(0),
            all_answered: Notify::new(),
            answers: RefCell::default(),
            accepted: RefCell::default(),
        });
        let pacing = tokio::task::spawn_local(pace(Rc::clone(&shared), source));
        Load { shared, pacing }
    }

    /// When the first order could be sent: what [`Sample::due`] counts from.
    pub fn started(&self) -> Instant {
        self.shared.started
    }

    /// How many orders are not answered yet.
    pub fn under_way(&self) -> u64 {
        self.shared.under_way.get()
    }

    /// What was answered since this was last called.
    pub fn take_answers(&self) -> Vec<Sample> {
        std::mem::take(&mut self.shared.answers.borrow_mut())
    }

    /// The ids of all accepted orders.
    pub fn accepted(&self) -> BTreeSet<String> {
        self.shared.accepted.borrow().clone()
    }

    /// How many orders were accepted.
    pub fn accepted_count(&self) -> u64 {
        self.shared.accepted.borrow().len() as u64
    }

    /// Where orders go.
    pub fn balancer(&self) -> &Rc<Balancer> {
        &self.shared.balancer
    }

    /// True when the source has run dry, or the load was stopped.
    pub fn is_over(&self) -> bool {
        self.pacing.is_finished()
    }

    /// Sends nothing more. Orders that are under way are still answered.
    pub fn stop(&self) {
        self.shared.is_stopped.set(true);
        self.shared.stop.notify_one();
    }

    /// Completes when every order is answered or given up on.
    pub async fn all_answered(&self) {
        while self.shared.under_way.get() > 0 || !self.pacing.is_finished() {
            let news = self.shared.all_answered.notified();
            // Pacing may end after the last answer without a sign of its own.
            let _ = tokio::time::timeout(Duration::from_millis(50), news).await;
        }
    }
}

/// Sends every order when it is due.
async fn pace(shared: Rc<Shared>, mut source: Source) {
    let slots = std::sync::Arc::new(Semaphore::new(UNDER_WAY_MAX));
    while let Some((due, order)) = source.next() {
        tokio::select! {
            biased;
            () = shared.stop.notified() => return,
            () = tokio::time::sleep_until(shared.started + due) => {}
        }
        let Ok(slot) = std::sync::Arc::clone(&slots).acquire_owned().await else { return };
        if shared.is_stopped.get() {
            return;
        }
        shared.under_way.set(shared.under_way.get() + 1);
        let shared = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            let outcome = shared.balancer.place(&order).await;
            shared.answered(due, order, outcome);
            drop(slot);
        });
    }
}

impl Shared {
    fn answered(&self, due: Duration, order: Order, outcome: Outcome) {
        let latency = self.started.elapsed().saturating_sub(due);
        if outcome == Outcome::Accepted {
            self.accepted.borrow_mut().insert(order.id);
        }
        let mut answers = self.answers.borrow_mut();
        if answers.len() < ANSWERS_MAX {
            answers.push(Sample { due, latency, outcome });
        }
        self.under_way.set(self.under_way.get() - 1);
        if self.under_way.get() == 0 {
            self.all_answered.notify_one();
        }
    }
}
