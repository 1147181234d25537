//! `AlterUserScramCredentials` (key 51): what users log in with, set and deleted. KIP-554. Credentials are kept and
//! described also where no listener asks for a login, as in Kafka.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: 1. When it is answered, the change is in force on every shard.
//! Not here: the decision (`controller::scram`).

use std::rc::Rc;

use corelog_net::wire::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
};

use crate::handlers::Context;
use crate::shard::Shard;
use crate::shard::control::{Answer, Question};

/// Answers the request; empty when the controller stops, which a client takes for "ask again".
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: AlterUserScramCredentialsRequest,
) -> AlterUserScramCredentialsResponse {
    match shard
        .ask_controller(Question::AlterUserScramCredentials(request))
        .await
    {
        Some(Answer::AlterUserScramCredentials(response)) => response,
        _ => AlterUserScramCredentialsResponse::default(),
    }
}
