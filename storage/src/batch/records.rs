//! **Owns** the records inside a batch: walking over them without looking at their bytes, and reading them.
//! **Lives on** any thread.
//! **Invariants** (1) Nothing is allocated per record. (2) A record whose parts do not add up to its length is a fault,
//! never a shorter or a longer record.
//! **Not here** what records are allowed (`validate`).
//!
//! ```text
//! length varint | attributes i8 | timestamp delta varlong | offset delta varint
//! | key length varint (-1: null) | key | value length varint (-1: null) | value
//! | header count varint | { key length varint | key | value length varint (-1: null) | value } …
//! ```

use bytes::Bytes;

use super::compress::{Inflate, InflateError, inflate};
use super::{Codec, Header as BatchHeader, RecordFault, TimestampType, varint, varlong};
use crate::types::{Offset, Sequence, Timestamp};

/// The records of a batch, inflated.
#[derive(Clone, Debug)]
pub struct Payload {
    header: BatchHeader,
    data: Bytes,
}

impl Payload {
    /// Opens `body`, the bytes after `header`, inflating them to at most `bytes_max` bytes if they are compressed.
    pub fn open(header: &BatchHeader, body: Bytes, bytes_max: usize) -> Result<Self, InflateError> {
        let attributes = header.attributes;
        let codec = attributes
            .codec()
            .ok_or(InflateError::UnknownCodec(attributes.codec_id()))?;
        let data = if codec == Codec::None || header.record_count == 0 {
            body
        } else {
            inflate(codec, &body, bytes_max)?.into()
        };
        Ok(Self {
            header: *header,
            data,
        })
    }

    /// The header of the batch.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The bytes that the records borrow from; `slice_ref` makes a key or value of them that lives on.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The records, in order.
    pub fn records(&self) -> Records<'_> {
        Records {
            header: &self.header,
            rest: &self.data,
            index: 0,
            done: false,
        }
    }
}

/// Iterates over the records of a batch. After a fault it ends.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    header: &'a BatchHeader,
    rest: &'a [u8],
    index: i32,
    done: bool,
}

impl<'a> Records<'a> {
    fn next_record(&mut self) -> Result<Record<'a>, RecordFault> {
        let length = varint(&mut self.rest)?;
        let length = usize::try_from(length).map_err(|_| RecordFault::Length)?;
        let (mut record, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(RecordFault::Truncated)?;
        let (&attributes, after) = record.split_first().ok_or(RecordFault::Length)?;
        record = after;
        let timestamp_delta = varlong(&mut record).map_err(inside)?;
        let offset_delta = varint(&mut record).map_err(inside)?;
        let key = part(&mut record)?;
        let value = part(&mut record)?;
        let count = varint(&mut record).map_err(inside)?;
        let headers = Headers::check(record, count)?;
        self.rest = rest;
        let header = self.header;
        let timestamp = match header.attributes.timestamp_type() {
            TimestampType::CreateTime => {
                Timestamp(header.base_timestamp.0.wrapping_add(timestamp_delta))
            }
            TimestampType::LogAppendTime => header.max_timestamp,
        };
        let sequence = if header.base_sequence.is_none() || offset_delta < 0 {
            Sequence::NONE
        } else {
            header.base_sequence.forward(offset_delta)
        };
        Ok(Record {
            offset: Offset(header.base_offset.0.wrapping_add(i64::from(offset_delta))),
            timestamp,
            sequence,
            attributes: attributes.cast_signed(),
            key,
            value,
            headers,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.index == self.header.record_count.max(0) {
            self.done = true;
            return if self.rest.is_empty() {
                None
            } else {
                Some(Err(RecordFault::Surplus))
            };
        }
        self.index += 1;
        let record = self.next_record();
        self.done = record.is_err();
        Some(record)
    }
}

/// One record, borrowed from its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: Offset,
    /// Its own timestamp, or that of the append.
    pub timestamp: Timestamp,
    /// Its sequence, or none.
    pub sequence: Sequence,
    /// Unused by Kafka so far.
    pub attributes: i8,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; a record with a key and without a value is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order, repeated keys included.
    pub headers: Headers<'a>,
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key, UTF-8 by agreement only.
    pub key: &'a [u8],
    /// The value.
    pub value: Option<&'a [u8]>,
}

/// Iterates over the headers of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: i32,
}

impl<'a> Headers<'a> {
    /// Checks that `count` headers fill `bytes` exactly, so that iterating cannot fail.
    fn check(bytes: &'a [u8], count: i32) -> Result<Self, RecordFault> {
        if usize::try_from(count).map_or(true, |count| count > bytes.len()) {
            return Err(RecordFault::HeaderCount);
        }
        let mut rest = bytes;
        for _ in 0..count {
            next_header(&mut rest)?;
        }
        if rest.is_empty() {
            Ok(Self {
                rest: bytes,
                left: count,
            })
        } else {
            Err(RecordFault::Length)
        }
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        usize::try_from(self.left).unwrap_or(0)
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        next_header(&mut self.rest).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

fn next_header<'a>(rest: &mut &'a [u8]) -> Result<Header<'a>, RecordFault> {
    let key = part(rest)?.ok_or(RecordFault::Length)?;
    let value = part(rest)?;
    Ok(Header { key, value })
}

/// A length and that many bytes; -1 is null.
fn part<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordFault> {
    let length = varint(rest).map_err(inside)?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| RecordFault::Length)?;
    let (part, after) = rest.split_at_checked(length).ok_or(RecordFault::Length)?;
    *rest = after;
    Ok(Some(part))
}

/// The end of a record met inside it means that its length lies, not that bytes are missing.
fn inside(fault: RecordFault) -> RecordFault {
    match fault {
        RecordFault::Truncated => RecordFault::Length,
        other => other,
    }
}

/// What a walk tells of each record.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) offset_delta: i32,
    pub(super) timestamp_delta: i64,
    pub(super) has_key: bool,
}

/// Why a walk stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Fault { index: i32, fault: RecordFault },
    Inflate(InflateError),
}

/// Walks over `count` records that fill `bytes` exactly.
// HOT: 0 alloc, 0 copy
#[inline]
pub(super) fn walk(bytes: &[u8], count: i32, mut each: impl FnMut(i32, Step)) -> Result<(), Stop> {
    let mut rest = bytes;
    for index in 0..count {
        match step_over(&mut rest) {
            Ok(step) => each(index, step),
            Err(fault) => return Err(Stop::Fault { index, fault }),
        }
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(Stop::Fault {
            index: count,
            fault: RecordFault::Surplus,
        })
    }
}

#[inline]
fn step_over(rest: &mut &[u8]) -> Result<Step, RecordFault> {
    let length = varint(rest)?;
    let length = usize::try_from(length).map_err(|_| RecordFault::Length)?;
    let (record, after) = rest
        .split_at_checked(length)
        .ok_or(RecordFault::Truncated)?;
    let mut record = record.get(1..).ok_or(RecordFault::Length)?;
    let timestamp_delta = varlong(&mut record).map_err(inside)?;
    let offset_delta = varint(&mut record).map_err(inside)?;
    let has_key = part(&mut record)?.is_some();
    part(&mut record)?;
    let headers = varint(&mut record).map_err(inside)?;
    if headers != 0 {
        Headers::check(record, headers)?;
    } else if !record.is_empty() {
        return Err(RecordFault::Length);
    }
    *rest = after;
    Ok(Step {
        offset_delta,
        timestamp_delta,
        has_key,
    })
}

/// As [`walk`], over compressed bytes, inflating at most `bytes_max` through a small window.
pub(super) fn walk_compressed(
    codec: Codec,
    bytes: &[u8],
    count: i32,
    bytes_max: usize,
    mut each: impl FnMut(i32, Step),
) -> Result<(), Stop> {
    let stream = Inflate::new(codec, bytes, bytes_max).map_err(Stop::Inflate)?;
    let mut window = Window {
        stream,
        buffer: vec![0; WINDOW_SIZE],
        from: 0,
        to: 0,
        taken: 0,
    };
    for index in 0..count {
        match window.step_over() {
            Ok(step) => each(index, step),
            Err(Halt::Fault(fault)) => return Err(Stop::Fault { index, fault }),
            Err(Halt::Inflate(error)) => return Err(Stop::Inflate(error)),
        }
    }
    match window.refill() {
        Ok(true) => Err(Stop::Fault {
            index: count,
            fault: RecordFault::Surplus,
        }),
        Ok(false) => Ok(()),
        Err(error) => Err(Stop::Inflate(error)),
    }
}

enum Halt {
    Fault(RecordFault),
    Inflate(InflateError),
}

impl From<RecordFault> for Halt {
    fn from(fault: RecordFault) -> Self {
        Self::Fault(fault)
    }
}

/// The stretch of an inflated stream that is in memory.
struct Window<'a> {
    stream: Inflate<'a>,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    /// Bytes taken from the stream before `buffer[from]`.
    taken: u64,
}

impl Window<'_> {
    fn step_over(&mut self) -> Result<Step, Halt> {
        // A record that lies in the window whole is read as from a slice, which is quicker than byte by byte.
        let mut rest = &self.buffer[self.from..self.to];
        let available = rest.len();
        let mut ahead = rest;
        if let Ok(length) = varint(&mut ahead)
            && usize::try_from(length).is_ok_and(|length| length <= ahead.len())
        {
            let step = step_over(&mut rest)?;
            self.advance(available - rest.len());
            return Ok(step);
        }
        self.step_over_slowly()
    }

    #[cold]
    fn step_over_slowly(&mut self) -> Result<Step, Halt> {
        let length = self.varint()?;
        let length = u64::try_from(length).map_err(|_| RecordFault::Length)?;
        let end = self.taken + length;
        self.byte()?;
        let timestamp_delta = self.varlong()?;
        let offset_delta = self.varint()?;
        let has_key = self.skip_part(end)?;
        self.skip_part(end)?;
        let headers = self.varint()?;
        if u64::try_from(headers).map_or(true, |headers| headers > length) {
            return Err(RecordFault::HeaderCount.into());
        }
        for _ in 0..headers {
            if !self.skip_part(end)? {
                return Err(RecordFault::Length.into());
            }
            self.skip_part(end)?;
        }
        if self.taken == end {
            Ok(Step {
                offset_delta,
                timestamp_delta,
                has_key,
            })
        } else {
            Err(RecordFault::Length.into())
        }
    }

    fn advance(&mut self, count: usize) {
        self.from += count;
        self.taken += count as u64;
    }

    /// Makes sure that a byte is in the window; false at the end of the stream.
    fn refill(&mut self) -> Result<bool, InflateError> {
        if self.from == self.to {
            self.from = 0;
            self.to = self.stream.fill(&mut self.buffer)?;
        }
        Ok(self.from < self.to)
    }

    fn byte(&mut self) -> Result<u8, Halt> {
        if !self.refill().map_err(Halt::Inflate)? {
            return Err(RecordFault::Truncated.into());
        }
        let byte = self.buffer[self.from];
        self.advance(1);
        Ok(byte)
    }

    fn varint(&mut self) -> Result<i32, Halt> {
        let mut bytes = [0; crate::limits::VARINT_SIZE_MAX];
        let count = self.number(&mut bytes)?;
        Ok(varint(&mut &bytes[..count])?)
    }

    fn varlong(&mut self) -> Result<i64, Halt> {
        let mut bytes = [0; crate::limits::VARLONG_SIZE_MAX];
        let count = self.number(&mut bytes)?;
        Ok(varlong(&mut &bytes[..count])?)
    }

    fn number(&mut self, bytes: &mut [u8]) -> Result<usize, Halt> {
        for (index, slot) in bytes.iter_mut().enumerate() {
            *slot = self.byte()?;
            if *slot < 0x80 {
                return Ok(index + 1);
            }
        }
        Ok(bytes.len())
    }

    /// Skips a length and that many bytes, none beyond `end`; false when it is null.
    fn skip_part(&mut self, end: u64) -> Result<bool, Halt> {
        let length = self.varint()?;
        if length == -1 {
            return Ok(false);
        }
        let length = u64::try_from(length).map_err(|_| RecordFault::Length)?;
        if self.taken + length > end {
            return Err(RecordFault::Length.into());
        }
        let to = self.taken + length;
        while self.taken < to {
            if !self.refill().map_err(Halt::Inflate)? {
                return Err(RecordFault::Truncated.into());
            }
            let here = self.to - self.from;
            self.advance(usize::try_from(to - self.taken).map_or(here, |left| left.min(here)));
        }
        Ok(true)
    }
}

const WINDOW_SIZE: usize = 64 << 10;

#[cfg(test)]
mod tests;
