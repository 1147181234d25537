//! What a broker remembers when it is started again, and how it goes.

use std::fs;

use corelog_net::wire::Uuid;
use corelog_net::wire::messages::api_versions::ApiVersionsRequest;
use corelog_net::wire::messages::describe_quorum::{
    DescribeQuorumRequest, RequestPartitionData, RequestTopicData,
};
use corelog_net::wire::messages::metadata::MetadataRequest;
use corelog_net::wire::messages::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};
use corelog_storage::batch::Codec;

use crate::client::Client;
use crate::harness::Broker;
use crate::records::{batch, coded, now_ms, values};
use crate::topics::{create, describe, end_offset, produce, read_all};

#[test]
fn topics_and_records_survive_stops_and_crashes() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    let id = create(&mut client, "kept", 6, &[("segment.bytes", "1048576")]);
    let codecs = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];
    let filler = "words of no weight ".repeat(400);
    let mut expected = vec![Vec::new(); 6];
    for round in 0..4 {
        for (partition, expected) in (0..6).zip(&mut expected) {
            for codec in codecs {
                for number in 0..10 {
                    let value = format!("{round} {partition} {number} {codec} {filler}");
                    let records = [(now_ms(), Some("key"), value.as_str())];
                    let offset = produce(
                        &mut client,
                        "kept",
                        partition,
                        batch(coded(codec), &records),
                    );
                    expected.push((offset, value.into_bytes()));
                }
            }
        }
        client = broker.next_round(round);
        assert_eq!(describe(&mut client, "kept").topic_id, id);
        for (partition, expected) in (0..6).zip(&expected) {
            let read = read_all(&mut client, "kept", partition, 0);
            assert!(
                read == *expected,
                "partition {partition} after round {round}"
            );
        }
    }
}

#[test]
fn the_cluster_keeps_its_id_and_the_directory_its_names() {
    let mut broker = Broker::start();
    let cluster = |broker: &Broker| {
        let request = MetadataRequest {
            topics: Some(Vec::new()),
            ..MetadataRequest::default()
        };
        broker
            .client()
            .call(12, &request)
            .cluster_id
            .expect("a cluster id")
    };
    let id = cluster(&broker);
    let mut client = broker.client();
    create(&mut client, "named", 2, &[]);
    produce(&mut client, "named", 1, values(&["v0"]));
    broker.restart();
    assert_eq!(cluster(&broker), id);
    let data = broker.data();
    for name in [
        "meta.properties",
        "recovery-point-offset-checkpoint",
        "replication-offset-checkpoint",
        "log-start-offset-checkpoint",
        "named-1/00000000000000000000.log",
        "named-1/00000000000000000000.index",
        "named-1/00000000000000000000.timeindex",
        "named-1/partition.metadata",
        "named-1/leader-epoch-checkpoint",
        "named-0/00000000000000000000.log",
        "__cluster_metadata-0",
    ] {
        assert!(data.join(name).exists(), "{name} is missing");
    }
    broker.stop();
    assert!(data.join(".kafka_cleanshutdown").exists());
    let meta = fs::read_to_string(data.join("meta.properties")).expect("it can be read");
    assert!(meta.contains(&format!("cluster.id={id}")), "{meta}");
    broker.launch();
    assert!(
        !data.join(".kafka_cleanshutdown").exists(),
        "it says nothing of a broker that runs"
    );
}

#[test]
fn a_stop_answers_what_is_in_flight() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "in-flight", 1, &[]);
    let sent: Vec<_> = (0..200)
        .map(|_| {
            client.send(
                9,
                &crate::topics::producing("in-flight", 0, values(&["v0"])),
            )
        })
        .collect();
    broker.stop();
    let mut acknowledged = 0;
    for sent in sent {
        type Produce = corelog_net::wire::messages::produce::ProduceRequest;
        let Some(response) = client.try_receive::<Produce>(sent) else {
            break;
        };
        let answer = &response.responses[0].partition_responses[0];
        if answer.error_code == 0 {
            assert_eq!(answer.base_offset, acknowledged);
            acknowledged += 1;
        }
    }
    broker.launch();
    client = broker.client();
    assert!(end_offset(&mut client, "in-flight", 0) >= acknowledged);
}

#[test]
fn a_second_broker_keeps_off_a_directory_in_use() {
    let mut broker = Broker::start();
    let path = broker.data();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_corelog-broker"))
        .args(["--override", "listeners=PLAINTEXT://127.0.0.1:0"])
        .args(["--override", &format!("log.dirs={}", path.display())])
        .output()
        .expect("it can be started");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("lock"), "{said}");
    assert!(broker.exited().is_none());
    assert!(broker.client().is_ready());
}

#[test]
fn other_shards_serve_the_same_logs() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "resharded", 5, &[]);
    for shards in [1, 3, 2] {
        for partition in 0..5 {
            produce(&mut client, "resharded", partition, values(&["v0", "v1"]));
        }
        broker.set(&format!("corelog.shards={shards}"));
        broker.restart();
        client = broker.client();
    }
    for partition in 0..5 {
        assert_eq!(read_all(&mut client, "resharded", partition, 0).len(), 6);
    }
}

/// `kraft.version` as the features say it, and the directory by which the quorum knows this node.
fn quorum(client: &mut Client) -> (i16, Uuid) {
    let versions = client.call(
        4,
        &ApiVersionsRequest {
            client_software_name: "test".to_owned(),
            client_software_version: "1".to_owned(),
            ..ApiVersionsRequest::default()
        },
    );
    let mut features = versions.finalized_features.iter();
    let kraft = features.find(|feature| feature.name == "kraft.version");
    let request = DescribeQuorumRequest {
        topics: vec![RequestTopicData {
            topic_name: "__cluster_metadata".to_owned(),
            partitions: vec![RequestPartitionData::default()],
            ..RequestTopicData::default()
        }],
        ..DescribeQuorumRequest::default()
    };
    let response = client.call(2, &request);
    let voter = &response.topics[0].partitions[0].current_voters[0];
    (
        kraft.map_or(0, |feature| feature.max_version_level),
        voter.replica_directory_id,
    )
}

#[test]
fn a_quorum_that_names_its_voters_goes_on_doing_so() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    assert_eq!(quorum(&mut client), (0, Uuid::ZERO));
    let raise = |client: &mut Client, level, way, validate_only| {
        let request = UpdateFeaturesRequest {
            feature_updates: vec![FeatureUpdateKey {
                feature: "kraft.version".to_owned(),
                max_version_level: level,
                upgrade_type: way,
                ..FeatureUpdateKey::default()
            }],
            validate_only,
            ..UpdateFeaturesRequest::default()
        };
        let response = client.call(2, &request);
        response.error_message.unwrap_or_default()
    };
    let (upgrade, safe) = (1, 2);
    assert_eq!(raise(&mut client, 1, upgrade, true), "");
    assert_eq!(quorum(&mut client), (0, Uuid::ZERO), "that was a question");
    assert_eq!(raise(&mut client, 1, upgrade, false), "");
    let (level, directory) = quorum(&mut client);
    assert!(level == 1 && directory != Uuid::ZERO);
    let refused = raise(&mut client, 0, safe, false);
    let sentence = "Invalid update version 0 for feature kraft.version. Can't downgrade the version of this feature.";
    assert!(refused.ends_with(sentence), "{refused}");
    for round in 0..2 {
        client = broker.next_round(round);
        assert_eq!(quorum(&mut client), (1, directory));
        create(&mut client, &format!("after-{round}"), 1, &[]);
    }
}
