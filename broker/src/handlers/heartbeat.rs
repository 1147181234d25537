//! Heartbeat (key 12): a member is alive.
//!
//! Versions: v3 static members (KIP-345).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`).

use std::rc::Rc;

use corelog_net::wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use crate::group::{GroupError, Heartbeat, Reply, Request};
use crate::handlers::{Context, groups};
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: HeartbeatRequest,
) -> HeartbeatResponse {
    let question = Request::Heartbeat(Heartbeat {
        group_id: request.group_id,
        generation_id: request.generation_id,
        member_id: request.member_id,
        instance_id: request.group_instance_id,
    });
    let error = match groups::ask(&shard, question).await {
        Some(Reply::Heartbeat(alive)) => alive.err(),
        _ => Some(GroupError::NotCoordinator),
    };
    HeartbeatResponse {
        error_code: groups::code(error),
        ..Default::default()
    }
}
