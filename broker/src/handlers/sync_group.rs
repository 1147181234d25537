//! `SyncGroup` (key 14): a member asks for its assignment, the leader brings everybody's.
//!
//! Versions: v3 static members (KIP-345) · v5 protocol type and name (KIP-559).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`).

use std::rc::Rc;

use corelog_net::wire::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use crate::group::{GroupError, Reply, Request, SyncGroup, SyncedGroup};
use crate::handlers::{Context, groups};
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: SyncGroupRequest,
) -> SyncGroupResponse {
    match question(context.version, request) {
        Err(error) => refused(error),
        Ok(question) => match groups::ask(&shard, question).await {
            Some(Reply::SyncGroup(synced)) => answer(synced),
            _ => refused(GroupError::NotCoordinator),
        },
    }
}

pub(super) fn question(version: i16, request: SyncGroupRequest) -> Result<Request, GroupError> {
    let named = request.protocol_type.is_some() && request.protocol_name.is_some();
    if version >= 5 && !named {
        return Err(GroupError::InconsistentGroupProtocol);
    }
    let assignments = request
        .assignments
        .into_iter()
        .map(|part| (part.member_id, part.assignment));
    Ok(Request::SyncGroup(SyncGroup {
        group_id: request.group_id,
        generation_id: request.generation_id,
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        protocol_type: request.protocol_type,
        protocol_name: request.protocol_name,
        assignments: assignments.collect(),
    }))
}

pub(super) fn answer(synced: SyncedGroup) -> SyncGroupResponse {
    SyncGroupResponse {
        error_code: groups::code(synced.error),
        protocol_type: synced.protocol_type.as_deref().map(String::from),
        protocol_name: synced.protocol_name.as_deref().map(String::from),
        assignment: synced.assignment,
        ..Default::default()
    }
}

fn refused(error: GroupError) -> SyncGroupResponse {
    SyncGroupResponse {
        error_code: groups::code(error),
        ..Default::default()
    }
}
