//! **Owns** `leader-election`: Kafka's `kafka-leader-election`.
//! **Lives on** the command's thread.
//! **Invariants** none beyond the types'.
//! **Not here** the calls (`client::admin`).

use corelog_net::wire::ErrorCode;
use serde_json::{Value, json};

use super::options::{Given, Opt, Refusal, Table, flag, value};
use super::session::{Address, Fault, Printer, java_error, read_text, tool};
use super::{Out, java};
use crate::client::admin::Election;

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    tool(&TABLE, arguments, out, check, |given, printer| async move {
        work(&given, &printer).await
    })
}

fn check(given: &Given) -> Result<(), Refusal> {
    let error = |message: &str| Err(Refusal::Error(message.to_owned()));
    let missing: Vec<&str> = ["election-type", "bootstrap-server"]
        .into_iter()
        .filter(|name| !given.has(name))
        .collect();
    if !missing.is_empty() {
        return error(&format!(
            "Missing required option(s): {}",
            missing.join(", ")
        ));
    }
    let scopes = ["topic", "all-topic-partitions", "path-to-json-file"];
    if scopes.iter().filter(|name| given.has(name)).count() != 1 {
        return error(
            "One and only one of the following options is required: topic, all-topic-partitions, path-to-json-file",
        );
    }
    if given.has("topic") && !given.has("partition") {
        return error("Missing required option(s): partition");
    }
    if !given.has("topic") && given.has("partition") {
        return error("Option partition is only allowed if topic is used");
    }
    let kind = given.one("election-type").map_err(Refusal::Error)?;
    if election(kind.unwrap_or_default()).is_none() {
        let kind = kind.unwrap_or_default();
        return error(&format!(
            "Cannot parse argument '{kind}' of option election-type\nValue [{kind}] is not one of [[PREFERRED,UNCLEAN]]"
        ));
    }
    Ok(())
}

fn election(name: &str) -> Option<(Election, &'static str)> {
    match name.to_ascii_lowercase().as_str() {
        "preferred" => Some((Election::Preferred, "PREFERRED")),
        "unclean" => Some((Election::Unclean, "UNCLEAN")),
        _ => None,
    }
}

async fn work(given: &Given, out: &Printer) -> Result<u8, Fault> {
    let (kind, name) = election(given.one("election-type")?.unwrap_or_default())
        .unwrap_or((Election::Preferred, "PREFERRED"));
    let partitions = match (given.one("topic")?, given.one("path-to-json-file")?) {
        (Some(topic), _) => Some(vec![(
            topic.to_owned(),
            given.parsed("partition")?.unwrap_or_default(),
        )]),
        (None, Some(path)) => Some(from_file(&read_text(path)?)?),
        (None, None) => None,
    };
    let file = if given.has("admin.config") {
        out.line(
            "Option --admin.config has been deprecated and will be removed in a future version. Use --command-config instead.",
        );
        "admin.config"
    } else {
        "command-config"
    };
    let admin = Address::of(given, file)?.connect("electLeaders").await?;
    let results = admin
        .elect_leaders(kind, partitions.as_deref())
        .await
        .map_err(|error| Fault::of("electLeaders", &error))?;
    let results = java::hash_order(results, |(at, _)| java::partition_hash(at));
    if given.json()? {
        let rows: Vec<Value> = results
            .iter()
            .map(|((topic, partition), result)| {
                json!({
                    "topic": topic,
                    "partition": partition,
                    "elected": result.is_ok(),
                    "error": result.as_ref().err().map(crate::client::ApiError::text),
                })
            })
            .collect();
        out.json(&json!(rows));
        return Ok(0);
    }
    let (mut done, mut needless, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for ((topic, partition), result) in results {
        let at = format!("{topic}-{partition}");
        match result {
            Ok(()) => done.push(at),
            Err(error) if error.refusal() == Some(ErrorCode::ElectionNotNeeded) => {
                needless.push(at);
            }
            Err(error) => failed.push((at, error)),
        }
    }
    if !done.is_empty() {
        out.line(&format!(
            "Successfully completed leader election ({name}) for partitions {}",
            done.join(", ")
        ));
    }
    if !needless.is_empty() {
        out.line(&format!(
            "Valid replica already elected for partitions {}",
            needless.join(", ")
        ));
    }
    if failed.is_empty() {
        return Ok(0);
    }
    for (at, error) in &failed {
        out.line(&format!(
            "Error completing leader election ({name}) for partition: {at}: {}",
            java_error(error)
        ));
    }
    out.error(&format!("{} replica(s) could not be elected", failed.len()));
    for (_, error) in &failed {
        out.error(&error.text());
    }
    Ok(1)
}

fn from_file(text: &str) -> Result<Vec<(String, i32)>, Fault> {
    let document: Value = serde_json::from_str(text)
        .map_err(|_| Fault::from("Replica election data is empty".to_owned()))?;
    let partitions = document
        .get("partitions")
        .and_then(Value::as_array)
        .ok_or_else(|| {
            Fault::from("Replica election data is missing \"partitions\" field".to_owned())
        })?;
    let mut found: Vec<(String, i32)> = Vec::new();
    for partition in partitions {
        let topic = partition.get("topic").and_then(Value::as_str);
        let index = partition
            .get("partition")
            .and_then(Value::as_i64)
            .and_then(|index| i32::try_from(index).ok());
        let (Some(topic), Some(index)) = (topic, index) else {
            return Err(
                format!("each partition needs \"topic\" and \"partition\": {partition}").into(),
            );
        };
        let at = (topic.to_owned(), index);
        if found.contains(&at) {
            return Err(format!(
                "Replica election data contains duplicate partitions: {topic}-{index}"
            )
            .into());
        }
        found.push(at);
    }
    Ok(found)
}

/// The options.
pub(super) const TABLE: Table = Table {
    about: "This tool attempts to elect a new leader for a set of topic partitions. The type of elections supported are preferred replicas and unclean replicas.",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
    value(
        "admin.config",
        "String: config file",
        "(DEPRECATED) See --command-config.",
    ),
    flag("all-topic-partitions", "All partitions that need a leader."),
    value(
        "bootstrap-server",
        "String: host:port",
        "REQUIRED: the brokers to connect to, host:port separated by commas.",
    ),
    value(
        "command-config",
        "String: Config file",
        "A file of properties for the client.",
    ),
    value(
        "election-type",
        "[PREFERRED,UNCLEAN]: election type",
        "REQUIRED: preferred: the first replica, where it is in sync. unclean: any replica, where none is in sync; records may be lost.",
    ),
    value(
        "partition",
        "Integer: partition id",
        "The partition; with --topic.",
    ),
    value(
        "path-to-json-file",
        "String: Path to JSON file",
        "A file {\"partitions\": [{\"topic\": \"foo\", \"partition\": 1}]}.",
    ),
    value(
        "topic",
        "String: topic name",
        "The topic; with --partition.",
    ),
];
