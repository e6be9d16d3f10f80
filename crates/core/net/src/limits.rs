//! How many connections a listener serves at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The limits of one listener, or of several that share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many connections may live at once. One more is accepted only to be told so.
    pub connections_max: usize,
}

impl Default for Limits {
    /// Redis's `maxclients`, which suits the others as well.
    fn default() -> Limits {
        Limits { connections_max: 10_000 }
    }
}

/// Counts living connections against a limit. Clones share the count.
#[derive(Clone, Debug)]
pub struct Permits {
    living: Arc<AtomicUsize>,
    limit: Arc<AtomicUsize>,
}

impl Permits {
    /// A count of zero under these limits.
    pub fn new(limits: Limits) -> Permits {
        Permits { living: Arc::default(), limit: Arc::new(AtomicUsize::new(limits.connections_max)) }
    }

    /// How many connections live.
    pub fn living(&self) -> usize {
        self.living.load(Ordering::Relaxed)
    }

    /// Changes the limit, as `CONFIG SET maxclients` does. Living connections stay.
    pub fn set_connections_max(&self, connections_max: usize) {
        self.limit.store(connections_max, Ordering::Relaxed);
    }

    pub(crate) fn take(&self) -> Permit {
        let living = self.living.fetch_add(1, Ordering::Relaxed) + 1;
        Permit { over_limit: living > self.limit.load(Ordering::Relaxed), living: Arc::clone(&self.living) }
    }
}

/// One living connection.
#[derive(Debug)]
pub struct Permit {
    living: Arc<AtomicUsize>,
    over_limit: bool,
}

impl Permit {
    /// True if it came when the limit had been reached.
    pub fn is_over_limit(&self) -> bool {
        self.over_limit
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.living.fetch_sub(1, Ordering::Relaxed);
    }
}
