//! Tables over all messages: API keys, error codes, dispatch by key.
//!
//! **Owns** `api_key.rs`, `error_code.rs` and `visit.rs`.
//! **Lives on** a developer's machine and in CI.
//! **Invariants** 1. Rows are ordered by key or code.
//! **Not here**: structs (`structs`).

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::schema::Schema;
use super::structs::{GENERATED, snake};

pub(crate) fn api_key(messages: &[Schema]) -> String {
    let mut requests: Vec<&Schema> = messages
        .iter()
        .filter(|schema| schema.kind == "request")
        .collect();
    requests.sort_by_key(|schema| schema.api_key);
    let mut variants = String::new();
    let mut rows = String::new();
    let mut all = String::new();
    for schema in requests {
        let stem = schema.stem();
        let key = schema.api_key.unwrap_or(-1);
        let valid = schema.valid;
        let about = if valid.is_empty() {
            "removed from the protocol".into()
        } else {
            format!("versions {}", valid.text())
        };
        writeln!(variants, "/// `{stem}`: {about}.\n{stem} = {key},").unwrap_or_default();
        writeln!(all, "Self::{stem},").unwrap_or_default();
        let flexible = schema.flexible.and(valid);
        let flexible = if flexible.is_empty() {
            "i16::MAX".into()
        } else {
            flexible.first.to_string()
        };
        let on = |name: &str| schema.listeners.iter().any(|listener| listener == name);
        let listeners = match (on("broker"), on("controller")) {
            (true, true) => "Both",
            (true, false) => "Broker",
            (false, true) => "Controller",
            (false, false) => "Neither",
        };
        writeln!(
            rows,
            "Row {{ name: \"{stem}\", first: {}, last: {}, flexible_since: {flexible}, \
             unstable: {}, listeners: Listeners::{listeners} }},",
            valid.first, valid.last, schema.latest_unstable
        )
        .unwrap_or_default();
    }
    format!(
        "{GENERATED}{API_KEY_HEAD}
/// Every API of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum ApiKey {{ {variants} }}

{API_KEY_BODY}

impl ApiKey {{
    /// All keys, ascending; the index is the key.
    pub const ALL: &'static [Self] = &[{all}];
}}

/// By key.
static ROWS: [Row; ApiKey::ALL.len()] = [{rows}];
"
    )
}

const API_KEY_HEAD: &str = "//! The table of APIs.
//!
//! **Owns** keys, names, versions, flexibility and header versions of Kafka 4.3's APIs.
//! **Lives on** any thread: constants.
//! **Invariants** 1. Keys are dense from 0.
//! **Not here**: which versions the broker serves (its table of handlers).

use std::fmt;
use std::ops::RangeInclusive;

use super::DecodeError;
";

const API_KEY_BODY: &str = r"
/// The kinds of listener that serve an API in Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listeners {
    /// Brokers only.
    Broker,
    /// Controllers only.
    Controller,
    /// Brokers and controllers.
    Both,
    /// None: the API was removed.
    Neither,
}

struct Row {
    name: &'static str,
    first: i16,
    last: i16,
    flexible_since: i16,
    unstable: bool,
    listeners: Listeners,
}

impl ApiKey {
    /// The API of a key from the wire.
    ///
    /// # Errors
    /// [`DecodeError::UnknownApiKey`].
    pub fn from_key(key: i16) -> Result<Self, DecodeError> {
        let found = usize::try_from(key).ok().and_then(|index| Self::ALL.get(index).copied());
        found.ok_or(DecodeError::UnknownApiKey(key))
    }

    /// The number on the wire.
    pub const fn key(self) -> i16 {
        self as i16
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// Kafka's name, without `Request`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The versions that have a schema; empty for APIs removed from the protocol.
    pub fn valid_versions(self) -> RangeInclusive<i16> {
        self.row().first..=self.row().last
    }

    /// Whether the latest version is not final, so that Kafka does not offer it by default.
    pub fn latest_is_unstable(self) -> bool {
        self.row().unstable
    }

    /// Whether this version uses compact lengths and tagged fields (KIP-482).
    pub fn is_flexible(self, version: i16) -> bool {
        version >= self.row().flexible_since
    }

    /// Where Kafka serves it.
    pub fn listeners(self) -> Listeners {
        self.row().listeners
    }

    /// The version of the request header, also for versions that are not valid.
    pub fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the response header. `ApiVersions` always answers with version 0, so that a
    /// client that asked in an unknown version can read it (KIP-511).
    pub fn response_header_version(self, version: i16) -> i16 {
        i16::from(self.is_flexible(version) && self != Self::ApiVersions)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl TryFrom<i16> for ApiKey {
    type Error = DecodeError;

    fn try_from(key: i16) -> Result<Self, DecodeError> {
        Self::from_key(key)
    }
}

impl From<ApiKey> for i16 {
    fn from(api: ApiKey) -> Self {
        api.key()
    }
}
";

pub(crate) fn error_code(table: &str) -> Result<String> {
    let mut variants = String::new();
    let mut all = String::new();
    let mut rows = String::new();
    for line in table.lines().skip(1) {
        let mut columns = line.split('\t');
        let mut next = || columns.next().context("a column is missing");
        let (name, code, retriable, text) = (next()?, next()?, next()?, next()?);
        let variant: String = name
            .split('_')
            .map(|word| word[..1].to_owned() + &word[1..].to_ascii_lowercase())
            .collect();
        let retriable = retriable == "True";
        writeln!(variants, "/// `{name}`.\n{variant} = {code},").unwrap_or_default();
        writeln!(all, "Self::{variant},").unwrap_or_default();
        writeln!(
            rows,
            "Row {{ name: {name:?}, retriable: {retriable}, message: {text:?} }},"
        )
        .unwrap_or_default();
    }
    Ok(format!(
        "{GENERATED}{ERROR_CODE_HEAD}
/// Every error code of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum ErrorCode {{ {} }}

impl ErrorCode {{
    /// All codes, ascending from −1.
    pub const ALL: &'static [Self] = &[{all}];
}}

{ERROR_CODE_BODY}

/// By code + 1.
static ROWS: [Row; ErrorCode::ALL.len()] = [{rows}];
",
        variants.replace("None = 0,", "#[default]\nNone = 0,")
    ))
}

const ERROR_CODE_HEAD: &str = "//! The table of error codes.
//!
//! **Owns** the codes of Kafka 4.3, their names, texts, and whether clients retry them.
//! **Lives on** any thread: constants.
//! **Invariants** 1. Codes are dense from −1.
//! **Not here**: which error of ours becomes which code (`broker`).

use std::fmt;
";

const ERROR_CODE_BODY: &str = r"
struct Row {
    name: &'static str,
    retriable: bool,
    message: &'static str,
}

impl ErrorCode {
    /// The code of a number from the wire; `None` when this release does not know it.
    pub fn from_code(code: i16) -> Option<Self> {
        let index = usize::try_from(i32::from(code) + 1).ok()?;
        Self::ALL.get(index).copied()
    }

    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    fn row(self) -> &'static Row {
        // Codes start at −1, so the index of a known code is never negative.
        &ROWS[usize::from((self as i16 + 1).unsigned_abs())]
    }

    /// Kafka's name, such as `UNKNOWN_TOPIC_OR_PARTITION`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The text that Kafka's clients show for the code; empty for [`ErrorCode::None`].
    pub fn message(self) -> &'static str {
        self.row().message
    }

    /// Whether a client may send the request again.
    pub fn is_retriable(self) -> bool {
        self.row().retriable
    }

    /// Whether this is [`ErrorCode::None`].
    pub const fn is_none(self) -> bool {
        matches!(self, Self::None)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> Self {
        error.code()
    }
}

impl TryFrom<i16> for ErrorCode {
    type Error = i16;

    /// # Errors
    /// The number itself when this release does not know it.
    fn try_from(code: i16) -> Result<Self, i16> {
        Self::from_code(code).ok_or(code)
    }
}
";

pub(crate) fn visit(messages: &[Schema], records: &[Schema]) -> String {
    let alive = |schema: &&Schema| !schema.valid.is_empty();
    let side = |kind: &str| {
        let mut arms = String::new();
        let mut all: Vec<&Schema> = messages
            .iter()
            .filter(|schema| schema.kind == kind)
            .collect();
        all.sort_by_key(|schema| schema.api_key);
        let mut dead = Vec::new();
        for schema in all {
            let stem = schema.stem();
            if schema.valid.is_empty() {
                dead.push(format!("ApiKey::{stem}"));
                continue;
            }
            writeln!(
                arms,
                "ApiKey::{stem} => visitor.visit::<messages::{}>(),",
                schema.name
            )
            .unwrap_or_default();
        }
        if !dead.is_empty() {
            writeln!(arms, "{} => return None,", dead.join(" | ")).unwrap_or_default();
        }
        arms
    };
    let mut names = String::new();
    let mut arms = String::new();
    let data = messages
        .iter()
        .filter(|schema| !matches!(schema.kind.as_str(), "request" | "response"));
    for (folder, schema) in data
        .map(|schema| ("messages", schema))
        .chain(records.iter().map(|schema| ("records", schema)))
    {
        if !alive(&schema) {
            continue;
        }
        let name = &schema.name;
        let stem = snake(schema.stem());
        writeln!(names, "{name:?},").unwrap_or_default();
        writeln!(
            arms,
            "{name:?} => visitor.visit::<{folder}::{stem}::{name}>(),"
        )
        .unwrap_or_default();
    }
    format!(
        "{GENERATED}//! Dispatch by name, for tests, fuzzing and tools.
//!
//! **Owns** the list of all messages.
//! **Lives on** any thread.
//! **Invariants** 1. Every schema with a valid version is in exactly one function.
//! **Not here**: dispatch of requests to handlers (the broker's table).

use super::{{ApiKey, Message, messages, records}};

/// Something that can be done with every message.
pub trait Visitor {{
    /// What comes of it.
    type Output;

    /// Called once, with the message's type.
    fn visit<M: Message>(self) -> Self::Output;
}}

/// Visits the request of an API; `None` for removed APIs.
pub fn request<V: Visitor>(api: ApiKey, visitor: V) -> Option<V::Output> {{
    Some(match api {{ {} }})
}}

/// Visits the response of an API; `None` for removed APIs.
pub fn response<V: Visitor>(api: ApiKey, visitor: V) -> Option<V::Output> {{
    Some(match api {{ {} }})
}}

/// Visits a record or other data by Kafka's name of the schema; see [`DATA`].
pub fn data<V: Visitor>(name: &str, visitor: V) -> Option<V::Output> {{
    Some(match name {{ {arms} _ => return None, }})
}}

/// The names that [`data`] knows: all that is neither request nor response.
pub const DATA: &[&str] = &[{names}];
",
        side("request"),
        side("response")
    )
}
