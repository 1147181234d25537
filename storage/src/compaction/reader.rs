//! Reading a sealed segment batch by batch.
//!
//! **Owns** the window of the file in memory. **Lives on** the companion, inside a cleaning.
//! **Invariants** 1. Memory is bounded by the window and one batch, and a batch by what is left of the file. 2. A batch it
//! returns has passed its checks and follows the one before.
//! **Not here** what becomes of the batches.

use bytes::Bytes;

use super::CleaningError;
use crate::batch::{Batch, Header, UncheckedBatch, frame_size};
use crate::disk::{DiskError, File, Wait};
use crate::limits::BATCH_HEADER_SIZE;
use crate::types::Offset;

#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    /// Bytes of the segment; nothing behind them is read.
    size: u64,
    window_size: usize,
    window: Bytes,
    window_start: u64,
    position: u64,
    /// No batch may begin below.
    next: Offset,
    /// Bytes read from the file since last asked.
    read: u64,
    /// Ranges that the page cache did not hold before.
    cold: Option<std::ops::Range<u64>>,
}

impl Reader {
    pub(super) fn new(file: File, base: Offset, size: u64, window_size: usize) -> Self {
        Self {
            file,
            size,
            window_size,
            window: Bytes::new(),
            window_start: 0,
            position: 0,
            next: base,
            read: 0,
            cold: None,
        }
    }

    /// The file it reads.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes read since this was last asked.
    pub(super) fn take_read(&mut self) -> u64 {
        std::mem::take(&mut self.read)
    }

    /// What was read since this was last asked and had not been in the page cache before.
    pub(super) fn take_cold(&mut self) -> Option<std::ops::Range<u64>> {
        self.cold.take()
    }

    /// The header of the next batch, unchecked but for its size; `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<Header>, CleaningError> {
        if self.position >= self.size {
            return Ok(None);
        }
        self.fill(BATCH_HEADER_SIZE)?;
        let at = index(self.position - self.window_start);
        let bytes = &self.window[at.min(self.window.len())..];
        let header = match frame_size(bytes) {
            Ok(Some(_)) => Header::parse(bytes),
            Ok(None) => None,
            Err(error) => return Err(self.corrupt(&error.to_string())),
        };
        let Some(header) = header else {
            return Err(self.corrupt("the segment ends inside a batch header"));
        };
        if header.size() as u64 > self.size - self.position {
            return Err(self.corrupt(&format!(
                "a batch of {} bytes, {} are left in the segment",
                header.size(),
                self.size - self.position
            )));
        }
        Ok(Some(header))
    }

    /// The next batch, checked; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Batch>, CleaningError> {
        let Some(header) = self.peek()? else {
            return Ok(None);
        };
        self.fill(header.size())?;
        let at = index(self.position - self.window_start);
        let mut rest = self.window.slice(at.min(self.window.len())..);
        let checked = match UncheckedBatch::take(&mut rest) {
            Ok(Some(unchecked)) => unchecked.check().map_err(|error| error.to_string()),
            Ok(None) => Err("the segment ends inside a batch".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let batch = checked.map_err(|why| self.corrupt(&why))?;
        let base = batch.header().base_offset;
        if base < self.next {
            return Err(self.corrupt(&format!("offset {base} after the end {}", self.next)));
        }
        self.next = batch.header().next_offset();
        self.position += batch.size() as u64;
        Ok(Some(batch))
    }

    /// Passes over the batch that [`Reader::peek`] showed.
    pub(super) fn skip(&mut self, header: &Header) {
        self.position += header.size() as u64;
    }

    pub(super) fn corrupt(&self, why: &str) -> CleaningError {
        CleaningError::Corrupt {
            path: self.file.path().to_owned(),
            position: self.position,
            why: why.to_owned(),
        }
    }

    /// Makes the window hold `wanted` bytes from the position on, or all there are.
    fn fill(&mut self, wanted: usize) -> Result<(), DiskError> {
        let wanted_end = (self.position + wanted as u64).min(self.size);
        let window_end = self.window_start + self.window.len() as u64;
        if self.position >= self.window_start && wanted_end <= window_end {
            return Ok(());
        }
        let left = index(self.size - self.position);
        let mut bytes = vec![0_u8; wanted.max(self.window_size).min(left)];
        let resident = self.file.resident(self.position);
        let n = self.file.read_at(&mut bytes, self.position, Wait::Yes)?;
        bytes.truncate(n);
        self.read += n as u64;
        let range = self.position..self.position + n as u64;
        if !resident {
            self.cold = match self.cold.take() {
                Some(cold) if cold.end >= range.start && cold.start <= range.start => {
                    Some(cold.start..range.end.max(cold.end))
                }
                _ => Some(range),
            };
        }
        self.window = bytes.into();
        self.window_start = self.position;
        Ok(())
    }
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
