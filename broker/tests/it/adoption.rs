//! A data directory that Kafka wrote, taken over as it is. `../adopt` does it with a Kafka beside.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use corelog_net::wire::messages::metadata::MetadataRequest;

use crate::harness::Broker;
use crate::offsets::committed;
use crate::topics::{listing, offset_of, produce, read_all};

/// What Kafka 4.3.1 left after a clean stop, and its own dump of it. Index files are left out.
fn kafka() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../storage/tests/fixtures/kafka-4.3.1")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            let bytes = fs::read(&from).expect("a file");
            fs::write(to, bytes).expect("a file can be written");
        }
    }
}

/// Nothing of the fixture may grow too old while the test runs.
const KEEP: [&str; 4] = [
    "log.retention.ms=-1",
    "offsets.retention.minutes=2147483647",
    "log.cleaner.enable=false",
    "producer.id.expiration.ms=2147483647",
];

/// Offsets with their values, `None` for what has none to compare, as Kafka's dump shows them.
fn dumped(partition: &str) -> Vec<(i64, Option<Vec<u8>>)> {
    let path = kafka().join("dump").join(format!("{partition}.txt"));
    let text = fs::read_to_string(path).expect("a dump");
    let mut records = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("| offset: ") else {
            continue;
        };
        let offset = rest.split(' ').next().and_then(|text| text.parse().ok());
        let value = rest.split_once(" payload: ").map(|(_, value)| value);
        let control = rest.contains("endTxnMarker");
        let value = (!control).then(|| value.unwrap_or_default().as_bytes().to_vec());
        records.insert(offset.expect("an offset"), value);
    }
    records.into_iter().collect()
}

#[test]
fn every_record_that_kafka_dumps_is_fetched() {
    let mut broker = Broker::on(|data| copy(&kafka().join("data"), data), &KEEP);
    let mut client = broker.client();
    let request = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    let all = client.call(12, &request);
    assert_eq!(all.cluster_id.as_deref(), Some("Y29yZWxvZy1sb2dzLTAwMQ"));
    assert_eq!(all.topics.len(), 26);
    let mut count = 0;
    for entry in fs::read_dir(kafka().join("dump")).expect("the dumps") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("a name of letters");
        let partition = name.strip_suffix(".txt").expect("a text");
        if partition.starts_with("__") {
            continue;
        }
        let topic = partition.strip_suffix("-0").expect("partition 0");
        let first = offset_of(&mut client, topic, 0, -2);
        let expected: Vec<_> = dumped(partition)
            .into_iter()
            .filter(|(offset, _)| *offset >= first)
            .collect();
        let read = read_all(&mut client, topic, 0, first);
        assert_eq!(read.len(), expected.len(), "{topic}");
        for ((at, value), (offset, dumped)) in read.iter().zip(&expected) {
            assert_eq!(at, offset, "{topic}");
            if let Some(dumped) = dumped {
                assert_eq!(value, dumped, "{topic} at {offset}");
            }
        }
        count += read.len();
    }
    assert!(count > 600, "{count}");
    assert_eq!(offset_of(&mut client, "deleted", 0, -2), 4);
    // Groups of every kind keep their offsets, those that are not served yet as well.
    let offsets = [
        ("classic-g", "plain-0=3"),
        ("modern-g", "idemp-0=24 plain-0=3"),
        ("modern-static", "idemp-0=24 plain-0=3"),
        ("simple-g", "plain-0=7"),
        ("gone-g", ""),
    ];
    for (group, expected) in offsets {
        let found = committed(&mut client, group, None);
        assert_eq!(found, format!("NONE {expected}").trim_end(), "{group}");
    }
    // It goes on where Kafka stopped.
    let end = read_all(&mut client, "plain", 0, 0).len();
    let records = crate::records::values(&["ours"]);
    let offset = produce(&mut client, "plain", 0, records);
    assert_eq!(usize::try_from(offset), Ok(end));
    broker.kill();
    broker.launch();
    let mut client = broker.client();
    assert_eq!(
        read_all(&mut client, "plain", 0, offset),
        [(offset, b"ours".to_vec())]
    );
    broker.stop();
    for name in ["__transaction_state-0", "__share_group_state-0"] {
        let file = format!("{name}/00000000000000000000.log");
        let before = fs::read(kafka().join("data").join(&file)).expect("Kafka's file");
        let after = fs::read(broker.data().join(&file)).expect("the same file");
        assert!(before == after, "{file} is not ours to write");
    }
}

#[test]
fn batches_of_the_old_formats_are_refused_with_their_place() {
    let mut broker = Broker::on(
        |data| {
            copy(&kafka().join("data"), data);
            // Magic 1: offset, size, CRC, magic, attributes, timestamp, no key, one byte.
            let message = b"\0\0\0\0\0\0\0\0\0\0\0\x17\xc1\x67\x2a\xc5\x01\0\
                \0\0\x01\x8b\xcf\xe5\x68\0\xff\xff\xff\xff\0\0\0\x01v";
            let path = data.join("plain-0/00000000000000000000.log");
            let mut bytes = message.to_vec();
            bytes.extend(fs::read(&path).expect("a log"));
            fs::write(path, bytes).expect("it can be written");
        },
        &KEEP,
    );
    let log = broker.log();
    let line = log.lines().find(|line| line.contains("plain-0"));
    let line = line.unwrap_or_else(|| panic!("nothing is said of it:\n{log}"));
    assert!(line.contains("00000000000000000000.log"), "{line}");
    assert!(line.contains("position 0"), "{line}");
    assert!(
        line.contains("magic 1") || line.contains("format 1"),
        "{line}"
    );
    let mut client = broker.client();
    let response = client.call(4, &listing("plain", 0, -1));
    let error = response.topics[0].partitions[0].error_code;
    assert_ne!(error, 0, "it is not served");
    assert_eq!(
        read_all(&mut client, "idemp", 0, 0).len(),
        dumped("idemp-0").len()
    );
    broker.stop();
}

#[test]
fn a_cluster_of_a_later_release_is_refused() {
    let text = "metadata.version";
    let mut broker = Broker::start();
    broker.stop();
    let path = broker.data().join("__cluster_metadata-0");
    fs::remove_dir_all(&path).expect("it can be removed");
    // The level of the first start: 30 (as a varint, behind the name) becomes 40.
    let bootstrap = broker.data().join("bootstrap.checkpoint");
    let mut bytes = fs::read(&bootstrap).expect("the levels of the first start");
    let at = bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes())
        .expect("the feature's name")
        + text.len();
    assert_eq!(bytes[at..at + 2], [0, 30]);
    bytes[at + 1] = 40;
    let size = i32::from_be_bytes(bytes[83 + 8..83 + 12].try_into().expect("four bytes"));
    let end = 83 + 12 + usize::try_from(size).expect("a size");
    let crc = crc32c::crc32c(&bytes[83 + 21..end]);
    bytes[83 + 17..83 + 21].copy_from_slice(&crc.to_be_bytes());
    fs::write(&bootstrap, bytes).expect("it can be written");
    let said = broker.refused();
    assert!(said.contains("metadata.version"), "{said}");
    assert!(said.contains("40") && said.contains("30"), "{said}");
}
