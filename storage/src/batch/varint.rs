//! **Owns** zigzag varints, the numbers inside a record.
//! **Lives on** any thread.
//! **Invariants** (1) What is written is the shortest form; longer forms of the same number are read, as Kafka does.
//! **Not here** the unsigned varints of the wire protocol (`net::wire`).

use crate::limits::{VARINT_SIZE_MAX, VARLONG_SIZE_MAX};

use super::RecordFault;

/// Reads a 32-bit number off the front of `bytes`.
#[inline]
pub fn varint(bytes: &mut &[u8]) -> Result<i32, RecordFault> {
    // Most numbers in a record are below 64: one byte.
    if let Some((&byte, rest)) = bytes.split_first()
        && byte < 0x80
    {
        *bytes = rest;
        return Ok(unzigzag(u32::from(byte)));
    }
    long_varint(bytes)
}

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
