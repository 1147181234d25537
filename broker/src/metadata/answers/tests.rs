//! Metadata, `DescribeTopicPartitions` and `DescribeCluster` as Kafka answered them.

use corelog_net::wire::messages::describe_cluster::DescribeClusterRequest;
use corelog_net::wire::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, RequestCursor, TopicRequest,
};
use corelog_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use corelog_net::wire::records::{
    PartitionRecord, RegisterBrokerRecord, TopicRecord, register_broker::BrokerEndpoint,
};
use corelog_net::wire::{Message, Uuid};

use super::{AllTopics, ClusterView, MetadataAnswer};
use crate::metadata::Image;

fn image() -> Image {
    let mut image = Image::default();
    let endpoint = BrokerEndpoint {
        name: "PLAINTEXT".to_owned(),
        host: "127.0.0.1".to_owned(),
        port: 9092,
        ..BrokerEndpoint::default()
    };
    let broker = RegisterBrokerRecord {
        broker_id: 1,
        end_points: vec![endpoint],
        fenced: false,
        ..RegisterBrokerRecord::default()
    };
    image.apply(&broker.into()).expect("it fits");
    for (number, name, count) in [(1, "g", 2), (2, "__consumer_offsets", 1), (3, "h", 3)] {
        let topic_id = Uuid([number; 16]);
        let record = TopicRecord {
            name: name.to_owned(),
            topic_id,
            ..Default::default()
        };
        image.apply(&record.into()).expect("it fits");
        for partition_id in 0..count {
            let record = PartitionRecord {
                partition_id,
                topic_id,
                replicas: vec![1],
                isr: vec![1],
                leader: 1,
                leader_epoch: 0,
                partition_epoch: 0,
                ..PartitionRecord::default()
            };
            image.apply(&record.into()).expect("it fits");
        }
    }
    image
}

fn view(image: &Image) -> ClusterView<'_> {
    ClusterView {
        image,
        cluster_id: "cluster",
        node_id: 1,
        listener: "PLAINTEXT",
    }
}

fn by_name(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic {
        name: Some((*name).to_owned()),
        ..MetadataRequestTopic::default()
    };
    MetadataRequest {
        topics: Some(names.iter().map(topic).collect()),
        ..Default::default()
    }
}

fn by_id(ids: &[(u8, Option<&str>)]) -> MetadataRequest {
    let topic = |(id, name): &(u8, Option<&str>)| MetadataRequestTopic {
        topic_id: Uuid([*id; 16]),
        name: name.map(str::to_owned),
        ..MetadataRequestTopic::default()
    };
    MetadataRequest {
        topics: Some(ids.iter().map(topic).collect()),
        ..Default::default()
    }
}

fn codes(answer: &MetadataAnswer) -> Vec<(Option<&str>, i16)> {
    answer
        .response
        .topics
        .iter()
        .map(|it| (it.name.as_deref(), it.error_code))
        .collect()
}

#[test]
fn all_none_and_named() {
    let image = image();
    let all = view(&image).metadata(
        &MetadataRequest {
            topics: None,
            ..Default::default()
        },
        12,
    );
    assert_eq!(all.response.topics.len(), 3);
    assert_eq!(all.response.controller_id, 1);
    assert_eq!(all.response.brokers[0].port, 9092);
    assert_eq!(all.response.cluster_id.as_deref(), Some("cluster"));
    let none = MetadataRequest {
        topics: Some(Vec::new()),
        ..Default::default()
    };
    assert_eq!(view(&image).metadata(&none, 12).response.topics, []);
    assert_eq!(view(&image).metadata(&none, 0).response.topics.len(), 3);
    let twice = view(&image).metadata(&by_name(&["g", "g"]), 12);
    assert_eq!(codes(&twice), [(Some("g"), 0)]);
    assert_eq!(twice.response.topics[0].partitions.len(), 2);
    let internal = view(&image).metadata(&by_name(&["__consumer_offsets"]), 12);
    assert!(internal.response.topics[0].is_internal);
}

#[test]
fn unknown_topics_may_be_created_when_the_request_allows() {
    let image = image();
    let long = "x".repeat(250);
    let names = ["auto1", "a b", ".", "", long.as_str()];
    let answer = view(&image).metadata(&by_name(&names), 12);
    let expected: Vec<_> = names
        .iter()
        .zip([3, 17, 17, 17, 17])
        .map(|(name, code)| (Some(*name), code))
        .collect();
    assert_eq!(codes(&answer), expected);
    assert_eq!(answer.missing, ["auto1"]);
    let mut request = by_name(&["auto2"]);
    request.allow_auto_topic_creation = false;
    let answer = view(&image).metadata(&request, 12);
    assert_eq!(
        (codes(&answer), answer.missing.len()),
        (vec![(Some("auto2"), 3)], 0)
    );
    assert_eq!(
        view(&image).metadata(&request, 3).missing,
        ["auto2"],
        "no such field yet"
    );
}

#[test]
fn topics_by_id() {
    let image = image();
    let view = view(&image);
    assert_eq!(
        codes(&view.metadata(&by_id(&[(1, None)]), 12)),
        [(Some("g"), 0)]
    );
    assert_eq!(
        codes(&view.metadata(&by_id(&[(9, None)]), 12)),
        [(None, 100)]
    );
    assert_eq!(
        codes(&view.metadata(&by_id(&[(9, Some("g"))]), 12)),
        [(None, 100)]
    );
    assert_eq!(
        codes(&view.metadata(&by_id(&[(0, None)]), 12)),
        [(Some(""), -1)]
    );
    assert_eq!(
        codes(&view.metadata(&by_id(&[(1, None)]), 11)),
        [(Some(""), 42)]
    );
}

#[test]
fn operations_are_told_when_asked_for() {
    let image = image();
    let mut request = by_name(&["g"]);
    request.include_topic_authorized_operations = true;
    request.include_cluster_authorized_operations = true;
    let response = view(&image).metadata(&request, 10).response;
    assert_eq!(response.topics[0].topic_authorized_operations, 3576);
    assert_eq!(response.cluster_authorized_operations, 8096);
}

#[test]
fn every_version_can_be_written() {
    let image = image();
    for version in MetadataRequest::VALID_VERSIONS {
        let answer = view(&image).metadata(&by_name(&["g", "nope"]), version);
        answer
            .response
            .to_vec(version)
            .expect("an encodable answer");
    }
}

#[test]
fn a_broker_without_the_listener_cannot_be_reached() {
    let image = image();
    let view = ClusterView {
        listener: "OTHER",
        ..view(&image)
    };
    for (version, code) in [(12, 72), (5, 5)] {
        let response = view.metadata(&by_name(&["g"]), version).response;
        assert!(response.brokers.is_empty());
        let partition = &response.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.leader_id), (code, -1));
        assert_eq!(partition.offline_replicas, [1]);
    }
}

fn described(names: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> Vec<(String, i16, usize)> {
    let image = image();
    let response = view(&image).topic_partitions(&partitions_request(names, limit, cursor), 2000);
    let name = |name: Option<String>| name.unwrap_or_default();
    let mut out: Vec<_> = response
        .topics
        .into_iter()
        .map(|topic| (name(topic.name), topic.error_code, topic.partitions.len()))
        .collect();
    out.extend(response.next_cursor.map(|cursor| {
        let at = usize::try_from(cursor.partition_index).expect("an index");
        (format!("next {}", cursor.topic_name), 0, at)
    }));
    out
}

fn partitions_request(
    names: &[&str],
    limit: i32,
    cursor: Option<(&str, i32)>,
) -> DescribeTopicPartitionsRequest {
    let topic = |name: &&str| TopicRequest {
        name: (*name).to_owned(),
        ..Default::default()
    };
    DescribeTopicPartitionsRequest {
        topics: names.iter().map(topic).collect(),
        response_partition_limit: limit,
        cursor: cursor.map(|(name, partition_index)| RequestCursor {
            topic_name: name.to_owned(),
            partition_index,
            ..RequestCursor::default()
        }),
        ..DescribeTopicPartitionsRequest::default()
    }
}

#[test]
fn partitions_come_in_pages() {
    let row = |name: &str, code, count| (name.to_owned(), code, count);
    assert_eq!(
        described(&["nope", "a b"], 10, None),
        [row("a b", 17, 0), row("nope", 3, 0)]
    );
    assert_eq!(
        described(&["g"], 1, None),
        [row("g", 0, 1), row("next g", 0, 1)]
    );
    assert_eq!(described(&["g"], 10, Some(("g", 1))), [row("g", 0, 1)]);
    assert_eq!(described(&["g"], 10, Some(("g", -1))), [row("g", 42, 0)]);
    let pages = [
        row("__consumer_offsets", 0, 1),
        row("g", 0, 2),
        row("next h", 0, 0),
    ];
    assert_eq!(described(&[], 3, None), pages);
    assert_eq!(described(&[], 3, Some(("h", 0))), [row("h", 0, 3)]);
    assert_eq!(described(&["g"], 10, Some(("g", 9))), [row("g", 0, 0)]);
}

#[test]
fn the_cluster() {
    let image = image();
    let request = DescribeClusterRequest::default();
    let response = view(&image).cluster(&request);
    assert_eq!(
        (
            response.error_code,
            response.controller_id,
            response.brokers.len()
        ),
        (0, 1, 1)
    );
    assert_eq!(response.cluster_id, "cluster");
    let rows = [
        (
            2,
            114,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
        ),
        (9, 115, "Unsupported endpoint type 9"),
    ];
    for (endpoint_type, code, message) in rows {
        let response = view(&image).cluster(&DescribeClusterRequest {
            endpoint_type,
            ..DescribeClusterRequest::default()
        });
        assert_eq!((response.error_code, response.controller_id), (code, -1));
        assert_eq!(response.error_message.as_deref(), Some(message));
        assert_eq!(response.endpoint_type, 1);
    }
}

#[test]
fn all_topics_in_pieces_are_the_message_in_every_version() {
    let mut image = image();
    for number in 100..150_u8 {
        let topic_id = Uuid([number; 16]);
        let record = TopicRecord {
            name: format!("topic-{}", u32::from(number) * 37 % 100),
            topic_id,
            ..Default::default()
        };
        image.apply(&record.into()).expect("it fits");
        // Topics of no partition, of some, and one of more than a piece holds.
        let count = match number {
            117 => 5_000,
            number => i32::from(number) % 4,
        };
        for partition_id in 0..count {
            let record = PartitionRecord {
                partition_id,
                topic_id,
                // Broker 2 is not there.
                replicas: vec![1, 2],
                isr: vec![1],
                leader: 1 + partition_id % 2,
                ..PartitionRecord::default()
            };
            image.apply(&record.into()).expect("it fits");
        }
    }
    for version in 0..=13 {
        for wanted in [false, true] {
            let request = MetadataRequest {
                topics: (version == 0).then(Vec::new),
                include_topic_authorized_operations: wanted && version >= 8,
                include_cluster_authorized_operations: wanted,
                ..MetadataRequest::default()
            };
            assert!(super::is_all_asked(&request, version));
            let whole = view(&image).metadata(&request, version).response;
            let whole = whole.to_vec(version).expect("it can be written");
            let mut pieces = Vec::new();
            let mut all = AllTopics::begin(view(&image), &request, version, &mut pieces)
                .expect("it can be written");
            let mut count = 1;
            while !all.piece(&mut pieces).expect("it can be written") {
                count += 1;
            }
            assert!(pieces == whole, "version {version}");
            assert!(count > 2, "{count} pieces");
        }
    }
}

#[test]
fn pages_of_all_topics_are_in_order_and_leave_none_out() {
    let mut image = Image::default();
    for number in 0..100_u8 {
        let topic_id = Uuid([number + 1; 16]);
        let record = TopicRecord {
            name: format!("topic-{}", u32::from(number) * 37 % 100),
            topic_id,
            ..Default::default()
        };
        image.apply(&record.into()).expect("it fits");
        for partition_id in 0..=(i32::from(number) % 3) {
            let record = PartitionRecord {
                partition_id,
                topic_id,
                ..PartitionRecord::default()
            };
            image.apply(&record.into()).expect("it fits");
        }
    }
    for limit in [1, 2, 7, 1_000] {
        let mut request = DescribeTopicPartitionsRequest {
            response_partition_limit: limit,
            ..Default::default()
        };
        let mut found = Vec::new();
        loop {
            let page = view(&image).topic_partitions(&request, 2_000);
            for topic in page.topics {
                let name = topic.name.expect("it has a name");
                let numbers = topic.partitions.iter().map(|one| one.partition_index);
                found.extend(numbers.map(|number| (name.clone(), number)));
            }
            let Some(next) = page.next_cursor else { break };
            request.cursor = Some(RequestCursor {
                topic_name: next.topic_name,
                partition_index: next.partition_index,
                ..RequestCursor::default()
            });
        }
        assert_eq!(found.len(), image.partition_count());
        assert!(found.is_sorted() && found.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
