//! Our own producer in transactions, in clusters of both kinds (KIP-890), and the command that uses it.

use std::rc::Rc;
use std::time::Duration;

use corelog_net::wire::messages::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};
use corelog_runtime::{Config, Runtime};
use corelog_tools::cli::{self, Out};
use corelog_tools::client::producer::{
    NewRecord, ProduceError, Producer, ProducerConfig, TransactionError, Transactional,
};
use corelog_tools::client::{Client as Link, ClientConfig};

use crate::harness::{Broker, PATIENCE};
use crate::topics::{create, end_offset};
use crate::transactions::{await_coordinator, committed_values, stable_offset};

fn on_runtime(work: impl Future<Output = ()> + 'static) {
    let runtime = Runtime::new(&Config::default()).expect("a runtime");
    runtime.run(work);
}

async fn producer(broker: &Broker, id: &str) -> Producer {
    let config = ClientConfig {
        api_timeout: PATIENCE,
        ..ClientConfig::new([broker.bootstrap()])
    };
    let link: Rc<Link> = Link::connect(config).await.expect("the broker answers");
    let config = ProducerConfig {
        linger: Duration::ZERO,
        transactional: Some(Transactional {
            id: id.to_owned(),
            timeout: Duration::from_mins(1),
        }),
        ..ProducerConfig::default()
    };
    Producer::new(link, config).await.expect("an id and epoch")
}

fn record(partition: i32, value: &str) -> NewRecord<'_> {
    NewRecord {
        topic: "t",
        partition: Some(partition),
        value: Some(value.as_bytes()),
        ..NewRecord::default()
    }
}

/// Transactions as they were before KIP-890: clients add partitions, and the epoch stays.
fn lower_transaction_version(broker: &Broker) {
    let request = UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: "transaction.version".to_owned(),
            max_version_level: 1,
            upgrade_type: 2,
            ..FeatureUpdateKey::default()
        }],
        ..UpdateFeaturesRequest::default()
    };
    let response = broker.client().call(2, &request);
    assert_eq!(response.error_code, 0, "{response:?}");
}

fn transactions_of_our_producer_are_whole_or_nothing(broker: Broker) {
    let mut client = broker.client();
    create(&mut client, "t", 2, &[("max.message.bytes", "2000")]);
    await_coordinator(&mut client, "ours");
    on_runtime(async move {
        let producer = producer(&broker, "ours").await;
        let outside = producer
            .send(record(0, "x"))
            .await
            .expect_err("none is open");
        assert!(outside.to_string().contains("none is open"), "{outside}");
        for round in 0..3 {
            producer.begin_transaction().expect("none was open");
            for partition in [0, 1, 0] {
                let value = format!("kept {round}");
                let sent = producer.send(record(partition, &value)).await;
                let _delivery = sent.expect("there is room");
            }
            producer.commit_transaction().await.expect("it commits");

            producer.begin_transaction().expect("none was open");
            let sent = producer.send(record(1, "dropped")).await;
            sent.expect("there is room").await.expect("it is delivered");
            let before = stable_offset(&mut client, "t", 1);
            assert!(before < end_offset(&mut client, "t", 1), "it is open");
            producer.abort_transaction().await.expect("it aborts");
        }
        // One that is empty has nothing to tell anybody.
        producer.begin_transaction().expect("none was open");
        assert!(producer.begin_transaction().is_err());
        producer.commit_transaction().await.expect("it commits");

        // A record that is refused takes the whole transaction with it, and no other.
        producer.begin_transaction().expect("none was open");
        let sent = producer.send(record(0, "dropped")).await;
        sent.expect("there is room").await.expect("it is delivered");
        let large = "x".repeat(3000);
        let sent = producer.send(record(1, &large)).await;
        let refused = sent.expect("there is room").await.expect_err("too large");
        assert!(matches!(refused, ProduceError::Api(_)), "{refused}");
        let committed = producer.commit_transaction().await;
        let Err(TransactionError::Failed(why)) = committed else {
            panic!("it cannot commit: {committed:?}");
        };
        assert_eq!(why.to_string(), refused.to_string());
        producer.abort_transaction().await.expect("it aborts");
        producer.begin_transaction().expect("none was open");
        let sent = producer.send(record(0, "last")).await;
        sent.expect("there is room").await.expect("it is delivered");
        producer.commit_transaction().await.expect("it commits");

        // Another with the same id ends what the first has open.
        producer.begin_transaction().expect("none was open");
        let sent = producer.send(record(0, "dropped")).await;
        sent.expect("there is room").await.expect("it is delivered");
        let next = self::producer(&broker, "ours").await;
        next.begin_transaction().expect("none was open");
        next.commit_transaction().await.expect("it commits");
        let fenced = producer
            .commit_transaction()
            .await
            .expect_err("it is fenced");
        assert!(matches!(fenced, TransactionError::Api(_)), "{fenced}");

        let expected: Vec<String> = (0..3).map(|round| format!("kept {round}")).collect();
        assert_eq!(committed_values(&mut client, "t", 1), expected);
        let twice = expected.iter().flat_map(|one| [one.clone(), one.clone()]);
        let both: Vec<String> = twice.chain(["last".to_owned()]).collect();
        assert_eq!(committed_values(&mut client, "t", 0), both);
    });
}

#[test]
fn transactions_are_whole_or_nothing_where_brokers_add_partitions() {
    transactions_of_our_producer_are_whole_or_nothing(Broker::start());
}

#[test]
fn transactions_are_whole_or_nothing_where_clients_add_partitions() {
    let broker = Broker::start();
    lower_transaction_version(&broker);
    transactions_of_our_producer_are_whole_or_nothing(broker);
}

fn run(broker: &Broker, arguments: &[&str]) -> (u8, String, String) {
    let (mut printer, out, err) = Out::kept();
    let bootstrap = broker.bootstrap();
    let server = ["--bootstrap-server", &bootstrap];
    let all = ["corelog"].iter().chain(arguments).chain(&server);
    let all: Vec<String> = all.map(|&one| one.to_owned()).collect();
    let code = cli::main(&all, &mut printer);
    drop(printer);
    (code, out.text(), err.text())
}

#[test]
fn the_perf_test_commits_its_transactions_and_prints_its_figures() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "t", 2, &[]);
    create(&mut client, "other", 1, &[]);
    await_coordinator(&mut client, "perf");
    let (code, out, err) = run(
        &broker,
        &[
            "producer-perf-test",
            "--topic",
            "t",
            "--num-records",
            "1000",
            "--record-size",
            "50",
            "--throughput",
            "20000",
            "--transactional-id",
            "perf",
            "--transaction-duration-ms",
            "10",
            "--warmup-records",
            "100",
            "--print-metrics",
        ],
    );
    assert_eq!(code, 0, "{out}{err}");
    for line in [
        "Warmup first 100 records. Steady state results will print after the complete test summary.",
        "1000 records sent, ",
        " steady state records sent, ",
        "producer-metrics:record-send-total:{client-id=perf-producer-client}                 : 1000.000",
        "producer-topic-metrics:record-error-total:{client-id=perf-producer-client, topic=t} : 0.000",
    ] {
        assert!(out.contains(line), "{line} in {out}");
    }
    let markers: i64 = (0..2).map(|it| end_offset(&mut client, "t", it)).sum();
    assert!(markers > 1000 + 2, "several transactions: {markers}");
    let committed: usize = (0..2)
        .map(|it| committed_values(&mut client, "t", it).len())
        .sum();
    assert_eq!(committed, 1000);
    let (code, out, err) = run(
        &broker,
        &[
            "consumer-perf-test",
            "--include",
            "t|none",
            "--num-records",
            "1000",
            "--command-property",
            "isolation.level=read_committed",
            "--date-format",
            "'at'",
            "--print-metrics",
        ],
    );
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("\nat, at, "), "{out}");
    let metric = "consumer-fetch-manager-metrics:records-consumed-total:{client-id=perf-consumer-client, topic=t} ";
    let row = out.lines().find(|line| line.starts_with(metric));
    assert!(row.is_some_and(|row| row.ends_with(": 1000.000")), "{out}");
    for (arguments, sentence) in [
        (
            ["--transaction-duration-ms", "0"],
            "--transaction-duration-ms should be greater than zero.",
        ),
        (
            ["--command-property", "transactional.id=a acks=1"],
            "Cannot set a transactional.id without also enabling idempotence.",
        ),
        (
            ["--warmup-records", "10"],
            "The value for --warmup-records must be strictly fewer than the number of records in the test, \
             --num-records.",
        ),
    ] {
        let arguments = arguments[1]
            .split(' ')
            .fold(vec![arguments[0]], |mut all, one| {
                all.push(one);
                all
            });
        let base = [
            "producer-perf-test",
            "--topic",
            "t",
            "--num-records",
            "10",
            "--record-size",
            "5",
            "--throughput",
            "-1",
        ];
        let (code, _, err) = run(&broker, &[&base, arguments.as_slice()].concat());
        assert_eq!(code, 1);
        assert!(err.contains(sentence), "{err}");
    }
}
