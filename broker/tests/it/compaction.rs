//! Compacted topics shrink under their readers, and every reader still learns the last value of every key.

use std::collections::BTreeMap;
use std::fs;

use corelog_storage::batch::{Codec, UncheckedBatch};

use crate::client::Client;
use crate::configs::{self, alter};
use crate::groups::await_coordinator;
use crate::harness::{Broker, eventually};
use crate::offsets::{Commit, commit, committed};
use crate::records::{batch, coded, now_ms};
use crate::topics::{
    create, deleting_records, end_offset, fetching, listing, offset_of, only_records, produce,
};

/// Small segments, a cleaner that does not rest, no delay before files go.
const EAGER: [&str; 2] = ["log.cleaner.backoff.ms=20", "log.segment.delete.delay.ms=0"];

const COMPACTED: [(&str, &str); 3] = [
    ("cleanup.policy", "compact"),
    ("internal.segment.bytes", "20000"),
    ("min.cleanable.dirty.ratio", "0.01"),
];

/// A record as read: offset, key, value.
type Read = (i64, String, Option<String>);

/// Everything from an offset on, as a consumer reads it: batches without records move it on too.
fn consume(client: &mut Client, topic: &str, from: i64) -> Vec<Read> {
    let end = end_offset(client, topic, 0);
    let (mut next, mut all) = (from, Vec::new());
    while next < end {
        let mut rest = only_records(&client.call(12, &fetching(topic, 0, next)));
        let before = next;
        while let Ok(Some(batch)) = UncheckedBatch::take(&mut rest) {
            let batch = batch.check().expect("what a broker sends is whole");
            next = batch.header().next_offset().0;
            if batch.header().attributes.is_control() {
                continue;
            }
            for record in batch.open(1 << 20).expect("it can be opened").records() {
                let record = record.expect("it can be read");
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                if record.offset.0 >= from {
                    all.push((
                        record.offset.0,
                        record.key.map(text).expect("a key"),
                        record.value.map(text),
                    ));
                }
            }
        }
        assert!(next > before, "{topic}: nothing at {before} of {end}");
    }
    all
}

fn latest(all: &[Read]) -> BTreeMap<&str, (i64, Option<&str>)> {
    all.iter()
        .map(|(offset, key, value)| (key.as_str(), (*offset, value.as_deref())))
        .collect()
}

/// Bytes of the live `.log` files of a partition.
fn log_bytes(broker: &Broker, partition: &str) -> u64 {
    let Ok(entries) = fs::read_dir(broker.data().join(partition)) else {
        return 0;
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".log"))
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

#[test]
fn a_compacted_topic_shrinks_and_keeps_the_last_value_of_every_key() {
    let mut broker = Broker::with(&EAGER);
    let mut client = broker.client();
    create(&mut client, "shrinks", 1, &COMPACTED);
    let filler = "x".repeat(200);
    let mut written: Vec<Read> = Vec::new();
    for round in 0..400_i64 {
        let codec = Codec::ALL[usize::try_from(round).expect("small") % 5];
        let keys = [format!("a{}", round % 10), format!("b{}", round % 3)];
        let value = format!("{round} {filler}");
        let records = [
            (now_ms(), Some(keys[0].as_str()), value.as_str()),
            (now_ms(), Some(keys[1].as_str()), value.as_str()),
        ];
        let base = produce(&mut client, "shrinks", 0, batch(coded(codec), &records));
        for (delta, key) in (0..).zip(&keys) {
            written.push((base + delta, key.clone(), Some(value.clone())));
        }
        // A reader beside it never sees a value go back, nor a gap as an end.
        if round % 50 == 49 {
            let seen = consume(&mut client, "shrinks", 0);
            assert!(seen.windows(2).all(|two| two[0].0 < two[1].0));
            assert_eq!(latest(&seen), latest(&written), "after {round}");
        }
    }
    eventually("the log has shrunk", || {
        consume(&mut client, "shrinks", 0).len() < 200
    });
    let seen = consume(&mut client, "shrinks", 0);
    assert_eq!(latest(&seen), latest(&written));
    for record in &seen {
        assert!(written.contains(record), "{record:?}");
    }
    // From wherever a reader begins, it gets what is left from there on.
    for from in (0..800).step_by(37) {
        let expected: Vec<_> = seen.iter().filter(|one| one.0 >= from).cloned().collect();
        assert_eq!(
            consume(&mut client, "shrinks", from),
            expected,
            "from {from}"
        );
    }
    // By time, the first record that is left is found.
    let first = &client.call(7, &listing("shrinks", 0, 1)).topics[0].partitions[0];
    assert_eq!((first.error_code, first.offset), (0, seen[0].0));
    for how in ["stop", "kill"] {
        if how == "stop" {
            broker.stop();
            let path = broker.data().join("cleaner-offset-checkpoint");
            let checkpoint = fs::read_to_string(path).expect("it was written");
            assert!(checkpoint.contains("\nshrinks 0 "), "{checkpoint}");
        } else {
            broker.kill();
        }
        broker.launch();
        client = broker.client();
        let again = consume(&mut client, "shrinks", 0);
        assert_eq!(latest(&again), latest(&written), "after a {how}");
        assert!(again.len() <= seen.len(), "after a {how}");
    }
    assert!(!broker.log().contains("ERROR"), "{}", broker.log());
}

#[test]
fn a_tombstone_goes_after_its_time_and_takes_its_key_along() {
    let broker = Broker::with(&EAGER);
    let mut client = broker.client();
    let mut settings = COMPACTED.to_vec();
    settings.push(("delete.retention.ms", "1"));
    create(&mut client, "tombstones", 1, &settings);
    produce(
        &mut client,
        "tombstones",
        0,
        batch(coded(Codec::None), &[(now_ms(), Some("dead"), "value")]),
    );
    let mut builder = corelog_storage::batch::BatchBuilder::new(coded(Codec::Lz4));
    builder
        .append(
            corelog_storage::types::Timestamp(now_ms()),
            Some(b"dead"),
            None,
            &[],
        )
        .expect("small");
    let tombstone = builder.finish().expect("one record").to_bytes().to_vec();
    produce(&mut client, "tombstones", 0, tombstone);
    let filler = "x".repeat(1000);
    let mut number = 0;
    eventually("nothing is left of the key", || {
        let key = format!("k{}", number % 4);
        number += 1;
        let records = [(now_ms(), Some(key.as_str()), filler.as_str())];
        produce(
            &mut client,
            "tombstones",
            0,
            batch(coded(Codec::None), &records),
        );
        let seen = consume(&mut client, "tombstones", 0);
        !seen.iter().any(|(_, key, _)| key == "dead")
    });
    assert_eq!(offset_of(&mut client, "tombstones", 0, -2), 0);
}

#[test]
fn compact_and_delete_together_keep_the_start_where_deletion_put_it() {
    let broker = Broker::with(&[EAGER[0], EAGER[1], "log.retention.check.interval.ms=20"]);
    let mut client = broker.client();
    let mut settings = COMPACTED.to_vec();
    settings[0] = ("cleanup.policy", "compact,delete");
    settings.push(("retention.bytes", "60000"));
    create(&mut client, "both", 1, &settings);
    let filler = "x".repeat(1500);
    let mut last = BTreeMap::new();
    for round in 0..300_i64 {
        // Most keys come once, so that compaction alone does not keep the size.
        let key = if round % 4 == 0 {
            "often".to_owned()
        } else {
            format!("once {round}")
        };
        let records = [(now_ms(), Some(key.as_str()), filler.as_str())];
        let offset = produce(&mut client, "both", 0, batch(coded(Codec::None), &records));
        last.insert(key, offset);
        if round == 150 {
            client.call(2, &deleting_records("both", 140));
        }
    }
    eventually("retention has deleted", || {
        offset_of(&mut client, "both", 0, -2) > 200 && log_bytes(&broker, "both-0") < 90_000
    });
    let start = offset_of(&mut client, "both", 0, -2);
    let seen = consume(&mut client, "both", start);
    for (key, offset) in last.iter().filter(|(_, offset)| **offset >= start) {
        let found = seen.iter().any(|(at, seen, _)| at == offset && seen == key);
        assert!(found, "{key} at {offset}, the log starts at {start}");
    }
    assert!(!broker.log().contains("ERROR"), "{}", broker.log());
}

#[test]
fn committed_offsets_outlive_the_compaction_of_their_topic() {
    let mut broker = Broker::with(&EAGER);
    let mut client = broker.client();
    create(&mut client, "committed-to", 1, &[]);
    await_coordinator(&mut client, "busy");
    let changes = [
        ("internal.segment.bytes", 0, Some("8000")),
        ("min.cleanable.dirty.ratio", 0, Some("0.01")),
    ];
    let altered = alter(&mut client, configs::TOPIC, "__consumer_offsets", &changes);
    assert!(altered.starts_with("NONE"), "{altered}");
    for group in ["idle-1", "idle-2", "idle-3", "idle-4"] {
        await_coordinator(&mut client, group);
        assert_eq!(
            commit(&mut client, &Commit::of(group, "committed-to", 7)),
            "NONE"
        );
    }
    let total = |broker: &Broker| -> u64 {
        (0..4)
            .map(|number| log_bytes(broker, &format!("__consumer_offsets-{number}")))
            .sum()
    };
    for offset in 0..1500 {
        let one = Commit::of("busy", "committed-to", offset);
        assert_eq!(commit(&mut client, &one), "NONE");
    }
    eventually("the offsets topic has shrunk", || total(&broker) < 40_000);
    let wanted: [(&str, &[i32]); 1] = [("committed-to", &[0])];
    let all = |client: &mut Client| -> Vec<String> {
        ["busy", "idle-1", "idle-2", "idle-3", "idle-4"]
            .iter()
            .map(|group| {
                await_coordinator(client, group);
                committed(client, group, Some(&wanted))
            })
            .collect()
    };
    let before = all(&mut client);
    assert!(before[0].contains("1499"), "{before:?}");
    assert!(
        before[1..].iter().all(|one| one.contains('7')),
        "{before:?}"
    );
    for how in ["stop", "kill"] {
        if how == "stop" {
            broker.stop();
        } else {
            broker.kill();
        }
        broker.launch();
        client = broker.client();
        assert_eq!(all(&mut client), before, "after a {how}");
    }
    assert!(!broker.log().contains("ERROR"), "{}", broker.log());
}

#[test]
fn a_log_that_does_not_read_as_it_should_is_left_alone() {
    let mut broker = Broker::with(&["log.cleaner.enable=false"]);
    let mut client = broker.client();
    create(&mut client, "damaged", 1, &COMPACTED);
    create(&mut client, "sound", 1, &COMPACTED);
    let filler = "x".repeat(500);
    for round in 0..200 {
        let value = format!("{round} {filler}");
        for topic in ["damaged", "sound"] {
            let records = [(now_ms(), Some("k"), value.as_str())];
            produce(&mut client, topic, 0, batch(coded(Codec::None), &records));
        }
    }
    broker.stop();
    let path = broker.data().join("damaged-0/00000000000000000000.log");
    let mut bytes = fs::read(&path).expect("it is there");
    bytes[3000] ^= 1;
    fs::write(&path, &bytes).expect("it can be written");
    broker.set("log.cleaner.enable=true");
    broker.set("log.cleaner.backoff.ms=20");
    broker.launch();
    client = broker.client();
    eventually("the sound log has shrunk", || {
        log_bytes(&broker, "sound-0") < 40_000
    });
    eventually("the damaged one is named", || {
        broker
            .log()
            .contains("partition=damaged-0 cannot be compacted")
    });
    assert_eq!(fs::read(&path).expect("it is there"), bytes);
    let last = consume(&mut client, "damaged", 150);
    assert_eq!(last.len(), 50, "what is not damaged can be read");
}
