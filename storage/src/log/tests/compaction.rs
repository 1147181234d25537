//! Cleanings of a log on a simulated disk, beside a model: a list of records.

mod crash;
mod producers;

use std::collections::BTreeMap;

use super::*;
use crate::batch::{Codec, ControlKind, RecordHeader, TimestampType};
use crate::compaction::{
    Cleanable, Cleaning, CleaningError, CleaningOptions, CompactionRules, Step as CleaningStep,
};
use crate::log::work::Step as FileStep;
use crate::segment::name::{self, Fate};

/// A record as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    offset: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    timestamp: i64,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

const RULES: CompactionRules = CompactionRules {
    min_dirty_ratio: 0.0,
    min_lag_ms: 0,
    max_lag_ms: i64::MAX,
};

const RETENTION_MS: i64 = 1000;

fn options(now: Timestamp) -> CleaningOptions {
    CleaningOptions {
        dedupe_bytes: 1 << 20,
        dedupe_load: 0.9,
        buffer_bytes: 16 << 10,
        delete_retention_ms: RETENTION_MS,
        now,
        seed: [7, 11],
    }
}

fn tiny_segments() -> Arc<LogSettings> {
    Arc::new(LogSettings {
        segment_bytes: 2 << 10,
        index_interval_bytes: 200,
        retention_ms: None,
        ..LogSettings::default()
    })
}

fn create(disk: &Disk, settings: Arc<LogSettings>) -> Log {
    Log::create(&LogDir::simulated(disk), &partition(), settings, NOW).unwrap()
}

fn reopen(disk: &Disk, log: &Log, clean: bool) -> Log {
    let open = Open {
        recovery_point: if clean {
            log.end_offset()
        } else {
            log.segments[0].base
        },
        log_start_offset: log.start_offset(),
        high_watermark: log.end_offset(),
        clean_shutdown: clean,
        now: NOW,
    };
    let dir = LogDir::simulated(disk);
    let (mut opened, _) = Log::open(
        &dir,
        &partition(),
        log.settings().clone(),
        &open,
        &mut |_| {},
    )
    .unwrap();
    opened.set_high_watermark(opened.end_offset());
    opened
}

/// A batch of these keys and values, with a header each.
fn keyed(options: BatchOptions, at: i64, records: &[(&str, Option<&str>)]) -> Batch {
    let mut builder = BatchBuilder::new(options);
    for (i, (key, value)) in (0..).zip(records) {
        let header = RecordHeader {
            key: b"h",
            value: Some(key.as_bytes()),
        };
        builder
            .append(
                Timestamp(at + i),
                Some(key.as_bytes()),
                value.map(str::as_bytes),
                &[header],
            )
            .unwrap();
    }
    builder.finish().unwrap()
}

fn append(log: &mut Log, batch: Batch) -> Offset {
    let origin = if batch.header().attributes.is_control() {
        Origin::Coordinator
    } else {
        Origin::Client
    };
    let appended = log
        .append([batch], origin, LeaderEpoch(1), NOW)
        .unwrap()
        .first_offset;
    flush(log);
    log.set_high_watermark(log.end_offset());
    appended
}

fn put(log: &mut Log, at: i64, records: &[(&str, Option<&str>)]) -> Offset {
    append(log, keyed(BatchOptions::default(), at, records))
}

/// Fills the active segment until a new one begins, with a key of its own.
fn roll(log: &mut Log) {
    let count = log.segment_count();
    let filler = "f".repeat(500);
    while log.segment_count() == count {
        put(log, 1, &[("filler", Some(&filler))]);
    }
}

/// Every batch there is, read as a consumer does.
fn all_batches(log: &mut Log) -> Vec<Batch> {
    let (mut from, end) = (log.start_offset(), log.end_offset());
    let mut found = Vec::new();
    while from < end {
        let read = batches(read(log, from, 3000, end, true));
        let Some(last) = read.last() else {
            break;
        };
        assert!(last.header().next_offset() > from);
        from = last.header().next_offset();
        found.extend(read);
    }
    found
}

/// Every data record there is.
fn all(log: &mut Log) -> Vec<Seen> {
    let mut seen = Vec::new();
    for batch in all_batches(log) {
        if batch.header().attributes.is_control() {
            continue;
        }
        for record in batch.open(1 << 20).unwrap().records() {
            let record = record.unwrap();
            seen.push(Seen {
                offset: record.offset.0,
                key: record.key.unwrap().to_vec(),
                value: record.value.map(<[u8]>::to_vec),
                timestamp: record.timestamp.0,
                headers: record
                    .headers
                    .map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec)))
                    .collect(),
            });
        }
    }
    seen
}

/// What must be left of `records` when everything below `to` was cleaned and tombstones below it are `spent`.
fn latest(records: &[Seen], to: Offset, spent: bool) -> Vec<Seen> {
    let mut last = BTreeMap::new();
    for record in records.iter().filter(|record| record.offset < to.0) {
        last.insert(record.key.clone(), record.offset);
    }
    let stays = |record: &&Seen| {
        record.offset >= to.0
            || (last[&record.key] == record.offset && !(spent && record.value.is_none()))
    };
    records.iter().filter(stays).cloned().collect()
}

/// Cleans once; `false` when there was nothing to clean. Ends early when the log has changed.
fn clean_once(log: &mut Log, options: &CleaningOptions) -> bool {
    let Some(range) = log.cleanable(&RULES, options.now) else {
        return false;
    };
    let mut job = log.clean(range, options.clone());
    while let Some(cleaned) = next_cleaned(&mut job) {
        assert_eq!(log.replace(cleaned), Replaced::Swapping);
        flush(log);
        assert!(!log.is_swapping());
    }
    assert!(job.end() > range.from);
    log.set_cleaned_to(job.end());
    true
}

fn next_cleaned(job: &mut Cleaning) -> Option<crate::compaction::Cleaned> {
    loop {
        match job.run(700).unwrap().step {
            CleaningStep::More => {}
            CleaningStep::Replace(cleaned) => return Some(*cleaned),
            CleaningStep::Done => return None,
        }
    }
}

fn names(disk: &Disk) -> Vec<String> {
    let dir = LogDir::simulated(disk);
    let entries = dir.list("orders-0").unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

#[test]
fn of_every_key_the_last_record_stays_at_its_offset() {
    for codec in Codec::ALL {
        let disk = Disk::new(1);
        let mut log = create(&disk, tiny_segments());
        let batch_options = BatchOptions {
            compression: codec.into(),
            ..BatchOptions::default()
        };
        for round in 0..60_i64 {
            let value = format!("value {round} {}", "x".repeat(100));
            let keys = [format!("a{}", round % 7), format!("b{}", round % 3)];
            let records = [
                (keys[0].as_str(), Some(value.as_str())),
                (keys[1].as_str(), Some(value.as_str())),
            ];
            append(&mut log, keyed(batch_options, 1000 + round, &records));
        }
        let before = all(&mut log);
        let size = log.size();
        let range = log.cleanable(&RULES, NOW).unwrap();
        assert!(clean_once(&mut log, &options(NOW)));
        let expected = latest(&before, range.to, false);
        assert_eq!(all(&mut log), expected, "{codec}");
        assert!(log.size() < size / 2, "{codec}: {size} to {}", log.size());
        check_indexes(&log);
        assert_eq!(log.cleaned_to(), Some(range.to));
        assert_eq!(log.cleanable(&RULES, NOW), None, "all is clean");
        for clean in [true, false] {
            let mut again = reopen(&disk, &log, clean);
            assert_eq!(all(&mut again), expected, "{codec}, opened anew");
            check_indexes(&again);
        }
    }
}

#[test]
fn small_segments_grow_together_and_files_of_the_old_ones_go() {
    let disk = Disk::new(2);
    let mut log = create(&disk, tiny_segments());
    for round in 0..40_i64 {
        put(&mut log, round, &[("k", Some(&"v".repeat(300)))]);
    }
    let sealed = log.segment_count() - 1;
    assert!(sealed > 4);
    assert!(clean_once(&mut log, &options(NOW)));
    // Full ones do not fit together before they are thinned.
    assert_eq!(log.segment_count() - 1, sealed);
    // A second cleaning, when there is something new, brings the thin ones together.
    roll(&mut log);
    assert!(clean_once(&mut log, &options(NOW)));
    assert!(log.segment_count() <= 3, "{}", log.segment_count());
    assert!(names(&disk).iter().any(|name| name.ends_with(".deleted")));
    let unlink = log.take_unlink().unwrap();
    log.worked(unlink.run()).unwrap();
    flush(&mut log);
    let left = names(&disk);
    let odd = |name: &&String| {
        [".deleted", ".cleaned", ".swap"]
            .iter()
            .any(|suffix| name.ends_with(suffix))
    };
    assert_eq!(left.iter().find(odd), None);
    let logs = left
        .iter()
        .filter(|name| matches!(name::parse_file(name), Some((_, Content::Log, _))))
        .count();
    assert_eq!(logs, log.segment_count());
}

#[test]
fn a_batch_that_loses_nothing_is_copied_byte_for_byte() {
    let disk = Disk::new(3);
    let mut log = create(&disk, tiny_segments());
    for round in 0..30_i64 {
        let codec = Codec::ALL[pick(&mut 1_u64.wrapping_add(round.unsigned_abs()), 5)];
        let options = BatchOptions {
            compression: codec.into(),
            ..BatchOptions::default()
        };
        let own = format!("own {round}");
        append(
            &mut log,
            keyed(options, round, &[(&own, Some("x")), ("gone", Some("y"))]),
        );
        let single = format!("single {round}");
        append(
            &mut log,
            keyed(options, round, &[(&single, Some(&"z".repeat(60)))]),
        );
    }
    let before: BTreeMap<Offset, Bytes> = all_batches(&mut log)
        .iter()
        .map(|batch| (batch.header().base_offset, batch.to_bytes()))
        .collect();
    assert!(clean_once(&mut log, &options(NOW)));
    let (mut same, mut thinned) = (0, 0);
    for batch in all_batches(&mut log) {
        let was = &before[&batch.header().base_offset];
        if batch.header().record_count == 1 && batch.header().last_offset_delta == 0 {
            assert_eq!(batch.to_bytes(), *was);
            same += 1;
        } else if batch.header().record_count == 1 {
            let header = crate::batch::Header::parse(was).unwrap();
            assert_eq!(batch.header().last_offset(), header.last_offset());
            assert_eq!(batch.header().attributes.codec(), header.attributes.codec());
            thinned += 1;
        }
    }
    assert!(same >= 20 && thinned >= 10, "{same} and {thinned}");
}

#[test]
fn a_tombstone_stays_until_its_horizon_which_the_first_cleaning_sets() {
    let disk = Disk::new(4);
    let mut log = create(&disk, tiny_segments());
    put(&mut log, 5, &[("a", Some("1")), ("b", Some("1"))]);
    put(&mut log, 7, &[("a", None), ("c", Some("1"))]);
    roll(&mut log);
    let keys = |log: &mut Log| -> Vec<(Vec<u8>, i64)> {
        let seen = all(log).into_iter().filter(|seen| seen.key != b"filler");
        seen.map(|seen| (seen.key, seen.timestamp)).collect()
    };
    assert!(clean_once(&mut log, &options(NOW)));
    let with_tombstone = vec![(b"b".to_vec(), 6), (b"a".to_vec(), 7), (b"c".to_vec(), 8)];
    assert_eq!(keys(&mut log), with_tombstone);
    let horizon = NOW.0 + RETENTION_MS;
    let headers = |log: &mut Log| -> Vec<(i64, bool, i64)> {
        let batches = all_batches(log);
        let header = |batch: &Batch| {
            let header = *batch.header();
            let flag = header.attributes.has_delete_horizon();
            (header.base_offset.0, flag, header.base_timestamp.0)
        };
        batches.iter().take(2).map(header).collect()
    };
    assert_eq!(headers(&mut log), [(0, false, 6), (2, true, horizon)]);
    for (now, stays) in [(horizon - 1, true), (horizon, false)] {
        roll(&mut log);
        assert!(clean_once(&mut log, &options(Timestamp(now))));
        if stays {
            assert_eq!(keys(&mut log), with_tombstone);
            assert_eq!(headers(&mut log)[1], (2, true, horizon), "it is set once");
        } else {
            assert_eq!(keys(&mut log), [(b"b".to_vec(), 6), (b"c".to_vec(), 8)]);
        }
    }
}

#[test]
fn log_append_time_survives_a_rewrite() {
    let disk = Disk::new(5);
    let mut log = create(&disk, tiny_segments());
    let options_of = BatchOptions {
        timestamp_type: TimestampType::LogAppendTime,
        ..BatchOptions::default()
    };
    append(
        &mut log,
        keyed(
            options_of,
            90,
            &[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))],
        ),
    );
    put(&mut log, 100, &[("c", Some("2"))]);
    roll(&mut log);
    let before = all(&mut log);
    let range = log.cleanable(&RULES, NOW).unwrap();
    assert!(clean_once(&mut log, &options(NOW)));
    assert_eq!(all(&mut log), latest(&before, range.to, false));
    assert_eq!(all(&mut log)[0].timestamp, 92);
}

#[test]
fn too_many_keys_for_the_map_are_cleaned_in_several_passes() {
    let disk = Disk::new(6);
    let mut log = create(&disk, tiny_segments());
    for round in 0..120_i64 {
        let key = format!("key {}", round % 40);
        let other = format!("other {}", round % 11);
        let value = "v".repeat(50);
        put(
            &mut log,
            round,
            &[(&key, Some(&value)), (&other, Some(&value))],
        );
    }
    let before = all(&mut log);
    let range = log.cleanable(&RULES, NOW).unwrap();
    // Room for 13 keys.
    let narrow = CleaningOptions {
        dedupe_bytes: 24 * 15,
        ..options(NOW)
    };
    let mut passes = 0;
    while clean_once(&mut log, &narrow) {
        passes += 1;
        assert!(passes < 100);
    }
    assert!(passes > 3, "{passes}");
    assert_eq!(all(&mut log), latest(&before, range.to, false));
    check_indexes(&log);
    // One key at a time makes progress too, within a batch.
    let one = CleaningOptions {
        dedupe_bytes: 0,
        ..options(NOW)
    };
    put(
        &mut log,
        1,
        &[("x", Some("1")), ("y", Some("1")), ("x", Some("2"))],
    );
    roll(&mut log);
    let before = all(&mut log);
    let to = log.cleanable(&RULES, NOW).unwrap().to;
    while clean_once(&mut log, &one) {}
    assert_eq!(all(&mut log), latest(&before, to, false));
}

fn in_transaction(producer: i64, sequence: i32) -> BatchOptions {
    BatchOptions {
        transactional: true,
        ..produced_by(producer, 0, sequence)
    }
}

fn end(log: &mut Log, producer: i64, commit: bool) {
    let marker = crate::batch::EndTransactionMarker {
        commit,
        coordinator_epoch: 0,
    };
    let batch = marker
        .batch(ProducerId(producer), ProducerEpoch(0), NOW)
        .unwrap();
    append(log, batch);
}

fn markers(log: &mut Log) -> Vec<(i64, ControlKind)> {
    let mut found = Vec::new();
    for batch in all_batches(log) {
        if batch.header().attributes.is_control() {
            let payload = batch.open(1 << 10).unwrap();
            for record in payload.records() {
                let key = record.unwrap().key.map(crate::batch::ControlKey::decode);
                found.push((batch.header().base_offset.0, key.unwrap().unwrap().kind));
            }
        }
    }
    found
}

#[test]
fn aborted_records_go_and_markers_when_nothing_is_left_of_their_transactions() {
    let disk = Disk::new(7);
    let mut log = create(&disk, tiny_segments());
    put(&mut log, 1, &[("a", Some("before")), ("b", Some("before"))]);
    append(
        &mut log,
        keyed(in_transaction(1, 0), 2, &[("a", Some("aborted"))]),
    );
    append(
        &mut log,
        keyed(in_transaction(2, 0), 3, &[("b", Some("committed"))]),
    );
    end(&mut log, 1, false); // offset 4
    end(&mut log, 2, true); // offset 5
    append(
        &mut log,
        keyed(in_transaction(1, 1), 4, &[("c", Some("1"))]),
    );
    end(&mut log, 1, true); // offset 7
    put(&mut log, 5, &[("c", Some("2"))]);
    roll(&mut log);
    let values = |log: &mut Log| -> Vec<(i64, Vec<u8>)> {
        let seen = all(log).into_iter().filter(|seen| seen.key != b"filler");
        seen.map(|seen| (seen.offset, seen.value.unwrap()))
            .collect()
    };
    let clean = vec![
        (0, b"before".to_vec()),
        (3, b"committed".to_vec()),
        (8, b"2".to_vec()),
    ];
    assert!(clean_once(&mut log, &options(NOW)));
    assert_eq!(values(&mut log), clean);
    let all_markers = vec![
        (4, ControlKind::Abort),
        (5, ControlKind::Commit),
        (7, ControlKind::Commit),
    ];
    assert_eq!(markers(&mut log), all_markers);
    // The aborted batch of producer 1 was seen by that cleaning, so the index has its transaction still.
    let aborted = |log: &Log| {
        let found = log.aborted_transactions(Offset(0), log.last_stable_offset());
        found.run().unwrap().len()
    };
    assert_eq!(aborted(&log), 1);
    assert_eq!(aborted(&reopen(&disk, &log, true)), 1);
    // The next finds nothing of it and sets the marker's horizon; the one after that horizon drops the marker.
    roll(&mut log);
    assert!(clean_once(&mut log, &options(NOW)));
    assert_eq!(markers(&mut log), all_markers);
    assert_eq!(aborted(&log), 0);
    roll(&mut log);
    assert!(clean_once(
        &mut log,
        &options(Timestamp(NOW.0 + RETENTION_MS))
    ));
    // Producer 1's last data batch stays, empty, and so the marker that ends its transaction.
    assert_eq!(
        markers(&mut log),
        [(5, ControlKind::Commit), (7, ControlKind::Commit)]
    );
    assert_eq!(values(&mut log), clean);
    let last_of_producer = all_batches(&mut log)
        .iter()
        .map(|batch| *batch.header())
        .find(|header| header.producer_id == ProducerId(1) && !header.attributes.is_control());
    let last_of_producer = last_of_producer.unwrap();
    assert_eq!(last_of_producer.record_count, 0);
    assert_eq!(last_of_producer.last_sequence(), Sequence(1));
    for clean_stop in [true, false] {
        let mut again = reopen(&disk, &log, clean_stop);
        let state = again.producers().state(ProducerId(1)).unwrap();
        assert_eq!(state.last_sequence(), Sequence(1));
        assert_eq!(values(&mut again), clean);
        assert_eq!(again.last_stable_offset(), again.end_offset());
    }
}

#[test]
fn nothing_is_cleaned_above_an_open_transaction_or_younger_than_the_least_lag() {
    let disk = Disk::new(8);
    let mut log = create(&disk, tiny_segments());
    roll(&mut log);
    let open = append(
        &mut log,
        keyed(in_transaction(1, 0), 2, &[("a", Some("1"))]),
    );
    roll(&mut log);
    roll(&mut log);
    let range = log.cleanable(&RULES, NOW).unwrap();
    assert!(range.to <= open, "{range:?} over {open}");
    end(&mut log, 1, false);
    let range = log.cleanable(&RULES, NOW).unwrap();
    assert_eq!(range.to, log.segments[log.segment_count() - 1].base);
    assert!((range.dirty_ratio() - 1.0).abs() < f64::EPSILON);
    let lagging = CompactionRules {
        min_lag_ms: 100,
        ..RULES
    };
    // The newest record of any segment is of time 2.
    assert_eq!(log.cleanable(&lagging, Timestamp(100)), None);
    let older = log.cleanable(&lagging, Timestamp(101)).unwrap();
    assert!(older.to <= open && open < range.to, "{older:?}");
    assert_eq!(log.cleanable(&lagging, Timestamp(102)), Some(range));
    assert_eq!(log.oldest_dirty(&range).run().unwrap(), Some(Timestamp(1)));
}

#[test]
fn what_was_changed_meanwhile_makes_a_cleaning_outdated() {
    let disk = Disk::new(9);
    let mut log = create(&disk, tiny_segments());
    for _ in 0..6 {
        put(&mut log, 1, &[("k", Some("v"))]);
        roll(&mut log);
    }
    let range = log.cleanable(&RULES, NOW).unwrap();
    // Retention.
    let mut job = log.clean(range, options(NOW));
    let cleaned = next_cleaned(&mut job).unwrap();
    let start = log.segments[1].base;
    log.delete_records_before(start);
    assert!(log.apply_retention(NOW).unwrap().is_some());
    let before = all(&mut log);
    assert_eq!(log.replace(cleaned), Replaced::Outdated);
    flush(&mut log);
    assert!(!names(&disk).iter().any(|name| name.ends_with(".cleaned")));
    assert_eq!(all(&mut log), before);
    // Truncation.
    let range = log.cleanable(&RULES, NOW).unwrap();
    let mut job = log.clean(range, options(NOW));
    let cleaned = next_cleaned(&mut job).unwrap();
    let to = log.segments[1].base;
    let truncate = log.truncate_to(to, NOW).unwrap();
    log.truncated(truncate.run()).unwrap();
    log.set_high_watermark(log.end_offset());
    for _ in 0..3 {
        roll(&mut log);
    }
    let before = all(&mut log);
    assert_eq!(log.replace(cleaned), Replaced::Outdated);
    flush(&mut log);
    assert_eq!(all(&mut log), before);
    // A cleaned end above the log's means another history.
    log.set_cleaned_to(Offset(1 << 40));
    assert_eq!(log.cleanable(&RULES, NOW).unwrap().from, log.start_offset());
    // Retention waits while names change.
    let range = log.cleanable(&RULES, NOW).unwrap();
    let mut job = log.clean(range, options(NOW));
    let cleaned = next_cleaned(&mut job).unwrap();
    assert_eq!(log.replace(cleaned), Replaced::Swapping);
    let last = log.segments[log.segment_count() - 1].base;
    log.delete_records_before(last);
    assert_eq!(log.apply_retention(NOW).unwrap(), None);
    flush(&mut log);
    assert!(log.apply_retention(NOW).unwrap().is_some());
    flush(&mut log);
    let reopened = reopen(&disk, &log, true);
    assert_eq!(reopened.segment_count(), log.segment_count());
}

#[test]
fn a_place_found_before_a_swap_does_not_count_after_it() {
    let disk = Disk::new(10);
    let mut log = create(&disk, tiny_segments());
    for round in 0..30_i64 {
        put(&mut log, round, &[("k", Some(&"v".repeat(100)))]);
    }
    log.release_idle();
    let end = log.end_offset();
    let Read::Locate(job) = log.read(Offset(3), 1000, end, true).unwrap() else {
        panic!("its file is closed");
    };
    let old = job.run(Wait::Yes).unwrap();
    let old_file = {
        // A range handed out before stays readable: its descriptor is counted.
        let Read::Locate(job) = log.read(Offset(0), 1000, end, true).unwrap() else {
            panic!("its file is closed");
        };
        match log.located(job.run(Wait::Yes).unwrap()).unwrap() {
            Read::File { file, range } => (file, range),
            other => panic!("{other:?}"),
        }
    };
    let range = log.cleanable(&RULES, NOW).unwrap();
    let mut cleaning = log.clean(range, options(NOW));
    let cleaned = next_cleaned(&mut cleaning).unwrap();
    let layout = job.layout();
    assert!(log.is_current(layout));
    assert_eq!(log.replace(cleaned), Replaced::Swapping);
    assert!(!log.is_current(layout));
    let meanwhile = match log.read(Offset(3), 1000, end, true).unwrap() {
        Read::Locate(job) => job.run(Wait::Yes).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(log.located(old).unwrap_err(), ReadError::Superseded);
    flush(&mut log);
    assert_eq!(log.located(meanwhile).unwrap_err(), ReadError::Superseded);
    assert!(!log.is_current(layout));
    let size = usize::try_from(old_file.1.end - old_file.1.start).unwrap();
    let bytes = old_file.0.read_exact_at(size, old_file.1.start).unwrap();
    assert_eq!(batches(bytes)[0].header().base_offset, Offset(0));
}

#[test]
fn a_corrupt_batch_ends_the_cleaning_and_leaves_the_data_alone() {
    let disk = Disk::new(11);
    let mut log = create(&disk, tiny_segments());
    for round in 0..30_i64 {
        put(&mut log, round, &[("k", Some(&"v".repeat(100)))]);
    }
    let name = log.name(log.segments[1].base, Content::Log);
    disk.flip_bit(&name, 100);
    let before = log.dir.read_file(&name).unwrap();
    let range = log.cleanable(&RULES, NOW).unwrap();
    let mut job = log.clean(range, options(NOW));
    let error = loop {
        match job.run(1 << 20) {
            Ok(slice) => assert!(matches!(slice.step, CleaningStep::More)),
            Err(error) => break error,
        }
    };
    let text = error.to_string();
    assert!(
        matches!(error, CleaningError::Corrupt { position: 0, .. }),
        "{text}"
    );
    assert!(text.contains(&name) && text.contains("untouched"), "{text}");
    job.abandon().unwrap();
    assert!(!names(&disk).iter().any(|name| name.ends_with(".cleaned")));
    assert_eq!(log.dir.read_file(&name).unwrap(), before);
}

#[test]
fn a_full_disk_ends_the_cleaning_and_leaves_nothing_behind() {
    let disk = Disk::new(12);
    let mut log = create(&disk, tiny_segments());
    for round in 0..30_i64 {
        let key = format!("k{round}");
        put(
            &mut log,
            round,
            &[(&key, Some(&"v".repeat(100))), ("k", Some("1"))],
        );
    }
    let used = disk.used();
    disk.set_capacity(used + 1000);
    let range = log.cleanable(&RULES, NOW).unwrap();
    let mut job = log.clean(range, options(NOW));
    let error = loop {
        match job.run(1 << 20) {
            Ok(slice) => assert!(matches!(slice.step, CleaningStep::More)),
            Err(error) => break error,
        }
    };
    assert!(error.is_full(), "{error}");
    job.abandon().unwrap();
    assert_eq!(disk.used(), used);
    disk.set_capacity(u64::MAX);
    assert!(clean_once(&mut log, &options(NOW)));
}

#[test]
fn random_histories_are_cleaned_as_the_model_says() {
    for seed in 1..25 {
        random_history(seed);
    }
}

fn random_history(seed: u64) {
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let disk = Disk::new(seed);
    let settings = Arc::new(LogSettings {
        segment_bytes: [700, 2 << 10, 8 << 10][pick(&mut random, 3)],
        index_interval_bytes: [0, 300][pick(&mut random, 2)],
        retention_ms: None,
        ..LogSettings::default()
    });
    let mut log = create(&disk, settings);
    // Records as they must be left; tombstones by the time from which they may be gone.
    let mut model: Vec<Seen> = Vec::new();
    let mut now = NOW.0;
    let keys = 1 + pick(&mut random, 30);
    for _ in 0..6 {
        for _ in 0..pick(&mut random, 60) {
            let codec = Codec::ALL[pick(&mut random, 5)];
            let options = BatchOptions {
                compression: codec.into(),
                ..BatchOptions::default()
            };
            let records: Vec<(String, Option<String>)> = (0..=pick(&mut random, 4))
                .map(|_| {
                    let key = format!("key {}", pick(&mut random, keys));
                    let size = pick(&mut random, 60);
                    let value = (pick(&mut random, 5) > 0).then(|| "v".repeat(size));
                    (key, value)
                })
                .collect();
            let borrowed: Vec<(&str, Option<&str>)> = records
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_deref()))
                .collect();
            let at = now - pick_i64(&mut random, 50);
            append(&mut log, keyed(options, at, &borrowed));
        }
        model = all(&mut log);
        let narrow = CleaningOptions {
            dedupe_bytes: 24 * (2 + pick(&mut random, 60)),
            dedupe_load: 1.0,
            ..options(Timestamp(now))
        };
        let to = log
            .cleanable(&RULES, Timestamp(now))
            .map_or(log.cleaned_to.max(Offset(0)), |range| range.to);
        while clean_once(&mut log, &narrow) {}
        let left = all(&mut log);
        check_indexes(&log);
        // Every value is as the model says; a tombstone may stay or be gone, if it is its key's last word.
        let expected = latest(&model, to, false);
        let values = |records: &[Seen]| -> Vec<Seen> {
            let real = records.iter().filter(|r| r.value.is_some());
            real.cloned().collect()
        };
        assert_eq!(values(&left), values(&expected), "seed {seed}");
        for record in left.iter().filter(|record| record.value.is_none()) {
            assert!(expected.contains(record), "seed {seed}: {record:?}");
        }
        if pick(&mut random, 3) == 0 {
            let cleaned_to = log.cleaned_to;
            log = reopen(&disk, &log, pick(&mut random, 2) == 0);
            log.set_cleaned_to(cleaned_to);
            assert_eq!(all(&mut log), left, "seed {seed}, opened anew");
        }
        now += pick_i64(&mut random, 2 * RETENTION_MS);
    }
    drop(model);
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
