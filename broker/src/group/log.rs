//! The records of the offsets partition, as Kafka 4.3 writes them.
//!
//! Owns which version of which record is written, and what is made of each record that is read.
//! Lives inside its coordinator.
//! Invariants:
//! 1. What is written here reads back here as the same state.
//! 2. A record of a kind or version this broker does not know is skipped, never an error.
//!
//! Not here: the layout of the records (`corelog_net::wire::records`).

use std::sync::Arc;

use bytes::Bytes;
use corelog_net::wire::records::group_metadata::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata,
};
use corelog_net::wire::records::legacy_offset_commit::LegacyOffsetCommitKey;
use corelog_net::wire::records::offset_commit::{OffsetCommitKey, OffsetCommitValue};
use corelog_net::wire::{EncodeError, Encoder, Message, Record, Uuid};

use super::ReplayError;
use super::classic::{ClassicGroup, Member};
use super::offsets::Committed;

/// A record of the partition, understood.
#[derive(Debug)]
pub(super) enum Stored {
    /// An offset, or its deletion.
    Offset {
        group: String,
        topic: String,
        partition: i32,
        value: Option<Committed>,
    },
    /// A classic group, or its deletion.
    ClassicGroup {
        group: String,
        value: Option<Box<GroupMetadataValue>>,
    },
    /// Something this broker does not know.
    Unknown,
}

/// The record of a classic group with these assignments.
pub(super) fn classic_group(
    group: &ClassicGroup,
    assignment: impl Fn(&Arc<str>, &Member) -> Bytes,
) -> (Bytes, Option<Bytes>) {
    let protocol = group.protocol.as_deref();
    let store = |(id, member): (&Arc<str>, &Member)| MemberMetadata {
        member_id: id.to_string(),
        group_instance_id: member.instance_id.as_deref().map(String::from),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: protocol
            .map(|protocol| member.metadata(protocol))
            .unwrap_or_default(),
        assignment: assignment(id, member),
        ..MemberMetadata::default()
    };
    let value = GroupMetadataValue {
        protocol_type: group
            .protocol_type
            .as_deref()
            .unwrap_or_default()
            .to_owned(),
        generation: group.generation,
        protocol: protocol.map(String::from),
        // A group without members has no leader; one whose members left keeps none either.
        leader: group.leader.as_deref().map(String::from),
        current_state_timestamp: group.state_since_ms.unwrap_or(-1),
        members: group.members.iter().map(store).collect(),
        ..GroupMetadataValue::default()
    };
    let value = encode(GROUP_VALUE_VERSION, GROUP_VALUE_VERSION, &value)
        .expect("texts were checked when they came in");
    (group_key(&group.id), Some(value))
}

/// The deletion of a classic group.
pub(super) fn classic_group_tombstone(group: &str) -> (Bytes, Option<Bytes>) {
    (group_key(group), None)
}

fn group_key(group: &str) -> Bytes {
    let key = GroupMetadataKey {
        group: group.to_owned(),
    };
    encode_key(&key).expect("group ids were checked when they came in")
}

/// A committed offset. Fails when its metadata does not fit the version the record needs.
pub(super) fn offset(
    group: &str,
    topic: &str,
    partition: i32,
    committed: &Committed,
) -> Result<(Bytes, Option<Bytes>), EncodeError> {
    // Only version 1 knows an end of its own; it knows neither leader epoch nor topic id.
    let version = if committed.expire_ms.is_some() {
        1
    } else {
        OFFSET_VALUE_VERSION
    };
    let value = OffsetCommitValue {
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata.to_string(),
        commit_timestamp: committed.commit_ms,
        expire_timestamp: committed.expire_ms.unwrap_or(-1),
        topic_id: Uuid(committed.topic_id),
        ..OffsetCommitValue::default()
    };
    Ok((
        offset_key(group, topic, partition)?,
        Some(encode(version, version, &value)?),
    ))
}

/// The deletion of an offset.
pub(super) fn offset_tombstone(group: &str, topic: &str, partition: i32) -> (Bytes, Option<Bytes>) {
    let key =
        offset_key(group, topic, partition).expect("an offset with this key was written or read");
    (key, None)
}

fn offset_key(group: &str, topic: &str, partition: i32) -> Result<Bytes, EncodeError> {
    let key = OffsetCommitKey {
        group: group.to_owned(),
        topic: topic.to_owned(),
        partition,
    };
    encode_key(&key)
}

/// A key begins with the kind of its record, a value with its version.
fn encode_key<M: Record>(key: &M) -> Result<Bytes, EncodeError> {
    encode(M::RECORD_TYPE, 0, key)
}

fn encode(prefix: i16, version: i16, message: &impl Message) -> Result<Bytes, EncodeError> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&prefix.to_be_bytes());
    message.encode(&mut Encoder::new(&mut out), version)?;
    Ok(out.into())
}

/// Understands a record. `sequence` is its place among all records read and written.
pub(super) fn decode(
    key: &[u8],
    value: Option<&[u8]>,
    sequence: u64,
) -> Result<Stored, ReplayError> {
    let (kind, key) = split(key).ok_or(ReplayError::Key)?;
    match kind {
        OffsetCommitKey::RECORD_TYPE | LegacyOffsetCommitKey::RECORD_TYPE => {
            let key = OffsetCommitKey::from_bytes(&key, 0).map_err(|_| ReplayError::Key)?;
            let committed = |value: OffsetCommitValue| Committed {
                offset: value.offset,
                leader_epoch: value.leader_epoch,
                metadata: value.metadata.into(),
                commit_ms: value.commit_timestamp,
                expire_ms: (value.expire_timestamp != -1).then_some(value.expire_timestamp),
                topic_id: value.topic_id.0,
                sequence,
            };
            let value = match decode_value(value)? {
                Value::Known(value) => Some(committed(value)),
                Value::Tombstone => None,
                Value::Unknown => return Ok(Stored::Unknown),
            };
            let OffsetCommitKey {
                group,
                topic,
                partition,
            } = key;
            Ok(Stored::Offset {
                group,
                topic,
                partition,
                value,
            })
        }
        GroupMetadataKey::RECORD_TYPE => {
            let key = GroupMetadataKey::from_bytes(&key, 0).map_err(|_| ReplayError::Key)?;
            let value = match decode_value(value)? {
                Value::Known(value) => Some(Box::new(value)),
                Value::Tombstone => None,
                Value::Unknown => return Ok(Stored::Unknown),
            };
            Ok(Stored::ClassicGroup {
                group: key.group,
                value,
            })
        }
        _ => Ok(Stored::Unknown),
    }
}

/// A value, as far as this broker can read it.
enum Value<M> {
    Known(M),
    Tombstone,
    /// A version of the future.
    Unknown,
}

fn decode_value<M: Message>(value: Option<&[u8]>) -> Result<Value<M>, ReplayError> {
    let Some(value) = value else {
        return Ok(Value::Tombstone);
    };
    let (version, value) = split(value).ok_or(ReplayError::Value)?;
    if !M::VALID_VERSIONS.contains(&version) {
        return Ok(Value::Unknown);
    }
    M::from_bytes(&value, version)
        .map(Value::Known)
        .map_err(|_| ReplayError::Value)
}

/// Copies: the state outlives the batch that was read.
fn split(bytes: &[u8]) -> Option<(i16, Bytes)> {
    let (prefix, rest) = bytes.split_first_chunk::<2>()?;
    Some((i16::from_be_bytes(*prefix), Bytes::copy_from_slice(rest)))
}

const GROUP_VALUE_VERSION: i16 = 3;
const OFFSET_VALUE_VERSION: i16 = 4;
