//! `CreateTopics`, `CreatePartitions` and `DeleteTopics`: what is done, what is refused, in which words.

use corelog_net::wire::Uuid;
use corelog_net::wire::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use corelog_net::wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use corelog_net::wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};

use crate::client::Client;
use crate::groups::await_coordinator;
use crate::harness::Broker;
use crate::records::values;
use crate::table::{Table, error, message};
use crate::topics::{await_leaders, create, delete, describe, end_offset, produce, read_all};

/// A topic of one partition and one replica, with something changed.
fn topic(name: &str, change: impl FnOnce(&mut CreatableTopic)) -> CreatableTopic {
    let mut topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    change(&mut topic);
    topic
}

/// `CODE partitions=… replicas=… configs=… message=…` of the only result.
fn ask(client: &mut Client, topics: Vec<CreatableTopic>, validate_only: bool) -> String {
    let request = CreateTopicsRequest {
        topics,
        timeout_ms: 20_000,
        validate_only,
        ..CreateTopicsRequest::default()
    };
    let response = client.call(7, &request);
    let [one] = &response.topics[..] else {
        return format!("{} results", response.topics.len());
    };
    if one.error_code != 0 {
        assert!(one.topic_id.is_zero(), "{one:?}");
        return format!(
            "{}{}",
            error(one.error_code),
            message(one.error_message.as_ref())
        );
    }
    assert!(!one.topic_id.is_zero(), "{one:?}");
    format!(
        "NONE partitions={} replicas={} configs={}{}",
        one.num_partitions,
        one.replication_factor,
        one.configs.as_ref().map_or(0, Vec::len),
        message(one.error_message.as_ref())
    )
}

fn assigned(partitions: &[(i32, &[i32])]) -> Vec<CreatableReplicaAssignment> {
    partitions
        .iter()
        .map(|&(partition_index, brokers)| CreatableReplicaAssignment {
            partition_index,
            broker_ids: brokers.to_vec(),
            ..CreatableReplicaAssignment::default()
        })
        .collect()
}

#[test]
fn topics_are_created_and_refused() {
    let broker = Broker::start();
    let mut client = broker.client();
    await_coordinator(&mut client, "creates");
    create(&mut client, "creates", 1, &[]);
    create(&mut client, "creates_1", 1, &[]);
    let node = describe(&mut client, "creates").partitions[0].leader_id;
    let mut table = Table::new("CreateTopics");
    let good = "NONE partitions=1 replicas=1 configs=33";
    let exists = "TOPIC_ALREADY_EXISTS message=Topic 'creates' already exists.";
    let mut row = |what: &str, topic: CreatableTopic, validate_only, expected: &str| {
        table.row(what, ask(&mut client, vec![topic], validate_only), expected);
    };
    row("good", topic("creates-2", |_| ()), false, good);
    row("exists", topic("creates", |_| ()), false, exists);
    row("validate only, new", topic("creates-3", |_| ()), true, good);
    row(
        "validate only, again",
        topic("creates-3", |_| ()),
        true,
        good,
    );
    row(
        "validate only, exists",
        topic("creates", |_| ()),
        true,
        exists,
    );
    let defaults = |t: &mut CreatableTopic| (t.num_partitions, t.replication_factor) = (-1, -1);
    row(
        "partitions -1, rf -1 (defaults)",
        topic("creates-4", defaults),
        false,
        good,
    );
    for count in [0, -2] {
        let expected = "INVALID_PARTITIONS message=Number of partitions was set to an invalid non-positive value.";
        row(
            "partitions",
            topic("b", |t| t.num_partitions = count),
            false,
            expected,
        );
    }
    let expected = "INVALID_REPLICATION_FACTOR message=Replication factor must be larger than 0, or -1 \
                    to use the default value.";
    row(
        "rf 0",
        topic("b", |t| t.replication_factor = 0),
        false,
        expected,
    );
    let expected = "INVALID_REPLICATION_FACTOR message=Unable to replicate the partition 2 time(s): \
                    The target replication factor of 2 cannot be reached because only 1 broker(s) \
                    are registered or some brokers have all their log directories cordoned.";
    row(
        "rf 2",
        topic("b", |t| t.replication_factor = 2),
        false,
        expected,
    );
    let invalid = |text: &str| format!("INVALID_TOPIC_EXCEPTION message={text}");
    let letters =
        "contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'";
    let long = "x".repeat(250);
    for (name, words) in [
        ("a b", format!("Topic name is invalid: 'a b' {letters}")),
        (
            "",
            "Topic name is invalid: the empty string is not allowed".to_owned(),
        ),
        (
            "..",
            "Topic name is invalid: '..' is not allowed".to_owned(),
        ),
        (
            &long,
            format!(
                "Topic name is invalid: the length of '{long}' is longer than the max allowed length 249"
            ),
        ),
        (
            "creates.1",
            "Topic 'creates.1' collides with existing topic: creates_1".to_owned(),
        ),
    ] {
        row(name, topic(name, |_| ()), false, &invalid(&words));
    }
    row(
        "name of 249 characters",
        topic(&"y".repeat(249), |_| ()),
        false,
        good,
    );
    row("__my_topic", topic("__my_topic", |_| ()), false, good);
    let expected = "TOPIC_ALREADY_EXISTS message=Topic '__consumer_offsets' already exists.";
    row(
        "__consumer_offsets",
        topic("__consumer_offsets", |_| ()),
        false,
        expected,
    );
    let expected = "POLICY_VIOLATION message=Excessively large number of partitions per request.";
    row(
        "partitions 20000",
        topic("big", |t| t.num_partitions = 20_000),
        false,
        expected,
    );

    let with = |partitions: &[(i32, &[i32])]| {
        topic("creates-by-hand", |t| {
            (t.num_partitions, t.replication_factor) = (-1, -1);
            t.assignments = assigned(partitions);
        })
    };
    let refused = |text: &str| format!("INVALID_REPLICA_ASSIGNMENT message={text}");
    let sequence = "partitions should be a consecutive 0-based integer sequence";
    let manual = "The manual partition assignment includes";
    let unknown = |id: i32| format!("{manual} broker {id}, but no such broker is registered.");
    let own: &[i32] = &[node];
    row(
        "assignment gap (0,2)",
        with(&[(0, own), (2, own)]),
        false,
        &refused(sequence),
    );
    row(
        "assignment not from 0",
        with(&[(1, own)]),
        false,
        &refused(sequence),
    );
    let expected = "Found multiple manual partition assignments for partition 0";
    row(
        "assignment duplicate",
        with(&[(0, own), (0, own)]),
        false,
        &refused(expected),
    );
    row(
        "assignment unknown broker",
        with(&[(0, &[9])]),
        false,
        &refused(&unknown(9)),
    );
    row(
        "assignment negative broker",
        with(&[(0, &[-1])]),
        false,
        &refused(&unknown(-1)),
    );
    let expected = format!("{manual} the broker {node} more than once.");
    row(
        "assignment duplicate broker",
        with(&[(0, &[node, node])]),
        false,
        &refused(&expected),
    );
    let expected = format!("{manual} an empty replica list.");
    row(
        "assignment empty broker list",
        with(&[(0, &[])]),
        false,
        &refused(&expected),
    );
    let both = topic("b", |t| t.assignments = assigned(&[(0, own)]));
    let expected = "INVALID_REQUEST message=A manual partition assignment was specified, but \
                    replication factor was not set to -1.";
    row(
        "assignment and replication factor both",
        both,
        false,
        expected,
    );
    let two = good.replace("partitions=1", "partitions=2");
    row("assignment good", with(&[(0, own), (1, own)]), false, &two);
    let twice = ask(
        &mut client,
        vec![topic("dup", |_| ()), topic("dup", |_| ())],
        false,
    );
    table.row(
        "same name twice",
        twice,
        "INVALID_REQUEST message=Duplicate topic name.",
    );
    table.row(
        "no topics",
        ask(&mut client, Vec::new(), false),
        "0 results",
    );
    table.finish();
    for (name, partitions) in [("creates-2", 1), ("creates-4", 1), ("creates-by-hand", 2)] {
        await_leaders(&mut client, name, partitions);
    }
    for name in ["creates-3", "b", "dup", "big"] {
        let code = error(describe(&mut client, name).error_code);
        assert_eq!(code, "UNKNOWN_TOPIC_OR_PARTITION", "{name}");
    }
}

#[test]
fn the_settings_of_a_new_topic_are_checked() {
    let broker = Broker::start();
    let mut client = broker.client();
    let config = |name: &str, value: Option<&str>| CreatableTopicConfig {
        name: name.to_owned(),
        value: value.map(str::to_owned),
        ..CreatableTopicConfig::default()
    };
    let mut table = Table::new("CreateTopics, settings");
    let good = "NONE partitions=1 replicas=1 configs=33";
    for (name, value, words) in [
        ("nope", "1", "Unknown topic config name: nope"),
        ("retention.ms", "abc", "Not a number of type LONG"),
        ("retention.ms", "-2", "Value must be at least -1"),
        ("segment.bytes", "1", "Value must be at least 1048576"),
        ("segment.bytes", "1048575", "Value must be at least 1048576"),
        (
            "cleanup.policy",
            "bogus",
            "String must be one of: compact, delete",
        ),
        ("cleanup.policy", "delete,compact", ""),
        (
            "cleanup.policy",
            "none",
            "String must be one of: compact, delete",
        ),
        ("cleanup.policy", "", ""),
        ("min.insync.replicas", "0", "Value must be at least 1"),
        (
            "compression.type",
            "bogus",
            "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
        ),
        (
            "compression.gzip.level",
            "10",
            "Value must be between 1 and 9 or equal to -1",
        ),
        (
            "message.timestamp.type",
            "x",
            "String must be one of: CreateTime, LogAppendTime",
        ),
        (
            "preallocate",
            "maybe",
            "Expected value to be either true or false",
        ),
        (
            "message.format.version",
            "2.0",
            "Unknown topic config name: message.format.version",
        ),
        ("max.compaction.lag.ms", "0", "Value must be at least 1"),
        (
            "unclean.leader.election.enable",
            "yes",
            "Expected value to be either true or false",
        ),
        (
            "min.cleanable.dirty.ratio",
            "1.5",
            "Value must be no more than 1",
        ),
        ("leader.replication.throttled.replicas", "*", ""),
    ] {
        let expected = match words {
            "" => good.to_owned(),
            words if words.starts_with("Unknown") => format!("INVALID_CONFIG message={words}"),
            words => format!(
                "INVALID_CONFIG message=Invalid value {value} for configuration {name}: {words}"
            ),
        };
        let topic = topic("b", |t| t.configs = vec![config(name, Some(value))]);
        table.row(
            &format!("{name}={value}"),
            ask(&mut client, vec![topic], true),
            &expected,
        );
    }
    let mut row = |what: &str, configs: Vec<CreatableTopicConfig>, expected: &str| {
        let topic = topic("b", |t| t.configs = configs);
        table.row(what, ask(&mut client, vec![topic], true), expected);
    };
    row(
        "retention.ms null",
        vec![config("retention.ms", None)],
        "INVALID_CONFIG message=Null value not supported for topic configs: retention.ms",
    );
    row(
        "remote.storage.enable",
        vec![config("remote.storage.enable", Some("true"))],
        "INVALID_CONFIG message=Tiered Storage functionality is disabled in the broker. Topic cannot \
         be configured with remote log storage.",
    );
    row(
        "leader.replication.throttled.replicas=x",
        vec![config("leader.replication.throttled.replicas", Some("x"))],
        "INVALID_CONFIG message=Invalid value [x] for configuration \
         leader.replication.throttled.replicas: leader.replication.throttled.replicas must be the \
         literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],...",
    );
    row(
        "given twice",
        vec![
            config("retention.ms", Some("1")),
            config("retention.ms", Some("2")),
        ],
        good,
    );
    row(
        "min.compaction.lag > max.compaction.lag",
        vec![
            config("min.compaction.lag.ms", Some("10")),
            config("max.compaction.lag.ms", Some("5")),
        ],
        "INVALID_CONFIG message=conflict topic config setting min.compaction.lag.ms (10) > \
         max.compaction.lag.ms (5)",
    );
    table.finish();
}

#[test]
fn a_topic_grows_and_never_shrinks() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "grows", 2, &[]);
    produce(&mut client, "grows", 1, values(&["v0"]));
    let mut table = Table::new("CreatePartitions");
    let ask = |client: &mut Client, name: &str, count, assignments: Option<&[&[i32]]>, times| {
        let topic = CreatePartitionsTopic {
            name: name.to_owned(),
            count,
            assignments: assignments.map(|all| {
                all.iter()
                    .map(|&brokers| CreatePartitionsAssignment {
                        broker_ids: brokers.to_vec(),
                        ..CreatePartitionsAssignment::default()
                    })
                    .collect()
            }),
            ..CreatePartitionsTopic::default()
        };
        let request = CreatePartitionsRequest {
            topics: vec![topic; times],
            timeout_ms: 20_000,
            ..CreatePartitionsRequest::default()
        };
        let response = client.call(3, &request);
        let one = &response.results[0];
        format!(
            "{}{}",
            error(one.error_code),
            message(one.error_message.as_ref())
        )
    };
    let fewer = |count: i32| {
        format!(
            "INVALID_PARTITIONS message=The topic grows currently has 2 partition(s); {count} would \
             not be an increase."
        )
    };
    let expected = "INVALID_PARTITIONS message=Topic already has 2 partition(s).";
    table.row(
        "same count",
        ask(&mut client, "grows", 2, None, 1),
        expected,
    );
    table.row("lower", ask(&mut client, "grows", 1, None, 1), &fewer(1));
    table.row("0", ask(&mut client, "grows", 0, None, 1), &fewer(0));
    let got = ask(&mut client, "grows-no", 3, None, 1);
    table.row("unknown topic", got, "UNKNOWN_TOPIC_OR_PARTITION");
    let refused = "INVALID_REPLICA_ASSIGNMENT message=";
    let expected = format!(
        "{refused}Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."
    );
    let got = ask(&mut client, "grows", 4, Some(&[&[1]]), 1);
    table.row("assignments too few", got, &expected);
    let expected = format!(
        "{refused}The manual partition assignment includes broker 9, but no such broker is registered."
    );
    let got = ask(&mut client, "grows", 3, Some(&[&[9]]), 1);
    table.row("assignments unknown broker", got, &expected);
    let got = ask(&mut client, "grows", 5, None, 2);
    table.row(
        "same topic twice",
        got,
        "INVALID_REQUEST message=Duplicate topic name.",
    );
    table.row("good to 3", ask(&mut client, "grows", 3, None, 1), "NONE");
    table.finish();
    await_leaders(&mut client, "grows", 3);
    assert_eq!(end_offset(&mut client, "grows", 1), 1);
    assert_eq!(produce(&mut client, "grows", 2, values(&["v0"])), 0);
}

#[test]
fn a_topic_is_deleted_by_name_or_id_and_never_by_both() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "goes", 1, &[]);
    let id = create(&mut client, "goes-by-id", 1, &[]);
    let mut absent = [0; 16];
    absent[13] = 1;
    let state = |name: Option<&str>, topic_id| DeleteTopicState {
        name: name.map(str::to_owned),
        topic_id,
        ..DeleteTopicState::default()
    };
    let mut table = Table::new("DeleteTopics");
    let mut row = |what: &str, topics: Vec<DeleteTopicState>, expected: &str| {
        let request = DeleteTopicsRequest {
            topics,
            timeout_ms: 20_000,
            ..DeleteTopicsRequest::default()
        };
        let response = client.call(6, &request);
        let one = &response.responses[0];
        let got = format!(
            "{}{}",
            error(one.error_code),
            message(one.error_message.as_ref())
        );
        table.row(what, got, expected);
    };
    row(
        "unknown name",
        vec![state(Some("goes-no"), Uuid::ZERO)],
        "UNKNOWN_TOPIC_OR_PARTITION message=This server does not host this topic-partition.",
    );
    row(
        "unknown id",
        vec![state(None, Uuid(absent))],
        "UNKNOWN_TOPIC_ID message=This server does not host this topic ID.",
    );
    row(
        "name and id both",
        vec![state(Some("goes"), Uuid(absent))],
        "INVALID_REQUEST message=You may not specify both topic name and topic id.",
    );
    row(
        "neither",
        vec![state(None, Uuid::ZERO)],
        "INVALID_REQUEST message=Neither topic name nor id were specified.",
    );
    row(
        "same name twice",
        vec![
            state(Some("goes"), Uuid::ZERO),
            state(Some("goes"), Uuid::ZERO),
        ],
        "INVALID_REQUEST message=Duplicate topic name.",
    );
    row("good", vec![state(Some("goes"), Uuid::ZERO)], "NONE");
    row("good by id", vec![state(None, id)], "NONE");
    table.finish();
    for version in 1..=5 {
        let name = format!("goes-v{version}");
        create(&mut client, &name, 1, &[]);
        let request = DeleteTopicsRequest {
            topic_names: vec![name.clone()],
            timeout_ms: 20_000,
            ..DeleteTopicsRequest::default()
        };
        let response = client.call(version, &request);
        assert_eq!(
            error(response.responses[0].error_code),
            "NONE",
            "v{version}"
        );
    }
}

#[test]
fn a_topic_that_is_made_again_is_a_new_one() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let mut ids = Vec::new();
    for round in 0..6 {
        ids.push(create(&mut client, "again", 3, &[]));
        for partition in 0..3 {
            assert_eq!(
                end_offset(&mut client, "again", partition),
                0,
                "round {round}"
            );
            for _ in 0..=round {
                produce(&mut client, "again", partition, values(&["v0"]));
            }
        }
        if round == 3 {
            broker.restart();
            client = broker.client();
            assert_eq!(read_all(&mut client, "again", 2, 0).len(), 4);
        }
        delete(&mut client, "again");
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6, "{ids:?}");
    broker.restart();
    client = broker.client();
    assert_eq!(
        error(describe(&mut client, "again").error_code),
        "UNKNOWN_TOPIC_OR_PARTITION"
    );
}

#[test]
fn a_broker_may_be_told_not_to_delete_topics() {
    let broker = Broker::with(&["delete.topic.enable=false"]);
    let mut client = broker.client();
    create(&mut client, "stays", 1, &[]);
    for (version, code) in [
        (6, "TOPIC_DELETION_DISABLED"),
        (3, "TOPIC_DELETION_DISABLED"),
        (1, "INVALID_REQUEST"),
    ] {
        let mut request = DeleteTopicsRequest {
            timeout_ms: 1000,
            ..DeleteTopicsRequest::default()
        };
        if version == 6 {
            let topic = DeleteTopicState {
                name: Some("stays".to_owned()),
                ..DeleteTopicState::default()
            };
            request.topics.push(topic);
        } else {
            request.topic_names.push("stays".to_owned());
        }
        let response = client.call(version, &request);
        assert_eq!(error(response.responses[0].error_code), code, "v{version}");
    }
    await_leaders(&mut client, "stays", 1);
}
