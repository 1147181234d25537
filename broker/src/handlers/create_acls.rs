//! `CreateAcls` (key 30): no ACLs without an authorizer. KIP-140.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: authorization: this broker has no authorizer, and answers as a Kafka without one.

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::create_acls::{
    AclCreationResult, CreateAclsRequest, CreateAclsResponse,
};

use crate::handlers::Context;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    _shard: Rc<Shard>,
    _context: Context,
    request: CreateAclsRequest,
) -> CreateAclsResponse {
    let refused = |_| AclCreationResult {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some("No Authorizer is configured.".to_owned()),
        ..AclCreationResult::default()
    };
    CreateAclsResponse {
        results: request.creations.iter().map(refused).collect(),
        ..CreateAclsResponse::default()
    }
}
