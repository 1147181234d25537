//! A Metadata answer for all topics, written a piece at a time.
//!
//! **Owns** the order of its fields, in every version.
//! **Lives on** any shard, for the length of a request.
//! **Invariants**: 1. its bytes are those of the whole message (a test compares them in every version); 2. a piece is
//! bounded by partitions, not by topics: one topic may have as many as a cluster.
//! **Not here**: what stands in the fields (`answers`).
//!
//! The message as a value is five vectors a partition: for 100,000 partitions 39 ms in which the shard does nothing
//! else, and 30 MB. A piece at a time its partitions' memory is the same again and again.

use std::sync::Arc;

use corelog_net::wire::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseTopic,
};
use corelog_net::wire::{EncodeError, Encoder, Form, Structure};

use super::{ClusterView, TOPIC_OPERATIONS};
use crate::metadata::image::{Image, TopicImage};
use crate::metadata::sharded::InOrder;

/// Whether a request asks for all topics.
pub(crate) fn is_asked(request: &MetadataRequest, version: i16) -> bool {
    match &request.topics {
        None => true,
        Some(topics) => topics.is_empty() && version == 0,
    }
}

/// See the module.
pub(crate) struct AllTopics<'a> {
    view: ClusterView<'a>,
    version: i16,
    /// The answer but for its topics.
    cluster: MetadataResponse,
    topic_operations: i32,
    topics: InOrder<'a, Arc<str>, Arc<TopicImage>>,
    /// A topic that is begun, and its first partition that is not written.
    begun: Option<(&'a TopicImage, usize)>,
}

impl<'a> AllTopics<'a> {
    /// About how many bytes it will have.
    pub(crate) fn size_hint(image: &Image) -> usize {
        256 + 64 * image.topic_count() + 32 * image.partition_count()
    }

    /// Writes what stands before the topics.
    pub(crate) fn begin(
        view: ClusterView<'a>,
        request: &MetadataRequest,
        version: i16,
        out: &mut Vec<u8>,
    ) -> Result<Self, EncodeError> {
        let all = Self {
            view,
            version,
            cluster: view.metadata_cluster(request, version),
            topic_operations: if request.include_topic_authorized_operations {
                TOPIC_OPERATIONS
            } else {
                MetadataResponseTopic::default().topic_authorized_operations
            },
            topics: view.image.topics_in_order(),
            begun: None,
        };
        let mut e = Encoder::new(out);
        if version >= 3 {
            e.i32(all.cluster.throttle_time_ms);
        }
        e.structs(all.form(), &all.cluster.brokers, version)?;
        if version >= 2 {
            e.nullable_string(all.form(), all.cluster.cluster_id.as_deref())?;
        }
        if version >= 1 {
            e.i32(all.cluster.controller_id);
        }
        e.length(all.form(), view.image.topic_count())?;
        Ok(all)
    }

    /// Writes the next piece; says whether it was the last.
    pub(crate) fn piece(&mut self, out: &mut Vec<u8>) -> Result<bool, EncodeError> {
        let mut e = Encoder::new(out);
        let mut room = PARTITIONS_PER_PIECE;
        while room > 0 {
            let (topic, from) = if let Some(begun) = self.begun.take() {
                begun
            } else if let Some((_, topic)) = self.topics.next() {
                self.begin_topic(&mut e, topic)?;
                (&**topic, 0)
            } else {
                self.end(&mut e)?;
                return Ok(true);
            };
            let rest = &topic.partitions[from..];
            let count = rest.len().min(room);
            for (index, partition) in (from..).zip(&rest[..count]) {
                let index = i32::try_from(index).unwrap_or(i32::MAX);
                self.view
                    .metadata_partition(index, partition, self.version)
                    .write(&mut e, self.version)?;
            }
            // A topic counts, too: there may be many without partitions to speak of.
            room = room.saturating_sub(count + 1);
            if count < rest.len() {
                self.begun = Some((topic, from + count));
            } else {
                self.end_topic(&mut e)?;
            }
        }
        Ok(false)
    }

    fn begin_topic(&self, e: &mut Encoder<'_>, topic: &TopicImage) -> Result<(), EncodeError> {
        e.i16(0);
        if self.version >= 12 {
            e.nullable_string(self.form(), Some(&topic.name))?;
        } else {
            e.string(self.form(), &topic.name)?;
        }
        if self.version >= 10 {
            e.uuid(topic.id);
        }
        if self.version >= 1 {
            e.bool(topic.is_internal());
        }
        e.length(self.form(), topic.partitions.len())
    }

    fn end_topic(&self, e: &mut Encoder<'_>) -> Result<(), EncodeError> {
        if self.version >= 8 {
            e.i32(self.topic_operations);
        }
        if self.version >= 9 {
            e.unknown_tags(&[])?;
        }
        Ok(())
    }

    fn end(&self, e: &mut Encoder<'_>) -> Result<(), EncodeError> {
        if (8..=10).contains(&self.version) {
            e.i32(self.cluster.cluster_authorized_operations);
        }
        if self.version >= 13 {
            e.i16(self.cluster.error_code);
        }
        if self.version >= 9 {
            e.unknown_tags(&[])?;
        }
        Ok(())
    }

    fn form(&self) -> Form {
        Form::of(self.version >= 9)
    }
}

/// A piece takes 0.1 to 0.25 ms.
const PARTITIONS_PER_PIECE: usize = 1_000;
