//! Topics that come to be without being asked for by `CreateTopics`.
//!
//! **Owns** their partition counts, replication factors and settings.
//! **Lives on** shard 0.
//! **Invariants**: a name that exists is never an error here.
//! **Not here**: when to create them (Metadata, `FindCoordinator`).

use corelog_net::wire::Uuid;
use corelog_net::wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};

use super::{Controller, Outcome};

/// Where committed offsets and groups are kept.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Where transactions are kept.
pub const TRANSACTION_STATE: &str = "__transaction_state";

impl Controller<'_> {
    /// Creates those of `names` that do not exist: internal topics by their own settings, others by
    /// the broker's defaults. The answer holds one result for each name that was missing.
    pub fn auto_create(
        &self,
        names: &[String],
        ids: &mut dyn FnMut() -> Uuid,
    ) -> Outcome<CreateTopicsResponse> {
        let missing = names.iter().filter(|name| self.image.topic(name).is_none());
        let topics = missing.map(|name| self.template(name)).collect();
        self.create_topics(
            &CreateTopicsRequest {
                topics,
                ..Default::default()
            },
            ids,
        )
    }

    fn template(&self, name: &str) -> CreatableTopic {
        let (group, transaction) = (&self.config.group, &self.config.transaction);
        let (num_partitions, replication_factor, configs) = match name {
            CONSUMER_OFFSETS => (
                group.offsets_topic_num_partitions,
                group.offsets_topic_replication_factor,
                vec![
                    ("compression.type", "producer".to_owned()),
                    ("cleanup.policy", "compact".to_owned()),
                    (
                        "segment.bytes",
                        group.offsets_topic_segment_bytes.to_string(),
                    ),
                ],
            ),
            TRANSACTION_STATE => (
                transaction.state_log_num_partitions,
                transaction.state_log_replication_factor,
                vec![
                    ("compression.type", "uncompressed".to_owned()),
                    ("cleanup.policy", "compact".to_owned()),
                    (
                        "min.insync.replicas",
                        transaction.state_log_min_isr.to_string(),
                    ),
                    (
                        "segment.bytes",
                        transaction.state_log_segment_bytes.to_string(),
                    ),
                    ("unclean.leader.election.enable", "false".to_owned()),
                ],
            ),
            _ => (-1, -1, Vec::new()),
        };
        let config = |(name, value): (&str, String)| CreatableTopicConfig {
            name: name.to_owned(),
            value: Some(value),
            ..CreatableTopicConfig::default()
        };
        CreatableTopic {
            name: name.to_owned(),
            num_partitions,
            replication_factor,
            configs: configs.into_iter().map(config).collect(),
            ..CreatableTopic::default()
        }
    }
}
