//! What a batch of records changed.
//!
//! **Owns** the summary shards act on: logs to open or remove, settings to resolve again.
//! **Lives on** the controller's shard when made, then travels with the new image.
//! **Invariants**: a topic stands in one list at most.
//! **Not here**: acting on it.

use std::collections::BTreeSet;
use std::sync::Arc;

use corelog_net::wire::Uuid;

use super::image::{ApplyError, ConfigResource, Image, TopicImage};
use super::record::MetadataRecord;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// Topics that are new.
    pub created: Vec<Arc<TopicImage>>,
    /// Topics with new or changed partitions, as they are now.
    pub changed: Vec<Arc<TopicImage>>,
    /// Topics that are gone, as they were.
    pub deleted: Vec<Arc<TopicImage>>,
    /// Resources whose settings changed.
    pub configs: Vec<ConfigResource>,
    /// Brokers came, went or changed.
    pub brokers: bool,
    /// Feature levels changed.
    pub features: bool,
}

impl Image {
    /// The image after these records, and what they changed. The records must be in the log, or be
    /// on their way there, in this order.
    pub fn after(&self, records: &[MetadataRecord]) -> Result<(Self, Delta), ApplyError> {
        let mut next = self.clone();
        let mut touched = Touched::default();
        for record in records {
            next.apply(record)?;
            touched.note(record);
        }
        let delta = touched.delta(self, &next);
        Ok((next, delta))
    }
}

#[derive(Default)]
struct Touched {
    topics: BTreeSet<Uuid>,
    clear_elr: BTreeSet<String>,
    configs: BTreeSet<ConfigResource>,
    brokers: bool,
    features: bool,
}

impl Touched {
    fn note(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::Topic(record) => {
                self.topics.insert(record.topic_id);
            }
            MetadataRecord::Partition(record) => {
                self.topics.insert(record.topic_id);
            }
            MetadataRecord::PartitionChange(record) => {
                self.topics.insert(record.topic_id);
            }
            MetadataRecord::RemoveTopic(record) => {
                self.topics.insert(record.topic_id);
            }
            MetadataRecord::ClearElr(record) => {
                self.clear_elr.insert(record.topic_name.clone());
            }
            MetadataRecord::Config(record) => {
                let name = Arc::from(record.resource_name.as_str());
                self.configs.insert(ConfigResource {
                    kind: record.resource_type,
                    name,
                });
            }
            MetadataRecord::RegisterBroker(_)
            | MetadataRecord::UnregisterBroker(_)
            | MetadataRecord::FenceBroker(_)
            | MetadataRecord::UnfenceBroker(_)
            | MetadataRecord::BrokerRegistrationChange(_) => self.brokers = true,
            MetadataRecord::FeatureLevel(_) => self.features = true,
            _ => {}
        }
    }

    fn delta(mut self, before: &Image, after: &Image) -> Delta {
        for name in std::mem::take(&mut self.clear_elr) {
            let named = before
                .topics()
                .filter(|topic| name.is_empty() || *topic.name == *name);
            self.topics.extend(named.map(|topic| topic.id));
        }
        let mut delta = Delta {
            configs: self.configs.into_iter().collect(),
            brokers: self.brokers,
            features: self.features,
            ..Delta::default()
        };
        for id in self.topics {
            match (before.topic_by_id(id), after.topic_by_id(id)) {
                (None, Some(topic)) => delta.created.push(Arc::clone(topic)),
                (Some(topic), None) => delta.deleted.push(Arc::clone(topic)),
                (Some(old), Some(new)) if old != new => delta.changed.push(Arc::clone(new)),
                _ => {}
            }
        }
        delta
    }
}
