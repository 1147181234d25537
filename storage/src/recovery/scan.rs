//! Reading a segment's file from front to back.
//!
//! **Owns** the walk over batches, checked or by their headers only, and what of it goes into the indexes.
//! **Lives on** the companion.
//! **Invariants** 1. What it calls valid has a right CRC, grows in offset and lies within the segment's bounds. 2. Memory
//! is bounded by one window and one batch.
//! **Not here** what becomes of damage (`recovery::folder`).

use bytes::Bytes;

use super::Progress;
use super::prefix::Prefix;
use crate::batch::{Batch, Header, UncheckedBatch};
use crate::disk::{DiskError, File, LogDir, Mode, Wait};
use crate::epochs::LeaderEpochs;
use crate::index::{IndexEntry, TimeEntry};
use crate::limits::BATCH_HEADER_SIZE;
use crate::log::{LogSettings, end_marker};
use crate::producer::{AbortedTransaction, Producers};
use crate::segment::Segment;
use crate::segment::name::{self, Content};
use crate::types::{LeaderEpoch, Offset, Timestamp};

/// What a scan of a segment found.
#[derive(Debug)]
pub(super) struct Scanned {
    /// Bytes up to the first that is not part of a valid batch.
    pub valid_bytes: u64,
    /// Size of the file.
    pub file_bytes: u64,
    /// The offset behind the last valid batch, at least the segment's base.
    pub end_offset: Offset,
    pub max_timestamp: Timestamp,
    pub max_timestamp_offset: Offset,
    pub index: Vec<IndexEntry>,
    pub times: Vec<TimeEntry>,
    pub damage: Option<Damage>,
    /// Bytes checked: what lies behind the part that was believed.
    pub checked_bytes: u64,
    /// The offset of the first batch checked, or the segment's base.
    pub begun_at: Offset,
    /// Epochs of the checked batches, each with the first offset it was seen at.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// Whether a checked batch is a producer's that counts its batches, or ends a transaction.
    pub has_producers: bool,
}

/// Why a scan stopped before the end of the file.
#[derive(Debug)]
pub(super) struct Damage {
    pub why: String,
    /// Behind it, by the length it claims, a valid batch follows: more than a torn end.
    pub data_behind: bool,
    /// It is no damage but a whole message of magic 0 or 1.
    pub old_format: Option<i8>,
}

/// The magic of a segment's first message when it is of an old format.
pub(super) fn begins_in_old_format(
    dir: &LogDir,
    folder: &str,
    base: Offset,
) -> Result<Option<i8>, DiskError> {
    let file = dir.open_file(
        &format!("{folder}/{}", name::file(base, Content::Log)),
        Mode::Read,
    )?;
    Reader::new(&file)?.old_format(0)
}

/// Syncs, scans and checks a segment, from its beginning or from the end of what is believed of it.
pub(super) fn segment(
    dir: &LogDir,
    folder: &str,
    base: Offset,
    next_base: Option<Offset>,
    settings: &LogSettings,
    prefix: Option<Prefix>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Scanned, DiskError> {
    let file = dir.open_file(
        &format!("{folder}/{}", name::file(base, Content::Log)),
        Mode::Read,
    )?;
    // ORDER: after a failed sync the page cache shows what the disk does not have, and the next sync says yes. Whatever
    // is clean is therefore read from the disk: what is found now is there after a power cut, too.
    file.sync_data()?;
    file.forget_clean()?;
    file.will_read_on();
    let mut reader = Reader::new(&file)?;
    let mut found = Scanned::nothing(base, reader.size);
    let limit = next_base.unwrap_or(Offset(i64::MAX));
    let mut last_index_position = 0;
    if let Some(prefix) = prefix {
        last_index_position = prefix.resume_in(&mut found, base);
    }
    progress(Progress::Begun(found.file_bytes - found.valid_bytes));
    while found.valid_bytes < reader.size {
        let position = found.valid_bytes;
        let checked = reader.batch(position)?;
        let batch = match checked.and_then(|batch| in_order(batch, found.end_offset, limit)) {
            Ok(batch) => batch,
            Err(why) => {
                let data_behind = reader.data_behind(position, found.end_offset)?;
                let old_format = reader.old_format(position)?;
                found.damage = Some(Damage {
                    why,
                    data_behind,
                    old_format,
                });
                break;
            }
        };
        let header = batch.header();
        found.note(header, base, position, &mut last_index_position, settings);
        found.has_producers |= header.producer_id.is_some();
        if found.epochs.last().map(|(epoch, _)| *epoch) != Some(header.leader_epoch) {
            found.epochs.push((header.leader_epoch, header.base_offset));
        }
        found.end_offset = header.next_offset();
        found.valid_bytes += batch.size() as u64;
        found.checked_bytes += batch.size() as u64;
        progress(Progress::Checked(batch.size() as u64));
    }
    found.finish(base);
    Ok(found)
}

/// What [`replay`] is to do.
pub(super) struct Replay {
    /// Producers know everything below this.
    pub producers_from: Offset,
    /// Whether epochs are to be taken from the batches.
    pub epochs: bool,
    /// Where in the file to begin: the start of a batch.
    pub position: u64,
}

/// Walks a segment's valid batches by their headers, taking account of producers and epochs. Returns the aborted
/// transactions whose markers it met.
pub(super) fn replay(
    dir: &LogDir,
    folder: &str,
    segment: &Segment,
    replay: &Replay,
    producers: &mut Producers,
    epochs: &mut LeaderEpochs,
) -> Result<Vec<AbortedTransaction>, DiskError> {
    let name = format!("{folder}/{}", name::file(segment.base, Content::Log));
    let file = dir.open_file(&name, Mode::Read)?;
    let mut reader = Reader::new(&file)?;
    let mut aborted = Vec::new();
    let mut position = replay.position;
    while position < segment.size {
        let Some(header) = reader.header(position)? else {
            break;
        };
        if replay.epochs {
            epochs.assign(header.leader_epoch, header.base_offset);
        }
        if header.base_offset >= replay.producers_from {
            let marker = if header.attributes.is_control() {
                reader
                    .batch(position)?
                    .ok()
                    .and_then(|batch| end_marker(&batch))
            } else {
                None
            };
            if let Some(marker) = marker {
                if let Some(completed) = producers.append_marker(&header, marker)
                    && completed.aborted
                {
                    aborted.push(AbortedTransaction {
                        producer: completed.producer,
                        first_offset: completed.first_offset,
                        last_offset: completed.last_offset,
                        last_stable_offset: producers.last_stable_offset_after(&completed),
                    });
                }
            } else if header.attributes.is_control() {
                // A cleaning took what the marker said, and left the batch for its epoch.
                producers.append_emptied_marker(&header);
            } else {
                producers.append(&header);
            }
        }
        position += header.size() as u64;
    }
    Ok(aborted)
}

/// The header of the last batch, walking from a batch start; `None` when the headers do not lead to the file's end.
pub(super) fn walk_to_end(file: &File, from: u64) -> Result<Option<Header>, DiskError> {
    let mut reader = Reader::new(file)?;
    let (mut position, mut last) = (from, None);
    while let Some(header) = reader.header(position)? {
        position += header.size() as u64;
        last = Some(header);
    }
    Ok(last.filter(|_| position == reader.size))
}

/// The offset behind the last batch of a file of which every byte belongs to a valid batch, at least one.
pub(super) fn check_whole(file: &File) -> Result<Option<Offset>, DiskError> {
    let mut reader = Reader::new(file)?;
    let (mut position, mut end) = (0, None);
    while position < reader.size {
        let Ok(batch) = reader.batch(position)? else {
            return Ok(None);
        };
        position += batch.size() as u64;
        end = Some(batch.header().next_offset());
    }
    Ok(end)
}

/// The offsets of a file's control batches, ascending.
pub(super) fn control_offsets(file: &File) -> Result<Vec<Offset>, DiskError> {
    let mut reader = Reader::new(file)?;
    let (mut position, mut offsets) = (0, Vec::new());
    while let Some(header) = reader.header(position)? {
        if header.attributes.is_control() {
            offsets.push(header.base_offset);
        }
        position += header.size() as u64;
    }
    Ok(offsets)
}

/// Index entries of a segment by its headers alone, up to where they stop making sense.
pub(super) fn index_by_headers(
    file: &File,
    base: Offset,
    settings: &LogSettings,
) -> Result<Scanned, DiskError> {
    let mut reader = Reader::new(file)?;
    let mut found = Scanned::nothing(base, reader.size);
    let mut last_index_position = 0;
    while let Some(header) = reader.header(found.valid_bytes)? {
        let position = found.valid_bytes;
        found.note(&header, base, position, &mut last_index_position, settings);
        found.end_offset = header.next_offset();
        found.valid_bytes += header.size() as u64;
    }
    found.finish(base);
    Ok(found)
}

impl Scanned {
    fn nothing(base: Offset, file_bytes: u64) -> Self {
        Self {
            valid_bytes: 0,
            file_bytes,
            end_offset: base,
            max_timestamp: Timestamp::NONE,
            max_timestamp_offset: Offset::NONE,
            index: Vec::new(),
            times: Vec::new(),
            damage: None,
            checked_bytes: 0,
            begun_at: base,
            epochs: Vec::new(),
            has_producers: false,
        }
    }

    /// A place at or before the batch that holds `offset`.
    pub(super) fn position_before(&self, offset: Offset, base: Offset) -> u64 {
        let behind = self
            .index
            .partition_point(|entry| base + i64::from(entry.relative_offset) < offset);
        behind
            .checked_sub(1)
            .map_or(0, |at| u64::from(self.index[at].position))
    }

    /// As Kafka's recovery does: an entry when more than the interval lies behind the last one.
    fn note(
        &mut self,
        header: &Header,
        base: Offset,
        position: u64,
        last_index_position: &mut u64,
        settings: &LogSettings,
    ) {
        if header.max_timestamp > self.max_timestamp {
            self.max_timestamp = header.max_timestamp;
            self.max_timestamp_offset = header.last_offset();
        }
        if position - *last_index_position > u64::from(settings.index_interval_bytes) {
            self.index.push(IndexEntry {
                relative_offset: relative(header.last_offset(), base),
                position: u32::try_from(position).unwrap_or(u32::MAX),
            });
            self.note_time(base);
            *last_index_position = position;
        }
    }

    fn note_time(&mut self, base: Offset) {
        let last = self
            .times
            .last()
            .map_or(Timestamp::NONE, |entry| entry.timestamp);
        if self.max_timestamp > last {
            let relative_offset = relative(self.max_timestamp_offset, base);
            self.times.push(TimeEntry {
                timestamp: self.max_timestamp,
                relative_offset,
            });
        }
    }

    fn finish(&mut self, base: Offset) {
        self.note_time(base);
    }
}

/// Reads through windows, so that small batches do not cost a system call each.
struct Reader<'a> {
    file: &'a File,
    size: u64,
    window: Bytes,
    window_start: u64,
}

impl<'a> Reader<'a> {
    fn new(file: &'a File) -> Result<Self, DiskError> {
        Ok(Self {
            file,
            size: file.size()?,
            window: Bytes::new(),
            window_start: 0,
        })
    }

    /// The checked batch at a position, or what is wrong with it.
    fn batch(&mut self, position: u64) -> Result<Result<Batch, String>, DiskError> {
        let window = buggify!(WINDOW_SIZE, 100);
        self.fill(position, BATCH_HEADER_SIZE, window)?;
        let size = match crate::batch::frame_size(self.at(position)) {
            Ok(Some(size)) => size,
            Ok(None) => return Ok(Err("the file ends inside a batch header".to_owned())),
            Err(error) => return Ok(Err(error.to_string())),
        };
        if size as u64 > self.size - position {
            return Ok(Err(format!(
                "a batch of {size} bytes, {} are left in the file",
                self.size - position
            )));
        }
        self.fill(position, size, window)?;
        let at = index(position - self.window_start);
        let mut rest = self.window.slice(at..);
        let checked = match UncheckedBatch::take(&mut rest) {
            Ok(Some(unchecked)) => unchecked.check().map_err(|error| error.to_string()),
            Ok(None) => Err("the file ends inside a batch".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        Ok(checked)
    }

    /// The header at a position when it makes sense there; the CRC is not looked at.
    fn header(&mut self, position: u64) -> Result<Option<Header>, DiskError> {
        if position >= self.size {
            return Ok(None);
        }
        // Small batches lie close together: then more than a page is read at once.
        let behind = self.window_start + self.window.len() as u64;
        let window = if position >= behind && position - behind < HEADER_WINDOW_SIZE as u64 {
            buggify!(HEADER_WINDOW_SIZE_MAX, 300)
        } else {
            buggify!(HEADER_WINDOW_SIZE, 70)
        };
        self.fill(position, BATCH_HEADER_SIZE, window)?;
        let header = Header::parse(self.at(position)).filter(|header| {
            header.size() >= BATCH_HEADER_SIZE
                && header.magic == crate::batch::MAGIC
                && header.size() as u64 <= self.size - position
                && header.last_offset_delta >= 0
                && header.base_offset.is_some()
        });
        Ok(header)
    }

    /// The magic of the message at a position when it is of an old format and its checksum is right: nothing that a
    /// torn write could leave.
    ///
    /// ```text
    /// offset i64 | size i32 | CRC-32 u32 | magic i8 | …
    /// ```
    fn old_format(&mut self, position: u64) -> Result<Option<i8>, DiskError> {
        self.fill(position, OLD_HEADER_SIZE, HEADER_WINDOW_SIZE)?;
        let Ok(Some(size)) = crate::batch::frame_size(self.at(position)) else {
            return Ok(None);
        };
        let Some(magic) = self.at(position).get(OLD_HEADER_SIZE - 1).copied() else {
            return Ok(None);
        };
        if !matches!(magic, 0 | 1) || size as u64 > self.size - position || size > OLD_SIZE_MAX {
            return Ok(None);
        }
        self.fill(position, size, HEADER_WINDOW_SIZE)?;
        let Some(message) = self.at(position).get(..size) else {
            return Ok(None);
        };
        let Some((head, checked)) = message.split_at_checked(OLD_HEADER_SIZE - 1) else {
            return Ok(None);
        };
        let mut crc = flate2::Crc::new();
        crc.update(checked);
        let stored = head.last_chunk().copied().map(u32::from_be_bytes);
        Ok((stored == Some(crc.sum())).then_some(magic.cast_signed()))
    }

    /// Whether a valid batch follows the damaged one at `position`, by the length that it claims.
    fn data_behind(&mut self, position: u64, end: Offset) -> Result<bool, DiskError> {
        let Some(header) = self.header(position)? else {
            return Ok(false);
        };
        let behind = position + header.size() as u64;
        if behind >= self.size {
            return Ok(false);
        }
        Ok(self
            .batch(behind)?
            .is_ok_and(|batch| batch.header().base_offset > end))
    }

    fn at(&self, position: u64) -> &[u8] {
        &self.window[index(position - self.window_start).min(self.window.len())..]
    }

    /// Makes the window hold `wanted` bytes from `position` on, or all there are.
    fn fill(&mut self, position: u64, wanted: usize, window: usize) -> Result<(), DiskError> {
        let wanted_end = (position + wanted as u64).min(self.size);
        let window_end = self.window_start + self.window.len() as u64;
        if position >= self.window_start && wanted_end <= window_end {
            return Ok(());
        }
        let left = usize::try_from(self.size.saturating_sub(position)).unwrap_or(usize::MAX);
        // The window is used again, unless a batch of it is still held.
        let mut bytes = std::mem::take(&mut self.window)
            .try_into_mut()
            .unwrap_or_default();
        bytes.resize(wanted.max(window).min(left), 0);
        let n = self.file.read_at(&mut bytes, position, Wait::Yes)?;
        bytes.truncate(n);
        self.window = bytes.freeze();
        self.window_start = position;
        // A file that became shorter while it is read: go by what there is.
        self.size = if n < wanted.min(left) {
            position + n as u64
        } else {
            self.size
        };
        Ok(())
    }
}

fn in_order(batch: Batch, end: Offset, limit: Offset) -> Result<Batch, String> {
    let header = batch.header();
    if header.base_offset < end {
        return Err(format!("offset {} after the end {end}", header.base_offset));
    }
    if header.last_offset() >= limit {
        return Err(format!(
            "offset {} in a segment that ends before {limit}",
            header.last_offset()
        ));
    }
    Ok(batch)
}

fn relative(offset: Offset, base: Offset) -> u32 {
    u32::try_from(offset.since(base)).unwrap_or(u32::MAX)
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

const OLD_HEADER_SIZE: usize = 17;
/// Above this a message of an old format is not looked at: no broker took one.
const OLD_SIZE_MAX: usize = 64 << 20;
const WINDOW_SIZE: usize = 1 << 20;
const HEADER_WINDOW_SIZE: usize = 4 << 10;
const HEADER_WINDOW_SIZE_MAX: usize = 64 << 10;
