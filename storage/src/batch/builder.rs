//! **Owns** making batches out of records.
//! **Lives on** any thread; one builder is reused for many batches.
//! **Invariants** (1) Records are written straight into the buffer that becomes the batch: no allocation per record, and
//! without compression no copy after it. (2) What [`BatchBuilder::finish`] returns passes every check.
//! **Not here** when a batch is full (`tools`' producer, coordinators).

use std::io;

use super::compress::Deflate;
use super::varint::Numbers;
use super::{
    Attributes, Batch, Codec, Compression, Header, MAGIC, RecordHeader, TimestampType, put_varint,
    put_varlong, varint_size, varlong_size,
};
use crate::limits::{BATCH_HEADER_SIZE, BATCH_LENGTH_OVERHEAD, VARINT_SIZE_MAX};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Everything about a batch but its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// Offset of the first record; 0 from a producer.
    pub base_offset: Offset,
    /// Epoch of the appending leader; none from a producer.
    pub leader_epoch: LeaderEpoch,
    /// Codec and level.
    pub compression: Compression,
    /// Who sets the timestamps. With log append time the largest appended timestamp is the append's.
    pub timestamp_type: TimestampType,
    /// Idempotent producer, or none.
    pub producer_id: ProducerId,
    /// Its epoch, or none.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record, or none.
    pub base_sequence: Sequence,
    /// Part of a transaction.
    pub transactional: bool,
    /// Control records.
    pub control: bool,
    /// Set by compaction: when tombstones and markers of the batch may go.
    pub delete_horizon: Option<Timestamp>,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::NONE,
            compression: Compression::default(),
            timestamp_type: TimestampType::CreateTime,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
            transactional: false,
            control: false,
            delete_horizon: None,
        }
    }
}

/// Collects records into a batch.
pub struct BatchBuilder {
    options: BatchOptions,
    /// Room for the header, then the records as they are before compression.
    buffer: Vec<u8>,
    count: i32,
    last_offset_delta: i32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    deflate: Deflate,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new(options: BatchOptions) -> Self {
        Self::with_buffer(options, Vec::new())
    }

    /// An empty batch that will fill `buffer` (whatever it holds is dropped).
    pub fn with_buffer(options: BatchOptions, buffer: Vec<u8>) -> Self {
        let mut builder = Self {
            options,
            buffer,
            count: 0,
            last_offset_delta: -1,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            deflate: Deflate::new(),
        };
        builder.reset(options);
        builder
    }

    /// Drops what is collected and begins another batch.
    pub fn reset(&mut self, options: BatchOptions) {
        self.options = options;
        self.buffer.clear();
        self.buffer.resize(BATCH_HEADER_SIZE, 0);
        self.count = 0;
        self.last_offset_delta = -1;
        self.base_timestamp = options.delete_horizon.unwrap_or(Timestamp::NONE);
        self.max_timestamp = Timestamp::NONE;
    }

    /// Records so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far, before compression.
    pub fn size(&self) -> usize {
        self.buffer.len()
    }

    /// The options, to change those that are known only at the end (producer id, sequence).
    pub fn options_mut(&mut self) -> &mut BatchOptions {
        &mut self.options
    }

    /// Appends a record at the next offset.
    // HOT: 0 alloc beyond the buffer's growth, 1 copy
    pub fn append(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader<'_>],
    ) -> Result<(), BuildError> {
        let delta = self
            .last_offset_delta
            .checked_add(1)
            .ok_or(BuildError::TooLarge)?;
        self.append_at(delta, timestamp, key, value, headers)
    }

    /// Appends a record `offset_delta` after the base offset, which must be beyond the record before: compaction leaves
    /// gaps.
    pub fn append_at(
        &mut self,
        offset_delta: i32,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader<'_>],
    ) -> Result<(), BuildError> {
        if offset_delta <= self.last_offset_delta {
            return Err(BuildError::OffsetsOutOfOrder);
        }
        if self.count == 0 && self.options.delete_horizon.is_none() {
            self.base_timestamp = timestamp;
        }
        let timestamp_delta = timestamp.0.wrapping_sub(self.base_timestamp.0);
        let mut size = 1 + varlong_size(timestamp_delta) + varint_size(offset_delta);
        size += part_size(key)? + part_size(value)? + varint_size(length(headers.len())?);
        for header in headers {
            size += part_size(Some(header.key))? + part_size(header.value)?;
        }
        let total = self.buffer.len() + size;
        if total > BATCH_SIZE_MAX {
            return Err(BuildError::TooLarge);
        }
        let to = &mut self.buffer;
        // Up to 5 + 1 + 10 + 5 + 5 bytes.
        let mut front = Numbers::new();
        front.push(i64::from(length(size)?));
        front.byte(0);
        front.push(timestamp_delta);
        front.push(i64::from(offset_delta));
        front.push(part_length(key)?);
        to.reserve(size + VARINT_SIZE_MAX);
        to.extend_from_slice(front.as_slice());
        to.extend_from_slice(key.unwrap_or_default());
        put_varlong(to, part_length(value)?);
        to.extend_from_slice(value.unwrap_or_default());
        put_varint(to, length(headers.len())?);
        for header in headers {
            put_part(to, Some(header.key))?;
            put_part(to, header.value)?;
        }
        self.last_offset_delta = offset_delta;
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        Ok(())
    }

    /// Keeps what compaction must of the batch that it thins: the last offset, and when no record is left the max
    /// timestamp.
    pub fn stand_for(&mut self, last_offset_delta: i32, max_timestamp: Timestamp) {
        self.last_offset_delta = self.last_offset_delta.max(last_offset_delta);
        if self.count == 0 {
            self.max_timestamp = max_timestamp;
        }
    }

    /// The batch. The builder is empty afterwards, with the same options. Without a record it fails, unless
    /// [`BatchBuilder::stand_for`] said which offsets the empty batch stands for.
    pub fn finish(&mut self) -> Result<Batch, BuildError> {
        if self.last_offset_delta < 0 {
            return Err(BuildError::Empty);
        }
        let options = self.options;
        let mut whole = if options.compression.codec == Codec::None || self.count == 0 {
            // A batch like the one before is likely to follow: begin with a buffer as large. Exactly as large would be
            // copied once more for the room that the last record asks for and does not need.
            let next = Vec::with_capacity(self.buffer.len() + 2 * VARINT_SIZE_MAX);
            std::mem::replace(&mut self.buffer, next)
        } else {
            let mut out = Vec::with_capacity(self.buffer.len() / 2 + 2 * BATCH_HEADER_SIZE);
            out.resize(BATCH_HEADER_SIZE, 0);
            let records = &self.buffer[BATCH_HEADER_SIZE..];
            self.deflate
                .append(options.compression, records, &mut out)
                .map_err(BuildError::Compress)?;
            out
        };
        if whole.len() > BATCH_SIZE_MAX {
            return Err(BuildError::TooLarge);
        }
        let codec = if self.count == 0 {
            Codec::None
        } else {
            options.compression.codec
        };
        let attributes = Attributes::default()
            .with_codec(codec)
            .with_timestamp_type(options.timestamp_type)
            .with_transactional(options.transactional)
            .with_control(options.control)
            .with_delete_horizon(options.delete_horizon.is_some());
        let mut header = Header {
            base_offset: options.base_offset,
            length: length(whole.len() - BATCH_LENGTH_OVERHEAD)?,
            leader_epoch: options.leader_epoch,
            magic: MAGIC,
            crc: 0,
            attributes,
            last_offset_delta: self.last_offset_delta,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: options.producer_id,
            producer_epoch: options.producer_epoch,
            base_sequence: options.base_sequence,
            record_count: self.count,
        };
        whole[..BATCH_HEADER_SIZE].copy_from_slice(&header.encode());
        header.crc = crc32c::crc32c(&whole[super::CRC_FROM..]);
        whole[..BATCH_HEADER_SIZE].copy_from_slice(&header.encode());
        self.reset(options);
        Ok(Batch {
            header,
            bytes: whole.into(),
        })
    }
}

/// Why a batch cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It has no record.
    #[error("a batch needs a record")]
    Empty,
    /// It would be larger than a batch can say (2 GiB), or have too many records.
    #[error("the batch would be too large")]
    TooLarge,
    /// A record's offset is not beyond that of the record before.
    #[error("the offsets of the records do not ascend")]
    OffsetsOutOfOrder,
    /// The codec failed.
    #[error("the records do not compress")]
    Compress(#[source] io::Error),
}

fn length(of: usize) -> Result<i32, BuildError> {
    i32::try_from(of).map_err(|_| BuildError::TooLarge)
}

fn part_size(part: Option<&[u8]>) -> Result<usize, BuildError> {
    match part {
        None => Ok(varint_size(-1)),
        Some(part) => Ok(varint_size(length(part.len())?) + part.len()),
    }
}

fn part_length(part: Option<&[u8]>) -> Result<i64, BuildError> {
    part.map_or(Ok(-1), |part| length(part.len()).map(i64::from))
}

fn put_part(to: &mut Vec<u8>, part: Option<&[u8]>) -> Result<(), BuildError> {
    match part {
        None => put_varint(to, -1),
        Some(part) => {
            put_varint(to, length(part.len())?);
            to.extend_from_slice(part);
        }
    }
    Ok(())
}

/// What the length field can say, less some room so that sizes computed beforehand cannot overflow it.
const BATCH_SIZE_MAX: usize = i32::MAX as usize - 64;
