//! DescribeCluster (key 60): brokers and controller (KIP-700).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the answer's body (`metadata/answers.rs`).

use std::rc::Rc;

use corelog_net::wire::messages::describe_cluster::{
    DescribeClusterRequest, DescribeClusterResponse,
};

use crate::handlers::Context;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let image = shard.image();
    shard.view(&image, context.listener).cluster(&request)
}
