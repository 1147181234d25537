//! **Owns** what a client knows about brokers, topics and leaders.
//! **Lives on** the client's thread; plain data.
//! **Invariants** (1) A leader epoch never goes back: an older answer does not replace a newer leader of the same topic.
//! **Not here** when to ask (`client`).

use std::collections::BTreeMap;
use std::time::Duration;

use corelog_net::wire::messages::describe_cluster::DescribeClusterResponse;
use corelog_net::wire::messages::metadata::{MetadataResponse, MetadataResponseTopic};
use corelog_net::wire::{ErrorCode, Uuid};
use corelog_runtime::Instant;

use super::ApiError;
use super::error::code_of;

/// Brokers and topics as last heard.
#[derive(Debug, Default)]
pub struct Metadata {
    cluster_id: Option<String>,
    controller: i32,
    brokers: BTreeMap<i32, Broker>,
    topics: BTreeMap<String, Topic>,
    learned: Option<Instant>,
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its node id.
    pub id: i32,
    /// Where it listens.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// `broker.rack`.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its id; zero from brokers that have none.
    pub id: Uuid,
    /// Why it cannot be used.
    pub error: ErrorCode,
    /// `__consumer_offsets` and the like.
    pub is_internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Its leader, or −1.
    pub leader: i32,
    /// The leader's epoch, or −1.
    pub leader_epoch: i32,
    /// All replicas.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub isr: Vec<i32>,
}

impl Topic {
    /// Whether every partition has a leader.
    pub fn has_leaders(&self) -> bool {
        !self.partitions.is_empty() && self.partitions.iter().all(|p| p.leader >= 0)
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> Result<i32, ApiError> {
        i32::try_from(self.partitions.len())
            .map_err(|_| ApiError::code(ErrorCode::UnknownServerError))
    }
}

impl Metadata {
    /// The cluster's id.
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// A broker that takes what is meant for the controller, or −1.
    pub fn controller(&self) -> i32 {
        self.controller
    }

    /// All brokers, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    /// One broker.
    pub fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// One topic.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// The name of a topic by its id.
    pub fn name_of(&self, id: Uuid) -> Option<&str> {
        let found = self.topics.iter().find(|(_, topic)| topic.id == id);
        found.map(|(name, _)| name.as_str())
    }

    /// A partition's leader and its epoch.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<(i32, i32)> {
        let partition = self
            .topics
            .get(topic)
            .filter(|topic| topic.error == ErrorCode::None)?
            .partitions
            .get(usize::try_from(partition).ok()?)?;
        (partition.leader >= 0).then_some((partition.leader, partition.leader_epoch))
    }

    /// How old this is.
    pub fn age(&self, now: Instant) -> Duration {
        self.learned
            .map_or(Duration::MAX, |learned| now.duration_since(learned))
    }

    /// When this was last learned.
    pub fn learned(&self) -> Option<Instant> {
        self.learned
    }

    /// Marks a topic as possibly wrong: it is as if its leaders were being elected.
    pub(super) fn doubt(&mut self, name: &str) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.error = ErrorCode::LeaderNotAvailable;
        }
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.topics.remove(name);
    }

    pub(super) fn learn_broker(&mut self, id: i32, host: String, port: u16) {
        self.brokers.entry(id).or_insert(Broker {
            id,
            host,
            port,
            rack: None,
        });
    }

    pub(super) fn learn_controllers(&mut self, response: DescribeClusterResponse, now: Instant) {
        self.learned = Some(now);
        self.cluster_id = Some(response.cluster_id);
        self.controller = response.controller_id;
        self.brokers.clear();
        for node in response.brokers {
            if let Ok(port) = u16::try_from(node.port) {
                self.learn_broker(node.broker_id, node.host, port);
            }
        }
    }

    pub(super) fn learn(&mut self, response: MetadataResponse, now: Instant) {
        self.learned = Some(now);
        self.cluster_id = response.cluster_id;
        self.controller = response.controller_id;
        self.brokers = response
            .brokers
            .into_iter()
            .filter_map(|broker| {
                let port = u16::try_from(broker.port).ok()?;
                let id = broker.node_id;
                let (host, rack) = (broker.host, broker.rack);
                Some((
                    id,
                    Broker {
                        id,
                        host,
                        port,
                        rack,
                    },
                ))
            })
            .collect();
        for topic in response.topics {
            let Some(name) = topic.name.clone() else {
                continue;
            };
            let known = self.topics.get(&name);
            let topic = learn_topic(topic, known);
            self.topics.insert(name, topic);
        }
    }
}

fn learn_topic(topic: MetadataResponseTopic, known: Option<&Topic>) -> Topic {
    let mut partitions: Vec<Partition> = Vec::new();
    for told in topic.partitions {
        let Ok(index) = usize::try_from(told.partition_index) else {
            continue;
        };
        // A partition that the answer skips has no leader as far as we know.
        if partitions.len() <= index && index < PARTITIONS_MAX {
            partitions.resize_with(index + 1, || Partition {
                leader: -1,
                leader_epoch: -1,
                replicas: Vec::new(),
                isr: Vec::new(),
            });
        }
        if let Some(slot) = partitions.get_mut(index) {
            *slot = Partition {
                leader: told.leader_id,
                leader_epoch: told.leader_epoch,
                replicas: told.replica_nodes,
                isr: told.isr_nodes,
            };
        }
    }
    if let Some(known) = known
        && known.id == topic.topic_id
    {
        for (now, before) in partitions.iter_mut().zip(&known.partitions) {
            if before.leader_epoch > now.leader_epoch && now.leader_epoch >= 0 {
                now.clone_from(before);
            }
        }
    }
    Topic {
        id: topic.topic_id,
        error: code_of(topic.error_code),
        is_internal: topic.is_internal,
        partitions,
    }
}

/// More partitions than any topic has; keeps a lying index from taking memory.
const PARTITIONS_MAX: usize = 1 << 20;
