//! **Owns** administration: topics, partitions, configs, offsets, groups.
//! **Lives on** the client's thread.
//! **Invariants** (1) What fails in a retriable way is tried again until `api_timeout`. (2) Each topic, group or resource
//! has a result of its own.
//! **Not here** what a command prints.

use std::collections::BTreeMap;
use std::rc::Rc;

use corelog_net::wire::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use corelog_net::wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use corelog_net::wire::messages::delete_groups::DeleteGroupsRequest;
use corelog_net::wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use corelog_net::wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use corelog_net::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use corelog_net::wire::messages::describe_groups::{DescribeGroupsRequest, DescribedGroup};
use corelog_net::wire::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, RequestCursor, TopicRequest,
};
use corelog_net::wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use corelog_net::wire::messages::list_groups::{ListGroupsRequest, ListedGroup};
use corelog_net::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use corelog_net::wire::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, OngoingPartitionReassignment,
};
use corelog_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use corelog_net::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use corelog_net::wire::{ErrorCode, Request, Uuid};
use corelog_runtime::{now, sleep};

use super::error::code_of;
use super::{ApiError, CallError, Client, Coordinates};

/// Administration over a client.
#[derive(Clone)]
pub struct Admin {
    client: Rc<Client>,
}

/// A topic to be created.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; the broker's default when none.
    pub partitions: Option<i32>,
    /// How many replicas; the broker's default when none.
    pub replication_factor: Option<i16>,
    /// Replicas of each partition, instead of both.
    pub assignment: Vec<Vec<i32>>,
    /// Its configs.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// With partitions, and the broker's defaults for the rest.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self {
            name: name.into(),
            partitions: Some(partitions),
            ..Self::default()
        }
    }
}

/// A topic, the number of partitions it is to have, and the replicas of the new ones unless the broker chooses.
pub type Growth = (String, i32, Option<Vec<Vec<i32>>>);

/// A listed topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedTopic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
    /// `__consumer_offsets` and the like.
    pub is_internal: bool,
}

/// A described topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
    /// `__consumer_offsets` and the like.
    pub is_internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionDescription>,
}

/// A described partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its index.
    pub index: i32,
    /// Its leader, if it has one.
    pub leader: Option<i32>,
    /// All replicas.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub isr: Vec<i32>,
    /// Eligible leader replicas (KIP-966); none when the broker does not tell.
    pub elr: Option<Vec<i32>>,
    /// The last ELR known; none when the broker does not tell.
    pub last_known_elr: Option<Vec<i32>>,
}

/// What an offset is asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log's start.
    Earliest,
    /// The log's end.
    Latest,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// The first record not older than this, in milliseconds since the epoch.
    Timestamp(i64),
}

impl OffsetSpec {
    fn number(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::Timestamp(ms) => ms,
        }
    }
}

/// Which records a reader sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i8)]
pub enum Isolation {
    /// All.
    #[default]
    ReadUncommitted = 0,
    /// Those of no open or aborted transaction.
    ReadCommitted = 1,
}

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
    /// Over this client.
    pub fn new(client: &Rc<Client>) -> Self {
        Self {
            client: Rc::clone(client),
        }
    }

    /// The client beneath.
    pub fn client(&self) -> &Rc<Client> {
        &self.client
    }

    /// Calls the controller's broker, or any when none is known, until it answers.
    async fn controller<R: Request>(&self, request: &R) -> Result<R::Response, ApiError> {
        self.until_answered(request, true).await
    }

    async fn anyone<R: Request>(&self, request: &R) -> Result<R::Response, ApiError> {
        self.until_answered(request, false).await
    }

    async fn until_answered<R: Request>(
        &self,
        request: &R,
        controller: bool,
    ) -> Result<R::Response, ApiError> {
        let until = now() + self.client.config().api_timeout;
        loop {
            let controller_id = self.client.metadata().controller();
            let answer = if controller && controller_id >= 0 {
                self.client.call_node(controller_id, request).await
            } else {
                self.client.call_any(request).await
            };
            match answer {
                Ok(response) => return Ok(response),
                Err(error) if error.is_retriable() && now() < until => {
                    sleep(self.client.config().retry_backoff).await;
                    // Who is the controller may have changed; if nobody answers, the next round fails again.
                    let _ = self.client.refresh().await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.client.config().request_timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Creates topics.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<Vec<(String, Result<Uuid, ApiError>)>, ApiError> {
        let request = CreateTopicsRequest {
            topics: topics.iter().map(creatable).collect(),
            timeout_ms: self.timeout_ms(),
            validate_only,
            ..CreateTopicsRequest::default()
        };
        let response = self.controller(&request).await?;
        Ok(response
            .topics
            .into_iter()
            .map(|topic| {
                let result = ApiError::check(topic.error_code, topic.error_message);
                (topic.name, result.map(|()| topic.topic_id))
            })
            .collect())
    }

    /// Creates one topic, and waits until its leaders are known.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<Uuid, ApiError> {
        let name = topic.name.clone();
        let mut results = self.create_topics(&[topic], false).await?;
        let id = match results.pop() {
            Some((_, result)) => result?,
            None => return Err(ApiError::code(ErrorCode::UnknownServerError)),
        };
        self.client.topic(&name).await?;
        self.client.forget_topic(&name);
        Ok(id)
    }

    /// Deletes topics by name.
    pub async fn delete_topics(
        &self,
        names: &[String],
    ) -> Result<Vec<(String, Result<(), ApiError>)>, ApiError> {
        let connection = self.client.any().await?;
        let by_state = connection
            .version_of::<DeleteTopicsRequest>()
            .is_some_and(|version| version >= 6);
        let request = DeleteTopicsRequest {
            topics: if by_state {
                names
                    .iter()
                    .map(|name| DeleteTopicState {
                        name: Some(name.clone()),
                        ..DeleteTopicState::default()
                    })
                    .collect()
            } else {
                Vec::new()
            },
            topic_names: if by_state { Vec::new() } else { names.to_vec() },
            timeout_ms: self.timeout_ms(),
            ..DeleteTopicsRequest::default()
        };
        let response = self.controller(&request).await?;
        for name in names {
            self.client.forget_topic(name);
        }
        Ok(response
            .responses
            .into_iter()
            .map(|topic| {
                let result = ApiError::check(topic.error_code, topic.error_message);
                (topic.name.unwrap_or_default(), result)
            })
            .collect())
    }

    /// Grows topics to so many partitions; with an assignment, the replicas of each new one.
    pub async fn create_partitions(
        &self,
        topics: &[Growth],
        validate_only: bool,
    ) -> Result<Vec<(String, Result<(), ApiError>)>, ApiError> {
        let request = CreatePartitionsRequest {
            topics: topics
                .iter()
                .map(|(name, count, assignment)| CreatePartitionsTopic {
                    name: name.clone(),
                    count: *count,
                    assignments: assignment.as_ref().map(|assignment| {
                        assignment
                            .iter()
                            .map(|brokers| CreatePartitionsAssignment {
                                broker_ids: brokers.clone(),
                                ..CreatePartitionsAssignment::default()
                            })
                            .collect()
                    }),
                    ..CreatePartitionsTopic::default()
                })
                .collect(),
            timeout_ms: self.timeout_ms(),
            validate_only,
            ..CreatePartitionsRequest::default()
        };
        let response = self.controller(&request).await?;
        Ok(response
            .results
            .into_iter()
            .map(|topic| {
                let result = ApiError::check(topic.error_code, topic.error_message);
                (topic.name, result)
            })
            .collect())
    }

    /// All topics, by name.
    pub async fn list_topics(&self) -> Result<Vec<ListedTopic>, ApiError> {
        let request = MetadataRequest {
            topics: None,
            allow_auto_topic_creation: true,
            ..MetadataRequest::default()
        };
        let response = self.anyone(&request).await?;
        let mut topics: Vec<ListedTopic> = response
            .topics
            .into_iter()
            .filter_map(|topic| {
                Some(ListedTopic {
                    name: topic.name?,
                    id: topic.topic_id,
                    is_internal: topic.is_internal,
                })
            })
            .collect();
        topics.sort();
        Ok(topics)
    }

    /// Describes topics by name, each with a result of its own, in the order of the answer.
    pub async fn describe_topics(
        &self,
        names: &[String],
        partitions_per_response: i32,
    ) -> Result<Vec<(String, Result<TopicDescription, ApiError>)>, ApiError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        match self.describe_by_pages(names, partitions_per_response).await {
            Err(ApiError::Call(error)) if error.is_unsupported() => {}
            other => return other,
        }
        let request = MetadataRequest {
            topics: Some(
                names
                    .iter()
                    .map(|name| MetadataRequestTopic {
                        name: Some(name.clone()),
                        ..MetadataRequestTopic::default()
                    })
                    .collect(),
            ),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        self.describe_by_metadata(&request).await
    }

    /// Describes a topic by id.
    pub async fn describe_topic_by_id(&self, id: Uuid) -> Result<TopicDescription, ApiError> {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                topic_id: id,
                name: None,
                ..MetadataRequestTopic::default()
            }]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let described = self.describe_by_metadata(&request).await?;
        match described.into_iter().next() {
            Some((_, result)) => result,
            None => Err(ApiError::code(ErrorCode::UnknownTopicId)),
        }
    }

    async fn describe_by_metadata(
        &self,
        request: &MetadataRequest,
    ) -> Result<Vec<(String, Result<TopicDescription, ApiError>)>, ApiError> {
        let response = self.anyone(request).await?;
        Ok(response
            .topics
            .into_iter()
            .map(|topic| {
                let name = topic.name.unwrap_or_default();
                let mut partitions: Vec<PartitionDescription> = topic
                    .partitions
                    .into_iter()
                    .map(|partition| PartitionDescription {
                        index: partition.partition_index,
                        leader: (partition.leader_id >= 0).then_some(partition.leader_id),
                        replicas: partition.replica_nodes,
                        isr: partition.isr_nodes,
                        elr: None,
                        last_known_elr: None,
                    })
                    .collect();
                partitions.sort_by_key(|partition| partition.index);
                let result = ApiError::check(topic.error_code, None).map(|()| TopicDescription {
                    name: name.clone(),
                    id: topic.topic_id,
                    is_internal: topic.is_internal,
                    partitions,
                });
                (name, result)
            })
            .collect())
    }

    async fn describe_by_pages(
        &self,
        names: &[String],
        limit: i32,
    ) -> Result<Vec<(String, Result<TopicDescription, ApiError>)>, ApiError> {
        let mut wanted: Vec<String> = names.to_vec();
        wanted.sort();
        let mut done: Vec<(String, Result<TopicDescription, ApiError>)> = Vec::new();
        let mut cursor: Option<RequestCursor> = None;
        loop {
            let from = cursor.as_ref().map(|cursor| cursor.topic_name.clone());
            let request = DescribeTopicPartitionsRequest {
                topics: wanted
                    .iter()
                    .filter(|name| from.as_ref().is_none_or(|from| *name >= from))
                    .map(|name| TopicRequest {
                        name: name.clone(),
                        ..TopicRequest::default()
                    })
                    .collect(),
                response_partition_limit: limit,
                cursor,
                ..DescribeTopicPartitionsRequest::default()
            };
            let response = self.anyone(&request).await?;
            for topic in response.topics {
                let name = topic.name.unwrap_or_default();
                let partitions =
                    topic
                        .partitions
                        .into_iter()
                        .map(|partition| PartitionDescription {
                            index: partition.partition_index,
                            leader: (partition.leader_id >= 0).then_some(partition.leader_id),
                            replicas: partition.replica_nodes,
                            isr: partition.isr_nodes,
                            elr: partition.eligible_leader_replicas,
                            last_known_elr: partition.last_known_elr,
                        });
                match done.last_mut() {
                    // A topic that began on the page before goes on.
                    Some((last, Ok(description))) if *last == name => {
                        description.partitions.extend(partitions);
                    }
                    _ => {
                        let result =
                            ApiError::check(topic.error_code, None).map(|()| TopicDescription {
                                name: name.clone(),
                                id: topic.topic_id,
                                is_internal: topic.is_internal,
                                partitions: partitions.collect(),
                            });
                        done.push((name, result));
                    }
                }
            }
            let Some(next) = response.next_cursor else {
                return Ok(done);
            };
            cursor = Some(RequestCursor {
                topic_name: next.topic_name,
                partition_index: next.partition_index,
                ..RequestCursor::default()
            });
        }
    }

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
        let response = self.controller(&request).await?;
        for result in response.responses {
            ApiError::check(result.error_code, result.error_message)?;
        }
        Ok(())
    }

    /// Offsets of partitions: (offset, its timestamp), or −1 for none.
    pub async fn list_offsets(
        &self,
        wanted: &[(String, i32, OffsetSpec)],
        isolation: Isolation,
    ) -> Result<BTreeMap<(String, i32), Result<(i64, i64), ApiError>>, ApiError> {
        let mut found = BTreeMap::new();
        let mut left: Vec<(String, i32, OffsetSpec)> = wanted.to_vec();
        let until = now() + self.client.config().api_timeout;
        loop {
            let mut by_leader: BTreeMap<i32, Vec<(String, i32, OffsetSpec)>> = BTreeMap::new();
            for (topic, partition, spec) in left.drain(..) {
                if self.client.metadata().leader(&topic, partition).is_none() {
                    self.client.topic(&topic).await?;
                }
                let leader = self.client.metadata().leader(&topic, partition);
                if let Some((leader, _)) = leader {
                    by_leader
                        .entry(leader)
                        .or_default()
                        .push((topic, partition, spec));
                } else {
                    let unknown = ApiError::code(ErrorCode::UnknownTopicOrPartition);
                    found.insert((topic, partition), Err(unknown));
                }
            }
            for (leader, wanted) in by_leader {
                let answer = self.offsets_of(leader, &wanted, isolation).await;
                let answers = match answer {
                    Ok(answers) => answers,
                    Err(error) if error.is_retriable() && now() < until => {
                        left.extend(wanted);
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                for (topic, partition, spec) in wanted {
                    let result = answers
                        .get(&(topic.clone(), partition))
                        .cloned()
                        .unwrap_or_else(|| Err(ApiError::code(ErrorCode::UnknownServerError)));
                    match result {
                        Err(error) if error.is_retriable() && now() < until => {
                            left.push((topic, partition, spec));
                        }
                        result => {
                            found.insert((topic, partition), result);
                        }
                    }
                }
            }
            if left.is_empty() {
                return Ok(found);
            }
            sleep(self.client.config().retry_backoff).await;
            let _ = self.client.refresh().await;
        }
    }

    async fn offsets_of(
        &self,
        leader: i32,
        wanted: &[(String, i32, OffsetSpec)],
        isolation: Isolation,
    ) -> Result<BTreeMap<(String, i32), Result<(i64, i64), ApiError>>, CallError> {
        let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for (topic, partition, spec) in wanted {
            topics.entry(topic).or_default().push(ListOffsetsPartition {
                partition_index: *partition,
                current_leader_epoch: -1,
                timestamp: spec.number(),
                ..ListOffsetsPartition::default()
            });
        }
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: isolation as i8,
            topics: topics
                .into_iter()
                .map(|(name, partitions)| ListOffsetsTopic {
                    name: name.to_owned(),
                    partitions,
                    ..ListOffsetsTopic::default()
                })
                .collect(),
            ..ListOffsetsRequest::default()
        };
        let response = self.client.call_node(leader, &request).await?;
        let mut found = BTreeMap::new();
        for topic in response.topics {
            for partition in topic.partitions {
                let result = ApiError::check(partition.error_code, None)
                    .map(|()| (partition.offset, partition.timestamp));
                found.insert((topic.name.clone(), partition.partition_index), result);
            }
        }
        Ok(found)
    }

    /// Deletes records below an offset (−1: all); gives the new start of each log.
    pub async fn delete_records(
        &self,
        below: &[(String, i32, i64)],
    ) -> Result<BTreeMap<(String, i32), Result<i64, ApiError>>, ApiError> {
        let mut by_leader: BTreeMap<i32, Vec<&(String, i32, i64)>> = BTreeMap::new();
        let mut found = BTreeMap::new();
        for entry in below {
            self.client.topic(&entry.0).await?;
            let leader = self.client.metadata().leader(&entry.0, entry.1);
            if let Some((leader, _)) = leader {
                by_leader.entry(leader).or_default().push(entry);
            } else {
                let unknown = ApiError::code(ErrorCode::UnknownTopicOrPartition);
                found.insert((entry.0.clone(), entry.1), Err(unknown));
            }
        }
        for (leader, entries) in by_leader {
            let mut topics: BTreeMap<&str, Vec<DeleteRecordsPartition>> = BTreeMap::new();
            for (topic, partition, offset) in entries {
                topics
                    .entry(topic)
                    .or_default()
                    .push(DeleteRecordsPartition {
                        partition_index: *partition,
                        offset: *offset,
                        ..DeleteRecordsPartition::default()
                    });
            }
            let request = DeleteRecordsRequest {
                topics: topics
                    .into_iter()
                    .map(|(name, partitions)| DeleteRecordsTopic {
                        name: name.to_owned(),
                        partitions,
                        ..DeleteRecordsTopic::default()
                    })
                    .collect(),
                timeout_ms: self.timeout_ms(),
                ..DeleteRecordsRequest::default()
            };
            let response = self.client.call_node(leader, &request).await?;
            for topic in response.topics {
                for partition in topic.partitions {
                    let result = ApiError::check(partition.error_code, None)
                        .map(|()| partition.low_watermark);
                    found.insert((topic.name.clone(), partition.partition_index), result);
                }
            }
        }
        Ok(found)
    }

    /// The groups of all brokers.
    pub async fn list_groups(&self) -> Result<Vec<ListedGroup>, ApiError> {
        self.client.refresh().await?;
        let brokers: Vec<i32> = self.client.metadata().brokers().map(|b| b.id).collect();
        let mut groups = Vec::new();
        for broker in brokers {
            let response = self
                .client
                .call_node(broker, &ListGroupsRequest::default())
                .await?;
            ApiError::check(response.error_code, None)?;
            groups.extend(response.groups);
        }
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        Ok(groups)
    }

    /// Asks a group's coordinator, and looks for the coordinator again when it has moved.
    async fn of_group<R: Request>(
        &self,
        group: &str,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, ApiError> {
        let until = now() + self.client.config().api_timeout;
        loop {
            let node = self.client.coordinator(Coordinates::Group, group).await?;
            let error = match self.client.call_node(node, request).await {
                Ok(response) => {
                    let code = code_of(code(&response));
                    if !(code.is_retriable() && now() < until) {
                        return Ok(response);
                    }
                    ApiError::code(code)
                }
                Err(error) => error.into(),
            };
            if !error.is_retriable() || now() >= until {
                return Err(error);
            }
            sleep(self.client.config().retry_backoff).await;
        }
    }

    /// Describes a classic group.
    pub async fn describe_group(&self, group: &str) -> Result<DescribedGroup, ApiError> {
        let request = DescribeGroupsRequest {
            groups: vec![group.to_owned()],
            ..DescribeGroupsRequest::default()
        };
        let response = self
            .of_group(group, &request, |response| {
                response.groups.first().map_or(0, |group| group.error_code)
            })
            .await?;
        let Some(described) = response.groups.into_iter().next() else {
            return Err(ApiError::code(ErrorCode::UnknownServerError));
        };
        ApiError::check(described.error_code, described.error_message.clone())?;
        Ok(described)
    }

    /// Deletes a group.
    pub async fn delete_group(&self, group: &str) -> Result<(), ApiError> {
        let request = DeleteGroupsRequest {
            groups_names: vec![group.to_owned()],
            ..DeleteGroupsRequest::default()
        };
        let response = self
            .of_group(group, &request, |response| {
                response.results.first().map_or(0, |group| group.error_code)
            })
            .await?;
        match response.results.into_iter().next() {
            Some(result) => ApiError::check(result.error_code, None),
            None => Err(ApiError::code(ErrorCode::UnknownServerError)),
        }
    }

    /// A group's committed offsets of these partitions, or of all when none are named; −1 for none.
    pub async fn group_offsets(
        &self,
        group: &str,
        of: Option<&[(String, i32)]>,
    ) -> Result<BTreeMap<(String, i32), i64>, ApiError> {
        let until = now() + self.client.config().api_timeout;
        loop {
            let error = match self.group_offsets_once(group, of).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            if !error.is_retriable() || now() >= until {
                return Err(error);
            }
            sleep(self.client.config().retry_backoff).await;
        }
    }

    async fn group_offsets_once(
        &self,
        group: &str,
        of: Option<&[(String, i32)]>,
    ) -> Result<BTreeMap<(String, i32), i64>, ApiError> {
        let node = self.client.coordinator(Coordinates::Group, group).await?;
        let connection = self.client.node(node).await?;
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in of.unwrap_or_default() {
            topics.entry(topic).or_default().push(*partition);
        }
        let grouped = connection
            .version_of::<OffsetFetchRequest>()
            .is_some_and(|version| version >= 8);
        let mut request = OffsetFetchRequest::default();
        if grouped {
            request.groups.push(OffsetFetchRequestGroup {
                group_id: group.to_owned(),
                topics: of.map(|_| {
                    topics
                        .into_iter()
                        .map(|(name, partition_indexes)| OffsetFetchRequestTopics {
                            name: name.to_owned(),
                            partition_indexes,
                            ..OffsetFetchRequestTopics::default()
                        })
                        .collect()
                }),
                ..OffsetFetchRequestGroup::default()
            });
        } else {
            group.clone_into(&mut request.group_id);
            request.topics = of.map(|_| {
                topics
                    .into_iter()
                    .map(|(name, partition_indexes)| OffsetFetchRequestTopic {
                        name: name.to_owned(),
                        partition_indexes,
                        ..OffsetFetchRequestTopic::default()
                    })
                    .collect()
            });
        }
        // Later versions name topics by id.
        let response = connection.call_up_to(9, &request).await?;
        let mut found = BTreeMap::new();
        ApiError::check(response.error_code, None)?;
        for topic in response.topics {
            for partition in topic.partitions {
                ApiError::check(partition.error_code, None)?;
                found.insert(
                    (topic.name.clone(), partition.partition_index),
                    partition.committed_offset,
                );
            }
        }
        for group in response.groups {
            ApiError::check(group.error_code, None)?;
            for topic in group.topics {
                for partition in topic.partitions {
                    ApiError::check(partition.error_code, None)?;
                    found.insert(
                        (topic.name.clone(), partition.partition_index),
                        partition.committed_offset,
                    );
                }
            }
        }
        Ok(found)
    }

    /// Reassignments under way, by topic and partition.
    pub async fn reassignments(
        &self,
    ) -> Result<BTreeMap<(String, i32), OngoingPartitionReassignment>, ApiError> {
        let request = ListPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms(),
            topics: None,
            ..ListPartitionReassignmentsRequest::default()
        };
        let response = self.controller(&request).await?;
        ApiError::check(response.error_code, response.error_message)?;
        Ok(response
            .topics
            .into_iter()
            .flat_map(|topic| {
                let name = topic.name;
                topic
                    .partitions
                    .into_iter()
                    .map(move |partition| ((name.clone(), partition.partition_index), partition))
            })
            .collect())
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let is_assigned = !topic.assignment.is_empty();
    CreatableTopic {
        name: topic.name.clone(),
        num_partitions: if is_assigned {
            -1
        } else {
            topic.partitions.unwrap_or(-1)
        },
        replication_factor: if is_assigned {
            -1
        } else {
            topic.replication_factor.unwrap_or(-1)
        },
        assignments: topic
            .assignment
            .iter()
            .zip(0..)
            .map(|(brokers, partition_index)| CreatableReplicaAssignment {
                partition_index,
                broker_ids: brokers.clone(),
                ..CreatableReplicaAssignment::default()
            })
            .collect(),
        configs: topic
            .configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig {
                name: name.clone(),
                value: Some(value.clone()),
                ..CreatableTopicConfig::default()
            })
            .collect(),
        ..CreatableTopic::default()
    }
}
