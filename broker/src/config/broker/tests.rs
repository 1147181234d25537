//! Files and overrides become settings, or one clear sentence.

use std::net::{IpAddr, Ipv4Addr};

use super::{BrokerConfig, IoBackend, LoadError, Loaded, Note, nearest};
use crate::config::{ConfigMap, FileText, SecurityProtocol};

fn load(text: &str, overrides: &[&str]) -> Result<Loaded, LoadError> {
    let file = FileText {
        path: "server.properties",
        bytes: text.as_bytes(),
    };
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    BrokerConfig::load(Some(file), &overrides)
}

fn config(text: &str) -> BrokerConfig {
    load(text, &[]).expect("good settings").config
}

fn fault(text: &str) -> String {
    load(text, &[]).expect_err("bad settings").to_string()
}

#[test]
fn without_a_file_a_single_node_on_this_machine() {
    let Loaded { config, notes } = BrokerConfig::load(None, &[]).expect("our own defaults");
    assert_eq!(notes, []);
    assert_eq!(config.node_id, 1);
    assert_eq!(config.log_dirs, ["./data"]);
    assert_eq!(config.metadata_log_dir, "./data");
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(
        config.listeners[0].endpoint.to_string(),
        "PLAINTEXT://127.0.0.1:9092"
    );
    assert_eq!(config.listeners[0].protocol, SecurityProtocol::Plaintext);
    assert_eq!(
        config.advertised[0].to_string(),
        "PLAINTEXT://127.0.0.1:9092"
    );
    assert_eq!(config.group.offsets_topic_replication_factor, 1);
    assert_eq!(config.transaction.state_log_replication_factor, 1);
    assert_eq!(config.transaction.state_log_min_isr, 1);
    assert_eq!(config.shards, None);
    assert_eq!(config.io_backend, IoBackend::Auto);
    assert!(config.sync_on_ack);
    assert_eq!(config.socket.request_max_bytes, 104_857_600);
    assert_eq!(config.group.offsets_retention_ms, 7 * 24 * 3_600_000);
}

#[test]
fn an_empty_file_means_kafkas_defaults() {
    let config = config("");
    assert_eq!(config.log_dirs, ["/tmp/kafka-logs"]);
    assert_eq!(
        config.listeners[0].endpoint.to_string(),
        "PLAINTEXT://:9092"
    );
    assert_eq!(config.advertised[0].host, "");
    assert_eq!(config.group.offsets_topic_replication_factor, 3);
}

#[test]
fn a_combined_kraft_file_is_accepted_and_its_controller_listener_is_not_opened() {
    let text = "process.roles=broker,controller\nnode.id=7\n\
        controller.quorum.voters=7@localhost:9093\n\
        listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n\
        inter.broker.listener.name=PLAINTEXT\n\
        advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
        controller.listener.names=CONTROLLER\n\
        listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL\n\
        num.network.threads=3\nlog.dirs=/tmp/a,/tmp/b\nnum.partitions=4\n\
        log.retention.hours=168\n";
    let Loaded { config, notes } = load(text, &[]).expect("a file as Kafka ships it");
    assert_eq!(config.node_id, 7);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(
        config.controller_listeners[0].to_string(),
        "CONTROLLER://:9093"
    );
    assert_eq!(
        config.advertised[0].to_string(),
        "PLAINTEXT://localhost:9092"
    );
    assert_eq!(config.inter_broker_listener, "PLAINTEXT");
    assert_eq!(config.log_dirs, ["/tmp/a", "/tmp/b"]);
    assert_eq!(config.metadata_log_dir, "/tmp/a");
    assert_eq!(config.num_partitions, 4);
    let said = |note: &Note| matches!(note, Note::Information(text) if text.contains("CONTROLLER"));
    assert!(notes.iter().any(said), "{notes:?}");
}

#[test]
fn overrides_beat_the_file() {
    let loaded = load(
        "num.partitions=4\n",
        &["num.partitions=9", "corelog.shards = 3"],
    );
    let config = loaded.expect("good settings").config;
    assert_eq!((config.num_partitions, config.shards), (9, Some(3)));
    let error = load("", &["num.partitions"]).expect_err("no value");
    assert_eq!(
        error.to_string(),
        "--override num.partitions: expected name=value"
    );
}

#[test]
fn faults_name_file_and_line() {
    let rows = [
        (
            "\nnum.partitions=x\n",
            "server.properties:2: Invalid value x for configuration num.partitions: Not a number of type INT",
        ),
        (
            "num.partitions=0",
            "server.properties:1: Invalid value 0 for configuration num.partitions: Value must be at least 1",
        ),
        (
            "listeners=SSL://:9093",
            "server.properties:1: listeners has the listener SSL with SSL: only PLAINTEXT listeners can be opened yet",
        ),
        (
            "listeners=INSIDE://:9093",
            "server.properties:1: listeners has the listener INSIDE, whose protocol listener.security.protocol.map does not say",
        ),
        (
            "listeners=PLAINTEXT:9092",
            "server.properties:1: listeners is wrong: 'PLAINTEXT:9092' is not a listener of the form NAME://host:port",
        ),
        (
            "advertised.listeners=PLAINTEXT://0.0.0.0:1",
            "server.properties:1: advertised.listeners cannot be 0.0.0.0: clients could not connect to it",
        ),
        (
            "advertised.listeners=OTHER://h:1",
            "server.properties:1: advertised.listeners names OTHER, which is not among listeners",
        ),
        (
            "process.roles=controller",
            "server.properties:1: process.roles must be broker,controller: this broker is its own controller for now",
        ),
        (
            "node.id=1\ncontroller.quorum.voters=1@a:1,2@b:1",
            "server.properties:2: controller.quorum.voters must name node 1 alone: larger quorums are not served yet",
        ),
        (
            "authorizer.class.name=x.Y",
            "server.properties:1: authorizer.class.name cannot be set: Authorization is not available yet; starting open in its place would be unsafe.",
        ),
        (
            "node.id=1\nbroker.id=2",
            "server.properties:2: broker.id must be the same as node.id",
        ),
        (
            "log.dirs=/a\nmetadata.log.dir=/b",
            "server.properties:2: metadata.log.dir must be one of log.dirs here",
        ),
        (
            "log.dirs=/a,/b\ncordoned.log.dirs=/b,/c,/d",
            "server.properties:2: cordoned.log.dirs is not right: All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : /c, /d",
        ),
        (
            "log.dirs=/a,/b\ncordoned.log.dirs=/b,*",
            "server.properties:2: cordoned.log.dirs is not right: When cordoned.log.dirs is set to *, it must not contain other values",
        ),
        (
            "max.connections.per.ip.overrides=a",
            "server.properties:1: max.connections.per.ip.overrides must be a list of address:count",
        ),
        (
            "ssl.client.auth=maybe",
            "server.properties:1: Invalid value maybe for configuration ssl.client.auth: String must be one of: required, requested, none",
        ),
    ];
    for (text, sentence) in rows {
        assert_eq!(fault(text), sentence);
    }
}

#[test]
fn an_authorizer_is_taken_only_where_it_would_allow_everyone() {
    let kafka = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n";
    for open in [
        "allow.everyone.if.no.acl.found=true",
        "super.users=User:admin;User:ANONYMOUS",
    ] {
        let notes = load(&format!("{kafka}{open}\n"), &[]).expect("open").notes;
        let told = |note: &Note| matches!(note, Note::Warning(text) if text.contains("everyone"));
        assert!(notes.iter().any(told), "{notes:?}");
    }
    for closed in [
        "",
        "allow.everyone.if.no.acl.found=false",
        "super.users=User:admin",
    ] {
        fault(&format!("{kafka}{closed}\n"));
    }
    fault("authorizer.class.name=x.Y\nallow.everyone.if.no.acl.found=true\n");
}

#[test]
fn all_faults_are_told_at_once() {
    let error = load("num.partitions=x\nnode.id=-1\n", &[]).expect_err("two faults");
    assert_eq!(error.sentences.len(), 2);
}

#[test]
fn unknown_names_are_told_with_the_nearest() {
    let text = "num.partition=3\nzookeeper.connect=z:1\nmy.own.thing=1\nssl.keystore.type=PEM\n";
    let notes = load(text, &[]).expect("only warnings").notes;
    let expected = [
        Note::Warning("server.properties:3: unknown setting my.own.thing".to_owned()),
        Note::Warning(
            "server.properties:1: unknown setting num.partition; did you mean num.partitions?"
                .to_owned(),
        ),
        Note::Information(
            "server.properties:4: ssl.keystore.type has no effect: TLS listeners cannot be opened \
             yet."
                .to_owned(),
        ),
        Note::Warning(
            "server.properties:2: zookeeper.connect has no effect: there is no ZooKeeper"
                .to_owned(),
        ),
    ];
    assert_eq!(notes, expected);
    assert_eq!(nearest("log.retention.hour"), Some("log.retention.hours"));
    assert_eq!(nearest("x"), None);
}

#[test]
fn accepted_settings_at_their_default_are_not_mentioned() {
    assert_eq!(
        load("num.io.threads=8\nssl.keystore.type=JKS\n", &[])
            .expect("good")
            .notes,
        []
    );
}

#[test]
fn java_properties_syntax() {
    let config =
        config("# c\n! c\nnum.partitions : 2\nlog.dirs = /a,\\\n   /b\nbroker.rack=\\u0061\n");
    assert_eq!(config.num_partitions, 2);
    assert_eq!(config.log_dirs, ["/a", "/b"]);
    assert_eq!(config.rack.as_deref(), Some("a"));
}

#[test]
fn addresses_and_limits() {
    let text = "listeners=PLAINTEXT://[::1]:9092\nmax.connections.per.ip.overrides=127.0.0.1:5\n\
        connections.max.idle.ms=-1\nsocket.send.buffer.bytes=-1\nqueued.max.request.bytes=1000\n";
    let config = config(text);
    assert_eq!(config.listeners[0].endpoint.host, "::1");
    assert_eq!(
        config.listeners[0].endpoint.to_string(),
        "PLAINTEXT://[::1]:9092"
    );
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert_eq!(config.socket.max_connections_per_ip_overrides, [(local, 5)]);
    assert_eq!(config.socket.max_idle_ms, None);
    assert_eq!(config.socket.send_buffer_bytes, None);
    assert_eq!(config.socket.queued_max_request_bytes, Some(1000));
}

#[test]
fn dynamic_values_lie_over_the_file() {
    let base = config("max.connections=10\nnum.partitions=2\n");
    let map = |pairs: &[(&str, &str)]| -> ConfigMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let cluster = map(&[("max.connections", "20"), ("num.partitions", "50")]);
    let node = map(&[("max.connections", "nonsense")]);
    let config = base.with_dynamic(Some(&node), Some(&cluster));
    assert_eq!(
        config.socket.max_connections, 20,
        "the node's value does not parse"
    );
    assert_eq!(config.num_partitions, 2, "not a dynamic setting");
    let node = map(&[("max.connections", "30")]);
    assert_eq!(
        base.with_dynamic(Some(&node), Some(&cluster))
            .socket
            .max_connections,
        30
    );
    assert_eq!(base.with_dynamic(None, None), base);
}

#[test]
fn cordoned_directories_are_among_the_directories() {
    let base = config("log.dirs=/a,/b\ncordoned.log.dirs=/b\nmax.connections=7\n");
    let places = |config: &BrokerConfig| [0, 1, 2].map(|at| config.is_cordoned(at));
    assert_eq!(places(&base), [false, true, false]);
    for (value, expected) in [
        ("/a", [true, false, false]),
        ("/a,/b", [true, true, false]),
        ("*", [true, true, false]),
        ("", [false, false, false]),
        // What no longer fits the directories of the file is passed over, alone.
        ("/gone", [false, true, false]),
    ] {
        let node = [("cordoned.log.dirs", value), ("max.connections", "8")];
        let node: ConfigMap = node.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        let live = base.with_dynamic(Some(&node), None);
        assert_eq!(places(&live), expected, "{value}");
        assert_eq!(live.socket.max_connections, 8);
    }
}
