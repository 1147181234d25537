//! A histogram of durations whose size is fixed.
//!
//! Owns: the buckets, the two windows that take turns, quantiles.
//! Lives on: its shard, in plain cells; what it hands out is owned and may be merged anywhere.
//! Invariants:
//! 1. Recording is a few additions: no allocation, no atomic, no system call. Once in [`WINDOW`] it clears 2 KiB.
//! 2. A bucket is at most 1/16 of its value wide, so a quantile is right within 6 %, and within one microsecond.
//! 3. Quantiles are of the last one to two windows; count and sum are of the whole life.
//!
//! Not here: whose durations they are (`metrics.rs`).
//!
//! ```text
//!   microseconds  0 1 2 … 15 | 16 … 31 | 32 34 … 62 | 64 68 … 124 | …
//!   bucket        0 1 2 … 15 | 16 … 31 | 32 33 … 47 | 48 49 … 63  | …
//! ```

use std::cell::Cell;
use std::time::Duration;

use corelog_runtime::Instant;

/// How long a window is filled before the other takes over.
const WINDOW: Duration = Duration::from_mins(1);

/// Buckets of each power of two.
const PER_OCTAVE_BITS: u32 = 4;
const PER_OCTAVE: usize = 1 << PER_OCTAVE_BITS;

/// Values from 2^36 microseconds on (19 hours) are counted as this.
const OCTAVES: u32 = 36;
const BUCKETS: usize = PER_OCTAVE * (OCTAVES - PER_OCTAVE_BITS + 1) as usize;

/// See the module.
#[derive(Debug)]
pub(crate) struct Histogram {
    windows: [Box<[Cell<u32>]>; 2],
    current: Cell<usize>,
    /// When the current window began.
    begun: Cell<Instant>,
    count: Cell<u64>,
    /// Microseconds.
    sum: Cell<u64>,
}

/// What a histogram holds at one moment, or several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distribution {
    /// Of both windows, without the empty ones at the end.
    buckets: Vec<u64>,
    /// Of the whole life.
    pub(crate) count: u64,
    /// Microseconds, of the whole life.
    pub(crate) sum: u64,
}

impl Histogram {
    pub(crate) fn new(now: Instant) -> Self {
        let window = || vec![Cell::new(0); BUCKETS].into_boxed_slice();
        Self {
            windows: [window(), window()],
            current: Cell::new(0),
            begun: Cell::new(now),
            count: Cell::new(0),
            sum: Cell::new(0),
        }
    }

    /// Counts what took from `begun` to `now`.
    // HOT: 0 alloc
    pub(crate) fn record(&self, begun: Instant, now: Instant) {
        let elapsed = now.as_nanos().saturating_sub(begun.as_nanos()) / 1_000;
        self.rotate(now);
        let bucket = &self.windows[self.current.get()][bucket_of(elapsed)];
        bucket.set(bucket.get().saturating_add(1));
        self.count.set(self.count.get() + 1);
        self.sum.set(self.sum.get().saturating_add(elapsed));
    }

    /// What it holds.
    pub(crate) fn distribution(&self, now: Instant) -> Distribution {
        self.rotate(now);
        let [one, other] = &self.windows;
        let sum =
            |(one, other): (&Cell<u32>, &Cell<u32>)| u64::from(one.get()) + u64::from(other.get());
        let mut buckets: Vec<u64> = one.iter().zip(other.iter()).map(sum).collect();
        let used = buckets.iter().rposition(|count| *count > 0);
        buckets.truncate(used.map_or(0, |last| last + 1));
        Distribution {
            buckets,
            count: self.count.get(),
            sum: self.sum.get(),
        }
    }

    /// Begins the next window when it is time.
    fn rotate(&self, now: Instant) {
        let age = now.duration_since(self.begun.get());
        if age >= WINDOW {
            self.turn(now, age);
        }
    }

    #[cold]
    fn turn(&self, now: Instant, age: Duration) {
        let next = 1 - self.current.get();
        let stale = if age >= WINDOW * 2 {
            0..2
        } else {
            next..next + 1
        };
        for window in &self.windows[stale] {
            window.iter().for_each(|bucket| bucket.set(0));
        }
        self.current.set(next);
        self.begun.set(now);
    }
}

impl Distribution {
    /// Adds another's counts.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// The value, in microseconds, that `per_mille` of a thousand are not above; `None` when nothing was recorded lately.
    pub(crate) fn quantile(&self, per_mille: u64) -> Option<u64> {
        let all: u64 = self.buckets.iter().sum();
        if all == 0 {
            return None;
        }
        let rank = (all * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        let reached = |count: &u64| {
            seen += count;
            seen >= rank
        };
        self.buckets.iter().position(reached).map(middle_of)
    }
}

/// The bucket of a number of microseconds.
fn bucket_of(value: u64) -> usize {
    if value < PER_OCTAVE as u64 {
        return usize::try_from(value).unwrap_or(0);
    }
    let octave = value.ilog2();
    if octave >= OCTAVES {
        return BUCKETS - 1;
    }
    let shift = octave - PER_OCTAVE_BITS;
    let within = usize::try_from(value >> shift).unwrap_or(0) - PER_OCTAVE;
    PER_OCTAVE * (shift as usize + 1) + within
}

/// A value in the middle of a bucket.
fn middle_of(bucket: usize) -> u64 {
    let (octave, within) = (bucket / PER_OCTAVE, (bucket % PER_OCTAVE) as u64);
    if octave == 0 {
        return within;
    }
    let shift = octave - 1;
    let least = (within + PER_OCTAVE as u64) << shift;
    least + ((1_u64 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(values: impl IntoIterator<Item = u64>) -> Distribution {
        let histogram = Histogram::new(Instant::from_millis(0));
        for value in values {
            histogram.record(Instant::from_nanos(0), Instant::from_nanos(value * 1_000));
        }
        histogram.distribution(Instant::from_millis(1))
    }

    #[test]
    fn buckets_are_contiguous_and_a_sixteenth_wide() {
        let mut last = 0;
        for value in (0..1_u64 << 14).chain((14..40).map(|bits| 1 << bits)) {
            let bucket = bucket_of(value);
            assert!(bucket >= last && bucket < BUCKETS, "{value}");
            assert!(value >= 1 << 14 || bucket - last <= 1, "{value}");
            last = bucket;
            let middle = middle_of(bucket);
            assert_eq!(bucket_of(middle), bucket, "{value}");
            if value < 1 << OCTAVES {
                assert!(middle.abs_diff(value) <= value / 16, "{value}: {middle}");
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_near_the_truth() {
        let held = recorded(1..=10_000);
        assert_eq!((held.count, held.sum), (10_000, 50_005_000));
        for (per_mille, truth) in [(500, 5_000), (950, 9_500), (990, 9_900), (999, 9_990)] {
            let found: u64 = held.quantile(per_mille).expect("values were recorded");
            assert!(found.abs_diff(truth) <= truth / 16, "{per_mille}: {found}");
        }
        assert_eq!(recorded([]).quantile(500), None);
        assert_eq!(recorded([7]).quantile(999), Some(7));
    }

    #[test]
    fn merged_is_as_recorded_together() {
        let mut merged = recorded(1..500);
        merged.add(&recorded(500..5_000));
        assert_eq!(merged, recorded(1..5_000));
    }

    #[test]
    fn quantiles_forget_and_counts_do_not() {
        let second = |s: u64| Instant::from_millis(s * 1_000);
        let histogram = Histogram::new(second(0));
        histogram.record(second(0), second(1));
        let at = |s: u64| histogram.distribution(second(s));
        assert!(at(59).quantile(500).is_some());
        assert!(at(119).quantile(500).is_some(), "one window old");
        assert_eq!(at(181).quantile(500), None);
        assert_eq!(at(181).count, 1);
        histogram.record(second(181), second(182));
        assert!(at(182).quantile(500).is_some());
        assert_eq!(at(1_000).quantile(500), None, "both windows are stale");
        assert_eq!(at(1_000).count, 2);
    }
}
