//! However a cluster came to be, its log, its snapshot, and a snapshot with the log after it give the
//! same image.

use bytes::Bytes;
use corelog_net::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use corelog_net::wire::messages::delete_topics::DeleteTopicsRequest;
use corelog_storage::types::{LeaderEpoch, Offset, Timestamp};
use proptest::prelude::*;

use super::{Node, alter, request, topic};
use crate::metadata::log::{self, Place};
use crate::metadata::snapshot::{self, SnapshotId};
use crate::metadata::{MetadataRecord, Replay};

#[derive(Clone, Debug)]
enum Step {
    Create(u8, i32),
    Delete(u8),
    Grow(u8, i32),
    Set(u8, u8),
    Unset(u8),
    Cluster(u8),
    ProducerIds,
    Group(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_u8, 1..5_i32).prop_map(|(name, count)| Step::Create(name, count)),
        2 => (0..12_u8).prop_map(Step::Delete),
        2 => (0..12_u8, 1..9_i32).prop_map(|(name, count)| Step::Grow(name, count)),
        2 => (0..12_u8, 0..9_u8).prop_map(|(name, value)| Step::Set(name, value)),
        1 => (0..12_u8).prop_map(Step::Unset),
        1 => (0..9_u8).prop_map(Step::Cluster),
        1 => Just(Step::ProducerIds),
        1 => (0..4_u8).prop_map(Step::Group),
    ]
}

fn name(number: u8) -> String {
    format!("topic-{number}")
}

/// Takes a step as a client and the log would; refusals are steps too.
fn take(node: &mut Node, step: &Step) {
    match step {
        Step::Create(number, count) => {
            node.create(&request(vec![topic(&name(*number), *count, 1)]));
        }
        Step::Delete(number) => {
            let topic_names = vec![name(*number)];
            let request = DeleteTopicsRequest {
                topic_names,
                ..Default::default()
            };
            let records = node.controller().delete_topics(&request, 5).records;
            node.store(&records);
        }
        Step::Grow(number, count) => {
            let topic = CreatePartitionsTopic {
                name: name(*number),
                count: *count,
                ..CreatePartitionsTopic::default()
            };
            let request = CreatePartitionsRequest {
                topics: vec![topic],
                ..Default::default()
            };
            let records = node.controller().create_partitions(&request).records;
            node.store(&records);
        }
        Step::Set(number, value) => {
            let value = (i64::from(*value) * 1000 - 1).to_string();
            alter(
                node,
                2,
                &name(*number),
                &[("retention.ms", 0, Some(&value))],
            );
        }
        Step::Unset(number) => {
            alter(node, 2, &name(*number), &[("retention.ms", 1, None)]);
        }
        Step::Cluster(value) => {
            alter(
                node,
                4,
                "",
                &[("max.connections", 0, Some(&value.to_string()))],
            );
        }
        Step::ProducerIds => {
            let records = node.controller().own_producer_ids().records;
            node.store(&records);
        }
        Step::Group(number) => {
            let group = format!("g{number}");
            alter(
                node,
                32,
                &group,
                &[("consumer.session.timeout.ms", 0, Some("50000"))],
            );
        }
    }
}

fn bytes_of(records: &[MetadataRecord], base: i64) -> Bytes {
    if records.is_empty() {
        return Bytes::new();
    }
    let place = Place {
        base_offset: Offset(base),
        epoch: LeaderEpoch(1),
        now: Timestamp(1_700_000_000_000),
    };
    log::batch(records, 30, place).expect("a batch").to_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn an_image_is_what_its_snapshot_and_log_say(
        steps in prop::collection::vec(step(), 0..40),
        cut in 0..40_usize,
    ) {
        let mut node = Node::new("");
        let mut log: Vec<MetadataRecord> = node.image.to_records();
        let mut snapshot = (snapshot_of(&node), log.len());
        for (index, step) in steps.iter().enumerate() {
            if index == cut {
                snapshot = (snapshot_of(&node), log.len());
            }
            node.log = Some(Vec::new());
            take(&mut node, step);
            log.extend(node.log.take().unwrap_or_default());
        }
        let mut replay = Replay::default();
        prop_assert_eq!(replay.batches(bytes_of(&log, 0)).expect("our own log"), 0);
        prop_assert_eq!(&replay.finish().image, &node.image);

        let (file, end) = snapshot;
        let base = i64::try_from(end).expect("a small log");
        let image = snapshot::read(file, SnapshotId::default()).expect("our own snapshot");
        let mut replay = Replay::from(image);
        replay.batches(bytes_of(&log[end..], base)).expect("our own log");
        prop_assert_eq!(&replay.finish().image, &node.image);
    }
}

fn snapshot_of(node: &Node) -> Bytes {
    let time = Timestamp(1_700_000_000_000);
    let records = node.image.to_records();
    snapshot::write(
        &records,
        node.image.quorum(),
        30,
        LeaderEpoch(1),
        time,
        time,
    )
    .expect("a snapshot")
    .into()
}
