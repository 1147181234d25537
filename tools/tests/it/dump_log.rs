//! `dump-log` beside what Kafka 4.3.1's tool printed of the same files: standard output whole, byte for byte.

use std::path::{Path, PathBuf};

use super::run;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../storage/tests/fixtures/kafka-4.3.1")
}

fn dump(options: &[&str], files: &[PathBuf]) -> (u8, String, String) {
    let files: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let mut arguments = vec!["corelog", "dump-log"];
    arguments.extend(options);
    let files = files.join(",");
    arguments.extend(["--files", &files]);
    let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
    run(&arguments, "")
}

/// The files of a partition that Kafka's tool was given: those that are not empty, or else the log.
fn files_of(partition: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(partition)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            matches!(
                extension,
                Some("log" | "index" | "timeindex" | "txnindex" | "snapshot" | "checkpoint")
            )
        })
        .collect();
    all.sort();
    let full: Vec<PathBuf> = all
        .iter()
        .filter(|path| path.metadata().unwrap().len() > 0)
        .cloned()
        .collect();
    if full.is_empty() {
        all.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        return all;
    }
    full
}

/// What is said of these files.
fn sections_of(dump: &str, files: &[PathBuf]) -> String {
    let mut wanted = true;
    let mut kept = String::new();
    for line in dump.lines() {
        if let Some(name) = line.strip_prefix("Dumping ") {
            wanted = files.iter().any(|file| file.ends_with(name));
        }
        if wanted {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[test]
fn sound_files_are_dumped_as_kafka_does() {
    let mut seen = 0;
    for entry in std::fs::read_dir(fixtures().join("dump")).unwrap() {
        let path = entry.unwrap().path();
        let expected = std::fs::read_to_string(&path).unwrap();
        let (head, rest) = expected.split_once('\n').unwrap();
        let (rest, kafkas_errors) = rest.split_once("# stderr\n").unwrap_or((rest, ""));
        let options: Vec<&str> = head
            .trim_start_matches("# options:")
            .split_whitespace()
            .take_while(|word| word.starts_with("--"))
            .collect();
        // The whole directory where there is one; else Kafka's files without the time indexes.
        let whole = fixtures().join("dirs/clean");
        let data = fixtures().join("data");
        let partition = path.file_stem().unwrap();
        let data = if whole.join(partition).exists() {
            whole
        } else {
            data
        };
        let files = files_of(&data.join(partition));
        let rest = sections_of(rest, &files);
        let (code, out, errors) = dump(&options, &files);
        let name = path.display();
        assert_eq!(
            out.replace(&format!("{}/", data.display()), ""),
            rest,
            "{name}"
        );
        // Kafka's order of files is that of a hash table.
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let errors = errors.replace(&data.display().to_string(), "$DATA");
        assert_eq!(sorted(&errors), sorted(kafkas_errors), "{name}");
        assert_eq!(code, 0, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 25);
}

#[test]
fn damage_is_told_with_file_and_position_and_the_dump_goes_on() {
    let corrupted = fixtures().join("dirs/corrupted");
    let told = |partition: &str| {
        let files = files_of(&corrupted.join(partition));
        let (code, out, errors) = dump(&["--print-data-log"], &files);
        let short = |text: &str| text.replace(&format!("{}/", corrupted.display()), "");
        (code, short(&out), short(&errors))
    };
    let (code, out, errors) = told("codec-lz4-0");
    assert_eq!(code, 1);
    assert!(out.contains("Found 37 invalid bytes at the end of 00000000000000000000.log"));
    assert!(out.ends_with("00000000000000000090.snapshot\n"), "{out}");
    assert_eq!(
        errors,
        "codec-lz4-0/00000000000000000000.log: position 1707: Record size -1414812757 is less than the minimum record \
         overhead (14)\n"
    );
    let (code, _, errors) = told("compact-keep-0");
    assert_eq!(code, 1);
    assert!(errors.starts_with(
        "compact-keep-0/00000000000000000000.index: position 0: the entry offset 2 position 1000000 points to no batch of \
         00000000000000000000.log: the log ends at position 387\n"
    ));
    let (code, _, errors) = told("txn-0");
    assert_eq!(code, 1);
    assert!(errors.contains(
        "00000000000000000002.txnindex: position 102: the last entry has 27 of 34 bytes"
    ));
}

#[test]
fn no_damaged_bytes_end_the_process() {
    // Every file kind, cut at every length and with every byte turned over, must be dumped to an end.
    let folder = std::env::temp_dir().join(format!("corelog-dump-{}", std::process::id()));
    let data = fixtures().join("data");
    let mut runs = 0;
    for (partition, decoder) in [
        ("txn-0", "--print-data-log"),
        ("codec-zstd-0", "--print-data-log"),
        ("__transaction_state-0", "--transaction-log-decoder"),
    ] {
        let target = folder.join(partition);
        std::fs::create_dir_all(&target).unwrap();
        for file in files_of(&data.join(partition)) {
            let sound = std::fs::read(&file).unwrap();
            let step = (sound.len() / 40).max(1);
            for at in (0..sound.len()).step_by(step) {
                for cut in [false, true] {
                    let mut bytes = sound.clone();
                    if cut {
                        bytes.truncate(at);
                    } else {
                        bytes[at] ^= 0xff;
                    }
                    let damaged = target.join(file.file_name().unwrap());
                    std::fs::write(&damaged, &bytes).unwrap();
                    let (code, out, _) = dump(&[decoder], &files_of(&target));
                    assert!(code <= 1 && out.starts_with("Dumping "));
                    runs += 1;
                }
            }
            std::fs::write(target.join(file.file_name().unwrap()), &sound).unwrap();
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(runs > 500, "{runs}");
}

#[test]
fn options_do_what_kafkas_do() {
    let data = fixtures().join("data");
    let txn = [data.join("txn-0/00000000000000000002.log")];
    let (_, out, _) = dump(&["--max-bytes", "200", "--print-data-log"], &txn);
    assert_eq!(
        out.matches("baseOffset:").count(),
        2,
        "the third batch is beyond, no trailing bytes are told"
    );
    assert!(!out.contains("invalid bytes"));
    let (_, out, _) = dump(&["--skip-record-metadata", "--print-data-log"], &txn);
    assert!(out.contains("\n| key: k0 payload: t1-0\n"), "{out}");
    let data = fixtures().join("dirs/clean");
    let short = |text: String| text.replace(&format!("{}/", data.display()), "");
    let times = [
        data.join("times-0/00000000000000000000.index"),
        data.join("times-0/00000000000000000000.timeindex"),
    ];
    let (code, out, errors) = dump(&["--index-sanity-check"], &times);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert_eq!(
        short(out),
        "Dumping times-0/00000000000000000000.index\n\
         times-0/00000000000000000000.index passed sanity check.\n\
         Dumping times-0/00000000000000000000.timeindex\n\
         times-0/00000000000000000000.timeindex passed sanity check.\n"
    );
    let (_, out, _) = dump(&["--verify-index-only"], &times);
    assert_eq!(out.lines().count(), 2);
    let (code, _, errors) = dump(&["--value-decoder-class", "com.example.Mine"], &txn);
    assert_eq!(code, 1);
    assert!(
        errors.contains("com.example.Mine: this tool runs no Java"),
        "{errors}"
    );
}

/// Logs made with Kafka's own classes: every record type of the internal topics in every version, with all fields set,
/// some, or none; and what Kafka's tool prints of them.
#[test]
fn every_record_of_the_internal_topics_is_printed_as_kafka_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dump-log");
    let mut lines = 0;
    for (partition, decoder) in [
        ("__cluster_metadata-0", "--cluster-metadata-decoder"),
        ("__consumer_offsets-0", "--offsets-decoder"),
        ("__transaction_state-0", "--transaction-log-decoder"),
        ("__share_group_state-0", "--share-group-state-decoder"),
        ("__remote_log_metadata-0", "--remote-log-metadata-decoder"),
    ] {
        let expected = std::fs::read_to_string(folder.join(partition).join("dump.txt")).unwrap();
        let files = files_of(&folder.join(partition));
        let (code, out, errors) = dump(&[decoder], &files);
        assert_eq!((code, errors.as_str()), (0, ""), "{partition}");
        let out = out.replace(&format!("{}/", folder.display()), "");
        assert_eq!(out.lines().count(), expected.lines().count(), "{partition}");
        for (ours, kafkas) in out.lines().zip(expected.lines()) {
            // Why a record cannot be decoded is said in other words, and a remote segment without epochs is shown.
            let up_to = kafkas.find("Error at").unwrap_or(kafkas.len());
            assert_eq!(ours.get(..up_to), Some(&kafkas[..up_to]), "{partition}");
            assert!(
                up_to < kafkas.len() || ours == kafkas,
                "{partition}: {ours}"
            );
            lines += 1;
        }
    }
    assert_eq!(lines, 689);
}
