//! The settings of log compaction that hold for the whole broker.
//!
//! **Owns** the meaning of `log.cleaner.*`, split among the shards.
//! **Lives on** every shard, resolved anew for every round: most of them change at run time.
//! **Invariants**: 1. a dynamic value that does not parse falls through to the next layer. 2. What Kafka gives to all its
//! cleaner threads together is divided by the number of shards.
//! **Not here**: what topics set for themselves (`topic`).

use std::time::Duration;

use super::broker_settings;
use super::layers::Layers;
use super::setting::Value;

/// What one shard's cleaner goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`.
    pub enable: bool,
    /// `log.cleaner.backoff.ms`: the wait when nothing is dirty enough.
    pub backoff: Duration,
    /// Bytes of memory for the last offset of every key.
    pub dedupe_bytes: usize,
    /// `log.cleaner.io.buffer.load.factor`: how full that may get, from 0 to 1.
    pub dedupe_load: f64,
    /// Bytes read at a time.
    pub buffer_bytes: usize,
    /// Bytes read and written in a second.
    pub bytes_per_second: f64,
}

impl CleanerConfig {
    /// Resolves the settings over all layers, for one of `shards`.
    #[must_use]
    pub fn resolve(layers: Layers<'_>, shards: usize) -> Self {
        let share = |bytes: i64| usize::try_from(bytes).unwrap_or(0) / shards.max(1);
        let shards_real = u32::try_from(shards.max(1)).map_or(f64::MAX, f64::from);
        Self {
            enable: matches!(
                find(layers, "log.cleaner.enable"),
                Some(Value::Boolean(true))
            ),
            backoff: Duration::from_millis(
                u64::try_from(number(layers, "log.cleaner.backoff.ms")).unwrap_or(0),
            ),
            dedupe_bytes: share(number(layers, "log.cleaner.dedupe.buffer.size")),
            dedupe_load: real(layers, "log.cleaner.io.buffer.load.factor"),
            buffer_bytes: share(number(layers, "log.cleaner.io.buffer.size"))
                .clamp(BUFFER_BYTES_MIN, BUFFER_BYTES_MAX),
            bytes_per_second: real(layers, "log.cleaner.io.max.bytes.per.second") / shards_real,
        }
    }
}

fn find(layers: Layers<'_>, name: &str) -> Option<Value> {
    layers
        .value(broker_settings::find(name)?)
        .map(|(_, value)| value)
}

fn number(layers: Layers<'_>, name: &str) -> i64 {
    match find(layers, name) {
        Some(Value::Number(number)) => number,
        other => panic!("broker setting {name} is not a number: {other:?}"),
    }
}

fn real(layers: Layers<'_>, name: &str) -> f64 {
    match find(layers, name) {
        Some(Value::Real(real)) => real,
        other => panic!("broker setting {name} is not a real number: {other:?}"),
    }
}

/// Less makes a system call of every few batches; more holds up other work of the companion.
const BUFFER_BYTES_MIN: usize = 64 << 10;
const BUFFER_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests;
