//! The classic rebalance protocol of one group: clients elect a leader, the leader assigns.
//!
//! Owns the members of a group, its generation and its phase.
//! Lives inside its coordinator.
//! Invariants:
//! 1. `Empty` has no members; the other states have some, except `PreparingRebalance` until its timer rings.
//! 2. `awaiting_join` counts the members whose `JoinGroup` waits; `offered` counts members per protocol.
//! 3. `statics` maps the instance id of every static member to its member id, and nothing else.
//! 4. The leader, if there is one, is a member.
//!
//! Not here: offsets (`offsets`), the log's bytes (`log`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use corelog_net::wire::records::group_metadata::GroupMetadataValue;

use super::step::{Alarm, Step, millis};
use super::timers::TimerId;
use super::{
    DescribedGroup, DescribedMember, GroupError, JoinProtocol, JoinedGroup, JoinedMember, Now,
    Reply, SyncedGroup, Token, java_hash, log,
};

mod convert;
mod join;
mod presence;
mod rebalance;
mod sync;

pub(super) use join::Replaced;

/// When offsets are to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitKind {
    /// At once.
    Plain,
    /// With their transaction.
    Transactional,
}

/// Where a group is in its rebalance. A dead group is one that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No members; perhaps offsets.
    Empty,
    /// Members are (re)joining.
    PreparingRebalance,
    /// All joined; the leader is assigning.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
}

impl State {
    /// Kafka's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A classic group.
#[derive(Debug)]
pub(super) struct ClassicGroup {
    pub(super) id: Arc<str>,
    pub(super) state: State,
    previous: State,
    /// Wall clock of the last change of state; unknown in records of old brokers.
    pub(super) state_since_ms: Option<i64>,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol: Option<Arc<str>>,
    pub(super) leader: Option<Arc<str>>,
    pub(super) members: BTreeMap<Arc<str>, Member>,
    statics: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids handed out and not yet used.
    pending: BTreeMap<Arc<str>, TimerId>,
    /// Members of this generation that have not sent `SyncGroup`.
    unsynced: BTreeSet<Arc<str>>,
    awaiting_join: usize,
    offered: BTreeMap<Arc<str>, usize>,
    /// Topics of a `consumer` group, when every subscription could be read.
    subscribed: Option<BTreeSet<Box<str>>>,
    join_phase: JoinPhase,
    join_timer: Option<TimerId>,
    sync_timer: Option<TimerId>,
}

/// What the join timer is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JoinPhase {
    /// Members of the last generation.
    Rejoin,
    /// More members of a new group. `member_added` since the timer was set extends it, up to `remaining_ms`.
    Initial {
        delay_ms: u64,
        remaining_ms: u64,
        member_added: bool,
    },
}

/// A member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance_id: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
    /// Preferred first.
    pub(super) protocols: Vec<(Arc<str>, Bytes)>,
    pub(super) assignment: Bytes,
    /// Its first `JoinGroup` still waits: it does not know its id and cannot heartbeat.
    pub(super) is_new: bool,
    pub(super) joining: Option<Token>,
    pub(super) syncing: Option<Token>,
    pub(super) timer: Option<TimerId>,
}

impl Member {
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let mut protocols = self.protocols.iter();
        protocols
            .find(|(name, _)| &**name == protocol)
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }

    fn speaks(&self, protocols: &[JoinProtocol]) -> bool {
        self.protocols.len() == protocols.len()
            && self
                .protocols
                .iter()
                .zip(protocols)
                .all(|((name, metadata), other)| {
                    **name == *other.name && *metadata == other.metadata
                })
    }
}

impl ClassicGroup {
    pub(super) fn new(id: Arc<str>, now: Now) -> Self {
        Self {
            id,
            state: State::Empty,
            previous: State::Empty,
            state_since_ms: Some(now.wall_ms),
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            awaiting_join: 0,
            offered: BTreeMap::new(),
            subscribed: None,
            join_phase: JoinPhase::Rejoin,
            join_timer: None,
            sync_timer: None,
        }
    }

    /// A group nobody has joined; commits made it.
    pub(super) fn simple(id: Arc<str>) -> Self {
        Self {
            state_since_ms: None,
            ..Self::new(id, Now::default())
        }
    }

    /// Nobody has ever joined it.
    pub(super) fn is_simple(&self) -> bool {
        self.is_vacant() && self.protocol_type.is_none() && self.generation == 0
    }

    /// Read from the log. [`ClassicGroup::resume`] starts its timers.
    pub(super) fn restore(id: Arc<str>, value: GroupMetadataValue) -> Self {
        let since = value.current_state_timestamp;
        let mut group = Self {
            state_since_ms: (since != -1).then_some(since),
            generation: value.generation,
            protocol_type: Some(value.protocol_type)
                .filter(|t| !t.is_empty())
                .map(Arc::from),
            protocol: value.protocol.map(Arc::from),
            ..Self::new(id, Now::default())
        };
        for stored in value.members {
            let timeout = stored.rebalance_timeout;
            let member = Member {
                instance_id: stored.group_instance_id.map(Arc::from),
                client_id: stored.client_id.into(),
                client_host: stored.client_host.into(),
                session_timeout_ms: stored.session_timeout,
                rebalance_timeout_ms: if timeout < 0 {
                    stored.session_timeout
                } else {
                    timeout
                },
                protocols: group
                    .protocol
                    .iter()
                    .map(|p| (p.clone(), stored.subscription.clone()))
                    .collect(),
                assignment: stored.assignment,
                is_new: false,
                joining: None,
                syncing: None,
                timer: None,
            };
            let id: Arc<str> = stored.member_id.into();
            if !group.members.contains_key(&id) {
                group.insert_member(id, member);
            }
        }
        let leader = value
            .leader
            .filter(|leader| group.members.contains_key(&**leader));
        group.leader = leader.map(Arc::from).or(group.leader);
        group.state = if group.members.is_empty() {
            State::Empty
        } else {
            State::Stable
        };
        group.previous = group.state;
        group.subscribed = group.read_subscriptions();
        group
    }

    /// The first record of a group: it exists, and nothing else.
    pub(super) fn empty_record(&self) -> (Bytes, Option<Bytes>) {
        let empty = Self {
            state_since_ms: self.state_since_ms,
            ..Self::simple(self.id.clone())
        };
        log::classic_group(&empty, |_, _| Bytes::new())
    }

    /// Members and ids handed out are both gone.
    pub(super) fn is_vacant(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty()
    }

    /// A group of consumers as Kafka's clients make them.
    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some("consumer")
    }

    /// Whether the topic's offsets are the members' own; the answer is yes when a subscription cannot be read.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// Whether the subscriptions are known at all.
    pub(super) fn knows_subscriptions(&self) -> bool {
        self.subscribed.is_some()
    }

    /// The member and its instance id fit together.
    // HOT: 0 alloc
    pub(super) fn check_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            match self.statics.get(instance_id) {
                None => return Err(GroupError::UnknownMemberId),
                Some(owner) if **owner != *member_id => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(GroupError::UnknownMemberId)
        }
    }

    /// Whether this committer may commit now.
    // HOT: 0 alloc
    pub(super) fn check_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        kind: CommitKind,
    ) -> Result<(), GroupError> {
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.check_member(member_id, instance_id)?;
            if generation != self.generation {
                return Err(GroupError::IllegalGeneration);
            }
        } else if kind == CommitKind::Plain && self.state != State::Empty {
            // Old transactional producers name no member.
            return Err(GroupError::UnknownMemberId);
        }
        // The member knows the new generation but not yet what it owns in it. A transaction's offsets are of what it
        // did before.
        if kind == CommitKind::Plain && self.state == State::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// As `DescribeGroups` shows it.
    pub(super) fn describe(&self) -> DescribedGroup {
        let protocol = self
            .protocol
            .as_ref()
            .filter(|_| self.state == State::Stable);
        let describe = |(id, member): (&Arc<str>, &Member)| DescribedMember {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: protocol
                .map(|protocol| member.metadata(protocol))
                .unwrap_or_default(),
            assignment: protocol
                .map(|_| member.assignment.clone())
                .unwrap_or_default(),
        };
        DescribedGroup {
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.cloned().unwrap_or_default(),
            members: self.members.iter().map(describe).collect(),
        }
    }

    /// Serving begins: members have a session from now on.
    pub(super) fn resume(&mut self, cx: &mut Step<'_>) {
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            self.restart_session(cx, &id);
        }
        if self.members.len() > cx.settings.members_max {
            self.prepare_rebalance(cx);
        }
    }

    /// Coordination ends: everybody who waits, to be told.
    pub(super) fn abandon(&mut self) -> Vec<(Token, Reply)> {
        let mut replies = Vec::new();
        for (id, member) in &mut self.members {
            if let Some(token) = member.joining.take() {
                let refused = JoinedGroup::refused(GroupError::NotCoordinator, id);
                replies.push((token, Reply::JoinGroup(Box::new(refused))));
            }
            if let Some(token) = member.syncing.take() {
                let refused = SyncedGroup::refused(GroupError::NotCoordinator);
                replies.push((token, Reply::SyncGroup(refused)));
            }
        }
        self.awaiting_join = 0;
        replies
    }

    fn insert_member(&mut self, id: Arc<str>, member: Member) {
        for (name, _) in &member.protocols {
            *self.offered.entry(name.clone()).or_default() += 1;
        }
        if let Some(instance) = &member.instance_id {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.awaiting_join += usize::from(member.joining.is_some());
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        let before = self.members.insert(id, member);
        assert!(before.is_none(), "a member id is inserted once");
    }

    /// Takes a member, or an id handed out, from the group. Whoever waits in its name is told.
    fn remove_member(&mut self, cx: &mut Step<'_>, id: &str) {
        if let Some(timer) = self.pending.remove(id) {
            cx.timers.cancel(timer);
        }
        self.unsynced.remove(id);
        let Some(mut member) = self.members.remove(id) else {
            return;
        };
        cx.cancel(&mut member.timer);
        self.withdraw_protocols(&member.protocols);
        if let Some(token) = member.joining {
            self.awaiting_join -= 1;
            cx.joined(token, JoinedGroup::refused(GroupError::UnknownMemberId, ""));
        }
        if let Some(token) = member.syncing {
            cx.synced(token, SyncedGroup::refused(GroupError::UnknownMemberId));
        }
        if let Some(instance) = &member.instance_id {
            self.statics.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    fn withdraw_protocols(&mut self, protocols: &[(Arc<str>, Bytes)]) {
        for (name, _) in protocols {
            let count = self
                .offered
                .get_mut(name)
                .expect("every protocol of a member was counted");
            *count -= 1;
            if *count == 0 {
                self.offered.remove(name);
            }
        }
    }

    /// The member has been heard of.
    // HOT: 0 alloc
    fn restart_session(&mut self, cx: &mut Step<'_>, id: &str) {
        let Some((id, member)) = self.members.get_key_value(id) else {
            return;
        };
        let deadline = cx.now.steady_ms + millis(member.session_timeout_ms);
        if let Some(timer) = member.timer {
            cx.timers.restart(timer, deadline);
            return;
        }
        let id = id.clone();
        let alarm = Alarm::Session {
            group: self.id.clone(),
            member: id.clone(),
        };
        let timer = cx.timers.start(deadline, alarm);
        if let Some(member) = self.members.get_mut(&id) {
            member.timer = Some(timer);
        }
    }

    /// The offset committer is alive, when the group is in a state that counts commits as signs of life.
    // HOT: 0 alloc
    pub(super) fn heard_committing(&mut self, cx: &mut Step<'_>, id: &str) {
        if matches!(self.state, State::Stable | State::PreparingRebalance) {
            self.restart_session(cx, id);
        }
    }

    fn transition(&mut self, cx: &Step<'_>, to: State) {
        let allowed = match to {
            State::PreparingRebalance => self.state != State::PreparingRebalance,
            State::Empty | State::CompletingRebalance => self.state == State::PreparingRebalance,
            State::Stable => self.state == State::CompletingRebalance,
        };
        assert!(allowed, "a group goes from {:?} to {to:?}", self.state);
        self.previous = self.state;
        self.state = to;
        self.state_since_ms = Some(cx.now.wall_ms);
    }

    fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    /// Everybody with its subscription, for the leader.
    fn roster(&self) -> Vec<JoinedMember> {
        let Some(protocol) = &self.protocol else {
            return Vec::new();
        };
        let show = |(id, member): (&Arc<str>, &Member)| JoinedMember {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.iter().map(show).collect()
    }

    /// The current generation as told to `member_id`.
    fn generation_for(&self, member_id: Arc<str>, members: Vec<JoinedMember>) -> JoinedGroup {
        JoinedGroup {
            error: None,
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id,
            members,
        }
    }

    /// Protocols every member speaks.
    fn speaks_any(&self, protocols: &[JoinProtocol]) -> bool {
        protocols
            .iter()
            .any(|p| self.offered.get(&*p.name) == Some(&self.members.len()))
    }

    /// The protocol most members prefer among those all of them speak. A tie goes the way of Java's hash table, which
    /// is where Kafka's votes lie.
    fn select_protocol(&self) -> Option<Arc<str>> {
        let everybody = self.members.len();
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member
                .protocols
                .iter()
                .find(|(name, _)| self.offered.get(name) == Some(&everybody));
            *votes.entry(vote.map(|(name, _)| name)?).or_default() += 1;
        }
        let buckets = (votes.len() * 4 / 3 + 1).next_power_of_two().max(16);
        let bucket = |name: &str| {
            let hash = java_hash(name).cast_unsigned();
            (hash ^ (hash >> 16)) as usize & (buckets - 1)
        };
        let order = |(name, votes): &(&Arc<str>, usize)| (*votes, std::cmp::Reverse(bucket(name)));
        votes
            .into_iter()
            .max_by_key(order)
            .map(|(name, _)| name.clone())
    }

    /// The topics of all members' subscriptions under the chosen protocol.
    fn read_subscriptions(&self) -> Option<BTreeSet<Box<str>>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            read_topics(&member.metadata(self.protocol.as_ref()?), &mut topics)?;
        }
        Some(topics)
    }

    /// The longest time any member wants to be waited for.
    fn rebalance_timeout_ms(&self) -> u64 {
        self.members
            .values()
            .map(|member| millis(member.rebalance_timeout_ms))
            .max()
            .unwrap_or(0)
    }

    #[cfg(test)]
    pub(super) fn assert_sound(&self) {
        let joining = self
            .members
            .values()
            .filter(|m| m.joining.is_some())
            .count();
        assert_eq!(
            joining, self.awaiting_join,
            "{}: waiting joins are counted",
            self.id
        );
        let mut offered: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        let mut statics = BTreeMap::new();
        for (id, member) in &self.members {
            for (name, _) in &member.protocols {
                *offered.entry(name.clone()).or_default() += 1;
            }
            if let Some(instance) = &member.instance_id {
                assert!(
                    statics.insert(instance.clone(), id.clone()).is_none(),
                    "one owner per instance id"
                );
            }
            if !member.is_new && member.joining.is_none() && member.syncing.is_none() {
                assert!(
                    member.timer.is_some(),
                    "{}: a member that waits for nothing has a session",
                    self.id
                );
            }
            assert!(!self.pending.contains_key(id), "a member is not pending");
        }
        assert_eq!(offered, self.offered);
        assert_eq!(statics, self.statics);
        assert_eq!(
            self.leader.is_some(),
            !self.members.is_empty(),
            "{}: a leader while members",
            self.id
        );
        if let Some(leader) = &self.leader {
            assert!(self.members.contains_key(leader), "the leader is a member");
        }
        match self.state {
            State::Empty => assert!(self.members.is_empty()),
            State::PreparingRebalance => {
                assert!(self.join_timer.is_some(), "{}: a join phase ends", self.id);
            }
            State::CompletingRebalance | State::Stable => assert!(!self.members.is_empty()),
        }
        if matches!(self.state, State::CompletingRebalance) {
            assert!(
                self.sync_timer.is_some() || self.unsynced.is_empty(),
                "{}: a sync phase ends",
                self.id
            );
        }
    }
}

/// Reads the topics of a serialized consumer subscription: `version:i16 [topic]`; what follows differs by version.
fn read_topics(metadata: &[u8], into: &mut BTreeSet<Box<str>>) -> Option<()> {
    let (_version, rest) = metadata.split_first_chunk::<2>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    for _ in 0..u32::try_from(i32::from_be_bytes(*count)).ok()? {
        let (size, tail) = rest.split_first_chunk::<2>()?;
        let (topic, tail) =
            tail.split_at_checked(usize::try_from(i16::from_be_bytes(*size)).ok()?)?;
        into.insert(std::str::from_utf8(topic).ok()?.into());
        rest = tail;
    }
    Some(())
}
