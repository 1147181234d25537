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
use corelog_net::wire::records::consumer_group_current_member_assignment::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue,
};
use corelog_net::wire::records::consumer_group_member_metadata::{
    ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue,
};
use corelog_net::wire::records::consumer_group_metadata::{
    ConsumerGroupMetadataKey, ConsumerGroupMetadataValue,
};
use corelog_net::wire::records::consumer_group_partition_metadata::ConsumerGroupPartitionMetadataKey;
use corelog_net::wire::records::consumer_group_regular_expression::{
    ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
};
use corelog_net::wire::records::consumer_group_target_assignment_member::{
    ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue,
    TopicPartition,
};
use corelog_net::wire::records::consumer_group_target_assignment_metadata::{
    ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue,
};
use corelog_net::wire::records::group_metadata::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata,
};
use corelog_net::wire::records::legacy_offset_commit::LegacyOffsetCommitKey;
use corelog_net::wire::records::offset_commit::{OffsetCommitKey, OffsetCommitValue};
use corelog_net::wire::{EncodeError, Encoder, Message, Record, Uuid};

use super::ReplayError;
use super::classic::{ClassicGroup, Member};
use super::consumer::member::{Member as Consumer, Partitions};
use super::consumer::regex::Resolved;
use super::consumer::replay::Entry;
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
    /// Something of a consumer group.
    Consumer { group: String, entry: Entry },
    /// Something this broker does not know.
    Unknown,
}

/// A key and its value; no value is a deletion.
type Pair = (Bytes, Option<Bytes>);

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

/// The epoch of a consumer group.
pub(super) fn consumer_group(group: &str, epoch: i32, metadata_hash: i64) -> Pair {
    let value = ConsumerGroupMetadataValue {
        epoch,
        metadata_hash,
        ..Default::default()
    };
    (consumer_group_key(group), Some(consumer_value(&value)))
}

/// The deletion of a consumer group.
pub(super) fn consumer_group_tombstone(group: &str) -> Pair {
    (consumer_group_key(group), None)
}

/// The deletion of what Kafka before 4.1 kept of a consumer group's topics.
pub(super) fn consumer_partitions_tombstone(group: &str) -> Pair {
    let group_id = group.to_owned();
    let key = encode_key(&ConsumerGroupPartitionMetadataKey { group_id });
    (key.expect(CHECKED), None)
}

/// What a member of a consumer group said.
pub(super) fn consumer_member(group: &str, id: &str, member: &Consumer) -> Pair {
    let value = Some(consumer_value(&member.metadata_value()));
    (consumer_member_key(group, id), value)
}

/// The member is gone.
pub(super) fn consumer_member_tombstone(group: &str, id: &str) -> Pair {
    (consumer_member_key(group, id), None)
}

/// The epoch of the targets, and when they were made.
pub(super) fn consumer_target_metadata(group: &str, epoch: i32, at_ms: i64) -> Pair {
    let value = ConsumerGroupTargetAssignmentMetadataValue {
        assignment_epoch: epoch,
        assignment_timestamp: at_ms,
        ..Default::default()
    };
    (target_metadata_key(group), Some(consumer_value(&value)))
}

/// There are no targets any more.
pub(super) fn consumer_target_metadata_tombstone(group: &str) -> Pair {
    (target_metadata_key(group), None)
}

/// What a member is to have.
pub(super) fn consumer_target(group: &str, id: &str, target: &Partitions) -> Pair {
    let topic = |(topic_id, partitions): (&Uuid, &Vec<i32>)| TopicPartition {
        topic_id: *topic_id,
        partitions: partitions.clone(),
        ..Default::default()
    };
    let value = ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: target.iter().map(topic).collect(),
        ..Default::default()
    };
    (target_key(group, id), Some(consumer_value(&value)))
}

/// The member is to have nothing, because it is gone.
pub(super) fn consumer_target_tombstone(group: &str, id: &str) -> Pair {
    (target_key(group, id), None)
}

/// What a member has.
pub(super) fn consumer_assignment(group: &str, id: &str, member: &Consumer) -> Pair {
    let value = Some(consumer_value(&member.assignment_value()));
    (assignment_key(group, id), value)
}

/// The member has nothing, because it is gone.
pub(super) fn consumer_assignment_tombstone(group: &str, id: &str) -> Pair {
    (assignment_key(group, id), None)
}

/// The topics of a regular expression.
pub(super) fn consumer_regex(group: &str, pattern: &str, resolved: &Resolved) -> Pair {
    let value = ConsumerGroupRegularExpressionValue {
        topics: resolved.topics.iter().map(ToString::to_string).collect(),
        version: resolved.version,
        timestamp: resolved.at_ms,
        ..Default::default()
    };
    (regex_key(group, pattern), Some(consumer_value(&value)))
}

/// Nobody uses the expression any more.
pub(super) fn consumer_regex_tombstone(group: &str, pattern: &str) -> Pair {
    (regex_key(group, pattern), None)
}

fn consumer_value(value: &impl Message) -> Bytes {
    encode(0, 0, value).expect(CHECKED)
}

fn consumer_group_key(group: &str) -> Bytes {
    let group_id = group.to_owned();
    encode_key(&ConsumerGroupMetadataKey { group_id }).expect(CHECKED)
}

fn target_metadata_key(group: &str) -> Bytes {
    let group_id = group.to_owned();
    encode_key(&ConsumerGroupTargetAssignmentMetadataKey { group_id }).expect(CHECKED)
}

fn consumer_member_key(group: &str, id: &str) -> Bytes {
    let (group_id, member_id) = (group.to_owned(), id.to_owned());
    let key = ConsumerGroupMemberMetadataKey {
        group_id,
        member_id,
    };
    encode_key(&key).expect(CHECKED)
}

fn target_key(group: &str, id: &str) -> Bytes {
    let (group_id, member_id) = (group.to_owned(), id.to_owned());
    let key = ConsumerGroupTargetAssignmentMemberKey {
        group_id,
        member_id,
    };
    encode_key(&key).expect(CHECKED)
}

fn assignment_key(group: &str, id: &str) -> Bytes {
    let (group_id, member_id) = (group.to_owned(), id.to_owned());
    let key = ConsumerGroupCurrentMemberAssignmentKey {
        group_id,
        member_id,
    };
    encode_key(&key).expect(CHECKED)
}

fn regex_key(group: &str, pattern: &str) -> Bytes {
    let key = ConsumerGroupRegularExpressionKey {
        group_id: group.to_owned(),
        regular_expression: pattern.to_owned(),
    };
    encode_key(&key).expect(CHECKED)
}

/// Texts are bounded where they come in.
const CHECKED: &str = "texts were checked when they came in";

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
        _ => decode_consumer(kind, &key, value),
    }
}

/// The records of consumer groups.
fn decode_consumer(kind: i16, key: &Bytes, value: Option<&[u8]>) -> Result<Stored, ReplayError> {
    fn read<K: Message>(key: &Bytes) -> Result<K, ReplayError> {
        K::from_bytes(key, 0).map_err(|_| ReplayError::Key)
    }
    /// Outside `None`: a version of the future; inside: a deletion.
    #[expect(
        clippy::option_option,
        reason = "two different nothings, for two lines"
    )]
    fn decode<M: Message>(value: Option<&[u8]>) -> Result<Option<Option<M>>, ReplayError> {
        Ok(match decode_value(value)? {
            Value::Known(value) => Some(Some(value)),
            Value::Tombstone => Some(None),
            Value::Unknown => None,
        })
    }
    let (group, entry) = match kind {
        ConsumerGroupMetadataKey::RECORD_TYPE => {
            let key: ConsumerGroupMetadataKey = read(key)?;
            (key.group_id, decode(value)?.map(Entry::Group))
        }
        ConsumerGroupPartitionMetadataKey::RECORD_TYPE => {
            let key: ConsumerGroupPartitionMetadataKey = read(key)?;
            (key.group_id, Some(Entry::Partitions))
        }
        ConsumerGroupMemberMetadataKey::RECORD_TYPE => {
            let key: ConsumerGroupMemberMetadataKey = read(key)?;
            let value = decode::<ConsumerGroupMemberMetadataValue>(value)?;
            let entry = value.map(|value| Entry::Member(key.member_id, value.map(Box::new)));
            (key.group_id, entry)
        }
        ConsumerGroupTargetAssignmentMetadataKey::RECORD_TYPE => {
            let key: ConsumerGroupTargetAssignmentMetadataKey = read(key)?;
            (key.group_id, decode(value)?.map(Entry::TargetMetadata))
        }
        ConsumerGroupTargetAssignmentMemberKey::RECORD_TYPE => {
            let key: ConsumerGroupTargetAssignmentMemberKey = read(key)?;
            let value = decode(value)?;
            (
                key.group_id,
                value.map(|value| Entry::Target(key.member_id, value)),
            )
        }
        ConsumerGroupCurrentMemberAssignmentKey::RECORD_TYPE => {
            let key: ConsumerGroupCurrentMemberAssignmentKey = read(key)?;
            let value = decode::<ConsumerGroupCurrentMemberAssignmentValue>(value)?;
            (
                key.group_id,
                value.map(|value| Entry::Assignment(key.member_id, value)),
            )
        }
        ConsumerGroupRegularExpressionKey::RECORD_TYPE => {
            let key: ConsumerGroupRegularExpressionKey = read(key)?;
            let value = decode(value)?;
            (
                key.group_id,
                value.map(|value| Entry::Regex(key.regular_expression, value)),
            )
        }
        _ => return Ok(Stored::Unknown),
    };
    Ok(entry.map_or(Stored::Unknown, |entry| Stored::Consumer { group, entry }))
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
