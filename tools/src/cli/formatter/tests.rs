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
        formatter.write(0, TimestampType::CreateTime, &record.unwrap(), &mut text);
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
