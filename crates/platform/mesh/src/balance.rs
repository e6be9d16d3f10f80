//! Which endpoint a connection goes to: the one with the fewest open connections, and among equals the one that was not
//! used for longest. An endpoint that could not be connected to is left out for a while.
//!
//! Numbers: a first failure costs one second, each further one twice as long, up to a minute: Linkerd's failure accrual
//! (`config.linkerd.io/failure-accrual-…-min-penalty` 1 s, `-max-penalty` 60 s). Linkerd waits for seven failures; here
//! the first counts, because a connection that cannot be made is unambiguous. If all are left out, all are tried, as
//! Envoy does below its panic threshold.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use atoll_kernel::Moment;

const PENALTY_MIN: Duration = Duration::from_secs(1);
const PENALTY_MAX: Duration = Duration::from_secs(60);
/// Entries of endpoints that are gone are swept when there are more than this.
const ENTRIES_SWEPT_ABOVE: usize = 1024;

/// What is known about endpoints.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    endpoints: BTreeMap<SocketAddrV4, Health>,
    uses: u64,
}

#[derive(Debug, Default)]
struct Health {
    open: u64,
    last_use: u64,
    failures: u32,
    out_until: Option<Moment>,
}

impl Balancer {
    /// Chooses one of the candidates and counts a connection to it; [`Balancer::closed`] gives it back.
    pub(crate) fn pick(&mut self, candidates: &[SocketAddrV4], now: Moment) -> Option<SocketAddrV4> {
        let rank = |address: &&SocketAddrV4| match self.endpoints.get(address) {
            Some(health) => (health.out_until.is_some_and(|until| until > now), health.open, health.last_use),
            None => (false, 0, 0),
        };
        let chosen = *candidates.iter().min_by_key(rank)?;
        self.sweep(now);
        self.uses += 1;
        let health = self.endpoints.entry(chosen).or_default();
        health.open += 1;
        health.last_use = self.uses;
        Some(chosen)
    }

    /// The connection was made.
    pub(crate) fn succeeded(&mut self, endpoint: SocketAddrV4) {
        if let Some(health) = self.endpoints.get_mut(&endpoint) {
            (health.failures, health.out_until) = (0, None);
        }
    }

    /// The connection could not be made.
    pub(crate) fn failed(&mut self, endpoint: SocketAddrV4, now: Moment) {
        if let Some(health) = self.endpoints.get_mut(&endpoint) {
            let penalty = PENALTY_MIN.saturating_mul(1 << health.failures.min(16)).min(PENALTY_MAX);
            health.failures += 1;
            health.out_until = Some(now + penalty);
        }
    }

    /// A connection that was counted has ended, or was not made.
    pub(crate) fn closed(&mut self, endpoint: SocketAddrV4) {
        if let Some(health) = self.endpoints.get_mut(&endpoint) {
            health.open = health.open.saturating_sub(1);
        }
    }

    fn sweep(&mut self, now: Moment) {
        if self.endpoints.len() > ENTRIES_SWEPT_ABOVE {
            self.endpoints.retain(|_, health| health.open > 0 || health.out_until.is_some_and(|until| until > now));
        }
    }
}
