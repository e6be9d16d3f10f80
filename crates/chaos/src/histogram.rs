//! Latencies in log-linear buckets: every value is kept to within 1/64 of itself, whatever its size.

use std::time::Duration;

/// Each power of two is divided into so many buckets.
const STEPS: u64 = 64;
/// Microseconds from 0 to 2⁴⁰ (twelve days); longer ones count as that.
const BUCKETS: usize = 35 * 64;

/// A histogram of durations. Its size does not depend on what it holds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS], total: 0, longest: Duration::ZERO }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let bucket = bucket(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        if let Some(count) = self.counts.get_mut(bucket.min(BUCKETS - 1)) {
            *count += 1;
        }
        self.total += 1;
        self.longest = self.longest.max(duration);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The longest, exactly.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The duration that so many parts of a million do not exceed: at most 1/64 too long. Zero if nothing was counted.
    pub fn quantile(&self, ppm: u32) -> Duration {
        let rank = (u128::from(self.total) * u128::from(ppm)).div_ceil(1_000_000).max(1);
        let mut seen = 0_u128;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank {
                return Duration::from_micros(upper_bound(bucket)).min(self.longest);
            }
        }
        self.longest
    }

    /// Adds what another histogram counted.
    pub fn add(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }
}

/// Values below 64 have a bucket each; above, the six bits behind the leading one choose within the power of two.
fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return usize::try_from(micros).unwrap_or(0);
    }
    let exponent = u64::from(micros.ilog2()) - 6;
    let mantissa = (micros >> exponent) - STEPS;
    usize::try_from((exponent + 1) * STEPS + mantissa).unwrap_or(BUCKETS - 1)
}

fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let exponent = bucket / STEPS - 1;
    ((STEPS + bucket % STEPS + 1) << exponent) - 1
}
