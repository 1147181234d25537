//! What a shard counts, and how a scrape becomes a page.
//!
//! Owns: the counters and histograms of one shard ([`Metrics`]), the guard that times a request ([`Timing`]).
//! Lives on: every shard; a scrape asks each for a [`sample::Sample`] and prints them on shard 0.
//! Invariants:
//! 1. Counting is plain cells: no atomic, no lock, no allocation beyond the first request of an API on a shard.
//! 2. Counters only grow; what is counted for all partitions does not shrink when a topic is deleted.
//! 3. A scrape never holds up a shard: it yields between stretches of partitions.
//!
//! Not here: the table of names (`metrics/names.rs`), the admin port (`admin.rs`).

pub(crate) mod histogram;
pub(crate) mod names;
pub(crate) mod page;
pub(crate) mod sample;
pub(crate) mod text;

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use corelog_net::connection::Request;
use corelog_net::wire::ApiKey;
use corelog_runtime::{Instant, Stats};

use histogram::Histogram;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.0.set(self.0.get().wrapping_add(count));
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// What goes into partitions and comes out, of one or of all.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) bytes_in: Count,
    pub(crate) records_in: Count,
    pub(crate) bytes_out: Count,
    pub(crate) produces: Count,
    pub(crate) fetches: Count,
    pub(crate) failed_produces: Count,
    pub(crate) failed_fetches: Count,
}

/// Batches refused before they came to a log.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    pub(crate) too_large_bytes: Count,
    pub(crate) magic: Count,
    pub(crate) crc: Count,
    pub(crate) offsets: Count,
}

/// Bytes read, by where they were.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub(crate) tail: Count,
    pub(crate) warm: Count,
    pub(crate) ahead: Count,
    pub(crate) cold: Count,
}

/// What the cleaner of the shard did.
#[derive(Debug, Default)]
pub(crate) struct Cleanings {
    pub(crate) clean: Count,
    pub(crate) gave_up: Count,
    pub(crate) failed: Count,
    pub(crate) bytes_before: Count,
    pub(crate) bytes_after: Count,
}

/// How moves of the shard ended.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    pub(crate) arrived: Count,
    pub(crate) cancelled: Count,
    pub(crate) failed: Count,
}

/// The counters of one shard.
pub(crate) struct Metrics {
    begun: Instant,
    /// By key.
    apis: Box<[OnceCell<Rc<Api>>]>,
    /// By log directory.
    syncs: Box<[OnceCell<Histogram>]>,
    pub(crate) traffic: Traffic,
    pub(crate) refusals: Refusals,
    pub(crate) reads: Reads,
    pub(crate) writes: Count,
    pub(crate) written_bytes: Count,
    /// Of these, past the page cache.
    pub(crate) direct_bytes: Count,
    pub(crate) cleanings: Cleanings,
    pub(crate) moves: Moves,
    pub(crate) segments_retired: Count,
    load: Cell<[Mark; 2]>,
}

/// The requests of one API.
#[derive(Debug)]
struct Api {
    /// By version; what is above the last counts there.
    versions: [Cell<u64>; VERSIONS_MAX],
    times: Histogram,
}

/// How long the loop had slept at some moment.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    slept_ns: u64,
}

impl Metrics {
    pub(crate) fn new(directories: usize) -> Self {
        let begun = corelog_runtime::now();
        let mark = Mark {
            at: begun,
            slept_ns: 0,
        };
        Self {
            begun,
            apis: (0..ApiKey::ALL.len()).map(|_| OnceCell::new()).collect(),
            syncs: (0..directories).map(|_| OnceCell::new()).collect(),
            traffic: Traffic::default(),
            refusals: Refusals::default(),
            reads: Reads::default(),
            writes: Count::default(),
            written_bytes: Count::default(),
            direct_bytes: Count::default(),
            cleanings: Cleanings::default(),
            moves: Moves::default(),
            segments_retired: Count::default(),
            load: Cell::new([mark; 2]),
        }
    }

    /// Counts a request; it is timed until the guard is dropped, which is when its answer is ready (or nobody waits for
    /// it any more).
    // HOT: 0 alloc after the first request of an API
    pub(crate) fn time(&self, request: &Request) -> Timing {
        let key = usize::try_from(request.header.api_key.key()).unwrap_or(0);
        let api = self.apis[key].get_or_init(|| Rc::new(Api::new()));
        let version = usize::try_from(request.header.api_version).unwrap_or(0);
        let versions = &api.versions[version.min(VERSIONS_MAX - 1)];
        versions.set(versions.get() + 1);
        Timing {
            api: Rc::clone(api),
            begun: request.received,
        }
    }

    /// A sync of a log in a directory took from `begun` until now.
    pub(crate) fn synced(&self, directory: usize, begun: Instant) {
        let now = corelog_runtime::now();
        self.syncs[directory]
            .get_or_init(|| Histogram::new(now))
            .record(begun, now);
    }

    /// Nanoseconds that the loop did not sleep, and the share of the last one to two minutes (or since the scrape before,
    /// when that is longer ago).
    fn load(&self, stats: &Stats) -> (u64, f64) {
        let now = corelog_runtime::now();
        let lived = |since: Instant| now.as_nanos().saturating_sub(since.as_nanos());
        let busy = lived(self.begun).saturating_sub(stats.slept_ns);
        let [older, newer] = self.load.get();
        let (slept, passed) = (stats.slept_ns - older.slept_ns, lived(older.at));
        if lived(newer.at) >= MARK_EVERY_NS {
            let mark = Mark {
                at: now,
                slept_ns: stats.slept_ns,
            };
            self.load.set([newer, mark]);
        }
        let ratio = if passed == 0 {
            0.0
        } else {
            1.0 - (real(slept) / real(passed)).min(1.0)
        };
        (busy, ratio)
    }
}

impl Api {
    fn new() -> Self {
        Self {
            versions: [const { Cell::new(0) }; VERSIONS_MAX],
            times: Histogram::new(corelog_runtime::now()),
        }
    }
}

/// A request that is under way.
pub(crate) struct Timing {
    api: Rc<Api>,
    begun: Instant,
}

impl Drop for Timing {
    fn drop(&mut self) {
        self.api.times.record(self.begun, corelog_runtime::now());
    }
}

/// As a real number, for printing.
#[expect(
    clippy::cast_precision_loss,
    reason = "a metric of 2^53 and more may be off by one"
)]
pub(crate) fn real(number: u64) -> f64 {
    number as f64
}

/// Produce has 14, Fetch 19.
const VERSIONS_MAX: usize = 32;

/// Half of the time that a load is told of.
const MARK_EVERY_NS: u64 = 60_000_000_000;

#[cfg(test)]
mod tests;
