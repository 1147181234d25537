//! Moving partitions between brokers.
//!
//! **Owns** `AlterPartitionReassignments` and `ListPartitionReassignments` (KIP-455) as far as one
//! node can go: reordering and refusing. Brokers that could take a replica come with clusters.
//! **Lives on** shard 0.
//! **Invariants**: no reassignment is begun that nobody could finish.
//! **Not here**: moves between directories of one broker.

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use corelog_net::wire::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use corelog_net::wire::records::PartitionChangeRecord;

use super::placement::{check_manual, usable};
use super::{Controller, Outcome, refuse};
use crate::config::alter::Refusal;
use crate::metadata::image::{LEADER_UNCHANGED, RECOVERY_UNCHANGED};
use crate::metadata::{MetadataRecord, PartitionImage, TopicImage};

impl Controller<'_> {
    /// Decides on `AlterPartitionReassignments`.
    #[must_use]
    pub fn alter_reassignments(
        &self,
        request: &AlterPartitionReassignmentsRequest,
    ) -> Outcome<AlterPartitionReassignmentsResponse> {
        let mut records = Vec::new();
        let mut response = AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: request.allow_replication_factor_change,
            error_message: None,
            ..AlterPartitionReassignmentsResponse::default()
        };
        for topic in &request.topics {
            let mut answered = ReassignableTopicResponse {
                name: topic.name.clone(),
                ..ReassignableTopicResponse::default()
            };
            for partition in &topic.partitions {
                let resize = request.allow_replication_factor_change;
                let mut result = ReassignablePartitionResponse {
                    partition_index: partition.partition_index,
                    error_message: None,
                    ..ReassignablePartitionResponse::default()
                };
                match self.reassign(&topic.name, partition, resize) {
                    Ok(record) => records.extend(record),
                    Err(refusal) => {
                        result.error_code = refusal.error.code();
                        result.error_message = refusal.message;
                    }
                }
                answered.partitions.push(result);
            }
            response.responses.push(answered);
        }
        Outcome { records, response }
    }

    fn reassign(
        &self,
        name: &str,
        wanted: &ReassignablePartition,
        resize: bool,
    ) -> Result<Option<MetadataRecord>, Refusal> {
        let unknown = |message| Refusal::new(ErrorCode::UnknownTopicOrPartition, message);
        let index = wanted.partition_index;
        let topic = self
            .image
            .topic(name)
            .ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
        let partition = topic
            .partition(index)
            .ok_or_else(|| unknown(format!("Unable to find partition {name}:{index}.")))?;
        let Some(replicas) = &wanted.replicas else {
            return Err(refuse(ErrorCode::NoReassignmentInProgress));
        };
        check_manual(self.image, replicas, None)?;
        if !resize && replicas.len() != partition.replicas.len() {
            let (before, after) = (partition.replicas.len(), replicas.len());
            let message = format!("The replication factor is changed from {before} to {after}");
            return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
        }
        self.reorder(topic, index, partition, replicas)
    }

    /// The same replicas in another order need no copying.
    fn reorder(
        &self,
        topic: &TopicImage,
        index: i32,
        partition: &PartitionImage,
        replicas: &[i32],
    ) -> Result<Option<MetadataRecord>, Refusal> {
        let same = replicas.len() == partition.replicas.len()
            && replicas.iter().all(|id| partition.replicas.contains(id));
        if !same {
            let able = usable(self.image, replicas);
            let unable = replicas.iter().find(|id| !able.contains(id)).copied();
            let message = match unable {
                Some(id) => format!("Broker {id} is fenced and cannot take a replica."),
                None => "Replicas cannot be copied between brokers yet.".to_owned(),
            };
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        if replicas == partition.replicas {
            return Ok(None);
        }
        let directory = |id: &i32| partition.directory(*id).unwrap_or_default();
        let change = PartitionChangeRecord {
            partition_id: index,
            topic_id: topic.id,
            replicas: Some(replicas.to_vec()),
            directories: Some(replicas.iter().map(directory).collect()),
            leader: LEADER_UNCHANGED,
            leader_recovery_state: RECOVERY_UNCHANGED,
            ..PartitionChangeRecord::default()
        };
        Ok(Some(change.into()))
    }

    /// Answers `ListPartitionReassignments`: what an adopted cluster had begun.
    #[must_use]
    pub fn list_reassignments(
        &self,
        request: &ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse {
        let topics: Vec<(&TopicImage, Option<&[i32]>)> = match &request.topics {
            None => self
                .image
                .topics_sorted()
                .into_iter()
                .map(|it| (it.as_ref(), None))
                .collect(),
            Some(asked) => asked
                .iter()
                .filter_map(|asked| {
                    let topic = self.image.topic(&asked.name)?;
                    Some((topic.as_ref(), Some(asked.partition_indexes.as_slice())))
                })
                .collect(),
        };
        let ongoing = |(topic, asked): (&TopicImage, Option<&[i32]>)| {
            let partitions: Vec<_> = topic
                .numbered()
                .filter(|(index, _)| asked.is_none_or(|asked| asked.contains(index)))
                .filter(|(_, it)| {
                    !(it.adding_replicas.is_empty() && it.removing_replicas.is_empty())
                })
                .map(|(partition_index, it)| OngoingPartitionReassignment {
                    partition_index,
                    replicas: it.replicas.clone(),
                    adding_replicas: it.adding_replicas.clone(),
                    removing_replicas: it.removing_replicas.clone(),
                    ..OngoingPartitionReassignment::default()
                })
                .collect();
            let name = topic.name.to_string();
            let some = !partitions.is_empty();
            some.then_some(OngoingTopicReassignment {
                name,
                partitions,
                ..Default::default()
            })
        };
        ListPartitionReassignmentsResponse {
            error_message: None,
            topics: topics.into_iter().filter_map(ongoing).collect(),
            ..ListPartitionReassignmentsResponse::default()
        }
    }
}
