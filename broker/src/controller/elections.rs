//! Electing leaders on request.
//!
//! **Owns** `ElectLeaders` (KIP-460).
//! **Lives on** shard 0.
//! **Invariants**: a preferred election never leaves the in-sync replicas.
//! **Not here**: elections after a broker came or went.

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use corelog_net::wire::records::PartitionChangeRecord;

use super::placement::usable;
use super::{Controller, Outcome, refuse};
use crate::config::alter::Refusal;
use crate::metadata::image::RECOVERY_UNCHANGED;
use crate::metadata::{MetadataRecord, PartitionImage};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Election {
    Preferred,
    Unclean,
}

impl Controller<'_> {
    /// Decides on `ElectLeaders`.
    #[must_use]
    pub fn elect_leaders(&self, request: &ElectLeadersRequest) -> Outcome<ElectLeadersResponse> {
        let election = match request.election_type {
            0 => Ok(Election::Preferred),
            1 => Ok(Election::Unclean),
            other => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("Unknown election type {other}"),
            )),
        };
        let all = request.topic_partitions.is_none();
        let asked: Vec<(String, Vec<i32>)> = match &request.topic_partitions {
            Some(topics) => topics
                .iter()
                .map(|topic| (topic.topic.clone(), topic.partitions.clone()))
                .collect(),
            None => self
                .image
                .topics_sorted()
                .into_iter()
                .map(|topic| {
                    (
                        topic.name.to_string(),
                        (0..topic.partition_count()).collect(),
                    )
                })
                .collect(),
        };
        let mut records = Vec::new();
        let mut response = ElectLeadersResponse::default();
        if let Err(refusal) = &election {
            response.error_code = refusal.error.code();
        }
        for (topic, partitions) in asked {
            let mut results = Vec::new();
            for partition_id in partitions {
                let elected = election
                    .clone()
                    .and_then(|election| self.elect(&topic, partition_id, election));
                let unneeded = |refusal: &Refusal| refusal.error == ErrorCode::ElectionNotNeeded;
                if all && elected.as_ref().is_err_and(unneeded) {
                    continue;
                }
                let mut result = PartitionResult {
                    partition_id,
                    ..PartitionResult::default()
                };
                match elected {
                    Ok(record) => records.push(record),
                    Err(refusal) => {
                        result.error_code = refusal.error.code();
                        result.error_message = refusal.message;
                    }
                }
                results.push(result);
            }
            if !(all && results.is_empty()) {
                let partition_result = results;
                let result = ReplicaElectionResult {
                    topic,
                    partition_result,
                    ..Default::default()
                };
                response.replica_election_results.push(result);
            }
        }
        Outcome { records, response }
    }

    fn elect(&self, name: &str, index: i32, election: Election) -> Result<MetadataRecord, Refusal> {
        let unknown = |message| Refusal::new(ErrorCode::UnknownTopicOrPartition, message);
        let topic = self
            .image
            .topic(name)
            .ok_or_else(|| unknown(format!("No such topic as {name}")))?;
        let partition = topic
            .partition(index)
            .ok_or_else(|| unknown(format!("No such partition as {name}-{index}")))?;
        let leader = self.candidate(partition, election)?;
        let change = PartitionChangeRecord {
            partition_id: index,
            topic_id: topic.id,
            leader,
            isr: Some(vec![leader]).filter(|_| !partition.isr.contains(&leader)),
            leader_recovery_state: if partition.isr.contains(&leader) {
                RECOVERY_UNCHANGED
            } else {
                1
            },
            ..PartitionChangeRecord::default()
        };
        Ok(change.into())
    }

    fn candidate(&self, partition: &PartitionImage, election: Election) -> Result<i32, Refusal> {
        let in_sync = |id: &&i32| partition.isr.contains(id);
        let able = usable(self.image, &partition.replicas);
        match election {
            Election::Preferred => match partition.replicas.first() {
                Some(preferred) if partition.leader == *preferred => Err(Refusal::new(
                    ErrorCode::ElectionNotNeeded,
                    ErrorCode::ElectionNotNeeded.message(),
                )),
                Some(preferred) if able.contains(preferred) && in_sync(&preferred) => {
                    Ok(*preferred)
                }
                _ => Err(refuse(ErrorCode::PreferredLeaderNotAvailable)),
            },
            Election::Unclean if partition.leader >= 0 => Err(Refusal::new(
                ErrorCode::ElectionNotNeeded,
                ErrorCode::ElectionNotNeeded.message(),
            )),
            Election::Unclean => able
                .iter()
                .find(in_sync)
                .or(able.first())
                .copied()
                .ok_or_else(|| refuse(ErrorCode::EligibleLeadersNotAvailable)),
        }
    }
}
