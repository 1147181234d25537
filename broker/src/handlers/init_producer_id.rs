//! InitProducerId (key 22): producer ids for idempotent producers (KIP-98).
//!
//! Versions: v2 flexible · v3 epoch bump by the client (KIP-360) · v4 `PRODUCER_FENCED` · v5 KIP-890.
//!
//! Owns: nothing.
//! Lives on: the connection's shard; ids come from the shard's block, blocks from the controller.
//! Invariants: no id is given out twice, also over restarts.
//!
//! Known deviations: transactional ids are refused until the transaction coordinator is there.
//!
//! Not here: sequences and epochs of a partition (`corelog_storage::producer`).

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::init_producer_id::{
    InitProducerIdRequest, InitProducerIdResponse,
};

use crate::handlers::Context;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let refused = |error: ErrorCode| InitProducerIdResponse {
        error_code: error.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    match request.transactional_id.as_deref() {
        None => {}
        Some("") => return refused(ErrorCode::InvalidRequest),
        Some(_) => return refused(ErrorCode::CoordinatorNotAvailable),
    }
    match shard.next_producer_id().await {
        Some(producer_id) => InitProducerIdResponse {
            producer_id,
            producer_epoch: 0,
            ..Default::default()
        },
        None => refused(ErrorCode::CoordinatorNotAvailable),
    }
}
