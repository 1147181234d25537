//! **Owns** where replicas and leaders are, and moving them: reassignments, elections, log directories.
//! **Lives on** the client's thread.
//! **Invariants** those of [`super`].
//! **Not here** what a command prints (`cli`).

use std::collections::BTreeMap;

use corelog_net::wire::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use corelog_net::wire::messages::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use corelog_net::wire::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResult,
};
use corelog_net::wire::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use corelog_net::wire::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, OngoingPartitionReassignment,
};

use super::Admin;
use crate::client::ApiError;

/// Who may become leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Election {
    /// The first replica.
    Preferred = 0,
    /// A replica that may lack records, where no other is there.
    Unclean = 1,
}

/// Results by topic and partition, in the order of the answer.
type PerPartition = Vec<((String, i32), Result<(), ApiError>)>;

impl Admin {
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

    /// Moves partitions to these replicas; none cancels a move.
    pub async fn reassign(
        &self,
        wanted: &[(String, i32, Option<Vec<i32>>)],
        may_change_factor: bool,
    ) -> Result<PerPartition, ApiError> {
        let mut topics: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
        for (topic, partition, replicas) in wanted {
            topics
                .entry(topic)
                .or_default()
                .push(ReassignablePartition {
                    partition_index: *partition,
                    replicas: replicas.clone(),
                    ..ReassignablePartition::default()
                });
        }
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms(),
            allow_replication_factor_change: may_change_factor,
            topics: topics
                .into_iter()
                .map(|(name, partitions)| ReassignableTopic {
                    name: name.to_owned(),
                    partitions,
                    ..ReassignableTopic::default()
                })
                .collect(),
            ..AlterPartitionReassignmentsRequest::default()
        };
        let response = self.controller(&request).await?;
        ApiError::check(response.error_code, response.error_message)?;
        let mut results = Vec::new();
        for topic in response.responses {
            for partition in topic.partitions {
                results.push((
                    (topic.name.clone(), partition.partition_index),
                    ApiError::check(partition.error_code, partition.error_message),
                ));
            }
        }
        Ok(results)
    }

    /// Elects leaders of these partitions, or of all that need one.
    pub async fn elect_leaders(
        &self,
        kind: Election,
        of: Option<&[(String, i32)]>,
    ) -> Result<PerPartition, ApiError> {
        let topic_partitions = of.map(|of| {
            let mut topics: Vec<TopicPartitions> = Vec::new();
            for (topic, partition) in of {
                match topics.iter_mut().find(|it| it.topic == *topic) {
                    Some(it) => it.partitions.push(*partition),
                    None => topics.push(TopicPartitions {
                        topic: topic.clone(),
                        partitions: vec![*partition],
                        ..TopicPartitions::default()
                    }),
                }
            }
            topics
        });
        let request = ElectLeadersRequest {
            election_type: kind as i8,
            topic_partitions,
            timeout_ms: self.timeout_ms(),
            ..ElectLeadersRequest::default()
        };
        let response = self.controller(&request).await?;
        ApiError::check(response.error_code, None)?;
        let mut results = Vec::new();
        for topic in response.replica_election_results {
            for partition in topic.partition_result {
                results.push((
                    (topic.topic.clone(), partition.partition_id),
                    ApiError::check(partition.error_code, partition.error_message),
                ));
            }
        }
        Ok(results)
    }

    /// The log directories of a broker, and what of these partitions (all when none are named) is in them.
    pub async fn log_dirs(
        &self,
        broker: i32,
        of: Option<&[(String, i32)]>,
    ) -> Result<Vec<DescribeLogDirsResult>, ApiError> {
        let topics = of.map(|of| {
            let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
            for (topic, partition) in of {
                topics.entry(topic).or_default().push(*partition);
            }
            topics
                .into_iter()
                .map(|(topic, partitions)| DescribableLogDirTopic {
                    topic: topic.to_owned(),
                    partitions,
                    ..DescribableLogDirTopic::default()
                })
                .collect()
        });
        let request = DescribeLogDirsRequest {
            topics,
            ..DescribeLogDirsRequest::default()
        };
        let response = self.node(broker, &request).await?;
        ApiError::check(response.error_code, None)?;
        Ok(response.results)
    }

    /// Moves replicas of a broker to other directories.
    pub async fn alter_log_dirs(
        &self,
        broker: i32,
        moves: &[(String, i32, String)],
    ) -> Result<PerPartition, ApiError> {
        let mut dirs: BTreeMap<&str, BTreeMap<&str, Vec<i32>>> = BTreeMap::new();
        for (topic, partition, path) in moves {
            let topics = dirs.entry(path).or_default();
            topics.entry(topic).or_default().push(*partition);
        }
        let request = AlterReplicaLogDirsRequest {
            dirs: dirs
                .into_iter()
                .map(|(path, topics)| AlterReplicaLogDir {
                    path: path.to_owned(),
                    topics: topics
                        .into_iter()
                        .map(|(name, partitions)| AlterReplicaLogDirTopic {
                            name: name.to_owned(),
                            partitions,
                            ..AlterReplicaLogDirTopic::default()
                        })
                        .collect(),
                    ..AlterReplicaLogDir::default()
                })
                .collect(),
            ..AlterReplicaLogDirsRequest::default()
        };
        let response = self.node(broker, &request).await?;
        let mut results = Vec::new();
        for topic in response.results {
            for partition in topic.partitions {
                results.push((
                    (topic.topic_name.clone(), partition.partition_index),
                    ApiError::check(partition.error_code, None),
                ));
            }
        }
        Ok(results)
    }
}
