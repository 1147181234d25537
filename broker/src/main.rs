//! `corelog-broker [server.properties] [--override name=value]…`

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use corelog_broker::config::{BrokerConfig, FileText, Note};
use corelog_broker::{boot, loggers};

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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
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
    let loaded = match &arguments.file {
        None => BrokerConfig::load(None, &arguments.overrides)?,
        Some(path) => {
            #[expect(
                clippy::disallowed_methods,
                reason = "the settings file is read before there is a door"
            )]
            let bytes = std::fs::read(path)
                .map_err(|error| anyhow::anyhow!("{} cannot be read: {error}", path.display()))?;
            let path = path.display().to_string();
            BrokerConfig::load(
                Some(FileText {
                    path: &path,
                    bytes: &bytes,
                }),
                &arguments.overrides,
            )?
        }
    };
    for note in &loaded.notes {
        match note {
            Note::Warning(sentence) => tracing::warn!("{sentence}"),
            Note::Information(sentence) => tracing::info!("{sentence}"),
        }
    }
    boot::run(loaded.config)
}
