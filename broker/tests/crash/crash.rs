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
//! `cargo dev crash` runs 200 rounds against a release build. `CORELOG_CRASH_ROUNDS` (10) and `CORELOG_CRASH_SEED` make it longer and repeat it.

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

use crate::client::Client;
use crate::harness::{Broker, eventually};
use crate::idempotence::producer_id;
use crate::offsets::{Commit, try_commit};
use crate::random::{Random, number};
use crate::records::{Record, batch, now_ms};
use crate::table::error;
use crate::topics::{create, offset_of, producing, read_all};

mod dump;

const TOPIC: &str = "crash";
const GROUP: &str = "crash";

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
    /// Acknowledged and not looked at since.
    acknowledged: Vec<(i64, Piece)>,
    /// What was found there after the last restart: the log's end, its last number, records acknowledged in all.
    found: Found,
}

/// How much of a partition was compared.
#[derive(Clone, Copy, Default)]
struct Found {
    end: i64,
    last: Option<i32>,
    acknowledged: usize,
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
            found: Found::default(),
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

/// Commits offsets of a group, one after the other, until the broker goes. The last acknowledged, the last sent.
fn commit_for_ever(broker: SocketAddr, mut last: i64) -> (i64, i64) {
    let mut acknowledged = last;
    let Some(mut client) = Client::try_connect(broker) else {
        return (acknowledged, last);
    };
    loop {
        last += 1;
        let commit = Commit::of(GROUP, TOPIC, last);
        match try_commit(&mut client, &commit) {
            None => return (acknowledged, last),
            Some("NONE") => acknowledged = last,
            // It has just started, and reads its groups.
            Some(
                "COORDINATOR_LOAD_IN_PROGRESS" | "NOT_COORDINATOR" | "COORDINATOR_NOT_AVAILABLE",
            ) => {}
            Some(other) => panic!("a commit was answered {other}"),
        }
    }
}

/// What the group has committed.
fn committed_offset(broker: &Broker) -> i64 {
    let mut client = broker.client();
    crate::groups::await_coordinator(&mut client, GROUP);
    let text = crate::offsets::committed(&mut client, GROUP, Some(&[(TOPIC, &[0])]));
    let offset = text
        .rsplit_once('=')
        .and_then(|(_, offset)| offset.parse().ok());
    offset.unwrap_or_else(|| panic!("no offset in {text}"))
}

#[test]
fn what_is_acknowledged_survives_kills_in_order_and_once() {
    let rounds = number("CORELOG_CRASH_ROUNDS", 10);
    let seed = number("CORELOG_CRASH_SEED", 71_934);
    println!("CORELOG_CRASH_SEED={seed} CORELOG_CRASH_ROUNDS={rounds}");
    let mut random = Random::new(seed);
    let mut broker = Broker::with(&["log.flush.offset.checkpoint.interval.ms=500"]);
    let mut client = broker.client();
    let topic_id = create(&mut client, TOPIC, 6, &[("segment.bytes", "1048576")]);
    crate::groups::await_coordinator(&mut client, GROUP);
    let mut id = || Some(producer_id(&mut client).producer_id);
    let mut lanes = vec![
        Lane::new(0, -1, id(), seed),
        Lane::new(1, -1, id(), seed),
        Lane::new(2, -1, None, seed),
        Lane::new(3, 1, id(), seed),
        Lane::new(4, 1, None, seed),
        Lane::new(5, -1, id(), seed),
    ];
    let mut committed = (0, 0);
    for round in 0..rounds {
        let addr = broker.addr();
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let kill_after = u64::try_from(1 + random.below(400)).expect("a count");
        (lanes, committed) = std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            scope.spawn(move || sender.send(load(lanes, addr, counted)));
            let commits = scope.spawn(move || commit_for_ever(addr, committed.1));
            eventually("there are acknowledgements", || {
                count.load(Ordering::Relaxed) >= kill_after
            });
            broker.kill();
            let lanes = receiver.recv().expect("the load ends with the broker");
            (lanes, commits.join().expect("commits are answered"))
        });
        broker.launch();
        let mut batches = 0;
        for lane in &mut lanes {
            batches += lane.acknowledged.len();
            verify(&broker, lane, round);
        }
        let offset = committed_offset(&broker);
        assert!(
            (committed.0..=committed.1).contains(&offset),
            "round {round}: the group is at {offset}, {} was acknowledged, {} sent",
            committed.0,
            committed.1
        );
        committed.1 = offset;
        let topic = crate::topics::describe(&mut broker.client(), TOPIC);
        assert_eq!(
            (topic.topic_id, topic.partitions.len()),
            (topic_id, 6),
            "round {round}"
        );
        println!(
            "round {round}: {batches} batches acknowledged, ends {:?}, group at {offset}",
            lanes.iter().map(|lane| lane.found.end).collect::<Vec<_>>()
        );
    }
    let acknowledged: usize = lanes.iter().map(|lane| lane.found.acknowledged).sum();
    println!("{acknowledged} records acknowledged over {rounds} kills, all there");
    for lane in &mut lanes {
        // Once more from the start, the whole partition.
        lane.found = Found::default();
        verify(&broker, lane, rounds);
    }
    broker.stop();
    let records = dump::check(&broker.data(), TOPIC, 6);
    assert!(records >= acknowledged, "{records} of {acknowledged}");
}

/// Reads what the partition has beyond what was compared before, and compares it with what the lane knows.
fn verify(broker: &Broker, lane: &mut Lane, round: u64) {
    let mut client = broker.client();
    let what = format!("partition {} after round {round}", lane.partition);
    assert_eq!(
        offset_of(&mut client, TOPIC, lane.partition, -2),
        0,
        "{what}"
    );
    let first = lane.found.end;
    let end = offset_of(&mut client, TOPIC, lane.partition, -1);
    assert!(end >= first, "{what}: it ended at {first}, now at {end}");
    let read = read_all(&mut client, TOPIC, lane.partition, first);
    let mut numbers: Vec<i32> = lane.found.last.into_iter().collect();
    for ((offset, value), expected) in read.iter().zip(first..) {
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
        assert!(
            lane.producer.is_none() || pair[0] + 1 == pair[1],
            "{what}: nothing is missing between {} and {}",
            pair[0],
            pair[1]
        );
    }
    for (offset, piece) in lane.acknowledged.drain(..) {
        lane.found.acknowledged += piece.values.len();
        if offset < first {
            // It was written before the kill, seen after it, and answered now, sent again: one number for each offset.
            assert!(lane.producer.is_some(), "{what}: {offset} again");
            assert_eq!(offset, i64::from(piece.first), "{what}: answered again");
            continue;
        }
        let at = usize::try_from(offset - first).expect("not below");
        let last = at + piece.values.len();
        assert!(
            last <= read.len(),
            "{what}: {offset} was acknowledged, the log ends at {end}"
        );
        for (value, found) in piece.values.iter().zip(&read[at..]) {
            assert!(
                found.1 == value.as_bytes(),
                "{what}: another record at {}",
                found.0
            );
        }
    }
    lane.found.end = first + i64::try_from(read.len()).expect("a count");
    lane.found.last = numbers.last().copied();
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
        let commit = Commit::of(&group, &topic, offset);
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
