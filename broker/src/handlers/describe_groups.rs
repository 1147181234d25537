//! `DescribeGroups` (key 15): classic groups with their members.
//!
//! Versions: v3 authorized operations · v4 static members · v6 an unknown group is an error with a text (KIP-1043).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`).

use std::rc::Rc;

use corelog_net::wire::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};

use crate::group::{self, DescribeGroup, GroupError, Reply, Request};
use crate::handlers::{Context, groups};
use crate::shard::Shard;

/// Read, delete, describe, describe configs, alter configs: what may be done to a group, as a bit set.
pub(super) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let question = |group_id: &String| {
        Request::DescribeGroup(DescribeGroup {
            group_id: group_id.clone(),
        })
    };
    let replies = groups::ask_each(&shard, request.groups.iter().map(question)).await;
    let mut described = Vec::with_capacity(request.groups.len());
    for (group_id, reply) in request.groups.into_iter().zip(replies) {
        let reply = match reply {
            Some(Reply::DescribeGroup(reply)) => reply,
            _ => Err(GroupError::NotCoordinator),
        };
        let mut group = answer(context.version, group_id, reply);
        if request.include_authorized_operations && group.error_code == 0 {
            group.authorized_operations = GROUP_OPERATIONS;
        }
        described.push(group);
    }
    DescribeGroupsResponse {
        groups: described,
        ..Default::default()
    }
}

pub(super) fn answer(
    version: i16,
    group_id: String,
    reply: Result<group::DescribedGroup, GroupError>,
) -> DescribedGroup {
    let group = match reply {
        Ok(group) => group,
        Err(GroupError::GroupIdNotFound | GroupError::NotClassicGroup) if version < 6 => {
            return DescribedGroup {
                group_id,
                group_state: "Dead".to_owned(),
                ..Default::default()
            };
        }
        Err(error @ (GroupError::GroupIdNotFound | GroupError::NotClassicGroup)) => {
            let what = if error == GroupError::NotClassicGroup {
                "is not a classic group"
            } else {
                "not found"
            };
            return DescribedGroup {
                error_code: groups::code(error),
                error_message: Some(format!("Group {group_id} {what}.")),
                group_id,
                group_state: "Dead".to_owned(),
                ..Default::default()
            };
        }
        Err(error) => {
            return DescribedGroup {
                error_code: groups::code(error),
                group_id,
                ..Default::default()
            };
        }
    };
    let member = |member: group::DescribedMember| DescribedGroupMember {
        member_id: member.member_id.to_string(),
        group_instance_id: member.instance_id.as_deref().map(String::from),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
        ..Default::default()
    };
    DescribedGroup {
        group_id,
        group_state: group.state.to_owned(),
        protocol_type: group.protocol_type.to_string(),
        protocol_data: group.protocol.to_string(),
        members: group.members.into_iter().map(member).collect(),
        ..Default::default()
    }
}
