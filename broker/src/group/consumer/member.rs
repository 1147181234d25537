//! One member of a consumer group, and its two records.
//!
//! Owns what a member said of itself and what it holds.
//! Lives inside its group, shared with the undo of changes that are not stored yet.
//! Invariants: 1. A member is never changed in place: a new one takes its place, as a record does in the log.
//! Not here: how what it holds changes (`reconcile`), its timers (`ConsumerGroup`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use corelog_net::wire::Uuid;
use corelog_net::wire::records::consumer_group_current_member_assignment as current;
use corelog_net::wire::records::consumer_group_member_metadata as metadata;

/// Partitions by topic, ascending and without empty topics.
pub(in crate::group) type Partitions = BTreeMap<Uuid, Vec<i32>>;

/// Partitions by topic, each with the epoch in which the member got it; no empty topics.
pub(in crate::group) type Held = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// A member that waits for nothing but its next heartbeat.
pub(in crate::group) const LEAVE_EPOCH: i32 = -1;

/// A static member that will come back.
pub(in crate::group) const LEAVE_STATIC_EPOCH: i32 = -2;

/// Where a member is on its way to its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::group) enum MemberState {
    /// It holds its target, as of its epoch.
    #[default]
    Stable,
    /// It must give partitions back first.
    UnrevokedPartitions,
    /// It waits for partitions that others still hold.
    UnreleasedPartitions,
    /// Written by a broker of the future.
    Unknown,
}

impl MemberState {
    const fn code(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }

    const fn from_code(code: i8) -> Self {
        match code {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }
}

/// What a member of the classic protocol said when it joined.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::group) struct Classic {
    pub(in crate::group) session_timeout_ms: i32,
    /// Preferred first.
    pub(in crate::group) protocols: Vec<(Arc<str>, Bytes)>,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::group) struct Member {
    pub(in crate::group) instance_id: Option<Arc<str>>,
    pub(in crate::group) rack_id: Option<Arc<str>>,
    pub(in crate::group) client_id: Arc<str>,
    pub(in crate::group) client_host: Arc<str>,
    pub(in crate::group) topics: BTreeSet<Arc<str>>,
    /// Never empty.
    pub(in crate::group) regex: Option<Arc<str>>,
    pub(in crate::group) rebalance_timeout_ms: i32,
    pub(in crate::group) assignor: Option<Arc<str>>,
    /// It speaks the classic protocol.
    pub(in crate::group) classic: Option<Classic>,
    pub(in crate::group) epoch: i32,
    /// Its epoch before: the answer that told it the newer one may have been lost.
    pub(in crate::group) previous_epoch: i32,
    pub(in crate::group) state: MemberState,
    /// What it holds, or may take at once.
    pub(in crate::group) assigned: Held,
    /// What it must give back.
    pub(in crate::group) revoking: Held,
}

impl Member {
    pub(in crate::group) fn is_classic(&self) -> bool {
        self.classic.is_some()
    }

    /// It has reached the assignment of this epoch.
    pub(in crate::group) fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// The member as it enters another epoch.
    pub(in crate::group) fn set_epoch(&mut self, epoch: i32) {
        self.previous_epoch = self.epoch;
        self.epoch = epoch;
    }

    /// The epoch in which it got a partition that it holds.
    pub(in crate::group) fn epoch_of(&self, topic: Uuid, partition: i32) -> Option<i32> {
        let find = |held: &Held| held.get(&topic)?.get(&partition).copied();
        find(&self.assigned).or_else(|| find(&self.revoking))
    }

    /// Whether all of `owned` is its to hold.
    pub(in crate::group) fn may_hold(&self, owned: &[(Uuid, Vec<i32>)]) -> bool {
        owned.iter().all(|(topic, partitions)| {
            let held = self.assigned.get(topic);
            partitions
                .iter()
                .all(|partition| held.is_some_and(|held| held.contains_key(partition)))
        })
    }

    /// Whether both would write the same first record.
    pub(in crate::group) fn says_the_same(&self, other: &Self) -> bool {
        self.instance_id == other.instance_id
            && self.rack_id == other.rack_id
            && self.client_id == other.client_id
            && self.client_host == other.client_host
            && self.topics == other.topics
            && self.regex == other.regex
            && self.rebalance_timeout_ms == other.rebalance_timeout_ms
            && self.assignor == other.assignor
            && self.classic == other.classic
    }

    /// Whether both would write the same second record.
    pub(in crate::group) fn holds_the_same(&self, other: &Self) -> bool {
        self.epoch == other.epoch
            && self.previous_epoch == other.previous_epoch
            && self.state == other.state
            && self.assigned == other.assigned
            && self.revoking == other.revoking
    }

    /// What is told to it: partitions it may use.
    pub(in crate::group) fn assignment(&self) -> Vec<(Uuid, Vec<i32>)> {
        flatten(&self.assigned)
    }

    pub(in crate::group) fn metadata_value(&self) -> metadata::ConsumerGroupMemberMetadataValue {
        let text = |text: &Option<Arc<str>>| text.as_deref().map(String::from);
        let classic = self.classic.as_ref();
        metadata::ConsumerGroupMemberMetadataValue {
            instance_id: text(&self.instance_id),
            rack_id: text(&self.rack_id),
            client_id: self.client_id.to_string(),
            client_host: self.client_host.to_string(),
            subscribed_topic_names: self.topics.iter().map(ToString::to_string).collect(),
            subscribed_topic_regex: Some(self.regex.as_deref().unwrap_or_default().to_owned()),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            server_assignor: text(&self.assignor),
            classic_member_metadata: classic.map(|classic| metadata::ClassicMemberMetadata {
                session_timeout_ms: classic.session_timeout_ms,
                supported_protocols: classic
                    .protocols
                    .iter()
                    .map(|(name, metadata)| metadata::ClassicProtocol {
                        name: name.to_string(),
                        metadata: metadata.clone(),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// Takes over what its first record says; what it holds stays.
    pub(in crate::group) fn restore_metadata(
        &mut self,
        value: metadata::ConsumerGroupMemberMetadataValue,
    ) {
        self.instance_id = value.instance_id.map(Arc::from);
        self.rack_id = value.rack_id.map(Arc::from);
        self.client_id = value.client_id.into();
        self.client_host = value.client_host.into();
        let topics = value.subscribed_topic_names.into_iter();
        self.topics = topics.map(Arc::from).collect();
        let regex = value.subscribed_topic_regex.filter(|text| !text.is_empty());
        self.regex = regex.map(Arc::from);
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.assignor = value.server_assignor.map(Arc::from);
        self.classic = value.classic_member_metadata.map(|classic| Classic {
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic
                .supported_protocols
                .into_iter()
                .map(|protocol| (protocol.name.into(), protocol.metadata))
                .collect(),
        });
    }

    pub(in crate::group) fn assignment_value(
        &self,
    ) -> current::ConsumerGroupCurrentMemberAssignmentValue {
        let topics = |held: &Held| {
            let topic =
                |(topic_id, partitions): (&Uuid, &BTreeMap<i32, i32>)| current::TopicPartitions {
                    topic_id: *topic_id,
                    partitions: partitions.keys().copied().collect(),
                    assignment_epochs: Some(partitions.values().copied().collect()),
                    ..Default::default()
                };
            held.iter().map(topic).collect()
        };
        current::ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state.code(),
            assigned_partitions: topics(&self.assigned),
            partitions_pending_revocation: topics(&self.revoking),
            ..Default::default()
        }
    }

    /// Takes over what its second record says. Kafka before 4.3 does not say when a partition came: the member's epoch
    /// then stands for it, so that nothing older can commit.
    pub(in crate::group) fn restore_assignment(
        &mut self,
        value: current::ConsumerGroupCurrentMemberAssignmentValue,
    ) {
        let epoch = value.member_epoch;
        let held = |topics: Vec<current::TopicPartitions>| {
            let mut held = Held::new();
            for topic in topics {
                let epochs = topic.assignment_epochs.unwrap_or_default();
                let epochs = epochs.into_iter().chain(std::iter::repeat(epoch));
                let partitions: BTreeMap<i32, i32> =
                    topic.partitions.into_iter().zip(epochs).collect();
                if !partitions.is_empty() {
                    held.insert(topic.topic_id, partitions);
                }
            }
            held
        };
        self.epoch = epoch;
        self.previous_epoch = value.previous_member_epoch;
        self.state = MemberState::from_code(value.state);
        self.assigned = held(value.assigned_partitions);
        self.revoking = held(value.partitions_pending_revocation);
    }
}

/// Topics and partitions without their epochs.
pub(in crate::group) fn flatten(held: &Held) -> Vec<(Uuid, Vec<i32>)> {
    held.iter()
        .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
        .collect()
}
