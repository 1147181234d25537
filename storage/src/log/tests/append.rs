use super::*;
use crate::batch::EndTransactionMarker;
use crate::disk::sim::{Fault, Operation};
use crate::producer::ProducerError;

fn new_log(settings: Arc<LogSettings>) -> (Disk, LogDir, Log) {
    let disk = Disk::new(7);
    let dir = LogDir::simulated(&disk);
    let log = Log::create(&dir, &partition(), settings, NOW).unwrap();
    (disk, dir, log)
}

fn append(log: &mut Log, batch: Batch) -> Result<Appended, AppendError> {
    log.append([batch], Origin::Client, LeaderEpoch(3), NOW)
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

#[test]
fn what_is_appended_together_is_one_write() {
    let (_, _, mut log) = new_log(Arc::default());
    for i in 0..10 {
        let appended = append(&mut log, batch(2, 100, i)).unwrap();
        assert_eq!(appended.first_offset, Offset(2 * i));
        assert_eq!(appended.last_offset, Offset(2 * i + 1));
    }
    let write = log.take_write().unwrap();
    assert_eq!((write.position, write.parts.len()), (0, 1));
    assert!(log.take_write().is_none());
    assert_eq!(log.written_offset(), Offset(0));
    write.run().unwrap();
    log.written(write.token, Ok(())).unwrap();
    assert_eq!(log.written_offset(), Offset(20));
    assert_eq!(log.durable_offset(), Offset(0));
}

#[test]
fn a_large_body_is_kept_where_it_was_received() {
    let (_, _, mut log) = new_log(Arc::default());
    let large = batch(1, 100_000, 1);
    let body = large.body();
    append(&mut log, large).unwrap();
    let write = log.take_write().unwrap();
    assert_eq!(write.parts.len(), 2);
    assert_eq!(write.parts[1].as_ptr(), body.as_ptr());
}

#[test]
fn writes_confirmed_out_of_order_wait_for_the_gap() {
    let (_, _, mut log) = new_log(Arc::default());
    append(&mut log, batch(1, 10, 1)).unwrap();
    let first = log.take_write().unwrap();
    append(&mut log, batch(1, 10, 2)).unwrap();
    let second = log.take_write().unwrap();
    second.run().unwrap();
    log.written(second.token, Ok(())).unwrap();
    assert_eq!(log.written_offset(), Offset(0));
    first.run().unwrap();
    log.written(first.token, Ok(())).unwrap();
    assert_eq!(log.written_offset(), Offset(2));
}

#[test]
fn a_full_disk_loses_nothing_and_passes() {
    let (disk, _, mut log) = new_log(Arc::default());
    append(&mut log, batch(1, 1000, 1)).unwrap();
    flush(&mut log);
    disk.set_capacity(1500);
    append(&mut log, batch(1, 1000, 2)).unwrap();
    let write = log.take_write().unwrap();
    let outcome = write.run().map_err(DiskError::into_io);
    let fault = log.written(write.token, outcome).unwrap_err();
    assert!(matches!(fault, WriteFault::Full(_)), "{fault}");
    assert_eq!(log.written_offset(), Offset(1));
    disk.set_capacity(u64::MAX);
    flush(&mut log);
    assert_eq!(
        batches(read(&mut log, Offset(1), 1 << 20, Offset(2), true)).len(),
        1
    );
}

#[test]
fn file_work_waits_for_room_and_deletions_do_not() {
    let settings = Arc::new(LogSettings {
        retention_bytes: Some(20 << 10),
        ..(*small()).clone()
    });
    let (disk, dir, mut log) = new_log(settings);
    for n in 0..6 {
        append(&mut log, batch(4, 7 << 10, n)).unwrap();
        flush(&mut log);
    }
    append(&mut log, batch(4, 7 << 10, 6)).unwrap();
    while log.has_unwritten() {
        if let Some(sync) = log.take_sync() {
            let outcome = sync.run().map_err(DiskError::into_io);
            log.synced(sync.token, outcome).unwrap();
        }
        while let Some(write) = log.take_write() {
            log.written(write.token, write.run().map_err(DiskError::into_io))
                .unwrap();
        }
    }
    let (end, point) = (log.end_offset(), log.recovery_point());
    log.set_high_watermark(end);
    let (_, reason) = log.apply_retention(NOW).unwrap().expect("segments are due");
    assert_eq!(reason, DeleteReason::Size);
    let used = {
        let (free, total) = dir.space().unwrap();
        total - free
    };
    disk.set_capacity(used);
    // The indexes of the rolled segment find no room, the deleted segments are renamed nevertheless.
    let work = log.take_work().expect("a roll and a deletion are due");
    let fault = log.worked(work.run()).unwrap_err();
    assert!(matches!(fault, WriteFault::Full(_)), "{fault}");
    assert_eq!(log.failure(), None);
    let names = |dir: &LogDir| -> Vec<String> {
        let entries = dir.list("orders-0").unwrap().into_iter();
        entries.map(|entry| entry.name).collect()
    };
    let deleted = |names: &[String]| names.iter().filter(|n| n.ends_with(".deleted")).count();
    assert!(deleted(&names(&dir)) > 0, "{:?}", names(&dir));
    assert!(log.recovery_point() <= end && log.recovery_point() >= point);
    let held = log.recovery_point();
    assert!(held < end, "what is not written holds the recovery point");
    let unlink = log.take_unlink().expect("files to unlink");
    let fault = log.worked(unlink.run()).unwrap_err();
    assert!(matches!(fault, WriteFault::Full(_)), "{fault}");
    assert_eq!(deleted(&names(&dir)), 0);
    // With room again everything is done, and nothing is missing after a crash.
    disk.set_capacity(u64::MAX);
    flush(&mut log);
    assert_eq!(log.recovery_point(), end);
    let start = log.start_offset();
    disk.crash();
    let (log, recovered) = Log::open(
        &dir,
        &partition(),
        small(),
        &Open {
            log_start_offset: start,
            ..unclean(end)
        },
        &mut |_| {},
    )
    .unwrap();
    assert_eq!((log.start_offset(), log.end_offset()), (start, end));
    assert_eq!(recovered.cut, None);
    assert_eq!(recovered.notes, Vec::<String>::new());
}

#[test]
fn a_failed_sync_takes_the_log_out_of_service() {
    let (disk, _, mut log) = new_log(Arc::default());
    append(&mut log, batch(1, 1000, 1)).unwrap();
    let write = log.take_write().unwrap();
    write.run().unwrap();
    log.written(write.token, Ok(())).unwrap();
    disk.inject(Fault {
        on: Operation::Sync,
        path_contains: ".log".to_owned(),
        after: 0,
        error: std::io::ErrorKind::Other,
    });
    let sync = log.take_sync().unwrap();
    let outcome = sync.run().map_err(DiskError::into_io);
    assert!(log.synced(sync.token, outcome).is_err());
    assert_eq!(log.durable_offset(), Offset(0));
    assert!(matches!(
        append(&mut log, batch(1, 10, 2)),
        Err(AppendError::Failed(_))
    ));
    assert!(log.take_sync().is_none());
    assert!(matches!(
        log.read(Offset(0), 10, Offset(1), true),
        Err(ReadError::Failed(_))
    ));
}

#[test]
fn a_roll_holds_back_writes_until_the_segment_before_is_durable() {
    let (_, _, mut log) = new_log(small());
    append(&mut log, batch(1, 6000, 1)).unwrap();
    append(&mut log, batch(1, 6000, 2)).unwrap();
    assert_eq!(log.segment_count(), 2);
    let write = log.take_write().unwrap();
    assert!(log.take_write().is_none());
    write.run().unwrap();
    log.written(write.token, Ok(())).unwrap();
    assert!(log.must_sync());
    assert!(log.take_write().is_none());
    let sync = log.take_sync().unwrap();
    assert!(
        sync.folder.is_some(),
        "the new file's name must be made durable"
    );
    sync.run().unwrap();
    log.synced(sync.token, Ok(())).unwrap();
    assert!(!log.must_sync());
    assert!(log.take_write().is_some());
    // Data is durable, but the sealed segment's indexes and the snapshot are not written yet.
    assert_eq!(log.durable_offset(), Offset(1));
    assert_eq!(log.recovery_point(), Offset(0));
    let work = log.take_work().unwrap();
    log.worked(work.run()).unwrap();
    assert_eq!(log.recovery_point(), Offset(1));
}

#[test]
fn a_segment_rolls_at_its_limits() {
    let limits = [
        LogSettings {
            segment_bytes: 1000,
            ..LogSettings::default()
        },
        LogSettings {
            segment_ms: 5,
            ..LogSettings::default()
        },
        LogSettings {
            segment_index_bytes: 24,
            index_interval_bytes: 0,
            ..LogSettings::default()
        },
    ];
    for settings in limits {
        let (_, _, mut log) = new_log(Arc::new(settings.clone()));
        append(&mut log, batch(1, 400, 10)).unwrap();
        append(&mut log, batch(1, 400, 15)).unwrap();
        assert_eq!(
            log.segment_count(),
            1,
            "below or at the limit: {settings:?}"
        );
        append(&mut log, batch(1, 400, 16)).unwrap();
        assert_eq!(log.segment_count(), 2, "above the limit: {settings:?}");
    }
}

/// Appends a batch as a leader would send it: `count` offsets from `base` on.
fn replicate(log: &mut Log, base: i64, count: usize, timestamp: i64) {
    let mut batch = batch(count, 40, timestamp);
    batch.place(Offset(base), LeaderEpoch(0));
    log.append([batch], Origin::Replication, LeaderEpoch(0), NOW)
        .unwrap();
}

/// The index has 31 bits for an offset less its segment's base.
#[test]
fn a_segment_rolls_when_its_offsets_would_not_fit_the_index() {
    let far = i64::from(i32::MAX);
    // The last offset of the second batch: one below the limit, at it, above it.
    for (last, segments) in [(far - 1, 1), (far, 1), (far + 1, 2)] {
        let settings = LogSettings {
            index_interval_bytes: 0,
            ..LogSettings::default()
        };
        let (_, _, mut log) = new_log(Arc::new(settings));
        replicate(&mut log, 0, 1, 10);
        replicate(&mut log, last - 2, 3, 11);
        assert_eq!(log.segment_count(), segments, "{last}");
        replicate(&mut log, far + 5, 1, 12);
        assert_eq!(log.segment_count(), 2, "{last}");
        flush(&mut log);
        check_indexes(&log);
        assert_eq!(log.end_offset(), Offset(far + 6));
        let found = batches(read(&mut log, Offset(last), 1 << 20, Offset(far + 6), true));
        assert_eq!(found[0].header().last_offset(), Offset(last));
    }
}

#[test]
fn a_full_time_index_rolls_as_a_full_index_does() {
    // Room for 12 bytes less one entry: 6 offset entries, 3 time entries.
    let settings = LogSettings {
        segment_index_bytes: 48,
        index_interval_bytes: 0,
        ..LogSettings::default()
    };
    let (_, _, mut log) = new_log(Arc::new(settings.clone()));
    for (at, segments) in [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2)] {
        append(&mut log, batch(1, 100, at)).unwrap();
        assert_eq!(log.segment_count(), segments, "time {at}");
    }
    // With one time for all there is one entry: the offset index is full first.
    let (_, _, mut log) = new_log(Arc::new(settings));
    for (number, segments) in [(1, 1), (2, 1), (6, 1), (7, 1), (8, 2)] {
        while log.end_offset() < Offset(number) {
            append(&mut log, batch(1, 100, 7)).unwrap();
        }
        assert_eq!(log.segment_count(), segments, "batch {number}");
    }
}

/// The jitter takes off the same in every run, differently for each segment, and never more than its setting.
#[test]
fn the_roll_age_is_spread_by_the_jitter() {
    let rolls_after = |name: &str, jitter: i64| {
        let disk = Disk::new(1);
        let dir = LogDir::simulated(&disk);
        let settings = LogSettings {
            segment_ms: 10_000,
            segment_jitter_ms: jitter,
            ..LogSettings::default()
        };
        let name = TopicPartition::new(name, 0);
        let mut log = Log::create(&dir, &name, Arc::new(settings), NOW).unwrap();
        append(&mut log, batch(1, 10, 0)).unwrap();
        (1..=10_001)
            .find(|at| {
                append(&mut log, batch(1, 10, *at)).unwrap();
                log.segment_count() == 2
            })
            .unwrap()
    };
    assert_eq!(rolls_after("orders", 0), 10_001);
    let spread: std::collections::BTreeSet<i64> = (0..12)
        .map(|n| rolls_after(&format!("topic-{n}"), 4_000))
        .collect();
    assert!(spread.len() > 8, "{spread:?}");
    assert!(
        spread.iter().all(|age| (6_001..=10_001).contains(age)),
        "{spread:?}"
    );
    assert_eq!(rolls_after("orders", 4_000), rolls_after("orders", 4_000));
    // More jitter than age is as much as the age.
    let wide: std::collections::BTreeSet<i64> = (0..12)
        .map(|n| rolls_after(&format!("topic-{n}"), 100_000))
        .collect();
    assert!(wide.len() > 8, "{wide:?}");
}

/// Without timestamps in the records the segment's own age counts.
#[test]
fn a_segment_without_timestamps_rolls_by_the_clock() {
    let settings = LogSettings {
        segment_ms: 1000,
        ..LogSettings::default()
    };
    for (waited, segments) in [(999, 1), (1000, 1), (1001, 2)] {
        let (_, _, mut log) = new_log(Arc::new(settings.clone()));
        let none = |now| {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            builder
                .append(Timestamp::NONE, None, Some(b"v"), &[])
                .unwrap();
            (builder.finish().unwrap(), Timestamp(now))
        };
        for (batch, now) in [none(NOW.0), none(NOW.0 + waited)] {
            log.append([batch], Origin::Client, LeaderEpoch(0), now)
                .unwrap();
        }
        assert_eq!(log.segment_count(), segments, "{waited}");
    }
}

#[test]
fn an_append_larger_than_a_segment_is_refused() {
    let (_, _, mut log) = new_log(small());
    let refused = append(&mut log, batch(1, 9000, 1)).unwrap_err();
    assert!(
        matches!(refused, AppendError::LargerThanSegment { limit: 8192, .. }),
        "{refused}"
    );
    assert_eq!(log.end_offset(), Offset(0));
}

#[test]
fn a_repeated_batch_is_answered_with_its_offsets_of_then() {
    let (_, _, mut log) = new_log(Arc::default());
    append(&mut log, batch_with(produced_by(5, 0, 0), 3, 30, 1)).unwrap();
    let second = append(&mut log, batch_with(produced_by(5, 0, 3), 2, 20, 4)).unwrap();
    let again = append(&mut log, batch_with(produced_by(5, 0, 3), 2, 20, 4)).unwrap();
    assert!(again.duplicate && !second.duplicate);
    assert_eq!(
        (again.first_offset, again.last_offset),
        (Offset(3), Offset(4))
    );
    assert_eq!(log.end_offset(), Offset(5));
    let gap = append(&mut log, batch_with(produced_by(5, 0, 9), 1, 10, 4)).unwrap_err();
    assert!(matches!(
        gap,
        AppendError::Producer(ProducerError::OutOfOrderSequence { .. })
    ));
}

#[test]
fn reads_end_at_the_upper_offset_and_hold_whole_batches() {
    let (_, _, mut log) = new_log(Arc::default());
    for i in 0..6 {
        append(&mut log, batch(2, 200, i)).unwrap();
    }
    let size = read(&mut log, Offset(0), 1, Offset(12), true).len();
    assert_eq!(read(&mut log, Offset(0), 1, Offset(12), false).len(), 0);
    assert_eq!(
        read(&mut log, Offset(3), 2 * size, Offset(12), false).len(),
        2 * size
    );
    assert_eq!(
        read(&mut log, Offset(3), 3 * size - 1, Offset(12), false).len(),
        2 * size
    );
    assert_eq!(
        read(&mut log, Offset(0), 1 << 20, Offset(5), false).len(),
        2 * size
    );
    assert_eq!(
        read(&mut log, Offset(12), 1 << 20, Offset(12), true).len(),
        0
    );
    let beyond = log.read(Offset(13), 1, Offset(12), true).unwrap_err();
    assert!(matches!(beyond, ReadError::OutOfRange { .. }));
}

#[test]
fn a_read_that_would_wait_says_so() {
    let (disk, _, mut log) = new_log(Arc::default());
    for i in 0..40 {
        append(&mut log, batch(1, 300, i)).unwrap();
    }
    flush(&mut log);
    log.release_idle();
    assert_eq!((log.tail_bytes(), log.descriptor_count()), (0, 0));
    disk.set_cold(true);
    let Read::Locate(job) = log.read(Offset(17), 800, Offset(40), true).unwrap() else {
        panic!()
    };
    assert!(matches!(job.run(Wait::No), Err(LocateError::WouldBlock)));
    let located = job.run(Wait::Yes).unwrap();
    let Read::File { range, .. } = log.located(located).unwrap() else {
        panic!()
    };
    assert_eq!(range.end - range.start, 2 * (range.start / 17));
    // The next place is known now: no lookup.
    let next = log.read(Offset(19), 1 << 20, Offset(40), true).unwrap();
    assert!(matches!(next, Read::File { .. }), "{next:?}");
}

#[test]
fn times_are_found_in_memory_and_in_files() {
    let (_, _, mut log) = new_log(small());
    for i in 0..60 {
        append(&mut log, batch(2, 500, 1000 + 10 * i)).unwrap();
    }
    let look = |log: &mut Log, timestamp: i64| {
        let end = log.end_offset();
        match log.offset_for_timestamp(Timestamp(timestamp), end) {
            Lookup::Answer(answer) => answer,
            Lookup::Scan(job) => job.run(Wait::Yes).unwrap(),
        }
        .map(|found| (found.timestamp.0, found.offset.0, found.leader_epoch.0))
    };
    for _ in 0..2 {
        assert_eq!(look(&mut log, 0), Some((1000, 0, 3)));
        assert_eq!(look(&mut log, 1001), Some((1001, 1, 3)));
        assert_eq!(look(&mut log, 1002), Some((1010, 2, 3)));
        assert_eq!(look(&mut log, 1590), Some((1590, 118, 3)));
        assert_eq!(look(&mut log, 1592), None);
        let Lookup::Scan(job) = log.max_timestamp(Offset(120)) else {
            panic!()
        };
        assert_eq!(job.run(Wait::Yes).unwrap().unwrap().offset, Offset(119));
        flush(&mut log);
        log.release_idle();
    }
}

#[test]
fn a_truncated_log_ends_before_the_batch_that_holds_the_offset() {
    let (_, _, mut log) = new_log(small());
    for i in 0..30 {
        append(
            &mut log,
            batch_with(produced_by(5, 0, 2 * i), 2, 600, i64::from(i)),
        )
        .unwrap();
    }
    flush(&mut log);
    let Read::Locate(stale) = ({
        log.release_idle();
        log.read(Offset(1), 10, Offset(60), true).unwrap()
    }) else {
        panic!()
    };
    let plan = log.truncate_to(Offset(33), NOW).unwrap();
    assert!(matches!(
        append(&mut log, batch(1, 1, 1)),
        Err(AppendError::Failed(_))
    ));
    log.truncated(plan.run()).unwrap();
    assert_eq!(log.end_offset(), Offset(32));
    let late = log.located(stale.run(Wait::Yes).unwrap()).unwrap_err();
    assert_eq!(late, ReadError::Superseded);
    let state = log.producers().state(ProducerId(5)).unwrap();
    assert_eq!(state.last_sequence(), Sequence(31));
    append(&mut log, batch_with(produced_by(5, 0, 32), 2, 600, 99)).unwrap();
    flush(&mut log);
    check_indexes(&log);

    let plan = log.truncate_fully_and_start_at(Offset(500), NOW).unwrap();
    log.truncated(plan.run()).unwrap();
    assert_eq!(
        (log.start_offset(), log.end_offset(), log.size()),
        (Offset(500), Offset(500), 0)
    );
    assert!(log.producers().is_empty() && log.epochs().entries().is_empty());
}

/// An abort that is cut off was never written: its transaction is open again, and nobody reads past it.
#[test]
fn the_last_stable_offset_after_a_truncated_abort() {
    let (_, _, mut log) = new_log(small());
    let options = BatchOptions {
        transactional: true,
        ..produced_by(9, 0, 0)
    };
    let marker = |commit| {
        EndTransactionMarker {
            commit,
            coordinator_epoch: 0,
        }
        .batch(ProducerId(9), ProducerEpoch(0), NOW)
        .unwrap()
    };
    let aborted = |log: &mut Log| {
        let aborted = log.aborted_transactions(Offset(0), Offset(9)).run();
        aborted.unwrap().len()
    };
    append(&mut log, batch_with(options, 1, 600, NOW.0)).unwrap();
    log.append([marker(false)], Origin::Coordinator, LeaderEpoch(3), NOW)
        .unwrap();
    append(&mut log, batch(1, 600, 1)).unwrap();
    flush(&mut log);
    log.set_high_watermark(Offset(3));
    assert_eq!(
        (log.last_stable_offset(), aborted(&mut log)),
        (Offset(3), 1)
    );

    let plan = log.truncate_to(Offset(1), NOW).unwrap();
    log.truncated(plan.run()).unwrap();
    append(&mut log, batch(1, 600, 2)).unwrap();
    flush(&mut log);
    log.set_high_watermark(Offset(2));
    assert_eq!(
        (log.last_stable_offset(), aborted(&mut log)),
        (Offset(0), 0)
    );

    // It may end otherwise now.
    log.append([marker(true)], Origin::Coordinator, LeaderEpoch(3), NOW)
        .unwrap();
    flush(&mut log);
    log.set_high_watermark(Offset(3));
    assert_eq!(
        (log.last_stable_offset(), aborted(&mut log)),
        (Offset(3), 0)
    );
}

#[test]
fn retention_renames_then_unlinks() {
    let settings = LogSettings {
        retention_bytes: Some(8192),
        ..(*small()).clone()
    };
    let (_, dir, mut log) = new_log(Arc::new(settings));
    for i in 0..30 {
        append(&mut log, batch(1, 1000, i)).unwrap();
    }
    flush(&mut log);
    log.set_high_watermark(Offset(30));
    let before = log.segment_count();
    let (count, reason) = log.apply_retention(NOW).unwrap().unwrap();
    assert_eq!(
        (reason, log.segment_count()),
        (DeleteReason::Size, before - count)
    );
    assert!(log.start_offset() > Offset(0) && log.size() >= 8192);
    assert_eq!(
        log.epochs().earliest().unwrap().start_offset,
        log.start_offset()
    );
    let work = log.take_work().unwrap();
    log.worked(work.run()).unwrap();
    let deleted = |dir: &LogDir| {
        dir.list("orders-0")
            .unwrap()
            .iter()
            .filter(|e| e.name.ends_with(".deleted"))
            .count()
    };
    assert_eq!(deleted(&dir), 3 * count);
    let unlink = log.take_unlink().unwrap();
    log.worked(unlink.run()).unwrap();
    assert_eq!(deleted(&dir), 0);
    assert!(log.apply_retention(NOW).unwrap().is_none());
}

#[test]
fn an_idle_log_that_is_all_expired_rolls_and_empties() {
    let settings = LogSettings {
        retention_ms: Some(10),
        ..(*small()).clone()
    };
    let (_, _, mut log) = new_log(Arc::new(settings));
    append(&mut log, batch(5, 1000, NOW.0)).unwrap();
    flush(&mut log);
    log.set_high_watermark(Offset(5));
    let later = Timestamp(NOW.0 + 100);
    assert_eq!(
        log.apply_retention(later).unwrap(),
        Some((1, DeleteReason::Time))
    );
    assert_eq!(
        (log.start_offset(), log.end_offset(), log.size()),
        (Offset(5), Offset(5), 0)
    );
    flush(&mut log);
}

#[test]
fn damage_in_a_sealed_segment_is_an_error_and_changes_nothing() {
    let (disk, dir, mut log) = new_log(small());
    for i in 0..20 {
        append(&mut log, batch(1, 1000, i)).unwrap();
    }
    flush(&mut log);
    drop(log);
    disk.kill();
    disk.flip_bit("orders-0/00000000000000000000.log", 2500);
    let refused = Log::open(
        &dir,
        &partition(),
        small(),
        &unclean(Offset(0)),
        &mut |_| {},
    )
    .unwrap_err();
    let OpenError::Damaged { path, position, .. } = refused else {
        panic!("{refused}")
    };
    assert!(path.ends_with("00000000000000000000.log") && position > 1000 && position < 2500);
    // Above the recovery point nothing is damaged: the sealed segment below is left as it is.
    let (log, recovered) = Log::open(
        &dir,
        &partition(),
        small(),
        &unclean(Offset(15)),
        &mut |_| {},
    )
    .unwrap();
    assert_eq!((log.end_offset(), recovered.cut), (Offset(20), None));
}

#[test]
fn valid_batches_behind_damage_are_kept_aside() {
    let (disk, dir, mut log) = new_log(Arc::default());
    for i in 0..5 {
        append(&mut log, batch(1, 1000, i)).unwrap();
    }
    flush(&mut log);
    let size = log.size();
    drop(log);
    disk.kill();
    disk.set_time(NOW.0);
    disk.flip_bit("orders-0/00000000000000000000.log", 2500);
    let (log, recovered) = Log::open(
        &dir,
        &partition(),
        small(),
        &unclean(Offset(0)),
        &mut |_| {},
    )
    .unwrap();
    assert_eq!(log.end_offset(), Offset(2));
    let cut = recovered.cut.unwrap();
    assert_eq!(cut.bytes, size - log.size());
    let kept = cut.kept_in.unwrap();
    let kept = kept.strip_prefix("/sim/").unwrap();
    assert_eq!(dir.read_file(kept).unwrap().len() as u64, cut.bytes);
    drop(log);
    // It stays, and every start says so, until a record of its age would go.
    let opened_after = |ms: i64, retention_ms| {
        let settings = Arc::new(LogSettings {
            retention_ms,
            ..LogSettings::default()
        });
        let open = Open {
            now: Timestamp(NOW.0 + ms),
            ..unclean(Offset(2))
        };
        let (_, recovered) = Log::open(&dir, &partition(), settings, &open, &mut |_| {}).unwrap();
        assert_eq!(recovered.notes.len(), 1, "{:?}", recovered.notes);
        recovered.notes[0].clone()
    };
    assert!(opened_after(1000, Some(1000)).contains("a recovery cut off"));
    assert!(opened_after(1 << 40, None).contains("remove it by hand"));
    assert!(dir.read_file(kept).is_ok());
    assert!(opened_after(1001, Some(1000)).contains("is removed"));
    assert!(dir.read_file(kept).is_err());
}

#[test]
fn aborted_transactions_survive_a_roll_and_a_reopening() {
    let (_, dir, mut log) = new_log(small());
    let marker = EndTransactionMarker {
        commit: false,
        coordinator_epoch: 0,
    };
    for round in 0..4 {
        let options = BatchOptions {
            transactional: true,
            ..produced_by(9, 0, round)
        };
        append(&mut log, batch_with(options, 1, 5000, i64::from(round))).unwrap();
        let end = marker.batch(ProducerId(9), ProducerEpoch(0), NOW).unwrap();
        log.append([end], Origin::Coordinator, LeaderEpoch(3), NOW)
            .unwrap();
    }
    let check = |log: &Log| {
        let all = log
            .aborted_transactions(Offset(0), Offset(8))
            .run()
            .unwrap();
        let found: Vec<_> = all
            .iter()
            .map(|a| (a.first_offset.0, a.last_offset.0))
            .collect();
        assert_eq!(found, [(0, 1), (2, 3), (4, 5), (6, 7)]);
        let some = log
            .aborted_transactions(Offset(4), Offset(6))
            .run()
            .unwrap();
        assert_eq!(some.len(), 1);
        assert_eq!(some[0].last_stable_offset, Offset(6));
    };
    flush(&mut log);
    check(&log);
    let open = unclean(log.recovery_point());
    let (log, _) = Log::open(&dir, &partition(), small(), &open, &mut |_| {}).unwrap();
    check(&log);
    let open = unclean(Offset(0));
    let (log, _) = Log::open(&dir, &partition(), small(), &open, &mut |_| {}).unwrap();
    check(&log);
}
