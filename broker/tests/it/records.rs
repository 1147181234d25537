//! Record batches for the tests, whole and broken.
//!
//! **Owns** where the fields of a batch lie, for those tests that put wrong values there.
//! **Lives on** the test's thread.
//! **Invariants** 1. What [`batch`] and [`values`] make is what a producer sends.
//! **Not here**: the making itself (`corelog_storage::batch`).

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use corelog_storage::batch::{BatchBuilder, BatchOptions, Codec, UncheckedBatch};
use corelog_storage::types::{ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

/// A record: timestamp, key, value.
pub(crate) type Record<'a> = (i64, Option<&'a str>, &'a str);

/// A batch of these records.
pub(crate) fn batch(options: BatchOptions, records: &[Record<'_>]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for &(timestamp, key, value) in records {
        builder
            .append(
                Timestamp(timestamp),
                key.map(str::as_bytes),
                Some(value.as_bytes()),
                &[],
            )
            .expect("small records");
    }
    builder
        .finish()
        .expect("there are records")
        .to_bytes()
        .to_vec()
}

/// A batch of values without keys, with the time of now.
pub(crate) fn values(values: &[&str]) -> Vec<u8> {
    let now = now_ms();
    let records: Vec<Record<'_>> = values.iter().map(|&value| (now, None, value)).collect();
    batch(BatchOptions::default(), &records)
}

/// A batch of one record with this timestamp.
pub(crate) fn at(timestamp: i64) -> Vec<u8> {
    batch(BatchOptions::default(), &[(timestamp, Some("k"), "v0")])
}

/// A batch of `count` records from an idempotent producer.
pub(crate) fn sequenced(id: i64, epoch: i16, sequence: i32, count: usize) -> Vec<u8> {
    let options = BatchOptions {
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(sequence),
        ..BatchOptions::default()
    };
    batch(options, &vec![(now_ms(), None, "v0"); count])
}

/// The options of a batch with this codec.
pub(crate) fn coded(codec: Codec) -> BatchOptions {
    BatchOptions {
        compression: codec.into(),
        ..BatchOptions::default()
    }
}

/// Puts bytes into a batch and makes its checksum right again.
pub(crate) fn patched(mut batch: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&batch[ATTRIBUTES..]);
    batch[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// A batch with a checksum that is wrong.
pub(crate) fn bad_crc() -> Vec<u8> {
    let mut batch = values(&["v0"]);
    batch[CRC] ^= 1;
    batch
}

/// One message of the format before record batches, with its own checksum.
pub(crate) fn old_message() -> Vec<u8> {
    let mut body = vec![1, 0]; // magic, attributes
    body.extend_from_slice(&now_ms().to_be_bytes());
    body.extend_from_slice(&(-1_i32).to_be_bytes()); // no key
    body.extend_from_slice(&2_i32.to_be_bytes());
    body.extend_from_slice(b"v0");
    let size = i32::try_from(body.len() + 4).expect("a small message");
    let mut message = 0_i64.to_be_bytes().to_vec();
    message.extend_from_slice(&size.to_be_bytes());
    message.extend_from_slice(&crc32(&body).to_be_bytes());
    message.extend_from_slice(&body);
    message
}

/// The CRC of zip and Ethernet.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

/// The batches of a fetched record set with their offsets and values; a batch that is cut off at
/// the end, which a fetch may bring, is left out.
pub(crate) fn read(records: &Bytes) -> Vec<(i64, Vec<u8>)> {
    let mut rest = records.clone();
    let mut read = Vec::new();
    while let Ok(Some(batch)) = UncheckedBatch::take(&mut rest) {
        let batch = batch.check().expect("what a broker sends is whole");
        let payload = batch
            .open(64 << 20)
            .expect("what a broker sends can be opened");
        for record in payload.records() {
            let record = record.expect("what a broker sends can be read");
            read.push((record.offset.0, record.value.unwrap_or_default().to_vec()));
        }
    }
    read
}

pub(crate) const LENGTH: usize = 8;
pub(crate) const LEADER_EPOCH: usize = 12;
pub(crate) const MAGIC: usize = 16;
const CRC: usize = 17;
pub(crate) const ATTRIBUTES: usize = 21;
pub(crate) const LAST_OFFSET_DELTA: usize = 23;
pub(crate) const MAX_TIMESTAMP: usize = 35;
pub(crate) const COUNT: usize = 57;

/// A batch as a `read_committed` consumer looks at it.
pub(crate) struct TransactionalBatch {
    pub(crate) last_offset: i64,
    pub(crate) producer_id: i64,
    pub(crate) is_transactional: bool,
    pub(crate) is_control: bool,
    pub(crate) values: Vec<String>,
}

/// The batches of a record set.
pub(crate) fn read_transactional(records: &Bytes) -> Vec<TransactionalBatch> {
    let (mut rest, mut batches) = (records.clone(), Vec::new());
    while let Some(batch) = UncheckedBatch::take(&mut rest).expect("whole batches") {
        let batch = batch.check().expect("a sound batch");
        let header = *batch.header();
        let payload = batch.open(64 << 20).expect("it can be opened");
        let value =
            |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or(b"")).into_owned();
        batches.push(TransactionalBatch {
            last_offset: header.last_offset().0,
            producer_id: header.producer_id.0,
            is_transactional: header.attributes.is_transactional(),
            is_control: header.attributes.is_control(),
            values: payload
                .records()
                .map(|record| value(record.expect("a sound record").value))
                .collect(),
        });
    }
    batches
}
