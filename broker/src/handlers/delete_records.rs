//! DeleteRecords (key 21): moves log start offsets up (KIP-107).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the log start offset (`corelog_storage::log`).

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};
use corelog_storage::types::{LeaderEpoch, Offset};

use crate::handlers::Context;
use crate::partition::lookup::{Asked, Looked, Question};
use crate::shard::Shard;

/// "Everything below the high watermark."
const HIGH_WATERMARK: i64 = -1;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let image = shard.image();
    let mut questions = Vec::new();
    for topic in &request.topics {
        questions.extend(topic.partitions.iter().map(|part| Asked {
            topic: &topic.name,
            partition: part.partition_index,
            current_leader_epoch: LeaderEpoch::NONE,
            question: Question::DeleteBefore(
                (part.offset != HIGH_WATERMARK).then_some(Offset(part.offset)),
            ),
        }));
    }
    let refusal = |topic: &str| {
        let known = image.topic(topic)?;
        if known.is_internal() {
            return Some(ErrorCode::InvalidTopicException);
        }
        (!shard.topic_config(known).delete).then_some(ErrorCode::PolicyViolation)
    };
    let refused: Vec<_> = questions.iter().map(|asked| refusal(asked.topic)).collect();
    let allowed: Vec<_> = questions
        .iter()
        .zip(&refused)
        .filter(|(_, refused)| refused.is_none())
        .map(|(asked, _)| *asked)
        .collect();
    let mut answers = shard.ask(&allowed).await.into_iter();
    let mut refused = refused.into_iter();
    let topics = request.topics.iter().map(|topic| DeleteRecordsTopicResult {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|part| {
                let looked = match refused.next().flatten() {
                    Some(error) => Looked::refused(error),
                    None => answers
                        .next()
                        .unwrap_or(Looked::refused(ErrorCode::UnknownServerError)),
                };
                DeleteRecordsPartitionResult {
                    partition_index: part.partition_index,
                    low_watermark: looked.offset,
                    error_code: looked.error.code(),
                    ..Default::default()
                }
            })
            .collect(),
        ..Default::default()
    });
    DeleteRecordsResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}
