//! What the handlers of group APIs share: asking the right coordinator, and its refusals as codes.
//!
//! Owns: the way from a group id to its coordinator.
//! Lives on: the connection's shard.
//! Invariants: 1. A request about a group crosses at most one core.
//! Not here: coordination (`group.rs`).

use std::collections::VecDeque;
use std::rc::Rc;

use corelog_net::wire::{ErrorCode, Uuid};
use corelog_runtime::{Task, spawn};
use corelog_storage::types::TopicId;

use crate::group::{self, GroupError, OFFSETS_TOPIC};
use crate::handlers::error_code;
use crate::mesh;
use crate::metadata::features::GROUP_VERSION_NAME;
use crate::partition::owner;
use crate::shard::Shard;
use crate::shard::coordinators::{Asked, Awaited};

/// Asks the coordinator of the request's group. `None`: there is none on this broker, or it was lost on the way.
pub(crate) async fn ask(shard: &Rc<Shard>, request: group::Request) -> Option<group::Reply> {
    let image = shard.image();
    let topic = image.topic(OFFSETS_TOPIC)?;
    let partition = group::partition_for(request.group_id()?, topic.partition_count());
    ask_at(shard, TopicId(topic.id.0), partition, request).await
}

/// A question that was put at once.
pub(crate) enum Put {
    Answered(Option<group::Reply>),
    Here(Awaited),
    There(mesh::Pending),
}

impl Put {
    /// The answer, where it was not there at once.
    pub(crate) async fn reply(self) -> Option<group::Reply> {
        match self {
            Self::Answered(reply) => reply,
            Self::Here(later) => Some(later.reply().await),
            Self::There(pending) => match pending.reply().await {
                mesh::Reply::Group(reply) => Some(*reply),
                _ => None,
            },
        }
    }
}

/// Asks the coordinator of the request's group now. `None`: the way to its shard is full, and nobody was asked.
pub(crate) fn put(shard: &Rc<Shard>, request: group::Request) -> Option<Put> {
    let image = shard.image();
    let topic = image.topic(OFFSETS_TOPIC);
    let Some((topic, id)) = topic.zip(request.group_id()) else {
        return Some(Put::Answered(None));
    };
    let partition = group::partition_for(id, topic.partition_count());
    let owner = owner(TopicId(topic.id.0), partition, shard.shards);
    if owner == shard.index {
        return Some(match shard.ask_group(partition, request) {
            Asked::Now(reply) => Put::Answered(Some(reply)),
            Asked::Later(later) => Put::Here(later),
        });
    }
    let request = mesh::Request::Group {
        partition,
        request: Box::new(request),
    };
    shard.mesh.try_start(owner, request).ok().map(Put::There)
}

/// Asks the coordinator of each request's group, many at a time; answers in the order of the requests.
pub(crate) async fn ask_each(
    shard: &Rc<Shard>,
    requests: impl Iterator<Item = group::Request>,
) -> Vec<Option<group::Reply>> {
    let ask_one = |request| {
        let shard = Rc::clone(shard);
        async move { ask(&shard, request).await }
    };
    gather(requests.map(ask_one)).await
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
    let topic_id = TopicId(topic.id.0);
    let ask_one = |partition| {
        let (shard, request) = (Rc::clone(shard), request());
        async move { ask_at(&shard, topic_id, partition, request).await }
    };
    gather((0..topic.partition_count()).map(ask_one)).await
}

/// Begins the questions in their order, at most [`QUESTIONS_MAX`] open at once, and keeps their answers in it.
async fn gather(
    questions: impl Iterator<Item = impl Future<Output = Option<group::Reply>> + 'static>,
) -> Vec<Option<group::Reply>> {
    let mut open: VecDeque<Task<Option<group::Reply>>> = VecDeque::new();
    let mut replies = Vec::with_capacity(questions.size_hint().0);
    for question in questions {
        if open.len() == QUESTIONS_MAX
            && let Some(first) = open.pop_front()
        {
            replies.push(first.await.ok().flatten());
        }
        open.push_back(spawn("ask group", question));
    }
    for question in open {
        replies.push(question.await.ok().flatten());
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
    if owner == shard.index {
        return Some(shard.group(partition, request).await);
    }
    let request = mesh::Request::Group {
        partition,
        request: Box::new(request),
    };
    match shard.call(owner, request).await {
        mesh::Reply::Group(reply) => Some(*reply),
        _ => None,
    }
}

/// Questions of one request that are open at once: enough to share syncs and hops, few beside what a pair of shards may
/// have open.
const QUESTIONS_MAX: usize = 64;

/// Whether the cluster's features allow KIP-848 groups.
pub(crate) fn is_consumer_protocol_on(shard: &Shard) -> bool {
    shard.image().feature(GROUP_VERSION_NAME) > 0
}

/// An id for a member that brings none.
pub(crate) fn new_member_id() -> String {
    loop {
        let random =
            u128::from(corelog_runtime::random()) << 64 | u128::from(corelog_runtime::random());
        let id = Uuid(random.to_be_bytes()).to_string();
        // Kafka's too never begin like an option of a command line.
        if !id.starts_with('-') {
            return id;
        }
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
