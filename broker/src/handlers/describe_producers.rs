//! `DescribeProducers` (key 61): what partitions know of their producers (KIP-664).
//!
//! Versions: v0.
//!
//! Owns: nothing.
//! Lives on: the connection's shard; answers come from the partitions' shards.
//! Invariants: none.
//! Not here: the state of a producer (`corelog_storage::producer`).

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
    TopicResponse,
};
use corelog_storage::types::TopicId;

use crate::handlers::Context;
use crate::mesh;
use crate::partition::owner;
use crate::shard::Shard;
use crate::shard::verify::KnownProducer;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for partition in topic.partition_indexes {
            partitions.push(describe(&shard, &topic.name, partition).await);
        }
        topics.push(TopicResponse {
            name: topic.name,
            partitions,
            ..Default::default()
        });
    }
    DescribeProducersResponse {
        topics,
        ..Default::default()
    }
}

async fn describe(shard: &Rc<Shard>, topic: &str, partition: i32) -> PartitionResponse {
    let refused = |error: ErrorCode| PartitionResponse {
        partition_index: partition,
        error_code: error.code(),
        error_message: Some(error.message().to_owned()),
        ..Default::default()
    };
    let image = shard.image();
    let topic = image.topic(topic);
    let Some(topic) = topic.filter(|topic| topic.partition(partition).is_some()) else {
        return refused(ErrorCode::UnknownTopicOrPartition);
    };
    let topic_id = TopicId(topic.id.0);
    let to = owner(topic_id, partition, shard.shards);
    let request = mesh::Request::Producers(vec![(topic_id, partition)]);
    let known = match shard.call(to, request).await {
        mesh::Reply::Producers(known) => known.into_iter().next().flatten(),
        _ => None,
    };
    let Some(known) = known else {
        return refused(ErrorCode::NotLeaderOrFollower);
    };
    let state = |one: KnownProducer| ProducerState {
        producer_id: one.producer_id,
        producer_epoch: i32::from(one.producer_epoch),
        last_sequence: one.last_sequence,
        last_timestamp: one.last_timestamp,
        coordinator_epoch: one.coordinator_epoch,
        current_txn_start_offset: one.transaction_start,
        ..Default::default()
    };
    PartitionResponse {
        partition_index: partition,
        active_producers: known.into_iter().map(state).collect(),
        ..Default::default()
    }
}
