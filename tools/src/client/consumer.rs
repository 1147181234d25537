//! **Owns** consuming: which partitions, from where, and the bytes fetched ahead of their reader.
//! **Lives on** the client's thread: one fetcher per broker, one task for a group membership.
//! **Invariants** (1) Chunks of a partition are given out in the order of their offsets, without gap or overlap. (2) What
//! was fetched before a seek or a new assignment is never given out after it. (3) Not more than about
//! `buffered_bytes_max` waits for its reader.
//! **Not here** printing records (`cli`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use corelog_net::wire::ErrorCode;
use corelog_runtime::{Instant, Notify, Task, now, sleep, spawn, timeout_at, wall_clock};

use super::admin::{Admin, OffsetSpec};
use super::{ApiError, Client};

mod chunk;
mod fetcher;
mod group;
mod polls;

pub use super::admin::Isolation;
pub use chunk::{Chunk, OwnedRecord, ReadError};
pub use group::{Assignor, GroupConfig, Protocol};

use fetcher::fetch_from;
use group::Membership;

/// How a consumer fetches. Names in brackets are Kafka's.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// `fetch.min.bytes`.
    pub fetch_bytes_min: i32,
    /// `fetch.max.wait.ms`.
    pub fetch_wait_max: Duration,
    /// `fetch.max.bytes`.
    pub fetch_bytes_max: i32,
    /// `max.partition.fetch.bytes`.
    pub partition_bytes_max: i32,
    /// `isolation.level`.
    pub isolation: Isolation,
    /// `check.crcs`.
    pub check_crcs: bool,
    /// `auto.offset.reset`.
    pub reset: Reset,
    /// How much may be fetched ahead.
    pub buffered_bytes_max: usize,
    /// A batch that inflates to more is refused.
    pub inflated_bytes_max: usize,
}

impl Default for ConsumerConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            fetch_bytes_min: 1,
            fetch_wait_max: Duration::from_millis(500),
            fetch_bytes_max: 50 * 1024 * 1024,
            partition_bytes_max: 1024 * 1024,
            isolation: Isolation::ReadUncommitted,
            check_crcs: true,
            reset: Reset::Latest,
            buffered_bytes_max: 64 * 1024 * 1024,
            inflated_bytes_max: 1 << 30,
        }
    }
}

/// Where to go on when there is no offset, or the log does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The log's start.
    Earliest,
    /// The log's end.
    Latest,
    /// The first record that is not older; while there is none, nowhere.
    Since(Duration),
    /// Nowhere: it is an error.
    Fail,
}

impl Reset {
    /// Where a partition begins that has no offset.
    pub fn start(self) -> Start {
        match self {
            Self::Earliest => Start::Earliest,
            Self::Latest => Start::Latest,
            Self::Since(age) => Start::Since(age),
            Self::Fail => Start::Nowhere,
        }
    }
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At this offset.
    Offset(i64),
    /// At the log's start.
    Earliest,
    /// At the log's end.
    Latest,
    /// At the first record that is not older than this; there is no place before one is.
    Since(Duration),
    /// There is no place ([`ConsumeError::NoOffset`]).
    Nowhere,
}

/// Why there is nothing to read, and will not be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConsumeError {
    /// A call failed for good.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The log does not have the position, and the configuration says not to move.
    #[error(
        "Fetch position FetchPosition{{offset={offset}, offsetEpoch={epoch}, currentLeader={leader}}} is out of range for \
         partition {topic}-{partition}"
    )]
    OutOfRange {
        /// The topic.
        topic: Rc<str>,
        /// The partition.
        partition: i32,
        /// The position.
        offset: i64,
        /// The epoch of what was consumed before it, as Kafka's client prints it.
        epoch: String,
        /// Who leads the partition, in the same way.
        leader: String,
    },
    /// There is no place to begin at, and the configuration names none.
    #[error("Undefined offset with no reset policy for partitions: [{}]", joined(.0))]
    NoOffset(Vec<(String, i32)>),
    /// A partition cannot be read.
    #[error("{topic}-{partition}: {error}")]
    Partition {
        /// The topic.
        topic: Rc<str>,
        /// The partition.
        partition: i32,
        /// The broker's answer.
        error: ApiError,
    },
    /// Fetched bytes are damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
}

fn joined(partitions: &[(String, i32)]) -> String {
    let names = partitions.iter();
    let names = names.map(|(topic, number)| format!("{topic}-{number}"));
    names.collect::<Vec<_>>().join(", ")
}

/// Reads any number of partitions.
pub struct Consumer {
    inner: Rc<Inner>,
    membership: RefCell<Option<Membership>>,
}

struct Inner {
    client: Rc<Client>,
    admin: Admin,
    config: ConsumerConfig,
    /// There may be something to fetch again.
    hungry: Notify,
    /// There may be a chunk, or an error.
    arrived: Notify,
    polls: polls::Polls,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    partitions: Vec<PartitionState>,
    by_name: BTreeMap<(Rc<str>, i32), usize>,
    chunks: VecDeque<(usize, u64, Chunk)>,
    buffered: usize,
    error: Option<ConsumeError>,
    fetchers: BTreeMap<i32, Task<()>>,
    /// Partitions that need their start looked up, or their leader.
    finder: Option<Task<()>>,
    generation: u64,
    fetches: u64,
    fetch_wait: Duration,
}

struct PartitionState {
    topic: Rc<str>,
    number: i32,
    leader: Option<i32>,
    /// The next offset to fetch.
    position: Option<i64>,
    /// Where to begin when there is no position.
    start: Start,
    /// Everything before it was handed to, and taken by, the reader.
    consumed: Option<i64>,
    /// The leader epoch of what was consumed last, -1 before there is such.
    consumed_epoch: i32,
    /// Changes with a seek: older fetches do not count.
    generation: u64,
    buffered: usize,
    high_watermark: i64,
    retry_at: Option<Instant>,
}

impl Consumer {
    /// A consumer without partitions.
    pub fn new(client: &Rc<Client>, config: ConsumerConfig) -> Self {
        Self {
            inner: Rc::new(Inner {
                client: Rc::clone(client),
                admin: Admin::new(client),
                config,
                hungry: Notify::new(),
                arrived: Notify::new(),
                polls: polls::Polls::new(now()),
                state: RefCell::default(),
            }),
            membership: RefCell::new(None),
        }
    }

    /// Reads exactly these partitions from now on.
    pub fn assign(&self, partitions: &[(String, i32, Start)]) {
        Inner::assign(&self.inner, partitions);
    }

    /// Joins a group and reads what it assigns, from committed offsets. Ends with [`Consumer::close`].
    pub fn subscribe(&self, group: GroupConfig) {
        let membership = Membership::start(&self.inner, group);
        *self.membership.borrow_mut() = Some(membership);
    }

    /// Has the group assign partitions of these topics from now on, in the place of those it was subscribed with.
    pub fn set_topics(&self, topics: Vec<String>) {
        if let Some(membership) = &*self.membership.borrow() {
            membership.set_topics(topics);
        }
    }

    /// Goes on reading a partition at another offset.
    pub fn seek(&self, topic: &str, partition: i32, start: Start) {
        let mut state = self.inner.state.borrow_mut();
        let state = &mut *state;
        state.generation += 1;
        let generation = state.generation;
        if let Some(found) = state
            .partitions
            .iter_mut()
            .find(|it| &*it.topic == topic && it.number == partition)
        {
            found.generation = generation;
            found.start = start;
            found.position = match start {
                Start::Offset(offset) => Some(offset),
                _ => None,
            };
            found.consumed = found.position;
            found.buffered = 0;
        }
        let partitions = &state.partitions;
        state
            .chunks
            .retain(|(slot, generation, _)| partitions[*slot].generation == *generation);
        state.buffered = state.chunks.iter().map(|(_, _, chunk)| chunk.size()).sum();
        Inner::wake(&self.inner, state);
    }

    /// Waits for the next bytes of any partition.
    pub async fn next(&self) -> Result<Chunk, ConsumeError> {
        let _polling = self.inner.polls.begin();
        loop {
            if let Some(chunk) = self.inner.take()? {
                return Ok(chunk);
            }
            self.inner.arrived.notified().await;
        }
    }

    /// [`Consumer::next`], not longer than `limit`.
    pub async fn next_within(&self, limit: Duration) -> Result<Option<Chunk>, ConsumeError> {
        let _polling = self.inner.polls.begin();
        if let Some(chunk) = self.inner.take()? {
            return Ok(Some(chunk));
        }
        let until = now() + limit;
        match timeout_at(until, self.next()).await {
            Some(chunk) => chunk.map(Some),
            None => Ok(None),
        }
    }

    /// The records that arrive within `limit`, at least one chunk's, as values of their own; they count as consumed.
    /// For tests: it copies.
    pub async fn poll(&self, limit: Duration) -> Result<Vec<OwnedRecord>, ConsumeError> {
        let mut records = Vec::new();
        if let Some(chunk) = self.next_within(limit).await? {
            let _ = chunk.each(|record| {
                records.push(OwnedRecord::new(&chunk, record));
                std::ops::ControlFlow::Continue(())
            })?;
            self.consumed(&chunk, chunk.next_offset());
        }
        Ok(records)
    }

    /// Says that everything of a partition before `offset` is dealt with; that is what a group commits.
    pub fn consumed(&self, chunk: &Chunk, offset: i64) {
        let mut state = self.inner.state.borrow_mut();
        if let Some(found) = state
            .partitions
            .iter_mut()
            .find(|it| it.number == chunk.partition && it.topic == chunk.topic)
        {
            found.consumed = Some(offset);
            found.consumed_epoch = chunk.leader_epoch_before(offset);
        }
    }

    /// What is read now.
    pub fn assignment(&self) -> Vec<(Rc<str>, i32)> {
        let state = self.inner.state.borrow();
        state
            .partitions
            .iter()
            .map(|it| (Rc::clone(&it.topic), it.number))
            .collect()
    }

    /// Everything of a partition before this offset is dealt with ([`Consumer::consumed`]).
    pub fn consumed_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        let state = self.inner.state.borrow();
        state
            .partitions
            .iter()
            .find(|it| it.number == partition && &*it.topic == topic)
            .and_then(|it| it.consumed)
    }

    /// The next offset to be fetched of a partition, once it is known.
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        let state = self.inner.state.borrow();
        state
            .partitions
            .iter()
            .find(|it| it.number == partition && &*it.topic == topic)
            .and_then(|it| it.position)
    }

    /// Whether there are partitions, and it is known for each where to begin.
    pub fn is_positioned(&self) -> bool {
        let state = self.inner.state.borrow();
        !state.partitions.is_empty() && state.partitions.iter().all(|it| it.position.is_some())
    }

    /// Whether every partition has been fetched up to its high watermark and nothing waits for its reader.
    pub fn is_at_end(&self) -> bool {
        let state = self.inner.state.borrow();
        !state.partitions.is_empty()
            && state.chunks.is_empty()
            && state
                .partitions
                .iter()
                .all(|it| it.high_watermark >= 0 && it.position >= Some(it.high_watermark))
    }

    /// How many records lie between what was fetched and the high watermark, by partition; none while it is not known.
    pub fn lags(&self) -> Vec<(Rc<str>, i32, Option<i64>)> {
        let state = self.inner.state.borrow();
        let lag = |it: &PartitionState| {
            let position = it.position.filter(|_| it.high_watermark >= 0)?;
            Some((it.high_watermark - position).max(0))
        };
        let partitions = state.partitions.iter();
        let lags = partitions.map(|it| (Rc::clone(&it.topic), it.number, lag(it)));
        lags.collect()
    }

    /// Fetch requests so far, and the time spent waiting for them.
    pub fn fetches(&self) -> (u64, Duration) {
        let state = self.inner.state.borrow();
        (state.fetches, state.fetch_wait)
    }

    /// Time spent joining the group, and the number of times it was joined.
    pub fn rebalances(&self) -> (u64, Duration) {
        self.membership
            .borrow()
            .as_ref()
            .map_or((0, Duration::ZERO), Membership::joins)
    }

    /// Commits what is consumed to the group.
    pub async fn commit(&self) -> Result<(), ApiError> {
        let commit = self.membership.borrow().as_ref().map(Membership::committer);
        match commit {
            Some(committer) => committer.commit(&self.inner).await,
            None => Ok(()),
        }
    }

    /// Commits when the group is configured so, and leaves it.
    pub async fn close(self) -> Result<(), ApiError> {
        let membership = self.membership.borrow_mut().take();
        match membership {
            Some(membership) => membership.leave(&self.inner).await,
            None => Ok(()),
        }
    }

    /// Like [`Consumer::close`] without a goodbye: the group notices when the session times out.
    pub fn abandon(self) {}
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let (fetchers, finder) = {
            let mut state = self.inner.state.borrow_mut();
            (std::mem::take(&mut state.fetchers), state.finder.take())
        };
        // Their drop may look at the state.
        drop((fetchers, finder));
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("assignment", &self.assignment())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn assign(this: &Rc<Self>, partitions: &[(String, i32, Start)]) {
        let mut state = this.state.borrow_mut();
        let state = &mut *state;
        state.generation += 1;
        state.chunks.clear();
        state.buffered = 0;
        state.partitions.clear();
        state.by_name.clear();
        for (topic, number, start) in partitions {
            Self::add(state, topic, *number, *start);
        }
        Self::wake(this, state);
    }

    /// Gives out nothing more of these partitions; their consumed offsets stay until [`Inner::change`] takes them away.
    fn halt(&self, partitions: &[(String, i32)]) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.generation += 1;
        for (topic, number) in partitions {
            let key = (Rc::from(topic.as_str()), *number);
            if let Some(slot) = state.by_name.get(&key).copied() {
                let partition = &mut state.partitions[slot];
                partition.generation = state.generation;
                partition.retry_at = Some(Instant::MAX);
                partition.buffered = 0;
            }
        }
        let partitions = &state.partitions;
        state
            .chunks
            .retain(|(slot, generation, _)| partitions[*slot].generation == *generation);
        state.buffered = state.chunks.iter().map(|(_, _, chunk)| chunk.size()).sum();
    }

    /// Reads no longer what is removed, and also what is added. What was fetched of the others stays; what is under way
    /// is fetched again, as places in the list move.
    fn change(this: &Rc<Self>, removed: &[(String, i32)], added: &[(String, i32, Start)]) {
        let mut state = this.state.borrow_mut();
        let state = &mut *state;
        state.generation += 1;
        let removed: BTreeSet<(&str, i32)> = removed
            .iter()
            .map(|(topic, number)| (topic.as_str(), *number))
            .collect();
        let before = std::mem::take(&mut state.partitions);
        let mut moved: Vec<Option<(usize, u64)>> = Vec::with_capacity(before.len());
        state.by_name.clear();
        for mut partition in before {
            if removed.contains(&(&*partition.topic, partition.number)) {
                moved.push(None);
                continue;
            }
            let slot = state.partitions.len();
            moved.push(Some((slot, partition.generation)));
            partition.generation = state.generation;
            let key = (Rc::clone(&partition.topic), partition.number);
            state.by_name.insert(key, slot);
            state.partitions.push(partition);
        }
        let chunks = std::mem::take(&mut state.chunks).into_iter();
        let kept = chunks.filter_map(|(slot, generation, chunk)| {
            let (slot, was) = moved.get(slot).copied().flatten()?;
            (was == generation).then_some((slot, state.generation, chunk))
        });
        state.chunks = kept.collect();
        state.buffered = state.chunks.iter().map(|(_, _, chunk)| chunk.size()).sum();
        for (topic, number, start) in added {
            Self::add(state, topic, *number, *start);
        }
        Self::wake(this, state);
    }

    fn add(state: &mut State, topic: &str, number: i32, start: Start) {
        // Partitions of a topic stand together and share its name.
        let name: Rc<str> = match state.partitions.last() {
            Some(last) if &*last.topic == topic => Rc::clone(&last.topic),
            _ => topic.into(),
        };
        let position = match start {
            Start::Offset(offset) => Some(offset),
            Start::Earliest | Start::Latest | Start::Since(_) | Start::Nowhere => None,
        };
        let slot = state.partitions.len();
        state.by_name.insert((Rc::clone(&name), number), slot);
        state.partitions.push(PartitionState {
            topic: name,
            number,
            leader: None,
            position,
            start,
            consumed: position,
            consumed_epoch: -1,
            generation: state.generation,
            buffered: 0,
            high_watermark: -1,
            retry_at: None,
        });
    }

    /// Lets the tasks look at the partitions again.
    fn wake(this: &Rc<Self>, state: &mut State) {
        if state.finder.is_none() {
            let inner = Rc::clone(this);
            state.finder = Some(spawn("consumer.finder", find(inner)));
        }
        this.hungry.notify_all();
        this.arrived.notify_all();
    }

    fn take(&self) -> Result<Option<Chunk>, ConsumeError> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        while let Some((slot, generation, chunk)) = state.chunks.pop_front() {
            state.buffered = state.buffered.saturating_sub(chunk.size());
            if let Some(partition) = state.partitions.get_mut(slot)
                && partition.generation == generation
            {
                partition.buffered = partition.buffered.saturating_sub(chunk.size());
                self.hungry.notify_all();
                return Ok(Some(chunk));
            }
        }
        match state.error.take() {
            Some(error) => Err(error),
            None => Ok(None),
        }
    }

    fn fail(&self, error: ConsumeError) {
        self.state.borrow_mut().error.get_or_insert(error);
        self.arrived.notify_all();
    }
}

/// Finds leaders and starting offsets for partitions that have none, and starts a fetcher for each leader.
async fn find(inner: Rc<Inner>) {
    loop {
        let missing = {
            let state = inner.state.borrow();
            let at = now();
            state
                .partitions
                .iter()
                .filter(|it| {
                    (it.leader.is_none() || it.position.is_none())
                        && it.retry_at.is_none_or(|retry_at| retry_at <= at)
                })
                .map(|it| (Rc::clone(&it.topic), it.number, it.start, it.generation))
                .collect::<Vec<_>>()
        };
        if missing.is_empty() {
            let next = {
                let state = inner.state.borrow();
                state
                    .partitions
                    .iter()
                    .filter(|it| it.leader.is_none() || it.position.is_none())
                    .filter_map(|it| it.retry_at)
                    .min()
            };
            let woken = inner.hungry.notified();
            match next {
                Some(next) => {
                    let _ = timeout_at(next, woken).await;
                }
                None => woken.await,
            }
            continue;
        }
        if !find_these(&inner, &missing).await {
            sleep(inner.client.config().retry_backoff).await;
            let _ = inner.client.refresh().await;
        }
    }
}

type Missing = (Rc<str>, i32, Start, u64);

/// Says whether all were found.
async fn find_these(inner: &Rc<Inner>, missing: &[Missing]) -> bool {
    let topics: BTreeSet<&str> = missing.iter().map(|(topic, ..)| &**topic).collect();
    for topic in topics {
        if let Err(error) = inner.client.topic_within(topic, Duration::ZERO).await
            && !error.is_retriable()
        {
            let partition = missing
                .iter()
                .find(|(name, ..)| &**name == topic)
                .map_or(0, |(_, number, ..)| *number);
            inner.fail(ConsumeError::Partition {
                topic: topic.into(),
                partition,
                error,
            });
        }
    }
    let mut lookups = Vec::new();
    let mut nowhere = Vec::new();
    let mut all = true;
    {
        let mut state = inner.state.borrow_mut();
        let state = &mut *state;
        for (topic, number, start, generation) in missing {
            let Some(slot) = state.by_name.get(&(Rc::clone(topic), *number)).copied() else {
                continue;
            };
            let partition = &mut state.partitions[slot];
            if partition.generation != *generation {
                continue;
            }
            let leader = inner.client.metadata().leader(topic, *number);
            match leader {
                Some((leader, _)) => {
                    partition.leader = Some(leader);
                    let spec = match start {
                        Start::Earliest => Some(OffsetSpec::Earliest),
                        Start::Latest | Start::Offset(_) => Some(OffsetSpec::Latest),
                        Start::Since(age) => {
                            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                            Some(OffsetSpec::Timestamp(
                                wall_clock().saturating_sub(age).max(0),
                            ))
                        }
                        Start::Nowhere => None,
                    };
                    match spec {
                        _ if partition.position.is_some() => {}
                        Some(spec) => lookups.push((topic.to_string(), *number, spec, *generation)),
                        None => {
                            partition.retry_at = Some(Instant::MAX);
                            nowhere.push((topic.to_string(), *number));
                        }
                    }
                    state.fetchers.entry(leader).or_insert_with(|| {
                        spawn("consumer.fetch", fetch_from(Rc::clone(inner), leader))
                    });
                }
                None => all = false,
            }
        }
    }
    if !nowhere.is_empty() {
        inner.fail(ConsumeError::NoOffset(nowhere));
    }
    if !lookups.is_empty() {
        let wanted: Vec<_> = lookups
            .iter()
            .map(|(topic, number, spec, _)| (topic.clone(), *number, *spec))
            .collect();
        match inner
            .admin
            .list_offsets(&wanted, inner.config.isolation)
            .await
        {
            Ok(found) => {
                let mut state = inner.state.borrow_mut();
                let state = &mut *state;
                for (topic, number, _, generation) in lookups {
                    let slot = state.by_name.get(&(topic.as_str().into(), number)).copied();
                    let Some(partition) = slot.map(|slot| &mut state.partitions[slot]) else {
                        continue;
                    };
                    if partition.generation != generation {
                        continue;
                    }
                    match found.get(&(topic, number)) {
                        // Of a time after all records there is none.
                        Some(Ok((offset, _))) if *offset >= 0 => {
                            partition.position = Some(*offset);
                            partition.consumed = Some(*offset);
                        }
                        _ => all = false,
                    }
                }
            }
            Err(error) if error.is_retriable() => all = false,
            Err(error) => {
                inner.fail(error.into());
                all = false;
            }
        }
    }
    inner.hungry.notify_all();
    all
}

/// Whether an error code of a partition is cured by new metadata.
fn wants_metadata(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::KafkaStorageError
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::InconsistentTopicId
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::OffsetNotAvailable
    )
}
