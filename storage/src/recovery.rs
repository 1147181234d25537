//! Opening a partition: what is on disk becomes a log.
//!
//! **Owns** the check of a folder's files, the scan after an unclean stop, the cut of a torn end, rebuilt indexes,
//! producer state and leader epochs.
//! **Lives on** the companion: it blocks, and reads as much as was not flushed.
//! **Invariants** 1. Only bytes behind the last valid batch of the last segment with data are ever cut, and only above the
//! recovery point. 2. Valid batches behind a damaged one are kept in a file aside before they are cut. 3. Damage
//! anywhere else is an error of this partition that names file and position. 4. What is called durable was synced.
//! **Not here** which partitions there are (`disk::layout`), the formats.

mod folder;
mod scan;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::checkpoint;
use crate::disk::{DiskError, LogDir, Mode, Wait};
use crate::epochs::LeaderEpochs;
use crate::index::{self, INDEX_ENTRY_SIZE, TIME_ENTRY_SIZE};
use crate::log::{Log, LogSettings, Open};
use crate::producer::{Producers, Snapshot};
use crate::segment::Segment;
use crate::segment::name::{self, Content};
use crate::types::{Offset, Timestamp, TopicPartition};
use folder::Folder;
use scan::{Replay, Scanned};

/// Why a partition cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed: the log directory is to be taken offline.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Damage that cutting the end cannot cure. Only this partition is concerned; nothing was changed.
    #[error(
        "{path}: no valid batch at position {position} ({why}), with data behind it in later segments; nothing was \
         changed. Restore the file from a replica, or move it and the later segments of the partition away to \
         continue from the data before it"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Where the damage begins.
        position: u64,
        /// What is wrong there.
        why: String,
    },
    /// Records of the formats before Kafka 0.11.
    #[error(
        "{path}: the batch at position {position} has the record format of magic {magic}, and only that of magic 2 is \
         read; nothing was changed. Copy the topic into a new one with the Kafka it comes from, then delete it there"
    )]
    OldFormat {
        /// The file.
        path: String,
        /// Where the batch lies.
        position: u64,
        /// 0 or 1.
        magic: i8,
    },
}

/// What opening a log did, for the log line and the metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Segments found.
    pub segments: usize,
    /// Bytes read and checked.
    pub scanned_bytes: u64,
    /// The torn end that was cut, if there was one.
    pub cut: Option<Cut>,
    /// What else was not as it should be, in sentences.
    pub notes: Vec<String>,
}

/// A torn end that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub path: String,
    /// Where it ends now.
    pub position: u64,
    /// Bytes cut off.
    pub bytes: u64,
    /// The log's end now.
    pub end_offset: Offset,
    /// What was wrong at the position.
    pub why: String,
    /// Where the cut bytes are kept, when valid batches were among them.
    pub kept_in: Option<String>,
}

pub(crate) fn create(
    dir: &LogDir,
    partition: &TopicPartition,
    settings: Arc<LogSettings>,
    now: Timestamp,
) -> Result<Log, DiskError> {
    let folder: Arc<str> = name::folder(partition).into();
    dir.create_dir(&folder)?;
    let file_name = format!("{folder}/{}", name::file(Offset::ZERO, Content::Log));
    let file = dir.open_file(&file_name, Mode::Create)?;
    if file.size()? > 0 {
        // Whoever begins a log where one is has lost sight of it; its records are not to be written over.
        let there = io::Error::new(io::ErrorKind::AlreadyExists, "it holds records already");
        return Err(DiskError::new("create", file.path(), there));
    }
    dir.sync_dir(&folder)?;
    dir.sync_dir("")?;
    let segments = vec![Segment::empty(Offset::ZERO, now)];
    let producers = Producers::new(settings.producer_id_expiration_ms);
    let state = State {
        segments,
        producers,
        epochs: LeaderEpochs::new(),
        aborted: Vec::new(),
    };
    Ok(assemble(
        dir,
        partition,
        folder,
        settings,
        state,
        Offset::ZERO,
        Offset::ZERO,
        now,
    ))
}

pub(crate) fn open(
    dir: &LogDir,
    partition: &TopicPartition,
    settings: Arc<LogSettings>,
    open: &Open,
    progress: &mut dyn FnMut(u64),
) -> Result<(Log, Recovered), OpenError> {
    let name: Arc<str> = name::folder(partition).into();
    let mut recovered = Recovered::default();
    let mut folder = Folder::read(dir, &name, &mut recovered.notes)?;
    if folder.segments.is_empty() {
        mark!("no segment found");
        folder.remove_snapshots()?;
        let base = open.log_start_offset.max(Offset::ZERO);
        dir.open_file(
            &format!("{name}/{}", name::file(base, Content::Log)),
            Mode::Create,
        )?;
        dir.sync_dir(&name)?;
        folder.segments.push(Segment::empty(base, open.now));
    }
    // What is of an old format is the oldest there is.
    if let Some(magic) = scan::begins_in_old_format(dir, &name, folder.segments[0].base)? {
        return Err(folder.old_format(0, 0, magic));
    }
    let scan_from = first_to_scan(&mut folder, &settings, open, &mut recovered.notes)?;

    let mut end = folder.segments[0].base;
    let mut scanned: Vec<Option<Scanned>> = Vec::new();
    for at in 0..folder.segments.len() {
        if at < scan_from {
            scanned.push(None);
            continue;
        }
        let next = folder.segments.get(at + 1).map(|segment| segment.base);
        let base = folder.segments[at].base;
        let found = scan::segment(dir, &name, base, next, &settings, progress)?;
        recovered.scanned_bytes += found.valid_bytes;
        if found.damage.is_some() {
            folder.cut(at, &found, open.recovery_point, &mut recovered)?;
            scanned.push(Some(found));
            break;
        }
        let gap = next.filter(|next| found.end_offset < *next);
        scanned.push(Some(found));
        if let Some(next) = gap {
            // A roll whose name reached the disk when the end of the segment before did not: nothing was written to the
            // new segment, and its base is no proof that the offsets before it exist.
            if next > open.recovery_point && folder.is_empty_from(at + 1) {
                break;
            }
            recovered
                .notes
                .push(format!("there is no record in the offsets before {next}"));
        }
    }
    let count = scanned.len();
    let last = count - 1;
    let end_of_last = match &scanned[last] {
        Some(found) => found.end_offset,
        None => folder.end_of(last)?,
    };
    if scan_from < count && open.recovery_point > end_of_last {
        // It speaks of another log: of one that was cut since, or of a deleted topic's of the same name. Nothing it says
        // can be believed.
        mark!("recovery point beyond the end");
        let whole = Open {
            recovery_point: Offset::ZERO,
            ..open.clone()
        };
        let (log, mut again) = self::open(dir, partition, settings, &whole, progress)?;
        again.cut = again.cut.or(recovered.cut);
        again.notes.push(format!(
            "the recovery point {} lies beyond the end {end_of_last}: everything was scanned",
            open.recovery_point
        ));
        return Ok((log, again));
    }
    folder.drop_segments_from(count)?;

    // Producer state begins with the newest good snapshot at or below what is known to be good.
    end = end.max(end_of_last);
    let trusted = if scan_from < count {
        folder.segments[scan_from].base
    } else {
        end
    };
    let (mut producers, replay_from) =
        folder.restore_producers(trusted, &settings, open.now, &mut recovered.notes)?;
    let (mut epochs, mut epochs_known) = folder.read_epochs(&mut recovered.notes)?;
    if let Some(earliest) = epochs.earliest()
        && folder.begins_before(earliest.start_offset)?
    {
        // The log's start was moved, the epochs before it forgotten, and then the machine ended before the start was
        // on disk: those records are back.
        mark!("epochs rebuilt");
        epochs = LeaderEpochs::new();
        epochs_known = false;
    }
    let before = epochs.clone();
    epochs.truncate_to(end);
    if scan_from < count {
        // What the scanned batches say is said again below, and an entry ahead of them would be in its way.
        epochs.truncate_to(trusted.next());
    }
    for at in 0..folder.segments.len() {
        let segment_end = folder
            .segments
            .get(at + 1)
            .map_or(end, |following| following.base);
        let replay = Replay {
            producers_from: replay_from,
            epochs: !epochs_known || at >= scan_from,
        };
        if folder.segments[at].base > replay_from {
            // Once retention took what lies before, only the snapshot knows what was open here.
            folder.write_missing_snapshot(folder.segments[at].base, &producers)?;
        }
        let wanted = segment_end > replay_from || replay.epochs;
        if wanted {
            let entries = scan::replay(
                dir,
                &name,
                &folder.segments[at],
                &replay,
                &mut producers,
                &mut epochs,
            )?;
            if at >= scan_from {
                folder.write_txn_index(at, &entries)?;
            }
        }
    }
    producers.advance(end);
    for (at, found) in scanned.iter().enumerate() {
        if let Some(found) = found {
            folder.take_scanned(at, found)?;
        }
    }
    folder.remove_stray_snapshots(end)?;

    let mut start = open.log_start_offset.max(folder.segments[0].base);
    if start > end {
        mark!("restarted beyond the end");
        recovered.notes.push(format!(
            "the log ends at {end}, below its start offset {start}: it restarts there, empty"
        ));
        folder.restart_at(start, open.now)?;
        producers = Producers::new(settings.producer_id_expiration_ms);
        producers.advance(start);
        epochs.truncate_to(start);
        end = start;
    }
    start = start.max(Offset::ZERO);
    epochs.start_moved_to(start);
    producers.start_moved_to(start);
    if epochs != before || (!epochs_known && !epochs.entries().is_empty()) {
        let file = format!("{name}/{}", checkpoint::name::LEADER_EPOCHS);
        dir.replace_file(&file, epochs.print().as_bytes())?;
    }
    dir.sync_dir(&name)?;
    recovered.segments = folder.segments.len();
    let aborted = folder.read_txn_index(folder.segments.len() - 1)?;
    let state = State {
        segments: folder.segments,
        producers,
        epochs,
        aborted,
    };
    let mut log = assemble(dir, partition, name, settings, state, start, end, open.now);
    log.load_active()?;
    log.set_high_watermark(open.high_watermark);
    Ok((log, recovered))
}

/// Where the scan begins: at the segment of the recovery point after an unclean stop, else nowhere, but for damage that
/// shows without a scan. The segments before it are taken as they are.
fn first_to_scan(
    folder: &mut Folder,
    settings: &LogSettings,
    open: &Open,
    notes: &mut Vec<String>,
) -> Result<usize, OpenError> {
    let count = folder.segments.len();
    let mut scan_from = count;
    if !open.clean_shutdown {
        // A point that is a segment's base may be older than the roll: then the segment before it is durable, but its
        // index files need not be.
        let at_point = folder
            .segments
            .partition_point(|s| s.base < open.recovery_point);
        scan_from = at_point.saturating_sub(1);
        // Only the last segment with data can be torn, and nothing vouches for an empty one behind it.
        while scan_from > 0 && folder.is_empty_from(scan_from) {
            scan_from -= 1;
        }
    }
    for at in 0..scan_from {
        if folder.has_torn_txn_index(at) {
            mark!("torn aborted index rebuilt");
            notes.push(format!(
                "{:020}.txnindex is torn and rebuilt",
                folder.segments[at].base
            ));
            scan_from = at;
            break;
        }
        folder.trust(at, settings, notes)?;
    }
    if scan_from == count && !folder.ends_with_a_batch()? {
        mark!("clean stop did not end with a batch");
        notes.push(
            "the last segment does not end with a batch, though the stop was clean".to_owned(),
        );
        scan_from = count - 1;
    }
    Ok(scan_from)
}

/// What a log is made of.
struct State {
    segments: Vec<Segment>,
    producers: Producers,
    epochs: LeaderEpochs,
    aborted: Vec<crate::producer::AbortedTransaction>,
}

#[expect(clippy::too_many_arguments, reason = "the fields of a log, once")]
fn assemble(
    dir: &LogDir,
    partition: &TopicPartition,
    folder: Arc<str>,
    settings: Arc<LogSettings>,
    state: State,
    start: Offset,
    end: Offset,
    now: Timestamp,
) -> Log {
    let base = state.segments[state.segments.len() - 1].base;
    Log {
        dir: dir.clone(),
        partition: partition.clone(),
        active: crate::log::Active::new(&settings, &folder, base, now),
        folder,
        settings,
        segments: state.segments,
        tail: crate::log::Tail::new(),
        start,
        end,
        high_watermark: start,
        written: end,
        durable: end,
        writes: VecDeque::new(),
        unsynced: SmallVec::new(),
        folder_changed: false,
        syncing: None,
        next_token: 0,
        chores: crate::log::Chores::default(),
        unlink: Vec::new(),
        producers: state.producers,
        epochs: state.epochs,
        aborted: state.aborted,
        aborted_from: base,
        cursors: crate::log::Cursors::default(),
        generation: 0,
        layout: 0,
        cleaned_to: Offset::NONE,
        swap: None,
        failed: None,
    }
}

impl Log {
    /// What the active segment's entry in memory needs of its files.
    fn load_active(&mut self) -> Result<(), DiskError> {
        let at = self.segments.len() - 1;
        let segment = &self.segments[at];
        self.active.created = segment.modified;
        if segment.time_entries > 0 {
            let times = self
                .dir
                .open_file(&self.name(segment.base, Content::TimeIndex), Mode::Read)?;
            let last = index::time_entry(&times, segment.time_entries - 1, Wait::Yes)?;
            self.active.last_time = last.timestamp;
        }
        if segment.size > 0 {
            let file = self
                .dir
                .open_file(&self.name(segment.base, Content::Log), Mode::Read)?;
            let mut head = [0_u8; crate::limits::BATCH_HEADER_SIZE];
            let n = file.read_at(&mut head, 0, Wait::Yes)?;
            let header = crate::batch::Header::parse(&head[..n]);
            self.active.first_timestamp = header.map(|header| header.max_timestamp);
        }
        Ok(())
    }
}

/// Sizes of the index files from their entries.
fn index_size(entries: u32) -> u64 {
    u64::from(entries) * INDEX_ENTRY_SIZE as u64
}

fn time_index_size(entries: u32) -> u64 {
    u64::from(entries) * TIME_ENTRY_SIZE as u64
}

/// Loads a snapshot, `None` when it is damaged. One that cannot be read may be good: that is an error of the disk.
fn load_snapshot(dir: &LogDir, name: &str) -> Result<Option<Snapshot>, DiskError> {
    Ok(Snapshot::decode(&dir.read_file(name)?).ok())
}
