//! What the handlers of group APIs share: asking the right coordinator, and its refusals as codes.
//!
//! Owns: the way from a group id to its coordinator.
//! Lives on: the connection's shard.
//! Invariants: 1. A request about a group crosses at most one core.
//! Not here: coordination (`group.rs`).

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_storage::types::TopicId;

use crate::group::{self, GroupError, OFFSETS_TOPIC};
use crate::handlers::error_code;
use crate::mesh;
use crate::partition::owner;
use crate::shard::Shard;

/// Asks the coordinator of the request's group. `None`: there is none on this broker, or it was lost on the way.
pub(crate) async fn ask(shard: &Rc<Shard>, request: group::Request) -> Option<group::Reply> {
    let image = shard.image();
    let topic = image.topic(OFFSETS_TOPIC)?;
    let partition = group::partition_for(request.group_id()?, topic.partition_count());
    ask_at(shard, TopicId(topic.id.0), partition, request).await
}

/// Asks every coordinator of this broker.
pub(crate) async fn ask_all(
    shard: &Rc<Shard>,
    request: impl Fn() -> group::Request,
) -> Vec<Option<group::Reply>> {
    let image = shard.image();
    let Some(topic) = image.topic(OFFSETS_TOPIC) else {
        return Vec::new();
    };
    let mut replies = Vec::new();
    for partition in 0..topic.partition_count() {
        replies.push(ask_at(shard, TopicId(topic.id.0), partition, request()).await);
    }
    replies
}

async fn ask_at(
    shard: &Rc<Shard>,
    topic_id: TopicId,
    partition: i32,
    request: group::Request,
) -> Option<group::Reply> {
    let owner = owner(topic_id, partition, shard.shards);
    let request = mesh::Request::Group {
        partition,
        request: Box::new(request),
    };
    match shard.call(owner, request).await {
        mesh::Reply::Group(reply) => Some(*reply),
        _ => None,
    }
}

/// The code of a refusal, or of none.
pub(crate) fn code(error: impl Into<Option<GroupError>>) -> i16 {
    error
        .into()
        .map_or(ErrorCode::None, error_code::group)
        .code()
}

#[cfg(test)]
mod tests;
