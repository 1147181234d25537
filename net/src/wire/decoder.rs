//! Reading messages from bytes that a stranger sent.
//!
//! **Owns** the values that take memory, and the budget they take it from.
//! **Lives on** any thread.
//! **Invariants**
//! 1. Nothing here panics, recurses, or allocates more than was charged to the [`Budget`] first.
//! 2. A count is at most the remaining bytes divided by the least size of an element.
//!
//! **Not here**: values that borrow (`cursor`), the order of fields (generated, `messages` and `records`).

use std::ops::{Deref, DerefMut};

use bytes::Bytes;

use super::{Cursor, Form, RawTaggedField, Structure, Tag, Uuid};

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
        if let Some(left) = self.left.checked_sub(bytes) {
            self.left = left;
            return Ok(());
        }
        self.left = 0;
        Err(DecodeError::OverBudget)
    }

    /// Bytes charged so far.
    pub const fn used(&self) -> usize {
        self.total - self.left
    }
}

/// A cursor over one frame.
///
/// A decoder is a [`Cursor`] with a purse: what borrows from the frame is read by the cursor's own
/// methods, what takes memory by the decoder's.
#[derive(Debug)]
pub struct Decoder<'a> {
    frame: &'a Bytes,
    cursor: Cursor<'a>,
    budget: &'a mut Budget,
}

impl<'a> Deref for Decoder<'a> {
    type Target = Cursor<'a>;

    #[inline]
    fn deref(&self) -> &Cursor<'a> {
        &self.cursor
    }
}

impl<'a> DerefMut for Decoder<'a> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Cursor<'a> {
        &mut self.cursor
    }
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte of `frame`.
    pub fn new(frame: &'a Bytes, budget: &'a mut Budget) -> Self {
        Self {
            frame,
            cursor: Cursor::new(frame),
            budget,
        }
    }

    /// The position of the next byte in the frame.
    #[inline]
    pub fn position(&self) -> usize {
        self.frame.len() - self.remaining()
    }

    /// The bytes not read yet, as a slice of the frame.
    pub fn rest(&self) -> Bytes {
        self.frame.slice_ref(self.cursor.rest())
    }

    /// For callers that do not tolerate trailing bytes (Kafka's broker does, in requests).
    ///
    /// # Errors
    /// [`DecodeError::TrailingBytes`] when bytes are left.
    pub const fn finish(self) -> Result<(), DecodeError> {
        match self.cursor.rest() {
            [] => Ok(()),
            rest => Err(DecodeError::TrailingBytes(rest.len())),
        }
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
        Ok(self
            .nullable_slice(form)?
            .map(|bytes| self.frame.slice_ref(bytes)))
    }

    /// Bytes, as a slice of the frame.
    pub fn bytes(&mut self, form: Form) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(form)?
            .ok_or(DecodeError::UnexpectedNull)
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
        self.collect(form, 1, |d| d.i8())
    }

    /// An array of `i8`.
    pub fn i8s(&mut self, form: Form) -> Result<Vec<i8>, DecodeError> {
        self.nullable_i8s(form)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// An array of `i16` that may be null.
    pub fn nullable_i16s(&mut self, form: Form) -> Result<Option<Vec<i16>>, DecodeError> {
        self.collect(form, 2, |d| d.i16())
    }

    /// An array of `i16`.
    pub fn i16s(&mut self, form: Form) -> Result<Vec<i16>, DecodeError> {
        self.nullable_i16s(form)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// An array of `i32` that may be null.
    pub fn nullable_i32s(&mut self, form: Form) -> Result<Option<Vec<i32>>, DecodeError> {
        self.collect(form, 4, |d| d.i32())
    }

    /// An array of `i32`.
    pub fn i32s(&mut self, form: Form) -> Result<Vec<i32>, DecodeError> {
        self.nullable_i32s(form)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// An array of `i64` that may be null.
    pub fn nullable_i64s(&mut self, form: Form) -> Result<Option<Vec<i64>>, DecodeError> {
        self.collect(form, 8, |d| d.i64())
    }

    /// An array of `i64`.
    pub fn i64s(&mut self, form: Form) -> Result<Vec<i64>, DecodeError> {
        self.nullable_i64s(form)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// An array of ids that may be null.
    pub fn nullable_uuids(&mut self, form: Form) -> Result<Option<Vec<Uuid>>, DecodeError> {
        self.collect(form, 16, |d| d.uuid())
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

    /// Keeps a field that the schema does not know, in ascending order of tags whatever the order in
    /// the message, and of fields with the same tag the last: then it can be written again.
    pub fn tag_unknown(
        &mut self,
        tag: &Tag<'a>,
        fields: &mut Vec<RawTaggedField>,
    ) -> Result<(), DecodeError> {
        // A vector starts with four elements and grows by doubling.
        let growth = if fields.is_empty() { 4 } else { 2 };
        self.budget.charge(growth * size_of::<RawTaggedField>())?;
        let field = RawTaggedField {
            tag: tag.tag,
            data: self.frame.slice_ref(self.cursor.rest()),
        };
        self.cursor.skip_rest();
        match fields.last() {
            Some(last) if last.tag >= tag.tag => insert_sorted(fields, field),
            _ => fields.push(field),
        }
        Ok(())
    }

    /// Reads tagged fields of a struct that knows none.
    #[inline]
    pub fn unknown_tags(&mut self) -> Result<Vec<RawTaggedField>, DecodeError> {
        if self.skip_no_tags() {
            return Ok(Vec::new());
        }
        self.some_unknown_tags()
    }

    #[cold]
    fn some_unknown_tags(&mut self) -> Result<Vec<RawTaggedField>, DecodeError> {
        let mut fields = Vec::new();
        for _ in 0..self.tag_count()? {
            let tag = self.tag_begin()?;
            self.tag_unknown(&tag, &mut fields)?;
            self.tag_end(tag)?;
        }
        Ok(fields)
    }
}

#[cold]
fn insert_sorted(fields: &mut Vec<RawTaggedField>, field: RawTaggedField) {
    match fields.binary_search_by_key(&field.tag, |known| known.tag) {
        Ok(place) => fields[place] = field,
        Err(place) => fields.insert(place, field),
    }
}
