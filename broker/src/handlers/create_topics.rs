//! CreateTopics (key 19): asks the controller. KIP-4, KIP-195, KIP-525; v7 topic ids (KIP-516).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: the answer comes when the change is in force on every shard.
//! Not here: the decision (`controller`).

use std::rc::Rc;

use corelog_net::wire::messages::create_topics::{CreateTopicsRequest, CreateTopicsResponse};

use crate::handlers::Context;
use crate::shard::Shard;
use crate::shard::control::{Answer, Question};

/// Answers the request; empty when the controller stops, which a client takes for "ask again".
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    match shard.ask_controller(Question::CreateTopics(request)).await {
        Some(Answer::CreateTopics(response)) => response,
        _ => CreateTopicsResponse::default(),
    }
}
