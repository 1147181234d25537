//! **Owns** what a producing client's batch must be, in Kafka's order of checks.
//! **Lives on** the shard that owns the partition; with `inner: Always` a large compressed batch costs its inflation.
//! **Invariants** (1) What passes is one batch whose every record was seen to be whole, unless it is compressed and the
//! rules say not to look. (2) The first fault in Kafka's order is the one reported.
//! **Not here** sequence checks (`producer`), offsets (`log`), what leaders send to followers ([`UncheckedBatch::check`]).

use bytes::Bytes;

use super::compress::looks_like;
use super::records::{Step, Stop, walk, walk_compressed};
use super::{
    BATCH_HEADER_SIZE, Batch, BatchError, Codec, Header, InflateError, RecordError, TimestampType,
    UncheckedBatch,
};
use crate::limits::{INFLATED_BYTES_MAX, RECORD_ERRORS_MAX};
use crate::types::Timestamp;

/// What a topic and a request's version allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRules {
    /// `max.message.bytes`, of a whole batch.
    pub batch_bytes_max: usize,
    /// Whether zstd is known to the request: from Produce version 7 on.
    pub zstd: bool,
    /// Whether every record needs a key: `cleanup.policy` has `compact`.
    pub compacted: bool,
    /// The topic's timestamps.
    pub timestamps: TimestampRules,
    /// Whether to look into compressed batches.
    pub inner: Inspect,
    /// Bytes that a compressed batch may inflate to.
    pub inflated_bytes_max: usize,
}

impl Default for BatchRules {
    /// Kafka's default topic, and any codec.
    fn default() -> Self {
        Self {
            batch_bytes_max: 1_048_588,
            zstd: true,
            compacted: false,
            timestamps: TimestampRules::default(),
            inner: Inspect::Always,
            inflated_bytes_max: INFLATED_BYTES_MAX,
        }
    }
}

/// A topic's timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampRules {
    /// `message.timestamp.type`.
    pub kind: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub before_ms_max: i64,
    /// `message.timestamp.after.max.ms`.
    pub after_ms_max: i64,
}

impl Default for TimestampRules {
    fn default() -> Self {
        Self {
            kind: TimestampType::CreateTime,
            before_ms_max: i64::MAX,
            after_ms_max: 3_600_000,
        }
    }
}

impl TimestampRules {
    /// Whether a record may have this timestamp at `now`. None (-1) always may.
    #[inline]
    fn allow(&self, timestamp: Timestamp, now: Timestamp) -> bool {
        let age = now.0.saturating_sub(timestamp.0);
        timestamp == Timestamp::NONE
            || (age <= self.before_ms_max && age.saturating_neg() <= self.after_ms_max)
    }

    fn error(&self, index: i32, timestamp: Timestamp, now: Timestamp) -> RecordError {
        RecordError::Timestamp {
            index,
            timestamp,
            from: Timestamp(now.0.wrapping_sub(self.before_ms_max)),
            to: Timestamp(now.0.wrapping_add(self.after_ms_max)),
        }
    }
}

/// Whether compressed batches are looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inspect {
    /// Only where the rules cannot be kept otherwise: keys of compacted topics, or when the header's timestamps are out of
    /// range (then to name the records). Else the header is believed and the data is only seen to begin as its codec does.
    Never,
    /// Every record, as Kafka does.
    #[default]
    Always,
}

/// Checks the record set that a client sent for one partition. What follows the batch is ignored as long as it is not
/// another one. The result's header has the topic's timestamp type and the true max timestamp.
// HOT: 0 alloc, 0 copy (uncompressed, or not looked into)
pub fn validate(bytes: Bytes, rules: &BatchRules, now: Timestamp) -> Result<Batch, BatchError> {
    let (batch, codec) = check_frame(bytes, rules)?;
    let header = batch.header;
    let body = &batch.bytes[BATCH_HEADER_SIZE..];
    let look = codec == Codec::None
        || rules.inner == Inspect::Always
        || rules.compacted
        || header.attributes.timestamp_type() == TimestampType::LogAppendTime
        || (rules.timestamps.kind == TimestampType::CreateTime
            && !header_times_allowed(&header, rules, now));
    let max_timestamp = if look {
        check_records(codec, body, &header, rules, now)?
    } else if looks_like(codec, body) {
        header.max_timestamp
    } else {
        let reason = "its first bytes are not the codec's".to_owned();
        return Err(BatchError::Inflate(InflateError::Corrupt { codec, reason }));
    };
    let mut batch = Batch {
        header,
        bytes: batch.bytes,
    };
    let max_timestamp = match rules.timestamps.kind {
        TimestampType::CreateTime => max_timestamp,
        TimestampType::LogAppendTime => now,
    };
    if header.max_timestamp != max_timestamp
        || header.attributes.timestamp_type() != rules.timestamps.kind
    {
        batch.set_times(rules.timestamps.kind, max_timestamp);
    }
    Ok(batch)
}

/// Everything but the records.
#[inline]
pub(super) fn check_frame(
    bytes: Bytes,
    rules: &BatchRules,
) -> Result<(UncheckedBatch, Codec), BatchError> {
    let batch = only_batch(bytes, rules)?;
    let header = &batch.header;
    if header.base_offset.0 != 0 {
        return Err(BatchError::BaseOffset(header.base_offset));
    }
    if batch.size() > rules.batch_bytes_max {
        return Err(BatchError::TooLarge {
            size: batch.size(),
            limit: rules.batch_bytes_max,
        });
    }
    batch.check_crc()?;
    let codec = check_header(header)?;
    Ok((batch, codec))
}

/// The checks that Kafka makes of the request, before it looks for the log.
fn only_batch(mut bytes: Bytes, rules: &BatchRules) -> Result<UncheckedBatch, BatchError> {
    let batch = UncheckedBatch::take(&mut bytes)?.ok_or(BatchError::Missing)?;
    if !rules.zstd && batch.header.attributes.codec() == Some(Codec::Zstd) {
        return Err(BatchError::ZstdTooEarly);
    }
    match UncheckedBatch::take(&mut bytes) {
        Ok(None) => Ok(batch),
        Ok(Some(_)) | Err(BatchError::OldMagic { .. } | BatchError::BelowHeader { .. }) => {
            Err(BatchError::MoreThanOne)
        }
        Err(other) => Err(other),
    }
}

fn check_header(header: &Header) -> Result<Codec, BatchError> {
    let attributes = header.attributes;
    let codec = attributes
        .codec()
        .ok_or(BatchError::UnknownCodec(attributes.codec_id()))?;
    let (delta, count) = (header.last_offset_delta, header.record_count);
    if count <= 0 || i64::from(delta) + 1 != i64::from(count) {
        return Err(BatchError::HeaderDisagrees {
            last_offset_delta: delta,
            record_count: count,
        });
    }
    if attributes.is_control() {
        return Err(BatchError::Control);
    }
    if header.has_producer() && header.base_sequence.is_none() {
        return Err(BatchError::NoSequence(header.base_sequence));
    }
    Ok(codec)
}

fn header_times_allowed(header: &Header, rules: &BatchRules, now: Timestamp) -> bool {
    // The base timestamp is the first record's, not the least one's, but of what the header says it is the best guess.
    rules.timestamps.allow(header.max_timestamp, now)
        && rules.timestamps.allow(header.base_timestamp, now)
}

/// Walks over the records; the largest timestamp among them.
pub(super) fn check_records(
    codec: Codec,
    body: &[u8],
    header: &Header,
    rules: &BatchRules,
    now: Timestamp,
) -> Result<Timestamp, BatchError> {
    let mut check = RecordCheck::new(header, rules, now);
    let walked = if codec == Codec::None {
        walk(body, header.record_count, |index, step| {
            check.see(index, step);
        })
    } else {
        let bytes_max = rules.inflated_bytes_max;
        walk_compressed(
            codec,
            body,
            header.record_count,
            bytes_max,
            |index, step| check.see(index, step),
        )
    };
    match walked {
        Ok(()) if check.count == 0 => Ok(check.max_timestamp),
        Ok(()) => Err(BatchError::Records {
            count: check.count,
            errors: check.errors,
        }),
        Err(Stop::Fault { index, fault }) => Err(BatchError::Record { index, fault }),
        Err(Stop::Inflate(error)) => Err(BatchError::Inflate(error)),
    }
}

struct RecordCheck<'a> {
    header: &'a Header,
    rules: &'a BatchRules,
    now: Timestamp,
    stamped_by_broker: bool,
    /// What lies in this range is allowed at once; `refuse` looks closer at the rest.
    earliest: Timestamp,
    latest: Timestamp,
    max_timestamp: Timestamp,
    count: usize,
    errors: Vec<RecordError>,
}

impl<'a> RecordCheck<'a> {
    fn new(header: &'a Header, rules: &'a BatchRules, now: Timestamp) -> Self {
        let stamped_by_broker = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
        let times = &rules.timestamps;
        let (earliest, latest) = match times.kind {
            TimestampType::CreateTime => (
                now.0.saturating_sub(times.before_ms_max),
                now.0.saturating_add(times.after_ms_max),
            ),
            TimestampType::LogAppendTime if stamped_by_broker => (i64::MAX, i64::MIN),
            TimestampType::LogAppendTime => (i64::MIN, i64::MAX),
        };
        // With none (-1) in range, a batch that claims the broker's stamp would slip through.
        let latest = if stamped_by_broker && header.max_timestamp == Timestamp::NONE {
            i64::MIN
        } else {
            latest
        };
        Self {
            header,
            rules,
            now,
            stamped_by_broker,
            earliest: Timestamp(earliest),
            latest: Timestamp(latest),
            max_timestamp: Timestamp::NONE,
            count: 0,
            errors: Vec::new(),
        }
    }

    #[inline]
    fn see(&mut self, index: i32, step: Step) {
        let timestamp = if self.stamped_by_broker {
            self.header.max_timestamp
        } else {
            Timestamp(
                self.header
                    .base_timestamp
                    .0
                    .wrapping_add(step.timestamp_delta),
            )
        };
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let in_time = timestamp >= self.earliest && timestamp <= self.latest;
        let fits = step.offset_delta == index && (step.has_key || !self.rules.compacted) && in_time;
        if !fits {
            self.refuse(index, step, timestamp);
        }
    }

    #[cold]
    fn refuse(&mut self, index: i32, step: Step, timestamp: Timestamp) {
        let error = if step.offset_delta != index {
            RecordError::OffsetDelta {
                index,
                delta: step.offset_delta,
            }
        } else if !step.has_key && self.rules.compacted {
            RecordError::NoKey { index }
        } else if timestamp == Timestamp::NONE && !self.stamped_by_broker {
            return;
        } else if self.rules.timestamps.kind == TimestampType::CreateTime
            && timestamp != Timestamp::NONE
        {
            self.rules.timestamps.error(index, timestamp, self.now)
        } else {
            RecordError::LogAppendTime { index }
        };
        self.count += 1;
        if self.errors.len() < RECORD_ERRORS_MAX {
            self.errors.push(error);
        }
    }
}

#[cfg(test)]
mod tests;
