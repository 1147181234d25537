//! **Owns** configs of topics, brokers, groups and the like.
//! **Lives on** the client's thread.
//! **Invariants** those of [`super`].
//! **Not here** what a command prints (`cli`).

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use corelog_net::wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use corelog_net::wire::messages::list_config_resources::ListConfigResourcesRequest;

use super::Admin;
use crate::client::ApiError;

/// Kinds of things with configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigResource {
    /// A topic.
    Topic = 2,
    /// A broker, or the cluster's default when the name is empty.
    Broker = 4,
    /// A broker's loggers.
    BrokerLogger = 8,
    /// A client metrics subscription.
    ClientMetrics = 16,
    /// A group.
    Group = 32,
}

/// A change of one config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Set to a value.
    Set(String, String),
    /// Back to the default.
    Delete(String),
    /// Add to a list.
    Append(String, String),
    /// Take from a list.
    Subtract(String, String),
}

/// Where a config's value comes from, as numbered on the wire.
pub const SOURCE_DEFAULT: i8 = 5;

impl Admin {
    /// The configs of one thing.
    pub async fn describe_configs(
        &self,
        kind: ConfigResource,
        name: &str,
    ) -> Result<Vec<DescribeConfigsResourceResult>, ApiError> {
        let all = self.describe_many_configs(kind, &[name.to_owned()]).await?;
        match all.into_iter().next() {
            Some((_, result)) => result,
            None => Err(ApiError::code(ErrorCode::UnknownServerError)),
        }
    }

    /// The names of all things of these kinds that have configs.
    pub async fn list_config_resources(
        &self,
        kinds: &[ConfigResource],
    ) -> Result<Vec<(i8, String)>, ApiError> {
        let request = ListConfigResourcesRequest {
            resource_types: kinds.iter().map(|kind| *kind as i8).collect(),
            ..ListConfigResourcesRequest::default()
        };
        let response = self.anyone(&request).await?;
        ApiError::check(response.error_code, None)?;
        Ok(response
            .config_resources
            .into_iter()
            .map(|it| (it.resource_type, it.resource_name))
            .collect())
    }

    /// The configs of several things of a kind.
    pub async fn describe_many_configs(
        &self,
        kind: ConfigResource,
        names: &[String],
    ) -> Result<Vec<(String, Result<Vec<DescribeConfigsResourceResult>, ApiError>)>, ApiError> {
        let request = DescribeConfigsRequest {
            resources: names
                .iter()
                .map(|name| DescribeConfigsResource {
                    resource_type: kind as i8,
                    resource_name: name.clone(),
                    configuration_keys: None,
                    ..DescribeConfigsResource::default()
                })
                .collect(),
            include_synonyms: true,
            ..DescribeConfigsRequest::default()
        };
        let to = match (kind, names) {
            // A broker knows only its own static configs.
            (ConfigResource::Broker | ConfigResource::BrokerLogger, [name]) => name.parse().ok(),
            _ => None,
        };
        let response = match to {
            Some(node) => self.client.call_node(node, &request).await?,
            None => self.anyone(&request).await?,
        };
        Ok(response
            .results
            .into_iter()
            .map(|result| {
                let outcome = ApiError::check(result.error_code, result.error_message);
                (result.resource_name, outcome.map(|()| result.configs))
            })
            .collect())
    }

    /// Changes configs of one thing.
    pub async fn alter_configs(
        &self,
        kind: ConfigResource,
        name: &str,
        changes: &[ConfigChange],
    ) -> Result<(), ApiError> {
        let configs = changes
            .iter()
            .map(|change| {
                let (name, config_operation, value) = match change {
                    ConfigChange::Set(name, value) => (name, 0, Some(value)),
                    ConfigChange::Delete(name) => (name, 1, None),
                    ConfigChange::Append(name, value) => (name, 2, Some(value)),
                    ConfigChange::Subtract(name, value) => (name, 3, Some(value)),
                };
                AlterableConfig {
                    name: name.clone(),
                    config_operation,
                    value: value.cloned(),
                    ..AlterableConfig::default()
                }
            })
            .collect();
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: kind as i8,
                resource_name: name.to_owned(),
                configs,
                ..AlterConfigsResource::default()
            }],
            ..IncrementalAlterConfigsRequest::default()
        };
        let response = match (kind, name.parse()) {
            // A broker's own configs, as Kafka's clients do it: it must be there.
            (ConfigResource::Broker | ConfigResource::BrokerLogger, Ok(node)) => {
                self.node(node, &request).await?
            }
            _ => self.controller(&request).await?,
        };
        for result in response.responses {
            ApiError::check(result.error_code, result.error_message)?;
        }
        Ok(())
    }
}
