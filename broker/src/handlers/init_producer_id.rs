//! InitProducerId (key 22): producer ids for idempotent (KIP-98) and transactional producers.
//!
//! Versions: v2 flexible · v3 epoch bump by the client (KIP-360) · v4 `PRODUCER_FENCED` · v5 KIP-890.
//!
//! Owns: nothing.
//! Lives on: the connection's shard; ids come from the shard's block, blocks from the controller.
//! Invariants: no id is given out twice, also over restarts.
//! Not here: sequences and epochs of a partition (`corelog_storage::producer`), coordination (`txn.rs`).

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::init_producer_id::{
    InitProducerIdRequest, InitProducerIdResponse,
};

use crate::handlers::Context;
use crate::handlers::transactions::{self, Fencing};
use crate::shard::Shard;
use crate::txn::{InitProducer, Reply, Request, TxnError};

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let refused = |error: ErrorCode| InitProducerIdResponse {
        error_code: error.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let Some(transactional_id) = request.transactional_id else {
        return match shard.next_producer_id().await {
            Some(producer_id) => InitProducerIdResponse {
                producer_id,
                producer_epoch: 0,
                ..Default::default()
            },
            None => refused(ErrorCode::CoordinatorNotAvailable),
        };
    };
    let expected = match (request.producer_id, request.producer_epoch) {
        (-1, -1) => None,
        // Half a producer.
        (-1, _) | (_, -1) => return refused(ErrorCode::InvalidRequest),
        (id, epoch) => Some((id, epoch)),
    };
    // Said also where there is no coordinator yet.
    if transactional_id.is_empty() {
        return refused(ErrorCode::InvalidRequest);
    }
    let longest = shard.config.transaction.max_timeout_ms;
    if !(1..=longest).contains(&request.transaction_timeout_ms) {
        return refused(ErrorCode::InvalidTransactionTimeout);
    }
    let question = Request::Init(InitProducer {
        transactional_id,
        timeout_ms: request.transaction_timeout_ms,
        expected,
        fresh_producer_id: None,
    });
    let initialized = match transactions::ask(&shard, question).await {
        Reply::Init(initialized) => initialized,
        _ => Err(TxnError::NotCoordinator),
    };
    match initialized {
        Ok(one) => InitProducerIdResponse {
            producer_id: one.producer_id,
            producer_epoch: one.producer_epoch,
            ..Default::default()
        },
        Err(error) => refused(transactions::code(error, Fencing::of(context.version, 4))),
    }
}
