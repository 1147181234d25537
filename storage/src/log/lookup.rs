//! Lookups by time, by epoch, and of aborted transactions.
//!
//! **Owns** the rules of `ListOffsets` and of the aborted index.
//! **Lives on** the owning shard; the jobs run wherever they are taken.
//! **Invariants** 1. A lookup by time answers the first record, in offset order, whose timestamp is not below the one
//! asked for. 2. What is only in memory is searched too.
//! **Not here** the special timestamps (-1 … -5): the broker knows them.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::read::{LocateError, SegmentSource};
use super::{Log, Parts};
use crate::batch::{Batch, Header, UncheckedBatch};
use crate::disk::{Mode, Wait};
use crate::epochs::EpochEnd;
use crate::index;
use crate::limits::INFLATED_BYTES_MAX;
use crate::producer::AbortedTransaction;
use crate::segment::name::{self, Content};
use crate::types::{LeaderEpoch, Offset, Timestamp};

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The record's timestamp.
    pub timestamp: Timestamp,
    /// Its offset.
    pub offset: Offset,
    /// The leader epoch of its batch.
    pub leader_epoch: LeaderEpoch,
}

/// The answer to a lookup, or the job that finds it.
#[derive(Debug)]
pub enum Lookup {
    /// Known without looking.
    Answer(Option<TimestampOffset>),
    /// Run it here with [`Wait::No`], and if it would block with [`Wait::Yes`] on the companion.
    Scan(TimestampJob),
}

/// A search for a record by time. `Send`.
#[derive(Clone, Debug)]
pub struct TimestampJob {
    wanted: Wanted,
    /// Segments that may hold the answer, oldest first.
    sources: Vec<SegmentSource>,
    /// What is not in the files yet, behind the last of them.
    memory: Parts,
    start: Offset,
    upper: Offset,
    layout: u64,
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// The first record at or after this time.
    From(Timestamp),
    /// The first record with exactly this time, the largest there is.
    Max(Timestamp),
}

impl Log {
    /// The first record below `upper` with a timestamp of at least `timestamp`.
    pub fn offset_for_timestamp(&mut self, timestamp: Timestamp, upper: Offset) -> Lookup {
        let first = self
            .segments
            .iter()
            .position(|segment| segment.max_timestamp >= timestamp);
        let Some(first) = first else {
            return Lookup::Answer(None);
        };
        self.timestamp_job(Wanted::From(timestamp), first, upper)
    }

    /// The first record that has the largest timestamp (KIP-734).
    pub fn max_timestamp(&mut self, upper: Offset) -> Lookup {
        // Of equals the oldest segment: `max_by` would take the last.
        let newest = self
            .segments
            .iter()
            .map(|segment| segment.max_timestamp)
            .max();
        let Some(newest) = newest.filter(|newest| newest.is_some()) else {
            return Lookup::Answer(None);
        };
        let first = self
            .segments
            .iter()
            .position(|segment| segment.max_timestamp == newest);
        self.timestamp_job(Wanted::Max(newest), first.unwrap_or_default(), upper)
    }

    /// Where `epoch` ended here: the largest known epoch up to it and the offset behind its last record.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.epochs.end_offset_for(epoch, self.end)
    }

    /// The aborted transactions that a `read_committed` reader of `from..upper` must know.
    pub fn aborted_transactions(&self, from: Offset, upper: Offset) -> AbortedJob {
        let first = self.segment_at(from);
        let sources = (first..self.segments.len())
            .filter(|at| {
                let segment = &self.segments[*at];
                segment.aborted > 0 && segment.base < self.aborted_from
            })
            .map(|at| self.source(at))
            .collect();
        AbortedJob {
            sources,
            memory: self.aborted.clone(),
            from,
            upper,
            layout: self.layout,
        }
    }

    fn timestamp_job(&mut self, wanted: Wanted, first: usize, upper: Offset) -> Lookup {
        let sources = (first..self.segments.len())
            .map(|at| self.source(at))
            .collect();
        let unwritten = self.unwritten_stream();
        let memory = self.tail.slice(unwritten);
        let start = self.start;
        Lookup::Scan(TimestampJob {
            wanted,
            sources,
            memory,
            start,
            upper,
            layout: self.layout,
        })
    }
}

impl TimestampJob {
    /// The layout of the log when the job was made: the answer counts if [`Log::is_current`] still says so.
    pub fn layout(&self) -> u64 {
        self.layout
    }

    /// Looks. With [`Wait::No`] it never waits for the disk and may answer [`LocateError::WouldBlock`].
    pub fn run(&self, wait: Wait) -> Result<Option<TimestampOffset>, LocateError> {
        for source in &self.sources {
            let mut source = source.clone();
            if let Some(found) = self.search_file(&mut source, wait)? {
                return Ok(self.visible(found));
            }
        }
        let whole: Bytes = match self.memory.len() {
            0 => return Ok(None),
            1 => self.memory[0].clone(),
            _ => self.memory.concat().into(),
        };
        let mut rest = whole;
        while let Ok(Some(unchecked)) = UncheckedBatch::take(&mut rest) {
            if self.may_match(unchecked.header())
                && let Ok(batch) = unchecked.check()
                && let Some(found) = self.search_batch(&batch)
            {
                return Ok(self.visible(found));
            }
        }
        Ok(None)
    }

    fn visible(&self, found: TimestampOffset) -> Option<TimestampOffset> {
        (found.offset < self.upper).then_some(found)
    }

    fn search_file(
        &self,
        source: &mut SegmentSource,
        wait: Wait,
    ) -> Result<Option<TimestampOffset>, LocateError> {
        if source.stop == 0 {
            return Ok(None);
        }
        let file = source.open_log(wait)?;
        let mut position = 0;
        if source.time_entries > 0 {
            if wait == Wait::No {
                // The time index is not kept open: lookups by time are rare.
                return Err(LocateError::WouldBlock);
            }
            let name = format!(
                "{}/{}",
                source.folder,
                name::file(source.base, Content::TimeIndex)
            );
            let times = source.dir.open_file(&name, Mode::Read)?;
            // Everything up to an entry's offset is earlier than what we want if the entry is.
            let below = match self.wanted {
                Wanted::From(timestamp) | Wanted::Max(timestamp) => {
                    Timestamp(timestamp.0.saturating_sub(1))
                }
            };
            if let Some((_, entry)) = index::search_time(&times, source.time_entries, below, wait)?
            {
                let offset = source.base + i64::from(entry.relative_offset);
                match source.find(offset, wait)? {
                    Some((at, _)) => position = at,
                    None => return Ok(None),
                }
            }
        }
        while let Some((at, header)) =
            source.walk(&file, position, wait, |header| self.may_match(header))?
        {
            let bytes = read_batch(&file, at, &header, wait)?;
            let mut rest = bytes;
            if let Ok(Some(unchecked)) = UncheckedBatch::take(&mut rest)
                && let Ok(batch) = unchecked.check()
            {
                if let Some(found) = self.search_batch(&batch) {
                    return Ok(Some(found));
                }
            } else {
                return Err(LocateError::Damaged {
                    path: file.path().to_owned(),
                    position: at,
                });
            }
            position = at + header.size() as u64;
        }
        Ok(None)
    }

    fn may_match(&self, header: &Header) -> bool {
        match self.wanted {
            Wanted::From(timestamp) | Wanted::Max(timestamp) => {
                header.max_timestamp >= timestamp && header.last_offset() >= self.start
            }
        }
    }

    fn search_batch(&self, batch: &Batch) -> Option<TimestampOffset> {
        let leader_epoch = batch.header().leader_epoch;
        let payload = batch.open(INFLATED_BYTES_MAX).ok()?;
        let mut records = payload.records();
        let found = records.try_for_each(|record| match record {
            Ok(record) => {
                let matches = match self.wanted {
                    Wanted::From(timestamp) => record.timestamp >= timestamp,
                    Wanted::Max(timestamp) => record.timestamp == timestamp,
                };
                if matches && record.offset >= self.start {
                    let (timestamp, offset) = (record.timestamp, record.offset);
                    return ControlFlow::Break(Some(TimestampOffset {
                        timestamp,
                        offset,
                        leader_epoch,
                    }));
                }
                ControlFlow::Continue(())
            }
            Err(_) => ControlFlow::Break(None),
        });
        found.break_value().flatten()
    }
}

/// A lookup in the aborted index. `Send`.
#[derive(Clone, Debug)]
pub struct AbortedJob {
    sources: Vec<SegmentSource>,
    memory: Vec<AbortedTransaction>,
    from: Offset,
    upper: Offset,
    layout: u64,
}

impl AbortedJob {
    /// The layout of the log when the job was made: the answer counts if [`Log::is_current`] still says so.
    pub fn layout(&self) -> u64 {
        self.layout
    }

    /// True when the answer is known without reading: run it inline.
    pub fn is_in_memory(&self) -> bool {
        self.sources.is_empty()
    }

    /// The transactions that overlap the range, in the order their markers came. Reads files unless
    /// [`AbortedJob::is_in_memory`].
    pub fn run(&self) -> Result<Vec<AbortedTransaction>, LocateError> {
        let mut found = Vec::new();
        for source in &self.sources {
            let name = format!(
                "{}/{}",
                source.folder,
                name::file(source.base, Content::TxnIndex)
            );
            let bytes = source.dir.read_file(&name)?;
            let entries = index::decode_txn_index(&bytes).ok_or_else(|| LocateError::Damaged {
                path: source.dir.path(&name).display().to_string(),
                position: 0,
            })?;
            if self.collect(&entries, &mut found).is_break() {
                return Ok(found);
            }
        }
        // Whether it ended early does not matter for the last part.
        let _ = self.collect(&self.memory, &mut found);
        Ok(found)
    }

    fn collect(
        &self,
        entries: &[AbortedTransaction],
        found: &mut Vec<AbortedTransaction>,
    ) -> ControlFlow<()> {
        for entry in entries {
            if entry.last_offset >= self.from && entry.first_offset < self.upper {
                found.push(*entry);
            }
            // Every later entry belongs to a transaction that began at or above this offset.
            if entry.last_stable_offset >= self.upper {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

fn read_batch(
    file: &crate::disk::File,
    position: u64,
    header: &Header,
    wait: Wait,
) -> Result<Bytes, LocateError> {
    let mut bytes = vec![0_u8; header.size()];
    let n = file
        .read_at(&mut bytes, position, wait)
        .map_err(|error| LocateError::from_disk(error, wait))?;
    if n < bytes.len() {
        return Err(match wait {
            Wait::No => LocateError::WouldBlock,
            Wait::Yes => LocateError::Damaged {
                path: file.path().to_owned(),
                position,
            },
        });
    }
    Ok(bytes.into())
}
