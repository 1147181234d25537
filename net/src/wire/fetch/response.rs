//! The Fetch response, written around its records.
//!
//! **Owns** the layout of the response, versions 4 to 18, and the places of the records in it.
//! **Lives on** the connection's shard.
//! **Invariants** 1. Gaps ascend. 2. The frame's size is the vector's length plus the gaps' sizes.
//! **Not here**: what is in the records, how they are sent.

use crate::wire::encoder::{PARTITION_HEAD_OLD, partition_head};
use crate::wire::messages::FetchRequest;
use crate::wire::messages::fetch::{
    AbortedTransaction, EpochEndOffset, LeaderIdAndEpoch, NodeEndpoint, SnapshotId,
};
use crate::wire::{EncodeError, Encoder, ErrorCode, Form, Message, Structure, Uuid};

/// A place where records belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The position in the writer's vector before which the records go out.
    pub position: usize,
    /// How many bytes they are; never zero.
    pub size: usize,
}

/// What is answered for one partition.
#[derive(Clone, Copy, Debug)]
pub struct PartitionAnswer<'a> {
    /// The partition's number.
    pub index: i32,
    /// What became of the read.
    pub error_code: ErrorCode,
    /// −1 when unknown.
    pub high_watermark: i64,
    /// −1 when unknown.
    pub last_stable_offset: i64,
    /// −1 when unknown; from version 5 on.
    pub log_start_offset: i64,
    /// Where the follower's log parts from the leader's: epoch and its end offset; from version 12.
    pub diverging_epoch: Option<(i32, i64)>,
    /// Leader and epoch, for a client that asked the wrong broker; from version 12 on.
    pub current_leader: Option<(i32, i32)>,
    /// End offset and epoch of the snapshot to fetch instead; from version 12 on.
    pub snapshot_id: Option<(i64, i32)>,
    /// For readers of committed data; `None` is null.
    pub aborted_transactions: Option<&'a [AbortedTransaction]>,
    /// Another replica to read from; −1 for none. From version 11 on.
    pub preferred_read_replica: i32,
    /// How many bytes of records follow; `None` is null.
    pub records_size: Option<usize>,
}

impl PartitionAnswer<'_> {
    /// An error without details, with empty records as Kafka sends them.
    pub const fn error(index: i32, error_code: ErrorCode) -> Self {
        Self {
            index,
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            snapshot_id: None,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records_size: Some(0),
        }
    }
}

/// Writes the body of a Fetch response, topic by topic.
///
/// Counts are announced before what they count; whoever announces wrongly writes a broken response,
/// so [`FetchResponseWriter::finish`] asserts them.
#[derive(Debug)]
pub struct FetchResponseWriter<'o> {
    e: Encoder<'o>,
    gaps: &'o mut Vec<Gap>,
    version: i16,
    form: Form,
    topics_left: usize,
    partitions_left: usize,
    /// A topic is open: its tagged fields are still to come.
    open: bool,
}

impl<'o> FetchResponseWriter<'o> {
    /// Appends to `out`, where the response header already is, and to `gaps`.
    ///
    /// # Errors
    /// The version is not valid, it cannot carry the session, or the count is too large.
    pub fn new(
        out: &'o mut Vec<u8>,
        gaps: &'o mut Vec<Gap>,
        version: i16,
        start: Start,
    ) -> Result<Self, EncodeError> {
        if !FetchRequest::VALID_VERSIONS.contains(&version) {
            let message = "FetchResponse";
            return Err(EncodeError::UnsupportedVersion { message, version });
        }
        let form = Form::of(version >= 12);
        let mut e = Encoder::new(out);
        e.i32(start.throttle_time_ms);
        if version >= 7 {
            e.i16(start.error_code.code());
            e.i32(start.session_id);
        } else if start.session_id != 0 {
            let field = "FetchResponse.session_id";
            return Err(EncodeError::FieldNotInVersion { field, version });
        }
        e.length(form, start.topic_count)?;
        Ok(Self {
            e,
            gaps,
            version,
            form,
            topics_left: start.topic_count,
            partitions_left: 0,
            open: false,
        })
    }

    /// Starts a topic: by name below version 13, by id from there on.
    ///
    /// # Errors
    /// The name is too long.
    pub fn topic(
        &mut self,
        name: &str,
        topic_id: Uuid,
        partitions: usize,
    ) -> Result<(), EncodeError> {
        self.close_topic()?;
        assert!(self.topics_left > 0, "more topics than announced");
        self.topics_left -= 1;
        self.partitions_left = partitions;
        self.open = true;
        if self.version >= 13 {
            self.e.uuid(topic_id);
        } else {
            self.e.string(self.form, name)?;
        }
        self.e.length(self.form, partitions)
    }

    /// Writes one partition of the topic, but for its records.
    ///
    /// # Errors
    /// The records exceed 2 GiB, or the version cannot carry a preferred replica.
    // HOT: 0 alloc beyond the vectors' growth
    pub fn partition(&mut self, answer: &PartitionAnswer<'_>) -> Result<(), EncodeError> {
        let Self {
            e, version, form, ..
        } = self;
        let (version, form) = (*version, *form);
        assert!(self.partitions_left > 0, "more partitions than announced");
        self.partitions_left -= 1;
        let offsets = [
            answer.high_watermark,
            answer.last_stable_offset,
            answer.log_start_offset,
        ];
        let head = partition_head(answer.index, answer.error_code.code(), offsets);
        e.raw(if version >= 5 {
            &head
        } else {
            &head[..PARTITION_HEAD_OLD]
        });
        e.nullable_structs(form, answer.aborted_transactions, version)?;
        if version >= 11 {
            e.i32(answer.preferred_read_replica);
        } else if answer.preferred_read_replica != -1 {
            let field = "PartitionData.preferred_read_replica";
            return Err(EncodeError::FieldNotInVersion { field, version });
        }
        match answer.records_size {
            Some(size) => e.length(form, size)?,
            None => e.null_length(form),
        }
        if let Some(size) = answer.records_size.filter(|&size| size > 0) {
            self.gaps.push(Gap {
                position: e.position(),
                size,
            });
        }
        if form == Form::Plain {
            return Ok(());
        }
        if answer.diverging_epoch.is_none()
            && answer.current_leader.is_none()
            && answer.snapshot_id.is_none()
        {
            return e.unknown_tags(&[]);
        }
        self.partition_tags(answer)
    }

    #[cold]
    fn partition_tags(&mut self, answer: &PartitionAnswer<'_>) -> Result<(), EncodeError> {
        let Self { e, version, .. } = self;
        let version = *version;
        // Values equal to the default are left out, as the generated encoder does.
        let diverging = answer
            .diverging_epoch
            .map(|(epoch, end_offset)| EpochEndOffset {
                epoch,
                end_offset,
                ..Default::default()
            })
            .filter(|value| *value != EpochEndOffset::default());
        let leader = answer
            .current_leader
            .map(|(leader_id, leader_epoch)| LeaderIdAndEpoch {
                leader_id,
                leader_epoch,
                ..Default::default()
            })
            .filter(|value| *value != LeaderIdAndEpoch::default());
        let snapshot = answer
            .snapshot_id
            .map(|(end_offset, epoch)| SnapshotId {
                end_offset,
                epoch,
                ..Default::default()
            })
            .filter(|value| *value != SnapshotId::default());
        let known = u32::from(diverging.is_some())
            + u32::from(leader.is_some())
            + u32::from(snapshot.is_some());
        let mut tags = e.tags(known, &[])?;
        if let Some(value) = diverging {
            e.tag(&mut tags, 0, |e| value.write(e, version))?;
        }
        if let Some(value) = leader {
            e.tag(&mut tags, 1, |e| value.write(e, version))?;
        }
        if let Some(value) = snapshot {
            e.tag(&mut tags, 2, |e| value.write(e, version))?;
        }
        e.tags_end(tags)
    }

    fn close_topic(&mut self) -> Result<(), EncodeError> {
        assert!(
            self.partitions_left == 0,
            "{} announced partitions were not written",
            self.partitions_left
        );
        if self.open && self.form == Form::Compact {
            self.e.unknown_tags(&[])?;
        }
        self.open = false;
        Ok(())
    }

    /// Ends the response. The brokers' addresses go out from version 16 on (KIP-951); older
    /// versions cannot carry them and leave them out.
    ///
    /// # Errors
    /// A host name is too long.
    ///
    /// # Panics
    /// Fewer topics or partitions were written than announced.
    pub fn finish(mut self, node_endpoints: &[NodeEndpoint]) -> Result<(), EncodeError> {
        self.close_topic()?;
        assert!(
            self.topics_left == 0,
            "{} announced topics were not written",
            self.topics_left
        );
        let Self {
            mut e,
            version,
            form,
            ..
        } = self;
        if form == Form::Plain {
            return Ok(());
        }
        let endpoints = Some(node_endpoints).filter(|all| version >= 16 && !all.is_empty());
        let mut tags = e.tags(u32::from(endpoints.is_some()), &[])?;
        if let Some(endpoints) = endpoints {
            e.tag(&mut tags, 0, |e| e.structs(form, endpoints, version))?;
        }
        e.tags_end(tags)
    }
}

/// What a Fetch response starts with.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// How long the client is held back, in ms.
    pub throttle_time_ms: i32,
    /// An error of the whole request (of its session); from version 7 on.
    pub error_code: ErrorCode,
    /// The session; 0 for none. From version 7 on.
    pub session_id: i32,
    /// How many topics follow.
    pub topic_count: usize,
}
