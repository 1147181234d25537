//! **Owns** topics: create, grow, delete, list, describe.
//! **Lives on** the client's thread.
//! **Invariants** those of [`super`].
//! **Not here** what a command prints (`cli`).

use corelog_net::wire::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use corelog_net::wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use corelog_net::wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use corelog_net::wire::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, RequestCursor, TopicRequest,
};
use corelog_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use corelog_net::wire::{ErrorCode, Uuid};

use super::Admin;
use crate::client::{ApiError, about_topic};

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

impl Admin {
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
        let described = self.describe_by_metadata(&about_topic(id)).await?;
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
