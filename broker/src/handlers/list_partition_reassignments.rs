//! ListPartitionReassignments (key 46): the moves that are under way. KIP-455.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the answer's body (`controller/reassignment.rs`).

use std::rc::Rc;

use corelog_net::wire::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use crate::controller::Controller;
use crate::handlers::Context;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    Controller::new(&shard.image(), &shard.config).list_reassignments(&request)
}
