//! `WriteTxnMarkers` (key 27): the end of a transaction, written into partitions by another broker's coordinator, or by
//! an administrator who aborts a transaction that nobody else will end.
//!
//! Versions: v1 flexible · v2 the version of the transaction (KIP-890).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the way to the partitions (`shard/transactions.rs`).

use std::rc::Rc;
use std::sync::Arc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use corelog_storage::types::TopicPartition;

use crate::handlers::Context;
use crate::shard::Shard;
use crate::shard::transactions::Marker;
use crate::txn::Version;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: WriteTxnMarkersRequest,
) -> WriteTxnMarkersResponse {
    let mut markers = Vec::with_capacity(request.markers.len());
    for marker in request.markers {
        markers.push(write(&shard, marker).await);
    }
    WriteTxnMarkersResponse {
        markers,
        ..Default::default()
    }
}

async fn write(shard: &Rc<Shard>, request: WritableTxnMarker) -> WritableTxnMarkerResult {
    let marker = Marker {
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
        coordinator_epoch: request.coordinator_epoch,
        commit: request.transaction_result,
        version: Version::of_level(i16::from(request.transaction_version)).of_storage(),
    };
    let mut partitions = Vec::new();
    for topic in &request.topics {
        let name: Arc<str> = topic.name.as_str().into();
        partitions.extend(
            topic
                .partition_indexes
                .iter()
                .map(|&partition| TopicPartition {
                    topic: Arc::clone(&name),
                    partition,
                }),
        );
    }
    let codes = shard.write_markers(&marker, &partitions).await;
    let mut codes = codes.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.into_iter().map(|partition| {
            let code = codes.next().flatten();
            WritableTxnMarkerPartitionResult {
                partition_index: partition,
                error_code: code.unwrap_or(ErrorCode::UnknownTopicOrPartition).code(),
                ..Default::default()
            }
        });
        WritableTxnMarkerTopicResult {
            partitions: partitions.collect(),
            name: topic.name,
            ..Default::default()
        }
    });
    WritableTxnMarkerResult {
        producer_id: request.producer_id,
        topics: topics.collect(),
        ..Default::default()
    }
}
