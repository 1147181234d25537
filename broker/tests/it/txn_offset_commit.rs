//! Offsets of transactions: they count when the transaction commits, and never otherwise.

use corelog_net::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use corelog_net::wire::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};

use crate::client::Client;
use crate::groups;
use crate::harness::{Broker, eventually};
use crate::offsets::committed;
use crate::table::{Table, error};
use crate::topics::create;
use crate::transactions::Producer;

/// Commits one offset of `in-0` in the transaction; the code.
fn commit(
    client: &mut Client,
    version: i16,
    producer: &Producer,
    (group, offset): (&str, i64),
) -> &'static str {
    let response = client.call(version, &committing(producer, group, "in", offset));
    error(response.topics[0].partitions[0].error_code)
}

fn committing(
    producer: &Producer,
    group: &str,
    topic: &str,
    offset: i64,
) -> TxnOffsetCommitRequest {
    TxnOffsetCommitRequest {
        transactional_id: producer.transactional_id.clone(),
        group_id: group.to_owned(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        generation_id: -1,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: topic.to_owned(),
            partitions: vec![TxnOffsetCommitRequestPartition {
                committed_offset: offset,
                ..TxnOffsetCommitRequestPartition::default()
            }],
            ..TxnOffsetCommitRequestTopic::default()
        }],
        ..TxnOffsetCommitRequest::default()
    }
}

/// What `OffsetFetch` says of `in-0` to somebody who waits for open transactions.
fn stable(client: &mut Client, group: &str) -> String {
    let request = OffsetFetchRequest {
        require_stable: true,
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "in".to_owned(),
                partition_indexes: vec![0],
                ..OffsetFetchRequestTopics::default()
            }]),
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    let response = client.call(8, &request);
    let one = &response.groups[0].topics[0].partitions[0];
    format!("{} {}", error(one.error_code), one.committed_offset)
}

#[test]
fn offsets_of_a_transaction_are_seen_after_its_commit() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "in", 1, &[]);
    let mut producer = Producer::begin(&mut client, "tx", 60_000);
    assert_eq!(
        commit(&mut client, 5, &producer, ("g", 1)),
        "COORDINATOR_NOT_AVAILABLE",
        "nobody has asked for the group's coordinator yet"
    );
    groups::await_coordinator(&mut client, "g");

    let seen = |client: &mut Client| committed(client, "g", Some(&[("in", &[0])]));
    assert_eq!(commit(&mut client, 5, &producer, ("g", 5)), "NONE");
    assert_eq!(seen(&mut client), "NONE in-0=-1");
    assert_eq!(stable(&mut client, "g"), "UNSTABLE_OFFSET_COMMIT -1");
    producer.end(&mut client, true);
    eventually("the offset is seen", || {
        stable(&mut client, "g") == "NONE 5"
    });
    assert_eq!(seen(&mut client), "NONE in-0=5");

    eventually("the next transaction begins", || {
        commit(&mut client, 5, &producer, ("g", 50)) == "NONE"
    });
    producer.end(&mut client, false);
    eventually("nothing is pending", || {
        stable(&mut client, "g") == "NONE 5"
    });

    // Open over a crash, then committed.
    eventually("the next transaction begins", || {
        commit(&mut client, 5, &producer, ("g", 7)) == "NONE"
    });
    broker.kill();
    broker.launch();
    let mut client = broker.client();
    groups::await_coordinator(&mut client, "g");
    eventually("the group is loaded", || {
        stable(&mut client, "g") == "UNSTABLE_OFFSET_COMMIT -1"
    });
    producer.end(&mut client, true);
    eventually("the offset is seen", || {
        stable(&mut client, "g") == "NONE 7"
    });
    broker.restart();
    let mut client = broker.client();
    groups::await_coordinator(&mut client, "g");
    eventually("the offset stays", || stable(&mut client, "g") == "NONE 7");
}

#[test]
fn who_may_commit_in_a_transaction_and_who_may_not() {
    let broker = Broker::start();
    let mut client = broker.client();
    let client = &mut client;
    create(client, "in", 1, &[]);
    groups::await_coordinator(client, "g");
    let mut table = Table::new("TxnOffsetCommit");
    let old = Producer::begin(client, "tx", 60_000);
    table.row(
        "v3, the group is not in the transaction",
        commit(client, 3, &old, ("g", 1)),
        "INVALID_TXN_STATE",
    );
    table.row(
        "v4",
        commit(client, 4, &old, ("g", 1)),
        "TRANSACTION_ABORTABLE",
    );
    let added = client.call(3, &old.adding_offsets("g"));
    table.row("AddOffsetsToTxn", error(added.error_code), "NONE");
    table.row("v3, added", commit(client, 3, &old, ("g", 1)), "NONE");
    table.row(
        "v0 names no member",
        commit(client, 0, &old, ("g", 2)),
        "NONE",
    );
    let mut wrong = old.clone();
    wrong.id += 1;
    table.row(
        "another producer",
        commit(client, 5, &wrong, ("g", 1)),
        "INVALID_PRODUCER_ID_MAPPING",
    );
    let response = client.call(5, &committing(&old, "g", "nope", 1));
    table.row(
        "an unknown topic",
        error(response.topics[0].partitions[0].error_code),
        "UNKNOWN_TOPIC_OR_PARTITION",
    );
    let member = TxnOffsetCommitRequest {
        member_id: "who".to_owned(),
        generation_id: 3,
        ..committing(&old, "g", "in", 1)
    };
    let response = client.call(3, &member);
    table.row(
        "a member that is none",
        error(response.topics[0].partitions[0].error_code),
        "UNKNOWN_MEMBER_ID",
    );
    // A zombie's commit: another producer of this name took over.
    let mut new = Producer::begin(client, "tx", 60_000);
    table.row(
        "a zombie, v5",
        commit(client, 5, &old, ("g", 666)),
        "INVALID_PRODUCER_EPOCH",
    );
    table.row(
        "a zombie, v3",
        commit(client, 3, &old, ("g", 666)),
        "INVALID_PRODUCER_EPOCH",
    );
    table.row("the new one", commit(client, 5, &new, ("g", 9)), "NONE");
    new.end(client, true);
    eventually("the new one's offset is seen", || {
        stable(client, "g") == "NONE 9"
    });
    table.finish();
}
