//! The admin port tells what the broker does, in the words that operators' dashboards know.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::Client;
use crate::exposition::{Page, named_in};
use crate::groups::await_coordinator;
use crate::harness::{Broker, PATIENCE, eventually, free_address};
use crate::offsets::{Commit, commit};
use crate::records::{bad_crc, values};
use crate::topics::{create, delete, fetching, only_records, produce, producing};
use crate::transactions::Producer;

pub(crate) const ON_ANY_PORT: &str = "corelog.admin.listener=127.0.0.1:0";

/// A connection to the admin port.
struct Http(BufReader<TcpStream>);

/// A status code and a body.
type Answer = (u16, String);

impl Http {
    fn connect(addr: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    /// Sends text and reads one response; `body` says whether one follows the head.
    fn say(&mut self, text: &str, body: bool) -> Option<Answer> {
        self.0.get_mut().write_all(text.as_bytes()).ok()?;
        let mut line = String::new();
        self.0.read_line(&mut line).ok()?;
        let code = line.split(' ').nth(1)?.parse().ok()?;
        let mut size = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line).ok()?;
            if line == "\r\n" {
                break;
            }
            if let Some(length) = line.strip_prefix("Content-Length: ") {
                size = length.trim().parse().ok()?;
            }
        }
        let mut bytes = vec![0; if body { size } else { 0 }];
        self.0.read_exact(&mut bytes).ok()?;
        Some((code, String::from_utf8(bytes).ok()?))
    }

    fn get(&mut self, path: &str) -> Option<Answer> {
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"), true)
    }

    /// Whether the broker has closed.
    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}

/// Where the broker says that its admin port is, at its last start.
fn admin(broker: &Broker) -> SocketAddr {
    let log = broker.log();
    let line = log.lines().rfind(|line| line.contains("admin address="));
    let address = line.and_then(|line| line.split("admin address=").nth(1));
    let address = address.expect("the log names the admin port");
    address.trim().parse().expect("an address")
}

#[track_caller]
fn get(broker: &Broker, path: &str) -> Answer {
    let mut http = Http::connect(admin(broker)).expect("the admin port is open");
    http.get(path).expect("an answer")
}

#[track_caller]
pub(crate) fn scrape(broker: &Broker) -> Page {
    let (code, text) = get(broker, "/metrics");
    assert_eq!(code, 200, "{text}");
    Page::parse(&text).unwrap_or_else(|why| panic!("{why}"))
}

/// Counts are whole numbers.
#[track_caller]
fn expect(page: &Page, name: &str, labels: &[(&str, &str)], count: usize) {
    let wanted = f64::from(u32::try_from(count).expect("a small number"));
    let got = page.value(name, labels);
    assert!(
        (got - wanted).abs() < 1e-9,
        "{name} {labels:?}: {got}, not {wanted}"
    );
}

#[test]
fn what_was_produced_and_fetched_is_counted() {
    let broker = Broker::with(&[ON_ANY_PORT]);
    let mut client = broker.client();
    create(&mut client, "counted", 2, &[]);
    create(&mut client, "counted-gone", 1, &[]);
    let batches = [
        values(&["a", "b"]),
        values(&["c"]),
        values(&["d", "e", "f"]),
    ];
    let size: usize = batches.iter().map(Vec::len).sum();
    for batch in &batches {
        produce(&mut client, "counted", 1, batch.clone());
    }
    produce(&mut client, "counted-gone", 0, values(&["gone"]));
    let fetched = client.call(12, &fetching("counted", 1, 0));
    assert_eq!(only_records(&fetched).len(), size);
    let refused = client.call(9, &producing("counted", 0, bad_crc()));
    assert_ne!(refused.responses[0].partition_responses[0].error_code, 0);

    let page = scrape(&broker);
    let topic = [("topic", "counted")];
    let of = |name: &str| format!("kafka_server_brokertopicmetrics_{name}_total");
    expect(&page, &of("bytesin"), &topic, size);
    expect(&page, &of("messagesin"), &topic, 6);
    expect(&page, &of("bytesout"), &topic, size);
    expect(&page, &of("totalproducerequests"), &topic, 3);
    expect(&page, &of("totalfetchrequests"), &topic, 1);
    expect(&page, &of("failedproducerequests"), &[], 1);
    expect(&page, &of("invalidmessagecrcrecords"), &[], 1);
    expect(&page, &of("messagesin"), &[], 7);
    let in_partition = [("topic", "counted"), ("partition", "1")];
    expect(&page, "kafka_log_log_logendoffset", &in_partition, 6);
    expect(&page, "kafka_log_log_logstartoffset", &in_partition, 0);
    expect(&page, "kafka_log_log_numlogsegments", &in_partition, 1);
    expect(&page, "kafka_log_log_size", &in_partition, size);
    expect(
        &page,
        "kafka_network_requestmetrics_requests_total",
        &[("request", "Produce"), ("version", "9")],
        5,
    );
    for request in ["Fetch", "FetchConsumer"] {
        let of = [("request", request)];
        expect(
            &page,
            "kafka_network_requestmetrics_totaltimems_count",
            &of,
            1,
        );
        let quantile = [("request", request), ("quantile", "0.999")];
        let slowest = page.value("kafka_network_requestmetrics_totaltimems", &quantile);
        let sum = page.value("kafka_network_requestmetrics_totaltimems_sum", &of);
        assert!(
            (slowest - sum).abs() <= sum / 16.0 + 0.001,
            "{slowest} {sum}"
        );
    }
    expect(
        &page,
        "kafka_controller_kafkacontroller_globaltopiccount",
        &[],
        2,
    );
    expect(&page, "kafka_server_replicamanager_partitioncount", &[], 3);
    expect(&page, "kafka_server_replicamanager_leadercount", &[], 3);
    expect(
        &page,
        "kafka_server_replicamanager_offlinereplicacount",
        &[],
        0,
    );
    expect(&page, "kafka_server_kafkaserver_brokerstate", &[], 3);
    expect(&page, "corelog_ready", &[], 1);
    assert!(page.sum("kafka_server_socket_server_metrics_connection_count") >= 1.0);
    let tail = page.value("corelog_fetch_read_bytes_total", &[("source", "tail")]);
    let warm = page.value("corelog_fetch_read_bytes_total", &[("source", "warm")]);
    assert!(tail + warm >= page.value(&of("bytesout"), &topic));
    assert!(
        page.sum("corelog_log_sync_seconds_count") >= 4.0,
        "acks=all waits for syncs"
    );
    let path = broker.data().display().to_string();
    let usable = [("log_dir", path.as_str()), ("state", "usable")];
    expect(&page, "corelog_log_directory_state", &usable, 1);
    for (labels, load) in page.all("corelog_shard_busy_ratio") {
        assert!((0.0..=1.0).contains(&load), "{labels:?} {load}");
    }
    assert!(page.value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(page.value("process_open_fds", &[]) > 3.0);
    assert!(page.value("process_cpu_seconds_total", &[]) > 0.0);

    // What the rules and the dashboard ask for is there.
    for text in [
        include_str!("../../../deploy/prometheus/corelog-alerts.yml"),
        include_str!("../../../deploy/grafana/corelog.json"),
    ] {
        for name in named_in(text) {
            assert!(page.families.contains_key(&name), "{name} is not printed");
        }
    }

    // A topic that goes takes its series with it, and nothing from the sums.
    delete(&mut client, "counted-gone");
    let page = scrape(&broker);
    assert_eq!(
        page.find(&of("bytesin"), &[("topic", "counted-gone")]),
        None
    );
    expect(&page, &of("messagesin"), &[], 7);
}

#[test]
fn the_lag_of_groups_is_told_also_against_open_transactions() {
    let broker = Broker::with(&[ON_ANY_PORT]);
    let mut client = broker.client();
    create(&mut client, "lagging", 1, &[]);
    produce(&mut client, "lagging", 0, values(&["a", "b", "c"]));
    let mut producer = Producer::begin(&mut client, "lagging-id", 60_000);
    producer.write(&mut client, ("lagging", 0), &["d", "e"]);
    await_coordinator(&mut client, "lagging-group");
    let committed = commit(&mut client, &Commit::of("lagging-group", "lagging", 1));
    assert_eq!(committed, "NONE");
    let page = scrape(&broker);
    let labels = [
        ("consumergroup", "lagging-group"),
        ("topic", "lagging"),
        ("partition", "0"),
    ];
    expect(&page, "kafka_consumergroup_current_offset", &labels, 1);
    expect(&page, "kafka_consumergroup_lag", &labels, 4);
    expect(&page, "corelog_consumergroup_lag_stable", &labels, 2);
    let group = [("consumergroup", "lagging-group")];
    expect(&page, "kafka_consumergroup_lag_sum", &group, 4);
    expect(&page, "corelog_transactions", &[("state", "Ongoing")], 1);
    expect(
        &page,
        "corelog_groups",
        &[("type", "classic"), ("state", "Empty")],
        1,
    );
    expect(
        &page,
        "kafka_coordinator_group_groupmetadatamanager_numgroups",
        &[],
        1,
    );
    producer.end(&mut client, true);
    eventually("the transaction's end reaches the partition", || {
        let page = scrape(&broker);
        let lag = |name| page.value(name, &labels);
        let both = (
            lag("kafka_consumergroup_lag"),
            lag("corelog_consumergroup_lag_stable"),
        );
        // Its marker is a record too.
        both.0 > 4.5 && (both.0 - both.1).abs() < 1e-9
    });
}

#[test]
fn what_stands_one_by_one_is_bounded() {
    let broker = Broker::with(&[
        ON_ANY_PORT,
        "corelog.metrics.topics.max=1",
        "corelog.metrics.partitions.max=3",
    ]);
    let mut client = broker.client();
    for topic in ["bounded-a", "bounded-b"] {
        create(&mut client, topic, 3, &[]);
        produce(&mut client, topic, 0, values(&["v0"]));
    }
    let page = scrape(&broker);
    let named = |name: &str| -> Vec<String> {
        let all = page.all(name);
        let topics = all.iter().filter_map(|(labels, _)| labels.get("topic"));
        topics.cloned().collect()
    };
    assert_eq!(named("kafka_log_log_size"), ["bounded-a"; 3]);
    assert_eq!(
        named("kafka_server_brokertopicmetrics_bytesin_total"),
        ["bounded-a"]
    );
    expect(&page, "corelog_metrics_topics_left_out", &[], 1);
    expect(&page, "corelog_metrics_partitions_left_out", &[], 3);
    expect(
        &page,
        "kafka_server_brokertopicmetrics_messagesin_total",
        &[],
        2,
    );
    expect(&page, "kafka_server_replicamanager_partitioncount", &[], 6);
}

#[test]
fn the_admin_port_speaks_http() {
    let mut broker = Broker::with(&[ON_ANY_PORT]);
    let mut http = Http::connect(admin(&broker)).expect("the admin port is open");
    // One connection, one question after the other.
    assert_eq!(http.get("/healthz"), Some((200, "alive\n".to_owned())));
    // Clients are served a moment before it says so.
    eventually("it says that it is ready", || {
        http.get("/readyz") == Some((200, "ready\n".to_owned()))
    });
    let (code, json) = http.get("/status.json?pretty").expect("an answer");
    assert_eq!(code, 200);
    let status: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(status["phase"], "serving");
    assert_eq!(status["shards"].as_array().map(Vec::len), Some(2));
    assert_eq!(status["log_dirs"][0]["state"], "usable");
    assert_eq!(http.get("/nothing").expect("an answer").0, 404);
    let head = http.say("HEAD /metrics HTTP/1.1\r\n\r\n", false);
    assert_eq!(head, Some((200, String::new())));
    assert_eq!(http.get("/").expect("an answer").0, 200);
    for (request, code) in [
        ("POST /metrics HTTP/1.1\r\n\r\n".to_owned(), 405),
        (
            "GET /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
            413,
        ),
        ("\u{16}\u{3}\u{1} nonsense\r\n\r\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(9_000)), 431),
    ] {
        let mut http = Http::connect(admin(&broker)).expect("the admin port is open");
        assert_eq!(
            http.say(&request, true).expect("an answer").0,
            code,
            "{request}"
        );
        assert!(http.is_closed(), "{request}");
    }
    // Silent connections are not many, and others are served when they go.
    let silent: Vec<_> = (0..40).map(|_| Http::connect(admin(&broker))).collect();
    assert!(silent.iter().any(Option::is_some));
    drop(silent);
    eventually("the port serves again", || {
        Http::connect(admin(&broker))
            .and_then(|mut http| http.get("/healthz"))
            .is_some()
    });
    assert!(broker.exited().is_none());
}

#[test]
fn readiness_follows_the_start_and_the_stop() {
    let admin = free_address();
    let mut broker = Broker::with(&[&format!("corelog.admin.listener={admin}")]);
    let mut client = broker.client();
    create(&mut client, "ready", 24, &[]);
    for partition in 0..24 {
        let big = "x".repeat(64 << 10);
        produce(&mut client, "ready", partition, values(&[&big]));
    }
    broker.kill();
    let listener = broker.addr();
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut seen = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let answer = Http::connect(admin).and_then(|mut http| http.get("/readyz"));
                if let Some((200, _)) = &answer {
                    assert!(Client::try_connect(listener).is_some(), "ready, but closed");
                }
                seen.extend(answer.filter(|answer| seen.last() != Some(answer)));
                std::thread::park_timeout(Duration::from_millis(1));
            }
            seen
        });
        broker.launch();
        done.store(true, Ordering::Relaxed);
        watching.join().expect("the watcher is content")
    });
    for (code, text) in &seen {
        match code {
            200 => assert_eq!(text, "ready\n"),
            503 => assert!(
                text.starts_with("not ready: starting")
                    || text.starts_with("not ready: recovering: logs="),
                "{text}"
            ),
            code => panic!("{code} {text}"),
        }
    }
    println!("seen: {seen:?}");
    let page = Http::connect(admin).and_then(|mut http| http.get("/metrics"));
    let page = Page::parse(&page.expect("an answer").1).expect("well formed");
    expect(&page, "corelog_recovery_logs_done", &[], 24);
    assert!(page.value("corelog_recovery_bytes_checked", &[]) > 24.0 * 65_536.0);
    assert!(page.value("corelog_start_seconds", &[]) > 0.0);
}

#[test]
fn a_recovery_that_takes_long_is_alive_and_not_ready() {
    let admin = free_address();
    let mut broker = Broker::with(&[&format!("corelog.admin.listener={admin}")]);
    let mut client = broker.client();
    create(&mut client, "slow", 1, &[]);
    produce(&mut client, "slow", 0, values(&["a"]));
    broker.kill();
    // A pipe in the place of a file: who opens it waits until somebody writes, as for a disk that does not answer.
    let file = broker.data().join("slow-0/leader-epoch-checkpoint");
    std::fs::remove_file(&file).expect("it was there");
    let (kind, mode) = (
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    );
    rustix::fs::mknodat(rustix::fs::CWD, &file, kind, mode, 0).expect("a pipe can be made");
    broker.begin();
    let get = |path: &str| Http::connect(admin).and_then(|mut http| http.get(path));
    eventually("the recovery waits", || {
        get("/readyz").is_some_and(|(code, text)| {
            assert_eq!(code, 503, "{text}");
            text.starts_with("not ready: recovering: logs=0 of 1,")
        })
    });
    assert_eq!(get("/healthz"), Some((200, "alive\n".to_owned())));
    let (code, page) = get("/metrics").expect("an answer");
    let page = Page::parse(&page).expect("well formed");
    expect(&page, "corelog_ready", &[], 0);
    expect(&page, "kafka_server_kafkaserver_brokerstate", &[], 2);
    assert_eq!(code, 200);
    // Who waits goes on as soon as somebody opens the other end. It asks for the size, reads the nothing that a pipe's is,
    // and makes the file anew; it may be gone before anything could be written.
    let other_end = std::fs::OpenOptions::new().write(true).open(&file);
    drop(other_end.expect("the pipe can be opened"));
    eventually("clients are served", || {
        get("/readyz") == Some((200, "ready\n".to_owned()))
    });
}

#[test]
fn an_admin_address_that_is_taken_is_said_at_the_start() {
    let mut broker = Broker::with(&[]);
    assert!(!broker.log().contains("admin address="), "none is wanted");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    broker.stop();
    broker.set(&format!("corelog.admin.listener={address}"));
    let said = broker.refused();
    let sentence = format!("corelog.admin.listener cannot bind {address}");
    assert!(said.contains(&sentence), "{said}");
}
