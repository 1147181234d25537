//! What a consumer group knows of topics: their size, and a hash that changes when they do.
//!
//! Owns the hash of subscribed topics, as Kafka stores it in the group's record (KIP-1101).
//! Lives nowhere: functions over the metadata image.
//! Invariants: 1. The same topics give the number that Kafka 4.3 gives: a directory that changes hands does not rebalance.
//! Not here: subscriptions (`ConsumerGroup`).

use std::sync::Arc;

use twox_hash::XxHash3_64;

use crate::metadata::{Image, TopicImage};

/// The hash of these topics; those that do not exist do not count, and none at all is 0.
pub(super) fn hash<'a>(image: &Image, names: impl Iterator<Item = &'a Arc<str>>) -> i64 {
    // Names come in the order of Java's strings as long as they are ASCII, as topic names are.
    let mut hashes = Vec::new();
    for topic in names.filter_map(|name| image.topic(name)) {
        put(&mut hashes, &topic_hash(image, topic).to_be_bytes());
    }
    if hashes.is_empty() {
        return 0;
    }
    XxHash3_64::oneshot(&hashes).cast_signed()
}

fn topic_hash(image: &Image, topic: &TopicImage) -> i64 {
    let mut bytes = vec![0_u8];
    let (high, low) = topic.id.0.split_at(8);
    put(&mut bytes, high);
    put(&mut bytes, low);
    put_text(&mut bytes, &topic.name);
    put(&mut bytes, &topic.partition_count().to_be_bytes());
    for (number, partition) in topic.numbered() {
        put(&mut bytes, &number.to_be_bytes());
        let brokers = partition.replicas.iter().filter_map(|id| image.broker(*id));
        let mut racks: Vec<&str> = brokers
            .filter_map(|broker| broker.registration.rack.as_deref())
            .collect();
        racks.sort_unstable();
        for rack in racks {
            let units = i32::try_from(rack.encode_utf16().count()).unwrap_or(i32::MAX);
            put(&mut bytes, &units.to_be_bytes());
            put_text(&mut bytes, rack);
        }
    }
    XxHash3_64::oneshot(&bytes).cast_signed()
}

/// A number, turned round: the hash reads the low byte first.
fn put(bytes: &mut Vec<u8>, big_endian: &[u8]) {
    bytes.extend(big_endian.iter().rev());
}

/// The UTF-16 units of a text and their count.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let mut count = 0_i32;
    for unit in text.encode_utf16() {
        put(bytes, &unit.to_be_bytes());
        count += 1;
    }
    put(bytes, &count.to_be_bytes());
}
