//! **Owns** reading fetched bytes: batches, transactions, records.
//! **Lives on** the reader's thread.
//! **Invariants** (1) Records are given out in order, from the position asked for, without control records and, when only
//! committed ones are wanted, without those of aborted transactions. (2) Nothing is allocated per record.
//! **Not here** fetching.

use std::ops::ControlFlow;
use std::rc::Rc;

use bytes::Bytes;
use corelog_net::wire::messages::fetch::AbortedTransaction;
use corelog_storage::batch::{
    ControlKey, ControlKind, Header, Payload, Record, TimestampType, frame_size,
};
use corelog_storage::limits::BATCH_HEADER_SIZE;

/// What one fetch brought of one partition.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The topic.
    pub topic: Rc<str>,
    /// The partition.
    pub partition: i32,
    /// The partition's high watermark at the time.
    pub high_watermark: i64,
    /// Records before this offset were not asked for; a batch may begin earlier.
    pub(super) from: i64,
    pub(super) records: Bytes,
    pub(super) next: i64,
    pub(super) check_crcs: bool,
    pub(super) committed_only: bool,
    pub(super) aborted: Vec<AbortedTransaction>,
    pub(super) inflated_bytes_max: usize,
}

/// Fetched bytes cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{topic}-{partition}, batch at offset {offset}: {reason}")]
pub struct ReadError {
    /// The topic.
    pub topic: Rc<str>,
    /// The partition.
    pub partition: i32,
    /// The batch's base offset, or where it should be.
    pub offset: i64,
    /// What is wrong.
    pub reason: String,
}

impl Chunk {
    /// Bytes fetched.
    pub fn size(&self) -> usize {
        self.records.len()
    }

    /// The offset after the chunk's last batch.
    pub fn next_offset(&self) -> i64 {
        self.next
    }

    /// Visits the records until the visitor breaks; says whether it did.
    // HOT: 0 alloc per record
    pub fn each<'a>(
        &'a self,
        mut visit: impl for<'r> FnMut(&Record<'r>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let mut aborted = Aborted::new(&self.aborted);
        self.each_batch(|header, body| {
            if header.attributes.is_control() {
                if self.committed_only {
                    aborted.end(header, body, self.inflated_bytes_max);
                }
                return Ok(ControlFlow::Continue(()));
            }
            if self.committed_only && aborted.covers(header) {
                return Ok(ControlFlow::Continue(()));
            }
            if header.next_offset().0 <= self.from {
                return Ok(ControlFlow::Continue(()));
            }
            let payload = Payload::open(header, body, self.inflated_bytes_max)
                .map_err(|error| error.to_string())?;
            for record in payload.records() {
                let record = record.map_err(|fault| fault.to_string())?;
                if record.offset.0 >= self.from && visit(&record).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// The number of records and of their bytes as they lie in the log, without opening batches that lie wholly within
    /// the chunk. Counts what [`Chunk::each`] would visit, except that aborted records count too.
    pub fn count(&self) -> Result<u64, ReadError> {
        let mut count = 0_u64;
        let mut partial = false;
        let _ = self.each_batch(|header, _| {
            if header.base_offset.0 < self.from {
                partial = true;
            } else if !header.attributes.is_control() {
                count += u64::from(header.record_count.unsigned_abs());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if partial {
            count = 0;
            let _ = self.each(|_| {
                count += 1;
                ControlFlow::Continue(())
            })?;
        }
        Ok(count)
    }

    /// How a timestamp of this chunk's records came to be: the first batch's.
    pub fn timestamp_type(&self) -> TimestampType {
        Header::parse(&self.records).map_or(TimestampType::CreateTime, |header| {
            header.attributes.timestamp_type()
        })
    }

    /// The leader epoch of the last batch that begins before an offset; -1 where there is none.
    pub(super) fn leader_epoch_before(&self, offset: i64) -> i32 {
        let mut rest = self.records.clone();
        let mut epoch = -1;
        // What cannot be read ends the reading of records, too.
        while let Ok(Some((header, _))) = cut(&mut rest, false)
            && header.base_offset.0 < offset
        {
            epoch = header.leader_epoch.0;
        }
        epoch
    }

    fn each_batch(
        &self,
        mut visit: impl FnMut(&Header, Bytes) -> Result<ControlFlow<()>, String>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let mut rest = self.records.clone();
        let mut offset = self.from;
        loop {
            let visited = cut(&mut rest, self.check_crcs).and_then(|cut| {
                cut.map(|(header, body)| {
                    offset = header.base_offset.0;
                    visit(&header, body)
                })
                .transpose()
            });
            match visited {
                Ok(Some(ControlFlow::Continue(()))) => {}
                Ok(Some(ControlFlow::Break(()))) => return Ok(ControlFlow::Break(())),
                // The end, or a batch that did not fit into the response whole.
                Ok(None) => return Ok(ControlFlow::Continue(())),
                Err(reason) => {
                    return Err(ReadError {
                        topic: Rc::clone(&self.topic),
                        partition: self.partition,
                        offset,
                        reason,
                    });
                }
            }
        }
    }
}

/// Cuts the first batch off: its header and what follows it.
fn cut(rest: &mut Bytes, check_crc: bool) -> Result<Option<(Header, Bytes)>, String> {
    let Some(size) = frame_size(rest).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    if rest.len() < size {
        return Ok(None);
    }
    let batch = rest.split_to(size);
    let header = Header::parse(&batch)
        .filter(|header| header.magic == MAGIC)
        .ok_or("a format older than record batches of magic 2")?;
    if check_crc && crc32c::crc32c(&batch[CRC_FROM..]) != header.crc {
        return Err("the CRC is not that of the bytes".to_owned());
    }
    Ok(Some((header, batch.slice(BATCH_HEADER_SIZE..))))
}

/// Which producers are inside an aborted transaction, as the batches go by.
struct Aborted<'a> {
    /// By first offset.
    coming: Vec<&'a AbortedTransaction>,
    open: Vec<i64>,
}

impl<'a> Aborted<'a> {
    fn new(all: &'a [AbortedTransaction]) -> Self {
        let mut coming: Vec<&AbortedTransaction> = all.iter().collect();
        coming.sort_by_key(|it| std::cmp::Reverse(it.first_offset));
        Self {
            coming,
            open: Vec::new(),
        }
    }

    fn covers(&mut self, header: &Header) -> bool {
        while let Some(next) = self.coming.last()
            && next.first_offset <= header.last_offset().0
        {
            self.open.push(next.producer_id);
            self.coming.pop();
        }
        header.attributes.is_transactional() && self.open.contains(&header.producer_id.0)
    }

    fn end(&mut self, marker: &Header, body: Bytes, bytes_max: usize) {
        // An abort marker may close a transaction whose first batch is before this chunk.
        self.covers(marker);
        let Ok(payload) = Payload::open(marker, body, bytes_max) else {
            return;
        };
        let is_abort = payload.records().flatten().any(|record| {
            record
                .key
                .and_then(ControlKey::decode)
                .is_some_and(|key| key.kind == ControlKind::Abort)
        });
        if is_abort {
            self.open.retain(|id| *id != marker.producer_id.0);
        }
    }
}

/// A record with bytes of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// The topic.
    pub topic: Rc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl OwnedRecord {
    /// A copy.
    pub fn new(chunk: &Chunk, record: &Record<'_>) -> Self {
        Self {
            topic: Rc::clone(&chunk.topic),
            partition: chunk.partition,
            offset: record.offset.0,
            timestamp: record.timestamp.0,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .clone()
                .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }
}

/// The only format that brokers of Kafka 4 send.
const MAGIC: i8 = 2;
/// The first byte of a batch that its CRC covers.
const CRC_FROM: usize = 21;
