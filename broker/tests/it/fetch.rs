//! What Fetch answers: rows as Kafka has them, sessions, waiting, limits.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelog_net::wire::Uuid;
use corelog_net::wire::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic,
};

use crate::client::Client;
use crate::harness::Broker;
use crate::records::{read, values};
use crate::table::{Table, error};
use crate::topics::{create, deleting_records, end_offset, fetching, only_records, produce};

/// `CODE session=… [partition CODE hw=… lso=… start=… bytes=…]`.
fn summary(response: &FetchResponse) -> String {
    let session = if response.session_id == 0 { "no" } else { "a" };
    let mut text = format!("{} {session} session", error(response.error_code));
    for topic in &response.responses {
        for one in &topic.partitions {
            let _ = write!(
                text,
                " [{} {} hw={} lso={} start={} bytes={}]",
                one.partition_index,
                error(one.error_code),
                one.high_watermark,
                one.last_stable_offset,
                one.log_start_offset,
                one.records.as_ref().map_or(0, Bytes::len),
            );
        }
    }
    text
}

/// The usual request, with something changed.
fn with(topic: &str, offset: i64, change: impl FnOnce(&mut FetchRequest)) -> FetchRequest {
    let mut request = fetching(topic, 0, offset);
    change(&mut request);
    request
}

fn part(request: &mut FetchRequest) -> &mut FetchPartition {
    &mut request.topics[0].partitions[0]
}

/// A topic with five batches of three records, 88 bytes each.
fn five_batches(client: &mut Client, topic: &str) -> Uuid {
    let id = create(client, topic, 1, &[]);
    for _ in 0..5 {
        produce(client, topic, 0, values(&["v0", "v1", "v2"]));
    }
    id
}

/// Kafka's readers ask for an offset in a batch and skip what is before it themselves.
#[test]
fn a_fetch_in_the_middle_of_a_batch_returns_the_whole_batch() {
    let broker = Broker::start();
    let mut client = broker.client();
    five_batches(&mut client, "t");
    let whole = client.call(12, &fetching("t", 0, 3));
    for offset in [4, 5] {
        let middle = client.call(12, &fetching("t", 0, offset));
        let records =
            |response: &FetchResponse| response.responses[0].partitions[0].records.clone();
        assert_eq!(records(&middle).map(|r| r.len()), Some(4 * 88), "{offset}");
        assert_eq!(records(&middle), records(&whole), "{offset}");
    }
}

#[test]
fn a_fetch_finds_what_is_there_and_says_what_is_not() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = "fetch-rows";
    five_batches(&mut client, topic);
    let mut table = Table::new("Fetch");
    let mut row = |what: &str, version: i16, request: &FetchRequest, expected: &str| {
        table.row(what, summary(&client.call(version, request)), expected);
    };
    let all = "NONE no session [0 NONE hw=15 lso=15 start=0 bytes=440]";
    let four = "NONE no session [0 NONE hw=15 lso=15 start=0 bytes=352]";
    let none = "NONE no session [0 NONE hw=15 lso=15 start=0 bytes=0]";
    let outside = "NONE no session [0 OFFSET_OUT_OF_RANGE hw=-1 lso=-1 start=-1 bytes=0]";
    row("from 0", 12, &fetching(topic, 0, 0), all);
    row(
        "from 4 (middle of a batch)",
        12,
        &fetching(topic, 0, 4),
        four,
    );
    row("at the log end (15)", 12, &fetching(topic, 0, 15), none);
    for offset in [16, 100_000, -1, -5] {
        row(
            &format!("outside ({offset})"),
            12,
            &fetching(topic, 0, offset),
            outside,
        );
    }
    for version in 5..=12 {
        row(&format!("v{version}"), version, &fetching(topic, 0, 0), all);
    }
    let unknown_start = "NONE no session [0 NONE hw=15 lso=15 start=-1 bytes=440]";
    row("v4", 4, &fetching(topic, 0, 0), unknown_start);
    client.call(2, &deleting_records(topic, 3));

    let mut row = |what: &str, version: i16, request: &FetchRequest, expected: &str| {
        table.row(what, summary(&client.call(version, request)), expected);
    };
    row("below log start", 12, &fetching(topic, 0, 0), outside);
    row("below log start, v4", 4, &fetching(topic, 0, 0), outside);
    let one = "NONE no session [0 NONE hw=15 lso=15 start=3 bytes=88]";
    let rest = "NONE no session [0 NONE hw=15 lso=15 start=3 bytes=352]";
    let refused = |code: &str| format!("NONE no session [0 {code} hw=-1 lso=-1 start=-1 bytes=0]");
    let request = with(topic, 3, |r| {
        part(r).partition_max_bytes = 1;
        r.max_bytes = 1;
    });
    row("partitionMaxBytes 1, maxBytes 1", 12, &request, one);
    row(
        "partitionMaxBytes 0",
        12,
        &with(topic, 3, |r| part(r).partition_max_bytes = 0),
        one,
    );
    row("maxBytes 0", 12, &with(topic, 3, |r| r.max_bytes = 0), one);
    let request = with(topic, 3, |r| {
        part(r).partition_max_bytes = i32::MAX;
        r.max_bytes = i32::MAX;
    });
    row("both 2147483647", 12, &request, rest);
    let unknown = refused("UNKNOWN_SERVER_ERROR");
    row(
        "maxBytes -1",
        12,
        &with(topic, 3, |r| r.max_bytes = -1),
        &unknown,
    );
    let request = with(topic, 3, |r| {
        r.min_bytes = 100_000;
        r.max_wait_ms = 100;
    });
    row(
        "minBytes larger than available, wait 100",
        12,
        &request,
        rest,
    );
    let request = with(topic, 3, |r| {
        r.min_bytes = 1000;
        r.max_bytes = 10;
        r.max_wait_ms = 100;
    });
    row("minBytes > maxBytes", 12, &request, one);
    let missing = refused("UNKNOWN_TOPIC_OR_PARTITION");
    row(
        "unknown topic name v12",
        12,
        &fetching("fetch-nowhere", 0, 0),
        &missing,
    );
    let request = with(topic, 3, |r| part(r).partition = 9);
    let nine = missing.replace("[0 ", "[9 ");
    row("unknown partition", 12, &request, &nine);
    let mut absent = [0; 16];
    absent[13] = 1;
    for (what, id) in [
        ("unknown topic id v13", Uuid(absent)),
        ("zero topic id v13", Uuid::ZERO),
    ] {
        let request = with("", 3, |r| r.topics[0].topic_id = id);
        row(what, 13, &request, &refused("UNKNOWN_TOPIC_ID"));
    }
    let request = with(topic, 3, |r| r.isolation_level = 7);
    row(
        "isolation level 7",
        12,
        &request,
        &unknown.replacen("NONE", "UNKNOWN_SERVER_ERROR", 1),
    );
    let request = with(topic, 3, |r| part(r).current_leader_epoch = 5);
    row(
        "currentLeaderEpoch 5 (too new)",
        12,
        &request,
        &refused("UNKNOWN_LEADER_EPOCH"),
    );
    let request = with(topic, 3, |r| part(r).current_leader_epoch = -2);
    row("currentLeaderEpoch -2", 12, &request, rest);
    let request = with(topic, 3, |r| part(r).last_fetched_epoch = 5);
    row("lastFetchedEpoch 5, v12 (diverging)", 12, &request, outside);
    let elsewhere = refused("NOT_LEADER_OR_FOLLOWER");
    row(
        "replicaId 1 (own id) v12",
        12,
        &with(topic, 3, |r| r.replica_id = 1),
        &elsewhere,
    );
    row(
        "replicaId 5 (not a replica)",
        12,
        &with(topic, 3, |r| r.replica_id = 5),
        &elsewhere,
    );
    row(
        "replicaId -2 (debug) v12",
        12,
        &with(topic, 3, |r| r.replica_id = -2),
        rest,
    );
    row(
        "no topics, sessionless",
        12,
        &with(topic, 3, |r| r.topics.clear()),
        "NONE no session",
    );
    let request = with(topic, 3, |r| {
        r.topics.clear();
        (r.min_bytes, r.max_wait_ms) = (1, 20_000);
    });
    row(
        "no topics: nothing to wait for",
        12,
        &request,
        "NONE no session",
    );
    let request = with("fetch-nowhere", 3, |r| {
        (r.min_bytes, r.max_wait_ms) = (1, 20_000);
    });
    row(
        "an unknown topic: nothing to wait for",
        12,
        &request,
        &missing,
    );
    table.finish();
}

#[test]
fn topic_ids_and_names_lead_to_the_same_records() {
    let broker = Broker::start();
    let mut client = broker.client();
    let id = five_batches(&mut client, "fetch-ids");
    let by_name = only_records(&client.call(12, &fetching("fetch-ids", 0, 0)));
    for version in 13..=17 {
        let request = with("", 0, |r| r.topics[0].topic_id = id);
        let response = client.call(version, &request);
        assert_eq!(response.responses[0].topic_id, id);
        assert_eq!(only_records(&response), by_name, "v{version}");
    }
}

fn in_session(id: i32, epoch: i32, topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes: 1 << 20,
        session_id: id,
        session_epoch: epoch,
        topics,
        ..FetchRequest::default()
    }
}

#[test]
fn a_session_remembers_what_is_fetched() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = "fetch-session";
    create(&mut client, topic, 1, &[]);
    for _ in 0..3 {
        produce(&mut client, topic, 0, values(&["v0", "v1", "v2"]));
    }
    let from = |offset| fetching(topic, 0, offset).topics;
    let mut table = Table::new("Fetch sessions");
    let nine = "NONE a session [0 NONE hw=9 lso=9 start=0 bytes=264]";
    let lost = "FETCH_SESSION_ID_NOT_FOUND no session";

    let new = client.call(12, &in_session(0, 0, from(0)));
    table.row("id 0 epoch 0 (new)", summary(&new), nine);
    let next = client.call(12, &in_session(new.session_id, 1, Vec::new()));
    table.row("incremental, epoch 1, no topics", summary(&next), nine);
    assert_eq!(next.session_id, new.session_id);
    let got = client.call(12, &in_session(new.session_id, 7, Vec::new()));
    let expected = "INVALID_FETCH_SESSION_EPOCH no session";
    table.row("wrong epoch (7 instead of 2)", summary(&got), expected);
    let got = client.call(12, &in_session(123_456, 1, Vec::new()));
    table.row("unknown id", summary(&got), lost);
    let got = client.call(12, &in_session(new.session_id, -1, from(9)));
    let expected = "NONE no session [0 NONE hw=9 lso=9 start=0 bytes=0]";
    table.row("epoch -1 (close)", summary(&got), expected);
    let got = client.call(12, &in_session(new.session_id, 2, Vec::new()));
    table.row("used after close", summary(&got), lost);
    let got = client.call(12, &in_session(5, 0, from(0)));
    table.row("id 5, epoch 0", summary(&got), nine);

    let new = client.call(12, &in_session(0, 0, from(9)));
    let expected = "NONE a session [0 NONE hw=9 lso=9 start=0 bytes=0]";
    table.row("new session at the end", summary(&new), expected);
    let got = client.call(12, &in_session(new.session_id, 1, Vec::new()));
    table.row(
        "nothing has changed: nothing is said",
        summary(&got),
        "NONE a session",
    );
    produce(&mut client, topic, 0, values(&["v0"]));
    let ten = "NONE a session [0 NONE hw=10 lso=10 start=0 bytes=70]";
    let got = client.call(12, &in_session(new.session_id, 2, Vec::new()));
    table.row("then produce", summary(&got), ten);
    let got = client.call(12, &in_session(new.session_id, 3, Vec::new()));
    table.row("not yet read: again", summary(&got), ten);
    let got = client.call(12, &in_session(new.session_id, 4, from(10)));
    table.row("read", summary(&got), "NONE a session");
    let forget = FetchRequest {
        forgotten_topics_data: vec![ForgottenTopic {
            topic: topic.to_owned(),
            partitions: vec![0],
            ..ForgottenTopic::default()
        }],
        ..in_session(new.session_id, 5, Vec::new())
    };
    table.row(
        "forget the partition",
        summary(&client.call(12, &forget)),
        "NONE no session",
    );
    let got = client.call(12, &in_session(new.session_id, 5, Vec::new()));
    table.row("same epoch again", summary(&got), lost);

    let mut absent = [0; 16];
    absent[13] = 1;
    let mut unknown = from(0);
    unknown[0].topic_id = Uuid(absent);
    let new = client.call(13, &in_session(0, 0, unknown));
    let expected = "NONE a session [0 UNKNOWN_TOPIC_ID hw=-1 lso=-1 start=-1 bytes=0]";
    table.row("v13, unknown topic id", summary(&new), expected);
    let got = client.call(13, &in_session(new.session_id, 1, Vec::new()));
    table.row("v13, unknown topic id, epoch 1", summary(&got), expected);
    let new = client.call(12, &in_session(0, 0, from(0)));
    let got = client.call(13, &in_session(new.session_id, 1, Vec::new()));
    let expected = "FETCH_SESSION_TOPIC_ID_ERROR no session";
    table.row(
        "begun with names, continued with v13",
        summary(&got),
        expected,
    );
    table.finish();
}

#[test]
fn a_waiting_fetch_wakes_when_data_comes_wherever_it_lives() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = "fetch-wait";
    // Eight partitions lie on both shards, and so do the connections of this test.
    create(&mut client, topic, 8, &[]);
    for partition in 0..8 {
        let mut reader = broker.client();
        let mut request = fetching(topic, partition, 0);
        request.max_wait_ms = 25_000;
        let waiting = reader.send(12, &request);
        let begun = Instant::now();
        assert_eq!(
            reader.hear(Duration::from_millis(30)),
            crate::client::Heard::Silence
        );
        produce(&mut client, topic, partition, values(&["news"]));
        let response = reader.receive::<FetchRequest>(waiting);
        let got = read(&only_records(&response));
        assert_eq!(got, [(0, b"news".to_vec())], "partition {partition}");
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it waited for the time to run out"
        );
    }
    // One fetch over all partitions, woken by any of them.
    for partition in 0..8 {
        let mut reader = broker.client();
        let mut request = fetching(topic, 0, 1);
        request.max_wait_ms = 25_000;
        let one = request.topics[0].partitions[0].clone();
        request.topics[0].partitions = (0..8)
            .map(|partition| FetchPartition {
                partition,
                fetch_offset: end_offset(&mut client, topic, partition),
                ..one.clone()
            })
            .collect();
        let waiting = reader.send(12, &request);
        assert_eq!(
            reader.hear(Duration::from_millis(10)),
            crate::client::Heard::Silence
        );
        produce(&mut client, topic, partition, values(&["more"]));
        let response = reader.receive::<FetchRequest>(waiting);
        let brought: Vec<i32> = response.responses[0]
            .partitions
            .iter()
            .filter(|one| {
                one.records
                    .as_ref()
                    .is_some_and(|records| !records.is_empty())
            })
            .map(|one| one.partition_index)
            .collect();
        assert_eq!(brought, [partition]);
    }
}

#[test]
fn a_fetch_waits_for_enough_bytes_and_no_longer_than_told() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = "fetch-min";
    create(&mut client, topic, 1, &[]);
    let mut reader = broker.client();
    let request = with(topic, 0, |r| {
        r.min_bytes = 200;
        r.max_wait_ms = 25_000;
    });
    let begun = Instant::now();
    let waiting = reader.send(12, &request);
    produce(&mut client, topic, 0, values(&["v0"]));
    produce(&mut client, topic, 0, values(&["v0"]));
    assert_eq!(
        reader.hear(Duration::from_millis(50)),
        crate::client::Heard::Silence
    );
    produce(&mut client, topic, 0, values(&["v0"]));
    let response = reader.receive::<FetchRequest>(waiting);
    assert_eq!(only_records(&response).len(), 210);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "the third batch ends the wait"
    );
    let nothing = with(topic, 0, |r| {
        r.max_wait_ms = 25_000;
        r.topics.clear();
    });
    assert_eq!(
        summary(&client.call(12, &nothing)),
        "NONE no session",
        "there is nothing to wait for"
    );
    let begun = Instant::now();
    let request = with(topic, 3, |r| r.max_wait_ms = 300);
    let response = client.call(12, &request);
    let waited = begun.elapsed();
    assert!(only_records(&response).is_empty());
    assert!(
        waited >= Duration::from_millis(295),
        "it waited only {waited:?}"
    );
}

#[test]
fn the_limits_of_a_fetch_hold_over_partitions() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = "fetch-limits";
    create(&mut client, topic, 4, &[]);
    for partition in 0..4 {
        for _ in 0..10 {
            produce(
                &mut client,
                topic,
                partition,
                values(&["v".repeat(1000).as_str()]),
            );
        }
    }
    let request = |max_bytes, partition_max_bytes| {
        let mut request = fetching(topic, 0, 0);
        request.max_bytes = max_bytes;
        let one = request.topics[0].partitions[0].clone();
        request.topics[0].partitions = (0..4)
            .map(|partition| FetchPartition {
                partition,
                partition_max_bytes,
                ..one.clone()
            })
            .collect();
        request
    };
    let sizes = |response: &FetchResponse| -> Vec<usize> {
        let mut parts: Vec<_> = response.responses[0].partitions.iter().collect();
        parts.sort_by_key(|one| one.partition_index);
        parts
            .iter()
            .map(|one| one.records.as_ref().map_or(0, Bytes::len))
            .collect()
    };
    let batch = values(&["v".repeat(1000).as_str()]).len();
    let all = client.call(12, &request(1 << 20, 1 << 20));
    assert_eq!(sizes(&all), [10 * batch; 4]);
    // Files are sent as they lie: a part may end inside a batch, but never goes over its limit.
    let three = sizes(&client.call(12, &request(1 << 20, 3500)));
    assert!(
        three.iter().all(|&size| (3 * batch..=3500).contains(&size)),
        "{three:?}"
    );
    let total: usize = sizes(&client.call(12, &request(15_000, 1 << 20)))
        .iter()
        .sum();
    assert!((10 * batch..=15_000).contains(&total), "{total}");
}

#[test]
fn every_offset_is_reached_in_memory_and_in_files() {
    let mut broker = Broker::with(&["corelog.tail.bytes=1048576"]);
    let mut client = broker.client();
    let topic = "fetch-far";
    create(&mut client, topic, 1, &[("segment.bytes", "1048576")]);
    let filler = "x".repeat(20_000);
    for number in 0..400 {
        let value = format!("{number} {filler}");
        produce(&mut client, topic, 0, values(&[value.as_str(), "last"]));
    }
    for round in 0..2 {
        for offset in (0..800).step_by(37).chain([799]) {
            let mut request = fetching(topic, 0, offset);
            request.topics[0].partitions[0].partition_max_bytes = 50_000;
            let got = read(&only_records(&client.call(12, &request)));
            let (_, value) = got
                .iter()
                .find(|(at, _)| *at == offset)
                .expect("the offset asked for");
            if offset % 2 == 0 {
                assert!(
                    value.starts_with(format!("{} ", offset / 2).as_bytes()),
                    "{round} {offset}"
                );
            } else {
                assert_eq!(value, b"last", "{round} {offset}");
            }
        }
        if round == 0 {
            broker.restart();
            client = broker.client();
        }
    }
}

#[test]
fn a_batch_that_only_the_disk_has_comes_whole_however_large() {
    // More than the broker reads from a disk at once.
    const SIZE: usize = 3 << 20;
    let mut broker = Broker::with(&["message.max.bytes=4194304"]);
    let mut client = broker.client();
    create(&mut client, "large", 1, &[]);
    let large = "x".repeat(SIZE);
    produce(&mut client, "large", 0, values(&[&large]));
    produce(&mut client, "large", 0, values(&["a", "b"]));
    produce(&mut client, "large", 0, values(&[&large]));
    broker.stop();
    let log = broker.data().join("large-0/00000000000000000000.log");
    let log = std::fs::File::open(log).expect("the segment is there");
    log.sync_all().expect("the segment can be synced");
    rustix::fs::fadvise(&log, 0, None, rustix::fs::Advice::DontNeed).expect("a file has advice");
    broker.launch();
    let mut client = broker.client();
    let mut offset = 0;
    let mut sizes = Vec::new();
    while offset < 4 {
        let request = with("large", offset, |request| {
            part(request).partition_max_bytes = 1 << 20;
        });
        let response = client.call(12, &request);
        let got = read(&only_records(&response));
        assert_eq!(got[0].0, offset, "the first record is the one asked for");
        sizes.extend(got.iter().map(|(_, value)| value.len()));
        offset = got[got.len() - 1].0 + 1;
    }
    assert_eq!(sizes, [SIZE, 1, 1, SIZE]);
}
