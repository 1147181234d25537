//! **Owns** what a producer counts of itself, for who asks at the end (`--print-metrics`).
//! **Lives on** the client's thread.
//! **Invariants** counting allocates nothing; totals run from the producer's begin.
//! **Not here** latencies of records (`load`), names and printing (`cli::client_figures`).

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::batch::Sealed;
use super::{Inner, Producer};

/// What a producer has done so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Produce requests that left.
    pub requests: u64,
    /// Produce responses, and the time until they came: in all, and the longest.
    pub responses: u64,
    /// In all.
    pub latency: Duration,
    /// The longest.
    pub latency_max: Duration,
    /// Bytes of batches that left, with those sent again.
    pub bytes: u64,
    /// Batches that left, and the largest in bytes.
    pub batches: u64,
    /// In bytes.
    pub batch_size_max: u64,
    /// Time that batches waited to be sent, in all.
    pub queued: Duration,
    /// The longest.
    pub queued_max: Duration,
    /// Time spent in `flush`.
    pub flushing: Duration,
    /// Time spent initializing, committing and aborting transactions.
    pub transactions: [Duration; 3],
    /// `buffer.memory`, and how much of it is free.
    pub memory: (usize, usize),
    /// By topic.
    pub topics: BTreeMap<Rc<str>, OfTopic>,
}

/// Of one topic, or partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfTopic {
    /// Records that left for the first time.
    pub records: u64,
    /// Bytes of their batches.
    pub bytes: u64,
    /// Records that were sent again.
    pub retries: u64,
    /// Records that were not delivered.
    pub errors: u64,
}

impl OfTopic {
    /// Both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            bytes: self.bytes + other.bytes,
            retries: self.retries + other.retries,
            errors: self.errors + other.errors,
        }
    }

    /// Counts a batch that leaves.
    pub(super) fn leaves(&mut self, sealed: &Sealed) {
        let count = u64::from(sealed.count().unsigned_abs());
        if sealed.attempts > 0 {
            self.retries += count;
        } else {
            self.records += count;
            self.bytes += sealed.batch.size() as u64;
        }
    }
}

/// The same while it is counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    bytes: u64,
    batches: u64,
    batch_size_max: u64,
    queued: Duration,
    queued_max: Duration,
    responses: u64,
    latency: Duration,
    latency_max: Duration,
    pub(super) flush_time: Duration,
}

impl Counts {
    /// A batch leaves that has waited so long.
    pub(super) fn leaves(&mut self, size: usize, waited: Duration) {
        self.bytes += size as u64;
        self.batches += 1;
        self.batch_size_max = self.batch_size_max.max(size as u64);
        self.queued += waited;
        self.queued_max = self.queued_max.max(waited);
    }

    /// A response came after so long.
    pub(super) fn answered(&mut self, after: Duration) {
        self.responses += 1;
        self.latency += after;
        self.latency_max = self.latency_max.max(after);
    }
}

impl Producer {
    /// What it has done so far.
    pub fn figures(&self) -> Figures {
        self.inner.figures()
    }
}

impl Inner {
    fn figures(&self) -> Figures {
        let state = self.state.borrow();
        let counts = &state.figures;
        let mut topics: BTreeMap<Rc<str>, OfTopic> = BTreeMap::new();
        for partition in &state.partitions {
            let topic = topics.entry(Rc::clone(&partition.topic)).or_default();
            *topic = topic.plus(partition.counts);
        }
        let spent = state.transaction.as_ref().map(|it| it.spent);
        let spent = spent.unwrap_or_default();
        let memory = self.config.buffer_memory;
        Figures {
            requests: state.requests,
            responses: counts.responses,
            latency: counts.latency,
            latency_max: counts.latency_max,
            bytes: counts.bytes,
            batches: counts.batches,
            batch_size_max: counts.batch_size_max,
            queued: counts.queued,
            queued_max: counts.queued_max,
            flushing: counts.flush_time,
            transactions: [spent.initializing, spent.committing, spent.aborting],
            memory: (memory, memory.saturating_sub(state.memory_used)),
            topics,
        }
    }
}
