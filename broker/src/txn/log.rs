//! The records of `__transaction_state`, as Kafka 4.3 writes them.
//!
//! Owns which version of which field is written, and what is made of each record that is read.
//! Lives inside its coordinator.
//! Invariants:
//! 1. What is written here reads back here as the same state.
//! 2. A record of a version this broker does not know is skipped, never an error.
//!
//! Not here: the layout of the records (`corelog_net::wire::records`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use corelog_net::wire::records::transaction_log::{
    PartitionsSchema, TransactionLogKey, TransactionLogValue,
};
use corelog_net::wire::{EncodeError, Encoder, Message};
use corelog_storage::types::TopicPartition;

use super::ReplayError;
use super::state::{State, Transaction, Version};

/// A record, understood.
#[derive(Debug)]
pub(super) enum Stored {
    /// What is known of an id, or (`None`) that it is forgotten.
    Transaction(String, Option<Box<Transaction>>),
    /// Something this broker does not know.
    Unknown,
}

/// Version of the values. Level 0 of `transaction.version` knows no tagged fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Version 0.
    Plain,
    /// Version 1, flexible.
    Tagged,
}

/// The record that keeps `transaction`.
pub(super) fn transaction(
    id: &str,
    transaction: &Transaction,
    format: Format,
) -> Result<(Bytes, Option<Bytes>), EncodeError> {
    let mut topics: BTreeMap<&Arc<str>, Vec<i32>> = BTreeMap::new();
    for partition in &transaction.partitions {
        topics
            .entry(&partition.topic)
            .or_default()
            .push(partition.partition);
    }
    let topics = topics
        .into_iter()
        .map(|(topic, partition_ids)| PartitionsSchema {
            topic: topic.to_string(),
            partition_ids,
            ..PartitionsSchema::default()
        });
    let mut value = TransactionLogValue {
        producer_id: transaction.producer_id,
        producer_epoch: transaction.epoch,
        transaction_timeout_ms: transaction.timeout_ms,
        transaction_status: transaction.state.id(),
        transaction_partitions: (transaction.state != State::Empty).then(|| topics.collect()),
        transaction_last_update_timestamp_ms: transaction.update_ms,
        transaction_start_timestamp_ms: transaction.start_ms,
        ..TransactionLogValue::default()
    };
    let version = match format {
        Format::Plain => 0,
        Format::Tagged => {
            value.previous_producer_id = transaction.previous_producer_id;
            value.next_producer_id = transaction.next_producer_id;
            value.client_transaction_version = transaction.version.level();
            1
        }
    };
    Ok((key(id)?, Some(encode(version, version, &value)?)))
}

/// The record that forgets an id.
pub(super) fn tombstone(id: &str) -> Result<(Bytes, Option<Bytes>), EncodeError> {
    Ok((key(id)?, None))
}

fn key(id: &str) -> Result<Bytes, EncodeError> {
    let key = TransactionLogKey {
        transactional_id: id.to_owned(),
    };
    encode(0, 0, &key)
}

fn encode(prefix: i16, version: i16, message: &impl Message) -> Result<Bytes, EncodeError> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&prefix.to_be_bytes());
    message.encode(&mut Encoder::new(&mut out), version)?;
    Ok(out.into())
}

/// Understands a record.
pub(super) fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Stored, ReplayError> {
    let (version, key) = split(key).ok_or(ReplayError::Key)?;
    if !TransactionLogKey::VALID_VERSIONS.contains(&version) {
        return Ok(Stored::Unknown);
    }
    let key = TransactionLogKey::from_bytes(&key, version).map_err(|_| ReplayError::Key)?;
    let Some(value) = value else {
        return Ok(Stored::Transaction(key.transactional_id, None));
    };
    let (version, value) = split(value).ok_or(ReplayError::Value)?;
    if !TransactionLogValue::VALID_VERSIONS.contains(&version) {
        return Ok(Stored::Unknown);
    }
    let value = TransactionLogValue::from_bytes(&value, version).map_err(|_| ReplayError::Value)?;
    let state = State::from_id(value.transaction_status).ok_or(ReplayError::Value)?;
    let mut partitions = BTreeSet::new();
    for topic in value.transaction_partitions.unwrap_or_default() {
        let name: Arc<str> = topic.topic.into();
        partitions.extend(
            topic
                .partition_ids
                .into_iter()
                .map(|partition| TopicPartition {
                    topic: Arc::clone(&name),
                    partition,
                }),
        );
    }
    let transaction = Transaction {
        producer_id: value.producer_id,
        previous_producer_id: value.previous_producer_id,
        next_producer_id: value.next_producer_id,
        epoch: value.producer_epoch,
        last_epoch: -1,
        timeout_ms: value.transaction_timeout_ms,
        state,
        partitions,
        start_ms: value.transaction_start_timestamp_ms,
        update_ms: value.transaction_last_update_timestamp_ms,
        version: Version::of_level(value.client_transaction_version),
    };
    Ok(Stored::Transaction(
        key.transactional_id,
        Some(Box::new(transaction)),
    ))
}

/// Copies: the state outlives the batch that was read.
fn split(bytes: &[u8]) -> Option<(i16, Bytes)> {
    let (prefix, rest) = bytes.split_first_chunk::<2>()?;
    Some((i16::from_be_bytes(*prefix), Bytes::copy_from_slice(rest)))
}
