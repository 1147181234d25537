//! Loggers that can be described and set one by one while the broker runs.
//!
//! Owns: the list of loggers, their levels, Kafka's sentences about changes of them.
//! Lives on: the whole process; every shard asks and sets the same levels.
//! Invariants: 1. a level that was answered for is in force for every line from then on; 2. levels
//! end with the process: like Kafka's they are written nowhere.
//! Not here: what is logged.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use corelog_net::wire::ErrorCode;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::config::alter::{Change, Operation, Refusal};

/// Begins logging to the standard output by a filter such as `info,corelog_net=debug`.
///
/// # Errors
/// The filter is wrong, in a sentence.
pub fn begin(filter: &str, ansi: bool) -> Result<(), String> {
    let targets: Targets = filter
        .parse()
        .map_err(|error| format!("--log {filter}: {error}"))?;
    let (layer, handle) = reload::Layer::new(targets);
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(ansi);
    tracing_subscriber::registry()
        .with(layer)
        .with(lines)
        .try_init()
        .map_err(|error| error.to_string())?;
    LEVELS
        .set(handle)
        .map_err(|_| "logging has begun before".to_owned())
}

/// Every logger with the level in force for it.
pub(crate) fn levels() -> Vec<(&'static str, &'static str)> {
    LOGGERS.iter().map(|name| (*name, level_of(name))).collect()
}

/// Checks changes of loggers as Kafka does.
pub(crate) fn check(changes: &[Change]) -> Result<(), Refusal> {
    for change in changes {
        let name = &change.name;
        let verb = match change.operation {
            Operation::Set | Operation::Delete if !LOGGERS.contains(&name.as_str()) => {
                let message = format!("Logger {name} does not exist!");
                return Err(Refusal::new(ErrorCode::InvalidConfig, message));
            }
            Operation::Set => {
                let level = change.value.as_deref().unwrap_or_default();
                if filter_of(level).is_none() {
                    return Err(Refusal::new(
                        ErrorCode::InvalidConfig,
                        format!(
                            "Cannot set the log level of {name} to {level} as it is not a \
                             supported log level. Valid log levels are {LEVELS_VALID}"
                        ),
                    ));
                }
                continue;
            }
            Operation::Delete if name == ROOT => {
                let message = "Removing the log level of the root logger is not allowed";
                return Err(Refusal::new(ErrorCode::InvalidRequest, message));
            }
            Operation::Delete => continue,
            Operation::Append => "APPEND",
            Operation::Subtract => "SUBTRACT",
        };
        let message = format!("{verb} operation is not allowed for the BROKER_LOGGER resource");
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    Ok(())
}

/// Carries out changes that were checked.
pub(crate) fn apply(changes: &[Change]) {
    let Some(handle) = LEVELS.get() else {
        return;
    };
    for change in changes {
        let level = change.value.as_deref().and_then(filter_of);
        let changed = handle.modify(|targets| *targets = changed(targets, &change.name, level));
        match changed {
            Ok(()) => {
                note_fatal(&change.name, change.value.as_deref());
                tracing::info!("logger={} level={}", change.name, level_of(&change.name));
            }
            Err(error) => tracing::error!("logger={} keeps its level: {error}", change.name),
        }
    }
}

/// The levels with one set, or taken back to what stands above it.
fn changed(targets: &Targets, name: &str, level: Option<LevelFilter>) -> Targets {
    if name == ROOT {
        return match level {
            Some(level) => targets.clone().with_default(level),
            None => targets.clone(),
        };
    }
    let default = targets.default_level().unwrap_or(LevelFilter::ERROR);
    let others = targets
        .iter()
        .filter(|(target, _)| *target != name && !target.is_empty());
    let others: Targets = others
        .map(|(target, level)| (target.to_owned(), level))
        .collect();
    let others = others.with_default(default);
    match level {
        Some(level) => others.with_target(name, level),
        None => others,
    }
}

/// Kafka's name for the level in force.
fn level_of(name: &str) -> &'static str {
    let found = LEVELS
        .get()
        .and_then(|handle| handle.with_current(|targets| shown(targets, name)).ok());
    found.unwrap_or("ERROR")
}

fn shown(targets: &Targets, name: &str) -> &'static str {
    let level = if name == ROOT {
        let default = targets.default_level().unwrap_or(LevelFilter::ERROR);
        default.into_level()
    } else {
        BY_DETAIL
            .into_iter()
            .find(|level| targets.would_enable(name, level))
    };
    let nearest = targets
        .iter()
        .map(|(target, _)| target)
        .filter(|target| name != ROOT && !target.is_empty() && name.starts_with(target))
        .max_by_key(|target| target.len());
    if is_fatal(nearest.unwrap_or(ROOT)) {
        return "FATAL";
    }
    level.map_or("ERROR", |level| level.as_str())
}

/// Remembers whether a logger that is given a level, or none, is to show as fatal.
fn note_fatal(name: &str, level: Option<&str>) {
    let bit = bit_of(name);
    if level == Some("FATAL") {
        FATAL.fetch_or(bit, Ordering::Relaxed);
    } else {
        FATAL.fetch_and(!bit, Ordering::Relaxed);
    }
}

fn is_fatal(name: &str) -> bool {
    FATAL.load(Ordering::Relaxed) & bit_of(name) != 0
}

/// A logger's bit in [`FATAL`]; none for a target of the filter at the start that is no logger.
fn bit_of(name: &str) -> u64 {
    LOGGERS
        .iter()
        .position(|logger| *logger == name)
        .map_or(0, |index| 1 << index)
}

/// Kafka's levels. Nothing is logged as fatal: the last two let the same lines pass, and only show as what was asked for.
fn filter_of(level: &str) -> Option<LevelFilter> {
    match level {
        "TRACE" => Some(LevelFilter::TRACE),
        "DEBUG" => Some(LevelFilter::DEBUG),
        "INFO" => Some(LevelFilter::INFO),
        "WARN" => Some(LevelFilter::WARN),
        "ERROR" | "FATAL" => Some(LevelFilter::ERROR),
        _ => None,
    }
}

/// The way to the filter that every line passes; a process has one.
static LEVELS: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Loggers that were set to FATAL, by their place in [`LOGGERS`].
static FATAL: AtomicU64 = AtomicU64::new(0);
const _: () = assert!(LOGGERS.len() <= 64);

const BY_DETAIL: [Level; 5] = [
    Level::TRACE,
    Level::DEBUG,
    Level::INFO,
    Level::WARN,
    Level::ERROR,
];

const LEVELS_VALID: &str = "DEBUG, ERROR, FATAL, INFO, TRACE, WARN";

/// The logger above all others.
const ROOT: &str = "root";

/// Modules that have something to say; a level holds for the modules inside, unless they have one.
const LOGGERS: &[&str] = &[
    ROOT,
    "corelog_broker",
    "corelog_broker::admin",
    "corelog_broker::boot",
    "corelog_broker::handlers",
    "corelog_broker::handlers::fetch",
    "corelog_broker::handlers::produce",
    "corelog_broker::loggers",
    "corelog_broker::partition",
    "corelog_broker::shard",
    "corelog_broker::shard::cleaner",
    "corelog_broker::shard::control",
    "corelog_broker::shard::coordinators",
    "corelog_broker::shard::disks",
    "corelog_broker::shard::flush",
    "corelog_broker::shard::housekeeping",
    "corelog_broker::shard::logs",
    "corelog_broker::shard::moves",
    "corelog_broker::shard::snapshots",
    "corelog_broker::shard::transactions",
    "corelog_net",
    "corelog_net::server",
    "corelog_runtime",
];

#[cfg(test)]
mod tests;
