//! **Owns** the printing of records: Kafka's `DefaultMessageFormatter`, and those of the internal topics.
//! **Lives on** any thread: pure.
//! **Not here** which records.
//! **Invariants** none beyond the types'.

use corelog_storage::batch::{Record, TimestampType};

use serde_json::{Map, Value};

use super::delegation_tokens::base64;
use super::properties::Properties;
use crate::dump::{Decoder, record_json};

/// Which parts of a record are printed, and how.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one per print.… property")]
pub(super) struct Formatter {
    timestamp: bool,
    partition: bool,
    offset: bool,
    delivery: bool,
    epoch: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: Vec<u8>,
    line_separator: Vec<u8>,
    headers_separator: Vec<u8>,
    null_literal: Vec<u8>,
    key_as: Deserializer,
    value_as: Deserializer,
    headers_as: Deserializer,
    kind: Kind,
}

/// The class of a formatter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Default,
    Logging,
    Silent,
    /// Records of an internal topic, of these types.
    Internal(Decoder, &'static [i16]),
}

impl Kind {
    fn named(class: &str) -> Option<Self> {
        const PACKAGE: &str = "org.apache.kafka.tools.consumer";
        const SHARE: &str = "org.apache.kafka.tools.consumer.group.share";
        let (package, name) = class.rsplit_once('.').unwrap_or(("", class));
        let (home, kind) = match name {
            "DefaultMessageFormatter" => (PACKAGE, Self::Default),
            "LoggingMessageFormatter" => (PACKAGE, Self::Logging),
            "NoOpMessageFormatter" => (PACKAGE, Self::Silent),
            "OffsetsMessageFormatter" => (PACKAGE, Self::Internal(Decoder::Offsets, &[0, 1])),
            "GroupMetadataMessageFormatter" => (PACKAGE, Self::Internal(Decoder::Offsets, &[2])),
            "ShareGroupMessageFormatter" => {
                let kinds = &[10, 11, 12, 13, 14, 15];
                (PACKAGE, Self::Internal(Decoder::Offsets, kinds))
            }
            "TransactionLogMessageFormatter" => {
                (PACKAGE, Self::Internal(Decoder::TransactionLog, &[0]))
            }
            "ShareGroupStateMessageFormatter" => {
                (SHARE, Self::Internal(Decoder::ShareGroupState, &[0, 1]))
            }
            _ => return None,
        };
        (package.is_empty() || package == home).then_some(kind)
    }
}

impl Formatter {
    pub(super) fn new(class: Option<&str>, properties: &Properties) -> Result<Self, String> {
        let is_on = |name: &str, default: bool| {
            properties
                .get(name)
                .map_or(default, |value| value.trim().eq_ignore_ascii_case("true"))
        };
        let bytes = |name: &str, default: &str| {
            properties
                .get(name)
                .map_or(default, String::as_str)
                .as_bytes()
                .to_vec()
        };
        let kind = match class {
            None => Kind::Default,
            Some(class) => Kind::named(class).ok_or_else(|| class.to_owned())?,
        };
        let as_class = |name: &str| {
            properties
                .get(name)
                .map_or(Ok(Deserializer::Bytes), |class| Deserializer::named(class))
        };
        Ok(Self {
            timestamp: is_on("print.timestamp", false),
            partition: is_on("print.partition", false),
            offset: is_on("print.offset", false),
            delivery: is_on("print.delivery", false),
            epoch: is_on("print.epoch", false),
            headers: is_on("print.headers", false),
            key: is_on("print.key", false),
            value: is_on("print.value", true),
            key_separator: bytes("key.separator", "\t"),
            line_separator: bytes("line.separator", "\n"),
            headers_separator: bytes("headers.separator", ","),
            null_literal: bytes("null.literal", "null"),
            key_as: as_class("key.deserializer")?,
            value_as: as_class("value.deserializer")?,
            headers_as: as_class("headers.deserializer")?,
            kind,
        })
    }

    /// Appends a record's line. Fails where a part is not what its deserializer reads, the line then ends in front of it.
    pub(super) fn write(
        &self,
        partition: i32,
        kind: TimestampType,
        record: &Record<'_>,
        to: &mut Vec<u8>,
    ) -> Result<(), String> {
        match self.kind {
            // Kafka's logging formatter prints beside writing to its log, which we have none of.
            Kind::Default | Kind::Logging => return self.write_plain(partition, kind, record, to),
            Kind::Silent => {}
            Kind::Internal(decoder, types) => {
                let json = record_json(decoder, types, record.key, record.value);
                to.extend_from_slice(json.unwrap_or_default().as_bytes());
            }
        }
        Ok(())
    }

    /// A record as an object, with all there is of it; none where the formatter prints none of it. What is no UTF-8 stands
    /// under a name of its own, in Base64. Fails as `write` does.
    pub(super) fn item(
        &self,
        topic: &str,
        partition: i32,
        kind: TimestampType,
        record: &Record<'_>,
    ) -> Result<Option<Value>, String> {
        if let Kind::Internal(decoder, types) = self.kind {
            let text = record_json(decoder, types, record.key, record.value);
            return Ok(text.and_then(|text| serde_json::from_str(&text).ok()));
        }
        if self.kind == Kind::Silent {
            return Ok(None);
        }
        let kind = match kind {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        };
        let headers: Vec<Value> = record
            .headers
            .clone()
            .map(|header| {
                let mut item = Map::new();
                member("key", Deserializer::Bytes, Some(header.key), &mut item)?;
                member("value", self.headers_as, header.value, &mut item)?;
                Ok(item.into())
            })
            .collect::<Result<_, String>>()?;
        let mut item = Map::new();
        item.insert("topic".to_owned(), topic.into());
        item.insert("partition".to_owned(), partition.into());
        item.insert("offset".to_owned(), record.offset.0.into());
        item.insert("timestamp".to_owned(), record.timestamp.0.into());
        item.insert("timestampType".to_owned(), kind.into());
        item.insert("headers".to_owned(), headers.into());
        member("key", self.key_as, record.key, &mut item)?;
        member("value", self.value_as, record.value, &mut item)?;
        Ok(Some(item.into()))
    }

    fn write_plain(
        &self,
        partition: i32,
        kind: TimestampType,
        record: &Record<'_>,
        to: &mut Vec<u8>,
    ) -> Result<(), String> {
        // What follows a part is a separator while another part comes, else the end of the line.
        let mut parts = [
            self.timestamp,
            self.partition,
            self.offset,
            self.delivery,
            self.epoch,
            self.headers,
            self.key,
            self.value,
        ]
        .iter()
        .filter(|part| **part)
        .count();
        let mut end = |to: &mut Vec<u8>| {
            parts -= 1;
            to.extend_from_slice(if parts > 0 {
                &self.key_separator
            } else {
                &self.line_separator
            });
        };
        if self.timestamp {
            let kind = match kind {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            };
            if record.timestamp.0 < 0 {
                to.extend_from_slice(b"NO_TIMESTAMP");
            } else {
                to.extend_from_slice(format!("{kind}:{}", record.timestamp.0).as_bytes());
            }
            end(to);
        }
        if self.partition {
            to.extend_from_slice(format!("Partition:{partition}").as_bytes());
            end(to);
        }
        if self.offset {
            to.extend_from_slice(format!("Offset:{}", record.offset.0).as_bytes());
            end(to);
        }
        if self.delivery {
            to.extend_from_slice(b"Delivery:NOT_PRESENT");
            end(to);
        }
        if self.epoch {
            // Kafka's tool does not hand the epoch of a plain record on either.
            to.extend_from_slice(b"Epoch:NOT_PRESENT");
            end(to);
        }
        if self.headers {
            if record.headers.is_empty() {
                to.extend_from_slice(b"NO_HEADERS");
            }
            for (index, header) in record.headers.clone().enumerate() {
                if index > 0 {
                    to.extend_from_slice(&self.headers_separator);
                }
                to.extend_from_slice(header.key);
                to.push(b':');
                self.part(self.headers_as, header.value, to)?;
            }
            end(to);
        }
        if self.key {
            self.part(self.key_as, record.key, to)?;
            end(to);
        }
        if self.value {
            self.part(self.value_as, record.value, to)?;
            end(to);
        }
        Ok(())
    }

    fn part(&self, of: Deserializer, bytes: Option<&[u8]>, to: &mut Vec<u8>) -> Result<(), String> {
        match bytes {
            None => to.extend_from_slice(&self.null_literal),
            Some(bytes) => of.write(bytes, to)?,
        }
        Ok(())
    }
}

fn member(
    name: &str,
    of: Deserializer,
    bytes: Option<&[u8]>,
    item: &mut Map<String, Value>,
) -> Result<(), String> {
    let mut written = Vec::new();
    if let Some(bytes) = bytes {
        of.write(bytes, &mut written)?;
    }
    match (bytes, String::from_utf8(written)) {
        (None, _) => item.insert(name.to_owned(), Value::Null),
        (Some(_), Ok(text)) => item.insert(name.to_owned(), text.into()),
        (Some(bytes), Err(_)) => item.insert(format!("{name}Base64"), base64(bytes).into()),
    };
    Ok(())
}

/// Kafka's deserializers, as far as what they give can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deserializer {
    Bytes,
    Short,
    Integer,
    Long,
    Float,
    Double,
    Boolean,
    Uuid,
}

impl Deserializer {
    fn named(class: &str) -> Result<Self, String> {
        Ok(match class.rsplit('.').next().unwrap_or(class) {
            "StringDeserializer" | "BytesDeserializer" | "ByteArrayDeserializer" => Self::Bytes,
            "ShortDeserializer" => Self::Short,
            "IntegerDeserializer" => Self::Integer,
            "LongDeserializer" => Self::Long,
            "FloatDeserializer" => Self::Float,
            "DoubleDeserializer" => Self::Double,
            "BooleanDeserializer" => Self::Boolean,
            "UUIDDeserializer" => Self::Uuid,
            _ => return Err(format!("deserializer {class} is not supported")),
        })
    }

    /// Appends what the bytes say; fails as Kafka's deserializer does.
    fn write(self, bytes: &[u8], to: &mut Vec<u8>) -> Result<(), String> {
        let sized = |text: Option<String>, whose: &str, size: usize| {
            text.ok_or_else(|| format!("Size of data received by {whose} is not {size}"))
        };
        let text = match self {
            Self::Bytes | Self::Uuid => {
                to.extend_from_slice(bytes);
                return Ok(());
            }
            Self::Short => {
                let read = bytes.try_into().map(i16::from_be_bytes).ok();
                sized(read.map(|it| it.to_string()), "ShortDeserializer", 2)
            }
            Self::Integer => {
                let read = bytes.try_into().map(i32::from_be_bytes).ok();
                sized(read.map(|it| it.to_string()), "IntegerDeserializer", 4)
            }
            Self::Long => {
                let read = bytes.try_into().map(i64::from_be_bytes).ok();
                sized(read.map(|it| it.to_string()), "LongDeserializer", 8)
            }
            Self::Float => {
                let read = bytes.try_into().map(f32::from_be_bytes).ok();
                sized(read.map(|it| format!("{it:?}")), "Deserializer", 4)
            }
            Self::Double => {
                let read = bytes.try_into().map(f64::from_be_bytes).ok();
                sized(read.map(|it| format!("{it:?}")), "Deserializer", 8)
            }
            Self::Boolean => match bytes {
                [0] => Ok("false".to_owned()),
                [1] => Ok("true".to_owned()),
                [other] => Err(format!(
                    "Unexpected byte received by BooleanDeserializer: {other}"
                )),
                _ => sized(None, "BooleanDeserializer", 1),
            },
        }?;
        to.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
