//! Append, roll, and the books of what is written and what is durable.
//!
//! **Owns** offset assignment, the roll decision, index entries of the active segment, the plans [`Write`] and [`Sync`].
//! **Lives on** the owning shard.
//! **Invariants** 1. Writes are handed out in order and confirmed in any; `written` moves over what is confirmed
//! without a gap. 2. Nothing of a segment is handed out before its predecessor is durable, so a power cut can tear
//! only the last segment that has data. 3. After a failed sync nothing becomes durable any more.
//! **Not here** the reading side (`read`), the checks of a batch (`batch`).

use std::fmt;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::work::{IndexWritten, NO_BARRIER, Step};
use super::{Active, Log, RecentEntry};
use crate::batch::{Batch, EndTransactionMarker, TimestampType};
use crate::disk::{DiskError, File, LogDir, Mode, is_full};
use crate::index::{INDEX_ENTRY_SIZE, IndexEntry, TIME_ENTRY_SIZE, TimeEntry};
use crate::producer::{self, AbortedTransaction, Admission, ProducerError, TransactionVersion};
use crate::segment::{Segment, name::Content};
use crate::types::{LeaderEpoch, Offset, Timestamp};

/// Names a plan when its outcome is handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub(super) u64);

/// Where appended batches come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A producer: offsets are assigned, sequences checked.
    Client,
    /// A coordinator or the controller on this broker: offsets are assigned, sequences taken as they are.
    Coordinator,
    /// The partition's leader: offsets and epochs are its, and must continue this log.
    Replication,
}

impl Origin {
    fn of_producer(self) -> producer::Origin {
        match self {
            Self::Client => producer::Origin::Client,
            Self::Coordinator => producer::Origin::Coordinator,
            Self::Replication => producer::Origin::Replication,
        }
    }
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub first_offset: Offset,
    /// Offset of the last record. The append is written when `written_offset` is above it.
    pub last_offset: Offset,
    /// The time the broker set, or -1 when the producer's timestamps stand.
    pub log_append_time: Timestamp,
    /// The log's start, for the answer.
    pub log_start_offset: Offset,
    /// The batch was here before (a retry of an idempotent producer); the offsets are those of then.
    pub duplicate: bool,
}

/// Why an append was refused. Nothing of it is in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Sequence, epoch or state of the producer.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// `RECORD_LIST_TOO_LARGE`: more bytes than a segment may have.
    #[error("an append of {size} bytes exceeds segment.bytes = {limit}")]
    LargerThanSegment {
        /// Bytes of the append.
        size: u64,
        /// The setting.
        limit: u32,
    },
    /// A replicated batch that does not continue the log.
    #[error("a batch at offset {base} cannot follow the log's end {end}")]
    OutOfOrder {
        /// Its base offset.
        base: Offset,
        /// The log's end.
        end: Offset,
    },
    /// Offsets are used up.
    #[error("the log has no offset left behind {0}")]
    OffsetsExhausted(Offset),
    /// The file of a new segment could not be created. A full disk passes; the log goes on.
    #[error("cannot roll: {0}")]
    Roll(#[source] DiskError),
    /// `KAFKA_STORAGE_ERROR`: the log is out of service.
    #[error("the log is out of service: {0}")]
    Failed(std::sync::Arc<str>),
    /// No batch was given.
    #[error("nothing to append")]
    Empty,
}

/// Bytes to write at a position of a file. Execute it, then call [`Log::written`], whatever came of it.
pub struct Write {
    /// The file; `file.descriptor()` is for the runtime.
    pub file: File,
    /// Where.
    pub position: u64,
    /// What, one after the other.
    pub parts: Vec<Bytes>,
    /// Names the write.
    pub token: Token,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write")
            .field("file", &self.file)
            .field("position", &self.position)
            .field("size", &self.size())
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl Write {
    /// Bytes to write.
    pub fn size(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Writes on this thread, into the page cache. For tests, tools and small writes.
    pub fn run(&self) -> Result<(), DiskError> {
        self.file.write_at(&self.parts, self.position)
    }
}

/// Why a write was not done.
#[derive(Debug, thiserror::Error)]
pub enum WriteFault {
    /// The disk is full: the bytes stay in memory and [`Log::take_write`] hands them out again.
    #[error("the disk is full: {0}")]
    Full(#[source] io::Error),
    /// The log is out of service from here on.
    #[error("write failed, the log directory is not to be trusted: {0}")]
    Failed(#[source] io::Error),
}

/// Files to sync. Execute it, then call [`Log::synced`], whatever came of it.
#[derive(Debug)]
pub struct Sync {
    /// Files to `fdatasync`: mostly one, more after a roll.
    pub files: SmallVec<[File; 2]>,
    /// A folder with new names, to be synced too: then use [`Sync::run`] on the companion.
    pub folder: Option<(LogDir, std::sync::Arc<str>)>,
    /// Names the sync.
    pub token: Token,
}

impl Sync {
    /// Syncs on this thread. Blocks: for the companion.
    pub fn run(&self) -> Result<(), DiskError> {
        for file in &self.files {
            file.sync_data()?;
        }
        if let Some((dir, folder)) = &self.folder {
            dir.sync_dir(folder)?;
        }
        Ok(())
    }
}

/// A range to reserve in a file, so that writes do not extend it. Only a matter of speed: errors may be ignored.
#[derive(Debug)]
pub struct Reserve {
    /// The file.
    pub file: File,
    /// The range, with `FALLOC_FL_KEEP_SIZE`.
    pub range: Range<u64>,
}

/// A stretch of the log on its way to the file.
#[derive(Debug)]
pub(crate) struct PendingWrite {
    /// Base offset of its segment.
    base: Offset,
    position: u64,
    stream: Range<u64>,
    end_offset: Offset,
    state: WriteState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteState {
    Waiting,
    Out(Token),
    Done,
}

/// Whether the index files get the entry that Kafka writes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The segment goes on.
    Open,
    /// It is rolled or closed: its largest timestamp is written if it is not there yet.
    Sealed,
}

#[derive(Debug)]
pub(crate) struct SyncInFlight {
    token: Token,
    end: Offset,
    bases: SmallVec<[Offset; 2]>,
}

impl PendingWrite {
    pub(super) fn base(&self) -> Offset {
        self.base
    }

    /// It is to be handed out again.
    pub(super) fn repeat(&mut self) {
        self.state = WriteState::Waiting;
    }

    pub(super) fn is_out(&self) -> bool {
        matches!(self.state, WriteState::Out(_))
    }
}

impl SyncInFlight {
    pub(super) fn bases(&self) -> impl Iterator<Item = Offset> {
        self.bases.iter().copied()
    }
}

impl Log {
    /// Takes batches: assigns offsets and epoch (unless replicated), checks their producers, keeps them in the tail.
    /// All or nothing. Nothing is on disk yet: see [`Log::take_write`].
    // HOT: 0–1 allocations, 1 copy of bodies below 4 KiB
    pub fn append(
        &mut self,
        batches: impl IntoIterator<Item = Batch>,
        origin: Origin,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        if let Some(why) = &self.failed {
            return Err(AppendError::Failed(why.clone()));
        }
        let mut batches: SmallVec<[Batch; 1]> = batches.into_iter().collect();
        let size = self.place(&mut batches, origin, leader_epoch)?;
        if let Some(duplicate) = self.check_producers(&batches, origin)? {
            return Ok(duplicate);
        }
        let (first, last) = (batches[0].header(), batches[batches.len() - 1].header());
        let (first_offset, last_offset) = (first.base_offset, last.last_offset());
        let newest = batches
            .iter()
            .map(|batch| batch.header().max_timestamp)
            .max();
        if self.roll_due(size, last_offset, newest.unwrap_or(Timestamp::NONE), now) {
            self.roll(first_offset, now).map_err(AppendError::Roll)?;
        }
        let log_append_time = match first.attributes.timestamp_type() {
            TimestampType::CreateTime => Timestamp::NONE,
            TimestampType::LogAppendTime => first.max_timestamp,
        };
        for batch in &batches {
            self.take_in(batch, now);
        }
        Ok(Appended {
            first_offset,
            last_offset,
            log_append_time,
            log_start_offset: self.start,
            duplicate: false,
        })
    }

    /// Notes that a leader with this epoch starts at the log's end, as Kafka does when leadership changes.
    pub fn begin_epoch(&mut self, leader_epoch: LeaderEpoch) {
        self.note_epoch(leader_epoch, self.end);
    }

    /// The next stretch to write, everything appended since as one vectored write per segment file (at most 4 MiB).
    /// `None`: nothing to write, or the log failed, or a roll waits for the sync of the segment before
    /// ([`Log::must_sync`]). Several may be out at once; they are independent of each other's order.
    pub fn take_write(&mut self) -> Option<Write> {
        if self.failed.is_some() {
            return None;
        }
        let at = self
            .writes
            .iter()
            .position(|write| write.state == WriteState::Waiting)?;
        let (base, position) = (self.writes[at].base, self.writes[at].position);
        if position == 0 && self.predecessor_undurable(base) {
            return None;
        }
        let file = match self.log_file(base) {
            Ok(file) => file,
            Err(error) => {
                self.fail(&error.to_string());
                return None;
            }
        };
        let token = self.token();
        let write = &mut self.writes[at];
        write.state = WriteState::Out(token);
        let parts = self.tail.slice(write.stream.clone()).into_vec();
        Some(Write {
            file,
            position,
            parts,
            token,
        })
    }

    /// What came of a write. `Ok` with a moved [`Log::written_offset`] when there is no gap before it.
    pub fn written(&mut self, token: Token, outcome: io::Result<()>) -> Result<(), WriteFault> {
        let out = |write: &&mut PendingWrite| write.state == WriteState::Out(token);
        let Some(write) = self.writes.iter_mut().find(out) else {
            return Ok(()); // Truncated away meanwhile.
        };
        match outcome {
            Ok(()) => write.state = WriteState::Done,
            Err(e) if is_full(&e) => {
                mark!("write found the disk full");
                write.state = WriteState::Waiting;
                return Err(WriteFault::Full(e));
            }
            Err(e) => {
                mark!("write failed");
                self.fail(&format!(
                    "{}: write: {e}",
                    self.dir.path(&self.folder).display()
                ));
                return Err(WriteFault::Failed(e));
            }
        }
        while let Some(write) = self.writes.front() {
            if write.state != WriteState::Done {
                break;
            }
            let (base, end_offset) = (write.base, write.end_offset);
            let end = write.position + (write.stream.end - write.stream.start);
            self.writes.pop_front();
            self.written = end_offset;
            if !self.unsynced.contains(&base) {
                self.unsynced.push(base);
            }
            if let Some(at) = self.segment_index(base) {
                self.segments[at].written = end;
            }
        }
        Ok(())
    }

    /// True when a roll holds writes back until the segment before it is durable: sync now.
    pub fn must_sync(&self) -> bool {
        let waiting = self
            .writes
            .iter()
            .find(|write| write.state == WriteState::Waiting);
        self.failed.is_none()
            && waiting
                .is_some_and(|write| write.position == 0 && self.predecessor_undurable(write.base))
    }

    /// Whether bytes wait to be written or to be confirmed.
    pub fn has_unwritten(&self) -> bool {
        !self.writes.is_empty()
    }

    /// What must be synced for everything written to be durable. `None` when it is already, while a sync is out
    /// (ask again after it), or when the log failed.
    pub fn take_sync(&mut self) -> Option<Sync> {
        if self.failed.is_some() || self.syncing.is_some() {
            return None;
        }
        if self.unsynced.is_empty() && !self.folder_changed {
            return None;
        }
        let bases = std::mem::take(&mut self.unsynced);
        let mut files = SmallVec::new();
        for base in &bases {
            match self.log_file(*base) {
                Ok(file) => files.push(file),
                Err(error) => {
                    self.fail(&error.to_string());
                    return None;
                }
            }
        }
        let token = self.token();
        let folder = self
            .folder_changed
            .then(|| (self.dir.clone(), self.folder.clone()));
        self.folder_changed = false;
        self.syncing = Some(SyncInFlight {
            token,
            end: self.written,
            bases,
        });
        Some(Sync {
            files,
            folder,
            token,
        })
    }

    /// What came of a sync. After a failure the log is out of service: its pages may be gone and marked clean.
    pub fn synced(&mut self, token: Token, outcome: io::Result<()>) -> Result<(), WriteFault> {
        match self.syncing.take() {
            Some(sync) if sync.token == token => match outcome {
                Ok(()) => {
                    self.durable = self.durable.max(sync.end);
                    self.producers.durable_to(self.durable);
                    self.give_back_reserved(&sync.bases);
                    Ok(())
                }
                Err(e) => {
                    mark!("sync failed");
                    self.fail(&format!(
                        "{}: fdatasync: {e}",
                        self.dir.path(&self.folder).display()
                    ));
                    Err(WriteFault::Failed(e))
                }
            },
            other => {
                self.syncing = other; // An outcome from before a truncation.
                Ok(())
            }
        }
    }

    /// A range of the active file worth reserving before the writes get there, growing with the segment. `None`
    /// most of the time.
    pub fn take_reserve(&mut self) -> Option<Reserve> {
        let size = self.segment().size;
        let limit = u64::from(self.settings.segment_bytes);
        let reserved = self.active.reserved;
        if size < buggify!(RESERVE_FROM, 100)
            || reserved >= limit
            || size + RESERVE_AHEAD <= reserved
        {
            return None;
        }
        let start = reserved.max(size);
        let end = (start + size.clamp(RESERVE_MIN, RESERVE_MAX)).min(limit);
        self.active.reserved = end;
        let file = self.segment().file.clone()?;
        (start < end).then_some(Reserve {
            file,
            range: start..end,
        })
    }

    /// File work that may wait a little: index entries, the files of a rolled segment, snapshots, epochs. Run it on the
    /// companion and hand the outcome to [`Log::worked`]. `None` while one is out.
    pub fn take_work(&mut self) -> Option<super::Work> {
        if self.failed.is_some() {
            return None;
        }
        if self.chores.is_idle()
            && self.active.recent.len() - self.active.recent_on_disk >= buggify!(RECENT_MAX, 3)
        {
            mark!("index entries written before a roll");
            let (steps, written) = self.index_steps(Ending::Open);
            self.chores.add(steps, NO_BARRIER, Some(written));
        }
        if !self.chores.is_due() {
            return None;
        }
        let token = self.token();
        Some(self.chores.take(&self.dir, token))
    }

    /// What came of a work. A failure takes the log out of service, but for a full disk: then what is undone is due
    /// again ([`Log::take_work`], when there may be room), and until it is done the recovery point stays where it is.
    pub fn worked(&mut self, outcome: super::WorkOutcome) -> Result<(), WriteFault> {
        match outcome.result {
            Ok(()) => {}
            Err(error) if error.is_full() => {
                if self.chores.again(outcome.token, outcome.undone) {
                    self.finish_swap();
                }
                return Err(WriteFault::Full(error.source));
            }
            Err(error) => {
                self.fail(&error.to_string());
                return Err(WriteFault::Failed(error.source));
            }
        }
        let done = self.chores.done(outcome.token);
        if done.swap {
            self.finish_swap();
        }
        for written in done.index_written {
            if written.base == self.segment().base {
                self.active.index_unsynced = true;
                let on_disk = written.index_entries - self.segment().index_entries;
                self.active.recent_on_disk += on_disk as usize;
                let times = written.time_entries - self.segment().time_entries;
                self.active.times.drain(..times as usize);
                let kept = buggify!(RECENT_KEPT, 2);
                let surplus = self.active.recent_on_disk.saturating_sub(kept);
                self.active.recent.drain(..surplus);
                self.active.recent_on_disk -= surplus;
            }
            if let Some(at) = self.segment_index(written.base) {
                self.segments[at].index_entries = written.index_entries;
                self.segments[at].time_entries = written.time_entries;
            }
        }
        if self.chores.is_idle() && self.aborted_from < self.segment().base {
            // The sealed segments' files have theirs now. An entry lies where its marker does.
            let base = self.segment().base;
            self.aborted_from = base;
            self.aborted.retain(|entry| entry.last_offset >= base);
        }
        Ok(())
    }

    /// The stretch of the stream that is not in the files yet.
    pub(super) fn unwritten_stream(&self) -> Range<u64> {
        let end = self.tail.end();
        self.writes.front().map_or(end, |write| write.stream.start)..end
    }

    /// Gives every batch its place, or checks the place the leader gave it. Returns the bytes of all.
    fn place(
        &self,
        batches: &mut [Batch],
        origin: Origin,
        leader_epoch: LeaderEpoch,
    ) -> Result<u64, AppendError> {
        let mut next = self.end;
        let mut size = 0;
        for batch in batches.iter_mut() {
            if origin == Origin::Replication {
                let base = batch.header().base_offset;
                if base < next {
                    return Err(AppendError::OutOfOrder { base, end: next });
                }
            } else {
                batch.place(next, leader_epoch);
            }
            let header = batch.header();
            let offsets = i64::from(header.last_offset_delta) + 1;
            next = header
                .base_offset
                .checked_add(offsets)
                .filter(|next| next.0 < i64::MAX)
                .ok_or(AppendError::OffsetsExhausted(next))?;
            size += batch.size() as u64;
        }
        if batches.is_empty() {
            return Err(AppendError::Empty);
        }
        let limit = self.settings.segment_bytes;
        if size > u64::from(limit) && origin != Origin::Replication {
            return Err(AppendError::LargerThanSegment { size, limit });
        }
        Ok(size)
    }

    /// Kafka's rules: no larger than `segment.bytes`, no older than `segment.ms`, room in both indexes, offsets that
    /// fit the index's 31 bits.
    fn roll_due(&self, size: u64, last_offset: Offset, newest: Timestamp, now: Timestamp) -> bool {
        let segment = self.segment();
        let waited = match self.active.first_timestamp {
            Some(first) if first.is_some() => newest.0.saturating_sub(first.0),
            _ => now.0.saturating_sub(self.active.created.0),
        };
        let entries_max = self.settings.segment_index_bytes / 8;
        let time_entries_max = (self.settings.segment_index_bytes / 12).max(1) - 1;
        let unwritten = self.active.recent.len() - self.active.recent_on_disk;
        let limit = u64::from(self.settings.segment_bytes.min(i32::MAX.unsigned_abs()));
        segment.size > 0
            && (segment.size + size > limit
                || waited > self.settings.segment_ms - self.active.jitter_ms
                || segment.index_entries as usize + unwritten >= entries_max as usize
                || segment.time_entries as usize + self.active.times.len()
                    >= time_entries_max as usize
                || last_offset.since(segment.base) > i64::from(i32::MAX))
    }

    /// Ends the active segment and starts one at `base`. Only the creation of the file happens here.
    pub(super) fn roll(&mut self, base: Offset, now: Timestamp) -> Result<(), DiskError> {
        assert!(
            base > self.segment().base,
            "a roll to {base} from {}",
            self.segment().base
        );
        let file = self
            .dir
            .open_file(&self.name(base, Content::Log), Mode::Replace)?;
        file.will_read_anywhere();
        mark!("segment rolled");
        self.folder_changed = true;
        self.seal_active(base);
        let sealed = self.segments.len() - 1;
        self.segments[sealed].modified = now;
        let mut segment = Segment::empty(base, now);
        segment.file = Some(file);
        self.segments.push(segment);
        self.active = Active::new(&self.settings, &self.folder, base, now);
        Ok(())
    }

    /// Queues what a sealed segment needs on disk before the recovery point may pass it: its indexes and the
    /// producer snapshot at its end. The segment that follows at `next` gets its index files then, too.
    fn seal_active(&mut self, next: Offset) {
        let base = self.segment().base;
        let (mut steps, written) = self.index_steps(Ending::Sealed);
        steps.extend(self.finish_indexes(&written));
        let aborted = self.segment().aborted;
        if aborted > 0 {
            steps.push(Step::Finish {
                name: self.name(base, Content::TxnIndex),
                size: u64::from(aborted) * AbortedTransaction::SIZE as u64,
            });
        }
        steps.push(Step::Replace {
            name: self.name(self.end, Content::Snapshot),
            content: self.producers.snapshot().encode().into(),
        });
        self.snapshot = self.end;
        for content in [Content::Index, Content::TimeIndex] {
            steps.push(Step::Write {
                name: self.name(next, content),
                position: 0,
                bytes: Bytes::new(),
            });
        }
        steps.push(Step::SyncDir {
            name: self.folder.to_string(),
        });
        self.chores.add(steps, base, Some(written));
    }

    /// The steps that bring the active segment's index files up to date, counting from what is in them for certain:
    /// writing an entry twice is harmless.
    pub(super) fn index_steps(&mut self, ending: Ending) -> (Vec<Step>, IndexWritten) {
        let segment = self.segment();
        let active = &self.active;
        let mut times = active.times.clone();
        if ending == Ending::Sealed && segment.max_timestamp > active.last_time {
            times.push(TimeEntry {
                timestamp: segment.max_timestamp,
                relative_offset: relative(segment.max_timestamp_offset, segment.base),
            });
        }
        // Never an entry for a batch that is not in the file yet.
        let is_written = |entry: &RecentEntry| u64::from(entry.entry.position) < segment.written;
        let recent = &active.recent[active.recent_on_disk..];
        let recent = match ending {
            Ending::Open => &recent[..recent.partition_point(is_written)],
            Ending::Sealed => recent,
        };
        let end = segment.base + i64::from(recent.last().map_or(0, |r| r.entry.relative_offset));
        if ending == Ending::Open {
            times.truncate(
                times.partition_point(|t| segment.base + i64::from(t.relative_offset) <= end),
            );
        }
        let index: Vec<u8> = recent
            .iter()
            .flat_map(|recent| recent.entry.encode())
            .collect();
        let time_index: Vec<u8> = times.iter().flat_map(|entry| entry.encode()).collect();
        let written = IndexWritten {
            base: segment.base,
            index_entries: segment.index_entries + count(recent.len()),
            time_entries: segment.time_entries + count(times.len()),
        };
        let mut steps = Vec::new();
        for (content, position, bytes) in [
            (
                Content::Index,
                u64::from(segment.index_entries) * INDEX_ENTRY_SIZE as u64,
                index,
            ),
            (
                Content::TimeIndex,
                u64::from(segment.time_entries) * TIME_ENTRY_SIZE as u64,
                time_index,
            ),
        ] {
            if !bytes.is_empty() {
                let (name, bytes) = (self.name(segment.base, content), bytes.into());
                steps.push(Step::Write {
                    name,
                    position,
                    bytes,
                });
            }
        }
        if ending == Ending::Sealed {
            if let Some(last) = times.last() {
                self.active.last_time = last.timestamp;
            }
            self.active.times = times;
        }
        (steps, written)
    }

    /// The steps that give the active segment's index files their size and sync them.
    pub(super) fn finish_indexes(&self, written: &IndexWritten) -> [Step; 2] {
        [
            Step::Finish {
                name: self.name(written.base, Content::Index),
                size: u64::from(written.index_entries) * INDEX_ENTRY_SIZE as u64,
            },
            Step::Finish {
                name: self.name(written.base, Content::TimeIndex),
                size: u64::from(written.time_entries) * TIME_ENTRY_SIZE as u64,
            },
        ]
    }

    /// Puts one placed batch into the tail, the books and the index.
    fn take_in(&mut self, batch: &Batch, now: Timestamp) {
        let header = *batch.header();
        let position = self.segment().size;
        let size = batch.size() as u64;
        let stream = self.tail.end();
        let at = u32::try_from(position).unwrap_or(u32::MAX);
        self.tail.push(
            header.base_offset,
            header.next_offset(),
            at,
            &batch.head(),
            &batch.body(),
        );
        self.note_pending(position, stream..stream + size, header.next_offset());

        let interval = u64::from(self.settings.index_interval_bytes);
        let segment = self.segment_mut();
        segment.note_timestamp(header.max_timestamp, header.last_offset());
        segment.size += size;
        segment.modified = now;
        let base = segment.base;
        let newest = (segment.max_timestamp, segment.max_timestamp_offset);
        let active = &mut self.active;
        active.first_timestamp.get_or_insert(header.max_timestamp);
        if active.bytes_since_index > interval {
            active.recent.push(RecentEntry {
                entry: IndexEntry {
                    relative_offset: relative(header.last_offset(), base),
                    position: at,
                },
                relative_base: relative(header.base_offset, base),
            });
            if newest.0 > active.last_time {
                active.last_time = newest.0;
                active.times.push(TimeEntry {
                    timestamp: newest.0,
                    relative_offset: relative(newest.1, base),
                });
            }
            active.bytes_since_index = 0;
        }
        active.bytes_since_index += size;
        self.end = header.next_offset();
        self.note_producer(batch);
        self.note_epoch(header.leader_epoch, header.base_offset);
    }

    /// Whether the producers of all batches may append; a repeated batch is answered with its offsets of then.
    fn check_producers(
        &self,
        batches: &[Batch],
        origin: Origin,
    ) -> Result<Option<Appended>, AppendError> {
        for batch in batches {
            let header = batch.header();
            if header.attributes.is_control() {
                if let Some(marker) = end_marker(batch) {
                    // `append_marker` has asked for more where the coordinator goes by version 2.
                    let version = TransactionVersion::One;
                    self.producers
                        .admit_marker(header, marker, version, origin.of_producer())?;
                }
                continue;
            }
            if let Admission::Duplicate(then) =
                self.producers.admit(header, origin.of_producer())?
            {
                return Ok(Some(Appended {
                    first_offset: then.first_offset(),
                    last_offset: then.last_offset,
                    log_append_time: then.timestamp,
                    log_start_offset: self.start,
                    duplicate: true,
                }));
            }
        }
        Ok(None)
    }

    /// Records an appended batch with its producer; an abort marker gives an entry of the aborted index.
    fn note_producer(&mut self, batch: &Batch) {
        let header = batch.header();
        if !header.attributes.is_control() {
            self.producers.append(header);
            return;
        }
        let Some(marker) = end_marker(batch) else {
            self.producers.append(header);
            return;
        };
        let Some(completed) = self.producers.append_marker(header, marker) else {
            return;
        };
        if completed.aborted {
            let entry = AbortedTransaction {
                producer: completed.producer,
                first_offset: completed.first_offset,
                last_offset: completed.last_offset,
                last_stable_offset: self.producers.last_stable_offset_after(&completed),
            };
            let name = self.name(self.segment().base, Content::TxnIndex);
            let segment = self.segment_mut();
            let position = u64::from(segment.aborted) * AbortedTransaction::SIZE as u64;
            segment.aborted += 1;
            let base = segment.base;
            let bytes = Bytes::copy_from_slice(&entry.encode());
            // Below the barrier the file is believed, so it must be complete there.
            self.chores.add(
                vec![Step::Write {
                    name,
                    position,
                    bytes,
                }],
                base,
                None,
            );
            self.aborted.push(entry);
        }
    }

    fn note_pending(&mut self, position: u64, stream: Range<u64>, end_offset: Offset) {
        let base = self.segment().base;
        if let Some(last) = self.writes.back_mut()
            && last.state == WriteState::Waiting
            && last.base == base
            && stream.end - last.stream.start <= buggify!(WRITE_SIZE_MAX, 700)
        {
            last.stream.end = stream.end;
            last.end_offset = end_offset;
            return;
        }
        let state = WriteState::Waiting;
        self.writes.push_back(PendingWrite {
            base,
            position,
            stream,
            end_offset,
            state,
        });
    }

    fn note_epoch(&mut self, epoch: LeaderEpoch, start: Offset) {
        if epoch.is_some() && self.epochs.assign(epoch, start) {
            let name = format!("{}/{}", self.folder, crate::checkpoint::name::LEADER_EPOCHS);
            let content = self.epochs.print().into();
            self.chores
                .add(vec![Step::ReplaceAtomically { name, content }], start, None);
        }
    }

    /// Some segment before `base` has bytes that are not durable.
    fn predecessor_undurable(&self, base: Offset) -> bool {
        let syncing = self.syncing.iter().flat_map(|sync| &sync.bases);
        self.writes.iter().any(|write| write.base < base)
            || self
                .unsynced
                .iter()
                .chain(syncing)
                .any(|unsynced| *unsynced < base)
    }

    /// The `.log` file of a segment, opened when it is not.
    pub(super) fn log_file(&mut self, base: Offset) -> Result<File, DiskError> {
        let at = self.segment_at(base);
        if let Some(file) = &self.segments[at].file {
            return Ok(file.clone());
        }
        let file = self
            .dir
            .open_file(&self.name(base, Content::Log), Mode::Create)?;
        file.will_read_anywhere();
        self.segments[at].file = Some(file.clone());
        Ok(file)
    }

    /// A sealed segment that is durable gives back the blocks reserved behind its end.
    fn give_back_reserved(&mut self, bases: &[Offset]) {
        for base in bases {
            let Some(at) = self.segment_index(*base) else {
                continue;
            };
            let segment = &self.segments[at];
            if at + 1 < self.segments.len()
                && segment.written == segment.size
                && segment.size >= buggify!(RESERVE_FROM, 100)
            {
                mark!("reserved space given back");
                let name = self.name(*base, Content::Log);
                let steps = vec![Step::Finish {
                    name,
                    size: segment.size,
                }];
                self.chores.add(steps, NO_BARRIER, None);
            }
        }
    }
}

impl Active {
    pub(crate) fn new(
        settings: &super::LogSettings,
        folder: &str,
        base: Offset,
        now: Timestamp,
    ) -> Self {
        Self {
            first_timestamp: None,
            created: now,
            bytes_since_index: 0,
            recent: Vec::new(),
            recent_on_disk: 0,
            times: Vec::new(),
            last_time: Timestamp::NONE,
            jitter_ms: jitter(
                folder,
                base,
                settings.segment_jitter_ms.min(settings.segment_ms),
            ),
            reserved: 0,
            index_unsynced: false,
        }
    }
}

/// What a control batch says, when it ends a transaction.
pub(crate) fn end_marker(batch: &Batch) -> Option<EndTransactionMarker> {
    let payload = batch.open(CONTROL_BYTES_MAX).ok()?;
    let record = payload.records().next()?.ok()?;
    EndTransactionMarker::decode(record.key?, record.value?)
}

/// Below `max`, different for each segment and the same in each run: FNV-1a over folder and base.
fn jitter(folder: &str, base: Offset, max: i64) -> i64 {
    if max <= 0 {
        return 0;
    }
    let bytes = folder.bytes().chain(base.0.to_be_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    i64::try_from(hash % max.unsigned_abs()).unwrap_or(0)
}

/// An offset as the index stores it. The roll decision keeps it within 31 bits.
fn relative(offset: Offset, base: Offset) -> u32 {
    u32::try_from(offset.since(base)).unwrap_or(u32::MAX)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Most bytes of one write: larger ones cost no less per byte, and hold back the answers of what is in front.
const WRITE_SIZE_MAX: u64 = 4 << 20;
/// Index entries in memory that are worth a write: 4 KiB of them.
const RECENT_MAX: usize = 512;
/// Index entries kept in memory though they are in the file: readers near the tail find their place by them.
const RECENT_KEPT: usize = 512;
/// Control records are a few bytes; nobody compresses them.
const CONTROL_BYTES_MAX: usize = 64 << 10;
const RESERVE_FROM: u64 = 64 << 10;
const RESERVE_AHEAD: u64 = 512 << 10;
const RESERVE_MIN: u64 = 1 << 20;
const RESERVE_MAX: u64 = 16 << 20;

const _: () = assert!(RESERVE_AHEAD < RESERVE_MIN);
