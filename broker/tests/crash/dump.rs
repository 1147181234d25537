//! The files of a stopped broker, read as `kafka-dump-log` reads them.
//!
//! **Owns** the check of segments and indexes against each other.
//! **Lives on** the test's thread.
//! **Not here**: what the records should be (`crash`).

use std::path::Path;

use bytes::Bytes;
use corelog_storage::batch::UncheckedBatch;
use corelog_storage::segment::name;
use corelog_storage::types::TopicPartition;

/// A batch in a segment.
struct Found {
    position: u32,
    base: i64,
    last: i64,
    max_timestamp: i64,
}

/// Checks every segment of the topic; how many records there are.
///
/// Batches are whole, their offsets dense from file to file, a file begins with the offset it is
/// named after, and every index entry leads to the batch that holds its offset.
pub(super) fn check(data: &Path, topic: &str, partitions: i32) -> usize {
    let mut records = 0;
    for partition in 0..partitions {
        let partition = TopicPartition {
            topic: topic.into(),
            partition,
        };
        let folder = data.join(name::folder(&partition));
        let mut bases: Vec<i64> = std::fs::read_dir(&folder)
            .expect("the partition has a folder")
            .filter_map(|entry| {
                entry
                    .expect("it can be listed")
                    .file_name()
                    .into_string()
                    .ok()
            })
            .filter_map(|file| file.strip_suffix(".log").and_then(|base| base.parse().ok()))
            .collect();
        bases.sort_unstable();
        assert!(!bases.is_empty(), "{partition} has no segment");
        let mut next = 0;
        for (index, &base) in bases.iter().enumerate() {
            assert_eq!(
                base, next,
                "{partition}: a segment begins where the one before ends"
            );
            let file = |ending: &str| folder.join(format!("{base:020}.{ending}"));
            let found = segment(&file("log"), base);
            next = found.last().map_or(base, |batch| batch.last + 1);
            assert!(
                next > base || index + 1 == bases.len(),
                "only the last segment may be empty"
            );
            offsets(&whole(&file("index")), &found, base, &file("index"));
            times(&whole(&file("timeindex")), &found, base, &file("timeindex"));
            records += usize::try_from(next - base).expect("a count");
        }
    }
    records
}

/// The batches of a segment.
fn segment(path: &Path, base: i64) -> Vec<Found> {
    let mut rest = whole(path);
    let size = rest.len();
    let mut found = Vec::new();
    let mut next = base;
    while !rest.is_empty() {
        let position = u32::try_from(size - rest.len()).expect("below 4 GiB");
        let batch = UncheckedBatch::take(&mut rest)
            .ok()
            .flatten()
            .unwrap_or_else(|| panic!("{}: no batch at {position}", path.display()));
        let batch = batch
            .check()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let header = *batch.header();
        assert_eq!(
            header.base_offset.0,
            next,
            "{} at {position}",
            path.display()
        );
        let payload = batch.open(64 << 20).expect("it can be opened");
        let count = payload
            .records()
            .inspect(|record| assert!(record.is_ok(), "{record:?}"))
            .count();
        assert_eq!(
            i32::try_from(count),
            Ok(header.record_count),
            "{}",
            path.display()
        );
        next = header.last_offset().0 + 1;
        found.push(Found {
            position,
            base: header.base_offset.0,
            last: header.last_offset().0,
            max_timestamp: header.max_timestamp.0,
        });
    }
    found
}

/// `.index`: offset relative to the base, position of the batch that holds it.
fn offsets(index: &Bytes, found: &[Found], base: i64, path: &Path) {
    assert_eq!(index.len() % 8, 0, "{}", path.display());
    let mut before = None;
    for entry in index.chunks_exact(8) {
        let (offset, position) = entry.split_at(4);
        let offset = base + i64::from(u32::from_be_bytes(offset.try_into().expect("four bytes")));
        let position = u32::from_be_bytes(position.try_into().expect("four bytes"));
        let holds = |batch: &Found| {
            batch.position == position && (batch.base..=batch.last).contains(&offset)
        };
        assert!(
            found.iter().any(holds),
            "{}: {offset} is not at {position}",
            path.display()
        );
        assert!(
            before < Some((offset, position)),
            "{}: entries grow",
            path.display()
        );
        before = Some((offset, position));
    }
}

/// `.timeindex`: the largest timestamp so far, and the offset, relative to the base, it came with.
fn times(index: &Bytes, found: &[Found], base: i64, path: &Path) {
    assert_eq!(index.len() % 12, 0, "{}", path.display());
    let mut before = None;
    for entry in index.chunks_exact(12) {
        let (time, offset) = entry.split_at(8);
        let time = i64::from_be_bytes(time.try_into().expect("eight bytes"));
        let offset = base + i64::from(u32::from_be_bytes(offset.try_into().expect("four bytes")));
        let batch = found
            .iter()
            .find(|batch| (batch.base..=batch.last).contains(&offset));
        let batch = batch.unwrap_or_else(|| panic!("{}: no offset {offset}", path.display()));
        assert_eq!(batch.max_timestamp, time, "{} at {offset}", path.display());
        assert!(
            before < Some((time, offset)),
            "{}: entries grow",
            path.display()
        );
        before = Some((time, offset));
    }
}

fn whole(path: &Path) -> Bytes {
    std::fs::read(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .into()
}
