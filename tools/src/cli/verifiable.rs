//! **Owns** `verifiable-producer` and `verifiable-consumer`: Kafka's tools for system tests, which print what they do as
//! lines of JSON.
//! **Lives on** the command's thread.
//! **Invariants** (1) A record is printed once its fate is known, in the order of sending.
//! **Not here** producing and consuming (`client`).

use std::ops::ControlFlow;
use std::time::Duration;

use corelog_runtime::{Signal, Signals, now, sleep, sleep_until, spawn};
use corelog_storage::batch::Record;
use serde_json::{Value, json};

use super::argparse::{Arg, Args, Complaint, Kind, Parser, arg};
use super::properties::{self, Properties};
use super::session::{Fault, Printer, ended, lend, load};
use super::{Out, time};
use crate::client::Client;
use crate::client::consumer::{Consumer, Protocol};
use crate::client::producer::{Delivery, NewRecord, Producer};

/// Runs `verifiable-producer`.
pub(super) fn run_producer(arguments: &[String], out: &mut Out) -> u8 {
    let args = match PRODUCER.parse(arguments, out) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let done = lend(out, |printer| async move { produce(&args, &printer).await });
    ended(done, out)
}

/// Runs `verifiable-consumer`.
pub(super) fn run_consumer(arguments: &[String], out: &mut Out) -> u8 {
    let args = match CONSUMER.parse(arguments, out) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let done = lend(out, |printer| async move { consume(&args, &printer).await });
    ended(done, out)
}

/// One line of JSON, flushed: who reads it acts on it.
fn say(out: &Printer, name: &str, fields: Value) {
    let mut event = serde_json::Map::new();
    event.insert("timestamp".to_owned(), time::now_ms().into());
    event.insert("name".to_owned(), name.into());
    if let Value::Object(fields) = fields {
        event.extend(fields);
    }
    out.item(&Value::from(event));
    out.flush();
}

fn properties_of(args: &Args, old: &str) -> Result<Properties, Fault> {
    let file = args.one("command-config").or(args.one(old));
    let mut all = match file {
        Some(path) => load(path)?,
        None => Properties::new(),
    };
    let bootstrap = args.one("bootstrap-server").unwrap_or_default();
    all.insert("bootstrap.servers".to_owned(), bootstrap.to_owned());
    Ok(all)
}

/// Set when the process is asked to end.
fn interrupted() -> std::rc::Rc<std::cell::Cell<bool>> {
    let flag = std::rc::Rc::new(std::cell::Cell::new(false));
    if let Ok(mut signals) = Signals::new(&[Signal::Int, Signal::Term]) {
        let flag = std::rc::Rc::clone(&flag);
        spawn("verifiable.signals", async move {
            signals.next().await;
            flag.set(true);
        })
        .detach();
    }
    flag
}

async fn connect(all: &Properties) -> Result<std::rc::Rc<Client>, Fault> {
    Client::connect(properties::client_config(all)?)
        .await
        .map_err(|error| Fault::from(error.to_string()))
}

async fn produce(args: &Args, out: &Printer) -> Result<u8, Fault> {
    let topic = args.one("topic").unwrap_or_default();
    let mut all = properties_of(args, "producer.config")?;
    all.insert(
        "acks".to_owned(),
        args.one("acks").unwrap_or("-1").to_owned(),
    );
    all.insert("retries".to_owned(), "0".to_owned());
    let limit: i64 = args.number("max-messages").unwrap_or(-1);
    let throughput: i64 = args.number("throughput").unwrap_or(-1);
    let prefix = args
        .one("value-prefix")
        .map_or(String::new(), |prefix| format!("{prefix}."));
    let repeating: Option<i64> = args.number("repeating-keys");
    let created: Option<i64> = args.number("message-create-time");
    let client = connect(&all).await?;
    let producer = Producer::new(client, properties::producer_config(&all)?)
        .await
        .map_err(|error| Fault::of("initProducerId", &error))?;
    let stop = interrupted();
    say(out, "startup_complete", json!({}));
    let begun = now();
    let (mut sent, mut acked) = (0_i64, 0_i64);
    let mut waiting: std::collections::VecDeque<(Option<String>, String, Delivery)> =
        std::collections::VecDeque::new();
    while (limit < 0 || sent < limit) && !stop.get() {
        let value = format!("{prefix}{sent}");
        let key = repeating.map(|count| (sent % count.max(1)).to_string());
        let record = NewRecord {
            topic,
            key: key.as_deref().map(str::as_bytes),
            value: Some(value.as_bytes()),
            timestamp: created.map(|at| at + sent),
            ..NewRecord::default()
        };
        match producer.send(record).await {
            Ok(delivery) => waiting.push_back((key, value, delivery)),
            Err(error) => say(
                out,
                "producer_send_error",
                json!({ "topic": topic, "key": key, "value": value, "exception": "", "message": error.to_string() }),
            ),
        }
        sent += 1;
        while waiting
            .front()
            .is_some_and(|(.., it)| it.outcome().is_some())
            || waiting.len() > 1000
        {
            acked += report(topic, waiting.pop_front(), out).await;
        }
        if throughput > 0 {
            let due = u64::try_from(sent * 1_000_000 / throughput).unwrap_or(0);
            sleep_until(begun + Duration::from_micros(due)).await;
        }
    }
    producer.flush().await;
    while let Some(next) = waiting.pop_front() {
        acked += report(topic, Some(next), out).await;
    }
    say(out, "shutdown_complete", json!({}));
    let ms = now().duration_since(begun).as_millis().max(1);
    #[expect(clippy::cast_precision_loss, reason = "a rate that is shown")]
    let average = 1000.0 * acked as f64 / ms as f64;
    say(
        out,
        "tool_data",
        json!({ "sent": sent, "acked": acked, "target_throughput": throughput, "avg_throughput": average }),
    );
    Ok(0)
}

/// Prints a record's fate; gives 1 when it was acknowledged.
async fn report(
    topic: &str,
    next: Option<(Option<String>, String, Delivery)>,
    out: &Printer,
) -> i64 {
    let Some((key, value, delivery)) = next else {
        return 0;
    };
    let partition = delivery.partition();
    match delivery.await {
        Ok(delivered) => {
            say(
                out,
                "producer_send_success",
                json!({
                    "key": key,
                    "value": value,
                    "offset": delivered.offset,
                    "topic": topic,
                    "partition": partition,
                }),
            );
            1
        }
        Err(error) => {
            let class = match &error {
                crate::client::producer::ProduceError::Api(error) => {
                    super::session::java_error(error)
                        .split(':')
                        .next()
                        .unwrap_or_default()
                        .to_owned()
                }
                _ => "org.apache.kafka.common.errors.TimeoutException".to_owned(),
            };
            say(
                out,
                "producer_send_error",
                json!({
                    "topic": topic,
                    "key": key,
                    "value": value,
                    "exception": format!("class {class}"),
                    "message": error.to_string(),
                }),
            );
            0
        }
    }
}

async fn consume(args: &Args, out: &Printer) -> Result<u8, Fault> {
    let topic = args.one("topic").unwrap_or_default();
    let group = args.one("group-id").unwrap_or_default();
    let protocol = args.one("group-protocol").unwrap_or("classic");
    let protocol = match protocol.to_ascii_uppercase().as_str() {
        "CLASSIC" => Protocol::Classic,
        "CONSUMER" => Protocol::Consumer,
        other => {
            // Java's words.
            let what = "No enum constant org.apache.kafka.clients.consumer.GroupProtocol";
            return Err(format!("{what}.{other}").into());
        }
    };
    let mut all = properties_of(args, "consumer.config")?;
    let flag = |name: &str| args.one(name).map(str::to_owned);
    all.extend(flag("group-instance-id").map(|id| ("group.instance.id".to_owned(), id)));
    if protocol == Protocol::Consumer {
        all.insert("group.protocol".to_owned(), "consumer".to_owned());
        let assignor = flag("group-remote-assignor");
        all.extend(assignor.map(|name| ("group.remote.assignor".to_owned(), name)));
    } else {
        all.insert("group.protocol".to_owned(), "classic".to_owned());
    }
    if protocol == Protocol::Classic {
        let strategy = flag("assignment-strategy");
        all.extend(strategy.map(|name| ("partition.assignment.strategy".to_owned(), name)));
    }
    if let Some(ms) = args.number::<i64>("session-timeout")
        && ms >= 0
    {
        all.insert("session.timeout.ms".to_owned(), ms.to_string());
    }
    let on = args.has("enable-autocommit").to_string();
    all.insert("enable.auto.commit".to_owned(), on);
    let reset = args.one("reset-policy").unwrap_or("earliest");
    all.insert("auto.offset.reset".to_owned(), reset.to_owned());
    let client = connect(&all).await?;
    let consumer = Consumer::new(&client, properties::consumer_config(&all)?);
    let mut config = properties::group_config(group, &all)?;
    config.topics = vec![topic.to_owned()];
    consumer.subscribe(config);
    let stop = interrupted();
    say(out, "startup_complete", json!({}));
    let limit: i64 = args.number("max-messages").unwrap_or(-1);
    let mut seen = 0_i64;
    let mut assigned: Vec<(String, i32)> = Vec::new();
    while (limit < 0 || seen < limit) && !stop.get() {
        let chunk = consumer
            .next_within(Duration::from_millis(100))
            .await
            .map_err(|error| Fault::from(error.to_string()))?;
        let mut current: Vec<(String, i32)> = consumer
            .assignment()
            .into_iter()
            .map(|(topic, partition)| (topic.to_string(), partition))
            .collect();
        current.sort();
        if current != assigned {
            rebalanced(protocol, &assigned, &current, out);
            assigned = current;
        }
        let Some(chunk) = chunk else { continue };
        let (mut first, mut last, mut count) = (None, 0, 0_i64);
        let mut records = Vec::new();
        let visited = chunk.each(|record: &Record<'_>| {
            if limit >= 0 && seen + count >= limit {
                return ControlFlow::Break(());
            }
            first.get_or_insert(record.offset.0);
            last = record.offset.0;
            count += 1;
            records.push(json!({
                "key": record.key.map(String::from_utf8_lossy),
                "value": record.value.map(String::from_utf8_lossy),
                "topic": &*chunk.topic,
                "partition": chunk.partition,
                "offset": record.offset.0,
            }));
            ControlFlow::Continue(())
        });
        let _ = visited.map_err(|error| Fault::from(error.to_string()))?;
        let Some(first) = first else {
            consumer.consumed(&chunk, chunk.next_offset());
            continue;
        };
        if args.has("verbose") {
            for record in records {
                say(out, "record_data", record);
            }
        }
        say(
            out,
            "records_consumed",
            json!({
                "count": count,
                "partitions": [{
                    "topic": &*chunk.topic,
                    "partition": chunk.partition,
                    "count": count,
                    "minOffset": first,
                    "maxOffset": last,
                }],
            }),
        );
        seen += count;
        consumer.consumed(&chunk, last + 1);
        if !args.has("enable-autocommit") {
            commit(&consumer, &chunk.topic, chunk.partition, last + 1, out).await;
        }
        if out.is_broken() {
            break;
        }
    }
    consumer
        .close()
        .await
        .map_err(|error| Fault::of("leaveGroup", &error))?;
    say(
        out,
        "partitions_revoked",
        json!({ "partitions": partitions(&assigned) }),
    );
    say(out, "shutdown_complete", json!({}));
    say(out, "shutdown_requested", json!({}));
    Ok(0)
}

/// Says what was taken away and what was given: of the classic protocol all, of the newer one what differs.
fn rebalanced(protocol: Protocol, before: &[(String, i32)], now: &[(String, i32)], out: &Printer) {
    let without = |of: &[(String, i32)], others: &[(String, i32)]| match protocol {
        Protocol::Classic => of.to_vec(),
        Protocol::Consumer => {
            let left = of.iter().filter(|place| !others.contains(place));
            left.cloned().collect()
        }
    };
    let revoked = without(before, now);
    if !revoked.is_empty() {
        say(
            out,
            "partitions_revoked",
            json!({ "partitions": partitions(&revoked) }),
        );
    }
    let assigned = without(now, before);
    if !assigned.is_empty() || protocol == Protocol::Classic {
        say(
            out,
            "partitions_assigned",
            json!({ "partitions": partitions(&assigned) }),
        );
    }
}

async fn commit(consumer: &Consumer, topic: &str, partition: i32, offset: i64, out: &Printer) {
    for left in (0..3).rev() {
        let done = consumer.commit().await;
        let error = done.as_ref().err().map(crate::client::ApiError::text);
        if error.is_some() && left > 0 {
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        let mut event = json!({
            "offsets": [{ "topic": topic, "partition": partition, "offset": offset }],
            "success": error.is_none(),
        });
        if let Some(error) = error {
            event["error"] = error.into();
        }
        say(out, "offsets_committed", event);
        return;
    }
}

fn partitions(of: &[(String, i32)]) -> Vec<Value> {
    of.iter()
        .map(|(topic, partition)| json!({ "topic": topic, "partition": partition }))
        .collect()
}

const TOPIC: Arg = arg("topic", Kind::Text, "the topic").required();
const SERVER: Arg = arg(
    "bootstrap-server",
    Kind::Text,
    "the brokers to connect to, host:port separated by commas",
)
.required();
const MAX: Arg = arg(
    "max-messages",
    Kind::Integer,
    "end after so many records; -1: never",
);
const FILE: Arg = arg(
    "command-config",
    Kind::Text,
    "a file of properties for the client",
);

/// The command line of `verifiable-producer`.
pub(super) const PRODUCER: Parser = Parser {
    prog: "verifiable-producer",
    about: "Produce increasing numbers, and print the fate of each as JSON.",
    usage: "usage: verifiable-producer [-h] --topic TOPIC [--max-messages MAX-MESSAGES]
                           [--throughput THROUGHPUT] [--acks ACKS]
                           [--producer.config CONFIG-FILE]
                           [--message-create-time CREATE-TIME]
                           [--value-prefix VALUE-PREFIX]
                           [--repeating-keys REPEATING-KEYS]
                           [--command-config CONFIG-FILE]
                           --bootstrap-server HOST1:PORT1[,HOST2:PORT2[...]]",
    args: &[
        TOPIC,
        MAX,
        arg(
            "throughput",
            Kind::Integer,
            "records per second; -1: as fast as possible",
        ),
        arg("acks", Kind::Integer, "0, 1 or -1"),
        arg(
            "producer.config",
            Kind::Text,
            "(DEPRECATED) see --command-config",
        ),
        arg(
            "message-create-time",
            Kind::Long,
            "the first record's time; later ones count up",
        ),
        arg("value-prefix", Kind::Integer, "stands before each value"),
        arg(
            "repeating-keys",
            Kind::Integer,
            "keys count from 0 up to this, again and again",
        ),
        FILE,
        SERVER,
    ],
    subs: &[],
    complaint: Complaint::Usage,
};

/// The command line of `verifiable-consumer`.
pub(super) const CONSUMER: Parser = Parser {
    prog: "verifiable-consumer",
    about: "Consume a topic in a group, and print what happens as JSON.",
    usage: "usage: verifiable-consumer [-h] --topic TOPIC [--group-protocol GROUP-PROTOCOL]
                           [--group-remote-assignor GROUP-REMOTE-ASSIGNOR]
                           --group-id GROUP-ID
                           [--group-instance-id GROUP-INSTANCE-ID]
                           [--max-messages MAX-MESSAGES]
                           [--session-timeout TIMEOUT-MS] [--verbose]
                           [--enable-autocommit] [--reset-policy RESET-POLICY]
                           [--assignment-strategy ASSIGNMENT-STRATEGY]
                           [--consumer.config CONFIG-FILE]
                           [--command-config CONFIG-FILE]
                           --bootstrap-server HOST1:PORT1[,HOST2:PORT2[...]]",
    args: &[
        TOPIC,
        arg(
            "group-protocol",
            Kind::Text,
            "classic (default) or consumer",
        ),
        arg(
            "group-remote-assignor",
            Kind::Text,
            "what the broker assigns with, of the consumer protocol",
        ),
        arg("group-id", Kind::Text, "the group").required(),
        arg("group-instance-id", Kind::Text, "the static member's id"),
        MAX,
        arg(
            "session-timeout",
            Kind::Integer,
            "the session timeout in ms",
        ),
        arg("verbose", Kind::Flag, "print each record"),
        arg("enable-autocommit", Kind::Flag, "commit in the background"),
        arg(
            "reset-policy",
            Kind::Text,
            "earliest (default), latest or none",
        ),
        arg(
            "assignment-strategy",
            Kind::Text,
            "of the classic protocol: RangeAssignor or RoundRobinAssignor, with or without package",
        ),
        arg(
            "consumer.config",
            Kind::Text,
            "(DEPRECATED) see --command-config",
        ),
        FILE,
        SERVER,
    ],
    subs: &[],
    complaint: Complaint::Usage,
};
