//! One partition's log.
//!
//! **Owns** the segments of a partition, its tail in memory, its offsets, what is written and what is durable.
//! **Lives on** the shard that owns the partition; a plain struct without a clock, a thread or a lock.
//! **Invariants** 1. start ≤ last stable ≤ high watermark ≤ end; durable ≤ written ≤ end. 2. What is not written
//! is in the tail. 3. A read never passes the upper offset it was given. 4. After a failed write or sync nothing is
//! appended, written or called durable any more.
//! **Not here** who may write (`broker`), the checks of a batch (`batch`), the bytes of the files (`index`, `producer`,
//! `checkpoint`).
//!
//! The owner drives it with plans; each is plain data, is executed elsewhere, and its outcome is handed back:
//!
//! | plan | where it runs | handed back by |
//! |---|---|---|
//! | [`Write`] | inline, or the ring | [`Log::written`] |
//! | [`Sync`] | ring `fdatasync`, or [`Sync::run`] on the companion | [`Log::synced`] |
//! | [`Work`] | [`Work::run`] on the companion | [`Log::worked`] |
//! | [`LocateJob`] | [`LocateJob::run`] inline with [`Wait::No`], then on the companion | [`Log::located`] |
//! | [`TimestampJob`], [`AbortedJob`] | the same | nothing: the answer is the result |
//! | [`Truncate`] | [`Truncate::run`] on the companion | [`Log::truncated`] |
//! | [`Cleaning`](crate::compaction::Cleaning) | `run` on the companion, slice by slice | [`Log::replace`] |

mod append;
mod change;
mod lookup;
mod read;
mod relocate;
mod swap;
mod tail;
mod transactions;
mod work;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

pub use crate::disk::Wait;
pub use crate::retention::Reason as DeleteReason;
pub use append::{AppendError, Appended, Origin, Reserve, Sync, Token, Write, WriteFault};
pub use change::{Close, Truncate};
pub use lookup::{AbortedJob, Lookup, TimestampJob, TimestampOffset};
pub use read::{LocateError, LocateJob, Located, Parts, Read, ReadError};
pub use swap::Replaced;
pub use work::{Work, WorkOutcome};

pub use crate::recovery::{OpenError, Progress, Recovered};

use crate::checkpoint::PartitionMetadata;
use crate::disk::{DiskError, LogDir};
use crate::epochs::LeaderEpochs;
use crate::producer::{AbortedTransaction, Producers};
use crate::recovery;
use crate::segment::Segment;
use crate::types::{LeaderEpoch, Offset, Timestamp, TopicPartition};
pub(crate) use append::end_marker;
pub(crate) use read::Cursors;
pub(crate) use tail::Tail;
pub(crate) use work::Chores;

/// The settings of a topic that its logs go by, with Kafka's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `segment.bytes`: a segment is rolled before it would exceed this.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment is rolled when its first batch is older than this.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: at most this is taken off `segment_ms`, differently for each segment.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: a segment is rolled when its index would exceed this.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: an index entry is due when more than this was appended since the last.
    pub index_interval_bytes: u32,
    /// `retention.bytes`, or `None` for no limit.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`, or `None` for no limit.
    pub retention_ms: Option<i64>,
    /// Whether `cleanup.policy` contains `delete`; without it only what lies below the log start offset goes.
    pub delete: bool,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// `flush.messages`: the log is synced when this many offsets were appended since the last sync.
    pub flush_messages: i64,
    /// `flush.ms`: nothing appended stays unsynced longer than this.
    pub flush_ms: i64,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_bytes: None,
            retention_ms: Some(7 * 24 * 3_600_000),
            delete: true,
            producer_id_expiration_ms: 86_400_000,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
        }
    }
}

/// What is known of a partition when its log is opened.
#[derive(Clone, Debug)]
pub struct Open {
    /// From `recovery-point-offset-checkpoint`; 0 when it is not there. Below it everything is on disk.
    pub recovery_point: Offset,
    /// From `log-start-offset-checkpoint`; 0 when it is not there.
    pub log_start_offset: Offset,
    /// From `replication-offset-checkpoint`; bounded by the log's ends.
    pub high_watermark: Offset,
    /// Whether the log directory had its `.kafka_cleanshutdown`.
    pub clean_shutdown: bool,
    /// The time, in ms since 1970.
    pub now: Timestamp,
}

/// What the folder of a new partition says beside its empty log.
#[derive(Clone, Debug)]
pub struct NewPartition {
    /// Which topic it belongs to, for `partition.metadata`.
    pub metadata: Option<PartitionMetadata>,
    /// The epoch of its first leader, or none.
    pub leader_epoch: LeaderEpoch,
}

/// One partition's log. See the module's words.
#[derive(Debug)]
pub struct Log {
    pub(crate) dir: LogDir,
    pub(crate) partition: TopicPartition,
    /// Name of the folder in `dir`.
    pub(crate) folder: Arc<str>,
    pub(crate) settings: Arc<LogSettings>,
    /// Oldest first, never empty; the last is the active one.
    pub(crate) segments: Vec<Segment>,
    pub(crate) active: Active,
    pub(crate) tail: Tail,
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    pub(crate) high_watermark: Offset,
    /// Everything below is in the files.
    pub(crate) written: Offset,
    /// Everything below was synced, with the names of its files.
    pub(crate) durable: Offset,
    /// Appended but not handed out yet, or handed out and not confirmed; oldest first.
    pub(crate) writes: VecDeque<append::PendingWrite>,
    /// Base offsets of segments with bytes written since their last sync.
    pub(crate) unsynced: SmallVec<[Offset; 2]>,
    /// A file was created since the last sync of the folder.
    pub(crate) folder_changed: bool,
    pub(crate) syncing: Option<append::SyncInFlight>,
    pub(crate) next_token: u64,
    pub(crate) chores: Chores,
    /// Files that deletions renamed and that are to be unlinked.
    pub(crate) unlink: Vec<work::Step>,
    pub(crate) producers: Producers,
    pub(crate) epochs: LeaderEpochs,
    /// Aborted transactions of the active segment, and of sealed ones whose file may not have them yet.
    pub(crate) aborted: Vec<AbortedTransaction>,
    /// Segments from this base on have theirs in memory.
    pub(crate) aborted_from: Offset,
    /// The producer state on disk is that of this offset; a log without producers needs none at its beginning.
    pub(crate) snapshot: Offset,
    pub(crate) cursors: Cursors,
    /// Grows with every truncation.
    pub(crate) generation: u64,
    /// Grows with every truncation and every cleaned segment, so that an answer from before it is recognised.
    pub(crate) layout: u64,
    /// Below it the log is clean; none when no cleaning is known of.
    pub(crate) cleaned_to: Offset,
    /// The cleaned segment that is being taken over.
    pub(crate) swap: Option<Box<crate::compaction::Cleaned>>,
    pub(crate) failed: Option<Arc<str>>,
}

/// What only the active segment has.
#[derive(Debug)]
pub(crate) struct Active {
    /// Largest timestamp of the first batch: `segment.ms` counts from it.
    pub(crate) first_timestamp: Option<Timestamp>,
    pub(crate) created: Timestamp,
    pub(crate) bytes_since_index: u64,
    /// Index entries of this segment that are not in the file yet, and some that are.
    pub(crate) recent: Vec<RecentEntry>,
    /// How many of `recent` are in the file.
    pub(crate) recent_on_disk: usize,
    /// Time index entries that are not in the file yet.
    pub(crate) times: Vec<crate::index::TimeEntry>,
    /// Timestamp of the last entry, in memory or in the file.
    pub(crate) last_time: Timestamp,
    pub(crate) jitter_ms: i64,
    /// Bytes reserved for the file.
    pub(crate) reserved: u64,
    /// Entries were written to the index files that are not synced.
    pub(crate) index_unsynced: bool,
}

/// An index entry whose batch is known whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecentEntry {
    entry: crate::index::IndexEntry,
    /// Base offset of the batch, from the segment's.
    relative_base: u32,
}

impl Log {
    /// Creates the folder and the first segment of a new partition, durably. Blocks: for the companion.
    pub fn create(
        dir: &LogDir,
        partition: &TopicPartition,
        settings: Arc<LogSettings>,
        now: Timestamp,
    ) -> Result<Self, DiskError> {
        recovery::create(dir, partition, settings, now)
    }

    /// The same with all that a new partition's folder holds, but for the folder's own name: it is durable when the
    /// caller has synced the log directory (`dir.sync_dir("")`), once for many.
    pub fn create_unnamed(
        dir: &LogDir,
        partition: &TopicPartition,
        settings: Arc<LogSettings>,
        new: &NewPartition,
        now: Timestamp,
    ) -> Result<Self, DiskError> {
        recovery::create_unnamed(dir, partition, settings, new, now)
    }

    /// Opens the folder of a partition; without a clean shutdown what lies above the recovery point is scanned and
    /// a torn end cut off. Blocks: for the companion. Reads as fast as it may; `progress` is told of every batch
    /// checked.
    pub fn open(
        dir: &LogDir,
        partition: &TopicPartition,
        settings: Arc<LogSettings>,
        open: &Open,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, Recovered), OpenError> {
        recovery::open(dir, partition, settings, open, progress)
    }

    /// Which partition this is.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The log directory it lies in.
    pub fn dir(&self) -> &LogDir {
        &self.dir
    }

    /// The settings in force.
    pub fn settings(&self) -> &Arc<LogSettings> {
        &self.settings
    }

    /// Changes the settings from the next decision on.
    pub fn set_settings(&mut self, settings: Arc<LogSettings>) {
        self.producers
            .set_expiration(settings.producer_id_expiration_ms);
        self.settings = settings;
    }

    /// The offset the next record gets (LEO).
    pub fn end_offset(&self) -> Offset {
        self.end
    }

    /// The first offset that can be read.
    pub fn start_offset(&self) -> Offset {
        self.start
    }

    /// The high watermark, as the broker advanced it.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Sets the high watermark, bounded by the log's ends. Never let it pass what replication has confirmed.
    pub fn set_high_watermark(&mut self, offset: Offset) {
        self.high_watermark = offset.clamp(self.start, self.end);
        self.producers.replicated_to(self.high_watermark);
    }

    /// The first offset of the oldest open transaction, or the high watermark when there is none below it.
    pub fn last_stable_offset(&self) -> Offset {
        match self.producers.first_unstable_offset() {
            Some(first) => first.clamp(self.start, self.high_watermark),
            None => self.high_watermark,
        }
    }

    /// Everything below is in the page cache: survives the process.
    pub fn written_offset(&self) -> Offset {
        self.written
    }

    /// Everything below was synced: survives the machine. What `corelog.sync.on.ack` waits for.
    pub fn durable_offset(&self) -> Offset {
        self.durable
    }

    /// What the recovery-point checkpoint may say: below it data, indexes, snapshots and epochs are on disk.
    pub fn recovery_point(&self) -> Offset {
        self.durable
            .min(self.chores.barrier())
            .max(self.segments[0].base)
    }

    /// Bytes of all segments.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// Bytes in the file of the segment that holds `offset`, or would: what of it may be read.
    pub fn written_size_at(&self, offset: Offset) -> u64 {
        self.segments[self.segment_at(offset)].written
    }

    /// How many segments there are, the active one included.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Bytes held in memory by the tail.
    pub fn tail_bytes(&self) -> usize {
        self.tail.bytes()
    }

    /// Drops the oldest of the tail until at most `keep` bytes are held; what is not written stays. Returns what is
    /// held then.
    pub fn trim_tail(&mut self, keep: usize) -> usize {
        self.tail.trim(keep, self.written);
        self.tail.bytes()
    }

    /// Gives back what an idle partition does not need: the written tail, index entries that are in the file, and
    /// (when nothing is unsynced) all descriptors. They are opened again on use.
    pub fn release_idle(&mut self) {
        self.trim_tail(0);
        self.tail.shrink();
        self.cursors = Cursors::default();
        self.active.recent.drain(..self.active.recent_on_disk);
        self.active.recent_on_disk = 0;
        self.active.recent.shrink_to_fit();
        self.active.times.shrink_to_fit();
        self.writes.shrink_to_fit();
        if self.writes.is_empty() && self.unsynced.is_empty() {
            for segment in &mut self.segments {
                segment.file = None;
                segment.index_file = None;
            }
        }
    }

    /// Open descriptors held.
    pub fn descriptor_count(&self) -> usize {
        let open =
            |s: &Segment| usize::from(s.file.is_some()) + usize::from(s.index_file.is_some());
        self.segments.iter().map(open).sum()
    }

    /// Why the log takes nothing any more, if it does not: a write or a sync failed.
    pub fn failure(&self) -> Option<&Arc<str>> {
        self.failed.as_ref()
    }

    /// Takes the log out of service from outside: its log directory failed.
    pub fn fail(&mut self, why: &str) {
        if self.failed.is_none() {
            self.failed = Some(why.into());
        }
    }

    /// The producers known here.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// The leader epochs known here.
    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// The range of bytes of the active file that holds data, for writeback and dropping behind.
    pub fn active_range(&self) -> Range<u64> {
        0..self.segment().written
    }

    fn segment(&self) -> &Segment {
        &self.segments[self.segments.len() - 1]
    }

    fn segment_mut(&mut self) -> &mut Segment {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    /// Index of the segment that holds `offset`, or would.
    fn segment_at(&self, offset: Offset) -> usize {
        self.segments
            .partition_point(|segment| segment.base <= offset)
            .saturating_sub(1)
    }

    fn segment_index(&self, base: Offset) -> Option<usize> {
        self.segments
            .binary_search_by_key(&base, |segment| segment.base)
            .ok()
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    pub(crate) fn name(&self, base: Offset, content: crate::segment::name::Content) -> String {
        format!(
            "{}/{}",
            self.folder,
            crate::segment::name::file(base, content)
        )
    }
}

#[cfg(test)]
mod tests;
