//! The group coordinator: groups of both consumer protocols and committed offsets, one [`Coordinator`] per partition of
//! `__consumer_offsets`.
//!
//! Owns every group whose id hashes to its partition, their members, timers and offsets.
//! Lives on the shard that owns the offsets partition.
//! Invariants:
//! 1. Every request is answered exactly once.
//! 2. What was acknowledged is in the log: answers that stand for records leave after [`Event::Appended`].
//! 3. Replaying the log gives the same generations, members and offsets.
//! 4. A member id belongs to at most one member of a group, an instance id to at most one member.
//!
//! Not here: input and output, clocks, wire structs (`handlers`), finding the coordinator (`metadata`).

use bytes::Bytes;
use corelog_storage::producer::Guard;

mod classic;
mod consumer;
mod coordinator;
mod error;
mod log;
mod message;
mod metadata;
mod notes;
mod offsets;
mod random;
mod settings;
mod step;
#[cfg(test)]
mod tests;
mod timers;

pub use consumer::Refusal;
pub use consumer::assignor::Assignor;
pub(crate) use consumer::check::request as check_heartbeat;
pub use consumer::migrate::MigrationPolicy;
pub use consumer::regex::{Resolution, Resolve};
pub use coordinator::{Census, Commit, Coordinator};
pub use error::{AppendError, GroupError, ProducerFault};
pub use message::{
    CommitPartition, CommitTopic, CommittedTopic, ConsumerBeat, ConsumerHeartbeat, DeleteGroup,
    DescribeGroup, DescribedConsumer, DescribedConsumerGroup, DescribedGroup, DescribedMember,
    FetchTopic, FetchedPartition, FetchedTopic, Heartbeat, JoinGroup, JoinProtocol, JoinedGroup,
    JoinedMember, LeaveGroup, LeavingMember, LeftMember, ListGroups, ListedGroup, Marker,
    OffsetCommit, OffsetDelete, OffsetFetch, Reply, Request, SyncGroup, SyncedGroup, Token,
    TxnOffsetCommit,
};
pub use notes::{News, Note, Removal};
pub use settings::{ConsumerSettings, GroupSettings};

/// The moment of a step. Timers follow the steady clock, stored timestamps the wall clock, so that a stepped wall clock
/// expires nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never goes back.
    pub steady_ms: u64,
    /// Milliseconds since the epoch.
    pub wall_ms: i64,
}

/// What happens to a coordinator.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody asks; the reply carries the same token.
    Request {
        /// Who waits.
        token: Token,
        /// What is asked.
        request: Request,
    },
    /// Time passed; due no later than [`Coordinator::next_deadline`].
    Tick,
    /// These topics are gone: their committed offsets go too.
    TopicsDeleted(Vec<String>),
    /// The answer to an [`Effects::resolve`].
    Resolved(Resolution),
    /// Every append up to and including this one is as safe as the offsets topic makes it (acks=all).
    Appended(Ticket),
    /// This append and all later ones were refused; their changes are taken back and their waiters told.
    AppendFailed {
        /// The first that failed.
        from: Ticket,
        /// Why.
        error: AppendError,
    },
    /// The log would not take this one append, before anything of it was written; said before the next step.
    AppendRefused {
        /// Which.
        ticket: Ticket,
        /// Why.
        error: AppendError,
    },
}

/// Numbers the appends of one coordinator, from one upward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What the shell must do after a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Records for the offsets partition, to be handed to its log before the next step of this coordinator.
    pub append: Option<Append>,
    /// Answers to release now.
    pub replies: Vec<(Token, Reply)>,
    /// Regular expressions to be resolved where it may take its time; each is answered by [`Event::Resolved`].
    pub resolve: Vec<Resolve>,
    /// What operators are told.
    pub notes: Vec<Note>,
}

/// Records to append in this order. They may be cut into several batches between any two records.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    /// To be named in [`Event::Appended`] or [`Event::AppendFailed`].
    pub ticket: Ticket,
    /// In whose name.
    pub writer: Writer,
    /// Empty for a marker only.
    pub records: Vec<Record>,
}

/// In whose name records are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Writer {
    /// The coordinator's own.
    #[default]
    Coordinator,
    /// A producer's, within its transaction.
    Producer {
        /// Its id.
        id: i64,
        /// Its epoch.
        epoch: i16,
        /// What the partition gave when it was asked; `None`: nothing need be shown.
        guard: Option<Guard>,
    },
    /// The end of a transaction.
    Marker(Marker),
}

/// One record of the offsets partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Kafka's versioned key.
    pub key: Bytes,
    /// Kafka's versioned value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
}

/// The types of groups; classic and consumer groups are coordinated so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupType {
    /// Clients assign (`JoinGroup`, `SyncGroup`), or only commit.
    Classic,
    /// The coordinator assigns (KIP-848).
    Consumer,
    /// Records are shared out one by one (KIP-932).
    Share,
    /// Tasks of a stream application (KIP-1071).
    Streams,
}

impl GroupType {
    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
            Self::Share => "share",
            Self::Streams => "streams",
        }
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its offsets count.
    Commit,
    /// Its offsets never were.
    Abort,
}

/// Why a record of the offsets partition could not be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The key is of a known kind and version but does not decode.
    #[error("the key does not decode")]
    Key,
    /// The value is of a known version but does not decode.
    #[error("the value does not decode")]
    Value,
}

/// Bytes of an id or a name. With a UUID behind it, it still fits an `i16` length.
const TEXT_SIZE_MAX: usize = 32_000;
const _: () = assert!(TEXT_SIZE_MAX + 37 <= i16::MAX as usize);

/// The topic whose partitions keep groups and offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The partition of the offsets topic that coordinates `group_id`: Kafka's
/// `Utils.abs(groupId.hashCode()) % partitions`.
pub fn partition_for(group_id: &str, partitions: i32) -> i32 {
    java_hash(group_id).checked_abs().unwrap_or(0) % partitions
}

/// `String.hashCode` of Java, over UTF-16 units.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}
