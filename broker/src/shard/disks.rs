//! The log directories as all shards see them, and what this shard may still append in each.
//!
//! Owns: [`Disks`] (shared: condition, free space and reserve of each directory), [`Allowances`] (per shard), the task
//! that looks at the disks.
//! Lives on: every shard; shard 0 looks for all, on its companion.
//! Invariants:
//! 1. An append costs no system call. What a look finds free above the reserve is a pool; shards take [`CHUNK`]s of it
//!    and count them down. Only a shard that finds the pool empty looks itself. So producers overshoot the reserve by
//!    no more than one chunk per shard, however fast they are.
//! 2. What producers send is refused when its directory is full; what the broker itself writes (group offsets,
//!    metadata) is not, as long as there is any space.
//! 3. A full directory is left by a look, never by a restart; a failed one by a restart, never by a look.
//! 4. A failed directory takes its partitions offline on every shard, and nothing else.
//!
//! Not here: the arithmetic (`corelog_storage::disks`), writing (`flush.rs`).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use corelog_net::wire::Uuid;
use corelog_storage::disk::{DiskError, LogDir, Look};
use corelog_storage::disks::{self, Fullness};
use corelog_storage::types::TopicId;

use crate::group::OFFSETS_TOPIC;
use crate::mesh::Request;
use crate::partition::{Partition, State};
use crate::shard::Shard;
use crate::shard::control::Question;
use crate::txn::TRANSACTION_TOPIC;

/// The condition of one log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It takes everything.
    Usable,
    /// What is free is the reserve: producers are refused.
    Full,
    /// It failed; nothing in it is trusted before a restart.
    Offline,
}

/// The log directories, shared by all shards.
#[derive(Debug)]
pub(crate) struct Disks {
    all: Box<[Disk]>,
    /// `corelog.disk.reserve.bytes`; [`RESERVE_BY_SIZE`] takes the part of the disk.
    reserve: AtomicU64,
    /// `replica.alter.log.dirs.io.max.bytes.per.second`, shared by the moves of all shards.
    move_rate: AtomicU64,
    moves: AtomicU64,
}

/// One log directory. Numbers are of the last look.
#[derive(Debug)]
struct Disk {
    directory: LogDir,
    /// `None` when it was not in use from the start.
    id: Option<TopicId>,
    /// Device and inode at start: another directory under the same path is not ours.
    identity: Option<(u64, u64)>,
    condition: AtomicU8,
    free: AtomicU64,
    total: AtomicU64,
    /// What shards may still take before the next look.
    pool: AtomicU64,
    /// Partitions whose last write found no space, whatever the looks say.
    starved: AtomicUsize,
    /// How many log directories lie on the same volume, this one included.
    neighbours: usize,
}

/// What this shard may append in each directory before somebody must look again.
pub(crate) struct Allowances {
    disks: Arc<Disks>,
    left: Box<[Cell<u64>]>,
}

type DiskParts<'a> = (
    (&'a LogDir, &'a Option<TopicId>),
    &'a Result<Look, DiskError>,
);

impl Disks {
    /// The directories after a first look at each.
    pub(crate) fn new(
        directories: &[LogDir],
        ids: &[Option<TopicId>],
        reserve: Option<u64>,
    ) -> Self {
        let looks: Vec<_> = directories.iter().map(LogDir::look).collect();
        let device = |look: &Result<Look, DiskError>| look.as_ref().ok().map(|look| look.device);
        let disk = |((directory, id), look): DiskParts<'_>| Disk {
            directory: directory.clone(),
            id: *id,
            identity: look.as_ref().ok().map(Look::identity),
            condition: AtomicU8::new(if id.is_some() { USABLE } else { OFFLINE }),
            free: AtomicU64::new(look.as_ref().map_or(0, |look| look.free)),
            total: AtomicU64::new(look.as_ref().map_or(0, |look| look.total)),
            pool: AtomicU64::new(0),
            starved: AtomicUsize::new(0),
            neighbours: looks
                .iter()
                .filter(|other| device(other) == device(look))
                .count(),
        };
        Self {
            all: directories.iter().zip(ids).zip(&looks).map(disk).collect(),
            reserve: AtomicU64::new(reserve.unwrap_or(RESERVE_BY_SIZE)),
            move_rate: AtomicU64::new(u64::MAX),
            moves: AtomicU64::new(0),
        }
    }

    pub(crate) fn condition(&self, at: usize) -> Condition {
        match self.all[at].condition.load(Ordering::Relaxed) {
            USABLE => Condition::Usable,
            FULL => Condition::Full,
            _ => Condition::Offline,
        }
    }

    pub(crate) fn is_offline(&self, at: usize) -> bool {
        self.condition(at) == Condition::Offline
    }

    /// How many directories are offline: Kafka's `OfflineLogDirectoryCount`.
    pub(crate) fn offline_count(&self) -> usize {
        (0..self.all.len())
            .filter(|at| self.is_offline(*at))
            .count()
    }

    /// Free and all bytes of a directory's disk, and the bytes kept free, at the last look.
    pub(crate) fn room(&self, at: usize) -> (u64, u64, u64) {
        let disk = &self.all[at];
        let (free, total) = (&disk.free, &disk.total);
        let (free, total) = (free.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
        (free, total, self.reserve(at))
    }

    /// The id of a directory that was in use at start.
    pub(crate) fn id(&self, at: usize) -> Option<TopicId> {
        self.all[at].id
    }

    /// The directory with an id.
    pub(crate) fn find(&self, id: TopicId) -> Option<usize> {
        self.all.iter().position(|disk| disk.id == Some(id))
    }

    /// The ids of directories that are full: new partitions go elsewhere.
    pub(crate) fn full_ids(&self) -> Vec<TopicId> {
        let full = (0..self.all.len()).filter(|at| self.condition(*at) == Condition::Full);
        full.filter_map(|at| self.id(at)).collect()
    }

    pub(crate) fn path(&self, at: usize) -> std::path::Display<'_> {
        self.all[at].directory.root().display()
    }

    /// The directory is offline from now on; false when it was already.
    fn fail(&self, at: usize) -> bool {
        self.all[at].condition.swap(OFFLINE, Ordering::Relaxed) != OFFLINE
    }

    /// Bytes kept free in a directory.
    fn reserve(&self, at: usize) -> u64 {
        match self.reserve.load(Ordering::Relaxed) {
            RESERVE_BY_SIZE => disks::reserve_default(self.all[at].total.load(Ordering::Relaxed)),
            bytes => bytes,
        }
    }

    /// `corelog.disk.reserve.bytes` is this from now on.
    pub(crate) fn set_reserve(&self, reserve: Option<u64>) {
        let reserve = reserve.unwrap_or(RESERVE_BY_SIZE);
        if self.reserve.swap(reserve, Ordering::Relaxed) != reserve {
            // What has failed is found by the task that watches.
            (0..self.all.len()).for_each(|at| drop(self.look(at)));
        }
    }

    /// How a producer is told that its records are not taken.
    #[cold]
    pub(crate) fn full_sentence(&self, at: usize) -> String {
        format!(
            "the disk of log directory {} is full ({} bytes are free, corelog.disk.reserve.bytes keeps {}); \
             records are taken again when space is freed",
            self.all[at].directory.root().display(),
            self.all[at].free.load(Ordering::Relaxed),
            self.reserve(at)
        )
    }

    /// Looks at a directory now. Blocks no longer than a write does. Returns a sentence when it has failed.
    fn look(&self, at: usize) -> Option<String> {
        if self.is_offline(at) {
            return None;
        }
        match self.all[at].directory.look() {
            Ok(look) if look.read_only => Some("its file system is read-only".to_owned()),
            Ok(look) if self.all[at].identity != Some(look.identity()) => {
                Some("another directory has taken its place: was its disk unmounted?".to_owned())
            }
            Ok(look) => {
                self.note(at, &look);
                None
            }
            Err(error) => Some(error.to_string()),
        }
    }

    /// Takes in what a look found.
    fn note(&self, at: usize, look: &Look) {
        let disk = &self.all[at];
        disk.free.store(look.free, Ordering::Relaxed);
        disk.total.store(look.total, Ordering::Relaxed);
        let before = match self.condition(at) {
            Condition::Usable => Fullness::Room,
            Condition::Full => Fullness::Full,
            Condition::Offline => return,
        };
        let reserve = self.reserve(at);
        let pool = disks::allowance(look.free, reserve, disk.neighbours);
        disk.pool.store(pool, Ordering::Relaxed);
        match before.after(look.free, reserve) {
            Fullness::Room if disk.starved.load(Ordering::Relaxed) == 0 => {
                self.enter(at, Condition::Usable);
            }
            Fullness::Room => {}
            Fullness::Full => self.enter(at, Condition::Full),
        }
    }

    /// A change of condition is said once, by whoever comes first.
    fn enter(&self, at: usize, condition: Condition) {
        let disk = &self.all[at];
        let (from, to) = match condition {
            Condition::Usable => (FULL, USABLE),
            Condition::Full => (USABLE, FULL),
            Condition::Offline => unreachable!("a directory fails by `fail`"),
        };
        let swapped =
            disk.condition
                .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        if swapped.is_err() {
            return;
        }
        let path = disk.directory.root().display();
        let free = disk.free.load(Ordering::Relaxed);
        let reserve = self.reserve(at);
        match condition {
            Condition::Full => tracing::error!(
                "log directory {path} is full: free={free} reserve={reserve}; producers are refused until space is \
                 freed, everything else goes on"
            ),
            Condition::Usable => tracing::info!(
                "log directory {path} has room again: free={free} reserve={reserve}; producers are served"
            ),
            Condition::Offline => {}
        }
    }

    /// A write found no space, whatever the looks say.
    #[cold]
    pub(crate) fn found_full(&self, at: usize) {
        self.all[at].free.store(0, Ordering::Relaxed);
        self.enter(at, Condition::Full);
    }

    /// Takes a chunk of the pool, or `size` where that is more, or what is left.
    fn take(&self, at: usize, size: u64) -> u64 {
        let pool = &self.all[at].pool;
        let rest = |pool: u64| Some(pool.saturating_sub(size.max(CHUNK)));
        let before = pool
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest)
            .unwrap_or(0);
        before.min(size.max(CHUNK))
    }

    pub(crate) fn set_move_rate(&self, bytes_per_second: u64) {
        self.move_rate.store(bytes_per_second, Ordering::Relaxed);
    }

    /// What one move may copy in a second: its share. Nothing at all is a byte, so that a throttle of 0 can be lifted.
    pub(crate) fn move_rate(&self) -> u64 {
        let moves = self.moves.load(Ordering::Relaxed).max(1);
        (self.move_rate.load(Ordering::Relaxed) / moves).max(1)
    }

    pub(crate) fn move_begins(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn move_ends(&self) {
        self.moves.fetch_sub(1, Ordering::Relaxed);
    }

    fn starve(&self, at: usize) {
        self.all[at].starved.fetch_add(1, Ordering::Relaxed);
    }

    fn feed(&self, at: usize) {
        self.all[at].starved.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_any_full(&self) -> bool {
        (0..self.all.len()).any(|at| self.condition(at) == Condition::Full)
    }
}

impl Allowances {
    pub(crate) fn new(disks: Arc<Disks>) -> Self {
        let left = disks.all.iter().map(|_| Cell::new(0)).collect();
        Self { disks, left }
    }

    pub(crate) fn disks(&self) -> &Arc<Disks> {
        &self.disks
    }

    /// Whether a producer's batch may be appended in the directory; counts it if so.
    // HOT: no system call but when the allowance is used up
    pub(crate) fn admit(&self, at: usize, size: u64) -> bool {
        let left = self.left[at].get();
        if size <= left && self.disks.condition(at) == Condition::Usable {
            self.left[at].set(left - size);
            return true;
        }
        self.admit_more(at, size)
    }

    /// Counts what is appended whatever the condition.
    pub(crate) fn count(&self, at: usize, size: u64) {
        self.left[at].set(self.left[at].get().saturating_sub(size));
    }

    /// Whether blocks may be reserved ahead of the writes: they count as used, so only where there are plenty.
    pub(crate) fn reserves_ahead(&self, at: usize, size: u64) -> bool {
        let pool = &self.disks.all[at].pool;
        let take = |pool: u64| (pool / PLENTY >= size).then(|| pool - size);
        pool.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    #[cold]
    fn admit_more(&self, at: usize, size: u64) -> bool {
        for _ in 0..2 {
            if self.disks.condition(at) != Condition::Usable {
                break;
            }
            let left = self.left[at].get() + self.disks.take(at, size);
            self.left[at].set(left);
            if size <= left {
                self.left[at].set(left - size);
                return true;
            }
            if self.disks.look(at).is_some() {
                // The append will find it out, or the task that watches.
                return true;
            }
        }
        if self.disks.condition(at) == Condition::Usable {
            // What is left above the reserve is too little for this batch.
            self.disks.enter(at, Condition::Full);
        }
        self.left[at].set(0);
        false
    }
}

impl Shard {
    /// The task that keeps conditions and allowances up to date.
    pub(crate) async fn watch_disks_for_ever(self: Rc<Self>) {
        let disks = Arc::clone(self.allowances.disks());
        let mut rounds = 0_u32;
        loop {
            if self.index == 0 {
                let looking = Arc::clone(&disks);
                let looks = corelog_runtime::blocking("look at disks", move || {
                    let look = |at| looking.look(at).map(|why| (at, why));
                    (0..looking.all.len()).filter_map(look).collect::<Vec<_>>()
                })
                .await;
                for (at, why) in looks {
                    self.directory_failed(at, &why);
                }
            }
            let full = disks.is_any_full();
            corelog_runtime::sleep(if full { LOOK_FULL } else { LOOK }).await;
            rounds = rounds.wrapping_add(1);
            if full && rounds.is_multiple_of(FULL_ROUNDS_PER_SWEEP) {
                self.make_room(&disks).await;
            }
        }
    }

    /// Retention does not wait for its pace where the disk is full.
    async fn make_room(self: &Rc<Self>, disks: &Disks) {
        let partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
        for partition in partitions {
            if partition.state.get() == State::Online
                && disks.condition(partition.directory.get()) == Condition::Full
            {
                self.keep(&partition);
                corelog_runtime::yield_now().await;
            }
        }
    }

    /// A write or file work of a partition found the disk full: what was appended waits in memory, unacknowledged,
    /// and is tried again.
    #[cold]
    pub(crate) fn disk_full(&self, partition: &Rc<Partition>, error: &dyn std::fmt::Display) {
        let disks = Arc::clone(self.allowances.disks());
        disks.found_full(partition.directory.get());
        let starved = partition.starved.replace(true);
        // Producers that wait are told.
        partition.progress.notify_all();
        if starved {
            return;
        }
        disks.starve(partition.directory.get());
        tracing::warn!(
            "partition={} waits for space on its disk: {error}",
            partition.name
        );
        let (shard, partition) = (self.itself(), Rc::clone(partition));
        corelog_runtime::spawn("disk full", async move {
            while partition.starved.get() && partition.state.get() == State::Online {
                corelog_runtime::sleep(FULL_RETRY).await;
                shard.queue_write(&partition);
                shard.work(&partition);
            }
            disks.feed(partition.directory.get());
        })
        .detach();
    }
}

impl Shard {
    /// A log directory failed, on this shard or by a look: it is offline until the broker starts again. Its partitions
    /// refuse on every shard, the controller tells the world. Without the directory of the metadata log there is no
    /// broker.
    #[cold]
    pub(crate) fn directory_failed(&self, at: usize, why: &str) {
        let disks = self.allowances.disks();
        if disks.fail(at) {
            tracing::error!(
                "log directory {} is offline until the broker starts again: {why}; OfflineLogDirectoryCount={}",
                disks.path(at),
                disks.offline_count()
            );
            if at == self.metadata_directory {
                tracing::error!(
                    "the failed directory holds the metadata log: the broker stops; what it acknowledged is on the disk"
                );
                std::process::exit(1);
            }
            let shard = self.itself();
            let id = disks.id(at);
            corelog_runtime::spawn("directory failed", async move {
                for to in (0..shard.shards).filter(|to| *to != shard.index) {
                    shard.mesh.post(to, Request::DirectoryFailed(at)).await;
                }
                if let Some(id) = id {
                    shard
                        .ask_controller(Question::DirectoryFailed(Uuid(id.0)))
                        .await;
                }
            })
            .detach();
        }
        self.take_offline(at);
    }

    /// The partitions of this shard in a directory answer with `KAFKA_STORAGE_ERROR` from now on.
    pub(crate) fn take_offline(&self, at: usize) {
        let partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
        for partition in partitions {
            if partition.directory.get() != at || partition.state.get() != State::Online {
                continue;
            }
            partition.log.borrow_mut().fail("its log directory failed");
            partition.shut(State::Offline);
            if *partition.name.topic == *OFFSETS_TOPIC {
                self.itself().resign_groups(partition.name.partition);
            }
            if *partition.name.topic == *TRANSACTION_TOPIC {
                self.itself().resign_transactions(partition.name.partition);
            }
        }
    }

    /// A disk that fails once is not trusted again.
    #[cold]
    pub(crate) fn disk_failed(
        &self,
        partition: &Partition,
        operation: &str,
        error: &dyn std::fmt::Display,
    ) {
        tracing::error!("partition={} {operation} failed: {error}", partition.name);
        self.directory_failed(partition.directory.get(), &error.to_string());
    }

    /// Reading failed. A file that is not there says nothing about the disk, unless the directory is gone too.
    #[cold]
    pub(crate) fn read_failed(&self, partition: &Partition, error: &DiskError) {
        if !error.is_not_found() {
            self.disk_failed(partition, "read", error);
        } else if let Some(why) = self.allowances.disks().look(partition.directory.get()) {
            self.directory_failed(partition.directory.get(), &why);
        }
    }
}

/// Values of `Disk::condition`.
const USABLE: u8 = 0;
const FULL: u8 = 1;
const OFFLINE: u8 = 2;

/// The reserve follows from the size of the disk.
const RESERVE_BY_SIZE: u64 = u64::MAX;

/// What a shard takes of the pool at a time.
const CHUNK: u64 = 1 << 20;

/// Blocks are reserved ahead of the writes while the pool is this many times larger.
const PLENTY: u64 = 16;

/// Between two looks. Others may fill the disk too, so it is not long.
const LOOK: Duration = Duration::from_secs(2);

/// Between two looks while a disk is full.
const LOOK_FULL: Duration = Duration::from_millis(500);

/// Retention runs once in so many looks at a full disk.
const FULL_ROUNDS_PER_SWEEP: u32 = 10;

/// How long a write that found the disk full waits before it is tried again.
const FULL_RETRY: Duration = Duration::from_millis(500);
