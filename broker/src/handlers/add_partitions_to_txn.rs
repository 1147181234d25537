//! `AddPartitionsToTxn` (key 24): what a transaction will write to.
//!
//! Versions: v2 `PRODUCER_FENCED` · v3 flexible · v4 several transactions, by brokers, also only to verify (KIP-890) ·
//! v5 `TRANSACTION_ABORTABLE`.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`txn.rs`).

use std::rc::Rc;
use std::sync::Arc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddPartitionsToTxnResult, AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult,
    AddPartitionsToTxnTransaction,
};
use corelog_storage::types::TopicPartition;

use crate::handlers::Context;
use crate::handlers::transactions::{self, Fencing};
use crate::shard::Shard;
use crate::txn::{AddPartitions, Reply, Request, TxnError, Version};

/// From this version on, brokers ask for several transactions at once.
const BATCHED: i16 = 4;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    if context.version < BATCHED {
        let transaction = AddPartitionsToTxnTransaction {
            transactional_id: request.v3_and_below_transactional_id,
            producer_id: request.v3_and_below_producer_id,
            producer_epoch: request.v3_and_below_producer_epoch,
            topics: request.v3_and_below_topics,
            ..Default::default()
        };
        return AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: add(&shard, &context, transaction).await,
            ..Default::default()
        };
    }
    let mut results = Vec::with_capacity(request.transactions.len());
    for transaction in request.transactions {
        results.push(AddPartitionsToTxnResult {
            transactional_id: transaction.transactional_id.clone(),
            topic_results: add(&shard, &context, transaction).await,
            ..Default::default()
        });
    }
    AddPartitionsToTxnResponse {
        results_by_transaction: results,
        ..Default::default()
    }
}

/// One transaction of the request.
async fn add(
    shard: &Rc<Shard>,
    context: &Context,
    transaction: AddPartitionsToTxnTransaction,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let topics = &transaction.topics;
    let image = shard.image();
    let is_known = |topic: &str, partition: i32| {
        let topic = image.topic(topic);
        topic.is_some_and(|topic| topic.partition(partition).is_some())
    };
    let all_known = topics.iter().all(|topic| {
        let mut partitions = topic.partitions.iter();
        partitions.all(|partition| is_known(&topic.name, *partition))
    });
    if !all_known {
        return results(topics, |topic, partition, _| {
            if is_known(topic, partition) {
                ErrorCode::OperationNotAttempted
            } else {
                ErrorCode::UnknownTopicOrPartition
            }
        });
    }
    let mut partitions = Vec::new();
    for topic in topics {
        let name: Arc<str> = topic.name.as_str().into();
        partitions.extend(topic.partitions.iter().map(|&partition| TopicPartition {
            topic: Arc::clone(&name),
            partition,
        }));
    }
    let request = AddPartitions {
        transactional_id: transaction.transactional_id,
        producer_id: transaction.producer_id,
        producer_epoch: transaction.producer_epoch,
        partitions,
        version: if context.version >= BATCHED {
            Version::Two
        } else {
            Version::One
        },
    };
    let count = request.partitions.len();
    let said = if transaction.verify_only {
        match transactions::ask(shard, Request::Verify(request)).await {
            Reply::Verify(said) => said,
            _ => Err(TxnError::NotCoordinator),
        }
    } else {
        match transactions::ask(shard, Request::Add(request)).await {
            Reply::Add(said) => said.map(|()| vec![true; count]),
            _ => Err(TxnError::NotCoordinator),
        }
    };
    results(topics, |_, _, nth| match &said {
        Err(error) => transactions::code(*error, Fencing::of(context.version, 2)),
        Ok(known) if known.get(nth) == Some(&true) => ErrorCode::None,
        Ok(_) if context.version < 5 => ErrorCode::InvalidTxnState,
        Ok(_) => ErrorCode::TransactionAbortable,
    })
}

/// A result for every partition; `verdict` is told topic, partition and the place among all.
fn results(
    topics: &[AddPartitionsToTxnTopic],
    verdict: impl Fn(&str, i32, usize) -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut nth = 0;
    let mut results = Vec::with_capacity(topics.len());
    for topic in topics {
        let mut results_by_partition = Vec::with_capacity(topic.partitions.len());
        for &partition in &topic.partitions {
            results_by_partition.push(AddPartitionsToTxnPartitionResult {
                partition_index: partition,
                partition_error_code: verdict(&topic.name, partition, nth).code(),
                ..Default::default()
            });
            nth += 1;
        }
        results.push(AddPartitionsToTxnTopicResult {
            name: topic.name.clone(),
            results_by_partition,
            ..Default::default()
        });
    }
    results
}
