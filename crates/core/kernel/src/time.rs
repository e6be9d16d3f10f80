//! Time as cores see it: moments since the kernel's start, and wall clocks that can be wrong.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A point on the kernel's monotonic clock, in nanoseconds since the kernel's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The kernel's start.
    pub const ZERO: Moment = Moment(0);

    /// The moment `nanoseconds` after the kernel's start.
    pub const fn from_nanos(nanoseconds: u64) -> Moment {
        Moment(nanoseconds)
    }

    /// The moment `milliseconds` after the kernel's start.
    pub const fn from_millis(milliseconds: u64) -> Moment {
        Moment(milliseconds.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the kernel's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the kernel's start.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time from `earlier` to here, zero if `earlier` is in fact later.
    #[inline]
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    /// Saturates: a deadline beyond 584 years is as good as never.
    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(nanoseconds(duration)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    /// Saturates at the kernel's start.
    fn sub(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(nanoseconds(duration)))
    }
}

/// A duration in nanoseconds, as many as fit.
#[inline]
fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(NANOS_PER_SECOND).saturating_add(u64::from(duration.subsec_nanos()))
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1_000_000_000, self.0 / 1_000_000 % 1000)
    }
}

const NANOS_PER_MILLI: i64 = 1_000_000;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// How often the machine's clocks are read to find how far they are apart.
const READINGS: usize = 5;

/// What a node's wall clock shows: milliseconds since the Unix epoch, right or wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(i64);

impl WallTime {
    /// The wall time `milliseconds` after the Unix epoch.
    pub const fn from_millis(milliseconds: i64) -> WallTime {
        WallTime(milliseconds)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }
}

/// The source of time under a kernel: real, or set by a simulation.
#[derive(Debug)]
pub(crate) enum Clock {
    Real { start: std::time::Instant, wall_at_start_ns: i64 },
    Virtual { now: AtomicU64, wall_at_start_ns: i64 },
}

impl Clock {
    /// The one place where real time comes in.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn real() -> Clock {
        // To the nanosecond and never behind: a client that has read the machine's clock must not find ours before that. Of
        // several readings the one that was interrupted least.
        let reading = |_| {
            let start = std::time::Instant::now();
            let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            (start.elapsed(), start, i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX))
        };
        let (_, start, wall_at_start_ns) = (1..READINGS).map(reading).fold(reading(0), std::cmp::min);
        Clock::Real { start, wall_at_start_ns }
    }

    pub(crate) fn virtual_from(wall_at_start: WallTime) -> Clock {
        Clock::Virtual { now: AtomicU64::new(0), wall_at_start_ns: wall_at_start.0.saturating_mul(NANOS_PER_MILLI) }
    }

    #[inline]
    pub(crate) fn now(&self) -> Moment {
        match self {
            Clock::Real { start, .. } => Moment(nanoseconds(start.elapsed())),
            Clock::Virtual { now, .. } => Moment(now.load(Ordering::Relaxed)),
        }
    }

    /// The true wall time at `moment`, before any node's skew.
    #[inline]
    pub(crate) fn wall(&self, moment: Moment) -> WallTime {
        let (Clock::Real { wall_at_start_ns, .. } | Clock::Virtual { wall_at_start_ns, .. }) = self;
        let elapsed_ns = i64::try_from(moment.0).unwrap_or(i64::MAX);
        WallTime(wall_at_start_ns.saturating_add(elapsed_ns).div_euclid(NANOS_PER_MILLI))
    }

    /// Moves virtual time forward; a real clock moves by itself and ignores this.
    pub(crate) fn set(&self, moment: Moment) {
        if let Clock::Virtual { now, .. } = self {
            now.fetch_max(moment.0, Ordering::Relaxed);
        }
    }

    /// The real instant of a moment, for a live driver that has to sleep until it. None under virtual time.
    pub(crate) fn real_instant(&self, moment: Moment) -> Option<std::time::Instant> {
        match self {
            Clock::Real { start, .. } => start.checked_add(Duration::from_nanos(moment.0)),
            Clock::Virtual { .. } => None,
        }
    }
}
