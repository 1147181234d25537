//! **Owns** `log-dirs`: Kafka's `kafka-log-dirs`.
//! **Lives on** the command's thread.
//! **Invariants** none beyond the types'.
//! **Not here** the calls (`client::admin`).

use corelog_net::wire::messages::describe_log_dirs::DescribeLogDirsResult;
use serde_json::{Value, json};

use super::options::{Given, Opt, Refusal, Table, flag, value};
use super::session::{Address, Fault, Printer, tool};
use super::{Out, java};
use crate::client::error_name;

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    tool(&TABLE, arguments, out, check, |given, printer| async move {
        work(&given, &printer).await
    })
}

fn check(given: &Given) -> Result<(), Refusal> {
    given.require(&["bootstrap-server", "describe"])
}

async fn work(given: &Given, out: &Printer) -> Result<u8, Fault> {
    let names = |option: &str| -> Result<Vec<&str>, Fault> {
        Ok(given
            .one(option)?
            .unwrap_or_default()
            .split(',')
            .filter(|name| !name.is_empty())
            .collect())
    };
    let mut wanted = Vec::new();
    for id in names("broker-list")? {
        let id: i32 = id
            .parse()
            .map_err(|_| format!("For input string: \"{id}\""))?;
        wanted.push(id);
    }
    let topics = names("topic-list")?;
    let admin = Address::of(given, "command-config")?
        .connect("listNodes")
        .await?;
    let known: Vec<i32> = admin
        .client()
        .metadata()
        .brokers()
        .map(|it| it.id)
        .collect();
    let joined = |ids: &[i32]| {
        let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
        ids.join(",")
    };
    let strangers: Vec<i32> = wanted
        .iter()
        .copied()
        .filter(|id| !known.contains(id))
        .collect();
    if !strangers.is_empty() {
        out.error(&format!(
            "ERROR: The given brokers do not exist from --broker-list: {}. Current existent brokers: {}",
            joined(&strangers),
            joined(&known)
        ));
        return Ok(1);
    }
    if wanted.is_empty() {
        wanted.clone_from(&known);
    }
    let as_json = given.json()?;
    if !as_json {
        out.line("Querying brokers for log directories information");
    }
    let mut brokers = Vec::new();
    for id in &wanted {
        let dirs = admin
            .log_dirs(*id, None)
            .await
            .map_err(|error| Fault::of("describeLogDirs", &error))?;
        let dirs: Vec<Value> = dirs.iter().map(|dir| directory(dir, &topics)).collect();
        brokers.push(json!({ "broker": id, "logDirs": dirs }));
    }
    let document = json!({ "brokers": brokers, "version": 1 });
    if as_json {
        out.json(&document);
        return Ok(0);
    }
    out.line(&format!(
        "Received log directory information from brokers {}",
        joined(&wanted)
    ));
    out.line(&document.to_string());
    Ok(0)
}

fn directory(dir: &DescribeLogDirsResult, topics: &[&str]) -> Value {
    let mut replicas = Vec::new();
    for topic in &dir.topics {
        for partition in &topic.partitions {
            replicas.push(((topic.name.clone(), partition.partition_index), partition));
        }
    }
    let replicas = java::hash_order(replicas, |(at, _)| java::partition_hash(at));
    let partitions: Vec<Value> = replicas
        .iter()
        .filter(|((topic, _), _)| topics.is_empty() || topics.contains(&topic.as_str()))
        .map(|((topic, index), partition)| {
            json!({
                "partition": format!("{topic}-{index}"),
                "size": partition.partition_size,
                "offsetLag": partition.offset_lag,
                "isFuture": partition.is_future_key,
            })
        })
        .collect();
    let error = (dir.error_code != 0).then(|| error_name(dir.error_code));
    json!({ "partitions": partitions, "error": error, "logDir": dir.log_dir })
}

/// The options.
pub(super) const TABLE: Table = Table {
    about: "This tool helps to query log directory usage on the specified brokers.",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
    value(
        "bootstrap-server",
        "String: The server(s) to use for bootstrapping",
        "REQUIRED: the brokers to connect to, host:port separated by commas.",
    ),
    value(
        "broker-list",
        "String: Broker list",
        "The brokers to ask, separated by commas; all when not given.",
    ),
    value(
        "command-config",
        "String: Admin client property file",
        "A file of properties for the client.",
    ),
    flag("describe", "REQUIRED: describe the log directories."),
    value(
        "topic-list",
        "String: Topic list",
        "Only these topics, separated by commas.",
    ),
];
