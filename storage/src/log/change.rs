//! What shortens or ends a log: truncation, deletion, retention, closing.
//!
//! **Owns** the plans [`Truncate`] and [`Close`], and the file work of deletions.
//! **Lives on** the owning shard; the plans run on the companion.
//! **Invariants** 1. A truncation replaces the log as a whole: what it left on disk is opened anew. 2. A deleted segment is
//! out of the log before its files are touched.
//! **Not here** which segments are due (`retention`).

use std::sync::Arc;

use super::append::{Ending, WriteFault};
use super::work::{NO_BARRIER, Step};
use super::{Log, LogSettings, Open};
use crate::disk::{DiskError, LogDir, Mode, Wait};
use crate::recovery::OpenError;
use crate::retention::{self, Reason};
use crate::segment::name::{self, Content, Fate};
use crate::types::{Offset, Timestamp, TopicPartition};

/// A truncation to run on the companion; its result goes to [`Log::truncated`]. Until then the log takes nothing.
#[derive(Debug)]
pub struct Truncate {
    dir: LogDir,
    partition: TopicPartition,
    settings: Arc<LogSettings>,
    to: Offset,
    whole: bool,
    /// Bases of all segments, oldest first.
    bases: Vec<Offset>,
    open: Open,
}

/// What a clean stop has to write; run it where it may block, unless it [`Close::is_done`].
#[derive(Debug)]
pub struct Close {
    dir: LogDir,
    steps: Vec<Step>,
    /// For the recovery-point checkpoint, once the plan ran.
    pub recovery_point: Offset,
    /// For the log-start checkpoint.
    pub log_start_offset: Offset,
    /// For the replication checkpoint.
    pub high_watermark: Offset,
}

impl Log {
    /// Cuts the log so that it ends at `to`, or at the start of the batch that contains it. `None` when there is nothing
    /// to cut, or while writes, a sync or a work are out: finish those first.
    pub fn truncate_to(&mut self, to: Offset, now: Timestamp) -> Option<Truncate> {
        (to < self.end)
            .then(|| self.truncate(to.max(self.start), false, now))
            .flatten()
    }

    /// Throws everything away and starts anew, empty, at `offset`.
    pub fn truncate_fully_and_start_at(
        &mut self,
        offset: Offset,
        now: Timestamp,
    ) -> Option<Truncate> {
        self.truncate(offset, true, now)
    }

    /// Takes over what a truncation left. After an error the log stays out of service.
    pub fn truncated(&mut self, result: Result<Self, OpenError>) -> Result<(), OpenError> {
        match result {
            Ok(mut log) => {
                log.generation = self.generation + 1;
                log.layout = self.layout + 1;
                log.cleaned_to = self.cleaned_to.min(log.end);
                log.next_token = self.next_token;
                *self = log;
                Ok(())
            }
            Err(error) => {
                self.failed = Some(error.to_string().into());
                Err(error)
            }
        }
    }

    /// Moves the log's start (`DeleteRecords`): what lies below is no longer read. Segments that lie wholly below go with
    /// the next [`Log::apply_retention`]. Returns the start that now holds.
    pub fn delete_records_before(&mut self, offset: Offset) -> Offset {
        let to = offset.min(self.high_watermark);
        if to > self.start {
            self.start = to;
            self.producers.start_moved_to(to);
            self.note_start_of_epochs();
        }
        self.start
    }

    /// Takes segments that are due out of the log; their files are renamed by the next [`Log::take_work`], and
    /// unlinked by [`Log::take_unlink`] later. Returns how many went, and why.
    pub fn apply_retention(
        &mut self,
        now: Timestamp,
    ) -> Result<Option<(usize, Reason)>, WriteFault> {
        // What is being replaced by a cleaned segment has names that are about to change: the next round comes.
        if self.failed.is_some() || self.is_swapping() {
            return Ok(None);
        }
        let (segments, settings) = (&self.segments, &self.settings);
        let due = retention::due(
            segments,
            settings,
            self.start,
            self.high_watermark,
            self.end,
            now,
        );
        let Some((mut count, reason)) = due else {
            return Ok(None);
        };
        if count == self.segments.len() {
            if self.end > self.segment().base && self.writes.is_empty() {
                let end = self.end;
                match self.roll(end, now) {
                    Ok(()) => {}
                    // No room for a new file: the sealed segments go all the same, and make it.
                    Err(error) if error.is_full() => count -= 1,
                    Err(error) => {
                        self.fail(&error.to_string());
                        return Err(WriteFault::Failed(error.source));
                    }
                }
            } else {
                count -= 1;
            }
        }
        // What is not durable yet is still being written to: it waits for the next round.
        let base_of_first_busy = self
            .writes
            .iter()
            .map(super::append::PendingWrite::base)
            .chain(self.unsynced.iter().copied())
            .chain(
                self.syncing
                    .iter()
                    .flat_map(super::append::SyncInFlight::bases),
            )
            .min();
        if let Some(busy) = base_of_first_busy {
            count = count.min(self.segments.partition_point(|segment| segment.base < busy));
        }
        if count == 0 {
            return Ok(None);
        }
        let mut steps = Vec::new();
        for segment in self.segments.drain(..count) {
            for content in [
                Content::Log,
                Content::Index,
                Content::TimeIndex,
                Content::TxnIndex,
            ] {
                let from = format!("{}/{}", self.folder, name::file(segment.base, content));
                let deleted = name::file_with_fate(segment.base, content, Fate::Deleted);
                let to = format!("{}/{deleted}", self.folder);
                self.unlink.push(Step::Remove { name: to.clone() });
                steps.push(Step::Rename { from, to });
            }
            let snapshot = format!(
                "{}/{}",
                self.folder,
                name::file(segment.base, Content::Snapshot)
            );
            steps.push(Step::Remove { name: snapshot });
        }
        self.chores.add(steps, NO_BARRIER, None);
        let first = self.segments[0].base;
        if first > self.start {
            self.start = first;
            self.producers.start_moved_to(first);
            self.note_start_of_epochs();
        }
        self.high_watermark = self.high_watermark.max(self.start);
        Ok(Some((count, reason)))
    }

    /// The files that deletions renamed, to be unlinked `file.delete.delay.ms` after (readers may still send from
    /// them). Take it then, run it on the companion, hand the outcome to [`Log::worked`].
    pub fn take_unlink(&mut self) -> Option<super::Work> {
        // Not only when idle: on a full disk other work waits for the room that this makes.
        if self.unlink.is_empty() || !self.chores.nothing_runs() {
            return None;
        }
        let steps = std::mem::take(&mut self.unlink);
        self.chores.add(steps, NO_BARRIER, None);
        self.take_work()
    }

    /// Forgets producers that have been silent for `producer.id.expiration.ms`. Returns how many.
    pub fn expire_producers(&mut self, now: Timestamp) -> usize {
        self.producers.expire(now)
    }

    /// What a clean stop has to write, when everything appended is written and no plan is out; `None` otherwise, and for a
    /// log that failed. Nothing may be appended after.
    pub fn close_plan(&mut self) -> Option<Close> {
        if self.failed.is_some() || !self.writes.is_empty() || self.syncing.is_some() {
            return None;
        }
        let pending = self.take_work();
        let mut steps: Vec<Step> = pending
            .into_iter()
            .flat_map(super::Work::into_steps)
            .collect();
        steps.append(&mut self.unlink);
        let base = self.segment().base;
        let (index_steps, written) = self.index_steps(Ending::Sealed);
        if self.active.index_unsynced || !index_steps.is_empty() {
            steps.extend(index_steps);
            steps.extend(self.finish_indexes(&written));
        }
        for unsynced in self.unsynced.drain(..).filter(|unsynced| *unsynced != base) {
            let name = format!("{}/{}", self.folder, name::file(unsynced, Content::Log));
            steps.push(Step::SyncFile { name });
        }
        let size = self.segment().size;
        if self.durable < self.end || self.active.reserved > size {
            let name = self.name(base, Content::Log);
            steps.push(Step::Finish { name, size });
        }
        if self.end > self.snapshot {
            let aborted = self.segment().aborted;
            if aborted > 0 {
                // The next recovery goes by the snapshot and believes the file below it.
                let name = self.name(base, Content::TxnIndex);
                let size = u64::from(aborted) * crate::producer::AbortedTransaction::SIZE as u64;
                steps.push(Step::Finish { name, size });
            }
            steps.push(Step::Replace {
                name: self.name(self.end, Content::Snapshot),
                content: self.producers.snapshot().encode().into(),
            });
        }
        if self.folder_changed || !steps.is_empty() {
            steps.push(Step::SyncDir {
                name: self.folder.to_string(),
            });
        }
        self.failed = Some("it was closed".into());
        Some(Close {
            dir: self.dir.clone(),
            steps,
            recovery_point: self.end,
            log_start_offset: self.start,
            high_watermark: self.high_watermark,
        })
    }

    fn truncate(&mut self, to: Offset, whole: bool, now: Timestamp) -> Option<Truncate> {
        let out = self.writes.iter().any(super::append::PendingWrite::is_out);
        if out || self.syncing.is_some() || !self.chores.nothing_runs() || self.failed.is_some() {
            return None;
        }
        self.failed = Some("it is being truncated".into());
        self.generation += 1;
        self.layout += 1;
        Some(Truncate {
            dir: self.dir.clone(),
            partition: self.partition.clone(),
            settings: self.settings.clone(),
            to,
            whole,
            bases: self.segments.iter().map(|segment| segment.base).collect(),
            open: Open {
                recovery_point: self.recovery_point().min(to),
                log_start_offset: if whole { to } else { self.start },
                high_watermark: self.high_watermark.min(to),
                clean_shutdown: false,
                now,
            },
        })
    }

    fn note_start_of_epochs(&mut self) {
        if self.epochs.start_moved_to(self.start) {
            let name = format!("{}/{}", self.folder, crate::checkpoint::name::LEADER_EPOCHS);
            let content = self.epochs.print().into();
            self.chores.add(
                vec![Step::ReplaceAtomically { name, content }],
                NO_BARRIER,
                None,
            );
        }
    }
}

impl Truncate {
    /// Bring the recovery-point checkpoint down to this before the plan runs, in every log directory that has one of the
    /// partition: it must not name what is cut.
    pub fn recovery_point(&self) -> Offset {
        let kept = self.bases.partition_point(|base| *base < self.to);
        let base = self.bases[kept.saturating_sub(1)];
        self.open.recovery_point.min(base)
    }

    /// Truncates and opens what is left. Blocks.
    pub fn run(&self) -> Result<Log, OpenError> {
        let folder = name::folder(&self.partition);
        let keep = if self.whole {
            0
        } else {
            self.bases.partition_point(|base| *base < self.to).max(1)
        };
        // ORDER: newest first, so that a crash on the way leaves no gap.
        for base in self.bases[keep..].iter().rev() {
            for content in [
                Content::Log,
                Content::Index,
                Content::TimeIndex,
                Content::TxnIndex,
            ] {
                self.dir
                    .remove_file(&format!("{folder}/{}", name::file(*base, content)))?;
            }
        }
        // ORDER: the later segments are gone for good before the one in front of them is cut, or a crash could bring
        // them back behind a gap.
        self.dir.sync_dir(&folder)?;
        let mut open = self.open.clone();
        if !self.whole {
            // ORDER: a recovery point above the cut would have everything scanned and its indexes written anew, also those
            // of segments that the checkpoint vouches for: one that fails half way would leave them believed and broken.
            let end = self.cut(&folder, self.bases[keep - 1])?;
            open.recovery_point = open.recovery_point.min(end);
        }
        for entry in self.dir.list(&folder)? {
            // Snapshots above the cut describe records that are gone.
            if let Some((offset, Content::Snapshot, Fate::Live)) = name::parse_file(&entry.name)
                && (offset > self.to || self.whole)
            {
                self.dir.remove_file(&format!("{folder}/{}", entry.name))?;
            }
        }
        if self.whole {
            let epochs = format!("{folder}/{}", crate::checkpoint::name::LEADER_EPOCHS);
            self.dir.remove_file(&epochs)?;
        }
        self.dir.sync_dir(&folder)?;
        let settings = self.settings.clone();
        let opened = Log::open(&self.dir, &self.partition, settings, &open, &mut |_| {})?;
        Ok(opened.0)
    }

    /// Cuts the segment in front of the first batch that ends at or above the offset; where it ends now.
    fn cut(&self, folder: &str, base: Offset) -> Result<Offset, DiskError> {
        let file = self.dir.open_file(
            &format!("{folder}/{}", name::file(base, Content::Log)),
            Mode::Write,
        )?;
        let size = file.size()?;
        let (mut position, mut end) = (0, base);
        while position < size {
            let mut head = [0_u8; crate::limits::BATCH_HEADER_SIZE];
            let n = file.read_at(&mut head, position, Wait::Yes)?;
            match crate::batch::Header::parse(&head[..n]) {
                Some(header) if header.size() > 0 && header.last_offset() < self.to => {
                    position += header.size() as u64;
                    end = header.next_offset();
                }
                _ => break,
            }
        }
        file.truncate(position.min(size))?;
        file.sync_data()?;
        Ok(end)
    }
}

impl Close {
    /// Nothing changed since the files were last synced: there is nothing to run.
    pub fn is_done(&self) -> bool {
        self.steps.is_empty()
    }

    /// Writes and syncs everything. Blocks.
    pub fn run(&self) -> Result<(), DiskError> {
        for step in &self.steps {
            step.run(&self.dir)?;
        }
        Ok(())
    }
}
