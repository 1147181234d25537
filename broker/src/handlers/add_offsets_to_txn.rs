//! `AddOffsetsToTxn` (key 25): a transaction will commit offsets of a group.
//!
//! Versions: v2 `PRODUCER_FENCED` · v3 flexible · v4 `TRANSACTION_ABORTABLE` (KIP-890).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`txn.rs`).

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::add_offsets_to_txn::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse,
};
use corelog_storage::types::TopicPartition;

use crate::group::{self, OFFSETS_TOPIC};
use crate::handlers::Context;
use crate::handlers::transactions::{self, Fencing};
use crate::shard::Shard;
use crate::txn::{AddPartitions, Reply, Request, TxnError, Version};

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    AddOffsetsToTxnResponse {
        error_code: add(&shard, &context, request).await.code(),
        ..Default::default()
    }
}

async fn add(shard: &Rc<Shard>, context: &Context, request: AddOffsetsToTxnRequest) -> ErrorCode {
    if shard.image().topic(OFFSETS_TOPIC).is_none() && !shard.auto_create(OFFSETS_TOPIC).await {
        return ErrorCode::CoordinatorNotAvailable;
    }
    let image = shard.image();
    let Some(topic) = image.topic(OFFSETS_TOPIC) else {
        return ErrorCode::CoordinatorNotAvailable;
    };
    let question = Request::Add(AddPartitions {
        transactional_id: request.transactional_id,
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
        partitions: vec![TopicPartition {
            topic: OFFSETS_TOPIC.into(),
            partition: group::partition_for(&request.group_id, topic.partition_count()),
        }],
        version: Version::One,
    });
    let added = match transactions::ask(shard, question).await {
        Reply::Add(added) => added,
        _ => Err(TxnError::NotCoordinator),
    };
    match added {
        Ok(()) => ErrorCode::None,
        Err(error) => transactions::code(error, Fencing::of(context.version, 2)),
    }
}
