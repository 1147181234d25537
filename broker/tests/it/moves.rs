//! AlterReplicaLogDirs: partitions move between log directories while they are written to.

use std::fs;
use std::path::PathBuf;

use corelog_net::wire::messages::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};

use crate::client::Client;
use crate::configs::{BROKER, alter};
use crate::harness::eventually;
use crate::log_dirs::{directory_of, log_dirs, with_directories};
use crate::random::Random;
use crate::records::values;
use crate::table::{Table, error};
use crate::topics::{
    create, delete, deleting_records, end_offset, offset_of, produce, producing, read_all,
};

const THROTTLE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";

pub(crate) fn moving(client: &mut Client, path: &str, topic: &str, partition: i32) -> &'static str {
    let request = AlterReplicaLogDirsRequest {
        dirs: vec![AlterReplicaLogDir {
            path: path.to_owned(),
            topics: vec![AlterReplicaLogDirTopic {
                name: topic.to_owned(),
                partitions: vec![partition],
                ..AlterReplicaLogDirTopic::default()
            }],
            ..AlterReplicaLogDir::default()
        }],
        ..AlterReplicaLogDirsRequest::default()
    };
    let response = client.call(2, &request);
    assert_eq!(response.results[0].topic_name, topic);
    error(response.results[0].partitions[0].error_code)
}

/// Where the copy of a partition grows: directory, bytes, lag.
fn future(client: &mut Client, topic: &str, partition: i32) -> Option<(usize, i64, i64)> {
    let response = log_dirs(client);
    for (at, one) in response.results.iter().enumerate() {
        for found in one.topics.iter().filter(|one| one.name == topic) {
            let mut partitions = found.partitions.iter();
            let future =
                partitions.find(|one| one.is_future_key && one.partition_index == partition);
            if let Some(future) = future {
                return Some((at, future.partition_size, future.offset_lag));
            }
        }
    }
    None
}

fn throttle(client: &mut Client, bytes: Option<&str>) {
    let operation = i8::from(bytes.is_none());
    assert_eq!(
        alter(client, BROKER, "1", &[(THROTTLE, operation, bytes)]),
        "NONE"
    );
}

fn folders(directories: &[PathBuf], part: &str) -> Vec<String> {
    let mut found = Vec::new();
    for directory in directories {
        for entry in fs::read_dir(directory).expect("it can be listed") {
            let name = entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned();
            if name.contains(part) {
                found.push(name);
            }
        }
    }
    found
}

#[test]
fn a_partition_moves_under_its_producers() {
    let (mut broker, directories) = with_directories(2, &[]);
    let mut client = broker.client();
    let settings = [("segment.bytes", "1048576"), ("file.delete.delay.ms", "0")];
    create(&mut client, "moved", 1, &settings);
    let filler = "moved ".repeat(5000);
    let mut expected = Vec::new();
    let mut send = |client: &mut Client, number: usize| {
        let value = format!("{number} {filler}");
        let offset = produce(client, "moved", 0, values(&[value.as_str()]));
        expected.push((offset, value.into_bytes()));
    };
    for number in 0..150 {
        send(&mut client, number);
    }
    client.call(2, &deleting_records("moved", 40));
    let mut at = directory_of(&mut client, "moved", 0).expect("it is somewhere");
    let mut number = 150;
    for round in 0..4 {
        let target = 1 - at;
        let path = directories[target].display().to_string();
        assert_eq!(moving(&mut client, &path, "moved", 0), "NONE");
        eventually("it has moved", || {
            send(&mut client, number);
            number += 1;
            directory_of(&mut client, "moved", 0) == Some(target)
                && future(&mut client, "moved", 0).is_none()
        });
        for _ in 0..20 {
            send(&mut client, number);
            number += 1;
        }
        at = target;
        eventually("what was there is removed", || {
            folders(&directories, "moved").len() == 1
        });
        match round {
            1 => {
                broker.restart();
                client = broker.client();
            }
            2 => {
                broker.kill();
                broker.launch();
                client = broker.client();
            }
            _ => {}
        }
        assert_eq!(
            directory_of(&mut client, "moved", 0),
            Some(at),
            "round {round}"
        );
        assert_eq!(offset_of(&mut client, "moved", 0, -2), 40, "round {round}");
    }
    let read = read_all(&mut client, "moved", 0, 40);
    assert!(read == expected[40..], "records are lost or changed");
    let log = broker.log();
    assert!(!log.contains("is offline"), "{log}");
}

#[test]
fn a_move_is_throttled_shown_and_taken_back() {
    let (broker, directories) = with_directories(2, &[]);
    let mut client = broker.client();
    create(&mut client, "slow", 1, &[]);
    let filler = "slow ".repeat(40_000);
    for _ in 0..20 {
        produce(&mut client, "slow", 0, values(&[filler.as_str()]));
    }
    let at = directory_of(&mut client, "slow", 0).expect("it is somewhere");
    let (here, there) = (&directories[at], &directories[1 - at]);
    throttle(&mut client, Some("50000"));
    let there = there.display().to_string();
    assert_eq!(moving(&mut client, &there, "slow", 0), "NONE");
    eventually("the copy is shown", || {
        future(&mut client, "slow", 0).is_some_and(|(place, size, lag)| {
            // Of 4 MB, at 50 kB in a second.
            place == 1 - at && size > 0 && size < 2_000_000 && lag > 0
        })
    });
    assert_eq!(directory_of(&mut client, "slow", 0), Some(at));
    assert_eq!(folders(&directories, "-future").len(), 1);
    produce(&mut client, "slow", 0, values(&["during"]));
    // Back to where it is: the move ends.
    let here = here.display().to_string();
    assert_eq!(moving(&mut client, &here, "slow", 0), "NONE");
    eventually("the copy is gone", || {
        future(&mut client, "slow", 0).is_none() && folders(&directories, "-future").is_empty()
    });
    assert_eq!(directory_of(&mut client, "slow", 0), Some(at));
    // Without the throttle it arrives.
    assert_eq!(moving(&mut client, &there, "slow", 0), "NONE");
    throttle(&mut client, None);
    eventually("it has moved", || {
        directory_of(&mut client, "slow", 0) == Some(1 - at)
    });
    assert_eq!(read_all(&mut client, "slow", 0, 0).len(), 21);
    let mut table = Table::new("AlterReplicaLogDirs");
    for (path, partition, expected) in [
        (there.as_str(), 0, "NONE"),
        (there.as_str(), 9, "UNKNOWN_TOPIC_OR_PARTITION"),
        ("/nowhere", 0, "LOG_DIR_NOT_FOUND"),
        ("relative", 0, "LOG_DIR_NOT_FOUND"),
    ] {
        let got = moving(&mut client, path, "slow", partition);
        table.row(&format!("{path} {partition}"), got, expected);
    }
    table.finish();
}

#[test]
fn an_interrupted_move_begins_again_and_a_deleted_topic_takes_its_copy_along() {
    let (mut broker, directories) = with_directories(2, &[]);
    let mut client = broker.client();
    let filler = "again ".repeat(40_000);
    for topic in ["again", "again-gone"] {
        create(&mut client, topic, 1, &[("file.delete.delay.ms", "0")]);
        for _ in 0..10 {
            produce(&mut client, topic, 0, values(&[filler.as_str()]));
        }
    }
    let at = directory_of(&mut client, "again", 0).expect("it is somewhere");
    let gone = directory_of(&mut client, "again-gone", 0).expect("it is somewhere");
    throttle(&mut client, Some("50000"));
    for (topic, from) in [("again", at), ("again-gone", gone)] {
        let path = directories[1 - from].display().to_string();
        assert_eq!(moving(&mut client, &path, topic, 0), "NONE");
        eventually("the copy grows", || {
            future(&mut client, topic, 0).is_some_and(|(_, size, _)| size > 0)
        });
    }
    delete(&mut client, "again-gone");
    eventually("its folders are removed", || {
        folders(&directories, "again-gone").is_empty()
    });
    for stop in ["kill", "stop"] {
        match stop {
            "kill" => broker.kill(),
            _ => broker.stop(),
        }
        broker.launch();
        client = broker.client();
        eventually("the copy grows again", || {
            future(&mut client, "again", 0).is_some_and(|(_, size, _)| size > 0)
        });
        assert_eq!(
            directory_of(&mut client, "again", 0),
            Some(at),
            "after a {stop}"
        );
    }
    throttle(&mut client, None);
    eventually("it has moved", || {
        directory_of(&mut client, "again", 0) == Some(1 - at)
    });
    assert_eq!(read_all(&mut client, "again", 0, 0).len(), 10);
}

#[test]
fn kills_during_moves_lose_nothing() {
    let (mut broker, directories) = with_directories(3, &[]);
    let mut client = broker.client();
    let settings = [("segment.bytes", "1048576"), ("file.delete.delay.ms", "0")];
    create(&mut client, "hunted", 3, &settings);
    let mut random = Random::new(crate::random::number("CORELOG_TEST_SEED", 7));
    let mut expected = vec![Vec::new(); 3];
    let filler = "hunted ".repeat(3000);
    for round in 0..8 {
        let kill_after = random.below(120);
        for step in 0..=kill_after {
            let partition = random.below(3);
            let number = i32::try_from(partition).expect("below 3");
            if step % 8 == 0 {
                let path = directories[random.below(3)].display().to_string();
                assert_eq!(moving(&mut client, &path, "hunted", number), "NONE");
            }
            let value = format!("{round} {step} {filler}");
            let offset = produce(&mut client, "hunted", number, values(&[value.as_str()]));
            expected[partition].push((offset, value.into_bytes()));
        }
        broker.kill();
        broker.launch();
        client = broker.client();
        for (partition, expected) in expected.iter().enumerate() {
            let number = i32::try_from(partition).expect("below 3");
            let read = read_all(&mut client, "hunted", number, 0);
            assert!(read == *expected, "round {round}: partition {partition}");
        }
    }
    eventually("the moves have ended", || {
        (0..3).all(|partition| future(&mut client, "hunted", partition).is_none())
    });
    for partition in 0..3 {
        assert!(end_offset(&mut client, "hunted", partition) > 0);
        let response = client.call(9, &producing("hunted", partition, values(&["last"])));
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }
    let log = broker.log();
    assert!(!log.contains("is not served"), "{log}");
}
