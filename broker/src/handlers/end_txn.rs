//! `EndTxn` (key 26): commit or abort.
//!
//! Versions: v2 `PRODUCER_FENCED` · v3 flexible · v4 `TRANSACTION_ABORTABLE` · v5 the epoch rises with every end, and
//! the answer says to what (KIP-890).
//!
//! Known deviations from Apache Kafka 4.3: a commit whose transaction the coordinator has aborted meanwhile is answered
//! `PRODUCER_FENCED`, as Kafka does after it (KAFKA-20785), and not `INVALID_TXN_STATE`, from which Kafka Streams does not
//! recover.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`txn.rs`).

use std::rc::Rc;

use corelog_net::wire::messages::end_txn::{EndTxnRequest, EndTxnResponse};

use crate::handlers::Context;
use crate::handlers::transactions::{self, Fencing};
use crate::shard::Shard;
use crate::txn::{EndTransaction, Reply, Request, TxnError, Version};

/// From this version on a producer goes on with the epoch it is told.
const RAISING: i16 = 5;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: EndTxnRequest,
) -> EndTxnResponse {
    let question = Request::End(EndTransaction {
        transactional_id: request.transactional_id,
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
        commit: request.committed,
        version: if context.version >= RAISING {
            Version::Two
        } else {
            Version::One
        },
        fresh_producer_id: None,
    });
    let ended = match transactions::ask(&shard, question).await {
        Reply::End(ended) => ended,
        _ => Err(TxnError::NotCoordinator),
    };
    let refused = EndTxnResponse {
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    match ended {
        Ok(ended) if context.version >= RAISING => EndTxnResponse {
            producer_id: ended.producer_id,
            producer_epoch: ended.producer_epoch,
            ..Default::default()
        },
        Ok(_) => refused,
        Err(error) => EndTxnResponse {
            error_code: transactions::code(error, Fencing::of(context.version, 2)).code(),
            ..refused
        },
    }
}
