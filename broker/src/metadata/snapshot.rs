//! Snapshots of the image: `OFFSET-EPOCH.checkpoint` beside the metadata log.
//!
//! **Owns** the order of a snapshot's records, the file's name and its bytes.
//! **Lives on** the controller's shard or a companion: the work is plain computation.
//! **Invariants**: 1. reading what was written gives an equal image; 2. the bytes end with a footer,
//! so a cut file is recognized.
//! **Not here**: files; when to write one (`shard/snapshots.rs`).
//!
//! ```text
//! control batch: SnapshotHeader | batches of records, offsets from 1 | control batch: SnapshotFooter
//! ```

pub mod retention;

use std::fmt;

use bytes::Bytes;
use corelog_net::wire::messages::snapshot_footer_record::SnapshotFooterRecord;
use corelog_net::wire::messages::snapshot_header_record::SnapshotHeaderRecord;
use corelog_net::wire::records::client_quota::EntityData;
use corelog_net::wire::records::{
    ClientQuotaRecord, ConfigRecord, FeatureLevelRecord, TopicRecord,
};
use corelog_net::wire::{Budget, Decoder, Message};
use corelog_storage::batch::{Batch, ControlKey, ControlKind, UncheckedBatch};
use corelog_storage::types::{LeaderEpoch, Offset, Timestamp};

use super::features::METADATA_VERSION_NAME;
use super::image::Image;
use super::log::{self, BatchRecordsError, Place, ReplayBatchError};
use super::quorum::Quorum;
use super::record::MetadataRecord;
use super::replay::Replay;

/// Which records a snapshot holds: all below `end_offset`, the last of them of `epoch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    /// The first offset that is not in it.
    pub end_offset: i64,
    /// Epoch of the last record in it.
    pub epoch: i32,
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:010}", self.end_offset, self.epoch)
    }
}

impl SnapshotId {
    /// The file's name.
    #[must_use]
    pub fn file_name(self) -> String {
        format!("{self}.checkpoint")
    }

    /// Reads a file's name; `None` when it is not one of a finished snapshot.
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (end_offset, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if end_offset.len() != 20 || epoch.len() != 10 || !digits(end_offset) || !digits(epoch) {
            return None;
        }
        Some(Self {
            end_offset: end_offset.parse().ok()?,
            epoch: epoch.parse().ok()?,
        })
    }
}

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A batch or record is damaged.
    #[error(transparent)]
    Replay(#[from] ReplayBatchError),
    /// The first batch is not a header.
    #[error("the snapshot does not begin with a header")]
    NoHeader,
    /// The last batch is not a footer.
    #[error("the snapshot is cut: it does not end with a footer")]
    NoFooter,
}

/// The bytes of a snapshot file of `records`, all of them at or below `last_timestamp`.
pub fn write(
    records: &[MetadataRecord],
    quorum: &Quorum,
    metadata_version: i16,
    epoch: LeaderEpoch,
    last_timestamp: Timestamp,
    now: Timestamp,
) -> Result<Vec<u8>, BatchRecordsError> {
    let mut out = Vec::new();
    let mut place = Place {
        base_offset: Offset::ZERO,
        epoch,
        now,
    };
    let mut put = |batch: Batch| {
        out.extend_from_slice(&batch.to_bytes());
        batch.header().next_offset()
    };
    let header = SnapshotHeaderRecord {
        last_contained_log_timestamp: last_timestamp.0,
        ..SnapshotHeaderRecord::default()
    };
    let mut first = vec![(ControlKind::SnapshotHeader, header.to_vec(0)?)];
    first.extend(quorum.to_records()?);
    place.base_offset = put(log::control(&first, place)?);
    for chunk in records.chunks(RECORDS_PER_BATCH) {
        place.base_offset = put(log::batch(chunk, metadata_version, place)?);
    }
    let footer = SnapshotFooterRecord::default().to_vec(0)?;
    put(log::control(
        &[(ControlKind::SnapshotFooter, footer)],
        place,
    )?);
    Ok(out)
}

/// The image a snapshot file holds.
pub fn read(bytes: Bytes, id: SnapshotId) -> Result<Image, SnapshotError> {
    let mut replay = Replay::default();
    each_batch(bytes, |batch| replay.batch(batch))?;
    let mut image = replay.finish().image;
    image.set_at(id);
    Ok(image)
}

/// When the last record that a snapshot holds was written, by the beginning of its file; `None`
/// when that is no header.
#[must_use]
pub fn last_timestamp(beginning: Bytes) -> Option<Timestamp> {
    let mut rest = beginning;
    let batch = UncheckedBatch::take(&mut rest).ok()??.check().ok()?;
    let payload = batch.open(CONTROL_BYTES_MAX).ok()?;
    let record = payload.records().next()?.ok()?;
    if ControlKey::decode(record.key?)?.kind != ControlKind::SnapshotHeader {
        return None;
    }
    let value = payload.data().slice_ref(record.value?);
    let mut budget = Budget::for_frame(value.len());
    let header = SnapshotHeaderRecord::decode(&mut Decoder::new(&value, &mut budget), 0).ok()?;
    Some(Timestamp(header.last_contained_log_timestamp))
}

/// The records of a `bootstrap.checkpoint`: what `format` decided for the first start.
pub fn bootstrap_records(bytes: Bytes) -> Result<Vec<MetadataRecord>, SnapshotError> {
    let mut out = Vec::new();
    each_batch(bytes, |batch| {
        if batch.header().attributes.is_control() {
            return Ok(());
        }
        log::records(batch, |record| out.push(record))
    })?;
    Ok(out)
}

/// Hands over the batches of a whole file, first its header, last its footer.
fn each_batch(
    bytes: Bytes,
    mut take: impl FnMut(&Batch) -> Result<(), ReplayBatchError>,
) -> Result<(), SnapshotError> {
    let mut rest = bytes;
    let (mut first, mut last) = (true, None);
    while let Some(batch) = UncheckedBatch::take(&mut rest).map_err(ReplayBatchError::from)? {
        let batch = batch.check().map_err(ReplayBatchError::from)?;
        let kind = control_kind(&batch)?;
        if first && kind != Some(ControlKind::SnapshotHeader) {
            return Err(SnapshotError::NoHeader);
        }
        first = false;
        last = kind;
        take(&batch)?;
    }
    if last != Some(ControlKind::SnapshotFooter) || !rest.is_empty() {
        return Err(SnapshotError::NoFooter);
    }
    Ok(())
}

/// What the first record of a control batch says; `None` for other batches.
fn control_kind(batch: &Batch) -> Result<Option<ControlKind>, ReplayBatchError> {
    if !batch.header().attributes.is_control() {
        return Ok(None);
    }
    let payload = batch.open(CONTROL_BYTES_MAX)?;
    let first = payload.records().next();
    let key = first.and_then(Result::ok).and_then(|record| record.key);
    Ok(key.and_then(ControlKey::decode).map(|key| key.kind))
}

impl Image {
    /// The bytes of the snapshot file [`Image::at`] names. `last_timestamp` is when the last record in
    /// the image was written.
    pub fn to_snapshot(
        &self,
        last_timestamp: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<u8>, BatchRecordsError> {
        write(
            &self.to_records(),
            &self.quorum,
            self.metadata_version(),
            LeaderEpoch(self.at.epoch),
            last_timestamp,
            now,
        )
    }

    /// The records of a snapshot: applied to an empty image they give this one.
    #[must_use]
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let mut out: Vec<MetadataRecord> = Vec::new();
        self.feature_records(&mut out);
        out.extend(
            self.brokers
                .values()
                .map(|broker| broker.registration.clone().into()),
        );
        out.extend(
            self.controllers
                .values()
                .map(|record| record.clone().into()),
        );
        for topic in self.topics_sorted() {
            out.push(topic_record(&topic.name, topic.id).into());
            let partition = |(index, partition): (i32, &std::sync::Arc<super::PartitionImage>)| {
                partition.to_record(topic.id, index).into()
            };
            out.extend(topic.numbered().map(partition));
        }
        for (resource, values) in self.configs.sorted() {
            out.extend(values.iter().map(|(name, value)| {
                ConfigRecord {
                    resource_type: resource.kind,
                    resource_name: resource.name.to_string(),
                    name: name.clone(),
                    value: Some(value.clone()),
                    ..ConfigRecord::default()
                }
                .into()
            }));
        }
        self.quota_records(&mut out);
        out.extend(
            self.producer_ids
                .iter()
                .map(|record| record.as_ref().clone().into()),
        );
        out.extend(self.acls.values().map(|record| record.clone().into()));
        out.extend(self.scram.values().map(|record| record.clone().into()));
        out.extend(self.tokens.values().map(|record| record.clone().into()));
        out.extend(
            self.zk_migration
                .iter()
                .map(|record| record.as_ref().clone().into()),
        );
        out
    }

    /// `metadata.version` first: it says how the rest is to be read.
    fn feature_records(&self, out: &mut Vec<MetadataRecord>) {
        let first = |name: &String| name != METADATA_VERSION_NAME;
        let mut features: Vec<_> = self.features.iter().collect();
        features.sort_by_key(|(name, _)| (first(name), (*name).clone()));
        out.extend(features.into_iter().map(|(name, level)| {
            FeatureLevelRecord {
                name: name.clone(),
                feature_level: *level,
                ..FeatureLevelRecord::default()
            }
            .into()
        }));
    }

    fn quota_records(&self, out: &mut Vec<MetadataRecord>) {
        out.extend(self.quotas.iter().map(|((entity, key), value)| {
            let part = |(entity_type, entity_name): &(String, Option<String>)| EntityData {
                entity_type: entity_type.clone(),
                entity_name: entity_name.clone(),
                ..EntityData::default()
            };
            ClientQuotaRecord {
                entity: entity.iter().map(part).collect(),
                key: key.clone(),
                value: *value,
                remove: false,
                ..ClientQuotaRecord::default()
            }
            .into()
        }));
    }
}

fn topic_record(name: &str, topic_id: corelog_net::wire::Uuid) -> TopicRecord {
    TopicRecord {
        name: name.to_owned(),
        topic_id,
        ..TopicRecord::default()
    }
}

const RECORDS_PER_BATCH: usize = 1024;
const CONTROL_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;
