//! Reading the transcripts of Kafka's tools, and saying what `corelog` makes of the same.
//!
//! **Owns** the format of `NNN-….txt` (a command, its exit code, what went in and came out), the list of differences, and
//! what stands in the place of Java's stack traces and option tables.
//! **Lives on** the test's thread. Two test programs have this file as a module: that of `tools`, and that of `broker`.
//! **Not here** the transcripts' order and what was there before them (`broker/tests/it/cli.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use corelog_tools::cli::{self, Out};

/// A command and what Kafka's tool did.
pub(crate) struct Transcript {
    pub(crate) name: String,
    pub(crate) command: String,
    pub(crate) exit: String,
    pub(crate) input: String,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Transcript {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a transcript is text");
        let mut transcript = Self {
            name: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            command: String::new(),
            exit: String::new(),
            input: String::new(),
            out: String::new(),
            err: String::new(),
        };
        let mut section: Option<(String, String)> = None;
        let mut done = Vec::new();
        for line in text.split_inclusive('\n') {
            if let Some(command) = line.strip_prefix("$ ") {
                command
                    .trim_end_matches('\n')
                    .clone_into(&mut transcript.command);
            } else if let Some(exit) = line.strip_prefix("--- exit ") {
                exit.trim().clone_into(&mut transcript.exit);
            } else if let Some(name) = line.strip_prefix("--- ") {
                done.extend(section.replace((name.trim().to_owned(), String::new())));
            } else if let Some((_, body)) = &mut section {
                body.push_str(line);
            }
        }
        done.extend(section);
        for (name, mut body) in done {
            if name.ends_with("without a last newline") {
                body.pop();
            }
            match name.split(' ').next() {
                Some("in") => transcript.input = body,
                Some("out") => transcript.out = body,
                _ => transcript.err = body,
            }
        }
        transcript
    }

    pub(crate) fn number(&self) -> u32 {
        self.name[..3].parse().expect("transcripts are numbered")
    }
}

pub(crate) fn folder() -> PathBuf {
    // Of either crate.
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/tests/transcripts")
}

pub(crate) fn transcripts(numbers: impl Fn(u32) -> bool) -> Vec<Transcript> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder())
        .expect("the transcripts are there")
        .map(|entry| entry.expect("a folder can be read").path())
        .filter(|path| path.extension().is_some_and(|it| it == "txt"))
        .collect();
    paths.sort();
    let mut all: Vec<Transcript> = paths.iter().map(|path| Transcript::read(path)).collect();
    all.retain(|transcript| numbers(transcript.number()));
    all
}

/// Numbers in `DIFFERENCES.md`: a line `- 049 …` is one, `- 049–052 …` several.
pub(crate) fn differences() -> BTreeSet<u32> {
    let text = fs::read_to_string(folder().join("DIFFERENCES.md")).expect("the list is there");
    let mut numbers = BTreeSet::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("- ") else {
            continue;
        };
        for part in rest.split(':').next().unwrap_or_default().split(", ") {
            let (from, to) = part.split_once('–').unwrap_or((part, part));
            if let (Ok(from), Ok(to)) = (from.parse::<u32>(), to.parse::<u32>()) {
                numbers.extend(from..=to);
            }
        }
    }
    numbers
}

/// Runs a command; gives its exit code, output and errors.
pub(crate) fn run(arguments: &[String], input: &str) -> (u8, String, String) {
    let (printer, out, err) = Out::kept();
    let mut printer = printer.reading(Box::new(Cursor::new(input.as_bytes().to_vec())));
    let code = cli::main(arguments, &mut printer);
    drop(printer);
    (code, out.text(), err.text())
}

/// Words as a shell takes them apart: single quotes keep blanks.
pub(crate) fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut begun) = (String::new(), false, false);
    for letter in command.chars() {
        match letter {
            '\'' => {
                quoted = !quoted;
                begun = true;
            }
            ' ' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            letter => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// Kafka's standard error as ours would be: exceptions as their sentences, once; no notice of the newer protocol.
pub(crate) fn as_ours(stderr: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in stderr.lines() {
        if line.starts_with("<option table omitted") {
            lines.push("<options>".to_owned());
            break;
        }
        if line.starts_with("The consumer rebalance protocol (KIP-848)") {
            continue;
        }
        let sentence = sentence(line);
        if lines.last().is_none_or(|last| last != sentence) {
            lines.push(sentence.to_owned());
        }
    }
    lines.join("\n").trim().to_owned()
}

/// Standard output without the traces that some tools print to it.
pub(crate) fn untraced(out: &str) -> String {
    let is_class = |word: &str| word.contains('.') && word.ends_with("Exception");
    let is_trace = |line: &str| {
        line.starts_with("Caused by: ")
            || line
                .split_once(": ")
                .is_some_and(|(word, _)| is_class(word))
    };
    let lines: Vec<&str> = out.split('\n').collect();
    let kept: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| !is_trace(line))
        .collect();
    if kept.len() == lines.len() {
        return out.to_owned();
    }
    format!("{}\n", kept.join("\n").trim_end_matches('\n'))
}

pub(crate) fn sentence(line: &str) -> &str {
    let mut line = line.trim_start_matches('\t');
    line = line
        .strip_prefix("Exception in thread \"main\" ")
        .unwrap_or(line);
    for prefix in ["Caused by: ", "Suppressed: "] {
        line = line.strip_prefix(prefix).unwrap_or(line);
    }
    while let Some((class, sentence)) = line.split_once(": ") {
        if class.contains(' ') || !(class.ends_with("Exception") || class.ends_with("Exceptio")) {
            break;
        }
        line = sentence;
    }
    line
}

pub(crate) fn our_options_cut(stderr: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in stderr.lines() {
        if line.starts_with("Option ") && line.ends_with(" Description") {
            lines.push("<options>");
            break;
        }
        lines.push(line);
    }
    lines.join("\n").trim().to_owned()
}
