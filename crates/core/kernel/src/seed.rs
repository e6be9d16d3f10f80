//! Randomness that can be replayed: every decision draws from a stream keyed by (seed, purpose, ordinal).

use serde::Serialize;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The one number that a run is reproduced from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream for one purpose (`redis.election`) and ordinal (the node, the attempt). Streams never share state, so a
    /// new purpose does not disturb the decisions of others.
    pub fn stream(self, purpose: &str, ordinal: u64) -> Stream {
        let key = xxh3_64_with_seed(purpose.as_bytes(), self.0);
        Stream { key: xxh3_64_with_seed(&ordinal.to_le_bytes(), key), drawn: 0 }
    }
}

/// A stream of random numbers: the hash of a key and a counter.
#[derive(Clone, Debug)]
pub struct Stream {
    key: u64,
    drawn: u64,
}

impl Stream {
    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.drawn += 1;
        xxh3_64_with_seed(&self.drawn.to_le_bytes(), self.key)
    }

    /// A number in `0..bound`, or 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The multiply-shift method: its bias is below bound / 2^64, far beneath what a test could see.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below((high - low).saturating_add(1))
    }

    /// A duration in `0..=longest`, in whole milliseconds.
    pub fn up_to(&mut self, longest: Duration) -> Duration {
        Duration::from_millis(self.between(0, u64::try_from(longest.as_millis()).unwrap_or(u64::MAX)))
    }

    /// True once in `n` draws.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`, or None if there is none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len() as u64) as usize)
    }
}
