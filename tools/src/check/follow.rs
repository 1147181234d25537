//! **Owns** the comparison of a segment's index files with its batches, side by side with the walk over them.
//! **Lives on** a checking thread.
//! **Invariants** (1) Each file is read once, in pieces. (2) Of each file the first wrong entry is told, and how many more
//! there are.
//! **Not here** the walk (`segment`).

use corelog_storage::batch::Header;
use corelog_storage::disk::{DiskError, File};
use corelog_storage::index::{INDEX_ENTRY_SIZE, IndexEntry, TIME_ENTRY_SIZE, TimeEntry};
use corelog_storage::types::{Offset, Timestamp};

use crate::dump::Entries;

/// The first thing wrong with a file, and how many more.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    first: Option<(u64, String)>,
    more: u64,
}

impl Wrong {
    fn note(&mut self, position: u64, what: String) {
        if self.first.is_none() {
            self.first = Some((position, what));
        } else {
            self.more += 1;
        }
    }

    /// Position and sentence.
    pub(super) fn told(self) -> Option<(u64, String)> {
        let (position, what) = self.first?;
        Some(match self.more {
            0 => (position, what),
            more => (
                position,
                format!("{what}, and {more} more entries are wrong"),
            ),
        })
    }
}

/// Walks through `.index` beside the log.
pub(super) struct FollowIndex<'f> {
    entries: Entries<'f, INDEX_ENTRY_SIZE>,
    number: u64,
    base: Offset,
    last: Option<IndexEntry>,
    wrong: Wrong,
}

impl<'f> FollowIndex<'f> {
    pub(super) fn new(file: &'f File, base: Offset) -> Result<Self, DiskError> {
        Ok(Self {
            entries: Entries::new(file)?,
            number: 0,
            base,
            last: None,
            wrong: Wrong::default(),
        })
    }

    /// A batch begins here. The batches between `position` and the one before are none.
    pub(super) fn batch(&mut self, position: u64, header: &Header) -> Result<(), DiskError> {
        while let Some(entry) = self.peek()? {
            let at = u64::from(entry.position);
            if at > position {
                break;
            }
            let offset = self.base + i64::from(entry.relative_offset);
            if at < position {
                self.wrong(format!(
                    "the entry for offset {offset} points to position {at}, where no batch begins"
                ));
            } else if offset != header.last_offset() {
                self.wrong(format!(
                    "the entry for offset {offset} points to the batch that ends with offset {}",
                    header.last_offset()
                ));
            }
            self.advance(entry);
        }
        Ok(())
    }

    /// The log ends here.
    pub(super) fn finish(mut self, end: u64) -> Result<Wrong, DiskError> {
        while let Some(entry) = self.peek()? {
            let offset = self.base + i64::from(entry.relative_offset);
            self.wrong(format!(
                "the entry for offset {offset} points to position {}, the valid batches of the log end at {end}",
                entry.position
            ));
            self.advance(entry);
        }
        Ok(self.wrong)
    }

    fn peek(&mut self) -> Result<Option<IndexEntry>, DiskError> {
        if self.number >= self.entries.count {
            return Ok(None);
        }
        let entry = IndexEntry::decode(self.entries.one(self.number)?);
        // The zeros of a preallocated file.
        if entry.position == 0 && entry.relative_offset == 0 {
            self.number = self.entries.count;
            return Ok(None);
        }
        Ok(Some(entry))
    }

    fn advance(&mut self, entry: IndexEntry) {
        if let Some(last) = self.last
            && (last.position >= entry.position || last.relative_offset >= entry.relative_offset)
        {
            let offset = self.base + i64::from(entry.relative_offset);
            self.wrong(format!(
                "the entry for offset {offset} at position {} does not lie behind the entry before it",
                entry.position
            ));
        }
        self.last = Some(entry);
        self.number += 1;
    }

    fn wrong(&mut self, what: String) {
        let position = self.number * INDEX_ENTRY_SIZE as u64;
        self.wrong.note(position, what);
    }
}

/// Walks through `.timeindex` beside the log.
pub(super) struct FollowTimes<'f> {
    entries: Entries<'f, TIME_ENTRY_SIZE>,
    number: u64,
    base: Offset,
    last: Timestamp,
    largest: Timestamp,
    wrong: Wrong,
}

impl<'f> FollowTimes<'f> {
    pub(super) fn new(file: &'f File, base: Offset) -> Result<Self, DiskError> {
        Ok(Self {
            entries: Entries::new(file)?,
            number: 0,
            base,
            last: Timestamp::NONE,
            largest: Timestamp::NONE,
            wrong: Wrong::default(),
        })
    }

    pub(super) fn batch(&mut self, header: &Header) -> Result<(), DiskError> {
        self.largest = self.largest.max(header.max_timestamp);
        while let Some(entry) = self.peek()? {
            let offset = self.base + i64::from(entry.relative_offset);
            if header.last_offset() < offset {
                break;
            }
            if header.last_offset() > offset {
                self.wrong(format!(
                    "the entry for timestamp {} names offset {offset}, with which no batch ends",
                    entry.timestamp
                ));
            } else if entry.timestamp != header.max_timestamp {
                self.wrong(format!(
                    "the entry for offset {offset} has timestamp {}, its batch {}",
                    entry.timestamp, header.max_timestamp
                ));
            }
            self.advance(entry);
        }
        Ok(())
    }

    /// The log ends here. `closed`: the index was finished, by a roll or by a clean stop.
    pub(super) fn finish(mut self, closed: bool) -> Result<Wrong, DiskError> {
        while let Some(entry) = self.peek()? {
            let offset = self.base + i64::from(entry.relative_offset);
            self.wrong(format!(
                "the entry for timestamp {} names offset {offset}, which is not in the log",
                entry.timestamp
            ));
            self.advance(entry);
        }
        if closed && self.largest > self.last && self.wrong.first.is_none() {
            self.wrong(format!(
                "its last timestamp is {}, the log has {}",
                self.last, self.largest
            ));
        }
        Ok(self.wrong)
    }

    fn peek(&mut self) -> Result<Option<TimeEntry>, DiskError> {
        if self.number >= self.entries.count {
            return Ok(None);
        }
        let entry = TimeEntry::decode(self.entries.one(self.number)?);
        // The zeros of a preallocated file.
        if entry.timestamp.0 == 0 && entry.relative_offset == 0 {
            self.number = self.entries.count;
            return Ok(None);
        }
        Ok(Some(entry))
    }

    fn advance(&mut self, entry: TimeEntry) {
        if self.last.is_some() && entry.timestamp <= self.last {
            self.wrong(format!(
                "timestamp {} follows {}",
                entry.timestamp, self.last
            ));
        }
        self.last = self.last.max(entry.timestamp);
        self.number += 1;
    }

    fn wrong(&mut self, what: String) {
        let position = self.number * TIME_ENTRY_SIZE as u64;
        self.wrong.note(position, what);
    }
}
