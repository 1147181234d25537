//! The records of a start.
//!
//! **Owns** what an empty cluster begins with, and how a single node takes its place at each start
//! and leaves it at a clean stop.
//! **Lives on** the controller's shard, before it serves.
//! **Invariants**: after a start's records the node is registered, unfenced, and leads every
//! partition it has a replica of and may lead; what lies in a directory that is not at hand has
//! no leader.
//! **Not here**: appending the records, `meta.properties`.

use std::sync::Arc;

use corelog_net::wire::Uuid;
use corelog_net::wire::records::register_broker::{BrokerEndpoint, BrokerFeature};
use corelog_net::wire::records::{
    AbortTransactionRecord, BeginTransactionRecord, BrokerRegistrationChangeRecord, ConfigRecord,
    EndTransactionRecord, FeatureLevelRecord, PartitionChangeRecord, RegisterBrokerRecord,
};

use super::features::{ELR_NAME, METADATA_VERSION_CORDONED, METADATA_VERSION_NAME, SUPPORTED};
use super::image::{
    Image, LEADER_UNCHANGED, NO_LEADER, PartitionImage, RECOVERY_UNCHANGED, ResourceType,
};
use super::record::MetadataRecord;
use crate::config::Endpoint;

/// How the node is to be known.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRegistration {
    /// `node.id`.
    pub node_id: i32,
    /// A new random id for each start of the process.
    pub incarnation_id: Uuid,
    /// Advertised addresses, hosts and ports filled in.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Ids of the log directories that are in use.
    pub log_dirs: Vec<Uuid>,
    /// Those of them that get no new partitions.
    pub cordoned_log_dirs: Vec<Uuid>,
}

/// How the node stopped last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// With all logs flushed: leaders keep their epochs.
    Clean,
    /// Otherwise: what was read beyond the recovered end must be told apart, so each partition gets a
    /// new leader epoch.
    Unclean,
}

/// The feature levels of a new cluster.
#[must_use]
pub fn features() -> Vec<MetadataRecord> {
    let initial = SUPPORTED.iter().filter(|feature| feature.initial > 0);
    initial
        .map(|feature| {
            FeatureLevelRecord {
                name: feature.name.to_owned(),
                feature_level: feature.initial,
                ..Default::default()
            }
            .into()
        })
        .collect()
}

/// What an empty cluster begins with: what `format` decided, as one metadata transaction where the
/// `metadata.version` knows them.
#[must_use]
pub fn empty_cluster(decided: Vec<MetadataRecord>) -> Vec<MetadataRecord> {
    let level = |name: &str| {
        let level = decided.iter().find_map(|record| match record {
            MetadataRecord::FeatureLevel(record) if record.name == name => {
                Some(record.feature_level)
            }
            _ => None,
        });
        level.unwrap_or(0)
    };
    let (transaction, elr) = (
        level(METADATA_VERSION_NAME) >= TRANSACTIONS_SINCE,
        level(ELR_NAME) > 0,
    );
    let mut out: Vec<MetadataRecord> = Vec::new();
    if transaction {
        let name = Some("Bootstrap records".to_owned());
        let begin = BeginTransactionRecord {
            name,
            ..Default::default()
        };
        out.push(begin.into());
    }
    out.extend(decided);
    // Eligible leader replicas need the minimum as a cluster-wide default, not as each broker's.
    let minimum = ConfigRecord {
        resource_type: ResourceType::Broker.code(),
        resource_name: String::new(),
        name: "min.insync.replicas".to_owned(),
        value: Some("1".to_owned()),
        ..Default::default()
    };
    if elr {
        out.push(minimum.into());
    }
    if transaction {
        out.push(EndTransactionRecord::default().into());
    }
    out
}

/// Ends a metadata transaction that a stop left open.
#[must_use]
pub fn abort_transaction() -> MetadataRecord {
    let reason = Some("the controller stopped within the transaction".to_owned());
    AbortTransactionRecord {
        reason,
        ..Default::default()
    }
    .into()
}

/// The records with which the node takes its place. `broker_epoch` is the offset the first of them
/// will get.
#[must_use]
pub fn start(
    image: &Image,
    node: &NodeRegistration,
    broker_epoch: i64,
    restart: Restart,
) -> Vec<MetadataRecord> {
    let mut registration = register(node, broker_epoch);
    if image.metadata_version() >= METADATA_VERSION_CORDONED {
        registration.cordoned_log_dirs = Some(node.cordoned_log_dirs.clone());
    }
    let mut out = vec![registration.into()];
    for topic in image.topics_sorted() {
        for (index, partition) in topic.numbered() {
            let change = take_lead(image, partition, node, restart);
            out.extend(change.map(|change| {
                let (partition_id, topic_id) = (index, topic.id);
                MetadataRecord::from(PartitionChangeRecord {
                    partition_id,
                    topic_id,
                    ..change
                })
            }));
        }
    }
    out
}

/// The records of a clean stop: the node leads nothing and is fenced until it comes back. A Kafka that
/// takes the directory over would otherwise begin to lead in the old epoch and then lose the lead
/// again, with its coordinators in the middle of loading.
#[must_use]
pub fn stop(image: &Image, node_id: i32) -> Vec<MetadataRecord> {
    let Some(broker) = image.broker(node_id).filter(|broker| !broker.fenced()) else {
        return Vec::new();
    };
    let mut out: Vec<MetadataRecord> = Vec::new();
    for topic in image.topics_sorted() {
        let led = |(_, partition): &(i32, &Arc<PartitionImage>)| partition.leader == node_id;
        out.extend(topic.numbered().filter(led).map(|(partition_id, _)| {
            MetadataRecord::from(PartitionChangeRecord {
                partition_id,
                topic_id: topic.id,
                leader: NO_LEADER,
                leader_recovery_state: RECOVERY_UNCHANGED,
                ..PartitionChangeRecord::default()
            })
        }));
    }
    let change = BrokerRegistrationChangeRecord {
        broker_id: node_id,
        broker_epoch: broker.registration.broker_epoch,
        fenced: 1,
        ..Default::default()
    };
    out.push(change.into());
    out
}

fn register(node: &NodeRegistration, broker_epoch: i64) -> RegisterBrokerRecord {
    let endpoint = |endpoint: &Endpoint| BrokerEndpoint {
        name: endpoint.name.clone(),
        host: endpoint.host.clone(),
        port: endpoint.port,
        security_protocol: 0,
        ..BrokerEndpoint::default()
    };
    let feature = |feature: &super::features::Feature| BrokerFeature {
        name: feature.name.to_owned(),
        min_supported_version: feature.min,
        max_supported_version: feature.max,
        ..BrokerFeature::default()
    };
    RegisterBrokerRecord {
        broker_id: node.node_id,
        incarnation_id: node.incarnation_id,
        broker_epoch,
        end_points: node.endpoints.iter().map(endpoint).collect(),
        features: SUPPORTED.iter().map(feature).collect(),
        rack: node.rack.clone(),
        fenced: false,
        log_dirs: node.log_dirs.clone(),
        cordoned_log_dirs: Some(Vec::new()),
        ..RegisterBrokerRecord::default()
    }
}

/// What must change for the node to lead a partition it holds; the partition's key is left out.
fn take_lead(
    image: &Image,
    partition: &PartitionImage,
    node: &NodeRegistration,
    restart: Restart,
) -> Option<PartitionChangeRecord> {
    let id = node.node_id;
    if !partition.replicas.contains(&id) {
        return None;
    }
    if partition.is_directory_lost(id, &node.log_dirs) {
        // Its directory failed or is not there: what it held is not at hand, and something else must not pass for it.
        return (partition.leader == id).then(|| PartitionChangeRecord {
            leader: NO_LEADER,
            leader_recovery_state: RECOVERY_UNCHANGED,
            ..PartitionChangeRecord::default()
        });
    }
    let leads = partition.leader == id && partition.isr.contains(&id);
    if leads && restart == Restart::Clean && partition.leader_recovery_state == 0 {
        return None;
    }
    // A single node holds every record that still exists, whatever the ISR of a larger cluster was.
    let only = |list: &[i32]| Some(vec![id]).filter(|only| only != list);
    let cleared = |list: &[i32]| Some(Vec::new()).filter(|_| !list.is_empty());
    let elr = image.feature(ELR_NAME) > 0;
    Some(PartitionChangeRecord {
        isr: only(&partition.isr),
        leader: if leads && restart == Restart::Clean {
            LEADER_UNCHANGED
        } else {
            id
        },
        leader_recovery_state: if partition.leader_recovery_state == 0 {
            RECOVERY_UNCHANGED
        } else {
            0
        },
        eligible_leader_replicas: cleared(&partition.eligible_leader_replicas).filter(|_| elr),
        last_known_elr: cleared(&partition.last_known_elr).filter(|_| elr),
        ..PartitionChangeRecord::default()
    })
}

/// The `metadata.version` (3.6-IV1) from which controllers read metadata transactions.
const TRANSACTIONS_SINCE: i16 = 13;

/// Records of a start or a stop stand for themselves, one partition each: so many of them go into a
/// batch that it stays far below the 8 MiB of Kafka's largest.
pub const RECORDS_PER_BATCH: usize = 10_000;
