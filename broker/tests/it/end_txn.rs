//! What transactions promise: all or nothing, seen after their end, fenced producers, also over stops and crashes.

use corelog_net::wire::messages::init_producer_id::InitProducerIdRequest;

use crate::harness::{Broker, eventually};
use crate::records::{sequenced, values};
use crate::table::{Table, error};
use crate::topics::{create, end_offset, produce, producing};
use crate::transactions::{
    Producer, await_coordinator, committed_values, initialized, initializing, stable_offset,
};

#[test]
fn transactions_are_answered_as_kafka_answers_them() {
    let broker = Broker::start();
    let mut client = broker.client();
    let client = &mut client;
    create(client, "q2", 1, &[]);
    await_coordinator(client, "txA");
    let mut table = Table::new("Transactions");
    let first = client.call(5, &initializing("txA", 60_000));
    let id = first.producer_id;
    table.row(
        "InitProducerId txA",
        initialized(&first),
        &format!("NONE {id},0"),
    );
    let mut a = Producer::begin(client, "txB", 60_000);
    (a.transactional_id, a.id, a.epoch) = ("txA".to_owned(), id, 0);
    table.row(
        "produce transactional, v11, partition not added to the transaction",
        a.send(client, 11, ("q2", 0), &["v"]),
        "TRANSACTION_ABORTABLE base=-1 start=-1",
    );
    table.row(
        "v10 knows no such error",
        a.send(client, 10, ("q2", 0), &["v"]),
        "INVALID_TXN_STATE base=-1 start=-1",
    );
    table.row(
        "produce transactional, v12 (implicit add)",
        a.send(client, 12, ("q2", 0), &["v"]),
        "NONE base=0 start=0",
    );
    let outside = client.call(12, &producing("q2", 0, sequenced(id, 0, 1, 1)));
    table.row(
        "a non-transactional batch in the open transaction",
        error(outside.responses[0].partition_responses[0].error_code),
        "INVALID_TXN_STATE",
    );
    table.row(
        "InitProducerId txA while ongoing (v5)",
        initialized(&client.call(5, &initializing("txA", 60_000))),
        "CONCURRENT_TRANSACTIONS -1,-1",
    );
    let old = a.clone();
    let mut a = Producer::begin(client, "txA", 60_000);
    table.row("… retried until done", a.epoch, "2");
    table.row(
        "produce with the fenced epoch, v12",
        old.send(client, 12, ("q2", 0), &["v"]),
        "INVALID_PRODUCER_EPOCH base=-1 start=-1",
    );
    let end = |client: &mut crate::client::Client, version: i16, who: &Producer, commit: bool| {
        let response = client.call(version, &who.ending(commit));
        let (id, epoch) = (response.producer_id, response.producer_epoch);
        format!("{} {id},{epoch}", error(response.error_code))
    };
    table.row(
        "EndTxn v5 with fenced epoch",
        end(client, 5, &old, true),
        "PRODUCER_FENCED -1,-1",
    );
    table.row(
        "EndTxn v1 with fenced epoch",
        end(client, 1, &old, true),
        "INVALID_PRODUCER_EPOCH -1,-1",
    );
    table.row(
        "EndTxn v4 commit, empty transaction",
        end(client, 4, &a, true),
        "INVALID_TXN_STATE -1,-1",
    );
    table.row(
        "EndTxn v5 commit, empty transaction",
        end(client, 5, &a, true),
        "INVALID_TXN_STATE -1,-1",
    );
    table.row(
        "EndTxn v5 abort, empty transaction",
        end(client, 5, &a, false),
        &format!("NONE {id},3"),
    );
    a.epoch = 3;
    let mut other = a.clone();
    other.transactional_id = "nobody".to_owned();
    table.row(
        "EndTxn unknown transactional id",
        end(client, 5, &other, true),
        "INVALID_PRODUCER_ID_MAPPING -1,-1",
    );
    let mut wrong = a.clone();
    wrong.id += 1;
    table.row(
        "EndTxn wrong producer id",
        end(client, 5, &wrong, true),
        "INVALID_PRODUCER_ID_MAPPING -1,-1",
    );
    let mut stale = a.clone();
    stale.epoch -= 1;
    eventually("the abort is complete", || {
        a.add(client, &[("q2", 0), ("nope", 0)])
            == "q2-0=OPERATION_NOT_ATTEMPTED nope-0=UNKNOWN_TOPIC_OR_PARTITION"
            && a.add(client, &[("q2", 0)]) == "q2-0=NONE"
    });
    table.row(
        "AddPartitionsToTxn v3 wrong epoch",
        stale.add(client, &[("q2", 0)]),
        "q2-0=PRODUCER_FENCED",
    );
    table.row(
        "AddPartitionsToTxn v3 wrong producer id",
        wrong.add(client, &[("q2", 0)]),
        "q2-0=INVALID_PRODUCER_ID_MAPPING",
    );
    table.row(
        "AddOffsetsToTxn good",
        error(client.call(4, &a.adding_offsets("g")).error_code),
        "NONE",
    );
    table.row(
        "EndTxn v3 commit, ongoing",
        end(client, 3, &a, true),
        "NONE -1,-1",
    );
    eventually("the markers are written", || {
        end(client, 3, &a, true) == "NONE -1,-1"
    });
    table.row(
        "EndTxn v3 abort after commit",
        end(client, 3, &a, false),
        "INVALID_TXN_STATE -1,-1",
    );
    let mut nobody = a.clone();
    (nobody.id, nobody.epoch, nobody.sequence) = (-1, -1, -1);
    let sent = nobody.send(client, 12, ("q2", 0), &["v"]);
    table.row("producer id -1, v12", sent.starts_with("NONE "), "true");
    a.write(client, ("q2", 0), &["v"]);
    let (stable, high) = (stable_offset(client, "q2", 0), end_offset(client, "q2", 0));
    table.row("read_committed is one behind", high - stable, "1");
    table.row(
        "EndTxn v4 on the transaction begun by Produce v12",
        end(client, 4, &a, true),
        "NONE -1,-1",
    );
    eventually("the transaction is over", || {
        stable_offset(client, "q2", 0) == end_offset(client, "q2", 0)
    });
    a.sequence = 1;
    a.write(client, ("q2", 0), &["v"]);
    table.row(
        "EndTxn v5 commit of an ongoing transaction",
        end(client, 5, &a, true),
        &format!("NONE {id},4"),
    );
    eventually("a retry with the epoch before", || {
        end(client, 5, &a, true) == format!("NONE {id},4")
    });
    let has = |epoch: i16, producer_id: i64| InitProducerIdRequest {
        producer_id,
        producer_epoch: epoch,
        ..initializing("txA", 60_000)
    };
    let mut row = |what: &str, epoch: i16, producer_id: i64, expected: &str| {
        let response = client.call(5, &has(epoch, producer_id));
        table.row(what, initialized(&response), expected);
    };
    row(
        "with current id and epoch (bump)",
        4,
        id,
        &format!("NONE {id},5"),
    );
    row("the same again", 4, id, &format!("NONE {id},5"));
    row("with a stale epoch", 3, id, "PRODUCER_FENCED -1,-1");
    row("with another id", 5, id + 1, "PRODUCER_FENCED -1,-1");
    row("with half a producer", 5, -1, "INVALID_REQUEST -1,-1");
    table.row(
        "with a stale epoch, v3",
        initialized(&client.call(3, &has(3, id))),
        "INVALID_PRODUCER_EPOCH -1,-1",
    );
    table.finish();
}

#[test]
fn what_is_aborted_is_never_seen_and_what_is_committed_always() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "all", 4, &[]);
    let mut producers: Vec<_> = (0..3)
        .map(|n| Producer::begin(&mut client, &format!("p{n}"), 60_000))
        .collect();
    let mut expected: Vec<Vec<String>> = vec![Vec::new(); 4];
    for round in 0..12 {
        // Three transactions at a time over all partitions, one of them aborted.
        for (n, producer) in producers.iter_mut().enumerate() {
            for partition in 0..4 {
                let value = format!("{round}-{n}-{partition}");
                producer.write(&mut client, ("all", partition), &[&value]);
            }
        }
        for (n, producer) in producers.iter_mut().enumerate() {
            let commit = (round + n) % 3 != 0;
            producer.end(&mut client, commit);
            for partition in 0..4_i32 {
                if commit {
                    expected[usize::try_from(partition).expect("small")]
                        .push(format!("{round}-{n}-{partition}"));
                }
            }
        }
        if round == 5 {
            broker.restart();
            client = broker.client();
        }
        if round == 8 {
            broker.kill();
            broker.launch();
            client = broker.client();
        }
    }
    // One stays open: nothing behind it is seen.
    producers[0].write(&mut client, ("all", 0), &["open"]);
    produce(&mut client, "all", 0, values(&["behind"]));
    for (partition, expected) in (0..4).zip(&expected) {
        eventually("all markers are written", || {
            let stable = stable_offset(&mut client, "all", partition);
            let end = end_offset(&mut client, "all", partition);
            stable == end - if partition == 0 { 2 } else { 0 }
        });
        let mut seen = committed_values(&mut client, "all", partition);
        let mut expected = expected.clone();
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected, "partition {partition}");
    }
    producers[0].end(&mut client, true);
    eventually("the open one is seen with what is behind it", || {
        let seen = committed_values(&mut client, "all", 0);
        seen.ends_with(&["open".to_owned(), "behind".to_owned()])
    });
}

#[test]
fn a_producer_whose_epochs_are_used_up_goes_on_under_a_new_id() {
    let broker = Broker::with(&["corelog.sync.on.ack=false", "corelog.shards=1"]);
    let mut client = broker.client();
    create(&mut client, "worn", 1, &[]);
    let mut producer = Producer::begin(&mut client, "worn", 60_000);
    let first = producer.id;
    let again = initializing("worn", 60_000);
    while producer.epoch < 32_764 {
        let response = client.call(5, &again);
        assert_eq!(error(response.error_code), "NONE", "{producer:?}");
        assert_eq!(response.producer_epoch, producer.epoch + 1);
        producer.epoch = response.producer_epoch;
    }
    let mut seen = vec![(producer.id, producer.epoch)];
    for round in 0..4 {
        producer.write(&mut client, ("worn", 0), &[&round.to_string()]);
        producer.end(&mut client, true);
        seen.push((producer.id, producer.epoch));
    }
    let second = producer.id;
    assert_eq!(
        seen,
        [
            (first, 32_764),
            (first, 32_765),
            (first, 32_766),
            (second, 0),
            (second, 1)
        ]
    );
    assert_ne!(first, second);
    eventually("the commits are seen", || {
        committed_values(&mut client, "worn", 0) == ["0", "1", "2", "3"]
    });
    // One that did not hear of it has no more to say.
    let zombie = Producer {
        id: first,
        epoch: 32_766,
        ..producer
    };
    let sent = zombie.send(&mut client, 12, ("worn", 0), &["late"]);
    assert!(sent.starts_with("INVALID_PRODUCER_"), "{sent}");
    assert_eq!(committed_values(&mut client, "worn", 0).len(), 4);
}

#[test]
fn the_older_transactions_add_their_partitions_and_keep_their_epoch() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "old", 2, &[]);
    let mut producer = Producer::begin(&mut client, "old", 60_000);
    for round in 0..5 {
        let commit = round % 2 == 0;
        eventually("the transaction before is over", || {
            producer.add(&mut client, &[("old", 0), ("old", 1)]) == "old-0=NONE old-1=NONE"
        });
        for partition in 0..2 {
            let sent = producer.send(
                &mut client,
                11,
                ("old", partition),
                &[if commit { "yes" } else { "no" }],
            );
            assert!(sent.starts_with("NONE "), "round {round}: {sent}");
        }
        producer.sequence += 1;
        let ended = client.call(4, &producer.ending(commit));
        assert_eq!(error(ended.error_code), "NONE", "round {round}");
    }
    for partition in 0..2 {
        eventually("the commits are seen", || {
            committed_values(&mut client, "old", partition) == ["yes"; 3]
        });
    }
}

#[test]
fn a_transaction_that_is_open_for_too_long_is_aborted() {
    let broker = Broker::with(&["transaction.abort.timed.out.transaction.cleanup.interval.ms=50"]);
    let mut client = broker.client();
    create(&mut client, "late", 1, &[]);
    let producer = Producer::begin(&mut client, "late", 200);
    producer.write(&mut client, ("late", 0), &["lost"]);
    produce(&mut client, "late", 0, values(&["kept"]));
    eventually("the broker aborts it", || {
        stable_offset(&mut client, "late", 0) == 3
    });
    assert_eq!(committed_values(&mut client, "late", 0), ["kept"]);
    let sent = producer.send(&mut client, 12, ("late", 0), &["late"]);
    assert_eq!(sent, "INVALID_PRODUCER_EPOCH base=-1 start=-1");
}

#[test]
fn a_crash_loses_no_decision() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "crash", 8, &[]);
    let mut committed = 0;
    for round in 0..6 {
        let mut producer = Producer::begin(&mut client, "crash", 60_000);
        for partition in 0..8 {
            producer.write(&mut client, ("crash", partition), &[&format!("{round}")]);
        }
        // The markers of the last round may not be written when the broker dies.
        let ended = client.call(5, &producer.ending(round % 2 == 0));
        assert_eq!(error(ended.error_code), "NONE");
        committed += usize::from(round % 2 == 0);
        producer.epoch = ended.producer_epoch;
        broker.kill();
        broker.launch();
        client = broker.client();
        await_coordinator(&mut client, "crash");
        let retried = Producer {
            epoch: producer.epoch - 1,
            ..producer.clone()
        };
        eventually("a retry of the end is answered", || {
            let again = client.call(5, &retried.ending(round % 2 == 0));
            error(again.error_code) == "NONE" && again.producer_epoch == producer.epoch
        });
    }
    for partition in 0..8 {
        eventually("every decision is in every partition", || {
            committed_values(&mut client, "crash", partition).len() == committed
        });
        let end = end_offset(&mut client, "crash", partition);
        assert_eq!(stable_offset(&mut client, "crash", partition), end);
    }
}
