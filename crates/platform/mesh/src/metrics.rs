//! Counters per service: plain atomics, read by whoever exports them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// What connections to one destination did, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceMetrics {
    /// `namespace/name` of a service, or `engine`, `pod`, `host`, `outside`.
    pub destination: String,
    /// Connections made.
    pub connections: u64,
    /// Attempts to connect that failed; one captured connection may make several.
    pub failures: u64,
    /// Connections that are open.
    pub open: u64,
    /// Bytes from callers.
    pub bytes_sent: u64,
    /// Bytes to callers.
    pub bytes_received: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) open: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
}

/// Adds to a counter; nothing is ordered by it.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    by_destination: Mutex<BTreeMap<String, Arc<Counters>>>,
}

impl Metrics {
    pub(crate) fn of(&self, destination: &str) -> Arc<Counters> {
        let mut all = self.by_destination.lock();
        match all.get(destination) {
            Some(counters) => counters.clone(),
            None => all.entry(destination.to_owned()).or_default().clone(),
        }
    }

    pub(crate) fn read(&self) -> Vec<ServiceMetrics> {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let read = |(destination, counters): (&String, &Arc<Counters>)| ServiceMetrics {
            destination: destination.clone(),
            connections: value(&counters.connections),
            failures: value(&counters.failures),
            open: value(&counters.open),
            bytes_sent: value(&counters.bytes_sent),
            bytes_received: value(&counters.bytes_received),
        };
        self.by_destination.lock().iter().map(read).collect()
    }
}
