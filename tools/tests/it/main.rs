//! What the commands print, beside what Kafka's tools printed: the transcripts in `tests/transcripts` are runs of Apache
//! Kafka 4.3.1, stack traces cut off. These are the runs that end before a broker is asked.
//!
//! Known differences, each on purpose: an exception is shown as its sentence, once and without its class; where Kafka's
//! option table follows, ours does.

#![cfg(test)]

#[expect(clippy::disallowed_methods, reason = "tests read fixtures")]
mod dump_log;
#[expect(clippy::disallowed_methods, reason = "tests change copies of fixtures")]
mod log_check;

use std::path::Path;

use corelog_tools::cli::{self, Out};

fn run(command: &str) -> (u8, String, String) {
    // No argument of these transcripts is quoted.
    let arguments: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    run_arguments(&arguments)
}

fn run_arguments(arguments: &[String]) -> (u8, String, String) {
    let (mut printer, out, err) = Out::kept();
    let code = cli::main(arguments, &mut printer);
    drop(printer);
    (code, out.text(), err.text())
}

/// Kafka's standard error as ours would be.
fn as_ours(stderr: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in stderr.lines() {
        if line.starts_with("<option table omitted") {
            lines.push("<options>".to_owned());
            break;
        }
        let sentence = match line.split_once(": ") {
            Some((class, sentence)) if class.ends_with("Exception") => sentence,
            _ => line,
        };
        if lines.last().is_none_or(|last| last != sentence) {
            lines.push(sentence.to_owned());
        }
    }
    lines.join("\n").trim_end().to_owned()
}

fn our_options_cut(stderr: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in stderr.lines() {
        if line.starts_with("Option ") && line.ends_with(" Description") {
            lines.push("<options>");
            break;
        }
        lines.push(line);
    }
    lines.join("\n").trim_end().to_owned()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test reads its own data")]
fn what_needs_no_broker_is_said_as_kafka_says_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let number = name.get(..3).unwrap_or_default();
        let is_kafkas = path.extension().is_some_and(|it| it == "txt");
        if !NO_BROKER.contains(&number) || !is_kafkas {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let section = |name: &str| {
            let start = format!("--- {name}\n");
            let body = text.split_once(&start).map_or("", |(_, body)| body);
            body.split("\n--- ").next().unwrap().trim_end().to_owned()
        };
        let (command, rest) = text.split_once('\n').unwrap();
        let exit = rest.lines().next().unwrap().trim_start_matches("--- exit ");
        let command = command
            .trim_start_matches("$ ")
            .replace("<BOOTSTRAP>", "127.0.0.1:1")
            .replace('\'', "");
        let (code, out, err) = run(&command);
        assert_eq!(code.to_string(), exit, "{command}");
        assert_eq!(out.trim_end(), section("out"), "{command}");
        assert_eq!(our_options_cut(&err), as_ours(&section("err")), "{command}");
        seen += 1;
    }
    assert_eq!(seen, NO_BROKER.len());
}

/// Transcripts that end before a broker is asked.
const NO_BROKER: &[&str] = &[
    "006", "013", "014", "029", "033", "034", "035", "036", "037", "038", "044", "045", "046",
    "051", "052", "065", "066", "080", "081", "082",
];

#[test]
fn a_command_is_found_by_its_links() {
    for program in ["kafka-topics", "/opt/bin/kafka-topics.sh", "./kafka-topics"] {
        let (code, out, _) = run(&format!("{program} --version"));
        assert_eq!((code, out.as_str()), (0, "4.3.1\n"), "{program}");
    }
    let (code, _, err) = run("corelog topcs");
    assert_eq!(code, 1);
    assert_eq!(err, "'topcs' is not a command; did you mean 'topics'?\n");
}
