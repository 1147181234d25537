//! **Owns** the ids and quantities of a log, one type each, so that an epoch cannot be passed for an offset.
//! **Lives on** any thread: plain values.
//! **Invariants** (1) `NONE` is Kafka's "not there" (-1) wherever a field has one. (2) Ordering is that of the number.
//! **Not here** wire structs (`net`), broker-wide names such as listeners and principals (`broker`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $raw);

        impl $name {
            /// Zero.
            pub const ZERO: Self = Self(0);
            /// Kafka's "not there": -1.
            pub const NONE: Self = Self(-1);

            /// The plain number.
            pub const fn value(self) -> $raw {
                self.0
            }

            /// Whether this is a real value, that is: not negative.
            pub const fn is_some(self) -> bool {
                self.0 >= 0
            }

            /// Whether this stands for "not there", that is: negative.
            pub const fn is_none(self) -> bool {
                self.0 < 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$raw> for $name {
            fn from(raw: $raw) -> Self {
                Self(raw)
            }
        }

        impl From<$name> for $raw {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

number! {
    /// The place of a record in its partition, counted from zero.
    Offset(i64)
}
number! {
    /// The reign of a partition leader; grows by one with every election.
    LeaderEpoch(i32)
}
number! {
    /// An idempotent or transactional producer.
    ProducerId(i64)
}
number! {
    /// The incarnation of a producer id; an older one is fenced.
    ProducerEpoch(i16)
}
number! {
    /// A producer's number of a record in one partition. After `i32::MAX` comes 0.
    Sequence(i32)
}
number! {
    /// Milliseconds since the Unix epoch. Records may carry any value; -1 means none.
    Timestamp(i64)
}

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// This offset moved by `count`, or `None` beyond the range of an i64.
    #[must_use]
    pub const fn checked_add(self, count: i64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// How many offsets lie from `earlier` (included) to this one (excluded). Negative when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl std::ops::Add<i64> for Offset {
    type Output = Self;

    fn add(self, count: i64) -> Self {
        Self(self.0 + count)
    }
}

impl std::ops::Sub<i64> for Offset {
    type Output = Self;

    fn sub(self, count: i64) -> Self {
        Self(self.0 - count)
    }
}

impl Sequence {
    /// This sequence moved forward by `count` (not negative), wrapping from `i32::MAX` to 0.
    #[must_use]
    pub const fn forward(self, count: i32) -> Self {
        if self.0 > i32::MAX - count {
            Self(count - (i32::MAX - self.0) - 1)
        } else {
            Self(self.0 + count)
        }
    }

    /// This sequence moved back by `count` (not negative), wrapping from 0 to `i32::MAX`.
    #[must_use]
    pub const fn back(self, count: i32) -> Self {
        if self.0 < count {
            Self(i32::MAX - (count - self.0) + 1)
        } else {
            Self(self.0 - count)
        }
    }

    /// Whether `self` is the sequence right after `last`; after none comes 0.
    #[must_use]
    pub const fn follows(self, last: Self) -> bool {
        if last.0 == i32::MAX {
            self.0 == 0
        } else {
            self.0 == last.0 + 1
        }
    }
}

/// The id of a topic: 16 bytes, printed as Kafka prints them, in unpadded URL-safe base64 (22 characters).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// All zero: "no id".
    pub const ZERO: Self = Self([0; 16]);

    /// Whether this is the zero id.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 128 bits are 21 characters of six bits and one that carries the last two bits.
        let bits = u128::from_be_bytes(self.0);
        let mut text = [0_u8; TOPIC_ID_CHARACTERS];
        for (index, character) in text.iter_mut().enumerate() {
            let six = if index + 1 < TOPIC_ID_CHARACTERS {
                bits >> (122 - 6 * index)
            } else {
                bits << 4
            };
            *character = BASE64_URL[(six & 63) as usize];
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TopicId {
    type Err = ParseTopicIdError;

    fn from_str(text: &str) -> Result<Self, ParseTopicIdError> {
        let text = text.strip_suffix("==").unwrap_or(text);
        if text.len() != TOPIC_ID_CHARACTERS {
            return Err(ParseTopicIdError);
        }
        let mut bits = 0_u128;
        for (index, character) in text.bytes().enumerate() {
            let six = BASE64_URL
                .iter()
                .position(|&c| c == character)
                .ok_or(ParseTopicIdError)? as u128;
            if index + 1 < TOPIC_ID_CHARACTERS {
                bits = bits << 6 | six;
            } else {
                bits = bits << 2 | six >> 4;
            }
        }
        Ok(Self(bits.to_be_bytes()))
    }
}

/// The id of a log directory: of the same make as a topic's.
pub type DirectoryId = TopicId;

/// A text that is no topic id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic id is 22 characters of URL-safe base64")]
pub struct ParseTopicIdError;

/// A partition by the name of its topic. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Index of the partition, from zero.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

const TOPIC_ID_CHARACTERS: usize = 22;
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests;
