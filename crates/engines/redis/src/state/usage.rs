//! When a key was last used, or how often: what the policies of `maxmemory` choose by. 24 bits, as in Redis.

/// Where the counter of a new key stands, so that it is not the first to go.
const COUNTER_AT_START: u8 = 5;
const CLOCK_MASK: i64 = 0xff_ffff;
const MINUTES_MASK: i64 = 0xffff;

/// What a moment's uses are noted with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UsageClock {
    /// The instance's own wall clock.
    pub(crate) now_ms: i64,
    /// An LFU policy is selected: uses are counted.
    pub(crate) counts: bool,
    pub(crate) log_factor: f64,
    /// After how many minutes without a use the counter is lowered by one; 0: never.
    pub(crate) decay_minutes: i64,
    /// Chance, for the counter.
    pub(crate) chance: u64,
}

impl UsageClock {
    fn minutes(&self) -> i64 {
        self.now_ms.div_euclid(60_000) & MINUTES_MASK
    }

    fn seconds(&self) -> i64 {
        self.now_ms.div_euclid(1000) & CLOCK_MASK
    }

    /// A number from 0 to 1.
    fn draw(&mut self) -> f64 {
        // SplitMix64: a command draws from the cluster's stream once.
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The last use of a key in seconds; with an LFU policy, its last use in minutes and a counter that grows ever more slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastUse([u8; 3]);

impl LastUse {
    fn of(bits: i64) -> LastUse {
        LastUse([bits as u8, (bits >> 8) as u8, (bits >> 16) as u8])
    }

    /// The number that Redis shows.
    pub(crate) fn bits(self) -> i64 {
        let [low, middle, high] = self.0;
        i64::from(low) | i64::from(middle) << 8 | i64::from(high) << 16
    }

    /// A key that has just come into being.
    #[inline]
    pub(crate) fn now(clock: &UsageClock) -> LastUse {
        if clock.counts { LastUse::with_frequency(clock, COUNTER_AT_START) } else { LastUse::of(clock.seconds()) }
    }

    /// A key that was not used for so many seconds.
    pub(crate) fn idle_for(clock: &UsageClock, seconds: i64) -> LastUse {
        LastUse::of(clock.seconds().saturating_sub(seconds.clamp(0, CLOCK_MASK)).rem_euclid(CLOCK_MASK + 1))
    }

    /// A key with this counter.
    pub(crate) fn with_frequency(clock: &UsageClock, frequency: u8) -> LastUse {
        LastUse::of(clock.minutes() << 8 | i64::from(frequency))
    }

    /// It is used.
    #[inline]
    pub(crate) fn touch(&mut self, clock: &mut UsageClock) {
        *self = if clock.counts { self.counted(clock) } else { LastUse::of(clock.seconds()) };
    }

    #[cold]
    fn counted(self, clock: &mut UsageClock) -> LastUse {
        let counter = self.frequency(clock);
        let base = f64::from(counter.saturating_sub(COUNTER_AT_START));
        let grows = counter < u8::MAX && clock.draw() < 1.0 / (base * clock.log_factor + 1.0);
        LastUse::with_frequency(clock, counter + u8::from(grows))
    }

    /// For how many seconds it was not used.
    pub(crate) fn idle_s(self, clock: &UsageClock) -> i64 {
        (clock.seconds() - self.bits()).rem_euclid(CLOCK_MASK + 1)
    }

    /// The counter, lowered by the time since the last use.
    pub(crate) fn frequency(self, clock: &UsageClock) -> u8 {
        let counter = self.0[0];
        let elapsed = (clock.minutes() - (self.bits() >> 8)).rem_euclid(MINUTES_MASK + 1);
        let periods = elapsed.checked_div(clock.decay_minutes).unwrap_or(0);
        counter.saturating_sub(u8::try_from(periods).unwrap_or(u8::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(now_ms: i64, counts: bool) -> UsageClock {
        UsageClock { now_ms, counts, log_factor: 10.0, decay_minutes: 1, chance: 1 }
    }

    #[test]
    fn idle_times_survive_the_wrap_of_the_clock() {
        let start = clock(((1 << 24) - 5) * 1000, false);
        let used = LastUse::now(&start);
        assert_eq!(used.idle_s(&clock(start.now_ms + 20_000, false)), 20);
        assert_eq!(LastUse::idle_for(&start, 100).idle_s(&start), 100);
    }

    #[test]
    fn counters_grow_slowly_and_decay() {
        let mut now = clock(60_000_000, true);
        let mut used = LastUse::now(&now);
        assert_eq!(used.frequency(&now), COUNTER_AT_START);
        (0..100).for_each(|_| used.touch(&mut now));
        let hundred = used.frequency(&now);
        assert!((7..=20).contains(&hundred), "{hundred} after a hundred uses");
        (0..1_000_000).for_each(|_| used.touch(&mut now));
        assert!(used.frequency(&now) > 200);
        let later = clock(now.now_ms + 10 * 60_000, true);
        assert_eq!(used.frequency(&later), used.frequency(&now) - 10);
        assert_eq!(used.frequency(&UsageClock { decay_minutes: 0, ..later }), used.frequency(&now));
    }
}
