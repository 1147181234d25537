//! Load: what the perf commands run, against any Kafka.
//!
//! **Owns** producing and consuming as fast as asked, and what is measured of it.
//! **Lives on** the thread of the runtime it is called in; one process drives many partitions and connections from one
//! thread, because a batch that is sent again costs no more than its header.
//! **Invariants** (1) With a throughput, latency counts from when a record was due, not from when there was time to send
//! it (no coordinated omission). (2) With `verify`, what is consumed says which run, partition and place it belongs to.
//! **Not here** flags and printing (`cli`, `corelog-perf`).

pub mod consume;
pub mod produce;
pub mod verify;

use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Who is told how many records are done.
#[derive(Clone)]
pub struct Listener(Rc<dyn Fn(u64)>);

impl Listener {
    /// Calls this with the number of records that were done since the last time.
    pub fn new(tell: impl Fn(u64) + 'static) -> Self {
        Self(Rc::new(tell))
    }

    fn tell(&self, records: u64) {
        (self.0)(records);
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

/// Latencies of a run.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            histogram: Histogram::new_with_bounds(1, MICROS_MAX, 3)
                .expect("the bounds are constants in order"),
        }
    }
}

impl Latencies {
    /// Adds one.
    #[inline]
    pub fn add(&mut self, latency: Duration) {
        self.histogram.saturating_record(micros(latency));
    }

    /// Adds several that are alike.
    #[inline]
    pub fn add_many(&mut self, latency: Duration, count: u64) {
        self.histogram.saturating_record_n(micros(latency), count);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so this cannot fail.
        let _ = self.histogram.add(&other.histogram);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.histogram.reset();
    }

    /// The mean in milliseconds; NaN of none.
    pub fn mean_ms(&self) -> f64 {
        if self.histogram.is_empty() {
            f64::NAN
        } else {
            self.histogram.mean() / 1e3
        }
    }

    /// The largest in milliseconds.
    pub fn max_ms(&self) -> f64 {
        to_f64(self.histogram.max()) / 1e3
    }

    /// A quantile in milliseconds.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        to_f64(self.histogram.value_at_quantile(quantile)) / 1e3
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }
}

fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// For printing and rates: counts here are far below 2^52.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and bytes of a run are far below 2^52, and this is for display"
)]
pub fn to_f64(count: u64) -> f64 {
    count as f64
}

/// User and system time of this process so far, in steps of a clock tick (10 ms); proc(5).
pub fn cpu_time() -> (Duration, Duration) {
    cpu_time_of("self")
}

/// User and system time of a process of this machine so far; zero for one that is not there.
pub fn cpu_time_of(process: &str) -> (Duration, Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a file of the kernel, read when a run begins and ends"
    )]
    let stat = std::fs::read(format!("/proc/{process}/stat")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat);
    // The second field, a name in parentheses, may hold anything; user and system time are the 12th and 13th after it.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    let span = |index: usize| {
        let ticks: u64 = fields
            .get(index)
            .and_then(|field| field.parse().ok())
            .unwrap_or(0);
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1))
    };
    (span(11), span(12))
}

/// Processor time at some moment: this process's, and that of another one which is watched.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    own: (Duration, Duration),
    watched: (Duration, Duration),
}

impl Cpu {
    pub(crate) fn now(watch: Option<&str>) -> Self {
        Self {
            own: cpu_time(),
            watched: watch.map(cpu_time_of).unwrap_or_default(),
        }
    }

    /// User and system time since then, of both.
    pub(crate) fn until_now(
        &self,
        watch: Option<&str>,
    ) -> ((Duration, Duration), Option<(Duration, Duration)>) {
        let end = Self::now(watch);
        let since = |end: (Duration, Duration), begin: (Duration, Duration)| {
            (end.0.saturating_sub(begin.0), end.1.saturating_sub(begin.1))
        };
        (
            since(end.own, self.own),
            watch.map(|_| since(end.watched, self.watched)),
        )
    }
}

/// Bytes of a megabyte as Kafka's tools count.
pub const MB: f64 = 1024.0 * 1024.0;
/// An hour: nothing slower is told apart.
const MICROS_MAX: u64 = 3_600_000_000;
