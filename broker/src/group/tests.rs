//! Scenarios one can read (`testdata/*.txt`), Kafka's own log, a random model, and what timers cost.

mod consumer_model;
mod cost;
mod kafka_log;
mod model;
mod script;

use bytes::Bytes;

use super::{Effects, Record};

/// A consumer's subscription: version 0, topics, no user data.
fn subscription(topics: &[&str]) -> Bytes {
    let mut out = vec![0, 0];
    out.extend_from_slice(&i32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        out.extend_from_slice(&i16::try_from(topic.len()).unwrap().to_be_bytes());
        out.extend_from_slice(topic.as_bytes());
    }
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    out.into()
}

/// The records of an effect, and nothing when it has none.
fn records(effects: &Effects) -> &[Record] {
    effects
        .append
        .as_ref()
        .map_or(&[], |append| &append.records)
}

/// Kafka's choice of partition, against values computed by Java's `String.hashCode`.
#[test]
fn groups_are_found_where_kafka_finds_them() {
    assert_eq!(super::java_hash(""), 0);
    assert_eq!(super::java_hash("classic-g"), -9_084_436);
    assert_eq!(super::java_hash("é🦀"), 1_996_715);
    // hashCode() is Integer.MIN_VALUE, which has no absolute value: Kafka takes 0.
    assert_eq!(super::java_hash("polygenelubricants"), i32::MIN);
    assert_eq!(super::partition_for("polygenelubricants", 50), 0);
    assert_eq!(super::partition_for("classic-g", 50), 36);
}
