//! The ends of the process and of the machine, and what must be there afterwards.
//!
//! **Owns** closing in order, killing, power cuts, opening again, the checks of what was opened.
//! **Lives on** the thread that runs a simulation.
//! **Invariants** 1. A restart ends with an open log that was checked whole: an operator tries again until the disk lets
//! him. 2. What was acknowledged by sync survives everything; what was only written survives the process, unless the
//! disk refused it.
//! **Not here** the other events (`world`).

use std::collections::BTreeMap;

use super::check::{self, Checker, require, violation};
use super::marks::{self, reached};
use super::world::{Outcome, World, partition};
use super::{Mistake, model::Kept};
use crate::checkpoint::{CleanShutdown, name};
use crate::disk::sim::{Blow, Chances, Fault, Operation};
use crate::disk::{LayoutError, Mode};
use crate::log::{Log, Open, OpenError, Recovered};
use crate::producer::AbortedTransaction;
use crate::segment::name::{Content, Fate, parse_file};
use crate::types::{LeaderEpoch, Offset, TopicPartition};

/// Why a start did not come to an open log.
pub(super) enum StartError {
    Layout(LayoutError),
    Open(OpenError),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Layout(error) => error.fmt(f),
            Self::Open(error) => error.fmt(f),
        }
    }
}

impl From<LayoutError> for StartError {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}

impl World {
    /// Closes the log in order, as far as the disk lets it, and starts again.
    pub(super) fn close(&mut self) -> Outcome {
        if !self.settle()? {
            return Ok(());
        }
        let Some(plan) = self.log.close_plan() else {
            return Ok(());
        };
        self.activity = "closing";
        self.recovery_checkpoint = self.recovery_checkpoint.max(plan.recovery_point);
        let done = plan
            .run()
            .and_then(|()| {
                let (point, start) = (plan.recovery_point, plan.log_start_offset);
                self.write_checkpoints(point, plan.high_watermark, start)
            })
            .and_then(|()| {
                let marker = CleanShutdown { broker_epoch: 7 };
                self.dir.write_clean_shutdown(marker)
            });
        if self.disk.struck().is_some() {
            return Ok(());
        }
        match done {
            Ok(()) => {
                self.recovery_checkpoint = plan.recovery_point;
                reached("closed in order");
            }
            Err(error) => self.blame(&error)?,
        }
        // A power cut right after must not matter: the marker is written last.
        let blow = self.random.pick(&[Blow::Power, Blow::Kill]);
        self.restart(blow)
    }

    /// The machine or the process ends, and everything starts again.
    pub(super) fn restart(&mut self, blow: Blow) -> Outcome {
        self.detail(format!("<{blow:?}>"));
        if self.mistake == Some(Mistake::FailSilently) && self.log.failure().is_none() {
            self.fail_silently()?;
        }
        if self.mistake == Some(Mistake::Invent)
            && let Some(last) = self.model.batches.pop()
        {
            self.model.end = last.base();
        }
        let mut floor = self.fall(blow);
        (self.sync, self.work, self.cleaning) = (None, None, None);
        self.mirror = None;
        self.writes.clear();
        let mut tries = 0;
        let (log, recovered) = loop {
            tries += 1;
            if tries == 4 {
                self.disk.set_chances(Chances::default());
            }
            if tries >= 2 {
                // Somebody makes room.
                self.disk.set_capacity(u64::MAX);
            }
            self.forgiven = self.disk.provoked();
            if tries < 4 && self.random.below(100) < self.profile.fuse {
                let blow = self.random.pick(&[Blow::Power, Blow::Kill]);
                self.disk.light_fuse(self.random.below(60), blow);
            }
            let started = self.start();
            self.disk.put_out();
            let error = match started {
                Ok(opened) if self.disk.struck().is_none() => break opened,
                Ok(_) => "the start ended with the machine".to_owned(),
                Err(StartError::Open(error @ OpenError::Damaged { .. })) => {
                    return Err(violation(Checker::Acknowledged, error.to_string()));
                }
                Err(StartError::Layout(error @ LayoutError::Malformed { .. })) => {
                    return Err(violation(Checker::Acknowledged, error.to_string()));
                }
                Err(error) => error.to_string(),
            };
            self.blame(&error)?;
            let again = match self.disk.struck() {
                Some(Blow::Power) => {
                    reached("power cut inside recovery");
                    Blow::Power
                }
                Some(Blow::Kill) => Blow::Kill,
                None => {
                    reached("disk failed in recovery");
                    self.random.pick(&[Blow::Power, Blow::Kill])
                }
            };
            floor = floor.min(self.fall(again));
        };
        self.disk.set_chances(self.profile.chances);
        self.forgiven = self.disk.provoked();
        self.log = log;
        if let Some(cut) = &recovered.cut {
            self.detail(format!(
                "cut {} B at {}: {}",
                cut.bytes, cut.end_offset, cut.why
            ));
        }
        // A start, or a truncation, that failed may have got so far.
        let restarts = marks::count(RESTARTED);
        let restarted =
            restarts > self.restarts && self.log.segments[0].base == self.log.end_offset();
        self.restarts = restarts;
        self.spoil();
        self.quietly(|world| world.after_opening(floor, restarted))
    }

    /// What must be there afterwards.
    fn fall(&mut self, blow: Blow) -> Offset {
        match blow {
            Blow::Power => {
                reached("power cut");
                if self.log.folder_changed {
                    reached("power cut with a roll not synced");
                }
                self.disk.crash();
                self.durable
            }
            Blow::Kill => {
                reached("process killed");
                let refused = self.disk.refused();
                self.disk.kill();
                if refused {
                    reached("killed after the disk refused pages");
                    self.durable
                } else {
                    self.written
                }
            }
        }
    }

    /// Starts as a broker does: where the log lies, the marker, the checkpoints, the log.
    pub(super) fn start(&mut self) -> Result<(Log, Recovered), StartError> {
        self.resolve_moves()
            .map_err(|error| StartError::Layout(error.into()))?;
        let clean_shutdown = self.dir.take_clean_shutdown()?.is_some();
        if clean_shutdown {
            reached("opened after a clean stop");
        }
        let offset = |file| -> Result<Offset, LayoutError> {
            let own: BTreeMap<TopicPartition, Offset> = self.dir.read_offsets(file)?;
            // A log that moved just before is still in the files of the directory it left.
            let other = self.other.read_offsets(file)?;
            let found = own.get(&partition()).or_else(|| other.get(&partition()));
            Ok(found.copied().unwrap_or(Offset::ZERO))
        };
        let open = Open {
            recovery_point: offset(name::RECOVERY_POINTS)?,
            log_start_offset: offset(name::LOG_STARTS)?,
            high_watermark: offset(name::HIGH_WATERMARKS)?,
            clean_shutdown,
            now: self.now(),
        };
        let settings = self.profile.settings.clone();
        let opened = Log::open(&self.dir, &partition(), settings, &open, &mut |_| {})
            .map_err(StartError::Open)?;
        // ORDER: a recovery point that names what is gone comes down before anything is appended in its place, and what the
        // directory it does not lie in says of it goes: a start that was is not to cut what is appended from now on.
        let log = &opened.0;
        let point = log.recovery_point();
        self.recovery_checkpoint = self.recovery_checkpoint.max(point);
        self.write_checkpoints(point, log.high_watermark(), log.start_offset())
            .and_then(|()| self.clear_the_other())
            .map_err(|error| StartError::Layout(error.into()))?;
        Ok(opened)
    }

    /// Nothing below `floor` is lost, nothing that was not appended is there, all books agree.
    fn after_opening(&mut self, floor: Offset, restarted: bool) -> Outcome {
        self.lies_once()?;
        let (start, end) = (self.log.start_offset(), self.log.end_offset());
        // A crash may bring deleted records back, and the next start find the checkpoint of the directory that says so.
        self.model.deleted_to = self.model.deleted_to.max(self.model.start);
        self.detail(format!("-> {start}..{end}"));
        let anew = self.anew.take();
        let old = end <= self.model.start && !self.log.producers().is_empty();
        if let Some(to) = anew
            && start == end
            && (!old || end == to)
        {
            // It was to start anew: at the new place, or where the checkpoint has its start.
            require!(
                Invented,
                end == to || end <= self.model.start,
                "started anew at {end}, not {to} or {}",
                self.model.start
            );
            self.model.start_anew(end);
        } else {
            require!(
                Acknowledged,
                end >= floor,
                "{end} is the end after the restart, below {floor} everything was acknowledged"
            );
            let whole = self
                .model
                .batches
                .iter()
                .any(|kept: &Kept| kept.next() == end);
            require!(
                Invented,
                whole || end == start,
                "the end {end} is inside a batch, or beyond what was appended"
            );
            self.model.cut(end);
            require!(
                Acknowledged,
                start <= self.model.deleted_to || start == end || anew.is_some(),
                "the start went from {} to {start}",
                self.model.start
            );
            self.model.start = start;
            self.model.end = end;
            if restarted {
                // Records below the start were deleted and then lost; nothing is known of who wrote them.
                self.model.start_anew(start);
            }
            if let Some(to) = anew
                && self.profile.compact
            {
                // Half a cleaned log: what was the last of its key may be in the half that is gone. Whoever was to
                // start anew does so again.
                return self.start_anew_again(to);
            }
        }
        self.model.opened = end;
        self.forget_on_a_full_disk();
        (self.written, self.durable) = (end, end);
        self.recovery_checkpoint = self.recovery_checkpoint.min(end);
        self.log.set_high_watermark(end);
        check::all(&mut self.log, &self.model)?;
        if self.random.one_in(2) {
            self.model.epoch = LeaderEpoch(self.model.epoch.0 + 1);
            self.model.epochs.insert(self.model.epoch);
            self.log.begin_epoch(self.model.epoch);
        }
        Ok(())
    }

    fn start_anew_again(&mut self, to: Offset) -> Outcome {
        self.disk.set_capacity(u64::MAX);
        let Some(plan) = self.log.truncate_fully_and_start_at(to, self.now()) else {
            return Err(violation(
                Checker::Unprovoked,
                "a log at rest cannot be truncated",
            ));
        };
        let unprovoked = |error: String| violation(Checker::Unprovoked, error);
        self.other
            .write_offsets(name::RECOVERY_POINTS, [])
            .and_then(|()| self.write_offsets(name::RECOVERY_POINTS, plan.recovery_point()))
            .map_err(|error| unprovoked(error.to_string()))?;
        self.recovery_checkpoint = plan.recovery_point();
        self.log
            .truncated(plan.run())
            .map_err(|error| unprovoked(error.to_string()))?;
        self.model.start_anew(to);
        (self.written, self.durable) = (to, to);
        self.log.set_high_watermark(to);
        check::all(&mut self.log, &self.model)
    }

    /// On a full disk retention makes room before the snapshot behind what it takes is written. A machine that ends then
    /// comes back knowing of producers only what the segments that are left say.
    fn forget_on_a_full_disk(&mut self) {
        if !self.disk.counts().contains_key("ENOSPC") {
            return;
        }
        let first = self.log.segments[0].base;
        let (start, end) = (self.model.start, self.model.end);
        let told = self.log.aborted_transactions(start, end).run();
        let told = told.unwrap_or_default();
        for (producer, begun, marker) in self.model.aborted() {
            let same = |one: &AbortedTransaction| {
                (one.producer, one.first_offset, one.last_offset) == (producer, begun, marker)
            };
            let must = begun < first && marker >= start.max(self.model.clean_to);
            if must && !told.iter().any(same) {
                self.model.forget_before(producer, first);
            }
        }
        for (producer, known) in self.model.producers() {
            let state = self.log.producers().state(producer);
            let seen = state.is_some_and(|state| {
                let cleaned = known.marker < self.model.clean_to;
                let coordinator = state.coordinator_epoch() == known.coordinator_epoch;
                (state.epoch(), state.transaction()) == (known.epoch, known.transaction)
                    && (coordinator || cleaned)
            });
            if !seen {
                self.model.forget_before(producer, first);
            }
        }
    }

    /// The mistakes that are the disk's.
    fn spoil(&mut self) {
        let wanted = match self.mistake {
            Some(Mistake::SpoilIndex) => Content::Index,
            Some(Mistake::GrowFile) => Content::Log,
            _ => return,
        };
        let Ok(entries) = self.dir.list(&self.log.folder) else {
            return;
        };
        let found = entries.into_iter().find(|entry| {
            entry.size > 0
                && matches!(parse_file(&entry.name), Some((_, content, Fate::Live)) if content == wanted)
        });
        let Some(entry) = found else { return };
        let name = format!("{}/{}", self.log.folder, entry.name);
        if wanted == Content::Index {
            self.disk.flip(&self.dir.simulated_name(&name), 3, 0);
        } else if let Ok(file) = self.dir.open_file(&name, Mode::Write) {
            let _ = file.truncate(entry.size + 1);
        }
    }

    /// An error of the disk that it does not own up to.
    fn fail_silently(&mut self) -> Outcome {
        self.disk.inject(Fault {
            on: Operation::Names,
            path_contains: String::new(),
            after: 0,
            error: std::io::ErrorKind::Other,
        });
        let failed = self.dir.list("").err();
        self.forgiven = self.disk.provoked();
        match failed {
            Some(error) => self.disk_failed(&error),
            None => Ok(()),
        }
    }
}

/// The mark of a log that began anew at its start offset.
pub(super) const RESTARTED: &str = "restarted beyond the end";
