//! Printing the files of a log directory as Kafka's dump tool prints them.
//!
//! **Owns** the text of every file kind; what a script parses is Kafka's, byte for byte.
//! **Lives on** the command's thread: it blocks on the disk and nothing else.
//! **Invariants** (1) A damaged file is told with file and position and never ends the process. (2) Memory is bounded by
//! one window, one batch and its inflated records, whatever a file claims.
//! **Not here** the options (`cli::dump_log`), the formats (`storage`), the schemas (`net::wire::layout`).
//!
//! Differences from Kafka 4.3, each on purpose. Standard output of sound files is the same to the byte; these concern
//! damage and standard error:
//! 1. Kafka ends with an exception at the first damage; here it is said in a sentence with file and position, the dump
//!    goes on behind it (or with the next file), and the exit code is 1 as well. So an index entry that points beyond the
//!    log is printed, and `Found N invalid bytes` stands also where Kafka had ended before it.
//! 2. What is said at the end per file stands in the order of `--files`; Kafka's is that of a hash table.
//! 3. An index is not needed to check a time index: without it the log is searched from its start.
//! 4. Records that cannot be decoded say `Error at offset N, skipping.` with our decoder's words.
//! 5. Of decoder classes there are Kafka's own four; `DefaultDecoder` prints hexadecimal where Kafka prints the identity
//!    of a Java array. Batches of magic 0 and 1 are named and passed over, not printed.

mod decoder;
mod index;
mod json;
mod log;
mod remote;

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value};

use corelog_storage::disk::{DiskError, LogDir};
use corelog_storage::segment::name::{Content, content_of, extension};

use crate::check::Progress;
use crate::cli::Out;

pub(crate) use decoder::record_json;
pub use decoder::{ClassDecoder, Decoder};
pub(crate) use index::Entries;

/// How far a log is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// One line per batch.
    Batches,
    /// And one per record.
    Records,
    /// With its key and value.
    Contents,
}

/// What is done with an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexTask {
    /// Checked against the log, and printed.
    Print,
    /// Checked against the log only.
    Verify,
    /// Only what a start of Kafka checks.
    Sanity,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of logs.
    pub depth: Depth,
    /// Of indexes.
    pub index: IndexTask,
    /// Largest batch that an index entry may point to, in bytes.
    pub max_message_size: u64,
    /// Bytes of each log that are read.
    pub max_bytes: u64,
    /// Print of records keys and values alone.
    pub skip_record_metadata: bool,
    /// How keys and values are printed.
    pub decoder: Decoder,
}

/// Dumps files one by one; what is wrong between an index and its log is said at the end.
pub struct Dump<'o> {
    options: &'o Options,
    out: &'o mut Out,
    /// The line being made.
    line: String,
    /// The file that is dumped, as items name it.
    path: String,
    index_mismatches: Vec<PerFile>,
    time_mismatches: Vec<PerFile>,
    out_of_order: Vec<PerFile>,
    not_found: Vec<PerFile>,
    gaps: Vec<PerFile>,
    damaged: bool,
    progress: &'o dyn Progress,
}

/// Pairs of numbers found in one file, ascending by the first, as Kafka keeps them: the last of a first counts.
#[derive(Debug)]
struct PerFile {
    path: String,
    pairs: BTreeMap<i64, i64>,
}

impl<'o> Dump<'o> {
    /// Nothing dumped yet; `progress` is told of the bytes of logs.
    pub fn new(options: &'o Options, out: &'o mut Out, progress: &'o dyn Progress) -> Self {
        Self {
            progress,
            options,
            out,
            line: String::new(),
            path: String::new(),
            index_mismatches: Vec::new(),
            time_mismatches: Vec::new(),
            out_of_order: Vec::new(),
            not_found: Vec::new(),
            gaps: Vec::new(),
            damaged: false,
        }
    }

    /// Dumps one file.
    pub fn file(&mut self, path: &str) {
        let place = Place::of(path);
        if self.out.is_json() {
            self.out.begin_items();
            self.path.clone_from(&place.path);
        } else {
            self.out.line(&format!("Dumping {}", place.path));
        }
        let done = match content_of(&place.name) {
            Some(Content::Log) => self.log(&place),
            Some(Content::Index) => self.index(&place),
            Some(Content::TimeIndex) => self.time_index(&place),
            Some(Content::Snapshot) => self.snapshot(&place),
            Some(Content::TxnIndex) => self.txn_index(&place),
            None if place.name.ends_with(METADATA_SNAPSHOT) => self.log(&place),
            None => {
                self.out
                    .error(&format!("Ignoring unknown file {}", place.path));
                return;
            }
        };
        if let Err(failure) = done {
            self.damage(&failure.0);
        }
    }

    /// Says what was found wrong over all files; gives the exit code.
    pub fn finish(self) -> u8 {
        let sections = [
            (
                "Mismatches in :",
                "  Index offset: ",
                ", log offset: ",
                self.index_mismatches,
            ),
            (
                "Found timestamp mismatch in :",
                "  Index timestamp: ",
                ", log timestamp: ",
                self.time_mismatches,
            ),
            (
                "Found out of order timestamp in :",
                "  Index timestamp: ",
                ", Previously indexed timestamp: ",
                self.out_of_order,
            ),
            (
                "The following indexed offsets are not found in :",
                "Indexed offset: ",
                ", found log offset: ",
                self.not_found,
            ),
            (
                "Non-consecutive offsets in ",
                "  ",
                " is followed by ",
                self.gaps,
            ),
        ];
        for (title, before, between, files) in sections {
            for file in files {
                self.out.error(&format!("{title}{}", file.path));
                for (first, second) in file.pairs {
                    self.out.error(&format!("{before}{first}{between}{second}"));
                }
            }
        }
        u8::from(self.damaged)
    }

    /// Says what is wrong with a file, at once.
    fn damage(&mut self, what: &str) {
        self.damaged = true;
        self.out.error(what);
    }

    /// Prints one of many objects of a file.
    fn item(&mut self, kind: &str, fields: Map<String, Value>) {
        let mut item = Map::new();
        item.insert("file".to_owned(), self.path.as_str().into());
        item.insert("type".to_owned(), kind.into());
        item.extend(fields);
        self.out.item(&Value::from(item));
    }

    /// Prints the line that was made, of names and values without blanks.
    fn print_fields(&mut self, kind: &str) {
        if self.out.is_json() {
            let fields = json::fields(&self.line);
            self.item(kind, fields);
            self.line.clear();
        } else {
            self.print_line();
        }
    }

    fn print_line(&mut self) {
        self.line.push('\n');
        self.out.bytes(self.line.as_bytes());
        self.line.clear();
    }
}

fn note(files: &mut Vec<PerFile>, path: &str, first: i64, second: i64) {
    match files.iter_mut().find(|file| file.path == path) {
        Some(file) => {
            file.pairs.insert(first, second);
        }
        None => files.push(PerFile {
            path: path.to_owned(),
            pairs: BTreeMap::from([(first, second)]),
        }),
    }
}

/// A file by its path.
#[derive(Debug)]
struct Place {
    /// As Java prints it: no doubled slash, none at the end.
    path: String,
    /// From the root.
    absolute: String,
    folder: String,
    name: String,
}

impl Place {
    fn of(given: &str) -> Self {
        let mut path = String::new();
        for letter in given.chars() {
            if letter != '/' || !path.ends_with('/') {
                path.push(letter);
            }
        }
        if path.len() > 1 && path.ends_with('/') {
            path.pop();
        }
        let (folder, name) = match path.rsplit_once('/') {
            Some(("", name)) => ("/", name),
            Some((folder, name)) => (folder, name),
            None => (".", path.as_str()),
        };
        let (folder, name) = (folder.to_owned(), name.to_owned());
        let absolute = if path.starts_with('/') {
            path.clone()
        } else {
            // Without a current directory there is nothing to stand before it.
            let here = std::env::current_dir().unwrap_or_default();
            format!("{}/{path}", here.display())
        };
        Self {
            path,
            absolute,
            folder,
            name,
        }
    }

    fn extension(&self) -> Option<&str> {
        self.name.rfind('.').map(|dot| &self.name[dot..])
    }

    /// The file of the same segment with other content.
    fn beside(&self, content: Content) -> String {
        format!("{}{}", self.stem(), extension(content))
    }

    /// What stands before the first dot: a segment's base offset.
    fn stem(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }

    fn base_offset(&self) -> Result<i64, Failure> {
        self.stem().parse().map_err(|_| {
            Failure(format!(
                "{}: the name of such a file begins with its base offset, as 00000000000000000000{}, not with {:?}",
                self.path,
                self.extension().unwrap_or_default(),
                self.stem()
            ))
        })
    }

    fn dir(&self) -> Result<LogDir, Failure> {
        Ok(LogDir::existing(&self.folder)?)
    }
}

/// Why the dump of a file ended early, in a sentence.
#[derive(Debug)]
struct Failure(String);

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Self(error.to_string())
    }
}

/// Bytes as Java makes a string of them: as everywhere, one replacement character for each longest part of a letter,
/// but only one for a surrogate in three bytes, or for its first two (`ED A0 80`: Rust has three).
fn put_text(line: &mut String, bytes: &[u8]) {
    /// Which byte of a surrogate is behind us.
    enum Surrogate {
        None,
        First,
        Second,
    }
    let mut state = Surrogate::None;
    for chunk in bytes.utf8_chunks() {
        line.push_str(chunk.valid());
        let follows = chunk.valid().is_empty();
        state = match (state, chunk.invalid()) {
            (Surrogate::First, [0xa0..=0xbf]) if follows => Surrogate::Second,
            (Surrogate::Second, [0x80..=0xbf]) if follows => Surrogate::None,
            (_, []) => Surrogate::None,
            (_, invalid) => {
                line.push(char::REPLACEMENT_CHARACTER);
                if invalid == [0xed] {
                    Surrogate::First
                } else {
                    Surrogate::None
                }
            }
        };
    }
}

/// An offset or a time that may be none, as Java prints it.
fn put_optional(line: &mut String, value: Option<i64>) {
    // Writing to a String cannot fail.
    let _ = match value {
        Some(value) => write!(line, "OptionalLong[{value}]"),
        None => write!(line, "OptionalLong.empty"),
    };
}

const METADATA_SNAPSHOT: &str = ".checkpoint";

#[cfg(test)]
mod tests;
