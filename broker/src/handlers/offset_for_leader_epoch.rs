//! OffsetForLeaderEpoch (key 23): where an epoch ends (KIP-101, KIP-320).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the epochs (`corelog_storage::epochs`).

use std::rc::Rc;

use corelog_net::wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
};
use corelog_storage::types::LeaderEpoch;

use crate::handlers::Context;
use crate::partition::lookup::{Asked, Question};
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut questions = Vec::new();
    for topic in &request.topics {
        questions.extend(topic.partitions.iter().map(|part| Asked {
            topic: &topic.topic,
            partition: part.partition,
            current_leader_epoch: LeaderEpoch(part.current_leader_epoch),
            question: Question::EpochEnd(LeaderEpoch(part.leader_epoch)),
        }));
    }
    let mut answers = shard.ask(&questions).await.into_iter();
    let topics = request
        .topics
        .iter()
        .map(|topic| OffsetForLeaderTopicResult {
            topic: topic.topic.clone(),
            partitions: topic
                .partitions
                .iter()
                .zip(answers.by_ref())
                .map(|(part, looked)| EpochEndOffset {
                    error_code: looked.error.code(),
                    partition: part.partition,
                    leader_epoch: looked.leader_epoch,
                    end_offset: looked.offset,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
    OffsetForLeaderEpochResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}
