//! What is told of a directory.

use corelog_net::wire::Message as _;
use corelog_net::wire::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsResponse,
};
use corelog_storage::types::TopicPartition;

use super::{DescribeLogDirsResult, described, wanted};
use crate::shard::LogSize;

fn logs() -> Vec<LogSize> {
    [
        ("b", 1, 5),
        ("__cluster_metadata", 0, 9),
        ("b", 0, 7),
        ("a", 2, 0),
    ]
    .map(|(topic, partition, size)| LogSize {
        name: TopicPartition {
            topic: topic.into(),
            partition,
        },
        directory: 0,
        size,
        future_lag: None,
    })
    .into()
}

fn sizes(result: &DescribeLogDirsResult) -> Vec<(&str, i32, i64)> {
    let mut out = Vec::new();
    for topic in &result.topics {
        for part in &topic.partitions {
            out.push((
                topic.name.as_str(),
                part.partition_index,
                part.partition_size,
            ));
        }
    }
    out
}

#[test]
fn every_log_but_the_metadata_is_told_in_order() {
    let result = described("/d".to_owned(), Ok((100, 60)), logs().iter(), None);
    assert_eq!(sizes(&result), [("a", 2, 0), ("b", 0, 7), ("b", 1, 5)]);
    assert_eq!((result.total_bytes, result.usable_bytes), (100, 60));
    let answer = DescribeLogDirsResponse {
        results: vec![result],
        ..Default::default()
    };
    for version in 1..=5 {
        answer.to_vec(version).unwrap();
    }
}

#[test]
fn only_what_is_asked_for_is_told() {
    let asked = [DescribableLogDirTopic {
        topic: "b".to_owned(),
        partitions: vec![1, 8],
        ..Default::default()
    }];
    let result = described(
        "/d".to_owned(),
        Ok((1, 1)),
        logs().iter(),
        Some(&wanted(&asked)),
    );
    assert_eq!(sizes(&result), [("b", 1, 5)]);
}

#[test]
fn a_directory_that_does_not_answer_is_an_error() {
    let result = described("/d".to_owned(), Err("gone".to_owned()), logs().iter(), None);
    assert_eq!((result.error_code, result.topics.len()), (56, 0));
}
