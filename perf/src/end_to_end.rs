//! **Owns** `corelog-perf end-to-end`: a workload of one topic, made from flags.
//! **Lives on** the command's thread.
//! **Invariants** none beyond the types'.
//! **Not here** running it (`mixed`).

use std::collections::BTreeMap;

use corelog_tools::cli::Out;
use corelog_tools::cli::options::{Given, Opt, Table, flag, value};
use corelog_tools::cli::properties::{Properties, pairs};

use crate::mixed::{Printing, carry_out};
use crate::result::{BROKER_PID, JSON_FILE};
use crate::schedule::Arrivals;
use crate::workload::{ConsumersDraft, Draft, ProducersDraft, SizeDraft, TopicDraft};

const OPTIONS: &[Opt] = &[
    value("bootstrap-server", "host:port,…", "REQUIRED: the brokers."),
    value(
        "topic",
        "name",
        "Created when it is not there (default end-to-end).",
    ),
    value("partitions", "count", "Of a new topic (default 1)."),
    value(
        "rate",
        "records/s",
        "Of all producers together (default 1000); -1 is as fast as possible.",
    ),
    value(
        "arrivals",
        "even|poisson",
        "How records are spread (default even).",
    ),
    value(
        "record-size",
        "bytes",
        "Of a value (default 100; at least 28).",
    ),
    value("producers", "count", "Clients that produce (default 1)."),
    value(
        "consumers",
        "count",
        "Clients that each read everything (default 1).",
    ),
    value("seconds", "count", "How long to measure (default 30)."),
    value(
        "warm-up-seconds",
        "count|steady",
        "How long not to (default 5).",
    ),
    value("threads", "count", "Of this process (default 1)."),
    value(
        "producer-property",
        "name=value",
        "Kafka's name; linger.ms is 0 unless set here.",
    ),
    value("consumer-property", "name=value", "Kafka's name."),
    flag(
        "verify",
        "Check that every consumer gets every record once, in order.",
    ),
    BROKER_PID,
    JSON_FILE,
];

const TABLE: Table = Table {
    about: "Measures from when a record is due to when its consumer has it.",
    options: OPTIONS,
};

/// Runs the command; gives the exit code.
pub fn run(arguments: &[String], out: &mut Out) -> u8 {
    let given = match TABLE.parse(arguments) {
        Ok(given) => given,
        Err(refusal) => return refusal.print(&TABLE, out),
    };
    match draft(&given).and_then(|draft| Ok((draft, Printing::read(&given)?))) {
        Ok((draft, printing)) => carry_out("end-to-end", arguments, &draft, &printing, out),
        Err(error) => {
            out.error(&error);
            1
        }
    }
}

fn draft(given: &Given) -> Result<Draft, String> {
    let topic = given.one("topic")?.unwrap_or("end-to-end").to_owned();
    let producers: usize = given.parsed("producers")?.unwrap_or(1);
    let rate: f64 = given.parsed("rate")?.unwrap_or(1_000.0);
    let mut producing = Properties::new();
    // Waiting for company is a choice against latency.
    producing.insert("linger.ms".to_owned(), "0".to_owned());
    pairs(given.all("producer-property"), &mut producing)?;
    let mut consuming = Properties::new();
    pairs(given.all("consumer-property"), &mut consuming)?;
    let values = |properties: Properties| -> BTreeMap<String, toml::Value> {
        properties
            .into_iter()
            .map(|(name, text)| (name, toml::Value::String(text)))
            .collect()
    };
    Ok(Draft {
        bootstrap_server: given.one("bootstrap-server")?.map(str::to_owned),
        seconds: given.parsed("seconds")?,
        warm_up_seconds: given.one("warm-up-seconds")?.map(Into::into),
        threads: given.parsed("threads")?,
        verify: given.has("verify"),
        topics: vec![TopicDraft {
            name: topic.clone(),
            partitions: given.parsed("partitions")?,
            ..TopicDraft::default()
        }],
        producers: vec![ProducersDraft {
            topic: topic.clone(),
            clients: Some(producers),
            rate: (rate > 0.0)
                .then(|| rate / f64::from(u32::try_from(producers.max(1)).unwrap_or(u32::MAX))),
            arrivals: match given.one("arrivals")? {
                None | Some("even") => Arrivals::Even,
                Some("poisson") => Arrivals::Poisson,
                Some(other) => return Err(format!("--arrivals {other}: even or poisson")),
            },
            record_size: given.parsed("record-size")?.map(SizeDraft::Bytes),
            properties: values(producing),
            ..ProducersDraft::default()
        }],
        consumers: vec![ConsumersDraft {
            topics: vec![topic],
            clients: given.parsed("consumers")?,
            properties: values(consuming),
            ..ConsumersDraft::default()
        }],
        connections: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::{TABLE, draft};

    #[test]
    fn flags_make_a_workload() {
        let arguments = [
            "--bootstrap-server",
            "127.0.0.1:9092",
            "--rate",
            "3000",
            "--producers",
            "3",
            "--record-size",
            "200",
            "--producer-property",
            "acks=1",
            "--warm-up-seconds",
            "steady",
            "--verify",
        ];
        let given = TABLE.parse(&arguments.map(str::to_owned)).unwrap();
        let workload = draft(&given).unwrap().check(None).unwrap();
        let producers = &workload.producers[0];
        assert_eq!((producers.clients, producers.rate), (3, Some(1000.0)));
        assert!(producers.producer.linger.is_zero());
        assert!(producers.stamped && workload.verify);
        assert_eq!(workload.consumers[0].topics, ["end-to-end"]);
    }

    #[test]
    fn records_too_small_to_be_told_apart_are_still_sent() {
        let arguments = [
            "--bootstrap-server",
            "127.0.0.1:9092",
            "--record-size",
            "10",
        ];
        let given = TABLE.parse(&arguments.map(str::to_owned)).unwrap();
        let workload = draft(&given).unwrap().check(None).unwrap();
        assert!(!workload.producers[0].stamped);
    }
}
