//! What the partitions of a shard say about producers and their transactions.
//!
//! Owns: the questions before a transactional batch is appended, and those of `DescribeProducers`.
//! Lives on: the shard of the partitions.
//! Invariants: none.
//! Not here: the state of a producer (`corelog_storage::producer`), asking the coordinator (`handlers/transactions.rs`).

use corelog_storage::producer::{Standing, TransactionVersion};
use corelog_storage::types::{ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId};

use crate::shard::Shard;

/// A producer that wants to write in a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unverified {
    pub(crate) topic_id: TopicId,
    pub(crate) partition: i32,
    pub(crate) producer_id: ProducerId,
    pub(crate) producer_epoch: ProducerEpoch,
    /// Of its first record; none for what coordinators write.
    pub(crate) sequence: Sequence,
    pub(crate) version: TransactionVersion,
}

/// What a partition knows of a producer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownProducer {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) last_sequence: i32,
    pub(crate) last_timestamp: i64,
    pub(crate) coordinator_epoch: i32,
    /// -1: none is open.
    pub(crate) transaction_start: i64,
}

impl Shard {
    /// What each producer needs before it may write; `None`: the partition is not here.
    pub(crate) fn standings(&self, wanted: &[Unverified]) -> Vec<Option<Standing>> {
        let now = Timestamp(corelog_runtime::wall_clock());
        let standing = |one: &Unverified| {
            let partition = self.partition(one.topic_id, one.partition)?;
            Some(partition.log.borrow_mut().begin_verification(
                one.producer_id,
                one.producer_epoch,
                one.sequence,
                one.version,
                now,
            ))
        };
        wanted.iter().map(standing).collect()
    }

    /// The producers of each partition; `None`: the partition is not here.
    pub(crate) fn producers(&self, wanted: &[(TopicId, i32)]) -> Vec<Option<Vec<KnownProducer>>> {
        let producers = |&(topic_id, partition): &(TopicId, i32)| {
            let partition = self.partition(topic_id, partition)?;
            let log = partition.log.borrow();
            let known = log.producers().iter().map(|(id, state)| KnownProducer {
                producer_id: id.0,
                producer_epoch: state.epoch().0,
                last_sequence: state.last_sequence().0,
                last_timestamp: state.last_timestamp().0,
                coordinator_epoch: state.coordinator_epoch(),
                transaction_start: state.transaction().map_or(-1, |offset| offset.0),
            });
            Some(known.collect())
        };
        wanted.iter().map(producers).collect()
    }
}
