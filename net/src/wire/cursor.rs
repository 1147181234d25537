//! Reading in place.
//!
//! **Owns** the primitives of decoding that borrow from the bytes and take no memory.
//! **Lives on** any thread.
//! **Invariants** 1. Nothing here panics, recurses or allocates. 2. After an error the cursor stands
//! anywhere: give up.
//! **Not here**: values that take memory (`decoder`).

use super::limits::{ELEMENT_COUNT_MAX, STRING_SIZE_MAX, TAG_COUNT_MAX};
use super::{DecodeError, Form, Uuid};

/// A place in a slice of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

/// A tagged field being read: between [`Cursor::tag_begin`] and [`Cursor::tag_end`] the cursor
/// sees only the field's own bytes.
#[derive(Clone, Copy, Debug)]
pub struct Tag<'a> {
    /// The field's tag.
    pub tag: u32,
    after: &'a [u8],
}

impl<'a> Tag<'a> {
    /// What follows the field.
    pub const fn after(&self) -> &'a [u8] {
        self.after
    }
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not read yet.
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Bytes not read yet.
    #[inline]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next two `i16` without moving on: API key and version of a request.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn peek_i16s(&self) -> Result<(i16, i16), DecodeError> {
        let [a, b, c, d] = *self.rest.first_chunk::<4>().ok_or(DecodeError::Truncated)?;
        Ok((i16::from_be_bytes([a, b]), i16::from_be_bytes([c, d])))
    }

    /// The next `N` bytes.
    #[inline]
    pub(super) fn array_of<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next `size` bytes.
    #[inline]
    pub fn take(&mut self, size: usize) -> Result<&'a [u8], DecodeError> {
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
        let (value, rest) = match *self.rest {
            [a, ref rest @ ..] if a < 0x80 => (u32::from(a), rest),
            // The sizes of most record batches.
            [a, b, ref rest @ ..] if b < 0x80 => (u32::from(a & 0x7f) | u32::from(b) << 7, rest),
            _ => return self.varint_long(),
        };
        self.rest = rest;
        Ok(value)
    }

    #[inline(never)]
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

    /// A length of bytes, or an unchecked count of elements; `None` for null.
    #[inline]
    pub(super) fn length(&mut self, form: Form) -> Result<Option<usize>, DecodeError> {
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

    /// A string borrowed from the frame; `None` for null.
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

    /// A string borrowed from the frame.
    #[inline]
    pub fn str(&mut self, form: Form) -> Result<&'a str, DecodeError> {
        self.nullable_str(form)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// Bytes borrowed from the frame; `None` for null.
    #[inline]
    pub fn nullable_slice(&mut self, form: Form) -> Result<Option<&'a [u8]>, DecodeError> {
        let Some(size) = self.length(form)? else {
            return Ok(None);
        };
        self.take(size).map(Some)
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

    /// The number of tagged fields that follow.
    #[inline]
    pub fn tag_count(&mut self) -> Result<usize, DecodeError> {
        let count = self.varint()? as usize;
        if count > TAG_COUNT_MAX || count > self.rest.len() / 2 {
            return Err(DecodeError::TooManyElements(count));
        }
        Ok(count)
    }

    /// Narrows the cursor to the next tagged field.
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

    /// Widens the cursor again; the field must have been read to its end.
    pub fn tag_end(&mut self, tag: Tag<'a>) -> Result<(), DecodeError> {
        if !self.rest.is_empty() {
            return Err(DecodeError::TaggedFieldSize(tag.tag));
        }
        self.rest = tag.after;
        Ok(())
    }

    /// Skips what is left; in a tagged field, the rest of the field.
    #[inline]
    pub fn skip_rest(&mut self) {
        self.rest = &[];
    }

    /// Skips the count of tagged fields when it is zero, as nearly always; says whether it was.
    #[inline]
    pub fn skip_no_tags(&mut self) -> bool {
        let Some((0, rest)) = self.rest.split_first() else {
            return false;
        };
        self.rest = rest;
        true
    }

    /// Skips all tagged fields.
    #[inline]
    pub fn skip_tags(&mut self) -> Result<(), DecodeError> {
        if self.skip_no_tags() {
            Ok(())
        } else {
            self.skip_some_tags()
        }
    }

    #[cold]
    fn skip_some_tags(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.tag_count()? {
            let tag = self.tag_begin()?;
            self.rest = tag.after;
        }
        Ok(())
    }
}
