//! Validation of changes to dynamic settings.
//!
//! **Owns** the four operations of incremental changes (KIP-339) and what Kafka allows as a
//! resource's settings, with its codes and sentences.
//! **Lives on** the controller's shard.
//! **Invariants**: settings that pass are readable by `TopicConfig` and the others' readers.
//! **Not here**: which resource exists, and the records (`controller::configs`).

use corelog_net::wire::ErrorCode;

use super::broker::{
    CORDONED, OVERRIDES, OVERRIDES_MUST, check_cordoned, connection_overrides, is_fixed_here,
};
use super::layers::{ConfigMap, Layers};
use super::setting::{Setting, Type, UpdateMode, Value, split_list};
use super::topic_settings::{find_client_metrics, find_group, find_topic};
use super::{broker_settings, topic};

/// Why a change is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub error: ErrorCode,
    /// The sentence; some codes come without one.
    pub message: Option<String>,
}

impl Refusal {
    /// A refusal with a sentence.
    #[must_use]
    pub fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            error,
            message: Some(message.into()),
        }
    }

    fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidConfig, message)
    }

    fn request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }
}

/// What to do with one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Set it.
    Set,
    /// Back to the default.
    Delete,
    /// Add elements to a list.
    Append,
    /// Take elements from a list.
    Subtract,
}

impl Operation {
    /// The operation of a number from the wire.
    #[must_use]
    pub fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The setting.
    pub name: String,
    /// What to do.
    pub operation: Operation,
    /// With what; not used to delete.
    pub value: Option<String>,
}

/// The settings after changes. `find` knows the resource's table, `inherited` the list that an
/// append begins with when nothing is set.
pub fn changed(
    current: &ConfigMap,
    changes: &[Change],
    find: impl Fn(&str) -> Option<&'static Setting>,
    inherited: impl Fn(&'static Setting) -> Vec<String>,
) -> Result<ConfigMap, Refusal> {
    let mut after = current.clone();
    for change in changes {
        let value = change.value.as_deref().unwrap_or_default();
        let verb = match change.operation {
            Operation::Set => {
                after.insert(change.name.clone(), value.to_owned());
                continue;
            }
            Operation::Delete => {
                after.remove(&change.name);
                continue;
            }
            Operation::Append => "APPEND",
            Operation::Subtract => "SUBTRACT",
        };
        let Some(row) = find(&change.name).filter(|row| row.kind == Type::List) else {
            let name = &change.name;
            let message = format!("Can't {verb} to key {name} because its type is not LIST.");
            return Err(Refusal::config(message));
        };
        let before = match after.get(&change.name) {
            Some(text) => split_list(text),
            None => inherited(row),
        };
        let mut list = before.clone();
        let elements = split_list(value);
        if change.operation == Operation::Append {
            list.extend(
                elements
                    .into_iter()
                    .filter(|element| !before.contains(element)),
            );
        } else {
            list.retain(|element| !elements.contains(element));
        }
        if list != before {
            after.insert(change.name.clone(), list.join(","));
        }
    }
    match after.values().find(|value| value.len() > VALUE_SIZE_MAX) {
        None => Ok(after),
        Some(_) => Err(Refusal::config(format!(
            "The configuration value cannot be added because it exceeds the maximum value size of \
             {VALUE_SIZE_MAX} bytes."
        ))),
    }
}

/// Checks the settings a topic would have.
pub fn validate_topic(values: &ConfigMap, layers: Layers<'_>) -> Result<(), Refusal> {
    if let Some(name) = values.keys().find(|name| find_topic(name).is_none()) {
        return Err(Refusal::config(format!(
            "Unknown topic config name: {name}"
        )));
    }
    for (name, text) in values {
        if let Some(row) = find_topic(name) {
            row.parse(text).map_err(Refusal::config)?;
        }
    }
    let number = |name: &str| {
        let row = find_topic(name)?;
        match topic::effective(row, Some(values), layers) {
            Some((_, Value::Number(number))) => Some(number),
            _ => None,
        }
    };
    let (least, most) = (
        number("min.compaction.lag.ms"),
        number("max.compaction.lag.ms"),
    );
    if let (Some(least), Some(most)) = (least, most)
        && least > most
    {
        return Err(Refusal::config(format!(
            "conflict topic config setting min.compaction.lag.ms ({least}) > \
             max.compaction.lag.ms ({most})"
        )));
    }
    let remote = values.get("remote.storage.enable").map(|text| text.trim());
    if remote.is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return Err(Refusal::config(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured \
             with remote log storage.",
        ));
    }
    Ok(())
}

/// Checks the settings a group would have against this broker's limits.
pub fn validate_group(values: &ConfigMap, layers: Layers<'_>) -> Result<(), Refusal> {
    if let Some(name) = values.keys().find(|name| find_group(name).is_none()) {
        return Err(Refusal::config(format!(
            "Unknown group config name: {name}"
        )));
    }
    for (name, text) in values {
        if let Some(row) = find_group(name) {
            row.parse(text).map_err(Refusal::config)?;
        }
    }
    for (name, text) in values {
        let Ok(given) = text.trim().parse::<i64>() else {
            continue;
        };
        let (kind, rest) = name.split_once('.').unwrap_or_default();
        let limit = |bound: &str| {
            let limit = format!("group.{kind}.{bound}.{}", rest.replacen("num.", "", 1));
            let row = broker_settings::find(&limit)?;
            match layers.value(row) {
                Some((_, Value::Number(number))) => Some((limit, number)),
                _ => None,
            }
        };
        if let Some((limit, number)) = limit("min")
            && given < number
        {
            let message = format!("{name} must be greater than or equal to {limit}");
            return Err(Refusal::config(message));
        }
        if let Some((limit, number)) = limit("max")
            && given > number
        {
            let message = format!("{name} must be less than or equal to {limit}");
            return Err(Refusal::config(message));
        }
    }
    for kind in ["consumer", "share", "streams"] {
        let session = format!("{kind}.session.timeout.ms");
        let heartbeat = format!("{kind}.heartbeat.interval.ms");
        let number = |name: &str| match topic::effective(find_group(name)?, Some(values), layers) {
            Some((_, Value::Number(number))) => Some(number),
            _ => None,
        };
        if number(&session) <= number(&heartbeat) {
            return Err(Refusal::config(format!(
                "{session} must be greater than {heartbeat}"
            )));
        }
    }
    Ok(())
}

/// Checks the settings a client-metrics subscription would have (KIP-714).
pub fn validate_client_metrics(name: &str, values: &ConfigMap) -> Result<(), Refusal> {
    if name.is_empty() {
        return Err(Refusal::request("Subscription name can't be empty"));
    }
    for (key, text) in values {
        let Some(row) = find_client_metrics(key) else {
            return Err(Refusal::request(format!(
                "Unknown client metrics configuration: {key}"
            )));
        };
        match row.parse(text).map_err(Refusal::config)? {
            Value::Number(number) if !(100..=3_600_000).contains(&number) => {
                return Err(Refusal::request(format!(
                    "Invalid value {number} for {key}, interval must be between 100 and 3600000 \
                     (1 hour)"
                )));
            }
            Value::List(patterns) if key == "match" => check_patterns(&patterns)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_patterns(patterns: &[String]) -> Result<(), Refusal> {
    let legal = |pattern: &&String| {
        pattern.split_once('=').is_some_and(|(key, value)| {
            CLIENT_MATCH_KEYS.contains(&key.trim())
                && !value.trim().is_empty()
                && regex::Regex::new(value.trim()).is_ok()
        })
    };
    match patterns.iter().find(|pattern| !legal(pattern)) {
        None => Ok(()),
        Some(pattern) => Err(Refusal::config(format!(
            "Illegal client matching pattern: {pattern}"
        ))),
    }
}

/// Whether changes are for one broker or for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerScope {
    /// One broker.
    Node,
    /// All of them.
    Cluster,
}

/// The row of a broker setting, also of one that is never in a file.
pub(super) fn find_broker(name: &str) -> Option<&'static Setting> {
    let only = broker_settings::DYNAMIC_ONLY
        .iter()
        .find(|row| row.name == name);
    broker_settings::find(name).or(only)
}

/// The setting that a name such as `listener.name.external.ssl.keystore.location` sets for one
/// listener.
pub(super) fn of_listener(name: &str) -> Option<&str> {
    let (_, setting) = name.strip_prefix("listener.name.")?.split_once('.')?;
    Some(setting)
}

/// Checks the settings that would be set or deleted for brokers. Names without a row are allowed:
/// plug-ins of some broker may know them.
pub fn validate_broker(
    before: &ConfigMap,
    after: &ConfigMap,
    scope: BrokerScope,
    layers: Layers<'_>,
) -> Result<(), Refusal> {
    let changed: Vec<&String> = before
        .keys()
        .chain(after.keys().filter(|name| !before.contains_key(*name)))
        .filter(|name| before.get(*name) != after.get(*name))
        .collect();
    let those = |is: &dyn Fn(&str) -> bool| {
        let names = changed.iter().map(|name| name.as_str());
        names.filter(|name| is(name)).collect::<Vec<_>>().join(", ")
    };
    let update = |name: &str| find_broker(name).map(|row| row.update);
    let fixed = those(&|name| update(name) == Some(UpdateMode::ReadOnly));
    if !fixed.is_empty() {
        let message = format!("Cannot update these configs dynamically: [{fixed}]");
        return Err(Refusal::request(message));
    }
    let security = those(&|name| ONLY_OF_LISTENERS.contains(&name) && after.contains_key(name));
    if !security.is_empty() {
        return Err(Refusal::request(format!(
            "These security configs can be dynamically updated only per-listener using the \
             listener prefix: [{security}]"
        )));
    }
    for name in &changed {
        if let (Some(row), Some(text)) = (find_broker(name), after.get(*name)) {
            row.parse(text).map_err(Refusal::request)?;
        }
    }
    let single =
        those(&|name| update(of_listener(name).unwrap_or(name)) == Some(UpdateMode::PerBroker));
    if scope == BrokerScope::Cluster && !single.is_empty() {
        return Err(Refusal::request(format!(
            "Cannot update these configs at default cluster level, broker id must be specified: \
             [{single}]"
        )));
    }
    if let Some(name) = changed.iter().find(|name| is_fixed_here(name)) {
        return Err(Refusal::request(format!(
            "{name} cannot be changed while this broker runs: write it into its file of settings \
             and start it again"
        )));
    }
    for name in changed {
        let (Some(row), Some(text)) = (find_broker(name), after.get(name)) else {
            continue;
        };
        if name == REPORTERS && text.trim() != JMX_REPORTER && !text.trim().is_empty() {
            return Err(Refusal::request(
                "Invalid value org.apache.kafka.common.config.ConfigException: Validation of \
                 dynamic config update of Set(metric.reporters) failed with class class \
                 kafka.server.DynamicMetricsReporters for configuration Invalid dynamic \
                 configuration",
            ));
        }
        if name == OVERRIDES && connection_overrides(text).is_none() {
            return Err(Refusal::request(format!("{OVERRIDES} {OVERRIDES_MUST}")));
        }
        if name == CORDONED {
            check_cordoned(text, layers)
                .map_err(|sentence| Refusal::request(format!("requirement failed: {sentence}")))?;
        }
        let value = row.parse(text).map_err(Refusal::request)?;
        if let (Value::Number(wanted), Some((_, Value::Number(now)))) = (value, layers.value(row)) {
            threads_step(name, wanted, now).map_err(Refusal::request)?;
        }
    }
    Ok(())
}

/// Kafka lets a thread count at most double or halve at once; scripts know the sentences.
fn threads_step(name: &str, wanted: i64, now: i64) -> Result<(), String> {
    let sentence = match name {
        "log.cleaner.threads" if wanted < now / 2 => {
            format!(
                "Log cleaner threads cannot be reduced to less than half the current value {now}"
            )
        }
        "log.cleaner.threads" if wanted > now * 2 => format!(
            "Log cleaner threads cannot be increased to more than double the current value {now}"
        ),
        "background.threads"
        | "num.io.threads"
        | "num.network.threads"
        | "num.recovery.threads.per.data.dir"
        | "num.replica.fetchers" => {
            let prefix = "Dynamic thread count update validation failed for";
            if wanted < now / 2 {
                format!(
                    "{prefix} {name}={wanted}, value should be at least half the current value {now}"
                )
            } else if wanted > now * 2 {
                format!(
                    "{prefix} {name}={wanted}, value should not be greater than double the current \
                     value {now}"
                )
            } else {
                return Ok(());
            }
        }
        _ => return Ok(()),
    };
    Err(format!(
        "Invalid value org.apache.kafka.common.config.ConfigException: {sentence} for \
         configuration Invalid dynamic configuration"
    ))
}

/// What Kafka changes at run time for single listeners only.
const ONLY_OF_LISTENERS: &[&str] = &[
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

/// A list of Java classes, of which none but the default can be had.
const REPORTERS: &str = "metric.reporters";
const JMX_REPORTER: &str = "org.apache.kafka.common.metrics.JmxReporter";

/// Kafka keeps values as strings with a 16-bit length.
const VALUE_SIZE_MAX: usize = 32_767;
const CLIENT_MATCH_KEYS: &[&str] = &[
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];
