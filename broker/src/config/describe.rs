//! The body of `DescribeConfigs`.
//!
//! **Owns** which settings a resource shows, in which order, with which value, source and synonyms
//! (KIP-133, KIP-226, KIP-569).
//! **Lives on** any shard, for the length of a request.
//! **Invariants**: a sensitive value never leaves, also not as a synonym.
//! **Not here**: authorization; which loggers there are (`loggers`).

use std::collections::BTreeSet;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::create_topics::CreatableTopicConfigs;
use corelog_net::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::alter::{Refusal, find_broker, of_listener};
use super::layers::{ConfigMap, Layers, Source};
use super::setting::{Setting, Type, UpdateMode, Visibility, answered_order};
use super::topic_settings::{CLIENT_METRICS, GROUP, TOPIC};
use super::{broker_settings, topic};
use crate::loggers;
use crate::metadata::image::{Image, ResourceType};
use crate::metadata::topic_name;

/// What an answer is made from.
#[derive(Clone, Copy, Debug)]
pub struct ConfigView<'a> {
    /// The image.
    pub image: &'a Image,
    /// This broker.
    pub node_id: i32,
    /// The layers of broker settings, see [`ConfigView::new`].
    pub layers: Layers<'a>,
}

impl<'a> ConfigView<'a> {
    /// A view of a node's settings in an image. `node_name` is the node's id as text.
    #[must_use]
    pub fn new(image: &'a Image, config: &'a super::BrokerConfig, node_name: &str) -> Self {
        let layers = Layers {
            node: image.config(ResourceType::Broker, node_name),
            cluster: image.config(ResourceType::Broker, ""),
            fixed: &config.fixed,
        };
        Self {
            image,
            node_id: config.node_id,
            layers,
        }
    }

    /// Answers a request.
    #[must_use]
    pub fn describe(&self, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
        let results = request.resources.iter().map(|resource| {
            let mut result = DescribeConfigsResult {
                error_message: Some(String::new()),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                ..DescribeConfigsResult::default()
            };
            match self.entries(resource) {
                Ok(entries) => {
                    let wanted = |entry: &Entry| match resource.configuration_keys.as_deref() {
                        None | Some([]) => true,
                        Some(keys) => keys.contains(&entry.name),
                    };
                    let entries = entries.into_iter().filter(wanted);
                    result.configs = entries.map(|entry| entry.described(request)).collect();
                }
                Err(refusal) => {
                    result.error_code = refusal.error.code();
                    result.error_message = refusal.message;
                }
            }
            result
        });
        DescribeConfigsResponse {
            results: results.collect(),
            ..Default::default()
        }
    }

    /// What `CreateTopics` tells about a new topic's settings, from version 5 on: by name.
    #[must_use]
    pub fn created_topic(&self, values: &ConfigMap) -> Vec<CreatableTopicConfigs> {
        let mut entries = self.topic_entries(Some(values));
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let told = |entry: Entry| CreatableTopicConfigs {
            name: entry.name,
            value: entry.value,
            read_only: entry.read_only,
            config_source: entry.source.code(),
            is_sensitive: entry.sensitive,
            ..CreatableTopicConfigs::default()
        };
        entries.into_iter().map(told).collect()
    }

    fn entries(&self, resource: &DescribeConfigsResource) -> Result<Vec<Entry>, Refusal> {
        let name = resource.resource_name.as_str();
        let request = |message: &str| Refusal::new(ErrorCode::InvalidRequest, message);
        match ResourceType::from_code(resource.resource_type) {
            Some(ResourceType::Topic) => {
                topic_name::validate(name).map_err(|fault| {
                    let message = format!("Topic name is invalid: {fault}");
                    Refusal::new(ErrorCode::InvalidTopicException, message)
                })?;
                if self.image.topic(name).is_none() {
                    return Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, ""));
                }
                Ok(self.topic_entries(self.image.config(ResourceType::Topic, name)))
            }
            Some(ResourceType::Broker) if name.is_empty() => Ok(self.cluster_entries()),
            Some(ResourceType::Broker) => {
                self.own_id(name, "expected {} or empty string, but received")?;
                Ok(self.broker_entries())
            }
            Some(ResourceType::BrokerLogger) if name.is_empty() => {
                Err(request("Broker id must not be empty"))
            }
            Some(ResourceType::BrokerLogger) => {
                self.own_id(name, "expected {} but received")?;
                Ok(loggers::levels().into_iter().map(logger_entry).collect())
            }
            Some(ResourceType::ClientMetrics) if name.is_empty() => Err(request(
                "Client metrics subscription name must not be empty",
            )),
            Some(ResourceType::ClientMetrics) => {
                let values = self.image.config(ResourceType::ClientMetrics, name);
                Ok(CLIENT_METRICS
                    .iter()
                    .map(|row| client_metrics_entry(row, values))
                    .collect())
            }
            Some(ResourceType::Group) if name.is_empty() => {
                Err(request("Group name must not be empty"))
            }
            Some(ResourceType::Group) => {
                let values = self.image.config(ResourceType::Group, name);
                let rows = answered_order(GROUP, 32);
                Ok(rows
                    .into_iter()
                    .map(|row| self.group_entry(row, values))
                    .collect())
            }
            None => Err(request(ErrorCode::InvalidRequest.message())),
        }
    }

    fn own_id(&self, name: &str, expectation: &str) -> Result<(), Refusal> {
        let refuse = |message| Err(Refusal::new(ErrorCode::InvalidRequest, message));
        match name.parse::<i32>() {
            Ok(id) if id == self.node_id => Ok(()),
            Ok(id) => {
                let expectation = expectation.replace("{}", &self.node_id.to_string());
                refuse(format!("Unexpected broker id, {expectation} {id}"))
            }
            Err(_) => refuse(format!("Broker id must be an integer, but it is: {name}")),
        }
    }

    fn topic_entries(&self, values: Option<&ConfigMap>) -> Vec<Entry> {
        let rows = answered_order(TOPIC, 64);
        let public = rows
            .into_iter()
            .filter(|row| row.visibility == Visibility::Public);
        public.map(|row| self.topic_entry(row, values)).collect()
    }

    fn topic_entry(&self, row: &'static Setting, values: Option<&ConfigMap>) -> Entry {
        let own = values.and_then(|values| values.get(row.name));
        let mut synonyms: Vec<Synonym> = own
            .map(|text| Synonym::new(row.name, text, Source::DynamicTopic))
            .into_iter()
            .collect();
        if let Some((first, _)) = row.synonyms.first() {
            synonyms.extend(self.broker_synonyms(first));
        }
        let value = topic::effective(row, values, self.layers).map(|(_, value)| value.to_string());
        Entry::new(row, value, synonyms)
    }

    fn group_entry(&self, row: &'static Setting, values: Option<&ConfigMap>) -> Entry {
        let own = values.and_then(|values| values.get(row.name));
        let mut synonyms: Vec<Synonym> = own
            .map(|text| Synonym::new(row.name, text, Source::Group))
            .into_iter()
            .collect();
        match (row.synonyms.first(), row.default_text()) {
            (Some((first, _)), _) => synonyms.extend(self.broker_synonyms(first)),
            (None, Some(default)) => {
                synonyms.push(Synonym::new(row.name, default, Source::Default));
            }
            (None, None) => {}
        }
        let value = topic::effective(row, values, self.layers).map(|(_, value)| value.to_string());
        Entry::new(row, value, synonyms)
    }

    /// Every value of a broker setting and of its synonyms, best first, from the setting itself on.
    /// Kafka drops what stands before, so a value that comes from `log.retention.hours` alone is
    /// shown without any.
    fn broker_synonyms(&self, name: &str) -> Vec<Synonym> {
        let row = broker_settings::find(name);
        let own = [(name, 1)];
        let names = row
            .map(|row| row.synonyms)
            .filter(|names| !names.is_empty())
            .unwrap_or(&own);
        let all = names.iter().flat_map(|(synonym, _)| {
            let values = self.layers.values_of(synonym);
            values.map(|(source, text)| Synonym::new(synonym, text, source))
        });
        let hide = row.is_some_and(Setting::sensitive);
        all.skip_while(|synonym| synonym.name != name)
            .map(|synonym| if hide { synonym.hidden() } else { synonym })
            .collect()
    }

    fn broker_entries(&self) -> Vec<Entry> {
        let custom = self
            .custom_names()
            .into_iter()
            .map(|name| self.custom_entry(&name));
        let rows = broker_settings::answered();
        let public = rows
            .into_iter()
            .filter(|row| row.visibility == Visibility::Public);
        custom
            .chain(public.map(|row| self.broker_entry(row)))
            .collect()
    }

    fn broker_entry(&self, row: &'static Setting) -> Entry {
        let value = self.layers.value(row).map(|(_, value)| value.to_string());
        let mut entry = Entry::new(row, value, self.broker_synonyms(row.name));
        entry.read_only = row.update == UpdateMode::ReadOnly;
        entry
    }

    /// Names that no table knows, given at start or at run time.
    fn custom_names(&self) -> BTreeSet<String> {
        let fixed = self.layers.fixed.values().keys();
        let dynamic = self.layers.node.into_iter().chain(self.layers.cluster);
        fixed
            .chain(dynamic.flat_map(|values| values.keys()))
            .filter(|name| find_broker(name).is_none())
            .cloned()
            .collect()
    }

    /// Nothing is known of such a setting, so it may be a password; one of a single listener is
    /// what the name behind the listener's is.
    fn custom_entry(&self, name: &str) -> Entry {
        let base = of_listener(name).and_then(broker_settings::find);
        let sensitive = base.is_none_or(Setting::sensitive);
        let synonym = |(source, text): (Source, &str)| {
            let synonym = Synonym::new(name, text, source);
            if sensitive { synonym.hidden() } else { synonym }
        };
        let synonyms: Vec<Synonym> = self.layers.values_of(name).map(synonym).collect();
        Entry {
            name: name.to_owned(),
            value: synonyms.first().and_then(|synonym| synonym.value.clone()),
            source: synonyms
                .first()
                .map_or(Source::Default, |synonym| synonym.source),
            read_only: true,
            sensitive,
            kind: base.map_or(0, |row| row.kind.code()),
            documentation: None,
            synonyms,
        }
    }

    /// The cluster's dynamic defaults.
    fn cluster_entries(&self) -> Vec<Entry> {
        let values = self.layers.cluster.into_iter().flatten();
        values
            .map(|(name, text)| cluster_entry(name, text))
            .collect()
    }
}

fn cluster_entry(name: &str, text: &str) -> Entry {
    let row = find_broker(name);
    let sensitive = row.is_none_or(Setting::sensitive);
    let synonym = Synonym::new(name, text, Source::DynamicDefaultBroker);
    let value = match row.map(|row| row.parse(text)) {
        Some(Ok(value)) => value.to_string(),
        _ => text.to_owned(),
    };
    Entry {
        name: name.to_owned(),
        value: Some(value).filter(|_| !sensitive),
        source: Source::DynamicDefaultBroker,
        read_only: row.is_none_or(|row| row.update == UpdateMode::ReadOnly),
        sensitive,
        kind: row.map_or(0, |row| row.kind.code()),
        documentation: row.map(|row| row.status.text()),
        synonyms: vec![if sensitive { synonym.hidden() } else { synonym }],
    }
}

fn logger_entry((name, level): (&'static str, &'static str)) -> Entry {
    Entry {
        name: name.to_owned(),
        value: Some(level.to_owned()),
        source: Source::DynamicBrokerLogger,
        read_only: false,
        sensitive: false,
        kind: 0,
        documentation: Some(""),
        synonyms: Vec::new(),
    }
}

/// What a subscription does not set has its default.
fn client_metrics_entry(row: &'static Setting, values: Option<&ConfigMap>) -> Entry {
    let own = values
        .and_then(|values| values.get(row.name))
        .map(String::as_str);
    let text = own.or(row.default_text()).unwrap_or_default();
    let value = row
        .parse(text)
        .map_or_else(|_| text.to_owned(), |value| value.to_string());
    let synonyms = own.map(|_| Synonym::new(row.name, &value, Source::ClientMetrics));
    Entry::new(row, Some(value), synonyms.into_iter().collect())
}

struct Synonym {
    name: String,
    value: Option<String>,
    source: Source,
}

impl Synonym {
    fn new(name: &str, text: &str, source: Source) -> Self {
        Self {
            name: name.to_owned(),
            value: Some(text.to_owned()),
            source,
        }
    }

    fn hidden(self) -> Self {
        Self {
            value: None,
            ..self
        }
    }
}

/// One setting as described.
struct Entry {
    name: String,
    value: Option<String>,
    source: Source,
    read_only: bool,
    sensitive: bool,
    kind: i8,
    documentation: Option<&'static str>,
    synonyms: Vec<Synonym>,
}

impl Entry {
    fn new(row: &'static Setting, value: Option<String>, synonyms: Vec<Synonym>) -> Self {
        Self {
            name: row.name.to_owned(),
            value: value.filter(|_| row.kind != Type::Password),
            source: synonyms
                .first()
                .map_or(Source::Default, |synonym| synonym.source),
            read_only: false,
            sensitive: row.sensitive(),
            kind: row.kind.code(),
            documentation: Some(row.status.text()),
            synonyms,
        }
    }

    fn described(self, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
        let synonym = |synonym: Synonym| DescribeConfigsSynonym {
            name: synonym.name,
            value: synonym.value,
            source: synonym.source.code(),
            ..DescribeConfigsSynonym::default()
        };
        let synonyms = self
            .synonyms
            .into_iter()
            .filter(|_| request.include_synonyms);
        DescribeConfigsResourceResult {
            name: self.name,
            value: self.value,
            read_only: self.read_only,
            config_source: self.source.code(),
            is_sensitive: self.sensitive,
            synonyms: synonyms.map(synonym).collect(),
            config_type: self.kind,
            documentation: self
                .documentation
                // Kafka tells a logger's, which is empty, unasked.
                .filter(|text| request.include_documentation || text.is_empty())
                .map(str::to_owned),
            ..DescribeConfigsResourceResult::default()
        }
    }
}

#[cfg(test)]
mod tests;
