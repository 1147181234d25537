//! **Owns** membership in a group by the consumer protocol (KIP-848): heartbeats that bring an assignment, and the steps
//! from what is owned to what is assigned.
//! **Lives on** the client's thread, one task per membership.
//! **Invariants** (1) A partition is given back before the heartbeat that no longer names it, and after what was consumed of
//! it is committed. (2) A partition is read only after the coordinator has given it, and what a fenced member read is not
//! committed. (3) Every change of what is owned is told at once, everything else when a heartbeat is due.
//! **Not here** commits and starting offsets (`group`), fetching.
//!
//! ```text
//! epoch 0: join ──► epoch n, assignment ──► give back, say so ──► take, say so ──► heartbeats
//!    ▲                                                                              │
//!    └───────────── FENCED_MEMBER_EPOCH, UNKNOWN_MEMBER_ID: everything is lost ─────┘
//! epoch −1: leave; −2: a static member that comes back
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use corelog_net::wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, RequestTopicPartitions,
};
use corelog_net::wire::{ErrorCode, Uuid};
use corelog_runtime::{Instant, now, sleep, timeout_at};

use super::{Identity, Partitions, Shared, millis};
use crate::client::consumer::Inner;
use crate::client::{ApiError, Coordinates};

/// A partition as the protocol names it.
type Place = (Uuid, i32);

struct Member {
    id: String,
    epoch: i32,
    /// Between two heartbeats, as the coordinator wants it.
    interval: Duration,
    coordinator: Option<i32>,
    /// What the coordinator assigned last; none before it did.
    target: Option<BTreeSet<Place>>,
    /// What is read.
    owned: BTreeMap<Place, String>,
    /// What the coordinator was told last; none when it has to be told everything.
    told: Option<Told>,
    commit_at: Option<Instant>,
    /// Since when there is no complete assignment.
    joining_since: Option<Instant>,
}

#[derive(Clone, PartialEq, Eq)]
struct Told {
    topics: Vec<String>,
    owned: BTreeSet<Place>,
}

/// What an error makes of the membership.
enum Fate {
    /// Ask again.
    Again,
    /// What was owned belongs to others: begin anew.
    Anew,
    /// There is nothing to go on with.
    Over,
}

impl Fate {
    fn of(error: &ApiError) -> Self {
        match error.refusal() {
            Some(ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId) => Self::Anew,
            // A commit met a newer epoch: the next heartbeat learns it.
            Some(ErrorCode::StaleMemberEpoch) => Self::Again,
            _ if error.is_retriable() => Self::Again,
            _ => Self::Over,
        }
    }
}

/// Is a member until it is dropped, or cannot be one.
pub(super) async fn run(inner: Rc<Inner>, shared: Rc<Shared>) {
    let mut member = Member {
        id: new_id(),
        epoch: 0,
        interval: FIRST_INTERVAL,
        coordinator: None,
        target: None,
        owned: BTreeMap::new(),
        told: None,
        commit_at: shared.next_commit(),
        joining_since: Some(now()),
    };
    loop {
        let turned = member.turn(&inner, &shared).await;
        if shared.is_late(&inner) {
            member.drop_out(&inner, &shared).await;
            continue;
        }
        let Err(error) = turned else {
            continue;
        };
        match Fate::of(&error) {
            Fate::Again => {
                member.told = None;
                member.coordinator = None;
                sleep(inner.client.config().retry_backoff).await;
            }
            Fate::Anew => {
                member.lose(&inner, &shared);
                sleep(inner.client.config().retry_backoff).await;
            }
            Fate::Over => {
                // Nobody has to be told of a member that the coordinator refused.
                *shared.identity.borrow_mut() = None;
                Inner::assign(&inner, &[]);
                inner.fail(in_words(error).into());
                return;
            }
        }
    }
}

/// Says goodbye. A static member keeps its place until its session times out.
pub(super) async fn leave(
    inner: &Inner,
    shared: &Shared,
    identity: &Identity,
) -> Result<(), ApiError> {
    let epoch = if shared.config.instance.is_some() {
        LEAVES_FOR_NOW
    } else {
        LEAVES
    };
    let node = inner
        .client
        .coordinator(Coordinates::Group, &shared.config.group)
        .await?;
    let request = ConsumerGroupHeartbeatRequest {
        group_id: shared.config.group.clone(),
        member_id: identity.member.clone(),
        member_epoch: epoch,
        instance_id: shared.config.instance.clone(),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let response = inner.client.call_node(node, &request).await?;
    match ApiError::check(response.error_code, response.error_message) {
        // It had been put out already.
        Err(error) if matches!(Fate::of(&error), Fate::Anew) => Ok(()),
        result => result,
    }
}

impl Member {
    /// One heartbeat, what follows from it, and the wait for the next.
    async fn turn(&mut self, inner: &Rc<Inner>, shared: &Rc<Shared>) -> Result<(), ApiError> {
        self.beat(inner, shared).await?;
        if self.reconcile(inner, shared).await? {
            return Ok(());
        }
        self.rest(inner, shared).await
    }

    /// Forgets what belongs to others now, and begins anew under the same name.
    fn lose(&mut self, inner: &Rc<Inner>, shared: &Shared) {
        self.epoch = 0;
        self.target = None;
        self.owned.clear();
        self.told = None;
        self.joining_since.get_or_insert_with(now);
        *shared.identity.borrow_mut() = None;
        shared.committed.borrow_mut().clear();
        Inner::assign(inner, &[]);
    }

    /// Leaves the group, and comes back when somebody asks for records again.
    async fn drop_out(&mut self, inner: &Rc<Inner>, shared: &Shared) {
        let identity = shared.identity.borrow().clone();
        self.lose(inner, shared);
        shared.dropped_out.set(true);
        if let Some(identity) = identity {
            // Not told, the group notices when the session times out.
            let _ = leave(inner, shared, &identity).await;
        }
        inner.polls.next().await;
        inner.polls.restart();
    }

    async fn beat(&mut self, inner: &Inner, shared: &Shared) -> Result<(), ApiError> {
        let node = if let Some(node) = self.coordinator {
            node
        } else {
            let group = &shared.config.group;
            let node = inner.client.coordinator(Coordinates::Group, group).await?;
            *self.coordinator.insert(node)
        };
        let connection = inner.client.node(node).await?;
        let now_told = Told {
            topics: shared.topics.borrow().clone(),
            owned: self.owned.keys().copied().collect(),
        };
        let mut request = self.request(shared, &now_told);
        if self.epoch == 0 {
            // The first version has the coordinator give out names.
            let names_members = connection
                .version_of::<ConsumerGroupHeartbeatRequest>()
                .is_some_and(|version| version == 0);
            if names_members {
                request.member_id.clear();
            } else {
                // So that who stops now can still leave.
                *shared.identity.borrow_mut() = Some(self.identity());
            }
        }
        let response = connection.call(&request).await?;
        self.take(response)?;
        self.told = Some(now_told);
        shared.dropped_out.set(false);
        *shared.identity.borrow_mut() = Some(self.identity());
        Ok(())
    }

    fn identity(&self) -> Identity {
        Identity {
            member: self.id.clone(),
            generation: self.epoch,
        }
    }

    /// What is new since the last heartbeat; everything in the first, and after one whose answer is not known.
    fn request(&self, shared: &Shared, now_told: &Told) -> ConsumerGroupHeartbeatRequest {
        let config = &shared.config;
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: config.group.clone(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            instance_id: config.instance.clone(),
            rebalance_timeout_ms: -1,
            ..ConsumerGroupHeartbeatRequest::default()
        };
        if self.told.is_none() {
            request.rack_id.clone_from(&config.rack);
            request.rebalance_timeout_ms = millis(config.rebalance_timeout);
            request.server_assignor.clone_from(&config.remote_assignor);
            request.subscribed_topic_regex.clone_from(&config.pattern);
        }
        let before = self.told.as_ref();
        if before.is_none_or(|told| told.topics != now_told.topics) {
            request.subscribed_topic_names = Some(now_told.topics.clone());
        }
        if before.is_none_or(|told| told.owned != now_told.owned) {
            request.topic_partitions = Some(by_topic(&now_told.owned));
        }
        request
    }

    fn take(&mut self, response: ConsumerGroupHeartbeatResponse) -> Result<(), ApiError> {
        ApiError::check(response.error_code, response.error_message)?;
        if let Some(id) = response.member_id.filter(|id| !id.is_empty()) {
            self.id = id;
        }
        self.epoch = response.member_epoch;
        if let Ok(ms) = u64::try_from(response.heartbeat_interval_ms)
            && ms > 0
        {
            self.interval = Duration::from_millis(ms);
        }
        if let Some(assignment) = response.assignment {
            let topics = assignment.topic_partitions.into_iter();
            let places = topics.flat_map(|topic| {
                let id = topic.topic_id;
                topic.partitions.into_iter().map(move |number| (id, number))
            });
            self.target = Some(places.collect());
        }
        Ok(())
    }

    /// Goes from what is owned to what is assigned as far as possible now; says whether something changed.
    async fn reconcile(
        &mut self,
        inner: &Rc<Inner>,
        shared: &Rc<Shared>,
    ) -> Result<bool, ApiError> {
        let Some(target) = &self.target else {
            return Ok(false);
        };
        let back: Vec<Place> = self
            .owned
            .keys()
            .filter(|place| !target.contains(place))
            .copied()
            .collect();
        let more: Vec<Place> = target
            .iter()
            .filter(|place| !self.owned.contains_key(place))
            .copied()
            .collect();
        if !back.is_empty() {
            let names: Partitions = back
                .iter()
                .filter_map(|place| Some((self.owned.get(place)?.clone(), place.1)))
                .collect();
            self.give_back(inner, shared, &names).await?;
            for place in &back {
                self.owned.remove(place);
            }
        }
        let mut taken = Vec::new();
        for place in more {
            if let Some(name) = topic_name(inner, place.0).await? {
                taken.push((place, name));
            }
        }
        if !taken.is_empty() {
            let names: Partitions = taken
                .iter()
                .map(|((_, number), name)| (name.clone(), *number))
                .collect();
            let starts = shared.starts(inner, names).await?;
            Inner::change(inner, &[], &starts);
        }
        let changed = !back.is_empty() || !taken.is_empty();
        self.owned.extend(taken);
        let is_whole = self
            .target
            .as_ref()
            .is_some_and(|target| target.len() == self.owned.len());
        if is_whole && let Some(since) = self.joining_since.take() {
            shared.joins.set(shared.joins.get() + 1);
            let spent = now().duration_since(since);
            shared.join_time.set(shared.join_time.get() + spent);
        }
        Ok(changed)
    }

    async fn give_back(
        &self,
        inner: &Rc<Inner>,
        shared: &Rc<Shared>,
        names: &Partitions,
    ) -> Result<(), ApiError> {
        // ORDER: nothing more of them goes to the reader, so what it has is all there is to commit.
        inner.halt(names);
        if shared.config.auto_commit.is_some()
            && let Err(error) = shared.commit(inner).await
            && matches!(Fate::of(&error), Fate::Anew)
        {
            return Err(error);
        }
        // A commit that failed otherwise is not waited for: the next owner reads a little again.
        Inner::change(inner, names, &[]);
        let mut committed = shared.committed.borrow_mut();
        committed.retain(|(topic, number), _| {
            !names
                .iter()
                .any(|(name, other)| **name == **topic && other == number)
        });
        Ok(())
    }

    /// Waits until the next heartbeat is due or there is something to say, and commits on the way.
    async fn rest(&mut self, inner: &Rc<Inner>, shared: &Rc<Shared>) -> Result<(), ApiError> {
        let until = now() + self.interval;
        loop {
            let is_told = |told: &Told| told.topics == *shared.topics.borrow();
            if !self.told.as_ref().is_some_and(is_told) {
                return Ok(());
            }
            let late = inner.polls.deadline(shared.config.rebalance_timeout);
            let next = self.commit_at.map_or(until, |at| at.min(until)).min(late);
            let woken = shared.changed.notified();
            if timeout_at(next, woken).await.is_some() {
                continue;
            }
            if shared.is_late(inner) {
                return Ok(());
            }
            if self.commit_at.is_some_and(|at| at <= now()) {
                self.commit_at = shared.next_commit();
                match shared.commit(inner).await {
                    Err(error) if !matches!(Fate::of(&error), Fate::Again) => return Err(error),
                    _ => {}
                }
            }
            if now() >= until {
                return Ok(());
            }
        }
    }
}

/// The name of a topic that was assigned by its id; none while the brokers do not know it.
async fn topic_name(inner: &Inner, id: Uuid) -> Result<Option<String>, ApiError> {
    match inner.client.topic_name(id).await {
        Ok(name) => Ok(name),
        Err(error) if error.is_retriable() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn by_topic(places: &BTreeSet<Place>) -> Vec<RequestTopicPartitions> {
    let mut topics: Vec<RequestTopicPartitions> = Vec::new();
    for (topic_id, number) in places {
        match topics.last_mut() {
            Some(last) if last.topic_id == *topic_id => last.partitions.push(*number),
            _ => topics.push(RequestTopicPartitions {
                topic_id: *topic_id,
                partitions: vec![*number],
                ..RequestTopicPartitions::default()
            }),
        }
    }
    topics
}

/// Kafka's sentence for brokers without the protocol, as theirs does not say what to do.
fn in_words(error: ApiError) -> ApiError {
    let unsupported = match &error {
        ApiError::Call(call) => call.is_unsupported(),
        ApiError::Refused { code, .. } => *code == ErrorCode::UnsupportedVersion,
    };
    if !unsupported {
        return error;
    }
    ApiError::Refused {
        code: ErrorCode::UnsupportedVersion,
        message: Some(NOT_SUPPORTED.to_owned()),
    }
}

/// A name for a member: a random id in Kafka's writing.
fn new_id() -> String {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&corelog_runtime::random().to_be_bytes());
    bytes[8..].copy_from_slice(&corelog_runtime::random().to_be_bytes());
    Uuid(bytes).to_string()
}

const NOT_SUPPORTED: &str = "The cluster does not support the new CONSUMER group protocol. Set \
                             group.protocol=classic on the consumer configs to revert to the \
                             CLASSIC protocol until the cluster is upgraded.";

/// Until the coordinator has said otherwise.
const FIRST_INTERVAL: Duration = Duration::from_secs(5);

const LEAVES: i32 = -1;
const LEAVES_FOR_NOW: i32 = -2;
