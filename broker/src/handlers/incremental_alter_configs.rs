//! IncrementalAlterConfigs (key 44): asks the controller. KIP-339.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: the answer comes when the change is in force on every shard.
//! Not here: the decision (`controller`).

use std::rc::Rc;

use corelog_net::wire::messages::incremental_alter_configs::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use crate::controller::configs::logger_changes;
use crate::handlers::Context;
use crate::shard::Shard;
use crate::shard::control::{Answer, Question};

/// Answers the request; empty when the controller stops, which a client takes for "ask again".
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let loggers = logger_changes(&request);
    let answer = shard
        .ask_controller(Question::IncrementalAlterConfigs(request))
        .await;
    let Some(Answer::IncrementalAlterConfigs(response)) = answer else {
        return IncrementalAlterConfigsResponse::default();
    };
    for (changes, answered) in loggers.iter().zip(&response.responses) {
        if answered.error_code == 0 {
            crate::loggers::apply(changes);
        }
    }
    response
}
