//! **Owns** `broker-api-versions`: Kafka's `kafka-broker-api-versions`.
//! **Lives on** the command's thread.
//! **Invariants** none beyond the types'.
//! **Not here** which versions there are (`net::wire`).

use std::collections::BTreeMap;

use corelog_net::wire::ApiKey;
use serde_json::{Value, json};

use super::Out;
use super::options::{Given, Opt, Refusal, Table, value};
use super::session::{Address, Fault, Printer, tool};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    tool(&TABLE, arguments, out, check, |given, printer| async move {
        work(&given, &printer).await
    })
}

fn check(given: &Given) -> Result<(), Refusal> {
    given.require(&["bootstrap-server"])
}

async fn work(given: &Given, out: &Printer) -> Result<u8, Fault> {
    let address = Address::of(given, "command-config")?;
    let unreachable = Fault::unreachable("listNodes");
    let admin = address.connect("listNodes").await.map_err(|fault| {
        if fault == unreachable {
            let nodes: Vec<String> = address
                .bootstrap
                .split(',')
                .map(|node| format!("{node} (id: -1 rack: null isFenced: false)"))
                .collect();
            return Fault::from(format!(
                "Request METADATA failed on brokers [{}]",
                nodes.join(", ")
            ));
        }
        fault
    })?;
    let brokers: Vec<_> = admin.client().metadata().brokers().cloned().collect();
    let mut documents = Vec::new();
    for broker in brokers {
        let rack = broker.rack.as_deref().unwrap_or("null");
        let name = format!(
            "{}:{} (id: {} rack: {rack} isFenced: false)",
            broker.host, broker.port, broker.id
        );
        let versions = match admin.versions(Some(broker.id)).await {
            Ok(versions) => versions,
            Err(error) => {
                out.line(&format!("{name} -> ERROR: {}", error.text()));
                continue;
            }
        };
        let mut apis: BTreeMap<i16, Option<(i16, i16)>> =
            CLIENT_APIS.iter().map(|key| (*key, None)).collect();
        for api in versions.api_keys {
            apis.insert(api.api_key, Some((api.min_version, api.max_version)));
        }
        if given.json()? {
            let apis: Vec<Value> = apis
                .iter()
                .map(|(key, range)| {
                    json!({
                        "name": name_of(*key),
                        "key": key,
                        "minVersion": range.map(|it| it.0),
                        "maxVersion": range.map(|it| it.1),
                        "usable": range.and_then(|range| usable(*key, range).ok()),
                    })
                })
                .collect();
            documents.push(json!({
                "id": broker.id,
                "host": broker.host,
                "port": broker.port,
                "rack": broker.rack,
                "apis": apis,
            }));
            continue;
        }
        let lines: Vec<String> = apis
            .iter()
            .map(|(key, range)| format!("\t{}", line(*key, *range)))
            .collect();
        out.line(&format!("{name} -> (\n{}\n)", lines.join(",\n")));
    }
    if given.json()? {
        out.json(&json!(documents));
    }
    Ok(0)
}

fn name_of(key: i16) -> String {
    ApiKey::from_key(key).map_or_else(|_| "UNKNOWN".to_owned(), |key| key.name().to_owned())
}

fn line(key: i16, range: Option<(i16, i16)>) -> String {
    let name = name_of(key);
    let Some((min, max)) = range else {
        return format!("{name}({key}): UNSUPPORTED");
    };
    let versions = if min == max {
        min.to_string()
    } else {
        format!("{min} to {max}")
    };
    match usable(key, (min, max)) {
        Ok(version) => format!("{name}({key}): {versions} [usable: {version}]"),
        Err(why) if ApiKey::from_key(key).is_ok() => {
            format!("{name}({key}): {versions} [unusable: {why}]")
        }
        Err(_) => format!("{name}({key}): {versions}"),
    }
}

/// The newest version that both speak.
fn usable(key: i16, (min, max): (i16, i16)) -> Result<i16, &'static str> {
    let ours = ApiKey::from_key(key)
        .map(ApiKey::valid_versions)
        .map_err(|_| "")?;
    if min > *ours.end() {
        return Err("node too new");
    }
    if max < *ours.start() {
        return Err("node too old");
    }
    Ok(max.min(*ours.end()))
}

/// What Kafka's clients may ask a broker for.
const CLIENT_APIS: &[i16] = &[
    0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
    29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 55,
    57, 60, 61, 64, 65, 66, 68, 69, 71, 72, 74, 75, 76, 77, 78, 79, 80, 81, 83, 84, 85, 86, 87, 88,
    89, 90, 91, 92,
];

/// The options.
pub(super) const TABLE: Table = Table {
    about: "This tool helps to retrieve broker version information.",
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
        "String: command config property file",
        "A file of properties for the client.",
    ),
];
