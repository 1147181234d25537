//! `LeaveGroup` (key 13): members leave.
//!
//! Versions: v3 several members, by instance id alone too (KIP-345) · v5 reason (KIP-800; not used).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`).

use std::rc::Rc;

use corelog_net::wire::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberResponse,
};

use crate::group::{GroupError, LeaveGroup, LeavingMember, LeftMember, Reply, Request};
use crate::handlers::{Context, groups};
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    match groups::ask(&shard, question(context.version, request)).await {
        Some(Reply::LeaveGroup(left)) => answer(context.version, left),
        _ => answer(context.version, Err(GroupError::NotCoordinator)),
    }
}

pub(super) fn question(version: i16, request: LeaveGroupRequest) -> Request {
    let members = if version < 3 {
        vec![LeavingMember {
            member_id: request.member_id,
            instance_id: None,
        }]
    } else {
        let members = request.members.into_iter();
        members
            .map(|m| LeavingMember {
                member_id: m.member_id,
                instance_id: m.group_instance_id,
            })
            .collect()
    };
    Request::LeaveGroup(LeaveGroup {
        group_id: request.group_id,
        members,
    })
}

pub(super) fn answer(
    version: i16,
    left: Result<Vec<LeftMember>, GroupError>,
) -> LeaveGroupResponse {
    let (error, left) = match left {
        Err(error) => (Some(error), Vec::new()),
        // Before several could leave, the one's fate was the request's.
        Ok(left) if version < 3 => (left.first().and_then(|member| member.error), Vec::new()),
        Ok(left) => (None, left),
    };
    let member = |member: LeftMember| MemberResponse {
        member_id: member.member_id,
        group_instance_id: member.instance_id,
        error_code: groups::code(member.error),
        ..Default::default()
    };
    let members = left.into_iter().map(member).collect();
    LeaveGroupResponse {
        error_code: groups::code(error),
        members,
        ..Default::default()
    }
}
