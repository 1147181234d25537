//! `RemoveRaftVoter` (key 81): the quorum is this node alone. KIP-853.
//!
//! Owns: why the voters of the quorum do not change.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the quorum's formation (`boot`).

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::remove_raft_voter::{
    RemoveRaftVoterRequest, RemoveRaftVoterResponse,
};

use crate::handlers::Context;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: RemoveRaftVoterRequest,
) -> RemoveRaftVoterResponse {
    let (error, message) = refusal(&shard, request.cluster_id.as_deref(), "removing");
    RemoveRaftVoterResponse {
        error_code: error.code(),
        error_message: (error != ErrorCode::InconsistentClusterId).then_some(message),
        ..RemoveRaftVoterResponse::default()
    }
}

/// Why a voter is neither added nor removed; `change` is "adding" or "removing".
pub(crate) fn refusal(
    shard: &Shard,
    cluster_id: Option<&str>,
    change: &str,
) -> (ErrorCode, String) {
    if cluster_id.is_some_and(|id| *id != *shard.cluster_id) {
        return (ErrorCode::InconsistentClusterId, String::new());
    }
    if shard.image().quorum().kraft_version == 0 {
        let message = format!(
            "Cluster doesn't support {change} voter because the kraft.version feature is 0"
        );
        return (ErrorCode::UnsupportedVersion, message);
    }
    let message = format!("This broker is the whole quorum and does not serve {change} voters yet");
    (ErrorCode::InvalidRequest, message)
}
