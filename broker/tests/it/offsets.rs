//! Committed offsets: who may commit, what is fetched, what survives.

use std::fs;

use corelog_net::wire::Uuid;
use corelog_net::wire::messages::delete_groups::DeleteGroupsRequest;
use corelog_net::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use corelog_net::wire::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use corelog_net::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};

use crate::client::Client;
use crate::groups::{await_coordinator, join, syncing};
use crate::harness::{Broker, eventually};
use crate::table::{Table, error};
use crate::topics::create;

/// A commit of one offset.
#[derive(Clone, Copy)]
pub(crate) struct Commit<'a> {
    pub(crate) version: i16,
    pub(crate) group: &'a str,
    pub(crate) generation: i32,
    pub(crate) member: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) id: Uuid,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) metadata: Option<&'a str>,
}

impl<'a> Commit<'a> {
    /// A commit without membership, of partition 0.
    pub(crate) fn of(group: &'a str, topic: &'a str, offset: i64) -> Self {
        Self {
            version: 8,
            group,
            generation: -1,
            member: "",
            topic,
            id: Uuid::ZERO,
            partition: 0,
            offset,
            metadata: Some(""),
        }
    }
}

/// Commits; the code of the only partition.
#[track_caller]
pub(crate) fn commit(client: &mut Client, commit: &Commit<'_>) -> &'static str {
    let response = client.call(commit.version, &request_of(commit));
    error(response.topics[0].partitions[0].error_code)
}

/// Commits, if the broker is still there to answer.
pub(crate) fn try_commit(client: &mut Client, commit: &Commit<'_>) -> Option<&'static str> {
    let sent = client.try_send(commit.version, &request_of(commit)).ok()?;
    let response = client.try_receive::<OffsetCommitRequest>(sent)?;
    Some(error(response.topics[0].partitions[0].error_code))
}

fn request_of(commit: &Commit<'_>) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: commit.group.to_owned(),
        generation_id_or_member_epoch: commit.generation,
        member_id: commit.member.to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: commit.topic.to_owned(),
            topic_id: commit.id,
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: commit.partition,
                committed_offset: commit.offset,
                committed_metadata: commit.metadata.map(str::to_owned),
                ..OffsetCommitRequestPartition::default()
            }],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    }
}

/// `topic-partition=offset …` of what a group has committed, or was asked for; sorted.
#[track_caller]
pub(crate) fn committed(
    client: &mut Client,
    group: &str,
    topics: Option<&[(&str, &[i32])]>,
) -> String {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            topics: topics.map(|topics| {
                topics
                    .iter()
                    .map(|&(name, partitions)| OffsetFetchRequestTopics {
                        name: name.to_owned(),
                        partition_indexes: partitions.to_vec(),
                        ..OffsetFetchRequestTopics::default()
                    })
                    .collect()
            }),
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    let response = client.call(8, &request);
    let group = &response.groups[0];
    let mut offsets: Vec<_> = group
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(move |one| (topic, one)))
        .map(|(topic, one)| {
            assert_eq!(one.error_code, 0, "{}-{}", topic.name, one.partition_index);
            format!(
                "{}-{}={}",
                topic.name, one.partition_index, one.committed_offset
            )
        })
        .collect();
    offsets.sort();
    format!("{} {}", error(group.error_code), offsets.join(" "))
        .trim_end()
        .to_owned()
}

#[test]
fn a_commit_is_for_members_and_for_groups_without_members() {
    let broker = Broker::start();
    let mut client = broker.client();
    let (group, topic) = ("commits", "commits-topic");
    create(&mut client, topic, 2, &[]);
    await_coordinator(&mut client, group);
    let member = join(&mut client, group).member_id;
    client.call(5, &syncing(group, 1, &member, &[]));
    let good = Commit {
        generation: 1,
        member: &member,
        ..Commit::of(group, topic, 5)
    };
    let long = "m".repeat(5000);
    let mut table = Table::new("OffsetCommit");
    for (what, request, expected) in [
        ("good member", good, "NONE"),
        (
            "old generation 0",
            Commit {
                generation: 0,
                ..good
            },
            "ILLEGAL_GENERATION",
        ),
        (
            "generation 9",
            Commit {
                generation: 9,
                ..good
            },
            "ILLEGAL_GENERATION",
        ),
        (
            "unknown member",
            Commit {
                member: "zz",
                ..good
            },
            "UNKNOWN_MEMBER_ID",
        ),
        (
            "generation -1, empty member, group with members",
            Commit::of(group, topic, 5),
            "UNKNOWN_MEMBER_ID",
        ),
        (
            "group unknown (simple consumer)",
            Commit::of("commits-simple", topic, 7),
            "NONE",
        ),
        (
            "generation 5, group unknown",
            Commit {
                version: 9,
                generation: 5,
                group: "commits-no",
                ..good
            },
            "GROUP_ID_NOT_FOUND",
        ),
        (
            "generation 5, group unknown, v8",
            Commit {
                generation: 5,
                group: "commits-no",
                ..good
            },
            "ILLEGAL_GENERATION",
        ),
        (
            "unknown topic",
            Commit {
                topic: "nope",
                ..good
            },
            "UNKNOWN_TOPIC_OR_PARTITION",
        ),
        (
            "unknown partition",
            Commit {
                partition: 77,
                ..good
            },
            "UNKNOWN_TOPIC_OR_PARTITION",
        ),
        (
            "metadata 5000 bytes",
            Commit {
                metadata: Some(&long),
                ..good
            },
            "OFFSET_METADATA_TOO_LARGE",
        ),
        (
            "offset -1",
            Commit {
                offset: -1,
                partition: 1,
                ..good
            },
            "NONE",
        ),
        (
            "offset -7",
            Commit {
                offset: -7,
                partition: 1,
                ..good
            },
            "NONE",
        ),
        ("empty group id", Commit::of("", topic, 5), "NONE"),
        (
            "null metadata",
            Commit {
                metadata: None,
                ..good
            },
            "NONE",
        ),
    ] {
        table.row(what, commit(&mut client, &request), expected);
    }
    table.finish();
    let mut table = Table::new("OffsetFetch");
    let all = committed(&mut client, group, None);
    table.row(
        "all (null topics)",
        all,
        "NONE commits-topic-0=5 commits-topic-1=-7",
    );
    table.row(
        "unknown group",
        committed(&mut client, "commits-never", None),
        "NONE",
    );
    let got = committed(
        &mut client,
        group,
        Some(&[(topic, &[0, 55]), ("nope", &[0])]),
    );
    let expected = "NONE commits-topic-0=5 commits-topic-55=-1 nope-0=-1";
    table.row("named, uncommitted partition", got, expected);
    let got = committed(&mut client, "commits-simple", None);
    table.row("a simple consumer's", got, "NONE commits-topic-0=7");
    for version in 1..=7 {
        let request = OffsetFetchRequest {
            group_id: group.to_owned(),
            topics: Some(vec![OffsetFetchRequestTopic {
                name: topic.to_owned(),
                partition_indexes: vec![0],
                ..OffsetFetchRequestTopic::default()
            }]),
            ..OffsetFetchRequest::default()
        };
        let response = client.call(version, &request);
        let one = &response.topics[0].partitions[0];
        let got = format!("{} {}", error(one.error_code), one.committed_offset);
        table.row(&format!("v{version}"), got, "NONE 5");
    }
    table.finish();
}

#[test]
fn offsets_are_deleted_unless_somebody_reads_there() {
    let broker = Broker::start();
    let mut client = broker.client();
    let (group, topic) = ("erased", "erased-topic");
    create(&mut client, topic, 1, &[]);
    await_coordinator(&mut client, group);
    let request = |group: &str| OffsetDeleteRequest {
        group_id: group.to_owned(),
        topics: vec![OffsetDeleteRequestTopic {
            name: topic.to_owned(),
            partitions: vec![OffsetDeleteRequestPartition::default()],
        }],
    };
    let response = client.call(0, &request("erased-no"));
    assert_eq!(error(response.error_code), "GROUP_ID_NOT_FOUND");
    assert_eq!(commit(&mut client, &Commit::of(group, topic, 3)), "NONE");
    let response = client.call(0, &request(group));
    assert_eq!(error(response.error_code), "NONE");
    assert_eq!(error(response.topics[0].partitions[0].error_code), "NONE");
    assert_eq!(committed(&mut client, group, None), "NONE");
}

#[test]
fn offsets_and_groups_survive_a_stop_and_a_crash() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "lasting-topic", 3, &[]);
    let groups: Vec<String> = (0..12).map(|number| format!("lasting-{number}")).collect();
    for group in &groups {
        await_coordinator(&mut client, group);
    }
    for round in 0..3_i64 {
        for (number, group) in (0..).zip(&groups) {
            for partition in 0..3 {
                let offset = round * 1000 + number * 10 + i64::from(partition);
                let request = Commit {
                    partition,
                    ..Commit::of(group, "lasting-topic", offset)
                };
                assert_eq!(commit(&mut client, &request), "NONE");
            }
        }
        if round == 1 {
            broker.kill();
            broker.launch();
        } else {
            broker.restart();
        }
        client = broker.client();
        for (number, group) in (0..).zip(&groups) {
            await_coordinator(&mut client, group);
            let expected = (0..3).fold("NONE".to_owned(), |text, partition| {
                format!(
                    "{text} lasting-topic-{partition}={}",
                    round * 1000 + number * 10 + partition
                )
            });
            assert_eq!(
                committed(&mut client, group, None),
                expected,
                "{group}, round {round}"
            );
        }
    }
}

#[test]
fn groups_whose_log_does_not_read_are_loaded_once_it_does() {
    let mut broker = Broker::with(&["offsets.topic.num.partitions=1", "corelog.shards=1"]);
    let mut client = broker.client();
    create(&mut client, "spoilt-topic", 1, &[]);
    await_coordinator(&mut client, "spoilt");
    assert_eq!(
        commit(&mut client, &Commit::of("spoilt", "spoilt-topic", 7)),
        "NONE"
    );
    broker.stop();
    let path = broker
        .data()
        .join("__consumer_offsets-0/00000000000000000000.log");
    let whole = fs::read(&path).expect("the offsets are in a file");
    let mut spoilt = whole.clone();
    *spoilt.last_mut().expect("it is not empty") ^= 1;
    fs::write(&path, spoilt).expect("it can be written");
    broker.launch();
    client = broker.client();
    eventually("the broker says why", || {
        broker.log().contains("groups cannot be loaded")
    });
    assert_eq!(
        commit(&mut client, &Commit::of("spoilt", "spoilt-topic", 8)),
        "COORDINATOR_LOAD_IN_PROGRESS"
    );
    fs::write(&path, whole).expect("it can be written");
    await_coordinator(&mut client, "spoilt");
    assert_eq!(
        committed(&mut client, "spoilt", None),
        "NONE spoilt-topic-0=7"
    );
    // A stop in the middle of loading is one like any other.
    broker.stop();
    let mut spoilt = fs::read(&path).expect("the offsets are in a file");
    *spoilt.last_mut().expect("it is not empty") ^= 1;
    fs::write(&path, spoilt).expect("it can be written");
    broker.launch();
    broker.stop();
}

#[test]
fn many_groups_are_answered_in_the_order_they_were_asked_about() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "many", 1, &[]);
    await_coordinator(&mut client, "many-0");
    // More than a request keeps open at once.
    let groups: Vec<_> = (0..200).map(|number| format!("many-{number}")).collect();
    for (offset, group) in (0..).zip(&groups) {
        assert_eq!(
            commit(&mut client, &Commit::of(group, "many", offset)),
            "NONE"
        );
    }
    let fetch = OffsetFetchRequest {
        groups: groups
            .iter()
            .rev()
            .map(|group| OffsetFetchRequestGroup {
                group_id: group.clone(),
                topics: None,
                ..OffsetFetchRequestGroup::default()
            })
            .collect(),
        ..OffsetFetchRequest::default()
    };
    let response = client.call(8, &fetch);
    assert_eq!(response.groups.len(), groups.len());
    for (offset, (group, answer)) in groups.iter().zip(response.groups.iter().rev()).enumerate() {
        assert_eq!(&answer.group_id, group);
        let got = answer.topics[0].partitions[0].committed_offset;
        assert_eq!(usize::try_from(got), Ok(offset), "{group}");
    }
    let mut names = groups.clone();
    names.push(groups[7].clone());
    let delete = DeleteGroupsRequest {
        groups_names: names.clone(),
        ..DeleteGroupsRequest::default()
    };
    let response = client.call(2, &delete);
    let answered: Vec<_> = response.results.iter().map(|one| &one.group_id).collect();
    assert_eq!(answered, names.iter().collect::<Vec<_>>());
    let (last, first) = response.results.split_last().expect("there are results");
    assert!(first.iter().all(|one| one.error_code == 0));
    assert_eq!(error(last.error_code), "GROUP_ID_NOT_FOUND", "gone by then");
}
