//! Records printed as JSON by their schema alone, as Kafka's JSON converters print them.
//!
//! **Owns** the rows that describe a layout, reading by them, and the JSON.
//! **Lives on** any thread: plain values.
//! **Invariants** 1. Nothing here panics or recurses deeper than the schema, and the text is bounded by a multiple of the
//! bytes read. 2. Fields come in the schema's order; a tagged field that has its default is left out.
//! **Not here**: the structs that code works with (`records`, `messages`), which record is meant (the caller knows the
//! topic).

mod tables;

use std::fmt::Write;
use std::ops::RangeInclusive;

use super::{Cursor, DecodeError, Form};

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Key of a coordinator's topic.
    Key,
    /// Value of a coordinator's topic; has the number of its key.
    Value,
    /// Record of the metadata log.
    Metadata,
    /// Anything else: control records, consumers' subscriptions.
    Data,
}

/// One record's schema.
#[derive(Debug)]
pub struct Layout {
    name: &'static str,
    role: Role,
    record_type: Option<i16>,
    valid: RangeInclusive<i16>,
    flexible: RangeInclusive<i16>,
    fields: &'static [Field],
}

#[derive(Debug)]
struct Field {
    name: &'static str,
    kind: Kind,
    versions: RangeInclusive<i16>,
    nullable: RangeInclusive<i16>,
    tag: Option<u32>,
    default: Default,
}

#[derive(Debug)]
enum Kind {
    Bool,
    I8,
    I16,
    I32,
    U16,
    U32,
    I64,
    F64,
    Uuid,
    String,
    Bytes,
    Struct(&'static [Field]),
    Array(&'static Kind),
}

/// What a tagged field has when it is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Default {
    /// Null.
    Null,
    /// This number; 1 for a true bool.
    Number(i64),
    /// Zero, nothing in it.
    Empty,
}

/// Prints bytes fields in another way: gets the field's name and bytes, appends JSON and gives true, or leaves the text
/// alone and gives false for the usual base64.
pub type BytesPrinter<'a> = &'a mut dyn FnMut(&str, &[u8], &mut String) -> bool;

impl Layout {
    /// The layout of Kafka's schema of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        tables::LAYOUTS.iter().find(|layout| layout.name == name)
    }

    /// All layouts of a role.
    pub fn all(role: Role) -> impl Iterator<Item = &'static Self> {
        tables::LAYOUTS
            .iter()
            .filter(move |layout| layout.role == role)
    }

    /// Kafka's name of the schema.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Kafka's `apiKey` of the record.
    pub fn record_type(&self) -> Option<i16> {
        self.record_type
    }

    /// The versions that the schema describes.
    pub fn versions(&self) -> RangeInclusive<i16> {
        self.valid.clone()
    }

    /// Appends the record under the cursor as a JSON object. Bytes that follow it are left.
    ///
    /// # Errors
    /// The version is not valid or the bytes are malformed; the text may then have a part of the record.
    pub fn print_json(
        &self,
        cursor: &mut Cursor<'_>,
        version: i16,
        text: &mut String,
    ) -> Result<(), DecodeError> {
        self.print_json_with(cursor, version, text, &mut |_, _, _| false)
    }

    /// As [`Layout::print_json`], with another way for bytes fields.
    ///
    /// # Errors
    /// As [`Layout::print_json`].
    pub fn print_json_with(
        &self,
        cursor: &mut Cursor<'_>,
        version: i16,
        text: &mut String,
        bytes: BytesPrinter<'_>,
    ) -> Result<(), DecodeError> {
        if !self.valid.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: self.name,
                version,
            });
        }
        let mut printer = Printer {
            version,
            flexible: self.flexible.contains(&version),
            text,
            bytes,
        };
        printer.structure(cursor, self.fields).map(drop)
    }
}

/// Whether a value is what a tagged field has when it is not written.
type IsDefault = bool;

struct Printer<'p> {
    version: i16,
    flexible: bool,
    text: &'p mut String,
    bytes: BytesPrinter<'p>,
}

impl Printer<'_> {
    fn structure(
        &mut self,
        cursor: &mut Cursor<'_>,
        fields: &'static [Field],
    ) -> Result<IsDefault, DecodeError> {
        let mut is_default = true;
        // Where each field's text would begin, for tagged fields that stand in the schema before others.
        let mut places: Vec<(usize, &'static Field)> = Vec::new();
        self.text.push('{');
        let version = self.version;
        for field in fields
            .iter()
            .filter(|field| field.versions.contains(&version))
        {
            if field.tag.is_some() {
                places.push((self.text.len(), field));
                continue;
            }
            self.name(field.name);
            is_default &= self.value(cursor, field, &field.kind)?;
        }
        self.text.push('}');
        if self.flexible {
            is_default &= self.tagged(cursor, &places)?;
        }
        Ok(is_default)
    }

    /// Reads the tagged fields and puts them where the schema has them.
    fn tagged(
        &mut self,
        cursor: &mut Cursor<'_>,
        places: &[(usize, &'static Field)],
    ) -> Result<IsDefault, DecodeError> {
        if cursor.skip_no_tags() {
            return Ok(true);
        }
        let mut pieces: Vec<(usize, String)> = Vec::new();
        for _ in 0..cursor.tag_count()? {
            let tag = cursor.tag_begin()?;
            let at = places
                .iter()
                .position(|(_, field)| field.tag == Some(tag.tag));
            if let Some(at) = at {
                let field = places[at].1;
                let end = self.text.len();
                let is_default = self.value(cursor, field, &field.kind)?;
                let piece = self.text.split_off(end);
                pieces.retain(|(before, _)| *before != at);
                if !is_default {
                    pieces.push((at, piece));
                }
            } else {
                cursor.skip_rest();
            }
            cursor.tag_end(tag)?;
        }
        pieces.sort_by_key(|(at, _)| *at);
        // The last first, so that the places before it stay where they are.
        for (at, piece) in pieces.iter().rev() {
            let (place, field) = places[*at];
            let first = self.text[..place].ends_with('{');
            let last = self.text[place..].starts_with('}');
            let before = if first { "" } else { "," };
            let after = if first && !last { "," } else { "" };
            let told = format!("{before}\"{}\":{piece}{after}", field.name);
            self.text.insert_str(place, &told);
        }
        Ok(pieces.is_empty())
    }

    fn name(&mut self, name: &str) {
        if !self.text.ends_with('{') {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    fn value(
        &mut self,
        cursor: &mut Cursor<'_>,
        field: &'static Field,
        kind: &'static Kind,
    ) -> Result<IsDefault, DecodeError> {
        match kind {
            Kind::Bool => {
                let value = cursor.bool()?;
                self.text.push_str(if value { "true" } else { "false" });
                Ok(field.default.is(i64::from(value)))
            }
            Kind::I8 => cursor.i8().map(|value| self.number(field, value)),
            Kind::I16 => cursor.i16().map(|value| self.number(field, value)),
            Kind::U16 => cursor.u16().map(|value| self.number(field, value)),
            Kind::I32 => cursor.i32().map(|value| self.number(field, value)),
            Kind::U32 => cursor.u32().map(|value| self.number(field, value)),
            Kind::I64 => cursor.i64().map(|value| self.number(field, value)),
            Kind::F64 => {
                let value = cursor.f64()?;
                put_double(self.text, value);
                Ok(value == 0.0)
            }
            Kind::Uuid => {
                let value = cursor.uuid()?;
                // Writing to a String cannot fail.
                let _ = write!(self.text, "\"{value}\"");
                Ok(value.is_zero())
            }
            Kind::String => {
                let value = cursor.nullable_str(self.form())?;
                let Some(value) = value else {
                    return self.null(field);
                };
                put_string(self.text, value);
                Ok(value.is_empty() && field.default == Default::Empty)
            }
            Kind::Bytes => {
                let Some(value) = cursor.nullable_slice(self.form())? else {
                    return self.null(field);
                };
                if !(self.bytes)(field.name, value, self.text) {
                    put_base64(self.text, value);
                }
                Ok(value.is_empty() && field.default == Default::Empty)
            }
            Kind::Struct(fields) => {
                // A presence byte, or a presence varint where the field is tagged.
                let nullable = field.nullable.contains(&self.version);
                let absent = match field.tag {
                    _ if !nullable => false,
                    Some(_) => cursor.varint()? == 0,
                    None => cursor.i8()? < 0,
                };
                if absent {
                    return self.null(field);
                }
                self.structure(cursor, fields)
            }
            Kind::Array(element) => {
                let Some(count) = cursor.nullable_count(self.form(), 1)? else {
                    return self.null(field);
                };
                self.text.push('[');
                for index in 0..count {
                    if index > 0 {
                        self.text.push(',');
                    }
                    match element {
                        // Of a nullable array, the elements are not.
                        Kind::Struct(fields) => self.structure(cursor, fields)?,
                        scalar => self.value(cursor, field, scalar)?,
                    };
                }
                self.text.push(']');
                Ok(count == 0 && field.default == Default::Empty)
            }
        }
    }

    fn number(&mut self, field: &Field, value: impl Into<i64>) -> IsDefault {
        let value = value.into();
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{value}");
        field.default.is(value)
    }

    fn null(&mut self, field: &Field) -> Result<IsDefault, DecodeError> {
        if !field.nullable.contains(&self.version) {
            return Err(DecodeError::UnexpectedNull);
        }
        self.text.push_str("null");
        Ok(field.default == Default::Null)
    }

    fn form(&self) -> Form {
        Form::of(self.flexible)
    }
}

impl Default {
    fn is(self, value: i64) -> bool {
        match self {
            Self::Null => false,
            Self::Number(number) => number == value,
            Self::Empty => value == 0,
        }
    }
}

/// Appends a JSON string, escaped as Jackson does it.
pub fn put_string(text: &mut String, value: &str) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            control if control < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04X}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

/// Appends a JSON string of the standard base64 of `bytes`, padded.
pub fn put_base64(text: &mut String, bytes: &[u8]) {
    text.push('"');
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            if at <= group.len() {
                let six = (bits >> (18 - 6 * at)) & 63;
                text.push(char::from(BASE64[six as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text.push('"');
}

/// Appends a number as Java prints a double: its shortest digits, `1.0E7` from ten million on and below a thousandth.
pub fn put_double(text: &mut String, value: f64) {
    if !value.is_finite() {
        let name = match (value.is_nan(), value > 0.0) {
            (true, _) => "\"NaN\"",
            (false, true) => "\"Infinity\"",
            (false, false) => "\"-Infinity\"",
        };
        text.push_str(name);
        return;
    }
    let size = value.abs();
    // Writing to a String cannot fail.
    let _ = if size == 0.0 || (1e-3..1e7).contains(&size) {
        write!(text, "{value:?}")
    } else {
        let scientific = format!("{value:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let point = if digits.contains('.') { "" } else { ".0" };
        write!(text, "{digits}{point}E{exponent}")
    };
}

/// No version.
const NONE: RangeInclusive<i16> = RangeInclusive::new(0, -1);
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests;
