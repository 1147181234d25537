//! **Owns** offsets of logs, and deleting records.
//! **Lives on** the client's thread.
//! **Invariants** those of [`super`].
//! **Not here** what a command prints (`cli`).

use std::collections::BTreeMap;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use corelog_net::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use corelog_runtime::{now, sleep};

use super::Admin;
use crate::client::{ApiError, CallError};

/// What an offset is asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log's start.
    Earliest,
    /// The log's end.
    Latest,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// The start of what is on local disks (KIP-405).
    EarliestLocal,
    /// The end of what is in remote storage (KIP-1005).
    LatestTiered,
    /// The start of what is not yet in remote storage (KIP-1023).
    EarliestPendingUpload,
    /// The first record not older than this, in milliseconds since the epoch.
    Timestamp(i64),
}

impl OffsetSpec {
    fn number(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::EarliestLocal => -4,
            Self::LatestTiered => -5,
            Self::EarliestPendingUpload => -6,
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

impl Admin {
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
}
