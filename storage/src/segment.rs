//! Segments: the files a log is cut into, and their names.
//!
//! **Owns** what is known of one segment without reading it, and (in `name`) every file name of a partition folder.
//! **Lives on** the shard that owns the log.
//! **Invariants** 1. `size` counts what was appended, written or not. 2. Positions fit an i32, as in Kafka's index.
//! **Not here** which bytes are in memory (`log::tail`), the index bytes (`index`).

pub mod name;
pub mod reader;

use crate::disk::File;
use crate::types::{Offset, Timestamp};

/// One segment, as far as it is known without reading it: about 100 bytes.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Offset that names the files; no record in it is smaller.
    pub base: Offset,
    /// Bytes of the `.log` file, counting what is appended but not written yet.
    pub size: u64,
    /// Largest timestamp of a batch, or -1 when there is none.
    pub max_timestamp: Timestamp,
    /// Last offset of the first batch with that timestamp.
    pub max_timestamp_offset: Offset,
    /// Last change in ms: stands in for `max_timestamp` where records have no timestamps.
    pub modified: Timestamp,
    /// Entries in the `.index` file.
    pub index_entries: u32,
    /// Entries in the `.timeindex` file.
    pub time_entries: u32,
    /// Entries in the `.txnindex` file.
    pub aborted: u32,
    /// The `.log` file, when it is open.
    pub file: Option<File>,
    /// The `.index` file, when it is open.
    pub index_file: Option<File>,
    /// Bytes of the `.log` file that are written without a gap.
    pub written: u64,
}

impl Segment {
    pub(crate) fn empty(base: Offset, now: Timestamp) -> Self {
        Self {
            base,
            size: 0,
            max_timestamp: Timestamp::NONE,
            max_timestamp_offset: Offset::NONE,
            modified: now,
            index_entries: 0,
            time_entries: 0,
            aborted: 0,
            file: None,
            index_file: None,
            written: 0,
        }
    }

    /// The time retention goes by: the largest timestamp, else the last change of the file.
    pub(crate) fn retention_timestamp(&self) -> Timestamp {
        if self.max_timestamp.is_some() {
            self.max_timestamp
        } else {
            self.modified
        }
    }

    /// Notes the timestamp of a batch that ends at `last_offset`.
    pub(crate) fn note_timestamp(&mut self, max_timestamp: Timestamp, last_offset: Offset) {
        if max_timestamp > self.max_timestamp {
            self.max_timestamp = max_timestamp;
            self.max_timestamp_offset = last_offset;
        }
    }
}
