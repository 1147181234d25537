//! What a request costs the broker, counted: allocations, turns of the loop's driver, reads and writes of files. The bounds are
//! today's figures; they may only go down.
//!
//! **Owns** the test binary's allocator, which is why this is a binary of its own.
//! **Lives on** the test's thread, whose own allocations do not count, with a broker on other threads of the same process.
//! **Invariants** 1. Counting never allocates. 2. One test, so that nothing else runs in the process while it counts.
//! **Not here**: how long a request takes (`perf/compare`), the codec alone (`net/tests/it/allocations.rs`).
#![expect(
    clippy::disallowed_methods,
    reason = "tests drive the broker from outside, where there is no runtime and no simulated disk"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelog_broker::boot;
use corelog_broker::config::BrokerConfig;
use corelog_net::wire::header::{RequestHeader, ResponseHeader};
use corelog_net::wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use corelog_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use corelog_net::wire::messages::metadata::MetadataRequest;
use corelog_net::wire::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use corelog_net::wire::{Budget, Decoder, Encoder, Message, Request, Uuid};
use corelog_storage::batch::{BatchBuilder, BatchOptions};
use corelog_storage::types::Timestamp;

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread is the test's.
    static OUTSIDE: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system allocator unchanged; counting touches an atomic and a thread local that is
// constant-initialised and needs no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.realloc(place, layout, size) }
    }
}

fn count() {
    if !OUTSIDE.with(Cell::get) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

/// The most that a request of a kind may cost: the figures of the day they were counted, rounded up. Allocations and file
/// writes are the same every time; how often a loop looks at its sockets depends on how bytes come, so that has room.
struct Row {
    name: &'static str,
    allocations: f64,
    /// `io_uring_enter` or `epoll_wait`.
    enters: f64,
    /// `write`, `pwrite`, `pwritev` and the like, by `/proc/self/io`; sockets do not count there.
    writes: f64,
}

const fn row(name: &'static str, allocations: f64, enters: f64, writes: f64) -> Row {
    Row {
        name,
        allocations,
        enters,
        writes,
    }
}

const ONE_SHARD: &[Row] = &[
    row("produce 1 record, acks=0", 5.0, 1.5, 0.2),
    row("produce 1 record, acks=1", 9.0, 2.5, 1.2),
    row("produce 1 record, acks=all", 12.0, 4.0, 1.2),
    row("produce 1 MiB, acks=1", 19.0, 40.0, 2.2),
    row("produce 100 partitions, acks=1", 124.0, 3.0, 101.0),
    row("fetch 1 record, hot", 8.0, 2.5, 0.2),
    row("fetch 1 MiB, hot", 8.0, 8.0, 0.2),
    row("fetch 100 partitions, hot", 22.0, 2.5, 0.2),
    row("fetch nothing", 8.0, 2.5, 0.2),
];

const TWO_SHARDS: &[Row] = &[
    row("produce 1 record, acks=1, other shard", 13.0, 5.0, 3.2),
    row("fetch 1 record, hot, other shard", 33.0, 5.0, 2.2),
];

#[test]
fn a_request_costs_no_more_than_it_did() {
    OUTSIDE.with(|outside| outside.set(true));
    let mut found = String::new();
    let mut is_worse = false;
    let mut check = |rows: &[Row], name: &str, cost: Cost| {
        let row = rows
            .iter()
            .find(|row| row.name == name)
            .expect("every case has its row");
        let over = cost.allocations > row.allocations
            || cost.enters > row.enters
            || cost.writes > row.writes;
        is_worse |= over;
        let _ = writeln!(
            found,
            "{:<40} {:>7.2} allocations (bound {}), {:>5.2} enters (bound {}), {:>5.2} file writes (bound {}){}",
            name,
            cost.allocations,
            row.allocations,
            cost.enters,
            row.enters,
            cost.writes,
            row.writes,
            if over { "  OVER" } else { "" }
        );
    };
    let mut one = Broker::start(1);
    let rows = ONE_SHARD;
    one.create("small", 1);
    one.create("large", 1);
    one.create("many", 100);
    let small = [batch(1, 100)];
    let large = [batch(1000, 1000)];
    check(
        rows,
        "produce 1 record, acks=1",
        one.cost(&produce("small", 1, &small), Answer::One),
    );
    check(
        rows,
        "produce 1 record, acks=all",
        one.cost(&produce("small", -1, &small), Answer::One),
    );
    check(
        rows,
        "produce 1 MiB, acks=1",
        one.cost(&produce("large", 1, &large), Answer::One),
    );
    let hundred = vec![batch(1, 100); 100];
    check(
        rows,
        "produce 100 partitions, acks=1",
        one.cost(&produce("many", 1, &hundred), Answer::One),
    );
    let end = one.end("small");
    check(
        rows,
        "fetch 1 record, hot",
        one.cost(&fetch("small", &[end - 1]), Answer::One),
    );
    check(
        rows,
        "fetch nothing",
        one.cost(&fetch("small", &[end]), Answer::One),
    );
    let end = one.end("large");
    check(
        rows,
        "fetch 1 MiB, hot",
        one.cost(&fetch("large", &[end - 1000]), Answer::One),
    );
    let end = one.end("many");
    check(
        rows,
        "fetch 100 partitions, hot",
        one.cost(&fetch("many", &[end - 1; 100]), Answer::One),
    );
    check(
        rows,
        "produce 1 record, acks=0",
        one.cost(&produce("small", 0, &small), Answer::None),
    );

    let mut two = Broker::start(2);
    let rows = TWO_SHARDS;
    two.create("pair", 2);
    // One of the two is another shard's than the connection's.
    let costs = [0, 1].map(|partition| {
        let produced = two.cost(&produce_to("pair", 1, partition, &small), Answer::One);
        (
            produced,
            two.cost(&fetch_of("pair", partition, 0), Answer::One),
        )
    });
    let dearer = |a: Cost, b: Cost| if a.allocations > b.allocations { a } else { b };
    let [(produced, fetched), (other_produced, other_fetched)] = costs;
    check(
        rows,
        "produce 1 record, acks=1, other shard",
        dearer(produced, other_produced),
    );
    check(
        rows,
        "fetch 1 record, hot, other shard",
        dearer(fetched, other_fetched),
    );
    println!("{found}");
    assert!(!is_worse, "a request costs more than its bound:\n{found}");
}

/// What a request cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    allocations: f64,
    enters: f64,
    writes: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    One,
    /// acks=0 has none; what is under way shows when a request with an answer has its own.
    None,
}

/// A broker in this process. It ends with it.
struct Broker {
    stream: TcpStream,
    admin: SocketAddr,
    dir: PathBuf,
    buffer: Vec<u8>,
}

impl Broker {
    fn start(shards: usize) -> Self {
        let (listener, admin) = (free_address(), free_address());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("budget-{}-{shards}", std::process::id()));
        let overrides = [
            format!("listeners=PLAINTEXT://{listener}"),
            format!("log.dirs={}", dir.display()),
            format!("corelog.shards={shards}"),
            format!("corelog.admin.listener={admin}"),
            "offsets.topic.num.partitions=1".to_owned(),
        ];
        let config = BrokerConfig::load(None, &overrides)
            .expect("settings it knows")
            .config;
        std::thread::spawn(move || {
            if let Err(error) = boot::run(config) {
                eprintln!("the broker ended: {error:#}");
            }
        });
        let begun = Instant::now();
        let stream = loop {
            assert!(begun.elapsed() < PATIENCE, "the broker does not listen");
            // Nothing tells when the port opens but trying.
            match TcpStream::connect(listener) {
                Ok(stream) => break stream,
                Err(_) => std::thread::yield_now(),
            }
        };
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self {
            stream,
            admin,
            dir,
            buffer: vec![0; 4 << 20],
        }
    }

    /// The cost of one such request, on average over many.
    fn cost(&mut self, frame: &[u8], answer: Answer) -> Cost {
        // Pools and windows fill.
        self.send(frame, WARM_UP, answer);
        let before = (self.enters(), file_writes(), COUNT.load(Ordering::Relaxed));
        let idle = (self.enters(), file_writes(), COUNT.load(Ordering::Relaxed));
        self.send(frame, REQUESTS, answer);
        let allocations = COUNT.load(Ordering::Relaxed);
        let after = (self.enters(), file_writes(), allocations);
        // One scrape lies between; what it costs was seen just before.
        let per_request = |after: u64, idle: u64, before: u64| {
            let scrape = idle - before;
            let took = (after - idle).saturating_sub(scrape);
            f64::from(u32::try_from(took).expect("a count")) / f64::from(REQUESTS)
        };
        Cost {
            // Counted before the last scrape.
            allocations: per_request(after.2, idle.2, idle.2),
            enters: per_request(after.0, idle.0, before.0),
            writes: per_request(after.1, idle.1, before.1),
        }
    }

    fn send(&mut self, frame: &[u8], count: u32, answer: Answer) {
        for _ in 0..count {
            self.stream
                .write_all(frame)
                .expect("the broker takes requests");
            if answer == Answer::One {
                self.hear();
            }
        }
        if answer == Answer::None {
            let frame = encoded(1, &metadata());
            self.stream
                .write_all(&frame)
                .expect("the broker takes requests");
            self.hear();
        }
    }

    /// Takes a response; gives its size.
    fn hear(&mut self) -> usize {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).expect("a response");
        let size = usize::try_from(i32::from_be_bytes(size)).expect("a size");
        self.stream
            .read_exact(&mut self.buffer[..size])
            .expect("a whole response");
        size
    }

    fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let frame = encoded(version, request);
        self.stream
            .write_all(&frame)
            .expect("the broker takes requests");
        let size = self.hear();
        let frame = Bytes::copy_from_slice(&self.buffer[..size]);
        let mut budget = Budget::for_frame(frame.len());
        let mut decoder = Decoder::new(&frame, &mut budget);
        ResponseHeader::decode(&mut decoder, R::API_KEY, version).expect("a header");
        R::Response::decode(&mut decoder, version).expect("a response")
    }

    fn create(&mut self, name: &str, partitions: i32) {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.to_owned(),
                num_partitions: partitions,
                replication_factor: 1,
                ..CreatableTopic::default()
            }],
            timeout_ms: 20_000,
            ..CreateTopicsRequest::default()
        };
        let response = self.call(5, &request);
        assert_eq!(response.topics[0].error_code, 0, "{name}");
    }

    /// The high watermark of partition 0.
    fn end(&mut self, topic: &str) -> i64 {
        let response = self.call(11, &fetching(topic, &[(0, 0)]));
        let partition = &response.responses[0].partitions[0];
        assert_eq!(partition.error_code, 0, "{topic}");
        assert!(partition.high_watermark > 0, "{topic} has records");
        partition.high_watermark
    }

    /// Calls of the loops' drivers so far, of all shards, from the metrics page.
    fn enters(&self) -> u64 {
        let mut stream = TcpStream::connect(self.admin).expect("the admin port listens");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("the admin port takes requests");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("a page");
        let counts = page
            .lines()
            .filter(|line| line.starts_with("corelog_shard_loop_enters_total{"))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        let sum = counts.sum();
        assert!(sum > 0, "the page has the loops' counters:\n{page}");
        sum
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Its threads end with the process; names are enough to leave nothing behind.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Write calls of this process that reached files, from the kernel's accounting.
fn file_writes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("the kernel counts");
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("syscw: "))
        .expect("a count of write calls");
    line.parse().expect("a number")
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound")
}

fn encoded<R: Request>(version: i16, request: &R) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    let mut encoder = Encoder::new(&mut bytes);
    let header = RequestHeader {
        api_key: R::API_KEY,
        api_version: version,
        correlation_id: 7,
        client_id: Some("budget".to_owned()),
        unknown_tagged_fields: Vec::new(),
    };
    header.encode(&mut encoder).expect("a header");
    request.encode(&mut encoder, version).expect("a request");
    let size = i32::try_from(bytes.len() - 4).expect("a frame is small");
    bytes[..4].copy_from_slice(&size.to_be_bytes());
    bytes
}

fn metadata() -> MetadataRequest {
    MetadataRequest {
        topics: Some(Vec::new()),
        ..MetadataRequest::default()
    }
}

fn batch(count: usize, size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    let now = Timestamp(i64::try_from(now.as_millis()).expect("a date"));
    for _ in 0..count {
        builder
            .append(now, None, Some(&vec![b'x'; size]), &[])
            .expect("small records");
    }
    builder.finish().expect("there are records").to_bytes()
}

/// A batch for each partition from 0.
fn produce(topic: &str, acks: i16, batches: &[Bytes]) -> Vec<u8> {
    let numbered = (0..).zip(batches.iter().cloned()).collect::<Vec<_>>();
    produce_frame(topic, acks, &numbered)
}

fn produce_to(topic: &str, acks: i16, partition: i32, batches: &[Bytes]) -> Vec<u8> {
    let numbered: Vec<_> = batches
        .iter()
        .map(|batch| (partition, batch.clone()))
        .collect();
    produce_frame(topic, acks, &numbered)
}

fn produce_frame(topic: &str, acks: i16, batches: &[(i32, Bytes)]) -> Vec<u8> {
    let request = ProduceRequest {
        acks,
        timeout_ms: 5_000,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned(),
            partition_data: batches
                .iter()
                .map(|(index, records)| PartitionProduceData {
                    index: *index,
                    records: Some(records.clone()),
                    ..PartitionProduceData::default()
                })
                .collect(),
            topic_id: Uuid::ZERO,
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    encoded(9, &request)
}

/// Partitions from 0, at these offsets.
fn fetch(topic: &str, offsets: &[i64]) -> Vec<u8> {
    let all: Vec<(i32, i64)> = (0..).zip(offsets.iter().copied()).collect();
    encoded(11, &fetching(topic, &all))
}

fn fetch_of(topic: &str, partition: i32, offset: i64) -> Vec<u8> {
    encoded(11, &fetching(topic, &[(partition, offset)]))
}

fn fetching(topic: &str, partitions: &[(i32, i64)]) -> FetchRequest {
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes: 64 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.to_owned(),
            partitions: partitions
                .iter()
                .map(|(partition, offset)| FetchPartition {
                    partition: *partition,
                    fetch_offset: *offset,
                    partition_max_bytes: 1 << 20,
                    ..FetchPartition::default()
                })
                .collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
const WARM_UP: u32 = 300;
const REQUESTS: u32 = 1_000;
