//! Memory for the newest records, and the page cache behind the writes: both bounded.
//!
//! Owns: how much of each partition's tail stays in memory; which written ranges stay in the page
//! cache.
//! Lives on: every shard.
//! Invariants:
//! 1. The tails of a shard hold at most `corelog.tail.bytes` and what is not written yet.
//! 2. A range leaves the page cache in the order it was written, when `corelog.cache.bytes` newer
//!    bytes are there. It was pushed to the disk long before, so dropping it writes nothing.
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
use std::sync::Arc;

use corelog_runtime::{File, spawn};

use crate::partition::Partition;
use crate::shard::Shard;

/// Written ranges are pushed out and dropped in pieces of about this size.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;

/// The written ranges of a shard that are in the page cache.
pub(crate) struct CacheWindow {
    /// Oldest first; all but those still growing are pushed out.
    pieces: RefCell<VecDeque<Piece>>,
    bytes: Cell<u64>,
    bytes_max: u64,
}

struct Piece {
    file: Arc<OwnedFd>,
    range: Range<u64>,
    pushed: bool,
}

impl CacheWindow {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            pieces: RefCell::default(),
            bytes: Cell::new(0),
            bytes_max,
        }
    }

    /// Takes in a written range. What it returns is to be pushed to the disk, and dropped.
    fn add(&self, file: &Arc<OwnedFd>, range: Range<u64>) -> (Option<Piece>, Vec<Piece>) {
        let mut pieces = self.pieces.borrow_mut();
        self.bytes.set(self.bytes.get() + (range.end - range.start));
        // A few partitions are written in turn: the piece to grow is among the newest.
        let growing = pieces.iter_mut().rev().take(GROWING_MAX).find(|piece| {
            !piece.pushed && Arc::ptr_eq(&piece.file, file) && piece.range.end == range.start
        });
        let full = if let Some(piece) = growing {
            piece.range.end = range.end;
            (piece.range.end - piece.range.start >= PIECE_BYTES).then(|| {
                piece.pushed = true;
                Piece {
                    file: Arc::clone(file),
                    range: piece.range.clone(),
                    pushed: true,
                }
            })
        } else {
            pieces.push_back(Piece {
                file: Arc::clone(file),
                range,
                pushed: false,
            });
            None
        };
        let mut dropped = Vec::new();
        while self.bytes.get() > self.bytes_max {
            let Some(oldest) = pieces.pop_front() else {
                break;
            };
            self.bytes.set(
                self.bytes
                    .get()
                    .saturating_sub(oldest.range.end - oldest.range.start),
            );
            dropped.push(oldest);
        }
        (full, dropped)
    }
}

impl Shard {
    /// Bytes were written to a file: older ones may have to leave the page cache.
    pub(crate) fn cache_written(&self, file: &Arc<OwnedFd>, range: Range<u64>) {
        let (full, dropped) = self.cache.add(file, range);
        if let Some(piece) = full {
            spawn("writeback", async move {
                // Only an advice: a failing disk is found by the next write or sync.
                let _ = File::from_fd(piece.file).start_writeback(piece.range).await;
            })
            .detach();
        }
        for piece in dropped {
            File::from_fd(piece.file).drop_cache(piece.range);
        }
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
        tails.sort_unstable_by_key(|(bytes, _)| *bytes);
        // Below the limit with room to grow again, so that this is not done at every write.
        let mut left = self.settings.tail_bytes_max / 4 * 3;
        let count = tails.len();
        for (place, (bytes, one)) in tails.into_iter().enumerate() {
            let share = left / (count - place);
            if bytes > share {
                one.log.borrow_mut().trim_tail(share);
                self.count_tail(&one);
            }
            left = left.saturating_sub(one.tail_bytes.get());
        }
    }

    /// Brings the shard's sum up to date with one partition's tail.
    pub(crate) fn count_tail(&self, partition: &Partition) {
        let now = partition.log.borrow().tail_bytes();
        let before = partition.tail_bytes.replace(now);
        self.tail_bytes.set(self.tail_bytes.get() + now - before);
    }
}

const GROWING_MAX: usize = 256;
