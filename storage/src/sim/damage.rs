//! Bits that flip and files that are cut or vanish at rest, once a history is over.
//!
//! **Owns** the damage, and what may follow from it.
//! **Lives on** the thread that runs a simulation.
//! **Invariants** 1. A flip in a segment is found by its checksum, by whoever reads it, or refused by name; records that
//! are whole are not touched by it. 2. A flip beside the log changes no answer that the format can protect.
//! **Not here** losses under faults that happen while the broker runs (`restart`).
//!
//! What no one can find, because Kafka's formats have no checksum there: base offset, length and leader epoch of a batch
//! in a segment that is not scanned, offsets in `.txnindex`, `.timeindex` and `leader-epoch-checkpoint`. Flips there
//! may change the answers that come from them, and nothing else.

use std::collections::BTreeMap;

use super::check::{self, Checker, ReadFault, require, violation};
use super::restart::StartError;
use super::world::{Outcome, World};
use super::{Mistake, model::Kept};
use crate::checkpoint::name;
use crate::disk::sim::Chances;
use crate::limits::BATCH_HEADER_SIZE;
use crate::log::{LocateError, OpenError};
use crate::segment::name::{Content, Fate, parse_file};
use crate::types::Offset;

/// What was done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// A bit was flipped.
    Flip,
    /// It ends here.
    Cut,
    /// It is gone.
    Loss,
}

/// Where it was done.
struct Flip {
    harm: Harm,
    /// The file, without its folder.
    file: String,
    position: usize,
    content: Option<(Offset, Content)>,
}

impl World {
    /// Flips a bit somewhere and looks at what becomes of it.
    pub(super) fn damage(&mut self) -> Outcome {
        self.disk.set_chances(Chances::default());
        self.profile.chances = Chances::default();
        if !self.settle()? {
            return Ok(());
        }
        self.checkpoint()?;
        self.log.set_high_watermark(self.model.end);
        if self.random.one_in(2) {
            self.close_for_damage()?;
        }
        self.disk.kill();
        let Some(flip) = self.flip() else {
            return Ok(());
        };
        self.note(&format!(
            "{:?} of {} at {}",
            flip.harm, flip.file, flip.position
        ));
        let before = self.live_logs();
        let opened = self.start();
        let (log, recovered) = match opened {
            Ok(opened) => opened,
            Err(StartError::Open(OpenError::Damaged { path, .. })) => {
                require!(
                    Damage,
                    path.ends_with(&flip.file) && matches!(flip.content, Some((_, Content::Log))),
                    "a flip in {} makes {path} damaged",
                    flip.file
                );
                require!(
                    Damage,
                    self.live_logs() == before,
                    "{path} was refused, and yet something was changed"
                );
                return Ok(());
            }
            Err(error) => {
                return Err(violation(
                    Checker::Damage,
                    format!("not of this partition alone: {error}"),
                ));
            }
        };
        self.log = log;
        let end = self.log.end_offset();
        self.log.set_high_watermark(end);
        match flip.content {
            Some((_, Content::Log)) if flip.harm == Harm::Cut => self.read_what_is_left(),
            Some((base, Content::Log)) => {
                let said = recovered.cut.is_some();
                let scanned = recovered.scanned_bytes > 0 || said;
                self.read_around(base, flip.position, said, scanned)
            }
            Some((_, Content::Index)) => self.nothing_changed(&[Checker::Indexes]),
            Some((_, Content::TimeIndex)) => {
                self.nothing_changed(&[Checker::Times, Checker::Indexes])
            }
            Some((_, Content::TxnIndex)) => self.nothing_changed(&[Checker::Aborted]),
            Some((_, Content::Snapshot)) => self.nothing_changed(&[
                // What lies before the log's start only the snapshot knows.
                Checker::Producers,
                Checker::Aborted,
                Checker::Stable,
            ]),
            None => self.nothing_changed(&[Checker::Epochs]),
        }
    }

    fn close_for_damage(&mut self) -> Outcome {
        let Some(plan) = self.log.close_plan() else {
            return Ok(());
        };
        let marker = crate::checkpoint::CleanShutdown { broker_epoch: 7 };
        plan.run()
            .and_then(|()| self.write_offsets(name::RECOVERY_POINTS, plan.recovery_point))
            .and_then(|()| self.write_offsets(name::LOG_STARTS, plan.log_start_offset))
            .and_then(|()| self.dir.write_clean_shutdown(marker))
            .map_err(|error| violation(Checker::Unprovoked, error.to_string()))
    }

    fn flip(&mut self) -> Option<Flip> {
        let entries = self.dir.list(&self.log.folder).ok()?;
        let mut candidates: Vec<_> = entries
            .into_iter()
            .filter_map(|entry| {
                let content = match parse_file(&entry.name) {
                    Some((base, content, Fate::Live)) => Some((base, content)),
                    None if entry.name == name::LEADER_EPOCHS => None,
                    _ => return None,
                };
                (entry.size > 0).then_some((entry.name, entry.size, content))
            })
            .collect();
        if candidates.is_empty() {
            return None;
        }
        let at = self.random.index(candidates.len());
        let (file, size, content) = candidates.swap_remove(at);
        let position = usize::try_from(self.random.below(size)).ok()?;
        let bit = u8::try_from(self.random.below(8)).ok()?;
        let path = format!("{}/{file}", self.log.folder);
        let last = self.log.segments.last().map(|segment| segment.base);
        let log = matches!(content, Some((_, Content::Log)));
        let mut harm = self
            .random
            .pick(&[Harm::Flip, Harm::Flip, Harm::Cut, Harm::Loss]);
        if log && (harm == Harm::Loss || content.map(|(base, _)| base) != last) {
            harm = Harm::Flip;
        }
        match harm {
            Harm::Flip => self
                .disk
                .flip(&self.dir.simulated_name(&path), position, bit),
            Harm::Cut => {
                let file = self.dir.open_file(&path, crate::disk::Mode::Write).ok()?;
                file.truncate(position as u64).ok()?;
            }
            Harm::Loss => self.dir.remove_file(&path).ok()?,
        }
        if self.mistake == Some(Mistake::RepairChecksum)
            && matches!(content, Some((_, Content::Log)))
        {
            self.repair(&path);
        }
        Some(Flip {
            harm,
            file,
            position,
            content,
        })
    }

    /// The last segment was cut: what lies before is as it was.
    fn read_what_is_left(&mut self) -> Outcome {
        let (start, end) = (self.log.start_offset(), self.log.end_offset());
        let whole = self.model.batches.iter().any(|kept| kept.next() == end);
        require!(
            Damage,
            end <= self.model.end && (whole || end == start),
            "the end is {end}, not where a batch ends up to {}",
            self.model.end
        );
        if whole && end > self.model.start {
            self.model.cut(end);
            return check::to_the_end(&mut self.log, &self.model, self.model.start, 3000);
        }
        Ok(())
    }

    /// Gives every batch of a file the checksum of the bytes it has.
    fn repair(&self, path: &str) {
        let Ok(mut bytes) = self.dir.read_file(path) else {
            return;
        };
        let mut at = 0;
        while let Some(header) = bytes.get(at..).and_then(crate::batch::Header::parse) {
            let end = at + header.size();
            let Some(batch) = bytes.get_mut(at..end).filter(|batch| batch.len() > 21) else {
                break;
            };
            let crc = crc32c::crc32c(&batch[21..]);
            batch[17..21].copy_from_slice(&crc.to_be_bytes());
            at = end;
        }
        if let Ok(file) = self.dir.open_file(path, crate::disk::Mode::Write) {
            let _ = file.write_at(&[bytes.into()], 0);
        }
    }

    fn live_logs(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = self.dir.list(&self.log.folder).unwrap_or_default();
        let logs = entries
            .into_iter()
            .filter(|entry| matches!(parse_file(&entry.name), Some((_, Content::Log, Fate::Live))));
        logs.filter_map(|entry| {
            let bytes = self
                .dir
                .read_file(&format!("{}/{}", self.log.folder, entry.name))
                .ok()?;
            Some((entry.name, bytes))
        })
        .collect()
    }

    /// A flip in a segment: every other record is as it was; the flipped one fails its checksum, or is cut, and said.
    fn read_around(&mut self, base: Offset, position: usize, said: bool, scanned: bool) -> Outcome {
        let (hit, inside) = self.hit(base, position);
        // After a clean stop the last header is believed: to check it would be to read a batch of every log at start.
        let last = !scanned && hit.as_ref().is_some_and(|hit| hit.next() == self.model.end);
        let undetectable = inside < CHECKED_FROM || (last && inside < BATCH_HEADER_SIZE);
        let end = self.log.end_offset();
        if end != self.model.end {
            let start = self.model.start;
            let to_the_hit = hit
                .as_ref()
                .is_some_and(|kept| end == kept.base().max(start));
            require!(
                Damage,
                undetectable || (said && to_the_hit),
                "the end went from {} to {end}, {hit:?} was hit",
                self.model.end
            );
        }
        for kept in self
            .model
            .from(self.log.start_offset(), self.model.end.min(end))
        {
            let is_hit = hit.as_ref().is_some_and(|hit| hit.base() == kept.base());
            if is_hit || undetectable {
                continue;
            }
            let from = kept.base().max(self.log.start_offset());
            let bytes = match check::read(&mut self.log, from, 1, self.model.end, true) {
                Ok(bytes) => bytes,
                Err(ReadFault::Locate(LocateError::Damaged { .. })) => continue,
                Err(fault) => {
                    return Err(violation(Checker::Damage, format!("read({from}): {fault}")));
                }
            };
            let mut same = check::frames(bytes);
            let first = (!same.is_empty()).then(|| same.remove(0));
            if let (Some(first), Some(hit)) = (&first, &hit)
                && first.header().base_offset == hit.base()
            {
                // It says that it reaches over this offset: the consumer meets its checksum.
                continue;
            }
            let found = first.and_then(|batch| batch.check().ok());
            require!(
                Damage,
                found
                    .as_ref()
                    .is_some_and(|batch| batch.to_bytes() == kept.bytes),
                "read({from}) is not what was appended, a bit in {hit:?} was flipped: {found:?}"
            );
        }
        let Some(hit) = hit.filter(|hit| hit.next() <= end && !undetectable) else {
            return Ok(());
        };
        let from = hit.base().max(self.log.start_offset());
        if let Ok(bytes) = check::read(&mut self.log, from, 1, self.model.end, true) {
            let sound = check::frames(bytes)
                .into_iter()
                .filter_map(|batch| batch.check().ok())
                .find(|batch| batch.header().base_offset == hit.base());
            require!(
                Damage,
                sound.is_none(),
                "a bit of the batch at {} was flipped, and its checksum is right",
                hit.base()
            );
        }
        Ok(())
    }

    /// The batch at a position of a segment, and the position inside it.
    fn hit(&self, base: Offset, position: usize) -> (Option<Kept>, usize) {
        let mut at = 0;
        for kept in self.model.batches.iter().filter(|kept| kept.base() >= base) {
            if position < at + kept.bytes.len() {
                return (Some(kept.clone()), position - at);
            }
            at += kept.bytes.len();
        }
        (None, 0)
    }

    /// A flip beside the log: every answer is as before, but for those the format cannot protect.
    fn nothing_changed(&mut self, unprotected: &[Checker]) -> Outcome {
        let (log, model) = (&mut self.log, &self.model);
        let end = log.end_offset();
        require!(
            Damage,
            end == model.end,
            "the end went from {} to {end}",
            model.end
        );
        let outcomes = [
            check::to_the_end(log, model, model.start, 3000),
            check::indexes(log, model),
            check::producers(log, model),
            check::aborted(log, model, model.start, model.end),
            check::stable(log, model),
            check::epochs(log, model),
        ];
        for outcome in outcomes {
            if let Err(found) = outcome
                && !unprotected.contains(&found.checker)
            {
                return Err(violation(
                    Checker::Damage,
                    format!("{:?}: {}", found.checker, found.text),
                ));
            }
        }
        Ok(())
    }
}

/// The first byte of a batch that its checksum covers; magic and the checksum itself come right before.
const CHECKED_FROM: usize = 16;
