//! Reading ahead of consumers that catch up: while one piece is on its way to the client, the next
//! ones come from the disk.
//!
//! Owns: the pieces in memory and on their way, of all sequential cold readers of a shard.
//! Lives on: every shard.
//! Invariants:
//! 1. The pieces of a shard take at most `BYTES_MAX`, of a reader at most `AHEAD_MAX`; who reads
//!    once reads nothing ahead.
//! 2. Only what was written when it was asked for is read ahead: a piece never holds bytes that a
//!    later append may still change.
//! 3. A piece that could not be read is read again for its reader, who then sees the error.
//!
//! Not here: which range answers a fetch (`read.rs`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use corelog_runtime::{File, Notify, Temperature, spawn};

use crate::shard::Shard;

/// The sequential readers of a shard, the one served longest ago first.
#[derive(Default)]
pub(crate) struct Readahead {
    streams: VecDeque<Stream>,
}

/// One reader of one file.
struct Stream {
    /// Not held open for it.
    file: Weak<OwnedFd>,
    /// Where it will go on.
    next: u64,
    /// How far ahead of it is read.
    ahead: u64,
    /// What is there or on its way, without a gap from before `next`.
    pieces: VecDeque<Rc<Piece>>,
}

/// A stretch read ahead.
struct Piece {
    range: Range<u64>,
    /// `None` while it is read; empty when that failed. May be shorter than the range.
    bytes: RefCell<Option<Bytes>>,
    done: Notify,
}

impl Piece {
    async fn bytes(&self) -> Bytes {
        loop {
            if let Some(bytes) = &*self.bytes.borrow() {
                return bytes.clone();
            }
            self.done.notified().await;
        }
    }
}

impl Stream {
    fn is_of(&self, file: &Arc<OwnedFd>) -> bool {
        std::ptr::eq(self.file.as_ptr(), Arc::as_ptr(file))
    }

    fn end(&self) -> u64 {
        self.pieces
            .back()
            .map_or(self.next, |piece| piece.range.end.max(self.next))
    }

    fn held(&self) -> u64 {
        let size = |piece: &Rc<Piece>| piece.range.end - piece.range.start;
        self.pieces.iter().map(size).sum()
    }
}

impl Readahead {
    /// Whether a reader that goes on at `position` of `file` is known: then its range is to be
    /// taken from here, whatever is in the page cache.
    pub(crate) fn knows(&self, file: &Arc<OwnedFd>, position: u64) -> bool {
        self.find(file, position).is_some()
    }

    fn find(&self, file: &Arc<OwnedFd>, position: u64) -> Option<usize> {
        self.streams
            .iter()
            .position(|stream| stream.next == position && stream.is_of(file))
    }

    fn held(&self) -> u64 {
        self.streams.iter().map(Stream::held).sum()
    }

    /// The pieces that begin the range, in order and without a gap.
    fn covering(&self, file: &Arc<OwnedFd>, range: &Range<u64>) -> Vec<Rc<Piece>> {
        let Some(at) = self.find(file, range.start) else {
            return Vec::new();
        };
        self.streams[at]
            .pieces
            .iter()
            .filter(|piece| piece.range.end > range.start && piece.range.start < range.end)
            .cloned()
            .collect()
    }

    /// The reader got what is before `to`: what is to be read for it now, bounded by `stop`.
    fn advance(&mut self, file: &Arc<OwnedFd>, from: u64, to: u64, stop: u64) -> Vec<Rc<Piece>> {
        let known = self.find(file, from);
        let mut stream = known
            .and_then(|at| self.streams.remove(at))
            .unwrap_or_else(|| Stream {
                file: Arc::downgrade(file),
                next: from,
                ahead: 0,
                pieces: VecDeque::new(),
            });
        stream.next = to;
        // The first read may be the only one; from the second on it doubles.
        stream.ahead = match stream.ahead {
            _ if known.is_none() => 0,
            0 => PIECE_SIZE,
            ahead => (2 * ahead).min(AHEAD_MAX),
        };
        while stream
            .pieces
            .front()
            .is_some_and(|piece| piece.range.end <= to)
        {
            stream.pieces.pop_front();
        }
        let mut wanted = Vec::new();
        let goal = to.saturating_add(stream.ahead).min(stop);
        let missing = goal.saturating_sub(stream.end());
        let mut room = BYTES_MAX.saturating_sub(self.held() + stream.held());
        while self.streams.len() >= STREAMS_MAX || room < missing {
            let Some(oldest) = self.streams.pop_front() else {
                break;
            };
            room += oldest.held();
        }
        loop {
            let start = stream.end();
            let end = (start + PIECE_SIZE).min(goal);
            // Less than half a piece is left for the next time: requests stay large.
            if end < start + PIECE_SIZE / 2 || end - start > room {
                break;
            }
            room -= end - start;
            let piece = Rc::new(Piece {
                range: start..end,
                bytes: RefCell::new(None),
                done: Notify::new(),
            });
            stream.pieces.push_back(Rc::clone(&piece));
            wanted.push(piece);
        }
        self.streams.push_back(stream);
        wanted
    }

    /// Forgets the readers of files that nobody has open any more.
    pub(crate) fn sweep(&mut self) {
        self.streams.retain(|stream| stream.file.strong_count() > 0);
    }
}

impl Shard {
    /// What is there of the range from its start on, in parts; waits for what is on its way.
    pub(crate) async fn read_ahead(&self, file: &Arc<OwnedFd>, range: &Range<u64>) -> Vec<Bytes> {
        let covering = self.readahead.borrow().covering(file, range);
        let mut parts = Vec::with_capacity(covering.len() + 1);
        let mut position = range.start;
        for piece in covering {
            let bytes = piece.bytes().await;
            let stop = (piece.range.start + bytes.len() as u64).min(range.end);
            if piece.range.start > position || stop <= position {
                break;
            }
            let place = |at: u64| usize::try_from(at - piece.range.start).unwrap_or(usize::MAX);
            parts.push(bytes.slice(place(position)..place(stop)));
            position = stop;
        }
        parts
    }

    /// A cold reader of `file` got `range`: reads on for it, up to `stop`.
    pub(crate) fn read_on(&self, file: &Arc<OwnedFd>, range: &Range<u64>, stop: u64) {
        let wanted = self
            .readahead
            .borrow_mut()
            .advance(file, range.start, range.end, stop);
        for piece in wanted {
            let (file, shard) = (Arc::clone(file), self.itself());
            spawn("readahead", async move {
                let size = usize::try_from(piece.range.end - piece.range.start).unwrap_or(0);
                let reader = File::from_fd(Arc::clone(&file));
                let (read, block) = reader
                    .read_at(
                        corelog_runtime::block(size),
                        piece.range.start,
                        size,
                        Temperature::Cold,
                    )
                    .await;
                // An error is the reader's to see, when it reads there itself.
                let size = read.unwrap_or(0);
                *piece.bytes.borrow_mut() = Some(block.freeze().slice(..size));
                piece.done.notify_all();
                shard.cache_read(&file, piece.range.clone());
            })
            .detach();
        }
    }
}

/// One read ahead.
const PIECE_SIZE: u64 = 1 << 20;
/// What one reader gets ahead at most.
const AHEAD_MAX: u64 = 4 << 20;
/// What the readers of a shard get ahead together.
const BYTES_MAX: u64 = 32 << 20;
/// Readers that are remembered.
const STREAMS_MAX: usize = 32;

const _: () = assert!(AHEAD_MAX >= PIECE_SIZE && BYTES_MAX >= AHEAD_MAX);

#[cfg(test)]
mod tests;
