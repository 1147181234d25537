//! `ListGroups` (key 16): the groups this broker coordinates.
//!
//! Versions: v4 filter by state (KIP-518) · v5 filter by type (KIP-848).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`).

use std::rc::Rc;

use corelog_net::wire::messages::list_groups::{
    ListGroupsRequest, ListGroupsResponse, ListedGroup,
};

use crate::group::{self, GroupError, ListGroups, Reply, Request};
use crate::handlers::{Context, groups};
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    let question = || {
        let (states, types) = (request.states_filter.clone(), request.types_filter.clone());
        Request::ListGroups(ListGroups { states, types })
    };
    answer(groups::ask_all(&shard, question).await)
}

/// A coordinator that is elsewhere lists its groups there; one that cannot say spoils the whole list.
pub(super) fn answer(replies: Vec<Option<Reply>>) -> ListGroupsResponse {
    let mut listed = Vec::new();
    for reply in replies {
        match reply {
            Some(Reply::ListGroups(Ok(of_one))) => listed.extend(of_one),
            Some(Reply::ListGroups(Err(error))) if error != GroupError::NotCoordinator => {
                return ListGroupsResponse {
                    error_code: groups::code(error),
                    ..Default::default()
                };
            }
            _ => {}
        }
    }
    let group = |group: group::ListedGroup| ListedGroup {
        group_id: group.group_id.to_string(),
        protocol_type: group.protocol_type.to_string(),
        group_state: group.state.to_owned(),
        group_type: group.group_type.to_owned(),
        ..Default::default()
    };
    ListGroupsResponse {
        groups: listed.into_iter().map(group).collect(),
        ..Default::default()
    }
}
