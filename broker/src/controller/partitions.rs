//! Adding partitions to topics.
//!
//! **Owns** `CreatePartitions` (KIP-195).
//! **Lives on** shard 0.
//! **Invariants**: partitions only ever get more.
//! **Not here**: creating topics (`topics`).

use std::collections::BTreeSet;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};

use super::placement::{check_manual, new_partition, place};
use super::topics::duplicates;
use super::{Controller, Outcome, PARTITIONS_PER_REQUEST_MAX, refuse};
use crate::config::alter::Refusal;
use crate::metadata::MetadataRecord;

impl Controller<'_> {
    /// Decides on `CreatePartitions`.
    #[must_use]
    pub fn create_partitions(
        &self,
        request: &CreatePartitionsRequest,
    ) -> Outcome<CreatePartitionsResponse> {
        let mut records = Vec::new();
        let mut response = CreatePartitionsResponse::default();
        let twice = duplicates(request.topics.iter().map(|topic| topic.name.as_str()));
        let mut told = BTreeSet::new();
        for topic in &request.topics {
            let double = twice.contains(topic.name.as_str());
            if double && !told.insert(topic.name.as_str()) {
                continue;
            }
            let added = if double {
                Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    "Duplicate topic name.",
                ))
            } else {
                self.add_partitions(topic)
            };
            let mut result = CreatePartitionsTopicResult {
                name: topic.name.clone(),
                ..CreatePartitionsTopicResult::default()
            };
            match added {
                Ok(added) => records.extend(added),
                Err(refusal) => {
                    result.error_code = refusal.error.code();
                    result.error_message = refusal.message;
                }
            }
            response.results.push(result);
        }
        if request.validate_only {
            records.clear();
        }
        Outcome { records, response }
    }

    fn add_partitions(
        &self,
        wanted: &CreatePartitionsTopic,
    ) -> Result<Vec<MetadataRecord>, Refusal> {
        let Some(topic) = self.image.topic(&wanted.name) else {
            return Err(refuse(ErrorCode::UnknownTopicOrPartition));
        };
        let (name, count, now) = (&wanted.name, wanted.count, topic.partition_count());
        if count == now {
            let message = format!("Topic already has {now} partition(s).");
            return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
        }
        if count < now {
            let message = format!(
                "The topic {name} currently has {now} partition(s); {count} would not be an increase."
            );
            return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
        }
        let additional = usize::try_from(count - now).unwrap_or(0);
        if additional > PARTITIONS_PER_REQUEST_MAX {
            let message = "Excessively large number of partitions per request.";
            return Err(Refusal::new(ErrorCode::PolicyViolation, message));
        }
        let first = topic.partitions.len();
        let factor = topic
            .partitions
            .first()
            .map_or(1, |partition| partition.replicas.len());
        let replicas = match &wanted.assignments {
            Some(assignments) if assignments.len() != additional => {
                let message = format!(
                    "Attempted to add {additional} additional partition(s), but only {} \
                     assignment(s) were specified.",
                    assignments.len()
                );
                return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
            }
            Some(assignments) => {
                for assignment in assignments {
                    check_manual(self.image, &assignment.broker_ids, Some(factor))?;
                }
                assignments
                    .iter()
                    .map(|assignment| assignment.broker_ids.clone())
                    .collect()
            }
            None => place(self.image, first, additional, factor)?,
        };
        let numbered = (first..).zip(replicas);
        numbered
            .map(|(index, replicas)| {
                Ok(new_partition(self.image, topic.id, index, replicas)?.into())
            })
            .collect()
    }
}
