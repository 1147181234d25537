//! Changing dynamic settings.
//!
//! **Owns** `IncrementalAlterConfigs` (KIP-339) and `AlterConfigs` (KIP-133) for topics, brokers,
//! loggers, groups and client metrics.
//! **Lives on** shard 0.
//! **Invariants**: a resource changes whole or not at all; only what differs is recorded.
//! **Not here**: which values are legal (`config::alter`).

use std::collections::BTreeSet;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::{alter_configs, incremental_alter_configs};
use corelog_net::wire::records::{ClearElrRecord, ConfigRecord};

use super::topics::duplicates;
use super::{Controller, Outcome, refuse};
use crate::config::alter::{
    BrokerScope, Change, Operation, Refusal, changed, validate_broker, validate_client_metrics,
    validate_group, validate_topic,
};
use crate::config::broker_settings;
use crate::config::setting::{Setting, Value};
use crate::config::topic::effective;
use crate::config::topic_settings::{find_group, find_topic};
use crate::config::{ConfigMap, Layers};
use crate::loggers;
use crate::metadata::features::ELR_NAME;
use crate::metadata::{MetadataRecord, ResourceType};

/// How the given settings relate to those that are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Names that are not given keep their values.
    Incremental,
    /// Names that are not given go back to their defaults.
    Replace,
}

/// A resource and what is to become of it, whichever API it came by.
struct Wanted<'a> {
    kind: i8,
    name: &'a str,
    changes: Result<Vec<Change>, Refusal>,
}

impl Controller<'_> {
    /// Decides on `IncrementalAlterConfigs`.
    #[must_use]
    pub fn incremental_alter_configs(
        &self,
        request: &incremental_alter_configs::IncrementalAlterConfigsRequest,
    ) -> Outcome<incremental_alter_configs::IncrementalAlterConfigsResponse> {
        let wanted: Vec<Wanted<'_>> = request
            .resources
            .iter()
            .map(|resource| Wanted {
                kind: resource.resource_type,
                name: &resource.resource_name,
                changes: incremental_changes(&resource.configs),
            })
            .collect();
        let (records, results) = self.alter(&wanted, Mode::Incremental, request.validate_only);
        let answer = |(wanted, refusal): (&Wanted<'_>, Option<Refusal>)| {
            let (error_code, error_message) = coded(refusal);
            incremental_alter_configs::AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type: wanted.kind,
                resource_name: wanted.name.to_owned(),
                ..Default::default()
            }
        };
        let responses = wanted.iter().zip(results).map(answer).collect();
        let response = incremental_alter_configs::IncrementalAlterConfigsResponse {
            responses,
            ..Default::default()
        };
        Outcome { records, response }
    }

    /// Decides on `AlterConfigs`, which replaces all settings of a resource.
    #[must_use]
    pub fn alter_configs(
        &self,
        request: &alter_configs::AlterConfigsRequest,
    ) -> Outcome<alter_configs::AlterConfigsResponse> {
        let wanted: Vec<Wanted<'_>> = request
            .resources
            .iter()
            .map(|resource| Wanted {
                kind: resource.resource_type,
                name: &resource.resource_name,
                changes: replacing_changes(&resource.configs),
            })
            .collect();
        let (records, results) = self.alter(&wanted, Mode::Replace, request.validate_only);
        let answer = |(wanted, refusal): (&Wanted<'_>, Option<Refusal>)| {
            let (error_code, error_message) = coded(refusal);
            alter_configs::AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type: wanted.kind,
                resource_name: wanted.name.to_owned(),
                ..Default::default()
            }
        };
        let responses = wanted.iter().zip(results).map(answer).collect();
        let response = alter_configs::AlterConfigsResponse {
            responses,
            ..Default::default()
        };
        Outcome { records, response }
    }

    fn alter(
        &self,
        wanted: &[Wanted<'_>],
        mode: Mode,
        validate_only: bool,
    ) -> (Vec<MetadataRecord>, Vec<Option<Refusal>>) {
        let twice = duplicates(wanted.iter().map(|wanted| (wanted.kind, wanted.name)));
        let mut records = Vec::new();
        let decide = |wanted: &Wanted<'_>| {
            if twice.contains(&(wanted.kind, wanted.name)) {
                let message = "Each resource must appear at most once.";
                return Some(Refusal::new(ErrorCode::InvalidRequest, message));
            }
            match self.alter_resource(wanted, mode) {
                Ok(more) => {
                    records.extend(more);
                    None
                }
                Err(refusal) => Some(refusal),
            }
        };
        let results = wanted.iter().map(decide).collect();
        if validate_only {
            records.clear();
        }
        (records, results)
    }

    fn alter_resource(
        &self,
        wanted: &Wanted<'_>,
        mode: Mode,
    ) -> Result<Vec<MetadataRecord>, Refusal> {
        let changes = wanted.changes.as_ref().map_err(Clone::clone)?;
        let name = wanted.name;
        let request = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
        let Some(kind) = ResourceType::from_code(wanted.kind) else {
            return request(&format!("Unknown resource type {}", wanted.kind));
        };
        match kind {
            ResourceType::Topic if name.is_empty() => {
                return request("Default topic resources are not allowed.");
            }
            ResourceType::Topic if self.image.topic(name).is_none() => {
                let message = format!("The topic '{name}' does not exist.");
                return Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, message));
            }
            ResourceType::Group if name.is_empty() => {
                return request("Default group resources are not allowed.");
            }
            ResourceType::Broker if !name.is_empty() => self.check_node(name)?,
            ResourceType::BrokerLogger => {
                self.check_loggers(name, changes, mode)?;
                return Ok(Vec::new());
            }
            _ => {}
        }
        let layers = self.view().layers;
        let empty = ConfigMap::new();
        let before = self.image.config(kind, name).unwrap_or(&empty);
        let base = if mode == Mode::Replace {
            &empty
        } else {
            before
        };
        let after = changed(
            base,
            changes,
            |name| find(kind, name),
            |row| inherited(row, layers),
        )?;
        match kind {
            ResourceType::Topic => validate_topic(&after, layers)?,
            ResourceType::Group => validate_group(&after, layers)?,
            ResourceType::ClientMetrics => validate_client_metrics(name, &after)?,
            ResourceType::Broker => self.check_broker(name, before, &after, layers)?,
            ResourceType::BrokerLogger => {}
        }
        Ok(self.difference(kind, name, before, &after))
    }

    /// The records that turn one map into the other.
    fn difference(
        &self,
        kind: ResourceType,
        name: &str,
        before: &ConfigMap,
        after: &ConfigMap,
    ) -> Vec<MetadataRecord> {
        let names: BTreeSet<&str> = before
            .keys()
            .chain(after.keys())
            .map(String::as_str)
            .collect();
        let differs = |name: &&str| before.get(*name) != after.get(*name);
        let names: Vec<&str> = names.into_iter().filter(differs).collect();
        let changes = names
            .iter()
            .map(|name| (*name, after.get(*name).map(String::as_str)));
        let mut out: Vec<MetadataRecord> = records(kind, name, changes).collect();
        // Eligible replicas were chosen under the old minimum (KIP-966).
        let minimum = names.contains(&"min.insync.replicas") && self.image.feature(ELR_NAME) > 0;
        if minimum && matches!(kind, ResourceType::Topic | ResourceType::Broker) {
            let topic_name = if kind == ResourceType::Topic {
                name
            } else {
                ""
            }
            .to_owned();
            out.push(
                ClearElrRecord {
                    topic_name,
                    ..ClearElrRecord::default()
                }
                .into(),
            );
        }
        out
    }

    fn check_broker(
        &self,
        name: &str,
        before: &ConfigMap,
        after: &ConfigMap,
        layers: Layers<'_>,
    ) -> Result<(), Refusal> {
        let scope = if name.is_empty() {
            BrokerScope::Cluster
        } else {
            BrokerScope::Node
        };
        validate_broker(before, after, scope, layers)?;
        let minimum = "min.insync.replicas";
        if self.image.feature(ELR_NAME) == 0 || before.get(minimum) == after.get(minimum) {
            return Ok(());
        }
        let message = match scope {
            BrokerScope::Node => {
                "Broker-level min.insync.replicas cannot be altered while ELR is enabled."
            }
            BrokerScope::Cluster if !after.contains_key(minimum) => {
                "Cluster-level min.insync.replicas cannot be removed while ELR is enabled."
            }
            BrokerScope::Cluster => return Ok(()),
        };
        Err(Refusal::new(ErrorCode::InvalidConfig, message))
    }

    fn check_node(&self, name: &str) -> Result<(), Refusal> {
        let own = self.config.node_id;
        let message = match name.parse::<i32>() {
            Ok(id) if id == own => return Ok(()),
            Ok(id) => format!("Unexpected broker id, expected {own}, but received {id}"),
            Err(_) => format!("Node id must be an integer, but it is: {name}"),
        };
        Err(Refusal::new(ErrorCode::InvalidRequest, message))
    }

    /// Checks changes of loggers, which leave no records: who answers sets them.
    fn check_loggers(&self, name: &str, changes: &[Change], mode: Mode) -> Result<(), Refusal> {
        if mode == Mode::Replace {
            let code = ResourceType::BrokerLogger.code();
            let message = format!("Unknown resource type {code}");
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        let own = self.config.node_id;
        let message = match name.parse::<i32>() {
            Ok(id) if id == own => return loggers::check(changes),
            Ok(id) => format!("Unexpected node id. Expected {own}, but received {id}"),
            Err(_) => format!("Node id must be an integer, but it is: {name}"),
        };
        Err(Refusal::new(ErrorCode::InvalidRequest, message))
    }
}

/// What an accepted request asks of loggers; carried out by [`loggers::apply`].
pub(crate) fn logger_changes(
    request: &incremental_alter_configs::IncrementalAlterConfigsRequest,
) -> Vec<Vec<Change>> {
    if request.validate_only {
        return Vec::new();
    }
    let changes = |resource: &incremental_alter_configs::AlterConfigsResource| {
        if resource.resource_type == ResourceType::BrokerLogger.code() {
            incremental_changes(&resource.configs).unwrap_or_default()
        } else {
            Vec::new()
        }
    };
    request.resources.iter().map(changes).collect()
}

/// Config records of a resource; no value removes the setting.
pub(super) fn records<'a>(
    kind: ResourceType,
    name: &str,
    changes: impl Iterator<Item = (&'a str, Option<&'a str>)>,
) -> impl Iterator<Item = MetadataRecord> {
    changes.map(move |(key, value)| {
        ConfigRecord {
            resource_type: kind.code(),
            resource_name: name.to_owned(),
            name: key.to_owned(),
            value: value.map(str::to_owned),
            ..ConfigRecord::default()
        }
        .into()
    })
}

fn find(kind: ResourceType, name: &str) -> Option<&'static Setting> {
    match kind {
        ResourceType::Topic => find_topic(name),
        ResourceType::Broker | ResourceType::BrokerLogger => broker_settings::find(name),
        // Kafka knows no lists here.
        ResourceType::ClientMetrics => None,
        ResourceType::Group => find_group(name),
    }
}

/// The list in force below the resource itself, which an append begins with.
fn inherited(row: &'static Setting, layers: Layers<'_>) -> Vec<String> {
    match effective(row, None, layers) {
        Some((_, Value::List(list))) => list,
        _ => Vec::new(),
    }
}

fn incremental_changes(
    configs: &[incremental_alter_configs::AlterableConfig],
) -> Result<Vec<Change>, Refusal> {
    let without: Vec<&str> = configs
        .iter()
        .filter(|config| config.value.is_none() && config.config_operation != 1)
        .map(|config| config.name.as_str())
        .collect();
    check_given(&without, configs.iter().map(|config| config.name.as_str()))?;
    let change = |config: &incremental_alter_configs::AlterableConfig| {
        Some(Change {
            name: config.name.clone(),
            operation: Operation::from_code(config.config_operation)?,
            value: config.value.clone(),
        })
    };
    let changes: Option<Vec<Change>> = configs.iter().map(change).collect();
    changes.ok_or_else(|| refuse(ErrorCode::UnknownServerError))
}

fn replacing_changes(configs: &[alter_configs::AlterableConfig]) -> Result<Vec<Change>, Refusal> {
    let without: Vec<&str> = configs
        .iter()
        .filter(|config| config.value.is_none())
        .map(|config| config.name.as_str())
        .collect();
    check_given(&without, configs.iter().map(|config| config.name.as_str()))?;
    let change = |config: &alter_configs::AlterableConfig| Change {
        name: config.name.clone(),
        operation: Operation::Set,
        value: config.value.clone(),
    };
    Ok(configs.iter().map(change).collect())
}

fn check_given<'a>(without: &[&str], names: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    if !without.is_empty() {
        let message = format!("Null value not supported for : {}", without.join(","));
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    if !duplicates(names).is_empty() {
        let message = "Error due to duplicate config keys";
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    Ok(())
}

fn coded(refusal: Option<Refusal>) -> (i16, Option<String>) {
    match refusal {
        None => (0, None),
        Some(refusal) => (refusal.error.code(), refusal.message),
    }
}
