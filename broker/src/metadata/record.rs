//! The records of the metadata log.
//!
//! **Owns** the framing of a record's value, and which version of a schema is written.
//! **Lives on** any thread.
//! **Invariants**: what is written decodes to the same record; an unknown record type is an error,
//! because skipping it would lose it.
//! **Not here**: what a record does (`image`), batches.
//!
//! ```text
//! frame version  record type  version        fields
//! uvarint (1)    uvarint      uvarint        by schema
//! ```

use std::borrow::Cow;

use bytes::Bytes;
use corelog_net::wire::records::{
    AbortTransactionRecord, AccessControlEntryRecord, BeginTransactionRecord,
    BrokerRegistrationChangeRecord, ClearElrRecord, ClientQuotaRecord, ConfigRecord,
    DelegationTokenRecord, EndTransactionRecord, FeatureLevelRecord, FenceBrokerRecord, NoOpRecord,
    PartitionChangeRecord, PartitionRecord, ProducerIdsRecord, RegisterBrokerRecord,
    RegisterControllerRecord, RemoveAccessControlEntryRecord, RemoveDelegationTokenRecord,
    RemoveTopicRecord, RemoveUserScramCredentialRecord, TopicRecord, UnfenceBrokerRecord,
    UnregisterBrokerRecord, UnregisterControllerRecord, UserScramCredentialRecord,
    ZkMigrationStateRecord,
};
use corelog_net::wire::{Budget, DecodeError, Decoder, EncodeError, Encoder, Message, Record};

/// Why bytes are not a metadata record, or a record not bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The frame is of another version.
    #[error("metadata record frame has version {0}, only 1 is known")]
    Frame(u32),
    /// The type is of a later release.
    #[error("metadata record type {0} is not known")]
    Type(u32),
    /// The version is of a later release.
    #[error("metadata record version {0} is not known")]
    Version(u32),
    /// The fields are malformed.
    #[error("metadata record is malformed: {0}")]
    Decode(#[from] DecodeError),
    /// The fields cannot be written.
    #[error("metadata record cannot be written: {0}")]
    Encode(#[from] EncodeError),
}

macro_rules! metadata_records {
    ($($(#[$doc:meta])* $name:ident($record:ident),)*) => {
        /// One record.
        #[derive(Clone, Debug, PartialEq)]
        pub enum MetadataRecord {
            $($(#[$doc])* $name($record),)*
        }

        $(impl From<$record> for MetadataRecord {
            fn from(record: $record) -> Self {
                Self::$name(record)
            }
        })*

        impl MetadataRecord {
            /// Kafka's number of the record's type.
            #[must_use]
            pub fn record_type(&self) -> i16 {
                match self {
                    $(Self::$name(_) => $record::RECORD_TYPE,)*
                }
            }

            fn encode_fields(&self, e: &mut Encoder<'_>, version: i16) -> Result<(), EncodeError> {
                match self {
                    $(Self::$name(record) => record.encode(e, version),)*
                }
            }

            fn decode_fields(
                d: &mut Decoder<'_>,
                record_type: i16,
                version: i16,
            ) -> Result<Self, RecordError> {
                match record_type {
                    $($record::RECORD_TYPE => Ok($record::decode(d, version)?.into()),)*
                    other => Err(RecordError::Type(u32::from(other.unsigned_abs()))),
                }
            }
        }
    };
}

metadata_records! {
    /// A broker has come.
    RegisterBroker(RegisterBrokerRecord),
    /// A broker is forgotten.
    UnregisterBroker(UnregisterBrokerRecord),
    /// A topic.
    Topic(TopicRecord),
    /// A partition, whole.
    Partition(PartitionRecord),
    /// A setting; no value removes it.
    Config(ConfigRecord),
    /// What changed of a partition.
    PartitionChange(PartitionChangeRecord),
    /// A broker is fenced (older form).
    FenceBroker(FenceBrokerRecord),
    /// A broker is unfenced (older form).
    UnfenceBroker(UnfenceBrokerRecord),
    /// A topic is gone, with its partitions and settings.
    RemoveTopic(RemoveTopicRecord),
    /// A delegation token.
    DelegationToken(DelegationTokenRecord),
    /// A SCRAM credential.
    UserScramCredential(UserScramCredentialRecord),
    /// A finalized feature level.
    FeatureLevel(FeatureLevelRecord),
    /// A quota of an entity.
    ClientQuota(ClientQuotaRecord),
    /// Producer ids up to here are given out.
    ProducerIds(ProducerIdsRecord),
    /// What changed of a broker.
    BrokerRegistrationChange(BrokerRegistrationChangeRecord),
    /// An access control entry.
    AccessControlEntry(AccessControlEntryRecord),
    /// An access control entry is gone.
    RemoveAccessControlEntry(RemoveAccessControlEntryRecord),
    /// Nothing.
    NoOp(NoOpRecord),
    /// How far a migration from `ZooKeeper` is.
    ZkMigrationState(ZkMigrationStateRecord),
    /// A SCRAM credential is gone.
    RemoveUserScramCredential(RemoveUserScramCredentialRecord),
    /// The records that follow count only once the transaction ends.
    BeginTransaction(BeginTransactionRecord),
    /// They count now.
    EndTransaction(EndTransactionRecord),
    /// They never will.
    AbortTransaction(AbortTransactionRecord),
    /// A delegation token is gone.
    RemoveDelegationToken(RemoveDelegationTokenRecord),
    /// A controller has come.
    RegisterController(RegisterControllerRecord),
    /// Eligible leader replicas of a topic are forgotten.
    ClearElr(ClearElrRecord),
    /// A controller is forgotten.
    UnregisterController(UnregisterControllerRecord),
}

impl MetadataRecord {
    /// Appends the record's value as it stands in the log, for a cluster of this `metadata.version`.
    pub fn encode(&self, out: &mut Vec<u8>, metadata_version: i16) -> Result<(), RecordError> {
        let version = self.version(metadata_version);
        let mut e = Encoder::new(out);
        e.varint(FRAME_VERSION);
        e.varint(u32::from(self.record_type().unsigned_abs()));
        e.varint(u32::from(version.unsigned_abs()));
        Ok(self
            .without_later_fields(version)
            .encode_fields(&mut e, version)?)
    }

    /// The record as an older schema can hold it. A cluster of such a `metadata.version` has no
    /// directory ids and no eligible replicas: Kafka's controller leaves them out as well.
    fn without_later_fields(&self, version: i16) -> Cow<'_, Self> {
        let mut own = Cow::Borrowed(self);
        match self {
            Self::RegisterBroker(_) if version < 4 => {
                if let Self::RegisterBroker(record) = own.to_mut() {
                    record.cordoned_log_dirs = None;
                    if version < 3 {
                        record.log_dirs.clear();
                    }
                }
            }
            Self::Partition(_) if version < 2 => {
                if let Self::Partition(record) = own.to_mut() {
                    (record.eligible_leader_replicas, record.last_known_elr) = (None, None);
                    if version < 1 {
                        record.directories.clear();
                    }
                }
            }
            Self::PartitionChange(_) if version < 2 => {
                if let Self::PartitionChange(record) = own.to_mut() {
                    (record.eligible_leader_replicas, record.last_known_elr) = (None, None);
                    if version < 1 {
                        record.directories = None;
                    }
                }
            }
            Self::BrokerRegistrationChange(_) if version < 3 => {
                if let Self::BrokerRegistrationChange(record) = own.to_mut() {
                    record.cordoned_log_dirs = None;
                    if version < 2 {
                        record.log_dirs.clear();
                    }
                }
            }
            _ => {}
        }
        own
    }

    /// Reads a record's value.
    pub fn decode(value: &Bytes) -> Result<Self, RecordError> {
        let mut budget = Budget::for_frame(value.len());
        let mut d = Decoder::new(value, &mut budget);
        let frame = d.varint()?;
        if frame != FRAME_VERSION {
            return Err(RecordError::Frame(frame));
        }
        let number = d.varint()?;
        let record_type = i16::try_from(number).map_err(|_| RecordError::Type(number))?;
        let number = d.varint()?;
        let version = i16::try_from(number).map_err(|_| RecordError::Version(number))?;
        let record = Self::decode_fields(&mut d, record_type, version)?;
        d.finish()?;
        Ok(record)
    }

    /// The schema version a controller of this `metadata.version` writes: the newest that all its
    /// members read, and for partial changes the oldest that holds them.
    fn version(&self, metadata_version: i16) -> i16 {
        match self {
            Self::RegisterBroker(_) => match metadata_version {
                ..=7 => 1,
                8..=16 => 2,
                17..=29 => 3,
                30.. => 4,
            },
            Self::Partition(_) | Self::PartitionChange(_) => match metadata_version {
                ..=16 => 0,
                17..=22 => 1,
                23.. => 2,
            },
            Self::BrokerRegistrationChange(change) => {
                if change.cordoned_log_dirs.is_some() && metadata_version >= 30 {
                    3
                } else if !change.log_dirs.is_empty() && metadata_version >= 17 {
                    2
                } else {
                    i16::from(change.in_controlled_shutdown != 0)
                }
            }
            _ => 0,
        }
    }
}

const FRAME_VERSION: u32 = 1;
