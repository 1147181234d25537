//! Compaction: of every key the last record stays, at its offset.
//!
//! **Owns** Kafka's cleaner: what is dirty (`plan`), the last offset of every key (`key_map`), what of a batch stays
//! (`rewrite`), the job that reads sealed segments and writes `.cleaned` ones.
//! **Lives on** the companion: a [`Cleaning`] owns all it needs and is run slice by slice, so that other work of the
//! companion gets its turn between two slices.
//! **Invariants** 1. It reads sealed, durable segments below the last stable offset and never changes one. 2. Offsets and
//! their order stay. 3. Groups are finished oldest first, and the next begins only when the log has taken over the one
//! before: else a tombstone could go while an older value of its key stays. 4. Anything that does not read as it
//! should ends the cleaning with nothing changed.
//! **Not here** taking a cleaned segment over (`log::swap`), crash leftovers (`recovery::folder`), which log is next and
//! when (the broker).
//!
//! A cleaning goes over the dirty part once to learn the last offset of every key, then over the log from its start,
//! group by group, keeping what is the last of its key. When the keys do not fit the map, it cleans as far as they do,
//! and the rest is left to another pass.

mod key_map;
mod plan;
mod reader;
mod rewrite;
mod transactions;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

pub use plan::{Cleanable, CompactionRules, OldestJob};
pub use rewrite::Cleaned;

use crate::batch::{Batch, Header};
use crate::disk::{DiskError, File, LogDir, Mode};
use crate::limits::INFLATED_BYTES_MAX;
use crate::log::{AbortedJob, LocateError, LogSettings};
use crate::producer::Snapshot;
use crate::recovery;
use crate::segment::name::{self, Content, Fate};
use crate::types::{Offset, ProducerEpoch, ProducerId, Timestamp};
use key_map::KeyMap;
use reader::Reader;
use rewrite::{Filter, Kept, Writer};
use transactions::{Transactions, control_kind};

/// How a cleaning is to go about it.
#[derive(Clone, Debug)]
pub struct CleaningOptions {
    /// Bytes of memory for the last offset of every key (`log.cleaner.dedupe.buffer.size`).
    pub dedupe_bytes: usize,
    /// How full that may get, from 0 to 1 (`log.cleaner.io.buffer.load.factor`).
    pub dedupe_load: f64,
    /// Bytes read at a time (`log.cleaner.io.buffer.size`).
    pub buffer_bytes: usize,
    /// `delete.retention.ms`: how long a tombstone stays after it was first met by a cleaning.
    pub delete_retention_ms: i64,
    /// The time, in ms since 1970.
    pub now: Timestamp,
    /// Random numbers that clients do not know: they key the hash of keys.
    pub seed: [u64; 2],
}

/// Why a cleaning ended early. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CleaningError {
    /// The disk failed, or is full.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A segment does not hold what it should: the partition is not to be cleaned until someone has looked.
    #[error(
        "{path}: no valid batch at position {position} ({why}); the data is untouched, and the partition is not \
         compacted until the broker restarts: check it with `corelog dump-log`, restore the file from a replica or \
         delete the records up to there"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// Where the batch begins.
        position: u64,
        /// What is wrong with it.
        why: String,
    },
}

impl CleaningError {
    /// True when the disk is full: the cleaning may be tried again later.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Disk(error) if error.is_full())
    }

    /// True when a file was gone: retention or a deletion was quicker, the cleaning may be tried again.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Disk(error) if error.is_not_found())
    }
}

/// What a slice of a cleaning came to.
#[derive(Debug)]
pub struct Slice {
    /// What is next.
    pub step: Step,
    /// Bytes read and written, for the throttle.
    pub bytes: u64,
    /// Ranges that the page cache need not keep.
    pub spent: Vec<(File, Range<u64>)>,
}

/// What is next.
#[derive(Debug)]
pub enum Step {
    /// Another slice.
    More,
    /// This is for [`crate::log::Log::replace`]; go on once the log has taken it over.
    Replace(Box<Cleaned>),
    /// All is done: the log is clean up to [`Cleaning::end`].
    Done,
}

/// What a cleaning did, for the log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleaningStats {
    /// Keys learned.
    pub keys: usize,
    /// Records read in the second pass.
    pub records_read: u64,
    /// Records that stayed.
    pub records_kept: u64,
    /// Bytes of the segments before.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
}

/// A cleaning of one log. `Send`; run it on the companion with [`Cleaning::run`].
#[derive(Debug)]
pub struct Cleaning {
    dir: LogDir,
    folder: Arc<str>,
    settings: Arc<LogSettings>,
    options: CleaningOptions,
    /// What the log's truncations were at.
    generation: u64,
    range: Cleanable,
    sources: Vec<Source>,
    aborted: AbortedJob,
    producers: BTreeMap<ProducerId, LastRecords>,
    end: Offset,
    /// The segment whose `.cleaned` files are being written.
    writing: Option<Offset>,
    stage: Stage,
    stats: CleaningStats,
}

/// A sealed segment to be read.
#[derive(Clone, Debug)]
struct Source {
    base: Offset,
    /// The base of the segment behind it.
    next: Offset,
    size: u64,
    index_entries: u32,
    time_entries: u32,
    aborted: u32,
    modified: Timestamp,
}

/// What must stay of a producer that may go on.
#[derive(Clone, Copy, Debug)]
struct LastRecords {
    last: LastRecord,
    /// The last below the end of the dirty part, when nothing later of its epoch is safe: after a crash it is the last.
    at_end: Option<LastRecord>,
}

/// Where a producer is, told by one batch.
#[derive(Clone, Copy, Debug)]
struct LastRecord {
    /// Offset of its last data record; none when a marker was the last.
    offset: Offset,
    epoch: ProducerEpoch,
}

#[derive(Debug)]
enum Stage {
    /// Nothing was read yet.
    New,
    /// The dirty part is read for its keys.
    Mapping {
        map: KeyMap,
        /// Number of the source being read.
        at: usize,
        reader: Option<Reader>,
        transactions: Transactions,
        aborted: Vec<crate::producer::AbortedTransaction>,
    },
    /// The log is rewritten.
    Rewriting {
        map: KeyMap,
        groups: VecDeque<Range<usize>>,
        current: Option<Box<Rewrite>>,
        transactions: Transactions,
    },
    /// Nothing is left to do.
    Finished,
}

#[derive(Debug)]
struct Rewrite {
    group: Range<usize>,
    /// Number of the source being read.
    at: usize,
    reader: Option<Reader>,
    writer: Writer,
}

impl Cleaning {
    /// Where the log is clean up to when everything is taken over.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// What was to be cleaned.
    pub fn range(&self) -> Cleanable {
        self.range
    }

    /// What was done so far.
    pub fn stats(&self) -> CleaningStats {
        self.stats
    }

    /// Goes on for about `budget` bytes of reading. Blocks. After an error, and to give up, call [`Cleaning::abandon`].
    pub fn run(&mut self, budget: u64) -> Result<Slice, CleaningError> {
        let mut slice = Slice {
            step: Step::More,
            bytes: 0,
            spent: Vec::new(),
        };
        while slice.bytes < budget {
            let stage = std::mem::replace(&mut self.stage, Stage::Finished);
            self.stage = match stage {
                Stage::New => self.begin()?,
                Stage::Mapping {
                    map,
                    at,
                    reader,
                    transactions,
                    aborted,
                } => self.map_some(map, at, reader, transactions, aborted, budget, &mut slice)?,
                Stage::Rewriting {
                    map,
                    mut groups,
                    mut current,
                    mut transactions,
                } => {
                    let done = self.rewrite_some(
                        &map,
                        &mut groups,
                        &mut current,
                        &mut transactions,
                        budget,
                        &mut slice,
                    )?;
                    if groups.is_empty() && current.is_none() && done.is_none() {
                        Stage::Finished
                    } else {
                        self.stage = Stage::Rewriting {
                            map,
                            groups,
                            current,
                            transactions,
                        };
                        if let Some(cleaned) = done {
                            slice.step = Step::Replace(Box::new(cleaned));
                            return Ok(slice);
                        }
                        continue;
                    }
                }
                Stage::Finished => {
                    slice.step = Step::Done;
                    return Ok(slice);
                }
            };
        }
        Ok(slice)
    }

    /// Removes what was written and not taken over. Blocks.
    pub fn abandon(self) -> Result<(), DiskError> {
        match self.writing {
            Some(base) => rewrite::remove(&self.dir, &self.folder, base),
            None => Ok(()),
        }
    }

    fn begin(&mut self) -> Result<Stage, CleaningError> {
        self.remember_producers()?;
        let aborted = self.aborted.run().map_err(|error| match error {
            LocateError::Disk(error) => CleaningError::Disk(error),
            LocateError::Damaged { path, position } => CleaningError::Corrupt {
                path,
                position,
                why: "not an aborted index".to_owned(),
            },
            LocateError::WouldBlock => unreachable!("it may wait"),
        })?;
        let offsets = self.range.to.since(self.range.from).unsigned_abs();
        let map = KeyMap::new(
            offsets,
            self.options.dedupe_bytes,
            self.options.dedupe_load,
            self.options.seed,
        );
        // A transaction that was over before the dirty part says nothing of what its producer wrote later.
        let overlapping = aborted
            .iter()
            .filter(|entry| entry.last_offset >= self.range.from)
            .copied()
            .collect();
        Ok(Stage::Mapping {
            map,
            at: self
                .sources
                .partition_point(|source| source.next <= self.range.from),
            reader: None,
            transactions: Transactions::new(overlapping),
            aborted,
        })
    }

    /// Of producers whose newest batch may still be lost, the snapshot at the end of the dirty part says which came
    /// before: everything below it is on the disk.
    fn remember_producers(&mut self) -> Result<(), CleaningError> {
        let unsafe_ones = |records: &LastRecords| records.last.offset.is_none();
        if !self.producers.values().any(unsafe_ones) {
            return Ok(());
        }
        // Without one the cleaning is what Kafka's would be.
        let snapshot = snapshot_at(&self.dir, &self.folder, self.range.to)?;
        for entry in &snapshot.entries {
            if let Some(records) = self.producers.get_mut(&entry.producer)
                && records.last.offset.is_none()
            {
                records.at_end = Some(LastRecord {
                    offset: entry.last_offset,
                    epoch: entry.epoch,
                });
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of the stage, once")]
    fn map_some(
        &mut self,
        mut map: KeyMap,
        mut at: usize,
        mut reader: Option<Reader>,
        mut transactions: Transactions,
        aborted: Vec<crate::producer::AbortedTransaction>,
        budget: u64,
        slice: &mut Slice,
    ) -> Result<Stage, CleaningError> {
        let mut full = false;
        while slice.bytes < budget && at < self.sources.len() && !full {
            let source = &self.sources[at];
            let segment = match &mut reader {
                Some(segment) => segment,
                none => none.insert(self.open(source)?),
            };
            if let Some(header) = segment.peek()? {
                if header.last_offset() < self.range.from {
                    segment.skip(&header);
                } else if let Some(batch) = segment.next()? {
                    let from = self.range.from;
                    match note_keys(&mut map, &mut transactions, &batch, from) {
                        Ok(Noted::All) => self.end = header.next_offset(),
                        Ok(Noted::UpTo(end)) => {
                            self.end = self.end.max(end);
                            full = true;
                        }
                        Err(why) => return Err(segment.corrupt(&why)),
                    }
                }
                slice.bytes += segment.take_read();
                if let Some(cold) = segment.take_cold() {
                    slice.spent.push((segment.file().clone(), cold));
                }
            } else {
                // Offsets that nothing is left of are as clean as can be.
                self.end = self.end.max(source.next);
                reader = None;
                at += 1;
            }
        }
        if at < self.sources.len() && !full {
            return Ok(Stage::Mapping {
                map,
                at,
                reader,
                transactions,
                aborted,
            });
        }
        self.stats.keys = map.len();
        let end = self.end;
        self.sources.retain(|source| source.base < end);
        let groups = plan::groups(&self.sources, &self.settings);
        Ok(Stage::Rewriting {
            map,
            groups: groups.into(),
            current: None,
            transactions: Transactions::new(aborted),
        })
    }

    fn rewrite_some(
        &mut self,
        map: &KeyMap,
        groups: &mut VecDeque<Range<usize>>,
        current: &mut Option<Box<Rewrite>>,
        transactions: &mut Transactions,
        budget: u64,
        slice: &mut Slice,
    ) -> Result<Option<Cleaned>, CleaningError> {
        if current.is_none() {
            let Some(group) = groups.pop_front() else {
                return Ok(None);
            };
            let base = self.sources[group.start].base;
            self.writing = Some(base);
            *current = Some(Box::new(Rewrite {
                at: group.start,
                group,
                reader: None,
                writer: Writer::create(&self.dir, &self.folder, base, &self.settings)?,
            }));
        }
        let filter = Filter {
            map,
            mapped_to: self.end,
            now: self.options.now,
            delete_retention_ms: self.options.delete_retention_ms,
            producers: &self.producers,
            upper: self.range.to,
        };
        while slice.bytes < budget
            && let Some(rewrite) = current
        {
            if rewrite.at == rewrite.group.end {
                let Some(rewrite) = current.take() else {
                    return Ok(None);
                };
                let sources = &self.sources[rewrite.group.clone()];
                let cleaned = rewrite.writer.finish(sources, self.generation, slice)?;
                self.stats.bytes_before += sources.iter().map(|source| source.size).sum::<u64>();
                self.stats.bytes_after += cleaned.size();
                if cleaned.is_unchanged() {
                    rewrite::remove(&self.dir, &self.folder, cleaned.base)?;
                    self.writing = None;
                    return Ok(None);
                }
                self.writing = None;
                return Ok(Some(cleaned));
            }
            let reader = match &mut rewrite.reader {
                Some(reader) => reader,
                none => none.insert(self.open(&self.sources[rewrite.at])?),
            };
            let Some(batch) = reader.next()? else {
                let file = reader.file().clone();
                let size = self.sources[rewrite.at].size;
                slice.spent.push((file, 0..size));
                rewrite.reader = None;
                rewrite.at += 1;
                continue;
            };
            let kept = rewrite.writer.filter(&filter, transactions, &batch);
            let kept = kept.map_err(|why| reader.corrupt(&why))?;
            self.stats.records_read += u64::from(batch.header().record_count.unsigned_abs());
            self.stats.records_kept += kept.records();
            rewrite.writer.push(kept, &batch, slice)?;
            slice.bytes += reader.take_read();
            if let Some(cold) = reader.take_cold() {
                slice.spent.push((reader.file().clone(), cold));
            }
        }
        Ok(None)
    }

    fn open(&self, source: &Source) -> Result<Reader, DiskError> {
        let name = format!("{}/{}", self.folder, name::file(source.base, Content::Log));
        let file = self.dir.open_file(&name, Mode::Read)?;
        // The window is read whole. The kernel would read ahead behind it in bursts that stand in the way of everybody's
        // syncs, and leave behind what nobody drops.
        file.will_read_anywhere();
        Ok(Reader::new(
            file,
            source.base,
            source.size,
            self.options.buffer_bytes.max(BUFFER_SIZE_MIN),
        ))
    }
}

/// How much of a batch fit the map.
enum Noted {
    All,
    /// Only what lies below this offset.
    UpTo(Offset),
}

fn note_keys(
    map: &mut KeyMap,
    transactions: &mut Transactions,
    batch: &Batch,
    from: Offset,
) -> Result<Noted, String> {
    let header: &Header = batch.header();
    let producer = header.producer_id;
    if header.attributes.is_control() {
        let kind = control_kind(batch, INFLATED_BYTES_MAX)?;
        transactions.marker(producer, header.last_offset(), kind);
        return Ok(Noted::All);
    }
    let transactional = header.attributes.is_transactional();
    if transactions.data(producer, transactional, header.last_offset()) {
        return Ok(Noted::All);
    }
    let payload = batch
        .open(INFLATED_BYTES_MAX)
        .map_err(|error| error.to_string())?;
    for record in payload.records() {
        let record = record.map_err(|fault| fault.to_string())?;
        if record.offset < header.base_offset || record.offset > header.last_offset() {
            return Err(format!("a record at offset {}", record.offset));
        }
        if let Some(key) = record.key
            && record.offset >= from
            && !map.put(key, record.offset)
        {
            return Ok(Noted::UpTo(record.offset));
        }
    }
    Ok(Noted::All)
}

/// The producer snapshot at an offset; an empty one when there is none that can be used.
fn snapshot_at(dir: &LogDir, folder: &str, offset: Offset) -> Result<Snapshot, DiskError> {
    let name = format!("{folder}/{}", name::file(offset, Content::Snapshot));
    match recovery::load_snapshot(dir, &name) {
        Ok(snapshot) => Ok(snapshot.unwrap_or_default()),
        Err(error) if error.is_not_found() => Ok(Snapshot::default()),
        Err(error) => Err(error),
    }
}

fn cleaned_name(folder: &str, base: Offset, content: Content) -> String {
    format!(
        "{folder}/{}",
        name::file_with_fate(base, content, Fate::Cleaned)
    )
}

impl Kept {
    fn records(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Whole(count) => u64::from(count.unsigned_abs()),
            Self::Changed(batch) => u64::from(batch.header().record_count.unsigned_abs()),
        }
    }
}

/// The least that is read at a time.
const BUFFER_SIZE_MIN: usize = 16 << 10;
