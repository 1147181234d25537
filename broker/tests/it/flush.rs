//! `flush.messages` and `flush.ms`: what Kafka's settings bring to the disk without an acks=all.
//!
//! What is on the disk is seen in the checkpoint of recovery points, which is written often here.

use std::fs;

use corelog_net::wire::messages::produce::ProduceRequest;
use corelog_storage::checkpoint::{OffsetCheckpoint, name};

use crate::client::Client;
use crate::harness::{Broker, eventually};
use crate::records::values;
use crate::table::error;
use crate::topics::{create, producing};

fn broker() -> Broker {
    Broker::with(&["log.flush.offset.checkpoint.interval.ms=20"])
}

/// acks=1, so that nothing but the settings asks for a sync. The base offset.
fn produce(client: &mut Client, topic: &str, count: usize) -> i64 {
    let request = ProduceRequest {
        acks: 1,
        ..producing(topic, 0, values(&vec!["value"; count]))
    };
    let response = client.call(9, &request);
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!(error(answer.error_code), "NONE");
    answer.base_offset
}

/// What the checkpoint says of partition 0; 0 when it says nothing.
fn recovery_point(broker: &Broker, topic: &str) -> i64 {
    let bytes = fs::read(broker.data().join(name::RECOVERY_POINTS)).unwrap_or_default();
    let Ok(checkpoint) = OffsetCheckpoint::parse(&bytes) else {
        return 0;
    };
    let found = checkpoint
        .entries
        .iter()
        .find(|(partition, _)| *partition.topic == *topic);
    found.map_or(0, |(_, offset)| offset.0)
}

fn await_recovery_point(broker: &Broker, topic: &str, offset: i64) {
    eventually("the recovery point is there", || {
        recovery_point(broker, topic) == offset
    });
}

#[test]
fn so_many_records_are_synced_and_fewer_are_not() {
    let broker = broker();
    let mut client = broker.client();
    create(&mut client, "flush-five", 1, &[("flush.messages", "5")]);
    create(&mut client, "flush-each", 1, &[("flush.messages", "1")]);
    create(&mut client, "flush-never", 1, &[]);
    produce(&mut client, "flush-never", 100);
    // Below, at and above the count.
    produce(&mut client, "flush-five", 4);
    produce(&mut client, "flush-each", 1);
    await_recovery_point(&broker, "flush-each", 1);
    assert_eq!(recovery_point(&broker, "flush-five"), 0);
    produce(&mut client, "flush-five", 1);
    await_recovery_point(&broker, "flush-five", 5);
    produce(&mut client, "flush-five", 4);
    produce(&mut client, "flush-each", 3);
    await_recovery_point(&broker, "flush-each", 4);
    assert_eq!(recovery_point(&broker, "flush-five"), 5);
    produce(&mut client, "flush-five", 7);
    await_recovery_point(&broker, "flush-five", 16);
    assert_eq!(recovery_point(&broker, "flush-never"), 0);
}

#[test]
fn nothing_stays_unsynced_longer_than_flush_ms() {
    let broker = broker();
    let mut client = broker.client();
    create(&mut client, "flush-soon", 1, &[("flush.ms", "50")]);
    create(&mut client, "flush-at-once", 1, &[("flush.ms", "0")]);
    create(&mut client, "flush-late", 1, &[("flush.ms", "86400000")]);
    create(&mut client, "flush-never", 1, &[]);
    for round in 1..4 {
        for topic in ["flush-never", "flush-late", "flush-soon", "flush-at-once"] {
            produce(&mut client, topic, 2);
        }
        await_recovery_point(&broker, "flush-soon", 2 * round);
        await_recovery_point(&broker, "flush-at-once", 2 * round);
        assert_eq!(recovery_point(&broker, "flush-late"), 0);
        assert_eq!(recovery_point(&broker, "flush-never"), 0);
    }
}
