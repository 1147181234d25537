//! AlterConfigs (key 33): asks the controller. KIP-133.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: the answer comes when the change is in force on every shard.
//! Not here: the decision (`controller`).

use std::rc::Rc;

use corelog_net::wire::messages::alter_configs::{AlterConfigsRequest, AlterConfigsResponse};

use crate::handlers::Context;
use crate::shard::Shard;
use crate::shard::control::{Answer, Question};

/// Answers the request; empty when the controller stops, which a client takes for "ask again".
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    match shard.ask_controller(Question::AlterConfigs(request)).await {
        Some(Answer::AlterConfigs(response)) => response,
        _ => AlterConfigsResponse::default(),
    }
}
