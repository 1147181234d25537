//! Snapshots are whole or refused.

use bytes::Bytes;
use corelog_net::wire::Uuid;
use corelog_storage::types::{LeaderEpoch, Timestamp};

use super::{SnapshotError, SnapshotId, bootstrap_records, last_timestamp, read, write};
use crate::config::Endpoint;
use crate::metadata::bootstrap::{self, NodeRegistration, Restart};
use crate::metadata::{Image, MetadataRecord, Quorum, Replay};

fn node() -> NodeRegistration {
    NodeRegistration {
        node_id: 1,
        incarnation_id: Uuid([5; 16]),
        endpoints: vec![Endpoint::parse("PLAINTEXT://localhost:9092").expect("an endpoint")],
        rack: Some("r".to_owned()),
        log_dirs: vec![Uuid([6; 16])],
        cordoned_log_dirs: Vec::new(),
    }
}

fn started() -> Image {
    let mut replay = Replay::default();
    for record in bootstrap::empty_cluster(bootstrap::features()) {
        replay.record(record).expect("it fits");
    }
    for record in bootstrap::start(&Image::default(), &node(), 9, Restart::Clean) {
        replay.record(record).expect("it fits");
    }
    let replayed = replay.finish();
    assert!(!replayed.open_transaction);
    replayed.image
}

fn bytes(image: &Image) -> Vec<u8> {
    let (epoch, time) = (LeaderEpoch(3), Timestamp(1_700_000_000_000));
    write(
        &image.to_records(),
        image.quorum(),
        image.metadata_version(),
        epoch,
        time,
        time,
    )
    .expect("a snapshot")
}

#[test]
fn names() {
    let id = SnapshotId {
        end_offset: 218,
        epoch: 1,
    };
    assert_eq!(id.file_name(), "00000000000000000218-0000000001.checkpoint");
    assert_eq!(SnapshotId::from_file_name(&id.file_name()), Some(id));
    let others = [
        "00000000000000000218-0000000001.checkpoint.part",
        "00000000000000000218-0000000001.checkpoint.deleted",
        "218-1.checkpoint",
        "bootstrap.checkpoint",
        "0000000000000000+218-0000000001.checkpoint",
    ];
    for name in others {
        assert_eq!(SnapshotId::from_file_name(name), None, "{name}");
    }
}

#[test]
fn a_first_start_gives_a_registered_unfenced_node_and_the_features_of_4_3() {
    let image = started();
    let broker = image.broker(1).expect("this node");
    assert!(!broker.fenced());
    assert_eq!(broker.endpoint("PLAINTEXT"), Some(("localhost", 9092)));
    assert_eq!(broker.registration.broker_epoch, 9);
    let levels: Vec<_> = image
        .features()
        .iter()
        .map(|(name, level)| (name.as_str(), *level))
        .collect();
    let expected = [
        ("eligible.leader.replicas.version", 1),
        ("group.version", 1),
        ("metadata.version", 30),
        ("share.version", 1),
        ("streams.version", 1),
        ("transaction.version", 2),
    ];
    assert_eq!(levels, expected);
    let stop = bootstrap::stop(&image, 1);
    let (stopped, delta) = image.after(&stop).expect("it fits");
    assert!(delta.brokers && stopped.broker(1).expect("this node").fenced());
    assert_eq!(bootstrap::stop(&stopped, 1), []);
}

#[test]
fn what_is_written_is_read() {
    let mut image = started();
    let id = SnapshotId {
        end_offset: 10,
        epoch: 3,
    };
    image.set_at(id);
    assert_eq!(
        read(bytes(&image).into(), id).expect("a whole snapshot"),
        image
    );
}

#[test]
fn a_cut_or_damaged_snapshot_is_refused() {
    let whole = bytes(&started());
    let id = SnapshotId::default();
    for end in 0..whole.len() {
        let cut = Bytes::copy_from_slice(&whole[..end]);
        let error = read(cut, id).expect_err("a cut file");
        let expected = matches!(
            error,
            SnapshotError::NoHeader | SnapshotError::NoFooter | SnapshotError::Replay(_)
        );
        assert!(expected, "{error}");
    }
    for position in [20, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[position] ^= 1;
        assert!(read(damaged.into(), id).is_err());
    }
    let footer_first = whole[whole.len() - 75..].to_vec();
    assert!(read(footer_first.into(), id).is_err());
}

#[test]
fn a_node_takes_the_lead_of_what_it_holds() {
    let log = include_bytes!("../../../tests/fixtures/metadata/00000000000000000000.log");
    let mut replay = Replay::default();
    let rest = replay
        .batches(Bytes::from_static(log))
        .expect("a log of Kafka");
    assert_eq!(rest, 0);
    let image = replay.finish().image;
    // The directory that the log was written in, as its `meta.properties` would tell.
    let holder = NodeRegistration {
        log_dirs: image.topics_sorted()[0].partitions[0].directories.clone(),
        ..node()
    };
    let records = bootstrap::start(&image, &holder, 473, Restart::Clean);
    assert_eq!(records.len(), 1 + image.partition_count());
    let (after, _) = image.after(&records).expect("they fit");
    for (before, topic) in image.topics_sorted().into_iter().zip(after.topics_sorted()) {
        for (before, partition) in before.partitions.iter().zip(&topic.partitions) {
            assert_eq!((partition.leader, &partition.isr), (1, &vec![1]));
            assert_eq!(partition.leader_epoch, before.leader_epoch + 1);
            assert_eq!(partition.leader_recovery_state, 0);
            assert!(partition.eligible_leader_replicas.is_empty());
            assert!(partition.last_known_elr.is_empty());
        }
    }
    let again = bootstrap::start(&after, &holder, 600, Restart::Clean);
    assert_eq!(again.len(), 1);
    // With another directory it holds nothing.
    let (without, _) = after
        .after(&bootstrap::start(&after, &node(), 600, Restart::Clean))
        .expect("they fit");
    for topic in without.topics_sorted() {
        assert!(topic.partitions.iter().all(|one| one.leader == -1));
    }
    let unclean = bootstrap::start(&after, &holder, 600, Restart::Unclean);
    let (later, _) = after.after(&unclean).expect("they fit");
    let epoch = |image: &Image| image.topic("plain").expect("a topic").partitions[0].leader_epoch;
    assert_eq!(epoch(&later), epoch(&after) + 1);
}

/// Where the footer's batch begins in the snapshot of one voter.
const FOOTER: usize = 166;

#[test]
fn the_voters_of_a_quorum_that_names_them_survive_byte_for_byte() {
    let kafka = include_bytes!(
        "../../../tests/fixtures/metadata/standalone-00000000000000000000-0000000000.checkpoint"
    );
    let id = SnapshotId::default();
    let image = read(Bytes::from_static(kafka), id).expect("a snapshot of Kafka");
    assert_eq!(image.quorum().kraft_version, 1);
    let [voter] = image.quorum().voters() else {
        panic!("one voter: {:?}", image.quorum());
    };
    assert_eq!(voter.voter_id, 1);
    assert_eq!(voter.endpoints[0].name, "CONTROLLER");
    // Kafka took the time of the header's batch and of the footer's apart.
    let (contained, header, footer) = (1_795_270_411_674, 1_795_270_411_684, 1_795_270_411_697);
    assert_eq!(
        last_timestamp(Bytes::from_static(kafka)),
        Some(Timestamp(contained))
    );
    let ours = |now| {
        image
            .to_snapshot(Timestamp(contained), Timestamp(now))
            .expect("a snapshot")
    };
    assert_eq!(ours(header)[..FOOTER], kafka[..FOOTER]);
    assert_eq!(ours(footer)[FOOTER..], kafka[FOOTER..]);
}

#[test]
fn a_new_cluster_begins_with_what_format_decides() {
    let kafka = include_bytes!("../../../tests/fixtures/metadata/bootstrap.checkpoint");
    let decided = bootstrap_records(Bytes::from_static(kafka)).expect("a file of Kafka");
    assert_eq!(decided, bootstrap::features());
    let time = Timestamp(1_795_270_411_652);
    let quorum = Quorum::default();
    let ours = write(&decided, &quorum, 30, LeaderEpoch(0), Timestamp(0), time).expect("it fits");
    assert_eq!(ours.len(), kafka.len());
    // The batch of the records, whose time is the one above.
    assert_eq!(ours[83..336], kafka[83..336]);
    assert!(matches!(
        bootstrap_records(Bytes::from_static(&kafka[..336])),
        Err(SnapshotError::NoFooter)
    ));
}

#[test]
fn an_older_release_begins_without_what_it_does_not_know() {
    let record = |name: &str, level| {
        MetadataRecord::from(corelog_net::wire::records::FeatureLevelRecord {
            name: name.to_owned(),
            feature_level: level,
            ..Default::default()
        })
    };
    let decided = vec![record("metadata.version", 7)];
    assert_eq!(bootstrap::empty_cluster(decided.clone()), decided);
    let mut replay = Replay::default();
    for record in decided {
        replay.record(record).expect("it fits");
    }
    let records = bootstrap::start(replay.image(), &node(), 3, Restart::Clean);
    for level in 7..=30 {
        for record in &records {
            let mut out = Vec::new();
            record
                .encode(&mut out, level)
                .expect("a record of its time");
            let read = MetadataRecord::decode(&out.into()).expect("the record");
            if let MetadataRecord::RegisterBroker(read) = read {
                assert_eq!(read.log_dirs.is_empty(), level < 17, "{level}");
                assert_eq!(read.cordoned_log_dirs.is_none(), level < 30, "{level}");
            }
        }
    }
}
