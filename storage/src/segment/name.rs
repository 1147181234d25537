//! The file names of a partition folder, and of the folder itself: printed and parsed here only.
//!
//! **Owns** the 20-digit base offsets, the suffixes, `topic-N` and its `-delete`, `-future`, `-stray` forms.
//! **Lives on** any thread: pure functions.
//! **Invariants** 1. `parse(print(x)) == x`. 2. A name we do not know is `None`, never a guess.
//! **Not here** the files of the log directory itself (`checkpoint`).

use crate::types::{Offset, TopicPartition};

/// What a file of a partition folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// Record batches.
    Log,
    /// Offset to position.
    Index,
    /// Timestamp to offset.
    TimeIndex,
    /// Aborted transactions.
    TxnIndex,
    /// Producer state at an offset.
    Snapshot,
}

/// What is to become of a file, by the suffix behind its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// In use.
    Live,
    /// `.deleted`: no longer part of the log, to be unlinked after a delay.
    Deleted,
    /// `.cleaned`: being written by the cleaner.
    Cleaned,
    /// `.swap`: written by the cleaner, to replace the live file.
    Swap,
}

/// The name of a live file.
pub fn file(base: Offset, content: Content) -> String {
    format!("{base:020}{}", extension(content))
}

/// The name of a file with its fate.
pub fn file_with_fate(base: Offset, content: Content, fate: Fate) -> String {
    let suffix = match fate {
        Fate::Live => "",
        Fate::Deleted => DELETED,
        Fate::Cleaned => CLEANED,
        Fate::Swap => SWAP,
    };
    format!("{base:020}{}{suffix}", extension(content))
}

/// What a name says, or `None` when it is not one of a segment's.
pub fn parse_file(name: &str) -> Option<(Offset, Content, Fate)> {
    let suffixes = [
        (DELETED, Fate::Deleted),
        (CLEANED, Fate::Cleaned),
        (SWAP, Fate::Swap),
    ];
    let (name, fate) = suffixes
        .iter()
        .find_map(|(suffix, fate)| name.strip_suffix(suffix).map(|rest| (rest, *fate)))
        .unwrap_or((name, Fate::Live));
    let (digits, extension) = name.split_at_checked(OFFSET_DIGITS)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let content = match extension {
        ".log" => Content::Log,
        ".index" => Content::Index,
        ".timeindex" => Content::TimeIndex,
        ".txnindex" => Content::TxnIndex,
        ".snapshot" => Content::Snapshot,
        _ => return None,
    };
    Some((Offset(digits.parse().ok()?), content, fate))
}

/// Where a recovery keeps what it cut off a segment at a position, when there were valid batches in it.
pub fn cut_file(base: Offset, position: u64) -> String {
    format!("{}{CUT}{position}", file(base, Content::Log))
}

/// Base offset and position of a [`cut_file`], or `None` when the name is another's.
pub fn parse_cut_file(name: &str) -> Option<(Offset, u64)> {
    let (log, position) = name.split_once(CUT)?;
    let digits = !position.is_empty() && position.bytes().all(|b| b.is_ascii_digit());
    match parse_file(log)? {
        (base, Content::Log, Fate::Live) if digits => Some((base, position.parse().ok()?)),
        _ => None,
    }
}

/// What a name ends with, whatever stands before it: for tools that are given any file.
pub fn content_of(name: &str) -> Option<Content> {
    let suffix = &name[name.rfind('.')?..];
    CONTENTS
        .into_iter()
        .find(|content| extension(*content) == suffix)
}

/// What a folder of a log directory is to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folder {
    /// `topic-N`: a partition.
    Live(TopicPartition),
    /// `topic-N.UUID-delete`: a deleted partition whose files are still there.
    Deleted(TopicPartition),
    /// `topic-N.UUID-future`: a partition being moved here from another log directory.
    Future(TopicPartition),
    /// `topic-N.UUID-stray`: a partition the metadata does not know, set aside.
    Stray(TopicPartition),
}

/// The folder of a partition.
pub fn folder(partition: &TopicPartition) -> String {
    partition.to_string()
}

/// The folder a deleted partition is renamed to; `id` is 32 hexadecimal digits without meaning.
pub fn deleted_folder(partition: &TopicPartition, id: u128) -> String {
    marked_folder(partition, id, DELETE_MARK)
}

/// The folder that a partition is copied to when it moves to another log directory.
pub fn future_folder(partition: &TopicPartition, id: u128) -> String {
    // Uncut, unlike the others: its partition is read from it again.
    format!("{partition}.{id:032x}{FUTURE_MARK}")
}

/// The folder a partition unknown to the metadata is renamed to.
pub fn stray_folder(partition: &TopicPartition, id: u128) -> String {
    marked_folder(partition, id, STRAY_MARK)
}

/// What a folder's name says, or a sentence that says why it cannot be one of ours.
pub fn parse_folder(name: &str) -> Result<Folder, String> {
    let marks: [(&str, Marked); 3] = [
        (DELETE_MARK, Folder::Deleted),
        (FUTURE_MARK, Folder::Future),
        (STRAY_MARK, Folder::Stray),
    ];
    for (mark, folder) in marks {
        if let Some(rest) = name.strip_suffix(mark) {
            // `orders-0.5d41…-delete`: the id follows the last dot. Without one it is a topic named so.
            if let Some((live, id)) = rest.rsplit_once('.')
                && id.len() == 32
                && id.bytes().all(|b| b.is_ascii_hexdigit())
            {
                return parse_partition(live).map(folder);
            }
        }
    }
    parse_partition(name).map(Folder::Live)
}

/// Makes a folder of a kind out of its partition.
type Marked = fn(TopicPartition) -> Folder;

fn parse_partition(name: &str) -> Result<TopicPartition, String> {
    let refusal = |why: &str| {
        format!(
            "the folder {name:?} is not a partition ({why}); a log directory holds only folders named \
             TOPIC-PARTITION: move it elsewhere"
        )
    };
    let (topic, number) = name
        .rsplit_once('-')
        .ok_or_else(|| refusal("no '-' and number at its end"))?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let partition = number.parse().ok().filter(|_| digits);
    let partition = partition.ok_or_else(|| refusal("no partition number at its end"))?;
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if topic.is_empty() || topic.len() > TOPIC_NAME_MAX || !topic.bytes().all(legal) {
        return Err(refusal("what stands before the number is no topic name"));
    }
    Ok(TopicPartition::new(topic, partition))
}

/// `TOPIC-N.ID-delete`, with the topic cut so that a folder name keeps within 255 bytes, as Kafka does.
fn marked_folder(partition: &TopicPartition, id: u128, mark: &str) -> String {
    let tail = format!("-{}.{id:032x}{mark}", partition.partition);
    let room = FOLDER_NAME_MAX - tail.len();
    let topic = &partition.topic[..partition.topic.len().min(room)];
    format!("{topic}{tail}")
}

/// How the name of such a file ends.
pub fn extension(content: Content) -> &'static str {
    match content {
        Content::Log => ".log",
        Content::Index => ".index",
        Content::TimeIndex => ".timeindex",
        Content::TxnIndex => ".txnindex",
        Content::Snapshot => ".snapshot",
    }
}

const CONTENTS: [Content; 5] = [
    Content::Log,
    Content::Index,
    Content::TimeIndex,
    Content::TxnIndex,
    Content::Snapshot,
];
const OFFSET_DIGITS: usize = 20;
const DELETED: &str = ".deleted";
const CLEANED: &str = ".cleaned";
const SWAP: &str = ".swap";
const CUT: &str = ".cut-";
const DELETE_MARK: &str = "-delete";
const FUTURE_MARK: &str = "-future";
const STRAY_MARK: &str = "-stray";
const FOLDER_NAME_MAX: usize = 255;
const TOPIC_NAME_MAX: usize = 249;

#[cfg(test)]
mod tests;
