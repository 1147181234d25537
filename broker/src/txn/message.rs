//! Owns what a coordinator is asked and what it answers, as plain owned values.
//! Lives on any shard: requests and replies cross the mesh.
//! Invariants: 1. Every [`Request`] is answered exactly once, with the [`Reply`] of its kind.
//! Not here: wire structs and versions (`handlers` translate both ways).

use std::sync::Arc;

use corelog_storage::types::TopicPartition;

use super::state::{State, Version};

pub use crate::group::Token;

/// A request about one transactional id, or (`List`) about all of one coordinator.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// `InitProducerId`
    Init(InitProducer),
    /// `AddPartitionsToTxn`, `AddOffsetsToTxn`, and what producing adds by itself
    Add(AddPartitions),
    /// Whether the partitions are in the open transaction; changes nothing
    Verify(AddPartitions),
    /// `EndTxn`
    End(EndTransaction),
    /// `DescribeTransactions`, one id of it
    Describe(String),
    /// `ListTransactions`
    List(ListTransactions),
}

/// The answer to the request of the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `InitProducerId`
    Init(Result<Initialized, TxnError>),
    /// `AddPartitionsToTxn`: one verdict for all partitions
    Add(Result<(), TxnError>),
    /// A verdict for each partition, in the order of the request
    Verify(Result<Vec<bool>, TxnError>),
    /// `EndTxn`
    End(Result<Ended, TxnError>),
    /// `DescribeTransactions`
    Describe(Result<DescribedTransaction, TxnError>),
    /// `ListTransactions`
    List(Result<Vec<ListedTransaction>, TxnError>),
    /// The same request again, please, with a producer id that was never used.
    WantsProducerId(Box<Request>),
}

/// Why a coordinator refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxnError {
    /// The partition is being read.
    #[error("the transactions are being loaded")]
    LoadInProgress,
    /// Not the coordinator of this id, or not any more.
    #[error("this is not the coordinator")]
    NotCoordinator,
    /// The record could not be stored.
    #[error("the record could not be stored")]
    NotAvailable,
    /// No producer ids are to be had.
    #[error("there is no producer id to give")]
    NoProducerId,
    /// An empty id.
    #[error("a transactional id is not empty")]
    InvalidRequest,
    /// Not positive, or above `transaction.max.timeout.ms`.
    #[error("the transaction timeout is out of range")]
    InvalidTimeout,
    /// The producer id is not that of the transactional id.
    #[error("the producer id does not belong to the transactional id")]
    InvalidProducerIdMapping,
    /// The epoch is not the current one.
    #[error("a producer with a newer epoch took over")]
    Fenced,
    /// Something about the transaction is under way; ask again.
    #[error("another change of the transaction is under way")]
    Concurrent,
    /// Not possible in this state.
    #[error("the state of the transaction does not allow this")]
    InvalidState,
    /// `DescribeTransactions` of an unknown id.
    #[error("the transactional id is not known")]
    NotFound,
}

/// A producer begins, or goes on after an error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InitProducer {
    /// Not empty.
    pub transactional_id: String,
    /// After this a transaction is aborted.
    pub timeout_ms: i32,
    /// What the producer believes to have.
    pub expected: Option<(i64, i16)>,
    /// An id never used before, when the coordinator wanted one.
    pub fresh_producer_id: Option<i64>,
}

/// What a producer goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initialized {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
}

/// Partitions of a transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AddPartitions {
    /// Whose.
    pub transactional_id: String,
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Which.
    pub partitions: Vec<TopicPartition>,
    /// The rules that the producer goes by.
    pub version: Version,
}

/// A transaction is to end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndTransaction {
    /// Whose.
    pub transactional_id: String,
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// How.
    pub commit: bool,
    /// The rules that the producer goes by.
    pub version: Version,
    /// An id never used before, when the coordinator wanted one.
    pub fresh_producer_id: Option<i64>,
}

/// What a producer goes on with after a transaction; of its own version 2 only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its id; another one when the epochs were used up.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
}

/// One transactional id, as `DescribeTransactions` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedTransaction {
    /// The state.
    pub state: State,
    /// Its timeout.
    pub timeout_ms: i32,
    /// When the transaction began, or -1.
    pub start_ms: i64,
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The partitions of the open transaction that have no marker yet.
    pub partitions: Vec<TopicPartition>,
}

/// Which transactions to list; empty and `None` mean all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListTransactions {
    /// In one of these states.
    pub states: Vec<State>,
    /// Of these producers.
    pub producer_ids: Vec<i64>,
    /// Begun longer ago than this.
    pub longer_than_ms: Option<i64>,
}

/// One transactional id, as `ListTransactions` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedTransaction {
    /// The id.
    pub transactional_id: Arc<str>,
    /// The producer.
    pub producer_id: i64,
    /// The state.
    pub state: State,
}

impl Request {
    /// The id it is about.
    pub fn transactional_id(&self) -> Option<&str> {
        match self {
            Self::Init(request) => Some(&request.transactional_id),
            Self::Add(request) | Self::Verify(request) => Some(&request.transactional_id),
            Self::End(request) => Some(&request.transactional_id),
            Self::Describe(id) => Some(id),
            Self::List(_) => None,
        }
    }

    /// The answer that says why not.
    pub fn refuse(&self, error: TxnError) -> Reply {
        match self {
            Self::Init(_) => Reply::Init(Err(error)),
            Self::Add(_) => Reply::Add(Err(error)),
            Self::Verify(_) => Reply::Verify(Err(error)),
            Self::End(_) => Reply::End(Err(error)),
            Self::Describe(_) => Reply::Describe(Err(error)),
            Self::List(_) => Reply::List(Err(error)),
        }
    }

    /// Takes a producer id for the request.
    #[must_use]
    pub fn with_producer_id(mut self, id: i64) -> Self {
        match &mut self {
            Self::Init(request) => request.fresh_producer_id = Some(id),
            Self::End(request) => request.fresh_producer_id = Some(id),
            Self::Add(_) | Self::Verify(_) | Self::Describe(_) | Self::List(_) => {}
        }
        self
    }
}
