//! **Owns** control records: the key that says what they are, and the transaction markers.
//! **Lives on** any thread.
//! **Invariants** (1) A control batch has one record per call, no sequence, and the control flag.
//! **Not here** the values of the quorum's control records (`net::wire` encodes them; here they are bytes).
//!
//! ```text
//! key:   version i16 = 0 | type i16
//! value of an end-of-transaction marker: version i16 = 0 | coordinator epoch i32
//! ```

use super::{Batch, BatchBuilder, BatchOptions, BuildError};
use crate::types::{ProducerEpoch, ProducerId, Timestamp};

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    /// The transaction is aborted.
    Abort,
    /// The transaction is committed.
    Commit,
    /// The quorum has a new leader.
    LeaderChange,
    /// First record of a metadata snapshot.
    SnapshotHeader,
    /// Last record of a metadata snapshot.
    SnapshotFooter,
    /// The quorum's protocol version.
    KraftVersion,
    /// The quorum's voters.
    KraftVoters,
    /// A type of a later version.
    Unknown(i16),
}

impl ControlKind {
    /// The kind of Kafka's number.
    pub fn from_id(id: i16) -> Self {
        match id {
            0 => Self::Abort,
            1 => Self::Commit,
            2 => Self::LeaderChange,
            3 => Self::SnapshotHeader,
            4 => Self::SnapshotFooter,
            5 => Self::KraftVersion,
            6 => Self::KraftVoters,
            other => Self::Unknown(other),
        }
    }

    /// Kafka's number.
    pub fn id(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::LeaderChange => 2,
            Self::SnapshotHeader => 3,
            Self::SnapshotFooter => 4,
            Self::KraftVersion => 5,
            Self::KraftVoters => 6,
            Self::Unknown(id) => id,
        }
    }
}

/// The key of a control record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlKey {
    /// Version of the key's format.
    pub version: i16,
    /// What the record says.
    pub kind: ControlKind,
}

impl ControlKey {
    /// Reads a key; `None` when it is shorter than a key is. Later versions may be longer.
    pub fn decode(key: &[u8]) -> Option<Self> {
        let (version, rest) = key.split_first_chunk()?;
        let kind = ControlKind::from_id(i16::from_be_bytes(*rest.first_chunk()?));
        Some(Self {
            version: i16::from_be_bytes(*version),
            kind,
        })
    }

    /// The key's bytes.
    pub fn encode(self) -> [u8; 4] {
        let [a, b] = self.version.to_be_bytes();
        let [c, d] = self.kind.id().to_be_bytes();
        [a, b, c, d]
    }
}

/// The record that ends a transaction in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTransactionMarker {
    /// Whether it commits (else it aborts).
    pub commit: bool,
    /// Epoch of the coordinator that decided.
    pub coordinator_epoch: i32,
}

impl EndTransactionMarker {
    /// Reads a marker; `None` when the record is none.
    pub fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let commit = match ControlKey::decode(key)?.kind {
            ControlKind::Commit => true,
            ControlKind::Abort => false,
            _ => return None,
        };
        let (_version, rest) = value.split_first_chunk::<2>()?;
        let coordinator_epoch = i32::from_be_bytes(*rest.first_chunk()?);
        Some(Self {
            commit,
            coordinator_epoch,
        })
    }

    /// The value's bytes.
    pub fn value(self) -> [u8; 6] {
        let [a, b, c, d] = self.coordinator_epoch.to_be_bytes();
        [0, 0, a, b, c, d]
    }

    /// The batch that carries this marker.
    pub fn batch(
        self,
        producer: ProducerId,
        epoch: ProducerEpoch,
        now: Timestamp,
    ) -> Result<Batch, BuildError> {
        let options = BatchOptions {
            producer_id: producer,
            producer_epoch: epoch,
            transactional: true,
            ..BatchOptions::default()
        };
        let kind = if self.commit {
            ControlKind::Commit
        } else {
            ControlKind::Abort
        };
        control_batch(options, kind, &self.value(), now)
    }
}

/// A batch of one control record with `value`.
pub fn control_batch(
    options: BatchOptions,
    kind: ControlKind,
    value: &[u8],
    now: Timestamp,
) -> Result<Batch, BuildError> {
    let key = ControlKey { version: 0, kind }.encode();
    let mut builder = BatchBuilder::new(BatchOptions {
        control: true,
        ..options
    });
    builder.append(now, Some(&key), Some(value), &[])?;
    builder.finish()
}
