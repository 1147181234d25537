//! `OffsetDelete` (key 47): committed offsets to forget (KIP-496).
//!
//! Versions: one.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`).

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};

use crate::group::{CommittedTopic, FetchTopic, GroupError, OffsetDelete, Reply, Request};
use crate::handlers::{Context, groups};
use crate::metadata::Image;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let (topics, unknown) = sort_out(&shard.image(), &request);
    let question = Request::OffsetDelete(OffsetDelete {
        group_id: request.group_id,
        topics,
    });
    match groups::ask(&shard, question).await {
        Some(Reply::OffsetDelete(deleted)) => answer(deleted, unknown),
        _ => answer(Err(GroupError::NotCoordinator), unknown),
    }
}

/// What the coordinator is asked, and the answers for partitions nothing is known of.
pub(super) fn sort_out(
    image: &Image,
    request: &OffsetDeleteRequest,
) -> (Vec<FetchTopic>, Vec<OffsetDeleteResponseTopic>) {
    let (mut topics, mut unknown) = (Vec::new(), Vec::new());
    for topic in &request.topics {
        let known = image.topic(&topic.name);
        let partitions = topic
            .partitions
            .iter()
            .map(|partition| partition.partition_index);
        let exists = |p: &i32| known.is_some_and(|known| known.partition(*p).is_some());
        let (found, missing): (Vec<i32>, Vec<i32>) = partitions.partition(exists);
        if !found.is_empty() {
            topics.push(FetchTopic {
                name: topic.name.clone(),
                topic_id: [0; 16],
                partitions: found,
            });
        }
        if !missing.is_empty() {
            let error_code = ErrorCode::UnknownTopicOrPartition.code();
            let refused = |partition_index| OffsetDeleteResponsePartition {
                partition_index,
                error_code,
            };
            let partitions = missing.into_iter().map(refused).collect();
            unknown.push(OffsetDeleteResponseTopic {
                name: topic.name.clone(),
                partitions,
            });
        }
    }
    (topics, unknown)
}

pub(super) fn answer(
    deleted: Result<Vec<CommittedTopic>, GroupError>,
    unknown: Vec<OffsetDeleteResponseTopic>,
) -> OffsetDeleteResponse {
    let deleted = match deleted {
        Ok(deleted) => deleted,
        Err(error) => {
            return OffsetDeleteResponse {
                error_code: groups::code(error),
                ..Default::default()
            };
        }
    };
    let mut topics = unknown;
    for topic in deleted {
        let partition =
            |(partition_index, error): (i32, Option<GroupError>)| OffsetDeleteResponsePartition {
                partition_index,
                error_code: groups::code(error),
            };
        let partitions: Vec<_> = topic.partitions.into_iter().map(partition).collect();
        match topics
            .iter_mut()
            .find(|answered| answered.name == topic.name)
        {
            Some(answered) => answered.partitions.extend(partitions),
            None => topics.push(OffsetDeleteResponseTopic {
                name: topic.name,
                partitions,
            }),
        }
    }
    OffsetDeleteResponse {
        topics,
        ..Default::default()
    }
}
