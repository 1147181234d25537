//! **Owns** the four checkpoint files that keep one offset per partition.
//! **Lives on** any thread.
//! **Invariants** (1) Entries keep the file's order.
//! **Not here** what the offsets are for (`log`, `compaction`).

use std::fmt::Write;

use super::{LineError, Lines};
use crate::types::{Offset, TopicPartition};

/// The contents of a file with one offset per partition.
///
/// ```text
/// 0
/// 2
/// orders 0 1234
/// orders 1 99
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetCheckpoint {
    /// Partition and offset, in the order of the file.
    pub entries: Vec<(TopicPartition, Offset)>,
}

impl OffsetCheckpoint {
    /// Reads a file.
    pub fn parse(text: &[u8]) -> Result<Self, LineError> {
        let mut lines = Lines::versioned(text)?;
        let mut entries = Vec::new();
        while let Some([topic, partition, offset]) = lines.entry("topic, partition and offset")? {
            let partition = lines.number(partition, "a partition number")?;
            if partition < 0 {
                return Err(lines.error("a partition number"));
            }
            let offset = Offset(lines.number(offset, "an offset")?);
            entries.push((TopicPartition::new(topic, partition), offset));
        }
        Ok(Self { entries })
    }

    /// The file's contents.
    pub fn print(&self) -> String {
        let mut text = format!("0\n{}\n", self.entries.len());
        for (partition, offset) in &self.entries {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {} {offset}", partition.topic, partition.partition);
        }
        text
    }
}
