//! The tail: the newest batches of a log, in memory.
//!
//! **Owns** the bytes that are not written yet, and as many written ones before them as the budget allows.
//! **Lives on** the owning shard; what it hands out are counted views and may go anywhere.
//! **Invariants** 1. The bytes are those of the files, without a gap, up to the log's end. 2. What is not written is
//! never dropped. 3. Small batches share chunks, large ones keep their body where it was received.
//! **Not here** how much a log may keep: the shard divides its budget and calls `trim`.
//!
//! Bytes are addressed by *stream position*: how many bytes the log took before them since it was opened.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::read::Parts;
use crate::types::Offset;

#[derive(Debug)]
pub(crate) struct Tail {
    batches: VecDeque<TailBatch>,
    pieces: VecDeque<Piece>,
    /// The newest bytes, still growing; they follow the last piece.
    chunk: BytesMut,
    /// Stream position of the chunk's first byte.
    chunk_stream: u64,
    end: u64,
}

/// A batch of the tail. 32 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct TailBatch {
    pub base: Offset,
    pub next: Offset,
    /// Where its bytes start in the stream.
    pub stream: u64,
    /// Where they start in the file.
    pub position: u32,
}

#[derive(Debug)]
struct Piece {
    stream: u64,
    bytes: Bytes,
}

impl Tail {
    pub(crate) fn new() -> Self {
        Self {
            batches: VecDeque::new(),
            pieces: VecDeque::new(),
            chunk: BytesMut::new(),
            chunk_stream: 0,
            end: 0,
        }
    }

    /// Takes a batch: its header is copied, its body copied when small, else kept by reference.
    // HOT: 0–1 allocations (a chunk per 64 KiB, the growth of two queues), 1 copy of small bodies
    pub(super) fn push(
        &mut self,
        base: Offset,
        next: Offset,
        position: u32,
        head: &[u8],
        body: &Bytes,
    ) {
        self.batches.push_back(TailBatch {
            base,
            next,
            stream: self.end,
            position,
        });
        if body.len() < BY_REFERENCE_SIZE {
            self.make_room(head.len() + body.len());
            self.copy(head);
            self.copy(body);
        } else {
            self.make_room(head.len());
            self.copy(head);
            self.seal_chunk();
            self.pieces.push_back(Piece {
                stream: self.end,
                bytes: body.clone(),
            });
            self.end += body.len() as u64;
        }
    }

    /// Stream position behind the last byte.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let start = self.batches.front().map_or(self.end, |batch| batch.stream);
        usize::try_from(self.end - start).unwrap_or(usize::MAX)
    }

    /// The oldest batch held.
    pub(super) fn first(&self) -> Option<&TailBatch> {
        self.batches.front()
    }

    /// Number of the batch that holds `offset` or, where compaction or a gap took it, the next one; `None` when
    /// the tail does not reach back to it.
    pub(super) fn find(&self, offset: Offset) -> Option<usize> {
        let first = self.batches.front()?;
        if offset < first.base {
            return None;
        }
        let number = self.batches.partition_point(|batch| batch.next <= offset);
        (number < self.batches.len()).then_some(number)
    }

    /// The first batch that starts at `offset` or above: where a read bounded by it ends.
    pub(super) fn first_from(&self, offset: Offset) -> Option<&TailBatch> {
        let number = self.batches.partition_point(|batch| batch.base < offset);
        self.batches.get(number)
    }

    /// The bytes of whole batches from number `first` on, at most `bytes_max` and nothing that reaches beyond
    /// `upper`; the first even when it is larger, if `at_least_one`. `None` when that is nothing.
    pub(super) fn read(
        &mut self,
        first: usize,
        bytes_max: usize,
        upper: Offset,
        at_least_one: bool,
    ) -> Option<Range<u64>> {
        let start = self.batches[first].stream;
        let limit = start.saturating_add(bytes_max as u64);
        let within = self.batches.partition_point(|batch| batch.next <= upper);
        // The batch that would end behind the limit is the one whose successor starts behind it.
        let mut stop = self
            .batches
            .partition_point(|batch| batch.stream <= limit)
            .saturating_sub(1);
        if self.end <= limit {
            stop = self.batches.len();
        }
        let floor = if at_least_one { first + 1 } else { first };
        let stop = stop.max(floor).min(within);
        if stop <= first {
            return None;
        }
        Some(
            start
                ..self
                    .batches
                    .get(stop)
                    .map_or(self.end, |batch| batch.stream),
        )
    }

    /// The bytes of a range of the stream, by reference.
    pub(super) fn slice(&mut self, range: Range<u64>) -> Parts {
        let mut parts = SmallVec::new();
        if range.is_empty() {
            return parts;
        }
        self.seal_chunk();
        let first = self
            .pieces
            .partition_point(|piece| piece.stream <= range.start)
            .saturating_sub(1);
        for piece in self.pieces.range(first..) {
            if piece.stream >= range.end {
                break;
            }
            let from = range.start.saturating_sub(piece.stream);
            let to = (range.end - piece.stream).min(piece.bytes.len() as u64);
            parts.push(piece.bytes.slice(index(from)..index(to)));
        }
        parts
    }

    /// Drops the oldest batches until at most `keep` bytes are left, but none that ends above `written`.
    pub(super) fn trim(&mut self, keep: usize, written: Offset) {
        while self.bytes() > keep
            && self
                .batches
                .front()
                .is_some_and(|batch| batch.next <= written)
        {
            self.batches.pop_front();
        }
        self.drop_pieces();
    }

    /// Drops the bytes in front of the oldest batch.
    fn drop_pieces(&mut self) {
        let start = self.batches.front().map_or(self.end, |batch| batch.stream);
        while self
            .pieces
            .front()
            .is_some_and(|piece| piece.stream + piece.bytes.len() as u64 <= start)
        {
            self.pieces.pop_front();
        }
        if self.batches.is_empty() {
            self.chunk = BytesMut::new();
        }
    }

    /// Drops the batches that begin below `offset`. They are in files already.
    pub(super) fn drop_below(&mut self, offset: Offset) {
        while self.batches.front().is_some_and(|b| b.base < offset) {
            self.batches.pop_front();
        }
        self.drop_pieces();
    }

    /// Gives back the queues' spare memory.
    pub(super) fn shrink(&mut self) {
        self.batches.shrink_to_fit();
        self.pieces.shrink_to_fit();
    }

    fn copy(&mut self, bytes: &[u8]) {
        if self.chunk.is_empty() {
            self.chunk_stream = self.end;
        }
        self.chunk.extend_from_slice(bytes);
        self.end += bytes.len() as u64;
    }

    fn make_room(&mut self, size: usize) {
        if self.chunk.capacity() - self.chunk.len() >= size {
            return;
        }
        // A log that trickles gets small chunks, one that streams large ones.
        let wanted = (2 * (self.chunk.len() + size)).next_power_of_two();
        self.seal_chunk();
        self.chunk =
            BytesMut::with_capacity(wanted.clamp(CHUNK_SIZE_MIN, CHUNK_SIZE_MAX).max(size));
    }

    fn seal_chunk(&mut self) {
        if !self.chunk.is_empty() {
            let bytes = self.chunk.split().freeze();
            self.pieces.push_back(Piece {
                stream: self.chunk_stream,
                bytes,
            });
        }
    }
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Bodies from here on are kept where they were received; a copy of less costs no more than a second part in the write.
const BY_REFERENCE_SIZE: usize = 4 << 10;
const CHUNK_SIZE_MIN: usize = 4 << 10;
const CHUNK_SIZE_MAX: usize = 64 << 10;
