//! Feature levels (KIP-584).
//!
//! **Owns** what this broker supports and what an empty cluster begins with.
//! **Lives on** any thread.
//! **Invariants**: a level stands here only if records and APIs of it are understood.
//! **Not here**: finalized levels of a cluster (`Image::features`).

/// A feature and the levels this broker supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Kafka's name.
    pub name: &'static str,
    /// Lowest level.
    pub min: i16,
    /// Highest level.
    pub max: i16,
    /// Level of a new cluster; 0 writes no record.
    pub initial: i16,
}

/// `metadata.version` of Kafka 4.3.
pub const METADATA_VERSION: i16 = 30;
/// The first `metadata.version` whose registrations say which log directories are cordoned (KIP-1066).
pub const METADATA_VERSION_CORDONED: i16 = 30;
/// The feature that names the format of the metadata log.
pub const METADATA_VERSION_NAME: &str = "metadata.version";
/// Eligible leader replicas (KIP-966).
pub const ELR_NAME: &str = "eligible.leader.replicas.version";
/// Groups: from level 1 on those of KIP-848.
pub const GROUP_VERSION_NAME: &str = "group.version";
/// Transactions (KIP-890): from level 2 on each has an epoch of its own.
pub const TRANSACTION_VERSION_NAME: &str = "transaction.version";

/// The metadata quorum (KIP-853).
pub const KRAFT_VERSION_NAME: &str = "kraft.version";

/// Levels of `metadata.version` that brought records or fields: what they hold would be lost below.
pub const METADATA_CHANGED_IN: &[i16] = &[7, 8, 11, 13, 14, 15, 17, 23, 30];

/// All features, in the order in which Kafka writes a new cluster's records.
pub const SUPPORTED: &[Feature] = &[
    Feature {
        name: METADATA_VERSION_NAME,
        min: 7,
        max: METADATA_VERSION,
        initial: METADATA_VERSION,
    },
    Feature {
        name: ELR_NAME,
        min: 0,
        max: 1,
        initial: 1,
    },
    Feature {
        name: GROUP_VERSION_NAME,
        min: 0,
        max: 1,
        initial: 1,
    },
    Feature {
        name: "share.version",
        min: 0,
        max: 1,
        initial: 1,
    },
    Feature {
        name: "streams.version",
        min: 0,
        max: 1,
        initial: 1,
    },
    Feature {
        name: TRANSACTION_VERSION_NAME,
        min: 0,
        max: 2,
        initial: 2,
    },
    Feature {
        name: KRAFT_VERSION_NAME,
        min: 0,
        max: 1,
        initial: 0,
    },
];
