//! **Owns** `dump-log`: Kafka's `kafka-dump-log`.
//! **Lives on** the command's thread.
//! **Invariants** none beyond the types'.
//! **Not here** what is printed of a file (`dump`).

use std::path::Path;

use super::Out;
use super::bar::{Bar, Unit};
use super::options::{Given, Opt, Refusal, Table, flag, maybe, value};
use crate::dump::{ClassDecoder, Decoder, Depth, Dump, IndexTask, Options};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    if arguments.is_empty() {
        return Refusal::Usage(TABLE.about.to_owned()).print(&TABLE, out);
    }
    let read = TABLE.parse(arguments).and_then(|given| {
        given.require(&["files"])?;
        let options = options(&given).map_err(Refusal::Error)?;
        let files = given.one("files").map_err(Refusal::Error)?;
        Ok((options, files.unwrap_or_default().to_owned()))
    });
    let (options, files) = match read {
        Ok(read) => read,
        Err(refusal) => return refusal.print(&TABLE, out),
    };
    let files = || files.split(',').filter(|path| !path.is_empty());
    let bar = Bar::beside_output(log_bytes(files(), options.max_bytes), Unit::Bytes);
    let mut dump = Dump::new(&options, out, &bar);
    for path in files() {
        dump.file(path);
    }
    bar.finish();
    dump.finish()
}

/// The bytes that will be read of these logs; what cannot be looked at is told when its turn comes.
fn log_bytes<'a>(files: impl Iterator<Item = &'a str>, bytes_max: u64) -> u64 {
    let sizes = files.map(Path::new).filter_map(|path| {
        let is_log = matches!(path.extension()?.to_str()?, "log" | "checkpoint");
        let size = path.metadata().ok()?.len();
        is_log.then_some(size.min(bytes_max))
    });
    sizes.sum()
}

fn options(given: &Given) -> Result<Options, String> {
    let decoder = decoder(given)?;
    let depth = if DECIDE_PRINTING.iter().any(|name| given.has(name)) {
        Depth::Contents
    } else if given.has("deep-iteration") {
        Depth::Records
    } else {
        Depth::Batches
    };
    let index = if given.has("index-sanity-check") {
        IndexTask::Sanity
    } else if given.has("verify-index-only") {
        IndexTask::Verify
    } else {
        IndexTask::Print
    };
    let size = |name: &str, default: i32| -> Result<u64, String> {
        let size: i32 = given.parsed(name)?.unwrap_or(default);
        u64::try_from(size).map_err(|_| format!("option {name} is {size}, expected 0 or more"))
    };
    Ok(Options {
        depth,
        index,
        max_message_size: size("max-message-size", MESSAGE_SIZE_MAX)?,
        max_bytes: size("max-bytes", i32::MAX)?,
        skip_record_metadata: given.has("skip-record-metadata"),
        decoder,
    })
}

fn decoder(given: &Given) -> Result<Decoder, String> {
    let topics = [
        ("offsets-decoder", Decoder::Offsets),
        ("transaction-log-decoder", Decoder::TransactionLog),
        ("cluster-metadata-decoder", Decoder::ClusterMetadata),
        ("remote-log-metadata-decoder", Decoder::RemoteLogMetadata),
        ("share-group-state-decoder", Decoder::ShareGroupState),
    ];
    if let Some((_, decoder)) = topics.iter().find(|(name, _)| given.has(name)) {
        return Ok(*decoder);
    }
    let class = |name: &str| -> Result<ClassDecoder, String> {
        let Some(class) = given.one(name)? else {
            return Ok(ClassDecoder::String);
        };
        ClassDecoder::from_class(class).ok_or_else(|| {
            format!(
                "--{name} {class}: this tool runs no Java; it knows org.apache.kafka.tools.api.StringDecoder, \
                 LongDecoder, IntegerDecoder and DefaultDecoder. For another class use Kafka's own kafka-dump-log: the \
                 files are the same"
            )
        })
    };
    Ok(Decoder::Classes {
        key: class("key-decoder-class")?,
        value: class("value-decoder-class")?,
    })
}

const DECIDE_PRINTING: [&str; 8] = [
    "print-data-log",
    "offsets-decoder",
    "transaction-log-decoder",
    "cluster-metadata-decoder",
    "remote-log-metadata-decoder",
    "share-group-state-decoder",
    "value-decoder-class",
    "key-decoder-class",
];
const MESSAGE_SIZE_MAX: i32 = 5 * 1024 * 1024;

pub(super) const TABLE: Table = Table {
    about: "Print what is in the files of a log directory: logs, indexes, snapshots.",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
    flag(
        "cluster-metadata-decoder",
        "The logs are the metadata log's: print its records.",
    ),
    flag(
        "deep-iteration",
        "Look at every record, not only at the batches. Implied when records are printed.",
    ),
    value(
        "files",
        "String: file1, file2, ...",
        "REQUIRED: the files, separated by commas.",
    ),
    flag(
        "index-sanity-check",
        "Only check of indexes what decides at a start whether they are rebuilt.",
    ),
    maybe(
        "key-decoder-class",
        "String",
        "How keys are printed: StringDecoder, LongDecoder, IntegerDecoder or DefaultDecoder of \
         org.apache.kafka.tools.api. (default: org.apache.kafka.tools.api.StringDecoder)",
    ),
    value(
        "max-bytes",
        "Integer: size",
        "Read only so many bytes of each log. (default: 2147483647)",
    ),
    value(
        "max-message-size",
        "Integer: size",
        "Largest batch that an index entry may point to. (default: 5242880)",
    ),
    flag(
        "offsets-decoder",
        "The logs are those of __consumer_offsets: print groups and offsets.",
    ),
    flag("print-data-log", "Print keys and values too."),
    flag(
        "remote-log-metadata-decoder",
        "The logs are those of __remote_log_metadata: print its records.",
    ),
    flag(
        "share-group-state-decoder",
        "The logs are those of __share_group_state: print its records.",
    ),
    flag(
        "skip-record-metadata",
        "Print of each record key and value only; of control records nothing.",
    ),
    flag(
        "transaction-log-decoder",
        "The logs are those of __transaction_state: print its records.",
    ),
    maybe(
        "value-decoder-class",
        "String",
        "How values are printed, as --key-decoder-class. (default: org.apache.kafka.tools.api.StringDecoder)",
    ),
    flag(
        "verify-index-only",
        "Check indexes against their logs without printing them.",
    ),
];
