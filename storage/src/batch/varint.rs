//! **Owns** zigzag varints, the numbers inside a record.
//! **Lives on** any thread.
//! **Invariants** (1) What is written is the shortest form; longer forms of the same number are read, as Kafka does.
//! **Not here** the unsigned varints of the wire protocol (`net::wire`).

use crate::limits::{VARINT_SIZE_MAX, VARLONG_SIZE_MAX};

use super::RecordFault;

/// Reads a 32-bit number off the front of `bytes`.
#[inline]
pub fn varint(bytes: &mut &[u8]) -> Result<i32, RecordFault> {
    // Lengths and deltas have one or two bytes nearly always, three in the longest batches: no loop for those.
    let (value, rest) = match *bytes {
        [a, rest @ ..] if *a < 0x80 => (u32::from(*a), rest),
        [a, b, rest @ ..] if *b < 0x80 => (u32::from(a & 0x7f) | u32::from(*b) << 7, rest),
        [a, b, c, rest @ ..] if *c < 0x80 => (
            u32::from(a & 0x7f) | u32::from(b & 0x7f) << 7 | u32::from(*c) << 14,
            rest,
        ),
        _ => return long_varint(bytes),
    };
    *bytes = rest;
    Ok(unzigzag(value))
}

#[cold]
fn long_varint(bytes: &mut &[u8]) -> Result<i32, RecordFault> {
    let mut value = 0_u32;
    for index in 0..VARINT_SIZE_MAX {
        let (&byte, rest) = bytes.split_first().ok_or(RecordFault::Truncated)?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok(unzigzag(value));
        }
    }
    Err(RecordFault::Varint)
}

/// Reads a 64-bit number off the front of `bytes`.
#[inline]
pub fn varlong(bytes: &mut &[u8]) -> Result<i64, RecordFault> {
    if let [byte, rest @ ..] = *bytes
        && *byte < 0x80
    {
        *bytes = rest;
        return Ok(i64::from(unzigzag(u32::from(*byte))));
    }
    long_varlong(bytes)
}

fn long_varlong(bytes: &mut &[u8]) -> Result<i64, RecordFault> {
    let mut value = 0_u64;
    for index in 0..VARLONG_SIZE_MAX {
        let (&byte, rest) = bytes.split_first().ok_or(RecordFault::Truncated)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    Err(RecordFault::Varint)
}

/// Appends a 32-bit number.
#[inline]
pub fn put_varint(to: &mut Vec<u8>, value: i32) {
    put_varlong(to, i64::from(value));
}

/// Appends a 64-bit number.
#[inline]
pub fn put_varlong(to: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        to.push(rest.to_be_bytes()[7] | 0x80);
        rest >>= 7;
    }
    to.push(rest.to_be_bytes()[7]);
}

/// A few numbers in a row, collected on the stack so that the buffer behind is asked for room once.
pub(super) struct Numbers {
    bytes: [u8; 32],
    count: usize,
}

impl Numbers {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; 32],
            count: 0,
        }
    }

    /// At most 32 bytes may come together: three long numbers.
    #[inline]
    pub(super) fn push(&mut self, value: i64) {
        let mut rest = zigzag(value);
        while rest >= 0x80 {
            self.byte(rest.to_be_bytes()[7] | 0x80);
            rest >>= 7;
        }
        self.byte(rest.to_be_bytes()[7]);
    }

    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes[self.count] = byte;
        self.count += 1;
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.count]
    }
}

/// Bytes that [`put_varint`] appends.
#[inline]
pub const fn varint_size(value: i32) -> usize {
    varlong_size(value as i64)
}

/// Bytes that [`put_varlong`] appends.
#[inline]
pub const fn varlong_size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

const fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

const fn unzigzag(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests;
