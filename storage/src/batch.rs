//! **Owns** the record batch (magic 2): its header, its checks, its records, its making. First a disk format; the wire
//! carries the same bytes.
//! **Lives on** any thread: plain values over [`Bytes`].
//! **Invariants** (1) A [`Batch`] has passed a check: its length, magic and CRC are right, its header fits together.
//! (2) Record bytes are never changed and never copied here; what the broker assigns (base offset, leader epoch,
//! timestamp type, max timestamp) changes in the parsed [`Header`], and [`Batch::head`] prints it anew.
//! **Not here** offset assignment and producer state (`log`, `producer`), formats of magic 0 and 1 (refused).
//!
//! ```text
//!  0        8      12             16    17   21         23               27            35           43
//!  +--------+------+--------------+-----+----+----------+----------------+-------------+------------+----
//!  | base   |length| leader epoch |magic|CRC | attri-   | last offset    | base        | max        |
//!  | offset |      | of partition | = 2 |-32C| butes    | delta          | timestamp   | timestamp  |
//!  +--------+------+--------------+-----+----+----------+----------------+-------------+------------+----
//!  43            51         53          57       61
//!  +-------------+----------+-----------+--------+----------------------------------------------
//!  | producer id | producer | base      | record | records, compressed as the attributes say
//!  |             | epoch    | sequence  | count  |
//!  +-------------+----------+-----------+--------+----------------------------------------------
//! ```
//! All big-endian. `length` counts from byte 12 to the end. The CRC covers byte 21 to the end, so base offset and
//! leader epoch can be assigned without touching it.

mod builder;
mod compress;
mod control;
mod error;
mod records;
mod transcode;
mod validate;
mod varint;

use bytes::Bytes;

pub use builder::{BatchBuilder, BatchOptions, BuildError};
pub use compress::{Codec, Compression, InflateError};
pub use control::{ControlKey, ControlKind, EndTransactionMarker, control_batch};
pub use error::{BatchError, RecordError, RecordFault};
pub use records::{Header as RecordHeader, Headers, Payload, Record, Records};
pub use transcode::{Transcoder, transcodes};
pub use validate::{BatchRules, Inspect, TimestampRules, validate};
pub use varint::{put_varint, put_varlong, varint, varint_size, varlong, varlong_size};

use crate::limits::{BATCH_HEADER_SIZE, BATCH_LENGTH_MIN, BATCH_LENGTH_OVERHEAD};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// The header of a batch, parsed. Nothing about it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first record (before compaction took any).
    pub base_offset: Offset,
    /// Bytes of the batch from byte 12 on.
    pub length: i32,
    /// Epoch of the leader that appended the batch.
    pub leader_epoch: LeaderEpoch,
    /// Format version, 2 in every [`Batch`].
    pub magic: i8,
    /// CRC-32C of byte 21 to the end.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// Offset of the last record less the base offset; stays when compaction takes the last record.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas count from; with [`Attributes::has_delete_horizon`] also the delete horizon.
    pub base_timestamp: Timestamp,
    /// The largest timestamp of the records, or the time of the append.
    pub max_timestamp: Timestamp,
    /// The idempotent producer, or none.
    pub producer_id: ProducerId,
    /// The producer's epoch, or none.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record, or none.
    pub base_sequence: Sequence,
    /// How many records there are.
    pub record_count: i32,
}

impl Header {
    /// The header in the first 61 bytes of `bytes`; `None` when there are fewer.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BATCH_HEADER_SIZE] = bytes.first_chunk()?;
        Some(Self {
            base_offset: Offset(i64::from_be_bytes(field(bytes, 0))),
            length: i32::from_be_bytes(field(bytes, 8)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(bytes, 12))),
            magic: i8::from_be_bytes(field(bytes, MAGIC_POSITION)),
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: Attributes(i16::from_be_bytes(field(bytes, CRC_FROM))),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: Timestamp(i64::from_be_bytes(field(bytes, 27))),
            max_timestamp: Timestamp(i64::from_be_bytes(field(bytes, 35))),
            producer_id: ProducerId(i64::from_be_bytes(field(bytes, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(bytes, 51))),
            base_sequence: Sequence(i32::from_be_bytes(field(bytes, 53))),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        })
    }

    /// The 61 bytes of this header.
    pub fn encode(&self) -> [u8; BATCH_HEADER_SIZE] {
        let mut bytes = [0; BATCH_HEADER_SIZE];
        bytes[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        bytes[16..17].copy_from_slice(&self.magic.to_be_bytes());
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.0.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.0.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.0.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.0.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        bytes
    }

    /// Bytes of the whole batch. Zero when the length field is a lie below that.
    pub fn size(&self) -> usize {
        usize::try_from(self.length).map_or(0, |length| length + BATCH_LENGTH_OVERHEAD)
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        Offset(
            self.base_offset
                .0
                .wrapping_add(i64::from(self.last_offset_delta)),
        )
    }

    /// The offset after this batch.
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.wrapping_add(1))
    }

    /// Sequence of the last record, or none.
    pub fn last_sequence(&self) -> Sequence {
        if self.base_sequence.is_none() || self.last_offset_delta < 0 {
            Sequence::NONE
        } else {
            self.base_sequence.forward(self.last_offset_delta)
        }
    }

    /// Whether an idempotent or transactional producer wrote it.
    pub fn has_producer(&self) -> bool {
        self.producer_id.is_some()
    }
}

/// How many bytes at the start of `bytes` are whole batches, by what their length fields say; nothing else about
/// them is checked.
pub fn whole_batches(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Some(header) = Header::parse(&bytes[whole..]) {
        let size = header.size();
        if size < BATCH_HEADER_SIZE || size > bytes.len() - whole {
            break;
        }
        whole += size;
    }
    whole
}

/// The attributes of a batch: bits 0–2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0b111;
    const LOG_APPEND_TIME: i16 = 1 << 3;
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;
    const DELETE_HORIZON: i16 = 1 << 6;

    /// The codec, or `None` when the bits name none.
    pub fn codec(self) -> Option<Codec> {
        Codec::from_id((self.0 & Self::CODEC).to_be_bytes()[1])
    }

    /// The bits that name the codec.
    pub fn codec_id(self) -> u8 {
        (self.0 & Self::CODEC).to_be_bytes()[1]
    }

    /// Who set the records' timestamps.
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether its records are control records, not for consumers.
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is also the time from which compaction may drop its tombstones and markers.
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// These attributes with another codec.
    #[must_use]
    pub fn with_codec(self, codec: Codec) -> Self {
        Self(self.0 & !Self::CODEC | i16::from(codec.id()))
    }

    /// These attributes with another timestamp type.
    #[must_use]
    pub fn with_timestamp_type(self, kind: TimestampType) -> Self {
        self.with(Self::LOG_APPEND_TIME, kind == TimestampType::LogAppendTime)
    }

    /// These attributes with the transactional flag set or cleared.
    #[must_use]
    pub fn with_transactional(self, on: bool) -> Self {
        self.with(Self::TRANSACTIONAL, on)
    }

    /// These attributes with the control flag set or cleared.
    #[must_use]
    pub fn with_control(self, on: bool) -> Self {
        self.with(Self::CONTROL, on)
    }

    /// These attributes with the delete-horizon flag set or cleared.
    #[must_use]
    pub fn with_delete_horizon(self, on: bool) -> Self {
        self.with(Self::DELETE_HORIZON, on)
    }

    fn with(self, bit: i16, on: bool) -> Self {
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }
}

/// Who set a record's timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer did.
    #[default]
    CreateTime,
    /// The broker did, at the append; all records of a batch have its max timestamp.
    LogAppendTime,
}

/// One batch cut out of a stream by its length field, with its checks still to come.
#[derive(Clone, Debug)]
pub struct UncheckedBatch {
    header: Header,
    bytes: Bytes,
}

impl UncheckedBatch {
    /// Cuts the first batch off `bytes`, by the same rules as Kafka reads a record set: `None` when there is none or it
    /// is cut short; an error when the length field is below Kafka's least or the magic is not 0, 1 or 2.
    pub fn take(bytes: &mut Bytes) -> Result<Option<Self>, BatchError> {
        let Some(size) = frame_size(bytes)? else {
            return Ok(None);
        };
        if bytes.len() < size {
            return Ok(None);
        }
        let magic = bytes[MAGIC_POSITION].cast_signed();
        if magic < MAGIC {
            return Err(BatchError::OldMagic { magic });
        }
        let batch = bytes.split_to(size);
        match Header::parse(&batch) {
            Some(header) => Ok(Some(Self {
                header,
                bytes: batch,
            })),
            None => Err(BatchError::BelowHeader { size }),
        }
    }

    /// The parsed header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of the batch.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the CRC is that of the bytes.
    pub fn crc_matches(&self) -> bool {
        self.check_crc().is_ok()
    }

    /// Opens the batch for reading its records although nothing of it is checked: for tools that show what is there.
    pub fn open(&self, bytes_max: usize) -> Result<Payload, InflateError> {
        let body = self.bytes.slice(BATCH_HEADER_SIZE.min(self.bytes.len())..);
        Payload::open(&self.header, body, bytes_max)
    }

    /// Checks what a reader of a log must check: the CRC, and that the header's counts fit together. For recovery,
    /// replication and tools; what a client sends goes through [`validate`].
    pub fn check(self) -> Result<Batch, BatchError> {
        self.check_crc()?;
        let header = &self.header;
        // Compaction keeps the last offset of a batch it thins, down to no record at all.
        let offsets = i64::from(header.last_offset_delta) + 1;
        if header.base_offset.is_none()
            || header.last_offset_delta < 0
            || header.record_count < 0
            || i64::from(header.record_count) > offsets
            || header.base_offset.checked_add(offsets).is_none()
        {
            return Err(BatchError::HeaderDisagrees {
                last_offset_delta: header.last_offset_delta,
                record_count: header.record_count,
            });
        }
        Ok(Batch {
            header: self.header,
            bytes: self.bytes,
        })
    }

    fn check_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(&self.bytes[CRC_FROM..]);
        if computed == self.header.crc {
            Ok(())
        } else {
            Err(BatchError::Crc {
                stored: self.header.crc,
                computed,
            })
        }
    }
}

/// Bytes of the first batch of `bytes`, from its length field; `None` when there are not enough bytes to tell.
/// Fails where Kafka calls the stream corrupt: a length below 14, or a magic that is not 0, 1 or 2.
pub fn frame_size(bytes: &[u8]) -> Result<Option<usize>, BatchError> {
    let Some(prefix) = bytes.first_chunk::<{ MAGIC_POSITION + 1 }>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(field(prefix, 8));
    if length < BATCH_LENGTH_MIN {
        return Err(BatchError::LengthBelowMinimum { length });
    }
    let magic = prefix[MAGIC_POSITION].cast_signed();
    if !(0..=MAGIC).contains(&magic) {
        return Err(BatchError::Magic { magic });
    }
    Ok(Some(length.unsigned_abs() as usize + BATCH_LENGTH_OVERHEAD))
}

/// A batch that passed its checks.
#[derive(Clone, Debug)]
pub struct Batch {
    header: Header,
    /// The whole batch as it came. Its first 61 bytes may be older than `header`.
    bytes: Bytes,
}

impl Batch {
    /// The header, with what was assigned since.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of the batch.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Assigns what the log decides. Both lie outside the CRC.
    pub fn place(&mut self, base_offset: Offset, leader_epoch: LeaderEpoch) {
        self.header.base_offset = base_offset;
        self.header.leader_epoch = leader_epoch;
    }

    /// The header as bytes, to be followed by [`Batch::body`].
    pub fn head(&self) -> [u8; BATCH_HEADER_SIZE] {
        self.header.encode()
    }

    /// Everything after the header, by reference.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(BATCH_HEADER_SIZE..)
    }

    /// The batch in one piece: by reference when nothing was assigned, else copied.
    pub fn to_bytes(&self) -> Bytes {
        let head = self.head();
        if self.bytes[..BATCH_HEADER_SIZE] == head {
            return self.bytes.clone();
        }
        let mut whole = Vec::with_capacity(self.bytes.len());
        whole.extend_from_slice(&head);
        whole.extend_from_slice(&self.bytes[BATCH_HEADER_SIZE..]);
        whole.into()
    }

    /// Opens the batch for reading its records, inflating them to at most `bytes_max` bytes if they are compressed.
    pub fn open(&self, bytes_max: usize) -> Result<Payload, InflateError> {
        Payload::open(&self.header, self.body(), bytes_max)
    }

    /// Sets timestamp type and max timestamp, and the CRC that follows from them, without reading the records again.
    fn set_times(&mut self, kind: TimestampType, max_timestamp: Timestamp) {
        let before = self.header.encode();
        self.header.attributes = self.header.attributes.with_timestamp_type(kind);
        self.header.max_timestamp = max_timestamp;
        let after = self.header.encode();
        // A CRC is linear: what changes in the front changes the whole by the front's difference, carried over the
        // rest of the bytes. Combining with the CRC of nothing changed (0) does the carrying.
        let front = crc32c::crc32c(&before[CRC_FROM..]) ^ crc32c::crc32c(&after[CRC_FROM..]);
        let carried = crc32c::crc32c_combine(front, 0, self.bytes.len() - BATCH_HEADER_SIZE);
        self.header.crc ^= carried;
    }
}

/// The magic of the only format that is written and read.
pub const MAGIC: i8 = 2;

/// Where the magic lies, in this and every older format.
const MAGIC_POSITION: usize = 16;
/// The first byte that the CRC covers.
pub(crate) const CRC_FROM: usize = 21;

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests;
