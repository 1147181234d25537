//! What a stop leaves to be done, and what a start has to look at.

use super::*;

fn one_segment() -> Arc<LogSettings> {
    Arc::new(LogSettings {
        segment_bytes: 8 << 20,
        ..Arc::unwrap_or_clone(small())
    })
}

fn at(recovery_point: Offset, clean_shutdown: bool) -> Open {
    Open {
        recovery_point,
        log_start_offset: Offset::ZERO,
        high_watermark: recovery_point,
        clean_shutdown,
        now: NOW,
    }
}

fn reopen(dir: &LogDir, open: &Open) -> (Log, Recovered) {
    Log::open(dir, &partition(), one_segment(), open, &mut |_| {}).unwrap()
}

fn append(log: &mut Log, count: i64) {
    let from = NOW.0 + log.end_offset().0;
    for i in 0..count {
        let batch = batch(1, 200, from + i);
        log.append([batch], Origin::Client, LeaderEpoch(0), NOW)
            .unwrap();
    }
}

/// A log of 400 batches that was stopped cleanly at offset 400.
fn stopped() -> (Disk, LogDir) {
    let disk = Disk::new(7);
    let dir = LogDir::simulated(&disk);
    let mut log = Log::create(&dir, &partition(), one_segment(), NOW).unwrap();
    append(&mut log, 400);
    flush(&mut log);
    log.close_plan().unwrap().run().unwrap();
    (disk, dir)
}

fn file(dir: &LogDir, content: Content) -> String {
    let name = crate::segment::name::file(Offset::ZERO, content);
    let path = format!("{}/{name}", partition());
    assert!(dir.exists(&path), "{path}");
    path
}

#[test]
fn a_log_that_was_not_written_since_it_was_opened_has_nothing_to_close() {
    let (_disk, dir) = stopped();
    let (mut log, recovered) = reopen(&dir, &at(Offset(400), true));
    assert_eq!((recovered.scanned_bytes, recovered.notes.len()), (0, 0));
    assert!(log.close_plan().unwrap().is_done());

    let (mut log, _) = reopen(&dir, &at(Offset(400), true));
    append(&mut log, 1);
    flush(&mut log);
    let plan = log.close_plan().unwrap();
    assert!(!plan.is_done());
    plan.run().unwrap();
    let (log, _) = reopen(&dir, &at(Offset(401), true));
    assert_eq!(log.end_offset(), Offset(401));
}

#[test]
fn a_new_log_has_its_files_and_nothing_to_close() {
    let dir = LogDir::simulated(&Disk::new(7));
    let new = NewPartition {
        metadata: Some(PartitionMetadata {
            topic_id: crate::types::TopicId([7; 16]),
        }),
        leader_epoch: LeaderEpoch(3),
    };
    let mut log = Log::create_unnamed(&dir, &partition(), one_segment(), &new, NOW).unwrap();
    for content in [Content::Log, Content::Index, Content::TimeIndex] {
        file(&dir, content);
    }
    let metadata = dir.read_partition_metadata(&partition()).unwrap();
    assert_eq!(metadata, new.metadata);
    log.begin_epoch(LeaderEpoch(3));
    assert!(log.close_plan().unwrap().is_done());
    let (log, _) = reopen(&dir, &at(Offset::ZERO, true));
    assert_eq!(
        log.epochs().latest().map(|entry| entry.epoch),
        Some(LeaderEpoch(3))
    );
}

#[test]
fn below_the_recovery_point_only_the_last_index_interval_is_scanned() {
    let (_disk, dir) = stopped();
    let (mut log, _) = reopen(&dir, &at(Offset(400), true));
    let before = log.size();
    append(&mut log, 20);
    while let Some(write) = log.take_write() {
        log.written(write.token, write.run().map_err(DiskError::into_io))
            .unwrap();
    }
    let size = log.size();
    drop(log);
    let mut told = (0, 0);
    let open = at(Offset(400), false);
    let (mut log, recovered) = Log::open(
        &dir,
        &partition(),
        one_segment(),
        &open,
        &mut |progress| match progress {
            Progress::Begun(bytes) => told.0 += bytes,
            Progress::Checked(bytes) => told.1 += bytes,
        },
    )
    .unwrap();
    assert_eq!(log.end_offset(), Offset(420));
    assert_eq!(told, (recovered.scanned_bytes, recovered.scanned_bytes));
    // The 20 new ones, and at most one interval and a batch of the others.
    let interval = u64::from(one_segment().index_interval_bytes);
    assert!(recovered.scanned_bytes >= size - before, "{recovered:?}");
    assert!(
        recovered.scanned_bytes <= size - before + 2 * interval + 600,
        "{recovered:?}"
    );
    check_indexes(&log);
    let all = batches(read(&mut log, Offset::ZERO, usize::MAX, Offset(420), true));
    assert_eq!(all.len(), 420);
}

#[test]
fn index_files_that_lost_their_ends_are_made_whole_again() {
    let (_disk, dir) = stopped();
    let index = dir.read_file(&file(&dir, Content::Index)).unwrap();
    let times = dir.read_file(&file(&dir, Content::TimeIndex)).unwrap();
    // Entries lost at the end of either, and zeros where a page never reached the disk.
    for (content, keep, zeros) in [
        (Content::Index, 80, 0),
        (Content::TimeIndex, 120, 0),
        (Content::Index, 83, 0),
        (Content::TimeIndex, 60, 120),
        (Content::Index, 0, 4096),
    ] {
        let file = dir.open_file(&file(&dir, content), Mode::Write).unwrap();
        file.truncate(keep).unwrap();
        file.write_at(&[Bytes::from(vec![0; zeros])], keep).unwrap();
        let (log, recovered) = reopen(&dir, &at(Offset(400), false));
        assert_eq!(log.end_offset(), Offset(400));
        assert!(recovered.scanned_bytes > 0);
        check_indexes(&log);
        drop(log);
        let now = (
            dir.read_file(&self::file(&dir, Content::Index)).unwrap(),
            dir.read_file(&self::file(&dir, Content::TimeIndex))
                .unwrap(),
        );
        assert_eq!(now, (index.clone(), times.clone()), "{content:?} {keep}");
    }
}
