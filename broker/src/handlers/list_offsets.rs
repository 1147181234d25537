//! ListOffsets (key 2): earliest, latest, by timestamp, the record with the largest timestamp.
//!
//! Versions: v1 one offset · v2 isolation · v4 leader epoch · v7 max timestamp (KIP-734) · v8 earliest
//! local (KIP-405) · v9 latest tiered (KIP-1005) · v11 earliest pending upload (KIP-1023). There is no
//! tiered storage: local is everything, tiered is nothing.
//!
//! Owns: the wire's special timestamps.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the lookups (`partition/lookup.rs`).

use std::collections::BTreeSet;
use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use corelog_storage::types::{LeaderEpoch, Timestamp};

use crate::handlers::Context;
use crate::partition::lookup::{Asked, Looked, Question};
use crate::partition::read::Isolation;
use crate::shard::Shard;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// What a timestamp of the request asks for; `Ok(None)`: the answer is "no such offset".
fn question(
    timestamp: i64,
    version: i16,
    isolation: Isolation,
) -> Result<Option<Question>, ErrorCode> {
    let since = |first: i16, question| {
        if version >= first {
            Ok(question)
        } else {
            Err(ErrorCode::UnsupportedVersion)
        }
    };
    match timestamp {
        LATEST => Ok(Some(Question::Latest(isolation))),
        EARLIEST => Ok(Some(Question::Earliest)),
        MAX_TIMESTAMP => since(7, Some(Question::MaxTimestamp)),
        EARLIEST_LOCAL => since(8, Some(Question::Earliest)),
        LATEST_TIERED => since(9, None),
        EARLIEST_PENDING_UPLOAD => since(11, None),
        at if at >= 0 => Ok(Some(Question::AtTimestamp(Timestamp(at), isolation))),
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let isolation = Isolation::of(request.isolation_level);
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for topic in &request.topics {
        for part in &topic.partitions {
            let key = (topic.name.as_str(), part.partition_index);
            if !seen.insert(key) {
                twice.insert(key);
            }
        }
    }
    let mut questions = Vec::new();
    let mut places = Vec::new();
    for topic in &request.topics {
        for part in &topic.partitions {
            let partition = part.partition_index;
            places.push(match question(part.timestamp, context.version, isolation) {
                _ if twice.contains(&(topic.name.as_str(), partition)) => {
                    Err(ErrorCode::InvalidRequest)
                }
                Err(error) => Err(error),
                Ok(None) => Err(ErrorCode::None),
                Ok(Some(question)) => {
                    questions.push(Asked {
                        topic: &topic.name,
                        partition,
                        current_leader_epoch: LeaderEpoch(part.current_leader_epoch),
                        question,
                    });
                    Ok(questions.len() - 1)
                }
            });
        }
    }
    let answers = shard.ask(&questions).await;
    let mut places = places.into_iter();
    let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|part| {
                let looked = match places.next() {
                    Some(Ok(answer)) => answers[answer],
                    Some(Err(error)) => Looked::refused(error),
                    None => Looked::refused(ErrorCode::UnknownServerError),
                };
                ListOffsetsPartitionResponse {
                    partition_index: part.partition_index,
                    error_code: looked.error.code(),
                    timestamp: looked.timestamp,
                    offset: looked.offset,
                    // Before v4 the field is not there and must have its default.
                    leader_epoch: if context.version >= 4 {
                        looked.leader_epoch
                    } else {
                        -1
                    },
                    ..Default::default()
                }
            })
            .collect(),
        ..Default::default()
    });
    ListOffsetsResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}
