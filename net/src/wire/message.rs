//! What every message can do.
//!
//! **Owns** the traits that the generated code implements, and the two encodings of lengths.
//! **Lives on** any thread.
//! **Invariants** 1. `decode` and `encode` refuse versions outside `VALID_VERSIONS`.
//! **Not here**: the primitives (`decoder`, `encoder`).

use std::ops::RangeInclusive;

use bytes::Bytes;

use super::{ApiKey, Budget, DecodeError, Decoder, EncodeError, Encoder};

/// How lengths of strings, bytes and arrays are written (KIP-482).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Fixed-size big-endian lengths, −1 for null.
    Plain,
    /// Unsigned varint of length + 1, 0 for null. Used by flexible versions.
    Compact,
}

impl Form {
    /// The form of a message version that is, or is not, flexible.
    #[inline]
    pub const fn of(flexible: bool) -> Self {
        if flexible { Self::Compact } else { Self::Plain }
    }
}

/// A tagged field this schema does not know, kept so that it survives decoding and encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTaggedField {
    /// The field's tag.
    pub tag: u32,
    /// The field's bytes, without tag and size.
    pub data: Bytes,
}

/// A struct that is laid out by version: a message or a part of one. Does not check the version.
pub trait Structure: Sized {
    /// The fewest bytes a value can take in this version; what array counts are checked against.
    fn size_min(version: i16) -> usize;

    /// Reads the fields of this version.
    fn read(d: &mut Decoder<'_>, version: i16) -> Result<Self, DecodeError>;

    /// Writes the fields of this version.
    fn write(&self, e: &mut Encoder<'_>, version: i16) -> Result<(), EncodeError>;
}

/// A whole message or record.
pub trait Message: Structure {
    /// Kafka's name of the schema, such as `MetadataRequest`.
    const NAME: &'static str;
    /// The versions this schema describes.
    const VALID_VERSIONS: RangeInclusive<i16>;
    /// The first version with compact lengths and tagged fields; `i16::MAX` when there is none.
    const FLEXIBLE_SINCE: i16;

    /// Reads a message; bytes that follow it are left in the decoder ([`Decoder::finish`]).
    ///
    /// Byte fields are slices of the decoder's frame and keep it alive.
    ///
    /// # Errors
    /// The version is not valid, the bytes are malformed, or the budget does not suffice.
    fn decode(d: &mut Decoder<'_>, version: i16) -> Result<Self, DecodeError> {
        if !Self::VALID_VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: Self::NAME,
                version,
            });
        }
        Self::read(d, version)
    }

    /// Appends the message.
    ///
    /// # Errors
    /// The version is not valid, a field is set that this version cannot carry (and that Kafka does
    /// not mark ignorable), a field is null where it may not be, or something is too long. What was
    /// appended until then stays in the encoder's vector.
    fn encode(&self, e: &mut Encoder<'_>, version: i16) -> Result<(), EncodeError> {
        if !Self::VALID_VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion {
                message: Self::NAME,
                version,
            });
        }
        self.write(e, version)
    }

    /// The number of bytes [`Message::encode`] appends. Costs an encoding.
    ///
    /// # Errors
    /// As [`Message::encode`].
    fn encoded_size(&self, version: i16) -> Result<usize, EncodeError> {
        self.to_vec(version).map(|bytes| bytes.len())
    }

    /// Encodes into a new vector.
    ///
    /// # Errors
    /// As [`Message::encode`].
    fn to_vec(&self, version: i16) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        self.encode(&mut Encoder::new(&mut out), version)?;
        Ok(out)
    }

    /// Decodes a whole value of trusted size, such as a stored record: the budget is
    /// [`Budget::for_frame`] of its length, and bytes that follow are an error.
    ///
    /// # Errors
    /// As [`Message::decode`].
    fn from_bytes(bytes: &Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut budget = Budget::for_frame(bytes.len());
        let mut d = Decoder::new(bytes, &mut budget);
        let message = Self::decode(&mut d, version)?;
        d.finish()?;
        Ok(message)
    }
}

/// A request message.
pub trait Request: Message {
    /// The API it calls.
    const API_KEY: ApiKey;
    /// What answers it.
    type Response: Message;
}

/// A record of the metadata log, or a key or value of an internal topic.
pub trait Record: Message {
    /// Kafka's `apiKey` of the record: the record type in the metadata log, the leading `i16` of
    /// the key in a coordinator's topic (a value shares the number of its key).
    const RECORD_TYPE: i16;
}
