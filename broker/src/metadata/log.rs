//! Metadata records as record batches.
//!
//! **Owns** how records become batches of `__cluster_metadata-0` and how batches are replayed.
//! **Lives on** the controller's shard, or the thread that loads.
//! **Invariants**: the records of one change are one batch, so that they are stored together or not
//! at all.
//! **Not here**: the log itself (`corelog_storage::log`).

use corelog_net::wire::messages::leader_change_message::{LeaderChangeMessage, Voter};
use corelog_net::wire::{EncodeError, Message};
use corelog_storage::batch::{
    Batch, BatchBuilder, BatchError, BatchOptions, BuildError, ControlKey, ControlKind,
    InflateError, RecordFault, UncheckedBatch,
};
use corelog_storage::types::{LeaderEpoch, Offset, Timestamp};

use super::record::{MetadataRecord, RecordError};
use super::replay::{Replay, ReplayError};

/// Where a batch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Epoch of the controller.
    pub epoch: LeaderEpoch,
    /// Time of its records.
    pub now: Timestamp,
}

impl Place {
    fn options(self) -> BatchOptions {
        BatchOptions {
            base_offset: self.base_offset,
            leader_epoch: self.epoch,
            ..BatchOptions::default()
        }
    }
}

/// Why records could not become a batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchRecordsError {
    /// A record cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A control record cannot be written.
    #[error(transparent)]
    Control(#[from] EncodeError),
    /// They do not fit in a batch.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Why a batch cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayBatchError {
    /// The batch is damaged.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Its compressed records are.
    #[error(transparent)]
    Inflate(#[from] InflateError),
    /// Its record structure is.
    #[error("metadata batch at offset {offset}: {fault}")]
    Fault {
        /// The batch's first offset.
        offset: i64,
        /// What is wrong.
        fault: RecordFault,
    },
    /// A record is, or does not fit.
    #[error("metadata record at offset {offset}: {error}")]
    Record {
        /// The record's offset.
        offset: i64,
        /// What is wrong.
        error: ReplayError,
    },
    /// A record has no value.
    #[error("metadata record at offset {0} has no value")]
    NoValue(i64),
}

/// One batch of these records.
pub fn batch(
    records: &[MetadataRecord],
    metadata_version: i16,
    place: Place,
) -> Result<Batch, BatchRecordsError> {
    let mut builder = BatchBuilder::new(place.options());
    let mut value = Vec::new();
    for record in records {
        value.clear();
        record.encode(&mut value, metadata_version)?;
        builder.append(place.now, None, Some(&value), &[])?;
    }
    Ok(builder.finish()?)
}

/// The control batch with which the only controller of a quorum of one begins an epoch. `more` are
/// the control records that follow in it.
pub fn leader_change(
    node_id: i32,
    more: Vec<(ControlKind, Vec<u8>)>,
    place: Place,
) -> Result<Batch, BatchRecordsError> {
    // Version 0 also where the log names its voters: Kafka reads no other, whatever the record says.
    let voter = Voter {
        voter_id: node_id,
        ..Voter::default()
    };
    let message = LeaderChangeMessage {
        leader_id: node_id,
        voters: vec![voter.clone()],
        granting_voters: vec![voter],
        ..LeaderChangeMessage::default()
    };
    let mut records = vec![(ControlKind::LeaderChange, message.to_vec(0)?)];
    records.extend(more);
    control(&records, place)
}

/// One batch of these control records.
pub fn control(
    records: &[(ControlKind, Vec<u8>)],
    place: Place,
) -> Result<Batch, BatchRecordsError> {
    let mut builder = BatchBuilder::new(BatchOptions {
        control: true,
        ..place.options()
    });
    for (kind, value) in records {
        let key = ControlKey {
            version: 0,
            kind: *kind,
        };
        builder.append(place.now, Some(&key.encode()), Some(value), &[])?;
    }
    Ok(builder.finish()?)
}

/// Hands over the records of a batch that is not a control batch.
pub fn records(
    batch: &Batch,
    mut take: impl FnMut(MetadataRecord),
) -> Result<(), ReplayBatchError> {
    let payload = batch.open(BATCH_BYTES_MAX)?;
    for record in payload.records() {
        let offset = batch.header().base_offset.value();
        let record = record.map_err(|fault| ReplayBatchError::Fault { offset, fault })?;
        let offset = record.offset.value();
        let value = record.value.ok_or(ReplayBatchError::NoValue(offset))?;
        let record = MetadataRecord::decode(&payload.data().slice_ref(value)).map_err(|error| {
            let error = error.into();
            ReplayBatchError::Record { offset, error }
        })?;
        take(record);
    }
    Ok(())
}

impl Replay {
    /// Takes the next batch.
    pub fn batch(&mut self, batch: &Batch) -> Result<(), ReplayBatchError> {
        let control = batch.header().attributes.is_control();
        let payload = batch.open(BATCH_BYTES_MAX)?;
        for record in payload.records() {
            let first = batch.header().base_offset.value();
            let record = record.map_err(|fault| ReplayBatchError::Fault {
                offset: first,
                fault,
            })?;
            let offset = record.offset.value();
            let value = record.value.ok_or(ReplayBatchError::NoValue(offset))?;
            let value = payload.data().slice_ref(value);
            let taken = match record.key.and_then(ControlKey::decode) {
                Some(key) if control => self.control(key.kind, &value).map_err(Into::into),
                _ if control => Ok(()),
                _ => self.value(&value),
            };
            taken.map_err(|error| ReplayBatchError::Record { offset, error })?;
        }
        Ok(())
    }

    /// Takes all batches of a file's content; returns how many bytes at its end are no batch.
    pub fn batches(&mut self, mut bytes: bytes::Bytes) -> Result<usize, ReplayBatchError> {
        while let Some(batch) = UncheckedBatch::take(&mut bytes)? {
            self.batch(&batch.check()?)?;
        }
        Ok(bytes.len())
    }
}

/// Kafka's controllers write batches of at most 8 MiB; a compressed one may grow to this.
const BATCH_BYTES_MAX: usize = 64 << 20;
