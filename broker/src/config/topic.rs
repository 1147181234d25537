//! A topic's settings, resolved and checked.
//!
//! **Owns** precedence (topic, then the layers of `layers`, units converted) and the struct that
//! storage and produce checks use.
//! **Lives on** every shard, shared by `Arc` per topic.
//! **Invariants**: a stored value that no longer parses falls through to the next layer: a log that
//! exists must stay usable.
//! **Not here**: which values may be stored (`alter`).

use corelog_storage::batch::{self, BatchRules, Codec, TimestampRules, TimestampType};
use corelog_storage::compaction::CompactionRules;
use corelog_storage::log::LogSettings;

use super::layers::{ConfigMap, Layers, Source};
use super::setting::{Setting, Value};
use super::topic_settings;

/// Codec of a topic's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Whatever the producer sent.
    Producer,
    /// None.
    Uncompressed,
    /// Gzip; -1 is the library's own level.
    Gzip(i32),
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4(i32),
    /// Zstandard.
    Zstd(i32),
}

/// What the settings of one topic mean. Times are milliseconds, sizes bytes; `None` is "no limit".
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy` has `compact`.
    pub compact: bool,
    /// `cleanup.policy` has `delete`.
    pub delete: bool,
    /// `compression.type` with its level.
    pub compression: Compression,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `flush.messages`.
    pub flush_messages: i64,
    /// `flush.ms`.
    pub flush_ms: i64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: i32,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `max.message.bytes`.
    pub max_message_bytes: i32,
    /// `message.timestamp.after.max.ms`.
    pub message_timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.type`.
    pub message_timestamp_type: TimestampType,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `preallocate`.
    pub preallocate: bool,
    /// `retention.bytes`.
    pub retention_bytes: Option<i64>,
    /// `retention.ms`.
    pub retention_ms: Option<i64>,
    /// `segment.bytes` (or `internal.segment.bytes`).
    pub segment_bytes: i32,
    /// `segment.index.bytes`.
    pub segment_index_bytes: i32,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `unclean.leader.election.enable`.
    pub unclean_leader_election_enable: bool,
}

impl TopicConfig {
    /// Resolves a topic's settings over all layers.
    #[must_use]
    pub fn resolve(topic: Option<&ConfigMap>, layers: Layers<'_>) -> Self {
        let values = Resolved { topic, layers };
        let policy = values.list("cleanup.policy");
        let has = |word: &str| policy.iter().any(|element| element == word);
        let limit = |number: i64| (number >= 0).then_some(number);
        Self {
            compact: has("compact"),
            delete: has("delete"),
            compression: values.compression(),
            delete_retention_ms: values.number("delete.retention.ms"),
            file_delete_delay_ms: values.number("file.delete.delay.ms"),
            flush_messages: values.number("flush.messages"),
            flush_ms: values.number("flush.ms"),
            index_interval_bytes: values.int("index.interval.bytes"),
            max_compaction_lag_ms: values.number("max.compaction.lag.ms"),
            max_message_bytes: values.int("max.message.bytes"),
            message_timestamp_after_max_ms: values.number("message.timestamp.after.max.ms"),
            message_timestamp_before_max_ms: values.number("message.timestamp.before.max.ms"),
            message_timestamp_type: match values.text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_cleanable_dirty_ratio: values.real("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: values.number("min.compaction.lag.ms"),
            min_insync_replicas: values.int("min.insync.replicas"),
            preallocate: values.flag("preallocate"),
            retention_bytes: limit(values.number("retention.bytes")),
            retention_ms: limit(values.number("retention.ms")),
            segment_bytes: values.segment_bytes(),
            segment_index_bytes: values.int("segment.index.bytes"),
            segment_jitter_ms: values.number("segment.jitter.ms"),
            segment_ms: values.number("segment.ms"),
            unclean_leader_election_enable: values.flag("unclean.leader.election.enable"),
        }
    }
}

impl Compression {
    /// What the broker compresses with; `None` keeps the producer's batches as they are.
    #[must_use]
    pub fn target(self) -> Option<batch::Compression> {
        let with = |codec, level| Some(batch::Compression { codec, level });
        match self {
            Self::Producer => None,
            Self::Uncompressed => with(Codec::None, None),
            // -1 is gzip's own default.
            Self::Gzip(level) => with(Codec::Gzip, Some(level).filter(|level| *level > 0)),
            Self::Snappy => with(Codec::Snappy, None),
            Self::Lz4(level) => with(Codec::Lz4, Some(level)),
            Self::Zstd(level) => with(Codec::Zstd, Some(level)),
        }
    }
}

impl TopicConfig {
    /// What a log of this topic goes by.
    #[must_use]
    pub fn log_settings(&self, producer_id_expiration_ms: i64) -> LogSettings {
        LogSettings {
            segment_bytes: self.segment_bytes.unsigned_abs(),
            segment_ms: if self.compact {
                // Only sealed segments are compacted: none may stay open for longer than its records may wait.
                self.segment_ms.min(self.max_compaction_lag_ms.max(1))
            } else {
                self.segment_ms
            },
            segment_jitter_ms: self.segment_jitter_ms,
            segment_index_bytes: self.segment_index_bytes.unsigned_abs(),
            index_interval_bytes: self.index_interval_bytes.unsigned_abs(),
            retention_bytes: self.retention_bytes.map(i64::unsigned_abs),
            retention_ms: self.retention_ms,
            delete: self.delete,
            producer_id_expiration_ms,
            flush_messages: self.flush_messages,
            flush_ms: self.flush_ms,
        }
    }

    /// When a log of this topic is compacted.
    #[must_use]
    pub fn compaction_rules(&self) -> CompactionRules {
        CompactionRules {
            min_dirty_ratio: self.min_cleanable_dirty_ratio,
            min_lag_ms: self.min_compaction_lag_ms,
            max_lag_ms: self.max_compaction_lag_ms,
        }
    }

    /// What a produced batch must satisfy. Whether zstd is known depends on the request's version.
    #[must_use]
    pub fn batch_rules(&self, zstd: bool) -> BatchRules {
        BatchRules {
            batch_bytes_max: usize::try_from(self.max_message_bytes).unwrap_or(0),
            zstd,
            compacted: self.compact,
            timestamps: TimestampRules {
                kind: self.message_timestamp_type,
                before_ms_max: self.message_timestamp_before_max_ms,
                after_ms_max: self.message_timestamp_after_max_ms,
            },
            ..BatchRules::default()
        }
    }
}

/// The value in force of one topic setting and where it comes from; `None` only for a setting
/// without a default that nobody set.
#[must_use]
pub fn effective(
    row: &Setting,
    topic: Option<&ConfigMap>,
    layers: Layers<'_>,
) -> Option<(Source, Value)> {
    let own = topic
        .and_then(|map| map.get(row.name))
        .and_then(|text| row.parse(text).ok())
        .map(|value| (Source::DynamicTopic, value));
    own.or_else(|| layers.first_of(row.synonyms))
        .or_else(|| Some((Source::Default, row.parse(row.default_text()?).ok()?)))
}

/// Typed access; the table guarantees the types.
struct Resolved<'a> {
    topic: Option<&'a ConfigMap>,
    layers: Layers<'a>,
}

impl Resolved<'_> {
    fn find(&self, name: &str) -> Option<Value> {
        let row = topic_settings::find_topic(name)?;
        effective(row, self.topic, self.layers).map(|(_, value)| value)
    }

    fn number(&self, name: &str) -> i64 {
        match self.find(name) {
            Some(Value::Number(number)) => number,
            other => panic!("topic setting {name} is not a number: {other:?}"),
        }
    }

    fn int(&self, name: &str) -> i32 {
        i32::try_from(self.number(name)).unwrap_or(i32::MAX)
    }

    fn real(&self, name: &str) -> f64 {
        match self.find(name) {
            Some(Value::Real(real)) => real,
            other => panic!("topic setting {name} is not a real number: {other:?}"),
        }
    }

    fn flag(&self, name: &str) -> bool {
        match self.find(name) {
            Some(Value::Boolean(flag)) => flag,
            other => panic!("topic setting {name} is not a flag: {other:?}"),
        }
    }

    fn text(&self, name: &str) -> String {
        match self.find(name) {
            Some(Value::Text(text)) => text,
            other => panic!("topic setting {name} is not a text: {other:?}"),
        }
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.find(name) {
            Some(Value::List(list)) => list,
            other => panic!("topic setting {name} is not a list: {other:?}"),
        }
    }

    fn compression(&self) -> Compression {
        match self.text("compression.type").as_str() {
            "uncompressed" => Compression::Uncompressed,
            "gzip" => Compression::Gzip(self.int("compression.gzip.level")),
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4(self.int("compression.lz4.level")),
            "zstd" => Compression::Zstd(self.int("compression.zstd.level")),
            _ => Compression::Producer,
        }
    }

    fn segment_bytes(&self) -> i32 {
        match self.find("internal.segment.bytes") {
            Some(Value::Number(bytes)) => i32::try_from(bytes).unwrap_or(i32::MAX),
            _ => self.int("segment.bytes"),
        }
    }
}
