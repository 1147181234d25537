//! Compaction: a cleaning goes on beside everything else, and what must stay of the log after it.
//!
//! **Owns** the slices of a cleaning, and the comparison by records: bytes are not the same any more.
//! **Lives on** the thread that runs a simulation.
//! **Invariants** 1. Of every key the last committed record is there; whatever is there was appended at its offset; from
//! where no cleaning reached everything is there.
//! **Not here** the cleaner (`compaction`); what Kafka's leaves of the same log (`tests/it`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::check::{self, Violation, require, violation};
use super::marks::reached;
use super::model::{Kept, Model};
use super::world::{Outcome, World};
use crate::batch::UncheckedBatch;
use crate::compaction::{CleaningOptions, CompactionRules, Step};
use crate::log::{Log, Replaced};
use crate::types::Offset;

/// A record's key and value.
type Content = (Vec<u8>, Vec<u8>);

impl World {
    /// Begins a cleaning, or goes on with it.
    pub(super) fn compact(&mut self) -> Outcome {
        if !self.profile.compact || self.log.failure().is_some() || self.log.is_swapping() {
            return Ok(());
        }
        if self.cleaning.is_none() {
            let rules = CompactionRules {
                min_dirty_ratio: 0.0,
                min_lag_ms: 0,
                max_lag_ms: i64::MAX,
            };
            let Some(range) = self.log.cleanable(&rules, self.now()) else {
                return Ok(());
            };
            let options = CleaningOptions {
                dedupe_bytes: self.random.pick(&[240, 1 << 16]),
                dedupe_load: 0.9,
                buffer_bytes: self.random.pick(&[300, 1 << 16]),
                delete_retention_ms: self.random.pick(&[0, 50]),
                now: self.now(),
                seed: [self.seed, 7],
            };
            self.model.clean_to = self.model.clean_to.max(range.to);
            self.model.decided_to = self.log.high_watermark();
            self.cleaning = Some(self.log.clean(range, options));
            reached("cleaning begun");
        }
        self.activity = "cleaning";
        let Some(mut cleaning) = self.cleaning.take() else {
            return Ok(());
        };
        let slice = cleaning.run(self.random.pick(&[200, 2000, 1 << 20]));
        if self.disk.struck().is_some() {
            return Ok(());
        }
        match slice {
            Err(error) => {
                if error.is_not_found() {
                    // Retention was faster.
                    reached("cleaned segment outdated");
                } else {
                    self.blame(&error)?;
                }
                // What it wrote is in the way of nobody, if it cannot be removed either.
                let _ = cleaning.abandon();
            }
            Ok(slice) => match slice.step {
                Step::More => self.cleaning = Some(cleaning),
                Step::Replace(cleaned) => match self.log.replace(*cleaned) {
                    Replaced::Swapping => {
                        reached("cleaned segment taken over");
                        self.cleaning = Some(cleaning);
                    }
                    Replaced::Outdated => reached("cleaned segment outdated"),
                },
                Step::Done => {
                    reached("cleaning done");
                    self.log.set_cleaned_to(cleaning.end());
                }
            },
        }
        Ok(())
    }
}

/// Every record of these bytes was appended at its offset.
pub(super) fn records(model: &Model, bytes: Vec<u8>) -> Result<Vec<(Offset, Content)>, Violation> {
    let mut found = Vec::new();
    for batch in check::frames(bytes) {
        let base = batch.header().base_offset;
        for (offset, content) in contents(batch)? {
            let kept = model.from(offset, Offset(i64::MAX)).first();
            let appended = kept.map_or(Ok(Vec::new()), of)?;
            require!(
                Reads,
                appended.contains(&(offset, content.clone())),
                "the record at {offset} in the batch at {base} was not appended there"
            );
            found.push((offset, content));
        }
    }
    Ok(found)
}

/// A sequential reader meets what must be there, in order, and nothing that was not appended.
pub(super) fn to_the_end(
    log: &mut Log,
    model: &Model,
    mut from: Offset,
    bytes_max: usize,
) -> Result<(), Violation> {
    let (start, mut met, mut last) = (from, BTreeSet::new(), None);
    while from < model.end {
        let bytes = check::read(log, from, bytes_max, model.end, true)
            .map_err(|fault| violation(check::Checker::Reads, format!("read({from}): {fault}")))?;
        let frames = check::frames(bytes.clone());
        let Some(next) = frames.last().map(|batch| batch.header().next_offset()) else {
            require!(
                Reads,
                from < model.clean_to,
                "a reader at {from} of {} is stuck",
                model.end
            );
            break;
        };
        for (offset, _) in records(model, bytes)? {
            require!(
                Offsets,
                last.is_none_or(|last| last < offset) || offset < from,
                "{offset} follows {last:?}"
            );
            last = Some(offset);
            met.insert(offset);
        }
        require!(Offsets, next > from, "a reader at {from} comes to {next}");
        from = next;
    }
    for offset in must_stay(model)? {
        require!(
            Acknowledged,
            offset < start || met.contains(&offset),
            "the record at {offset} is the last of its key, or was not to be cleaned, and is gone"
        );
    }
    Ok(())
}

/// Offsets that a reader from the start must meet.
fn must_stay(model: &Model) -> Result<Vec<Offset>, Violation> {
    let aborted = model.aborted();
    let mut last: BTreeMap<Vec<u8>, Offset> = BTreeMap::new();
    let mut must = Vec::new();
    for kept in model.live() {
        for (offset, (key, _)) in of(kept)? {
            if offset < model.start {
                continue;
            }
            if offset >= model.clean_to {
                must.push(offset);
            }
            let void = kept.marker.is_some()
                || (kept.header.attributes.is_transactional()
                    && aborted.iter().any(|(producer, first, marker)| {
                        *producer == kept.header.producer_id && (*first..*marker).contains(&offset)
                    }));
            if !void {
                last.insert(key, offset);
            }
        }
    }
    must.extend(last.into_values());
    Ok(must)
}

fn of(kept: &Kept) -> Result<Vec<(Offset, Content)>, Violation> {
    let mut rest: Bytes = kept.bytes.clone();
    match UncheckedBatch::take(&mut rest) {
        Ok(Some(batch)) => contents(batch),
        other => Err(violation(
            check::Checker::Unprovoked,
            format!("the model's batch: {other:?}"),
        )),
    }
}

fn contents(batch: UncheckedBatch) -> Result<Vec<(Offset, Content)>, Violation> {
    let damaged = |error: String| violation(check::Checker::Reads, error);
    let batch = batch.check().map_err(|error| damaged(error.to_string()))?;
    let payload = batch
        .open(1 << 20)
        .map_err(|error| damaged(error.to_string()))?;
    let record = |record: Result<crate::batch::Record<'_>, _>| {
        let record =
            record.map_err(|error: crate::batch::RecordFault| damaged(error.to_string()))?;
        let (key, value) = (
            record.key.unwrap_or_default(),
            record.value.unwrap_or_default(),
        );
        Ok((record.offset, (key.to_vec(), value.to_vec())))
    };
    payload.records().map(record).collect()
}
