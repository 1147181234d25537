//! **Owns** membership in a group: commits and starting offsets of both protocols, and the classic one: join, sync,
//! heartbeat, leave.
//! **Lives on** the client's thread, one task per membership.
//! **Invariants** (1) What is consumed is committed before partitions are given up. (2) Of the classic protocol: between
//! giving up and getting partitions nothing is read.
//! **Not here** the consumer protocol's heartbeats (`epochs`), cooperative rebalances of the classic one.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_net::wire::messages::consumer_protocol_assignment::{
    ConsumerProtocolAssignment, TopicPartition as AssignedTopic,
};
use corelog_net::wire::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use corelog_net::wire::messages::heartbeat::HeartbeatRequest;
use corelog_net::wire::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use corelog_net::wire::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use corelog_net::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use corelog_net::wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use corelog_net::wire::{Budget, Decoder, Encoder, ErrorCode, Message};
use corelog_runtime::{Instant, Notify, Task, now, sleep, sleep_until, spawn};

use super::{Inner, Start};
use crate::client::error::code_of;
use crate::client::{ApiError, Coordinates};

mod epochs;

/// How a consumer is a member of a group. Names in brackets are Kafka's.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// `group.id`.
    pub group: String,
    /// `group.instance.id`.
    pub instance: Option<String>,
    /// The topics to read.
    pub topics: Vec<String>,
    /// `group.protocol`.
    pub protocol: Protocol,
    /// `group.remote.assignor`: what the broker assigns with; its first one when none is named. Consumer protocol only.
    pub remote_assignor: Option<String>,
    /// Topics to read besides, by a regular expression that the broker resolves (RE2). Consumer protocol only.
    pub pattern: Option<String>,
    /// `client.rack`. Consumer protocol only.
    pub rack: Option<String>,
    /// `session.timeout.ms`; the broker's setting in the consumer protocol.
    pub session_timeout: Duration,
    /// `max.poll.interval.ms`: how long members may take to join again, or to give back; and after how long a member that
    /// asks for nothing leaves.
    pub rebalance_timeout: Duration,
    /// `heartbeat.interval.ms`; the broker's setting in the consumer protocol.
    pub heartbeat: Duration,
    /// `auto.commit.interval.ms`; none is `enable.auto.commit=false`.
    pub auto_commit: Option<Duration>,
    /// `partition.assignment.strategy`. Classic protocol only.
    pub assignor: Assignor,
}

impl GroupConfig {
    /// Kafka's defaults.
    pub fn new(
        group: impl Into<String>,
        topics: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            group: group.into(),
            instance: None,
            topics: topics.into_iter().map(Into::into).collect(),
            protocol: Protocol::Classic,
            remote_assignor: None,
            pattern: None,
            rack: None,
            session_timeout: Duration::from_secs(45),
            rebalance_timeout: Duration::from_mins(5),
            heartbeat: Duration::from_secs(3),
            auto_commit: Some(Duration::from_secs(5)),
            assignor: Assignor::Range,
        }
    }
}

/// How members and coordinator agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// JoinGroup and SyncGroup: a member assigns.
    #[default]
    Classic,
    /// Heartbeats (KIP-848): the coordinator assigns.
    Consumer,
}

/// Who gets which partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Per topic, a run of partitions for each member.
    Range,
    /// All partitions in order, dealt out in turn.
    RoundRobin,
}

impl Assignor {
    fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
        }
    }
}

/// Being in a group.
pub(super) struct Membership {
    shared: Rc<Shared>,
    task: Task<()>,
}

struct Shared {
    config: GroupConfig,
    /// The topics wanted now.
    topics: RefCell<Vec<String>>,
    /// They changed.
    changed: Notify,
    identity: RefCell<Option<Identity>>,
    /// It left because nobody read: what was read belongs to others.
    dropped_out: Cell<bool>,
    joins: Cell<u64>,
    join_time: Cell<Duration>,
    committed: RefCell<BTreeMap<(Rc<str>, i32), i64>>,
}

#[derive(Clone, Debug)]
struct Identity {
    member: String,
    /// Or the member's epoch.
    generation: i32,
}

/// Commits for a membership, without holding it.
pub(super) struct Committer(Rc<Shared>);

impl Committer {
    pub(super) async fn commit(&self, inner: &Rc<Inner>) -> Result<(), ApiError> {
        self.0.commit(inner).await
    }
}

impl Membership {
    pub(super) fn start(inner: &Rc<Inner>, config: GroupConfig) -> Self {
        let shared = Rc::new(Shared {
            topics: RefCell::new(config.topics.clone()),
            changed: Notify::new(),
            config,
            identity: RefCell::new(None),
            dropped_out: Cell::new(false),
            joins: Cell::new(0),
            join_time: Cell::new(Duration::ZERO),
            committed: RefCell::default(),
        });
        inner.polls.restart();
        let (its_inner, its_shared) = (Rc::clone(inner), Rc::clone(&shared));
        let task = match shared.config.protocol {
            Protocol::Classic => spawn("consumer.group", run(its_inner, its_shared)),
            Protocol::Consumer => spawn("consumer.group", epochs::run(its_inner, its_shared)),
        };
        Self { shared, task }
    }

    pub(super) fn joins(&self) -> (u64, Duration) {
        (self.shared.joins.get(), self.shared.join_time.get())
    }

    pub(super) fn committer(&self) -> Committer {
        Committer(Rc::clone(&self.shared))
    }

    /// Reads other topics from now on.
    pub(super) fn set_topics(&self, topics: Vec<String>) {
        let before = self.shared.topics.replace(topics);
        if before != *self.shared.topics.borrow() {
            self.shared.changed.notify_all();
        }
    }

    pub(super) async fn leave(self, inner: &Rc<Inner>) -> Result<(), ApiError> {
        let Self { shared, task } = self;
        task.cancel().await;
        let committed = if shared.config.auto_commit.is_some() {
            shared.commit(inner).await
        } else {
            Ok(())
        };
        let identity = shared.identity.borrow_mut().take();
        match (identity, shared.config.protocol) {
            (Some(identity), Protocol::Consumer) => {
                epochs::leave(inner, &shared, &identity).await?;
            }
            (Some(identity), Protocol::Classic) if shared.config.instance.is_none() => {
                shared.leave(inner, identity.member).await?;
            }
            _ => {}
        }
        committed
    }
}

/// Joins again and again until it is dropped.
async fn run(inner: Rc<Inner>, shared: Rc<Shared>) {
    let mut member = String::new();
    loop {
        let begun = now();
        match shared.join(&inner, &mut member).await {
            Ok(assignment) => {
                shared.joins.set(shared.joins.get() + 1);
                let spent = now().duration_since(begun);
                shared.join_time.set(shared.join_time.get() + spent);
                let stay = match shared.begin(&inner, assignment).await {
                    Ok(()) => shared.stay(&inner).await,
                    Err(error) => Err(error),
                };
                // What is read from here on belongs to somebody else.
                if shared.is_late(&inner) {
                    shared.drop_out(&inner, &mut member).await;
                    continue;
                }
                if shared.config.auto_commit.is_some() {
                    // A refused commit means that the group has gone on without us; there is nothing to keep.
                    let _ = shared.commit(&inner).await;
                }
                Inner::assign(&inner, &[]);
                if let Err(error) = stay {
                    if is_unknown_member(&error) {
                        member.clear();
                    } else if is_fatal(&error) {
                        inner.fail(error.into());
                        return;
                    }
                }
            }
            Err(error) => {
                if is_unknown_member(&error) {
                    member.clear();
                } else if is_fatal(&error) {
                    inner.fail(error.into());
                    return;
                } else {
                    sleep(inner.client.config().retry_backoff).await;
                }
            }
        }
    }
}

fn is_unknown_member(error: &ApiError) -> bool {
    matches!(
        error.refusal(),
        Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration)
    )
}

fn is_fatal(error: &ApiError) -> bool {
    !error.is_retriable()
        && !matches!(
            error.refusal(),
            Some(ErrorCode::RebalanceInProgress | ErrorCode::MemberIdRequired)
        )
}

type Partitions = Vec<(String, i32)>;

impl Shared {
    /// One round of join and sync.
    async fn join(&self, inner: &Rc<Inner>, member: &mut String) -> Result<Partitions, ApiError> {
        let client = &inner.client;
        let topics = self.topics.borrow().clone();
        for topic in &topics {
            // A topic that does not exist yet is subscribed all the same.
            let known = client.topic_within(topic, Duration::ZERO).await;
            if let Err(error) = known
                && !error.is_retriable()
            {
                return Err(error);
            }
        }
        let node = client
            .coordinator(Coordinates::Group, &self.config.group)
            .await?;
        let connection = client.dial_node(node).await?;
        let response = loop {
            let request = self.join_request(member);
            let limit = self.config.rebalance_timeout + JOIN_GRACE;
            let response = connection.call_within(limit, &request).await?;
            if code_of(response.error_code) == ErrorCode::MemberIdRequired {
                member.clone_from(&response.member_id);
                continue;
            }
            ApiError::check(response.error_code, None)?;
            break response;
        };
        member.clone_from(&response.member_id);
        let assignments = if response.leader == response.member_id && !response.skip_assignment {
            self.assign(inner, &response).await?
        } else {
            Vec::new()
        };
        let request = SyncGroupRequest {
            group_id: self.config.group.clone(),
            generation_id: response.generation_id,
            member_id: member.clone(),
            group_instance_id: self.config.instance.clone(),
            protocol_type: Some(PROTOCOL_TYPE.to_owned()),
            protocol_name: response.protocol_name.clone(),
            assignments,
            ..SyncGroupRequest::default()
        };
        let synced = connection
            .call_within(self.config.rebalance_timeout + JOIN_GRACE, &request)
            .await?;
        ApiError::check(synced.error_code, None)?;
        *self.identity.borrow_mut() = Some(Identity {
            member: member.clone(),
            generation: response.generation_id,
        });
        self.dropped_out.set(false);
        read_assignment(&synced.assignment)
    }

    fn join_request(&self, member: &str) -> JoinGroupRequest {
        let subscription = ConsumerProtocolSubscription {
            topics: self.topics.borrow().clone(),
            user_data: None,
            ..ConsumerProtocolSubscription::default()
        };
        JoinGroupRequest {
            group_id: self.config.group.clone(),
            session_timeout_ms: millis(self.config.session_timeout),
            rebalance_timeout_ms: millis(self.config.rebalance_timeout),
            member_id: member.to_owned(),
            group_instance_id: self.config.instance.clone(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols: vec![JoinGroupRequestProtocol {
                name: self.config.assignor.name().to_owned(),
                metadata: versioned(&subscription, SUBSCRIPTION_VERSION),
                ..JoinGroupRequestProtocol::default()
            }],
            ..JoinGroupRequest::default()
        }
    }

    /// The leader's part: who gets what.
    async fn assign(
        &self,
        inner: &Rc<Inner>,
        response: &JoinGroupResponse,
    ) -> Result<Vec<SyncGroupRequestAssignment>, ApiError> {
        let mut members: Vec<Subscriber> = response.members.iter().map(subscriber).collect();
        // Java sorts by instance id where there is one.
        members.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        let topics: BTreeSet<&String> = members.iter().flat_map(|it| &it.topics).collect();
        let mut counts = BTreeMap::new();
        for topic in topics {
            match inner.client.topic_within(topic, Duration::ZERO).await {
                Ok(count) => {
                    counts.insert(topic.clone(), count);
                }
                Err(error) if error.is_retriable() => {}
                Err(error) => return Err(error),
            }
        }
        let assigned = match self.config.assignor {
            Assignor::Range => range(&members, &counts),
            Assignor::RoundRobin => round_robin(&members, &counts),
        };
        Ok(members
            .iter()
            .map(|member| {
                let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
                for (topic, partition) in assigned.get(&member.id).into_iter().flatten() {
                    topics.entry(topic.clone()).or_default().push(*partition);
                }
                let assignment = ConsumerProtocolAssignment {
                    assigned_partitions: topics
                        .into_iter()
                        .map(|(topic, partitions)| AssignedTopic { topic, partitions })
                        .collect(),
                    user_data: None,
                };
                SyncGroupRequestAssignment {
                    member_id: member.id.clone(),
                    assignment: versioned(&assignment, ASSIGNMENT_VERSION),
                    ..SyncGroupRequestAssignment::default()
                }
            })
            .collect())
    }

    /// Starts reading what was assigned, from the committed offsets.
    async fn begin(&self, inner: &Rc<Inner>, partitions: Partitions) -> Result<(), ApiError> {
        self.committed.borrow_mut().clear();
        let assignment = self.starts(inner, partitions).await?;
        Inner::assign(inner, &assignment);
        Ok(())
    }

    /// Where to begin with partitions that were assigned.
    async fn starts(
        &self,
        inner: &Inner,
        partitions: Partitions,
    ) -> Result<Vec<(String, i32, Start)>, ApiError> {
        let committed = if partitions.is_empty() {
            BTreeMap::new()
        } else {
            inner
                .admin
                .group_offsets(&self.config.group, Some(&partitions))
                .await?
        };
        let reset = inner.config.reset.start();
        let assignment: Vec<(String, i32, Start)> = partitions
            .into_iter()
            .map(|(topic, partition)| {
                let key = (topic, partition);
                let start = match committed.get(&key) {
                    Some(offset) if *offset >= 0 => Start::Offset(*offset),
                    _ => reset,
                };
                (key.0, key.1, start)
            })
            .collect();
        {
            let mut known = self.committed.borrow_mut();
            for (topic, partition, start) in &assignment {
                if let Start::Offset(offset) = start {
                    known.insert((topic.as_str().into(), *partition), *offset);
                }
            }
        }
        Ok(assignment)
    }

    /// Heartbeats and commits until the group rebalances.
    async fn stay(&self, inner: &Rc<Inner>) -> Result<(), ApiError> {
        let topics = self.topics.borrow().clone();
        let mut commit_at = self.next_commit();
        let mut unanswered_since: Option<Instant> = None;
        loop {
            let next = now() + self.config.heartbeat;
            let late = inner.polls.deadline(self.config.rebalance_timeout);
            sleep_until(commit_at.map_or(next, |at| at.min(next)).min(late)).await;
            if self.is_late(inner) {
                return Ok(());
            }
            if commit_at.is_some_and(|at| at <= now()) {
                match self.commit(inner).await {
                    Ok(()) => {}
                    Err(error) if error.is_retriable() => {}
                    Err(error) => return Err(error),
                }
                commit_at = self.next_commit();
            }
            if topics != *self.topics.borrow() || self.topics_changed(inner).await {
                return Ok(());
            }
            match self.beat(inner).await {
                Ok(()) => unanswered_since = None,
                Err(error) => match error.refusal() {
                    Some(ErrorCode::RebalanceInProgress) => return Ok(()),
                    Some(code) if !code.is_retriable() => return Err(error),
                    _ => {
                        let since = *unanswered_since.get_or_insert_with(now);
                        if now().duration_since(since) > self.config.session_timeout {
                            return Ok(());
                        }
                    }
                },
            }
        }
    }

    /// Whether nobody has asked for records within `max.poll.interval.ms`.
    fn is_late(&self, inner: &Inner) -> bool {
        inner.polls.is_overdue(self.config.rebalance_timeout)
    }

    /// Leaves the group, and comes back when somebody asks for records again: a member that is alive and reads nothing
    /// keeps its partitions from those who would. A static member sends no goodbye, as Kafka's.
    async fn drop_out(&self, inner: &Rc<Inner>, member: &mut String) {
        self.dropped_out.set(true);
        self.identity.borrow_mut().take();
        self.committed.borrow_mut().clear();
        Inner::assign(inner, &[]);
        let name = std::mem::take(member);
        if self.config.instance.is_none() && !name.is_empty() {
            // Not told, the group notices when the session times out.
            let _ = self.leave(inner, name).await;
        }
        inner.polls.next().await;
        inner.polls.restart();
    }

    fn next_commit(&self) -> Option<Instant> {
        self.config.auto_commit.map(|every| now() + every)
    }

    /// Whether a subscribed topic appeared or grew since the metadata was last asked for. Only looked at as often as
    /// metadata is refreshed.
    async fn topics_changed(&self, inner: &Rc<Inner>) -> bool {
        let counts = |inner: &Inner| -> Vec<usize> {
            let metadata = inner.client.metadata();
            let topics = self.topics.borrow();
            topics
                .iter()
                .map(|topic| metadata.topic(topic).map_or(0, |it| it.partitions.len()))
                .collect()
        };
        let before = counts(inner);
        let is_missing = before.contains(&0);
        if !is_missing && !inner.client.metadata_is_stale() {
            return false;
        }
        // No answer: the next beat tries again.
        let _ = inner.client.refresh().await;
        counts(inner) != before
    }

    async fn beat(&self, inner: &Rc<Inner>) -> Result<(), ApiError> {
        let Some(identity) = self.identity.borrow().clone() else {
            return Err(ApiError::code(ErrorCode::UnknownMemberId));
        };
        let node = inner
            .client
            .coordinator(Coordinates::Group, &self.config.group)
            .await?;
        let request = HeartbeatRequest {
            group_id: self.config.group.clone(),
            generation_id: identity.generation,
            member_id: identity.member,
            group_instance_id: self.config.instance.clone(),
            ..HeartbeatRequest::default()
        };
        let response = inner.client.call_node(node, &request).await?;
        ApiError::check(response.error_code, None)
    }

    /// Commits what is consumed. A member's epoch may change while its commit is under way; then it is sent again.
    async fn commit(&self, inner: &Rc<Inner>) -> Result<(), ApiError> {
        let mut tries = 0;
        loop {
            match self.commit_once(inner).await {
                Err(error)
                    if error.refusal() == Some(ErrorCode::StaleMemberEpoch)
                        && tries < STALE_COMMITS_MAX =>
                {
                    tries += 1;
                    sleep(inner.client.config().retry_backoff).await;
                }
                result => return result,
            }
        }
    }

    async fn commit_once(&self, inner: &Rc<Inner>) -> Result<(), ApiError> {
        let Some(identity) = self.identity.borrow().clone() else {
            if self.dropped_out.get() {
                return Err(ApiError::Refused {
                    code: ErrorCode::UnknownMemberId,
                    message: Some(NOT_A_MEMBER.to_owned()),
                });
            }
            return Ok(());
        };
        let mut topics: BTreeMap<Rc<str>, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        let mut new = Vec::new();
        {
            let state = inner.state.borrow();
            let committed = self.committed.borrow();
            for partition in &state.partitions {
                let Some(offset) = partition.consumed else {
                    continue;
                };
                let key = (Rc::clone(&partition.topic), partition.number);
                if committed.get(&key) == Some(&offset) {
                    continue;
                }
                topics.entry(Rc::clone(&partition.topic)).or_default().push(
                    OffsetCommitRequestPartition {
                        partition_index: partition.number,
                        committed_offset: offset,
                        committed_leader_epoch: partition.consumed_epoch,
                        committed_metadata: Some(String::new()),
                        ..OffsetCommitRequestPartition::default()
                    },
                );
                new.push((key, offset));
            }
        }
        if topics.is_empty() {
            return Ok(());
        }
        let request = OffsetCommitRequest {
            group_id: self.config.group.clone(),
            generation_id_or_member_epoch: identity.generation,
            member_id: identity.member,
            group_instance_id: self.config.instance.clone(),
            topics: topics
                .into_iter()
                .map(|(name, partitions)| OffsetCommitRequestTopic {
                    name: name.to_string(),
                    partitions,
                    ..OffsetCommitRequestTopic::default()
                })
                .collect(),
            ..OffsetCommitRequest::default()
        };
        let node = inner
            .client
            .coordinator(Coordinates::Group, &self.config.group)
            .await?;
        let connection = inner.client.node(node).await?;
        // Later versions name topics by id.
        let response = connection.call_up_to(9, &request).await?;
        for topic in response.topics {
            for partition in topic.partitions {
                ApiError::check(partition.error_code, None)?;
            }
        }
        self.committed.borrow_mut().extend(new);
        Ok(())
    }

    async fn leave(&self, inner: &Rc<Inner>, member: String) -> Result<(), ApiError> {
        let node = inner
            .client
            .coordinator(Coordinates::Group, &self.config.group)
            .await?;
        let connection = inner.client.node(node).await?;
        let many = connection
            .version_of::<LeaveGroupRequest>()
            .is_some_and(|version| version >= 3);
        let request = if many {
            LeaveGroupRequest {
                group_id: self.config.group.clone(),
                members: vec![MemberIdentity {
                    member_id: member,
                    group_instance_id: self.config.instance.clone(),
                    ..MemberIdentity::default()
                }],
                ..LeaveGroupRequest::default()
            }
        } else {
            LeaveGroupRequest {
                group_id: self.config.group.clone(),
                member_id: member,
                ..LeaveGroupRequest::default()
            }
        };
        let response = connection.call(&request).await?;
        ApiError::check(response.error_code, None)
    }
}

struct Subscriber {
    id: String,
    instance: Option<String>,
    topics: Vec<String>,
}

impl Subscriber {
    fn sort_key(&self) -> (bool, &str) {
        match &self.instance {
            Some(instance) => (false, instance),
            None => (true, &self.id),
        }
    }
}

fn subscriber(member: &JoinGroupResponseMember) -> Subscriber {
    // A member whose subscription cannot be read gets nothing.
    let topics = read_versioned::<ConsumerProtocolSubscription>(&member.metadata)
        .map_or_else(Vec::new, |subscription| subscription.topics);
    Subscriber {
        id: member.member_id.clone(),
        instance: member.group_instance_id.clone(),
        topics,
    }
}

/// Kafka's `RangeAssignor`: the first members get one partition more when they do not divide evenly.
fn range(
    members: &[Subscriber],
    counts: &BTreeMap<String, i32>,
) -> BTreeMap<String, Vec<(String, i32)>> {
    let mut assigned: BTreeMap<String, Vec<(String, i32)>> = BTreeMap::new();
    for (topic, count) in counts {
        let interested: Vec<&Subscriber> = members
            .iter()
            .filter(|member| member.topics.contains(topic))
            .collect();
        let Ok(readers) = i32::try_from(interested.len()) else {
            continue;
        };
        if readers == 0 {
            continue;
        }
        let (each, extra) = (count / readers, count % readers);
        let mut next = 0;
        for (index, member) in (0..).zip(interested) {
            let share = each + i32::from(index < extra);
            assigned
                .entry(member.id.clone())
                .or_default()
                .extend((next..next + share).map(|partition| (topic.clone(), partition)));
            next += share;
        }
    }
    assigned
}

/// Kafka's `RoundRobinAssignor`.
fn round_robin(
    members: &[Subscriber],
    counts: &BTreeMap<String, i32>,
) -> BTreeMap<String, Vec<(String, i32)>> {
    let mut assigned: BTreeMap<String, Vec<(String, i32)>> = BTreeMap::new();
    let mut turn = 0;
    for (topic, count) in counts {
        if !members.iter().any(|member| member.topics.contains(topic)) {
            continue;
        }
        for partition in 0..*count {
            while !members[turn % members.len()].topics.contains(topic) {
                turn += 1;
            }
            let member = &members[turn % members.len()];
            assigned
                .entry(member.id.clone())
                .or_default()
                .push((topic.clone(), partition));
            turn += 1;
        }
    }
    assigned
}

/// The consumer protocol puts the version in front.
fn versioned<M: Message>(message: &M, version: i16) -> Bytes {
    let mut out = version.to_be_bytes().to_vec();
    message
        .encode(&mut Encoder::new(&mut out), version)
        .expect("topic names came from the wire or the command line and fit");
    out.into()
}

fn read_versioned<M: Message>(bytes: &Bytes) -> Option<M> {
    let version = i16::from_be_bytes(*bytes.first_chunk::<2>()?);
    // A newer version begins like the newest we know.
    let version = version.min(*M::VALID_VERSIONS.end());
    let body = bytes.slice(2..);
    let mut budget = Budget::for_frame(body.len());
    M::decode(&mut Decoder::new(&body, &mut budget), version).ok()
}

fn read_assignment(bytes: &Bytes) -> Result<Partitions, ApiError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let assignment: ConsumerProtocolAssignment = read_versioned(bytes)
        .ok_or_else(|| ApiError::code(ErrorCode::InconsistentGroupProtocol))?;
    Ok(assignment
        .assigned_partitions
        .into_iter()
        .flat_map(|topic| {
            let name = topic.topic;
            topic
                .partitions
                .into_iter()
                .map(move |partition| (name.clone(), partition))
        })
        .collect())
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

const NOT_A_MEMBER: &str = "Offset commit cannot be completed since the consumer is not part of an active group for auto \
                            partition assignment; it is likely that the consumer was kicked out of the group.";
const PROTOCOL_TYPE: &str = "consumer";
/// The version without owned partitions: ours is an eager member.
const SUBSCRIPTION_VERSION: i16 = 0;
const ASSIGNMENT_VERSION: i16 = 0;
/// How much longer than the rebalance a join may take to be answered.
const JOIN_GRACE: Duration = Duration::from_secs(5);
/// How often a commit of an older epoch is sent again.
const STALE_COMMITS_MAX: u32 = 5;

#[cfg(test)]
mod tests;
