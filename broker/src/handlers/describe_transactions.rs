//! `DescribeTransactions` (key 65): what the coordinators know of transactional ids (KIP-664).
//!
//! Versions: v0.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`txn.rs`).

use std::rc::Rc;

use corelog_net::wire::messages::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, TopicData, TransactionState,
};

use crate::handlers::Context;
use crate::handlers::transactions::{self, Fencing};
use crate::shard::Shard;
use crate::txn::{DescribedTransaction, Reply, Request, TxnError};

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let mut transaction_states = Vec::with_capacity(request.transactional_ids.len());
    for id in request.transactional_ids {
        let reply = match transactions::ask(&shard, Request::Describe(id.clone())).await {
            Reply::Describe(reply) => reply,
            _ => Err(TxnError::NotCoordinator),
        };
        transaction_states.push(match reply {
            Ok(described) => answer(id, described),
            Err(error) => TransactionState {
                transactional_id: id,
                error_code: transactions::code(error, Fencing::Current).code(),
                ..Default::default()
            },
        });
    }
    DescribeTransactionsResponse {
        transaction_states,
        ..Default::default()
    }
}

fn answer(id: String, described: DescribedTransaction) -> TransactionState {
    let mut topics: Vec<TopicData> = Vec::new();
    // They come in the order of their topics.
    for one in described.partitions {
        match topics.last_mut() {
            Some(topic) if *topic.topic == *one.topic => topic.partitions.push(one.partition),
            _ => topics.push(TopicData {
                topic: one.topic.to_string(),
                partitions: vec![one.partition],
                ..Default::default()
            }),
        }
    }
    TransactionState {
        transactional_id: id,
        transaction_state: described.state.name().to_owned(),
        transaction_timeout_ms: described.timeout_ms,
        transaction_start_time_ms: described.start_ms,
        producer_id: described.producer_id,
        producer_epoch: described.producer_epoch,
        topics,
        ..Default::default()
    }
}
