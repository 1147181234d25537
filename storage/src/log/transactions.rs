//! Appending inside transactions, and ending them.
//!
//! **Owns** the order of the checks that only transactional batches and markers need.
//! **Lives on** the owning shard.
//! **Invariants** 1. A refused batch or marker leaves no trace.
//! **Not here** what is known of producers (`producer`), the append itself (`append`).

use super::append::end_marker;
use super::{AppendError, Appended, Log, Origin};
use crate::batch::Batch;
use crate::producer::{self, Guard, Standing, TransactionVersion};
use crate::types::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence, Timestamp};

impl Log {
    /// What a transactional batch of `producer` needs before it may be appended: nothing, or a guard for which its
    /// coordinator must vouch.
    pub fn begin_verification(
        &mut self,
        producer: ProducerId,
        epoch: ProducerEpoch,
        sequence: Sequence,
        version: TransactionVersion,
        now: Timestamp,
    ) -> Standing {
        self.producers
            .begin_verification(producer, epoch, sequence, version, now)
    }

    /// As [`Log::append`], for a batch that must belong to an open transaction or open one under `guard`.
    // HOT: as append
    pub fn append_in_transaction(
        &mut self,
        batch: Batch,
        origin: Origin,
        guard: Guard,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        self.producers.admit_in_transaction(batch.header(), guard)?;
        self.append([batch], origin, leader_epoch, now)
    }

    /// As [`Log::append`], for a marker of a coordinator that goes by `version`.
    pub fn append_marker(
        &mut self,
        batch: Batch,
        version: TransactionVersion,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        if let Some(marker) = end_marker(&batch) {
            let origin = producer::Origin::Coordinator;
            self.producers
                .admit_marker(batch.header(), marker, version, origin)?;
        }
        self.append([batch], Origin::Coordinator, leader_epoch, now)
    }
}
