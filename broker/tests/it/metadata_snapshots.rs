//! The metadata log and its snapshots: what a directory begins with, what may go, what is refused.

use std::fs;
use std::path::PathBuf;

use crate::client::Client;
use crate::harness::{Broker, eventually};
use crate::topics::{create, delete, describe};

/// Snapshots after a few records, and no more of the log than they need.
const EAGER: [&str; 3] = [
    "metadata.log.max.record.bytes.between.snapshots=1500",
    "metadata.max.retention.bytes=0",
    "internal.metadata.log.segment.bytes=15000",
];

fn folder(broker: &Broker) -> PathBuf {
    broker.data().join("__cluster_metadata-0")
}

/// Names of the files with this ending, in order.
fn files(broker: &Broker, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(folder(broker)).expect("the metadata log's folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.ends_with(ending))
        .collect();
    names.sort();
    names
}

fn exists(client: &mut Client, name: &str) -> bool {
    describe(client, name).error_code == 0
}

/// Creates topics until a snapshot stands and the log before it is gone.
fn churn(broker: &Broker, client: &mut Client, round: usize) -> Vec<String> {
    let mut names = Vec::new();
    for number in 0..40 {
        let name = format!("round-{round}-{number}");
        create(client, &name, 3, &[("retention.ms", "123456789")]);
        if number % 2 == 0 {
            delete(client, &name);
        } else {
            names.push(name);
        }
    }
    eventually("a snapshot is written and the log begins behind it", || {
        let first = files(broker, ".log").remove(0);
        !files(broker, ".checkpoint").is_empty() && first != "00000000000000000000.log"
    });
    names
}

#[test]
fn snapshots_replace_the_log_and_hold_everything() {
    let mut broker = Broker::with(&EAGER);
    let mut names = Vec::new();
    for round in 0..3 {
        let mut client = broker.client();
        names.extend(churn(&broker, &mut client, round));
        if round == 1 {
            broker.kill();
            // What a crash in the middle of a snapshot leaves.
            let part = folder(&broker).join("00000000000000099999-0000000001.checkpoint.part");
            fs::write(part, b"half").expect("the folder can be written");
            broker.launch();
        } else {
            broker.restart();
        }
        let mut client = broker.client();
        for name in &names {
            let topic = describe(&mut client, name);
            assert_eq!((topic.error_code, topic.partitions.len()), (0, 3), "{name}");
        }
        assert!(!exists(&mut client, "round-0-0"));
        assert_eq!(files(&broker, ".part"), Vec::<String>::new());
    }
    assert!(files(&broker, ".checkpoint").len() <= 2);
}

#[test]
fn a_damaged_snapshot_is_set_aside_where_the_log_holds_what_was_in_it() {
    let mut broker = Broker::with(&["metadata.log.max.record.bytes.between.snapshots=1500"]);
    let mut client = broker.client();
    for number in 0..30 {
        create(&mut client, &format!("kept-{number}"), 2, &[]);
    }
    eventually("a snapshot is written", || {
        !files(&broker, ".checkpoint").is_empty()
    });
    broker.stop();
    let newest = files(&broker, ".checkpoint").pop().expect("a snapshot");
    let path = folder(&broker).join(&newest);
    let mut bytes = fs::read(&path).expect("a snapshot");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("it can be written");
    broker.launch();
    let mut client = broker.client();
    for number in 0..30 {
        assert!(exists(&mut client, &format!("kept-{number}")), "{number}");
    }
    assert_eq!(files(&broker, ".damaged"), [format!("{newest}.damaged")]);
    assert!(broker.log().contains("is damaged"), "{}", broker.log());
}

#[test]
fn a_damaged_snapshot_that_nothing_stands_in_for_is_refused() {
    let mut broker = Broker::with(&EAGER);
    let mut client = broker.client();
    churn(&broker, &mut client, 0);
    broker.stop();
    for name in files(&broker, ".checkpoint") {
        fs::write(folder(&broker).join(name), b"").expect("it can be written");
    }
    let said = broker.refused();
    assert!(said.contains(".checkpoint is damaged"), "{said}");
    assert!(said.contains("bring the file back from a copy"), "{said}");
    for name in files(&broker, ".checkpoint") {
        fs::remove_file(folder(&broker).join(name)).expect("it can be removed");
    }
    let said = broker.refused();
    assert!(said.contains("no snapshot in"), "{said}");
}

#[test]
fn a_new_directory_begins_as_kafka_formats_it() {
    let mut broker = Broker::start();
    assert!(broker.data().join("bootstrap.checkpoint").exists());
    assert_eq!(files(&broker, ".checkpoint"), Vec::<String>::new());
    broker.restart();
    let state = fs::read_to_string(folder(&broker).join("quorum-state")).expect("a file");
    assert!(state.contains(r#""data_version":0"#), "{state}");
}

#[test]
fn a_directory_of_a_quorum_that_names_its_voters() {
    let mut broker = Broker::with(&[
        "controller.quorum.bootstrap.servers=127.0.0.1:9093",
        "metadata.log.max.record.bytes.between.snapshots=1500",
    ]);
    let mut client = broker.client();
    for number in 0..30 {
        create(&mut client, &format!("kept-{number}"), 2, &[]);
    }
    eventually("a snapshot is written beside the first", || {
        files(&broker, ".checkpoint").len() > 1
    });
    let checkpoints = files(&broker, ".checkpoint");
    assert_eq!(checkpoints[0], "00000000000000000000-0000000000.checkpoint");
    broker.kill();
    broker.launch();
    let state = fs::read_to_string(folder(&broker).join("quorum-state")).expect("a file");
    assert!(state.contains(r#""data_version":1"#), "{state}");
    assert!(exists(&mut broker.client(), "kept-29"));
    broker.stop();
    // Another directory id in meta.properties: the quorum does not know this directory.
    let path = broker.data().join("meta.properties");
    let text = fs::read_to_string(&path).expect("meta.properties");
    let other: Vec<&str> = text
        .lines()
        .map(|line| {
            if line.starts_with("directory.id=") {
                "directory.id=JuesJtSLRg-K0zA3DS3E8g"
            } else {
                line
            }
        })
        .collect();
    fs::write(&path, other.join("\n")).expect("it can be written");
    let said = broker.refused();
    assert!(said.contains("JuesJtSLRg-K0zA3DS3E8g"), "{said}");
    assert!(said.contains("meta.properties"), "{said}");
}

#[test]
fn a_directory_of_others_is_refused_with_a_sentence() {
    let mut broker = Broker::start();
    let second = broker.second();
    assert!(second.contains("cannot be locked"), "{second}");
    broker.stop();
    let state = folder(&broker).join("quorum-state");
    let own = fs::read_to_string(&state).expect("quorum-state");
    let three = own.replace(
        r#"[{"voterId":1}]"#,
        r#"[{"voterId":1},{"voterId":2},{"voterId":3}]"#,
    );
    assert_ne!(own, three);
    fs::write(&state, three).expect("it can be written");
    let said = broker.refused();
    assert!(said.contains("names the voters [1, 2, 3]"), "{said}");
    fs::write(&state, own).expect("it can be written");
    broker.set("node.id=2");
    let said = broker.refused();
    assert!(
        said.contains("belongs to node.id 1, this is node.id 2"),
        "{said}"
    );
}
