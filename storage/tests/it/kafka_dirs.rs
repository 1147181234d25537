//! Log directories that Kafka 4.3.1 wrote: opened, read, closed, compared.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use corelog_storage::batch::{Batch, UncheckedBatch};
use corelog_storage::checkpoint::name;
use corelog_storage::disk::{Folders, LogDir};
use corelog_storage::log::{Log, LogSettings, Lookup, Open, Read, Recovered, Wait};
use corelog_storage::producer::Snapshot;
use corelog_storage::types::{Offset, Timestamp, TopicPartition};

/// Within a day of the fixtures' oldest producers, so that none has expired.
const NOW: Timestamp = Timestamp(1_700_000_050_000);

/// A copy of a fixture that may be written to; removed at the end.
struct Copy(PathBuf);

impl Copy {
    fn of(fixture: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let from = fixtures().join(fixture);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("corelog-storage-{}-{number}", std::process::id());
        let to = std::env::temp_dir().join(name);
        copy_dir(&from, &to);
        Self(to)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-4.3.1/dirs")
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::write(to, std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

fn open(dir: &LogDir, partition: &TopicPartition, clean_shutdown: bool) -> (Log, Recovered) {
    let points = dir.read_offsets(name::RECOVERY_POINTS).unwrap();
    let starts = dir.read_offsets(name::LOG_STARTS).unwrap();
    let marks = dir.read_offsets(name::HIGH_WATERMARKS).unwrap();
    let of = |offsets: &std::collections::BTreeMap<_, Offset>| {
        offsets.get(partition).copied().unwrap_or(Offset::ZERO)
    };
    let open = Open {
        recovery_point: of(&points),
        log_start_offset: of(&starts),
        high_watermark: of(&marks),
        clean_shutdown,
        now: NOW,
    };
    // The fixtures' topics have index intervals of their own; only `times` shows it.
    let index_interval_bytes = if &*partition.topic == "times" {
        100
    } else {
        4096
    };
    let settings = Arc::new(LogSettings {
        index_interval_bytes,
        ..LogSettings::default()
    });
    Log::open(dir, partition, settings, &open, &mut |_| {})
        .unwrap_or_else(|error| panic!("{partition}: {error}"))
}

/// All batches from the start on, with their positions in their segments.
fn read_all(log: &mut Log) -> Vec<(u64, Batch)> {
    let mut all = Vec::new();
    let (mut from, end) = (log.start_offset(), log.end_offset());
    while from < end {
        let mut read = log.read(from, 1000, end, true).unwrap();
        if let Read::Locate(job) = read {
            read = log.located(job.run(Wait::Yes).unwrap()).unwrap();
        }
        let Read::File { file, range } = read else {
            panic!("{read:?} at {from}")
        };
        let size = usize::try_from(range.end - range.start).unwrap();
        let mut rest = Bytes::from(file.read_exact_at(size, range.start).unwrap());
        let mut position = range.start;
        while let Some(unchecked) = UncheckedBatch::take(&mut rest).unwrap() {
            let batch = unchecked.check().unwrap();
            from = batch.header().next_offset();
            let size = batch.size() as u64;
            all.push((position, batch));
            position += size;
        }
    }
    all
}

/// The batch lines of a dump: base offset, last offset, count, position, size, CRC.
fn dumped(partition: &TopicPartition) -> Vec<[u64; 6]> {
    let path = fixtures()
        .join("clean-dump")
        .join(format!("{partition}.txt"));
    let text = std::fs::read_to_string(path).unwrap();
    let field = |line: &str, name: &str| -> u64 {
        let at = line.find(&format!("{name}: ")).unwrap() + name.len() + 2;
        line[at..].split(' ').next().unwrap().parse().unwrap()
    };
    let lines = text.lines().filter(|line| line.starts_with("baseOffset: "));
    lines
        .map(|line| {
            [
                "baseOffset",
                "lastOffset",
                "count",
                "position",
                "size",
                "crc",
            ]
            .map(|n| field(line, n))
        })
        .collect()
}

fn as_dumped(batches: &[(u64, Batch)]) -> Vec<[u64; 6]> {
    let number = |n: i64| u64::try_from(n).unwrap();
    batches
        .iter()
        .map(|(position, batch)| {
            let header = batch.header();
            [
                number(header.base_offset.0),
                number(header.last_offset().0),
                number(header.record_count.into()),
                *position,
                batch.size() as u64,
                header.crc.into(),
            ]
        })
        .collect()
}

fn live(dir: &LogDir) -> Vec<TopicPartition> {
    let Folders { live, refused, .. } = dir.folders().unwrap();
    assert_eq!(refused, Vec::<String>::new());
    assert!(live.len() > 5);
    live
}

#[test]
fn a_cleanly_stopped_directory_opens_without_a_scan_and_reads_as_it_was_dumped() {
    let copy = Copy::of("clean");
    let dir = LogDir::open(&copy.0).unwrap();
    let ends = dir.read_offsets(name::RECOVERY_POINTS).unwrap();
    for partition in live(&dir) {
        let (mut log, recovered) = open(&dir, &partition, true);
        assert_eq!(recovered.scanned_bytes, 0, "{partition}");
        assert_eq!(recovered.notes, Vec::<String>::new(), "{partition}");
        assert_eq!(Some(&log.end_offset()), ends.get(&partition), "{partition}");
        let start = u64::try_from(log.start_offset().0).unwrap();
        let mut expected = if &*partition.topic == "empty" {
            Vec::new()
        } else {
            dumped(&partition)
        };
        expected.retain(|batch| batch[1] >= start);
        assert_eq!(as_dumped(&read_all(&mut log)), expected, "{partition}");
    }
}

#[test]
fn a_directory_that_is_opened_and_closed_keeps_kafkas_bytes() {
    let copy = Copy::of("clean");
    let dir = LogDir::open(&copy.0).unwrap();
    for partition in live(&dir) {
        let (mut log, _) = open(&dir, &partition, true);
        log.close_plan().unwrap().run().unwrap();
        let folder = partition.to_string();
        for entry in std::fs::read_dir(fixtures().join("clean").join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let file = entry.file_name().into_string().unwrap();
            let before = std::fs::read(entry.path()).unwrap();
            let Ok(after) = std::fs::read(copy.0.join(&folder).join(&file)) else {
                // Kafka keeps a snapshot that is at no segment's base a little longer.
                assert!(file.ends_with(".snapshot"), "{folder}/{file} is gone");
                continue;
            };
            if file.ends_with(".snapshot") {
                // Kafka writes them in the order of its hash map.
                let sorted = |bytes: &[u8]| {
                    let mut entries = Snapshot::decode(bytes).unwrap().entries;
                    entries.sort_by_key(|entry| entry.producer);
                    entries
                };
                assert_eq!(sorted(&after), sorted(&before), "{folder}/{file}");
            } else {
                assert_eq!(after, before, "{folder}/{file}");
            }
        }
    }
}

#[test]
fn times_of_kafkas_own_logs_are_found() {
    let copy = Copy::of("clean");
    let dir = LogDir::open(&copy.0).unwrap();
    let (mut log, _) = open(&dir, &TopicPartition::new("times", 0), true);
    let records: Vec<(Timestamp, Offset)> = read_all(&mut log)
        .iter()
        .flat_map(|(_, batch)| {
            let payload = batch.open(1 << 20).unwrap();
            payload
                .records()
                .map(|r| r.map(|r| (r.timestamp, r.offset)).unwrap())
                .collect::<Vec<_>>()
        })
        .collect();
    for (timestamp, _) in &records {
        let end = log.end_offset();
        let Lookup::Scan(job) = log.offset_for_timestamp(*timestamp, end) else {
            panic!()
        };
        let found = job.run(Wait::Yes).unwrap().unwrap();
        let expected = records.iter().find(|(t, _)| t >= timestamp).unwrap();
        assert_eq!((found.timestamp, found.offset), *expected);
    }
    let Lookup::Scan(job) = log.max_timestamp(log.end_offset()) else {
        panic!()
    };
    let found = job.run(Wait::Yes).unwrap().unwrap();
    let newest = records.iter().map(|(t, _)| t).max().unwrap();
    let expected = records.iter().find(|(t, _)| t == newest).unwrap();
    assert_eq!((found.timestamp, found.offset), *expected);
}

#[test]
fn a_killed_brokers_directory_recovers_as_kafka_recovers_it() {
    let copy = Copy::of("kill9");
    // The log end offsets of Kafka's own log lines after its restart.
    let ends = [
        ("codec-gzip", 90),
        ("compact", 85),
        ("deleted", 10),
        ("epochs", 1),
        ("idemp", 24),
        ("times", 60),
        ("txn", 22),
    ];
    let dir = LogDir::open(&copy.0).unwrap();
    assert_eq!(live(&dir).len(), ends.len());
    for (topic, end) in ends {
        // The fixture leaves out what Kafka preallocates: indexes of 10 MiB, full of zeros.
        let folder = copy.0.join(format!("{topic}-0"));
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "log") {
                for (extension, size) in [("index", 10_485_760), ("timeindex", 10_485_756)] {
                    let index = path.with_extension(extension);
                    if !index.exists() {
                        std::fs::File::create(index).unwrap().set_len(size).unwrap();
                    }
                }
            }
        }
        let partition = TopicPartition::new(topic, 0);
        let (mut log, recovered) = open(&dir, &partition, false);
        assert_eq!(recovered.cut, None, "{topic}");
        assert_eq!(log.end_offset(), Offset(end), "{topic}");
        let read = as_dumped(&read_all(&mut log));
        let start = u64::try_from(log.start_offset().0).unwrap();
        let expected = fixtures()
            .join("clean-dump")
            .join(format!("{partition}.txt"));
        if expected.exists() && topic != "epochs" && topic != "txn" && topic != "idemp" {
            let mut expected = dumped(&partition);
            expected.retain(|batch| batch[1] >= start);
            assert_eq!(read, expected, "{topic}");
        }
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            assert!(
                entry.metadata().unwrap().len() < 100_000,
                "{:?}",
                entry.path()
            );
        }
    }
}

#[test]
fn damaged_partitions_recover_to_kafkas_sizes_or_more_safely() {
    let copy = Copy::of("corrupted");
    let dir = LogDir::open(&copy.0).unwrap();
    let size = |file: &str| std::fs::metadata(copy.0.join(file)).map(|m| m.len()).ok();
    let log_size = |topic: &str| size(&format!("{topic}-0/00000000000000000000.log"));
    // Sizes after Kafka's own recovery (what.tsv), and whether something valid was kept aside.
    let cut = [
        ("plain", 389, 13),
        ("codec-gzip", 920, 60),
        ("codec-lz4", 1707, 90),
        ("codec-snappy", 1734, 90),
        ("topiccodec-gzip", 0, 0),
        ("logappend", 0, 0),
    ];
    for (topic, bytes, end) in cut {
        let (log, recovered) = open(&dir, &TopicPartition::new(topic, 0), false);
        assert_eq!(
            (log_size(topic), log.end_offset()),
            (Some(bytes), Offset(end)),
            "{topic}"
        );
        let cut = recovered.cut.unwrap();
        assert_eq!(
            (cut.position, cut.end_offset),
            (bytes, Offset(end)),
            "{topic}"
        );
        // Below the recovery point Kafka loses it; here it is kept aside.
        let lost = dir.read_offsets(name::RECOVERY_POINTS).unwrap()[&TopicPartition::new(topic, 0)]
            > Offset(end);
        assert_eq!(cut.kept_in.is_some(), lost, "{topic}");
    }
    // Kafka cannot load a batch of magic 3 and stops; here the partition is cut in front of it.
    let (log, recovered) = open(&dir, &TopicPartition::new("codec-zstd", 0), false);
    assert_eq!(log.end_offset(), Offset(60));
    assert!(recovered.cut.unwrap().kept_in.is_some());

    // An empty .log.swap does not replace good data.
    let (log, recovered) = open(&dir, &TopicPartition::new("topiccodec-lz4", 0), false);
    assert_eq!(
        (log.end_offset(), log_size("topiccodec-lz4")),
        (Offset(30), Some(569))
    );
    assert_eq!(recovered.notes.len(), 1, "{:?}", recovered.notes);
    assert_eq!(
        size("topiccodec-lz4-0/00000000000000000099.log.cleaned"),
        None
    );
    assert_eq!(
        size("topiccodec-lz4-0/00000000000000000050.log.deleted"),
        None
    );

    // Index files and snapshots are rebuilt to Kafka's sizes.
    let rebuilt = [
        ("times", "00000000000000000000.timeindex", 600),
        ("times", "00000000000000000000.index", 472),
        ("txn", "00000000000000000002.txnindex", 136),
        ("headers", "00000000000000000000.index", 0),
        ("idemp", "00000000000000000024.snapshot", 102),
        ("open-txn", "00000000000000000001.snapshot", 56),
        ("epochs", "leader-epoch-checkpoint", 16),
    ];
    for (topic, file, bytes) in rebuilt {
        let (mut log, recovered) = open(&dir, &TopicPartition::new(topic, 0), false);
        assert_eq!(recovered.cut, None, "{topic}");
        log.close_plan().unwrap().run().unwrap();
        assert_eq!(
            size(&format!("{topic}-0/{file}")),
            Some(bytes),
            "{topic}/{file}"
        );
    }

    // A sealed segment below the recovery point is left as it is; an index entry that names no batch is not believed.
    let (log, _) = open(&dir, &TopicPartition::new("compact", 0), false);
    assert_eq!(
        (log.end_offset(), log_size("compact")),
        (Offset(85), Some(387))
    );
    let (mut log, recovered) = open(&dir, &TopicPartition::new("compact-keep", 0), false);
    assert_eq!(size("compact-keep-0/00000000000000000000.index"), Some(0));
    assert!(
        recovered.notes[0].contains("the index is rebuilt"),
        "{:?}",
        recovered.notes
    );
    assert!(!read_all(&mut log).is_empty());
}

#[test]
fn a_checkpoint_that_kafka_created_and_did_not_fill_is_empty() {
    let copy = Copy::of("clean");
    std::fs::write(copy.0.join(name::CLEANED), "").unwrap();
    let dir = LogDir::existing(&copy.0).unwrap();
    assert!(dir.read_offsets(name::CLEANED).unwrap().is_empty());
    std::fs::write(copy.0.join(name::CLEANED), "\n").unwrap();
    assert!(dir.read_offsets(name::CLEANED).is_err());
}
