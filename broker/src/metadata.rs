//! What the cluster is: an immutable image, the records that change it, and the answers read from it.
//!
//! **Owns** the [`Image`], Kafka's metadata records and their framing, snapshots, the records of a
//! first start, and the bodies of Metadata, `DescribeTopicPartitions` and `DescribeCluster`.
//! **Lives on** every shard: an image is shared by cloning it, which copies a few pointers.
//! **Invariants**: 1. an image is a function of the records applied, in their order; 2. a snapshot's
//! records rebuild an equal image; 3. nothing a Kafka controller wrote is lost by a snapshot.
//! **Not here**: deciding which records to write (`controller`), files (the caller reads and writes
//! them), the layout of batches (`corelog_storage::batch`).

pub mod answers;
pub mod bootstrap;
pub mod delta;
pub mod features;
pub mod image;
pub mod log;
pub mod quorum;
pub mod quotas;
pub mod record;
pub mod replay;
pub mod scram;
pub mod sharded;
pub mod snapshot;
pub mod topic_name;

pub use answers::{ClusterView, MetadataAnswer};
pub use bootstrap::{NodeRegistration, Restart};
pub use delta::Delta;
pub use image::{
    ApplyError, BrokerImage, ConfigResource, Image, PartitionImage, ResourceType, TopicImage,
};
pub use quorum::Quorum;
pub use record::{MetadataRecord, RecordError};
pub use replay::Replay;
pub use snapshot::SnapshotId;
