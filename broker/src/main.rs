//! `corelog-broker [server.properties] [--override name=value]…`

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use corelog_broker::config::{BrokerConfig, FileText, LoadError, Loaded, Note};
use corelog_broker::{boot, check, loggers};

/// An Apache-Kafka-compatible log broker.
///
/// Without a settings file it is a single node on 127.0.0.1:9092 with its data in ./data.
#[derive(Parser)]
#[command(name = "corelog-broker", version)]
struct Arguments {
    /// Settings, in Kafka's names.
    #[arg(value_name = "server.properties")]
    file: Option<PathBuf>,
    /// A setting that counts more than the file; may be given again.
    #[arg(long = "override", value_name = "name=value")]
    overrides: Vec<String>,
    /// How much to log: error, warn, info, debug or trace, or a filter such as `info,corelog_net=debug`.
    #[arg(long, default_value = "info", value_name = "filter")]
    log: String,
    /// Read the settings, say what is wrong with them, and do not start.
    #[arg(long, value_name = "text|json", num_args = 0..=1, default_missing_value = "text", require_equals = true)]
    check: Option<Report>,
}

/// How `--check` reports.
#[derive(Clone, Copy, ValueEnum)]
enum Report {
    /// A line for each error and warning.
    Text,
    /// One object, with what of the settings the machine must fit.
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(report) = arguments.check {
        return check_only(&arguments, report);
    }
    if let Err(error) = loggers::begin(&arguments.log, std::io::stdout().is_terminal()) {
        eprintln!("corelog-broker: {error}");
        return ExitCode::FAILURE;
    }
    match start(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                tracing::error!("{line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = load(arguments)?;
    for note in &loaded.notes {
        match note {
            Note::Warning(sentence) => tracing::warn!("{sentence}"),
            Note::Information(sentence) => tracing::info!("{sentence}"),
        }
    }
    boot::run(loaded.config)
}

/// The settings of a file, or those of a broker without one.
fn load(arguments: &Arguments) -> Result<Loaded, LoadError> {
    let Some(path) = &arguments.file else {
        return BrokerConfig::load(None, &arguments.overrides);
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the settings file is read before there is a door"
    )]
    let bytes = std::fs::read(path).map_err(|error| LoadError {
        sentences: vec![format!("{} cannot be read: {error}", path.display())],
    })?;
    let path = path.display().to_string();
    let file = FileText {
        path: &path,
        bytes: &bytes,
    };
    BrokerConfig::load(Some(file), &arguments.overrides)
}

#[expect(clippy::print_stdout, reason = "the report is what was asked for")]
fn check_only(arguments: &Arguments, report: Report) -> ExitCode {
    let loaded = load(arguments);
    match report {
        Report::Json => println!("{:#}", check::json(&loaded)),
        Report::Text => check::lines(&loaded)
            .iter()
            .for_each(|line| println!("{line}")),
    }
    match loaded {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
