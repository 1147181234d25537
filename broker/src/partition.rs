//! One partition on the shard that owns it: its log, what of it is written and durable, who waits.
//!
//! Owns: the [`Partition`], its high watermark, the producers and readers that wait for it.
//! Lives on: the shard `(hash(topic id) + partition) mod shards`, see [`owner`].
//! Invariants:
//! 1. `high_watermark <= log end`; it never goes back while the partition is open.
//! 2. A produce request is answered only when the offset it waits for is written (and, where the
//!    settings ask for it, durable), or with an error.
//! 3. Once a write or sync of a log failed, the partition is [`State::Offline`] until a restart.
//!
//! Not here: offsets, segments and files (`corelog_storage::log`), the flush and sync tasks that
//! carry out the log's plans (`shard/flush.rs`).

pub(crate) mod append;
pub(crate) mod lookup;
pub(crate) mod read;
pub(crate) mod readahead;
pub(crate) mod watch;

use std::cell::{Cell, RefCell};

use corelog_runtime::{Instant, Notify};
use corelog_storage::log::Log;
use corelog_storage::types::{LeaderEpoch, Offset, TopicId, TopicPartition};

use crate::metrics::Traffic;
use crate::shard::direct::DirectFile;
use watch::Watcher;

/// What a partition can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Online,
    /// Its disk failed; nothing of it is trusted before a restart.
    Offline,
    /// Deleted, or the broker stops.
    Closed,
}

/// One partition of one topic.
pub(crate) struct Partition {
    pub(crate) name: TopicPartition,
    pub(crate) topic_id: TopicId,
    /// Index of the log directory it lives in.
    pub(crate) directory: Cell<usize>,
    /// The directory it left by a move, until the checkpoint files say where it is.
    pub(crate) left: Cell<Option<usize>>,
    /// A move of it is under way: cleaners leave its segments as they are.
    pub(crate) moving: Cell<bool>,
    /// A cleaning of it is under way: a move waits for its end.
    pub(crate) cleaning: Cell<bool>,
    /// Its folder changes its place: no plan of the log may be taken.
    pub(crate) held: Cell<bool>,
    /// Its topic was deleted.
    pub(crate) deleted: Cell<bool>,
    pub(crate) log: RefCell<Log>,
    pub(crate) leader_epoch: Cell<LeaderEpoch>,
    pub(crate) state: Cell<State>,
    /// The log's, kept here so that it is read without borrowing the log.
    high_watermark: Cell<Offset>,
    /// Everything below is on the disk.
    pub(crate) durable: Cell<Offset>,
    /// Wakes producers: `high_watermark`, `durable` or `state` changed.
    pub(crate) progress: Notify,
    /// The way past the page cache into its newest segment, when large stretches are written.
    pub(crate) direct: RefCell<Option<DirectFile>>,
    /// A write is with the kernel: the next is taken when it is done.
    pub(crate) writing: Cell<bool>,
    /// Bytes of the write that was done last.
    pub(crate) last_write: Cell<u64>,
    /// Queued for the flush task; to be synced behind its next write.
    pub(crate) write_queued: Cell<bool>,
    pub(crate) sync_wanted: Cell<bool>,
    /// To be synced when the sync under way has ended, or at once.
    pub(crate) sync_queued: Cell<bool>,
    /// Syncs of it are under way.
    pub(crate) syncing: Cell<bool>,
    /// The end of the log when `flush.messages` last asked for a sync.
    pub(crate) flush_asked: Cell<Offset>,
    /// A timer of `flush.ms` runs.
    pub(crate) flush_timed: Cell<bool>,
    /// The companion does file work of the log.
    pub(crate) working: Cell<bool>,
    /// A write or file work found the disk full; it is tried again.
    pub(crate) starved: Cell<bool>,
    /// The high watermark at the last housekeeping: unchanged, the log is idle.
    pub(crate) swept: Cell<Offset>,
    /// When retention last took segments out of the log.
    pub(crate) deleted_at: Cell<Instant>,
    /// Its data does not read as it should: it is not compacted before a restart.
    pub(crate) uncleanable: Cell<bool>,
    /// The number of the piece of the shard's cache window that grows with this log.
    pub(crate) cache_piece: Cell<u64>,
    /// What the log's tail holds, as counted in the shard's sum.
    pub(crate) tail_bytes: Cell<usize>,
    pub(crate) traffic: Traffic,
    /// Readers that are told of changes.
    watchers: RefCell<Vec<Watcher>>,
}

impl Partition {
    pub(crate) fn new(
        name: TopicPartition,
        topic_id: TopicId,
        directory: usize,
        leader_epoch: LeaderEpoch,
        log: Log,
    ) -> Self {
        Self {
            name,
            topic_id,
            directory: Cell::new(directory),
            left: Cell::new(None),
            moving: Cell::new(false),
            cleaning: Cell::new(false),
            held: Cell::new(false),
            deleted: Cell::new(false),
            leader_epoch: Cell::new(leader_epoch),
            state: Cell::new(State::Online),
            high_watermark: Cell::new(log.high_watermark()),
            durable: Cell::new(log.durable_offset()),
            flush_asked: Cell::new(log.durable_offset()),
            log: RefCell::new(log),
            progress: Notify::new(),
            writing: Cell::new(false),
            direct: RefCell::new(None),
            last_write: Cell::new(0),
            write_queued: Cell::new(false),
            sync_wanted: Cell::new(false),
            sync_queued: Cell::new(false),
            syncing: Cell::new(false),
            flush_timed: Cell::new(false),
            working: Cell::new(false),
            starved: Cell::new(false),
            swept: Cell::new(Offset::NONE),
            deleted_at: Cell::new(Instant::default()),
            uncleanable: Cell::new(false),
            cache_piece: Cell::new(0),
            tail_bytes: Cell::new(0),
            traffic: Traffic::default(),
            watchers: RefCell::new(Vec::new()),
        }
    }

    /// Everything below is in every in-sync replica's log and visible to consumers.
    pub(crate) fn high_watermark(&self) -> Offset {
        self.high_watermark.get()
    }

    /// The high watermark moves to `to`, `bytes` further: producers and readers learn of it.
    pub(crate) fn advance(&self, to: Offset, bytes: u64) {
        assert!(
            to >= self.high_watermark.get(),
            "a high watermark went back"
        );
        self.log.borrow_mut().set_high_watermark(to);
        self.high_watermark.set(to);
        self.progress.notify_all();
        self.watchers.borrow_mut().retain(|one| one.fed(bytes));
    }

    /// A write or file work was done: if the disk was full, is it no longer?
    pub(crate) fn note_room(&self) {
        if self.starved.get() && !self.log.borrow().has_unwritten() {
            self.starved.set(false);
            tracing::info!("partition={} is written again", self.name);
        }
    }

    /// Is something appended not durable yet?
    pub(crate) fn is_busy(&self) -> bool {
        let log = self.log.borrow();
        self.write_queued.get()
            || self.held.get()
            || self.sync_queued.get()
            || self.working.get()
            || log.has_unwritten()
            || log.durable_offset() < log.end_offset()
    }

    /// Does the log, appended up to `end`, owe a sync to `flush.messages`? Then the count starts anew.
    pub(crate) fn flush_due(&self, end: Offset, flush_messages: i64) -> bool {
        let from = self.flush_asked.get().max(self.durable.get());
        let due = end.since(from) >= flush_messages;
        if due {
            self.flush_asked.set(end);
        }
        due
    }

    /// The log begins later than before: readers hear of it with their next fetch.
    pub(crate) fn start_moved(&self) {
        self.watchers.borrow_mut().retain(Watcher::mark);
    }

    /// Ends the partition's work: everyone who waits is told, and lets go of it.
    pub(crate) fn shut(&self, state: State) {
        self.state.set(state);
        self.progress.notify_all();
        let watchers = self.watchers.take();
        watchers.iter().for_each(Watcher::lost);
    }

    /// Lets a reader know of changes. Entries of readers that are gone leave when data comes, or here.
    pub(crate) fn watch(&self, watcher: Watcher) {
        let mut all = self.watchers.borrow_mut();
        if all.len() == all.capacity() {
            all.retain(Watcher::is_current);
        }
        all.push(watcher);
    }
}

/// The shard that owns partition `partition` of topic `topic_id`: a pure function of the two and
/// the number of shards, so every shard knows it.
pub(crate) fn owner(topic_id: TopicId, partition: i32, shards: usize) -> usize {
    Owners::of(topic_id, shards).of_partition(partition)
}

/// The shards that own the partitions of one topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owners {
    hash: u64,
    shards: usize,
}

impl Owners {
    pub(crate) fn of(topic_id: TopicId, shards: usize) -> Self {
        // FNV-1a; a topic id is random, a few of its bytes would do, but ids of tests are not.
        let hash = topic_id
            .0
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Self { hash, shards }
    }

    /// See [`owner`].
    pub(crate) fn of_partition(self, partition: i32) -> usize {
        let sum = self.hash.wrapping_add(u64::from(partition.unsigned_abs()));
        let place = sum % self.shards as u64;
        usize::try_from(place).expect("a remainder of the shard count fits")
    }
}
