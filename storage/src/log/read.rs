//! Reading: from memory, or as a range of a file, or by first looking where the range starts.
//!
//! **Owns** the choice between tail and file, the search for a batch's position, the cursors of sequential readers.
//! **Lives on** the owning shard; a [`LocateJob`] runs wherever it is taken.
//! **Invariants** 1. What is returned starts with the batch that holds the offset (or the next one there is). 2. It
//! never reaches beyond the upper offset or what is written. 3. A position is only ever taken from a batch header
//! that was seen, an index entry or the start of a file.
//! **Not here** moving the bytes: `net` sends them from the range.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Log;
use crate::batch::Header;
use crate::disk::{DiskError, File, LogDir, Mode, Wait};
use crate::index;
use crate::limits::BATCH_HEADER_SIZE;
use crate::segment::name::{self, Content};
use crate::types::Offset;

/// Pieces of memory, one after the other.
pub type Parts = SmallVec<[Bytes; 4]>;

/// Where the answer to a read is.
#[derive(Debug)]
pub enum Read {
    /// Nothing between the offset and the upper offset (or nothing small enough).
    Empty,
    /// Whole batches in memory.
    Memory {
        /// The pieces.
        parts: Parts,
        /// Bytes of all.
        size: usize,
    },
    /// A range of a file that starts with a batch. It may end inside one, as Kafka's answers do, but not inside
    /// the first one if at least one was asked for.
    File {
        /// The file; `file.descriptor()` is for the runtime.
        file: File,
        /// The range.
        range: Range<u64>,
    },
    /// The place must be looked up: run the job with [`Wait::No`] here, and if it would block with [`Wait::Yes`] on the
    /// companion; then [`Log::located`].
    Locate(LocateJob),
}

/// Why there is nothing to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// `OFFSET_OUT_OF_RANGE`.
    #[error("offset {offset} is not between the log's start {start} and its end {end}")]
    OutOfRange {
        /// Asked for.
        offset: Offset,
        /// First offset there is.
        start: Offset,
        /// The offset behind the last.
        end: Offset,
    },
    /// The log was truncated, or a cleaned segment took others' place, while the place was looked up: read again, once
    /// [`Log::is_swapping`] is over.
    #[error("the files of the log changed meanwhile")]
    Superseded,
    /// `KAFKA_STORAGE_ERROR`: the log is out of service.
    #[error("the log is out of service: {0}")]
    Failed(std::sync::Arc<str>),
}

/// Why a place was not found.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// Not in the page cache, or the file is not open: run it again with [`Wait::Yes`] on the companion.
    #[error("the lookup would wait for the disk")]
    WouldBlock,
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What is on disk is no log here. The partition needs `log-check`; other partitions are not concerned.
    #[error("{path}: no valid batch at position {position}")]
    Damaged {
        /// The file.
        path: String,
        /// Where.
        position: u64,
    },
}

impl LocateError {
    pub(super) fn from_disk(error: DiskError, wait: Wait) -> Self {
        match error.source.kind() {
            std::io::ErrorKind::WouldBlock if wait == Wait::No => Self::WouldBlock,
            _ => Self::Disk(error),
        }
    }
}

/// A lookup of a range in one segment. `Send`; costs a few small reads.
#[derive(Clone, Debug)]
pub struct LocateJob {
    source: SegmentSource,
    layout: u64,
    from: Offset,
    bytes_max: u64,
    at_least_one: bool,
    /// What the reader may see.
    visible: Offset,
    /// The exact start, when it is known.
    start: Option<u64>,
    /// Written bytes of the segment, whatever the reader may see of them.
    segment_end: u64,
    /// Where this offset starts must be found: the range ends there.
    upper: Option<Offset>,
}

/// What a job needs to read a segment's files.
#[derive(Clone, Debug)]
pub(super) struct SegmentSource {
    pub dir: LogDir,
    pub folder: std::sync::Arc<str>,
    pub base: Offset,
    pub file: Option<File>,
    pub index_file: Option<File>,
    pub index_entries: u32,
    pub time_entries: u32,
    /// Written bytes: nothing behind them is read.
    pub stop: u64,
    /// A batch start at or before the place, known from memory.
    pub hint: u64,
}

/// The place a [`LocateJob`] found.
#[derive(Debug)]
pub struct Located {
    source: SegmentSource,
    layout: u64,
    range: Option<Range<u64>>,
    /// Base offset of the batch behind the range, when the range ends at its start.
    next: Option<Offset>,
    /// Every batch of the segment ends below the offset: the next segment has it.
    beyond: Option<Beyond>,
}

/// A read to be continued in the next segment.
#[derive(Clone, Copy, Debug)]
struct Beyond {
    from: Offset,
    bytes_max: u64,
    visible: Offset,
    at_least_one: bool,
}

/// Where sequential readers will go on: the last few ends of ranges.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    entries: [Option<Cursor>; CURSORS],
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Cursor {
    base: Offset,
    offset: Offset,
    position: u64,
}

impl Cursors {
    fn find(&self, base: Offset, offset: Offset) -> Option<u64> {
        let cursor = self
            .entries
            .iter()
            .flatten()
            .find(|c| c.offset == offset && c.base == base)?;
        Some(cursor.position)
    }

    fn put(&mut self, cursor: Cursor) {
        self.entries[self.next] = Some(cursor);
        self.next = (self.next + 1) % CURSORS;
    }
}

impl Log {
    /// Reads from the batch that holds `from`: at most `bytes_max` bytes, nothing at or above `upper` (the high
    /// watermark or the last stable offset), the first batch even when it is larger if `at_least_one`.
    // HOT: 0 alloc, 0 copy from the tail
    pub fn read(
        &mut self,
        from: Offset,
        bytes_max: usize,
        upper: Offset,
        at_least_one: bool,
    ) -> Result<Read, ReadError> {
        if from < self.start || from > self.end {
            return Err(ReadError::OutOfRange {
                offset: from,
                start: self.start,
                end: self.end,
            });
        }
        if let Some(why) = &self.failed {
            return Err(ReadError::Failed(why.clone()));
        }
        let upper = upper.min(self.end);
        if from >= upper || (bytes_max == 0 && !at_least_one) {
            return Ok(Read::Empty);
        }
        if let Some(first) = self.tail.find(from) {
            let Some(range) = self.tail.read(first, bytes_max, upper, at_least_one) else {
                return Ok(Read::Empty);
            };
            let size = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            return Ok(Read::Memory {
                parts: self.tail.slice(range),
                size,
            });
        }
        Ok(self.read_files(
            self.segment_at(from),
            from,
            bytes_max as u64,
            upper,
            at_least_one,
        ))
    }

    /// Turns what a job found into a read.
    pub fn located(&mut self, located: Located) -> Result<Read, ReadError> {
        if !self.is_current(located.layout) {
            return Err(ReadError::Superseded);
        }
        let Located {
            source,
            range,
            next,
            beyond,
            ..
        } = located;
        if let Some(at) = self.segment_index(source.base) {
            let segment = &mut self.segments[at];
            if segment.file.is_none() {
                segment.file.clone_from(&source.file);
            }
            if segment.index_file.is_none() {
                segment.index_file.clone_from(&source.index_file);
            }
            if let Some(beyond) = beyond {
                // Compaction took the rest of the segment: go on with the next.
                let Some(following) = self.segments.get(at + 1) else {
                    return Ok(Read::Empty);
                };
                let from = beyond.from.max(following.base);
                let bytes_max = usize::try_from(beyond.bytes_max).unwrap_or(usize::MAX);
                return self.read(from, bytes_max, beyond.visible, beyond.at_least_one);
            }
        }
        let (Some(range), Some(file)) = (range, source.file) else {
            return Ok(Read::Empty);
        };
        if let Some(offset) = next {
            self.cursors.put(Cursor {
                base: source.base,
                offset,
                position: range.end,
            });
        }
        Ok(Read::File { file, range })
    }

    fn read_files(
        &self,
        mut at: usize,
        mut from: Offset,
        bytes_max: u64,
        upper: Offset,
        at_least_one: bool,
    ) -> Read {
        // Compaction may have left nothing of a segment.
        while self.segments[at].size == 0 && at + 1 < self.segments.len() {
            at += 1;
            from = from.max(self.segments[at].base);
        }
        let segment = &self.segments[at];
        let start = if from <= segment.base {
            Some(0)
        } else {
            self.cursors
                .find(segment.base, from)
                .or_else(|| self.recent_start(at, from))
        };
        let mut source = self.source(at);
        let upper_position = self.position_of_upper(at, upper);
        if let Some(position) = upper_position {
            source.stop = source.stop.min(position);
        }
        if let (Some(start), Some(_), Some(file)) = (start, upper_position, &segment.file)
            && start < source.stop
        {
            // Without looking: to the end, or to a boundary that is known from memory.
            let limit = start.saturating_add(bytes_max);
            let boundary = if limit >= source.stop {
                Some(source.stop)
            } else {
                self.recent_boundary(at, limit)
                    .filter(|boundary| *boundary > start)
            };
            if let Some(end) = boundary {
                return Read::File {
                    file: file.clone(),
                    range: start..end,
                };
            }
        }
        source.hint = self.recent_hint(at, from);
        Read::Locate(LocateJob {
            source,
            layout: self.layout,
            from,
            bytes_max,
            at_least_one,
            visible: upper,
            start,
            segment_end: segment.written,
            upper: if upper_position.is_some() {
                None
            } else {
                Some(upper)
            },
        })
    }

    /// Where in segment `at` a read below `upper` must end: `None` when it must be looked up.
    fn position_of_upper(&self, at: usize, upper: Offset) -> Option<u64> {
        let segment = &self.segments[at];
        match self.segments.get(at + 1) {
            Some(following) if upper >= following.base => return Some(segment.written),
            _ => {}
        }
        if upper >= self.written && at + 1 == self.segments.len() {
            return Some(segment.written);
        }
        if let Some(first) = self.tail.first()
            && first.base <= upper
            && first.base >= segment.base
        {
            // The tail may begin in this segment and end in a later one: compare within this one.
            let batch = self.tail.first_from(upper)?;
            return (self.segment_at(batch.base) == at).then(|| u64::from(batch.position));
        }
        self.recent_start(at, upper)
    }

    fn recent_start(&self, at: usize, offset: Offset) -> Option<u64> {
        let recent = self.recent_of(at)?;
        let relative = u32::try_from(offset.since(self.segments[at].base)).ok()?;
        let found = recent
            .binary_search_by_key(&relative, |r| r.relative_base)
            .ok()?;
        Some(u64::from(recent[found].entry.position))
    }

    /// The largest known batch start at or before `limit`.
    fn recent_boundary(&self, at: usize, limit: u64) -> Option<u64> {
        let recent = self.recent_of(at)?;
        let number = recent.partition_point(|r| u64::from(r.entry.position) <= limit);
        Some(u64::from(recent[number.checked_sub(1)?].entry.position))
    }

    /// The largest known batch start that is not behind `offset`'s.
    fn recent_hint(&self, at: usize, offset: Offset) -> u64 {
        let Some(recent) = self.recent_of(at) else {
            return 0;
        };
        let base = self.segments[at].base;
        let number = recent.partition_point(|r| base + i64::from(r.relative_base) <= offset);
        number
            .checked_sub(1)
            .map_or(0, |number| u64::from(recent[number].entry.position))
    }

    fn recent_of(&self, at: usize) -> Option<&[super::RecentEntry]> {
        (at + 1 == self.segments.len()).then_some(self.active.recent.as_slice())
    }

    pub(super) fn source(&self, at: usize) -> SegmentSource {
        let segment = &self.segments[at];
        SegmentSource {
            dir: self.dir.clone(),
            folder: self.folder.clone(),
            base: segment.base,
            file: segment.file.clone(),
            index_file: segment.index_file.clone(),
            index_entries: segment.index_entries,
            time_entries: segment.time_entries,
            stop: segment.written,
            hint: 0,
        }
    }
}

impl LocateJob {
    /// The layout of the log when the job was made, for [`Log::is_current`].
    pub fn layout(&self) -> u64 {
        self.layout
    }

    fn beyond(&self) -> Beyond {
        Beyond {
            from: self.from,
            bytes_max: self.bytes_max,
            visible: self.visible,
            at_least_one: self.at_least_one,
        }
    }

    /// Looks. With [`Wait::No`] it never waits for the disk and may answer [`LocateError::WouldBlock`].
    pub fn run(&self, wait: Wait) -> Result<Located, LocateError> {
        let mut source = self.source.clone();
        let file = source.open_log(wait)?;
        let mut located = Located {
            source: source.clone(),
            layout: self.layout,
            range: None,
            next: None,
            beyond: None,
        };
        let found = match self.start {
            Some(start) => Some(start),
            None => source.find(self.from, wait)?.map(|(start, _)| start),
        };
        let Some(start) = found else {
            located.source = source;
            located.beyond = Some(self.beyond());
            return Ok(located);
        };
        let mut stop = source.stop;
        if let Some(upper) = self.upper
            && let Some((position, _)) = source.find(upper, wait)?
        {
            // A batch that begins below the upper offset and ends above it is not to be read. In a compacted log it may
            // be the first there is.
            stop = stop.min(position);
        }
        if start >= stop {
            if start >= self.segment_end {
                located.beyond = Some(self.beyond());
            }
            located.source = source;
            return Ok(located);
        }
        let first = source.header(&file, start, wait)?;
        let first_end = start + first.size() as u64;
        let mut limit = start.saturating_add(self.bytes_max);
        if limit < first_end {
            if !self.at_least_one {
                located.source = source;
                return Ok(located);
            }
            limit = first_end;
        }
        let end = if limit >= stop {
            stop
        } else {
            let (end, next) = source.boundary(first_end, limit, wait)?;
            located.next = next;
            end
        };
        located.range = Some(start..end);
        located.source = source;
        Ok(located)
    }
}

impl SegmentSource {
    pub(super) fn open_log(&mut self, wait: Wait) -> Result<File, LocateError> {
        let name = format!("{}/{}", self.folder, name::file(self.base, Content::Log));
        open_once(&mut self.file, &self.dir, &name, wait)
    }

    fn open_index(&mut self, wait: Wait) -> Result<File, LocateError> {
        let name = format!("{}/{}", self.folder, name::file(self.base, Content::Index));
        open_once(&mut self.index_file, &self.dir, &name, wait)
    }

    /// The header of the batch at `position`.
    pub(super) fn header(
        &self,
        file: &File,
        position: u64,
        wait: Wait,
    ) -> Result<Header, LocateError> {
        let mut bytes = [0_u8; BATCH_HEADER_SIZE];
        let n = file
            .read_at(&mut bytes, position, wait)
            .map_err(|error| LocateError::from_disk(error, wait))?;
        if n < BATCH_HEADER_SIZE && wait == Wait::No {
            return Err(LocateError::WouldBlock);
        }
        let damaged = || LocateError::Damaged {
            path: file.path().to_owned(),
            position,
        };
        let header = Header::parse(&bytes[..n]).ok_or_else(damaged)?;
        let fits =
            header.size() >= BATCH_HEADER_SIZE && position + header.size() as u64 <= self.stop;
        let ordered = header.base_offset >= self.base
            && header.last_offset_delta >= 0
            && header.magic == crate::batch::MAGIC;
        if fits && ordered {
            Ok(header)
        } else {
            Err(damaged())
        }
    }

    /// The first batch whose last offset is not below `offset`.
    pub(super) fn find(
        &mut self,
        offset: Offset,
        wait: Wait,
    ) -> Result<Option<(u64, Header)>, LocateError> {
        let file = self.open_log(wait)?;
        let mut position = self.hint;
        if self.index_entries > 0
            && let Ok(relative) = u32::try_from(offset.since(self.base))
        {
            let index = self.open_index(wait)?;
            let found = index::search_offset(&index, self.index_entries, relative, wait)
                .map_err(|error| LocateError::from_disk(error, wait))?;
            if let Some((_, entry)) = found
                && u64::from(entry.position) > position
                && let Some(header) = self.indexed(&file, entry, wait)?
            {
                position = u64::from(entry.position);
                if header.last_offset() >= offset {
                    return Ok(Some((position, header)));
                }
                position += header.size() as u64;
            }
        }
        self.walk(&file, position, wait, |header| {
            header.last_offset() >= offset
        })
    }

    /// The header an index entry leads to; `None` when it leads nowhere, or beyond its offset: then the entry is not to
    /// be believed, and the search goes without it. The index has no checksum.
    fn indexed(
        &self,
        file: &File,
        entry: index::IndexEntry,
        wait: Wait,
    ) -> Result<Option<Header>, LocateError> {
        match self.header(file, u64::from(entry.position), wait) {
            // Kafka before 3.9 named the last offset of a whole append at the position of its first batch.
            Ok(header) if header.last_offset() <= self.base + i64::from(entry.relative_offset) => {
                Ok(Some(header))
            }
            Ok(_) | Err(LocateError::Damaged { .. }) => {
                mark!("index entry not believed");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Walks batch headers from `position` on until one `matches`.
    pub(super) fn walk(
        &self,
        file: &File,
        mut position: u64,
        wait: Wait,
        matches: impl Fn(&Header) -> bool,
    ) -> Result<Option<(u64, Header)>, LocateError> {
        while position < self.stop {
            let header = self.header(file, position, wait)?;
            if matches(&header) {
                return Ok(Some((position, header)));
            }
            position += header.size() as u64;
        }
        Ok(None)
    }

    /// A good end for a range that may end anywhere between `first_end` and `limit`: the last batch start the index
    /// names, with the offset of that batch, so that a sequential reader comes back to a known place.
    fn boundary(
        &mut self,
        first_end: u64,
        limit: u64,
        wait: Wait,
    ) -> Result<(u64, Option<Offset>), LocateError> {
        let file = self.open_log(wait)?;
        let mut end = first_end;
        if self.index_entries > 0
            && let Ok(position) = u32::try_from(limit)
        {
            let index = self.open_index(wait)?;
            let found = index::search_position(&index, self.index_entries, position, wait)
                .map_err(|error| LocateError::from_disk(error, wait))?;
            if let Some((_, entry)) = found
                && u64::from(entry.position) > end
                && self.indexed(&file, entry, wait)?.is_some()
            {
                end = u64::from(entry.position);
            }
        }
        // From there a few headers more, so that small limits do not fall back to one batch.
        for _ in 0..buggify!(HEADERS_WALKED_MAX, 1) {
            match self.header(&file, end, wait) {
                Ok(header) if end + header.size() as u64 <= limit => end += header.size() as u64,
                Ok(header) => return Ok((end, Some(header.base_offset))),
                Err(LocateError::WouldBlock) => return Ok((end, None)),
                Err(_) if end == self.stop => return Ok((end, None)),
                Err(error) => return Err(error),
            }
        }
        Ok((end, None))
    }
}

fn open_once(
    slot: &mut Option<File>,
    dir: &LogDir,
    name: &str,
    wait: Wait,
) -> Result<File, LocateError> {
    if let Some(file) = slot {
        return Ok(file.clone());
    }
    if wait == Wait::No {
        return Err(LocateError::WouldBlock);
    }
    // Writable: the shard keeps the handle and may append through it.
    let file = dir.open_file(name, Mode::Write)?;
    // Who catches up is read ahead for by the broker, who knows what it sends. The kernel would make a cold log look
    // warm just in front of every reader, and its pages would stay.
    file.will_read_anywhere();
    *slot = Some(file.clone());
    Ok(file)
}

/// Sequential readers of one log that are remembered.
const CURSORS: usize = 4;
/// Headers looked at behind the last index entry, to fill a range up.
const HEADERS_WALKED_MAX: usize = 16;
