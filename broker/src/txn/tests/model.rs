//! Producers, some of them zombies of others, write in transactions while the broker dies at any step.
//!
//! The coordinator is the real one, and so is what the partitions know of producers; logs are lists of which a crash
//! takes any part that was not durable. What must hold:
//! 1. a transaction is seen whole or not at all, and whole when its commit was acknowledged;
//! 2. nothing is seen of one that nobody asked to commit;
//! 3. no value is seen twice, however often it was sent;
//! 4. the last stable offset never goes back;
//! 5. when the crashes end, everything comes to an end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use corelog_storage::batch::{Batch, BatchBuilder, BatchOptions, EndTransactionMarker, Header};
use corelog_storage::producer::{
    Admission, Guard, Origin, Producers, Standing, TransactionVersion,
};
use corelog_storage::types::{
    LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition,
};

use super::super::{
    AddPartitions, Coordinator, Effects, EndTransaction, Event, InitProducer, Markers, Now, Record,
    Reply, Request, State, Ticket, Token, TxnError, TxnSettings, Verdict, Version,
};

const PARTITIONS: usize = 3;
const STEPS: usize = 6_000;
const SEEDS: u64 = 60;

#[test]
fn transactions_are_whole_or_nothing_whatever_dies() {
    let mut sum = [0; 3];
    for seed in 1..=SEEDS {
        for (sum, one) in sum.iter_mut().zip(World::new(seed).run()) {
            *sum += one;
        }
    }
    let [committed, aborted, crashes] = sum;
    assert!(
        committed > 500 && aborted > 200 && crashes > 500,
        "the model does too little: {committed} commits, {aborted} aborts, {crashes} crashes"
    );
}

/// One batch of a partition.
struct Entry {
    header: Header,
    content: Content,
}

enum Content {
    Value(usize),
    Marker(EndTransactionMarker),
}

struct Partition {
    log: Vec<Entry>,
    durable: usize,
    producers: Producers,
    stable: i64,
}

impl Partition {
    fn new() -> Self {
        Self {
            log: Vec::new(),
            durable: 0,
            producers: Producers::new(i64::MAX),
            stable: 0,
        }
    }

    fn place(&self, mut batch: Batch) -> Header {
        let end = Offset(i64::try_from(self.log.len()).unwrap());
        batch.place(end, LeaderEpoch(0));
        *batch.header()
    }

    /// What survives of the log is what the partition knows.
    fn recover(&mut self, kept: usize) {
        self.log.truncate(kept);
        self.durable = kept;
        self.producers = Producers::new(i64::MAX);
        for entry in &self.log {
            match &entry.content {
                Content::Value(_) => self.producers.append(&entry.header),
                Content::Marker(marker) => {
                    self.producers.append_marker(&entry.header, *marker);
                }
            }
        }
        self.became_durable(kept);
    }

    fn became_durable(&mut self, to: usize) {
        self.durable = to;
        let watermark = Offset(i64::try_from(to).unwrap());
        self.producers.replicated_to(watermark);
        let unstable = self.producers.first_unstable_offset();
        let stable = unstable.map_or(watermark, |first| first.min(watermark)).0;
        assert!(
            stable >= self.stable,
            "the last stable offset went back from {} to {stable}",
            self.stable
        );
        self.stable = stable;
    }

    /// The values that a `read_committed` reader sees. The end of a transaction may lie above what it may read: the
    /// answer's list of aborted transactions tells it.
    fn committed(&self) -> Vec<usize> {
        let mut open: BTreeMap<ProducerId, Vec<(i64, usize)>> = BTreeMap::new();
        let mut values = Vec::new();
        for entry in &self.log[..self.durable] {
            let producer = entry.header.producer_id;
            match &entry.content {
                Content::Value(value) => {
                    let offset = entry.header.base_offset.0;
                    open.entry(producer).or_default().push((offset, *value));
                }
                Content::Marker(marker) => {
                    let ended = open.remove(&producer).unwrap_or_default();
                    let seen = ended.into_iter().filter(|one| one.0 < self.stable);
                    values.extend(seen.filter(|_| marker.commit).map(|(_, value)| value));
                }
            }
        }
        assert!(
            open.values().flatten().all(|one| one.0 >= self.stable),
            "an open transaction lies below the last stable offset {}: {open:?}",
            self.stable
        );
        values
    }
}

/// What a client is about to do, or waits for.
#[derive(Clone, Debug)]
enum Doing {
    Begin,
    Idle,
    Write {
        partition: usize,
        value: usize,
    },
    /// Its coordinator vouched for it.
    Vouched {
        partition: usize,
        value: usize,
        guard: Guard,
    },
    /// The batch is in the log and not durable.
    Appended {
        partition: usize,
        value: usize,
        end: usize,
    },
    End {
        commit: bool,
    },
}

struct Client {
    transactional_id: &'static str,
    version: Version,
    producer: (i64, i16),
    sequences: BTreeMap<usize, i32>,
    /// Partitions the client added itself (version 1).
    added: BTreeSet<usize>,
    doing: Doing,
    waits: Option<Token>,
    /// The guard of the write that waits for the coordinator's word.
    guard: Guard,
    transaction: Option<usize>,
}

/// One transaction as the outside knows it.
#[derive(Default)]
struct Fate {
    values: Vec<(usize, usize)>,
    commit_asked: bool,
    committed: bool,
    aborted: bool,
}

/// Markers under way: the verdicts so far, and what is appended up to which end and not durable.
type Sending = (Markers, Verdicts, Vec<(TopicPartition, usize)>);
type Verdicts = Vec<(TopicPartition, Verdict)>;

struct World {
    seed: u64,
    random: u64,
    now: Now,
    coordinator: Coordinator,
    log: Vec<Record>,
    durable: usize,
    appends: VecDeque<(Ticket, usize)>,
    partitions: Vec<Partition>,
    /// Markers under way, with the verdicts so far and what is appended and not durable.
    markers: Vec<Sending>,
    clients: Vec<Client>,
    replies: BTreeMap<Token, Reply>,
    fates: Vec<Fate>,
    next_token: u64,
    next_producer: i64,
    next_value: usize,
    crashes: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let client = |transactional_id, version| Client {
            transactional_id,
            version,
            producer: (-1, -1),
            sequences: BTreeMap::new(),
            added: BTreeSet::new(),
            doing: Doing::Begin,
            waits: None,
            guard: Guard::NONE,
            transaction: None,
        };
        let mut world = Self {
            seed,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: Now {
                steady_ms: 0,
                wall_ms: 1_000_000,
            },
            coordinator: Coordinator::new(0, settings()),
            log: Vec::new(),
            durable: 0,
            appends: VecDeque::new(),
            partitions: (0..PARTITIONS).map(|_| Partition::new()).collect(),
            markers: Vec::new(),
            clients: vec![
                client("a", Version::Two),
                client("a", Version::Two),
                client("b", Version::One),
                client("b", Version::One),
                client("c", Version::Two),
            ],
            replies: BTreeMap::new(),
            fates: Vec::new(),
            next_token: 0,
            next_producer: 1,
            next_value: 0,
            crashes: 0,
        };
        let _ = world.coordinator.loaded(world.now);
        world
    }

    /// How many commits and aborts were acknowledged, and how many crashes there were.
    fn run(mut self) -> [usize; 3] {
        for step in 0..STEPS {
            match self.chance(400) {
                0 | 1 => self.crash(),
                2 => self.pass(20_000),
                3..=160 => self.make_durable(),
                161..=240 => self.deliver_marker(),
                241..=245 => self.pass(150),
                _ => {
                    let who = self.chance(self.clients.len());
                    self.act(who);
                }
            }
            self.coordinator.assert_sound();
            if step % 100 == 0 {
                self.check(false);
            }
        }
        self.settle();
        self.check(true);
        let count = |of: fn(&Fate) -> bool| self.fates.iter().filter(|fate| of(fate)).count();
        [
            count(|fate| fate.committed),
            count(|fate| fate.aborted),
            self.crashes,
        ]
    }

    fn chance(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 11).unwrap() % below
    }

    /// Everything dies: what was not durable may be gone, from each log by itself.
    fn crash(&mut self) {
        self.crashes += 1;
        let lost = self.log.len() - self.durable;
        let kept = self.durable + self.chance(lost + 1);
        self.log.truncate(kept);
        self.durable = kept;
        for at in 0..PARTITIONS {
            let (durable, end) = (self.partitions[at].durable, self.partitions[at].log.len());
            let kept = durable + self.chance(end - durable + 1);
            self.partitions[at].recover(kept);
        }
        self.appends.clear();
        self.markers.clear();
        self.replies.clear();
        for client in &mut self.clients {
            client.waits = None;
            // Whoever waits for an answer asks again.
            if let Doing::Vouched {
                partition, value, ..
            }
            | Doing::Appended {
                partition, value, ..
            } = client.doing
            {
                client.doing = Doing::Write { partition, value };
            }
        }
        self.coordinator = Coordinator::new(0, settings());
        for record in &self.log {
            self.coordinator
                .replay(&record.key, record.value.as_deref())
                .unwrap();
        }
        let effects = self.coordinator.loaded(self.now);
        self.carry_out(effects);
    }

    fn pass(&mut self, ms: u64) {
        self.now.steady_ms += ms;
        self.now.wall_ms += i64::try_from(ms).unwrap();
        self.step(Event::Tick);
    }

    fn step(&mut self, event: Event) {
        let effects = self.coordinator.step(self.now, event);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Effects) {
        for (token, reply) in effects.replies {
            if let Reply::WantsProducerId(request) = reply {
                let request = request.with_producer_id(self.next_producer);
                self.next_producer += 1;
                self.step(Event::Request { token, request });
                continue;
            }
            self.replies.insert(token, reply);
        }
        if let Some(append) = effects.append {
            self.log.extend(append.records);
            self.appends.push_back((append.ticket, self.log.len()));
        }
        for markers in effects.markers {
            self.markers.push((markers, Vec::new(), Vec::new()));
        }
    }

    /// One log gets further to its disk.
    fn make_durable(&mut self) {
        let at = self.chance(PARTITIONS + 1);
        if at == PARTITIONS {
            if let Some((ticket, end)) = self.appends.pop_front() {
                self.durable = end;
                self.step(Event::Appended(ticket));
            }
            return;
        }
        let (durable, end) = (self.partitions[at].durable, self.partitions[at].log.len());
        let to = durable + self.chance(end - durable + 1);
        self.partitions[at].became_durable(to);
    }

    /// A marker of an attempt reaches a partition, or an attempt is reported.
    fn deliver_marker(&mut self) {
        if self.markers.is_empty() {
            return;
        }
        let at = self.chance(self.markers.len());
        let later = self.chance(10) == 0;
        let (markers, verdicts, waiting) = &mut self.markers[at];
        let partitions = &mut self.partitions;
        waiting.retain(|(name, end)| {
            let done = partitions[number(name)].durable >= *end;
            if done {
                verdicts.push((name.clone(), Verdict::Written));
            }
            !done
        });
        let sent = |name: &&TopicPartition| {
            let name = *name;
            verdicts.iter().any(|(one, _)| one == name)
                || waiting.iter().any(|(one, _)| one == name)
        };
        let unsent = markers.partitions.iter().find(|name| !sent(name)).cloned();
        let Some(name) = unsent else {
            if waiting.is_empty() {
                let (markers, verdicts, _) = self.markers.swap_remove(at);
                self.step(Event::Marked {
                    transactional_id: markers.transactional_id,
                    attempt: markers.attempt,
                    verdicts,
                });
            }
            return;
        };
        if later {
            verdicts.push((name, Verdict::Later));
            return;
        }
        let marker = EndTransactionMarker {
            commit: markers.commit,
            coordinator_epoch: 0,
        };
        let (id, epoch) = (
            ProducerId(markers.producer_id),
            ProducerEpoch(markers.producer_epoch),
        );
        let partition = &mut partitions[number(&name)];
        let header = partition.place(marker.batch(id, epoch, Timestamp(0)).unwrap());
        let version = storage_version(markers.version);
        let origin = Origin::Coordinator;
        let admitted = partition
            .producers
            .admit_marker(&header, marker, version, origin);
        assert!(admitted.is_ok(), "{name}: {admitted:?}");
        partition.producers.append_marker(&header, marker);
        partition.log.push(Entry {
            header,
            content: Content::Marker(marker),
        });
        waiting.push((name, partition.log.len()));
    }

    fn ask(&mut self, who: usize, request: Request) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.clients[who].waits = Some(token);
        self.step(Event::Request { token, request });
    }

    /// A client does its next thing.
    fn act(&mut self, who: usize) {
        if let Some(token) = self.clients[who].waits {
            if let Some(reply) = self.replies.remove(&token) {
                self.clients[who].waits = None;
                self.heard(who, reply);
            }
            return;
        }
        // Clients die too, and come again without a memory.
        if self.chance(150) == 0 {
            self.clients[who].doing = Doing::Begin;
            self.clients[who].transaction = None;
        }
        // Those who share an id do not fence each other all the time.
        if matches!(self.clients[who].doing, Doing::Begin) && self.chance(12) != 0 {
            return;
        }
        match self.clients[who].doing.clone() {
            Doing::Begin => {
                let request = Request::Init(InitProducer {
                    transactional_id: self.clients[who].transactional_id.to_owned(),
                    timeout_ms: 200_000,
                    ..InitProducer::default()
                });
                self.ask(who, request);
            }
            Doing::Idle => self.choose(who),
            Doing::Write { partition, value } => self.write(who, partition, value),
            Doing::Vouched {
                partition,
                value,
                guard,
            } => self.append(who, partition, value, guard),
            Doing::Appended { partition, end, .. } => {
                if self.partitions[partition].durable >= end {
                    *self.clients[who].sequences.entry(partition).or_default() += 1;
                    self.clients[who].doing = Doing::Idle;
                }
            }
            Doing::End { commit } => {
                let client = &self.clients[who];
                let request = Request::End(EndTransaction {
                    transactional_id: client.transactional_id.to_owned(),
                    producer_id: client.producer.0,
                    producer_epoch: client.producer.1,
                    commit,
                    version: client.version,
                    fresh_producer_id: None,
                });
                self.ask(who, request);
            }
        }
    }

    fn choose(&mut self, who: usize) {
        let open = self.clients[who].transaction;
        if let Some(transaction) = open
            && self.chance(4) == 0
        {
            let commit = self.chance(3) != 0;
            self.fates[transaction].commit_asked |= commit;
            self.clients[who].doing = Doing::End { commit };
            return;
        }
        let transaction = open.unwrap_or_else(|| {
            self.fates.push(Fate::default());
            self.fates.len() - 1
        });
        self.clients[who].transaction = Some(transaction);
        let (partition, value) = (self.chance(PARTITIONS), self.next_value);
        self.next_value += 1;
        self.fates[transaction].values.push((partition, value));
        self.clients[who].doing = Doing::Write { partition, value };
    }

    /// Asks the partition, and the coordinator if need be.
    fn write(&mut self, who: usize, partition: usize, value: usize) {
        let client = &self.clients[who];
        let sequence = client.sequences.get(&partition).copied().unwrap_or(0);
        let standing = self.partitions[partition].producers.begin_verification(
            ProducerId(client.producer.0),
            ProducerEpoch(client.producer.1),
            Sequence(sequence),
            storage_version(client.version),
            Timestamp(0),
        );
        let add = AddPartitions {
            transactional_id: client.transactional_id.to_owned(),
            producer_id: client.producer.0,
            producer_epoch: client.producer.1,
            partitions: vec![TopicPartition::new("t", i32::try_from(partition).unwrap())],
            version: client.version,
        };
        let added = client.added.contains(&partition);
        match (standing, client.version) {
            // A producer of version 1 adds its partitions before it writes, whatever the partition thinks.
            (_, Version::One) if !added => self.ask(who, Request::Add(add)),
            (Standing::Ongoing, _) => self.append(who, partition, value, Guard::NONE),
            (Standing::Unverified(guard), version) => {
                self.clients[who].guard = guard;
                let request = match version {
                    Version::One => Request::Verify(add),
                    Version::Two => Request::Add(add),
                };
                self.ask(who, request);
            }
        }
    }

    fn append(&mut self, who: usize, at: usize, value: usize, guard: Guard) {
        let client = &self.clients[who];
        let sequence = client.sequences.get(&at).copied().unwrap_or(0);
        let options = BatchOptions {
            producer_id: ProducerId(client.producer.0),
            producer_epoch: ProducerEpoch(client.producer.1),
            base_sequence: Sequence(sequence),
            transactional: true,
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        builder.append(Timestamp(0), None, Some(b"v"), &[]).unwrap();
        let partition = &mut self.partitions[at];
        let header = partition.place(builder.finish().unwrap());
        let admitted = partition.producers.admit_in_transaction(&header, guard);
        let admitted = admitted.and_then(|()| partition.producers.admit(&header, Origin::Client));
        let end = match admitted {
            Ok(Admission::Duplicate(then)) => usize::try_from(then.last_offset.0).unwrap() + 1,
            Ok(Admission::Append) => {
                partition.producers.append(&header);
                partition.log.push(Entry {
                    header,
                    content: Content::Value(value),
                });
                partition.log.len()
            }
            // Fenced, or the transaction was ended by somebody else: this life is over.
            Err(_) => {
                self.clients[who].doing = Doing::Begin;
                self.clients[who].transaction = None;
                return;
            }
        };
        self.clients[who].doing = Doing::Appended {
            partition: at,
            value,
            end,
        };
    }

    fn heard(&mut self, who: usize, reply: Reply) {
        let transaction = self.clients[who].transaction;
        let client = &mut self.clients[who];
        match (client.doing.clone(), reply) {
            (_, Reply::Init(Ok(one))) => {
                client.producer = (one.producer_id, one.producer_epoch);
                client.sequences.clear();
                client.added.clear();
                client.transaction = None;
                client.doing = Doing::Idle;
            }
            (Doing::Write { partition, value }, Reply::Add(Ok(()))) => match client.version {
                Version::One => {
                    client.added.insert(partition);
                }
                Version::Two => {
                    let guard = client.guard;
                    client.doing = Doing::Vouched {
                        partition,
                        value,
                        guard,
                    };
                }
            },
            (Doing::Write { partition, value }, Reply::Verify(Ok(known))) if known == [true] => {
                let guard = client.guard;
                client.doing = Doing::Vouched {
                    partition,
                    value,
                    guard,
                };
            }
            (Doing::End { commit }, Reply::End(Ok(one))) => {
                let fate = &mut self.fates[transaction.unwrap()];
                (fate.committed, fate.aborted) = (commit, !commit);
                if client.version == Version::Two {
                    client.producer = (one.producer_id, one.producer_epoch);
                    client.sequences.clear();
                }
                client.added.clear();
                client.transaction = None;
                client.doing = Doing::Idle;
            }
            (
                _,
                Reply::Init(Err(error))
                | Reply::Add(Err(error))
                | Reply::Verify(Err(error))
                | Reply::End(Err(error)),
            ) if matches!(error, TxnError::Concurrent | TxnError::LoadInProgress) => {}
            // Fenced, or not in the transaction any more: this life is over.
            (_, _) => {
                client.doing = Doing::Begin;
                client.transaction = None;
            }
        }
    }

    /// The crashes end: whatever is open comes to its end.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            for at in 0..PARTITIONS {
                let end = self.partitions[at].log.len();
                self.partitions[at].became_durable(end);
            }
            while let Some((ticket, end)) = self.appends.pop_front() {
                self.durable = end;
                self.step(Event::Appended(ticket));
            }
            self.deliver_marker();
            let idle = self.coordinator.states().all(State::is_idle);
            if idle && self.markers.is_empty() && self.appends.is_empty() {
                return;
            }
            // Nobody goes on: timeouts end what is open.
            self.pass(1_000);
        }
        panic!("seed {}: it does not come to an end", self.seed);
    }

    fn check(&self, at_the_end: bool) {
        let seed = self.seed;
        let mut seen = BTreeSet::new();
        for (number, partition) in self.partitions.iter().enumerate() {
            for value in partition.committed() {
                assert!(seen.insert((number, value)), "seed {seed}: {value} twice");
            }
            if at_the_end {
                let end = i64::try_from(partition.log.len()).unwrap();
                assert_eq!(partition.stable, end, "seed {seed}: something is open");
            }
        }
        for (number, fate) in self.fates.iter().enumerate() {
            let visible = fate.values.iter().filter(|one| seen.contains(one)).count();
            assert!(
                visible == 0 || fate.commit_asked,
                "seed {seed}: transaction {number} is seen and nobody asked for that"
            );
            assert!(
                visible == 0 || !fate.aborted,
                "seed {seed}: transaction {number} was aborted and is seen"
            );
            if at_the_end {
                let whole = visible == fate.values.len();
                assert!(
                    whole || (visible == 0 && !fate.committed),
                    "seed {seed}: {visible} of {} of transaction {number}",
                    fate.values.len()
                );
            }
        }
    }
}

fn settings() -> Arc<TxnSettings> {
    Arc::new(TxnSettings::default())
}

fn number(partition: &TopicPartition) -> usize {
    usize::try_from(partition.partition).unwrap()
}

fn storage_version(version: Version) -> TransactionVersion {
    version.of_storage()
}
