//! Reading a group back from its records.
//!
//! Owns what each record does to the group.
//! Lives inside its group, while the coordinator loads.
//! Invariants: 1. Records in any order that compaction leaves give the same group.
//! Not here: which group a record is of (`Coordinator::replay`).

use std::sync::Arc;

use corelog_net::wire::records::consumer_group_current_member_assignment::ConsumerGroupCurrentMemberAssignmentValue;
use corelog_net::wire::records::consumer_group_member_metadata::ConsumerGroupMemberMetadataValue;
use corelog_net::wire::records::consumer_group_metadata::ConsumerGroupMetadataValue;
use corelog_net::wire::records::consumer_group_regular_expression::ConsumerGroupRegularExpressionValue;
use corelog_net::wire::records::consumer_group_target_assignment_member::ConsumerGroupTargetAssignmentMemberValue;
use corelog_net::wire::records::consumer_group_target_assignment_metadata::ConsumerGroupTargetAssignmentMetadataValue;

use super::ConsumerGroup;
use super::member::{Member, Partitions};
use super::regex::Resolved;

/// A record of a consumer group; no value: its deletion.
#[derive(Debug)]
pub(in crate::group) enum Entry {
    Group(Option<ConsumerGroupMetadataValue>),
    Member(String, Option<Box<ConsumerGroupMemberMetadataValue>>),
    TargetMetadata(Option<ConsumerGroupTargetAssignmentMetadataValue>),
    Target(String, Option<ConsumerGroupTargetAssignmentMemberValue>),
    Assignment(String, Option<ConsumerGroupCurrentMemberAssignmentValue>),
    Regex(String, Option<ConsumerGroupRegularExpressionValue>),
    /// Partitions of topics, as Kafka before 4.1 kept them: read over.
    Partitions,
}

impl Entry {
    pub(in crate::group) fn is_tombstone(&self) -> bool {
        match self {
            Self::Group(value) => value.is_none(),
            Self::Member(_, value) => value.is_none(),
            Self::TargetMetadata(value) => value.is_none(),
            Self::Target(_, value) => value.is_none(),
            Self::Assignment(_, value) => value.is_none(),
            Self::Regex(_, value) => value.is_none(),
            Self::Partitions => true,
        }
    }
}

impl ConsumerGroup {
    pub(in crate::group) fn replay(&mut self, entry: Entry) {
        match entry {
            Entry::Group(Some(value)) => drop(self.set_epoch(value.epoch, value.metadata_hash)),
            Entry::Group(None) | Entry::Partitions => {}
            Entry::Member(id, Some(value)) => {
                let (id, mut member) = self.restored(id);
                member.restore_metadata(*value);
                drop(self.set_member(id, Some(Arc::new(member))));
            }
            Entry::Member(id, None) => drop(self.set_member(id.into(), None)),
            Entry::TargetMetadata(Some(value)) => {
                drop(self.set_target_epoch(value.assignment_epoch, value.assignment_timestamp));
            }
            Entry::TargetMetadata(None) => drop(self.set_target_epoch(1, 0)),
            Entry::Target(id, Some(value)) => {
                let mut target = Partitions::new();
                for topic in value.topic_partitions {
                    let partitions = target.entry(topic.topic_id).or_default();
                    partitions.extend(topic.partitions);
                    partitions.sort_unstable();
                    partitions.dedup();
                }
                target.retain(|_, partitions| !partitions.is_empty());
                drop(self.set_target(id.into(), Some(Arc::new(target))));
            }
            Entry::Target(id, None) => drop(self.set_target(id.into(), None)),
            Entry::Assignment(id, Some(value)) => {
                let (id, mut member) = self.restored(id);
                member.restore_assignment(value);
                drop(self.set_member(id, Some(Arc::new(member))));
            }
            Entry::Assignment(id, None) => {
                let (id, mut member) = self.restored(id);
                if self.members.contains_key(&id) {
                    (member.epoch, member.previous_epoch) = (LEFT_EPOCH, LEFT_EPOCH);
                    member.assigned.clear();
                    member.revoking.clear();
                    drop(self.set_member(id, Some(Arc::new(member))));
                }
            }
            Entry::Regex(pattern, Some(value)) => {
                let topics = value.topics.into_iter().map(Arc::from).collect();
                let resolved = Resolved {
                    topics,
                    version: value.version,
                    at_ms: value.timestamp,
                };
                drop(self.set_regex(pattern.into(), Some(Arc::new(resolved))));
            }
            Entry::Regex(pattern, None) => drop(self.set_regex(pattern.into(), None)),
        }
    }

    fn restored(&self, id: String) -> (Arc<str>, Member) {
        match self.members.get_key_value(&*id) {
            Some((id, member)) => (id.clone(), Member::clone(member)),
            None => (id.into(), Member::default()),
        }
    }

    /// The log is read. Epochs that a damaged log disagrees about are made to agree, upward: nobody goes back.
    pub(in crate::group) fn read_whole(&mut self) {
        let members = self.members.values().map(|member| member.epoch);
        let target_epoch = members.max().unwrap_or(0).max(self.target_epoch);
        self.target_epoch = target_epoch;
        self.epoch = self.epoch.max(target_epoch);
        let gone: Vec<_> = self
            .targets
            .keys()
            .filter(|id| !self.members.contains_key(*id))
            .cloned()
            .collect();
        for id in gone {
            self.targets.remove(&id);
        }
        // Rebuilt, so that a partition two records claim has one holder.
        let unclear: Vec<_> = self
            .members
            .iter()
            .map(|(id, member)| (id.clone(), member.clone()))
            .collect();
        self.holders.clear();
        for (id, member) in unclear {
            self.settle_claims(&id, &member);
        }
    }

    /// Takes from the member what others have claimed before it.
    fn settle_claims(&mut self, id: &Arc<str>, member: &Arc<Member>) {
        let mut clean = Member::clone(member);
        for held in [&mut clean.assigned, &mut clean.revoking] {
            held.retain(|topic, partitions| {
                partitions.retain(|partition, _| {
                    let claimed = self.holders.insert((*topic, *partition), id.clone());
                    if let Some(before) = claimed {
                        self.holders.insert((*topic, *partition), before);
                        return false;
                    }
                    true
                });
                !partitions.is_empty()
            });
        }
        if clean != **member {
            self.members.insert(id.clone(), Arc::new(clean));
        }
    }
}

/// Kafka's for a member whose second record is gone.
const LEFT_EPOCH: i32 = -1;
