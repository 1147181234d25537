//! **Owns** bringing a produced batch into the codec of its topic (`compression.type`).
//! **Lives on** any thread: small batches where they were received, large ones on the companion.
//! **Invariants** (1) The records' bytes stay as the producer wrote them; only what surrounds them changes: codec, length,
//! CRC, and what the topic says of timestamps. Offsets, sequences and flags are the producer's. (2) Every record was seen to
//! be whole and allowed. (3) What is inflated and what is returned are both bounded by the rules.
//! **Not here** batches whose codec is the topic's already: they are never written anew, whatever their level
//! ([`super::validate`]).

use std::borrow::Cow;

use bytes::Bytes;

use super::compress::{Deflate, inflate};
use super::validate::{check_frame, check_records};
use super::{
    Attributes, BATCH_HEADER_SIZE, BATCH_LENGTH_OVERHEAD, Batch, BatchError, BatchRules, CRC_FROM,
    Codec, Compression, InflateError, TimestampType, field,
};
use crate::types::Timestamp;

/// Whether the first batch of `bytes` must be brought into another codec: then [`Transcoder::validate`] is to check it.
/// Looks at the attributes only; bytes that are no batch need nothing.
#[inline]
pub fn transcodes(bytes: &[u8], to: Codec) -> bool {
    let Some(front) = bytes.first_chunk::<{ CRC_FROM + 2 }>() else {
        return false;
    };
    let attributes = Attributes(i16::from_be_bytes(field(front, CRC_FROM)));
    attributes.codec().is_some_and(|codec| codec != to)
}

/// Compresses batches anew, keeping what the codecs want to keep between them.
pub struct Transcoder {
    deflate: Deflate,
}

impl Default for Transcoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Transcoder {
    /// One that has kept nothing yet.
    pub fn new() -> Self {
        Self {
            deflate: Deflate::new(),
        }
    }

    /// Checks what a client sent as [`super::validate`] does with [`super::Inspect::Always`], and gives it the codec `to`.
    /// The limit on a batch's size is checked before and, as Kafka does, after. Costs what the codecs cost.
    pub fn validate(
        &mut self,
        bytes: Bytes,
        rules: &BatchRules,
        to: Compression,
        now: Timestamp,
    ) -> Result<Batch, BatchError> {
        let (batch, codec) = check_frame(bytes, rules)?;
        let mut header = batch.header;
        let body = &batch.bytes[BATCH_HEADER_SIZE..];
        let records = if codec == Codec::None {
            Cow::Borrowed(body)
        } else {
            Cow::Owned(inflate_within(codec, body, rules, to)?)
        };
        let max_timestamp = check_records(Codec::None, &records, &header, rules, now)?;
        let mut whole = Vec::with_capacity(BATCH_HEADER_SIZE + records.len() / EXPECTED_RATIO);
        whole.resize(BATCH_HEADER_SIZE, 0);
        self.deflate
            .append(to, &records, &mut whole)
            .map_err(|error| BatchError::Deflate(to.codec, error.to_string()))?;
        if whole.len() > rules.batch_bytes_max {
            return Err(BatchError::TooLarge {
                size: whole.len(),
                limit: rules.batch_bytes_max,
            });
        }
        let kind = rules.timestamps.kind;
        header.attributes = header
            .attributes
            .with_codec(to.codec)
            .with_timestamp_type(kind);
        header.max_timestamp = match kind {
            TimestampType::CreateTime => max_timestamp,
            TimestampType::LogAppendTime => now,
        };
        // At most `max.message.bytes`, which is an i32.
        header.length = i32::try_from(whole.len() - BATCH_LENGTH_OVERHEAD).unwrap_or(i32::MAX);
        whole[..BATCH_HEADER_SIZE].copy_from_slice(&header.encode());
        header.crc = crc32c::crc32c(&whole[CRC_FROM..]);
        whole[..BATCH_HEADER_SIZE].copy_from_slice(&header.encode());
        Ok(Batch {
            header,
            bytes: whole.into(),
        })
    }
}

/// The records, inflated. Where they are to stay so, more than a batch may have need not be inflated.
fn inflate_within(
    codec: Codec,
    body: &[u8],
    rules: &BatchRules,
    to: Compression,
) -> Result<Vec<u8>, BatchError> {
    let whole_max = rules.batch_bytes_max.saturating_sub(BATCH_HEADER_SIZE);
    let stays = to.codec == Codec::None && whole_max < rules.inflated_bytes_max;
    let bytes_max = if stays {
        whole_max
    } else {
        rules.inflated_bytes_max
    };
    inflate(codec, body, bytes_max).map_err(|error| match error {
        InflateError::TooLarge { limit } if stays => BatchError::TooLarge {
            size: BATCH_HEADER_SIZE + limit + 1,
            limit: rules.batch_bytes_max,
        },
        other => BatchError::Inflate(other),
    })
}

/// A guess at what comes out, for the first allocation only.
const EXPECTED_RATIO: usize = 2;

#[cfg(test)]
mod tests;
