//! What of a segment need not be scanned after an unclean stop.
//!
//! **Owns** the part of the index files that is believed below the recovery point.
//! **Lives on** the companion.
//! **Invariants** 1. Every entry of it grows over the one before; the last names a batch that is there. 2. It ends
//! at or below the recovery point, and where the time index ends: index files are not synced with the log, so either
//! may have lost its end. 3. The batch of its last entry is scanned again.
//! **Not here** the scan (`recovery::scan`).

use super::scan::Scanned;
use crate::batch::Header;
use crate::disk::{DiskError, File, LogDir, Mode, Wait};
use crate::index::{INDEX_ENTRY_SIZE, IndexEntry, TIME_ENTRY_SIZE, TimeEntry};
use crate::limits::BATCH_HEADER_SIZE;
use crate::segment::name::{self, Content};
use crate::types::{Offset, Timestamp};

/// The believed entries of both index files, and the batch that the last one names.
#[derive(Debug)]
pub(super) struct Prefix {
    index: Vec<IndexEntry>,
    times: Vec<TimeEntry>,
    /// Base offset of the batch the last index entry names.
    next: Offset,
}

impl Prefix {
    /// Reads what can be believed of a segment's index files below `below`; `None` when that is nothing.
    pub(super) fn read(
        dir: &LogDir,
        folder: &str,
        base: Offset,
        below: Offset,
    ) -> Result<Option<Self>, DiskError> {
        let open = |content| {
            let name = format!("{folder}/{}", name::file(base, content));
            match dir.open_file(&name, Mode::Read) {
                Ok(file) => Ok(Some(file)),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            }
        };
        let (Some(index_file), Some(time_file)) =
            (open(Content::Index)?, open(Content::TimeIndex)?)
        else {
            return Ok(None);
        };
        let Ok(below) = u32::try_from(below.since(base)) else {
            return Ok(None);
        };
        let mut times: Vec<TimeEntry> = Vec::new();
        entries::<TIME_ENTRY_SIZE>(&time_file, |bytes| {
            let entry = TimeEntry::decode(bytes);
            let grows = times.last().map_or(entry.timestamp.is_some(), |last| {
                last.timestamp < entry.timestamp && last.relative_offset < entry.relative_offset
            });
            let believed = grows && entry.relative_offset < below;
            if believed {
                times.push(entry);
            }
            believed
        })?;
        let reach = times.last().map_or(0, |last| last.relative_offset);
        let mut index: Vec<IndexEntry> = Vec::new();
        entries::<INDEX_ENTRY_SIZE>(&index_file, |bytes| {
            let entry = IndexEntry::decode(bytes);
            let grows = index.last().map_or(entry.position > 0, |last| {
                last.position < entry.position && last.relative_offset < entry.relative_offset
            });
            let believed = grows && entry.relative_offset <= reach;
            if believed {
                index.push(entry);
            }
            believed
        })?;
        let log = dir.open_file(
            &format!("{folder}/{}", name::file(base, Content::Log)),
            Mode::Read,
        )?;
        for _ in 0..TRIES {
            let Some(last) = index.last() else {
                return Ok(None);
            };
            let mut head = [0_u8; BATCH_HEADER_SIZE];
            let n = log.read_at(&mut head, u64::from(last.position), Wait::Yes)?;
            let wanted = base + i64::from(last.relative_offset);
            if let Some(header) =
                Header::parse(&head[..n]).filter(|header| header.last_offset() == wanted)
            {
                let reach = last.relative_offset;
                times.retain(|entry| entry.relative_offset <= reach);
                return Ok(Some(Self {
                    index,
                    times,
                    next: header.base_offset,
                }));
            }
            index.pop();
        }
        Ok(None)
    }

    /// Where the batch of its last entry begins.
    pub(super) fn position(&self) -> u64 {
        self.index
            .last()
            .map_or(0, |entry| u64::from(entry.position))
    }

    /// Lets a scan begin behind it; returns the position of its last index entry.
    pub(super) fn resume_in(self, found: &mut Scanned, base: Offset) -> u64 {
        let position = self.position();
        if let Some(last) = self.times.last() {
            found.max_timestamp = last.timestamp;
            found.max_timestamp_offset = base + i64::from(last.relative_offset);
        } else {
            found.max_timestamp = Timestamp::NONE;
        }
        found.valid_bytes = position;
        found.end_offset = self.next;
        found.begun_at = self.next;
        found.index = self.index;
        found.times = self.times;
        position
    }
}

/// Hands the whole entries of a file to `take`, in order, until it refuses one.
fn entries<const N: usize>(
    file: &File,
    mut take: impl FnMut([u8; N]) -> bool,
) -> Result<(), DiskError> {
    let mut position = 0;
    let mut page = [[0_u8; N]; PAGE_ENTRIES];
    loop {
        let n = file.read_at(page.as_flattened_mut(), position, Wait::Yes)?;
        let (whole, _) = page.as_flattened()[..n].as_chunks::<N>();
        for entry in whole {
            if !take(*entry) {
                return Ok(());
            }
        }
        if n < PAGE_ENTRIES * N {
            return Ok(());
        }
        position += n as u64;
    }
}

/// Entries read at once: small files, which most are, cost one read of a few KiB.
const PAGE_ENTRIES: usize = 1024;
/// Entries at the end that may name no batch before the files are not believed at all.
const TRIES: usize = 8;
