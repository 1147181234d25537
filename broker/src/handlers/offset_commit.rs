//! `OffsetCommit` (key 8): offsets to keep.
//!
//! Versions: v5 no retention time of its own (KIP-211) · v6 leader epoch · v7 static members · v9 KIP-848 groups
//! (`GROUP_ID_NOT_FOUND`) · v10 topic ids (KIP-848).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`).

use std::rc::Rc;

use corelog_net::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use corelog_net::wire::{ErrorCode, Uuid};

use crate::group::{
    CommitPartition, CommitTopic, CommittedTopic, GroupError, OffsetCommit, Reply, Request,
};
use crate::handlers::{Context, groups};
use crate::metadata::Image;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    mut request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let (mut response, topics) = sort_out(
        &shard.image(),
        context.version,
        std::mem::take(&mut request.topics),
    );
    if topics.is_empty() {
        return response;
    }
    let question = Request::OffsetCommit(OffsetCommit {
        group_id: request.group_id,
        generation_id: request.generation_id_or_member_epoch,
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        retention_ms: request.retention_time_ms,
        knows_group_id_not_found: context.version >= 9,
        knows_member_epochs: context.version >= 9,
        topics,
    });
    match groups::ask(&shard, question).await {
        Some(Reply::OffsetCommit(committed)) => fill_in(&mut response, &committed),
        _ => refuse_pending(&mut response, groups::code(GroupError::NotCoordinator)),
    }
    response
}

/// Stands in the response where the coordinator has not spoken yet. No code of Kafka's.
pub(super) const PENDING: i16 = i16::MAX;

/// The response with what the metadata refuses, and what is left for the coordinator.
pub(super) fn sort_out(
    image: &Image,
    version: i16,
    asked: Vec<OffsetCommitRequestTopic>,
) -> (OffsetCommitResponse, Vec<CommitTopic>) {
    let (mut answered, mut topics) = (Vec::with_capacity(asked.len()), Vec::new());
    for topic in asked {
        let by_id = version >= 10;
        let known = if by_id {
            image.topic_by_id(topic.topic_id)
        } else {
            image.topic(&topic.name)
        };
        let mut commits = Vec::with_capacity(topic.partitions.len());
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for commit in topic.partitions {
            let partition = commit.partition_index;
            let error_code = match known {
                Some(known) if known.partition(partition).is_some() => {
                    commits.push(CommitPartition {
                        partition,
                        offset: commit.committed_offset,
                        leader_epoch: commit.committed_leader_epoch,
                        metadata: commit.committed_metadata,
                    });
                    PENDING
                }
                None if by_id => ErrorCode::UnknownTopicId.code(),
                _ => ErrorCode::UnknownTopicOrPartition.code(),
            };
            partitions.push(OffsetCommitResponsePartition {
                partition_index: partition,
                error_code,
                ..Default::default()
            });
        }
        if let Some(known) = known.filter(|_| !commits.is_empty()) {
            topics.push(CommitTopic {
                name: known.name.to_string(),
                topic_id: known.id.0,
                partitions: commits,
            });
        }
        let topic_id = if by_id { topic.topic_id } else { Uuid::ZERO };
        answered.push(OffsetCommitResponseTopic {
            name: topic.name,
            topic_id,
            partitions,
            ..Default::default()
        });
    }
    (
        OffsetCommitResponse {
            topics: answered,
            ..Default::default()
        },
        topics,
    )
}

/// The coordinator's verdicts come in the order of what it was asked.
pub(super) fn fill_in(response: &mut OffsetCommitResponse, committed: &[CommittedTopic]) {
    let verdicts = committed.iter().flat_map(|topic| &topic.partitions);
    let pending = response
        .topics
        .iter_mut()
        .flat_map(|topic| &mut topic.partitions);
    let pending = pending.filter(|partition| partition.error_code == PENDING);
    for (partition, (_, error)) in pending.zip(verdicts) {
        partition.error_code = groups::code(*error);
    }
    refuse_pending(response, groups::code(GroupError::Unknown));
}

/// The same code where the coordinator has not spoken.
pub(super) fn refuse_pending(response: &mut OffsetCommitResponse, error_code: i16) {
    for partition in response
        .topics
        .iter_mut()
        .flat_map(|topic| &mut topic.partitions)
    {
        if partition.error_code == PENDING {
            partition.error_code = error_code;
        }
    }
}
