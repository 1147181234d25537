//! What a cleaning may take of producers and their transactions: nothing that a power cut would make them miss.

use super::*;
use crate::disk::sim::{Fault, Operation};

fn of(producer: i64, epoch: i16, sequence: i32, key: &str) -> Batch {
    let value = "v".repeat(100);
    keyed(
        produced_by(producer, epoch, sequence),
        1,
        &[(key, Some(&value))],
    )
}

/// Appends without bringing anything to the disk.
fn append_only(log: &mut Log, batch: Batch, origin: Origin) {
    log.append([batch], origin, LeaderEpoch(1), NOW).unwrap();
    log.set_high_watermark(log.end_offset());
}

fn marker(producer: i64, epoch: i16, commit: bool) -> Batch {
    let marker = crate::batch::EndTransactionMarker {
        commit,
        coordinator_epoch: 0,
    };
    marker
        .batch(ProducerId(producer), ProducerEpoch(epoch), NOW)
        .unwrap()
}

/// Cleans, and brings nothing else to the disk.
fn clean_unsynced(log: &mut Log) -> Cleanable {
    let range = log.cleanable(&RULES, NOW).unwrap();
    let mut job = log.clean(range, options(NOW));
    while let Some(cleaned) = next_cleaned(&mut job) {
        assert_eq!(log.replace(cleaned), Replaced::Swapping);
        let swap = log.take_work().unwrap();
        log.worked(swap.run()).unwrap();
    }
    range
}

/// What a recovery that has no snapshot makes of the log: all that is known comes from the batches.
fn rebuilt(disk: &Disk, log: &Log) -> Log {
    for entry in log.dir.list("orders-0").unwrap() {
        if let Some((_, Content::Snapshot, _)) = name::parse_file(&entry.name) {
            let name = format!("orders-0/{}", entry.name);
            log.dir.remove_file(&name).unwrap();
        }
    }
    reopen(disk, log, false)
}

#[test]
fn a_transaction_whose_marker_is_not_on_the_disk_is_not_cleaned() {
    for commit in [true, false] {
        let disk = Disk::new(40);
        let mut log = create(&disk, tiny_segments());
        let old = put(&mut log, 1, &[("k", Some("old"))]);
        roll(&mut log);
        let begun = append(
            &mut log,
            keyed(in_transaction(9, 0), 1, &[("k", Some("new"))]),
        );
        roll(&mut log);
        append_only(&mut log, marker(9, 0, commit), Origin::Coordinator);
        assert_eq!(log.last_stable_offset(), log.end_offset());
        let range = clean_unsynced(&mut log);
        assert!(range.to <= begun, "{range:?} with {begun} undecided");
        disk.crash();
        let mut log = reopen(&disk, &log, false);
        assert_eq!(log.last_stable_offset(), begun, "it is open again");
        assert!(all(&mut log).iter().any(|seen| seen.offset == old.0));
        // Now it ends the other way, for good.
        append(&mut log, marker(9, 0, !commit));
        roll(&mut log);
        while clean_once(&mut log, &options(NOW)) {}
        let left: Vec<_> = all(&mut log)
            .into_iter()
            .filter(|seen| seen.key == b"k")
            .map(|seen| seen.value.unwrap())
            .collect();
        let expected: &[u8] = if commit { b"old" } else { b"new" };
        assert_eq!(left, [expected]);
    }
}

#[test]
fn the_last_batch_on_the_disk_stays_when_a_producer_has_gone_on_in_memory() {
    for epoch in [0, 1] {
        let disk = Disk::new(41);
        let mut log = create(&disk, tiny_segments());
        append(&mut log, of(5, 0, 0, "a"));
        append(&mut log, of(5, 0, 1, "a"));
        put(&mut log, 1, &[("a", Some("later"))]);
        roll(&mut log);
        // The same epoch, or a newer one: nothing of it reaches the disk.
        let sequence = if epoch == 0 { 2 } else { 0 };
        append_only(&mut log, of(5, epoch, sequence, "b"), Origin::Client);
        clean_unsynced(&mut log);
        disk.crash();
        let log = rebuilt(&disk, &log);
        let state = log.producers().state(ProducerId(5));
        let state = state.unwrap_or_else(|| panic!("forgotten, epoch {epoch}"));
        assert_eq!(state.epoch(), ProducerEpoch(0));
        assert_eq!(state.last_sequence(), Sequence(1));
    }
}

#[test]
fn an_emptied_marker_says_the_epoch_of_its_producer() {
    let disk = Disk::new(42);
    let mut log = create(&disk, tiny_segments());
    append(
        &mut log,
        keyed(in_transaction(9, 0), 1, &[("k", Some("aborted"))]),
    );
    // Under version 2 of transactions the marker raises the epoch.
    append(&mut log, marker(9, 1, false));
    roll(&mut log);
    for round in 1..6 {
        let later = Timestamp(NOW.0 + round * 2 * RETENTION_MS);
        clean_once(&mut log, &options(later));
        roll(&mut log);
    }
    assert_eq!(markers(&mut log), [], "the marker's record is gone");
    assert_eq!(all(&mut log).iter().find(|seen| seen.key == b"k"), None);
    let log = rebuilt(&disk, &log);
    let state = log.producers().state(ProducerId(9)).unwrap();
    assert_eq!(state.epoch(), ProducerEpoch(1));
    assert_eq!(state.transaction(), None);
    assert_eq!(log.last_stable_offset(), log.end_offset());
}

#[test]
fn a_snapshot_does_not_hold_a_transaction_open_whose_marker_was_cleaned_away() {
    let disk = Disk::new(43);
    let mut log = create(&disk, tiny_segments());
    append(
        &mut log,
        keyed(in_transaction(9, 0), 1, &[("k", Some("x"))]),
    );
    roll(&mut log);
    let base = log.segments[log.segments.len() - 1].base;
    end(&mut log, 9, true);
    // So that the marker is not the last that is known of its producer.
    append(
        &mut log,
        keyed(in_transaction(9, 1), 1, &[("l", Some("y"))]),
    );
    end(&mut log, 9, true);
    let (last, name) = (log.end_offset(), log.name(base, Content::Snapshot));
    roll(&mut log);
    let open = |log: &Log| {
        let bytes = log.dir.read_file(&name).unwrap();
        let snapshot = crate::producer::Snapshot::decode(&bytes).unwrap();
        snapshot.entries.iter().any(|one| one.transaction.is_some())
    };
    assert!(open(&log), "the snapshot at {base} was taken in it");
    // Retention takes its records, cleanings its marker.
    log.delete_records_before(base);
    log.apply_retention(NOW).unwrap().unwrap();
    flush(&mut log);
    assert_eq!(log.segments[0].base, base);
    for round in 1..6 {
        let later = Timestamp(NOW.0 + round * 2 * RETENTION_MS);
        clean_once(&mut log, &options(later));
        roll(&mut log);
    }
    let left = markers(&mut log);
    assert!(
        left.iter()
            .all(|(offset, _)| *offset > base.0 && *offset < last.0)
    );
    assert!(!open(&log), "the snapshot at {base} follows");
    let log = reopen(&disk, &log, false);
    assert_eq!(log.last_stable_offset(), log.end_offset());
}

#[test]
fn epochs_forgotten_for_records_that_come_back_are_found_behind_an_emptied_segment() {
    let disk = Disk::new(44);
    let mut log = create(&disk, tiny_segments());
    put(&mut log, 1, &[("filler", Some("x"))]);
    roll(&mut log);
    while clean_once(&mut log, &options(NOW)) {}
    roll(&mut log);
    while clean_once(&mut log, &options(NOW)) {}
    assert_eq!(log.segments[0].size, 0, "nothing of it was worth keeping");
    let first = all(&mut log)[0].offset;
    log.delete_records_before(log.end_offset());
    flush(&mut log);
    disk.crash();
    let open = Open {
        recovery_point: log.segments[0].base,
        log_start_offset: Offset::ZERO,
        high_watermark: Offset::ZERO,
        clean_shutdown: false,
        now: NOW,
    };
    let (dir, settings) = (LogDir::simulated(&disk), log.settings().clone());
    let (log, _) = Log::open(&dir, &partition(), settings, &open, &mut |_| {}).unwrap();
    assert_eq!(log.epochs().epoch_of(Offset(first)), Some(LeaderEpoch(1)));
}

#[test]
fn a_log_that_begins_anew_above_its_end_never_goes_back_to_offsets_given_out() {
    let disk = Disk::new(45);
    let mut log = create(&disk, tiny_segments());
    for _ in 0..4 {
        put(&mut log, 1, &[("a", Some("x")), ("b", Some("y"))]);
    }
    // The start lies inside the batch at 6, and no checkpoint says so.
    log.delete_records_before(Offset(7));
    let plan = log.truncate_to(Offset(7), NOW).unwrap();
    disk.inject(Fault {
        on: Operation::Open,
        path_contains: "00000000000000000007.log".to_owned(),
        after: 0,
        error: std::io::ErrorKind::Other,
    });
    assert!(plan.run().is_err());
    disk.crash();
    let open = Open {
        recovery_point: Offset::ZERO,
        log_start_offset: Offset::ZERO,
        high_watermark: Offset::ZERO,
        clean_shutdown: false,
        now: NOW,
    };
    let (dir, settings) = (LogDir::simulated(&disk), log.settings().clone());
    let (log, _) = Log::open(&dir, &partition(), settings, &open, &mut |_| {}).unwrap();
    assert!(log.end_offset() >= Offset(6), "{}", log.end_offset());
}

#[test]
fn what_an_outdated_cleaning_wrote_goes_before_another_writes_under_its_names() {
    let disk = Disk::new(46);
    let mut log = create(&disk, tiny_segments());
    for round in 0..30 {
        put(&mut log, round, &[("k", Some(&"v".repeat(200)))]);
    }
    let range = log.cleanable(&RULES, NOW).unwrap();
    let mut job = log.clean(range, options(NOW));
    let cleaned = next_cleaned(&mut job).unwrap();
    // A truncation meanwhile.
    let plan = log.truncate_to(log.end_offset() - 1, NOW).unwrap();
    log.truncated(plan.run()).unwrap();
    log.set_high_watermark(log.end_offset());
    put(&mut log, 40, &[("k", Some("new"))]);
    assert_eq!(log.replace(cleaned), Replaced::Outdated);
    assert_eq!(
        log.cleanable(&RULES, NOW),
        None,
        "its files are there still"
    );
    let work = log.take_work().unwrap();
    assert_eq!(log.cleanable(&RULES, NOW), None, "they are being removed");
    log.worked(work.run()).unwrap();
    assert!(clean_once(&mut log, &options(NOW)));
}
