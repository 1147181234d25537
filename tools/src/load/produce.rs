//! **Owns** producing load.
//! **Lives on** the runtime's thread.
//! **Invariants** (1) Without a schedule, every partition has work as long as the producer's memory allows. (2) Records
//! with keys or numbers go through one connection per partition, so their order is that of their making.
//! **Not here** what its callers decide.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_runtime::{Instant, now, random, sleep_until, spawn, wall_clock};
use corelog_storage::batch::{BatchBuilder, BatchOptions};
use corelog_storage::types::Timestamp;

use super::verify::{STAMP_SIZE, stamp};
use super::{Cpu, Latencies, Listener};
use crate::client::producer::{Completion, Figures, Prepared, Producer, ProducerConfig};
use crate::client::{Client, ClientConfig};

/// What to produce.
#[derive(Clone, Debug)]
pub struct ProduceLoad {
    /// Where to.
    pub topic: String,
    /// How many records, warm-up included.
    pub records: u64,
    /// The first so many are not measured.
    pub warmup: u64,
    /// What is in them.
    pub payload: Payload,
    /// Every record has one of so many keys, at random; 0: none has a key. The keys of a partition are its own.
    pub keys: u64,
    /// Records per second; none is as fast as possible.
    pub throughput: Option<f64>,
    /// How to connect.
    pub client: ClientConfig,
    /// How to produce.
    pub producer: ProducerConfig,
    /// How many clients, each with connections of its own.
    pub connections: usize,
    /// With a transactional id: after how long each transaction is committed. Of several clients, all but the first have
    /// the id with `-1`, `-2`, … behind it.
    pub transaction: Option<Duration>,
    /// How often there is a [`Window`].
    pub interval: Duration,
    /// Told of records as they are acknowledged, or have failed.
    pub listener: Option<Listener>,
    /// Another process of this machine whose processor time is measured along.
    pub watch: Option<String>,
}

/// What is in the records.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Random letters, so many.
    Random(usize),
    /// One of these, at random.
    Lines(Rc<[Bytes]>),
    /// The record's number, as text.
    Monotonic,
    /// So many bytes with a stamp for [`super::verify`].
    Verified(usize),
}

/// What happened lately.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Records acknowledged.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// How long it was.
    pub length: Duration,
    /// Their latencies.
    pub latencies: Latencies,
    /// Whether it ended in the warm-up.
    pub is_warmup: bool,
}

/// What happened in all.
#[derive(Clone, Debug, Default)]
pub struct Produced {
    /// The sum, warm-up left out.
    pub total: Window,
    /// The sum with the warm-up, when there was one.
    pub whole: Option<Window>,
    /// Records that failed, and the first reason.
    pub failed: u64,
    /// Why, and how often.
    pub failures: BTreeMap<String, u64>,
    /// Produce requests, warm-up included.
    pub requests: u64,
    /// User and system time of the process.
    pub cpu: (Duration, Duration),
    /// User and system time of the process that is watched.
    pub watched_cpu: Option<(Duration, Duration)>,
    /// The run's number in verified records.
    pub run: u64,
    /// What each client counted.
    pub figures: Vec<Figures>,
}

struct Meter {
    window: Window,
    total: Window,
    /// With the warm-up.
    whole: Option<Window>,
    whole_begun: Instant,
    window_begun: Instant,
    begun: Instant,
    cpu_begun: Cpu,
    watch: Option<String>,
    listener: Option<Listener>,
    warmup_left: u64,
    failed: u64,
    failures: BTreeMap<String, u64>,
    /// By token: when the batch's first record was due and how long until the next, and the bytes of their values.
    due: BTreeMap<u64, Due>,
    sent: u64,
}

struct Due {
    first: Instant,
    spacing: Duration,
    bytes: u64,
}

/// Produces; `on_window` is called about every interval.
pub async fn produce(
    load: ProduceLoad,
    on_window: impl Fn(&Window) + 'static,
) -> Result<Produced, String> {
    if matches!(load.payload, Payload::Verified(size) if size < STAMP_SIZE) {
        return Err(format!(
            "verified records are at least {STAMP_SIZE} bytes large"
        ));
    }
    let mut lanes = Vec::new();
    let mut partitions = 0;
    let at = now();
    let meter = Rc::new(RefCell::new(Meter {
        window: Window::default(),
        total: Window::default(),
        whole: (load.warmup > 0).then(Window::default),
        whole_begun: at,
        window_begun: at,
        begun: at,
        cpu_begun: Cpu::now(load.watch.as_deref()),
        watch: load.watch.clone(),
        listener: load.listener.clone(),
        warmup_left: load.warmup,
        failed: 0,
        failures: BTreeMap::new(),
        due: BTreeMap::new(),
        sent: 0,
    }));
    for number in 0..load.connections.max(1) {
        let client = Client::connect(load.client.clone())
            .await
            .map_err(|error| error.to_string())?;
        let mut config = load.producer.clone();
        if let Some(transactional) = &mut config.transactional
            && number > 0
        {
            transactional.id = format!("{}-{number}", transactional.id);
        }
        let producer = Producer::new(client, config)
            .await
            .map_err(|error| error.text())?;
        partitions = producer
            .partitions(&load.topic)
            .await
            .map_err(|error| error.to_string())?;
        let observed = Rc::clone(&meter);
        producer.observe(Rc::new(move |done| observed.borrow_mut().see(done)));
        lanes.push(Rc::new(producer));
    }
    {
        let mut meter = meter.borrow_mut();
        meter.begun = now();
        meter.whole_begun = meter.begun;
        meter.window_begun = meter.begun;
        meter.cpu_begun = Cpu::now(load.watch.as_deref());
    }
    let reporter = spawn(
        "load.report",
        report(Rc::clone(&meter), load.interval, on_window),
    );
    let run = random();
    let mut maker = Maker::new(&load, partitions, run);
    let drive = Drive {
        load: &load,
        lanes: &lanes,
        partitions,
        meter: &meter,
        transaction_begun: Cell::new(None),
    };
    match load.throughput {
        None => drive.flat_out(&mut maker).await?,
        Some(rate) => drive.on_schedule(&mut maker, rate).await?,
    }
    drive.commit().await?;
    for lane in &lanes {
        lane.flush().await;
    }
    reporter.cancel().await;
    let meter = meter.borrow();
    let mut total = meter.total.clone();
    total.length = now().duration_since(meter.begun);
    let whole = meter.whole.clone().map(|whole| Window {
        length: now().duration_since(meter.whole_begun),
        ..whole
    });
    let (cpu, watched_cpu) = meter.cpu_begun.until_now(meter.watch.as_deref());
    Ok(Produced {
        total,
        whole,
        figures: lanes.iter().map(|lane| lane.figures()).collect(),
        failed: meter.failed,
        failures: meter.failures.clone(),
        requests: lanes.iter().map(|lane| lane.requests()).sum(),
        cpu,
        watched_cpu,
        run,
    })
}

struct Drive<'a> {
    load: &'a ProduceLoad,
    lanes: &'a [Rc<Producer>],
    partitions: i32,
    meter: &'a Rc<RefCell<Meter>>,
    transaction_begun: Cell<Option<Instant>>,
}

impl Drive<'_> {
    async fn flat_out(&self, maker: &mut Maker) -> Result<(), String> {
        let mut left = self.load.records;
        let mut partition = 0;
        while left > 0 {
            let count = maker.full_count.min(left);
            self.send(maker, partition, count, None).await?;
            left -= count;
            partition = (partition + 1) % self.partitions;
        }
        Ok(())
    }

    /// Record `i` is due at `i / rate`; records wait for company as long as the linger says.
    async fn on_schedule(&self, maker: &mut Maker, rate: f64) -> Result<(), String> {
        let begun = now();
        let spacing = Duration::from_secs_f64(1.0 / rate);
        let due_at = |record: u64| begun + Duration::from_secs_f64(super::to_f64(record) / rate);
        let mut next = 0;
        let mut partition = 0;
        while next < self.load.records {
            let first_due = due_at(next);
            let full_at = due_at(next + maker.full_count - 1);
            let last_at = due_at(self.load.records - 1).max(first_due);
            let send_at = full_at
                .min(first_due + self.load.producer.linger)
                .min(last_at);
            if send_at > now() {
                sleep_until(send_at).await;
            }
            // All that are due by now, up to a batch.
            let late = now().duration_since(begun).as_secs_f64();
            let due_count = float_to_count(late * rate) + 1;
            let count = due_count
                .saturating_sub(next)
                .clamp(1, maker.full_count)
                .min(self.load.records - next);
            self.send(maker, partition, count, Some((first_due, spacing)))
                .await?;
            next += count;
            partition = (partition + 1) % self.partitions;
        }
        Ok(())
    }

    async fn send(
        &self,
        maker: &mut Maker,
        partition: i32,
        count: u64,
        due: Option<(Instant, Duration)>,
    ) -> Result<(), String> {
        self.begin_transaction()?;
        let (batch, bytes) = maker.make(partition, count)?;
        let token = {
            let mut meter = self.meter.borrow_mut();
            meter.sent += 1;
            let token = meter.sent;
            let (first, spacing) = due.unwrap_or_else(|| (now(), Duration::ZERO));
            meter.due.insert(
                token,
                Due {
                    first,
                    spacing,
                    bytes,
                },
            );
            token
        };
        let is_ordered = self.load.keys > 0
            || matches!(self.load.payload, Payload::Verified(_) | Payload::Monotonic);
        let lane = lane(
            is_ordered,
            partition,
            token - 1,
            self.partitions,
            self.lanes.len(),
        );
        // The outcome is observed.
        let _delivery = self.lanes[lane]
            .send_prepared(&self.load.topic, partition, batch, token)
            .await
            .map_err(|error| error.to_string())?;
        let begun = self.transaction_begun.get();
        if let (Some(begun), Some(length)) = (begun, self.load.transaction)
            && now().duration_since(begun) >= length
        {
            self.commit().await?;
        }
        Ok(())
    }

    fn begin_transaction(&self) -> Result<(), String> {
        if self.load.transaction.is_none() || self.transaction_begun.get().is_some() {
            return Ok(());
        }
        for lane in self.lanes {
            let begun = lane.begin_transaction();
            begun.map_err(|error| error.to_string())?;
        }
        self.transaction_begun.set(Some(now()));
        Ok(())
    }

    /// Commits what is open.
    async fn commit(&self) -> Result<(), String> {
        if self.transaction_begun.take().is_none() {
            return Ok(());
        }
        for lane in self.lanes {
            let committed = lane.commit_transaction().await;
            committed.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// The client that sends the load's batch number `nth` (from 0), which goes to `partition`. Every client writes to every
/// partition, a round of partitions at a time; where the order of a partition's records shall be seen, one client has it.
fn lane(is_ordered: bool, partition: i32, nth: u64, partitions: i32, lanes: usize) -> usize {
    let turn = if is_ordered {
        u64::from(partition.unsigned_abs())
    } else {
        nth / u64::from(partitions.unsigned_abs()).max(1)
    };
    usize::try_from(turn % lanes as u64).unwrap_or(0)
}

/// Rates and times make small positive numbers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a saturating cast of a non-negative number of records"
)]
fn float_to_count(count: f64) -> u64 {
    count.max(0.0) as u64
}

impl Window {
    /// Adds a batch whose first record took so long.
    fn add(&mut self, due: &Due, count: u64, latency: Duration) {
        self.records += count;
        self.bytes += due.bytes;
        if due.spacing.is_zero() {
            self.latencies.add_many(latency, count);
            return;
        }
        let mut later = Duration::ZERO;
        for _ in 0..count {
            self.latencies.add(latency.saturating_sub(later));
            later += due.spacing;
        }
    }
}

impl Meter {
    fn see(&mut self, done: &Completion<'_>) {
        let Some(due) = self.due.remove(&done.token) else {
            return;
        };
        let count = u64::from(done.count.unsigned_abs());
        if let Some(listener) = &self.listener {
            listener.tell(count);
        }
        match done.outcome {
            Ok(_) => {
                let latency = now().duration_since(due.first);
                if let Some(whole) = &mut self.whole {
                    whole.add(&due, count, latency);
                }
                self.window.add(&due, count, latency);
                let warming = self.warmup_left.min(count);
                if warming > 0 {
                    self.warmup_left -= warming;
                    if self.warmup_left > 0 {
                        return;
                    }
                    self.begun = due.first;
                    self.cpu_begun = Cpu::now(self.watch.as_deref());
                }
                // The rest of a batch in which the warm-up ended.
                let measured = count - warming;
                if measured > 0 {
                    let rest = Due {
                        bytes: due.bytes * measured / count,
                        ..due
                    };
                    self.total.add(&rest, measured, latency);
                }
            }
            Err(error) => {
                self.failed += count;
                *self.failures.entry(error.to_string()).or_default() += count;
            }
        }
    }
}

async fn report(meter: Rc<RefCell<Meter>>, interval: Duration, on_window: impl Fn(&Window)) {
    let mut next = now() + interval;
    loop {
        sleep_until(next).await;
        next = next + interval;
        let window = {
            let mut meter = meter.borrow_mut();
            let at = now();
            let mut window = std::mem::take(&mut meter.window);
            window.is_warmup = meter.warmup_left > 0;
            window.length = at.duration_since(meter.window_begun);
            meter.window_begun = at;
            window
        };
        if window.records > 0 {
            on_window(&window);
        }
    }
}

/// Makes batches.
struct Maker {
    payload: Payload,
    keys: u64,
    partitions: u64,
    builder: BatchBuilder,
    /// Records in a full batch.
    full_count: u64,
    /// Batches that can be sent again, by count; their records' timestamps are relative, so only the header changes.
    made: BTreeMap<u64, (Prepared, u64)>,
    made_bytes: usize,
    scratch: Vec<u8>,
    run: u64,
    /// The next number of each partition (verified), or of all (monotonic, as partition −1).
    numbers: BTreeMap<i32, u64>,
}

impl Maker {
    fn new(load: &ProduceLoad, partitions: i32, run: u64) -> Self {
        let size = match &load.payload {
            Payload::Random(size) | Payload::Verified(size) => *size,
            Payload::Lines(lines) => {
                lines.iter().map(Bytes::len).sum::<usize>() / lines.len().max(1)
            }
            Payload::Monotonic => 10,
        };
        let room = load
            .producer
            .batch_size
            .min(load.producer.request_size_max)
            .saturating_sub(BATCH_OVERHEAD);
        let key = if load.keys > 0 { size_of::<u64>() } else { 0 };
        let full_count = u64::try_from(room / (size + key + RECORD_OVERHEAD))
            .unwrap_or(1)
            .max(1);
        Self {
            payload: load.payload.clone(),
            keys: load.keys,
            partitions: u64::try_from(partitions).unwrap_or(1).max(1),
            builder: BatchBuilder::new(BatchOptions {
                compression: load.producer.compression,
                ..BatchOptions::default()
            }),
            full_count,
            made: BTreeMap::new(),
            made_bytes: 0,
            scratch: Vec::new(),
            run,
            numbers: BTreeMap::new(),
        }
    }

    /// A batch of `count` records, and the bytes of their values.
    fn make(&mut self, partition: i32, count: u64) -> Result<(Prepared, u64), String> {
        let at = wall_clock();
        let reusable =
            self.keys == 0 && matches!(self.payload, Payload::Random(_) | Payload::Lines(_));
        if reusable && let Some((made, bytes)) = self.made.get(&count) {
            return Ok((made.at(at), *bytes));
        }
        let mut bytes = 0;
        for index in 0..count {
            // With keys no batch is sent twice; that its values are the same keeps making it cheap.
            if index == 0 || self.keys == 0 || !matches!(self.payload, Payload::Random(_)) {
                self.fill(partition);
            }
            bytes += self.scratch.len() as u64;
            let key = (self.keys > 0).then(|| self.key(partition).to_be_bytes());
            let key = key.as_ref().map(<[u8; 8]>::as_slice);
            self.builder
                .append(Timestamp(at), key, Some(&self.scratch), &[])
                .map_err(|error| error.to_string())?;
        }
        let batch = self.builder.finish().map_err(|error| error.to_string())?;
        let prepared = Prepared::new(&batch);
        if reusable && self.made_bytes + prepared.size() <= MADE_BYTES_MAX {
            self.made_bytes += prepared.size();
            self.made.insert(count, (prepared.clone(), bytes));
        }
        Ok((prepared, bytes))
    }

    /// One of the partition's keys.
    fn key(&self, partition: i32) -> u64 {
        let partition = u64::try_from(partition).unwrap_or(0);
        let own = self.keys.div_ceil(self.partitions).max(1);
        random() % own * self.partitions + partition
    }

    /// Writes the next value into `scratch`.
    fn fill(&mut self, partition: i32) {
        match &self.payload {
            Payload::Random(size) => {
                self.scratch.clear();
                let mut bits = 0_u64;
                for index in 0..*size {
                    if index % 8 == 0 {
                        bits = random();
                    }
                    let [low, ..] = bits.to_be_bytes();
                    bits <<= 8;
                    self.scratch.push(b'A' + low % 26);
                }
            }
            Payload::Lines(lines) => {
                self.scratch.clear();
                let count = lines.len().max(1) as u64;
                let chosen = usize::try_from(random() % count).unwrap_or(0);
                if let Some(line) = lines.get(chosen) {
                    self.scratch.extend_from_slice(line);
                }
            }
            Payload::Monotonic => {
                let number = self.numbers.entry(-1).or_default();
                self.scratch.clear();
                self.scratch
                    .extend_from_slice(number.to_string().as_bytes());
                *number += 1;
            }
            Payload::Verified(size) => {
                let number = self.numbers.entry(partition).or_default();
                self.scratch.resize(*size, b'.');
                stamp(&mut self.scratch, self.run, *number);
                *number += 1;
            }
        }
    }
}

/// The header of a batch.
const BATCH_OVERHEAD: usize = 61;
/// What a record without key and headers takes besides its value, at most for usual sizes.
const RECORD_OVERHEAD: usize = 11;
/// How much memory batches to be sent again may take.
const MADE_BYTES_MAX: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_writes_to_every_partition_unless_order_shall_be_seen() {
        for (partitions, lanes) in [(6_i32, 16_usize), (6, 2), (1, 4), (5, 5), (100, 3)] {
            let mut pairs = std::collections::BTreeSet::new();
            let batches = 2 * u64::from(partitions.unsigned_abs()) * lanes as u64;
            for nth in 0..batches {
                let partition =
                    i32::try_from(nth % u64::from(partitions.unsigned_abs())).expect("small");
                pairs.insert((partition, lane(false, partition, nth, partitions, lanes)));
                let ordered = lane(true, partition, nth, partitions, lanes);
                assert_eq!(ordered, usize::try_from(partition).expect("small") % lanes);
            }
            assert_eq!(
                pairs.len(),
                usize::try_from(partitions).expect("small") * lanes,
                "{partitions} {lanes}"
            );
        }
    }
}
