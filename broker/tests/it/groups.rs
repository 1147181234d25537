//! Classic groups and their offsets over the wire, as clients see them.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use corelog_net::wire::Uuid;
use corelog_net::wire::messages::delete_groups::DeleteGroupsRequest;
use corelog_net::wire::messages::describe_groups::DescribeGroupsRequest;
use corelog_net::wire::messages::find_coordinator::FindCoordinatorRequest;
use corelog_net::wire::messages::heartbeat::HeartbeatRequest;
use corelog_net::wire::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use corelog_net::wire::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use corelog_net::wire::messages::list_groups::ListGroupsRequest;
use corelog_net::wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

use crate::client::{Client, Heard};
use crate::harness::{Broker, eventually};
use crate::offsets::{Commit, commit};
use crate::table::{Table, error, message};

/// Waits until the group has a coordinator that answers.
#[track_caller]
pub(crate) fn await_coordinator(client: &mut Client, group: &str) {
    let request = FindCoordinatorRequest {
        coordinator_keys: vec![group.to_owned()],
        ..FindCoordinatorRequest::default()
    };
    eventually("the group has a coordinator", || {
        let response = client.call(6, &request);
        error(response.coordinators[0].error_code) == "NONE"
    });
    eventually("the coordinator has loaded", || {
        let response = client.call(4, &heartbeat(group, 0, "nobody"));
        error(response.error_code) == "UNKNOWN_MEMBER_ID"
    });
}

/// `JoinGroup` of a consumer with the protocol `range`.
pub(crate) fn joining(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 20_000,
        rebalance_timeout_ms: 20_000,
        member_id: member.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: protocols(&["range"]),
        ..JoinGroupRequest::default()
    }
}

fn protocols(names: &[&str]) -> Vec<JoinGroupRequestProtocol> {
    names
        .iter()
        .map(|&name| JoinGroupRequestProtocol {
            name: name.to_owned(),
            metadata: Bytes::from_static(b"m"),
            ..JoinGroupRequestProtocol::default()
        })
        .collect()
}

/// Joins as a new member, with the round trip for the id; the answer to the second request.
#[track_caller]
pub(crate) fn join(client: &mut Client, group: &str) -> JoinGroupResponse {
    let first = client.call(9, &joining(group, ""));
    assert_eq!(error(first.error_code), "MEMBER_ID_REQUIRED");
    client.call(9, &joining(group, &first.member_id))
}

pub(crate) fn heartbeat(group: &str, generation: i32, member: &str) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id: generation,
        member_id: member.to_owned(),
        ..HeartbeatRequest::default()
    }
}

/// `SyncGroup` with assignments for these members.
pub(crate) fn syncing(
    group: &str,
    generation: i32,
    member: &str,
    assignments: &[(&str, &'static str)],
) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id: generation,
        member_id: member.to_owned(),
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        assignments: assignments
            .iter()
            .map(|&(member, assignment)| SyncGroupRequestAssignment {
                member_id: member.to_owned(),
                assignment: Bytes::from_static(assignment.as_bytes()),
                ..SyncGroupRequestAssignment::default()
            })
            .collect(),
        ..SyncGroupRequest::default()
    }
}

fn joined(response: &JoinGroupResponse) -> String {
    format!(
        "{} generation={} skip={} {}",
        error(response.error_code),
        response.generation_id,
        response.skip_assignment,
        if response.members.is_empty() {
            "follows"
        } else {
            "leads"
        }
    )
}

#[test]
fn coordinators_are_found_for_groups_only_that_can_be() {
    let broker = Broker::start();
    let mut client = broker.client();
    await_coordinator(&mut client, "found");
    let mut table = Table::new("FindCoordinator");
    let ask = |key: &str, key_type| FindCoordinatorRequest {
        key_type,
        coordinator_keys: vec![key.to_owned()],
        ..FindCoordinatorRequest::default()
    };
    let summary = |client: &mut Client, version, request: &FindCoordinatorRequest| {
        let mut text = String::new();
        for one in &client.call(version, request).coordinators {
            let words = message(one.error_message.as_ref());
            let at = if one.port == -1 { "nowhere" } else { "here" };
            let _ = write!(text, "{}: {} {at}{words}", one.key, error(one.error_code));
        }
        text
    };
    let request = ask("", 0);
    table.row(
        "v6, empty key",
        summary(&mut client, 6, &request),
        ": NONE here message=",
    );
    let expected = "x: INVALID_REQUEST nowhere message=This most likely occurs because of a request \
                    being malformed by the client library or the message was sent to an \
                    incompatible broker. See the broker logs for more details.";
    table.row(
        "v6, key type 9",
        summary(&mut client, 6, &ask("x", 9)),
        expected,
    );
    let request = FindCoordinatorRequest::default();
    table.row("v6 no keys", summary(&mut client, 6, &request), "");
    for version in 4..=6 {
        let got = summary(&mut client, version, &ask("found", 0));
        table.row("a group", got, "found: NONE here message=");
    }
    table.finish();
    for version in 0..=3 {
        let request = FindCoordinatorRequest {
            key: "found".to_owned(),
            ..FindCoordinatorRequest::default()
        };
        let response = client.call(version, &request);
        assert_eq!(error(response.error_code), "NONE", "v{version}");
        assert_eq!(response.port, i32::from(client.peer().port()), "v{version}");
        assert_eq!(response.host, "127.0.0.1");
    }
}

type Change = fn(&mut JoinGroupRequest);

#[test]
fn who_may_join_and_who_may_not() {
    let broker = Broker::start();
    let mut client = broker.client();
    let group = "joined";
    await_coordinator(&mut client, group);
    let mut table = Table::new("JoinGroup");
    let first = client.call(9, &joining(group, ""));
    table.row(
        "v9 first, member id empty",
        joined(&first),
        "MEMBER_ID_REQUIRED generation=-1 skip=false follows",
    );
    assert!(first.member_id.starts_with("ref-"), "{}", first.member_id);
    let leader = client.call(9, &joining(group, &first.member_id));
    table.row(
        "v9 with the given id",
        joined(&leader),
        "NONE generation=1 skip=false leads",
    );
    assert_eq!(leader.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(leader.protocol_name.as_deref(), Some("range"));
    assert_eq!(leader.leader, first.member_id);
    assert_eq!(leader.members.len(), 1);
    let me = first.member_id.as_str();
    client.call(5, &syncing(group, 1, me, &[(me, "x")]));
    let inconsistent = "INCONSISTENT_GROUP_PROTOCOL generation=-1 skip=false follows";
    let timeout = "INVALID_SESSION_TIMEOUT generation=-1 skip=false follows";
    let unknown = "UNKNOWN_MEMBER_ID generation=-1 skip=false follows";
    let rows: [(&str, &str, Change, &str); 10] = [
        (
            "other protocol type",
            group,
            |r| r.protocol_type = "other".to_owned(),
            inconsistent,
        ),
        (
            "no common protocol",
            group,
            |r| r.protocols = protocols(&["sticky"]),
            inconsistent,
        ),
        ("no protocols", group, |r| r.protocols.clear(), inconsistent),
        (
            "empty protocol type, new group",
            "joined-new",
            |r| r.protocol_type.clear(),
            inconsistent,
        ),
        (
            "unknown member id",
            group,
            |r| r.member_id = "zz".to_owned(),
            unknown,
        ),
        (
            "unknown member id, new group",
            "joined-2",
            |r| r.member_id = "zz".to_owned(),
            unknown,
        ),
        (
            "session timeout 10 (min 1000)",
            group,
            |r| r.session_timeout_ms = 10,
            timeout,
        ),
        (
            "session timeout 99999999",
            group,
            |r| r.session_timeout_ms = 99_999_999,
            timeout,
        ),
        (
            "empty group id",
            "",
            |_| (),
            "INVALID_GROUP_ID generation=-1 skip=false follows",
        ),
        (
            "v4, member id empty",
            "joined-4",
            |_| (),
            "MEMBER_ID_REQUIRED generation=-1 skip=false follows",
        ),
    ];
    for (what, group, change, expected) in rows {
        let mut request = joining(group, "");
        change(&mut request);
        let version = if what.starts_with("v4") { 4 } else { 9 };
        table.row(what, joined(&client.call(version, &request)), expected);
    }
    for version in 0..=3 {
        let group = format!("joined-at-once-{version}");
        let response = client.call(version, &joining(&group, ""));
        let expected = "NONE generation=1 skip=false leads";
        table.row(
            &format!("v{version}, no id round trip"),
            joined(&response),
            expected,
        );
        assert_eq!(response.leader, response.member_id);
    }
    table.finish();
}

#[test]
fn heartbeats_and_syncs_are_for_members_of_the_generation() {
    let broker = Broker::start();
    let mut client = broker.client();
    let group = "beats";
    await_coordinator(&mut client, group);
    let member = join(&mut client, group).member_id;
    let me = member.as_str();
    let mut table = Table::new("Heartbeat and SyncGroup");
    let mut beat = |what: &str, client: &mut Client, request: &HeartbeatRequest, code: &str| {
        table.row(what, error(client.call(4, request).error_code), code);
    };
    beat(
        "before SyncGroup",
        &mut client,
        &heartbeat(group, 1, me),
        "NONE",
    );
    let synced = client.call(5, &syncing(group, 1, me, &[(me, "x"), ("nobody", "y")]));
    assert_eq!(
        (error(synced.error_code), &synced.assignment[..]),
        ("NONE", &b"x"[..])
    );
    beat("good", &mut client, &heartbeat(group, 1, me), "NONE");
    beat(
        "generation 0 (old)",
        &mut client,
        &heartbeat(group, 0, me),
        "ILLEGAL_GENERATION",
    );
    beat(
        "generation 99",
        &mut client,
        &heartbeat(group, 99, me),
        "ILLEGAL_GENERATION",
    );
    beat(
        "unknown member",
        &mut client,
        &heartbeat(group, 1, "zz"),
        "UNKNOWN_MEMBER_ID",
    );
    beat(
        "unknown group",
        &mut client,
        &heartbeat("beats-no", 1, "zz"),
        "UNKNOWN_MEMBER_ID",
    );
    beat(
        "empty group id",
        &mut client,
        &heartbeat("", 1, me),
        "INVALID_GROUP_ID",
    );
    let instance = Some("i9".to_owned());
    let request = HeartbeatRequest {
        group_instance_id: instance.clone(),
        ..heartbeat(group, 1, me)
    };
    beat(
        "unknown instance id",
        &mut client,
        &request,
        "UNKNOWN_MEMBER_ID",
    );

    let good = || syncing(group, 1, me, &[(me, "other")]);
    let mut sync = |what: &str, version: i16, request: &SyncGroupRequest, expected: &str| {
        let response = client.call(version, request);
        let assignment = String::from_utf8_lossy(&response.assignment).into_owned();
        let got = format!("{} {assignment}", error(response.error_code));
        table.row(&format!("sync: {what}"), got.trim_end(), expected);
    };
    let inconsistent = "INCONSISTENT_GROUP_PROTOCOL";
    sync(
        "again in stable state, other assignment",
        5,
        &good(),
        "NONE x",
    );
    let request = SyncGroupRequest {
        protocol_type: None,
        protocol_name: None,
        ..good()
    };
    sync(
        "v5 with protocol type and name null",
        5,
        &request,
        inconsistent,
    );
    sync("v4 (no protocol fields)", 4, &request, "NONE x");
    let request = SyncGroupRequest {
        protocol_name: Some("sticky".to_owned()),
        ..good()
    };
    sync("wrong protocol name", 5, &request, inconsistent);
    let request = SyncGroupRequest {
        protocol_type: Some("other".to_owned()),
        ..good()
    };
    sync("wrong protocol type", 5, &request, inconsistent);
    for generation in [7, 0] {
        let request = SyncGroupRequest {
            generation_id: generation,
            ..good()
        };
        sync("wrong generation", 5, &request, "ILLEGAL_GENERATION");
    }
    let request = SyncGroupRequest {
        member_id: "zz".to_owned(),
        ..good()
    };
    sync("unknown member", 5, &request, "UNKNOWN_MEMBER_ID");
    let request = SyncGroupRequest {
        group_id: "beats-no".to_owned(),
        ..good()
    };
    sync("unknown group", 5, &request, "UNKNOWN_MEMBER_ID");
    let request = SyncGroupRequest {
        group_instance_id: instance,
        ..good()
    };
    sync("unknown instance id", 5, &request, "UNKNOWN_MEMBER_ID");
    let request = SyncGroupRequest {
        group_id: String::new(),
        ..good()
    };
    sync("empty group id", 5, &request, "INVALID_GROUP_ID");
    table.finish();
}

#[test]
fn a_static_member_comes_back_and_fences_its_old_self() {
    let broker = Broker::start();
    let mut client = broker.client();
    let group = "static";
    await_coordinator(&mut client, group);
    let request = |member: &str| JoinGroupRequest {
        group_instance_id: Some("i1".to_owned()),
        ..joining(group, member)
    };
    let mut table = Table::new("Static members");
    let old = client.call(9, &request(""));
    table.row(
        "new group",
        joined(&old),
        "NONE generation=1 skip=false leads",
    );
    assert!(old.member_id.starts_with("i1-"), "{}", old.member_id);
    let new = client.call(9, &request(""));
    table.row(
        "again (replaces)",
        joined(&new),
        "NONE generation=2 skip=false leads",
    );
    assert_ne!(new.member_id, old.member_id);
    let me = new.member_id.as_str();
    let mut sync = syncing(group, 2, me, &[(me, "x")]);
    sync.group_instance_id = Some("i1".to_owned());
    table.row("sync", error(client.call(5, &sync).error_code), "NONE");
    let newer = client.call(9, &request(""));
    table.row(
        "again when stable",
        joined(&newer),
        "NONE generation=2 skip=true leads",
    );
    let fenced = HeartbeatRequest {
        group_instance_id: Some("i1".to_owned()),
        ..heartbeat(group, 2, &old.member_id)
    };
    let got = client.call(4, &fenced).error_code;
    table.row(
        "heartbeat with the replaced member id",
        error(got),
        "FENCED_INSTANCE_ID",
    );
    let got = client.call(9, &request(&old.member_id));
    let expected = "FENCED_INSTANCE_ID generation=-1 skip=false follows";
    table.row("join with the replaced member id", joined(&got), expected);
    let identity = |member: &str, instance: Option<&str>| MemberIdentity {
        member_id: member.to_owned(),
        group_instance_id: instance.map(str::to_owned),
        ..MemberIdentity::default()
    };
    let mut leave = |what: &str, group: &str, members: Vec<MemberIdentity>, expected: &str| {
        let request = LeaveGroupRequest {
            group_id: group.to_owned(),
            members,
            ..LeaveGroupRequest::default()
        };
        let response = client.call(5, &request);
        let codes: Vec<_> = response
            .members
            .iter()
            .map(|one| error(one.error_code))
            .collect();
        let got = format!("{}: {}", error(response.error_code), codes.join(" "));
        table.row(what, got.trim_end(), expected);
    };
    leave(
        "leave: unknown member, unknown instance, good",
        group,
        vec![
            identity("zz", None),
            identity("", Some("i9")),
            identity("", Some("i1")),
        ],
        "NONE: UNKNOWN_MEMBER_ID UNKNOWN_MEMBER_ID NONE",
    );
    leave(
        "leave: unknown group",
        "static-no",
        vec![identity("zz", None)],
        "NONE: UNKNOWN_MEMBER_ID",
    );
    leave("leave: empty list", group, Vec::new(), "NONE:");
    table.finish();
}

#[test]
fn a_rebalance_waits_for_its_members_and_drops_the_silent() {
    let broker = Broker::start();
    let (mut one, mut two) = (broker.client(), broker.client());
    let group = "rebalance";
    crate::topics::create(&mut one, "rebalance-topic", 1, &[]);
    await_coordinator(&mut one, group);
    let mut table = Table::new("Rebalance");
    let quick = |member: &str| JoinGroupRequest {
        rebalance_timeout_ms: 2000,
        ..joining(group, member)
    };
    let first = one.call(9, &quick(""));
    let first = one.call(9, &quick(&first.member_id)).member_id;
    one.call(5, &syncing(group, 1, &first, &[(&first, "x")]));
    let second = two.call(9, &quick("")).member_id;
    let waiting = two.send(9, &quick(&second));
    eventually("the group rebalances", || {
        error(one.call(4, &heartbeat(group, 1, &first)).error_code) == "REBALANCE_IN_PROGRESS"
    });
    let got = one.call(5, &syncing(group, 1, &first, &[])).error_code;
    table.row(
        "member 1 SyncGroup in preparing rebalance",
        error(got),
        "REBALANCE_IN_PROGRESS",
    );
    let good = Commit {
        generation: 1,
        member: &first,
        ..Commit::of(group, "rebalance-topic", 5)
    };
    let got = commit(&mut one, &good);
    table.row("member 1 OffsetCommit in preparing rebalance", got, "NONE");
    let response = two.receive::<JoinGroupRequest>(waiting);
    table.row(
        "member 1 did not rejoin",
        joined(&response),
        "NONE generation=2 skip=false leads",
    );
    assert_eq!(response.members.len(), 1);
    let got = one.call(4, &heartbeat(group, 1, &first)).error_code;
    table.row(
        "member 1 heartbeat afterwards",
        error(got),
        "UNKNOWN_MEMBER_ID",
    );
    let early = Commit {
        generation: 2,
        member: &second,
        ..Commit::of(group, "rebalance-topic", 6)
    };
    table.row(
        "commit while the group awaits SyncGroup",
        commit(&mut two, &early),
        "REBALANCE_IN_PROGRESS",
    );
    let got = two.call(4, &heartbeat(group, 2, &second)).error_code;
    table.row(
        "heartbeat while the group awaits SyncGroup",
        error(got),
        "NONE",
    );
    table.finish();
}

#[test]
fn three_members_share_and_the_rest_take_over() {
    let broker = Broker::start();
    let group = "three";
    let mut clients: Vec<Client> = (0..3).map(|_| broker.client()).collect();
    await_coordinator(&mut clients[0], group);
    let mut ids: Vec<String> = clients
        .iter_mut()
        .map(|client| client.call(9, &joining(group, "")).member_id)
        .collect();
    let mut generation = 0;
    // The first to join begins alone; the others make a second generation.
    while clients.len() > 1 {
        let responses = rejoin(&mut clients, &ids, group);
        generation = responses[0].generation_id;
        assert!(responses.iter().all(|one| one.generation_id == generation));
        let leader = responses
            .iter()
            .position(|one| one.leader == one.member_id)
            .expect("a leader");
        let mut members: Vec<_> = responses[leader]
            .members
            .iter()
            .map(|one| one.member_id.clone())
            .collect();
        members.sort();
        let mut expected = ids.clone();
        expected.sort();
        assert_eq!(members, expected);
        let shares: Vec<(&str, &'static str)> = ids
            .iter()
            .map(String::as_str)
            .zip(["a", "b", "c"])
            .collect();
        let sent: Vec<_> = clients
            .iter_mut()
            .zip(&ids)
            .enumerate()
            .map(|(at, (client, id))| {
                let shares = if at == leader { &shares[..] } else { &[] };
                client.send(5, &syncing(group, generation, id, shares))
            })
            .collect();
        for (at, sent) in sent.into_iter().enumerate() {
            let synced = clients[at].receive::<SyncGroupRequest>(sent);
            assert_eq!(error(synced.error_code), "NONE");
            assert_eq!(synced.assignment, shares[at].1.as_bytes());
        }
        let leave = LeaveGroupRequest {
            group_id: group.to_owned(),
            members: vec![MemberIdentity {
                member_id: ids.remove(0),
                ..MemberIdentity::default()
            }],
            ..LeaveGroupRequest::default()
        };
        let response = clients.remove(0).call(5, &leave);
        assert_eq!(error(response.members[0].error_code), "NONE");
        let got = clients[0]
            .call(4, &heartbeat(group, generation, &ids[0]))
            .error_code;
        assert_eq!(error(got), "REBALANCE_IN_PROGRESS");
    }
    let responses = rejoin(&mut clients, &ids, group);
    assert_eq!(responses[0].generation_id, generation + 1);
    assert_eq!(responses[0].members.len(), 1);
}

/// Everybody joins, again when told to, until all are in the same generation; the answers of it.
fn rejoin(clients: &mut [Client], ids: &[String], group: &str) -> Vec<JoinGroupResponse> {
    let mut waiting: Vec<_> = (0..clients.len()).map(|_| None).collect();
    let mut answers: Vec<Option<JoinGroupResponse>> = vec![None; clients.len()];
    let mut all = Vec::new();
    eventually("all are in one generation", || {
        for (at, client) in clients.iter_mut().enumerate() {
            if waiting[at].is_none() {
                let rebalances = answers[at].as_ref().is_none_or(|answer| {
                    let beat = heartbeat(group, answer.generation_id, &ids[at]);
                    error(client.call(4, &beat).error_code) == "REBALANCE_IN_PROGRESS"
                });
                if rebalances {
                    waiting[at] = Some(client.send(9, &joining(group, &ids[at])));
                }
            }
            let Some(sent) = waiting[at] else { continue };
            let soon = Duration::from_millis(10);
            if let Some(answer) = client.receive_within::<JoinGroupRequest>(sent, soon) {
                assert_eq!(error(answer.error_code), "NONE");
                waiting[at] = None;
                answers[at] = Some(answer);
            }
        }
        all = answers.iter().flatten().cloned().collect();
        let generation = all.iter().map(|one| one.generation_id).max();
        all.len() == clients.len()
            && waiting.iter().all(Option::is_none)
            && all.iter().all(|one| Some(one.generation_id) == generation)
            && all.iter().any(|one| one.members.len() == clients.len())
    });
    all
}

#[test]
fn a_silent_member_is_dropped_after_its_session() {
    let broker = Broker::start();
    let mut client = broker.client();
    let group = "silent";
    await_coordinator(&mut client, group);
    let request = JoinGroupRequest {
        session_timeout_ms: 1000,
        ..joining(group, "")
    };
    let id = client.call(9, &request).member_id;
    let request = JoinGroupRequest {
        member_id: id.clone(),
        ..request
    };
    client.call(9, &request);
    client.call(5, &syncing(group, 1, &id, &[]));
    assert_eq!(client.hear(Duration::from_millis(300)), Heard::Silence);
    assert_eq!(
        error(client.call(4, &heartbeat(group, 1, &id)).error_code),
        "NONE"
    );
    eventually("the group is empty", || {
        let request = DescribeGroupsRequest {
            groups: vec![group.to_owned()],
            ..DescribeGroupsRequest::default()
        };
        client.call(5, &request).groups[0].group_state == "Empty"
    });
    let got = client.call(4, &heartbeat(group, 1, &id)).error_code;
    assert_eq!(error(got), "UNKNOWN_MEMBER_ID");
}

#[test]
fn groups_are_described_listed_and_deleted() {
    let broker = Broker::start();
    let mut client = broker.client();
    let group = "described";
    await_coordinator(&mut client, group);
    let member = join(&mut client, group).member_id;
    client.call(5, &syncing(group, 1, &member, &[(&member, "x")]));
    let describe = |client: &mut Client, version, name: &str| {
        let request = DescribeGroupsRequest {
            groups: vec![name.to_owned()],
            ..DescribeGroupsRequest::default()
        };
        let response = client.call(version, &request);
        let one = &response.groups[0];
        let words = message(one.error_message.as_ref());
        format!(
            "{} {} {} {} members={}{words}",
            error(one.error_code),
            one.group_state,
            one.protocol_type,
            one.protocol_data,
            one.members.len()
        )
    };
    let mut table = Table::new("DescribeGroups, ListGroups, DeleteGroups");
    for version in 0..=6 {
        let got = describe(&mut client, version, group);
        table.row("stable", got, "NONE Stable consumer range members=1");
    }
    let unknown = "described-no";
    let got = describe(&mut client, 5, unknown);
    table.row("v5 unknown", got, "NONE Dead   members=0");
    let expected = "GROUP_ID_NOT_FOUND Dead   members=0 message=Group described-no not found.";
    table.row("v6 unknown", describe(&mut client, 6, unknown), expected);
    let list = |client: &mut Client, states: &[&str], types: &[&str]| {
        let request = ListGroupsRequest {
            states_filter: states.iter().map(|&one| one.to_owned()).collect(),
            types_filter: types.iter().map(|&one| one.to_owned()).collect(),
            ..ListGroupsRequest::default()
        };
        let response = client.call(5, &request);
        let found = response.groups.iter().find(|one| one.group_id == group);
        let found = found.map_or("not there".to_owned(), |one| {
            format!(
                "{} {} {}",
                one.protocol_type, one.group_state, one.group_type
            )
        });
        format!("{} {found}", error(response.error_code))
    };
    let there = "NONE consumer Stable classic";
    table.row("list all", list(&mut client, &[], &[]), there);
    table.row("list stable", list(&mut client, &["Stable"], &[]), there);
    table.row("list classic", list(&mut client, &[], &["classic"]), there);
    table.row(
        "list empty",
        list(&mut client, &["Empty"], &[]),
        "NONE not there",
    );
    table.row(
        "list bogus",
        list(&mut client, &["Bogus"], &["Bogus"]),
        "NONE not there",
    );
    let delete = |client: &mut Client, names: &[&str]| {
        let request = DeleteGroupsRequest {
            groups_names: names.iter().map(|&one| one.to_owned()).collect(),
            ..DeleteGroupsRequest::default()
        };
        let response = client.call(2, &request);
        let mut results: Vec<_> = response
            .results
            .iter()
            .map(|one| format!("{}={}", one.group_id, error(one.error_code)))
            .collect();
        results.sort();
        results.join(" ")
    };
    let got = delete(&mut client, &[group, unknown]);
    let expected = "described-no=GROUP_ID_NOT_FOUND described=NON_EMPTY_GROUP";
    table.row("delete a live and an unknown one", got, expected);
    let leave = LeaveGroupRequest {
        group_id: group.to_owned(),
        members: vec![MemberIdentity {
            member_id: member,
            ..MemberIdentity::default()
        }],
        ..LeaveGroupRequest::default()
    };
    client.call(5, &leave);
    let got = describe(&mut client, 6, group);
    table.row("empty", got, "NONE Empty consumer  members=0");
    table.row(
        "delete an empty one",
        delete(&mut client, &[group]),
        "described=NONE",
    );
    table.row("it is gone", list(&mut client, &[], &[]), "NONE not there");
    table.finish();
}

#[test]
fn the_id_of_a_topic_that_is_not_there_is_no_topic() {
    let broker = Broker::start();
    let mut client = broker.client();
    await_coordinator(&mut client, "by-id");
    let mut absent = [0; 16];
    absent[13] = 1;
    let request = Commit {
        id: Uuid(absent),
        version: 10,
        ..Commit::of("by-id", "", 1)
    };
    assert_eq!(commit(&mut client, &request), "UNKNOWN_TOPIC_ID");
}
