//! Several log directories: where partitions go, what a failed directory takes with it, and what is refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use corelog_net::wire::messages::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use corelog_net::wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use corelog_net::wire::messages::describe_log_dirs::{
    DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use corelog_net::wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

use crate::client::Client;
use crate::harness::{Broker, eventually};
use crate::records::values;
use crate::table::{error, message};
use crate::topics::{create, delete, describe, fetching, produce, producing, read_all};

/// A broker with `count` log directories, and their paths.
pub(crate) fn with_directories(count: usize, settings: &[&str]) -> (Broker, Vec<PathBuf>) {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "dirs-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let _ = fs::remove_dir_all(&root);
    let directories: Vec<_> = (0..count).map(|at| root.join(format!("d{at}"))).collect();
    let list: Vec<_> = directories
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let mut overrides = vec![format!("log.dirs={}", list.join(","))];
    overrides.extend(settings.iter().map(|&one| one.to_owned()));
    let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
    (Broker::with(&overrides), directories)
}

pub(crate) fn log_dirs(client: &mut Client) -> DescribeLogDirsResponse {
    let everything = DescribeLogDirsRequest {
        topics: None,
        ..DescribeLogDirsRequest::default()
    };
    client.call(4, &everything)
}

/// Which of the directories holds a partition.
pub(crate) fn directory_of(client: &mut Client, topic: &str, partition: i32) -> Option<usize> {
    log_dirs(client).results.iter().position(|one| {
        let mut topics = one.topics.iter().filter(|one| one.name == topic);
        topics.any(|topic| {
            let mut partitions = topic.partitions.iter();
            partitions.any(|one| one.partition_index == partition && !one.is_future_key)
        })
    })
}

fn count_in(directory: &Path, topic: &str) -> usize {
    let entries = fs::read_dir(directory).expect("it can be listed");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let prefix = format!("{topic}-");
    names
        .filter(|name| name.to_string_lossy().starts_with(&prefix))
        .count()
}

fn code(client: &mut Client, topic: &str, partition: i32) -> &'static str {
    let response = client.call(9, &producing(topic, partition, values(&["x"])));
    error(response.responses[0].partition_responses[0].error_code)
}

fn fetch_code(client: &mut Client, topic: &str, partition: i32) -> &'static str {
    let response = client.call(12, &fetching(topic, partition, 0));
    error(response.responses[0].partitions[0].error_code)
}

#[test]
fn partitions_go_to_the_least_loaded_directory() {
    let (mut broker, directories) = with_directories(3, &[]);
    let mut client = broker.client();
    create(&mut client, "spread", 7, &[]);
    create(&mut client, "spread-more", 5, &[]);
    let counts: Vec<_> = directories
        .iter()
        .map(|path| count_in(path, "spread") + count_in(path, "spread-more"))
        .collect();
    // "spread-more-0" begins with "spread-" too, so it is counted twice.
    assert_eq!(counts.iter().sum::<usize>(), 7 + 2 * 5);
    let all = |client: &mut Client| -> Vec<usize> {
        let mut counts = vec![0; 3];
        for (topic, partitions) in [("spread", 7), ("spread-more", 5)] {
            for partition in 0..partitions {
                counts[directory_of(client, topic, partition).expect("it is somewhere")] += 1;
            }
        }
        counts
    };
    assert_eq!(all(&mut client), [4, 4, 4]);
    for partition in 0..7 {
        produce(&mut client, "spread", partition, values(&["v0", "v1"]));
    }
    for round in 0..2 {
        client = broker.next_round(round);
        assert_eq!(all(&mut client), [4, 4, 4]);
        for partition in 0..7 {
            assert_eq!(read_all(&mut client, "spread", partition, 0).len(), 2);
        }
    }
}

#[test]
fn a_failed_directory_takes_only_its_partitions_with_it() {
    let (mut broker, directories) = with_directories(2, &[]);
    let mut client = broker.client();
    create(&mut client, "lost", 4, &[]);
    for partition in 0..4 {
        produce(&mut client, "lost", partition, values(&["v0", "v1"]));
    }
    let places: Vec<_> = (0..4)
        .map(|partition| directory_of(&mut client, "lost", partition).expect("it is somewhere"))
        .collect();
    assert_eq!(places.iter().filter(|at| **at == 1).count(), 2);
    // As if its disk were unmounted.
    let away = directories[1].with_extension("away");
    fs::rename(&directories[1], &away).expect("it can be moved");
    eventually("the directory is offline", || {
        let dirs = log_dirs(&mut client);
        error(dirs.results[1].error_code) == "KAFKA_STORAGE_ERROR"
    });
    assert_eq!(error(log_dirs(&mut client).results[0].error_code), "NONE");
    for (partition, at) in (0..4).zip(&places) {
        let expected = if *at == 1 {
            "KAFKA_STORAGE_ERROR"
        } else {
            "NONE"
        };
        eventually("every shard knows it", || {
            code(&mut client, "lost", partition) == expected
        });
        assert_eq!(fetch_code(&mut client, "lost", partition), expected);
    }
    eventually("the metadata tells it", || {
        let topic = describe(&mut client, "lost");
        topic.partitions.iter().all(|one| {
            let at = places[usize::try_from(one.partition_index).expect("an index")];
            let gone = one.leader_id == -1 && one.offline_replicas == one.replica_nodes;
            gone == (at == 1) && (one.leader_id >= 0) == (at == 0)
        })
    });
    // New partitions go where there is a disk; deleting goes on.
    create(&mut client, "lost-new", 3, &[]);
    for partition in 0..3 {
        assert_eq!(directory_of(&mut client, "lost-new", partition), Some(0));
        produce(&mut client, "lost-new", partition, values(&["v0"]));
    }
    let log = broker.log();
    assert!(log.contains("OfflineLogDirectoryCount=1"), "{log}");
    // Without its disk the partitions are not begun anew.
    broker.restart();
    client = broker.client();
    for (partition, at) in (0..4).zip(&places) {
        let expected = if *at == 1 {
            "KAFKA_STORAGE_ERROR"
        } else {
            "NONE"
        };
        assert_eq!(code(&mut client, "lost", partition), expected);
    }
    let log = broker.log();
    assert!(log.contains("mount it and start again"), "{log}");
    assert!(!directories[1].join("meta.properties").exists());
    // With it everything is back.
    broker.stop();
    fs::remove_dir_all(&directories[1]).expect("the empty one can be removed");
    fs::rename(&away, &directories[1]).expect("it can be moved back");
    broker.launch();
    client = broker.client();
    for (partition, at) in (0..4).zip(&places) {
        assert_eq!(directory_of(&mut client, "lost", partition), Some(*at));
        let read = read_all(&mut client, "lost", partition, 0);
        assert_eq!(read[..2], [(0, b"v0".to_vec()), (1, b"v1".to_vec())]);
        assert_eq!(code(&mut client, "lost", partition), "NONE");
    }
}

#[test]
fn a_directory_that_takes_no_checkpoint_is_offline_and_nothing_else() {
    let (mut broker, directories) =
        with_directories(2, &["log.flush.offset.checkpoint.interval.ms=100"]);
    let mut client = broker.client();
    create(&mut client, "pointed", 4, &[]);
    let spoilt = (0..4)
        .filter(|one| directory_of(&mut client, "pointed", *one) == Some(1))
        .collect::<Vec<_>>();
    assert_eq!(spoilt.len(), 2);
    // What is to be written first is there, and is no file: at run time, and then at a start after a crash.
    let in_the_way = directories[1].join("recovery-point-offset-checkpoint.tmp");
    for restarted in [false, true] {
        if restarted {
            broker.kill();
            broker.launch();
            client = broker.client();
        } else {
            fs::create_dir(&in_the_way).expect("it can be made");
        }
        eventually("the directory is offline", || {
            let offline = |one: &i32| code(&mut client, "pointed", *one) == "KAFKA_STORAGE_ERROR";
            spoilt.iter().all(offline)
        });
        for one in (0..4).filter(|one| !spoilt.contains(one)) {
            assert_eq!(code(&mut client, "pointed", one), "NONE");
        }
    }
    broker.kill();
    fs::remove_dir(&in_the_way).expect("it is there");
    broker.launch();
    client = broker.client();
    for one in 0..4 {
        assert_eq!(code(&mut client, "pointed", one), "NONE");
    }
    broker.stop();
}

#[test]
fn what_lies_wrong_in_a_directory_is_refused_and_kept() {
    let (mut broker, directories) = with_directories(2, &[]);
    let mut client = broker.client();
    for topic in ["wrong-twice", "wrong-bare", "wrong-stray"] {
        create(&mut client, topic, 1, &[]);
        produce(&mut client, topic, 0, values(&["v0"]));
    }
    let twice = directory_of(&mut client, "wrong-twice", 0).expect("it is somewhere");
    let bare = directory_of(&mut client, "wrong-bare", 0).expect("it is somewhere");
    let stray = directory_of(&mut client, "wrong-stray", 0).expect("it is somewhere");
    broker.stop();
    copy(
        &directories[twice].join("wrong-twice-0"),
        &directories[1 - twice].join("wrong-twice-0"),
    );
    fs::remove_file(directories[bare].join("wrong-bare-0/partition.metadata"))
        .expect("it is there");
    copy(
        &directories[stray].join("wrong-stray-0"),
        &directories[stray].join("wrong-unknown-0"),
    );
    fs::create_dir(directories[0].join("lost+found")).expect("it can be made");
    fs::write(directories[0].join("notes.txt"), "not a log").expect("it can be written");
    broker.launch();
    client = broker.client();
    assert_eq!(code(&mut client, "wrong-twice", 0), "KAFKA_STORAGE_ERROR");
    assert_eq!(
        fetch_code(&mut client, "wrong-twice", 0),
        "KAFKA_STORAGE_ERROR"
    );
    assert_eq!(read_all(&mut client, "wrong-bare", 0, 0).len(), 1);
    assert!(
        directories[bare]
            .join("wrong-bare-0/partition.metadata")
            .exists()
    );
    assert_eq!(read_all(&mut client, "wrong-stray", 0, 0).len(), 1);
    assert_eq!(count_in(&directories[stray], "wrong-unknown"), 1);
    assert!(!directories[stray].join("wrong-unknown-0").exists());
    assert!(directories[0].join("lost+found").exists());
    let log = broker.log();
    for sentence in [
        "which one is newer nobody can tell",
        "has no partition.metadata",
        "belongs to no topic",
    ] {
        assert!(log.contains(sentence), "{sentence}\n{log}");
    }
    // One of the two moved away, the partition is served again.
    broker.stop();
    fs::remove_dir_all(directories[1 - twice].join("wrong-twice-0")).expect("it is there");
    broker.launch();
    client = broker.client();
    assert_eq!(read_all(&mut client, "wrong-twice", 0, 0).len(), 1);
    assert_eq!(code(&mut client, "wrong-twice", 0), "NONE");
}

#[test]
fn a_topic_deleted_while_its_directory_is_offline_does_not_come_back() {
    let (mut broker, directories) = with_directories(2, &[]);
    let mut client = broker.client();
    create(&mut client, "ghost", 2, &[]);
    for partition in 0..2 {
        produce(&mut client, "ghost", partition, values(&["old"]));
    }
    broker.stop();
    let away = directories[1].with_extension("away");
    fs::rename(&directories[1], &away).expect("it can be moved");
    broker.launch();
    client = broker.client();
    delete(&mut client, "ghost");
    create(&mut client, "ghost", 2, &[]);
    for partition in 0..2 {
        assert_eq!(directory_of(&mut client, "ghost", partition), Some(0));
        produce(&mut client, "ghost", partition, values(&["new"]));
    }
    broker.stop();
    fs::remove_dir_all(&directories[1]).expect("the empty one can be removed");
    fs::rename(&away, &directories[1]).expect("it can be moved back");
    broker.launch();
    client = broker.client();
    for partition in 0..2 {
        let read = read_all(&mut client, "ghost", partition, 0);
        assert_eq!(read, [(0, b"new".to_vec())], "partition {partition}");
    }
}

#[test]
fn directories_of_others_stop_the_start_with_a_sentence() {
    let (mut broker, directories) = with_directories(2, &[]);
    create(&mut broker.client(), "mine", 1, &[]);
    broker.stop();
    let path = directories[1].join("meta.properties");
    let properties = fs::read_to_string(&path).expect("it can be read");
    let start = || {
        let list = format!(
            "log.dirs={},{}",
            directories[0].display(),
            directories[1].display()
        );
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_corelog-broker"))
            .args(["--override", "listeners=PLAINTEXT://127.0.0.1:0"])
            .args(["--override", &list])
            .output()
            .expect("it can be started");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    };
    for (from, to, sentence) in [
        (
            "cluster.id=",
            "cluster.id=other",
            "belong to different clusters",
        ),
        ("node.id=", "node.id=7", "belongs to node.id 7"),
    ] {
        let line = properties.lines().find(|line| line.starts_with(from));
        let changed = properties.replace(line.expect("the line is there"), to);
        fs::write(&path, changed).expect("it can be written");
        let said = start();
        assert!(said.contains(sentence), "{said}");
        assert!(
            said.contains(&directories[1].display().to_string()),
            "{said}"
        );
    }
    fs::write(&path, &properties).expect("it can be written");
    broker.launch();
    assert_eq!(code(&mut broker.client(), "mine", 0), "NONE");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("it can be made");
    for entry in fs::read_dir(from).expect("it can be listed") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("it can be copied");
    }
}

/// A resource of `IncrementalAlterConfigs`: this broker's list; no value deletes it.
fn cordon(client: &mut Client, value: Option<&str>) -> String {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 4,
            resource_name: "1".to_owned(),
            configs: vec![AlterableConfig {
                name: "cordoned.log.dirs".to_owned(),
                config_operation: i8::from(value.is_none()),
                value: value.map(str::to_owned),
                ..AlterableConfig::default()
            }],
            ..AlterConfigsResource::default()
        }],
        ..IncrementalAlterConfigsRequest::default()
    };
    let response = client.call(1, &request);
    let one = &response.responses[0];
    format!(
        "{}{}",
        error(one.error_code),
        message(one.error_message.as_ref())
    )
}

fn cordoned(client: &mut Client) -> Vec<bool> {
    let everything = DescribeLogDirsRequest {
        topics: None,
        ..DescribeLogDirsRequest::default()
    };
    let answer = client.call(5, &everything);
    answer.results.iter().map(|one| one.is_cordoned).collect()
}

/// KIP-1066, as Kafka 4.3.1 does it.
#[test]
fn cordoned_directories_get_no_new_partitions() {
    let (mut broker, directories) = with_directories(3, &[]);
    let path = |at: usize| directories[at].display().to_string();
    let mut client = broker.client();
    let places = |client: &mut Client, topic: &str, count: i32| -> BTreeSet<usize> {
        (0..count)
            .map(|index| directory_of(client, topic, index).expect("it is somewhere"))
            .collect()
    };
    assert_eq!(cordoned(&mut client), [false; 3]);
    assert_eq!(
        cordon(&mut client, Some("/nope")),
        "INVALID_REQUEST message=requirement failed: All entries in cordoned.log.dirs must be \
         present in log.dirs or log.dir. Missing entries : /nope"
    );
    assert_eq!(
        cordon(&mut client, Some(&format!("{},*", path(0)))),
        "INVALID_REQUEST message=requirement failed: When cordoned.log.dirs is set to *, it must \
         not contain other values"
    );
    assert_eq!(cordon(&mut client, Some(&path(0))), "NONE");
    assert_eq!(cordoned(&mut client), [true, false, false]);
    create(&mut client, "beside", 6, &[]);
    assert_eq!(places(&mut client, "beside", 6), [1, 2].into());
    // Nothing moves there, nor "moves" where it is.
    let target = |at: usize| AlterReplicaLogDirsRequest {
        dirs: vec![AlterReplicaLogDir {
            path: path(at),
            topics: vec![AlterReplicaLogDirTopic {
                name: "beside".to_owned(),
                partitions: vec![0],
                ..AlterReplicaLogDirTopic::default()
            }],
            ..AlterReplicaLogDir::default()
        }],
        ..AlterReplicaLogDirsRequest::default()
    };
    let refused = client.call(2, &target(0));
    let code = refused.results[0].partitions[0].error_code;
    assert_eq!(error(code), "INVALID_REPLICA_ASSIGNMENT");
    // It stays so over a start, clean or not.
    for round in 0..2 {
        client = broker.next_round(round);
        assert_eq!(cordoned(&mut client), [true, false, false]);
        let name = format!("after-{round}");
        create(&mut client, &name, 4, &[]);
        assert_eq!(places(&mut client, &name, 4), [1, 2].into());
    }
    assert_eq!(cordon(&mut client, Some("*")), "NONE");
    assert_eq!(cordoned(&mut client), [true; 3]);
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "nowhere".to_owned(),
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        }],
        timeout_ms: 20_000,
        ..CreateTopicsRequest::default()
    };
    let answer = client.call(7, &request);
    assert_eq!(
        answer.topics[0].error_message.as_deref(),
        Some(
            "Unable to replicate the partition 1 time(s): All brokers are currently fenced, or \
             have all their log directories cordoned."
        )
    );
    // What is there is served.
    produce(&mut client, "beside", 0, values(&["v"]));
    assert_eq!(cordon(&mut client, None), "NONE");
    assert_eq!(cordoned(&mut client), [false; 3]);
    create(&mut client, "again", 3, &[]);
    assert_eq!(places(&mut client, "again", 3), [0].into(), "the emptiest");
}
