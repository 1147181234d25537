//! **Owns** transactions and producers: list, describe, abort, terminate.
//! **Lives on** the client's thread.
//! **Invariants** those of [`super`].
//! **Not here** what a command prints (`cli`).

use std::collections::BTreeMap;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::describe_producers::{
    DescribeProducersRequest, PartitionResponse, TopicRequest,
};
use corelog_net::wire::messages::describe_transactions::{
    DescribeTransactionsRequest, TransactionState,
};
use corelog_net::wire::messages::init_producer_id::InitProducerIdRequest;
use corelog_net::wire::messages::list_transactions::{self, ListTransactionsRequest};
use corelog_net::wire::messages::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use corelog_runtime::{now, sleep};

use super::Admin;
use crate::client::{ApiError, Coordinates};

/// Which transactions are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionFilter {
    /// Of these producer ids; of all when empty.
    pub producer_ids: Vec<i64>,
    /// Running at least so long, in milliseconds.
    pub duration_ms: Option<i64>,
    /// Whose transactional id matches this regular expression.
    pub id_pattern: Option<String>,
}

/// A transaction marker to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Where to.
    pub topic: String,
    /// Where to.
    pub partition: i32,
    /// Whose transaction.
    pub producer_id: i64,
    /// Whose transaction.
    pub producer_epoch: i16,
    /// The coordinator's; −1 when unknown.
    pub coordinator_epoch: i32,
}

impl Admin {
    /// Transactions by the broker that coordinates them.
    pub async fn list_transactions(
        &self,
        filter: &TransactionFilter,
    ) -> Result<BTreeMap<i32, Vec<list_transactions::TransactionState>>, ApiError> {
        let request = ListTransactionsRequest {
            producer_id_filters: filter.producer_ids.clone(),
            duration_filter: filter.duration_ms.unwrap_or(-1),
            transactional_id_pattern: filter.id_pattern.clone(),
            ..ListTransactionsRequest::default()
        };
        let brokers: Vec<i32> = self.client.metadata().brokers().map(|b| b.id).collect();
        let mut found = BTreeMap::new();
        for broker in brokers {
            let until = now() + self.client.config().api_timeout;
            let response = loop {
                let response = self.node(broker, &request).await?;
                let code = ApiError::check(response.error_code, None);
                match code {
                    Ok(()) => break response,
                    Err(error) if error.is_retriable() && now() < until => {
                        sleep(self.client.config().retry_backoff).await;
                    }
                    Err(error) => return Err(error),
                }
            };
            found.insert(broker, response.transaction_states);
        }
        Ok(found)
    }

    /// A transactional id's coordinator and state.
    pub async fn describe_transaction(
        &self,
        id: &str,
    ) -> Result<(i32, TransactionState), ApiError> {
        let request = DescribeTransactionsRequest {
            transactional_ids: vec![id.to_owned()],
            ..DescribeTransactionsRequest::default()
        };
        let until = now() + self.client.config().api_timeout;
        loop {
            let node = self
                .client
                .coordinator(Coordinates::Transaction, id)
                .await?;
            let response = self.node(node, &request).await?;
            let state = response
                .transaction_states
                .into_iter()
                .next()
                .ok_or_else(|| ApiError::code(ErrorCode::UnknownServerError))?;
            match ApiError::check(state.error_code, None) {
                Ok(()) => return Ok((node, state)),
                Err(error) if error.is_retriable() && now() < until => {
                    sleep(self.client.config().retry_backoff).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The producers that a broker, by default the leader, knows of partitions.
    pub async fn describe_producers(
        &self,
        of: &[(String, i32)],
        broker: Option<i32>,
    ) -> Result<BTreeMap<(String, i32), Result<PartitionResponse, ApiError>>, ApiError> {
        let mut by_broker: BTreeMap<i32, BTreeMap<&str, Vec<i32>>> = BTreeMap::new();
        let mut found = BTreeMap::new();
        for (topic, partition) in of {
            let node = if let Some(id) = broker {
                id
            } else {
                self.client.topic(topic).await?;
                let leader = self.client.metadata().leader(topic, *partition);
                let Some((leader, _)) = leader else {
                    let unknown = ApiError::code(ErrorCode::UnknownTopicOrPartition);
                    found.insert((topic.clone(), *partition), Err(unknown));
                    continue;
                };
                leader
            };
            let topics = by_broker.entry(node).or_default();
            topics.entry(topic).or_default().push(*partition);
        }
        for (node, topics) in by_broker {
            let request = DescribeProducersRequest {
                topics: topics
                    .into_iter()
                    .map(|(name, partition_indexes)| TopicRequest {
                        name: name.to_owned(),
                        partition_indexes,
                        ..TopicRequest::default()
                    })
                    .collect(),
                ..DescribeProducersRequest::default()
            };
            let response = self.node(node, &request).await?;
            for topic in response.topics {
                for partition in topic.partitions {
                    let at = (topic.name.clone(), partition.partition_index);
                    let result =
                        ApiError::check(partition.error_code, partition.error_message.clone());
                    found.insert(at, result.map(|()| partition));
                }
            }
        }
        Ok(found)
    }

    /// Writes an abort marker into a partition.
    pub async fn abort_transaction(&self, marker: &Marker) -> Result<(), ApiError> {
        self.client.topic(&marker.topic).await?;
        let leader = self
            .client
            .metadata()
            .leader(&marker.topic, marker.partition);
        let (leader, _) =
            leader.ok_or_else(|| ApiError::code(ErrorCode::UnknownTopicOrPartition))?;
        let request = WriteTxnMarkersRequest {
            markers: vec![WritableTxnMarker {
                producer_id: marker.producer_id,
                producer_epoch: marker.producer_epoch,
                transaction_result: false,
                topics: vec![WritableTxnMarkerTopic {
                    name: marker.topic.clone(),
                    partition_indexes: vec![marker.partition],
                    ..WritableTxnMarkerTopic::default()
                }],
                coordinator_epoch: marker.coordinator_epoch,
                ..WritableTxnMarker::default()
            }],
            ..WriteTxnMarkersRequest::default()
        };
        let response = self.node(leader, &request).await?;
        for partition in response
            .markers
            .into_iter()
            .flat_map(|marker| marker.topics)
            .flat_map(|topic| topic.partitions)
        {
            ApiError::check(partition.error_code, None)?;
        }
        Ok(())
    }

    /// Ends the open transaction of a transactional id by taking its place.
    pub async fn terminate_transaction(&self, id: &str) -> Result<(), ApiError> {
        let request = InitProducerIdRequest {
            transactional_id: Some(id.to_owned()),
            // Kafka's tool fences with the shortest transaction there is.
            transaction_timeout_ms: 1,
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdRequest::default()
        };
        let until = now() + self.client.config().api_timeout;
        loop {
            let node = self
                .client
                .coordinator(Coordinates::Transaction, id)
                .await?;
            let response = self.node(node, &request).await?;
            match ApiError::check(response.error_code, None) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_retriable() && now() < until => {
                    sleep(self.client.config().retry_backoff).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
