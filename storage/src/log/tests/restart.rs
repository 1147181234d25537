//! What `cargo sim` found in recovery, each as the few steps that it needs.

use super::*;
use crate::batch::EndTransactionMarker;
use crate::disk::sim::{Fault, Operation};

const LOG: &str = "orders-0/00000000000000000000.log";

struct Bench {
    disk: Disk,
    dir: LogDir,
    log: Log,
}

impl Bench {
    fn new(settings: Arc<LogSettings>) -> Self {
        let disk = Disk::new(7);
        let dir = LogDir::simulated(&disk);
        let log = Log::create(&dir, &partition(), settings, NOW).unwrap();
        Self { disk, dir, log }
    }

    fn append(&mut self, batch: Batch, origin: Origin) -> Appended {
        self.log
            .append([batch], origin, LeaderEpoch(3), NOW)
            .unwrap()
    }

    fn open(&mut self, open: &Open) -> Recovered {
        let settings = self.log.settings().clone();
        let opened = Log::open(&self.dir, &partition(), settings, open, &mut |_| {});
        let (log, recovered) = opened.unwrap();
        self.log = log;
        let end = self.log.end_offset();
        self.log.set_high_watermark(end);
        recovered
    }

    fn close(&mut self) -> Open {
        flush(&mut self.log);
        let plan = self.log.close_plan().unwrap();
        plan.run().unwrap();
        Open {
            clean_shutdown: true,
            ..unclean(plan.recovery_point)
        }
    }
}

fn unclean(recovery_point: Offset) -> Open {
    Open {
        recovery_point,
        log_start_offset: Offset::ZERO,
        high_watermark: Offset::ZERO,
        clean_shutdown: false,
        now: NOW,
    }
}

fn transactional(producer: i64, sequence: i32) -> Batch {
    let options = BatchOptions {
        transactional: true,
        ..produced_by(producer, 0, sequence)
    };
    batch_with(options, 1, 2000, NOW.0)
}

fn abort(producer: i64) -> Batch {
    let marker = EndTransactionMarker {
        commit: false,
        coordinator_epoch: 0,
    };
    marker
        .batch(ProducerId(producer), ProducerEpoch(0), NOW)
        .unwrap()
}

#[test]
fn after_a_failed_sync_recovery_believes_the_disk_and_not_the_page_cache() {
    let mut bench = Bench::new(Arc::default());
    bench.append(batch(1, 3000, 1), Origin::Client);
    flush(&mut bench.log);
    bench.append(batch(1, 3000, 2), Origin::Client);
    let write = bench.log.take_write().unwrap();
    write.run().unwrap();
    bench.log.written(write.token, Ok(())).unwrap();
    bench.disk.inject(Fault {
        on: Operation::Sync,
        path_contains: LOG.to_owned(),
        after: 0,
        error: std::io::ErrorKind::Other,
    });
    let sync = bench.log.take_sync().unwrap();
    let outcome = sync.run().map_err(DiskError::into_io);
    assert!(bench.log.synced(sync.token, outcome).is_err());
    // The process is killed, the machine stays: the page cache still shows both batches.
    bench.disk.kill();
    bench.open(&unclean(Offset(1)));
    let end = bench.log.end_offset();
    bench.disk.crash();
    bench.open(&unclean(Offset(1)));
    assert_eq!(bench.log.end_offset(), end);
}

#[test]
fn aborted_transactions_survive_a_clean_stop_and_a_power_cut() {
    for seed in 0..8 {
        let mut bench = Bench::new(Arc::default());
        bench.disk.reseed(seed);
        bench.append(transactional(9, 0), Origin::Client);
        bench.append(abort(9), Origin::Coordinator);
        let open = bench.close();
        bench.disk.crash();
        bench.open(&open);
        let aborted = bench.log.aborted_transactions(Offset(0), Offset(2));
        assert_eq!(aborted.run().unwrap().len(), 1, "seed {seed}");
    }
}

#[test]
fn a_flipped_bit_in_the_index_costs_time_and_nothing_else() {
    for bit in 0..64 {
        let mut bench = Bench::new(Arc::new(LogSettings {
            index_interval_bytes: 100,
            ..LogSettings::default()
        }));
        for at in 0..20 {
            bench.append(batch(1, 150, at), Origin::Client);
        }
        let open = bench.close();
        bench.disk.kill();
        let (byte, index) = (8 * 5 + bit / 8, "orders-0/00000000000000000000.index");
        bench.disk.flip(index, byte, u8::try_from(bit % 8).unwrap());
        bench.open(&open);
        for offset in (0..20).map(Offset) {
            let bytes = read(&mut bench.log, offset, 400, Offset(20), true);
            assert_eq!(batches(bytes)[0].header().base_offset, offset, "bit {bit}");
        }
    }
}

#[test]
fn a_transaction_is_remembered_when_retention_took_its_beginning() {
    let mut bench = Bench::new(small());
    // The transaction begins in the first segment; its later batches roll the log.
    for sequence in 0..8 {
        bench.append(transactional(9, sequence), Origin::Client);
    }
    while bench.log.has_unwritten() {
        if let Some(write) = bench.log.take_write() {
            write.run().unwrap();
            bench.log.written(write.token, Ok(())).unwrap();
        }
        if let Some(sync) = bench.log.take_sync() {
            sync.run().unwrap();
            bench.log.synced(sync.token, Ok(())).unwrap();
        }
    }
    // Killed before the snapshot of the roll was written.
    bench.disk.kill();
    bench.open(&unclean(Offset::ZERO));
    let end = bench.log.end_offset();
    assert_eq!(bench.log.delete_records_before(end), end);
    bench.log.apply_retention(NOW).unwrap().unwrap();
    flush(&mut bench.log);
    bench.disk.kill();
    bench.open(&unclean(end));
    let state = bench.log.producers().state(ProducerId(9)).unwrap();
    assert_eq!(state.transaction(), Some(Offset(0)));
}

#[test]
fn records_that_a_crash_brings_back_have_their_epochs() {
    let mut bench = Bench::new(Arc::default());
    for epoch in 0..4 {
        let appended = bench
            .log
            .append([batch(1, 50, 1)], Origin::Client, LeaderEpoch(epoch), NOW);
        assert_eq!(appended.unwrap().first_offset, Offset(i64::from(epoch)));
    }
    flush(&mut bench.log);
    bench.log.set_high_watermark(Offset(4));
    assert_eq!(bench.log.delete_records_before(Offset(3)), Offset(3));
    // The log's start is not in its checkpoint yet.
    let open = bench.close();
    bench.disk.kill();
    bench.open(&open);
    assert_eq!(bench.log.start_offset(), Offset(0));
    for epoch in 0..4 {
        let found = bench.log.epochs().epoch_of(Offset(i64::from(epoch)));
        assert_eq!(found, Some(LeaderEpoch(epoch)));
    }
}

#[test]
fn a_recovery_point_beyond_the_end_vouches_for_nothing() {
    let mut bench = Bench::new(small());
    bench.append(batch(1, 5000, 1), Origin::Client);
    flush(&mut bench.log);
    // A roll whose segment holds nothing: the offsets before it exist only in the process that is killed.
    bench.append(batch(1, 2000, 2), Origin::Client);
    bench.append(batch(1, 5000, 3), Origin::Client);
    bench.disk.kill();
    let recovered = bench.open(&unclean(Offset(40)));
    assert_eq!(bench.log.end_offset(), Offset(1));
    assert_eq!(recovered.segments, 1);
    let note = recovered.notes.last().unwrap();
    assert!(note.contains("beyond the end"), "{note}");
}

#[test]
fn a_snapshot_that_cannot_be_read_is_an_error_of_the_disk() {
    let mut bench = Bench::new(Arc::default());
    bench.append(transactional(9, 0), Origin::Client);
    let open = bench.close();
    bench.disk.kill();
    bench.disk.inject(Fault {
        on: Operation::Read,
        path_contains: ".snapshot".to_owned(),
        after: 0,
        error: std::io::ErrorKind::Other,
    });
    let settings = bench.log.settings().clone();
    let opened = Log::open(&bench.dir, &partition(), settings, &open, &mut |_| {});
    let error = opened.err().map(|error| error.to_string()).unwrap();
    assert!(error.contains(".snapshot"), "{error}");
    bench.open(&open);
    assert!(bench.log.producers().state(ProducerId(9)).is_some());
}

#[test]
fn a_snapshot_that_is_only_in_the_page_cache_is_brought_to_the_disk_by_recovery() {
    let mut bench = Bench::new(small());
    let mut sequence = 0;
    while bench.log.segment_count() == 1 {
        let options = produced_by(1, 0, sequence);
        bench.append(batch_with(options, 1, 2000, NOW.0), Origin::Client);
        sequence += 1;
    }
    let snapshot = bench.log.producers().snapshot().encode();
    while let Some(write) = bench.log.take_write() {
        let outcome = write.run().map_err(DiskError::into_io);
        bench.log.written(write.token, outcome).unwrap();
    }
    let base = bench.log.segments[1].base;
    let name = bench.log.name(base, Content::Snapshot);
    // Written, and the process ends before the sync.
    let file = bench.dir.open_file(&name, Mode::Replace).unwrap();
    let restored = crate::producer::Snapshot::decode(&snapshot).unwrap();
    assert!(!restored.entries.is_empty());
    bench.disk.kill();
    drop(file);
    bench.open(&unclean(Offset::ZERO));
    let found = bench.dir.read_file(&name).unwrap();
    let file = bench.dir.open_file(&name, Mode::Replace).unwrap();
    file.write_at(&[found.clone().into()], 0).unwrap();
    bench.disk.kill();
    bench.open(&unclean(Offset::ZERO));
    bench.disk.crash();
    assert_eq!(bench.dir.read_file(&name).unwrap(), found);
}

#[test]
fn a_truncation_inside_a_batch_writes_no_file_that_the_checkpoint_vouches_for() {
    let mut bench = Bench::new(small());
    bench.append(transactional(1, 0), Origin::Client);
    bench.append(abort(1), Origin::Coordinator);
    while bench.log.segment_count() < 3 {
        bench.append(batch(3, 2000, NOW.0), Origin::Client);
    }
    flush(&mut bench.log);
    let end = bench.log.end_offset();
    bench.log.set_high_watermark(end);
    let indexed = bench.log.name(Offset::ZERO, Content::TxnIndex);
    assert!(bench.dir.read_file(&indexed).is_ok());
    bench.disk.inject(Fault {
        on: Operation::Sync,
        path_contains: indexed.clone(),
        after: 0,
        error: std::io::ErrorKind::Other,
    });
    // Inside the last batch: the log ends below the offset then.
    let plan = bench.log.truncate_to(end - 1, NOW).unwrap();
    let log = plan.run();
    let log = log.unwrap_or_else(|error| panic!("{indexed} is not to be touched: {error}"));
    assert_eq!(log.end_offset(), end - 3);
}
