//! The tasks that carry out the logs' plans: writing what was appended, syncing what was asked.
//!
//! Owns: the queue of partitions to write, and the syncs under way.
//! Lives on: every shard.
//! Invariants:
//! 1. A log has one writer: the flush task. It takes everything appended so far in one write per
//!    file, so batches that arrive together are written together without any timer. Where a write is not
//!    done at once (large ones past the page cache, all where the ring is the way), one of a log is under
//!    way at a time.
//! 2. A sync covers only what was written before it began; `durable` moves to what it covered.
//! 3. After a failed write or sync the partition's whole log directory is offline on this shard.
//!
//! Not here: what is written where (`corelog_storage::log`).

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use corelog_runtime::{File, Notify, spawn};
use corelog_storage::log::{Sync, Work, Write, WriteFault};

use crate::config::broker::WriteWay;
use crate::partition::{Partition, State};
use crate::shard::Shard;
use crate::shard::direct::Cut;

/// Partitions that wait for the flush task.
pub(crate) struct Queue {
    partitions: RefCell<Vec<Rc<Partition>>>,
    filled: Notify,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            partitions: RefCell::new(Vec::new()),
            filled: Notify::new(),
        }
    }

    fn push(&self, partition: &Rc<Partition>) {
        let mut partitions = self.partitions.borrow_mut();
        if partitions.is_empty() {
            self.filled.notify_all();
        }
        partitions.push(Rc::clone(partition));
    }

    /// Everything queued; waits until there is something. `spare` is an empty vector to queue into.
    async fn take(&self, spare: Vec<Rc<Partition>>) -> Vec<Rc<Partition>> {
        while self.partitions.borrow().is_empty() {
            self.filled.notified().await;
        }
        self.partitions.replace(spare)
    }
}

impl Shard {
    /// Has the flush task write what was appended to the partition.
    pub(crate) fn queue_write(&self, partition: &Rc<Partition>) {
        if !partition.write_queued.replace(true) {
            self.writes.push(partition);
        }
    }

    /// Has everything appended to the partition so far written and brought to the disk.
    pub(crate) fn queue_sync(&self, partition: &Rc<Partition>) {
        partition.sync_wanted.set(true);
        self.queue_write(partition);
    }

    /// The flush task.
    pub(crate) async fn write_for_ever(self: Rc<Self>) {
        let mut spare = Vec::new();
        loop {
            let mut queued = self.writes.take(spare).await;
            for partition in queued.drain(..) {
                partition.write_queued.set(false);
                self.write(&partition);
                if !partition.writing.get() {
                    self.behind_write(&partition);
                }
            }
            spare = queued;
        }
    }

    /// What follows a round of writes.
    fn behind_write(&self, partition: &Rc<Partition>) {
        // ORDER: a sync is asked for only behind the write that it shall cover. What is not written
        // yet (a segment that waits for its predecessor, a write that came while another was under
        // way) is not covered: the wish stays until it is.
        let (waits, held_back) = {
            let log = partition.log.borrow();
            (log.has_unwritten(), log.must_sync())
        };
        let wanted = partition.sync_wanted.get();
        partition.sync_wanted.set(wanted && waits);
        let due = wanted || held_back;
        if due {
            self.sync_next(partition);
        }
        self.work(partition);
        self.tail_grew(partition);
    }

    // HOT: one pwritev per file that batches were appended to since the last round
    fn write(&self, partition: &Rc<Partition>) {
        let way = self.write_ways[partition.directory.get()];
        let free = || !partition.held.get() && !partition.writing.get();
        if way.direct && partition.gathers_behind_its_sync() {
            // The sync's end has it written.
            return;
        }
        while partition.state.get() == State::Online && free() {
            let Some(write) = partition.log.borrow_mut().take_write() else {
                break;
            };
            let file = write.file.descriptor();
            let size = write.size() as u64;
            let direct = way.direct.then(|| partition.direct(&file, size)).flatten();
            if direct.is_none() && way.small == WriteWay::Inline {
                let outcome = File::from_fd(file).write_now(&write.parts, write.position);
                if self.wrote(partition, &write, size, outcome).is_err() {
                    return;
                }
            } else {
                self.write_apart(partition, write, direct);
            }
        }
        self.find_failure(partition);
    }

    /// Hands a stretch to the kernel and does not wait. One at a time for a log: what is appended meanwhile
    /// is written together, and a sync finds its turn between two writes.
    fn write_apart(&self, partition: &Rc<Partition>, mut write: Write, direct: Option<File>) {
        partition.writing.set(true);
        let (shard, partition) = (self.itself(), Rc::clone(partition));
        spawn("write", async move {
            let file = File::from_fd(write.file.descriptor());
            let size = write.size() as u64;
            let parts = std::mem::take(&mut write.parts);
            let past_the_cache = match direct {
                Some(direct) => {
                    let cut = Cut::new(&parts, write.position);
                    shard.metrics.direct_bytes.add(cut.direct_bytes());
                    let is_synced_next = partition.sync_wanted.get();
                    let done = cut.write(&file, &direct, write.position, is_synced_next);
                    Some(done.await)
                }
                None => None,
            };
            let outcome = match past_the_cache {
                // The disk has larger units.
                Some(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
                    partition.give_up_direct();
                    file.write_at(parts, write.position).await.0
                }
                Some(done) => done,
                None => file.write_at(parts, write.position).await.0,
            };
            partition.writing.set(false);
            let done = shard.wrote(&partition, &write, size, outcome);
            shard.behind_write(&partition);
            if done.is_ok() && partition.log.borrow().has_unwritten() {
                shard.queue_write(&partition);
            }
        })
        .detach();
    }

    /// A write is done: the high watermark moves, or it is seen what to do about the disk.
    fn wrote(
        &self,
        partition: &Rc<Partition>,
        write: &Write,
        size: u64,
        outcome: io::Result<()>,
    ) -> Result<(), Stopped> {
        let fault = partition.log.borrow_mut().written(write.token, outcome);
        match fault {
            Ok(()) => {
                self.metrics.writes.add(1);
                self.metrics.written_bytes.add(size);
                partition.last_write.set(size);
                partition.note_room();
                let range = write.position..write.position + size;
                self.cache_written(partition, &write.file.descriptor(), range);
                self.time_flush(partition);
                let end = partition.log.borrow().written_offset();
                if end > partition.high_watermark() {
                    partition.advance(end, size);
                }
                Ok(())
            }
            Err(WriteFault::Full(error)) => {
                // What was not written stays in the tail, unacknowledged; it is tried again.
                self.disk_full(partition, &error);
                Err(Stopped)
            }
            Err(WriteFault::Failed(error)) => {
                self.disk_failed(partition, "write", &error);
                Err(Stopped)
            }
        }
    }

    /// Nothing more is handed out: because all is written, or because the log failed.
    fn find_failure(&self, partition: &Partition) {
        let failure = partition.log.borrow().failure().cloned();
        if let Some(why) = failure
            && partition.state.get() == State::Online
        {
            self.disk_failed(partition, "open", &why);
        }
    }

    /// Something was written: `flush.ms` from now it must be on the disk.
    fn time_flush(&self, partition: &Rc<Partition>) {
        let flush_ms = partition.log.borrow().settings().flush_ms;
        if flush_ms == i64::MAX || partition.flush_timed.replace(true) {
            return;
        }
        let after = Duration::from_millis(flush_ms.unsigned_abs()).min(FLUSH_WAIT_MAX);
        // A partition that is deleted meanwhile is not kept for its timer.
        let (shard, waiting) = (self.itself(), Rc::downgrade(partition));
        spawn("flush.ms", async move {
            corelog_runtime::sleep(after).await;
            if let Some(partition) = waiting.upgrade() {
                partition.flush_timed.set(false);
                if partition.durable.get() < partition.high_watermark() {
                    shard.queue_sync(&partition);
                }
            }
        })
        .detach();
    }

    /// Group commit: syncs the log, at once or when the sync under way has ended. Everyone who asked before a sync begins
    /// shares it. Logs do not wait for each other: those of one file system meet in the commits of its journal.
    fn sync_next(&self, partition: &Rc<Partition>) {
        if partition.sync_queued.replace(true) || partition.syncing.replace(true) {
            return;
        }
        let (shard, partition) = (self.itself(), Rc::clone(partition));
        spawn("sync", async move {
            while partition.sync_queued.replace(false) {
                shard.sync(&partition).await;
            }
            partition.syncing.set(false);
        })
        .detach();
    }

    /// Brings what is written of one log to the disk.
    async fn sync(&self, partition: &Rc<Partition>) {
        if partition.held.get() {
            // Asked for again when its folder has its new place.
            return;
        }
        let sync = partition.log.borrow_mut().take_sync();
        if let Some(sync) = sync {
            let begun = corelog_runtime::now();
            let outcome = execute(&sync).await;
            self.metrics.synced(partition.directory.get(), begun);
            // Bound before it is looked at: what follows borrows the logs of the whole directory.
            let synced = partition.log.borrow_mut().synced(sync.token, outcome);
            if let Err(fault) = synced {
                self.disk_failed(partition, "sync", &fault);
                return;
            }
        }
        partition
            .durable
            .set(partition.log.borrow().durable_offset());
        partition.progress.notify_all();
        // A rolled segment waits for its predecessor to be durable before it is written. Where the disk
        // is full, a timer tries again.
        if partition.log.borrow().has_unwritten() && !partition.starved.get() {
            self.queue_write(partition);
        }
        self.work(partition);
    }

    /// Has the companion do the file work that a log has collected (indexes of rolled segments,
    /// snapshots) and reserve space ahead of the writes.
    pub(crate) fn work(&self, partition: &Rc<Partition>) {
        if partition.held.get() {
            return;
        }
        let reserve = partition.log.borrow_mut().take_reserve();
        let plenty = |size| {
            self.allowances
                .reserves_ahead(partition.directory.get(), size)
        };
        if let Some(reserve) = reserve.filter(|one| plenty(one.range.end - one.range.start)) {
            spawn("reserve", async move {
                let file = File::from_fd(reserve.file.descriptor());
                if let Err(error) = file.reserve(reserve.range).await {
                    // Only an optimisation: file systems without it write as well.
                    tracing::debug!("reserving space failed: {error}");
                }
            })
            .detach();
        }
        let work = partition.log.borrow_mut().take_work();
        if let Some(work) = work {
            self.run_work(partition, work);
        }
    }

    /// Has the companion do file work of a log and hands the outcome back.
    pub(crate) fn run_work(&self, partition: &Rc<Partition>, work: Work) {
        let partition = Rc::clone(partition);
        let shard = self.itself();
        partition.working.set(true);
        spawn("log work", async move {
            let outcome = corelog_runtime::blocking("log work", move || work.run()).await;
            partition.working.set(false);
            partition.progress.notify_all();
            let worked = partition.log.borrow_mut().worked(outcome);
            match worked {
                Ok(()) => partition.note_room(),
                Err(WriteFault::Full(error)) => shard.disk_full(&partition, &error),
                Err(WriteFault::Failed(error)) => {
                    shard.disk_failed(&partition, "index", &error);
                }
            }
        })
        .detach();
    }
}

/// The round of writes ended early; it was seen to.
struct Stopped;

/// The file syncs of one log, then its folder's, on the ring.
async fn execute(sync: &Sync) -> io::Result<()> {
    for file in &sync.files {
        File::from_fd(file.descriptor()).sync_data().await?;
    }
    if let Some((dir, folder)) = sync.folder.clone() {
        corelog_runtime::blocking_brief("sync folder", move || dir.sync_dir(&folder))
            .await
            .map_err(|error| io::Error::other(error.to_string()))?;
    }
    Ok(())
}

/// A longer `flush.ms` is as good as none, and the clock must be able to count so far.
const FLUSH_WAIT_MAX: Duration = Duration::from_hours(24 * 365);
