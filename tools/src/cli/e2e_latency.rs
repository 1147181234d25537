//! **Owns** `e2e-latency`: Kafka's `kafka-e2e-latency`.
//! **Lives on** the command's thread.
//! **Invariants** (1) One record is on its way at a time, and what comes back is what was sent.
//! **Not here** load (`producer_perf_test`).

use std::time::Duration;

use corelog_runtime::now;
use corelog_storage::batch::RecordHeader;
use serde_json::json;

use super::Out;
use super::options::{Given, Opt, Refusal, Table, value};
use super::properties;
use super::session::{Address, Fault, Printer, tool};
use crate::client::admin::NewTopic;
use crate::client::consumer::{Consumer, Start};
use crate::client::producer::{NewRecord, Producer};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    // Kafka's tool shows its options when it does not know one.
    if let Err(Refusal::Error(message)) = TABLE.parse(arguments) {
        return Refusal::Usage(message).print(&TABLE, out);
    }
    tool(&TABLE, arguments, out, check, |given, printer| async move {
        work(&given, &printer).await
    })
}

fn check(given: &Given) -> Result<(), Refusal> {
    given.require(&[
        "bootstrap-server",
        "topic",
        "num-records",
        "producer-acks",
        "record-size",
    ])?;
    let acks = given.one("producer-acks").map_err(Refusal::Error)?;
    if !matches!(acks, Some("1" | "all")) {
        return Err(Refusal::Usage(
            "Invalid value for --producer-acks. Latency testing requires synchronous acknowledgement. Please use '1' or 'all'."
                .to_owned(),
        ));
    }
    Ok(())
}

async fn work(given: &Given, out: &Printer) -> Result<u8, Fault> {
    let topic = given.one("topic")?.unwrap_or_default();
    let count: u64 = given.parsed("num-records")?.unwrap_or(0);
    let size = |name: &str| -> Result<usize, Fault> { Ok(given.parsed(name)?.unwrap_or(0)) };
    let (value_size, key_size) = (size("record-size")?, size("record-key-size")?);
    let headers = size("num-headers")?;
    let header_key = vec![b'h'; size("record-header-key-size")?];
    let header_value = vec![b'v'; size("record-header-size")?];
    let as_json = given.json()?;
    let mut address = Address::of(given, "command-config")?;
    let all = &mut address.properties;
    all.insert(
        "acks".to_owned(),
        given.one("producer-acks")?.unwrap_or("all").to_owned(),
    );
    all.insert("linger.ms".to_owned(), "0".to_owned());
    let producing = properties::producer_config(&address.properties)?;
    let consuming = properties::consumer_config(&address.properties)?;
    let admin = address.connect("listTopics").await?;
    let known = admin
        .list_topics()
        .await
        .map_err(|error| Fault::of("listTopics", &error))?;
    if !known.iter().any(|it| it.name == topic) {
        if !as_json {
            out.line(&format!(
                "Topic \"{topic}\" does not exist. Will create topic with 1 partition(s) and replication factor = 1"
            ));
        }
        let new = NewTopic {
            replication_factor: Some(1),
            ..NewTopic::new(topic, 1)
        };
        admin
            .create_topic(new)
            .await
            .map_err(|error| Fault::of("createTopics", &error))?;
    }
    let fault = |error: &dyn std::fmt::Display| Fault::from(error.to_string());
    let client = admin.client();
    let consumer = Consumer::new(client, consuming);
    let partitions = client
        .topic(topic)
        .await
        .map_err(|error| Fault::of("metadata", &error))?;
    let assignment: Vec<(String, i32, Start)> = (0..partitions)
        .map(|partition| (topic.to_owned(), partition, Start::Latest))
        .collect();
    consumer.assign(&assignment);
    let producer = Producer::new(std::rc::Rc::clone(client), producing)
        .await
        .map_err(|error| Fault::of("initProducerId", &error))?;
    // Positions are looked up before the first record is written.
    while !(0..partitions).all(|partition| consumer.position(topic, partition).is_some()) {
        consumer
            .next_within(Duration::from_millis(10))
            .await
            .map_err(|error| fault(&error))?;
    }
    let mut latencies: Vec<Duration> = Vec::new();
    let mut total = Duration::ZERO;
    for iteration in 0..count {
        let value = random_text(value_size);
        let key = random_text(key_size);
        let header = RecordHeader {
            key: &header_key,
            value: Some(&header_value),
        };
        let headers = vec![header; headers];
        let record = NewRecord {
            topic,
            key: (key_size > 0).then_some(key.as_slice()),
            value: Some(&value),
            headers: &headers,
            ..NewRecord::default()
        };
        let begun = now();
        let delivery = producer.send(record).await.map_err(|error| fault(&error))?;
        delivery.await.map_err(|error| fault(&error))?;
        let found = consumer
            .poll(Duration::from_mins(1))
            .await
            .map_err(|error| fault(&error))?;
        let latency = now().duration_since(begun);
        match found.as_slice() {
            [] => {
                return Err(
                    "poll() timed out before finding a result (timeout:[60000ms])"
                        .to_owned()
                        .into(),
                );
            }
            [record] if record.value.as_deref() == Some(value.as_slice()) => {}
            [_] => {
                return Err("The message value read is not the message value sent: does somebody else write to the topic?"
                    .to_owned()
                    .into());
            }
            _ => {
                return Err(format!(
                    "Only one result was expected during this test. We found [{}]",
                    found.len()
                )
                .into());
            }
        }
        if iteration % 1000 == 0 && !as_json {
            out.line(&format!("{iteration}\t{}", milliseconds(latency)));
            out.flush();
        }
        total += latency;
        latencies.push(latency);
    }
    latencies.sort();
    let quantile = |per_mille: usize| {
        let at = latencies.len() * per_mille / 1000;
        latencies
            .get(at.min(latencies.len().saturating_sub(1)))
            .map_or(0, Duration::as_millis)
    };
    let average = milliseconds(total) / milliseconds(Duration::from_millis(count.max(1)));
    if as_json {
        out.json(&json!({
            "records": count,
            "averageMs": average,
            "p50Ms": u64::try_from(quantile(500)).ok(),
            "p99Ms": u64::try_from(quantile(990)).ok(),
            "p999Ms": u64::try_from(quantile(999)).ok(),
        }));
        return Ok(0);
    }
    out.line(&format!("Avg latency: {average:.4} ms\n"));
    out.line(&format!(
        "Percentiles: 50th = {}, 99th = {}, 99.9th = {}",
        quantile(500),
        quantile(990),
        quantile(999)
    ));
    Ok(0)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Capital letters, drawn.
fn random_text(size: usize) -> Vec<u8> {
    (0..size)
        .map(|_| b'A' + u8::try_from(corelog_runtime::random() % 26).unwrap_or(0))
        .collect()
}

/// The options.
pub(super) const TABLE: Table = Table {
    about: "This tool measures end-to-end latency in Kafka by sending messages and timing their reception.",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
    value(
        "bootstrap-server",
        "String: bootstrap-server",
        "REQUIRED: the brokers to connect to, host:port separated by commas.",
    ),
    value(
        "command-config",
        "String: config-file",
        "A file of properties for the client.",
    ),
    value(
        "num-headers",
        "Integer: count",
        "How many headers each record has.",
    ),
    value(
        "num-records",
        "Integer: count",
        "REQUIRED: how many records.",
    ),
    value("producer-acks", "String: acks", "REQUIRED: 1 or all."),
    value(
        "record-header-key-size",
        "Integer: bytes",
        "The size of a header's key.",
    ),
    value(
        "record-header-size",
        "Integer: bytes",
        "The size of a header's value.",
    ),
    value("record-key-size", "Integer: bytes", "The size of a key."),
    value(
        "record-size",
        "Integer: bytes",
        "REQUIRED: the size of a value.",
    ),
    value("topic", "String: topic-name", "REQUIRED: the topic."),
];
