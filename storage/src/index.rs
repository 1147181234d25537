//! The index files: offset to position, timestamp to offset, aborted transactions.
//!
//! **Owns** the bytes of `.index`, `.timeindex` and `.txnindex`, and the index of the active segment in memory.
//! **Lives on** the owning shard; the readers of files on the companion.
//! **Invariants** 1. Entries grow strictly: offsets and positions in the offset index, timestamps in the time
//! index. 2. Every position is the start of a batch. 3. What a file says is checked before it is believed.
//! **Not here** when an entry is due (`log::append`, `recovery`).
//!
//! ```text
//! .index      | offset - base: u32 | position: u32 |                       8 bytes; offset = the batch's last
//! .timeindex  | timestamp: i64 | offset - base: u32 |                     12 bytes; largest timestamp so far
//! .txnindex   | version = 0: i16 | producer id | first | last | last stable: i64 each |   34 bytes
//! ```

use crate::disk::{DiskError, File, Wait};
use crate::producer::AbortedTransaction;
use crate::types::Timestamp;

/// Size of an entry of `.index`.
pub const INDEX_ENTRY_SIZE: usize = 8;
/// Size of an entry of `.timeindex`.
pub const TIME_ENTRY_SIZE: usize = 12;

/// An entry of `.index`: the batch that starts at `position` ends with offset base + `relative_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Last offset of the batch, from the segment's base offset.
    pub relative_offset: u32,
    /// Where the batch starts in the `.log` file.
    pub position: u32,
}

impl IndexEntry {
    /// The bytes on disk.
    pub fn encode(self) -> [u8; INDEX_ENTRY_SIZE] {
        let value = u64::from(self.relative_offset) << 32 | u64::from(self.position);
        value.to_be_bytes()
    }

    /// From the bytes on disk.
    pub fn decode(bytes: [u8; INDEX_ENTRY_SIZE]) -> Self {
        let value = u64::from_be_bytes(bytes);
        Self {
            relative_offset: u32::try_from(value >> 32).unwrap_or_default(),
            position: u32::try_from(value & u64::from(u32::MAX)).unwrap_or_default(),
        }
    }
}

/// An entry of `.timeindex`: no record up to offset base + `relative_offset` is later than `timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    /// Largest timestamp so far.
    pub timestamp: Timestamp,
    /// Last offset of the batch that carries it, from the segment's base offset.
    pub relative_offset: u32,
}

impl TimeEntry {
    /// The bytes on disk.
    pub fn encode(self) -> [u8; TIME_ENTRY_SIZE] {
        let mut bytes = [0; TIME_ENTRY_SIZE];
        bytes[..8].copy_from_slice(&self.timestamp.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.relative_offset.to_be_bytes());
        bytes
    }

    /// From the bytes on disk.
    pub fn decode(bytes: [u8; TIME_ENTRY_SIZE]) -> Self {
        Self {
            timestamp: Timestamp(i64::from_be_bytes(std::array::from_fn(|i| bytes[i]))),
            relative_offset: u32::from_be_bytes(std::array::from_fn(|i| bytes[8 + i])),
        }
    }
}

/// Reads the aborted transactions of a segment; `None` when the file is damaged (a torn or foreign entry).
pub fn decode_txn_index(bytes: &[u8]) -> Option<Vec<AbortedTransaction>> {
    let (entries, rest) = bytes.as_chunks::<{ AbortedTransaction::SIZE }>();
    if !rest.is_empty() {
        return None;
    }
    entries
        .iter()
        .map(|entry| AbortedTransaction::decode(entry).ok())
        .collect()
}

/// The last entry of `.index` whose offset is not above `relative_offset`, among the first `count`
/// entries of the file; and its number. `None` when even the first is above.
pub fn search_offset(
    file: &File,
    count: u32,
    relative_offset: u32,
    wait: Wait,
) -> Result<Option<(u32, IndexEntry)>, DiskError> {
    search(file, count, wait, IndexEntry::decode, |entry| {
        entry.relative_offset <= relative_offset
    })
}

/// The last entry of `.index` whose position is not above `position`; and its number.
pub fn search_position(
    file: &File,
    count: u32,
    position: u32,
    wait: Wait,
) -> Result<Option<(u32, IndexEntry)>, DiskError> {
    search(file, count, wait, IndexEntry::decode, |entry| {
        entry.position <= position
    })
}

/// The last entry of `.timeindex` whose timestamp is not above `timestamp`; and its number.
pub fn search_time(
    file: &File,
    count: u32,
    timestamp: Timestamp,
    wait: Wait,
) -> Result<Option<(u32, TimeEntry)>, DiskError> {
    search(file, count, wait, TimeEntry::decode, |entry| {
        entry.timestamp <= timestamp
    })
}

/// One entry of `.timeindex` by its number.
pub fn time_entry(file: &File, number: u32, wait: Wait) -> Result<TimeEntry, DiskError> {
    read_entries(file, number, 1, wait).map(|entries| TimeEntry::decode(entries[0]))
}

/// One entry of `.index` by its number.
pub fn index_entry(file: &File, number: u32, wait: Wait) -> Result<IndexEntry, DiskError> {
    read_entries(file, number, 1, wait).map(|entries| IndexEntry::decode(entries[0]))
}

/// Binary search for the last entry that `holds`; every entry before one that holds must hold too.
/// Halves by single entries until a page is left, which is read whole.
fn search<const N: usize, E: Copy>(
    file: &File,
    count: u32,
    wait: Wait,
    decode: impl Fn([u8; N]) -> E,
    holds: impl Fn(&E) -> bool,
) -> Result<Option<(u32, E)>, DiskError> {
    let (mut low, mut high) = (0, count);
    while high - low > ENTRIES_READ_WHOLE {
        let middle = low + (high - low) / 2;
        let entry = decode(read_entries::<N>(file, middle, 1, wait)?[0]);
        if holds(&entry) {
            low = middle;
        } else {
            high = middle;
        }
    }
    let entries = read_entries::<N>(file, low, high - low, wait)?;
    let found = entries
        .iter()
        .map(|bytes| decode(*bytes))
        .take_while(|entry| holds(entry))
        .last();
    let before = entries
        .iter()
        .take_while(|bytes| holds(&decode(**bytes)))
        .count();
    Ok(found.map(|entry| (low + u32::try_from(before).unwrap_or_default() - 1, entry)))
}

fn read_entries<const N: usize>(
    file: &File,
    first: u32,
    count: u32,
    wait: Wait,
) -> Result<Vec<[u8; N]>, DiskError> {
    let mut entries = vec![[0_u8; N]; count as usize];
    let into = entries.as_flattened_mut();
    let wanted = into.len();
    let read = file.read_at(into, u64::from(first) * N as u64, wait)?;
    if read < wanted {
        let kind = match wait {
            Wait::No => std::io::ErrorKind::WouldBlock,
            Wait::Yes => std::io::ErrorKind::UnexpectedEof,
        };
        return Err(DiskError::new("read", file.path(), kind.into()));
    }
    Ok(entries)
}

/// Half a page of offset entries: below this one read is cheaper than more halving.
const ENTRIES_READ_WHOLE: u32 = 256;

#[cfg(test)]
mod tests;
