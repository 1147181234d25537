//! **Owns** `doctor`: its options, its lines, its exit codes; asking other nodes for their clocks.
//! **Lives on** the command's thread.
//! **Invariants** (1) Exit code 0: all is well; 1: warnings; 2: something fails, or the doctor could not run. (2) Without
//! `--fix` nothing is changed.
//! **Not here** facts and findings (`doctor`).

use std::time::Duration;

use serde_json::{Value, json};

use super::bar::{Bar, Unit};
use super::options::{Given, Opt, Refusal, Table, flag, value};
use super::session::{self, Fault, lend};
use super::{Out, properties};
use crate::client::admin::Admin;
use crate::client::{ApiError, Client, ConnectError};
use crate::doctor::{self, Change, Clock, Facts, Finding, Level, fix, gather};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    let request = match TABLE
        .parse(arguments)
        .and_then(|given| Request::read(&given, arguments))
    {
        Ok(request) => request,
        Err(Refusal::Version) => {
            out.line(&format!("corelog {}", env!("CARGO_PKG_VERSION")));
            return 0;
        }
        Err(refusal) => {
            let asked = arguments.iter().any(|one| one == "--help" || one == "-h");
            refusal.print(&TABLE, out);
            return if asked { 0 } else { CANNOT_RUN };
        }
    };
    if request.fix && !fix::is_allowed() {
        out.error("--fix changes settings of the kernel, which only root may do: sudo corelog doctor --fix …");
        return CANNOT_RUN;
    }
    let mut facts = match &request.recorded {
        Some(path) => match recorded(path) {
            Ok(facts) => facts,
            Err(why) => {
                out.error(&why);
                return CANNOT_RUN;
            }
        },
        None => look(&request, out),
    };
    let mut findings = doctor::findings(&facts);
    let mut made = Vec::new();
    if request.fix {
        for change in fix::wanted(&findings) {
            made.push((fix::make(&change), change));
        }
        if !made.is_empty() {
            let clocks = std::mem::take(&mut facts.clocks);
            facts = Facts {
                clocks,
                ..gathered(&request.question)
            };
            findings = doctor::findings(&facts);
        }
    }
    match request.output {
        Output::Facts => out.line(&format!("{:#}", json!(facts))),
        Output::Json => out.document(&as_json(&findings, &made)),
        Output::Text => print(&request, &findings, &made, out),
    }
    match worst(&findings) {
        Level::Ok => 0,
        Level::Warn => 1,
        Level::Fail => 2,
    }
}

/// Everything, with a bar over the disks: each is measured for a while.
fn gathered(question: &gather::Question) -> Facts {
    let bar = Bar::new(0, Unit::Directories);
    let facts = gather::facts(question, &bar);
    bar.finish();
    facts
}

fn worst(findings: &[Finding]) -> Level {
    let levels = findings.iter().map(|finding| finding.level);
    levels.max().unwrap_or(Level::Ok)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Text,
    Json,
    Facts,
}

struct Request {
    question: gather::Question,
    bootstrap: Option<String>,
    recorded: Option<String>,
    output: Output,
    quiet: bool,
    fix: bool,
}

impl Request {
    fn read(given: &Given, arguments: &[String]) -> Result<Self, Refusal> {
        let one = |name: &str| {
            let value = given.one(name).map_err(Refusal::Error)?;
            Ok::<_, Refusal>(value.map(str::to_owned))
        };
        let output = match one("output")?.as_deref() {
            None | Some("text") => Output::Text,
            Some("json") => Output::Json,
            Some("facts") => Output::Facts,
            Some(other) => {
                return Err(Refusal::Error(format!(
                    "--output {other}: expected text, json or facts"
                )));
            }
        };
        let bootstrap = one("bootstrap-server")?;
        if let Some(bootstrap) = &bootstrap {
            properties::check_bootstrap(bootstrap).map_err(Refusal::Error)?;
        }
        Ok(Self {
            question: gather::Question {
                settings: settings_file(arguments)?,
                overrides: given
                    .all("override")
                    .iter()
                    .map(|one| (*one).to_owned())
                    .collect(),
                broker: one("broker")?,
                user: one("user")?,
            },
            bootstrap,
            recorded: one("facts")?,
            output,
            quiet: given.has("quiet"),
            fix: given.has("fix"),
        })
    }
}

/// The one argument that belongs to no option.
fn settings_file(arguments: &[String]) -> Result<Option<String>, Refusal> {
    let takes_value = |argument: &str| {
        let name = argument.trim_start_matches('-');
        name == "output"
            || TABLE.options.iter().any(|option| {
                option.name == name
                    && matches!(option.argument, super::options::Argument::Required(_))
            })
    };
    let mut files = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if !argument.starts_with('-') {
            files.push(argument.clone());
        } else if takes_value(argument) {
            rest.next();
        }
    }
    match files.len() {
        0 | 1 => Ok(files.pop()),
        _ => Err(Refusal::Error(format!(
            "one settings file is looked at, not {}: {}",
            files.len(),
            files.join(" ")
        ))),
    }
}

fn recorded(path: &str) -> Result<Facts, String> {
    let bytes = session::read_file(path).map_err(|error| format!("{path}: {error}"))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{path}: {error}"))
}

fn look(request: &Request, out: &mut Out) -> Facts {
    let mut facts = gathered(&request.question);
    let settings = facts.broker.report.settings.as_ref();
    let mut asked: Vec<(String, bool)> = settings
        .map(|settings| {
            settings
                .quorum
                .iter()
                .map(|one| (one.clone(), true))
                .collect()
        })
        .unwrap_or_default();
    if let Some(bootstrap) = &request.bootstrap {
        let each = bootstrap.split(',').map(str::trim);
        asked.extend(each.map(|one| (one.to_owned(), false)));
    }
    for (address, is_controller) in asked {
        let answer = lend(out, |_| clock(address.clone(), is_controller));
        facts.clocks.push(match answer {
            Ok(Ok((ahead_ms, uncertain_ms))) => Clock {
                address,
                ahead_ms: Some(ahead_ms),
                uncertain_ms,
                unknown: None,
            },
            Ok(Err(fault)) | Err(fault) => Clock {
                address,
                unknown: Some(fault.message().to_owned()),
                ..Clock::default()
            },
        });
    }
    facts
}

/// How far the leader of the quorum is ahead, and half of what the question took. A leader that describes the quorum says
/// of itself that it has caught up now, by its clock (KIP-836).
async fn clock(address: String, is_controller: bool) -> Result<(i64, i64), Fault> {
    let mut properties = properties::Properties::new();
    properties.insert("bootstrap.servers".to_owned(), address);
    let mut config = properties::client_config(&properties)?;
    config.controllers = is_controller;
    config.api_timeout = CLOCK_TIME;
    let client = Client::connect_once(config).await.map_err(|error| {
        let ConnectError::Bootstrap(error) = error;
        Fault::from(error.to_string())
    })?;
    let admin = Admin::new(&client);
    // The first question dials; the second is the one that is timed.
    let mut best: Option<(i64, i64)> = None;
    for _ in 0..CLOCK_QUESTIONS {
        let before = corelog_runtime::wall_clock();
        let (quorum, _) = admin
            .describe_quorum()
            .await
            .map_err(|error: ApiError| Fault::from(error.text()))?;
        let after = corelog_runtime::wall_clock();
        let leader = quorum
            .current_voters
            .iter()
            .find(|voter| voter.replica_id == quorum.leader_id)
            .map_or(-1, |voter| voter.last_caught_up_timestamp);
        if leader < 0 {
            return Err(Fault::from("its answer has no time in it".to_owned()));
        }
        let uncertain = (after - before + 1) / 2;
        let ahead = leader - (before + (after - before) / 2);
        if best.is_none_or(|(_, least)| uncertain < least) {
            best = Some((ahead, uncertain));
        }
    }
    best.ok_or_else(|| Fault::from("it did not answer".to_owned()))
}

type MadeChanges = [(Vec<fix::Made>, Change)];

fn print(request: &Request, findings: &[Finding], made: &MadeChanges, out: &mut Out) {
    for (files, _) in made {
        for file in files {
            out.line(&match &file.after {
                Ok(after) => format!("fixed {}: '{}' is now '{after}'", file.path, file.before),
                Err(why) => format!("not fixed {}: {why}", file.path),
            });
        }
    }
    if !made.is_empty() {
        out.line(
            "      until the machine starts again: deploy/sysctl.d and deploy/udev make it last",
        );
    }
    for finding in findings {
        if finding.level == Level::Ok && request.quiet {
            continue;
        }
        for line in finding.lines() {
            out.line(&line);
        }
    }
    let count = |level: Level| findings.iter().filter(|one| one.level == level).count();
    let safe = fix::wanted(findings).len();
    let hint = if safe > 0 && !request.fix {
        format!("; --fix can make {safe} changes")
    } else {
        String::new()
    };
    out.error(&format!(
        "{} failures, {} warnings, {} checks are well{hint}",
        count(Level::Fail),
        count(Level::Warn),
        count(Level::Ok)
    ));
}

fn as_json(findings: &[Finding], made: &MadeChanges) -> Value {
    let made: Vec<_> = made
        .iter()
        .flat_map(|(files, _)| files)
        .map(|file| {
            json!({
                "path": file.path,
                "before": file.before,
                "after": file.after.as_ref().ok(),
                "error": file.after.as_ref().err(),
            })
        })
        .collect();
    json!({
        "level": worst(findings).name(),
        "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
        "fixed": made,
    })
}

const CANNOT_RUN: u8 = 2;
const CLOCK_QUESTIONS: usize = 3;
const CLOCK_TIME: Duration = Duration::from_secs(3);

/// The options.
pub(super) const TABLE: Table = Table {
    about: "corelog doctor [server.properties] [options]\n\nLooks, before a start or beside a running broker, whether this \
            machine and these settings are fit: what is\nfound, why it matters, the command that puts it right. Exit code 0: \
            all is well, 1: warnings, 2: failures.",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
    value(
        "bootstrap-server",
        "String: host:port,…",
        "Also compare this machine's clock with that of the cluster's quorum leader",
    ),
    value(
        "broker",
        "String: path",
        "The corelog-broker that is to start, if it is neither beside this program nor on PATH",
    ),
    value(
        "facts",
        "String: path",
        "Judge recorded facts (--output facts) instead of this machine",
    ),
    flag(
        "fix",
        "Make the changes that are safe (settings of the running kernel); only as root",
    ),
    value(
        "override",
        "String: name=value",
        "A setting that counts more than the file; may be given again",
    ),
    flag("quiet", "Print only warnings and failures"),
    value(
        "user",
        "String: name",
        "The user the broker is to run as; otherwise that of the running broker, or yours",
    ),
];
