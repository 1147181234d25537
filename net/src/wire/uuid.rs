//! Topic, directory and cluster ids.
//!
//! **Owns** the 16 bytes and Kafka's text form of them.
//! **Lives on** any thread.
//! **Invariants** 1. The text form is URL-safe base64 without padding, 22 characters.
//! **Not here**: drawing new ids (the runtime owns randomness).

use std::fmt;
use std::str::FromStr;

/// A UUID as Kafka writes it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// All zeros: no id.
    pub const ZERO: Self = Self([0; 16]);
    /// The topic id of `__cluster_metadata`.
    pub const ONE: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// Whether this is [`Uuid::ZERO`].
    pub const fn is_zero(&self) -> bool {
        u128::from_be_bytes(self.0) == 0
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; TEXT_SIZE];
        let value = u128::from_be_bytes(self.0);
        for (index, digit) in text.iter_mut().enumerate() {
            // 22 digits of 6 bits are 132 bits: the value is followed by four zero bits.
            let shift = 126_usize.wrapping_sub(index * 6);
            let bits = if index == TEXT_SIZE - 1 {
                value << 4
            } else {
                value >> (shift - 4)
            };
            *digit = ALPHABET[(bits & 63) as usize];
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 22 characters of URL-safe base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a 22-character base64 id")]
pub struct ParseUuidError;

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        let text = text.trim_end_matches('=').as_bytes();
        let (&last, head) = text.split_last().ok_or(ParseUuidError)?;
        if head.len() != TEXT_SIZE - 1 {
            return Err(ParseUuidError);
        }
        let mut value = 0_u128;
        for &digit in head {
            value = value << 6 | u128::from(digit_value(digit).ok_or(ParseUuidError)?);
        }
        let last = digit_value(last).ok_or(ParseUuidError)?;
        Ok(Self((value << 2 | u128::from(last >> 4)).to_be_bytes()))
    }
}

fn digit_value(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    })
}

const TEXT_SIZE: usize = 22;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests;
