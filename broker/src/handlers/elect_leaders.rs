//! ElectLeaders (key 43): asks the controller. KIP-460; v1 unclean elections.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: the answer comes when the change is in force on every shard.
//! Not here: the decision (`controller`).

use std::rc::Rc;

use corelog_net::wire::messages::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse};

use crate::handlers::Context;
use crate::shard::Shard;
use crate::shard::control::{Answer, Question};

/// Answers the request; empty when the controller stops, which a client takes for "ask again".
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    match shard.ask_controller(Question::ElectLeaders(request)).await {
        Some(Answer::ElectLeaders(response)) => response,
        _ => ElectLeadersResponse::default(),
    }
}
