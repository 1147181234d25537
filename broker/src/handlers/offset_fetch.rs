//! `OffsetFetch` (key 9): committed offsets of groups.
//!
//! Versions: v2 null topics is everything · v5 leader epoch · v7 require stable (KIP-447) · v8 several groups (KIP-709) ·
//! v9 member and epoch of KIP-848 groups · v10 topic ids.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`).

use std::rc::Rc;

use corelog_net::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use corelog_net::wire::{ErrorCode, Uuid};

use crate::group::{FetchTopic, FetchedTopic, GroupError, OffsetFetch, Reply, Request};
use crate::handlers::{Context, groups};
use crate::metadata::Image;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    if context.version < 8 {
        let topics = request.topics.map(|topics| {
            let topic = |t: corelog_net::wire::messages::offset_fetch::OffsetFetchRequestTopic| {
                FetchTopic {
                    name: t.name,
                    topic_id: [0; 16],
                    partitions: t.partition_indexes,
                }
            };
            topics.into_iter().map(topic).collect::<Vec<_>>()
        });
        let places = topics.clone().unwrap_or_default();
        let question = question(request.group_id, None, request.require_stable, topics);
        let reply = groups::ask(&shard, question).await;
        return answer_one(context.version, &places, fetched(reply));
    }
    let image = shard.image();
    let mut asked = Vec::with_capacity(request.groups.len());
    let mut questions = Vec::with_capacity(request.groups.len());
    for mut group in request.groups {
        let (topics, unknown) = by_name(&image, context.version, &mut group);
        let member = group
            .member_id
            .map(|member_id| (member_id, group.member_epoch));
        let group_id = group.group_id.clone();
        questions.push(question(group_id, member, request.require_stable, topics));
        asked.push((group.group_id, unknown));
    }
    let replies = groups::ask_each(&shard, questions.into_iter()).await;
    let answered = asked.into_iter().zip(replies);
    let answered = answered.map(|((group_id, unknown), reply)| {
        answer_group(&image, context.version, group_id, fetched(reply), unknown)
    });
    OffsetFetchResponse {
        groups: answered.collect(),
        ..Default::default()
    }
}

fn question(
    group_id: String,
    member: Option<(String, i32)>,
    require_stable: bool,
    topics: Option<Vec<FetchTopic>>,
) -> Request {
    let (member_id, member_epoch) = member.map_or((None, -1), |(id, epoch)| (Some(id), epoch));
    Request::OffsetFetch(OffsetFetch {
        group_id,
        member_id,
        member_epoch,
        require_stable,
        topics,
    })
}

fn fetched(reply: Option<Reply>) -> Result<Vec<FetchedTopic>, GroupError> {
    match reply {
        Some(Reply::OffsetFetch(fetched)) => fetched,
        _ => Err(GroupError::NotCoordinator),
    }
}

/// The topics by name, and the answers for ids that nothing is known of.
pub(super) fn by_name(
    image: &Image,
    version: i16,
    group: &mut OffsetFetchRequestGroup,
) -> (Option<Vec<FetchTopic>>, Vec<OffsetFetchResponseTopics>) {
    let Some(asked) = group.topics.take() else {
        return (None, Vec::new());
    };
    let (mut topics, mut unknown) = (Vec::with_capacity(asked.len()), Vec::new());
    for topic in asked {
        let name = if version < 10 {
            Some(topic.name)
        } else {
            image
                .topic_by_id(topic.topic_id)
                .map(|known| known.name.to_string())
        };
        let partitions = topic.partition_indexes;
        if let Some(name) = name {
            topics.push(FetchTopic {
                name,
                topic_id: topic.topic_id.0,
                partitions,
            });
            continue;
        }
        let refused = |partition_index| OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: -1,
            metadata: Some(String::new()),
            error_code: ErrorCode::UnknownTopicId.code(),
            ..Default::default()
        };
        let partitions = partitions.into_iter().map(refused).collect();
        unknown.push(OffsetFetchResponseTopics {
            topic_id: topic.topic_id,
            partitions,
            ..Default::default()
        });
    }
    (Some(topics), unknown)
}

pub(super) fn answer_group(
    image: &Image,
    version: i16,
    group_id: String,
    fetched: Result<Vec<FetchedTopic>, GroupError>,
    unknown: Vec<OffsetFetchResponseTopics>,
) -> OffsetFetchResponseGroup {
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(error) => {
            return OffsetFetchResponseGroup {
                group_id,
                error_code: groups::code(error),
                ..Default::default()
            };
        }
    };
    let mut topics = unknown;
    for topic in fetched {
        let mut answered = OffsetFetchResponseTopics::default();
        if version < 10 {
            answered.name = topic.name.to_string();
        } else if let Some(known) = image.topic(&topic.name) {
            answered.topic_id = known.id;
        } else if topic.topic_id != Uuid::ZERO.0 {
            answered.topic_id = Uuid(topic.topic_id);
        } else {
            // Offsets of a topic that is gone have no name to be told by.
            continue;
        }
        let partition = |p: crate::group::FetchedPartition| OffsetFetchResponsePartitions {
            partition_index: p.partition,
            committed_offset: p.offset,
            committed_leader_epoch: p.leader_epoch,
            metadata: Some(p.metadata.into_string()),
            error_code: groups::code(p.error),
            ..Default::default()
        };
        answered.partitions = topic.partitions.into_iter().map(partition).collect();
        topics.push(answered);
    }
    OffsetFetchResponseGroup {
        group_id,
        topics,
        ..Default::default()
    }
}

/// The form before several groups could be asked about. Version 1 has no error but those of partitions.
pub(super) fn answer_one(
    version: i16,
    asked: &[FetchTopic],
    fetched: Result<Vec<FetchedTopic>, GroupError>,
) -> OffsetFetchResponse {
    let error = fetched.as_ref().err().copied();
    let topics = if let Ok(fetched) = fetched {
        let topic = |topic: FetchedTopic| OffsetFetchResponseTopic {
            name: topic.name.to_string(),
            partitions: topic.partitions.into_iter().map(partition).collect(),
            ..Default::default()
        };
        fetched.into_iter().map(topic).collect()
    } else if version < 2 {
        let refused = |&partition_index: &i32| OffsetFetchResponsePartition {
            partition_index,
            committed_offset: -1,
            metadata: Some(String::new()),
            error_code: groups::code(error),
            ..Default::default()
        };
        let topic = |topic: &FetchTopic| OffsetFetchResponseTopic {
            name: topic.name.clone(),
            partitions: topic.partitions.iter().map(refused).collect(),
            ..Default::default()
        };
        asked.iter().map(topic).collect()
    } else {
        Vec::new()
    };
    OffsetFetchResponse {
        topics,
        error_code: groups::code(error),
        ..Default::default()
    }
}

fn partition(p: crate::group::FetchedPartition) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index: p.partition,
        committed_offset: p.offset,
        committed_leader_epoch: p.leader_epoch,
        metadata: Some(p.metadata.into_string()),
        error_code: groups::code(p.error),
        ..Default::default()
    }
}
