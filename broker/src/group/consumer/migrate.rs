//! From the classic protocol to this one and back, in a live group.
//!
//! Owns the conversions and when they are allowed (`group.consumer.migration.policy`).
//! Lives inside the coordinator.
//! Invariants: 1. No member is lost and nothing it holds changes hands by a conversion.
//! Not here: members of the classic protocol once they are in the group (`classic`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use corelog_net::wire::messages::consumer_protocol_assignment::{
    ConsumerProtocolAssignment, TopicPartition,
};
use corelog_net::wire::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use corelog_net::wire::{Message, Uuid};

use super::ConsumerGroup;
use super::heartbeat::Refusal;
use super::member::{Classic, Held, Member};
use crate::group::classic::{self, ClassicGroup};
use crate::group::step::Step;
use crate::group::{GroupError, GroupSettings, log};
use crate::metadata::Image;

/// `group.consumer.migration.policy`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Groups change both ways.
    #[default]
    Bidirectional,
    /// Classic groups become consumer groups.
    Upgrade,
    /// Consumer groups become classic groups.
    Downgrade,
    /// Groups keep their type while they have members.
    Disabled,
}

impl MigrationPolicy {
    /// The policy of a name, in any case; the default for any other.
    pub fn from_name(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "upgrade" => Self::Upgrade,
            "downgrade" => Self::Downgrade,
            "disabled" => Self::Disabled,
            _ => Self::Bidirectional,
        }
    }

    fn upgrades(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Upgrade)
    }

    fn downgrades(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Downgrade)
    }
}

impl ConsumerGroup {
    /// The consumer group that a classic group with members would be, or why it cannot.
    pub(in crate::group) fn upgrade(
        classic: &ClassicGroup,
        settings: &GroupSettings,
        image: &Image,
    ) -> Result<Self, Refusal> {
        let refuse = |why: &str| {
            let text = format!(
                "Cannot upgrade classic group {} to consumer group because {why}.",
                classic.id
            );
            Err(Refusal::new(GroupError::GroupIdNotFound, text))
        };
        if !settings.consumer.migration_policy.upgrades() {
            return refuse("online upgrade is disabled");
        }
        if !classic.uses_consumer_protocol() {
            return refuse("the group does not use the consumer embedded protocol");
        }
        if classic.members.len() > settings.consumer.members_max {
            return refuse("the group size exceeds the consumer group maximum size");
        }
        let mut group = Self::new(classic.id.clone());
        (group.epoch, group.target_epoch) = (classic.generation, classic.generation);
        for (id, member) in &classic.members {
            let Some(member) = upgraded(classic, member, image) else {
                return refuse("the embedded consumer protocol is malformed");
            };
            let target = member
                .assigned
                .iter()
                .map(|(topic, held)| (*topic, held.keys().copied().collect()));
            drop(group.set_target(id.clone(), Some(Arc::new(target.collect()))));
            drop(group.set_member(id.clone(), Some(Arc::new(member))));
        }
        // Two members with the same partition: an assignor of somebody's own that shares them.
        let held: usize = group
            .members
            .values()
            .flat_map(|member| member.assigned.values().map(BTreeMap::len))
            .sum();
        if held != group.holders.len() {
            return refuse(
                "an unsupported custom assignor is in use. Please refer to the documentation or switch to a \
                 default assignor before re-attempting the upgrade",
            );
        }
        group.metadata_hash = group.topics_hash(image);
        Ok(group)
    }

    /// The records of a group that has just been upgraded; the classic one's end stands before them.
    pub(in crate::group) fn write_whole(&self, cx: &mut Step<'_>) {
        cx.write(log::classic_group_tombstone(&self.id));
        for (id, member) in &self.members {
            cx.write(log::consumer_member(&self.id, id, member));
        }
        cx.write(log::consumer_group(
            &self.id,
            self.epoch,
            self.metadata_hash,
        ));
        for (id, target) in &self.targets {
            cx.write(log::consumer_target(&self.id, id, target));
        }
        cx.write(log::consumer_target_metadata(
            &self.id,
            self.target_epoch,
            self.assigned_at_ms,
        ));
        for (id, member) in &self.members {
            cx.write(log::consumer_assignment(&self.id, id, member));
        }
    }

    /// Whether the group is a classic one when these have left.
    pub(super) fn may_downgrade(&self, settings: &GroupSettings, leaving: &[Arc<str>]) -> bool {
        let staying = self.members.len().saturating_sub(leaving.len());
        let classic_leaving = leaving.iter().filter(|id| {
            let member = self.members.get(*id);
            member.is_some_and(|member| member.is_classic())
        });
        settings.consumer.migration_policy.downgrades()
            && staying > 0
            && self.classic_count - classic_leaving.count() == staying
            && staying <= settings.members_max
    }

    /// The classic group of those who stay. Its record is written; the caller puts it in this one's place.
    pub(super) fn downgrade(&mut self, cx: &mut Step<'_>, leaving: &[Arc<str>]) -> ClassicGroup {
        self.write_end(cx);
        self.retire(cx);
        let image = cx.metadata.image.clone();
        let staying = self.members.iter().filter(|(id, _)| !leaving.contains(id));
        let members = staying.filter_map(|(id, member)| {
            let spoken = member.classic.as_ref()?;
            let version = spoken
                .protocols
                .first()
                .map_or(0, |(_, metadata)| version_of(metadata));
            let target = self.targets.get(id);
            let target = target.into_iter().flat_map(|target| target.iter());
            let assignment = assignment(
                &image,
                version,
                target.map(|(topic, partitions)| (*topic, partitions.clone())),
            );
            let member = classic::Member {
                instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                session_timeout_ms: spoken.session_timeout_ms,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                protocols: spoken.protocols.clone(),
                assignment,
                is_new: false,
                joining: None,
                syncing: None,
                timer: None,
            };
            Some((id.clone(), member))
        });
        let group =
            ClassicGroup::of_members(self.id.clone(), self.epoch, members.collect(), cx.now);
        cx.write(group.record());
        group
    }
}

/// A classic member as a member of a consumer group; `None`: its protocol cannot be read.
fn upgraded(group: &ClassicGroup, member: &classic::Member, image: &Image) -> Option<Member> {
    let protocol = group.protocol.as_deref();
    let metadata = match protocol {
        Some(protocol) => member.metadata(protocol),
        None => member.protocols.first()?.1.clone(),
    };
    let subscription = subscription(&metadata)?;
    let mut assigned = Held::new();
    if !member.assignment.is_empty() {
        for topic in read_assignment(&member.assignment)?.assigned_partitions {
            let Some(known) = image.topic(&topic.topic) else {
                continue;
            };
            let partitions = topic.partitions.into_iter();
            let held: BTreeMap<i32, i32> = partitions
                .map(|partition| (partition, group.generation))
                .collect();
            if !held.is_empty() {
                assigned.insert(known.id, held);
            }
        }
    }
    Some(Member {
        instance_id: member.instance_id.clone(),
        rack_id: subscription.rack_id.map(Arc::from),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topics: subscription.topics.into_iter().map(Arc::from).collect(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        classic: Some(Classic {
            session_timeout_ms: member.session_timeout_ms,
            protocols: member.protocols.clone(),
        }),
        epoch: group.generation,
        previous_epoch: group.generation,
        assigned,
        ..Member::default()
    })
}

/// What a consumer subscribes to, from its `JoinGroup`. Newer versions add to the end.
pub(super) fn subscription(metadata: &Bytes) -> Option<ConsumerProtocolSubscription> {
    let version = version_of_checked(metadata)?.min(VERSION_MAX);
    ConsumerProtocolSubscription::from_bytes(&metadata.slice(2..), version).ok()
}

fn read_assignment(assignment: &Bytes) -> Option<ConsumerProtocolAssignment> {
    let version = version_of_checked(assignment)?.min(VERSION_MAX);
    ConsumerProtocolAssignment::from_bytes(&assignment.slice(2..), version).ok()
}

/// An assignment as a consumer of the classic protocol reads it.
pub(super) fn assignment(
    image: &Image,
    version: i16,
    partitions: impl Iterator<Item = (Uuid, Vec<i32>)>,
) -> Bytes {
    let named = partitions.filter_map(|(topic, partitions)| {
        let topic = image.topic_by_id(topic)?;
        Some(TopicPartition {
            topic: topic.name.to_string(),
            partitions,
        })
    });
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: named.collect(),
        user_data: None,
    };
    let version = version.clamp(0, VERSION_MAX);
    let mut out = version.to_be_bytes().to_vec();
    out.extend(assignment.to_vec(version).unwrap_or_default());
    out.into()
}

/// The version that what a consumer said begins with.
pub(super) fn version_of(metadata: &Bytes) -> i16 {
    version_of_checked(metadata).unwrap_or(0)
}

fn version_of_checked(bytes: &Bytes) -> Option<i16> {
    let (version, _) = bytes.split_first_chunk::<2>()?;
    Some(i16::from_be_bytes(*version)).filter(|version| *version >= 0)
}

/// The newest version of a consumer's subscription and assignment.
const VERSION_MAX: i16 = 3;
