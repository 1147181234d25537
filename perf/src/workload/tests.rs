use std::time::Duration;

use super::{WarmUp, parse};

const WHOLE: &str = r#"
bootstrap-server = "127.0.0.1:9092"
seconds = 30
warm-up-seconds = "steady"
threads = 2
verify = true

[[topics]]
name = "orders"
partitions = 6
configs = { "retention.ms" = 600000, "cleanup.policy" = "delete" }

[[producers]]
topic = "orders"
clients = 10
rate = 1000
arrivals = "poisson"
record-size = [{ bytes = 100, weight = 9 }, { bytes = 10000, weight = 1 }]
keys = 1000
churn-seconds = 10
properties = { acks = "all", "linger.ms" = 5, "compression.type" = "lz4" }

[[consumers]]
topics = ["orders"]
clients = 3
group = "readers"
properties = { "fetch.min.bytes" = 1 }

[[connections]]
count = 5000
request-every-seconds = 60
"#;

fn refusal(text: &str) -> String {
    match parse(text, "w.toml").and_then(|draft| draft.check(Some("127.0.0.1:9092"))) {
        Err(error) => error,
        Ok(workload) => panic!("accepted: {workload:?}"),
    }
}

#[test]
fn the_example_is_understood() {
    let workload = parse(WHOLE, "w.toml").unwrap().check(None).unwrap();
    assert_eq!(workload.client.bootstrap, ["127.0.0.1:9092"]);
    assert_eq!(workload.seconds, Duration::from_secs(30));
    assert_eq!(workload.warm_up, WarmUp::UntilSteady);
    assert_eq!(workload.topics[0].configs["retention.ms"], "600000");
    let producers = &workload.producers[0];
    assert_eq!((producers.clients, producers.rate), (10, Some(1000.0)));
    assert_eq!(producers.producer.linger, Duration::from_millis(5));
    assert!(producers.stamped);
    assert!((producers.sizes.mean() - 1090.0).abs() < 1e-9);
    assert_eq!(
        (producers.sizes.pick(8), producers.sizes.pick(9)),
        (100, 10_000)
    );
    assert_eq!(workload.consumers[0].group.as_deref(), Some("readers"));
    assert_eq!(workload.connections[0].count, 5000);
}

#[test]
fn the_command_line_goes_before_the_file() {
    let workload = parse(WHOLE, "w.toml")
        .unwrap()
        .check(Some("[::1]:9"))
        .unwrap();
    assert_eq!(workload.client.bootstrap, ["[::1]:9"]);
}

#[test]
fn a_fault_says_where_it_is_and_what_to_do() {
    let error = refusal("[[producers]]\ntopic = \"t\"\nrecordsize = 5\n");
    assert!(
        error.contains("w.toml") && error.contains("line 3") && error.contains("recordsize"),
        "{error}"
    );
    assert!(
        error.contains("record-size"),
        "the names there are: {error}"
    );
    let error = refusal("seconds = \"long\"\n[[connections]]\ncount = 1\n");
    assert!(error.contains("line 1"), "{error}");
    let error = refusal("[[producers]]\ntopic = \"t\"\n[[producers]]\ntopic = \"t\"\nrate = 0\n");
    assert!(
        error.starts_with("[[producers]] number 2: rate = 0"),
        "{error}"
    );
    let error = refusal(
        "[[producers]]\ntopic = \"t\"\nproperties = { \"compression.type\" = \"brotli\" }\n",
    );
    assert!(error.contains("none, gzip, snappy, lz4, zstd"), "{error}");
    let error = refusal("[[producers]]\ntopic = \"t\"\nproperties = { linger.ms = 5 }\n");
    assert!(error.contains("in quotes"), "{error}");
    let error = refusal("verify = true\n[[producers]]\ntopic = \"t\"\nrecord-size = 10\n");
    assert!(error.contains("at least 28"), "{error}");
    let error = refusal("[[producers]]\ntopic = \"t\"\nrecord-size = 2000000\n");
    assert!(error.contains("max.request.size"), "{error}");
    assert!(refusal("seconds = 3\n").contains("nobody does anything"));
    assert!(
        refusal("warm-up-seconds = \"soon\"\n[[connections]]\ncount = 1\n").contains("\"steady\"")
    );
    assert!(refusal("[[producers]]\ntopic = \"t\"\nrecord-size = []\n").contains("record-size"));
}

#[test]
fn without_an_address_there_is_no_run() {
    let draft = parse("[[connections]]\ncount = 1\n", "w.toml").unwrap();
    assert!(
        draft
            .check(None)
            .unwrap_err()
            .contains("--bootstrap-server")
    );
    assert!(
        draft
            .check(Some("here"))
            .unwrap_err()
            .contains("host1:9091")
    );
}
