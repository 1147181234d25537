//! `UnregisterBroker` (key 64): asks the controller. KIP-500.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: the answer comes when the change is in force on every shard.
//! Not here: the decision (`controller`).

use std::rc::Rc;

use corelog_net::wire::messages::unregister_broker::{
    UnregisterBrokerRequest, UnregisterBrokerResponse,
};

use crate::handlers::Context;
use crate::shard::Shard;
use crate::shard::control::{Answer, Question};

/// Answers the request; empty when the controller stops, which a client takes for "ask again".
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    match shard
        .ask_controller(Question::UnregisterBroker(request))
        .await
    {
        Some(Answer::UnregisterBroker(response)) => response,
        _ => UnregisterBrokerResponse::default(),
    }
}
