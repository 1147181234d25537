use super::*;
use crate::types::{LeaderEpoch, Offset, TopicId, TopicPartition};

#[test]
fn offset_checkpoints_name_the_line_that_is_wrong() {
    for (text, message) in [
        (
            "",
            "line 1: expected version 0, found \"the end of the file\"",
        ),
        ("7\n0\n", "line 1: expected version 0, found \"7\""),
        (
            "0\n",
            "line 2: expected the count of entries, found \"the end of the file\"",
        ),
        (
            "0\nmany\n",
            "line 2: expected the count of entries, found \"many\"",
        ),
        (
            "0\n99999999999999999999\n",
            "line 2: expected the count of entries, found \"99999999999999999999\"",
        ),
        (
            "0\n18446744073709551615\nt 0 1\n",
            "line 4: expected topic, partition and offset, found \"the end of the file\"",
        ),
        (
            "0\n1\nt 0\n",
            "line 3: expected topic, partition and offset, found \"t 0\"",
        ),
        (
            "0\n1\nt 0 1 2\n",
            "line 3: expected topic, partition and offset, found \"t 0 1 2\"",
        ),
        (
            "0\n1\nt -1 1\n",
            "line 3: expected a partition number, found \"t -1 1\"",
        ),
        (
            "0\n1\nt 0 x\n",
            "line 3: expected an offset, found \"t 0 x\"",
        ),
        (
            "0\n1\nt 0 1\nt 1 1\n",
            "line 4: expected the end of the file, as the count says, found \"t 1 1\"",
        ),
    ] {
        assert_eq!(
            OffsetCheckpoint::parse(text.as_bytes())
                .unwrap_err()
                .to_string(),
            message,
            "{text:?}"
        );
    }
    let error = OffsetCheckpoint::parse(b"0\n1\n\xff 0 0\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 3: expected UTF-8 text, found \"other bytes\""
    );
    let long = format!("0\n1\n{}\n", "x".repeat(1000));
    assert_eq!(
        OffsetCheckpoint::parse(long.as_bytes())
            .unwrap_err()
            .found
            .len(),
        80
    );
}

#[test]
fn offset_checkpoints_keep_their_order() {
    let entries = vec![
        (TopicPartition::new("z", 1), Offset(5)),
        (TopicPartition::new("a.b_c", 0), Offset(i64::MAX)),
    ];
    let checkpoint = OffsetCheckpoint { entries };
    let text = checkpoint.print();
    assert_eq!(text, "0\n2\nz 1 5\na.b_c 0 9223372036854775807\n");
    assert_eq!(
        OffsetCheckpoint::parse(text.as_bytes()).unwrap(),
        checkpoint
    );
    assert_eq!(OffsetCheckpoint::default().print(), "0\n0\n");
    assert_eq!(
        OffsetCheckpoint::parse(b"0\n0").unwrap(),
        OffsetCheckpoint::default()
    );
}

#[test]
fn partition_metadata_is_two_lines() {
    let id: TopicId = "w9osNXZUTzSovuio2_7xvg".parse().unwrap();
    let text = "version: 0\ntopic_id: w9osNXZUTzSovuio2_7xvg";
    assert_eq!(PartitionMetadata { topic_id: id }.print(), text);
    assert_eq!(
        PartitionMetadata::parse(format!("{text}\n").as_bytes())
            .unwrap()
            .topic_id,
        id
    );
    for (wrong, line) in [
        ("", 1),
        ("version: 1\n", 1),
        ("version: 0\n", 2),
        ("version: 0\ntopic_id: short", 2),
        ("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA", 2),
        ("version: 0\nid: w9osNXZUTzSovuio2_7xvg", 2),
    ] {
        assert_eq!(
            PartitionMetadata::parse(wrong.as_bytes()).unwrap_err().line,
            line,
            "{wrong:?}"
        );
    }
}

#[test]
fn meta_properties_are_javas() {
    let text = "#\n#Sat Nov 21 07:01:42 UTC 2026\nnode.id=1\nversion=1\ncluster.id=a\\:b\\=c\nodd\\ key=\\ v \\u00E9\n";
    let meta = MetaProperties::parse(text.as_bytes()).unwrap();
    assert_eq!(meta.cluster_id, "a:b=c");
    assert_eq!(meta.date.as_deref(), Some("Sat Nov 21 07:01:42 UTC 2026"));
    assert_eq!(
        (meta.directory_id, meta.others.as_slice()),
        (None, &[("odd key".into(), " v é".into())][..])
    );
    assert_eq!(meta.print(), text);
    let loose =
        MetaProperties::parse(b"! note\n\n  node.id : 7\r\nversion 1\ncluster.id=x\ncluster.id=y")
            .unwrap();
    assert_eq!((loose.node_id, loose.cluster_id.as_str()), (7, "y"));
    for (wrong, message) in [
        ("node.id=1\ncluster.id=x\n", "version is missing"),
        ("version=1\ncluster.id=x\n", "node.id is missing"),
        ("version=1\nnode.id=1\n", "cluster.id is missing"),
        (
            "version=0\n",
            "version is \"0\", expected 1 (a directory of a ZooKeeper-based broker has 0)",
        ),
        (
            "version=1\nnode.id=-1\n",
            "node.id is \"-1\", expected a number from 0 on",
        ),
        (
            "version=1\nnode.id=1\ndirectory.id=x\n",
            "directory.id is \"x\", expected 22 characters of URL-safe base64",
        ),
        (
            "version=1\nnonsense\n",
            "line 2: expected key=value, found \"nonsense\"",
        ),
        (
            "version=\\u12\n",
            "line 1: expected key=value, found \"version=\\\\u12\"",
        ),
        (
            "version=\\uéé\n",
            "line 1: expected key=value, found \"version=\\\\uéé\"",
        ),
    ] {
        assert_eq!(
            MetaProperties::parse(wrong.as_bytes())
                .unwrap_err()
                .to_string(),
            message
        );
    }
}

#[test]
fn a_clean_shutdown_may_be_empty() {
    assert_eq!(
        CleanShutdown::parse(b"").unwrap(),
        CleanShutdown { broker_epoch: -1 }
    );
    let epoch = CleanShutdown { broker_epoch: 410 };
    assert_eq!(epoch.print(), "{\"version\":0,\"brokerEpoch\":410}");
    assert_eq!(
        CleanShutdown::parse(epoch.print().as_bytes()).unwrap(),
        epoch
    );
    for wrong in [
        "{",
        "[]",
        "{\"version\":0}",
        "{\"version\":1,\"brokerEpoch\":4}",
        "{\"brokerEpoch\":\"x\",\"version\":0}",
    ] {
        assert!(CleanShutdown::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn quorum_states_of_both_versions_are_printed_as_kafka_does() {
    let state = QuorumState::V1 {
        leader_id: -1,
        leader_epoch: LeaderEpoch(7),
        voted_id: 3,
        voted_directory_id: "w9osNXZUTzSovuio2_7xvg".parse().unwrap(),
    };
    let text = "{\"leaderId\":-1,\"leaderEpoch\":7,\"votedId\":3,\"votedDirectoryId\":\"w9osNXZUTzSovuio2_7xvg\",\"data_version\":1}";
    assert_eq!(state.print(), text);
    assert_eq!(QuorumState::parse(text.as_bytes()).unwrap(), state);
    for (wrong, message) in [
        (
            "{\"leaderEpoch\":7}",
            "leaderId: expected a number, found nothing",
        ),
        (
            "{\"leaderId\":1,\"leaderEpoch\":7,\"votedId\":99999999999,\"data_version\":1}",
            "votedId: expected a number, found 99999999999",
        ),
        (
            "{\"leaderId\":1,\"leaderEpoch\":7,\"votedId\":1,\"data_version\":2}",
            "data_version: expected 0 or 1, found 2",
        ),
        (
            "{\"leaderId\":1,\"leaderEpoch\":7,\"votedId\":1,\"data_version\":1,\"votedDirectoryId\":\"x\"}",
            "votedDirectoryId: expected an id of 22 characters, found \"x\"",
        ),
    ] {
        assert_eq!(
            QuorumState::parse(wrong.as_bytes())
                .unwrap_err()
                .to_string(),
            message
        );
    }
}

#[test]
fn characters_of_two_escapes_are_one() {
    let meta =
        MetaProperties::parse("version=1\nnode.id=1\ncluster.id=x\u{b269d}\n".as_bytes()).unwrap();
    assert!(meta.print().ends_with("cluster.id=x\\uDA89\\uDE9D\n"));
    assert_eq!(
        MetaProperties::parse(meta.print().as_bytes()).unwrap(),
        meta
    );
    for wrong in ["\\uDA89", "\\uDE9D", "\\uDA89\\u0041", "\\u+123"] {
        assert!(
            MetaProperties::parse(format!("version={wrong}\n").as_bytes()).is_err(),
            "{wrong}"
        );
    }
}
