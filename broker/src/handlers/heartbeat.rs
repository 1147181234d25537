//! Heartbeat (key 12): a member is alive.
//!
//! Versions: v3 static members (KIP-345).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`).

use std::rc::Rc;

use corelog_net::connection::{self, Dispatched};
use corelog_net::wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use crate::gate::Admitted;
use crate::group::{GroupError, Heartbeat, Reply, Request};
use crate::handlers::{self, Context, Turn, groups};
use crate::shard::Shard;

/// Begins the request where it can be answered without a wait; else it comes back.
pub(crate) fn begin(
    shard: &Rc<Shard>,
    turn: &Rc<Turn>,
    _admitted: &Admitted,
    request: connection::Request,
) -> Result<Dispatched, connection::Request> {
    let asked = |request| Ok(question(request));
    handlers::begin(shard, turn, request, asked, answer)
}

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: HeartbeatRequest,
) -> HeartbeatResponse {
    answer(groups::ask(&shard, question(request)).await)
}

fn question(request: HeartbeatRequest) -> Request {
    Request::Heartbeat(Heartbeat {
        group_id: request.group_id,
        generation_id: request.generation_id,
        member_id: request.member_id,
        instance_id: request.group_instance_id,
    })
}

fn answer(reply: Option<Reply>) -> HeartbeatResponse {
    let lost = Some(GroupError::NotCoordinator);
    let error = reply.map_or(lost, |reply| match reply {
        Reply::Heartbeat(alive) => alive.err(),
        _ => lost,
    });
    HeartbeatResponse {
        error_code: groups::code(error),
        ..Default::default()
    }
}
