//! Owns the reasons for which a coordinator refuses, and what a failed append means to whom.
//! Lives on any shard: plain values.
//! Invariants: every reason has one meaning.
//! Not here: numbers on the wire (`handlers` map each reason to Kafka's code).

use thiserror::Error;

/// Why a group request, a member or a partition of it was refused. One reason is one Kafka error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum GroupError {
    /// `COORDINATOR_LOAD_IN_PROGRESS`
    #[error("the coordinator is reading its log")]
    LoadInProgress,
    /// `COORDINATOR_NOT_AVAILABLE`
    #[error("the coordinator cannot serve now")]
    NotAvailable,
    /// `NOT_COORDINATOR`
    #[error("another broker coordinates the group")]
    NotCoordinator,
    /// `INVALID_GROUP_ID`
    #[error("the group id is not allowed here")]
    InvalidGroupId,
    /// `GROUP_ID_NOT_FOUND`
    #[error("no such group")]
    GroupIdNotFound,
    /// `GROUP_ID_NOT_FOUND`: the group is a consumer group.
    #[error("not a classic group")]
    NotClassicGroup,
    /// `GROUP_ID_NOT_FOUND`: the group is of another type.
    #[error("not a consumer group")]
    NotConsumerGroup,
    /// `INVALID_REQUEST`
    #[error("the request contradicts itself")]
    InvalidRequest,
    /// `UNSUPPORTED_VERSION`
    #[error("a newer version of the request is needed")]
    UnsupportedVersion,
    /// `UNSUPPORTED_ASSIGNOR`
    #[error("no such assignor")]
    UnsupportedAssignor,
    /// `INVALID_REGULAR_EXPRESSION`
    #[error("not a regular expression")]
    InvalidRegularExpression,
    /// `FENCED_MEMBER_EPOCH`
    #[error("the member's epoch is not its current one")]
    FencedMemberEpoch,
    /// `STALE_MEMBER_EPOCH`
    #[error("the member has to learn its new epoch first")]
    StaleMemberEpoch,
    /// `UNRELEASED_INSTANCE_ID`
    #[error("another member holds the instance id")]
    UnreleasedInstanceId,
    /// `NON_EMPTY_GROUP`
    #[error("the group has members")]
    NonEmptyGroup,
    /// `GROUP_MAX_SIZE_REACHED`
    #[error("the group is full")]
    GroupMaxSizeReached,
    /// `INVALID_SESSION_TIMEOUT`
    #[error("the session timeout is outside the allowed range")]
    InvalidSessionTimeout,
    /// `INCONSISTENT_GROUP_PROTOCOL`
    #[error("the member's protocols do not fit the group's")]
    InconsistentGroupProtocol,
    /// `MEMBER_ID_REQUIRED`
    #[error("join again with the member id given here")]
    MemberIdRequired,
    /// `UNKNOWN_MEMBER_ID`
    #[error("no such member")]
    UnknownMemberId,
    /// `FENCED_INSTANCE_ID`
    #[error("another member has taken over the instance id")]
    FencedInstanceId,
    /// `ILLEGAL_GENERATION`
    #[error("the generation is not the current one")]
    IllegalGeneration,
    /// `REBALANCE_IN_PROGRESS`
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    /// `OFFSET_METADATA_TOO_LARGE`
    #[error("the metadata of the offset is too large")]
    OffsetMetadataTooLarge,
    /// `INVALID_COMMIT_OFFSET_SIZE`
    #[error("the commit is larger than the offsets topic takes")]
    InvalidCommitOffsetSize,
    /// `UNSTABLE_OFFSET_COMMIT`
    #[error("a transaction holds a pending offset")]
    UnstableOffsetCommit,
    /// `GROUP_SUBSCRIBED_TO_TOPIC`
    #[error("the group is subscribed to the topic")]
    GroupSubscribedToTopic,
    /// As the partition said.
    #[error("{0}")]
    Producer(ProducerFault),
    /// `UNKNOWN_SERVER_ERROR`
    #[error("the broker failed")]
    Unknown,
}

/// Why records could not be appended to the offsets partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum AppendError {
    /// This broker no longer leads the offsets partition.
    #[error("not the leader of the offsets partition")]
    NotLeader,
    /// The log directory failed.
    #[error("the log directory is offline")]
    Storage,
    /// Too few in-sync replicas, or the partition is gone for the moment.
    #[error("the offsets partition cannot take writes now")]
    Unavailable,
    /// Replication took longer than `offsets.commit.timeout.ms`.
    #[error("the append timed out")]
    TimedOut,
    /// The records do not fit in a batch of the offsets topic.
    #[error("the records are too large for the offsets topic")]
    TooLarge,
    /// The producer of the transaction may not write there.
    #[error("{0}")]
    Producer(ProducerFault),
}

/// Why a partition takes nothing of a producer's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum ProducerFault {
    /// `INVALID_PRODUCER_EPOCH`
    #[error("the producer's epoch is not the newest")]
    StaleEpoch,
    /// `INVALID_TXN_STATE`
    #[error("the producer has no such transaction open")]
    NoTransaction,
    /// `TRANSACTION_COORDINATOR_FENCED`
    #[error("the transaction coordinator was replaced")]
    CoordinatorFenced,
}

impl AppendError {
    /// What a member is told when group metadata could not be stored.
    pub fn for_group(self) -> GroupError {
        match self {
            Self::NotLeader | Self::Storage => GroupError::NotCoordinator,
            Self::Unavailable | Self::TimedOut => GroupError::NotAvailable,
            Self::TooLarge => GroupError::Unknown,
            Self::Producer(fault) => GroupError::Producer(fault),
        }
    }

    /// What a committer is told when its offsets could not be stored.
    pub fn for_commit(self) -> GroupError {
        match self {
            Self::TooLarge => GroupError::InvalidCommitOffsetSize,
            Self::NotLeader
            | Self::Storage
            | Self::Unavailable
            | Self::TimedOut
            | Self::Producer(_) => self.for_group(),
        }
    }
}
