//! **Owns** `get-offsets`: Kafka's `kafka-get-offsets`.
//! **Lives on** the command's thread.
//! **Invariants** none beyond the types'.
//! **Not here** the calls (`client::admin`).

use regex::Regex;
use serde_json::json;

use super::options::{Given, Opt, Refusal, Table, flag, value};
use super::session::{Address, Fault, Printer, java_error, tool};
use super::topics::include_pattern;
use super::{Out, properties};
use crate::client::admin::{Isolation, OffsetSpec};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    // So Kafka's tool says it also of what it does not know.
    if let Err(Refusal::Error(message)) = TABLE.parse(arguments) {
        out.error(&format!("Error occurred: {message}"));
        return 1;
    }
    tool(&TABLE, arguments, out, check, |given, printer| async move {
        work(&given, &printer)
            .await
            .map_err(|fault| Fault::from(format!("Error occurred: {}", fault.message())))
    })
}

fn check(given: &Given) -> Result<(), Refusal> {
    given.require(&["bootstrap-server"])?;
    let bootstrap = given.one("bootstrap-server").map_err(Refusal::Error)?;
    properties::check_bootstrap(bootstrap.unwrap_or_default()).map_err(Refusal::Usage)
}

async fn work(given: &Given, out: &Printer) -> Result<u8, Fault> {
    if given.has("topic-partitions") && (given.has("topic") || given.has("partitions")) {
        return Err(
            "--topic-partitions cannot be used with --topic or --partitions"
                .to_owned()
                .into(),
        );
    }
    let spec = spec(given.one("time")?.unwrap_or("latest"))?;
    let rules = rules(given)?;
    let admin = Address::of(given, "command-config")?
        .connect("listTopics")
        .await?;
    let fault = |call: &'static str| move |error| Fault::of(call, &error);
    let mut topics = admin.list_topics().await.map_err(fault("listTopics"))?;
    topics.retain(|topic| {
        !(given.has("exclude-internal-topics") && topic.is_internal)
            && rules.iter().any(|rule| rule.topic.is_match(&topic.name))
    });
    let names: Vec<String> = topics.into_iter().map(|topic| topic.name).collect();
    let mut wanted = Vec::new();
    for (name, described) in admin
        .describe_topics(&names, 2000)
        .await
        .map_err(fault("describeTopics"))?
    {
        for partition in described.map_err(fault("describeTopics"))?.partitions {
            if rules.iter().any(|rule| rule.fits(&name, partition.index)) {
                wanted.push((name.clone(), partition.index, spec));
            }
        }
    }
    if wanted.is_empty() {
        return Err(
            "Could not match any topic-partitions with the specified filters"
                .to_owned()
                .into(),
        );
    }
    wanted.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let found = admin
        .list_offsets(&wanted, Isolation::ReadUncommitted)
        .await
        .map_err(fault("listOffsets"))?;
    let mut documents = Vec::new();
    for ((topic, partition), result) in found {
        match result {
            Ok((offset, timestamp)) => {
                if given.json()? {
                    documents.push(json!({
                        "topic": topic,
                        "partition": partition,
                        "offset": Some(offset).filter(|it| *it >= 0),
                        "timestamp": Some(timestamp).filter(|it| *it >= 0),
                    }));
                } else if offset >= 0 {
                    out.line(&format!("{topic}:{partition}:{offset}"));
                }
            }
            Err(error) => out.error(&format!(
                "Skip getting offsets for topic-partition {topic}-{partition} due to error: {}",
                java_error(&error)
            )),
        }
    }
    if given.json()? {
        out.json(&json!(documents));
    }
    Ok(0)
}

fn spec(time: &str) -> Result<OffsetSpec, Fault> {
    Ok(match time {
        "-1" | "latest" => OffsetSpec::Latest,
        "-2" | "earliest" => OffsetSpec::Earliest,
        "-3" | "max-timestamp" => OffsetSpec::MaxTimestamp,
        "-4" | "earliest-local" => OffsetSpec::EarliestLocal,
        "-5" | "latest-tiered" => OffsetSpec::LatestTiered,
        "-6" | "earliest-pending-upload" => OffsetSpec::EarliestPendingUpload,
        other => OffsetSpec::Timestamp(other.parse().map_err(|_| {
            format!(
                "Malformed time argument {other}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or \
                 earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload, or a specified long format \
                 timestamp"
            )
        })?),
    })
}

/// Topics, and which of their partitions.
struct Rule {
    topic: Regex,
    /// None: all.
    partitions: Option<Vec<(i32, i32)>>,
}

impl Rule {
    fn fits(&self, topic: &str, partition: i32) -> bool {
        self.topic.is_match(topic)
            && self.partitions.as_ref().is_none_or(|ranges| {
                ranges
                    .iter()
                    .any(|(from, to)| (*from..*to).contains(&partition))
            })
    }
}

fn rules(given: &Given) -> Result<Vec<Rule>, Fault> {
    if let Some(list) = given.one("topic-partitions")? {
        return list.split(',').map(rule).collect();
    }
    let partitions = match given.one("partitions")? {
        None => None,
        Some(list) => {
            let ids: Result<Vec<i32>, _> = list.split(',').map(|id| id.trim().parse()).collect();
            let ids = ids.map_err(|_| {
                format!(
                    "--partitions expects a comma separated list of numeric partition ids, but received: {list}"
                )
            })?;
            Some(ids.into_iter().map(|id| (id, id + 1)).collect())
        }
    };
    Ok(vec![Rule {
        topic: include_pattern(given.one("topic")?.unwrap_or(".*"))?,
        partitions,
    }])
}

/// `topic`, `topic:3`, `topic:3-5` (without 5), `topic:3-`, `topic:-5`; the topic is a regular expression.
fn rule(text: &str) -> Result<Rule, Fault> {
    let wrong = || {
        Fault::from(format!(
            "org.apache.kafka.tools.TerseException: Invalid rule specification: {text}"
        ))
    };
    let (topic, partitions) = match text.split_once(':') {
        None => (text, None),
        Some((topic, range)) => (topic, Some(range)),
    };
    let bound = |text: &str, open: i32| {
        if text.is_empty() {
            Ok(open)
        } else {
            text.parse::<i32>().map_err(|_| wrong())
        }
    };
    let partitions = match partitions {
        None | Some("") => None,
        Some(range) => Some(vec![if let Some((from, to)) = range.split_once('-') {
            (bound(from, 0)?, bound(to, i32::MAX)?)
        } else {
            let one = bound(range, 0)?;
            (one, one.saturating_add(1))
        }]),
    };
    let topic = if topic.is_empty() { ".*" } else { topic };
    Ok(Rule {
        topic: include_pattern(topic)?,
        partitions,
    })
}

/// The options.
pub(super) const TABLE: Table = Table {
    about: "An interactive shell for getting topic-partition offsets.",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
    value(
        "bootstrap-server",
        "String: HOST1:PORT1,...,HOST3:PORT3",
        "REQUIRED: the brokers to connect to, host:port separated by commas.",
    ),
    value(
        "command-config",
        "String: config file",
        "A file of properties for the client.",
    ),
    flag("exclude-internal-topics", "Leave internal topics out."),
    value(
        "partitions",
        "String: partition ids",
        "Only these partitions, separated by commas.",
    ),
    value(
        "time",
        "String: <timestamp> / -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload",
        "Which offset: the end (default), the start, that of the largest timestamp, or of the first record not older than a time.",
    ),
    value(
        "topic",
        "String: topic",
        "A regular expression of the topics; all when not given.",
    ),
    value(
        "topic-partitions",
        "String: topic1:1,topic2:0-3,topic3,topic4:5-,topic5:-3",
        "Topics, as regular expressions, and ranges of their partitions.",
    ),
];
