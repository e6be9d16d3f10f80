//! Which key is to go when memory is short. As in Redis a few keys are sampled, and the best candidates of several rounds
//! are kept in a pool; so the choice is nearly that of a full order, at a price that does not depend on how many keys
//! there are.

use atoll_kernel::Stream;

use super::dataset::Dataset;
use super::keyspace::{Entry, Keyspace};
use super::usage::UsageClock;
use super::value::Blob;

/// How many candidates are kept.
const POOL_SIZE: usize = 16;

/// `maxmemory-policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    /// What is chosen by; None: nothing is evicted.
    pub(crate) order: Option<Order>,
    /// Only keys with a deadline.
    pub(crate) is_volatile: bool,
}

/// What keys are chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    LeastRecent,
    LeastFrequent,
    Random,
    Deadline,
}

impl Policy {
    /// The policy of this name.
    pub(crate) fn named(name: &str) -> Policy {
        let order = match name.rsplit('-').next() {
            Some("lru") => Some(Order::LeastRecent),
            Some("lfu") => Some(Order::LeastFrequent),
            Some("random") => Some(Order::Random),
            Some("ttl") => Some(Order::Deadline),
            _ => None,
        };
        Policy { order, is_volatile: name.starts_with("volatile-") }
    }

    /// True if uses are counted.
    pub(crate) fn counts(self) -> bool {
        self.order == Some(Order::LeastFrequent)
    }

    /// True if integers cannot be shared between keys, since each key's uses are noted with its value.
    pub(crate) fn notes_uses(self) -> bool {
        matches!(self.order, Some(Order::LeastRecent | Order::LeastFrequent))
    }
}

/// Candidates, the best one last.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    candidates: Vec<Candidate>,
    /// Where random policies look next.
    next_database: usize,
}

#[derive(Debug)]
struct Candidate {
    score: u64,
    database: usize,
    key: Blob,
}

impl Pool {
    fn offer(&mut self, score: u64, database: usize, key: &[u8]) {
        let is_full = self.candidates.len() == POOL_SIZE;
        if is_full && self.candidates.first().is_some_and(|worst| worst.score >= score) {
            return;
        }
        if self.candidates.iter().any(|other| other.database == database && other.key.as_slice() == key) {
            return;
        }
        if is_full {
            self.candidates.remove(0);
        }
        let place = self.candidates.partition_point(|other| other.score < score);
        self.candidates.insert(place, Candidate { score, database, key: Blob::from_slice(key) });
    }
}

/// How good a candidate a key is: the higher, the sooner it goes.
fn score(order: Order, entry: &Entry, clock: &UsageClock) -> u64 {
    match order {
        Order::LeastRecent => entry.last_use.idle_s(clock) as u64,
        Order::LeastFrequent => u64::from(u8::MAX - entry.last_use.frequency(clock)),
        Order::Deadline => u64::MAX - u64::try_from(entry.expire_at_ms).unwrap_or(0),
        Order::Random => 0,
    }
}

impl Dataset {
    /// The key that is to go: its database and its name. None if there is none that may.
    pub(crate) fn choose_victim(
        &mut self,
        policy: Policy,
        samples: usize,
        clock: &UsageClock,
        random: &mut Stream,
    ) -> Option<(usize, Blob)> {
        let order = policy.order?;
        let eligible = |database: &Keyspace| if policy.is_volatile { database.expiring() } else { database.len() };
        if order == Order::Random {
            for _ in 0..self.databases.len() {
                self.pool.next_database = (self.pool.next_database + 1) % self.databases.len();
                let database = &mut self.databases[self.pool.next_database];
                if eligible(database) > 0 {
                    let key = database.sample(policy.is_volatile, random)?.0.clone();
                    return Some((self.pool.next_database, key));
                }
            }
            return None;
        }
        loop {
            let mut is_any = false;
            for (index, database) in self.databases.iter_mut().enumerate() {
                for _ in 0..eligible(database).min(samples) {
                    is_any = true;
                    if let Some((key, entry)) = database.sample(policy.is_volatile, random) {
                        self.pool.offer(score(order, entry, clock), index, key);
                    }
                }
            }
            if !is_any {
                return None;
            }
            while let Some(Candidate { database, key, .. }) = self.pool.candidates.pop() {
                let entry = self.databases.get(database).and_then(|database| database.get(&key));
                if entry.is_some_and(|entry| !policy.is_volatile || entry.has_deadline()) {
                    return Some((database, key));
                }
            }
        }
    }
}
