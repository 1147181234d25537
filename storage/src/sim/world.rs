//! The driver: what a shard does with a log, drawn from the seed.
//!
//! **Owns** the log, the model beside it, the plans that are out, what was acknowledged.
//! **Lives on** the thread that runs a simulation.
//! **Invariants** 1. A plan's outcome is handed back once, in any order, early or late. 2. What the driver tells the model
//! it was told by the log's answers, never by its insides.
//! **Not here** restarts (`restart`), the comparison (`check`).

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::io;

use super::check::{self, Violation, require};
use super::event::Event;
use super::marks::{self, reached};
use super::model::{Kept, Model};
use super::profile::{Profile, Watermark};
use super::restart::RESTARTED;
use super::{Mistake, Options};
use crate::checkpoint::name;
use crate::disk::sim::{Blow, Chances, Disk, Random};
use crate::disk::{DiskError, LogDir};
use crate::disks::mirror::Mirror;
use crate::log::{Log, Sync, Work, WorkOutcome, Write};
use crate::types::{LeaderEpoch, Offset, Timestamp, TopicPartition};

/// See the module's words.
pub(super) struct World {
    pub seed: u64,
    pub step: usize,
    pub steps_done: usize,
    steps: usize,
    skip: BTreeSet<usize>,
    pub mistake: Option<Mistake>,
    pub random: Random,
    pub profile: Profile,
    pub disk: Disk,
    /// The log directory that the log lies in.
    pub dir: LogDir,
    /// The other one.
    pub other: LogDir,
    pub mirror: Option<Mirror>,
    /// The log left the other one, and its checkpoints do not know yet.
    pub left: bool,
    pub log: Log,
    pub model: Model,
    clock: i64,
    /// Then somebody makes room.
    full_until: i64,
    /// What an acknowledgement was given for: below it everything is in the page cache.
    pub written: Offset,
    /// Below it everything is on the disk.
    pub durable: Offset,
    pub writes: Vec<(Write, Option<io::Result<()>>)>,
    pub sync: Option<(Sync, Option<io::Result<()>>)>,
    pub work: Option<WorkState>,
    pub cleaning: Option<crate::compaction::Cleaning>,
    /// What the recovery-point checkpoint says.
    pub recovery_checkpoint: Offset,
    /// The log was to start anew here when the machine ended.
    pub anew: Option<Offset>,
    /// How often the log had begun anew at its start when it was last looked at.
    pub restarts: u64,
    /// Faults of the disk that were seen before the last restart.
    pub forgiven: u64,
    /// What is being carried out, for the marks.
    pub activity: &'static str,
    pub last: VecDeque<String>,
}

pub(super) enum WorkState {
    Out(Work),
    Done(WorkOutcome),
}

pub(super) type Outcome = Result<(), Violation>;

impl World {
    pub(super) fn new(options: &Options, profile: Profile) -> Self {
        let disk = Disk::new(options.seed);
        disk.set_nature(profile.sector, profile.order);
        let dir = LogDir::simulated(&disk);
        let other = LogDir::simulated_at(&disk, "other").expect("a good disk takes a directory");
        let log = Log::create(&dir, &partition(), profile.settings.clone(), EPOCH)
            .expect("a good disk takes a new log");
        Self {
            seed: options.seed,
            step: 0,
            steps_done: 0,
            steps: options.steps,
            skip: options.skip.clone(),
            mistake: options.mistake,
            random: Random::new(options.seed),
            profile,
            disk,
            dir,
            other,
            mirror: None,
            left: false,
            log,
            model: Model {
                forgets_transactions: options.mistake == Some(Mistake::ForgetTransaction),
                ..Model::default()
            },
            clock: 0,
            full_until: 0,
            written: Offset::ZERO,
            durable: Offset::ZERO,
            writes: Vec::new(),
            sync: None,
            work: None,
            cleaning: None,
            recovery_checkpoint: Offset::ZERO,
            anew: None,
            restarts: 0,
            forgiven: 0,
            activity: "",
            last: VecDeque::new(),
        }
    }

    /// The whole history.
    pub(super) fn run(&mut self, tell: &mut dyn FnMut(&str)) -> Outcome {
        self.disk.set_chances(self.profile.chances);
        self.model.epoch = LeaderEpoch::ZERO;
        for step in 0..self.steps {
            self.step = step;
            self.clock += 1;
            if self.skip.contains(&step) {
                continue;
            }
            let seed = (self.seed << 20) ^ step as u64;
            self.random = Random::new(seed);
            self.disk.reseed(!seed);
            self.disk.set_time(self.now().0);
            if self.clock > self.full_until {
                self.disk.set_capacity(u64::MAX);
            }
            let event = Event::draw(&mut self.random, &self.profile.weights);
            self.note(&format!("{event:?}"));
            let outcome = self.perform(event).and_then(|()| self.aftermath());
            tell(self.last.back().map_or("", String::as_str));
            outcome?;
            self.steps_done += 1;
        }
        self.step = self.steps;
        self.note("the end");
        self.disk.set_capacity(u64::MAX);
        let blow = self.random.pick(&[Blow::Power, Blow::Kill]);
        self.restart(blow)?;
        if self.profile.compact {
            // What is left of a compacted log says less about damage.
            return Ok(());
        }
        self.damage()
    }

    fn perform(&mut self, event: Event) -> Outcome {
        self.activity = "";
        if self.random.below(100) < self.profile.fuse {
            let blow = self.random.pick(&[Blow::Power, Blow::Power, Blow::Kill]);
            self.disk.light_fuse(self.random.below(24), blow);
        }
        match event {
            Event::Append => self.append(),
            Event::AppendInTransaction => self.append_in_transaction(),
            Event::EndTransaction => self.end_transaction(),
            Event::Probe => self.probe(),
            Event::Write => self.write(),
            Event::Sync => self.sync(),
            Event::Work => self.work(),
            Event::Unlink => self.unlink(),
            Event::Read => self.read(),
            Event::ReadToTheEnd => self.quietly(|world| {
                let from = world.some_offset();
                let bytes_max = world.random.pick(&[1, 500, 3000, 20_000]);
                check::to_the_end(&mut world.log, &world.model, from, bytes_max)
            }),
            Event::LookUpTime => self.quietly(|world| {
                let ahead = world.random.below(400);
                let at = EPOCH.0 + i64::try_from(ahead).unwrap_or(0) - 10;
                check::time(&mut world.log, &world.model, Timestamp(at))
            }),
            Event::LookUpMaxTimestamp => {
                self.quietly(|world| check::newest(&mut world.log, &world.model))
            }
            Event::LookUpAborted => self.quietly(|world| {
                let (from, upper) = (world.some_offset(), world.some_boundary());
                check::aborted(&world.log, &world.model, from, upper.max(from))?;
                check::stable(&world.log, &world.model)
            }),
            Event::LookUpEpoch => self.quietly(|world| {
                let number = world.random.below(world.model.epochs.len() as u64 + 1);
                let epoch = world
                    .model
                    .epochs
                    .iter()
                    .nth(usize::try_from(number).unwrap_or(0))
                    .copied();
                check::epoch_end(&world.log, &world.model, epoch.unwrap_or(LeaderEpoch::ZERO))
            }),
            Event::Trim => {
                let keep = self.random.index(10_000);
                self.log.trim_tail(keep);
                Ok(())
            }
            Event::ReleaseIdle => {
                self.log.release_idle();
                Ok(())
            }
            Event::Reserve => {
                if let Some(reserve) = self.log.take_reserve() {
                    // Only a matter of speed: its failure changes nothing.
                    let _ = reserve.file.reserve(reserve.range);
                }
                Ok(())
            }
            Event::BeginEpoch => {
                self.begin_epoch();
                Ok(())
            }
            Event::Checkpoint => self.checkpoint(),
            Event::DeleteRecords => self.delete_records(),
            Event::Retention => self.retain(),
            Event::Compact => self.compact(),
            Event::Move => self.copy_elsewhere(),
            Event::Truncate => self.truncate(),
            Event::StartAnew => self.start_anew(),
            Event::Wait => {
                self.clock += 200;
                Ok(())
            }
            Event::Settle => self.settle().and_then(|settled| {
                if settled {
                    self.quietly(|world| check::all(&mut world.log, &world.model))
                } else {
                    Ok(())
                }
            }),
            Event::Close => self.close(),
            Event::Kill => self.restart(Blow::Kill),
            Event::Crash => self.restart(Blow::Power),
            Event::Fill => {
                let room = self.random.below(4000);
                self.disk.set_capacity(self.disk.used() + room);
                let events = i64::try_from(self.random.below(FULL_MAX)).unwrap_or(0);
                self.full_until = self.clock + events;
                Ok(())
            }
            Event::Free => {
                self.disk.set_capacity(u64::MAX);
                Ok(())
            }
        }
    }

    /// What follows every event: a blow that fell, a log that failed, the books.
    fn aftermath(&mut self) -> Outcome {
        self.disk.put_out();
        if let Some(blow) = self.disk.struck() {
            if blow == Blow::Power {
                match self.activity {
                    "work" => reached("power cut inside a work"),
                    "truncation" => reached("power cut inside a truncation"),
                    "closing" => reached("power cut inside closing"),
                    "sync" => reached("power cut inside a sync"),
                    "write" => reached("power cut inside a write"),
                    "cleaning" => reached("power cut inside a cleaning"),
                    "moving" => reached("power cut inside a move"),
                    _ => {}
                }
            }
            return self.restart(blow);
        }
        if let Some(why) = self.log.failure().cloned() {
            self.blame(&why)?;
            if self.random.one_in(3) {
                // The operator restarts the broker, or the machine.
                let blow = self.random.pick(&[Blow::Power, Blow::Kill]);
                return self.restart(blow);
            }
            return Ok(());
        }
        let (written, durable) = (self.log.written_offset(), self.log.durable_offset());
        require!(
            Acknowledged,
            durable >= self.durable && written >= self.written,
            "durable went from {} to {durable}, written from {} to {written}",
            self.durable,
            self.written
        );
        require!(
            Acknowledged,
            durable <= written && written <= self.model.end,
            "durable {durable}, written {written}, end {}",
            self.model.end
        );
        let point = self.log.recovery_point();
        require!(
            Acknowledged,
            point <= durable,
            "the recovery point {point} is beyond what is durable, {durable}"
        );
        (self.written, self.durable) = (written, durable);
        self.watermark();
        Ok(())
    }

    /// The high watermark moves; it never goes back.
    pub(super) fn watermark(&mut self) {
        let to = match self.profile.watermark {
            Watermark::Written => self.written,
            Watermark::Appended => self.model.end,
            Watermark::Lagging if self.random.one_in(12) => self.written,
            Watermark::Lagging => return,
        };
        self.log
            .set_high_watermark(to.max(self.log.high_watermark()));
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp(EPOCH.0 + self.clock)
    }

    pub(super) fn note(&mut self, text: &str) {
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(format!("{}: {text}", self.step));
    }

    /// Adds to the line of the event that happens.
    pub(super) fn detail(&mut self, text: impl std::fmt::Display) {
        if let Some(last) = self.last.back_mut() {
            // Writing to a String cannot fail.
            let _ = write!(last, " {text}");
        }
    }

    /// An error that nothing provoked is one of ours.
    pub(super) fn blame(&mut self, error: &impl std::fmt::Display) -> Outcome {
        self.detail(format!("[{error}]"));
        require!(
            Unprovoked,
            self.disk.provoked() > self.forgiven,
            "the disk was good: {error}"
        );
        Ok(())
    }

    /// The log directory failed: every log in it goes out of service.
    pub(super) fn disk_failed(&mut self, error: &impl std::fmt::Display) -> Outcome {
        self.blame(error)?;
        self.log.fail("its log directory failed");
        Ok(())
    }

    /// With the disk on its best behaviour; nothing for a log out of service.
    pub(super) fn quietly(&mut self, look: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        // While a cleaned segment is taken over, readers come again.
        if self.log.failure().is_some() || self.log.is_swapping() {
            return Ok(());
        }
        self.disk.put_out();
        self.disk.set_chances(Chances::default());
        let outcome = look(self);
        self.disk.set_chances(self.profile.chances);
        outcome
    }

    fn late(&mut self) -> bool {
        let late = self.random.below(100) < self.profile.late;
        if late {
            reached("plan carried out late");
        }
        late
    }

    // ------------------------------------------------------------------------------------------------- the plans

    /// Hands out what there is, carries it out and confirms it in any order, some of it later.
    pub(super) fn write(&mut self) -> Outcome {
        while let Some(write) = self.log.take_write() {
            self.writes.push((write, None));
        }
        if self.log.must_sync() {
            reached("write held back for the sync of the segment before");
        }
        let mut out = std::mem::take(&mut self.writes);
        let mut confirmed: Option<u64> = None;
        while !out.is_empty() {
            let (write, outcome) = out.swap_remove(self.random.index(out.len()));
            if self.late() {
                self.writes.push((write, outcome));
                continue;
            }
            self.activity = "write";
            let outcome = match outcome {
                Some(outcome) => outcome,
                None => write.run().map_err(DiskError::into_io),
            };
            if self.disk.struck().is_some() {
                return Ok(());
            }
            if self.late() {
                self.writes.push((write, Some(outcome)));
                continue;
            }
            if confirmed.is_some_and(|before| before > write.position) {
                reached("writes confirmed out of order");
            }
            confirmed = Some(write.position);
            let said = outcome.as_ref().err().map(ToString::to_string);
            if let Err(fault) = self.log.written(write.token, outcome) {
                self.blame(&said.unwrap_or_else(|| fault.to_string()))?;
            }
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Outcome {
        let Some((sync, outcome)) = self.sync.take() else {
            if let Some(sync) = self.log.take_sync() {
                self.sync = Some((sync, None));
                if !self.late() {
                    return self.sync();
                }
            }
            return Ok(());
        };
        self.activity = "sync";
        let outcome = match outcome {
            Some(outcome) => outcome,
            None if self.mistake == Some(Mistake::AcknowledgeWithoutSync) => Ok(()),
            None => {
                let mut outcome = sync.run();
                if outcome.is_err() && self.mistake == Some(Mistake::TrustAfterFailedSync) {
                    outcome = sync.run();
                }
                outcome.map_err(DiskError::into_io)
            }
        };
        if self.disk.struck().is_some() {
            return Ok(());
        }
        if self.late() {
            self.sync = Some((sync, Some(outcome)));
            return Ok(());
        }
        let said = outcome.as_ref().err().map(ToString::to_string);
        if let Err(fault) = self.log.synced(sync.token, outcome) {
            self.blame(&said.unwrap_or_else(|| fault.to_string()))?;
        }
        Ok(())
    }

    pub(super) fn work(&mut self) -> Outcome {
        if self.work.is_none() {
            self.work = self.log.take_work().map(WorkState::Out);
        }
        self.carry_out_work()
    }

    fn unlink(&mut self) -> Outcome {
        if self.work.is_none() {
            self.work = self.log.take_unlink().map(WorkState::Out);
        }
        self.carry_out_work()
    }

    fn carry_out_work(&mut self) -> Outcome {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        if self.late() {
            self.work = Some(work);
            return Ok(());
        }
        self.activity = "work";
        let outcome = match work {
            WorkState::Out(work) => work.run(),
            WorkState::Done(outcome) => outcome,
        };
        if self.disk.struck().is_some() {
            return Ok(());
        }
        if self.late() {
            self.work = Some(WorkState::Done(outcome));
            return Ok(());
        }
        match self.log.worked(outcome) {
            Err(fault) => self.blame(&fault),
            Ok(()) => Ok(()),
        }
    }

    /// Carries everything out; false when that cannot be, because the disk is full, failed or gone.
    pub(super) fn settle(&mut self) -> Result<bool, Violation> {
        let mut full = 0;
        for _ in 0..200 {
            let before = self.disk.count_of("ENOSPC");
            self.write()?;
            self.sync()?;
            self.work()?;
            if self.log.failure().is_some() || self.disk.struck().is_some() {
                return Ok(false);
            }
            full += u64::from(self.disk.count_of("ENOSPC") > before);
            if full > FULL_ROUNDS {
                return Ok(false);
            }
            if self.work.is_none() {
                self.work = self.log.take_work().map(WorkState::Out);
            }
            let out = !self.writes.is_empty() || self.sync.is_some() || self.work.is_some();
            if !out
                && !self.log.has_unwritten()
                && self.log.durable_offset() == self.model.end
                && self.log.recovery_point() == self.model.end
            {
                (self.written, self.durable) = (self.model.end, self.model.end);
                self.watermark();
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn checkpoint(&mut self) -> Outcome {
        if self.log.failure().is_some() {
            return Ok(());
        }
        let (point, start) = (self.log.recovery_point(), self.log.start_offset());
        let high_watermark = self.log.high_watermark();
        // Whatever comes of it: the first of the files may be there when a later one fails.
        self.recovery_checkpoint = self.recovery_checkpoint.max(point);
        match self.write_checkpoints(point, high_watermark, start) {
            Ok(()) => {
                self.recovery_checkpoint = point;
                self.forget_in_the_other()
            }
            Err(error) if error.is_full() => self.blame(&error),
            Err(error) => self.disk_failed(&error),
        }
    }

    /// The checkpoints of the directory that the log lies in.
    pub(super) fn write_checkpoints(
        &self,
        point: Offset,
        high_watermark: Offset,
        start: Offset,
    ) -> Result<(), DiskError> {
        self.write_offsets(name::RECOVERY_POINTS, point)
            .and_then(|()| self.write_offsets(name::HIGH_WATERMARKS, high_watermark))
            .and_then(|()| self.write_offsets(name::LOG_STARTS, start))
    }

    pub(super) fn write_offsets(&self, file: &str, offset: Offset) -> Result<(), DiskError> {
        self.dir.write_offsets(file, [(partition(), offset)])
    }

    // --------------------------------------------------------------------------------------------------- reading

    fn read(&mut self) -> Outcome {
        let (from, upper) = (self.some_offset(), self.some_boundary());
        let upper = if self.random.one_in(3) {
            upper
        } else {
            self.model.end
        };
        if self.log.failure().is_some() || from >= self.model.end || self.log.is_swapping() {
            return Ok(());
        }
        let bytes_max = self.random.pick(&[0, 100, 1000, 10_000, 1 << 20]);
        let whole_first = self.random.one_in(2);
        self.disk.set_cold(self.random.one_in(4));
        let bytes = check::read(&mut self.log, from, bytes_max, upper, whole_first);
        self.disk.set_cold(false);
        if self.disk.struck().is_some() {
            return Ok(());
        }
        match bytes {
            Ok(bytes) => check::answer(&self.model, (from, bytes_max, upper, whole_first), &bytes),
            Err(fault) => self.disk_failed(&fault),
        }
    }

    /// An offset that can be read.
    pub(super) fn some_offset(&mut self) -> Offset {
        let span = self.model.end.since(self.model.start);
        let at = self.random.below(span.unsigned_abs());
        self.model.start + i64::try_from(at).unwrap_or(0)
    }

    /// Where a batch ends, as a high watermark does.
    fn some_boundary(&mut self) -> Offset {
        let live = self.model.live();
        if live.is_empty() {
            return self.model.end;
        }
        let at = self.random.index(live.len());
        self.model.live()[at].next()
    }

    // -------------------------------------------------------------------------------------------- shortening it

    fn delete_records(&mut self) -> Outcome {
        let to = self.some_offset().min(self.log.high_watermark());
        let span = to.since(self.model.start);
        let to = self.model.start + span / 3;
        self.model.start = self.log.delete_records_before(to);
        require!(
            Retention,
            self.model.start == to,
            "records below {to} deleted, the log starts at {}",
            self.model.start
        );
        Ok(())
    }

    fn retain(&mut self) -> Outcome {
        let (now, start, size) = (self.now(), self.model.start, self.log.size());
        let rolled = self.log.segment_count();
        let answer = match self.log.apply_retention(now) {
            Ok(answer) => answer,
            Err(fault) => return self.blame(&fault),
        };
        let Some((count, reason)) = answer else {
            return Ok(());
        };
        self.detail(format!("{count} by {reason:?}"));
        reached("segments deleted");
        if count == rolled {
            reached("retention rolled the active segment");
        }
        self.model.start = self.log.start_offset();
        let settings = &self.profile.settings;
        let (bytes, ms) = match self.mistake {
            Some(Mistake::RetainLess) => (Some(1 << 30), Some(1 << 40)),
            _ => (settings.retention_bytes, settings.retention_ms),
        };
        let gone = self.model.from(start, self.model.start);
        let left = self.log.size();
        let due = match reason {
            crate::log::DeleteReason::Size => {
                bytes.is_some_and(|bytes| left >= bytes && size > bytes)
            }
            crate::log::DeleteReason::Time => ms.is_some_and(|ms| {
                gone.iter()
                    .all(|kept| now.0 - kept.header.max_timestamp.0 > ms)
            }),
            crate::log::DeleteReason::LogStart => self.model.start == start,
        };
        require!(
            Retention,
            due && self.model.start <= self.log.high_watermark(),
            "{reason:?} took {start}..{} with {left} of {size} bytes left",
            self.model.start
        );
        Ok(())
    }

    fn truncate(&mut self) -> Outcome {
        if self.model.live().is_empty() || !self.settle()? {
            return Ok(());
        }
        self.cleaning = None;
        // What a cleaning decided by, it decided by for good: it lies below the high watermark of then.
        let live: Vec<Offset> = self.model.live().iter().map(Kept::base).collect();
        let live = &live[live.partition_point(|base| *base < self.model.decided_to)..];
        if live.is_empty() {
            return Ok(());
        }
        let at = live[self.random.index(live.len())];
        let to = (at + i64::from(self.random.one_in(2))).max(self.model.start);
        let rest = self.model.from(to, self.model.end);
        let cut = rest.first().map_or(to, Kept::base);
        let Some(plan) = self.log.truncate_to(to, self.now()) else {
            return Ok(());
        };
        self.detail(format!("to {to}"));
        if !self.lower_checkpoint(plan.recovery_point())? {
            return Ok(());
        }
        self.activity = "truncation";
        let result = plan.run();
        // Whatever comes of it, what is cut was to go.
        (self.written, self.durable) = (self.written.min(cut), self.durable.min(cut));
        let outcome = self.log.truncated(result);
        if self.disk.struck().is_some() {
            return Ok(());
        }
        if let Err(error) = outcome {
            return self.blame(&error);
        }
        if self.log.segment_count() > 1 {
            reached("truncated to another segment");
        } else {
            reached("truncated inside a segment");
        }
        if cut < self.model.start {
            let start = self.model.start;
            self.model.start_anew(start);
        } else {
            self.model.cut(cut);
        }
        self.truncated()
    }

    fn start_anew(&mut self) -> Outcome {
        if !self.settle()? {
            return Ok(());
        }
        self.cleaning = None;
        let ahead = i64::try_from(self.random.below(50)).unwrap_or(0);
        let to = self
            .random
            .pick(&[self.model.end + ahead, self.model.start + ahead]);
        let Some(plan) = self.log.truncate_fully_and_start_at(to, self.now()) else {
            return Ok(());
        };
        self.detail(format!("at {to}"));
        if !self.lower_checkpoint(plan.recovery_point())? {
            return Ok(());
        }
        self.activity = "truncation";
        let result = plan.run();
        (self.written, self.durable) = (Offset::ZERO, Offset::ZERO);
        self.anew = Some(to);
        let outcome = self.log.truncated(result);
        if self.disk.struck().is_some() {
            return Ok(());
        }
        if let Err(error) = outcome {
            return self.blame(&error);
        }
        reached("started anew at another offset");
        self.anew = None;
        self.model.start_anew(to);
        self.truncated()
    }

    /// ORDER: the checkpoint comes down before the log is cut, as a broker must do it. False when it could not.
    fn lower_checkpoint(&mut self, point: Offset) -> Result<bool, Violation> {
        if point >= self.recovery_checkpoint {
            return Ok(true);
        }
        // Also what the directory that the log left says of it: it may come back there.
        let lowered = self
            .other
            .write_offsets(name::RECOVERY_POINTS, [])
            .and_then(|()| self.write_offsets(name::RECOVERY_POINTS, point));
        match lowered {
            Ok(()) => {
                self.recovery_checkpoint = point;
                Ok(true)
            }
            Err(error) => {
                self.disk_failed(&error)?;
                Ok(false)
            }
        }
    }

    fn truncated(&mut self) -> Outcome {
        let end = self.log.end_offset();
        require!(
            Offsets,
            end == self.model.end && self.log.start_offset() == self.model.start,
            "{}..{end} is left, not {}..{}",
            self.log.start_offset(),
            self.model.start,
            self.model.end
        );
        (self.written, self.durable) = (end, end);
        self.model.opened = end;
        self.restarts = marks::count(RESTARTED);
        self.log.set_high_watermark(end);
        self.quietly(|world| check::all(&mut world.log, &world.model))
    }
}

/// The partition all of this is about.
pub(super) fn partition() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

/// The time of step 0.
pub(super) const EPOCH: Timestamp = Timestamp(1_700_000_000_000);
/// Events that a disk stays full for, at most: longer shows nothing new.
const FULL_MAX: u64 = 20;
/// Rounds in which a full disk lets nothing through before it is believed.
const FULL_ROUNDS: u64 = 4;
/// Events that a failure shows.
const LAST: usize = 40;
