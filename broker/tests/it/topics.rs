//! Topics of the tests, and the requests that most tests need.
//!
//! **Owns** short forms of `CreateTopics`, Metadata, Produce, Fetch and `ListOffsets`.
//! **Lives on** the test's thread.
//! **Not here**: what these APIs promise (the tests named after them).

use bytes::Bytes;
use corelog_net::wire::Uuid;
use corelog_net::wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use corelog_net::wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use corelog_net::wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use corelog_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use corelog_net::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use corelog_net::wire::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponseTopic,
};
use corelog_net::wire::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};

use crate::client::Client;
use crate::harness::eventually;
use crate::records;
use crate::table::error;

/// Makes a topic and waits until every partition has a leader; its id.
#[track_caller]
pub(crate) fn create(
    client: &mut Client,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Uuid {
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: 1,
            assignments: Vec::new(),
            configs: configs
                .iter()
                .map(|&(name, value)| CreatableTopicConfig {
                    name: name.to_owned(),
                    value: Some(value.to_owned()),
                    ..CreatableTopicConfig::default()
                })
                .collect(),
            ..CreatableTopic::default()
        }],
        timeout_ms: 20_000,
        validate_only: false,
        ..CreateTopicsRequest::default()
    };
    let response = client.call(7, &request);
    let result = &response.topics[0];
    assert_eq!(
        error(result.error_code),
        "NONE",
        "{name}: {:?}",
        result.error_message
    );
    await_leaders(client, name, partitions);
    result.topic_id
}

/// Waits until Metadata shows this many partitions of the topic, each with a leader.
#[track_caller]
pub(crate) fn await_leaders(client: &mut Client, name: &str, partitions: i32) {
    let expected = usize::try_from(partitions).expect("a count");
    eventually("the topic has leaders", || {
        let topic = describe(client, name);
        topic.partitions.len() == expected
            && topic
                .partitions
                .iter()
                .all(|one| one.error_code == 0 && one.leader_id >= 0)
    });
    for partition in 0..partitions {
        // Kafka shows a leader a moment before it leads.
        eventually("the leader leads", || {
            let response = client.call(7, &listing(name, partition, -1));
            response.topics[0].partitions[0].error_code == 0
        });
    }
}

/// Deletes a topic and waits until Metadata no longer has it.
#[track_caller]
pub(crate) fn delete(client: &mut Client, name: &str) {
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some(name.to_owned()),
            ..DeleteTopicState::default()
        }],
        timeout_ms: 20_000,
        ..DeleteTopicsRequest::default()
    };
    let response = client.call(6, &request);
    assert_eq!(error(response.responses[0].error_code), "NONE", "{name}");
    eventually("the topic is gone", || {
        error(describe(client, name).error_code) == "UNKNOWN_TOPIC_OR_PARTITION"
    });
}

/// What Metadata says of a topic; it is not created by asking.
#[track_caller]
pub(crate) fn describe(client: &mut Client, name: &str) -> MetadataResponseTopic {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(name.to_owned()),
            ..MetadataRequestTopic::default()
        }]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    let mut response = client.call(12, &request);
    response.topics.pop().expect("the topic that was asked for")
}

/// Produce of one record set, acknowledged by all.
pub(crate) fn producing(topic: &str, partition: i32, records: Vec<u8>) -> ProduceRequest {
    ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 5000,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![PartitionProduceData {
                index: partition,
                records: Some(Bytes::from(records)),
                ..PartitionProduceData::default()
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    }
}

/// Produces one record set; its first offset.
#[track_caller]
pub(crate) fn produce(client: &mut Client, topic: &str, partition: i32, records: Vec<u8>) -> i64 {
    let response = client.call(9, &producing(topic, partition, records));
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!(
        error(answer.error_code),
        "NONE",
        "{topic}-{partition}: {answer:?}"
    );
    answer.base_offset
}

/// Fetch of one partition, without a session, that does not wait.
pub(crate) fn fetching(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 64 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.to_owned(),
            partitions: vec![FetchPartition {
                partition,
                fetch_offset: offset,
                partition_max_bytes: 64 << 20,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

/// The record set of the response's only partition.
#[track_caller]
pub(crate) fn only_records(response: &FetchResponse) -> Bytes {
    assert_eq!(error(response.error_code), "NONE");
    let partition = &response.responses[0].partitions[0];
    assert_eq!(error(partition.error_code), "NONE");
    partition.records.clone().unwrap_or_default()
}

/// Everything from an offset to the end of the log: offsets and values.
#[track_caller]
pub(crate) fn read_all(
    client: &mut Client,
    topic: &str,
    partition: i32,
    from: i64,
) -> Vec<(i64, Vec<u8>)> {
    let end = end_offset(client, topic, partition);
    let mut all: Vec<(i64, Vec<u8>)> = Vec::new();
    let mut next = from;
    while next < end {
        let response = client.call(12, &fetching(topic, partition, next));
        let read = records::read(&only_records(&response));
        assert!(
            !read.is_empty(),
            "{topic}-{partition}: nothing at {next}, the end is {end}"
        );
        // A fetch begins with the batch that holds the offset.
        all.extend(read.into_iter().filter(|(offset, _)| *offset >= next));
        next = all.last().map_or(next, |(offset, _)| offset + 1);
    }
    all
}

/// `ListOffsets` of one partition.
pub(crate) fn listing(topic: &str, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: topic.to_owned(),
            partitions: vec![ListOffsetsPartition {
                partition_index: partition,
                timestamp,
                ..ListOffsetsPartition::default()
            }],
            ..ListOffsetsTopic::default()
        }],
        ..ListOffsetsRequest::default()
    }
}

/// The offset that `ListOffsets` finds: −1 for the end, −2 for the start, or a time.
#[track_caller]
pub(crate) fn offset_of(client: &mut Client, topic: &str, partition: i32, timestamp: i64) -> i64 {
    let response = client.call(7, &listing(topic, partition, timestamp));
    let answer = &response.topics[0].partitions[0];
    assert_eq!(error(answer.error_code), "NONE", "{topic}-{partition}");
    answer.offset
}

/// The high watermark.
#[track_caller]
pub(crate) fn end_offset(client: &mut Client, topic: &str, partition: i32) -> i64 {
    offset_of(client, topic, partition, -1)
}

/// `DeleteRecords` of one partition.
pub(crate) fn deleting_records(topic: &str, offset: i64) -> DeleteRecordsRequest {
    DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: topic.to_owned(),
            partitions: vec![DeleteRecordsPartition {
                partition_index: 0,
                offset,
                ..DeleteRecordsPartition::default()
            }],
            ..DeleteRecordsTopic::default()
        }],
        timeout_ms: 5000,
        ..DeleteRecordsRequest::default()
    }
}
