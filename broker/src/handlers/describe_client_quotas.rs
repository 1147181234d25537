//! `DescribeClientQuotas` (key 48): quotas by a filter of entities. KIP-546.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the filter (`metadata::quotas`).

use std::rc::Rc;

use corelog_net::wire::messages::describe_client_quotas::{
    DescribeClientQuotasRequest, DescribeClientQuotasResponse,
};

use crate::handlers::Context;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    shard.image().describe_quotas(&request)
}
