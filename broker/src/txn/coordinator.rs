//! All transactional ids of one partition of `__transaction_state`.
//!
//! Owns the ids, the appends and markers under way, the deadlines.
//! Lives on the shard that owns the partition.
//! Invariants:
//! 1. An id has at most one change on its way to the log; whoever asks meanwhile comes again.
//! 2. Appends are numbered in the order of their records, and resolved in it.
//! 3. A prepared transaction always has markers under way, a deadline to send them, or its last record on its way.
//!
//! Not here: what a change is (`state`), how markers reach their partitions (the shell).

mod census;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use corelog_storage::types::TopicPartition;

use super::log::{self, Format, Stored};
use super::state::{State, Transaction, Version, is_exhausted};
use super::{
    AddPartitions, Append, AppendError, DescribedTransaction, Effects, EndTransaction, Ended,
    Event, InitProducer, Initialized, ListTransactions, ListedTransaction, Markers, Now, Record,
    ReplayError, Reply, Request, Ticket, Token, TxnError, TxnSettings, Verdict,
};

/// All transactional ids of one partition.
#[derive(Debug)]
pub struct Coordinator {
    partition: i32,
    settings: Arc<TxnSettings>,
    phase: Phase,
    entries: BTreeMap<Arc<str>, Entry>,
    appends: VecDeque<(Ticket, Vec<After>)>,
    last_ticket: Ticket,
    last_attempt: u64,
    /// Of the feature `transaction.version`.
    format: Format,
    version: Version,
    /// Prepared transactions whose markers are to be sent again, by the steady clock.
    retries: BTreeSet<(u64, Arc<str>)>,
    abort_due_ms: u64,
    expiry_due_ms: u64,
    /// Where the search for expired ids goes on.
    expiry_cursor: Option<Arc<str>>,
    records_skipped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Loading,
    Active,
    Resigned,
}

#[derive(Debug)]
struct Entry {
    current: Transaction,
    /// A change is on its way to the log.
    is_changing: bool,
    /// Markers are under way under this number.
    sending: Option<u64>,
    /// How often the markers of this transaction were sent.
    tries: u32,
}

/// What to do when the records of a step are stored, or are not.
#[derive(Debug)]
enum After {
    /// The change counts; whoever asked for it is told.
    Changed {
        id: Arc<str>,
        next: Box<Transaction>,
        waiter: Option<(Token, Reply)>,
    },
    /// The id is forgotten.
    Forgotten(Arc<str>),
}

/// What a step leaves behind.
#[derive(Debug, Default)]
struct Outcomes {
    records: Vec<Record>,
    replies: Vec<(Token, Reply)>,
    after: Vec<After>,
    markers: Vec<Markers>,
}

impl Coordinator {
    /// A coordinator that has read nothing yet and refuses until [`Coordinator::loaded`].
    pub fn new(partition: i32, settings: Arc<TxnSettings>) -> Self {
        Self {
            partition,
            settings,
            phase: Phase::Loading,
            entries: BTreeMap::new(),
            appends: VecDeque::new(),
            last_ticket: Ticket(0),
            last_attempt: 0,
            format: Format::Tagged,
            version: Version::Two,
            retries: BTreeSet::new(),
            abort_due_ms: 0,
            expiry_due_ms: 0,
            expiry_cursor: None,
            records_skipped: 0,
        }
    }

    /// Goes by this level of the feature `transaction.version` from now on.
    pub fn set_level(&mut self, level: i16) {
        self.format = if level >= 1 {
            Format::Tagged
        } else {
            Format::Plain
        };
        self.version = Version::of_level(level);
    }

    /// The partition of the transaction topic.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Records of unknown versions met while loading.
    pub fn records_skipped(&self) -> u64 {
        self.records_skipped
    }

    /// Takes in one record of the partition's log, in order. A record that fails is left out; the rest can still be read.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), ReplayError> {
        assert_eq!(
            self.phase,
            Phase::Loading,
            "partition {}: the log is read while loading",
            self.partition
        );
        match log::decode(key, value)? {
            Stored::Transaction(id, Some(current)) => {
                let entry = Entry {
                    current: *current,
                    is_changing: false,
                    sending: None,
                    tries: 0,
                };
                self.entries.insert(id.into(), entry);
            }
            Stored::Transaction(id, None) => {
                self.entries.remove(id.as_str());
            }
            Stored::Unknown => self.records_skipped += 1,
        }
        Ok(())
    }

    /// The log is read to its end; serving begins, and what was prepared goes on.
    pub fn loaded(&mut self, now: Now) -> Effects {
        if self.phase == Phase::Resigned {
            // The partition went while it was read.
            return Effects::default();
        }
        assert_eq!(
            self.phase,
            Phase::Loading,
            "partition {}: loaded once",
            self.partition
        );
        self.phase = Phase::Active;
        self.abort_due_ms = now.steady_ms + self.settings.abort_interval_ms;
        self.expiry_due_ms = now.steady_ms + self.settings.expiry_interval_ms;
        let prepared = self.entries.iter();
        let prepared: Vec<_> = prepared
            .filter(|(_, entry)| entry.current.state.is_prepared())
            .map(|(id, _)| id.clone())
            .collect();
        let mut out = Outcomes::default();
        for id in prepared {
            self.go_on(now, &id, &mut out);
        }
        self.finish(out)
    }

    /// Coordination ends here: all who wait are told `NOT_COORDINATOR`. Appends under way may still become part of the
    /// log; the next coordinator will see them.
    pub fn unload(&mut self) -> Effects {
        self.phase = Phase::Resigned;
        let mut replies = Vec::new();
        for after in self.appends.drain(..).flat_map(|(_, after)| after) {
            if let After::Changed {
                waiter: Some((token, reply)),
                ..
            } = after
            {
                replies.push((token, reply.instead(TxnError::NotCoordinator)));
            }
        }
        self.entries.clear();
        self.retries.clear();
        Effects {
            replies,
            ..Effects::default()
        }
    }

    /// One event. The shell hands `Effects::append` to the log before it steps this coordinator again.
    pub fn step(&mut self, now: Now, event: Event) -> Effects {
        let mut out = Outcomes::default();
        match event {
            Event::Request { token, request } => self.serve(now, token, request, &mut out),
            _ if self.phase != Phase::Active => {}
            Event::Tick => self.tick(now, &mut out),
            Event::Appended(through) => self.appended(now, through, &mut out),
            Event::AppendFailed { from, error } => self.append_failed(now, from, error, &mut out),
            Event::Marked {
                transactional_id,
                attempt,
                verdicts,
            } => self.marked(now, &transactional_id, attempt, &verdicts, &mut out),
        }
        self.finish(out)
    }

    /// On the steady clock (`Now::steady_ms`): when a `Tick` is next wanted.
    pub fn next_deadline(&self) -> Option<u64> {
        if self.phase != Phase::Active {
            return None;
        }
        let retry = self.retries.first().map_or(u64::MAX, |&(due, _)| due);
        Some(retry.min(self.abort_due_ms).min(self.expiry_due_ms))
    }

    /// Numbers the step's append and remembers what waits for it.
    fn finish(&mut self, out: Outcomes) -> Effects {
        let Outcomes {
            records,
            replies,
            after,
            markers,
        } = out;
        let append = if records.is_empty() {
            assert!(
                after.is_empty(),
                "what waits for an append came with records"
            );
            None
        } else {
            let ticket = Ticket(self.last_ticket.0 + 1);
            self.last_ticket = ticket;
            self.appends.push_back((ticket, after));
            Some(Append { ticket, records })
        };
        Effects {
            append,
            replies,
            markers,
        }
    }

    fn serve(&mut self, now: Now, token: Token, request: Request, out: &mut Outcomes) {
        let answered = match self.admit(&request) {
            Err(error) => Some(request.refuse(error)),
            Ok(()) => match request {
                Request::Init(request) => self.init(now, token, request, out),
                Request::Add(request) => self.add(now, token, &request, out),
                Request::Verify(request) => Some(Reply::Verify(self.verify(&request))),
                Request::End(request) => self.end(now, token, request, out),
                Request::Describe(id) => Some(Reply::Describe(self.describe(&id))),
                Request::List(request) => Some(Reply::List(Ok(self.list(now, &request)))),
            },
        };
        out.replies.extend(answered.map(|reply| (token, reply)));
    }

    /// What is refused without a look at the id.
    fn admit(&self, request: &Request) -> Result<(), TxnError> {
        if self.phase == Phase::Resigned {
            return Err(TxnError::NotCoordinator);
        }
        let size = request.transactional_id().map_or(1, str::len);
        if size == 0 || size > ID_SIZE_MAX {
            return Err(TxnError::InvalidRequest);
        }
        if let Request::Init(init) = request
            && !(1..=self.settings.timeout_ms_max).contains(&init.timeout_ms)
        {
            return Err(TxnError::InvalidTimeout);
        }
        if self.phase == Phase::Loading {
            return Err(TxnError::LoadInProgress);
        }
        Ok(())
    }

    /// The answer, if it need not wait for a record.
    fn init(
        &mut self,
        now: Now,
        token: Token,
        request: InitProducer,
        out: &mut Outcomes,
    ) -> Option<Reply> {
        let id = self.known(&request.transactional_id);
        if !self.entries.contains_key(&id) {
            let Some(producer_id) = request.fresh_producer_id else {
                return Some(Reply::WantsProducerId(Box::new(Request::Init(request))));
            };
            let current = Transaction::new(producer_id, request.timeout_ms, now.wall_ms);
            let entry = Entry {
                current,
                is_changing: false,
                sending: None,
                tries: 0,
            };
            self.entries.insert(id.clone(), entry);
        }
        let entry = self.entries.get(&id)?;
        let (current, refuse) = (&entry.current, |error| Some(Reply::Init(Err(error))));
        if entry.is_changing {
            return refuse(TxnError::Concurrent);
        }
        let is_his = |(producer_id, epoch): (i64, i16)| {
            current.epoch == -1
                || producer_id == current.producer_id
                || (producer_id == current.previous_producer_id && is_exhausted(epoch))
        };
        if !request.expected.is_none_or(is_his) {
            return refuse(TxnError::Fenced);
        }
        let expected = request.expected.map(|(_, epoch)| epoch);
        let next = match current.state {
            State::PrepareCommit | State::PrepareAbort => return refuse(TxnError::Concurrent),
            State::Ongoing => {
                // The transaction is aborted first; the producer comes again and then gets an epoch that nobody has.
                let next = current.fence(self.version, now.wall_ms);
                let reply = Reply::Init(Err(TxnError::Concurrent));
                self.change(now, &id, next, Some((token, reply)), out);
                return None;
            }
            _ if is_exhausted(current.epoch) && expected.is_none_or(|one| one == current.epoch) => {
                let Some(producer_id) = request.fresh_producer_id else {
                    return Some(Reply::WantsProducerId(Box::new(Request::Init(request))));
                };
                current.rotate(
                    producer_id,
                    request.timeout_ms,
                    expected.is_some(),
                    now.wall_ms,
                )
            }
            _ => match current.raise_epoch(request.timeout_ms, expected, now.wall_ms) {
                None => return refuse(TxnError::Fenced),
                Some(next) => next,
            },
        };
        let reply = Reply::Init(Ok(Initialized {
            producer_id: next.producer_id,
            producer_epoch: next.epoch,
        }));
        self.change(now, &id, next, Some((token, reply)), out);
        None
    }

    fn add(
        &mut self,
        now: Now,
        token: Token,
        request: &AddPartitions,
        out: &mut Outcomes,
    ) -> Option<Reply> {
        let entry = match self.of_producer(request) {
            Err(error) => return Some(Reply::Add(Err(error))),
            Ok(entry) => entry,
        };
        let current = &entry.current;
        if entry.is_changing || current.state.is_prepared() {
            return Some(Reply::Add(Err(TxnError::Concurrent)));
        }
        let mut added = request.partitions.iter();
        if current.state == State::Ongoing && added.all(|one| current.partitions.contains(one)) {
            return Some(Reply::Add(Ok(())));
        }
        let next = current.add(&request.partitions, request.version, now.wall_ms);
        let id = self.known(&request.transactional_id);
        self.change(now, &id, next, Some((token, Reply::Add(Ok(())))), out);
        None
    }

    fn verify(&self, request: &AddPartitions) -> Result<Vec<bool>, TxnError> {
        let current = &self.of_producer(request)?.current;
        if current.state.is_prepared() {
            return Err(TxnError::Concurrent);
        }
        // What is being added does not count yet: the log's own check would not know of it after a crash.
        let partitions = request.partitions.iter();
        Ok(partitions
            .map(|one| current.partitions.contains(one))
            .collect())
    }

    fn of_producer(&self, request: &AddPartitions) -> Result<&Entry, TxnError> {
        let entry = self.entries.get(request.transactional_id.as_str());
        let entry = entry.ok_or(TxnError::InvalidProducerIdMapping)?;
        if entry.current.producer_id != request.producer_id {
            return Err(TxnError::InvalidProducerIdMapping);
        }
        if entry.current.epoch != request.producer_epoch {
            return Err(TxnError::Fenced);
        }
        Ok(entry)
    }

    fn end(
        &mut self,
        now: Now,
        token: Token,
        request: EndTransaction,
        out: &mut Outcomes,
    ) -> Option<Reply> {
        let (id, commit) = (self.known(&request.transactional_id), request.commit);
        let verdict = match self.entries.get(&id) {
            None => Err(TxnError::InvalidProducerIdMapping),
            Some(entry) => match request.version {
                Version::One => entry.may_end(&request),
                Version::Two => entry.may_end_and_raise(&request),
            },
        };
        let entry = match (verdict, self.entries.get(&id)) {
            (Ok(end), Some(entry)) => (end, entry),
            (Err(error), _) => return Some(Reply::End(Err(error))),
            (Ok(_), None) => return Some(Reply::End(Err(TxnError::InvalidProducerIdMapping))),
        };
        let (end, entry) = entry;
        let now_is = Ended {
            producer_id: entry.current.producer_id,
            producer_epoch: entry.current.epoch,
        };
        if let End::WasDone = end {
            return Some(Reply::End(Ok(now_is)));
        }
        let exhausted = request.version == Version::Two && is_exhausted(entry.current.epoch);
        if exhausted && request.fresh_producer_id.is_none() {
            return Some(Reply::WantsProducerId(Box::new(Request::End(request))));
        }
        let next_id = request.fresh_producer_id.filter(|_| exhausted);
        let next = entry
            .current
            .prepare(commit, request.version, next_id, now.wall_ms);
        let goes_on = next.complete(now.wall_ms);
        let reply = Reply::End(Ok(Ended {
            producer_id: goes_on.producer_id,
            producer_epoch: goes_on.epoch,
        }));
        self.change(now, &id, next, Some((token, reply)), out);
        None
    }

    fn describe(&self, id: &str) -> Result<DescribedTransaction, TxnError> {
        let entry = self.entries.get(id).ok_or(TxnError::NotFound)?;
        let current = &entry.current;
        Ok(DescribedTransaction {
            state: current.state,
            timeout_ms: current.timeout_ms,
            start_ms: current.start_ms,
            producer_id: current.producer_id,
            producer_epoch: current.epoch,
            partitions: current.partitions.iter().cloned().collect(),
        })
    }

    fn list(&self, now: Now, request: &ListTransactions) -> Vec<ListedTransaction> {
        let wanted = |current: &Transaction| {
            let age_ms = now.wall_ms.saturating_sub(current.start_ms);
            (request.states.is_empty() || request.states.contains(&current.state))
                && (request.producer_ids.is_empty()
                    || request.producer_ids.contains(&current.producer_id))
                && request.longer_than_ms.is_none_or(|least| age_ms > least)
        };
        let listed = self.entries.iter();
        listed
            .filter(|(_, entry)| wanted(&entry.current))
            .map(|(id, entry)| ListedTransaction {
                transactional_id: id.clone(),
                producer_id: entry.current.producer_id,
                state: entry.current.state,
            })
            .collect()
    }

    /// The id as it is already held, to share it.
    fn known(&self, id: &str) -> Arc<str> {
        let held = self.entries.get_key_value(id);
        held.map_or_else(|| id.into(), |(id, _)| id.clone())
    }

    /// Writes the record of a change; it counts when that is stored.
    fn change(
        &mut self,
        now: Now,
        id: &Arc<str>,
        next: Transaction,
        waiter: Option<(Token, Reply)>,
        out: &mut Outcomes,
    ) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        assert!(!entry.is_changing, "{id}: two changes at once");
        entry.is_changing = true;
        let record = log::transaction(id, &next, self.format).expect(FITS);
        out.write(now, record);
        out.after.push(After::Changed {
            id: id.clone(),
            next: Box::new(next),
            waiter,
        });
    }

    fn appended(&mut self, now: Now, through: Ticket, out: &mut Outcomes) {
        let stored = self.appends.iter();
        let stored = stored.take_while(|(ticket, _)| *ticket <= through).count();
        let later = self.appends.split_off(stored);
        for (_, after) in std::mem::replace(&mut self.appends, later) {
            for after in after {
                match after {
                    After::Changed { id, next, waiter } => {
                        out.replies.extend(waiter);
                        let Some(entry) = self.entries.get_mut(&id) else {
                            continue;
                        };
                        entry.is_changing = false;
                        entry.current = *next;
                        entry.tries = 0;
                        if entry.current.state.is_prepared() {
                            self.go_on(now, &id, out);
                        }
                    }
                    After::Forgotten(id) => {
                        self.entries.remove(&id);
                    }
                }
            }
        }
    }

    fn append_failed(&mut self, now: Now, from: Ticket, error: AppendError, out: &mut Outcomes) {
        let kept = self.appends.iter();
        let kept = kept.take_while(|(ticket, _)| *ticket < from).count();
        for after in self
            .appends
            .split_off(kept)
            .into_iter()
            .flat_map(|(_, after)| after)
        {
            let id = match after {
                After::Changed { id, waiter, .. } => {
                    let told = waiter.map(|(token, reply)| (token, reply.instead(error.into())));
                    out.replies.extend(told);
                    id
                }
                After::Forgotten(id) => id,
            };
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.is_changing = false;
                if entry.current.state.is_prepared() {
                    self.retry_later(now, &id);
                }
            }
        }
    }

    /// A prepared transaction: markers for the partitions that have none, or the last record when all have theirs.
    fn go_on(&mut self, now: Now, id: &Arc<str>, out: &mut Outcomes) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if entry.is_changing || entry.sending.is_some() || !entry.current.state.is_prepared() {
            return;
        }
        let current = &entry.current;
        if current.partitions.is_empty() {
            let next = current.complete(now.wall_ms);
            self.change(now, id, next, None, out);
            return;
        }
        self.last_attempt += 1;
        entry.sending = Some(self.last_attempt);
        entry.tries += 1;
        out.markers.push(Markers {
            transactional_id: id.clone(),
            attempt: self.last_attempt,
            tries: entry.tries,
            producer_id: current.producer_id,
            producer_epoch: current.epoch,
            commit: current.state == State::PrepareCommit,
            version: current.version,
            partitions: current.partitions.iter().cloned().collect(),
        });
    }

    fn marked(
        &mut self,
        now: Now,
        id: &Arc<str>,
        attempt: u64,
        verdicts: &[(TopicPartition, Verdict)],
        out: &mut Outcomes,
    ) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        // An answer to an attempt of another life of the id says nothing.
        if entry.sending != Some(attempt) {
            return;
        }
        entry.sending = None;
        for (partition, verdict) in verdicts {
            match verdict {
                Verdict::Written | Verdict::Gone | Verdict::Fenced => {
                    entry.current.partitions.remove(partition);
                }
                Verdict::Later => {}
            }
        }
        if entry.current.partitions.is_empty() {
            self.go_on(now, id, out);
        } else {
            self.retry_later(now, id);
        }
    }

    fn retry_later(&mut self, now: Now, id: &Arc<str>) {
        let tries = self.entries.get(id).map_or(0, |entry| entry.tries);
        let doublings = tries.saturating_sub(1).min(DOUBLINGS_MAX);
        let pause_ms = self.settings.marker_retry_ms << doublings;
        let due = now.steady_ms + pause_ms.min(self.settings.marker_retry_ms_max);
        self.retries.insert((due, id.clone()));
    }

    fn tick(&mut self, now: Now, out: &mut Outcomes) {
        while self
            .retries
            .first()
            .is_some_and(|(due, _)| *due <= now.steady_ms)
            && let Some((_, id)) = self.retries.pop_first()
        {
            self.go_on(now, &id, out);
        }
        if self.abort_due_ms <= now.steady_ms {
            self.abort_due_ms = now.steady_ms + self.settings.abort_interval_ms;
            self.abort_overdue(now, out);
        }
        if self.expiry_due_ms <= now.steady_ms {
            self.expire(now, out);
        }
    }

    /// Aborts transactions that are open for longer than their producers wanted.
    fn abort_overdue(&mut self, now: Now, out: &mut Outcomes) {
        let entries = self.entries.iter();
        let overdue: Vec<_> = entries
            .filter(|(_, entry)| !entry.is_changing && entry.current.is_overdue(now.wall_ms))
            .map(|(id, entry)| (id.clone(), entry.current.fence(self.version, now.wall_ms)))
            .collect();
        for (id, next) in overdue {
            self.change(now, &id, next, None, out);
        }
    }

    /// Forgets ids that nobody has used for long; a slice of them at a time.
    fn expire(&mut self, now: Now, out: &mut Outcomes) {
        let from = self.expiry_cursor.take();
        let start = from.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut seen, mut last) = (0, None);
        for (id, entry) in self
            .entries
            .range_mut::<Arc<str>, _>((start, Bound::Unbounded))
        {
            if seen == EXPIRY_IDS_MAX {
                break;
            }
            seen += 1;
            last = Some(id.clone());
            let unused_ms = now.wall_ms.saturating_sub(entry.current.update_ms);
            let over = unused_ms >= self.settings.id_expiration_ms;
            if over && !entry.is_changing && entry.current.state.is_idle() {
                entry.is_changing = true;
                out.write(now, log::tombstone(id).expect(FITS));
                out.after.push(After::Forgotten(id.clone()));
            }
        }
        let more = seen == EXPIRY_IDS_MAX;
        let pause_ms = if more {
            EXPIRY_PAUSE_MS
        } else {
            self.settings.expiry_interval_ms
        };
        self.expiry_due_ms = now.steady_ms + pause_ms;
        self.expiry_cursor = last.filter(|_| more);
    }
}

/// What an `EndTxn` that is not refused comes to.
enum End {
    /// The transaction ends now.
    Prepare,
    /// It has ended so: the answer was lost.
    WasDone,
}

impl Entry {
    /// Version 1: the epoch stays, so an end of the state it has come to is taken for a retry.
    fn may_end(&self, request: &EndTransaction) -> Result<End, TxnError> {
        let current = &self.current;
        if current.producer_id != request.producer_id {
            return Err(TxnError::InvalidProducerIdMapping);
        }
        self.may_change()?;
        if current.epoch != request.producer_epoch {
            return Err(TxnError::Fenced);
        }
        match (current.state, request.commit) {
            (State::Ongoing, _) => Ok(End::Prepare),
            (State::CompleteCommit, true) | (State::CompleteAbort, false) => Ok(End::WasDone),
            _ => Err(TxnError::InvalidState),
        }
    }

    /// Version 2: the epoch rises, so a retry is one with the epoch before. Nothing open may be aborted, which raises
    /// the epoch too.
    fn may_end_and_raise(&self, request: &EndTransaction) -> Result<End, TxnError> {
        let (current, epoch) = (&self.current, request.producer_epoch);
        let over_ids = current.is_retry_over_ids(request.producer_id, epoch);
        let retry = current.is_retry(epoch) || over_ids;
        if current.producer_id != request.producer_id && !over_ids {
            return Err(TxnError::InvalidProducerIdMapping);
        }
        // ORDER: before the epoch is looked at. Who was told of the end of a transaction may abort the next, empty one
        // before the markers of the last are written, and must not be fenced by itself (KAFKA-18464).
        self.may_change()?;
        let is_over = matches!(current.state, State::CompleteCommit | State::CompleteAbort);
        if epoch != current.epoch && !(is_over && retry) {
            return Err(TxnError::Fenced);
        }
        match (current.state, request.commit) {
            (State::Ongoing, _) | (State::Empty, false) => Ok(End::Prepare),
            (State::CompleteCommit, true) | (State::CompleteAbort, false) if retry => {
                Ok(End::WasDone)
            }
            // The coordinator aborted it while its commit was on the way (KAFKA-20785): clients come back from this.
            (State::CompleteAbort, true) if retry => Err(TxnError::Fenced),
            (State::CompleteCommit | State::CompleteAbort, false) if !retry => Ok(End::Prepare),
            _ => Err(TxnError::InvalidState),
        }
    }

    /// Nothing is on its way, neither a record nor markers.
    fn may_change(&self) -> Result<(), TxnError> {
        if self.is_changing || self.current.state.is_prepared() {
            Err(TxnError::Concurrent)
        } else {
            Ok(())
        }
    }
}

impl Outcomes {
    fn write(&mut self, now: Now, (key, value): (bytes::Bytes, Option<bytes::Bytes>)) {
        self.records.push(Record {
            key,
            value,
            timestamp_ms: now.wall_ms,
        });
    }
}

impl Reply {
    /// The same kind of answer, saying why not.
    fn instead(self, error: TxnError) -> Self {
        match self {
            Self::Init(_) => Self::Init(Err(error)),
            Self::Add(_) => Self::Add(Err(error)),
            Self::Verify(_) => Self::Verify(Err(error)),
            Self::End(_) => Self::End(Err(error)),
            Self::Describe(_) => Self::Describe(Err(error)),
            Self::List(_) => Self::List(Err(error)),
            Self::WantsProducerId(request) => request.refuse(error),
        }
    }
}

impl From<AppendError> for TxnError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NotLeader | AppendError::Storage => Self::NotCoordinator,
            AppendError::Unavailable
            | AppendError::TimedOut
            | AppendError::TooLarge
            | AppendError::Producer(_) => Self::NotAvailable,
        }
    }
}

#[cfg(test)]
impl Coordinator {
    pub(super) fn states(&self) -> impl Iterator<Item = State> {
        self.entries.values().map(|entry| entry.current.state)
    }

    /// Invariant 3, and that nobody changes without a record under way.
    pub(super) fn assert_sound(&self) {
        let under_way: BTreeSet<_> = self
            .appends
            .iter()
            .flat_map(|(_, after)| after)
            .map(|after| match after {
                After::Changed { id, .. } | After::Forgotten(id) => id.clone(),
            })
            .collect();
        for (id, entry) in &self.entries {
            assert_eq!(entry.is_changing, under_way.contains(id), "{id}");
            let retried = self.retries.iter().any(|(_, other)| other == id);
            assert!(
                !entry.current.state.is_prepared()
                    || entry.is_changing
                    || entry.sending.is_some()
                    || retried,
                "{id} is prepared and nothing goes on"
            );
        }
    }
}

/// The length of an id that fits the key of its record.
const ID_SIZE_MAX: usize = 32_000;

/// After this many the pause between two attempts at markers has long come to its most.
const DOUBLINGS_MAX: u32 = 16;

/// After this many ids the search for expired ones makes room for others.
const EXPIRY_IDS_MAX: usize = 1_000;

/// Between two slices of that search.
const EXPIRY_PAUSE_MS: u64 = 1;

const FITS: &str = "ids and topic names were checked when they came in";
