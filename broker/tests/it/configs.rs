//! `DescribeConfigs`, `IncrementalAlterConfigs` and `AlterConfigs` of topics.

use corelog_net::wire::messages::alter_configs::{self, AlterConfigsRequest};
use corelog_net::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use corelog_net::wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

use crate::client::Client;
use crate::harness::{Broker, eventually};
use crate::records::values;
use crate::table::{Table, error, message};
use crate::topics::{create, produce, producing};

pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;

/// One change: name, operation (0 set, 1 delete, 2 append, 3 subtract), value.
pub(crate) type Change<'a> = (&'a str, i8, Option<&'a str>);

fn altering(kind: i8, resource: &str, changes: &[Change<'_>]) -> IncrementalAlterConfigsRequest {
    IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: kind,
            resource_name: resource.to_owned(),
            configs: changes
                .iter()
                .map(|&(name, config_operation, value)| AlterableConfig {
                    name: name.to_owned(),
                    config_operation,
                    value: value.map(str::to_owned),
                    ..AlterableConfig::default()
                })
                .collect(),
            ..AlterConfigsResource::default()
        }],
        ..IncrementalAlterConfigsRequest::default()
    }
}

pub(crate) fn alter(
    client: &mut Client,
    kind: i8,
    resource: &str,
    changes: &[Change<'_>],
) -> String {
    let response = client.call(1, &altering(kind, resource, changes));
    let one = &response.responses[0];
    format!(
        "{}{}",
        error(one.error_code),
        message(one.error_message.as_ref())
    )
}

pub(crate) fn describing(
    kind: i8,
    resource: &str,
    keys: Option<&[&str]>,
) -> DescribeConfigsRequest {
    DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: resource.to_owned(),
            configuration_keys: keys.map(|keys| keys.iter().map(|&key| key.to_owned()).collect()),
            ..DescribeConfigsResource::default()
        }],
        ..DescribeConfigsRequest::default()
    }
}

fn described(response: &DescribeConfigsResponse) -> String {
    let one = &response.results[0];
    let mut text = error(one.error_code).to_owned();
    for config in &one.configs {
        let value = config.value.as_deref().unwrap_or("null");
        text = format!("{text} {}={value}@{}", config.name, config.config_source);
    }
    text + &message(one.error_message.as_ref())
}

/// The value of a setting of a topic, and where it is from: 1 the topic, 5 the defaults.
fn value(client: &mut Client, topic: &str, key: &str) -> String {
    described(&client.call(4, &describing(TOPIC, topic, Some(&[key]))))
}

#[test]
fn changes_are_checked_in_kafkas_words() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = "altered";
    create(&mut client, topic, 1, &[]);
    let mut table = Table::new("IncrementalAlterConfigs");
    let mut row = |what: &str, name: &str, changes: &[Change<'_>], expected: &str| {
        table.row(what, alter(&mut client, TOPIC, name, changes), expected);
    };
    row(
        "not a number",
        topic,
        &[("retention.ms", 0, Some("abc"))],
        "INVALID_CONFIG message=Invalid value abc for configuration retention.ms: Not a number of type LONG",
    );
    row(
        "unknown name",
        topic,
        &[("nope", 0, Some("1"))],
        "INVALID_CONFIG message=Unknown topic config name: nope",
    );
    row(
        "set to null",
        topic,
        &[("retention.ms", 0, None)],
        "INVALID_REQUEST message=Null value not supported for : retention.ms",
    );
    row(
        "operation 9",
        topic,
        &[("retention.ms", 9, Some("1"))],
        "UNKNOWN_SERVER_ERROR",
    );
    for (operation, word) in [(2, "APPEND"), (3, "SUBTRACT")] {
        let expected = format!(
            "INVALID_CONFIG message=Can't {word} to key retention.ms because its type is not LIST."
        );
        row(
            word,
            topic,
            &[("retention.ms", operation, Some("1"))],
            &expected,
        );
    }
    row(
        "append to a list",
        topic,
        &[("cleanup.policy", 2, Some("compact"))],
        "NONE",
    );
    row(
        "subtract from a list",
        topic,
        &[("cleanup.policy", 3, Some("delete"))],
        "NONE",
    );
    row(
        "subtract what is not there",
        topic,
        &[("cleanup.policy", 3, Some("nothere"))],
        "NONE",
    );
    row(
        "the same twice",
        topic,
        &[
            ("retention.ms", 0, Some("1")),
            ("retention.ms", 0, Some("2")),
        ],
        "INVALID_REQUEST message=Error due to duplicate config keys",
    );
    row(
        "unknown topic",
        "altered-no",
        &[("retention.ms", 0, Some("1"))],
        "UNKNOWN_TOPIC_OR_PARTITION message=The topic 'altered-no' does not exist.",
    );
    row(
        "empty topic name",
        "",
        &[("retention.ms", 0, Some("1"))],
        "INVALID_REQUEST message=Default topic resources are not allowed.",
    );
    row(
        "delete what is not set",
        topic,
        &[("retention.ms", 1, None)],
        "NONE",
    );
    row(
        "delete what is unknown",
        topic,
        &[("nope", 1, None)],
        "NONE",
    );
    row("nothing", topic, &[], "NONE");
    for kind in [99, 0] {
        let expected = format!("INVALID_REQUEST message=Unknown resource type {kind}");
        let got = alter(&mut client, kind, "x", &[("a", 0, Some("1"))]);
        table.row(&format!("type {kind}"), got, &expected);
    }
    let old = AlterConfigsRequest {
        resources: vec![alter_configs::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: topic.to_owned(),
            configs: vec![alter_configs::AlterableConfig {
                name: "retention.ms".to_owned(),
                value: Some("abc".to_owned()),
                ..alter_configs::AlterableConfig::default()
            }],
            ..alter_configs::AlterConfigsResource::default()
        }],
        ..AlterConfigsRequest::default()
    };
    let response = client.call(2, &old);
    let one = &response.responses[0];
    let got = format!(
        "{}{}",
        error(one.error_code),
        message(one.error_message.as_ref())
    );
    let expected = "INVALID_CONFIG message=Invalid value abc for configuration retention.ms: Not a \
                    number of type LONG";
    table.row("AlterConfigs (legacy), bad value", got, expected);
    table.finish();
    assert_eq!(
        value(&mut client, topic, "cleanup.policy"),
        "NONE cleanup.policy=compact@1 message="
    );
}

#[test]
fn a_topics_settings_are_described_with_their_sources() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(
        &mut client,
        "configured",
        1,
        &[("segment.bytes", "1048576"), ("retention.ms", "1000")],
    );
    let mut table = Table::new("DescribeConfigs");
    let mut row = |what: &str, request: &DescribeConfigsRequest, expected: &str| {
        table.row(what, described(&client.call(4, request)), expected);
    };
    let unknown = "UNKNOWN_TOPIC_OR_PARTITION message=";
    row(
        "unknown topic",
        &describing(TOPIC, "configured-no", None),
        unknown,
    );
    row(
        "invalid topic name",
        &describing(TOPIC, "a b", None),
        "INVALID_TOPIC_EXCEPTION message=Topic name is invalid: 'a b' contains one or more characters \
         other than ASCII alphanumerics, '.', '_' and '-'",
    );
    row(
        "broker x",
        &describing(BROKER, "x", None),
        "INVALID_REQUEST message=Broker id must be an integer, but it is: x",
    );
    row(
        "type 77",
        &describing(77, "x", None),
        "INVALID_REQUEST message=This most likely occurs because of a request being malformed by the \
         client library or the message was sent to an incompatible broker. See the broker logs for \
         more details.",
    );
    row(
        "unknown key",
        &describing(TOPIC, "configured", Some(&["nope"])),
        "NONE message=",
    );
    row(
        "two keys",
        &describing(TOPIC, "configured", Some(&["retention.ms", "preallocate"])),
        "NONE retention.ms=1000@1 preallocate=false@5 message=",
    );
    table.finish();
    // Kafka's whole answer, in its order: name, type, value, whether it is a default.
    let mut request = describing(TOPIC, "configured", None);
    request.include_synonyms = true;
    let response = client.call(4, &request);
    let lines: Vec<String> = response.results[0]
        .configs
        .iter()
        .map(|one| {
            let value = one.value.as_deref().unwrap_or("null");
            format!("{}\t{}\t{value}", one.name, one.config_type)
        })
        .collect();
    let expected: Vec<&str> = include_str!("testdata/describe_configs_topic.tsv")
        .lines()
        .collect();
    assert_eq!(lines, expected);
    assert!(
        response.results[0]
            .configs
            .iter()
            .all(|one| !one.read_only && !one.is_sensitive)
    );
    for version in 1..=4 {
        let response = client.call(version, &describing(TOPIC, "configured", None));
        assert_eq!(response.results[0].configs.len(), 33, "v{version}");
    }
}

#[test]
fn changes_take_effect_and_last() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let topic = "changed";
    create(&mut client, topic, 1, &[("retention.ms", "5000")]);
    let large = || values(&["x".repeat(3000).as_str()]);
    produce(&mut client, topic, 0, large());
    assert_eq!(
        alter(
            &mut client,
            TOPIC,
            topic,
            &[("max.message.bytes", 0, Some("1000"))]
        ),
        "NONE"
    );
    eventually("the limit is in force", || {
        let response = client.call(9, &producing(topic, 0, large()));
        error(response.responses[0].partition_responses[0].error_code) == "MESSAGE_TOO_LARGE"
    });
    broker.restart();
    client = broker.client();
    let response = client.call(9, &producing(topic, 0, large()));
    let code = response.responses[0].partition_responses[0].error_code;
    assert_eq!(error(code), "MESSAGE_TOO_LARGE");
    let got = value(&mut client, topic, "max.message.bytes");
    assert_eq!(got, "NONE max.message.bytes=1000@1 message=");
    assert_eq!(
        value(&mut client, topic, "retention.ms"),
        "NONE retention.ms=5000@1 message="
    );
    let changes = [("max.message.bytes", 1, None), ("retention.ms", 1, None)];
    assert_eq!(alter(&mut client, TOPIC, topic, &changes), "NONE");
    eventually("the limit is gone", || {
        let response = client.call(9, &producing(topic, 0, large()));
        error(response.responses[0].partition_responses[0].error_code) == "NONE"
    });
    let got = value(&mut client, topic, "retention.ms");
    assert_eq!(got, "NONE retention.ms=604800000@5 message=");
    let request = IncrementalAlterConfigsRequest {
        validate_only: true,
        ..altering(TOPIC, topic, &[("retention.ms", 0, Some("7"))])
    };
    assert_eq!(
        error(client.call(1, &request).responses[0].error_code),
        "NONE"
    );
    let got = value(&mut client, topic, "retention.ms");
    assert_eq!(
        got, "NONE retention.ms=604800000@5 message=",
        "validate_only changes nothing"
    );
}
