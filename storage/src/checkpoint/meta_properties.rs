//! **Owns** `meta.properties`: whose log directory this is.
//! **Lives on** any thread.
//! **Invariants** (1) Keys that are not known are kept and printed again.
//! **Not here** comparing the directories of one broker (`broker`'s boot).

use std::fmt::Write;

use super::{LineError, Lines};
use crate::types::DirectoryId;

/// The contents of `meta.properties`, version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster.
    pub cluster_id: String,
    /// The broker.
    pub node_id: i32,
    /// The directory; absent in directories of old Kafka versions.
    pub directory_id: Option<DirectoryId>,
    /// When it was written, as Java prints a date: a comment that nobody reads.
    pub date: Option<String>,
    /// Other keys, in order.
    pub others: Vec<(String, String)>,
}

/// Why `meta.properties` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetaPropertiesError {
    /// It is no properties file.
    #[error(transparent)]
    Line(#[from] LineError),
    /// A key is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value is not what it should be.
    #[error("{key} is {value:?}, expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl MetaProperties {
    /// Reads a file.
    pub fn parse(text: &[u8]) -> Result<Self, MetaPropertiesError> {
        let (date, properties) = properties(text)?;
        let mut version = None;
        let mut cluster_id = None;
        let mut node_id = None;
        let mut directory_id = None;
        let mut others = Vec::new();
        for (key, value) in properties {
            match key.as_str() {
                "version" => version = Some(value),
                "cluster.id" => cluster_id = Some(value),
                "node.id" => node_id = Some(value),
                "directory.id" => directory_id = Some(value),
                _ => others.push((key, value)),
            }
        }
        let wrong = |key, value: &str, expected| MetaPropertiesError::Value {
            key,
            value: value.to_owned(),
            expected,
        };
        let version = version.ok_or(MetaPropertiesError::Missing("version"))?;
        if version != "1" {
            return Err(wrong(
                "version",
                &version,
                "1 (a directory of a ZooKeeper-based broker has 0)",
            ));
        }
        let node_id = node_id.ok_or(MetaPropertiesError::Missing("node.id"))?;
        let node_id = match node_id.parse() {
            Ok(id) if id >= 0 => id,
            _ => return Err(wrong("node.id", &node_id, "a number from 0 on")),
        };
        let directory_id = match directory_id {
            None => None,
            Some(id) => Some(
                id.parse()
                    .map_err(|_| wrong("directory.id", &id, "22 characters of URL-safe base64"))?,
            ),
        };
        let cluster_id = cluster_id.ok_or(MetaPropertiesError::Missing("cluster.id"))?;
        Ok(Self {
            cluster_id,
            node_id,
            directory_id,
            date,
            others,
        })
    }

    /// The file's contents, in Kafka's order.
    pub fn print(&self) -> String {
        let mut text = String::from("#\n");
        // Writing to a String cannot fail.
        if let Some(date) = &self.date {
            let _ = writeln!(text, "#{date}");
        }
        let _ = writeln!(text, "node.id={}", self.node_id);
        if let Some(id) = &self.directory_id {
            let _ = writeln!(text, "directory.id={id}");
        }
        let _ = writeln!(text, "version=1");
        let _ = writeln!(
            text,
            "cluster.id={}",
            escaped(&self.cluster_id, Place::Value)
        );
        for (key, value) in &self.others {
            let _ = writeln!(
                text,
                "{}={}",
                escaped(key, Place::Key),
                escaped(value, Place::Value)
            );
        }
        text
    }
}

type Properties = Vec<(String, String)>;

/// Java's properties, as far as such a file has them: comments, one `key=value` per line, backslash escapes. The last
/// comment that is not empty is the date.
fn properties(text: &[u8]) -> Result<(Option<String>, Properties), LineError> {
    let mut lines = Lines::new(text)?;
    let mut date = None;
    let mut properties: Properties = Vec::new();
    let count = text.split_inclusive(|&byte| byte == b'\n').count();
    for _ in 0..count {
        let line = lines.line("a property")?.trim_start();
        if let Some(comment) = line.strip_prefix(['#', '!']) {
            if !comment.is_empty() {
                date = Some(comment.to_owned());
            }
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let (key, value) = property(line).ok_or_else(|| lines.error("key=value"))?;
        properties.retain(|(known, _)| *known != key);
        properties.push((key, value));
    }
    Ok((date, properties))
}

fn property(line: &str) -> Option<(String, String)> {
    let mut characters = line.chars();
    let mut key = String::new();
    let rest = loop {
        match characters.next()? {
            '=' | ':' => break characters.as_str(),
            ' ' | '\t' => {
                let rest = characters.as_str().trim_start();
                break rest.strip_prefix(['=', ':']).unwrap_or(rest);
            }
            '\\' => key.push(unescaped(&mut characters)?),
            other => key.push(other),
        }
    };
    let mut characters = rest.trim_start().chars();
    let mut value = String::new();
    while let Some(character) = characters.next() {
        value.push(if character == '\\' {
            unescaped(&mut characters)?
        } else {
            character
        });
    }
    Some((key, value))
}

fn unescaped(characters: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match characters.next()? {
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        'f' => '\u{c}',
        'u' => {
            let unit = utf16_unit(characters)?;
            // A character beyond the first 65,536 is a pair of escapes.
            let pair = match characters.as_str().strip_prefix("\\u") {
                Some(rest) if (0xd800..0xdc00).contains(&unit) => {
                    *characters = rest.chars();
                    vec![unit, utf16_unit(characters)?]
                }
                _ => vec![unit],
            };
            String::from_utf16(&pair).ok()?.chars().next()?
        }
        other => other,
    })
}

fn utf16_unit(characters: &mut std::str::Chars<'_>) -> Option<u16> {
    let text = characters.as_str();
    let digits = text
        .get(..4)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    *characters = text.get(4..)?.chars();
    u16::from_str_radix(digits, 16).ok()
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Key,
    Value,
}

fn escaped(text: &str, place: Place) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, character) in text.chars().enumerate() {
        match character {
            ' ' if index == 0 || place == Place::Key => out.push_str("\\ "),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\u{c}' => out.push_str("\\f"),
            '=' | ':' | '#' | '!' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            ' '..='~' => out.push(character),
            other => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04X}");
                }
            }
        }
    }
    out
}
