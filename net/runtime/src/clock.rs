//! Owns: the only clock.
//! Lives on: every shard; one cached reading per loop turn.
//! Invariants: 1. `now()` never goes back on one shard. 2. A reading is at most one loop turn old
//! (a turn ends after a bounded number of task polls).
//! Not here: timers (`timer`).

use std::ops::{Add, Sub};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A point of the monotonic clock (`CLOCK_MONOTONIC`, or the virtual clock of a simulation), in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// Far enough in the future to mean «never».
    pub const MAX: Self = Self(u64::MAX);

    /// From nanoseconds of the clock.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds of the clock.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// From milliseconds of the clock.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Whole milliseconds of the clock.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Reads the clock now instead of taking the reading of this loop turn.
    pub fn fresh() -> Self {
        crate::core::with_current(crate::core::Core::refresh_now).unwrap_or_else(read_monotonic)
    }

    /// How long after `earlier` this is; zero when it is before.
    pub const fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long ago this was, by the reading of this loop turn.
    pub fn elapsed(self) -> Duration {
        now().duration_since(self)
    }

    /// This plus a duration; `MAX` when that cannot be represented.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        self.saturating_add(by)
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

/// The time of this loop turn; outside of a runtime the clock is read.
pub fn now() -> Instant {
    crate::core::with_current(crate::core::Core::now).unwrap_or_else(read_monotonic)
}

/// Milliseconds since the epoch, from the wall clock (in a simulation from the virtual one).
pub fn wall_clock() -> i64 {
    #[cfg(any(test, feature = "sim"))]
    if let Some(Some(millis)) = crate::core::with_current(crate::core::Core::virtual_wall_clock) {
        return millis;
    }
    let time = clock_gettime(ClockId::Realtime);
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}

pub(crate) fn read_monotonic() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant(seconds * 1_000_000_000 + nanos)
}
