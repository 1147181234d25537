//! What `ListOffsets` and `OffsetForLeaderEpoch` find.

use corelog_net::wire::messages::list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
use corelog_net::wire::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use corelog_storage::batch::{BatchOptions, Codec};

use crate::harness::Broker;
use crate::records::{at, batch, coded, now_ms};
use crate::table::{Table, error};
use crate::topics::{create, listing, offset_of, produce};

/// `CODE offset=… epoch=… time=+…`, the time counted from `base`.
fn summary(response: &ListOffsetsResponse, base: i64) -> String {
    let one = &response.topics[0].partitions[0];
    let time = match one.timestamp {
        -1 => String::new(),
        time => format!(" time=+{}", time - base),
    };
    let partition = match one.partition_index {
        0 => String::new(),
        other => format!("[{other}] "),
    };
    let code = error(one.error_code);
    format!(
        "{partition}{code} offset={} epoch={}{time}",
        one.offset, one.leader_epoch
    )
}

#[test]
fn times_and_ends_are_found() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = "offsets-found";
    create(&mut client, topic, 1, &[]);
    let base = now_ms() - 100_000;
    for shift in [0, 1000, 2000, 3000] {
        produce(&mut client, topic, 0, at(base + shift));
    }
    let mut table = Table::new("ListOffsets");
    let none = "NONE offset=-1 epoch=-1";
    let unsupported = "UNSUPPORTED_VERSION offset=-1 epoch=-1";
    for (what, version, timestamp, expected) in [
        ("latest", 10, -1, "NONE offset=4 epoch=0"),
        ("earliest", 10, -2, "NONE offset=0 epoch=0"),
        ("max timestamp", 10, -3, "NONE offset=3 epoch=0 time=+3000"),
        ("earliest local", 10, -4, "NONE offset=0 epoch=0"),
        ("latest tiered", 10, -5, none),
        ("earliest pending upload, v10", 10, -6, unsupported),
        ("-7 (undefined)", 10, -7, unsupported),
        ("-100 (undefined)", 10, -100, unsupported),
        ("-6, v11", 11, -6, none),
        ("-3, v6 (before v7)", 6, -3, unsupported),
        ("-4, v7 (before v8)", 7, -4, unsupported),
        ("-5, v8 (before v9)", 8, -5, unsupported),
        (
            "exact of 2nd record",
            10,
            base + 1000,
            "NONE offset=1 epoch=0 time=+1000",
        ),
        (
            "between 2nd and 3rd",
            10,
            base + 1500,
            "NONE offset=2 epoch=0 time=+2000",
        ),
        ("in the future", 10, base + 1_000_000, none),
        ("0", 10, 0, "NONE offset=0 epoch=0 time=+0"),
        ("v1, latest", 1, -1, "NONE offset=4 epoch=-1"),
        (
            "v1, time",
            1,
            base + 1500,
            "NONE offset=2 epoch=-1 time=+2000",
        ),
    ] {
        let response = client.call(version, &listing(topic, 0, timestamp));
        table.row(
            &format!("timestamp {what}"),
            summary(&response, base),
            expected,
        );
    }
    let missing = "UNKNOWN_TOPIC_OR_PARTITION offset=-1 epoch=-1";
    let response = client.call(10, &listing("offsets-nowhere", 0, -1));
    table.row("unknown topic", summary(&response, base), missing);
    let response = client.call(10, &listing(topic, 7, -1));
    table.row(
        "unknown partition",
        summary(&response, base),
        &format!("[7] {missing}"),
    );
    let mut request = listing(topic, 0, -1);
    request.topics[0].partitions[0].current_leader_epoch = 9;
    let expected = "UNKNOWN_LEADER_EPOCH offset=-1 epoch=-1";
    table.row(
        "currentLeaderEpoch 9",
        summary(&client.call(10, &request), base),
        expected,
    );
    let mut request = listing(topic, 0, -1);
    let again = request.topics[0].partitions[0].clone();
    request.topics[0].partitions.push(again);
    let expected = "INVALID_REQUEST offset=-1 epoch=-1";
    table.row(
        "duplicate partition",
        summary(&client.call(10, &request), base),
        expected,
    );
    table.finish();
}

#[test]
fn an_empty_log_has_ends_and_no_times() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "offsets-empty", 1, &[]);
    let ask = |timestamp| -> ListOffsetsRequest { listing("offsets-empty", 0, timestamp) };
    let mut table = Table::new("ListOffsets of an empty log");
    let none = "NONE offset=-1 epoch=-1";
    for (timestamp, expected) in [
        (-1, "NONE offset=0 epoch=0"),
        (-2, "NONE offset=0 epoch=0"),
        (-3, none),
        (0, none),
        (now_ms(), none),
    ] {
        let response = client.call(10, &ask(timestamp));
        table.row(&timestamp.to_string(), summary(&response, 0), expected);
    }
    table.finish();
}

#[test]
fn a_time_is_found_inside_batches_of_every_codec_and_in_old_segments() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = "offsets-deep";
    create(&mut client, topic, 1, &[("segment.bytes", "1048576")]);
    let base = now_ms() - 10_000_000;
    let filler: String = (0..5000)
        .map(|n| char::from(b'a' + u8::try_from(n * n % 26).unwrap()))
        .collect();
    let codecs = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];
    let mut time = base;
    for round in 0..60 {
        for codec in codecs {
            let options = if round % 2 == 0 {
                BatchOptions::default()
            } else {
                coded(codec)
            };
            let records: Vec<_> = (0..4)
                .map(|n| (time + n * 10, Some("k"), &filler[..]))
                .collect();
            produce(&mut client, topic, 0, batch(options, &records));
            time += 40;
        }
    }
    for round in 0..2 {
        for offset in (0..1200).step_by(41).chain([1199]) {
            let found = offset_of(&mut client, topic, 0, base + offset * 10);
            assert_eq!(found, offset, "round {round}");
            let found = offset_of(&mut client, topic, 0, base + offset * 10 - 9);
            assert_eq!(found, offset, "just after the record before, round {round}");
        }
        assert_eq!(offset_of(&mut client, topic, 0, -3), 1199);
        assert_eq!(offset_of(&mut client, topic, 0, base + 12_000), -1);
        if round == 0 {
            broker.restart();
            client = broker.client();
        }
    }
}

#[test]
fn epochs_end_where_the_log_ends() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = "offsets-epochs";
    create(&mut client, topic, 1, &[]);
    for _ in 0..4 {
        produce(&mut client, topic, 0, at(now_ms()));
    }
    let mut table = Table::new("OffsetForLeaderEpoch");
    for (topic, epoch, expected) in [
        (topic, 0, "NONE epoch=0 end=4"),
        (topic, 5, "NONE epoch=-1 end=-1"),
        (
            "offsets-nowhere",
            0,
            "UNKNOWN_TOPIC_OR_PARTITION epoch=-1 end=-1",
        ),
    ] {
        let request = OffsetForLeaderEpochRequest {
            topics: vec![OffsetForLeaderTopic {
                topic: topic.to_owned(),
                partitions: vec![OffsetForLeaderPartition {
                    leader_epoch: epoch,
                    ..OffsetForLeaderPartition::default()
                }],
                ..OffsetForLeaderTopic::default()
            }],
            ..OffsetForLeaderEpochRequest::default()
        };
        let response = client.call(4, &request);
        let one = &response.topics[0].partitions[0];
        let got = format!(
            "{} epoch={} end={}",
            error(one.error_code),
            one.leader_epoch,
            one.end_offset
        );
        table.row(&format!("{topic}, epoch {epoch}"), got, expected);
    }
    table.finish();
}
