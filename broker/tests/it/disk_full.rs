//! A full disk is a state: producers are refused and told why, everything else goes on, and it passes.

use corelog_net::wire::messages::produce::ProduceRequest;

use crate::client::Client;
use crate::configs::{BROKER, alter};
use crate::groups::await_coordinator;
use crate::harness::{Broker, eventually};
use crate::idempotence::producer_id;
use crate::offsets::{Commit, commit};
use crate::records::{sequenced, values};
use crate::table::error;
use crate::topics::{
    create, delete, deleting_records, end_offset, offset_of, produce, producing, read_all,
};

/// More than any disk has free.
const EVERYTHING: &str = "4611686018427387904";

const RESERVE: &str = "corelog.disk.reserve.bytes";

fn reserve(client: &mut Client, bytes: &str) {
    let altered = alter(client, BROKER, "", &[(RESERVE, 0, Some(bytes))]);
    assert_eq!(altered, "NONE");
}

fn refused(client: &mut Client, request: &ProduceRequest) -> (String, String) {
    let response = client.call(9, request);
    let answer = &response.responses[0].partition_responses[0];
    let message = answer.error_message.clone().unwrap_or_default();
    (error(answer.error_code).to_owned(), message)
}

#[test]
fn producers_are_told_and_everything_else_goes_on() {
    let mut broker = Broker::with(&["corelog.disk.reserve.bytes=0"]);
    let mut client = broker.client();
    create(&mut client, "full", 2, &[]);
    create(&mut client, "full-gone", 2, &[]);
    await_coordinator(&mut client, "full-group");
    for _ in 0..4 {
        produce(&mut client, "full", 0, values(&["v0", "v1"]));
    }
    reserve(&mut client, EVERYTHING);
    for partition in 0..2 {
        let request = producing("full", partition, values(&["refused"]));
        let (code, message) = refused(&mut client, &request);
        assert_eq!(code, "KAFKA_STORAGE_ERROR");
        assert!(message.contains("is full"), "{message}");
        assert!(message.contains(RESERVE), "{message}");
        assert!(
            message.contains(&broker.data().display().to_string()),
            "{message}"
        );
    }
    // Reading, committing, deleting and creating go on.
    assert_eq!(read_all(&mut client, "full", 0, 0).len(), 8);
    assert_eq!(
        commit(&mut client, &Commit::of("full-group", "full", 5)),
        "NONE"
    );
    delete(&mut client, "full-gone");
    create(&mut client, "full-new", 1, &[]);
    let response = client.call(2, &deleting_records("full", 3));
    let deleted = &response.topics[0].partitions[0];
    assert_eq!(
        (error(deleted.error_code), deleted.low_watermark),
        ("NONE", 3)
    );
    assert_eq!(offset_of(&mut client, "full", 0, -2), 3);
    // With room again the same connection is served.
    reserve(&mut client, "0");
    assert_eq!(produce(&mut client, "full", 0, values(&["v2"])), 8);
    assert_eq!(produce(&mut client, "full-new", 0, values(&["v0"])), 0);
    let log = broker.log();
    let said = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(said(" is full: free="), 1, "said once\n{log}");
    assert_eq!(said(" has room again: free="), 1, "said once\n{log}");
    broker.restart();
    client = broker.client();
    assert_eq!(end_offset(&mut client, "full", 0), 9);
}

#[test]
fn a_broker_that_starts_on_a_full_disk_serves_readers_and_frees_itself() {
    let mut broker = Broker::with(&["corelog.disk.reserve.bytes=0"]);
    let mut client = broker.client();
    create(&mut client, "full-start", 1, &[]);
    produce(&mut client, "full-start", 0, values(&["v0"]));
    broker.set(&format!("{RESERVE}={EVERYTHING}"));
    broker.restart();
    client = broker.client();
    let request = producing("full-start", 0, values(&["refused"]));
    let (code, message) = refused(&mut client, &request);
    assert_eq!(code, "KAFKA_STORAGE_ERROR");
    assert!(message.contains("is full"), "{message}");
    assert_eq!(read_all(&mut client, "full-start", 0, 0).len(), 1);
    // What was set at run time outlives the restart.
    reserve(&mut client, "0");
    assert_eq!(produce(&mut client, "full-start", 0, values(&["v1"])), 1);
    broker.restart();
    client = broker.client();
    assert_eq!(produce(&mut client, "full-start", 0, values(&["v2"])), 2);
}

#[test]
fn an_idempotent_producer_goes_on_where_it_was_refused() {
    let broker = Broker::with(&["corelog.disk.reserve.bytes=0"]);
    let mut client = broker.client();
    create(&mut client, "full-sequence", 1, &[]);
    let producer = producer_id(&mut client);
    let sending = |sequence| {
        let batch = sequenced(producer.producer_id, producer.producer_epoch, sequence, 1);
        producing("full-sequence", 0, batch)
    };
    assert_eq!(refused(&mut client, &sending(0)).0, "NONE");
    reserve(&mut client, EVERYTHING);
    for _ in 0..3 {
        assert_eq!(refused(&mut client, &sending(1)).0, "KAFKA_STORAGE_ERROR");
    }
    reserve(&mut client, "0");
    eventually("the producer goes on", || {
        refused(&mut client, &sending(1)).0 == "NONE"
    });
    assert_eq!(end_offset(&mut client, "full-sequence", 0), 2);
}
