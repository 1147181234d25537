//! The transaction coordinators of one shard: loading them, asking them, carrying out what they decide.
//!
//! Owns: a [`Host`] for every partition of `__transaction_state` on this shard, its waiting callers, the markers that
//! are under way.
//! Lives on: the shard of the transaction partition.
//! Invariants:
//! 1. A coordinator's records go to the log in the order of its steps, within the step.
//! 2. An answer that stands for records leaves when they are acknowledged (acks=all).
//! 3. Markers are sent by tasks, never while a request of the mesh is served.
//!
//! Not here: what a transaction is (`txn.rs`), what a marker does to offsets (`group.rs`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use corelog_net::wire::ErrorCode;
use corelog_runtime::{Instant, Map, Notify, Sender, oneshot, spawn};
use corelog_storage::batch::{Batch, BatchBuilder, BatchOptions, EndTransactionMarker};
use corelog_storage::limits::INFLATED_BYTES_MAX;
use corelog_storage::log::Origin;
use corelog_storage::producer::TransactionVersion;
use corelog_storage::types::{ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition};

use crate::group::{self, OFFSETS_TOPIC, Outcome};
use crate::handlers::error_code;
use crate::mesh;
use crate::metadata::features::TRANSACTION_VERSION_NAME;
use crate::partition::append::{Acks, Admission, AppendCall, AppendPart};
use crate::partition::{Partition, owner};
use crate::shard::Shard;
use crate::shard::coordinators::{append_error, clock};
use crate::txn::{
    Append, Coordinator, Effects, Event, Markers, Reply, Request, Token, TxnError, TxnSettings,
    Verdict, Version,
};

/// Records are cut into batches of about this size.
const BATCH_BYTES: usize = 256 * 1024;

/// Attempts at markers that nobody is told of: three, in 700 ms.
const QUIET_TRIES: u32 = 4;

/// The transaction coordinators of one shard.
pub(crate) struct Transactions {
    settings: Arc<TxnSettings>,
    hosts: RefCell<Map<i32, Rc<Host>>>,
    next_token: Cell<u64>,
    /// The deadline the timer task sleeps for, and its alarm clock for an earlier one.
    armed: Cell<Option<Instant>>,
    earlier: Notify,
}

struct Host {
    partition: Rc<Partition>,
    coordinator: RefCell<Coordinator>,
    waiting: RefCell<Map<Token, Sender<Reply>>>,
}

/// The end of a transaction, as a coordinator or an administrator wants it written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marker {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) coordinator_epoch: i32,
    pub(crate) commit: bool,
    pub(crate) version: TransactionVersion,
}

impl Transactions {
    pub(crate) fn new(settings: TxnSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            hosts: RefCell::new(Map::default()),
            next_token: Cell::new(0),
            armed: Cell::new(None),
            earlier: Notify::new(),
        }
    }
}

impl Shard {
    /// The shard now leads a transaction partition: its coordinator loads and then serves.
    pub(crate) fn lead_transactions(self: &Rc<Self>, partition: &Rc<Partition>) {
        let number = partition.name.partition;
        let mut coordinator = Coordinator::new(number, Arc::clone(&self.transactions.settings));
        coordinator.set_level(self.image().feature(TRANSACTION_VERSION_NAME));
        let host = Rc::new(Host {
            partition: Rc::clone(partition),
            coordinator: RefCell::new(coordinator),
            waiting: RefCell::new(Map::default()),
        });
        self.transactions
            .hosts
            .borrow_mut()
            .insert(number, Rc::clone(&host));
        let shard = Rc::clone(self);
        spawn("load transactions", async move {
            shard.load_transactions(&host).await;
        })
        .detach();
    }

    /// Counts the transactional ids of this shard by state.
    pub(crate) fn transaction_states(&self) -> Vec<(&'static str, u64)> {
        let mut states = Vec::new();
        for host in self.transactions.hosts.borrow().values() {
            host.coordinator.borrow().count_into(&mut states);
        }
        states
    }

    /// The transaction partition is gone: those who wait are told.
    pub(crate) fn resign_transactions(self: &Rc<Self>, number: i32) {
        let Some(host) = self.transactions.hosts.borrow_mut().remove(&number) else {
            return;
        };
        let effects = host.coordinator.borrow_mut().unload();
        self.carry_out_transactions(&host, effects);
    }

    /// Asks the coordinator of one transaction partition.
    pub(crate) async fn txn(self: Rc<Self>, number: i32, request: Request) -> Reply {
        let host = self.transactions.hosts.borrow().get(&number).cloned();
        let Some(host) = host else {
            return request.refuse(TxnError::NotCoordinator);
        };
        match self.ask_host(&host, request).await {
            Reply::WantsProducerId(request) => match self.next_producer_id().await {
                Some(id) => self.ask_host(&host, request.with_producer_id(id)).await,
                None => request.refuse(TxnError::NoProducerId),
            },
            reply => reply,
        }
    }

    async fn ask_host(self: &Rc<Self>, host: &Rc<Host>, request: Request) -> Reply {
        let token = Token(self.transactions.next_token.get());
        self.transactions.next_token.set(token.0 + 1);
        let (sender, receiver) = oneshot();
        host.waiting.borrow_mut().insert(token, sender);
        let gone = request.refuse(TxnError::NotCoordinator);
        let event = Event::Request { token, request };
        let effects = host.coordinator.borrow_mut().step(clock(), event);
        self.carry_out_transactions(host, effects);
        // A coordinator answers every request, also when it resigns.
        receiver.await.unwrap_or(gone)
    }

    /// The timer task.
    pub(crate) async fn tick_transactions(self: Rc<Self>) {
        let all = &self.transactions;
        loop {
            let deadline = {
                let hosts = all.hosts.borrow();
                let deadlines = hosts.values();
                deadlines
                    .filter_map(|host| host.coordinator.borrow().next_deadline())
                    .min()
                    .map(Instant::from_millis)
            };
            all.armed.set(deadline);
            let earlier = all.earlier.notified();
            match deadline {
                None => earlier.await,
                Some(deadline) => {
                    let woken = corelog_runtime::timeout_at(deadline, earlier).await;
                    if woken.is_some() {
                        continue;
                    }
                }
            }
            let now = clock();
            let hosts: Vec<_> = all.hosts.borrow().values().cloned().collect();
            for host in hosts {
                let due = host.coordinator.borrow().next_deadline();
                if due.is_some_and(|at| at <= now.steady_ms) {
                    let effects = host.coordinator.borrow_mut().step(now, Event::Tick);
                    self.carry_out_transactions(&host, effects);
                }
            }
        }
    }

    fn carry_out_transactions(self: &Rc<Self>, host: &Rc<Host>, effects: Effects) {
        for (token, reply) in effects.replies {
            if let Some(sender) = host.waiting.borrow_mut().remove(&token) {
                // The caller may have gone with its connection.
                let _ = sender.send(reply);
            }
        }
        if let Some(append) = effects.append {
            self.append_transactions(host, &append);
        }
        for markers in effects.markers {
            let (shard, host) = (Rc::clone(self), Rc::clone(host));
            spawn("markers", async move { shard.send(&host, markers).await }).detach();
        }
        let deadline = host.coordinator.borrow().next_deadline();
        let (armed, deadline) = (
            self.transactions.armed.get(),
            deadline.map(Instant::from_millis),
        );
        if deadline.is_some_and(|deadline| armed.is_none_or(|armed| deadline < armed)) {
            self.transactions.earlier.notify_all();
        }
    }

    /// Hands the records to the log now; reports to the coordinator when they are acknowledged.
    fn append_transactions(self: &Rc<Self>, host: &Rc<Host>, append: &Append) {
        let parts = batches(append).into_iter().map(|batch| AppendPart {
            topic_id: host.partition.topic_id,
            partition: host.partition.name.partition,
            batch: Ok(batch),
            admission: Admission::Plain,
        });
        let pending = self.append(AppendCall {
            acks: Acks::All,
            origin: Origin::Coordinator,
            parts: parts.collect(),
        });
        let (shard, host, ticket) = (Rc::clone(self), Rc::clone(host), append.ticket);
        spawn("transaction append", async move {
            let acknowledged = pending.acknowledged().await;
            let failed = acknowledged
                .into_iter()
                .find(|one| one.error != ErrorCode::None);
            let event = match failed {
                None => Event::Appended(ticket),
                Some(one) => {
                    tracing::error!(
                        "partition={} transactions: records were not appended: {}",
                        host.partition.name,
                        one.error
                    );
                    Event::AppendFailed {
                        from: ticket,
                        error: append_error(one.error),
                    }
                }
            };
            let effects = host.coordinator.borrow_mut().step(clock(), event);
            shard.carry_out_transactions(&host, effects);
        })
        .detach();
    }

    /// Writes the markers of a transaction and tells its coordinator what came of it.
    async fn send(self: Rc<Self>, host: &Rc<Host>, markers: Markers) {
        let marker = Marker {
            producer_id: markers.producer_id,
            producer_epoch: markers.producer_epoch,
            coordinator_epoch: host.partition.leader_epoch.get().0,
            commit: markers.commit,
            version: markers.version.of_storage(),
        };
        let codes = self.write_markers(&marker, &markers.partitions).await;
        let mut verdicts = Vec::with_capacity(codes.len());
        for (partition, code) in markers.partitions.into_iter().zip(codes) {
            let verdict = match code {
                Some(ErrorCode::None) => Verdict::Written,
                None => Verdict::Gone,
                Some(ErrorCode::InvalidProducerEpoch) => Verdict::Fenced,
                Some(_) => Verdict::Later,
            };
            // While coordinators load and logs open, the first attempts are early. Later ones are told of seldom.
            let tells = verdict == Verdict::Fenced
                || (verdict == Verdict::Later
                    && markers.tries >= QUIET_TRIES
                    && markers.tries.is_power_of_two());
            if let (true, Some(code)) = (tells, code) {
                tracing::warn!(
                    "transactional_id={} partition={partition} marker of producer {} epoch {} was not \
                     written: {code} (attempt {})",
                    markers.transactional_id,
                    markers.producer_id,
                    markers.producer_epoch,
                    markers.tries
                );
            }
            verdicts.push((partition, verdict));
        }
        let event = Event::Marked {
            transactional_id: markers.transactional_id,
            attempt: markers.attempt,
            verdicts,
        };
        let effects = host.coordinator.borrow_mut().step(clock(), event);
        self.carry_out_transactions(host, effects);
    }

    /// Writes a marker into each of the partitions and waits until it is stored; what came of each. `None`: there is no
    /// such partition.
    pub(crate) async fn write_markers(
        self: &Rc<Self>,
        marker: &Marker,
        partitions: &[TopicPartition],
    ) -> Vec<Option<ErrorCode>> {
        let image = self.image();
        let mut calls: Vec<(usize, Vec<AppendPart>)> = Vec::new();
        let mut places = Vec::with_capacity(partitions.len());
        let mut pending = Vec::new();
        for partition in partitions {
            let topic = image.topic(&partition.topic);
            let topic = topic.filter(|topic| topic.partition(partition.partition).is_some());
            let Some(topic) = topic else {
                places.push(Place::Nowhere);
                continue;
            };
            let topic_id = TopicId(topic.id.0);
            let to = owner(topic_id, partition.partition, self.shards);
            if *partition.topic == *OFFSETS_TOPIC {
                // The group coordinator writes it: it has to know when the offsets count.
                let request = mesh::Request::Group {
                    partition: partition.partition,
                    request: Box::new(group::Request::Marker(marker.of_group())),
                };
                places.push(Place::Group(pending.len()));
                pending.push(self.start_call(to, request).await);
                continue;
            }
            let call = calls.iter().position(|(shard, _)| *shard == to);
            let call = call.unwrap_or_else(|| {
                calls.push((to, Vec::new()));
                calls.len() - 1
            });
            places.push(Place::Data(call, calls[call].1.len()));
            calls[call].1.push(AppendPart {
                topic_id,
                partition: partition.partition,
                batch: Ok(marker.batch()),
                admission: Admission::Marker(marker.version),
            });
        }
        let groups = pending.len();
        for (to, parts) in calls {
            let call = AppendCall {
                acks: Acks::All,
                origin: Origin::Coordinator,
                parts,
            };
            pending.push(self.start_call(to, mesh::Request::Append(call)).await);
        }
        let mut replies = Vec::with_capacity(pending.len());
        for one in pending {
            replies.push(one.reply().await);
        }
        let code = |place| match place {
            Place::Nowhere => None,
            Place::Group(at) => Some(match &replies[at] {
                mesh::Reply::Group(reply) => match **reply {
                    group::Reply::Marker(Ok(())) => ErrorCode::None,
                    group::Reply::Marker(Err(error)) => error_code::group(error),
                    _ => ErrorCode::NotCoordinator,
                },
                _ => ErrorCode::NotCoordinator,
            }),
            Place::Data(call, part) => Some(match &replies[groups + call] {
                mesh::Reply::Appended(appended) => appended
                    .get::<usize>(part)
                    .map_or(ErrorCode::NotLeaderOrFollower, |one| one.error),
                _ => ErrorCode::NotLeaderOrFollower,
            }),
        };
        places.into_iter().map(code).collect()
    }

    /// Reads the whole partition into its coordinator.
    async fn load_transactions(self: Rc<Self>, host: &Rc<Host>) {
        let into = |batch: &Batch| replay(&mut host.coordinator.borrow_mut(), batch);
        if !self
            .replay_partition(&host.partition, "transactions", into)
            .await
        {
            return;
        }
        let effects = host.coordinator.borrow_mut().loaded(clock());
        self.carry_out_transactions(host, effects);
    }
}

/// Where the verdict on a marker is found.
#[derive(Clone, Copy)]
enum Place {
    Nowhere,
    /// The reply with this number.
    Group(usize),
    /// A data call and the part of it.
    Data(usize, usize),
}

impl Marker {
    fn batch(&self) -> Batch {
        let end = EndTransactionMarker {
            commit: self.commit,
            coordinator_epoch: self.coordinator_epoch,
        };
        let (id, epoch) = (
            ProducerId(self.producer_id),
            ProducerEpoch(self.producer_epoch),
        );
        end.batch(id, epoch, Timestamp(corelog_runtime::wall_clock()))
            .expect(FITS)
    }

    fn of_group(&self) -> group::Marker {
        group::Marker {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            coordinator_epoch: self.coordinator_epoch,
            outcome: if self.commit {
                Outcome::Commit
            } else {
                Outcome::Abort
            },
            version: self.version,
        }
    }
}

impl Version {
    /// As the log knows it.
    pub(crate) fn of_storage(self) -> TransactionVersion {
        match self {
            Self::One => TransactionVersion::One,
            Self::Two => TransactionVersion::Two,
        }
    }
}

/// One batch into the coordinator; how many of its records could not be understood.
fn replay(coordinator: &mut Coordinator, batch: &Batch) -> u64 {
    if batch.header().attributes.is_control() {
        return 0;
    }
    let Ok(payload) = batch.open(INFLATED_BYTES_MAX) else {
        return 1;
    };
    let mut bad = 0;
    for record in payload.records() {
        let Ok(record) = record else {
            return bad + 1;
        };
        let understood = record
            .key
            .is_some_and(|key| coordinator.replay(key, record.value).is_ok());
        bad += u64::from(!understood);
    }
    bad
}

/// The records as batches, cut at about [`BATCH_BYTES`].
fn batches(append: &Append) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for record in &append.records {
        if builder.size() > BATCH_BYTES {
            batches.push(builder.finish().expect(FITS));
            builder.reset(BatchOptions::default());
        }
        let (key, value) = (Some(&*record.key), record.value.as_deref());
        builder
            .append(Timestamp(record.timestamp_ms), key, value, &[])
            .expect(FITS);
    }
    batches.push(builder.finish().expect(FITS));
    batches
}

const FITS: &str = "a coordinator's records are far below what a batch can hold";
