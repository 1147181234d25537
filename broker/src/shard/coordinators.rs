//! The group coordinators of one shard: loading them, asking them, carrying out what they decide.
//!
//! Owns: a [`Host`] for every partition of `__consumer_offsets` on this shard, its waiting callers.
//! Lives on: the shard of the offsets partition.
//! Invariants:
//! 1. A coordinator's records go to the log in the order of its steps, within the step.
//! 2. An answer that stands for records leaves when they are acknowledged (acks=all).
//! 3. Timers are pulled: one task sleeps until the earliest deadline of all coordinators.
//!
//! Not here: what a group is (`group.rs`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use corelog_net::wire::ErrorCode;
use corelog_runtime::{Instant, Map, Notify, Receiver, Sender, oneshot, spawn};
use corelog_storage::batch::{
    Batch, BatchBuilder, BatchOptions, ControlKey, ControlKind, EndTransactionMarker,
};
use corelog_storage::limits::INFLATED_BYTES_MAX;
use corelog_storage::log::Origin;
use corelog_storage::types::{ProducerEpoch, ProducerId, Timestamp};

use crate::config::broker_settings;
use crate::config::layers::Layers;
use crate::config::setting::Value;
use crate::group::{
    Append, AppendError, Census, Coordinator, Effects, Event, GroupError, GroupSettings, Marker,
    Now, Outcome, ProducerFault, Reply, Request, Token, Writer,
};
use crate::metadata::image::ResourceType;
use crate::metadata::{Delta, Image};
use crate::partition::Partition;
use crate::partition::append::{Acks, Admission, AppendCall, AppendPart};
use crate::shard::Shard;

/// Records are cut into batches of about this size.
const BATCH_BYTES: usize = 256 * 1024;

/// The coordinators of one shard.
pub(crate) struct Coordinators {
    settings: Arc<GroupSettings>,
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

/// What became of a question to a coordinator.
pub(crate) enum Asked {
    /// It is answered.
    Now(Reply),
    /// It will be, when records are stored or others have come.
    Later(Awaited),
}

/// An answer of a coordinator that takes time.
pub(crate) struct Awaited(Receiver<Reply>);

impl Awaited {
    pub(crate) async fn reply(self) -> Reply {
        // A coordinator answers every request, also when it resigns.
        self.0
            .await
            .unwrap_or(Reply::Heartbeat(Err(GroupError::NotCoordinator)))
    }
}

impl Coordinators {
    pub(crate) fn new(settings: Arc<GroupSettings>) -> Self {
        Self {
            settings,
            hosts: RefCell::new(Map::default()),
            next_token: Cell::new(0),
            armed: Cell::new(None),
            earlier: Notify::new(),
        }
    }
}

impl Shard {
    /// The shard now leads an offsets partition: its coordinator loads and then serves.
    pub(crate) fn lead_groups(self: &Rc<Self>, partition: &Rc<Partition>) {
        let number = partition.name.partition;
        let mut coordinator = Coordinator::new(
            number,
            Arc::clone(&self.coordinators.settings),
            corelog_runtime::random(),
        );
        let image = self.image();
        let assignment_interval_ms = self.assignment_interval_ms(&image);
        coordinator.set_metadata(image, assignment_interval_ms);
        let host = Rc::new(Host {
            partition: Rc::clone(partition),
            coordinator: RefCell::new(coordinator),
            waiting: RefCell::new(Map::default()),
        });
        self.coordinators
            .hosts
            .borrow_mut()
            .insert(number, Rc::clone(&host));
        let shard = Rc::clone(self);
        spawn("load groups", async move { shard.load_groups(&host).await }).detach();
    }

    /// The offsets partition is gone: those who wait are told.
    pub(crate) fn resign_groups(self: &Rc<Self>, number: i32) {
        let Some(host) = self.coordinators.hosts.borrow_mut().remove(&number) else {
            return;
        };
        let effects = host.coordinator.borrow_mut().unload();
        self.carry_out(&host, effects);
    }

    /// Asks the coordinator of one offsets partition.
    pub(crate) async fn group(self: &Rc<Self>, number: i32, request: Request) -> Reply {
        match self.ask_group(number, request) {
            Asked::Now(reply) => reply,
            Asked::Later(later) => later.reply().await,
        }
    }

    /// Asks the coordinator of one offsets partition; heartbeats are answered at once.
    pub(crate) fn ask_group(self: &Rc<Self>, number: i32, request: Request) -> Asked {
        let host = self.coordinators.hosts.borrow().get(&number).cloned();
        let Some(host) = host else {
            return Asked::Now(request.refuse(GroupError::NotCoordinator));
        };
        let token = Token(self.coordinators.next_token.get());
        self.coordinators.next_token.set(token.0 + 1);
        let mut effects = host
            .coordinator
            .borrow_mut()
            .step(clock(), Event::Request { token, request });
        // HOT: heartbeats are answered at once; nobody need wait for them.
        let own = effects.replies.iter().position(|(to, _)| *to == token);
        if let Some(own) = own {
            let (_, reply) = effects.replies.remove(own);
            self.carry_out(&host, effects);
            return Asked::Now(reply);
        }
        let (sender, receiver) = oneshot();
        host.waiting.borrow_mut().insert(token, sender);
        self.carry_out(&host, effects);
        Asked::Later(Awaited(receiver))
    }

    /// Topics are gone: so are the offsets committed for them.
    pub(crate) fn topics_deleted(self: &Rc<Self>, names: &[String]) {
        let hosts: Vec<_> = self.coordinators.hosts.borrow().values().cloned().collect();
        for host in hosts {
            let event = Event::TopicsDeleted(names.to_vec());
            let effects = host.coordinator.borrow_mut().step(clock(), event);
            self.carry_out(&host, effects);
        }
    }

    /// The metadata has changed.
    pub(crate) fn groups_follow(self: &Rc<Self>, image: &Arc<Image>, delta: &Delta) {
        let assignment_interval_ms = self.assignment_interval_ms(image);
        for host in self.coordinators.hosts.borrow().values() {
            let image = Arc::clone(image);
            let mut coordinator = host.coordinator.borrow_mut();
            coordinator.follow_metadata(image, delta, assignment_interval_ms);
        }
    }

    /// `group.consumer.assignment.interval.ms`, the one setting of groups that may change while the broker runs.
    fn assignment_interval_ms(&self, image: &Image) -> i64 {
        let row = broker_settings::find("group.consumer.assignment.interval.ms");
        let node = self.config.node_id.to_string();
        let layers = Layers {
            node: image.config(ResourceType::Broker, &node),
            cluster: image.config(ResourceType::Broker, ""),
            fixed: &self.config.fixed,
        };
        match row.and_then(|row| layers.value(row)) {
            Some((_, Value::Number(ms))) => ms,
            _ => self.coordinators.settings.consumer.assignment_interval_ms,
        }
    }

    /// What the group's member is checked against before its coordinator is asked.
    pub(crate) fn group_settings(&self) -> &GroupSettings {
        &self.coordinators.settings
    }

    /// Counts the groups of this shard, a coordinator at a time.
    pub(crate) async fn sample_groups(&self, census: &mut Census, commits_max: usize) {
        let hosts: Vec<_> = self.coordinators.hosts.borrow().values().cloned().collect();
        for host in hosts {
            host.coordinator.borrow().count_into(census, commits_max);
            corelog_runtime::yield_now().await;
        }
    }

    /// The timer task.
    pub(crate) async fn tick_groups(self: Rc<Self>) {
        loop {
            let deadline = self.next_group_deadline();
            self.coordinators.armed.set(deadline);
            let earlier = self.coordinators.earlier.notified();
            match deadline {
                None => earlier.await,
                Some(deadline) => {
                    if corelog_runtime::timeout_at(deadline, earlier)
                        .await
                        .is_some()
                    {
                        continue;
                    }
                }
            }
            let now = clock();
            let due: Vec<_> = {
                let hosts = self.coordinators.hosts.borrow();
                let due = |host: &&Rc<Host>| {
                    host.coordinator
                        .borrow()
                        .next_deadline()
                        .is_some_and(|at| at <= now.steady_ms)
                };
                hosts.values().filter(due).cloned().collect()
            };
            for host in due {
                let effects = host.coordinator.borrow_mut().step(now, Event::Tick);
                self.carry_out(&host, effects);
            }
        }
    }

    fn next_group_deadline(&self) -> Option<Instant> {
        let hosts = self.coordinators.hosts.borrow();
        hosts
            .values()
            .filter_map(|host| host.coordinator.borrow().next_deadline())
            .min()
            .map(instant)
    }

    fn carry_out(self: &Rc<Self>, host: &Rc<Host>, effects: Effects) {
        for note in &effects.notes {
            tracing::info!("{note}");
        }
        for (token, reply) in effects.replies {
            if let Some(sender) = host.waiting.borrow_mut().remove(&token) {
                // The caller may have gone with its connection.
                let _ = sender.send(reply);
            }
        }
        if let Some(append) = effects.append {
            self.append_group_records(host, &append);
        }
        for question in effects.resolve {
            let (shard, host) = (Rc::clone(self), Rc::clone(host));
            spawn("resolve expressions", async move {
                let resolution =
                    corelog_runtime::blocking_brief("expressions", move || question.run()).await;
                let event = Event::Resolved(resolution);
                let effects = host.coordinator.borrow_mut().step(clock(), event);
                shard.carry_out(&host, effects);
            })
            .detach();
        }
        let deadline = host.coordinator.borrow().next_deadline().map(instant);
        if let Some(deadline) = deadline
            && self
                .coordinators
                .armed
                .get()
                .is_none_or(|armed| deadline < armed)
        {
            self.coordinators.earlier.notify_all();
        }
    }

    /// Hands the records to the log now; reports to the coordinator when they are acknowledged.
    fn append_group_records(self: &Rc<Self>, host: &Rc<Host>, append: &Append) {
        let name = &host.partition.name;
        let admission = match &append.writer {
            Writer::Coordinator | Writer::Producer { guard: None, .. } => Admission::Plain,
            Writer::Producer {
                guard: Some(guard), ..
            } => Admission::InTransaction(*guard),
            Writer::Marker(marker) => Admission::Marker(marker.version),
        };
        let parts = batches(append).into_iter().map(|batch| AppendPart {
            topic_id: host.partition.topic_id,
            partition: name.partition,
            batch: Ok(batch),
            admission,
        });
        let pending = self.append(AppendCall {
            acks: Acks::All,
            origin: Origin::Coordinator,
            parts: parts.collect(),
        });
        if append.writer != Writer::Coordinator
            && let Some(fault) = pending.refused().and_then(producer_fault)
        {
            // ORDER: before any later append of this coordinator can be acknowledged.
            let event = Event::AppendRefused {
                ticket: append.ticket,
                error: AppendError::Producer(fault),
            };
            let effects = host.coordinator.borrow_mut().step(clock(), event);
            self.carry_out(host, effects);
            return;
        }
        let (shard, host, ticket) = (Rc::clone(self), Rc::clone(host), append.ticket);
        spawn("group append", async move {
            let failed = pending
                .acknowledged()
                .await
                .into_iter()
                .find(|one| one.error != ErrorCode::None);
            let event = match failed {
                None => Event::Appended(ticket),
                Some(one) => {
                    tracing::error!(
                        "partition={} groups: records were not appended: {}",
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
            shard.carry_out(&host, effects);
        })
        .detach();
    }

    /// Reads the whole partition into its coordinator.
    async fn load_groups(self: Rc<Self>, host: &Rc<Host>) {
        let into = |batch: &Batch| replay(&mut host.coordinator.borrow_mut(), batch);
        if !self.replay_partition(&host.partition, "groups", into).await {
            return;
        }
        let effects = host.coordinator.borrow_mut().loaded(clock());
        self.carry_out(host, effects);
    }
}

/// One batch into the coordinator; how many of its records could not be understood.
fn replay(coordinator: &mut Coordinator, batch: &Batch) -> u64 {
    let header = batch.header();
    let Ok(payload) = batch.open(INFLATED_BYTES_MAX) else {
        return 1;
    };
    let mut bad = 0;
    for record in payload.records() {
        let Ok(record) = record else {
            bad += 1;
            break;
        };
        if header.attributes.is_control() {
            let kind = record.key.and_then(ControlKey::decode).map(|key| key.kind);
            let outcome = match kind {
                Some(ControlKind::Commit) => Outcome::Commit,
                Some(ControlKind::Abort) => Outcome::Abort,
                _ => continue,
            };
            coordinator.replay_marker(header.producer_id.0, outcome);
            continue;
        }
        let producer = header
            .attributes
            .is_transactional()
            .then_some(header.producer_id.0);
        let Some(key) = record.key else {
            bad += 1;
            continue;
        };
        if coordinator.replay(key, record.value, producer).is_err() {
            bad += 1;
        }
    }
    bad
}

/// The records as batches, cut at about [`BATCH_BYTES`].
fn batches(append: &Append) -> Vec<Batch> {
    let options = match &append.writer {
        Writer::Coordinator => BatchOptions::default(),
        Writer::Producer { id, epoch, .. } => BatchOptions {
            producer_id: ProducerId(*id),
            producer_epoch: ProducerEpoch(*epoch),
            transactional: true,
            ..BatchOptions::default()
        },
        Writer::Marker(marker) => return vec![end_of_transaction(marker)],
    };
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(options);
    for record in &append.records {
        if builder.size() > BATCH_BYTES {
            batches.push(builder.finish().expect(FITS));
            builder.reset(options);
        }
        builder
            .append(
                Timestamp(record.timestamp_ms),
                Some(&record.key),
                record.value.as_deref(),
                &[],
            )
            .expect(FITS);
    }
    batches.push(builder.finish().expect(FITS));
    batches
}

fn end_of_transaction(marker: &Marker) -> Batch {
    let end = EndTransactionMarker {
        commit: marker.outcome == Outcome::Commit,
        coordinator_epoch: marker.coordinator_epoch,
    };
    let (producer, epoch) = (
        ProducerId(marker.producer_id),
        ProducerEpoch(marker.producer_epoch),
    );
    end.batch(producer, epoch, Timestamp(corelog_runtime::wall_clock()))
        .expect(FITS)
}

/// What of a log's refusal concerns the producer alone, not the partition.
fn producer_fault(error: ErrorCode) -> Option<ProducerFault> {
    match error {
        ErrorCode::InvalidProducerEpoch => Some(ProducerFault::StaleEpoch),
        ErrorCode::InvalidTxnState => Some(ProducerFault::NoTransaction),
        ErrorCode::TransactionCoordinatorFenced => Some(ProducerFault::CoordinatorFenced),
        _ => None,
    }
}

const FITS: &str = "a coordinator's records are far below what a batch can hold";

pub(super) fn append_error(error: ErrorCode) -> AppendError {
    match error {
        ErrorCode::KafkaStorageError => AppendError::Storage,
        ErrorCode::MessageTooLarge => AppendError::TooLarge,
        _ => AppendError::NotLeader,
    }
}

pub(super) fn clock() -> Now {
    Now {
        steady_ms: corelog_runtime::now().as_millis(),
        wall_ms: corelog_runtime::wall_clock(),
    }
}

fn instant(steady_ms: u64) -> Instant {
    Instant::from_millis(steady_ms)
}
