//! `compression.type`: the log has the topic's codec, whatever the producer chose.

use bytes::Bytes;
use corelog_net::wire::messages::produce::ProduceRequest;
use corelog_storage::batch::{
    Attributes, BatchOptions, Codec, Header, TimestampType, UncheckedBatch,
};
use corelog_storage::types::{ProducerEpoch, ProducerId, Sequence};

use crate::client::Client;
use crate::harness::Broker;
use crate::records::{Record, batch, coded, now_ms, read};
use crate::table::error;
use crate::topics::{create, fetching, only_records, produce, producing, read_all};

const CODECS: [(&str, Codec); 5] = [
    ("uncompressed", Codec::None),
    ("gzip", Codec::Gzip),
    ("snappy", Codec::Snappy),
    ("lz4", Codec::Lz4),
    ("zstd", Codec::Zstd),
];

/// `count` records, each of some 200 bytes.
fn records(options: BatchOptions, count: usize) -> Vec<u8> {
    let now = now_ms();
    let filler = "and so on ".repeat(20);
    let all: Vec<String> = (0..count).map(|n| format!("{n} {filler}")).collect();
    let all: Vec<Record<'_>> = all.iter().map(|v| (now, Some("key"), v.as_str())).collect();
    batch(options, &all)
}

/// The headers of the batches that a consumer is sent.
fn headers(client: &mut Client, topic: &str) -> Vec<Header> {
    let response = client.call(12, &fetching(topic, 0, 0));
    let mut rest: Bytes = only_records(&response);
    let mut headers = Vec::new();
    while let Ok(Some(one)) = UncheckedBatch::take(&mut rest) {
        headers.push(*one.check().expect("it is whole").header());
    }
    headers
}

#[test]
fn every_producers_codec_becomes_the_topics() {
    let broker = Broker::start();
    let mut client = broker.client();
    for (name, codec) in CODECS {
        let topic = format!("type-{name}");
        create(&mut client, &topic, 1, &[("compression.type", name)]);
        let mut expected = Vec::new();
        // Small enough to be done at once, and too large for that.
        for count in [3, 700] {
            for (_, from) in CODECS {
                let sent = records(coded(from), count);
                let base = produce(&mut client, &topic, 0, sent.clone());
                assert_eq!(base, i64::try_from(expected.len()).expect("a count"));
                expected.extend(read(&sent.into()).into_iter().map(|(_, value)| value));
            }
        }
        let found = headers(&mut client, &topic);
        assert_eq!(found.len(), 10);
        assert!(
            found
                .iter()
                .all(|one| one.attributes.codec() == Some(codec)),
            "{name}: {found:?}"
        );
        let read: Vec<_> = read_all(&mut client, &topic, 0, 0);
        assert!(read.iter().map(|(offset, _)| *offset).eq(0..3515));
        assert!(read.into_iter().map(|(_, value)| value).eq(expected));
    }
}

#[test]
fn what_has_the_codec_already_is_kept_byte_for_byte() {
    let broker = Broker::start();
    let mut client = broker.client();
    let configs = [
        ("compression.type", "gzip"),
        ("compression.gzip.level", "1"),
    ];
    create(&mut client, "type-kept", 1, &configs);
    let sent = records(coded(Codec::Gzip), 400);
    produce(&mut client, "type-kept", 0, sent.clone());
    let response = client.call(12, &fetching("type-kept", 0, 0));
    // Base offset 0 and the leader epoch are the broker's.
    assert_eq!(only_records(&response)[16..], sent[16..]);
}

#[test]
fn levels_are_honoured() {
    let broker = Broker::start();
    let mut client = broker.client();
    for (codec, low, high) in [("gzip", "1", "9"), ("lz4", "9", "12"), ("zstd", "1", "19")] {
        let mut sizes = Vec::new();
        for level in [low, high] {
            let topic = format!("level-{codec}-{level}");
            let setting = format!("compression.{codec}.level");
            let configs = [("compression.type", codec), (setting.as_str(), level)];
            create(&mut client, &topic, 1, &configs);
            let now = now_ms();
            let words: Vec<String> = (0..3000_u64)
                .map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 5000))
                .collect();
            let all: Vec<Record<'_>> = words.iter().map(|v| (now, None, v.as_str())).collect();
            produce(&mut client, &topic, 0, batch(BatchOptions::default(), &all));
            sizes.push(headers(&mut client, &topic)[0].size());
        }
        assert!(sizes[1] < sizes[0], "{codec}: {sizes:?}");
    }
}

#[test]
fn sequences_and_append_time_survive() {
    let broker = Broker::start();
    let mut client = broker.client();
    let configs = [
        ("compression.type", "zstd"),
        ("message.timestamp.type", "LogAppendTime"),
    ];
    create(&mut client, "type-sequence", 1, &configs);
    let numbered = |sequence| BatchOptions {
        producer_id: ProducerId(4711),
        producer_epoch: ProducerEpoch(2),
        base_sequence: Sequence(sequence),
        ..coded(Codec::Lz4)
    };
    let before = now_ms();
    for (sequence, count, base) in [(0, 5, 0), (5, 600, 5), (5, 600, 5), (605, 1, 605)] {
        let sent = records(numbered(sequence), count);
        // The third is a retry: it is answered with the offsets of then.
        assert_eq!(produce(&mut client, "type-sequence", 0, sent), base);
    }
    let found = headers(&mut client, "type-sequence");
    assert_eq!(found.len(), 3);
    for (header, sequence) in found.iter().zip([0, 5, 605]) {
        assert_eq!(header.producer_id, ProducerId(4711));
        assert_eq!(header.producer_epoch, ProducerEpoch(2));
        assert_eq!(header.base_sequence, Sequence(sequence));
        let expected = Attributes::default()
            .with_codec(Codec::Zstd)
            .with_timestamp_type(TimestampType::LogAppendTime);
        assert_eq!(header.attributes, expected);
        assert!((before..=now_ms()).contains(&header.max_timestamp.0));
    }
    let gap = client.call(9, &producing("type-sequence", 0, records(numbered(700), 1)));
    let code = gap.responses[0].partition_responses[0].error_code;
    assert_eq!(error(code), "OUT_OF_ORDER_SEQUENCE_NUMBER");
}

#[test]
fn the_size_limit_counts_what_is_stored() {
    let broker = Broker::start();
    let mut client = broker.client();
    let sent = records(coded(Codec::Gzip), 100);
    let stored = records(BatchOptions::default(), 100).len();
    assert!(sent.len() < stored);
    for (less, expected) in [(-1_i64, "NONE"), (0, "NONE"), (1, "MESSAGE_TOO_LARGE")] {
        let topic = format!("type-limit{less}");
        let limit = (i64::try_from(stored).expect("a size") - less).to_string();
        let configs = [
            ("compression.type", "uncompressed"),
            ("max.message.bytes", limit.as_str()),
        ];
        create(&mut client, &topic, 1, &configs);
        let response = client.call(9, &producing(&topic, 0, sent.clone()));
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(error(answer.error_code), expected, "{limit}");
        let start = if expected == "NONE" { 0 } else { -1 };
        assert_eq!(answer.log_start_offset, start);
    }
}

/// A bomb costs its limit and is refused; the connection and the partition go on.
#[test]
fn a_bomb_is_refused() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "type-bomb", 1, &[("compression.type", "lz4")]);
    let large = "0".repeat(300 << 20);
    let bomb = batch(coded(Codec::Zstd), &[(now_ms(), None, &large)]);
    assert!(bomb.len() < 100 << 10, "{}", bomb.len());
    let response = client.call(9, &producing("type-bomb", 0, bomb));
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!(error(answer.error_code), "UNKNOWN_SERVER_ERROR");
    assert_eq!(
        produce(&mut client, "type-bomb", 0, records(coded(Codec::Gzip), 2)),
        0
    );
}

/// A large batch takes its time elsewhere; what the connection sent behind it must not overtake.
#[test]
fn requests_of_a_connection_keep_their_order() {
    let broker = Broker::start();
    let mut client = broker.client();
    let configs = [
        ("compression.type", "zstd"),
        ("compression.zstd.level", "12"),
    ];
    create(&mut client, "type-order", 1, &configs);
    create(&mut client, "type-other", 1, &[]);
    let counts = [1500, 1, 900, 2, 1, 1200, 3];
    let mut sent = Vec::new();
    for count in counts {
        for topic in ["type-order", "type-other"] {
            let records = records(coded(Codec::None), count);
            sent.push((count, client.send(9, &producing(topic, 0, records))));
        }
    }
    let mut next = [0; 2];
    for (at, (count, sent)) in sent.into_iter().enumerate() {
        let response = client.receive::<ProduceRequest>(sent);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(error(answer.error_code), "NONE");
        assert_eq!(answer.base_offset, next[at % 2]);
        next[at % 2] += i64::try_from(count).expect("a count");
    }
    assert_eq!(
        next[0],
        counts
            .iter()
            .map(|&c| i64::try_from(c).expect("a count"))
            .sum::<i64>()
    );
}
