//! **Owns** how keys and values are printed: as text, numbers, or records of the internal topics.
//! **Lives on** any thread.
//! **Invariants** (1) What cannot be decoded is one line that says so; the dump goes on.
//! **Not here** the schemas (`net::wire::layout`).

use std::fmt::Write;

use bytes::Bytes;
use corelog_net::wire::layout::{Layout, Role, put_string};
use corelog_net::wire::records::GroupMetadataValue;
use corelog_net::wire::{Cursor, Message};
use corelog_storage::batch::{Payload, Record};

use serde_json::{Map, Value};

use super::{json, put_text, remote};

/// What keys and values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoder {
    /// Of a topic of users, by Java classes that we know.
    Classes {
        /// For keys.
        key: ClassDecoder,
        /// For values.
        value: ClassDecoder,
    },
    /// Of `__consumer_offsets`.
    Offsets,
    /// Of `__transaction_state`.
    TransactionLog,
    /// Of `__share_group_state`.
    ShareGroupState,
    /// Of the metadata log and its snapshots.
    ClusterMetadata,
    /// Of `__remote_log_metadata`.
    RemoteLogMetadata,
}

/// A decoder class of Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassDecoder {
    /// UTF-8.
    String,
    /// Bytes, in hexadecimal here.
    Default,
    /// Eight bytes.
    Long,
    /// Four bytes.
    Integer,
}

impl ClassDecoder {
    /// The decoder of a Java class's name, full or not.
    pub fn from_class(class: &str) -> Option<Self> {
        let (package, name) = class.rsplit_once('.').unwrap_or(("", class));
        if !matches!(
            package,
            "" | "org.apache.kafka.tools.api" | "kafka.serializer"
        ) {
            return None;
        }
        Some(match name {
            "StringDecoder" => Self::String,
            "DefaultDecoder" => Self::Default,
            "LongDecoder" => Self::Long,
            "IntegerDecoder" => Self::Integer,
            _ => return None,
        })
    }

    fn print(self, bytes: &[u8], line: &mut String) -> Result<(), String> {
        // Writing to a String cannot fail.
        let _ = match self {
            Self::String => {
                put_text(line, bytes);
                Ok(())
            }
            Self::Default => bytes.iter().try_for_each(|byte| write!(line, "{byte:02x}")),
            Self::Long => {
                let number = <[u8; 8]>::try_from(bytes)
                    .map_err(|_| format!("{} bytes are no LongDecoder's 8", bytes.len()))?;
                write!(line, "{}", i64::from_be_bytes(number))
            }
            Self::Integer => {
                let number = <[u8; 4]>::try_from(bytes)
                    .map_err(|_| format!("{} bytes are no IntegerDecoder's 4", bytes.len()))?;
                write!(line, "{}", i32::from_be_bytes(number))
            }
        };
        Ok(())
    }
}

impl Decoder {
    /// Appends ` key: … payload: …`, as far as there are such.
    pub(super) fn print(
        self,
        payload: &Payload,
        record: &Record<'_>,
        line: &mut String,
    ) -> Result<(), String> {
        match self {
            Self::Classes { key, value } => {
                if let Some(bytes) = record.key {
                    line.push_str(" key: ");
                    key.print(bytes, line)?;
                }
                if let Some(bytes) = record.value {
                    line.push_str(" payload: ");
                    value.print(bytes, line)?;
                }
                Ok(())
            }
            Self::Offsets | Self::TransactionLog | Self::ShareGroupState => {
                self.coordinator_record(payload, record, line)
            }
            Self::ClusterMetadata => {
                line.push_str(" payload: ");
                let start = line.len();
                if let Err(why) = metadata_record(record.value, line) {
                    line.truncate(start);
                    // Writing to a String cannot fail.
                    let _ = write!(line, "Error at {}, skipping. {why}", record.offset);
                }
                Ok(())
            }
            Self::RemoteLogMetadata => {
                line.push_str(" payload: ");
                let start = line.len();
                if let Err(why) = remote::record(payload, record.value, line) {
                    line.truncate(start);
                    // Writing to a String cannot fail.
                    let _ = write!(line, "Error at offset {}, skipping. {why}", record.offset);
                }
                Ok(())
            }
        }
    }

    /// The same as members of an object.
    pub(super) fn json(
        self,
        payload: &Payload,
        record: &Record<'_>,
    ) -> Result<Map<String, Value>, String> {
        if let Self::Classes { key, value } = self {
            let text = |decoder: ClassDecoder, bytes: &[u8]| {
                let mut text = String::new();
                decoder.print(bytes, &mut text).map(|()| text)
            };
            let key = record.key.map(|bytes| text(key, bytes)).transpose()?;
            let value = record.value.map(|bytes| text(value, bytes)).transpose()?;
            let members = [("key", key), ("payload", value)];
            return Ok(members
                .into_iter()
                .map(|(name, text)| (name.to_owned(), text.into()))
                .collect());
        }
        let mut line = String::new();
        self.print(payload, record, &mut line)?;
        Ok(json::contents(&line))
    }

    fn coordinator_record(
        self,
        payload: &Payload,
        record: &Record<'_>,
        line: &mut String,
    ) -> Result<(), String> {
        let Some(key) = record.key else {
            return Err(format!(
                "the record at offset {} has no key, so it is none of this topic's; is the decoder the right one?",
                record.offset
            ));
        };
        line.push_str(" key: ");
        let start = line.len();
        match self.try_coordinator_record(payload, key, record.value, line) {
            Ok(()) => {}
            Err(Unreadable::Type(number)) => {
                line.truncate(start);
                // Writing to a String cannot fail.
                let _ = write!(
                    line,
                    "Unknown record type {number} at offset {}, skipping.",
                    record.offset
                );
            }
            Err(Unreadable::Because(why)) => {
                line.truncate(start);
                // Writing to a String cannot fail.
                let _ = write!(line, "Error at offset {}, skipping. {why}", record.offset);
            }
        }
        Ok(())
    }

    fn try_coordinator_record(
        self,
        payload: &Payload,
        key: &[u8],
        value: Option<&[u8]>,
        line: &mut String,
    ) -> Result<(), Unreadable> {
        let (number, rest) = version_of(key, "key")?;
        let layout = self
            .layout(Role::Key, number)
            .ok_or(Unreadable::Type(number))?;
        // Writing to a String cannot fail.
        let _ = write!(line, "{{\"type\":\"{number}\",\"data\":");
        print(layout, rest, 0, line, "key")?;
        line.push_str("} payload: ");
        let Some(value) = value else {
            line.push_str("<DELETE>");
            return Ok(());
        };
        let layout = self
            .layout(Role::Value, number)
            .ok_or(Unreadable::Type(number))?;
        let (version, rest) = version_of(value, "value")?;
        // Writing to a String cannot fail.
        let _ = write!(line, "{{\"version\":\"{version}\",\"data\":");
        if layout.name() == "GroupMetadataValue" {
            group_metadata(layout, payload, rest, version, line)?;
        } else {
            print(layout, rest, version, line, "value")?;
        }
        line.push('}');
        Ok(())
    }

    /// Three topics count their record types each for itself.
    fn layout(self, role: Role, number: i16) -> Option<&'static Layout> {
        let own = |layout: &Layout| {
            let name = layout.name();
            let topic = if name.starts_with("TransactionLog") {
                Self::TransactionLog
            } else if name.starts_with("ShareSnapshot") || name.starts_with("ShareUpdate") {
                Self::ShareGroupState
            } else {
                Self::Offsets
            };
            topic == self
        };
        Layout::all(role).find(|layout| layout.record_type() == Some(number) && own(layout))
    }
}

/// A coordinator's record as the console consumer's formatters print it; none where it is none of these types.
pub(crate) fn record_json(
    of: Decoder,
    types: &[i16],
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Option<String> {
    let (number, rest) = version_of(key?, "key").ok()?;
    if !types.contains(&number) {
        return None;
    }
    let layout = of.layout(Role::Key, number)?;
    let mut line = format!("{{\"key\":{{\"type\":{number},\"data\":");
    print(layout, rest, 0, &mut line, "key").ok()?;
    line.push_str("},\"value\":");
    let Some(value) = value else {
        line.push_str("null}");
        return Some(line);
    };
    let layout = of.layout(Role::Value, number)?;
    let (version, rest) = version_of(value, "value").ok()?;
    // Writing to a String cannot fail.
    let _ = write!(line, "{{\"version\":{version},\"data\":");
    let start = line.len();
    if print(layout, rest, version, &mut line, "value").is_err() {
        line.truncate(start);
        line.push_str("\"unknown\"");
    }
    line.push_str("}}");
    Some(line)
}

enum Unreadable {
    /// A record type that is not known.
    Type(i16),
    /// In a sentence.
    Because(String),
}

fn version_of<'v>(bytes: &'v [u8], of: &str) -> Result<(i16, &'v [u8]), Unreadable> {
    match bytes.split_first_chunk() {
        Some((version, rest)) => Ok((i16::from_be_bytes(*version), rest)),
        None => Err(Unreadable::Because(format!(
            "Could not read version from {of}'s buffer."
        ))),
    }
}

fn print(
    layout: &Layout,
    bytes: &[u8],
    version: i16,
    line: &mut String,
    of: &str,
) -> Result<(), Unreadable> {
    let read = layout.print_json(&mut Cursor::new(bytes), version, line);
    read.map_err(|error| unreadable(version, of, &error.to_string()))
}

fn unreadable(version: i16, of: &str, why: &str) -> Unreadable {
    Unreadable::Because(format!(
        "Could not read record with version {version} from {of}'s buffer due to: {why}."
    ))
}

/// A classic group: where its members are consumers, their subscriptions and assignments are records themselves.
fn group_metadata(
    layout: &Layout,
    payload: &Payload,
    bytes: &[u8],
    version: i16,
    line: &mut String,
) -> Result<(), Unreadable> {
    let frame: Bytes = payload.data().slice_ref(bytes);
    let mut of_consumers = false;
    if let Ok(group) = GroupMetadataValue::from_bytes(&frame, version) {
        of_consumers = group.protocol_type == "consumer";
    }
    let mut embedded = |field: &str, bytes: &[u8], text: &mut String| {
        let schema = match field {
            "subscription" => "ConsumerProtocolSubscription",
            "assignment" => "ConsumerProtocolAssignment",
            _ => return false,
        };
        let (Some(layout), Some((version, rest))) =
            (Layout::named(schema), bytes.split_first_chunk())
        else {
            return false;
        };
        let newest = *layout.versions().end();
        let version = i16::from_be_bytes(*version).min(newest);
        let start = text.len();
        let read = of_consumers
            && layout
                .print_json(&mut Cursor::new(rest), version, text)
                .is_ok();
        if !read {
            text.truncate(start);
        }
        read
    };
    layout
        .print_json_with(&mut Cursor::new(bytes), version, line, &mut embedded)
        .map_err(|error| unreadable(version, "value", &error.to_string()))
}

/// A record's frame in the metadata topics: frame version 1, record type, version, each an unsigned varint; the record.
pub(super) struct Framed<'a> {
    pub(super) record_type: u32,
    pub(super) version: i16,
    pub(super) rest: &'a [u8],
}

impl<'a> Framed<'a> {
    pub(super) fn read(value: Option<&'a [u8]>) -> Result<Self, String> {
        let mut cursor = Cursor::new(value.unwrap_or_default());
        let mut number = |what: &str| {
            cursor
                .varint()
                .map_err(|_| format!("Error while reading {what}"))
        };
        let frame = number("frame version")?;
        if frame != 1 {
            return Err(format!(
                "Could not deserialize metadata record due to unknown frame version {frame}(only frame version 1 is \
                 supported)"
            ));
        }
        let record_type = number("type")?;
        let version = number("version")?;
        let version = i16::try_from(version).map_err(|_| {
            format!("Value for version was too large to be a 16-bit number: {version}")
        })?;
        Ok(Self {
            record_type,
            version,
            rest: cursor.rest(),
        })
    }
}

fn metadata_record(value: Option<&[u8]>, line: &mut String) -> Result<(), String> {
    let framed = Framed::read(value)?;
    let number = i16::try_from(framed.record_type).ok();
    // The records of `__remote_log_metadata` have the same role, and numbers of their own.
    let remote = |name: &str| name.starts_with("RemoteLog") || name.starts_with("RemotePartition");
    let layout = Layout::all(Role::Metadata)
        .find(|layout| layout.record_type() == number && !remote(layout.name()))
        .ok_or_else(|| format!("Unknown metadata id {}", framed.record_type))?;
    line.push_str("{\"type\":");
    put_string(line, &constant_case(layout.name()));
    // Writing to a String cannot fail.
    let _ = write!(line, ",\"version\":{},\"data\":", framed.version);
    let mut cursor = Cursor::new(framed.rest);
    layout
        .print_json(&mut cursor, framed.version, line)
        .map_err(|error| error.to_string())?;
    if cursor.remaining() > 0 {
        return Err(format!(
            "Found {} byte(s) of garbage after {}",
            cursor.remaining(),
            framed.record_type
        ));
    }
    line.push('}');
    Ok(())
}

/// `TopicRecord` → `TOPIC_RECORD`.
fn constant_case(name: &str) -> String {
    let mut constant = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            constant.push('_');
        }
        constant.push(letter.to_ascii_uppercase());
    }
    constant
}
