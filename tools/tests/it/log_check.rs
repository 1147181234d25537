//! `log-check` over directories that Kafka 4.3.1 wrote, sound and damaged.

use std::path::{Path, PathBuf};

use corelog_storage::disk::LogDir;
use corelog_storage::log::{Log, LogSettings, Open};
use corelog_storage::types::{Offset, Timestamp, TopicPartition};

use super::run;

/// A copy of a fixture that may be written to; removed at the end.
struct Copy(PathBuf);

impl Copy {
    fn of(fixture: &str, name: &str) -> Self {
        let root =
            std::env::temp_dir().join(format!("corelog-check-{}-{name}", std::process::id()));
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../storage/tests/fixtures/kafka-4.3.1")
            .join(fixture);
        copy_dir(&from, &root.join("data"));
        Self(root)
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.file(name)).unwrap();
        change(&mut bytes);
        std::fs::write(self.file(name), bytes).unwrap();
    }

    /// Exit code, findings with the directory taken out, what is said beside them.
    fn check(&self, options: &[&str]) -> (u8, String, String) {
        let data = self.data().display().to_string();
        let mut arguments = vec!["corelog", "log-check", &data];
        arguments.extend(options);
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let (code, out, errors) = run(&arguments, "");
        (
            code,
            out.replace(&data, "DIR"),
            errors.replace(&data, "DIR"),
        )
    }

    fn open(&self, topic: &str, clean_shutdown: bool) -> Result<Log, String> {
        let dir = LogDir::existing(self.data()).unwrap();
        let open = Open {
            clean_shutdown,
            recovery_point: Offset::ZERO,
            log_start_offset: Offset::ZERO,
            high_watermark: Offset::ZERO,
            now: Timestamp(1_700_000_050_000),
        };
        let partition = TopicPartition::new(topic, 0);
        let settings = std::sync::Arc::new(LogSettings::default());
        Log::open(&dir, &partition, settings, &open, &mut |_| {})
            .map(|(log, _)| log)
            .map_err(|error| error.to_string())
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::write(to, std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

#[test]
fn a_sound_directory_has_no_findings() {
    let copy = Copy::of("dirs/clean", "sound");
    std::fs::write(
        copy.file(".kafka_cleanshutdown"),
        r#"{"version":0,"brokerEpoch":1}"#,
    )
    .unwrap();
    let (code, out, errors) = copy.check(&["--deep"]);
    assert_eq!((code, out.as_str()), (0, ""), "{errors}");
    assert!(errors.contains("0 damaged, 0 warnings"), "{errors}");
    let (code, out, _) = copy.check(&["--output", "json", "--partition", "txn-0"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 0);
    assert_eq!(json["partitions"], 1);
    assert_eq!(json["segments"], 2);
    assert_eq!(json["findings"], serde_json::json!([]));
}

#[test]
fn every_damage_is_found_where_it_is() {
    type Change = fn(&Copy);
    let cases: &[(&str, Change, &str)] = &[
        (
            "a byte of a sealed segment",
            |copy| copy.change("txn-0/00000000000000000000.log", |bytes| bytes[70] ^= 1),
            "damage: DIR/txn-0/00000000000000000000.log: position 0: the record batch has CRC",
        ),
        (
            "an index entry between batches",
            |copy| copy.change("times-0/00000000000000000000.index", |bytes| bytes[15] ^= 1),
            "damage: DIR/times-0/00000000000000000000.index: position 8: the entry for offset 2 points to position",
        ),
        (
            "a timestamp in the time index",
            |copy| {
                copy.change("times-0/00000000000000000000.timeindex", |bytes| {
                    bytes[31] ^= 1;
                });
            },
            "damage: DIR/times-0/00000000000000000000.timeindex: position 24: the entry for offset",
        ),
        (
            "an abort taken out of the aborted index",
            |copy| {
                copy.change("txn-0/00000000000000000002.txnindex", |bytes| {
                    bytes.drain(34..68);
                });
            },
            "is not in it; read_committed consumers would be given these aborted records",
        ),
        (
            "a torn aborted index",
            |copy| {
                copy.change("txn-0/00000000000000000002.txnindex", |bytes| {
                    bytes.truncate(130);
                });
            },
            "warning: DIR/txn-0/00000000000000000002.txnindex: position 102: its last entry has 28 of 34 bytes",
        ),
        (
            "a snapshot of another log",
            |copy| {
                let other =
                    std::fs::read(copy.file("times-0/00000000000000000060.snapshot")).unwrap();
                std::fs::write(copy.file("times-0/00000000000000000030.snapshot"), other).unwrap();
            },
            "damage: DIR/times-0/00000000000000000030.snapshot: producer 7 wrote last sequence 59 at offset 59, the log \
             says sequence 29 at offset 29",
        ),
        (
            "wrong epochs",
            |copy| {
                std::fs::write(copy.file("epochs-0/leader-epoch-checkpoint"), "0\n1\n7 0\n")
                    .unwrap();
            },
            "damage: DIR/epochs-0/leader-epoch-checkpoint: it has epoch 7 for offset 0, the batch there says 0",
        ),
        (
            "a log shorter than its checkpoints",
            |copy| {
                copy.change("plain-0/00000000000000000000.log", |bytes| {
                    bytes.truncate(171);
                });
            },
            "damage: DIR/recovery-point-offset-checkpoint: plain-0: the log was on disk up to 14, its valid batches end \
             at 10",
        ),
        (
            "a missing identity",
            |copy| std::fs::remove_file(copy.file("plain-0/partition.metadata")).unwrap(),
            "damage: DIR/plain-0/partition.metadata: open",
        ),
        (
            "a malformed checkpoint",
            |copy| std::fs::write(copy.file("recovery-point-offset-checkpoint"), "x").unwrap(),
            "damage: DIR/recovery-point-offset-checkpoint: line 1: expected version 0",
        ),
        (
            "a folder without a number",
            |copy| std::fs::rename(copy.file("plain-0"), copy.file("plain")).unwrap(),
            "damage: DIR/plain: the folder \"plain\" is not a partition",
        ),
        (
            "a leftover of the cleaner",
            |copy| {
                std::fs::write(copy.file("plain-0/00000000000000000000.log.cleaned"), "").unwrap();
            },
            "warning: DIR/plain-0/00000000000000000000.log.cleaned: a leftover",
        ),
        (
            "a foreign file",
            |copy| std::fs::write(copy.file("plain-0/notes.txt"), "").unwrap(),
            "warning: DIR/plain-0/notes.txt: a name that no broker writes",
        ),
        (
            "no meta.properties",
            |copy| std::fs::remove_file(copy.file("meta.properties")).unwrap(),
            "damage: DIR/meta.properties: the file is not there",
        ),
    ];
    for (number, (name, change, expected)) in cases.iter().enumerate() {
        let copy = Copy::of("dirs/clean", &format!("case-{number}"));
        std::fs::write(
            copy.file(".kafka_cleanshutdown"),
            r#"{"version":0,"brokerEpoch":1}"#,
        )
        .unwrap();
        change(&copy);
        let (code, out, _) = copy.check(&[]);
        assert!(out.contains(expected), "{name}:\n{out}");
        assert_eq!(code, u8::from(out.contains("damage: ")), "{name}:\n{out}");
        let last = out.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("damage: ") || last.starts_with("warning: "),
            "{name}: one line each\n{out}"
        );
    }
}

#[test]
fn the_commands_for_a_damaged_sealed_segment_bring_the_partition_back() {
    let copy = Copy::of("dirs/clean", "aside");
    // Two batches: the second is damaged, and a segment with data follows.
    copy.change("txn-0/00000000000000000000.log", |bytes| bytes[80] ^= 1);
    let (code, out, _) = copy.check(&["--partition", "txn-0"]);
    assert_eq!(code, 1);
    let line = out
        .lines()
        .find(|line| line.contains("00000000000000000000.log: position"))
        .unwrap();
    assert!(line.contains("offsets 0 to 1 are not readable"), "{line}");
    assert!(
        copy.open("txn", false).is_err(),
        "the broker refuses the partition"
    );
    let (_, commands) = line.split_once("Without one: ").unwrap();
    let (commands, _) = commands.split_once(';').unwrap();
    let commands = commands.replace("DIR", &copy.data().display().to_string());
    let done = std::process::Command::new("sh")
        .args(["-c", &commands])
        .status()
        .unwrap();
    assert!(done.success(), "{commands}");
    assert!(
        copy.0
            .join("data.aside/txn-0/00000000000000000000.log")
            .exists()
    );
    let log = copy.open("txn", false).unwrap();
    assert_eq!(log.end_offset(), Offset(22));
}

#[test]
fn a_directory_in_use_is_refused() {
    let copy = Copy::of("dirs/clean", "lock");
    let dir = LogDir::existing(copy.data()).unwrap();
    let lock = dir.lock().unwrap();
    let (code, out, errors) = copy.check(&[]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert_eq!(
        errors,
        "DIR is in use: a broker holds its lock. Stop the broker first; what it is writing would be taken for damage\n"
    );
    drop(lock);
    let partition = copy.data().join("plain-0").display().to_string();
    let (code, _, errors) = run(&["corelog", "log-check", &partition].map(str::to_owned), "");
    assert_eq!(code, 2);
    assert!(errors.contains("is the folder of a partition"), "{errors}");
    assert!(!copy.file("plain-0/.lock").exists());
    let (code, _, errors) = copy.check(&["--partition", "nosuch-9"]);
    assert_eq!(
        (code, errors.as_str()),
        (2, "there is no partition nosuch-9 in DIR\n")
    );
}

#[test]
fn a_partition_in_two_directories_is_told() {
    let (one, two) = (Copy::of("dirs/clean", "one"), Copy::of("dirs/clean", "two"));
    let other = two.data().display().to_string();
    let (code, out, _) = one.check(&[&other, "--partition", "plain-0"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("plain-0: the partition is also in DIR; a broker cannot tell"),
        "{out}"
    );
    assert!(
        out.contains("meta.properties: the same directory id"),
        "{out}"
    );
}

#[test]
fn no_damage_ends_a_check() {
    let copy = Copy::of("dirs/clean", "hostile");
    for name in [
        "txn-0/00000000000000000002.log",
        "txn-0/00000000000000000002.txnindex",
        "times-0/00000000000000000000.index",
        "times-0/00000000000000000000.timeindex",
        "codec-zstd-0/00000000000000000000.log",
        "txn-0/00000000000000000022.snapshot",
        "meta.properties",
        "recovery-point-offset-checkpoint",
    ] {
        let partition = name.split_once('/').map(|(partition, _)| partition);
        let sound = std::fs::read(copy.file(name)).unwrap();
        for at in (0..sound.len()).step_by((sound.len() / 25).max(1)) {
            for cut in [false, true] {
                copy.change(name, |bytes| {
                    if cut {
                        bytes.truncate(at);
                    } else {
                        bytes[at] ^= 0xff;
                    }
                });
                let options: Vec<&str> = match partition {
                    Some(partition) => vec!["--deep", "--partition", partition],
                    None => vec!["--partition", "plain-0"],
                };
                let (code, _, errors) = copy.check(&options);
                assert!(code <= 1, "{name} at {at}: {errors}");
                std::fs::write(copy.file(name), &sound).unwrap();
            }
        }
    }
}
