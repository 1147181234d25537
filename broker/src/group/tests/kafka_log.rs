//! An offsets partition that Kafka 4.3.1 wrote, read and written again.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use corelog_net::wire::Uuid;
use corelog_storage::batch::{Payload, UncheckedBatch};
use corelog_storage::limits::BATCH_HEADER_SIZE;

use super::super::classic::ClassicGroup;
use super::super::consumer::member::Member;
use super::super::consumer::regex::Resolved;
use super::super::consumer::replay::Entry as ConsumerEntry;
use super::super::log::{self, Stored};
use super::super::{
    Coordinator, DescribeGroup, Event, GroupSettings, ListGroups, Now, OffsetFetch, Outcome, Reply,
    Request, Token,
};

const KAFKA_LOG: &[u8] = include_bytes!("../testdata/consumer_offsets_kafka_4_3.log");

/// What the log holds, in order.
enum Entry {
    Record {
        key: Bytes,
        value: Option<Bytes>,
        producer_id: Option<i64>,
    },
    Marker {
        producer_id: i64,
        outcome: Outcome,
    },
}

fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut rest = Bytes::from_static(KAFKA_LOG);
    while let Some(batch) = UncheckedBatch::take(&mut rest).unwrap() {
        let header = *batch.header();
        let body = batch.check().unwrap().to_bytes().slice(BATCH_HEADER_SIZE..);
        let payload = Payload::open(&header, body, usize::MAX).unwrap();
        let producer_id = header
            .attributes
            .is_transactional()
            .then_some(header.producer_id.0);
        for record in payload.records() {
            let record = record.unwrap();
            let key = Bytes::copy_from_slice(record.key.unwrap());
            entries.push(
                match producer_id.filter(|_| header.attributes.is_control()) {
                    // A control key: version, then 0 for abort and 1 for commit.
                    Some(producer_id) => {
                        let outcome = if key[3] == 1 {
                            Outcome::Commit
                        } else {
                            Outcome::Abort
                        };
                        Entry::Marker {
                            producer_id,
                            outcome,
                        }
                    }
                    None => Entry::Record {
                        key,
                        value: record.value.map(Bytes::copy_from_slice),
                        producer_id,
                    },
                },
            );
        }
    }
    entries
}

fn ask(coordinator: &mut Coordinator, request: Request) -> Reply {
    let now = Now {
        steady_ms: 0,
        wall_ms: 1_795_244_600_000,
    };
    let mut effects = coordinator.step(
        now,
        Event::Request {
            token: Token(1),
            request,
        },
    );
    assert_eq!(effects.append, None);
    effects.replies.pop().unwrap().1
}

#[test]
fn kafkas_log_gives_kafkas_groups_and_offsets() {
    let mut coordinator = Coordinator::new(0, Arc::new(GroupSettings::default()), 1);
    for entry in entries() {
        match entry {
            Entry::Record {
                key,
                value,
                producer_id,
            } => {
                coordinator
                    .replay(&key, value.as_deref(), producer_id)
                    .unwrap();
            }
            Entry::Marker {
                producer_id,
                outcome,
            } => coordinator.replay_marker(producer_id, outcome),
        }
    }
    coordinator.loaded(Now::default());
    // The records of share groups.
    assert_eq!(coordinator.records_skipped(), 15);

    let Reply::ListGroups(Ok(groups)) =
        ask(&mut coordinator, Request::ListGroups(ListGroups::default()))
    else {
        unreachable!()
    };
    let listed: Vec<_> = groups
        .iter()
        .map(|g| (&*g.group_id, &*g.protocol_type, g.state))
        .collect();
    let expected = [
        ("classic-g", "consumer", "Empty"),
        ("classic-static", "consumer", "Empty"),
        ("modern-g", "consumer", "Empty"),
        ("modern-regex", "consumer", "Empty"),
        ("modern-static", "consumer", "Empty"),
        ("simple-g", "", "Empty"),
        ("txn-off-g", "", "Empty"),
    ];
    assert_eq!(listed, expected);

    let mut offsets = String::new();
    for (group, ..) in expected {
        let fetch = OffsetFetch {
            group_id: group.to_owned(),
            member_epoch: -1,
            ..OffsetFetch::default()
        };
        let Reply::OffsetFetch(Ok(topics)) = ask(&mut coordinator, Request::OffsetFetch(fetch))
        else {
            unreachable!()
        };
        for topic in topics {
            for p in topic.partitions {
                let (offset, epoch, metadata, id) =
                    (p.offset, p.leader_epoch, &p.metadata, Uuid(topic.topic_id));
                writeln!(
                    offsets,
                    "{group} {}-{} {offset} {epoch} {metadata:?} {id}",
                    topic.name, p.partition
                )
                .unwrap();
            }
        }
    }
    // As the dump has it. The aborted transaction's offset 2 is not there, nor is the deleted classic-g idemp-0.
    let dumped = "\
classic-g plain-0 3 0 \"meta é\" w9osNXZUTzSovuio2_7xvg
classic-static idemp-0 24 0 \"\" IhBU2anvTv64x7KEoJOHGg
classic-static plain-0 3 0 \"meta é\" w9osNXZUTzSovuio2_7xvg
modern-g idemp-0 24 0 \"\" IhBU2anvTv64x7KEoJOHGg
modern-g plain-0 3 0 \"meta é\" w9osNXZUTzSovuio2_7xvg
modern-regex codec-gzip-0 90 0 \"\" 9wmStsJcTOir7L0glqJjug
modern-regex codec-lz4-0 90 0 \"\" X2zo7frfTviKXxULi_wHrw
modern-regex codec-snappy-0 90 0 \"\" rpsg_n-CSdeDh8bTDphu3Q
modern-regex codec-zstd-0 90 0 \"\" 3AhL32btTFC62mB7NfJdkA
modern-static idemp-0 24 0 \"\" IhBU2anvTv64x7KEoJOHGg
modern-static plain-0 3 0 \"meta é\" w9osNXZUTzSovuio2_7xvg
simple-g plain-0 7 -1 \"\" w9osNXZUTzSovuio2_7xvg
txn-off-g plain-0 1 -1 \"\" AAAAAAAAAAAAAAAAAAAAAA
";
    assert_eq!(offsets, dumped);
}

#[test]
fn what_kafka_wrote_is_written_here_byte_for_byte() {
    let (mut offsets, mut groups, mut tombstones, mut consumers) = (0, 0, 0, 0);
    for entry in entries() {
        let Entry::Record { key, value, .. } = entry else {
            continue;
        };
        let ours = match log::decode(&key, value.as_deref(), 0).unwrap() {
            Stored::Offset {
                group,
                topic,
                partition,
                value: Some(value),
            } => {
                offsets += 1;
                log::offset(&group, &topic, partition, &value).unwrap()
            }
            Stored::Offset {
                group,
                topic,
                partition,
                value: None,
            } => {
                tombstones += 1;
                log::offset_tombstone(&group, &topic, partition)
            }
            Stored::ClassicGroup {
                group,
                value: Some(value),
            } => {
                groups += 1;
                let group = ClassicGroup::restore(group.into(), *value);
                log::classic_group(&group, |_, member| member.assignment.clone())
            }
            Stored::ClassicGroup { group, value: None } => {
                tombstones += 1;
                log::classic_group_tombstone(&group)
            }
            Stored::Consumer { group, entry } => {
                consumers += 1;
                let ours = consumer_record(&group, entry);
                // Kafka writes topics in the order of a hash table; here they are in order of their ids.
                let sorted = |value: &Option<Bytes>| {
                    let mut bytes = value.as_ref().map(|value| value.to_vec());
                    if let Some(bytes) = &mut bytes {
                        bytes.sort_unstable();
                    }
                    bytes
                };
                assert_eq!((&ours.0, sorted(&ours.1)), (&key, sorted(&value)));
                continue;
            }
            Stored::Unknown => continue,
        };
        assert_eq!(ours, (key, value));
    }
    assert_eq!((offsets, groups, tombstones), (20, 6, 3));
    assert!(consumers > 30, "{consumers}");
}

/// The record of what was read.
fn consumer_record(group: &str, entry: ConsumerEntry) -> (Bytes, Option<Bytes>) {
    match entry {
        ConsumerEntry::Group(None) => log::consumer_group_tombstone(group),
        ConsumerEntry::Group(Some(value)) => {
            log::consumer_group(group, value.epoch, value.metadata_hash)
        }
        ConsumerEntry::Partitions => log::consumer_partitions_tombstone(group),
        ConsumerEntry::TargetMetadata(None) => log::consumer_target_metadata_tombstone(group),
        ConsumerEntry::TargetMetadata(Some(value)) => {
            log::consumer_target_metadata(group, value.assignment_epoch, value.assignment_timestamp)
        }
        ConsumerEntry::Member(id, None) => log::consumer_member_tombstone(group, &id),
        ConsumerEntry::Member(id, Some(value)) => {
            let mut member = Member::default();
            member.restore_metadata(*value);
            log::consumer_member(group, &id, &member)
        }
        ConsumerEntry::Target(id, None) => log::consumer_target_tombstone(group, &id),
        ConsumerEntry::Target(id, Some(value)) => {
            let topics = value.topic_partitions.into_iter();
            let target = topics
                .map(|topic| (topic.topic_id, topic.partitions))
                .collect();
            log::consumer_target(group, &id, &target)
        }
        ConsumerEntry::Assignment(id, None) => log::consumer_assignment_tombstone(group, &id),
        ConsumerEntry::Assignment(id, Some(value)) => {
            let mut member = Member::default();
            member.restore_assignment(value);
            log::consumer_assignment(group, &id, &member)
        }
        ConsumerEntry::Regex(pattern, None) => log::consumer_regex_tombstone(group, &pattern),
        ConsumerEntry::Regex(pattern, Some(value)) => {
            let resolved = Resolved {
                topics: value.topics.into_iter().map(Arc::from).collect(),
                version: value.version,
                at_ms: value.timestamp,
            };
            log::consumer_regex(group, &pattern, &resolved)
        }
    }
}

#[test]
fn members_of_kafkas_log_go_on() {
    let mut coordinator = Coordinator::new(0, Arc::new(GroupSettings::default()), 1);
    // Up to the record with the member of classic-g, offset 1.
    for entry in entries().into_iter().take(2) {
        let Entry::Record { key, value, .. } = entry else {
            unreachable!()
        };
        coordinator.replay(&key, value.as_deref(), None).unwrap();
    }
    coordinator.loaded(Now::default());
    let describe = Request::DescribeGroup(DescribeGroup {
        group_id: "classic-g".to_owned(),
    });
    let Reply::DescribeGroup(Ok(group)) = ask(&mut coordinator, describe) else {
        unreachable!()
    };
    assert_eq!((group.state, &*group.protocol), ("Stable", "range"));
    let member = &group.members[0];
    assert_eq!(
        &*member.member_id,
        "c-classic-g-e7f0f839-140e-472c-8fbd-79b479dd4f9c"
    );
    assert_eq!(
        (&*member.client_id, &*member.client_host),
        ("c-classic-g", "/127.0.0.1")
    );
    // Two timers: the member's session and the search for expired offsets.
    assert_eq!(
        (coordinator.timer_count(), coordinator.next_deadline()),
        (2, Some(45_000))
    );
}

#[test]
fn records_of_the_future_are_skipped_and_broken_ones_reported() {
    use super::super::ReplayError;
    let mut coordinator = Coordinator::new(0, Arc::new(GroupSettings::default()), 1);
    let offset_key = [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 0];
    assert_eq!(
        coordinator.replay(&[0, 99, 1, 2, 3], Some(&[0, 0]), None),
        Ok(())
    );
    assert_eq!(
        coordinator.replay(&offset_key, Some(&[0, 99, 1]), None),
        Ok(())
    );
    assert_eq!(coordinator.records_skipped(), 2);
    assert_eq!(coordinator.replay(&[0], None, None), Err(ReplayError::Key));
    assert_eq!(coordinator.replay(&[], None, None), Err(ReplayError::Key));
    assert_eq!(
        coordinator.replay(&offset_key[..7], Some(&[0, 4]), None),
        Err(ReplayError::Key)
    );
    assert_eq!(
        coordinator.replay(&offset_key, Some(&[0, 4, 1]), None),
        Err(ReplayError::Value)
    );
    assert_eq!(
        coordinator.replay(&offset_key, Some(&[]), None),
        Err(ReplayError::Value)
    );
    assert_eq!(coordinator.group_count(), 0);
}

/// Offsets of an open transaction hold `require_stable` readers back; a commit outside it is newer and stands.
#[test]
fn offsets_of_an_open_transaction_are_not_stable() {
    let mut coordinator = Coordinator::new(0, Arc::new(GroupSettings::default()), 1);
    let record = |partition, offset| {
        let committed = super::super::offsets::Committed {
            offset,
            leader_epoch: -1,
            metadata: "".into(),
            commit_ms: 0,
            expire_ms: None,
            topic_id: [0; 16],
            sequence: 0,
        };
        log::offset("g", "t", partition, &committed).unwrap()
    };
    let mut replay = |partition, offset, producer_id| {
        let (key, value) = record(partition, offset);
        coordinator
            .replay(&key, value.as_deref(), producer_id)
            .unwrap();
    };
    replay(0, 1, Some(7));
    replay(1, 1, Some(7));
    replay(1, 2, None);
    replay(0, 9, Some(8));
    coordinator.replay_marker(7, Outcome::Commit);
    coordinator.loaded(Now::default());
    let mut fetch = |require_stable| {
        let fetch = OffsetFetch {
            group_id: "g".to_owned(),
            require_stable,
            ..OffsetFetch::default()
        };
        let Reply::OffsetFetch(Ok(mut topics)) = ask(&mut coordinator, Request::OffsetFetch(fetch))
        else {
            unreachable!()
        };
        let shown = topics
            .remove(0)
            .partitions
            .into_iter()
            .map(|p| (p.offset, p.error.is_some()));
        shown.collect::<Vec<_>>()
    };
    assert_eq!(fetch(false), [(1, false), (2, false)]);
    assert_eq!(fetch(true), [(-1, true), (2, false)]);
}
