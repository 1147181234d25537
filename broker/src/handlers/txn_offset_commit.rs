//! `TxnOffsetCommit` (key 28): offsets to keep if the transaction commits.
//!
//! Versions: v3 flexible, member and generation (KIP-447) · v4 `TRANSACTION_ABORTABLE` · v5 adds the group to the
//! transaction by itself (KIP-890).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`, `txn.rs`).

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use corelog_net::wire::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use corelog_storage::producer::Guard;
use corelog_storage::types::{ProducerEpoch, ProducerId, Sequence, TopicId};

use crate::group::{self, OFFSETS_TOPIC, OffsetCommit, Reply, TxnOffsetCommit};
use crate::handlers::offset_commit::{fill_in, refuse_pending, sort_out};
use crate::handlers::transactions::{Support, Wanted, is_unchecked, vouch};
use crate::handlers::{Context, groups};
use crate::shard::Shard;
use crate::shard::verify::Unverified;

/// The version of `OffsetCommit` that names topics and knows everything else that this API knows.
const LIKE_OFFSET_COMMIT: i16 = 9;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    mut request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let topics = std::mem::take(&mut request.topics).into_iter().map(topic);
    let (mut response, topics) = sort_out(&shard.image(), LIKE_OFFSET_COMMIT, topics.collect());
    if topics.is_empty() {
        return answer(response);
    }
    let guard = match word(&shard, context.version, &request).await {
        Ok(guard) => guard,
        Err(error) => {
            refuse_pending(&mut response, error.code());
            return answer(response);
        }
    };
    let question = group::Request::TxnOffsetCommit(Box::new(TxnOffsetCommit {
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
        guard,
        commit: OffsetCommit {
            group_id: request.group_id,
            generation_id: request.generation_id,
            member_id: request.member_id,
            instance_id: request.group_instance_id,
            retention_ms: -1,
            knows_group_id_not_found: false,
            knows_member_epochs: true,
            topics,
        },
    }));
    match groups::ask(&shard, question).await {
        Some(Reply::OffsetCommit(committed)) => fill_in(&mut response, &committed),
        _ => refuse_pending(&mut response, ErrorCode::NotCoordinator.code()),
    }
    answer(response)
}

/// What the transaction coordinator says to offsets of this group in the transaction.
async fn word(
    shard: &Rc<Shard>,
    version: i16,
    request: &TxnOffsetCommitRequest,
) -> Result<Option<Guard>, ErrorCode> {
    let support = match version {
        ..=3 => Support::Plain,
        4 => Support::Abortable,
        _ => Support::Adding,
    };
    if is_unchecked(shard, support) {
        return Ok(None);
    }
    let image = shard.image();
    let topic = image.topic(OFFSETS_TOPIC);
    let topic = topic.ok_or(ErrorCode::CoordinatorNotAvailable)?;
    let wanted = Wanted {
        topic: OFFSETS_TOPIC.into(),
        question: Unverified {
            topic_id: TopicId(topic.id.0),
            partition: group::partition_for(&request.group_id, topic.partition_count()),
            producer_id: ProducerId(request.producer_id),
            producer_epoch: ProducerEpoch(request.producer_epoch),
            sequence: Sequence::NONE,
            version: support.version().of_storage(),
        },
    };
    let verdict = vouch(shard, &request.transactional_id, support, &[wanted]).await;
    match verdict.into_iter().next() {
        Some(Ok(guard)) => Ok(Some(guard)),
        // Not the replicas of the offsets: the coordinator could not be asked.
        Some(Err(ErrorCode::NotEnoughReplicas)) | None => Err(ErrorCode::CoordinatorNotAvailable),
        Some(Err(error)) => Err(error),
    }
}

fn topic(topic: TxnOffsetCommitRequestTopic) -> OffsetCommitRequestTopic {
    let partitions = topic.partitions.into_iter();
    OffsetCommitRequestTopic {
        name: topic.name,
        partitions: partitions
            .map(|partition| OffsetCommitRequestPartition {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                committed_metadata: partition.committed_metadata,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn answer(response: OffsetCommitResponse) -> TxnOffsetCommitResponse {
    let topics = response.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter();
        TxnOffsetCommitResponseTopic {
            name: topic.name,
            partitions: partitions
                .map(|partition| TxnOffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: partition.error_code,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }
    });
    TxnOffsetCommitResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}
