//! `JoinGroup` (key 11): a member asks to take part in the next generation.
//!
//! Versions: v1 rebalance timeout · v4 member id required (KIP-394) · v5 static members (KIP-345) · v7 protocol type
//! in the answer (KIP-559) · v8 reason (KIP-800; not used) · v9 skip the assignment (KIP-814).
//!
//! Known deviation: a second `JoinGroup` or `SyncGroup` of a member that is still waiting gets the first answered with
//! `REBALANCE_IN_PROGRESS`; Kafka never answers the first.
//!
//! Known deviation: a refused first `JoinGroup` leaves no trace; Kafka keeps an empty group until the next expiry check.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`).

use std::rc::Rc;

use corelog_net::wire::messages::join_group::{
    JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember,
};

use crate::group::{GroupError, JoinGroup, JoinProtocol, JoinedGroup, Reply, Request};
use crate::handlers::{Context, groups};
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let version = context.version;
    let member_id = request.member_id.clone();
    match groups::ask(&shard, question(context, request)).await {
        Some(Reply::JoinGroup(joined)) => answer(version, *joined),
        _ => JoinGroupResponse {
            error_code: groups::code(GroupError::NotCoordinator),
            protocol_name: (version < 7).then(String::new),
            member_id,
            ..Default::default()
        },
    }
}

pub(super) fn question(context: Context, request: JoinGroupRequest) -> Request {
    let protocol =
        |p: corelog_net::wire::messages::join_group::JoinGroupRequestProtocol| JoinProtocol {
            name: p.name,
            metadata: p.metadata,
        };
    Request::JoinGroup(Box::new(JoinGroup {
        group_id: request.group_id,
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        client_id: context.client_id,
        client_host: context.client_host,
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        protocol_type: request.protocol_type,
        protocols: request.protocols.into_iter().map(protocol).collect(),
        requires_known_member_id: context.version >= 4,
        supports_skipping_assignment: context.version >= 9,
    }))
}

pub(super) fn answer(version: i16, joined: JoinedGroup) -> JoinGroupResponse {
    let member = |member: crate::group::JoinedMember| JoinGroupResponseMember {
        member_id: member.member_id.to_string(),
        group_instance_id: member.instance_id.as_deref().map(String::from),
        metadata: member.metadata,
        ..Default::default()
    };
    let protocol_name = joined.protocol_name.as_deref().map(String::from);
    JoinGroupResponse {
        error_code: groups::code(joined.error),
        generation_id: joined.generation_id,
        protocol_type: joined.protocol_type.as_deref().map(String::from),
        // Null is for version 7 and later.
        protocol_name: protocol_name.or_else(|| (version < 7).then(String::new)),
        leader: joined.leader.to_string(),
        skip_assignment: joined.skip_assignment,
        member_id: joined.member_id.to_string(),
        members: joined.members.into_iter().map(member).collect(),
        ..Default::default()
    }
}
