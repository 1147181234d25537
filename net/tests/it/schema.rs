//! A second reading of the schemas, independent of the generator: interprets `net/schemas` to make
//! random messages, to write them, and to read frames into Kafka's JSON form.
//!
//! **Owns** the oracle that the generated code is compared with.
//! **Invariants** 1. Messages it makes are canonical: tagged fields ascend and differ from their
//! defaults. 2. The golden tests prove it against frames and JSON that Kafka wrote.
use std::path::PathBuf;

use serde_json::{Map, Value, json};

/// A pseudo-random sequence (xorshift*), the same on every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits fit") % limit
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

pub(crate) struct Schema {
    json: Value,
}

/// Where a message is being read or written.
#[derive(Clone, Copy)]
struct At<'s> {
    schema: &'s Schema,
    version: i16,
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

impl Schema {
    pub(crate) fn load(name: &str) -> Self {
        let folders = ["messages", "records"];
        let text = folders.iter().find_map(|folder| {
            std::fs::read_to_string(root().join(format!("schemas/{folder}/{name}.json"))).ok()
        });
        let text = text.unwrap_or_else(|| panic!("no schema {name}"));
        Self {
            json: serde_json::from_str(&text).expect("schemas are JSON"),
        }
    }

    fn flexible(&self, version: i16) -> bool {
        within(&self.json["flexibleVersions"], version)
    }

    fn fields<'s>(&'s self, field: &'s Value) -> &'s [Value] {
        if let Some(own) = field["fields"].as_array() {
            return own;
        }
        let name = field["type"]
            .as_str()
            .expect("a type")
            .trim_start_matches("[]");
        let all = self.json["commonStructs"]
            .as_array()
            .expect("common structs");
        let found = all
            .iter()
            .find(|item| item["name"] == name)
            .expect("the struct is known");
        found["fields"].as_array().expect("fields")
    }

    fn top(&self) -> &[Value] {
        self.json["fields"].as_array().expect("fields")
    }

    /// A random message in Kafka's JSON form (bytes and records as base64).
    pub(crate) fn random(&self, version: i16, random: &mut Random) -> Value {
        At {
            schema: self,
            version,
        }
        .random_struct(self.top(), random)
    }

    /// The bytes of a message. With `unknown`, structs get tagged fields no schema knows.
    pub(crate) fn write(&self, version: i16, value: &Value, unknown: bool) -> Vec<u8> {
        let mut out = Vec::new();
        At {
            schema: self,
            version,
        }
        .write_struct(self.top(), value, unknown, &mut out);
        out
    }

    /// Reads a message into Kafka's JSON form, and says how many bytes are left. Records are left
    /// out but for their size, as Kafka's converters do.
    pub(crate) fn read(&self, version: i16, bytes: &[u8]) -> (Value, usize) {
        let mut rest = bytes;
        let value = At {
            schema: self,
            version,
        }
        .read_struct(self.top(), &mut rest);
        (value, rest.len())
    }
}

/// Whether a version is in a range as schemas write it; no range is an empty one.
fn within(range: &Value, version: i16) -> bool {
    let Some(range) = range.as_str() else {
        return false;
    };
    let number = |text: &str| text.parse::<i16>().expect("a version");
    if range == "none" {
        false
    } else if let Some(first) = range.strip_suffix('+') {
        version >= number(first)
    } else if let Some((first, last)) = range.split_once('-') {
        (number(first)..=number(last)).contains(&version)
    } else {
        version == number(range)
    }
}

fn name_of(field: &Value) -> String {
    let name = field["name"].as_str().expect("a name");
    // As Kafka's generator has it: the first letter only, except for leading capitals kept.
    let mut letters = name.chars();
    let first = letters.next().expect("a name is not empty");
    first.to_ascii_lowercase().to_string() + letters.as_str()
}

impl At<'_> {
    fn present(self, field: &Value) -> bool {
        let versions = if field["versions"].is_null() {
            "taggedVersions"
        } else {
            "versions"
        };
        within(&field[versions], self.version)
    }

    fn tagged(self, field: &Value) -> Option<u32> {
        let tag = u32::try_from(field["tag"].as_u64()?).expect("a tag");
        within(&field["taggedVersions"], self.version).then_some(tag)
    }

    fn nullable(self, field: &Value) -> bool {
        within(&field["nullableVersions"], self.version)
    }

    fn compact(self, field: &Value) -> bool {
        self.schema.flexible(self.version) && field["flexibleVersions"] != "none"
    }

    fn default(self, field: &Value) -> Value {
        let default = match &field["default"] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        if default == "null" {
            return Value::Null;
        }
        let number = || match default.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).expect("hex"),
            None if default.is_empty() => 0,
            None => default.parse().expect("a number"),
        };
        match field["type"].as_str().expect("a type") {
            "bool" => json!(default == "true"),
            "float64" => json!(0.0),
            "string" => json!(default),
            "bytes" | "records" => json!(""),
            "uuid" => json!("AAAAAAAAAAAAAAAAAAAAAA"),
            kind if kind.starts_with("[]") => json!([]),
            kind if kind.starts_with(char::is_uppercase) => {
                let mut all = Map::new();
                for inner in self.schema.fields(field) {
                    if self.present(inner) {
                        all.insert(name_of(inner), self.default(inner));
                    }
                }
                Value::Object(all)
            }
            _ => json!(number()),
        }
    }

    fn random_struct(self, fields: &[Value], random: &mut Random) -> Value {
        let mut all = Map::new();
        for field in fields {
            if !self.present(field) || self.tagged(field).is_some() && random.one_in(2) {
                continue;
            }
            let nullable = self.nullable(field) && random.one_in(4);
            let value = if nullable {
                Value::Null
            } else {
                self.random_value(field, random)
            };
            all.insert(name_of(field), value);
        }
        Value::Object(all)
    }

    fn random_value(self, field: &Value, random: &mut Random) -> Value {
        let kind = field["type"].as_str().expect("a type");
        if let Some(element) = kind.strip_prefix("[]") {
            let mut inner = field.clone();
            inner["type"] = json!(element);
            let count = random.below(4);
            return (0..count)
                .map(|_| self.random_value(&inner, random))
                .collect();
        }
        let bits = random.next();
        // Small numbers and extremes are likelier than uniform ones would be.
        let number = match random.below(4) {
            0 => bits & 1,
            1 => u64::MAX,
            _ => bits,
        };
        let [.., high, low] = number.to_be_bytes();
        let [.., first, second, third, fourth] = number.to_be_bytes();
        let word = [first, second, third, fourth];
        match kind {
            "bool" => json!(number & 1 == 1),
            "int8" => json!(i8::from_be_bytes([low])),
            "int16" => json!(i16::from_be_bytes([high, low])),
            "uint16" => json!(u16::from_be_bytes([high, low])),
            "int32" => json!(i32::from_be_bytes(word)),
            "uint32" => json!(u32::from_be_bytes(word)),
            "int64" => json!(i64::from_be_bytes(number.to_be_bytes())),
            "float64" => json!(f64::from(u32::from_be_bytes(word)) / 8.0),
            "string" => {
                let letters = ['a', 'Z', '0', '-', 'é', '\u{0}', '水', '🦀'];
                let count = if random.one_in(20) {
                    150
                } else {
                    random.below(9)
                };
                json!(
                    (0..count)
                        .map(|_| letters[random.below(8)])
                        .collect::<String>()
                )
            }
            "bytes" | "records" => {
                let count = if random.one_in(10) {
                    200
                } else {
                    random.below(12)
                };
                let bytes: Vec<u8> = (0..count).map(|_| random.next().to_be_bytes()[0]).collect();
                json!(base64(&bytes, Alphabet::Standard))
            }
            "uuid" => {
                let bytes: Vec<u8> = (0..16).map(|_| random.next().to_be_bytes()[0]).collect();
                json!(base64(&bytes, Alphabet::Url))
            }
            _ => self.random_struct(self.schema.fields(field), random),
        }
    }

    fn write_struct(self, fields: &[Value], value: &Value, unknown: bool, out: &mut Vec<u8>) {
        let mut tagged = Vec::new();
        for field in fields.iter().filter(|field| self.present(field)) {
            let default = self.default(field);
            let value = value.get(name_of(field)).unwrap_or(&default);
            match self.tagged(field) {
                None => self.write_value(field, value, unknown, out),
                Some(tag) => {
                    let (mut own, mut plain) = (Vec::new(), Vec::new());
                    self.write_value(field, value, false, &mut own);
                    self.write_value(field, &default, false, &mut plain);
                    if own != plain {
                        tagged.push((tag, own));
                    }
                }
            }
        }
        if !self.schema.flexible(self.version) {
            return;
        }
        if unknown {
            tagged.push((77, vec![1, 2, 3]));
            tagged.push((1_000_000, vec![]));
        }
        tagged.sort();
        varint(tagged.len(), out);
        for (tag, bytes) in tagged {
            varint(tag as usize, out);
            varint(bytes.len(), out);
            out.extend(bytes);
        }
    }

    fn write_value(self, field: &Value, value: &Value, unknown: bool, out: &mut Vec<u8>) {
        let kind = field["type"].as_str().expect("a type");
        let compact = self.compact(field);
        let length = |size: Option<usize>, short: bool, out: &mut Vec<u8>| {
            let signed = size.map_or(-1, |size| i32::try_from(size).expect("small"));
            match (compact, short) {
                (true, _) => varint(size.map_or(0, |size| size + 1), out),
                (false, true) => {
                    out.extend(i16::try_from(signed).expect("short").to_be_bytes());
                }
                (false, false) => out.extend(signed.to_be_bytes()),
            }
        };
        if let Some(element) = kind.strip_prefix("[]") {
            let list = value.as_array();
            length(list.map(Vec::len), false, out);
            let mut inner = field.clone();
            inner["type"] = json!(element);
            // Nullability is the array's, not the element's.
            inner["nullableVersions"] = json!("none");
            for item in list.into_iter().flatten() {
                self.write_value(&inner, item, unknown, out);
            }
            return;
        }
        let number = || value.as_i64().expect("a number");
        let narrow = "random numbers are made to fit";
        match kind {
            "bool" => out.push(u8::from(value.as_bool().expect("a bool"))),
            "int8" => out.extend(i8::try_from(number()).expect(narrow).to_be_bytes()),
            "int16" => out.extend(i16::try_from(number()).expect(narrow).to_be_bytes()),
            "uint16" => out.extend(u16::try_from(number()).expect(narrow).to_be_bytes()),
            "int32" => out.extend(i32::try_from(number()).expect(narrow).to_be_bytes()),
            "uint32" => out.extend(u32::try_from(number()).expect(narrow).to_be_bytes()),
            "int64" => out.extend(number().to_be_bytes()),
            "float64" => out.extend(value.as_f64().expect("a float").to_be_bytes()),
            "string" => {
                let text = value.as_str();
                length(text.map(str::len), true, out);
                out.extend(text.unwrap_or_default().as_bytes());
            }
            "bytes" | "records" => {
                let bytes = value.as_str().map(from_base64);
                length(bytes.as_ref().map(Vec::len), false, out);
                out.extend(bytes.unwrap_or_default());
            }
            "uuid" => out.extend(from_base64(value.as_str().expect("an id"))),
            _ => {
                let fields = self.schema.fields(field);
                if self.nullable(field) {
                    let present = !value.is_null();
                    let marker = if present { 1 } else { -1_i8 };
                    match self.tagged(field) {
                        Some(_) => out.push(u8::from(present)),
                        None => out.extend(marker.to_be_bytes()),
                    }
                    if !present {
                        return;
                    }
                }
                self.write_struct(fields, value, unknown, out);
            }
        }
    }

    fn read_struct(self, fields: &[Value], rest: &mut &[u8]) -> Value {
        let mut all = Map::new();
        for field in fields {
            if self.present(field) && self.tagged(field).is_none() {
                self.read_into(field, rest, &mut all);
            }
        }
        if self.schema.flexible(self.version) {
            for _ in 0..read_varint(rest) {
                let tag = read_varint(rest);
                let size = read_varint(rest);
                let mut own = rest.split_off(..size).expect("a tagged field");
                let known = fields.iter().find(|field| {
                    self.tagged(field)
                        .is_some_and(|known| known as usize == tag)
                });
                if let Some(field) = known {
                    self.read_into(field, &mut own, &mut all);
                    assert!(
                        own.is_empty(),
                        "tagged field {tag} is longer than its value"
                    );
                }
            }
        }
        Value::Object(all)
    }

    fn read_into(self, field: &Value, rest: &mut &[u8], all: &mut Map<String, Value>) {
        let name = name_of(field);
        let value = self.read_value(field, rest);
        if field["type"] == "records" {
            let size = value.as_str().map_or(0, |text| from_base64(text).len());
            all.insert(format!("{name}SizeInBytes"), json!(size));
        } else {
            all.insert(name, value);
        }
    }

    fn read_value(self, field: &Value, rest: &mut &[u8]) -> Value {
        let kind = field["type"].as_str().expect("a type");
        let compact = self.compact(field);
        let length = |short: bool, rest: &mut &[u8]| -> Option<usize> {
            match (compact, short) {
                (true, _) => read_varint(rest).checked_sub(1),
                (false, true) => usize::try_from(i16::from_be_bytes(bytes(rest))).ok(),
                (false, false) => usize::try_from(i32::from_be_bytes(bytes(rest))).ok(),
            }
        };
        if let Some(element) = kind.strip_prefix("[]") {
            let Some(count) = length(false, rest) else {
                return Value::Null;
            };
            let mut inner = field.clone();
            inner["type"] = json!(element);
            inner["nullableVersions"] = json!("none");
            return (0..count).map(|_| self.read_value(&inner, rest)).collect();
        }
        match kind {
            "bool" => json!(bytes::<1>(rest) != [0]),
            "int8" => json!(i8::from_be_bytes(bytes(rest))),
            "int16" => json!(i16::from_be_bytes(bytes(rest))),
            "uint16" => json!(u16::from_be_bytes(bytes(rest))),
            "int32" => json!(i32::from_be_bytes(bytes(rest))),
            "uint32" => json!(u32::from_be_bytes(bytes(rest))),
            "int64" => json!(i64::from_be_bytes(bytes(rest))),
            "float64" => json!(f64::from_be_bytes(bytes(rest))),
            "string" => length(true, rest).map_or(Value::Null, |size| {
                let text = rest.split_off(..size).expect("a string");
                json!(std::str::from_utf8(text).expect("UTF-8"))
            }),
            "bytes" | "records" => length(false, rest).map_or(Value::Null, |size| {
                json!(base64(
                    rest.split_off(..size).expect("bytes"),
                    Alphabet::Standard
                ))
            }),
            "uuid" => json!(base64(&bytes::<16>(rest), Alphabet::Url)),
            _ => {
                if self.nullable(field) {
                    let present = match self.tagged(field) {
                        Some(_) => read_varint(rest) > 0,
                        None => i8::from_be_bytes(bytes(rest)) >= 0,
                    };
                    if !present {
                        return Value::Null;
                    }
                }
                self.read_struct(self.schema.fields(field), rest)
            }
        }
    }
}

fn bytes<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (head, tail) = rest.split_first_chunk().expect("enough bytes");
    *rest = tail;
    *head
}

fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("7 bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("7 bits"));
}

fn read_varint(rest: &mut &[u8]) -> usize {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let [byte] = bytes(rest);
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

#[derive(Clone, Copy, PartialEq)]
enum Alphabet {
    Standard,
    Url,
}

fn digits(alphabet: Alphabet) -> Vec<u8> {
    let tail = if alphabet == Alphabet::Url {
        "-_"
    } else {
        "+/"
    };
    (b'A'..=b'Z')
        .chain(b'a'..=b'z')
        .chain(b'0'..=b'9')
        .chain(tail.bytes())
        .collect()
}

/// Base64, padded in the standard alphabet only.
fn base64(bytes: &[u8], alphabet: Alphabet) -> String {
    let digits = digits(alphabet);
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let word = group
            .iter()
            .fold(0_usize, |word, &byte| word << 8 | usize::from(byte));
        let word = word << (8 * (3 - group.len()));
        for place in 0..4 {
            if place <= group.len() {
                out.push(char::from(digits[word >> (18 - 6 * place) & 63]));
            } else if alphabet == Alphabet::Standard {
                out.push('=');
            }
        }
    }
    out
}

/// Base64 of either alphabet.
fn from_base64(text: &str) -> Vec<u8> {
    let digits = digits(Alphabet::Url);
    let mut out = Vec::new();
    let (mut word, mut bits) = (0_usize, 0);
    for letter in text.bytes().filter(|&letter| letter != b'=') {
        let letter = match letter {
            b'+' => b'-',
            b'/' => b'_',
            other => other,
        };
        let digit = digits
            .iter()
            .position(|&known| known == letter)
            .expect("base64");
        word = word << 6 | digit;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(word >> bits & 0xff).expect("8 bits"));
        }
    }
    out
}
