use corelog_storage::batch::{BatchBuilder, BatchOptions, RecordHeader, TimestampType};
use corelog_storage::types::Timestamp;

use super::Formatter;
use crate::cli::properties::Properties;

fn printed(properties: &[(&str, &str)]) -> String {
    let properties: Properties = properties
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let formatter = Formatter::new(None, &properties).unwrap();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let header = |key, value| RecordHeader {
        key,
        value: Some(value),
    };
    let headers = [header(&b"h1"[..], &b"v1"[..]), header(b"h2", b"v2")];
    let at = Timestamp(1_700_000_000_000);
    builder
        .append(at, Some(b"k1"), Some(b"value 1"), &headers)
        .unwrap();
    builder.append(at, Some(b"k3"), None, &[]).unwrap();
    let payload = builder.finish().unwrap().open(1 << 20).unwrap();
    let mut text = Vec::new();
    for record in payload.records() {
        formatter
            .write(0, TimestampType::CreateTime, &record.unwrap(), &mut text)
            .unwrap();
    }
    String::from_utf8(text).unwrap()
}

/// As in the transcript 124-console-consumer-print-all.
#[test]
fn all_parts_stand_in_kafkas_order() {
    let all = [
        ("print.key", "true"),
        ("print.partition", "true"),
        ("print.offset", "true"),
        ("print.headers", "true"),
        ("print.epoch", "true"),
        ("print.delivery", "true"),
        ("print.timestamp", "true"),
    ];
    assert_eq!(
        printed(&all),
        "CreateTime:1700000000000\tPartition:0\tOffset:0\tDelivery:NOT_PRESENT\tEpoch:NOT_PRESENT\th1:v1,h2:v2\tk1\tvalue 1\n\
         CreateTime:1700000000000\tPartition:0\tOffset:1\tDelivery:NOT_PRESENT\tEpoch:NOT_PRESENT\tNO_HEADERS\tk3\tnull\n"
    );
}

/// As in the transcripts 125 and 126.
#[test]
fn separators_and_literals_are_the_users() {
    let offsets = [("print.offset", "true"), ("print.value", "false")];
    assert_eq!(printed(&offsets), "Offset:0\nOffset:1\n");
    let own = [
        ("key.separator", "|"),
        ("print.key", "true"),
        ("null.literal", "NIL"),
        ("line.separator", ";"),
    ];
    assert_eq!(printed(&own), "k1|value 1;k3|NIL;");
}

/// As Kafka's console consumer was seen to refuse them.
#[test]
fn what_a_deserializer_does_not_read_is_refused_in_kafkas_words() {
    for (class, bytes, outcome) in [
        ("Integer", &[0, 0, 1, 0][..], Ok("256")),
        (
            "Integer",
            b"abc",
            Err("Size of data received by IntegerDeserializer is not 4"),
        ),
        (
            "Long",
            b"abc",
            Err("Size of data received by LongDeserializer is not 8"),
        ),
        (
            "Short",
            b"a",
            Err("Size of data received by ShortDeserializer is not 2"),
        ),
        (
            "Double",
            b"abc",
            Err("Size of data received by Deserializer is not 8"),
        ),
        ("Boolean", &[1], Ok("true")),
        (
            "Boolean",
            &[2],
            Err("Unexpected byte received by BooleanDeserializer: 2"),
        ),
        ("String", b"abc", Ok("abc")),
    ] {
        let mut text = Vec::new();
        let of = super::Deserializer::named(&format!("org.x.{class}Deserializer")).unwrap();
        let found = of.write(bytes, &mut text);
        let found = found.map(|()| String::from_utf8(text).unwrap());
        let expected = outcome.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(found, expected, "{class}");
    }
}
