//! The transaction coordinator: producer ids, epochs and open transactions, one [`Coordinator`] per partition of
//! `__transaction_state`.
//!
//! Owns every transactional id that hashes to its partition.
//! Lives on the shard that owns the partition.
//! Invariants:
//! 1. Every request is answered exactly once.
//! 2. A change counts when its record is stored; until then the transactional id answers `CONCURRENT_TRANSACTIONS`.
//! 3. A transaction whose end is stored gets that end's marker in every partition it touched, also over restarts.
//! 4. The epoch of a producer never goes back; who knows an older one is fenced.
//!
//! Not here: input and output, clocks, wire structs (`handlers`), what a marker does to a partition (`corelog_storage`).

use std::sync::Arc;

use bytes::Bytes;
use corelog_storage::types::TopicPartition;

mod coordinator;
mod log;
mod message;
mod state;
#[cfg(test)]
mod tests;

pub use coordinator::Coordinator;
pub use message::{
    AddPartitions, DescribedTransaction, EndTransaction, Ended, InitProducer, Initialized,
    ListTransactions, ListedTransaction, Reply, Request, Token, TxnError,
};
pub use state::{State, Version};

pub use crate::group::{AppendError, Now, Ticket, partition_for};

/// The topic whose partitions keep transactions.
pub const TRANSACTION_TOPIC: &str = "__transaction_state";

/// What happens to a coordinator.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody asks; the reply carries the same token.
    Request {
        /// Who waits.
        token: Token,
        /// What is asked.
        request: Request,
    },
    /// Time passed; due no later than [`Coordinator::next_deadline`].
    Tick,
    /// Every append up to and including this one is stored.
    Appended(Ticket),
    /// This append and all later ones were refused; their changes never were.
    AppendFailed {
        /// The first that failed.
        from: Ticket,
        /// Why.
        error: AppendError,
    },
    /// What came of [`Markers`].
    Marked {
        /// Whose.
        transactional_id: Arc<str>,
        /// The attempt, as it was named there.
        attempt: u64,
        /// Of each partition.
        verdicts: Vec<(TopicPartition, Verdict)>,
    },
}

/// What came of the marker for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is stored.
    Written,
    /// The partition does not exist any more: nobody will miss it.
    Gone,
    /// The partition has seen a newer epoch of the producer or the coordinator: this transaction is over there.
    Fenced,
    /// Not now.
    Later,
}

/// What the shell must do after a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Records for the partition, to be handed to its log before the next step of this coordinator.
    pub append: Option<Append>,
    /// Answers to release now.
    pub replies: Vec<(Token, Reply)>,
    /// Markers to write, in any order, also beside the append: what they stand for is stored.
    pub markers: Vec<Markers>,
}

/// Records to append in this order.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    /// To be named in [`Event::Appended`] or [`Event::AppendFailed`].
    pub ticket: Ticket,
    /// Never empty.
    pub records: Vec<Record>,
}

/// One record of `__transaction_state`.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Kafka's versioned key.
    pub key: Bytes,
    /// Kafka's versioned value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
}

/// The end of a transaction, to be written into each of its partitions.
#[derive(Clone, Debug, PartialEq)]
pub struct Markers {
    /// Whose.
    pub transactional_id: Arc<str>,
    /// To be named in [`Event::Marked`].
    pub attempt: u64,
    /// How many attempts were made for this transaction, with this one.
    pub tries: u32,
    /// The producer.
    pub producer_id: i64,
    /// The epoch of the marker.
    pub producer_epoch: i16,
    /// How it ends.
    pub commit: bool,
    /// Which rules it followed.
    pub version: Version,
    /// Where.
    pub partitions: Vec<TopicPartition>,
}

/// What `server.properties` and the metadata say about transactions. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnSettings {
    /// `transaction.max.timeout.ms`
    pub timeout_ms_max: i32,
    /// `transactional.id.expiration.ms`
    pub id_expiration_ms: i64,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`
    pub abort_interval_ms: u64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    pub expiry_interval_ms: u64,
    /// How long to wait before markers are sent again; twice as long after each attempt that leaves some missing…
    pub marker_retry_ms: u64,
    /// …but never longer than this.
    pub marker_retry_ms_max: u64,
}

impl Default for TxnSettings {
    fn default() -> Self {
        Self {
            timeout_ms_max: 900_000,
            id_expiration_ms: 604_800_000,
            abort_interval_ms: 10_000,
            expiry_interval_ms: 3_600_000,
            marker_retry_ms: 100,
            marker_retry_ms_max: 5_000,
        }
    }
}

/// Why a record of the partition could not be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The key is of a known version but does not decode.
    #[error("the key does not decode")]
    Key,
    /// The value is of a known version but does not decode, or says what cannot be.
    #[error("the value does not decode")]
    Value,
}
