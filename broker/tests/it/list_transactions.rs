//! What operators see of transactions, and how they end one that nobody else will.

use corelog_net::wire::messages::describe_producers::{DescribeProducersRequest, TopicRequest};
use corelog_net::wire::messages::describe_transactions::DescribeTransactionsRequest;
use corelog_net::wire::messages::list_transactions::ListTransactionsRequest;
use corelog_net::wire::messages::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};

use crate::client::Client;
use crate::harness::{Broker, eventually};
use crate::records::values;
use crate::table::{Table, error};
use crate::topics::{create, produce};
use crate::transactions::{Producer, committed_values, stable_offset};

/// `CODE id=State …`.
fn list(client: &mut Client, version: i16, request: &ListTransactionsRequest) -> String {
    let response = client.call(version, request);
    let mut listed: Vec<_> = response
        .transaction_states
        .iter()
        .map(|one| format!(" {}={}", one.transactional_id, one.transaction_state))
        .collect();
    listed.sort();
    let unknown = response.unknown_state_filters.iter();
    let unknown: Vec<_> = unknown.map(|name| format!(" {name}?")).collect();
    let (listed, unknown) = (listed.concat(), unknown.concat());
    format!("{}{listed}{unknown}", error(response.error_code))
}

fn everything() -> ListTransactionsRequest {
    ListTransactionsRequest {
        duration_filter: -1,
        ..ListTransactionsRequest::default()
    }
}

#[test]
fn transactions_and_producers_are_listed_and_described() {
    let broker = Broker::start();
    let mut client = broker.client();
    let client = &mut client;
    create(client, "t", 2, &[]);
    let mut table = Table::new("ListTransactions, DescribeTransactions, DescribeProducers");
    table.row("before anybody", list(client, 2, &everything()), "NONE");
    let open = Producer::begin(client, "open-1", 60_000);
    open.write(client, ("t", 0), &["a", "b"]);
    open.write(client, ("t", 1), &["a"]);
    let mut done = Producer::begin(client, "done-1", 50_000);
    done.write(client, ("t", 1), &["a"]);
    done.end(client, true);
    eventually("it is complete", || {
        list(client, 0, &everything()) == "NONE done-1=CompleteCommit open-1=Ongoing"
    });
    let states = |names: &[&str]| ListTransactionsRequest {
        state_filters: names.iter().map(|&name| name.to_owned()).collect(),
        ..everything()
    };
    let bogus = states(&["Bogus"]);
    table.row("bad state filter", list(client, 1, &bogus), "NONE Bogus?");
    let mixed = states(&["Bogus", "Ongoing"]);
    table.row(
        "one is known",
        list(client, 1, &mixed),
        "NONE open-1=Ongoing Bogus?",
    );
    let of_producer = ListTransactionsRequest {
        producer_id_filters: vec![done.id],
        ..everything()
    };
    table.row(
        "by producer",
        list(client, 0, &of_producer),
        "NONE done-1=CompleteCommit",
    );
    let pattern = |text: &str| ListTransactionsRequest {
        transactional_id_pattern: Some(text.to_owned()),
        ..everything()
    };
    table.row(
        "v2 by pattern",
        list(client, 2, &pattern("op.*")),
        "NONE open-1=Ongoing",
    );
    table.row(
        "the whole must match",
        list(client, 2, &pattern("op")),
        "NONE",
    );
    table.row(
        "v2 bad regex",
        list(client, 2, &pattern("(")),
        "INVALID_REGULAR_EXPRESSION",
    );
    table.row(
        "v2 bad regex",
        list(client, 2, &pattern("a)|(?:.*")),
        "INVALID_REGULAR_EXPRESSION",
    );
    let old = ListTransactionsRequest {
        duration_filter: 3_600_000,
        ..everything()
    };
    table.row("nobody is that old", list(client, 1, &old), "NONE");

    let request = DescribeTransactionsRequest {
        transactional_ids: ["open-1", "nope", ""].map(str::to_owned).to_vec(),
        ..DescribeTransactionsRequest::default()
    };
    for one in client.call(0, &request).transaction_states {
        let topics: Vec<_> = one
            .topics
            .iter()
            .map(|t| format!("{}{:?}", t.topic, t.partitions))
            .collect();
        let shown = format!(
            "{} {} timeout={} {}",
            error(one.error_code),
            one.transaction_state,
            one.transaction_timeout_ms,
            topics.join(" ")
        );
        let expected = match one.transactional_id.as_str() {
            "open-1" => "NONE Ongoing timeout=60000 t[0, 1]",
            "nope" => "TRANSACTIONAL_ID_NOT_FOUND  timeout=0 ",
            _ => "INVALID_REQUEST  timeout=0 ",
        };
        table.row(&one.transactional_id, shown, expected);
    }

    let request = DescribeProducersRequest {
        topics: vec![
            TopicRequest {
                name: "t".to_owned(),
                partition_indexes: vec![0, 1, 9],
                ..TopicRequest::default()
            },
            TopicRequest {
                name: "nope".to_owned(),
                partition_indexes: vec![0],
                ..TopicRequest::default()
            },
        ],
        ..DescribeProducersRequest::default()
    };
    let mut shown = Vec::new();
    for topic in client.call(0, &request).topics {
        for one in topic.partitions {
            let producers = one.active_producers.iter().map(|p| {
                format!(
                    " {}:{} seq={} start={}",
                    if p.producer_id == open.id {
                        "open"
                    } else {
                        "done"
                    },
                    p.producer_epoch,
                    p.last_sequence,
                    p.current_txn_start_offset
                )
            });
            let producers = producers.collect::<Vec<_>>().concat();
            shown.push(format!(
                "{}-{} {}{producers}",
                topic.name,
                one.partition_index,
                error(one.error_code)
            ));
        }
    }
    table.row(
        "DescribeProducers",
        shown.join(", "),
        "t-0 NONE open:0 seq=1 start=0, t-1 NONE open:0 seq=0 start=0 done:1 seq=-1 start=-1, \
         t-9 UNKNOWN_TOPIC_OR_PARTITION, nope-0 UNKNOWN_TOPIC_OR_PARTITION",
    );
    table.finish();
}

/// An administrator aborts a transaction that hangs in one partition.
#[test]
fn a_hanging_transaction_is_ended_by_a_marker() {
    let broker = Broker::start();
    let mut client = broker.client();
    let client = &mut client;
    create(client, "t", 1, &[]);
    let hanging = Producer::begin(client, "hanging", 60_000);
    hanging.write(client, ("t", 0), &["lost"]);
    produce(client, "t", 0, values(&["kept"]));
    assert_eq!(stable_offset(client, "t", 0), 0);
    let marking = |topic: &str, epoch: i16, coordinator_epoch: i32| WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id: hanging.id,
            producer_epoch: epoch,
            transaction_result: false,
            topics: vec![WritableTxnMarkerTopic {
                name: topic.to_owned(),
                partition_indexes: vec![0],
                ..WritableTxnMarkerTopic::default()
            }],
            coordinator_epoch,
            ..WritableTxnMarker::default()
        }],
        ..WriteTxnMarkersRequest::default()
    };
    let mut write = |version: i16, request: &WriteTxnMarkersRequest| {
        let response = client.call(version, request);
        error(response.markers[0].topics[0].partitions[0].error_code)
    };
    let mut table = Table::new("WriteTxnMarkers");
    table.row(
        "nowhere",
        write(1, &marking("nope", 0, 0)),
        "UNKNOWN_TOPIC_OR_PARTITION",
    );
    table.row(
        "a stale epoch",
        write(1, &marking("t", -1, 0)),
        "INVALID_PRODUCER_EPOCH",
    );
    let mut second = marking("t", 0, 0);
    second.markers[0].transaction_version = 2;
    table.row(
        "of version 2, not above",
        write(2, &second),
        "INVALID_PRODUCER_EPOCH",
    );
    table.row("the abort", write(1, &marking("t", 0, 3)), "NONE");
    table.row(
        "an older coordinator",
        write(1, &marking("t", 0, 2)),
        "TRANSACTION_COORDINATOR_FENCED",
    );
    table.finish();
    eventually("what was behind it is seen", || {
        stable_offset(client, "t", 0) == 3
    });
    assert_eq!(committed_values(client, "t", 0), ["kept"]);
}

#[test]
fn an_unused_transactional_id_is_forgotten() {
    let broker = Broker::with(&[
        "transactional.id.expiration.ms=1000",
        "transaction.remove.expired.transaction.cleanup.interval.ms=50",
    ]);
    let mut client = broker.client();
    let client = &mut client;
    create(client, "t", 1, &[]);
    let open = Producer::begin(client, "open", 60_000);
    open.write(client, ("t", 0), &["a"]);
    let idle = Producer::begin(client, "idle", 60_000);
    eventually("the idle one is forgotten", || {
        list(client, 0, &everything()) == "NONE open=Ongoing"
    });
    // It begins anew, with another producer id.
    let again = Producer::begin(client, "idle", 60_000);
    assert_ne!(again.id, idle.id);
}
