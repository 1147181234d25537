//! Crashes while a cleaned segment gets its names, and what Kafka's cleaner may leave behind.

use super::*;

/// A log of several segments with values that only the last of each key tells apart.
fn history(disk: &Disk) -> Log {
    let mut log = create(disk, tiny_segments());
    for round in 0..24_i64 {
        let key = format!("k{}", round % 5);
        let value = format!("{round} {}", "v".repeat(150));
        put(&mut log, round, &[(&key, Some(&value)), ("gone", None)]);
        if round % 6 == 0 {
            let sequence = i32::try_from(round / 6).unwrap();
            append(
                &mut log,
                keyed(
                    in_transaction(9, sequence),
                    round,
                    &[(&key, Some("aborted"))],
                ),
            );
            end(&mut log, 9, false);
        }
    }
    // So that a cleaning brings several together.
    log.set_settings(small());
    log
}

#[test]
fn a_crash_at_any_step_of_the_swap_loses_no_last_value_and_repeats_nothing() {
    let steps_of_first_swap = {
        let disk = Disk::new(0);
        let mut log = history(&disk);
        steps_of_swap(&mut log).0.len()
    };
    assert!(steps_of_first_swap > 20);
    for cut in 0..=steps_of_first_swap {
        for seed in 0..8 {
            for power in [false, true] {
                let disk = Disk::new(seed);
                let mut log = history(&disk);
                let before = all(&mut log);
                let (steps, range) = steps_of_swap(&mut log);
                for step in &steps[..cut] {
                    step.run(&log.dir).unwrap();
                }
                if power {
                    disk.crash();
                } else {
                    disk.kill();
                }
                let what = format!("seed {seed}, {cut} steps, power cut {power}");
                check_after_crash(&disk, &log, &before, range, &what);
            }
        }
    }
}

/// Begins a cleaning, up to the renames of the first group.
fn steps_of_swap(log: &mut Log) -> (Vec<FileStep>, Cleanable) {
    let range = log.cleanable(&RULES, NOW).unwrap();
    let mut job = log.clean(range, options(NOW));
    let cleaned = next_cleaned(&mut job).unwrap();
    assert!(cleaned.sources.len() > 1);
    assert_eq!(log.replace(cleaned), Replaced::Swapping);
    (log.take_work().unwrap().into_steps(), range)
}

/// Runs the steps up to the renaming of the cleaned log to its live name.
fn up_to_the_last_name(log: &mut Log) -> Vec<FileStep> {
    let (steps, _) = steps_of_swap(log);
    let live = log.name(log.segments[0].base, Content::Log);
    let last = steps
        .iter()
        .position(|step| matches!(step, FileStep::Move { to, .. } if *to == live));
    for step in &steps[..last.unwrap()] {
        step.run(&log.dir).unwrap();
    }
    steps
}

#[test]
fn an_aborted_index_that_kafka_had_still_to_name_is_taken() {
    // Kafka names the log first and its index files after it.
    let disk = Disk::new(20);
    let mut log = history(&disk);
    let (steps, _) = steps_of_swap(&mut log);
    let txn = log.name(log.segments[0].base, Content::TxnIndex);
    for step in &steps {
        if !matches!(step, FileStep::Move { to, .. } if *to == txn) {
            step.run(&log.dir).unwrap();
        }
    }
    let opened = reopen(&disk, &log, true);
    let upper = opened.last_stable_offset();
    let aborted = opened.aborted_transactions(Offset(0), upper).run().unwrap();
    assert_eq!(aborted.len(), 4, "as many as the history has");
    let swaps = names(&disk)
        .into_iter()
        .filter_map(|name| name::parse_file(&name))
        .filter(|(_, _, fate)| *fate == Fate::Swap);
    assert_eq!(swaps.count(), 0);
}

#[test]
fn of_an_original_s_aborted_index_only_entries_with_a_marker_are_believed() {
    // Kafka writes no aborted index for a cleaned segment without aborted transactions; the original's may still be there.
    let disk = Disk::new(21);
    let mut log = history(&disk);
    up_to_the_last_name(&mut log);
    let base = log.segments[0].base;
    let swap = name::file_with_fate(base, Content::Log, Fate::Swap);
    assert!(names(&disk).contains(&swap));
    let entry = |first: i64, last: i64| AbortedTransaction {
        producer: ProducerId(9),
        first_offset: Offset(first),
        last_offset: Offset(last),
        last_stable_offset: Offset(last + 1),
    };
    let name = log.name(base, Content::TxnIndex);
    let bytes = log.dir.read_file(&name).unwrap();
    let real = index::decode_txn_index(&bytes).unwrap();
    let mut entries = vec![entry(0, 1)];
    entries.extend(&real);
    let bytes: Vec<u8> = entries
        .iter()
        .flat_map(AbortedTransaction::encode)
        .collect();
    let file = log.dir.open_file(&name, Mode::Replace).unwrap();
    file.write_at(&[bytes.into()], 0).unwrap();
    let opened = reopen(&disk, &log, true);
    let upper = opened.last_stable_offset();
    let believed = opened.aborted_transactions(Offset(0), upper).run().unwrap();
    assert!(!believed.contains(&entry(0, 1)), "{believed:?}");
    assert!(
        real.iter().all(|one| believed.contains(one)),
        "{believed:?}"
    );
}

#[test]
fn a_swap_that_nothing_is_left_of_takes_its_place_too() {
    let disk = Disk::new(22);
    let mut log = create(&disk, tiny_segments());
    for _ in 0..2 {
        put(&mut log, 1, &[("k", Some("old"))]);
        roll(&mut log);
    }
    let range = log.cleanable(&RULES, NOW).unwrap();
    let mut job = log.clean(range, options(NOW));
    let cleaned = next_cleaned(&mut job).unwrap();
    assert_eq!(cleaned.size(), 0, "every key of it comes again");
    assert_eq!(log.replace(cleaned), Replaced::Swapping);
    let steps = log.take_work().unwrap().into_steps();
    let live = log.name(log.segments[0].base, Content::Log);
    let last = steps
        .iter()
        .position(|step| matches!(step, FileStep::Move { to, .. } if *to == live));
    for step in &steps[..last.unwrap()] {
        step.run(&log.dir).unwrap();
    }
    let mut opened = reopen(&disk, &log, false);
    let seen = all(&mut opened);
    assert_eq!(
        seen.first()
            .map(|seen| seen.offset >= log.segments[1].base.0),
        Some(true)
    );
    assert!(seen.iter().any(|seen| seen.key == b"k"));
    // An emptied segment does not hold up retention by time behind it.
    opened.set_settings(Arc::new(LogSettings {
        retention_ms: Some(1),
        ..LogSettings::default()
    }));
    let later = Timestamp(NOW.0 + 1_000_000);
    assert!(opened.apply_retention(later).unwrap().is_some());
    assert_eq!(opened.start_offset(), opened.end_offset());
}

/// Opened anew, the log holds every record that a cleaning keeps, none twice, and nothing that was not there; opened
/// once more the same; and a cleaning brings it to what it is to be.
fn check_after_crash(disk: &Disk, log: &Log, before: &[Seen], range: Cleanable, what: &str) {
    let expected = latest(&committed(before), range.to, false);
    let mut left = Vec::new();
    for time in ["first", "second"] {
        let mut opened = reopen(disk, log, false);
        let found = all(&mut opened);
        let ordered = found.windows(2).all(|two| two[0].offset < two[1].offset);
        assert!(ordered, "{what}, {time}: {found:?}");
        for record in &found {
            assert!(before.contains(record), "{what}, {time}: {record:?}");
        }
        let aborted = opened
            .aborted_transactions(opened.start_offset(), opened.last_stable_offset())
            .run()
            .unwrap();
        let hidden = |record: &&Seen| record.value.as_deref() == Some(b"aborted");
        for record in found.iter().filter(hidden) {
            let offset = Offset(record.offset);
            let known = aborted
                .iter()
                .any(|one| one.first_offset <= offset && offset < one.last_offset);
            assert!(known, "{what}, {time}: {record:?} would be read");
        }
        let found = committed(&found);
        for record in &expected {
            assert!(found.contains(record), "{what}, {time}: no {record:?}");
        }
        assert_eq!(opened.end_offset(), log.end_offset(), "{what}, {time}");
        check_indexes(&opened);
        if time == "second" {
            assert_eq!(found, left, "{what}");
            while clean_once(&mut opened, &options(NOW)) {}
            assert_eq!(all(&mut opened), expected, "{what}");
        }
        left = found;
    }
}

fn committed(records: &[Seen]) -> Vec<Seen> {
    let real = |record: &&Seen| record.value.as_deref() != Some(b"aborted");
    records.iter().filter(real).cloned().collect()
}

#[test]
fn a_power_cut_at_any_time_of_a_cleaning_loses_no_last_value() {
    for seed in 0..60 {
        let disk = Disk::new(seed);
        let mut random = seed | 1;
        let mut log = history(&disk);
        let before = all(&mut log);
        let range = log.cleanable(&RULES, NOW).unwrap();
        let mut job = log.clean(range, options(NOW));
        let mut left = pick(&mut random, 120);
        'cleaning: while left > 0 {
            left -= 1;
            match job.run(400).unwrap().step {
                CleaningStep::More => {}
                CleaningStep::Done => break,
                CleaningStep::Replace(cleaned) => {
                    assert_eq!(log.replace(*cleaned), Replaced::Swapping);
                    while let Some(work) = log.take_work() {
                        let cut = if pick(&mut random, 4) == 0 {
                            5
                        } else {
                            usize::MAX
                        };
                        for (number, step) in work.into_steps().into_iter().enumerate() {
                            if number == cut {
                                break 'cleaning;
                            }
                            step.run(&log.dir).unwrap();
                        }
                        log.finish_swap();
                        log.chores = Chores::default();
                    }
                }
            }
        }
        disk.crash();
        check_after_crash(&disk, &log, &before, range, &format!("seed {seed}"));
    }
}
