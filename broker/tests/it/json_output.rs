//! `--output json`: every command's answer is JSON, of the shape that docs/json-output.md says.
//!
//! **Owns** a story with each command in it, and the printing of shapes. `CORELOG_WRITE_DOCS=1` writes the page instead of
//! comparing it.
//! **Lives on** the test's thread.
//! **Invariants** (1) Each command of `corelog` is in the story. (2) A command that succeeds prints documents and nothing
//! else to standard output; one that fails, one object to standard error.
//! **Not here** what the values are (`cli`).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use corelog_tools::cli::COMMANDS;
use serde_json::{Deserializer, Map, Value};

use crate::harness::Broker;
use crate::transcripts::{run, words};

/// Where the broker listens, in the story.
const AT: &str = "@";

/// Commands in order; what is read from standard input stands behind ` < `.
const STORY: &[&str] = &[
    "topics @ --create --topic t --partitions 2",
    "topics @ --list",
    "topics @ --describe --topic t",
    "topics @ --describe --topic absent",
    "configs @ --alter --entity-type topics --entity-name t --add-config retention.ms=9000",
    "configs @ --describe --entity-type topics --entity-name t",
    "configs @ --alter --entity-type clients --entity-name c --add-config consumer_byte_rate=10",
    "configs @ --describe --entity-type clients",
    "console-producer @ --topic t --reader-property parse.key=true --reader-property parse.headers=true < h:1\tk\tv",
    "console-consumer @ --topic t --from-beginning --max-messages 1 --group g",
    "get-offsets @ --topic t",
    "consumer-groups @ --list",
    "consumer-groups @ --describe --group g",
    "consumer-groups @ --describe --group g --members",
    "consumer-groups @ --describe --group g --state",
    "consumer-groups @ --reset-offsets --group g --topic t --to-earliest --dry-run",
    "consumer-groups @ --delete-offsets --group g --topic t",
    "consumer-groups @ --describe --group absent",
    "groups @ --list",
    "consumer-groups @ --delete --group g",
    "share-groups @ --list",
    "streams-groups @ --list",
    "log-dirs @ --describe --topic-list t",
    "leader-election @ --election-type preferred --topic t --partition 0",
    "reassign-partitions @ --generate --topics-to-move-json-file gen.json --broker-list 1",
    "reassign-partitions @ --execute --reassignment-json-file move.json",
    "reassign-partitions @ --verify --reassignment-json-file move.json",
    "reassign-partitions @ --list",
    "reassign-partitions @ --cancel --reassignment-json-file move.json",
    "transactions @ list",
    "transactions @ describe-producers --topic t --partition 0",
    "transactions @ find-hanging --broker-id 1",
    "features @ describe",
    "features version-mapping --release-version 4.3",
    "features feature-dependencies --feature eligible.leader.replicas.version=1",
    "metadata-quorum @ describe --status",
    "metadata-quorum @ describe --replication",
    "cluster cluster-id @",
    "cluster list-endpoints @",
    "broker-api-versions @",
    "client-metrics @ --alter --name cm --metrics a.b --interval 500",
    "client-metrics @ --list",
    "client-metrics @ --describe --name cm",
    "client-metrics @ --delete --name cm",
    "acls @ --list",
    "delegation-tokens @ --describe --command-config none.properties",
    "producer-perf-test @ --topic t --num-records 10 --record-size 10 --throughput -1",
    "consumer-perf-test @ --topic t --num-records 10 --timeout 20000",
    "e2e-latency @ --topic e --num-records 3 --acks all --record-size 10",
    "verifiable-producer @ --topic t --max-messages 2",
    "verifiable-consumer @ --topic t --group-id verify --max-messages 2",
    // Reads for ever once it has begun.
    "replica-verification --broker-list",
    "delete-records @ --offset-json-file delete.json",
    "dump-log --print-data-log --files LOG",
    "doctor --facts absent.json",
    "storage random-uuid",
    "storage info -c server.properties",
    "storage version-mapping --release-version 4.3",
    "topics @ --delete --topic t",
    // What looks at files wants the broker to be stopped.
    "log-check DATA",
];

/// Commands whose answer is a line for each of many documents.
const STREAMS: &[&str] = &[
    "console-consumer",
    "dump-log",
    "verifiable-consumer",
    "verifiable-producer",
];

#[test]
fn every_command_answers_in_json_as_documented() {
    let mut broker = Broker::with(&["node.id=1"]);
    let files = broker.data().with_file_name("files");
    fs::create_dir_all(&files).expect("a folder can be made");
    for (name, text) in [
        (
            "gen.json",
            r#"{"topics":[{"topic":"t"}],"version":1}"#.to_owned(),
        ),
        (
            "move.json",
            r#"{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1]}]}"#.to_owned(),
        ),
        (
            "delete.json",
            r#"{"partitions":[{"topic":"t","partition":0,"offset":0}],"version":1}"#.to_owned(),
        ),
        ("none.properties", String::new()),
        (
            "server.properties",
            format!("node.id=1\nlog.dirs={}\n", broker.data().display()),
        ),
    ] {
        fs::write(files.join(name), text).expect("a file can be written");
    }
    let log = broker.data().join("t-1/00000000000000000000.log");
    let mut page = HEAD.to_owned();
    let mut seen = BTreeSet::new();
    for line in STORY {
        let (command, input) = line.split_once(" < ").unwrap_or((line, ""));
        let mut arguments = vec!["corelog".to_owned()];
        for word in words(command) {
            let file = files.join(&word);
            match word.as_str() {
                AT => arguments.extend(["--bootstrap-server".to_owned(), broker.bootstrap()]),
                "LOG" => arguments.push(log.display().to_string()),
                "DATA" => {
                    broker.stop();
                    arguments.push(broker.data().display().to_string());
                }
                _ if file.is_file() => arguments.push(file.display().to_string()),
                _ => arguments.push(word),
            }
        }
        arguments.extend(["--output".to_owned(), "json".to_owned()]);
        let name = arguments[1].clone();
        let (code, out, err) = run(&arguments, &format!("{input}\n"));
        let documents = documents(&out)
            .unwrap_or_else(|why| panic!("{command}: standard output is no JSON: {why}\n{out}"));
        let complaints = self::documents(&err)
            .unwrap_or_else(|why| panic!("{command}: standard error is no JSON: {why}\n{err}"));
        assert!(complaints.len() <= 1, "{command}: {err}");
        let failed = complaints
            .first()
            .is_some_and(|it| it.get("error").is_some());
        if code == 0 && !failed {
            let is_stream = STREAMS.contains(&name.as_str());
            assert!(is_stream || documents.len() == 1, "{command}: {out}");
        } else {
            let complaint = complaints.first().unwrap_or(&Value::Null);
            assert_eq!(complaint["exitCode"], code, "{command}: {err}");
            assert!(complaint["error"].is_string(), "{command}: {err}");
        }
        if seen.insert(name.clone()) {
            // Writing to a String cannot fail.
            let _ = write!(page, "\n## {name}\n");
        }
        let _ = write!(page, "\n    {}\n", command.replace(" @", ""));
        let mut shapes: Vec<String> = Vec::new();
        for shape in documents.iter().map(shape) {
            if !shapes.contains(&shape) {
                shapes.push(shape);
            }
        }
        if failed {
            shapes.extend(
                complaints
                    .iter()
                    .map(|it| format!("standard error: {}", shape(it))),
            );
        }
        for shape in shapes {
            let _ = writeln!(page, "    → {shape}");
        }
    }
    let all: BTreeSet<String> = COMMANDS.iter().map(|it| it.name.to_owned()).collect();
    assert_eq!(seen, all, "every command is in the story");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json-output.md");
    if std::env::var_os("CORELOG_WRITE_DOCS").is_some() {
        fs::write(&path, page).expect("the page can be written");
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    for (kept, now) in kept.lines().zip(page.lines()) {
        assert_eq!(
            kept, now,
            "docs/json-output.md: CORELOG_WRITE_DOCS=1 writes it anew"
        );
    }
    assert_eq!(kept.lines().count(), page.lines().count());
}

fn documents(text: &str) -> Result<Vec<Value>, serde_json::Error> {
    Deserializer::from_str(text).into_iter().collect()
}

/// Names and types: `[{"topic": string, "partitions": [{"partition": number}]}]`. Elements of a list are taken together.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "boolean".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(items) => {
            let mut merged = Map::new();
            for item in items.iter().filter_map(Value::as_object) {
                for (name, value) in item {
                    let known = merged.entry(name.clone()).or_insert(Value::Null);
                    if is_empty(known) {
                        known.clone_from(value);
                    }
                }
            }
            let item = match items.first() {
                None => String::new(),
                Some(_) if !merged.is_empty() => shape(&Value::Object(merged)),
                Some(first) => shape(first),
            };
            format!("[{item}]")
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("\"{name}\": {}", shape(value)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

const HEAD: &str = "# What `corelog … --output json` prints

Every command of `corelog` takes `--output json`. Names of fields stay; new ones may come.

- Standard output is one JSON document. Commands that read a stream (`console-consumer`, `dump-log`, `verifiable-consumer`,
  `verifiable-producer`, `replica-verification`) print one object a line, as they go.
- A command that has nothing to show but what it did says that: `{\"messages\": [\"Created topic t.\"]}`.
- A command that fails prints one object to standard error, `{\"error\": \"…\", \"exitCode\": 1}`; the exit code is that of
  Kafka's tool, which for `consumer-groups` may be 0. Several sentences in `error` stand in lines of their own. What else is said there is an object
  `{\"messages\": […]}`.
- Keys and values that are no UTF-8 stand in Base64 under `keyBase64` and `valueBase64`.

The shapes below are those of real answers (`null`: nothing there in this one), printed and checked by a test.
`--bootstrap-server` is left out.
";
