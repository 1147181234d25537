//! A log that Kafka 4.3.1 wrote gives the image its own dump shows.

use std::fmt::Write as _;

use bytes::Bytes;
use corelog_net::wire::Uuid;
use corelog_net::wire::records::{
    AbortTransactionRecord, BeginTransactionRecord, ClearElrRecord, ClientQuotaRecord,
    EndTransactionRecord, PartitionChangeRecord, PartitionRecord, RemoveTopicRecord, TopicRecord,
    client_quota::EntityData,
};
use corelog_storage::batch::UncheckedBatch;

use super::{ApplyError, Image, ResourceType};
use crate::metadata::snapshot::{self, SnapshotId};
use crate::metadata::{MetadataRecord, Replay};

const LOG: &[u8] = include_bytes!("../../../tests/fixtures/metadata/00000000000000000000.log");
const SNAPSHOT: &[u8] =
    include_bytes!("../../../tests/fixtures/metadata/00000000000000000218-0000000001.checkpoint");

/// The image in the words of the fixture files.
fn printed(image: &Image) -> String {
    let mut out = String::new();
    for topic in image.topics_sorted() {
        for (index, it) in topic.numbered() {
            let directories: Vec<String> = it.directories.iter().map(Uuid::to_string).collect();
            writeln!(
                out,
                "partition\t{}\t{}\t{index}\tleader={}\tleader_epoch={}\tpartition_epoch={}\t\
                 replicas={:?}\tisr={:?}\telr={:?}\tlast_known={:?}\trecovery={}\tdirectories={}",
                topic.name,
                topic.id,
                it.leader,
                it.leader_epoch,
                it.partition_epoch,
                it.replicas,
                it.isr,
                it.eligible_leader_replicas,
                it.last_known_elr,
                it.leader_recovery_state,
                directories.join(",")
            )
            .expect("a string grows");
        }
    }
    let mut configs: Vec<_> = image.configs().collect();
    configs.sort();
    for (resource, values) in configs {
        for (name, value) in values {
            writeln!(
                out,
                "config\t{}\t{}\t{name}\t{value}",
                resource.kind, resource.name
            )
            .expect("a string grows");
        }
    }
    for (name, level) in image.features() {
        writeln!(out, "feature\t{name}\t{level}").expect("a string grows");
    }
    writeln!(out, "producer_ids\t{}", image.next_producer_id()).expect("a string grows");
    let broker = &image.broker(1).expect("the broker").registration;
    writeln!(
        out,
        "broker\tepoch={}\tfenced={}\tincarnation={}\tin_controlled_shutdown={}",
        broker.broker_epoch, broker.fenced, broker.incarnation_id, broker.in_controlled_shutdown
    )
    .expect("a string grows");
    out
}

fn assert_printed(image: &Image, expected: &str) {
    for (ours, theirs) in printed(image).lines().zip(expected.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(printed(image).lines().count(), expected.lines().count());
}

/// Replays the log's batches below an offset.
fn replayed(end: i64) -> Image {
    let mut bytes = Bytes::from_static(LOG);
    let mut replay = Replay::default();
    while let Some(batch) = UncheckedBatch::take(&mut bytes).expect("whole batches") {
        if batch.header().base_offset.value() < end {
            replay
                .batch(&batch.check().expect("a good batch"))
                .expect("known records");
        }
    }
    let replayed = replay.finish();
    assert!(!replayed.open_transaction);
    replayed.image
}

#[test]
fn a_log_of_kafka_gives_the_image_its_dump_shows() {
    let image = replayed(i64::MAX);
    assert_printed(
        &image,
        include_str!("../../../tests/fixtures/metadata/image-at-473.tsv"),
    );
    assert_eq!(image.partition_count(), 26);
    assert_eq!(image.topic_count(), 26);
    let topic = image.topic("segments").expect("a topic of the dump");
    assert_eq!(
        image.topic_by_id(topic.id).map(|topic| topic.name.clone()),
        Some("segments".into())
    );
}

#[test]
fn a_snapshot_of_kafka_gives_the_image_of_the_log_before_it() {
    let id = SnapshotId::from_file_name("00000000000000000218-0000000001.checkpoint");
    let id = id.expect("a snapshot's name");
    let image = snapshot::read(Bytes::from_static(SNAPSHOT), id).expect("a whole snapshot");
    assert_printed(
        &image,
        include_str!("../../../tests/fixtures/metadata/image-at-218.tsv"),
    );
    assert_eq!(
        image.at(),
        SnapshotId {
            end_offset: 218,
            epoch: 1
        }
    );
    let log = replayed(218);
    assert_eq!(image.topics_sorted(), log.topics_sorted());
    assert_eq!(image.configs, log.configs);
    assert_eq!(image.controllers.keys().collect::<Vec<_>>(), [&1]);
}

#[test]
fn every_record_of_kafka_is_written_again_byte_for_byte() {
    let mut count = 0;
    for file in [LOG, SNAPSHOT] {
        let mut bytes = Bytes::from_static(file);
        while let Some(batch) = UncheckedBatch::take(&mut bytes).expect("whole batches") {
            let batch = batch.check().expect("a good batch");
            if batch.header().attributes.is_control() {
                continue;
            }
            let payload = batch.open(1 << 20).expect("plain records");
            for record in payload.records() {
                let value = record.expect("a good record").value.expect("a value");
                let value = Bytes::copy_from_slice(value);
                let record = MetadataRecord::decode(&value).expect("a known record");
                let mut again = Vec::new();
                record.encode(&mut again, 30).expect("an encodable record");
                assert_eq!(again, value, "{record:?}");
                count += 1;
            }
        }
    }
    assert_eq!(count, 576);
}

fn id(number: u8) -> Uuid {
    Uuid([number; 16])
}

fn topic(name: &str, number: u8) -> MetadataRecord {
    TopicRecord {
        name: name.to_owned(),
        topic_id: id(number),
        ..Default::default()
    }
    .into()
}

fn partition(number: u8, partition_id: i32) -> MetadataRecord {
    PartitionRecord {
        partition_id,
        topic_id: id(number),
        replicas: vec![1],
        isr: vec![1],
        leader: 1,
        leader_epoch: 0,
        partition_epoch: 0,
        ..PartitionRecord::default()
    }
    .into()
}

#[test]
fn records_that_do_not_fit_are_errors() {
    let mut image = Image::default();
    let gone = RemoveTopicRecord {
        topic_id: id(9),
        ..Default::default()
    };
    assert_eq!(
        image.apply(&gone.into()),
        Err(ApplyError::UnknownTopic(id(9)))
    );
    image.apply(&topic("t", 1)).expect("a topic");
    assert_eq!(
        image.apply(&partition(1, 1)),
        Err(ApplyError::PartitionGap(id(1), 1, 0))
    );
    assert_eq!(
        image.apply(&partition(1, -1)),
        Err(ApplyError::PartitionGap(id(1), -1, 0))
    );
    let change = PartitionChangeRecord {
        topic_id: id(1),
        partition_id: 3,
        ..Default::default()
    };
    assert_eq!(
        image.apply(&change.into()),
        Err(ApplyError::UnknownPartition(id(1), 3))
    );
}

#[test]
fn a_clone_does_not_see_what_comes_after() {
    let mut image = Image::default();
    for record in [topic("t", 1), partition(1, 0)] {
        image.apply(&record).expect("it fits");
    }
    let before = image.clone();
    for record in [topic("u", 2), partition(2, 0), partition(1, 1)] {
        image.apply(&record).expect("it fits");
    }
    assert_eq!((before.topic_count(), before.partition_count()), (1, 1));
    assert_eq!((image.topic_count(), image.partition_count()), (2, 3));
    assert_eq!(
        before.topic("t").map(|topic| topic.partition_count()),
        Some(1)
    );
}

#[test]
fn a_delta_names_what_changed() {
    let mut image = Image::default();
    for record in [
        topic("t", 1),
        partition(1, 0),
        topic("u", 2),
        partition(2, 0),
    ] {
        image.apply(&record).expect("it fits");
    }
    let gone = RemoveTopicRecord {
        topic_id: id(2),
        ..Default::default()
    };
    let records = [topic("v", 3), partition(3, 0), partition(1, 1), gone.into()];
    let (after, delta) = image.after(&records).expect("they fit");
    let names = |topics: &[std::sync::Arc<super::TopicImage>]| -> Vec<String> {
        topics.iter().map(|topic| topic.name.to_string()).collect()
    };
    assert_eq!(names(&delta.created), ["v"]);
    assert_eq!(names(&delta.changed), ["t"]);
    assert_eq!(names(&delta.deleted), ["u"]);
    assert_eq!(delta.deleted[0].partitions.len(), 1);
    assert!(after.topic("u").is_none() && after.topic_by_id(id(2)).is_none());
    assert_eq!(after.partition_count(), 3);
}

#[test]
fn transactions_count_when_they_end() {
    let mut replay = Replay::default();
    let mut take = |record: MetadataRecord| replay.record(record).expect("it fits");
    take(BeginTransactionRecord::default().into());
    take(topic("lost", 1));
    take(AbortTransactionRecord::default().into());
    take(BeginTransactionRecord::default().into());
    take(topic("kept", 2));
    take(EndTransactionRecord::default().into());
    take(BeginTransactionRecord::default().into());
    take(topic("open", 3));
    let replayed = replay.finish();
    assert!(replayed.open_transaction);
    let topics: Vec<_> = replayed
        .image
        .topics()
        .map(|topic| topic.name.to_string())
        .collect();
    assert_eq!(topics, ["kept"]);
}

#[test]
fn eligible_replicas_are_cleared_for_one_topic_or_all() {
    let mut image = Image::default();
    let lost = |number| {
        PartitionChangeRecord {
            topic_id: id(number),
            partition_id: 0,
            isr: Some(Vec::new()),
            leader: -1,
            eligible_leader_replicas: Some(vec![1]),
            ..PartitionChangeRecord::default()
        }
        .into()
    };
    let records = [
        topic("t", 1),
        partition(1, 0),
        topic("u", 2),
        partition(2, 0),
        lost(1),
        lost(2),
    ];
    for record in &records {
        image.apply(record).expect("it fits");
    }
    let elr = |image: &Image, name: &str| {
        image.topic(name).expect("a topic").partitions[0]
            .eligible_leader_replicas
            .clone()
    };
    assert_eq!(
        image.topic("t").expect("a topic").partitions[0].leader_epoch,
        1
    );
    let one = ClearElrRecord {
        topic_name: "t".to_owned(),
        ..Default::default()
    };
    image.apply(&one.into()).expect("it fits");
    assert_eq!((elr(&image, "t"), elr(&image, "u")), (vec![], vec![1]));
    image
        .apply(&ClearElrRecord::default().into())
        .expect("it fits");
    assert_eq!(elr(&image, "u"), Vec::<i32>::new());
}

#[test]
fn quotas_survive_a_snapshot() {
    let mut image = Image::default();
    let part = |kind: &str, name: Option<&str>| EntityData {
        entity_type: kind.to_owned(),
        entity_name: name.map(str::to_owned),
        ..EntityData::default()
    };
    let quota = |remove| ClientQuotaRecord {
        entity: vec![part("user", None), part("client-id", Some("c"))],
        key: "producer_byte_rate".to_owned(),
        value: 1024.5,
        remove,
        ..ClientQuotaRecord::default()
    };
    image.apply(&quota(false).into()).expect("a quota");
    let mut again = Image::default();
    for record in image.to_records() {
        again.apply(&record).expect("it fits");
    }
    assert_eq!(again, image);
    assert_eq!(image.quotas().len(), 1);
    image.apply(&quota(true).into()).expect("a quota");
    assert!(image.quotas().is_empty());
    assert!(image.config(ResourceType::Topic, "t").is_none());
}

#[test]
fn unknown_records_are_not_skipped() {
    let unknown = [
        (
            &b"\x01\x7f\x00"[..],
            "metadata record type 127 is not known",
        ),
        (
            b"\x02\x0c\x00",
            "metadata record frame has version 2, only 1 is known",
        ),
        (
            b"\x01\x02\x09",
            "metadata record is malformed: TopicRecord has no version 9",
        ),
        (
            b"\x01",
            "metadata record is malformed: the message is cut short",
        ),
    ];
    for (bytes, sentence) in unknown {
        let error = MetadataRecord::decode(&Bytes::from_static(bytes)).expect_err("unknown");
        assert_eq!(error.to_string(), sentence);
    }
}
