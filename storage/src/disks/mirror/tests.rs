use std::sync::Arc;

use super::*;
use crate::batch::{Batch, BatchBuilder, BatchOptions};
use crate::compaction::{CleaningOptions, CompactionRules, Step as CleaningStep};
use crate::disk::sim::{Disk, Random};
use crate::log::{Log, LogSettings, Open, Origin};
use crate::types::{LeaderEpoch, Timestamp};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn partition() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn settings() -> Arc<LogSettings> {
    Arc::new(LogSettings {
        segment_bytes: 4 << 10,
        index_interval_bytes: 200,
        retention_ms: None,
        ..LogSettings::default()
    })
}

fn batch(number: i64) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value = vec![u8::try_from(number & 0x7f).unwrap(); 700];
    builder
        .append(Timestamp(number), None, Some(&value), &[])
        .unwrap();
    builder.finish().unwrap()
}

fn append(log: &mut Log, numbers: std::ops::Range<i64>) {
    for number in numbers {
        log.append([batch(number)], Origin::Client, LeaderEpoch(0), NOW)
            .unwrap();
        flush(log);
    }
}

fn flush(log: &mut Log) {
    loop {
        let mut idle = true;
        while let Some(write) = log.take_write() {
            let outcome = write.run().map_err(DiskError::into_io);
            log.written(write.token, outcome).unwrap();
            idle = false;
        }
        if let Some(sync) = log.take_sync() {
            let outcome = sync.run().map_err(DiskError::into_io);
            log.synced(sync.token, outcome).unwrap();
            idle = false;
        }
        if let Some(work) = log.take_work() {
            log.worked(work.run()).unwrap();
            idle = false;
        }
        if idle {
            break;
        }
    }
    let end = log.end_offset();
    log.set_high_watermark(end);
}

fn opened(dir: &LogDir, recovery_point: Offset) -> Log {
    let open = Open {
        recovery_point,
        log_start_offset: Offset::ZERO,
        high_watermark: recovery_point,
        clean_shutdown: false,
        now: NOW,
    };
    let (log, recovered) = Log::open(dir, &partition(), settings(), &open, &mut |_| {}).unwrap();
    assert_eq!(recovered.cut, None);
    assert_eq!(recovered.notes, Vec::<String>::new());
    log
}

fn is_log(name: &str) -> bool {
    matches!(name::parse_file(name), Some((_, Content::Log, Fate::Live)))
}

/// Bytes of all segments, one after the other.
fn bytes(dir: &LogDir, folder: &str) -> Vec<u8> {
    let entries = dir.list(folder).unwrap().into_iter();
    let logs = entries.filter(|entry| is_log(&entry.name));
    logs.flat_map(|entry| dir.read_file(&format!("{folder}/{}", entry.name)).unwrap())
        .collect()
}

fn world() -> (Disk, Disk, LogDir, LogDir, Log) {
    let (a, b) = (Disk::new(1), Disk::new(2));
    let (source, target) = (LogDir::simulated(&a), LogDir::simulated(&b));
    let log = Log::create(&source, &partition(), settings(), NOW).unwrap();
    (a, b, source, target, log)
}

#[test]
fn a_log_moves_while_it_grows_and_goes_on_in_its_new_place() {
    let (_, b, source, target, mut log) = world();
    append(&mut log, 0..20);
    let mut mirror = Mirror::begin(&source, &target, &partition(), 7).unwrap();
    let mut number = 20;
    loop {
        let segments = log.segments_written();
        let step = mirror.step(&segments, log.layout(), 3000).unwrap();
        assert!(step.copied <= 3000 && step.end <= log.end_offset());
        if step.left < 1000 {
            break;
        }
        append(&mut log, number..number + 1);
        number += 1;
    }
    append(&mut log, number..number + 3);
    mirror.sync().unwrap();
    // Appended and not written: it stays in memory over the change of place.
    let end = log.end_offset();
    log.append([batch(99)], Origin::Client, LeaderEpoch(0), NOW)
        .unwrap();
    assert!(log.is_still());
    let before = bytes(&source, "orders-0");
    let segments = log.segments_written();
    let deleted = mirror.finish(&segments, log.layout(), 9).unwrap();
    assert_eq!(deleted, "orders-0.00000000000000000000000000000009-delete");
    log.relocated(target.clone());
    assert_eq!(bytes(&target, "orders-0"), before);
    assert_eq!(source.folders().unwrap().live, []);
    assert_eq!(target.folders().unwrap().live, [partition()]);
    assert_eq!(target.folders().unwrap().future, Vec::<String>::new());
    assert_eq!(log.durable_offset(), end);
    append(&mut log, 200..220);
    let end = log.end_offset();
    let expected = bytes(&target, "orders-0");
    b.crash();
    let log = opened(&target, Offset::ZERO);
    assert_eq!(log.end_offset(), end);
    assert_eq!(bytes(&target, "orders-0"), expected);
}

#[test]
fn segments_that_go_during_the_copy_are_not_in_it() {
    let (_, _, source, target, mut log) = world();
    append(&mut log, 0..30);
    let mut mirror = Mirror::begin(&source, &target, &partition(), 7).unwrap();
    mirror
        .step(&log.segments_written(), log.layout(), u64::MAX)
        .unwrap();
    log.delete_records_before(Offset(15));
    log.apply_retention(NOW).unwrap().expect("segments are due");
    // The deletion is decided, its files still have their names.
    let segments = log.segments_written();
    mirror.finish(&segments, log.layout(), 9).unwrap();
    log.relocated(target.clone());
    let expected: Vec<String> = segments
        .iter()
        .map(|(base, _)| name::file(*base, Content::Log))
        .collect();
    let logs: Vec<String> = target
        .list("orders-0")
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .filter(|name| is_log(name))
        .collect();
    assert_eq!(logs, expected);
    append(&mut log, 30..40);
    assert_eq!(
        (log.start_offset(), log.end_offset()),
        (Offset(15), Offset(40))
    );
}

#[test]
fn what_fails_on_the_way_leaves_the_original() {
    let (_, b, source, target, mut log) = world();
    append(&mut log, 0..20);
    let mut mirror = Mirror::begin(&source, &target, &partition(), 7).unwrap();
    b.set_capacity(5000);
    let error = mirror
        .step(&log.segments_written(), log.layout(), u64::MAX)
        .unwrap_err();
    assert!(
        matches!(&error, MirrorError::Target(error) if error.is_full()),
        "{error}"
    );
    b.set_capacity(u64::MAX);
    mirror.abandon().unwrap();
    assert_eq!(target.list("").unwrap().len(), 0);
    append(&mut log, 20..25);
    let log = opened(&source, Offset::ZERO);
    assert_eq!(log.end_offset(), Offset(25));
}

#[test]
fn a_crash_at_any_step_leaves_everything_in_one_place() {
    // Power is cut on both disks after every number of copied bytes, and around the end.
    for seed in 0..60_u64 {
        let (a, b) = (Disk::new(seed), Disk::new(seed + 1000));
        let (source, target) = (LogDir::simulated(&a), LogDir::simulated(&b));
        let mut log = Log::create(&source, &partition(), settings(), NOW).unwrap();
        append(&mut log, 0..20);
        let end = log.end_offset();
        let mut mirror = Mirror::begin(&source, &target, &partition(), 7).unwrap();
        let budget = 500 * (seed + 1);
        mirror
            .step(&log.segments_written(), log.layout(), budget)
            .unwrap();
        let finished = seed % 2 == 0;
        if finished {
            mirror
                .finish(&log.segments_written(), log.layout(), 9)
                .unwrap();
        }
        a.crash();
        b.crash();
        let here = source.folders().unwrap();
        let there = target.folders().unwrap();
        assert!(here.live.len() + there.live.len() <= 1, "seed {seed}");
        if finished {
            assert_eq!(there.live, [partition()], "seed {seed}");
        }
        let at = if there.live.is_empty() {
            &source
        } else {
            &target
        };
        let log = opened(at, Offset::ZERO);
        assert_eq!(log.end_offset(), end, "seed {seed}");
    }
}

/// What may change a log's files while they are copied.
fn disturb(log: &mut Log, random: &mut Random, number: &mut i64) {
    match random.below(7) {
        0 => {
            let to = Offset(log.start_offset().0 + i64::try_from(random.below(6)).unwrap());
            log.delete_records_before(to);
        }
        1 => {
            log.apply_retention(NOW).unwrap();
        }
        2 => {
            let span = log.end_offset().since(log.start_offset()).unsigned_abs();
            let back = i64::try_from(random.below(span / 2 + 1)).unwrap();
            let to = Offset(log.end_offset().0 - back);
            flush(log);
            if let Some(plan) = log.truncate_to(to, NOW) {
                log.truncated(plan.run()).unwrap();
                log.set_high_watermark(log.end_offset());
            }
        }
        3 | 4 => {
            let rules = CompactionRules {
                min_dirty_ratio: 0.0,
                min_lag_ms: 0,
                max_lag_ms: i64::MAX,
            };
            flush(log);
            let Some(range) = log.cleanable(&rules, NOW) else {
                return;
            };
            let options = CleaningOptions {
                dedupe_bytes: 1 << 16,
                dedupe_load: 0.9,
                buffer_bytes: 16 << 10,
                delete_retention_ms: 0,
                now: NOW,
                seed: [1, 2],
            };
            let mut job = log.clean(range, options);
            loop {
                match job.run(1 << 20).unwrap().step {
                    CleaningStep::More => {}
                    CleaningStep::Done => break,
                    CleaningStep::Replace(cleaned) => {
                        log.replace(*cleaned);
                        flush(log);
                    }
                }
            }
            log.set_cleaned_to(job.end());
        }
        _ => {
            append_keyed(log, *number..*number + 4);
            *number += 4;
        }
    }
}

fn append_keyed(log: &mut Log, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let fill = u8::try_from(number & 0x7f).unwrap();
        let size = 300 + usize::try_from(number % 5 * 200).unwrap();
        let key = (number % 3).to_be_bytes();
        builder
            .append(Timestamp(number), Some(&key), Some(&vec![fill; size]), &[])
            .unwrap();
        let batch = builder.finish().unwrap();
        log.append([batch], Origin::Client, LeaderEpoch(0), NOW)
            .unwrap();
        flush(log);
    }
}

#[test]
fn whatever_happens_to_a_log_while_it_is_copied_the_copy_is_the_log() {
    let (mut cleaned, mut cut) = (0, 0);
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let (_, b, source, target, mut log) = world();
        let mut number = 40;
        append_keyed(&mut log, 0..number);
        let mut mirror = Mirror::begin(&source, &target, &partition(), 7).unwrap();
        for _ in 0..8 {
            let (segments, layout) = (log.segments_written(), log.layout());
            mirror.step(&segments, layout, random.below(6000)).unwrap();
            let (size, end) = (log.size(), log.end_offset());
            disturb(&mut log, &mut random, &mut number);
            cleaned += u32::from(log.end_offset() == end && log.size() < size);
            cut += u32::from(log.end_offset() < end);
        }
        // As the owner does before the end: nothing is out, and no deletion waits.
        flush(&mut log);
        assert!(log.is_still());
        let segments = log.segments_written();
        let expected: Vec<(String, Vec<u8>)> = segments
            .iter()
            .map(|(base, written)| {
                let name = name::file(*base, Content::Log);
                let mut bytes = source.read_file(&format!("orders-0/{name}")).unwrap();
                bytes.truncate(usize::try_from(*written).unwrap());
                (name, bytes)
            })
            .collect();
        mirror.finish(&segments, log.layout(), 9).unwrap();
        log.relocated(target.clone());
        for (name, bytes) in expected {
            let copy = target.read_file(&format!("orders-0/{name}")).unwrap();
            assert!(copy == bytes, "seed {seed}: {name} is another");
        }
        append_keyed(&mut log, number..number + 5);
        let (start, end) = (log.start_offset(), log.end_offset());
        b.crash();
        let open = Open {
            recovery_point: log.recovery_point(),
            log_start_offset: start,
            high_watermark: end,
            clean_shutdown: false,
            now: NOW,
        };
        let opened = Log::open(&target, &partition(), settings(), &open, &mut |_| {});
        let (log, recovered) = opened.unwrap();
        assert_eq!(recovered.cut, None, "seed {seed}");
        assert_eq!((log.start_offset(), log.end_offset()), (start, end));
    }
    assert!(cleaned > 100 && cut > 100, "{cleaned} and {cut}");
}

#[test]
fn a_deletion_that_waits_for_a_snapshot_is_done_before_a_move_ends() {
    let (_, _, _, _, mut log) = world();
    append(&mut log, 0..3);
    for number in 3..30 {
        log.append([batch(number)], Origin::Client, LeaderEpoch(0), NOW)
            .unwrap();
    }
    while let Some(write) = log.take_write() {
        log.written(write.token, write.run().map_err(DiskError::into_io))
            .unwrap();
        let sync = log.take_sync().unwrap();
        log.synced(sync.token, sync.run().map_err(DiskError::into_io))
            .unwrap();
    }
    log.set_high_watermark(log.end_offset());
    assert!(!log.deletion_waits());
    log.delete_records_before(Offset(15));
    log.apply_retention(NOW).unwrap().expect("segments are due");
    assert!(log.deletion_waits(), "no snapshot speaks for them yet");
    let work = log.take_work().unwrap();
    log.worked(work.run()).unwrap();
    assert!(!log.deletion_waits());
}

#[test]
fn what_was_written_behind_a_gap_is_written_again_in_the_new_place() {
    let (_, _, source, target, mut log) = world();
    append(&mut log, 0..2);
    log.append([batch(2)], Origin::Client, LeaderEpoch(0), NOW)
        .unwrap();
    let first = log.take_write().unwrap();
    log.append([batch(3)], Origin::Client, LeaderEpoch(0), NOW)
        .unwrap();
    let second = log.take_write().unwrap();
    // The second finds room, the first does not.
    let outcome = second.run().map_err(DiskError::into_io);
    log.written(second.token, outcome).unwrap();
    let full = Err(std::io::ErrorKind::StorageFull.into());
    log.written(first.token, full).unwrap_err();
    assert_eq!(log.written_offset(), Offset(2));
    let mut mirror = Mirror::begin(&source, &target, &partition(), 7).unwrap();
    assert!(log.is_still());
    mirror
        .finish(&log.segments_written(), log.layout(), 9)
        .unwrap();
    log.relocated(target.clone());
    flush(&mut log);
    assert_eq!(log.written_offset(), Offset(4));
    let whole = bytes(&target, "orders-0");
    assert_eq!(whole.len() as u64, log.size());
    let log = opened(&target, Offset::ZERO);
    assert_eq!(log.end_offset(), Offset(4));
}
