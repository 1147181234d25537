//! Frames and versions: what is answered, what closes the connection, in which order.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use corelog_net::wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use corelog_net::wire::messages::fetch::FetchRequest;
use corelog_net::wire::messages::metadata::MetadataRequest;
use corelog_net::wire::{ApiKey, Message};

use crate::client::{Client, Heard, correlation_id, frame, raw, with_size};
use crate::harness::{Broker, PATIENCE};
use crate::records::values;
use crate::table::error;
use crate::topics::{create, fetching, only_records, producing};

const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;

fn versions(client: &mut Client, version: i16) -> ApiVersionsResponse {
    let request = ApiVersionsRequest {
        client_software_name: "x".to_owned(),
        client_software_version: "1".to_owned(),
        ..ApiVersionsRequest::default()
    };
    client.call(version, &request)
}

/// Sends bytes on a new connection; what comes back first.
fn say(broker: &Broker, bytes: &[u8]) -> Heard {
    let mut client = broker.client();
    client.send_bytes(bytes);
    client.hear(PATIENCE)
}

/// The first bytes of the answer.
fn start(heard: &Heard) -> Vec<u8> {
    let Heard::Frame(frame) = heard else {
        return Vec::new();
    };
    frame[..frame.len().min(12)].to_vec()
}

#[test]
fn versions_are_told_and_all_of_them_are_known() {
    let broker = Broker::start();
    let mut client = broker.client();
    let mut tables = Vec::new();
    for version in 0..=4 {
        let response = versions(&mut client, version);
        assert_eq!(error(response.error_code), "NONE", "v{version}");
        let table: BTreeMap<i16, (i16, i16)> = response
            .api_keys
            .iter()
            .map(|one| (one.api_key, (one.min_version, one.max_version)))
            .collect();
        assert_eq!(table.len(), response.api_keys.len(), "no key stands twice");
        tables.push(table);
    }
    assert!(tables.iter().all(|table| *table == tables[0]));
    for (&key, &(min, max)) in &tables[0] {
        let api = ApiKey::from_key(key).expect("a known key");
        let valid = api.valid_versions();
        let valid = if api == ApiKey::Produce {
            0..=*valid.end()
        } else {
            valid
        };
        assert!(
            valid.contains(&min) && valid.contains(&max),
            "{api:?} {min}..={max} {valid:?}"
        );
    }
    // What clients of 4.3 cannot do without.
    for (api, max) in [
        (ApiKey::Produce, 13),
        (ApiKey::Fetch, 18),
        (ApiKey::ListOffsets, 11),
        (ApiKey::Metadata, 13),
        (ApiKey::OffsetCommit, 10),
        (ApiKey::OffsetFetch, 10),
        (ApiKey::FindCoordinator, 6),
        (ApiKey::JoinGroup, 9),
        (ApiKey::Heartbeat, 4),
        (ApiKey::LeaveGroup, 5),
        (ApiKey::SyncGroup, 5),
        (ApiKey::DescribeGroups, 6),
        (ApiKey::ListGroups, 5),
        (ApiKey::ApiVersions, 4),
        (ApiKey::CreateTopics, 7),
        (ApiKey::DeleteTopics, 6),
        (ApiKey::DeleteRecords, 2),
        (ApiKey::OffsetForLeaderEpoch, 4),
        (ApiKey::DescribeConfigs, 4),
        (ApiKey::AlterConfigs, 2),
        (ApiKey::CreatePartitions, 3),
        (ApiKey::DeleteGroups, 2),
        (ApiKey::IncrementalAlterConfigs, 1),
        (ApiKey::DescribeCluster, 2),
        (ApiKey::DescribeTopicPartitions, 0),
    ] {
        let told = tables[0]
            .get(&i16::from(api))
            .unwrap_or_else(|| panic!("{api:?} is missing"));
        assert_eq!(told.1, max, "{api:?}");
    }
    assert!(tables[0].contains_key(&i16::from(ApiKey::InitProducerId)));
}

#[test]
fn a_version_of_api_versions_that_is_too_new_is_answered_in_the_oldest() {
    let broker = Broker::start();
    let v3_body = [2, b'x', 2, b'1', 0];
    for (version, body) in [(99, &[][..]), (99, &v3_body), (5, &v3_body), (-1, &[])] {
        let heard = say(&broker, &raw(API_VERSIONS, version, 7, body));
        let expected = [0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];
        assert_eq!(heard, Heard::Frame(expected.to_vec().into()), "v{version}");
    }
    let names: [&[u8]; 2] = [&[1, 1, 0], &[4, b'a', b' ', b'b', 2, b'1', 0]];
    for name in names {
        let heard = say(&broker, &raw(API_VERSIONS, 3, 7, name));
        assert_eq!(start(&heard)[..7], [0, 0, 0, 7, 0, 42, 1], "{name:?}");
    }
}

#[test]
fn what_cannot_be_read_closes_the_connection() {
    let broker = Broker::start();
    let size = |size: i32| size.to_be_bytes().to_vec();
    let long_id = with_size([&[0; 4][..], &[0, 18, 0, 0, 0, 0, 0, 7, 0x75, 0x30, b'a']].concat());
    let zeros = [size(4), vec![0; 4]].concat();
    for (what, bytes) in [
        ("ApiVersions v3, body missing", raw(API_VERSIONS, 3, 7, &[])),
        ("unknown API key 999", raw(999, 0, 7, &[])),
        ("API key -1", raw(-1, 0, 7, &[])),
        ("LeaderAndIsr v0, removed API", raw(4, 0, 7, &[])),
        ("Metadata v99", raw(METADATA, 99, 7, &[])),
        ("Produce v2", raw(0, 2, 7, &[0; 10])),
        ("Fetch v3", raw(1, 3, 7, &[0; 30])),
        ("Produce v99", raw(0, 99, 7, &[])),
        ("Vote to a broker's listener", raw(52, 0, 7, &[0; 10])),
        (
            "BrokerHeartbeat to a broker's listener",
            raw(63, 0, 7, &[0; 10]),
        ),
        ("Metadata v1, body cut off", raw(METADATA, 1, 7, &[0, 0])),
        (
            "Metadata v1, array length 1000000",
            raw(METADATA, 1, 7, &1_000_000_i32.to_be_bytes()),
        ),
        (
            "Metadata v1, array length 2147483647",
            raw(METADATA, 1, 7, &i32::MAX.to_be_bytes()),
        ),
        ("frame length 0", size(0)),
        ("frame length -1", size(-1)),
        ("frame length 4, then 4 zero bytes", zeros),
        ("frame length 104857601 (limit + 1)", size(104_857_601)),
        ("frame length 2147483647", size(i32::MAX)),
        (
            "32 bytes of nothing",
            (0..32).map(|n: u8| n.wrapping_mul(167) ^ 0x5c).collect(),
        ),
        (
            "HTTP GET line",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ),
        (
            "TLS client hello start",
            vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        ),
        ("client id length 30000 in a short frame", long_id),
    ] {
        assert_eq!(say(&broker, &bytes), Heard::Closed, "{what}");
    }
    assert!(broker.client().is_ready(), "the broker is still there");
}

#[test]
fn what_is_odd_but_readable_is_answered() {
    let broker = Broker::start();
    let answered = |bytes: Vec<u8>, what: &str| {
        let heard = say(&broker, &bytes);
        assert_eq!(start(&heard)[..4], [0, 0, 0, 7], "{what}: {heard:?}");
    };
    answered(
        raw(API_VERSIONS, 0, 7, &[1, 2, 3]),
        "ApiVersions v0 with trailing bytes",
    );
    let none = MetadataRequest {
        topics: Some(Vec::new()),
        ..MetadataRequest::default()
    };
    let mut body = none.to_vec(9).expect("a request");
    body.extend_from_slice(&[1, 2, 3]);
    answered(raw(METADATA, 9, 7, &body), "Metadata v9, trailing bytes");
    let without_id = with_size([&[0; 4][..], &[0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]].concat());
    answered(without_id, "client id null");
    let header = [0, 18, 0, 3, 0, 0, 0, 7, 0, 1, b'r', 1, 42, 2, 9, 9];
    let tagged = with_size([&[0; 4][..], &header, &[2, b'x', 2, b'1', 0]].concat());
    answered(tagged, "request header with unknown tagged field");

    let mut client = broker.client();
    client.send_bytes(&raw(API_VERSIONS, 0, 7, &[])[..10]);
    assert_eq!(
        client.hear(Duration::from_millis(200)),
        Heard::Silence,
        "half a frame"
    );
    client.send_bytes(&raw(API_VERSIONS, 0, 7, &[])[10..]);
    assert_eq!(
        start(&client.hear(PATIENCE))[..4],
        [0, 0, 0, 7],
        "the other half"
    );
    versions(&mut client, 3);
    versions(&mut client, 3);

    let mut client = broker.client();
    client.send_bytes(&raw(API_VERSIONS, 0, 7, &[]));
    client.finish_sending();
    assert_eq!(
        start(&client.hear(PATIENCE))[..4],
        [0, 0, 0, 7],
        "its last request"
    );
    assert_eq!(client.hear(PATIENCE), Heard::Closed);
}

#[test]
fn a_frame_may_come_byte_by_byte_and_many_at_once() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "frames", 1, &[]);
    let bytes = frame(9, 7, &producing("frames", 0, values(&["v0"])));
    for byte in &bytes {
        client.send_bytes(&[*byte]);
    }
    assert_eq!(start(&client.hear(PATIENCE))[..4], [0, 0, 0, 7]);
    let many: Vec<u8> = (0..500)
        .flat_map(|number| frame(9, number, &producing("frames", 0, values(&["v0"]))))
        .collect();
    client.send_bytes(&many);
    for number in 0..500 {
        let Heard::Frame(frame) = client.hear(PATIENCE) else {
            panic!("no answer {number}")
        };
        assert_eq!(correlation_id(&frame), number);
    }
    assert_eq!(crate::topics::end_offset(&mut client, "frames", 0), 501);
}

#[test]
fn pipelined_requests_take_effect_and_are_answered_in_order() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "pipelined", 4, &[]);
    // Produce and then read what was produced, without waiting in between: partitions of both
    // shards, so that answers come from near and far.
    let mut sent = Vec::new();
    for number in 0..40 {
        let partition = number % 4;
        let value = number.to_string();
        let records = values(&[value.as_str()]);
        sent.push((
            true,
            client.send(9, &producing("pipelined", partition, records)),
        ));
        let fetch = fetching("pipelined", partition, i64::from(number / 4));
        sent.push((false, client.send(12, &fetch)));
        sent.push((
            true,
            client.send(9, &producing("nowhere", 0, values(&["v"]))),
        ));
    }
    let mut number = 0;
    for (produced, sent) in sent {
        if produced {
            client.receive::<corelog_net::wire::messages::produce::ProduceRequest>(sent);
        } else {
            let response = client.receive::<FetchRequest>(sent);
            let read = crate::records::read(&only_records(&response));
            let expected = (i64::from(number / 4), number.to_string().into_bytes());
            assert_eq!(read, [expected], "request {number}");
            number += 1;
        }
    }
    assert_eq!(number, 40);
}

#[test]
fn a_long_poll_holds_back_the_answers_behind_it() {
    let broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "held", 1, &[]);
    let mut request = fetching("held", 0, 0);
    request.max_wait_ms = 1000;
    let begun = Instant::now();
    let fetch = client.send(12, &request);
    let other = client.send(0, &ApiVersionsRequest::default());
    client.receive::<FetchRequest>(fetch);
    assert!(begun.elapsed() >= Duration::from_millis(990));
    client.receive::<ApiVersionsRequest>(other);
}

#[test]
fn a_connection_that_sends_nothing_disturbs_nobody() {
    let broker = Broker::start();
    let silent: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(broker.addr()).expect("it accepts"))
        .collect();
    let mut clients: Vec<Client> = (0..20).map(|_| broker.client()).collect();
    assert!(clients.iter_mut().all(Client::is_ready));
    drop(silent);
    assert!(clients.iter_mut().all(Client::is_ready));
}
