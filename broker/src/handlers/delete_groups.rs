//! `DeleteGroups` (key 42): groups without members go, with their offsets.
//!
//! Versions: v2 tagged fields.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`).

use std::rc::Rc;

use corelog_net::wire::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};

use crate::group::{DeleteGroup, GroupError, Reply, Request};
use crate::handlers::{Context, groups};
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let question = |group_id: &String| {
        Request::DeleteGroup(DeleteGroup {
            group_id: group_id.clone(),
        })
    };
    let replies = groups::ask_each(&shard, request.groups_names.iter().map(question)).await;
    let mut results = Vec::with_capacity(request.groups_names.len());
    for (group_id, reply) in request.groups_names.into_iter().zip(replies) {
        let error = match reply {
            Some(Reply::DeleteGroup(deleted)) => deleted.err(),
            _ => Some(GroupError::NotCoordinator),
        };
        results.push(DeletableGroupResult {
            group_id,
            error_code: groups::code(error),
            ..Default::default()
        });
    }
    DeleteGroupsResponse {
        results,
        ..Default::default()
    }
}
