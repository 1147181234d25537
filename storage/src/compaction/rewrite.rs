//! What of a batch stays, and the segment that is written of it.
//!
//! **Owns** the rules for records, tombstones, markers and empty batches; the files `.cleaned`.
//! **Lives on** the companion, inside a cleaning.
//! **Invariants** 1. A batch that loses nothing is copied byte for byte. 2. One that loses records keeps its base offset,
//! last offset, sequence, epoch and codec. 3. A [`Cleaned`] segment is on the disk whole before anyone hears of it.
//! **Not here** its way into the log (`log::swap`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::key_map::KeyMap;
use super::transactions::{Marker, Transactions, control_kind};
use super::{LastRecord, LastRecords, Slice, Source, cleaned_name, snapshot_at};
use crate::batch::{Batch, BatchBuilder, BatchOptions, Header, Record};
use crate::disk::{DiskError, File, LogDir, Mode};
use crate::index::{IndexEntry, TimeEntry};
use crate::limits::INFLATED_BYTES_MAX;
use crate::log::LogSettings;
use crate::producer::{AbortedTransaction, Snapshot};
use crate::segment::name::Content;
use crate::types::{Offset, ProducerId, Timestamp};

/// A segment that is to take the place of others. Its files are on the disk, named `.cleaned`.
#[derive(Debug)]
pub struct Cleaned {
    pub(crate) base: Offset,
    /// Base and size of each segment it was made of, oldest first.
    pub(crate) sources: Vec<(Offset, u64)>,
    /// The base of the segment behind the last of them.
    pub(crate) next: Offset,
    pub(crate) generation: u64,
    pub(crate) size: u64,
    pub(crate) max_timestamp: Timestamp,
    pub(crate) max_timestamp_offset: Offset,
    pub(crate) modified: Timestamp,
    pub(crate) index_entries: u32,
    pub(crate) time_entries: u32,
    pub(crate) aborted: u32,
    /// Whether there is a `.txnindex.cleaned`: always when one of the originals has an aborted index.
    pub(crate) has_txn_index: bool,
    /// What the producer snapshot at the base is to say from now on, when transactions that it calls open have lost
    /// their markers.
    pub(crate) snapshot: Option<Bytes>,
    changed: bool,
}

impl Cleaned {
    /// Bytes of its `.log`.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// It is one segment, byte for byte as it was.
    pub(super) fn is_unchanged(&self) -> bool {
        !self.changed && self.sources.len() == 1
    }

    /// The files it consists of.
    pub(crate) fn contents(&self) -> impl Iterator<Item = Content> {
        // ORDER: the log last, so that where it is, the others are.
        let txn = self.has_txn_index.then_some(Content::TxnIndex);
        [Content::Index, Content::TimeIndex]
            .into_iter()
            .chain(txn)
            .chain([Content::Log])
    }
}

/// What stays of a batch.
#[derive(Debug)]
pub(super) enum Kept {
    Nothing,
    /// All of it: this many records.
    Whole(i32),
    Changed(Box<Batch>),
}

impl Kept {
    /// No record of it stays.
    fn says_nothing(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Whole(count) => *count == 0,
            Self::Changed(batch) => batch.header().record_count == 0,
        }
    }
}

/// What decides whether a record stays.
pub(super) struct Filter<'a> {
    pub map: &'a KeyMap,
    /// The map knows the offsets below.
    pub mapped_to: Offset,
    pub now: Timestamp,
    pub delete_retention_ms: i64,
    pub producers: &'a BTreeMap<ProducerId, LastRecords>,
    /// The end of the whole dirty part: the batch in front of it stays, if only empty, so that the end is remembered.
    pub upper: Offset,
}

impl Filter<'_> {
    /// Whether a record stays in a batch that is neither aborted nor control.
    fn keeps(&self, record: &Record<'_>, horizon: Option<Timestamp>) -> bool {
        if record.offset >= self.mapped_to {
            return true;
        }
        let Some(key) = record.key else {
            return false;
        };
        let is_last = self.map.get(key).is_none_or(|last| record.offset >= last);
        is_last && (record.value.is_some() || horizon.is_none_or(|horizon| self.now < horizon))
    }

    /// Whether the batch says where its producer was, and so stays even without records.
    fn is_last_of_producer(&self, header: &Header) -> bool {
        let records = self.producers.get(&header.producer_id);
        let records = records.filter(|_| header.has_producer());
        records.is_some_and(|records| {
            records.last.is(header) || records.at_end.is_some_and(|last| last.is(header))
        })
    }
}

impl LastRecord {
    /// Whether this batch tells it. Where no data batch does, it is a marker.
    fn is(&self, header: &Header) -> bool {
        if self.offset.is_some() {
            header.last_offset() == self.offset
        } else {
            header.attributes.is_control() && header.producer_epoch == self.epoch
        }
    }
}

/// Writes one `.cleaned` segment.
pub(super) struct Writer {
    dir: LogDir,
    folder: Arc<str>,
    settings: Arc<LogSettings>,
    base: Offset,
    log: File,
    /// Bytes written and pending.
    size: u64,
    pending: Vec<Bytes>,
    pending_size: u64,
    /// What is written and not synced.
    unsynced: Range<u64>,
    index: Vec<IndexEntry>,
    times: Vec<TimeEntry>,
    last_index_position: u64,
    max_timestamp: Timestamp,
    max_timestamp_offset: Offset,
    aborted: Vec<AbortedTransaction>,
    /// Producers as they were at the base, as far as a snapshot tells.
    snapshot: Snapshot,
    /// Of these it says that a transaction is open, and no marker was met yet.
    open: BTreeSet<ProducerId>,
    /// Of these the marker that ended it goes: a recovery from the snapshot would hold it open for ever.
    ended: BTreeSet<ProducerId>,
    changed: bool,
    builder: BatchBuilder,
    keep: Vec<bool>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("base", &self.base)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn create(
        dir: &LogDir,
        folder: &Arc<str>,
        base: Offset,
        settings: &Arc<LogSettings>,
    ) -> Result<Self, DiskError> {
        let name = cleaned_name(folder, base, Content::Log);
        let snapshot = snapshot_at(dir, folder, base)?;
        let open = snapshot.entries.iter();
        let open = open.filter(|entry| entry.transaction.is_some());
        let open = open.map(|entry| entry.producer).collect();
        Ok(Self {
            log: dir.open_file(&name, Mode::Replace)?,
            dir: dir.clone(),
            folder: folder.clone(),
            settings: settings.clone(),
            base,
            size: 0,
            pending: Vec::new(),
            pending_size: 0,
            unsynced: 0..0,
            index: Vec::new(),
            times: Vec::new(),
            last_index_position: 0,
            max_timestamp: Timestamp::NONE,
            max_timestamp_offset: Offset::NONE,
            aborted: Vec::new(),
            snapshot,
            open,
            ended: BTreeSet::new(),
            changed: false,
            builder: BatchBuilder::new(BatchOptions::default()),
            keep: Vec::new(),
        })
    }

    /// What of the batch stays.
    pub(super) fn filter(
        &mut self,
        filter: &Filter<'_>,
        transactions: &mut Transactions,
        batch: &Batch,
    ) -> Result<Kept, String> {
        let kept = self.sift(filter, transactions, batch)?;
        let header = batch.header();
        if header.attributes.is_control()
            && self.open.remove(&header.producer_id)
            && kept.says_nothing()
        {
            self.ended.insert(header.producer_id);
        }
        Ok(kept)
    }

    fn sift(
        &mut self,
        filter: &Filter<'_>,
        transactions: &mut Transactions,
        batch: &Batch,
    ) -> Result<Kept, String> {
        let header = batch.header();
        let (producer, last) = (header.producer_id, header.last_offset());
        let control = header.attributes.is_control();
        let is_spent = if control {
            match transactions.marker(producer, last, control_kind(batch, INFLATED_BYTES_MAX)?) {
                Marker::Empty => true,
                Marker::Needed => false,
                Marker::Aborts(entry) => {
                    self.aborted.push(entry);
                    false
                }
            }
        } else {
            transactions.data(producer, header.attributes.is_transactional(), last)
        };
        let horizon = header
            .attributes
            .has_delete_horizon()
            .then_some(header.base_timestamp);
        let drop_all =
            is_spent && (!control || horizon.is_some_and(|horizon| horizon <= filter.now));
        let keep_empty = filter.is_last_of_producer(header) || header.next_offset() == filter.upper;
        if header.record_count == 0 || (drop_all && !keep_empty) {
            return Ok(if keep_empty && header.record_count == 0 {
                Kept::Whole(0)
            } else {
                Kept::Nothing
            });
        }
        let payload = batch
            .open(INFLATED_BYTES_MAX)
            .map_err(|error| error.to_string())?;
        self.keep.clear();
        let (mut kept, mut tombstones) = (0, false);
        for record in payload.records() {
            let record = record.map_err(|fault| fault.to_string())?;
            let keep = !drop_all && (control || filter.keeps(&record, horizon));
            self.keep.push(keep);
            if keep {
                kept += 1;
                tombstones |= record.value.is_none();
            }
        }
        // The horizon is set by the first cleaning that meets what it is for.
        let sets_horizon = (tombstones || (control && is_spent)) && horizon.is_none();
        if kept == header.record_count && !sets_horizon {
            return Ok(Kept::Whole(kept));
        }
        if kept == 0 && !keep_empty {
            return Ok(Kept::Nothing);
        }
        let horizon = if kept == 0 {
            None
        } else if sets_horizon {
            Some(Timestamp(
                filter.now.0.saturating_add(filter.delete_retention_ms),
            ))
        } else {
            horizon
        };
        self.rebuild(header, &payload, horizon)
            .map(|batch| Kept::Changed(Box::new(batch)))
    }

    fn rebuild(
        &mut self,
        header: &Header,
        payload: &crate::batch::Payload,
        delete_horizon: Option<Timestamp>,
    ) -> Result<Batch, String> {
        let attributes = header.attributes;
        let codec = attributes
            .codec()
            .ok_or_else(|| format!("compression code {} is unknown", attributes.codec_id()))?;
        self.builder.reset(BatchOptions {
            base_offset: header.base_offset,
            leader_epoch: header.leader_epoch,
            compression: codec.into(),
            timestamp_type: attributes.timestamp_type(),
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            transactional: attributes.is_transactional(),
            control: attributes.is_control(),
            delete_horizon,
        });
        for (record, keep) in payload.records().zip(&self.keep) {
            let record = record.map_err(|fault| fault.to_string())?;
            if !keep {
                continue;
            }
            let headers: SmallVec<[_; 4]> = record.headers.clone().collect();
            let delta = record.offset.since(header.base_offset);
            let delta = i32::try_from(delta).map_err(|error| error.to_string())?;
            self.builder
                .append_at(delta, record.timestamp, record.key, record.value, &headers)
                .map_err(|error| error.to_string())?;
        }
        self.builder
            .stand_for(header.last_offset_delta, header.max_timestamp);
        let batch = self.builder.finish().map_err(|error| error.to_string())?;
        if batch.header().last_offset_delta == header.last_offset_delta {
            Ok(batch)
        } else {
            Err(format!(
                "a record behind the last offset {}",
                header.last_offset()
            ))
        }
    }

    /// Takes what stays of a batch.
    pub(super) fn push(
        &mut self,
        kept: Kept,
        original: &Batch,
        slice: &mut Slice,
    ) -> Result<(), DiskError> {
        let (header, bytes) = match kept {
            Kept::Nothing => {
                self.changed = true;
                return Ok(());
            }
            Kept::Changed(batch) if self.size + batch.size() as u64 <= SIZE_MAX => {
                self.changed = true;
                (*batch.header(), batch.to_bytes())
            }
            // A horizon makes a batch a few bytes longer. Where they do not fit, it is left for a later cleaning.
            Kept::Changed(_) | Kept::Whole(_) => (*original.header(), original.to_bytes()),
        };
        self.note(&header);
        self.size += bytes.len() as u64;
        self.pending_size += bytes.len() as u64;
        self.pending.push(bytes);
        if self.pending_size >= WRITE_SIZE {
            self.flush(slice)?;
        }
        Ok(())
    }

    /// An index entry when more than the interval lies behind the last, as in any other segment.
    fn note(&mut self, header: &Header) {
        let relative = |offset: Offset| u32::try_from(offset.since(self.base)).unwrap_or(u32::MAX);
        if header.max_timestamp > self.max_timestamp {
            self.max_timestamp = header.max_timestamp;
            self.max_timestamp_offset = header.last_offset();
        }
        let interval = u64::from(self.settings.index_interval_bytes);
        if self.size - self.last_index_position > interval {
            self.index.push(IndexEntry {
                relative_offset: relative(header.last_offset()),
                position: u32::try_from(self.size).unwrap_or(u32::MAX),
            });
            self.last_index_position = self.size;
            self.note_time();
        }
    }

    fn note_time(&mut self) {
        let last = self.times.last();
        if self.max_timestamp > last.map_or(Timestamp::NONE, |entry| entry.timestamp) {
            let relative = self.max_timestamp_offset.since(self.base);
            self.times.push(TimeEntry {
                timestamp: self.max_timestamp,
                relative_offset: u32::try_from(relative).unwrap_or(u32::MAX),
            });
        }
    }

    fn flush(&mut self, slice: &mut Slice) -> Result<(), DiskError> {
        if !self.pending.is_empty() {
            let position = self.size - self.pending_size;
            self.log.write_at(&self.pending, position)?;
            self.pending.clear();
            self.pending_size = 0;
            slice.bytes += self.size - position;
            self.unsynced.end = self.size;
        }
        if self.unsynced.end - self.unsynced.start >= SYNC_SIZE {
            self.sync(slice)?;
        }
        Ok(())
    }

    /// In small portions: a gigabyte of unwritten pages at once would hold up everybody else's syncs.
    fn sync(&mut self, slice: &mut Slice) -> Result<(), DiskError> {
        self.log.sync_data()?;
        slice.spent.push((self.log.clone(), self.unsynced.clone()));
        self.unsynced.start = self.unsynced.end;
        Ok(())
    }

    /// Completes the files and brings them to the disk.
    pub(super) fn finish(
        mut self,
        sources: &[Source],
        generation: u64,
        slice: &mut Slice,
    ) -> Result<Cleaned, DiskError> {
        self.flush(slice)?;
        self.sync(slice)?;
        self.note_time();
        let index: Vec<u8> = self.index.iter().flat_map(|entry| entry.encode()).collect();
        let times: Vec<u8> = self.times.iter().flat_map(|entry| entry.encode()).collect();
        let aborted: Vec<u8> = self
            .aborted
            .iter()
            .flat_map(AbortedTransaction::encode)
            .collect();
        let has_txn_index = !aborted.is_empty() || sources.iter().any(|s| s.aborted > 0);
        self.write(Content::Index, index)?;
        self.write(Content::TimeIndex, times)?;
        if has_txn_index {
            self.write(Content::TxnIndex, aborted)?;
        }
        self.dir.sync_dir(&self.folder)?;
        let last = sources.last();
        Ok(Cleaned {
            base: self.base,
            sources: sources.iter().map(|s| (s.base, s.size)).collect(),
            next: last.map_or(self.base, |source| source.next),
            generation,
            size: self.size,
            max_timestamp: self.max_timestamp,
            max_timestamp_offset: self.max_timestamp_offset,
            modified: last.map_or(Timestamp::NONE, |source| source.modified),
            index_entries: count(self.index.len()),
            time_entries: count(self.times.len()),
            aborted: count(self.aborted.len()),
            has_txn_index,
            snapshot: self.snapshot_without_ended(),
            changed: self.changed,
        })
    }

    fn snapshot_without_ended(&mut self) -> Option<Bytes> {
        if self.ended.is_empty() {
            return None;
        }
        for entry in &mut self.snapshot.entries {
            if self.ended.contains(&entry.producer) {
                entry.transaction = Offset::NONE;
            }
        }
        Some(self.snapshot.encode().into())
    }

    fn write(&self, content: Content, bytes: Vec<u8>) -> Result<(), DiskError> {
        let name = cleaned_name(&self.folder, self.base, content);
        let file = self.dir.open_file(&name, Mode::Replace)?;
        file.write_at(&[Bytes::from(bytes)], 0)?;
        file.sync_data()
    }
}

pub(super) fn remove(dir: &LogDir, folder: &str, base: Offset) -> Result<(), DiskError> {
    for content in [
        Content::Log,
        Content::Index,
        Content::TimeIndex,
        Content::TxnIndex,
    ] {
        dir.remove_file(&cleaned_name(folder, base, content))?;
    }
    Ok(())
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Positions are kept as 31 bits.
const SIZE_MAX: u64 = i32::MAX as u64;
/// Bytes collected for one write.
const WRITE_SIZE: u64 = 512 << 10;
/// Bytes written before they are synced. A journal's commit waits for the data of every file it names, and a producer's sync
/// for the commit: with 8 MiB its p99 beside a cleaning was 2 to 8 times that without, with 1 MiB 1.2 times.
const SYNC_SIZE: u64 = 1 << 20;
