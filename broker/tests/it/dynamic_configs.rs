//! Settings of brokers, loggers and groups that change while the broker runs, each seen by what it does.

use std::fs;

use corelog_net::wire::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use corelog_net::wire::messages::describe_configs::DescribeConfigsResult;

use crate::client::Client;
use crate::configs::{BROKER, TOPIC, alter, describing};
use crate::consumer_groups::joining;
use crate::groups::await_coordinator;
use crate::harness::{Broker, eventually};
use crate::limits::served;
use crate::records::{batch, coded, now_ms, values};
use crate::table::{Table, error};
use crate::topics::{create, end_offset, offset_of, produce, producing};

const LOGGER: i8 = 8;
const GROUP: i8 = 32;

/// A resource with synonyms and documentation.
fn described(client: &mut Client, kind: i8, name: &str, key: &str) -> DescribeConfigsResult {
    let mut request = describing(kind, name, Some(&[key]));
    request.include_synonyms = true;
    request.include_documentation = true;
    client.call(4, &request).results.remove(0)
}

/// `value@source synonym=value@source …`; sources: 1 topic, 2 this broker, 3 all brokers, 4 file, 5 default, 8 group.
fn sources(client: &mut Client, kind: i8, name: &str, key: &str) -> String {
    let result = described(client, kind, name, key);
    assert_eq!(error(result.error_code), "NONE");
    let one = result.configs.first().expect("the setting is there");
    let value = one.value.as_deref().unwrap_or("null");
    let mut text = format!("{value}@{}", one.config_source);
    for synonym in &one.synonyms {
        let value = synonym.value.as_deref().unwrap_or("null");
        text = format!("{text} {}={value}@{}", synonym.name, synonym.source);
    }
    text
}

fn code_of(client: &mut Client, topic: &str, size: usize) -> &'static str {
    let records = values(&["x".repeat(size).as_str()]);
    let response = client.call(9, &producing(topic, 0, records));
    error(response.responses[0].partition_responses[0].error_code)
}

#[test]
fn a_topic_counts_more_than_this_broker_than_all_brokers_than_the_file() {
    let mut broker = Broker::with(&["message.max.bytes=4000"]);
    let mut client = broker.client();
    let topic = "layers";
    create(&mut client, topic, 1, &[]);
    assert_eq!(code_of(&mut client, topic, 3900), "NONE", "the file's 4000");
    let set = |client: &mut Client, kind, name: &str, key, value: &str| {
        assert_eq!(alter(client, kind, name, &[(key, 0, Some(value))]), "NONE");
    };
    // A change is in force everywhere when it is answered: nothing here waits.
    set(&mut client, BROKER, "", "message.max.bytes", "3000");
    assert_eq!(code_of(&mut client, topic, 3500), "MESSAGE_TOO_LARGE");
    assert_eq!(code_of(&mut client, topic, 2500), "NONE");
    set(&mut client, BROKER, "1", "message.max.bytes", "2000");
    assert_eq!(code_of(&mut client, topic, 2500), "MESSAGE_TOO_LARGE");
    assert_eq!(code_of(&mut client, topic, 1500), "NONE");
    set(&mut client, TOPIC, topic, "max.message.bytes", "5000");
    assert_eq!(code_of(&mut client, topic, 4500), "NONE");
    let chain = "message.max.bytes=2000@2 message.max.bytes=3000@3 message.max.bytes=4000@4 \
                 message.max.bytes=1048588@5";
    assert_eq!(
        sources(&mut client, TOPIC, topic, "max.message.bytes"),
        format!("5000@1 max.message.bytes=5000@1 {chain}")
    );
    assert_eq!(
        sources(&mut client, BROKER, "1", "message.max.bytes"),
        format!("2000@2 {chain}")
    );
    assert_eq!(
        sources(&mut client, BROKER, "", "message.max.bytes"),
        "3000@3 message.max.bytes=3000@3"
    );
    broker.restart();
    let mut client = broker.client();
    assert_eq!(code_of(&mut client, topic, 4500), "NONE", "it lasts");
    let back = |client: &mut Client, kind, name: &str, key| {
        assert_eq!(alter(client, kind, name, &[(key, 1, None)]), "NONE");
    };
    back(&mut client, TOPIC, topic, "max.message.bytes");
    assert_eq!(code_of(&mut client, topic, 2500), "MESSAGE_TOO_LARGE");
    back(&mut client, BROKER, "1", "message.max.bytes");
    assert_eq!(code_of(&mut client, topic, 2500), "NONE");
    back(&mut client, BROKER, "", "message.max.bytes");
    assert_eq!(
        code_of(&mut client, topic, 3900),
        "NONE",
        "the file's again"
    );
}

#[test]
fn retention_and_segments_of_all_topics_change_at_once() {
    let broker = Broker::with(&[
        "log.retention.check.interval.ms=20",
        "log.segment.delete.delay.ms=0",
    ]);
    let mut client = broker.client();
    create(&mut client, "kept", 1, &[]);
    let large = || values(&["x".repeat(600_000).as_str()]);
    for _ in 0..3 {
        produce(&mut client, "kept", 0, large());
    }
    let segments = || {
        let names = fs::read_dir(broker.data().join("kept-0")).expect("the partition's folder");
        let is_log = |name: &fs::DirEntry| name.file_name().to_string_lossy().ends_with(".log");
        names.flatten().filter(is_log).count()
    };
    assert_eq!(segments(), 1);
    let changes = [("log.segment.bytes", 0, Some("1048576"))];
    assert_eq!(alter(&mut client, BROKER, "", &changes), "NONE");
    for _ in 0..3 {
        produce(&mut client, "kept", 0, large());
    }
    eventually("segments are of the new size", || segments() >= 3);
    assert_eq!(offset_of(&mut client, "kept", 0, -2), 0);
    let changes = [("log.retention.bytes", 0, Some("700000"))];
    assert_eq!(alter(&mut client, BROKER, "1", &changes), "NONE");
    eventually("what is above the new size has gone", || {
        offset_of(&mut client, "kept", 0, -2) >= 3
    });
    assert_eq!(end_offset(&mut client, "kept", 0), 6);
}

#[test]
fn the_cleaner_goes_by_the_new_settings() {
    let broker = Broker::with(&[
        "log.cleaner.backoff.ms=20",
        "log.cleaner.min.cleanable.ratio=1.0",
        "log.segment.delete.delay.ms=0",
    ]);
    let mut client = broker.client();
    let configs = [
        ("cleanup.policy", "compact"),
        ("internal.segment.bytes", "20000"),
    ];
    create(&mut client, "dirty", 1, &configs);
    let value = "x".repeat(1000);
    let write = |client: &mut Client| {
        for _ in 0..50 {
            let record = [(now_ms(), Some("key"), value.as_str())];
            let records = batch(coded(corelog_storage::batch::Codec::None), &record);
            produce(client, "dirty", 0, records);
        }
    };
    write(&mut client);
    let bytes = || {
        let files = fs::read_dir(broker.data().join("dirty-0")).expect("the partition's folder");
        let logs = files
            .flatten()
            .filter(|file| file.file_name().to_string_lossy().ends_with(".log"));
        logs.filter_map(|file| file.metadata().ok())
            .map(|metadata| metadata.len())
            .sum::<u64>()
    };
    assert!(bytes() > 40_000, "nothing is dirty enough: {}", bytes());
    let changes = [("log.cleaner.min.cleanable.ratio", 0, Some("0.0"))];
    assert_eq!(alter(&mut client, BROKER, "", &changes), "NONE");
    eventually("the log has shrunk", || bytes() < 20_000);
    assert_eq!(end_offset(&mut client, "dirty", 0), 50);
}

#[test]
fn limits_of_connections_change_at_once() {
    let broker = Broker::start();
    let mut client = broker.client();
    assert!(client.is_ready());
    assert_eq!(served(&broker, 6), 6);
    let per_ip = |value| ("max.connections.per.ip", 0, Some(value));
    eventually("those before are gone", || served(&broker, 1) == 1);
    assert_eq!(alter(&mut client, BROKER, "", &[per_ip("4")]), "NONE");
    eventually("three beside this one are served", || {
        served(&broker, 6) == 3
    });
    let over = ("max.connections.per.ip.overrides", 0, Some("127.0.0.1:6"));
    assert_eq!(alter(&mut client, BROKER, "1", &[over]), "NONE");
    eventually("five beside this one are served", || {
        served(&broker, 9) == 5
    });
    let wrong = ("max.connections.per.ip.overrides", 0, Some("here"));
    assert_eq!(
        alter(&mut client, BROKER, "1", &[wrong]),
        "INVALID_REQUEST message=max.connections.per.ip.overrides must be a list of address:count"
    );
    let back = ("max.connections.per.ip.overrides", 1, None);
    assert_eq!(alter(&mut client, BROKER, "1", &[back]), "NONE");
    assert_eq!(
        alter(
            &mut client,
            BROKER,
            "",
            &[("max.connections.per.ip", 1, None)]
        ),
        "NONE"
    );
    eventually("nine are served", || served(&broker, 9) == 9);
}

#[test]
fn what_a_running_broker_cannot_change_is_refused() {
    let broker = Broker::start();
    let mut client = broker.client();
    let mut table = Table::new("IncrementalAlterConfigs of brokers");
    let mut row = |name: &str, key: &str, value: &str, expected: &str| {
        let got = alter(&mut client, BROKER, name, &[(key, 0, Some(value))]);
        table.row(&format!("'{name}' {key}={value}"), got, expected);
    };
    for (name, key) in [
        ("1", "log.dirs"),
        ("", "num.partitions"),
        ("1", "group.max.size"),
        ("", "corelog.shards"),
        ("", "advertised.listeners"),
    ] {
        let expected =
            format!("INVALID_REQUEST message=Cannot update these configs dynamically: [{key}]");
        row(name, key, "1", &expected);
    }
    row(
        "",
        "listeners",
        "PLAINTEXT://:1",
        "INVALID_REQUEST message=Cannot update these configs at default cluster level, broker id \
         must be specified: [listeners]",
    );
    row(
        "1",
        "listeners",
        "PLAINTEXT://:1",
        "INVALID_REQUEST message=listeners cannot be changed while this broker runs: write it into \
         its file of settings and start it again",
    );
    row(
        "1",
        "log.retention.ms",
        "x",
        "INVALID_REQUEST message=Invalid value x for configuration log.retention.ms: Not a number of type LONG",
    );
    table.finish();
    let result = described(&mut client, BROKER, "1", "log.dirs");
    assert!(result.configs[0].read_only);
    let result = described(&mut client, BROKER, "1", "log.retention.ms");
    let config = &result.configs[0];
    assert!(
        !config.read_only
            && config
                .documentation
                .as_ref()
                .is_some_and(|text| !text.is_empty())
    );
}

#[test]
fn passwords_leave_by_no_answer() {
    let broker = Broker::with(&["ssl.key.password=of-the-file"]);
    let mut client = broker.client();
    let of_listener = "listener.name.plaintext.ssl.truststore.password";
    let changes = [
        (of_listener, 0, Some("of-a-change")),
        ("own.setting", 0, Some("of-a-change")),
    ];
    assert_eq!(alter(&mut client, BROKER, "1", &changes), "NONE");
    let mut request = describing(BROKER, "1", None);
    request.include_synonyms = true;
    let answer = format!("{:?}", client.call(4, &request));
    assert!(answer.contains(of_listener) && answer.contains("own.setting"));
    assert!(!answer.contains("of-the-file") && !answer.contains("of-a-change"));
    for key in ["ssl.key.password", of_listener, "own.setting"] {
        let result = described(&mut client, BROKER, "1", key);
        assert!(result.configs[0].is_sensitive, "{key}");
    }
}

#[test]
fn levels_of_loggers_change_at_once_and_end_with_the_broker() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let level = |client: &mut Client, logger: &str| {
        let result = described(client, LOGGER, "1", logger);
        let one = result.configs.first().expect("the logger is there");
        assert_eq!((one.config_source, one.read_only), (6, false));
        one.value.clone().unwrap_or_default()
    };
    assert_eq!(level(&mut client, "root"), "INFO");
    let quiet = [("corelog_broker::loggers", 0, Some("WARN"))];
    assert_eq!(alter(&mut client, LOGGER, "1", &quiet), "NONE");
    let unheard = [("corelog_net", 0, Some("DEBUG"))];
    assert_eq!(alter(&mut client, LOGGER, "1", &unheard), "NONE");
    let heard = [("corelog_broker::loggers", 1, None)];
    assert_eq!(alter(&mut client, LOGGER, "1", &heard), "NONE");
    let told = [("corelog_runtime", 0, Some("TRACE"))];
    assert_eq!(alter(&mut client, LOGGER, "1", &told), "NONE");
    eventually("the change is told", || {
        broker.log().contains("logger=corelog_runtime level=TRACE")
    });
    assert!(!broker.log().contains("logger=corelog_net"), "it was quiet");
    assert_eq!(level(&mut client, "corelog_net::server"), "DEBUG");
    assert_eq!(
        alter(&mut client, LOGGER, "1", &[("nowhere", 0, Some("INFO"))]),
        "INVALID_CONFIG message=Logger nowhere does not exist!"
    );
    assert_eq!(
        alter(&mut client, LOGGER, "", &[("root", 0, Some("INFO"))]),
        "INVALID_REQUEST message=Node id must be an integer, but it is: "
    );
    broker.restart();
    let mut client = broker.client();
    assert_eq!(level(&mut client, "corelog_net"), "INFO");
}

#[test]
fn a_groups_own_settings_act_on_its_members() {
    let broker = Broker::with(&[
        "group.consumer.min.session.timeout.ms=500",
        "group.consumer.min.heartbeat.interval.ms=100",
        "group.consumer.assignment.interval.ms=0",
    ]);
    let mut client = broker.client();
    create(&mut client, "grouped", 1, &[]);
    await_coordinator(&mut client, "own");
    let beat = |client: &mut Client, group: &str, request: ConsumerGroupHeartbeatRequest| {
        let response = client.call(1, &request);
        assert_eq!(error(response.error_code), "NONE", "{group}");
        (response.heartbeat_interval_ms, response.member_epoch)
    };
    let join = |group| joining(group, "AAAAAAAAAAAAAAAAAAAAAA", &["grouped"]);
    assert_eq!(beat(&mut client, "own", join("own")).0, 5000);
    let changes = [
        ("consumer.session.timeout.ms", 0, Some("1000")),
        ("consumer.heartbeat.interval.ms", 0, Some("200")),
    ];
    assert_eq!(alter(&mut client, GROUP, "own", &changes), "NONE");
    assert_eq!(beat(&mut client, "own", join("own")).0, 200);
    assert_eq!(beat(&mut client, "other", join("other")).0, 5000);
    assert_eq!(
        sources(&mut client, GROUP, "own", "consumer.heartbeat.interval.ms"),
        "200@8 consumer.heartbeat.interval.ms=200@8 group.consumer.heartbeat.interval.ms=5000@5"
    );
    let states = |client: &mut Client, group: &str| {
        crate::consumer_groups::describe(client, group).group_state
    };
    // 45 s, the default, are longer than a test waits.
    eventually("who is silent for a second has left", || {
        states(&mut client, "own") == "Empty"
    });
    assert_eq!(states(&mut client, "other"), "Stable");
    assert_eq!(
        alter(
            &mut client,
            GROUP,
            "own",
            &[("consumer.session.timeout.ms", 0, Some("100"))]
        ),
        "INVALID_CONFIG message=consumer.session.timeout.ms must be greater than or equal to \
         group.consumer.min.session.timeout.ms"
    );
}
