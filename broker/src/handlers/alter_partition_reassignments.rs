//! AlterPartitionReassignments (key 45): asks the controller. KIP-455; v1 says whether the replication factor may change (KIP-860).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: the answer comes when the change is in force on every shard.
//! Not here: the decision (`controller`).

use std::rc::Rc;

use corelog_net::wire::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};

use crate::handlers::Context;
use crate::shard::Shard;
use crate::shard::control::{Answer, Question};

/// Answers the request; empty when the controller stops, which a client takes for "ask again".
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    match shard
        .ask_controller(Question::AlterPartitionReassignments(request))
        .await
    {
        Some(Answer::AlterPartitionReassignments(response)) => response,
        _ => AlterPartitionReassignmentsResponse::default(),
    }
}
