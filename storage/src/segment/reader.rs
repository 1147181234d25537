//! Reading the batches of a file as they lie there, for tools: nothing is believed, nothing is changed.
//!
//! **Owns** the window over a `.log` or `.checkpoint` file.
//! **Lives on** any thread that may block.
//! **Invariants** 1. Memory is bounded by one window and one batch; a batch above [`BATCH_IN_MEMORY_MAX`] is loaded only
//! when its CRC is right. 2. What is wrong is found, not an error: an error is the disk's.
//! **Not here** what recovery makes of a file (`recovery`).

use bytes::Bytes;

use crate::batch::{BatchError, CRC_FROM, Header, UncheckedBatch, frame_size};
use crate::disk::{DiskError, File, Wait};
use crate::limits::BATCH_HEADER_SIZE;

/// What lies at a position.
#[derive(Debug)]
pub enum Found {
    /// A batch, cut out by its length field, with its checks still to come.
    Batch(UncheckedBatch),
    /// A batch too large to be loaded, whose CRC is wrong.
    Huge(Header),
    /// Fewer bytes than a batch needs, or than its length field claims.
    CutShort {
        /// What the batch needs, in bytes; `None` when even its length field is not all there.
        wanted: Option<u64>,
        /// What there is, in bytes.
        left: u64,
    },
    /// Bytes that are no batch of a format that is read here.
    NoBatch {
        /// Why not.
        error: BatchError,
        /// Where the next one would be, when the length field can be believed so far.
        behind: Option<u64>,
    },
}

/// Reads through a window, so that small batches do not cost a system call each.
#[derive(Debug)]
pub struct Reader<'a> {
    file: &'a File,
    end: u64,
    window: Bytes,
    window_start: u64,
}

impl<'a> Reader<'a> {
    /// Over the first `bytes_max` bytes of a file.
    pub fn new(file: &'a File, bytes_max: u64) -> Result<Self, DiskError> {
        Ok(Self {
            file,
            end: file.size()?.min(bytes_max),
            window: Bytes::new(),
            window_start: 0,
        })
    }

    /// Where reading ends: the size of the file, or the limit.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// What lies at `position`, which is before the end.
    pub fn batch(&mut self, position: u64) -> Result<Found, DiskError> {
        let left = self.end.saturating_sub(position);
        self.fill(position, BATCH_HEADER_SIZE)?;
        let size = match frame_size(self.at(position)) {
            Ok(Some(size)) => size as u64,
            Ok(None) => return Ok(Found::CutShort { wanted: None, left }),
            Err(error) => {
                let behind = self.claimed_end(position, &error);
                return Ok(Found::NoBatch { error, behind });
            }
        };
        if size > left {
            let wanted = Some(size);
            return Ok(Found::CutShort { wanted, left });
        }
        if size > BATCH_IN_MEMORY_MAX
            && let Some(header) = Header::parse(self.at(position))
            && self.crc(position, size)? != header.crc
        {
            return Ok(Found::Huge(header));
        }
        self.fill(position, index(size))?;
        let mut rest = self.window.slice(self.offset_of(position)..);
        Ok(match UncheckedBatch::take(&mut rest) {
            Ok(Some(batch)) => Found::Batch(batch),
            // The file became shorter while it was read.
            Ok(None) => Found::CutShort {
                wanted: Some(size),
                left: rest.len() as u64,
            },
            Err(error) => Found::NoBatch {
                error,
                behind: Some(position + size),
            },
        })
    }

    /// The header at `position`, whatever it says; `None` when too few bytes are left. For walks that do not look at
    /// records.
    pub fn header(&mut self, position: u64) -> Result<Option<Header>, DiskError> {
        if position >= self.end {
            return Ok(None);
        }
        self.fill(position, BATCH_HEADER_SIZE)?;
        Ok(Header::parse(self.at(position)))
    }

    /// For a foreign magic: the batch may still be passed over by its length.
    fn claimed_end(&self, position: u64, error: &BatchError) -> Option<u64> {
        let BatchError::Magic { .. } = error else {
            return None;
        };
        let header = Header::parse(self.at(position))?;
        let behind = position.checked_add(header.size() as u64)?;
        (header.size() >= BATCH_HEADER_SIZE && behind <= self.end).then_some(behind)
    }

    /// The CRC of a batch's bytes, piece by piece.
    fn crc(&mut self, position: u64, size: u64) -> Result<u32, DiskError> {
        let (mut at, end) = (position + CRC_FROM as u64, position + size);
        let mut crc = 0;
        while at < end {
            let piece = (end - at).min(WINDOW_SIZE as u64);
            self.fill(at, index(piece))?;
            let bytes = self.at(at);
            let bytes = &bytes[..bytes.len().min(index(piece))];
            if bytes.is_empty() {
                break;
            }
            crc = crc32c::crc32c_append(crc, bytes);
            at += bytes.len() as u64;
        }
        Ok(crc)
    }

    fn at(&self, position: u64) -> &[u8] {
        &self.window[self.offset_of(position)..]
    }

    fn offset_of(&self, position: u64) -> usize {
        index(position - self.window_start).min(self.window.len())
    }

    /// Makes the window hold `wanted` bytes from `position` on, or all there are.
    fn fill(&mut self, position: u64, wanted: usize) -> Result<(), DiskError> {
        let wanted_end = (position + wanted as u64).min(self.end);
        let window_end = self.window_start + self.window.len() as u64;
        if position >= self.window_start && wanted_end <= window_end {
            return Ok(());
        }
        let left = index(self.end.saturating_sub(position));
        let mut bytes = vec![0_u8; wanted.max(WINDOW_SIZE).min(left)];
        let n = self.file.read_at(&mut bytes, position, Wait::Yes)?;
        bytes.truncate(n);
        if n < wanted.min(left) {
            // Somebody cuts the file while it is read: go by what there is.
            self.end = position + n as u64;
        }
        self.window = bytes.into();
        self.window_start = position;
        Ok(())
    }
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Bytes of a batch above which its CRC is checked before it is loaded: far above `max.message.bytes` of any topic that
/// is used well, far below what a wrong length field may claim.
pub const BATCH_IN_MEMORY_MAX: u64 = 64 << 20;
const WINDOW_SIZE: usize = 1 << 20;
