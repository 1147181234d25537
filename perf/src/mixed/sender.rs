//! **Owns** one producing client of a workload: when its records are due, what is in them, which batch they go in.
//! **Lives on** a thread's runtime, a task each.
//! **Invariants** (1) A record's latency begins when it was due, whatever the client was doing then. (2) The numbers of a
//! client's records count up from 0 in each partition, in the order of sending, across reconnects.
//! **Not here** sending and retrying (`corelog_tools::client::producer`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelog_runtime::{Instant, Notify, now, random, sleep_until, timeout_at, wall_clock};
use corelog_storage::batch::{BatchBuilder, BatchOptions};
use corelog_storage::types::Timestamp;
use corelog_tools::client::producer::{Completion, Prepared, Producer};
use corelog_tools::client::{Client, ClientConfig};
use corelog_tools::load::verify::{STAMP_SIZE, stamp};

use super::thread::{Place, Stage, Thread};
use crate::schedule::Schedule;
use crate::workload::{Producers, STAMP_BYTES};

/// A client's place in the workload.
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) kind: Arc<Producers>,
    /// Stamped in its records.
    pub(super) run: u64,
    /// Among all that are alike.
    pub(super) index: usize,
}

/// What a client leaves behind.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The number after the last acknowledged record.
    pub(super) ends: BTreeMap<Place, u64>,
    pub(super) failed: u64,
}

/// Runs a client until the load ends and all its records are answered.
pub(super) async fn send(
    thread: Rc<Thread>,
    role: Role,
    connected: Producer,
) -> Result<Sent, String> {
    let kind = Arc::clone(&role.kind);
    let ledger = Rc::new(RefCell::new(Ledger::default()));
    let mut producer = Rc::new(connected);
    let freed = Rc::new(Notify::new());
    observe(&producer, &thread, &ledger, &freed, &role);
    let partitions = producer
        .partitions(&kind.topic)
        .await
        .map_err(|error| error.to_string())?;
    let mut maker = Maker::new(&role, partitions, Rc::clone(&thread.filler));
    let phase = fraction(random());
    let begin = thread.begin();
    let mut schedule = kind
        .rate
        .map(|rate| Schedule::new(begin, rate, phase, kind.arrivals));
    let mut requests = 0;
    // Reconnects are spread, too.
    let mut leave = kind
        .churn
        .map(|churn| begin + churn.mul_f64(0.5 + fraction(random())));
    let under_way_max = usize::try_from(partitions)
        .unwrap_or(1)
        .max(2 * kind.producer.in_flight_max);
    let mut items = Vec::new();
    sleep_until(begin).await;
    while thread.stage() == Stage::Run {
        if leave.is_some_and(|leave| leave <= now()) {
            producer.flush().await;
            drop(producer);
            producer = Rc::new(connect(&thread.workload.client, &kind).await?);
            observe(&producer, &thread, &ledger, &freed, &role);
            requests = 0;
            leave = kind
                .churn
                .map(|churn| now() + churn.mul_f64(0.5 + fraction(random())));
        }
        items.clear();
        match &mut schedule {
            None => maker.collect_now(&mut items),
            Some(schedule) => {
                // A Kafka client fills a batch while it may not send one; so records that are due meanwhile go together.
                while ledger.borrow().under_way.len() >= under_way_max
                    && thread.stage() == Stage::Run
                {
                    let _ = timeout_at(now() + STAGE_CHECK, freed.notified()).await;
                }
                let ready = maker.collect_due(schedule, &mut items);
                // The end of the load is not waited for longer than this.
                while ready > now() && thread.stage() == Stage::Run {
                    sleep_until(ready.min(now() + STAGE_CHECK)).await;
                }
                if thread.stage() != Stage::Run {
                    break;
                }
            }
        }
        for (partition, span) in maker.arrange(&mut items) {
            let items = &items[span];
            let (batch, bytes) = maker.make(partition, items)?;
            let token = ledger
                .borrow_mut()
                .add(items, bytes, maker.numbers(partition));
            // The outcome is observed.
            let _delivery = producer
                .send_prepared(&kind.topic, partition, batch, token)
                .await
                .map_err(|error| error.to_string())?;
        }
        let so_far = producer.requests();
        thread.meter.borrow_mut().produced.requests += so_far - requests;
        requests = so_far;
    }
    producer.flush().await;
    let mut ledger = ledger.borrow_mut();
    Ok(Sent {
        ends: std::mem::take(&mut ledger.ends)
            .into_iter()
            .map(|(partition, end)| ((kind.topic.clone(), partition, role.run), end))
            .collect(),
        failed: ledger.failed,
    })
}

/// A connected client.
pub(super) async fn connect(client: &ClientConfig, kind: &Producers) -> Result<Producer, String> {
    let client = Client::connect(client.clone())
        .await
        .map_err(|error| error.to_string())?;
    let producer = Producer::new(client, kind.producer.clone())
        .await
        .map_err(|error| error.text())?;
    producer
        .partitions(&kind.topic)
        .await
        .map_err(|error| error.to_string())?;
    Ok(producer)
}

fn observe(
    producer: &Rc<Producer>,
    thread: &Rc<Thread>,
    ledger: &Rc<RefCell<Ledger>>,
    freed: &Rc<Notify>,
    role: &Role,
) {
    let (thread, ledger, freed) = (Rc::clone(thread), Rc::clone(ledger), Rc::clone(freed));
    let stamped = role.kind.stamped;
    producer.observe(Rc::new(move |done| {
        ledger.borrow_mut().see(&thread, stamped, done);
        freed.notify_one();
    }));
}

/// A record to be sent.
#[derive(Clone, Copy, Debug)]
struct Item {
    due: Instant,
    size: usize,
    key: Option<u64>,
}

/// Batches on their way.
#[derive(Debug, Default)]
struct Ledger {
    under_way: BTreeMap<u64, Entry>,
    sent: u64,
    ends: BTreeMap<i32, u64>,
    failed: u64,
    /// Vectors that were used before.
    spare: Vec<Vec<Instant>>,
}

#[derive(Debug)]
struct Entry {
    /// When each record was due; all alike leave one.
    dues: Vec<Instant>,
    bytes: u64,
    /// The number after its last record.
    end: u64,
}

impl Ledger {
    fn add(&mut self, items: &[Item], bytes: u64, end: u64) -> u64 {
        let mut dues = self.spare.pop().unwrap_or_default();
        let first = items.first().map(|item| item.due);
        if items.iter().all(|item| Some(item.due) == first) {
            dues.extend(first);
        } else {
            dues.extend(items.iter().map(|item| item.due));
        }
        self.sent += 1;
        self.under_way.insert(self.sent, Entry { dues, bytes, end });
        self.sent
    }

    fn see(&mut self, thread: &Thread, stamped: bool, done: &Completion<'_>) {
        let Some(mut entry) = self.under_way.remove(&done.token) else {
            return;
        };
        let count = u64::from(done.count.unsigned_abs());
        match done.outcome {
            Ok(_) => {
                if stamped {
                    let end = self.ends.entry(done.partition).or_default();
                    *end = entry.end.max(*end);
                }
                let mut meter = thread.meter.borrow_mut();
                let at = now();
                let side = &mut meter.produced;
                side.records += count;
                side.bytes += entry.bytes;
                if let [due] = entry.dues[..] {
                    side.latencies.add_many(at - due, count);
                } else {
                    for due in &entry.dues {
                        side.latencies.add(at - *due);
                    }
                }
            }
            Err(error) => {
                self.failed += count;
                *thread
                    .failures
                    .borrow_mut()
                    .entry(error.to_string())
                    .or_default() += count;
            }
        }
        entry.dues.clear();
        self.spare.push(entry.dues);
    }
}

/// Makes a client's batches.
struct Maker {
    kind: Arc<Producers>,
    run: u64,
    partitions: i32,
    /// Where the next batch goes.
    turn: i32,
    /// Bytes of records in a full batch.
    room: usize,
    builder: BatchBuilder,
    /// A batch of so many records that can be sent again: only its header changes.
    made: BTreeMap<usize, (Prepared, u64)>,
    made_bytes: usize,
    numbers: BTreeMap<i32, u64>,
    filler: Rc<[u8]>,
    value: Vec<u8>,
}

impl Maker {
    fn new(role: &Role, partitions: i32, filler: Rc<[u8]>) -> Self {
        let kind = Arc::clone(&role.kind);
        let index = i32::try_from(role.index).unwrap_or(0);
        Self {
            run: role.run,
            partitions: partitions.max(1),
            turn: index % partitions.max(1),
            room: kind
                .producer
                .batch_size
                .min(kind.producer.request_size_max)
                .saturating_sub(BATCH_OVERHEAD),
            builder: BatchBuilder::new(BatchOptions {
                compression: kind.producer.compression,
                ..BatchOptions::default()
            }),
            made: BTreeMap::new(),
            made_bytes: 0,
            numbers: BTreeMap::new(),
            filler,
            value: Vec::new(),
            kind,
        }
    }

    fn item(&self, due: Instant) -> Item {
        Item {
            due,
            size: self
                .kind
                .sizes
                .only()
                .unwrap_or_else(|| self.kind.sizes.pick(random())),
            key: (self.kind.keys > 0).then(|| random() % self.kind.keys),
        }
    }

    /// How many bytes make batches full: one's, or with keys one's of each partition.
    fn full(&self) -> usize {
        let batches = if self.kind.keys > 0 {
            usize::try_from(self.partitions).unwrap_or(1)
        } else {
            1
        };
        self.room.saturating_mul(batches).min(FULL_MAX)
    }

    fn collect_now(&self, items: &mut Vec<Item>) {
        let (due, full) = (now(), self.full());
        let mut bytes = 0;
        while items.is_empty() || bytes < full {
            let item = self.item(due);
            bytes += item.size + RECORD_OVERHEAD;
            if bytes > full && !items.is_empty() {
                break;
            }
            items.push(item);
        }
    }

    /// The next batch's records; gives when it is to be sent.
    fn collect_due(&self, schedule: &mut Schedule, items: &mut Vec<Item>) -> Instant {
        let full = self.full();
        let first = schedule.due();
        // Who is late sends at once all that is due.
        let until = (first + self.kind.producer.linger).max(now());
        let mut bytes = 0;
        while items.is_empty() || schedule.due() <= until {
            let item = self.item(schedule.due());
            bytes += item.size + RECORD_OVERHEAD;
            if bytes > full && !items.is_empty() {
                return items.last().map_or(until, |item| item.due);
            }
            schedule.take(random());
            items.push(item);
        }
        until
    }

    /// Divides the records into batches: (partition, which).
    fn arrange(&mut self, items: &mut [Item]) -> Vec<(i32, std::ops::Range<usize>)> {
        if self.kind.keys == 0 {
            let partition = self.turn;
            self.turn = (self.turn + 1) % self.partitions;
            return vec![(partition, 0..items.len())];
        }
        let of = |item: &Item| partition_of(item.key.unwrap_or(0), self.partitions);
        // Stable: in a partition records stay in the order in which they were due.
        items.sort_by_key(of);
        let mut batches = Vec::new();
        let (mut from, mut bytes) = (0, 0);
        for (index, item) in items.iter().enumerate() {
            let is_other = of(item) != of(&items[from]);
            if index > from && (is_other || bytes + item.size + RECORD_OVERHEAD > self.room) {
                batches.push((of(&items[from]), from..index));
                (from, bytes) = (index, 0);
            }
            bytes += item.size + RECORD_OVERHEAD;
        }
        if from < items.len() {
            batches.push((of(&items[from]), from..items.len()));
        }
        batches
    }

    /// The number after the last record made for a partition.
    fn numbers(&self, partition: i32) -> u64 {
        self.numbers.get(&partition).copied().unwrap_or(0)
    }

    /// A batch, and the bytes of its values.
    fn make(&mut self, partition: i32, items: &[Item]) -> Result<(Prepared, u64), String> {
        let at = wall_clock();
        let reusable =
            !self.kind.stamped && self.kind.keys == 0 && self.kind.sizes.only().is_some();
        if reusable && let Some((made, bytes)) = self.made.get(&items.len()) {
            return Ok((made.at(at), *bytes));
        }
        let number = self.numbers.entry(partition).or_default();
        let mut place = usize::try_from(random() % FILLER_BYTES as u64).unwrap_or(0);
        let mut bytes = 0;
        for item in items {
            let key = item.key.map(u64::to_be_bytes);
            let key = key.as_ref().map(<[u8; 8]>::as_slice);
            let filler = &self.filler[place..place + item.size];
            let value = if self.kind.stamped {
                self.value.clear();
                self.value.extend_from_slice(filler);
                put_stamp(&mut self.value, self.run, *number, item.due);
                *number += 1;
                &self.value
            } else {
                filler
            };
            self.builder
                .append(Timestamp(at), key, Some(value), &[])
                .map_err(|error| error.to_string())?;
            bytes += item.size as u64;
            place = (place + item.size) % FILLER_BYTES;
        }
        let batch = self.builder.finish().map_err(|error| error.to_string())?;
        let prepared = Prepared::new(&batch);
        if reusable && self.made_bytes + prepared.size() <= MADE_BYTES_MAX {
            self.made_bytes += prepared.size();
            self.made.insert(items.len(), (prepared.clone(), bytes));
        }
        Ok((prepared, bytes))
    }
}

/// Writes run, number and when it was due at the front of a value.
fn put_stamp(value: &mut [u8], run: u64, number: u64, due: Instant) {
    stamp(value, run, number);
    value[STAMP_SIZE..STAMP_BYTES].copy_from_slice(&due.as_nanos().to_be_bytes());
}

/// When a stamped record was due.
pub(super) fn due_of(value: &[u8]) -> Option<Instant> {
    let bytes = value.get(STAMP_SIZE..)?.first_chunk::<8>()?;
    Some(Instant::from_nanos(u64::from_be_bytes(*bytes)))
}

fn partition_of(key: u64, partitions: i32) -> i32 {
    let count = u64::from(partitions.unsigned_abs()).max(1);
    i32::try_from(key % count).unwrap_or(0)
}

/// Random letters, as Kafka's tools send them, for values of up to `largest` bytes.
pub(super) fn letters(largest: usize) -> Rc<[u8]> {
    let mut bits = 0;
    (0..FILLER_BYTES + largest)
        .map(|index| {
            if index % 8 == 0 {
                bits = random();
            }
            let [high, ..] = u64::to_be_bytes(bits);
            bits <<= 8;
            b'A' + high % 26
        })
        .collect()
}

/// 0 to 1.
#[expect(
    clippy::cast_precision_loss,
    reason = "any number between zero and one will do"
)]
fn fraction(random: u64) -> f64 {
    (random >> 12) as f64 / (1_u64 << 52) as f64
}

/// The header of a batch.
const BATCH_OVERHEAD: usize = 61;
/// What a record without key and headers takes besides its value, at most for usual sizes.
const RECORD_OVERHEAD: usize = 11;
/// How much memory batches to be sent again may take.
const MADE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Values are cut from so much text, at changing places.
const FILLER_BYTES: usize = 256 * 1024;
/// Records of so many bytes are collected at a time at most.
const FULL_MAX: usize = 16 * 1024 * 1024;
/// How often the end of the load is looked for.
const STAGE_CHECK: Duration = Duration::from_millis(50);
