//! What the sequences of an idempotent producer are good for.

use corelog_net::wire::messages::describe_producers::{DescribeProducersRequest, TopicRequest};
use corelog_net::wire::messages::init_producer_id::{
    InitProducerIdRequest, InitProducerIdResponse,
};

use crate::client::Client;
use crate::configs::alter;
use crate::harness::{Broker, eventually};
use crate::records::sequenced;
use crate::table::{Table, error};
use crate::topics::{create, produce, producing, read_all};

/// Asks for a producer id.
pub(crate) fn producer_id(client: &mut Client) -> InitProducerIdResponse {
    let request = InitProducerIdRequest {
        transactional_id: None,
        ..InitProducerIdRequest::default()
    };
    let mut granted = None;
    eventually("there are producer ids", || {
        let response = client.call(4, &request);
        let ready = error(response.error_code) != "COORDINATOR_LOAD_IN_PROGRESS";
        granted = Some(response);
        ready
    });
    granted.expect("an answer")
}

/// `CODE base=…`; a duplicate is told by the time that stands in its answer.
fn send(client: &mut Client, topic: &str, records: Vec<u8>) -> String {
    let response = client.call(9, &producing(topic, 0, records));
    let one = &response.responses[0].partition_responses[0];
    format!(
        "{} base={} start={}{}",
        error(one.error_code),
        one.base_offset,
        one.log_start_offset,
        if one.log_append_time_ms == -1 {
            ""
        } else {
            " again"
        }
    )
}

#[test]
fn sequences_keep_duplicates_and_gaps_out() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = "sequences";
    create(&mut client, topic, 1, &[]);
    let granted = producer_id(&mut client);
    assert_eq!((granted.error_code, granted.producer_epoch), (0, 0));
    let id = granted.producer_id;
    let mut table = Table::new("Idempotent producing");
    let gap = "OUT_OF_ORDER_SEQUENCE_NUMBER base=-1 start=0";
    let mut row = |what: &str, records: Vec<u8>, expected: &str| {
        table.row(what, send(&mut client, topic, records), expected);
    };
    row("seq 0", sequenced(id, 0, 0, 2), "NONE base=0 start=0");
    row(
        "seq 0 again (duplicate, same batch)",
        sequenced(id, 0, 0, 2),
        "NONE base=0 start=0 again",
    );
    row("seq 5 (gap)", sequenced(id, 0, 5, 1), gap);
    row("seq 1 (inside the old batch)", sequenced(id, 0, 1, 1), gap);
    for sequence in 2..8 {
        let expected = format!("NONE base={sequence} start=0");
        row(
            &format!("seq {sequence}"),
            sequenced(id, 0, sequence, 1),
            &expected,
        );
    }
    row(
        "seq 0 again after 6 more batches (beyond the 5 cached)",
        sequenced(id, 0, 0, 2),
        gap,
    );
    row(
        "seq 4 again (within the 5)",
        sequenced(id, 0, 4, 1),
        "NONE base=4 start=0 again",
    );
    row(
        "epoch 1 seq 3 (new epoch not from 0)",
        sequenced(id, 1, 3, 1),
        gap,
    );
    row(
        "epoch 1 seq 0",
        sequenced(id, 1, 0, 1),
        "NONE base=8 start=0",
    );
    let stale = "INVALID_PRODUCER_EPOCH base=-1 start=0";
    row("epoch 0 seq 8 (stale epoch)", sequenced(id, 0, 8, 1), stale);
    row(
        "unknown producer id seq 7",
        sequenced(999_999, 0, 7, 1),
        "NONE base=9 start=0",
    );
    row(
        "producer id, epoch -1",
        sequenced(999_998, -1, 0, 1),
        "NONE base=10 start=0",
    );
    let invalid = "INVALID_RECORD base=-1 start=0";
    row("producer id with seq -1", sequenced(id, 0, -1, 1), invalid);
    row(
        "seq 2147483647",
        sequenced(999_997, 0, i32::MAX, 1),
        "NONE base=11 start=0",
    );
    row(
        "seq wraps to 0",
        sequenced(999_997, 0, 0, 1),
        "NONE base=12 start=0",
    );
    table.finish();
    assert_eq!(read_all(&mut client, topic, 0, 0).len(), 13);
}

#[test]
fn producer_ids_are_never_given_twice_over_stops_and_crashes() {
    let mut broker = Broker::start();
    let mut seen = Vec::new();
    for crash in [true, false, true] {
        let mut clients: Vec<Client> = (0..4).map(|_| broker.client()).collect();
        for _ in 0..5 {
            for client in &mut clients {
                let granted = producer_id(client);
                assert_eq!(error(granted.error_code), "NONE");
                seen.push(granted.producer_id);
            }
        }
        let request = InitProducerIdRequest {
            transactional_id: None,
            producer_id: seen[0],
            producer_epoch: 0,
            ..InitProducerIdRequest::default()
        };
        let granted = clients[0].call(4, &request);
        assert_eq!(
            (error(granted.error_code), granted.producer_epoch),
            ("NONE", 0)
        );
        seen.push(granted.producer_id);
        if crash {
            broker.kill();
            broker.launch();
        } else {
            broker.restart();
        }
    }
    let given = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), given, "{seen:?}");
}

#[test]
fn a_silent_producer_is_forgotten() {
    let broker = Broker::with(&["log.retention.check.interval.ms=50"]);
    let mut client = broker.client();
    let topic = "forgetting";
    create(&mut client, topic, 1, &[]);
    let id = producer_id(&mut client).producer_id;
    assert_eq!(
        send(&mut client, topic, sequenced(id, 0, 0, 1)),
        "NONE base=0 start=0"
    );
    let known = |client: &mut Client| {
        let request = DescribeProducersRequest {
            topics: vec![TopicRequest {
                name: topic.to_owned(),
                partition_indexes: vec![0],
                ..TopicRequest::default()
            }],
            ..DescribeProducersRequest::default()
        };
        let response = client.call(0, &request);
        response.topics[0].partitions[0].active_producers.len()
    };
    assert_eq!(known(&mut client), 1);
    // A gap is a gap while the producer is known…
    assert_eq!(
        send(&mut client, topic, sequenced(id, 0, 5, 1)),
        "OUT_OF_ORDER_SEQUENCE_NUMBER base=-1 start=0"
    );
    let change = ("producer.id.expiration.ms", 0, Some("1"));
    assert_eq!(alter(&mut client, 4, "", &[change]), "NONE");
    eventually("the producer is forgotten", || known(&mut client) == 0);
    // …and nobody can tell when it is not.
    assert_eq!(
        send(&mut client, topic, sequenced(id, 0, 5, 1)),
        "NONE base=1 start=0"
    );
}

#[test]
fn an_empty_transactional_id_is_refused() {
    let broker = Broker::start();
    let request = InitProducerIdRequest {
        transactional_id: Some(String::new()),
        transaction_timeout_ms: 1000,
        ..InitProducerIdRequest::default()
    };
    let response = broker.client().call(4, &request);
    assert_eq!(error(response.error_code), "INVALID_REQUEST");
    assert_eq!((response.producer_id, response.producer_epoch), (-1, -1));
}

#[test]
fn sequences_are_known_after_a_restart() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "sequences-kept", 1, &[]);
    let id = producer_id(&mut client).producer_id;
    for sequence in 0..4 {
        produce(
            &mut client,
            "sequences-kept",
            0,
            sequenced(id, 0, sequence, 1),
        );
    }
    for crash in [false, true] {
        if crash {
            broker.kill();
            broker.launch();
        } else {
            broker.restart();
        }
        client = broker.client();
        let topic = "sequences-kept";
        let got = send(&mut client, topic, sequenced(id, 0, 3, 1));
        assert_eq!(got, "NONE base=3 start=0 again", "after a crash: {crash}");
        let got = send(&mut client, topic, sequenced(id, 0, 9, 1));
        assert_eq!(
            got, "OUT_OF_ORDER_SEQUENCE_NUMBER base=-1 start=0",
            "after a crash: {crash}"
        );
    }
    assert_eq!(
        send(&mut client, "sequences-kept", sequenced(id, 0, 4, 1)),
        "NONE base=4 start=0"
    );
}
