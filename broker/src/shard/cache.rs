//! Memory for the newest records, and the page cache behind the writes: both bounded.
//!
//! Owns: how much of each partition's tail stays in memory; which written ranges stay in the page
//! cache.
//! Lives on: every shard.
//! Invariants:
//! 1. The tails of a shard hold at most `corelog.tail.bytes` and what is not written yet.
//! 2. What cold readers brought into the page cache leaves it by itself, `READ_BYTES_MAX` later: a
//!    catch-up does not evict the tail, and readers close behind each other share one reading.
//! 3. A range leaves the page cache in the order it was written, when `corelog.cache.bytes` newer
//!    bytes are there. It was pushed to the disk long before, so dropping it writes nothing.
//! 4. Nothing here keeps a file open: what is closed or deleted meanwhile is the kernel's to forget.
//!
//! Growing the page cache costs more than writing it: fresh pages are touched, zeroed and, in a
//! virtual machine, backed by the host (1.3–2.5 CPU-s/GB measured). A bounded window is paid once.
//!
//! Not here: the tail itself (`corelog_storage::log`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use corelog_runtime::{File, spawn};
use smallvec::SmallVec;

use crate::partition::Partition;
use crate::shard::Shard;

/// Has the kernel drop stretches, behind this turn of the loop.
fn forget(dropped: SmallVec<[Stretch; 2]>) {
    if dropped.is_empty() {
        return;
    }
    spawn("drop behind", async move {
        for stretch in dropped {
            stretch.drop_cache().await;
        }
    })
    .detach();
}

/// Divides room among those who want it, the most modest first: who wants less than an equal share
/// keeps all, and what it leaves is the others'.
struct Shares {
    left: usize,
    count: usize,
}

impl Shares {
    fn new(room: usize, count: usize) -> Self {
        Self { left: room, count }
    }

    /// What the next may have.
    fn next(&self) -> usize {
        self.left / self.count.max(1)
    }

    /// The next took so much (more than its share where it must).
    fn took(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
        self.count -= 1;
    }
}

/// Written ranges are pushed out and dropped in pieces of about this size.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;

/// The ranges of a shard that are in the page cache.
pub(crate) struct CacheWindow {
    written: RefCell<VecDeque<Piece>>,
    /// How many pieces have left `written` at its front: the number of a piece less this is its place.
    left: Cell<u64>,
    bytes: Cell<u64>,
    bytes_max: u64,
    /// Ranges that were read cold, oldest first.
    read: RefCell<VecDeque<Stretch>>,
    read_bytes: Cell<u64>,
}

/// A written stretch, oldest first; all but those still growing are pushed out.
struct Piece {
    stretch: Stretch,
    pushed: bool,
}

#[derive(Clone)]
struct Stretch {
    file: Weak<OwnedFd>,
    range: Range<u64>,
}

impl Stretch {
    fn new(file: &Arc<OwnedFd>, range: Range<u64>) -> Self {
        Self {
            file: Arc::downgrade(file),
            range,
        }
    }

    fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn is_of(&self, file: &Arc<OwnedFd>) -> bool {
        std::ptr::eq(self.file.as_ptr(), Arc::as_ptr(file))
    }

    async fn drop_cache(self) {
        if let Some(file) = self.file.upgrade() {
            File::from_fd(file).drop_cache(self.range).await;
        }
    }
}

impl CacheWindow {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            written: RefCell::default(),
            left: Cell::new(0),
            bytes: Cell::new(0),
            bytes_max,
            read: RefCell::default(),
            read_bytes: Cell::new(0),
        }
    }

    /// Takes in a written range of the log whose piece `growing` names. What it returns is to be
    /// pushed to the disk, and dropped.
    fn add(
        &self,
        growing: &Cell<u64>,
        file: &Arc<OwnedFd>,
        range: Range<u64>,
    ) -> (Option<Stretch>, SmallVec<[Stretch; 2]>) {
        let mut written = self.written.borrow_mut();
        let mut bytes = self.bytes.get() + (range.end - range.start);
        let place = growing.get().checked_sub(self.left.get());
        let piece = place
            .and_then(|place| written.get_mut(usize::try_from(place).ok()?))
            .filter(|piece| {
                !piece.pushed && piece.stretch.range.end == range.start && piece.stretch.is_of(file)
            });
        let full = if let Some(piece) = piece {
            piece.stretch.range.end = range.end;
            piece.pushed = piece.stretch.size() >= PIECE_BYTES;
            piece.pushed.then(|| piece.stretch.clone())
        } else {
            growing.set(self.left.get() + written.len() as u64);
            written.push_back(Piece {
                stretch: Stretch::new(file, range),
                pushed: false,
            });
            None
        };
        let mut dropped = SmallVec::new();
        while bytes > self.bytes_max {
            let Some(oldest) = written.pop_front() else {
                break;
            };
            self.left.set(self.left.get() + 1);
            bytes = bytes.saturating_sub(oldest.stretch.size());
            dropped.push(oldest.stretch);
        }
        self.bytes.set(bytes);
        (full, dropped)
    }

    /// Takes in a range that was read cold. What it returns is to be dropped.
    fn add_read(&self, file: &Arc<OwnedFd>, range: Range<u64>) -> SmallVec<[Stretch; 2]> {
        let mut read = self.read.borrow_mut();
        let mut bytes = self.read_bytes.get() + (range.end - range.start);
        read.push_back(Stretch::new(file, range));
        let mut dropped = SmallVec::new();
        while bytes > READ_BYTES_MAX {
            let Some(oldest) = read.pop_front() else {
                break;
            };
            bytes = bytes.saturating_sub(oldest.size());
            dropped.push(oldest);
        }
        self.read_bytes.set(bytes);
        dropped
    }
}

impl Shard {
    /// Bytes were written to a file: older ones may have to leave the page cache.
    pub(crate) fn cache_written(
        &self,
        partition: &Partition,
        file: &Arc<OwnedFd>,
        range: Range<u64>,
    ) {
        let (full, dropped) = self.cache.add(&partition.cache_piece, file, range);
        if let Some(full) = full
            && let Some(file) = full.file.upgrade()
        {
            spawn("writeback", async move {
                // Only an advice: a failing disk is found by the next write or sync.
                let _ = File::from_fd(file).start_writeback(full.range).await;
            })
            .detach();
        }
        forget(dropped);
    }

    /// A range was read from the disk: older ones leave the page cache.
    pub(crate) fn cache_read(&self, file: &Arc<OwnedFd>, range: Range<u64>) {
        forget(self.cache.add_read(file, range));
    }

    /// The partition's tail has grown: the shard's tails may have to shrink, the largest first.
    pub(crate) fn tail_grew(&self, partition: &Rc<Partition>) {
        self.count_tail(partition);
        if self.tail_bytes.get() <= self.settings.tail_bytes_max {
            return;
        }
        let mut tails: Vec<_> = self
            .partitions
            .borrow()
            .values()
            .filter(|one| one.tail_bytes.get() > 0)
            .map(|one| (one.tail_bytes.get(), Rc::clone(one)))
            .collect();
        // Below the limit with room to grow again, so that this is not done at every write.
        let room = self.settings.tail_bytes_max / 4 * 3;
        tails.sort_unstable_by_key(|(bytes, _)| *bytes);
        let mut shares = Shares::new(room, tails.len());
        for (bytes, one) in tails {
            let share = shares.next();
            if bytes > share {
                one.log.borrow_mut().trim_tail(share);
                self.count_tail(&one);
            }
            shares.took(one.tail_bytes.get());
        }
    }

    /// Brings the shard's sum up to date with one partition's tail.
    pub(crate) fn count_tail(&self, partition: &Partition) {
        let now = partition.log.borrow().tail_bytes();
        let before = partition.tail_bytes.replace(now);
        self.tail_bytes.set(self.tail_bytes.get() + now - before);
    }
}

/// Page cache of a shard for what cold readers read.
const READ_BYTES_MAX: u64 = 32 << 20;

#[cfg(test)]
mod tests;
