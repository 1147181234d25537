//! **Owns** `log-check`: its options, its lines, its exit codes.
//! **Lives on** the command's thread.
//! **Invariants** (1) One finding is one line. (2) Exit code 0: nothing is damaged (warnings are what a start puts right);
//! 1: damage; 2: the check could not run.
//! **Not here** the checks (`check`).

use corelog_storage::segment::name::{Folder, parse_folder};
use corelog_storage::types::TopicPartition;
use serde_json::{Value, json};

use super::Out;
use super::bar::{Bar, Unit};
use crate::check::{self, Finding, Plan, Report, Severity};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    let request = match Request::read(arguments) {
        Ok(request) => request,
        Err(Refusal::Help) => {
            out.line(USAGE);
            return 0;
        }
        Err(Refusal::Wrong(why)) => {
            out.error(&format!("{why}\n\n{USAGE}"));
            return CANNOT_RUN;
        }
    };
    let bar = Bar::new(0, Unit::Bytes);
    let done = check::run(&request.plan, &bar);
    bar.finish();
    let report = match done {
        Ok(report) => report,
        Err(error) => {
            out.error(&error.to_string());
            return CANNOT_RUN;
        }
    };
    if request.json {
        out.document(&as_json(&request.plan, &report));
    } else {
        for finding in &report.findings {
            out.line(&as_line(finding));
        }
        out.error(&summary(&report));
    }
    u8::from(report.count(Severity::Damage) > 0)
}

/// The options and what they do.
pub(super) fn options() -> Vec<(&'static str, &'static str)> {
    vec![
        (
            "--partition TOPIC-N",
            "Only these partitions, separated by commas.",
        ),
        (
            "--deep",
            "Look at every record too (compressed batches are inflated).",
        ),
        (
            "--output text|json",
            "json: one JSON document instead of lines.",
        ),
        ("--help, -h", "Print usage information."),
    ]
}

struct Request {
    plan: Plan,
    json: bool,
}

enum Refusal {
    Help,
    Wrong(String),
}

impl Request {
    fn read(arguments: &[String]) -> Result<Self, Refusal> {
        let mut plan = Plan::default();
        let mut json = false;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (argument.as_str(), None),
            };
            let mut value = || {
                let given = inline.clone().or_else(|| rest.next().cloned());
                given.ok_or_else(|| Refusal::Wrong(format!("{name} needs a value")))
            };
            match name {
                "--help" | "-h" => return Err(Refusal::Help),
                "--deep" => plan.deep = true,
                "--output" => match value()?.as_str() {
                    "json" => json = true,
                    "text" => json = false,
                    other => {
                        return Err(Refusal::Wrong(format!(
                            "--output {other}: expected text or json"
                        )));
                    }
                },
                "--partition" => {
                    for wanted in value()?.split(',') {
                        plan.partitions.push(partition(wanted)?);
                    }
                }
                _ if name.starts_with('-') => {
                    return Err(Refusal::Wrong(format!("{name} is not an option")));
                }
                directory => plan.directories.push(directory.to_owned()),
            }
        }
        if plan.directories.is_empty() {
            return Err(Refusal::Wrong("which data directory?".to_owned()));
        }
        Ok(Self { plan, json })
    }
}

fn partition(text: &str) -> Result<TopicPartition, Refusal> {
    match parse_folder(text) {
        Ok(Folder::Live(partition)) => Ok(partition),
        _ => Err(Refusal::Wrong(format!(
            "--partition {text}: expected TOPIC-NUMBER, as orders-3"
        ))),
    }
}

/// `damage: PATH: position N: what is wrong. What it means. To do: …`
fn as_line(finding: &Finding) -> String {
    let position = finding
        .position
        .map_or(String::new(), |position| format!(" position {position}:"));
    let mut line = format!(
        "{}: {}:{position} {}; {}.",
        finding.severity.name(),
        finding.path,
        finding.what,
        finding.means
    );
    if !finding.remedy.is_empty() {
        line.push_str(" To do: ");
        line.push_str(&finding.remedy);
    }
    // A finding is a line, whatever a file's name has in it.
    line.replace('\n', "\\n")
}

fn summary(report: &Report) -> String {
    format!(
        "{} partitions, {} segments, {} batches, {} bytes of logs: {} damaged, {} warnings",
        report.partitions,
        report.segments,
        report.batches,
        report.bytes,
        report.count(Severity::Damage),
        report.count(Severity::Warning),
    )
}

fn as_json(plan: &Plan, report: &Report) -> Value {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "severity": finding.severity.name(),
                "path": finding.path,
                "position": finding.position,
                "what": finding.what,
                "means": finding.means,
                "remedy": finding.remedy,
            })
        })
        .collect();
    json!({
        "directories": plan.directories,
        "partitions": report.partitions,
        "segments": report.segments,
        "batches": report.batches,
        "bytes": report.bytes,
        "damaged": report.count(Severity::Damage),
        "warnings": report.count(Severity::Warning),
        "findings": findings,
    })
}

const CANNOT_RUN: u8 = 2;
const USAGE: &str = "\
usage: corelog log-check DIR [DIR…] [--partition TOPIC-N[,…]] [--deep] [--output text|json]

Verifies the data directories (log.dirs) of one stopped broker without changing them: every batch, index,
snapshot and checkpoint, what they say of each other, and where partitions belong. Each finding is a line:
what is wrong where, what it means, what to do. Warnings are what the broker puts right at its next start.

  --partition TOPIC-N   only these partitions
  --deep                look at every record too (compressed batches are inflated)
  --output json         one JSON object instead of lines

exit code: 0 nothing is damaged, 1 damage, 2 the check could not run";
