//! Rebuilding an image from a snapshot and the log after it.
//!
//! **Owns** the order of records and metadata transactions (KIP-868).
//! **Lives on** the thread that loads, before shards run.
//! **Invariants**: records of a transaction count when it ends, and never if it does not.
//! **Not here**: reading batches from files.

use std::sync::Arc;

use bytes::Bytes;
use corelog_storage::batch::ControlKind;

use super::image::{ApplyError, Image};
use super::record::{MetadataRecord, RecordError};

/// An image in the making.
#[derive(Debug, Default)]
pub struct Replay {
    image: Image,
    open: Option<Vec<MetadataRecord>>,
}

/// Why a log cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// A record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record does not fit.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// What a log left.
#[derive(Debug)]
pub struct Replayed {
    /// The image.
    pub image: Image,
    /// The log ends within a transaction: an `AbortTransaction` record must be written before
    /// anything else.
    pub open_transaction: bool,
}

impl Replay {
    /// Begins with what a snapshot holds, or with nothing.
    #[must_use]
    pub fn from(image: Image) -> Self {
        Self { image, open: None }
    }

    /// Takes the value of the next record of a batch that is not a control batch.
    pub fn value(&mut self, value: &Bytes) -> Result<(), ReplayError> {
        Ok(self.record(MetadataRecord::decode(value)?)?)
    }

    /// Takes the next record.
    pub fn record(&mut self, record: MetadataRecord) -> Result<(), ApplyError> {
        match (record, &mut self.open) {
            (MetadataRecord::BeginTransaction(_), open) => *open = Some(Vec::new()),
            (MetadataRecord::AbortTransaction(_), open) => *open = None,
            (MetadataRecord::EndTransaction(_), open) => {
                for record in open.take().unwrap_or_default() {
                    self.image.apply(&record)?;
                }
            }
            (record, Some(held)) => held.push(record),
            (record, None) => self.image.apply(&record)?,
        }
        Ok(())
    }

    /// Takes the next record of a control batch.
    pub fn control(&mut self, kind: ControlKind, value: &Bytes) -> Result<(), RecordError> {
        Arc::make_mut(&mut self.image.quorum).apply(kind, value)
    }

    /// The image so far.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The end of the log.
    #[must_use]
    pub fn finish(self) -> Replayed {
        Replayed {
            image: self.image,
            open_transaction: self.open.is_some(),
        }
    }
}
