//! **Owns** groups: list, describe, delete, and their offsets.
//! **Lives on** the client's thread.
//! **Invariants** those of [`super`].
//! **Not here** what a command prints (`cli`).

use std::collections::BTreeMap;

use bytes::Bytes;
use corelog_net::wire::messages::consumer_group_describe::{
    self, ConsumerGroupDescribeRequest, Member,
};
use corelog_net::wire::messages::consumer_protocol_assignment::ConsumerProtocolAssignment;
use corelog_net::wire::messages::delete_groups::DeleteGroupsRequest;
use corelog_net::wire::messages::describe_groups::{DescribeGroupsRequest, DescribedGroup};
use corelog_net::wire::messages::describe_share_group_offsets::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup,
    DescribeShareGroupOffsetsResponsePartition,
};
use corelog_net::wire::messages::list_groups::{ListGroupsRequest, ListedGroup};
use corelog_net::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use corelog_net::wire::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use corelog_net::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use corelog_net::wire::messages::share_group_describe::{self, ShareGroupDescribeRequest};
use corelog_net::wire::messages::streams_group_describe::{self, StreamsGroupDescribeRequest};
use corelog_net::wire::{Budget, Decoder, ErrorCode, Message, Request};
use corelog_runtime::{now, sleep};

use super::Admin;
use crate::client::error::code_of;
use crate::client::{ApiError, Coordinates};

/// The protocol that a group's members speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    /// JoinGroup and SyncGroup.
    Classic,
    /// KIP-848.
    Consumer,
}

/// A consumer group, of either protocol.
#[derive(Clone, Debug)]
pub struct GroupDescription {
    /// Its id.
    pub id: String,
    /// Its protocol.
    pub kind: GroupKind,
    /// `Stable`, `Empty` and so on.
    pub state: String,
    /// The assignor agreed on; empty when there is none.
    pub assignor: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// Its epoch, and that of its target assignment (KIP-848).
    pub epochs: Option<(i32, i32)>,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a consumer group.
#[derive(Clone, Debug)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// `group.instance.id`.
    pub instance: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// What it reads now.
    pub assignment: Vec<(String, Vec<i32>)>,
    /// What it is to read (KIP-848).
    pub target: Option<Vec<(String, Vec<i32>)>>,
    /// Its epoch (KIP-848).
    pub epoch: Option<i32>,
    /// In a KIP-848 group: whether it speaks the classic protocol.
    pub is_classic: Option<bool>,
}

/// A committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next record to read.
    pub offset: i64,
    /// The epoch of the leader that it came from.
    pub leader_epoch: Option<i32>,
}

/// A group's results by topic and partition, or why there are none.
type PartitionCodes = BTreeMap<(String, i32), Result<(), ApiError>>;

impl Admin {
    /// The groups of all brokers, by name.
    pub async fn list_groups(&self) -> Result<Vec<ListedGroup>, ApiError> {
        let mut groups = self.list_some_groups(&[], &[]).await?;
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        Ok(groups)
    }

    /// The groups in these states and of these types (all where none are named), in the order of the answers.
    pub async fn list_some_groups(
        &self,
        states: &[String],
        types: &[String],
    ) -> Result<Vec<ListedGroup>, ApiError> {
        self.client.refresh().await?;
        let brokers: Vec<i32> = self.client.metadata().brokers().map(|b| b.id).collect();
        let request = ListGroupsRequest {
            states_filter: states.to_vec(),
            types_filter: types.to_vec(),
            ..ListGroupsRequest::default()
        };
        let mut groups = Vec::new();
        for broker in brokers {
            let until = now() + self.client.config().api_timeout;
            let response = loop {
                let response = self.client.call_node(broker, &request).await?;
                match ApiError::check(response.error_code, None) {
                    Ok(()) => break response,
                    Err(error) if error.is_retriable() && now() < until => {
                        sleep(self.client.config().retry_backoff).await;
                    }
                    Err(error) => return Err(error),
                }
            };
            groups.extend(response.groups);
        }
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

    /// Describes a consumer group of either protocol, as Kafka's clients do: the newer question first.
    pub async fn describe_consumer_group(&self, group: &str) -> Result<GroupDescription, ApiError> {
        let coordinator = self.client.coordinator(Coordinates::Group, group).await?;
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![group.to_owned()],
            ..ConsumerGroupDescribeRequest::default()
        };
        let answer = self
            .of_group(group, &request, |response| {
                response.groups.first().map_or(0, |group| group.error_code)
            })
            .await;
        match answer {
            Err(ApiError::Call(error)) if error.is_unsupported() => {}
            Err(error) => return Err(error),
            Ok(response) => {
                let described = response.groups.into_iter().next();
                let described =
                    described.ok_or_else(|| ApiError::code(ErrorCode::UnknownServerError))?;
                match ApiError::check(described.error_code, described.error_message.clone()) {
                    Ok(()) => return Ok(consumer_group(described, coordinator)),
                    // Perhaps it is a classic one.
                    Err(error)
                        if matches!(
                            error.refusal(),
                            Some(ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion)
                        ) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let described = self.describe_group(group).await?;
        classic_group(described, coordinator)
    }

    /// Describes a share group.
    pub async fn describe_share_group(
        &self,
        group: &str,
    ) -> Result<(i32, share_group_describe::DescribedGroup), ApiError> {
        let request = ShareGroupDescribeRequest {
            group_ids: vec![group.to_owned()],
            ..ShareGroupDescribeRequest::default()
        };
        let (coordinator, response) = self
            .ask_coordinator(group, &request, |response| {
                response.groups.first().map_or(0, |group| group.error_code)
            })
            .await?;
        let described = first(response.groups)?;
        ApiError::check(described.error_code, described.error_message.clone())?;
        Ok((coordinator, described))
    }

    /// Where a share group begins to read, of all its topics.
    pub async fn share_group_offsets(
        &self,
        group: &str,
    ) -> Result<Vec<(String, DescribeShareGroupOffsetsResponsePartition)>, ApiError> {
        let request = DescribeShareGroupOffsetsRequest {
            groups: vec![DescribeShareGroupOffsetsRequestGroup {
                group_id: group.to_owned(),
                topics: None,
                ..DescribeShareGroupOffsetsRequestGroup::default()
            }],
            ..DescribeShareGroupOffsetsRequest::default()
        };
        let response = self
            .of_group(group, &request, |response| {
                response.groups.first().map_or(0, |group| group.error_code)
            })
            .await?;
        let mut found = Vec::new();
        for group in response.groups {
            ApiError::check(group.error_code, group.error_message)?;
            for topic in group.topics {
                for partition in topic.partitions {
                    found.push((topic.topic_name.clone(), partition));
                }
            }
        }
        Ok(found)
    }

    /// Describes a streams group.
    pub async fn describe_streams_group(
        &self,
        group: &str,
    ) -> Result<(i32, streams_group_describe::DescribedGroup), ApiError> {
        let request = StreamsGroupDescribeRequest {
            group_ids: vec![group.to_owned()],
            ..StreamsGroupDescribeRequest::default()
        };
        let (coordinator, response) = self
            .ask_coordinator(group, &request, |response| {
                response.groups.first().map_or(0, |group| group.error_code)
            })
            .await?;
        let described = first(response.groups)?;
        ApiError::check(described.error_code, described.error_message.clone())?;
        Ok((coordinator, described))
    }

    /// [`Admin::of_group`], with who the coordinator is.
    async fn ask_coordinator<R: Request>(
        &self,
        group: &str,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<(i32, R::Response), ApiError> {
        let coordinator = self.client.coordinator(Coordinates::Group, group).await?;
        Ok((coordinator, self.of_group(group, request, code).await?))
    }

    /// Sets committed offsets of a group that nobody is a member of.
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &[(String, i32, CommittedOffset)],
    ) -> Result<PartitionCodes, ApiError> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (topic, partition, committed) in offsets {
            topics
                .entry(topic)
                .or_default()
                .push(OffsetCommitRequestPartition {
                    partition_index: *partition,
                    committed_offset: committed.offset,
                    committed_leader_epoch: committed.leader_epoch.unwrap_or(-1),
                    committed_metadata: Some(String::new()),
                    ..OffsetCommitRequestPartition::default()
                });
        }
        let request = OffsetCommitRequest {
            group_id: group.to_owned(),
            generation_id_or_member_epoch: -1,
            retention_time_ms: -1,
            topics: topics
                .into_iter()
                .map(|(name, partitions)| OffsetCommitRequestTopic {
                    name: name.to_owned(),
                    partitions,
                    ..OffsetCommitRequestTopic::default()
                })
                .collect(),
            ..OffsetCommitRequest::default()
        };
        let until = now() + self.client.config().api_timeout;
        loop {
            let node = self.client.coordinator(Coordinates::Group, group).await?;
            let connection = self.client.node(node).await?;
            // Later versions name topics by id.
            let response = connection.call_up_to(9, &request).await?;
            let mut results = BTreeMap::new();
            let mut again = false;
            for topic in response.topics {
                for partition in topic.partitions {
                    let code = code_of(partition.error_code);
                    again |= matches!(
                        code,
                        ErrorCode::NotCoordinator
                            | ErrorCode::CoordinatorNotAvailable
                            | ErrorCode::CoordinatorLoadInProgress
                    );
                    results.insert(
                        (topic.name.clone(), partition.partition_index),
                        ApiError::check(partition.error_code, None),
                    );
                }
            }
            if !again || now() >= until {
                return Ok(results);
            }
            sleep(self.client.config().retry_backoff).await;
        }
    }

    /// Deletes committed offsets.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        of: &[(String, i32)],
    ) -> Result<PartitionCodes, ApiError> {
        let mut topics: BTreeMap<&str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for (topic, partition) in of {
            topics
                .entry(topic)
                .or_default()
                .push(OffsetDeleteRequestPartition {
                    partition_index: *partition,
                });
        }
        let request = OffsetDeleteRequest {
            group_id: group.to_owned(),
            topics: topics
                .into_iter()
                .map(|(name, partitions)| OffsetDeleteRequestTopic {
                    name: name.to_owned(),
                    partitions,
                })
                .collect(),
        };
        let response = self
            .of_group(group, &request, |response| response.error_code)
            .await?;
        ApiError::check(response.error_code, None)?;
        let mut results = BTreeMap::new();
        for topic in response.topics {
            for partition in topic.partitions {
                results.insert(
                    (topic.name.clone(), partition.partition_index),
                    ApiError::check(partition.error_code, None),
                );
            }
        }
        Ok(results)
    }

    /// A group's committed offsets of these partitions, or of all when none are named; −1 for none.
    pub async fn group_offsets(
        &self,
        group: &str,
        of: Option<&[(String, i32)]>,
    ) -> Result<BTreeMap<(String, i32), i64>, ApiError> {
        let found = self.committed_offsets(group, of).await?;
        Ok(found
            .into_iter()
            .map(|(at, committed)| (at, committed.offset))
            .collect())
    }

    /// [`Admin::group_offsets`] with their leader epochs.
    pub async fn committed_offsets(
        &self,
        group: &str,
        of: Option<&[(String, i32)]>,
    ) -> Result<BTreeMap<(String, i32), CommittedOffset>, ApiError> {
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
    ) -> Result<BTreeMap<(String, i32), CommittedOffset>, ApiError> {
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
                    CommittedOffset {
                        offset: partition.committed_offset,
                        leader_epoch: Some(partition.committed_leader_epoch).filter(|it| *it >= 0),
                    },
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
                        CommittedOffset {
                            offset: partition.committed_offset,
                            leader_epoch: Some(partition.committed_leader_epoch)
                                .filter(|it| *it >= 0),
                        },
                    );
                }
            }
        }
        Ok(found)
    }
}

/// The one group that was asked for.
fn first<G>(groups: Vec<G>) -> Result<G, ApiError> {
    let first = groups.into_iter().next();
    first.ok_or_else(|| ApiError::code(ErrorCode::UnknownServerError))
}

fn consumer_group(
    group: consumer_group_describe::DescribedGroup,
    coordinator: i32,
) -> GroupDescription {
    let partitions = |assignment: &consumer_group_describe::Assignment| {
        assignment
            .topic_partitions
            .iter()
            .map(|topic| (topic.topic_name.clone(), topic.partitions.clone()))
            .collect::<Vec<_>>()
    };
    GroupDescription {
        id: group.group_id,
        kind: GroupKind::Consumer,
        state: group.group_state,
        assignor: group.assignor_name,
        coordinator,
        epochs: Some((group.group_epoch, group.assignment_epoch)),
        members: group
            .members
            .into_iter()
            .map(|member: Member| GroupMember {
                assignment: partitions(&member.assignment),
                target: Some(partitions(&member.target_assignment)),
                id: member.member_id,
                instance: member.instance_id,
                client_id: member.client_id,
                host: member.client_host,
                epoch: Some(member.member_epoch),
                is_classic: (member.member_type >= 0).then_some(member.member_type == 0),
            })
            .collect(),
    }
}

fn classic_group(group: DescribedGroup, coordinator: i32) -> Result<GroupDescription, ApiError> {
    if !group.protocol_type.is_empty() && group.protocol_type != "consumer" {
        return Err(ApiError::Refused {
            code: ErrorCode::InvalidGroupId,
            message: Some(format!(
                "GroupId {} is not a consumer group ({}).",
                group.group_id, group.protocol_type
            )),
        });
    }
    Ok(GroupDescription {
        id: group.group_id,
        kind: GroupKind::Classic,
        state: group.group_state,
        assignor: group.protocol_data,
        coordinator,
        epochs: None,
        members: group
            .members
            .into_iter()
            .map(|member| GroupMember {
                assignment: assigned(&member.member_assignment),
                target: None,
                id: member.member_id,
                instance: member.group_instance_id,
                client_id: member.client_id,
                host: member.client_host,
                epoch: None,
                is_classic: None,
            })
            .collect(),
    })
}

/// What a classic member was assigned; nothing where its leader wrote what we cannot read.
fn assigned(bytes: &Bytes) -> Vec<(String, Vec<i32>)> {
    let Some((version, rest)) = bytes.split_first_chunk::<2>() else {
        return Vec::new();
    };
    let version = i16::from_be_bytes(*version).clamp(0, 3);
    let rest = bytes.slice_ref(rest);
    let mut budget = Budget::for_frame(rest.len());
    ConsumerProtocolAssignment::decode(&mut Decoder::new(&rest, &mut budget), version)
        .map(|assignment| {
            assignment
                .assigned_partitions
                .into_iter()
                .map(|topic| (topic.topic, topic.partitions))
                .collect()
        })
        .unwrap_or_default()
}
