//! Consumer groups (KIP-848) over the wire.

use corelog_net::wire::Uuid;
use corelog_net::wire::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, DescribedGroup,
};
use corelog_net::wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, RequestTopicPartitions,
};
use corelog_net::wire::messages::delete_groups::DeleteGroupsRequest;
use corelog_net::wire::messages::describe_groups::DescribeGroupsRequest;
use corelog_net::wire::messages::list_groups::ListGroupsRequest;

use crate::client::Client;
use crate::groups::await_coordinator;
use crate::harness::{Broker, eventually};
use crate::table::{Table, error};
use crate::topics::create;

pub(crate) fn joining(group: &str, member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        member_epoch: 0,
        rebalance_timeout_ms: 20_000,
        subscribed_topic_names: Some(topics.iter().map(|&name| name.to_owned()).collect()),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

fn staying(group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        member_epoch: epoch,
        rebalance_timeout_ms: -1,
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

fn owning(
    group: &str,
    member: &str,
    epoch: i32,
    topic_id: Uuid,
    partitions: &[i32],
) -> ConsumerGroupHeartbeatRequest {
    let topic = RequestTopicPartitions {
        topic_id,
        partitions: partitions.to_vec(),
        ..RequestTopicPartitions::default()
    };
    ConsumerGroupHeartbeatRequest {
        topic_partitions: Some(vec![topic]),
        ..staying(group, member, epoch)
    }
}

/// Code, epoch, and the partitions when some are told.
fn show(response: &ConsumerGroupHeartbeatResponse) -> String {
    let told = response.assignment.as_ref().map(|assignment| {
        let topics = assignment.topic_partitions.iter();
        topics
            .flat_map(|topic| topic.partitions.clone())
            .collect::<Vec<_>>()
    });
    match told {
        Some(told) => format!(
            "{} {} {told:?}",
            error(response.error_code),
            response.member_epoch
        ),
        None => format!("{} {}", error(response.error_code), response.member_epoch),
    }
}

pub(crate) fn describe(client: &mut Client, group: &str) -> DescribedGroup {
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![group.to_owned()],
        ..ConsumerGroupDescribeRequest::default()
    };
    client.call(1, &request).groups.remove(0)
}

fn members(group: &DescribedGroup) -> Vec<(String, i32, Vec<i32>)> {
    let mut members: Vec<_> = group
        .members
        .iter()
        .map(|member| {
            let topics = member.assignment.topic_partitions.iter();
            let partitions = topics.flat_map(|topic| topic.partitions.clone()).collect();
            (member.member_id.clone(), member.member_epoch, partitions)
        })
        .collect();
    members.sort();
    members
}

/// The broker kept its word before and after it was killed: assignments, epochs, static members.
#[test]
fn members_share_and_go_on_after_a_crash() {
    let mut broker = Broker::with(&["group.consumer.assignment.interval.ms=0"]);
    let mut client = broker.client();
    let topic = create(&mut client, "shared", 4, &[]);
    await_coordinator(&mut client, "crowd");
    let mut table = Table::new("two members");
    let mut ask = |what: &str,
                   client: &mut Client,
                   request: ConsumerGroupHeartbeatRequest,
                   expected: &str| {
        let got = show(&client.call(1, &request));
        table.row(what, got, expected);
    };
    ask(
        "A joins",
        &mut client,
        joining("crowd", "A", &["shared"]),
        "NONE 2 [0, 1, 2, 3]",
    );
    ask(
        "B joins",
        &mut client,
        joining("crowd", "B", &["shared"]),
        "NONE 3 []",
    );
    ask(
        "A is to give back",
        &mut client,
        staying("crowd", "A", 2),
        "NONE 2 [0, 1]",
    );
    ask("B waits", &mut client, staying("crowd", "B", 3), "NONE 3");
    ask(
        "A has given back",
        &mut client,
        owning("crowd", "A", 2, topic, &[0, 1]),
        "NONE 3",
    );
    ask(
        "B has its part",
        &mut client,
        staying("crowd", "B", 3),
        "NONE 3 [2, 3]",
    );
    table.finish();
    let before = describe(&mut client, "crowd");
    assert_eq!(
        (
            before.group_state.as_str(),
            before.group_epoch,
            before.assignment_epoch
        ),
        ("Stable", 3, 3)
    );
    assert_eq!(
        members(&before),
        [
            ("A".to_owned(), 3, vec![0, 1]),
            ("B".to_owned(), 3, vec![2, 3])
        ]
    );
    broker.kill();
    broker.launch();
    let mut client = broker.client();
    await_coordinator(&mut client, "crowd");
    assert_eq!(members(&describe(&mut client, "crowd")), members(&before));
    let mut table = Table::new("after the crash");
    let mut ask = |what: &str,
                   client: &mut Client,
                   request: ConsumerGroupHeartbeatRequest,
                   expected: &str| {
        let got = show(&client.call(1, &request));
        table.row(what, got, expected);
    };
    ask("A stays", &mut client, staying("crowd", "A", 3), "NONE 3");
    ask(
        "B is behind",
        &mut client,
        staying("crowd", "B", 2),
        "FENCED_MEMBER_EPOCH 0",
    );
    ask(
        "B leaves",
        &mut client,
        staying("crowd", "B", -1),
        "NONE -1",
    );
    ask(
        "A has all",
        &mut client,
        staying("crowd", "A", 3),
        "NONE 4 [0, 1, 2, 3]",
    );
    table.finish();
}

/// As Kafka 4.3.1 answered.
#[test]
fn requests_that_make_no_sense_are_refused_with_kafkas_words() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "words", 1, &[]);
    await_coordinator(&mut client, "words");
    let good = || joining("words", "A", &["words"]);
    let mut table = Table::new("refusals");
    let mut ask = |client: &mut Client,
                   version: i16,
                   request: ConsumerGroupHeartbeatRequest,
                   expected: &str| {
        let response = client.call(version, &request);
        let text = response.error_message.unwrap_or_default();
        let got = format!("{} {text}", error(response.error_code));
        table.row("", got, expected);
    };
    let without_id = ConsumerGroupHeartbeatRequest {
        member_id: String::new(),
        ..good()
    };
    ask(
        &mut client,
        1,
        without_id,
        "INVALID_REQUEST MemberId can't be empty.",
    );
    let without_group = ConsumerGroupHeartbeatRequest {
        group_id: String::new(),
        ..good()
    };
    ask(
        &mut client,
        1,
        without_group,
        "INVALID_REQUEST GroupId can't be empty.",
    );
    let without_timeout = ConsumerGroupHeartbeatRequest {
        rebalance_timeout_ms: -1,
        ..good()
    };
    ask(
        &mut client,
        1,
        without_timeout,
        "INVALID_REQUEST RebalanceTimeoutMs must be provided in first request.",
    );
    let with_partitions = ConsumerGroupHeartbeatRequest {
        topic_partitions: None,
        ..good()
    };
    ask(
        &mut client,
        1,
        with_partitions,
        "INVALID_REQUEST TopicPartitions must be empty when (re-)joining.",
    );
    let without_topics = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        ..good()
    };
    ask(
        &mut client,
        1,
        without_topics,
        "INVALID_REQUEST Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
    );
    let strange_assignor = ConsumerGroupHeartbeatRequest {
        server_assignor: Some("nope".to_owned()),
        ..good()
    };
    ask(
        &mut client,
        1,
        strange_assignor,
        "UNSUPPORTED_ASSIGNOR ServerAssignor nope is not supported. Supported assignors: uniform, range.",
    );
    let strange_pattern = ConsumerGroupHeartbeatRequest {
        subscribed_topic_regex: Some("(".to_owned()),
        ..good()
    };
    ask(
        &mut client,
        1,
        strange_pattern,
        "INVALID_REGULAR_EXPRESSION SubscribedTopicRegex `(` is not a valid regular expression: missing closing ).",
    );
    ask(
        &mut client,
        1,
        staying("words", "A", -5),
        "INVALID_REQUEST MemberEpoch is invalid.",
    );
    ask(
        &mut client,
        1,
        staying("words", "A", -2),
        "INVALID_REQUEST InstanceId can't be null.",
    );
    ask(
        &mut client,
        1,
        staying("nobody", "A", 3),
        "GROUP_ID_NOT_FOUND Consumer group nobody not found.",
    );
    table.finish();
    // Nothing of all that made a group; a member of version 0 is given an id.
    assert_eq!(client.call(5, &ListGroupsRequest::default()).groups, []);
    let without_id = ConsumerGroupHeartbeatRequest {
        member_id: String::new(),
        ..good()
    };
    let joined = client.call(0, &without_id);
    assert_eq!(show(&joined), "NONE 2 [0]");
    assert_eq!(joined.member_id.map(|id| id.len()), Some(22));
}

#[test]
fn groups_are_shown_as_what_they_are() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "seen", 1, &[]);
    await_coordinator(&mut client, "modern");
    client.call(1, &joining("modern", "A", &["seen"]));
    let listed = |client: &mut Client, states: &[&str], types: &[&str]| {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let request = ListGroupsRequest {
            states_filter: owned(states),
            types_filter: owned(types),
            ..ListGroupsRequest::default()
        };
        let groups = client.call(5, &request).groups.into_iter();
        let shown = groups.map(|group| {
            format!(
                "{} {} {} {}",
                group.group_id, group.protocol_type, group.group_state, group.group_type
            )
        });
        shown.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        listed(&mut client, &["STABLE"], &["Consumer"]),
        "modern consumer Stable consumer"
    );
    assert_eq!(listed(&mut client, &[], &["classic"]), "");
    assert_eq!(listed(&mut client, &["assigning", "reconciling"], &[]), "");
    let request = DescribeGroupsRequest {
        groups: vec!["modern".to_owned()],
        ..DescribeGroupsRequest::default()
    };
    let old = client.call(6, &request).groups.remove(0);
    assert_eq!(
        (
            error(old.error_code),
            old.error_message.as_deref(),
            old.group_state.as_str()
        ),
        (
            "GROUP_ID_NOT_FOUND",
            Some("Group modern is not a classic group."),
            "Dead"
        )
    );
    let unknown = describe(&mut client, "nobody");
    assert_eq!(
        (error(unknown.error_code), unknown.error_message.as_deref()),
        ("GROUP_ID_NOT_FOUND", Some("Group nobody not found."))
    );
    let delete = DeleteGroupsRequest {
        groups_names: vec!["modern".to_owned()],
        ..DeleteGroupsRequest::default()
    };
    assert_eq!(
        error(client.call(2, &delete).results[0].error_code),
        "NON_EMPTY_GROUP"
    );
    client.call(1, &staying("modern", "A", -1));
    assert_eq!(describe(&mut client, "modern").group_state, "Empty");
    assert_eq!(error(client.call(2, &delete).results[0].error_code), "NONE");
    assert_eq!(listed(&mut client, &[], &[]), "");
}

/// A pattern stands for whole names, and is looked up without anybody asking again.
#[test]
fn topics_are_found_by_pattern() {
    let broker = Broker::with(&["group.consumer.assignment.interval.ms=0"]);
    let mut client = broker.client();
    create(&mut client, "logs-a", 1, &[]);
    create(&mut client, "other", 1, &[]);
    await_coordinator(&mut client, "pattern");
    let join = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some("logs-.*".to_owned()),
        ..joining("pattern", "A", &[])
    };
    let mut epoch = client.call(1, &join).member_epoch;
    let mut told = Vec::new();
    eventually("the topic is assigned", || {
        let response = client.call(1, &staying("pattern", "A", epoch));
        assert_eq!(error(response.error_code), "NONE");
        epoch = response.member_epoch;
        if let Some(assignment) = response.assignment {
            told = assignment.topic_partitions;
        }
        !told.is_empty()
    });
    assert_eq!(told.len(), 1);
}

/// Without the feature or the protocol there is no such API for anybody.
#[test]
fn consumer_groups_can_be_switched_off() {
    let broker = Broker::with(&["group.coordinator.rebalance.protocols=classic"]);
    let mut client = broker.client();
    await_coordinator(&mut client, "off");
    let refused = client.call(1, &joining("off", "A", &["t"]));
    assert_eq!(error(refused.error_code), "UNSUPPORTED_VERSION");
    let described = describe(&mut client, "off");
    assert_eq!(error(described.error_code), "UNSUPPORTED_VERSION");
}
