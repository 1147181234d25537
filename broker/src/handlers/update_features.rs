//! `UpdateFeatures` (key 57): asks the controller. KIP-584; v1 ways to change; v2 the answer as a whole.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: the answer comes when the change is in force on every shard.
//! Not here: the decision (`controller`).

use std::rc::Rc;

use corelog_net::wire::messages::update_features::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use crate::handlers::Context;
use crate::shard::Shard;
use crate::shard::control::{Answer, Question};

/// Answers the request; empty when the controller stops, which a client takes for "ask again".
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    match shard
        .ask_controller(Question::UpdateFeatures(request, context.version))
        .await
    {
        Some(Answer::UpdateFeatures(response)) => response,
        _ => UpdateFeaturesResponse::default(),
    }
}
