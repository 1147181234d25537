//! `kill -9` in the middle of a load: what was acknowledged is there afterwards, in order, once.
//!
//! **Owns** the load, the killing and the comparison.
//! **Lives on** two threads: the load on a runtime, the killing on the test's.
//! **Invariants**
//! 1. Every record's value names its lane and number, so that a record cannot stand for another.
//! 2. The moment of a kill is a number of acknowledgements drawn from the seed, not a time.
//!
//! **Not here**: power cuts, which lose what was written and not synced (`corelog_storage`'s
//! simulated disk).
//!
//! `CORELOG_CRASH_ROUNDS` (10) and `CORELOG_CRASH_SEED` make it longer and repeat it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use corelog_net::client::{Client as NetClient, ClientOptions, PendingResponse};
use corelog_net::wire::messages::produce::{ProduceRequest, ProduceResponse};
use corelog_net::wire::{ApiKey, Encoder, Message};
use corelog_runtime::{BackendChoice, Config, Runtime, spawn};
use corelog_storage::batch::{BatchOptions, Codec};
use corelog_storage::types::{ProducerEpoch, ProducerId, Sequence};

use crate::harness::{Broker, eventually};
use crate::idempotence::producer_id;
use crate::random::{Random, number};
use crate::records::{Record, batch, now_ms};
use crate::table::error;
use crate::topics::{create, offset_of, producing, read_all};

mod dump;

const TOPIC: &str = "crash";

/// A producer of one partition.
struct Lane {
    partition: i32,
    acks: i16,
    /// Idempotent when there is an id.
    producer: Option<i64>,
    random: Random,
    /// The number of the next record, which is its sequence, too.
    next: i32,
    /// Sent and not acknowledged, oldest first.
    unacknowledged: VecDeque<Piece>,
    acknowledged: Vec<(i64, Piece)>,
}

/// A batch as it was sent.
#[derive(Clone)]
struct Piece {
    first: i32,
    records: Vec<u8>,
    values: Vec<String>,
}

impl Lane {
    fn new(partition: i32, acks: i16, producer: Option<i64>, seed: u64) -> Self {
        let random = Random::new(seed ^ u64::try_from(partition).expect("a partition") << 32);
        Self {
            partition,
            acks,
            producer,
            random,
            next: 0,
            unacknowledged: VecDeque::new(),
            acknowledged: Vec::new(),
        }
    }

    /// The next batch: a few records, short or long, of any codec.
    fn piece(&mut self) -> Piece {
        let codecs = [
            Codec::None,
            Codec::None,
            Codec::Gzip,
            Codec::Snappy,
            Codec::Lz4,
            Codec::Zstd,
        ];
        let count = i32::try_from(1 + self.random.below(4)).expect("a few");
        let lengths = [10, 100, 1000, 20_000];
        let values: Vec<String> = (self.next..self.next + count)
            .map(|number| {
                let filler = "x".repeat(lengths[self.random.below(lengths.len())]);
                format!("{} {number} {filler}", self.partition)
            })
            .collect();
        let options = BatchOptions {
            compression: codecs[self.random.below(codecs.len())].into(),
            producer_id: self.producer.map_or(ProducerId::NONE, ProducerId),
            producer_epoch: self
                .producer
                .map_or(ProducerEpoch::NONE, |_| ProducerEpoch(0)),
            base_sequence: self
                .producer
                .map_or(Sequence::NONE, |_| Sequence(self.next)),
            ..BatchOptions::default()
        };
        let now = now_ms();
        let records: Vec<Record<'_>> = values
            .iter()
            .map(|value| (now, Some("key"), value.as_str()))
            .collect();
        let piece = Piece {
            first: self.next,
            records: batch(options, &records),
            values,
        };
        self.next += count;
        piece
    }

    /// Produces, five requests in flight, until the broker goes.
    async fn run(mut self, addr: SocketAddr, count: Arc<AtomicU64>) -> Self {
        if self.producer.is_none() {
            // Nobody knows what became of them, and sending them again could double them.
            self.unacknowledged.clear();
        }
        let Ok(client) = NetClient::connect(addr, &ClientOptions::default()).await else {
            return self;
        };
        let mut in_flight = VecDeque::new();
        for piece in &self.unacknowledged {
            match self.send(&client, piece) {
                Some(pending) => in_flight.push_back(pending),
                None => return self,
            }
        }
        loop {
            while in_flight.len() < 5 {
                let piece = self.piece();
                let sent = self.send(&client, &piece);
                self.unacknowledged.push_back(piece);
                match sent {
                    Some(pending) => in_flight.push_back(pending),
                    None => return self,
                }
            }
            let Ok(body) = in_flight.pop_front().expect("five").await else {
                return self;
            };
            let response = ProduceResponse::from_bytes(&body, 9).expect("a response");
            let answer = &response.responses[0].partition_responses[0];
            let piece = self
                .unacknowledged
                .pop_front()
                .expect("what is answered was sent");
            assert_eq!(
                error(answer.error_code),
                "NONE",
                "lane {} batch {}",
                self.partition,
                piece.first
            );
            self.acknowledged.push((answer.base_offset, piece));
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn send(&self, client: &NetClient, piece: &Piece) -> Option<PendingResponse> {
        let request = ProduceRequest {
            acks: self.acks,
            ..producing(TOPIC, self.partition, piece.records.clone())
        };
        let mut writer = client.request(ApiKey::Produce, 9, piece.records.len() + 100);
        request
            .encode(&mut Encoder::new(writer.buffer()), 9)
            .expect("a request");
        client.send(writer).ok()
    }
}

/// Runs the lanes until the broker is killed under them.
fn load(lanes: Vec<Lane>, addr: SocketAddr, count: Arc<AtomicU64>) -> Vec<Lane> {
    let config = Config {
        backend: BackendChoice::from_test_env(),
        ..Config::default()
    };
    let runtime = Runtime::new(&config).expect("a runtime");
    runtime.run(async move {
        let tasks: Vec<_> = lanes
            .into_iter()
            .map(|lane| spawn("lane", lane.run(addr, Arc::clone(&count))))
            .collect();
        let mut back = Vec::new();
        for task in tasks {
            back.push(task.await.expect("a lane does not panic"));
        }
        back
    })
}

#[test]
fn what_is_acknowledged_survives_kills_in_order_and_once() {
    let rounds = number("CORELOG_CRASH_ROUNDS", 10);
    let seed = number("CORELOG_CRASH_SEED", 71_934);
    println!("CORELOG_CRASH_SEED={seed} CORELOG_CRASH_ROUNDS={rounds}");
    let mut random = Random::new(seed);
    let mut broker = Broker::with(&[]);
    let mut client = broker.client();
    create(&mut client, TOPIC, 6, &[("segment.bytes", "1048576")]);
    let mut id = || Some(producer_id(&mut client).producer_id);
    let mut lanes = vec![
        Lane::new(0, -1, id(), seed),
        Lane::new(1, -1, id(), seed),
        Lane::new(2, -1, None, seed),
        Lane::new(3, 1, id(), seed),
        Lane::new(4, 1, None, seed),
        Lane::new(5, -1, id(), seed),
    ];
    for round in 0..rounds {
        let addr = broker.addr();
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let kill_after = u64::try_from(1 + random.below(400)).expect("a count");
        lanes = std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            scope.spawn(move || sender.send(load(lanes, addr, counted)));
            eventually("there are acknowledgements", || {
                count.load(Ordering::Relaxed) >= kill_after
            });
            broker.kill();
            receiver.recv().expect("the load ends with the broker")
        });
        broker.launch();
        for lane in &lanes {
            verify(&broker, lane, round);
        }
    }
    let batches: usize = lanes.iter().map(|lane| lane.acknowledged.len()).sum();
    println!("{batches} batches acknowledged over {rounds} kills");
    broker.stop();
    let records = dump::check(&broker.data(), TOPIC, 6);
    let acknowledged: usize = lanes
        .iter()
        .flat_map(|lane| &lane.acknowledged)
        .map(|(_, piece)| piece.values.len())
        .sum();
    assert!(records >= acknowledged, "{records} of {acknowledged}");
}

/// Reads the partition from its start and compares it with what the lane knows.
fn verify(broker: &Broker, lane: &Lane, round: u64) {
    let mut client = broker.client();
    let what = format!("partition {} after round {round}", lane.partition);
    assert_eq!(
        offset_of(&mut client, TOPIC, lane.partition, -2),
        0,
        "{what}"
    );
    let read = read_all(&mut client, TOPIC, lane.partition, 0);
    let mut numbers = Vec::new();
    for ((offset, value), expected) in read.iter().zip(0..) {
        assert_eq!(*offset, expected, "{what}: offsets are dense");
        let text = std::str::from_utf8(value).expect("the values are text");
        let mut words = text.split(' ');
        assert_eq!(
            words.next(),
            Some(lane.partition.to_string().as_str()),
            "{what}"
        );
        let number = words.next().and_then(|word| word.parse::<i32>().ok());
        numbers.push(number.expect("the values are numbered"));
    }
    for pair in numbers.windows(2) {
        assert!(pair[0] < pair[1], "{what}: {} before {}", pair[0], pair[1]);
    }
    if lane.producer.is_some() {
        let gapless = numbers
            .iter()
            .zip(0..)
            .all(|(&number, expected)| number == expected);
        assert!(gapless, "{what}: nothing is missing between what is there");
    }
    for (offset, piece) in &lane.acknowledged {
        let at = usize::try_from(*offset).expect("an offset");
        for (value, found) in piece.values.iter().zip(&read[at.min(read.len())..]) {
            assert!(
                found.1 == value.as_bytes(),
                "{what}: another record at {}",
                found.0
            );
        }
        let end = at + piece.values.len();
        assert!(
            end <= read.len(),
            "{what}: {end} was acknowledged, the log ends at {}",
            read.len()
        );
    }
}

#[test]
fn groups_and_topics_survive_a_kill_right_after_the_answer() {
    let rounds = number("CORELOG_CRASH_ROUNDS", 10).min(30);
    let mut broker = Broker::with(&[]);
    for round in 0..rounds {
        let mut client = broker.client();
        let topic = format!("killed-{round}");
        create(&mut client, &topic, 2, &[]);
        let group = format!("killed-{}", round % 3);
        crate::groups::await_coordinator(&mut client, &group);
        let offset = i64::try_from(round).expect("small") + 1;
        let commit = crate::offsets::Commit::of(&group, &topic, offset);
        assert_eq!(crate::offsets::commit(&mut client, &commit), "NONE");
        broker.kill();
        broker.launch();
        let mut client = broker.client();
        crate::topics::await_leaders(&mut client, &topic, 2);
        crate::groups::await_coordinator(&mut client, &group);
        let got = crate::offsets::committed(&mut client, &group, Some(&[(&topic, &[0])]));
        assert_eq!(got, format!("NONE {topic}-0={offset}"));
    }
}
