//! What of a log is dirty, and which segments are cleaned into one.
//!
//! **Owns** Kafka's rules: the dirty ratio, the least and the longest lag, the sizes of groups.
//! **Lives on** the owning shard: decisions over what is known of segments; [`OldestJob`] runs on the companion.
//! **Invariants** 1. What is cleanable ends at a segment's base, at or below the last stable offset, in front of the
//! active segment and of anything that is not durable with its index files. 2. It ends in front of every transaction
//! whose end is not on the disk: after a power cut it is open again, and may end otherwise.
//! **Not here** which log of many is cleaned next (the broker).

use std::ops::Range;
use std::sync::Arc;

use super::{Cleaning, CleaningOptions, CleaningStats, LastRecord, LastRecords, Source, Stage};
use crate::batch::Header;
use crate::disk::{DiskError, LogDir, Mode, Wait};
use crate::index::{INDEX_ENTRY_SIZE, TIME_ENTRY_SIZE};
use crate::limits::BATCH_HEADER_SIZE;
use crate::log::{Log, LogSettings};
use crate::segment::name::{self, Content};
use crate::types::{Offset, Timestamp};

/// The settings of a compacted topic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionRules {
    /// `min.cleanable.dirty.ratio`.
    pub min_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_lag_ms: i64,
}

/// The part of a log that a cleaning would go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanable {
    /// Below it the log is clean.
    pub from: Offset,
    /// From here on nothing may be cleaned; the base of a segment.
    pub to: Offset,
    /// Bytes of clean segments.
    pub clean_bytes: u64,
    /// Bytes of dirty ones.
    pub dirty_bytes: u64,
}

impl Cleanable {
    /// The share of what would be read that is dirty, from 0 to 1.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a ratio of sizes; the last bits decide nothing"
    )]
    pub fn dirty_ratio(&self) -> f64 {
        let total = self.clean_bytes + self.dirty_bytes;
        if total == 0 {
            return 0.0;
        }
        self.dirty_bytes as f64 / total as f64
    }
}

/// Reads how old the dirty part is, by the first batch of each segment. `Send`.
#[derive(Clone, Debug)]
pub struct OldestJob {
    dir: LogDir,
    folder: Arc<str>,
    bases: Vec<Offset>,
}

impl OldestJob {
    /// The earliest time among the first batches, if any has one. Blocks.
    pub fn run(&self) -> Result<Option<Timestamp>, DiskError> {
        let mut oldest = None;
        for base in &self.bases {
            let name = format!("{}/{}", self.folder, name::file(*base, Content::Log));
            let file = self.dir.open_file(&name, Mode::Read)?;
            let mut head = [0_u8; BATCH_HEADER_SIZE];
            let n = file.read_at(&mut head, 0, Wait::Yes)?;
            if let Some(header) = Header::parse(&head[..n])
                && header.max_timestamp > Timestamp::ZERO
            {
                oldest = oldest.into_iter().chain([header.max_timestamp]).min();
            }
        }
        Ok(oldest)
    }
}

impl Log {
    /// Below this the log was cleaned: for `cleaner-offset-checkpoint`.
    pub fn cleaned_to(&self) -> Option<Offset> {
        self.cleaned_to.is_some().then_some(self.cleaned_to)
    }

    /// What `cleaner-offset-checkpoint` said, or a cleaning reached.
    pub fn set_cleaned_to(&mut self, offset: Offset) {
        self.cleaned_to = offset;
    }

    /// What could be cleaned now; `None` when that is nothing, or while a cleaned segment is being taken over.
    pub fn cleanable(&self, rules: &CompactionRules, now: Timestamp) -> Option<Cleanable> {
        let active = self.segments.len() - 1;
        // ORDER: what an outdated cleaning wrote goes first, or it would take what this one writes under its names along.
        if active == 0 || self.failed.is_some() || self.is_swapping() || self.is_discarding() {
            return None;
        }
        let mut from = self.cleaned_to;
        if from < self.start || from > self.end {
            // A checkpoint of another history, or one that retention overtook.
            from = self.start;
        }
        let undecided = self.producers.first_undecided_offset();
        let mut limit = self
            .last_stable_offset()
            .min(undecided.unwrap_or(Offset(i64::MAX)))
            .min(self.segments[active].base)
            .min(self.recovery_point())
            .min(self.aborted_from);
        if rules.min_lag_ms > 0 {
            let young = self.segments[..active].iter().enumerate().find(|(at, s)| {
                self.segments[at + 1].base > from
                    && s.retention_timestamp().0 > now.0.saturating_sub(rules.min_lag_ms)
            });
            if let Some((_, segment)) = young {
                limit = limit.min(segment.base);
            }
        }
        let count = self.segments[..=active]
            .partition_point(|segment| segment.base <= limit)
            .saturating_sub(1);
        let to = self.segments[count].base;
        if to <= from {
            return None;
        }
        let first_dirty = self.segments[..count]
            .partition_point(|segment| segment.base <= from)
            .saturating_sub(1);
        let bytes = |segments: &[crate::segment::Segment]| segments.iter().map(|s| s.size).sum();
        let clean = self.segments[..count].partition_point(|segment| segment.base < from);
        let cleanable = Cleanable {
            from,
            to,
            clean_bytes: bytes(&self.segments[..clean]),
            dirty_bytes: bytes(&self.segments[first_dirty..count]),
        };
        (cleanable.dirty_bytes > 0).then_some(cleanable)
    }

    /// How old the dirty part is, to be read on the companion.
    pub fn oldest_dirty(&self, cleanable: &Cleanable) -> OldestJob {
        let last = self.segments.len() - 1;
        let dirty = (0..last).filter(|at| {
            let segment = &self.segments[*at];
            self.segments[at + 1].base > cleanable.from
                && segment.base < cleanable.to
                && segment.size > 0
        });
        OldestJob {
            dir: self.dir.clone(),
            folder: self.folder.clone(),
            bases: dirty.map(|at| self.segments[at].base).collect(),
        }
    }

    /// The job that cleans it. The log may go on with anything meanwhile; [`Log::replace`] finds out what the job's
    /// results are still worth.
    pub fn clean(&self, range: Cleanable, options: CleaningOptions) -> Cleaning {
        let count = self.segments.partition_point(|s| s.base < range.to);
        let count = count.min(self.segments.len() - 1);
        let sources: Vec<Source> = (0..count)
            .map(|at| {
                let segment = &self.segments[at];
                Source {
                    base: segment.base,
                    next: self.segments[at + 1].base,
                    size: segment.written,
                    index_entries: segment.index_entries,
                    time_entries: segment.time_entries,
                    aborted: segment.aborted,
                    modified: segment.modified,
                }
            })
            .collect();
        // What is only in memory a crash takes, what is not replicated a new leader; with what was before it cleaned away
        // nobody would know the producer.
        let safe = self.durable_offset().min(self.high_watermark());
        let producers = self.producers.iter().map(|(producer, state)| {
            let mut newest = state.batches().iter().rev();
            let offset = newest.find(|batch| batch.last_offset < safe);
            let last = LastRecord {
                offset: offset.map_or(Offset::NONE, |batch| batch.last_offset),
                epoch: state.epoch(),
            };
            (producer, LastRecords { last, at_end: None })
        });
        Cleaning {
            dir: self.dir.clone(),
            folder: self.folder.clone(),
            settings: self.settings.clone(),
            options,
            generation: self.generation,
            range,
            aborted: self.aborted_transactions(self.segments[0].base, range.to),
            sources,
            producers: producers.collect(),
            end: range.from,
            writing: None,
            stage: Stage::New,
            stats: CleaningStats::default(),
        }
    }
}

/// Neighbours that together are no larger than a segment may be, by their sizes before the cleaning.
pub(super) fn groups(sources: &[Source], settings: &LogSettings) -> Vec<Range<usize>> {
    let bytes_max = u64::from(settings.segment_bytes.min(i32::MAX.unsigned_abs()));
    let index_max = u64::from(settings.segment_index_bytes);
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut sizes = (0, 0, 0);
    for (at, source) in sources.iter().enumerate() {
        let index = u64::from(source.index_entries) * INDEX_ENTRY_SIZE as u64;
        let times = u64::from(source.time_entries) * TIME_ENTRY_SIZE as u64;
        let together = (sizes.0 + source.size, sizes.1 + index, sizes.2 + times);
        if let Some(group) = groups.last_mut() {
            let first = sources[group.start].base;
            // Offsets are kept in an index as 31 bits from the base.
            let near = source.size == 0 || (source.next - 1).since(first) <= i64::from(i32::MAX);
            let fits =
                together.0 <= bytes_max && together.1 <= index_max && together.2 <= index_max;
            if near && fits {
                group.end = at + 1;
                sizes = together;
                continue;
            }
        }
        groups.push(at..at + 1);
        sizes = (source.size, index, times);
    }
    groups
}
