//! What went wrong in the domain, as Kafka's error codes. The one place where the two meet.
//!
//! Owns: the mapping. Exhaustive: a new error of the domain does not compile until it is thought of.
//! Lives on: any shard.
//! Invariants: none.
//! Not here: the codes themselves (`corelog_net::wire::ErrorCode`).

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::produce::BatchIndexAndErrorMessage;
use corelog_storage::batch::BatchError;
use corelog_storage::log::AppendError;
use corelog_storage::producer::ProducerError;
use corelog_storage::types::TopicPartition;

use crate::group::{GroupError, ProducerFault};
use crate::partition::append::Appended;
use crate::txn::TxnError;

/// A batch that a client must not send.
pub(crate) fn batch(error: &BatchError, partition: &TopicPartition) -> Appended {
    let code = match error {
        BatchError::Records { .. } if error.is_timestamp() => ErrorCode::InvalidTimestamp,
        BatchError::LengthBelowMinimum { .. }
        | BatchError::Magic { .. }
        | BatchError::Crc { .. } => ErrorCode::CorruptMessage,
        BatchError::Missing
        | BatchError::OldMagic { .. }
        | BatchError::BelowHeader { .. }
        | BatchError::MoreThanOne
        | BatchError::BaseOffset(_)
        | BatchError::HeaderDisagrees { .. }
        | BatchError::Control
        | BatchError::NoSequence(_)
        | BatchError::Record { .. }
        | BatchError::Records { .. } => ErrorCode::InvalidRecord,
        BatchError::ZstdTooEarly => ErrorCode::UnsupportedCompressionType,
        BatchError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        BatchError::UnknownCodec(_) | BatchError::Inflate(_) | BatchError::Deflate(..) => {
            ErrorCode::UnknownServerError
        }
    };
    let record_errors = error
        .record_errors(partition)
        .into_iter()
        .map(|(batch_index, message)| BatchIndexAndErrorMessage {
            batch_index,
            batch_index_error_message: Some(message),
            ..BatchIndexAndErrorMessage::default()
        });
    Appended {
        message: error.message(partition),
        record_errors: record_errors.collect(),
        ..Appended::refused(code, -1)
    }
}

/// An append that the log refused.
pub(crate) fn append(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Producer(error) => producer(error),
        AppendError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
        AppendError::Roll(_) | AppendError::Failed(_) => ErrorCode::KafkaStorageError,
        AppendError::OutOfOrder { .. } | AppendError::OffsetsExhausted(_) | AppendError::Empty => {
            ErrorCode::UnknownServerError
        }
    }
}

fn producer(error: &ProducerError) -> ErrorCode {
    match error {
        ProducerError::OutOfOrderSequence { .. } | ProducerError::NewEpochNotFromZero { .. } => {
            ErrorCode::OutOfOrderSequenceNumber
        }
        ProducerError::StaleEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        ProducerError::NotTransactional { .. } | ProducerError::NotInTransaction { .. } => {
            ErrorCode::InvalidTxnState
        }
        ProducerError::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
    }
}

/// What a group coordinator refused.
pub(crate) fn group(error: GroupError) -> ErrorCode {
    match error {
        GroupError::LoadInProgress => ErrorCode::CoordinatorLoadInProgress,
        GroupError::NotAvailable => ErrorCode::CoordinatorNotAvailable,
        GroupError::NotCoordinator => ErrorCode::NotCoordinator,
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::GroupIdNotFound
        | GroupError::NotClassicGroup
        | GroupError::NotConsumerGroup => ErrorCode::GroupIdNotFound,
        GroupError::InvalidRequest => ErrorCode::InvalidRequest,
        GroupError::UnsupportedVersion => ErrorCode::UnsupportedVersion,
        GroupError::UnsupportedAssignor => ErrorCode::UnsupportedAssignor,
        GroupError::InvalidRegularExpression => ErrorCode::InvalidRegularExpression,
        GroupError::FencedMemberEpoch => ErrorCode::FencedMemberEpoch,
        GroupError::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
        GroupError::UnreleasedInstanceId => ErrorCode::UnreleasedInstanceId,
        GroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        GroupError::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
        GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupError::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::UnknownMemberId => ErrorCode::UnknownMemberId,
        GroupError::FencedInstanceId => ErrorCode::FencedInstanceId,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        GroupError::InvalidCommitOffsetSize => ErrorCode::InvalidCommitOffsetSize,
        GroupError::UnstableOffsetCommit => ErrorCode::UnstableOffsetCommit,
        GroupError::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        GroupError::Producer(fault) => producer_fault(fault),
        GroupError::Unknown => ErrorCode::UnknownServerError,
    }
}

/// What a partition of a coordinator refused to a producer.
fn producer_fault(fault: ProducerFault) -> ErrorCode {
    match fault {
        ProducerFault::StaleEpoch => ErrorCode::InvalidProducerEpoch,
        ProducerFault::NoTransaction => ErrorCode::InvalidTxnState,
        ProducerFault::CoordinatorFenced => ErrorCode::TransactionCoordinatorFenced,
    }
}

/// What a transaction coordinator refused.
pub(crate) fn txn(error: TxnError) -> ErrorCode {
    match error {
        TxnError::LoadInProgress | TxnError::NoProducerId => ErrorCode::CoordinatorLoadInProgress,
        TxnError::NotCoordinator => ErrorCode::NotCoordinator,
        TxnError::NotAvailable => ErrorCode::CoordinatorNotAvailable,
        TxnError::InvalidRequest => ErrorCode::InvalidRequest,
        TxnError::InvalidTimeout => ErrorCode::InvalidTransactionTimeout,
        TxnError::InvalidProducerIdMapping => ErrorCode::InvalidProducerIdMapping,
        TxnError::Fenced => ErrorCode::ProducerFenced,
        TxnError::Concurrent => ErrorCode::ConcurrentTransactions,
        TxnError::InvalidState => ErrorCode::InvalidTxnState,
        TxnError::NotFound => ErrorCode::TransactionalIdNotFound,
    }
}
