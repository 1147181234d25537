//! Random operations on a log, with crashes, beside a model; one seed is one history.

use super::*;
use crate::disk::sim::{Fault, Operation};
use crate::segment::name::{Fate, parse_file};

/// What must be in the log: batches as they were appended, oldest first.
struct Model {
    batches: Vec<ModelBatch>,
    start: Offset,
    epoch: LeaderEpoch,
}

struct ModelBatch {
    base: Offset,
    next: Offset,
    epoch: LeaderEpoch,
    producer: Option<(ProducerId, Sequence)>,
    bytes: Bytes,
}

struct World {
    random: u64,
    seed: u64,
    disk: Disk,
    dir: LogDir,
    settings: Arc<LogSettings>,
    log: Log,
    model: Model,
    /// As a broker would: written now and then, so mostly old.
    checkpoint: Offset,
    clock: i64,
    /// What an acknowledgement was given for: synced, or (when the process dies) written.
    durable: Offset,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = Disk::new(seed);
        let dir = LogDir::simulated(&disk);
        let mut random = seed ^ 0x5DEE_CE66;
        let settings = Arc::new(LogSettings {
            segment_bytes: [2 << 10, 8 << 10, 40 << 10][pick(&mut random, 3)],
            index_interval_bytes: [0, 200, 1000][pick(&mut random, 3)],
            segment_ms: [50, 100_000][pick(&mut random, 2)],
            retention_ms: None,
            retention_bytes: [None, Some(30 << 10)][pick(&mut random, 2)],
            ..LogSettings::default()
        });
        let log = Log::create(&dir, &partition(), settings.clone(), NOW).unwrap();
        let model = Model {
            batches: Vec::new(),
            start: Offset(0),
            epoch: LeaderEpoch(0),
        };
        let (checkpoint, durable) = (Offset(0), Offset(0));
        Self {
            random,
            seed,
            disk,
            dir,
            settings,
            log,
            model,
            checkpoint,
            clock: 0,
            durable,
        }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.clock += 1;
            match pick(&mut self.random, 100) {
                0..40 => self.append(),
                40..55 => self.write(),
                55..62 => self.sync(),
                62..68 => self.work(),
                68..86 => self.read(),
                86..88 => {
                    let keep = pick(&mut self.random, 10_000);
                    self.log.trim_tail(keep);
                }
                88 => self.log.release_idle(),
                89..91 => self.look_up_a_time(),
                91 => self.truncate(),
                92..94 => self.retain(),
                94 => self.close_and_open(),
                95 => self.kill(),
                96 | 97 => self.crash(),
                98 => self.fail_something(),
                _ => self.checkpoint = self.log.recovery_point(),
            }
            self.note_durable();
        }
        self.crash();
    }

    fn now(&self) -> Timestamp {
        Timestamp(NOW.0 + self.clock)
    }

    fn append(&mut self) {
        if pick(&mut self.random, 12) == 0 {
            self.model.epoch = LeaderEpoch(self.model.epoch.0 + 1);
        }
        let size = match pick(&mut self.random, 10) {
            0 => 1200,
            1 if self.settings.segment_bytes > 4000 => 6000,
            _ => 20 + pick(&mut self.random, 300),
        };
        let count = 1 + pick(&mut self.random, 4);
        let mut options = BatchOptions::default();
        if pick(&mut self.random, 2) == 0 {
            let producer = ProducerId(1 + pick_i64(&mut self.random, 3));
            let last = self.last_sequence(producer);
            options = produced_by(producer.0, 0, last.0 + 1);
        }
        let timestamp = self.now().0 - pick_i64(&mut self.random, 20);
        let mut batch = batch_with(options, count, size, timestamp);
        let now = self.now();
        match self
            .log
            .append([batch.clone()], Origin::Client, self.model.epoch, now)
        {
            Ok(appended) => {
                assert!(!appended.duplicate);
                batch.place(appended.first_offset, self.model.epoch);
                let header = batch.header();
                let producer = header
                    .has_producer()
                    .then(|| (header.producer_id, header.last_sequence()));
                self.model.batches.push(ModelBatch {
                    base: header.base_offset,
                    next: header.next_offset(),
                    epoch: self.model.epoch,
                    producer,
                    bytes: batch.to_bytes(),
                });
            }
            Err(AppendError::Failed(_)) => self.crash(),
            Err(AppendError::Roll(_)) => {}
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
        assert_eq!(self.log.end_offset(), self.end());
        let end = self.log.end_offset();
        self.log.set_high_watermark(end);
    }

    /// Hands out what there is, confirms it in a random order.
    fn write(&mut self) {
        let mut out = Vec::new();
        while let Some(write) = self.log.take_write() {
            out.push(write);
        }
        while !out.is_empty() {
            let write = out.swap_remove(pick(&mut self.random, out.len()));
            let outcome = write.run().map_err(DiskError::into_io);
            let _ = self.log.written(write.token, outcome);
        }
        if self.log.must_sync() {
            self.sync();
        }
    }

    fn sync(&mut self) {
        if let Some(sync) = self.log.take_sync() {
            let outcome = sync.run().map_err(DiskError::into_io);
            let _ = self.log.synced(sync.token, outcome);
        }
    }

    fn work(&mut self) {
        if let Some(work) = self.log.take_work() {
            let _ = self.log.worked(work.run());
        } else if let Some(unlink) = self.log.take_unlink() {
            let _ = self.log.worked(unlink.run());
        }
    }

    fn read(&mut self) {
        if self.log.failure().is_some() {
            return self.crash();
        }
        let span = self.end().since(self.model.start);
        if span == 0 {
            return;
        }
        let from = self.model.start + pick_i64(&mut self.random, span);
        // The high watermark lies between batches.
        let upper = match pick(&mut self.random, 3) {
            0 => self.model.batches[pick(&mut self.random, self.model.batches.len())].next,
            _ => self.end(),
        };
        let bytes_max = [0, 100, 1000, 10_000, 1 << 20][pick(&mut self.random, 5)];
        let whole_first = pick(&mut self.random, 2) == 0;
        self.disk.set_cold(pick(&mut self.random, 4) == 0);
        let bytes = read(&mut self.log, from, bytes_max, upper, whole_first);
        self.disk.set_cold(false);
        self.check(from, bytes_max, upper, whole_first, &bytes);
        // A sequential reader from there.
        if pick(&mut self.random, 3) == 0 {
            self.read_to_the_end(from, 2000);
        }
    }

    fn check(
        &self,
        from: Offset,
        bytes_max: usize,
        upper: Offset,
        whole_first: bool,
        bytes: &[u8],
    ) {
        let what = format!(
            "seed {} read({from}, {bytes_max}, {upper}, {whole_first}) = {} bytes",
            self.seed,
            bytes.len()
        );
        let first = self
            .model
            .batches
            .partition_point(|batch| batch.next <= from);
        let mut expected = Vec::new();
        for batch in &self.model.batches[first..] {
            if batch.next > upper {
                break;
            }
            expected.extend_from_slice(&batch.bytes);
        }
        let first_size = self
            .model
            .batches
            .get(first)
            .map_or(0, |batch| batch.bytes.len());
        assert!(expected.starts_with(bytes), "{what}: not what was appended");
        let limit = if whole_first {
            bytes_max.max(first_size)
        } else {
            bytes_max
        };
        assert!(bytes.len() <= limit, "{what}: too much");
        if whole_first && !expected.is_empty() {
            assert!(
                bytes.len() >= first_size,
                "{what}: not the first batch whole"
            );
        }
    }

    fn read_to_the_end(&mut self, mut from: Offset, bytes_max: usize) {
        let end = self.end();
        while from < end {
            let bytes = read(&mut self.log, from, bytes_max, end, true);
            self.check(from, bytes_max, end, true, &bytes);
            let last = batches(bytes)
                .pop()
                .unwrap_or_else(|| panic!("seed {}: stuck", self.seed));
            from = last.header().next_offset();
        }
    }

    fn look_up_a_time(&mut self) {
        if self.log.failure().is_some() {
            return self.crash();
        }
        let timestamp = Timestamp(NOW.0 + pick_i64(&mut self.random, 1000) - 10);
        let end = self.end();
        let found = match self.log.offset_for_timestamp(timestamp, end) {
            Lookup::Answer(answer) => answer,
            Lookup::Scan(job) => job.run(Wait::Yes).unwrap(),
        };
        let start = self.model.start;
        let expected = self.model.batches.iter().find_map(|batch| {
            let batch = batches(batch.bytes.to_vec()).remove(0);
            let payload = batch.open(1 << 20).unwrap();
            let mut records = payload.records().map(Result::unwrap);
            records
                .find(|r| r.timestamp >= timestamp && r.offset >= start)
                .map(|r| r.offset)
        });
        assert_eq!(
            found.map(|found| found.offset),
            expected,
            "seed {} {timestamp}",
            self.seed
        );
    }

    fn settle(&mut self) -> bool {
        for _ in 0..100 {
            self.write();
            self.sync();
            self.work();
        }
        self.log.failure().is_none() && !self.log.has_unwritten()
    }

    fn truncate(&mut self) {
        if !self.settle() || self.model.batches.is_empty() {
            return;
        }
        self.note_durable();
        let at = pick(&mut self.random, self.model.batches.len());
        let to = self.model.batches[at].base + pick_i64(&mut self.random, 2);
        let to = to.max(self.model.start);
        if self.model.batches[at].base < self.model.start {
            return;
        }
        let Some(plan) = self.log.truncate_to(to, self.now()) else {
            return;
        };
        // ORDER: the checkpoint comes down before the log is cut, as a broker must do it.
        self.checkpoint = self.checkpoint.min(self.model.batches[at].base);
        if self.log.truncated(plan.run()).is_err() {
            // A fault on the way: any end between the two is right.
            self.durable = self.durable.min(self.model.batches[at].base);
            return self.crash();
        }
        self.model.batches.retain(|batch| batch.next <= to);
        self.durable = self.end();
        self.after_opening(self.end());
    }

    fn retain(&mut self) {
        if pick(&mut self.random, 3) == 0 {
            let span = self.end().since(self.model.start);
            let to = self.model.start + pick_i64(&mut self.random, span / 3 + 1);
            self.model.start = self.log.delete_records_before(to);
        }
        let now = self.now();
        let _ = self.log.apply_retention(now);
        self.forget_before(self.log.start_offset());
    }

    fn close_and_open(&mut self) {
        if !self.settle() {
            return;
        }
        let Some(plan) = self.log.close_plan() else {
            return;
        };
        if plan.run().is_err() {
            return self.crash();
        }
        self.checkpoint = plan.recovery_point;
        self.durable = self.end();
        // A power cut right after must not matter: the marker is written last.
        self.disk.crash();
        self.open(true);
        assert_eq!(self.log.end_offset(), self.end(), "seed {}", self.seed);
        self.after_opening(self.end());
    }

    /// The process dies: what was written stays. Not after a failed sync: then the page cache may hold what the disk will
    /// never get, and only a new look at the disk is honest.
    fn kill(&mut self) {
        if self.log.failure().is_some() {
            return self.crash();
        }
        let floor = self.log.written_offset();
        self.disk.kill();
        self.open(false);
        self.after_opening(floor);
    }

    /// The machine dies: what was synced stays.
    fn crash(&mut self) {
        self.note_durable();
        self.disk.crash();
        self.open(false);
        self.after_opening(self.durable);
    }

    fn fail_something(&mut self) {
        let on = [Operation::Write, Operation::Sync, Operation::Write][pick(&mut self.random, 3)];
        let full = pick(&mut self.random, 2) == 0 && on == Operation::Write;
        self.disk.inject(Fault {
            on,
            path_contains: ".log".to_owned(),
            after: u32::try_from(pick(&mut self.random, 3)).unwrap(),
            error: if full {
                std::io::ErrorKind::StorageFull
            } else {
                std::io::ErrorKind::Other
            },
        });
    }

    fn open(&mut self, clean_shutdown: bool) {
        let open = Open {
            recovery_point: self.checkpoint,
            log_start_offset: self.model.start,
            high_watermark: Offset(0),
            clean_shutdown,
            now: self.now(),
        };
        let opened = Log::open(
            &self.dir,
            &partition(),
            self.settings.clone(),
            &open,
            &mut |_| {},
        );
        let (log, _) = opened.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        self.log = log;
    }

    /// Nothing below `floor` is lost, nothing that was not appended is there, all books agree.
    fn after_opening(&mut self, floor: Offset) {
        let end = self.log.end_offset();
        assert!(
            end >= floor,
            "seed {}: {end} after the crash, {floor} was safe",
            self.seed
        );
        let whole = self.model.batches.iter().any(|b| b.next == end) || end == self.model.start;
        assert!(
            whole,
            "seed {}: the end {end} is inside a batch or beyond the model",
            self.seed
        );
        self.model.batches.retain(|batch| batch.next <= end);
        self.durable = end;
        self.log.set_high_watermark(end);
        self.forget_before(self.log.start_offset());
        self.read_to_the_end(self.model.start, 3000);
        check_indexes(&self.log);
        for producer in (1..=3).map(ProducerId) {
            let known = self.log.producers().state(producer);
            let known = known.map_or(
                Sequence::NONE,
                crate::producer::ProducerState::last_sequence,
            );
            let expected = self.last_sequence(producer);
            let mut newest = self.model.batches.iter().rev();
            let newest = newest.find(|batch| batch.producer.is_some_and(|(id, _)| id == producer));
            if known.is_none() && newest.is_some_and(|batch| batch.next <= self.model.start) {
                // Its records are gone, and the snapshot may have been lost with them.
                continue;
            }
            assert_eq!(known, expected, "seed {} producer {producer}", self.seed);
        }
        for batch in self
            .model
            .batches
            .iter()
            .filter(|b| b.next > self.model.start)
        {
            let epoch = self.log.epochs().epoch_of(batch.base.max(self.model.start));
            assert_eq!(
                epoch,
                Some(batch.epoch),
                "seed {} at {} of {}..{}: {:?}",
                self.seed,
                batch.base,
                self.model.start,
                self.end(),
                self.log.epochs()
            );
        }
        assert_eq!(self.log.size(), {
            let files = self.dir.list("orders-0").unwrap();
            files
                .iter()
                .filter(|f| matches!(parse_file(&f.name), Some((_, Content::Log, Fate::Live))))
                .map(|file| file.size)
                .sum::<u64>()
        });
    }

    fn note_durable(&mut self) {
        if self.log.failure().is_none() {
            let durable = self.log.durable_offset();
            assert!(
                durable >= self.durable,
                "seed {}: durable went back",
                self.seed
            );
            assert!(self.log.recovery_point() <= durable);
            self.durable = durable;
        }
    }

    /// Producer states outlive the records that retention took, so the model keeps those batches' producers.
    fn forget_before(&mut self, start: Offset) {
        self.model.start = start;
    }

    fn last_sequence(&self, producer: ProducerId) -> Sequence {
        let mut newest = self
            .model
            .batches
            .iter()
            .rev()
            .filter_map(|batch| batch.producer);
        newest
            .find(|(id, _)| *id == producer)
            .map_or(Sequence::NONE, |(_, sequence)| sequence)
    }

    fn end(&self) -> Offset {
        let start = self.model.start;
        self.model
            .batches
            .last()
            .map_or(start, |batch| batch.next.max(start))
    }
}

fn pick_i64(random: &mut u64, n: i64) -> i64 {
    i64::try_from(pick(random, usize::try_from(n).unwrap())).unwrap()
}

fn pick(random: &mut u64, n: usize) -> usize {
    *random = random
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    usize::try_from((*random >> 33) % n as u64).unwrap()
}

#[test]
fn no_history_loses_what_was_durable_or_invents_anything() {
    let seeds = std::env::var("LOG_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(300_u64);
    let first = std::env::var("LOG_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0_u64);
    for seed in first..first + seeds {
        World::new(seed).run(250);
    }
}
