//! Produce without structs: a view over the request, a writer of the response.
//!
//! **Owns** the walk over a Produce request in place, versions 3 to 13, and the layout of its
//! response. Version 0 to 2 are advertised because librdkafka asks for them, but like Kafka we have
//! no schema for them and the connection closes.
//! **Lives on** the connection's shard.
//! **Invariants** 1. [`ProduceView::parse`] checks all of the bytes; a walk then meets no error.
//! 2. Nothing is allocated per topic or partition.
//! **Not here**: record batches (`corelog_storage::batch`).

use std::ops::Range;

use bytes::Bytes;

use super::encoder::{PARTITION_HEAD_OLD, partition_head};
use super::messages::ProduceRequest;
use super::messages::produce::{BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint};
use super::{Cursor, DecodeError, EncodeError, Encoder, ErrorCode, Form, Message, Structure, Uuid};

/// A checked Produce request.
#[derive(Clone, Debug)]
pub struct ProduceView {
    body: Bytes,
    version: i16,
    acks: i16,
    timeout_ms: i32,
    transactional_id: Option<Range<usize>>,
    topics_position: usize,
    topic_count: usize,
    partition_count: usize,
    records_size: usize,
}

impl ProduceView {
    /// Checks the body of a request (what follows the header). Bytes that follow it are tolerated.
    ///
    /// # Errors
    /// The version is not valid, or the bytes are malformed.
    // HOT: 0 alloc, 0 copy
    pub fn parse(body: Bytes, version: i16) -> Result<Self, DecodeError> {
        if !ProduceRequest::VALID_VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: ProduceRequest::NAME,
                version,
            });
        }
        let layout = Layout::of(version);
        let mut c = Cursor::new(&body);
        let transactional_id = c.nullable_str(layout.form)?.map(|id| {
            let end = body.len() - c.remaining();
            end - id.len()..end
        });
        let acks = c.i16()?;
        let timeout_ms = c.i32()?;
        let topic_count = layout.count(&mut c, layout.topic_size_min())?;
        let topics_position = body.len() - c.remaining();
        let mut partition_count = 0;
        let mut records_size = 0;
        for _ in 0..topic_count {
            layout.topic(&mut c)?;
            let count = layout.count(&mut c, layout.partition_size_min())?;
            partition_count += count;
            for _ in 0..count {
                let (_, records) = layout.partition(&mut c)?;
                records_size += records.map_or(0, <[u8]>::len);
            }
            layout.tags(&mut c)?;
        }
        layout.tags(&mut c)?;
        Ok(Self {
            body,
            version,
            acks,
            timeout_ms,
            transactional_id,
            topics_position,
            topic_count,
            partition_count,
            records_size,
        })
    }

    /// The request's version.
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// 0: no answer, 1: the leader has it, −1: all in-sync replicas have it. Any number, unchecked.
    pub const fn acks(&self) -> i16 {
        self.acks
    }

    /// How long the client waits for the acknowledgements, in ms.
    pub const fn timeout_ms(&self) -> i32 {
        self.timeout_ms
    }

    /// The id of a transactional producer.
    pub fn transactional_id(&self) -> Option<&str> {
        let range = self.transactional_id.clone()?;
        std::str::from_utf8(self.body.get(range)?).ok()
    }

    /// How many topics there are.
    pub const fn topic_count(&self) -> usize {
        self.topic_count
    }

    /// How many partitions there are in all topics.
    pub const fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The bytes of records in all partitions.
    pub const fn records_size(&self) -> usize {
        self.records_size
    }

    /// Walks the topics, in the order of the request.
    pub fn topics(&self) -> Topics<'_> {
        let rest = self.body.get(self.topics_position..).unwrap_or_default();
        Topics {
            body: &self.body,
            layout: Layout::of(self.version),
            cursor: Cursor::new(rest),
            left: self.topic_count,
        }
    }
}

/// Where fields are in a version.
#[derive(Clone, Copy, Debug)]
struct Layout {
    form: Form,
    topic_ids: bool,
}

impl Layout {
    const fn of(version: i16) -> Self {
        Self {
            form: Form::of(version >= 9),
            topic_ids: version >= 13,
        }
    }

    const fn topic_size_min(self) -> usize {
        match (self.form, self.topic_ids) {
            (Form::Plain, _) => 6,
            (Form::Compact, false) => 3,
            (Form::Compact, true) => 18,
        }
    }

    const fn partition_size_min(self) -> usize {
        match self.form {
            Form::Plain => 8,
            Form::Compact => 6,
        }
    }

    fn count(self, c: &mut Cursor<'_>, size_min: usize) -> Result<usize, DecodeError> {
        c.nullable_count(self.form, size_min)?
            .ok_or(DecodeError::UnexpectedNull)
    }

    fn topic<'a>(self, c: &mut Cursor<'a>) -> Result<(&'a str, Uuid), DecodeError> {
        if self.topic_ids {
            Ok(("", c.uuid()?))
        } else {
            Ok((c.str(self.form)?, Uuid::ZERO))
        }
    }

    #[inline]
    fn partition<'a>(self, c: &mut Cursor<'a>) -> Result<(i32, Option<&'a [u8]>), DecodeError> {
        let index = c.i32()?;
        let records = c.nullable_slice(self.form)?;
        self.tags(c)?;
        Ok((index, records))
    }

    #[inline]
    fn tags(self, c: &mut Cursor<'_>) -> Result<(), DecodeError> {
        if self.form == Form::Compact {
            c.skip_tags()
        } else {
            Ok(())
        }
    }
}

/// The topics of a request.
#[derive(Clone, Debug)]
pub struct Topics<'a> {
    body: &'a Bytes,
    layout: Layout,
    cursor: Cursor<'a>,
    left: usize,
}

/// One topic of a request.
#[derive(Clone, Debug)]
pub struct Topic<'a> {
    /// The name; empty from version 13 on.
    pub name: &'a str,
    /// The id; zero below version 13.
    pub topic_id: Uuid,
    /// Walks the partitions.
    pub partitions: Partitions<'a>,
}

/// The partitions of a topic.
#[derive(Clone, Debug)]
pub struct Partitions<'a> {
    body: &'a Bytes,
    layout: Layout,
    cursor: Cursor<'a>,
    left: usize,
}

/// One partition of a request.
#[derive(Clone, Copy, Debug)]
pub struct Partition<'a> {
    /// The partition's number.
    pub index: i32,
    records: Option<&'a [u8]>,
    body: &'a Bytes,
}

impl<'a> Partition<'a> {
    /// The records, in place; `None` for null.
    pub const fn record_bytes(&self) -> Option<&'a [u8]> {
        self.records
    }

    /// The records as a counted slice of the frame; `None` for null.
    pub fn records(&self) -> Option<Bytes> {
        self.records.map(|records| self.body.slice_ref(records))
    }
}

impl<'a> Iterator for Topics<'a> {
    type Item = Topic<'a>;

    // HOT: 0 alloc, 0 copy
    fn next(&mut self) -> Option<Topic<'a>> {
        self.left = self.left.checked_sub(1)?;
        let Self { body, layout, .. } = *self;
        let c = &mut self.cursor;
        let (name, topic_id) = layout.topic(c).ok()?;
        let count = layout.count(c, layout.partition_size_min()).ok()?;
        let partitions = Partitions {
            body,
            layout,
            cursor: *c,
            left: count,
        };
        for _ in 0..count {
            layout.partition(c).ok()?;
        }
        layout.tags(c).ok()?;
        Some(Topic {
            name,
            topic_id,
            partitions,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Topics<'_> {}

impl<'a> Iterator for Partitions<'a> {
    type Item = Partition<'a>;

    // HOT: 0 alloc, 0 copy
    #[inline]
    fn next(&mut self) -> Option<Partition<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (index, records) = self.layout.partition(&mut self.cursor).ok()?;
        Some(Partition {
            index,
            records,
            body: self.body,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Partitions<'_> {}

/// What is answered for one partition.
#[derive(Clone, Copy, Debug)]
pub struct PartitionAnswer<'a> {
    /// The partition's number.
    pub index: i32,
    /// What became of its records.
    pub error_code: ErrorCode,
    /// The offset of the first record; −1 on errors.
    pub base_offset: i64,
    /// The broker's timestamp in ms, when it set one; else −1.
    pub log_append_time_ms: i64,
    /// The log's first offset; −1 on errors.
    pub log_start_offset: i64,
    /// The records that were refused, from version 8 on.
    pub record_errors: &'a [BatchIndexAndErrorMessage],
    /// What all record errors have in common, from version 8 on.
    pub error_message: Option<&'a str>,
    /// Leader and epoch, for a client that asked the wrong broker; from version 10 on (KIP-951).
    pub current_leader: Option<(i32, i32)>,
}

impl PartitionAnswer<'_> {
    /// An error without details.
    pub const fn error(index: i32, error_code: ErrorCode) -> Self {
        Self {
            index,
            error_code,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: &[],
            error_message: None,
            current_leader: None,
        }
    }
}

/// Writes the body of a Produce response, topic by topic.
///
/// Counts are announced before what they count; whoever announces wrongly writes a broken response,
/// so [`ProduceResponseWriter::finish`] asserts them.
#[derive(Debug)]
pub struct ProduceResponseWriter<'o> {
    e: Encoder<'o>,
    version: i16,
    form: Form,
    topics_left: usize,
    partitions_left: usize,
    /// A topic is open: its tagged fields are still to come.
    open: bool,
}

impl<'o> ProduceResponseWriter<'o> {
    /// Appends to `out`, where the response header already is.
    ///
    /// # Errors
    /// The version is not valid or the count too large.
    pub fn new(out: &'o mut Vec<u8>, version: i16, topics: usize) -> Result<Self, EncodeError> {
        if !ProduceRequest::VALID_VERSIONS.contains(&version) {
            let message = "ProduceResponse";
            return Err(EncodeError::UnsupportedVersion { message, version });
        }
        let form = Form::of(version >= 9);
        let mut e = Encoder::new(out);
        e.length(form, topics)?;
        Ok(Self {
            e,
            version,
            form,
            topics_left: topics,
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

    /// Writes one partition of the topic.
    ///
    /// # Errors
    /// A message is too long.
    // HOT: 0 alloc beyond the vector's growth
    pub fn partition(&mut self, answer: &PartitionAnswer<'_>) -> Result<(), EncodeError> {
        let Self {
            e, version, form, ..
        } = self;
        let (version, form) = (*version, *form);
        assert!(self.partitions_left > 0, "more partitions than announced");
        self.partitions_left -= 1;
        let offsets = [
            answer.base_offset,
            answer.log_append_time_ms,
            answer.log_start_offset,
        ];
        let head = partition_head(answer.index, answer.error_code.code(), offsets);
        e.raw(if version >= 5 {
            &head
        } else {
            &head[..PARTITION_HEAD_OLD]
        });
        if version >= 8 {
            e.structs(form, answer.record_errors, version)?;
            e.nullable_string(form, answer.error_message)?;
        }
        if form == Form::Plain {
            return Ok(());
        }
        // A leader equal to the default is left out, as the generated encoder does.
        let leader = answer
            .current_leader
            .filter(|&leader| version >= 10 && leader != (-1, -1));
        let mut tags = e.tags(u32::from(leader.is_some()), &[])?;
        if let Some((leader_id, leader_epoch)) = leader {
            let leader = LeaderIdAndEpoch {
                leader_id,
                leader_epoch,
                unknown_tagged_fields: Vec::new(),
            };
            e.tag(&mut tags, 0, |e| leader.write(e, version))?;
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

    /// Ends the response. The brokers' addresses go out from version 10 on (KIP-951).
    ///
    /// # Errors
    /// A host name is too long.
    ///
    /// # Panics
    /// Fewer topics or partitions were written than announced.
    pub fn finish(
        mut self,
        throttle_time_ms: i32,
        node_endpoints: &[NodeEndpoint],
    ) -> Result<(), EncodeError> {
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
        e.i32(throttle_time_ms);
        if form == Form::Plain {
            return Ok(());
        }
        let endpoints = Some(node_endpoints).filter(|all| version >= 10 && !all.is_empty());
        let mut tags = e.tags(u32::from(endpoints.is_some()), &[])?;
        if let Some(endpoints) = endpoints {
            e.tag(&mut tags, 0, |e| e.structs(form, endpoints, version))?;
        }
        e.tags_end(tags)
    }
}
