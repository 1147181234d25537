//! Answers compared with those Kafka gave, line by line.

use corelog_net::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use corelog_net::wire::records::ConfigRecord;

use super::ConfigView;
use crate::config::{BrokerConfig, FileText};
use crate::metadata::{Image, ResourceType};

const PLAIN: &str = include_str!("../../../tests/fixtures/settings/describe-broker-plain.tsv");

/// The sample broker's file: what its own answer calls static.
fn sample() -> BrokerConfig {
    let text: String = PLAIN
        .lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            (columns[3] == "STATIC_BROKER_CONFIG" && columns[0] != "broker.id")
                .then(|| format!("{}={}\n", columns[0], columns[2]))
        })
        .collect();
    let file = FileText {
        path: "sample",
        bytes: text.as_bytes(),
    };
    BrokerConfig::load(Some(file), &[])
        .expect("the sample's settings")
        .config
}

fn set(image: &mut Image, kind: ResourceType, name: &str, key: &str, value: &str) {
    let record = ConfigRecord {
        resource_type: kind.code(),
        resource_name: name.to_owned(),
        name: key.to_owned(),
        value: Some(value.to_owned()),
        ..ConfigRecord::default()
    };
    image.apply(&record.into()).expect("a setting");
}

fn topic(image: &mut Image, name: &str) {
    let topic_id = corelog_net::wire::Uuid([7; 16]);
    let record = corelog_net::wire::records::TopicRecord {
        name: name.to_owned(),
        topic_id,
        ..Default::default()
    };
    image.apply(&record.into()).expect("a topic");
}

/// An image with what every cluster of 4.3 has.
fn bootstrapped() -> Image {
    let mut image = Image::default();
    set(
        &mut image,
        ResourceType::Broker,
        "",
        "min.insync.replicas",
        "1",
    );
    image
}

fn describe(image: &Image, kind: i8, name: &str) -> (i16, Vec<DescribeConfigsResourceResult>) {
    let config = sample();
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned(),
            ..Default::default()
        }],
        include_synonyms: true,
        ..Default::default()
    };
    let mut response = ConfigView::new(image, &config, "1").describe(&request);
    let result = response.results.remove(0);
    (result.error_code, result.configs)
}

fn printed(entries: &[DescribeConfigsResourceResult]) -> Vec<String> {
    let types = [
        "UNKNOWN", "BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST", "CLASS",
        "PASSWORD",
    ];
    let sources = [
        "UNKNOWN",
        "DYNAMIC_TOPIC_CONFIG",
        "DYNAMIC_BROKER_CONFIG",
        "DYNAMIC_DEFAULT_BROKER_CONFIG",
        "STATIC_BROKER_CONFIG",
        "DEFAULT_CONFIG",
        "DYNAMIC_BROKER_LOGGER_CONFIG",
        "CLIENT_METRICS_CONFIG",
        "GROUP_CONFIG",
    ];
    let name = |names: &[&str], code: i8| names[usize::try_from(code).expect("a code")].to_owned();
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    entries
        .iter()
        .map(|entry| {
            let synonyms: Vec<String> = entry
                .synonyms
                .iter()
                .map(|it| {
                    format!(
                        "{}={}@{}",
                        it.name,
                        text(&it.value),
                        name(&sources, it.source)
                    )
                })
                .collect();
            format!(
                "{}\t{}\t{}\t{}\t{}\t{}\t{}",
                entry.name,
                name(&types, entry.config_type),
                text(&entry.value),
                name(&sources, entry.config_source),
                entry.read_only,
                entry.is_sensitive,
                synonyms.join(" ")
            )
        })
        .collect()
}

fn assert_lines(entries: &[DescribeConfigsResourceResult], expected: &str) {
    let ours = printed(entries);
    let theirs: Vec<&str> = expected.lines().collect();
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn a_broker_is_described_as_kafka_describes_it_and_ours_follow() {
    let (error, entries) = describe(&bootstrapped(), 4, "1");
    assert_eq!(error, 0);
    let (kafka, ours) = entries.split_at(PLAIN.lines().count());
    assert_lines(kafka, PLAIN);
    assert!(!ours.is_empty());
    let dynamic = ["corelog.disk.reserve.bytes"];
    assert!(ours.iter().all(|entry| {
        entry.name.starts_with("corelog.")
            && entry.read_only != dynamic.contains(&entry.name.as_str())
    }));
}

#[test]
fn dynamic_values_show_over_static_ones() {
    let mut image = bootstrapped();
    set(
        &mut image,
        ResourceType::Broker,
        "1",
        "log.cleaner.threads",
        "2",
    );
    set(
        &mut image,
        ResourceType::Broker,
        "1",
        "log.retention.ms",
        "3600000",
    );
    set(
        &mut image,
        ResourceType::Broker,
        "",
        "log.retention.ms",
        "7200000",
    );
    let (_, entries) = describe(&image, 4, "1");
    let expected =
        include_str!("../../../tests/fixtures/settings/describe-broker-with-dynamic.tsv");
    assert_lines(&entries[..expected.lines().count()], expected);
    let (_, entries) = describe(&image, 4, "");
    let expected =
        include_str!("../../../tests/fixtures/settings/describe-broker-default-resource.tsv");
    assert_lines(&entries, expected);
}

#[test]
fn a_topic_is_described_as_kafka_describes_it() {
    let mut image = bootstrapped();
    set(
        &mut image,
        ResourceType::Broker,
        "1",
        "log.retention.ms",
        "3600000",
    );
    set(
        &mut image,
        ResourceType::Broker,
        "",
        "log.retention.ms",
        "7200000",
    );
    topic(&mut image, "t");
    set(
        &mut image,
        ResourceType::Topic,
        "t",
        "segment.bytes",
        "1048576",
    );
    set(&mut image, ResourceType::Topic, "t", "retention.ms", "1000");
    let (_, entries) = describe(&image, 2, "t");
    assert_lines(
        &entries,
        include_str!("../../../tests/fixtures/settings/describe-topic.tsv"),
    );
}

#[test]
fn groups_and_client_metrics() {
    let mut image = bootstrapped();
    let (_, entries) = describe(&image, 32, "g");
    assert_lines(
        &entries,
        include_str!("../../../tests/fixtures/settings/describe-group-unset.tsv"),
    );
    set(
        &mut image,
        ResourceType::Group,
        "g",
        "consumer.session.timeout.ms",
        "50000",
    );
    let (_, entries) = describe(&image, 32, "g");
    assert_lines(
        &entries,
        include_str!("../../../tests/fixtures/settings/describe-group.tsv"),
    );
    set(
        &mut image,
        ResourceType::ClientMetrics,
        "m",
        "interval.ms",
        "10000",
    );
    set(
        &mut image,
        ResourceType::ClientMetrics,
        "m",
        "match",
        "client_id=abc",
    );
    // As Kafka's client-metrics tool sets what it is not given.
    set(&mut image, ResourceType::ClientMetrics, "m", "metrics", "");
    let (_, entries) = describe(&image, 16, "m");
    let expected = include_str!("../../../tests/fixtures/settings/describe-client-metrics.tsv");
    assert_lines(&entries, expected);
}

#[test]
fn refusals_are_kafkas() {
    let image = bootstrapped();
    let config = sample();
    let rows = [
        (2, "nope", 3, ""),
        (
            2,
            "a b",
            17,
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        ),
        (
            4,
            "9",
            42,
            "Unexpected broker id, expected 1 or empty string, but received 9",
        ),
        (4, "x", 42, "Broker id must be an integer, but it is: x"),
        (
            77,
            "x",
            42,
            "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details.",
        ),
        (8, "", 42, "Broker id must not be empty"),
        (
            16,
            "",
            42,
            "Client metrics subscription name must not be empty",
        ),
        (32, "", 42, "Group name must not be empty"),
    ];
    for (kind, name, code, message) in rows {
        let resource = DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned(),
            ..Default::default()
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            ..Default::default()
        };
        let response = ConfigView::new(&image, &config, "1").describe(&request);
        let result = &response.results[0];
        assert_eq!(
            (result.error_code, result.error_message.as_deref()),
            (code, Some(message))
        );
        assert!(result.configs.is_empty());
    }
}

#[test]
fn keys_choose_and_passwords_stay_hidden() {
    let text = "ssl.key.password=secret\nsuper.users=User:a\n";
    let file = FileText {
        path: "f",
        bytes: text.as_bytes(),
    };
    let config = BrokerConfig::load(Some(file), &[])
        .expect("good settings")
        .config;
    let image = bootstrapped();
    let resource = DescribeConfigsResource {
        resource_type: 4,
        resource_name: "1".to_owned(),
        configuration_keys: Some(vec![
            "ssl.key.password".to_owned(),
            "super.users".to_owned(),
        ]),
        ..Default::default()
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: true,
        ..Default::default()
    };
    let response = ConfigView::new(&image, &config, "1").describe(&request);
    let entries = &response.results[0].configs;
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].name, "super.users");
    for entry in entries {
        assert!(entry.is_sensitive);
        assert_eq!((entry.value.as_ref(), entry.config_source), (None, 4));
        assert!(entry.synonyms.iter().all(|synonym| synonym.value.is_none()));
    }
    assert!(entries[1].documentation.is_some());
}
