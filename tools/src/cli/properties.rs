//! **Owns** client properties: where they come from, and what they mean to our client.
//! **Lives on** any thread.
//! **Invariants** (1) Values are checked as Kafka's clients check them, with their words; properties that our client has no
//! use for are accepted, except those whose absence would be a lie (security).
//! **Not here** flags of commands.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use corelog_storage::batch::{Codec, Compression};

use super::time::duration;
use crate::client::consumer::{Assignor, ConsumerConfig, GroupConfig, Isolation, Protocol, Reset};
use crate::client::producer::{Acks, ProducerConfig, Transactional};
use crate::client::{ClientConfig, split_address};

/// Properties by name.
pub type Properties = BTreeMap<String, String>;

/// Reads a properties file.
pub fn load(path: &str) -> Result<Properties, String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a command reads its user's file; no shard waits"
    )]
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    java_properties::read(bytes.as_slice())
        .map(|read| read.into_iter().collect())
        .map_err(|error| format!("cannot read {path}: {error}"))
}

/// Takes `name=value` pairs. Kafka accepts a name alone as an empty value when `lenient`.
pub fn pairs<'a>(
    pairs: impl IntoIterator<Item = &'a str>,
    into: &mut Properties,
) -> Result<(), String> {
    for pair in pairs {
        if pair.is_empty() {
            continue;
        }
        let Some((name, value)) = pair.split_once('=') else {
            return Err(format!("Missing value for key {pair}"));
        };
        if name.is_empty() {
            return Err(format!("Invalid key/value pair '{pair}'"));
        }
        into.insert(name.to_owned(), value.to_owned());
    }
    Ok(())
}

/// Checks `--bootstrap-server` as Kafka's tools do.
pub fn check_bootstrap(list: &str) -> Result<(), String> {
    if list.trim().is_empty() {
        return Err("Error while validating the bootstrap address\n".to_owned());
    }
    let all_valid = list
        .split(',')
        .all(|address| split_address(address.trim()).is_some());
    if all_valid {
        Ok(())
    } else {
        Err("Please provide valid host:port like host1:9091,host2:9092\n".to_owned())
    }
}

/// A client's configuration.
pub fn client_config(properties: &Properties) -> Result<ClientConfig, String> {
    let bootstrap = properties
        .get("bootstrap.servers")
        .map_or("", String::as_str);
    let mut config = ClientConfig::new(
        bootstrap
            .split(',')
            .map(str::trim)
            .filter(|address| !address.is_empty()),
    );
    if let Some(id) = properties.get("client.id") {
        config.client_id.clone_from(id);
    }
    if let Some(protocol) = properties.get("security.protocol")
        && !protocol.eq_ignore_ascii_case("PLAINTEXT")
    {
        return Err(format!(
            "security.protocol={protocol} is not supported by this client: only PLAINTEXT is"
        ));
    }
    set_ms(
        properties,
        "request.timeout.ms",
        &mut config.request_timeout,
    )?;
    set_ms(
        properties,
        "default.api.timeout.ms",
        &mut config.api_timeout,
    )?;
    set_ms(properties, "retry.backoff.ms", &mut config.retry_backoff)?;
    if let Some(bytes) = properties.get("receive.buffer.bytes") {
        let bytes: i64 = number(bytes, "receive.buffer.bytes", "INT")?;
        // −1: as the kernel has it.
        config.receive_buffer = usize::try_from(bytes).ok();
    }
    set_ms(
        properties,
        "metadata.max.age.ms",
        &mut config.metadata_age_max,
    )?;
    Ok(config)
}

/// A producer's configuration.
pub fn producer_config(properties: &Properties) -> Result<ProducerConfig, String> {
    let mut config = ProducerConfig::default();
    let acks = properties.get("acks").map(String::as_str);
    config.acks = match acks {
        None | Some("all" | "-1") => Acks::All,
        Some("1") => Acks::Leader,
        Some("0") => Acks::None,
        Some(other) => {
            return Err(invalid(
                other,
                "acks",
                "String must be one of: all, -1, 0, 1",
            ));
        }
    };
    let compression = properties.get("compression.type").map(String::as_str);
    if let Some(name) = compression {
        let codec = Codec::from_name(name).ok_or_else(|| {
            invalid(
                name,
                "compression.type",
                "String must be one of: none, gzip, snappy, lz4, zstd",
            )
        })?;
        let level = properties
            .get(&format!("compression.{name}.level"))
            .map(|level| number(level, &format!("compression.{name}.level"), "INT"))
            .transpose()?;
        config.compression = Compression { codec, level };
    }
    set_ms(properties, "linger.ms", &mut config.linger)?;
    set_ms(
        properties,
        "request.timeout.ms",
        &mut config.request_timeout,
    )?;
    set_ms(
        properties,
        "delivery.timeout.ms",
        &mut config.delivery_timeout,
    )?;
    set_ms(properties, "max.block.ms", &mut config.block_max)?;
    set_ms(properties, "retry.backoff.ms", &mut config.retry_backoff)?;
    set(properties, "batch.size", "INT", &mut config.batch_size)?;
    set(
        properties,
        "buffer.memory",
        "LONG",
        &mut config.buffer_memory,
    )?;
    set(
        properties,
        "max.request.size",
        "INT",
        &mut config.request_size_max,
    )?;
    set(properties, "retries", "INT", &mut config.retries)?;
    set(
        properties,
        "max.in.flight.requests.per.connection",
        "INT",
        &mut config.in_flight_max,
    )?;
    let wants = properties.get("enable.idempotence").map(String::as_str);
    config.idempotence = match wants {
        Some("true") => {
            if config.acks != Acks::All {
                return Err(
                    "Must set acks to all in order to use the idempotent producer. \
                    Otherwise we cannot guarantee idempotence."
                        .to_owned(),
                );
            }
            true
        }
        Some("false") => false,
        Some(other) => {
            return Err(invalid(
                other,
                "enable.idempotence",
                "Expected value to be either true or false",
            ));
        }
        // Kafka's default is on unless something else speaks against it.
        None => config.acks == Acks::All && config.retries > 0 && config.in_flight_max <= 5,
    };
    config.transactional = transactional(properties)?;
    if config.transactional.is_some() && !config.idempotence {
        return Err("Cannot set a transactional.id without also enabling idempotence.".to_owned());
    }
    Ok(config)
}

fn transactional(properties: &Properties) -> Result<Option<Transactional>, String> {
    let Some(id) = properties.get("transactional.id") else {
        return Ok(None);
    };
    if id.is_empty() {
        return Err(invalid(id, "transactional.id", "String must be non-empty"));
    }
    let mut timeout = Duration::from_mins(1);
    set_ms(properties, "transaction.timeout.ms", &mut timeout)?;
    Ok(Some(Transactional {
        id: id.clone(),
        timeout,
    }))
}

/// A consumer's configuration.
pub fn consumer_config(properties: &Properties) -> Result<ConsumerConfig, String> {
    let mut config = ConsumerConfig::default();
    set(
        properties,
        "fetch.min.bytes",
        "INT",
        &mut config.fetch_bytes_min,
    )?;
    set(
        properties,
        "fetch.max.bytes",
        "INT",
        &mut config.fetch_bytes_max,
    )?;
    set(
        properties,
        "max.partition.fetch.bytes",
        "INT",
        &mut config.partition_bytes_max,
    )?;
    set_ms(properties, "fetch.max.wait.ms", &mut config.fetch_wait_max)?;
    let isolation = properties.get("isolation.level").map(String::as_str);
    config.isolation = match isolation {
        None | Some("read_uncommitted") => Isolation::ReadUncommitted,
        Some("read_committed") => Isolation::ReadCommitted,
        Some(other) => {
            return Err(invalid(
                other,
                "isolation.level",
                "String must be one of: read_committed, read_uncommitted",
            ));
        }
    };
    let reset = properties.get("auto.offset.reset").map(String::as_str);
    config.reset = match reset {
        None | Some("latest") => Reset::Latest,
        Some("earliest") => Reset::Earliest,
        Some("none") => Reset::Fail,
        Some(other) => {
            let age = other.strip_prefix("by_duration:").and_then(duration);
            let age = age.and_then(|ms| u64::try_from(ms).ok());
            Reset::Since(Duration::from_millis(age.ok_or_else(|| {
                let why = format!(
                    "Invalid value `{other}` for configuration auto.offset.reset. The value must be either \
                     'earliest', 'latest', 'none' or of the format 'by_duration:<PnDTnHnMn.nS.>'."
                );
                invalid(other, "auto.offset.reset", &why)
            })?))
        }
    };
    if let Some(value) = properties.get("check.crcs") {
        config.check_crcs = value != "false";
    }
    Ok(config)
}

/// How a consumer is a member of this group; the topics are the caller's.
pub fn group_config(group: &str, properties: &Properties) -> Result<GroupConfig, String> {
    let mut config = GroupConfig::new(group, Vec::<String>::new());
    config.protocol = group_protocol(properties)?;
    // Of several strategies a group settles on one that all members have: ours has one.
    let strategy = properties.get("partition.assignment.strategy");
    if strategy.is_some_and(|class| class.trim().ends_with("RoundRobinAssignor")) {
        config.assignor = Assignor::RoundRobin;
    }
    config.instance = properties.get("group.instance.id").cloned();
    config.remote_assignor = properties.get("group.remote.assignor").cloned();
    config.rack = properties
        .get("client.rack")
        .filter(|rack| !rack.is_empty())
        .cloned();
    set_ms(
        properties,
        "session.timeout.ms",
        &mut config.session_timeout,
    )?;
    set_ms(properties, "heartbeat.interval.ms", &mut config.heartbeat)?;
    set_ms(
        properties,
        "max.poll.interval.ms",
        &mut config.rebalance_timeout,
    )?;
    let mut every = config.auto_commit.unwrap_or(Duration::from_secs(5));
    set_ms(properties, "auto.commit.interval.ms", &mut every)?;
    let commits = properties.get("enable.auto.commit").map(String::as_str);
    config.auto_commit = (commits != Some("false")).then_some(every);
    Ok(config)
}

/// `group.protocol`, with what may not stand beside it.
pub fn group_protocol(properties: &Properties) -> Result<Protocol, String> {
    let name = properties
        .get("group.protocol")
        .map_or("classic", String::as_str);
    let (protocol, shown, strangers): (_, _, &[&str]) = if name.eq_ignore_ascii_case("consumer") {
        let strangers = &[
            "partition.assignment.strategy",
            "heartbeat.interval.ms",
            "session.timeout.ms",
        ];
        (Protocol::Consumer, "CONSUMER", strangers)
    } else if name.eq_ignore_ascii_case("classic") {
        (Protocol::Classic, "CLASSIC", &["group.remote.assignor"])
    } else {
        let why = "String must be one of (case insensitive): CONSUMER, CLASSIC";
        return Err(invalid(name, "group.protocol", why));
    };
    match strangers
        .iter()
        .find(|name| properties.contains_key(**name))
    {
        Some(name) => Err(format!("{name} cannot be set when group.protocol={shown}")),
        None => Ok(protocol),
    }
}

fn invalid(value: &str, name: &str, why: &str) -> String {
    format!("Invalid value {value} for configuration {name}: {why}")
}

/// Reads a number as Kafka's configurations do.
pub fn number<T: FromStr>(value: &str, name: &str, kind: &str) -> Result<T, String> {
    value
        .trim()
        .parse()
        .map_err(|_| invalid(value, name, &format!("Not a number of type {kind}")))
}

fn set<T: FromStr>(
    properties: &Properties,
    name: &str,
    kind: &str,
    to: &mut T,
) -> Result<(), String> {
    if let Some(value) = properties.get(name) {
        *to = number(value, name, kind)?;
    }
    Ok(())
}

fn set_ms(properties: &Properties, name: &str, to: &mut Duration) -> Result<(), String> {
    if let Some(value) = properties.get(name) {
        *to = Duration::from_millis(number(value, name, "LONG")?);
    }
    Ok(())
}
