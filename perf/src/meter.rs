//! **Owns** what is counted while a load runs, by windows.
//! **Lives on** the thread of its runtime; full windows are handed to the command's thread.
//! **Invariants** (1) What happened is in exactly one window. (2) Adding allocates nothing.
//! **Not here** which windows count (`mixed`).

use std::collections::BTreeMap;
use std::time::Duration;

use corelog_tools::load::Latencies;

/// One side of a window.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Records.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Requests.
    pub requests: u64,
    /// From when each was due, to its acknowledgement or its consumer.
    pub latencies: Latencies,
}

impl Side {
    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.requests += other.requests;
        self.latencies.merge(&other.latencies);
    }
}

/// What happened lately.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// What was acknowledged.
    pub produced: Side,
    /// What consumers got.
    pub consumed: Side,
    /// Requests of connections that do nothing else.
    pub pings: u64,
    /// How long it was.
    pub length: Duration,
}

impl Window {
    /// Adds what happened at the same time elsewhere.
    pub fn beside(&mut self, other: &Self) {
        self.length = self.length.max(other.length);
        self.add(other);
    }

    /// Adds what happened after.
    pub fn then(&mut self, other: &Self) {
        self.length += other.length;
        self.add(other);
    }

    fn add(&mut self, other: &Self) {
        self.produced.merge(&other.produced);
        self.consumed.merge(&other.consumed);
        self.pings += other.pings;
    }
}

/// Why records failed, and how often.
pub type Failures = BTreeMap<String, u64>;

/// Windows of several threads, put together.
#[derive(Debug)]
pub struct Assembly {
    threads: usize,
    next: u64,
    parts: BTreeMap<u64, (usize, Window)>,
}

impl Assembly {
    /// Of so many threads.
    pub fn new(threads: usize) -> Self {
        Self {
            threads,
            next: 0,
            parts: BTreeMap::new(),
        }
    }

    /// A thread's window of that number.
    pub fn add(&mut self, number: u64, window: &Window) {
        let (count, whole) = self.parts.entry(number).or_default();
        *count += 1;
        whole.beside(window);
    }

    /// The next window that all threads have given, in order.
    pub fn take_next(&mut self) -> Option<Window> {
        let (count, _) = self.parts.get(&self.next)?;
        if *count < self.threads {
            return None;
        }
        let (_, whole) = self.parts.remove(&self.next)?;
        self.next += 1;
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Assembly, Window};

    fn window(records: u64, latency_ms: u64) -> Window {
        let mut window = Window {
            length: Duration::from_secs(1),
            ..Window::default()
        };
        window.produced.records = records;
        window
            .produced
            .latencies
            .add_many(Duration::from_millis(latency_ms), records);
        window
    }

    #[test]
    fn a_window_is_whole_when_every_thread_gave_its_part() {
        let mut assembly = Assembly::new(2);
        assembly.add(0, &window(10, 1));
        assembly.add(1, &window(5, 1));
        assert!(assembly.take_next().is_none());
        assembly.add(0, &window(30, 9));
        let whole = assembly.take_next().unwrap();
        assert_eq!(whole.produced.records, 40);
        assert_eq!(whole.length, Duration::from_secs(1));
        assert_eq!(whole.produced.latencies.count(), 40);
        assert!((whole.produced.latencies.quantile_ms(0.2) - 1.0).abs() < 0.01);
        assert!((whole.produced.latencies.quantile_ms(0.3) - 9.0).abs() < 0.01);
        assert!(assembly.take_next().is_none());
    }

    #[test]
    fn windows_in_a_row_are_as_long_as_all_of_them() {
        let mut sum = window(10, 1);
        sum.then(&window(20, 2));
        assert_eq!(
            (sum.produced.records, sum.length),
            (30, Duration::from_secs(2))
        );
    }
}
