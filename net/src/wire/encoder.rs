//! Writing messages.
//!
//! **Owns** the primitives of encoding.
//! **Lives on** any thread.
//! **Invariants** 1. The encoder only appends. 2. Tagged fields leave in ascending order of tags.
//! **Not here**: the order of fields (generated, `messages` and `records`).

use super::limits::STRING_SIZE_MAX;
use super::{Form, RawTaggedField, Structure, Uuid};

/// Why a message cannot be written. The fault is ours, or that of a value that came from a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The message does not exist in this version.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Kafka's name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is set that this version does not have, and that may not be dropped silently.
    #[error("version {version} cannot carry a value of {field}")]
    FieldNotInVersion {
        /// Struct and field.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is null in a version where it may not be.
    #[error("{field} may not be null in version {version}")]
    UnexpectedNull {
        /// Struct and field.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A string has more than 32,767 bytes, or bytes or an array more than 2^31 − 1.
    #[error("length {0} is too long for the protocol")]
    TooLong(usize),
    /// Unknown tagged fields are not in strictly ascending order, or use a known tag.
    #[error("tagged field {0} appears twice or out of order")]
    TagOrder(u32),
}

/// The value of a field that may not be null in this version.
///
/// # Errors
/// [`EncodeError::UnexpectedNull`] when it is `None`.
#[inline]
pub fn required<T>(value: Option<T>, field: &'static str, version: i16) -> Result<T, EncodeError> {
    value.ok_or(EncodeError::UnexpectedNull { field, version })
}

/// Appends to a vector.
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
}

/// Tagged fields being written, merged with the unknown ones.
#[derive(Debug)]
pub struct TagWriter<'f> {
    unknown: &'f [RawTaggedField],
}

impl<'a> Encoder<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// The bytes of the vector so far.
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// Bytes as they are.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// One byte, 0 or 1.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    /// A signed byte.
    #[inline]
    pub fn i8(&mut self, value: i8) {
        self.raw(&value.to_be_bytes());
    }

    /// A big-endian `i16`.
    #[inline]
    pub fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    /// A big-endian `u16`.
    #[inline]
    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    /// A big-endian `i32`.
    #[inline]
    pub fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    /// A big-endian `u32`.
    #[inline]
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    /// A big-endian `i64`.
    #[inline]
    pub fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    /// A big-endian `f64`.
    #[inline]
    pub fn f64(&mut self, value: f64) {
        self.raw(&value.to_be_bytes());
    }

    /// Sixteen bytes.
    #[inline]
    pub fn uuid(&mut self, value: Uuid) {
        self.raw(&value.0);
    }

    /// An unsigned varint.
    #[inline]
    pub fn varint(&mut self, value: u32) {
        let (bytes, size) = varint_bytes(value);
        self.raw(&bytes[..size]);
    }

    fn string_size(&mut self, form: Form, size: usize) -> Result<(), EncodeError> {
        let short = match i16::try_from(size) {
            Ok(short) if size <= STRING_SIZE_MAX => short,
            _ => return Err(EncodeError::TooLong(size)),
        };
        match form {
            Form::Plain => self.i16(short),
            Form::Compact => self.varint(u32::from(short.unsigned_abs()) + 1),
        }
        Ok(())
    }

    /// A length of bytes or a count of elements.
    pub fn length(&mut self, form: Form, size: usize) -> Result<(), EncodeError> {
        let Ok(length) = i32::try_from(size) else {
            return Err(EncodeError::TooLong(size));
        };
        match form {
            Form::Plain => self.i32(length),
            Form::Compact => self.varint(length.unsigned_abs() + 1),
        }
        Ok(())
    }

    /// The null of bytes and arrays.
    pub fn null_length(&mut self, form: Form) {
        match form {
            Form::Plain => self.i32(-1),
            Form::Compact => self.varint(0),
        }
    }

    /// A string.
    pub fn string(&mut self, form: Form, value: &str) -> Result<(), EncodeError> {
        self.string_size(form, value.len())?;
        self.raw(value.as_bytes());
        Ok(())
    }

    /// A string that may be null.
    pub fn nullable_string(&mut self, form: Form, value: Option<&str>) -> Result<(), EncodeError> {
        match (value, form) {
            (Some(value), _) => return self.string(form, value),
            (None, Form::Plain) => self.i16(-1),
            (None, Form::Compact) => self.varint(0),
        }
        Ok(())
    }

    /// Bytes.
    pub fn bytes(&mut self, form: Form, value: &[u8]) -> Result<(), EncodeError> {
        self.length(form, value.len())?;
        self.raw(value);
        Ok(())
    }

    /// Bytes that may be null.
    pub fn nullable_bytes(&mut self, form: Form, value: Option<&[u8]>) -> Result<(), EncodeError> {
        if let Some(value) = value {
            return self.bytes(form, value);
        }
        self.null_length(form);
        Ok(())
    }

    /// An array of structs.
    pub fn structs<T: Structure>(
        &mut self,
        form: Form,
        values: &[T],
        version: i16,
    ) -> Result<(), EncodeError> {
        self.length(form, values.len())?;
        values
            .iter()
            .try_for_each(|value| value.write(self, version))
    }

    /// An array of structs that may be null.
    pub fn nullable_structs<T: Structure>(
        &mut self,
        form: Form,
        values: Option<&[T]>,
        version: i16,
    ) -> Result<(), EncodeError> {
        if let Some(values) = values {
            return self.structs(form, values, version);
        }
        self.null_length(form);
        Ok(())
    }

    /// An array of strings.
    pub fn strings(&mut self, form: Form, values: &[String]) -> Result<(), EncodeError> {
        self.length(form, values.len())?;
        values.iter().try_for_each(|value| self.string(form, value))
    }

    /// An array of strings that may be null.
    pub fn nullable_strings(
        &mut self,
        form: Form,
        values: Option<&[String]>,
    ) -> Result<(), EncodeError> {
        if let Some(values) = values {
            return self.strings(form, values);
        }
        self.null_length(form);
        Ok(())
    }

    fn copies<T: Copy>(
        &mut self,
        form: Form,
        values: Option<&[T]>,
        write: impl Fn(&mut Self, T),
    ) -> Result<(), EncodeError> {
        let Some(values) = values else {
            self.null_length(form);
            return Ok(());
        };
        self.length(form, values.len())?;
        self.out.reserve(size_of_val(values));
        for &value in values {
            write(self, value);
        }
        Ok(())
    }

    /// An array of `i8`.
    pub fn i8s(&mut self, form: Form, values: &[i8]) -> Result<(), EncodeError> {
        self.copies(form, Some(values), Self::i8)
    }

    /// An array of `i16`.
    pub fn i16s(&mut self, form: Form, values: &[i16]) -> Result<(), EncodeError> {
        self.copies(form, Some(values), Self::i16)
    }

    /// An array of `i32`.
    pub fn i32s(&mut self, form: Form, values: &[i32]) -> Result<(), EncodeError> {
        self.copies(form, Some(values), Self::i32)
    }

    /// An array of `i32` that may be null.
    pub fn nullable_i32s(&mut self, form: Form, v: Option<&[i32]>) -> Result<(), EncodeError> {
        self.copies(form, v, Self::i32)
    }

    /// An array of `i64`.
    pub fn i64s(&mut self, form: Form, values: &[i64]) -> Result<(), EncodeError> {
        self.copies(form, Some(values), Self::i64)
    }

    /// An array of ids.
    pub fn uuids(&mut self, form: Form, values: &[Uuid]) -> Result<(), EncodeError> {
        self.copies(form, Some(values), Self::uuid)
    }

    /// An array of ids that may be null.
    pub fn nullable_uuids(&mut self, form: Form, v: Option<&[Uuid]>) -> Result<(), EncodeError> {
        self.copies(form, v, Self::uuid)
    }

    /// A struct behind a presence byte.
    pub fn nullable_struct<T: Structure>(
        &mut self,
        value: Option<&T>,
        version: i16,
    ) -> Result<(), EncodeError> {
        if let Some(value) = value {
            self.i8(1);
            return value.write(self, version);
        }
        self.i8(-1);
        Ok(())
    }

    /// A struct behind a presence varint, as nullable structs are written in tagged fields.
    pub fn nullable_tagged_struct<T: Structure>(
        &mut self,
        value: Option<&T>,
        version: i16,
    ) -> Result<(), EncodeError> {
        self.varint(u32::from(value.is_some()));
        value.map_or(Ok(()), |value| value.write(self, version))
    }

    /// Starts the tagged fields of a struct: `known` of them will follow by [`Encoder::tag`].
    pub fn tags<'f>(
        &mut self,
        known: u32,
        unknown: &'f [RawTaggedField],
    ) -> Result<TagWriter<'f>, EncodeError> {
        let count = u32::try_from(unknown.len())
            .ok()
            .and_then(|n| n.checked_add(known));
        self.varint(count.ok_or(EncodeError::TooLong(unknown.len()))?);
        Ok(TagWriter { unknown })
    }

    /// The tagged fields of a struct that knows none.
    #[inline]
    pub fn unknown_tags(&mut self, unknown: &[RawTaggedField]) -> Result<(), EncodeError> {
        let tags = self.tags(0, unknown)?;
        self.tags_end(tags)
    }

    /// Writes a known tagged field, after the unknown ones with smaller tags.
    pub fn tag(
        &mut self,
        tags: &mut TagWriter<'_>,
        tag: u32,
        write: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.unknown_below(tags, tag)?;
        self.varint(tag);
        // The size comes before the value but is known after it; values are small.
        let start = self.out.len();
        write(self)?;
        let size = self.out.len() - start;
        let Ok(length) = u32::try_from(size) else {
            return Err(EncodeError::TooLong(size));
        };
        let (bytes, count) = varint_bytes(length);
        self.out
            .splice(start..start, bytes[..count].iter().copied());
        Ok(())
    }

    fn unknown_below(&mut self, tags: &mut TagWriter<'_>, tag: u32) -> Result<(), EncodeError> {
        while let Some((field, rest)) = tags.unknown.split_first() {
            if field.tag >= tag {
                return if field.tag == tag {
                    Err(EncodeError::TagOrder(tag))
                } else {
                    Ok(())
                };
            }
            self.unknown(field, rest)?;
            tags.unknown = rest;
        }
        Ok(())
    }

    fn unknown(
        &mut self,
        field: &RawTaggedField,
        rest: &[RawTaggedField],
    ) -> Result<(), EncodeError> {
        if rest.first().is_some_and(|next| next.tag <= field.tag) {
            return Err(EncodeError::TagOrder(field.tag));
        }
        let Ok(size) = u32::try_from(field.data.len()) else {
            return Err(EncodeError::TooLong(field.data.len()));
        };
        self.varint(field.tag);
        self.varint(size);
        self.raw(&field.data);
        Ok(())
    }

    /// Writes the unknown tagged fields that are left.
    pub fn tags_end(&mut self, mut tags: TagWriter<'_>) -> Result<(), EncodeError> {
        while let Some((field, rest)) = tags.unknown.split_first() {
            self.unknown(field, rest)?;
            tags.unknown = rest;
        }
        Ok(())
    }
}

/// An unsigned varint and its size.
#[inline]
fn varint_bytes(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0_u8; 5];
    let mut size = 0;
    while value >= 0x80 {
        bytes[size] = (value & 0x7f) as u8 | 0x80;
        value >>= 7;
        size += 1;
    }
    bytes[size] = (value & 0x7f) as u8;
    (bytes, size + 1)
}

/// Index, error code and three offsets (or times): how each partition of a Produce or a Fetch
/// response starts, from version 5 on; before, the last is missing. One append instead of five.
#[inline]
pub(super) fn partition_head(index: i32, error: i16, offsets: [i64; 3]) -> [u8; PARTITION_HEAD] {
    let mut head = [0; PARTITION_HEAD];
    let [first, second, third] = offsets.map(i64::to_be_bytes);
    head[..4].copy_from_slice(&index.to_be_bytes());
    head[4..6].copy_from_slice(&error.to_be_bytes());
    head[6..14].copy_from_slice(&first);
    head[14..22].copy_from_slice(&second);
    head[22..].copy_from_slice(&third);
    head
}

/// The size of [`partition_head`], in bytes.
pub(super) const PARTITION_HEAD: usize = 30;
/// Its size before version 5.
pub(super) const PARTITION_HEAD_OLD: usize = 22;
