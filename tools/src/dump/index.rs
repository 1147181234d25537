//! **Owns** what is printed of `.index`, `.timeindex`, `.txnindex` and `.snapshot` files, and their checks against the log.
//! **Lives on** the command's thread.
//! **Invariants** (1) Entries are read in pieces, whatever size a file has. (2) Reading ends where a preallocated file's
//! zeros begin, as in Kafka.
//! **Not here** the formats (`storage::index`, `storage::producer`).

use std::fmt::Write;

use corelog_storage::disk::{DiskError, File, LogDir, Mode, Wait};
use corelog_storage::index::{INDEX_ENTRY_SIZE, IndexEntry, TIME_ENTRY_SIZE, TimeEntry};
use corelog_storage::producer::{AbortedTransaction, Snapshot};
use corelog_storage::segment::name::Content;
use corelog_storage::segment::reader::{Found, Reader};
use corelog_storage::types::Offset;

use super::log::{max_timestamp, small_file};
use super::{Dump, Failure, IndexTask, Place, note, put_optional};

impl Dump<'_> {
    pub(super) fn index(&mut self, place: &Place) -> Result<(), Failure> {
        let base = place.base_offset()?;
        let dir = place.dir()?;
        let log_name = place.beside(Content::Log);
        let log = open_log(place, &dir, &log_name)?;
        let mut log = Reader::new(&log, u64::MAX)?;
        let file = dir.open_file(&place.name, Mode::Read)?;
        let mut entries = Entries::<INDEX_ENTRY_SIZE>::new(&file)?;
        if entries.count == 0 {
            self.out.line(&format!("{} is empty.", place.path));
            return Ok(());
        }
        if self.options.index == IndexTask::Sanity {
            let last = IndexEntry::decode(entries.one(entries.count - 1)?);
            let last = base + i64::from(last.relative_offset.cast_signed());
            if last < base {
                return Err(Failure(format!(
                    "Corrupt index found, index file ({}) has non-zero size but the last offset is {last} which is \
                     less than the base offset {base}",
                    place.absolute
                )));
            }
            if !entries.size.is_multiple_of(INDEX_ENTRY_SIZE as u64) {
                return Err(Failure(format!(
                    "Index file {} is corrupt, found {} bytes which is neither positive nor a multiple of \
                     {INDEX_ENTRY_SIZE}",
                    place.absolute, entries.size
                )));
            }
            self.out
                .line(&format!("{} passed sanity check.", place.path));
            return Ok(());
        }
        for number in 0..entries.count {
            let entry = IndexEntry::decode(entries.one(number)?);
            let offset = base + i64::from(entry.relative_offset.cast_signed());
            if offset == base && number > 0 {
                return Ok(());
            }
            match last_offset_at(&mut log, entry.position, self.options.max_message_size)? {
                Ok(found) => {
                    if found != offset {
                        note(&mut self.index_mismatches, &place.absolute, offset, found);
                    }
                }
                Err(why) => self.damage(&format!(
                    "{}: position {}: the entry offset {offset} position {} points to no batch of {log_name}: {why}",
                    place.path,
                    number * INDEX_ENTRY_SIZE as u64,
                    entry.position
                )),
            }
            if self.options.index == IndexTask::Print {
                // Writing to a String cannot fail.
                let _ = write!(self.line, "offset: {offset} position: {}", entry.position);
                self.print_fields("entry");
            }
        }
        Ok(())
    }

    pub(super) fn time_index(&mut self, place: &Place) -> Result<(), Failure> {
        let base = place.base_offset()?;
        let dir = place.dir()?;
        let log = open_log(place, &dir, &place.beside(Content::Log))?;
        let mut log = Reader::new(&log, u64::MAX)?;
        let index = index_entries(&dir, &place.beside(Content::Index))?;
        let file = dir.open_file(&place.name, Mode::Read)?;
        let mut entries = Entries::<TIME_ENTRY_SIZE>::new(&file)?;
        if self.options.index == IndexTask::Sanity {
            self.time_sanity(place, base, &mut entries)?;
            return Ok(());
        }
        let mut before = -1;
        for number in 0..entries.count {
            let entry = TimeEntry::decode(entries.one(number)?);
            let (timestamp, relative) = (entry.timestamp.0, entry.relative_offset.cast_signed());
            let offset = base + i64::from(relative);
            if offset == base && number > 0 {
                return Ok(());
            }
            let from = index.partition_point(|indexed| {
                indexed.relative_offset.cast_signed() <= entry.relative_offset.cast_signed()
            });
            let from = from
                .checked_sub(1)
                .map_or(0, |at| u64::from(index[at].position));
            match find(&mut log, from, offset)? {
                Search::None => note(&mut self.not_found, &place.absolute, offset, -1),
                Search::Other(found) => note(&mut self.not_found, &place.absolute, offset, found),
                Search::Found(position) => {
                    self.compare_time(place, &mut log, position, timestamp, before)?;
                }
            }
            if self.options.index == IndexTask::Print {
                // Writing to a String cannot fail.
                let _ = write!(self.line, "timestamp: {timestamp} offset: {offset}");
                self.print_fields("entry");
            }
            before = timestamp;
        }
        Ok(())
    }

    fn compare_time(
        &mut self,
        place: &Place,
        log: &mut Reader<'_>,
        position: u64,
        timestamp: i64,
        before: i64,
    ) -> Result<(), Failure> {
        let largest = match log.batch(position)? {
            Found::Batch(batch) => max_timestamp(&batch),
            _ => None,
        };
        match largest {
            Some(largest) => {
                if largest != timestamp {
                    note(&mut self.time_mismatches, &place.absolute, timestamp, largest);
                }
                if before >= timestamp {
                    note(&mut self.out_of_order, &place.absolute, timestamp, before);
                }
            }
            None => self.damage(&format!(
                "{}/{}: position {position}: the records of the batch cannot be read, so its time index entry is not \
                 checked",
                place.folder,
                place.beside(Content::Log)
            )),
        }
        Ok(())
    }

    fn time_sanity(
        &mut self,
        place: &Place,
        base: i64,
        entries: &mut Entries<'_, TIME_ENTRY_SIZE>,
    ) -> Result<(), Failure> {
        if entries.count > 0 {
            let first = TimeEntry::decode(entries.one(0)?);
            let last = TimeEntry::decode(entries.one(entries.count - 1)?);
            if last.timestamp < first.timestamp {
                return Err(Failure(format!(
                    "Corrupt time index found, time index file ({}) has non-zero size but the last timestamp is {} \
                     which is less than the first timestamp {}",
                    place.absolute, last.timestamp, first.timestamp
                )));
            }
            let last = base + i64::from(last.relative_offset.cast_signed());
            if last < base {
                return Err(Failure(format!(
                    "Corrupt time index found, time index file ({}) has non-zero size but the last offset is {last} \
                     which is less than the first offset {base}",
                    place.absolute
                )));
            }
        }
        if !entries.size.is_multiple_of(TIME_ENTRY_SIZE as u64) {
            return Err(Failure(format!(
                "Time index file {} is corrupt, found {} bytes which is neither positive nor a multiple of \
                 {TIME_ENTRY_SIZE}.",
                place.absolute, entries.size
            )));
        }
        self.out
            .line(&format!("{} passed sanity check.", place.path));
        Ok(())
    }

    pub(super) fn txn_index(&mut self, place: &Place) -> Result<(), Failure> {
        place.base_offset()?;
        let file = place.dir()?.open_file(&place.name, Mode::Read)?;
        let mut entries = Entries::<{ AbortedTransaction::SIZE }>::new(&file)?;
        for number in 0..entries.count {
            let bytes = entries.one(number)?;
            let position = number * AbortedTransaction::SIZE as u64;
            let aborted = AbortedTransaction::decode(&bytes).map_err(|version| {
                Failure(format!(
                    "{}: position {position}: an entry of version {version}, expected 0",
                    place.path
                ))
            })?;
            // Writing to a String cannot fail; the decoder takes version 0 only.
            let _ = write!(
                self.line,
                "version: 0 producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
                aborted.producer,
                aborted.first_offset,
                aborted.last_offset,
                aborted.last_stable_offset
            );
            self.print_fields("entry");
        }
        let whole = entries.count * AbortedTransaction::SIZE as u64;
        if entries.size != whole {
            return Err(Failure(format!(
                "{}: position {whole}: the last entry has {} of {} bytes",
                place.path,
                entries.size - whole,
                AbortedTransaction::SIZE
            )));
        }
        Ok(())
    }

    pub(super) fn snapshot(&mut self, place: &Place) -> Result<(), Failure> {
        let bytes = small_file(&place.dir()?, &place.name, SNAPSHOT_SIZE_MAX)?;
        let snapshot = match Snapshot::decode(&bytes) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                // Kafka says it and goes on, with exit code 0.
                self.out.error(&format!("{}: {error}", place.path));
                return Ok(());
            }
        };
        for entry in &snapshot.entries {
            let line = &mut self.line;
            // Writing to a String cannot fail.
            let _ = write!(
                line,
                "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: ",
                entry.producer, entry.epoch, entry.coordinator_epoch,
            );
            let transaction = entry.transaction;
            put_optional(line, transaction.is_some().then_some(transaction.0));
            let _ = write!(line, " lastTimestamp: {}", entry.timestamp);
            if entry.last_offset != Offset::NONE {
                let first_sequence = entry.last_sequence.0.wrapping_sub(entry.offset_delta);
                let _ = write!(
                    line,
                    " firstSequence: {first_sequence} lastSequence: {} lastOffset: {} offsetDelta: {} timestamp: {}",
                    entry.last_sequence, entry.last_offset, entry.offset_delta, entry.timestamp
                );
            }
            self.print_fields("entry");
        }
        Ok(())
    }
}

/// The log that an index belongs to.
fn open_log(place: &Place, dir: &LogDir, name: &str) -> Result<File, Failure> {
    dir.open_file(name, Mode::Read).map_err(|error| {
        let path = &place.path;
        Failure(format!("{path}: without its log it is not read: {error}"))
    })
}

/// The last offset of the batch at a position, as its header has it, or why there is none.
fn last_offset_at(
    log: &mut Reader<'_>,
    position: u32,
    size_max: u64,
) -> Result<Result<i64, String>, DiskError> {
    let position = u64::from(position);
    if position >= log.end() {
        let end = log.end();
        return Ok(Err(format!("the log ends at position {end}")));
    }
    Ok(match log.header(position)? {
        Some(header) if header.size() as u64 > size_max => Err(format!(
            "a batch of {} bytes is larger than --max-message-size {size_max}",
            header.size()
        )),
        Some(header) if header.size() as u64 > log.end() - position => {
            Err("the log ends inside the batch".to_owned())
        }
        Some(header) => Ok(header.last_offset().0),
        None => Err("the log ends inside the batch".to_owned()),
    })
}

enum Search {
    None,
    Other(i64),
    Found(u64),
}

/// The first batch from a position on that reaches to an offset.
fn find(log: &mut Reader<'_>, from: u64, offset: i64) -> Result<Search, DiskError> {
    let mut position = from;
    while let Some(header) = log.header(position)? {
        let size = header.size() as u64;
        if size < corelog_storage::limits::BATCH_HEADER_SIZE as u64 || size > log.end() - position {
            break;
        }
        let last = header.last_offset().0;
        if last >= offset {
            return Ok(if last == offset {
                Search::Found(position)
            } else {
                Search::Other(last)
            });
        }
        position += size;
    }
    Ok(Search::None)
}

/// The entries of a segment's index before the zeros of a preallocated file; none when there is no index.
fn index_entries(dir: &LogDir, name: &str) -> Result<Vec<IndexEntry>, Failure> {
    let file = match dir.open_file(name, Mode::Read) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut entries = Entries::<INDEX_ENTRY_SIZE>::new(&file)?;
    let mut known: Vec<IndexEntry> = Vec::new();
    for number in 0..entries.count {
        let entry = IndexEntry::decode(entries.one(number)?);
        if known
            .last()
            .is_some_and(|last| last.relative_offset >= entry.relative_offset)
        {
            break;
        }
        known.push(entry);
    }
    Ok(known)
}

/// The entries of a file, read in pieces.
pub(crate) struct Entries<'a, const N: usize> {
    file: &'a File,
    /// Bytes of the file.
    pub(crate) size: u64,
    /// Whole entries.
    pub(crate) count: u64,
    piece: Vec<u8>,
    /// Number of the first entry of the piece.
    first: u64,
}

impl<'a, const N: usize> Entries<'a, N> {
    pub(crate) fn new(file: &'a File) -> Result<Self, DiskError> {
        let size = file.size()?;
        Ok(Self {
            file,
            size,
            count: size / N as u64,
            piece: Vec::new(),
            first: 0,
        })
    }

    pub(crate) fn one(&mut self, number: u64) -> Result<[u8; N], DiskError> {
        let held = (self.piece.len() / N) as u64;
        if number < self.first || number >= self.first + held {
            self.piece.resize(PIECE_ENTRIES * N, 0);
            let n = self
                .file
                .read_at(&mut self.piece, number * N as u64, Wait::Yes)?;
            self.piece.truncate(n);
            self.first = number;
        }
        let at = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        let bytes = self.piece.get(at.saturating_mul(N)..).unwrap_or_default();
        // A file that became shorter while it is read ends in zeros, which end the walk.
        Ok(bytes.first_chunk().copied().unwrap_or([0; N]))
    }
}

const PIECE_ENTRIES: usize = 4096;
/// Bytes of a producer snapshot: more than five million producers are not one partition's.
const SNAPSHOT_SIZE_MAX: u64 = 256 << 20;
