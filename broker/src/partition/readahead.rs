//! Reading ahead of consumers that catch up: while one piece is on its way to the client, the next
//! ones come from the disk.
//!
//! Owns: the pieces in memory and on their way, of all sequential cold readers of a shard.
//! Lives on: every shard.
//! Invariants:
//! 1. The pieces of a shard take at most `BYTES_MAX`, of a reader at most `AHEAD_MAX` and what rounding
//!    to whole pieces adds; who reads once reads nothing ahead.
//! 2. Only what was written when it was asked for is read ahead: a piece never holds bytes that a
//!    later append may still change.
//! 3. A piece that could not be read is read again for its reader, who then sees the error.
//! 4. Pieces go past the page cache where the file system lets them (`O_DIRECT`): what one reader reads
//!    once takes no page from others, and no time of the kernel to find, copy and free pages. What is in
//!    the page cache is not read ahead.
//!
//! Not here: which range answers a fetch (`read.rs`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use corelog_runtime::{Access, DIRECT_ALIGNMENT, File, Notify, Temperature, spawn};

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
    way: Way,
}

/// How the pieces of a reader come from the disk.
#[derive(Clone)]
enum Way {
    /// Nothing was read ahead yet.
    Unknown,
    /// Past the page cache, by a descriptor of their own.
    Direct(File),
    /// Through the page cache: the file system has no other.
    Cached,
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
    /// Whether there is something for a reader that goes on at `position` of `file`: then its range is
    /// to be taken from here, whatever is in the page cache.
    pub(crate) fn holds(&self, file: &Arc<OwnedFd>, position: u64) -> bool {
        self.find(file, position)
            .is_some_and(|at| self.streams[at].end() > position)
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

    /// The reader got what is before `to`: what is to be read for it now, and how, bounded by `stop` and
    /// by what `is_cached`.
    fn advance(
        &mut self,
        file: &Arc<OwnedFd>,
        from: u64,
        to: u64,
        stop: u64,
        is_cached: impl Fn(Range<u64>) -> bool,
    ) -> (Vec<Rc<Piece>>, Way) {
        let known = self.find(file, from);
        let mut stream = known
            .and_then(|at| self.streams.remove(at))
            .unwrap_or_else(|| Stream {
                file: Arc::downgrade(file),
                next: from,
                ahead: 0,
                pieces: VecDeque::new(),
                way: Way::Unknown,
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
        let goal = to
            .saturating_add(stream.ahead)
            .next_multiple_of(PIECE_SIZE)
            .min(stop);
        let missing = goal.saturating_sub(stream.end());
        let mut room = BYTES_MAX.saturating_sub(self.held() + stream.held());
        while self.streams.len() >= STREAMS_MAX || room < missing {
            let Some(oldest) = self.streams.pop_front() else {
                break;
            };
            room += oldest.held();
        }
        while stream.ahead > 0 {
            let start = stream.end();
            // To the next multiple, so that a piece read past the page cache fills its block.
            let end = (start / PIECE_SIZE * PIECE_SIZE + PIECE_SIZE).min(goal);
            // What was written last is left for the next time: requests stay large.
            let is_rest = end == stop && end < start + PIECE_SIZE / 2;
            if end <= start || is_rest || end - start > room || is_cached(start..end) {
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
        if let (Way::Unknown, false) = (&stream.way, wanted.is_empty()) {
            let direct = File::from_fd(Arc::clone(file)).past_the_cache(Access::Read);
            stream.way = direct.map_or(Way::Cached, Way::Direct);
        }
        let way = stream.way.clone();
        self.streams.push_back(stream);
        (wanted, way)
    }

    /// The file cannot be read past the page cache after all.
    fn give_up_direct(&mut self, file: &Arc<OwnedFd>) {
        for stream in self.streams.iter_mut().filter(|stream| stream.is_of(file)) {
            stream.way = Way::Cached;
        }
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
    pub(crate) fn read_on(
        &self,
        directory: usize,
        file: &Arc<OwnedFd>,
        range: &Range<u64>,
        stop: u64,
    ) {
        let reader = File::from_fd(Arc::clone(file));
        let is_cached = |range| reader.cached(range).unwrap_or(false);
        let (wanted, way) =
            self.readahead
                .borrow_mut()
                .advance(file, range.start, range.end, stop, is_cached);
        for piece in wanted {
            let (file, way, shard) = (Arc::clone(file), way.clone(), self.itself());
            spawn("readahead", async move {
                let bytes = shard.read_piece(directory, &file, way, &piece.range).await;
                // An error is the reader's to see, when it reads there itself.
                *piece.bytes.borrow_mut() = Some(bytes.unwrap_or_default());
                piece.done.notify_all();
            })
            .detach();
        }
    }

    async fn read_piece(
        &self,
        directory: usize,
        file: &Arc<OwnedFd>,
        way: Way,
        range: &Range<u64>,
    ) -> std::io::Result<Bytes> {
        // One at a time: what the disk has to do before a producer's sync, that producer waits for.
        let _turn = self.reading_ahead[directory].acquire().await;
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let Way::Direct(direct) = way else {
            let size = place(range.end - range.start);
            let reader = File::from_fd(Arc::clone(file));
            let block = corelog_runtime::block(size);
            let (read, block) = reader
                .read_at(block, range.start, size, Temperature::Cold)
                .await;
            self.cache_read(file, range.clone());
            return Ok(block.freeze().slice(..read?));
        };
        let start = range.start / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT;
        let size = place(range.end.next_multiple_of(DIRECT_ALIGNMENT) - start);
        let block = corelog_runtime::block(size);
        let (read, block) = direct.read_direct(block, start, size).await;
        if let Err(error) = &read
            && error.kind() == std::io::ErrorKind::InvalidInput
        {
            self.readahead.borrow_mut().give_up_direct(file);
        }
        // What lies behind the range may still change.
        let stop = read?.min(place(range.end - start));
        let first = place(range.start - start).min(stop);
        Ok(block.freeze().slice(first..stop))
    }
}

/// Pieces of a shard and a log directory that are read at once.
pub(crate) const READS_AHEAD: usize = 1;
/// One read ahead.
const PIECE_SIZE: u64 = 256 << 10;
/// What one reader gets ahead at most.
const AHEAD_MAX: u64 = 4 * PIECE_SIZE;
/// What the readers of a shard get ahead together.
const BYTES_MAX: u64 = 32 << 20;
/// Readers that are remembered.
const STREAMS_MAX: usize = 32;

const _: () = assert!(AHEAD_MAX >= PIECE_SIZE && BYTES_MAX >= AHEAD_MAX + PIECE_SIZE);
const _: () = assert!(PIECE_SIZE.is_multiple_of(DIRECT_ALIGNMENT));

#[cfg(test)]
mod tests;
