//! Opening a partition: what is on disk becomes a log.
//!
//! **Owns** the check of a folder's files, the scan after an unclean stop, the cut of a torn end, rebuilt indexes,
//! producer state and leader epochs.
//! **Lives on** the companion: it blocks, and reads as much as was not flushed.
//! **Invariants** 1. Only bytes behind the last valid batch of the last segment with data are ever cut. 2. Valid batches behind a damaged one are kept in a file aside before they are cut. 3. Damage
//! anywhere else is an error of this partition that names file and position. 4. What is called durable was synced.
//! 5. Below the recovery point nothing is scanned but what the last index entry before it spans. 6. What was found as it
//! should be is not written again: opening an idle partition writes and syncs nothing.
//! **Not here** which partitions there are (`disk::layout`), the formats.

mod folder;
mod prefix;
mod scan;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::checkpoint;
use crate::disk::{DiskError, LogDir, Mode};
use crate::epochs::LeaderEpochs;
use crate::index::{INDEX_ENTRY_SIZE, TIME_ENTRY_SIZE};
use crate::log::{Log, LogSettings, NewPartition, Open};
use crate::producer::{Producers, Snapshot};
use crate::segment::Segment;
use crate::segment::name::{self, Content};
use crate::types::{LeaderEpoch, Offset, Timestamp, TopicPartition};
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
         changed. See what is left with 'corelog log-check {dir}'; then restore the file from a replica or a backup, or \
         move it and the later segments of the partition away to go on with the data before it"
    )]
    Damaged {
        /// The log directory.
        dir: String,
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

/// How far the scan of a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A segment is to be checked: this many bytes.
    Begun(u64),
    /// So many more of them are.
    Checked(u64),
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
    let new = NewPartition {
        metadata: None,
        leader_epoch: LeaderEpoch::NONE,
    };
    let log = create_unnamed(dir, partition, settings, &new, now)?;
    dir.sync_dir("")?;
    Ok(log)
}

pub(crate) fn create_unnamed(
    dir: &LogDir,
    partition: &TopicPartition,
    settings: Arc<LogSettings>,
    new: &NewPartition,
    now: Timestamp,
) -> Result<Log, DiskError> {
    let folder: Arc<str> = name::folder(partition).into();
    dir.create_dir(&folder)?;
    for content in [Content::Log, Content::Index, Content::TimeIndex] {
        let file = format!("{folder}/{}", name::file(Offset::ZERO, content));
        let file = dir.open_file(&file, Mode::Create)?;
        if content == Content::Log && file.size()? > 0 {
            // Whoever begins a log where one is has lost sight of it; its records are not to be written over.
            let there = io::Error::new(io::ErrorKind::AlreadyExists, "it holds records already");
            return Err(DiskError::new("create", file.path(), there));
        }
    }
    let mut epochs = LeaderEpochs::new();
    let mut files = Vec::new();
    if epochs.assign(new.leader_epoch, Offset::ZERO) {
        files.push((checkpoint::name::LEADER_EPOCHS, epochs.print()));
    }
    if let Some(metadata) = &new.metadata {
        files.push((checkpoint::name::PARTITION_METADATA, metadata.print()));
    }
    // Syncs the folder too, with the names of the files above.
    dir.replace_files(&folder, &files)?;
    let producers = Producers::new(settings.producer_id_expiration_ms);
    let state = State {
        segments: vec![Segment::empty(Offset::ZERO, now)],
        producers,
        epochs,
        aborted: Vec::new(),
        snapshot: Offset::ZERO,
    };
    let at = Offset::ZERO;
    Ok(assemble(
        dir, partition, folder, settings, state, at, at, now,
    ))
}

pub(crate) fn open(
    dir: &LogDir,
    partition: &TopicPartition,
    settings: Arc<LogSettings>,
    open: &Open,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Log, Recovered), OpenError> {
    let name: Arc<str> = name::folder(partition).into();
    let mut recovered = Recovered::default();
    let mut folder = Folder::read(dir, &name, &settings, open.now, &mut recovered.notes)?;
    if folder.segments.is_empty() {
        mark!("no segment found");
        folder.remove_snapshots()?;
        folder.begin_at(open.log_start_offset.max(Offset::ZERO), open.now)?;
    }
    // What is of an old format is the oldest there is.
    if folder.segments[0].size > 0
        && let Some(magic) = scan::begins_in_old_format(dir, &name, folder.segments[0].base)?
    {
        return Err(folder.old_format(0, 0, magic));
    }
    let (scan_from, mut end) = first_to_scan(&mut folder, &settings, open, &mut recovered.notes)?;
    let scanned = scan_all(
        &mut folder,
        scan_from,
        &settings,
        open,
        progress,
        &mut recovered,
    )?;
    let count = scanned.len();
    if let Some(Some(found)) = scanned.last() {
        if open.recovery_point > found.end_offset {
            // It speaks of another log: of one that was cut since, or of a deleted topic's of the same name. Nothing it
            // says can be believed.
            mark!("recovery point beyond the end");
            let whole = Open {
                recovery_point: Offset::ZERO,
                ..open.clone()
            };
            let (log, mut again) = self::open(dir, partition, settings, &whole, progress)?;
            again.cut = again.cut.or(recovered.cut);
            again.notes.push(format!(
                "the recovery point {} lies beyond the end {}: everything was scanned",
                open.recovery_point, found.end_offset
            ));
            return Ok((log, again));
        }
        end = end.max(found.end_offset);
    }
    folder.drop_segments_from(count)?;

    // Producer state begins with the newest good snapshot that tells of what is on disk for certain.
    let trusted = if scan_from < count {
        // The aborted index of the segment is made anew from its beginning.
        folder.segments[scan_from].base
    } else {
        end
    };
    let (mut producers, replay_from) =
        folder.restore_producers(trusted, &settings, open.now, &mut recovered.notes)?;
    let (mut epochs, mut epochs_known) = folder.read_epochs(&mut recovered.notes)?;
    if let Some(earliest) = epochs.earliest()
        && open.log_start_offset < earliest.start_offset
        && folder.begins_before(earliest.start_offset)?
    {
        // The log's start was moved, the epochs before it forgotten, and then the machine ended before the start was
        // on disk: those records are back.
        mark!("epochs rebuilt");
        epochs = LeaderEpochs::new();
        epochs_known = false;
    }
    if let Some(Some(first)) = scanned.get(scan_from)
        && epochs_known
        && first.epochs.first().is_some_and(|(epoch, offset)| {
            *offset < open.recovery_point && epochs.epoch_of(*offset) != Some(*epoch)
        })
    {
        // Below the recovery point it must know. The scanned batches alone cannot put it right.
        mark!("epochs rebuilt");
        recovered.notes.push(format!(
            "{} contradicts the log and is rebuilt from it",
            checkpoint::name::LEADER_EPOCHS
        ));
        epochs = LeaderEpochs::new();
        epochs_known = false;
    }
    let before = epochs.clone();
    // An epoch without a record yet, which begins at the end, stays: it will go on.
    epochs.truncate_to(end.next());
    if let Some(Some(first)) = scanned.get(scan_from) {
        // What the scanned batches say is said again below, and an entry ahead of them would be in its way.
        epochs.truncate_to(first.begun_at.next());
    }
    for (at, found) in scanned.iter().enumerate() {
        let base = folder.segments[at].base;
        let following = folder.segments.get(at + 1);
        let segment_end = following.map_or(end, |following| following.base);
        if let Some(found) = found {
            for (epoch, offset) in found.epochs.iter().filter(|_| epochs_known) {
                epochs.assign(*epoch, *offset);
            }
            folder.segments[at].size = found.valid_bytes;
        }
        let told = found
            .as_ref()
            .is_some_and(|found| !found.has_producers && found.begun_at <= replay_from);
        let producers_wanted = segment_end > replay_from && !told;
        let mut aborted = Vec::new();
        if base > replay_from {
            // Once retention took what lies before, only the snapshot knows what was open here.
            folder.write_snapshot(base, &producers)?;
        }
        if producers_wanted || !epochs_known {
            let position = match found {
                Some(found) if epochs_known => found.position_before(replay_from, base),
                _ => 0,
            };
            let replay = Replay {
                producers_from: replay_from,
                epochs: !epochs_known,
                position,
            };
            let segment = &folder.segments[at];
            aborted = scan::replay(dir, &name, segment, &replay, &mut producers, &mut epochs)?;
        }
        if found.is_some() {
            folder.write_txn_index(at, &aborted)?;
        }
    }
    producers.advance(end);
    for (at, found) in scanned.iter().enumerate() {
        if let Some(found) = found {
            folder.take_scanned(at, found)?;
        }
    }
    folder.remove_stray_snapshots(end)?;
    let mut snapshot = replay_from;

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
        snapshot = start;
    }
    start = start.max(Offset::ZERO);
    epochs.start_moved_to(start);
    producers.start_moved_to(start);
    producers.durable_to(end);
    if epochs != before || (!epochs_known && !epochs.entries().is_empty()) {
        let file = format!("{name}/{}", checkpoint::name::LEADER_EPOCHS);
        dir.replace_file(&file, epochs.print().as_bytes())?;
    }
    folder.complete_active()?;
    folder.sync_names()?;
    recovered.segments = folder.segments.len();
    let aborted = folder.read_txn_index(folder.segments.len() - 1)?;
    let first_timestamp = folder.first_timestamp()?;
    let state = State {
        segments: folder.into_segments(),
        producers,
        epochs,
        aborted,
        snapshot,
    };
    let mut log = assemble(dir, partition, name, settings, state, start, end, open.now);
    log.load_active(first_timestamp);
    log.set_high_watermark(open.high_watermark);
    Ok((log, recovered))
}

/// Scans the segments from number `scan_from` on and cuts a torn end; nothing for those before.
fn scan_all(
    folder: &mut Folder,
    scan_from: usize,
    settings: &LogSettings,
    open: &Open,
    progress: &mut dyn FnMut(Progress),
    recovered: &mut Recovered,
) -> Result<Vec<Option<Scanned>>, OpenError> {
    let mut scanned: Vec<Option<Scanned>> = Vec::new();
    scanned.resize_with(scan_from, || None);
    for at in scan_from..folder.segments.len() {
        let next = folder.segments.get(at + 1).map(|segment| segment.base);
        // What is left out must come first: what lies behind it is said anew, epochs too.
        let prefix = if at == scan_from {
            folder.prefix(at, open)?
        } else {
            None
        };
        let found = folder.scan(at, next, settings, prefix, progress)?;
        recovered.scanned_bytes += found.checked_bytes;
        if found.damage.is_some() {
            folder.cut(at, &found, open.recovery_point, recovered)?;
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
    Ok(scanned)
}

/// Where the scan begins: at the segment of the recovery point after an unclean stop, else nowhere, but for damage that
/// shows without a scan. The segments before it are taken as they are. With it the log's end, where that is known
/// without a scan, else the log's beginning.
fn first_to_scan(
    folder: &mut Folder,
    settings: &LogSettings,
    open: &Open,
    notes: &mut Vec<String>,
) -> Result<(usize, Offset), OpenError> {
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
    if scan_from < count {
        return Ok((scan_from, folder.segments[0].base));
    }
    if let Some(end) = folder.end()? {
        return Ok((count, end));
    }
    mark!("clean stop did not end with a batch");
    notes.push("the last segment does not end with a batch, though the stop was clean".to_owned());
    Ok((count - 1, folder.segments[0].base))
}

/// What a log is made of.
struct State {
    segments: Vec<Segment>,
    producers: Producers,
    epochs: LeaderEpochs,
    aborted: Vec<crate::producer::AbortedTransaction>,
    /// Where the producer state on disk was taken.
    snapshot: Offset,
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
        snapshot: state.snapshot,
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
    fn load_active(&mut self, first_timestamp: Option<Timestamp>) {
        let segment = &self.segments[self.segments.len() - 1];
        self.active.created = segment.modified;
        if segment.time_entries > 0 {
            // The newest entry has the largest timestamp, or the segment would not have been believed.
            self.active.last_time = segment.max_timestamp;
        }
        self.active.first_timestamp = first_timestamp;
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
pub(crate) fn load_snapshot(dir: &LogDir, name: &str) -> Result<Option<Snapshot>, DiskError> {
    Ok(Snapshot::decode(&dir.read_file(name)?).ok())
}
