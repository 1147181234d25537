//! **Owns** `client-metrics`: Kafka's `kafka-client-metrics`.
//! **Lives on** the command's thread.
//! **Invariants** none beyond the types'.
//! **Not here** collecting metrics (the broker).

use corelog_net::wire::Uuid;
use serde_json::{Value, json};

use super::Out;
use super::options::{Given, Opt, Refusal, Table, flag, value};
use super::session::{Address, Fault, Printer, lend};
use crate::client::ApiError;
use crate::client::admin::{Admin, ConfigChange, ConfigResource};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    if arguments.is_empty() {
        return Refusal::Usage(TABLE.about.to_owned()).print(&TABLE, out);
    }
    let given = match TABLE
        .parse(arguments)
        .and_then(|given| check(&given).map(|()| given))
    {
        Ok(given) => given,
        Err(refusal) => return refusal.print(&TABLE, out),
    };
    let done = lend(out, |printer| async move { work(&given, &printer).await });
    match done {
        Ok(Ok(())) => 0,
        Ok(Err(fault)) | Err(fault) => {
            out.line(&format!(
                "Error while executing client metrics command : {}",
                fault.shown()
            ));
            1
        }
    }
}

const ACTIONS: &[&str] = &["alter", "delete", "describe", "list"];

fn check(given: &Given) -> Result<(), Refusal> {
    let error = |message: &str| Err(Refusal::Error(message.to_owned()));
    given.require(&["bootstrap-server"])?;
    if ACTIONS.iter().filter(|action| given.has(action)).count() != 1 {
        return Err(Refusal::Usage(
            "Command must include exactly one action: --alter, --delete, --describe or --list."
                .to_owned(),
        ));
    }
    given.exclude("list", &["name"])?;
    for action in ["list", "describe", "delete"] {
        given.exclude(action, &["generate-name", "metrics", "interval", "match"])?;
    }
    if given.has("alter") {
        if given.has("name") == given.has("generate-name") {
            return error("One of --name or --generate-name must be specified with --alter.");
        }
        let interval = given.one("interval").map_err(Refusal::Error)?;
        if interval.is_some_and(|text| !text.is_empty() && text.parse::<i32>().is_err()) {
            return error("Invalid interval value. Enter an integer, or leave empty to reset.");
        }
    }
    if given.has("delete") && !given.has("name") {
        return error("A client metrics resource name must be specified with --delete.");
    }
    Ok(())
}

fn refused(call: &'static str) -> impl Fn(ApiError) -> Fault {
    move |error| Fault::of(call, &error)
}

const KIND: ConfigResource = ConfigResource::ClientMetrics;

async fn work(given: &Given, out: &Printer) -> Result<(), Fault> {
    let as_json = given.json()?;
    let call = if given.has("alter") {
        "incrementalAlterConfigs"
    } else {
        "listConfigResources"
    };
    let admin = Address::of(given, "command-config")?.connect(call).await?;
    let name = given.one("name")?;
    if given.has("alter") {
        let generated;
        let name = if let Some(name) = name {
            name
        } else {
            generated = random_id().to_string();
            &generated
        };
        let mut changes = Vec::new();
        for (option, config) in [
            ("interval", "interval.ms"),
            ("match", "match"),
            ("metrics", "metrics"),
        ] {
            let Some(value) = given.one(option)? else {
                continue;
            };
            // An empty value sets an interval back, and a list to nothing.
            changes.push(if value.is_empty() && option == "interval" {
                ConfigChange::Delete(config.to_owned())
            } else {
                ConfigChange::Set(config.to_owned(), value.to_owned())
            });
        }
        admin
            .alter_configs(KIND, name, &changes)
            .await
            .map_err(refused(call))?;
        if as_json {
            out.json(&json!({ "altered": name }));
        } else {
            out.line(&format!("Altered client metrics config for {name}."));
        }
        return Ok(());
    }
    if given.has("delete") {
        let name = name.unwrap_or_default();
        let there = described(&admin, name).await?;
        let changes: Vec<ConfigChange> = there
            .into_iter()
            .map(|(name, _)| ConfigChange::Delete(name))
            .collect();
        if !changes.is_empty() {
            admin
                .alter_configs(KIND, name, &changes)
                .await
                .map_err(refused("incrementalAlterConfigs"))?;
        }
        if as_json {
            out.json(&json!({ "deleted": name }));
        } else {
            out.line(&format!("Deleted client metrics config for {name}."));
        }
        return Ok(());
    }
    let all: Vec<String> = admin
        .list_config_resources(&[KIND])
        .await
        .map_err(refused(call))?
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    if given.has("list") {
        if as_json {
            out.json(&json!(all));
        } else {
            out.line(&all.join("\n"));
        }
        return Ok(());
    }
    let names = match name {
        Some(name) if !all.iter().any(|it| it == name) => {
            out.line(&format!(
                "The client metric resource {name} doesn't exist and doesn't have dynamic config."
            ));
            return Ok(());
        }
        Some(name) => vec![name.to_owned()],
        None => all,
    };
    let mut documents = Vec::new();
    for name in names {
        let configs = described(&admin, &name).await?;
        if as_json {
            let configs: serde_json::Map<String, Value> = configs
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect();
            documents.push(json!({ "name": name, "configs": configs }));
            continue;
        }
        out.line(&format!("Client metrics configs for {name} are:"));
        for (name, value) in configs {
            out.line(&format!("  {name}={value}"));
        }
    }
    if as_json {
        out.json(&json!(documents));
    }
    Ok(())
}

async fn described(admin: &Admin, name: &str) -> Result<Vec<(String, String)>, Fault> {
    let mut configs: Vec<(String, String)> = admin
        .describe_configs(KIND, name)
        .await
        .map_err(refused("describeConfigs"))?
        .into_iter()
        .map(|config| (config.name, config.value.unwrap_or_default()))
        .collect();
    configs.sort();
    Ok(configs)
}

/// A random id; never one that begins with a dash, which would look like an option.
pub(super) fn random_id() -> Uuid {
    loop {
        let mut bytes = [0; 16];
        for half in bytes.chunks_mut(8) {
            half.copy_from_slice(&corelog_runtime::random().to_be_bytes());
        }
        // Version 4, variant 1, as Java's.
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let id = Uuid(bytes);
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

/// The options.
pub(super) const TABLE: Table = Table {
    about: "This tool helps to manipulate and describe client metrics configurations.",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
    flag("alter", "Create or change a subscription."),
    value(
        "bootstrap-server",
        "String: server to connect to",
        "REQUIRED: the brokers to connect to, host:port separated by commas.",
    ),
    value(
        "command-config",
        "String: command config property file",
        "A file of properties for the client.",
    ),
    flag("delete", "Delete a subscription."),
    flag("describe", "Show subscriptions."),
    flag("generate-name", "With --alter: draw a name."),
    value(
        "interval",
        "String: push interval",
        "How often clients push, in milliseconds; empty: the default.",
    ),
    flag("list", "List the names of subscriptions."),
    value(
        "match",
        "String: k1=v1,k2=v2",
        "Which clients: client_id, client_instance_id, client_software_name, client_software_version, client_source_address, client_source_port, each a regular expression.",
    ),
    value(
        "metrics",
        "String: m1,m2",
        "Prefixes of the names of metrics; * is all.",
    ),
    value("name", "String: name", "The subscription's name."),
];
