//! What Produce takes and what it refuses, row by row as Kafka does.

use std::fmt::Write as _;
use std::time::Duration;

use corelog_net::wire::messages::api_versions::ApiVersionsRequest;
use corelog_net::wire::messages::produce::{ProduceRequest, ProduceResponse};
use corelog_net::wire::{Request, Uuid};
use corelog_storage::batch::{BatchOptions, Codec};

use crate::client::{Client, Heard};
use crate::harness::{Broker, PATIENCE, eventually};
use crate::records::{
    ATTRIBUTES, COUNT, LAST_OFFSET_DELTA, LEADER_EPOCH, LENGTH, MAGIC, MAX_TIMESTAMP, at, bad_crc,
    batch, coded, now_ms, old_message, patched, values,
};
use crate::table::{Table, error, message};
use crate::topics::{create, end_offset, producing, read_all};

/// `CODE base=… start=… …` for every partition.
fn summary(response: &ProduceResponse) -> String {
    let mut text = String::new();
    for topic in &response.responses {
        for one in &topic.partition_responses {
            if !text.is_empty() {
                text.push_str(", ");
            }
            if one.index != 0 {
                let _ = write!(text, "[{}] ", one.index);
            }
            let _ = write!(
                text,
                "{} base={} start={}{}",
                error(one.error_code),
                one.base_offset,
                one.log_start_offset,
                if one.log_append_time_ms == -1 {
                    ""
                } else {
                    " time"
                },
            );
            for record in &one.record_errors {
                let why = message(record.batch_index_error_message.as_ref());
                let _ = write!(text, " record={}{why}", record.batch_index);
            }
            text.push_str(&message(one.error_message.as_ref()));
        }
    }
    scrubbed(&text)
}

/// Times come and go: every long number becomes `#`.
fn scrubbed(text: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for character in text.chars().chain(['\0']) {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        out.push_str(if digits.len() >= 10 { "#" } else { &digits });
        digits.clear();
        out.push(character);
    }
    out.pop();
    out
}

fn ask(client: &mut Client, version: i16, request: &ProduceRequest) -> String {
    client
        .try_call(version, request)
        .map_or_else(|| "closed".to_owned(), |response| summary(&response))
}

fn send(client: &mut Client, topic: &str, records: Vec<u8>) -> String {
    ask(client, 9, &producing(topic, 0, records))
}

fn by_id(id: Uuid, records: Vec<u8>) -> ProduceRequest {
    let mut request = producing("", 0, records);
    request.topic_data[0].topic_id = id;
    request
}

#[test]
fn a_good_batch_is_taken_in_every_form() {
    let broker = Broker::start();
    let mut client = broker.client();
    let id = create(&mut client, "produce-good", 1, &[]);
    create(
        &mut client,
        "produce-time",
        1,
        &[("message.timestamp.type", "LogAppendTime")],
    );
    let mut table = Table::new("Produce");
    let good = || producing("produce-good", 0, values(&["v0"]));
    table.row("v9", ask(&mut client, 9, &good()), "NONE base=0 start=0");
    let with_id = by_id(id, values(&["v0"]));
    table.row(
        "v13 with topic id",
        ask(&mut client, 13, &with_id),
        "NONE base=1 start=0",
    );
    table.row("v3", ask(&mut client, 3, &good()), "NONE base=2 start=-1");
    let timed = producing("produce-time", 0, values(&["v0"]));
    table.row(
        "v7, LogAppendTime",
        ask(&mut client, 7, &timed),
        "NONE base=0 start=0 time",
    );
    for version in 4..=12 {
        let expected = format!(
            "NONE base={} start={}",
            version - 1,
            if version < 5 { -1 } else { 0 }
        );
        table.row(
            &format!("v{version}"),
            ask(&mut client, version, &good()),
            &expected,
        );
    }
    let mut trailing = values(&["v0"]);
    trailing.extend_from_slice(&[1, 2, 3, 4]);
    table.row(
        "trailing 4 garbage bytes after a batch",
        send(&mut client, "produce-good", trailing),
        "NONE base=12 start=0",
    );
    for (what, timestamp) in [("timestamp -1", -1), ("timestamp -5", -5)] {
        let base = end_offset(&mut client, "produce-good", 0);
        let expected = format!("NONE base={base} start=0");
        table.row(
            what,
            send(&mut client, "produce-good", at(timestamp)),
            &expected,
        );
    }
    let late = (now_ms() + 999).to_be_bytes();
    for (what, field, bytes) in [
        ("maxTimestamp field wrong", MAX_TIMESTAMP, &late[..]),
        (
            "partitionLeaderEpoch 42",
            LEADER_EPOCH,
            &42_i32.to_be_bytes()[..],
        ),
    ] {
        let base = end_offset(&mut client, "produce-good", 0);
        let sent = patched(values(&["v0"]), field, bytes);
        let expected = format!("NONE base={base} start=0");
        table.row(what, send(&mut client, "produce-good", sent), &expected);
    }
    table.finish();
    let read = read_all(&mut client, "produce-good", 0, 0);
    assert!(read.iter().map(|(offset, _)| *offset).eq(0..17), "{read:?}");
    assert!(read.iter().all(|(_, value)| value == b"v0"));
}

#[test]
fn a_bad_batch_is_refused_with_kafkas_code_and_words() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "produce-bad", 1, &[]);
    create(
        &mut client,
        "produce-small",
        1,
        &[("max.message.bytes", "500")],
    );
    create(
        &mut client,
        "produce-keyed",
        1,
        &[("cleanup.policy", "compact")],
    );
    let limits = [
        "message.timestamp.before.max.ms",
        "message.timestamp.after.max.ms",
    ];
    create(
        &mut client,
        "produce-now",
        1,
        &limits.map(|name| (name, "1000")),
    );
    let mut table = Table::new("Produce");
    let t = "produce-bad";
    let one = || values(&["v0"]);
    let two = || values(&["v0", "v1"]);
    // The broker's first look, before it knows where the batch would go, and its second.
    let (early, late) = ("base=-1 start=-1", "base=-1 start=0");
    let corrupt = format!("CORRUPT_MESSAGE {early}");
    let invalid_early = format!("INVALID_RECORD {early}");
    let invalid = format!("INVALID_RECORD {late}");
    let mut refuse = |what: &str, version: i16, records: Vec<u8>, expected: &str| {
        table.row(
            what,
            ask(&mut client, version, &producing(t, 0, records)),
            expected,
        );
    };
    refuse("bad CRC", 9, bad_crc(), &corrupt);
    refuse("bad CRC, v3", 3, bad_crc(), &corrupt);
    refuse(
        "magic 1 in a v2-shaped batch",
        9,
        patched(one(), MAGIC, &[1]),
        &invalid_early,
    );
    refuse(
        "magic 0 in a v2-shaped batch",
        9,
        patched(one(), MAGIC, &[0]),
        &invalid_early,
    );
    let magic = format!("{corrupt} message=Invalid magic found in record: 3");
    refuse("magic 3", 9, patched(one(), MAGIC, &[3]), &magic);
    refuse(
        "real magic-1 message set, v3",
        3,
        old_message(),
        &invalid_early,
    );
    refuse(
        "real magic-1 message set, v9",
        9,
        old_message(),
        &invalid_early,
    );
    refuse(
        "two batches in one partition",
        9,
        [one(), one()].concat(),
        &invalid_early,
    );
    refuse("records field of 0 bytes", 9, Vec::new(), &invalid_early);
    let none = patched(one(), COUNT, &0_i32.to_be_bytes());
    let none = patched(none, LAST_OFFSET_DELTA, &(-1_i32).to_be_bytes());
    refuse("record count 0", 9, none, &invalid);
    let lying = patched(one(), COUNT, &2_i32.to_be_bytes());
    let lying = patched(lying, LAST_OFFSET_DELTA, &1_i32.to_be_bytes());
    refuse("record count 2 but one record inside", 9, lying, &invalid);
    let lying = patched(two(), COUNT, &1_i32.to_be_bytes());
    let lying = patched(lying, LAST_OFFSET_DELTA, &0_i32.to_be_bytes());
    refuse("record count 1 but two records inside", 9, lying, &invalid);
    let delta = patched(one(), LAST_OFFSET_DELTA, &5_i32.to_be_bytes());
    refuse("lastOffsetDelta 5 with 1 record", 9, delta, &invalid);
    refuse(
        "baseOffset 77",
        9,
        patched(one(), 0, &77_i64.to_be_bytes()),
        &invalid,
    );
    let cut = one();
    refuse(
        "batch cut short",
        9,
        cut[..cut.len() - 4].to_vec(),
        &invalid_early,
    );
    let mut short = one();
    short[LENGTH..LENGTH + 4].copy_from_slice(&5_i32.to_be_bytes());
    let text = "Record size 5 is less than the minimum record overhead (14)";
    refuse(
        "batch length field 5",
        9,
        short,
        &format!("{corrupt} message={text}"),
    );
    let control = BatchOptions {
        control: true,
        ..BatchOptions::default()
    };
    refuse(
        "control batch",
        9,
        batch(control, &[(now_ms(), Some("k"), "v")]),
        &invalid,
    );
    let unknown = format!("UNKNOWN_SERVER_ERROR {late}");
    refuse(
        "compression code 5",
        9,
        patched(one(), ATTRIBUTES, &[0, 5]),
        &unknown,
    );
    refuse(
        "gzip flagged, data not gzip",
        9,
        patched(one(), ATTRIBUTES, &[0, 1]),
        &unknown,
    );
    let zstd = batch(coded(Codec::Zstd), &[(now_ms(), None, "v0")]);
    let expected = format!("UNSUPPORTED_COMPRESSION_TYPE {early}");
    refuse("zstd batch in v3 (before v7)", 3, zstd, &expected);
    let future = now_ms() + 7_200_000;
    let expected = format!(
        "INVALID_TIMESTAMP {late} record=0 message=Timestamp # of message with offset 0 is out of \
         range. The timestamp should be within [-#, #] message=One or more records have been \
         rejected due to invalid timestamp"
    );
    refuse("timestamp 2 h in the future", 9, at(future), &expected);

    let large = || values(&[&"x".repeat(600)]);
    let expected = format!("MESSAGE_TOO_LARGE {early}");
    for version in [9, 3] {
        let request = producing("produce-small", 0, large());
        table.row(
            "larger than max.message.bytes",
            ask(&mut client, version, &request),
            &expected,
        );
    }
    let text =
        "Compacted topic cannot accept message without key in topic partition produce-keyed-0";
    let expected = format!(
        "{invalid} record=0 message={text} message=One or more records have been rejected due to 1 \
         record errors in total, and only showing the first three errors at most: \
         [RecordError(batchIndex=0, message='{text}')]"
    );
    table.row(
        "null key, compacted topic",
        send(&mut client, "produce-keyed", one()),
        &expected,
    );
    let request = producing("produce-keyed", 0, one());
    table.row(
        "null key, compacted topic, v3",
        ask(&mut client, 3, &request),
        &invalid_early,
    );
    let expected = format!(
        "INVALID_TIMESTAMP {late} record=0 message=Timestamp # of message with offset 0 is out of \
         range. The timestamp should be within [#, #] message=One or more records have been \
         rejected due to invalid timestamp"
    );
    for (what, shift) in [("before", -110_000), ("after", 90_000)] {
        let got = send(&mut client, "produce-now", at(now_ms() + shift));
        table.row(&format!("timestamp {what} the limit"), got, &expected);
    }
    table.finish();
    for topic in [
        "produce-bad",
        "produce-small",
        "produce-keyed",
        "produce-now",
    ] {
        assert_eq!(end_offset(&mut client, topic, 0), 0, "{topic} stays empty");
    }
}

#[test]
fn a_bad_address_or_bad_acks_are_refused() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "produce-there", 1, &[]);
    let mut table = Table::new("Produce");
    let good = || producing("produce-there", 0, values(&["v0"]));
    for acks in [2, -2] {
        let request = ProduceRequest { acks, ..good() };
        let expected = "INVALID_REQUIRED_ACKS base=-1 start=-1";
        table.row(
            &format!("acks={acks}"),
            ask(&mut client, 9, &request),
            expected,
        );
    }
    let unknown = "UNKNOWN_TOPIC_OR_PARTITION base=-1 start=-1";
    for (what, topic, partition) in [
        ("unknown topic (auto create on)", "produce-nowhere", 0),
        ("unknown partition 99", "produce-there", 99),
        ("partition -1", "produce-there", -1),
        ("invalid topic name", "a b", 0),
    ] {
        let request = producing(topic, partition, values(&["v0"]));
        let expected = match partition {
            0 => unknown.to_owned(),
            other => format!("[{other}] {unknown}"),
        };
        table.row(what, ask(&mut client, 9, &request), &expected);
    }
    let mut absent = [0; 16];
    absent[13] = 1;
    for (what, id) in [
        ("unknown topic id", Uuid(absent)),
        ("zero topic id", Uuid::ZERO),
    ] {
        let got = ask(&mut client, 13, &by_id(id, values(&["v0"])));
        table.row(what, got, "UNKNOWN_TOPIC_ID base=-1 start=-1");
    }
    let nothing = ProduceRequest {
        topic_data: Vec::new(),
        ..good()
    };
    table.row("no topics at all", ask(&mut client, 9, &nothing), "");
    let mut twice = good();
    let data = twice.topic_data[0].partition_data[0].clone();
    twice.topic_data[0].partition_data.push(data);
    // Kafka keeps the last of the two and answers once; see the deviations of the handler.
    let expected = "NONE base=0 start=0, NONE base=1 start=0";
    table.row(
        "same partition twice",
        ask(&mut client, 9, &twice),
        expected,
    );
    let mut twice = good();
    twice.topic_data.push(twice.topic_data[0].clone());
    let expected = "NONE base=2 start=0, NONE base=3 start=0";
    table.row("same topic twice", ask(&mut client, 9, &twice), expected);
    let transactional = BatchOptions {
        transactional: true,
        ..BatchOptions::default()
    };
    let request = producing(
        "produce-there",
        0,
        batch(transactional, &[(now_ms(), None, "v")]),
    );
    table.row(
        "transactional attribute without transactional id",
        ask(&mut client, 9, &request),
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED base=-1 start=-1",
    );
    table.finish();
    assert_eq!(end_offset(&mut client, "produce-there", 0), 4);
}

#[test]
fn the_topic_of_offsets_is_not_for_producers() {
    let broker = Broker::start();
    let mut client = broker.client();
    crate::groups::await_coordinator(&mut client, "produce-group");
    let request = producing("__consumer_offsets", 0, values(&["v0"]));
    let got = ask(&mut client, 9, &request);
    assert_eq!(got, "INVALID_TOPIC_EXCEPTION base=-1 start=-1");
}

#[test]
fn without_acks_there_is_no_answer_and_a_refusal_closes() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "produce-acks0", 1, &[]);
    let quiet = |topic: &str, records| ProduceRequest {
        acks: 0,
        ..producing(topic, 0, records)
    };
    for _ in 0..100 {
        client.send(9, &quiet("produce-acks0", values(&["v0"])));
    }
    // The next answer is that of the next request.
    client.call(0, &ApiVersionsRequest::default());
    eventually("all are there", || {
        end_offset(&mut client, "produce-acks0", 0) == 100
    });
    assert_eq!(client.hear(Duration::from_millis(50)), Heard::Silence);
    for (what, request) in [
        ("bad CRC", quiet("produce-acks0", bad_crc())),
        ("unknown topic", quiet("produce-nowhere", values(&["v0"]))),
    ] {
        let mut client = broker.client();
        client.send(9, &request);
        assert_eq!(client.hear(PATIENCE), Heard::Closed, "{what}");
    }
    assert_eq!(end_offset(&mut client, "produce-acks0", 0), 100);
}

#[test]
fn versions_that_are_advertised_for_old_clients_only_close() {
    let broker = Broker::start();
    for version in [0, 1, 2, 14, 99] {
        let mut client = broker.client();
        let key = i16::from(ProduceRequest::API_KEY);
        client.send_bytes(&crate::client::raw(key, version, 1, &[0; 10]));
        assert_eq!(client.hear(PATIENCE), Heard::Closed, "v{version}");
    }
}

#[test]
fn compressed_batches_pass_through_byte_for_byte() {
    let broker = Broker::start();
    let mut client = broker.client();
    let text = "the same words again and again, ".repeat(40);
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        let topic = format!("produce-{}", codec.name());
        create(&mut client, &topic, 1, &[]);
        let records: Vec<_> = (0..20)
            .map(|_| (now_ms(), Some("key"), text.as_str()))
            .collect();
        let sent = batch(coded(codec), &records);
        assert_eq!(
            crate::topics::produce(&mut client, &topic, 0, sent.clone()),
            0
        );
        assert_eq!(
            crate::topics::produce(&mut client, &topic, 0, sent.clone()),
            20
        );
        let fetched = client.call(12, &crate::topics::fetching(&topic, 0, 0));
        let fetched = crate::topics::only_records(&fetched);
        let mut first = sent.clone();
        first[LEADER_EPOCH..LEADER_EPOCH + 4].copy_from_slice(&0_i32.to_be_bytes());
        let mut second = first.clone();
        second[..8].copy_from_slice(&20_i64.to_be_bytes());
        assert!(
            fetched == [first, second].concat(),
            "{codec} is not passed through"
        );
        assert_eq!(read_all(&mut client, &topic, 0, 0).len(), 40);
    }
}
