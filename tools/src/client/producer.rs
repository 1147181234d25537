//! **Owns** producing: batches per partition, their order, their retries.
//! **Lives on** the client's thread. One task pumps (sends what is ready), one per broker reads answers.
//! **Invariants** (1) Batches of a partition leave in the order they were filled; after a failure that is retried, one at
//! a time until the failed one is through, so that neither order nor sequence numbers break. (2) Every record's
//! [`Delivery`] is completed, by an offset or an error. (3) Sequence numbers are assigned when a batch is first sent and
//! never change while it may be in a broker's log.
//! **Not here** which partition a key belongs to is Kafka's (`murmur2`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::init_producer_id::InitProducerIdRequest;
use corelog_runtime::{Instant, Notify, Task, now, random, sleep, spawn, timeout_at, wall_clock};
use corelog_storage::batch::{BatchBuilder, BatchOptions, Compression, RecordHeader};
use corelog_storage::types::{ProducerEpoch, ProducerId, Timestamp};

use super::murmur2::partition_of;
use super::{ApiError, CallError, Client};

mod batch;
mod figures;
mod sender;
mod transaction;

pub use batch::{Delivered, Delivery, Prepared};
pub use figures::{Figures, OfTopic};
pub use transaction::{TransactionError, Transactional};

use batch::{Fate, Sealed};
use sender::{Node, PartitionState};
use transaction::Transaction;

/// What a produce request must wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Acks {
    /// Nothing; there is no answer.
    None = 0,
    /// The leader.
    Leader = 1,
    /// All in-sync replicas.
    All = -1,
}

/// How a producer batches and retries. Names in brackets are Kafka's.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// `acks`.
    pub acks: Acks,
    /// `linger.ms`.
    pub linger: Duration,
    /// `batch.size`, in bytes before compression.
    pub batch_size: usize,
    /// `max.in.flight.requests.per.connection`.
    pub in_flight_max: usize,
    /// `enable.idempotence`; needs `acks=all`.
    pub idempotence: bool,
    /// `compression.type`.
    pub compression: Compression,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    /// `delivery.timeout.ms`: from `send` to giving up.
    pub delivery_timeout: Duration,
    /// `retries`.
    pub retries: u32,
    /// `retry.backoff.ms`.
    pub retry_backoff: Duration,
    /// `buffer.memory`.
    pub buffer_memory: usize,
    /// `max.request.size`.
    pub request_size_max: usize,
    /// `max.block.ms`: how long `send` waits for metadata or memory.
    pub block_max: Duration,
    /// `transactional.id` and `transaction.timeout.ms`: everything is sent in transactions. Needs idempotence.
    pub transactional: Option<Transactional>,
}

impl Default for ProducerConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            acks: Acks::All,
            linger: Duration::from_millis(5),
            batch_size: 16 * 1024,
            in_flight_max: 5,
            idempotence: true,
            compression: Compression::default(),
            request_timeout: Duration::from_secs(30),
            delivery_timeout: Duration::from_mins(2),
            retries: u32::MAX,
            retry_backoff: Duration::from_millis(100),
            buffer_memory: 32 * 1024 * 1024,
            request_size_max: 1024 * 1024,
            block_max: Duration::from_mins(1),
            transactional: None,
        }
    }
}

/// A record to be produced.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Which partition; chosen by the key, or evenly, when none.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers.
    pub headers: &'a [RecordHeader<'a>],
    /// Milliseconds since the epoch; now when none.
    pub timestamp: Option<i64>,
}

/// Why a record was not accepted for sending.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// The topic is not there, or was not in time.
    #[error("{0}")]
    Topic(#[source] ApiError),
    /// The topic has no such partition.
    #[error("topic '{topic}' has no partition {partition}")]
    Partition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: i32,
    },
    /// The record is larger than a request may be.
    #[error(
        "The message is {size} bytes when serialized which is larger than {max}, which is the value of the \
         max.request.size configuration."
    )]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// No memory was freed in time.
    #[error("Failed to allocate memory within the configured max blocking time {0:?}.")]
    Memory(Duration),
    /// The records cannot be put in a batch.
    #[error("{0}")]
    Build(String),
    /// The producer has a transactional id, and no transaction is open.
    #[error("records of a transactional producer are sent in a transaction, and none is open")]
    NoTransaction,
}

/// Why a record was not delivered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProduceError {
    /// The broker refused it, and retrying does not help or went on too long.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// It was not acknowledged in time.
    #[error(
        "Expiring {count} record(s) for {topic}-{partition}:{after_ms} ms has passed since batch creation"
    )]
    Expired {
        /// Records of its batch.
        count: i32,
        /// The topic.
        topic: Rc<str>,
        /// The partition.
        partition: i32,
        /// How long it waited.
        after_ms: u128,
    },
    /// The producer was dropped.
    #[error("the producer is closed")]
    Closed,
    /// Its transaction was.
    #[error("Failing batch since transaction was aborted")]
    Aborted,
}

/// Produces to any number of topics.
pub struct Producer {
    inner: Rc<Inner>,
    _pump: Task<()>,
}

impl Producer {
    /// A producer over the client's cluster; gets its producer id when the configuration is idempotent.
    pub async fn new(client: Rc<Client>, config: ProducerConfig) -> Result<Self, ApiError> {
        let (identity, transaction) = match &config.transactional {
            Some(transactional) => {
                let (identity, transaction) = transaction::begin(&client, transactional).await?;
                (Some(identity), Some(transaction))
            }
            None if config.idempotence => (Some(init_producer_id(&client).await?), None),
            None => (None, None),
        };
        let inner = Rc::new(Inner {
            client,
            config,
            wake: Notify::new(),
            memory: Notify::new(),
            quiet: Notify::new(),
            state: RefCell::new(State {
                identity,
                transaction,
                ..State::default()
            }),
            closed: Cell::new(false),
            observer: RefCell::new(None),
        });
        let pump = spawn("producer.pump", sender::pump(Rc::clone(&inner)));
        Ok(Self { inner, _pump: pump })
    }

    /// Takes a record for sending. Waits only for metadata of a new topic and for memory; the outcome comes with the
    /// [`Delivery`].
    pub async fn send(&self, record: NewRecord<'_>) -> Result<Delivery, SendError> {
        let topic = self.inner.topic(record.topic).await?;
        let size = record_size_max(&record);
        if size > self.inner.config.request_size_max {
            return Err(SendError::TooLarge {
                size,
                max: self.inner.config.request_size_max,
            });
        }
        self.inner.take_memory(size).await?;
        let appended = self.inner.append(topic, &record, size);
        if appended.is_err() {
            self.inner.give_memory(size);
        }
        appended
    }

    /// Takes a batch that is already built, as it is: what load generators use to send the same bytes again and again.
    pub async fn send_prepared(
        &self,
        topic: &str,
        partition: i32,
        batch: Prepared,
        token: u64,
    ) -> Result<Delivery, SendError> {
        let index = self.inner.topic(topic).await?;
        let size = batch.size();
        self.inner.take_memory(size).await?;
        let mut state = self.inner.state.borrow_mut();
        let slot = state.slot(index, partition)?;
        state.may_send()?;
        let delivery = state.seal_prepared(slot, batch, token, size);
        drop(state);
        self.inner.wake.notify_one();
        Ok(delivery)
    }

    /// From now on `observer` is called for every batch that is finished: cheaper than awaiting deliveries.
    pub fn observe(&self, observer: Observer) {
        *self.inner.observer.borrow_mut() = Some(observer);
    }

    /// Sends everything that waits, and waits until all of it is delivered or given up.
    pub async fn flush(&self) {
        let begun = now();
        self.inner.state.borrow_mut().flushing += 1;
        self.inner.wake.notify_one();
        loop {
            let quiet = self.inner.quiet.notified();
            if self.inner.state.borrow().unfinished == 0 {
                break;
            }
            quiet.await;
        }
        let mut state = self.inner.state.borrow_mut();
        state.flushing -= 1;
        state.figures.flush_time += now().duration_since(begun);
    }

    /// Records taken and not yet delivered or given up, in batches.
    pub fn unfinished_batches(&self) -> usize {
        self.inner.state.borrow().unfinished
    }

    /// Produce requests so far.
    pub fn requests(&self) -> u64 {
        self.inner.state.borrow().requests
    }

    /// The client beneath.
    pub fn client(&self) -> &Rc<Client> {
        &self.inner.client
    }

    /// The number of partitions of a topic, once it is known.
    pub async fn partitions(&self, topic: &str) -> Result<i32, SendError> {
        let index = self.inner.topic(topic).await?;
        Ok(self.inner.state.borrow().topics[index].partition_count())
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.inner.closed.set(true);
        self.inner.observer.borrow_mut().take();
        let abandoned = self.inner.state.borrow_mut().abandon();
        for fate in abandoned.fates {
            fate.finish(Err(ProduceError::Closed));
        }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

/// What the handle and the tasks share.
struct Inner {
    client: Rc<Client>,
    config: ProducerConfig,
    /// Something changed that the pump must look at.
    wake: Notify,
    /// Memory was given back.
    memory: Notify,
    /// A batch was finished.
    quiet: Notify,
    state: RefCell<State>,
    closed: Cell<bool>,
    observer: RefCell<Option<Observer>>,
}

/// See [`Producer::observe`].
pub type Observer = Rc<dyn Fn(&Completion<'_>)>;

/// A batch is finished.
#[derive(Debug)]
pub struct Completion<'a> {
    /// What [`Producer::send_prepared`] was given; 0 for batches of single records.
    pub token: u64,
    /// Where to.
    pub topic: &'a str,
    /// Where to.
    pub partition: i32,
    /// Records.
    pub count: i32,
    /// When the batch was begun.
    pub created: Instant,
    /// Its first record's offset, or why it failed.
    pub outcome: Result<i64, &'a ProduceError>,
}

/// Producer id and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    id: ProducerId,
    epoch: ProducerEpoch,
}

impl Identity {
    const NONE: Self = Self {
        id: ProducerId::NONE,
        epoch: ProducerEpoch::NONE,
    };
}

#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what is wanted and what is asked for are independent"
)]
struct State {
    identity: Option<Identity>,
    /// The identity is spent (sequence lost): wait for what is in flight, then get another.
    identity_lost: bool,
    identity_asked: bool,
    transaction: Option<Transaction>,
    topics: Vec<TopicState>,
    partitions: Vec<PartitionState>,
    nodes: std::collections::BTreeMap<i32, Node>,
    /// Open batches in the order they were begun: (due, partition slot, serial of the batch).
    lingering: std::collections::VecDeque<(Instant, usize, u64)>,
    serial: u64,
    memory_used: usize,
    /// Batches begun and not finished.
    unfinished: usize,
    in_flight: usize,
    /// Produce requests so far.
    requests: u64,
    figures: figures::Counts,
    flushing: usize,
    metadata_wanted: bool,
    metadata_asked: bool,
    /// Partitions whose leader is not known.
    homeless: Vec<usize>,
    /// Partitions found in the line of a broker that does not lead them any more.
    astray: Vec<usize>,
    /// Metadata is not asked for before this.
    backoff_until: Option<Instant>,
    expiry_check: Option<Instant>,
    /// Senders that wait for memory.
    starving: usize,
}

struct TopicState {
    name: Rc<str>,
    /// Index into `State::partitions` of partition 0; they lie together.
    slots: Vec<usize>,
    /// The partition that records without a key go to for now, and how many bytes it got (KIP-794).
    sticky: usize,
    sticky_bytes: usize,
}

impl TopicState {
    fn partition_count(&self) -> i32 {
        i32::try_from(self.slots.len()).unwrap_or(i32::MAX)
    }
}

impl Inner {
    async fn topic(&self, name: &str) -> Result<usize, SendError> {
        if let Some(index) = self.state.borrow().topic_index(name) {
            return Ok(index);
        }
        let count = self
            .client
            .topic_within(name, self.config.block_max)
            .await
            .map_err(SendError::Topic)?;
        let mut state = self.state.borrow_mut();
        // Another send may have been first while this one waited.
        if let Some(index) = state.topic_index(name) {
            return Ok(index);
        }
        Ok(state.add_topic(name, count, self.config.compression))
    }

    async fn take_memory(&self, size: usize) -> Result<(), SendError> {
        let until = now() + self.config.block_max;
        loop {
            let freed = self.memory.notified();
            {
                let mut state = self.state.borrow_mut();
                if state.memory_used == 0 || state.memory_used + size <= self.config.buffer_memory {
                    state.memory_used += size;
                    return Ok(());
                }
            }
            self.state.borrow_mut().starving += 1;
            self.wake.notify_one();
            let was_freed = timeout_at(until, freed).await.is_some();
            self.state.borrow_mut().starving -= 1;
            if !was_freed {
                return Err(SendError::Memory(self.config.block_max));
            }
        }
    }

    fn give_memory(&self, size: usize) {
        self.state.borrow_mut().memory_used -= size;
        self.memory.notify_all();
    }

    // HOT: 0 alloc beyond the batch's buffer, 1 copy
    fn append(
        &self,
        topic: usize,
        record: &NewRecord<'_>,
        size: usize,
    ) -> Result<Delivery, SendError> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.may_send()?;
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, state.topics[topic].partition_count()),
            (None, None) => state.topics[topic].stick(size, self.config.batch_size),
        };
        let slot = state.slot(topic, partition)?;
        if state.partitions[slot].must_seal(size, self.config.batch_size) {
            state.seal(slot)?;
        }
        let begun = state.partitions[slot].is_empty();
        if begun {
            state.serial += 1;
            state.unfinished += 1;
            let (serial, created) = (state.serial, now());
            state.partitions[slot].begin(serial, created);
            state
                .lingering
                .push_back((created + self.config.linger, slot, serial));
        }
        let timestamp = Timestamp(record.timestamp.unwrap_or_else(wall_clock));
        let delivery = state.partitions[slot].append(timestamp, record, size)?;
        if begun || state.partitions[slot].size() >= self.config.batch_size {
            self.wake.notify_one();
        }
        Ok(delivery)
    }
}

impl State {
    fn topic_index(&self, name: &str) -> Option<usize> {
        // A producer writes to a handful of topics; the last is the likeliest.
        self.topics.iter().rposition(|topic| &*topic.name == name)
    }

    fn may_send(&self) -> Result<(), SendError> {
        match &self.transaction {
            Some(transaction) if !transaction.is_open() => Err(SendError::NoTransaction),
            _ => Ok(()),
        }
    }

    fn add_topic(&mut self, name: &str, count: i32, compression: Compression) -> usize {
        let name: Rc<str> = name.into();
        let mut slots = Vec::new();
        for partition in 0..count {
            slots.push(self.partitions.len());
            let options = BatchOptions {
                compression,
                ..BatchOptions::default()
            };
            self.partitions.push(PartitionState::new(
                Rc::clone(&name),
                partition,
                BatchBuilder::new(options),
            ));
        }
        self.topics.push(TopicState {
            name,
            slots,
            sticky: 0,
            sticky_bytes: usize::MAX,
        });
        self.topics.len() - 1
    }

    fn slot(&self, topic: usize, partition: i32) -> Result<usize, SendError> {
        let topic = &self.topics[topic];
        usize::try_from(partition)
            .ok()
            .and_then(|index| topic.slots.get(index).copied())
            .ok_or_else(|| SendError::Partition {
                topic: topic.name.to_string(),
                partition,
            })
    }

    /// Closes the open batch of a partition and puts it in line.
    fn seal(&mut self, slot: usize) -> Result<(), SendError> {
        let partition = &mut self.partitions[slot];
        match partition.seal() {
            Ok(()) => {}
            Err(error) => {
                self.unfinished -= 1;
                return Err(SendError::Build(error));
            }
        }
        self.line_up(slot);
        Ok(())
    }

    fn seal_prepared(&mut self, slot: usize, batch: Prepared, token: u64, size: usize) -> Delivery {
        if !self.partitions[slot].is_empty() {
            // An open batch that cannot be built tells its own deliveries.
            let _ = self.seal(slot);
        }
        self.unfinished += 1;
        let fate = Rc::new(Fate::new(now()));
        let partition = &mut self.partitions[slot];
        let sealed = Sealed::new(batch, token, size, Rc::clone(&fate));
        let delivery = Delivery::new(fate, 0, partition.number);
        partition.push(sealed);
        self.line_up(slot);
        delivery
    }

    /// Puts a partition with a ready batch in the line of its leader.
    fn line_up(&mut self, slot: usize) {
        let partition = &mut self.partitions[slot];
        if partition.in_line || partition.ready.is_empty() {
            return;
        }
        partition.in_line = true;
        match partition.leader {
            Some(leader) => self.nodes.entry(leader).or_default().line.push_back(slot),
            None => self.homeless.push(slot),
        }
    }

    fn abandon(&mut self) -> Abandoned {
        self.unfinished = 0;
        Abandoned {
            fates: self
                .partitions
                .iter_mut()
                .flat_map(PartitionState::abandon)
                .collect(),
            _nodes: std::mem::take(&mut self.nodes),
        }
    }
}

/// What is left when a producer is dropped: dropped after the state is free again.
struct Abandoned {
    fates: Vec<Rc<Fate>>,
    _nodes: std::collections::BTreeMap<i32, Node>,
}

impl TopicState {
    /// The partition for a record without a key: the same until about a batch has gone there, then another at random.
    fn stick(&mut self, size: usize, batch_size: usize) -> i32 {
        if self.sticky_bytes >= batch_size {
            let count = self.slots.len().max(1);
            let mut next = usize::try_from(random() % count as u64).unwrap_or(0);
            if next == self.sticky && count > 1 {
                next = (next + 1) % count;
            }
            self.sticky = next;
            self.sticky_bytes = 0;
        }
        self.sticky_bytes += size;
        i32::try_from(self.sticky).unwrap_or(0)
    }
}

/// At most the bytes that a record takes in a batch.
fn record_size_max(record: &NewRecord<'_>) -> usize {
    let mut size = RECORD_OVERHEAD_MAX
        + record.key.map_or(0, <[u8]>::len)
        + record.value.map_or(0, <[u8]>::len);
    for header in record.headers {
        size += 2 * VARINT_MAX + header.key.len() + header.value.map_or(0, <[u8]>::len);
    }
    size
}

async fn init_producer_id(client: &Rc<Client>) -> Result<Identity, ApiError> {
    let until = now() + client.config().api_timeout;
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdRequest::default()
    };
    loop {
        let answer: Result<_, CallError> = client.call_any(&request).await;
        let error = match answer {
            Ok(response) => match ApiError::check(response.error_code, None) {
                Ok(()) => {
                    return Ok(Identity {
                        id: ProducerId(response.producer_id),
                        epoch: ProducerEpoch(response.producer_epoch),
                    });
                }
                Err(error) => error,
            },
            Err(error) => error.into(),
        };
        if !error.is_retriable() || now() >= until {
            return Err(error);
        }
        sleep(client.config().retry_backoff).await;
    }
}

/// Whether a produce answer means "the record is there already".
fn is_duplicate(code: ErrorCode) -> bool {
    code == ErrorCode::DuplicateSequenceNumber
}

/// Length, attributes, two deltas, and the lengths of key, value and headers, each at its largest.
const RECORD_OVERHEAD_MAX: usize = 5 + 1 + 10 + 5 + 3 * VARINT_MAX;
const VARINT_MAX: usize = 5;

#[cfg(test)]
mod tests;
