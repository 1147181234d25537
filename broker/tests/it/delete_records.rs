//! How `DeleteRecords` moves the start of a log.

use crate::groups::await_coordinator;
use crate::harness::Broker;
use crate::records::{read, values};
use crate::table::{Table, error};
use crate::topics::{
    create, deleting_records, fetching, offset_of, only_records, produce, read_all,
};

#[test]
fn the_start_moves_forward_only() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "deleted", 1, &[]);
    create(
        &mut client,
        "deleted-compacted",
        1,
        &[("cleanup.policy", "compact")],
    );
    await_coordinator(&mut client, "deleted-group");
    for _ in 0..5 {
        produce(&mut client, "deleted", 0, values(&["v0"]));
    }
    let mut table = Table::new("DeleteRecords");
    for (topic, to, expected) in [
        ("deleted", 2, "NONE low=2"),
        ("deleted", 1, "NONE low=2"),
        ("deleted", 99, "OFFSET_OUT_OF_RANGE low=-1"),
        ("deleted", -1, "NONE low=5"),
        ("deleted", -7, "OFFSET_OUT_OF_RANGE low=-1"),
        ("deleted-nowhere", 0, "UNKNOWN_TOPIC_OR_PARTITION low=-1"),
        ("deleted-compacted", 0, "POLICY_VIOLATION low=-1"),
        ("__consumer_offsets", 0, "INVALID_TOPIC_EXCEPTION low=-1"),
    ] {
        for version in [2, 0] {
            let response = client.call(version, &deleting_records(topic, to));
            let one = &response.topics[0].partitions[0];
            let got = format!("{} low={}", error(one.error_code), one.low_watermark);
            table.row(&format!("{topic} to {to}, v{version}"), got, expected);
        }
    }
    table.finish();
}

#[test]
fn what_is_deleted_stays_deleted_over_a_restart() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "deleted-kept", 1, &[]);
    for _ in 0..5 {
        produce(&mut client, "deleted-kept", 0, values(&["v0", "v1"]));
    }
    client.call(2, &deleting_records("deleted-kept", 3));
    for round in 0..2 {
        assert_eq!(
            offset_of(&mut client, "deleted-kept", 0, -2),
            3,
            "round {round}"
        );
        assert_eq!(offset_of(&mut client, "deleted-kept", 0, -1), 10);
        let response = client.call(12, &fetching("deleted-kept", 0, 3));
        assert_eq!(response.responses[0].partitions[0].log_start_offset, 3);
        let got = read(&only_records(&response));
        assert_eq!(
            got.first().map(|(offset, _)| *offset),
            Some(2),
            "its batch is sent whole"
        );
        assert_eq!(read_all(&mut client, "deleted-kept", 0, 3).len(), 7);
        broker.restart();
        client = broker.client();
    }
    // New records follow the old ones also when all are deleted.
    client.call(2, &deleting_records("deleted-kept", -1));
    broker.restart();
    client = broker.client();
    assert_eq!(offset_of(&mut client, "deleted-kept", 0, -2), 10);
    assert_eq!(produce(&mut client, "deleted-kept", 0, values(&["v0"])), 10);
}
