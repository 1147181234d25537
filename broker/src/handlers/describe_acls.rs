//! `DescribeAcls` (key 29): no ACLs without an authorizer. KIP-140.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: authorization: this broker has no authorizer, and answers as a Kafka without one.

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};

use crate::handlers::Context;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    _shard: Rc<Shard>,
    _context: Context,
    _request: DescribeAclsRequest,
) -> DescribeAclsResponse {
    DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some("No Authorizer is configured on the broker".to_owned()),
        ..DescribeAclsResponse::default()
    }
}
