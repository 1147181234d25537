//! The text of `server.properties` and of `--override`, name by name.
//!
//! **Owns** the reading of Java properties (escapes, continuation lines) with line numbers, and
//! where each value came from.
//! **Lives on** no shard.
//! **Invariants**: an override beats the file; of two lines for one name the later one counts, as in
//! Kafka.
//! **Not here**: what a value means (`broker`), the file itself (the caller read it).

use std::collections::BTreeMap;
use std::fmt;

/// The text of a settings file, read by the caller.
#[derive(Clone, Copy, Debug)]
pub struct FileText<'a> {
    /// Name to show in messages.
    pub path: &'a str,
    /// Content; ISO 8859-1, as Java reads it.
    pub bytes: &'a [u8],
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file, with the line's number from 1.
    File {
        /// The file's name.
        path: String,
        /// The line.
        line: usize,
    },
    /// On the command line.
    Override,
    /// Nowhere: what a broker without a settings file assumes.
    NoFile,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Override => f.write_str("--override"),
            Self::NoFile => f.write_str("built-in"),
        }
    }
}

/// The values given at start, unread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticSettings {
    values: BTreeMap<String, String>,
    origins: BTreeMap<String, Origin>,
}

impl StaticSettings {
    /// Reads a file, or assumes a single node when there is none, then the `name=value` overrides.
    pub fn read(file: Option<FileText<'_>>, overrides: &[String]) -> Result<Self, PropertiesError> {
        let mut settings = Self::default();
        match file {
            Some(file) => settings.read_file(file)?,
            None => {
                for (name, value) in NO_FILE {
                    settings.set(name, value, Origin::NoFile);
                }
            }
        }
        for text in overrides {
            let (name, value) = text
                .split_once('=')
                .filter(|(name, _)| !name.trim().is_empty())
                .ok_or_else(|| PropertiesError::Override { text: text.clone() })?;
            settings.set(name.trim(), value.trim(), Origin::Override);
        }
        Ok(settings)
    }

    fn read_file(&mut self, file: FileText<'_>) -> Result<(), PropertiesError> {
        for line in java_properties::PropertiesIter::new(file.bytes) {
            let line = line.map_err(|error| PropertiesError::Syntax {
                path: file.path.to_owned(),
                line: error.line_number().unwrap_or(0),
                text: error.to_string(),
            })?;
            let origin = Origin::File {
                path: file.path.to_owned(),
                line: line.line_number(),
            };
            if let java_properties::LineContent::KVPair(name, value) = line.consume_content() {
                self.set(&name, &value, origin);
            }
        }
        Ok(())
    }

    /// Sets a value, replacing an earlier one.
    pub fn set(&mut self, name: &str, value: &str, origin: Origin) {
        self.values.insert(name.to_owned(), value.to_owned());
        self.origins.insert(name.to_owned(), origin);
    }

    /// The text given for a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Where a name was given.
    #[must_use]
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.origins.get(name)
    }

    /// All names and texts, by name.
    #[must_use]
    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }
}

/// Why a file or an override could not be taken apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    /// Not a properties file.
    #[error("{path}:{line}: {text}")]
    Syntax {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        text: String,
    },
    /// No `name=value`.
    #[error("--override {text}: expected name=value")]
    Override {
        /// What was given.
        text: String,
    },
}

/// What a broker started without any file assumes: one node for the machine it runs on.
const NO_FILE: &[(&str, &str)] = &[
    ("listeners", "PLAINTEXT://127.0.0.1:9092"),
    ("log.dirs", "./data"),
    ("node.id", "1"),
    ("offsets.topic.replication.factor", "1"),
    ("process.roles", "broker,controller"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.replication.factor", "1"),
];
