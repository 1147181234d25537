//! DescribeTopicPartitions (key 75): topics page by page (KIP-966).
//!
//! Owns: the page's largest size.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the answer's body (`metadata/answers.rs`).

use std::rc::Rc;

use corelog_net::wire::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
};

use crate::handlers::Context;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = shard.image();
    let limit = shard.config.max_request_partition_size_limit;
    shard
        .view(&image, context.listener)
        .topic_partitions(&request, limit)
}
