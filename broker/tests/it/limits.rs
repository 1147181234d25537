//! The limits that settings put on peers, at and beyond.

use std::time::{Duration, Instant};

use corelog_net::wire::messages::api_versions::ApiVersionsRequest;
use corelog_net::wire::messages::join_group::JoinGroupRequest;

use crate::client::{Client, Heard};
use crate::groups::{await_coordinator, join, joining, syncing};
use crate::harness::{Broker, PATIENCE, eventually};
use crate::offsets::{Commit, commit};
use crate::records::values;
use crate::table::error;
use crate::topics::{create, producing};

#[test]
fn a_frame_above_the_limit_closes() {
    let broker = Broker::with(&["socket.request.max.bytes=100000"]);
    let mut client = broker.client();
    client.send_bytes(&100_001_i32.to_be_bytes());
    assert_eq!(client.hear(PATIENCE), Heard::Closed);
    let mut client = broker.client();
    client.send_bytes(&100_000_i32.to_be_bytes());
    assert_eq!(
        client.hear(Duration::from_millis(100)),
        Heard::Silence,
        "at the limit"
    );
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    let broker = Broker::with(&["connections.max.idle.ms=1500"]);
    let mut idle = broker.client();
    let mut busy = broker.client();
    assert!(idle.is_ready());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert!(busy.is_ready(), "a connection in use stays");
        assert_eq!(busy.hear(Duration::from_millis(300)), Heard::Silence);
    }
    assert_eq!(idle.hear(PATIENCE), Heard::Closed);
    assert!(begun.elapsed() < PATIENCE);
}

/// How many of so many connections are served at the same time.
pub(crate) fn served(broker: &Broker, count: usize) -> usize {
    let mut clients: Vec<Client> = (0..count)
        .filter_map(|_| Client::try_connect(broker.addr()))
        .collect();
    clients
        .iter_mut()
        .filter_map(|client| client.try_call(0, &ApiVersionsRequest::default()))
        .count()
}

#[test]
fn only_so_many_connections_come_from_one_address() {
    let broker = Broker::with(&["max.connections.per.ip=4"]);
    for _ in 0..5 {
        // Those before are gone when the broker has seen them go.
        eventually("four connections are served", || served(&broker, 4) == 4);
        eventually("four of six are served", || served(&broker, 6) == 4);
    }
}

#[test]
fn a_broker_takes_only_so_many_connections_and_lets_the_others_wait() {
    let broker = Broker::with(&["max.connections=6"]);
    let mut clients: Vec<Client> = (0..9).map(|_| broker.client()).collect();
    for client in &mut clients {
        client.send(0, &ApiVersionsRequest::default());
    }
    let mut answered = Vec::new();
    let mut hear = |clients: &mut Vec<Client>| {
        let (heard, silent): (Vec<_>, Vec<_>) = std::mem::take(clients)
            .into_iter()
            .map(|mut client| (client.hear(Duration::from_millis(20)), client))
            .partition(|(heard, _)| *heard != Heard::Silence);
        *clients = silent.into_iter().map(|(_, client)| client).collect();
        answered.extend(heard.into_iter().map(|(_, client)| client));
        answered.len()
    };
    eventually("six connections are served", || hear(&mut clients) == 6);
    for _ in 0..5 {
        assert_eq!(hear(&mut clients), 6, "the seventh waits");
    }
    answered.truncate(3);
    let mut heard = 0;
    eventually("those who waited are served when others have gone", || {
        heard += clients
            .iter_mut()
            .filter_map(|client| match client.hear(Duration::from_millis(20)) {
                Heard::Frame(_) => Some(()),
                _ => None,
            })
            .count();
        heard == 3
    });
}

#[test]
fn batches_groups_and_metadata_have_limits() {
    let broker = Broker::with(&[
        "message.max.bytes=2000",
        "group.max.size=1",
        "offset.metadata.max.bytes=10",
    ]);
    let mut client = broker.client();
    create(&mut client, "limited", 1, &[]);
    let mut send = |length: usize| {
        let records = values(&["x".repeat(length).as_str()]);
        let size = records.len();
        let response = client.call(9, &producing("limited", 0, records));
        (
            size,
            error(response.responses[0].partition_responses[0].error_code),
        )
    };
    let overhead = 2000 - (send(1900).0 - 1900);
    assert_eq!(send(overhead), (2000, "NONE"), "at the limit");
    assert_eq!(send(overhead + 1), (2001, "MESSAGE_TOO_LARGE"));
    assert_eq!(send(2900).1, "MESSAGE_TOO_LARGE");

    let group = "limited";
    await_coordinator(&mut client, group);
    let first = join(&mut client, group);
    assert_eq!(error(first.error_code), "NONE");
    client.call(5, &syncing(group, 1, &first.member_id, &[]));
    let mut other = broker.client();
    let second = other.call(9, &joining(group, ""));
    let second = match error(second.error_code) {
        "MEMBER_ID_REQUIRED" => {
            other.call::<JoinGroupRequest>(9, &joining(group, &second.member_id))
        }
        _ => second,
    };
    assert_eq!(error(second.error_code), "GROUP_MAX_SIZE_REACHED");

    let metadata = |text| Commit {
        metadata: Some(text),
        ..Commit::of("limited-2", "limited", 1)
    };
    assert_eq!(
        commit(&mut client, &metadata("0123456789")),
        "NONE",
        "at the limit"
    );
    let got = commit(&mut client, &metadata("0123456789a"));
    assert_eq!(got, "OFFSET_METADATA_TOO_LARGE");
}
