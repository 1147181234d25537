//! **Owns** `configs`: Kafka's `kafka-configs`.
//! **Lives on** the command's thread.
//! **Invariants** (1) A password is never printed.
//! **Not here** which configs there are (the broker knows); quotas and SCRAM credentials (`quotas`).

use corelog_net::wire::messages::describe_configs::DescribeConfigsResourceResult;
use serde_json::{Value, json};

use super::options::{Given, Opt, Refusal, Table, flag, value};
use super::properties::Properties;
use super::session::{Address, Fault, Printer, lend, load};
use super::{Out, java};
use crate::client::ApiError;
use crate::client::admin::{Admin, ConfigChange, ConfigResource};

mod quotas;

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    if arguments.is_empty() {
        return Refusal::Usage(TABLE.about.to_owned()).print(&TABLE, out);
    }
    let given = match TABLE.parse(arguments).and_then(|given| {
        let actions = ["alter", "describe"];
        if actions.iter().filter(|it| given.has(it)).count() == 1 {
            return Ok(given);
        }
        Err(Refusal::Usage(
            "Command must include exactly one action: --describe, --alter".to_owned(),
        ))
    }) {
        Ok(given) => given,
        Err(refusal) => return refusal.print(&TABLE, out),
    };
    let wanted = match check(&given) {
        Ok(wanted) => wanted,
        Err(message) => {
            out.error(&message);
            return 1;
        }
    };
    let done = lend(out, |printer| async move {
        carry_out(&given, &wanted, &printer).await
    });
    match done.unwrap_or_else(|fault| Err(Ended::Executing(fault))) {
        Ok(()) => 0,
        Err(Ended::Said(message)) => {
            out.error(&message);
            1
        }
        Err(Ended::Executing(fault)) => {
            out.error(&format!(
                "Error while executing config command with args '{}'",
                arguments.join(" ")
            ));
            out.error(fault.message());
            1
        }
    }
}

/// Why it ends: what was asked makes no sense, or the cluster refused.
enum Ended {
    Said(String),
    Executing(Fault),
}

impl From<String> for Ended {
    fn from(message: String) -> Self {
        Self::Said(message)
    }
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Executing(fault)
    }
}

fn refused(call: &'static str) -> impl Fn(ApiError) -> Ended {
    move |error| Ended::Executing(Fault::of(call, &error))
}

/// What has configs: a type and a name; an empty name is the default of all, none is all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entity {
    kind: &'static str,
    name: Option<String>,
}

/// Types, and the flags that name one of them.
const KINDS: &[(&str, &str, &str)] = &[
    ("topics", "topic", ""),
    ("clients", "client", "client-defaults"),
    ("users", "user", "user-defaults"),
    ("brokers", "broker", "broker-defaults"),
    ("ips", "ip", "ip-defaults"),
    ("client-metrics", "client-metrics", ""),
    ("groups", "group", ""),
    ("broker-loggers", "broker-logger", ""),
];

/// The checks of Kafka's tool, in its order; gives the entities.
fn check(given: &Given) -> Result<Vec<Entity>, String> {
    let (server, controller) = (
        given.has("bootstrap-server"),
        given.has("bootstrap-controller"),
    );
    if !server && !controller {
        return Err(
            "Either --bootstrap-server or --bootstrap-controller must be specified.".into(),
        );
    }
    let entities = entities(given)?;
    let types: Vec<&str> = entities.iter().map(|entity| entity.kind).collect();
    if types.is_empty() {
        return Err("At least one entity type must be specified".into());
    }
    if types.len() > 1
        && !types
            .iter()
            .all(|kind| matches!(*kind, "users" | "clients"))
    {
        return Err("Only 'users' and 'clients' entity types may be specified together".into());
    }
    let by_type = given.has("entity-type");
    let specific = KINDS
        .iter()
        .any(|(_, flag, default)| given.has(flag) || (!default.is_empty() && given.has(default)));
    if specific && (by_type || given.has("entity-name") || given.has("entity-default")) {
        return Err(
            "--entity-{type,name,default} should not be used in conjunction with specific entity flags"
                .into(),
        );
    }
    if server && controller {
        return Err(
            "Only one of --bootstrap-server or --bootstrap-controller can be specified.".into(),
        );
    }
    for entity in &entities {
        let Some(name) = entity.name.as_deref().filter(|name| !name.is_empty()) else {
            continue;
        };
        if matches!(entity.kind, "brokers" | "broker-loggers") && name.parse::<i32>().is_err() {
            return Err(format!(
                "The entity name for {} must be a valid integer broker id, but it is: {name}",
                entity.kind
            ));
        }
    }
    if given.has("describe") {
        let logger = entities.iter().find(|it| it.kind == "broker-loggers");
        if logger.is_some_and(|it| it.name.is_none()) {
            return Err(
                "An entity name must be specified with --describe of broker-loggers".into(),
            );
        }
        return Ok(entities);
    }
    check_alter(given, &entities)?;
    Ok(entities)
}

fn check_alter(given: &Given, entities: &[Entity]) -> Result<(), String> {
    let kind = entities[0].kind;
    if matches!(kind, "users" | "clients" | "brokers" | "ips") {
        if entities.iter().all(|it| it.name.is_none()) {
            return Err(
                "An entity-name or default entity must be specified with --alter of users, clients, brokers or ips"
                    .into(),
            );
        }
        if entities.iter().any(|it| it.name.is_none()) {
            return Err("An entity name must be specified for every entity type".into());
        }
    } else if entities[0].name.as_deref().unwrap_or_default().is_empty() {
        return Err(format!(
            "An entity name must be specified with --alter of {kind}"
        ));
    }
    if kind == "ips"
        && let Some(name) = entities[0].name.as_deref().filter(|name| !name.is_empty())
        && !quotas::is_host(name)
    {
        return Err(format!(
            "The entity name for ips must be a valid IP or resolvable host, but it is: {name}"
        ));
    }
    let (add, file, delete) = (
        given.has("add-config"),
        given.has("add-config-file"),
        given.has("delete-config"),
    );
    if add && file {
        return Err("Only one of --add-config or --add-config-file must be specified".into());
    }
    if !add && !file && !delete {
        return Err(
            "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter"
                .into(),
        );
    }
    Ok(())
}

fn entities(given: &Given) -> Result<Vec<Entity>, String> {
    let mut entities = Vec::new();
    let controllers = given.has("bootstrap-controller");
    // Names go to types in order: `--entity-type users --entity-name a --entity-type clients --entity-default`.
    let mut names = given
        .in_order(&["entity-name", "entity-default"])
        .into_iter();
    for wanted in given.all("entity-type") {
        let Some((kind, ..)) = KINDS.iter().find(|(kind, ..)| *kind == wanted) else {
            let all: Vec<&str> = KINDS.iter().map(|(kind, ..)| *kind).collect();
            let _ = controllers;
            return Err(format!(
                "Invalid entity type {wanted}, the entity type must be one of {} with a --bootstrap-server or \
                 --bootstrap-controller argument",
                all.join(", ")
            ));
        };
        entities.push(Entity {
            kind,
            name: names.next().map(|(_, name)| name.unwrap_or_default()),
        });
    }
    for (kind, flag, default) in KINDS {
        if let Some(name) = given.all(flag).last() {
            entities.push(Entity {
                kind,
                name: Some((*name).to_owned()),
            });
        } else if !default.is_empty() && given.has(default) {
            entities.push(Entity {
                kind,
                name: Some(String::new()),
            });
        }
    }
    // Users stand before clients.
    entities.sort_by_key(|entity| entity.kind == "clients");
    Ok(entities)
}

fn resource(kind: &str) -> Option<(ConfigResource, &'static str)> {
    Some(match kind {
        "topics" => (ConfigResource::Topic, "topic"),
        "brokers" => (ConfigResource::Broker, "broker"),
        "broker-loggers" => (ConfigResource::BrokerLogger, "broker-logger"),
        "client-metrics" => (ConfigResource::ClientMetrics, "client-metric"),
        "groups" => (ConfigResource::Group, "group"),
        _ => return None,
    })
}

async fn carry_out(given: &Given, entities: &[Entity], out: &Printer) -> Result<(), Ended> {
    let address = Address::of(given, "command-config")?;
    if given.has("describe") {
        let call = match (entities[0].kind, &entities[0].name) {
            ("topics", None) => "listTopics",
            ("users" | "clients" | "ips", _) => "describeClientQuotas",
            _ => "describeConfigs",
        };
        let admin = address.connect(call).await?;
        return match resource(entities[0].kind) {
            Some((kind, single)) => {
                describe(
                    given,
                    &admin,
                    kind,
                    single,
                    entities[0].name.as_deref(),
                    out,
                )
                .await
            }
            None => quotas::describe(given, &admin, entities, out).await,
        };
    }
    let (add, delete) = changes(given)?;
    let admin = address.connect("incrementalAlterConfigs").await?;
    let name = entities[0].name.clone().unwrap_or_default();
    match resource(entities[0].kind) {
        Some((kind, _)) => {
            alter(&admin, kind, &name, &add, &delete).await?;
        }
        None => quotas::alter(&admin, entities, &add, &delete).await?,
    }
    // Kafka's tool names the last of the types.
    let last = entities.last().unwrap_or(&entities[0]);
    let named = entities
        .iter()
        .rev()
        .find(|it| it.name.as_deref() != Some(""));
    let text = match named {
        Some(entity) => {
            let single = resource(entity.kind).map_or_else(
                || entity.kind.trim_end_matches('s').to_owned(),
                |(_, single)| single.to_owned(),
            );
            format!(
                "Completed updating config for {single} {}.",
                entity.name.as_deref().unwrap_or_default()
            )
        }
        None => format!(
            "Completed updating default config for {} in the cluster.",
            last.kind
        ),
    };
    if given.json()? {
        out.json(&json!({ "updated": text }));
    } else {
        out.line(&text);
    }
    Ok(())
}

/// `a=1,b=[2,3]` as pairs.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut parts = Vec::new();
    let (mut part, mut depth) = (String::new(), 0_usize);
    for letter in text.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(letter);
    }
    parts.push(part);
    let mut pairs = Vec::new();
    for part in parts
        .iter()
        .map(|part| part.trim())
        .filter(|part| !part.is_empty())
    {
        let wrong = || {
            "requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\" or  \
             \"key=[val1,val2]\" to group values which contain commas."
                .to_owned()
        };
        let (name, value) = part.split_once('=').ok_or_else(wrong)?;
        let grouped = value.starts_with('[') && value.ends_with(']');
        if !grouped && value.contains('=') {
            return Err(wrong());
        }
        let value = value.trim();
        let value = value
            .strip_prefix('[')
            .and_then(|value| value.strip_suffix(']'))
            .unwrap_or(value);
        pairs.push((name.trim().to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

type Changes = (Vec<(String, String)>, Vec<String>);

fn changes(given: &Given) -> Result<Changes, Ended> {
    let mut add = Vec::new();
    for text in given.all("add-config") {
        add.extend(pairs(text)?);
    }
    if let Some(path) = given.one("add-config-file")? {
        let read: Properties = load(path)?;
        add.extend(read);
    }
    let mut delete = Vec::new();
    for list in given.all("delete-config") {
        delete.extend(list.split(',').map(|name| name.trim().to_owned()));
    }
    Ok((add, delete))
}

async fn alter(
    admin: &Admin,
    kind: ConfigResource,
    name: &str,
    add: &[(String, String)],
    delete: &[String],
) -> Result<(), Ended> {
    if kind == ConfigResource::BrokerLogger {
        let known = admin
            .describe_configs(kind, name)
            .await
            .map_err(refused("describeConfigs"))?;
        let unknown: Vec<&str> = add
            .iter()
            .map(|(name, _)| name)
            .chain(delete)
            .filter(|name| !known.iter().any(|it| it.name == **name))
            .map(String::as_str)
            .collect();
        if !unknown.is_empty() {
            return Err(format!("Invalid broker logger(s): {}", unknown.join(",")).into());
        }
    }
    let mut changes: Vec<ConfigChange> = add
        .iter()
        .map(|(name, value)| ConfigChange::Set(name.clone(), value.clone()))
        .collect();
    changes.extend(delete.iter().cloned().map(ConfigChange::Delete));
    let known = |id: i32| admin.client().metadata().broker(id).is_some();
    if matches!(kind, ConfigResource::Broker | ConfigResource::BrokerLogger)
        && name.parse().is_ok_and(|id| !known(id))
    {
        return Err(Fault::unreachable("incrementalAlterConfigs").into());
    }
    admin
        .alter_configs(kind, name, &changes)
        .await
        .map_err(refused("incrementalAlterConfigs"))
}

async fn describe(
    given: &Given,
    admin: &Admin,
    kind: ConfigResource,
    single: &str,
    name: Option<&str>,
    out: &Printer,
) -> Result<(), Ended> {
    let names = match name {
        Some(name) => {
            if !name.is_empty() && !is_there(admin, kind, name).await? {
                out.line(&format!(
                    "The {single} '{name}' doesn't exist and doesn't have dynamic config."
                ));
                return Ok(());
            }
            vec![name.to_owned()]
        }
        None => all_names(admin, kind).await?,
    };
    let all = given.has("all");
    let mut documents = Vec::new();
    for name in names {
        let mut configs = admin
            .describe_configs(kind, &name)
            .await
            .map_err(refused("describeConfigs"))?;
        if !all && kind != ConfigResource::BrokerLogger {
            let own = match kind {
                ConfigResource::Topic => DYNAMIC_TOPIC,
                ConfigResource::Broker if name.is_empty() => DYNAMIC_DEFAULT_BROKER,
                ConfigResource::Broker => DYNAMIC_BROKER,
                ConfigResource::ClientMetrics => DYNAMIC_CLIENT_METRICS,
                _ => DYNAMIC_GROUP,
            };
            configs.retain(|config| config.config_source == own);
        }
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        if given.json()? {
            let configs: Vec<Value> = configs.iter().map(config_json).collect();
            documents.push(json!({ "type": single, "name": name, "configs": configs }));
            continue;
        }
        let which = if all { "All" } else { "Dynamic" };
        if name.is_empty() {
            out.line("Default configs for brokers in the cluster are:");
        } else {
            out.line(&format!("{which} configs for {single} {name} are:"));
        }
        for config in &configs {
            out.line(&config_line(config));
        }
    }
    if given.json()? {
        out.json(&json!(documents));
    }
    Ok(())
}

async fn is_there(admin: &Admin, kind: ConfigResource, name: &str) -> Result<bool, Ended> {
    Ok(match kind {
        ConfigResource::Topic => admin
            .list_topics()
            .await
            .map_err(refused("listTopics"))?
            .iter()
            .any(|topic| topic.name == name),
        ConfigResource::Broker | ConfigResource::BrokerLogger => name
            .parse()
            .is_ok_and(|id| admin.client().metadata().broker(id).is_some()),
        ConfigResource::ClientMetrics => all_names(admin, kind).await?.iter().any(|it| it == name),
        // A group has configs as soon as it is there or has been given some.
        ConfigResource::Group => {
            all_names(admin, kind).await?.iter().any(|it| it == name)
                || admin
                    .list_some_groups(&[], &[])
                    .await
                    .map_err(refused("listGroups"))?
                    .iter()
                    .any(|group| group.group_id == name)
        }
    })
}

/// The names of all, in the order of Kafka's tool.
async fn all_names(admin: &Admin, kind: ConfigResource) -> Result<Vec<String>, Ended> {
    Ok(match kind {
        ConfigResource::Topic => {
            let topics = admin.list_topics().await.map_err(refused("listTopics"))?;
            let names = topics.into_iter().map(|topic| topic.name).collect();
            java::hash_order(names, |name: &String| java::string_hash(name))
        }
        ConfigResource::Broker | ConfigResource::BrokerLogger => {
            let mut names: Vec<String> = admin
                .client()
                .metadata()
                .brokers()
                .map(|broker| broker.id.to_string())
                .collect();
            names.push(String::new());
            names
        }
        _ => {
            let listed = admin
                .list_config_resources(&[kind])
                .await
                .map_err(refused("listConfigResources"))?;
            let mut names: Vec<String> = listed.into_iter().map(|(_, name)| name).collect();
            if kind == ConfigResource::Group {
                // Groups without settings of their own, too.
                let groups = admin.list_groups().await.map_err(refused("listGroups"))?;
                names.extend(groups.into_iter().map(|group| group.group_id));
                names.sort();
                names.dedup();
            }
            names
        }
    })
}

fn config_line(config: &DescribeConfigsResourceResult) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let synonyms: Vec<String> = config
        .synonyms
        .iter()
        .map(|it| format!("{}:{}={}", source(it.source), it.name, shown(&it.value)))
        .collect();
    format!(
        "  {}={} sensitive={} synonyms={{{}}}",
        config.name,
        shown(&config.value),
        config.is_sensitive,
        synonyms.join(", ")
    )
}

fn config_json(config: &DescribeConfigsResourceResult) -> Value {
    let synonyms: Vec<Value> = config
        .synonyms
        .iter()
        .map(|it| json!({ "source": source(it.source), "name": it.name, "value": it.value }))
        .collect();
    json!({
        "name": config.name,
        "value": config.value,
        "source": source(config.config_source),
        "readOnly": config.read_only,
        "sensitive": config.is_sensitive,
        "synonyms": synonyms,
    })
}

const DYNAMIC_TOPIC: i8 = 1;
const DYNAMIC_BROKER: i8 = 2;
const DYNAMIC_DEFAULT_BROKER: i8 = 3;
const DYNAMIC_CLIENT_METRICS: i8 = 7;
const DYNAMIC_GROUP: i8 = 8;

fn source(number: i8) -> &'static str {
    match number {
        DYNAMIC_TOPIC => "DYNAMIC_TOPIC_CONFIG",
        DYNAMIC_BROKER => "DYNAMIC_BROKER_CONFIG",
        DYNAMIC_DEFAULT_BROKER => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        5 => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        DYNAMIC_CLIENT_METRICS => "DYNAMIC_CLIENT_METRICS_CONFIG",
        DYNAMIC_GROUP => "DYNAMIC_GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}

/// The options.
pub(super) const TABLE: Table = Table {
    about: "This tool helps to manipulate and describe entity config for a topic, client, user, broker, ip, client-metrics or group",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
    value(
        "add-config",
        "String",
        "Configs to set: k1=v1,k2=[v1,v2]; brackets hold a value with commas.",
    ),
    value(
        "add-config-file",
        "String",
        "A file of properties with configs to set.",
    ),
    flag(
        "all",
        "With --describe: all configs, not only those that were set.",
    ),
    flag("alter", "Change configs."),
    value(
        "bootstrap-controller",
        "String: controller to connect to",
        "The controllers to connect to, instead of brokers.",
    ),
    value(
        "bootstrap-server",
        "String: server to connect to",
        "The brokers to connect to, host:port separated by commas.",
    ),
    value("broker", "String", "The broker's id."),
    flag("broker-defaults", "The defaults of all brokers."),
    value(
        "broker-logger",
        "String",
        "The id of a broker, for its loggers.",
    ),
    value("client", "String", "The client's id."),
    flag("client-defaults", "The defaults of all clients."),
    value(
        "client-metrics",
        "String",
        "The name of a subscription of client metrics.",
    ),
    value(
        "command-config",
        "String: command config property file",
        "A file of properties for the client.",
    ),
    value("delete-config", "String", "Configs to set back: k1,k2."),
    flag("describe", "Show configs."),
    flag("entity-default", "The defaults of the type named before."),
    value(
        "entity-name",
        "String",
        "The name: of a topic, client, user, address, group, or a broker's id.",
    ),
    value(
        "entity-type",
        "String",
        "topics, clients, users, brokers, ips, client-metrics, groups or broker-loggers.",
    ),
    value("group", "String", "The group's id."),
    value("ip", "String", "The address."),
    flag("ip-defaults", "The defaults of all addresses."),
    value("topic", "String", "The topic."),
    value("user", "String", "The user's principal."),
    flag("user-defaults", "The defaults of all users."),
];
