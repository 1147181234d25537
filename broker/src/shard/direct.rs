//! Large stretches go to the disk past the page cache (`O_DIRECT`, open(2)).
//!
//! Owns: how a stretch is cut at the disk's units, and the descriptors for it.
//! Lives on: every shard.
//! Invariants:
//! 1. Only whole units go past the page cache. The ragged ends of a stretch go through it: the unit that a later write fills
//!    up is never written by two ways at once, and a file is never longer than its records.
//! 2. A descriptor here holds no file open that its log has closed.
//!
//! Through the page cache every byte is copied into a page that must be found, counted, queued, written behind and freed again:
//! three to five times the copy. And an acknowledgement that waits for the disk waits for that whole way.
//!
//! Not here: when a log is written (`flush`), which directories are written so (`boot/write_way.rs`).

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use bytes::{Buf, Bytes};
use corelog_runtime::{Access, Block, DIRECT_ALIGNMENT, File};
use smallvec::SmallVec;

use crate::partition::Partition;

/// The way past the page cache into the segment that was written last.
pub(crate) struct DirectFile {
    of: Weak<OwnedFd>,
    /// `None` where the file system has none.
    file: Option<File>,
}

impl Partition {
    /// The descriptor for writing `size` bytes to `file` past the page cache, if they are worth it.
    pub(super) fn direct(&self, file: &Arc<OwnedFd>, size: u64) -> Option<File> {
        if size < DIRECT_MIN {
            return None;
        }
        let mut known = self.direct.borrow_mut();
        let is_other = |one: &DirectFile| !std::ptr::eq(one.of.as_ptr(), Arc::as_ptr(file));
        if known.as_ref().is_none_or(is_other) {
            let opened = File::from_fd(Arc::clone(file)).past_the_cache(Access::Write);
            *known = Some(DirectFile {
                of: Arc::downgrade(file),
                file: opened.ok(),
            });
        }
        known.as_ref().and_then(|known| known.file.clone())
    }

    /// Whether a write waits until the sync under way has ended. Where large stretches are synced, one large write and one
    /// sync after the other bring more to the disk than two smaller writes for each sync.
    pub(super) fn gathers_behind_its_sync(&self) -> bool {
        self.syncing.get() && self.last_write.get() >= DIRECT_MIN
    }

    /// The segment that is written does not take this way after all.
    pub(super) fn give_up_direct(&self) {
        if let Some(known) = &mut *self.direct.borrow_mut() {
            known.file = None;
        }
    }

    /// Closes the descriptor: nothing was written for long.
    pub(super) fn close_direct(&self) {
        *self.direct.borrow_mut() = None;
    }
}

/// An end of a stretch that is no whole unit: mostly a piece of one batch, or of two.
type Ragged = SmallVec<[Bytes; 2]>;

/// A stretch cut in three.
pub(super) struct Cut {
    head: Ragged,
    middle: Block,
    tail: Ragged,
    /// Where the middle and the tail begin in the file.
    middle_at: u64,
    tail_at: u64,
    end: u64,
}

impl Cut {
    // HOT: 1 copy into a block of the shard's pool
    pub(super) fn new(parts: &[Bytes], position: u64) -> Self {
        let size: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let end = position + size;
        let middle_at = position.next_multiple_of(DIRECT_ALIGNMENT).min(end);
        let tail_at = (end / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT).max(middle_at);
        let place = |at: u64| usize::try_from(at - position).unwrap_or(usize::MAX);
        let (head, middle, tail) = (
            0..place(middle_at),
            place(middle_at)..place(tail_at),
            place(tail_at)..place(end),
        );
        let mut block = corelog_runtime::block(middle.len());
        each_in(parts, middle, |part| block.extend_from_slice(&part));
        let gathered = |range| {
            let mut gathered = Ragged::new();
            each_in(parts, range, |part| gathered.push(part));
            gathered
        };
        Self {
            head: gathered(head),
            middle: block,
            tail: gathered(tail),
            middle_at,
            tail_at,
            end,
        }
    }

    /// Bytes that go past the page cache.
    pub(super) fn direct_bytes(&self) -> u64 {
        self.tail_at - self.middle_at
    }

    /// Writes all of it; what `direct` takes, past the page cache. When it is synced next, the ragged ends are on their way to
    /// the disk by then, too: a sync that had to begin with them would wait for the disk once more.
    pub(super) async fn write(
        self,
        file: &File,
        direct: &File,
        position: u64,
        is_synced_next: bool,
    ) -> io::Result<()> {
        // ORDER: the ragged ends first. With them the file is as long as it will be, and a write that makes a file longer would
        // hold a kernel worker for as long as the disk takes.
        file.write_now(&self.tail, self.tail_at)?;
        file.write_now(&self.head, position)?;
        if is_synced_next {
            // Nothing else of the range is in the page cache. Advice: what it does not do, the sync does.
            let _ = file.start_writeback_now(position..self.end);
        }
        direct
            .write_at(vec![self.middle.freeze()], self.middle_at)
            .await
            .0
    }
}

/// The pieces that a range of the joined parts consists of.
fn each_in(parts: &[Bytes], range: Range<usize>, mut each: impl FnMut(Bytes)) {
    let (mut skip, mut left) = (range.start, range.len());
    for part in parts {
        if left == 0 {
            return;
        }
        if skip >= part.len() {
            skip -= part.len();
            continue;
        }
        let mut piece = part.clone();
        piece.advance(skip);
        piece.truncate(left);
        (skip, left) = (0, left - piece.len());
        each(piece);
    }
}

/// Less goes through the page cache: the ragged ends would be most of the work.
const DIRECT_MIN: u64 = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_cut_at_the_disk_s_units_and_nothing_is_lost() {
        let unit = DIRECT_ALIGNMENT;
        for (position, sizes, expected) in [
            (0, &[3 * unit][..], (0, 3 * unit, 0)),
            (100, &[unit, unit, unit], (unit - 100, 2 * unit, 100)),
            (unit - 1, &[1, 2 * unit, 5], (1, 2 * unit, 5)),
            (unit, &[10, unit, unit - 10, 7], (0, 2 * unit, 7)),
            (10, &[20, 30], (50, 0, 0)),
            (10, &[unit, unit - 20], (unit - 10, 0, unit - 10)),
        ] {
            let mut next = 0_u8;
            let mut part = |size: &u64| {
                let byte = || {
                    next = next.wrapping_add(1) % 251;
                    next
                };
                Bytes::from(
                    std::iter::repeat_with(byte)
                        .take(usize::try_from(*size).expect("small"))
                        .collect::<Vec<_>>(),
                )
            };
            let parts: Vec<Bytes> = sizes.iter().map(&mut part).collect();
            let cut = Cut::new(&parts, position);
            let (head, tail) = (cut.head.concat(), cut.tail.concat());
            let found = (
                head.len() as u64,
                cut.middle.len() as u64,
                tail.len() as u64,
            );
            assert_eq!(found, expected, "{position} {sizes:?}");
            assert_eq!([&head[..], &cut.middle, &tail].concat(), parts.concat());
            assert_eq!(cut.tail_at, cut.middle_at + cut.middle.len() as u64);
            if !cut.middle.is_empty() {
                assert_eq!(cut.middle_at % unit, 0);
            }
        }
    }
}
