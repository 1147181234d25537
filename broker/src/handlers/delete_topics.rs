//! DeleteTopics (key 20): asks the controller. KIP-4; v6 topics by id (KIP-516).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: the answer comes when the change is in force on every shard.
//! Not here: the decision (`controller`).

use std::rc::Rc;

use corelog_net::wire::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};

use crate::handlers::Context;
use crate::shard::Shard;
use crate::shard::control::{Answer, Question};

/// Answers the request; empty when the controller stops, which a client takes for "ask again".
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    match shard
        .ask_controller(Question::DeleteTopics(request, context.version))
        .await
    {
        Some(Answer::DeleteTopics(response)) => response,
        _ => DeleteTopicsResponse::default(),
    }
}
