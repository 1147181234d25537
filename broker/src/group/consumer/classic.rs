//! Members of the classic protocol in a consumer group: to them it looks as if the leader, somebody else, had assigned.
//!
//! Owns `JoinGroup`, `SyncGroup`, Heartbeat and `LeaveGroup` here. A join is a heartbeat that may change the epoch; what the
//! member holds after it is what `SyncGroup` tells; a heartbeat says when to join again.
//! Lives inside its group.
//! Invariants: 1. The generation a member knows is its member epoch.
//! Not here: conversions (`migrate`), the rules of epochs and targets (`heartbeat`).

use std::sync::Arc;

use bytes::Bytes;
use corelog_net::wire::Uuid;
use corelog_net::wire::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;

use super::leave::Left;
use super::member::{Classic, Member, MemberState};
use super::{ConsumerGroup, Why, migrate};
use crate::group::step::Step;
use crate::group::{
    GroupError, Heartbeat, JoinGroup, JoinedGroup, LeaveGroup, LeavingMember, LeftMember,
    SyncGroup, SyncedGroup,
};
use crate::metadata::Image;

/// How a join ended.
#[derive(Debug)]
pub(in crate::group) enum Joined {
    /// Answer this.
    Answer(JoinedGroup),
    /// The last member of the consumer protocol was replaced: the group is a classic one, and the member, under this
    /// id, joins that.
    Classic(Box<crate::group::classic::ClassicGroup>, Arc<str>),
}

impl ConsumerGroup {
    /// A `JoinGroup` to a group that has members.
    pub(in crate::group) fn join_classic(
        &mut self,
        cx: &mut Step<'_>,
        request: &JoinGroup,
    ) -> Joined {
        match self.admit_classic(cx, request) {
            Err((error, id)) => Joined::Answer(JoinedGroup::refused(error, &id)),
            Ok((id, subscription)) => self.let_in(cx, request, &id, subscription),
        }
    }

    /// Who it is and what it wants; nothing is changed before this has said yes.
    fn admit_classic(
        &self,
        cx: &mut Step<'_>,
        request: &JoinGroup,
    ) -> Result<(Arc<str>, ConsumerProtocolSubscription), (GroupError, String)> {
        let refuse = |error| Err((error, String::new()));
        let id = request.member_id.as_str();
        if cx.settings.consumer.migration_policy == migrate::MigrationPolicy::Disabled {
            return Err((GroupError::GroupIdNotFound, id.to_owned()));
        }
        if self
            .check_room(cx.settings.consumer.members_max, id)
            .is_err()
        {
            return refuse(GroupError::GroupMaxSizeReached);
        }
        if !self.suits(request) {
            return refuse(GroupError::InconsistentGroupProtocol);
        }
        let metadata = request.protocols.first().map(|protocol| &protocol.metadata);
        let Some(subscription) = metadata.and_then(migrate::subscription) else {
            return refuse(GroupError::Unknown);
        };
        if id.is_empty() {
            let new: Arc<str> = cx.random.short_uuid().into();
            if request.instance_id.is_none() && request.requires_known_member_id {
                return Err((GroupError::MemberIdRequired, new.to_string()));
            }
            return Ok((new, subscription));
        }
        if let Some(instance) = request.instance_id.as_deref() {
            match self.static_member(instance) {
                None => return Err((GroupError::UnknownMemberId, id.to_owned())),
                Some((owner, _)) if **owner != *id => {
                    return Err((GroupError::FencedInstanceId, id.to_owned()));
                }
                Some(_) => {}
            }
        }
        let known = self.members.get_key_value(id);
        Ok((
            known.map_or_else(|| id.into(), |(id, _)| id.clone()),
            subscription,
        ))
    }

    /// Whether the member speaks something that all classic members speak.
    fn suits(&self, request: &JoinGroup) -> bool {
        let spoken_by_all = |name: &str| {
            self.members
                .values()
                .filter_map(|member| member.classic.as_ref())
                .all(|classic| {
                    classic
                        .protocols
                        .iter()
                        .any(|(spoken, _)| **spoken == *name)
                })
        };
        request.protocol_type == "consumer"
            && request
                .protocols
                .iter()
                .any(|protocol| spoken_by_all(&protocol.name))
    }

    fn let_in(
        &mut self,
        cx: &mut Step<'_>,
        request: &JoinGroup,
        id: &Arc<str>,
        subscription: ConsumerProtocolSubscription,
    ) -> Joined {
        if self.limits.session_timeout_ms == 0 || self.seen != cx.metadata.sequence {
            self.take_limits(cx);
        }
        let instance = request.instance_id.as_deref();
        let replaced = instance
            .filter(|_| request.member_id.is_empty())
            .and_then(|instance| self.static_member(instance))
            .map(|(owner, member)| (owner.clone(), member.is_classic()));
        if let Some((owner, _)) = &replaced {
            self.replace(cx, owner, id);
        }
        let owned = owned(&cx.metadata.image, &subscription);
        let before = self.members.get(id).cloned();
        let said = said(before.as_deref(), request, subscription);
        let news = self.take_in(cx, id, before.as_deref(), said);
        self.follow(cx, news.bump);
        self.reconcile(cx, id, news, Some(&owned));
        if matches!(replaced, Some((_, false))) && self.may_downgrade(cx.settings, &[]) {
            return Joined::Classic(Box::new(self.downgrade(cx, &[])), id.clone());
        }
        self.restart_session(cx, id);
        let member = self.members[id].clone();
        self.wait_for(cx, id, Why::Sync, member.rebalance_timeout_ms);
        let protocol = request
            .protocols
            .first()
            .map(|protocol| protocol.name.as_str());
        Joined::Answer(JoinedGroup {
            error: None,
            generation_id: member.epoch,
            protocol_type: Some("consumer".into()),
            protocol_name: protocol.map(Arc::from),
            leader: "".into(),
            skip_assignment: false,
            member_id: id.clone(),
            members: Vec::new(),
        })
    }

    /// `SyncGroup`: what the member holds.
    pub(in crate::group) fn sync_classic(
        &mut self,
        cx: &mut Step<'_>,
        request: &SyncGroup,
    ) -> SyncedGroup {
        let (id, member) = match self.classic_member(
            &request.member_id,
            request.instance_id.as_deref(),
            request.generation_id,
        ) {
            Ok(found) => found,
            Err(error) => return SyncedGroup::refused(error),
        };
        let spoken = member
            .classic
            .as_ref()
            .and_then(|classic| classic.protocols.first());
        let Some((protocol, metadata)) = spoken else {
            return SyncedGroup::refused(GroupError::UnknownMemberId);
        };
        let differs =
            |given: &Option<String>, ours: &str| given.as_ref().is_some_and(|given| given != ours);
        if differs(&request.protocol_type, "consumer") || differs(&request.protocol_name, protocol)
        {
            return SyncedGroup::refused(GroupError::InconsistentGroupProtocol);
        }
        // One that is giving back has joined for that already.
        if self.calls_for_join(&member) && member.state != MemberState::UnrevokedPartitions {
            self.expect_join(cx, &id, &member);
            return SyncedGroup::refused(GroupError::RebalanceInProgress);
        }
        self.stop_waiting(cx, &id);
        self.restart_session(cx, &id);
        let held = member.assignment().into_iter();
        SyncedGroup {
            error: None,
            protocol_type: Some("consumer".into()),
            protocol_name: Some(protocol.clone()),
            assignment: migrate::assignment(
                &cx.metadata.image,
                migrate::version_of(metadata),
                held,
            ),
        }
    }

    /// Heartbeat of the classic protocol: whether to join again.
    pub(in crate::group) fn beat_classic(
        &mut self,
        cx: &mut Step<'_>,
        request: &Heartbeat,
    ) -> Result<(), GroupError> {
        let (id, member) = self.classic_member(
            &request.member_id,
            request.instance_id.as_deref(),
            request.generation_id,
        )?;
        self.restart_session(cx, &id);
        let more =
            member.state == MemberState::UnreleasedPartitions && self.can_have_more(&id, &member);
        if self.calls_for_join(&member) || member.state == MemberState::UnrevokedPartitions || more
        {
            self.expect_join(cx, &id, &member);
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// `LeaveGroup`, which may also name members of the consumer protocol.
    pub(in crate::group) fn leave_classic(
        &mut self,
        cx: &mut Step<'_>,
        request: LeaveGroup,
    ) -> (Vec<LeftMember>, Left) {
        let mut leaving: Vec<Arc<str>> = Vec::new();
        let mut verdicts = Vec::with_capacity(request.members.len());
        for member in request.members {
            let found = self.find_leaving(&member);
            let error = found.as_ref().err().copied();
            leaving.extend(found.ok().filter(|id| !leaving.contains(id)));
            verdicts.push(LeftMember {
                member_id: member.member_id,
                instance_id: member.instance_id,
                error,
            });
        }
        let left = if leaving.is_empty() {
            Left::Consumer
        } else {
            self.depart(cx, &leaving)
        };
        (verdicts, left)
    }

    fn find_leaving(&self, member: &LeavingMember) -> Result<Arc<str>, GroupError> {
        let id = member.member_id.as_str();
        let Some(instance) = member.instance_id.as_deref() else {
            let found = self.members.get_key_value(id);
            return found
                .map(|(id, _)| id.clone())
                .ok_or(GroupError::UnknownMemberId);
        };
        let found = self.static_member(instance);
        let (owner, _) = found.ok_or(GroupError::UnknownMemberId)?;
        // An administrator names the instance alone.
        if id.is_empty() || **owner == *id {
            Ok(owner.clone())
        } else {
            Err(GroupError::FencedInstanceId)
        }
    }

    fn classic_member(
        &self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(Arc<str>, Arc<Member>), GroupError> {
        if let Some(instance) = instance {
            let found = self.static_member(instance);
            let (owner, _) = found.ok_or(GroupError::UnknownMemberId)?;
            if **owner != *id {
                return Err(GroupError::FencedInstanceId);
            }
        }
        let found = self.members.get_key_value(id);
        let (id, member) = found.ok_or(GroupError::UnknownMemberId)?;
        if !member.is_classic() {
            return Err(GroupError::UnknownMemberId);
        }
        if generation != member.epoch {
            return Err(GroupError::IllegalGeneration);
        }
        Ok((id.clone(), member.clone()))
    }

    /// There is a newer assignment. One that is still to be made comes with a heartbeat of the consumer protocol; where
    /// nobody speaks that, with a join.
    fn calls_for_join(&self, member: &Member) -> bool {
        let only_classic = self.classic_count == self.members.len();
        member.epoch < self.target_epoch || (only_classic && member.epoch < self.epoch)
    }

    /// The member has been told to join again, and has its rebalance timeout for it.
    fn expect_join(&mut self, cx: &mut Step<'_>, id: &Arc<str>, member: &Member) {
        let waits = self.waits.get(id);
        let told = waits.is_some_and(|waits| waits.rebalance.is_some() && waits.why == Why::Join);
        if !told {
            self.wait_for(cx, id, Why::Join, member.rebalance_timeout_ms);
        }
    }

    /// Whether all of its target that the member lacks is free now.
    fn can_have_more(&self, id: &str, member: &Member) -> bool {
        let Some(target) = self.targets.get(id) else {
            return false;
        };
        let lacking = |topic: &Uuid, partition: i32| {
            let held = member.assigned.get(topic);
            held.is_none_or(|held| !held.contains_key(&partition))
        };
        target.iter().all(|(topic, partitions)| {
            partitions
                .iter()
                .all(|&partition| !lacking(topic, partition) || self.is_free(*topic, partition))
        })
    }
}

/// The member as its `JoinGroup` describes it.
fn said(
    before: Option<&Member>,
    request: &JoinGroup,
    subscription: ConsumerProtocolSubscription,
) -> Member {
    let mut said = before.cloned().unwrap_or_default();
    said.instance_id = request
        .instance_id
        .as_deref()
        .map(Arc::from)
        .or(said.instance_id);
    said.rack_id = subscription.rack_id.map(Arc::from).or(said.rack_id);
    said.client_id = request.client_id.as_str().into();
    said.client_host = request.client_host.as_str().into();
    said.topics = subscription.topics.into_iter().map(Arc::from).collect();
    said.regex = None;
    said.rebalance_timeout_ms = if request.rebalance_timeout_ms < 0 {
        request.session_timeout_ms
    } else {
        request.rebalance_timeout_ms
    };
    let protocols = request.protocols.iter();
    said.classic = Some(Classic {
        session_timeout_ms: request.session_timeout_ms,
        // Copies what outlives the request.
        protocols: protocols
            .map(|protocol| {
                let metadata = Bytes::copy_from_slice(&protocol.metadata);
                (protocol.name.as_str().into(), metadata)
            })
            .collect(),
    });
    said
}

/// What the member says it has, by topic id.
fn owned(image: &Image, subscription: &ConsumerProtocolSubscription) -> Vec<(Uuid, Vec<i32>)> {
    let topics = subscription.owned_partitions.iter();
    topics
        .filter_map(|topic| Some((image.topic(&topic.topic)?.id, topic.partitions.clone())))
        .collect()
}
