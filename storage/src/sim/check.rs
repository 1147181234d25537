//! The checkers: the log on one side, the model on the other.
//!
//! **Owns** what a log must answer, and the sentence when it does not.
//! **Lives on** the thread that runs a simulation; the disk is quiet while they look.
//! **Invariants** 1. A checker changes nothing. 2. Each has a test in which it fails (`sim::tests`).
//! **Not here** what happens to the log (`sim::world`).

use bytes::Bytes;

use super::model::{Kept, Model};
use crate::batch::{Batch, UncheckedBatch};
use crate::disk::{DiskError, Mode, Wait};
use crate::index;
use crate::log::{LocateError, Log, Lookup, Read, ReadError};
use crate::producer::ProducerState;
use crate::segment::name::{Content, Fate, parse_file};
use crate::types::{LeaderEpoch, Offset, Sequence, Timestamp};

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checker {
    /// No acknowledged record is lost.
    Acknowledged,
    /// The log ends where something appended ends; what was never appended is not there.
    Invented,
    /// Offsets follow each other without a gap and are given out in order.
    Offsets,
    /// A read gives what was appended, byte for byte.
    Reads,
    /// Index and time index agree with the log.
    Indexes,
    /// Lookups by time answer what the model does.
    Times,
    /// Producers: last sequences, epochs, repeated batches.
    Producers,
    /// The aborted transactions of a range.
    Aborted,
    /// The last stable offset.
    Stable,
    /// Leader epochs.
    Epochs,
    /// Sizes on the books are sizes of files.
    Sizes,
    /// Retention takes what is due and nothing else.
    Retention,
    /// No error without a fault behind it, no panic.
    Unprovoked,
    /// Damage is found, or said; it changes nothing else.
    Damage,
}

/// What is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Who found it.
    pub checker: Checker,
    /// What.
    pub text: String,
}

/// Why a read gave nothing.
#[derive(Debug)]
pub(super) enum ReadFault {
    Log(ReadError),
    Locate(LocateError),
    Disk(DiskError),
}

impl std::fmt::Display for ReadFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::Locate(error) => error.fmt(f),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

pub(super) fn violation(checker: Checker, text: impl Into<String>) -> Violation {
    Violation {
        checker,
        text: text.into(),
    }
}

/// Returns a violation unless the condition holds.
macro_rules! require {
    ($checker:ident, $condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::sim::check::violation(
                $crate::sim::check::Checker::$checker,
                format!($($text)+),
            ));
        }
    };
}
pub(super) use require;

/// A read, wherever it leads, as bytes.
pub(super) fn read(
    log: &mut Log,
    from: Offset,
    bytes_max: usize,
    upper: Offset,
    whole_first: bool,
) -> Result<Vec<u8>, ReadFault> {
    let mut read = log
        .read(from, bytes_max, upper, whole_first)
        .map_err(ReadFault::Log)?;
    loop {
        match read {
            Read::Empty => return Ok(Vec::new()),
            Read::Memory { parts, .. } => return Ok(parts.concat()),
            Read::File { file, range } => {
                let size = usize::try_from(range.end - range.start).unwrap_or(0);
                return file
                    .read_exact_at(size, range.start)
                    .map_err(ReadFault::Disk);
            }
            Read::Locate(job) => {
                let located = match job.run(Wait::No) {
                    Err(LocateError::WouldBlock) => job.run(Wait::Yes),
                    other => other,
                };
                let located = located.map_err(ReadFault::Locate)?;
                read = log.located(located).map_err(ReadFault::Log)?;
            }
        }
    }
}

/// The whole batches at the front of `bytes`, as far as they can be told apart; checked or not.
pub(super) fn frames(bytes: Vec<u8>) -> Vec<UncheckedBatch> {
    let mut rest = Bytes::from(bytes);
    let mut found = Vec::new();
    while let Ok(Some(unchecked)) = UncheckedBatch::take(&mut rest) {
        found.push(unchecked);
    }
    found
}

/// The answer to one read is the front of what the model has there.
pub(super) fn answer(
    model: &Model,
    (from, bytes_max, upper, whole_first): (Offset, usize, Offset, bool),
    bytes: &[u8],
) -> Result<(), Violation> {
    let what = || {
        format!(
            "read({from}, {bytes_max}, {upper}, {whole_first}) = {} bytes",
            bytes.len()
        )
    };
    if from < model.clean_to {
        super::cleaning::records(model, bytes.to_vec())?;
        return Ok(());
    }
    let expected = model.from(from, upper);
    let mut rest = bytes;
    for kept in expected {
        let n = rest.len().min(kept.bytes.len());
        require!(
            Reads,
            rest[..n] == kept.bytes[..n],
            "{}: not what was appended at {}",
            what(),
            kept.base()
        );
        rest = &rest[n..];
    }
    require!(
        Invented,
        rest.is_empty(),
        "{}: {} bytes more than were appended there",
        what(),
        rest.len()
    );
    let first = expected.first().map_or(0, |kept| kept.bytes.len());
    let limit = if whole_first {
        bytes_max.max(first)
    } else {
        bytes_max
    };
    require!(Reads, bytes.len() <= limit, "{}: too much", what());
    require!(
        Reads,
        !whole_first || bytes.len() >= first,
        "{}: not the first batch whole",
        what()
    );
    Ok(())
}

/// A sequential reader from `from` to the end meets every batch of the model, and offsets that follow each other.
pub(super) fn to_the_end(
    log: &mut Log,
    model: &Model,
    mut from: Offset,
    bytes_max: usize,
) -> Result<(), Violation> {
    if from < model.clean_to {
        return super::cleaning::to_the_end(log, model, from, bytes_max);
    }
    let end = model.end;
    let mut next = None;
    while from < end {
        let question = (from, bytes_max, end, true);
        let bytes = read(log, from, bytes_max, end, true)
            .map_err(|fault| violation(Checker::Reads, format!("read({from}): {fault}")))?;
        answer(model, question, &bytes)?;
        let batches = frames(bytes);
        require!(
            Reads,
            !batches.is_empty(),
            "a reader at {from} of {end} is stuck"
        );
        for unchecked in batches {
            let header = *unchecked.header();
            require!(
                Offsets,
                next.is_none_or(|next| next == header.base_offset),
                "{} follows {next:?}",
                header.base_offset
            );
            let checked: Result<Batch, _> = unchecked.check();
            require!(
                Reads,
                checked.is_ok(),
                "{}: {checked:?}",
                header.base_offset
            );
            next = Some(header.next_offset());
            from = header.next_offset();
        }
    }
    Ok(())
}

/// Every entry of every index file names a batch, and none is out of order.
pub(super) fn indexes(log: &Log, model: &Model) -> Result<(), Violation> {
    for (at, segment) in log.segments.iter().enumerate() {
        let end = log.segments.get(at + 1).map_or(log.end, |next| next.base);
        segment_indexes(log, model, at, end)
            .map_err(|error| match error {
                Fault::Violation(violation) => violation,
                Fault::Disk(error) => violation(Checker::Indexes, error.to_string()),
            })
            .map_err(|error| Violation {
                text: format!("segment {}: {}", segment.base, error.text),
                ..error
            })?;
    }
    Ok(())
}

enum Fault {
    Violation(Violation),
    Disk(DiskError),
}

impl From<DiskError> for Fault {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl From<Violation> for Fault {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

fn segment_indexes(log: &Log, model: &Model, at: usize, end: Offset) -> Result<(), Fault> {
    let segment = &log.segments[at];
    let base = segment.base;
    let mut last_position = 0;
    if segment.index_entries > 0 {
        let file = log
            .dir
            .open_file(&log.name(base, Content::Index), Mode::Read)?;
        let content = log
            .dir
            .open_file(&log.name(base, Content::Log), Mode::Read)?;
        for number in 0..segment.index_entries {
            let entry = index::index_entry(&file, number, Wait::Yes)?;
            if entry.position <= last_position {
                let text =
                    format!("index entry {number}: {entry:?} behind position {last_position}");
                return Err(violation(Checker::Indexes, text).into());
            }
            last_position = entry.position;
            let wanted = base + i64::from(entry.relative_offset);
            let mut head = [0_u8; crate::limits::BATCH_HEADER_SIZE];
            let n = content.read_at(&mut head, u64::from(entry.position), Wait::Yes)?;
            let found = crate::batch::Header::parse(&head[..n]).map(|header| header.last_offset());
            // What lies below the log's start, or was compacted, the model does not have.
            if found != Some(wanted) {
                let text = format!("index entry {number}: {entry:?}, there is {found:?}");
                return Err(violation(Checker::Indexes, text).into());
            }
        }
    }
    let interval = u64::from(log.settings.index_interval_bytes);
    let sealed = at + 1 < log.segments.len();
    let largest = model
        .from(base, end)
        .iter()
        .map(|kept| kept.bytes.len() as u64)
        .max()
        .unwrap_or(0);
    let unindexed = segment.size - u64::from(last_position).min(segment.size);
    if sealed && base >= model.opened.max(model.clean_to) && unindexed > interval + 3 * largest + 1
    {
        let text = format!(
            "{unindexed} bytes behind the last of {} entries",
            segment.index_entries
        );
        return Err(violation(Checker::Indexes, text).into());
    }
    let mut last = Timestamp::NONE;
    if segment.time_entries > 0 {
        let file = log
            .dir
            .open_file(&log.name(base, Content::TimeIndex), Mode::Read)?;
        for number in 0..segment.time_entries {
            let entry = index::time_entry(&file, number, Wait::Yes)?;
            let offset = base + i64::from(entry.relative_offset);
            let cleaned = base < model.clean_to;
            let newest = model
                .from(base, offset.next())
                .iter()
                .map(|kept| kept.header.max_timestamp)
                .max();
            if entry.timestamp <= last
                || (!cleaned && newest.is_some_and(|newest| newest != entry.timestamp))
            {
                let text =
                    format!("time index entry {number}: {entry:?} after {last}, newest {newest:?}");
                return Err(violation(Checker::Indexes, text).into());
            }
            last = entry.timestamp;
        }
    }
    Ok(())
}

/// What is known of every producer. `reopened`: only the last batch is sure to be.
pub(super) fn producers(log: &Log, model: &Model) -> Result<(), Violation> {
    for (producer, known) in model.producers() {
        let Some(state) = log.producers().state(producer) else {
            // Its records are gone, and the snapshot may have been lost with them.
            require!(
                Producers,
                known.end <= model.start,
                "producer {producer} is forgotten, {known:?}"
            );
            continue;
        };
        let batches: Vec<_> = state
            .batches()
            .iter()
            .map(|batch| {
                (
                    batch.first_sequence(),
                    batch.last_sequence,
                    batch.first_offset(),
                    batch.last_offset,
                )
            })
            .collect();
        let last_gone = known
            .batches
            .last()
            .is_some_and(|last| last.3 < model.start);
        // A cleaning leaves the last batch of a producer, empty, unless its transaction was aborted.
        let last_gone = last_gone
            || known
                .batches
                .last()
                .is_some_and(|last| last.3 < model.clean_to);
        // A batch in the middle may have been cleaned away before the log was read again.
        let cleaned = |batch: &&(Sequence, Sequence, Offset, Offset)| batch.3 < model.clean_to;
        let there: Vec<_> = batches.iter().skip_while(cleaned).copied().collect();
        let follow = if there.len() < batches.len() {
            there.is_empty() || known.batches.ends_with(&there)
        } else {
            known.batches.ends_with(&batches)
        };
        let follow = follow && (last_gone || batches.last() == known.batches.last());
        let same = follow && (known.batches.is_empty() || !batches.is_empty() || last_gone);
        // The marker that said the coordinator's epoch may be cleaned away.
        let coordinator = state.coordinator_epoch() == known.coordinator_epoch
            || (state.coordinator_epoch() < known.coordinator_epoch
                && known.marker < model.clean_to);
        require!(
            Producers,
            same && coordinator
                && state.epoch() == known.epoch
                && state.transaction() == known.transaction,
            "producer {producer}: the log knows {state:?}, it wrote {known:?}"
        );
    }
    let strangers = log
        .producers()
        .iter()
        .map(|(producer, state): (_, &ProducerState)| (producer, state.last_sequence()))
        .find(|(producer, _)| {
            !model
                .batches
                .iter()
                .any(|kept| kept.header.producer_id == *producer)
        });
    require!(
        Producers,
        strangers.is_none_or(|(_, sequence): (_, Sequence)| sequence.is_none()),
        "{strangers:?} never wrote"
    );
    Ok(())
}

/// The aborted transactions that a reader of a range is told of.
pub(super) fn aborted(
    log: &Log,
    model: &Model,
    from: Offset,
    upper: Offset,
) -> Result<(), Violation> {
    let found = log
        .aborted_transactions(from, upper)
        .run()
        .map_err(|error| violation(Checker::Aborted, format!("{from}..{upper}: {error}")))?;
    let found: Vec<_> = found
        .iter()
        .map(|one| (one.producer, one.first_offset, one.last_offset))
        .collect();
    let within = |(_, first, marker): &(_, Offset, Offset)| *marker >= from && *first < upper;
    let expected: Vec<_> = model.aborted().into_iter().filter(within).collect();
    // What a full disk made the producers' state forget, the index may still say.
    let ever: Vec<_> = model.aborted_ever().into_iter().filter(within).collect();
    // Of a transaction that began before the log's start nothing is known, unless a snapshot said so.
    let must = |list: &[_]| -> Vec<(crate::types::ProducerId, Offset, Offset)> {
        list.iter()
            .copied()
            .filter(|one: &(_, Offset, _)| one.1 >= model.start)
            .collect()
    };
    if model.start < model.clean_to {
        // Of an aborted transaction whose records a cleaning took, nothing need be said.
        let stranger = found.iter().find(|(producer, first, marker)| {
            !ever
                .iter()
                .any(|one| (one.0, one.2) == (*producer, *marker) && one.1 <= *first)
        });
        require!(Aborted, stranger.is_none(), "{stranger:?} was not aborted");
        return Ok(());
    }
    // Where the first records of a transaction were cleaned away, it begins later.
    let found: Vec<_> = found
        .into_iter()
        .map(|one| {
            let same = |other: &&(_, Offset, _)| (other.0, other.2) == (one.0, one.2);
            let other = ever.iter().find(same);
            other
                .filter(|other| other.1 < model.clean_to && other.1 <= one.1)
                .copied()
                .unwrap_or(one)
        })
        .collect();
    // Of one whose beginning is forgotten, the index may still know it.
    let told = |one: &(crate::types::ProducerId, Offset, Offset)| {
        let same = |other: &&(_, Offset, _)| (other.0, other.2) == (one.0, one.2);
        expected.iter().find(same).copied()
    };
    require!(
        Aborted,
        must(&found.iter().filter_map(told).collect::<Vec<_>>()) == must(&expected)
            && found
                .iter()
                .all(|one| ever.contains(one) || expected.contains(one)),
        "aborted in {from}..{upper}: the log says {found:?}, the model {expected:?}"
    );
    Ok(())
}

/// The last stable offset.
pub(super) fn stable(log: &Log, model: &Model) -> Result<(), Violation> {
    let (found, expected) = (log.last_stable_offset(), model.stable(log.high_watermark()));
    require!(
        Stable,
        found == expected,
        "the last stable offset is {found}, not {expected} (high watermark {})",
        log.high_watermark()
    );
    Ok(())
}

/// The leader epoch of every batch.
pub(super) fn epochs(log: &Log, model: &Model) -> Result<(), Violation> {
    for kept in model.live() {
        let at = kept.base().max(model.start);
        if at < model.clean_to {
            continue;
        }
        let epoch = log.epochs().epoch_of(at);
        require!(
            Epochs,
            epoch == Some(kept.header.leader_epoch),
            "the epoch at {at} is {epoch:?}, not {}: {:?}",
            kept.header.leader_epoch,
            log.epochs()
        );
    }
    let never = log
        .epochs()
        .entries()
        .iter()
        .find(|entry| !model.epochs.contains(&entry.epoch));
    require!(Epochs, never.is_none(), "{never:?} never began");
    Ok(())
}

/// Where an epoch ended.
pub(super) fn epoch_end(log: &Log, model: &Model, epoch: LeaderEpoch) -> Result<(), Violation> {
    if model.start < model.clean_to {
        // The last batch of the epoch may be gone.
        return Ok(());
    }
    let last = |kept: &&Kept| kept.header.leader_epoch == epoch;
    let Some(last) = model.live().iter().rev().find(last) else {
        return Ok(());
    };
    let found = log.end_offset_for_epoch(epoch).map(|end| end.end_offset);
    require!(
        Epochs,
        found == Some(last.next()),
        "epoch {epoch} ended at {found:?}, not {}",
        last.next()
    );
    Ok(())
}

/// The lookup by time answers the first record that is late enough.
pub(super) fn time(log: &mut Log, model: &Model, timestamp: Timestamp) -> Result<(), Violation> {
    if model.start < model.clean_to {
        return Ok(());
    }
    let found = match log.offset_for_timestamp(timestamp, model.end) {
        Lookup::Answer(answer) => answer,
        Lookup::Scan(job) => job
            .run(Wait::Yes)
            .map_err(|error| violation(Checker::Times, error.to_string()))?,
    };
    let (found, expected) = (found.map(|found| found.offset), model.at_time(timestamp));
    require!(
        Times,
        found == expected,
        "the first record at or after {timestamp} is at {found:?}, not {expected:?}"
    );
    Ok(())
}

/// The lookup of the largest timestamp.
pub(super) fn newest(log: &mut Log, model: &Model) -> Result<(), Violation> {
    if log.segments[0].base < model.start || model.start < model.clean_to {
        // Records below the start count in a segment's largest timestamp.
        return Ok(());
    }
    let found = match log.max_timestamp(model.end) {
        Lookup::Answer(answer) => answer,
        Lookup::Scan(job) => job
            .run(Wait::Yes)
            .map_err(|error| violation(Checker::Times, error.to_string()))?,
    };
    let (found, expected) = (found.map(|found| found.offset), model.newest());
    require!(
        Times,
        found == expected,
        "the newest record is at {found:?}, not {expected:?}"
    );
    Ok(())
}

/// What the books say of sizes is what the files have.
pub(super) fn sizes(log: &Log) -> Result<(), Violation> {
    let files = log
        .dir
        .list(&log.folder)
        .map_err(|error| violation(Checker::Sizes, error.to_string()))?;
    let on_disk: u64 = files
        .iter()
        .filter(|file| matches!(parse_file(&file.name), Some((_, Content::Log, Fate::Live))))
        .map(|file| file.size)
        .sum();
    require!(
        Sizes,
        log.size() == on_disk,
        "the log says it has {} bytes, its files have {on_disk}",
        log.size()
    );
    Ok(())
}

/// Everything that can be asked of a log at rest.
pub(super) fn all(log: &mut Log, model: &Model) -> Result<(), Violation> {
    to_the_end(log, model, model.start, 3000)?;
    indexes(log, model)?;
    producers(log, model)?;
    aborted(log, model, model.start, model.end)?;
    stable(log, model)?;
    epochs(log, model)?;
    sizes(log)?;
    let middle = model.live().get(model.live().len() / 2);
    if let Some(timestamp) = middle.map(|kept| kept.header.max_timestamp) {
        time(log, model, timestamp)?;
    }
    Ok(())
}
