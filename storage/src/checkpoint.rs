//! **Owns** the small text files of a log directory: how they are read and printed, Kafka's bytes exactly.
//! **Lives on** any thread: text in, text out.
//! **Invariants** (1) What Kafka wrote is printed again as it was, order and comments included. (2) A malformed file is an
//! error that names the line and what should have stood there; nothing is guessed.
//! **Not here** opening, replacing and syncing the files (`disk`), `leader-epoch-checkpoint` (`epochs`).

mod json;
mod lines;
mod meta_properties;
mod offsets;
mod partition_metadata;

pub use json::{CleanShutdown, JsonError, QuorumState};
pub use lines::{LineError, Lines};
pub use meta_properties::{MetaProperties, MetaPropertiesError};
pub use offsets::OffsetCheckpoint;
pub use partition_metadata::PartitionMetadata;

/// Names of the files, one place each.
pub mod name {
    /// Up to where each log is known to be on disk.
    pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
    /// High watermarks.
    pub const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
    /// Log start offsets that `DeleteRecords` moved.
    pub const LOG_STARTS: &str = "log-start-offset-checkpoint";
    /// Up to where each compacted log is clean.
    pub const CLEANED: &str = "cleaner-offset-checkpoint";
    /// Whose directory this is.
    pub const META_PROPERTIES: &str = "meta.properties";
    /// Whose partition this is.
    pub const PARTITION_METADATA: &str = "partition.metadata";
    /// The directory was closed in order.
    pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
    /// The vote of the metadata quorum.
    pub const QUORUM_STATE: &str = "quorum-state";
    /// Leader epochs of a partition.
    pub const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";
    /// The records that a new metadata log begins with; a file of batches.
    pub const BOOTSTRAP: &str = "bootstrap.checkpoint";
}

#[cfg(test)]
mod tests;
