//! Fetch without structs: a view over the request, a writer of the response.
//!
//! **Owns** the walk over a Fetch request in place, versions 4 to 18, and the layout of its
//! response around records that are never copied.
//! **Lives on** the connection's shard.
//! **Invariants** 1. [`FetchView::parse`] checks all of the bytes; a walk then meets no error.
//! 2. Nothing is allocated per topic or partition. 3. Records are not in the writer's vector: each
//! [`Gap`] says where they belong and how many bytes they are.
//! **Not here**: fetch sessions (`broker`), sending (`connection`).

use std::ops::Range;

use bytes::Bytes;

use super::messages::FetchRequest;
use super::{Cursor, DecodeError, Form, Message, Uuid};

mod response;

pub use response::{FetchResponseWriter, Gap, PartitionAnswer, Start};

/// A checked Fetch request.
#[derive(Clone, Debug)]
pub struct FetchView {
    body: Bytes,
    version: i16,
    replica_id: i32,
    replica_epoch: i64,
    max_wait_ms: i32,
    min_bytes: i32,
    max_bytes: i32,
    isolation_level: i8,
    session_id: i32,
    session_epoch: i32,
    topics: Section,
    partition_count: usize,
    forgotten: Section,
    rack_id: Range<usize>,
    cluster_id: Option<Range<usize>>,
}

/// An array in the body: where its first element is, and how many there are.
#[derive(Clone, Copy, Debug, Default)]
struct Section {
    position: usize,
    count: usize,
}

impl FetchView {
    /// Checks the body of a request (what follows the header). Bytes that follow it are tolerated.
    ///
    /// # Errors
    /// The version is not valid, or the bytes are malformed.
    // HOT: 0 alloc, 0 copy
    pub fn parse(body: Bytes, version: i16) -> Result<Self, DecodeError> {
        if !FetchRequest::VALID_VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion {
                message: FetchRequest::NAME,
                version,
            });
        }
        let layout = Layout {
            version,
            form: Form::of(version >= 12),
        };
        let size = body.len();
        let mut c = Cursor::new(&body);
        let replica_id = if version <= 14 { c.i32()? } else { -1 };
        let max_wait_ms = c.i32()?;
        let min_bytes = c.i32()?;
        let max_bytes = c.i32()?;
        let isolation_level = c.i8()?;
        let (session_id, session_epoch) = if version >= 7 {
            (c.i32()?, c.i32()?)
        } else {
            (0, -1)
        };
        let mut topics = Section {
            count: layout.count(&mut c, layout.topic_size_min())?,
            position: 0,
        };
        topics.position = size - c.remaining();
        let mut partition_count = 0;
        for _ in 0..topics.count {
            layout.topic(&mut c)?;
            let count = layout.count(&mut c, layout.partition_size_min())?;
            partition_count += count;
            for _ in 0..count {
                layout.skip_partition(&mut c)?;
            }
            layout.tags(&mut c)?;
        }
        let mut forgotten = Section::default();
        if version >= 7 {
            forgotten.count = layout.count(&mut c, layout.topic_size_min())?;
            forgotten.position = size - c.remaining();
            for _ in 0..forgotten.count {
                layout.forgotten(&mut c)?;
            }
        }
        let mut rack_id = 0..0;
        if version >= 11 {
            let rack = c.str(layout.form)?;
            let end = size - c.remaining();
            rack_id = end - rack.len()..end;
        }
        let mut view = Self {
            version,
            replica_id,
            replica_epoch: -1,
            max_wait_ms,
            min_bytes,
            max_bytes,
            isolation_level,
            session_id,
            session_epoch,
            topics,
            partition_count,
            forgotten,
            rack_id,
            cluster_id: None,
            body: Bytes::new(),
        };
        if layout.form == Form::Compact {
            view.tags(c, size)?;
        }
        view.body = body;
        Ok(view)
    }

    fn tags(&mut self, mut c: Cursor<'_>, size: usize) -> Result<(), DecodeError> {
        for _ in 0..c.tag_count()? {
            let tag = c.tag_begin()?;
            match tag.tag {
                0 => {
                    let id = c.nullable_str(Form::Compact)?;
                    let end = size - tag.after().len();
                    self.cluster_id = id.map(|id| end - id.len()..end);
                }
                1 if self.version >= 15 => {
                    self.replica_id = c.i32()?;
                    self.replica_epoch = c.i64()?;
                    c.skip_tags()?;
                }
                _ => c.skip_rest(),
            }
            c.tag_end(tag)?;
        }
        Ok(())
    }

    /// The request's version.
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// The follower that fetches; −1 for a consumer.
    pub const fn replica_id(&self) -> i32 {
        self.replica_id
    }

    /// The broker epoch of the follower; −1 when unknown.
    pub const fn replica_epoch(&self) -> i64 {
        self.replica_epoch
    }

    /// How long to wait for `min_bytes`, in ms.
    pub const fn max_wait_ms(&self) -> i32 {
        self.max_wait_ms
    }

    /// The bytes to wait for.
    pub const fn min_bytes(&self) -> i32 {
        self.min_bytes
    }

    /// The bytes of records the response should not exceed.
    pub const fn max_bytes(&self) -> i32 {
        self.max_bytes
    }

    /// 0: read uncommitted, 1: read committed. Any number, unchecked.
    pub const fn isolation_level(&self) -> i8 {
        self.isolation_level
    }

    /// The fetch session (KIP-227), 0 for none.
    pub const fn session_id(&self) -> i32 {
        self.session_id
    }

    /// The request's place in its session; −1 ends it, 0 begins one.
    pub const fn session_epoch(&self) -> i32 {
        self.session_epoch
    }

    /// How many topics are asked for.
    pub const fn topic_count(&self) -> usize {
        self.topics.count
    }

    /// How many partitions are asked for, in all topics.
    pub const fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// How many topics have partitions to leave the session.
    pub const fn forgotten_count(&self) -> usize {
        self.forgotten.count
    }

    /// The consumer's rack; empty when it has none.
    pub fn rack_id(&self) -> &str {
        self.text(&self.rack_id)
    }

    /// The cluster the client believes this is.
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_ref().map(|range| self.text(range))
    }

    fn text(&self, range: &Range<usize>) -> &str {
        let text = self.body.get(range.clone()).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    const fn layout(&self) -> Layout {
        Layout {
            version: self.version,
            form: Form::of(self.version >= 12),
        }
    }

    fn cursor(&self, section: Section) -> Cursor<'_> {
        Cursor::new(self.body.get(section.position..).unwrap_or_default())
    }

    /// Walks the topics, in the order of the request.
    pub fn topics(&self) -> Topics<'_> {
        Topics {
            layout: self.layout(),
            cursor: self.cursor(self.topics),
            left: self.topics.count,
        }
    }

    /// Walks what leaves the session.
    pub fn forgotten(&self) -> Forgotten<'_> {
        Forgotten {
            layout: self.layout(),
            cursor: self.cursor(self.forgotten),
            left: self.forgotten.count,
        }
    }
}

/// Where fields are in a version.
#[derive(Clone, Copy, Debug)]
struct Layout {
    version: i16,
    form: Form,
}

impl Layout {
    /// Of a topic or a forgotten topic.
    const fn topic_size_min(self) -> usize {
        match self.version {
            ..=11 => 6,
            12 => 3,
            _ => 18,
        }
    }

    const fn partition_size_min(self) -> usize {
        self.partition_fixed_size() + (self.version >= 12) as usize
    }

    fn count(self, c: &mut Cursor<'_>, size_min: usize) -> Result<usize, DecodeError> {
        c.nullable_count(self.form, size_min)?
            .ok_or(DecodeError::UnexpectedNull)
    }

    fn topic<'a>(self, c: &mut Cursor<'a>) -> Result<(&'a str, Uuid), DecodeError> {
        if self.version >= 13 {
            Ok(("", c.uuid()?))
        } else {
            Ok((c.str(self.form)?, Uuid::ZERO))
        }
    }

    /// The bytes of a partition before its tagged fields.
    const fn partition_fixed_size(self) -> usize {
        match self.version {
            4 => 16,
            5..=8 => 24,
            9..=11 => 28,
            _ => PARTITION_FIXED_SIZE,
        }
    }

    /// Checks a partition and steps over it.
    #[inline]
    fn skip_partition(self, c: &mut Cursor<'_>) -> Result<(), DecodeError> {
        c.take(self.partition_fixed_size())?;
        if self.form == Form::Plain || c.skip_no_tags() {
            return Ok(());
        }
        self.partition_tags(c, &mut Partition::default())
    }

    #[inline]
    fn partition(self, c: &mut Cursor<'_>) -> Result<Partition, DecodeError> {
        if self.form == Form::Plain {
            return self.plain_partition(c);
        }
        // One check of bounds for all fields.
        let fixed = c.array_of::<PARTITION_FIXED_SIZE>()?;
        let mut f = Cursor::new(&fixed);
        let mut partition = Partition {
            index: f.i32()?,
            current_leader_epoch: f.i32()?,
            fetch_offset: f.i64()?,
            last_fetched_epoch: f.i32()?,
            log_start_offset: f.i64()?,
            max_bytes: f.i32()?,
            ..Partition::default()
        };
        if !c.skip_no_tags() {
            self.partition_tags(c, &mut partition)?;
        }
        Ok(partition)
    }

    fn plain_partition(self, c: &mut Cursor<'_>) -> Result<Partition, DecodeError> {
        Ok(Partition {
            index: c.i32()?,
            current_leader_epoch: if self.version >= 9 { c.i32()? } else { -1 },
            fetch_offset: c.i64()?,
            log_start_offset: if self.version >= 5 { c.i64()? } else { -1 },
            max_bytes: c.i32()?,
            ..Partition::default()
        })
    }

    fn partition_tags(
        self,
        c: &mut Cursor<'_>,
        partition: &mut Partition,
    ) -> Result<(), DecodeError> {
        for _ in 0..c.tag_count()? {
            let tag = c.tag_begin()?;
            match tag.tag {
                0 if self.version >= 17 => partition.replica_directory_id = c.uuid()?,
                1 if self.version >= 18 => partition.high_watermark = c.i64()?,
                _ => c.skip_rest(),
            }
            c.tag_end(tag)?;
        }
        Ok(())
    }

    fn forgotten<'a>(self, c: &mut Cursor<'a>) -> Result<ForgottenTopic<'a>, DecodeError> {
        let (name, topic_id) = self.topic(c)?;
        let count = self.count(c, 4)?;
        let indexes = c.take(count * 4)?;
        self.tags(c)?;
        Ok(ForgottenTopic {
            name,
            topic_id,
            indexes,
        })
    }

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
    layout: Layout,
    cursor: Cursor<'a>,
    left: usize,
}

/// One partition of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The partition's number.
    pub index: i32,
    /// The leader epoch the client knows; −1 for none. From version 9 on.
    pub current_leader_epoch: i32,
    /// The offset to read from.
    pub fetch_offset: i64,
    /// The epoch of the follower's last record; −1 for none. From version 12 on.
    pub last_fetched_epoch: i32,
    /// The follower's first offset; −1 from consumers. From version 5 on.
    pub log_start_offset: i64,
    /// The bytes of records to send for this partition.
    pub max_bytes: i32,
    /// The follower's log directory. From version 17 on.
    pub replica_directory_id: Uuid,
    /// The high watermark the follower knows; `i64::MAX` when it does not say. From version 18 on.
    pub high_watermark: i64,
}

impl Default for Partition {
    fn default() -> Self {
        Self {
            index: 0,
            current_leader_epoch: -1,
            fetch_offset: 0,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            max_bytes: 0,
            replica_directory_id: Uuid::ZERO,
            high_watermark: i64::MAX,
        }
    }
}

/// The topics that leave the session.
#[derive(Clone, Debug)]
pub struct Forgotten<'a> {
    layout: Layout,
    cursor: Cursor<'a>,
    left: usize,
}

/// One topic with partitions that leave the session.
#[derive(Clone, Copy, Debug)]
pub struct ForgottenTopic<'a> {
    /// The name; empty from version 13 on.
    pub name: &'a str,
    /// The id; zero below version 13.
    pub topic_id: Uuid,
    indexes: &'a [u8],
}

impl<'a> ForgottenTopic<'a> {
    /// The partitions' numbers.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = i32> + use<'a> {
        self.indexes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&index| i32::from_be_bytes(index))
    }
}

impl<'a> Iterator for Topics<'a> {
    type Item = Topic<'a>;

    // HOT: 0 alloc, 0 copy
    fn next(&mut self) -> Option<Topic<'a>> {
        self.left = self.left.checked_sub(1)?;
        let layout = self.layout;
        let c = &mut self.cursor;
        let (name, topic_id) = layout.topic(c).ok()?;
        let count = layout.count(c, layout.partition_size_min()).ok()?;
        let partitions = Partitions {
            layout,
            cursor: *c,
            left: count,
        };
        for _ in 0..count {
            layout.skip_partition(c).ok()?;
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

impl Iterator for Partitions<'_> {
    type Item = Partition;

    // HOT: 0 alloc, 0 copy
    #[inline]
    fn next(&mut self) -> Option<Partition> {
        self.left = self.left.checked_sub(1)?;
        self.layout.partition(&mut self.cursor).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Partitions<'_> {}

impl<'a> Iterator for Forgotten<'a> {
    type Item = ForgottenTopic<'a>;

    fn next(&mut self) -> Option<ForgottenTopic<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.layout.forgotten(&mut self.cursor).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Forgotten<'_> {}

/// Of versions with tagged fields: index, leader epoch, offset, last epoch, start offset, max bytes.
const PARTITION_FIXED_SIZE: usize = 4 + 4 + 8 + 4 + 8 + 4;
