//! **Owns** `partition.metadata`: which topic a partition's directory belongs to.
//! **Lives on** any thread.
//! **Invariants** (1) There is no newline after the last line, as Kafka has none.
//! **Not here** what happens when the id is another than expected (`log`).

use super::{LineError, Lines};
use crate::types::TopicId;

/// The contents of `partition.metadata`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The topic.
    pub topic_id: TopicId,
}

impl PartitionMetadata {
    /// Reads a file.
    pub fn parse(text: &[u8]) -> Result<Self, LineError> {
        let mut lines = Lines::new(text)?;
        let version = lines.line("\"version: 0\"")?;
        if version.trim_end() != "version: 0" {
            return Err(lines.error("\"version: 0\""));
        }
        let line = lines.line("\"topic_id: \" and an id")?;
        let id = line
            .strip_prefix("topic_id: ")
            .map(|id| id.trim_end().parse());
        match id {
            Some(Ok(topic_id)) if topic_id != TopicId::ZERO => Ok(Self { topic_id }),
            _ => Err(lines.error("\"topic_id: \" and an id of 22 characters, not zero")),
        }
    }

    /// The file's contents.
    pub fn print(&self) -> String {
        format!("version: 0\ntopic_id: {}", self.topic_id)
    }
}
