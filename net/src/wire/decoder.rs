//! Reading messages from bytes that a stranger sent.
//!
//! **Owns** the primitives of decoding and the memory budget.
//! **Lives on** any thread.
//! **Invariants**
//! 1. Nothing here panics, recurses, or allocates more than was charged to the [`Budget`] first.
//! 2. A count is at most the remaining bytes divided by the least size of an element.
//!
//! **Not here**: the order of fields (generated, `messages` and `records`).

use bytes::Bytes;

use super::limits::{ELEMENT_COUNT_MAX, STRING_SIZE_MAX, TAG_COUNT_MAX};
use super::{Form, RawTaggedField, Structure, Uuid};

/// Why bytes are not a message. The fault is always the peer's (or the disk's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message does not exist in this version.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Kafka's name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// No API has this key.
    #[error("unknown API key {0}")]
    UnknownApiKey(i16),
    /// The bytes end within a field.
    #[error("the message is cut short")]
    Truncated,
    /// A length or count is negative where null is not allowed, or below −1.
    #[error("invalid length {0}")]
    InvalidLength(i64),
    /// An array claims more elements than the rest of the message, or the cap, can hold.
    #[error("array of {0} elements cannot be in the rest of the message")]
    TooManyElements(usize),
    /// A string is longer than Kafka allows.
    #[error("string of {0} bytes is too long")]
    StringTooLong(usize),
    /// A string is not UTF-8.
    #[error("string is not UTF-8")]
    NotUtf8,
    /// A field is null in a version where it may not be.
    #[error("null where a value is required")]
    UnexpectedNull,
    /// A varint has more than 32 bits (64 for varlong).
    #[error("varint is too long")]
    VarintTooLong,
    /// A tagged field's value does not fill the size it claims.
    #[error("tagged field {0} does not fill its size")]
    TaggedFieldSize(u32),
    /// The memory that decoding may take is used up.
    #[error("decoding would take more memory than allowed")]
    OverBudget,
    /// Bytes follow the message.
    #[error("{0} bytes follow the message")]
    TrailingBytes(usize),
}

/// The memory that decoding may take, in bytes.
#[derive(Debug)]
pub struct Budget {
    left: usize,
    total: usize,
}

impl Budget {
    /// A budget of this many bytes.
    pub const fn new(bytes: usize) -> Self {
        Self {
            left: bytes,
            total: bytes,
        }
    }

    /// A budget fit for honest messages of this size: structs take more room than their encoding,
    /// but an encoding made of minimal elements only is not honest above a few MiB.
    pub const fn for_frame(frame_size: usize) -> Self {
        Self::new(frame_size.saturating_mul(4).saturating_add(4 * 1024 * 1024))
    }

    /// Takes bytes out of the budget.
    ///
    /// # Errors
    /// [`DecodeError::OverBudget`] when they are not there; the budget is then empty.
    #[inline]
    pub fn charge(&mut self, bytes: usize) -> Result<(), DecodeError> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(DecodeError::OverBudget)
            }
        }
    }

    /// Bytes charged so far.
    pub const fn used(&self) -> usize {
        self.total - self.left
    }
}

/// A cursor over one frame.
#[derive(Debug)]
pub struct Decoder<'a> {
    frame: &'a Bytes,
    rest: &'a [u8],
    budget: &'a mut Budget,
}

/// A tagged field being read: between [`Decoder::tag_begin`] and [`Decoder::tag_end`] the decoder
/// sees only the field's own bytes.
#[derive(Debug)]
pub struct Tag<'a> {
    /// The field's tag.
    pub tag: u32,
    after: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte of `frame`.
    pub fn new(frame: &'a Bytes, budget: &'a mut Budget) -> Self {
        Self {
            frame,
            rest: frame,
            budget,
        }
    }

    /// Bytes not read yet.
    #[inline]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The position of the next byte in the frame.
    #[inline]
    pub fn position(&self) -> usize {
        self.frame.len() - self.rest.len()
    }

    /// The bytes not read yet, as a slice of the frame.
    pub fn rest(&self) -> Bytes {
        self.frame.slice_ref(self.rest)
    }

    /// For callers that do not tolerate trailing bytes (Kafka's broker does, in requests).
    ///
    /// # Errors
    /// [`DecodeError::TrailingBytes`] when bytes are left.
    pub const fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes(self.rest.len()))
        }
    }

    /// The next two `i16` without moving on: API key and version of a request.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn peek_i16s(&self) -> Result<(i16, i16), DecodeError> {
        let [a, b, c, d] = *self.rest.first_chunk::<4>().ok_or(DecodeError::Truncated)?;
        Ok((i16::from_be_bytes([a, b]), i16::from_be_bytes([c, d])))
    }

    #[inline]
    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    #[inline]
    fn take(&mut self, size: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self
            .rest
            .split_at_checked(size)
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// Any byte but zero is true, as in Kafka.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        self.array_of::<1>().map(|[byte]| byte != 0)
    }

    /// A signed byte.
    #[inline]
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.array_of().map(i8::from_be_bytes)
    }

    /// A big-endian `i16`.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.array_of().map(i16::from_be_bytes)
    }

    /// A big-endian `u16`.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array_of().map(u16::from_be_bytes)
    }

    /// A big-endian `i32`.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array_of().map(i32::from_be_bytes)
    }

    /// A big-endian `u32`.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array_of().map(u32::from_be_bytes)
    }

    /// A big-endian `i64`.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array_of().map(i64::from_be_bytes)
    }

    /// A big-endian `f64`.
    #[inline]
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        self.array_of().map(f64::from_be_bytes)
    }

    /// Sixteen bytes.
    #[inline]
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        self.array_of().map(Uuid)
    }

    /// An unsigned varint of at most 32 bits, in at most five bytes.
    #[inline]
    pub fn varint(&mut self) -> Result<u32, DecodeError> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u32::from(byte))
            }
            _ => self.varint_long(),
        }
    }

    fn varint_long(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array_of::<1>()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| DecodeError::VarintTooLong);
            }
        }
        Err(DecodeError::VarintTooLong)
    }

    /// A length of a string; `None` for null.
    #[inline]
    fn string_size(&mut self, form: Form) -> Result<Option<usize>, DecodeError> {
        match form {
            Form::Plain => match self.i16()? {
                -1 => Ok(None),
                size => match usize::try_from(size) {
                    Ok(size) => Ok(Some(size)),
                    Err(_) => Err(DecodeError::InvalidLength(i64::from(size))),
                },
            },
            Form::Compact => match (self.varint()? as usize).checked_sub(1) {
                Some(size) if size > STRING_SIZE_MAX => Err(DecodeError::StringTooLong(size)),
                size => Ok(size),
            },
        }
    }

    /// A length of bytes or a count of elements; `None` for null.
    #[inline]
    fn length(&mut self, form: Form) -> Result<Option<usize>, DecodeError> {
        match form {
            Form::Plain => match self.i32()? {
                -1 => Ok(None),
                size => match usize::try_from(size) {
                    Ok(size) => Ok(Some(size)),
                    Err(_) => Err(DecodeError::InvalidLength(i64::from(size))),
                },
            },
            Form::Compact => Ok((self.varint()? as usize).checked_sub(1)),
        }
    }

    /// A string borrowed from the frame; `None` for null. Charges nothing.
    #[inline]
    pub fn nullable_str(&mut self, form: Form) -> Result<Option<&'a str>, DecodeError> {
        let Some(size) = self.string_size(form)? else {
            return Ok(None);
        };
        let text = self.take(size)?;
        std::str::from_utf8(text)
            .map(Some)
            .map_err(|_| DecodeError::NotUtf8)
    }

    /// A string borrowed from the frame. Charges nothing.
    #[inline]
    pub fn str(&mut self, form: Form) -> Result<&'a str, DecodeError> {
        self.nullable_str(form)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// A string that may be null.
    pub fn nullable_string(&mut self, form: Form) -> Result<Option<String>, DecodeError> {
        let Some(text) = self.nullable_str(form)? else {
            return Ok(None);
        };
        self.budget.charge(text.len())?;
        Ok(Some(text.to_owned()))
    }

    /// A string.
    pub fn string(&mut self, form: Form) -> Result<String, DecodeError> {
        self.nullable_string(form)?
            .ok_or(DecodeError::UnexpectedNull)
    }

    /// Bytes that may be null, as a slice of the frame.
    pub fn nullable_bytes(&mut self, form: Form) -> Result<Option<Bytes>, DecodeError> {
        let Some(size) = self.length(form)? else {
            return Ok(None);
        };
        let bytes = self.take(size)?;
        Ok(Some(self.frame.slice_ref(bytes)))
    }

    /// Bytes, as a slice of the frame.
    pub fn bytes(&mut self, form: Form) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(form)?
            .ok_or(DecodeError::UnexpectedNull)
    }

    /// A count of elements, each of which takes at least `size_min` bytes; `None` for null.
    #[inline]
    pub fn nullable_count(
        &mut self,
        form: Form,
        size_min: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let Some(count) = self.length(form)? else {
            return Ok(None);
        };
        if count > ELEMENT_COUNT_MAX || count > self.rest.len() / size_min.max(1) {
            return Err(DecodeError::TooManyElements(count));
        }
        Ok(Some(count))
    }

    fn collect<T>(
        &mut self,
        form: Form,
        size_min: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.nullable_count(form, size_min)? else {
            return Ok(None);
        };
        self.budget.charge(count.saturating_mul(size_of::<T>()))?;
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(read(self)?);
        }
        Ok(Some(all))
    }

    /// An array of structs that may be null.
    pub fn nullable_structs<T: Structure>(
        &mut self,
        form: Form,
        version: i16,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        self.collect(form, T::size_min(version), |d| T::read(d, version))
    }

    /// An array of structs.
    pub fn structs<T: Structure>(
        &mut self,
        form: Form,
        version: i16,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_structs(form, version)?
            .ok_or(DecodeError::UnexpectedNull)
    }

    /// An array of strings that may be null.
    pub fn nullable_strings(&mut self, form: Form) -> Result<Option<Vec<String>>, DecodeError> {
        let size_min = if form == Form::Compact { 1 } else { 2 };
        self.collect(form, size_min, |d| d.string(form))
    }

    /// An array of strings.
    pub fn strings(&mut self, form: Form) -> Result<Vec<String>, DecodeError> {
        self.nullable_strings(form)?
            .ok_or(DecodeError::UnexpectedNull)
    }

    /// An array of `i8` that may be null.
    pub fn nullable_i8s(&mut self, form: Form) -> Result<Option<Vec<i8>>, DecodeError> {
        self.collect(form, 1, Self::i8)
    }

    /// An array of `i8`.
    pub fn i8s(&mut self, form: Form) -> Result<Vec<i8>, DecodeError> {
        self.nullable_i8s(form)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// An array of `i16` that may be null.
    pub fn nullable_i16s(&mut self, form: Form) -> Result<Option<Vec<i16>>, DecodeError> {
        self.collect(form, 2, Self::i16)
    }

    /// An array of `i16`.
    pub fn i16s(&mut self, form: Form) -> Result<Vec<i16>, DecodeError> {
        self.nullable_i16s(form)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// An array of `i32` that may be null.
    pub fn nullable_i32s(&mut self, form: Form) -> Result<Option<Vec<i32>>, DecodeError> {
        self.collect(form, 4, Self::i32)
    }

    /// An array of `i32`.
    pub fn i32s(&mut self, form: Form) -> Result<Vec<i32>, DecodeError> {
        self.nullable_i32s(form)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// An array of `i64` that may be null.
    pub fn nullable_i64s(&mut self, form: Form) -> Result<Option<Vec<i64>>, DecodeError> {
        self.collect(form, 8, Self::i64)
    }

    /// An array of `i64`.
    pub fn i64s(&mut self, form: Form) -> Result<Vec<i64>, DecodeError> {
        self.nullable_i64s(form)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// An array of ids that may be null.
    pub fn nullable_uuids(&mut self, form: Form) -> Result<Option<Vec<Uuid>>, DecodeError> {
        self.collect(form, 16, Self::uuid)
    }

    /// An array of ids.
    pub fn uuids(&mut self, form: Form) -> Result<Vec<Uuid>, DecodeError> {
        self.nullable_uuids(form)?
            .ok_or(DecodeError::UnexpectedNull)
    }

    /// A struct behind a presence byte: negative is null.
    pub fn nullable_struct<T: Structure>(
        &mut self,
        version: i16,
    ) -> Result<Option<T>, DecodeError> {
        if self.i8()? < 0 {
            Ok(None)
        } else {
            T::read(self, version).map(Some)
        }
    }

    /// A struct behind a presence varint, as nullable structs are written in tagged fields.
    pub fn nullable_tagged_struct<T: Structure>(
        &mut self,
        version: i16,
    ) -> Result<Option<T>, DecodeError> {
        if self.varint()? == 0 {
            Ok(None)
        } else {
            T::read(self, version).map(Some)
        }
    }

    /// The number of tagged fields that follow.
    #[inline]
    pub fn tag_count(&mut self) -> Result<usize, DecodeError> {
        let count = self.varint()? as usize;
        if count > TAG_COUNT_MAX || count > self.rest.len() / 2 {
            return Err(DecodeError::TooManyElements(count));
        }
        Ok(count)
    }

    /// Narrows the decoder to the next tagged field.
    pub fn tag_begin(&mut self) -> Result<Tag<'a>, DecodeError> {
        let tag = self.varint()?;
        let size = self.varint()? as usize;
        let (field, after) = self
            .rest
            .split_at_checked(size)
            .ok_or(DecodeError::Truncated)?;
        self.rest = field;
        Ok(Tag { tag, after })
    }

    /// Widens the decoder again; the field must have been read to its end.
    pub fn tag_end(&mut self, tag: Tag<'a>) -> Result<(), DecodeError> {
        if !self.rest.is_empty() {
            return Err(DecodeError::TaggedFieldSize(tag.tag));
        }
        self.rest = tag.after;
        Ok(())
    }

    /// Keeps a field that the schema does not know.
    pub fn tag_unknown(
        &mut self,
        tag: &Tag<'a>,
        fields: &mut Vec<RawTaggedField>,
    ) -> Result<(), DecodeError> {
        // Twice: the vector grows by doubling.
        self.budget.charge(2 * size_of::<RawTaggedField>())?;
        fields.push(RawTaggedField {
            tag: tag.tag,
            data: self.frame.slice_ref(self.rest),
        });
        self.rest = &[];
        Ok(())
    }

    /// Skips all tagged fields.
    pub fn skip_tags(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.tag_count()? {
            let tag = self.tag_begin()?;
            self.rest = tag.after;
        }
        Ok(())
    }

    /// Reads tagged fields of a struct that knows none.
    #[inline]
    pub fn unknown_tags(&mut self) -> Result<Vec<RawTaggedField>, DecodeError> {
        let mut fields = Vec::new();
        for _ in 0..self.tag_count()? {
            let tag = self.tag_begin()?;
            self.tag_unknown(&tag, &mut fields)?;
            self.tag_end(tag)?;
        }
        Ok(fields)
    }
}
