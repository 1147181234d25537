//! Kafka's message schemas, parsed.
//!
//! **Owns** the meaning of the JSON: versions, types, defaults.
//! **Lives on** a developer's machine and in CI.
//! **Invariants** 1. Versions are closed ranges; `none` is an empty one.
//! **Not here**: Rust (`structs`, `tables`).

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// One schema file.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) name: String,
    /// `request`, `response`, `header`, `data`, `metadata`, `coordinator-key` or `-value`.
    pub(crate) kind: String,
    pub(crate) api_key: Option<i16>,
    pub(crate) listeners: Vec<String>,
    pub(crate) valid: Versions,
    pub(crate) flexible: Versions,
    pub(crate) latest_unstable: bool,
    pub(crate) fields: Vec<Field>,
    /// Structs that several fields use: name and fields.
    pub(crate) common: Vec<(String, Vec<Field>)>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) versions: Versions,
    pub(crate) nullable: Versions,
    pub(crate) tag: Option<u32>,
    pub(crate) default: Option<String>,
    pub(crate) ignorable: bool,
    /// The client id in the request header keeps its plain form in flexible versions.
    pub(crate) never_flexible: bool,
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    F64,
    Uuid,
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Type>),
}

/// A closed range, empty when `first > last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) first: i16,
    pub(crate) last: i16,
}

impl Versions {
    pub(crate) const NONE: Self = Self { first: 0, last: -1 };

    fn parse(text: &str) -> Result<Self> {
        if text == "none" {
            return Ok(Self::NONE);
        }
        let (first, last) = if let Some(first) = text.strip_suffix('+') {
            (first, None)
        } else if let Some((first, last)) = text.split_once('-') {
            (first, Some(last))
        } else {
            (text, Some(text))
        };
        let last = last.map_or(Ok(i16::MAX), str::parse)?;
        Ok(Self {
            first: first.parse()?,
            last,
        })
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.first > self.last
    }

    pub(crate) const fn contains(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    pub(crate) fn and(self, other: Self) -> Self {
        let both = Self {
            first: self.first.max(other.first),
            last: self.last.min(other.last),
        };
        if both.is_empty() { Self::NONE } else { both }
    }

    /// As the schemas write it.
    pub(crate) fn text(self) -> String {
        match self {
            _ if self.is_empty() => "none".into(),
            Self {
                first,
                last: i16::MAX,
            } => format!("{first}+"),
            Self { first, last } if first == last => first.to_string(),
            Self { first, last } => format!("{first}-{last}"),
        }
    }
}

impl Schema {
    pub(crate) fn parse(json: &Value) -> Result<Self> {
        let text = |key: &str| json[key].as_str().with_context(|| format!("no {key}"));
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let common = list(&json["commonStructs"])
            .iter()
            .map(|item| {
                Ok((
                    item["name"].as_str().context("no name")?.into(),
                    fields(&item["fields"])?,
                ))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            name: text("name")?.into(),
            kind: text("type")?.into(),
            api_key: json["apiKey"].as_i64().map(i16::try_from).transpose()?,
            listeners: list(&json["listeners"])
                .iter()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
            valid: Versions::parse(text("validVersions")?)?,
            flexible: Versions::parse(json["flexibleVersions"].as_str().unwrap_or("none"))?,
            latest_unstable: json["latestVersionUnstable"].as_bool().unwrap_or(false),
            fields: fields(&json["fields"])?,
            common,
        })
    }

    /// The name shared by request and response, or key and value.
    pub(crate) fn stem(&self) -> &str {
        let suffix = match self.kind.as_str() {
            "request" => "Request",
            "response" => "Response",
            "coordinator-key" => "Key",
            "coordinator-value" => "Value",
            "metadata" => "Record",
            _ => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(&self.name)
    }

    /// Name and fields of all structs: the message first, then nested ones, then common ones.
    /// The versions are those in which a struct can occur.
    pub(crate) fn structs(&self) -> Vec<(String, &[Field], Versions)> {
        let mut all = vec![(self.name.clone(), self.fields.as_slice(), self.valid)];
        nested(&self.fields, self.valid, &mut all);
        for (name, fields) in &self.common {
            all.push((name.clone(), fields, self.valid));
            nested(fields, self.valid, &mut all);
        }
        all
    }
}

fn nested<'f>(
    fields: &'f [Field],
    versions: Versions,
    all: &mut Vec<(String, &'f [Field], Versions)>,
) {
    for field in fields {
        let versions = versions.and(field.versions);
        if let (Some(name), false) = (field.kind.struct_name(), versions.is_empty())
            && !field.fields.is_empty()
        {
            all.push((name.into(), &field.fields, versions));
            nested(&field.fields, versions, all);
        }
    }
}

impl Type {
    fn parse(text: &str) -> Result<Self> {
        if let Some(element) = text.strip_prefix("[]") {
            return Ok(Self::Array(Box::new(Self::parse(element)?)));
        }
        Ok(match text {
            "bool" => Self::Bool,
            "int8" => Self::I8,
            "int16" => Self::I16,
            "uint16" => Self::U16,
            "int32" => Self::I32,
            "uint32" => Self::U32,
            "int64" => Self::I64,
            "float64" => Self::F64,
            "uuid" => Self::Uuid,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            name if name.starts_with(|c: char| c.is_ascii_uppercase()) => Self::Struct(name.into()),
            _ => bail!("unknown type {text}"),
        })
    }

    /// The struct this is, or is an array of.
    pub(crate) fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}

fn fields(json: &Value) -> Result<Vec<Field>> {
    json.as_array().map_or(Ok(Vec::new()), |list| {
        list.iter()
            .map(|item| field(item).with_context(|| format!("field {}", item["name"])))
            .collect()
    })
}

fn field(json: &Value) -> Result<Field> {
    let versions_of = |key: &str| json[key].as_str().map(Versions::parse).transpose();
    let tagged = versions_of("taggedVersions")?;
    let versions = versions_of("versions")?.or(tagged).context("no versions")?;
    let tag = json["tag"].as_u64().map(u32::try_from).transpose()?;
    ensure!(tag.is_some() == tagged.is_some(), "tag without versions");
    ensure!(
        tagged.is_none_or(|tagged| tagged == versions),
        "tagged in some versions only"
    );
    Ok(Field {
        name: json["name"].as_str().context("no name")?.into(),
        kind: Type::parse(json["type"].as_str().context("no type")?)?,
        versions,
        nullable: versions_of("nullableVersions")?
            .unwrap_or(Versions::NONE)
            .and(versions),
        tag,
        // A JSON null is no default at all, unlike the string "null": so Kafka's generator has it.
        default: match &json["default"] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            other => Some(other.to_string()),
        },
        ignorable: json["ignorable"].as_bool().unwrap_or(false),
        never_flexible: json["flexibleVersions"] == "none",
        fields: fields(&json["fields"])?,
    })
}
