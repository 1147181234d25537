//! What Metadata, `DescribeTopicPartitions` and `DescribeCluster` tell of the cluster.

use std::collections::BTreeSet;

use corelog_net::wire::Uuid;
use corelog_net::wire::messages::describe_cluster::DescribeClusterRequest;
use corelog_net::wire::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, RequestCursor, TopicRequest,
};
use corelog_net::wire::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};

use crate::groups::await_coordinator;
use crate::harness::{Broker, eventually};
use crate::table::{Table, error};
use crate::topics::{await_leaders, create, describe};

/// A request for these names.
fn asking(names: &[&str], create: bool) -> MetadataRequest {
    MetadataRequest {
        topics: Some(
            names
                .iter()
                .map(|&name| MetadataRequestTopic {
                    name: Some(name.to_owned()),
                    ..MetadataRequestTopic::default()
                })
                .collect(),
        ),
        allow_auto_topic_creation: create,
        ..MetadataRequest::default()
    }
}

/// `CODE name partitions=… …` for every topic.
fn summary(response: &MetadataResponse) -> String {
    let topics: Vec<String> = response
        .topics
        .iter()
        .map(|topic| {
            format!(
                "{} {} partitions={}{}{}",
                error(topic.error_code),
                topic.name.as_deref().unwrap_or("null"),
                topic.partitions.len(),
                if topic.is_internal { " internal" } else { "" },
                if topic.topic_id.is_zero() { "" } else { " id" },
            )
        })
        .collect();
    topics.join(", ")
}

#[test]
fn topics_are_told_by_name_and_by_id() {
    let broker = Broker::start();
    let mut client = broker.client();
    let id = create(&mut client, "told", 2, &[]);
    await_coordinator(&mut client, "told-group");
    let mut table = Table::new("Metadata");
    let missing = |name: &str| format!("UNKNOWN_TOPIC_OR_PARTITION {name} partitions=0");
    let invalid = |name: &str| format!("INVALID_TOPIC_EXCEPTION {name} partitions=0");
    let long = "x".repeat(250);
    for (what, version, name, create, expected) in [
        (
            "known",
            12,
            "told",
            false,
            "NONE told partitions=2 id".to_owned(),
        ),
        (
            "known, v9",
            9,
            "told",
            false,
            "NONE told partitions=2".to_owned(),
        ),
        (
            "known, v0",
            0,
            "told",
            true,
            "NONE told partitions=2".to_owned(),
        ),
        (
            "unknown, request does not allow",
            12,
            "told-2",
            false,
            missing("told-2"),
        ),
        ("invalid name, auto create", 12, "a b", true, invalid("a b")),
        (
            "invalid name, no auto create",
            12,
            "a b",
            false,
            invalid("a b"),
        ),
        ("name of 250 characters", 12, &long, true, invalid(&long)),
        ("name \".\"", 12, ".", true, invalid(".")),
        ("name \"\"", 12, "", true, invalid("")),
        (
            "internal",
            12,
            "__consumer_offsets",
            false,
            "NONE __consumer_offsets partitions=4 internal id".to_owned(),
        ),
    ] {
        let response = client.call(version, &asking(&[name], create));
        table.row(what, summary(&response), &expected);
    }
    let response = client.call(12, &asking(&["told", "told"], false));
    table.row(
        "same topic twice",
        summary(&response),
        "NONE told partitions=2 id",
    );
    let mut absent = [0; 16];
    absent[13] = 1;
    for (what, id, name, expected) in [
        ("v12 known id", id, None, "NONE told partitions=2 id"),
        (
            "v12 unknown id",
            Uuid(absent),
            None,
            "UNKNOWN_TOPIC_ID null partitions=0 id",
        ),
        (
            "v12 zero id and null name",
            Uuid::ZERO,
            None,
            "UNKNOWN_SERVER_ERROR  partitions=0",
        ),
    ] {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                topic_id: id,
                name,
                ..MetadataRequestTopic::default()
            }]),
            ..asking(&[], false)
        };
        let response = client.call(12, &request);
        table.row(what, summary(&response), expected);
    }
    table.finish();
}

#[test]
fn the_cluster_is_told_in_every_version() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "listed", 1, &[]);
    let mut ids = BTreeSet::new();
    for version in 0..=13 {
        let all = MetadataRequest {
            topics: (version > 0)
                .then_some(())
                .map_or(Some(Vec::new()), |()| None),
            ..asking(&[], true)
        };
        let response = client.call(version, &all);
        let name = Some("listed".to_owned());
        assert!(
            response.topics.iter().any(|topic| topic.name == name),
            "all in v{version}"
        );
        let broker_seen = &response.brokers[0];
        assert_eq!(i32::from(client.peer().port()), broker_seen.port);
        assert_eq!(broker_seen.host, "127.0.0.1");
        if version >= 1 {
            assert_eq!(response.controller_id, broker_seen.node_id);
            let none = client.call(version, &asking(&[], true));
            assert!(none.topics.is_empty(), "none in v{version}");
        }
        if version >= 2 {
            ids.insert(response.cluster_id.expect("a cluster id"));
        }
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
    for version in 0..=2 {
        let response = client.call(version, &DescribeClusterRequest::default());
        assert_eq!(error(response.error_code), "NONE", "v{version}");
        assert!(ids.contains(&response.cluster_id));
        assert_eq!(response.brokers.len(), 1);
        assert_eq!(response.brokers[0].port, i32::from(client.peer().port()));
    }
    let mut request = asking(&["listed"], false);
    request.include_topic_authorized_operations = true;
    let response = client.call(12, &request);
    assert_eq!(response.topics[0].topic_authorized_operations, 3576);
    for (endpoint, code) in [
        (2, "MISMATCHED_ENDPOINT_TYPE"),
        (9, "UNSUPPORTED_ENDPOINT_TYPE"),
    ] {
        let request = DescribeClusterRequest {
            endpoint_type: endpoint,
            ..Default::default()
        };
        let response = client.call(1, &request);
        assert_eq!(error(response.error_code), code);
    }
}

#[test]
fn asking_creates_a_topic_where_both_sides_allow_it() {
    let broker = Broker::start();
    let mut client = broker.client();
    for (name, version) in [
        ("asked-12", 12),
        ("asked-4", 4),
        ("asked-3", 3),
        ("asked-0", 0),
    ] {
        client.call(version, &asking(&[name], true));
        await_leaders(&mut client, name, 1);
    }
    // Kafka tells it to be unknown, too: the name collides.
    client.call(12, &asking(&["asked_1"], true));
    await_leaders(&mut client, "asked_1", 1);
    let response = client.call(12, &asking(&["asked.1"], true));
    assert_ne!(error(response.topics[0].error_code), "NONE");
    let got = describe(&mut client, "asked.1").error_code;
    assert_eq!(error(got), "UNKNOWN_TOPIC_OR_PARTITION");
}

#[test]
fn a_broker_may_be_told_not_to_create_topics() {
    let broker = Broker::with(&["auto.create.topics.enable=false"]);
    let mut client = broker.client();
    let mut table = Table::new("Metadata, auto.create.topics.enable=false");
    for _ in 0..2 {
        let response = client.call(12, &asking(&["uncreated"], true));
        let expected = "UNKNOWN_TOPIC_OR_PARTITION uncreated partitions=0";
        table.row("unknown", summary(&response), expected);
    }
    let response = client.call(12, &asking(&["a b"], true));
    table.row(
        "invalid name",
        summary(&response),
        "INVALID_TOPIC_EXCEPTION a b partitions=0",
    );
    table.finish();
}

#[test]
fn partitions_are_told_page_by_page() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "paged", 5, &[]);
    create(&mut client, "paged-2", 1, &[]);
    let request = |names: &[&str], limit, cursor| DescribeTopicPartitionsRequest {
        topics: names
            .iter()
            .map(|&name| TopicRequest {
                name: name.to_owned(),
                ..TopicRequest::default()
            })
            .collect(),
        response_partition_limit: limit,
        cursor,
        ..DescribeTopicPartitionsRequest::default()
    };
    let response = client.call(0, &request(&["paged-no", "a b"], 10, None));
    let got: Vec<_> = response
        .topics
        .iter()
        .map(|topic| (topic.name.as_deref().unwrap_or(""), error(topic.error_code)))
        .collect();
    let expected = [
        ("a b", "INVALID_TOPIC_EXCEPTION"),
        ("paged-no", "UNKNOWN_TOPIC_OR_PARTITION"),
    ];
    assert_eq!(got, expected);
    let mut pages = Vec::new();
    let mut cursor = None;
    loop {
        let response = client.call(0, &request(&["paged-2", "paged"], 2, cursor));
        for topic in &response.topics {
            assert_eq!(error(topic.error_code), "NONE");
            for one in &topic.partitions {
                pages.push(format!(
                    "{}-{}",
                    topic.name.as_deref().unwrap(),
                    one.partition_index
                ));
            }
        }
        let Some(next) = response.next_cursor else {
            break;
        };
        cursor = Some(RequestCursor {
            topic_name: next.topic_name,
            partition_index: next.partition_index,
            ..RequestCursor::default()
        });
        assert!(pages.len() < 10, "it does not end");
    }
    assert_eq!(
        pages,
        [
            "paged-0",
            "paged-1",
            "paged-2",
            "paged-3",
            "paged-4",
            "paged-2-0"
        ]
    );
}

#[test]
fn partitions_spread_over_the_shards_all_serve() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "spread", 16, &[]);
    let mut clients: Vec<_> = (0..6).map(|_| broker.client()).collect();
    for round in 0..3_i64 {
        for partition in 0..16 {
            let at = usize::try_from(partition).unwrap() % clients.len();
            let value = format!("{partition} {round}");
            let records = crate::records::values(&[value.as_str()]);
            let offset = crate::topics::produce(&mut clients[at], "spread", partition, records);
            assert_eq!(offset, round);
        }
    }
    for client in &mut clients {
        for partition in 0..16 {
            let read = crate::topics::read_all(client, "spread", partition, 0);
            let expected: Vec<_> = (0..3)
                .map(|round| (round, format!("{partition} {round}").into_bytes()))
                .collect();
            assert_eq!(read, expected);
        }
    }
    eventually("every shard's image has the topic", || {
        clients
            .iter_mut()
            .all(|client| describe(client, "spread").partitions.len() == 16)
    });
}
