//! librdkafka as clients use it: codecs, groups, seeking, the idempotent producer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{DeliveryResult, Header, Headers as _, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::harness::{Broker, PATIENCE};
use crate::topics::{create, end_offset};

/// Reports every delivery: partition and offset, or what went wrong.
struct Deliveries(mpsc::Sender<Result<(i32, i64), String>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let told = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.to_string()),
        };
        let _ = self.0.send(told);
    }
}

type Reports = mpsc::Receiver<Result<(i32, i64), String>>;

fn producer(broker: &Broker, settings: &[(&str, &str)]) -> (BaseProducer<Deliveries>, Reports) {
    let (sender, reports) = mpsc::channel();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", broker.bootstrap())
        .set("linger.ms", "2");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    let producer = config
        .create_with_context(Deliveries(sender))
        .expect("settings it knows");
    (producer, reports)
}

fn consumer(broker: &Broker, group: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "200")
        .set("topic.metadata.refresh.interval.ms", "1000")
        .set("check.crcs", "true")
        .create()
        .expect("settings it knows")
}

/// Sends a record, waiting when the queue is full.
fn send(producer: &BaseProducer<Deliveries>, topic: &str, partition: Option<i32>, value: &str) {
    let mut record = BaseRecord::<str, str>::to(topic).key("key").payload(value);
    record.partition = partition;
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((_, back)) => {
                producer.poll(Duration::from_millis(10));
                record = back;
            }
        }
    }
}

/// Every record that was sent is acknowledged; the offsets by partition.
fn acknowledged(reports: &Reports, count: usize) -> BTreeMap<i32, BTreeSet<i64>> {
    let mut offsets: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
    for number in 0..count {
        let (partition, offset) = reports
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("{number} of {count} reports"))
            .expect("it is delivered");
        assert!(
            offsets.entry(partition).or_default().insert(offset),
            "{partition} {offset} twice"
        );
    }
    offsets
}

/// Reads so many records: partition, offset, value.
fn take(consumer: &BaseConsumer, count: usize) -> Vec<(i32, i64, String)> {
    let deadline = Instant::now() + PATIENCE;
    let mut taken = Vec::new();
    while taken.len() < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} records",
            taken.len()
        );
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message.expect("librdkafka reads it");
        let value = message
            .payload_view::<str>()
            .expect("a value")
            .expect("text");
        taken.push((message.partition(), message.offset(), value.to_owned()));
    }
    taken
}

#[test]
fn every_codec_goes_there_and_back() {
    const COUNT: usize = 2000;
    let broker = Broker::start();
    let mut client = broker.client();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("rdkafka-{codec}");
        create(&mut client, &topic, 3, &[]);
        let (producer, reports) = producer(&broker, &[("compression.codec", codec)]);
        let filler = "and so on ".repeat(20);
        for number in 0..COUNT {
            let partition = i32::try_from(number % 3).expect("below 3");
            send(
                &producer,
                &topic,
                Some(partition),
                &format!("{number} {filler}"),
            );
        }
        producer.flush(PATIENCE).expect("all is sent");
        let offsets = acknowledged(&reports, COUNT);
        for (partition, offsets) in &offsets {
            assert!(
                offsets
                    .iter()
                    .copied()
                    .eq(0..end_offset(&mut client, &topic, *partition))
            );
        }
        let consumer = consumer(&broker, &format!("rdkafka-{codec}"));
        consumer.subscribe(&[&topic]).expect("a topic");
        let mut next = [0_i64; 3];
        for (partition, offset, value) in take(&consumer, COUNT) {
            let at = usize::try_from(partition).expect("a partition");
            assert_eq!(offset, next[at], "{codec}: in order, each once");
            next[at] += 1;
            let number = offset * 3 + i64::from(partition);
            assert_eq!(value, format!("{number} {filler}"), "{codec}");
        }
    }
}

#[test]
fn keys_headers_and_times_arrive() {
    let broker = Broker::start();
    create(&mut broker.client(), "rdkafka-whole", 1, &[]);
    let (producer, reports) = producer(&broker, &[]);
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "one",
            value: Some("1"),
        })
        .insert(Header {
            key: "none",
            value: None::<&str>,
        });
    let record = BaseRecord::<str, str>::to("rdkafka-whole")
        .key("a key")
        .payload("a value")
        .timestamp(1_700_000_000_000)
        .headers(headers);
    producer
        .send(record)
        .map_err(|(error, _)| error)
        .expect("it is queued");
    let bare: BaseRecord<'_, str, str> = BaseRecord::to("rdkafka-whole");
    producer
        .send(bare)
        .map_err(|(error, _)| error)
        .expect("it is queued");
    producer.flush(PATIENCE).expect("all is sent");
    acknowledged(&reports, 2);
    let consumer = consumer(&broker, "rdkafka-whole");
    consumer.subscribe(&["rdkafka-whole"]).expect("a topic");
    let deadline = Instant::now() + PATIENCE;
    let mut seen = 0;
    while seen < 2 {
        assert!(Instant::now() < deadline, "{seen} of 2 records");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message.expect("librdkafka reads it");
        if seen == 0 {
            assert_eq!(message.key(), Some(&b"a key"[..]));
            assert_eq!(message.payload(), Some(&b"a value"[..]));
            assert_eq!(message.timestamp().to_millis(), Some(1_700_000_000_000));
            let headers = message.headers().expect("headers");
            assert_eq!(headers.count(), 2);
            assert_eq!(
                headers.get(0),
                Header {
                    key: "one",
                    value: Some(&b"1"[..])
                }
            );
            assert_eq!(headers.get(1).value, None);
        } else {
            assert_eq!((message.key(), message.payload()), (None, None));
        }
        seen += 1;
    }
}

#[test]
fn three_consumers_share_a_topic_and_two_take_over() {
    const COUNT: usize = 600;
    let broker = Broker::start();
    create(&mut broker.client(), "rdkafka-group", 6, &[]);
    let (producer, reports) = producer(&broker, &[]);
    let fill = |round: usize| {
        for number in 0..COUNT {
            let partition = i32::try_from(number % 6).expect("below 6");
            send(
                &producer,
                "rdkafka-group",
                Some(partition),
                &format!("{round} {number}"),
            );
        }
        producer.flush(PATIENCE).expect("all is sent");
        acknowledged(&reports, COUNT);
    };
    let mut consumers: Vec<BaseConsumer> =
        (0..3).map(|_| consumer(&broker, "rdkafka-group")).collect();
    for consumer in &consumers {
        consumer.subscribe(&["rdkafka-group"]).expect("a topic");
    }
    let mut seen = BTreeSet::new();
    // Everybody has a share.
    settle(&consumers, 2, &mut seen);
    fill(0);
    drain(&consumers, &mut seen, COUNT);
    for consumer in &consumers {
        consumer
            .commit_consumer_state(CommitMode::Sync)
            .expect("offsets are committed");
    }
    let leaver = consumers.remove(0);
    leaver.unsubscribe();
    drop(leaver);
    settle(&consumers, 3, &mut seen);
    fill(1);
    drain(&consumers, &mut seen, 2 * COUNT);
    for consumer in &consumers {
        consumer
            .commit_consumer_state(CommitMode::Sync)
            .expect("offsets are committed");
    }
    drop(consumers);
    // A group that comes back goes on where it stopped.
    fill(2);
    let consumer = consumer(&broker, "rdkafka-group");
    consumer.subscribe(&["rdkafka-group"]).expect("a topic");
    for (_, offset, value) in take(&consumer, COUNT) {
        assert!(
            value.starts_with("2 ") && offset >= 200,
            "{value} at {offset}"
        );
    }
}

/// Polls until every consumer has so many partitions; notes what they read meanwhile.
fn settle(consumers: &[BaseConsumer], share: usize, seen: &mut BTreeSet<String>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        poll_all(consumers, seen);
        let shares: Vec<usize> = consumers
            .iter()
            .map(|one| one.assignment().expect("an assignment").count())
            .collect();
        if shares.iter().all(|&count| count == share) {
            return;
        }
        assert!(Instant::now() < deadline, "shares are {shares:?}");
    }
}

/// Polls until so many different records have been seen.
fn drain(consumers: &[BaseConsumer], seen: &mut BTreeSet<String>, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} records",
            seen.len()
        );
        poll_all(consumers, seen);
    }
    assert_eq!(seen.len(), count);
}

fn poll_all(consumers: &[BaseConsumer], seen: &mut BTreeSet<String>) {
    for consumer in consumers {
        if let Some(message) = consumer.poll(Duration::from_millis(5)) {
            let message = message.expect("librdkafka reads it");
            let value = message
                .payload_view::<str>()
                .expect("a value")
                .expect("text");
            seen.insert(value.to_owned());
        }
    }
}

#[test]
fn a_consumer_seeks_by_time_and_by_offset() {
    let broker = Broker::start();
    create(&mut broker.client(), "rdkafka-seek", 1, &[]);
    let (producer, reports) = producer(&broker, &[("batch.num.messages", "3")]);
    let start = 1_700_000_000_000;
    for number in 0..100 {
        let value = number.to_string();
        let record = BaseRecord::<str, str>::to("rdkafka-seek")
            .payload(&value)
            .timestamp(start + number * 1000);
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .expect("it is queued");
    }
    producer.flush(PATIENCE).expect("all is sent");
    acknowledged(&reports, 100);
    let consumer = consumer(&broker, "rdkafka-seek");
    let watermarks = consumer
        .fetch_watermarks("rdkafka-seek", 0, PATIENCE)
        .expect("watermarks");
    assert_eq!(watermarks, (0, 100));
    for (time, expected) in [
        (start, Offset::Offset(0)),
        (start + 41_500, Offset::Offset(42)),
        (start + 99_000, Offset::Offset(99)),
        (start + 100_000, Offset::End),
    ] {
        let mut times = TopicPartitionList::new();
        times
            .add_partition_offset("rdkafka-seek", 0, Offset::Offset(time))
            .expect("a time");
        let found = consumer
            .offsets_for_times(times, PATIENCE)
            .expect("offsets");
        assert_eq!(found.elements()[0].offset(), expected, "{time}");
    }
    let mut assigned = TopicPartitionList::new();
    assigned
        .add_partition_offset("rdkafka-seek", 0, Offset::Offset(90))
        .expect("an offset");
    consumer.assign(&assigned).expect("a partition");
    let read = |count| -> Vec<i64> {
        take(&consumer, count)
            .into_iter()
            .map(|(_, offset, _)| offset)
            .collect()
    };
    assert_eq!(read(3), [90, 91, 92]);
    consumer
        .seek("rdkafka-seek", 0, Offset::Offset(17), PATIENCE)
        .expect("a seek");
    assert_eq!(read(2), [17, 18]);
    consumer
        .seek("rdkafka-seek", 0, Offset::Beginning, PATIENCE)
        .expect("a seek");
    assert_eq!(read(1), [0]);
}

#[test]
fn the_idempotent_producer_loses_and_doubles_nothing_over_a_restart() {
    const COUNT: usize = 4000;
    let mut broker = Broker::start();
    create(&mut broker.client(), "rdkafka-once", 2, &[]);
    let settings = [
        ("enable.idempotence", "true"),
        ("batch.num.messages", "20"),
        ("retry.backoff.ms", "20"),
        ("reconnect.backoff.ms", "20"),
        ("reconnect.backoff.max.ms", "100"),
    ];
    let (producer, reports) = producer(&broker, &settings);
    for number in 0..COUNT {
        let partition = i32::try_from(number % 2).expect("below 2");
        send(
            &producer,
            "rdkafka-once",
            Some(partition),
            &number.to_string(),
        );
        if number % 100 == 0 {
            producer.poll(Duration::ZERO);
        }
        match number {
            1000 => broker.restart(),
            2500 => {
                broker.kill();
                broker.launch();
            }
            _ => {}
        }
    }
    producer.flush(PATIENCE).expect("all is sent");
    let offsets = acknowledged(&reports, COUNT);
    let mut client = broker.client();
    for (partition, offsets) in offsets {
        let end = end_offset(&mut client, "rdkafka-once", partition);
        assert!(offsets.into_iter().eq(0..end), "every record once");
        let read = crate::topics::read_all(&mut client, "rdkafka-once", partition, 0);
        let expected =
            (0..COUNT).filter(|number| number % 2 == usize::try_from(partition).unwrap());
        let values = read
            .iter()
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        assert!(
            values.eq(expected.map(|number| number.to_string())),
            "in order"
        );
    }
}

#[test]
fn metadata_lists_what_is_there() {
    let broker = Broker::start();
    create(&mut broker.client(), "rdkafka-listed", 3, &[]);
    let (producer, _reports) = producer(&broker, &[]);
    let metadata = producer
        .client()
        .fetch_metadata(None, PATIENCE)
        .expect("metadata");
    assert_eq!(metadata.brokers().len(), 1);
    let topic = metadata
        .topics()
        .iter()
        .find(|topic| topic.name() == "rdkafka-listed");
    assert_eq!(topic.expect("the topic").partitions().len(), 3);
    let groups = producer
        .client()
        .fetch_group_list(None, PATIENCE)
        .expect("groups");
    assert!(
        groups
            .groups()
            .iter()
            .all(|group| group.name() != "rdkafka-listed")
    );
}

/// What the broker compressed itself, at its default and at other levels.
#[test]
fn what_the_broker_compressed_is_read() {
    const COUNT: usize = 1500;
    let broker = Broker::start();
    let mut client = broker.client();
    let filler = "and so on ".repeat(20);
    for (codec, level) in [
        ("gzip", None),
        ("gzip", Some("9")),
        ("snappy", None),
        ("lz4", None),
        ("lz4", Some("1")),
        ("lz4", Some("17")),
        ("zstd", None),
        ("zstd", Some("-5")),
        ("zstd", Some("19")),
        ("uncompressed", None),
    ] {
        let topic = format!("broker-{codec}{}", level.unwrap_or_default());
        let setting = format!("compression.{codec}.level");
        let mut configs = vec![("compression.type", codec)];
        configs.extend(level.map(|level| (setting.as_str(), level)));
        create(&mut client, &topic, 1, &configs);
        let source = if codec == "uncompressed" {
            "zstd"
        } else {
            "none"
        };
        let settings = [
            ("compression.codec", source),
            ("enable.idempotence", "true"),
        ];
        let (producer, reports) = producer(&broker, &settings);
        for number in 0..COUNT {
            send(&producer, &topic, Some(0), &format!("{number} {filler}"));
        }
        producer.flush(PATIENCE).expect("all is sent");
        acknowledged(&reports, COUNT);
        let consumer = consumer(&broker, &topic);
        consumer.subscribe(&[&topic]).expect("a topic");
        let taken = take(&consumer, COUNT);
        for (number, (_, offset, value)) in taken.iter().enumerate() {
            assert_eq!(*offset, i64::try_from(number).expect("a count"));
            assert_eq!(*value, format!("{number} {filler}"), "{topic}");
        }
    }
}

/// Consume, transform, produce: every input once in the output, although every third transaction is aborted.
#[test]
fn a_transactional_pipeline_puts_every_input_once_into_the_output() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "input", 3, &[]);
    create(&mut client, "output", 3, &[]);
    let (producer, reports) = producer(&broker, &[]);
    for number in 0..INPUTS {
        let partition = i32::try_from(number % 3).expect("small");
        send(&producer, "input", Some(partition), &number.to_string());
    }
    producer.flush(PATIENCE).expect("the inputs are there");
    acknowledged(&reports, INPUTS);

    let (pipe, _reports) = self::producer(&broker, &[("transactional.id", "pipe")]);
    pipe.init_transactions(PATIENCE).expect("a producer begins");
    let reader = consumer(&broker, "pipeline");
    reader.subscribe(&["input"]).expect("it subscribes");
    let (mut committed, mut rounds) = (0, 0);
    let deadline = Instant::now() + 4 * PATIENCE;
    while committed < INPUTS {
        assert!(Instant::now() < deadline, "{committed} of {INPUTS}");
        pipe.begin_transaction().expect("a transaction begins");
        let mut next = TopicPartitionList::new();
        let mut count = 0;
        while count < 40 {
            let Some(message) = reader.poll(Duration::from_millis(200)) else {
                break;
            };
            let message = message.expect("librdkafka reads it");
            let value = message
                .payload_view::<str>()
                .expect("a value")
                .expect("text");
            let partition = message.partition();
            send(&pipe, "output", Some(partition), &format!("out-{value}"));
            let offset = Offset::Offset(message.offset() + 1);
            match next.find_partition("input", partition) {
                Some(mut known) => known.set_offset(offset),
                None => next.add_partition_offset("input", partition, offset),
            }
            .expect("it is added");
            count += 1;
        }
        if count > 0 {
            let group = reader.group_metadata().expect("it is a member");
            pipe.send_offsets_to_transaction(&next, &group, PATIENCE)
                .expect("the offsets are in the transaction");
        }
        rounds += 1;
        // Its reports wait to be taken.
        pipe.flush(PATIENCE).expect("the outputs are written");
        if rounds % 3 == 0 {
            pipe.abort_transaction(PATIENCE).expect("it aborts");
            // Back to what is committed.
            let stored = reader.committed(PATIENCE).expect("what is committed");
            for one in stored.elements() {
                let offset = match one.offset() {
                    Offset::Invalid => Offset::Beginning,
                    offset => offset,
                };
                reader
                    .seek("input", one.partition(), offset, PATIENCE)
                    .expect("it goes back");
            }
        } else {
            pipe.commit_transaction(PATIENCE).expect("it commits");
            committed += count;
        }
    }
    let readback: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("group.id", "readback")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .create()
        .expect("settings it knows");
    readback.subscribe(&["output"]).expect("it subscribes");
    let mut outputs: Vec<_> = take(&readback, INPUTS)
        .into_iter()
        .map(|(_, _, value)| value)
        .collect();
    outputs.sort();
    let mut expected: Vec<_> = (0..INPUTS).map(|number| format!("out-{number}")).collect();
    expected.sort();
    assert_eq!(outputs, expected);
    assert!(rounds >= 3, "something was aborted");
}

const INPUTS: usize = 300;
