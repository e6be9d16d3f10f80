//! Durations counted in buckets of about one per cent, as an HDR histogram of two significant digits has them.

/// The longest duration that is told apart: a second, as in Redis.
const VALUE_MAX: u64 = 1_000_000_000;
/// Values below this have a bucket each; above, each power of two has half as many.
const LINEAR: u64 = 256;
const HALF: usize = 128;

/// A histogram of durations in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    /// As long as the longest duration needs.
    counts: Vec<u64>,
    total: u64,
}

/// The bucket of a value.
pub(super) fn bucket_of(value: u64) -> usize {
    if value < LINEAR {
        return value as usize;
    }
    let shift = value.ilog2() - 7;
    (shift as usize) * HALF + (value >> shift) as usize
}

/// The smallest and the largest value of a bucket.
pub(super) fn bounds(bucket: usize) -> (u64, u64) {
    if bucket < LINEAR as usize {
        return (bucket as u64, bucket as u64);
    }
    let shift = bucket / HALF - 1;
    let low = ((bucket - shift * HALF) as u64) << shift;
    (low, low + (1 << shift) - 1)
}

impl Histogram {
    /// Counts a duration.
    #[inline]
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        let bucket = bucket_of(nanoseconds.clamp(1, VALUE_MAX));
        if bucket >= self.counts.len() {
            self.counts.resize((bucket + 1).next_multiple_of(HALF), 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
    }

    /// How many durations were counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The duration that so many per cent of all do not exceed, in nanoseconds.
    pub(crate) fn percentile(&self, percent: f64) -> u64 {
        let wanted = ((percent / 100.0 * self.total as f64 + 0.5) as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                let (low, high) = bounds(bucket);
                return if percent == 0.0 { low } else { high };
            }
        }
        0
    }

    /// For durations that double from a microsecond on: microseconds, and how many took no longer. Only where that number
    /// grows.
    pub(crate) fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut points = Vec::new();
        let (mut level, mut seen, mut next) = (1024, 0, 0);
        while seen < self.total {
            let last = bucket_of(level);
            let before = seen;
            while next <= last && next < self.counts.len() {
                seen += self.counts[next];
                next += 1;
            }
            if seen > before {
                points.push((bounds(last).1 / 1000, seen));
            }
            level *= 2;
        }
        points
    }
}
