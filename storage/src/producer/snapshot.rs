//! **Owns** the format of `.snapshot` files.
//! **Lives on** any thread.
//! **Invariants** (1) Reading and writing again gives the same bytes: entries keep the file's order.
//! **Not here** file names, and which snapshots are kept (`log`).
//!
//! ```text
//! version i16 = 1 | CRC-32C u32 of all that follows | count i32 | entries
//! entry: producer id i64 | epoch i16 | last sequence i32 | last offset i64 | offset delta i32 | timestamp i64
//!        | coordinator epoch i32 | first offset of the open transaction i64 (-1: none)                 46 bytes
//! ```

use bytes::Buf;
use smallvec::SmallVec;

use super::{CachedBatch, ProducerState};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// The contents of a `.snapshot` file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The producers, in the order of the file.
    pub entries: Vec<SnapshotEntry>,
}

/// One producer in a snapshot: of its batches only the last is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// Whose state this is.
    pub producer: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// Sequence of its last record, or none.
    pub last_sequence: Sequence,
    /// Offset of its last record, or none.
    pub last_offset: Offset,
    /// Last offset of its last batch less the first.
    pub offset_delta: i32,
    /// Time of its last batch or marker.
    pub timestamp: Timestamp,
    /// Epoch of the coordinator that wrote its last marker, or -1.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction, or none.
    pub transaction: Offset,
}

/// Why a snapshot cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Shorter than its head, or than its count says.
    #[error("the snapshot is {size} bytes long, its {count} entries need {expected}")]
    Size {
        /// Bytes there are.
        size: usize,
        /// Entries that it claims.
        count: i32,
        /// Bytes that they need.
        expected: usize,
    },
    /// A version that is not 1.
    #[error("the snapshot has version {0}, expected 1")]
    Version(i16),
    /// The CRC does not match.
    #[error("the snapshot has CRC {stored:#010x}, its bytes give {computed:#010x}")]
    Crc {
        /// The file's.
        stored: u32,
        /// Of its bytes.
        computed: u32,
    },
}

impl Snapshot {
    /// Reads a file's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let size = bytes.len();
        let short = SnapshotError::Size {
            size,
            count: 0,
            expected: HEAD_SIZE,
        };
        let mut rest = bytes;
        let version = rest.try_get_i16().map_err(|_| short)?;
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let stored = rest.try_get_u32().map_err(|_| short)?;
        let computed = crc32c::crc32c(rest);
        if stored != computed {
            return Err(SnapshotError::Crc { stored, computed });
        }
        let count = rest.try_get_i32().map_err(|_| short)?;
        let expected = usize::try_from(count)
            .unwrap_or(0)
            .saturating_mul(ENTRY_SIZE)
            .saturating_add(HEAD_SIZE);
        if count < 0 || size != expected {
            return Err(SnapshotError::Size {
                size,
                count,
                expected,
            });
        }
        let mut entries = Vec::with_capacity(rest.len() / ENTRY_SIZE);
        while rest.has_remaining() {
            entries.push(SnapshotEntry {
                producer: ProducerId(rest.get_i64()),
                epoch: ProducerEpoch(rest.get_i16()),
                last_sequence: Sequence(rest.get_i32()),
                last_offset: Offset(rest.get_i64()),
                offset_delta: rest.get_i32(),
                timestamp: Timestamp(rest.get_i64()),
                coordinator_epoch: rest.get_i32(),
                transaction: Offset(rest.get_i64()),
            });
        }
        Ok(Self { entries })
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_SIZE + self.entries.len() * ENTRY_SIZE);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let count =
            i32::try_from(self.entries.len()).expect("a partition has fewer than 2^31 producers");
        bytes.extend_from_slice(&count.to_be_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.producer.0.to_be_bytes());
            bytes.extend_from_slice(&entry.epoch.0.to_be_bytes());
            bytes.extend_from_slice(&entry.last_sequence.0.to_be_bytes());
            bytes.extend_from_slice(&entry.last_offset.0.to_be_bytes());
            bytes.extend_from_slice(&entry.offset_delta.to_be_bytes());
            bytes.extend_from_slice(&entry.timestamp.0.to_be_bytes());
            bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
            bytes.extend_from_slice(&entry.transaction.0.to_be_bytes());
        }
        let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        bytes[2..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}

impl SnapshotEntry {
    pub(super) fn of(producer: ProducerId, state: &ProducerState) -> Self {
        let last = state.batches.last();
        Self {
            producer,
            epoch: state.epoch,
            last_sequence: state.last_sequence(),
            last_offset: last.map_or(Offset::NONE, |batch| batch.last_offset),
            offset_delta: last.map_or(0, |batch| batch.offset_delta),
            timestamp: state.last_timestamp,
            coordinator_epoch: state.coordinator_epoch,
            transaction: state.transaction.unwrap_or(Offset::NONE),
        }
    }

    pub(super) fn state(&self) -> ProducerState {
        let batches =
            if self.last_offset.is_some() && self.offset_delta >= 0 && self.last_sequence.is_some()
            {
                SmallVec::from_slice(&[CachedBatch {
                    last_sequence: self.last_sequence,
                    last_offset: self.last_offset,
                    offset_delta: self.offset_delta,
                    timestamp: self.timestamp,
                }])
            } else {
                SmallVec::new()
            };
        ProducerState {
            epoch: self.epoch,
            coordinator_epoch: self.coordinator_epoch,
            last_timestamp: self.timestamp,
            transaction: self.transaction.is_some().then_some(self.transaction),
            batches,
        }
    }
}

const VERSION: i16 = 1;
const CRC_FROM: usize = 6;
const HEAD_SIZE: usize = 10;
const ENTRY_SIZE: usize = 46;

#[cfg(test)]
mod tests;
