//! DescribeConfigs (key 32): settings with their sources. KIP-133, KIP-226, KIP-569.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the tables and layers (`config`).

use std::rc::Rc;

use corelog_net::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResponse,
};

use crate::config::ConfigView;
use crate::handlers::Context;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let image = shard.image();
    ConfigView::new(&image, &shard.config, &shard.config.node_id.to_string()).describe(&request)
}
