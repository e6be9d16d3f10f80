//! How much there was of something within the last windows, as Kafka's `Rate` and `TokenBucket` reckon it.

use std::collections::VecDeque;
use std::time::Duration;

/// Windows that are looked at, the current one among them (`quota.window.num`).
const SAMPLES: usize = 11;
/// How long each is (`quota.window.size.seconds`).
const WINDOW_MS: u64 = 1_000;
/// The whole windows together.
pub(super) const WINDOW_SECONDS: f64 = ((SAMPLES - 1) as u64 * WINDOW_MS / 1_000) as f64;

/// Sums by window.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// Where each window began, and how much there was in it.
    samples: VecDeque<(u64, f64)>,
}

impl Rate {
    pub fn record(&mut self, now_ms: u64, amount: f64) {
        self.forget(now_ms);
        match self.samples.back_mut() {
            Some((start, sum)) if now_ms - *start < WINDOW_MS => *sum += amount,
            _ => self.samples.push_back((now_ms, amount)),
        }
    }

    fn forget(&mut self, now_ms: u64) {
        let is_old = |start: u64| now_ms.saturating_sub(start) >= SAMPLES as u64 * WINDOW_MS;
        while self.samples.front().is_some_and(|(start, _)| is_old(*start)) || self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
    }

    /// How long it takes until the rate is within `bound` per second, if nothing more comes.
    pub fn excess(&mut self, now_ms: u64, bound: f64) -> Duration {
        self.forget(now_ms);
        let Some((oldest, _)) = self.samples.front() else { return Duration::ZERO };
        let elapsed_ms = now_ms - oldest;
        // Windows that have not been yet count as empty ones, so that a first burst is not taken for a rate.
        let missing = (SAMPLES as u64 - 1).saturating_sub(elapsed_ms / WINDOW_MS);
        let window_ms = (elapsed_ms + missing * WINDOW_MS).max(1) as f64;
        let sum: f64 = self.samples.iter().map(|(_, sum)| sum).sum();
        let rate = sum / (window_ms / 1_000.0);
        match rate > bound {
            true => millis((rate - bound) / bound * window_ms),
            false => Duration::ZERO,
        }
    }

    pub fn is_idle(&self, now_ms: u64) -> bool {
        let newest = self.samples.back().map_or(0, |(start, _)| *start);
        now_ms.saturating_sub(newest) >= SAMPLES as u64 * WINDOW_MS
    }
}

/// Tokens that come at a rate and are taken in bursts; taking more than there are makes a debt.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    tokens: Option<f64>,
    filled_ms: u64,
}

impl Bucket {
    fn fill(&mut self, now_ms: u64, rate: f64) -> f64 {
        let burst = rate * SAMPLES as f64 * (WINDOW_MS as f64 / 1_000.0);
        let more = rate * now_ms.saturating_sub(self.filled_ms) as f64 / 1_000.0;
        let tokens = self.tokens.map_or(burst, |tokens| (tokens + more).min(burst));
        (self.tokens, self.filled_ms) = (Some(tokens), now_ms);
        tokens
    }

    pub fn take(&mut self, now_ms: u64, rate: f64, amount: f64) {
        self.tokens = Some(self.fill(now_ms, rate) - amount);
    }

    /// How long it takes until there is no debt.
    pub fn debt(&mut self, now_ms: u64, rate: f64) -> Duration {
        let tokens = self.fill(now_ms, rate);
        if tokens < 0.0 { millis(-tokens / rate * 1_000.0) } else { Duration::ZERO }
    }

    pub fn is_idle(&self, now_ms: u64) -> bool {
        self.tokens.is_none_or(|tokens| tokens >= 0.0) && now_ms.saturating_sub(self.filled_ms) >= 3_600_000
    }
}

fn millis(milliseconds: f64) -> Duration {
    Duration::from_millis(milliseconds.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_muted_until_the_rate_is_within_its_bound() {
        let mut rate = Rate::default();
        rate.record(0, 10_000.0);
        assert_eq!(rate.excess(0, 1_000.0), Duration::ZERO, "ten windows' worth");
        rate.record(0, 5_000.0);
        // 1,500 a second over ten seconds, half too much of it.
        assert_eq!(rate.excess(0, 1_000.0), Duration::from_secs(5));
        assert_eq!(rate.excess(5_000, 1_000.0), Duration::from_secs(5));
        assert_eq!(rate.excess(11_000, 1_000.0), Duration::ZERO, "forgotten");
        assert!(rate.is_idle(11_000));
    }

    #[test]
    fn windows_go_one_by_one() {
        let mut rate = Rate::default();
        for second in 0..20 {
            rate.record(second * 1_000, 1_000.0);
        }
        // Eleven windows within ten seconds.
        assert_eq!(rate.excess(19_000, 1_000.0), Duration::from_secs(1));
        assert_eq!(rate.excess(19_000, 1_100.0), Duration::ZERO);
    }

    #[test]
    fn a_bucket_begins_full_and_pays_its_debt() {
        let mut bucket = Bucket::default();
        bucket.take(0, 2.0, 22.0);
        assert_eq!(bucket.debt(0, 2.0), Duration::ZERO);
        bucket.take(0, 2.0, 10.0);
        assert_eq!(bucket.debt(0, 2.0), Duration::from_secs(5));
        assert_eq!(bucket.debt(2_000, 2.0), Duration::from_secs(3));
        assert_eq!(bucket.debt(60_000, 2.0), Duration::ZERO);
        bucket.take(60_000, 2.0, 23.0);
        assert_eq!(bucket.debt(60_000, 2.0), Duration::from_millis(500), "no more than a burst was kept");
    }
}
