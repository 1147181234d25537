//! **Owns** the reasons why a batch is refused.
//! **Lives on** any thread.
//! **Invariants** (1) One variant per row of Kafka's behaviour, so that the broker's code table is a plain match.
//! **Not here** Kafka's error numbers (`broker`'s one mapping file).

use crate::types::{Offset, Sequence, Timestamp, TopicPartition};

use super::{Codec, InflateError};

/// Why a batch was refused. Kafka's answer stands beside each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// No batch, or one cut short. `INVALID_RECORD`, before the append.
    #[error("there is no complete record batch")]
    Missing,
    /// `CORRUPT_MESSAGE`, before the append; the text is sent to the client.
    #[error("Record size {length} is less than the minimum record overhead (14)")]
    LengthBelowMinimum {
        /// The length field.
        length: i32,
    },
    /// `CORRUPT_MESSAGE`, before the append; the text is sent to the client.
    #[error("Invalid magic found in record: {magic}")]
    Magic {
        /// The magic found.
        magic: i8,
    },
    /// Magic 0 or 1. `INVALID_RECORD`, before the append.
    #[error("record format of magic {magic} is not supported, only 2 is")]
    OldMagic {
        /// The magic found.
        magic: i8,
    },
    /// A length field below the header of magic 2. `CORRUPT_MESSAGE`.
    #[error("a record batch of {size} bytes is smaller than its header")]
    BelowHeader {
        /// Bytes of the batch.
        size: usize,
    },
    /// `INVALID_RECORD`, before the append.
    #[error("more than one record batch for one partition")]
    MoreThanOne,
    /// zstd in a request before version 7. `UNSUPPORTED_COMPRESSION_TYPE`, before the append.
    #[error("zstd needs Produce version 7 or later")]
    ZstdTooEarly,
    /// `INVALID_RECORD`.
    #[error("the base offset of a produced batch is {0}, not 0")]
    BaseOffset(Offset),
    /// `MESSAGE_TOO_LARGE`, before the append.
    #[error("a record batch of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Bytes of the batch.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// `CORRUPT_MESSAGE`, before the append.
    #[error(
        "the record batch has CRC {stored:#010x} in its header, its bytes give {computed:#010x}"
    )]
    Crc {
        /// The header's CRC.
        stored: u32,
        /// The CRC of the bytes.
        computed: u32,
    },
    /// `UNKNOWN_SERVER_ERROR`.
    #[error("compression code {0} is unknown")]
    UnknownCodec(u8),
    /// Record count, last offset delta or base offset do not fit together. `INVALID_RECORD`.
    #[error("last offset delta {last_offset_delta} and {record_count} records do not fit together")]
    HeaderDisagrees {
        /// From the header.
        last_offset_delta: i32,
        /// From the header.
        record_count: i32,
    },
    /// `INVALID_RECORD`.
    #[error("clients are not allowed to write control records")]
    Control,
    /// A producer id without a sequence. `INVALID_RECORD`.
    #[error("sequence {0} in a batch with a producer id")]
    NoSequence(Sequence),
    /// The compressed records do not decompress. `UNKNOWN_SERVER_ERROR`.
    #[error("the records do not decompress: {0}")]
    Inflate(#[source] InflateError),
    /// The topic's codec does not take the records. `UNKNOWN_SERVER_ERROR`.
    #[error("the records do not compress with {0}: {1}")]
    Deflate(Codec, String),
    /// A record is malformed, or there are more or fewer of them than the header says. `INVALID_RECORD`.
    #[error("record {index} is malformed: {fault}")]
    Record {
        /// Index of the record in the batch.
        index: i32,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// Records that are well-formed but not allowed. `INVALID_TIMESTAMP` when one of them has a wrong timestamp,
    /// else `INVALID_RECORD`.
    #[error("{count} records are refused")]
    Records {
        /// How many.
        count: usize,
        /// The first of them, at most [`crate::limits::RECORD_ERRORS_MAX`], by index.
        errors: Vec<RecordError>,
    },
}

impl BatchError {
    /// Whether Kafka's answer carries the log start offset: it does for what is found after the append has begun.
    pub fn answers_log_start_offset(&self) -> bool {
        match self {
            Self::Missing
            | Self::LengthBelowMinimum { .. }
            | Self::Magic { .. }
            | Self::OldMagic { .. }
            | Self::BelowHeader { .. }
            | Self::MoreThanOne
            | Self::ZstdTooEarly
            | Self::TooLarge { .. }
            | Self::Crc { .. } => false,
            Self::BaseOffset(_)
            | Self::UnknownCodec(_)
            | Self::HeaderDisagrees { .. }
            | Self::Control
            | Self::NoSequence(_)
            | Self::Inflate(_)
            | Self::Deflate(..)
            | Self::Record { .. }
            | Self::Records { .. } => true,
        }
    }

    /// Whether a record's timestamp is among the reasons (`INVALID_TIMESTAMP` instead of `INVALID_RECORD`).
    pub fn is_timestamp(&self) -> bool {
        match self {
            Self::Records { errors, .. } => errors.iter().any(RecordError::is_timestamp),
            _ => false,
        }
    }

    /// The records to name in the answer (Produce version 8 and later): index and message.
    pub fn record_errors(&self, partition: &TopicPartition) -> Vec<(i32, String)> {
        match self {
            Self::Records { errors, .. } => errors
                .iter()
                .map(|error| (error.index(), error.message(partition)))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The error message that Kafka's answer carries, where it carries one.
    pub fn message(&self, partition: &TopicPartition) -> Option<String> {
        match self {
            Self::LengthBelowMinimum { .. } | Self::Magic { .. } => Some(self.to_string()),
            Self::Records { .. } if self.is_timestamp() => {
                Some("One or more records have been rejected due to invalid timestamp".to_owned())
            }
            Self::Records { count, errors } => {
                let shown: Vec<String> = errors
                    .iter()
                    .take(3)
                    .map(|error| {
                        let message = error.message(partition);
                        format!(
                            "RecordError(batchIndex={}, message='{message}')",
                            error.index()
                        )
                    })
                    .collect();
                Some(format!(
                    "One or more records have been rejected due to {count} record errors in total, and only \
                     showing the first three errors at most: [{}]",
                    shown.join(", ")
                ))
            }
            _ => None,
        }
    }
}

/// One record that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// A compacted topic needs keys.
    NoKey {
        /// Index of the record in the batch.
        index: i32,
    },
    /// The timestamp lies outside what the topic allows.
    Timestamp {
        /// Index of the record in the batch.
        index: i32,
        /// The record's timestamp.
        timestamp: Timestamp,
        /// Earliest allowed.
        from: Timestamp,
        /// Latest allowed.
        to: Timestamp,
    },
    /// The producer set the timestamp type to log append time.
    LogAppendTime {
        /// Index of the record in the batch.
        index: i32,
    },
    /// The record's offset delta is not one more than that of the record before.
    OffsetDelta {
        /// Index of the record in the batch.
        index: i32,
        /// The delta found.
        delta: i32,
    },
}

impl RecordError {
    /// Index of the record in the batch.
    pub fn index(&self) -> i32 {
        match *self {
            Self::NoKey { index }
            | Self::Timestamp { index, .. }
            | Self::LogAppendTime { index }
            | Self::OffsetDelta { index, .. } => index,
        }
    }

    /// Whether the fault is the timestamp.
    pub fn is_timestamp(&self) -> bool {
        matches!(self, Self::Timestamp { .. } | Self::LogAppendTime { .. })
    }

    /// The message for the client, Kafka's where clients or tests print it.
    pub fn message(&self, partition: &TopicPartition) -> String {
        match self {
            Self::NoKey { .. } => {
                format!(
                    "Compacted topic cannot accept message without key in topic partition {partition}"
                )
            }
            Self::Timestamp {
                index,
                timestamp,
                from,
                to,
            } => format!(
                "Timestamp {timestamp} of message with offset {index} is out of range. The timestamp should be \
                 within [{from}, {to}]"
            ),
            Self::LogAppendTime { index } => format!(
                "Invalid timestamp type in message with offset {index}. Producer should not set timestamp type to \
                 LogAppendTime."
            ),
            Self::OffsetDelta { index, delta } => format!(
                "Record with offset {delta} does not have incremental offsets, expected offset is {index} in topic \
                 partition {partition}."
            ),
        }
    }
}

/// What is wrong with the bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// The bytes end inside the record.
    #[error("the bytes end inside it")]
    Truncated,
    /// A varint has more bytes than its type can.
    #[error("a number is longer than it can be")]
    Varint,
    /// The length of the record, a key, a value or a header is negative where that means nothing, or the parts of the
    /// record do not add up to its length.
    #[error("its lengths do not add up")]
    Length,
    /// A negative count of headers, or more than the record has bytes.
    #[error("its count of headers is wrong")]
    HeaderCount,
    /// Bytes are left after the last record that the header counts.
    #[error("bytes are left after the last record")]
    Surplus,
}
