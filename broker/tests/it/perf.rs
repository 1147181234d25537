//! The load generator against this broker: what it sends arrives, and its results say so.

use std::path::PathBuf;
use std::time::Duration;

use corelog_perf::{end_to_end, groups, mixed, producer, report};
use corelog_tools::cli::Out;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Broker, eventually};
use crate::topics::{create, end_offset};

/// Runs a subcommand; gives its exit code, output and errors.
fn run(
    command: impl FnOnce(&[String], &mut Out) -> u8,
    arguments: &[&str],
) -> (u8, String, String) {
    let (mut printer, out, err) = Out::kept();
    let arguments: Vec<String> = arguments.iter().map(|&one| one.to_owned()).collect();
    let code = command(&arguments, &mut printer);
    drop(printer);
    (code, out.text(), err.text())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("perf-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn from_end_to_end_every_record_is_timed_and_accounted_for() {
    let broker = Broker::start();
    let bootstrap = broker.bootstrap();
    let (code, out, err) = run(
        end_to_end::run,
        &[
            "--bootstrap-server",
            &bootstrap,
            "--topic",
            "e2e",
            "--partitions",
            "3",
            "--rate",
            "2000",
            "--producers",
            "2",
            "--consumers",
            "2",
            "--seconds",
            "2",
            "--warm-up-seconds",
            "1",
            "--verify",
            "--output",
            "json",
        ],
    );
    assert_eq!(code, 0, "{out}\n{err}");
    let result = json(&out);
    assert_eq!(result["command"], "end-to-end");
    let records = |side: &str| result[side]["records"].as_u64().expect("a count");
    // Two consumers get each record; windows end when they end.
    assert!((3_000..=5_000).contains(&records("produced")), "{out}");
    assert!(records("consumed") > records("produced"), "{out}");
    let verified = &result["verified"];
    assert_eq!(
        [
            &verified["lost"],
            &verified["duplicated"],
            &verified["reordered"]
        ],
        [0, 0, 0]
    );
    assert!(
        verified["good"].as_u64() > Some(records("consumed")),
        "{out}"
    );
    let latency = &result["consumed"]["latency_ms"];
    assert!(
        latency["p50"].as_f64() > Some(0.0) && latency["p50"].as_f64() <= latency["p99"].as_f64(),
        "{out}"
    );
    assert!(
        result["series"]
            .as_array()
            .is_some_and(|series| series.len() >= 3),
        "{out}"
    );
    assert!(err.contains("records/s"), "progress is shown: {err}");
}

#[test]
fn a_stall_of_the_broker_counts_for_every_record_that_was_due_meanwhile() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "stalled", 1, &[]);
    let bootstrap = broker.bootstrap();
    let load = std::thread::spawn(move || {
        let arguments = [
            "--bootstrap-server",
            &bootstrap,
            "--topic",
            "stalled",
            "--rate",
            "500",
            "--seconds",
            "4",
            "--warm-up-seconds",
            "0",
            "--output",
            "json",
        ];
        run(end_to_end::run, &arguments)
    });
    eventually("records come", || {
        end_offset(&mut client, "stalled", 0) > 250
    });
    let pid = Pid::from_raw(i32::try_from(broker.pid()).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::STOP).expect("the broker can be stopped");
    std::thread::sleep(Duration::from_millis(1_500));
    kill_process(pid, Signal::CONT).expect("the broker can go on");
    let (code, out, err) = load.join().expect("the load ends");
    assert_eq!(code, 0, "{out}\n{err}");
    let result = json(&out);
    for side in ["produced", "consumed"] {
        let latency = &result[side]["latency_ms"];
        let at = |key: &str| latency[key].as_f64().expect("a number");
        // Of four seconds' records those of one and a half waited, evenly from nothing to all of it: a tenth of all for
        // more than a second. Who counted from the sending would see a handful.
        assert!(at("max") >= 1_400.0, "{side}: {out}");
        assert!(at("p90") >= 700.0, "{side}: {out}");
    }
    let produced = result["produced"]["records"].as_u64();
    assert!(produced >= Some(1_500), "the rate was kept: {out}");
}

#[test]
fn a_mixed_workload_loses_nothing_while_its_clients_come_and_go() {
    let broker = Broker::start();
    let folder = Folder::new("mixed");
    let (workload, results) = (folder.file("w.toml"), folder.file("mixed.json"));
    std::fs::write(
        &workload,
        r#"
seconds = 3
warm-up-seconds = 1
threads = 2
verify = true
[[topics]]
name = "orders"
partitions = 4
[[topics]]
name = "clicks"
partitions = 2
configs = { "segment.bytes" = 1048576 }
[[producers]]
topic = "orders"
clients = 3
rate = 500
arrivals = "poisson"
record-size = [{ bytes = 50, weight = 3 }, { bytes = 5000, weight = 1 }]
keys = 100
churn-seconds = 1
properties = { "compression.type" = "lz4", "linger.ms" = 5 }
[[producers]]
topic = "clicks"
rate = 1000
record-size = 200
[[consumers]]
topics = ["orders", "clicks"]
clients = 2
churn-seconds = 1
[[consumers]]
topics = ["orders"]
clients = 2
group = "sharing"
properties = { "auto.offset.reset" = "earliest" }
[[connections]]
count = 20
request-every-seconds = 1
"#,
    )
    .expect("a file can be written");
    let pid = broker.pid().to_string();
    let (code, out, err) = run(
        mixed::run,
        &[
            "--bootstrap-server",
            &broker.bootstrap(),
            "--workload",
            &workload,
            "--broker-pid",
            &pid,
            "--json",
            &results,
        ],
    );
    assert_eq!(code, 0, "{out}\n{err}");
    assert!(
        out.contains("verified: ") && out.contains(" 0 lost, 0 duplicated, 0 out of order"),
        "{out}"
    );
    let result = json(&std::fs::read_to_string(&results).expect("the result is written"));
    assert!(result["pings"].as_u64() > Some(10), "{result}");
    assert!(
        result["verified"]["good"].as_u64() > Some(5_000),
        "{result}"
    );
    assert!(
        result["broker"]["microseconds_per_request"].as_f64() > Some(0.0),
        "{result}"
    );
    assert_eq!(result["settings"]["topics"][0]["name"], "orders");

    let charts = folder.file("report");
    let (code, out, err) = run(report::run, &[&results, "--dir", &charts]);
    assert_eq!(code, 0, "{err}");
    for name in [
        "report.md",
        "mixed-throughput.svg",
        "mixed-latency.svg",
        "percentiles.svg",
        "cpu-per-gb.svg",
    ] {
        assert!(out.contains(name), "{out}");
        assert!(folder.0.join("report").join(name).exists(), "{name}");
    }
}

#[test]
fn a_producer_says_what_it_cost_itself_and_the_broker() {
    let broker = Broker::start();
    let pid = broker.pid().to_string();
    let (code, out, err) = run(
        producer::run,
        &[
            "--bootstrap-server",
            &broker.bootstrap(),
            "--topic",
            "perf",
            "--num-records",
            "20000",
            "--record-size",
            "1000",
            "--throughput",
            "-1",
            "--broker-pid",
            &pid,
            "--output",
            "json",
        ],
    );
    assert_eq!(code, 0, "{err}");
    let result = json(&out);
    assert_eq!(result["records"], 20_000);
    assert!(result["produced"]["requests"].as_u64() > Some(10), "{out}");
    assert!(
        result["broker"]["resident_bytes"].as_u64() > Some(1 << 20),
        "{out}"
    );
    assert!(
        result["client"]["nanoseconds_per_record"].is_number(),
        "{out}"
    );
}

#[test]
fn a_broker_that_is_not_there_is_an_error_that_says_so() {
    let folder = Folder::new("nobody");
    let workload = folder.file("w.toml");
    std::fs::write(&workload, "[[connections]]\ncount = 1\n").expect("a file can be written");
    let arguments = [
        "--bootstrap-server",
        "127.0.0.1:9092",
        "--workload",
        &workload,
        "--broker-pid",
        "none",
    ];
    let (code, _, err) = run(mixed::run, &arguments);
    assert_eq!(code, 1);
    assert!(err.contains("--broker-pid none: no such process"), "{err}");
    let missing = folder.file("missing.toml");
    let (code, _, err) = run(
        mixed::run,
        &[
            "--bootstrap-server",
            "127.0.0.1:9092",
            "--workload",
            &missing,
        ],
    );
    assert_eq!(code, 1);
    assert!(
        err.contains("cannot read") && err.contains("missing.toml"),
        "{err}"
    );
}

#[test]
fn groups_of_both_protocols_join_and_send_heartbeats() {
    let broker = Broker::with(&[
        "group.consumer.min.heartbeat.interval.ms=50",
        "group.consumer.heartbeat.interval.ms=50",
        "group.consumer.assignment.interval.ms=0",
        "group.initial.rebalance.delay.ms=300",
    ]);
    for protocol in ["classic", "consumer"] {
        let bootstrap = broker.bootstrap();
        let arguments = [
            "--protocol",
            protocol,
            "--bootstrap-server",
            &bootstrap,
            "--groups",
            "6",
            "--members",
            "3",
            "--groups-per-connection",
            "2",
            "--interval-ms",
            "200",
            "--seconds",
            "1",
        ];
        let (code, out, err) = run(groups::run, &arguments);
        assert_eq!(code, 0, "{err}");
        let first = format!("6 {protocol} groups, 18 members, 9 connections");
        assert!(out.starts_with(&first), "{out}");
        assert!(out.contains("all join again: "), "{out}");
        let beats = out.lines().last().expect("a line about heartbeats");
        let count = beats.split(' ').next().and_then(|count| count.parse().ok());
        assert!(count.is_some_and(|count: u64| count >= 18), "{out}");
        assert!(
            beats.contains(", every 200 ms, ") && beats.contains(" a second, 0 refused"),
            "{out}"
        );
    }
}
