//! `corelog`'s commands against this broker, beside what Kafka's tools printed against Kafka 4.3.1.
//!
//! **Owns** the two stories of `tools/tests/transcripts`: commands in order on one node each, with the records and groups
//! that were there; what depends on the run (ids, ports, times) is a placeholder on both sides.
//! **Lives on** the test's thread; a live member of a group on a thread of its own.
//! **Invariants** (1) A transcript is reproduced, or stands in `tools/tests/transcripts/DIFFERENCES.md` with the reason;
//! where ours prints something else on purpose, `NNN-….ours` says what.
//! **Not here** reading transcripts (`tools/tests/transcripts/reading.rs`); those that end before a broker is asked
//! (`tools/tests/it`), which run there too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use corelog_runtime::{Config, Runtime};
use corelog_tools::client::admin::{Admin, CommittedOffset};
use corelog_tools::client::consumer::{Consumer, ConsumerConfig, GroupConfig, Protocol};
use corelog_tools::client::producer::{NewRecord, Producer, ProducerConfig};
use corelog_tools::client::{Client, ClientConfig};

use crate::harness::Broker;
use crate::transcripts::{
    Transcript, as_ours, differences, folder, our_options_cut, run, transcripts, untraced, words,
};

/// Where what depends on the run stands in both.
struct Places {
    bootstrap: String,
    data: String,
    files: PathBuf,
}

impl Places {
    fn fill(&self, word: &str) -> String {
        let word = word
            .replace("<BOOTSTRAP>", &self.bootstrap)
            .replace("<NOBROKER>", NOBODY)
            .replace("<NODEDIR>/server.properties", "server.properties")
            .replace("<ID22>", "AAAAAAAAAAAAAAAAAAAAAg");
        let file = self.files.join(&word);
        if !word.is_empty() && file.exists() {
            file.to_string_lossy().into_owned()
        } else {
            word
        }
    }

    /// Replaces what depends on the run, and the width of columns that hold such.
    fn scrub(&self, text: &str) -> String {
        let port = self.bootstrap.rsplit(':').next().unwrap_or_default();
        let files = format!("{}/", self.files.display());
        let text = text
            .replace(&self.bootstrap, "<BOOTSTRAP>")
            .replace(NOBODY, "<NOBROKER>")
            .replace(&self.data, "<LOGDIR>")
            .replace(&files, "")
            .replace("<NODEDIR>/", "")
            .replace("AAAAAAAAAAAAAAAAAAAAAg", "<ID22>");
        let mut lines = Vec::new();
        for line in text.split('\n') {
            let line = scrub_words(line).replace(port, "<PORT>");
            lines.push(line);
        }
        lines.join("\n")
    }
}

/// Ids and times of a line; a line with a placeholder loses the width of its columns.
fn scrub_words(line: &str) -> String {
    let mut scrubbed = String::new();
    let mut word = String::new();
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    for letter in line.chars().chain(['\n']) {
        if is_part(letter) {
            word.push(letter);
            continue;
        }
        scrubbed.push_str(&scrub_word(&word));
        word.clear();
        if letter != '\n' {
            scrubbed.push(letter);
        }
    }
    scrubbed
}

fn scrub_word(word: &str) -> String {
    let is_time =
        word.len() == 13 && word.starts_with('1') && word.bytes().all(|b| b.is_ascii_digit());
    if is_time {
        return "<TS>".to_owned();
    }
    let is_id = word.len() == 22
        && word.bytes().any(|b| b.is_ascii_uppercase())
        && word.bytes().any(|b| b.is_ascii_lowercase())
        && !word.ends_with("Exception");
    if is_id && word != "Y29yZWxvZy1jbGktMDAwMQ" {
        return "<ID22>".to_owned();
    }
    // name-<UUID>, as members are called.
    if word.len() > 36 {
        let (name, uuid) = word.split_at(word.len() - 36);
        let is_uuid = uuid.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
        if is_uuid {
            return format!("{name}<UUID>");
        }
    }
    word.to_owned()
}

/// Lines without those about groups that only Kafka's console consumer leaves behind; columns as wide as they happen to be
/// where a placeholder stands in one.
fn comparable(text: &str, loose: bool) -> String {
    let lines: Vec<&str> = text
        .split('\n')
        .filter(|line| !line.contains("<GENERATED_GROUP>"))
        .collect();
    lines
        .iter()
        .map(|line| {
            if loose {
                line.split_whitespace().collect::<Vec<_>>().join(" ")
            } else {
                (*line).to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Runs the transcripts of a story; gives what is not as it should be.
struct Story<'a> {
    places: &'a Places,
    wrong: Vec<String>,
    listed: BTreeSet<u32>,
}

impl Story<'_> {
    fn tell(&mut self, transcript: &Transcript) {
        let number = transcript.number();
        let ours = folder().join(format!("{}.ours", transcript.name));
        let is_listed = self.listed.contains(&number);
        if transcript.exit.starts_with("timeout") || (is_listed && !ours.exists()) {
            assert!(
                is_listed,
                "{} has no reason to be left out",
                transcript.name
            );
            return;
        }
        let expected = if ours.exists() {
            assert!(is_listed, "{} differs without a reason", transcript.name);
            Transcript::read(&ours)
        } else {
            Transcript::read(&folder().join(format!("{}.txt", transcript.name)))
        };
        let arguments: Vec<String> = words(&transcript.command)
            .iter()
            .map(|word| self.places.fill(word))
            .collect();
        let (code, out, err) = run(&arguments, &transcript.input);
        let (out, err) = (
            self.places.scrub(&out),
            self.places.scrub(&our_options_cut(&err)),
        );
        // Ids of members of the newer protocol look like generated groups.
        let expected_out = lines(&untraced(&expected.out), |line| {
            if line.starts_with("live848 ") {
                line.replace("<GENERATED_GROUP>", "<ID22>")
            } else {
                line.to_owned()
            }
        });
        let expected_out = self.places.scrub(&expected_out);
        let expected_err = self.places.scrub(&as_ours(&expected.err));
        let loose = expected.out.contains('<');
        let (got, wanted) = (comparable(&out, loose), comparable(&expected_out, loose));
        let out_is = if UNORDERED.contains(&number) {
            sorted(&got) == sorted(&wanted)
        } else {
            got == wanted
        };
        let err_is = comparable(&err, true).trim() == comparable(&expected_err, true).trim();
        if code.to_string() != expected.exit || !out_is || !err_is {
            self.wrong.push(format!(
                "=== {}\n$ {}\nexit {code}, expected {}\n--- out\n{out}\n--- expected\n{expected_out}\n--- err\n{err}\n--- expected\n{expected_err}",
                transcript.name, transcript.command, expected.exit
            ));
        }
    }

    fn end(self) {
        assert!(
            self.wrong.is_empty(),
            "{} transcripts are not reproduced:\n{}",
            self.wrong.len(),
            self.wrong.join("\n")
        );
    }
}

fn lines(text: &str, change: impl Fn(&str) -> String) -> String {
    let lines: Vec<String> = text.split('\n').map(change).collect();
    lines.join("\n")
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn on_runtime<T: 'static>(work: impl Future<Output = T> + 'static) -> T {
    Runtime::new(&Config::default())
        .expect("a runtime")
        .run(work)
}

async fn admin(bootstrap: String) -> Admin {
    let client = Client::connect(ClientConfig::new([bootstrap]))
        .await
        .expect("the broker answers");
    Admin::new(&client)
}

/// Produces records (partition, key, value).
fn produce(bootstrap: &str, topic: &'static str, records: &'static [Record]) {
    let bootstrap = bootstrap.to_owned();
    on_runtime(async move {
        let client = Client::connect(ClientConfig::new([bootstrap]))
            .await
            .expect("the broker answers");
        let producer = Producer::new(client, ProducerConfig::default())
            .await
            .expect("a producer");
        for (partition, key, value) in records {
            let record = NewRecord {
                topic,
                partition: Some(*partition),
                key: key.map(str::as_bytes),
                value: Some(value.as_bytes()),
                ..NewRecord::default()
            };
            let delivery = producer.send(record).await.expect("a record is taken");
            delivery.await.expect("a record is delivered");
        }
    });
}

type Record = (i32, Option<&'static str>, &'static str);

/// Commits offsets of a group that nobody is in.
fn commit(bootstrap: &str, group: &'static str, offsets: &'static [(&'static str, i32, i64)]) {
    let bootstrap = bootstrap.to_owned();
    on_runtime(async move {
        let offsets: Vec<(String, i32, CommittedOffset)> = offsets
            .iter()
            .map(|(topic, partition, offset)| {
                let committed = CommittedOffset {
                    offset: *offset,
                    leader_epoch: None,
                };
                ((*topic).to_owned(), *partition, committed)
            })
            .collect();
        let results = admin(bootstrap)
            .await
            .alter_group_offsets(group, &offsets)
            .await
            .expect("the coordinator answers");
        assert!(results.values().all(Result::is_ok), "{results:?}");
    });
}

/// A member of a group, until it is dropped.
struct Member {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Joins, and waits until it has partitions.
    fn join(
        bootstrap: &str,
        group: &'static str,
        protocol: Protocol,
        client_id: &'static str,
        topic: &'static str,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ready = Arc::new(AtomicBool::new(false));
        let (stopping, assigned) = (Arc::clone(&stop), Arc::clone(&ready));
        let bootstrap = bootstrap.to_owned();
        let thread = std::thread::spawn(move || {
            on_runtime(async move {
                let mut config = ClientConfig::new([bootstrap]);
                client_id.clone_into(&mut config.client_id);
                let client = Client::connect(config).await.expect("the broker answers");
                let consumer = Consumer::new(
                    &client,
                    ConsumerConfig {
                        reset: corelog_tools::client::consumer::Reset::Earliest,
                        ..ConsumerConfig::default()
                    },
                );
                consumer.subscribe(GroupConfig {
                    protocol,
                    ..GroupConfig::new(group, [topic])
                });
                while !stopping.load(Ordering::SeqCst) {
                    let read = consumer.poll(Duration::from_millis(100)).await;
                    read.expect("records are read");
                    if consumer.assignment().is_empty() || !consumer.is_at_end() {
                        continue;
                    }
                    consumer.commit().await.expect("offsets are committed");
                    assigned.store(true, Ordering::SeqCst);
                }
                consumer.close().await.expect("the group is left");
            });
        });
        crate::harness::eventually("the member has partitions", || ready.load(Ordering::SeqCst));
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn files(broker: &Broker) -> PathBuf {
    let files = broker.data().with_file_name("files");
    fs::create_dir_all(&files).expect("a folder can be made");
    let data = broker.data();
    let contents: BTreeMap<&str, String> = [
        (
            "fast.properties",
            "default.api.timeout.ms=1000\nrequest.timeout.ms=500\nretry.backoff.ms=50\n".to_owned(),
        ),
        (
            "del.json",
            r#"{"partitions":[{"topic":"t1","partition":0,"offset":1}],"version":1}"#.to_owned(),
        ),
        ("junk.json", "{nope".to_owned()),
        (
            "gen.json",
            r#"{"topics":[{"topic":"t1"}],"version":1}"#.to_owned(),
        ),
        (
            "ra.json",
            r#"{"version":1,"partitions":[{"topic":"t1","partition":0,"replicas":[1]}]}"#
                .to_owned(),
        ),
        (
            "rabad.json",
            r#"{"version":1,"partitions":[{"topic":"t1","partition":0,"replicas":[9]}]}"#
                .to_owned(),
        ),
        (
            "server.properties",
            format!("node.id=1\nlog.dirs={}\n", data.display()),
        ),
    ]
    .into();
    for (name, text) in contents {
        fs::write(files.join(name), text).expect("a file can be written");
    }
    files
}

fn places(broker: &Broker) -> Places {
    Places {
        bootstrap: broker.bootstrap(),
        data: broker.data().display().to_string(),
        files: files(broker),
    }
}

#[test]
fn topics_consoles_and_groups_are_said_as_kafka_says_them() {
    let broker = Broker::with(&["node.id=1"]);
    let places = places(&broker);
    let mut story = Story {
        places: &places,
        wrong: Vec::new(),
        listed: differences(),
    };
    let mut live = None;
    for transcript in transcripts(|number| number < 200) {
        match transcript.number() {
            // Which partition records without keys go to is drawn: these go where they went then.
            40 => {
                produce(
                    &places.bootstrap,
                    "t1",
                    &[(2, None, "a"), (2, None, "b"), (2, None, "c")],
                );
                continue;
            }
            // How far a group of two records came, too.
            54 => commit(
                &places.bootstrap,
                "cg1",
                &[
                    ("t1", 0, 0),
                    ("t1", 1, 0),
                    ("t1", 2, 1),
                    ("t1", 3, 1),
                    ("t1", 4, 0),
                ],
            ),
            // They had read again by then.
            83 => {
                let join = |group, protocol, client| {
                    Member::join(&places.bootstrap, group, protocol, client, "t1")
                };
                live = Some([
                    join("live", Protocol::Classic, "live-client"),
                    join("live848", Protocol::Consumer, "live-848"),
                ]);
            }
            121 => live = None,
            _ => {}
        }
        story.tell(&transcript);
    }
    drop(live);
    story.end();
}

#[test]
fn the_rest_is_said_as_kafka_says_it() {
    let broker = Broker::with(&["node.id=1", "offsets.topic.num.partitions=2"]);
    let places = places(&broker);
    let mut story = Story {
        places: &places,
        wrong: Vec::new(),
        listed: differences(),
    };
    let prepare = [
        "topics --create --topic t1 --partitions 5",
        "topics --create --topic t2 --config cleanup.policy=compact --config retention.ms=1000",
    ];
    for command in prepare {
        let mut arguments = words(&format!("corelog {command}"));
        arguments.extend(["--bootstrap-server".to_owned(), broker.bootstrap()]);
        let (code, out, err) = run(&arguments, "");
        assert_eq!(code, 0, "{command}: {out}{err}");
    }
    produce(
        &places.bootstrap,
        "t1",
        &[
            (1, Some("k1"), "v1"),
            (2, Some("k2"), "v2"),
            (3, Some("k3"), "v3"),
        ],
    );
    commit(&places.bootstrap, "cg2", &[("t1", 0, 0)]);
    for transcript in transcripts(|number| number >= 200) {
        story.tell(&transcript);
    }
    story.end();
}

/// The order of several partitions, and that of a hash table, is nobody's promise.
const UNORDERED: &[u32] = &[53, 296, 297];

/// A port that nobody listens on.
const NOBODY: &str = "127.0.0.1:1";
