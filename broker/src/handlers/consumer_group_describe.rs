//! `ConsumerGroupDescribe` (key 69): consumer groups with their members (KIP-848).
//!
//! Versions: v1 the protocol of each member (KIP-1099).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`).

use std::rc::Rc;

use corelog_net::wire::Uuid;
use corelog_net::wire::messages::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
    Member, TopicPartitions,
};

use crate::group::{
    DescribeGroup, DescribedConsumer, DescribedConsumerGroup, GroupError, Reply, Request,
};
use crate::handlers::describe_groups::GROUP_OPERATIONS;
use crate::handlers::{Context, groups};
use crate::metadata::Image;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let served = shard.group_settings().consumer.enabled && groups::is_consumer_protocol_on(&shard);
    let image = shard.image();
    let asked = request
        .group_ids
        .iter()
        .filter(|id| served && !id.is_empty());
    let question = |group_id: &String| {
        Request::DescribeConsumerGroup(DescribeGroup {
            group_id: group_id.clone(),
        })
    };
    let mut replies = groups::ask_each(&shard, asked.map(question))
        .await
        .into_iter();
    let mut described = Vec::with_capacity(request.group_ids.len());
    for group_id in request.group_ids {
        let reply = if !served {
            Err(GroupError::UnsupportedVersion)
        } else if group_id.is_empty() {
            Err(GroupError::InvalidGroupId)
        } else {
            match replies.next().flatten() {
                Some(Reply::DescribeConsumerGroup(reply)) => reply,
                _ => Err(GroupError::NotCoordinator),
            }
        };
        let mut group = answer(&image, context.version, group_id, reply);
        if request.include_authorized_operations && group.error_code == 0 {
            group.authorized_operations = GROUP_OPERATIONS;
        }
        described.push(group);
    }
    ConsumerGroupDescribeResponse {
        groups: described,
        ..Default::default()
    }
}

fn answer(
    image: &Image,
    version: i16,
    group_id: String,
    reply: Result<DescribedConsumerGroup, GroupError>,
) -> DescribedGroup {
    let group = match reply {
        Ok(group) => group,
        Err(error) => {
            let error_message = match error {
                GroupError::GroupIdNotFound => Some(format!("Group {group_id} not found.")),
                GroupError::NotConsumerGroup => {
                    Some(format!("Group {group_id} is not a consumer group."))
                }
                _ => None,
            };
            return DescribedGroup {
                error_code: groups::code(error),
                error_message,
                group_id,
                ..Default::default()
            };
        }
    };
    let members = group.members.into_iter();
    DescribedGroup {
        group_id,
        group_state: group.state.to_owned(),
        group_epoch: group.epoch,
        assignment_epoch: group.assignment_epoch,
        assignor_name: group.assignor.to_owned(),
        members: members.map(|one| member(image, version, one)).collect(),
        ..Default::default()
    }
}

fn member(image: &Image, version: i16, member: DescribedConsumer) -> Member {
    let text = |text: Option<std::sync::Arc<str>>| text.as_deref().map(String::from);
    Member {
        member_id: member.member_id.to_string(),
        instance_id: text(member.instance_id),
        rack_id: text(member.rack_id),
        member_epoch: member.epoch,
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        subscribed_topic_names: member.topics.iter().map(ToString::to_string).collect(),
        subscribed_topic_regex: Some(member.regex.to_string()),
        assignment: assignment(image, member.assignment),
        target_assignment: assignment(image, member.target),
        member_type: match (version, member.is_classic) {
            (0, _) => -1,
            (_, true) => 0,
            (_, false) => 1,
        },
        ..Default::default()
    }
}

/// Topics that are gone have no name to be shown by.
fn assignment(image: &Image, topics: Vec<(Uuid, Vec<i32>)>) -> Assignment {
    let named = topics.into_iter().filter_map(|(topic_id, partitions)| {
        Some(TopicPartitions {
            topic_id,
            topic_name: image.topic_by_id(topic_id)?.name.to_string(),
            partitions,
            ..Default::default()
        })
    });
    Assignment {
        topic_partitions: named.collect(),
        ..Default::default()
    }
}
