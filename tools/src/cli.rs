//! The command line: Kafka's tools by their names and flags, starting in milliseconds.
//!
//! **Owns** the table of commands. Each lives in `cli/<command>.rs` and takes its arguments and an [`Out`].
//! **Lives on** the main thread; a command that talks to a broker runs a runtime of its own.
//! **Invariants** (1) Only [`out`] writes to standard output and standard error. (2) What goes wrong is one sentence; exit
//! codes are those of Kafka's tools.
//! **Not here** talking to brokers (`client`).

use std::future::Future;

use corelog_net::wire::Uuid;
use corelog_runtime::{Config, Runtime};

mod acls;
pub mod argparse;
pub mod bar;
mod broker_api_versions;
mod client_figures;
mod client_metrics;
mod cluster;
mod configs;
mod console_consumer;
mod console_producer;
mod consumer_groups;
pub mod consumer_perf_test;
pub mod date_format;
mod delegation_tokens;
mod delete_records;
mod doctor;
mod dump_log;
mod e2e_latency;
mod features;
mod formatter;
mod get_offsets;
mod groups;
mod java;
mod leader_election;
mod line_reader;
mod log_check;
mod log_dirs;
mod metadata_quorum;
pub mod options;
pub mod out;
pub mod producer_perf_test;
pub mod properties;
mod reassign_partitions;
mod replica_verification;
mod scram;
mod session;
mod share_groups;
pub mod shell;
mod storage;
mod time;
mod topics;
mod transactions;
mod verifiable;

pub use out::{Kept, Out};
pub use shell::Synopsis;

/// A subcommand of `corelog`.
pub struct Command {
    /// Its name: Kafka's without `kafka-`.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Whether Kafka has a tool of this name.
    pub is_kafkas: bool,
    /// Its options.
    pub synopsis: Synopsis,
    /// Runs it; gives the exit code.
    pub run: fn(&[String], &mut Out) -> u8,
}

/// All subcommands.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "acls",
        about: "List, add and remove ACLs",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&acls::TABLE),
        run: acls::run,
    },
    Command {
        name: "broker-api-versions",
        about: "Print which API versions brokers serve",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&broker_api_versions::TABLE),
        run: broker_api_versions::run,
    },
    Command {
        name: "client-metrics",
        about: "Subscriptions of client metrics",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&client_metrics::TABLE),
        run: client_metrics::run,
    },
    Command {
        name: "cluster",
        about: "The id and the nodes of a cluster",
        is_kafkas: true,
        synopsis: Synopsis::Subcommands(&cluster::PARSER),
        run: cluster::run,
    },
    Command {
        name: "configs",
        about: "Describe and change configs, quotas and credentials",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&configs::TABLE),
        run: configs::run,
    },
    Command {
        name: "console-consumer",
        about: "Print the records of a topic",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&console_consumer::TABLE),
        run: console_consumer::run,
    },
    Command {
        name: "console-producer",
        about: "Produce records from lines of standard input",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&console_producer::TABLE),
        run: console_producer::run,
    },
    Command {
        name: "consumer-groups",
        about: "List, describe, reset and delete consumer groups",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&consumer_groups::TABLE),
        run: consumer_groups::run,
    },
    Command {
        name: "consumer-perf-test",
        about: "Measure how fast records are consumed",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&consumer_perf_test::TABLE),
        run: consumer_perf_test::run,
    },
    Command {
        name: "delegation-tokens",
        about: "Create, renew, expire and describe delegation tokens",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&delegation_tokens::TABLE),
        run: delegation_tokens::run,
    },
    Command {
        name: "delete-records",
        about: "Delete records before an offset",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&delete_records::TABLE),
        run: delete_records::run,
    },
    Command {
        name: "doctor",
        about: "Look whether this machine and these settings are fit for a broker",
        is_kafkas: false,
        synopsis: Synopsis::Flags(&doctor::TABLE),
        run: doctor::run,
    },
    Command {
        name: "dump-log",
        about: "Print the files of a log directory: records, indexes, snapshots",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&dump_log::TABLE),
        run: dump_log::run,
    },
    Command {
        name: "e2e-latency",
        about: "Measure the time from producing to consuming",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&e2e_latency::TABLE),
        run: e2e_latency::run,
    },
    Command {
        name: "features",
        about: "The features of a cluster and their levels",
        is_kafkas: true,
        synopsis: Synopsis::Subcommands(&features::PARSER),
        run: features::run,
    },
    Command {
        name: "get-offsets",
        about: "Print offsets of partitions",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&get_offsets::TABLE),
        run: get_offsets::run,
    },
    Command {
        name: "groups",
        about: "List groups of all types",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&groups::TABLE),
        run: groups::run,
    },
    Command {
        name: "leader-election",
        about: "Elect leaders",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&leader_election::TABLE),
        run: leader_election::run,
    },
    Command {
        name: "log-check",
        about: "Verify data directories of a stopped broker and say what is wrong",
        is_kafkas: false,
        synopsis: Synopsis::Listed(log_check::options),
        run: log_check::run,
    },
    Command {
        name: "log-dirs",
        about: "Print what is in the log directories of brokers",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&log_dirs::TABLE),
        run: log_dirs::run,
    },
    Command {
        name: "metadata-quorum",
        about: "The quorum of controllers",
        is_kafkas: true,
        synopsis: Synopsis::Subcommands(&metadata_quorum::PARSER),
        run: metadata_quorum::run,
    },
    Command {
        name: "producer-perf-test",
        about: "Measure how fast records are produced",
        is_kafkas: true,
        synopsis: Synopsis::Listed(producer_perf_test::options),
        run: producer_perf_test::run,
    },
    Command {
        name: "reassign-partitions",
        about: "Move partitions between brokers and directories",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&reassign_partitions::TABLE),
        run: reassign_partitions::run,
    },
    Command {
        name: "replica-verification",
        about: "Compare the replicas of partitions with each other",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&replica_verification::TABLE),
        run: replica_verification::run,
    },
    Command {
        name: "share-groups",
        about: "List, describe and delete share groups",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&share_groups::SHARE_TABLE),
        run: share_groups::run,
    },
    Command {
        name: "storage",
        about: "Log directories of a broker that does not run, and ids",
        is_kafkas: true,
        synopsis: Synopsis::Subcommands(&storage::PARSER),
        run: storage::run,
    },
    Command {
        name: "streams-groups",
        about: "List, describe and delete streams groups",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&share_groups::STREAMS_TABLE),
        run: share_groups::run_streams,
    },
    Command {
        name: "topics",
        about: "Create, delete, describe, list or change topics",
        is_kafkas: true,
        synopsis: Synopsis::Flags(&topics::TABLE),
        run: topics::run,
    },
    Command {
        name: "transactions",
        about: "List, describe and abort transactions",
        is_kafkas: true,
        synopsis: Synopsis::Subcommands(&transactions::PARSER),
        run: transactions::run,
    },
    Command {
        name: "verifiable-consumer",
        about: "Consume for a system test",
        is_kafkas: true,
        synopsis: Synopsis::Subcommands(&verifiable::CONSUMER),
        run: verifiable::run_consumer,
    },
    Command {
        name: "verifiable-producer",
        about: "Produce for a system test",
        is_kafkas: true,
        synopsis: Synopsis::Subcommands(&verifiable::PRODUCER),
        run: verifiable::run_producer,
    },
];

/// What `corelog` does beside its commands; Kafka has nothing of the kind.
pub(crate) const OWN_WORDS: &[&str] = &["completion", "help", "install-links", "man", "version"];

/// The command that a program name stands for: `kafka-topics`, `/usr/bin/kafka-topics.sh`.
pub fn by_program_name(program: &str) -> Option<&'static Command> {
    let name = program.rsplit('/').next().unwrap_or(program);
    let name = name.strip_suffix(".sh").unwrap_or(name);
    by_name(name.strip_prefix("kafka-")?)
}

/// The command of this name, with or without Kafka's prefix.
pub fn by_name(name: &str) -> Option<&'static Command> {
    let name = name.strip_prefix("kafka-").unwrap_or(name);
    COMMANDS.iter().find(|command| command.name == name)
}

/// Runs `corelog` with these arguments (the program's name first); gives the exit code.
pub fn main(arguments: &[String], out: &mut Out) -> u8 {
    if wants_json(arguments) {
        out.begin_json();
    }
    let code = dispatch(arguments, out);
    out.conclude(code);
    code
}

/// Whether `--output json` is among the arguments, also where the command does not come to read them.
fn wants_json(arguments: &[String]) -> bool {
    let is_output = |argument: &String| matches!(argument.as_str(), "--output" | "-output");
    arguments
        .windows(2)
        .any(|two| is_output(&two[0]) && two[1] == "json")
        || arguments
            .iter()
            .any(|one| matches!(one.as_str(), "--output=json" | "-output=json"))
}

fn dispatch(arguments: &[String], out: &mut Out) -> u8 {
    let (program, rest) = arguments
        .split_first()
        .map_or(("corelog", &[][..]), |(program, rest)| {
            (program.as_str(), rest)
        });
    if let Some(command) = by_program_name(program) {
        return (command.run)(rest, out);
    }
    let Some((name, rest)) = rest.split_first() else {
        usage(out);
        return 1;
    };
    match name.as_str() {
        "--help" | "-h" | "help" => {
            usage(out);
            0
        }
        "--version" | "version" => {
            out.line(&format!("corelog {}", env!("CARGO_PKG_VERSION")));
            0
        }
        "install-links" => shell::install_links(rest, out),
        "completion" => shell::completion(rest, out),
        "man" => shell::man(rest, out),
        name => {
            if let Some(command) = by_name(name) {
                return (command.run)(rest, out);
            }
            let all = COMMANDS.iter().map(|command| command.name);
            let near = nearest(name, all.chain(OWN_WORDS.iter().copied()));
            let hint = near.map_or(String::new(), |near| format!("; did you mean '{near}'?"));
            out.error(&format!("'{name}' is not a command{hint}"));
            1
        }
    }
}

fn usage(out: &mut Out) {
    out.error("usage: corelog <command> [options]\n\ncommands:");
    for command in COMMANDS {
        out.error(&format!("  {:<20} {}", command.name, command.about));
    }
    out.error("\n'corelog <command> --help' lists the options of a command.");
    out.error("'corelog install-links DIR' makes links named as Kafka's tools; 'corelog completion bash|zsh|fish' and");
    out.error("'corelog man [command]' print what a shell and man want.");
}

/// Runs a command's work on a runtime of this thread.
fn on_runtime<T: 'static>(work: impl Future<Output = T> + 'static) -> Result<T, String> {
    // A command is short: a small ring is made faster.
    let config = Config {
        ring_entries: 64,
        ..Config::default()
    };
    let runtime = Runtime::new(&config).map_err(|error| error.to_string())?;
    Ok(runtime.run(work))
}

/// Reads an id as Kafka's tools do.
fn uuid(text: &str) -> Result<Uuid, String> {
    if text.len() < 2 {
        return Err("Input byte[] should at least have 2 bytes for base64 bytes".to_owned());
    }
    text.parse().map_err(|_| {
        // Four digits of base64 are three bytes.
        let bytes = text.trim_end_matches('=').len() * 3 / 4;
        format!(
            "Input string `{text}` decoded as {bytes} bytes, which is not equal to the expected 16 bytes of a \
             base64-encoded UUID"
        )
    })
}

/// The name that was probably meant: at most two letters away.
pub fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    among
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
