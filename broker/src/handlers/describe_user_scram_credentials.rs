//! `DescribeUserScramCredentials` (key 50): who has a credential, of which mechanisms and iterations. KIP-554.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the answer (`metadata::scram`).

use std::rc::Rc;

use corelog_net::wire::messages::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};

use crate::handlers::Context;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    shard.image().describe_scram_credentials(&request)
}
