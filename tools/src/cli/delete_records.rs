//! **Owns** `delete-records`: Kafka's `kafka-delete-records`.
//! **Lives on** the command's thread.
//! **Invariants** none beyond the types'.
//! **Not here** the calls (`client::admin`).

use serde_json::{Value, json};

use super::options::{Given, Opt, Refusal, Table, value};
use super::session::{Address, Fault, Printer, java_error, read_text, tool};
use super::{Out, java};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    tool(&TABLE, arguments, out, check, |given, printer| async move {
        work(&given, &printer).await
    })
}

fn check(given: &Given) -> Result<(), Refusal> {
    given.require(&["bootstrap-server", "offset-json-file"])
}

async fn work(given: &Given, out: &Printer) -> Result<u8, Fault> {
    let text = read_text(given.one("offset-json-file")?.unwrap_or_default())?;
    let below = offsets(&text)?;
    let as_json = given.json()?;
    let admin = Address::of(given, "command-config")?
        .connect("deleteRecords")
        .await?;
    if !as_json {
        out.line("Executing records delete operation");
    }
    let results = admin
        .delete_records(&below)
        .await
        .map_err(|error| Fault::of("deleteRecords", &error))?;
    if as_json {
        let rows: Vec<Value> = results
            .iter()
            .map(|((topic, partition), result)| {
                json!({
                    "topic": topic,
                    "partition": partition,
                    "lowWatermark": result.as_ref().ok(),
                    "error": result.as_ref().err().map(crate::client::ApiError::text),
                })
            })
            .collect();
        out.json(&json!(rows));
        return Ok(0);
    }
    out.line("Records delete operation completed:");
    let order = java::partition_order(results.keys().cloned().collect());
    for at in order {
        let (topic, partition) = &at;
        match results.get(&at) {
            Some(Ok(start)) => out.line(&format!(
                "partition: {topic}-{partition}\tlow_watermark: {start}"
            )),
            Some(Err(error)) => out.line(&format!(
                "partition: {topic}-{partition}\terror: {}",
                java_error(error)
            )),
            None => {}
        }
    }
    Ok(0)
}

fn offsets(text: &str) -> Result<Vec<(String, i32, i64)>, Fault> {
    let document: Value = serde_json::from_str(text)
        .map_err(|_| Fault::from("The input string is not a valid JSON".to_owned()))?;
    let version = document.get("version").and_then(Value::as_i64).unwrap_or(1);
    if version != 1 {
        return Err(format!("Not supported version field value {version}").into());
    }
    let partitions = document
        .get("partitions")
        .and_then(Value::as_array)
        .ok_or_else(|| Fault::from("Missing partitions field".to_owned()))?;
    let mut below: Vec<(String, i32, i64)> = Vec::new();
    let mut twice = Vec::new();
    for partition in partitions {
        let topic = partition.get("topic").and_then(Value::as_str);
        let index = partition
            .get("partition")
            .and_then(Value::as_i64)
            .and_then(|index| i32::try_from(index).ok());
        let offset = partition.get("offset").and_then(Value::as_i64);
        let (Some(topic), Some(index), Some(offset)) = (topic, index, offset) else {
            return Err(format!(
                "each partition needs \"topic\", \"partition\" and \"offset\": {partition}"
            )
            .into());
        };
        if below.iter().any(|it| it.0 == topic && it.1 == index) {
            twice.push(format!("{topic}-{index}"));
        }
        below.push((topic.to_owned(), index, offset));
    }
    if !twice.is_empty() {
        return Err(format!(
            "Offset json file contains duplicate topic partitions: {}",
            twice.join(",")
        )
        .into());
    }
    Ok(below)
}

/// The options.
pub(super) const TABLE: Table = Table {
    about: "This tool helps to delete records of the given partitions down to the specified offset.",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
    value(
        "bootstrap-server",
        "String: server(s) to use for bootstrapping",
        "REQUIRED: the brokers to connect to, host:port separated by commas.",
    ),
    value(
        "command-config",
        "String: command config property file path",
        "A file of properties for the client.",
    ),
    value(
        "offset-json-file",
        "String: Offset json file path",
        "REQUIRED: a file {\"partitions\": [{\"topic\": \"foo\", \"partition\": 1, \"offset\": 1}], \"version\": 1}; records before the offset are deleted, -1: all.",
    ),
];
