//! `AddRaftVoter` (key 80): the quorum is this node alone. KIP-853; v1 when to answer.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the quorum's formation (`boot`). A known deviation: with `kraft.version` 1 Kafka would add a voter; here it is
//! refused, because larger quorums are not served yet.

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};

use crate::handlers::{Context, remove_raft_voter};
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: AddRaftVoterRequest,
) -> AddRaftVoterResponse {
    let (error, message) =
        remove_raft_voter::refusal(&shard, request.cluster_id.as_deref(), "adding");
    AddRaftVoterResponse {
        error_code: error.code(),
        error_message: (error != ErrorCode::InconsistentClusterId).then_some(message),
        ..AddRaftVoterResponse::default()
    }
}
