//! **Owns** sending: which batches go into a request, what an answer does to them.
//! **Lives on** the client's thread: one pump per producer, one reader of answers per broker.
//! **Invariants** (1) A request carries at most one batch of a partition. (2) A batch is in exactly one place: open, in
//! line (`ready`), in flight, or finished. (3) While a partition recovers it has at most one batch in flight, and the
//! batches in line stand in the order in which they were filled.
//! **Not here** the bytes of a batch (`batch`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use corelog_net::client::{PendingResponse, RequestWriter};
use corelog_net::wire::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse,
};
use corelog_net::wire::{ApiKey, Encoder, ErrorCode, Form, Message, Uuid};
use corelog_runtime::{Instant, Notify, Task, now, sleep, spawn, timeout_at};
use corelog_storage::batch::BatchBuilder;
use corelog_storage::types::{Sequence, Timestamp};

use super::batch::{Delivery, Fate, Open, Outcome, Sealed};
use super::figures::OfTopic;
use super::transaction::add_partitions;
use super::{
    Acks, Completion, Inner, NewRecord, ProduceError, SendError, State, init_producer_id,
    is_duplicate,
};
use crate::client::error::code_of;
use crate::client::{ApiError, CallError, Connection};

/// A partition as the producer sees it.
pub(super) struct PartitionState {
    pub(super) topic: Rc<str>,
    pub(super) number: i32,
    pub(super) leader: Option<i32>,
    builder: BatchBuilder,
    open: Option<Open>,
    /// Sealed batches, first to be sent first.
    pub(super) ready: VecDeque<Sealed>,
    /// The next batch's place among all batches of the partition.
    order: u64,
    in_flight: usize,
    /// Stands in the line of its leader, or among the homeless.
    pub(super) in_line: bool,
    /// A batch failed and is to be sent again.
    recovering: bool,
    retry_at: Option<Instant>,
    next_sequence: Sequence,
    /// A batch was refused for good and is not in the log: what follows takes its numbers.
    renumber_from: Option<Sequence>,
    pub(super) counts: OfTopic,
}

impl PartitionState {
    pub(super) fn new(topic: Rc<str>, number: i32, builder: BatchBuilder) -> Self {
        Self {
            topic,
            number,
            leader: None,
            builder,
            open: None,
            ready: VecDeque::new(),
            order: 0,
            in_flight: 0,
            in_line: false,
            recovering: false,
            retry_at: None,
            next_sequence: Sequence::ZERO,
            renumber_from: None,
            counts: OfTopic::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none()
    }

    pub(super) fn size(&self) -> usize {
        self.builder.size()
    }

    pub(super) fn must_seal(&self, size: usize, batch_size: usize) -> bool {
        self.open.is_some() && self.builder.size() + size > batch_size
    }

    pub(super) fn begin(&mut self, serial: u64, created: Instant) {
        self.open = Some(Open {
            serial,
            fate: Rc::new(Fate::new(created)),
            charged: 0,
        });
    }

    pub(super) fn append(
        &mut self,
        timestamp: Timestamp,
        record: &NewRecord<'_>,
        size: usize,
    ) -> Result<Delivery, SendError> {
        let index = i64::from(self.builder.count());
        self.builder
            .append(timestamp, record.key, record.value, record.headers)
            .map_err(|error| SendError::Build(error.to_string()))?;
        let Some(open) = &mut self.open else {
            return Err(SendError::Build("no batch is open".to_owned()));
        };
        open.charged += size;
        Ok(Delivery::new(Rc::clone(&open.fate), index, self.number))
    }

    /// Moves the open batch to the end of `ready`.
    pub(super) fn seal(&mut self) -> Result<(), String> {
        if let Some(open) = self.open.take() {
            let sealed = open.close(&mut self.builder)?;
            self.push(sealed);
        }
        Ok(())
    }

    pub(super) fn push(&mut self, mut sealed: Sealed) {
        sealed.order = self.order;
        self.order += 1;
        self.ready.push_back(sealed);
    }

    fn put_back(&mut self, sealed: Sealed) {
        let at = self
            .ready
            .partition_point(|other| other.order < sealed.order);
        self.ready.insert(at, sealed);
    }

    /// Whether its next batch may leave now.
    fn may_send(&self, now: Instant) -> bool {
        !(self.recovering && self.in_flight > 0) && self.retry_at.is_none_or(|at| at <= now)
    }

    pub(super) fn abandon(&mut self) -> Vec<Rc<Fate>> {
        let open = self.open.take().map(|open| open.fate);
        self.ready
            .drain(..)
            .map(|sealed| sealed.fate)
            .chain(open)
            .collect()
    }

    /// Begins the sequence anew, under another id or epoch.
    pub(super) fn begin_sequence(&mut self) {
        self.next_sequence = Sequence::ZERO;
        self.renumber_from = None;
        for sealed in &mut self.ready {
            sealed.unstamp();
        }
    }

    fn open_serial(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.serial)
    }
}

/// A broker as the producer sees it.
#[derive(Default)]
pub(super) struct Node {
    /// Partitions with batches to send.
    pub(super) line: VecDeque<usize>,
    link: Option<Link>,
    dialling: bool,
    in_flight: usize,
}

/// A connection and the reader of its answers.
struct Link {
    connection: Rc<Connection>,
    answers: Rc<Answers>,
    _reader: Task<()>,
}

#[derive(Default)]
struct Answers {
    expected: RefCell<VecDeque<Expected>>,
    more: Notify,
}

/// A request on its way.
struct Expected {
    pending: Pending,
    version: i16,
    sent: Instant,
    until: Instant,
    batches: Vec<(usize, Sealed)>,
}

enum Pending {
    Answer(PendingResponse),
    /// `acks=0`: done when it is written.
    Written,
    /// It could not even be written.
    Failed(CallError),
}

/// Sends what is ready until it is dropped.
pub(super) async fn pump(inner: Rc<Inner>) {
    loop {
        let woken = inner.wake.notified();
        match turn(&inner) {
            Some(due) => {
                let _ = timeout_at(due, woken).await;
            }
            None => woken.await,
        }
    }
}

/// Does all that can be done now; says when to look again at the latest.
fn turn(inner: &Rc<Inner>) -> Option<Instant> {
    let at = now();
    let mut due = Due(None);
    close_lingering(inner, at, &mut due);
    expire(inner, at, &mut due);
    find_homes(inner, at, &mut due);
    if !has_identity(inner) {
        return due.0;
    }
    inner.give_up_unsent();
    let nodes: Vec<i32> = inner.state.borrow().nodes.keys().copied().collect();
    for id in nodes {
        while send_one(inner, id, at, &mut due) {}
    }
    add_partitions(inner);
    due.0
}

struct Due(Option<Instant>);

impl Due {
    fn at(&mut self, at: Instant) {
        self.0 = Some(self.0.map_or(at, |other| other.min(at)));
    }
}

fn close_lingering(inner: &Inner, at: Instant, due: &mut Due) {
    let mut state = inner.state.borrow_mut();
    let state = &mut *state;
    while let Some((when, slot, serial)) = state.lingering.front().copied() {
        let hurry = state.flushing > 0 || state.starving > 0;
        let is_open = state.partitions[slot].open_serial() == Some(serial);
        if is_open && when > at && !hurry {
            due.at(when);
            return;
        }
        state.lingering.pop_front();
        if is_open {
            // A batch that cannot be built has told its deliveries.
            let _ = state.seal(slot);
        }
    }
}

/// Gives up on batches that have waited too long in line.
fn expire(inner: &Inner, at: Instant, due: &mut Due) {
    let mut expired = Vec::new();
    {
        let mut state = inner.state.borrow_mut();
        if state.unfinished == 0 {
            return;
        }
        let check = *state.expiry_check.get_or_insert(at + EXPIRY_EVERY);
        if check > at {
            due.at(check);
            return;
        }
        state.expiry_check = Some(at + EXPIRY_EVERY);
        due.at(at + EXPIRY_EVERY);
        for slot in 0..state.partitions.len() {
            let partition = &mut state.partitions[slot];
            // One at a time and partition: the next look, half a second later, takes the next.
            let Some(first) = partition.ready.front() else {
                continue;
            };
            let waited = at.duration_since(first.fate.created);
            if waited <= inner.config.delivery_timeout {
                continue;
            }
            let Some(sealed) = partition.ready.pop_front() else {
                continue;
            };
            let error = ProduceError::Expired {
                count: sealed.count(),
                topic: Rc::clone(&partition.topic),
                partition: partition.number,
                after_ms: waited.as_millis(),
            };
            // It may be in the log or not: no later batch can know the right number.
            state.identity_lost |= sealed.is_stamped() && state.transaction.is_none();
            expired.push((slot, sealed, Err(error)));
        }
    }
    for (slot, sealed, outcome) in expired {
        inner.finish(slot, &sealed, outcome);
    }
}

/// Sends partitions without a leader to the line of the leader that the metadata names, or asks for metadata.
fn find_homes(inner: &Rc<Inner>, at: Instant, due: &mut Due) {
    let mut state = inner.state.borrow_mut();
    let state = &mut *state;
    if !state.metadata_wanted {
        let metadata = inner.client.metadata();
        for slot in std::mem::take(&mut state.homeless) {
            let partition = &mut state.partitions[slot];
            if let Some((leader, _)) = metadata.leader(&partition.topic, partition.number) {
                partition.leader = Some(leader);
                state.nodes.entry(leader).or_default().line.push_back(slot);
            } else {
                state.homeless.push(slot);
                state.metadata_wanted = true;
            }
        }
    }
    if !state.metadata_wanted || state.metadata_asked {
        return;
    }
    if let Some(until) = state.backoff_until
        && until > at
    {
        due.at(until);
        return;
    }
    state.metadata_asked = true;
    let inner = Rc::clone(inner);
    spawn("producer.metadata", async move {
        let refreshed = inner.client.refresh().await;
        {
            let mut state = inner.state.borrow_mut();
            state.metadata_asked = false;
            state.metadata_wanted = refreshed.is_err();
            state.backoff_until = Some(now() + inner.config.retry_backoff);
        }
        inner.wake.notify_one();
    })
    .detach();
}

/// Whether batches may be stamped and sent; gets a new producer id when the old one is spent.
fn has_identity(inner: &Rc<Inner>) -> bool {
    let mut state = inner.state.borrow_mut();
    // In a transaction a lost sequence is the transaction's end, and the next one has another epoch.
    if !inner.config.idempotence || !state.identity_lost || state.transaction.is_some() {
        return true;
    }
    if state.in_flight > 0 || state.identity_asked {
        return false;
    }
    state.identity_asked = true;
    let inner = Rc::clone(inner);
    spawn("producer.identity", async move {
        let answer = init_producer_id(&inner.client).await;
        if answer.is_err() {
            sleep(inner.config.retry_backoff).await;
        }
        {
            let mut state = inner.state.borrow_mut();
            state.identity_asked = false;
            if let Ok(identity) = answer {
                state.become_anew(identity);
            }
        }
        inner.wake.notify_one();
    })
    .detach();
    false
}

/// Sends one request to a broker, if there is something to send; says whether it did.
fn send_one(inner: &Rc<Inner>, id: i32, at: Instant, due: &mut Due) -> bool {
    let mut state = inner.state.borrow_mut();
    let state = &mut *state;
    let Some(node) = state.nodes.get_mut(&id) else {
        return false;
    };
    if node.line.is_empty() || node.in_flight >= inner.config.in_flight_max {
        return false;
    }
    let Some(link) = node
        .link
        .as_ref()
        .filter(|link| !link.connection.is_closed())
    else {
        if !node.dialling {
            node.dialling = true;
            dial(inner, id);
        }
        return false;
    };
    let (connection, answers) = (Rc::clone(&link.connection), Rc::clone(&link.answers));
    let batches = drain(inner, state, id, at, due);
    if batches.is_empty() {
        return false;
    }
    state.in_flight += 1;
    state.requests += 1;
    if let Some(node) = state.nodes.get_mut(&id) {
        node.in_flight += 1;
    }
    let mut batches = batches;
    let (pending, version) = match write_request(inner, state, &connection, &mut batches) {
        Ok((request, version)) => match (inner.config.acks, connection.is_closed()) {
            (Acks::None, false) => match connection.send_unanswered(request) {
                Ok(()) => (Pending::Written, version),
                Err(error) => (Pending::Failed(error), version),
            },
            _ => match connection.send(request) {
                Ok(answer) => (Pending::Answer(answer), version),
                Err(error) => (Pending::Failed(error), version),
            },
        },
        Err(error) => (Pending::Failed(error), 0),
    };
    answers.expected.borrow_mut().push_back(Expected {
        pending,
        version,
        sent: at,
        until: at + inner.config.request_timeout,
        batches,
    });
    answers.more.notify_one();
    true
}

/// The batches of the next request to a broker.
fn drain(
    inner: &Inner,
    state: &mut State,
    id: i32,
    at: Instant,
    due: &mut Due,
) -> Vec<(usize, Sealed)> {
    let mut batches: Vec<(usize, Sealed)> = Vec::new();
    let mut size = 0;
    let Some(node) = state.nodes.get_mut(&id) else {
        return batches;
    };
    for _ in 0..node.line.len() {
        let Some(slot) = node.line.pop_front() else {
            break;
        };
        let partition = &mut state.partitions[slot];
        if partition.leader != Some(id) {
            partition.in_line = false;
            state.astray.push(slot);
            continue;
        }
        if let Some(retry_at) = partition.retry_at
            && retry_at > at
        {
            due.at(retry_at);
            node.line.push_back(slot);
            continue;
        }
        if !partition.may_send(at) {
            // The answer to what is in flight puts it back in line.
            partition.in_line = false;
            continue;
        }
        partition.retry_at = None;
        if partition.in_flight == 0
            && let Some(from) = partition.renumber_from.take()
        {
            partition.next_sequence = from;
            for sealed in &mut partition.ready {
                sealed.unstamp();
            }
        }
        let Some(first) = partition.ready.front() else {
            partition.in_line = false;
            continue;
        };
        if !batches.is_empty() && size + first.batch.size() > inner.config.request_size_max {
            node.line.push_front(slot);
            break;
        }
        if let Some(transaction) = &mut state.transaction
            && !transaction.takes(slot)
        {
            // It comes back into the line when it belongs to the transaction.
            partition.in_line = false;
            continue;
        }
        let Some(mut sealed) = partition.ready.pop_front() else {
            continue;
        };
        size += sealed.batch.size();
        if let Some(identity) = state.identity
            && !sealed.is_stamped()
        {
            let transactional = state.transaction.is_some();
            sealed.stamp(identity, partition.next_sequence, transactional);
            partition.next_sequence = partition.next_sequence.forward(sealed.count());
        }
        partition.in_flight += 1;
        partition.counts.leaves(&sealed);
        let waited = at.duration_since(sealed.fate.created);
        state.figures.leaves(sealed.batch.size(), waited);
        if partition.ready.is_empty() || partition.recovering {
            partition.in_line = false;
        } else {
            node.line.push_back(slot);
        }
        batches.push((slot, sealed));
    }
    for slot in std::mem::take(&mut state.astray) {
        state.line_up(slot);
    }
    batches
}

fn write_request(
    inner: &Inner,
    state: &State,
    connection: &Connection,
    batches: &mut [(usize, Sealed)],
) -> Result<(RequestWriter, i16), CallError> {
    let topic = |slot: usize| &state.partitions[slot].topic;
    batches.sort_by(|(a, _), (b, _)| topic(*a).cmp(topic(*b)));
    let ids_known = batches
        .chunk_by(|(a, _), (b, _)| topic(*a) == topic(*b))
        .all(|of_topic| !inner.client.topic_id(topic(of_topic[0].0)).is_zero());
    let newest = if ids_known {
        *ProduceRequest::VALID_VERSIONS.end()
    } else {
        LAST_VERSION_WITH_NAMES
    };
    let transaction = state.transaction.as_ref();
    let newest = transaction.map_or(newest, |it| it.produce_newest().min(newest));
    let version = connection.best(ApiKey::Produce, FIRST_VERSION..=newest)?;
    let form = Form::of(version >= ProduceRequest::FLEXIBLE_SINCE);
    let mut request = connection.request(ApiKey::Produce, version, HEAD_SIZE_GUESS);
    {
        let mut e = Encoder::new(request.buffer());
        let id = transaction.map(|_| inner.transactional_id());
        e.nullable_string(form, id).map_err(encode)?;
        e.i16(inner.config.acks as i16);
        e.i32(i32::try_from(inner.config.request_timeout.as_millis()).unwrap_or(i32::MAX));
        let topics = batches
            .chunk_by(|(a, _), (b, _)| topic(*a) == topic(*b))
            .count();
        e.length(form, topics).map_err(encode)?;
    }
    for of_topic in batches.chunk_by(|(a, _), (b, _)| topic(*a) == topic(*b)) {
        let name = topic(of_topic[0].0);
        {
            let mut e = Encoder::new(request.buffer());
            if version > LAST_VERSION_WITH_NAMES {
                e.uuid(inner.client.topic_id(name));
            } else {
                e.string(form, name).map_err(encode)?;
            }
            e.length(form, of_topic.len()).map_err(encode)?;
        }
        for (slot, sealed) in of_topic {
            let mut e = Encoder::new(request.buffer());
            e.i32(state.partitions[*slot].number);
            e.length(form, sealed.batch.size()).map_err(encode)?;
            sealed.batch.put_head(request.buffer());
            let body = sealed.batch.body();
            if body.len() <= COPY_BODY_MAX {
                request.buffer().extend_from_slice(body);
            } else {
                request.bytes(body.clone());
            }
            end_of_tags(&mut request, form);
        }
        end_of_tags(&mut request, form);
    }
    end_of_tags(&mut request, form);
    Ok((request, version))
}

fn end_of_tags(request: &mut RequestWriter, form: Form) {
    if form == Form::Compact {
        request.buffer().push(0);
    }
}

fn encode(error: corelog_net::wire::EncodeError) -> CallError {
    CallError::Wire(error.into())
}

/// Connects to a broker and starts the reader of its answers.
fn dial(inner: &Rc<Inner>, id: i32) {
    let inner = Rc::clone(inner);
    spawn("producer.dial", async move {
        let dialled = inner.client.dial_node(id).await;
        if inner.closed.get() {
            return;
        }
        let failed = dialled.is_err();
        if failed {
            sleep(inner.config.retry_backoff).await;
        }
        {
            let mut state = inner.state.borrow_mut();
            let node = state.nodes.entry(id).or_default();
            node.dialling = false;
            if let Ok(connection) = dialled {
                let answers = Rc::<Answers>::default();
                let reader = read_answers(
                    Rc::clone(&inner),
                    id,
                    Rc::clone(&connection),
                    Rc::clone(&answers),
                );
                node.link = Some(Link {
                    connection,
                    answers,
                    _reader: spawn("producer.answers", reader),
                });
            } else {
                // The leader may be another by now.
                let line = std::mem::take(&mut node.line);
                for slot in line {
                    state.partitions[slot].leader = None;
                    state.homeless.push(slot);
                }
                state.metadata_wanted = true;
            }
        }
        inner.wake.notify_one();
    })
    .detach();
}

/// Takes the answers of one connection in order, until it breaks and all that was in flight is dealt with.
async fn read_answers(inner: Rc<Inner>, id: i32, connection: Rc<Connection>, answers: Rc<Answers>) {
    loop {
        let more = answers.more.notified();
        let expected = answers.expected.borrow_mut().pop_front();
        let Some(expected) = expected else {
            more.await;
            continue;
        };
        let Expected {
            pending,
            version,
            sent,
            until,
            batches,
        } = expected;
        let answer = match pending {
            Pending::Failed(error) => Err(error),
            Pending::Written => connection.writable().await.map(|()| None),
            Pending::Answer(pending) => match timeout_at(until, pending).await {
                Some(Ok(body)) => {
                    Connection::decode::<ProduceResponse>(ApiKey::Produce, &body, version).map(Some)
                }
                Some(Err(error)) => Err(error.into()),
                None => {
                    connection.close();
                    Err(CallError::Wire(
                        corelog_net::client::ClientError::TimedOut {
                            api_key: ApiKey::Produce,
                            after: inner.config.request_timeout,
                        },
                    ))
                }
            },
        };
        {
            let mut state = inner.state.borrow_mut();
            state.in_flight -= 1;
            if matches!(answer, Ok(Some(_))) {
                state.figures.answered(now().duration_since(sent));
            }
            if let Some(node) = state.nodes.get_mut(&id) {
                node.in_flight -= 1;
            }
        }
        inner.answered(batches, answer);
        inner.wake.notify_one();
    }
}

impl Inner {
    fn answered(
        &self,
        batches: Vec<(usize, Sealed)>,
        answer: Result<Option<ProduceResponse>, CallError>,
    ) {
        let response = match answer {
            Ok(Some(response)) => response,
            Ok(None) => {
                let written = Outcome {
                    base_offset: -1,
                    log_append_time: -1,
                };
                for (slot, sealed) in batches {
                    self.landed(slot, &sealed, Ok(written));
                }
                return;
            }
            Err(error) => {
                for (slot, sealed) in batches {
                    self.failed(slot, sealed, ApiError::Call(error.clone()));
                }
                return;
            }
        };
        for (slot, sealed) in batches {
            let answer = self.answer_for(&response, slot);
            let Some(answer) = answer else {
                // An answer that leaves a partition out says nothing about it.
                self.failed(slot, sealed, ApiError::code(ErrorCode::UnknownServerError));
                continue;
            };
            let code = code_of(answer.error_code);
            if code == ErrorCode::None || is_duplicate(code) {
                let outcome = Outcome {
                    base_offset: answer.base_offset,
                    log_append_time: answer.log_append_time_ms,
                };
                self.landed(slot, &sealed, Ok(outcome));
            } else {
                let message = answer
                    .error_message
                    .clone()
                    .or_else(|| first_record_error(answer));
                self.failed(slot, sealed, ApiError::Refused { code, message });
            }
        }
    }

    fn answer_for<'r>(
        &self,
        response: &'r ProduceResponse,
        slot: usize,
    ) -> Option<&'r PartitionProduceResponse> {
        let state = self.state.borrow();
        let partition = &state.partitions[slot];
        let id = self.client.topic_id(&partition.topic);
        let topic = response.responses.iter().find(|topic| {
            if topic.topic_id == Uuid::ZERO {
                *topic.name == *partition.topic
            } else {
                topic.topic_id == id
            }
        })?;
        topic
            .partition_responses
            .iter()
            .find(|answer| answer.index == partition.number)
    }

    /// A batch came back from flight and is finished.
    fn landed(&self, slot: usize, sealed: &Sealed, outcome: Result<Outcome, ProduceError>) {
        {
            let mut state = self.state.borrow_mut();
            let partition = &mut state.partitions[slot];
            partition.in_flight -= 1;
            if partition.recovering {
                let again = partition.ready.iter().any(|other| other.attempts > 0);
                partition.recovering = partition.renumber_from.is_some() || again;
            }
            state.line_up(slot);
        }
        self.finish(slot, sealed, outcome);
    }

    /// A batch came back from flight and is not in the log, as far as we know.
    fn failed(&self, slot: usize, mut sealed: Sealed, error: ApiError) {
        let waited = now().duration_since(sealed.fate.created);
        {
            let mut guard = self.state.borrow_mut();
            let state = &mut *guard;
            let partition = &mut state.partitions[slot];
            // A transaction keeps its identity, and ends with it.
            let transactional = state.transaction.is_some();
            if verdict(&error, &sealed, partition, state.identity_lost) == Verdict::NewIdentity
                && !transactional
            {
                state.identity_lost = true;
            }
            let verdict = verdict(&error, &sealed, partition, state.identity_lost);
            let again = verdict != Verdict::Refused
                && !(transactional && verdict == Verdict::NewIdentity)
                && sealed.attempts < self.config.retries
                && waited <= self.config.delivery_timeout;
            if again {
                partition.in_flight -= 1;
                sealed.attempts += 1;
                partition.recovering = true;
                partition.retry_at = Some(now() + self.config.retry_backoff);
                partition.put_back(sealed);
                if is_about_leaders(&error) {
                    state.metadata_wanted = true;
                    state.rehome(slot);
                }
                state.line_up(slot);
                return;
            }
            if sealed.is_stamped() {
                if verdict == Verdict::Refused {
                    // Surely not in the log: those behind it move up.
                    let from = sealed.sequence();
                    let from = partition.renumber_from.map_or(from, |other| {
                        // Numbers wrap; the one of the earlier batch is the one to start from.
                        if other.follows(from) { from } else { other }
                    });
                    partition.renumber_from = Some(from);
                    partition.recovering = true;
                } else if !transactional {
                    state.identity_lost = true;
                }
            }
            let partition = &mut state.partitions[slot];
            partition.in_flight -= 1;
            state.line_up(slot);
        }
        self.finish(slot, &sealed, Err(error.into()));
    }

    /// Ends a batch that is in no place any more.
    pub(super) fn finish(
        &self,
        slot: usize,
        sealed: &Sealed,
        outcome: Result<Outcome, ProduceError>,
    ) {
        let (topic, partition) = {
            let mut state = self.state.borrow_mut();
            state.memory_used -= sealed.charged;
            state.unfinished -= 1;
            if let Err(error) = &outcome {
                let count = u64::from(sealed.count().unsigned_abs());
                state.partitions[slot].counts.errors += count;
                if let Some(transaction) = &mut state.transaction {
                    transaction.fail(error);
                }
            }
            let partition = &state.partitions[slot];
            (Rc::clone(&partition.topic), partition.number)
        };
        self.memory.notify_all();
        self.quiet.notify_all();
        let observer = self.observer.borrow().clone();
        if let Some(observer) = observer {
            observer(&Completion {
                token: sealed.token,
                topic: &topic,
                partition,
                count: sealed.count(),
                created: sealed.fate.created,
                outcome: outcome.as_ref().map(|outcome| outcome.base_offset),
            });
        }
        sealed.fate.finish(outcome);
    }
}

impl State {
    /// Forgets a partition's leader.
    fn rehome(&mut self, slot: usize) {
        let partition = &mut self.partitions[slot];
        if let Some(leader) = partition.leader.take()
            && partition.in_line
            && let Some(node) = self.nodes.get_mut(&leader)
        {
            node.line.retain(|other| *other != slot);
        } else if partition.in_line {
            self.homeless.retain(|other| *other != slot);
        }
        self.partitions[slot].in_line = false;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Send it again.
    Again,
    /// Send it again under another producer id.
    NewIdentity,
    /// It is surely not in the log and never will be.
    Refused,
}

fn verdict(
    error: &ApiError,
    sealed: &Sealed,
    partition: &PartitionState,
    identity_lost: bool,
) -> Verdict {
    let ApiError::Refused { code, .. } = error else {
        return if error.is_retriable() {
            Verdict::Again
        } else {
            Verdict::Refused
        };
    };
    match code {
        ErrorCode::OutOfOrderSequenceNumber => {
            // Expected of the batches behind one that failed; for the first in line it means that what the broker
            // knew of us is gone.
            let is_behind = partition.renumber_from.is_some()
                || partition
                    .ready
                    .iter()
                    .any(|other| other.order < sealed.order && other.attempts > 0);
            if is_behind || identity_lost {
                Verdict::Again
            } else {
                Verdict::NewIdentity
            }
        }
        ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerEpoch => Verdict::NewIdentity,
        code if code.is_retriable() => Verdict::Again,
        _ => Verdict::Refused,
    }
}

fn is_about_leaders(error: &ApiError) -> bool {
    match error {
        ApiError::Call(_) => true,
        ApiError::Refused { code, .. } => matches!(
            code,
            ErrorCode::NotLeaderOrFollower
                | ErrorCode::LeaderNotAvailable
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::UnknownLeaderEpoch
                | ErrorCode::KafkaStorageError
                | ErrorCode::ReplicaNotAvailable
        ),
    }
}

fn first_record_error(answer: &PartitionProduceResponse) -> Option<String> {
    answer
        .record_errors
        .iter()
        .find_map(|record| record.batch_index_error_message.clone())
}

/// How often waiting batches are looked at for `delivery.timeout.ms`.
const EXPIRY_EVERY: std::time::Duration = std::time::Duration::from_millis(500);
/// The oldest version that carries batches of magic 2.
const FIRST_VERSION: i16 = 3;
/// Later ones name topics by id.
const LAST_VERSION_WITH_NAMES: i16 = 12;
/// Up to here a body is copied into the request; beyond, it is sent from where it lies.
const COPY_BODY_MAX: usize = 2048;
/// What a request usually takes besides the bodies.
const HEAD_SIZE_GUESS: usize = 512;
